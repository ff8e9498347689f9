//! Whether a version that did not come up may give way to the one before it.

use std::collections::BTreeMap;

use super::{Inventory, ObservedObject, ObservedStore};
use crate::manifest::{Manifest, ObjectKey};
use crate::report::Readiness;

/// Says why what ran before must not be applied again, if so: the data may have moved on with the newer version.
///
/// `before` is what ran before; `inventory` names what is applied now. A Job of the newer version that failed or never
/// began counts as nothing done.
///
/// # Errors
/// With what stands against it, as a sentence.
pub fn may_roll_back(
    before: &[Manifest],
    inventory: &Inventory,
    observed: &ObservedStore,
) -> Result<(), String> {
    let before: BTreeMap<&ObjectKey, _> =
        before.iter().map(|manifest| (&manifest.key, manifest.fingerprint)).collect();
    // Jobs of versions in between are there still: of those that did not come up either.
    for (key, object) in observed.objects.iter() {
        let is_ours = object.owned_fields.is_some() || inventory.get(key).is_some();
        if key.kind == "Job" && is_ours && !before.contains_key(key) {
            job_allows(key, object)?;
        }
    }
    for entry in &inventory.objects {
        if holds_data(&entry.key) && before.get(&entry.key).copied() != entry.manifest {
            return Err(format!(
                "{}, which holds data, changed with the new version: mend it, or go back, in git",
                entry.key
            ));
        }
    }
    let gone = before.keys().find(|key| holds_data(key) && !observed.objects.contains_key(*key));
    match gone {
        Some(key) => Err(format!("{key}, which held data, is gone: mend the new version in git")),
        None => Ok(()),
    }
}

fn holds_data(key: &ObjectKey) -> bool {
    matches!(key.kind.as_str(), "StatefulSet" | "PersistentVolumeClaim")
}

fn job_allows(key: &ObjectKey, object: &ObservedObject) -> Result<(), String> {
    match object.workload.as_ref().map(|workload| &workload.readiness) {
        Some(Readiness::Current) => Err(format!(
            "{key} has run, so the database may have moved on: mend the new version in git, or go back in git if the \
             older one is known to work with it"
        )),
        Some(Readiness::Progressing(_)) => Err(format!("{key} has not ended yet")),
        Some(Readiness::Failed(_)) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::InventoryEntry;
    use super::*;
    use crate::manifest::{Fingerprint, Resource, Uid};
    use crate::report::{Step, Workload};

    fn manifest(kind: &str, name: &str, content: &str) -> Manifest {
        let body = json!(content);
        let resource = Resource {
            group: String::new(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: String::new(),
            namespaced: true,
        };
        let fingerprint = Fingerprint::of(&body);
        Manifest { key: ObjectKey::new("", kind, name), resource, fingerprint, body: Arc::new(body) }
    }

    fn inventory(manifests: &[Manifest]) -> Inventory {
        let entry = |manifest: &Manifest| InventoryEntry {
            key: manifest.key.clone(),
            version: "v1".into(),
            manifest: Some(manifest.fingerprint),
            fields: None,
        };
        Inventory { objects: manifests.iter().map(entry).collect(), ..Inventory::default() }
    }

    fn observed(job: &Manifest, readiness: Readiness) -> ObservedStore {
        let object = ObservedObject {
            uid: Uid::new("u"),
            version: 1,
            owned_fields: None,
            unexplained: false,
            others_time: 0,
            other_writer: None,
            deleting: false,
            keep: false,
            workload: Some(Box::new(Workload { step: Step::Migration, readiness })),
        };
        let objects = Arc::new(BTreeMap::from([(job.key.clone(), object)]));
        ObservedStore { objects, ..ObservedStore::default() }
    }

    #[test]
    fn a_migration_that_failed_or_never_began_lets_the_version_before_come_back() {
        let before = [manifest("Job", "bootstrap-a", ""), manifest("Deployment", "web", "1")];
        let now = [manifest("Job", "bootstrap-b", ""), manifest("Deployment", "web", "2")];
        let failed = observed(&now[0], Readiness::Failed("deadline".to_owned()));
        assert_eq!(may_roll_back(&before, &inventory(&now), &failed), Ok(()));
        assert_eq!(may_roll_back(&before, &inventory(&now), &ObservedStore::default()), Ok(()));
    }

    #[test]
    fn a_migration_that_has_run_or_runs_keeps_the_new_version() {
        let before = [manifest("Job", "bootstrap-a", "")];
        let now = [manifest("Job", "bootstrap-b", "")];
        for (readiness, words) in [
            (Readiness::Current, "Job/bootstrap-b has run"),
            (Readiness::Progressing("1 of 1".to_owned()), "Job/bootstrap-b has not ended yet"),
        ] {
            let why = may_roll_back(&before, &inventory(&now), &observed(&now[0], readiness)).unwrap_err();
            assert!(why.starts_with(words), "{why}");
        }
        // The same Job of both versions ran before either.
        let same = observed(&before[0], Readiness::Current);
        assert_eq!(may_roll_back(&before, &inventory(&before), &same), Ok(()));
    }

    #[test]
    fn a_migration_of_a_version_in_between_counts_too() {
        let before = [manifest("Job", "bootstrap-a", "")];
        let now = [manifest("Job", "bootstrap-a", "")];
        let between = manifest("Job", "bootstrap-b", "");
        let mut observed = observed(&between, Readiness::Current);
        let not_ours = may_roll_back(&before, &inventory(&now), &observed);
        assert_eq!(not_ours, Ok(()), "nothing says that it is ours");
        for object in Arc::make_mut(&mut observed.objects).values_mut() {
            object.owned_fields = Some(Fingerprint::of(&json!(null)));
        }
        let why = may_roll_back(&before, &inventory(&now), &observed).unwrap_err();
        assert!(why.starts_with("Job/bootstrap-b has run"), "{why}");
    }

    #[test]
    fn what_held_data_and_is_gone_keeps_the_new_version() {
        let before = [manifest("StatefulSet", "redis", "")];
        let why = may_roll_back(&before, &inventory(&[]), &ObservedStore::default()).unwrap_err();
        assert!(why.starts_with("StatefulSet/redis, which held data, is gone"), "{why}");
        let kept = observed(&before[0], Readiness::Current);
        assert_eq!(may_roll_back(&before, &inventory(&[]), &kept), Ok(()));
    }

    #[test]
    fn what_holds_data_and_differs_keeps_the_new_version() {
        let before = [manifest("StatefulSet", "postgres", "15")];
        for now in [
            vec![manifest("StatefulSet", "postgres", "16")],
            vec![manifest("StatefulSet", "postgres", "15"), manifest("PersistentVolumeClaim", "new", "")],
        ] {
            let why = may_roll_back(&before, &inventory(&now), &ObservedStore::default()).unwrap_err();
            assert!(why.contains("holds data"), "{why}");
        }
    }
}
