//! Whatever a forge's host answers, nothing but an error comes of it: too much, pages, wrong types, other hosts, silence.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_forge::{Desk, Fault, HEAD, MAIN, Reply, Server, TOKEN, note, status};
use serde_json::{Value, json};
use storekeeper::forge::{Forge, ForgeError, ForgeKind, Pull};
use storekeeper::report::CommitState::Success;

#[path = "common/fake_forge.rs"]
mod fake_forge;

const MARKER: &str = "<!-- storekeeper:plan -->";

fn pull() -> Pull {
    Pull {
        number: 7,
        head: HEAD.to_owned(),
        base: "main".to_owned(),
        reference: None,
        author: "alice".to_owned(),
        fork: false,
        title: String::new(),
        url: String::new(),
    }
}

/// Calls everything that there is and returns the errors by name; none where a call succeeded.
async fn call_all(forge: &Forge) -> Vec<(&'static str, Option<ForgeError>)> {
    let notes = [note("stores/acme.yaml", 3, "wrong")];
    vec![
        ("set_status", forge.set_status(HEAD, &status("x", Success, "")).await.err()),
        ("open_pulls", forge.open_pulls("main").await.err()),
        ("pull", forge.pull(7).await.err()),
        ("may_write", forge.may_write(&pull()).await.err()),
        ("put_comment", forge.put_comment(7, MARKER, "text").await.err()),
        ("annotate", forge.annotate(&pull(), &notes).await.err()),
    ]
}

/// Lets every forge meet a host that always answers the same, and hands each error to a test.
async fn always(reply: &Reply, check: impl Fn(&str, &ForgeError)) -> Server {
    let answer = reply.clone();
    let server = Server::start(move |_| answer.clone());
    let desk = Desk::new();
    for kind in ForgeKind::ALL {
        let forge = desk.forge(kind, &server.url(), "acme/stores");
        for (call, error) in call_all(&forge).await {
            let call = format!("{kind} {call}");
            let error = error.unwrap_or_else(|| panic!("{call} took it for an answer"));
            assert!(!format!("{error} {error:?}").contains(TOKEN), "{call}: {error:?}");
            assert!(error.to_string().chars().count() < 700, "{call}: {error}");
            check(&call, &error);
        }
    }
    server
}

fn unavailable(call: &str, error: &ForgeError) {
    assert!(matches!(error, ForgeError::Unavailable { .. }) && !error.is_final(), "{call}: {error:?}");
}

#[tokio::test]
async fn a_page_instead_of_an_answer_is_no_success() {
    let page = b"<!doctype html><title>Log in</title>";
    for status in [200, 404, 403, 502] {
        always(&Reply::raw(status, "text/html; charset=utf-8", page), unavailable).await;
    }
    always(&Reply::raw(200, "text/plain", b"ok"), |call, error| {
        unavailable(call, error);
        assert!(error.to_string().contains("text/plain, not JSON"), "{call}: {error}");
    })
    .await;
    always(&Reply::raw(201, "application/json", b""), unavailable).await;
}

#[tokio::test]
async fn an_answer_of_any_size_is_read_up_to_a_bound() {
    let mut body = b"[\"".to_vec();
    body.resize((8 << 20) + 1, b'x');
    always(&Reply::raw(200, "application/json", &body), |call, error| {
        unavailable(call, error);
        assert!(error.to_string().contains("larger than 8 MiB"), "{call}: {error}");
    })
    .await;
}

#[tokio::test]
async fn wrong_types_and_broken_json_are_no_answer() {
    // The answer to a status says nothing that is needed, nor has a report on Bitbucket a field that it must have.
    let says_enough = |kind, call, body: &Value| {
        call == "set_status" || (kind == ForgeKind::Bitbucket && call == "annotate" && body.is_object())
    };
    for body in [
        json!("text"),
        json!(7),
        json!([7]),
        json!([[]]),
        json!({ "values": {} }),
        json!({ "number": "7", "iid": -1, "id": {}, "values": [null] }),
    ] {
        let reply = Reply::json(200, &body);
        let server = Server::start(move |_| reply.clone());
        let desk = Desk::new();
        for kind in ForgeKind::ALL {
            let forge = desk.forge(kind, &server.url(), "acme/stores");
            for (call, error) in call_all(&forge).await {
                if says_enough(kind, call, &body) {
                    continue;
                }
                let error = error.unwrap_or_else(|| panic!("{kind} {call} took {body} for an answer"));
                unavailable(call, &error);
            }
        }
    }
    let deep = vec![b'['; 100_000];
    for broken in [&b"{\"id\": 1"[..], b"[", b"{\"id\": 1}}", &deep] {
        always(&Reply::raw(200, "application/json", broken), unavailable).await;
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let elsewhere = Server::start(|_| Reply::json(200, &json!({})));
    let url = format!("{}/api", elsewhere.url().replace("127.0.0.1", "localhost"));
    for status in [301, 302, 303, 307, 308] {
        let reply = Reply::raw(status, "text/html", b"").with("location", &url);
        always(&reply, |call, error| {
            unavailable(call, error);
            assert!(
                error.to_string().contains("redirects to localhost, which is not followed"),
                "{call}: {error}"
            );
        })
        .await;
    }
    let nowhere = Reply::raw(302, "text/html", b"");
    always(&nowhere, unavailable).await;
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed_three_times_and_never_makes_a_get_of_a_post() {
    let pull = json!({ "number": 7, "state": "open", "title": "x", "head": { "ref": "x", "sha": HEAD, "repo": { "id": 1 } },
        "base": { "ref": "main", "sha": MAIN, "repo": { "id": 1 } } });
    let server = Server::start(move |request| match request.path.as_str() {
        "/repos/acme/stores/pulls/7" => {
            Reply::json(200, &json!({})).with("location", "/repositories/1/pulls/7")
        }
        "/repositories/1/pulls/7" => Reply::json(200, &pull),
        _ => Reply::json(200, &json!({})),
    });
    let desk = Desk::new();
    let forge = desk.forge(ForgeKind::GitHub, &server.url(), "acme/stores");
    let moved =
        |status: u16, to: &str| Fault::Instead(Reply::raw(status, "text/html", b"").with("location", to));
    server.fault("GET", "/repos/acme/stores/pulls/7", moved(301, "/repositories/1/pulls/7"));
    assert_eq!(forge.pull(7).await.unwrap().unwrap().number, 7);
    assert_eq!(server.requests()[1].header("authorization"), format!("Bearer {TOKEN}"));
    server.calls();
    server.fault("POST", "/statuses/", moved(301, "/repositories/1/statuses"));
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    unavailable("set_status", &error);
    assert_eq!(server.calls().len(), 1);
    server.fault("POST", "/statuses/", moved(307, "/repositories/1/renamed"));
    forge.set_status(HEAD, &status("x", Success, "")).await.unwrap();
    assert_eq!(server.requests()[1].text("/context"), "x");
    assert_eq!(server.calls()[1], "POST /repositories/1/renamed");
    let circle = Reply::raw(302, "text/html", b"").with("location", "/again");
    let server = Server::start(move |_| circle.clone());
    let forge = desk.forge(ForgeKind::GitHub, &server.url(), "acme/stores");
    unavailable("pull", &forge.pull(7).await.unwrap_err());
    assert_eq!(server.calls().len(), 4);
}

#[tokio::test]
async fn pages_without_end_come_to_an_end() {
    let item = |kind: ForgeKind| match kind {
        ForgeKind::GitHub | ForgeKind::Gitea => {
            json!({ "id": 1, "body": "x", "user": { "id": 5, "login": "alice" } })
        }
        ForgeKind::GitLab => json!({ "id": 1, "body": "x", "author": { "id": 5, "username": "alice" } }),
        ForgeKind::Bitbucket => json!({ "id": 1, "content": { "raw": "x" }, "user": { "uuid": "{5}" } }),
    };
    for kind in ForgeKind::ALL {
        let items = vec![item(kind); 200];
        let server = Server::start(move |request| {
            if request.path.ends_with("/user") {
                return Reply::json(200, &json!({ "id": 41, "uuid": "{41}" }));
            }
            let page = request.number("page").unwrap_or(1);
            let next = format!("http://{}{}?page={}", request.header("host"), request.path, page + 1);
            let body: Value = match kind {
                ForgeKind::Bitbucket => json!({ "values": items, "next": next }),
                _ => items.clone().into(),
            };
            let reply = Reply::json(200, &body).with("link", format!("<{next}>; rel=\"next\""));
            reply.with("x-next-page", page + 1).with("x-total-count", u64::MAX)
        });
        let desk = Desk::new();
        let forge = desk.forge(kind, &server.url(), "acme/stores");
        let error = forge.put_comment(7, MARKER, "text").await.unwrap_err();
        assert!(error.to_string().contains("too many comments"), "{kind}: {error}");
        assert_eq!(server.calls().len(), 51, "{kind}: who we are, and 10,000 comments");
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_given_up_and_one_that_is_not_there_is_named() {
    let server = Server::start(|_| Reply::json(200, &json!({})));
    let desk = Desk::new();
    server.fault("POST", "", Fault::Hang);
    let mut settings = desk.settings(ForgeKind::Gitea, &server.url(), "acme/stores");
    settings.timeout = Duration::from_millis(300);
    let forge = desk.open(settings);
    let begun = Instant::now();
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10));
    unavailable("set_status", &error);
    assert!(error.to_string().ends_with("no answer from 127.0.0.1 within 0.3 s"), "{error}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let forge = desk.forge(ForgeKind::Gitea, &format!("http://127.0.0.1:{nobody}"), "acme/stores");
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    unavailable("set_status", &error);
    assert!(error.to_string().contains("127.0.0.1 can't be reached: "), "{error}");
}

#[tokio::test]
async fn a_forge_that_says_no_to_everything_is_understood_everywhere() {
    always(&Reply::message(401, "no"), |call, error| {
        assert!(matches!(error, ForgeError::LoginRefused { status: 401, .. }), "{call}: {error:?}");
    })
    .await;
    always(&Reply::message(429, "no").with("retry-after", 9), |call, error| {
        assert_eq!(error.retry_after(), Some(Duration::from_secs(9)), "{call}: {error:?}");
    })
    .await;
    always(&Reply::message(422, "no"), |call, error| {
        assert!(
            matches!(error, ForgeError::Refused { status: 422, .. }) && error.is_final(),
            "{call}: {error:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_forge_says_cannot_break_a_line_or_show_the_token() {
    let words = format!("bad\r\n\u{1b}[31m\u{202e} {TOKEN} {}", "x".repeat(9_000));
    always(&Reply::message(400, &words), |call, error| {
        let text = error.to_string();
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{call}: {text}");
    })
    .await;
}

#[tokio::test]
async fn descriptions_and_comments_reach_no_url_and_no_header() {
    let server = Server::start(|request| match request.path.rsplit('/').next().unwrap() {
        "user" => Reply::json(200, &json!({ "id": 41, "uuid": "{41}" })),
        "comments" | "notes" if request.method == "GET" && request.path.contains("repositories") => {
            Reply::json(200, &json!({ "values": [] }))
        }
        "comments" | "notes" if request.method == "GET" => Reply::json(200, &json!([])),
        _ => Reply::json(201, &json!({})),
    });
    let desk = Desk::new();
    let evil = "evil\r\nx-evil: 1 /../?evil=1#evil";
    for kind in ForgeKind::ALL {
        let forge = desk.forge(kind, &server.url(), "acme/stores");
        forge.set_status(HEAD, &status(evil, Success, evil)).await.unwrap();
        forge.put_comment(7, MARKER, evil).await.unwrap();
    }
    for request in server.requests() {
        let outside = format!("{} {:?} {:?}", request.path, request.query, request.headers);
        assert!(!outside.contains("evil"), "{outside}");
    }
}

#[tokio::test]
async fn an_authority_of_ones_own_is_read_once_and_must_hold_certificates() {
    let desk = Desk::new();
    let file = desk.folder.path().join("ca.pem");
    let mut settings = desk.settings(ForgeKind::Gitea, "https://127.0.0.1:1", "acme/stores");
    settings.ca_file = Some(file.clone());
    let clock: storekeeper::forge::Clock = Arc::new(|| 0);
    for content in [
        None,
        Some(""),
        Some("canary"),
        Some("-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = Forge::new(settings.clone(), clock.clone()).unwrap_err();
        assert!(matches!(error, ForgeError::Settings { .. }), "{content:?}: {error:?}");
        assert!(error.to_string().contains("ca.pem") && !error.to_string().contains("canary"), "{error}");
    }
}
