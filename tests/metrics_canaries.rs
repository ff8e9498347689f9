//! Nothing secret gets out: values planted wherever there are secrets are looked for in everything that comes out. And what
//! strangers write can't pretend to be something else.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/git_sshd.rs"]
mod git_sshd;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::daemon::Daemon;
use common::repository::git;
use common::{World, until};
use git_server::{Answer, Identity, Server};
use git_sshd::{Sshd, make_key};
use serde_json::{Value, json};

const GIT_TOKEN: &str = "canary-git-token-1f";
const FORGE_TOKEN: &str = "canary-forge-token-2f";
const HOOK_SECRET: &str = "canary-hook-secret-3f";
const READ_TOKEN: &str = "canary-read-token-4f";
const COLLECTOR_LOGIN: &str = "canary-collector-5f";
const GIVEN: &str = "canary-given-value-6f";
const INVALID: &str = "canary-invalid-secret-7f";
const JOURNAL_PASSWORD: &str = "canary-journal-8f";

/// A Secret that is generated, one of given values, one that the API server rejects, and a rendering that fails with
/// what it looked up.
const OBJECTS: &str = r#"
{{- $there := lookup "v1" "Secret" .Release.Namespace "generated" }}
{{- if .Values.fails }}{{ fail (printf "the password is %s" (b64dec $there.data.password)) }}{{ end }}
apiVersion: v1
kind: Secret
metadata:
  name: generated
data:
  password: {{ dig "data" "password" (randAlphaNum 20 | b64enc) $there }}
---
apiVersion: v1
kind: Secret
metadata:
  name: given
stringData:
  value: {{ .Values.given | quote }}
{{- with .Values.invalid }}
---
apiVersion: v1
kind: Secret
metadata:
  name: invalid
stringData:
  value:
    inner: {{ . | quote }}
{{- end }}
"#;

fn chart(folder: &Path) -> PathBuf {
    let chart = folder.join("chart");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: small\nversion: 0.1.0\n").unwrap();
    std::fs::write(chart.join("values.yaml"), "given: x\nfails: false\ninvalid: ''\n").unwrap();
    std::fs::write(chart.join("values-local.yaml"), "{}\n").unwrap();
    std::fs::write(chart.join("templates/objects.yaml"), OBJECTS).unwrap();
    chart
}

/// Writes a store with these values.
fn write_store(world: &World, name: &str, values: &str) {
    world.write_store(name, name);
    let path = world.repository.checkout.join(world.file(name));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{text}  values: {values}\n")).unwrap();
}

/// A forge that refuses every request and repeats it in its answer, login and all.
fn echoing_forge() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || echo(stream.unwrap()));
        }
    });
    format!("http://{address}")
}

fn echo(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let body = json!({ "message": String::from_utf8_lossy(&bytes) }).to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    let _ = stream.write_all((head + &body).as_bytes());
}

/// Sends a request and returns the whole answer, of a stream without end what it says within two seconds.
fn ask(daemon: &Daemon, method: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(&daemon.address).unwrap();
    let is_endless = path.starts_with("/live") || path.ends_with("/stream");
    let patience = Duration::from_secs(if is_endless { 2 } else { 10 });
    stream.set_read_timeout(Some(patience)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let whole = stream.read_to_end(&mut answer);
    assert!(whole.is_ok() || is_endless, "{path}: {whole:?}");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Everything that anybody may come to see, each with a name.
fn outputs(world: &World, daemon: &Daemon, stores: &[&str], commit: &str) -> Vec<(String, Vec<u8>)> {
    let login = format!("authorization: Bearer {READ_TOKEN}\r\naccept: text/html\r\n");
    let fixed = [
        "/",
        "/nothing",
        "/new?name=canary",
        "/commits",
        "/plans",
        "/api",
        "/api/v1/stores",
        "/api/v1/fleet",
        "/api/v1/events?limit=1000",
        "/api/v1/commits",
        "/api/v1/plans",
        "/api/v1/stream",
        "/live?path=",
        "/live?path=commits",
        "/metrics",
        "/metrics/summary",
        "/readyz",
    ];
    let mut paths: Vec<_> = fixed.map(str::to_owned).into();
    paths.extend([format!("/commits/{commit}"), format!("/api/v1/commits/{commit}")]);
    for store in stores {
        let store = world.store(store);
        paths.extend([
            format!("/stores/{store}"),
            format!("/live?path=stores/{store}"),
            format!("/api/v1/stores/{store}"),
            format!("/api/v1/stores/{store}/inside"),
            format!("/api/v1/stores/{store}/events"),
            format!("/badge/{store}.svg"),
        ]);
    }
    let told = |path: &String| {
        // Whoever comes back from the beginning is told all there is.
        let process = ask(daemon, "GET", "/", &login);
        let process =
            process.split("data-live=\"").nth(1).and_then(|it| it.split('-').next()).unwrap_or_default();
        let login = format!("{login}last-event-id: {process}-0-0\r\n");
        let answer = ask(daemon, "GET", path, &login);
        let is_page = path != "/nothing";
        assert_eq!(answer.starts_with("HTTP/1.1 200"), is_page, "{path}: {answer}");
        let is_stream = path.starts_with("/live") || path.ends_with("/stream");
        assert!(!is_stream || answer.contains("data: {"), "{path}: {answer}");
        (path.clone(), answer.into_bytes())
    };
    let mut found: Vec<_> = paths.iter().map(told).collect();
    for headers in ["", "authorization: Bearer wrong-wrong-wrong\r\n"] {
        found.push(("without a login".to_owned(), ask(daemon, "GET", "/", headers).into_bytes()));
    }
    let forged = format!("x-gitlab-token: {HOOK_SECRET}x\r\ncontent-length: 0\r\n");
    found.push(("a forged delivery".to_owned(), ask(daemon, "POST", "/hooks/gitlab", &forged).into_bytes()));
    found.push(("the log".to_owned(), std::fs::read(&daemon.log).unwrap()));
    files(&world.folder.path().join("state"), &mut found);
    for store in stores {
        let namespace = world.namespace(store);
        for (version, kind) in [("v1", "Event"), ("events.k8s.io/v1", "Event"), ("v1", "ConfigMap")] {
            let objects = Value::from(world.cluster.list(version, kind, &namespace));
            found.push((format!("{kind} in {namespace}"), objects.to_string().into_bytes()));
        }
        let namespace = world.cluster.namespace(&namespace).unwrap_or_default();
        found.push(("a namespace".to_owned(), namespace.to_string().into_bytes()));
    }
    found
}

/// Adds every file of a folder, the journal with its write-ahead log among them.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Returns what the Secrets of a store hold, as it is and as it is written.
fn generated(world: &World, store: &str) -> Vec<String> {
    let secrets = world.cluster.list("v1", "Secret", &world.namespace(store));
    let values =
        secrets.iter().filter_map(|secret| secret["data"].as_object()).flat_map(|data| data.values());
    let mut canaries = Vec::new();
    for value in values.filter_map(Value::as_str) {
        canaries.push(value.to_owned());
        canaries.push(String::from_utf8(STANDARD.decode(value).unwrap()).unwrap());
    }
    assert!(canaries.iter().any(|canary| canary.len() == 20), "{store} has a generated password");
    canaries
}

fn file(world: &World, name: &str, text: &str) -> String {
    let path = world.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Starts a daemon with a secret in every place that takes one, on a repository behind a login.
fn start(world: &World, server: &Server, authority: &str, more: &[&str]) -> Daemon {
    let chart = chart(world.folder.path());
    let (git_token, forge_token) =
        (file(world, "git-token", GIT_TOKEN), file(world, "forge-token", FORGE_TOKEN));
    let (hook, read) = (file(world, "hook-secret", HOOK_SECRET), file(world, "read-token", READ_TOKEN));
    let forge = echoing_forge();
    let url = format!("https://localhost:{}/fleet.git", server.port);
    let arguments = [
        ["--probe", "objects"],
        ["--poll-seconds", "1"],
        ["--chart", chart.to_str().unwrap()],
        ["--git-token-file", &git_token],
        ["--git-ca-file", authority],
        ["--forge", "github"],
        ["--forge-api", &forge],
        ["--forge-repository", "acme/stores"],
        ["--forge-token-file", &forge_token],
        ["--hook-secret-file", &hook],
        ["--read-token-file", &read],
    ];
    let arguments = [&arguments.concat()[..], more].concat();
    let collector = format!("http://user:{COLLECTOR_LOGIN}@127.0.0.1:1");
    let login = format!("authorization=Bearer%20{COLLECTOR_LOGIN}");
    let variables = [
        // Whoever looks for a mistake has this much said.
        ("STOREKEEPER_LOG", "debug"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", login.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let (folder, kubeconfig) = (world.folder.path(), &world.cluster.kubeconfig);
    Daemon::start_with("127.0.0.1:0", folder, &url, &world.source, kubeconfig, &arguments, &variables)
}

fn served(world: &World) -> (Server, String) {
    let authority = Identity::new("Test CA", None, true, &[], 30);
    let identity = Identity::new("localhost", Some(&authority), false, &["localhost"], 30);
    let ca_file = world.folder.path().join("ca.pem");
    authority.write_pem(&ca_file);
    let root = world.folder.path().to_owned();
    let server = Server::start(&identity, &[], Answer::Git { root, token: Some(GIT_TOKEN) });
    (server, ca_file.to_str().unwrap().to_owned())
}

/// Waits until a store's state has a reason with these words.
fn until_said(world: &World, daemon: &Daemon, store: &str, state: &str, words: &str) {
    let path = format!("/api/v1/stores/{}", world.store(store));
    let login = format!("authorization: Bearer {READ_TOKEN}\r\n");
    let mut last = String::new();
    until(&format!("{store} is {state} with {words:?}"), || {
        last = ask(daemon, "GET", &path, &login);
        (last.contains(&format!("\"state\":\"{state}\"")) && last.contains(words)).then_some(())
    });
}

#[test]
fn no_planted_secret_comes_out_anywhere() {
    let world = World::new();
    let (server, authority) = served(&world);
    let values = format!("{{given: {GIVEN}}}");
    for name in ["good", "fails"] {
        write_store(&world, name, &values);
    }
    write_store(&world, "invalid", &format!("{{given: {GIVEN}, invalid: {INVALID}}}"));
    world.repository.push("stores");
    let daemon = start(&world, &server, &authority, &[]);
    for name in ["good", "fails"] {
        until_said(&world, &daemon, name, "READY", "");
    }
    until_said(&world, &daemon, "invalid", "FAILED", "Secret/invalid");
    write_store(&world, "fails", &format!("{{given: {GIVEN}, fails: true}}"));
    let commit = world.repository.push("a rendering that fails with a password");
    until_said(&world, &daemon, "fails", "FAILED", "");
    // A login that the repository and the forge do not take any more.
    std::fs::write(world.folder.path().join("git-token"), "canary-git-token-1f-wrong").unwrap();
    daemon.until_logged("the forge refuses", |line| line.to_string().contains("forge"));
    daemon.until_logged("the collector is away", |line| line.to_string().contains("traces can't be sent"));

    let stores = ["good", "fails", "invalid"];
    let mut canaries: Vec<_> =
        [GIT_TOKEN, FORGE_TOKEN, HOOK_SECRET, READ_TOKEN, COLLECTOR_LOGIN, GIVEN, INVALID]
            .iter()
            .flat_map(|canary| [(*canary).to_owned(), STANDARD.encode(canary)])
            .collect();
    canaries.push(STANDARD.encode(format!("x-access-token:{GIT_TOKEN}")));
    canaries.extend(["good", "fails"].iter().flat_map(|store| generated(&world, store)));
    let outputs = outputs(&world, &daemon, &stores, &commit);
    assert!(outputs.len() > 50 && outputs.iter().any(|(name, _)| name.contains("journal.db")));
    let mut leaks = Vec::new();
    for (name, bytes) in &outputs {
        for canary in canaries.iter().filter(|canary| contains(bytes, canary)) {
            let text = String::from_utf8_lossy(bytes);
            let at = text.find(canary.as_str()).unwrap_or_default();
            let around: String =
                text.chars().skip(text[..at].chars().count().saturating_sub(200)).take(400).collect();
            leaks.push(format!("{canary} in {name}: …{around}…"));
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

#[test]
fn the_password_of_the_journals_database_is_in_no_log_and_on_no_page() {
    let world = World::new();
    let (server, authority) = served(&world);
    write_store(&world, "good", "{}");
    world.repository.push("a store");
    let url = format!("postgres://keeper:{JOURNAL_PASSWORD}@127.0.0.1:1/journal");
    let path = file(&world, "journal-url", &url);
    let daemon = start(&world, &server, &authority, &["--journal-url-file", &path]);
    until_said(&world, &daemon, "good", "READY", "");
    let commit = git(&world.repository.checkout, &["rev-parse", "HEAD"]);
    for (name, bytes) in outputs(&world, &daemon, &["good"], &commit) {
        assert!(!contains(&bytes, JOURNAL_PASSWORD), "{name}");
    }
}

#[test]
fn an_ssh_key_comes_out_nowhere_taken_refused_or_damaged() {
    let world = World::new();
    let folder = world.folder.path();
    let key = make_key(&folder.join("client"), "ed25519", "");
    let stranger = std::fs::read_to_string(make_key(&folder.join("stranger"), "ed25519", "")).unwrap();
    let taken = std::fs::read_to_string(&key).unwrap();
    let server = Sshd::start(folder, "ed25519", &key);
    let known_hosts =
        file(&world, "known_hosts", &format!("[127.0.0.1]:{} {}\n", server.port, server.host_key));
    let url = format!("ssh://{}@127.0.0.1:{}{}", server.user, server.port, world.repository.url());
    world.write_store("acme", "Acme");
    let commit = world.repository.push("a store");
    let chart = chart(folder);
    let arguments = [
        ["--probe", "objects"],
        ["--poll-seconds", "1"],
        ["--chart", chart.to_str().unwrap()],
        ["--git-ssh-key-file", key.to_str().unwrap()],
        ["--git-known-hosts-file", &known_hosts],
    ];
    let variables = [("STOREKEEPER_LOG", "debug")];
    let kubeconfig = &world.cluster.kubeconfig;
    let daemon = Daemon::start_with(
        "127.0.0.1:0",
        folder,
        &url,
        &world.source,
        kubeconfig,
        &arguments.concat(),
        &variables,
    );
    until_said(&world, &daemon, "acme", "READY", "");
    let damaged = taken.replace("-----END", "-----AND");
    let canaries: Vec<_> = [&taken, &stranger]
        .iter()
        .flat_map(|key| key.lines().filter(|line| !line.starts_with("---")))
        .map(|line| line[..line.len().min(40)].to_owned())
        .collect();
    assert!(canaries.len() > 8, "{canaries:?}");
    for text in [&taken, &stranger, &damaged] {
        std::fs::write(&key, text).unwrap();
        if *text != taken {
            until("the key does not do", || daemon.fleet()["frozen"].is_string().then_some(()));
        }
        for (name, bytes) in outputs(&world, &daemon, &["acme"], &commit) {
            for canary in &canaries {
                assert!(!contains(&bytes, canary), "{canary} in {name}");
            }
        }
        std::fs::write(&key, &taken).unwrap();
        until("the key does", || daemon.fleet()["frozen"].is_null().then_some(()));
    }
}

#[test]
fn what_strangers_write_stays_what_it_is_on_pages_in_the_log_and_in_metrics() {
    const HOSTILE: &str = "<script>alert(1)</script>\u{1b}[2K\u{1b}[31m\u{202e}gnp.exe\u{2066} \"} 1\u{7f}";
    let world = World::new();
    world.write_store("acme", "Acme");
    world.repository.push("a store");
    let (url, folder) = (world.repository.url(), world.folder.path());
    let more = ["--probe", "objects", "--log-format", "text"];
    // Where text is logged, the address comes from the system.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let daemon = start_text(&listen, folder, &url, &world, &more);
    until("the store is READY", || page(&listen, "/").contains("READY").then_some(()));
    let text = format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {}\nspec:\n  displayName: {}\n",
        world.store("acme"),
        json!(format!("Acme\u{202e}<b>{HOSTILE}"))
    );
    world.repository.write(&world.file("acme"), &text);
    world
        .repository
        .write("stores/broken.yaml", &format!("{HOSTILE}\n\u{2028}level=ERROR forged: {HOSTILE}\n"));
    git(&world.repository.checkout, &["add", "--all"]);
    let message = format!("{HOSTILE}\n2026-01-01T00:00:00Z ERROR forged line\n\r{HOSTILE}");
    let author = format!("--author=Eve {HOSTILE} <eve\u{202e}@example.com>")
        .replace("<script>", "script")
        .replace("</script>", "");
    git(&world.repository.checkout, &["commit", "--quiet", "--message", &message, &author]);
    git(&world.repository.checkout, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
    let commit = git(&world.repository.checkout, &["rev-parse", "HEAD"]);
    until("the commit is followed", || page(&listen, "/").contains(&commit[..7]).then_some(()));
    until("the broken file is named", || page(&listen, "/").contains("broken").then_some(()));

    let unfit = |text: &str| -> Option<char> {
        text.chars().find(|c| {
            (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
    };
    let store = world.store("acme");
    for path in [
        "/",
        &format!("/stores/{store}"),
        &format!("/commits/{commit}"),
        "/stores/broken",
        "/plans",
        "/nothing%1b%0a<b>",
    ] {
        let page = page(&listen, path);
        assert_eq!(unfit(&page), None, "{path}");
        assert!(!page.contains("<script>alert") && !page.contains("<b>script"), "{path}");
    }
    let problem = page(&listen, "/api/v1/stores/%1b%22%0a%e2%80%ae");
    let (head, body) = problem.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/problem+json"), "{head}");
    assert!(serde_json::from_str::<Value>(body).unwrap()["detail"].is_string());
    for line in page(&listen, "/metrics")
        .split_once("\r\n\r\n")
        .unwrap()
        .1
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let fit = |c: char| c.is_ascii_alphanumeric() || "_{}=\",.+-:".contains(c);
        assert!(series.chars().all(fit), "{line}");
    }
    let log = std::fs::read_to_string(&daemon.1).unwrap();
    assert_eq!(unfit(&log), None);
    for line in log.lines() {
        let moment = line.split(' ').next().unwrap();
        assert!(
            moment.starts_with("20") && moment.ends_with('Z') && !line.starts_with("2026-01-01"),
            "{line}"
        );
    }
    assert!(log.contains("alert(1)") || log.contains("broken"), "something of it is logged:\n{log}");
}

/// A daemon that logs text.
struct TextDaemon(std::process::Child, PathBuf);

impl Drop for TextDaemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_text(listen: &str, folder: &Path, url: &str, world: &World, more: &[&str]) -> TextDaemon {
    let log = folder.join("text.log");
    let child = std::process::Command::new(common::daemon::binary())
        .args([
            "run",
            "--listen",
            listen,
            "--repository",
            url,
            "--source",
            &world.source,
            "--rate-per-client",
            "0",
        ])
        .args(more)
        .arg("--state-folder")
        .arg(folder.join("state"))
        .arg("--kubeconfig")
        .arg(&world.cluster.kubeconfig)
        .env("STOREKEEPER_LOG", "info")
        .stdin(std::process::Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    TextDaemon(child, log)
}

/// Returns an answer, or nothing while nobody listens.
fn page(address: &str, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
