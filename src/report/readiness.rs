//! Reads off a workload's status whether it runs as it should, and which step of a store's provisioning it is.

use serde_json::Value;

use super::Step;
use crate::names::{ANNOTATION_HOOK_RUN, LABEL_COMPONENT};

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

/// An object that has to run, or to be served, before its store is READY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The step it belongs to.
    pub step: Step,
    /// Whether it runs.
    pub readiness: Readiness,
    /// When it was made, in seconds since 1970, where that is known.
    pub made: Option<i64>,
}

/// What there is to say of a workload whose newest version its controller has not seen.
const UNSEEN: &str = "its controller has not seen the newest version yet";

impl Workload {
    /// Whether it does not run yet and pods and events may tell why: before its controller has seen it there are none.
    pub fn is_worth_a_look(&self) -> bool {
        match &self.readiness {
            Readiness::Current => false,
            Readiness::Progressing(reason) => reason != UNSEEN,
            Readiness::Failed(_) => true,
        }
    }
}

/// Kinds that [`workload`] judges: their status has to be watched.
pub const WORKLOAD_KINDS: [&str; 6] = ["DaemonSet", "Deployment", "StatefulSet", "Pod", "Job", "Ingress"];

/// Judges an object by its status; none for kinds that are ready once applied.
///
/// Source: the API conventions for workload status; the rules are those of kubectl's `rollout status` and `wait`.
pub fn workload(object: &Value) -> Option<Workload> {
    let kind = object.pointer("/kind").and_then(Value::as_str)?;
    let judge = match kind {
        "Deployment" => deployment_readiness,
        "StatefulSet" => stateful_set_readiness,
        "DaemonSet" => daemon_set_readiness,
        "Pod" => pod_readiness,
        "Job" => job_readiness,
        "Ingress" => ingress_readiness,
        _ => return None,
    };
    let labels = object.pointer("/metadata/labels");
    let component = labels.and_then(|labels| labels.get(LABEL_COMPONENT)).and_then(Value::as_str);
    let step = component.and_then(Step::of_component).unwrap_or(Step::of_kind(kind));
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let observes = matches!(kind, "DaemonSet" | "Deployment" | "StatefulSet");
    let seen = number("/status/observedGeneration").unwrap_or(0);
    let readiness = if observes && seen < number("/metadata/generation").unwrap_or(0) {
        Readiness::Progressing(UNSEEN.to_owned())
    } else {
        judge(object)
    };
    Some(Workload { step, readiness, made: None })
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

fn daemon_set_readiness(object: &Value) -> Readiness {
    let number = |pointer: &str| count(object, pointer).unwrap_or(0);
    let wanted = number("/status/desiredNumberScheduled");
    let (updated, available) = (number("/status/updatedNumberScheduled"), number("/status/numberAvailable"));
    if updated < wanted {
        Readiness::Progressing(format!("{updated} of {wanted} pods updated"))
    } else if available < wanted {
        Readiness::Progressing(format!("{available} of {wanted} pods available"))
    } else {
        Readiness::Current
    }
}

/// A pod that a hook made has to end; any other one has to run.
fn pod_readiness(object: &Value) -> Readiness {
    let annotations = object.pointer("/metadata/annotations");
    let is_hook = annotations.is_some_and(|annotations| annotations.get(ANNOTATION_HOOK_RUN).is_some());
    let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match word("/status/phase") {
        "Succeeded" => Readiness::Current,
        "Failed" => {
            let why = ["/status/reason", "/status/message"].map(word).join(" ");
            let why = if why.trim().is_empty() { String::new() } else { format!(" ({})", why.trim()) };
            Readiness::Failed(format!("it has failed{why}; delete the Pod to have it run again"))
        }
        _ if is_hook => Readiness::Progressing("has not ended yet".to_owned()),
        _ if condition(object, "Ready", "True").is_some() => Readiness::Current,
        _ => Readiness::Progressing("is not ready".to_owned()),
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

/// Not every controller publishes an address, so this explains a failing probe and holds nothing up by itself.
fn ingress_readiness(object: &Value) -> Readiness {
    let published = object.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    if published.is_some_and(|addresses| !addresses.is_empty()) {
        Readiness::Current
    } else {
        Readiness::Progressing("no ingress controller has published an address for it".to_owned())
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
        judged(&json!({"kind": "Deployment", "metadata": meta, "spec": {"replicas": 2}, "status": status}))
    }

    fn judged(object: &Value) -> Option<Readiness> {
        workload(object).map(|workload| workload.readiness)
    }

    fn is_progressing(readiness: Option<&Readiness>) -> bool {
        matches!(readiness, Some(Readiness::Progressing(_)))
    }

    #[test]
    fn pods_and_events_are_worth_a_look_once_a_controller_has_seen_the_newest_version() {
        let is_worth = |observed: i64, updated: i64| {
            let status = json!({"observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": updated});
            let object = json!({
                "kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status,
            });
            workload(&object).unwrap().is_worth_a_look()
        };
        assert!(!is_worth(1, 2), "no pod of the newest version exists");
        assert!(is_worth(2, 1), "a pod is missing");
        assert!(!is_worth(2, 2), "all of it runs");
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
        let job = |status: Value| judged(&json!({"kind": "Job", "metadata": {}, "status": status}));
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
    fn a_pod_has_to_run_but_one_that_a_hook_made_has_to_end() {
        let pod = |annotations: &Value, status: Value| {
            judged(&json!({"kind": "Pod", "metadata": {"annotations": annotations}, "status": status}))
        };
        let (plain, hook) = (json!({}), json!({ANNOTATION_HOOK_RUN: "x"}));
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(pod(&plain, ready.clone()), Some(Readiness::Current));
        assert!(is_progressing(pod(&hook, ready).as_ref()));
        assert_eq!(pod(&hook, json!({"phase": "Succeeded"})), Some(Readiness::Current));
        assert!(is_progressing(pod(&plain, json!({"phase": "Pending"})).as_ref()));
        let failed =
            pod(&hook, json!({"phase": "Failed", "reason": "Evicted", "message": "no room"})).unwrap();
        let words = "it has failed (Evicted no room); delete the Pod to have it run again";
        assert_eq!(failed, Readiness::Failed(words.to_owned()));
    }

    #[test]
    fn a_daemon_set_is_current_when_its_newest_version_is_available_on_every_node() {
        let set = |updated: i64, available: i64| {
            let status = json!({
                "observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": updated,
                "numberAvailable": available,
            });
            judged(&json!({"kind": "DaemonSet", "metadata": {"generation": 1}, "status": status}))
        };
        assert_eq!(set(2, 2), Some(Readiness::Current));
        assert_eq!(set(1, 2), Some(Readiness::Progressing("1 of 2 pods updated".to_owned())));
        assert_eq!(set(2, 1), Some(Readiness::Progressing("1 of 2 pods available".to_owned())));
    }

    #[test]
    fn a_workload_belongs_to_the_step_of_its_component_or_else_of_its_kind() {
        let step = |kind: &str, component: &str| {
            let labels = json!({LABEL_COMPONENT: component});
            workload(&json!({"kind": kind, "metadata": {"labels": labels}})).unwrap().step
        };
        assert_eq!(step("Deployment", "storefront"), Step::Storefront);
        assert_eq!(step("Deployment", "worker"), Step::Api);
        assert_eq!(step("StatefulSet", "redis"), Step::Database);
        assert_eq!(step("Job", "of another chart"), Step::Migration);
    }

    #[test]
    fn an_ingress_is_current_once_a_controller_has_published_an_address() {
        let ingress = |status: Value| judged(&json!({"kind": "Ingress", "metadata": {}, "status": status}));
        assert!(is_progressing(ingress(json!({"loadBalancer": {}})).as_ref()));
        let published = json!({"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}});
        assert_eq!(ingress(published), Some(Readiness::Current));
    }
}
