//! A store that git holds back: one that is paused, of which nothing is changed, and one outside its change window, of which
//! the version in force is kept up.

use std::sync::Arc;

use super::conclude::{Wanted, conclude};
use super::prepare::inputs;
use super::{Conclusion, Context, Done, Memory, RunError, awaiting_deletion, rollback};
use crate::manifest::Owner;
use crate::plan::{ObservedStore, Ownership};
use crate::report::StoreState;
use crate::store::Store;

/// What a run outside the change window works towards.
pub(super) enum InForce {
    /// What git wants: it was applied when the window was open.
    Wanted,
    /// What was applied last, at its commit: what git wants by now waits.
    Before(Arc<Store>, String),
    /// Nothing: what git wants waits, and what was applied last can't be had, for this reason.
    Nothing(String),
}

/// Finds which version of a store is in force.
pub(super) async fn in_force(
    context: &Context,
    owner: Owner<'_>,
    (store, revision): (&Arc<Store>, &str),
) -> Result<InForce, RunError> {
    let observed = look(context, owner).await?;
    if is_applied(context, (store, revision), &observed).await {
        return Ok(InForce::Wanted);
    }
    let Some(inventory) = observed.inventory.as_deref() else {
        return Ok(InForce::Nothing("it is not made before".to_owned()));
    };
    let Some(applied) = inventory.inputs else {
        let words = "its last change was begun and has not ended, and is left as it is until then";
        return Ok(InForce::Nothing(words.to_owned()));
    };
    let withheld = |why: &str| InForce::Nothing(format!("drift is not healed until then either: {why}"));
    Ok(match context.past.store_at(&inventory.revision, owner.store).await {
        Err(error) => withheld(&format!("failed to {error}")),
        Ok(before) if inputs(&before, &context.charts, context.cluster.served_fingerprint()) == applied => {
            // What protects it is no part of a version.
            let mut before = before;
            Arc::make_mut(&mut before).protect = store.protect;
            InForce::Before(before, inventory.revision.clone())
        }
        Ok(_) => withheld(
            "the version in force renders otherwise today, because storekeeper, its chart or the API server have changed since",
        ),
    })
}

/// Looks at a store of which nothing is changed, and concludes how it is.
pub(super) async fn untouched(
    context: &Context,
    owner: Owner<'_>,
    (store, revision): (&Arc<Store>, &str),
    memory: &Memory,
) -> Result<Conclusion, RunError> {
    let observed = look(context, owner).await?;
    let waits = !is_applied(context, (store, revision), &observed).await;
    let conclusion = match &observed.namespace {
        None => {
            let reason = "nothing of it is in the cluster yet".to_owned();
            Conclusion::new(Done::Waiting, Some(StoreState::Requested), reason)
        }
        Some(namespace) => match namespace.ownership(owner) {
            whose if whose.may_be_had() && namespace.deleting_since.is_some() => {
                awaiting_deletion(context, owner, &observed, memory).await
            }
            whose if whose.may_be_had() && observed.inventory.is_none() => {
                let reason = "namespace: its first run has not ended".to_owned();
                Conclusion::new(Done::Waiting, Some(StoreState::Provisioning), reason)
            }
            Ownership::Ours | Ownership::NoCluster => {
                conclude(context, Wanted { store, held: None, untouched: true }, Done::Nothing, memory)
                    .await?
            }
            other => return Err(RunError::not_ours(owner, &other)),
        },
    };
    Ok(Conclusion { waits, ..conclusion })
}

async fn look(context: &Context, owner: Owner<'_>) -> Result<ObservedStore, RunError> {
    if let Some(inventory) = context.cluster.observe(owner.store).inventory {
        context.cluster.watch_inventoried(&inventory).await?;
    }
    Ok(context.cluster.observe(owner.store))
}

/// Whether what git wants was applied, or is held back because it did not come up.
async fn is_applied(
    context: &Context,
    (store, revision): (&Arc<Store>, &str),
    observed: &ObservedStore,
) -> bool {
    let Some(inventory) = observed.inventory.as_deref().filter(|_| observed.namespace.is_some()) else {
        return false;
    };
    let Ok(aim) = rollback::aim(context, store, revision, Some(inventory)).await else { return false };
    inventory.inputs == Some(inputs(&aim.store, &context.charts, context.cluster.served_fingerprint()))
}
