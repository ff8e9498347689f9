//! Writes the journal: gathers what is to be written, writes it in one transaction beside everything else, and when the database
//! is away keeps it in memory until it is back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::telling::take_up;
use crate::journal::{Bundle, Journal, JournalError, Letter, Unposted};
use crate::metrics::Metrics;
use crate::report::{Board, CommitReport, Event, History, Sample, StoreState};

/// How long notes wait for further ones: while a thousand stores come up, each of them moves several times a second, and what
/// a restart would have missed it sees again.
const GATHERING: Duration = Duration::from_millis(250);

/// After so many commits the scribe forgets which ones it has written down, and writes the next note of each at once.
const NOTED_MOST: usize = 1000;

/// How many events wait in memory at most: with some 400 bytes each, 20 megabytes.
pub(super) const BACKLOG_MOST: usize = 50_000;

/// How many events are written at once.
const WRITTEN_AT_ONCE: usize = 2000;

/// How many plans wait in memory at most: as many as the journal keeps.
const PLANS_MOST: usize = 200;

/// How many letters wait in memory at most. What is forgotten is told once more after a restart.
const LETTERS_MOST: usize = 20_000;

/// The wait after the first failure; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long the last try may take when the process ends.
const LAST_TRY: Duration = Duration::from_millis(1500);

/// How often it is written down how many stores are in which state.
const SAMPLING: Duration = Duration::from_mins(15);

/// How often is looked whether the first pass is over, after which the first sample is taken.
const FIRST_PASS: Duration = Duration::from_secs(2);

/// A try to write that has ended.
pub(super) type Written = (Bundle, Result<(), JournalError>);

/// Writes the journal.
pub(super) struct Scribe {
    journal: Journal,
    metrics: Metrics,
    board: Board,
    history: History,
    clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// What is to be written down, the oldest first.
    events: VecDeque<Arc<Event>>,
    notes: Vec<CommitReport>,
    /// The commits that are in the journal already.
    noted: BTreeSet<String>,
    plans: BTreeMap<String, (i64, String)>,
    letters: BTreeMap<String, Unposted>,
    sample: Option<(i64, BTreeMap<StoreState, usize>)>,
    next_sample: Instant,
    /// When the next write is due.
    due: Option<Instant>,
    /// Under way: one at a time.
    pub(super) writing: JoinSet<Written>,
    /// Until when nothing is tried, because the database is not to be had.
    pause: Option<Instant>,
    failures: u32,
    /// Whether what the journal tells of the days before is known.
    is_resumed: bool,
}

impl Scribe {
    /// Makes a scribe. `opened` says how the first try to open the journal ended.
    pub(super) fn new(
        (journal, opened): (Journal, Result<(), JournalError>),
        metrics: Metrics,
        board: Board,
        history: History,
        clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    ) -> Self {
        let mut scribe = Self {
            journal,
            metrics,
            board,
            history,
            clock,
            events: VecDeque::new(),
            notes: Vec::new(),
            noted: BTreeSet::new(),
            plans: BTreeMap::new(),
            letters: BTreeMap::new(),
            sample: None,
            next_sample: Instant::now() + FIRST_PASS,
            due: None,
            writing: JoinSet::new(),
            pause: None,
            failures: 0,
            is_resumed: opened.is_ok(),
        };
        scribe.checked(opened);
        scribe.show();
        scribe
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Takes an event to write down. When too many wait, the oldest is lost, and counted.
    pub(super) fn record(&mut self, event: Arc<Event>, now: Instant) {
        if self.events.len() >= BACKLOG_MOST {
            self.events.pop_front();
            self.metrics.journal_event_lost();
        }
        self.events.push_back(event);
        self.is_due(now + GATHERING);
    }

    /// Collects notes of commits; that there is a new one is written down at once.
    pub(super) fn note(&mut self, commits: Vec<CommitReport>, now: Instant) {
        if self.noted.len() > NOTED_MOST {
            self.noted.clear();
        }
        for commit in commits {
            let is_new = self.noted.insert(commit.revision.clone());
            self.is_due(if is_new { now } else { now + GATHERING });
            match self.notes.iter_mut().find(|known| known.revision == commit.revision) {
                Some(known) => known.absorb(commit),
                None => self.notes.push(commit),
            }
        }
    }

    /// Takes a plan to write down.
    pub(super) fn keep(&mut self, head: String, made: i64, report: String, now: Instant) {
        self.plans.insert(head, (made, report));
        if self.plans.len() > PLANS_MOST {
            let oldest = self.plans.iter().min_by_key(|(_, (made, _))| *made).map(|(head, _)| head.clone());
            oldest.and_then(|oldest| self.plans.remove(&oldest));
        }
        self.is_due(now);
    }

    /// Writes down what the forge is to be told. Returns which of it is news; all of it when that is not known.
    pub(super) async fn post(&mut self, letters: &[Letter]) -> Vec<bool> {
        let posted = self.journal.post(letters).await;
        if let Some(news) = self.checked(posted) {
            return news;
        }
        for letter in letters {
            let unposted = self.unposted(&letter.name);
            (unposted.wanted, unposted.given_up) = (Some(letter.clone()), None);
        }
        vec![true; letters.len()]
    }

    /// Writes down that the forge was told something.
    pub(super) async fn sent(&mut self, name: &str, content: &str) {
        let sent = self.journal.sent(name, content, (self.clock)()).await;
        if self.checked(sent).is_none() {
            self.unposted(name).sent = Some(content.to_owned());
        }
    }

    /// Writes down that the forge refuses something for good.
    pub(super) async fn give_up(&mut self, name: &str, content: &str) {
        let given_up = self.journal.give_up_letter(name, content).await;
        if self.checked(given_up).is_none() {
            self.unposted(name).given_up = Some(content.to_owned());
        }
    }

    /// Whether something about this letter waits to be written down.
    pub(super) fn is_unposted(&self, name: &str) -> bool {
        self.letters.contains_key(name)
    }

    fn unposted(&mut self, name: &str) -> &mut Unposted {
        if self.letters.len() >= LETTERS_MOST && !self.letters.contains_key(name) {
            self.letters.pop_first();
        }
        self.is_due(Instant::now());
        self.letters.entry(name.to_owned()).or_default()
    }

    fn is_due(&mut self, due: Instant) {
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Begins to write, if there is something to write and it is time.
    pub(super) fn write_next(&mut self, now: Instant) {
        self.take_sample(now);
        let is_time = self.due.is_some_and(|due| due <= now) || !self.journal.is_open();
        if !self.writing.is_empty() || self.pause.is_some_and(|until| until > now) || !is_time {
            return;
        }
        self.begin();
    }

    fn begin(&mut self) {
        self.due = None;
        let bundle = Bundle {
            events: self.events.iter().take(WRITTEN_AT_ONCE).cloned().collect(),
            notes: std::mem::take(&mut self.notes),
            plans: std::mem::take(&mut self.plans),
            letters: std::mem::take(&mut self.letters),
            sample: self.sample.take(),
        };
        let (journal, now) = (self.journal.clone(), (self.clock)());
        self.writing.spawn(async move {
            let written = journal.write(&bundle, now).await;
            (bundle, written)
        });
    }

    /// A try to write has ended. Returns whether the journal is back after it was away.
    pub(super) fn written(&mut self, (bundle, written): Written) -> bool {
        if self.checked(written).is_none() {
            self.take_back(bundle);
            return false;
        }
        let last = bundle.events.last().map_or(i64::MIN, |event| event.id);
        while self.events.front().is_some_and(|event| event.id <= last) {
            self.events.pop_front();
        }
        if !self.events.is_empty() {
            self.is_due(
                Instant::now()
                    + if bundle.events.len() < WRITTEN_AT_ONCE { GATHERING } else { Duration::ZERO },
            );
        }
        let is_back = std::mem::take(&mut self.failures) > 0;
        if is_back {
            tracing::info!("the journal is written again");
        }
        self.pause = None;
        self.show();
        is_back
    }

    /// Takes up what could not be read when the process began.
    pub(super) async fn resume(&mut self) {
        if self.is_resumed {
            return;
        }
        let resumed = take_up(&self.journal, &self.history, &self.board, (self.clock)()).await;
        self.is_resumed = self.checked(resumed).is_some();
    }

    /// Keeps what could not be written, beneath what came meanwhile.
    fn take_back(&mut self, bundle: Bundle) {
        let Bundle { events: _, notes, plans, letters, sample } = bundle;
        let newer = std::mem::replace(&mut self.notes, notes);
        self.note(newer, Instant::now());
        for (head, plan) in plans {
            self.plans.entry(head).or_insert(plan);
        }
        for (name, older) in letters {
            let newer = self.letters.entry(name).or_default();
            newer.sent = newer.sent.take().or(older.sent);
            // A letter that was wanted after it was given up is wanted.
            newer.given_up = newer.given_up.take().or(older.given_up.filter(|_| newer.wanted.is_none()));
            newer.wanted = newer.wanted.take().or(older.wanted);
        }
        self.sample = self.sample.take().or(sample);
        self.is_due(Instant::now());
    }

    /// Says what is wrong with the journal, lets go of it, and goes on.
    fn checked<T>(&mut self, result: Result<T, JournalError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            // It was said when that began.
            Err(JournalError::Away { .. }) => return None,
            Err(error) => error,
        };
        self.metrics.journal_failed();
        if let JournalError::Content { .. } = error {
            // Written by another version, or by somebody: the database is well.
            tracing::error!("failed to {error}; nothing else waits for it");
            return None;
        }
        self.journal.give_up(&error);
        if self.failures == 0 {
            tracing::error!("failed to {error}; nothing else waits for it, and it is tried again");
        }
        self.failures = self.failures.saturating_add(1);
        let wait = FIRST_WAIT.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST_WAIT);
        self.pause = Some(Instant::now() + wait);
        let words = format!(
            "failed to {error}; stores go on, and what happens is kept in memory and written down when the journal can be \
             used again"
        );
        self.board.update(|picture| picture.fleet.journal = Some(words));
        self.show();
        None
    }

    /// Shows how the journal is.
    pub(super) fn show(&self) {
        self.metrics.set_journal(self.failures == 0, self.events.len());
        if self.failures == 0 && self.board.reader().read(|picture| picture.fleet.journal.is_some()) {
            self.board.update(|picture| picture.fleet.journal = None);
        }
    }

    /// Counts the stores by their states, when it is time.
    fn take_sample(&mut self, now: Instant) {
        if self.next_sample > now {
            return;
        }
        let sample = self.board.reader().read(|picture| {
            let mut stores: BTreeMap<_, _> = StoreState::ALL.into_iter().map(|state| (state, 0)).collect();
            for report in picture.stores.values() {
                *stores.entry(report.state).or_default() += 1;
            }
            picture.fleet.ready.then_some(stores)
        });
        self.next_sample = now + if sample.is_some() { SAMPLING } else { FIRST_PASS };
        if let Some(stores) = sample {
            let at = (self.clock)();
            self.history.sample(Sample { at, stores: stores.clone() });
            self.sample = Some((at, stores));
            self.is_due(now);
        }
    }

    /// When there is something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let write = if !self.writing.is_empty() {
            None
        } else if self.journal.is_open() {
            self.due.max(self.pause.filter(|_| self.due.is_some()))
        } else {
            self.pause
        };
        write.into_iter().chain([self.next_sample]).min()
    }

    /// Writes down what is left, if that takes no longer than the process may, and says where the chain of events ends.
    pub(super) async fn finish(&mut self) {
        let _ = tokio::time::timeout(LAST_TRY, self.write_all()).await;
        if !self.events.is_empty() {
            let events = self.events.len();
            tracing::error!(
                journal.lost = events,
                "what happened last could not be written into the journal"
            );
        }
        let _ = tokio::time::timeout(LAST_TRY, log_head(&self.journal, "the journal is closed")).await;
    }

    async fn write_all(&mut self) {
        let mut failed = false;
        loop {
            if self.writing.is_empty() {
                if self.due.is_none() || failed {
                    break;
                }
                self.begin();
            }
            if let Some(Ok(written)) = self.writing.join_next().await {
                failed = written.1.is_err();
                self.written(written);
            }
        }
    }
}

/// Logs where the chain of events ends: what the log says can be held against the journal later.
pub(super) async fn log_head(journal: &Journal, what: &str) {
    if let Ok((head, events)) = journal.head().await {
        tracing::info!(
            journal.events = events,
            journal.position = head.position,
            journal.head = head.hash,
            "{what}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::{Keep, Place, scratch};
    use crate::report::{CommitHead, CommitState, EventKind, StoreVerdict};

    fn scribe(journal: Journal, opened: Result<(), JournalError>) -> Scribe {
        Scribe::new((journal, opened), Metrics::new(), Board::default(), History::default(), Arc::new(|| 7))
    }

    fn event(id: i64) -> Arc<Event> {
        Arc::new(Event { id, ..Event::new(id, EventKind::Applied, None, "x") })
    }

    /// A scribe whose journal can't be opened until what is returned is removed.
    async fn away() -> (tempfile::TempDir, std::path::PathBuf, Scribe) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        fs::create_dir(&path).unwrap();
        let journal = Journal::new(Place::File(path.clone()), Keep::default(), "test");
        let opened = journal.open().await;
        assert!(opened.is_err());
        (folder, path, scribe(journal, opened))
    }

    /// Waits for one try.
    async fn try_once(scribe: &mut Scribe) -> bool {
        scribe.begin();
        let written = scribe.writing.join_next().await.unwrap().unwrap();
        scribe.written(written)
    }

    fn gauge(scribe: &Scribe, line: &str) -> bool {
        scribe.metrics.reader().encode().lines().any(|found| found == line)
    }

    #[tokio::test]
    async fn what_waits_while_the_journal_is_away_has_an_end_and_what_is_lost_is_counted() {
        let (_folder, path, mut scribe) = away().await;
        let most = i64::try_from(BACKLOG_MOST).unwrap();
        for id in 1..=most + 3 {
            scribe.record(event(id), Instant::now());
        }
        scribe.show();
        assert!(gauge(&scribe, "storekeeper_journal_events_lost_total 3"));
        assert!(gauge(&scribe, &format!("storekeeper_journal_backlog {BACKLOG_MOST}")));
        assert!(!try_once(&mut scribe).await, "it is away still");
        assert!(gauge(&scribe, "storekeeper_journal_up 0"));
        fs::remove_dir(path).unwrap();
        assert!(try_once(&mut scribe).await, "it is back");
        while !scribe.events.is_empty() {
            try_once(&mut scribe).await;
        }
        let verified = scribe.journal.verify(None).await.unwrap();
        assert_eq!((verified.events, verified.broken), (BACKLOG_MOST as u64, None));
        assert_eq!(scribe.journal.newest(most).await.unwrap().0[0].id, 4, "the oldest are lost");
        assert!(gauge(&scribe, "storekeeper_journal_up 1"));
    }

    #[tokio::test]
    async fn what_became_of_commits_letters_and_plans_meanwhile_is_written_as_it_was_last() {
        let (_folder, path, mut scribe) = away().await;
        let note = |state| {
            let change = crate::report::Change::Added;
            let verdict = StoreVerdict { change, state, reason: String::new(), since: 7 };
            let head = CommitHead { revision: "1a2b".to_owned(), ..CommitHead::default() };
            CommitReport::new(head, 7, None, BTreeMap::from([("acme".parse().unwrap(), verdict)]))
        };
        let letter = |content: &str| Letter { name: "a".to_owned(), content: content.to_owned(), since: 7 };
        scribe.note(vec![note(CommitState::Pending)], Instant::now());
        assert_eq!(scribe.post(&[letter("pending")]).await, [true]);
        scribe.sent("a", "pending").await;
        scribe.keep("head".to_owned(), 1, "old".to_owned(), Instant::now());
        // While a try is under way, newer ones come.
        scribe.begin();
        scribe.note(vec![note(CommitState::Success)], Instant::now());
        assert_eq!(scribe.post(&[letter("success")]).await, [true]);
        scribe.keep("head".to_owned(), 2, "new".to_owned(), Instant::now());
        let failed = scribe.writing.join_next().await.unwrap().unwrap();
        assert!(!scribe.written(failed));
        fs::remove_dir(path).unwrap();
        assert!(try_once(&mut scribe).await);
        assert_eq!(scribe.journal.commits(9).await.unwrap(), [note(CommitState::Success)]);
        assert_eq!(scribe.journal.plans(9).await.unwrap(), ["new"]);
        assert_eq!(
            scribe.journal.unsent().await.unwrap(),
            [letter("success")],
            "it was told `pending` alone"
        );
    }

    #[tokio::test]
    async fn what_gathers_is_written_together_and_the_end_leaves_nothing() {
        let (_folder, journal) = scratch().await;
        let (mut scribe, now) = (scribe(journal, Ok(())), Instant::now());
        scribe.record(event(1), now);
        scribe.write_next(now);
        assert!(scribe.writing.is_empty(), "further ones may come");
        scribe.record(event(2), now);
        scribe.write_next(now + GATHERING);
        assert_eq!(scribe.writing.len(), 1);
        scribe.record(event(3), now);
        scribe.finish().await;
        assert_eq!(scribe.journal.verify(None).await.unwrap().events, 3);
    }
}
