//! Where a journal is: a file of the state folder, or a PostgreSQL database. Its password is never printed.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a journal is kept.
#[derive(Clone)]
pub enum Place {
    /// In an SQLite database in this file.
    File(PathBuf),
    /// In a PostgreSQL database.
    Postgres(PostgresUrl),
}

/// The URL of a PostgreSQL database, with its password. Shown without it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

/// Why a text is no URL of a journal; fits "failed to understand it: {error}". It does not repeat the text, which may hold
/// a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Another kind of database, or none.
    #[error("it does not begin with postgres:// or postgresql://")]
    Scheme,
    /// It can't be read.
    #[error("it is not of the form postgres://user:password@host:port/database")]
    Form,
}

impl PostgresUrl {
    /// Checks a URL of the form `postgres://user:password@host:port/database?sslmode=verify-full`.
    pub fn new(text: &str) -> Result<Self, PlaceError> {
        let text = text.trim();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(PlaceError::Scheme);
        }
        text.parse::<sqlx::postgres::PgConnectOptions>().map_err(|_| PlaceError::Form)?;
        Ok(Self(text.to_owned()))
    }

    /// Returns the whole URL, password included.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgres", ""));
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        // A password may hold an @ that should have been encoded.
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        write!(f, "{scheme}://{place}")
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => write!(f, "{url}"),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

impl Place {
    /// Returns the URL that a driver understands. A file that is not there is made if `make` says so.
    pub(super) fn url(&self, make: bool) -> String {
        match self {
            Self::File(path) => {
                format!("sqlite://{}?mode={}", percent_encoded(path), if make { "rwc" } else { "rw" })
            }
            Self::Postgres(url) => url.expose().to_owned(),
        }
    }
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
mod tests {
    use super::*;

    #[test]
    fn a_password_is_printed_in_no_way() {
        for text in [
            "postgres://ann:hunter2@db.example.com:5432/journal?sslmode=require",
            "postgresql://ann:hun@ter2@db.example.com:5432/journal",
            "postgres://ann@db.example.com:5432/journal?password=hunter2",
        ] {
            let Ok(url) = PostgresUrl::new(text) else { continue };
            let place = Place::Postgres(url.clone());
            for shown in [url.to_string(), format!("{url:?}"), place.to_string(), format!("{place:?}")] {
                assert!(!shown.contains("ter2") && shown.contains("db.example.com:5432/journal"), "{shown}");
            }
        }
    }

    #[test]
    fn what_is_no_url_of_postgresql_is_refused_without_a_repetition() {
        for text in ["", "mysql://a:hunter2@b/c", "hunter2", "sqlite:///x"] {
            assert_eq!(PostgresUrl::new(text), Err(PlaceError::Scheme));
        }
        let error = PostgresUrl::new("postgres://a:hunter2@b:port/c").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
