//! Traces go to a collector where the standard variables name one, and nothing waits for it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use common::{World, until};

/// What stands in front of what a collector was sent.
const HEADER_CANARY: &str = "canary-of-the-collectors-login";

/// One request as a collector got it.
#[derive(Clone)]
struct Sent {
    head: String,
    body: Vec<u8>,
}

/// One span of it.
struct Span {
    name: String,
    id: Vec<u8>,
    parent: Vec<u8>,
    whole: Vec<u8>,
}

/// Answers every request with 200, as a collector does; returns its address and what it was sent.
fn collector() -> (String, Arc<Mutex<Vec<Sent>>>) {
    let (listener, sent) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::default());
    let (address, to) = (listener.local_addr().unwrap().to_string(), Arc::clone(&sent));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, to) = (stream.unwrap(), Arc::clone(&to));
            std::thread::spawn(move || take(stream, &to));
        }
    });
    (address, sent)
}

fn take(mut stream: TcpStream, to: &Mutex<Vec<Sent>>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 8_192];
    loop {
        let read = match stream.read(&mut chunk) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::Interrupted => return,
            read => read.unwrap_or(0),
        };
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        if bytes.len() >= end + 4 + length {
            let body = bytes[end + 4..end + 4 + length].to_vec();
            to.lock().unwrap().push(Sent { head, body });
            bytes.drain(..end + 4 + length);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    }
}

/// Returns the length-delimited fields with this number of a protobuf message.
fn fields(message: &[u8], wanted: u64) -> Vec<Vec<u8>> {
    let (mut rest, mut found) = (message, Vec::new());
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let length = match key & 7 {
            0 => {
                varint(&mut rest);
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)).unwrap(),
            5 => 4,
            other => panic!("no wire type {other}"),
        };
        let (value, more) = rest.split_at(length);
        if key >> 3 == wanted && key & 7 == 2 {
            found.push(value.to_vec());
        }
        rest = more;
    }
    found
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = rest[0];
        *rest = &rest[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn spans(sent: &Mutex<Vec<Sent>>) -> Vec<Span> {
    let bodies: Vec<_> = sent.lock().unwrap().iter().map(|sent| sent.body.clone()).collect();
    let inner = |messages: Vec<Vec<u8>>, number| -> Vec<_> {
        messages.iter().flat_map(|message| fields(message, number)).collect()
    };
    let spans = inner(inner(inner(bodies, 1), 2), 2);
    let first = |span: &[u8], number| fields(span, number).into_iter().next().unwrap_or_default();
    spans
        .into_iter()
        .map(|whole| Span {
            name: String::from_utf8(first(&whole, 5)).unwrap(),
            id: first(&whole, 2),
            parent: first(&whole, 4),
            whole,
        })
        .collect()
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

fn start(world: &World, variables: &[(&str, &str)]) -> Daemon {
    let (url, folder) = (world.repository.url(), world.folder.path());
    let more = ["--probe", "objects"];
    Daemon::start_with(
        "127.0.0.1:0",
        folder,
        &url,
        &world.source,
        &world.cluster.kubeconfig,
        &more,
        variables,
    )
}

#[test]
fn runs_looks_and_requests_arrive_as_spans_and_the_last_of_them_when_the_daemon_ends() {
    let (address, sent) = collector();
    let (endpoint, headers) =
        (format!("http://{address}"), format!("authorization=Bearer%20{HEADER_CANARY}"));
    let world = World::new();
    world.write_store("acme", "Acme");
    world.repository.push("a store");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", headers.as_str()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=trial"),
        // Longer than this test: what arrives at the end was sent because it ends.
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ];
    let daemon = start(&world, &variables);
    world.until_state(&daemon, "acme", "READY");
    let (log, (status, took)) = (daemon.log.clone(), daemon.terminate());
    assert!(status.success() && took < Duration::from_secs(10), "{took:?}");

    let spans = spans(&sent);
    for name in ["run", "api.request", "git.look", "git.fetch", "git.read", "http.request"] {
        assert!(spans.iter().any(|span| span.name == name), "no span {name}");
    }
    let store = world.store("acme");
    let run = spans.iter().find(|span| span.name == "run" && contains(&span.whole, "applied")).unwrap();
    assert!(run.parent.is_empty() && contains(&run.whole, &store) && contains(&run.whole, "git.commit"));
    let children: Vec<_> = spans.iter().filter(|span| span.parent == run.id).collect();
    assert!(children.iter().any(|span| span.name == "api.request" && contains(&span.whole, "apply")));
    let read = spans.iter().find(|span| span.name == "git.read").unwrap();
    assert!(spans.iter().any(|span| span.id == read.parent && span.name == "git.look"));

    let sent = sent.lock().unwrap();
    assert!(sent.iter().all(|sent| sent.head.starts_with("post /v1/traces ")));
    assert!(sent.iter().all(|sent| sent.head.contains("content-type: application/x-protobuf")));
    let login = format!("authorization: bearer {HEADER_CANARY}");
    assert!(sent.iter().all(|sent| sent.head.contains(&login)), "{}", sent[0].head);
    assert!(contains(&sent[0].body, "storekeeper") && contains(&sent[0].body, "trial"));
    assert!(!sent.iter().any(|sent| contains(&sent.body, HEADER_CANARY)));
    assert!(!std::fs::read_to_string(log).unwrap().contains(HEADER_CANARY));
}

#[test]
fn a_collector_that_never_answers_slows_nothing_and_is_mentioned_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://user:{HEADER_CANARY}@{}/v1/traces", silent.local_addr().unwrap());
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.write_store(name, name);
    }
    world.repository.push("three stores");
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let daemon = start(&world, &variables);
    for name in ["a", "b", "c"] {
        world.until_state(&daemon, name, "READY");
    }
    let mentions = |daemon: &Daemon| {
        let said = |line: &serde_json::Value| {
            line["message"].as_str().unwrap_or_default().starts_with("traces can't")
        };
        daemon.lines().filter(said).count()
    };
    until("the silence is mentioned", || (mentions(&daemon) > 0).then_some(()));
    // Several batches later it still is once.
    let begun = Instant::now();
    until("several batches are dropped", || {
        daemon.get("/api/v1/stores");
        (begun.elapsed() > Duration::from_secs(2)).then_some(())
    });
    assert_eq!(mentions(&daemon), 1);
    assert!(!std::fs::read_to_string(&daemon.log).unwrap().contains(HEADER_CANARY));
    let (status, took) = daemon.terminate();
    assert!(status.success() && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn nothing_is_sent_where_the_variables_say_so() {
    let (address, sent) = collector();
    let endpoint = format!("http://{address}");
    let world = World::new();
    for more in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_SAMPLER", "always_off")] {
        let daemon = start(&world, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), more]);
        until("the first pass is finished", || (daemon.get("/readyz").0 == 200).then_some(()));
        assert!(daemon.terminate().0.success());
    }
    assert!(spans(&sent).is_empty());
}
