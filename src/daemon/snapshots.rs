//! What a look at the repository changes: which commit is in force, and which stores it touches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::source::Sighting;
use super::{Daemon, Requested};
use crate::names::StoreId;
use crate::report::{StoreReport, StoreState};
use crate::store::{Snapshot, StoreEntry};

impl Daemon {
    pub(super) fn on_sighting(&mut self, sighting: Sighting) {
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
    pub(super) fn set_frozen(&mut self, reason: Option<String>) {
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

    pub(super) fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
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
            self.runs.overtake(&store);
            self.queue.mark_fresh(&store);
        }
    }

    /// Stores that are in the cluster or on the board but in no file.
    pub(super) fn absent_stores(&self) -> Vec<StoreId> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let mut stores: Vec<_> = self.context.cluster.our_namespaces().into_keys().collect();
        stores.extend(self.board.reader().read(|picture| picture.stores.keys().cloned().collect::<Vec<_>>()));
        stores.retain(|store| !snapshot.stores.contains_key(store));
        stores
    }

    pub(super) fn show_snapshot(&mut self, snapshot: &Snapshot) {
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
        let census = &mut self.census;
        self.board.update(|picture| {
            picture.fleet.revision = Some(snapshot.revision.to_string());
            picture.fleet.problems = snapshot.problems.iter().map(ToString::to_string).collect();
            for (id, entry) in &snapshot.stores {
                let report = picture.stores.entry(id.clone()).or_insert_with(|| {
                    census.moves(None, Some(StoreState::Requested));
                    StoreReport::new(id.clone(), now)
                });
                if let Some(store) = entry.accepted() {
                    report.display_name = Some(store.display_name.clone());
                }
                report.revision = Some(snapshot.revision.to_string());
            }
        });
        self.metrics.set_states(&self.census.0);
    }
}
