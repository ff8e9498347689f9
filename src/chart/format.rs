//! Prints values as Go's `fmt` does: `%v`, `printf` with its verbs, quoting, floats.

use std::fmt::Write as _;
use std::io::Write as _;

use super::value::{DEPTH_MAX, TooDeep, Value};

mod numbers;
mod printf;

pub(crate) use printf::sprintf;

/// Prints a value as `%v` does.
pub(crate) fn display(value: &Value) -> Result<Vec<u8>, TooDeep> {
    let mut output = Vec::new();
    write_value(&mut output, value)?;
    Ok(output)
}

/// Appends a value as `%v` prints it.
pub(crate) fn write_value(output: &mut Vec<u8>, value: &Value) -> Result<(), TooDeep> {
    write_nested(output, value, 0)
}

fn write_nested(output: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), TooDeep> {
    if depth > DEPTH_MAX {
        return Err(TooDeep);
    }
    match value {
        Value::Nil => output.extend_from_slice(b"<nil>"),
        Value::Bool(flag) => output.extend_from_slice(if *flag { b"true" } else { b"false" }),
        // Writing to memory cannot fail.
        Value::Int(number) | Value::Int64(number) => _ = write!(output, "{number}"),
        Value::Float(number) => output.extend_from_slice(float(*number).as_bytes()),
        Value::String(text) => output.extend_from_slice(text.as_bytes()),
        Value::Binary(binary) => output.extend_from_slice(binary.bytes()),
        Value::List(items) => {
            output.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    output.push(b' ');
                }
                write_nested(output, item, depth + 1)?;
            }
            output.push(b']');
        }
        Value::Map(map) => {
            output.extend_from_slice(b"map[");
            for (position, (key, value)) in map.entries().iter().enumerate() {
                if position > 0 {
                    output.push(b' ');
                }
                output.extend_from_slice(key.as_bytes());
                output.push(b':');
                write_nested(output, value, depth + 1)?;
            }
            output.push(b']');
        }
        Value::Object(object) => output.extend_from_slice(object.display().as_bytes()),
    }
    Ok(())
}

/// Prints a float as `%v` and go-yaml do: with an exponent below 1e-04 and from 1e+06 on.
pub(crate) fn float(number: f64) -> String {
    printed(number, -4..6, 2)
}

/// Prints a float as `encoding/json` does: with an exponent below 1e-6 and from 1e+21 on.
pub(crate) fn json_float(number: f64) -> String {
    printed(number, -6..21, 1)
}

/// Prints the shortest digits that mean the number, without an exponent while that is in `plain`.
fn printed(number: f64, plain: std::ops::Range<i32>, exponent_digits: usize) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if plain.contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:0exponent_digits$}", exponent.abs())
}

/// Quotes a string as Go's `%q`.
pub(crate) fn quote(bytes: &[u8]) -> String {
    quoted(bytes, false)
}

fn quoted(bytes: &[u8], ascii_only: bool) -> String {
    let mut output = String::with_capacity(bytes.len() + 2);
    output.push('"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            escape(&mut output, character, '"', ascii_only);
        }
        for byte in chunk.invalid() {
            _ = write!(output, "\\x{byte:02x}");
        }
    }
    output.push('"');
    output
}

/// Appends a character as Go's quoting has it: itself if it can be seen.
fn escape(output: &mut String, character: char, quote: char, ascii_only: bool) {
    match character {
        '\\' => output.push_str("\\\\"),
        '\u{7}' => output.push_str("\\a"),
        '\u{8}' => output.push_str("\\b"),
        '\u{c}' => output.push_str("\\f"),
        '\n' => output.push_str("\\n"),
        '\r' => output.push_str("\\r"),
        '\t' => output.push_str("\\t"),
        '\u{b}' => output.push_str("\\v"),
        '\0'..='\u{1f}' | '\u{7f}' => _ = write!(output, "\\x{:02x}", u32::from(character)),
        _ if character == quote => {
            output.push('\\');
            output.push(character);
        }
        _ if character.is_ascii() || (!ascii_only && is_printable(character)) => output.push(character),
        '\u{10000}'.. => _ = write!(output, "\\U{:08x}", u32::from(character)),
        _ => _ = write!(output, "\\u{:04x}", u32::from(character)),
    }
}

/// Whether a character can be seen. Rust's own escaping of text knows that; what only changes the letter before it is
/// escaped at the beginning of a text and not behind a letter.
pub(crate) fn is_printable(character: char) -> bool {
    let text: String = ['a', character].iter().collect();
    text.escape_debug().eq(text.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_go_does() {
        for (number, expected) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (1_000_000.0, "1e+06"),
            (100_000.0, "100000"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (-0.0, "-0"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(float(number), expected);
        }
        assert_eq!(json_float(1e20), "100000000000000000000");
        assert_eq!(json_float(1e21), "1e+21");
    }

    #[test]
    fn collections_print_in_brackets_with_sorted_keys() {
        let map = Value::map([("b", Value::Nil), ("a", Value::list(vec![Value::Int(1), Value::from("x")]))]);
        assert_eq!(display(&map).unwrap(), b"map[a:[1 x] b:<nil>]");
    }

    #[test]
    fn quoting_escapes_like_go() {
        assert_eq!(
            quote("a\"b\\\n\u{1}é\u{feff}e\u{301}😀".as_bytes()),
            "\"a\\\"b\\\\\\n\\x01é\\ufeffe\u{301}😀\""
        );
        assert_eq!(quote(b"\xff\xc3a"), "\"\\xff\\xc3a\"");
        assert_eq!(quoted("ä😀".as_bytes(), true), "\"\\u00e4\\U0001f600\"");
    }
}
