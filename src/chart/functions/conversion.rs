//! Between values and YAML or JSON text.

use serde_json::Value as Json;

use super::{Function, Outcome, Runtime, argument, text};
use crate::chart::error::Failure;
use crate::chart::json::{self, Layout};
use crate::chart::value::Value;
use crate::chart::yaml;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("toYaml", 1, to_yaml),
    Function::exactly("mustToYaml", 1, to_yaml),
    Function::exactly("toYamlPretty", 1, to_yaml_pretty),
    Function::exactly("fromYaml", 1, from_yaml),
    Function::exactly("fromYamlArray", 1, from_yaml_array),
    Function::exactly("toJson", 1, |runtime, values| lenient(runtime, values, COMPACT)),
    Function::exactly("mustToJson", 1, |runtime, values| strict(runtime, values, COMPACT)),
    Function::exactly("toPrettyJson", 1, |runtime, values| lenient(runtime, values, PRETTY)),
    Function::exactly("mustToPrettyJson", 1, |runtime, values| strict(runtime, values, PRETTY)),
    Function::exactly("toRawJson", 1, |runtime, values| strict(runtime, values, RAW)),
    Function::exactly("mustToRawJson", 1, |runtime, values| strict(runtime, values, RAW)),
    Function::exactly("fromJson", 1, from_json),
    Function::exactly("mustFromJson", 1, must_from_json),
    Function::exactly("fromJsonArray", 1, from_json_array),
];

/// Takes the argument apart; what it costs is counted first.
fn json_of(runtime: &mut Runtime<'_>, values: &[Value]) -> Result<Json, Failure> {
    let value = argument(values, 0);
    runtime.budget.produce(value.deep_size()?)?;
    Ok(value.to_json()?)
}

/// Helm takes away one line break, not all: a text may end with its own.
fn without_line_break(text: &str) -> Value {
    Value::from(text.strip_suffix('\n').unwrap_or(text))
}

fn to_yaml(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let json = json_of(runtime, values)?;
    Ok(without_line_break(&yaml::to_text(&json)))
}

fn to_yaml_pretty(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let json = json_of(runtime, values)?;
    Ok(without_line_break(&yaml::to_pretty_text(&json)))
}

/// Go's JSON of a value; it has none for infinity.
fn written(runtime: &mut Runtime<'_>, values: &[Value], layout: Layout) -> Result<String, Failure> {
    let value = argument(values, 0);
    runtime.budget.produce(value.deep_size()?)?;
    json::text(value, layout)
}

/// Returns no text where Go's encoder gives up.
fn lenient(runtime: &mut Runtime<'_>, values: &[Value], layout: Layout) -> Outcome {
    let value = argument(values, 0);
    runtime.budget.produce(value.deep_size()?)?;
    Ok(Value::from(json::text(value, layout).unwrap_or_default()))
}

const COMPACT: Layout = Layout { is_pretty: false, escapes_html: true };
const PRETTY: Layout = Layout { is_pretty: true, escapes_html: true };
const RAW: Layout = Layout { is_pretty: false, escapes_html: false };

fn strict(runtime: &mut Runtime<'_>, values: &[Value], layout: Layout) -> Outcome {
    Ok(Value::from(written(runtime, values, layout)?))
}

/// `fromYaml` and `fromJson` never fail: the message is a value under `Error`.
fn error_map(message: &str) -> Value {
    Value::map([("Error", Value::string(message))])
}

fn parsed_yaml(runtime: &mut Runtime<'_>, values: &[Value]) -> Result<Result<Json, String>, Failure> {
    let text = text(values, 0)?;
    runtime.budget.produce(text.len().saturating_mul(4))?;
    match yaml::Reader::read(text) {
        Ok(document) => {
            runtime.budget.produce(document.nodes.saturating_mul(64))?;
            Ok(Ok(document.value))
        }
        Err(error) => Ok(Err(error.to_string())),
    }
}

fn from_yaml(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(map_or_error(parsed_yaml(runtime, values)?))
}

fn map_or_error(parsed: Result<Json, String>) -> Value {
    match parsed {
        Ok(Json::Object(entries)) => Value::from_object(&entries),
        Ok(Json::Null) => Value::map::<&str>([]),
        Ok(other) => error_map(&format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json_kind(&other)
        )),
        Err(message) => error_map(&message),
    }
}

fn json_kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn from_yaml_array(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(list_or_error(parsed_yaml(runtime, values)?))
}

fn list_or_error(parsed: Result<Json, String>) -> Value {
    match parsed {
        Ok(items @ Json::Array(_)) => Value::from_json(&items),
        Ok(Json::Null) => Value::list(Vec::new()),
        Ok(other) => Value::strings([format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type []interface {{}}",
            json_kind(&other)
        )]),
        Err(message) => Value::strings([message]),
    }
}

fn parsed_json(runtime: &mut Runtime<'_>, values: &[Value]) -> Result<Result<Json, String>, Failure> {
    let text = text(values, 0)?;
    runtime.budget.produce(text.len().saturating_mul(8))?;
    Ok(serde_json::from_str::<Json>(text).map_err(|error| error.to_string()))
}

fn from_json(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(map_or_error(parsed_json(runtime, values)?))
}

fn from_json_array(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(list_or_error(parsed_json(runtime, values)?))
}

fn must_from_json(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let parsed = parsed_json(runtime, values)?;
    parsed.map(|json| Value::from_json(&json)).map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn values_become_text_and_back() {
        let values = json!({"map": {"b": [1, 1.5, null], "a": "<&>"}, "big": 12_345_678});
        assert_prints(
            &values,
            &[
                ("toYaml .Values.map", "a: <&>\nb:\n- 1\n- 1.5\n- null"),
                ("toYamlPretty .Values.map", "a: <&>\nb:\n  - 1\n  - 1.5\n  - null"),
                ("toJson .Values.map", "{\"a\":\"\\u003c\\u0026\\u003e\",\"b\":[1,1.5,null]}"),
                ("toRawJson .Values.map", "{\"a\":\"<&>\",\"b\":[1,1.5,null]}"),
                ("toPrettyJson (dict \"a\" 1)", "{\n  \"a\": 1\n}"),
                ("toYaml .Values.big", "12345678"),
                ("(fromYaml \"a: 0644\").a", "420"),
                ("fromYamlArray \"[1, yes]\" | toJson", "[1,true]"),
                ("(fromJson `{\"a\":{\"b\":2}}`).a.b", "2"),
                ("fromJsonArray `[1]` | len", "1"),
                ("hasKey (fromYaml \"- a\") \"Error\"", "true"),
                ("hasKey (fromJson \"{\") \"Error\"", "true"),
                ("fromYaml \"\" | toJson", "{}"),
                ("toYaml nil", "null"),
            ],
        );
        assert_refused(&values, &[("mustFromJson \"{\"", "calling `mustFromJson`: EOF")]);
    }
}
