//! What is inside a store's namespace: its objects with their health and drift, its pods, and the versions that run and are
//! wanted. Pure.

use serde_json::Value;

/// What a look into a store's namespace found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The version that runs.
    pub runs: Option<VersionReport>,
    /// The version that git wants.
    pub wants: Option<VersionReport>,
    /// The objects that are applied.
    pub objects: Vec<ObjectHealth>,
    /// Its pods, or why they can't be told.
    pub pods: Result<Vec<PodHealth>, String>,
}

/// A version of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionReport {
    /// The commit that it was applied at.
    pub revision: String,
    /// The image of Medusa.
    pub image: Option<String>,
}

/// Whether an object does what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It can't come up by itself.
    Failed,
    /// It is not there.
    Missing,
    /// It is on its way.
    Progressing,
    /// It does, or has nothing to do but to be there.
    Current,
}

impl Health {
    /// Returns the health as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::Progressing => "progressing",
            Self::Current => "current",
        }
    }
}

/// An object and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHealth {
    /// Its kind.
    pub kind: String,
    /// Its API group; empty for the core group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Whether it does what it is there for.
    pub health: Health,
    /// What there is to say of that.
    pub note: Option<String>,
    /// Who changed it since it was applied, if it is not as it was applied.
    pub drift: Option<String>,
}

/// A pod and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodHealth {
    /// Its name.
    pub name: String,
    /// Its phase, or what its containers wait for.
    pub status: String,
    /// How many of its containers are ready.
    pub ready: usize,
    /// How many containers it has.
    pub containers: usize,
    /// How often its containers were restarted.
    pub restarts: u64,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
}

/// Reads a pod as the API server lists it. `seconds` reads its times.
pub fn pod_health(pod: &Value, seconds: &dyn Fn(&str) -> Option<i64>) -> PodHealth {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let (init, main) = (list("/status/initContainerStatuses"), list("/status/containerStatuses"));
    let phase = text("/status/phase").unwrap_or("Unknown");
    let trouble = init.iter().chain(main).find_map(|status| {
        let reason = |pointer: &str| status.pointer(pointer).and_then(Value::as_str);
        // What ended well says nothing of the rest.
        let ended = reason("/state/terminated/reason").filter(|reason| *reason != "Completed");
        reason("/state/waiting/reason").or(ended)
    });
    let status = match (text("/metadata/deletionTimestamp"), phase, trouble) {
        (Some(_), _, _) => "Terminating",
        (None, "Succeeded", _) => "Completed",
        (None, _, Some(trouble)) => trouble,
        (None, phase, None) => phase,
    };
    PodHealth {
        name: text("/metadata/name").unwrap_or_default().to_owned(),
        status: status.to_owned(),
        ready: main.iter().filter(|status| status["ready"] == true).count(),
        containers: list("/spec/containers").len(),
        restarts: init.iter().chain(main).filter_map(|status| status["restartCount"].as_u64()).sum(),
        created: text("/metadata/creationTimestamp").and_then(seconds),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::moment;
    use super::*;

    fn read(status: &Value) -> (String, usize, usize, u64) {
        let pod = json!({
            "metadata": { "name": "medusa-0", "creationTimestamp": "2026-11-22T13:45:00Z" },
            "spec": { "containers": [{ "name": "a" }, { "name": "b" }] }, "status": status,
        });
        let health = pod_health(&pod, &moment::seconds);
        assert_eq!(
            (health.name.as_str(), health.created),
            ("medusa-0", moment::seconds("2026-11-22T13:45:00Z"))
        );
        (health.status, health.ready, health.containers, health.restarts)
    }

    #[test]
    fn a_pod_is_told_as_kubectl_tells_it() {
        let running = json!({ "phase": "Running", "containerStatuses": [
            { "ready": true, "restartCount": 2, "state": { "running": {} } },
            { "ready": false, "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } } },
        ]});
        assert_eq!(read(&running), ("CrashLoopBackOff".to_owned(), 1, 2, 5));
        let waiting = json!({ "phase": "Pending", "initContainerStatuses": [
            { "ready": false, "restartCount": 0, "state": { "terminated": { "reason": "Error" } } },
        ]});
        assert_eq!(read(&waiting), ("Error".to_owned(), 0, 2, 0));
        let done = json!({ "phase": "Succeeded", "containerStatuses": [
            { "ready": false, "restartCount": 0, "state": { "terminated": { "reason": "Completed" } } },
        ]});
        assert_eq!(read(&done), ("Completed".to_owned(), 0, 2, 0));
        assert_eq!(read(&json!({ "phase": "Pending" })).0, "Pending");
    }
}
