//! The chart works with plain Helm too: lint, install, upgrade, uninstall by the real helm.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{World, required_path};
use serde_json::Value;

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
    let labels = serde_json::json!({
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
