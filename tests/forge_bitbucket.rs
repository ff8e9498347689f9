//! Bitbucket Cloud: build statuses, pull requests, comments and reports.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use fake_bitbucket::{ALICE, Bitbucket, ME, Pull, refusal};
use fake_forge::{Desk, Fault, HEAD, MAIN, TOKEN, note, status};
use serde_json::json;
use storekeeper::forge::{self, Annotated, Forge, ForgeError, ForgeKind};
use storekeeper::report::CommitState::{Failure, Pending, Success};
use storekeeper::report::CommitStatus;

#[path = "common/fake_bitbucket.rs"]
mod fake_bitbucket;
#[path = "common/fake_forge.rs"]
mod fake_forge;

const MARKER: &str = "<!-- storekeeper:plan -->";
const HIDDEN: &str = "[//]: # (storekeeper:plan)";

fn start() -> (Bitbucket, Desk, Forge) {
    let (bitbucket, desk) = (Bitbucket::start(), Desk::new());
    let forge = desk.forge(ForgeKind::Bitbucket, &bitbucket.server.url(), "acme/stores");
    (bitbucket, desk, forge)
}

#[tokio::test]
async fn a_status_has_one_key_for_each_context_and_is_overwritten() {
    let (bitbucket, _desk, forge) = start();
    let long = format!("storekeeper/{}", "a".repeat(57));
    for (context, state) in
        [("storekeeper/acme", Pending), ("storekeeper/acme", Success), (&long, Pending), (&long, Failure)]
    {
        forge.set_status(HEAD, &status(context, state, "applying")).await.unwrap();
    }
    let statuses = bitbucket.state().statuses.clone();
    assert_eq!(statuses.len(), 2);
    assert_eq!(
        statuses[&(HEAD.to_owned(), "storekeeper/acme".to_owned())],
        json!({ "key": "storekeeper/acme", "name": "storekeeper/acme", "state": "SUCCESSFUL",
            "description": "applying", "url": "https://shops.example/stores/acme" })
    );
    let other = statuses.iter().find(|((_, key), _)| key != "storekeeper/acme").unwrap();
    assert_eq!((&other.1["name"], &other.1["state"]), (&json!(long), &json!("FAILED")));
}

#[tokio::test]
async fn a_status_without_a_page_leads_to_its_commit_and_braces_mean_nothing() {
    let (bitbucket, _desk, forge) = start();
    let sent = |context: &str| {
        let state = bitbucket.state();
        state.statuses[&(HEAD.to_owned(), context.to_owned())]["url"].as_str().unwrap().to_owned()
    };
    forge.set_status(HEAD, &CommitStatus::new("a", Success, "", None)).await.unwrap();
    assert_eq!(sent("a"), format!("{}/acme/stores/commits/{HEAD}", bitbucket.server.url()));
    let template = Some("https://shops.example/{repository.full_name}");
    forge.set_status(HEAD, &CommitStatus::new("b", Success, "", template)).await.unwrap();
    assert_eq!(sent("b"), "https://shops.example/%7Brepository.full_name%7D");
}

#[tokio::test]
async fn a_status_whose_answer_was_lost_is_the_same_when_it_is_set_again() {
    let (bitbucket, _desk, forge) = start();
    bitbucket.server.fault("POST", "/statuses/build", Fault::LoseAnswer);
    forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap_err();
    forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap();
    assert_eq!(bitbucket.state().statuses.len(), 1);
    let error = forge.set_status(&"dead".repeat(10), &status("x", Success, "")).await.unwrap_err();
    assert!(error.to_string().ends_with("the forge refuses it (404): Commit not found"), "{error}");
}

#[tokio::test]
async fn open_pull_requests_come_newest_first_with_their_heads_in_full() {
    let (bitbucket, _desk, forge) = start();
    bitbucket.state().pulls = (1..=120).map(Pull::new).collect();
    bitbucket.state().pulls[0].state = "MERGED";
    bitbucket.state().pulls[1].base = "next".to_owned();
    bitbucket.state().pulls[119].head = MAIN.to_owned();
    let pulls = forge.open_pulls("main").await.unwrap();
    let numbers: Vec<_> = pulls.iter().map(|pull| pull.number).collect();
    assert_eq!(numbers, (3..=120).rev().collect::<Vec<_>>());
    assert_eq!((pulls[0].head.as_str(), pulls[1].head.as_str()), (MAIN, HEAD));
    // Three pages, and one look-up for each head that was not known.
    assert_eq!(bitbucket.server.calls().len(), 5);
    forge.open_pulls("main").await.unwrap();
    assert_eq!(bitbucket.server.calls().len(), 3, "heads are remembered");
}

#[tokio::test]
async fn a_next_page_on_another_host_is_not_asked_for() {
    let (bitbucket, _desk, forge) = start();
    bitbucket.state().pulls = (1..=60).map(Pull::new).collect();
    bitbucket.state().links = Some("https://elsewhere.example".to_owned());
    let error = forge.open_pulls("main").await.unwrap_err();
    assert!(
        matches!(error, ForgeError::Unavailable { .. }) && error.to_string().contains("another host"),
        "{error}"
    );
}

#[tokio::test]
async fn a_pull_request_says_what_is_needed_to_fetch_and_judge_it() {
    let (bitbucket, _desk, forge) = start();
    let fork = Pull { repository: Some("{other}"), ..Pull::new(8) };
    let gone = Pull { repository: None, ..Pull::new(9) };
    let closed = Pull { state: "DECLINED", ..Pull::new(10) };
    let hostile = Pull { branch: "main:refs/heads/x".to_owned(), ..Pull::new(11) };
    bitbucket.state().pulls.extend([fork, gone, closed, hostile]);
    let expected = forge::Pull {
        number: 7,
        head: HEAD.to_owned(),
        base: "main".to_owned(),
        reference: Some("refs/heads/change".to_owned()),
        author: "alice".to_owned(),
        fork: false,
        title: "Pull request 7".to_owned(),
        url: "https://bitbucket.org/acme/stores/pull-requests/7".to_owned(),
    };
    assert_eq!(forge.pull(7).await.unwrap(), Some(expected));
    let fork = forge.pull(8).await.unwrap().unwrap();
    assert_eq!((fork.fork, fork.reference), (true, None));
    for number in [9, 10, 12] {
        assert_eq!(forge.pull(number).await.unwrap(), None, "{number}");
    }
    assert_eq!(forge.pull(11).await.unwrap().unwrap().reference, None);
}

#[tokio::test]
async fn only_who_may_push_may_write() {
    let (bitbucket, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    assert!(!forge.may_write(&pull).await.unwrap(), "nobody knows them");
    for (permission, may) in [("read", false), ("write", true), ("admin", true)] {
        bitbucket.state().permissions.insert(ALICE.to_owned(), permission);
        assert_eq!(forge.may_write(&pull).await.unwrap(), may, "{permission}");
    }
    bitbucket.state().pulls[0].author = Some("{x\" OR permission=\"admin}");
    bitbucket.server.calls();
    assert!(!forge.may_write(&pull).await.unwrap());
    assert_eq!(bitbucket.server.calls().len(), 1, "what is no id is not asked for");
    bitbucket.state().pulls[0].author = None;
    assert!(!forge.may_write(&pull).await.unwrap());
}

#[tokio::test]
async fn one_comment_is_made_edited_and_left_alone() {
    let (bitbucket, _desk, forge) = start();
    for _ in 0..105 {
        bitbucket.state().comment(ALICE, "me too");
    }
    bitbucket.state().comment(ALICE, &format!("{HIDDEN}\n\na stranger's"));
    bitbucket.state().comment(ME, &format!("{HIDDEN}\n\ndeleted"));
    bitbucket.state().comments.last_mut().unwrap().deleted = true;
    bitbucket.server.fault("POST", "/comments", Fault::LoseAnswer);
    forge.put_comment(7, MARKER, "two stores").await.unwrap_err();
    bitbucket.server.calls();
    forge.put_comment(7, MARKER, "two stores").await.unwrap();
    assert_eq!(bitbucket.server.changes(), [""; 0], "the lost one was made");
    forge.put_comment(7, MARKER, "three stores").await.unwrap();
    assert_eq!(bitbucket.state().comments.len(), 108);
    assert_eq!(bitbucket.state().bodies()[107], "[//]: # (storekeeper:plan)\n\nthree stores");
}

#[tokio::test]
async fn a_token_that_may_not_ask_who_it_is_finds_its_comment_by_being_let_edit_it() {
    let (bitbucket, _desk, forge) = start();
    bitbucket.state().is_access_token = true;
    bitbucket.state().comment(ALICE, &format!("{HIDDEN}\n\na stranger's"));
    for text in ["one", "two", "two"] {
        forge.put_comment(7, MARKER, text).await.unwrap();
    }
    let state = bitbucket.state();
    assert_eq!(state.bodies(), [&format!("{HIDDEN}\n\na stranger's"), &format!("{HIDDEN}\n\ntwo")]);
}

#[tokio::test]
async fn annotations_become_a_report_in_batches_of_a_hundred() {
    let (bitbucket, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes: Vec<_> = (1..=230).map(|line| note("stores/acme.yaml", line, &"wrong ".repeat(100))).collect();
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 230, left_out: 0, changed: true });
    let (report, annotations) = bitbucket.state().reports[HEAD].clone();
    assert_eq!((report["result"].as_str(), annotations.len()), (Some("FAILED"), 230));
    let last = annotations.values().find(|annotation| annotation["line"] == 230).unwrap();
    assert_eq!((last["path"].as_str(), last["result"].as_str()), (Some("stores/acme.yaml"), Some("FAILED")));
    bitbucket.server.calls();
    let again = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(again, Annotated { shown: 230, left_out: 0, changed: false });
    assert_eq!(bitbucket.server.calls().len(), 1);
}

#[tokio::test]
async fn a_report_that_broke_off_is_completed() {
    let (bitbucket, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes: Vec<_> = (1..=230).map(|line| note("stores/acme.yaml", line, "wrong")).collect();
    for (method, fault) in [
        ("PUT", Fault::LoseAnswer),
        ("POST", Fault::LoseAnswer),
        ("POST", Fault::Instead(refusal(503, "down"))),
    ] {
        bitbucket.server.fault(method, "/reports/", fault);
        forge.annotate(&pull, &notes).await.unwrap_err();
        assert_eq!(bitbucket.state().reports[HEAD].0["result"], "PENDING");
    }
    forge.annotate(&pull, &notes).await.unwrap();
    let (report, annotations) = bitbucket.state().reports[HEAD].clone();
    assert_eq!((report["result"].as_str(), annotations.len()), (Some("FAILED"), 230));
}

#[tokio::test]
async fn other_annotations_replace_the_report_and_none_remove_it() {
    let (bitbucket, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    assert_eq!(forge.annotate(&pull, &[]).await.unwrap(), Annotated::default());
    forge
        .annotate(&pull, &[note("stores/acme.yaml", 1, "one"), note("stores/acme.yaml", 2, "two")])
        .await
        .unwrap();
    forge.annotate(&pull, &[note("stores/acme.yaml", 2, "two")]).await.unwrap();
    let lines: Vec<_> =
        bitbucket.state().reports[HEAD].1.values().map(|found| found["line"].clone()).collect();
    assert_eq!(lines, [json!(2)]);
    assert!(forge.annotate(&pull, &[]).await.unwrap().changed);
    assert!(bitbucket.state().reports.is_empty());
    let many: Vec<_> = (1..=1_100).map(|line| note("stores/acme.yaml", line, "wrong")).collect();
    let annotated = forge.annotate(&pull, &many).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 1_000, left_out: 100, changed: true });
}

#[tokio::test]
async fn a_token_with_its_user_logs_in_as_both_and_neither_is_printed() {
    let (bitbucket, desk, forge) = start();
    desk.set_token(&format!("me@example.com:{TOKEN}"));
    forge.set_status(HEAD, &status("x", Success, "")).await.unwrap();
    let echo = refusal(401, &format!("{TOKEN} is no password"));
    bitbucket.server.fault("POST", "/statuses/build", Fault::Instead(echo));
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    let printed = format!("{error} {error:?} {forge:?}");
    assert!(printed.contains("… is no password") && !printed.contains(TOKEN), "{printed}");
    desk.set_token("another");
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::LoginRefused { status: 401, .. }), "{error}");
}
