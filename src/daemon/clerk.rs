//! Keeps the journal and tells the forge what it shall show, beside the daemon: nothing that either of them does slows a run
//! down, and what the forge was not told yet is told after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::Chance;
use super::scribe::Scribe;
use crate::forge::{Forge, ForgeError};
use crate::journal::Letter;
use crate::metrics::{Metrics, Told};
use crate::report::{Board, CommitReport, Delivery, Event, EventKind};

/// The wait after the first failure of the forge as a whole; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// The wait after the first refusal of one delivery; it doubles up to [`LONGEST_WAIT`].
const FIRST_REFUSED_WAIT: Duration = Duration::from_secs(5);

/// How often a delivery may be refused before it is given up: half an hour of tries.
const REFUSALS: u32 = 12;

/// How far replicas' clocks may be apart, in seconds, for what both saw to be taken for one thing.
const CLOCKS_APART: i64 = 60;

/// The most errands that are taken at once.
const BATCH: usize = 512;

/// What the clerk does for the daemon.
#[derive(Debug)]
pub(super) enum Errand {
    /// Write down what became of commits.
    Note(Vec<CommitReport>),
    /// Tell the forge.
    Tell(Vec<Delivery>),
    /// Keep a plan: its head commit, when it was made, and all of it as JSON.
    Keep(String, i64, String),
    /// Write down what happened.
    Record(Arc<Event>),
    /// Write down what another replica may have had no time for, unless it had.
    Recover(Vec<Arc<Event>>),
    /// Tell what another replica was to tell, which is gone.
    TakeUp,
}

/// Where the daemon leaves errands. Leaving one never waits.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    errands: UnboundedSender<Errand>,
    /// Whether there is a forge to tell anything.
    has_forge: bool,
}

impl Desk {
    pub(super) fn note(&self, commits: Vec<CommitReport>) {
        let _ = self.errands.send(Errand::Note(commits));
    }

    pub(super) fn tell(&self, deliveries: Vec<Delivery>) {
        if self.has_forge && !deliveries.is_empty() {
            let _ = self.errands.send(Errand::Tell(deliveries));
        }
    }

    pub(super) fn record(&self, event: Arc<Event>) {
        let _ = self.errands.send(Errand::Record(event));
    }

    pub(super) fn recover(&self, events: Vec<Arc<Event>>) {
        if !events.is_empty() {
            let _ = self.errands.send(Errand::Recover(events));
        }
    }

    pub(super) fn take_up(&self) {
        let _ = self.errands.send(Errand::TakeUp);
    }

    pub(super) fn keep(&self, head: &str, made: i64, report: String) {
        let _ = self.errands.send(Errand::Keep(head.to_owned(), made, report));
    }
}

/// What the clerk works with.
pub(super) struct Clerk {
    pub(super) scribe: Scribe,
    /// The first line of our comments.
    pub(super) marker: String,
    pub(super) forge: Option<Forge>,
    pub(super) metrics: Metrics,
    pub(super) board: Board,
    pub(super) clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    pub(super) chance: Chance,
    /// Whether other replicas tell the forge too.
    pub(super) shares: bool,
}

/// Something that the forge is to be told.
struct Waiting {
    delivery: Delivery,
    /// The same as it is written down.
    content: String,
    /// Since when it is wanted, in seconds since 1970.
    since: i64,
    /// Not before this moment, because it could not be told.
    not_before: Option<Instant>,
    /// How often in a row it could not be told.
    failures: u32,
}

/// What became of a try: the name, what was sent, and the answer; none when another replica was faster.
type Tried = (String, String, Option<Result<(), ForgeError>>);

struct Work {
    clerk: Clerk,
    waiting: BTreeMap<String, Waiting>,
    /// Under way: one at a time, because forges ask for that.
    trying: JoinSet<Tried>,
    /// Until when nothing is sent, because the forge as a whole is not to be had.
    pause: Option<Instant>,
    /// How often in a row the forge as a whole failed.
    failures: u32,
    /// Whether what the journal has that the forge was not told is ours to tell.
    takes_up: bool,
}

impl Clerk {
    /// Makes the desk for a clerk, and what [`Clerk::work`] needs of it.
    pub(super) fn desk(has_forge: bool) -> (Desk, UnboundedReceiver<Errand>) {
        let (errands, received) = unbounded_channel();
        (Desk { errands, has_forge }, received)
    }

    /// Works until nobody can leave errands any more, and writes down what was left until then.
    pub(super) async fn work(self, mut errands: UnboundedReceiver<Errand>) {
        let mut work = Work::new(self);
        work.resume().await;
        let mut batch = Vec::new();
        loop {
            let now = Instant::now();
            work.clerk.scribe.write_next(now);
            work.try_next(now);
            work.show();
            let due = work.next_due().into_iter().chain(work.clerk.scribe.next_due()).min();
            let due = due.map(tokio::time::Instant::from_std);
            tokio::select! {
                count = errands.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return work.clerk.scribe.finish().await;
                    }
                    work.take(std::mem::take(&mut batch)).await;
                }
                Some(tried) = work.trying.join_next() => {
                    if let Ok(tried) = tried {
                        work.tried(tried).await;
                    }
                }
                Some(written) = work.clerk.scribe.writing.join_next() => {
                    if let Ok(written) = written
                        && work.clerk.scribe.written(written)
                    {
                        work.clerk.scribe.resume().await;
                        work.resume().await;
                    }
                }
                () = super::sleep_until(due), if due.is_some() => {}
            }
        }
    }
}

impl Work {
    fn new(clerk: Clerk) -> Self {
        let takes_up = !clerk.shares;
        Self { clerk, waiting: BTreeMap::new(), trying: JoinSet::new(), pause: None, failures: 0, takes_up }
    }

    /// Takes up what the journal has that the forge was not told.
    async fn resume(&mut self) {
        if !self.takes_up {
            return;
        }
        let unsent = self.clerk.scribe.journal().unsent().await;
        let unsent = unsent.inspect_err(|error| tracing::warn!("failed to {error}")).unwrap_or_default();
        for Letter { name, content, since } in unsent {
            // Written by another version: what is wanted is told again when it moves.
            let Ok(delivery) = serde_json::from_str(&content) else { continue };
            let waiting = Waiting { delivery, content, since, not_before: None, failures: 0 };
            self.waiting.entry(name).or_insert(waiting);
        }
    }

    async fn take(&mut self, errands: Vec<Errand>) {
        let (mut deliveries, now) = (Vec::new(), Instant::now());
        for errand in errands {
            match errand {
                Errand::Note(commits) => self.clerk.scribe.note(commits, now),
                Errand::Tell(more) => deliveries.extend(more),
                Errand::Record(event) => self.clerk.scribe.record(event, now),
                Errand::Keep(head, made, report) => self.clerk.scribe.keep(head, made, report, now),
                Errand::Recover(events) => self.recover(events, now).await,
                // In a file of its own there is nothing but what this replica was to tell once, and others have told since.
                Errand::TakeUp => {
                    self.takes_up |= self.clerk.scribe.journal().may_be_shared();
                    self.resume().await;
                }
            }
        }
        if !deliveries.is_empty() {
            self.accept(deliveries).await;
        }
    }

    /// Writes down what happened while nobody did. A journal that can't be read holds none of it, as far as we know.
    async fn recover(&mut self, events: Vec<Arc<Event>>, now: Instant) {
        let since = events.iter().map(|event| event.at).min().unwrap_or(0) - CLOCKS_APART;
        let known = self.clerk.scribe.journal().events_of(&EventKind::ALL, since).await;
        let known: Vec<_> = known.unwrap_or_default().iter().map(Event::essence).collect();
        for event in events.into_iter().filter(|event| !known.contains(&event.essence())) {
            self.clerk.scribe.record(event, now);
        }
    }

    /// Lines up what the forge is to be told, but for what it was told already.
    async fn accept(&mut self, deliveries: Vec<Delivery>) {
        let since = (self.clerk.clock)();
        // Of two about the same thing the later one counts.
        let mut newest = BTreeMap::new();
        for delivery in deliveries {
            let content = serde_json::to_string(&delivery).unwrap_or_default();
            newest.insert(delivery.name(), (delivery, content));
        }
        let letters: Vec<_> = newest
            .iter()
            .map(|(name, (_, content))| Letter { name: name.clone(), content: content.clone(), since })
            .collect();
        // What can't be written down is told all the same; the forge takes it twice if need be.
        let news = self.clerk.scribe.post(&letters).await;
        for ((name, (delivery, content)), is_news) in newest.into_iter().zip(news) {
            if is_news {
                let waiting = Waiting { delivery, content, since, not_before: None, failures: 0 };
                self.waiting.insert(name, waiting);
            } else {
                self.waiting.remove(&name);
            }
        }
    }

    /// Begins the next try, if there is one to begin.
    fn try_next(&mut self, now: Instant) {
        let Some(forge) = self.clerk.forge.clone() else { return };
        if !self.trying.is_empty() || self.pause.is_some_and(|until| until > now) {
            return;
        }
        let may_go = |waiting: &&Waiting| waiting.not_before.is_none_or(|until| until <= now);
        let first = self.waiting.values().filter(may_go).min_by_key(|it| (it.delivery.rank(), it.since));
        let Some(Waiting { delivery, content, .. }) = first else { return };
        let (delivery, content, name) = (delivery.clone(), content.clone(), delivery.name());
        let marker = self.clerk.marker.clone();
        // What is not written down yet, nobody else can know.
        let asks = self.clerk.shares && !self.clerk.scribe.is_unposted(&name);
        let journal = self.clerk.scribe.journal().clone();
        self.trying.spawn(async move {
            if asks && matches!(journal.is_overtaken(&name, &content).await, Ok(true)) {
                return (name, content, None);
            }
            let told = tell(&forge, &marker, &delivery).await;
            (name, content, Some(told))
        });
    }

    async fn tried(&mut self, (name, content, told): Tried) {
        let now = Instant::now();
        let Some(told) = told else {
            return self.waiting.retain(|waiting, it| *waiting != name || it.content != content);
        };
        let result = match &told {
            Ok(()) => Told::Sent,
            Err(ForgeError::Busy { .. }) => Told::Busy,
            Err(ForgeError::Unavailable { .. }) => Told::Unavailable,
            Err(ForgeError::Settings { .. } | ForgeError::LoginRefused { .. }) => Told::LoginRefused,
            Err(ForgeError::Unfit { .. } | ForgeError::Refused { .. }) => Told::Refused,
        };
        self.clerk.metrics.told(result);
        let Err(error) = told else {
            if self.failures > 0 {
                tracing::info!("the forge can be told again");
            }
            (self.failures, self.pause) = (0, None);
            return self.done(&name, &content).await;
        };
        let is_its_own = matches!(error, ForgeError::LoginRefused { status: 403, .. });
        if result == Told::Refused || is_its_own {
            return self.refused(&name, &content, &error, now).await;
        }
        // Should it be this one alone that the forge can't take, the others go first from now on.
        if let Some(waiting) = self.waiting.get_mut(&name) {
            waiting.failures += 1;
            waiting.not_before = Some(now + doubled(FIRST_WAIT, waiting.failures));
        }
        // The forge as a whole: said once, until it is well again.
        if self.failures == 0 {
            tracing::warn!(waiting = self.waiting.len(), "failed to {error}; it is tried again");
        }
        self.failures = self.failures.saturating_add(1);
        let wait = error.retry_after().unwrap_or_else(|| doubled(FIRST_WAIT, self.failures));
        self.pause = Some(now + wait.mul_f64(1.0 + 0.2 * (self.clerk.chance)()));
        let words = format!("{} to be told: failed to {error}", self.waiting.len());
        self.clerk.board.update(|picture| picture.fleet.forge = Some(words));
    }

    async fn done(&mut self, name: &str, content: &str) {
        self.waiting.retain(|waiting, it| waiting != name || it.content != content);
        self.clerk.scribe.sent(name, content).await;
    }

    /// The forge is well, and refuses this one: the others go on.
    async fn refused(&mut self, name: &str, content: &str, error: &ForgeError, now: Instant) {
        (self.failures, self.pause) = (0, None);
        let Some(waiting) = self.waiting.get_mut(name).filter(|it| it.content == content) else { return };
        waiting.failures += 1;
        // What the login may not do, a person may let it do.
        let may_mend = matches!(error, ForgeError::LoginRefused { .. });
        if may_mend && waiting.failures == 1 {
            tracing::warn!(delivery = name, "failed to {error}; it is tried again");
        }
        if may_mend || !error.is_final() && waiting.failures < REFUSALS {
            let wait = doubled(FIRST_REFUSED_WAIT, waiting.failures);
            waiting.not_before = Some(now + wait);
            tracing::debug!(delivery = name, "failed to {error}; it is tried again");
            return;
        }
        tracing::warn!(delivery = name, "failed to {error}; it is not told");
        self.waiting.remove(name);
        self.clerk.scribe.give_up(name, content).await;
    }

    fn show(&self) {
        self.clerk.scribe.show();
        let oldest = self.waiting.values().map(|waiting| waiting.since).min();
        self.clerk.metrics.set_outbox(self.waiting.len(), oldest);
        if self.failures == 0 && self.clerk.board.reader().read(|picture| picture.fleet.forge.is_some()) {
            self.clerk.board.update(|picture| picture.fleet.forge = None);
        }
    }

    /// When there is something to try, unless it is now.
    fn next_due(&self) -> Option<Instant> {
        if self.waiting.is_empty() || !self.trying.is_empty() || self.clerk.forge.is_none() {
            return None;
        }
        let first = self.waiting.values().map(|waiting| waiting.not_before).min().flatten();
        first.max(self.pause)
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}

async fn tell(forge: &Forge, marker: &str, delivery: &Delivery) -> Result<(), ForgeError> {
    match delivery {
        Delivery::Status { commit, status } => forge.set_status(commit, status).await,
        Delivery::Comment { pull, text } => forge.put_comment(*pull, marker, text).await,
        Delivery::Annotations { pull, head, annotations } => {
            match forge.pull(*pull).await? {
                // It has moved on, and so will what is said of it.
                Some(pull) if pull.head != *head => Ok(()),
                Some(pull) => forge.annotate(&pull, annotations).await.map(|_| ()),
                None => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Bundle, Journal, scratch};
    use crate::report::{CommitState, CommitStatus, History};

    fn status(words: &str) -> Vec<Delivery> {
        let status = CommitStatus::new("storekeeper/all", CommitState::Success, words, None);
        vec![Delivery::Status { commit: "1a2b".to_owned(), status }]
    }

    fn work(journal: Journal) -> Work {
        let (metrics, board, clock) = (Metrics::new(), Board::default(), Arc::new(|| 7));
        let scribe =
            Scribe::new((journal, Ok(())), metrics.clone(), board.clone(), History::default(), clock.clone());
        let marker = "<!-- m -->".to_owned();
        let chance = Arc::new(|| 0.0);
        Work::new(Clerk { scribe, marker, forge: None, metrics, board, clock, chance, shares: false })
    }

    #[tokio::test]
    async fn where_others_tell_too_nothing_old_is_taken_up_from_a_file_of_our_own() {
        let (_folder, journal) = scratch().await;
        let mut before = work(journal);
        before.accept(status("one")).await;
        let mut after = work(before.clerk.scribe.journal().clone());
        (after.clerk.shares, after.takes_up) = (true, false);
        after.resume().await;
        after.take(vec![Errand::TakeUp]).await;
        assert!(after.waiting.is_empty(), "another replica has told what came of it since");
    }

    #[tokio::test]
    async fn what_the_replica_before_has_written_is_not_written_again_and_the_rest_is() {
        let (_folder, journal) = scratch().await;
        let event =
            |id, kind| Arc::new(Event { id, ..Event::new(1_000 + id, kind, None, format!("seen {id}")) });
        let written = Bundle { events: vec![event(1, EventKind::CommitFollowed)], ..Bundle::default() };
        journal.write(&written, 1_001).await.unwrap();
        let mut work = work(journal.clone());
        let seen = vec![event(2, EventKind::CommitFollowed), event(3, EventKind::Frozen)];
        work.take(vec![Errand::Recover(seen)]).await;
        work.clerk.scribe.finish().await;
        let words: Vec<_> = journal.newest(9).await.unwrap().0.into_iter().map(|event| event.words).collect();
        assert_eq!(words, ["seen 1", "seen 3"]);
    }

    #[tokio::test]
    async fn what_an_earlier_process_could_not_tell_is_taken_up() {
        let (_folder, journal) = scratch().await;
        let mut before = work(journal);
        before.accept(status("one")).await;
        let mut after = work(before.clerk.scribe.journal().clone());
        after.resume().await;
        let waiting: Vec<_> = after.waiting.values().map(|it| (it.content.clone(), it.since)).collect();
        assert_eq!(waiting, [(serde_json::to_string(&status("one")[0]).unwrap(), 7)]);
    }

    #[tokio::test]
    async fn what_was_told_is_not_told_again_and_what_is_told_otherwise_is() {
        let (_folder, journal) = scratch().await;
        let mut work = work(journal);
        work.accept(status("one")).await;
        let sent: Vec<_> = work.waiting.iter().map(|(name, it)| (name.clone(), it.content.clone())).collect();
        assert_eq!(sent.len(), 1);
        work.done(&sent[0].0, &sent[0].1).await;
        work.accept(status("one")).await;
        assert!(work.waiting.is_empty(), "it was told");
        work.accept(status("other")).await;
        assert_eq!(work.waiting.len(), 1);
        work.accept(status("one")).await;
        assert!(work.waiting.is_empty(), "what the forge shows already is true again");
    }
}
