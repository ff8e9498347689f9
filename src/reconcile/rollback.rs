//! What a run works towards: what git wants, or, when that did not come up and its store says so, what ran before.

use std::sync::Arc;

use super::Context;
use super::prepare::{inputs, manifests};
use super::render::LookUps;
use crate::manifest::{Fingerprint, Manifest, Owner};
use crate::plan::{self, DesiredStore, Held, Hooks, Inventory, LastGood, ObservedStore};
use crate::report::{Version, rolled_back};
use crate::store::{Rollback, Store};

/// How much of a reason is written down.
const REASON_LENGTH: usize = 400;

/// What a run works towards.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    /// The store as it shall be.
    pub(super) store: Arc<Store>,
    /// Its commit.
    pub(super) revision: String,
    /// What git wants instead, if that is held back.
    pub(super) held: Option<Held>,
    /// Whether it is protected, as its file says now.
    pub(super) protect: bool,
}

impl Aim {
    /// Works towards what git wants.
    pub(super) fn at(store: &Arc<Store>, revision: &str) -> Self {
        let (store, revision, protect) = (Arc::clone(store), revision.to_owned(), store.protect);
        Self { store, revision, held: None, protect }
    }

    /// Describes the store with these objects.
    pub(super) fn desired<'a>(
        &'a self,
        owner: Owner<'a>,
        inputs: &'a Fingerprint,
        manifests: &'a [Manifest],
        hooks: Option<&'a Hooks>,
    ) -> DesiredStore<'a> {
        let Self { store, revision, held, protect } = self;
        let (host, protect, held) = (&store.host, *protect, held.as_ref());
        DesiredStore { owner, host, protect, inputs, revision, held, manifests, hooks }
    }

    /// Says that what ran before can't be had, if so: these objects are others.
    pub(super) fn is_lost(
        &self,
        observed: &ObservedStore,
        inputs: &Fingerprint,
        manifests: &[Manifest],
    ) -> Option<String> {
        let held = self.held.as_ref()?;
        let good = observed.inventory.as_ref()?.good.as_ref()?;
        let now = format!("what runs is left as it is: {CHANGED}");
        (!is_same(good, inputs, manifests)).then(|| said(good, held, &now))
    }
}

/// What becomes of a version that did not come up.
pub(super) enum Way {
    /// It stays.
    Stay,
    /// It stays though its store asks for what ran before, for this reason.
    Refused(String),
    /// What ran before is applied again by the next run.
    Back(Held),
}

/// Finds what to work towards; fails with a sentence when what ran before is wanted and can't be had.
pub(super) async fn aim(
    context: &Context,
    store: &Arc<Store>,
    revision: &str,
    inventory: Option<&Inventory>,
) -> Result<Aim, String> {
    let held = inventory.and_then(|inventory| Some((inventory.held.as_deref()?, inventory.good.as_deref()?)));
    let Some((held, good)) = held.filter(|(held, _)| is_held(context, store, held)) else {
        return Ok(Aim::at(store, revision));
    };
    match context.past.store_at(&good.revision, &store.id).await {
        Ok(before) => Ok(Aim {
            store: before,
            revision: good.revision.clone(),
            held: Some(held.clone()),
            protect: store.protect,
        }),
        Err(error) => Err(said(good, held, &format!("what runs is left as it is: failed to {error}"))),
    }
}

/// Whether this is the version that is held back: another commit of the store, another release of storekeeper or another
/// chart is not.
fn is_held(context: &Context, store: &Store, held: &Held) -> bool {
    store.rollback == Rollback::LastGood && held.wish == wish(context, store)
}

fn wish(context: &Context, store: &Store) -> Fingerprint {
    let parts = [env!("CARGO_PKG_VERSION"), store.digest(), context.charts.digest_for(&store.chart)];
    Fingerprint::of_bytes(parts.join("\n").as_bytes())
}

/// Says what is held back, and how what runs does.
pub(super) fn said(good: &LastGood, held: &Held, now: &str) -> String {
    let Held { wish: _, revision, image, reason } = held;
    let from = Version { revision, image: image.as_deref() };
    let to = Version { revision: &good.revision, image: good.image.as_deref() };
    rolled_back(to, from, reason, now)
}

/// Decides about a version that failed for good, whatever its store says of that. Nothing is sent but look-ups.
pub(super) async fn decide(
    context: &Context,
    wanted: &Arc<Store>,
    observed: &ObservedStore,
    inventory: &Inventory,
    reason: &str,
) -> Way {
    let Some(good) = inventory.good.as_deref() else { return Way::Stay };
    // What is applied has to be what git wants now, or it is not that which failed.
    let now = inputs(wanted, &context.charts, context.cluster.served_fingerprint());
    if wanted.rollback != Rollback::LastGood || inventory.inputs != Some(now) {
        return Way::Stay;
    }
    match check(context, wanted, observed, inventory, good).await {
        Err(why) => Way::Refused(why),
        Ok(()) => Way::Back(Held {
            wish: wish(context, wanted),
            revision: inventory.revision.clone(),
            image: inventory.image.clone(),
            reason: reason.chars().take(REASON_LENGTH).collect(),
        }),
    }
}

/// Looks at everything that can stand against what ran before; fails with the first of it.
async fn check(
    context: &Context,
    wanted: &Arc<Store>,
    observed: &ObservedStore,
    inventory: &Inventory,
    good: &LastGood,
) -> Result<(), String> {
    let before = context.past.store_at(&good.revision, &wanted.id).await;
    let before = before.map_err(|error| format!("failed to {error}"))?;
    if before.host != wanted.host {
        return Err(format!("its host was {} then, and may be another store's now", before.host));
    }
    let owner = Owner { store: &wanted.id, source: &context.source };
    let rendered = manifests(context, owner, &before, observed, &LookUps::Cluster).await;
    let rendered = rendered.map_err(|error| format!("failed to {error}"))?;
    let inputs = inputs(&before, &context.charts, context.cluster.served_fingerprint());
    if !is_same(good, &inputs, &rendered) {
        return Err(CHANGED.to_owned());
    }
    plan::may_roll_back(&rendered, inventory, observed)?;
    for job in plan::failed_jobs(&rendered, inventory, observed) {
        let pods = context.cluster.pods_of_job(&job.name, &wanted.id.namespace()).await;
        let pods = pods.map_err(|error| format!("failed to {error}"))?;
        if let Some(step) = plan::ended_well(&pods) {
            return Err(format!(
                "{step} of {job} ended well before that failed, so the database may have moved on: mend the new version \
                 in git, or go back in git if the older one is known to work with it"
            ));
        }
    }
    Ok(())
}

/// Whether a rendering is the one that ran before. With the same inputs it is, whatever Secrets hold by now that the chart
/// looks up; another release of storekeeper has other inputs, and may render the same.
fn is_same(good: &LastGood, inputs: &Fingerprint, rendered: &[Manifest]) -> bool {
    let objects = rendered.iter().map(|manifest| (&manifest.key, Some(manifest.fingerprint)));
    good.inputs == *inputs || good.rendering == plan::rendering(objects)
}

/// Why a commit alone does not bring back what ran.
const CHANGED: &str =
    "its commit renders otherwise today: storekeeper, its chart or the API server have changed since";
