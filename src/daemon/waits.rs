//! How long each store has been at its step, and when to look at it again though nothing moved. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use crate::names::StoreId;
use crate::report::{Step, Symptom};

/// How long a store may wait before its pods and events are asked: most starts are over by then.
const FIRST_LOOK: Duration = Duration::from_secs(8);

/// The longest time between two such looks.
const LAST_LOOK: Duration = Duration::from_mins(1);

/// The same once a step has taken too long: whoever reads the reason reads it later.
const LATE_LOOK: Duration = Duration::from_mins(5);

/// How many stores are looked at closer within this time. After a push that makes a thousand stores they all wait at once,
/// and two questions for each would keep the server from what they wait for.
const LOOKS: (usize, Duration) = (4, Duration::from_secs(1));

/// The stores that wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    stores: BTreeMap<StoreId, Entry>,
    due: Agenda,
    /// When the time of [`LOOKS`] began, and how many there were in it.
    looks: Option<(Instant, usize)>,
}

#[derive(Debug)]
struct Entry {
    step: Step,
    since: Instant,
    /// The time at each step before `since`: one that comes and goes, as in a crash loop, takes long all the same.
    before: [Duration; Step::ALL.len()],
    symptoms: Vec<Symptom>,
    next_look: Instant,
    /// When the step has taken too long.
    deadline: Option<Instant>,
    look_closer: bool,
}

impl Entry {
    fn new(step: Step, now: Instant) -> Self {
        let before = [Duration::ZERO; Step::ALL.len()];
        Self {
            step,
            since: now,
            before,
            symptoms: Vec::new(),
            next_look: now + FIRST_LOOK,
            deadline: None,
            look_closer: false,
        }
    }

    fn waited(&self, now: Instant) -> Duration {
        self.before[self.step as usize] + now.saturating_duration_since(self.since)
    }

    /// Moves to a step. What is known of one that the store was at before stays, and so does its next look.
    fn enter(&mut self, step: Step, now: Instant) {
        if self.step == step {
            return;
        }
        self.before[self.step as usize] = self.waited(now);
        (self.step, self.since) = (step, now);
        if self.before[step as usize].is_zero() {
            (self.symptoms, self.next_look) = (Vec::new(), now + FIRST_LOOK);
        }
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
            waited: Some((entry.step, entry.waited(now))),
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
        entry.enter(step, now);
        let waited = entry.waited(now);
        if let Some(symptoms) = symptoms {
            entry.symptoms = symptoms;
            let longest = if waited < timeout { LAST_LOOK } else { LATE_LOOK };
            entry.next_look = now + waited.clamp(FIRST_LOOK, longest);
        }
        let left = timeout.saturating_sub(waited);
        entry.deadline = (!left.is_zero()).then(|| now + left);
        self.due.set(store, entry.deadline.map_or(entry.next_look, |deadline| entry.next_look.min(deadline)));
    }

    /// Takes the stores that are to be looked at though nothing moved.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<StoreId> {
        let mut due = Vec::new();
        while let Some(store) = self.due.take_due(now) {
            let has_room = self.has_room(now);
            let Some(entry) = self.stores.get_mut(&store) else { continue };
            let is_late = entry.deadline.is_some_and(|deadline| deadline <= now);
            if has_room {
                entry.look_closer = true;
                self.looks = self.looks.map(|(began, count)| (began, count + 1));
            }
            if has_room || is_late {
                due.push(store);
            } else {
                let later = now + LOOKS.1;
                self.due.set(&store, entry.deadline.map_or(later, |deadline| later.min(deadline)));
            }
        }
        due
    }

    /// Whether one more store may be looked at closer now.
    fn has_room(&mut self, now: Instant) -> bool {
        let (most, time) = LOOKS;
        let (began, count) = self.looks.filter(|(began, _)| *began + time > now).unwrap_or((now, 0));
        self.looks = Some((began, count));
        count < most
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
    use std::collections::BTreeSet;

    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(5);

    #[test]
    fn of_many_stores_that_wait_a_few_a_second_are_looked_at_but_none_misses_its_deadline() {
        let (mut waits, begun) = (Waits::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let stores: Vec<StoreId> = (0..40).map(|number| format!("s{number:02}").parse().unwrap()).collect();
        for store in &stores {
            waits.concluded(store, Some((Step::Database, Duration::from_secs(14))), None, begun);
        }
        let mut looked_at = BTreeSet::new();
        for second in 8..14 {
            let due = waits.take_due(at(second));
            assert_eq!(due.len(), LOOKS.0, "in second {second}");
            assert!(due.iter().all(|store| waits.of(store, at(second)).look_closer));
            looked_at.extend(due);
        }
        assert_eq!(looked_at.len(), 6 * LOOKS.0, "each in its turn");
        let late = waits.take_due(at(14));
        assert_eq!(late.len(), stores.len() - looked_at.len(), "whose time is up is concluded anew");
    }

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
        assert_eq!(waits.next_due(), Some(now + TIMEOUT), "too late already: seldomer");
    }

    #[test]
    fn a_step_that_comes_and_goes_takes_its_time_together_and_puts_no_look_off() {
        let (mut waits, begun) = (Waits::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let timeout = Duration::from_secs(35);
        // A container that runs for five seconds and ends, again and again.
        for round in 0..6 {
            waits.concluded(&acme(), Some((Step::Api, timeout)), None, at(10 * round));
            waits.concluded(&acme(), Some((Step::Probe, timeout)), None, at(10 * round + 5));
        }
        assert_eq!(waits.next_due(), Some(at(13)), "8 s after the first sight of the newer step");
        waits.concluded(&acme(), Some((Step::Api, timeout)), Some(Vec::new()), at(60));
        assert_eq!(waits.of(&acme(), at(60)).waited, Some((Step::Api, Duration::from_secs(30))));
        assert_eq!(waits.next_due(), Some(at(65)), "the time is up");
        waits.concluded(&acme(), None, None, at(61));
        waits.concluded(&acme(), Some((Step::Api, timeout)), None, at(62));
        assert_eq!(waits.of(&acme(), at(63)).waited, Some((Step::Api, Duration::from_secs(1))));
    }
}
