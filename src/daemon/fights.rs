//! Stores whose objects somebody else changes as often as they are put back. Such a fight nobody wins: healing backs
//! off, says with whom it fights, and tries again, until a minute passes in peace. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use crate::names::StoreId;
use crate::reconcile::Healed;

/// The time in which heals are counted, and the peace that ends a fight.
const WINDOW: Duration = Duration::from_mins(1);

/// How often one object is put back within [`WINDOW`] before it is a fight.
const MOST_HEALS: usize = 5;

/// The first pause of a fight; each further heal doubles it.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_mins(10);

/// How long what moves during a fight is gathered before it is looked at: whoever fights writes often.
const GATHERING: Duration = Duration::from_secs(5);

/// All fights, and what may become one.
#[derive(Debug, Default)]
pub(super) struct Fights {
    stores: BTreeMap<StoreId, Record>,
    due: Agenda,
}

#[derive(Debug, Default)]
struct Record {
    heals: Vec<(Instant, Healed)>,
    fight: Option<Fight>,
}

/// A fight under way.
#[derive(Debug, Clone)]
pub(super) struct Fight {
    /// What was put back last, and against whom.
    pub(super) over: Healed,
    /// When it is put back again.
    pub(super) until: Instant,
    pause: Duration,
    last_drift: Instant,
}

impl Fight {
    /// Says what goes on and what to do about it.
    pub(super) fn reason(&self) -> String {
        let Healed { object, other } = &self.over;
        match other {
            Some(other) => format!(
                "{object} is put back again and again because field manager {other} changes it; stop that, or leave \
                 its fields out of the chart's values; it is put back seldom meanwhile"
            ),
            None => format!(
                "{object} is put back again and again because somebody deletes or changes it; find out who; it is put \
                 back seldom meanwhile"
            ),
        }
    }
}

/// What the end of a run means for a fight.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A fight began.
    Begun,
    /// A fight is over.
    Ended,
}

impl Fights {
    /// Takes in what a run put back, and whether it left something as it was because of a fight.
    pub(super) fn ran(
        &mut self,
        store: &StoreId,
        healed: &[Healed],
        withheld: bool,
        now: Instant,
    ) -> Option<News> {
        if healed.is_empty() && !self.stores.contains_key(store) {
            return None;
        }
        let record = self.stores.entry(store.clone()).or_default();
        record.heals.retain(|(when, _)| now.saturating_duration_since(*when) < WINDOW);
        record.heals.extend(healed.iter().map(|healed| (now, healed.clone())));
        let news = match &mut record.fight {
            None => record.begin(now).then_some(News::Begun),
            Some(fight) => {
                if let Some(last) = healed.last() {
                    fight.over = last.clone();
                    fight.pause = (fight.pause * 2).min(LAST_PAUSE);
                    fight.until = now + fight.pause;
                }
                if withheld || !healed.is_empty() {
                    fight.last_drift = now;
                }
                let peace = now.saturating_duration_since(fight.last_drift) >= WINDOW;
                peace.then_some(News::Ended)
            }
        };
        if news == Some(News::Ended) {
            record.fight = None;
        }
        match &record.fight {
            Some(fight) if fight.until > now => self.due.set(store, fight.until),
            Some(fight) => self.due.set(store, fight.last_drift + WINDOW),
            None => self.due.remove(store),
        }
        if record.fight.is_none() && record.heals.is_empty() {
            self.stores.remove(store);
        }
        news
    }

    /// Whether what moved in a store may start a run now. During a fight's pause it is gathered, and the store is due
    /// a little later.
    pub(super) fn lets(&mut self, store: &StoreId, now: Instant) -> bool {
        let Some(fight) = self.fight(store).filter(|fight| fight.until > now) else { return true };
        let (soon, until) = (now + GATHERING, fight.until);
        if self.due.of(store).is_none_or(|due| due > soon) {
            self.due.set(store, soon.min(until));
        }
        false
    }

    /// Whether a run of this store shall leave drift as it is.
    pub(super) fn withholds(&self, store: &StoreId, now: Instant) -> bool {
        self.fight(store).is_some_and(|fight| fight.until > now)
    }

    /// Returns the fight of a store.
    pub(super) fn fight(&self, store: &StoreId) -> Option<&Fight> {
        self.stores.get(store)?.fight.as_ref()
    }

    /// Returns how many stores are in a fight.
    pub(super) fn count(&self) -> usize {
        self.stores.values().filter(|record| record.fight.is_some()).count()
    }

    /// Forgets a store's fight: git wants something new of it, or it is gone.
    pub(super) fn forget(&mut self, store: &StoreId) {
        self.stores.remove(store);
        self.due.remove(store);
    }

    /// Takes a store that is due for a run.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<StoreId> {
        self.due.take_due(now)
    }

    /// Returns when the next one is.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.next()
    }
}

impl Record {
    /// Begins a fight if one object was put back too often.
    fn begin(&mut self, now: Instant) -> bool {
        let times =
            |healed: &Healed| self.heals.iter().filter(|(_, other)| other.object == healed.object).count();
        let Some((_, over)) = self.heals.iter().rev().find(|(_, healed)| times(healed) > MOST_HEALS) else {
            return false;
        };
        let over = over.clone();
        self.fight = Some(Fight { over, until: now + FIRST_PAUSE, pause: FIRST_PAUSE, last_drift: now });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ObjectKey;

    fn acme() -> StoreId {
        "acme".parse().unwrap()
    }

    fn healed(name: &str) -> Vec<Healed> {
        vec![Healed { object: ObjectKey::new("", "ConfigMap", name), other: Some("hpa".into()) }]
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Fights that have just begun, at the returned time.
    fn begun() -> (Fights, Instant) {
        let (mut fights, now) = (Fights::default(), Instant::now());
        for _ in 0..MOST_HEALS {
            assert_eq!(fights.ran(&acme(), &healed("a"), false, now), None);
        }
        assert_eq!(fights.ran(&acme(), &healed("a"), false, now), Some(News::Begun));
        (fights, now)
    }

    #[test]
    fn more_than_five_heals_of_one_object_within_a_minute_are_a_fight() {
        let (fights, now) = begun();
        let fight = fights.fight(&acme()).unwrap();
        assert_eq!(fight.until, now + seconds(60));
        let reason = fight.reason();
        assert!(reason.contains("ConfigMap/a") && reason.contains("field manager hpa"), "{reason}");
        assert_eq!(fights.count(), 1);
    }

    #[test]
    fn seldom_heals_and_heals_of_many_objects_are_none() {
        let (mut fights, now) = (Fights::default(), Instant::now());
        for number in 0..40 {
            let seldom = now + seconds(13 * number);
            assert_eq!(fights.ran(&acme(), &healed("a"), false, seldom), None);
        }
        let late = now + seconds(9999);
        for number in 0..40 {
            assert_eq!(fights.ran(&acme(), &healed(&number.to_string()), false, late), None);
        }
        fights.ran(&acme(), &[], false, late + seconds(61));
        assert!(fights.stores.is_empty(), "what is long past is forgotten");
    }

    #[test]
    fn pauses_double_from_one_minute_to_ten_and_other_stores_have_none() {
        let (mut fights, mut now) = begun();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let until = fights.fight(&acme()).unwrap().until;
            pauses.push((until - now).as_secs());
            assert!(fights.withholds(&acme(), now) && !fights.withholds(&"other".parse().unwrap(), now));
            now = until;
            assert!(!fights.withholds(&acme(), now));
            assert_eq!(fights.take_due(now), Some(acme()), "it is put back again");
            assert_eq!(fights.ran(&acme(), &healed("a"), false, now), None);
        }
        assert_eq!(pauses, [60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn what_moves_in_a_pause_is_gathered_and_looked_at_a_little_later() {
        let (mut fights, now) = begun();
        assert!(!fights.lets(&acme(), now) && !fights.lets(&acme(), now + seconds(1)));
        assert!(fights.lets(&"other".parse().unwrap(), now));
        assert_eq!(fights.next_due(), Some(now + GATHERING));
        assert_eq!(fights.take_due(now + GATHERING), Some(acme()));
        assert_eq!(fights.ran(&acme(), &[], true, now + GATHERING), None);
        assert_eq!(fights.next_due(), Some(now + seconds(60)), "the pause is no longer for that");
    }

    #[test]
    fn a_fight_ends_when_a_minute_passes_without_drift() {
        let (mut fights, now) = begun();
        let until = now + seconds(60);
        // Somebody changed it in the pause, so the peace begins later.
        fights.ran(&acme(), &[], true, now + seconds(30));
        assert_eq!(fights.take_due(until), Some(acme()));
        assert_eq!(fights.ran(&acme(), &[], false, until), None);
        assert_eq!(fights.next_due(), Some(now + seconds(90)));
        assert_eq!(fights.take_due(now + seconds(90)), Some(acme()));
        assert_eq!(fights.ran(&acme(), &[], false, now + seconds(90)), Some(News::Ended));
        assert!(fights.fight(&acme()).is_none() && fights.next_due().is_none());
    }

    #[test]
    fn a_new_commit_forgets_it() {
        let (mut fights, now) = begun();
        fights.forget(&acme());
        assert!(fights.lets(&acme(), now) && !fights.withholds(&acme(), now) && fights.next_due().is_none());
    }
}
