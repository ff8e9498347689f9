//! The journal: what happened, what was seen of git, what became of it, and what forges are still to be told, in an SQLite
//! database of the state folder or in PostgreSQL. It is for people and for the daemon's next start; no run over a store reads
//! it, and nothing waits for it. Losing it loses history and no store.
//!
//! - `place`: where it is
//! - `events`: what happened, and how many stores were in which state
//! - `chain`: the hashes that show when somebody changed that
//! - `commits`: commits with their verdicts, store by store
//! - `outbox`: what a forge shall show and what it was told
//! - `plans`: what pull requests would do
//! - `bundle`: all of these written at once

mod bundle;
mod chain;
mod commits;
mod events;
mod outbox;
mod place;
mod plans;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, ConnectOptions, Connection, Executor, SqlStr, Transaction};

pub use bundle::Bundle;
pub use chain::{Break, Head, Verified};
pub use events::{Export, Keep};
pub use outbox::{Letter, Unposted};
pub use place::{Place, PlaceError, PostgresUrl};

/// What the tables are made by, from the oldest to the newest. None is ever edited. One set for both databases.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "commits and outbox", include_str!("migrations/1_commits_and_outbox.sql")),
    (2, "events and samples", include_str!("migrations/2_events_and_samples.sql")),
    (3, "writers", include_str!("migrations/3_writers.sql")),
];

/// For SQLite: a crash of the process loses nothing; one of the machine at most the last moments. Two seconds for somebody else
/// who writes.
const SETTINGS: &str = "PRAGMA busy_timeout = 2000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                        PRAGMA foreign_keys = ON; PRAGMA cache_size = -512;";

/// The same for whoever only reads.
const READING: &str = "PRAGMA busy_timeout = 2000; PRAGMA query_only = ON; PRAGMA cache_size = -512;";

/// For PostgreSQL, at the beginning of each transaction that writes: one replica writes at a time, for positions, numbers and
/// hashes follow from what is there. The lock goes with the transaction, and one whose process is paused in the middle is
/// ended after a while. Not a lock of the table: autovacuum would give way to it each time.
const TURN: &str = "SELECT CAST(1 AS BIGINT) AS one FROM \
                    set_config('idle_in_transaction_session_timeout', '15s', true), \
                    pg_advisory_xact_lock(CAST(CAST('events' AS REGCLASS) AS OID)::BIGINT)";

/// How long one conversation with the database may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long reading or writing a lot may take.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

/// How many connections there are at most: one writes.
const CONNECTIONS: u32 = 3;

/// The journal can't be read or written; fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder or the file is in the way.
    #[error("open the journal in {place}: {source}")]
    Storage {
        /// The file.
        place: Place,
        /// What the system says.
        source: std::io::Error,
    },
    /// The database refuses.
    #[error("{act}: {source}")]
    Database {
        /// What was tried.
        act: &'static str,
        /// What the database says.
        source: Box<sqlx::Error>,
    },
    /// What was written down can't be understood.
    #[error("{act}: {reason}")]
    Content {
        /// What was tried.
        act: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The database does not answer in time.
    #[error("{act}: the database did not answer within {seconds} s")]
    TooLong {
        /// What was tried.
        act: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// It could not be used the last time, and is tried again by who writes it.
    #[error(
        "reach the journal in {place}: it could not be used lately and is tried again every now and then"
    )]
    Away {
        /// Where it is.
        place: Place,
    },
}

/// A journal, open or not. Cloned handles share it.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    keep: Keep,
    /// The name of this process among those that write.
    writer: String,
    pool: RwLock<Option<AnyPool>>,
    /// Held by whoever writes: SQLite has one writer, and the chain of events one end.
    writing: tokio::sync::Mutex<()>,
    /// Whether the file turned out to be damaged, so that it is set aside when it is opened next.
    is_damaged: AtomicBool,
}

impl Journal {
    /// Names a journal, which is not opened by that. `keep` says which events stay. `writer` is a name that no other process
    /// has that writes it, nor ever had.
    pub fn new(place: Place, keep: Keep, writer: &str) -> Self {
        let (pool, writing, is_damaged) = (RwLock::default(), tokio::sync::Mutex::default(), false.into());
        Self(Arc::new(Inner { place, keep, writer: writer.to_owned(), pool, writing, is_damaged }))
    }

    /// Whether others may write it too: other replicas, on other machines.
    pub fn may_be_shared(&self) -> bool {
        matches!(self.0.place, Place::Postgres(_))
    }

    /// Returns where it is.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// Opens the journal, and makes it when there is none. A file that is broken is set aside, with a line in the log, and
    /// begun anew: what it held is history, and nothing depends on it.
    pub async fn open(&self) -> Result<(), JournalError> {
        let _writing = self.0.writing.lock().await;
        self.open_for_writing().await
    }

    /// Opens a journal that is there, to read from it.
    pub async fn open_to_read(&self) -> Result<(), JournalError> {
        let pool = within_time("open the journal", PATIENCE, self.connect(false)).await??;
        *self.0.pool.write().unwrap_or_else(PoisonError::into_inner) = Some(pool);
        Ok(())
    }

    /// Whether it could be used the last time.
    pub fn is_open(&self) -> bool {
        self.0.pool.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Lets go of the database after it failed: whoever reads gets an error at once, until it is opened again.
    pub fn give_up(&self, why: &JournalError) {
        if why.is_broken() {
            self.0.is_damaged.store(true, Ordering::Relaxed);
        }
        let pool = self.0.pool.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pool) = pool {
            // Its connections may hang; nobody waits for them.
            tokio::spawn(async move { tokio::time::timeout(PATIENCE, pool.close()).await });
        }
    }

    async fn open_for_writing(&self) -> Result<(), JournalError> {
        if self.is_open() {
            return Ok(());
        }
        if let Place::File(path) = &self.0.place {
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder).map_err(|source| self.storage(source))?;
            if self.0.is_damaged.load(Ordering::Relaxed) {
                self.set_aside(path, "its pages are damaged")?;
            }
        }
        let opened = within_time("open the journal", PATIENCE, self.connect(true)).await?;
        let pool = match (opened, &self.0.place) {
            (Err(error), Place::File(path)) if error.is_broken() => {
                self.set_aside(path, &format!("failed to {error}"))?;
                within_time("open the journal", PATIENCE, self.connect(true)).await??
            }
            (opened, _) => opened?,
        };
        *self.0.pool.write().unwrap_or_else(PoisonError::into_inner) = Some(pool);
        Ok(())
    }

    fn set_aside(&self, path: &Path, why: &str) -> Result<(), JournalError> {
        let aside = path.with_extension("broken");
        tracing::error!(path = %path.display(), aside = %aside.display(), "the journal is broken and begun anew: {why}");
        match fs::rename(path, &aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(self.storage(error)),
            _ => {}
        }
        for rest in ["db-wal", "db-shm"] {
            let _ = fs::remove_file(path.with_extension(rest));
        }
        self.0.is_damaged.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn connect(&self, writes: bool) -> Result<AnyPool, JournalError> {
        install_default_drivers();
        let failed = database("open the journal");
        let options: AnyConnectOptions = self.0.place.url(writes).parse().map_err(&failed)?;
        let options = options.disable_statement_logging();
        let settings = match &self.0.place {
            Place::File(_) => Some(if writes { SETTINGS } else { READING }),
            Place::Postgres(_) => None,
        };
        // A pool would try again and again where one connection says at once what is wrong.
        let mut first = options.connect().await.map_err(&failed)?;
        if let Some(settings) = settings {
            first.execute(settings).await.map_err(&failed)?;
        }
        if writes {
            let migrations = MIGRATIONS.map(|(version, name, sql)| {
                Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
            });
            let migrator = Migrator::with_migrations(migrations.to_vec());
            migrator.run_direct(None, &mut first, false).await.map_err(|error| failed(error.into()))?;
        }
        first.close().await.map_err(&failed)?;
        let pool = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        let pool = pool.after_connect(move |connection, _| {
            Box::pin(async move {
                match settings {
                    Some(settings) => connection.execute(settings).await.map(|_| ()),
                    None => Ok(()),
                }
            })
        });
        Ok(pool.connect_lazy_with(options))
    }

    /// Returns the open database; an error at once when it was away the last time.
    fn pool(&self) -> Result<AnyPool, JournalError> {
        let pool = self.0.pool.read().unwrap_or_else(PoisonError::into_inner).clone();
        pool.ok_or_else(|| JournalError::Away { place: self.0.place.clone() })
    }

    /// Begins to write, when it is our turn among all who write.
    async fn begin(&self, pool: &AnyPool) -> Result<Transaction<'static, Any>, sqlx::Error> {
        let mut all = pool.begin().await?;
        if self.may_be_shared() {
            sqlx::query(TURN).fetch_one(&mut *all).await?;
        }
        Ok(all)
    }

    /// Whether the file is where it was: one that was deleted can be written to its end, and nobody would find it.
    fn check_place(&self) -> Result<(), JournalError> {
        match &self.0.place {
            Place::File(path) => fs::metadata(path).map(|_| ()).map_err(|source| self.storage(source)),
            Place::Postgres(_) => Ok(()),
        }
    }

    fn storage(&self, source: std::io::Error) -> JournalError {
        JournalError::Storage { place: self.0.place.clone(), source }
    }
}

impl JournalError {
    /// Whether the file is no database, or one that is damaged.
    fn is_broken(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        let words = source.to_string();
        ["file is not a database", "malformed", "file is encrypted"].iter().any(|sign| words.contains(sign))
    }
}

/// Makes an error of what a database says.
fn database(act: &'static str) -> impl Fn(sqlx::Error) -> JournalError {
    move |source| JournalError::Database { act, source: Box::new(source) }
}

/// Waits for a database, and not for ever.
async fn within<T>(
    act: &'static str,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, JournalError> {
    within_time(act, PATIENCE, answer).await?.map_err(database(act))
}

async fn within_time<T>(
    act: &'static str,
    patience: Duration,
    answer: impl Future<Output = T>,
) -> Result<T, JournalError> {
    let too_long = |_| JournalError::TooLong { act, seconds: patience.as_secs() };
    tokio::time::timeout(patience, answer).await.map_err(too_long)
}

#[cfg(test)]
pub(crate) async fn scratch() -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = Journal::new(Place::File(folder.path().join("a b%c/journal.db")), Keep::default(), "test");
    journal.open().await.expect("a journal");
    (folder, journal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: std::path::PathBuf) -> Journal {
        Journal::new(Place::File(path), Keep::default(), "test")
    }

    #[tokio::test]
    async fn a_journal_is_opened_again_as_it_was() {
        let (folder, journal) = scratch().await;
        journal.put_plan("a", 1, "{}").await.unwrap();
        drop(journal);
        let again = at(folder.path().join("a b%c/journal.db"));
        again.open().await.unwrap();
        assert_eq!(again.plans(9).await.unwrap(), ["{}"]);
    }

    #[tokio::test]
    async fn a_broken_file_is_set_aside_and_no_reason_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        for broken in [b"not a database at all, and longer than a header of one hundred bytes would be, so that it is read as one".as_slice()] {
            fs::write(&path, broken).unwrap();
            let journal = at(path.clone());
            journal.open().await.unwrap();
            assert_eq!(journal.plans(9).await.unwrap(), Vec::<String>::new());
            assert_eq!(fs::read(path.with_extension("broken")).unwrap(), broken);
        }
    }

    #[tokio::test]
    async fn where_no_file_can_be_the_error_says_where() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = at(folder.path().join("file/journal.db")).open().await.unwrap_err();
        assert!(error.to_string().starts_with("open the journal in "), "{error}");
    }

    #[tokio::test]
    async fn a_journal_that_is_away_says_so_at_once() {
        let (_folder, journal) = scratch().await;
        journal.give_up(&JournalError::TooLong { act: "read", seconds: 4 });
        let error = journal.plans(9).await.unwrap_err();
        assert!(matches!(error, JournalError::Away { .. }), "{error}");
        journal.open().await.unwrap();
        journal.plans(9).await.unwrap();
    }
}
