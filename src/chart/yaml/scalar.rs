//! What a plain (unquoted) YAML 1.1 scalar means.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Number, Value};

/// The length of `false`: no longer word means anything but itself.
const LONGEST_WORD: usize = 5;

/// Resolves a plain scalar by the rules of YAML 1.1 as go-yaml applies them: `yes` is true, `0644` is 420,
/// `1_000` is a number; timestamps stay text.
pub(super) fn resolve(text: &str) -> Value {
    // Most are words, and longer than those that mean something.
    if text.len() > LONGEST_WORD && text.as_bytes()[0].is_ascii_alphabetic() {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            return Value::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) {
        return Value::String(text.to_owned());
    }
    let digits = text.replace('_', "");
    integer(&digits).or_else(|| float(&digits)).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// Tells whether a string, written plain, would come back as something else, so that it needs quotes.
pub(super) fn looks_like_another_type(text: &str) -> bool {
    const NOT_NUMBERS: [&str; 12] = [
        ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN",
    ];
    !matches!(resolve(text), Value::String(_))
        || NOT_NUMBERS.contains(&text)
        || is_timestamp(text)
        || is_base_60(text)
}

/// Turns a float into the JSON number Go would print: whole numbers lose their fraction.
pub(crate) fn number_from_float(float: f64) -> Option<Number> {
    // Within ±2^53 every whole float is exact, so the conversion cannot change the value.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53")]
        return Some(Number::from(float as i64));
    }
    Number::from_f64(float)
}

fn integer(digits: &str) -> Option<Number> {
    let (negative, body) = match digits.as_bytes().first()? {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, digits),
    };
    let (radix, body) = match body.as_bytes() {
        [b'0', b'x', ..] => (16, &body[2..]),
        [b'0', b'b', ..] => (2, &body[2..]),
        [b'0', b'o', ..] => (8, &body[2..]),
        [b'0', _, ..] => (8, body),
        _ => (10, body),
    };
    if !body.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = u64::from_str_radix(body, radix).ok()?;
    if negative {
        i64::try_from(-i128::from(magnitude)).ok().map(Number::from)
    } else {
        Some(Number::from(magnitude))
    }
}

/// Parses `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`; Rust alone would also take `inf` and `nan`.
fn float(digits: &str) -> Option<Number> {
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_is_number =
        all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_is_number = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && all_digits(exponent)
    });
    if !mantissa_is_number || !exponent_is_number {
        return None;
    }
    number_from_float(digits.parse::<f64>().ok()?)
}

/// `2001-12-14`, with or without a time of day: YAML 1.1 has a type for it. With `T` the time has a zone, with a space
/// it has none.
fn is_timestamp(text: &str) -> bool {
    if text.as_bytes().get(4) != Some(&b'-') {
        return false;
    }
    TIMESTAMP.as_ref().is_some_and(|timestamp| timestamp.is_match(text)) && is_in_calendar(text)
}

static TIMESTAMP: LazyLock<Option<Regex>> = LazyLock::new(|| {
    const DAY: &str = "[0-9]{4}-(?:0?[1-9]|1[0-2])-(?:0?[1-9]|[12][0-9]|3[01])";
    const TIME: &str = "(?:[01]?[0-9]|2[0-3]):[0-5]?[0-9]:[0-5]?[0-9](?:[.,][0-9]+)?";
    const ZONE: &str = "(?:Z|[+-](?:[01][0-9]|2[0-4]):[0-5][0-9])";
    Regex::new(&format!("^{DAY}(?:[Tt]{TIME}{ZONE}| {TIME})?$")).ok()
});

/// Whether a month has the day of a date that is otherwise in order.
fn is_in_calendar(text: &str) -> bool {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) = (numbers.next(), numbers.next(), numbers.next())
    else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    day <= match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `190:20:30`, a number in base 60: go-yaml quotes it although it does not read it any more.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut fields = unsigned.split(':');
    let first = fields.next().unwrap_or_default();
    let first_is_number = first.starts_with(|digit: char| digit.is_ascii_digit())
        && first.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let rest: Vec<&str> = fields.collect();
    let Some((last, middle)) = rest.split_last() else { return false };
    let sixtieth = |field: &str| match field.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
        _ => false,
    };
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    first_is_number
        && middle.iter().all(|field| sixtieth(field))
        && sixtieth(last)
        && fraction.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_follow_yaml_1_1() {
        for (text, expected) in [
            ("yes", json!(true)),
            ("n", json!(false)),
            ("Off", json!(false)),
            ("~", json!(null)),
            ("0644", json!(420)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("-12", json!(-12)),
            ("1.50", json!(1.5)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            ("08", json!(8)),
            ("-", json!("-")),
            ("+", json!("+")),
            (".", json!(".")),
            ("1.2.3", json!("1.2.3")),
            ("2001-12-14", json!("2001-12-14")),
            ("12:30", json!("12:30")),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
        ] {
            assert_eq!(resolve(text), expected, "{text}");
        }
    }

    #[test]
    fn strings_that_read_as_another_type_need_quotes() {
        for text in [
            "true",
            "y",
            "1",
            "1e3",
            "",
            "null",
            "-.Inf",
            "2001-12-14",
            "12:30",
            "2001-1-1 1:2:3.5",
            "2001-1-1T1:02:03+02:00",
            "2000-02-29",
        ] {
            assert!(looks_like_another_type(text), "{text}");
        }
        for text in [
            "truely",
            "1.2.3",
            "v1",
            "12:99",
            "2001-12",
            "é1",
            "2001-1-1 1:02:03Z",
            "2001-1-1T1:02:03",
            "2001-02-29",
            "2001-01-01 10:00:00 ",
        ] {
            assert!(!looks_like_another_type(text), "{text}");
        }
    }
}
