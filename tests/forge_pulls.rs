//! A pull request shows beforehand what merging it would do, on a real forge.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/forge_world.rs"]
mod forge_world;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;

use common::repository::git;
use forge_world::ForgeWorld;

const ALL: &str = "storekeeper/all";
const PLAN: &str = "storekeeper/plan";

#[test]
fn a_pull_request_is_planned_planned_again_after_a_push_merged_and_carried_out() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    forge.project.begin("add-acme");
    forge.world.write_store("acme", "Acme");
    let first = forge.project.push("add-acme", "add acme");
    let number = forge.project.open(&forge.project.owner, "add-acme", "Add acme");
    let store = forge.world.store("acme");
    let status = forge.until(&first, PLAN, "success");
    assert_eq!(status["description"], format!("1 to add: {store}"));
    assert_eq!(status["target_url"], format!("https://keeper.example.com/plans/{first}"));
    assert_eq!(forge.until(&first, ALL, "success")["description"], status["description"]);
    let comment = forge.until_comment(number, &[&store, "Deployment"]);

    forge.world.repository.write(&forge.world.file("acme"), "what is this");
    let second = forge.project.push("add-acme", "break it");
    let status = forge.until(&second, PLAN, "failure");
    let path = forge.world.file("acme");
    assert!(status["description"].as_str().unwrap().contains(&path), "{status}");
    let edited = forge.until_comment(number, &[&format!("{path}:1")]);
    assert_eq!(edited["id"], comment["id"], "one comment, kept up to date");
    forge.world.write_store("acme", "Acme Outdoor");
    let third = forge.project.push("add-acme", "mend it");
    forge.until(&third, PLAN, "success");
    assert!(forge.world.cluster.namespace(&forge.world.namespace("acme")).is_none(), "nothing is done yet");

    let merged = forge.project.merge(number, "merge");
    forge.until(&merged, &forge.context("acme"), "success");
    forge.until(&merged, ALL, "success");
    forge.world.until_state(&daemon, "acme", "READY");

    forge.project.begin("remove-acme");
    git(&forge.project.checkout, &["rm", "--quiet", &path]);
    let removal = forge.project.push("remove-acme", "acme goes");
    let number = forge.project.open(&forge.project.owner, "remove-acme", "Remove acme");
    let status = forge.until(&removal, PLAN, "success");
    assert_eq!(status["description"], format!("1 to remove: {store}"));
    let namespace = forge.world.namespace("acme");
    forge.until_comment(number, &[&namespace, "lost"]);
    let merged = forge.project.merge(number, "squash");
    forge.until(&merged, &forge.context("acme"), "success");
    assert!(forge.world.cluster.namespace(&namespace).is_none());
}
