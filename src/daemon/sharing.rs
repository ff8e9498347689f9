//! The stores that this replica keeps, where there are several: what comes and goes with them, and what is told by one of
//! all replicas only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::Daemon;
use crate::cluster::{Cluster, Holdings, Leadership, LeaseSettings, Shard, Voice, Word};
use crate::ledger::Ledger;
use crate::names::{SourceId, StoreId, removals_name};
use crate::reconcile::Keeper;
use crate::report::{Replica, Replicas, StoreState};

/// How long the start waits until it is settled who keeps what. After that this replica looks on until it is.
const SETTLING: Duration = Duration::from_secs(30);

/// How long giving everything to others may take when the daemon stops.
const PARTING: Duration = Duration::from_secs(2);

/// This replica's place among several; none where it is alone.
pub(super) struct Membership(Option<(Leadership, LeaseSettings)>);

impl Membership {
    /// Takes part, and waits until somebody keeps the stores: what happens before would be told by nobody.
    pub(super) async fn begin(cluster: &Cluster, settings: Option<LeaseSettings>) -> Self {
        let Some(settings) = settings else { return Self(None) };
        let leadership = cluster.join(settings.clone());
        cluster.guard(leadership.fence());
        let mut holdings = leadership.holdings();
        let settled = holdings.wait_for(|holdings| holdings.speaker().is_some());
        if tokio::time::timeout(SETTLING, settled).await.is_err() {
            tracing::warn!("it is not settled which replica keeps the stores; this one looks on meanwhile");
        }
        Self(Some((leadership, settings)))
    }

    /// Returns the memory of removals: of this file, or of all replicas together.
    pub(super) fn ledger(&self, cluster: &Cluster, source: &SourceId, file: PathBuf) -> Ledger {
        let Some((_, settings)) = &self.0 else { return Ledger::new(file) };
        Ledger::shared(cluster.share_record(&settings.namespace, &removals_name(source)))
    }

    /// Follows what this replica keeps, and what the others say.
    pub(super) fn sharing(&self) -> Sharing {
        Sharing(self.0.as_ref().map(|(leadership, settings)| {
            let (mut news, mut words) = (leadership.holdings(), leadership.heard());
            // What is known already is the first news.
            news.mark_changed();
            words.mark_changed();
            Circle {
                identity: settings.identity.clone(),
                lease: settings.duration,
                voice: leadership.voice(),
                news,
                words,
                holdings: Holdings::default(),
                heard: BTreeMap::new(),
                failed: BTreeMap::new(),
            }
        }))
    }

    /// Has the other replicas look at the repository whenever this one is asked to have them.
    pub(super) fn pass_on(&self, mut calls: UnboundedReceiver<()>) {
        let Some((leadership, _)) = &self.0 else { return };
        let voice = leadership.voice();
        tokio::spawn(async move {
            while calls.recv().await.is_some() {
                voice.call();
            }
        });
    }

    /// Gives everything to the others. Nothing may be under way any more.
    pub(super) async fn end(self) {
        if let Some((leadership, _)) = self.0 {
            let _ = tokio::time::timeout(PARTING, leadership.leave()).await;
        }
    }
}

/// What this replica knew at the last look of who keeps what; nothing ever changes where it is alone.
#[derive(Default)]
pub(super) struct Sharing(Option<Circle>);

struct Circle {
    identity: String,
    /// How long a replica that says nothing counts as alive.
    lease: Duration,
    voice: Voice,
    news: watch::Receiver<Holdings>,
    words: watch::Receiver<BTreeMap<Arc<str>, Word>>,
    holdings: Holdings,
    /// What the others say, by the uids of their Leases.
    heard: BTreeMap<Arc<str>, Word>,
    /// Why stores that this replica keeps are FAILED.
    failed: BTreeMap<StoreId, String>,
}

/// What has changed among the replicas.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stir {
    /// Who keeps what.
    Holdings,
    /// What others say.
    Words,
}

impl Sharing {
    /// Waits for a change; for ever where there is one replica.
    pub(super) async fn changed(&mut self) -> Stir {
        let Some(Circle { news, words, .. }) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            Ok(()) = news.changed() => Stir::Holdings,
            Ok(()) = words.changed() => Stir::Words,
            // Both end with the process.
            else => std::future::pending().await,
        }
    }

    /// Returns the identity of the replica that keeps a store; none where there is one replica.
    pub(super) fn keeper(&self, store: &StoreId) -> Option<String> {
        self.0.as_ref().and_then(|circle| Some(circle.holdings.keeper(store)?.identity.to_string()))
    }

    /// Tells who acts on a store in our place, and how that goes.
    pub(super) fn told_by_keeper(&self, store: &StoreId) -> Keeper {
        self.0.as_ref().map(|circle| circle.told(store)).unwrap_or_default()
    }
}

impl Circle {
    fn told(&self, store: &StoreId) -> Keeper {
        let Some(keeper) = self.holdings.keeper(store) else { return Keeper::default() };
        let word = self.heard.get(&keeper.uid);
        Keeper {
            identity: Some(keeper.identity.to_string()),
            failed: word.and_then(|word| word.failed.get(store).cloned()),
            leaves_out: word.is_some_and(|word| word.left_out > 0),
        }
    }

    /// Takes in what changed, and returns which of these stores another replica tells something else of by that.
    fn learn(&mut self, stores: &[StoreId], take_in: impl FnOnce(&mut Self)) -> Vec<StoreId> {
        let before: Vec<_> = stores.iter().map(|store| self.told(store)).collect();
        take_in(self);
        let all = stores.iter().zip(before);
        all.filter(|(store, before)| self.told(store) != *before).map(|(store, _)| store.clone()).collect()
    }

    fn replicas(&self) -> Replicas {
        let Holdings { mine: _, leaving: _, owners: _, alive, since } = &self.holdings;
        let is_alive = |identity: &str| alive.iter().any(|member| *member.identity == *identity);
        let all =
            self.holdings.members().into_iter().map(|(identity, shards)| {
                (identity.to_string(), Replica { alive: is_alive(&identity), shards })
            });
        Replicas {
            here: self.identity.clone(),
            since: *since,
            shards: Shard::all().count(),
            unkept: self.holdings.unkept(),
            all: all.collect(),
        }
    }
}

impl Daemon {
    /// Something has changed among the replicas.
    pub(super) fn on_stir(&mut self, stir: Stir) {
        match stir {
            Stir::Holdings => self.on_holdings(),
            Stir::Words => self.on_words(),
        }
    }

    /// Somebody else keeps other stores than before, or this replica does.
    fn on_holdings(&mut self) {
        let shown: Vec<_> = self.board.reader().read(|picture| picture.stores.keys().cloned().collect());
        let Some(circle) = &mut self.sharing.0 else { return };
        let now = circle.news.borrow_and_update().clone();
        let come: BTreeSet<_> = now.mine.difference(&circle.holdings.mine).copied().collect();
        let retold = circle.learn(&shown, |circle| circle.holdings = now);
        circle.failed.retain(|store, _| circle.holdings.mine.contains(&Shard::of(store)));
        circle.voice.tell(&circle.failed);
        let Holdings { mine, leaving, .. } = &circle.holdings;
        let (members, speaker) = (circle.holdings.members(), circle.holdings.speaker());
        tracing::info!(
            shards = mine.len(),
            leaving = leaving.len(),
            members = members.len(),
            speaker = speaker.map(|speaker| &*speaker.identity).unwrap_or_default(),
            "the stores are shared anew"
        );
        let (kept, alive) = (mine.len(), circle.holdings.alive.len());
        let replicas = circle.replicas();
        self.metrics.set_shares(kept, replicas.unkept, alive);
        self.show_keepers(replicas);
        for store in retold {
            self.queue.mark_routine(&store);
        }
        if !come.is_empty() {
            self.metrics.taken_over();
            self.take_over(&come);
        }
    }

    /// Another replica says something new.
    fn on_words(&mut self) {
        let board = self.board.reader();
        let Some(circle) = &mut self.sharing.0 else { return };
        let now = circle.words.borrow_and_update().clone();
        let leaves_out = |words: &BTreeMap<Arc<str>, Word>| words.values().any(|word| word.left_out > 0);
        let concerned: BTreeSet<_> = if leaves_out(&now) == leaves_out(&circle.heard) {
            circle.heard.values().chain(now.values()).flat_map(|word| word.failed.keys().cloned()).collect()
        } else {
            board.read(|picture| picture.stores.keys().cloned().collect())
        };
        let concerned: Vec<_> = concerned.into_iter().collect();
        let calls = |words: &BTreeMap<Arc<str>, Word>, uid| words.get(uid).map_or(0, |word| word.calls);
        let called = now.iter().any(|(uid, word)| word.calls > calls(&circle.heard, uid));
        for store in circle.learn(&concerned, |circle| circle.heard = now) {
            if board.read(|picture| picture.stores.contains_key(&store)) {
                self.queue.mark(&store);
            }
        }
        if called {
            tracing::info!("another replica was told of a push");
            let _ = self.look.send(());
        }
    }

    /// Shows who keeps what.
    fn show_keepers(&self, replicas: Replicas) {
        self.board.update(|picture| {
            picture.fleet.replicas = Some(replicas);
            let keeper = |store: &StoreId| self.sharing.keeper(store);
            let moved = picture.stores.values().filter(|report| report.keeper != keeper(&report.name));
            let moved: Vec<_> = moved.map(|report| report.name.clone()).collect();
            for store in moved {
                if let Some(report) = picture.stores.get_mut(&store) {
                    report.keeper = keeper(&store);
                }
            }
        });
    }

    /// What the replica before left undone of the stores of these shards, this one does; of what is done it sends nothing.
    fn take_over(&mut self, come: &BTreeSet<Shard>) {
        for store in self.known_stores() {
            if come.contains(&Shard::of(&store)) {
                self.queue.mark_routine(&store);
            }
        }
        self.plan_removals_soon();
        if let Some(circle) = &self.sharing.0 {
            // The replica before was there until its Lease ended, at least; twice its time leaves no gap.
            let window = i64::try_from(circle.lease.as_secs()).unwrap_or(i64::MAX).saturating_mul(2);
            self.chronicle.recover(come, (self.context.surroundings.clock)().saturating_sub(window));
        }
        self.retell(come);
        if come.contains(&Shard::SPEAKER) {
            self.verdicts.desk.take_up();
            // For the plans of pull requests, which the replica before may not have ended.
            let _ = self.look.send(());
        }
    }

    /// Tells the other replicas how a store is that this one keeps, as far as they can't see it: why it is FAILED. None: it
    /// is not, or is gone.
    pub(super) fn tell_replicas(&mut self, store: &StoreId, state: Option<StoreState>, reason: &str) {
        let speaks = self.speaks_for(Some(store));
        let Some(circle) = &mut self.sharing.0 else { return };
        let is_news = if speaks && state == Some(StoreState::Failed) {
            circle.failed.insert(store.clone(), reason.to_owned()).as_deref() != Some(reason)
        } else {
            circle.failed.remove(store).is_some()
        };
        if is_news {
            circle.voice.tell(&circle.failed);
        }
    }

    /// Returns every store that git names or that has a namespace of this source.
    fn known_stores(&self) -> BTreeSet<StoreId> {
        let named = self.snapshot.iter().flat_map(|snapshot| snapshot.stores.keys().cloned());
        let named = named.filter(|store| !self.overlooked.contains(store));
        named.chain(self.context.cluster.our_namespaces().into_keys()).collect()
    }

    /// Whether what is told of a store, or of the fleet for none, is told by this replica.
    pub(super) fn speaks_for(&self, store: Option<&StoreId>) -> bool {
        let fence = self.context.cluster.fence();
        store.map_or_else(|| fence.is_speaker(), |store| fence.permits(store))
    }
}
