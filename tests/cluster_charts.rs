//! Stores of other charts than the built-in one come up, change, change their chart and go like any other store; a bad
//! chart concerns its own stores alone.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::path::Path;

use common::shop::{Mood, Shop};
use common::{World, until};

/// The chart of `stores.example`, as the fleet file names it.
const CHARTS: &str = "deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}\n  charts:\n    webpage:\n      folder: \
                      charts/webpage\n      fields: {displayName: title, host: host}";

/// A world whose repository holds the example chart.
fn world() -> World {
    let world = World::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("stores.example/charts/webpage");
    copy(&world, &example, "charts/webpage");
    world.write_fleet(CHARTS);
    world
}

fn copy(world: &World, folder: &Path, to: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{to}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            copy(world, &path, &name);
        } else {
            world.repository.write(&name, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Writes a store of this chart.
fn write(world: &World, name: &str, chart: &str, title: &str) {
    world.write_store(name, title);
    let text = std::fs::read_to_string(world.repository.checkout.join(world.file(name))).unwrap();
    world.repository.write(&world.file(name), &format!("{text}  chart: {chart}\n"));
}

fn title(world: &World, name: &str) -> Option<String> {
    let page = world.cluster.get("v1", "ConfigMap", &world.namespace(name), "page")?;
    page["data"]["page.json"].as_str().map(str::to_owned)
}

#[test]
fn a_store_of_another_engine_lives_like_any_other() {
    let world = world();
    let shop = Shop::open(Mood::Open);
    let daemon = world.start_probing(&shop.address, &[]);
    write(&world, "page", "webpage", "First");
    world.repository.push("a page");
    let shown = world.until_state(&daemon, "page", "READY");
    assert_eq!(shown["url"], format!("http://{}.shops.example.com/", world.store("page")));
    assert_eq!(title(&world, "page").unwrap(), r#"{"text":"This page counts its readers.","title":"First"}"#);
    // Its page is asked for, and nothing of Medusa's.
    let asked: Vec<_> = shop.visits().into_iter().map(|visit| visit.path).collect();
    assert!(!asked.is_empty() && asked.iter().all(|path| path == "/"), "{asked:?}");

    let namespace = world.namespace("page");
    // Its database was set up by a hook, whose Job is gone.
    let inventory = world.cluster.get("v1", "ConfigMap", &namespace, "storekeeper-inventory").unwrap();
    let inventory = inventory["data"]["inventory.json"].as_str().unwrap();
    assert!(inventory.contains("post-install done batch/v1 Job migrate"), "{inventory}");
    assert!(world.cluster.get("batch/v1", "Job", &namespace, "migrate").is_none());
    let password =
        |world: &World| world.cluster.get("v1", "Secret", &namespace, "postgres").unwrap()["data"].clone();
    let first = password(&world);
    write(&world, "page", "webpage", "Second");
    world.repository.push("another title");
    until("the page has its new title", || title(&world, "page").filter(|text| text.contains("Second")));
    assert_eq!(password(&world), first, "a generated password is kept");

    world.cluster.delete("v1", "Service", &namespace, "page");
    until("the deleted Service is back", || world.cluster.get("v1", "Service", &namespace, "page"));

    world.repository.remove(&world.file("page"));
    world.repository.push("no page any more");
    world.until_gone("page");
}

#[test]
fn a_change_of_the_chart_changes_its_stores_and_no_others() {
    let world = world();
    let daemon = world.start_daemon();
    write(&world, "page", "webpage", "Page");
    world.write_store("shop", "Shop");
    let before = world.repository.push("a page and a shop");
    world.until_state(&daemon, "page", "READY");
    world.until_state(&daemon, "shop", "READY");

    let values = world.repository.checkout.join("charts/webpage/values.yaml");
    let text = std::fs::read_to_string(values).unwrap().replace("counts its readers", "has readers");
    world.repository.write("charts/webpage/values.yaml", &text);
    let after = world.repository.push("another default");
    until("the page has the chart's new text", || {
        title(&world, "page").filter(|text| text.contains("has readers"))
    });
    let applied = |name: &str| daemon.store(&world.store(name)).unwrap()["appliedRevision"].clone();
    until("the page runs the new commit", || (applied("page") == after).then_some(()));
    assert_eq!(applied("shop"), before);

    // Of one template of the chart that fails, and of one that can't be read, its own stores say so.
    world.repository.write("charts/webpage/templates/more.yaml", "a: {{ .Values.none.such }}");
    world.repository.push("a template that fails");
    world.until_failed(&daemon, "page", &["webpage/templates/more.yaml:1:", "nil pointer"]);
    world.repository.write("charts/webpage/templates/more.yaml", "{{ if }}");
    world.repository.push("a template that can't be read");
    world.until_failed(&daemon, "page", &["load chart `webpage` (charts/webpage)", "templates/more.yaml:1:"]);
    world.repository.remove("charts/webpage/templates/more.yaml");
    let file = std::fs::read_to_string(world.repository.checkout.join(world.file("page"))).unwrap();
    world.repository.write(&world.file("page"), &format!("{file}  values: {{text: [a, list]}}\n"));
    world.repository.push("a value that the schema refuses");
    world.until_failed(&daemon, "page", &["`text`", &format!("({}:8:12)", world.file("page"))]);
    world.repository.remove("charts/webpage/Chart.yaml");
    world.repository.push("no chart at all");
    world.until_failed(&daemon, "page", &["its chart `webpage` can't be used", "charts/webpage/Chart.yaml"]);
    world.write_store("shop", "Shop II");
    let last = world.repository.push("a change of the shop");
    until("the shop follows", || (applied("shop") == last).then_some(()));
    assert!(title(&world, "page").is_some(), "what ran goes on");
}

#[test]
fn a_store_may_change_its_chart() {
    let world = world();
    let daemon = world.start_daemon();
    write(&world, "page", "webpage", "Page");
    world.repository.push("a page");
    world.until_state(&daemon, "page", "READY");
    world.write_fleet(&format!("{CHARTS}\n    plain:\n      folder: charts/plain"));
    world.repository.write("charts/plain/Chart.yaml", "apiVersion: v2\nname: plain\nversion: 1.0.0\n");
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {host: \"{{ .Values.store.host }}\"}\n";
    world.repository.write("charts/plain/templates/a.yaml", template);
    write(&world, "page", "plain", "Page");
    world.repository.push("another chart");
    let namespace = world.namespace("page");
    let plain =
        until("the other chart is applied", || world.cluster.get("v1", "ConfigMap", &namespace, "plain"));
    assert_eq!(plain["data"]["host"], format!("{}.shops.example.com", world.store("page")));
    until("what it does not have is gone", || {
        let kinds =
            [("apps/v1", "Deployment"), ("networking.k8s.io/v1", "Ingress"), ("apps/v1", "StatefulSet")];
        kinds
            .iter()
            .all(|(version, kind)| world.cluster.list(version, kind, &namespace).is_empty())
            .then_some(())
    });
}
