//! Lists. They never change: every function returns a new one.

use super::{Function, Outcome, Runtime, argument, integer, items};
use crate::chart::error::Failure;
use crate::chart::value::{Element, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("list", 0, |_, values| Ok(Value::list(values.to_vec()))),
    Function::at_least("tuple", 0, |_, values| Ok(Value::list(values.to_vec()))),
    Function::exactly("first", 1, first),
    Function::exactly("mustFirst", 1, first),
    Function::exactly("last", 1, last),
    Function::exactly("mustLast", 1, last),
    Function::exactly("rest", 1, rest),
    Function::exactly("mustRest", 1, rest),
    Function::exactly("initial", 1, initial),
    Function::exactly("mustInitial", 1, initial),
    Function::exactly("append", 2, append),
    Function::exactly("mustAppend", 2, append),
    Function::exactly("push", 2, append),
    Function::exactly("mustPush", 2, append),
    Function::exactly("prepend", 2, prepend),
    Function::exactly("mustPrepend", 2, prepend),
    Function::at_least("concat", 0, concat),
    Function::exactly("reverse", 1, reverse),
    Function::exactly("mustReverse", 1, reverse),
    Function::exactly("uniq", 1, uniq),
    Function::exactly("mustUniq", 1, uniq),
    Function::at_least("without", 1, without),
    Function::at_least("mustWithout", 1, without),
    Function::exactly("has", 2, has),
    Function::exactly("mustHas", 2, has),
    Function::exactly("compact", 1, compact),
    Function::exactly("mustCompact", 1, compact),
    Function::between("slice", 1, 3, slice),
    Function::between("mustSlice", 1, 3, slice),
    Function::exactly("chunk", 2, chunk),
    Function::exactly("mustChunk", 2, chunk),
];

fn first(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(items(values, 0)?.first().cloned().unwrap_or(Value::Nil))
}

fn last(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(items(values, 0)?.last().cloned().unwrap_or(Value::Nil))
}

/// Of an empty list Sprig returns a nil slice.
fn rest(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let list = items(values, 0)?;
    Ok(list
        .split_first()
        .map_or_else(|| Value::list_or_nil(Element::Any, Vec::new()), |(_, rest)| Value::list(rest.to_vec())))
}

fn initial(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let list = items(values, 0)?;
    Ok(list.split_last().map_or_else(
        || Value::list_or_nil(Element::Any, Vec::new()),
        |(_, initial)| Value::list(initial.to_vec()),
    ))
}

fn append(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut list = items(values, 0)?.to_vec();
    list.push(argument(values, 1).clone());
    Ok(Value::list(list))
}

fn prepend(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut list = vec![argument(values, 1).clone()];
    list.extend(items(values, 0)?.iter().cloned());
    Ok(Value::list(list))
}

fn concat(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut list: Vec<Value> = Vec::new();
    for position in 0..values.len() {
        list.extend(items(values, position)?.iter().cloned());
    }
    Ok(Value::list_or_nil(Element::Any, list))
}

fn reverse(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(Value::list(items(values, 0)?.iter().rev().cloned().collect()))
}

/// Looks a value up in a list; each comparison is counted.
fn contains(runtime: &mut Runtime<'_>, list: &[Value], wanted: &Value) -> Result<bool, Failure> {
    let size = wanted.deep_size()?;
    for item in list {
        runtime.budget.read(size)?;
        if item.deep_equal(wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn uniq(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut unique: Vec<Value> = Vec::new();
    for item in items(values, 0)?.iter() {
        if !contains(runtime, &unique, item)? {
            unique.push(item.clone());
        }
    }
    Ok(Value::list(unique))
}

fn without(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut kept = Vec::new();
    for item in items(values, 0)?.iter() {
        if !contains(runtime, &values[1..], item)? {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(kept))
}

/// `has needle list`; nothing is in nil.
fn has(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    if argument(values, 1).is_nil() {
        return Ok(Value::Bool(false));
    }
    let list = items(values, 1)?;
    Ok(Value::Bool(contains(runtime, &list, argument(values, 0))?))
}

fn compact(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(Value::list(items(values, 0)?.iter().filter(|item| item.is_true()).cloned().collect()))
}

/// Go has a `slice` for text too, but Sprig's replaces it: lists only.
fn slice(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let list = items(values, 0)?;
    if list.is_empty() {
        return Ok(Value::Nil);
    }
    let bound = |position: usize, missing: usize| match values.get(position) {
        Some(value) => usize::try_from(super::numbers::whole(value)).ok(),
        None => Some(missing),
    };
    let range = bound(1, 0).zip(bound(2, list.len()));
    let part = range.and_then(|(start, end)| list.get(start..end));
    part.map(|part| Value::list_of(list.element(), part.to_vec()))
        .ok_or_else(|| Failure::new(format!("slice bounds out of range with length {}", list.len())))
}

fn chunk(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let size = usize::try_from(integer(values, 0)?).unwrap_or(0);
    if size == 0 {
        return Err(Failure::new("the size of a chunk must be positive"));
    }
    let chunks = items(values, 1)?.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect();
    Ok(Value::list_of(Element::Lists, chunks))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn lists() {
        let values = json!({"l": ["a", "b", "a"], "n": [1, 0, null], "m": [{"x": 1}]});
        assert_prints(
            &values,
            &[
                ("first .Values.l", "a"),
                ("last .Values.l", "a"),
                ("first (list)", ""),
                ("rest .Values.l | toJson", "[\"b\",\"a\"]"),
                ("initial .Values.l | toJson", "[\"a\",\"b\"]"),
                ("append .Values.l \"c\" | toJson", "[\"a\",\"b\",\"a\",\"c\"]"),
                ("prepend .Values.l \"c\" | first", "c"),
                ("concat .Values.l (list 1) | len", "4"),
                ("uniq .Values.l | toJson", "[\"a\",\"b\"]"),
                ("without .Values.l \"a\" | toJson", "[\"b\"]"),
                ("has \"b\" .Values.l", "true"),
                ("has 1 .Values.n", "false"),
                ("has 1.0 .Values.n", "true"),
                ("has 1 nil", "false"),
                ("has (dict \"x\" 1.0) .Values.m", "true"),
                ("compact .Values.n | toJson", "[1]"),
                ("slice .Values.l 1 | toJson", "[\"b\",\"a\"]"),
                ("slice .Values.l 0 1 | toJson", "[\"a\"]"),
                ("chunk 2 .Values.l | toJson", "[[\"a\",\"b\"],[\"a\"]]"),
                ("reverse .Values.l | join \"\"", "aba"),
                ("tuple 1 2 | toJson", "[1,2]"),
            ],
        );
        assert_refused(
            &values,
            &[
                ("first nil", "wants a list, got <nil>"),
                ("slice .Values.l 1 9", "out of range"),
                ("chunk 0 .Values.l", "positive"),
            ],
        );
    }
}
