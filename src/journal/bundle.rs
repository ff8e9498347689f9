//! What the clerk has gathered, written in one transaction: all of it or nothing, and a second time without harm.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::outbox::{self, Unposted};
use super::{Journal, JournalError, LONG_PATIENCE, commits, database, events, plans, within_time};
use crate::report::{CommitReport, Event, StoreState};

const ACT: &str = "write into the journal";

/// What is to be written down.
#[derive(Debug, Clone, Default)]
pub struct Bundle {
    /// What happened, the oldest first.
    pub events: Vec<Arc<Event>>,
    /// What became of commits.
    pub notes: Vec<CommitReport>,
    /// Plans by their head commits: when each was made, and all of it as JSON.
    pub plans: BTreeMap<String, (i64, String)>,
    /// What became of letters while the journal was away, by their names.
    pub letters: BTreeMap<String, Unposted>,
    /// How many stores are in which state, and when that was counted.
    pub sample: Option<(i64, BTreeMap<StoreState, usize>)>,
}

impl Bundle {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let Self { events, notes, plans, letters, sample } = self;
        events.is_empty() && notes.is_empty() && plans.is_empty() && letters.is_empty() && sample.is_none()
    }
}

impl Journal {
    /// Writes a bundle, and opens the journal for that if it is not open. `now` is the time in seconds since 1970. Events
    /// that this process has written already, by a try whose end is unknown, are not written twice.
    pub async fn write(&self, bundle: &Bundle, now: i64) -> Result<(), JournalError> {
        let _writing = self.0.writing.lock().await;
        self.open_for_writing().await?;
        self.check_place()?;
        let (pool, keep, writer) = (self.pool()?, self.0.keep, &self.0.writer);
        let written = async {
            let Bundle { events, notes, plans, letters, sample } = bundle;
            let mut all = self.begin(&pool).await?;
            events::append(&mut all, writer, events, now).await?;
            for commit in notes {
                commits::note(&mut all, commit).await?;
            }
            for (head, (made, report)) in plans {
                plans::put(&mut all, head, *made, report).await?;
            }
            for (name, unposted) in letters {
                outbox::catch_up(&mut all, name, unposted).await?;
            }
            if let Some((at, stores)) = sample {
                events::put_sample(&mut all, *at, stores).await?;
                events::trim(&mut all, keep, now).await?;
                events::forget_writers(&mut all, now).await?;
            }
            all.commit().await
        };
        within_time(ACT, LONG_PATIENCE, written).await?.map_err(database(ACT))
    }
}
