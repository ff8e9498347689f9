//! What was said of a pull request stays said when it is merged.

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

const PLAN: &str = "storekeeper/plan";

#[test]
fn the_plan_of_a_merged_pull_request_stays_as_it_was_merged() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    for style in ["merge", "squash"] {
        forge.project.begin(style);
        forge.world.write_store(style, style);
        let head = forge.project.push(style, style);
        let number = forge.project.open(&forge.project.owner, style, style);
        let status = forge.until(&head, PLAN, "success");
        let comment = forge.until_comment(number, &[&forge.world.store(style), "Deployment"]);
        let merged = forge.project.merge(number, style);
        forge.until(&merged, &forge.context(style), "success");
        assert_eq!(forge.until_comment(number, &[])["body"], comment["body"], "{style}");
        assert_eq!(forge.project.statuses(&head)[PLAN]["description"], status["description"], "{style}");
    }
}
