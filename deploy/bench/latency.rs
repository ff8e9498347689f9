//! How fast single changes are followed in a large fleet: an edited store, drift, a removed store.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cold::{Bench, Running};
use super::figures::rounded;
use super::statistics::percentile;
use super::witness::{Event, Kind};

const EDITS: usize = 50;
const DRIFTS: usize = 100;
const REMOVALS: usize = 50;

/// How long one change may take to be followed.
const PATIENCE: Duration = Duration::from_mins(1);

/// Numbers that look like chance and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Edits one store's file at a time; each edit changes the 20 `ConfigMaps` of its store.
pub fn edit(bench: &Bench<'_>, running: &Running) -> Value {
    let (mut dice, mut first, mut done) = (Dice(0x5eed), Vec::new(), Vec::new());
    for turn in 0..EDITS {
        let store = dice.below(running.stores);
        let namespace = running.fleet.namespace(store);
        running.fleet.write(store, &format!("edit-{turn}"));
        let commit = running.fleet.commit("edit");
        std::thread::sleep(Duration::from_millis(200));
        let mark = bench.witness.mark();
        let pushed = running.fleet.publish(&commit);
        let ours = |event: &&Event| event.namespace == namespace && event.kind == Kind::ConfigMap;
        let last = bench.witness.until(PATIENCE, "an edited store's objects change", mark, |events| {
            let mut names = BTreeSet::new();
            events.iter().filter(ours).find_map(|event| {
                names.insert(event.name.as_str());
                (names.len() == super::CONFIG_MAPS).then_some(event.at)
            })
        });
        let begun = bench.witness.until(PATIENCE, "an edited store's first object changes", mark, |events| {
            events.iter().find(ours).map(|event| event.at)
        });
        first.push(milliseconds(pushed, begun));
        done.push(milliseconds(pushed, last));
    }
    json!({
        "stores": running.stores, "edits": EDITS, "p50_ms": rounded(percentile(&done, 50.0)),
        "p99_ms": rounded(percentile(&done, 99.0)),
        "first_apply_p50_ms": rounded(percentile(&first, 50.0)),
        "first_apply_p99_ms": rounded(percentile(&first, 99.0)),
    })
}

/// Deletes or changes one object at a time, as somebody else would.
pub fn drift(bench: &Bench<'_>, running: &Running) -> Value {
    let mut dice = Dice(0xd21f7);
    let mut healed = Vec::new();
    for _ in 0..DRIFTS {
        let namespace = running.fleet.namespace(dice.below(running.stores));
        let number = dice.below(super::OBJECTS - 1);
        let deletes = dice.below(2) == 0;
        let drift = if number < super::CONFIG_MAPS {
            Drift { namespace, kind: Kind::ConfigMap, name: format!("c{number}"), deletes }
        } else {
            let name = format!("d{}", number - super::CONFIG_MAPS);
            Drift { namespace, kind: Kind::Deployment, name, deletes }
        };
        healed.push(drift.time(bench));
        // The store's run has something left to say after its heal.
        std::thread::sleep(Duration::from_millis(150));
    }
    json!({
        "stores": running.stores, "drifts": DRIFTS, "p50_ms": rounded(percentile(&healed, 50.0)),
        "p99_ms": rounded(percentile(&healed, 99.0)),
        "max_ms": rounded(percentile(&healed, 100.0)),
    })
}

struct Drift {
    namespace: String,
    kind: Kind,
    name: String,
    deletes: bool,
}

impl Drift {
    fn version_and_kind(&self) -> (&'static str, &'static str) {
        if self.kind == Kind::ConfigMap { ("v1", "ConfigMap") } else { ("apps/v1", "Deployment") }
    }

    /// Makes the drift and returns how long after its event the event of the heal came.
    fn time(&self, bench: &Bench<'_>) -> f64 {
        let (version, kind) = self.version_and_kind();
        let (namespace, name) = (self.namespace.as_str(), self.name.as_str());
        let cluster = &bench.server.cluster;
        let wanted = self.content(bench).unwrap();
        let generation = bench.witness.generation(self.kind, namespace, name).unwrap();
        let mark = bench.witness.mark();
        if self.deletes {
            cluster.delete(version, kind, namespace, name);
        } else {
            let spec = json!({ "template": { "metadata": { "annotations": { "release": "drifted" } } } });
            let patch = json!({ "spec": spec });
            let data = json!({ "data": { "b": "drifted" } });
            let patch = if self.kind == Kind::ConfigMap { &data } else { &patch };
            cluster.patch(version, kind, namespace, name, patch);
        }
        let what = format!("{kind} {name} in {namespace} is healed");
        let (drifted, healed) =
            bench.witness.until(PATIENCE, &what, mark, |events| self.found(events, generation));
        assert_eq!(self.content(bench), Some(wanted), "{what}: it differs from what it was");
        milliseconds(drifted, healed)
    }

    /// Finds the event of the drift and that of the heal. A Deployment's status moves too: only its generation
    /// tells what was wanted of it.
    fn found(&self, events: &[Event], generation: i64) -> Option<(Instant, Instant)> {
        let ours = |event: &&Event| {
            event.kind == self.kind && event.namespace == self.namespace && event.name == self.name
        };
        let mut events = events.iter().filter(ours);
        if self.deletes {
            let gone = events.find(|event| event.gone)?;
            let back = events.find(|event| !event.gone)?;
            return Some((gone.at, back.at));
        }
        let news = |event: &Event, known: i64| self.kind == Kind::ConfigMap || event.generation > known;
        let drifted = events.find(|event| news(event, generation))?;
        let healed = events.find(|event| news(event, drifted.generation))?;
        Some((drifted.at, healed.at))
    }

    /// What of the object the chart says.
    fn content(&self, bench: &Bench<'_>) -> Option<Value> {
        let (version, kind) = self.version_and_kind();
        let object = bench.server.cluster.get(version, kind, &self.namespace, &self.name)?;
        let part = if self.kind == Kind::ConfigMap { "/data" } else { "/spec/template" };
        object.pointer(part).cloned()
    }
}

/// Removes one store's file at a time, without a grace period.
pub fn removal(bench: &Bench<'_>, running: &mut Running) -> Value {
    let count = REMOVALS.min(running.stores / 2);
    let (mut asked, mut pushes) = (Vec::new(), Vec::new());
    let start = bench.witness.mark();
    for turn in 0..count {
        let store = running.stores - 1 - turn;
        let namespace = running.fleet.namespace(store);
        running.fleet.remove(store);
        let commit = running.fleet.commit("remove");
        std::thread::sleep(Duration::from_millis(200));
        let mark = bench.witness.mark();
        let pushed = running.fleet.publish(&commit);
        let at =
            bench.witness.until(PATIENCE, "a removed store's namespace is being deleted", mark, |events| {
                let going = |event: &&Event| event.deleting || event.gone;
                events
                    .iter()
                    .filter(|event| is_namespace(event, &namespace))
                    .find(going)
                    .map(|event| event.at)
            });
        asked.push(milliseconds(pushed, at));
        pushes.push((namespace, pushed));
    }
    let gone: Vec<_> = pushes
        .iter()
        .map(|(namespace, pushed)| {
            let at =
                bench.witness.until(PATIENCE * 5, "a removed store's namespace is gone", start, |events| {
                    events
                        .iter()
                        .find(|event| is_namespace(event, namespace) && event.gone)
                        .map(|event| event.at)
                });
            milliseconds(*pushed, at)
        })
        .collect();
    running.stores -= count;
    json!({
        "stores": running.stores + count, "removals": count,
        "p50_ms": rounded(percentile(&gone, 50.0)), "p99_ms": rounded(percentile(&gone, 99.0)),
        "asked_p50_ms": rounded(percentile(&asked, 50.0)), "asked_p99_ms": rounded(percentile(&asked, 99.0)),
    })
}

fn is_namespace(event: &Event, name: &str) -> bool {
    event.kind == Kind::Namespace && event.name == name
}

/// An event can be seen before the act that made it has returned.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.checked_duration_since(from).unwrap_or_default().as_secs_f64() * 1000.0
}
