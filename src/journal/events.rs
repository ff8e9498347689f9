//! What happened, in the order in which it did, and how many stores were in which state now and then.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row as _, Transaction};

use super::chain::{Head, link};
use super::{Journal, JournalError, LONG_PATIENCE, database, within, within_time};
use crate::report::{Event, EventKind, EventReader, EventsWanted, Sample, StoreState};

const ACT: &str = "read what happened from the journal";

/// How many columns an event has.
const COLUMNS: usize = 7;

/// How many events one statement writes.
const ROWS: usize = 50;

/// How many events retention removes at once, so that no transaction gets long.
const TRIMMED_AT_ONCE: i64 = 20_000;

/// How long samples are kept, in seconds.
const SAMPLES_KEPT: i64 = 35 * DAY;

/// How long is known what a process has written that writes no more, in seconds.
const WRITERS_KEPT: i64 = 35 * DAY;

const DAY: i64 = 24 * 3600;

/// Which events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// None older than so many days.
    pub days: u32,
    /// No more than so many.
    pub events: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { days: 365, events: 1_000_000 }
    }
}

/// Which events are exported, from the oldest on. Times are seconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct Export {
    /// Only those of this store.
    pub store: Option<String>,
    /// Only those at this time or later.
    pub since: Option<i64>,
    /// Only those before this time.
    pub until: Option<i64>,
}

impl Journal {
    /// Returns a way to read events for those who only show.
    pub fn reader(&self) -> EventReader {
        let journal = self.clone();
        Arc::new(move |wanted| {
            let journal = journal.clone();
            Box::pin(
                async move { journal.events(&wanted).await.map_err(|error| format!("failed to {error}")) },
            )
        })
    }

    /// Returns the newest events, the oldest of them first, and whether these are all.
    pub async fn newest(&self, most: i64) -> Result<(Vec<Event>, bool), JournalError> {
        let newest = sqlx::query("SELECT content FROM events ORDER BY position DESC LIMIT $1").bind(most + 1);
        let rows = within_time(ACT, LONG_PATIENCE, newest.fetch_all(&self.pool()?)).await?;
        let mut events = read(&rows.map_err(database(ACT))?)?;
        let is_all = i64::try_from(events.len()).unwrap_or(i64::MAX) <= most;
        if !is_all {
            events.pop();
        }
        events.reverse();
        Ok((events, is_all))
    }

    /// Returns the newest event of each store among those of these kinds, the oldest of them first.
    pub async fn newest_by_store(&self, kinds: &[EventKind]) -> Result<Vec<Event>, JournalError> {
        let listed = words(kinds);
        let newest = format!(
            "SELECT content FROM events WHERE id IN \
             (SELECT MAX(id) FROM events WHERE store IS NOT NULL AND kind IN ({listed}) GROUP BY store) ORDER BY id"
        );
        let pool = self.pool()?;
        let newest = sqlx::query(AssertSqlSafe(newest));
        let rows = within_time(ACT, LONG_PATIENCE, newest.fetch_all(&pool)).await?;
        read(&rows.map_err(database(ACT))?)
    }

    /// Returns the newest event of each of these kinds that concerns no store.
    pub async fn newest_of_fleet(&self, kinds: &[EventKind]) -> Result<Vec<Event>, JournalError> {
        let listed = words(kinds);
        let newest = format!(
            "SELECT content FROM events WHERE id IN \
             (SELECT MAX(id) FROM events WHERE store IS NULL AND kind IN ({listed}) GROUP BY kind) ORDER BY id"
        );
        let rows = within(ACT, sqlx::query(AssertSqlSafe(newest)).fetch_all(&self.pool()?)).await?;
        read(&rows)
    }

    /// Returns the events that are asked for, the newest first.
    pub async fn events(&self, wanted: &EventsWanted) -> Result<Vec<Event>, JournalError> {
        let EventsWanted { store, before, most } = wanted;
        let before = before.unwrap_or(i64::MAX);
        let most = i64::try_from(*most).unwrap_or(i64::MAX);
        let pool = self.pool()?;
        let found = if let Some(store) = store {
            let found = "SELECT content FROM events WHERE store = $3 AND id < $1 ORDER BY id DESC LIMIT $2";
            sqlx::query(found).bind(before).bind(most).bind(store.to_string())
        } else {
            let found = "SELECT content FROM events WHERE id < $1 ORDER BY id DESC LIMIT $2";
            sqlx::query(found).bind(before).bind(most)
        };
        let rows = within(ACT, found.fetch_all(&pool)).await?;
        read(&rows)
    }

    /// Returns the events of these kinds since a time in seconds since 1970, the oldest first.
    pub async fn events_of(&self, kinds: &[EventKind], since: i64) -> Result<Vec<Event>, JournalError> {
        let listed = words(kinds);
        let found =
            format!("SELECT content FROM events WHERE kind IN ({listed}) AND at >= $1 ORDER BY position");
        let found = sqlx::query(AssertSqlSafe(found)).bind(since);
        let rows = within_time(ACT, LONG_PATIENCE, found.fetch_all(&self.pool()?)).await?;
        read(&rows.map_err(database(ACT))?)
    }

    /// Returns the next events of an export: those after a position, the oldest first, and where they end; none at the end.
    pub async fn export(
        &self,
        export: &Export,
        after: i64,
        most: i64,
    ) -> Result<Option<(Vec<Event>, i64)>, JournalError> {
        let Export { store, since, until } = export;
        let mut found =
            "SELECT position, content FROM events WHERE position > $1 AND at >= $2 AND at < $3".to_owned();
        if store.is_some() {
            found.push_str(" AND store = $5");
        }
        found.push_str(" ORDER BY position LIMIT $4");
        let found = sqlx::query(AssertSqlSafe(found)).bind(after).bind(since.unwrap_or(i64::MIN));
        let found = found.bind(until.unwrap_or(i64::MAX)).bind(most);
        let found = match store {
            Some(store) => found.bind(store.clone()),
            None => found,
        };
        let rows = within_time(ACT, LONG_PATIENCE, found.fetch_all(&self.pool()?)).await?;
        let rows = rows.map_err(database(ACT))?;
        let Some(last) = rows.last() else { return Ok(None) };
        let last = last.try_get("position").map_err(database(ACT))?;
        let events: Vec<_> = rows.iter().map(event).collect::<Result<_, _>>()?;
        Ok(Some((events, last)))
    }

    /// Returns how many stores were in which state since a time in seconds since 1970, the oldest first.
    pub async fn samples(&self, since: i64) -> Result<Vec<Sample>, JournalError> {
        let failed = database(ACT);
        let rows =
            sqlx::query("SELECT at, state, stores FROM samples WHERE at >= $1 ORDER BY at").bind(since);
        let rows = within(ACT, rows.fetch_all(&self.pool()?)).await?;
        let mut samples: Vec<Sample> = Vec::new();
        for row in &rows {
            let at = row.try_get("at").map_err(&failed)?;
            let (state, stores): (String, i64) =
                (row.try_get("state").map_err(&failed)?, row.try_get("stores").map_err(&failed)?);
            if samples.last().is_none_or(|sample| sample.at != at) {
                samples.push(Sample { at, stores: BTreeMap::new() });
            }
            let known = StoreState::ALL.into_iter().find(|known| known.as_str() == state);
            if let (Some(state), Some(sample)) = (known, samples.last_mut()) {
                sample.stores.insert(state, usize::try_from(stores).unwrap_or(0));
            }
        }
        Ok(samples)
    }

    /// Returns the end of the chain of events, and how many there are.
    pub async fn head(&self) -> Result<(Head, i64), JournalError> {
        let pool = self.pool()?;
        let found = async {
            let mut all = pool.begin().await?;
            let head = head(&mut all).await?;
            let count = sqlx::query("SELECT COUNT(*) AS events FROM events").fetch_one(&mut *all).await?;
            Ok((head, count.try_get("events")?))
        };
        within_time(ACT, LONG_PATIENCE, found).await?.map_err(database(ACT))
    }
}

/// Writes events at the end of the chain, but for those that this writer has written. They come in the order of their
/// numbers, and keep these unless another writer has come as far: numbers grow with positions.
pub(super) async fn append(
    all: &mut Transaction<'_, Any>,
    writer: &str,
    events: &[Arc<Event>],
    now: i64,
) -> Result<(), sqlx::Error> {
    let Some(last) = events.last() else { return Ok(()) };
    let known = sqlx::query("SELECT last FROM writers WHERE writer = $1").bind(writer.to_owned());
    let known = known.fetch_optional(&mut **all).await?;
    let written: i64 = known.map(|row| row.try_get("last")).transpose()?.unwrap_or(i64::MIN);
    let news: Vec<_> = events.iter().filter(|event| event.id > written).collect();
    let wrote = "INSERT INTO writers (writer, last, at) VALUES ($1, $2, $3) \
                 ON CONFLICT (writer) DO UPDATE SET last = excluded.last, at = excluded.at";
    let wrote = sqlx::query(wrote).bind(writer.to_owned()).bind(written.max(last.id)).bind(now);
    wrote.execute(&mut **all).await?;
    let highest =
        sqlx::query("SELECT id FROM events ORDER BY id DESC LIMIT 1").fetch_optional(&mut **all).await?;
    let mut highest: i64 = highest.map(|row| row.try_get("id")).transpose()?.unwrap_or(0);
    let mut head = head(all).await?;
    for chunk in news.chunks(ROWS) {
        let mut put = "INSERT INTO events (position, id, at, store, kind, content, hash) VALUES ".to_owned();
        for row in 0..chunk.len() {
            let columns: Vec<_> =
                (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
            let _ = write!(put, "{}({})", if row == 0 { "" } else { ", " }, columns.join(", "));
        }
        let mut put = sqlx::query(AssertSqlSafe(put)).persistent(chunk.len() == ROWS);
        for event in chunk {
            highest = event.id.max(highest + 1);
            let event = Event { id: highest, ..Event::clone(event) };
            let content = serde_json::to_string(&event).map_err(|error| sqlx::Error::Encode(error.into()))?;
            head = Head { position: head.position + 1, hash: link(&head.hash, &content) };
            put = put.bind(head.position).bind(event.id).bind(event.at);
            put = put.bind(event.store.as_ref().map(ToString::to_string)).bind(event.kind.as_str());
            put = put.bind(content).bind(head.hash.clone());
        }
        put.execute(&mut **all).await?;
    }
    Ok(())
}

async fn head(all: &mut Transaction<'_, Any>) -> Result<Head, sqlx::Error> {
    for newest in [
        "SELECT position, hash FROM events ORDER BY position DESC LIMIT 1",
        "SELECT position, hash FROM anchor",
    ] {
        if let Some(row) = sqlx::query(newest).fetch_optional(&mut **all).await? {
            return Ok(Head { position: row.try_get("position")?, hash: row.try_get("hash")? });
        }
    }
    Ok(Head::beginning())
}

/// Removes the oldest events, as retention has it, and notes what the oldest one left follows.
pub(super) async fn trim(all: &mut Transaction<'_, Any>, keep: Keep, now: i64) -> Result<(), sqlx::Error> {
    let head = head(all).await?.position;
    let since = now - i64::from(keep.days) * DAY;
    let first = |row: Option<AnyRow>| row.map(|row| row.try_get::<i64, _>("position")).transpose();
    let oldest = sqlx::query("SELECT position FROM events ORDER BY position LIMIT 1");
    let Some(oldest) = first(oldest.fetch_optional(&mut **all).await?)? else { return Ok(()) };
    // Everything before the first that is young enough: the clock may have been moved back.
    let young =
        sqlx::query("SELECT position FROM events WHERE at >= $1 ORDER BY position LIMIT 1").bind(since);
    let young = first(young.fetch_optional(&mut **all).await?)?.unwrap_or(head + 1);
    let last = (young - 1).max(head - i64::from(keep.events)).min(oldest + TRIMMED_AT_ONCE);
    if last < oldest {
        return Ok(());
    }
    let anchor = "INSERT INTO anchor (one, position, at, hash) \
                  SELECT 1, position, at, hash FROM events WHERE position = $1 \
                  ON CONFLICT (one) DO UPDATE SET position = excluded.position, at = excluded.at, hash = excluded.hash";
    sqlx::query(anchor).bind(last).execute(&mut **all).await?;
    sqlx::query("DELETE FROM events WHERE position <= $1").bind(last).execute(&mut **all).await?;
    Ok(())
}

/// Forgets who has not written for long.
pub(super) async fn forget_writers(all: &mut Transaction<'_, Any>, now: i64) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM writers WHERE at < $1").bind(now - WRITERS_KEPT).execute(&mut **all).await?;
    Ok(())
}

pub(super) async fn put_sample(
    all: &mut Transaction<'_, Any>,
    at: i64,
    stores: &BTreeMap<StoreState, usize>,
) -> Result<(), sqlx::Error> {
    for (state, count) in stores {
        let put = "INSERT INTO samples (at, state, stores) VALUES ($1, $2, $3) \
                   ON CONFLICT (at, state) DO UPDATE SET stores = excluded.stores";
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        sqlx::query(put).bind(at).bind(state.as_str()).bind(count).execute(&mut **all).await?;
    }
    sqlx::query("DELETE FROM samples WHERE at < $1").bind(at - SAMPLES_KEPT).execute(&mut **all).await?;
    Ok(())
}

/// Lists kinds as SQL has them. They are words of ours, without a quote in them.
fn words(kinds: &[EventKind]) -> String {
    kinds.iter().map(|kind| format!("'{}'", kind.as_str())).collect::<Vec<_>>().join(", ")
}

/// Reads events for whoever shows them: one that can't be read, of a newer version or edited, hides no other.
fn read(rows: &[AnyRow]) -> Result<Vec<Event>, JournalError> {
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        match event(row) {
            Err(error @ JournalError::Content { .. }) => {
                tracing::warn!("failed to {error}; the others are read");
            }
            event => events.push(event?),
        }
    }
    Ok(events)
}

fn event(row: &AnyRow) -> Result<Event, JournalError> {
    let content: String = row.try_get("content").map_err(database(ACT))?;
    let event = serde_json::from_str(&content);
    event.map_err(|error| JournalError::Content {
        act: ACT,
        reason: format!("an event can't be understood: {error}"),
    })
}
