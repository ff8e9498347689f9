//! Whether the cluster is equal to git, by an oracle of its own: what `storekeeper render` prints for a checkout has to
//! be there, field by field, and nothing else of ours. The API server itself compares: a server-side apply of the same,
//! as a dry run, must change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::acts::Meddling;
use super::tree::Tree;
use crate::common::cluster;
use crate::common::daemon::binary;

/// How many comparisons are under way at once.
const AT_ONCE: usize = 16;

/// The inventory, which git knows nothing of.
const INVENTORY: &str = "storekeeper-inventory";

/// Which object: `group/Kind`, namespace and name.
type Key = (String, String, String);

/// A look at the API server, not through the proxy.
pub struct Live {
    runtime: Runtime,
    client: Client,
    resources: Vec<ApiResource>,
    source: String,
    prefix: String,
    /// Where a tree is written to be rendered.
    scratch: TempDir,
    /// Renderings, by the files they are made from.
    rendered: BTreeMap<String, Vec<Value>>,
}

impl Live {
    pub fn new(kubeconfig: &Path, source: &str, prefix: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = cluster::client(&runtime, kubeconfig, true);
        let discovery = runtime.block_on(Discovery::new(client.clone()).run()).unwrap();
        let all = discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
        let listed = all.filter(|(_, capabilities)| {
            capabilities.scope == Scope::Namespaced && capabilities.supports_operation(verbs::LIST)
        });
        let resources = listed.map(|(resource, _)| resource).collect();
        let (source, prefix) = (source.to_owned(), prefix.to_owned());
        Self {
            runtime,
            client,
            resources,
            source,
            prefix,
            scratch: tempfile::tempdir().unwrap(),
            rendered: BTreeMap::new(),
        }
    }

    /// Returns what differs; nothing when the cluster is equal to the tree.
    pub fn differences(&mut self, tree: &Tree) -> Vec<String> {
        let wrong = self.namespaces(tree);
        if !wrong.is_empty() {
            return wrong;
        }
        let mut wanted = BTreeMap::new();
        for name in tree.good_names() {
            for object in self.render(tree, name) {
                wanted.insert(key_of(&object), object);
            }
        }
        let live = match self.objects() {
            Ok(live) => live,
            Err(error) => return vec![error],
        };
        let broken = tree.stores.keys().filter(|name| tree.good(name).is_none());
        let ignored: BTreeSet<_> = broken.map(|name| self.namespace(name)).collect();
        let mut wrong: Vec<_> = wanted
            .keys()
            .filter(|key| !live.contains_key(key))
            .map(|key| format!("{} is missing", show(key)))
            .collect();
        let extra = live.iter().filter(|(key, object)| {
            !wanted.contains_key(key) && !ignored.contains(&key.1) && !is_kept(object)
        });
        wrong.extend(extra.map(|(key, _)| format!("{} is there, and git does not want it", show(key))));
        if wrong.is_empty() { self.compare(&wanted, &live) } else { wrong }
    }

    /// Returns the namespace of a store.
    pub fn namespace(&self, name: &str) -> String {
        format!("store-{}-{name}", self.prefix)
    }

    /// Does something to an object of a store as somebody else would; whether it was there.
    pub fn meddle(&self, how: Meddling, name: &str, kind: &str, object: &str) -> bool {
        if kind == "Namespace" {
            // Pods of any kind could be made in it.
            let labels = json!({ "pod-security.kubernetes.io/enforce": "privileged" });
            let api = Api::<Namespace>::all(self.client.clone());
            let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
            return self.runtime.block_on(api.patch(&self.namespace(name), &others(), &patch)).is_ok();
        }
        let resource = self.resources.iter().find(|resource| resource.kind == kind).unwrap();
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.namespace(name), resource);
        let patch = match how {
            Meddling::Delete => {
                return self.runtime.block_on(api.delete(object, &DeleteParams::default())).is_ok();
            }
            Meddling::Change if kind == "Deployment" => {
                json!({ "spec": { "progressDeadlineSeconds": 1234 } })
            }
            Meddling::Change => {
                json!({ "metadata": { "labels": { "app.kubernetes.io/component": "meddled" } } })
            }
            Meddling::Freeze => {
                let found = self.runtime.block_on(api.get(object));
                let entries = found.ok().and_then(|found| found.data["data"].as_object().cloned());
                let Some(entry) = entries.and_then(|entries| entries.keys().next().cloned()) else {
                    return false;
                };
                json!({ "immutable": true, "data": { entry: "meddled" } })
            }
        };
        self.runtime.block_on(api.patch(object, &others(), &Patch::Merge(patch))).is_ok()
    }

    /// The stores with good files have namespaces; those whose files are broken may have.
    fn namespaces(&self, tree: &Tree) -> Vec<String> {
        let params = ListParams::default().labels(&self.label());
        let api = Api::<Namespace>::all(self.client.clone());
        let found = match self.runtime.block_on(api.list(&params)) {
            Ok(list) => list.items,
            Err(error) => return vec![format!("the API server does not answer: {error}")],
        };
        let mut wrong = Vec::new();
        let mut there = BTreeSet::new();
        for namespace in found {
            let name = namespace.metadata.name.clone().unwrap_or_default();
            let going = namespace.metadata.deletion_timestamp.is_some();
            if going || !tree.stores.keys().any(|store| self.namespace(store) == name) {
                wrong.push(format!(
                    "namespace {name} is {}",
                    if going { "on its way out" } else { "there still" }
                ));
            }
            let store = tree.good_names().into_iter().find(|store| self.namespace(store) == name);
            wrong.extend(store.and_then(|store| self.unlike_git(tree, store, &namespace)));
            // Until the mark is off, the file that came back may go again and the store is still refused.
            let marks = namespace.metadata.annotations.iter().flatten();
            let mut marks = marks.filter(|(key, _)| key.starts_with("storekeeper.dev/removal"));
            if let Some((mark, _)) = marks.next()
                && store.is_some()
            {
                wrong.push(format!("namespace {name} has a file and still carries {mark}"));
            }
            there.insert(name);
        }
        let missing = tree.good_names().into_iter().map(|name| self.namespace(name));
        wrong.extend(
            missing.filter(|name| !there.contains(name)).map(|name| format!("namespace {name} is missing")),
        );
        wrong
    }

    /// What is wrong with the labels and annotations of a store's namespace.
    fn unlike_git(&self, tree: &Tree, name: &str, namespace: &Namespace) -> Option<String> {
        let id = format!("{}-{name}", self.prefix);
        let text = |text: &str| text.to_owned();
        let protect = tree.good(name).is_some_and(|settings| settings.protect).then(|| text("true"));
        let labels = [
            ("app.kubernetes.io/managed-by", Some(text("storekeeper"))),
            ("storekeeper.dev/store", Some(id)),
            ("storekeeper.dev/source", Some(self.source.clone())),
            ("pod-security.kubernetes.io/enforce", Some(text("restricted"))),
            ("pod-security.kubernetes.io/warn", Some(text("restricted"))),
            ("pod-security.kubernetes.io/audit", Some(text("restricted"))),
        ];
        let annotations =
            [("storekeeper.dev/host", tree.host(name, &self.prefix)), ("storekeeper.dev/protect", protect)];
        let parts = [
            (namespace.metadata.labels.as_ref(), labels.as_slice()),
            (namespace.metadata.annotations.as_ref(), annotations.as_slice()),
        ];
        parts.into_iter().flat_map(|(found, wanted)| wanted.iter().map(move |pair| (found, pair))).find_map(
            |(found, (key, wanted))| {
                let found = found.and_then(|found| found.get(*key));
                (found != wanted.as_ref()).then(|| {
                    format!("namespace {} has {key} {found:?}, not {wanted:?}", self.namespace(name))
                })
            },
        )
    }

    /// Returns the names of the Jobs that a store has at a commit; none when its file is no good one.
    pub fn jobs(&mut self, tree: &Tree, name: &str) -> Vec<String> {
        let objects = if tree.good(name).is_some() { self.render(tree, name) } else { Vec::new() };
        let jobs = objects.iter().filter(|object| object["kind"] == "Job");
        jobs.filter_map(|job| job["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// Renders a store as the command line does, and marks it as ours.
    fn render(&mut self, tree: &Tree, name: &str) -> Vec<Value> {
        let store = format!("{}-{name}", self.prefix);
        let content = format!("{:?} {name} {:?}", tree.fleet, tree.good(name));
        if let Some(objects) = self.rendered.get(&content) {
            return objects.clone();
        }
        tree.write(self.scratch.path(), &self.prefix);
        let output =
            Command::new(binary()).args(["render", &store]).arg(self.scratch.path()).output().unwrap();
        assert!(output.status.success(), "render {store}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert!(objects.len() > 10, "render {store} printed {} objects", objects.len());
        for object in &mut objects {
            let labels = object["metadata"]["labels"].as_object_mut().unwrap();
            labels.insert("app.kubernetes.io/managed-by".to_owned(), json!("storekeeper"));
            labels.insert("storekeeper.dev/store".to_owned(), json!(store));
            labels.insert("storekeeper.dev/source".to_owned(), json!(self.source));
        }
        self.rendered.insert(content, objects.clone());
        objects
    }

    /// Lists every object with our source's label, of every kind there is, but for what controllers make of ours.
    fn objects(&self) -> Result<BTreeMap<Key, Value>, String> {
        let params = ListParams::default().labels(&self.label());
        let lists = self.resources.iter().map(|resource| {
            let api = Api::<DynamicObject>::all_with(self.client.clone(), resource);
            let params = params.clone();
            async move { (resource, api.list(&params).await) }
        });
        let lists = futures::stream::iter(lists).buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let mut objects = BTreeMap::new();
        for (resource, list) in self.runtime.block_on(lists) {
            let list = list.map_err(|error| format!("listing {} failed: {error}", resource.kind))?;
            for object in list.items {
                let made_by_controller =
                    object.metadata.owner_references.as_ref().is_some_and(|all| !all.is_empty());
                if made_by_controller
                    || resource.kind == "Endpoints"
                    || object.metadata.name.as_deref() == Some(INVENTORY)
                {
                    continue;
                }
                let mut value = serde_json::to_value(object).unwrap();
                value["apiVersion"] = json!(resource.api_version);
                value["kind"] = json!(resource.kind);
                objects.insert(key_of(&value), value);
            }
        }
        Ok(objects)
    }

    fn compare(&self, wanted: &BTreeMap<Key, Value>, live: &BTreeMap<Key, Value>) -> Vec<String> {
        let comparisons = wanted.iter().map(|(key, object)| self.difference(key, object, &live[key]));
        let comparisons = futures::stream::iter(comparisons).buffer_unordered(AT_ONCE);
        self.runtime.block_on(comparisons.filter_map(|wrong| async { wrong }).collect())
    }

    /// What applying an object would change, if anything.
    async fn difference(&self, key: &Key, wanted: &Value, live: &Value) -> Option<String> {
        if wanted["kind"] == "Secret" {
            let (wanted, live) = (entries(wanted), entries(live));
            return (wanted != live)
                .then(|| format!("{} has the entries {live:?}, git wants {wanted:?}", show(key)));
        }
        let resource = self
            .resources
            .iter()
            .find(|it| wanted["apiVersion"] == it.api_version && wanted["kind"] == it.kind)?;
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &key.1, resource);
        let params = PatchParams { dry_run: true, ..PatchParams::apply("storekeeper").force() };
        let applied = match api.patch(&key.2, &params, &Patch::Apply(wanted)).await {
            Ok(applied) => serde_json::to_value(applied).unwrap(),
            Err(error) => return Some(format!("{} can't be applied: {error}", show(key))),
        };
        let (applied, live) = (settled(&applied), settled(live));
        (applied != live).then(|| {
            format!("{} is not as git wants it: {}", show(key), first_difference("", &live, &applied))
        })
    }

    fn label(&self) -> String {
        format!("storekeeper.dev/source={}", self.source)
    }
}

/// Writes as another field manager.
fn others() -> PatchParams {
    PatchParams { field_manager: Some("somebody-else".to_owned()), ..PatchParams::default() }
}

fn key_of(object: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let group = object["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'))
        .map_or("", |(group, _)| group);
    let kind = text(&object["kind"]);
    (format!("{group}/{kind}"), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

fn show((kind, namespace, name): &Key) -> String {
    format!("{namespace}: {}/{name}", kind.trim_start_matches('/'))
}

/// Whether it stays where it is no longer rendered.
fn is_kept(object: &Value) -> bool {
    object.pointer("/metadata/annotations/helm.sh~1resource-policy").is_some_and(|policy| policy == "keep")
}

fn entries(secret: &Value) -> BTreeSet<&str> {
    let of = |part: &str| {
        secret[part].as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect::<Vec<_>>()
    };
    [of("data"), of("stringData")].concat().into_iter().collect()
}

/// An object without what changes by itself.
fn settled(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(root) = object.as_object_mut() {
        for part in ["status", "apiVersion", "kind"] {
            root.remove(part);
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for part in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(part);
        }
    }
    object
}

/// Names the first place where two values differ.
fn first_difference(path: &str, live: &Value, wanted: &Value) -> String {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            let keys: BTreeSet<_> = live.keys().chain(wanted.keys()).collect();
            let differs = keys.into_iter().find(|key| live.get(*key) != wanted.get(*key));
            let Some(key) = differs else { return String::new() };
            let at = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            first_difference(&format!("{path}/{key}"), &at(live), &at(wanted))
        }
        (Value::Array(live), Value::Array(wanted)) if live.len() == wanted.len() => {
            let differs = (0..live.len()).find(|at| live[*at] != wanted[*at]).unwrap_or_default();
            first_difference(&format!("{path}/{differs}"), &live[differs], &wanted[differs])
        }
        _ => format!("{path} is {live}, not {wanted}"),
    }
}
