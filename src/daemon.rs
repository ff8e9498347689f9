//! The daemon: what moves (git, the cluster, time) marks stores, a keyed queue works them off, and each run's
//! conclusion goes to the board and the metrics. It holds no truth of its own: a restart does what it would
//! have done without one.

mod absent;
mod admission;
mod agenda;
mod announcing;
mod asking;
mod checks;
mod chronicle;
mod clerk;
mod conclusions;
mod exits;
mod fights;
mod holds;
mod inside;
mod pace;
mod planning;
mod pulls;
mod queue;
mod runs;
mod said;
mod scribe;
mod sharing;
mod snapshots;
mod source;
mod telling;
mod trigger;
mod trust;
mod verdicts;
mod waits;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tracing::Instrument;

use crate::cluster::{Changes, Cluster, ClusterError, ClusterSettings, LeaseSettings};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::names::{Host, SourceId, StoreId};
use crate::plan::{Caps, Removals};
use crate::reconcile::{ChartCache, Context, Memory, Past, Surroundings, Wish};
use crate::report::{Board, History, Step, StepTimeouts, StoreState};
use crate::store::{self, KnownFiles, Scope, Snapshot, Store};

use absent::Absent;
use admission::Gate;
use asking::Asking;
pub use asking::AskingOptions;
use chronicle::{Chronicle, Finding};
use conclusions::Census;
use fights::Fights;
use holds::Holds;
pub use inside::Inside;
pub use pulls::PlanForks;
use pulls::Scene;
use queue::{Lane, Places, Queue, Turn, Urgency};
use runs::{Cut, Due, Runs};
use sharing::{Membership, Sharing};
use source::{Follower, Looked};
pub use source::{SourceOptions, snapshot, snapshot_of_tree};
pub use telling::Telling;
use telling::employ;
pub use trigger::{Trigger, Triggers};
pub use trust::{TrustOptions, VerifyCommits, acknowledge};
use verdicts::Verdicts;
use waits::Waits;

/// How long runs under way may take to end when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(8);

/// How long the clerk may take to write down what it was left when the daemon stops.
const CLERK_GRACE: Duration = Duration::from_secs(2);

/// How many runs that take long may be under way at once, besides those that do not.
const SLOW_PLACES: usize = 64;

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
    /// The charts.
    pub charts: ChartCache,
    /// How many stores may have a run under way at once.
    pub concurrency: usize,
    /// Time and chance.
    pub surroundings: Surroundings,
    /// How shops themselves are asked before they count as READY; none: objects decide alone.
    pub asking: Option<AskingOptions>,
    /// How long a store may be at each step on its way to READY.
    pub timeouts: StepTimeouts,
    /// How large the fleet may get, and how fast.
    pub caps: Caps,
    /// The file that remembers which stores were deleted lately.
    pub removals: PathBuf,
    /// The journal, not opened yet.
    pub journal: Journal,
    /// What happens, for whoever shows it.
    pub history: History,
    /// What tells people outside how their commits fare.
    pub telling: Telling,
    /// What makes the daemon look and run out of turn.
    pub triggers: Triggers,
    /// What is told of stores' namespaces.
    pub inside: Inside,
    /// How this replica takes part, where there are several.
    pub leases: Option<LeaseSettings>,
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
    let changes = Changes::default();
    let cluster = ClusterSettings { metrics: metrics.clone(), ..settings.cluster.clone() };
    let connect = connect(&cluster, &changes, &board);
    let cluster = tokio::select! {
        () = &mut stop => return Ok(()),
        cluster = connect => cluster?,
    };
    settings.inside.open(cluster.clone());
    let membership = tokio::select! {
        () = &mut stop => return Ok(()),
        membership = Membership::begin(&cluster, settings.leases.clone()) => membership,
    };
    let (sightings, sighted) = unbounded_channel();
    let (chance, source) = (chance(&settings.surroundings), settings.cluster.source.clone());
    let (verdicts, chronicle, base, clerk) = employ(&settings, &board, &metrics, &chance).await;
    let chronicle = chronicle.announcing(announcing::begin(cluster.clone()), cluster.fence());
    let Triggers { trigger: Trigger { look, .. }, looks, mut retries, calls } = settings.triggers;
    membership.pass_on(calls);
    let (mirror, known) = (Arc::default(), Arc::new(Mutex::new(known_files(&source))));
    let follower = Follower {
        options: settings.source.clone(),
        mirror: Arc::clone(&mirror),
        chart: Arc::clone(settings.charts.built_in()),
        metrics: metrics.clone(),
        clock: Arc::clone(&settings.surroundings.clock),
        chance: Arc::clone(&chance),
        incumbents: incumbents(&cluster),
        base,
        known: Arc::clone(&known),
        sightings,
    };
    let following = tokio::spawn(follower.follow(look.clone(), looks).instrument(tracing::info_span!("git")));
    let Settings { surroundings, timeouts, charts, removals, .. } = settings;
    let past = Past::new(mirror, Arc::clone(charts.built_in()));
    let ledger = membership.ledger(&cluster, &source, removals);
    let context = Context { cluster, charts, source, surroundings, timeouts, ledger, past };
    let mut daemon = Daemon {
        places: Places { fast: settings.concurrency, slow: SLOW_PLACES },
        asking: Asking::new(settings.asking, Arc::clone(&chance)),
        gate: Gate::new(settings.caps),
        sharing: membership.sharing(),
        ..Daemon::new(context, board, metrics, chance, look, verdicts, chronicle)
    };
    daemon.board.update(|picture| picture.fleet.not_asked = daemon.asking.not_asked());
    daemon.employ_planner(settings.telling, settings.source, known);
    daemon.work(&changes, sighted, &mut retries, stop).await;
    following.abort();
    membership.end().await;
    // What the clerk was left is written down; what the forge was not told is told after the next start.
    drop(daemon);
    let _ = tokio::time::timeout(CLERK_GRACE, clerk).await;
    Ok(())
}

/// Knows nothing yet of the files of this source's stores on this cluster.
fn known_files(source: &SourceId) -> KnownFiles {
    KnownFiles::new(store::Limits::default()).within(Scope::Cluster(source.cluster().cloned()))
}

/// Makes the question which store holds which host.
fn incumbents(cluster: &Cluster) -> Arc<dyn Fn() -> BTreeMap<Host, StoreId> + Send + Sync> {
    let cluster = cluster.clone();
    Arc::new(move || cluster.incumbents())
}

/// Connects to the cluster and fills the caches; tries for as long as it takes, and says why it waits.
async fn connect(
    settings: &ClusterSettings,
    changes: &Changes,
    board: &Board,
) -> Result<Cluster, ClusterError> {
    loop {
        match try_connect(settings, changes).await {
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

async fn try_connect(settings: &ClusterSettings, changes: &Changes) -> Result<Cluster, ClusterError> {
    let cluster = Cluster::connect(settings.clone(), changes.clone()).await?;
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

/// What the board shall show of a store.
struct Shown {
    state: Option<StoreState>,
    step: Option<Step>,
    reason: String,
    next_retry: Option<i64>,
    deletes_at: Option<i64>,
    /// Whether what git wants waits for the end of what holds it back.
    waits: bool,
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
    places: Places,
    queue: Queue,
    runs: Runs,
    snapshot: Option<Arc<Snapshot>>,
    /// The newest good version of each store that a file names, with its commit: a file that breaks leaves its
    /// store's last good version in force.
    accepted: BTreeMap<StoreId, (Arc<Store>, String)>,
    removals: Removals,
    /// Stores that have not had their first run since the start.
    first_pass: BTreeSet<StoreId>,
    is_ready: bool,
    /// How many stores are in each state.
    census: Census,
    /// Stores that wait for a host, by the store that still holds it.
    host_waits: BTreeMap<StoreId, BTreeSet<StoreId>>,
    /// Stores on their way to READY for the first time.
    requested: BTreeMap<StoreId, Requested>,
    /// What the shops themselves answer.
    asking: Asking,
    /// Stores at a step on their way to READY.
    waits: Waits,
    /// Stores whose objects somebody else changes again and again.
    fights: Fights,
    /// Stores that are paused or wait for their change window.
    holds: Holds,
    /// Until when the API server wants no request.
    held_until: Option<Instant>,
    /// New stores, where the operator caps the fleet.
    gate: Gate,
    /// Stores without a file, as far as this process knows more of them than the cluster shows.
    absent: Absent,
    /// Asks for a look at the repository now.
    look: UnboundedSender<()>,
    /// What becomes of commits.
    verdicts: Verdicts,
    /// Tells what happens.
    chronicle: Chronicle,
    /// What the planner of pull requests is shown, if there is one.
    scenes: Option<watch::Sender<Option<Scene>>>,
    /// How many looks somebody asked for.
    nudges: u64,
    /// What people last wrote on namespaces to have their stores looked at.
    requests: BTreeMap<StoreId, String>,
    /// Which stores this replica keeps.
    sharing: Sharing,
    /// Stores of other clusters whose files are wrong, and of which nothing is here: their daemons tell of them.
    overlooked: BTreeSet<StoreId>,
}

impl Daemon {
    /// Makes a daemon that has seen nothing yet.
    fn new(
        context: Context,
        board: Board,
        metrics: Metrics,
        chance: Chance,
        look: UnboundedSender<()>,
        verdicts: Verdicts,
        chronicle: Chronicle,
    ) -> Self {
        Self {
            context,
            board,
            metrics,
            places: Places { fast: 1, slow: SLOW_PLACES },
            queue: Queue::default(),
            runs: Runs::default(),
            snapshot: None,
            accepted: BTreeMap::new(),
            removals: Removals::default(),
            first_pass: BTreeSet::new(),
            is_ready: false,
            census: Census::default(),
            host_waits: BTreeMap::new(),
            requested: BTreeMap::new(),
            asking: Asking::new(None, Arc::clone(&chance)),
            waits: Waits::default(),
            fights: Fights::default(),
            holds: Holds::default(),
            held_until: None,
            gate: Gate::new(Caps::default()),
            absent: Absent::default(),
            look,
            verdicts,
            chronicle,
            scenes: None,
            nudges: 0,
            requests: BTreeMap::new(),
            sharing: Sharing::default(),
            overlooked: BTreeSet::new(),
            chance,
        }
    }

    async fn work(
        &mut self,
        changes: &Changes,
        mut sighted: UnboundedReceiver<Looked>,
        retries: &mut UnboundedReceiver<()>,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) {
        let pace = self.context.cluster.pace().clone();
        let mut paced = pace.reports();
        self.on_pace(*paced.borrow_and_update());
        loop {
            let now = Instant::now();
            self.mark_due(now);
            self.tend_runs(now);
            self.start_runs();
            self.asking.start(&self.context.cluster, now);
            let due = self.next_due().map(tokio::time::Instant::from_std);
            tokio::select! {
                () = &mut stop => break,
                stores = changes.next() => {
                    for store in stores {
                        self.on_change(&store);
                    }
                }
                looked = sighted.recv() => {
                    let Some(looked) = looked else {
                        // Never in a sound program; git would be followed no more, without a word.
                        tracing::error!("the follower of the repository has ended; stopping");
                        break;
                    };
                    self.on_sighting(looked);
                }
                Some(()) = retries.recv() => {
                    tracing::info!("asked to look and to try everything again");
                    self.queue.retry_all();
                }
                finished = self.runs.next(|| pace.held()) => self.on_finished(finished),
                Ok(()) = paced.changed() => {
                    let report = *paced.borrow_and_update();
                    self.on_pace(report);
                }
                asked = self.asking.next() => self.on_asked(asked),
                stir = self.sharing.changed() => self.on_stir(stir),
                () = sleep_until(due), if due.is_some() => {}
            }
        }
        self.stop().await;
    }

    /// Does what time alone brings.
    fn mark_due(&mut self, now: Instant) {
        if self.held_until.is_some_and(|until| until <= now) {
            self.show_hold(now);
        }
        if self.absent.planning.next_due().is_some_and(|due| due <= now) {
            self.plan_removals();
        }
        for store in self.absent.exits.take_due(now) {
            self.queue.mark(&store);
        }
        for store in self.waits.take_due(now) {
            self.queue.mark_routine(&store);
        }
        while let Some(store) = self.fights.take_due(now) {
            self.queue.mark_routine(&store);
        }
        self.end_holds(now);
        if self.gate.next_due().is_some_and(|due| due <= now) {
            self.open_gate(now);
        }
        if self.verdicts.next_check.is_some_and(|due| due <= now) {
            self.end_verdicts();
        }
    }

    /// When something is to be done though nothing moves.
    fn next_due(&self) -> Option<Instant> {
        let due = [
            self.queue.next_due(),
            self.runs.next_due(),
            self.asking.next_due(),
            self.waits.next_due(),
            self.fights.next_due(),
            self.absent.exits.next_due(),
            self.absent.planning.next_due(),
            self.held_until,
            self.holds.next_due(),
            self.gate.next_due(),
            self.verdicts.next_check,
        ];
        due.into_iter().flatten().min()
    }

    async fn stop(&mut self) {
        tracing::info!(runs = self.runs.len(), "stopping: no new work is taken");
        if tokio::time::timeout(STOP_GRACE, self.runs.finish()).await.is_err() {
            tracing::warn!(
                runs = self.runs.len(),
                "runs under way are abandoned; the next start continues them"
            );
            self.runs.abandon().await;
        }
    }

    /// Moves runs that take long to the slow lane, and ends those whose time is up.
    fn tend_runs(&mut self, now: Instant) {
        let held = self.context.cluster.pace().held();
        while let Some((store, due)) = self.runs.take_due(now, held) {
            match due {
                Due::SlowDown if self.queue.slow_down(&store, self.places) => {}
                Due::SlowDown => self.runs.cut(&store, Cut::NoPlace),
                Due::Cut(cut) => self.runs.cut(&store, cut),
            }
        }
    }

    fn start_runs(&mut self) {
        if self.snapshot.is_none() {
            return;
        }
        while let Some(Turn { store, lane, urgency, waited }) = self.queue.take(Instant::now(), self.places) {
            self.metrics.waited_for_run(urgency.why(), waited);
            let wish = self.wish(&store);
            let pass = self.context.cluster.fence().enter(&store);
            let keeper = pass.is_none().then(|| self.sharing.told_by_keeper(&store));
            let memory = Memory { keeper, ..self.memory(&store) };
            if pass.is_some() {
                self.show_beginning(&store, &wish);
            }
            self.runs.start(&self.context, store, wish, memory, (lane == Lane::Fast, pass));
        }
        self.show_runs();
        if self.first_pass.is_empty() && !self.is_ready {
            self.is_ready = true;
            self.metrics.first_pass_finished();
            self.board.update(|picture| picture.fleet.ready = true);
        }
    }

    fn show_runs(&self) {
        for lane in [Lane::Fast, Lane::Slow] {
            self.metrics.set_runs(lane == Lane::Slow, self.queue.under_way(lane));
        }
        let [changed, moved, routine] = Urgency::ALL.map(|urgency| self.queue.waiting(urgency));
        self.metrics.set_waiting_for_run(changed, moved, routine);
    }

    /// What was learnt of a store until now.
    fn memory(&mut self, store: &StoreId) -> Memory {
        let state = self.board.reader().read(|picture| picture.stores.get(store).map(|report| report.state));
        let wait = self.waits.of(store, Instant::now());
        Memory {
            state: self.holds.health(store).or(state).unwrap_or(StoreState::Requested),
            probed: self.asking.probed(store),
            waited: wait.waited,
            symptoms: wait.symptoms,
            look_closer: wait.look_closer,
            leaving: self.absent.exits.of(store),
            withhold_healing: self.fights.withholds(store, Instant::now()),
            moved_to: self.snapshot.as_ref().and_then(|snapshot| snapshot.elsewhere.get(store).cloned()),
            keeper: None,
        }
    }

    /// A store that is not in the cluster yet is being provisioned from now on.
    fn show_beginning(&mut self, store: &StoreId, wish: &Wish) {
        let new = matches!(wish, Wish::Present { hold: None, .. })
            && self.context.cluster.namespace(store).is_none();
        let now = (self.context.surroundings.clock)();
        let census = &mut self.census;
        let reason = "namespace: applying its objects";
        let (state, step) = (StoreState::Provisioning, Some(Step::Namespace));
        let begins = self.board.update(|picture| {
            let report = picture.stores.get_mut(store).filter(|it| new && it.state == StoreState::Requested);
            let Some(report) = report else { return false };
            census.moves(Some(report.state), Some(state));
            report.enter(state, reason.to_owned(), now);
            report.step = step;
            true
        });
        if begins {
            let finding = Finding { state, step, reason, is_new: true, was_ready: false, took: None };
            self.tell_finding(store, wish, &finding);
        }
    }

    fn on_change(&mut self, store: &StoreId) {
        self.note_namespace(store);
        self.note_request(store);
        if let Some(waiting) = self.host_waits.remove(store) {
            for store in waiting {
                self.queue.mark_fresh(&store);
            }
        }
        // Namespaces of others are none of our business as long as git does not ask for their names.
        let named = self.snapshot.as_ref().is_some_and(|snapshot| snapshot.stores.contains_key(store));
        let named = named && !self.overlooked.contains(store);
        let shown = self.board.reader().read(|picture| picture.stores.contains_key(store));
        let known = named || shown || self.context.cluster.is_ours(store);
        if known && self.fights.lets(store, Instant::now()) {
            self.queue.mark_moved(store, Instant::now());
        }
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}
