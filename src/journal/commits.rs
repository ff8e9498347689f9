//! Commits with their verdicts, store by store.

use sqlx::any::AnyRow;
use sqlx::{Any, Row as _, Transaction};

use super::{Journal, JournalError, database, within};
use crate::names::StoreId;
use crate::report::{Change, CommitHead, CommitReport, CommitState, StoreVerdict};

const READ: &str = "read the commits in the journal";

impl Journal {
    /// Writes commits down as they are now, those that are not known yet as the newest ones, in this order. Verdicts on
    /// stores that are not given stay as they are.
    pub async fn note_commits(&self, commits: &[CommitReport]) -> Result<(), JournalError> {
        let _writing = self.0.writing.lock().await;
        let pool = self.pool()?;
        let written = async {
            let mut all = self.begin(&pool).await?;
            for commit in commits {
                note(&mut all, commit).await?;
            }
            all.commit().await
        };
        within("write a commit into the journal", written).await
    }

    /// Returns the newest commits, the oldest of them first.
    pub async fn commits(&self, most: i64) -> Result<Vec<CommitReport>, JournalError> {
        let failed = database(READ);
        let newest =
            "SELECT revision, author, subject, seen, refused FROM commits ORDER BY position DESC LIMIT $1";
        let rows = within(READ, sqlx::query(newest).bind(most).fetch_all(&self.pool()?)).await?;
        let mut commits = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            let (head, seen, refused) = commit(row).map_err(&failed)?;
            let verdicts = "SELECT store, change, state, reason, since FROM verdicts WHERE revision = $1";
            let verdicts = sqlx::query(verdicts).bind(head.revision.clone());
            let verdicts = within(READ, verdicts.fetch_all(&self.pool()?)).await?;
            let stores = verdicts.iter().map(verdict).collect::<Result<_, _>>()?;
            commits.push(CommitReport::new(head, seen, refused, stores));
        }
        Ok(commits)
    }
}

pub(super) async fn note(all: &mut Transaction<'_, Any>, commit: &CommitReport) -> Result<(), sqlx::Error> {
    let CommitReport { revision, author, subject, seen, refused, stores, .. } = commit;
    let put = "INSERT INTO commits (revision, position, author, subject, seen, refused) \
               VALUES ($1, (SELECT COALESCE(MAX(position), 0) + 1 FROM commits), $2, $3, $4, $5) \
               ON CONFLICT (revision) DO UPDATE SET author = excluded.author, subject = excluded.subject, \
               seen = excluded.seen, refused = excluded.refused";
    let put = sqlx::query(put).bind(revision.clone()).bind(plain(author)).bind(plain(subject));
    put.bind(*seen).bind(refused.as_deref().map(plain)).execute(&mut **all).await?;
    for (store, StoreVerdict { change, state, reason, since }) in stores {
        let put = "INSERT INTO verdicts (revision, store, change, state, reason, since) \
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (revision, store) DO UPDATE SET \
                   change = excluded.change, state = excluded.state, reason = excluded.reason, since = excluded.since";
        let put = sqlx::query(put).bind(revision.clone()).bind(store.to_string()).bind(word(change));
        put.bind(word(state)).bind(plain(reason)).bind(*since).execute(&mut **all).await?;
    }
    Ok(())
}

fn commit(row: &AnyRow) -> Result<(CommitHead, i64, Option<String>), sqlx::Error> {
    let text = |column| row.try_get(column);
    let head = CommitHead { revision: text("revision")?, author: text("author")?, subject: text("subject")? };
    Ok((head, row.try_get("seen")?, row.try_get("refused")?))
}

fn verdict(row: &AnyRow) -> Result<(StoreId, StoreVerdict), JournalError> {
    let failed = database(READ);
    let text = |column: &str| row.try_get::<String, _>(column).map_err(&failed);
    let unclear = |reason: String| JournalError::Content { act: READ, reason };
    let store = text("store")?.parse().map_err(|error| unclear(format!("{error}")))?;
    let change: Change = read(&text("change")?).map_err(unclear)?;
    let state: CommitState = read(&text("state")?).map_err(unclear)?;
    let since = row.try_get("since").map_err(&failed)?;
    Ok((store, StoreVerdict { change, state, reason: text("reason")?, since }))
}

/// PostgreSQL takes every text but one with a NUL in it.
fn plain(text: &str) -> String {
    text.replace('\0', "")
}

/// Writes one of a few values as the word that JSON has for it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(word: &str) -> Result<T, String> {
    serde_json::from_value(word.into()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::scratch;
    use super::*;

    fn commit(revision: &str, refused: Option<&str>, stores: &[(&str, CommitState)]) -> CommitReport {
        let verdict =
            |state| StoreVerdict { change: Change::Changed, state, reason: "so".to_owned(), since: 7 };
        let head = CommitHead {
            revision: revision.to_owned(),
            author: "Ann".to_owned(),
            subject: "it's new".to_owned(),
        };
        let stores = stores.iter().map(|(store, state)| (store.parse().unwrap(), verdict(*state)));
        CommitReport::new(head, 5, refused.map(str::to_owned), stores.collect())
    }

    #[tokio::test]
    async fn commits_come_back_as_they_were_in_their_order() {
        let (_folder, journal) = scratch().await;
        let first = commit("b", None, &[("acme", CommitState::Pending), ("bold", CommitState::Failure)]);
        let second = commit("a", Some("unsigned"), &[]);
        journal.note_commits(&[first.clone(), second.clone()]).await.unwrap();
        assert_eq!(journal.commits(9).await.unwrap(), [first, second.clone()]);
        let moved = commit("b", None, &[("acme", CommitState::Success)]);
        journal.note_commits(&[moved]).await.unwrap();
        let mended = commit("b", None, &[("acme", CommitState::Success), ("bold", CommitState::Failure)]);
        assert_eq!(
            journal.commits(9).await.unwrap(),
            [mended, second.clone()],
            "its place stays, and so do the others"
        );
        assert_eq!(journal.commits(1).await.unwrap(), [second]);
    }
}
