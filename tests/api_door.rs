//! The door of the daemon: who may ask, how often and how much, and what never depends on it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::daemon::Daemon;
use common::until;

/// Starts a daemon that reaches no cluster; what it shows meanwhile is enough here.
fn start(folder: &Path, more: &[&str]) -> Daemon {
    let kubeconfig = kubeconfig(folder);
    let repository = folder.join("repository");
    Daemon::start_on("127.0.0.1:0", folder, repository.to_str().unwrap(), "door", &kubeconfig, more)
}

fn kubeconfig(folder: &Path) -> PathBuf {
    let path = folder.join("kubeconfig");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: none\nclusters:\n- name: none\n  cluster: {server: \
                'https://127.0.0.1:1'}\ncontexts:\n- name: none\n  context: {cluster: none, user: none}\nusers:\n- name: none\n  \
                user: {}\n";
    std::fs::write(&path, text).unwrap();
    path
}

/// Sends a request with these headers; returns the status and the whole answer.
fn ask(daemon: &Daemon, method: &str, path: &str, headers: &str) -> (u16, String) {
    ask_at(&daemon.address, method, path, headers)
}

fn ask_at(address: &str, method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn who_asks_too_often_waits_and_the_probes_and_other_clients_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &["--rate-per-client", "1", "--trusted-proxies", "127.0.0.0/8, ::1"]);
    let mut refused = None;
    for _ in 0..20 {
        let (status, answer) = ask(&daemon, "GET", "/metrics/summary", "");
        if status == 429 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("twenty requests are more than four and one a second");
    for header in [
        "retry-after: 1\r\n",
        "ratelimit-policy: \"client\";q=4;w=4\r\n",
        "ratelimit: \"client\";r=0;t=1\r\n",
    ] {
        assert!(refused.contains(header), "{refused}");
    }
    assert!(refused.contains("content-type: application/problem+json"), "{refused}");
    for client in 1..30 {
        let headers = format!("x-forwarded-for: 203.0.113.7, 192.0.2.{client}\r\n");
        assert_eq!(
            ask(&daemon, "GET", "/metrics/summary", &headers).0,
            200,
            "each client has a rate of its own"
        );
    }
    for _ in 0..30 {
        assert_eq!(ask(&daemon, "GET", "/healthz", "").0, 200);
        assert_eq!(ask(&daemon, "GET", "/readyz", "").0, 503);
    }
    let (_, metrics) = ask(&daemon, "GET", "/metrics", "x-forwarded-for: 198.51.100.1\r\n");
    let counted =
        metrics.lines().find(|line| line.contains("http_refused_total{why=\"rate_client\"}")).unwrap();
    assert!(!counted.ends_with(" 0"), "{counted}");
}

#[test]
fn without_the_token_nothing_is_read_and_with_a_newer_one_again() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("read-token");
    std::fs::write(&token, "canary-of-the-first-token").unwrap();
    let daemon = start(
        folder.path(),
        &["--read-token-file", token.to_str().unwrap(), "--metrics-listen", "127.0.0.1:0"],
    );
    for path in ["/", "/api/v1/stores", "/metrics", "/metrics/summary", "/plans", "/nothing"] {
        let (status, answer) = ask(&daemon, "GET", path, "");
        assert_eq!(status, 401, "{path}");
        assert!(answer.contains("www-authenticate: bearer realm=\"storekeeper\""), "{answer}");
    }
    assert!(ask(&daemon, "GET", "/", "accept: text/html\r\n").1.contains("you are not logged in"));
    assert_eq!(ask(&daemon, "GET", "/healthz", "").0, 200);
    assert_eq!(ask(&daemon, "GET", "/readyz", "").0, 503);
    let with = |token: &str| ask(&daemon, "GET", "/metrics", &format!("authorization: Bearer {token}\r\n")).0;
    assert_eq!((with("canary-of-the-first-token"), with("canary-of-the-first-tokem")), (200, 401));
    std::fs::write(&token, "canary-of-the-second-token").unwrap();
    until("the new token counts", || (with("canary-of-the-second-token") == 200).then_some(()));
    assert_eq!(with("canary-of-the-first-token"), 401);
    let log = std::fs::read_to_string(&daemon.log).unwrap();
    assert!(!log.contains("canary-of"), "no token is logged");
    let inner =
        daemon.until_logged("where metrics are served for the cluster", |line| line["metrics"].is_string());
    let inner = inner["metrics"].as_str().unwrap();
    assert_eq!(ask_at(inner, "GET", "/metrics", "").0, 200, "the cluster's own address asks for no login");
    assert_eq!(ask_at(inner, "GET", "/healthz", "").0, 200);
    assert_eq!(ask_at(inner, "GET", "/api/v1/stores", "").0, 404, "and shows nothing else");
}

#[test]
fn a_user_counts_only_when_a_trusted_proxy_names_him() {
    let folder = tempfile::tempdir().unwrap();
    let header = ["--auth-header", "X-Forwarded-User", "--trusted-proxies"];
    let named = "x-forwarded-user: ada\r\n";
    let daemon = start(folder.path(), &[&header[..], &["10.0.0.0/8"]].concat());
    assert_eq!(ask(&daemon, "GET", "/api/v1/stores", named).0, 401, "we are no proxy");
    drop(daemon);
    let daemon = start(folder.path(), &[&header[..], &["127.0.0.1"]].concat());
    assert_eq!(ask(&daemon, "GET", "/api/v1/stores", named).0, 200);
    assert_eq!(ask(&daemon, "GET", "/api/v1/stores", "").0, 401);
}

#[test]
fn what_is_too_long_or_brings_a_body_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &[]);
    let path = format!("/?q={}", "x".repeat(9_000));
    assert_eq!(ask(&daemon, "GET", &path, "").0, 414);
    assert_eq!(ask(&daemon, "GET", "/api/v1/stores", "content-length: 9000\r\n").0, 413);
    assert_eq!(ask(&daemon, "GET", "/api/v1/stores", "transfer-encoding: chunked\r\n").0, 413);
    assert_eq!(ask(&daemon, "GET", "/", &"a: b\r\n".repeat(150)).0, 431);
    assert_eq!(ask(&daemon, "POST", "/api/v1/stores", "content-length: 0\r\n").0, 405);
    assert_eq!(ask(&daemon, "GET", "/api/v1/stores", "").0, 200);
}
