//! Sets those to work who tell people outside what becomes of commits and pull requests: the clerk and the planner.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::chronicle::Chronicle;
use super::clerk::Clerk;
use super::pulls::{Planner, Scene};
use super::scribe::{Scribe, log_head};
use super::source::{PullHeads, SourceOptions};
use super::verdicts::Verdicts;
use super::{Chance, Daemon, PlanForks, Settings, incumbents};
use crate::forge::Forge;
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::names::comment_marker;
use crate::preview::Outlook;
use crate::report::{Board, DAYS, Event, EventKind, History, Plans};
use crate::store::KnownFiles;

/// How many commits that an earlier process left are taken up.
const COMMITS_RESUMED: i64 = 100;

/// How many plans that an earlier process left are taken up.
const PLANS_RESUMED: i64 = 200;

/// How many events that an earlier process left are shown without asking the journal.
const EVENTS_RESUMED: i64 = 5_000;

/// What is told outside of commits and pull requests.
#[derive(Clone)]
pub struct Telling {
    /// The forge, if there is one.
    pub forge: Option<Forge>,
    /// Where our own pages are for people, without a slash at the end.
    pub pages: Option<String>,
    /// How many stores of one commit have a status of their own.
    pub own_statuses: usize,
    /// Whose pull requests are planned.
    pub forks: PlanForks,
    /// The newest plans.
    pub plans: Plans,
}

/// Opens the journal, takes up what an earlier process left in it, and sets a clerk to work. Returns the commit that was in
/// force last too.
pub(super) async fn employ(
    settings: &Settings,
    board: &Board,
    metrics: &Metrics,
    chance: &Chance,
) -> (Verdicts, Chronicle, Option<String>, JoinHandle<()>) {
    let Telling { forge, pages, own_statuses, forks: _, plans } = settings.telling.clone();
    let (journal, clock) = (settings.journal.clone(), Arc::clone(&settings.surroundings.clock));
    let opened = journal.open().await;
    let mut chronicle = Vec::new();
    let mut base = None;
    let opened = match opened {
        Ok(()) => {
            log_head(&journal, "the journal is open").await;
            resume(&journal, settings, board)
                .await
                .map(|(events, revision)| (chronicle, base) = (events, revision))
        }
        Err(error) => Err(error),
    };
    if opened.is_err() {
        settings.history.begin_alone(clock());
    }
    let (desk, errands) = Clerk::desk(forge.is_some());
    let scribe = Scribe::new(
        (journal, opened),
        metrics.clone(),
        board.clone(),
        settings.history.clone(),
        Arc::clone(&clock),
    );
    let cluster = settings.cluster.source.cluster().cloned();
    if let Some(cluster) = &cluster {
        metrics.set_cluster(cluster);
    }
    let clerk = Clerk {
        scribe,
        marker: comment_marker(cluster.as_ref()),
        forge,
        metrics: metrics.clone(),
        board: board.clone(),
        clock,
        chance: Arc::clone(chance),
        shares: settings.leases.is_some(),
    };
    let working = tokio::spawn(clerk.work(errands).instrument(tracing::info_span!("clerk")));
    let told = chronicle;
    let mut chronicle = Chronicle::new(settings.history.clone(), desk.clone(), plans.reader());
    chronicle.resume(&told);
    let verdicts = Verdicts { desk, cluster, pages, own_statuses, next_check: Some(Instant::now()) };
    (verdicts, chronicle, base, working)
}

/// Takes up what an earlier process left in the journal. Returns what it told last of each store and of the fleet, the oldest
/// first, and the commit that was in force.
async fn resume(
    journal: &Journal,
    settings: &Settings,
    board: &Board,
) -> Result<(Vec<Event>, Option<String>), JournalError> {
    for plan in journal.plans(PLANS_RESUMED).await? {
        // Written by another version: the next plan of the same pull request replaces it.
        if let Ok(plan) = serde_json::from_str(&plan) {
            settings.telling.plans.put(plan);
        }
    }
    let (newest, is_all) = journal.newest(EVENTS_RESUMED).await?;
    let mut told = journal.newest_by_store(&[EventKind::StateEntered, EventKind::Deleted]).await?;
    let removals =
        [EventKind::RemovalRefused, EventKind::FileChanged, EventKind::DeletionBegun, EventKind::Deleted];
    told.extend(journal.newest_by_store(&removals).await?);
    told.extend(journal.newest_by_store(&[EventKind::FileChanged]).await?);
    let fleet = [
        EventKind::CommitFollowed,
        EventKind::Frozen,
        EventKind::Thawed,
        EventKind::Paused,
        EventKind::Resumed,
    ];
    told.extend(journal.newest_of_fleet(&fleet).await?);
    let followed = newest.iter().filter(|event| event.kind == EventKind::CommitFollowed);
    told.extend(followed.cloned());
    told.sort_by_key(|event| event.id);
    told.dedup_by_key(|event| event.id);
    settings.history.resume(newest, is_all);
    let base = take_up(journal, &settings.history, board, (settings.surroundings.clock)()).await?;
    Ok((told, base))
}

/// Takes up what can be taken up later too, as of now in seconds since 1970: what the journal counts of the days before, and
/// what became of commits. Returns the commit that was in force.
pub(super) async fn take_up(
    journal: &Journal,
    history: &History,
    board: &Board,
    now: i64,
) -> Result<Option<String>, JournalError> {
    let since = now - DAYS * 86_400;
    let entered = journal.events_of(&[EventKind::StateEntered], since).await?;
    let samples = journal.samples(since).await?;
    let commits = journal.commits(COMMITS_RESUMED).await?;
    let base = commits.iter().rev().find(|commit| commit.refused.is_none());
    let base = base.map(|commit| commit.revision.clone());
    history.resume_statistics(&entered, samples);
    board.update(|picture| picture.commits.take_up(commits));
    Ok(base)
}

impl Daemon {
    /// Sets a planner to work, where there is a forge that knows pull requests. It ends when nobody shows it scenes.
    pub(super) fn employ_planner(
        &mut self,
        telling: Telling,
        source: SourceOptions,
        known: Arc<Mutex<KnownFiles>>,
    ) {
        let Telling { forge: Some(forge), pages, own_statuses: _, forks, plans } = telling else { return };
        let planner = Planner {
            context: self.context.clone(),
            forge,
            forks,
            pages,
            source,
            known,
            incumbents: incumbents(&self.context.cluster),
            desk: self.verdicts.desk.clone(),
            board: self.board.clone(),
            plans,
            metrics: self.metrics.clone(),
            chance: Arc::clone(&self.chance),
        };
        let (scenes, shown) = watch::channel(None);
        tokio::spawn(planner.work(shown).instrument(tracing::info_span!("planner")));
        self.scenes = Some(scenes);
    }

    /// Shows the planner what is in force and where the pull requests are, as of a look that has just ended, and whether
    /// somebody asked for that look.
    pub(super) fn show_scene(&mut self, heads: Option<PullHeads>, nudged: bool) {
        self.nudges += u64::from(nudged);
        let (Some(heads), Some(snapshot)) = (heads, self.snapshot.clone()) else { return };
        if self.scenes.is_none() || !self.speaks_for(None) {
            return;
        }
        let now = (self.context.surroundings.clock)();
        let outlook = Outlook {
            recent: self.recent_removals(now),
            refused_before: self.removals.refused(),
            protection: self.absent.protection.clone(),
            gone: self.absent.gone(Instant::now()),
            ..Outlook::new(now)
        };
        if let Some(scenes) = &self.scenes {
            scenes.send_replace(Some(Scene { snapshot, heads, outlook, nudges: self.nudges }));
        }
    }
}
