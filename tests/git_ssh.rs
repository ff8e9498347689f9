//! Fetching over ssh from a real OpenSSH server: a host that `known_hosts` does not vouch for gets nothing.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use storekeeper::git::{Auth, GitError, Mirror, ReadLimits, Secret, SourceSettings};
use storekeeper::store::FileContent;

#[path = "common/git_origin.rs"]
mod git_origin;
#[path = "common/git_sshd.rs"]
mod git_sshd;
use git_origin::Origin;
use git_sshd::{Sshd, make_key};

struct Scene {
    origin: Origin,
    key: PathBuf,
    known_hosts: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let origin = Origin::with_a_store();
        let key = make_key(&origin.folder.path().join("client"), "ed25519", "");
        let known_hosts = origin.folder.path().join("known_hosts");
        fs::write(&known_hosts, "").unwrap();
        Self { origin, key, known_hosts }
    }

    fn sshd(&self, key_type: &str) -> Sshd {
        Sshd::start(self.origin.folder.path(), key_type, &self.key)
    }

    fn know(&self, line: &str) {
        fs::write(&self.known_hosts, format!("{line}\n")).unwrap();
    }

    fn settings(&self, server: &Sshd) -> SourceSettings {
        let url = format!("ssh://{}@127.0.0.1:{}{}", server.user, server.port, self.origin.bare.display());
        let auth = Auth::SshKey {
            private_key: self.key.clone(),
            passphrase: None,
            known_hosts: self.known_hosts.clone(),
        };
        SourceSettings { auth, ..SourceSettings::new(url.parse().unwrap(), "main") }
    }

    fn mirror(&self, settings: SourceSettings) -> Mirror {
        Mirror::open(&self.origin.mirror_folder(), settings).unwrap()
    }
}

#[test]
fn a_key_opens_a_repository_on_a_host_that_is_known_by_its_port() {
    let scene = Scene::new();
    let server = scene.sshd("ed25519");
    scene.know(&format!("[127.0.0.1]:{} {}", server.port, server.host_key));
    let mirror = scene.mirror(scene.settings(&server));
    let head = mirror.fetch().unwrap();
    let files = mirror.read(&head.commit, &|_| true, &ReadLimits::default()).unwrap();
    assert_eq!(files["stores/acme.yaml"], FileContent::Bytes(b"host: acme.example.com\n".to_vec()));
    let start = std::time::Instant::now();
    assert!(!mirror.fetch().unwrap().changed);
    println!("fetch without change over ssh: {:?}", start.elapsed());
    let commit = scene.origin.push(&[("stores/birch.yaml", "b")]);
    assert_eq!(mirror.fetch().unwrap().commit, commit);
}

#[test]
fn a_path_without_a_leading_slash_starts_at_the_home_of_the_user() {
    let scene = Scene::new();
    let server = scene.sshd("ed25519");
    scene.know(&format!("[127.0.0.1]:{} {}", server.port, server.host_key));
    // Home is wherever it is on this machine: the way from there to the repository goes up to the root first.
    let path = format!("{}{}", "../".repeat(12), scene.origin.bare.strip_prefix("/").unwrap().display());
    for url in [
        format!("[{}@127.0.0.1:{}]:{path}", server.user, server.port),
        format!("ssh://{}@127.0.0.1:{}/~/{path}", server.user, server.port),
    ] {
        let mirror = scene.mirror(SourceSettings { url: url.parse().unwrap(), ..scene.settings(&server) });
        assert!(mirror.fetch().unwrap().changed, "{url}");
    }
}

#[test]
fn every_usual_type_of_host_key_is_verified() {
    let scene = Scene::new();
    for key_type in ["ed25519", "ecdsa", "rsa"] {
        let server = scene.sshd(key_type);
        scene.know(&format!("[127.0.0.1]:{} {}", server.port, server.host_key));
        assert!(scene.mirror(scene.settings(&server)).fetch().is_ok(), "{key_type}");
    }
}

#[test]
fn an_unknown_host_is_refused_with_the_line_that_makes_it_known() {
    let scene = Scene::new();
    let server = scene.sshd("ed25519");
    // The same key without the port is for another server on that host.
    scene.know(&format!("127.0.0.1 {}", server.host_key));
    let mirror = scene.mirror(scene.settings(&server));
    let error = mirror.fetch().unwrap_err();
    let GitError::HostKeyUnknown { key, .. } = &error else { panic!("{error}") };
    let line = &key.line;
    assert!(key.fingerprint.starts_with("SHA256:"));
    assert!(error.to_string().ends_with(&format!("add this line: {line}")), "{error}");
    assert_eq!(*line, format!("[127.0.0.1]:{} {}", server.port, server.host_key));
    scene.know(line);
    assert!(mirror.fetch().unwrap().changed);
}

#[test]
fn a_changed_host_key_is_refused() {
    let scene = Scene::new();
    let server = scene.sshd("ed25519");
    let other = make_key(&scene.origin.folder.path().join("other"), "ed25519", "");
    let other = fs::read_to_string(other.with_extension("pub")).unwrap();
    scene.know(&format!("[127.0.0.1]:{} {other}", server.port));
    let error = scene.mirror(scene.settings(&server)).fetch().unwrap_err();
    assert!(matches!(error, GitError::HostKeyMismatch { .. }), "{error}");
    assert!(error.to_string().contains("has another key in line 1"), "{error}");

    scene.know(&format!("@revoked * {0}\n[127.0.0.1]:{1} {0}", server.host_key, server.port));
    let error = scene.mirror(scene.settings(&server)).fetch().unwrap_err();
    assert!(matches!(error, GitError::HostKeyMismatch { .. }), "{error}");
}

#[test]
fn hashed_known_hosts_are_understood() {
    let scene = Scene::new();
    let server = scene.sshd("ed25519");
    scene.know(&format!("[127.0.0.1]:{} {}", server.port, server.host_key));
    let hashed = Command::new("ssh-keygen").arg("-H").arg("-f").arg(&scene.known_hosts).output().unwrap();
    assert!(hashed.status.success());
    assert!(fs::read_to_string(&scene.known_hosts).unwrap().starts_with("|1|"));
    assert!(scene.mirror(scene.settings(&server)).fetch().unwrap().changed);
}

#[test]
fn a_key_that_the_host_does_not_let_in_is_refused_once() {
    let scene = Scene::new();
    let server = scene.sshd("ed25519");
    scene.know(&format!("[127.0.0.1]:{} {}", server.port, server.host_key));
    let stranger = make_key(&scene.origin.folder.path().join("stranger"), "ed25519", "");
    let auth = |private_key: PathBuf, passphrase: Option<&str>| Auth::SshKey {
        private_key,
        passphrase: passphrase.map(Secret::new),
        known_hosts: scene.known_hosts.clone(),
    };
    let mirror = scene.mirror(SourceSettings { auth: auth(stranger, None), ..scene.settings(&server) });
    let error = mirror.fetch().unwrap_err();
    assert!(matches!(error, GitError::AuthenticationFailed { .. }), "{error}");
    mirror.set_auth(auth("/nonexistent/key".into(), None)).unwrap();
    let error = mirror.fetch().unwrap_err();
    assert!(matches!(error, GitError::Settings { .. }), "{error}");
    mirror.set_auth(auth(scene.key.clone(), None)).unwrap();
    assert!(mirror.fetch().unwrap().changed);
}

#[test]
fn a_passphrase_unlocks_a_key_and_shows_nowhere() {
    let mut scene = Scene::new();
    scene.key = make_key(&scene.origin.folder.path().join("locked"), "ed25519", "canary-8d2e");
    let server = scene.sshd("ed25519");
    scene.know(&format!("[127.0.0.1]:{} {}", server.port, server.host_key));
    let with = |passphrase: &str| SourceSettings {
        auth: Auth::SshKey {
            private_key: scene.key.clone(),
            passphrase: Some(Secret::new(passphrase)),
            known_hosts: scene.known_hosts.clone(),
        },
        ..scene.settings(&server)
    };
    let mirror = scene.mirror(with("canary-wrong"));
    let error = mirror.fetch().unwrap_err();
    assert!(matches!(error, GitError::AuthenticationFailed { .. }), "{error}");
    assert!(!format!("{error} {error:?} {mirror:?}").contains("canary"));
    drop(mirror);
    assert!(scene.mirror(with("canary-8d2e")).fetch().unwrap().changed);
}

#[test]
fn a_path_that_is_no_repository_is_said_to_be_missing() {
    let scene = Scene::new();
    let server = scene.sshd("ed25519");
    scene.know(&format!("[127.0.0.1]:{} {}", server.port, server.host_key));
    let url = format!("ssh://{}@127.0.0.1:{}/nonexistent.git", server.user, server.port);
    let error = scene
        .mirror(SourceSettings { url: url.parse().unwrap(), ..scene.settings(&server) })
        .fetch()
        .unwrap_err();
    assert!(matches!(error, GitError::RepositoryMissing { .. }), "{error}");
}

#[test]
fn a_host_that_goes_silent_does_not_hold_a_fetch() {
    let scene = Scene::new();
    let server = scene.sshd("ed25519");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ssh://git@127.0.0.1:{}/x", silent.local_addr().unwrap().port());
    let settings = SourceSettings {
        url: url.parse().unwrap(),
        timeout: std::time::Duration::from_millis(300),
        ..scene.settings(&server)
    };
    let error = scene.mirror(settings).fetch().unwrap_err();
    assert!(matches!(error, GitError::TimedOut { limit, .. } if limit.as_millis() == 300), "{error}");
}
