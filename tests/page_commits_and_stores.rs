//! The pages that commit statuses link to: a commit store by store, and a store as a commit wanted it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/showroom.rs"]
mod showroom;

use std::collections::BTreeMap;

use axum::http::StatusCode;
use showroom::{HOSTILE, NOW, Showroom, count, plain};
use storekeeper::report::{
    Board, Change, CommitBook, CommitHead, CommitReport, CommitState, Event, EventKind, Health, Inspection,
    ObjectHealth, Origin, PodHealth, Step, StoreReport, StoreState, StoreVerdict, VersionReport,
};
use storekeeper::web::{ForgePages, Links};

const REVISION: &str = "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b";

/// Puts a commit and its stores up, with these words wherever somebody else's stand.
fn fill(board: &Board, words: &str) {
    let verdict = |change, state, reason: &str| StoreVerdict {
        change,
        state,
        reason: reason.to_owned(),
        since: NOW - 60,
    };
    let stores = BTreeMap::from([
        (
            "acme".parse().unwrap(),
            verdict(Change::Added, CommitState::Success, "READY at https://acme.example.com/"),
        ),
        ("bold".parse().unwrap(), verdict(Change::Changed, CommitState::Failure, words)),
        (
            "calm".parse().unwrap(),
            verdict(Change::Removed, CommitState::Pending, "kept for its grace period"),
        ),
    ]);
    let head =
        CommitHead { revision: REVISION.to_owned(), author: words.to_owned(), subject: words.to_owned() };
    board.update(|picture| {
        picture.commits = CommitBook::resume(vec![CommitReport::new(head, NOW - 90, None, stores)]);
        let mut acme = StoreReport::new("acme".parse().unwrap(), NOW - 90);
        acme.enter(StoreState::Failed, words.to_owned(), NOW - 30);
        acme.revision = Some(REVISION.to_owned());
        acme.step = Some(Step::Migration);
        acme.url = Some("https://acme.example.com/".to_owned());
        acme.origin = Some(origin(words));
        picture.stores.insert(acme.name.clone(), acme);
    });
}

fn origin(words: &str) -> Origin {
    let (revision, author) = (REVISION.to_owned(), words.to_owned());
    Origin { revision, author, signer: Some(words.to_owned()), pull: Some(7) }
}

/// A store of which everything there is to say is said in these words.
fn showroom(words: &str) -> Showroom {
    let mut showroom = Showroom::new();
    fill(&showroom.board, words);
    let acme = Some("acme".parse().unwrap());
    for (at, kind) in (NOW - 100..).zip(EventKind::ALL) {
        let (state, step) = (Some(StoreState::Provisioning), Some(Step::Database));
        let origin = Some(origin(words));
        let event =
            Event { state, step, origin, took_ms: Some(1_234), ..Event::new(at, kind, acme.clone(), words) };
        showroom.history.push(event);
    }
    let version =
        |revision: &str| Some(VersionReport { revision: revision.to_owned(), image: Some(words.to_owned()) });
    let object = |name: &str, health, drift: Option<&str>| ObjectHealth {
        kind: "Deployment".to_owned(),
        group: "apps".to_owned(),
        name: name.to_owned(),
        health,
        note: Some(words.to_owned()),
        drift: drift.map(str::to_owned),
    };
    let pod = PodHealth {
        name: "medusa-1".to_owned(),
        status: words.to_owned(),
        ready: 0,
        containers: 1,
        restarts: 3,
        created: Some(NOW - 50),
    };
    showroom.inside = Ok(Inspection {
        runs: version("1111111111"),
        wants: version(REVISION),
        objects: vec![
            object("medusa", Health::Failed, None),
            object("storefront", Health::Current, Some(words)),
        ],
        pods: Ok(vec![pod]),
    });
    let repository = "https://forge.example/acme/stores".to_owned();
    showroom.links = Some(Links { forge: ForgePages::Gitea, repository, branch: "main".to_owned() });
    showroom
}

#[tokio::test]
async fn a_commit_is_shown_store_by_store() {
    let page = showroom("no quota").page(&format!("/commits/{REVISION}")).await;
    assert_eq!(page.status, StatusCode::OK);
    insta::assert_snapshot!(plain(&page.body));
    let list = showroom("no quota").page("/commits").await.body;
    assert!(list.contains("1 of 3 failed") && list.contains("./commits/1a2b3c4d"), "{list}");
}

#[tokio::test]
async fn a_store_is_shown_with_its_way_its_inside_and_its_past() {
    let page = showroom("no quota").page(&format!("/stores/acme?revision={REVISION}")).await;
    assert_eq!(page.status, StatusCode::OK);
    insta::assert_snapshot!(plain(&page.body));
    let plain = showroom("no quota").page("/stores/acme").await.body;
    assert!(plain.contains("FAILED") && !plain.contains("With commit"), "{plain}");
    let gone = showroom("no quota").page(&format!("/stores/calm?revision={REVISION}")).await;
    assert!(gone.status == StatusCode::OK && gone.body.contains("The store is gone"), "{}", gone.body);
}

#[tokio::test]
async fn the_way_to_ready_is_a_line_of_steps_with_their_times() {
    let showroom = Showroom::new();
    let acme: storekeeper::names::StoreId = "acme".parse().unwrap();
    let done = |at, step, took_ms| Event {
        step: Some(step),
        took_ms: Some(took_ms),
        ..Event::new(at, EventKind::StepDone, Some(acme.clone()), "")
    };
    showroom.history.push(done(NOW - 90, Step::Namespace, 1_000));
    showroom.history.push(done(NOW - 50, Step::Namespace, 3_400));
    showroom.board.update(|picture| {
        let mut report = StoreReport::new(acme.clone(), NOW - 60);
        report.enter(StoreState::Provisioning, "database: waits".to_owned(), NOW - 50);
        report.step = Some(Step::Database);
        picture.stores.insert(acme.clone(), report);
    });
    let page = showroom.page("/stores/acme").await.body;
    for part in [
        r#"<li class="done"><span>namespace</span><span class="hidden">: done</span><small>3.4 s</small></li>"#,
        r#"<li class="now"><span>database</span><span class="hidden">: under way</span></li>"#,
        r#"<li class="open"><span>migration</span><span class="hidden">: to come</span></li>"#,
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn what_the_journal_can_not_tell_is_said() {
    let mut showroom = showroom("so");
    showroom.history.resume(vec![Event { id: 5, ..Event::new(0, EventKind::Applied, None, "old") }], false);
    showroom.journal = Err("the database is away".to_owned());
    let page = showroom.page("/stores/acme").await.body;
    assert!(page.contains("Older events can't be had now: the database is away"), "{page}");
    let json = showroom.get("/api/v1/stores/acme/events").await.json();
    assert_eq!(json["incomplete"], "the database is away");
}

#[tokio::test]
async fn where_several_replicas_write_one_journal_it_is_asked_first_and_memory_when_it_is_away() {
    let event = |words: &str| Event::new(NOW, EventKind::Applied, Some("acme".parse().unwrap()), words);
    let mut shared = Showroom::new();
    shared.journal_first = true;
    shared.history.push(event("what this one saw"));
    shared.journal = Ok(vec![event("what another one did")]);
    let page = shared.page("/stores/acme").await.body;
    assert!(page.contains("what another one did") && !page.contains("what this one saw"), "{page}");
    let mut away = Showroom::new();
    away.journal_first = true;
    away.history.push(event("what this one saw"));
    away.journal = Err("the database is away".to_owned());
    let json = away.get("/api/v1/stores/acme/events").await.json();
    let told = (&json["events"][0]["words"], &json["incomplete"]);
    assert_eq!(told, (&"what this one saw".into(), &"the database is away".into()));
}

#[tokio::test]
async fn what_nobody_knows_is_not_found_and_says_where_to_look() {
    for path in ["/commits/0000000", "/stores/none", "/stores/UPPER", "/stores/none?revision=1"] {
        let page = showroom("x").page(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.body.contains("Nothing is here") && page.body.contains("All stores"), "{}", page.body);
        let problem = showroom("x").get(path).await;
        assert_eq!(problem.header("content-type"), "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn no_text_becomes_markup() {
    let store = format!("/stores/acme?revision={REVISION}");
    for path in [&format!("/commits/{REVISION}"), "/commits", &store, "/stores/acme", "/"] {
        let (hostile, harmless) =
            (showroom(HOSTILE).page(path).await.body, showroom("harmless").page(path).await.body);
        assert!(!hostile.contains("<script>"), "{path}");
        for character in ['<', '>', '"', '\''] {
            assert_eq!(
                count(&hostile, character),
                count(&harmless, character),
                "{path}: a text added a {character}"
            );
        }
    }
}

#[tokio::test]
async fn terminal_colours_and_turned_writing_are_shown_as_what_they_are() {
    let page = showroom("\u{1b}[31mred\u{202e}gpj.exe").page("/stores/acme").await.body;
    assert!(page.contains("\u{fffd}[31mred\u{fffd}gpj.exe"), "{page}");
    assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'));
}

#[tokio::test]
async fn editing_and_deleting_lead_to_the_forge() {
    let page = showroom("so").page("/stores/acme").await.body;
    let forge = "https://forge.example/acme/stores";
    for link in [
        format!("{forge}/_edit/main/stores/acme.yaml"),
        format!("{forge}/_delete/main/stores/acme.yaml"),
        format!("{forge}/commit/{REVISION}"),
        format!("{forge}/pulls/7"),
        "https://acme.example.com/app".to_owned(),
    ] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link}: {page}");
    }
    let mut without = showroom("so");
    without.links = None;
    let page = without.page("/stores/acme").await.body;
    assert!(!page.contains("forge.example") && page.contains("data-copy=\"stores/acme.yaml\""), "{page}");
}
