//! Promise: the chart installs storekeeper by real Helm, on a real API server that lets storekeeper do its work and nothing
//! else; an upgrade and the end of the release leave stores as they are.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

#[path = "common/chart.rs"]
mod chart;

use std::process::Command;

use chart::{PLATFORM, pod_template, render_platform, value_sets_of};
use common::cluster::Cluster;
use common::{World, required_path, until};
use serde_json::{Value, json};

const CHART: &str = "charts/platform";
const ADDRESS: &str = "repository.url=https://git.example.com/acme/stores.git";

/// Labels of a namespace by which it is not a store of this source, one at a time.
const WRONG_LABELS: [(&str, &str); 3] = [
    ("/metadata/labels/app.kubernetes.io~1managed-by", "somebody"),
    ("/metadata/labels/storekeeper.dev~1source", "elsewhere"),
    ("/metadata/labels/storekeeper.dev~1store", "another"),
];

/// On all that a test makes for its release, so that it goes with it.
const LABEL_RELEASE: &str = "tests.storekeeper.dev/release";

/// A release of a test's own, which goes with it.
struct Release<'a> {
    world: &'a World,
    /// Its name, which all its objects begin with.
    name: String,
    namespace: String,
}

impl<'a> Release<'a> {
    /// Installs the chart with these values, and a node port that nobody has.
    fn install(world: &'a World, values: &str) -> Self {
        let name = format!("{}-storekeeper", world.prefix);
        let release = Self { world, name, namespace: format!("{}-platform", world.prefix) };
        let (good, printed) = release.set(&["install", "--create-namespace"], values, &[]);
        assert!(good, "{printed}");
        release
    }

    /// Installs or upgrades it, and waits for its pods.
    fn set(&self, verb: &[&str], values: &str, more: &[&str]) -> (bool, String) {
        let values = format!("{CHART}/{values}");
        let source = format!("source={}", self.world.source);
        let settings = [ADDRESS, "service.nodePort=0", &source];
        let sets: Vec<&str> =
            settings.into_iter().chain(more.iter().copied()).flat_map(|set| ["--set", set]).collect();
        let base = [&self.name, CHART, "--namespace", &self.namespace, "--values", &values];
        self.helm(&[verb, &base, &sets, &["--wait", "--timeout", "2m"]].concat())
    }

    fn helm(&self, arguments: &[&str]) -> (bool, String) {
        helm(&self.world.cluster, arguments)
    }

    fn uninstall(&self) -> (bool, String) {
        self.helm(&["uninstall", &self.name, "--namespace", &self.namespace, "--wait"])
    }

    /// Connects as storekeeper's pods do, once the policies are in force: what is allowed before says nothing.
    fn storekeeper(&self) -> Cluster {
        let keeper = self.world.cluster.as_service_account(&self.namespace, &self.name);
        let other =
            with(self.store_namespace("a"), "/metadata/name", json!(format!("{}-a", self.world.prefix)));
        until_denied(&not_a_store(&other), || keeper.try_apply(&other));
        let binding = self.binding(&self.namespace);
        until_denied("not rolebindings into", || keeper.try_apply(&binding));
        keeper
    }

    /// A store's namespace as storekeeper makes it.
    fn store_namespace(&self, store: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": format!("store-{store}"),
                "labels": {
                    "app.kubernetes.io/managed-by": "storekeeper",
                    "storekeeper.dev/source": self.world.source,
                    "storekeeper.dev/store": store,
                    "pod-security.kubernetes.io/enforce": "restricted",
                    LABEL_RELEASE: self.name,
                },
            },
        })
    }

    /// The binding that storekeeper makes in a namespace.
    fn binding(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": format!("{}-store", self.name), "namespace": namespace},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": format!("{}-store", self.name),
            },
            "subjects": [{"kind": "ServiceAccount", "name": self.name, "namespace": self.namespace}],
        })
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.uninstall();
        self.world.cluster.delete_namespaces(&format!("kubernetes.io/metadata.name={}", self.namespace));
        self.world.cluster.delete_namespaces(&format!("{LABEL_RELEASE}={}", self.name));
    }
}

fn helm(cluster: &Cluster, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(required_path("STOREKEEPER_HELM"))
        .args(arguments)
        .env("KUBECONFIG", &cluster.kubeconfig)
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn object(api_version: &str, kind: &str, namespace: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "one", "namespace": namespace}})
}

/// What the policy says of a namespace.
fn not_a_store(namespace: &Value) -> String {
    let name = namespace["metadata"]["name"].as_str().unwrap();
    format!("and storekeeper.dev/store=NAME; {name} is not such a one")
}

/// Returns the object with one field as it should not be.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    *object.pointer_mut(pointer).unwrap() = value;
    object
}

/// Asks until the API server says yes: roles reach its caches a moment after they are bound.
fn until_allowed(what: &str, ask: impl Fn() -> Result<(), String>) {
    until(&format!("{what} is allowed"), || ask().ok());
}

/// Asks until the API server says no, in these words: policies are in force a moment after they are made.
fn until_denied(words: &str, ask: impl Fn() -> Result<(), String>) {
    until(&format!("it is denied: {words}"), || ask().err()?.contains(words).then_some(()));
}

#[test]
fn helm_lint_accepts_the_chart_with_every_value_file() {
    let cluster = Cluster::from_environment();
    for (name, files) in value_sets_of(PLATFORM) {
        let files: Vec<_> = files.iter().map(|file| format!("{CHART}/{file}")).collect();
        let values = files.iter().flat_map(|file| ["--values", file]).collect::<Vec<_>>();
        let (good, printed) =
            helm(&cluster, &[&["lint", "--strict", CHART, "--set", ADDRESS], &values[..]].concat());
        assert!(good, "{name}: {printed}");
    }
}

#[test]
fn the_api_server_takes_every_object_and_pod_of_every_set_of_values() {
    let world = World::new();
    let namespace = format!("{}-dry", world.prefix);
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "restricted",
        "storekeeper.dev/source": world.source,
    });
    world.cluster.create_namespace(&namespace, &labels);
    // Not the node port of a set: somebody may have it.
    let over = json!({
        "repository": {"url": "https://git.example.com/acme/stores.git"},
        "service": {"nodePort": 0},
    });
    for (name, files) in value_sets_of(PLATFORM) {
        for mut object in render_platform(&files, &over, (&world.prefix, &namespace)).unwrap() {
            // Its namespace for dry runs is not there either.
            if object["metadata"]["namespace"].is_string() {
                object["metadata"]["namespace"] = json!(namespace);
            }
            // Their definitions belong to the operator that is not here.
            if object["apiVersion"] != "monitoring.coreos.com/v1" {
                let (kind, object_name) = (&object["kind"], &object["metadata"]["name"]);
                let answer = world.cluster.try_apply(&object);
                assert!(answer.is_ok(), "{name}: {kind} {object_name}: {answer:?}");
            }
            // Pod Security refuses pods, not what makes them. Nothing is created here, so what they refer to is not there.
            if let Some(template) = pod_template(&object) {
                let mut spec = template["spec"].clone();
                for reference in ["serviceAccountName", "priorityClassName"] {
                    spec.as_object_mut().unwrap().remove(reference);
                }
                let meta = json!({"name": "as-its-deployment-would-make-it", "namespace": namespace});
                let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec});
                let answer = world.cluster.try_apply(&pod);
                assert!(answer.is_ok(), "{name}: {answer:?}");
            }
        }
    }
}

#[test]
fn storekeeper_makes_and_removes_its_own_stores() {
    let world = World::new();
    let release = Release::install(&world, "values-local.yaml");
    let (keeper, store) = (release.storekeeper(), world.namespace("acme"));
    keeper.apply_as("test", &release.store_namespace(&world.store("acme")));
    let secret = object("v1", "Secret", &store);
    let refused = keeper.try_apply(&secret).expect_err("it has no right in a store before the binding");
    assert!(refused.contains("cannot patch resource"), "{refused}");
    keeper.apply_as("test", &release.binding(&store));
    for kind in ["Secret", "ConfigMap", "ServiceAccount"] {
        until_allowed(kind, || keeper.try_apply(&object("v1", kind, &store)));
    }
    let lease = object("coordination.k8s.io/v1", "Lease", &release.namespace);
    until_allowed("a lease", || keeper.try_apply(&lease));
    let other = object("v1", "ConfigMap", &release.namespace);
    until_denied("cannot patch resource \"configmaps\"", || keeper.try_apply(&other));
    let ring = with(other, "/metadata/name", json!(format!("storekeeper-{}-shards", world.source)));
    until_allowed("the ring", || keeper.try_apply(&ring));
    keeper.apply_as("test", &secret);
    until_allowed("the end of a secret", || keeper.try_delete("v1", "Secret", &store, "one"));
    until_allowed("the end of a store", || keeper.try_delete("v1", "Namespace", "", &store));
    // What somebody else took from the namespace's Pod Security does not keep storekeeper from marking and removing it.
    let level = "pod-security.kubernetes.io/enforce";
    world.cluster.patch_namespace(&store, &json!({"metadata": {"labels": {level: "baseline"}}}));
    let mut marked = release.store_namespace(&world.store("acme"));
    marked["metadata"]["labels"].as_object_mut().unwrap().remove(level);
    marked["metadata"]["annotations"] = json!({"storekeeper.dev/host": "acme.example.com"});
    until_allowed("a mark", || keeper.try_apply(&marked));
}

#[test]
fn the_policies_keep_storekeeper_out_of_namespaces_that_are_not_its_stores() {
    let world = World::new();
    let release = Release::install(&world, "values-local.yaml");
    let keeper = release.storekeeper();
    let (own, new) =
        (release.store_namespace(&world.store("acme")), release.store_namespace(&world.store("b")));
    keeper.apply_as("test", &own);
    let other = with(new.clone(), "/metadata/name", json!(format!("{}-other", world.prefix)));
    until_denied(&not_a_store(&other), || keeper.try_apply(&other));
    for (number, (label, value)) in WRONG_LABELS.into_iter().enumerate() {
        for namespace in [&own, &new] {
            let wrong = with(namespace.clone(), label, json!(value));
            until_denied(&not_a_store(&wrong), || keeper.try_apply(&wrong));
        }
        let right = release.store_namespace(&world.store(&format!("foreign-{number}")));
        world.cluster.apply_as("test", &with(right.clone(), label, json!(value)));
        until_denied(&not_a_store(&right), || keeper.try_apply(&right));
        let name = right["metadata"]["name"].as_str().unwrap();
        until_denied(&not_a_store(&right), || keeper.try_delete("v1", "Namespace", "", name));
    }
    for namespace in [own, new] {
        let level = "/metadata/labels/pod-security.kubernetes.io~1enforce";
        let lowered = with(namespace, level, json!("privileged"));
        let words = "another Pod Security than restricted: the label pod-security.kubernetes.io/enforce says privileged";
        until_denied(words, || keeper.try_apply(&lowered));
    }
}

#[test]
fn the_policies_keep_storekeeper_from_writing_elsewhere_though_it_has_the_right() {
    let world = World::new();
    let release = Release::install(&world, "values-local.yaml");
    let keeper = release.storekeeper();
    let foreign = WRONG_LABELS.into_iter().enumerate().map(|(number, (label, value))| {
        let right = release.store_namespace(&world.store(&format!("foreign-{number}")));
        world.cluster.apply_as("test", &with(right.clone(), label, json!(value)));
        right["metadata"]["name"].as_str().unwrap().to_owned()
    });
    for namespace in foreign.chain([release.namespace.clone()]) {
        let words = |what: &str| {
            format!("and leases and configmaps into {}; not {what} into {namespace}", release.namespace)
        };
        let binding = release.binding(&namespace);
        until_denied(&words("rolebindings"), || keeper.try_apply(&binding));
        // Somebody who may do so gives it the right.
        world.cluster.apply_as("test", &binding);
        let secret = object("v1", "Secret", &namespace);
        until_denied(&words("secrets"), || keeper.try_apply(&secret));
        world.cluster.apply_as("test", &secret);
        until_denied(&words("secrets"), || keeper.try_delete("v1", "Secret", &namespace, "one"));
    }
}

#[test]
fn the_policies_let_storekeeper_bind_its_own_role_to_itself_and_nothing_else() {
    let world = World::new();
    let release = Release::install(&world, "values-local.yaml");
    let (keeper, store) = (release.storekeeper(), world.namespace("acme"));
    keeper.apply_as("test", &release.store_namespace(&world.store("acme")));
    // A role without rules is one that the API server lets everybody hand out who may make bindings.
    let nothing = with(object("rbac.authorization.k8s.io/v1", "Role", &store), "/metadata/name", json!("no"));
    world.cluster.apply_as("test", &nothing);
    let binding = release.binding(&store);
    let somebody = json!({"kind": "ServiceAccount", "name": "default", "namespace": "default"});
    let no_role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "no"});
    let words =
        format!("which binds the ClusterRole of its own name, {}-store, to its ServiceAccount", release.name);
    for refused in [
        with(binding.clone(), "/roleRef", no_role),
        with(binding.clone(), "/subjects/0/name", json!("default")),
        with(binding.clone(), "/subjects/0/namespace", json!("default")),
        with(binding.clone(), "/subjects", json!([binding["subjects"][0], somebody])),
        with(binding.clone(), "/subjects", json!([])),
    ] {
        until_denied(&words, || keeper.try_apply(&refused));
    }
    until_allowed("the binding", || keeper.try_apply(&binding));
    // Its right names the binding itself.
    let another = with(binding.clone(), "/metadata/name", json!("another"));
    until_denied("cannot patch resource", || keeper.try_apply(&another));
    let other = with(binding, "/roleRef/name", json!("cluster-admin"));
    until_denied("attempting to grant RBAC permissions not currently held", || keeper.try_apply(&other));
}

#[test]
fn an_upgrade_changes_storekeeper_alone_and_stores_outlive_the_release() {
    let world = World::new();
    let release = Release::install(&world, "values-prod.yaml");
    let (keeper, store) = (release.storekeeper(), world.namespace("acme"));
    keeper.apply_as("test", &release.store_namespace(&world.store("acme")));
    keeper.apply_as("test", &release.binding(&store));
    let secret = object("v1", "Secret", &store);
    until_allowed("a secret", || keeper.try_apply(&secret));
    keeper.apply_as("test", &secret);
    let role = format!("{}-store", release.name);
    let look = || {
        let binding = world.cluster.get("rbac.authorization.k8s.io/v1", "RoleBinding", &store, &role);
        [world.cluster.namespace(&store), binding, world.cluster.get("v1", "Secret", &store, "one")]
            .map(|object| object.expect("it is there"))
    };
    let get = |kind: &str, version: &str| world.cluster.get(version, kind, &release.namespace, &release.name);
    let pods = || get("Deployment", "apps/v1").unwrap()["spec"]["template"].clone();
    let (before, pods_before) = (look(), pods());

    let (good, printed) =
        release.set(&["upgrade"], "values-prod.yaml", &["replicas=3", "repository.branch=next"]);
    assert!(good, "{printed}");
    assert_ne!(pods_before, pods(), "the pods go on with the old settings");
    assert_eq!(get("Deployment", "apps/v1").unwrap()["status"]["availableReplicas"], 3);
    assert_eq!(get("ConfigMap", "v1").unwrap()["data"]["STOREKEEPER_BRANCH"], "next");
    let (good, _) = release.set(&["upgrade"], "values-prod.yaml", &["replicas=3", "forge.kind=github"]);
    assert!(!good, "a forge without a login is taken");
    assert_eq!(get("ConfigMap", "v1").unwrap()["data"]["STOREKEEPER_BRANCH"], "next");

    let (good, printed) = release.uninstall();
    assert!(good, "{printed}");
    assert_eq!(before, look(), "a store's objects are not what they were");
    for (version, kind, name) in [
        ("rbac.authorization.k8s.io/v1", "ClusterRole", format!("{}-store", release.name)),
        (
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicyBinding",
            format!("{}-writes", release.name),
        ),
    ] {
        assert!(world.cluster.get(version, kind, "", &name).is_none(), "{kind} {name} is left");
    }
}
