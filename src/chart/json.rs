//! Writes values as Go's `encoding/json` does: floats plainly from 1e-6 up to 1e21, sorted keys, stray bytes as
//! `\ufffd`, HTML characters escaped unless told otherwise.

use super::error::Failure;
use super::format;
use super::value::{DEPTH_MAX, TooDeep, Value};

/// How JSON is laid out.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// Whether each item has a line of its own, two spaces further in.
    pub(crate) is_pretty: bool,
    /// Whether `<`, `>` and `&` are escaped.
    pub(crate) escapes_html: bool,
}

/// Writes a value.
pub(crate) fn text(value: &Value, layout: Layout) -> Result<String, Failure> {
    let mut writer = Writer { output: String::new(), layout };
    writer.value(value, 0)?;
    Ok(writer.output)
}

struct Writer {
    output: String,
    layout: Layout,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return Err(TooDeep.into());
        }
        match value {
            Value::Nil => self.output.push_str("null"),
            Value::Bool(flag) => self.output.push_str(if *flag { "true" } else { "false" }),
            Value::Int(number) | Value::Int64(number) => self.output.push_str(&number.to_string()),
            Value::Float(number) if number.is_finite() => self.output.push_str(&format::json_float(*number)),
            Value::Float(number) => {
                return Err(Failure::new(format!("json: unsupported value: {}", format::float(*number))));
            }
            Value::String(text) => self.string(text),
            Value::Binary(binary) => self.bytes(binary.bytes()),
            Value::List(items) if items.is_nil() => self.output.push_str("null"),
            Value::List(items) => {
                let items = items.iter().map(|item| (None, item));
                self.collection("[]", items, depth)?;
            }
            Value::Map(map) => {
                let entries = map.entries();
                let entries = entries.iter().map(|(key, value)| (Some(&**key), value));
                self.collection("{}", entries, depth)?;
            }
            // Its whole numbers have no fraction, its keys are sorted as a map's.
            Value::Object(object) => self.value(&Value::from_unstructured(&object.to_json()), depth)?,
        }
        Ok(())
    }

    fn collection<'v>(
        &mut self,
        brackets: &str,
        items: impl ExactSizeIterator<Item = (Option<&'v str>, &'v Value)>,
        depth: usize,
    ) -> Result<(), Failure> {
        if items.len() == 0 {
            self.output.push_str(brackets);
            return Ok(());
        }
        let (open, close) = brackets.split_at(1);
        self.output.push_str(open);
        for (position, (key, value)) in items.enumerate() {
            if position > 0 {
                self.output.push(',');
            }
            self.line(depth + 1);
            if let Some(key) = key {
                self.string(key);
                self.output.push_str(if self.layout.is_pretty { ": " } else { ":" });
            }
            self.value(value, depth + 1)?;
        }
        self.line(depth);
        self.output.push_str(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if self.layout.is_pretty {
            self.output.push('\n');
            self.output.extend(std::iter::repeat_n("  ", depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.output.push('"');
        self.characters(text);
        self.output.push('"');
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.output.push('"');
        for chunk in bytes.utf8_chunks() {
            self.characters(chunk.valid());
            self.output.extend(chunk.invalid().iter().map(|_| "\\ufffd"));
        }
        self.output.push('"');
    }

    fn characters(&mut self, text: &str) {
        let mut plain = 0;
        for (at, character) in text.char_indices() {
            let escaped = match character {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\u{8}' => "\\b",
                '\u{c}' => "\\f",
                '\0'..='\u{1f}' => &format!("\\u{:04x}", u32::from(character)),
                '<' | '>' | '&' if self.layout.escapes_html => &format!("\\u{:04x}", u32::from(character)),
                '\u{2028}' => "\\u2028",
                '\u{2029}' => "\\u2029",
                _ => continue,
            };
            self.output.push_str(&text[plain..at]);
            self.output.push_str(escaped);
            plain = at + character.len_utf8();
        }
        self.output.push_str(&text[plain..]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COMPACT: Layout = Layout { is_pretty: false, escapes_html: true };

    #[test]
    fn floats_and_html_are_gos() {
        let floats = Value::from_json(&json!([1e20, 1e21, 1e-6, 1e-7, 1.5]));
        assert_eq!(text(&floats, COMPACT).unwrap(), "[100000000000000000000,1e+21,0.000001,1e-7,1.5]");
        let nested = Value::from_json(&json!({"a": [1], "b": []}));
        let pretty = Layout { is_pretty: true, ..COMPACT };
        assert_eq!(text(&nested, pretty).unwrap(), "{\n  \"a\": [\n    1\n  ],\n  \"b\": []\n}");
        assert_eq!(
            text(&Value::from("<&>\u{2028}\u{1}"), COMPACT).unwrap(),
            "\"\\u003c\\u0026\\u003e\\u2028\\u0001\""
        );
        assert!(text(&Value::Float(f64::INFINITY), COMPACT).is_err());
    }

    #[test]
    fn stray_bytes_are_escaped_and_characters_are_not() {
        let value = Value::bytes(b"\xff\xef\xbf\xbd\xc3".to_vec());
        assert_eq!(text(&value, COMPACT).unwrap(), "\"\\ufffd\u{fffd}\\ufffd\"");
    }
}
