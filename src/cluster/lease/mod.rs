//! Which replica may write for which stores.
//!
//! Each replica, a *member*, keeps a Lease of its own by renewing it; one ConfigMap, the *ring*, names the owner of each
//! of 64 shards. A member writes for a store while its Lease is valid by its own clock and the ring names it as the
//! owner of the store's shard.
//!
//! - `ring`: shards, members, and who should own what; pure
//! - `seat`: what one member knows and may do, and its next step; pure
//! - `word`: what members tell each other; pure
//! - `wire`: the requests
//! - `member`: the task that takes the steps
//! - `roster`: who takes part, for who is no member

mod member;
#[cfg(test)]
mod model_tests;
mod ring;
mod roster;
mod seat;
#[cfg(test)]
mod seat_tests;
mod wire;
mod word;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::Cluster;
use crate::names::StoreId;
pub use ring::{Member, Shard, Spread};
pub use roster::{Enrolled, Roster};
pub use seat::Holdings;
use seat::Seat;
use wire::Wire;
pub use word::Word;

/// Tells the time in seconds since 1970. It is written for people and never compared.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How a replica takes part.
#[derive(Clone)]
pub struct LeaseSettings {
    /// The daemon's own namespace, which holds the Leases and the ring.
    pub namespace: String,
    /// The pod's name.
    pub identity: String,
    /// How long a member that says nothing counts as alive, in whole seconds; at least 3.
    pub duration: Duration,
    /// How the members share the stores. One that says `Leader` decides for all.
    pub spread: Spread,
    /// What the time is.
    pub clock: Clock,
}

/// What fence and task share.
struct Shared {
    seat: Mutex<Seat>,
    holdings: watch::Sender<Holdings>,
    /// Wakes who takes the steps.
    stir: Notify,
    /// Wakes who renews the Lease.
    tend: Notify,
    /// What this member tells the others.
    told: watch::Sender<Word>,
    /// What the others tell, by the uids of their Leases.
    heard: watch::Sender<BTreeMap<Arc<str>, Word>>,
}

impl Shared {
    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes something in, shows what follows and has the next step decided.
    fn learn<T>(&self, take_in: impl FnOnce(&mut Seat, Instant) -> T) -> T {
        let now = Instant::now();
        let learnt = take_in(&mut self.seat(), now);
        self.show();
        self.stir.notify_one();
        learnt
    }

    /// Shows what this member holds, if that has changed.
    fn show(&self) {
        let seat = self.seat();
        let holdings = seat.holdings(Instant::now());
        // Under the lock, or an older picture could come last.
        self.holdings.send_if_modified(|shown| {
            let changed = *shown != holdings;
            *shown = holdings;
            changed
        });
        drop(seat);
    }
}

/// Tells which stores this replica may write for. Cloned handles share what is known.
#[derive(Clone)]
pub struct Fence(Option<Arc<Shared>>);

impl Fence {
    /// Makes the fence of a daemon that shares its stores with nobody: it permits everything.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Whether this store may be written now. To be asked before each write.
    pub fn permits(&self, store: &StoreId) -> bool {
        self.permits_shard(Shard::of(store))
    }

    /// Whether what is to be done once for all stores is to be done here.
    pub fn is_speaker(&self) -> bool {
        self.permits_shard(Shard::SPEAKER)
    }

    /// Begins a run over a store, if one may begin now. While a pass is held, its shard is not handed to another member;
    /// it may still be lost, so that [`Fence::permits`] has to be asked all the same.
    pub fn enter(&self, store: &StoreId) -> Option<Pass> {
        let Some(shared) = &self.0 else { return Some(Pass(None)) };
        let shard = Shard::of(store);
        let entered = shared.seat().enter(shard, Instant::now());
        entered.then(|| Pass(Some((Arc::clone(shared), shard))))
    }

    fn permits_shard(&self, shard: Shard) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.seat().permits(shard, Instant::now()))
    }
}

/// A run under way. Dropping it ends it.
pub struct Pass(Option<(Arc<Shared>, Shard)>);

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some((shared, shard)) = &self.0
            && shared.seat().exit(*shard)
        {
            shared.stir.notify_one();
        }
    }
}

/// Tells the other members something. Cloned handles speak for the same member.
#[derive(Clone)]
pub struct Voice(Arc<Shared>);

impl Voice {
    /// Has every other member look at the repository.
    pub fn call(&self) {
        self.0.told.send_modify(|word| word.calls += 1);
    }

    /// Says why stores that this member keeps are FAILED.
    pub fn tell(&self, failed: &BTreeMap<StoreId, String>) {
        self.0.told.send_if_modified(|word| {
            let before = word.clone();
            word.tell(failed);
            *word != before
        });
    }
}

/// This replica's membership. Dropping it is like being killed: others wait for the Lease to run out.
pub struct Leadership {
    shared: Arc<Shared>,
    wire: Arc<Wire>,
    task: JoinHandle<()>,
}

impl Cluster {
    /// Makes this replica a member, in a task of its own. What it may write, it learns in time.
    pub fn join(&self, settings: LeaseSettings) -> Leadership {
        let seat = Seat::new(&settings.identity, settings.duration, settings.spread);
        let span = tracing::info_span!("member", member.identity = %settings.identity);
        let wire = Wire::new(self.prompt.clone(), self.source.clone(), settings, self.metrics.clone());
        let wire = Arc::new(wire);
        let shared = Arc::new(Shared {
            seat: Mutex::new(seat),
            holdings: watch::channel(Holdings::default()).0,
            stir: Notify::new(),
            tend: Notify::new(),
            told: watch::channel(Word::default()).0,
            heard: watch::channel(BTreeMap::new()).0,
        });
        let task = tokio::spawn(member::run(Arc::clone(&shared), Arc::clone(&wire)).instrument(span));
        Leadership { shared, wire, task }
    }
}

impl Leadership {
    /// Returns the fence to ask before runs and writes.
    pub fn fence(&self) -> Fence {
        Fence(Some(Arc::clone(&self.shared)))
    }

    /// Tells what this member holds and who holds what, and of each change.
    pub fn holdings(&self) -> watch::Receiver<Holdings> {
        self.shared.holdings.subscribe()
    }

    /// Returns what tells the other members something.
    pub fn voice(&self) -> Voice {
        Voice(Arc::clone(&self.shared))
    }

    /// Tells what the other members say, by the uids of their Leases, and of each change.
    pub fn heard(&self) -> watch::Receiver<BTreeMap<Arc<str>, Word>> {
        self.shared.heard.subscribe()
    }

    /// Gives everything to the members that are there, and ends. Nothing may be under way any more, and nothing is
    /// permitted from now on. When it fails, others take over as if this member had been killed.
    pub async fn leave(mut self) {
        let parting = self.shared.learn(|seat, _| seat.leave());
        self.task.abort();
        // Its requests have ended then, as far as we are concerned.
        let _ = (&mut self.task).await;
        if let Some((member, name)) = parting {
            member::part(&self.shared, &self.wire, &member, &name).await;
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.shared.learn(|seat, _| seat.leave());
        self.task.abort();
    }
}
