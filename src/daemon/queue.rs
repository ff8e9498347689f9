//! Which store runs next: one run per store at a time, many stores at once, failures backing off each for
//! itself. Pure: time and chance come in as arguments.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::names::StoreId;

/// The wait after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest wait.
const LAST_RETRY: Duration = Duration::from_secs(300);

/// How much of a wait chance may add, so that stores that failed together do not come back together.
const JITTER: f64 = 0.2;

/// The stores that want a run.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<StoreId>,
    queued: BTreeSet<StoreId>,
    running: BTreeSet<StoreId>,
    /// Marked by a commit and not run since: a failure of the run under way is not theirs.
    fresh: BTreeSet<StoreId>,
    backing_off: BTreeMap<StoreId, Backoff>,
}

#[derive(Debug, Clone, Copy)]
struct Backoff {
    failures: u32,
    until: Instant,
}

impl Queue {
    /// Something about this store moved. A store that backs off keeps its time: its own failing runs move things
    /// too. What moves during a run may have been missed by it, and counts if the run ends well.
    pub(super) fn mark(&mut self, store: &StoreId) {
        if self.running.contains(store) || !self.backing_off.contains_key(store) {
            self.enqueue(store);
        }
    }

    /// Git wants something new of this store: earlier failures no longer count.
    pub(super) fn mark_fresh(&mut self, store: &StoreId) {
        self.backing_off.remove(store);
        self.fresh.insert(store.clone());
        self.enqueue(store);
    }

    /// A new commit came: every store that backs off gets its next try at once.
    pub(super) fn retry_all(&mut self) {
        let all: Vec<_> = self.backing_off.keys().cloned().collect();
        for store in all {
            self.mark_fresh(&store);
        }
    }

    /// Takes the next store to run, unless `limit` runs are under way.
    pub(super) fn take(&mut self, now: Instant, limit: usize) -> Option<StoreId> {
        self.release(now);
        if self.running.len() >= limit {
            return None;
        }
        let position = self.waiting.iter().position(|store| !self.running.contains(store))?;
        let store = self.waiting.remove(position)?;
        self.queued.remove(&store);
        self.fresh.remove(&store);
        self.running.insert(store.clone());
        Some(store)
    }

    /// A run ended well.
    pub(super) fn succeeded(&mut self, store: &StoreId) {
        self.running.remove(store);
        self.backing_off.remove(store);
    }

    /// A run failed: the store comes back after the returned wait. `chance` lies between 0 and 1; `at_least` is
    /// what the API server asked for.
    pub(super) fn failed(
        &mut self,
        store: &StoreId,
        now: Instant,
        at_least: Duration,
        chance: f64,
    ) -> Duration {
        self.running.remove(store);
        if self.fresh.contains(store) {
            return Duration::ZERO;
        }
        // What moved meanwhile was most likely the run's own doing.
        if self.queued.remove(store) {
            self.waiting.retain(|waiting| waiting != store);
        }
        let failures = self.backing_off.get(store).map_or(0, |backoff| backoff.failures).saturating_add(1);
        let doubled = FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(LAST_RETRY);
        let wait = doubled.mul_f64(1.0 + JITTER * chance).max(at_least.min(LAST_RETRY));
        self.backing_off.insert(store.clone(), Backoff { failures, until: now + wait });
        wait
    }

    /// When the next backoff ends.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = |(store, backoff): (&StoreId, &Backoff)| {
            (!self.queued.contains(store) && !self.running.contains(store)).then_some(backoff.until)
        };
        self.backing_off.iter().filter_map(due).min()
    }

    fn enqueue(&mut self, store: &StoreId) {
        if self.queued.insert(store.clone()) {
            self.waiting.push_back(store.clone());
        }
    }

    fn release(&mut self, now: Instant) {
        let due = |(store, backoff): (&StoreId, &Backoff)| {
            (backoff.until <= now && !self.queued.contains(store) && !self.running.contains(store))
                .then(|| store.clone())
        };
        let released: Vec<_> = self.backing_off.iter().filter_map(due).collect();
        for store in released {
            self.enqueue(&store);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> StoreId {
        text.parse().unwrap()
    }

    #[test]
    fn one_store_has_one_run_at_a_time_and_runs_again_when_marked_meanwhile() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("a"));
        queue.mark(&id("a"));
        assert_eq!(queue.take(now, 8), Some(id("a")));
        queue.mark(&id("a"));
        assert_eq!(queue.take(now, 8), None, "it runs already");
        queue.succeeded(&id("a"));
        assert_eq!(queue.take(now, 8), Some(id("a")));
    }

    #[test]
    fn no_more_runs_than_the_limit_are_under_way() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b", "c"] {
            queue.mark(&id(name));
        }
        assert!(queue.take(now, 2).is_some() && queue.take(now, 2).is_some());
        assert_eq!(queue.take(now, 2), None);
    }

    #[test]
    fn waits_double_from_one_second_to_five_minutes() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(queue.failed(&id("a"), now, Duration::ZERO, 0.0).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(queue.failed(&id("a"), now, Duration::ZERO, 1.0).as_secs(), 360, "chance adds a fifth");
        assert_eq!(queue.failed(&id("b"), now, Duration::from_secs(7), 0.0).as_secs(), 7, "the server asked");
    }

    #[test]
    fn a_store_that_backs_off_ignores_events_but_not_a_new_commit() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("a"));
        queue.take(now, 1);
        let wait = queue.failed(&id("a"), now, Duration::ZERO, 0.5);
        queue.mark(&id("a"));
        assert_eq!(queue.take(now, 1), None);
        assert_eq!(queue.next_due(), Some(now + wait));
        queue.mark_fresh(&id("a"));
        assert_eq!(queue.take(now, 1), Some(id("a")));
        assert_eq!(queue.failed(&id("a"), now, Duration::ZERO, 0.0).as_secs(), 1, "counting began anew");
        assert_eq!(queue.take(now + Duration::from_secs(1), 1), Some(id("a")));
    }

    #[test]
    fn a_failing_store_delays_no_other() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("bad"));
        queue.mark(&id("good"));
        assert_eq!(queue.take(now, 1), Some(id("bad")));
        queue.failed(&id("bad"), now, Duration::ZERO, 0.0);
        assert_eq!(queue.take(now, 1), Some(id("good")));
    }

    #[test]
    fn what_moves_during_a_run_is_looked_at_after_it_unless_the_run_failed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("a"));
        queue.take(now, 1);
        queue.mark(&id("a"));
        let wait = queue.failed(&id("a"), now, Duration::ZERO, 0.0);
        assert_eq!(
            (wait.as_secs(), queue.take(now, 1)),
            (1, None),
            "its own doing does not undo the backoff"
        );
        let later = now + wait;
        assert_eq!(queue.take(later, 1), Some(id("a")));
        queue.mark(&id("a"));
        queue.succeeded(&id("a"));
        assert_eq!(queue.take(later, 1), Some(id("a")), "a retry that went well must look again");
    }

    #[test]
    fn a_new_commit_ends_every_backoff() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("a"));
        queue.take(now, 1);
        queue.failed(&id("a"), now, Duration::ZERO, 0.0);
        queue.retry_all();
        assert_eq!(queue.take(now, 1), Some(id("a")));
    }

    #[test]
    fn a_commit_that_came_during_a_failing_run_is_run_at_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("a"));
        queue.take(now, 1);
        queue.mark_fresh(&id("a"));
        assert_eq!(queue.failed(&id("a"), now, Duration::ZERO, 0.0), Duration::ZERO);
        assert_eq!(queue.take(now, 1), Some(id("a")));
    }
}
