//! Every commit on the branch ends with a verdict, on a real forge: one for each store that it changes, and one for all.

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

const ALL: &str = "storekeeper/all";

#[test]
fn a_push_told_by_a_webhook_is_pending_and_then_done_store_by_store_and_a_removal_too() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    forge.world.write_store("acme", "Acme");
    forge.world.write_store("bold", "Bold");
    let added = forge.world.repository.push("two stores");
    for name in ["acme", "bold"] {
        let status = forge.until(&added, &forge.context(name), "success");
        assert!(status["description"].as_str().unwrap().starts_with("READY at http://"), "{status}");
        let page = format!("https://keeper.example.com/stores/{}?revision={added}", forge.world.store(name));
        assert_eq!(status["target_url"], page);
        assert_eq!(forge.states(&added, &forge.context(name)), ["pending", "success"]);
    }
    let all = forge.until(&added, ALL, "success");
    assert_eq!(all["description"], "all 2 stores are as it wants them");
    assert_eq!(all["target_url"], format!("https://keeper.example.com/commits/{added}"));
    forge.world.repository.remove(&forge.world.file("acme"));
    let removed = forge.world.repository.push("acme goes");
    let status = forge.until(&removed, &forge.context("acme"), "success");
    assert_eq!(status["description"], "removed, with everything in it");
    forge.until(&removed, ALL, "success");
    assert!(!forge.project.statuses(&removed).contains_key(&forge.context("bold")), "it is not changed");
    forge.world.repository.write("notes.md", "nothing about stores");
    let nothing = forge.world.repository.push("notes");
    assert_eq!(forge.until(&nothing, ALL, "success")["description"], "it changes no store");
}
