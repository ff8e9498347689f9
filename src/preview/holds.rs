//! What a plan says of pauses and change windows. Pure.

use super::changes::StoreChange;
use crate::plan::{self, Hold, moment};
use crate::store::{Fleet, Pause, Snapshot};

/// Says what becomes of a pause, if this change moves it.
fn moved(whose: &str, before: Option<&Pause>, after: Option<&Pause>, now: i64) -> Option<String> {
    let lasts = |pause: Option<&Pause>| pause.is_some_and(|pause| pause.holds(now));
    let words = |Pause { until, reason }: &Pause| format!("until {}: {reason}", moment::utc(*until));
    match (before, after) {
        (before, after) if before == after => None,
        (before, Some(after)) if !after.holds(now) => {
            let ends = if lasts(before) { "; the one that holds now ends" } else { "" };
            let until = moment::utc(after.until);
            Some(format!("{whose} is paused until {until}, which has passed: that means nothing{ends}"))
        }
        (before, Some(after)) if lasts(before) => {
            Some(format!("the pause of {whose} is moved, {}", words(after)))
        }
        (_, Some(after)) => {
            let nothing = "nothing of it is created, changed, healed or deleted before";
            Some(format!("{whose} is paused {}; {nothing}", words(after)))
        }
        (Some(before), None) if before.holds(now) => {
            Some(format!("the pause of {whose} ends with the merge (it was {})", words(before)))
        }
        _ => None,
    }
}

/// What there is to say of a store.
pub(super) fn of_store(change: &StoreChange<'_>, fleet: &Fleet, now: i64) -> Vec<String> {
    let StoreChange { before, store } = change;
    let before = before.and_then(|before| before.pause.as_ref());
    let after = store.pause.as_ref();
    let moved = moved("the store", before, after, now);
    let stale = after.filter(|after| !after.holds(now) && moved.is_none());
    let stale = stale
        .map(|after| format!("its pause ended at {}: take it out of the file", moment::utc(after.until)));
    let holds = hold(change, fleet, now).filter(|_| moved.is_none());
    let holds = holds.map(|hold| format!("it is {hold}: nothing of this is done before"));
    moved.into_iter().chain(stale).chain(holds).collect()
}

/// What would hold a store back.
pub(super) fn hold(change: &StoreChange<'_>, fleet: &Fleet, now: i64) -> Option<Hold> {
    plan::hold(&change.store.id, change.store.pause.as_ref(), fleet, now)
}

/// When what is held back would be done.
pub(super) fn when(hold: &Hold) -> String {
    let until = moment::utc(hold.until);
    let what = if hold.is_pause() { "when its pause ends" } else { "when its change window opens" };
    format!("at {until}, {what}")
}

/// What there is to say of the whole fleet.
pub(super) fn of_fleet(base: Option<&Snapshot>, proposed: &Snapshot, now: i64) -> Vec<String> {
    let after = &proposed.fleet;
    let before = base.map(|base| &base.fleet);
    let pause = moved("the whole fleet", before.and_then(|it| it.pause.as_ref()), after.pause.as_ref(), now);
    let mut said: Vec<_> = pause.into_iter().collect();
    if said.is_empty()
        && let Some(pause) = after.pause.as_ref().filter(|pause| pause.holds(now))
    {
        said.push(format!("the whole fleet is paused until {}: {}", moment::utc(pause.until), pause.reason));
    }
    let overridden = after.override_windows.as_ref().filter(|pause| pause.holds(now));
    if let Some(Pause { until, reason }) = overridden.filter(|_| !after.change_windows.is_empty()) {
        said.push(format!("all change windows are open until {}: {reason}", moment::utc(*until)));
    }
    if before.is_some_and(|before| before.change_windows != after.change_windows) {
        let count = after.change_windows.len();
        said.push(match count {
            0 => "there are no change windows any more: what waits for one is done at once".to_owned(),
            _ => format!(
                "the change windows become others, {count} in all: what commits change waits for them"
            ),
        });
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_796_018_400;

    #[test]
    fn a_pause_that_comes_moves_goes_or_has_passed_is_told() {
        let pause = |until| Pause { until, reason: "stocktaking".to_owned() };
        let (soon, later, past) = (pause(NOW + 60), pause(NOW + 600), pause(NOW));
        let said = |before: Option<&Pause>, after: Option<&Pause>| {
            moved("the store", before, after, NOW).unwrap_or_default()
        };
        assert!(
            said(None, Some(&soon))
                .starts_with("the store is paused until 2026-11-30T06:01:00Z: stocktaking; nothing")
        );
        assert!(said(Some(&past), Some(&soon)).starts_with("the store is paused until"));
        assert!(
            said(Some(&soon), Some(&later))
                .starts_with("the pause of the store is moved, until 2026-11-30T06:10:00Z")
        );
        assert!(said(Some(&soon), None).starts_with("the pause of the store ends with the merge"));
        assert!(said(None, Some(&past)).ends_with("which has passed: that means nothing"));
        assert!(said(Some(&soon), Some(&past)).ends_with("the one that holds now ends"));
        assert_eq!(said(Some(&soon), Some(&soon)) + &said(Some(&past), None) + &said(None, None), "");
    }
}
