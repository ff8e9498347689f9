//! Conversions to numbers, by the lenient rules of the Go module cast, and ranges of numbers.

use super::{Function, Outcome, Runtime, argument, integer, text};
use crate::chart::error::Failure;
use crate::chart::format;
use crate::chart::value::{Element, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("int", 1, |_, values| Ok(Value::Int(whole(argument(values, 0))))),
    Function::exactly("int64", 1, |_, values| Ok(Value::Int64(whole(argument(values, 0))))),
    Function::exactly("float64", 1, |_, values| Ok(Value::Float(real(argument(values, 0))))),
    Function::exactly("atoi", 1, |_, values| Ok(Value::Int(parse_decimal(text(values, 0)?)))),
    Function::exactly("toDecimal", 1, to_decimal),
    Function::exactly("until", 1, until),
    Function::exactly("untilStep", 3, until_step),
    Function::between("seq", 0, 3, seq),
];

/// Converts to a whole number: fractions are cut, text is read with Go's prefixes, anything else is 0.
pub(super) fn whole(value: &Value) -> i64 {
    match value {
        Value::Int(number) | Value::Int64(number) => *number,
        Value::Float(number) => cut(*number),
        Value::Bool(flag) => i64::from(*flag),
        Value::String(text) => parse_whole(text).unwrap_or(0),
        // Of the named types the Go module knows all but durations.
        Value::Object(object) if object.as_duration().is_none() => object.as_whole().unwrap_or(0),
        _ => 0,
    }
}

/// Cuts the fraction. What does not fit becomes the least number, as on Go's usual machines.
#[expect(clippy::cast_possible_truncation, reason = "cutting the fraction is the purpose")]
fn cut(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

/// Converts to a float; text that is no number is 0.
pub(super) fn real(value: &Value) -> f64 {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "as in Go")]
        Value::Int(number) | Value::Int64(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::String(text) => parse_real(text).unwrap_or(0.0),
        #[expect(clippy::cast_precision_loss, reason = "as in Go")]
        Value::Object(_) => whole(value) as f64,
        _ => 0.0,
    }
}

/// Whether each `_` stands between digits, or between a prefix such as `0x` and digits.
fn underscores_separate(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes();
    let is_prefixed = matches!(text, [b'0', b'x' | b'X' | b'b' | b'B' | b'o' | b'O', ..]);
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_hexdigit) || (at == 1 && is_prefixed);
    let places = text.iter().enumerate().filter(|(_, byte)| **byte == b'_');
    places.into_iter().all(|(at, _)| at > 0 && is_digit(at - 1) && is_digit(at + 1))
}

/// Go's `ParseFloat`: as in Rust, and with `_` between digits and in hexadecimal digits.
pub(super) fn parse_real(text: &str) -> Option<f64> {
    if text.contains('_') {
        return underscores_separate(text).then(|| parse_real(&text.replace('_', "")))?;
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let Some(digits) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) else {
        return text.parse().ok();
    };
    let size = hexadecimal_real(digits)?;
    Some(if negative { -size } else { size })
}

/// Reads `1.8p1`; the exponent must be there.
#[expect(clippy::cast_precision_loss, reason = "beyond 53 bits a float has no digits")]
fn hexadecimal_real(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
    let shift = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()? * 4)?;
    Some(digits as f64 * 2f64.powi(shift))
}

/// Go's `ParseInt` with base 0: `0x1f`, `0b1`, `0o17`, `017`. `12.0` counts as 12.
fn parse_whole(text: &str) -> Option<i64> {
    let text = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    };
    if !underscores_separate(text) {
        return None;
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(&digits.replace('_', ""), radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// Go's `Atoi` without its error: what does not fit is the nearest number, what is none is 0.
pub(super) fn parse_decimal(text: &str) -> i64 {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX })
}

/// Reads what a value prints as octal digits; anything else is 0.
fn to_decimal(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let value = argument(values, 0);
    runtime.budget.produce(value.deep_size()?)?;
    let text = String::from_utf8(format::display(value)?).unwrap_or_default();
    Ok(Value::Int64(i64::from_str_radix(&text, 8).unwrap_or(0)))
}

/// Counts from `start` towards `end`, which is left out.
fn range(runtime: &mut Runtime<'_>, start: i64, end: i64, step: i64) -> Result<Vec<i64>, Failure> {
    let forward = end > start && step > 0;
    let backward = end < start && step < 0;
    if !forward && !backward {
        return Ok(Vec::new());
    }
    let count = end.abs_diff(start).div_ceil(step.unsigned_abs());
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    runtime.budget.produce(count.saturating_mul(size_of::<Value>()))?;
    let mut numbers = Vec::with_capacity(count);
    let mut current = start;
    for _ in 0..count {
        numbers.push(current);
        current = current.saturating_add(step);
    }
    Ok(numbers)
}

fn list(numbers: Vec<i64>) -> Value {
    Value::list_of(Element::Int, numbers.into_iter().map(Value::Int).collect())
}

fn until(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let count = integer(values, 0)?;
    Ok(list(range(runtime, 0, count, count.signum())?))
}

fn until_step(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (start, end, step) = (integer(values, 0)?, integer(values, 1)?, integer(values, 2)?);
    Ok(list(range(runtime, start, end, step)?))
}

/// The shell's `seq`: numbers as text, the end included.
fn seq(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut numbers = Vec::new();
    for position in 0..values.len() {
        numbers.push(integer(values, position)?);
    }
    let (start, end, step) = match numbers.as_slice() {
        [] => return Ok(Value::from("")),
        [end] => (1, *end, if *end < 1 { -1 } else { 1 }),
        [start, end] => (*start, *end, if end < start { -1 } else { 1 }),
        [start, step, end, ..] => (*start, *end, *step),
    };
    if end < start && step > 0 {
        return Ok(Value::from(""));
    }
    let past_end = end.saturating_add(if end < start { -1 } else { 1 });
    let words: Vec<String> = range(runtime, start, past_end, step)?.iter().map(ToString::to_string).collect();
    Ok(Value::from(words.join(" ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn numbers_are_read_leniently() {
        let values =
            json!({"float": 3.9, "text": "12", "hex": "0x1f", "octal": "017", "junk": "x1", "on": true});
        assert_prints(
            &values,
            &[
                ("int .Values.float", "3"),
                ("int .Values.text", "12"),
                ("int64 .Values.hex", "31"),
                ("int .Values.octal", "15"),
                ("int .Values.junk", "0"),
                ("int .Values.on", "1"),
                ("int nil", "0"),
                ("int \"5.0\"", "5"),
                ("float64 \"1.5\"", "1.5"),
                ("atoi \"08\"", "8"),
            ],
        );
    }

    #[test]
    fn ranges_have_gos_edges() {
        assert_prints(
            &json!({}),
            &[
                ("until 3 | toJson", "[0,1,2]"),
                ("until -2 | toJson", "[0,-1]"),
                ("untilStep 0 10 4 | toJson", "[0,4,8]"),
                ("untilStep 3 0 -2 | toJson", "[3,1]"),
                ("untilStep 0 3 0 | toJson", "[]"),
                ("seq 3", "1 2 3"),
                ("seq 2 0", "2 1 0"),
                ("seq 0 5 10", "0 5 10"),
                ("seq -2", "1 0 -1 -2"),
            ],
        );
        assert_refused(
            &json!({"n": 3}),
            &[
                ("until 1000000000", "calling `until`: the templates produce more than"),
                ("seq 9223372036854775807", "calling `seq`: the templates produce more than"),
                ("until .Values.n", "expected int; got float64"),
            ],
        );
    }
}
