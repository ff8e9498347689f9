//! The daemon: what moves (git, the cluster, time) marks stores, a keyed queue works them off, and each run's
//! conclusion goes to the board and the metrics. It holds no truth of its own: a restart does what it would
//! have done without one.

mod agenda;
mod asking;
mod checks;
mod queue;
mod source;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::chart::Chart;
use crate::cluster::{Cluster, ClusterError, ClusterSettings};
use crate::metrics::{Metrics, Outcome};
use crate::names::StoreId;
use crate::plan::{self, Removals};
use crate::reconcile::{self, Conclusion, Context, Done, Memory, RunError, Surroundings, Tally, Wish};
use crate::report::{Board, Step, StepTimeouts, StoreReport, StoreState};
use crate::store::{Snapshot, Store, StoreEntry};

pub use asking::AskingOptions;
use asking::{Asked, Asking};
use queue::Queue;
use source::{Follower, Sighting};
pub use source::{SourceOptions, snapshot};
use waits::Waits;

/// How long runs under way may take to end when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(8);

/// The wait before the cluster is tried again when it can't be reached at the start.
const CONNECT_RETRY: Duration = Duration::from_secs(3);

/// Returns a random number between 0 and 1.
type Chance = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Everything the daemon is told.
pub struct Settings {
    /// The cluster.
    pub cluster: ClusterSettings,
    /// The repository.
    pub source: SourceOptions,
    /// The chart.
    pub chart: Arc<Chart>,
    /// How many stores may have a run under way at once.
    pub concurrency: usize,
    /// Time and chance.
    pub surroundings: Surroundings,
    /// How shops themselves are asked before they count as READY; none: objects decide alone.
    pub asking: Option<AskingOptions>,
    /// How long a store may be at each step on its way to READY.
    pub timeouts: StepTimeouts,
}

/// Runs until `stop` resolves, then finishes or abandons what is under way.
///
/// Fails only when the cluster's settings can't be used: no wait will mend those.
pub async fn run(
    settings: Settings,
    board: Board,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) -> Result<(), ClusterError> {
    let mut stop = std::pin::pin!(stop);
    let (changes, changed) = unbounded_channel();
    let connect = connect(&settings.cluster, changes, &board);
    let cluster = tokio::select! {
        () = &mut stop => return Ok(()),
        cluster = connect => cluster?,
    };
    let (sightings, sighted) = unbounded_channel();
    let chance = chance(&settings.surroundings);
    let source = settings.cluster.source.clone();
    let follower = Follower {
        options: settings.source.clone(),
        chart: Arc::clone(&settings.chart),
        metrics: metrics.clone(),
        chance: Arc::clone(&chance),
        incumbents: {
            let cluster = cluster.clone();
            Arc::new(move || cluster.incumbents())
        },
        sightings,
    };
    let following = tokio::spawn(follower.follow().instrument(tracing::info_span!("git")));
    let Settings { surroundings, timeouts, chart, .. } = settings;
    let context = Context { cluster, chart, source, surroundings, timeouts };
    let asking = Asking::new(settings.asking, Arc::clone(&chance));
    board.update(|picture| picture.fleet.not_asked = asking.not_asked());
    let mut daemon = Daemon {
        context,
        board,
        metrics,
        chance,
        concurrency: settings.concurrency,
        queue: Queue::default(),
        runs: JoinSet::new(),
        snapshot: None,
        accepted: BTreeMap::new(),
        removals: Removals::default(),
        requested: BTreeMap::new(),
        first_pass: BTreeSet::new(),
        is_ready: false,
        host_waits: BTreeMap::new(),
        asking,
        waits: Waits::default(),
    };
    daemon.work(changed, sighted, stop).await;
    following.abort();
    Ok(())
}

/// Connects to the cluster and fills the caches; tries for as long as it takes, and says why it waits.
async fn connect(
    settings: &ClusterSettings,
    changes: tokio::sync::mpsc::UnboundedSender<StoreId>,
    board: &Board,
) -> Result<Cluster, ClusterError> {
    loop {
        match try_connect(settings, changes.clone()).await {
            Ok(cluster) => {
                board.update(|picture| picture.fleet.frozen = Some("reading the repository".to_owned()));
                return Ok(cluster);
            }
            Err(error @ ClusterError::Settings(_)) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "failed to reach the cluster, trying again");
                board.update(|picture| picture.fleet.frozen = Some(format!("failed to {error}")));
                tokio::time::sleep(CONNECT_RETRY).await;
            }
        }
    }
}

async fn try_connect(
    settings: &ClusterSettings,
    changes: tokio::sync::mpsc::UnboundedSender<StoreId>,
) -> Result<Cluster, ClusterError> {
    let cluster = Cluster::connect(settings.clone(), changes).await?;
    cluster.start_watching().await?;
    Ok(cluster)
}

/// Makes numbers between 0 and 1 out of random bytes.
fn chance(surroundings: &Surroundings) -> Chance {
    let entropy = Arc::clone(&surroundings.entropy);
    Arc::new(move || {
        let mut bytes = [0; 4];
        entropy(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    })
}

/// One finished run.
struct Finished {
    store: StoreId,
    wish: Wish,
    tally: Tally,
    result: Result<Conclusion, RunError>,
    took: Duration,
}

/// What the board shall show of a store.
struct Shown {
    state: Option<StoreState>,
    step: Option<Step>,
    reason: String,
    next_retry: Option<i64>,
}

/// A store that was never READY.
struct Requested {
    /// When it was first seen.
    since: Instant,
    /// Whether it was FAILED, and counted as that: a store that comes and goes there fails once.
    failed: bool,
}

struct Daemon {
    context: Context,
    board: Board,
    metrics: Metrics,
    chance: Chance,
    concurrency: usize,
    queue: Queue,
    runs: JoinSet<Finished>,
    snapshot: Option<Arc<Snapshot>>,
    /// The newest good version of each store that a file names, with its commit: a file that breaks leaves its
    /// store's last good version in force.
    accepted: BTreeMap<StoreId, (Arc<Store>, String)>,
    removals: Removals,
    /// Stores that have not had their first run since the start.
    first_pass: BTreeSet<StoreId>,
    is_ready: bool,
    /// Stores that wait for a host, by the store that still holds it.
    host_waits: BTreeMap<StoreId, BTreeSet<StoreId>>,
    /// Stores on their way to READY for the first time.
    requested: BTreeMap<StoreId, Requested>,
    /// What the shops themselves answer.
    asking: Asking,
    /// Stores at a step on their way to READY.
    waits: Waits,
}

impl Daemon {
    async fn work(
        &mut self,
        mut changed: UnboundedReceiver<StoreId>,
        mut sighted: UnboundedReceiver<Sighting>,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) {
        loop {
            let now = Instant::now();
            for store in self.waits.take_due(now) {
                self.queue.mark(&store);
            }
            self.start_runs();
            self.asking.start(&self.context.cluster, now);
            let due = [self.queue.next_due(), self.asking.next_due(), self.waits.next_due()];
            let due = due.into_iter().flatten().min().map(tokio::time::Instant::from_std);
            tokio::select! {
                () = &mut stop => break,
                Some(store) = changed.recv() => {
                    self.on_change(&store);
                    while let Ok(store) = changed.try_recv() {
                        self.on_change(&store);
                    }
                }
                sighting = sighted.recv() => {
                    let Some(sighting) = sighting else {
                        // Never in a sound program; git would be followed no more, without a word.
                        tracing::error!("the follower of the repository has ended; stopping");
                        break;
                    };
                    self.on_sighting(sighting);
                }
                Some(finished) = self.runs.join_next() => match finished {
                    Ok(finished) => self.on_finished(finished),
                    Err(error) => tracing::error!(%error, "a run broke off"),
                },
                asked = self.asking.next() => self.on_asked(asked),
                () = sleep_until(due), if due.is_some() => {}
            }
        }
        self.stop().await;
    }

    async fn stop(&mut self) {
        tracing::info!(runs = self.runs.len(), "stopping: no new work is taken");
        let rest = async { while self.runs.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, rest).await.is_err() {
            tracing::warn!(
                runs = self.runs.len(),
                "runs under way are abandoned; the next start continues them"
            );
            self.runs.shutdown().await;
        }
    }

    fn start_runs(&mut self) {
        if self.snapshot.is_none() {
            return;
        }
        while let Some(store) = self.queue.take(Instant::now(), self.concurrency) {
            let wish = self.wish(&store);
            let memory = self.memory(&store);
            self.show_beginning(&store, &wish);
            let context = self.context.clone();
            let span = tracing::info_span!("run", store.id = %store, git.commit = wish.revision());
            let run = async move {
                let started = Instant::now();
                let mut tally = Tally::default();
                let result = reconcile::run(&context, &store, &wish, &memory, &mut tally).await;
                Finished { store, wish, tally, result, took: started.elapsed() }
            };
            self.runs.spawn(run.instrument(span));
        }
        if self.first_pass.is_empty() && !self.is_ready {
            self.is_ready = true;
            self.board.update(|picture| picture.fleet.ready = true);
        }
    }

    /// What was learnt of a store until now.
    fn memory(&mut self, store: &StoreId) -> Memory {
        let state = self.board.reader().read(|picture| picture.stores.get(store).map(|report| report.state));
        let wait = self.waits.of(store, Instant::now());
        Memory {
            state: state.unwrap_or(StoreState::Requested),
            probed: self.asking.probed(store),
            waited: wait.waited,
            symptoms: wait.symptoms,
            look_closer: wait.look_closer,
        }
    }

    /// A store that is not in the cluster yet is being provisioned from now on.
    fn show_beginning(&self, store: &StoreId, wish: &Wish) {
        let new =
            matches!(wish, Wish::Present { .. }) && self.context.cluster.observe(store).namespace.is_none();
        let now = (self.context.surroundings.clock)();
        self.board.update(|picture| {
            let report = picture.stores.get_mut(store).filter(|it| new && it.state == StoreState::Requested);
            if let Some(report) = report {
                report.enter(StoreState::Provisioning, "namespace: applying its objects".to_owned(), now);
                report.step = Some(Step::Namespace);
            }
        });
    }

    /// What git says about a store right now.
    fn wish(&mut self, store: &StoreId) -> Wish {
        if let Some((good, revision)) = self.accepted.get(store) {
            let (good, revision) = (Arc::clone(good), revision.clone());
            return match self.holder_of_host(&good) {
                Some(holder) => self.wait_for_host(&good, holder),
                None => Wish::Present { store: good, revision },
            };
        }
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.stores.contains_key(store)) {
            return Wish::Unreadable;
        }
        self.plan_removals();
        if self.removals.refused.contains(store) {
            return Wish::AbsentButKept(self.removals.refusal().unwrap_or_default());
        }
        let frozen = self.board.reader().read(|picture| picture.fleet.frozen.clone());
        match frozen {
            None if self.removals.allowed.contains(store) => Wish::Absent,
            None => Wish::AbsentForNow("its removal is not planned yet".to_owned()),
            Some(reason) => Wish::AbsentForNow(format!("the repository is not followed ({reason})")),
        }
    }

    /// Finds a store without a file whose namespace is still there and holds the host that this one wants.
    fn holder_of_host(&self, wanted: &Store) -> Option<StoreId> {
        let snapshot = self.snapshot.as_ref()?;
        if self.context.cluster.namespace(&wanted.id).is_some() {
            return None;
        }
        let holders = self.context.cluster.holders(&wanted.host);
        holders.into_iter().find(|store| !snapshot.stores.contains_key(store))
    }

    fn wait_for_host(&mut self, wanted: &Store, holder: StoreId) -> Wish {
        let reason = format!(
            "waiting: its host {} is held by store {holder}, whose file is gone and whose namespace is still there",
            wanted.host
        );
        self.host_waits.entry(holder).or_default().insert(wanted.id.clone());
        Wish::HostTaken(reason)
    }

    fn plan_removals(&mut self) {
        let Some(snapshot) = &self.snapshot else { return };
        let present: BTreeSet<_> = snapshot.stores.keys().cloned().collect();
        let observed = self.context.cluster.our_namespaces();
        let budget = &snapshot.fleet.deletion_budget;
        let removals =
            plan::removals(&present, &observed, &self.context.source, budget, &self.removals.refused);
        if removals != self.removals {
            if let Some(refusal) = removals.refusal() {
                tracing::error!(git.commit = %snapshot.revision, "{refusal}");
            }
            self.metrics.set_removals_refused(removals.refused.len());
            self.board.update(|picture| picture.fleet.removals_refused = removals.refusal());
            self.removals = removals;
        }
    }

    fn on_change(&mut self, store: &StoreId) {
        if let Some(waiting) = self.host_waits.remove(store) {
            for store in waiting {
                self.queue.mark(&store);
            }
        }
        // Namespaces of others are none of our business as long as git does not ask for their names.
        let named = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.stores.contains_key(store));
        let shown = self.board.reader().read(|picture| picture.stores.contains_key(store));
        if named || shown || self.context.cluster.is_ours(store) {
            self.queue.mark(store);
        }
    }

    fn on_sighting(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Unchanged => self.set_frozen(None),
            Sighting::Frozen(reason) => self.set_frozen(Some(reason)),
            Sighting::LastGood(snapshot, reason) => {
                self.set_frozen(Some(reason));
                self.on_snapshot(snapshot);
            }
            Sighting::Snapshot(snapshot) => {
                self.set_frozen(None);
                self.on_snapshot(snapshot);
            }
        }
    }

    /// Says once that newer commits are not followed, and once that they are again.
    fn set_frozen(&mut self, reason: Option<String>) {
        let before =
            self.board.update(|picture| std::mem::replace(&mut picture.fleet.frozen, reason.clone()));
        match reason {
            Some(reason) if before.as_ref() != Some(&reason) => {
                tracing::error!("frozen, nothing is changed or removed for git's sake: {reason}");
            }
            None if before.is_some() => {
                tracing::info!("following the repository");
                // Removals waited for this.
                for store in self.absent_stores() {
                    self.queue.mark(&store);
                }
            }
            _ => {}
        }
    }

    fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        let mut touched = BTreeSet::new();
        for (id, entry) in &snapshot.stores {
            match entry {
                StoreEntry::Accepted(store) => {
                    let known = self.accepted.get(id);
                    if known.is_none_or(|(known, _)| known.digest() != store.digest()) {
                        touched.insert(id.clone());
                    }
                    let revision = match known {
                        Some((known, revision)) if known.digest() == store.digest() => revision.clone(),
                        _ => snapshot.revision.to_string(),
                    };
                    self.accepted.insert(id.clone(), (Arc::clone(store), revision));
                }
                StoreEntry::Rejected(problems) => {
                    for problem in problems {
                        tracing::error!(store.id = %id, git.commit = %snapshot.revision, "rejected: {problem}");
                    }
                    touched.insert(id.clone());
                }
            }
        }
        self.accepted.retain(|id, _| snapshot.stores.contains_key(id));
        // A file that was broken before may be as it was before that.
        let was_rejected = |id: &&StoreId| {
            let before = self.snapshot.as_ref().and_then(|snapshot| snapshot.stores.get(id));
            before.is_some_and(|entry| entry.accepted().is_none())
        };
        touched.extend(snapshot.stores.keys().filter(was_rejected).cloned());
        self.show_snapshot(&snapshot);
        self.snapshot = Some(snapshot);
        self.plan_removals();
        // Stores without a file: every change of the fleet file may decide about them anew.
        touched.extend(self.absent_stores());
        // A push is how people say "try again".
        self.queue.retry_all();
        if !self.is_ready {
            self.first_pass.extend(touched.iter().cloned());
        }
        for store in touched {
            self.waits.remove(&store);
            self.queue.mark_fresh(&store);
        }
    }

    /// Stores that are in the cluster or on the board but in no file.
    fn absent_stores(&self) -> Vec<StoreId> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let mut stores: Vec<_> = self.context.cluster.our_namespaces().into_keys().collect();
        stores.extend(self.board.reader().read(|picture| picture.stores.keys().cloned().collect::<Vec<_>>()));
        stores.retain(|store| !snapshot.stores.contains_key(store));
        stores
    }

    fn show_snapshot(&mut self, snapshot: &Snapshot) {
        let now = (self.context.surroundings.clock)();
        for id in snapshot.stores.keys() {
            let known = self.board.reader().read(|picture| picture.stores.contains_key(id));
            let before = self.snapshot.as_ref().is_some_and(|before| before.stores.contains_key(id));
            let there = self.context.cluster.namespace(id).filter(|it| it.deleting_since.is_none());
            if there.is_none() && !(known && before) {
                self.requested.insert(id.clone(), Requested { since: Instant::now(), failed: false });
            }
        }
        self.requested.retain(|id, _| snapshot.stores.contains_key(id));
        self.board.update(|picture| {
            picture.fleet.revision = Some(snapshot.revision.to_string());
            picture.fleet.problems = snapshot.problems.iter().map(ToString::to_string).collect();
            for (id, entry) in &snapshot.stores {
                let report =
                    picture.stores.entry(id.clone()).or_insert_with(|| StoreReport::new(id.clone(), now));
                if let Some(store) = entry.accepted() {
                    report.display_name = Some(store.display_name.clone());
                }
                report.revision = Some(snapshot.revision.to_string());
            }
        });
    }

    fn on_finished(&mut self, finished: Finished) {
        let Finished { store, wish, tally, result, took } = finished;
        self.first_pass.remove(&store);
        self.note_done(&store, &wish, tally, took);
        self.metrics.reconciled(outcome(&result), took);
        let now = (self.context.surroundings.clock)();
        match result {
            Ok(conclusion) => {
                self.queue.succeeded(&store);
                if conclusion.done == Done::Deleted {
                    tracing::info!(store.id = %store, "deletion of the namespace begun");
                }
                let Conclusion { done: _, state, step, reason, ask, symptoms } = conclusion;
                self.asking.concluded(&store, ask, step.is_some(), Instant::now());
                let timeout = step.map(|step| self.context.timeouts.of(step));
                self.waits.concluded(&store, step.zip(timeout), symptoms, Instant::now());
                let shown = Shown { state, step, reason, next_retry: None };
                self.show(&store, &wish, shown, now, took);
            }
            Err(error) => {
                let at_least = Duration::from_secs(error.retry_after().into());
                let wait = self.queue.failed(&store, Instant::now(), at_least, (self.chance)());
                let retry = now + i64::try_from(wait.as_secs()).unwrap_or(0);
                let reason = format!("failed to {error}");
                let state = Some(StoreState::Failed);
                let shown = Shown { state, step: None, reason, next_retry: Some(retry) };
                self.show(&store, &wish, shown, now, took);
            }
        }
        if matches!(wish, Wish::Absent | Wish::AbsentButKept(_)) {
            self.plan_removals();
        }
    }

    /// A shop has answered, or not.
    fn on_asked(&mut self, asked: Asked) {
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
    fn note_done(&self, store: &StoreId, wish: &Wish, tally: Tally, took: Duration) {
        let Tally { steps, healed, created } = tally;
        if steps == 0 {
            return;
        }
        if created {
            self.metrics.store_created();
        }
        for _ in 0..healed {
            self.metrics.drift_healed();
        }
        tracing::info!(
            store.id = %store, git.commit = wish.revision(), steps, healed, created,
            duration_ms = milliseconds(took), "applied"
        );
    }

    /// Puts a run's conclusion on the board, and logs and counts the transition, if it is one.
    fn show(&mut self, store: &StoreId, wish: &Wish, shown: Shown, now: i64, took: Duration) {
        let Shown { state, step, reason, next_retry } = shown;
        let Some(state) = state else {
            let gone = self.board.update(|picture| picture.stores.remove(store)).is_some();
            if gone {
                tracing::info!(store.id = %store, "the store is gone");
            }
            self.waits.remove(store);
            self.count_states();
            return;
        };
        let problems = self.problems(store);
        let (state, reason) =
            if problems.is_empty() { (state, reason) } else { (StoreState::Failed, problems) };
        let observed = self.context.cluster.observe(store);
        let created = observed.namespace.and_then(|namespace| namespace.created);
        let (left, failed_anew) = self.board.update(|picture| {
            let report =
                picture.stores.entry(store.clone()).or_insert_with(|| StoreReport::new(store.clone(), now));
            report.created = created;
            if let Some(inventory) = observed.inventory {
                report.url = inventory.url;
                report.applied_revision = Some(inventory.revision).filter(|revision| !revision.is_empty());
            }
            let is_bad = matches!(state, StoreState::Failed | StoreState::Degraded);
            let failed_anew = is_bad && report.last_error.as_ref() != Some(&reason);
            let left = report.enter(state, reason.clone(), now);
            report.step = step;
            report.next_retry = next_retry;
            (left, failed_anew)
        });
        let duration_ms = milliseconds(took);
        if failed_anew {
            let commit = wish.revision();
            let state = state.as_str();
            tracing::warn!(store.id = %store, git.commit = commit, state, duration_ms, "{reason}");
        }
        if let Some(left) = left {
            if !failed_anew {
                tracing::info!(
                    store.id = %store, git.commit = wish.revision(), state = state.as_str(),
                    was = left.as_str(), duration_ms, "{reason}"
                );
            }
            self.count_transition(store, state);
        }
        self.count_states();
    }

    /// Says what is wrong with a store's file, if anything is.
    fn problems(&self, store: &StoreId) -> String {
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

    fn count_transition(&mut self, store: &StoreId, state: StoreState) {
        match state {
            StoreState::Ready => {
                if let Some(requested) = self.requested.remove(store) {
                    self.metrics.provisioned(requested.since.elapsed());
                }
            }
            StoreState::Failed => {
                if let Some(requested) = self.requested.get_mut(store).filter(|it| !it.failed) {
                    requested.failed = true;
                    self.metrics.provisioning_failed();
                }
            }
            _ => {}
        }
    }

    fn count_states(&self) {
        let mut counts = BTreeMap::new();
        self.board.reader().read(|picture| {
            for report in picture.stores.values() {
                *counts.entry(report.state).or_insert(0) += 1;
            }
        });
        self.metrics.set_states(&counts);
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn outcome(result: &Result<Conclusion, RunError>) -> Outcome {
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
