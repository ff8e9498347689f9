//! When commits' changes are carried out: hours of days of the week, in a time zone of the database that is compiled in.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp, Zoned};
use regex::Regex;

use super::fields::{Reader, Section, distance};
use super::file::{PATTERN, TIME};
use super::problem::quote;
use super::shop::shape;
use super::yaml::Node;
use crate::names::{STORE_ID_MAX, StoreId};

/// How many days ahead an opening is looked for: a week, and another one for an opening that the clocks skip.
const DAYS_AHEAD: i64 = 15;

/// The most windows of a fleet: each is looked at at each run.
const WINDOWS_MAX: usize = 50;

/// Days as they are written, from the first of the week.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

static PATTERN_SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(PATTERN));
static TIME_SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(TIME));

/// The database that is compiled in: what the machine has would make the same file mean other times elsewhere.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Hours of days of the week in which changes to some stores are carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeWindow {
    days: Vec<Weekday>,
    from: Time,
    /// None is midnight, the end of the day.
    to: Option<Time>,
    zone: TimeZone,
    /// None are all.
    stores: Option<Vec<String>>,
}

/// The moment at which a window opens.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening(Zoned);

impl Opening {
    /// Returns it in seconds since 1970.
    pub fn at(&self) -> i64 {
        self.0.timestamp().as_second()
    }
}

impl fmt::Display for Opening {
    /// Writes it as people of that zone read it: `Mon 09:00 CET`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = if self.0.second() == 0 { "%a %H:%M %Z" } else { "%a %H:%M:%S %Z" };
        write!(f, "{}", self.0.strftime(format))
    }
}

impl ChangeWindow {
    /// Whether it is for this store.
    pub fn is_for(&self, store: &StoreId) -> bool {
        let stores = self.stores.as_ref();
        stores.is_none_or(|all| all.iter().any(|pattern| fits(pattern.as_bytes(), store.as_str().as_bytes())))
    }

    /// Whether it is open at a moment, in seconds since 1970.
    pub fn is_open(&self, now: i64) -> bool {
        let Some(today) = self.day_of(now) else { return false };
        let yesterday = today.yesterday().ok();
        let spans = yesterday.into_iter().chain([today]).filter_map(|day| self.span(day));
        spans.into_iter().any(|(begin, end)| (begin.timestamp().as_second()..end).contains(&now))
    }

    /// Returns when it opens next after a moment, in seconds since 1970.
    pub fn next_opening(&self, now: i64) -> Option<Opening> {
        let today = self.day_of(now)?;
        let days = (0..DAYS_AHEAD).filter_map(|days| today.checked_add(Span::new().days(days)).ok());
        let mut openings = days.filter_map(|day| self.span(day)).map(|(begin, _)| begin);
        openings.find(|begin| begin.timestamp().as_second() > now).map(Opening)
    }

    fn day_of(&self, now: i64) -> Option<Date> {
        Some(Timestamp::from_second(now).ok()?.to_zoned(self.zone.clone()).date())
    }

    /// Returns from when to when it is open that begins on a day. A time that the clocks skip there is as much later as
    /// they skip, and of one that comes twice it is the first; a window of which nothing is left is none.
    fn span(&self, day: Date) -> Option<(Zoned, i64)> {
        if !self.days.contains(&day.weekday()) {
            return None;
        }
        let begin = day.to_datetime(self.from).to_zoned(self.zone.clone()).ok()?;
        let (last, time) = match self.to {
            Some(to) if to > self.from => (day, to),
            to => (day.tomorrow().ok()?, to.unwrap_or_else(Time::midnight)),
        };
        let end = last.to_datetime(time).to_zoned(self.zone.clone()).ok()?.timestamp().as_second();
        (begin.timestamp().as_second() < end).then_some((begin, end))
    }
}

/// Whether a name fits a pattern in which `*` stands for any letters, none included.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, of));
            at += 1;
        } else if pattern.get(at) == Some(&name[of]) {
            (at, of) = (at + 1, of + 1);
        } else if let Some((before, taken)) = star {
            star = Some((before, taken + 1));
            (at, of) = (before + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Reads all windows.
pub(super) fn read_all(reader: &mut Reader<'_>, node: &Node) -> Vec<ChangeWindow> {
    let items = reader.list(node, "spec.changeWindows");
    if items.len() > WINDOWS_MAX {
        let message = format!(
            "`spec.changeWindows` has {} windows, at most {WINDOWS_MAX} are allowed: name more stores in each",
            items.len()
        );
        reader.complain(node.at, &message);
        return Vec::new();
    }
    items.iter().enumerate().filter_map(|(index, item)| read(reader, item, index)).collect()
}

fn read(reader: &mut Reader<'_>, node: &Node, index: usize) -> Option<ChangeWindow> {
    let section = reader.section_of(node, "spec.changeWindows[]", &format!("spec.changeWindows[{index}]"))?;
    let path = |field: &str| format!("spec.changeWindows[{index}].{field}");
    let days = match section.get("days") {
        Some(node) => days(reader, node, &path("days")),
        None => Some(DAYS.iter().map(|(_, day)| *day).collect()),
    };
    let (from, to) =
        (time(reader, &section, "from", &path("from")), time(reader, &section, "to", &path("to")));
    let zone = zone(reader, &section, &path("timeZone"));
    let stores = section.get("stores").map(|node| stores(reader, node, &path("stores")));
    let (from, to) = (from?, to?);
    let TimeOfDay::At(from) = from else {
        let at = section.get("from").map_or(section.at, |node| node.at);
        reader.complain(at, &format!("`{}` is the end of a day: write \"00:00\"", path("from")));
        return None;
    };
    if to == TimeOfDay::At(from) {
        let message = format!(
            "`{}` and `{}` are the same time: for whole days write from: \"00:00\" and to: \"24:00\"",
            path("from"),
            path("to")
        );
        reader.complain(section.at, &message);
        return None;
    }
    // Up to midnight, whichever way that is written.
    let to = match to {
        TimeOfDay::At(to) if to != Time::midnight() => Some(to),
        TimeOfDay::At(_) | TimeOfDay::End => None,
    };
    Some(ChangeWindow { days: days?, from, to, zone: zone?, stores })
}

fn days(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<Vec<Weekday>> {
    let items = reader.list(node, path);
    if items.is_empty() {
        reader.complain(
            node.at,
            &format!("`{path}` names no day: write some, or remove the line for all days"),
        );
        return None;
    }
    let mut found = Vec::new();
    for item in items {
        let text = reader.text(item, path)?;
        let day = DAYS.iter().find(|(name, _)| *name == text).map(|(_, day)| *day);
        let Some(day) = day else {
            let message = format!(
                "`{path}` names {}: days are mon, tue, wed, thu, fri, sat and sun, in lower case",
                quote(&text)
            );
            reader.complain(item.at, &message);
            return None;
        };
        if found.contains(&day) {
            reader.complain(item.at, &format!("{} is listed twice: remove one of the two", quote(&text)));
        }
        found.push(day);
    }
    Some(found)
}

/// A time of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeOfDay {
    At(Time),
    End,
}

/// Reads a time of the day.
fn time(reader: &mut Reader<'_>, section: &Section<'_>, field: &str, path: &str) -> Option<TimeOfDay> {
    let Some(node) = section.get(field) else {
        let example = if field == "from" { "from: \"09:00\"" } else { "to: \"17:00\"" };
        reader.missing(section, path, example);
        return None;
    };
    let text = reader.moment(node, path, &TIME_SHAPE)?;
    if !TIME_SHAPE.is_match(&text) {
        let message =
            format!("`{path}` is {}: write a time in quotes, \"09:00\" or \"09:00:30\"", quote(&text));
        reader.complain(node.at, &message);
        return None;
    }
    let part = |index: usize| text.split(':').nth(index).and_then(|part| part.parse::<i8>().ok());
    let time = Time::new(part(0)?, part(1)?, part(2).unwrap_or(0), 0);
    Some(time.map_or(TimeOfDay::End, TimeOfDay::At))
}

fn zone(reader: &mut Reader<'_>, section: &Section<'_>, path: &str) -> Option<TimeZone> {
    let Some(node) = section.get("timeZone") else {
        reader.missing(section, path, "timeZone: Europe/Berlin");
        return None;
    };
    let text = reader.text(node, path)?;
    if let Ok(zone) = ZONES.get(&text)
        && zone.iana_name() == Some(text.as_str())
    {
        return Some(zone);
    }
    let meant = closest_zone(&text).map_or_else(
        || "write one such as Europe/Berlin, America/New_York or UTC".to_owned(),
        |name| format!("did you mean `{name}`?"),
    );
    reader.complain(node.at, &format!("`{path}`: {} is no time zone; {meant}", quote(&text)));
    None
}

/// Finds the zone that somebody probably means: the same letters, the city alone, or a slip of the pen.
fn closest_zone(text: &str) -> Option<String> {
    if text.len() > 40 {
        return None;
    }
    let bare = |name: &str| name.to_ascii_lowercase().replace([' ', '-'], "_");
    let wanted = bare(text);
    let far = |name: &str| {
        let name = bare(name);
        let city = name.rsplit('/').next().unwrap_or(&name);
        let by_city = if wanted.contains('/') { usize::MAX } else { distance(&wanted, city) };
        distance(&wanted, &name).min(by_city)
    };
    let names = ZONES.available().map(|name| name.to_string());
    let near = names.map(|name| (far(&name), name)).filter(|(far, _)| *far <= 2 && far * 2 < wanted.len());
    near.min().map(|(_, name)| name)
}

fn stores(reader: &mut Reader<'_>, node: &Node, path: &str) -> Vec<String> {
    let items = reader.list(node, path);
    if items.is_empty() {
        let message = format!("`{path}` names no store: write some, or remove the line for all stores");
        reader.complain(node.at, &message);
    }
    let mut found: Vec<String> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(text) = reader.text(item, &path) else { continue };
        if text.len() > STORE_ID_MAX || !PATTERN_SHAPE.is_match(&text) {
            let message = format!(
                "`{path}` is {}: write the name of a store, in which `*` may stand for any letters, such as \"shop-*\"",
                quote(&text)
            );
            reader.complain(item.at, &message);
        } else if found.contains(&text) {
            reader.complain(item.at, &format!("{} is listed twice: remove one of the two", quote(&text)));
        }
        found.push(text);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[&str], from: &str, to: &str, zone: &str) -> ChangeWindow {
        let day = |name: &&str| DAYS.iter().find(|(known, _)| known == name).unwrap().1;
        ChangeWindow {
            days: days.iter().map(day).collect(),
            from: from.parse().unwrap(),
            to: Some(to).filter(|to| *to != "24:00").map(|to| to.parse().unwrap()),
            zone: ZONES.get(zone).unwrap(),
            stores: None,
        }
    }

    fn at(moment: &str) -> i64 {
        moment.parse::<Timestamp>().unwrap().as_second()
    }

    /// Returns the minutes of these hours at which it is open, from the first to the last.
    fn open(window: &ChangeWindow, begin: &str, hours: i64) -> Vec<String> {
        let begin = at(begin);
        let minutes = (0..hours * 60).map(|minute| begin + minute * 60).filter(|it| window.is_open(*it));
        let found: Vec<_> = minutes.map(|it| Timestamp::from_second(it).unwrap().to_string()).collect();
        [found.first(), found.last()].into_iter().flatten().cloned().collect()
    }

    #[test]
    fn a_window_is_open_on_its_days_from_its_first_second_to_before_its_last() {
        let office = window(&["mon", "tue"], "09:00", "17:00", "Europe/Berlin");
        // A Monday in winter.
        for (moment, expected) in [
            ("2026-11-30T07:59:59Z", false),
            ("2026-11-30T08:00:00Z", true),
            ("2026-11-30T15:59:59Z", true),
            ("2026-11-30T16:00:00Z", false),
            ("2026-12-01T08:00:00Z", true),
            ("2026-12-02T10:00:00Z", false),
            ("2026-07-06T07:00:00Z", true),
        ] {
            assert_eq!(office.is_open(at(moment)), expected, "{moment}");
        }
        let next = office.next_opening(at("2026-12-01T17:00:00Z")).unwrap();
        assert_eq!((next.at(), next.to_string().as_str()), (at("2026-12-07T08:00:00Z"), "Mon 09:00 CET"));
        let next = office.next_opening(at("2026-07-04T17:00:00Z")).unwrap();
        assert_eq!(next.to_string(), "Mon 09:00 CEST");
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_that_it_begins_on() {
        let night = window(&["fri"], "22:00", "02:00", "UTC");
        // The 27th is a Friday.
        for (moment, expected) in [
            ("2026-11-27T01:00:00Z", false),
            ("2026-11-27T21:59:59Z", false),
            ("2026-11-27T22:00:00Z", true),
            ("2026-11-28T01:59:59Z", true),
            ("2026-11-28T02:00:00Z", false),
            ("2026-11-28T22:00:00Z", false),
        ] {
            assert_eq!(night.is_open(at(moment)), expected, "{moment}");
        }
        let whole = window(&["sat"], "00:00", "24:00", "UTC");
        assert!(whole.is_open(at("2026-11-28T00:00:00Z")) && whole.is_open(at("2026-11-28T23:59:59Z")));
        assert!(!whole.is_open(at("2026-11-29T00:00:00Z")) && !whole.is_open(at("2026-11-27T23:59:59Z")));
    }

    #[test]
    fn clocks_that_go_forward_and_back_move_only_what_they_skip_or_repeat() {
        // On 2026-03-29 Berlin goes from 02:00 CET to 03:00 CEST, which is 01:00 UTC.
        let skipped = window(&["sun"], "02:00", "03:00", "Europe/Berlin");
        assert_eq!(open(&skipped, "2026-03-28T20:00:00Z", 24), [""; 0], "there is no such hour");
        let next = skipped.next_opening(at("2026-03-28T20:00:00Z")).unwrap();
        assert_eq!(next.at(), at("2026-04-05T00:00:00Z"), "the one of the week after");
        let over = window(&["sun"], "01:00", "04:00", "Europe/Berlin");
        assert_eq!(open(&over, "2026-03-28T20:00:00Z", 24), ["2026-03-29T00:00:00Z", "2026-03-29T01:59:00Z"]);
        let late = window(&["sun"], "02:30", "05:00", "Europe/Berlin");
        assert_eq!(open(&late, "2026-03-28T20:00:00Z", 24), ["2026-03-29T01:30:00Z", "2026-03-29T02:59:00Z"]);
        // On 2026-10-25 it goes from 03:00 CEST back to 02:00 CET, which is 01:00 UTC.
        let twice = window(&["sun"], "02:00", "03:00", "Europe/Berlin");
        assert_eq!(
            open(&twice, "2026-10-24T20:00:00Z", 24),
            ["2026-10-25T00:00:00Z", "2026-10-25T01:59:00Z"]
        );
        let half = window(&["sat"], "23:00", "02:30", "Europe/Berlin");
        assert_eq!(open(&half, "2026-10-24T20:00:00Z", 24), ["2026-10-24T21:00:00Z", "2026-10-25T00:29:00Z"]);
    }

    #[test]
    fn days_are_those_of_the_windows_own_zone() {
        let auckland = window(&["mon"], "00:00", "01:00", "Pacific/Auckland");
        assert!(auckland.is_open(at("2026-11-29T11:30:00Z")), "Monday there, Sunday in London");
        let honolulu = window(&["sun"], "23:00", "24:00", "Pacific/Honolulu");
        assert!(honolulu.is_open(at("2026-11-30T09:30:00Z")), "Sunday there, Monday in London");
        let kathmandu = window(&["mon"], "09:00", "10:00", "Asia/Kathmandu");
        assert_eq!(
            kathmandu.next_opening(at("2026-11-29T00:00:00Z")).unwrap().at(),
            at("2026-11-30T03:15:00Z")
        );
    }

    #[test]
    fn a_zone_that_is_none_is_told_with_the_one_that_is_meant() {
        for (wrong, meant) in [
            ("europe/berlin", Some("Europe/Berlin")),
            ("Europe/Berln", Some("Europe/Berlin")),
            ("Berlin", Some("Europe/Berlin")),
            ("America/New York", Some("America/New_York")),
            ("Middle/Earth", None),
            ("", None),
        ] {
            assert_eq!(closest_zone(wrong).as_deref(), meant, "{wrong}");
        }
    }

    #[test]
    fn stars_stand_for_any_letters() {
        for (pattern, name, expected) in [
            ("shop-*", "shop-a", true),
            ("shop-*", "shop-", true),
            ("shop-*", "ashop-a", false),
            ("*", "a", true),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axbxbx", false),
            ("*-eu", "shop-eu", true),
            ("shop", "shops", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
