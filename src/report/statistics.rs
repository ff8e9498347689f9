//! The last thirty days in numbers: how long stores took until they were READY, how often they failed, and how many were in
//! which state. Fed event by event, so that nobody counts anew who only looks. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::{Event, EventKind, Sample, StoreState};

const DAY: i64 = 86_400;

/// How many days are looked back on, today included.
pub const DAYS: i64 = 30;

/// How many durations of one day are kept for its percentiles.
const DURATIONS: usize = 10_000;

/// How many samples are kept: one every quarter of an hour, and one at each start.
const SAMPLES: usize = 4_000;

/// One day in UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Day {
    /// Its beginning, in seconds since 1970.
    pub begin: i64,
    /// How many stores became READY for the first time.
    pub provisioned: usize,
    /// The median of how long that took, in milliseconds.
    pub p50_ms: Option<u64>,
    /// The 95th percentile of it, in milliseconds.
    pub p95_ms: Option<u64>,
    /// How often a store became FAILED.
    pub failed: usize,
}

/// The last thirty days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Every day, the oldest first.
    pub days: Vec<Day>,
    /// How many stores were in which state, the oldest first.
    pub samples: Vec<Sample>,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    days: BTreeMap<i64, Tally>,
    samples: VecDeque<Sample>,
}

#[derive(Debug, Default)]
struct Tally {
    durations: Vec<u64>,
    provisioned: usize,
    failed: usize,
}

impl Counted {
    /// Counts an event.
    pub(super) fn note(&mut self, event: &Event) {
        if event.kind != EventKind::StateEntered {
            return;
        }
        let today = event.at.div_euclid(DAY);
        let day = self.days.entry(today).or_default();
        match (event.state, event.took_ms) {
            (Some(StoreState::Ready), Some(took)) => {
                day.provisioned += 1;
                if day.durations.len() < DURATIONS {
                    day.durations.push(took);
                }
            }
            (Some(StoreState::Failed), _) => day.failed += 1,
            _ => {}
        }
        self.days.retain(|day, _| *day > today - DAYS);
    }

    /// Takes a sample up.
    pub(super) fn sample(&mut self, sample: Sample) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Takes up samples from before all others.
    pub(super) fn resume(&mut self, mut earlier: Vec<Sample>) {
        let room = SAMPLES.saturating_sub(self.samples.len());
        earlier.drain(..earlier.len().saturating_sub(room));
        for sample in earlier.into_iter().rev() {
            self.samples.push_front(sample);
        }
    }

    /// Tells the days up to now, in seconds since 1970.
    pub(super) fn tell(&self, now: i64) -> Statistics {
        let today = now.div_euclid(DAY);
        let day = |day: i64| {
            let empty = Tally::default();
            let Tally { durations, provisioned, failed } = self.days.get(&day).unwrap_or(&empty);
            let mut durations = durations.clone();
            durations.sort_unstable();
            let (p50_ms, p95_ms) = (percentile(&durations, 50), percentile(&durations, 95));
            Day { begin: day * DAY, provisioned: *provisioned, p50_ms, p95_ms, failed: *failed }
        };
        let begin = (today - DAYS + 1) * DAY;
        let samples = self.samples.iter().filter(|sample| sample.at >= begin).cloned().collect();
        Statistics { days: (today - DAYS + 1..=today).map(day).collect(), samples }
    }
}

/// Finds the smallest value that so many of a hundred are no larger than; `sorted` is in order.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(at: i64, state: StoreState, took_ms: Option<u64>) -> Event {
        let store = Some("acme".parse().unwrap());
        Event { state: Some(state), took_ms, ..Event::new(at, EventKind::StateEntered, store, "so") }
    }

    #[test]
    fn days_are_counted_and_old_ones_go() {
        let mut counted = Counted::default();
        counted.note(&entered(DAY, StoreState::Ready, Some(9)));
        for took in [30, 10, 20] {
            counted.note(&entered(100 * DAY + 5, StoreState::Ready, Some(took)));
        }
        counted.note(&entered(100 * DAY + 5, StoreState::Ready, None));
        counted.note(&entered(99 * DAY, StoreState::Failed, None));
        let told = counted.tell(100 * DAY + 7);
        assert_eq!(told.days.len(), 30);
        let expected =
            Day { begin: 100 * DAY, provisioned: 3, p50_ms: Some(20), p95_ms: Some(30), failed: 0 };
        assert_eq!(told.days[29], expected);
        assert_eq!((told.days[28].failed, told.days[28].p50_ms), (1, None));
        assert_eq!(
            told.days.iter().map(|day| day.provisioned).sum::<usize>(),
            3,
            "the first day is forgotten"
        );
        assert_eq!(counted.tell(140 * DAY).days[0], Day { begin: 111 * DAY, ..Day::default() });
    }
}
