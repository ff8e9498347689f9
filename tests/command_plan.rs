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
fn plan_prints_fields_as_text_json_and_markdown_and_without_them_when_it_shall_be_fast() {
    let (world, _daemon) = World::with_small(&["acme", "bonsai"], "deletionGracePeriodSeconds: 600");
    let chart = world.folder.path().join("small-chart");
    let (folder, chart) = (world.repository.checkout.to_str().unwrap(), chart.to_str().unwrap());
    let kubeconfig = world.cluster.kubeconfig.to_str().unwrap();
    let plan = |more: &[&str]| {
        let fixed = ["plan", folder, "--kubeconfig", kubeconfig, "--source", &world.source, "--chart", chart];
        let (code, printed, _) = storekeeper(&[&fixed, more].concat());
        assert_eq!(code, Some(1), "{printed}");
        printed
    };
    let copied =
        Command::new("cp").args(["-r", folder]).arg(world.folder.path().join("base")).status().unwrap();
    assert!(copied.success());
    world.write_store("acme", "Renamed");
    world.write_store("chocolate", "chocolate");
    let text = plan(&[]);
    assert!(
        text.contains("    ~ ConfigMap/settings\n      - data.name: acme\n      + data.name: Renamed\n"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "colours are for terminals: {text}");
    let json: serde_json::Value = serde_json::from_str(&plan(&["--output", "json"])).unwrap();
    assert_eq!((&json["verdict"], &json["unchanged"]), (&"changes".into(), &1.into()), "{json}");
    let markdown = plan(&["-o", "markdown"]);
    assert!(markdown.starts_with("### storekeeper plan: 1 to add, 1 to change\n"), "{markdown}");
    assert!(markdown.contains("-   data.name: acme\n+   data.name: Renamed\n"), "{markdown}");
    let fast = plan(&["--fast"]);
    assert!(fast.contains("~ ConfigMap/settings") && !fast.contains("data.name"), "{fast}");

    // What is in force needs no look when only the difference is asked for.
    world.repository.remove(&world.file("bonsai"));
    let base = world.folder.path().join("base");
    let json = plan(&["-o", "json", "--base", base.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let actions: Vec<_> = json["stores"].as_array().unwrap().iter().map(|it| &it["action"]).collect();
    assert_eq!(actions, ["change", "remove", "add"], "{json}");
    assert_eq!(json["stores"][1]["when"], "10m after the merge, unless its file comes back before");
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
    world.until_failed(&daemon, "acme", &["`store-apo`"]);
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
