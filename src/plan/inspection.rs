//! What a store's namespace holds, as people are shown it: each object that is applied with its health and its drift.

use super::{Inventory, InventoryEntry, ObservedObject, ObservedStore};
use crate::report::{Health, ObjectHealth, Readiness, VersionReport};

/// Tells the objects that are applied, in the order of their kinds and names: what needs a person first.
pub fn objects(observed: &ObservedStore) -> Vec<ObjectHealth> {
    let entries = observed.inventory.iter().flat_map(|inventory| inventory.all());
    let mut objects: Vec<_> = entries.map(|entry| object(entry, observed.objects.get(&entry.key))).collect();
    objects.sort_by(|one, other| {
        let rank = |it: &ObjectHealth| (it.health, it.drift.is_none());
        rank(one).cmp(&rank(other)).then_with(|| (&one.kind, &one.name).cmp(&(&other.kind, &other.name)))
    });
    objects
}

/// Tells the version that runs and the one that is wanted.
pub fn versions(observed: &ObservedStore) -> (Option<VersionReport>, Option<VersionReport>) {
    let version = |revision: &str, image: Option<&String>| {
        (!revision.is_empty()).then(|| VersionReport { revision: revision.to_owned(), image: image.cloned() })
    };
    let Some(inventory) = observed.inventory.as_deref() else { return (None, None) };
    let Inventory { revision, image, good, held, .. } = inventory;
    let applied = version(revision, image.as_ref());
    let runs = match good {
        Some(good) if !inventory.was_ready() => version(&good.revision, good.image.as_ref()),
        _ => applied.clone(),
    };
    let held = held
        .as_ref()
        .map(|held| VersionReport { revision: held.revision.clone(), image: held.image.clone() });
    (runs, held.or(applied))
}

fn object(entry: &InventoryEntry, observed: Option<&ObservedObject>) -> ObjectHealth {
    let (health, note) = match observed {
        None => (Health::Missing, None),
        Some(object) if object.deleting => (Health::Progressing, Some("its deletion has begun".to_owned())),
        Some(object) => match object.readiness() {
            None | Some(Readiness::Current) => (Health::Current, None),
            Some(Readiness::Progressing(words)) => (Health::Progressing, Some(words.clone())),
            Some(Readiness::Failed(words)) => (Health::Failed, Some(words.clone())),
        },
    };
    let drifted = observed.filter(|object| !object.is_as_recorded(entry.fields));
    let drift = drifted.map(|object| match &object.other_writer {
        Some(writer) => format!("changed by {writer}"),
        None => "not as it was applied".to_owned(),
    });
    let (group, kind, name) = (entry.key.group.clone(), entry.key.kind.clone(), entry.key.name.clone());
    ObjectHealth { kind, group, name, health, note, drift }
}
