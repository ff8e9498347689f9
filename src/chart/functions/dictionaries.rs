//! Maps. `set`, `unset` and `merge` change the map they are given, and everyone who holds it sees that.

use std::rc::Rc;

use super::{Function, Outcome, Runtime, argument, dictionary, text, wrong_type};
use crate::chart::binary;
use crate::chart::error::Failure;
use crate::chart::format;
use crate::chart::value::{DEPTH_MAX, Element, MapCell, TooDeep, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("dict", 0, dict),
    Function::exactly("get", 2, get),
    Function::exactly("set", 3, set),
    Function::exactly("unset", 2, unset),
    Function::exactly("hasKey", 2, |_, values| {
        Ok(Value::Bool(dictionary(values, 0)?.contains(text(values, 1)?)))
    }),
    Function::at_least("keys", 0, keys),
    Function::exactly("values", 1, values_of),
    Function::at_least("pick", 1, pick),
    Function::at_least("omit", 1, omit),
    Function::at_least("pluck", 1, pluck),
    Function::at_least("dig", 3, dig),
    Function::at_least("merge", 1, |runtime, values| merge_all(runtime, values, false)),
    Function::at_least("mustMerge", 1, |runtime, values| merge_all(runtime, values, false)),
    Function::at_least("mergeOverwrite", 1, |runtime, values| merge_all(runtime, values, true)),
    Function::at_least("mustMergeOverwrite", 1, |runtime, values| merge_all(runtime, values, true)),
    Function::exactly("deepCopy", 1, deep_copy),
    Function::exactly("mustDeepCopy", 1, deep_copy),
];

fn dict(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    runtime.budget.produce(size_of_val(values))?;
    let map = MapCell::default();
    for pair in values.chunks(2) {
        let key = match &pair[0] {
            Value::String(key) => Rc::clone(key),
            other => Rc::from(binary::characters(&format::display(other)?)),
        };
        map.insert(key, pair.get(1).cloned().unwrap_or_else(|| Value::from("")));
    }
    Ok(Value::Map(Rc::new(map)))
}

fn get(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(dictionary(values, 0)?.get(text(values, 1)?).unwrap_or_else(|| Value::from("")))
}

/// A map to change: nil is no map here.
fn target(values: &[Value]) -> Result<Rc<MapCell>, Failure> {
    match argument(values, 0) {
        Value::Map(map) if !map.holds_text() => Ok(map.clone()),
        other => Err(wrong_type(other, "map[string]interface {}")),
    }
}

fn set(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let map = target(values)?;
    runtime.insert(&map, text(values, 1)?, argument(values, 2).clone())?;
    Ok(Value::Map(map))
}

fn unset(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let map = dictionary(values, 0)?;
    map.remove(text(values, 1)?);
    Ok(Value::Map(map))
}

fn keys(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut keys = Vec::new();
    for position in 0..values.len() {
        let map = dictionary(values, position)?;
        runtime.budget.read(map.len() * 64)?;
        keys.extend(map.entries().keys().map(|key| Value::String(key.clone())));
    }
    Ok(Value::list_of(Element::String, keys))
}

fn values_of(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(Value::list(dictionary(values, 0)?.entries().values().cloned().collect()))
}

fn pick(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let map = dictionary(values, 0)?;
    let mut picked = Vec::new();
    for position in 1..values.len() {
        let key = text(values, position)?;
        picked.extend(map.get(key).map(|value| (key, value)));
    }
    Ok(Value::map(picked))
}

fn omit(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let map = dictionary(values, 0)?;
    runtime.budget.produce(map.len() * 64)?;
    let mut omitted = Vec::new();
    for position in 1..values.len() {
        omitted.push(text(values, position)?);
    }
    let kept = map
        .entries()
        .iter()
        .filter(|(key, _)| !omitted.contains(&&***key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Ok(Value::Map(Rc::new(kept)))
}

fn pluck(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let key = text(values, 0)?;
    let mut found = Vec::new();
    for position in 1..values.len() {
        found.extend(dictionary(values, position)?.get(key));
    }
    Ok(Value::list(found))
}

/// `dig "a" "b" default map`: a missing key on the way gives the default, a key on something else than a map
/// is an error.
fn dig(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (path, rest) = values.split_at(values.len() - 2);
    let [default, map] = rest else { return Err(Failure::new("dig needs at least three arguments")) };
    let mut current = map.clone();
    for position in 0..path.len() {
        let Value::Map(map) = &current else {
            return Err(wrong_type(&current, "map[string]interface {}"));
        };
        match map.get(text(path, position)?) {
            Some(value) => current = value,
            None => return Ok(default.clone()),
        }
    }
    Ok(current)
}

fn merge_all(runtime: &mut Runtime<'_>, values: &[Value], overwrite: bool) -> Outcome {
    let destination = target(values)?;
    for position in 1..values.len() {
        let source = dictionary(values, position)?;
        merge(runtime, &destination, &source, overwrite, 0)?;
    }
    Ok(Value::Map(destination))
}

/// Merges as the Go module mergo does: into the destination, sharing what was not there before.
fn merge(
    runtime: &mut Runtime<'_>,
    destination: &Rc<MapCell>,
    source: &Rc<MapCell>,
    overwrite: bool,
    depth: usize,
) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        return Err(TooDeep.into());
    }
    if Rc::ptr_eq(destination, source) {
        return Ok(());
    }
    runtime.budget.read(source.len() * 64)?;
    let entries: Vec<(Rc<str>, Value)> =
        source.entries().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in entries {
        match (destination.get(&key), &value) {
            // A nil overwrites, but fills nothing.
            (_, Value::Nil) if !overwrite => {}
            (Some(Value::Map(below)), Value::Map(from)) if below.len() > 0 || overwrite => {
                merge(runtime, &below, from, overwrite, depth + 1)?;
            }
            (Some(existing), _) => {
                if overwrite || !existing.is_true() {
                    runtime.insert(destination, &key, value)?;
                }
            }
            (None, _) => runtime.insert(destination, &key, value)?,
        }
    }
    Ok(())
}

fn deep_copy(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let value = argument(values, 0);
    runtime.budget.produce(value.deep_size()?)?;
    Ok(value.deep_copy()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused, render};

    #[test]
    fn maps_are_read() {
        let values = json!({"m": {"a": 1, "b": {"c": "deep"}}, "n": {"a": "n"}});
        assert_prints(
            &values,
            &[
                ("get .Values.m \"none\" | quote", "\"\""),
                ("hasKey .Values.m \"a\"", "true"),
                ("keys .Values.m | toJson", "[\"a\",\"b\"]"),
                ("values .Values.n | toJson", "[\"n\"]"),
                ("pick .Values.m \"a\" \"z\" | toJson", "{\"a\":1}"),
                ("omit .Values.m \"b\" | toJson", "{\"a\":1}"),
                ("pluck \"a\" .Values.m .Values.n | toJson", "[1,\"n\"]"),
                ("dig \"b\" \"c\" \"none\" .Values.m", "deep"),
                ("dig \"x\" \"c\" \"none\" .Values.m", "none"),
                ("dict \"a\" 1 \"b\" | toJson", "{\"a\":1,\"b\":\"\"}"),
                (
                    "merge (dict \"a\" 0 \"d\" (dict \"x\" 1)) (dict \"a\" 2 \"d\" (dict \"y\" 3)) | toJson",
                    "{\"a\":2,\"d\":{\"x\":1,\"y\":3}}",
                ),
                ("mergeOverwrite (dict \"a\" 1) (dict \"a\" 2) (dict \"a\" nil) | toJson", "{\"a\":null}"),
            ],
        );
        assert_refused(
            &values,
            &[
                ("dig \"a\" \"c\" \"none\" .Values.m", "expected map[string]interface {}; got float64"),
                ("set nil \"a\" 1", "invalid value; expected map"),
                ("hasKey .Values.m", "wrong number of arguments: want 2, got 1"),
            ],
        );
    }

    #[test]
    fn a_change_is_seen_by_all_who_hold_the_map() {
        let template = "{{ $alias := .Values.m }}{{ $_ := set .Values.m \"k\" \"new\" }}{{ $alias.k }} \
            {{ $held := dict \"in\" .Values.m }}{{ $_ := unset $held.in \"k\" }}{{ .Values.m.k }}\
            {{ $copy := deepCopy .Values.m }}{{ $_ := set $copy \"a\" 5 }}{{ .Values.m.a }} \
            {{ $_ := merge .Values.m (dict \"z\" 1) }}{{ .Values.m.z }}";
        assert_eq!(render(template, &json!({"m": {"a": 1}})).unwrap(), "new 1 1");
    }

    #[test]
    fn a_cycle_is_an_error_when_it_is_walked() {
        let error =
            render("{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ toYaml $d }}", &json!({})).unwrap_err();
        assert!(error.contains("calling `toYaml`: the value is nested deeper than 100"), "{error}");
    }
}
