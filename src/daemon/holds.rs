//! Stores that are paused or wait for their change window: when that ends, and what is shown of them meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use super::{Daemon, Shown};
use crate::names::StoreId;
use crate::plan::{self, Hold, moment};
use crate::reconcile::Wish;
use crate::report::StoreState;
use crate::store::{Pause, Snapshot};

/// How many stores a sentence names.
const NAMED: usize = 3;

/// The longest time until the clock is looked at again: somebody may have put it right meanwhile.
const LONGEST_WAIT: i64 = 3600;

/// How often at most is said how many there are: ten thousand runs of paused stores end one after the other.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// The stores that are held back, as their last runs found them.
#[derive(Debug, Default)]
pub(super) struct Holds {
    stores: BTreeMap<StoreId, Held>,
    due: Agenda,
    /// When the sentences about all of them are made anew: soon, or when something that holds the whole fleet ends.
    fleet_due: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Held {
    hold: Hold,
    /// Whether something of the store waits for the end.
    waits: bool,
    /// How the store is, whatever it is called meanwhile.
    health: StoreState,
    /// Whether it is over, and a run of the store has not ended since.
    is_over: bool,
}

impl Holds {
    /// Returns how a store is that is shown as paused.
    pub(super) fn health(&self, store: &StoreId) -> Option<StoreState> {
        self.stores.get(store).map(|held| held.health)
    }

    /// When something ends.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.next().into_iter().chain(self.fleet_due).min()
    }

    /// A store is held back no longer; how it was is kept until its run has ended. Returns whether it was until now.
    pub(super) fn release(&mut self, store: &StoreId) -> bool {
        self.due.remove(store);
        let held = self.stores.get_mut(store).filter(|held| !held.is_over);
        held.is_some_and(|held| !std::mem::replace(&mut held.is_over, true))
    }

    /// A store is held back no longer, and its run has ended.
    pub(super) fn ended(&mut self, store: &StoreId) {
        self.due.remove(store);
        if self.stores.remove(store).is_some() {
            self.show_soon(Instant::now());
        }
    }

    /// What is said of all of them is to be made anew.
    fn show_soon(&mut self, now: Instant) {
        let soon = now + SHOWN_EVERY;
        self.fleet_due = Some(self.fleet_due.map_or(soon, |due| due.min(soon)));
    }

    fn begun(&mut self, store: &StoreId, held: Held, now: Instant, clock: i64) {
        self.due.set(store, now + wait(held.hold.until, clock));
        self.stores.insert(store.clone(), held);
    }

    /// Says which stores are held back in such a way, if any are: how many, the first few, and until when.
    fn sentence(&self, such: impl Fn(&Held) -> bool, what: (&str, &str), end: &str) -> Option<String> {
        let all: Vec<_> = self.stores.iter().filter(|(_, held)| !held.is_over && such(held)).collect();
        let first = all.iter().map(|(_, held)| held.hold.until).min()?;
        let names: Vec<_> = all.iter().map(|(store, _)| store.as_str()).collect();
        let listed = plan::shortened_list(&names, NAMED);
        let (count, what) = (all.len(), if all.len() == 1 { what.0 } else { what.1 });
        Some(format!("{count} {what} ({listed}); {end} {}", moment::utc(first)))
    }
}

fn wait(until: i64, clock: i64) -> Duration {
    let seconds = until.saturating_sub(clock).clamp(0, LONGEST_WAIT);
    Duration::from_secs(seconds.unsigned_abs())
}

/// Whether two commits hold the whole fleet back in different ways.
pub(super) fn differ(before: &Snapshot, after: &Snapshot) -> bool {
    let (before, after) = (&before.fleet, &after.fleet);
    (&before.pause, &before.change_windows, &before.override_windows)
        != (&after.pause, &after.change_windows, &after.override_windows)
}

impl Daemon {
    /// What holds a store back now, with a file or without.
    pub(super) fn hold(&self, store: &StoreId) -> Option<Hold> {
        let snapshot = self.snapshot.as_ref()?;
        let now = (self.context.surroundings.clock)();
        let known = match self.accepted.get(store) {
            Some((good, _)) => good.pause.clone(),
            None => self.last_pause(store),
        };
        plan::hold(store, known.as_ref(), &snapshot.fleet, now)
    }

    /// What the last file of a store without one said of a pause: as it was read, or as it is marked.
    fn last_pause(&self, store: &StoreId) -> Option<Pause> {
        if let Some(known) = self.absent.pauses.get(store) {
            return known.clone();
        }
        let until = self.context.cluster.namespace(store)?.paused_until()?;
        Some(Pause { until, reason: "its last file says so".to_owned() })
    }

    /// Until when a store without a file is to be marked as paused.
    pub(super) fn marked_pause(&self, store: &StoreId) -> Option<i64> {
        let now = (self.context.surroundings.clock)();
        self.last_pause(store).filter(|pause| pause.holds(now)).map(|pause| pause.until)
    }

    /// Takes back what runs under way may still delete of stores that are held back from now on.
    pub(super) fn withdraw_held(&mut self) {
        let held: Vec<_> =
            self.absent.permits.keys().filter(|store| self.hold(store).is_some()).cloned().collect();
        self.withdraw_permits(|store, _| held.contains(store));
        self.show_holds();
    }

    /// Brings back stores that are held back no longer.
    pub(super) fn end_holds(&mut self, now: Instant) {
        let clock = (self.context.surroundings.clock)();
        let mut any = self.holds.fleet_due.is_some_and(|due| due <= now);
        while let Some(store) = self.holds.due.take_due(now) {
            if let Some(hold) = self.hold(&store) {
                let again = wait(hold.until, clock).max(Duration::from_secs(1));
                self.holds.due.set(&store, now + again);
                continue;
            }
            any = true;
            if self.holds.release(&store) {
                self.line_up();
            }
            self.queue.mark_fresh(&store);
        }
        if any {
            self.show_holds();
        }
    }

    /// Notes what a run found that was held back, and says so where it is shown.
    pub(super) fn held(&mut self, store: &StoreId, wish: &Wish, shown: Shown) -> Shown {
        let (Wish::Present { hold: Some(hold), .. } | Wish::AbsentOnHold { hold, .. }) = wish else {
            self.forget_hold(store);
            return shown;
        };
        let Some(state) = shown.state else { return shown };
        let clock = (self.context.surroundings.clock)();
        let has_file = matches!(wish, Wish::Present { .. });
        let (waits, hold) = (shown.waits || !has_file, hold.clone());
        let held = Held { hold: hold.clone(), waits, health: state, is_over: false };
        self.holds.begun(store, held, Instant::now(), clock);
        self.holds.show_soon(Instant::now());
        if !has_file || !hold.is_pause() && !shown.waits {
            return shown;
        }
        let then = if shown.waits { "; what git wants now is applied then" } else { "" };
        if hold.is_pause() {
            let health = format!("{hold}{then}; it is {}: {}", state.as_str(), shown.reason);
            return Shown { state: Some(StoreState::Paused), reason: health, ..shown };
        }
        Shown { reason: format!("{}; a commit's change waits: {hold}", shown.reason), ..shown }
    }

    /// A store is held back no longer, or is no more.
    pub(super) fn forget_hold(&mut self, store: &StoreId) {
        self.holds.ended(store);
    }

    /// Says above everything else what is held back.
    pub(super) fn show_holds(&mut self) {
        let clock = (self.context.surroundings.clock)();
        let Some(fleet) = self.snapshot.as_ref().map(|snapshot| snapshot.fleet.clone()) else { return };
        let lasting = |pause: &Option<Pause>| pause.clone().filter(|pause| pause.holds(clock));
        let (all, emergency) = (lasting(&fleet.pause), lasting(&fleet.override_windows));
        let ends = all.iter().chain(&emergency).map(|pause| pause.until).min();
        let in_a_while = |until| Instant::now() + wait(until, clock).max(SHOWN_EVERY);
        self.holds.fleet_due = ends.map(in_a_while);
        let words = |what: &str, Pause { until, reason }: Pause| {
            format!("{what} until {}: {reason}", moment::utc(until))
        };
        let all = all.map(|pause| words("the whole fleet is paused", pause));
        self.tell_fleet_pause(all.as_deref());
        let paused = all.or_else(|| {
            let such = |held: &Held| held.hold.is_pause();
            self.holds.sentence(such, ("store is paused", "stores are paused"), "the next pause ends at")
        });
        let window = emergency.map(|pause| words("all change windows are open", pause)).or_else(|| {
            let such = |held: &Held| !held.hold.is_pause() && held.waits;
            let what = ("store waits for its change window", "stores wait for their change windows");
            self.holds.sentence(such, what, "the next opens at")
        });
        self.board.update(|picture| {
            picture.fleet.paused = paused;
            picture.fleet.window = window;
        });
    }
}
