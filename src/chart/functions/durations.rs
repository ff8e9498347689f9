//! Durations: Sprig's two functions, which print, and Helm's own, which count.

use super::numbers::{parse_decimal, parse_real};
use super::{Function, argument};
use crate::chart::dates::Moment;
use crate::chart::durations::{self, HOUR, MINUTE, SECOND};
use crate::chart::error::Failure;
use crate::chart::format;
use crate::chart::objects::{Kind, Number, Object};
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("duration", 1, |_, values| Ok(Value::from(of_seconds(argument(values, 0))))),
    Function::exactly("durationRound", 1, |runtime, values| {
        let now = Moment::from_unix(runtime.now);
        Ok(Value::from(rounded(argument(values, 0), &now)))
    }),
    Function::exactly("mustToDuration", 1, |_, values| Ok(value(read(argument(values, 0))?))),
    Function::exactly("durationWeeks", 1, |_, values| Ok(Value::Float(hours(values) / 24.0 / 7.0))),
    Function::exactly("durationDays", 1, |_, values| Ok(Value::Float(hours(values) / 24.0))),
    Function::exactly("durationHours", 1, |_, values| Ok(Value::Float(hours(values)))),
    Function::exactly("durationMinutes", 1, |_, values| {
        Ok(Value::Float(durations::in_units(lenient(values), MINUTE)))
    }),
    Function::exactly("durationSeconds", 1, |_, values| {
        Ok(Value::Float(durations::in_units(lenient(values), SECOND)))
    }),
    Function::exactly("durationMilliseconds", 1, |_, values| Ok(Value::Int64(lenient(values) / 1_000_000))),
    Function::exactly("durationMicroseconds", 1, |_, values| Ok(Value::Int64(lenient(values) / 1_000))),
    Function::exactly("durationNanoseconds", 1, |_, values| Ok(Value::Int64(lenient(values)))),
    Function::exactly("durationRoundTo", 2, |_, values| Ok(to_multiple(values, durations::round))),
    Function::exactly("durationTruncateTo", 2, |_, values| Ok(to_multiple(values, durations::truncate))),
];

fn value(nanoseconds: i64) -> Value {
    Value::object(Object::Number(Number { kind: Kind::Duration, value: nanoseconds }))
}

/// Sprig's `duration` takes seconds as text or `int64`; anything else is none.
fn of_seconds(value: &Value) -> String {
    let seconds = match value {
        Value::String(text) => parse_decimal(text),
        Value::Int64(seconds) => *seconds,
        _ => 0,
    };
    durations::display(seconds.wrapping_mul(SECOND))
}

/// The largest unit of a duration, or of the time since a date: `2h`, `3mo`.
fn rounded(value: &Value, now: &Moment) -> String {
    let duration = match value {
        Value::String(text) => durations::parse(text).unwrap_or(0),
        Value::Int64(nanoseconds) => *nanoseconds,
        Value::Object(object) => match &**object {
            Object::Time(moment) => now.since(moment),
            _ => 0,
        },
        _ => 0,
    };
    let day = 24 * HOUR;
    let units = [(365 * day, "y"), (30 * day, "mo"), (day, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")];
    let size = duration.unsigned_abs();
    let unit = units.into_iter().find(|(unit, _)| size > unit.unsigned_abs());
    unit.map_or_else(|| "0s".to_owned(), |(unit, name)| format!("{}{name}", size / unit.unsigned_abs()))
}

/// Reads a duration as Helm does: a number, also as text, is seconds.
fn read(value: &Value) -> Result<i64, Failure> {
    match value {
        Value::Nil => Err(Failure::new("invalid duration")),
        Value::Float(seconds) => from_seconds(*seconds),
        Value::String(text) => {
            let trimmed = text.trim();
            if trimmed.is_empty() {
                return Err(Failure::new("empty duration"));
            }
            if let Some(duration) = durations::parse(trimmed) {
                return Ok(duration);
            }
            match parse_real(trimmed) {
                Some(seconds) => from_seconds(seconds),
                None => {
                    Err(Failure::new(format!("could not parse duration {}", format::quote(text.as_bytes()))))
                }
            }
        }
        Value::Object(object) if object.as_duration().is_some() => Ok(object.as_duration().unwrap_or(0)),
        other => match other.as_whole() {
            Some(seconds) => seconds
                .checked_mul(SECOND)
                .ok_or_else(|| Failure::new(format!("duration seconds overflow: {seconds}"))),
            None => Err(Failure::new(format!("unsupported duration type {}", other.type_name()))),
        },
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as in Go")]
fn from_seconds(seconds: f64) -> Result<i64, Failure> {
    if !seconds.is_finite() {
        return Err(Failure::new(format!("invalid duration seconds: {}", format::float(seconds))));
    }
    let nanoseconds = seconds * SECOND as f64;
    if nanoseconds.abs() > i64::MAX as f64 {
        return Err(Failure::new(format!("duration seconds overflow: {}", format::float(seconds))));
    }
    Ok(nanoseconds as i64)
}

/// What is no duration counts as none.
fn lenient(values: &[Value]) -> i64 {
    read(argument(values, 0)).unwrap_or(0)
}

fn hours(values: &[Value]) -> f64 {
    durations::in_units(lenient(values), HOUR)
}

fn to_multiple(values: &[Value], to_multiple: fn(i64, i64) -> i64) -> Value {
    let Ok(duration) = read(argument(values, 0)) else { return value(0) };
    value(read(argument(values, 1)).map_or(duration, |multiple| to_multiple(duration, multiple)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn durations_are_counted_rounded_and_printed() {
        assert_prints(
            &json!({"seconds": 90.5}),
            &[
                ("duration \"95\"", "1m35s"),
                ("duration 95", "0s"),
                ("durationRound \"2400h10m5s\"", "3mo"),
                ("now | dateModify \"-49h\" | durationRound", "2d"),
                ("durationMinutes .Values.seconds", "1.5083333333333333"),
                ("durationWeeks \"336h\"", "2"),
                ("durationMilliseconds \"1.5\"", "1500"),
                ("durationSeconds \"x\"", "0"),
                ("durationRoundTo \"2h35m\" \"1h\"", "3h0m0s"),
                ("durationTruncateTo \"2h35m\" \"1h\"", "2h0m0s"),
                ("(mustToDuration \"90s\").Minutes", "1.5"),
                ("mustToDuration 90 | kindOf", "int64"),
                ("mustToDuration 90 | typeOf", "time.Duration"),
                ("(mustToDuration \"1h20m\").Round (mustToDuration \"1h\")", "1h0m0s"),
            ],
        );
        assert_refused(
            &json!({}),
            &[
                ("mustToDuration \"x\"", "could not parse duration \"x\""),
                ("mustToDuration nil", "invalid duration"),
                ("mustToDuration 9223372036854775807", "overflow"),
            ],
        );
    }
}
