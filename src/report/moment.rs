//! Moments as they are written on namespaces and into reasons: UTC, to the second, as RFC 3339 has it; and spans
//! between them. Pure.

const DAY: i64 = 86_400;

/// The last second that has four digits for its year.
const LAST: i64 = 253_402_300_799;

/// Writes seconds since 1970 as `2026-11-22T13:45:00Z`; what lies outside the years 1970 to 9999 as their end.
pub fn utc(seconds: i64) -> String {
    let seconds = seconds.clamp(0, LAST);
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Writes a span of seconds with its two largest units, as `3d 4h`. A negative span, from clocks that differ, is
/// `0s`.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |large: i64, unit: char, small: i64, part: char| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit} {small}{part}") }
    };
    match (days, hours, minutes) {
        (100.., _, _) => format!("{days}d"),
        (1.., _, _) => two(days, 'd', hours % 24, 'h'),
        (_, 1.., _) => two(hours, 'h', minutes % 60, 'm'),
        (_, _, 1..) => two(minutes, 'm', seconds % 60, 's'),
        _ => format!("{seconds}s"),
    }
}

/// Reads what [`utc`] writes; nothing else.
pub fn seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let found = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    // One way to write each moment: this settles ranges, separators and leap days at once.
    (utc(found) == text).then_some(found)
}

/// Counts the days from 1970 to a date. The year begins in March here, so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Returns year, month and day of the day that is so many days after 1970.
fn date(since: i64) -> (i64, i64, i64) {
    let mut year = 1970 + since / 366;
    while days(year + 1, 1, 1) <= since {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days(year, month + 1, 1) <= since {
        month += 1;
    }
    (year, month, since - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_everybody_writes_them_and_read_back() {
        for moment in (0..253_402_000_000).step_by(9_999_991).chain([951_782_399, 951_782_400, 4_107_542_400])
        {
            let expected = jiff::Timestamp::from_second(moment).unwrap().to_string();
            assert_eq!(utc(moment), expected);
            assert_eq!(seconds(&expected), Some(moment));
        }
        assert_eq!((utc(-5), utc(i64::MAX)), (utc(0), "9999-12-31T23:59:59Z".to_owned()));
    }

    #[test]
    fn what_is_no_moment_is_not_read_as_one() {
        for bad in [
            "",
            "true",
            "2026-11-22",
            "2026-13-22T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22 13:45:00Z",
            "2026-11-22T13:45:00+00:00",
            "2026-11-22T13:45:00Zx",
            "+026-11-22T13:45:00Z",
            "2026-1é-22T13:45:0Z",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans_have_at_most_their_two_largest_units() {
        let cases = [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3_600, "1h"),
            (7_320, "2h 2m"),
            (86_400, "1d"),
            (90_000, "1d 1h"),
            (100 * 86_400 + 3_600, "100d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(span(seconds), expected);
        }
    }
}
