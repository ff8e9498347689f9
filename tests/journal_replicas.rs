//! Several replicas write one PostgreSQL journal: nothing is lost, nothing is written twice, and there is one chain.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::postgres::Postgres;
use common::until;
use sqlx::{Connection as _, Executor as _};
use storekeeper::journal::{Bundle, Journal, Keep, Letter, Place, PostgresUrl};
use storekeeper::report::{CommitHead, CommitReport, Event, EventKind, EventsWanted};

const NOW: i64 = 1_800_000_000;

fn journal(url: &str, writer: &str) -> Journal {
    Journal::new(Place::Postgres(PostgresUrl::new(url).unwrap()), Keep::default(), writer)
}

/// What a writer tells in one go: all in one second, so that each gives the same numbers to what happened.
fn bundle(writer: &str, number: i64) -> Bundle {
    let event = |place| {
        let words = format!("{writer} {number} {place}");
        let id = NOW * 1_000_000 + number * 10 + place;
        Arc::new(Event { id, ..Event::new(NOW, EventKind::Applied, Some("acme".parse().unwrap()), words) })
    };
    let head = CommitHead { revision: format!("{writer}{number}"), ..CommitHead::default() };
    let notes = vec![CommitReport::new(head, NOW, None, BTreeMap::new())];
    Bundle { events: (0..3).map(event).collect(), notes, ..Bundle::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_that_begin_at_once_and_write_at_once_make_one_chain_without_a_gap() {
    const BUNDLES: i64 = 60;
    let Some(server) = Postgres::start() else { return };
    let url = server.database();
    let writing = ["a", "b", "c"].map(|writer| {
        let journal = journal(&url, writer);
        tokio::spawn(async move {
            journal.open().await.unwrap();
            for number in 0..BUNDLES {
                let bundle = bundle(writer, number);
                journal.write(&bundle, NOW).await.unwrap();
                if number % 7 == 0 {
                    // A try whose answer was lost is made again.
                    journal.write(&bundle, NOW).await.unwrap();
                }
                let letter =
                    Letter { name: "status".to_owned(), content: format!("{writer}{number}"), since: NOW };
                journal.post(&[letter]).await.unwrap();
            }
        })
    });
    for writer in writing {
        writer.await.unwrap();
    }
    let reader = journal(&url, "");
    reader.open_to_read().await.unwrap();
    let verified = reader.verify(None).await.unwrap();
    let all = 3 * 3 * BUNDLES;
    assert_eq!(verified.broken, None);
    assert_eq!((i64::try_from(verified.events).unwrap(), verified.head.position), (all, all));
    let (events, _) = reader.newest(10_000).await.unwrap();
    let words: BTreeSet<_> = events.iter().map(|event| event.words.as_str()).collect();
    assert_eq!(i64::try_from(words.len()).unwrap(), all, "each is there once");
    assert!(events.is_sorted_by(|one, next| one.id < next.id), "numbers grow");
    for writer in ["a", "b", "c"] {
        let own = events.iter().filter(|event| event.words.starts_with(writer));
        let told: Vec<_> = (0..BUNDLES).flat_map(|number| bundle(writer, number).events).collect();
        assert!(own.map(|event| &event.words).eq(told.iter().map(|event| &event.words)), "{writer}'s order");
    }
    assert_eq!(i64::try_from(reader.commits(1_000).await.unwrap().len()).unwrap(), 3 * BUNDLES);
    // Pages go back through all of them by their numbers, whoever wrote them.
    let (mut before, mut seen) = (None, 0);
    loop {
        let page = reader.events(&EventsWanted { store: None, before, most: 100 }).await.unwrap();
        let Some(last) = page.last() else { break };
        (before, seen) = (Some(last.id), seen + page.len());
    }
    assert_eq!(i64::try_from(seen).unwrap(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_waits_for_its_turn() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database();
    let journal = journal(&url, "a");
    journal.open().await.unwrap();
    let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
    other.execute("BEGIN; SELECT pg_advisory_xact_lock('events'::REGCLASS::OID::BIGINT)").await.unwrap();
    let written = tokio::spawn({
        let journal = journal.clone();
        async move { journal.write(&bundle("a", 0), NOW).await }
    });
    let waits = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    until("it waits", || (server.psql(url.rsplit('/').next().unwrap(), waits).unwrap() == "1").then_some(()));
    assert_eq!(journal.verify(None).await.unwrap().events, 0, "whoever reads waits for nobody");
    other.execute("ROLLBACK").await.unwrap();
    written.await.unwrap().unwrap();
    assert_eq!(journal.verify(None).await.unwrap().events, 3);
}

#[tokio::test]
async fn what_another_replica_has_told_a_forge_or_wants_otherwise_is_overtaken() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database();
    let [a, b] = ["a", "b"].map(|writer| journal(&url, writer));
    a.open().await.unwrap();
    b.open().await.unwrap();
    let letter =
        |content: &str| Letter { name: "status".to_owned(), content: content.to_owned(), since: NOW };
    a.post(&[letter("pending")]).await.unwrap();
    assert!(!b.is_overtaken("status", "pending").await.unwrap());
    assert!(!b.is_overtaken("unknown", "pending").await.unwrap(), "nobody else knows of it");
    b.post(&[letter("success")]).await.unwrap();
    assert!(a.is_overtaken("status", "pending").await.unwrap(), "something newer is wanted");
    a.sent("status", "success", NOW).await.unwrap();
    assert!(b.is_overtaken("status", "success").await.unwrap(), "it was told");
}
