//! What becomes of a pull request without a ref of it moving is seen too, when the forge announces it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/forge_world.rs"]
mod forge_world;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;

use forge_world::ForgeWorld;
use reqwest::Method;
use serde_json::json;

const PLAN: &str = "storekeeper/plan";

#[test]
fn a_pull_request_that_turns_to_the_branch_is_planned_at_once() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    forge.project.begin("elsewhere");
    forge.project.push("elsewhere", "nothing new");
    forge.project.begin("add-acme");
    forge.world.write_store("acme", "Acme");
    let head = forge.project.push("add-acme", "add acme");
    let path = forge.project.path("/pulls");
    let pull = json!({ "title": "Add acme", "head": "add-acme", "base": "elsewhere" });
    let pull = forge.gitea.done(&forge.project.owner, Method::POST, &path, &pull);
    // One to the branch that is followed is planned meanwhile, so the other one was seen as well.
    forge.project.begin("add-bold");
    forge.world.write_store("bold", "Bold");
    let other = forge.project.push("add-bold", "add bold");
    forge.project.open(&forge.project.owner, "add-bold", "Add bold");
    forge.until(&other, PLAN, "success");
    assert!(!forge.project.statuses(&head).contains_key(PLAN), "it goes elsewhere");

    forge.project.send(Method::PATCH, &format!("/pulls/{}", pull["number"]), &json!({ "base": "main" }));
    let status = forge.until(&head, PLAN, "success");
    assert_eq!(status["description"], format!("1 to add: {}", forge.world.store("acme")));
}

#[test]
fn a_pull_request_that_was_pushed_to_while_it_was_closed_says_what_to_do_and_is_planned_then() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    forge.project.begin("add-acme");
    forge.world.write_store("acme", "Acme");
    let first = forge.project.push("add-acme", "add acme");
    let number = forge.project.open(&forge.project.owner, "add-acme", "Add acme");
    forge.until(&first, PLAN, "success");

    forge.project.close(number);
    forge.world.write_store("acme", "Acme and Sons");
    let second = forge.project.push("add-acme", "rename it");
    forge.project.send(Method::PATCH, &format!("/pulls/{number}"), &json!({ "state": "open" }));
    // Gitea's own ref for it stays where it was.
    let status = forge.until(&second, PLAN, "pending");
    let words = status["description"].as_str().unwrap();
    assert!(words.contains("the ref of the pull request is at"), "{words}");
    forge.world.write_store("acme", "Acme and Daughters");
    let third = forge.project.push("add-acme", "rename it again");
    forge.until(&third, PLAN, "success");
}
