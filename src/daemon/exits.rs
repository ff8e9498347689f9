//! Stores on their way out: when their grace period ends, since when they go, and when to look at what holds them.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use crate::names::StoreId;
use crate::reconcile::LeavingMemory;

/// How long a namespace may be on its way out before what remains in it is listed: most are gone by then.
const FIRST_LOOK: Duration = Duration::from_secs(20);

/// The longest time between two such looks at one store.
const LAST_LOOK: Duration = Duration::from_mins(5);

/// The time between two such looks at any stores: a thousand stuck ones ask no more than this allows.
const SPACING: Duration = Duration::from_secs(1);

/// How often a store is looked at whose deletion waits for something in the cluster, should its event be missed.
const RECHECK: Duration = Duration::from_mins(1);

/// How far a store is on its way out. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In its grace period.
    Grace {
        /// When that is over.
        until: i64,
    },
    /// It may go: a backup is being made, or its deletion is asked for.
    Due {
        /// Since when.
        since: i64,
    },
    /// Its namespace is being deleted.
    Going {
        /// Since when.
        since: i64,
    },
}

impl Way {
    /// Since when its removal is under way, in seconds since 1970; a grace period is none.
    fn under_way_since(self) -> Option<i64> {
        match self {
            Self::Grace { .. } => None,
            Self::Due { since } | Self::Going { since } => Some(since),
        }
    }
}

/// The stores on their way out.
#[derive(Debug, Default)]
pub(super) struct Exits {
    stores: BTreeMap<StoreId, Exit>,
    /// Those that are under way, by since when: each run's end asks how many there are.
    under_way: BTreeSet<(i64, StoreId)>,
    due: Agenda,
    next_look: Option<Instant>,
}

#[derive(Debug)]
struct Exit {
    way: Way,
    remains: Option<String>,
    looks: u32,
    look: bool,
}

impl Exits {
    /// Returns what is known of a store's way out; a look that is due is the caller's now, and counts whatever becomes
    /// of it: one that fails at once must not keep others from theirs.
    pub(super) fn of(&mut self, store: &StoreId) -> LeavingMemory {
        let Some(exit) = self.stores.get_mut(store) else { return LeavingMemory::default() };
        let look = std::mem::take(&mut exit.look);
        exit.looks += u32::from(look);
        LeavingMemory { remains: exit.remains.clone(), look }
    }

    /// A run has ended with the store this far, and with what it found in the namespace if it looked. `clock` is the
    /// time in seconds since 1970.
    pub(super) fn concluded(
        &mut self,
        store: &StoreId,
        way: Way,
        remains: Option<String>,
        now: Instant,
        clock: i64,
    ) {
        let exit =
            self.stores.entry(store.clone()).or_insert(Exit { way, remains: None, looks: 0, look: false });
        let before = std::mem::replace(&mut exit.way, way);
        let is_new = before != way;
        if let Some(since) = before.under_way_since() {
            self.under_way.remove(&(since, store.clone()));
        }
        self.under_way.extend(way.under_way_since().map(|since| (since, store.clone())));
        let looked = remains.is_some();
        if looked {
            exit.remains = remains;
        }
        let seconds = |count: i64| Duration::from_secs(u64::try_from(count).unwrap_or(0));
        let wait = match way {
            Way::Grace { until } => seconds(until - clock),
            Way::Due { .. } => RECHECK,
            Way::Going { since } if exit.looks == 0 => FIRST_LOOK.saturating_sub(seconds(clock - since)),
            Way::Going { .. } => FIRST_LOOK.saturating_mul(1 << exit.looks.min(8)).min(LAST_LOOK),
        };
        // Other events of a namespace that goes put its next look neither off nor forward.
        if is_new || looked || !matches!(way, Way::Going { .. }) || !self.due.has(store) {
            self.due.set(store, now + wait);
        }
    }

    /// Takes the stores that are to be looked at though nothing moved.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<StoreId> {
        let mut taken = Vec::new();
        while let Some(store) = self.due.take_due(now) {
            let Some(exit) = self.stores.get_mut(&store) else { continue };
            if matches!(exit.way, Way::Going { .. }) {
                match self.next_look {
                    Some(next) if now < next => {
                        self.due.set(&store, next);
                        continue;
                    }
                    _ => (self.next_look, exit.look) = (Some(now + SPACING), true),
                }
            }
            taken.push(store);
        }
        taken
    }

    /// When the next look is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Forgets a store: it is gone, or stays.
    pub(super) fn remove(&mut self, store: &StoreId) {
        let exit = self.stores.remove(store);
        if let Some(since) = exit.and_then(|exit| exit.way.under_way_since()) {
            self.under_way.remove(&(since, store.clone()));
        }
        self.due.remove(store);
    }

    /// Returns how many removals are under way, grace periods left out, and since when the oldest is, in seconds since
    /// 1970.
    pub(super) fn under_way(&self) -> (usize, Option<i64>) {
        (self.under_way.len(), self.under_way.first().map(|(since, _)| *since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: i64 = 1_800_000_000;

    fn id(text: &str) -> StoreId {
        text.parse().unwrap()
    }

    fn going() -> Way {
        Way::Going { since: CLOCK }
    }

    #[test]
    fn a_store_in_its_grace_period_is_due_when_that_ends_and_not_under_way_before() {
        let (mut exits, now) = (Exits::default(), Instant::now());
        exits.concluded(&id("a"), Way::Grace { until: CLOCK + 300 }, None, now, CLOCK);
        assert_eq!(exits.next_due(), Some(now + Duration::from_mins(5)));
        assert_eq!(exits.under_way(), (0, None));
        assert_eq!(exits.take_due(now + Duration::from_mins(5)), [id("a")]);
        assert!(!exits.of(&id("a")).look);
        exits.concluded(&id("a"), Way::Due { since: CLOCK + 300 }, None, now, CLOCK + 300);
        assert_eq!(exits.under_way(), (1, Some(CLOCK + 300)));
        exits.remove(&id("a"));
        assert_eq!((exits.next_due(), exits.under_way()), (None, (0, None)));
    }

    #[test]
    fn thousands_of_removals_under_way_are_counted_at_each_run() {
        let (mut exits, now) = (Exits::default(), Instant::now());
        for number in 0..30_000 {
            let store = id(&format!("s{number}"));
            exits.concluded(&store, Way::Due { since: CLOCK + number }, None, now, CLOCK);
            exits.concluded(&store, Way::Going { since: CLOCK + number + 1 }, None, now, CLOCK);
            let count = usize::try_from(number + 1).unwrap();
            assert_eq!(exits.under_way(), (count, Some(CLOCK + 1)));
        }
        exits.concluded(&id("s1"), Way::Grace { until: CLOCK + 300 }, None, now, CLOCK);
        exits.remove(&id("s0"));
        assert_eq!(exits.under_way(), (29_998, Some(CLOCK + 3)));
    }

    #[test]
    fn looks_at_a_namespace_that_stays_come_after_20_s_and_then_seldomer() {
        let (mut exits, begun) = (Exits::default(), Instant::now());
        let (mut looks, mut now) = (Vec::new(), begun);
        exits.concluded(&id("a"), going(), None, now, CLOCK);
        for _ in 0..6 {
            // Something moves in it all the time: that puts no look off.
            exits.concluded(&id("a"), going(), None, now + Duration::from_secs(1), CLOCK + 1);
            now = exits.next_due().unwrap();
            looks.push((now - begun).as_secs());
            assert_eq!(exits.take_due(now), [id("a")]);
            assert!(exits.of(&id("a")).look && !exits.of(&id("a")).look, "one look each");
            exits.concluded(&id("a"), going(), Some("a pod".to_owned()), now, CLOCK);
        }
        assert_eq!(looks, [20, 60, 140, 300, 600, 900]);
        assert_eq!(exits.of(&id("a")).remains.as_deref(), Some("a pod"));
        // After a restart the time since its deletion began counts.
        let mut anew = Exits::default();
        anew.concluded(&id("a"), going(), None, begun, CLOCK + 15);
        assert_eq!(anew.next_due(), Some(begun + Duration::from_secs(5)));
    }

    #[test]
    fn a_look_that_fails_or_is_cut_off_counts_and_takes_no_place_of_others() {
        let (mut exits, begun) = (Exits::default(), Instant::now());
        for store in ["a", "b"] {
            exits.concluded(&id(store), going(), None, begun, CLOCK);
        }
        let mut looks = Vec::new();
        for second in 20..60 {
            let now = begun + Duration::from_secs(second);
            for store in exits.take_due(now) {
                looks.push((second, store.to_string()));
                let look = exits.of(&store).look;
                // The run of `a` never tells what it found.
                let remains = (look && store == id("b")).then(|| "a pod".to_owned());
                exits.concluded(&store, going(), remains, now, CLOCK + i64::try_from(second).unwrap());
            }
        }
        let expected = [(20, "a"), (21, "b")].map(|(second, store)| (second, store.to_owned()));
        assert_eq!(looks, expected, "the next ones come after 60 s and more");
    }

    #[test]
    fn many_namespaces_that_stay_are_looked_at_one_a_second() {
        let (mut exits, begun) = (Exits::default(), Instant::now());
        for number in 0..5 {
            exits.concluded(&id(&format!("s{number}")), going(), None, begun, CLOCK);
        }
        for second in 20..25 {
            assert_eq!(exits.take_due(begun + Duration::from_secs(second)).len(), 1);
        }
        assert_eq!(exits.next_due(), None, "each has had its look; its run sets the next one");
    }
}
