//! Shows what happens to who uses kubectl, as Kubernetes Events in the store's namespace. A task of its own sends them one by
//! one while the API server has nothing else of ours to do; what comes too often or too late is left out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::Instrument;

use crate::cluster::{Announcement, Cluster};
use crate::names::{StoreId, event_reasons as reasons};
use crate::report::{Event, EventKind, Step, StoreState, moment};

/// How many wait to be sent at most: three for each of a thousand stores. Further ones are left out.
const WAITING_MOST: usize = 3000;

/// How many a store has at once, and how long it takes until it has one more.
const BURST: f64 = 6.0;
const REFILL: Duration = Duration::from_secs(30);

/// How many stores are remembered before those are forgotten that have all theirs again.
const STORES_REMEMBERED: usize = 2000;

/// How often is looked whether the API server has nothing else of ours to do, and how long at least lies between two Events that
/// wait: while a thousand stores come up, the moments in which nothing happens are for their controllers.
const LOOK: Duration = Duration::from_millis(50);

/// How long the API server may have something else to do before what waits is sent all the same, one in this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where events are left. Leaving one never waits.
#[derive(Debug, Clone)]
pub(super) struct Announcer(Sender<Arc<Event>>);

impl Announcer {
    pub(super) fn offer(&self, event: &Arc<Event>) {
        if is_announced(event) && self.0.try_send(Arc::clone(event)).is_err() {
            tracing::debug!("too many Events wait to be sent: one is left out");
        }
    }
}

/// Begins to announce; that ends when nobody holds the announcer any more.
pub(super) fn begin(cluster: Cluster) -> Announcer {
    let (sender, events) = channel(WAITING_MOST);
    tokio::spawn(announce(cluster, events).instrument(tracing::info_span!("announcing")));
    Announcer(sender)
}

async fn announce(cluster: Cluster, mut events: Receiver<Arc<Event>>) {
    let mut limits = Limits::default();
    while let Some(event) = events.recv().await {
        let Some(announcement) = announcement(&event) else { continue };
        let store = &announcement.store;
        if !cluster.takes_announcements(store) || !limits.allow(store, Instant::now()) {
            continue;
        }
        let begun = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            if cluster.pace().is_quiet() || begun.elapsed() >= PATIENCE {
                break;
            }
        }
        if let Err(error) = cluster.announce(&announcement).await {
            tracing::debug!(store.id = %store, "failed to {error}; it is left out");
        }
    }
}

/// Whether kubectl shall show an event. A store that is made has three of them: its namespace, its database's migration,
/// and READY.
fn is_announced(event: &Event) -> bool {
    announced(event).is_some()
}

/// Returns the reason, and whether it is a warning.
fn announced(event: &Event) -> Option<(&'static str, bool)> {
    let Event { kind, state, step, .. } = event;
    Some(match kind {
        EventKind::NamespaceMade => (reasons::NAMESPACE_MADE, false),
        EventKind::StepDone if *step == Some(Step::Migration) => (reasons::STEP_DONE, false),
        EventKind::StateEntered => match (*state)? {
            StoreState::Requested => (reasons::REQUESTED, false),
            // Its objects are applied only then, and the namespace says so.
            StoreState::Provisioning if *step == Some(Step::Namespace) => return None,
            StoreState::Provisioning => (reasons::PROVISIONING, false),
            StoreState::Ready => (reasons::READY, false),
            StoreState::Degraded => (reasons::DEGRADED, true),
            StoreState::Failed => (reasons::FAILED, true),
            // The pause has an event of its own.
            StoreState::Paused => return None,
            StoreState::Deleting => (reasons::DELETING, false),
        },
        EventKind::DriftHealed => (reasons::DRIFT_HEALED, true),
        EventKind::FightBegun => (reasons::FIGHT_BEGUN, true),
        EventKind::FightEnded => (reasons::FIGHT_ENDED, false),
        EventKind::RemovalRefused => (reasons::REMOVAL_REFUSED, true),
        EventKind::Paused => (reasons::PAUSED, false),
        EventKind::Resumed => (reasons::RESUMED, false),
        _ => return None,
    })
}

fn announcement(event: &Event) -> Option<Announcement> {
    let (reason, is_warning) = announced(event)?;
    let Event { id, store, step, took_ms, origin, words, .. } = event;
    let mut note = words.clone();
    if event.kind == EventKind::StepDone
        && let Some(step) = step
    {
        note = format!("{step} is done");
    }
    if let Some(took) = took_ms.and_then(|took| i64::try_from(took / 1000).ok()).filter(|took| *took > 0) {
        note = format!("{note} (took {})", moment::span(took));
    }
    if let Some(short) = origin.as_ref().and_then(|origin| origin.revision.get(..10)) {
        note = format!("{note}, at commit {short}");
    }
    Some(Announcement { store: store.clone()?, is_warning, reason, note, at: *id })
}

/// How many Events each store may still have. Pure.
#[derive(Debug, Default)]
struct Limits(HashMap<StoreId, (f64, Instant)>);

impl Limits {
    fn allow(&mut self, store: &StoreId, now: Instant) -> bool {
        let left = |(left, since): (f64, Instant)| {
            let gained = now.saturating_duration_since(since).as_secs_f64() / REFILL.as_secs_f64();
            (left + gained).min(BURST)
        };
        if self.0.len() > STORES_REMEMBERED {
            self.0.retain(|_, entry| left(*entry) < BURST);
        }
        let entry = self.0.entry(store.clone()).or_insert((BURST, now));
        *entry = (left(*entry), now);
        if entry.0 < 1.0 {
            return false;
        }
        entry.0 -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Origin;

    fn event(kind: EventKind, state: Option<StoreState>, step: Option<Step>) -> Event {
        Event { state, step, ..Event::new(5, kind, Some("acme".parse().unwrap()), "so") }
    }

    #[test]
    fn a_store_that_is_made_has_three_events() {
        use EventKind::{Applied, FileChanged, NamespaceMade, StateEntered, StepDone};
        let state = |state, step| event(StateEntered, Some(state), step);
        let mut life = vec![
            event(FileChanged, None, None),
            state(StoreState::Provisioning, Some(Step::Namespace)),
            event(NamespaceMade, None, None),
            event(Applied, None, None),
        ];
        life.extend(Step::ALL.map(|step| event(StepDone, None, Some(step))));
        life.push(state(StoreState::Ready, None));
        let told: Vec<_> = life.iter().filter_map(announcement).map(|it| (it.reason, it.note)).collect();
        let said = |reason, note: &str| (reason, note.to_owned());
        assert_eq!(
            told,
            [said("NamespaceMade", "so"), said("StepDone", "migration is done"), said("Ready", "so")]
        );
    }

    #[test]
    fn an_event_says_how_long_it_took_and_at_which_commit() {
        let origin = Origin { revision: "1a2b3c4d5e6f7a8b".to_owned(), ..Origin::default() };
        let event = Event {
            took_ms: Some(61_900),
            origin: Some(origin),
            ..event(EventKind::StateEntered, Some(StoreState::Failed), None)
        };
        let announcement = announcement(&event).unwrap();
        assert_eq!(announcement.note, "so (took 1m 1s), at commit 1a2b3c4d5e");
        assert!(announcement.is_warning);
    }

    #[test]
    fn a_store_has_six_at_once_and_then_two_a_minute() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        let (acme, bold) = ("acme".parse().unwrap(), "bold".parse().unwrap());
        let allowed = |limits: &mut Limits, store, at| (0..9).filter(|_| limits.allow(store, at)).count();
        assert_eq!(allowed(&mut limits, &acme, now), 6);
        assert_eq!(allowed(&mut limits, &acme, now + Duration::from_secs(29)), 0);
        assert_eq!(allowed(&mut limits, &bold, now), 6, "each store has its own");
        assert_eq!(allowed(&mut limits, &acme, now + Duration::from_mins(1)), 2);
        assert_eq!(allowed(&mut limits, &acme, now + Duration::from_hours(9)), 6);
    }
}
