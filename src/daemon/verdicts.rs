//! What becomes of commits: each store's progress goes to the verdict of the newest commit that changed it, and verdicts that
//! move go to the journal and to the forge.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::clerk::Desk;
use super::{Daemon, Shown};
use crate::cluster::Shard;
use crate::git::CommitInfo;
use crate::names::{ClusterName, StoreId};
use crate::reconcile::Wish;
use crate::report::{
    Change, CommitHead, CommitReport, CommitState, Delivery, Moved, NewCommit, Progress, StoreState, status,
};
use crate::store::{Snapshot, StoreEntry};

/// A failure that is tried again sooner than this many seconds is no verdict yet: what is lost on the way to the API server
/// is not the commit's fault.
const SOON: i64 = 10;

/// What is told of commits, and where.
pub(super) struct Verdicts {
    pub(super) desk: Desk,
    /// The cluster that they are about, where the fleet has several.
    pub(super) cluster: Option<ClusterName>,
    /// Where our own pages are, without a slash at the end; none when people can't reach them.
    pub(super) pages: Option<String>,
    /// How many stores of one commit have a status of their own. GitHub refuses more than 1,000 a commit, and the roll-up
    /// speaks for the rest.
    pub(super) own_statuses: usize,
    /// When to look whether a verdict takes too long, while any is open.
    pub(super) next_check: Option<Instant>,
}

/// How often is looked whether a verdict takes too long.
const CHECK: Duration = Duration::from_mins(1);

impl Daemon {
    /// A commit is in force, and changes these stores.
    pub(super) fn note_commit(
        &mut self,
        changes: BTreeMap<StoreId, Change>,
        after: &Snapshot,
        info: &CommitInfo,
    ) {
        let broken = |(id, entry): (&StoreId, &StoreEntry)| {
            let problem = entry.problems().first()?;
            let more = entry.problems().len().saturating_sub(1);
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            Some((id.clone(), format!("{problem}{more}")))
        };
        let head = CommitHead {
            revision: after.revision.to_string(),
            author: info.author.clone(),
            subject: info.subject.clone(),
        };
        let broken = after.stores.iter().filter_map(broken).collect();
        let commit = NewCommit { head, changes, broken };
        let now = (self.context.surroundings.clock)();
        let moved = self.board.update(|picture| picture.commits.begin(commit, now));
        self.publish(&moved);
    }

    /// A commit is not followed. Returns whether that is news.
    pub(super) fn note_refused(&mut self, revision: &str, reason: &str) -> bool {
        let now = (self.context.surroundings.clock)();
        let moved = self.board.update(|picture| picture.commits.refuse(revision, reason, now));
        self.publish(moved.as_slice());
        moved.is_some()
    }

    /// A run over a store has ended, and this is shown of it.
    pub(super) fn note_progress(&mut self, store: &StoreId, wish: &Wish, shown: &Shown, url: Option<&str>) {
        let Shown { state: Some(state), step: _, reason, next_retry, deletes_at, waits } = shown else {
            return;
        };
        let now = (self.context.surroundings.clock)();
        let waiting = || Progress::Waiting(reason.clone(), *deletes_at);
        let progress = match (wish, state) {
            // A run that a newer commit overtook says nothing about that one.
            (Wish::Present { revision, .. }, _)
                if self.accepted.get(store).is_none_or(|(_, wanted)| wanted != revision) =>
            {
                return;
            }
            (Wish::Present { hold: Some(hold), .. }, _) if *waits => {
                Progress::Waiting(format!("{hold}; applied then"), Some(hold.until))
            }
            (Wish::Present { hold: Some(hold), .. }, StoreState::Paused) => Progress::Done(hold.to_string()),
            (Wish::Present { .. }, StoreState::Ready) => {
                Progress::Done(url.map_or("READY".to_owned(), |url| format!("READY at {url}")))
            }
            (Wish::AbsentButKept { .. }, _) => Progress::Failed(reason.clone()),
            (_, StoreState::Failed) if next_retry.is_some_and(|next| next - now < SOON) => waiting(),
            (_, StoreState::Failed | StoreState::Degraded) => Progress::Failed(reason.clone()),
            _ => waiting(),
        };
        self.note_store(store, &progress, now);
    }

    /// Nothing is left of a store.
    pub(super) fn note_gone(&mut self, store: &StoreId) {
        let now = (self.context.surroundings.clock)();
        self.note_store(store, &Progress::Done("removed, with everything in it".to_owned()), now);
    }

    fn note_store(&mut self, store: &StoreId, progress: &Progress, now: i64) {
        let moved = self.board.update(|picture| picture.commits.note(store, progress, now));
        if !moved.is_empty() {
            self.publish(&moved);
        }
    }

    /// Ends verdicts that were waited for too long.
    pub(super) fn end_verdicts(&mut self) {
        if !self.is_ready {
            // Until when a store waits is known once it has had its first run.
            self.verdicts.next_check = Some(Instant::now() + CHECK);
            return;
        }
        let now = (self.context.surroundings.clock)();
        let moved = self.board.update(|picture| picture.commits.end_overdue(now));
        self.publish(&moved);
    }

    /// Tells anew what became of the newest commit, as far as it is told by this replica since these shards have come: the
    /// replica before may have ended in the middle.
    pub(super) fn retell(&mut self, come: &BTreeSet<Shard>) {
        let moved = self.board.reader().read(|picture| {
            let Some(commit) = picture.commits.commits().next() else { return Vec::new() };
            let stores = commit.stores.keys().filter(|store| come.contains(&Shard::of(store)));
            let all = stores.cloned().map(Some).chain(come.contains(&Shard::SPEAKER).then_some(None));
            all.map(|store| Moved { revision: commit.revision.clone(), store }).collect()
        });
        self.publish(&moved);
    }

    /// Writes moved verdicts down and has the forge told.
    fn publish(&mut self, moved: &[Moved]) {
        let fence = self.context.cluster.fence();
        let speaks_for =
            |store: Option<&StoreId>| store.map_or_else(|| fence.is_speaker(), |store| fence.permits(store));
        let Verdicts { desk: _, cluster, pages, own_statuses, next_check } = &mut self.verdicts;
        let (mut notes, mut deliveries) = (Vec::new(), Vec::new());
        self.board.reader().read(|picture| {
            *next_check = picture.commits.is_any_open().then(|| Instant::now() + CHECK);
            // Where a store stands among those of its commit; each commit is counted through once.
            let mut ranks: BTreeMap<&str, BTreeMap<&StoreId, usize>> = BTreeMap::new();
            for Moved { revision, store } in moved {
                let Some(commit) = picture.commits.commit(revision) else { continue };
                if !(speaks_for)(store.as_ref()) {
                    continue;
                }
                notes.push(commit.excerpt(store.as_ref()));
                if let Some(store) = store {
                    let ranks = ranks
                        .entry(revision)
                        .or_insert_with(|| commit.stores.keys().take(*own_statuses).zip(0..).collect());
                    if !ranks.contains_key(store) {
                        continue;
                    }
                }
                let status = status(commit, store.as_ref(), cluster.as_ref(), pages.as_deref());
                deliveries.extend(status.map(|status| Delivery::Status { commit: revision.clone(), status }));
            }
        });
        for Moved { revision, .. } in moved.iter().filter(|moved| moved.store.is_none()) {
            self.log_verdict(revision);
        }
        if !notes.is_empty() {
            self.verdicts.desk.note(notes);
        }
        self.verdicts.desk.tell(deliveries);
    }

    fn log_verdict(&self, revision: &str) {
        let found =
            self.board.reader().read(|picture| picture.commits.commit(revision).map(CommitReport::overall));
        match found {
            Some((CommitState::Success, words)) => tracing::info!(git.commit = revision, "done: {words}"),
            Some((CommitState::Failure, words)) => tracing::warn!(git.commit = revision, "failed: {words}"),
            Some((CommitState::Pending, _)) | None => {}
        }
    }
}
