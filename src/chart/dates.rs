//! Moments in time, as Go's `time.Time`. Where Go takes the machine's zone, it is UTC here: the same chart must not
//! render differently on a machine in another zone.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

use super::durations;

mod layout;
mod methods;
mod read;

pub(crate) use methods::member;
pub(crate) use read::parse;

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From Sunday, as Go counts.
pub(crate) const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const DAY: i64 = 86_400;

/// A moment with the precision of a nanosecond, and the zone that it is told in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Seconds since 1970 in UTC.
    pub(crate) seconds: i64,
    /// What is left, below a second.
    pub(crate) nanoseconds: u32,
    zone: Zone,
}

/// How a place's clocks differ from UTC at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Zone {
    /// In seconds, to the east.
    offset: i32,
    /// Such as `CET`; empty where only the offset is known.
    name: Cow<'static, str>,
}

/// The tz database that is compiled in, never the machine's.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

const UTC: Zone = Zone { offset: 0, name: Cow::Borrowed("UTC") };

/// A moment on the calendar of its zone.
struct Calendar {
    year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: usize,
    day_of_year: i64,
}

impl Moment {
    pub(crate) fn from_unix(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0, zone: UTC }
    }

    /// Go's zero time: the first day of the year 1.
    pub(crate) fn zero() -> Self {
        Self::from_unix(-62_135_596_800)
    }

    /// Tells the same moment in a zone of the tz database; none if there is no such zone.
    pub(crate) fn in_zone(&self, name: &str) -> Option<Self> {
        if matches!(name, "" | "UTC" | "Local") {
            return Some(Self { zone: UTC, ..self.clone() });
        }
        // The database also finds `europe/berlin`, and Go does not.
        let zone = ZONES.get(name).ok().filter(|zone| zone.iana_name() == Some(name))?;
        let Ok(timestamp) = Timestamp::from_second(self.seconds) else { return Some(self.clone()) };
        let info = zone.to_offset_info(timestamp);
        let zone = Zone { offset: info.offset().seconds(), name: Cow::Owned(info.abbreviation().to_owned()) };
        Some(Self { zone, ..self.clone() })
    }

    /// Adds nanoseconds.
    pub(crate) fn plus(&self, duration: i64) -> Self {
        let nanoseconds = i64::from(self.nanoseconds) + duration % durations::SECOND;
        let seconds = self
            .seconds
            .saturating_add(duration / durations::SECOND)
            .saturating_add(nanoseconds.div_euclid(durations::SECOND));
        let nanoseconds = u32::try_from(nanoseconds.rem_euclid(durations::SECOND)).unwrap_or_default();
        Self { seconds, nanoseconds, zone: self.zone.clone() }
    }

    /// The nanoseconds from another moment to this; the greatest or least number if they do not fit.
    pub(crate) fn since(&self, other: &Self) -> i64 {
        let seconds = i128::from(self.seconds) - i128::from(other.seconds);
        let exact = seconds * i128::from(durations::SECOND) + i128::from(self.nanoseconds)
            - i128::from(other.nanoseconds);
        i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
    }

    /// Prints the moment as JSON has it.
    pub(crate) fn rfc3339(&self) -> String {
        self.format("2006-01-02T15:04:05.999999999Z07:00")
    }

    /// Counts the calendar from days; after Howard Hinnant's `civil_from_days`.
    fn calendar(&self) -> Calendar {
        let local = self.seconds.saturating_add(i64::from(self.zone.offset));
        let days = local.div_euclid(DAY);
        let of_day = local.rem_euclid(DAY);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let day_of_year = if month > 2 { of_year + 60 + i64::from(is_leap(year)) } else { of_year - 305 };
        Calendar {
            year,
            month: usize::try_from(month).unwrap_or(1),
            day: of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: of_day / 3_600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            // The first of January 1970 was a Thursday.
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0),
            day_of_year,
        }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Counts days since 1970; a month beyond December counts on into the next years, as a day beyond its month's end does.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year.saturating_add((month - 1).div_euclid(12)).clamp(-1_000_000_000, 1_000_000_000);
    let month = (month - 1).rem_euclid(12) + 1;
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let of_era = shifted_year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let whole = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    whole.saturating_add(day - 1)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}
