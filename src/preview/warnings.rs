//! What to know about a store's change before it is merged. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::manifest::{Manifest, ObjectKey};
use crate::names::LABEL_COMPONENT;
use crate::plan::{self, Load, ObservedNamespace};
use crate::report::Step;
use crate::store::Store;

/// Tags that are meant to be moved.
const MOVING: [&str; 14] = [
    "canary", "current", "dev", "develop", "edge", "head", "latest", "main", "master", "next", "nightly",
    "stable", "trunk", "unstable",
];

/// Kinds that have pods.
pub(super) const WITH_PODS: [&str; 5] = ["CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet"];

/// What a store's change is judged by.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// What its file said before.
    pub(super) before: Option<&'a Store>,
    /// What it would say.
    pub(super) after: &'a Store,
    /// Its namespace, if there is one.
    pub(super) namespace: Option<&'a ObservedNamespace>,
    /// Everything that is rendered.
    pub(super) manifests: &'a [Manifest],
    /// What of it would be made or changed.
    pub(super) touched: &'a BTreeMap<ObjectKey, Touch>,
    /// Which images, by identity, run under which name.
    pub(super) running: &'a BTreeMap<String, BTreeSet<String>>,
    /// Quotas and limit ranges that are there and not rendered.
    pub(super) limits: &'a [Value],
}

/// What would be done to an object.
#[derive(Debug)]
pub(super) struct Touch {
    /// Whether it would be made.
    pub(super) is_new: bool,
    /// What it is and what it would be, where that is known.
    pub(super) versions: Option<(Value, Value)>,
}

impl Touch {
    fn before(&self) -> Option<&Value> {
        self.versions.as_ref().map(|(before, _)| before)
    }
}

/// Says everything that there is to know.
pub(super) fn warnings(facts: &Facts<'_>) -> Vec<String> {
    let mut said = file(facts);
    said.extend(images(facts));
    said.extend(jobs(facts));
    said.extend(idle(facts));
    let touches = |kind: &str| facts.touched.keys().any(|key| key.kind == kind);
    let with_room = ["ResourceQuota", "LimitRange", "PersistentVolumeClaim", "HorizontalPodAutoscaler"];
    if WITH_PODS.iter().chain(&with_room).any(|kind| touches(kind)) {
        said.extend(room(facts));
    }
    said
}

/// What the file itself says.
fn file(facts: &Facts<'_>) -> Vec<String> {
    let mut said = Vec::new();
    let after = facts.after;
    if let Some(before) = facts.before.filter(|before| before.host != after.host) {
        said.push(format!(
            "its address becomes {} (it was {}): the old one stops answering, and whoever saved it finds nothing",
            after.host, before.host
        ));
    }
    let was_protected = match facts.before {
        Some(before) => before.protect,
        None => facts.namespace.is_some_and(ObservedNamespace::is_protected),
    };
    if was_protected && !after.protect {
        said.push(
            "its protection is taken off: when its file goes later, so does everything in it".to_owned(),
        );
    }
    if facts.namespace.and_then(ObservedNamespace::removal_since).is_some() {
        said.push("it was about to be deleted: with its file, its removal is called off".to_owned());
    }
    said
}

/// Images whose name does not say what they are.
fn images(facts: &Facts<'_>) -> Vec<String> {
    let (mut moving, mut said) = (BTreeSet::new(), Vec::new());
    let mut named = BTreeSet::new();
    for manifest in facts.manifests {
        let images = images_of(&manifest.body);
        named.extend(images.clone());
        let Some(touch) = facts.touched.get(&manifest.key) else { continue };
        if !touch.is_new && touch.versions.is_none() {
            continue;
        }
        let known = touch.before().map(images_of).unwrap_or_default();
        moving.extend(images.into_iter().filter(|image| !known.contains(image) && is_moving(image)));
    }
    for image in moving {
        said.push(format!(
            "image {image} is named by a tag that moves: what starts later may be something else, without a commit; name a \
             version or a digest"
        ));
    }
    let moved = facts.running.iter().filter(|(image, ids)| ids.len() > 1 && named.contains(*image));
    for (image, ids) in moved {
        said.push(format!(
            "the tag of image {image} was moved: pods run {} different images under it, and new ones run what it stands for \
             then",
            ids.len()
        ));
    }
    said
}

/// Returns the images of an object's containers.
fn images_of(object: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect_images(object, &mut found);
    found
}

fn collect_images(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let is_list = matches!(key.as_str(), "containers" | "initContainers");
                for container in inner.as_array().into_iter().flatten().filter(|_| is_list) {
                    found.extend(container["image"].as_str().map(str::to_owned));
                }
                collect_images(inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_images(item, found)),
        _ => {}
    }
}

/// Whether an image's name stands for one thing today and perhaps for another tomorrow, as far as it shows.
fn is_moving(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').is_none_or(|(_, tag)| MOVING.contains(&tag.to_lowercase().as_str()))
}

/// Jobs that a store which exists would run.
fn jobs(facts: &Facts<'_>) -> Vec<String> {
    if facts.namespace.is_none() {
        return Vec::new();
    }
    let new = facts.manifests.iter().filter(|manifest| manifest.key.kind == "Job");
    let new = new.filter(|manifest| facts.touched.get(&manifest.key).is_some_and(|it| it.is_new));
    let said = new.map(|manifest| {
        let component = manifest.body.pointer("/metadata/labels").and_then(|it| it.get(LABEL_COMPONENT));
        match component.and_then(Value::as_str).and_then(Step::of_component) {
            Some(Step::Migration) => format!(
                "a migration will run: {} may change the database, and going back in git does not change it back",
                manifest.key
            ),
            _ => format!("{} will run once", manifest.key),
        }
    });
    said.collect()
}

/// Workloads that would run no pods any more.
fn idle(facts: &Facts<'_>) -> Vec<String> {
    let replicas = |object: &Value| object.pointer("/spec/replicas").and_then(Value::as_i64);
    let stops = |manifest: &&Manifest| {
        let before = facts.touched.get(&manifest.key).and_then(Touch::before);
        before.is_some_and(|before| replicas(before) != Some(0)) && replicas(&manifest.body) == Some(0)
    };
    let stopped = facts.manifests.iter().filter(stops);
    stopped
        .map(|manifest| format!("{} is set to 0 replicas: nothing of it runs any more", manifest.key))
        .collect()
}

/// What quotas have no room for.
fn room(facts: &Facts<'_>) -> Vec<String> {
    let rolls_out = |manifest: &Manifest| {
        let touched = facts.touched.get(&manifest.key);
        match manifest.key.kind.as_str() {
            "Job" => touched.is_some(),
            _ => touched.and_then(|touch| touch.versions.as_ref()).is_some_and(|(before, after)| {
                let template = |object: &Value| object.pointer("/spec/template").cloned();
                template(before) != template(after)
            }),
        }
    };
    let loads: Vec<_> = facts
        .manifests
        .iter()
        .map(|manifest| Load { object: &manifest.body, rolls_out: rolls_out(manifest) })
        .collect();
    let of_kind = |kind: &str| {
        let rendered = facts.manifests.iter().map(|manifest| &*manifest.body);
        let all = rendered.chain(facts.limits).filter(|object| object["kind"] == kind);
        all.cloned().collect::<Vec<_>>()
    };
    plan::shortages(&loads, &of_kind("ResourceQuota"), &of_kind("LimitRange"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::manifest::{Fingerprint, Resource};
    use crate::store::{FileContent, Limits, RepositoryTree, Revision};

    fn store(spec: &str) -> Arc<Store> {
        let fleet = "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec: {domain: example.com}\n";
        let file =
            format!("apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: acme}}\nspec: {spec}\n");
        let files = [("storekeeper.yaml", fleet.to_owned()), ("stores/acme.yaml", file)];
        let files = files.map(|(path, text)| (path.to_owned(), FileContent::Bytes(text.into_bytes()))).into();
        let tree = RepositoryTree { revision: Revision::working_tree(), files };
        let snapshot = crate::store::read(&tree, &|_| None, &BTreeMap::new(), &Limits::default()).unwrap();
        Arc::clone(snapshot.stores.values().next().unwrap().accepted().unwrap())
    }

    fn manifest(kind: &str, component: &str, image: &str, replicas: i64) -> Manifest {
        let template = json!({"spec": {"containers": [{"name": "c", "image": image}]}});
        let body = json!({"kind": kind, "metadata": {"name": "x", "labels": {LABEL_COMPONENT: component}},
            "spec": {"replicas": replicas, "template": template}});
        let resource = Resource {
            group: String::new(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: String::new(),
            namespaced: true,
        };
        let fingerprint = Fingerprint::of(&body);
        Manifest { key: ObjectKey::new("", kind, "x"), resource, fingerprint, body: Arc::new(body) }
    }

    /// What is said when this object, which was like that, becomes this; none: it is new.
    fn said(before: Option<&Manifest>, after: &Manifest) -> Vec<String> {
        let versions = before.map(|before| ((*before.body).clone(), (*after.body).clone()));
        let touched = BTreeMap::from([(after.key.clone(), Touch { is_new: before.is_none(), versions })]);
        let namespace = ObservedNamespace::default();
        let running = ["1", "2"].map(str::to_owned).into();
        warnings(&Facts {
            before: None,
            after: &store("{}"),
            namespace: Some(&namespace),
            manifests: std::slice::from_ref(after),
            touched: &touched,
            running: &BTreeMap::from([("moved:1".to_owned(), running)]),
            limits: &[],
        })
    }

    #[test]
    fn a_tag_that_moves_is_told_by_its_name_where_it_is_new() {
        for (image, expected) in [
            ("a", true),
            ("r.example.com:5000/a", true),
            ("r.example.com:5000/a:Latest", true),
            ("a:edge", true),
            ("a:1.2.3", false),
            ("r.example.com:5000/a:v2", false),
            ("a:latest@sha256:12", false),
        ] {
            assert_eq!(is_moving(image), expected, "{image}");
        }
        let of = |image| manifest("Deployment", "medusa", image, 1);
        assert!(
            said(Some(&of("a:1")), &of("a:latest"))[0]
                .contains("image a:latest is named by a tag that moves")
        );
        assert_eq!(said(Some(&of("a:latest")), &of("a:latest")), [""; 0], "it was so before");
        assert!(said(Some(&of("moved:1")), &of("moved:1"))[0].contains("run 2 different images"));
    }

    #[test]
    fn a_new_job_is_told_and_a_migration_as_such() {
        let job = |component| manifest("Job", component, "a:1", 1);
        assert!(said(None, &job("bootstrap"))[0].starts_with("a migration will run: Job/x may"));
        assert_eq!(said(None, &job("report")), ["Job/x will run once"]);
        assert_eq!(said(Some(&job("bootstrap")), &job("bootstrap")), [""; 0]);
    }

    #[test]
    fn nothing_runs_any_more_with_0_replicas() {
        let of = |replicas| manifest("Deployment", "medusa", "a:1", replicas);
        assert!(said(Some(&of(2)), &of(0))[0].starts_with("Deployment/x is set to 0 replicas"));
        assert_eq!(said(Some(&of(0)), &of(0)), [""; 0]);
        assert_eq!(said(Some(&of(2)), &of(1)), [""; 0]);
    }

    #[test]
    fn another_address_and_a_protection_taken_off_are_told() {
        let of = |before: &str, after: &str| {
            let (before, after) = (store(before), store(after));
            file(&Facts {
                before: Some(&before),
                after: &after,
                namespace: None,
                manifests: &[],
                touched: &BTreeMap::new(),
                running: &BTreeMap::new(),
                limits: &[],
            })
        };
        assert!(
            of("{host: a.example.com}", "{host: b.example.com}")[0]
                .contains("b.example.com (it was a.example.com)")
        );
        assert!(of("{protect: true}", "{}")[0].starts_with("its protection is taken off"));
        assert_eq!(of("{}", "{protect: true}"), [""; 0]);
    }
}
