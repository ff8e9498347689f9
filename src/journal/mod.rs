//! The journal: what was seen of git, what became of it, and what forges are still to be told, in a database of the state
//! folder. It is for people and for the daemon's next start; no run over a store reads it, and nothing waits for it. Losing it
//! loses history and no store.
//!
//! - `commits`: commits with their verdicts, store by store
//! - `outbox`: what a forge shall show and what it was told
//! - `plans`: what pull requests would do

mod commits;
mod outbox;
mod plans;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, ConnectOptions, Connection, Executor, SqlStr};

pub use outbox::Letter;

/// What the tables are made by, from the oldest to the newest. None is ever edited.
const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "commits and outbox", include_str!("migrations/1_commits_and_outbox.sql"))];

/// A crash of the process loses nothing; one of the machine at most the last moments.
const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;";

/// How long to wait for somebody else who writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The journal can't be read or written; fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder or the file is in the way.
    #[error("open the journal in {path}: {source}")]
    Storage {
        /// The file.
        path: PathBuf,
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
}

/// An open journal. Cloned handles share it.
#[derive(Debug, Clone)]
pub struct Journal {
    pool: AnyPool,
}

impl Journal {
    /// Opens the journal in a file, and makes it when there is none. One that is broken is set aside, with a line in the
    /// log, and begun anew: what it held is history, and nothing depends on it.
    pub async fn open(path: &Path) -> Result<Self, JournalError> {
        let storage = |source| JournalError::Storage { path: path.to_owned(), source };
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(storage)?;
        match Self::connect(path).await {
            Ok(journal) => Ok(journal),
            Err(error) if error.is_broken() => {
                let aside = path.with_extension("broken");
                tracing::error!(path = %path.display(), aside = %aside.display(), "the journal is broken and begun anew: failed to {error}");
                fs::rename(path, &aside).map_err(storage)?;
                for rest in ["db-wal", "db-shm"] {
                    let _ = fs::remove_file(path.with_extension(rest));
                }
                Self::connect(path).await
            }
            Err(error) => Err(error),
        }
    }

    async fn connect(path: &Path) -> Result<Self, JournalError> {
        install_default_drivers();
        let failed = database("open the journal");
        let url = format!("sqlite://{}?mode=rwc", percent_encoded(path));
        let options: AnyConnectOptions = url.parse().map_err(&failed)?;
        let options = options.disable_statement_logging();
        // A pool would try again and again where one connection says at once what is wrong.
        let mut first = options.connect().await.map_err(&failed)?;
        first.execute(SETTINGS).await.map_err(&failed)?;
        first.close().await.map_err(&failed)?;
        let pool = AnyPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(2 * PATIENCE)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // A crash of the process loses nothing; one of the machine at most the last moments.
                    let settings =
                        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;";
                    connection.execute(settings).await.map(|_| ())
                })
            })
            .connect_with(options.disable_statement_logging())
            .await
            .map_err(&failed)?;
        let migrations = MIGRATIONS.map(|(version, name, sql)| {
            Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
        });
        let migrated = Migrator::with_migrations(migrations.to_vec()).run(&pool).await;
        migrated.map_err(|error| failed(error.into()))?;
        Ok(Self { pool })
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

/// Writes a path so that a URL can hold it.
fn percent_encoded(path: &Path) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let bytes = path.as_os_str().as_encoded_bytes();
    let encode =
        |byte: &u8| if is_plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(encode).collect()
}

#[cfg(test)]
pub(crate) async fn scratch() -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = Journal::open(&folder.path().join("a b%c/journal.db")).await.expect("a journal");
    (folder, journal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_journal_is_opened_again_as_it_was() {
        let (folder, journal) = scratch().await;
        journal.put_plan("a", 1, "{}").await.unwrap();
        drop(journal);
        let again = Journal::open(&folder.path().join("a b%c/journal.db")).await.unwrap();
        assert_eq!(again.plans(9).await.unwrap(), ["{}"]);
    }

    #[tokio::test]
    async fn a_broken_file_is_set_aside_and_no_reason_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        for broken in [b"not a database at all, and longer than a header of one hundred bytes would be, so that it is read as one".as_slice()] {
            fs::write(&path, broken).unwrap();
            let journal = Journal::open(&path).await.unwrap();
            assert_eq!(journal.plans(9).await.unwrap(), Vec::<String>::new());
            assert_eq!(fs::read(path.with_extension("broken")).unwrap(), broken);
        }
    }

    #[tokio::test]
    async fn where_no_file_can_be_the_error_says_where() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = Journal::open(&folder.path().join("file/journal.db")).await.unwrap_err();
        assert!(error.to_string().starts_with("open the journal in "), "{error}");
    }
}
