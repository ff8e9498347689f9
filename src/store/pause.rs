//! Until when something holds, and why: pauses, and the emergency way around change windows.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use regex::Regex;

use super::fields::Reader;
use super::file::UNTIL;
use super::problem::{is_unprintable, quote};
use super::shop::shape;
use super::yaml::Node;

/// The longest reason in characters: it stands in commit statuses, of which a forge takes 140.
const REASON_MAX: usize = 100;

static UNTIL_SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(UNTIL));

/// Something that somebody wants until a moment, for a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When it ends by itself, in seconds since 1970.
    pub until: i64,
    /// Why, in one line.
    pub reason: String,
}

impl Pause {
    /// Whether it holds at a moment. One whose end has passed is as good as none.
    pub fn holds(&self, now: i64) -> bool {
        now < self.until
    }
}

/// Reads both fields, each with a problem of its own.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<Pause> {
    let section = reader.section(node, path)?;
    let until = section.get("until").map(|node| until(reader, node, &format!("{path}.until")));
    if until.is_none() {
        let message = format!(
            "`{path}.until` is missing: add `until: 2026-12-01T08:00:00Z`, when it ends by itself; what nobody ends is \
             forgotten, and a commit can move it"
        );
        reader.complain(section.at, &message);
    }
    let reason = section.get("reason").map(|node| reason(reader, node, &format!("{path}.reason")));
    if reason.is_none() {
        reader.missing(&section, &format!("{path}.reason"), "reason: what it is for");
    }
    Some(Pause { until: until??, reason: reason?? })
}

fn until(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<i64> {
    let text = reader.moment(node, path, &UNTIL_SHAPE)?;
    let found = UNTIL_SHAPE.is_match(&text).then(|| moment(&text)).flatten();
    if found.is_none() {
        let message = format!(
            "`{path}` is {}: write a moment with its offset, `2026-12-01T08:00:00Z` or `2026-12-01T09:00:00+01:00`, or a \
             date, `2026-12-01`, which is its beginning in UTC",
            quote(&text)
        );
        reader.complain(node.at, &message);
    }
    found
}

fn moment(text: &str) -> Option<i64> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment.as_second());
    }
    let date: Date = text.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

fn reason(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<String> {
    let text = reader.text(node, path)?;
    let length = text.chars().count();
    let message = if text.chars().any(is_unprintable) {
        "holds a line break or another character that can't be seen: write one line of plain text".to_owned()
    } else if !(1..=REASON_MAX).contains(&length) {
        format!("has {length} characters where 1 to {REASON_MAX} are allowed")
    } else if text.trim().is_empty() {
        "is empty: say what it is for".to_owned()
    } else {
        return Some(text);
    };
    reader.complain(node.at, &format!("`{path}` {message}"));
    None
}
