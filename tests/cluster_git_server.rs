//! A git server that answers wrongly, by halves or not at all costs no store anything, and a token may be replaced.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;

use common::daemon::Daemon;
use common::{World, until};
use git_server::{Answer, Identity, Server};

/// A world whose repository is followed over https, with a token from a file.
struct Scene {
    world: World,
    server: Server,
    daemon: Daemon,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let folder = world.folder.path();
        let authority = Identity::new("Test CA", None, true, &[], 30);
        let identity = Identity::new("localhost", Some(&authority), false, &["localhost"], 30);
        let (ca_file, token_file) = (folder.join("ca.pem"), folder.join("token"));
        authority.write_pem(&ca_file);
        std::fs::write(&token_file, "first\n").unwrap();
        let server = Server::start(&identity, &[], git(&world, "first"));
        let url = format!("https://localhost:{}/fleet.git", server.port);
        let more = ["--probe", "objects", "--poll-seconds", "1", "--git-ca-file", ca_file.to_str().unwrap()];
        let more = [&more[..], &["--git-token-file", token_file.to_str().unwrap()]].concat();
        let kubeconfig = &world.cluster.kubeconfig;
        let daemon = Daemon::start_on("127.0.0.1:0", folder, &url, &world.source, kubeconfig, &more);
        world.write_store("acme", "Acme");
        world.repository.push("a store");
        world.until_state(&daemon, "acme", "READY");
        Self { world, server, daemon }
    }

    /// Waits until newer commits are not followed, and returns why.
    fn until_frozen(&self, such: &str) -> String {
        until(&format!("frozen: {such}"), || {
            self.daemon.fleet()["frozen"].as_str().filter(|reason| reason.contains(such)).map(str::to_owned)
        })
    }

    /// Pushes a new name of the store and waits until it is followed.
    fn follow(&self, display_name: &str) {
        self.world.write_store("acme", display_name);
        let commit = self.world.repository.push(display_name);
        until("the newest commit is followed", || {
            let fleet = self.daemon.fleet();
            (fleet["revision"] == commit && fleet["frozen"].is_null()).then_some(())
        });
    }
}

fn git(world: &World, token: &'static str) -> Answer {
    Answer::Git { root: world.folder.path().to_owned(), token: Some(token) }
}

#[test]
fn whatever_the_server_answers_no_store_is_touched_and_afterwards_the_newest_commit_is_followed() {
    let scene = Scene::new();
    let Scene { world, server, daemon } = &scene;
    let namespace = world.namespace("acme");
    let uid = |object: serde_json::Value| object["metadata"]["uid"].clone();
    let before = uid(world.cluster.namespace(&namespace).unwrap());
    for (number, (answer, reason)) in [
        (Answer::Html, "text/html"),
        (Answer::Status(500), "500"),
        (Answer::Status(404), "no such repository"),
        (Answer::Redirect("https://elsewhere.example".to_owned()), "elsewhere.example"),
        (Answer::CutPack { root: world.folder.path().to_owned() }, "failed to"),
        (git(world, "another"), "the token was refused"),
    ]
    .into_iter()
    .enumerate()
    {
        server.set(answer);
        // A commit that nobody gets to see whole: it must count for nothing, not for an empty one.
        world.write_store("acme", &format!("Unseen {number}"));
        world.repository.push("unseen");
        let shown = scene.until_frozen(reason);
        assert!(!shown.contains("first") && !shown.contains("another"), "no token shows: {shown}");
        // The rollout of what was seen before goes on meanwhile.
        world.until_state(daemon, "acme", "READY");
        let found = world.cluster.namespace(&namespace).unwrap();
        assert!(found["metadata"]["deletionTimestamp"].is_null(), "{reason}");
        assert_eq!(uid(found), before, "{reason}");

        server.set(git(world, "first"));
        scene.follow(&format!("After {number}"));
    }
    let acme = daemon.store(&world.store("acme")).unwrap();
    assert_eq!(acme["displayName"], "After 5");
    assert_eq!(daemon.metric("stores_created_total").to_string(), "1");
}

#[test]
fn a_token_that_is_replaced_in_its_file_is_used_at_the_next_fetch() {
    let scene = Scene::new();
    let file = scene.world.folder.path().join("token");
    scene.server.set(git(&scene.world, "second"));
    scene.until_frozen("the token was refused");
    std::fs::write(&file, "second\n").unwrap();
    scene.follow("With the second token");

    std::fs::remove_file(&file).unwrap();
    scene.until_frozen("read the token in");
    scene.world.until_state(&scene.daemon, "acme", "READY");
    std::fs::write(&file, "second").unwrap();
    scene.follow("With the token back");
}
