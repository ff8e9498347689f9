//! Writes moments and spans for machines and for people.

use jiff::Timestamp;

pub(super) use crate::report::moment::span;

/// Writes seconds since 1970 as RFC 3339 in UTC; what lies beyond the year 9999 as its last second.
pub(super) fn rfc3339(seconds: i64) -> String {
    let seconds = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
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
}
