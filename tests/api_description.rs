//! The OpenAPI document says what the API answers: every answer is held against it, and it leaves nothing out.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "common/plan_report.rs"]
mod plan_report;
#[path = "common/showroom.rs"]
mod showroom;

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use plan_report::rich;
use serde_json::{Value, json};
use showroom::{NOW, Showroom};
use storekeeper::report::{
    Change, CommitBook, CommitHead, CommitReport, CommitState, Event, EventKind, Health, Inspection,
    ObjectHealth, Origin, PodHealth, Replica, Replicas, Step, StoreReport, StoreState, StoreVerdict,
    VersionReport,
};

const REVISION: &str = "1a2b3c4d5e6f7081920a1b2c3d4e5f6071829304";

fn origin() -> Origin {
    Origin {
        revision: REVISION.to_owned(),
        author: "Ada".to_owned(),
        signer: Some("ada".to_owned()),
        pull: Some(7),
    }
}

/// Something of everything that can be told.
fn showroom() -> Showroom {
    let mut showroom = Showroom::new();
    let acme: storekeeper::names::StoreId = "acme".parse().unwrap();
    let verdict = StoreVerdict {
        change: Change::Changed,
        state: CommitState::Pending,
        reason: "waits".to_owned(),
        since: NOW,
    };
    let head =
        CommitHead { revision: REVISION.to_owned(), author: "Ada".to_owned(), subject: "more".to_owned() };
    showroom.board.update(|picture| {
        let full = StoreReport {
            display_name: Some("Acme".to_owned()),
            step: Some(Step::Database),
            url: Some("https://acme.example.com".to_owned()),
            revision: Some(REVISION.to_owned()),
            applied_revision: Some(REVISION.to_owned()),
            created: Some(NOW - 5),
            last_error: Some("so".to_owned()),
            next_retry: Some(NOW + 5),
            answered: Some(NOW - 1),
            deletes_at: Some(NOW + 9),
            origin: Some(origin()),
            cluster: Some("eu-1".to_owned()),
            keeper: Some("storekeeper-a".to_owned()),
            ..StoreReport::new(acme.clone(), NOW - 9)
        };
        picture.stores = [full, StoreReport::new("bare".parse().unwrap(), NOW)].into_iter().collect();
        picture.stores.get_mut(&acme).unwrap().state = StoreState::Failed;
        picture.fleet.held_until = Some(NOW + 1);
        picture.fleet.cluster = Some("eu-1".to_owned());
        picture.fleet.elsewhere =
            std::sync::Arc::new([("there".parse().unwrap(), "us-1".parse().unwrap())].into());
        picture.fleet.strays = Some("left alone".to_owned());
        picture.fleet.problems = vec!["stores/A.yaml: no".to_owned()];
        let all = [("storekeeper-a", true, 60), ("storekeeper-b", true, 0), ("storekeeper-c", false, 4)];
        picture.fleet.replicas = Some(Replicas {
            here: "storekeeper-b".to_owned(),
            since: Some(NOW - 60),
            shards: 64,
            unkept: 4,
            all: all.map(|(name, alive, shards)| (name.to_owned(), Replica { alive, shards })).into(),
        });
        let stores = BTreeMap::from([(acme.clone(), verdict)]);
        picture.commits = CommitBook::resume(vec![CommitReport::new(head, NOW, None, stores)]);
    });
    for (at, kind) in (NOW..).zip(EventKind::ALL) {
        let (change, state, step) = (Some(Change::Added), Some(StoreState::Ready), Some(Step::Probe));
        let event = Event::new(at, kind, Some(acme.clone()), "so");
        showroom.history.push(Event {
            change,
            state,
            step,
            took_ms: Some(7),
            origin: Some(origin()),
            ..event
        });
        showroom.history.push(Event::new(at, kind, None, "bare"));
    }
    showroom.plans.put(rich());
    let version = VersionReport { revision: REVISION.to_owned(), image: None };
    let object = ObjectHealth {
        kind: "Deployment".to_owned(),
        group: "apps".to_owned(),
        name: "medusa".to_owned(),
        health: Health::Progressing,
        note: Some("waits".to_owned()),
        drift: None,
    };
    let pod = PodHealth {
        name: "p".to_owned(),
        status: "Running".to_owned(),
        ready: 1,
        containers: 1,
        restarts: 0,
        created: None,
    };
    showroom.inside =
        Ok(Inspection { runs: Some(version), wants: None, objects: vec![object], pods: Ok(vec![pod]) });
    showroom
}

/// Makes a schema stand alone, and refuse fields that it does not name.
fn closed(document: &Value, schema: &Value) -> Value {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(map) => {
                map.values_mut().for_each(close);
                if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                    map.insert("additionalProperties".to_owned(), false.into());
                }
            }
            Value::Array(all) => all.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut components = document["components"].clone();
    close(&mut components);
    let mut whole = schema.clone();
    close(&mut whole);
    whole["components"] = components;
    whole
}

fn check(document: &Value, schema: &Value, answer: &Value, what: &str) {
    let schema = closed(document, schema);
    let validator = jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{what}: {error}"));
    let errors: Vec<_> =
        validator.iter_errors(answer).map(|it| format!("{} at {}", it, it.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{answer:#}");
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let showroom = showroom();
    let document = showroom.get("/api/v1/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut checked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        assert_eq!(
            methods.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["get"],
            "{path} can only be read"
        );
        let operation = &methods["get"];
        assert!(
            operation["summary"].is_string() || operation["description"].is_string(),
            "{path} is described"
        );
        let filled =
            path.replace("{name}", "acme").replace("{revision}", REVISION).replace("{commit}", REVISION);
        if path.ends_with("/stream") {
            continue;
        }
        let answer = showroom.get(&filled).await;
        assert_eq!(answer.status, StatusCode::OK, "{filled}");
        let (kind, content) =
            operation["responses"]["200"]["content"].as_object().unwrap().iter().next().unwrap();
        assert_eq!(answer.header("content-type"), kind, "{filled}");
        if kind == "application/json" {
            check(&document, &content["schema"], &answer.json(), &filled);
            assert!(!answer.header("etag").is_empty(), "{filled}");
            checked += 1;
        }
    }
    assert!(checked >= 12, "{checked}");
}

#[tokio::test]
async fn who_keeps_what_is_told_by_every_replica() {
    let showroom = showroom();
    let replicas = &showroom.get("/api/v1/fleet").await.json()["replicas"];
    assert_eq!(
        *replicas,
        json!({
            "identity": "storekeeper-b", "role": "follower", "since": "2026-11-22T13:34:56Z", "shards": 64, "unkept": 4,
            "all": [
                {"identity": "storekeeper-a", "role": "partner", "alive": true, "shards": 60, "stores": 1},
                {"identity": "storekeeper-b", "role": "follower", "alive": true, "shards": 0, "stores": 0},
                {"identity": "storekeeper-c", "role": "partner", "alive": false, "shards": 4, "stores": 0},
            ],
        })
    );
    let keeper =
        async |store| showroom.get(&format!("/api/v1/stores/{store}")).await.json()["keeper"].clone();
    assert_eq!((keeper("acme").await, keeper("bare").await), (json!("storekeeper-a"), Value::Null));
    let alone = Showroom::new().get("/api/v1/fleet").await.json();
    assert_eq!(alone["replicas"], Value::Null);
}

#[tokio::test]
async fn every_refusal_is_a_problem_as_the_document_says() {
    let showroom = showroom();
    let document = showroom.get("/api/v1/openapi.json").await.json();
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    for (path, status) in [
        ("/api/v1/stores/nope", 404),
        ("/api/v1/stores/NOPE", 404),
        ("/api/v1/stores/nope/inside", 404),
        ("/api/v1/stores?state=ASLEEP", 400),
        ("/api/v1/stores?sort=size", 400),
        ("/api/v1/stores?limit=0", 400),
        ("/api/v1/stores?limit=10001", 400),
        ("/api/v1/stores?limit=many", 400),
        ("/api/v1/stores?cursor=%21", 400),
        ("/api/v1/events?limit=1001", 400),
        ("/api/v1/events?cursor=x", 400),
        ("/api/v1/commits/0000000", 404),
        ("/api/v1/plans/0000000", 404),
        ("/api/v1/nothing", 404),
        ("/badge/NOPE.svg", 404),
    ] {
        // Programs get JSON though they may say that they read pages.
        let answer = showroom.page(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
        if path.starts_with("/api") {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
            check(&document, &problem, &answer.json(), path);
        }
    }
    let away = Showroom::new();
    away.board.update(|picture| {
        picture.stores = [StoreReport::new("acme".parse().unwrap(), NOW)].into_iter().collect();
    });
    let answer = away.get("/api/v1/stores/acme/inside").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    check(&document, &problem, &answer.json(), "inside, with the cluster away");
}

#[tokio::test]
async fn nothing_of_the_api_is_left_out_of_the_document() {
    let code = std::fs::read_to_string("src/web/api.rs").unwrap();
    let routes = code.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    let routes: BTreeSet<_> = routes.filter(|path| !path.ends_with("openapi.json")).collect();
    let document = Showroom::new().get("/api/v1/openapi.json").await.json();
    let described: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(routes.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new());
    let page = Showroom::new().page("/api").await.body;
    for path in described {
        assert!(page.contains(&path), "{path} is on the page for people");
    }
}

#[tokio::test]
async fn a_list_comes_in_pages_that_hold_each_store_once() {
    let showroom = Showroom::new();
    showroom.board.update(|picture| {
        let store = |at: i64| {
            let mut report = StoreReport::new(format!("s{at:03}").parse().unwrap(), NOW - at % 7);
            report.state = if at % 3 == 0 { StoreState::Failed } else { StoreState::Ready };
            report
        };
        picture.stores = (0..100).map(store).collect();
    });
    for query in ["", "&sort=changed", "&sort=state", "&state=FAILED"] {
        let (mut names, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = showroom.get(&format!("/api/v1/stores?limit=17{query}{cursor}")).await.json();
            names.extend(
                page["stores"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()),
            );
            assert_eq!(page["counts"]["FAILED"], 34, "counts tell of all states");
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            // A store that goes meanwhile moves no other one out of its place.
            cursor = format!("&cursor={next}");
        }
        let wanted = if query.contains("FAILED") { 34 } else { 100 };
        assert_eq!((names.len(), pages), (wanted, usize::div_ceil(wanted, 17)), "{query}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), wanted, "{query}");
    }
}

#[tokio::test]
async fn events_come_in_pages_that_hold_each_once_newest_first() {
    let showroom = Showroom::new();
    for at in 0..50 {
        showroom.history.push(Event::new(NOW + at, EventKind::Applied, None, at.to_string()));
    }
    for limit in [1, 7, 10, 25, 49, 50, 51] {
        let (mut texts, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = showroom.get(&format!("/api/v1/events?limit={limit}{cursor}")).await.json();
            let events = page["events"].as_array().unwrap();
            texts.extend(events.iter().map(|event| event["words"].as_str().unwrap().parse::<u32>().unwrap()));
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(texts, (0..50).rev().collect::<Vec<_>>(), "{limit}");
        assert_eq!(pages, 50_usize.div_ceil(limit), "{limit}");
    }
}

#[tokio::test]
async fn a_list_is_never_older_than_a_moment() {
    let showroom = showroom();
    let state = async || showroom.get("/api/v1/stores?q=acme").await.json()["stores"][0]["state"].clone();
    assert_eq!(state().await, "FAILED");
    showroom.board.update(|picture| {
        picture.stores.get_mut(&"acme".parse().unwrap()).unwrap().state = StoreState::Ready;
    });
    // While a fleet moves all the time, an answer may be 100 ms old.
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    assert_eq!(state().await, "READY");
}

#[tokio::test]
async fn whoever_has_an_answer_gets_no_other_and_whoever_takes_gzip_gets_less() {
    let showroom = showroom();
    for path in ["/api/v1/stores", "/api/v1/stores/acme", "/api/v1/fleet", "/api/v1/events"] {
        let first = showroom.get(path).await;
        let tag = first.header("etag").to_owned();
        let again = showroom.send("GET", path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path}");
        assert_eq!(again.header("etag"), tag, "{path}");
        let packed = showroom.send("GET", path, &[("accept-encoding", "gzip")]).await;
        assert_eq!((packed.header("content-encoding"), packed.header("etag")), ("gzip", &*tag), "{path}");
        assert!(packed.header("vary").contains("accept-encoding"), "{path}");
        let known = showroom.send("GET", path, &[("if-none-match", &tag), ("accept-encoding", "gzip")]).await;
        assert_eq!(known.status, StatusCode::NOT_MODIFIED, "{path}");
    }
    let before = showroom.get("/api/v1/stores/acme").await.header("etag").to_owned();
    showroom.board.update(|picture| {
        picture.stores.get_mut(&"acme".parse().unwrap()).unwrap().reason = "else".to_owned();
    });
    let after = showroom.send("GET", "/api/v1/stores/acme", &[("if-none-match", &before)]).await;
    assert_eq!(after.status, StatusCode::OK, "what has changed is sent");
}

#[tokio::test]
async fn a_badge_tells_the_state_and_nothing_becomes_markup() {
    let showroom = showroom();
    let badge = showroom.get("/badge/acme.svg").await;
    assert!(
        badge.body.contains("aria-label=\"acme: FAILED\"") && badge.body.contains("#b3201c"),
        "{}",
        badge.body
    );
    let unknown = showroom.get("/badge/nobody.svg").await;
    assert!(unknown.status == StatusCode::OK && unknown.body.contains("nobody: UNKNOWN"), "{}", unknown.body);
}
