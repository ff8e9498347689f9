//! What a finished run or an answer of a shop changes: the board, the metrics, the log, the next look.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::asking::Asked;
use super::exits::Way;
use super::fights::{Fight, News};
use super::runs::{Cut, End, Finished, LONGEST};
use super::{Daemon, Finding, Shown};
use crate::metrics::Outcome;
use crate::names::StoreId;
use crate::plan::moment;
use crate::reconcile::{Conclusion, Done, RunError, Tally, Wish};
use crate::report::{EventKind, Step, StoreReport, StoreState};
use crate::store::StoreEntry;

impl Daemon {
    pub(super) fn on_finished(&mut self, finished: Finished) {
        let Finished { store, wish, tally, end, took, quick } = finished;
        self.note_done(&store, &wish, &tally, took);
        self.tell_done(&store, &wish, &tally, took);
        self.note_fight(&store, &wish, &tally);
        let result = match end {
            End::Ended(result) => result,
            End::Cut(Cut::TooLong) => Err(RunError::TooLong { seconds: LONGEST.as_secs() }),
            End::Cut(cut) => return self.on_interrupted(&store, &wish, cut, took),
        };
        if result.as_ref().is_err_and(RunError::is_fenced) {
            tracing::info!(store.id = %store, "another replica keeps this store by now: the run ends here");
            self.queue.interrupted(&store);
            return self.metrics.reconciled(Outcome::Interrupted, took);
        }
        self.first_pass.remove(&store);
        self.metrics.reconciled(outcome(&result), took);
        self.note_namespace(&store);
        let gave_way = (result.is_err() || matches!(wish, Wish::HostTaken(_)))
            && self.gate.gives_way(&store, Instant::now());
        let now = (self.context.surroundings.clock)();
        self.note_exit(&store, &wish, &result, now);
        match result {
            Ok(conclusion) => {
                match wish {
                    Wish::NotAdmitted(_) => self.queue.waited(&store),
                    Wish::HostTaken(_) => {
                        self.queue.turned_away(&store, gave_way, Instant::now(), (self.chance)());
                    }
                    _ => self.queue.succeeded(&store, quick),
                }
                self.note_deletion(&store, &wish, conclusion.done);
                let Conclusion { done: _, state, step, reason, ask, symptoms, leaving, waits } = conclusion;
                // Of a rollout that waits the version before is asked, which nothing has shaken.
                let serves = matches!(state, Some(StoreState::Ready | StoreState::Degraded));
                let restless = step.is_some_and(|step| serves || step >= Step::Ingress);
                self.asking.concluded(&store, ask, restless, Instant::now());
                let timeout = step.map(|step| self.context.timeouts.of(step));
                self.waits.concluded(&store, step.zip(timeout), symptoms, Instant::now());
                let (reason, healing) = self.fighting(&store, reason, now);
                let next_retry = healing.or(self.gate.turn(&store));
                let deletes_at = leaving.deletes_at;
                let shown = Shown { state, step, reason, next_retry, deletes_at, waits };
                let shown = self.held(&store, &wish, shown);
                self.show(&store, &wish, shown, now, took);
            }
            Err(error) => self.note_failure(&store, &wish, &error, now, took),
        }
        if matches!(wish, Wish::Absent { .. } | Wish::AbsentButKept { .. }) {
            self.plan_removals_soon();
        }
    }

    fn note_deletion(&mut self, store: &StoreId, wish: &Wish, done: Done) {
        if done == Done::Deleted {
            tracing::info!(store.id = %store, "deletion of the namespace begun");
            let words = format!("the deletion of namespace {} was asked for", store.namespace());
            self.tell_of(EventKind::DeletionBegun, store, Some(wish), &words);
        }
    }

    /// Notes that a run failed, and when the next try comes.
    fn note_failure(&mut self, store: &StoreId, wish: &Wish, error: &RunError, now: i64, took: Duration) {
        if !matches!(wish, Wish::Present { hold: Some(_), .. }) {
            self.forget_hold(store);
        }
        let at_least = Duration::from_secs(error.retry_after().into());
        let wait = self.queue.failed(store, Instant::now(), at_least, (self.chance)());
        let retry = now + i64::try_from(wait.as_secs()).unwrap_or(0);
        let reason = match wish {
            Wish::Absent { since, .. } => {
                format!("failed to {error}; its file is gone since {}", moment::utc(*since))
            }
            _ => format!("failed to {error}"),
        };
        let state = Some(StoreState::Failed);
        let next_retry = Some(retry);
        let shown = Shown { state, step: None, reason, next_retry, deletes_at: None, waits: false };
        self.show(store, wish, shown, now, took);
    }

    /// Notes how far a store is on its way out, if it is.
    fn note_exit(&mut self, store: &StoreId, wish: &Wish, result: &Result<Conclusion, RunError>, now: i64) {
        self.absent.permits.remove(store);
        let deleting_since = self.context.cluster.namespace(store).and_then(|it| it.deleting_since);
        let leaves = result.as_ref().is_ok_and(|conclusion| conclusion.state.is_none());
        let grace = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.fleet.deletion_grace_seconds);
        let way = match (deleting_since, wish) {
            (Some(since), _) if !leaves => Some(Way::Going { since }),
            (None, Wish::Absent { since, .. } | Wish::AwaitsLook { since }) if !leaves => {
                Some(Way::Due { since: since.saturating_add(grace.into()) })
            }
            (None, Wish::InGrace { until, .. } | Wish::AbsentOnHold { until, .. }) if !leaves => {
                Some(Way::Grace { until: *until })
            }
            _ => None,
        };
        let remains = result.as_ref().ok().and_then(|conclusion| conclusion.leaving.remains.clone());
        match way {
            Some(way) => self.absent.exits.concluded(store, way, remains, Instant::now(), now),
            None => self.absent.exits.remove(store),
        }
        let (count, oldest) = self.absent.exits.under_way();
        self.metrics.set_removals_under_way(count, oldest);
    }

    /// A run was cut off for no fault of its store's.
    fn on_interrupted(&mut self, store: &StoreId, wish: &Wish, cut: Cut, took: Duration) {
        self.queue.interrupted(store);
        self.metrics.reconciled(Outcome::Interrupted, took);
        if cut == Cut::Newer {
            tracing::info!(
                store.id = %store, git.commit = wish.revision(), duration_ms = milliseconds(took),
                "a newer commit ends the run under way"
            );
        } else {
            tracing::debug!(store.id = %store, "the run takes long and begins anew among the slow ones");
        }
    }

    /// A shop has answered, or not.
    pub(super) fn on_asked(&mut self, asked: Asked) {
        let (store, took) = (asked.errand.store.clone(), asked.took);
        let Some(news) = self.asking.finished(asked, Instant::now()) else { return };
        self.metrics.probed(news.good, took);
        if news.good {
            let now = (self.context.surroundings.clock)();
            self.board.update(|picture| {
                if let Some(report) = picture.stores.get_mut(&store) {
                    report.answered = Some(now);
                }
            });
        }
        if news.changed {
            self.queue.mark(&store);
        }
    }

    /// Counts what a run changed, and logs it: the store's trail.
    pub(super) fn note_done(&self, store: &StoreId, wish: &Wish, tally: &Tally, took: Duration) {
        let Tally { steps, healed, created, marked: _, withheld: _ } = tally;
        if *steps == 0 {
            return;
        }
        if *created {
            self.metrics.store_created();
        }
        for _ in healed {
            self.metrics.drift_healed();
        }
        tracing::info!(
            store.id = %store, git.commit = wish.revision(), steps, healed = healed.len(), created,
            duration_ms = milliseconds(took), "applied"
        );
    }

    /// Notes whether somebody else undoes what runs put back, and says once that it begins and once that it ends.
    fn note_fight(&mut self, store: &StoreId, wish: &Wish, tally: &Tally) {
        let healed: Vec<_> = tally.healed.iter().chain(&tally.marked).cloned().collect();
        match self.fights.ran(store, &healed, tally.withheld, Instant::now()) {
            Some(News::Begun) => {
                self.metrics.fight_begun();
                let reason = self.fights.fight(store).map(Fight::reason).unwrap_or_default();
                tracing::warn!(store.id = %store, "{reason}");
                self.tell_of(EventKind::FightBegun, store, Some(wish), &reason);
            }
            Some(News::Ended) => {
                let words = "nobody undoes what is put back any more";
                tracing::info!(store.id = %store, "{words}");
                self.tell_of(EventKind::FightEnded, store, Some(wish), words);
            }
            None => return,
        }
        self.metrics.set_stores_fighting(self.fights.count());
    }

    /// Adds a store's fight to what is said of it, and when its objects are put back again.
    fn fighting(&self, store: &StoreId, reason: String, now: i64) -> (String, Option<i64>) {
        let Some(fight) = self.fights.fight(store) else { return (reason, None) };
        let pause = fight.until.saturating_duration_since(Instant::now());
        let next = (!pause.is_zero()).then(|| now + i64::try_from(pause.as_secs()).unwrap_or(0));
        (format!("{}; {reason}", fight.reason()), next)
    }

    /// Puts a run's conclusion on the board, and logs and counts the transition, if it is one.
    pub(super) fn show(&mut self, store: &StoreId, wish: &Wish, shown: Shown, now: i64, took: Duration) {
        let Shown { state, step, reason, next_retry, deletes_at, waits } = shown;
        let Some(state) = state else {
            self.show_no_more(store);
            return;
        };
        let problems = self.problems(store);
        let (state, reason) =
            if problems.is_empty() { (state, reason) } else { (StoreState::Failed, problems) };
        let observed = self.context.cluster.observe(store);
        let origin = self.chronicle.changed_by(store).cloned();
        let created = observed.namespace.and_then(|namespace| namespace.created);
        let cluster = self.context.source.cluster().map(ToString::to_string);
        let keeper = self.sharing.keeper(store);
        let (was, left, failed_anew) = self.board.update(|picture| {
            let was = picture.stores.get(store).map(|report| report.state);
            let new = || StoreReport::new(store.clone(), now).on(cluster);
            let report = picture.stores.get_or_insert_with(store, new);
            report.created = created;
            report.keeper = keeper;
            if report.origin.is_none() {
                report.origin = origin;
            }
            if let Some(inventory) = &observed.inventory {
                report.url.clone_from(&inventory.url);
                report.applied_revision =
                    Some(inventory.revision.clone()).filter(|revision| !revision.is_empty());
            }
            let is_bad = matches!(state, StoreState::Failed | StoreState::Degraded);
            let failed_anew = is_bad && report.last_error.as_ref() != Some(&reason);
            let left = report.enter(state, reason.clone(), now);
            report.step = step;
            report.next_retry = next_retry;
            report.deletes_at = deletes_at;
            (was, left, failed_anew)
        });
        self.census.moves(was, Some(state));
        let is_new = self.requested.contains_key(store);
        let duration_ms = milliseconds(took);
        if failed_anew {
            let commit = wish.revision();
            let state = state.as_str();
            tracing::warn!(store.id = %store, git.commit = commit, state, duration_ms, "{reason}");
        }
        if let Some(left) = left.filter(|_| !failed_anew) {
            tracing::info!(
                store.id = %store, git.commit = wish.revision(), state = state.as_str(),
                was = left.as_str(), duration_ms, "{reason}"
            );
        }
        let took = left.and_then(|_| self.count_transition(store, state));
        let was_ready = observed.inventory.as_ref().is_some_and(|inventory| inventory.was_ready());
        let finding = Finding { state, step, reason: &reason, is_new, was_ready, took };
        self.tell_finding(store, wish, &finding);
        self.metrics.set_states(&self.census.0);
        self.tell_replicas(store, Some(state), &reason);
        let url = observed.inventory.as_ref().and_then(|inventory| inventory.url.as_deref());
        let shown = Shown { state: Some(state), step, reason, next_retry, deletes_at, waits };
        self.note_progress(store, wish, &shown, url);
    }

    /// Takes a store that no file names off the board. Its namespace may be there all the same, if somebody took our labels
    /// off it or it never was ours.
    fn show_no_more(&mut self, store: &StoreId) {
        self.waits.remove(store);
        self.forget_hold(store);
        self.tell_replicas(store, None, "");
        let Some(report) = self.board.update(|picture| picture.stores.remove(store)) else {
            // It went before this process came to show it.
            self.tell_gone(store, false);
            return self.note_gone(store);
        };
        let cluster = &self.context.cluster;
        if cluster.namespace(store).is_some() && !cluster.is_ours(store) {
            tracing::warn!(
                store.id = %store,
                "the store is shown no more, but namespace {} is still there: its labels do not say that it is this \
                 source's, so it is left alone with all that is in it",
                store.namespace()
            );
        } else {
            tracing::info!(store.id = %store, "the store is gone");
        }
        self.census.moves(Some(report.state), None);
        self.metrics.set_states(&self.census.0);
        self.tell_gone(store, true);
        self.note_gone(store);
    }

    /// Says what is wrong with a store's file, if anything is.
    pub(super) fn problems(&self, store: &StoreId) -> String {
        let entry = self.snapshot.as_ref().and_then(|snapshot| snapshot.stores.get(store));
        let problems = entry.map(StoreEntry::problems).unwrap_or_default();
        if problems.is_empty() {
            return String::new();
        }
        let all = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let meanwhile = if self.accepted.contains_key(store) {
            "its last good version stays in force"
        } else {
            "nothing in the cluster is changed or removed"
        };
        format!("{all} ({meanwhile})")
    }

    /// Counts that a store entered a state, where this replica keeps it; returns how long a first READY took.
    pub(super) fn count_transition(&mut self, store: &StoreId, state: StoreState) -> Option<Duration> {
        let counts = self.speaks_for(Some(store));
        match state {
            StoreState::Ready => {
                let took = self.requested.remove(store)?.since.elapsed();
                if counts {
                    self.metrics.provisioned(took);
                }
                return Some(took);
            }
            StoreState::Failed => {
                if let Some(requested) = self.requested.get_mut(store).filter(|it| !it.failed) {
                    requested.failed = true;
                    if counts {
                        self.metrics.provisioning_failed();
                    }
                }
            }
            _ => {}
        }
        None
    }
}

/// How many stores on the board are in each state, kept up with every move: a count of the whole fleet at each run's
/// end would be most of what a large fleet costs.
#[derive(Debug, Default)]
pub(super) struct Census(pub(super) BTreeMap<StoreState, usize>);

impl Census {
    /// A store moves from one state to another; it has none before it comes and after it goes.
    pub(super) fn moves(&mut self, from: Option<StoreState>, to: Option<StoreState>) {
        if let Some(from) = from.and_then(|state| self.0.get_mut(&state)) {
            *from = from.saturating_sub(1);
        }
        if let Some(to) = to {
            *self.0.entry(to).or_default() += 1;
        }
    }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// Sorts how a run ended by itself.
pub(super) fn outcome(result: &Result<Conclusion, RunError>) -> Outcome {
    match result {
        Err(_) => Outcome::Failed,
        Ok(conclusion) => match conclusion.done {
            Done::Nothing => Outcome::Converged,
            Done::Applied => Outcome::Applied,
            Done::Waiting => Outcome::Waiting,
            Done::Refused => Outcome::Refused,
            Done::Deleted => Outcome::Deleted,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_counted_where_they_are_and_nowhere_else() {
        let mut census = Census::default();
        census.moves(None, Some(StoreState::Requested));
        census.moves(None, Some(StoreState::Requested));
        census.moves(Some(StoreState::Requested), Some(StoreState::Ready));
        census.moves(Some(StoreState::Ready), Some(StoreState::Ready));
        census.moves(Some(StoreState::Requested), None);
        assert_eq!(census.0, BTreeMap::from([(StoreState::Requested, 0), (StoreState::Ready, 1)]));
    }
}
