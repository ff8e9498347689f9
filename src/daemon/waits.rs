//! How long each store has been at its step, and when to look at it again though nothing moved. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use crate::names::StoreId;
use crate::report::{Step, Symptom};

/// How long a store may wait before its pods and events are asked: most starts are over by then.
const FIRST_LOOK: Duration = Duration::from_secs(8);

/// The longest time between two such looks.
const LAST_LOOK: Duration = Duration::from_secs(60);

/// The stores that wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    stores: BTreeMap<StoreId, Entry>,
    due: Agenda,
}

#[derive(Debug)]
struct Entry {
    step: Step,
    since: Instant,
    symptoms: Vec<Symptom>,
    next_look: Instant,
    look_closer: bool,
}

impl Entry {
    fn new(step: Step, now: Instant) -> Self {
        Self { step, since: now, symptoms: Vec::new(), next_look: now + FIRST_LOOK, look_closer: false }
    }
}

/// What is known of a store's wait.
#[derive(Debug, Default)]
pub(super) struct Wait {
    pub(super) waited: Option<(Step, Duration)>,
    pub(super) symptoms: Vec<Symptom>,
    pub(super) look_closer: bool,
}

impl Waits {
    /// Returns a store's wait; a look that is due is the caller's now.
    pub(super) fn of(&mut self, store: &StoreId, now: Instant) -> Wait {
        let Some(entry) = self.stores.get_mut(store) else { return Wait::default() };
        Wait {
            waited: Some((entry.step, now.saturating_duration_since(entry.since))),
            symptoms: entry.symptoms.clone(),
            look_closer: std::mem::take(&mut entry.look_closer),
        }
    }

    /// A run has ended with the store at this step, which may take so long; or at none.
    pub(super) fn concluded(
        &mut self,
        store: &StoreId,
        at: Option<(Step, Duration)>,
        symptoms: Option<Vec<Symptom>>,
        now: Instant,
    ) {
        let Some((step, timeout)) = at else { return self.remove(store) };
        let entry = self.stores.entry(store.clone()).or_insert_with(|| Entry::new(step, now));
        if entry.step != step {
            *entry = Entry::new(step, now);
        }
        if let Some(symptoms) = symptoms {
            entry.symptoms = symptoms;
            entry.next_look = now + now.saturating_duration_since(entry.since).clamp(FIRST_LOOK, LAST_LOOK);
        }
        let overdue = entry.since + timeout;
        self.due.set(store, if overdue > now { entry.next_look.min(overdue) } else { entry.next_look });
    }

    /// Takes the stores that are to be looked at though nothing moved.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<StoreId> {
        let mut due = Vec::new();
        while let Some(store) = self.due.take_due(now) {
            if let Some(entry) = self.stores.get_mut(&store) {
                entry.look_closer = true;
                due.push(store);
            }
        }
        due
    }

    /// When the next look is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Forgets a store's wait.
    pub(super) fn remove(&mut self, store: &StoreId) {
        self.stores.remove(store);
        self.due.remove(store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(300);

    fn acme() -> StoreId {
        "acme".parse().unwrap()
    }

    #[test]
    fn a_wait_is_counted_from_the_first_sight_of_its_step() {
        let (mut waits, begun) = (Waits::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let waited = |waits: &mut Waits, now| waits.of(&acme(), now).waited;
        assert_eq!(waited(&mut waits, at(0)), None);
        waits.concluded(&acme(), Some((Step::Database, TIMEOUT)), None, at(0));
        waits.concluded(&acme(), Some((Step::Database, TIMEOUT)), None, at(20));
        assert_eq!(waited(&mut waits, at(30)), Some((Step::Database, Duration::from_secs(30))));
        waits.concluded(&acme(), Some((Step::Migration, TIMEOUT)), None, at(40));
        assert_eq!(waited(&mut waits, at(41)), Some((Step::Migration, Duration::from_secs(1))));
        waits.concluded(&acme(), None, None, at(50));
        assert_eq!((waited(&mut waits, at(51)), waits.next_due()), (None, None));
    }

    #[test]
    fn looks_come_seldomer_and_one_comes_when_the_time_is_up() {
        let (mut waits, begun) = (Waits::default(), Instant::now());
        let (mut looks, mut now) = (Vec::new(), begun);
        let at = Some((Step::Database, TIMEOUT));
        waits.concluded(&acme(), at, None, now);
        while now < begun + TIMEOUT {
            // Something moves all the time: that does not put a look off.
            waits.concluded(&acme(), at, None, now + Duration::from_secs(1));
            now = waits.next_due().unwrap();
            assert_eq!(waits.take_due(now), [acme()]);
            assert!(
                waits.of(&acme(), now).look_closer && !waits.of(&acme(), now).look_closer,
                "one look each"
            );
            looks.push((now - begun).as_secs());
            waits.concluded(&acme(), at, Some(Vec::new()), now);
        }
        assert_eq!(looks, [8, 16, 32, 64, 124, 184, 244, 300]);
    }
}
