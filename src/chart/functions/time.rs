//! Dates. The clock is an argument of the render call, and every zone but UTC is refused.

use super::{Function, Outcome, Runtime, argument, text};
use crate::chart::dates::Moment;
use crate::chart::error::Failure;
use crate::chart::objects::Object;
use crate::chart::value::Value;

const DAY: &str = "2006-01-02";

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("now", 0, |runtime, _| {
        Ok(Value::object(Object::Time(Moment { seconds: runtime.now })))
    }),
    Function::exactly("date", 2, |runtime, values| formatted(runtime, text(values, 0)?, argument(values, 1))),
    Function::exactly("dateInZone", 3, in_zone),
    Function::exactly("date_in_zone", 3, in_zone),
    Function::exactly("htmlDate", 1, |runtime, values| formatted(runtime, DAY, argument(values, 0))),
    Function::exactly("htmlDateInZone", 2, |runtime, values| {
        check_zone(text(values, 1)?)?;
        formatted(runtime, DAY, argument(values, 0))
    }),
    Function::exactly("unixEpoch", 1, |runtime, values| {
        Ok(Value::from(moment(runtime, argument(values, 0)).seconds.to_string()))
    }),
    Function::exactly("dateModify", 2, modify),
    Function::exactly("date_modify", 2, modify),
    Function::exactly("mustDateModify", 2, modify),
    Function::exactly("must_date_modify", 2, modify),
];

/// Sprig takes a time or a Unix time; anything else counts as now.
fn moment(runtime: &Runtime<'_>, value: &Value) -> Moment {
    match value {
        Value::Object(object) => match &**object {
            Object::Time(moment) => *moment,
            _ => Moment { seconds: runtime.now },
        },
        Value::Int(seconds) | Value::Int64(seconds) => Moment { seconds: *seconds },
        _ => Moment { seconds: runtime.now },
    }
}

fn formatted(runtime: &mut Runtime<'_>, layout: &str, value: &Value) -> Outcome {
    // The longest element, a month's name, is no longer in a layout than in the output.
    runtime.budget.steps(layout.len() as u64)?;
    Ok(Value::from(moment(runtime, value).format(layout)))
}

fn check_zone(zone: &str) -> Result<(), Failure> {
    if ["UTC", "GMT", "Etc/UTC", ""].contains(&zone) {
        Ok(())
    } else {
        Err(Failure::new(format!("time zone `{zone}` is not supported, only UTC is")))
    }
}

fn in_zone(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    check_zone(text(values, 2)?)?;
    formatted(runtime, text(values, 0)?, argument(values, 1))
}

fn modify(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let duration = text(values, 0)?;
    let seconds = duration_seconds(duration)
        .ok_or_else(|| Failure::new(format!("`{duration}` is no duration such as `-1h30m`")))?;
    let moment = moment(runtime, argument(values, 1));
    Ok(Value::object(Object::Time(Moment { seconds: moment.seconds.saturating_add(seconds) })))
}

/// Reads a Go duration in whole seconds: `1h30m`, `-2h`, `90s`.
fn duration_seconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() && rest != "0" {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits] {
            b'h' => 3_600,
            b'm' if !rest[digits..].starts_with("ms") => 60,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    Some(sign * total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn dates_come_from_the_callers_clock() {
        assert_prints(
            &json!({}),
            &[
                ("now | date \"2006-01-02\"", "2023-11-14"),
                ("now | unixEpoch", "1700000000"),
                ("now.Year", "2023"),
                ("date \"15:04\" 0", "00:00"),
                ("now | dateModify \"-24h\" | htmlDate", "2023-11-13"),
                ("dateInZone \"2006\" now \"UTC\"", "2023"),
            ],
        );
        assert_refused(
            &json!({}),
            &[
                ("dateInZone \"2006\" now \"Mars\"", "time zone `Mars`"),
                ("now | dateModify \"x\"", "no duration"),
            ],
        );
    }
}
