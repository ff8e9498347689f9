//! What a forge shall show, and what it was told last. What is wanted replaces what was wanted before under the same name, so
//! a forge that was away for an hour is told the newest only.

use sqlx::any::AnyRow;
use sqlx::{Any, Row as _, Transaction};

use super::{Journal, JournalError, database, within};

/// How long what a forge was told is remembered, in seconds, so that it is not told again.
const REMEMBERED: i64 = 30 * 24 * 3600;

/// Something that a forge shall show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// What it is about; a newer one of the same name replaces it.
    pub name: String,
    /// What to say.
    pub content: String,
    /// Since when it is wanted, in seconds since 1970.
    pub since: i64,
}

/// What could not be written down of a letter while the journal was away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unposted {
    /// What is wanted since then, if that changed.
    pub wanted: Option<Letter>,
    /// What the forge was told last, if it was told something.
    pub sent: Option<String>,
    /// What the forge refuses for good, if it does.
    pub given_up: Option<String>,
}

impl Journal {
    /// Writes down what a forge shall show. Returns which of the letters say something that it was not told yet.
    pub async fn post(&self, letters: &[Letter]) -> Result<Vec<bool>, JournalError> {
        let _writing = self.0.writing.lock().await;
        let pool = self.pool()?;
        let posted = async {
            let mut all = self.begin(&pool).await?;
            let mut news = Vec::with_capacity(letters.len());
            for letter in letters {
                news.push(post(&mut all, letter).await?);
            }
            all.commit().await?;
            Ok(news)
        };
        within("write what the forge is to be told into the journal", posted).await
    }

    /// Returns what the forge was not told yet, the oldest first.
    pub async fn unsent(&self) -> Result<Vec<Letter>, JournalError> {
        let act = "read what the forge is to be told from the journal";
        let unsent = "SELECT name, wanted, since FROM outbox WHERE sent IS NULL OR sent <> wanted ORDER BY since, name";
        let rows = within(act, sqlx::query(unsent).fetch_all(&self.pool()?)).await?;
        rows.iter().map(letter).collect::<Result<_, _>>().map_err(database(act))
    }

    /// Whether this is not to be told any more: another replica has told it, or wants something newer.
    pub async fn is_overtaken(&self, name: &str, content: &str) -> Result<bool, JournalError> {
        let act = "read what the forge is to be told from the journal";
        let overtaken = "SELECT name FROM outbox WHERE name = $1 AND (wanted <> $2 OR sent = wanted)";
        let overtaken = sqlx::query(overtaken).bind(name.to_owned()).bind(content.to_owned());
        Ok(within(act, overtaken.fetch_optional(&self.pool()?)).await?.is_some())
    }

    /// Notes that the forge was told. What is wanted since then stays to be sent.
    pub async fn sent(&self, name: &str, content: &str, now: i64) -> Result<(), JournalError> {
        let _writing = self.0.writing.lock().await;
        let pool = self.pool()?;
        let noted = async {
            let mut all = self.begin(&pool).await?;
            sent(&mut all, name, content).await?;
            let trim = sqlx::query("DELETE FROM outbox WHERE since < $1 AND sent = wanted");
            trim.bind(now - REMEMBERED).execute(&mut *all).await?;
            all.commit().await
        };
        within("write what the forge was told into the journal", noted).await
    }

    /// Gives up what the forge refuses for good.
    pub async fn give_up_letter(&self, name: &str, content: &str) -> Result<(), JournalError> {
        let _writing = self.0.writing.lock().await;
        let pool = self.pool()?;
        let gone = sqlx::query("DELETE FROM outbox WHERE name = $1 AND wanted = $2");
        let gone = gone.bind(name.to_owned()).bind(content.to_owned()).execute(&pool);
        within("write what the forge refuses into the journal", gone).await.map(|_| ())
    }
}

/// Writes down what became of a letter while the journal was away.
pub(super) async fn catch_up(
    all: &mut Transaction<'_, Any>,
    name: &str,
    unposted: &Unposted,
) -> Result<(), sqlx::Error> {
    let Unposted { wanted, sent: told, given_up } = unposted;
    if let Some(letter) = wanted {
        post(all, letter).await?;
    }
    if let Some(content) = told {
        sent(all, name, content).await?;
    }
    if let Some(content) = given_up {
        let gone = sqlx::query("DELETE FROM outbox WHERE name = $1 AND wanted = $2");
        gone.bind(name.to_owned()).bind(content.clone()).execute(&mut **all).await?;
    }
    Ok(())
}

async fn post(all: &mut Transaction<'_, Any>, letter: &Letter) -> Result<bool, sqlx::Error> {
    let Letter { name, content, since } = letter;
    let post = "INSERT INTO outbox (name, wanted, sent, since, attempts) VALUES ($1, $2, NULL, $3, 0) \
                ON CONFLICT (name) DO UPDATE SET wanted = excluded.wanted, since = excluded.since, attempts = 0 \
                RETURNING CAST(CASE WHEN sent = wanted THEN 1 ELSE 0 END AS BIGINT) AS told";
    let post = sqlx::query(post).bind(name.clone()).bind(content.clone()).bind(*since);
    let row = post.fetch_one(&mut **all).await?;
    Ok(row.try_get::<i64, _>("told")? == 0)
}

async fn sent(all: &mut Transaction<'_, Any>, name: &str, content: &str) -> Result<(), sqlx::Error> {
    let sent = sqlx::query("UPDATE outbox SET sent = $2 WHERE name = $1");
    sent.bind(name.to_owned()).bind(content.to_owned()).execute(&mut **all).await?;
    Ok(())
}

fn letter(row: &AnyRow) -> Result<Letter, sqlx::Error> {
    Ok(Letter { name: row.try_get("name")?, content: row.try_get("wanted")?, since: row.try_get("since")? })
}

#[cfg(test)]
mod tests {
    use super::super::scratch;
    use super::*;

    fn letter(name: &str, content: &str, since: i64) -> Letter {
        Letter { name: name.to_owned(), content: content.to_owned(), since }
    }

    #[tokio::test]
    async fn what_is_wanted_last_is_sent_once() {
        let (_folder, journal) = scratch().await;
        let posted = journal.post(&[letter("a", "pending", 1), letter("b", "x", 2)]).await.unwrap();
        assert_eq!(posted, [true, true]);
        journal.post(&[letter("a", "success", 3)]).await.unwrap();
        assert_eq!(journal.unsent().await.unwrap(), [letter("b", "x", 2), letter("a", "success", 3)]);
        journal.sent("a", "success", 4).await.unwrap();
        assert_eq!(journal.unsent().await.unwrap(), [letter("b", "x", 2)]);
        let again = [letter("a", "success", 5), letter("b", "y", 5)];
        assert_eq!(journal.post(&again).await.unwrap(), [false, true], "it was told that");
        assert_eq!(journal.unsent().await.unwrap(), [letter("b", "y", 5)]);
    }

    #[tokio::test]
    async fn what_changed_while_it_was_sent_is_sent_again() {
        let (_folder, journal) = scratch().await;
        journal.post(&[letter("a", "pending", 1)]).await.unwrap();
        journal.post(&[letter("a", "success", 2)]).await.unwrap();
        journal.sent("a", "pending", 3).await.unwrap();
        assert_eq!(journal.unsent().await.unwrap(), [letter("a", "success", 2)]);
        journal.give_up_letter("a", "pending").await.unwrap();
        assert_eq!(journal.unsent().await.unwrap().len(), 1, "another one was refused");
        journal.give_up_letter("a", "success").await.unwrap();
        assert_eq!(journal.unsent().await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_was_told_long_ago_is_forgotten_and_what_was_not_is_not() {
        let (_folder, journal) = scratch().await;
        journal.post(&[letter("old", "x", 1), letter("unsent", "y", 1)]).await.unwrap();
        journal.sent("old", "x", 2).await.unwrap();
        journal.post(&[letter("new", "z", REMEMBERED)]).await.unwrap();
        journal.sent("new", "z", REMEMBERED + 2).await.unwrap();
        assert_eq!(journal.post(&[letter("old", "x", 9)]).await.unwrap(), [true]);
        assert!(journal.unsent().await.unwrap().iter().any(|it| it.name == "unsent"));
    }
}
