//! `storekeeper plan`, `render` and `schema`, as users run them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::process::{Command, Output};

use common::{World, daemon::binary, until};

fn storekeeper(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(binary()).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn plan_exits_0_for_nothing_1_for_changes_2_for_errors_3_for_a_blocked_removal() {
    let world = World::new();
    let folder = world.repository.checkout.to_str().unwrap();
    let kubeconfig = world.cluster.kubeconfig.to_str().unwrap();
    let plan = || storekeeper(&["plan", folder, "--kubeconfig", kubeconfig, "--source", &world.source]);

    for name in ["acme", "bonsai", "chocolate"] {
        world.write_store(name, name);
    }
    let (code, printed, _) = plan();
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains(&format!("+ store {}", world.store("acme"))), "{printed}");
    assert!(printed.contains("+ Deployment/medusa"), "{printed}");

    let daemon = world.start_daemon();
    world.repository.push("add three");
    for name in ["acme", "bonsai", "chocolate"] {
        world.until_state(&daemon, name, "READY");
    }
    let (code, printed, _) = plan();
    assert_eq!(
        (code, printed.trim()),
        (Some(0), "0 to add, 0 to change, 0 to remove, 0 removals refused, 0 wrong")
    );

    // Not committed: the plan shows what a push would do.
    world.write_store("acme", "Renamed");
    world.repository.remove(&world.file("bonsai"));
    let (code, printed, _) = plan();
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains(&format!("~ store {}", world.store("acme"))), "{printed}");
    assert!(printed.contains(&format!("- store {}", world.store("bonsai"))), "{printed}");

    for name in ["acme", "chocolate"] {
        world.repository.remove(&world.file(name));
    }
    let (code, printed, _) = plan();
    assert_eq!(code, Some(3), "{printed}");

    world.repository.write(&world.file("acme"), "kind: Nonsense\n");
    let (code, printed, _) = plan();
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains(&world.file("acme")), "{printed}");

    let (code, _, error) = storekeeper(&["plan", "/nowhere", "--kubeconfig", kubeconfig]);
    assert_eq!(code, Some(2));
    assert!(error.contains("/nowhere"), "{error}");
}

#[test]
fn plan_tells_when_a_store_would_be_deleted_and_exits_3_for_a_protected_one() {
    let (world, _daemon) = World::with_small(&["acme"], "deletionGracePeriodSeconds: 600");
    let (folder, kubeconfig) =
        (world.repository.checkout.to_str().unwrap(), world.cluster.kubeconfig.to_str().unwrap());
    let plan = || {
        let (code, printed, _) =
            storekeeper(&["plan", folder, "--kubeconfig", kubeconfig, "--source", &world.source]);
        (code, printed)
    };
    world.repository.remove(&world.file("acme"));
    let (code, printed) = plan();
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains(&format!("- store {}: ", world.store("acme"))), "{printed}");
    assert!(printed.contains("  at 2") && printed.contains("unless its file comes back before"), "{printed}");

    world.write_store_with("acme", "protect: true");
    world.repository.push("protect acme");
    until("the protection is written", || world.mark("acme", "protect"));
    world.repository.remove(&world.file("acme"));
    let (code, printed) = plan();
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("`protect: false`") && printed.contains("1 removals refused"), "{printed}");
}

#[test]
fn plan_says_that_a_chart_asks_a_shop_for_what_nobody_knows_and_a_run_applies_nothing_of_it() {
    let world = World::new();
    let chart = world.folder.path().join("chart");
    let copied = Command::new("cp").args(["-r", "charts/medusa-store"]).arg(&chart).status().unwrap();
    assert!(copied.success());
    let ingress = chart.join("templates/ingress.yaml");
    let text = std::fs::read_to_string(&ingress).unwrap();
    assert!(text.contains("list \"store-api\""));
    std::fs::write(&ingress, text.replace("list \"store-api\"", "list \"store-apo\"")).unwrap();

    world.write_store("acme", "Acme");
    let folder = world.repository.checkout.to_str().unwrap();
    let (kubeconfig, chart) = (world.cluster.kubeconfig.to_str().unwrap(), chart.to_str().unwrap());
    let (code, printed, _) = storekeeper(&[
        "plan",
        folder,
        "--kubeconfig",
        kubeconfig,
        "--source",
        &world.source,
        "--chart",
        chart,
    ]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("`store-apo` is not one of store-api"), "{printed}");

    let daemon = world.start_probing("127.0.0.1:1", &["--chart", chart]);
    world.repository.push("add acme");
    let shown = world.until_state(&daemon, "acme", "FAILED");
    assert!(shown["reason"].as_str().unwrap().contains("`store-apo`"), "{shown}");
    assert!(world.cluster.namespace(&world.namespace("acme")).is_none());
}

#[test]
fn render_prints_the_objects_of_a_store_without_a_cluster() {
    let (code, printed, error) = storekeeper(&["render", "acme", "stores.example"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(printed.contains("kind: StatefulSet") && printed.contains("# Source: "), "{printed}");
    let (code, _, error) = storekeeper(&["render", "nobody", "stores.example"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("nobody"), "{error}");
}

#[test]
fn schema_prints_json_schemas() {
    for kind in ["store", "fleet"] {
        let (code, printed, error) = storekeeper(&["schema", kind]);
        assert_eq!(code, Some(0), "{error}");
        let schema: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert!(schema["properties"]["spec"].is_object() || schema["$defs"].is_object(), "{printed}");
    }
}
