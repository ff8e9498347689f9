//! Carries a plan out: the waves one after the other, the steps of a wave side by side.

use std::fmt;

use futures::StreamExt;

use super::{Healed, Tally};
use crate::chart::HookEvent;
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::{Manifest, ObjectKey, Owner, Uid};
use crate::plan::{self, Applied, Cause, HookAct, HookStep, Inventory, ObservedStore, Step, Treatment};

/// How many requests of one store may be under way at once.
const STEPS_AT_ONCE: usize = 8;

/// How many names of steps that were not tried a message carries.
const MOST_NAMES: usize = 5;

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Acted {
    /// For each applied object, the fields that are ours now.
    pub(super) applied: Applied,
    /// Objects that are no longer rendered, and whose deletion was asked for.
    pub(super) pruned: Vec<ObjectKey>,
    /// What was recorded before the first change, if anything was to change.
    pub(super) intent: Option<Inventory>,
    /// Objects that were deleted so that they can be made anew, each with why.
    pub(super) replaced: Vec<String>,
    /// Hooks that are done with having been made.
    pub(super) hooks: Vec<(HookEvent, ObjectKey)>,
    /// Whether a hook is to end before the rest is begun.
    pub(super) awaits: bool,
    /// What did not succeed.
    pub(super) failed: Option<StepsFailed>,
}

/// Why a step did not succeed; fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A field can't be changed on an object that exists, and making it anew would lose something.
    #[error("change {object}: `{field}` can't be changed in place ({words}); {advice}")]
    Immutable {
        /// Kind and name.
        object: String,
        /// The field's path.
        field: String,
        /// The API server's own words.
        words: String,
        /// What a person can do.
        advice: String,
    },
    /// A hook can't be run.
    #[error(
        "run hook {0}: an object of this name is there from before, and its annotation helm.sh/hook-delete-policy does not \
         name before-hook-creation; delete the object, or have the chart name that policy"
    )]
    Obstructed(
        /// Kind and name.
        String,
    ),
}

impl StepError {
    /// Whether later waves wait for it. A change that can't be made leaves an object as it was, which works as it did:
    /// the rest of the store goes on.
    fn stops(&self) -> bool {
        matches!(self, Self::Cluster(_) | Self::Obstructed(_))
    }
}

/// Steps of one run that did not succeed; fits "failed to {error}".
#[derive(Debug)]
pub struct StepsFailed {
    /// The first of them, in the order of the plan.
    pub first: StepError,
    /// Further ones.
    pub further: Vec<StepError>,
    /// What was not tried because of them.
    pub untried: Vec<String>,
}

impl std::error::Error for StepsFailed {}

impl fmt::Display for StepsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        for error in &self.further {
            write!(f, "; and to {error}")?;
        }
        if !self.untried.is_empty() {
            let names: Vec<_> = self.untried.iter().map(String::as_str).collect();
            write!(f, "; not tried before this is mended: {}", plan::shortened_list(&names, MOST_NAMES))?;
        }
        Ok(())
    }
}

impl StepsFailed {
    /// Returns how long the API server asks to wait before the next try, in seconds.
    pub fn retry_after(&self) -> u32 {
        let waits = self.errors().map(|error| match error {
            StepError::Cluster(ClusterError::Refused { retry_after, .. }) => *retry_after,
            _ => 0,
        });
        waits.max().unwrap_or(0)
    }

    /// Returns whether it failed because the namespace has begun to go.
    pub(super) fn is_namespace_going(&self) -> bool {
        let is_going =
            |error: &StepError| matches!(error, StepError::Cluster(error) if error.is_namespace_going());
        self.errors().any(is_going)
    }

    /// Returns whether something of it was not sent because another replica keeps the store.
    pub(super) fn is_fenced(&self) -> bool {
        self.errors().any(|error| matches!(error, StepError::Cluster(error) if error.is_fenced()))
    }

    /// Returns whether the API server said that we may not do something of it.
    pub(super) fn is_forbidden(&self) -> bool {
        self.errors().any(|error| matches!(error, StepError::Cluster(error) if error.is_forbidden()))
    }

    fn errors(&self) -> impl Iterator<Item = &StepError> {
        std::iter::once(&self.first).chain(&self.further)
    }
}

/// Carries the waves out. A wave with a failure is finished, so that independent objects get theirs, and no further one
/// is begun; nothing is pruned before everything is applied, because what stays as it was may need it.
pub(super) async fn carry_out(
    cluster: &Cluster,
    owner: Owner<'_>,
    observed: &ObservedStore,
    waves: Vec<Vec<Step>>,
    tally: &mut Tally,
) -> Acted {
    let (mut acted, mut failures, mut untried) = (Acted::default(), Vec::new(), Vec::new());
    for wave in waves {
        if wave.iter().all(Step::is_later) {
            continue;
        }
        if acted.awaits || wave.iter().any(awaits) {
            acted.awaits = true;
            break;
        }
        let prunes = wave.iter().any(|step| matches!(step, Step::Prune { .. }));
        if failures.iter().any(StepError::stops) || prunes && !failures.is_empty() {
            untried.extend(wave.iter().filter_map(subject));
            continue;
        }
        if prunes && !acted.replaced.is_empty() {
            continue;
        }
        let acts = wave
            .into_iter()
            .enumerate()
            .map(|(place, step)| async move { (place, take(cluster, owner, observed, step).await) });
        let mut results: Vec<_> = futures::stream::iter(acts).buffer_unordered(STEPS_AT_ONCE).collect().await;
        // In the order of the plan, so that the same trouble has the same words each time.
        results.sort_by_key(|(place, _)| *place);
        for (_, result) in results {
            match result {
                Ok(taken) => acted.add(taken, tally),
                Err(error) => failures.push(error),
            }
        }
    }
    let mut failures = failures.into_iter();
    acted.failed = failures.next().map(|first| StepsFailed { first, further: failures.collect(), untried });
    acted
}

impl Acted {
    fn add(&mut self, taken: Taken, tally: &mut Tally) {
        let Taken { created, healed, applied, pruned, intent, replaced, hook, awaits } = taken;
        tally.steps += 1;
        tally.healed.extend(healed);
        tally.created |= created;
        self.applied.extend(applied);
        self.pruned.extend(pruned);
        self.intent = intent.or(self.intent.take());
        self.replaced.extend(replaced);
        self.hooks.extend(hook);
        self.awaits |= awaits;
    }
}

/// Whether there is nothing to do but to wait.
fn awaits(step: &Step) -> bool {
    matches!(step, Step::Hook(HookStep { act: HookAct::Await | HookAct::Stay, .. }))
}

/// Names what a step is about, for those who wait for it.
fn subject(step: &Step) -> Option<String> {
    match step {
        Step::CreateNamespace(spec) | Step::ApplyNamespace { spec, .. } => {
            Some(format!("Namespace/{}", spec.name))
        }
        Step::RecordIntent(_) | Step::PruneLater { .. } => None,
        Step::Hook(hook) => Some(format!("hook {}", hook.manifest.key)),
        Step::Apply { manifest, .. } => Some(manifest.key.to_string()),
        Step::Prune { key, .. } => Some(format!("the removal of {key}")),
    }
}

/// What a step did.
#[derive(Default)]
struct Taken {
    created: bool,
    healed: Option<Healed>,
    applied: Applied,
    pruned: Option<ObjectKey>,
    intent: Option<Inventory>,
    replaced: Option<String>,
    hook: Option<(HookEvent, ObjectKey)>,
    awaits: bool,
}

async fn take(
    cluster: &Cluster,
    owner: Owner<'_>,
    observed: &ObservedStore,
    step: Step,
) -> Result<Taken, StepError> {
    let namespace = owner.store.namespace();
    let mut taken = Taken::default();
    match step {
        Step::CreateNamespace(spec) => {
            cluster.create_namespace(&spec).await?;
            cluster.gain_access(owner).await?;
            taken.created = true;
        }
        Step::ApplyNamespace { spec, cause } => {
            cluster.apply_namespace(&spec).await?;
            let other = || observed.namespace.as_ref().and_then(|before| before.other_writer.clone());
            let object = ObjectKey::new("", "Namespace", spec.name.as_str());
            taken.healed = (cause == Cause::Drifted).then(|| Healed { object, other: other() });
        }
        Step::RecordIntent(inventory) => {
            cluster.record(owner, &inventory).await?;
            taken.intent = Some(inventory);
        }
        Step::Apply { manifest, cause } => {
            match cluster.apply(&manifest, &namespace, matches!(cause, Cause::New | Cause::Deleted)).await {
                Ok(fields) => {
                    taken.healed = matches!(cause, Cause::Deleted | Cause::Drifted).then(|| {
                        let before = observed.objects.get(&manifest.key);
                        let other = before.and_then(|before| before.other_writer.clone());
                        Healed { object: manifest.key.clone(), other }
                    });
                    taken.applied.insert(manifest.key, fields);
                }
                Err(error) => {
                    taken.replaced = Some(replace(cluster, &namespace, observed, &manifest, error).await?);
                }
            }
        }
        Step::Prune { key, uid, version } => {
            let went = cluster.prune(&key, &namespace, &uid, version).await?;
            taken.pruned = Some(key).filter(|_| went);
        }
        Step::PruneLater { .. } => {}
        Step::Hook(hook) => run_hook(cluster, &namespace, observed, hook, &mut taken).await?,
    }
    Ok(taken)
}

/// Moves a hook on.
async fn run_hook(
    cluster: &Cluster,
    namespace: &str,
    observed: &ObservedStore,
    hook: HookStep,
    taken: &mut Taken,
) -> Result<(), StepError> {
    taken.awaits = hook.is_waited_for() || hook.act != HookAct::Make;
    let HookStep { event, manifest, act } = hook;
    match act {
        HookAct::Make => {
            cluster.create(&manifest, namespace).await?;
            taken.hook = Some((event, manifest.key)).filter(|_| !taken.awaits);
        }
        HookAct::Clear => {
            if let Some(object) = observed.objects.get(&manifest.key) {
                cluster.prune(&manifest.key, namespace, &object.uid, None).await?;
            }
        }
        HookAct::Obstructed => return Err(StepError::Obstructed(manifest.key.to_string())),
        HookAct::Await | HookAct::Stay | HookAct::Later => {}
    }
    Ok(())
}

/// An object that has to be made anew, because a field of it can't be changed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The identity of the one before.
    pub uid: Uid,
    /// The first of the fields.
    pub field: String,
}

/// Deletes an object whose change was refused, if it is one that is made anew; its end starts the run that does so.
async fn replace(
    cluster: &Cluster,
    namespace: &str,
    observed: &ObservedStore,
    manifest: &Manifest,
    error: ClusterError,
) -> Result<String, StepError> {
    let Replacement { uid, field } = replacement(cluster, namespace, observed, manifest, error).await?;
    cluster.prune(&manifest.key, namespace, &uid, None).await?;
    Ok(format!("{} is made anew, because its `{field}` can't be changed in place", manifest.key))
}

/// Decides about an object whose change was refused with this error. Nothing is changed.
pub async fn replacement(
    cluster: &Cluster,
    namespace: &str,
    observed: &ObservedStore,
    manifest: &Manifest,
    error: ClusterError,
) -> Result<Replacement, StepError> {
    let key = &manifest.key;
    let fields = || error.invalid_fields().iter().map(|cause| (cause.field.as_str(), cause.message.as_str()));
    let found = plan::immutable_field(fields())
        .or_else(|| plan::refused_size(key, fields(), error.forbidden().unwrap_or_default()));
    let Some((field, words)) = found else { return Err(error.into()) };
    let (object, field, words) = (key.to_string(), field.to_owned(), words.to_owned());
    match plan::treatment(key, observed.objects.get(key), namespace) {
        Treatment::Recreate { uid } => {
            // Whatever forbids the new one must do so while the one before still runs.
            if let Err(error) = cluster.would_create(manifest, namespace).await {
                let quota = error.forbidden().filter(|words| words.contains("exceeded quota"));
                let Some(quota) = quota else { return Err(error.into()) };
                let advice = plan::no_room(key, namespace, quota);
                return Err(StepError::Immutable { object, field, words, advice });
            }
            Ok(Replacement { uid, field })
        }
        Treatment::Refuse { advice } => Err(StepError::Immutable { object, field, words, advice }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_what_failed_with_it_and_what_was_not_tried() {
        let refused = |object: &str| StepError::Immutable {
            object: object.to_owned(),
            field: "spec".to_owned(),
            words: "field is immutable".to_owned(),
            advice: "take it back".to_owned(),
        };
        let failed = StepsFailed {
            first: refused("Job/a"),
            further: vec![refused("Job/b")],
            untried: (0..7).map(|n| format!("Ingress/{n}")).collect(),
        };
        assert_eq!(
            failed.to_string(),
            "change Job/a: `spec` can't be changed in place (field is immutable); take it back; and to change Job/b: \
             `spec` can't be changed in place (field is immutable); take it back; not tried before this is mended: \
             Ingress/0, Ingress/1, Ingress/2, Ingress/3, Ingress/4 and 2 more"
        );
    }
}
