//! What becomes of a commit: a verdict for each store that it changes, and one for all of them. Every verdict ends, and the
//! newest commit that changes a store is the one that its verdict belongs to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::{CommitState, CommitStatus};
use crate::names::{ClusterName, StoreId, status_all, status_context};
use crate::store::{Snapshot, StoreEntry};

/// How long a store may take before its commit's verdict is that it took too long, in seconds: longer than all steps to
/// READY together.
pub const LONGEST_VERDICT: i64 = 2 * 3600;

/// How much longer a removal may take than until its grace period ends, in seconds.
const AFTER_GRACE: i64 = 3600;

/// How many commits are remembered.
const COMMITS_REMEMBERED: usize = 100;

/// How many stores a sentence names.
const STORES_NAMED: usize = 3;

/// What a commit does to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// No file named it before.
    Added,
    /// Its file, or what holds for all stores, says something else.
    Changed,
    /// No file names it any more, or its removal is approved now.
    Removed,
}

/// What became of a commit in one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreVerdict {
    /// What the commit does to it.
    pub change: Change,
    /// Whether that is done.
    pub state: CommitState,
    /// Why, in words.
    pub reason: String,
    /// When the state was entered, in seconds since 1970.
    pub since: i64,
}

/// A commit and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitReport {
    /// Its id.
    pub revision: String,
    /// Who made it.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// When it was seen, in seconds since 1970.
    pub seen: i64,
    /// Why it is not followed, if it is not.
    pub refused: Option<String>,
    /// The stores that it changes.
    pub stores: BTreeMap<StoreId, StoreVerdict>,
    /// How many of them are pending and how many failed, kept up with every move: a commit may change ten thousand.
    counts: Counts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    pending: usize,
    failed: usize,
}

/// Which commit it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitHead {
    /// Its id.
    pub revision: String,
    /// Who made it.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
}

/// A commit that is in force from now on.
#[derive(Debug, Clone)]
pub struct NewCommit {
    /// Which it is.
    pub head: CommitHead,
    /// The stores that it changes.
    pub changes: BTreeMap<StoreId, Change>,
    /// What is wrong with the files of those that can't be read.
    pub broken: BTreeMap<StoreId, String>,
}

/// Where a store is on its way to what git wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is what git wants.
    Done(String),
    /// It is on its way; for removals also until when nothing happens, in seconds since 1970.
    Waiting(String, Option<i64>),
    /// It is not, and nothing but another commit, a person or luck will change that.
    Failed(String),
}

/// A verdict that moved: a store's, or with none the whole commit's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moved {
    /// The commit.
    pub revision: String,
    /// The store.
    pub store: Option<StoreId>,
}

/// The newest commits and what became of them.
#[derive(Debug, Clone, Default)]
pub struct CommitBook {
    /// From the oldest to the newest.
    commits: VecDeque<CommitReport>,
    /// The newest commit that changed a store: the others' verdicts on it move no more.
    newest: BTreeMap<StoreId, String>,
    /// Until when nothing happens to stores that wait for that.
    until: BTreeMap<StoreId, i64>,
    /// Counts the changes.
    moves: u64,
}

/// Finds what a commit changes: `before` is what was in force; without it everything is new.
pub fn changes(before: Option<&Snapshot>, after: &Snapshot) -> BTreeMap<StoreId, Change> {
    let ours = after.stores.iter().filter(|(id, _)| !after.is_others_trouble(id, before));
    let Some(before) = before else {
        return ours.map(|(id, _)| (id.clone(), Change::Added)).collect();
    };
    let mut found = BTreeMap::new();
    for (id, entry) in ours {
        match before.stores.get(id) {
            None => _ = found.insert(id.clone(), Change::Added),
            Some(known) if !says_the_same(known, entry) => _ = found.insert(id.clone(), Change::Changed),
            Some(_) => {}
        }
    }
    let gone = before.stores.keys().filter(|id| !after.stores.contains_key(*id));
    let approved = |fleet: &Snapshot| -> BTreeSet<StoreId> {
        fleet.fleet.deletion_budget.approved.iter().cloned().collect()
    };
    let newly_approved = approved(after).into_iter().filter(|id| !approved(before).contains(id));
    let approved_now = newly_approved.filter(|id| !after.stores.contains_key(id));
    found.extend(gone.cloned().chain(approved_now).map(|id| (id, Change::Removed)));
    found
}

fn says_the_same(before: &StoreEntry, after: &StoreEntry) -> bool {
    match (before, after) {
        (StoreEntry::Accepted(before), StoreEntry::Accepted(after)) => {
            std::sync::Arc::ptr_eq(before, after)
                || (before.digest() == after.digest()
                    && before.rollback == after.rollback
                    && before.protect == after.protect
                    && before.pause == after.pause)
        }
        (StoreEntry::Rejected(before), StoreEntry::Rejected(after)) => before == after,
        _ => false,
    }
}

impl CommitReport {
    /// Describes a commit and what became of it.
    pub fn new(
        commit: CommitHead,
        seen: i64,
        refused: Option<String>,
        stores: BTreeMap<StoreId, StoreVerdict>,
    ) -> Self {
        let CommitHead { revision, author, subject } = commit;
        let count = |state| stores.values().filter(|verdict| verdict.state == state).count();
        let counts = Counts { pending: count(CommitState::Pending), failed: count(CommitState::Failure) };
        Self { revision, author, subject, seen, refused, stores, counts }
    }

    /// Returns the same with no more than one store's verdict.
    #[must_use]
    pub fn excerpt(&self, store: Option<&StoreId>) -> Self {
        let Self { revision, author, subject, seen, refused, stores, counts: _ } = self;
        let head =
            CommitHead { revision: revision.clone(), author: author.clone(), subject: subject.clone() };
        let kept = store.and_then(|store| stores.get_key_value(store));
        let stores = kept.map(|(store, verdict)| (store.clone(), verdict.clone())).into_iter().collect();
        Self::new(head, *seen, refused.clone(), stores)
    }

    /// Takes over what a later report of the same commit says; verdicts that it does not have stay.
    pub fn absorb(&mut self, later: Self) {
        let Self { revision, author, subject, seen, refused, stores, counts: _ } = later;
        (self.revision, self.author, self.subject) = (revision, author, subject);
        (self.seen, self.refused) = (seen, refused);
        for (store, verdict) in stores {
            let state = verdict.state;
            // One that was not counted counts like a success: not at all.
            let before =
                self.stores.insert(store, verdict).map_or(CommitState::Success, |before| before.state);
            self.moves(before, state);
        }
    }

    /// Returns the state of the commit as a whole: the first failure decides, then whoever is not done.
    pub fn state(&self) -> CommitState {
        match self.counts {
            _ if self.refused.is_some() => CommitState::Failure,
            Counts { failed: 1.., .. } => CommitState::Failure,
            Counts { pending: 1.., .. } => CommitState::Pending,
            _ => CommitState::Success,
        }
    }

    /// Returns the verdict on the commit as a whole, in words too.
    pub fn overall(&self) -> (CommitState, String) {
        if let Some(reason) = &self.refused {
            return (CommitState::Failure, reason.clone());
        }
        let of = |state| self.stores.iter().filter(move |(_, verdict)| verdict.state == state);
        let Counts { pending: waiting, failed } = self.counts;
        let all = self.stores.len();
        if let Some((store, verdict)) = of(CommitState::Failure).next() {
            let so_far = if waiting > 0 { format!(", {waiting} not done yet") } else { String::new() };
            let words = format!("{failed} of {all} failed{so_far}: {store}: {}", verdict.reason);
            return (CommitState::Failure, words);
        }
        if waiting > 0 {
            let named: Vec<_> =
                of(CommitState::Pending).take(STORES_NAMED).map(|(id, _)| id.as_str()).collect();
            let more = if waiting > named.len() { ", …" } else { "" };
            let words = format!("{} of {all} done, waiting for {}{more}", all - waiting, named.join(", "));
            return (CommitState::Pending, words);
        }
        match (all, self.stores.iter().next()) {
            (1, Some((store, verdict))) => (CommitState::Success, format!("{store}: {}", verdict.reason)),
            (0, _) => (CommitState::Success, "it changes no store".to_owned()),
            _ => (CommitState::Success, format!("all {all} stores are as it wants them")),
        }
    }

    fn is_over(&self) -> bool {
        self.counts.pending == 0
    }

    /// Counts a store's move from one state to another.
    fn moves(&mut self, from: CommitState, to: CommitState) {
        let Counts { pending, failed } = &mut self.counts;
        match from {
            CommitState::Pending => *pending -= 1,
            CommitState::Failure => *failed -= 1,
            CommitState::Success => {}
        }
        match to {
            CommitState::Pending => *pending += 1,
            CommitState::Failure => *failed += 1,
            CommitState::Success => {}
        }
    }
}

impl CommitBook {
    /// Makes a book of an earlier process's commits, from the oldest to the newest.
    pub fn resume(commits: Vec<CommitReport>) -> Self {
        let mut book = Self::default();
        book.take_up(commits);
        book
    }

    /// Takes up where an earlier process was, behind what this one knows by now: its commits from the oldest to the newest.
    pub fn take_up(&mut self, commits: Vec<CommitReport>) {
        for commit in commits.into_iter().rev() {
            if self.commits.len() >= COMMITS_REMEMBERED || self.commit(&commit.revision).is_some() {
                continue;
            }
            for store in commit.stores.keys() {
                self.newest.entry(store.clone()).or_insert_with(|| commit.revision.clone());
            }
            self.commits.push_front(commit);
            self.moves += 1;
        }
    }

    /// Counts the changes: it grows with each.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// Returns the commits from the newest to the oldest.
    pub fn commits(&self) -> impl Iterator<Item = &CommitReport> {
        self.commits.iter().rev()
    }

    /// Returns a commit.
    pub fn commit(&self, revision: &str) -> Option<&CommitReport> {
        self.commits().find(|commit| commit.revision == revision)
    }

    /// Returns the newest commit that changed a store, as far as it is remembered.
    pub fn newest_of(&self, store: &StoreId) -> Option<&CommitReport> {
        self.commit(self.newest.get(store)?)
    }

    /// Puts a commit in force. What older ones wanted of the stores that it changes is superseded.
    pub fn begin(&mut self, commit: NewCommit, now: i64) -> Vec<Moved> {
        let NewCommit { head, changes, broken } = commit;
        let revision = head.revision.clone();
        let mut moved = Vec::new();
        let earlier = self.commit(&revision).is_some_and(|it| it.refused.is_none());
        if earlier && changes.is_empty() {
            return moved;
        }
        self.commits.retain(|known| known.revision != revision);
        for store in changes.keys() {
            moved.extend(self.supersede(store, &revision, now));
        }
        let verdict = |(store, change): (&StoreId, &Change)| {
            let (state, reason) = match broken.get(store) {
                Some(problem) => (CommitState::Failure, problem.clone()),
                None => (CommitState::Pending, "waiting for its first run".to_owned()),
            };
            (store.clone(), StoreVerdict { change: *change, state, reason, since: now })
        };
        let stores: BTreeMap<_, _> = changes.iter().map(verdict).collect();
        for store in stores.keys() {
            self.newest.insert(store.clone(), revision.clone());
            moved.push(Moved { revision: revision.clone(), store: Some(store.clone()) });
        }
        moved.push(Moved { revision: revision.clone(), store: None });
        self.push(CommitReport::new(head, now, None, stores));
        moved
    }

    /// A commit is not followed, for this reason. It changes nothing, so what older ones want still holds.
    pub fn refuse(&mut self, revision: &str, reason: &str, now: i64) -> Option<Moved> {
        let moved = Moved { revision: revision.to_owned(), store: None };
        if let Some(known) = self.commits.iter_mut().find(|commit| commit.revision == revision) {
            // A commit that is in force already is not refused by a later look that failed.
            let is_news = known.refused.as_ref().is_some_and(|before| before != reason);
            if is_news {
                known.refused = Some(reason.to_owned());
                self.moves += 1;
            }
            return is_news.then_some(moved);
        }
        let head = CommitHead { revision: revision.to_owned(), ..CommitHead::default() };
        self.push(CommitReport::new(head, now, Some(reason.to_owned()), BTreeMap::new()));
        Some(moved)
    }

    /// Notes where a store is.
    pub fn note(&mut self, store: &StoreId, progress: &Progress, now: i64) -> Vec<Moved> {
        let Some(revision) = self.newest.get(store).cloned() else { return Vec::new() };
        if let Progress::Waiting(_, until) = progress
            && self.commit(&revision).is_some_and(|commit| commit.stores.contains_key(store))
        {
            match until {
                Some(until) => _ = self.until.insert(store.clone(), *until),
                None => _ = self.until.remove(store),
            }
        }
        self.judge(&revision, store, progress, now)
    }

    /// Moves a commit's verdict on a store.
    fn judge(&mut self, revision: &str, store: &StoreId, progress: &Progress, now: i64) -> Vec<Moved> {
        let Some(commit) = self.commits.iter_mut().find(|commit| commit.revision == revision) else {
            return Vec::new();
        };
        let (before, was_over) = (commit.state(), commit.is_over());
        let Some(verdict) = commit.stores.get_mut(store) else { return Vec::new() };
        let (state, reason) = match progress {
            Progress::Done(reason) => (CommitState::Success, reason),
            Progress::Failed(reason) => (CommitState::Failure, reason),
            Progress::Waiting(reason, _) => (CommitState::Pending, reason),
        };
        match (verdict.state, state) {
            // What was done is done: how the shop fares later is no longer the commit's doing. And what failed or took too
            // long is not pending again: a verdict ends once, though it may end better.
            (CommitState::Success, _)
            | (CommitState::Failure, CommitState::Failure | CommitState::Pending) => return Vec::new(),
            (CommitState::Pending, CommitState::Pending) => {
                if verdict.reason != *reason {
                    verdict.reason.clone_from(reason);
                    self.moves += 1;
                }
                return Vec::new();
            }
            (CommitState::Pending | CommitState::Failure, _) => {}
        }
        self.moves += 1;
        let from = verdict.state;
        (verdict.state, verdict.since) = (state, now);
        verdict.reason.clone_from(reason);
        commit.moves(from, state);
        let of = |store| Moved { revision: revision.to_owned(), store };
        let mut moved = vec![of(Some(store.clone()))];
        if before != commit.state() || (!was_over && commit.is_over()) {
            moved.push(of(None));
        }
        moved
    }

    /// Ends what has been waited for too long, and what an earlier process left open that is not waited for any more.
    pub fn end_overdue(&mut self, now: i64) -> Vec<Moved> {
        let overdue = self.open().filter(|open| open.deadline <= now);
        let overdue: Vec<_> =
            overdue.map(|open| (open.revision.to_owned(), open.store.clone(), open.words())).collect();
        let mut moved = Vec::new();
        for (revision, store, words) in overdue {
            moved.extend(self.judge(&revision, &store, &Progress::Failed(words), now));
        }
        moved
    }

    /// Whether any verdict is pending.
    pub fn is_any_open(&self) -> bool {
        self.commits.iter().any(|commit| !commit.is_over())
    }

    /// What is pending, and until when that may be so.
    fn open(&self) -> impl Iterator<Item = Open<'_>> {
        let commits = self.commits.iter().filter(|commit| !commit.is_over());
        commits.flat_map(move |commit| {
            let pending = commit.stores.iter().filter(|(_, verdict)| verdict.state == CommitState::Pending);
            pending.map(move |(store, verdict)| {
                let newer = self.newest.get(store).filter(|newest| **newest != commit.revision);
                let usual = commit.seen.saturating_add(LONGEST_VERDICT);
                let until = self.until.get(store).map(|until| until.saturating_add(AFTER_GRACE));
                let deadline = match newer {
                    Some(_) => i64::MIN,
                    None => until.map_or(usual, |until| until.max(usual)),
                };
                Open {
                    revision: &commit.revision,
                    store,
                    reason: &verdict.reason,
                    newer: newer.map(String::as_str),
                    deadline,
                }
            })
        })
    }

    fn supersede(&mut self, store: &StoreId, by: &str, now: i64) -> Vec<Moved> {
        self.until.remove(store);
        let words = superseded(by);
        let newest = self.newest.get(store).and_then(|revision| self.commit(revision));
        let verdict = newest.and_then(|commit| commit.stores.get(store));
        if verdict.is_some_and(|verdict| verdict.state == CommitState::Pending) {
            self.note(store, &Progress::Failed(words), now)
        } else {
            Vec::new()
        }
    }

    fn push(&mut self, commit: CommitReport) {
        self.moves += 1;
        self.commits.push_back(commit);
        if self.commits.len() <= COMMITS_REMEMBERED {
            return;
        }
        // The oldest goes whose verdicts move no more, or the oldest of all.
        let is_idle = |commit: &CommitReport| {
            commit.stores.iter().all(|(store, verdict)| {
                verdict.state == CommitState::Success || self.newest.get(store) != Some(&commit.revision)
            })
        };
        let idle = self.commits.iter().position(is_idle).unwrap_or(0);
        if let Some(gone) = self.commits.remove(idle) {
            self.newest.retain(|_, revision| *revision != gone.revision);
        }
    }
}

/// A verdict that is pending.
struct Open<'a> {
    revision: &'a str,
    store: &'a StoreId,
    reason: &'a str,
    /// The newer commit that changes the store.
    newer: Option<&'a str>,
    /// Until when it may be pending, in seconds since 1970.
    deadline: i64,
}

impl Open<'_> {
    /// Says why it ends.
    fn words(&self) -> String {
        match self.newer {
            Some(newer) => superseded(newer),
            None => format!("not done yet, and still worked on: {}", self.reason),
        }
    }
}

fn superseded(by: &str) -> String {
    let short: String = by.chars().take(10).collect();
    format!("superseded by {short} before it was done")
}

/// Returns how a forge shows a verdict: a store's, or with none the whole commit's. `cluster` is the one that it is about,
/// where the fleet has several; `pages` is where our own pages are.
pub fn status(
    commit: &CommitReport,
    store: Option<&StoreId>,
    cluster: Option<&ClusterName>,
    pages: Option<&str>,
) -> Option<CommitStatus> {
    let CommitReport { revision, stores, .. } = commit;
    let Some(store) = store else {
        let (state, words) = commit.overall();
        let url = pages.map(|pages| format!("{pages}/commits/{revision}"));
        return Some(CommitStatus::new(&status_all(cluster), state, &words, url.as_deref()));
    };
    let verdict = stores.get(store)?;
    let url = pages.map(|pages| format!("{pages}/stores/{store}?revision={revision}"));
    let context = status_context(cluster, store);
    Some(CommitStatus::new(&context, verdict.state, &verdict.reason, url.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn id(name: &str) -> StoreId {
        name.parse().unwrap()
    }

    fn commit(revision: &str, changes: &[(&str, Change)]) -> NewCommit {
        NewCommit {
            head: CommitHead { revision: revision.repeat(40), ..CommitHead::default() },
            changes: changes.iter().map(|(store, change)| (id(store), *change)).collect(),
            broken: BTreeMap::new(),
        }
    }

    fn done() -> Progress {
        Progress::Done("READY".to_owned())
    }

    fn failed(why: &str) -> Progress {
        Progress::Failed(why.to_owned())
    }

    fn state(book: &CommitBook, revision: &str, store: &str) -> CommitState {
        book.commit(&revision.repeat(40)).unwrap().stores[&id(store)].state
    }

    fn overall(book: &CommitBook, revision: &str) -> (CommitState, String) {
        book.commit(&revision.repeat(40)).unwrap().overall()
    }

    fn moved(revision: &str, store: Option<&str>) -> Moved {
        Moved { revision: revision.repeat(40), store: store.map(id) }
    }

    #[test]
    fn a_commit_is_pending_until_its_last_store_is_done_and_says_each_move_once() {
        let mut book = CommitBook::default();
        let new = book.begin(commit("a", &[("acme", Change::Added), ("bold", Change::Changed)]), NOW);
        assert_eq!(new, [moved("a", Some("acme")), moved("a", Some("bold")), moved("a", None)]);
        assert_eq!(overall(&book, "a").1, "0 of 2 done, waiting for acme, bold");
        let waiting = Progress::Waiting("database: 0 of 1".to_owned(), None);
        assert_eq!(book.note(&id("acme"), &waiting, NOW), []);
        assert_eq!(book.note(&id("acme"), &done(), NOW), [moved("a", Some("acme"))]);
        assert_eq!(book.note(&id("acme"), &done(), NOW), []);
        let last = book.note(&id("bold"), &done(), NOW);
        assert_eq!(last, [moved("a", Some("bold")), moved("a", None)]);
        assert_eq!(overall(&book, "a"), (CommitState::Success, "all 2 stores are as it wants them".into()));
    }

    #[test]
    fn the_first_failure_decides_and_the_end_is_said_once_more() {
        let mut book = CommitBook::default();
        book.begin(commit("a", &[("acme", Change::Added), ("bold", Change::Added)]), NOW);
        let first = book.note(&id("acme"), &failed("no quota"), NOW);
        assert_eq!(first, [moved("a", Some("acme")), moved("a", None)]);
        assert_eq!(overall(&book, "a").1, "1 of 2 failed, 1 not done yet: acme: no quota");
        assert_eq!(book.note(&id("acme"), &failed("no quota at all"), NOW), [], "another word is no news");
        let last = book.note(&id("bold"), &done(), NOW);
        assert_eq!(last, [moved("a", Some("bold")), moved("a", None)]);
        assert_eq!(overall(&book, "a").1, "1 of 2 failed: acme: no quota");
        let mended = book.note(&id("acme"), &done(), NOW);
        assert_eq!(mended, [moved("a", Some("acme")), moved("a", None)], "a failure may end well");
    }

    #[test]
    fn a_newer_commit_ends_what_it_takes_over_and_nothing_else() {
        let mut book = CommitBook::default();
        book.begin(commit("a", &[("acme", Change::Added), ("bold", Change::Added)]), NOW);
        let new = book.begin(commit("b", &[("acme", Change::Changed)]), NOW + 1);
        assert!(new.contains(&moved("a", Some("acme"))) && new.contains(&moved("a", None)), "{new:?}");
        assert_eq!(state(&book, "a", "acme"), CommitState::Failure);
        let reason = &book.commit(&"a".repeat(40)).unwrap().stores[&id("acme")].reason;
        assert_eq!(reason, "superseded by bbbbbbbbbb before it was done");
        book.note(&id("acme"), &done(), NOW + 2);
        book.note(&id("bold"), &done(), NOW + 2);
        assert_eq!(state(&book, "a", "acme"), CommitState::Failure, "it is the newer one's success");
        assert_eq!(
            (state(&book, "a", "bold"), state(&book, "b", "acme")),
            (CommitState::Success, CommitState::Success)
        );
    }

    #[test]
    fn excerpts_put_together_are_the_whole_again() {
        let mut book = CommitBook::default();
        book.begin(commit("a", &[("acme", Change::Added), ("bold", Change::Added)]), NOW);
        let excerpt = |book: &CommitBook, store: Option<&str>| {
            let store = store.map(id);
            book.commit(&"a".repeat(40)).unwrap().excerpt(store.as_ref())
        };
        let mut notes = excerpt(&book, None);
        for store in ["acme", "bold"] {
            notes.absorb(excerpt(&book, Some(store)));
        }
        assert_eq!(&notes, book.commit(&"a".repeat(40)).unwrap());
        book.note(&id("acme"), &failed("no quota"), NOW);
        notes.absorb(excerpt(&book, Some("acme")));
        assert_eq!(&notes, book.commit(&"a".repeat(40)).unwrap());
        assert_eq!(notes.state(), CommitState::Failure);
    }

    #[test]
    fn what_was_done_stays_so_whatever_becomes_of_the_shop() {
        let mut book = CommitBook::default();
        book.begin(commit("a", &[("acme", Change::Added)]), NOW);
        book.note(&id("acme"), &done(), NOW);
        for later in [failed("down"), Progress::Waiting("again".to_owned(), None)] {
            assert_eq!(book.note(&id("acme"), &later, NOW + 9), []);
        }
        book.begin(commit("b", &[("acme", Change::Changed)]), NOW + 10);
        assert_eq!(state(&book, "a", "acme"), CommitState::Success);
    }

    #[test]
    fn nothing_is_pending_for_ever_and_a_grace_period_is_waited_for() {
        let mut book = CommitBook::default();
        book.begin(commit("a", &[("acme", Change::Added), ("bold", Change::Removed)]), NOW);
        let until = NOW + 10 * LONGEST_VERDICT;
        book.note(&id("bold"), &Progress::Waiting("kept".to_owned(), Some(until)), NOW);
        assert_eq!(book.end_overdue(NOW + LONGEST_VERDICT - 1), []);
        book.end_overdue(NOW + LONGEST_VERDICT);
        assert_eq!(state(&book, "a", "acme"), CommitState::Failure);
        assert_eq!(state(&book, "a", "bold"), CommitState::Pending);
        assert_eq!(book.end_overdue(until + AFTER_GRACE - 1), []);
        book.end_overdue(until + AFTER_GRACE);
        assert_eq!((state(&book, "a", "bold"), book.is_any_open()), (CommitState::Failure, false));
    }

    #[test]
    fn a_commit_that_is_not_followed_fails_and_takes_nothing_over() {
        let mut book = CommitBook::default();
        book.begin(commit("a", &[("acme", Change::Added)]), NOW);
        assert_eq!(book.refuse(&"b".repeat(40), "unsigned", NOW), Some(moved("b", None)));
        assert_eq!(book.refuse(&"b".repeat(40), "unsigned", NOW), None);
        assert_eq!(overall(&book, "b"), (CommitState::Failure, "unsigned".into()));
        assert_eq!(book.refuse(&"a".repeat(40), "later trouble", NOW), None);
        book.note(&id("acme"), &done(), NOW);
        assert_eq!(state(&book, "a", "acme"), CommitState::Success);
        let new = book.begin(commit("b", &[]), NOW);
        assert_eq!(new, [moved("b", None)], "it is believed now");
        assert_eq!(overall(&book, "b"), (CommitState::Success, "it changes no store".into()));
    }

    #[test]
    fn a_broken_file_fails_at_once_and_only_its_store() {
        let mut new = commit("a", &[("acme", Change::Changed), ("bold", Change::Added)]);
        new.broken.insert(id("acme"), "stores/acme.yaml:3:1: what is this".to_owned());
        let mut book = CommitBook::default();
        book.begin(new, NOW);
        assert_eq!(state(&book, "a", "acme"), CommitState::Failure);
        assert_eq!(state(&book, "a", "bold"), CommitState::Pending);
    }

    #[test]
    fn after_a_restart_what_was_open_goes_on_and_the_same_commit_is_no_news() {
        let mut book = CommitBook::default();
        book.begin(commit("a", &[("acme", Change::Added)]), NOW);
        book.begin(commit("b", &[("bold", Change::Added)]), NOW);
        let mut book =
            CommitBook::resume(book.commits().cloned().collect::<Vec<_>>().into_iter().rev().collect());
        assert_eq!(book.begin(commit("b", &[]), NOW + 5), []);
        assert_eq!(book.note(&id("acme"), &done(), NOW + 6), [moved("a", Some("acme")), moved("a", None)]);
        assert_eq!(state(&book, "b", "bold"), CommitState::Pending);
    }

    #[test]
    fn what_is_taken_up_late_stands_behind_what_is_known_and_ends_where_newer_commits_change_the_stores() {
        let mut earlier = CommitBook::default();
        earlier.begin(commit("a", &[("acme", Change::Added), ("bold", Change::Added)]), NOW);
        earlier.begin(commit("b", &[("cute", Change::Added)]), NOW);
        let left: Vec<_> = earlier.commits().cloned().collect::<Vec<_>>().into_iter().rev().collect();
        let mut book = CommitBook::default();
        book.begin(commit("b", &[("acme", Change::Changed), ("cute", Change::Added)]), NOW + 5);
        book.take_up(left.clone());
        book.take_up(left);
        let revisions: Vec<_> = book.commits().map(|commit| &commit.revision[..1]).collect();
        assert_eq!(revisions, ["b", "a"]);
        let ended = book.end_overdue(NOW + 6);
        assert_eq!(ended, [moved("a", Some("acme")), moved("a", None)], "bold is waited for still");
        let verdict = &book.commit(&"a".repeat(40)).unwrap().stores[&id("acme")];
        assert_eq!(verdict.reason, "superseded by bbbbbbbbbb before it was done");
        assert_eq!(state(&book, "b", "acme"), CommitState::Pending);
        assert_eq!(book.note(&id("bold"), &done(), NOW + 7), [moved("a", Some("bold")), moved("a", None)]);
    }

    #[test]
    fn the_book_holds_the_newest_commits_and_those_that_are_open() {
        let mut book = CommitBook::default();
        book.begin(commit("a", &[("acme", Change::Added)]), NOW);
        for number in 0..2 * COMMITS_REMEMBERED {
            let head = CommitHead { revision: format!("{number:040}"), ..CommitHead::default() };
            book.begin(NewCommit { head, ..commit("b", &[]) }, NOW);
        }
        assert_eq!(book.commits.len(), COMMITS_REMEMBERED);
        assert_eq!(state(&book, "a", "acme"), CommitState::Pending);
        assert_eq!(book.commits().next().unwrap().revision, format!("{:040}", 2 * COMMITS_REMEMBERED - 1));
    }
}
