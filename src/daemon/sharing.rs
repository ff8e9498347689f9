//! The stores that this replica keeps, where there are several: what comes and goes with them, and what is told by one of
//! all replicas only.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::Daemon;
use crate::cluster::{Cluster, Holdings, Leadership, LeaseSettings, Shard};
use crate::ledger::Ledger;
use crate::names::{SourceId, StoreId, removals_name};

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
        let settled = holdings.wait_for(|holdings| holdings.speaker.is_some());
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

    /// Follows what this replica keeps.
    pub(super) fn sharing(&self) -> Sharing {
        let mut news = self.0.as_ref().map(|(leadership, _)| leadership.holdings());
        // What is held already is the first news.
        news.iter_mut().for_each(watch::Receiver::mark_changed);
        Sharing { news, held: BTreeSet::new() }
    }

    /// Gives everything to the others. Nothing may be under way any more.
    pub(super) async fn end(self) {
        if let Some((leadership, _)) = self.0 {
            let _ = tokio::time::timeout(PARTING, leadership.leave()).await;
        }
    }
}

/// What this replica held at the last look; nothing ever changes where it is alone.
#[derive(Default)]
pub(super) struct Sharing {
    news: Option<watch::Receiver<Holdings>>,
    held: BTreeSet<Shard>,
}

impl Sharing {
    /// Waits for a change; for ever where there is one replica.
    pub(super) async fn changed(&mut self) {
        let Some(news) = &mut self.news else { return std::future::pending().await };
        if news.changed().await.is_err() {
            self.news = None;
        }
    }

    /// Takes the change in: which shards have come.
    fn take(&mut self) -> (Holdings, BTreeSet<Shard>) {
        let holdings = self.news.as_mut().map(|news| news.borrow_and_update().clone()).unwrap_or_default();
        let come = holdings.mine.difference(&self.held).copied().collect();
        self.held.clone_from(&holdings.mine);
        (holdings, come)
    }
}

impl Daemon {
    /// Somebody else keeps other stores than before, or this replica does.
    pub(super) fn on_holdings(&mut self) {
        let (holdings, come) = self.sharing.take();
        let Holdings { mine, leaving, members, speaker } = holdings;
        tracing::info!(
            shards = mine.len(),
            leaving = leaving.len(),
            members = members.len(),
            speaker = speaker.as_deref().unwrap_or_default(),
            "the stores are shared anew"
        );
        if come.is_empty() {
            return;
        }
        // What the replica before left of them undone, this one does; of what is done it sends nothing.
        for store in self.known_stores() {
            if come.contains(&Shard::of(&store)) {
                self.queue.mark_routine(&store);
            }
        }
        self.plan_removals_soon();
        self.retell(&come);
        if come.contains(&Shard::SPEAKER) {
            // For the plans of pull requests, which the replica before may not have ended.
            let _ = self.look.send(());
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
