//! Dates. The clock is an argument of the render call; where Sprig takes the machine's zone, it is UTC.

use super::{Function, Outcome, Runtime, argument, text, wrong_type};
use crate::chart::dates::{self, Moment};
use crate::chart::durations;
use crate::chart::error::Failure;
use crate::chart::objects::Object;
use crate::chart::value::Value;

const DAY: &str = "2006-01-02";

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("now", 0, |runtime, _| Ok(time(Moment::from_unix(runtime.now)))),
    Function::exactly("date", 2, |runtime, values| {
        in_zone(runtime, text(values, 0)?, argument(values, 1), "UTC")
    }),
    Function::exactly("dateInZone", 3, date_in_zone),
    Function::exactly("date_in_zone", 3, date_in_zone),
    Function::exactly("htmlDate", 1, |runtime, values| in_zone(runtime, DAY, argument(values, 0), "UTC")),
    Function::exactly("htmlDateInZone", 2, |runtime, values| {
        in_zone(runtime, DAY, argument(values, 0), text(values, 1)?)
    }),
    Function::exactly("unixEpoch", 1, |_, values| Ok(Value::from(date(values, 0)?.seconds.to_string()))),
    Function::exactly("dateModify", 2, modify),
    Function::exactly("date_modify", 2, modify),
    Function::exactly("mustDateModify", 2, must_modify),
    Function::exactly("must_date_modify", 2, must_modify),
    Function::exactly("toDate", 2, |_, values| {
        Ok(time(dates::parse(text(values, 0)?, text(values, 1)?).unwrap_or_else(|_| Moment::zero())))
    }),
    Function::exactly("mustToDate", 2, |_, values| {
        dates::parse(text(values, 0)?, text(values, 1)?).map(time).map_err(Failure::new)
    }),
    Function::exactly("ago", 1, |runtime, values| {
        let now = Moment::from_unix(runtime.now);
        let passed = now.since(&moment(runtime, argument(values, 0)));
        Ok(Value::from(durations::display(durations::round(passed, durations::SECOND))))
    }),
];

fn time(moment: Moment) -> Value {
    Value::object(Object::Time(moment))
}

/// A Go parameter of type `time.Time`.
fn date(values: &[Value], position: usize) -> Result<Moment, Failure> {
    let value = argument(values, position);
    match value {
        Value::Object(object) => match &**object {
            Object::Time(moment) => Ok(moment.clone()),
            _ => Err(wrong_type(value, "time.Time")),
        },
        _ => Err(wrong_type(value, "time.Time")),
    }
}

/// Sprig takes a time or a Unix time; anything else counts as now.
fn moment(runtime: &Runtime<'_>, value: &Value) -> Moment {
    match value {
        Value::Object(object) => match &**object {
            Object::Time(moment) => moment.clone(),
            _ => Moment::from_unix(runtime.now),
        },
        Value::Int(seconds) | Value::Int64(seconds) => Moment::from_unix(*seconds),
        _ => Moment::from_unix(runtime.now),
    }
}

/// Prints a moment in a zone; in UTC if there is no such zone.
fn in_zone(runtime: &mut Runtime<'_>, layout: &str, value: &Value, zone: &str) -> Outcome {
    // The longest element, a month's name, is no longer in a layout than in the output.
    runtime.budget.steps(layout.len() as u64)?;
    let moment = moment(runtime, value);
    let there = moment.in_zone(zone).or_else(|| moment.in_zone("UTC")).unwrap_or(moment);
    Ok(Value::from(there.format(layout)))
}

fn date_in_zone(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    in_zone(runtime, text(values, 0)?, argument(values, 1), text(values, 2)?)
}

/// Leaves the date as it is where the duration is none.
fn modify(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (duration, moment) = (durations::parse(text(values, 0)?), date(values, 1)?);
    Ok(time(duration.map_or(moment.clone(), |duration| moment.plus(duration))))
}

fn must_modify(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let duration = text(values, 0)?;
    let nanoseconds = durations::parse(duration)
        .ok_or_else(|| Failure::new(format!("time: invalid duration {duration:?}")))?;
    Ok(time(date(values, 1)?.plus(nanoseconds)))
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
                ("now | dateModify \"1.5s\" | date \"05.000\"", "21.500"),
                ("now | dateModify \"x\" | unixEpoch", "1700000000"),
                ("dateInZone \"15:04 MST\" now \"Europe/Berlin\"", "23:13 CET"),
                ("dateInZone \"15:04 MST\" now \"Mars\"", "22:13 UTC"),
                ("now | dateModify \"-90m\" | ago", "1h30m0s"),
                ("(now.Sub (toDate \"2006-01-02\" \"2023-11-14\")).Hours | int", "22"),
                ("now.Month", "November"),
                ("(now.Add (mustToDuration \"1h\")).Hour", "23"),
                ("(now.AddDate 0 1 0).Format \"Jan 2\"", "Dec 14"),
                ("(now.Truncate (mustToDuration \"24h\")).Format \"15:04\"", "00:00"),
                ("(toDate \"2006\" \"x\").IsZero", "true"),
            ],
        );
        assert_refused(
            &json!({}),
            &[
                ("now | mustDateModify \"x\"", "invalid duration"),
                ("mustToDate \"2006\" \"x\"", "cannot parse"),
                ("unixEpoch 1", "expected time.Time; got int"),
            ],
        );
    }
}
