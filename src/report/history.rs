//! The newest events in memory: what the page, the API and its streams show without asking the journal. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use super::statistics::{Counted, Statistics};
use super::{Bell, Event, StoreState};
use crate::names::StoreId;

/// How many events are remembered: with some 300 bytes each, a few megabytes.
const REMEMBERED: usize = 5_000;

/// The newest events. Cloned handles share them.
#[derive(Debug, Clone, Default)]
pub struct History {
    book: Arc<RwLock<Book>>,
    bell: Bell,
}

/// A handle on [`History`] that can only read.
#[derive(Debug, Clone)]
pub struct HistoryReader(History);

/// Oldest first, in the order of their numbers.
#[derive(Debug, Default)]
struct Book {
    events: VecDeque<Arc<Event>>,
    by_store: BTreeMap<StoreId, VecDeque<Arc<Event>>>,
    /// The highest number that was ever given.
    last: i64,
    /// The number of the newest event that was forgotten here; older ones may be in the journal.
    forgotten: i64,
    /// The highest number that an earlier process can have given, when that could not be looked up at first.
    alone_since: Option<i64>,
    counted: Counted,
}

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsWanted {
    /// Of this store alone.
    pub store: Option<StoreId>,
    /// Only those with a lower number.
    pub before: Option<i64>,
    /// The newest of them, and no more than so many.
    pub most: usize,
}

/// Reads events from where all of them are kept, newest first; an error is a whole sentence and comes within seconds.
pub type EventReader = Arc<
    dyn Fn(EventsWanted) -> Pin<Box<dyn Future<Output = Result<Vec<Event>, String>> + Send>> + Send + Sync,
>;

/// How many stores were in which state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When, in seconds since 1970.
    pub at: i64,
    /// By state; a state that is missing had none.
    pub stores: BTreeMap<StoreState, usize>,
}

/// Events, newest first, and whether memory has all of them that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// Whether older ones of the kind asked for may have been forgotten here.
    pub partial: bool,
}

impl History {
    /// Makes an empty history that rings a bell at every event.
    pub fn new(bell: Bell) -> Self {
        Self { book: Arc::default(), bell }
    }

    /// Returns a handle for those who only show.
    pub fn reader(&self) -> HistoryReader {
        HistoryReader(self.clone())
    }

    /// Takes up what the journal holds, before anything is pushed. `complete` says whether that is all it has.
    pub fn resume(&self, mut events: Vec<Event>, complete: bool) {
        events.sort_by_key(|event| event.id);
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        if !complete {
            book.forgotten = events.first().map_or(0, |first| first.id - 1);
        }
        for event in events {
            book.last = book.last.max(event.id);
            book.keep(Arc::new(event));
        }
    }

    /// Begins although the journal can't be read, at a time in seconds since 1970: what happened before may be found there
    /// later.
    pub fn begin_alone(&self, now: i64) {
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        let before = number(now) - 1;
        (book.forgotten, book.alone_since) = (before, Some(before));
        book.last = book.last.max(before);
    }

    /// Takes up what the journal counts of the days before, but for what was counted here meanwhile.
    pub fn resume_statistics(&self, events: &[Event], mut samples: Vec<Sample>) {
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        let last = book.alone_since.take().unwrap_or(i64::MAX);
        for event in events.iter().filter(|event| event.id <= last) {
            book.counted.note(event);
        }
        samples.retain(|sample| number(sample.at) <= last);
        book.counted.resume(samples);
    }

    /// Takes a sample up.
    pub fn sample(&self, sample: Sample) {
        self.book.write().unwrap_or_else(PoisonError::into_inner).counted.sample(sample);
    }

    /// Gives an event that is remembered another number, the highest so far, for who writes it down later than others.
    pub fn renumbered(&self, event: &Event) -> Event {
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        book.last = number(event.at).max(book.last + 1);
        Event { id: book.last, ..event.clone() }
    }

    /// Numbers an event and remembers it.
    pub fn push(&self, mut event: Event) -> Arc<Event> {
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        event.id = number(event.at).max(book.last + 1);
        book.last = event.id;
        let event = Arc::new(event);
        book.counted.note(&event);
        book.keep(Arc::clone(&event));
        drop(book);
        self.bell.ring();
        event
    }
}

/// Returns the first number of events in a second.
fn number(at: i64) -> i64 {
    at.saturating_mul(1_000_000)
}

impl Book {
    fn keep(&mut self, event: Arc<Event>) {
        if let Some(store) = &event.store {
            self.by_store.entry(store.clone()).or_default().push_back(Arc::clone(&event));
        }
        self.events.push_back(event);
        if self.events.len() > REMEMBERED
            && let Some(oldest) = self.events.pop_front()
        {
            self.forgotten = oldest.id;
            if let Some(store) = &oldest.store
                && let Some(of_store) = self.by_store.get_mut(store)
            {
                of_store.pop_front();
                if of_store.is_empty() {
                    self.by_store.remove(store);
                }
            }
        }
    }
}

impl HistoryReader {
    /// Returns the newest events, of one store if one is given, older than `before` if that is given.
    pub fn newest(&self, store: Option<&StoreId>, before: Option<i64>, most: usize) -> Remembered {
        let book = self.0.book.read().unwrap_or_else(PoisonError::into_inner);
        let empty = VecDeque::new();
        let all = match store {
            Some(store) => book.by_store.get(store).unwrap_or(&empty),
            None => &book.events,
        };
        let end = before.map_or(all.len(), |before| all.partition_point(|event| event.id < before));
        let events: Vec<_> = all.range(..end).rev().take(most).map(Arc::clone).collect();
        let partial = events.len() < most && book.forgotten > 0;
        Remembered { events, partial }
    }

    /// Returns the events after a number, oldest first; none when some of them are forgotten already.
    pub fn since(&self, id: i64, most: usize) -> Option<Vec<Arc<Event>>> {
        let book = self.0.book.read().unwrap_or_else(PoisonError::into_inner);
        if id < book.forgotten {
            return None;
        }
        let begin = book.events.partition_point(|event| event.id <= id);
        Some(book.events.range(begin..).take(most).map(Arc::clone).collect())
    }

    /// Tells the last thirty days, up to `now` in seconds since 1970.
    pub fn statistics(&self, now: i64) -> Statistics {
        self.0.book.read().unwrap_or_else(PoisonError::into_inner).counted.tell(now)
    }

    /// Returns the number of the newest event; 0 before the first.
    pub fn last(&self) -> i64 {
        self.0.book.read().unwrap_or_else(PoisonError::into_inner).last
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventKind;
    use super::*;

    fn event(at: i64, store: &str) -> Event {
        Event::new(at, EventKind::Applied, Some(store.parse().unwrap()), format!("{store} at {at}"))
    }

    fn words(remembered: &Remembered) -> Vec<&str> {
        remembered.events.iter().map(|event| event.words.as_str()).collect()
    }

    #[test]
    fn numbers_grow_whatever_the_clock_says_and_over_restarts() {
        let history = History::default();
        history.resume(vec![Event { id: 9_000_000, ..event(9, "a") }], true);
        let ids: Vec<_> = [8, 9, 9, 20].map(|at| history.push(event(at, "a")).id).to_vec();
        assert_eq!(ids, [9_000_001, 9_000_002, 9_000_003, 20_000_000]);
    }

    #[test]
    fn what_is_written_down_later_has_a_number_of_its_own() {
        let history = History::default();
        let (first, second) = (history.push(event(9, "a")), history.push(event(9, "b")));
        let late = history.renumbered(&first);
        assert!(late.id > second.id && Event { id: first.id, ..late.clone() } == *first);
        assert!(history.push(event(9, "c")).id > late.id);
    }

    #[test]
    fn every_event_rings_once_and_what_an_earlier_process_left_does_not() {
        let (bell, rung) = (Bell::default(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
        let count = Arc::clone(&rung);
        bell.listen(move || _ = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let history = History::new(bell);
        history.resume(vec![event(1, "a")], true);
        history.push(event(2, "a"));
        history.push(event(3, "a"));
        assert_eq!(rung.load(std::sync::atomic::Ordering::Relaxed), 2);
    }

    #[test]
    fn a_store_has_its_own_events_and_pages_go_back() {
        let history = History::default();
        for at in 1..=3 {
            history.push(event(at, "a"));
            history.push(event(at, "b"));
        }
        let reader = history.reader();
        let b = "b".parse().unwrap();
        let first = reader.newest(Some(&b), None, 2);
        assert_eq!(words(&first), ["b at 3", "b at 2"]);
        let rest = reader.newest(Some(&b), Some(first.events[1].id), 2);
        assert_eq!((words(&rest), rest.partial), (vec!["b at 1"], false));
        assert_eq!(reader.newest(None, None, 9).events.len(), 6);
    }

    #[test]
    fn what_happened_before_a_start_without_the_journal_is_asked_for_and_counted_once() {
        let history = History::default();
        history.begin_alone(100_000);
        let ready = |at| Event {
            state: Some(StoreState::Failed),
            ..Event::new(at, EventKind::StateEntered, None, "no")
        };
        let sample = |at| Sample { at, stores: BTreeMap::from([(StoreState::Ready, 1)]) };
        let here = history.push(ready(100_000));
        history.sample(sample(100_007));
        let found = history.reader().newest(None, None, 9);
        assert_eq!((found.events.len(), found.partial), (1, true));
        let earlier = Event { id: 99_999_000_000, ..ready(99_999) };
        history.resume_statistics(&[earlier, Event::clone(&here)], vec![sample(99_998), sample(100_007)]);
        let told = history.reader().statistics(100_010);
        assert_eq!(told.days.iter().map(|day| day.failed).sum::<usize>(), 2);
        assert_eq!(told.samples.iter().map(|sample| sample.at).collect::<Vec<_>>(), [99_998, 100_007]);
    }

    #[test]
    fn what_is_forgotten_is_said_and_a_stream_can_not_resume_there() {
        let history = History::default();
        for at in 0..i64::try_from(REMEMBERED).unwrap() + 5 {
            history.push(event(at, if at < 5 { "old" } else { "new" }));
        }
        let reader = history.reader();
        let old = reader.newest(Some(&"old".parse().unwrap()), None, 9);
        assert_eq!((old.events.len(), old.partial), (0, true));
        assert_eq!(reader.since(1, 9), None);
        assert_eq!(reader.since(reader.last() - 1, 9).unwrap().len(), 1);
        assert_eq!(reader.since(reader.last(), 9), Some(Vec::new()));
    }
}
