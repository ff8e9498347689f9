//! Several clusters watch one repository, and each keeps its own stores: on two real API servers, and with both daemons sent
//! to one of them by mistake.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/forge_world.rs"]
mod forge_world;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::cluster::Cluster;
use common::daemon::Daemon;
use common::{World, required_path, until};
use forge_world::ForgeWorld;
use serde_json::Value;
use tempfile::TempDir;

/// The clusters, as fleet files list them. World's own cluster is the first of them.
const CLUSTERS: &str = "clusters: [eu-1, us-1]";

/// A budget for two removals.
const BUDGET: &str = "deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}";

/// Returns the kubeconfig of a second control plane, which goes down with this process.
fn other_kubeconfig() -> PathBuf {
    static OTHER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let start = || {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("us-1");
        let status = Command::new(required_path("STOREKEEPER_DEVCLUSTER"))
            .args(["--name", "us-1", "--state"])
            .arg(&state)
            .args(["up", "--owner-pid", &std::process::id().to_string()])
            .status();
        assert!(status.unwrap().success(), "the second control plane comes up");
        (folder, state.join("kubeconfig"))
    };
    OTHER.get_or_init(start).1.clone()
}

/// Starts a daemon that is told that it is on this cluster; none: it is told nothing.
fn start(world: &World, cluster: Option<&str>, kubeconfig: &Path) -> Daemon {
    start_on(world, &world.repository.url(), cluster, kubeconfig, &["--probe", "objects"])
}

fn start_on(
    world: &World,
    repository: &str,
    cluster: Option<&str>,
    kubeconfig: &Path,
    more: &[&str],
) -> Daemon {
    let folder = world.folder.path().join(cluster.unwrap_or("alone"));
    std::fs::create_dir_all(&folder).unwrap();
    let cluster: Vec<_> = cluster.into_iter().flat_map(|name| ["--cluster", name]).collect();
    let more = [&cluster[..], more, &["--poll-seconds", "1"]].concat();
    Daemon::start_on("127.0.0.1:0", &folder, repository, &world.source, kubeconfig, &more)
}

/// Writes the file of a store that is on this cluster.
fn place(world: &World, name: &str, cluster: &str) {
    world.write_store(name, &format!("{name}\n  cluster: {cluster}"));
}

fn mark(cluster: &Cluster, namespace: &str, pointer: &str) -> Option<String> {
    cluster.namespace(namespace)?.pointer(pointer)?.as_str().map(str::to_owned)
}

/// Returns the cluster that a namespace says that it is on.
fn label(cluster: &Cluster, namespace: &str) -> Option<String> {
    mark(cluster, namespace, "/metadata/labels/storekeeper.dev~1cluster")
}

fn removal_begun(cluster: &Cluster, namespace: &str) -> bool {
    mark(cluster, namespace, "/metadata/annotations/storekeeper.dev~1removal-since").is_some()
        || mark(cluster, namespace, "/metadata/deletionTimestamp").is_some()
}

fn until_reason(world: &World, daemon: &Daemon, name: &str, state: &str, words: &str) {
    let mut last = Value::Null;
    until(&format!("{name} is {state}: {words}"), || {
        last = daemon.store(&world.store(name)).unwrap_or_default();
        let said = last["reason"].as_str().unwrap_or_default().contains(words);
        (last["state"] == state && said).then_some(())
    });
}

/// Waits until a daemon has read this commit and run every store once.
fn until_ready(daemon: &Daemon, commit: &str) -> Value {
    until(&format!("commit {commit} is in force"), || {
        let fleet = daemon.fleet();
        (fleet["revision"] == commit && fleet["ready"] == true).then_some(fleet)
    })
}

#[test]
fn each_keeps_its_own_a_typo_moves_nothing_and_a_move_removes_here_and_makes_there() {
    let world = World::new();
    let us = Cluster::connect(other_kubeconfig());
    let eu = &world.cluster;
    world.write_fleet(&format!("{CLUSTERS}\n  {BUDGET}\n  deletionGracePeriodSeconds: 5"));
    place(&world, "acme", "eu-1");
    place(&world, "brew", "us-1");
    let commit = world.repository.push("a store on each");
    let at_eu = start(&world, Some("eu-1"), &eu.kubeconfig);
    let at_us = start(&world, Some("us-1"), &us.kubeconfig);
    let acme = world.until_state(&at_eu, "acme", "READY");
    world.until_state(&at_us, "brew", "READY");
    assert_eq!(acme["cluster"], "eu-1");
    let fleet = until_ready(&at_eu, &commit);
    assert_eq!((&fleet["cluster"], &fleet["storesElsewhere"]), (&"eu-1".into(), &1.into()));
    assert_eq!(fleet["strays"], Value::Null);
    let (acme, brew) = (world.namespace("acme"), world.namespace("brew"));
    assert_eq!((label(eu, &acme), eu.namespace(&brew)), (Some("eu-1".to_owned()), None));
    assert_eq!((label(&us, &brew), us.namespace(&acme)), (Some("us-1".to_owned()), None));
    assert!(at_eu.get("/metrics").1.contains("storekeeper_cluster_info{cluster=\"eu-1\"} 1"));
    assert!(at_eu.get("/").1.contains("cluster eu-1; 1 store on other clusters"));

    place(&world, "acme", "us-11");
    world.repository.push("a typo");
    for daemon in [&at_eu, &at_us] {
        world.until_failed(daemon, "acme", &["`us-11`, which the fleet file does not list"]);
    }
    assert!(!removal_begun(eu, &acme) && us.namespace(&acme).is_none(), "a typo moves nothing");

    place(&world, "acme", "us-1");
    world.repository.push("acme moves");
    until_reason(&world, &at_eu, "acme", "DELETING", "moved to cluster us-1 in git; it is deleted at ");
    world.until_state(&at_us, "acme", "READY");
    assert_eq!(label(&us, &acme).as_deref(), Some("us-1"));
    world.until_gone("acme");
    assert!(!removal_begun(&us, &acme) && !removal_begun(&us, &brew));

    world.write_store("brew", "brew\n  cluster: us-1\n  hots: brew.example.com");
    let commit = world.repository.push("a mistake in the file of a store on us-1");
    world.until_failed(&at_us, "brew", &["unknown field `hots`"]);
    until_ready(&at_eu, &commit);
    assert_eq!(at_eu.store(&world.store("brew")), None, "it is the other's to tell of");
    let approved = format!("deletionBudget: {{maxStores: 0, approved: [{}]}}", world.store("brew"));
    world.write_fleet(&format!("{CLUSTERS}\n  {approved}"));
    world.repository.remove(&world.file("brew"));
    let commit = world.repository.push("brew may go");
    until("brew is gone", || us.namespace(&brew).is_none().then_some(()));
    until_ready(&at_eu, &commit);
    let (_, verdict) = at_eu.get(&format!("/api/v1/commits/{commit}"));
    let verdict: Value = serde_json::from_str(&verdict).unwrap();
    assert_eq!(
        (&verdict["state"], &verdict["stores"]),
        (&"success".into(), &serde_json::json!({})),
        "{verdict}"
    );
}

#[test]
fn a_store_that_was_paused_before_it_moved_is_kept_and_naming_the_old_cluster_again_undoes_the_move() {
    let world = World::new();
    let eu = &world.cluster;
    world.write_fleet(&format!("{CLUSTERS}\n  {BUDGET}"));
    place(&world, "acme", "eu-1");
    world.repository.push("acme");
    let at_eu = start(&world, Some("eu-1"), &eu.kubeconfig);
    world.until_state(&at_eu, "acme", "READY");
    let acme = world.namespace("acme");
    let uid = mark(eu, &acme, "/metadata/uid");
    place(&world, "acme", "eu-1\n  pause: {until: 2099-01-01, reason: it moves}");
    world.repository.push("acme is paused");
    world.until_state(&at_eu, "acme", "PAUSED");
    // Stores without a file go at once in this fleet, but for the pause that the last file here had.
    place(&world, "acme", "us-1");
    world.repository.push("acme moves");
    let words = "moved to cluster us-1 in git, but it is paused until 2099-01-01T00:00:00Z: it moves";
    until_reason(&world, &at_eu, "acme", "PAUSED", words);
    at_eu.kill();
    let at_eu = start(&world, Some("eu-1"), &eu.kubeconfig);
    until_reason(&world, &at_eu, "acme", "PAUSED", "moved to cluster us-1 in git, but it is paused until");
    place(&world, "acme", "eu-1");
    world.repository.push("acme stays");
    world.until_state(&at_eu, "acme", "READY");
    assert_eq!(mark(eu, &acme, "/metadata/uid"), uid);
    assert_eq!(mark(eu, &acme, "/metadata/annotations/storekeeper.dev~1paused-until"), None);
}

#[test]
fn protection_and_the_budget_hold_for_moves_and_a_fleet_that_forgets_a_cluster_changes_nothing_there() {
    let world = World::new();
    let us = Cluster::connect(other_kubeconfig());
    let fleet = |clusters: &str| world.write_fleet(&format!("{clusters}\n  {BUDGET}"));
    fleet(&format!("{CLUSTERS}\n  cluster: eu-1"));
    for name in ["acme", "brew", "corn"] {
        world.write_store(name, name);
    }
    world.write_store("dale", "Dale\n  protect: true");
    world.repository.push("four stores");
    let at_eu = start(&world, Some("eu-1"), &world.cluster.kubeconfig);
    for name in ["acme", "brew", "corn", "dale"] {
        world.until_state(&at_eu, name, "READY");
    }
    fleet("clusters: [us-1]\n  cluster: us-1");
    world.repository.push("eu-1 is forgotten");
    until("it is not followed", || {
        let frozen = at_eu.fleet()["frozen"].as_str().unwrap_or_default().to_owned();
        frozen.contains("this storekeeper was told that it is on `eu-1`").then_some(())
    });
    fleet(&format!("{CLUSTERS}\n  cluster: us-1"));
    let moved = world.repository.push("all of them move");
    until_ready(&at_eu, &moved);
    for name in ["acme", "brew", "corn"] {
        let words = ["moved to cluster us-1 in git, but it is kept: ", "the deletion budget is 2"];
        world.until_failed(&at_eu, name, &words);
    }
    world.until_failed(&at_eu, "dale", &["moved to cluster us-1 in git, but it is kept: ", "protect"]);
    let at_us = start(&world, Some("us-1"), &us.kubeconfig);
    world.until_state(&at_us, "dale", "READY");
    for name in ["acme", "brew", "corn", "dale"] {
        let namespace = world.cluster.namespace(&world.namespace(name)).unwrap();
        assert_eq!(namespace.pointer("/metadata/deletionTimestamp"), None, "{name}");
    }
}

#[test]
fn two_clusters_daemons_at_one_api_server_leave_each_others_stores_alone() {
    let world = World::new();
    let eu = &world.cluster;
    world.write_fleet(&format!("{CLUSTERS}\n  {BUDGET}"));
    place(&world, "acme", "eu-1");
    place(&world, "brew", "us-1");
    world.repository.push("a store on each");
    let right = start(&world, Some("eu-1"), &eu.kubeconfig);
    world.until_state(&right, "acme", "READY");
    // Somebody copied the kubeconfig: stores without a file go at once in this fleet.
    let wrong = start(&world, Some("us-1"), &eu.kubeconfig);
    world.until_state(&wrong, "brew", "READY");
    let (acme, brew) = (world.namespace("acme"), world.namespace("brew"));
    world.repository.write("notes.md", "nothing about stores");
    let commit = world.repository.push("notes");
    for (daemon, other, store) in [(&right, "us-1", "brew"), (&wrong, "eu-1", "acme")] {
        let strays = until_ready(daemon, &commit)["strays"].as_str().unwrap_or_default().to_owned();
        let words = format!("this API server has stores that say that they are on cluster {other}");
        assert!(strays.starts_with(&words) && strays.contains(&world.store(store)), "{strays}");
        assert_eq!(daemon.store(&world.store(store)), None);
    }
    world.repository.remove(&world.file("brew"));
    world.repository.push("brew goes");
    world.until_gone("brew");
    assert!(!removal_begun(eu, &acme), "only what is its own goes");
    drop(right);
    // acme moves: the daemon that would make it is at the wrong server, and finds it there.
    place(&world, "acme", "us-1");
    world.repository.push("acme moves");
    let reason = world.until_failed(&wrong, "acme", &["it says that it is on cluster eu-1 of this fleet"]);
    assert!(reason.contains("label the namespace storekeeper.dev/cluster=us-1"), "{reason}");
    world.repository.remove(&world.file("acme"));
    let commit = world.repository.push("acme goes");
    until_ready(&wrong, &commit);
    until("it is shown no more", || wrong.store(&world.store("acme")).is_none().then_some(()));
    assert!(!removal_begun(eu, &acme) && eu.namespace(&brew).is_none());
    assert_eq!(label(eu, &acme).as_deref(), Some("eu-1"));
}

#[test]
fn a_fleet_that_comes_to_list_its_clusters_keeps_its_stores_and_removes_none_that_no_file_claims() {
    let world = World::new();
    let eu = &world.cluster;
    world.write_store("acme", "Acme");
    world.write_store("brew", "Brew");
    world.repository.push("one cluster");
    let alone = start(&world, None, &eu.kubeconfig);
    for name in ["acme", "brew"] {
        world.until_state(&alone, name, "READY");
    }
    let (acme, brew) = (world.namespace("acme"), world.namespace("brew"));
    assert_eq!(label(eu, &acme), None);
    world.write_fleet(&format!("{CLUSTERS}\n  cluster: eu-1\n  {BUDGET}"));
    world.repository.push("two clusters");
    until("it is not followed", || {
        let frozen = alone.fleet()["frozen"].as_str().unwrap_or_default().to_owned();
        frozen.contains("was not told which of them it is on").then_some(())
    });
    drop(alone);
    // The other cluster's daemon comes first, and to the wrong server: what names no cluster may be anybody's.
    let wrong = start(&world, Some("us-1"), &eu.kubeconfig);
    let fleet =
        until("its first pass is over", || Some(wrong.fleet()).filter(|fleet| fleet["ready"] == true));
    let strays = fleet["strays"].as_str().unwrap_or_default();
    assert!(strays.starts_with("stores without a file don't say which cluster they are on"), "{fleet}");
    // Each look at the repository is another chance to find that it removes what has no file here.
    for time in 0..2 {
        world.repository.write("notes.md", &format!("note {time}"));
        until_ready(&wrong, &world.repository.push("notes"));
        assert!(!removal_begun(eu, &acme) && !removal_begun(eu, &brew));
    }
    drop(wrong);
    let made = |kind: &str, name: &str| {
        let found = eu.list("apps/v1", kind, &acme);
        found.iter().map(|it| it["metadata"][name].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = made("Deployment", "resourceVersion");
    world.repository.remove(&world.file("brew"));
    world.repository.push("brew's file is gone before anybody knew its cluster");
    let right = start(&world, Some("eu-1"), &eu.kubeconfig);
    world.until_state(&right, "acme", "READY");
    until("acme names its cluster", || (label(eu, &acme).as_deref() == Some("eu-1")).then_some(()));
    assert_eq!(made("Deployment", "resourceVersion"), before, "nothing else of it is changed");
    assert!(right.metric("storekeeper_drift_healed_total") < 1.0, "and nobody is said to have changed it");
    assert!(right.fleet()["strays"].as_str().unwrap().contains(&world.store("brew")));
    assert!(!removal_begun(eu, &brew));
    let ours = serde_json::json!({ "metadata": { "labels": { "storekeeper.dev/cluster": "eu-1" } } });
    eu.patch_namespace(&brew, &ours);
    world.until_gone("brew");
}

#[test]
fn what_both_tell_a_forge_of_a_commit_and_a_pull_request_keeps_apart() {
    let forge = ForgeWorld::new();
    let (world, token) = (&forge.world, forge.file("token"));
    let (api, name, ca) = (forge.gitea.url("/api/v1"), forge.project.full_name(), forge.gitea.ca_file());
    let (token, ca) = (token.to_str().unwrap(), ca.to_str().unwrap());
    let more = [
        ["--probe", "objects"],
        ["--forge", "gitea"],
        ["--forge-api", &api],
        ["--forge-repository", &name],
        ["--forge-token-file", token],
        ["--forge-ca-file", ca],
        ["--git-token-file", token],
        ["--git-ca-file", ca],
    ]
    .concat();
    let url = forge.project.url();
    let us = Cluster::connect(other_kubeconfig());
    world.write_fleet(&format!("{CLUSTERS}\n  {BUDGET}"));
    place(world, "acme", "eu-1");
    let added = world.repository.push("acme");
    let _at_eu = start_on(world, &url, Some("eu-1"), &world.cluster.kubeconfig, &more);
    let _at_us = start_on(world, &url, Some("us-1"), &us.kubeconfig, &more);
    let acme = world.store("acme");
    forge.until(&added, &format!("storekeeper/eu-1/{acme}"), "success");
    forge.until(&added, "storekeeper/eu-1/all", "success");
    let nothing = forge.until(&added, "storekeeper/us-1/all", "success");
    assert_eq!(nothing["description"], "it changes no store");

    forge.project.begin("move");
    place(world, "acme", "us-1");
    let head = forge.project.push("move", "acme moves");
    let number = forge.project.open(&forge.project.owner, "move", "acme moves");
    for cluster in ["eu-1", "us-1"] {
        forge.until(&head, &format!("storekeeper/{cluster}/plan"), "success");
    }
    let comments = until("both have said what they would do", || {
        let comments = forge.project.comments(number);
        (comments.len() == 2).then_some(comments)
    });
    let of = |cluster: &str| {
        let marker = format!("<!-- storekeeper/{cluster}/plan -->");
        let bodies = comments.iter().map(|comment| comment["body"].as_str().unwrap());
        bodies.filter(|body| body.starts_with(&marker)).collect::<String>()
    };
    let (here, there) = (of("eu-1"), of("us-1"));
    assert!(here.contains("it moves to cluster us-1, where an empty one is made"), "{here}");
    assert!(there.contains("it moves here from cluster eu-1, and is made empty"), "{there}");
    assert!(!there.contains("it moves to cluster") && !here.contains("it moves here"), "{there}");
    let statuses = forge.project.statuses(&added);
    assert!(
        statuses.keys().all(|context| !["storekeeper/all", "storekeeper/plan"].contains(&context.as_str()))
    );
}
