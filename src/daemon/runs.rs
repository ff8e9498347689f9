//! The runs under way: each a task of its own, with the time it takes and a way to end it.
//!
//! A run may be cut off at any point, for the reason that the process itself may be killed at any point: the next
//! run decides from what the cluster holds then. A request that was sent may still be carried out later; the server
//! notes the time in our field manager's entry, so that it is seen as drift and put right.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{Instrument, field};

use super::agenda::Agenda;
use super::conclusions::outcome;
use crate::cluster::Pass;
use crate::metrics::Outcome;
use crate::names::StoreId;
use crate::reconcile::{self, Conclusion, Context, Memory, RunError, Tally, Wish};

/// How long a run may keep its place in the fast lane. Most take a tenth of it.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(1);

/// How long a run may take at all. A request may take 30 s, and a hanging one fails its wave.
pub(super) const LONGEST: Duration = Duration::from_mins(2);

/// How long a run that a newer commit has overtaken may still take: most end by themselves within this, and a burst
/// of commits can't keep a store from getting anywhere.
const LAST_CHANCE: Duration = Duration::from_millis(300);

/// Why a run was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// A newer commit wants something else of its store.
    Newer,
    /// It took long, and so do as many others as may.
    NoPlace,
    /// It took longer than a run may.
    TooLong,
}

/// How a run ended.
pub(super) enum End {
    /// By itself.
    Ended(Result<Conclusion, RunError>),
    /// It was cut off.
    Cut(Cut),
}

/// One finished run.
pub(super) struct Finished {
    pub(super) store: StoreId,
    pub(super) wish: Wish,
    pub(super) tally: Tally,
    pub(super) end: End,
    pub(super) took: Duration,
    /// Whether it took no longer than a run in the fast lane may.
    pub(super) quick: bool,
}

/// What is due for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It has to give its place in the fast lane back.
    SlowDown,
    /// It has to end.
    Cut(Cut),
}

/// The runs under way.
#[derive(Default)]
pub(super) struct Runs {
    tasks: JoinSet<Finished>,
    under_way: BTreeMap<StoreId, Timing>,
    ends: BTreeMap<StoreId, oneshot::Sender<Cut>>,
    clock: Agenda,
}

/// The time that a run takes. What the API server asked everybody to wait does not count.
#[derive(Debug, Clone, Copy)]
struct Timing {
    begun: Instant,
    held_before: Duration,
    fast: bool,
    outdated: bool,
}

impl Timing {
    fn taken(&self, now: Instant, held: Duration) -> Duration {
        now.saturating_duration_since(self.begun).saturating_sub(held.saturating_sub(self.held_before))
    }

    /// What is due next, and after what time of the run.
    fn next(&self) -> (Duration, Due) {
        match self {
            Self { outdated: true, .. } => (LAST_CHANCE, Due::Cut(Cut::Newer)),
            Self { fast: true, .. } => (SLOW_AFTER, Due::SlowDown),
            Self { .. } => (LONGEST, Due::Cut(Cut::TooLong)),
        }
    }
}

/// Notes on the run's span how it ended, for traces.
fn note(end: &End) {
    let outcome = match end {
        End::Ended(result) => outcome(result),
        End::Cut(Cut::TooLong) => Outcome::Failed,
        End::Cut(_) => Outcome::Interrupted,
    };
    let span = tracing::Span::current();
    span.record("outcome", outcome.label());
    if outcome == Outcome::Failed {
        span.record("otel.status_code", "ERROR");
    }
}

impl Runs {
    /// Begins a run, in the fast lane or not; while it is under way its pass keeps the store from being given away.
    pub(super) fn start(
        &mut self,
        context: &Context,
        store: StoreId,
        wish: Wish,
        memory: Memory,
        (fast, pass): (bool, Option<Pass>),
    ) {
        let (context, begun) = (context.clone(), Instant::now());
        let held_before = context.cluster.pace().held();
        let (end, ended) = oneshot::channel();
        let span = tracing::info_span!(
            "run", store.id = %store, git.commit = wish.revision(), outcome = field::Empty, otel.status_code = field::Empty
        );
        self.ends.insert(store.clone(), end);
        self.under_way.insert(store.clone(), Timing { begun, held_before, fast, outdated: false });
        self.set_clock(&store);
        let run = async move {
            let mut tally = Tally::default();
            let end = tokio::select! {
                result = reconcile::run(&context, &store, &wish, &memory, &mut tally) => End::Ended(result),
                Ok(cut) = ended => End::Cut(cut),
            };
            drop(pass);
            note(&end);
            Finished { store, wish, tally, end, took: begun.elapsed(), quick: false }
        };
        self.tasks.spawn(run.instrument(span));
    }

    /// A newer commit wants something else of this store: a run under way ends soon.
    pub(super) fn overtake(&mut self, store: &StoreId) {
        if let Some(timing) = self.under_way.get_mut(store) {
            timing.outdated = true;
            self.set_clock(store);
        }
    }

    /// Takes a run for which something is due. `held` is for how long the API server has kept us waiting until now.
    pub(super) fn take_due(&mut self, now: Instant, held: Duration) -> Option<(StoreId, Due)> {
        loop {
            let store = self.clock.take_due(now)?;
            let Some(timing) = self.under_way.get_mut(&store) else { continue };
            let (after, due) = timing.next();
            let taken = timing.taken(now, held);
            if taken < after {
                self.clock.set(&store, now + after.saturating_sub(taken));
                continue;
            }
            if due == Due::SlowDown {
                timing.fast = false;
                self.set_clock(&store);
            }
            return Some((store, due));
        }
    }

    /// Ends a run: it is finished at the next point where it waits for something.
    pub(super) fn cut(&mut self, store: &StoreId, cut: Cut) {
        self.clock.remove(store);
        if let Some(end) = self.ends.remove(store) {
            // It may have ended by itself meanwhile.
            let _ = end.send(cut);
        }
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.clock.next()
    }

    /// Waits for the end of a run; for ever when none is under way. `held` as for [`Runs::take_due`].
    pub(super) async fn next(&mut self, held: impl Fn() -> Duration) -> Finished {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(mut finished)) => {
                    self.clock.remove(&finished.store);
                    self.ends.remove(&finished.store);
                    let timing = self.under_way.remove(&finished.store);
                    let taken = timing.map(|timing| timing.taken(timing.begun + finished.took, held()));
                    finished.quick = taken.is_some_and(|taken| taken < SLOW_AFTER);
                    return finished;
                }
                // A run catches its own panics.
                Some(Err(error)) => tracing::error!(%error, "a run broke off"),
                None => std::future::pending().await,
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Waits until no run is under way.
    pub(super) async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Ends all runs where they are.
    pub(super) async fn abandon(&mut self) {
        self.tasks.shutdown().await;
    }

    fn set_clock(&mut self, store: &StoreId) {
        if let Some(timing) = self.under_way.get(store) {
            self.clock.set(store, timing.begun + timing.next().0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEACE: Duration = Duration::ZERO;

    fn acme() -> StoreId {
        "acme".parse().unwrap()
    }

    /// One run that hangs, without its task.
    fn hanging(begun: Instant, held_before: Duration, fast: bool) -> Runs {
        let mut runs = Runs::default();
        runs.under_way.insert(acme(), Timing { begun, held_before, fast, outdated: false });
        runs.set_clock(&acme());
        runs
    }

    #[test]
    fn a_run_that_hangs_leaves_the_fast_lane_after_a_second_and_is_cut_off_after_two_minutes() {
        let begun = Instant::now();
        let mut runs = hanging(begun, PEACE, true);
        assert_eq!(runs.next_due(), Some(begun + SLOW_AFTER));
        assert_eq!(runs.take_due(begun + SLOW_AFTER / 2, PEACE), None);
        assert_eq!(runs.take_due(begun + SLOW_AFTER, PEACE), Some((acme(), Due::SlowDown)));
        assert_eq!(runs.take_due(begun + LONGEST / 2, PEACE), None);
        assert_eq!(runs.take_due(begun + LONGEST, PEACE), Some((acme(), Due::Cut(Cut::TooLong))));
        assert_eq!(runs.next_due(), None);
    }

    #[test]
    fn a_newer_commit_ends_a_run_at_once_unless_it_has_just_begun() {
        let begun = Instant::now();
        for (at, due) in [(Duration::ZERO, LAST_CHANCE), (SLOW_AFTER / 2, SLOW_AFTER / 2)] {
            let mut runs = hanging(begun, PEACE, true);
            assert_eq!(runs.take_due(begun + at, PEACE), None);
            runs.overtake(&acme());
            assert_eq!(runs.take_due(begun + due, PEACE), Some((acme(), Due::Cut(Cut::Newer))));
        }
        let mut slow = hanging(begun, PEACE, false);
        slow.overtake(&acme());
        assert_eq!(slow.take_due(begun + 2 * SLOW_AFTER, PEACE), Some((acme(), Due::Cut(Cut::Newer))));
    }

    #[test]
    fn what_the_server_asked_everybody_to_wait_is_not_the_time_of_a_run() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut runs = hanging(begun, 5 * second, true);
        // Ten seconds of peace since it began.
        let held = 15 * second;
        assert_eq!(runs.take_due(begun + 10 * second, held), None);
        assert_eq!(runs.next_due(), Some(begun + 10 * second + SLOW_AFTER));
        assert_eq!(runs.take_due(begun + 11 * second, held), Some((acme(), Due::SlowDown)));
    }
}
