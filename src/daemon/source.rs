//! Follows the watched repository: fetches when asked or when time is up, reads the newest commit, and tells
//! what it found. A commit that can't be used, or a repository that can't be reached, is told as frozen and
//! changes nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::Chance;
use super::trust::{Belief, Trust, TrustOptions};
use crate::chart::Chart;
use crate::git::{self, Auth, Blobs, CommitInfo, GitError, Mirror, ReadLimits, Secret, SourceSettings};
use crate::metrics::{GitFetch, Metrics, Transfer};
use crate::names::{Host, StoreId};
use crate::store::{self, Freeze, KnownFiles, Listing, RepositoryTree, Revision, Scope, Snapshot};

/// How far chance moves a poll, so that many daemons do not poll a forge in step.
const JITTER: f64 = 0.1;

/// The wait after the first failed fetch; it doubles up to the poll interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// A look at the repository that has ended.
#[derive(Debug)]
pub(super) struct Looked {
    /// When it began.
    pub(super) began: Instant,
    /// What it found on the branch.
    pub(super) sighting: Sighting,
    /// Where the pull requests are, by number, closed ones too; none when the remote was not listed. The same
    /// allocation as long as nothing of it changed.
    pub(super) pulls: Option<PullHeads>,
    /// Who made the newest commit; none when that was not found out.
    pub(super) belief: Option<Belief>,
    /// Whether somebody asked for it, as a webhook does.
    pub(super) nudged: bool,
}

/// The heads of pull requests, by number.
pub(super) type PullHeads = Arc<BTreeMap<u64, String>>;

/// What the source has to say.
#[derive(Debug)]
pub(super) enum Sighting {
    /// A usable commit, newer or older than the last one told.
    Snapshot(Arc<Snapshot>, Arrival),
    /// The last good commit of an earlier run, and why nothing newer can be used. One message: a snapshot that is
    /// not known to be frozen would have its removals carried out.
    LastGood(Arc<Snapshot>, Frozen),
    /// The newest state can't be used, and why.
    Frozen(Frozen),
    /// The newest state is what was told last.
    Unchanged,
}

/// Why the newest state can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frozen {
    /// The commit that can't be used or is not believed; none when no commit is at fault.
    pub(super) commit: Option<String>,
    /// Why, and what to do.
    pub(super) reason: String,
    /// Who made that commit and why, as far as it can be read.
    pub(super) info: Option<Box<CommitInfo>>,
}

impl Frozen {
    /// No commit is at fault.
    pub(super) fn without_commit(reason: String) -> Self {
        Self { commit: None, reason, info: None }
    }

    pub(super) fn by(commit: &str, reason: String) -> Self {
        Self { commit: Some(commit.to_owned()), reason, info: None }
    }
}

impl From<GitError> for Frozen {
    fn from(error: GitError) -> Self {
        Self::without_commit(failed(&error))
    }
}

/// How a commit came.
#[derive(Debug)]
pub(super) struct Arrival {
    /// When all of it had been fetched.
    pub(super) fetched: Instant,
    /// How long it took from then on until it had been read.
    pub(super) read: Duration,
    /// Who made it and why.
    pub(super) info: CommitInfo,
    /// Whether it replaced history.
    pub(super) forced: bool,
    /// How many of its files under `stores/` had to be read; all others were known.
    pub(super) parsed: usize,
    /// At the first look, what an earlier process had in force last, if that can be read still.
    pub(super) before: Option<Arc<Snapshot>>,
    /// The same by the mirror's word, where the journal does not tell.
    pub(super) good: Option<Arc<Snapshot>>,
}

/// How the repository is followed.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Where it is and how to log in.
    pub settings: SourceSettings,
    /// The file that the login's token comes from: read before each fetch, for tokens that rotate.
    pub token_file: Option<PathBuf>,
    /// The folder for the mirror.
    pub mirror: PathBuf,
    /// The folder for what pull requests hold.
    pub pulls: PathBuf,
    /// How often it is asked for news when nobody nudges.
    pub poll: Duration,
    /// Whose commits are believed.
    pub trust: TrustOptions,
}

/// Follows the repository until nobody listens any more.
pub(super) struct Follower {
    pub(super) options: SourceOptions,
    /// Opened at the first look that can, and locked for this process from then on.
    pub(super) mirror: Arc<OnceLock<Mirror>>,
    pub(super) chart: Arc<Chart>,
    pub(super) metrics: Metrics,
    pub(super) clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    pub(super) chance: Chance,
    pub(super) incumbents: Incumbents,
    /// The commit that an earlier process had in force last.
    pub(super) base: Option<String>,
    /// What the files of the branch say; clones of it read pull requests.
    pub(super) known: Arc<Mutex<KnownFiles>>,
    /// What each look found.
    pub(super) sightings: UnboundedSender<Looked>,
}

/// Tells which store holds which host in the cluster now.
pub(super) type Incumbents = Arc<dyn Fn() -> BTreeMap<Host, StoreId> + Send + Sync>;

/// Reads the commits of one repository, each by what it changes.
struct Reading {
    mirror: Arc<OnceLock<Mirror>>,
    options: SourceOptions,
    chart: Arc<Chart>,
    incumbents: Incumbents,
    known: Arc<Mutex<KnownFiles>>,
    trust: Trust,
    metrics: Metrics,
    clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// What the remote listed at this look; none when it did not.
    pulls: Option<PullHeads>,
    /// The commit that an earlier process had in force last; none once it has been read.
    base: Option<String>,
    /// Who made the newest commit, as far as this look found out.
    belief: Option<Belief>,
}

impl Follower {
    /// Who asks by `nudges` gets a look that begins after that; `nudge` is their other end.
    pub(super) async fn follow(self, nudge: UnboundedSender<()>, mut nudges: UnboundedReceiver<()>) {
        let _watch = self.watch_local(nudge);
        let (mut told, mut failures, mut nudged) = (None, 0, false);
        let reading = Arc::new(Mutex::new(self.reading()));
        loop {
            let began = Instant::now();
            let (sighting, pulls, belief) = self.look(&reading, &mut told).await;
            let failed = matches!(sighting, Sighting::Frozen(_) | Sighting::LastGood(..));
            failures = if failed { failures + 1 } else { 0 };
            if self.sightings.send(Looked { began, sighting, pulls, belief, nudged }).is_err() {
                return;
            }
            nudged = self.pause(failures, &mut nudges).await;
        }
    }

    fn reading(&self) -> Reading {
        Reading {
            mirror: Arc::clone(&self.mirror),
            options: self.options.clone(),
            chart: Arc::clone(&self.chart),
            incumbents: Arc::clone(&self.incumbents),
            known: Arc::clone(&self.known),
            trust: Trust::new(self.options.trust.clone(), Arc::clone(&self.clock), self.metrics.clone()),
            metrics: self.metrics.clone(),
            clock: Arc::clone(&self.clock),
            pulls: None,
            base: self.base.clone(),
            belief: None,
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

    /// Waits until the next look; returns whether somebody asked for it.
    async fn pause(&self, failures: u32, nudges: &mut UnboundedReceiver<()>) -> bool {
        let poll = self.options.poll;
        let wait = match failures {
            0 => poll,
            _ => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(poll),
        };
        let wait = wait.mul_f64(1.0 + JITTER * (2.0 * (self.chance)() - 1.0));
        // The daemon may nudge for as long as it runs.
        let nudged = tokio::time::timeout(wait, nudges.recv()).await.is_ok();
        while nudges.try_recv().is_ok() {}
        nudged
    }

    /// Looks once, on a thread where blocking is allowed.
    async fn look(
        &self,
        reading: &Arc<Mutex<Reading>>,
        told: &mut Option<String>,
    ) -> (Sighting, Option<PullHeads>, Option<Belief>) {
        let (reading, before) = (Arc::clone(reading), told.clone());
        let look = move || {
            // A look that panicked leaves files unread, which the next one reads.
            let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
            let found = reading.look(before.as_deref());
            (found, reading.pulls.take(), reading.belief.take())
        };
        let (found, pulls, belief) = tokio::task::spawn_blocking(look).await.unwrap_or_else(|broken| {
            let reason = format!("reading the repository broke off: {broken}");
            (Err(Frozen::without_commit(reason)), None, None)
        });
        self.count(&found);
        let sighting = match found {
            Ok(Look::Unchanged) => Sighting::Unchanged,
            Ok(Look::Snapshot { snapshot, arrival }) => {
                let committed = arrival.info.time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
                self.metrics.set_git_observed_commit(i64::try_from(committed).unwrap_or(0));
                *told = Some(snapshot.revision.to_string());
                Sighting::Snapshot(snapshot, arrival)
            }
            Ok(Look::Fallback { snapshot, frozen }) => {
                // Not the revision: when the repository is back, whatever it has is news.
                *told = Some(String::new());
                Sighting::LastGood(snapshot, frozen)
            }
            Err(frozen) => Sighting::Frozen(frozen),
        };
        (sighting, pulls, belief)
    }

    fn count(&self, found: &Result<Look, Frozen>) {
        let result = match found {
            Ok(Look::Unchanged) => GitFetch::Unchanged,
            Ok(Look::Snapshot { .. }) => GitFetch::Changed,
            Ok(Look::Fallback { .. }) | Err(_) => GitFetch::Failed,
        };
        self.metrics.git_fetched(result);
        self.metrics.set_git_frozen(result == GitFetch::Failed);
    }
}

enum Look {
    Unchanged,
    Snapshot {
        snapshot: Arc<Snapshot>,
        arrival: Arrival,
    },
    /// The newest state is unusable, but an earlier run remembered a good commit.
    Fallback {
        snapshot: Arc<Snapshot>,
        frozen: Frozen,
    },
}

impl Reading {
    /// Fetches and reads. `before` is the commit told last; none at the start.
    fn look(&mut self, before: Option<&str>) -> Result<Look, Frozen> {
        let _span = tracing::debug_span!("git.look").entered();
        (self.pulls, self.belief) = (None, None);
        let mirror = Arc::clone(&self.mirror);
        let mirror = open(&mirror, &self.options)?;
        let found = self.fetch_and_read(mirror, before).map_err(|frozen| {
            let info = frozen.commit.as_deref().and_then(|commit| mirror.commit_info(commit).ok());
            Frozen { info: info.map(Box::new), ..frozen }
        });
        match found {
            Ok(look) => Ok(look),
            Err(frozen) if before.is_some() => Err(frozen),
            Err(frozen) => match self.last_good(mirror) {
                Some(snapshot) => Ok(Look::Fallback { snapshot, frozen }),
                None => Err(frozen),
            },
        }
    }

    fn fetch_and_read(&mut self, mirror: &Mirror, before: Option<&str>) -> Result<Look, Frozen> {
        self.renew_token(mirror).map_err(Frozen::without_commit)?;
        let head = self.fetch(mirror)?;
        let fetched = Instant::now();
        self.pulls = Some(Arc::clone(&head.pulls));
        self.belief = Some(self.trust.judge(mirror, &head.commit)?);
        if before == Some(head.commit.as_str()) {
            return Ok(Look::Unchanged);
        }
        // First the older one: what it shares with the newer one is then known.
        let base = self.base.take().and_then(|base| self.read(mirror, &base).ok());
        let is_first = before.is_none() && base.is_none();
        let good = is_first.then(|| mirror.last_good().ok()?).flatten();
        let good = good.and_then(|good| self.read(mirror, &good).ok());
        let snapshot = self.read(mirror, &head.commit).map_err(|reason| Frozen::by(&head.commit, reason))?;
        mirror.mark_good(&head.commit)?;
        self.trust.settle(&head.commit);
        let info = mirror.commit_info(&head.commit)?;
        let (read, parsed) = (fetched.elapsed(), self.known().parsed());
        let arrival = Arrival { fetched, read, info, forced: head.forced, parsed, before: base, good };
        Ok(Look::Snapshot { snapshot, arrival })
    }

    fn fetch(&self, mirror: &Mirror) -> Result<git::Head, GitError> {
        let (begun, span) =
            (Instant::now(), tracing::debug_span!("git.fetch", git.commit = tracing::field::Empty).entered());
        let head = mirror.fetch();
        let result = if head.is_ok() { Transfer::Done } else { Transfer::Failed };
        self.metrics.git_transferred(result, begun.elapsed());
        if let Ok(head) = &head {
            span.record("git.commit", &*head.commit);
            self.metrics.set_git_looked_at((self.clock)());
        }
        head
    }

    fn renew_token(&self, mirror: &Mirror) -> Result<(), String> {
        match current_auth(&self.options)? {
            Some(auth) => mirror.set_auth(auth).map_err(|error| failed(&error)),
            None => Ok(()),
        }
    }

    fn last_good(&mut self, mirror: &Mirror) -> Option<Arc<Snapshot>> {
        let commit = mirror.last_good().ok()??;
        let snapshot = self.read(mirror, &commit).ok()?;
        tracing::warn!(git.commit = %commit, "the last good commit stays in force");
        Some(snapshot)
    }

    fn read(&mut self, mirror: &Mirror, commit: &str) -> Result<Arc<Snapshot>, String> {
        let _span = tracing::debug_span!("git.read", git.commit = commit).entered();
        let revision = commit.parse().map_err(|error| format!("failed to read commit {commit}: {error}"))?;
        let snapshot = (|| {
            let (blobs, mut known) = (mirror.blobs()?, self.known());
            let listed =
                blobs.list(commit, &store::wants, &|path| known.listed(path), &ReadLimits::default())?;
            let listing = Listing { revision, files: listed };
            read_listing(&blobs, &listing, &mut known, &self.chart, &*self.incumbents)
        })();
        let snapshot = snapshot.map_err(|error| failed(&error))?;
        snapshot.map(Arc::new).map_err(|freeze| format!("commit {commit} can't be used: {freeze}"))
    }

    /// A look that panicked leaves files unread, which the next one reads.
    fn known(&self) -> MutexGuard<'_, KnownFiles> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a tree that is no commit's (yet), such as what merging a pull request gives, as a commit of the branch is
/// read. `revision` is what the snapshot shall be called. `known` is a clone of what is known of the branch.
pub fn snapshot_of_tree(
    blobs: &Blobs<'_>,
    tree: &str,
    revision: Revision,
    known: &mut KnownFiles,
    chart: &Chart,
    incumbents: &dyn Fn() -> BTreeMap<Host, StoreId>,
) -> Result<Result<Snapshot, Freeze>, GitError> {
    let listed = blobs.list_tree(tree, &store::wants, &|path| known.listed(path), &ReadLimits::default())?;
    read_listing(blobs, &Listing { revision, files: listed }, known, chart, incumbents)
}

fn read_listing(
    blobs: &Blobs<'_>,
    listing: &Listing,
    known: &mut KnownFiles,
    chart: &Chart,
    incumbents: &dyn Fn() -> BTreeMap<Host, StoreId>,
) -> Result<Result<Snapshot, Freeze>, GitError> {
    let mut contents = |_: &str, id| blobs.content(id);
    known.read(listing, &mut contents, &|path| chart.file(path), incumbents)
}

/// Returns the login as it is now: tokens rotate, and their file says what is right. None when the login never changes.
pub(super) fn current_auth(options: &SourceOptions) -> Result<Option<Auth>, String> {
    let (Some(path), Auth::Token { username, token: _ }) = (&options.token_file, &options.settings.auth)
    else {
        return Ok(None);
    };
    let token = std::fs::read_to_string(path)
        .map_err(|error| format!("failed to read the token in {}: {error}", path.display()))?;
    Ok(Some(Auth::Token { username: username.clone(), token: Secret::new(&token) }))
}

fn open<'a>(mirror: &'a OnceLock<Mirror>, options: &SourceOptions) -> Result<&'a Mirror, GitError> {
    if let Some(mirror) = mirror.get() {
        return Ok(mirror);
    }
    let opened = Mirror::open(&options.mirror, options.settings.clone())?;
    Ok(mirror.get_or_init(|| opened))
}

/// Reads a tree with the value files of this chart, for those who want these stores.
pub fn snapshot(
    tree: &RepositoryTree,
    chart: &Chart,
    incumbents: &BTreeMap<Host, StoreId>,
    scope: &Scope,
) -> Result<Snapshot, Freeze> {
    store::read_within(tree, &|path| chart.file(path), incumbents, (&store::Limits::default(), scope))
}

fn failed(error: &GitError) -> String {
    format!("failed to {error}")
}
