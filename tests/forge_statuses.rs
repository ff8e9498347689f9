//! Every commit on the branch ends with a verdict, on a real forge: one for each store that it changes, and one for all.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/forge_world.rs"]
mod forge_world;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;

use std::time::{Duration, Instant};

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

#[test]
fn what_was_pending_when_the_daemon_was_killed_ends_after_the_next_start_and_nothing_else_is_told_again() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    forge.world.write_store("acme", "Acme");
    let first = forge.world.repository.push("acme");
    forge.until(&first, ALL, "success");
    let told = forge.project.status_history(&first).len();
    // Nothing of it can be applied while somebody forbids it.
    let held = forge.hold_back("bold");
    forge.world.write_store("bold", "Bold");
    let second = forge.world.repository.push("bold");
    forge.until(&second, &forge.context("bold"), "pending");
    daemon.kill();
    drop(held);
    // What is pushed while nobody looks is found at the start, with what it changes.
    forge.world.write_store("calm", "Calm");
    let third = forge.world.repository.push("calm");
    let _daemon = forge.start_daemon(&[]);
    for (commit, name) in [(&second, "bold"), (&third, "calm")] {
        forge.until(commit, &forge.context(name), "success");
        forge.until(commit, ALL, "success");
    }
    assert!(!forge.project.statuses(&third).contains_key(&forge.context("acme")), "it is not changed");
    assert_eq!(forge.project.status_history(&first).len(), told, "what was told is not told again");
}

#[test]
fn a_newer_commit_a_broken_file_and_a_refused_removal_are_failures_that_say_so() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    let held = forge.hold_back("acme");
    forge.world.write_store("acme", "Acme");
    let overtaken = forge.world.repository.push("acme");
    forge.until(&overtaken, &forge.context("acme"), "pending");
    forge.world.write_store("acme", "Acme Outdoor");
    let newer = forge.world.repository.push("acme again");
    let status = forge.until(&overtaken, &forge.context("acme"), "failure");
    assert_eq!(status["description"], format!("superseded by {} before it was done", &newer[..10]));
    forge.until(&overtaken, ALL, "failure");
    // What is tried again and again is a failure after a while, and a success once it works.
    forge.until(&newer, &forge.context("acme"), "failure");
    drop(held);
    forge.until(&newer, &forge.context("acme"), "success");
    assert_eq!(forge.states(&newer, &forge.context("acme")), ["pending", "failure", "success"]);
    forge.world.repository.write(&forge.world.file("bold"), "what is this");
    let broken = forge.world.repository.push("a broken file");
    let status = forge.until(&broken, &forge.context("bold"), "failure");
    let path = forge.world.file("bold");
    assert!(status["description"].as_str().unwrap().starts_with(&format!("{path}:1:")), "{status}");
    forge.world.write_fleet("deletionBudget: {maxStores: 0, maxPercent: 100, windowMinutes: 0}");
    forge.world.write_store("bold", "Bold");
    let mended = forge.world.repository.push("mended, and no store may go");
    forge.until(&mended, ALL, "success");
    forge.world.repository.remove(&forge.world.file("bold"));
    let refused = forge.world.repository.push("bold goes");
    let status = forge.until(&refused, &forge.context("bold"), "failure");
    assert!(status["description"].as_str().unwrap().contains("budget"), "{status}");
    let id = forge.world.store("bold");
    forge.world.write_fleet(&format!(
        "deletionBudget: {{maxStores: 0, maxPercent: 100, windowMinutes: 0, approved: [{id}]}}"
    ));
    let approved = forge.world.repository.push("it may go");
    let status = forge.until(&approved, &forge.context("bold"), "success");
    assert_eq!(status["description"], "removed, with everything in it");
    forge.world.repository.write("storekeeper.yaml", "what is this");
    let unusable = forge.world.repository.push("a broken fleet file");
    let status = forge.until(&unusable, ALL, "failure");
    assert!(status["description"].as_str().unwrap().contains("storekeeper.yaml:1"), "{status}");
}

#[test]
fn while_the_forge_is_away_stores_go_on_and_it_is_told_the_end_when_it_is_back() {
    let forge = ForgeWorld::on(gitea::Gitea::start());
    let daemon = forge.start_daemon_on("127.0.0.1:0", &["--poll-seconds", "1"], &[]);
    let held = forge.hold_back("acme");
    forge.world.write_store("acme", "Acme");
    let commit = forge.world.repository.push("acme");
    forge.until(&commit, &forge.context("acme"), "pending");
    forge.gitea.stop();
    let away = Instant::now();
    drop(held);
    forge.world.until_state(&daemon, "acme", "READY");
    common::until("the page says that the forge is not told", || {
        let fleet = daemon.fleet();
        fleet["forge"].as_str().is_some_and(|words| words.contains("to be told")).then_some(())
    });
    assert!(daemon.metric("storekeeper_forge_outbox") >= 2.0);
    let address = daemon.address.clone();
    // By then all of it is written down, and what is left to be told stands in the outbox only.
    std::thread::sleep(Duration::from_secs(30).saturating_sub(away.elapsed()));
    daemon.kill();
    let daemon = forge.start_daemon_on(&address, &["--poll-seconds", "1"], &[]);
    std::thread::sleep(Duration::from_mins(1).saturating_sub(away.elapsed()));
    forge.gitea.resume();
    forge.until(&commit, &forge.context("acme"), "success");
    forge.until(&commit, ALL, "success");
    common::until("nothing is left to be told", || {
        (daemon.metric("storekeeper_forge_outbox") == 0.0 && daemon.fleet()["forge"].is_null()).then_some(())
    });
    assert_eq!(forge.states(&commit, &forge.context("acme")), ["pending", "success"]);
}

#[test]
fn beyond_so_many_stores_of_a_commit_the_roll_up_speaks_for_the_rest() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&["--statuses-per-commit", "1"]);
    forge.hook(&daemon);
    for name in ["acme", "bold", "calm"] {
        forge.world.write_store(name, name);
    }
    forge.world.repository.write(&forge.world.file("calm"), "what is this");
    let commit = forge.world.repository.push("three stores, one of them broken");
    forge.until(&commit, &forge.context("acme"), "success");
    let status = forge.until(&commit, ALL, "failure");
    common::until("the roll-up names what failed and has no status of its own", || {
        let words = forge.project.statuses(&commit)[ALL]["description"].as_str().unwrap().to_owned();
        words.starts_with(&format!("1 of 3 failed: {}: ", forge.world.store("calm"))).then_some(())
    });
    let told = forge.project.statuses(&commit);
    assert_eq!(told.keys().cloned().collect::<Vec<_>>(), [ALL.to_owned(), forge.context("acme")], "{status}");
}
