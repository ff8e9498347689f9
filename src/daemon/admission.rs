//! Keeps the line of new stores where the operator caps the fleet: who was made when, who came first, who waits.
//!
//! What counts is what the cluster holds: namespaces of ours and the time each was made, so a restart forgets nothing
//! but those that came and went.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Daemon;
use crate::names::StoreId;
use crate::plan::{Admission, Caps, Crowd, Waiting, admit};
use crate::report::StoreState;

/// The shortest time between two decisions while stores come and go: each looks at the whole line.
const PAUSE: Duration = Duration::from_millis(500);

/// For how long a birth counts, in seconds.
const HOUR: i64 = 3600;

/// The line of new stores.
#[derive(Debug, Default)]
pub(super) struct Gate {
    caps: Caps,
    /// Stores with a namespace of ours, by its uid.
    existing: BTreeMap<StoreId, String>,
    /// When namespaces were made, by uid: of the last hour, gone ones included.
    births: BTreeMap<String, i64>,
    /// Stores that existed since git wants them: one whose namespace is lost has its place still.
    incumbents: BTreeSet<StoreId>,
    /// New stores, first come first.
    line: Vec<StoreId>,
    admitted: BTreeSet<StoreId>,
    decision: Admission,
    /// When the next decision is due.
    due: Option<Instant>,
    decided: Option<Instant>,
}

impl Gate {
    pub(super) fn new(caps: Caps) -> Self {
        Self { caps, ..Self::default() }
    }

    /// Why a store may not be made yet, if it may not.
    pub(super) fn holds_back(&self, store: &StoreId) -> Option<String> {
        if self.caps.are_off() || self.existing.contains_key(store) || self.admitted.contains(store) {
            return None;
        }
        let waiting = self.decision.waiting.get(store).map(Waiting::to_string);
        // Not decided yet: the decision brings it back.
        waiting.or_else(|| self.line.contains(store).then(|| "waiting for its admission".to_owned()))
    }

    /// When a store that waits comes in, if time alone lets it; in seconds since 1970.
    pub(super) fn turn(&self, store: &StoreId) -> Option<i64> {
        self.decision.waiting.get(store)?.turn
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due
    }

    /// A store's namespace was seen with this uid and time of birth, or is gone.
    fn sees(&mut self, store: &StoreId, namespace: Option<(String, i64)>, now: Instant) {
        let known = self.existing.get(store);
        if known == namespace.as_ref().map(|(uid, _)| uid) {
            return;
        }
        match namespace {
            Some((uid, birth)) => {
                self.births.insert(uid.clone(), birth);
                self.existing.insert(store.clone(), uid);
                self.incumbents.insert(store.clone());
            }
            None => _ = self.existing.remove(store),
        }
        self.disturb(now);
    }

    /// Git wants these stores. New ones join the line behind those that stand there.
    fn wants(&mut self, wanted: impl Fn(&StoreId) -> bool, all: impl Iterator<Item = StoreId>, now: Instant) {
        self.incumbents.retain(&wanted);
        // One whose file came back while its namespace is going has its place still: nobody is admitted to it meanwhile.
        self.incumbents.extend(self.existing.keys().filter(|store| wanted(store)).cloned());
        self.line.retain(&wanted);
        let stand: BTreeSet<_> = self.line.iter().cloned().collect();
        let comes = |store: &StoreId| !stand.contains(store) && !self.incumbents.contains(store);
        let news: Vec<_> = all.filter(comes).collect();
        self.line.extend(news);
        self.disturb(now);
    }

    /// A store could not be made: it keeps nobody waiting who can. Returns whether somebody gets its place.
    pub(super) fn gives_way(&mut self, store: &StoreId, now: Instant) -> bool {
        if self.admitted.contains(store)
            && !self.decision.waiting.is_empty()
            && let Some(position) = self.line.iter().position(|it| it == store)
        {
            let store = self.line.remove(position);
            self.line.push(store);
            self.disturb(now);
            return true;
        }
        false
    }

    fn disturb(&mut self, now: Instant) {
        let soon = self.decided.map_or(now, |decided| (decided + PAUSE).max(now));
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// Decides anew, and returns who is admitted now and was not before.
    fn decide(&mut self, now: Instant, clock: i64) -> Vec<StoreId> {
        self.births.retain(|_, birth| *birth > clock - HOUR);
        self.line.retain(|store| !self.existing.contains_key(store) && !self.incumbents.contains(store));
        let lost = self.incumbents.iter().filter(|store| !self.existing.contains_key(*store)).count();
        let births: Vec<_> = self.births.values().copied().collect();
        let existing = self.existing.len() + lost;
        let crowd = Crowd { existing, births: &births, line: &self.line, now: clock };
        self.decision = admit(self.caps, crowd);
        let admitted = self.line.iter().filter(|store| !self.decision.waiting.contains_key(*store));
        let admitted: BTreeSet<_> = admitted.cloned().collect();
        let news = admitted.difference(&self.admitted).cloned().collect();
        self.admitted = admitted;
        self.decided = Some(now);
        let turn = self.decision.next_turn.map(|turn| u64::try_from(turn - clock).unwrap_or(0).max(1));
        self.due = turn.map(|seconds| now + Duration::from_secs(seconds));
        news
    }
}

impl Daemon {
    /// A new snapshot is in force: its new stores join the line.
    pub(super) fn line_up(&mut self) {
        if self.gate.caps.are_off() {
            return;
        }
        let now = Instant::now();
        if self.gate.decided.is_none() {
            for (store, namespace) in self.context.cluster.our_namespaces() {
                let birth = namespace.created.unwrap_or_default();
                self.gate.sees(&store, Some((namespace.uid.clone(), birth)), now);
            }
        }
        let wanted = |store: &StoreId| self.accepted.contains_key(store);
        let free: Vec<_> = self.accepted.keys().filter(|store| self.hold(store).is_none()).cloned().collect();
        self.gate.wants(wanted, free.into_iter(), now);
        self.open_gate(now);
    }

    /// Something of a store moved, its namespace perhaps.
    pub(super) fn note_namespace(&mut self, store: &StoreId) {
        if self.gate.caps.are_off() || self.gate.decided.is_none() {
            return;
        }
        let ours = self.context.cluster.has_its_namespace(store);
        let namespace = self.context.cluster.namespace(store).filter(|_| ours);
        let seen = namespace.map(|it| (it.uid.clone(), it.created.unwrap_or_default()));
        self.gate.sees(store, seen, Instant::now());
    }

    /// Decides who may come in, and shows who waits.
    pub(super) fn open_gate(&mut self, now: Instant) {
        let clock = (self.context.surroundings.clock)();
        let before = std::mem::take(&mut self.gate.decision.waiting);
        for store in self.gate.decide(now, clock) {
            self.queue.mark_admitted(&store);
            // How long it takes until READY is counted from here: it stood in line for the operator's sake.
            if let Some(requested) = self.requested.get_mut(&store) {
                requested.since = now;
            }
        }
        let waiting = &self.gate.decision.waiting;
        let first = waiting.values().find(|waiting| waiting.before == 0);
        let says = first.map(|first| match waiting.len() {
            1 => format!("1 new store waits: {}", first.cap),
            count => format!("{count} new stores wait: {}", first.cap),
        });
        if let Some(says) = says.as_ref().filter(|_| before.is_empty()) {
            tracing::warn!(stores = waiting.len(), "{says}");
        }
        self.metrics.set_waiting_for_admission(waiting.len());
        self.board.update(|picture| {
            picture.fleet.admission = says;
            for (store, waiting) in
                waiting.iter().filter(|(store, waiting)| before.get(store) != Some(waiting))
            {
                let report = picture.stores.get_mut(store);
                if let Some(report) = report.filter(|report| report.state == StoreState::Requested) {
                    report.reason = waiting.to_string();
                    report.next_retry = waiting.turn;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::queue::{Places, Queue};

    const CLOCK: i64 = 1_760_000_000;

    fn id(text: &str) -> StoreId {
        text.parse().unwrap()
    }

    fn gate(max_stores: Option<usize>, per_hour: Option<usize>) -> Gate {
        Gate::new(Caps { max_stores, max_new_stores_per_hour: per_hour })
    }

    fn want(gate: &mut Gate, names: &[&str], now: Instant) {
        let all: BTreeSet<_> = names.iter().map(|name| id(name)).collect();
        gate.wants(|store| all.contains(store), all.iter().cloned(), now);
    }

    fn exists(gate: &mut Gate, name: &str, birth: i64, now: Instant) {
        gate.sees(&id(name), Some((format!("uid-{name}-{birth}"), birth)), now);
    }

    #[test]
    fn who_came_first_is_made_first_whatever_the_names() {
        let (mut gate, now) = (gate(Some(1), None), Instant::now());
        want(&mut gate, &["m"], now);
        want(&mut gate, &["a", "m", "z"], now);
        assert_eq!(gate.decide(now, CLOCK), [id("m")]);
        assert!(gate.holds_back(&id("m")).is_none());
        assert!(gate.holds_back(&id("z")).unwrap().contains("1 new stores are before it"));
        exists(&mut gate, "m", CLOCK, now);
        assert!(gate.decide(now, CLOCK).is_empty());
        want(&mut gate, &["a", "z"], now);
        assert!(gate.decide(now, CLOCK).is_empty(), "its namespace is still there");
        gate.sees(&id("m"), None, now);
        assert_eq!(gate.decide(now, CLOCK), [id("a")]);
    }

    #[test]
    fn a_store_whose_namespace_is_lost_has_its_place_still() {
        let (mut gate, now) = (gate(Some(1), Some(1)), Instant::now());
        exists(&mut gate, "a", CLOCK, now);
        want(&mut gate, &["a", "b"], now);
        gate.decide(now, CLOCK);
        gate.sees(&id("a"), None, now);
        assert!(gate.decide(now, CLOCK).is_empty());
        assert!(gate.holds_back(&id("a")).is_none() && gate.holds_back(&id("b")).is_some());
    }

    #[test]
    fn stores_that_came_and_went_count_for_an_hour() {
        let (mut gate, now) = (gate(None, Some(1)), Instant::now());
        want(&mut gate, &["a"], now);
        assert_eq!(gate.decide(now, CLOCK), [id("a")]);
        exists(&mut gate, "a", CLOCK, now);
        want(&mut gate, &["b"], now);
        gate.sees(&id("a"), None, now);
        assert!(gate.decide(now, CLOCK + 60).is_empty());
        assert_eq!(gate.next_due(), Some(now + Duration::from_mins(59)));
        assert_eq!(gate.decide(now, CLOCK + 3600), [id("b")]);
    }

    #[test]
    fn a_store_that_can_not_be_made_keeps_nobody_waiting_for_ever() {
        let (mut gate, now) = (gate(None, Some(1)), Instant::now());
        want(&mut gate, &["broken", "good"], now);
        assert_eq!(gate.decide(now, CLOCK), [id("broken")]);
        gate.gives_way(&id("broken"), now);
        assert_eq!(gate.decide(now, CLOCK), [id("good")]);
        assert!(gate.holds_back(&id("broken")).is_some());
    }

    #[test]
    fn a_store_whose_file_comes_back_while_its_namespace_is_going_has_its_place_still() {
        let (mut gate, now) = (gate(Some(1), None), Instant::now());
        exists(&mut gate, "s", CLOCK, now);
        for names in [&["s", "t"][..], &["t"], &["s", "t"]] {
            want(&mut gate, names, now);
            assert!(gate.decide(now, CLOCK).is_empty());
        }
        gate.sees(&id("s"), None, now);
        assert!(gate.decide(now, CLOCK).is_empty());
        assert!(gate.holds_back(&id("s")).is_none() && gate.holds_back(&id("t")).is_some());
    }

    #[test]
    fn stores_that_can_not_be_made_do_not_lift_each_others_backoff() {
        for is_failure in [true, false] {
            let (mut gate, mut queue) = (gate(None, Some(1)), Queue::default());
            let (begun, mut starts) = (Instant::now(), 0);
            want(&mut gate, &["a", "b"], begun);
            for half_second in 0..1200 {
                let now = begun + half_second * PAUSE;
                if gate.next_due().is_some_and(|due| due <= now) {
                    gate.decide(now, CLOCK).iter().for_each(|store| queue.mark_admitted(store));
                }
                while let Some(turn) = queue.take(now, Places { fast: 1, slow: 1 }) {
                    let store = turn.store;
                    if gate.holds_back(&store).is_some() {
                        queue.waited(&store);
                        continue;
                    }
                    starts += 1;
                    let gives_way = gate.gives_way(&store, now);
                    if is_failure {
                        queue.failed(&store, now, Duration::ZERO, 0.0);
                    } else {
                        // The host of each is taken.
                        queue.turned_away(&store, gives_way, now, 0.0);
                    }
                }
            }
            assert!((10..=20).contains(&starts), "{starts} tries of two stores in ten minutes");
        }
    }

    #[test]
    fn decisions_are_not_made_at_every_move() {
        let (mut gate, now) = (gate(Some(9), None), Instant::now());
        want(&mut gate, &["a"], now);
        assert_eq!(gate.next_due(), Some(now));
        gate.decide(now, CLOCK);
        assert_eq!(gate.next_due(), None, "time alone changes nothing");
        exists(&mut gate, "a", CLOCK, now);
        assert_eq!(gate.next_due(), Some(now + PAUSE));
    }
}
