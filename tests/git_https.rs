//! Fetching over https: the login goes to the right host only, the certificate is checked, and a server that
//! misbehaves is an error that says so, in time.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use storekeeper::git::{Auth, DEFAULT_TOKEN_USERNAME, GitError, Mirror, ReadLimits, Secret, SourceSettings};
use storekeeper::store::FileContent;

#[path = "common/git_origin.rs"]
mod git_origin;
#[path = "common/git_server.rs"]
mod git_server;
use git_origin::Origin;
use git_server::{Answer, Identity, Server};

const TOKEN: &str = "canary-3f1c9a";

/// An authority, a server's identity signed by it, and a repository to serve.
struct Scene {
    origin: Origin,
    server: Identity,
    ca_file: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let origin = Origin::with_a_store();
        let authority = Identity::new("Test CA", None, true, &[], 30);
        let server = Identity::new("localhost", Some(&authority), false, &["localhost", "127.0.0.1"], 30);
        let ca_file = origin.folder.path().join("ca.pem");
        authority.write_pem(&ca_file);
        Self { origin, server, ca_file }
    }

    fn root(&self) -> PathBuf {
        self.origin.folder.path().to_owned()
    }

    fn git(&self, token: Option<&'static str>) -> Answer {
        Answer::Git { root: self.root(), token }
    }

    fn serve(&self, answer: Answer) -> Server {
        Server::start(&self.server, &[], answer)
    }

    fn settings(&self, port: u16) -> SourceSettings {
        let url = format!("https://localhost:{port}/stores.git").parse().unwrap();
        SourceSettings {
            ca_file: Some(self.ca_file.clone()),
            auth: Auth::Token { username: DEFAULT_TOKEN_USERNAME.to_owned(), token: Secret::new(TOKEN) },
            ..SourceSettings::new(url, "main")
        }
    }

    fn mirror(&self, settings: SourceSettings) -> Mirror {
        Mirror::open(&self.origin.mirror_folder(), settings).unwrap()
    }

    /// Fetches, and checks that the token shows in no text.
    fn error(&self, settings: SourceSettings) -> GitError {
        let mirror = self.mirror(settings);
        let error = mirror.fetch().unwrap_err();
        for text in [format!("{error}"), format!("{error:?}"), format!("{mirror:?}")] {
            assert!(!text.contains("canary"), "the token shows in: {text}");
        }
        error
    }
}

#[test]
fn a_token_opens_a_private_repository_and_shows_nowhere() {
    let scene = Scene::new();
    let server = scene.serve(scene.git(Some(TOKEN)));
    let mirror = scene.mirror(scene.settings(server.port));
    let first = mirror.fetch().unwrap();
    assert!(first.changed);
    let files = mirror.read(&first.commit, &|_| true, &ReadLimits::default()).unwrap();
    assert_eq!(files["stores/acme.yaml"], FileContent::Bytes(b"host: acme.example.com\n".to_vec()));

    let before = server.requests().len();
    let start = Instant::now();
    assert!(!mirror.fetch().unwrap().changed);
    println!("fetch without change over https: {:?}", start.elapsed());
    let lines: Vec<_> = server.requests().split_off(before).into_iter().map(|(line, _)| line).collect();
    assert!(lines.iter().all(|line| line.starts_with("GET")), "nothing but refs is asked for: {lines:?}");

    let commit = scene.origin.push(&[("stores/birch.yaml", "b")]);
    assert_eq!(mirror.fetch().unwrap().commit, commit);
    assert!(!format!("{mirror:?}").contains("canary"));
    let on_disk = std::fs::read_to_string(scene.origin.mirror_folder().join("repository/config")).unwrap();
    assert!(!on_disk.contains("canary"));
}

#[test]
fn a_wrong_or_missing_token_is_refused_after_one_attempt_and_a_new_one_is_taken() {
    let scene = Scene::new();
    let server = scene.serve(scene.git(Some("another")));
    let error = scene.error(scene.settings(server.port));
    assert!(matches!(error, GitError::AuthenticationFailed { .. }), "{error}");
    assert!(error.to_string().contains("the token was refused"), "{error}");
    assert_eq!(server.requests().iter().filter(|(_, login)| login.is_some()).count(), 1);

    let mirror = scene.mirror(SourceSettings { auth: Auth::Anonymous, ..scene.settings(server.port) });
    let error = mirror.fetch().unwrap_err();
    assert!(matches!(error, GitError::AuthenticationFailed { .. }), "{error}");
    let token = Secret::new("another\n");
    mirror.set_auth(Auth::Token { username: DEFAULT_TOKEN_USERNAME.to_owned(), token }).unwrap();
    assert!(mirror.fetch().unwrap().changed);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let scene = Scene::new();
    let server = scene.serve(scene.git(None));
    let error = scene.error(SourceSettings { ca_file: None, ..scene.settings(server.port) });
    assert!(matches!(error, GitError::CertificateUntrusted { .. }), "{error}");
    assert!(error.to_string().contains("issuer"), "{error}");
    assert!(server.requests().is_empty(), "nothing is sent before the certificate is trusted");

    Identity::new("Other CA", None, true, &[], 30).write_pem(&scene.ca_file);
    let error = scene.error(scene.settings(server.port));
    assert!(matches!(error, GitError::CertificateUntrusted { .. }), "{error}");

    std::fs::write(&scene.ca_file, "no certificate").unwrap();
    let error = scene.error(scene.settings(server.port));
    assert!(error.to_string().contains("is not a readable PEM file"), "{error}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_certificate_for_another_host_or_an_expired_one_is_refused() {
    let scene = Scene::new();
    let authority = Identity::new("Test CA", None, true, &[], 30);
    authority.write_pem(&scene.ca_file);
    let other = Identity::new("other.example.com", Some(&authority), false, &["other.example.com"], 30);
    let server = Server::start(&other, &[], scene.git(None));
    let error = scene.error(scene.settings(server.port));
    assert!(matches!(error, GitError::CertificateUntrusted { .. }), "{error}");
    assert!(error.to_string().to_lowercase().contains("hostname mismatch"), "{error}");

    let expired = Identity::new("localhost", Some(&authority), false, &["localhost"], -1);
    let server = Server::start(&expired, &[], scene.git(None));
    let error = scene.error(scene.settings(server.port));
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn a_certificate_behind_an_intermediate_authority_is_trusted() {
    let scene = Scene::new();
    let root = Identity::new("Root CA", None, true, &[], 30);
    root.write_pem(&scene.ca_file);
    let intermediate = Identity::new("Intermediate CA", Some(&root), true, &[], 30);
    let leaf = Identity::new("localhost", Some(&intermediate), false, &["localhost"], 30);
    let server = Server::start(&leaf, &[&intermediate], scene.git(None));
    assert!(scene.mirror(scene.settings(server.port)).fetch().unwrap().changed);
}

#[test]
fn a_login_page_is_no_git_server() {
    let scene = Scene::new();
    let server = scene.serve(Answer::Html);
    let error = scene.error(scene.settings(server.port));
    assert!(
        matches!(error, GitError::RemoteIsNotGit { .. }) && error.to_string().contains("text/html"),
        "{error}"
    );
}

#[test]
fn a_redirect_to_another_host_is_not_followed_and_the_token_stays() {
    let scene = Scene::new();
    let elsewhere = scene.serve(scene.git(None));
    for target in
        [format!("https://127.0.0.1:{}", elsewhere.port), format!("https://localhost:{}", elsewhere.port)]
    {
        let server = scene.serve(Answer::Redirect(target));
        let error = scene.error(scene.settings(server.port));
        assert!(matches!(error, GitError::Redirected { .. }), "{error}");
    }
    assert_eq!(*elsewhere.connections.lock().unwrap(), 0, "the other host must not even be connected to");
}

#[test]
fn a_redirect_on_the_same_host_is_followed() {
    let scene = Scene::new();
    let server = scene.serve(Answer::Moved { from: "/old".to_owned(), root: scene.root() });
    let url = format!("https://localhost:{}/old/stores.git", server.port).parse().unwrap();
    assert!(scene.mirror(SourceSettings { url, ..scene.settings(server.port) }).fetch().unwrap().changed);
}

#[test]
fn statuses_say_who_can_do_something() {
    let scene = Scene::new();
    let error = |status| scene.error(scene.settings(scene.serve(Answer::Status(status)).port));
    assert!(matches!(error(403), GitError::AuthenticationFailed { .. }));
    assert!(matches!(error(404), GitError::RepositoryMissing { .. }));
    let outage = error(503);
    assert!(matches!(outage, GitError::Unreachable { .. }) && outage.is_transient(), "{outage}");
    assert!(outage.to_string().ends_with("it answers with HTTP status 503"), "{outage}");
}

#[test]
fn a_closed_port_is_unreachable_and_what_was_fetched_stays() {
    let scene = Scene::new();
    let server = scene.serve(scene.git(None));
    let mirror = scene.mirror(scene.settings(server.port));
    let good = mirror.fetch().unwrap().commit;
    mirror.mark_good(&good).unwrap();
    drop(mirror);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = Mirror::open(&scene.origin.folder.path().join("other"), scene.settings(port))
        .unwrap()
        .fetch()
        .unwrap_err();
    assert!(matches!(error, GitError::Unreachable { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
    let mirror = scene.mirror(scene.settings(server.port));
    assert_eq!(mirror.last_good().unwrap(), Some(good));
}

#[test]
fn a_silent_server_does_not_hold_a_fetch() {
    let scene = Scene::new();
    for answer in [Answer::SilentBeforeTls, Answer::SilentAfterRequest] {
        let server = scene.serve(answer.clone());
        let timeout = Duration::from_millis(400);
        let start = Instant::now();
        let error = scene.error(SourceSettings { timeout, ..scene.settings(server.port) });
        println!("{answer:?}: given up after {:?}", start.elapsed());
        assert!(matches!(error, GitError::TimedOut { limit, .. } if limit == timeout), "{answer:?}: {error}");
        assert!(error.is_transient());
    }
}

#[test]
fn a_server_that_drips_does_not_hold_a_fetch() {
    let scene = Scene::new();
    let server = scene.serve(Answer::Dripping);
    // Well above what a busy machine may delay a drip.
    let timeout = Duration::from_millis(400);
    let start = Instant::now();
    let error = scene.error(SourceSettings { timeout, ..scene.settings(server.port) });
    assert!(matches!(error, GitError::TimedOut { limit, .. } if limit == Duration::from_secs(8)), "{error}");
    assert!(start.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_pack_that_breaks_off_leaves_the_head_where_it_was() {
    let scene = Scene::new();
    let server = scene.serve(scene.git(None));
    let mirror = scene.mirror(scene.settings(server.port));
    let good = mirror.fetch().unwrap().commit;
    drop(mirror);
    scene.origin.push(&[("stores/birch.yaml", &"b\n".repeat(1000))]);

    let cut = scene.serve(Answer::CutPack { root: scene.root() });
    let settings = SourceSettings { timeout: Duration::from_secs(2), ..scene.settings(cut.port) };
    let error = scene.error(settings.clone());
    assert!(
        matches!(
            error,
            GitError::RemoteBroken { .. } | GitError::Unreachable { .. } | GitError::TimedOut { .. }
        ),
        "{error}"
    );
    assert_eq!(scene.mirror(settings).head().unwrap(), None, "half a pack must not become the head");
    let mirror = scene.mirror(scene.settings(server.port));
    assert_ne!(mirror.fetch().unwrap().commit, good);
}

#[test]
fn a_fetch_over_the_limit_is_broken_off() {
    let scene = Scene::new();
    let noise: Vec<_> = (0..200_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    scene.origin.push(&[("stores/noise.yaml", &noise.concat())]);
    let server = scene.serve(scene.git(None));
    let error = scene.error(SourceSettings { max_fetch_bytes: 64 * 1024, ..scene.settings(server.port) });
    assert!(matches!(error, GitError::FetchTooLarge { .. }), "{error}");
    assert!(error.to_string().ends_with("it sends more than the limit of 64 KiB"), "{error}");
}

#[test]
fn an_ssh_key_for_https_and_a_token_for_a_local_path_are_refused_at_once() {
    let scene = Scene::new();
    let auth = Auth::SshKey { private_key: "k".into(), passphrase: None, known_hosts: "h".into() };
    let error = Mirror::open(&scene.origin.mirror_folder(), SourceSettings { auth, ..scene.settings(1) })
        .unwrap_err();
    assert!(matches!(error, GitError::Settings { .. }), "{error}");
    let local = SourceSettings { auth: scene.settings(1).auth, ..scene.origin.settings() };
    let error = Mirror::open(&scene.origin.mirror_folder(), local).unwrap_err();
    assert!(matches!(error, GitError::Settings { .. }), "{error}");
}
