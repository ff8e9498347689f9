//! Concludes what state each store is in, and holds those conclusions for whoever shows them. Pure.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde_json::Value;

use crate::names::StoreId;

/// Whether a workload runs as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The controller has seen the newest version and all of it runs.
    Current,
    /// On its way, with what is missing.
    Progressing(String),
    /// The controller has given up, with its own reason.
    Failed(String),
}

/// The state of a store, as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StoreState {
    /// Git wants the store; nothing of it is in the cluster yet.
    Requested,
    /// Its objects are applied or being applied; something does not run yet.
    Provisioning,
    /// Every object is applied and every workload runs.
    Ready,
    /// Something is wrong; the reason says what, and when the next try comes.
    Failed,
    /// Its file is gone and its namespace is being deleted.
    Deleting,
}

impl StoreState {
    /// Every state, in the order of a store's life.
    pub const ALL: [Self; 5] =
        [Self::Requested, Self::Provisioning, Self::Ready, Self::Failed, Self::Deleting];

    /// Returns the state as pages and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Provisioning => "PROVISIONING",
            Self::Ready => "READY",
            Self::Failed => "FAILED",
            Self::Deleting => "DELETING",
        }
    }
}

/// What there is to say about a store. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreReport {
    /// The store's id.
    pub name: StoreId,
    /// The name that shoppers see.
    pub display_name: Option<String>,
    /// The state.
    pub state: StoreState,
    /// Why it is in that state.
    pub reason: String,
    /// Since when.
    pub since: i64,
    /// Where shoppers find it.
    pub url: Option<String>,
    /// The commit that git wants it at.
    pub revision: Option<String>,
    /// The commit it was last applied at.
    pub applied_revision: Option<String>,
    /// When its namespace was made.
    pub created: Option<i64>,
    /// The last error, kept until the store is READY again.
    pub last_error: Option<String>,
    /// When a failed run is tried again.
    pub next_retry: Option<i64>,
}

/// What holds for the fleet as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FleetReport {
    /// The newest commit whose snapshot is in force.
    pub revision: Option<String>,
    /// Why newer commits are not followed, if they are not.
    pub frozen: Option<String>,
    /// Removals refused by the deletion budget, and what to do.
    pub removals_refused: Option<String>,
    /// Problems in files that name no store.
    pub problems: Vec<String>,
    /// Whether the first pass over all stores is finished.
    pub ready: bool,
}

/// Everything that is shown, in one consistent picture.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// The fleet.
    pub fleet: FleetReport,
    /// Its stores.
    pub stores: BTreeMap<StoreId, StoreReport>,
}

/// Holds the newest [`Picture`]. Cloned handles share it.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<RwLock<Picture>>);

/// A handle on a [`Board`] that can only read.
#[derive(Debug, Clone)]
pub struct BoardReader(Board);

impl Board {
    /// Returns a handle for those who only show.
    pub fn reader(&self) -> BoardReader {
        BoardReader(self.clone())
    }

    /// Changes the picture; readers see all of the change or none.
    pub fn update<T>(&self, change: impl FnOnce(&mut Picture) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl BoardReader {
    /// Looks at the picture.
    pub fn read<T>(&self, look: impl FnOnce(&Picture) -> T) -> T {
        look(&self.0.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StoreReport {
    /// Starts the report of a store just heard of.
    pub fn new(name: StoreId, now: i64) -> Self {
        Self {
            name,
            display_name: None,
            state: StoreState::Requested,
            reason: "waiting for its first run".to_owned(),
            since: now,
            url: None,
            revision: None,
            applied_revision: None,
            created: None,
            last_error: None,
            next_retry: None,
        }
    }

    /// Moves to a state; `since` changes only when the state does. Returns the state it left, if it left one.
    pub fn enter(&mut self, state: StoreState, reason: String, now: i64) -> Option<StoreState> {
        let left = (self.state != state).then_some(self.state);
        if left.is_some() {
            self.since = now;
        }
        if state == StoreState::Failed {
            self.last_error = Some(reason.clone());
        } else {
            self.next_retry = None;
        }
        if state == StoreState::Ready {
            self.last_error = None;
        }
        self.state = state;
        self.reason = reason;
        left
    }
}

/// Concludes from its workloads what state a store is in whose objects are all applied.
pub fn conclude<'a>(workloads: impl Iterator<Item = (String, &'a Readiness)>) -> (StoreState, String) {
    let mut waiting = Vec::new();
    for (name, readiness) in workloads {
        match readiness {
            Readiness::Current => {}
            Readiness::Failed(reason) => return (StoreState::Failed, format!("{name}: {reason}")),
            Readiness::Progressing(reason) => waiting.push(format!("{name}: {reason}")),
        }
    }
    if waiting.is_empty() {
        (StoreState::Ready, "every object is applied and every workload runs".to_owned())
    } else {
        (StoreState::Provisioning, waiting.join("; "))
    }
}

/// Reads an object's readiness off its status; none for kinds that are ready once applied.
///
/// Source: the API conventions for workload status; the rules are those of kubectl's `rollout status` and `wait`.
pub fn readiness(object: &Value) -> Option<Readiness> {
    let kind = object.pointer("/kind").and_then(Value::as_str)?;
    let judge = match kind {
        "Deployment" => deployment_readiness,
        "StatefulSet" => stateful_set_readiness,
        "Job" => job_readiness,
        _ => return None,
    };
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let seen = number("/status/observedGeneration").unwrap_or(0);
    if kind != "Job" && seen < number("/metadata/generation").unwrap_or(0) {
        return Some(Readiness::Progressing("its controller has not seen the newest version yet".to_owned()));
    }
    Some(judge(object))
}

fn deployment_readiness(object: &Value) -> Readiness {
    if let Some(message) = condition(object, "Progressing", "False") {
        return Readiness::Failed(message);
    }
    let wanted = count(object, "/spec/replicas").unwrap_or(1);
    // Quota and Pod Security speak here, long before the deadline.
    if let Some(message) = condition(object, "ReplicaFailure", "True") {
        return Readiness::Progressing(message);
    }
    let updated = count(object, "/status/updatedReplicas").unwrap_or(0);
    let total = count(object, "/status/replicas").unwrap_or(0);
    let available = count(object, "/status/availableReplicas").unwrap_or(0);
    if updated < wanted {
        Readiness::Progressing(format!("{updated} of {wanted} replicas updated"))
    } else if total > updated {
        Readiness::Progressing(format!("{} old replicas still run", total - updated))
    } else if available < wanted {
        Readiness::Progressing(format!("{available} of {wanted} replicas available"))
    } else {
        Readiness::Current
    }
}

fn stateful_set_readiness(object: &Value) -> Readiness {
    let wanted = count(object, "/spec/replicas").unwrap_or(1);
    let ready = count(object, "/status/readyReplicas").unwrap_or(0);
    let updated = count(object, "/status/updatedReplicas").unwrap_or(0);
    let current = object.pointer("/status/currentRevision");
    if ready < wanted {
        Readiness::Progressing(format!("{ready} of {wanted} replicas ready"))
    } else if updated < wanted && current != object.pointer("/status/updateRevision") {
        Readiness::Progressing(format!("{updated} of {wanted} replicas updated"))
    } else {
        Readiness::Current
    }
}

fn job_readiness(object: &Value) -> Readiness {
    if let Some(message) = condition(object, "Failed", "True") {
        Readiness::Failed(format!("{message}; delete the Job to have it run again"))
    } else if condition(object, "Complete", "True").is_some() {
        Readiness::Current
    } else {
        let tries = count(object, "/status/failed").unwrap_or(0);
        let tried = if tries > 0 { format!(" after {tries} failed pods") } else { String::new() };
        Readiness::Progressing(format!("has not completed yet{tried}"))
    }
}

fn count(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// Finds a condition of this type and status and returns its words.
fn condition(object: &Value, kind: &str, status: &str) -> Option<String> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|entry| entry["type"] == kind && entry["status"] == status)?;
    let word = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some(format!("{}: {}", word("reason"), word("message")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(generation: i64, status: &Value) -> Option<Readiness> {
        let meta = json!({"generation": generation});
        readiness(&json!({"kind": "Deployment", "metadata": meta, "spec": {"replicas": 2}, "status": status}))
    }

    fn is_progressing(readiness: Option<&Readiness>) -> bool {
        matches!(readiness, Some(Readiness::Progressing(_)))
    }

    #[test]
    fn a_deployment_is_current_when_its_newest_version_is_available_and_alone() {
        let full =
            json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(deployment(3, &full), Some(Readiness::Current));
        assert!(is_progressing(deployment(4, &full).as_ref()), "the controller is behind");
        assert!(is_progressing(deployment(3, &json!({})).as_ref()));
        let surging =
            json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2});
        assert!(is_progressing(deployment(3, &surging).as_ref()), "an old replica still runs");
    }

    #[test]
    fn a_deployment_past_its_deadline_has_failed_in_its_own_words() {
        let conditions = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]);
        let status = json!({"observedGeneration": 1, "conditions": conditions});
        let expected = Readiness::Failed("ProgressDeadlineExceeded: timed out".to_owned());
        assert_eq!(deployment(1, &status), Some(expected));
    }

    #[test]
    fn a_job_is_current_only_when_complete() {
        let job = |status: Value| readiness(&json!({"kind": "Job", "metadata": {}, "status": status}));
        assert!(is_progressing(job(json!({"active": 1})).as_ref()));
        assert_eq!(
            job(json!({"conditions": [{"type": "Complete", "status": "True"}]})),
            Some(Readiness::Current)
        );
        let failed = job(
            json!({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "m"}]}),
        );
        assert_eq!(
            failed,
            Some(Readiness::Failed(
                "BackoffLimitExceeded: m; delete the Job to have it run again".to_owned()
            ))
        );
    }

    #[test]
    fn a_store_is_ready_when_all_of_it_is_and_failed_when_any_of_it_is() {
        let (current, waiting) = (Readiness::Current, Readiness::Progressing("0 of 1".to_owned()));
        let failed = Readiness::Failed("no".to_owned());
        let state = |all: &[&Readiness]| conclude(all.iter().map(|one| ("Job/x".to_owned(), *one))).0;
        assert_eq!(state(&[]), StoreState::Ready);
        assert_eq!(state(&[&current, &current]), StoreState::Ready);
        assert_eq!(state(&[&current, &waiting]), StoreState::Provisioning);
        assert_eq!(state(&[&waiting, &failed]), StoreState::Failed);
    }

    #[test]
    fn since_moves_only_with_the_state_and_the_last_error_stays_until_ready() {
        let mut report = StoreReport::new("acme".parse().unwrap(), 1);
        assert_eq!(report.enter(StoreState::Failed, "broken".into(), 5), Some(StoreState::Requested));
        assert_eq!(report.enter(StoreState::Failed, "broken still".into(), 9), None);
        assert_eq!((report.since, report.last_error.as_deref()), (5, Some("broken still")));
        report.enter(StoreState::Provisioning, "again".into(), 10);
        assert_eq!(report.last_error.as_deref(), Some("broken still"));
        report.enter(StoreState::Ready, "fine".into(), 11);
        assert_eq!(report.last_error, None);
    }
}
