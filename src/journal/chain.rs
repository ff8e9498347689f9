//! The chain of hashes over the events: whoever changes, removes, adds or moves one in the middle breaks it.

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Journal, JournalError, database, within};

/// The hash that the first event of a journal follows.
pub(super) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How many events are read at once.
const PAGE: i64 = 1000;

const ACT: &str = "verify the journal";

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The position of the newest event; 0 before the first.
    pub position: i64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    pub(super) fn beginning() -> Self {
        Self { position: 0, hash: BEGINNING.to_owned() }
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many events fit, from the oldest on.
    pub events: u64,
    /// The end of the chain, or of the part of it that fits.
    pub head: Head,
    /// The newest event that retention has removed: its position, and when it happened in seconds since 1970.
    pub removed: Option<(i64, i64)>,
    /// The first event that does not fit, if one does not.
    pub broken: Option<Break>,
    /// Whether the chain holds the hash that was asked for, if one was.
    pub holds: Option<bool>,
}

/// An event that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Its position.
    pub position: i64,
    /// When it happened, by its own word, in seconds since 1970.
    pub at: i64,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Returns the hash of an event that follows one with the hash `before`.
pub(super) fn link(before: &str, content: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(before.as_bytes());
    hash.update(content.as_bytes());
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
        text
    })
}

impl Journal {
    /// Goes through all events. `holds` is a hash that was noted earlier, such as one that was logged at a stop: everything
    /// up to it is as it was then if the chain holds it.
    pub async fn verify(&self, holds: Option<&str>) -> Result<Verified, JournalError> {
        let (mut head, removed) = self.anchor().await?;
        let mut verified = Verified { events: 0, head: head.clone(), removed, broken: None, holds: None };
        let mut held = holds.is_some_and(|hash| hash == head.hash);
        loop {
            let page = self.page(head.position).await?;
            if page.is_empty() {
                break;
            }
            for row in &page {
                if let Err(broken) = follows(row, &head)? {
                    verified.broken = Some(broken);
                    verified.holds = holds.map(|_| held);
                    return Ok(verified);
                }
                head = head_of(row)?;
                held |= holds.is_some_and(|hash| hash == head.hash);
                verified.events += 1;
                verified.head.clone_from(&head);
            }
        }
        verified.holds = holds.map(|_| held);
        Ok(verified)
    }

    /// Returns what the oldest event follows, and what retention has removed last.
    async fn anchor(&self) -> Result<(Head, Option<(i64, i64)>), JournalError> {
        let (pool, anchor) = (self.pool()?, sqlx::query("SELECT position, at, hash FROM anchor"));
        let Some(row) = within(ACT, anchor.fetch_optional(&pool)).await? else {
            return Ok((Head::beginning(), None));
        };
        let at = row.try_get("at").map_err(database(ACT))?;
        let head = head_of(&row)?;
        let removed = (head.position, at);
        Ok((head, Some(removed)))
    }

    async fn page(&self, after: i64) -> Result<Vec<AnyRow>, JournalError> {
        let page = "SELECT position, id, at, store, kind, content, hash FROM events WHERE position > $1 \
                    ORDER BY position LIMIT $2";
        within(ACT, sqlx::query(page).bind(after).bind(PAGE).fetch_all(&self.pool()?)).await
    }
}

pub(super) fn head_of(row: &AnyRow) -> Result<Head, JournalError> {
    let failed = database(ACT);
    Ok(Head {
        position: row.try_get("position").map_err(&failed)?,
        hash: row.try_get("hash").map_err(&failed)?,
    })
}

/// Tells whether a row is what follows `before`.
fn follows(row: &AnyRow, before: &Head) -> Result<Result<(), Break>, JournalError> {
    let failed = database(ACT);
    let number = |column| row.try_get::<i64, _>(column).map_err(&failed);
    let text = |column| row.try_get::<String, _>(column).map_err(&failed);
    let (position, at, content) = (number("position")?, number("at")?, text("content")?);
    let broken = |reason| Ok(Err(Break { position, at, reason }));
    if position != before.position + 1 {
        return broken("one or more before it are missing");
    }
    if link(&before.hash, &content) != text("hash")? {
        return broken("it, or the one before it, is not as it was written");
    }
    // Not as an event: those of a newer version count too.
    let Ok(event) = serde_json::from_str::<Value>(&content) else {
        return broken("its content can't be read");
    };
    let store: Option<String> = row.try_get("store").map_err(&failed)?;
    let is_shown = event["id"] == number("id")?
        && event["at"] == at
        && event["store"].as_str() == store.as_deref()
        && event["kind"] == text("kind")?;
    if !is_shown {
        return broken("the columns that it is found by are not what it says");
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_event_hangs_on_all_before_it() {
        let first = link(BEGINNING, "{}");
        // printf '%064d{}' 0 | sha256sum
        assert_eq!(first, "5508d2b710e64bc470079e1b211d9c58e21011e59d0559e422345dc19d659a75");
        assert_ne!(link(&first, "{}"), first);
    }
}
