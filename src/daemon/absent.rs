//! Stores without a file, as far as this process knows more of them than the cluster shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::exits::Exits;
use super::planning::Planning;
use crate::names::StoreId;
use crate::plan::{Fate, Gone, ObservedNamespace, Removed};
use crate::reconcile::Permit;
use crate::store::Pause;

/// How long a look at the repository is good enough to delete a store on its word.
const LOOK_LASTS: Duration = Duration::from_mins(2);

/// What is known of stores without a file.
#[derive(Default)]
pub(super) struct Absent {
    /// Those on their way out.
    pub(super) exits: Exits,
    /// When their removals are planned.
    pub(super) planning: Planning,
    /// What the last plan says of those that the budget keeps, and of all that are kept.
    pub(super) over_budget: String,
    pub(super) refusal: Option<String>,
    /// What may be withdrawn of removals that a run works on, and what it was given for.
    pub(super) permits: BTreeMap<StoreId, (Fate, Permit)>,
    /// What the newest good file of each said of its protection.
    pub(super) protection: BTreeMap<StoreId, bool>,
    /// What the newest good file of each said of a pause.
    pub(super) pauses: BTreeMap<StoreId, Option<Pause>>,
    /// Stores whose deletion waits for a look at the repository.
    pub(super) await_look: BTreeSet<StoreId>,
    /// Removals of late, by the identity of their namespaces.
    removed: BTreeMap<String, Departure>,
    /// When it was found that it is not known what was deleted.
    lost: Option<Lost>,
    /// When their files went.
    departures: BTreeMap<StoreId, Departure>,
    /// The last look at the repository that went well.
    look: Option<Look>,
}

/// When a store's file went, or its namespace.
#[derive(Debug, Clone, Copy)]
struct Departure {
    /// In seconds since 1970.
    since: i64,
    /// When this process got to know it.
    noticed: Instant,
    /// How many seconds before that it was.
    before: i64,
}

/// The end of a memory of removals.
#[derive(Debug, Clone, Copy)]
struct Lost {
    departure: Departure,
    /// What was said of it last, in seconds since 1970.
    shown: i64,
}

/// A look at the repository.
#[derive(Debug, Clone, Copy)]
struct Look {
    began: Instant,
    ended: Instant,
}

impl Departure {
    /// Takes over from elsewhere when it was.
    fn known_since(since: i64, now: Instant, clock: i64) -> Self {
        Self { since, noticed: now, before: clock.saturating_sub(since).max(0) }
    }

    /// How many seconds ago it was, by a clock that never jumps.
    fn waited(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.noticed).as_secs();
        self.before.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// When a grace period of so many seconds was over.
    fn grace_end(&self, grace: i64) -> Option<Instant> {
        let left = grace.saturating_sub(self.before);
        let seconds = Duration::from_secs(left.unsigned_abs());
        if left < 0 { self.noticed.checked_sub(seconds) } else { self.noticed.checked_add(seconds) }
    }
}

impl Absent {
    /// A commit is in force: stores that have a file, a broken one too, are absent no longer, and those that had one
    /// until now are absent from now on. `clock` is the time in seconds since 1970.
    pub(super) fn follow<'a>(
        &mut self,
        had_file: impl Iterator<Item = &'a StoreId>,
        has_file: impl Fn(&StoreId) -> bool,
        now: Instant,
        clock: i64,
    ) {
        self.departures.retain(|store, _| !has_file(store));
        let departure = Departure { since: clock, noticed: now, before: 0 };
        let left = had_file.filter(|store| !has_file(store));
        self.departures.extend(left.map(|store| (store.clone(), departure)));
    }

    /// Takes over from the cluster what an earlier process knew of these, and forgets those that are not `there` any
    /// more.
    pub(super) fn notice(
        &mut self,
        observed: &BTreeMap<StoreId, ObservedNamespace>,
        there: impl Fn(&StoreId) -> bool,
        now: Instant,
        clock: i64,
    ) {
        self.protection.retain(|store, _| there(store));
        self.pauses.retain(|store, _| there(store));
        self.departures.retain(|store, _| there(store));
        for (store, namespace) in observed {
            self.departures.entry(store.clone()).or_insert_with(|| {
                Departure::known_since(namespace.removal_since().unwrap_or(clock), now, clock)
            });
        }
    }

    /// Returns since when stores have no file.
    pub(super) fn gone(&self, now: Instant) -> BTreeMap<StoreId, Gone> {
        let gone = |it: &Departure| Gone { since: it.since, waited: it.waited(now) };
        self.departures.iter().map(|(store, departure)| (store.clone(), gone(departure))).collect()
    }

    /// Makes no removal of late older than this process knows it to be: a clock that jumps empties no window.
    pub(super) fn keep_young(&mut self, recent: &mut [Removed], now: Instant, clock: i64) {
        let mut known = BTreeMap::new();
        for removed in recent {
            let first = self.removed.get(&removed.uid).copied();
            let first = first.unwrap_or_else(|| Departure::known_since(removed.at, now, clock));
            removed.at = removed.at.max(clock.saturating_sub(first.waited(now)));
            known.insert(removed.uid.clone(), first);
        }
        self.removed = known;
    }

    /// Says since when it is not known what was deleted, no longer ago than this process knows it to be.
    pub(super) fn lost_since(&mut self, since: Option<i64>, now: Instant, clock: i64) -> Option<i64> {
        let Some(since) = since else {
            self.lost = None;
            return None;
        };
        let known = || Lost { departure: Departure::known_since(since, now, clock), shown: since };
        let lost = self.lost.get_or_insert_with(known);
        let found = clock.saturating_sub(lost.departure.waited(now)).max(since);
        // Both clocks count whole seconds, and not at the same moment: what is said must not change for that.
        if found.abs_diff(lost.shown) > 1 {
            lost.shown = found;
        }
        Some(lost.shown)
    }

    /// A look at the repository has gone well.
    pub(super) fn looked(&mut self, began: Instant, ended: Instant) {
        self.look = Some(Look { began, ended });
    }

    /// Whether the repository was looked at lately, and after a store's grace period: a file that came back in time
    /// would have been seen. Without a grace period the look that found the file gone is enough.
    pub(super) fn is_looked_for(&self, store: &StoreId, grace_seconds: u32, now: Instant) -> bool {
        let Some(Look { began, ended }) = self.look else { return false };
        let end = self.departures.get(store).and_then(|it| it.grace_end(grace_seconds.into()));
        let is_late = grace_seconds == 0 || end.is_none_or(|end| end <= began);
        is_late && now.saturating_duration_since(ended) < LOOK_LASTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: i64 = 1_800_000_000;
    const SECOND: Duration = Duration::from_secs(1);

    fn acme() -> StoreId {
        "acme".parse().unwrap()
    }

    fn marked(since: Option<i64>) -> BTreeMap<StoreId, ObservedNamespace> {
        let mut namespace = ObservedNamespace::default();
        if let Some(since) = since {
            let mark = (crate::names::ANNOTATION_REMOVAL_SINCE.to_owned(), crate::plan::moment::utc(since));
            namespace.annotations.extend([mark]);
        }
        BTreeMap::from([(acme(), namespace)])
    }

    #[test]
    fn a_file_that_comes_and_goes_again_is_gone_since_then() {
        let (mut absent, begun) = (Absent::default(), Instant::now());
        absent.notice(&marked(Some(CLOCK - 500)), |_| true, begun, CLOCK);
        assert_eq!(absent.gone(begun)[&acme()], Gone { since: CLOCK - 500, waited: 500 });
        absent.follow([].iter(), |_| true, begun, CLOCK + 1);
        assert!(absent.gone(begun).is_empty());
        absent.follow([acme()].iter(), |_| false, begun, CLOCK + 2);
        absent.notice(&marked(Some(CLOCK - 500)), |_| true, begun, CLOCK + 3);
        let gone = absent.gone(begun + 7 * SECOND)[&acme()];
        assert_eq!(gone, Gone { since: CLOCK + 2, waited: 7 }, "the old mark counts for nothing");
        // A clock that jumps changes neither.
        absent.notice(&marked(None), |_| true, begun, CLOCK + 90_000);
        assert_eq!(absent.gone(begun + 7 * SECOND)[&acme()], gone);
        absent.notice(&BTreeMap::new(), |_| false, begun, CLOCK);
        assert!(absent.gone(begun).is_empty());
    }

    #[test]
    fn a_removal_of_late_ages_by_the_time_that_passes() {
        let (mut absent, begun) = (Absent::default(), Instant::now());
        let mut age = |seconds: u32, clock: i64| {
            let mut recent = [Removed { store: acme(), uid: "u".to_owned(), at: CLOCK - 60 }];
            absent.keep_young(&mut recent, begun + seconds * SECOND, clock);
            clock - recent[0].at
        };
        assert_eq!((age(0, CLOCK), age(5, CLOCK + 5)), (60, 65));
        assert_eq!(age(6, CLOCK + 90_000), 66, "the clock has jumped");
        assert_eq!(age(7, CLOCK + 7), 67);
    }

    #[test]
    fn a_memory_that_was_lost_ages_by_the_time_that_passes() {
        let (mut absent, begun) = (Absent::default(), Instant::now());
        let mut since = |milliseconds: u64, clock: i64| {
            let now = begun + Duration::from_millis(milliseconds);
            absent.lost_since(Some(CLOCK - 60), now, clock).unwrap()
        };
        assert_eq!(since(0, CLOCK), CLOCK - 60);
        assert_eq!(since(300, CLOCK + 1), CLOCK - 60, "the words of a refusal stay the same");
        assert_eq!(since(6000, CLOCK + 90_000), CLOCK + 90_000 - 66, "the clock has jumped");
        assert_eq!(since(7300, CLOCK + 90_002), CLOCK + 90_000 - 66);
        assert_eq!(since(8000, CLOCK + 8), CLOCK - 60, "it has jumped back");
        assert_eq!(since(9000, CLOCK - 500), CLOCK - 60);
        assert_eq!(absent.lost_since(None, begun, CLOCK), None);
    }

    #[test]
    fn a_look_counts_when_it_began_after_the_grace_period_and_ended_lately() {
        let (mut absent, begun) = (Absent::default(), Instant::now());
        let at = |seconds: u32| begun + seconds * SECOND;
        assert!(!absent.is_looked_for(&acme(), 0, begun), "nobody has looked");
        absent.follow([acme()].iter(), |_| false, at(10), CLOCK);
        absent.looked(at(8), at(10));
        assert!(absent.is_looked_for(&acme(), 0, at(11)));
        assert!(!absent.is_looked_for(&acme(), 0, at(130)), "it is old");
        absent.looked(at(69), at(400));
        assert!(!absent.is_looked_for(&acme(), 60, at(401)), "it began before the end and took long");
        absent.looked(at(70), at(400));
        assert!(absent.is_looked_for(&acme(), 60, at(401)));
        // After a restart the time before counts.
        let mut anew = Absent::default();
        anew.notice(&marked(Some(CLOCK - 50)), |_| true, at(10), CLOCK);
        anew.looked(at(9), at(10));
        assert!(anew.is_looked_for(&acme(), 49, at(11)) && !anew.is_looked_for(&acme(), 50, at(11)));
    }
}
