//! What git says about a store at the moment of its run.

use std::sync::Arc;
use std::time::Instant;

use super::Daemon;
use crate::names::StoreId;
use crate::plan::{self, Fate, Marks, PROTECTED, Recent, RemovalRules, Removals};
use crate::reconcile::{Permit, Wish};
use crate::store::{Snapshot, Store};

impl Daemon {
    /// What git says about a store right now.
    pub(super) fn wish(&mut self, store: &StoreId) -> Wish {
        if let Some((good, revision)) = self.accepted.get(store) {
            let (good, revision) = (Arc::clone(good), revision.clone());
            let hold = self.hold(store);
            if hold.is_some() {
                return Wish::Present { store: good, revision, hold };
            }
            if self.holds.release(store) {
                self.line_up();
            }
            if let Some(reason) = self.gate.holds_back(store) {
                return Wish::NotAdmitted(reason);
            }
            return match self.holder_of_host(&good) {
                Some(holder) => self.wait_for_host(&good, holder),
                None => Wish::Present { store: good, revision, hold: None },
            };
        }
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.stores.contains_key(store)) {
            return Wish::Unreadable;
        }
        if self.wants_plan(store) {
            self.plan_removals();
        }
        let kept = |marks, reason| Wish::AbsentButKept { marks, reason };
        let fate = self.removals.fates.get(store).copied();
        match fate {
            Some(Fate::Refused { since }) => {
                let marks = Marks { since: Some(since), refused: true, ..Marks::default() };
                return kept(marks, self.absent.over_budget.clone());
            }
            Some(Fate::Protected) => {
                let marks = Marks { protected: true, ..Marks::default() };
                return kept(marks, format!("it is {PROTECTED}"));
            }
            _ => {}
        }
        if let Some(reason) = self.board.reader().read(|picture| picture.fleet.frozen.clone()) {
            return Wish::AbsentForNow(format!("the repository is not followed ({reason})"));
        }
        if let Some(Fate::Grace { since, .. } | Fate::Due { since, .. }) = fate
            && let Some(hold) = self.hold(store)
        {
            let over = if let Some(Fate::Grace { until, .. }) = fate { until } else { since };
            let (until, paused_until) = (hold.until.max(over), self.marked_pause(store));
            return Wish::AbsentOnHold { since, until, hold, paused_until };
        }
        match fate {
            Some(Fate::Grace { since, until }) => Wish::InGrace { since, until },
            Some(Fate::Due { since, .. }) if !self.is_looked_for(store) => Wish::AwaitsLook { since },
            Some(fate @ Fate::Due { since, approved }) => {
                let permit = Permit::default();
                self.absent.permits.insert(store.clone(), (fate, permit.clone()));
                Wish::Absent { since, approved, permit }
            }
            _ => Wish::AbsentForNow("its removal is not planned yet".to_owned()),
        }
    }

    /// Whether the repository was looked at late enough for a store to be deleted; asks for a look otherwise.
    fn is_looked_for(&mut self, store: &StoreId) -> bool {
        let grace = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.fleet.deletion_grace_seconds);
        let looked = self.absent.is_looked_for(store, grace, Instant::now());
        if !looked {
            if self.absent.await_look.is_empty() {
                // When nobody looks any more, the daemon ends.
                let _ = self.look.send(());
            }
            self.absent.await_look.insert(store.clone());
        }
        looked
    }

    /// Takes back what runs under way may still do to such stores, which were given permits for such fates.
    pub(super) fn withdraw_permits(&mut self, such: impl Fn(&StoreId, &Fate) -> bool) {
        self.absent.permits.retain(|store, (fate, permit)| {
            let withdrawn = such(store, fate);
            if withdrawn {
                permit.withdraw();
                self.queue.mark(store);
            }
            !withdrawn
        });
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

    /// Whether a run of this store needs a new plan of removals. When ten thousand stores go, not each of their runs plans
    /// the removal of all; but none is deleted against what is marked on its own namespace by now.
    fn wants_plan(&mut self, store: &StoreId) -> bool {
        let now = Instant::now();
        if self.absent.planning.is_old(now) {
            return true;
        }
        match self.removals.fates.get(store) {
            None if !self.context.cluster.is_ours(store) => false,
            None if self.absent.planning.rests(now) => {
                self.absent.planning.awaits(store, now);
                false
            }
            None => true,
            // A plan made now leaves no such store, so there is one of these a second at most.
            Some(Fate::Grace { until, .. }) => *until <= (self.context.surroundings.clock)(),
            Some(Fate::Due { approved, .. }) => {
                let protection = self.absent.protection.get(store).copied();
                let namespace = self.context.cluster.namespace(store);
                namespace.is_some_and(|it| plan::is_marked_to_stay(&it, *approved, protection))
            }
            Some(_) => false,
        }
    }

    /// Plans anew soon: a run has changed what the plan is made from.
    pub(super) fn plan_removals_soon(&mut self) {
        self.absent.planning.soon(Instant::now());
    }

    pub(super) fn plan_removals(&mut self) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        let began = Instant::now();
        let removals = self.planned_removals(&snapshot);
        if removals != self.removals {
            self.absent.over_budget = removals.over_budget().unwrap_or_default();
            self.show_refusal(&snapshot, &removals);
            self.tell_refusals(removals.refused(), removals.protected());
        }
        // A commit may have refused, postponed or no longer approved what a run is about to do.
        self.withdraw_permits(|store, given| {
            removals.fates.get(store).is_some_and(|fate| fate != given && *fate != Fate::Going)
        });
        self.removals = removals;
        for store in self.absent.planning.planned(began, Instant::now()) {
            self.queue.mark(&store);
        }
    }

    fn planned_removals(&mut self, snapshot: &Snapshot) -> Removals {
        let now = (self.context.surroundings.clock)();
        let has_file = |store: &StoreId| snapshot.stores.contains_key(store);
        let (observed, fleet) = self.context.cluster.without_file(&has_file);
        if observed.is_empty() && self.removals.fates.is_empty() {
            return Removals::default();
        }
        let recent = self.recent_removals(now);
        let there = |store: &StoreId| self.context.cluster.has_namespace(store);
        self.absent.notice(&observed, there, Instant::now(), now);
        let gone = self.absent.gone(Instant::now());
        let (refused_before, protection) = (self.removals.refused(), &self.absent.protection);
        let rules = RemovalRules::new(&self.context.source, &snapshot.fleet, fleet, now);
        let rules = RemovalRules {
            recent: &recent,
            refused_before: &refused_before,
            protection,
            gone: &gone,
            ..rules
        };
        plan::removals(&has_file, &observed, &rules)
    }

    /// Says what a new plan refuses, once.
    fn show_refusal(&mut self, snapshot: &Snapshot, removals: &Removals) {
        let refusal = removals.refusal();
        if refusal == self.absent.refusal {
            return;
        }
        if let Some(refusal) = &refusal {
            tracing::error!(git.commit = %snapshot.revision, "{refusal}");
        }
        self.metrics.set_removals_refused(removals.refused().len() + removals.protected().len());
        self.absent.refusal.clone_from(&refusal);
        self.board.update(|picture| picture.fleet.removals_refused = refusal);
    }

    /// What was deleted lately. A store that was written down and is there all the same was not deleted.
    pub(super) fn recent_removals(&mut self, now: i64) -> Recent {
        let mut recent = self.context.ledger.recent(now);
        recent.removed.retain(|removed| {
            let namespace = self.context.cluster.namespace(&removed.store);
            namespace.is_none_or(|it| it.uid != removed.uid || it.deleting_since.is_some())
        });
        self.absent.keep_young(&mut recent.removed, Instant::now(), now);
        recent.unknown_since = self.absent.lost_since(recent.unknown_since, Instant::now(), now);
        recent
    }
}
