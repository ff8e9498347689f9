//! Who is due when: one moment for each store. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::names::StoreId;

/// Moments, at most one for each store.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    by_time: BTreeSet<(Instant, StoreId)>,
    by_store: BTreeMap<StoreId, Instant>,
}

impl Agenda {
    /// Sets a store's moment, in the place of the one it had.
    pub(super) fn set(&mut self, store: &StoreId, when: Instant) {
        self.remove(store);
        self.by_store.insert(store.clone(), when);
        self.by_time.insert((when, store.clone()));
    }

    /// Forgets a store's moment.
    pub(super) fn remove(&mut self, store: &StoreId) {
        if let Some(when) = self.by_store.remove(store) {
            self.by_time.remove(&(when, store.clone()));
        }
    }

    /// Whether a store has a moment.
    pub(super) fn has(&self, store: &StoreId) -> bool {
        self.by_store.contains_key(store)
    }

    /// Takes a store whose moment has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<StoreId> {
        let (when, _) = self.by_time.first()?;
        if *when > now {
            return None;
        }
        let (_, store) = self.by_time.pop_first()?;
        self.by_store.remove(&store);
        Some(store)
    }

    /// Returns a store's moment.
    pub(super) fn of(&self, store: &StoreId) -> Option<Instant> {
        self.by_store.get(store).copied()
    }

    /// Returns the next moment.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(when, _)| *when)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stores_come_in_the_order_of_their_moments_and_each_once() {
        let (mut agenda, now) = (Agenda::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let id = |text: &str| text.parse::<StoreId>().unwrap();
        agenda.set(&id("a"), at(3));
        agenda.set(&id("b"), at(2));
        agenda.set(&id("c"), at(9));
        agenda.set(&id("a"), at(1));
        agenda.remove(&id("c"));
        assert_eq!(agenda.next(), Some(at(1)));
        assert_eq!(agenda.take_due(now), None);
        assert_eq!(agenda.take_due(at(5)), Some(id("a")));
        assert_eq!(agenda.take_due(at(5)), Some(id("b")));
        assert_eq!((agenda.take_due(at(9)), agenda.next()), (None, None));
    }
}
