//! Carries a plan out: the waves one after the other, the steps of a wave side by side.

use std::collections::BTreeMap;

use futures::StreamExt;

use super::Tally;
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::{Fingerprint, ObjectKey, Owner};
use crate::plan::{Cause, Step};

/// How many requests of one store may be under way at once.
const STEPS_AT_ONCE: usize = 8;

/// Carries the waves out and returns, for each applied object, the fields that are ours now. A wave with a
/// failure is finished, so that independent objects get theirs, and no further one is begun.
pub(super) async fn carry_out(
    cluster: &Cluster,
    owner: Owner<'_>,
    waves: Vec<Vec<Step>>,
    tally: &mut Tally,
) -> Result<BTreeMap<ObjectKey, Option<Fingerprint>>, ClusterError> {
    let mut applied = BTreeMap::new();
    for wave in waves {
        let acts = futures::stream::iter(wave.into_iter().map(|step| take(cluster, owner, step)));
        let results: Vec<_> = acts.buffer_unordered(STEPS_AT_ONCE).collect().await;
        let mut failures = Vec::new();
        for result in results {
            match result {
                Ok(taken) => {
                    tally.steps += 1;
                    tally.healed += usize::from(taken.healed);
                    tally.created |= taken.created;
                    applied.extend(taken.applied);
                }
                Err(error) => failures.push(error),
            }
        }
        let mut failures = failures.into_iter();
        if let Some(first) = failures.next() {
            for further in failures {
                tracing::warn!(error = %further, "a further step of the same wave failed");
            }
            return Err(first);
        }
    }
    Ok(applied)
}

/// What a step did.
#[derive(Default)]
struct Taken {
    created: bool,
    healed: bool,
    applied: Option<(ObjectKey, Option<Fingerprint>)>,
}

async fn take(cluster: &Cluster, owner: Owner<'_>, step: Step) -> Result<Taken, ClusterError> {
    let namespace = owner.store.namespace();
    let mut taken = Taken::default();
    match step {
        Step::CreateNamespace(spec) => {
            cluster.create_namespace(&spec).await?;
            taken.created = true;
        }
        Step::ApplyNamespace(spec) => cluster.apply_namespace(&spec).await?,
        Step::RecordIntent(inventory) => cluster.record(owner, &inventory).await?,
        Step::Apply { manifest, cause } => {
            let fields = cluster.apply(&manifest, &namespace).await?;
            taken.healed = matches!(cause, Cause::Deleted | Cause::Drifted);
            taken.applied = Some((manifest.key, fields));
        }
        Step::Prune { key, uid } => cluster.prune(&key, &namespace, &uid).await?,
    }
    Ok(taken)
}
