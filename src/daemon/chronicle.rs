//! What happens, told event by event: to the history in memory and to the clerk who keeps the journal. It knows what was
//! told last of each store, over restarts too, so that only news are told. No run depends on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Daemon;
use super::announcing::Announcer;
use super::clerk::Desk;
use super::source::Frozen;
use crate::cluster::{Fence, Shard};
use crate::git::CommitInfo;
use crate::names::StoreId;
use crate::reconcile::{Tally, Wish};
use crate::report::{Change, Event, EventKind, History, Origin, PlansReader, Step, StoreState, one_line};
use crate::store::{Snapshot, StoreEntry};

/// How many commits are remembered by who made them.
const ORIGINS: usize = 300;

/// How long a store that FAILED for one reason is not told to have FAILED for another one, in seconds.
const REASON_RESTS: i64 = 60;

/// How many events about stores of other replicas are held back, in case these can't write them down.
const UNSPOKEN_MOST: usize = 5_000;

/// The longest text of an event in characters.
const WORDS_MAX: usize = 2000;

/// Tells what happens, and knows what was told.
pub(super) struct Chronicle {
    history: History,
    desk: Desk,
    plans: PlansReader,
    /// The state that was told last of each store.
    told: BTreeMap<StoreId, Told>,
    /// Stores whose removal was told to be refused.
    refused: BTreeSet<StoreId>,
    /// Stores on their way to READY.
    ways: BTreeMap<StoreId, Way>,
    /// The newest commits, newest first.
    origins: VecDeque<Origin>,
    /// The commit that was told to be in force.
    followed: Option<String>,
    /// Whether it was told that newer commits are not followed.
    frozen: bool,
    /// Whether it was told that the whole fleet is paused.
    paused: bool,
    /// Whether stores were looked for that went while nobody looked.
    looked_back: bool,
    /// Where events go that kubectl shall show; none before there is a cluster.
    announcer: Option<Announcer>,
    /// Of which stores this replica writes down what happens.
    fence: Fence,
    /// The commit that last changed what git wants of each store.
    changed_by: BTreeMap<StoreId, Origin>,
    /// What was told here and is another replica's to write down, the oldest first.
    unspoken: VecDeque<Arc<Event>>,
}

/// The state of a store as it was told last.
#[derive(Debug)]
struct Told {
    state: StoreState,
    reason: String,
    at: i64,
    /// By an earlier process; this one has not found the store in a state that lasts yet.
    earlier: bool,
}

/// A store's way to READY.
#[derive(Debug)]
struct Way {
    step: Step,
    since: Instant,
    /// The time at each step before `since`.
    spent: [Duration; Step::ALL.len()],
    /// The last step that was told to be done: one that comes and goes is done once.
    done: Option<Step>,
}

/// What a run found of a store, as far as that is to be told.
#[derive(Debug)]
pub(super) struct Finding<'a> {
    pub(super) state: StoreState,
    pub(super) step: Option<Step>,
    pub(super) reason: &'a str,
    /// Whether the store was never READY and is seen by this process for the first time.
    pub(super) is_new: bool,
    /// Whether it was READY before with exactly what is applied now.
    pub(super) was_ready: bool,
    /// How long a first READY took since the store was seen in git.
    pub(super) took: Option<Duration>,
}

impl Way {
    fn new(step: Step, now: Instant) -> Self {
        Self { step, since: now, spent: [Duration::ZERO; Step::ALL.len()], done: None }
    }

    /// Moves on, with no step at the end. Returns the step that is done by that, for the first time, and how long it took.
    fn moves(&mut self, to: Option<Step>, now: Instant) -> Option<(Step, Duration)> {
        let from = self.step;
        if to == Some(from) {
            return None;
        }
        let spent = &mut self.spent[from as usize];
        *spent += now.saturating_duration_since(self.since);
        let took = *spent;
        (self.step, self.since) = (to.unwrap_or(from), now);
        let is_done = to.is_none_or(|to| to > from) && self.done.is_none_or(|done| done < from);
        is_done.then(|| {
            self.done = Some(from);
            (from, took)
        })
    }
}

impl Chronicle {
    /// Makes a chronicle to which nothing was told yet.
    pub(super) fn new(history: History, desk: Desk, plans: PlansReader) -> Self {
        Self {
            history,
            desk,
            plans,
            told: BTreeMap::new(),
            refused: BTreeSet::new(),
            ways: BTreeMap::new(),
            origins: VecDeque::new(),
            followed: None,
            frozen: false,
            paused: false,
            looked_back: false,
            announcer: None,
            fence: Fence::alone(),
            changed_by: BTreeMap::new(),
            unspoken: VecDeque::new(),
        }
    }

    /// Has events shown by kubectl too, and those alone told outside that are about stores of this replica.
    pub(super) fn announcing(self, announcer: Announcer, fence: Fence) -> Self {
        Self { announcer: Some(announcer), fence, ..self }
    }

    /// Takes up what an earlier process told, the oldest first.
    pub(super) fn resume<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) {
        for event in events {
            self.note(event);
        }
        self.told.values_mut().for_each(|told| told.earlier = true);
    }

    /// Tells an event.
    pub(super) fn tell(&mut self, event: Event) {
        let event = self.history.push(Event { words: one_line(&event.words, WORDS_MAX), ..event });
        self.note(&event);
        let speaks = match &event.store {
            Some(store) => self.fence.permits(store),
            None => self.fence.is_speaker(),
        };
        // What another replica keeps, that one writes down.
        if !speaks {
            self.unspoken.push_back(event);
            if self.unspoken.len() > UNSPOKEN_MOST {
                self.unspoken.pop_front();
            }
            return;
        }
        if let Some(announcer) = &self.announcer {
            announcer.offer(&event);
        }
        self.desk.record(event);
    }

    /// Has written down what was told since then, in seconds since 1970, of what is this replica's to write down from now on, as
    /// far as the replica before did not: between its end and now nobody did.
    pub(super) fn recover(&mut self, come: &BTreeSet<Shard>, since: i64) {
        let has_come = |event: &Event| come.contains(&event.store.as_ref().map_or(Shard::SPEAKER, Shard::of));
        let (ours, others) =
            self.unspoken.drain(..).filter(|event| event.at >= since).partition(|it| has_come(it));
        let ours: Vec<Arc<Event>> = ours;
        self.unspoken = Vec::into(others);
        let renumbered = ours.iter().map(|event| Arc::new(self.history.renumbered(event)));
        self.desk.recover(renumbered.collect());
    }

    /// Remembers what was told.
    fn note(&mut self, event: &Event) {
        let Event { kind, store, at, state, change, origin, words, .. } = event;
        match (kind, store) {
            (EventKind::CommitFollowed, _) => {
                self.followed = origin.as_ref().map(|origin| origin.revision.clone());
                self.origins.extend(origin.clone());
                self.origins.rotate_right(usize::from(origin.is_some()));
                self.origins.truncate(ORIGINS);
            }
            (EventKind::Frozen, None) => self.frozen = true,
            (EventKind::Thawed, None) => self.frozen = false,
            (EventKind::Paused, None) => self.paused = true,
            (EventKind::Resumed, None) => self.paused = false,
            (EventKind::StateEntered, Some(store)) => {
                let Some(state) = *state else { return };
                let told = Told { state, reason: words.clone(), at: *at, earlier: false };
                self.told.insert(store.clone(), told);
            }
            (EventKind::RemovalRefused, Some(store)) => _ = self.refused.insert(store.clone()),
            (EventKind::FileChanged, Some(store)) => {
                if *change != Some(Change::Removed) {
                    self.refused.remove(store);
                }
                self.changed_by.extend(origin.clone().map(|origin| (store.clone(), origin)));
            }
            (EventKind::DeletionBegun, Some(store)) => _ = self.refused.remove(store),
            (EventKind::Deleted, Some(store)) => {
                self.refused.remove(store);
                self.told.remove(store);
                self.ways.remove(store);
                self.changed_by.remove(store);
            }
            _ => {}
        }
    }

    /// Git wants something else of a store: the steps on its way to READY begin anew.
    pub(super) fn begin_anew(&mut self, store: &StoreId) {
        if let Some(way) = self.ways.get_mut(store) {
            *way = Way::new(way.step, Instant::now());
        }
    }

    /// Returns the commit that last changed what git wants of a store.
    pub(super) fn changed_by(&self, store: &StoreId) -> Option<&Origin> {
        self.changed_by.get(store)
    }

    fn commit(&self, revision: &str) -> Option<&Origin> {
        self.origins.iter().find(|origin| origin.revision == revision)
    }

    /// Says where a commit comes from.
    fn origin_of(&self, revision: &str, info: Option<&CommitInfo>, signer: Option<String>) -> Origin {
        // The first parent is what was in force before, whatever brought that.
        let merged = info.into_iter().flat_map(|info| info.parents.iter().skip(1).map(String::as_str));
        let planned = std::iter::once(revision).chain(merged).find_map(|it| self.plans.get(it)?.pull);
        Origin {
            revision: revision.to_owned(),
            author: info.map(|info| info.author.clone()).unwrap_or_default(),
            signer,
            pull: planned.or_else(|| info?.pull),
        }
    }

    /// Returns the step that a finding shows to be done, and how long it took.
    fn step_done(
        &mut self,
        store: &StoreId,
        finding: &Finding<'_>,
        now: Instant,
    ) -> Option<(Step, Duration)> {
        let way = self.ways.get_mut(store)?;
        match (finding.state, finding.step) {
            (StoreState::Ready, _) => {
                let done = way.moves(None, now);
                self.ways.remove(store);
                done
            }
            (StoreState::Provisioning | StoreState::Failed, Some(step)) => way.moves(Some(step), now),
            (StoreState::Deleting, _) => {
                self.ways.remove(store);
                None
            }
            _ => None,
        }
    }

    /// Whether a finding is to be told.
    fn is_news(&mut self, store: &StoreId, finding: &Finding<'_>, now: i64) -> bool {
        let Finding { state, step: _, reason, is_new, was_ready, took: _ } = *finding;
        let told = self.told.get_mut(store);
        let before = told.as_ref().map(|told| told.state);
        let is_settled = told.as_ref().is_some_and(|told| !told.earlier);
        let served = matches!(before, None | Some(StoreState::Ready | StoreState::Degraded));
        if !is_new && !is_settled && was_ready && served && state == StoreState::Provisioning {
            // After a restart it is asked first.
            return false;
        }
        let Some(told) = told else {
            if !is_new && was_ready && state == StoreState::Ready {
                // It was so before anybody kept a journal, or the journal is lost: that it goes on is no news.
                let (reason, at) = (reason.to_owned(), now);
                self.told.insert(store.clone(), Told { state, reason, at, earlier: false });
                return false;
            }
            return true;
        };
        told.earlier = false;
        if told.state != state {
            return true;
        }
        state == StoreState::Failed
            && told.reason != one_line(reason, WORDS_MAX)
            && now - told.at >= REASON_RESTS
    }
}

impl Daemon {
    /// Tells something about a store.
    pub(super) fn tell_of(&mut self, kind: EventKind, store: &StoreId, wish: Option<&Wish>, words: &str) {
        let event = self.event_of(kind, store, wish, words);
        self.chronicle.tell(event);
    }

    fn event_of(&self, kind: EventKind, store: &StoreId, wish: Option<&Wish>, words: &str) -> Event {
        let origin = self.origin(store, wish.map_or("", Wish::revision));
        let now = (self.context.surroundings.clock)();
        Event { origin, ..Event::new(now, kind, Some(store.clone()), words) }
    }

    /// Finds the commit behind what happens to a store: the newest one that changed it, unless this is a run for an older one.
    fn origin(&self, store: &StoreId, revision: &str) -> Option<Origin> {
        let outdated = self.accepted.get(store).is_some_and(|(_, newest)| newest != revision);
        let known = |revision: &str| self.chronicle.commit(revision).cloned();
        let bare = |revision: &str| Origin { revision: revision.to_owned(), ..Origin::default() };
        if !revision.is_empty() && outdated {
            return known(revision).or_else(|| Some(bare(revision)));
        }
        let newest = self.board.reader().read(|picture| {
            let commit = picture.commits.newest_of(store)?;
            let Origin { signer, pull, .. } = Origin::default();
            Some(Origin { revision: commit.revision.clone(), author: commit.author.clone(), signer, pull })
        });
        match newest {
            Some(newest) => known(&newest.revision).or(Some(newest)),
            None if revision.is_empty() => None,
            None => known(revision).or_else(|| Some(bare(revision))),
        }
    }

    /// Tells that a commit is in force and which stores it changes against `before`, which was in force until then.
    pub(super) fn tell_commit(
        &mut self,
        before: Option<&Snapshot>,
        changed: BTreeMap<StoreId, Change>,
        after: &Snapshot,
        info: &CommitInfo,
        signer: Option<String>,
    ) {
        let revision = after.revision.to_string();
        let followed = self.chronicle.followed.take();
        let followed_before = followed.clone().or_else(|| before.map(|before| before.revision.to_string()));
        let is_known = followed_before.as_deref() == Some(&revision);
        // What was in force can't be read any more, so what is new is what was never told of.
        let is_lost = before.is_none() && followed.is_some();
        self.chronicle.followed = followed;
        if is_known {
            return;
        }
        let now = (self.context.surroundings.clock)();
        let origin = self.chronicle.origin_of(&revision, Some(info), signer);
        let event = |kind, store, words: &str| Event {
            origin: Some(origin.clone()),
            ..Event::new(now, kind, store, words)
        };
        self.chronicle.tell(event(EventKind::CommitFollowed, None, &info.subject));
        self.board.update(|picture| {
            for store in changed.keys() {
                if let Some(report) = picture.stores.get_mut(store) {
                    report.origin = Some(origin.clone());
                }
            }
        });
        for (store, change) in changed {
            if is_lost && self.chronicle.told.contains_key(&store) {
                continue;
            }
            let problem = after.stores.get(&store).map(StoreEntry::problems).and_then(<[_]>::first);
            let words = match problem {
                Some(problem) => format!("its file can't be used: {problem}"),
                None => info.subject.clone(),
            };
            let event = event(EventKind::FileChanged, Some(store), &words);
            self.chronicle.tell(Event { change: Some(change), ..event });
        }
    }

    /// Tells that a commit is not followed.
    pub(super) fn tell_refused(&mut self, frozen: &Frozen) {
        let Frozen { commit: Some(commit), reason, info } = frozen else { return };
        let origin = Some(self.chronicle.origin_of(commit, info.as_deref(), None));
        let now = (self.context.surroundings.clock)();
        self.chronicle.tell(Event { origin, ..Event::new(now, EventKind::CommitRefused, None, reason) });
    }

    /// Tells that newer commits are followed no more, or that they are again.
    pub(super) fn tell_frozen(&mut self, reason: Option<&str>) {
        let now = (self.context.surroundings.clock)();
        let (kind, words) = match (reason, self.chronicle.frozen) {
            (Some(reason), false) => (EventKind::Frozen, reason),
            (None, true) => (EventKind::Thawed, "the repository is followed again"),
            _ => return,
        };
        self.chronicle.tell(Event::new(now, kind, None, words));
    }

    /// Tells of stores that went while no process looked. Only the first look at the repository finds such.
    pub(super) fn tell_departed(&mut self, snapshot: &Snapshot) {
        if std::mem::replace(&mut self.chronicle.looked_back, true) {
            return;
        }
        let is_there = |store: &StoreId| {
            snapshot.stores.contains_key(store) || self.context.cluster.namespace(store).is_some()
        };
        let gone: Vec<_> = self.chronicle.told.keys().filter(|store| !is_there(store)).cloned().collect();
        for store in gone {
            self.tell_of(EventKind::Deleted, &store, None, "it was gone when storekeeper came to look");
        }
    }

    /// Tells what a run changed in the cluster.
    pub(super) fn tell_done(&mut self, store: &StoreId, wish: &Wish, tally: &Tally, took: Duration) {
        let Tally { steps, healed, created, marked, withheld: _ } = tally;
        if *created {
            let words = format!("namespace {} was made", store.namespace());
            self.tell_of(EventKind::NamespaceMade, store, Some(wish), &words);
        }
        if *steps > 0 {
            let words = format!("{steps} {} done", if *steps == 1 { "step is" } else { "steps are" });
            let event = self.event_of(EventKind::Applied, store, Some(wish), &words);
            self.chronicle.tell(Event { took_ms: Some(milliseconds(took)), ..event });
        }
        for healed in healed.iter().chain(marked) {
            let words = match &healed.other {
                Some(other) => {
                    format!("{} was put back; field manager {other} had changed it", healed.object)
                }
                None => format!("{} was put back; somebody had deleted or changed it", healed.object),
            };
            self.tell_of(EventKind::DriftHealed, store, Some(wish), &words);
        }
    }

    /// Tells which step a store has done and which state it has entered, where that is news.
    pub(super) fn tell_finding(&mut self, store: &StoreId, wish: &Wish, finding: &Finding<'_>) {
        let (now, moment) = ((self.context.surroundings.clock)(), Instant::now());
        if let Some((step, took)) = self.chronicle.step_done(store, finding, moment) {
            let event = self.event_of(EventKind::StepDone, store, Some(wish), "");
            let took_ms = Some(milliseconds(took));
            self.chronicle.tell(Event { step: Some(step), took_ms, ..event });
        }
        let Finding { state, step, reason, is_new: _, was_ready: _, took } = *finding;
        let before = self.chronicle.told.get(store).map(|told| told.state);
        if self.chronicle.is_news(store, finding, now) {
            self.tell_pause(store, wish, before, finding);
            let event = self.event_of(EventKind::StateEntered, store, Some(wish), reason);
            let took_ms = took.map(milliseconds);
            self.chronicle.tell(Event { state: Some(state), step, took_ms, ..event });
        }
        let told = self.chronicle.told.get(store).map(|told| told.state);
        if (state, told) == (StoreState::Provisioning, Some(StoreState::Provisioning)) {
            let step = step.unwrap_or(Step::Namespace);
            self.chronicle.ways.entry(store.clone()).or_insert_with(|| Way::new(step, moment));
        }
    }

    /// Tells that a store is paused from here on, or no longer.
    fn tell_pause(
        &mut self,
        store: &StoreId,
        wish: &Wish,
        before: Option<StoreState>,
        finding: &Finding<'_>,
    ) {
        match (before == Some(StoreState::Paused), finding.state == StoreState::Paused) {
            (false, true) => self.tell_of(EventKind::Paused, store, Some(wish), finding.reason),
            (true, false) => self.tell_of(EventKind::Resumed, store, Some(wish), "its pause is over"),
            _ => {}
        }
    }

    /// Tells that the whole fleet is paused, or no longer.
    pub(super) fn tell_fleet_pause(&mut self, words: Option<&str>) {
        let now = (self.context.surroundings.clock)();
        let (kind, words) = match (words, self.chronicle.paused) {
            (Some(words), false) => (EventKind::Paused, words),
            (None, true) => (EventKind::Resumed, "the pause of the whole fleet is over"),
            _ => return,
        };
        self.chronicle.tell(Event::new(now, kind, None, words));
    }

    /// Tells that nothing is left of a store.
    pub(super) fn tell_gone(&mut self, store: &StoreId, was_shown: bool) {
        if was_shown || self.chronicle.told.contains_key(store) {
            self.tell_of(EventKind::Deleted, store, None, "nothing is left of it");
        }
        self.chronicle.ways.remove(store);
    }

    /// Tells whose removal a new plan refuses.
    pub(super) fn tell_refusals(&mut self, over_budget: BTreeSet<StoreId>, protected: BTreeSet<StoreId>) {
        self.chronicle.refused.retain(|store| over_budget.contains(store) || protected.contains(store));
        let over_budget = over_budget.into_iter().map(|store| (store, "the deletion budget keeps it"));
        let protected = protected.into_iter().map(|store| (store, "it is protected by its last file"));
        for (store, words) in over_budget.chain(protected) {
            if !self.chronicle.refused.contains(&store) {
                self.tell_of(EventKind::RemovalRefused, &store, None, words);
            }
        }
    }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::clerk::Clerk;
    use super::*;
    use crate::report::Plans;

    const NOW: i64 = 1_800_000_000;

    fn acme() -> StoreId {
        "acme".parse().unwrap()
    }

    fn chronicle() -> Chronicle {
        let (desk, _) = Clerk::desk(false);
        Chronicle::new(History::default(), desk, Plans::default().reader())
    }

    fn entered(state: StoreState, reason: &str, at: i64) -> Event {
        Event { state: Some(state), ..Event::new(at, EventKind::StateEntered, Some(acme()), reason) }
    }

    fn finding(state: StoreState, reason: &str) -> Finding<'_> {
        Finding { state, step: None, reason, is_new: false, was_ready: true, took: None }
    }

    #[test]
    fn a_converged_store_is_no_news_after_a_restart_and_what_changed_meanwhile_is() {
        use StoreState::{Degraded, Failed, Provisioning, Ready};
        let mut chronicle = chronicle();
        chronicle.resume(&[entered(Failed, "bad", 1), entered(Ready, "fine", 2)]);
        assert!(!chronicle.is_news(&acme(), &finding(Provisioning, "asking"), NOW), "it is asked first");
        assert!(!chronicle.is_news(&acme(), &finding(Ready, "fine"), NOW));
        assert!(
            chronicle.is_news(&acme(), &finding(Provisioning, "asking"), NOW),
            "no restart explains that"
        );
        chronicle.resume(&[entered(Ready, "fine", 2)]);
        let changed = Finding { was_ready: false, ..finding(Provisioning, "migration") };
        assert!(chronicle.is_news(&acme(), &changed, NOW));
        chronicle.resume(&[entered(Ready, "fine", 2)]);
        assert!(chronicle.is_news(&acme(), &finding(Degraded, "no answer"), NOW));
    }

    #[test]
    fn without_a_journal_a_store_that_was_ready_before_is_no_news_and_a_new_one_is() {
        let mut chronicle = chronicle();
        let new = Finding { is_new: true, ..finding(StoreState::Ready, "fine") };
        assert!(chronicle.is_news(&acme(), &new, NOW));
        assert!(!chronicle.is_news(&acme(), &finding(StoreState::Provisioning, "asking"), NOW));
        assert!(!chronicle.is_news(&acme(), &finding(StoreState::Ready, "fine"), NOW));
        assert!(chronicle.is_news(&acme(), &finding(StoreState::Degraded, "no answer"), NOW));
    }

    #[test]
    fn a_reason_is_news_only_of_what_failed_and_once_a_minute() {
        use StoreState::{Failed, Provisioning};
        let mut chronicle = chronicle();
        chronicle.tell(entered(Provisioning, "0 of 1", NOW));
        assert!(!chronicle.is_news(&acme(), &finding(Provisioning, "1 of 1"), NOW + 999));
        chronicle.tell(entered(Failed, "first", NOW));
        assert!(!chronicle.is_news(&acme(), &finding(Failed, "first"), NOW + 999));
        assert!(!chronicle.is_news(&acme(), &finding(Failed, "second"), NOW + 59));
        assert!(chronicle.is_news(&acme(), &finding(Failed, "second"), NOW + 60));
    }

    #[test]
    fn a_step_is_done_once_and_its_time_is_all_that_it_took() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut way = Way::new(Step::Database, at(0));
        assert_eq!(way.moves(Some(Step::Database), at(2)), None);
        assert_eq!(way.moves(Some(Step::Api), at(5)), Some((Step::Database, Duration::from_secs(5))));
        assert_eq!(way.moves(Some(Step::Database), at(6)), None, "back is not done");
        assert_eq!(way.moves(Some(Step::Probe), at(7)), None, "that was told");
        assert_eq!(way.moves(Some(Step::Api), at(9)), None);
        assert_eq!(way.moves(Some(Step::Probe), at(12)), Some((Step::Api, Duration::from_secs(4))));
        assert_eq!(way.moves(None, at(13)), Some((Step::Probe, Duration::from_secs(3))));
    }

    #[test]
    fn the_pull_request_is_that_of_a_plan_of_the_commit_or_of_what_it_merged() {
        let plans = Plans::default();
        let plan = |head: &str, pull| {
            let report = serde_json::json!({
                "verdict": "nothing", "base": null, "branch": null, "head": head.repeat(40), "pull": pull,
                "made": "2026-11-23T00:00:00Z", "stores": [], "problems": [], "blocked": [], "warnings": [],
                "truncated": {"stores": 0, "objects": 0}, "unchanged": 0,
            });
            serde_json::from_value(report).unwrap()
        };
        plans.put(plan("a", 5));
        plans.put(plan("b", 6));
        let mut chronicle = chronicle();
        chronicle.plans = plans.reader();
        let info = |parents: [&str; 2], pull| CommitInfo {
            author: "Ann".to_owned(),
            subject: String::new(),
            time: std::time::UNIX_EPOCH,
            parents: parents.map(|parent| parent.repeat(40)).to_vec(),
            pull,
        };
        let pull = |revision: &str, info: &CommitInfo| {
            chronicle.origin_of(&revision.repeat(40), Some(info), None).pull
        };
        assert_eq!(pull("a", &info(["c", "d"], Some(9))), Some(5), "it was planned itself");
        assert_eq!(pull("e", &info(["c", "b"], Some(9))), Some(6), "it merges what was planned");
        assert_eq!(pull("e", &info(["a", "d"], None)), None, "it follows what was merged before");
        assert_eq!(pull("e", &info(["c", "d"], Some(9))), Some(9), "its message says so");
    }

    #[test]
    fn what_is_told_has_no_control_characters_and_an_end() {
        let mut chronicle = chronicle();
        let words = format!("a\u{1b}[31m\nb\u{9b}{}", "x".repeat(9999));
        chronicle.tell(Event::new(NOW, EventKind::Applied, None, words));
        let told = chronicle.history.reader().newest(None, None, 1).events[0].words.clone();
        assert!(told.starts_with("a [31m b xxx") && told.chars().count() == WORDS_MAX, "{told}");
    }
}
