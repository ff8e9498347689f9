//! The daemon follows a remote over ssh and over https, with the login it was given.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/git_sshd.rs"]
mod git_sshd;

use std::path::PathBuf;

use common::World;
use common::daemon::Daemon;
use git_server::{Answer, Identity, Server};
use git_sshd::{Sshd, make_key};

/// Starts a daemon on a remote and sees a pushed store become READY, by polling every second.
fn follow(world: &World, url: &str, login: &[&str]) {
    let mut more = vec!["--poll-seconds", "1", "--probe", "objects"];
    more.extend(login);
    let (folder, kubeconfig) = (world.folder.path(), &world.cluster.kubeconfig);
    let daemon = Daemon::start_on("127.0.0.1:0", folder, url, &world.source, kubeconfig, &more);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    world.until_state(&daemon, "acme", "READY");
    let log = std::fs::read_to_string(&daemon.log).unwrap();
    assert!(!log.contains("canary"), "the token shows in the log");
}

fn write(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_push_to_an_ssh_remote_is_followed_with_a_key_and_known_hosts() {
    let world = World::new();
    let key = make_key(&world.folder.path().join("client"), "ed25519", "");
    let server = Sshd::start(world.folder.path(), "ed25519", &key);
    let line = format!("[127.0.0.1]:{} {}\n", server.port, server.host_key);
    let known_hosts = write(&world, "known_hosts", &line);
    let url = format!("ssh://{}@127.0.0.1:{}{}", server.user, server.port, world.repository.url());
    let (key, known_hosts) = (key.to_str().unwrap(), known_hosts.to_str().unwrap());
    follow(&world, &url, &["--git-ssh-key-file", key, "--git-known-hosts-file", known_hosts]);
}

#[test]
fn a_push_to_an_https_remote_is_followed_with_a_token_and_an_authority() {
    const TOKEN: &str = "canary-77ab";
    let world = World::new();
    let authority = Identity::new("Test CA", None, true, &[], 30);
    let identity = Identity::new("localhost", Some(&authority), false, &["localhost"], 30);
    let ca_file = world.folder.path().join("ca.pem");
    authority.write_pem(&ca_file);
    let root = world.folder.path().to_owned();
    let server = Server::start(&identity, &[], Answer::Git { root, token: Some(TOKEN) });
    let token_file = write(&world, "token", &format!("{TOKEN}\n"));
    let url = format!("https://localhost:{}/fleet.git", server.port);
    let (ca_file, token_file) = (ca_file.to_str().unwrap(), token_file.to_str().unwrap());
    follow(&world, &url, &["--git-ca-file", ca_file, "--git-token-file", token_file]);
}
