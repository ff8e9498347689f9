//! What git says about a store at the moment of its run.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Daemon;
use crate::names::StoreId;
use crate::plan;
use crate::reconcile::Wish;
use crate::store::Store;

impl Daemon {
    /// What git says about a store right now.
    pub(super) fn wish(&mut self, store: &StoreId) -> Wish {
        if let Some((good, revision)) = self.accepted.get(store) {
            let (good, revision) = (Arc::clone(good), revision.clone());
            if let Some(reason) = self.gate.holds_back(store) {
                return Wish::NotAdmitted(reason);
            }
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
    pub(super) fn holder_of_host(&self, wanted: &Store) -> Option<StoreId> {
        let snapshot = self.snapshot.as_ref()?;
        if self.context.cluster.namespace(&wanted.id).is_some() {
            return None;
        }
        let holders = self.context.cluster.holders(&wanted.host);
        holders.into_iter().find(|store| !snapshot.stores.contains_key(store))
    }

    pub(super) fn wait_for_host(&mut self, wanted: &Store, holder: StoreId) -> Wish {
        let reason = format!(
            "waiting: its host {} is held by store {holder}, whose file is gone and whose namespace is still there",
            wanted.host
        );
        self.host_waits.entry(holder).or_default().insert(wanted.id.clone());
        Wish::HostTaken(reason)
    }

    pub(super) fn plan_removals(&mut self) {
        let Some(snapshot) = &self.snapshot else { return };
        let present: BTreeSet<_> = snapshot.stores.keys().cloned().collect();
        // Of ten thousand namespaces whose stores have their files none is copied.
        let observed = self.context.cluster.our_namespaces_where(|store| !present.contains(store));
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
}
