//! What is no longer rendered: what of it goes at once, and what stays until the rest has come up.

use std::collections::{BTreeMap, BTreeSet};

use super::{DesiredStore, Inventory, InventoryEntry, ObservedObject, ObservedStore, Step, cause};
use crate::manifest::{Fingerprint, ObjectKey, kind_order};
use crate::names::FINAL_BACKUP_NAME;
use crate::report::{self, Readiness};

/// Kinds whose controllers make pods, and Jobs: what has to come up.
const WORKLOADS: [&str; 5] = ["DaemonSet", "Deployment", "Job", "Pod", "StatefulSet"];

/// Goes at once: it would go on setting the replicas that are git's from now on.
const AT_ONCE: &str = "HorizontalPodAutoscaler";

/// What becomes of what is no longer rendered.
pub(super) struct Leaving {
    /// Jobs that have not succeeded, which go before anything is applied: two of them must not work on one database, and
    /// one that failed is no run of its version, should that come back.
    pub(super) stopped: Vec<Step>,
    /// What goes once everything is applied, in waves.
    pub(super) pruned: Vec<Vec<Step>>,
    /// What stays until what is applied has come up: until then the version before runs, and may need it.
    pub(super) kept: Vec<Step>,
}

/// Whatever carries our labels and our field manager's entry, and is not rendered, leaves: an object is ours by
/// what it says itself, so a lost inventory loses no prune. Labels alone are no proof: controllers copy them.
pub(super) fn leaving(desired: &DesiredStore<'_>, observed: &ObservedStore) -> Leaving {
    let wanted: BTreeSet<_> = desired.manifests.iter().map(|manifest| &manifest.key).collect();
    // A hook that is at work for another version is stopped; otherwise its own policy says when it goes.
    let is_hook = |key: &ObjectKey, object: &ObservedObject| {
        let hooks = desired.hooks.filter(|hooks| hooks.has(key));
        hooks.is_some_and(|hooks| hooks.made(key, object) || !has_not_succeeded(key, object))
    };
    let unwanted = observed.objects.iter().filter(|(key, object)| {
        let is_spared = is_spared(key, object, observed.inventory.as_deref(), Some(desired.inputs));
        let is_rendered = wanted.contains(key) || is_hook(key, object);
        !is_rendered && is_ours(key, object, observed) && !is_spared && !object.deleting
    });
    let has_come_up = has_come_up(desired, observed);
    let mut leaving = Leaving { stopped: Vec::new(), pruned: Vec::new(), kept: Vec::new() };
    // What exposes goes before what it exposes: the order of applying, backwards.
    let mut waves: BTreeMap<_, Vec<Step>> = BTreeMap::new();
    for (key, object) in unwanted {
        let prune = |version| Step::Prune { key: key.clone(), uid: object.uid.clone(), version };
        if has_not_succeeded(key, object) {
            // One that has succeeded since it was seen stays: it is no longer what was seen.
            leaving.stopped.push(prune(Some(object.version)));
        } else if has_come_up || key.kind == AT_ONCE {
            waves.entry(std::cmp::Reverse(kind_order(&key.kind))).or_default().push(prune(None));
        } else {
            leaving.kept.push(Step::PruneLater { key: key.clone() });
        }
    }
    leaving.pruned = waves.into_values().collect();
    leaving
}

/// What of the inventory stays though it is not rendered, once a run has reached its end that deleted `pruned`.
pub(super) fn entries(
    desired: &DesiredStore<'_>,
    observed: &ObservedStore,
    pruned: &[ObjectKey],
) -> Vec<InventoryEntry> {
    let Some(old) = observed.inventory.as_deref().filter(|_| !has_come_up(desired, observed)) else {
        return Vec::new();
    };
    let is_there = |key: &ObjectKey| observed.objects.get(key).is_some_and(|object| !object.deleting);
    let stays = |key: &ObjectKey| !desired.has(key) && !pruned.contains(key) && is_there(key);
    old.all().filter(|entry| stays(&entry.key)).cloned().collect()
}

/// Finds a Job of an earlier version that may still be at work: until it has ended, no other one is begun.
pub fn unfinished_job(
    is_wanted: impl Fn(&ObjectKey, &ObservedObject) -> bool,
    observed: &ObservedStore,
) -> Option<&ObjectKey> {
    unwanted_jobs(is_wanted, observed).find(|(_, job)| is_unfinished(job)).map(|(key, _)| key)
}

/// Finds a Job of a version that is given up which may have changed data before it failed or was stopped. A version that
/// is held back has been looked at before, and a backup changes nothing.
pub(super) fn doubtful_job<'a>(
    desired: &DesiredStore<'_>,
    observed: &'a ObservedStore,
) -> Option<&'a ObjectKey> {
    if desired.held.is_some() {
        return None;
    }
    let is_wanted = |key: &ObjectKey, object: &ObservedObject| desired.is_wanted(key, object);
    let mut jobs = unwanted_jobs(is_wanted, observed).filter(|(key, _)| key.name != FINAL_BACKUP_NAME);
    jobs.find(|(key, job)| has_not_succeeded(key, job)).map(|(key, _)| key)
}

/// Finds the Jobs that this version's run spares, because the version before has to be READY again should this one fail:
/// they go when this one is READY.
pub fn spared_jobs(
    is_wanted: impl Fn(&ObjectKey, &ObservedObject) -> bool,
    observed: &ObservedStore,
) -> impl Iterator<Item = &ObjectKey> {
    let jobs = unwanted_jobs(is_wanted, observed);
    let goes = |(key, job): &(&ObjectKey, &ObservedObject)| {
        !job.keep && !job.deleting && !has_not_succeeded(key, job)
    };
    jobs.filter(goes).map(|(key, _)| key)
}

/// Finds the Jobs of ours that are not rendered.
fn unwanted_jobs(
    is_wanted: impl Fn(&ObjectKey, &ObservedObject) -> bool,
    observed: &ObservedStore,
) -> impl Iterator<Item = (&ObjectKey, &ObservedObject)> {
    let jobs = observed.objects.iter().filter(|(key, _)| key.kind == "Job");
    jobs.filter(move |(key, job)| !is_wanted(key, job) && is_ours(key, job, observed))
}

/// Whether there is something of ours that is not rendered and whose time has come: it was kept for a version that has
/// come up since, or a run that a crash cut off left it, and a later one did not see it yet.
pub(super) fn is_due(inventory: &Inventory, observed: &ObservedStore) -> bool {
    let hooks = inventory.hooks.as_deref();
    let has_come_up = || inventory.objects.iter().all(|entry| is_up(&entry.key, observed));
    if hooks.is_some_and(|hooks| hooks.is_due(observed)) && has_come_up() {
        return true;
    }
    // Whoever asks has found each line's object: with as many objects, there is no further one.
    if inventory.leaving.is_empty() && observed.objects.len() <= inventory.objects.len() {
        return false;
    }
    let is_wanted = |key: &ObjectKey, _: &ObservedObject| inventory.is_rendered(key);
    let stray = |(key, object): (&ObjectKey, &ObservedObject)| {
        let is_spared = || is_spared(key, object, Some(inventory), inventory.inputs.as_ref());
        object.owned_fields.is_some() && !object.deleting && !is_wanted(key, object) && !is_spared()
    };
    let mut jobs = unwanted_jobs(is_wanted, observed);
    if jobs.any(|(key, job)| !job.deleting && has_not_succeeded(key, job)) {
        return true;
    }
    has_come_up() && (!inventory.leaving.is_empty() || observed.objects.iter().any(stray))
}

/// Whether everything that is rendered is applied and runs.
pub(super) fn has_come_up(desired: &DesiredStore<'_>, observed: &ObservedStore) -> bool {
    desired.manifests.iter().all(|manifest| {
        let is_applied = || cause(manifest, observed).is_none();
        is_up(&manifest.key, observed) && (!WORKLOADS.contains(&&*manifest.key.kind) || is_applied())
    })
}

/// Whether an object runs, or has nothing to run. An Ingress without an address holds nothing up.
fn is_up(key: &ObjectKey, observed: &ObservedStore) -> bool {
    let Some(object) = observed.objects.get(key) else { return !WORKLOADS.contains(&&*key.kind) };
    object.workload.as_ref().is_none_or(|workload| {
        workload.step >= report::Step::Ingress || workload.readiness == Readiness::Current && !object.deleting
    })
}

fn is_ours(key: &ObjectKey, object: &ObservedObject, observed: &ObservedStore) -> bool {
    let is_listed = || observed.inventory.as_ref().is_some_and(|inventory| inventory.get(key).is_some());
    object.owned_fields.is_some() || is_listed()
}

fn is_unfinished(job: &ObservedObject) -> bool {
    matches!(job.readiness(), Some(Readiness::Progressing(_)))
}

/// Whether it is a Job that goes at once when it is not rendered.
fn has_not_succeeded(key: &ObjectKey, object: &ObservedObject) -> bool {
    let failed = || matches!(object.readiness(), Some(Readiness::Failed(_)));
    key.kind == "Job" && !object.keep && (is_unfinished(object) || failed())
}

/// Whether an object stays though it is not rendered with these inputs: it says so itself, or it is a Job that has run for
/// an earlier version. That stays until the newer one is READY, so that going back runs nothing a second time.
fn is_spared(
    key: &ObjectKey,
    object: &ObservedObject,
    inventory: Option<&Inventory>,
    inputs: Option<&Fingerprint>,
) -> bool {
    let good = inventory.and_then(|inventory| inventory.good.as_ref());
    let has_run = || object.readiness() == Some(&Readiness::Current);
    object.keep || key.kind == "Job" && good.is_none_or(|good| Some(&good.inputs) != inputs) && has_run()
}
