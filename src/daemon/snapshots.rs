//! What a look at the repository changes: which commit is in force, and which stores it touches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::source::{Arrival, Frozen, Looked, Sighting};
use super::trust::Belief;
use super::{Daemon, Requested, holds};
use crate::names::{LABEL_CLUSTER, StoreId};
use crate::plan;
use crate::report::{Change, StoreReport, StoreState, changes};
use crate::store::{Snapshot, StoreEntry};

impl Daemon {
    /// A look at the repository has ended.
    pub(super) fn on_sighting(&mut self, looked: Looked) {
        let Looked { began, sighting, pulls, belief, nudged } = looked;
        let signer = match &belief {
            Some(Belief::Signed(signer)) => Some(signer.to_string()),
            _ => None,
        };
        if matches!(sighting, Sighting::Unchanged | Sighting::Snapshot(..)) {
            self.show_belief(belief);
        }
        if matches!(sighting, Sighting::Unchanged | Sighting::Snapshot(..)) {
            self.absent.looked(began, Instant::now());
        }
        for store in std::mem::take(&mut self.absent.await_look) {
            self.queue.mark(&store);
        }
        match sighting {
            Sighting::Unchanged => self.set_frozen(None),
            Sighting::Frozen(frozen) => self.on_frozen(frozen),
            Sighting::LastGood(snapshot, frozen) => {
                self.on_frozen(frozen);
                self.on_snapshot(snapshot);
            }
            Sighting::Snapshot(snapshot, arrival) => {
                self.set_frozen(None);
                let (commit, stores) = (snapshot.revision.to_string(), snapshot.stores.len());
                let before = self.snapshot.clone().or_else(|| arrival.before.clone());
                let changed = self.changes_here(before.as_deref(), &snapshot);
                self.note_commit(changed.clone(), &snapshot, &arrival.info);
                let (before, changed) = match (before, &arrival.good) {
                    (None, Some(good)) => (Some(Arc::clone(good)), self.changes_here(Some(good), &snapshot)),
                    (before, _) => (before, changed),
                };
                self.tell_commit(before.as_deref(), changed, &snapshot, &arrival.info, signer);
                let touched = self.on_snapshot(snapshot);
                let Arrival { fetched, read, info, forced, parsed, before: _, good: _ } = arrival;
                let took = fetched.elapsed();
                self.metrics.git_read(took);
                tracing::info!(
                    git.commit = commit, git.author = %info.author, git.subject = %info.subject,
                    git.forced = forced, stores, touched, parsed,
                    read_ms = in_milliseconds(read), mark_ms = in_milliseconds(took.saturating_sub(read)),
                    "a new commit is in force"
                );
            }
        }
        self.show_scene(pulls, nudged);
    }

    /// The newest state of the repository can't be used.
    fn on_frozen(&mut self, frozen: Frozen) {
        if let Some(commit) = &frozen.commit
            && self.note_refused(commit, &frozen.reason)
        {
            self.tell_refused(&frozen);
        }
        self.set_frozen(Some(frozen.reason));
    }

    /// Shows who made the commit that is in force.
    fn show_belief(&self, belief: Option<Belief>) {
        let (signer, distrust) = match belief {
            Some(Belief::Signed(signer)) => (Some(signer.to_string()), None),
            Some(Belief::Doubted(words)) => (None, Some(words)),
            Some(Belief::NotAsked) | None => (None, None),
        };
        self.board.update(|picture| {
            picture.fleet.signer = signer;
            picture.fleet.distrust = distrust;
        });
    }

    /// Says once that newer commits are not followed, and once that they are again.
    pub(super) fn set_frozen(&mut self, reason: Option<String>) {
        let before =
            self.board.update(|picture| std::mem::replace(&mut picture.fleet.frozen, reason.clone()));
        self.tell_frozen(reason.as_deref());
        if reason.is_some() {
            self.withdraw_permits(|_, _| true);
        }
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

    /// Puts a snapshot in force and returns how many stores it touches.
    pub(super) fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) -> usize {
        self.tell_departed(&snapshot);
        self.overlooked = self.others_trouble(&snapshot);
        let mut touched = self.compare(&snapshot);
        let is_held_otherwise = self.snapshot.as_ref().is_some_and(|before| holds::differ(before, &snapshot));
        if is_held_otherwise {
            touched.extend(self.accepted.keys().cloned());
        }
        let has_file = |id: &StoreId| snapshot.stores.contains_key(id);
        let left = self.accepted.iter().filter(|(id, _)| !has_file(id));
        self.absent.protection.extend(left.map(|(id, (store, _))| (id.clone(), store.protect)));
        self.absent.protection.retain(|id, _| !has_file(id));
        let left = self.accepted.iter().filter(|(id, _)| !has_file(id));
        self.absent.pauses.extend(left.map(|(id, (store, _))| (id.clone(), store.pause.clone())));
        self.absent.pauses.retain(|id, _| !has_file(id));
        let had_file = self.snapshot.iter().flat_map(|before| before.stores.keys());
        self.absent.follow(had_file, has_file, Instant::now(), (self.context.surroundings.clock)());
        self.withdraw_permits(|id, _| has_file(id));
        self.accepted.retain(|id, _| has_file(id));
        self.show_snapshot(&snapshot);
        self.snapshot = Some(snapshot);
        self.plan_removals();
        self.withdraw_held();
        self.line_up();
        // Stores without a file: every change of the fleet file may decide about them anew.
        touched.extend(self.absent_stores());
        // A push is how people say "try again".
        self.queue.retry_all();
        if !self.is_ready {
            self.first_pass.extend(touched.iter().cloned());
        }
        let count = touched.len();
        for store in touched {
            self.waits.remove(&store);
            self.fights.forget(&store);
            self.chronicle.begin_anew(&store);
            self.runs.overtake(&store);
            self.queue.mark_fresh(&store);
        }
        count
    }

    /// Takes over the good versions of all stores, and returns the stores whose files say something else than before.
    /// Of ten thousand files that say the same each costs a look at a pointer.
    fn compare(&mut self, snapshot: &Snapshot) -> BTreeSet<StoreId> {
        let mut touched = BTreeSet::new();
        for (id, entry) in &snapshot.stores {
            let before = self.snapshot.as_ref().and_then(|snapshot| snapshot.stores.get(id));
            match (before, entry) {
                (Some(StoreEntry::Accepted(before)), StoreEntry::Accepted(store))
                    if Arc::ptr_eq(before, store) => {}
                (_, StoreEntry::Accepted(store)) => {
                    let known = self.accepted.get(id).filter(|(known, _)| {
                        known.digest() == store.digest() && known.rollback == store.rollback
                    });
                    // A file that was broken before may be as it was before that: what is shown of it changes.
                    let shown = before.is_some_and(|before| before.accepted().is_some());
                    // What protects a store is no chart value, so it is not in the digest.
                    let protected = known.is_some_and(|(known, _)| {
                        (known.protect, &known.pause) != (store.protect, &store.pause)
                    });
                    if known.is_none() || protected || !shown {
                        touched.insert(id.clone());
                    }
                    let revision = known.map(|(_, revision)| revision.clone());
                    let revision = revision.unwrap_or_else(|| snapshot.revision.to_string());
                    self.accepted.insert(id.clone(), (Arc::clone(store), revision));
                }
                (_, StoreEntry::Rejected(_)) if self.overlooked.contains(id) => {}
                (Some(StoreEntry::Rejected(before)), StoreEntry::Rejected(problems))
                    if before == problems => {}
                (_, StoreEntry::Rejected(problems)) => {
                    for problem in problems {
                        tracing::error!(store.id = %id, git.commit = %snapshot.revision, "rejected: {problem}");
                    }
                    touched.insert(id.clone());
                }
            }
        }
        touched
    }

    /// Finds what a commit changes on this cluster: a removal that it approves, or a wrong file that goes, may be another
    /// one's.
    fn changes_here(&self, before: Option<&Snapshot>, after: &Snapshot) -> BTreeMap<StoreId, Change> {
        let mut changed = changes(before, after);
        let had_file = |store: &StoreId| {
            before.is_some_and(|it| it.stores.contains_key(store) && !it.elsewhere.contains_key(store))
        };
        changed.retain(|store, change| {
            *change != Change::Removed || had_file(store) || self.context.cluster.has_namespace(store)
        });
        changed
    }

    /// Finds the stores with wrong files that are on other clusters, as far as can be read, and of which nothing is here.
    fn others_trouble(&self, snapshot: &Snapshot) -> BTreeSet<StoreId> {
        let is_here = |store: &StoreId| {
            self.accepted.contains_key(store)
                || self.context.cluster.has_its_namespace(store)
                || self.board.reader().read(|picture| picture.stores.contains_key(store))
        };
        let theirs = snapshot.elsewhere.keys().filter(|store| snapshot.is_others_trouble(store, None));
        theirs.filter(|store| !is_here(store)).cloned().collect()
    }

    /// Says which namespaces of this source are left alone, and logs it when they are others than before.
    fn strays(&self, snapshot: &Snapshot) -> Option<String> {
        let strays = self.context.cluster.strays(&|store| snapshot.stores.contains_key(store));
        let words = strays.iter().map(|(cluster, stores)| {
            let stores: Vec<_> = stores.iter().map(StoreId::as_str).collect();
            let stores = plan::shortened_list(&stores, 20);
            match cluster {
                Some(cluster) => format!(
                    "this API server has stores that say that they are on cluster {cluster} of this fleet, which are \
                     left alone: is it the right one? ({stores})"
                ),
                None => format!(
                    "stores without a file don't say which cluster they are on, so none of them is removed: where they \
                     are this cluster's, label their namespaces with {LABEL_CLUSTER} ({stores})"
                ),
            }
        });
        let words = Some(words.collect::<Vec<_>>().join("; ")).filter(|words| !words.is_empty());
        let shown = self.board.reader().read(|picture| picture.fleet.strays.clone());
        if let Some(words) = words.as_ref().filter(|_| words != shown) {
            tracing::warn!(git.commit = %snapshot.revision, "{words}");
        }
        words
    }

    /// Stores that are in the cluster or on the board but in no file.
    pub(super) fn absent_stores(&self) -> Vec<StoreId> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let is_absent = |store: &StoreId| !snapshot.stores.contains_key(store);
        let mut stores: Vec<_> = self.context.cluster.our_namespaces_where(is_absent).into_keys().collect();
        self.board.reader().read(|picture| {
            stores.extend(picture.stores.keys().filter(|store| is_absent(store)).cloned());
        });
        stores
    }

    /// Finds approvals of removals for stores that have a file, and logs them when they are others than before.
    fn idle_approvals(&self, snapshot: &Snapshot) -> Option<String> {
        let idle = |snapshot: &Snapshot| {
            plan::idle_approvals(&|id| snapshot.stores.contains_key(id), &snapshot.fleet.deletion_budget)
        };
        let found = idle(snapshot);
        if let Some(words) = &found
            && found != self.snapshot.as_deref().and_then(idle)
        {
            tracing::warn!(git.commit = %snapshot.revision, "{words}");
        }
        found
    }

    pub(super) fn show_snapshot(&mut self, snapshot: &Snapshot) {
        let now = (self.context.surroundings.clock)();
        let was_there = |id: &StoreId| self.snapshot.as_ref().is_some_and(|it| it.stores.contains_key(id));
        let news: Vec<_> = self.board.reader().read(|picture| {
            let is_news = |id: &&StoreId| !(was_there(id) && picture.stores.contains_key(id));
            let kept = snapshot.stores.keys().filter(|id| !self.overlooked.contains(*id));
            kept.filter(is_news).cloned().collect()
        });
        for id in news {
            let there = self.context.cluster.namespace(&id).filter(|it| it.deleting_since.is_none());
            if there.is_none() {
                self.requested.insert(id, Requested { since: Instant::now(), failed: false });
            }
        }
        self.requested.retain(|id, _| snapshot.stores.contains_key(id));
        let mut problems: Vec<_> = snapshot.problems.iter().map(ToString::to_string).collect();
        problems.extend(self.idle_approvals(snapshot));
        let strays = self.strays(snapshot);
        let cluster = self.context.source.cluster().map(ToString::to_string);
        let (census, overlooked, sharing) = (&mut self.census, &self.overlooked, &self.sharing);
        self.board.update(|picture| {
            picture.fleet.revision = Some(snapshot.revision.to_string());
            picture.fleet.problems = problems;
            picture.fleet.domain = Some(snapshot.fleet.domain.to_string());
            if *picture.fleet.domains != snapshot.fleet.domains {
                picture.fleet.domains = Arc::new(snapshot.fleet.domains.clone());
            }
            picture.fleet.cluster.clone_from(&cluster);
            picture.fleet.strays = strays;
            picture.fleet.elsewhere = Arc::clone(&snapshot.elsewhere);
            for (id, entry) in snapshot.stores.iter().filter(|(id, _)| !overlooked.contains(*id)) {
                if !picture.stores.contains_key(id) {
                    census.moves(None, Some(StoreState::Requested));
                    let keeper = sharing.keeper(id);
                    let report =
                        StoreReport { keeper, ..StoreReport::new(id.clone(), now).on(cluster.clone()) };
                    picture.stores.insert(id.clone(), report);
                }
                picture.stores.follow(id, &snapshot.revision.to_string());
                let name = entry.accepted().map(|store| &store.display_name);
                let shown = picture.stores.get(id).and_then(|report| report.display_name.as_ref());
                if name.is_some()
                    && name != shown
                    && let Some(report) = picture.stores.get_mut(id)
                {
                    report.display_name = name.cloned();
                }
            }
        });
        self.metrics.set_states(&self.census.0);
    }
}

/// Returns milliseconds with two digits after the point: what is logged here takes few of them.
fn in_milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}
