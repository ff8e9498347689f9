//! The journal keeps what happened in SQLite and in PostgreSQL alike: in order, once, and so that edits show.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use common::postgres::{PASSWORD, Postgres};
use sqlx::{Connection as _, Executor as _};
use storekeeper::journal::{Bundle, Export, Journal, Keep, Letter, Place, PostgresUrl, Unposted};
use storekeeper::report::{
    Change, CommitHead, CommitReport, CommitState, Event, EventKind, EventsWanted, Origin, Step, StoreState,
    StoreVerdict,
};

const NOW: i64 = 1_800_000_000;

/// One of the two databases, empty.
struct Database {
    url: String,
    place: Place,
    _folder: tempfile::TempDir,
}

impl Database {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("journal.db");
        let url = format!("sqlite://{}", path.display());
        Self { url, place: Place::File(path), _folder: folder }
    }

    fn postgres(server: &Postgres) -> Self {
        let url = server.database();
        let place = Place::Postgres(PostgresUrl::new(&url).unwrap());
        Self { url, place, _folder: tempfile::tempdir().unwrap() }
    }

    async fn journal(&self, keep: Keep) -> Journal {
        let journal = Journal::new(self.place.clone(), keep, "test");
        journal.open().await.unwrap();
        journal
    }

    /// Does what nobody should do.
    async fn tamper(&self, statement: &'static str) {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&self.url).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// Runs a test on both databases.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Database) -> F) {
    test(Database::sqlite()).await;
    if let Some(server) = Postgres::start() {
        test(Database::postgres(&server)).await;
    }
}

fn event(id: i64, store: &str, kind: EventKind, words: &str) -> Arc<Event> {
    let store = (!store.is_empty()).then(|| store.parse().unwrap());
    Arc::new(Event { id, ..Event::new(NOW + id, kind, store, words) })
}

fn happened(events: Vec<Arc<Event>>) -> Bundle {
    Bundle { events, ..Bundle::default() }
}

fn ids(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.id).collect()
}

#[tokio::test]
async fn what_is_written_is_read_as_it_was_and_a_second_try_writes_nothing_twice() {
    on_both(|database| async move {
        let journal = database.journal(Keep::default()).await;
        let full = Event {
            id: 3,
            at: NOW,
            kind: EventKind::StateEntered,
            store: Some("acme".parse().unwrap()),
            change: Some(Change::Changed),
            state: Some(StoreState::Failed),
            step: Some(Step::Database),
            took_ms: Some(u64::from(u32::MAX)),
            origin: Some(Origin {
                revision: "1a2b".to_owned(),
                author: "Ånn 'the\0 \"one\"".to_owned(),
                signer: Some("ann@example.com".to_owned()),
                pull: Some(12),
            }),
            words: "it's \u{1b}[31m broken; DROP TABLE events".to_owned(),
        };
        let first = happened(vec![event(1, "", EventKind::CommitFollowed, "one"), Arc::new(full.clone())]);
        journal.write(&first, NOW).await.unwrap();
        journal.write(&first, NOW).await.unwrap();
        let more = happened(vec![
            Arc::new(full.clone()),
            event(4, "bold", EventKind::Applied, "two"),
            event(5, "acme", EventKind::Applied, "three"),
        ]);
        journal.write(&more, NOW).await.unwrap();
        let (all, is_all) = journal.newest(10).await.unwrap();
        assert_eq!((ids(&all), is_all, &all[1]), (vec![1, 3, 4, 5], true, &full));
        let (newest, is_all) = journal.newest(3).await.unwrap();
        assert_eq!((ids(&newest), is_all), (vec![3, 4, 5], false));
        let wanted = |store: Option<&str>, before| EventsWanted {
            store: store.map(|store| store.parse().unwrap()),
            before,
            most: 2,
        };
        assert_eq!(ids(&journal.events(&wanted(None, None)).await.unwrap()), [5, 4]);
        assert_eq!(ids(&journal.events(&wanted(Some("acme"), Some(5))).await.unwrap()), [3]);
        assert_eq!(ids(&(journal.reader())(wanted(Some("acme"), None)).await.unwrap()), [5, 3]);
        let kinds = [EventKind::Applied, EventKind::StateEntered];
        assert_eq!(ids(&journal.events_of(&kinds, NOW + 1).await.unwrap()), [4, 5]);
        assert_eq!(ids(&journal.newest_by_store(&kinds).await.unwrap()), [4, 5]);
        assert_eq!(ids(&journal.newest_of_fleet(&[EventKind::CommitFollowed]).await.unwrap()), [1]);
        assert_eq!(journal.verify(None).await.unwrap().events, 4);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_events_at_once_make_one_chain() {
    on_both(|database| async move {
        let journal = database.journal(Keep::default()).await;
        let events: Vec<_> = (1..=1234).map(|id| event(id, "acme", EventKind::Applied, "x")).collect();
        for bundle in [&events[..1017], &events[1000..]] {
            journal.write(&happened(bundle.to_vec()), NOW).await.unwrap();
        }
        let verified = journal.verify(None).await.unwrap();
        assert_eq!((verified.events, verified.head.position, verified.broken), (1234, 1234, None));
        assert_eq!(journal.head().await.unwrap(), (verified.head, 1234));
    })
    .await;
}

#[tokio::test]
async fn what_somebody_changes_removes_adds_or_moves_shows_at_the_first_event_that_does_not_fit() {
    let tampering = [
        ("UPDATE events SET content = REPLACE(content, 'number 5', 'number 6') WHERE position = 5", Some(5)),
        ("UPDATE events SET store = 'other' WHERE position = 5", Some(5)),
        ("UPDATE events SET at = at + 1 WHERE position = 5", Some(5)),
        ("UPDATE events SET kind = 'deleted' WHERE position = 5", Some(5)),
        ("DELETE FROM events WHERE position = 5", Some(6)),
        ("DELETE FROM events WHERE position = 1", Some(2)),
        (
            "UPDATE events SET position = -5 WHERE position = 5; \
             UPDATE events SET position = 5 WHERE position = 6; \
             UPDATE events SET position = 6 WHERE position = -5",
            Some(5),
        ),
        (
            "DELETE FROM events WHERE position = 5; \
             UPDATE events SET position = -position WHERE position > 5; \
             UPDATE events SET position = -position - 1 WHERE position < 0",
            Some(5),
        ),
        (
            "INSERT INTO events (position, id, at, store, kind, content, hash) \
             SELECT 11, 11, at, store, kind, content, hash FROM events WHERE position = 10",
            Some(11),
        ),
        // What only a hash that was noted elsewhere shows.
        ("DELETE FROM events WHERE position = 10", None),
    ];
    for (statement, first) in tampering {
        on_both(|database| async move {
            let journal = database.journal(Keep::default()).await;
            let events = (1..=10).map(|id| event(id, "acme", EventKind::Applied, &format!("number {id}")));
            journal.write(&happened(events.collect()), NOW).await.unwrap();
            let (head, _) = journal.head().await.unwrap();
            assert_eq!(journal.verify(Some(&head.hash)).await.unwrap().holds, Some(true));
            database.tamper(statement).await;
            let verified = journal.verify(Some(&head.hash)).await.unwrap();
            let broken = verified.broken.clone();
            assert_eq!(broken.map(|broken| broken.position), first, "{statement}: {verified:?}");
            assert_eq!(verified.holds, Some(first == Some(11)), "{statement}");
        })
        .await;
    }
}

#[tokio::test]
async fn retention_removes_the_oldest_and_the_rest_still_verifies() {
    on_both(|database| async move {
        let journal = database.journal(Keep { days: 1, events: 6 }).await;
        let events: Vec<_> = (1..=10).map(|id| event(id, "acme", EventKind::Applied, "x")).collect();
        journal.write(&happened(events), NOW).await.unwrap();
        let trim = |now| Bundle { sample: Some((now, BTreeMap::new())), ..Bundle::default() };
        journal.write(&trim(NOW), NOW).await.unwrap();
        let verified = journal.verify(None).await.unwrap();
        assert_eq!((verified.events, verified.removed), (6, Some((4, NOW + 4))));
        assert_eq!(verified.broken, None);
        // A day and eight seconds later.
        journal.write(&trim(NOW), NOW + 24 * 3600 + 8).await.unwrap();
        assert_eq!(ids(&journal.newest(10).await.unwrap().0), [8, 9, 10]);
        journal.write(&trim(NOW), NOW + 99 * 24 * 3600).await.unwrap();
        journal.write(&happened(vec![event(11, "acme", EventKind::Applied, "x")]), NOW).await.unwrap();
        let verified = journal.verify(None).await.unwrap();
        assert_eq!(
            (verified.events, verified.head.position, verified.broken),
            (1, 11, None),
            "it goes on where it was"
        );
        database.tamper("DELETE FROM anchor").await;
        assert_eq!(journal.verify(None).await.unwrap().broken.unwrap().position, 11);
    })
    .await;
}

#[tokio::test]
async fn an_export_goes_page_by_page_and_by_store_and_time() {
    on_both(|database| async move {
        let journal = database.journal(Keep::default()).await;
        let events =
            (1..=9).map(|id| event(id, if id % 2 == 0 { "even" } else { "odd" }, EventKind::Applied, "x"));
        journal.write(&happened(events.collect()), NOW).await.unwrap();
        let export = Export { store: Some("odd".to_owned()), since: Some(NOW + 2), until: Some(NOW + 8) };
        let (first, last) = journal.export(&export, 0, 2).await.unwrap().unwrap();
        assert_eq!((ids(&first), last), (vec![3, 5], 5));
        let (second, last) = journal.export(&export, last, 2).await.unwrap().unwrap();
        assert_eq!(ids(&second), [7]);
        assert_eq!(journal.export(&export, last, 2).await.unwrap(), None);
        assert_eq!(journal.export(&Export::default(), 0, 99).await.unwrap().unwrap().0.len(), 9);
    })
    .await;
}

#[tokio::test]
async fn samples_are_kept_for_35_days() {
    on_both(|database| async move {
        let journal = database.journal(Keep::default()).await;
        let stores = BTreeMap::from([(StoreState::Ready, 7), (StoreState::Failed, 0)]);
        for at in [NOW, NOW + 900, NOW + 900] {
            let sample = Bundle { sample: Some((at, stores.clone())), ..Bundle::default() };
            journal.write(&sample, at).await.unwrap();
        }
        let samples = journal.samples(NOW).await.unwrap();
        assert_eq!(samples.iter().map(|sample| sample.at).collect::<Vec<_>>(), [NOW, NOW + 900]);
        assert_eq!(samples[1].stores, stores);
        let later = NOW + 35 * 24 * 3600 + 1;
        let sample = Bundle { sample: Some((later, stores)), ..Bundle::default() };
        journal.write(&sample, later).await.unwrap();
        assert_eq!(journal.samples(0).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn commits_plans_and_letters_are_kept_alike() {
    on_both(|database| async move {
        let journal = database.journal(Keep::default()).await;
        let verdict = StoreVerdict {
            change: Change::Added,
            state: CommitState::Pending,
            reason: "a\0b".to_owned(),
            since: 7,
        };
        let head = CommitHead { revision: "1a2b".to_owned(), ..CommitHead::default() };
        let stores = BTreeMap::from([("acme".parse().unwrap(), verdict)]);
        let note = CommitReport::new(head, NOW, None, stores);
        let letter = Letter { name: "status".to_owned(), content: "pending".to_owned(), since: NOW };
        assert_eq!(journal.post(std::slice::from_ref(&letter)).await.unwrap(), [true]);
        let told = Unposted { sent: Some("pending".to_owned()), ..Unposted::default() };
        let bundle = Bundle {
            notes: vec![note],
            plans: BTreeMap::from([("1a2b".to_owned(), (NOW, "{}".to_owned()))]),
            letters: BTreeMap::from([("status".to_owned(), told)]),
            ..Bundle::default()
        };
        journal.write(&bundle, NOW).await.unwrap();
        journal.write(&bundle, NOW).await.unwrap();
        let commits = journal.commits(9).await.unwrap();
        assert_eq!((commits.len(), commits[0].stores.values().next().unwrap().reason.as_str()), (1, "ab"));
        assert_eq!(
            (commits[0].refused.clone(), journal.plans(9).await.unwrap()),
            (None, vec!["{}".to_owned()])
        );
        assert_eq!(journal.unsent().await.unwrap(), []);
        assert_eq!(
            journal.post(&[letter]).await.unwrap(),
            [false],
            "it was told that while the journal was away"
        );
    })
    .await;
}

#[tokio::test]
async fn a_password_is_in_no_message() {
    let mut messages = Vec::new();
    let Some(mut server) = Postgres::start() else { return };
    let url = server.database();
    for wrong in [
        url.replace("hunter2", "wrong-hunter2"),
        url.replace("/journal", "/nothing"),
        url.clone() + "?sslmode=require",
        url.clone() + "?sslrootcert=/nowhere&sslmode=verify-full",
    ] {
        let journal =
            Journal::new(Place::Postgres(PostgresUrl::new(&wrong).unwrap()), Keep::default(), "test");
        let error = journal.open().await.unwrap_err();
        messages.push(format!("{error} {error:?} {journal:?}"));
    }
    server.stop();
    let journal = Journal::new(Place::Postgres(PostgresUrl::new(&url).unwrap()), Keep::default(), "test");
    let error = journal.open().await.unwrap_err();
    messages.push(format!("{error} {error:?} {}", journal.plans(1).await.unwrap_err()));
    for message in messages {
        assert!(!message.contains("hunter2") && !message.contains(PASSWORD), "{message}");
    }
}
