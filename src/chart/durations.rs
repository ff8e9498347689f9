//! Go's `time.Duration`: nanoseconds in 64 bits, read from and printed as `1h2m3.5s`.

const NANOSECONDS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND.unsigned_abs()),
    ("m", MINUTE.unsigned_abs()),
    ("h", HOUR.unsigned_abs()),
];

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// Reads a duration such as `-1h2.5m`; none if it is none or does not fit.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanoseconds, after) = component(rest)?;
        total = total.checked_add(nanoseconds).filter(|total| *total <= 1 << 63)?;
        rest = after;
    }
    if negative {
        return 0_i64.checked_sub_unsigned(total);
    }
    i64::try_from(total).ok()
}

/// Reads one number with its unit.
fn component(text: &str) -> Option<(u64, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = &text[..digits(text)];
    let rest = &text[whole.len()..];
    let fraction = rest.strip_prefix('.').map(|after| &after[..digits(after)]);
    if whole.is_empty() && fraction.is_none_or(str::is_empty) {
        return None;
    }
    let rest = &rest[fraction.map_or(0, |fraction| fraction.len() + 1)..];
    let unit = &rest[..rest.find(|next: char| next == '.' || next.is_ascii_digit()).unwrap_or(rest.len())];
    let (_, size) = NANOSECONDS.iter().find(|(name, _)| *name == unit)?;
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.checked_mul(*size)? };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as in Go"
    )]
    let part = match fraction {
        Some(fraction) if !fraction.is_empty() => {
            // More digits than these are less than a nanosecond.
            let kept = &fraction[..fraction.len().min(18)];
            let scale = 10f64.powi(i32::try_from(kept.len()).unwrap_or_default());
            (kept.parse::<u64>().ok()? as f64 * (*size as f64 / scale)) as u64
        }
        _ => 0,
    };
    Some((whole.checked_add(part)?, &rest[unit.len()..]))
}

/// Prints a duration as Go does: `1h0m0s`, `1.5s`, `2ms`.
pub(crate) fn display(duration: i64) -> String {
    let size = duration.unsigned_abs();
    let sign = if duration < 0 { "-" } else { "" };
    let second = SECOND.unsigned_abs();
    if size < second {
        return match size {
            0 => "0s".to_owned(),
            1..1_000 => format!("{sign}{size}ns"),
            1_000..1_000_000 => format!("{sign}{}µs", decimal(size, 1_000)),
            _ => format!("{sign}{}ms", decimal(size, 1_000_000)),
        };
    }
    let seconds = size / second;
    let rest = format!("{}s", decimal(size % (60 * second), second));
    match (seconds / 3_600, seconds / 60 % 60) {
        (0, 0) => format!("{sign}{rest}"),
        (0, minutes) => format!("{sign}{minutes}m{rest}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}"),
    }
}

/// Divides without trailing zeros. The unit is a power of ten.
fn decimal(size: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", size % unit);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { (size / unit).to_string() } else { format!("{}.{fraction}", size / unit) }
}

/// Rounds to a multiple, halves away from zero; what does not fit is the greatest or least duration.
pub(crate) fn round(duration: i64, multiple: i64) -> i64 {
    if multiple <= 0 {
        return duration;
    }
    let rest = duration % multiple;
    let is_half = rest.unsigned_abs() >= multiple.unsigned_abs() - rest.unsigned_abs();
    let towards_zero = duration - rest;
    match (is_half, duration < 0) {
        (false, _) => towards_zero,
        (true, true) => towards_zero.saturating_sub(multiple),
        (true, false) => towards_zero.saturating_add(multiple),
    }
}

/// Cuts to a multiple.
pub(crate) fn truncate(duration: i64, multiple: i64) -> i64 {
    if multiple <= 0 { duration } else { duration - duration % multiple }
}

/// Counts in a unit, with a fraction.
#[expect(clippy::cast_precision_loss, reason = "as in Go")]
pub(crate) fn in_units(duration: i64, unit: i64) -> f64 {
    // The whole part first: it keeps its precision.
    (duration / unit) as f64 + (duration % unit) as f64 / unit as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_in_go() {
        for (text, expected) in [
            ("1h30m", "1h30m0s"),
            ("-1.5s", "-1.5s"),
            ("90s", "1m30s"),
            ("0", "0s"),
            (".5ms", "500µs"),
            ("1500us", "1.5ms"),
            ("1h0.25s", "1h0m0.25s"),
            ("36h", "36h0m0s"),
            ("-9223372036854775808ns", "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(parse(text).map(display).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "1", "x", "1d", ".s", "-", "1h ", "9223372036854775808ns", "1.s.s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        let round_to = |text: &str| round(parse(text).unwrap(), parse("1m").unwrap()) / MINUTE;
        assert_eq!([round_to("90s"), round_to("89s"), round_to("-90s")], [2, 1, -2]);
        assert_eq!(truncate(-90 * SECOND, MINUTE), -MINUTE);
        assert_eq!(round(5, 0), 5);
        assert_eq!(round(i64::MAX, i64::MAX - 1), i64::MAX - 1);
    }
}
