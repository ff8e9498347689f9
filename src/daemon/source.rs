//! Follows the watched repository: fetches when asked or when time is up, reads the newest commit, and tells
//! what it found. A commit that can't be used, or a repository that can't be reached, is told as frozen and
//! changes nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Chance;
use crate::chart::Chart;
use crate::git::{self, GitError, Mirror, ReadLimits, SourceSettings};
use crate::metrics::{GitFetch, Metrics};
use crate::names::{Host, StoreId};
use crate::store::{self, Freeze, RepositoryTree, Snapshot};

/// How far chance moves a poll, so that many daemons do not poll a forge in step.
const JITTER: f64 = 0.1;

/// The wait after the first failed fetch; it doubles up to the poll interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// What the source has to say.
#[derive(Debug)]
pub(super) enum Sighting {
    /// A usable commit, newer or older than the last one told.
    Snapshot(Arc<Snapshot>),
    /// The last good commit of an earlier run, and why nothing newer can be used. One message: a snapshot that is
    /// not known to be frozen would have its removals carried out.
    LastGood(Arc<Snapshot>, String),
    /// The newest state can't be used, and why.
    Frozen(String),
    /// The newest state is what was told last.
    Unchanged,
}

/// How the repository is followed.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Where it is and how to log in.
    pub settings: SourceSettings,
    /// The folder for the mirror.
    pub mirror: PathBuf,
    /// How often it is asked for news when nobody nudges.
    pub poll: Duration,
}

/// Follows the repository until nobody listens any more.
pub(super) struct Follower {
    pub(super) options: SourceOptions,
    /// Opened at the first look that can, and locked for this process from then on.
    pub(super) mirror: Arc<OnceLock<Mirror>>,
    pub(super) chart: Arc<Chart>,
    pub(super) metrics: Metrics,
    pub(super) chance: Chance,
    /// Which store holds which host in the cluster now.
    pub(super) incumbents: Arc<dyn Fn() -> BTreeMap<Host, StoreId> + Send + Sync>,
    pub(super) sightings: UnboundedSender<Sighting>,
}

impl Follower {
    pub(super) async fn follow(self) {
        let (nudge, mut nudges) = unbounded_channel();
        let _watch = self.watch_local(nudge);
        let (mut told, mut failures) = (None, 0);
        loop {
            let sighting = self.look(&mut told).await;
            let failed = matches!(sighting, Sighting::Frozen(_) | Sighting::LastGood(..));
            failures = if failed { failures + 1 } else { 0 };
            if self.sightings.send(sighting).is_err() {
                return;
            }
            self.pause(failures, &mut nudges).await;
        }
    }

    /// A local repository is watched, so that a push to it is seen at once.
    fn watch_local(&self, nudge: UnboundedSender<()>) -> Option<git::LocalWatch> {
        let path = self.options.settings.url.local_path()?;
        let on_change = move || {
            let _ = nudge.send(());
        };
        git::watch_local(path, on_change)
            .inspect_err(|error| tracing::warn!(%error, "the repository is polled only"))
            .ok()
    }

    async fn pause(&self, failures: u32, nudges: &mut UnboundedReceiver<()>) {
        let poll = self.options.poll;
        let wait = match failures {
            0 => poll,
            _ => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(poll),
        };
        let wait = wait.mul_f64(1.0 + JITTER * (2.0 * (self.chance)() - 1.0));
        let nudged = tokio::select! {
            () = tokio::time::sleep(wait) => false,
            nudge = nudges.recv() => nudge.is_some(),
        };
        if nudged {
            while nudges.try_recv().is_ok() {}
        } else if nudges.is_closed() {
            // Nobody can nudge: `recv` answered at once, the wait is still to be waited.
            tokio::time::sleep(wait).await;
        }
    }

    /// Looks once, on a thread where blocking is allowed.
    async fn look(&self, told: &mut Option<String>) -> Sighting {
        let (mirror, chart) = (Arc::clone(&self.mirror), Arc::clone(&self.chart));
        let (options, incumbents, before) = (self.options.clone(), (self.incumbents)(), told.clone());
        let task = tokio::task::spawn_blocking(move || {
            let mirror = open(&mirror, &options).map_err(|error| failed(&error))?;
            look(mirror, &chart, &incumbents, before.as_deref())
        });
        let found =
            task.await.unwrap_or_else(|broken| Err(format!("reading the repository broke off: {broken}")));
        self.count(&found);
        match found {
            Ok(Look::Unchanged) => Sighting::Unchanged,
            Ok(Look::Snapshot { snapshot, committed }) => {
                self.metrics.set_git_observed_commit(committed);
                *told = Some(snapshot.revision.to_string());
                Sighting::Snapshot(snapshot)
            }
            Ok(Look::Fallback { snapshot, reason }) => {
                // Not the revision: when the repository is back, whatever it has is news.
                *told = Some(String::new());
                Sighting::LastGood(snapshot, reason)
            }
            Err(reason) => Sighting::Frozen(reason),
        }
    }

    fn count(&self, found: &Result<Look, String>) {
        let result = match found {
            Ok(Look::Unchanged) => GitFetch::Unchanged,
            Ok(Look::Snapshot { .. }) => GitFetch::Changed,
            Ok(Look::Fallback { .. }) | Err(_) => GitFetch::Failed,
        };
        self.metrics.git_fetched(result);
        self.metrics.set_git_frozen(result == GitFetch::Failed);
    }
}

fn open<'a>(mirror: &'a OnceLock<Mirror>, options: &SourceOptions) -> Result<&'a Mirror, GitError> {
    if let Some(mirror) = mirror.get() {
        return Ok(mirror);
    }
    let opened = Mirror::open(&options.mirror, options.settings.clone())?;
    Ok(mirror.get_or_init(|| opened))
}

enum Look {
    Unchanged,
    Snapshot {
        snapshot: Arc<Snapshot>,
        committed: i64,
    },
    /// The newest state is unusable, but an earlier run remembered a good commit.
    Fallback {
        snapshot: Arc<Snapshot>,
        reason: String,
    },
}

/// Fetches and reads. `before` is the commit told last; none at the start.
fn look(
    mirror: &Mirror,
    chart: &Chart,
    incumbents: &BTreeMap<Host, StoreId>,
    before: Option<&str>,
) -> Result<Look, String> {
    let newest = fetch_and_read(mirror, chart, incumbents, before);
    match newest {
        Ok(look) => Ok(look),
        Err(reason) if before.is_some() => Err(reason),
        Err(reason) => match last_good(mirror, chart, incumbents) {
            Some(snapshot) => Ok(Look::Fallback { snapshot, reason }),
            None => Err(reason),
        },
    }
}

fn fetch_and_read(
    mirror: &Mirror,
    chart: &Chart,
    incumbents: &BTreeMap<Host, StoreId>,
    before: Option<&str>,
) -> Result<Look, String> {
    let head = mirror.fetch().map_err(|error| failed(&error))?;
    if before == Some(head.commit.as_str()) {
        return Ok(Look::Unchanged);
    }
    let snapshot = read(mirror, &head.commit, chart, incumbents)?;
    mirror.mark_good(&head.commit).map_err(|error| failed(&error))?;
    let info = mirror.commit_info(&head.commit).map_err(|error| failed(&error))?;
    let committed = info.time.duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    tracing::info!(
        git.commit = %head.commit, git.author = %info.author, git.subject = %info.subject, git.forced = head.forced,
        stores = snapshot.stores.len(), "a new commit is in force"
    );
    Ok(Look::Snapshot { snapshot: Arc::new(snapshot), committed: i64::try_from(committed).unwrap_or(0) })
}

fn last_good(mirror: &Mirror, chart: &Chart, incumbents: &BTreeMap<Host, StoreId>) -> Option<Arc<Snapshot>> {
    let commit = mirror.last_good().ok()??;
    let snapshot = read(mirror, &commit, chart, incumbents).ok()?;
    tracing::warn!(git.commit = %commit, "the last good commit stays in force");
    Some(Arc::new(snapshot))
}

fn read(
    mirror: &Mirror,
    commit: &str,
    chart: &Chart,
    incumbents: &BTreeMap<Host, StoreId>,
) -> Result<Snapshot, String> {
    let files = mirror.read(commit, &store::wants, &ReadLimits::default()).map_err(|error| failed(&error))?;
    let revision = commit.parse().map_err(|error| format!("failed to read commit {commit}: {error}"))?;
    let tree = RepositoryTree { revision, files };
    snapshot(&tree, chart, incumbents).map_err(|freeze| format!("commit {commit} can't be used: {freeze}"))
}

/// Reads a tree with the value files of this chart.
pub fn snapshot(
    tree: &RepositoryTree,
    chart: &Chart,
    incumbents: &BTreeMap<Host, StoreId>,
) -> Result<Snapshot, Freeze> {
    store::read(tree, &|path| chart.file(path), incumbents, &store::Limits::default())
}

fn failed(error: &GitError) -> String {
    format!("failed to {error}")
}
