//! What the inventory says after a run, whether it reached its end or not.

use std::collections::BTreeMap;

use super::{
    DesiredStore, HookRecord, Inventory, InventoryEntry, LastGood, ObservedStore, leaving, rendering,
    wants_final_backup,
};
use crate::chart::HookEvent;
use crate::manifest::{self, Fingerprint, Manifest, ObjectKey};
use crate::report::ProbeTarget;

/// The fields that are ours after an apply, by object.
pub type Applied = BTreeMap<ObjectKey, Option<Fingerprint>>;

/// What the namespace holds once every step has succeeded, `pruned` deleted.
pub fn achieved(
    desired: &DesiredStore<'_>,
    probe: Option<ProbeTarget>,
    observed: &ObservedStore,
    applied: &Applied,
    pruned: &[ObjectKey],
    hooks_done: &[(HookEvent, ObjectKey)],
) -> Inventory {
    let old = observed.inventory.as_deref();
    let objects: Vec<_> = desired
        .manifests
        .iter()
        .map(|manifest| {
            let before = old.and_then(|inventory| inventory.get(&manifest.key));
            let (fingerprint, fields) = match applied.get(&manifest.key) {
                Some(fields) => (Some(manifest.fingerprint), *fields),
                None => match before {
                    Some(entry) => (entry.manifest, entry.fields),
                    None => (None, None),
                },
            };
            InventoryEntry {
                key: manifest.key.clone(),
                version: manifest.resource.version.as_str().into(),
                manifest: fingerprint,
                fields,
            }
        })
        .collect();
    let unchanged =
        old.is_some_and(|old| old.inputs.as_ref() == Some(desired.inputs) && old.objects == objects);
    let revision = match old {
        Some(old) if unchanged => old.revision.clone(),
        _ => desired.revision.to_owned(),
    };
    let url = manifest::url(desired.manifests, desired.host);
    let inputs = Some(*desired.inputs);
    let mut good = good(desired, observed);
    if let Some(good) = &mut good {
        // Another release of storekeeper, the same objects: what was READY still is.
        if old.is_some_and(|old| old.was_ready() && old.objects == objects) {
            good.inputs = *desired.inputs;
        }
        // A Secret whose data somebody changed renders with what it holds now, and is as good as before.
        if good.inputs == *desired.inputs {
            good.rendering = rendering(objects.iter().map(|entry| (&entry.key, entry.manifest)));
        }
    }
    let image = manifest::image(desired.manifests);
    let held = desired.held.cloned().map(Box::new);
    let asks = |it: &&Manifest| it.key.kind == "CronJob" && wants_final_backup(&it.body);
    let final_backup = desired.manifests.iter().find(asks).map(|it| it.key.name.clone());
    let leaving = leaving::entries(desired, observed, pruned);
    let hooks = recorded_hooks(desired, observed, hooks_done);
    Inventory { inputs, revision, url, probe, image, good, held, final_backup, objects, leaving, hooks }
}

/// How far the hooks are after a run that made these objects of them.
pub fn recorded_hooks(
    desired: &DesiredStore<'_>,
    observed: &ObservedStore,
    done: &[(HookEvent, ObjectKey)],
) -> Option<Box<HookRecord>> {
    super::hooks::mark(super::hook_progress(desired, observed).record, done)
}

/// Returns what the store was READY with last, in doubt when a Job goes that may have changed what it needs.
pub(super) fn good(desired: &DesiredStore<'_>, observed: &ObservedStore) -> Option<Box<LastGood>> {
    let mut good = observed.inventory.as_ref()?.good.clone()?;
    if good.doubt.is_none() {
        good.doubt = leaving::doubtful_job(desired, observed).map(ToString::to_string);
    }
    Some(good)
}

/// What the namespace holds after a run that did not reach its end: what was recorded before it, without what was deleted
/// and with claims about what was applied and confirmed. The next try then leaves that alone. Nothing is claimed of the rest, and no inputs are
/// named: the store is not as git wants it.
///
/// `hooks` is how far the chart's hooks are by now.
pub fn partly_achieved(
    before: &Inventory,
    manifests: &[Manifest],
    applied: &Applied,
    pruned: &[ObjectKey],
    hooks: Option<Box<HookRecord>>,
) -> Inventory {
    let mut inventory = Inventory { hooks, ..before.clone() };
    inventory.leaving.retain(|entry| !pruned.contains(&entry.key));
    for entry in &mut inventory.objects {
        let manifest = manifests.iter().find(|manifest| manifest.key == entry.key);
        if let (Some(manifest), Some(fields)) = (manifest, applied.get(&entry.key)) {
            entry.version = manifest.resource.version.as_str().into();
            entry.manifest = Some(manifest.fingerprint);
            entry.fields = *fields;
        }
    }
    inventory
}
