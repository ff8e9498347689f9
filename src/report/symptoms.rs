//! Reads off pods and events why a workload does not come up: what the workload's own status does not say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Step;
use crate::manifest::ObjectKey;

/// What an object of a store shows that its owner's status does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// The step it explains; none when it may be any.
    pub step: Option<Step>,
    /// Which object shows what.
    pub text: String,
}

/// How much of a message is kept: kubelets and registries can be talkative.
const MESSAGE_LENGTH: usize = 240;

/// How many symptoms a reason carries.
const MOST: usize = 3;

/// Collects symptoms of these workloads from the pods and the warning events of a namespace, as the API server lists
/// them: what belongs to none of them, as a backup's pod, holds nothing up. An event counts when it is as new as
/// `since`, in seconds since 1970: older trouble is over or shows in a pod.
pub fn symptoms(
    workloads: &BTreeMap<ObjectKey, Step>,
    pods: &[Value],
    events: &[Value],
    since: i64,
    seconds: &dyn Fn(&str) -> Option<i64>,
) -> Vec<Symptom> {
    let mut found: Vec<_> = pods.iter().filter_map(|pod| pod_symptom(pod, workloads)).collect();
    for event in events {
        let time =
            ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
                .iter()
                .find_map(|pointer| event.pointer(pointer).and_then(Value::as_str));
        if time.and_then(seconds).is_some_and(|time| time >= since)
            && let Some(symptom) = event_symptom(event, pods, workloads)
            && !found.contains(&symptom)
        {
            found.push(symptom);
        }
    }
    found
}

/// Joins what explains a step; empty when nothing does.
pub fn explain(symptoms: &[Symptom], step: Step) -> String {
    let fitting = symptoms.iter().filter(|symptom| symptom.step.is_none_or(|of| of == step));
    let texts: Vec<_> = fitting.map(|symptom| symptom.text.as_str()).take(MOST).collect();
    if texts.is_empty() { String::new() } else { format!(" ({})", texts.join("; ")) }
}

fn pod_symptom(pod: &Value, workloads: &BTreeMap<ObjectKey, Step>) -> Option<Symptom> {
    let step = step_of_pod(pod, workloads)?;
    let name = text(pod, "/metadata/name")?;
    let trouble = unschedulable(pod).or_else(|| container_trouble(pod))?;
    Some(Symptom { step: Some(step), text: format!("pod {name}: {trouble}") })
}

fn unschedulable(pod: &Value) -> Option<String> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let scheduled = conditions.iter().find(|condition| condition["type"] == "PodScheduled")?;
    (scheduled["status"] == "False").then(|| {
        format!(
            "cannot be scheduled: {}",
            shorten(scheduled["message"].as_str().unwrap_or("no reason given"))
        )
    })
}

fn container_trouble(pod: &Value) -> Option<String> {
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let all = list("/status/initContainerStatuses").chain(list("/status/containerStatuses"));
    // What is ready has got over what it ended of.
    all.filter(|status| status["ready"] != true).find_map(|status| {
        let container = status["name"].as_str().unwrap_or_default();
        let ended = status.pointer("/lastState/terminated").or_else(|| status.pointer("/state/terminated"));
        let waiting = status.pointer("/state/waiting");
        let ended = ended.filter(|ended| ended["exitCode"] != 0);
        match (waiting.and_then(|waiting| waiting["reason"].as_str()), ended) {
            // Every pod begins with these two.
            (Some("ContainerCreating" | "PodInitializing") | None, None) => None,
            (_, Some(ended)) => {
                let reason = ended["reason"].as_str().unwrap_or("Error");
                let restarts = status["restartCount"].as_u64().unwrap_or(0);
                Some(format!(
                    "{container} ended: {reason}, exit code {}, {restarts} restarts",
                    ended["exitCode"]
                ))
            }
            (Some(reason), None) => {
                let message = waiting.and_then(|waiting| waiting["message"].as_str()).unwrap_or_default();
                Some(format!("{container} waits: {reason} {}", shorten(message)).trim_end().to_owned())
            }
        }
    })
}

/// A probe that fails, a quota that refuses, a volume that can't be mounted: only events say these.
fn event_symptom(event: &Value, pods: &[Value], workloads: &BTreeMap<ObjectKey, Step>) -> Option<Symptom> {
    if event["type"] != "Warning" {
        return None;
    }
    let (kind, name) = (text(event, "/involvedObject/kind")?, text(event, "/involvedObject/name")?);
    let reason = text(event, "/reason")?;
    // The pod's own status says these, and better.
    if matches!(reason, "Failed" | "BackOff" | "FailedScheduling") {
        return None;
    }
    let step = match kind {
        "Pod" => {
            let pod = pods.iter().find(|pod| text(pod, "/metadata/name") == Some(name))?;
            Some(step_of_pod(pod, workloads)?)
        }
        // What a claim or the store's secrets wait for may hold up anything.
        "PersistentVolumeClaim" | "ExternalSecret" => None,
        _ => Some(step_of(kind, name, workloads)?),
    };
    let message = shorten(text(event, "/message").unwrap_or_default());
    Some(Symptom { step, text: format!("{} {name}: {reason}: {message}", kind.to_lowercase()) })
}

/// Finds the step that a pod is part of; none for one that is being replaced, which explains nothing.
fn step_of_pod(pod: &Value, workloads: &BTreeMap<ObjectKey, Step>) -> Option<Step> {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return None;
    }
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find_map(|owner| step_of(text(owner, "/kind")?, text(owner, "/name")?, workloads))
}

/// Finds the step of a workload, or of the `ReplicaSet` that a Deployment made, named after it with a hash behind.
fn step_of(kind: &str, name: &str, workloads: &BTreeMap<ObjectKey, Step>) -> Option<Step> {
    let (kind, name) = match kind {
        "ReplicaSet" => ("Deployment", name.rsplit_once('-')?.0),
        _ => (kind, name),
    };
    let found = workloads.iter().find(|(key, _)| key.kind == kind && key.name == name);
    found.map(|(_, step)| *step)
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// Keeps one line of a message, without what could draw on a terminal.
fn shorten(message: &str) -> String {
    let mut line: String =
        message.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if let Some((end, _)) = line.char_indices().nth(MESSAGE_LENGTH) {
        line.truncate(end);
        line.push('…');
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A pod of a workload, as its controller makes it.
    fn pod(workload: &str, status: &Value) -> Value {
        let (kind, owner) = match workload {
            "medusa" | "storefront" => ("ReplicaSet", format!("{workload}-5d8f9c")),
            "postgres" => ("StatefulSet", workload.to_owned()),
            _ => ("Job", workload.to_owned()),
        };
        let owners = json!([{"kind": kind, "name": owner}]);
        json!({"metadata": {"name": format!("{workload}-0"), "ownerReferences": owners}, "status": status})
    }

    fn found(pods: &[Value], events: &[Value]) -> Vec<Symptom> {
        let key = |group: &str, kind: &str, name: &str| ObjectKey::new(group, kind, name);
        let workloads = BTreeMap::from([
            (key("apps", "Deployment", "medusa"), Step::Api),
            (key("apps", "Deployment", "storefront"), Step::Storefront),
            (key("apps", "StatefulSet", "postgres"), Step::Database),
            (key("batch", "Job", "bootstrap"), Step::Migration),
        ]);
        symptoms(&workloads, pods, events, 100, &|time| time.parse().ok())
    }

    fn only(pods: &[Value], events: &[Value]) -> String {
        let found = found(pods, events);
        found.iter().map(|symptom| symptom.text.as_str()).collect::<Vec<_>>().join(" | ")
    }

    fn event(kind: &str, name: &str, reason: &str, time: &str) -> Value {
        json!({"type": "Warning", "reason": reason, "message": "HTTP probe failed\nwith statuscode: 503",
            "involvedObject": {"kind": kind, "name": name}, "lastTimestamp": time})
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_said_with_its_name() {
        let waiting =
            json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x/medusa:9\""});
        let status = json!({"containerStatuses": [{"name": "medusa", "state": {"waiting": waiting}}]});
        let text = only(&[pod("medusa", &status)], &[]);
        assert_eq!(
            text,
            "pod medusa-0: medusa waits: ImagePullBackOff Back-off pulling image \"x/medusa:9\""
        );
    }

    #[test]
    fn a_container_that_ends_again_and_again_is_said_with_its_exit_code() {
        let status = json!({"initContainerStatuses": [{"name": "migrate", "restartCount": 2,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]});
        let text = only(&[pod("bootstrap", &status)], &[]);
        assert_eq!(text, "pod bootstrap-0: migrate ended: OOMKilled, exit code 137, 2 restarts");
    }

    #[test]
    fn a_pod_that_only_begins_has_no_symptom_and_one_without_a_node_has() {
        let creating = json!({"containerStatuses": [{"name": "m", "state": {"waiting": {"reason": "ContainerCreating"}}}]});
        assert_eq!(only(&[pod("medusa", &creating)], &[]), "");
        let conditions =
            json!([{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient memory"}]);
        let text = only(&[pod("medusa", &json!({"conditions": conditions}))], &[]);
        assert_eq!(text, "pod medusa-0: cannot be scheduled: 0/1 nodes: Insufficient memory");
    }

    #[test]
    fn events_tell_of_probes_and_quotas_while_they_are_new() {
        let pods = [pod("medusa", &json!({}))];
        let new = [event("Pod", "medusa-0", "Unhealthy", "100")];
        assert_eq!(only(&pods, &new), "pod medusa-0: Unhealthy: HTTP probe failed with statuscode: 503");
        assert_eq!(only(&pods, &[event("Pod", "medusa-0", "Unhealthy", "99")]), "", "it is over");
        assert_eq!(only(&pods, &[event("Pod", "gone-0", "Unhealthy", "100")]), "", "its pod has gone");
        let refused = only(&[], &[event("StatefulSet", "postgres", "FailedCreate", "100")]);
        assert!(refused.starts_with("statefulset postgres: FailedCreate"), "{refused}");
    }

    #[test]
    fn pods_and_events_explain_the_step_of_their_workload_and_those_of_others_nothing() {
        let ended = json!({"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]});
        let pods = ["postgres", "bootstrap", "medusa", "storefront", "backup-29"].map(|of| pod(of, &ended));
        let steps = |found: Vec<Symptom>| found.into_iter().map(|symptom| symptom.step).collect::<Vec<_>>();
        let all = [Step::Database, Step::Migration, Step::Api, Step::Storefront].map(Some);
        assert_eq!(steps(found(&pods, &[])), all);

        let of =
            |kind: &str, name: &str| steps(found(&pods[4..], &[event(kind, name, "FailedCreate", "100")]));
        assert_eq!(of("Deployment", "storefront"), [Some(Step::Storefront)]);
        assert_eq!(of("ReplicaSet", "storefront-5d8f9c"), [Some(Step::Storefront)]);
        assert_eq!(of("PersistentVolumeClaim", "data-postgres-0"), [None], "whatever mounts it");
        for (kind, name) in [
            ("Job", "backup-29"),
            ("CronJob", "backup"),
            ("Pod", "backup-29-0"),
            ("HorizontalPodAutoscaler", "medusa"),
        ] {
            assert_eq!(of(kind, name), [], "{kind} {name}");
        }
    }

    #[test]
    fn a_container_that_is_ready_has_no_symptom_whatever_it_ended_of_before() {
        let status = |ready: bool| {
            json!({"containerStatuses": [{"name": "m", "ready": ready, "restartCount": 1,
                "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]})
        };
        assert_eq!(only(&[pod("medusa", &status(true))], &[]), "");
        assert_eq!(
            only(&[pod("medusa", &status(false))], &[]),
            "pod medusa-0: m ended: Error, exit code 1, 1 restarts"
        );
    }

    #[test]
    fn a_reason_carries_what_fits_its_step() {
        let symptom = |step, text: &str| Symptom { step, text: text.to_owned() };
        let all = [symptom(Some(Step::Database), "a"), symptom(Some(Step::Api), "b"), symptom(None, "c")];
        assert_eq!(explain(&all, Step::Api), " (b; c)");
        assert_eq!(explain(&all[..1], Step::Api), "");
    }
}
