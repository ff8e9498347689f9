//! The chart works with plain Helm too: lint, install, upgrade, uninstall by the real helm.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{World, required_path};
use serde_json::{Value, json};

#[path = "common/chart.rs"]
mod chart;

const CHART: &str = "charts/medusa-store";

/// Runs helm and returns whether it succeeded, and what it printed.
fn helm(kubeconfig: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(required_path("STOREKEEPER_HELM"))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn value_files() -> Vec<String> {
    let ci = std::fs::read_dir(format!("{CHART}/ci")).unwrap();
    let mut files: Vec<_> = ci.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned()).collect();
    files.extend(["values-local.yaml", "values-prod.yaml"].map(|name| format!("{CHART}/{name}")));
    files
}

#[test]
fn helm_lint_accepts_the_chart_with_every_value_file() {
    let kubeconfig = required_path("STOREKEEPER_TEST_KUBECONFIG");
    for file in value_files() {
        let arguments = ["lint", "--strict", CHART, "--values", &file, "--set", "store.id=acme"];
        let (good, printed) = helm(&kubeconfig, &arguments);
        assert!(good, "{file}: {printed}");
    }
}

#[test]
fn helm_installs_and_upgrades_a_store_and_its_secrets_stay() {
    let world = World::new();
    let namespace = world.namespace("helm");
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "restricted",
        "storekeeper.dev/source": world.source,
    });
    world.cluster.create_namespace(&namespace, &labels);
    let values = format!("{CHART}/values-local.yaml");
    let run = |verb: &str, name: &str| {
        let display = format!("store.displayName={name}");
        let id = format!("store.id={}", world.store("helm"));
        let base = [verb, "acme", CHART, "--namespace", &namespace, "--values", &values];
        let sets = ["--set", &id, "--set", &display, "--wait", "--timeout", "2m"];
        helm(&world.cluster.kubeconfig, &[&base[..], &sets[..]].concat())
    };
    let secrets = || -> Vec<Value> {
        let all = world.cluster.list("v1", "Secret", &namespace);
        let generated = all.into_iter().filter(|secret| secret["type"] == "Opaque");
        generated.map(|secret| secret["data"].clone()).collect()
    };

    let (good, printed) = run("install", "Before");
    assert!(good, "{printed}");
    let before = secrets();
    assert_eq!(before.len(), 2, "{before:?}");
    let (good, printed) = run("upgrade", "After");
    assert!(good, "{printed}");
    assert_eq!(before, secrets());
    let storefront = world.cluster.get("apps/v1", "Deployment", &namespace, "storefront").unwrap();
    assert!(storefront.to_string().contains("After"));
    let (good, printed) =
        helm(&world.cluster.kubeconfig, &["uninstall", "acme", "--namespace", &namespace, "--wait"]);
    assert!(good, "{printed}");
    assert!(world.cluster.list("apps/v1", "Deployment", &namespace).is_empty());
    world.cluster.delete_namespace(&namespace);
}

#[test]
fn the_api_server_takes_every_object_of_every_set_of_values() {
    let world = World::new();
    let namespace = world.namespace("dry");
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "restricted",
        "storekeeper.dev/source": world.source,
    });
    world.cluster.create_namespace(&namespace, &labels);
    for (name, files) in chart::value_sets() {
        for object in chart::render(&files, &json!({}), &namespace).unwrap() {
            // Its definition belongs to the operator that is not here.
            if object["kind"] != "ExternalSecret" {
                let answer = world.cluster.try_apply(&object);
                assert!(
                    answer.is_ok(),
                    "{name}: {} {}: {answer:?}",
                    object["kind"],
                    object["metadata"]["name"]
                );
            }
            // Pod Security refuses pods, not what makes them.
            if let Some(template) = chart::pod_template(&object) {
                let pod = json!({
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "as-its-workload-would-make-it", "namespace": namespace},
                    "spec": as_made(&object, template["spec"].clone()),
                });
                let answer = world.cluster.try_apply(&pod);
                assert!(answer.is_ok(), "{name}: pod of {}: {answer:?}", object["metadata"]["name"]);
            }
        }
    }
    let mut reading = chart::reading_pod();
    reading["metadata"]["namespace"] = json!(namespace);
    let answer = world.cluster.try_apply(&reading);
    assert!(answer.is_ok(), "{answer:?}");
    world.cluster.delete_namespace(&namespace);
}

/// Completes a pod as its controller would: with the volumes of its claims. Nothing is created here, service accounts
/// neither, and a pod that names one needs it.
fn as_made(workload: &Value, mut spec: Value) -> Value {
    let fields = spec.as_object_mut().unwrap();
    fields.remove("serviceAccountName");
    let volumes = fields.entry("volumes").or_insert(json!([])).as_array_mut().unwrap();
    for claim in workload["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        volumes.push(json!({"name": claim["metadata"]["name"], "emptyDir": {}}));
    }
    spec
}
