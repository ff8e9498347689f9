//! Reads dates by Go's layouts.

use std::borrow::Cow;

use super::layout::{Part, parts};
use super::{DAY, MONTHS, Moment, UTC, WEEKDAYS, Zone, days, is_leap};

/// What a text said so far.
struct Reading<'t> {
    rest: &'t str,
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanoseconds: u32,
    afternoon: Option<bool>,
    zone: Option<Zone>,
    zone_name: Option<&'t str>,
}

/// Reads a date; where the text names no zone it is in UTC.
///
/// # Errors
/// Says where the text is not as the layout.
pub(crate) fn parse(layout: &str, text: &str) -> Result<Moment, String> {
    let mut reading = Reading {
        rest: text,
        year: 0,
        month: None,
        day: None,
        day_of_year: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanoseconds: 0,
        afternoon: None,
        zone: None,
        zone_name: None,
    };
    let parts = parts(layout);
    for (position, part) in parts.iter().enumerate() {
        let before = reading.rest;
        let next = parts[position + 1..].iter().find(|part| !matches!(part, Part::Literal(_)));
        let fraction_follows = matches!(next, Some(Part::Fraction { .. }));
        if reading.part(*part, fraction_follows).is_none() {
            return Err(format!("parsing time {text:?} as {layout:?}: cannot parse {before:?}"));
        }
    }
    if !reading.rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", reading.rest));
    }
    reading.moment().ok_or_else(|| format!("parsing time {text:?}: day out of range"))
}

impl Reading<'_> {
    fn part(&mut self, part: Part<'_>, fraction_follows: bool) -> Option<()> {
        match part {
            Part::Literal(text) => self.literal(text)?,
            Part::LongYear => self.year = self.digits(4, 4)?,
            Part::ShortYear => {
                let year = self.digits(2, 2)?;
                self.year = year + if year >= 69 { 1900 } else { 2000 };
            }
            Part::LongMonth => self.month = Some(self.name(&MONTHS, usize::MAX)? + 1),
            Part::ShortMonth => self.month = Some(self.name(&MONTHS, 3)? + 1),
            Part::Month { padded } => {
                let month = self.number(padded)?;
                self.month = Some(month).filter(|month| (1..=12).contains(month));
                self.month?;
            }
            Part::LongWeekday => _ = self.name(&WEEKDAYS, usize::MAX)?,
            Part::ShortWeekday => _ = self.name(&WEEKDAYS, 3)?,
            Part::Day { pad } => {
                if pad == Some(' ') {
                    self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
                }
                self.day = Some(self.number(pad == Some('0'))?);
            }
            Part::DayOfYear { pad } => {
                let spaces =
                    if pad == ' ' { self.rest.len() - self.rest.trim_start_matches(' ').len() } else { 0 };
                self.rest = &self.rest[spaces.min(2)..];
                self.day_of_year = Some(self.digits(if pad == ' ' { 1 } else { 3 }, 3)?);
            }
            Part::Hour => self.hour = self.below(24, false)?,
            Part::Hour12 { padded } => self.hour = self.below(13, padded)?,
            Part::Minute { padded } => self.minute = self.below(60, padded)?,
            Part::Second { padded } => {
                self.second = self.below(60, padded)?;
                // A fraction may follow even where the layout has none.
                if !fraction_follows {
                    self.fraction(None)?;
                }
            }
            Part::Noon { upper } => self.noon(upper)?,
            Part::Fraction { digits, trimmed, .. } => self.fraction((!trimmed).then_some(digits))?,
            Part::Offset { z, colons, groups } => self.offset(z, colons, groups)?,
            Part::ZoneName => self.zone_name()?,
        }
        Some(())
    }

    /// A space stands for any number of them.
    fn literal(&mut self, text: &str) -> Option<()> {
        let mut wanted = text;
        while let Some(next) = wanted.chars().next() {
            if next == ' ' {
                if !self.rest.is_empty() && !self.rest.starts_with(' ') {
                    return None;
                }
                wanted = wanted.trim_start_matches(' ');
                self.rest = self.rest.trim_start_matches(' ');
            } else {
                wanted = &wanted[next.len_utf8()..];
                self.rest = self.rest.strip_prefix(next)?;
            }
        }
        Some(())
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        digits.parse().ok()
    }

    fn number(&mut self, padded: bool) -> Option<i64> {
        self.digits(if padded { 2 } else { 1 }, 2)
    }

    fn below(&mut self, bound: i64, padded: bool) -> Option<i64> {
        self.number(padded).filter(|number| *number < bound)
    }

    /// Finds a name, or as many of its letters, whatever their case.
    fn name(&mut self, names: &[&str], letters: usize) -> Option<i64> {
        let found = names.iter().position(|name| {
            let wanted = &name[..letters.min(name.len())];
            self.rest.get(..wanted.len()).is_some_and(|text| text.eq_ignore_ascii_case(wanted))
        })?;
        self.rest = &self.rest[letters.min(names[found].len())..];
        i64::try_from(found).ok()
    }

    fn noon(&mut self, upper: bool) -> Option<()> {
        let (word, rest) = self.rest.split_at_checked(2)?;
        self.afternoon = Some(match (word, upper) {
            ("AM", true) | ("am", false) => false,
            ("PM", true) | ("pm", false) => true,
            _ => return None,
        });
        self.rest = rest;
        Some(())
    }

    /// Reads exactly that many digits, or any number of them and none as well.
    fn fraction(&mut self, exactly: Option<usize>) -> Option<()> {
        let digits = self.rest.strip_prefix(['.', ',']).unwrap_or_default();
        let found = digits.bytes().take_while(u8::is_ascii_digit).count();
        let count = exactly.unwrap_or(found);
        if found < count {
            return None;
        }
        if count > 0 {
            let kept = &digits[..count.min(9)];
            self.nanoseconds = format!("{kept:0<9}").parse().ok()?;
            self.rest = &digits[count..];
        }
        Some(())
    }

    fn offset(&mut self, z: bool, colons: bool, groups: usize) -> Option<()> {
        if z && let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            self.zone = Some(UTC);
            return Some(());
        }
        let is_west = self.rest.starts_with('-');
        self.rest = self.rest.strip_prefix(['+', '-'])?;
        let mut offset = self.digits(2, 2).filter(|hours| *hours <= 24)? * 3_600;
        for unit in [60, 1].into_iter().take(groups) {
            if colons {
                self.rest = self.rest.strip_prefix(':')?;
            }
            offset += self.digits(2, 2).filter(|number| *number < 60)? * unit;
        }
        let offset = i32::try_from(if is_west { -offset } else { offset }).ok()?;
        self.zone = Some(if offset == 0 { UTC } else { Zone { offset, name: Cow::Borrowed("") } });
        Some(())
    }

    /// Reads an abbreviation. What it means only Go's own zone could tell, and that is UTC.
    fn zone_name(&mut self) -> Option<()> {
        let length = zone_name_length(self.rest)?;
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.zone_name = Some(name);
        Some(())
    }

    fn moment(self) -> Option<Moment> {
        let mut hour = self.hour;
        match self.afternoon {
            Some(true) if hour < 12 => hour += 12,
            Some(false) if hour == 12 => hour = 0,
            _ => {}
        }
        let day = if let Some(day) = self.day_of_year {
            if !(1..=365 + i64::from(is_leap(self.year))).contains(&day) {
                return None;
            }
            days(self.year, 1, day)
        } else {
            let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
            let length = days(self.year, month + 1, 1) - days(self.year, month, 1);
            if !(1..=length).contains(&day) {
                return None;
            }
            days(self.year, month, day)
        };
        let seconds = day * DAY + hour * 3_600 + self.minute * 60 + self.second;
        let zone = match (self.zone, self.zone_name) {
            (Some(zone), Some(name)) if zone.offset != 0 => {
                Zone { offset: zone.offset, name: Cow::Owned(name.to_owned()) }
            }
            (Some(zone), _) => zone,
            (None, None | Some("UTC")) => UTC,
            // `GMT-3` is known by its number, any other zone is taken for UTC under its name.
            (None, Some(name)) => {
                let hours = name.strip_prefix("GMT").and_then(|hours| hours.parse::<i32>().ok());
                let offset = hours.unwrap_or_default() * 3_600;
                return Some(Moment {
                    seconds,
                    nanoseconds: self.nanoseconds,
                    zone: Zone { offset, name: Cow::Owned(name.to_owned()) },
                });
            }
        };
        Some(Moment { seconds: seconds - i64::from(zone.offset), nanoseconds: self.nanoseconds, zone })
    }
}

/// How long the abbreviation of a zone is: three or four capitals, five that end in T, `GMT` with hours, or `+03`.
fn zone_name_length(text: &str) -> Option<usize> {
    if text.starts_with("ChST") || text.starts_with("MeST") {
        return Some(4);
    }
    if let Some(hours) = text.strip_prefix("GMT") {
        return Some(3 + signed_hours(hours).unwrap_or(0));
    }
    if text.starts_with(['+', '-']) {
        return signed_hours(text);
    }
    let capitals = text.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
    match capitals {
        3 => Some(3),
        4 if text.as_bytes()[3] == b'T' || text.starts_with("WITA") => Some(4),
        5 if text.as_bytes()[4] == b'T' => Some(5),
        _ => None,
    }
}

fn signed_hours(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(['+', '-'])?;
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    let hours: u32 = digits[..count].parse().ok()?;
    (hours < 24).then_some(count + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_by_gos_layouts() {
        for (layout, text, expected) in [
            ("2006-01-02", "2017-12-31", "2017-12-31 00:00:00 +0000 UTC"),
            ("2006-01-02T15:04:05Z07:00", "2020-02-29T01:02:03.5+02:00", "2020-02-29 01:02:03.5 +0200 +0200"),
            ("2006-01-02T15:04:05Z07:00", "2020-02-29T01:02:03Z", "2020-02-29 01:02:03 +0000 UTC"),
            ("Mon Jan _2 3:04PM 2006", "tue nov  4 12:05AM 2025", "2025-11-04 00:05:00 +0000 UTC"),
            ("02 January 06 MST", "03 March 69 CET", "1969-03-03 00:00:00 +0000 CET"),
            ("2006 002", "2024 366", "2024-12-31 00:00:00 +0000 UTC"),
            ("15:04", "07:30", "0000-01-01 07:30:00 +0000 UTC"),
            ("2006 MST", "2024 GMT-3", "2023-12-31 21:00:00 -0300 GMT-3"),
        ] {
            let read = parse(layout, text).map(|moment| moment.to_string());
            assert_eq!(read.as_deref(), Ok(expected), "{text}");
        }
        for (layout, text) in
            [("2006-01-02", "2017-13-01"), ("2006-01-02", "2017-02-29"), ("2006", "2017x"), ("15", "24")]
        {
            assert!(parse(layout, text).is_err(), "{text}");
        }
    }
}
