//! How long a forge asks to be left alone.

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::HeaderMap;

/// How long to wait when the forge does not say.
const DEFAULT: Duration = Duration::from_mins(1);

/// The longest wait that is believed.
const LONGEST: Duration = Duration::from_hours(1);

/// Words in GitHub's refusals of too many requests of one kind, which carry no header now and then.
const SECONDARY: [&str; 2] = ["secondary rate limit", "abuse detection"];

/// Returns how long to wait before the next request, if that is what the answer says. `message` is what its body says.
pub(super) fn asked(status: u16, headers: &HeaderMap, message: &str, now: i64) -> Option<Duration> {
    let named = retry_after(headers, now);
    let spent = number(headers, "x-ratelimit-remaining") == Some(0);
    let secondary = || {
        let message = message.to_ascii_lowercase();
        SECONDARY.iter().any(|words| message.contains(words))
    };
    let busy = match status {
        429 => true,
        403 => named.is_some() || spent || secondary(),
        503 => named.is_some(),
        _ => false,
    };
    busy.then(|| named.or_else(|| reset(headers, now)).unwrap_or(DEFAULT).min(LONGEST))
}

/// Reads `Retry-After`: seconds or a date.
fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    if let Some(seconds) = number(headers, "retry-after") {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(headers.get("retry-after")?.to_str().ok()?).ok()?;
    Some(until(date.timestamp().as_second(), now))
}

/// Reads when the count of requests begins anew: GitHub's and Bitbucket's name, and GitLab's.
fn reset(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let moment = number(headers, "x-ratelimit-reset").or_else(|| number(headers, "ratelimit-reset"))?;
    Some(until(i64::try_from(moment).ok()?, now))
}

/// Never none: a moment that has passed by our clock has not by the forge's.
fn until(moment: i64, now: i64) -> Duration {
    Duration::from_secs(u64::try_from(moment.saturating_sub(now)).unwrap_or(0).max(1))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_341_600; // 2026-11-22T10:00:00Z

    fn wait(status: u16, headers: &[(&'static str, &str)], message: &str) -> Option<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        asked(status, &map, message, NOW).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_read_in_every_form_that_forges_write() {
        assert_eq!(wait(429, &[("retry-after", "17")], ""), Some(17));
        assert_eq!(wait(429, &[("retry-after", "Sun, 22 Nov 2026 10:02:00 GMT")], ""), Some(120));
        assert_eq!(wait(429, &[("ratelimit-reset", "1795341630")], ""), Some(30));
        assert_eq!(
            wait(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795341690")], ""),
            Some(90)
        );
        assert_eq!(wait(403, &[], "You have exceeded a secondary rate limit. Please wait"), Some(60));
        assert_eq!(wait(503, &[("retry-after", "5")], ""), Some(5));
    }

    #[test]
    fn a_wait_has_a_default_a_least_and_a_most() {
        assert_eq!(wait(429, &[], ""), Some(60));
        assert_eq!(wait(429, &[("retry-after", "99999999")], ""), Some(3600));
        assert_eq!(wait(429, &[("retry-after", "Sun, 22 Nov 2020 10:00:00 GMT")], ""), Some(1));
        assert_eq!(wait(429, &[("retry-after", "soon")], ""), Some(60));
        assert_eq!(wait(429, &[("x-ratelimit-reset", "18446744073709551615")], ""), Some(60));
    }

    #[test]
    fn what_is_no_limit_asks_for_no_wait() {
        assert_eq!(wait(403, &[], "Resource not accessible by personal access token"), None);
        assert_eq!(wait(403, &[("x-ratelimit-remaining", "4999"), ("x-ratelimit-reset", "1")], ""), None);
        assert_eq!(wait(502, &[], ""), None);
        assert_eq!(wait(422, &[("retry-after", "5")], ""), None);
    }
}
