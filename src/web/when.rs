//! Writes moments and spans for machines and for people.

use jiff::Timestamp;

/// Writes seconds since 1970 as RFC 3339 in UTC; what lies beyond the year 9999 as its last second.
pub(super) fn rfc3339(seconds: i64) -> String {
    let seconds = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
}

/// Writes a span of seconds with its two largest units, as `3d 4h`. A negative span, from clocks that differ, is
/// `0s`.
pub(super) fn span(seconds: i64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339_even_beyond_every_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_210_096), "2024-02-29T12:34:56Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
        assert!(rfc3339(i64::MAX).starts_with("9999-12-30"));
        assert!(rfc3339(i64::MIN).starts_with('-'));
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
