//! Carries a plan out: the waves one after the other, the steps of a wave side by side.

use std::collections::BTreeMap;

use futures::StreamExt;

use super::Done;
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::{Fingerprint, ObjectKey, Owner};
use crate::plan::{Cause, Step};

/// How many requests of one store may be under way at once.
const STEPS_AT_ONCE: usize = 8;

/// Counts what a plan is about to do.
pub(super) fn count(waves: &[Vec<Step>]) -> Done {
    let steps = || waves.iter().flatten();
    let created = steps().any(|step| matches!(step, Step::CreateNamespace(_)));
    let changes = steps().any(|step| matches!(step, Step::RecordIntent(_)));
    let restores =
        |step: &&Step| matches!(step, Step::Apply { cause: Cause::Missing | Cause::Drifted, .. } if !changes);
    Done::Applied { steps: steps().count(), healed: steps().filter(restores).count(), created }
}

/// Carries the waves out and returns, for each applied object, the fields that are ours now. A wave with a
/// failure is finished, so that independent objects get theirs, and no further one is begun.
pub(super) async fn carry_out(
    cluster: &Cluster,
    owner: Owner<'_>,
    waves: Vec<Vec<Step>>,
) -> Result<BTreeMap<ObjectKey, Option<Fingerprint>>, ClusterError> {
    let mut applied = BTreeMap::new();
    for wave in waves {
        let acts = futures::stream::iter(wave.into_iter().map(|step| take(cluster, owner, step)));
        let results: Vec<_> = acts.buffer_unordered(STEPS_AT_ONCE).collect().await;
        for result in results {
            applied.extend(result?);
        }
    }
    Ok(applied)
}

async fn take(
    cluster: &Cluster,
    owner: Owner<'_>,
    step: Step,
) -> Result<Option<(ObjectKey, Option<Fingerprint>)>, ClusterError> {
    let namespace = owner.store.namespace();
    match step {
        Step::CreateNamespace(spec) => cluster.create_namespace(&spec).await?,
        Step::ApplyNamespace(spec) => cluster.apply_namespace(&spec).await?,
        Step::RecordIntent(inventory) => cluster.record(owner, &inventory).await?,
        Step::Apply { manifest, .. } => {
            let fields = cluster.apply(&manifest, &namespace).await?;
            return Ok(Some((manifest.key, fields)));
        }
        Step::Prune { key, uid } => cluster.prune(&key, &namespace, &uid).await?,
    }
    Ok(None)
}
