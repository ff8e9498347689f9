//! The command line: arguments and environment become settings, settings become edges, edges a daemon. The only
//! place that reads the environment, the clock and the system's randomness.

mod arguments;
mod charts;
mod door;
mod forge;
mod journal;
mod lease;
mod lines;
mod output;
mod panics;
mod traces;
mod trust;
mod workdir;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::chart::{Chart, RenderError, Snippet};
use crate::cluster::{Changes, Cluster, ClusterSettings};
use crate::daemon::{self, Inside, Settings, SourceOptions, Trigger, Triggers};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::names::StoreId;
use crate::preview::{self, Outlook};
use crate::reconcile::{self, ChartCache, Past, RenderFailure, Surroundings};
use crate::report::{Bell, Board, History, PlanVerdict, Plans, StepTimeouts};
use crate::store::{Limits, Scope, Snapshot, StoreEntry};
use crate::web::{self, Inspector, Sources};

use arguments::{Arguments, Command, PlanArguments, RenderArguments, RunArguments, SchemaKind};
use traces::Traces;

/// How long threads that block may take to end when the process does.
const LAST_GRACE: Duration = Duration::from_millis(500);

/// Runs the command line; the error fits "failed to {error}".
pub fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    // What the workers do is to wait for answers, and renderings have threads of their own: with more of them than that,
    // they spend their time on waking each other.
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(workers).enable_all().build().context("start the runtime")?;
    let code = match arguments.command {
        Command::Run(arguments) => runtime.block_on(run(*arguments)),
        Command::Plan(arguments) => runtime.block_on(plan(arguments)),
        Command::Render(arguments) => runtime.block_on(render(arguments)),
        Command::Replicas(arguments) => runtime.block_on(arguments.run()),
        Command::Acknowledge(arguments) => arguments.run().map(|()| ExitCode::SUCCESS),
        Command::Journal(command) => runtime.block_on(command.run()),
        Command::Schema { kind } => schema(kind),
    };
    // A fetch from a silent remote blocks its thread for up to its time-out: nobody waits for it.
    runtime.shutdown_timeout(LAST_GRACE);
    code
}

async fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let traces = Traces::from_environment()?;
    output::log_to_stderr(arguments.log_format, traces.as_ref());
    panics::log_panics();
    let result = Box::pin(run_until_stopped(arguments)).await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    result
}

async fn run_until_stopped(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let charts = arguments.charts()?;
    let source = arguments.source_options()?;
    let (asking, timeouts, removals) = (arguments.asking()?, arguments.timeouts(), arguments.removals());
    let listener = arguments.web.listener().await?;
    log_start(&listener, &source, &charts)?;
    let (bell, metrics) = (Bell::default(), Metrics::new());
    let (board, history, plans) = books(&bell);
    let (trigger, triggers) = Triggers::new();
    let cluster = arguments.cluster.settings()?;
    let own = cluster.source.cluster().cloned();
    let telling = arguments.forge.telling(&source.settings.url, surroundings().clock, plans.clone(), own)?;
    let (leases, caps, inside) = (arguments.leases.settings()?, arguments.caps(), Inside::default());
    let process = process_number();
    let journal = arguments.journal(&format!("{process:016x}"))?;
    let sources = Sources {
        board: board.reader(),
        metrics: metrics.reader(),
        plans: plans.reader(),
        history: history.reader(),
        older: journal.reader(),
        journal_first: leases.is_some() && journal.may_be_shared(),
        inspect: inspector(inside.clone()),
        links: arguments.forge.links(&source.settings.url, &source.settings.branch),
        clock: seconds_now,
        process,
    };
    metrics.show_stores(board.reader(), arguments.web.metrics_stores_max);
    let (door, inner) = (arguments.web.door(metrics.door())?, arguments.web.inner_listener().await?);
    let probes = web::inner_router(&sources);
    let router =
        door.guard(web::router(sources, &bell, arguments.forge.deliveries(trigger.clone(), &metrics)));
    let stopped = heed_signals(trigger)?;
    let doors = [Some((listener, router)), inner.map(|inner| (inner, probes))];
    let serve = |(listener, router)| {
        tokio::spawn(web::serve(listener, router, door.clone(), when_stopped(stopped.clone())))
    };
    let serving: Vec<_> = doors.into_iter().flatten().map(serve).collect();
    let settings = Settings {
        cluster,
        source,
        charts,
        concurrency: arguments.concurrency,
        surroundings: surroundings(),
        asking,
        timeouts,
        caps,
        removals,
        journal,
        history,
        telling,
        triggers,
        inside,
        leases,
    };
    daemon::run(settings, board, metrics, when_stopped(stopped)).await?;
    futures::future::try_join_all(serving).await.context("stop serving")?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Returns what is shown, empty yet; all of it rings one bell.
fn books(bell: &Bell) -> (Board, History, Plans) {
    (Board::new(bell.clone()), History::new(bell.clone()), Plans::new(bell.clone()))
}

/// Says what begins, and where it listens.
fn log_start(listener: &TcpListener, source: &SourceOptions, charts: &ChartCache) -> anyhow::Result<()> {
    tracing::info!(
        address = %listener.local_addr().context("ask for the address listened on")?,
        repository = %source.settings.url, branch = %source.settings.branch, chart = charts.built_in().name(),
        "storekeeper {} starts", env!("CARGO_PKG_VERSION")
    );
    Ok(())
}

/// Resolves when the word to stop comes.
async fn when_stopped(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Lets pages look into stores' namespaces.
fn inspector(inside: Inside) -> Inspector {
    Arc::new(move |store| {
        let inside = inside.clone();
        Box::pin(async move { inside.inspect(&store).await })
    })
}

/// Makes a number that no other process has.
fn process_number() -> u64 {
    let mut bytes = [0; 8];
    (surroundings().entropy)(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Turns SIGTERM and SIGINT into the returned word to stop, and SIGHUP into a look and a try of everything that failed.
fn heed_signals(trigger: Trigger) -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                Some(()) = hangup.recv() => trigger.retry(),
            }
        }
        let _ = stop.send(true);
    });
    Ok(stopped)
}

async fn plan(arguments: PlanArguments) -> anyhow::Result<ExitCode> {
    output::log_to_stderr(arguments.log_format, None);
    let charts = arguments.chart.charts(None)?;
    let chart = Arc::clone(charts.built_in());
    let settings: ClusterSettings = arguments.cluster.settings()?;
    let source = settings.source.clone();
    let cluster = Cluster::connect(settings, Changes::default()).await?;
    cluster.start_watching().await?;
    let incumbents = cluster.incumbents();
    let scope = Scope::Cluster(source.cluster().cloned());
    let read = |folder: &Path| read_folder(folder, &chart, &incumbents, &scope);
    let (snapshot, base) = (read(&arguments.folder)?, arguments.base.as_deref().map(read).transpose()?);
    let timeouts = StepTimeouts::default();
    // A folder on disk has no commits to go back to.
    let past = Past::new(Arc::default(), chart);
    // A plan deletes nothing, and what the daemon deleted lately is known to the daemon.
    let ledger = Ledger::new(std::path::PathBuf::new());
    let context =
        reconcile::Context { cluster, charts, source, surroundings: surroundings(), timeouts, ledger, past };
    let outlook = Outlook { fields: !arguments.fast, ..Outlook::new(seconds_now()) };
    let plan = preview::proposal(&context, base.as_ref(), &snapshot, &outlook).await;
    output::print_plan(&plan, arguments.output)?;
    Ok(match plan.verdict {
        PlanVerdict::Nothing => ExitCode::SUCCESS,
        PlanVerdict::Changes => ExitCode::from(1),
        PlanVerdict::Wrong => ExitCode::from(2),
        PlanVerdict::Blocked => ExitCode::from(3),
    })
}

async fn render(arguments: RenderArguments) -> anyhow::Result<ExitCode> {
    let charts = arguments.chart.charts(None)?;
    let snapshot = read_folder(&arguments.folder, charts.built_in(), &BTreeMap::new(), &Scope::All)?;
    let id: StoreId = arguments.store.parse().context("understand the name of the store")?;
    let store = match snapshot.stores.get(&id) {
        Some(StoreEntry::Accepted(store)) => store,
        Some(StoreEntry::Rejected(problems)) => {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            anyhow::bail!("read the file of store {id}:\n  {}", problems.join("\n  "));
        }
        None => {
            let known: Vec<_> = snapshot.stores.keys().map(StoreId::as_str).collect();
            anyhow::bail!(
                "find store {id} in {}: there are {}",
                arguments.folder.display(),
                known.join(", ")
            );
        }
    };
    let rendered =
        reconcile::render_offline(&charts, store, &arguments.capabilities()?, &surroundings()).await;
    let rendered = rendered.map_err(|error| match error {
        RenderFailure::Chart(error) => with_line(error, RenderError::snippet),
        error => error.into(),
    })?;
    let hooks = rendered.hooks.iter().map(|hook| (hook.template.clone(), hook.value.clone()));
    let all: Vec<_> = rendered.objects.into_iter().chain(hooks).collect();
    output::print_objects(&all)?;
    Ok(ExitCode::SUCCESS)
}

fn schema(kind: Option<SchemaKind>) -> anyhow::Result<ExitCode> {
    output::print_schema(kind)?;
    Ok(ExitCode::SUCCESS)
}

fn read_folder(
    folder: &Path,
    chart: &Chart,
    incumbents: &BTreeMap<crate::names::Host, StoreId>,
    scope: &Scope,
) -> anyhow::Result<Snapshot> {
    let tree = workdir::read(folder, &Limits::default())
        .with_context(|| format!("read the repository in {}", folder.display()))?;
    daemon::snapshot(&tree, chart, incumbents, scope)
        .with_context(|| format!("understand the repository in {}", folder.display()))
}

/// Puts the line of a template below what is wrong with it.
fn with_line<E>(error: E, line: impl Fn(&E) -> Option<&Snippet>) -> anyhow::Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    match line(&error) {
        Some(snippet) => anyhow::anyhow!("{error}\n  {}\n  {}", snippet.text(), snippet.mark()),
        None => error.into(),
    }
}

fn seconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn surroundings() -> Surroundings {
    let entropy = |bytes: &mut [u8]| {
        // Without randomness no secret may be made: better no daemon than a guessable password.
        getrandom::fill(bytes).expect("the system gives random bytes");
    };
    Surroundings { clock: Arc::new(seconds_now), entropy: Arc::new(entropy) }
}
