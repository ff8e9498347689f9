//! Whether a version that did not come up may give way to the one before it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Inventory, ObservedObject, ObservedStore};
use crate::manifest::{Fingerprint, Manifest, ObjectKey};
use crate::names::FINAL_BACKUP_NAME;
use crate::report::Readiness;

/// Says why what ran before must not be applied again, if so: the data may have moved on with the newer version.
///
/// `before` is what ran before; `inventory` names what is applied now. A Job of a newer version that failed or never began
/// counts as nothing done here: see [`failed_jobs`].
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
    if let Some(job) = inventory.good.as_ref().and_then(|good| good.doubt.as_ref()) {
        return Err(format!(
            "{job}, of a version in between, went before it had succeeded, and the database may have moved on with it: mend \
             the new version in git, or go back in git if the older one is known to work with it"
        ));
    }
    if let Some(key) = inventory.hooks.as_ref().and_then(|hooks| hooks.has_worked()) {
        return Err(has_run(key));
    }
    for (key, object) in newer_jobs(&before, inventory, observed) {
        job_allows(key, object)?;
    }
    for entry in &inventory.objects {
        if holds_data(&entry.key) && before.get(&entry.key).copied() != entry.manifest {
            return Err(format!(
                "{}, which holds data, changed with the new version: mend it, or go back, in git",
                entry.key
            ));
        }
    }
    let is_there = |key: &ObjectKey| observed.objects.get(key).is_some_and(|object| !object.deleting);
    let gone = before.keys().find(|key| holds_data(key) && !is_there(key));
    match gone {
        Some(key) => Err(format!("{key}, which held data, is gone: mend the new version in git")),
        None => Ok(()),
    }
}

/// Finds the Jobs that have come since what ran before: those of versions in between are there still, of those that did not
/// come up either.
fn newer_jobs<'a>(
    before: &BTreeMap<&ObjectKey, Fingerprint>,
    inventory: &Inventory,
    observed: &'a ObservedStore,
) -> impl Iterator<Item = (&'a ObjectKey, &'a ObservedObject)> {
    let made = |object: &ObservedObject| object.workload.as_ref().and_then(|workload| workload.made);
    let jobs = || observed.objects.iter().filter(|(key, _)| key.kind == "Job");
    // What stays when it is no longer rendered has run for a version before that.
    let newest = jobs().filter(|(key, _)| before.contains_key(key)).filter_map(|(_, job)| made(job)).max();
    let is_older = move |job: &ObservedObject| made(job).is_some_and(|made| Some(made) < newest);
    jobs().filter(move |(key, job)| {
        let is_ours = job.owned_fields.is_some() || inventory.get(key).is_some();
        // A hook of the version before has run for that.
        let is_newer =
            job.hook_run.is_none() || inventory.hooks.as_ref().is_some_and(|hooks| hooks.made(job));
        is_ours && is_newer && !before.contains_key(key) && key.name != FINAL_BACKUP_NAME && !is_older(job)
    })
}

/// Names the Jobs of newer versions that failed: what they did before is to be looked for.
pub fn failed_jobs(before: &[Manifest], inventory: &Inventory, observed: &ObservedStore) -> Vec<ObjectKey> {
    let before = before.iter().map(|manifest| (&manifest.key, manifest.fingerprint)).collect();
    let failed = newer_jobs(&before, inventory, observed)
        .filter(|(_, job)| matches!(job.readiness(), Some(Readiness::Failed(_))));
    failed.map(|(key, _)| key.clone()).collect()
}

/// Finds a container that ended well among the pods of a failed Job. A container that fails takes back what it did; one
/// whose name begins with `wait` does nothing.
pub fn ended_well(pods: &[Value]) -> Option<&str> {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let lists = pods.iter().flat_map(|pod| lists.map(|list| pod.pointer(list).and_then(Value::as_array)));
    let mut containers = lists.flatten().flatten();
    let found = containers.find(|container| {
        let is_waiting = container["name"].as_str().is_some_and(|name| name.starts_with("wait"));
        let ended = |state: &str| container[state]["terminated"]["exitCode"] == 0;
        !is_waiting && (ended("state") || ended("lastState"))
    });
    found.and_then(|container| container["name"].as_str())
}

fn has_run(key: &ObjectKey) -> String {
    format!(
        "{key} has run, so the database may have moved on: mend the new version in git, or go back in git if the older \
         one is known to work with it"
    )
}

fn holds_data(key: &ObjectKey) -> bool {
    matches!(key.kind.as_str(), "StatefulSet" | "PersistentVolumeClaim")
}

fn job_allows(key: &ObjectKey, object: &ObservedObject) -> Result<(), String> {
    match object.readiness() {
        Some(Readiness::Current) => Err(has_run(key)),
        Some(Readiness::Progressing(_)) => Err(format!("{key} has not ended yet")),
        Some(Readiness::Failed(_)) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::{InventoryEntry, LastGood};
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
            workload: Some(Box::new(Workload { step: Step::Migration, readiness, made: None })),
            hook_run: None,
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
    fn jobs_of_versions_before_and_the_final_backup_do_not_count() {
        let before = [manifest("Job", "bootstrap-a", "")];
        let now = [manifest("Job", "bootstrap-b", "")];
        let made = |name: &str, readiness: Readiness, made: i64| {
            let mut observed = observed(&manifest("Job", name, ""), readiness);
            let job = Arc::make_mut(&mut observed.objects).values_mut().next().unwrap();
            job.owned_fields = Some(Fingerprint::of(&json!(null)));
            job.workload.as_mut().unwrap().made = Some(made);
            Arc::unwrap_or_clone(observed.objects)
        };
        let failed = made("bootstrap-b", Readiness::Failed("it broke".to_owned()), 7);
        let may = |others: [BTreeMap<ObjectKey, ObservedObject>; 2]| {
            let objects = others.into_iter().chain([failed.clone()]).flatten().collect();
            let observed = ObservedStore { objects: Arc::new(objects), ..ObservedStore::default() };
            let failed = failed_jobs(&before, &inventory(&now), &observed);
            assert_eq!(failed, [now[0].key.clone()]);
            may_roll_back(&before, &inventory(&now), &observed)
        };
        let ran = |name: &str, at: i64| made(name, Readiness::Current, at);
        assert_eq!(may([ran("bootstrap-a", 5), ran("bootstrap-older", 4)]), Ok(()), "kept by its chart");
        assert_eq!(may([ran("bootstrap-a", 5), ran(FINAL_BACKUP_NAME, 6)]), Ok(()));
        let why = may([ran("bootstrap-a", 5), ran("bootstrap-between", 5)]).unwrap_err();
        assert!(why.starts_with("Job/bootstrap-between has run"), "{why}");
    }

    #[test]
    fn a_job_that_went_before_it_succeeded_keeps_the_new_version() {
        let mut doubted = inventory(&[]);
        doubted.good = Inventory { inputs: Some(Fingerprint::of_bytes(b"i")), ..doubted.clone() }
            .as_good()
            .map(|good| Box::new(LastGood { doubt: Some("Job/bootstrap-b".to_owned()), ..good }));
        let why = may_roll_back(&[], &doubted, &ObservedStore::default()).unwrap_err();
        assert!(why.starts_with("Job/bootstrap-b, of a version in between, went before"), "{why}");
    }

    #[test]
    fn a_failed_job_has_done_something_when_one_of_its_containers_ended_well() {
        let status = |name: &str, state: &str, code: i64| json!({"name": name, state: {"terminated": {"exitCode": code}}});
        let pod = |init: Value, main: Value| json!({"status": {"initContainerStatuses": [init], "containerStatuses": [main]}});
        let waiting = json!({"name": "bootstrap", "state": {"waiting": {}}});
        let nothing = [
            pod(status("wait-database", "state", 0), waiting.clone()),
            pod(status("migrate", "state", 1), waiting),
        ];
        assert_eq!(ended_well(&nothing), None);
        let failed = status("bootstrap", "state", 1);
        for migrated in [status("migrate", "state", 0), status("migrate", "lastState", 0)] {
            assert_eq!(ended_well(&[nothing[0].clone(), pod(migrated, failed.clone())]), Some("migrate"));
        }
    }

    #[test]
    fn what_held_data_and_is_gone_keeps_the_new_version() {
        let before = [manifest("StatefulSet", "redis", "")];
        let why = may_roll_back(&before, &inventory(&[]), &ObservedStore::default()).unwrap_err();
        assert!(why.starts_with("StatefulSet/redis, which held data, is gone"), "{why}");
        let mut kept = observed(&before[0], Readiness::Current);
        assert_eq!(may_roll_back(&before, &inventory(&[]), &kept), Ok(()));
        Arc::make_mut(&mut kept.objects).get_mut(&before[0].key).unwrap().deleting = true;
        assert!(may_roll_back(&before, &inventory(&[]), &kept).is_err(), "what goes is as good as gone");
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
