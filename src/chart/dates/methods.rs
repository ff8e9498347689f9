//! The methods of `time.Time` that templates can call.

use super::{MONTHS, Moment, UTC, days};
use crate::chart::durations;
use crate::chart::objects::{Kind, Member, Number, Object};
use crate::chart::value::Value;

/// Calls a method of a moment.
pub(crate) fn member(moment: &Moment, name: &str, arguments: &[Value]) -> Member {
    match arguments {
        [] => field(moment, name),
        [argument] => with_argument(moment, name, argument),
        [years, months, day] if name == "AddDate" => match (years, months, day) {
            (Value::Int(years), Value::Int(months), Value::Int(day)) => {
                Member::Found(time(add_date(moment, *years, *months, *day)))
            }
            _ => Member::BadArguments("three numbers"),
        },
        _ => Member::Unknown,
    }
}

fn time(moment: Moment) -> Value {
    Value::object(Object::Time(moment))
}

fn named(kind: Kind, value: i64) -> Value {
    Value::object(Object::Number(Number { kind, value }))
}

fn field(moment: &Moment, name: &str) -> Member {
    let calendar = moment.calendar();
    let below_second = i64::from(moment.nanoseconds);
    let unix = |parts: i64| {
        moment.seconds.wrapping_mul(parts).wrapping_add(below_second / (durations::SECOND / parts))
    };
    let count = |number: usize| i64::try_from(number).unwrap_or_default();
    Member::Found(match name {
        "Unix" => Value::Int64(moment.seconds),
        "UnixMilli" => Value::Int64(unix(1_000)),
        "UnixMicro" => Value::Int64(unix(1_000_000)),
        "UnixNano" => Value::Int64(unix(durations::SECOND)),
        "Year" => Value::Int(calendar.year),
        "Day" => Value::Int(calendar.day),
        "Hour" => Value::Int(calendar.hour),
        "Minute" => Value::Int(calendar.minute),
        "Second" => Value::Int(calendar.second),
        "Nanosecond" => Value::Int(below_second),
        "YearDay" => Value::Int(calendar.day_of_year),
        "Month" => named(Kind::Month, count(calendar.month)),
        "Weekday" => named(Kind::Weekday, count(calendar.weekday)),
        "IsZero" => Value::Bool(moment.since(&Moment::zero()) == 0),
        "IsDST" => Value::Bool(false),
        "UTC" | "Local" => time(Moment { zone: UTC, ..moment.clone() }),
        "String" => Value::from(moment.to_string()),
        _ => return Member::Unknown,
    })
}

fn with_argument(moment: &Moment, name: &str, argument: &Value) -> Member {
    let other = match argument {
        Value::Object(object) => match &**object {
            Object::Time(other) => Some(other),
            _ => None,
        },
        _ => None,
    };
    let duration = match argument {
        // A literal number is a duration in nanoseconds.
        Value::Int(nanoseconds) => Some(*nanoseconds),
        Value::Object(object) => object.as_duration(),
        _ => None,
    };
    let key = |moment: &Moment| (moment.seconds, moment.nanoseconds);
    Member::Found(match (name, other, duration) {
        ("Format", ..) => match argument.as_str() {
            Some(layout) => Value::from(moment.format(layout)),
            None => return Member::BadArguments("one string"),
        },
        ("Add", _, Some(duration)) => time(moment.plus(duration)),
        ("Round", _, Some(multiple)) => time(to_multiple(moment, multiple, true)),
        ("Truncate", _, Some(multiple)) => time(to_multiple(moment, multiple, false)),
        ("Sub", Some(other), _) => named(Kind::Duration, moment.since(other)),
        ("Before", Some(other), _) => Value::Bool(key(moment) < key(other)),
        ("After", Some(other), _) => Value::Bool(key(moment) > key(other)),
        ("Equal", Some(other), _) => Value::Bool(key(moment) == key(other)),
        ("Compare", Some(other), _) => Value::Int(key(moment).cmp(&key(other)) as i64),
        ("Add" | "Round" | "Truncate", ..) => return Member::BadArguments("one duration"),
        ("Sub" | "Before" | "After" | "Equal" | "Compare", ..) => return Member::BadArguments("one time"),
        _ => return Member::Unknown,
    })
}

/// Go counts multiples from its zero time.
fn to_multiple(moment: &Moment, multiple: i64, rounds: bool) -> Moment {
    if multiple <= 0 {
        return moment.clone();
    }
    let zero = Moment::zero();
    let nanoseconds = (i128::from(moment.seconds) - i128::from(zero.seconds)) * i128::from(durations::SECOND)
        + i128::from(moment.nanoseconds);
    let rest = i64::try_from(nanoseconds.rem_euclid(i128::from(multiple))).unwrap_or_default();
    if rounds && rest >= multiple - rest { moment.plus(multiple - rest) } else { moment.plus(-rest) }
}

/// Adds to the numbers on the calendar: a month after the 31st of January is the 3rd of March.
fn add_date(moment: &Moment, years: i64, months: i64, add: i64) -> Moment {
    let calendar = moment.calendar();
    let month = i64::try_from(calendar.month).unwrap_or(1);
    debug_assert!(calendar.month <= MONTHS.len());
    let before = days(calendar.year, month, calendar.day);
    let after = days(
        calendar.year.saturating_add(years),
        month.saturating_add(months),
        calendar.day.saturating_add(add),
    );
    let seconds = moment.seconds.saturating_add(after.saturating_sub(before).saturating_mul(super::DAY));
    Moment { seconds, ..moment.clone() }
}
