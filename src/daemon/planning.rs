//! When the removals of the fleet are planned: each plan looks at the whole fleet. Pure.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::names::StoreId;

/// How long a plan is good enough for runs. A commit makes a new one at once.
const LASTS: Duration = Duration::from_millis(100);

/// How many times as long as it took a plan lasts at least. When ten thousand stores go, each of their runs asks for one,
/// and planning must not become all that is done.
const REST: u32 = 10;

/// The longest such rest: a plan that took long because the machine stood still says nothing of the next one.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// When removals were planned, and when they are to be planned anew.
#[derive(Debug, Default)]
pub(super) struct Planning {
    last: Option<Last>,
    /// When they are planned anew though no run asks for it.
    due: Option<Instant>,
    /// Stores that the last plan does not name, and whose runs wait for the next one.
    awaiting: BTreeSet<StoreId>,
}

/// The last plan.
#[derive(Debug, Clone, Copy)]
struct Last {
    ended: Instant,
    rest: Duration,
}

impl Planning {
    /// A plan was made. Returns the stores that waited for it.
    pub(super) fn planned(&mut self, began: Instant, ended: Instant) -> BTreeSet<StoreId> {
        let took = ended.saturating_duration_since(began);
        self.last = Some(Last { ended, rest: took.saturating_mul(REST).min(LONGEST_REST) });
        self.due = None;
        std::mem::take(&mut self.awaiting)
    }

    /// Whether the last plan is too old for any run.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now >= last.ended + last.rest.max(LASTS))
    }

    /// Whether the last plan was made too lately for one more store to ask for another.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now < last.ended + last.rest)
    }

    /// What a plan is made from has changed: the next one is due when this one is old.
    pub(super) fn soon(&mut self, now: Instant) {
        let pause = self.last.map_or(LASTS, |last| last.rest.max(LASTS));
        self.due.get_or_insert(now + pause);
    }

    /// A store waits for the next plan, which will name it.
    pub(super) fn awaits(&mut self, store: &StoreId, now: Instant) {
        self.awaiting.insert(store.clone());
        self.soon(now);
    }

    /// When the next plan is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Lets runs ask for plans, one run each millisecond besides the plans, and returns how many were made in which time.
    fn ask(runs: u32, took: Duration) -> (u32, Duration) {
        let (mut planning, begun) = (Planning::default(), Instant::now());
        let (mut now, mut plans) = (begun, 0);
        for _ in 0..runs {
            let is_due = planning.next_due().is_some_and(|due| due <= now);
            if is_due || planning.is_old(now) {
                let began = now;
                now += took;
                plans += 1;
                planning.planned(began, now);
            }
            now += MILLISECOND;
            planning.soon(now);
        }
        (plans, now - begun)
    }

    #[test]
    fn ten_thousand_runs_plan_for_a_tenth_of_the_time_however_long_a_plan_takes() {
        for took in [MILLISECOND, 100 * MILLISECOND, 900 * MILLISECOND] {
            let (plans, passed) = ask(10_000, took);
            assert!(
                plans > 1 && took * plans <= took + passed / 10,
                "{plans} plans of {took:?} in {passed:?}"
            );
        }
    }

    #[test]
    fn a_quick_plan_lasts_for_a_tenth_of_a_second_and_a_new_store_gets_its_own_sooner() {
        let (mut planning, now) = (Planning::default(), Instant::now());
        assert!(planning.is_old(now) && !planning.rests(now), "there is none");
        planning.planned(now, now + MILLISECOND);
        assert!(planning.rests(now + 10 * MILLISECOND) && !planning.rests(now + 11 * MILLISECOND));
        assert!(!planning.is_old(now + 100 * MILLISECOND) && planning.is_old(now + 101 * MILLISECOND));
    }

    #[test]
    fn a_plan_that_took_very_long_does_not_put_the_next_one_off_for_ever() {
        let (mut planning, now) = (Planning::default(), Instant::now());
        planning.planned(now, now + Duration::from_mins(1));
        assert!(planning.is_old(now + Duration::from_secs(70)));
    }

    #[test]
    fn who_waits_for_the_next_plan_is_told_when_it_is_made() {
        let (mut planning, now) = (Planning::default(), Instant::now());
        let acme: StoreId = "acme".parse().unwrap();
        planning.planned(now, now + 50 * MILLISECOND);
        planning.awaits(&acme, now + 60 * MILLISECOND);
        assert_eq!(planning.next_due(), Some(now + 560 * MILLISECOND));
        assert_eq!(
            planning.planned(now + 560 * MILLISECOND, now + 600 * MILLISECOND),
            BTreeSet::from([acme])
        );
        assert_eq!(planning.next_due(), None);
    }
}
