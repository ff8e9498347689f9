//! Go's layouts: a date written as the second of January 2006, 15:04:05.

use std::fmt::Write as _;

use super::{Calendar, MONTHS, Moment, WEEKDAYS};

/// What a part of a layout stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'l> {
    Literal(&'l str),
    LongMonth,
    ShortMonth,
    Month {
        padded: bool,
    },
    LongWeekday,
    ShortWeekday,
    Day {
        pad: Option<char>,
    },
    DayOfYear {
        pad: char,
    },
    Hour,
    Hour12 {
        padded: bool,
    },
    Minute {
        padded: bool,
    },
    Second {
        padded: bool,
    },
    LongYear,
    ShortYear,
    Noon {
        upper: bool,
    },
    ZoneName,
    /// `Z07:00` and its kin have `Z` for UTC; the digits are groups after the hour.
    Offset {
        z: bool,
        colons: bool,
        groups: usize,
    },
    /// Digits of a second behind a point or comma; `9` leaves zeros at the end out.
    Fraction {
        separator: char,
        digits: usize,
        trimmed: bool,
    },
}

/// Layout elements that are what they are wherever they stand, the longer of two with the same beginning first.
const FIXED: [(&str, Part<'static>); 34] = [
    ("January", Part::LongMonth),
    ("Monday", Part::LongWeekday),
    ("MST", Part::ZoneName),
    ("2006", Part::LongYear),
    ("__2", Part::DayOfYear { pad: ' ' }),
    ("002", Part::DayOfYear { pad: '0' }),
    ("_2006", Part::Literal("_")),
    ("_2", Part::Day { pad: Some(' ') }),
    ("01", Part::Month { padded: true }),
    ("02", Part::Day { pad: Some('0') }),
    ("03", Part::Hour12 { padded: true }),
    ("04", Part::Minute { padded: true }),
    ("05", Part::Second { padded: true }),
    ("06", Part::ShortYear),
    ("15", Part::Hour),
    ("1", Part::Month { padded: false }),
    ("2", Part::Day { pad: None }),
    ("3", Part::Hour12 { padded: false }),
    ("4", Part::Minute { padded: false }),
    ("5", Part::Second { padded: false }),
    ("PM", Part::Noon { upper: true }),
    ("pm", Part::Noon { upper: false }),
    ("Z07:00:00", Part::Offset { z: true, colons: true, groups: 2 }),
    ("Z070000", Part::Offset { z: true, colons: false, groups: 2 }),
    ("Z07:00", Part::Offset { z: true, colons: true, groups: 1 }),
    ("Z0700", Part::Offset { z: true, colons: false, groups: 1 }),
    ("Z07", Part::Offset { z: true, colons: false, groups: 0 }),
    ("-07:00:00", Part::Offset { z: false, colons: true, groups: 2 }),
    ("-070000", Part::Offset { z: false, colons: false, groups: 2 }),
    ("-07:00", Part::Offset { z: false, colons: true, groups: 1 }),
    ("-0700", Part::Offset { z: false, colons: false, groups: 1 }),
    ("-07", Part::Offset { z: false, colons: false, groups: 0 }),
    ("Jan", Part::ShortMonth),
    ("Mon", Part::ShortWeekday),
];

/// Cuts a layout into its parts.
pub(super) fn parts(layout: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut at, mut literal) = (0, 0);
    while at < layout.len() {
        if let Some((part, length)) = element(&layout[at..]) {
            if literal < at {
                parts.push(Part::Literal(&layout[literal..at]));
            }
            parts.push(part);
            at += length;
            literal = at;
        } else {
            at += layout[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    if literal < layout.len() {
        parts.push(Part::Literal(&layout[literal..]));
    }
    parts
}

fn element(text: &str) -> Option<(Part<'static>, usize)> {
    if let Some(separator @ ('.' | ',')) = text.chars().next() {
        return fraction(text, separator);
    }
    let (pattern, part) = FIXED.iter().find(|(pattern, _)| text.starts_with(pattern))?;
    let follows_small = text[pattern.len()..].starts_with(|next: char| next.is_ascii_lowercase());
    match part {
        // `Janet` and `Monk` are words.
        Part::ShortMonth | Part::ShortWeekday if follows_small => None,
        Part::Literal(literal) => Some((*part, literal.len())),
        _ => Some((*part, pattern.len())),
    }
}

/// `.000` or `.999`, if no other digit follows.
fn fraction(text: &str, separator: char) -> Option<(Part<'static>, usize)> {
    let digit = *text.as_bytes().get(1).filter(|digit| matches!(digit, b'0' | b'9'))?;
    let digits = text.bytes().skip(1).take_while(|next| *next == digit).count();
    if text.as_bytes().get(1 + digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    Some((Part::Fraction { separator, digits, trimmed: digit == b'9' }, 1 + digits))
}

impl Moment {
    /// Prints the moment in a Go layout.
    pub(crate) fn format(&self, layout: &str) -> String {
        let calendar = self.calendar();
        parts(layout).into_iter().map(|part| self.part(&calendar, part)).collect()
    }

    fn part(&self, calendar: &Calendar, part: Part<'_>) -> String {
        let month = MONTHS[calendar.month - 1];
        let weekday = WEEKDAYS[calendar.weekday];
        let hour12 = if calendar.hour % 12 == 0 { 12 } else { calendar.hour % 12 };
        match part {
            Part::Literal(text) => text.to_owned(),
            Part::LongMonth => month.to_owned(),
            Part::ShortMonth => month[..3].to_owned(),
            Part::Month { padded } => number(calendar.month, padded),
            Part::LongWeekday => weekday.to_owned(),
            Part::ShortWeekday => weekday[..3].to_owned(),
            Part::Day { pad: Some(' ') } => format!("{:2}", calendar.day),
            Part::Day { pad } => number(calendar.day, pad.is_some()),
            Part::DayOfYear { pad: ' ' } => format!("{:3}", calendar.day_of_year),
            Part::DayOfYear { .. } => format!("{:03}", calendar.day_of_year),
            Part::Hour => number(calendar.hour, true),
            Part::Hour12 { padded } => number(hour12, padded),
            Part::Minute { padded } => number(calendar.minute, padded),
            Part::Second { padded } => number(calendar.second, padded),
            Part::LongYear if calendar.year < 0 => format!("-{:04}", -calendar.year),
            Part::LongYear => format!("{:04}", calendar.year),
            Part::ShortYear => number(calendar.year.rem_euclid(100), true),
            Part::Noon { upper } => match (calendar.hour < 12, upper) {
                (true, true) => "AM",
                (true, false) => "am",
                (false, true) => "PM",
                (false, false) => "pm",
            }
            .to_owned(),
            Part::ZoneName => self.zone_name(),
            Part::Offset { z, colons, groups } => self.offset(z, colons, groups),
            Part::Fraction { separator, digits, trimmed } => self.fraction(separator, digits, trimmed),
        }
    }

    /// A zone without a name is told by its offset.
    fn zone_name(&self) -> String {
        if self.zone.name.is_empty() { self.offset(false, false, 1) } else { self.zone.name.to_string() }
    }

    fn offset(&self, z: bool, colons: bool, groups: usize) -> String {
        let offset = self.zone.offset;
        if z && offset == 0 {
            return "Z".to_owned();
        }
        let size = offset.unsigned_abs();
        let mut text = format!("{}{:02}", if offset < 0 { '-' } else { '+' }, size / 3_600);
        for value in [size / 60 % 60, size % 60].into_iter().take(groups) {
            if colons {
                text.push(':');
            }
            _ = write!(text, "{value:02}");
        }
        text
    }

    fn fraction(&self, separator: char, digits: usize, trimmed: bool) -> String {
        let all = format!("{:09}", self.nanoseconds);
        let kept = format!("{:0<digits$}", &all[..digits.min(9)]);
        let kept = if trimmed { kept.trim_end_matches('0') } else { &kept };
        if kept.is_empty() { String::new() } else { format!("{separator}{kept}") }
    }
}

fn number(value: impl std::fmt::Display, padded: bool) -> String {
    if padded { format!("{value:0>2}") } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_in_gos_layouts() {
        let moment = Moment::from_unix(1_700_000_000);
        assert_eq!(moment.rfc3339(), "2023-11-14T22:13:20Z");
        assert_eq!(moment.to_string(), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(
            moment.format("Mon Jan _2 3:04PM 06, 002 Janet __2 _2006"),
            "Tue Nov 14 10:13PM 23, 318 Janet 318 _2023"
        );
        assert_eq!(Moment::from_unix(951_782_400).format("2006-01-02 Monday 002"), "2000-02-29 Tuesday 060");
        assert_eq!(Moment::from_unix(-1).rfc3339(), "1969-12-31T23:59:59Z");
        let half = moment.plus(500_000_000);
        assert_eq!(half.format("05.000 05.999999 05,0 .0001"), "20.500 20.5 20,5 .0011");
    }

    #[test]
    fn zones_are_those_of_the_database() {
        let moment = Moment::from_unix(1_700_000_000);
        let there = |zone: &str| moment.in_zone(zone).map(|moment| moment.format("15:04 -07:00 MST"));
        assert_eq!(there("Europe/Berlin").as_deref(), Some("23:13 +01:00 CET"));
        assert_eq!(there("America/St_Johns").as_deref(), Some("18:43 -03:30 NST"));
        assert_eq!(there("Asia/Dubai").as_deref(), Some("02:13 +04:00 +04"));
        assert_eq!((there("Mars"), there("europe/berlin")), (None, None));
    }
}
