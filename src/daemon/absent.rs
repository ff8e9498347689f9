//! Stores without a file, as far as this process knows more of them than the cluster shows.

use std::collections::BTreeMap;
use std::time::Instant;

use super::exits::Exits;
use crate::names::StoreId;
use crate::plan::{Fate, Gone, ObservedNamespace};
use crate::reconcile::Permit;

/// What is known of stores without a file.
#[derive(Default)]
pub(super) struct Absent {
    /// Those on their way out.
    pub(super) exits: Exits,
    /// When their removals were planned last.
    pub(super) planned: Option<Instant>,
    /// When they are to be planned anew though no run asks for it.
    pub(super) plan_at: Option<Instant>,
    /// What may be withdrawn of removals that a run works on, and what it was given for.
    pub(super) permits: BTreeMap<StoreId, (Fate, Permit)>,
    /// What the newest good file of each said of its protection.
    pub(super) protection: BTreeMap<StoreId, bool>,
    /// When their files went.
    departures: BTreeMap<StoreId, Departure>,
}

/// When a store's file went.
#[derive(Debug, Clone, Copy)]
struct Departure {
    /// In seconds since 1970.
    since: i64,
    /// When this process got to know it.
    noticed: Instant,
    /// How many seconds before that it was.
    before: i64,
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
        self.departures.retain(|store, _| there(store));
        for (store, namespace) in observed {
            self.departures.entry(store.clone()).or_insert_with(|| {
                let since = namespace.removal_since().unwrap_or(clock);
                Departure { since, noticed: now, before: clock.saturating_sub(since).max(0) }
            });
        }
    }

    /// Returns since when stores have no file.
    pub(super) fn gone(&self, now: Instant) -> BTreeMap<StoreId, Gone> {
        let gone = |departure: &Departure| {
            let passed = now.saturating_duration_since(departure.noticed).as_secs();
            let passed = i64::try_from(passed).unwrap_or(i64::MAX);
            Gone { since: departure.since, waited: departure.before.saturating_add(passed) }
        };
        self.departures.iter().map(|(store, departure)| (store.clone(), gone(departure))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
