//! Reads off pods and events why a workload does not come up: what the workload's own status does not say.

use serde_json::Value;

use super::Step;
use crate::names::LABEL_COMPONENT;

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

/// Collects symptoms from the pods and the warning events of a namespace, as the API server lists them. An event
/// counts when it is as new as `since`, in seconds since 1970: older trouble is over or shows in a pod.
pub fn symptoms(
    pods: &[Value],
    events: &[Value],
    since: i64,
    seconds: &dyn Fn(&str) -> Option<i64>,
) -> Vec<Symptom> {
    let mut found: Vec<Symptom> = pods.iter().filter_map(pod_symptom).collect();
    for event in events {
        let time =
            ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
                .iter()
                .find_map(|pointer| event.pointer(pointer).and_then(Value::as_str));
        if time.and_then(seconds).is_some_and(|time| time >= since)
            && let Some(symptom) = event_symptom(event, pods)
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

fn pod_symptom(pod: &Value) -> Option<Symptom> {
    // A pod that is being replaced explains nothing.
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return None;
    }
    let name = text(pod, "/metadata/name")?;
    let trouble = unschedulable(pod).or_else(|| container_trouble(pod))?;
    Some(Symptom { step: step_of(pod), text: format!("pod {name}: {trouble}") })
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
    list("/status/initContainerStatuses").chain(list("/status/containerStatuses")).find_map(|status| {
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
fn event_symptom(event: &Value, pods: &[Value]) -> Option<Symptom> {
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
            if pod.pointer("/metadata/deletionTimestamp").is_some() {
                return None;
            }
            step_of(pod)
        }
        "StatefulSet" | "Job" | "Deployment" => Some(Step::of_kind(kind)),
        _ => None,
    };
    let message = shorten(text(event, "/message").unwrap_or_default());
    Some(Symptom { step, text: format!("{} {name}: {reason}: {message}", kind.to_lowercase()) })
}

fn step_of(pod: &Value) -> Option<Step> {
    let component = pod.pointer("/metadata/labels")?.get(LABEL_COMPONENT)?.as_str()?;
    Step::of_component(component)
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

    fn pod(component: &str, status: &Value) -> Value {
        json!({"metadata": {"name": format!("{component}-0"), "labels": {LABEL_COMPONENT: component}}, "status": status})
    }

    fn only(pods: &[Value], events: &[Value]) -> String {
        let seconds = |time: &str| time.parse().ok();
        let found = symptoms(pods, events, 100, &seconds);
        found.iter().map(|symptom| symptom.text.as_str()).collect::<Vec<_>>().join(" | ")
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
        let event = |kind: &str, name: &str, reason: &str, time: &str| {
            json!({"type": "Warning", "reason": reason, "message": "HTTP probe failed\nwith statuscode: 503",
                "involvedObject": {"kind": kind, "name": name}, "lastTimestamp": time})
        };
        let pods = [pod("medusa", &json!({}))];
        let new = [event("Pod", "medusa-0", "Unhealthy", "100")];
        assert_eq!(only(&pods, &new), "pod medusa-0: Unhealthy: HTTP probe failed with statuscode: 503");
        assert_eq!(only(&pods, &[event("Pod", "medusa-0", "Unhealthy", "99")]), "", "it is over");
        assert_eq!(only(&pods, &[event("Pod", "gone-0", "Unhealthy", "100")]), "", "its pod has gone");
        let refused = only(&[], &[event("StatefulSet", "postgres", "FailedCreate", "100")]);
        assert!(refused.starts_with("statefulset postgres: FailedCreate"), "{refused}");
    }

    #[test]
    fn a_reason_carries_what_fits_its_step() {
        let symptom = |step, text: &str| Symptom { step, text: text.to_owned() };
        let all = [symptom(Some(Step::Database), "a"), symptom(Some(Step::Api), "b"), symptom(None, "c")];
        assert_eq!(explain(&all, Step::Api), " (b; c)");
        assert_eq!(explain(&all[..1], Step::Api), "");
    }
}
