//! Plans pull requests: what merging each open one would do, told on the forge and shown on the page. Beside the daemon: a
//! plan reads the cluster and changes nothing, and no run waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Chance;
use super::clerk::Desk;
use super::said::Said;
use super::source::{Incumbents, PullHeads, SourceOptions, current_auth, snapshot_of_tree};
use crate::forge::{Forge, ForgeError, ForgeKind, Pull};
use crate::git::{GitError, Merge, PullRef, Pulls};
use crate::metrics::Metrics;
use crate::names::{status_all, status_plan};
use crate::preview::{self, Outlook};
use crate::reconcile::Context;
use crate::report::{Board, CommitState, CommitStatus, Delivery, PlanReport, PlanVerdict, Plans};
use crate::store::{Freeze, KnownFiles, Snapshot};

/// How often the forge is asked which pull requests are open though none has moved.
const REFRESH: Duration = Duration::from_mins(10);

/// How often at most it is asked where git does not tell that one has moved.
const REFRESH_WITHOUT_REFS: Duration = Duration::from_secs(5);

/// The wait after something that failed; it doubles up to [`REFRESH`].
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// After this time a plan that is not made yet is told to be under way.
const SLOW: Duration = Duration::from_secs(1);

/// How many open pull requests are planned, from the newest.
const MOST_PULLS: usize = 200;

/// Whose pull requests are planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlanForks {
    /// Everybody's.
    #[default]
    All,
    /// Of those from other repositories only the ones whose authors may push to this one.
    Maintainers,
}

/// What plans are made from, as of the last look at the repository.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    /// What is in force.
    pub(super) snapshot: Arc<Snapshot>,
    /// Where the pull requests are.
    pub(super) heads: PullHeads,
    /// What this process knows of stores without a file.
    pub(super) outlook: Outlook,
    /// How many looks somebody asked for so far: a webhook may tell what no ref does, that a pull request was opened again
    /// or goes to another branch now.
    pub(super) nudges: u64,
}

/// What the planner works with.
pub(super) struct Planner {
    pub(super) context: Context,
    pub(super) forge: Forge,
    pub(super) forks: PlanForks,
    pub(super) pages: Option<String>,
    pub(super) source: SourceOptions,
    pub(super) known: Arc<Mutex<KnownFiles>>,
    pub(super) incumbents: Incumbents,
    pub(super) desk: Desk,
    pub(super) board: Board,
    pub(super) plans: Plans,
    pub(super) metrics: Metrics,
    pub(super) chance: Chance,
}

/// What was planned last of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Planned {
    head: String,
    base: String,
}

/// Why a pull request could not be planned; fits "failed to {}".
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Forge(#[from] ForgeError),
    #[error("plan it: {0}")]
    BrokeOff(String),
    #[error(
        "fetch commit {wanted}: the ref of the pull request is at {found}; push to its branch again if that stays so"
    )]
    Moved { wanted: String, found: String },
}

/// What a pull request would put in force.
enum Proposed {
    Snapshot(Box<Snapshot>),
    Unusable(Freeze),
    Conflicts(Vec<String>),
    /// The branch has it all.
    Nothing,
}

struct Work {
    planner: Planner,
    pulls: Arc<OnceLock<Pulls>>,
    /// The open pull requests, from the newest.
    open: Vec<Pull>,
    /// The heads when they were asked for, and when that was.
    asked: Option<(PullHeads, Instant)>,
    planned: BTreeMap<u64, Planned>,
    said: Said,
    /// Pull requests that could not be planned: how often, and when to try again.
    failing: BTreeMap<u64, (u32, Instant)>,
    /// How often in a row the forge could not be asked, and when to ask again.
    unasked: (u32, Option<Instant>),
    /// How many nudges there had been when the forge was asked.
    heard: u64,
    /// When to ask once more: a forge may list a pull request a moment later than its ref.
    ask_again: Option<Instant>,
}

impl Planner {
    /// Works until nobody shows scenes any more.
    pub(super) async fn work(self, mut scenes: watch::Receiver<Option<Scene>>) {
        let mut work = Work::new(self);
        loop {
            let scene = scenes.borrow_and_update().clone();
            if let Some(scene) = scene {
                work.tend(&scene, &scenes).await;
            }
            let due = work.next_due().map(tokio::time::Instant::from_std);
            tokio::select! {
                changed = scenes.changed() => if changed.is_err() { return },
                () = super::sleep_until(due), if due.is_some() => {}
            }
        }
    }
}

impl Work {
    fn new(planner: Planner) -> Self {
        let (mut planned, mut said) = (BTreeMap::new(), Said::default());
        // From the oldest to the newest, so that the newest counts.
        for plan in planner.plans.reader().newest(usize::MAX).iter().rev() {
            let PlanReport { pull: Some(pull), head: Some(head), base: Some(base), .. } = &**plan else {
                continue;
            };
            planned.insert(*pull, Planned { head: head.clone(), base: base.clone() });
            said.note(*pull, plan);
        }
        Self {
            planner,
            pulls: Arc::default(),
            open: Vec::new(),
            asked: None,
            planned,
            said,
            failing: BTreeMap::new(),
            unasked: (0, None),
            heard: 0,
            ask_again: None,
        }
    }

    /// Plans what is to be planned, until a newer scene comes.
    async fn tend(&mut self, scene: &Scene, scenes: &watch::Receiver<Option<Scene>>) {
        let now = Instant::now();
        if self.wants_list(scene, now) {
            self.ask(scene, now).await;
        }
        let waiting: Vec<_> =
            self.open.iter().filter(|pull| self.is_due(pull, scene, now)).cloned().collect();
        for pull in waiting {
            // Of one that was opened again Gitea's list names the head that its ref has, and not the one that it merges.
            let planned = if self.planned.contains_key(&pull.number) {
                match self.plan(&pull, scene).await {
                    Err(Trouble::Moved { .. }) => self.plan_anew(&pull, scene).await,
                    planned => planned,
                }
            } else {
                self.plan_anew(&pull, scene).await
            };
            match planned {
                Ok(()) => _ = self.failing.remove(&pull.number),
                Err(trouble) => self.note_trouble(&pull, &trouble),
            }
            // Whoever pushed meanwhile goes first.
            if scenes.has_changed().unwrap_or(true) {
                return;
            }
        }
    }

    fn wants_list(&self, scene: &Scene, now: Instant) -> bool {
        if self.unasked.1.is_some_and(|until| until > now) {
            return false;
        }
        let Some((heads, asked)) = &self.asked else { return true };
        if self.heard != scene.nudges || self.ask_again.is_some_and(|again| again <= now) {
            return true;
        }
        let patience = match self.planner.forge.kind() {
            ForgeKind::Bitbucket => REFRESH_WITHOUT_REFS,
            _ if *heads != scene.heads => Duration::ZERO,
            _ => REFRESH,
        };
        now.saturating_duration_since(*asked) >= patience
    }

    /// Asks the forge which pull requests are open.
    async fn ask(&mut self, scene: &Scene, now: Instant) {
        let moved = self.asked.as_ref().is_none_or(|(heads, _)| *heads != scene.heads);
        self.ask_again = moved.then(|| now + REFRESH_WITHOUT_REFS);
        self.heard = scene.nudges;
        let branch = &self.planner.source.settings.branch;
        match self.planner.forge.open_pulls(branch).await {
            Ok(mut open) => {
                if self.unasked.0 > 0 {
                    tracing::info!("the forge can be asked for pull requests again");
                }
                self.unasked = (0, None);
                open.truncate(MOST_PULLS);
                let numbers: BTreeSet<_> = open.iter().map(|pull| pull.number).collect();
                self.planned.retain(|number, _| numbers.contains(number));
                self.failing.retain(|number, _| numbers.contains(number));
                self.said.keep_only(&numbers);
                self.forget_closed(numbers);
                (self.open, self.asked) = (open, Some((Arc::clone(&scene.heads), now)));
            }
            Err(error) => {
                if self.unasked.0 == 0 {
                    tracing::warn!("failed to {error}; pull requests are planned when that works again");
                }
                let failures = self.unasked.0.saturating_add(1);
                let wait = error.retry_after().unwrap_or_else(|| self.wait(failures));
                self.unasked = (failures, Some(now + wait));
            }
        }
    }

    fn forget_closed(&self, numbers: BTreeSet<u64>) {
        let pulls = Arc::clone(&self.pulls);
        tokio::task::spawn_blocking(move || {
            if let Some(Err(error)) = pulls.get().map(|pulls| pulls.keep_only(&numbers)) {
                tracing::warn!("failed to {error}");
            }
        });
    }

    /// What the forge said of a pull request is older than its ref, or the other way round. What the forge says now is what
    /// it would merge, so that is what is planned or nothing is.
    async fn plan_anew(&mut self, pull: &Pull, scene: &Scene) -> Result<(), Trouble> {
        let Some(fresh) = self.planner.forge.pull(pull.number).await? else {
            self.open.retain(|open| open.number != pull.number);
            return Ok(());
        };
        for open in self.open.iter_mut().filter(|open| open.number == pull.number) {
            open.clone_from(&fresh);
        }
        self.plan(&fresh, scene).await
    }

    fn is_due(&self, pull: &Pull, scene: &Scene, now: Instant) -> bool {
        let wanted = Planned { head: pull.head.clone(), base: scene.snapshot.revision.to_string() };
        let rests = self.failing.get(&pull.number).is_some_and(|(_, until)| *until > now);
        !rests && self.planned.get(&pull.number) != Some(&wanted)
    }

    fn next_due(&self) -> Option<Instant> {
        let failing = self.failing.values().map(|(_, until)| *until);
        let asked = self.asked.as_ref().map(|(_, asked)| *asked + REFRESH);
        let asked = self.ask_again.or(asked).filter(|_| self.unasked.1.is_none());
        failing.chain(self.unasked.1).chain(asked).min()
    }

    fn note_trouble(&mut self, pull: &Pull, trouble: &Trouble) {
        let failures = self.failing.get(&pull.number).map_or(0, |(failures, _)| *failures).saturating_add(1);
        if failures == 1 {
            tracing::warn!(pull.number = pull.number, "failed to {trouble}; it is tried again");
        }
        let retry_after = match trouble {
            Trouble::Forge(error) => error.retry_after(),
            Trouble::Git(_) | Trouble::BrokeOff(_) | Trouble::Moved { .. } => None,
        };
        let wait = retry_after.unwrap_or_else(|| self.wait(failures));
        self.failing.insert(pull.number, (failures, Instant::now() + wait));
        let words = format!("not planned yet, tried again: failed to {trouble}");
        // A verdict comes to an end: what fails for so long is for a person to look at.
        let state = if failures < 5 { CommitState::Pending } else { CommitState::Failure };
        self.tell_status(&pull.head, state, &words);
    }

    fn wait(&self, failures: u32) -> Duration {
        let wait = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(REFRESH);
        wait.mul_f64(1.0 + 0.2 * (self.planner.chance)())
    }

    async fn plan(&mut self, pull: &Pull, scene: &Scene) -> Result<(), Trouble> {
        let began = Instant::now();
        let planner = &self.planner;
        if pull.fork && planner.forks == PlanForks::Maintainers && !planner.forge.may_write(pull).await? {
            let words = "not planned: of other repositories' pull requests only maintainers' are; have one push the branch";
            self.tell_status(&pull.head, CommitState::Failure, words);
            self.settled(pull, scene);
            return Ok(());
        }
        let span = tracing::debug_span!("plan", pull.number = pull.number, git.commit = %pull.head);
        let report = tracing::Instrument::instrument(self.make_or_say_so(pull, scene), span).await?;
        if report.verdict == PlanVerdict::Nothing && self.was_merged(pull).await? {
            self.settled(pull, scene);
            return Ok(());
        }
        self.tell(pull, report);
        self.settled(pull, scene);
        self.planner.metrics.planned(began.elapsed());
        Ok(())
    }

    /// Tells whether a pull request that was planned before is not open any more: no ref of it moves when it is merged. What
    /// it would have done then stays said.
    async fn was_merged(&self, pull: &Pull) -> Result<bool, ForgeError> {
        let was_planned = self.planned.get(&pull.number).is_some_and(|planned| planned.head == pull.head);
        Ok(was_planned && self.planner.forge.pull(pull.number).await?.is_none())
    }

    /// Makes a plan, and says that it is being made when that takes long.
    async fn make_or_say_so(&self, pull: &Pull, scene: &Scene) -> Result<PlanReport, Trouble> {
        let mut making = std::pin::pin!(self.make(pull, scene));
        tokio::select! {
            made = &mut making => return made,
            () = tokio::time::sleep(SLOW) => {}
        }
        self.tell_status(&pull.head, CommitState::Pending, "planning what merging it would do");
        making.await
    }

    fn settled(&mut self, pull: &Pull, scene: &Scene) {
        let planned = Planned { head: pull.head.clone(), base: scene.snapshot.revision.to_string() };
        self.planned.insert(pull.number, planned);
    }

    /// Makes the plan of a pull request.
    async fn make(&self, pull: &Pull, scene: &Scene) -> Result<PlanReport, Trouble> {
        let proposed = self.proposed(pull, scene).await?;
        // Nothing of a stranger's plan comes from a Secret.
        let outlook = Outlook { lookups: !pull.fork, ..scene.outlook.clone() };
        let mut report = match proposed {
            Proposed::Snapshot(proposed) => {
                preview::proposal(&self.planner.context, Some(&scene.snapshot), &proposed, &outlook).await
            }
            Proposed::Nothing => {
                let base = &scene.snapshot;
                preview::proposal(&self.planner.context, Some(base), base, &outlook).await
            }
            Proposed::Unusable(freeze) => preview::unusable(&freeze, outlook.now),
            Proposed::Conflicts(paths) => preview::conflicting(&paths, outlook.now),
        };
        report.base = Some(scene.snapshot.revision.to_string());
        report.branch = Some(self.planner.source.settings.branch.clone());
        report.head = Some(pull.head.clone());
        report.pull = Some(pull.number);
        Ok(report)
    }

    /// Fetches a pull request's head and reads what merging it gives, on a thread where blocking is allowed.
    async fn proposed(&self, pull: &Pull, scene: &Scene) -> Result<Proposed, Trouble> {
        let Some(reference) = pull.reference.clone() else {
            let words = "fetch it: this forge has no ref for pull requests from other repositories";
            return Err(Trouble::BrokeOff(words.to_owned()));
        };
        let wanted = PullRef { number: pull.number, reference, commit: pull.head.clone() };
        let base = scene.snapshot.revision.clone();
        let (pulls, source) = (Arc::clone(&self.pulls), self.planner.source.clone());
        let (chart, incumbents) =
            (Arc::clone(self.planner.context.charts.built_in()), Arc::clone(&self.planner.incumbents));
        let known = Arc::clone(&self.planner.known);
        let read = move || -> Result<Proposed, Trouble> {
            let pulls = open(&pulls, &source)?;
            if let Some(auth) = current_auth(&source).map_err(Trouble::BrokeOff)? {
                pulls.set_auth(auth)?;
            }
            let fetched = pulls.fetch(std::slice::from_ref(&wanted), base.as_str())?;
            let found = fetched.get(&wanted.number);
            if found != Some(&wanted.commit) {
                let found = found.map_or("nothing", String::as_str).to_owned();
                return Err(Trouble::Moved { wanted: wanted.commit, found });
            }
            let tree = match pulls.merge(base.as_str(), &wanted.commit)? {
                Merge::Tree(tree) => tree,
                Merge::AlreadyIn => return Ok(Proposed::Nothing),
                Merge::Conflicts(paths) => return Ok(Proposed::Conflicts(paths)),
            };
            let revision = wanted.commit.parse().unwrap_or(base);
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let blobs = pulls.blobs()?;
            let read = snapshot_of_tree(&blobs, &tree, revision, &mut known, &chart, &*incumbents)?;
            Ok(match read {
                Ok(snapshot) => Proposed::Snapshot(Box::new(snapshot)),
                Err(freeze) => Proposed::Unusable(freeze),
            })
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|broken| Err(Trouble::BrokeOff(broken.to_string())))
    }

    /// Tells the forge and the page.
    fn tell(&mut self, pull: &Pull, report: PlanReport) {
        let state = if report.verdict.is_failure() { CommitState::Failure } else { CommitState::Success };
        let page = self.planner.pages.as_ref().map(|pages| format!("{pages}/plans/{}", pull.head));
        tracing::info!(
            pull.number = pull.number, git.commit = %pull.head, verdict = ?report.verdict, "planned: {}",
            report.summary()
        );
        let mut deliveries = self.statuses(&pull.head, state, &report.summary());
        deliveries.extend(self.said.deliveries(pull.number, &pull.head, &report, page.as_deref()));
        self.planner.desk.tell(deliveries);
        self.planner.desk.keep(&pull.head, report.made, serde_json::to_string(&report).unwrap_or_default());
        self.planner.plans.put(report);
    }

    fn tell_status(&self, head: &str, state: CommitState, words: &str) {
        self.planner.desk.tell(self.statuses(head, state, words));
    }

    /// The verdict on a plan, and the same as the roll-up that a branch protection may require. A commit that is or was in
    /// force has a roll-up of its own.
    fn statuses(&self, head: &str, state: CommitState, words: &str) -> Vec<Delivery> {
        let page = self.planner.pages.as_ref().map(|pages| format!("{pages}/plans/{head}"));
        let in_force = self.planner.board.reader().read(|picture| picture.commits.commit(head).is_some());
        let cluster = self.planner.context.source.cluster();
        let contexts = [Some(status_plan(cluster)), (!in_force).then(|| status_all(cluster))];
        let status = |context: String| Delivery::Status {
            commit: head.to_owned(),
            status: CommitStatus::new(&context, state, words, page.as_deref()),
        };
        contexts.into_iter().flatten().map(status).collect()
    }
}

fn open<'a>(pulls: &'a OnceLock<Pulls>, source: &SourceOptions) -> Result<&'a Pulls, GitError> {
    if let Some(pulls) = pulls.get() {
        return Ok(pulls);
    }
    let opened = Pulls::open(&source.pulls, source.settings.clone(), &source.mirror)?;
    Ok(pulls.get_or_init(|| opened))
}
