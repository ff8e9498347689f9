//! Go's own template functions, and those with which Helm stops or asks: `fail`, `required`, `lookup`.

use std::fmt::Write as _;

use super::{Function, LookupQuery, Outcome, Runtime, argument, bytes, text};
use crate::chart::binary;
use crate::chart::error::Failure;
use crate::chart::format;
use crate::chart::objects;
use crate::chart::value::{MapCell, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("printf", 1, printf),
    Function::at_least("print", 0, print),
    Function::at_least("println", 0, println),
    Function::at_least("call", 1, call),
    Function::at_least("html", 0, html),
    Function::at_least("js", 0, js),
    Function::at_least("urlquery", 0, urlquery),
    Function::exactly("len", 1, len),
    Function::at_least("index", 1, index),
    Function::exactly("fail", 1, fail),
    Function::exactly("required", 2, required),
    Function::exactly("lookup", 4, lookup),
    Function::exactly("getHostByName", 1, |_, _| Ok(Value::from(""))),
];

fn printf(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let format = bytes(values, 0)?;
    for value in &values[1..] {
        runtime.budget.read(value.deep_size()?)?;
    }
    Ok(Value::bytes(format::sprintf(&runtime.budget, format, &values[1..])?))
}

/// Prints values as Go's `Sprint`: spaces only between two values of which neither is a string.
fn print(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(Value::bytes(sprint(runtime, values)?))
}

fn sprint(runtime: &mut Runtime<'_>, values: &[Value]) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    for (position, value) in values.iter().enumerate() {
        let is_text = |value: &Value| value.as_bytes().is_some();
        if position > 0 && !is_text(value) && !is_text(&values[position - 1]) {
            output.push(b' ');
        }
        runtime.budget.produce(value.deep_size()?)?;
        format::write_value(&mut output, value)?;
    }
    Ok(output)
}

fn println(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut output = Vec::new();
    for (position, value) in values.iter().enumerate() {
        if position > 0 {
            output.push(b' ');
        }
        runtime.budget.produce(value.deep_size()?)?;
        format::write_value(&mut output, value)?;
    }
    output.push(b'\n');
    Ok(Value::bytes(output))
}

/// There is nothing to call: no value of a chart is a function.
fn call(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let value = argument(values, 0);
    Err(match value {
        Value::Nil => Failure::new("call of nil"),
        other => Failure::new(format!("non-function of type {}", other.type_name())),
    })
}

fn html(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let printed = sprint(runtime, values)?;
    let mut output = String::new();
    for character in binary::characters(&printed).chars() {
        match character {
            '\0' => output.push('\u{fffd}'),
            '"' => output.push_str("&#34;"),
            '\'' => output.push_str("&#39;"),
            '&' => output.push_str("&amp;"),
            '<' => output.push_str("&lt;"),
            '>' => output.push_str("&gt;"),
            _ => output.push(character),
        }
    }
    Ok(Value::from(output))
}

fn js(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let printed = sprint(runtime, values)?;
    let mut output = String::new();
    for character in binary::characters(&printed).chars() {
        match character {
            '\\' => output.push_str("\\\\"),
            '\'' => output.push_str("\\'"),
            '"' => output.push_str("\\\""),
            '<' | '>' | '&' | '=' | '\0'..='\u{1f}' => {
                let _ = write!(output, "\\u{:04X}", u32::from(character));
            }
            _ if character.is_ascii() || format::is_printable(character) => output.push(character),
            _ => {
                let _ = write!(output, "\\u{:04X}", u32::from(character));
            }
        }
    }
    Ok(Value::from(output))
}

fn urlquery(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut output = String::new();
    for byte in sprint(runtime, values)? {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                output.push(char::from(byte));
            }
            b' ' => output.push('+'),
            _ => {
                let _ = write!(output, "%{byte:02X}");
            }
        }
    }
    Ok(Value::from(output))
}

fn len(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let value = argument(values, 0);
    let collection = match value {
        Value::Object(object) => object.as_collection(),
        _ => None,
    };
    let length = match collection.as_ref().unwrap_or(value) {
        Value::String(text) => text.len(),
        Value::Binary(binary) => binary.bytes().len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        Value::Nil => return Err(Failure::new("len of nil pointer")),
        other => return Err(Failure::new(format!("len of type {}", other.type_name()))),
    };
    Ok(Value::count(length))
}

fn index(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut current = argument(values, 0).clone();
    for key in values.iter().skip(1) {
        current = element(&current, key)?;
    }
    Ok(current)
}

fn element(collection: &Value, key: &Value) -> Outcome {
    match collection {
        Value::Nil => Err(Failure::new("index of untyped nil")),
        Value::Map(map) => match key {
            Value::String(key) => Ok(map.get(key).unwrap_or(missing(map))),
            Value::Binary(key) => Ok(map.get(key.text()).unwrap_or(missing(map))),
            Value::Nil => Err(Failure::new("value is nil; should be of type string")),
            other => Err(Failure::new(format!("value has type {}; should be string", other.type_name()))),
        },
        Value::List(items) => {
            let position = position(key)?;
            let item = position.and_then(|position| items.get(position));
            item.cloned().ok_or_else(|| out_of_range(key))
        }
        Value::String(_) | Value::Binary(_) => {
            let position = position(key)?;
            let byte = position.and_then(|position| collection.as_bytes()?.get(position));
            byte.map(|byte| objects::byte(*byte)).ok_or_else(|| out_of_range(key))
        }
        Value::Object(object) => match object.as_collection() {
            Some(collection) => element(&collection, key),
            None => Err(Failure::new(format!("can't index item of type {}", object.type_name()))),
        },
        other => Err(Failure::new(format!("can't index item of type {}", other.type_name()))),
    }
}

/// What a map gives for a key that it has not.
fn missing(map: &MapCell) -> Value {
    if map.holds_text() { Value::from("") } else { Value::Nil }
}

fn position(key: &Value) -> Result<Option<usize>, Failure> {
    match key {
        Value::Nil => Err(Failure::new("cannot index slice/array with nil")),
        other if other.as_whole().is_some() => Ok(other.as_whole().and_then(|at| usize::try_from(at).ok())),
        other => Err(Failure::new(format!("cannot index slice/array with type {}", other.type_name()))),
    }
}

fn out_of_range(key: &Value) -> Failure {
    Failure::new(format!("index out of range: {}", key.as_whole().unwrap_or_default()))
}

fn fail(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Err(Failure::new(text(values, 0)?))
}

fn required(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let message = text(values, 0)?;
    let value = argument(values, 1);
    if value.is_nil() || value.as_str() == Some("") {
        return Err(Failure::new(message));
    }
    Ok(value.clone())
}

fn lookup(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let found = (runtime.lookup)(&LookupQuery {
        api_version: text(values, 0)?.to_owned(),
        kind: text(values, 1)?.to_owned(),
        namespace: text(values, 2)?.to_owned(),
        name: text(values, 3)?.to_owned(),
    });
    let value = match &found {
        serde_json::Value::Null => Value::map::<&str>([]),
        found => Value::from_unstructured(found),
    };
    runtime.budget.produce(value.deep_size()?)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn gos_own_functions() {
        let values = json!({"list": ["a", 1], "map": {"k": {"z": "deep"}}, "text": "a<b>&'\""});
        assert_prints(
            &values,
            &[
                ("len .Values.list", "2"),
                ("len \"é\"", "2"),
                ("index .Values.list 0", "a"),
                ("index .Values.map \"k\" \"z\"", "deep"),
                ("index .Values.map \"none\"", ""),
                ("print 1 2 \"a\" \"b\" 3 4", "1 2ab3 4"),
                ("println 1 \"a\" | trim", "1 a"),
                ("html .Values.text", "a&lt;b&gt;&amp;&#39;&#34;"),
                ("urlquery \"a b/ü\"", "a+b%2F%C3%BC"),
                ("printf \"%s-%d\" \"a\" 3", "a-3"),
                ("printf \"%d\" .Values.list | quote", "\"[%!d(string=a) %!d(float64=1)]\""),
            ],
        );
        assert_refused(
            &values,
            &[
                ("index .Values.list 2", "calling `index`: index out of range: 2"),
                ("len .Values.none", "len of nil pointer"),
                ("index .Values.none 1", "index of untyped nil"),
                ("len 3", "len of type int"),
            ],
        );
    }

    #[test]
    fn helms_ways_to_stop() {
        let values = json!({"there": "x", "zero": 0});
        assert_prints(
            &values,
            &[("required \"m\" .Values.there", "x"), ("required \"m\" .Values.zero", "0")],
        );
        assert_refused(
            &values,
            &[
                ("required \"give a name\" .Values.none", "NOTES.txt:1:4: calling `required`: give a name"),
                ("fail \"no way\"", "calling `fail`: no way"),
            ],
        );
        assert_prints(&values, &[("lookup \"v1\" \"Secret\" \"a\" \"b\" | toJson", "{}")]);
    }
}
