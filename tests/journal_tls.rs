//! The journal over TLS: to the database that was meant, and to no other.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;

use std::sync::Arc;

use common::postgres::{PASSWORD, Postgres};
use git_server::Identity;
use storekeeper::journal::{Bundle, Journal, Keep, Place, PostgresUrl};
use storekeeper::report::{Event, EventKind};

/// Opens the journal at an URL and writes an event.
async fn write(url: &str) -> Result<Journal, String> {
    let journal = Journal::new(Place::Postgres(PostgresUrl::new(url).unwrap()), Keep::default(), "test");
    journal.open().await.map_err(|error| error.to_string())?;
    let event = Event { id: 1, ..Event::new(7, EventKind::Applied, None, "x") };
    let bundle = Bundle { events: vec![Arc::new(event)], ..Bundle::default() };
    journal.write(&bundle, 7).await.map_err(|error| error.to_string())?;
    Ok(journal)
}

#[tokio::test]
async fn it_is_written_to_the_server_that_its_authority_vouches_for_and_to_no_other() {
    let Some(mut server) = Postgres::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let authority = Identity::new("Database CA", None, true, &[], 30);
    let (ca, stranger) = (folder.path().join("ca.pem"), folder.path().join("stranger.pem"));
    authority.write_pem(&ca);
    Identity::new("Another CA", None, true, &[], 30).write_pem(&stranger);
    let (ca, stranger) = (ca.display(), stranger.display());
    let mut demand = |names: &[&str]| {
        let identity = Identity::new("database", Some(&authority), false, names, 30);
        let key = identity.key.private_key_to_pem_pkcs8().unwrap();
        server.demand_tls(&identity.certificate.to_pem().unwrap(), &key);
        server.database()
    };

    let url = demand(&["127.0.0.1"]);
    let refused = [
        "sslmode=disable".to_owned(),
        // The system's authorities do not know it.
        "sslmode=verify-full".to_owned(),
        format!("sslmode=verify-full&sslrootcert={stranger}"),
        format!("sslmode=verify-ca&sslrootcert={stranger}"),
    ];
    for mode in &refused {
        let error = write(&format!("{url}?{mode}")).await.unwrap_err();
        assert!(!error.contains(PASSWORD), "{mode}: {error}");
    }
    let mut journals = Vec::new();
    for mode in ["sslmode=require".to_owned(), format!("sslmode=verify-full&sslrootcert={ca}")] {
        journals
            .push(write(&format!("{url}?{mode}")).await.unwrap_or_else(|error| panic!("{mode}: {error}")));
    }
    assert_eq!(journals[1].verify(None).await.unwrap().events, 1, "the same event is written once");

    // The same authority, for a database elsewhere.
    let url = demand(&["db.example.com"]);
    let error = write(&format!("{url}?sslmode=verify-full&sslrootcert={ca}")).await.unwrap_err();
    assert!(!error.contains(PASSWORD), "{error}");
    write(&format!("{url}?sslmode=verify-ca&sslrootcert={ca}")).await.unwrap();
}
