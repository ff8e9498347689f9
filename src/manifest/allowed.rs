//! What a chart may render: an allow-list of kinds, and nothing by which pods or Services leave their namespace. Pod
//! Security refuses such pods again; here the chart is told before anything is sent.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// The kinds that every store may have, as group and kind: what runs, serves, keeps and bounds inside a namespace. Nothing
/// that gives rights, and nothing that another controller acts on with rights of its own.
const USUAL: [(&str, &str); 17] = [
    ("", "ConfigMap"),
    ("", "LimitRange"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("", "ResourceQuota"),
    ("", "Secret"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("batch", "CronJob"),
    ("batch", "Job"),
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
];

/// The flags of a pod that open its node.
const HOST_FLAGS: [&str; 3] = ["hostNetwork", "hostPID", "hostIPC"];

/// A kind by its group, as operators write it: `monitoring.coreos.com/ServiceMonitor`, or `Kind` alone for the core group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKind {
    group: String,
    kind: String,
}

/// A text names no kind; fits "failed to parse: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no kind: write group/Kind, such as monitoring.coreos.com/ServiceMonitor")]
pub struct GroupKindError(String);

impl FromStr for GroupKind {
    type Err = GroupKindError;

    fn from_str(text: &str) -> Result<Self, GroupKindError> {
        let (group, kind) = text.split_once('/').unwrap_or(("", text));
        let is_kind = kind.starts_with(|c: char| c.is_ascii_uppercase())
            && kind.chars().all(|c| c.is_ascii_alphanumeric());
        let is_group =
            group.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c));
        if !is_kind || !is_group {
            return Err(GroupKindError(text.to_owned()));
        }
        Ok(Self { group: group.to_owned(), kind: kind.to_owned() })
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{}/{}", self.group, self.kind)
        }
    }
}

/// The kinds that charts may render.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedKinds {
    further: BTreeSet<GroupKind>,
}

impl AllowedKinds {
    /// Allows these kinds besides the usual ones.
    pub fn with(further: impl IntoIterator<Item = GroupKind>) -> Self {
        Self { further: further.into_iter().collect() }
    }

    /// Whether objects of this kind may be rendered.
    pub fn allows(&self, group: &str, kind: &str) -> bool {
        USUAL.contains(&(group, kind)) || self.further.iter().any(|it| it.group == group && it.kind == kind)
    }
}

/// Finds by what an object would reach outside its namespace, in words that fit "asks for {found}".
pub(super) fn reach(kind: &str, body: &Value) -> Option<String> {
    if kind == "Service" {
        let addresses = body.pointer("/spec/externalIPs").and_then(Value::as_array);
        return addresses
            .is_some_and(|addresses| !addresses.is_empty())
            .then(|| "externalIPs, which take the traffic of others".to_owned());
    }
    let pod = match kind {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    reach_of_pod(body.pointer(pod)?)
}

fn reach_of_pod(pod: &Value) -> Option<String> {
    let flag = HOST_FLAGS.into_iter().find(|flag| pod.get(*flag).is_some_and(|value| *value == true));
    if let Some(flag) = flag {
        return Some(flag.to_owned());
    }
    let list = |of: &'static str| pod.get(of).and_then(Value::as_array).into_iter().flatten();
    let name = |of: &Value| of.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(volume) =
        list("volumes").find(|volume| volume.get("hostPath").is_some_and(|it| !it.is_null()))
    {
        return Some(format!("a hostPath (volume {})", name(volume)));
    }
    for container in list("initContainers").chain(list("containers")) {
        if container.pointer("/securityContext/privileged").is_some_and(|value| *value == true) {
            return Some(format!("privileged (container {})", name(container)));
        }
        let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
        if let Some(port) = ports.filter_map(|port| port.get("hostPort")?.as_u64()).find(|port| *port != 0) {
            return Some(format!("hostPort {port} (container {})", name(container)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usual_kinds_are_allowed_and_others_when_the_operator_names_them() {
        let usual = AllowedKinds::default();
        assert!(usual.allows("apps", "Deployment") && usual.allows("policy", "PodDisruptionBudget"));
        assert!(!usual.allows("", "Deployment") && !usual.allows("rbac.authorization.k8s.io", "Role"));
        let monitor = "monitoring.coreos.com/ServiceMonitor";
        assert!(!usual.allows("monitoring.coreos.com", "ServiceMonitor"));
        let more = AllowedKinds::with([monitor.parse().unwrap()]);
        assert!(more.allows("monitoring.coreos.com", "ServiceMonitor") && more.allows("", "Secret"));
        assert_eq!(monitor.parse::<GroupKind>().unwrap().to_string(), monitor);
        assert_eq!("Endpoints".parse::<GroupKind>().unwrap().to_string(), "Endpoints");
    }

    #[test]
    fn what_names_no_kind_is_refused() {
        for text in ["", "/", "a/b", "apps/v1/Deployment", "*", "apps/*", "Apps/Deployment"] {
            assert!(text.parse::<GroupKind>().unwrap_err().to_string().contains("group/Kind"), "{text}");
        }
    }

    #[test]
    fn what_opens_the_node_or_takes_traffic_is_found() {
        let pod = |pod: Value| reach("Pod", &json!({ "spec": pod }));
        assert_eq!(pod(json!({ "containers": [{ "name": "a", "ports": [{ "containerPort": 1 }] }] })), None);
        assert_eq!(pod(json!({ "hostPID": true })).unwrap(), "hostPID");
        assert_eq!(pod(json!({ "hostNetwork": false })), None);
        let volumes =
            json!({ "volumes": [{ "name": "v", "emptyDir": {} }, { "name": "w", "hostPath": {} }] });
        assert_eq!(pod(volumes).unwrap(), "a hostPath (volume w)");
        let first = json!({ "initContainers": [{ "name": "i", "securityContext": { "privileged": true } }] });
        assert_eq!(pod(first).unwrap(), "privileged (container i)");
        let job = json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": {
            "containers": [{ "name": "c", "ports": [{ "hostPort": 80 }] }] } } } } } });
        assert_eq!(reach("CronJob", &job).unwrap(), "hostPort 80 (container c)");
        let set = json!({ "spec": { "template": { "spec": { "hostIPC": true } } } });
        assert_eq!(reach("DaemonSet", &set).unwrap(), "hostIPC");
        let service = json!({ "spec": { "externalIPs": ["192.0.2.1"] } });
        assert!(reach("Service", &service).unwrap().starts_with("externalIPs"));
        assert_eq!(reach("Service", &json!({ "spec": { "externalIPs": [] } })), None);
    }
}
