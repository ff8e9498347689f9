//! Which store runs next: one run per store at a time, many stores at once, the most urgent first and nobody
//! starved, failures backing off each for itself. Pure: time and chance come in as arguments.
//!
//! Runs are in one of two lanes. All begin in the fast lane, whose places are few; one that takes long gives its
//! place back and goes on in the slow lane, and its store begins there the next time. So stores that hang stand in
//! nobody's way but that of other slow ones. Every operation takes a time that grows with the logarithm of the fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use crate::metrics::Why;
use crate::names::StoreId;

/// The wait after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest wait.
const LAST_RETRY: Duration = Duration::from_mins(5);

/// For how long after a failed run what moves in its store is taken for its own doing.
const OWN_DOING: Duration = Duration::from_secs(2);

/// The shortest wait after a failed run when somebody moves something in its store later than that.
const SOONEST: Duration = Duration::from_secs(10);

/// How much of a wait chance may add, so that stores that failed together do not come back together.
const JITTER: f64 = 0.2;

/// Why a store wants a run, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Git wants something new of it.
    Changed,
    /// Something of it moved in the cluster.
    Moved,
    /// Time has come: a retry, a look at what takes long.
    Routine,
}

impl Urgency {
    pub(super) const ALL: [Self; 3] = [Self::Changed, Self::Moved, Self::Routine];

    /// Returns the urgency as metrics write it.
    pub(super) fn why(self) -> Why {
        match self {
            Self::Changed => Why::Changed,
            Self::Moved => Why::Moved,
            Self::Routine => Why::Routine,
        }
    }

    /// Returns how often waiting stores of this urgency may be passed over by more urgent ones before it is their
    /// turn: under a commit that touches every store, a quarter of the starts still heals.
    fn patience(self) -> u32 {
        match self {
            Self::Changed => u32::MAX,
            Self::Moved => 3,
            Self::Routine => 15,
        }
    }
}

/// Where a run has its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// With the runs that take as long as runs do.
    Fast,
    /// With those that take long.
    Slow,
}

/// How many runs may be under way at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) fast: usize,
    pub(super) slow: usize,
}

/// A store whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) store: StoreId,
    pub(super) lane: Lane,
    pub(super) urgency: Urgency,
    /// How long it stood in line.
    pub(super) waited: Duration,
}

/// The stores that want a run.
#[derive(Debug, Default)]
pub(super) struct Queue {
    fast: Line,
    slow: Line,
    /// Where each waiting store stands.
    waiting: BTreeMap<StoreId, (Lane, Urgency, u64)>,
    /// Since when each waits, and which have come since somebody last looked at the line.
    since: BTreeMap<StoreId, Instant>,
    arrived: Vec<StoreId>,
    tickets: u64,
    running: BTreeMap<StoreId, Running>,
    running_slow: usize,
    /// Stores whose last run took long: they begin in the slow lane.
    known_slow: BTreeSet<StoreId>,
    /// Stores whose last tries failed.
    backing_off: BTreeMap<StoreId, Failures>,
    /// When those try again.
    due: Agenda,
}

/// What is known of a store's failures.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// When the last of these runs ended.
    ended: Instant,
    /// Until when nothing but a commit makes it try again.
    not_before: Instant,
}

#[derive(Debug)]
struct Running {
    lane: Lane,
    urgency: Urgency,
    /// What came up since it began, and was perhaps missed by it.
    again: Option<Urgency>,
    /// A commit came since it began: a failure is not that commit's.
    outdated: bool,
}

/// The waiting stores of one lane.
#[derive(Debug, Default)]
struct Line {
    waiting: [BTreeMap<u64, StoreId>; Urgency::ALL.len()],
    passed_over: [u32; Urgency::ALL.len()],
}

impl Line {
    /// Takes the store whose turn it is.
    fn pop(&mut self) -> Option<StoreId> {
        let waits = |urgency: &Urgency| !self.waiting[*urgency as usize].is_empty();
        let out_of_patience =
            |urgency: &Urgency| waits(urgency) && self.passed_over[*urgency as usize] >= urgency.patience();
        let all = Urgency::ALL.into_iter();
        // The least urgent first: it has waited for longest.
        let turn = all.clone().rev().find(out_of_patience).or_else(|| all.clone().find(waits))?;
        for urgency in all {
            let index = urgency as usize;
            let passed_over = urgency > turn && !self.waiting[index].is_empty();
            let count = self.passed_over[index].saturating_add(passed_over.into());
            self.passed_over[index] = if urgency == turn { 0 } else { count };
        }
        self.waiting[turn as usize].pop_first().map(|(_, store)| store)
    }
}

impl Queue {
    /// Something of this store moved in the cluster. A store that backs off keeps its time: its own failing runs move
    /// things too. What moves during a run may have been missed by it, and counts if the run ends well.
    pub(super) fn mark(&mut self, store: &StoreId) {
        self.mark_as(store, Urgency::Moved);
    }

    /// The same, but a store that backs off comes back sooner when its own failing run can't have been it: one that has
    /// failed over one object may serve with all the others.
    pub(super) fn mark_moved(&mut self, store: &StoreId, now: Instant) {
        let failures = self.backing_off.get(store).filter(|failures| now > failures.ended + OWN_DOING);
        if let (Some(failures), Some(due)) = (failures, self.due.of(store)) {
            self.due.set(store, due.min(failures.not_before.max(now)));
        }
        self.mark(store);
    }

    /// A new store may be made now. If it could not be made before, it keeps its time.
    pub(super) fn mark_admitted(&mut self, store: &StoreId) {
        let has_failed = self.backing_off.contains_key(store);
        self.mark_as(store, if has_failed { Urgency::Routine } else { Urgency::Changed });
    }

    /// It is time to look at this store again.
    pub(super) fn mark_routine(&mut self, store: &StoreId) {
        self.mark_as(store, Urgency::Routine);
    }

    /// Git wants something new of this store: earlier failures no longer count.
    pub(super) fn mark_fresh(&mut self, store: &StoreId) {
        self.start_anew(store, Urgency::Changed);
    }

    /// A new commit came: every store that backs off gets its next try at once, after those that it touches.
    pub(super) fn retry_all(&mut self) {
        let all: Vec<_> = self.backing_off.keys().cloned().collect();
        for store in all {
            self.start_anew(&store, Urgency::Routine);
        }
    }

    /// Takes the next store to run. The loop asks at once after every event, so who has come since has come now.
    pub(super) fn take(&mut self, now: Instant, places: Places) -> Option<Turn> {
        while let Some(store) = self.due.take_due(now) {
            if !self.running.contains_key(&store) {
                self.enqueue(&store, Urgency::Routine);
            }
        }
        for store in std::mem::take(&mut self.arrived) {
            self.since.entry(store).or_insert(now);
        }
        let fast = if self.under_way(Lane::Fast) < places.fast { self.fast.pop() } else { None };
        let slow = || if self.running_slow < places.slow { self.slow.pop() } else { None };
        let store = fast.or_else(slow)?;
        let (lane, urgency, _) = self.waiting.remove(&store)?;
        self.running_slow += usize::from(lane == Lane::Slow);
        let running = Running { lane, urgency, again: None, outdated: false };
        self.running.insert(store.clone(), running);
        let since = self.since.remove(&store).unwrap_or(now);
        Some(Turn { store, lane, urgency, waited: now.saturating_duration_since(since) })
    }

    /// A run takes long: it gives its place back. Returns whether the slow lane had one for it.
    pub(super) fn slow_down(&mut self, store: &StoreId, places: Places) -> bool {
        let Some(running) = self.running.get_mut(store).filter(|running| running.lane == Lane::Fast) else {
            return true;
        };
        running.lane = Lane::Slow;
        self.known_slow.insert(store.clone());
        self.running_slow += 1;
        self.running_slow <= places.slow
    }

    /// A run ended well; `quick` says that it took no longer than runs in the fast lane may.
    pub(super) fn succeeded(&mut self, store: &StoreId, quick: bool) {
        self.backing_off.remove(store);
        self.due.remove(store);
        if quick {
            self.known_slow.remove(store);
        }
        if let Some(again) = self.end(store).and_then(|running| running.again) {
            self.enqueue(store, again);
        }
    }

    /// A run found that its store may not be made yet: that mends no failure.
    pub(super) fn waited(&mut self, store: &StoreId) {
        self.due.remove(store);
        if let Some(again) = self.end(store).and_then(|running| running.again) {
            self.enqueue(store, again);
        }
    }

    /// A run found that its store can't be made, because another one holds what it needs. One that gave its place to others
    /// waits as after a failure: two such stores would admit each other for ever.
    pub(super) fn turned_away(&mut self, store: &StoreId, gave_way: bool, now: Instant, chance: f64) {
        if gave_way {
            self.failed(store, now, Duration::ZERO, chance);
        } else {
            self.succeeded(store, true);
        }
    }

    /// A run was cut off for no fault of its store's: for a newer commit, or for want of a place. It begins anew.
    pub(super) fn interrupted(&mut self, store: &StoreId) {
        if let Some(running) = self.end(store) {
            let urgency = running.again.map_or(running.urgency, |again| again.min(running.urgency));
            self.enqueue(store, urgency);
        }
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
        // What moved meanwhile was most likely the run's own doing; what a commit wants was not.
        if let Some(Running { outdated: true, again, .. }) = self.end(store) {
            self.enqueue(store, again.unwrap_or(Urgency::Changed));
            return Duration::ZERO;
        }
        let count = self.backing_off.get(store).map_or(0, |failures| failures.count).saturating_add(1);
        let doubled = FIRST_RETRY.saturating_mul(1 << (count - 1).min(16)).min(LAST_RETRY);
        let at_least = at_least.min(LAST_RETRY);
        let wait = doubled.mul_f64(1.0 + JITTER * chance).max(at_least);
        let failures = Failures { count, ended: now, not_before: now + at_least.max(SOONEST) };
        self.backing_off.insert(store.clone(), failures);
        self.due.set(store, now + wait);
        wait
    }

    /// When the next backoff ends.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.next()
    }

    /// How many runs have their place in a lane.
    pub(super) fn under_way(&self, lane: Lane) -> usize {
        match lane {
            Lane::Fast => self.running.len() - self.running_slow,
            Lane::Slow => self.running_slow,
        }
    }

    /// How many stores wait for a run with this urgency.
    pub(super) fn waiting(&self, urgency: Urgency) -> usize {
        [&self.fast, &self.slow].map(|line| line.waiting[urgency as usize].len()).iter().sum()
    }

    fn mark_as(&mut self, store: &StoreId, urgency: Urgency) {
        if let Some(running) = self.running.get_mut(store) {
            running.again = Some(running.again.map_or(urgency, |again| again.min(urgency)));
        } else if !self.due.has(store) {
            self.enqueue(store, urgency);
        }
    }

    fn start_anew(&mut self, store: &StoreId, urgency: Urgency) {
        self.backing_off.remove(store);
        self.due.remove(store);
        self.mark_as(store, urgency);
        if let Some(running) = self.running.get_mut(store) {
            running.outdated = true;
        }
    }

    fn end(&mut self, store: &StoreId) -> Option<Running> {
        let running = self.running.remove(store)?;
        self.running_slow -= usize::from(running.lane == Lane::Slow);
        Some(running)
    }

    /// Puts a store in line, or moves it up when it stands there less urgently.
    fn enqueue(&mut self, store: &StoreId, urgency: Urgency) {
        if let Some((lane, before, ticket)) = self.waiting.get(store).copied() {
            if before <= urgency {
                return;
            }
            self.line(lane).waiting[before as usize].remove(&ticket);
        } else {
            self.arrived.push(store.clone());
        }
        let lane = if self.known_slow.contains(store) { Lane::Slow } else { Lane::Fast };
        self.tickets += 1;
        let ticket = self.tickets;
        self.line(lane).waiting[urgency as usize].insert(ticket, store.clone());
        self.waiting.insert(store.clone(), (lane, urgency, ticket));
    }

    fn line(&mut self, lane: Lane) -> &mut Line {
        match lane {
            Lane::Fast => &mut self.fast,
            Lane::Slow => &mut self.slow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Places = Places { fast: 8, slow: 8 };
    const ONE: Places = Places { fast: 1, slow: 1 };

    fn id(text: &str) -> StoreId {
        text.parse().unwrap()
    }

    fn take(queue: &mut Queue, now: Instant, places: Places) -> Option<StoreId> {
        queue.take(now, places).map(|turn| turn.store)
    }

    #[test]
    fn one_store_has_one_run_at_a_time_and_runs_again_when_marked_meanwhile() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("a"));
        queue.mark(&id("a"));
        assert_eq!(take(&mut queue, now, PLACES), Some(id("a")));
        queue.mark(&id("a"));
        assert_eq!(take(&mut queue, now, PLACES), None, "it runs already");
        queue.succeeded(&id("a"), true);
        assert_eq!(take(&mut queue, now, PLACES), Some(id("a")));
        queue.succeeded(&id("a"), true);
        assert_eq!(take(&mut queue, now, PLACES), None, "nothing moved since");
    }

    #[test]
    fn no_more_runs_than_the_limit_are_under_way() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b", "c"] {
            queue.mark(&id(name));
        }
        let two = Places { fast: 2, slow: 0 };
        assert!(take(&mut queue, now, two).is_some() && take(&mut queue, now, two).is_some());
        assert_eq!(take(&mut queue, now, two), None);
    }

    #[test]
    fn what_git_wants_goes_first_and_a_quarter_of_the_starts_heals_all_the_same() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for number in 0..100 {
            queue.mark_routine(&id(&format!("r{number}")));
            queue.mark(&id(&format!("m{number}")));
            queue.mark_fresh(&id(&format!("c{number}")));
        }
        let mut order = String::new();
        for _ in 0..64 {
            let store = take(&mut queue, now, PLACES).unwrap();
            order.push_str(&store.as_str()[..1]);
            queue.succeeded(&store, true);
        }
        assert!(order.starts_with("cccmcccmcccmcccr"), "{order}");
        let starts = ["c", "m", "r"].map(|kind| order.matches(kind).count());
        assert_eq!(starts, [45, 15, 4], "{order}");
    }

    #[test]
    fn stores_of_one_urgency_run_in_the_order_they_came_and_one_that_gets_more_urgent_moves_up() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b", "c"] {
            queue.mark(&id(name));
        }
        queue.mark(&id("a"));
        queue.mark_fresh(&id("c"));
        queue.mark_routine(&id("c"));
        let order: Vec<_> = std::iter::from_fn(|| take(&mut queue, now, PLACES)).collect();
        assert_eq!(order, [id("c"), id("a"), id("b")]);
    }

    #[test]
    fn ten_thousand_stores_cost_no_more_than_a_few() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let stores: Vec<_> = (0..10_000).map(|number| id(&format!("s{number}"))).collect();
        let begun = Instant::now();
        for store in &stores {
            queue.mark(store);
            queue.mark_fresh(store);
        }
        for store in &stores {
            assert_eq!(take(&mut queue, now, PLACES).as_ref(), Some(store));
            queue.mark(store);
            queue.failed(store, now, Duration::ZERO, 0.0);
        }
        let later = now + Duration::from_secs(1);
        for _ in &stores {
            let store = take(&mut queue, later, PLACES).unwrap();
            queue.succeeded(&store, true);
        }
        // 80 ms in a debug build on a quiet machine; anything quadratic takes minutes.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn stores_that_hang_leave_the_fast_lane_to_the_others() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let places = Places { fast: 2, slow: 3 };
        for name in ["hang-a", "hang-b", "good-a", "good-b"] {
            queue.mark(&id(name));
        }
        assert_eq!(take(&mut queue, now, places), Some(id("hang-a")));
        assert_eq!(take(&mut queue, now, places), Some(id("hang-b")));
        assert_eq!(take(&mut queue, now, places), None);
        assert!(queue.slow_down(&id("hang-a"), places) && queue.slow_down(&id("hang-b"), places));
        assert_eq!((queue.under_way(Lane::Fast), queue.under_way(Lane::Slow)), (0, 2));
        assert_eq!(take(&mut queue, now, places), Some(id("good-a")));
        assert_eq!(take(&mut queue, now, places), Some(id("good-b")));
    }

    #[test]
    fn a_store_that_took_long_begins_in_the_slow_lane_until_it_is_quick_again() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let run = |queue: &mut Queue, quick: bool| {
            queue.mark_fresh(&id("a"));
            let Turn { store, lane, .. } = queue.take(now, ONE).unwrap();
            if !quick {
                assert!(queue.slow_down(&store, ONE));
            }
            queue.succeeded(&store, quick);
            lane
        };
        let lanes = [false, false, true, true].map(|quick| run(&mut queue, quick));
        assert_eq!(lanes, [Lane::Fast, Lane::Slow, Lane::Slow, Lane::Fast]);
        assert_eq!((queue.under_way(Lane::Fast), queue.under_way(Lane::Slow)), (0, 0));
    }

    #[test]
    fn a_full_slow_lane_takes_nobody_in_and_who_is_cut_off_for_it_waits_for_a_place_there() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b"] {
            queue.mark_fresh(&id(name));
            assert_eq!(take(&mut queue, now, ONE), Some(id(name)));
            assert_eq!(queue.slow_down(&id(name), ONE), name == "a");
        }
        queue.interrupted(&id("b"));
        queue.mark(&id("c"));
        let turn = |turn: Option<Turn>| turn.map(|it| (it.store, it.lane));
        assert_eq!(turn(queue.take(now, ONE)), Some((id("c"), Lane::Fast)), "b keeps nobody waiting");
        assert_eq!(queue.take(now, Places { fast: 9, slow: 1 }), None);
        queue.failed(&id("a"), now, Duration::ZERO, 0.0);
        assert_eq!(turn(queue.take(now, ONE)), Some((id("b"), Lane::Slow)), "without a backoff");
    }

    #[test]
    fn a_store_waits_from_its_first_reason_on_and_anew_after_its_run() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let second = Duration::from_secs(1);
        queue.mark_fresh(&id("a"));
        queue.mark_routine(&id("b"));
        let wait = |turn: Option<Turn>| turn.map(|it| (it.store.to_string(), it.urgency, it.waited));
        assert_eq!(wait(queue.take(now, ONE)), Some(("a".to_owned(), Urgency::Changed, Duration::ZERO)));
        queue.mark(&id("b"));
        assert_eq!(queue.take(now + second, ONE), None);
        queue.succeeded(&id("a"), true);
        let later = now + 5 * second;
        assert_eq!(wait(queue.take(later, ONE)), Some(("b".to_owned(), Urgency::Moved, 5 * second)));
        queue.mark(&id("b"));
        queue.succeeded(&id("b"), true);
        assert_eq!(wait(queue.take(later, ONE)), Some(("b".to_owned(), Urgency::Moved, Duration::ZERO)));
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
        queue.take(now, ONE);
        let wait = queue.failed(&id("a"), now, Duration::ZERO, 0.5);
        queue.mark(&id("a"));
        assert_eq!(take(&mut queue, now, ONE), None);
        assert_eq!(queue.next_due(), Some(now + wait));
        queue.mark_fresh(&id("a"));
        assert_eq!((take(&mut queue, now, ONE), queue.next_due()), (Some(id("a")), None));
        assert_eq!(queue.failed(&id("a"), now, Duration::ZERO, 0.0).as_secs(), 1, "counting began anew");
        assert_eq!(take(&mut queue, now + Duration::from_secs(1), ONE), Some(id("a")));
    }

    #[test]
    fn what_somebody_moves_in_a_store_that_failed_long_ago_is_looked_at_soon() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let seconds = |seconds| now + Duration::from_secs(seconds);
        for _ in 0..9 {
            queue.failed(&id("a"), now, Duration::ZERO, 0.0);
        }
        queue.mark_moved(&id("a"), seconds(1));
        assert_eq!(queue.next_due(), Some(seconds(256)), "its own doing");
        queue.mark_moved(&id("a"), seconds(3));
        assert_eq!((queue.next_due(), take(&mut queue, seconds(9), ONE)), (Some(seconds(10)), None));
        assert_eq!(take(&mut queue, seconds(10), ONE), Some(id("a")));
        assert_eq!(
            queue.failed(&id("a"), seconds(10), Duration::ZERO, 0.0).as_secs(),
            300,
            "it failed still"
        );
        queue.mark_moved(&id("a"), seconds(100));
        assert_eq!(take(&mut queue, seconds(100), ONE), Some(id("a")), "at once, so long after it");
        queue.failed(&id("a"), seconds(100), Duration::from_mins(1), 0.0);
        queue.mark_moved(&id("a"), seconds(110));
        assert_eq!(queue.next_due(), Some(seconds(160)), "the server asked for that");
    }

    #[test]
    fn a_failing_store_delays_no_other() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("bad"));
        queue.mark(&id("good"));
        assert_eq!(take(&mut queue, now, ONE), Some(id("bad")));
        queue.failed(&id("bad"), now, Duration::ZERO, 0.0);
        assert_eq!(take(&mut queue, now, ONE), Some(id("good")));
    }

    #[test]
    fn what_moves_during_a_run_is_looked_at_after_it_unless_the_run_failed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("a"));
        queue.take(now, ONE);
        queue.mark(&id("a"));
        let wait = queue.failed(&id("a"), now, Duration::ZERO, 0.0);
        assert_eq!(
            (wait.as_secs(), take(&mut queue, now, ONE)),
            (1, None),
            "its own doing does not undo the backoff"
        );
        let later = now + wait;
        assert_eq!(take(&mut queue, later, ONE), Some(id("a")));
        queue.mark(&id("a"));
        queue.succeeded(&id("a"), true);
        assert_eq!(take(&mut queue, later, ONE), Some(id("a")), "a retry that went well must look again");
    }

    #[test]
    fn a_new_commit_ends_every_backoff_but_what_it_touches_goes_first() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b"] {
            queue.mark(&id(name));
            queue.take(now, ONE);
            queue.failed(&id(name), now, Duration::ZERO, 0.0);
        }
        queue.retry_all();
        queue.mark_fresh(&id("touched"));
        let order: Vec<_> = std::iter::from_fn(|| take(&mut queue, now, PLACES)).collect();
        assert_eq!(order, [id("touched"), id("a"), id("b")]);
    }

    #[test]
    fn a_commit_that_came_during_a_failing_run_is_run_at_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark(&id("a"));
        queue.take(now, ONE);
        queue.mark_fresh(&id("a"));
        assert_eq!(queue.failed(&id("a"), now, Duration::ZERO, 0.0), Duration::ZERO);
        assert_eq!(take(&mut queue, now, ONE), Some(id("a")));
    }

    #[test]
    fn a_run_that_a_newer_commit_ends_begins_anew_as_urgently_as_the_commit() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.mark_routine(&id("a"));
        queue.take(now, ONE);
        queue.mark_fresh(&id("a"));
        queue.interrupted(&id("a"));
        assert_eq!((queue.waiting(Urgency::Changed), queue.waiting(Urgency::Routine)), (1, 0));
        assert_eq!(take(&mut queue, now, ONE), Some(id("a")));
        queue.succeeded(&id("a"), true);
        assert_eq!(take(&mut queue, now, ONE), None, "once");
    }
}
