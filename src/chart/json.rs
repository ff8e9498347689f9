//! Writes JSON as Go's `encoding/json` does: floats plainly from 1e-6 up to 1e21, HTML characters escaped.

use std::io::{self, Write};

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::format;

/// Writes without any space.
pub(crate) fn compact(value: &Value) -> String {
    written(value, CompactFormatter)
}

/// Writes with an indentation of two spaces.
pub(crate) fn pretty(value: &Value) -> String {
    written(value, PrettyFormatter::new())
}

/// Makes JSON safe within HTML, as Go's encoder does unless told otherwise.
pub(crate) fn escape_html(json: &str) -> String {
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn written(value: &Value, layout: impl Formatter) -> String {
    let mut output = Vec::new();
    let result = value.serialize(&mut Serializer::with_formatter(&mut output, GoFloats(layout)));
    // Writing a JSON value to memory cannot fail.
    debug_assert!(result.is_ok());
    String::from_utf8(output).unwrap_or_default()
}

/// A layout with Go's floats.
struct GoFloats<F>(F);

impl<F: Formatter> Formatter for GoFloats<F> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(format::json_float(value).as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_and_html_are_gos() {
        let floats = json!([1e20, 1e21, 1e-6, 1e-7, 1.5]);
        assert_eq!(compact(&floats), "[100000000000000000000,1e+21,0.000001,1e-7,1.5]");
        assert_eq!(pretty(&json!({"a": [1]})), "{\n  \"a\": [\n    1\n  ]\n}");
        assert_eq!(escape_html(&compact(&json!("<&>"))), "\"\\u003c\\u0026\\u003e\"");
    }
}
