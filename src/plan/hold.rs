//! What keeps a commit's changes to a store from being carried out for now: a pause, or a change window that is closed.

use std::fmt;

use super::moment;
use crate::names::StoreId;
use crate::store::{ChangeWindow, Fleet, Opening, Pause};

/// What keeps changes to a store waiting, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// How much it holds back.
    pub kind: HoldKind,
    /// Until when, in seconds since 1970.
    pub until: i64,
    /// Why, in words that fit "it is {words}".
    pub words: String,
}

/// How much is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldKind {
    /// Everything: nothing of the store is changed, and drift is left as it is.
    Paused,
    /// What commits change: the version in force is kept up.
    Closed,
}

impl Hold {
    /// Whether everything is held back.
    pub fn is_pause(&self) -> bool {
        self.kind == HoldKind::Paused
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Finds what holds a store back now. `pause` is what its own file says, where that is known. Of two pauses the one that lasts
/// longer is named; a pause is named before a window.
pub fn hold(store: &StoreId, pause: Option<&Pause>, fleet: &Fleet, now: i64) -> Option<Hold> {
    let own = pause.map(|it| (it, "paused"));
    let all = fleet.pause.as_ref().map(|it| (it, "paused with the whole fleet"));
    let lasting = own.into_iter().chain(all).filter(|(pause, _)| pause.holds(now));
    let longest = lasting.max_by_key(|(pause, _)| pause.until);
    longest.map(|(pause, word)| paused(pause, word)).or_else(|| closed(store, fleet, now))
}

fn paused(pause: &Pause, word: &str) -> Hold {
    let Pause { until, reason } = pause;
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let words = format!("{word} until {}{why}", moment::utc(*until));
    Hold { kind: HoldKind::Paused, until: *until, words }
}

fn closed(store: &StoreId, fleet: &Fleet, now: i64) -> Option<Hold> {
    let windows = || fleet.change_windows.iter().filter(|window| window.is_for(store));
    if windows().next().is_none() || windows().any(|window| window.is_open(now)) || is_overridden(fleet, now)
    {
        return None;
    }
    let opening =
        windows().filter_map(|window: &ChangeWindow| window.next_opening(now)).min_by_key(Opening::at);
    // A window that never opens would hold for ever: it is looked at again in a day.
    let until = opening.as_ref().map_or(now + 86_400, Opening::at);
    let when = opening.map_or_else(|| "is closed".to_owned(), |opening| format!("opens {opening}"));
    let words = format!("outside its change window, which {when} ({})", moment::utc(until));
    Some(Hold { kind: HoldKind::Closed, until, words })
}

/// Whether all windows are open in an emergency.
pub fn is_overridden(fleet: &Fleet, now: i64) -> bool {
    fleet.override_windows.as_ref().is_some_and(|pause| pause.holds(now))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::store::{FileContent, Limits, RepositoryTree, Revision};

    /// Monday, 2026-11-30T06:00:00Z.
    const MONDAY: i64 = 1_796_018_400;

    fn fleet(spec: &str) -> Arc<Fleet> {
        let text =
            format!("apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec: {{domain: example.com, {spec}}}\n");
        let files = [("storekeeper.yaml".to_owned(), FileContent::Bytes(text.into_bytes()))].into();
        let tree = RepositoryTree { revision: Revision::working_tree(), files };
        crate::store::read(&tree, &|_| None, &BTreeMap::new(), &Limits::default()).unwrap().fleet
    }

    fn said(store: &str, pause: Option<&Pause>, fleet: &Fleet, now: i64) -> Option<String> {
        hold(&store.parse().unwrap(), pause, fleet, now).map(|hold| hold.words)
    }

    fn pause(until: i64) -> Pause {
        Pause { until, reason: "stocktaking".to_owned() }
    }

    #[test]
    fn a_pause_holds_until_its_end_and_not_a_second_longer() {
        let (nothing, pause) = (fleet(""), pause(MONDAY + 60));
        let words = "paused until 2026-11-30T06:01:00Z: stocktaking";
        assert_eq!(said("acme", Some(&pause), &nothing, MONDAY + 59).as_deref(), Some(words));
        assert_eq!(said("acme", Some(&pause), &nothing, MONDAY + 60), None);
        assert_eq!(said("acme", None, &nothing, MONDAY), None);
    }

    #[test]
    fn of_two_pauses_the_longer_one_is_named_and_a_pause_before_a_window() {
        let all = fleet(
            "pause: {until: 2026-12-01, reason: move}, changeWindows: [{from: '09:00', to: '10:00', timeZone: UTC}]",
        );
        let short = said("acme", Some(&pause(MONDAY + 60)), &all, MONDAY).unwrap();
        assert_eq!(short, "paused with the whole fleet until 2026-12-01T00:00:00Z: move");
        let long = said("acme", Some(&pause(MONDAY + 7 * 86_400)), &all, MONDAY).unwrap();
        assert!(long.starts_with("paused until 2026-12-07"), "{long}");
        let after = said("acme", None, &all, MONDAY + 86_400).unwrap();
        assert_eq!(after, "outside its change window, which opens Tue 09:00 UTC (2026-12-01T09:00:00Z)");
    }

    #[test]
    fn any_of_a_stores_windows_lets_its_changes_in_and_stores_without_one_are_free() {
        let windows = "changeWindows: [{days: [mon], from: '07:00', to: '08:00', timeZone: Europe/Berlin, stores: ['shop-*']}, \
                       {days: [wed], from: '22:00', to: '02:00', timeZone: America/New_York, stores: [shop-us]}]";
        let fleet = fleet(windows);
        assert_eq!(said("shop-us", None, &fleet, MONDAY), None, "07:00 in Berlin");
        assert_eq!(said("acme", None, &fleet, MONDAY + 86_400), None);
        let closed = |store| said(store, None, &fleet, MONDAY + 86_400).unwrap();
        assert!(closed("shop-us").contains("opens Wed 22:00 EST (2026-12-03T03:00:00Z)"));
        assert!(closed("shop-eu").contains("opens Mon 07:00 CET (2026-12-07T06:00:00Z)"));
    }

    #[test]
    fn an_emergency_opens_all_windows_until_its_end_and_no_pause() {
        let windows = "changeWindows: [{from: '09:00', to: '10:00', timeZone: UTC}], \
                       overrideWindows: {until: 2026-11-30T07:00:00Z, reason: fix}";
        let fleet = fleet(windows);
        assert_eq!(said("acme", None, &fleet, MONDAY), None);
        assert!(said("acme", None, &fleet, MONDAY + 3600).unwrap().starts_with("outside"));
        assert!(said("acme", Some(&pause(MONDAY + 60)), &fleet, MONDAY).unwrap().starts_with("paused"));
    }
}
