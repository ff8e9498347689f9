//! Charts come from where the operator allows them, pinned, once; and the real Helm renders them for whoever wants that.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/chart_host.rs"]
mod chart_host;
mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use chart_host::Host;
use common::daemon::Daemon;
use common::{World, required_path, until};
use sha2::{Digest as _, Sha256};

/// Packs the example chart with the real Helm, and serves it as a Helm repository; returns its host and its digest.
fn repository(world: &World) -> (Host, String) {
    let folder = world.folder.path().join("packed");
    std::fs::create_dir_all(&folder).unwrap();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("stores.example/charts/webpage");
    let helm = |arguments: &[&str]| {
        let run =
            Command::new(required_path("STOREKEEPER_HELM")).args(arguments).current_dir(&folder).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    helm(&["package", chart.to_str().unwrap()]);
    helm(&["repo", "index", "."]);
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let archive = read("webpage-0.1.0.tgz");
    let digest =
        Sha256::digest(&archive).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let files = [("/index.yaml".to_owned(), read("index.yaml")), ("/webpage-0.1.0.tgz".to_owned(), archive)];
    (Host::of(BTreeMap::from(files)), digest)
}

/// Writes a fleet file with this chart under the name `page`, and a store of it.
fn write(world: &World, chart: &str, title: &str) {
    let fields = "fields: {displayName: title, host: host}";
    let budget = "deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}";
    world.write_fleet(&format!("{budget}\n  charts:\n    page:\n      {chart}\n      {fields}"));
    world.write_store("page", title);
    let text = std::fs::read_to_string(world.repository.checkout.join(world.file("page"))).unwrap();
    world.repository.write(&world.file("page"), &format!("{text}  chart: page\n"));
}

fn start(world: &World, more: &[&str]) -> Daemon {
    let more = [&["--probe", "objects"], more].concat();
    let (folder, url) = (world.folder.path(), world.repository.url());
    Daemon::start_on("127.0.0.1:0", folder, &url, &world.source, &world.cluster.kubeconfig, &more)
}

fn title(world: &World) -> Option<String> {
    let page = world.cluster.get("v1", "ConfigMap", &world.namespace("page"), "page")?;
    page["data"]["page.json"].as_str().map(str::to_owned)
}

fn pinned(url: &str, digest: &str) -> String {
    format!("repository: {{url: '{url}', name: webpage, version: 0.1.0, digest: 'sha256:{digest}'}}")
}

#[test]
fn a_chart_of_a_helm_repository_is_fetched_once_and_kept_over_restarts() {
    let world = World::new();
    let (host, digest) = repository(&world);
    let daemon = start(&world, &["--chart-sources", &host.url()]);
    write(&world, &pinned(&host.url(), &digest), "First");
    world.repository.push("a page of a repository");
    world.until_state(&daemon, "page", "READY");
    assert_eq!(host.paths(), ["/index.yaml", "/webpage-0.1.0.tgz"]);
    daemon.kill();
    let daemon = start(&world, &["--chart-sources", &host.url()]);
    write(&world, &pinned(&host.url(), &digest), "Second");
    world.repository.push("another title");
    until("the page has its new title", || title(&world).filter(|text| text.contains("Second")));
    world.until_state(&daemon, "page", "READY");
    assert_eq!(host.paths().len(), 2, "it came from the cache");

    write(&world, &pinned(&host.url(), &"0".repeat(64)), "Third");
    world.repository.push("another digest");
    world.until_failed(&daemon, "page", &["get chart `page`", &"0".repeat(64), &digest]);
    assert!(title(&world).unwrap().contains("Second"), "what runs goes on");
}

#[test]
fn a_source_that_the_operator_does_not_allow_is_asked_nothing() {
    let world = World::new();
    let (host, digest) = repository(&world);
    let daemon = start(&world, &["--chart-sources", "https://charts.example.com/", "--no-chart-folders"]);
    write(&world, &pinned(&host.url(), &digest), "Page");
    world.repository.push("a page of a repository");
    world.until_failed(&daemon, "page", &["get chart `page`", "--chart-sources"]);
    assert!(host.requests().is_empty());
    world.repository.write("charts/page/Chart.yaml", "apiVersion: v2\nname: page\nversion: 1.0.0\n");
    write(&world, "folder: charts/page", "Page");
    world.repository.push("a page of a folder");
    world.until_failed(&daemon, "page", &["load chart `page` (charts/page)", "--no-chart-folders"]);
    assert!(world.cluster.namespace(&world.namespace("page")).is_none());
}

#[test]
fn who_wants_the_real_helm_gets_it_if_the_operator_has_it() {
    let world = World::new();
    let (host, digest) = repository(&world);
    let chart = format!("{}\n      renderer: helm", pinned(&host.url(), &digest));
    let daemon = start(&world, &["--chart-sources", &host.url()]);
    write(&world, &chart, "First");
    world.repository.push("a page by helm");
    world.until_failed(&daemon, "page", &["render chart `page` with helm", "--helm"]);
    daemon.kill();
    let helm = required_path("STOREKEEPER_HELM");
    let daemon = start(&world, &["--chart-sources", &host.url(), "--helm", helm.to_str().unwrap()]);
    world.until_state(&daemon, "page", "READY");
    let password =
        || world.cluster.get("v1", "Secret", &world.namespace("page"), "postgres").unwrap()["data"].clone();
    let first = password();
    write(&world, &chart, "Second");
    let commit = world.repository.push("another title");
    let runs = |commit: &str| {
        let shown = daemon.store(&world.store("page"))?;
        (shown["appliedRevision"] == commit && shown["state"] == "READY").then_some(())
    };
    until("it runs with its new title", || runs(&commit));
    assert!(title(&world).is_some_and(|text| text.contains("Second")));
    assert_eq!(password(), first, "helm looks the password up through us");

    // The other renderer makes the same of it: nothing changes but what a new version of the inputs means.
    let before = world.cluster.list("apps/v1", "Deployment", &world.namespace("page"));
    write(&world, &pinned(&host.url(), &digest), "Second");
    let commit = world.repository.push("a page by storekeeper");
    until("it runs the new commit", || runs(&commit));
    let after = world.cluster.list("apps/v1", "Deployment", &world.namespace("page"));
    assert_eq!(after[0]["metadata"]["generation"], before[0]["metadata"]["generation"]);
    assert_eq!(password(), first);
}
