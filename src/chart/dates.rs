//! Moments in time and Go's layouts (`2006-01-02T15:04:05Z07:00`). Everything is in UTC: the same chart must
//! not render differently on a machine in another zone.

use std::fmt;

use super::objects::Member;
use super::value::Value;

const MONTHS: [&str; 12] = [
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
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// A moment with the precision of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Seconds since 1970 in UTC.
    pub(crate) seconds: i64,
}

/// A moment on the calendar.
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
    /// Prints the moment in a Go layout.
    pub(crate) fn format(self, layout: &str) -> String {
        let calendar = self.calendar();
        let mut output = String::new();
        let mut rest = layout;
        while !rest.is_empty() {
            let (text, length) = calendar.element(rest);
            output.push_str(&text);
            rest = &rest[length..];
        }
        output
    }

    /// Prints the moment as JSON has it.
    pub(crate) fn rfc3339(self) -> String {
        self.format("2006-01-02T15:04:05Z07:00")
    }

    /// A method of Go's `time.Time`, as far as charts use them.
    pub(crate) fn member(self, name: &str, arguments: &[Value]) -> Member {
        let calendar = self.calendar();
        Member::Found(match (name, arguments) {
            ("Unix", []) => Value::Int64(self.seconds),
            ("Year", []) => Value::Int(calendar.year),
            ("Day", []) => Value::Int(calendar.day),
            ("Hour", []) => Value::Int(calendar.hour),
            ("Minute", []) => Value::Int(calendar.minute),
            ("Second", []) => Value::Int(calendar.second),
            ("YearDay", []) => Value::Int(calendar.day_of_year),
            ("Month", []) => Value::from(MONTHS[calendar.month - 1]),
            ("Weekday", []) => Value::from(WEEKDAYS[calendar.weekday]),
            ("UTC" | "Local", []) => Value::object(super::objects::Object::Time(self)),
            ("String", []) => Value::from(self.to_string()),
            ("Format", [Value::String(layout)]) => Value::from(self.format(layout)),
            ("Format", _) => return Member::BadArguments("one string"),
            _ => return Member::Unknown,
        })
    }

    /// Counts the calendar from days; after Howard Hinnant's `civil_from_days`.
    fn calendar(self) -> Calendar {
        let days = self.seconds.div_euclid(86_400);
        let of_day = self.seconds.rem_euclid(86_400);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year = if month > 2 { of_year + 60 + i64::from(is_leap) } else { of_year - 305 };
        Calendar {
            year,
            month: usize::try_from(month).unwrap_or(1),
            day: of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: of_day / 3_600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            weekday: usize::try_from(days.rem_euclid(7)).unwrap_or(0),
            day_of_year,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05 -0700 MST"))
    }
}

impl Calendar {
    /// Prints the element that a layout starts with, or its first character, and tells its length.
    fn element(&self, layout: &str) -> (String, usize) {
        let month = MONTHS[self.month - 1];
        let weekday = WEEKDAYS[self.weekday];
        let hour12 = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
        let elements: [(&str, String); 30] = [
            ("January", month.to_owned()),
            ("Jan", month[..3].to_owned()),
            ("Monday", weekday.to_owned()),
            ("Mon", weekday[..3].to_owned()),
            ("MST", "UTC".to_owned()),
            ("2006", format!("{:04}", self.year)),
            ("002", format!("{:03}", self.day_of_year)),
            ("01", format!("{:02}", self.month)),
            ("02", format!("{:02}", self.day)),
            ("03", format!("{hour12:02}")),
            ("04", format!("{:02}", self.minute)),
            ("05", format!("{:02}", self.second)),
            ("06", format!("{:02}", self.year.rem_euclid(100))),
            ("15", format!("{:02}", self.hour)),
            ("PM", if self.hour < 12 { "AM" } else { "PM" }.to_owned()),
            ("pm", if self.hour < 12 { "am" } else { "pm" }.to_owned()),
            ("Z07:00", "Z".to_owned()),
            ("Z0700", "Z".to_owned()),
            ("-07:00", "+00:00".to_owned()),
            ("-0700", "+0000".to_owned()),
            ("-07", "+00".to_owned()),
            (".000000000", ".000000000".to_owned()),
            (".000000", ".000000".to_owned()),
            (".000", ".000".to_owned()),
            ("_2", format!("{:2}", self.day)),
            ("1", self.month.to_string()),
            ("2", self.day.to_string()),
            ("3", hour12.to_string()),
            ("4", self.minute.to_string()),
            ("5", self.second.to_string()),
        ];
        for (pattern, text) in elements {
            if layout.starts_with(pattern) {
                return (text, pattern.len());
            }
        }
        let first = layout.chars().next().unwrap_or_default();
        (first.to_string(), first.len_utf8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_in_gos_layouts() {
        let moment = Moment { seconds: 1_700_000_000 };
        assert_eq!(moment.rfc3339(), "2023-11-14T22:13:20Z");
        assert_eq!(moment.to_string(), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(moment.format("Mon Jan _2 3:04PM 06, 002"), "Tue Nov 14 10:13PM 23, 318");
        assert_eq!(Moment { seconds: 951_782_400 }.format("2006-01-02 Monday 002"), "2000-02-29 Tuesday 060");
        assert_eq!(Moment { seconds: -1 }.rfc3339(), "1969-12-31T23:59:59Z");
    }
}
