//! Between values and TOML text, in the layout of the Go module that Helm writes it with: plain keys before tables, each
//! table two spaces further in than the one around it.

use std::fmt::Write as _;

use super::{Function, Outcome, Runtime, argument, text};
use crate::chart::dates;
use crate::chart::error::Failure;
use crate::chart::format;
use crate::chart::objects::Object;
use crate::chart::value::{DEPTH_MAX, Element, TooDeep, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("toToml", 1, |runtime, values| {
        runtime.budget.produce(argument(values, 0).deep_size()?)?;
        Ok(Value::from(written(argument(values, 0)).unwrap_or_else(|error| error.to_string())))
    }),
    Function::exactly("mustToToml", 1, |runtime, values| {
        runtime.budget.produce(argument(values, 0).deep_size()?)?;
        written(argument(values, 0)).map(Value::from).map_err(|error| Failure::new(error.to_string()))
    }),
    Function::exactly("fromToml", 1, from_toml),
];

/// What TOML cannot say.
#[derive(Debug, thiserror::Error)]
enum TomlError {
    #[error("toml: cannot encode array with nil element")]
    NilItem,
    #[error("toml: top-level values must be Go maps or structs")]
    NoKey,
    #[error("the value is nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("unexpected type: {0}")]
    Type(&'static str),
}

impl From<TooDeep> for TomlError {
    fn from(_: TooDeep) -> Self {
        Self::TooDeep
    }
}

fn written(value: &Value) -> Result<String, TomlError> {
    let mut writer = Writer { output: String::new() };
    writer.entry(&mut Vec::new(), value)?;
    Ok(writer.output)
}

struct Writer {
    output: String,
}

impl Writer {
    /// Writes a value under its whole key.
    fn entry(&mut self, key: &mut Vec<String>, value: &Value) -> Result<(), TomlError> {
        if key.len() > DEPTH_MAX {
            return Err(TomlError::TooDeep);
        }
        match value {
            Value::Nil if key.is_empty() => Err(TomlError::NoKey),
            Value::Nil => Ok(()),
            Value::Map(_) => {
                if key.len() == 1 {
                    self.line_break();
                }
                if !key.is_empty() {
                    let header = format!("{}[{}]", margin(key), key.join("."));
                    self.output.push_str(&header);
                    self.line_break();
                }
                self.table(key, value)
            }
            Value::List(items) if is_tables(value)? => {
                if key.is_empty() {
                    return Err(TomlError::NoKey);
                }
                for item in items.iter() {
                    self.line_break();
                    let header = format!("{}[[{}]]", margin(key), key.join("."));
                    self.output.push_str(&header);
                    self.line_break();
                    self.table(key, item)?;
                }
                Ok(())
            }
            value => {
                if let Some(last) = key.last() {
                    let start = format!("{}{last} = ", margin(key));
                    self.output.push_str(&start);
                }
                self.inline(value, key.len())?;
                if !key.is_empty() {
                    self.line_break();
                }
                Ok(())
            }
        }
    }

    /// Nothing begins with an empty line.
    fn line_break(&mut self) {
        if !self.output.is_empty() {
            self.output.push('\n');
        }
    }

    /// Writes the entries of a map: those that are tables behind the others.
    fn table(&mut self, key: &mut Vec<String>, map: &Value) -> Result<(), TomlError> {
        let Value::Map(map) = map else { return Ok(()) };
        let entries: Vec<(String, Value)> =
            map.entries().iter().map(|(name, value)| (quoted_key(name), value.clone())).collect();
        for tables in [false, true] {
            for (name, value) in &entries {
                if is_table(value)? == tables && !value.is_nil() {
                    key.push(name.clone());
                    self.entry(key, value)?;
                    key.pop();
                }
            }
        }
        Ok(())
    }

    /// Writes a value on one line.
    fn inline(&mut self, value: &Value, depth: usize) -> Result<(), TomlError> {
        if depth > DEPTH_MAX {
            return Err(TomlError::TooDeep);
        }
        match value {
            Value::Nil => return Err(TomlError::NilItem),
            Value::Bool(flag) => _ = write!(self.output, "{flag}"),
            Value::Int(number) | Value::Int64(number) => _ = write!(self.output, "{number}"),
            Value::Float(number) => self.output.push_str(&float(*number)),
            Value::String(text) => self.string(text),
            Value::Binary(binary) => self.string(binary.text()),
            Value::List(items) => {
                self.output.push('[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        self.output.push_str(", ");
                    }
                    self.inline(item, depth + 1)?;
                }
                self.output.push(']');
            }
            Value::Map(map) => self.inline_table(&map.entries(), depth)?,
            Value::Object(object) => match &**object {
                Object::Time(moment) => self.output.push_str(&moment.rfc3339()),
                Object::Number(number) if object.as_duration().is_none() => {
                    _ = write!(self.output, "{}", number.value);
                }
                Object::Number(_) | Object::Version(_) => self.string(&object.display()),
                other => match other.as_collection() {
                    Some(collection) => self.inline(&collection, depth + 1)?,
                    None => return Err(TomlError::Type(other.type_name())),
                },
            },
        }
        Ok(())
    }

    fn inline_table(
        &mut self,
        entries: &std::collections::BTreeMap<std::rc::Rc<str>, Value>,
        depth: usize,
    ) -> Result<(), TomlError> {
        self.output.push('{');
        let mut is_first = true;
        for tables in [false, true] {
            for (name, value) in entries {
                if value.is_nil() || is_table(value)? != tables {
                    continue;
                }
                if !std::mem::take(&mut is_first) {
                    self.output.push_str(", ");
                }
                let start = format!("{} = ", quoted_key(name));
                self.output.push_str(&start);
                self.inline(value, depth + 1)?;
            }
        }
        self.output.push('}');
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.output.push('"');
        for character in text.chars() {
            match character {
                '"' => self.output.push_str("\\\""),
                '\\' => self.output.push_str("\\\\"),
                '\t' => self.output.push_str("\\t"),
                '\n' => self.output.push_str("\\n"),
                '\r' => self.output.push_str("\\r"),
                '\u{8}' => self.output.push_str("\\b"),
                '\u{c}' => self.output.push_str("\\f"),
                '\0'..='\u{1f}' | '\u{7f}' => _ = write!(self.output, "\\u{:04x}", u32::from(character)),
                other => self.output.push(other),
            }
        }
        self.output.push('"');
    }
}

fn margin(key: &[String]) -> String {
    "  ".repeat(key.len().saturating_sub(1))
}

fn quoted_key(name: &str) -> String {
    if !name.is_empty() && name.chars().all(|next| next.is_ascii_alphanumeric() || matches!(next, '-' | '_'))
    {
        return name.to_owned();
    }
    let mut writer = Writer { output: String::new() };
    writer.string(name);
    writer.output
}

fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let text = format::float(number);
    if text.contains(['e', '.']) { text } else { text + ".0" }
}

fn is_table(value: &Value) -> Result<bool, TomlError> {
    match value {
        Value::Map(_) => Ok(true),
        Value::List(_) => is_tables(value),
        _ => Ok(false),
    }
}

/// Whether a list holds only maps, and at least one.
fn is_tables(value: &Value) -> Result<bool, TomlError> {
    let Value::List(items) = value else { return Ok(false) };
    if items.iter().any(Value::is_nil) {
        return Err(TomlError::NilItem);
    }
    Ok(!items.is_empty() && items.iter().all(|item| matches!(item, Value::Map(_))))
}

/// Never fails: the message is a value under `Error`.
fn from_toml(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let text = text(values, 0)?;
    runtime.budget.produce(text.len().saturating_mul(32))?;
    Ok(match ::toml::from_str::<::toml::Table>(text) {
        Ok(table) => read_table(table),
        Err(error) => Value::map([("Error", Value::from(format!("toml: {}", error.message())))]),
    })
}

fn read_table(table: ::toml::Table) -> Value {
    Value::map(table.into_iter().map(|(key, value)| (key, read(value))))
}

fn read(value: ::toml::Value) -> Value {
    match value {
        ::toml::Value::String(text) => Value::from(text),
        ::toml::Value::Integer(number) => Value::Int64(number),
        ::toml::Value::Float(number) => Value::Float(number),
        ::toml::Value::Boolean(flag) => Value::Bool(flag),
        ::toml::Value::Datetime(moment) => moment_of(&moment.to_string()),
        ::toml::Value::Array(items) => {
            let tables = !items.is_empty() && items.iter().all(::toml::Value::is_table);
            let items = items.into_iter().map(read).collect();
            if tables { Value::list_of(Element::Maps, items) } else { Value::list(items) }
        }
        ::toml::Value::Table(table) => read_table(table),
    }
}

/// A date of TOML, which may lack its time or its zone.
fn moment_of(text: &str) -> Value {
    let layouts = ["2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02", "15:04:05"];
    let found = layouts.iter().find_map(|layout| dates::parse(layout, text).ok());
    found.map_or_else(|| Value::string(text), |moment| Value::object(Object::Time(moment)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn values_become_toml_and_back() {
        let values = json!({"m": {"b": {"c": {"d": 1}}, "a": "x\"y", "l": [1, 2.5], "t": [{"k": true}, {"k": null}], "x y": null}});
        assert_prints(
            &values,
            &[
                (
                    "toToml .Values.m",
                    "a = \"x\\\"y\"\nl = [1.0, 2.5]\n\n[b]\n  [b.c]\n    d = 1.0\n\n[[t]]\n  k = true\n\n[[t]]\n",
                ),
                ("toToml (dict \"a b\" (list (dict \"x\" 1) 2))", "\"a b\" = [{x = 1}, 2]\n"),
                ("toToml (dict \"a\" (list nil))", "toml: cannot encode array with nil element"),
                ("(fromToml \"[a]\\nb = [1, 2]\").a.b | toJson", "[1,2]"),
                ("hasKey (fromToml \"a\") \"Error\"", "true"),
                ("(fromToml \"d = 2020-01-02\").d.Year", "2020"),
            ],
        );
        assert_refused(&values, &[("mustToToml (dict \"a\" (list nil))", "nil element")]);
    }
}
