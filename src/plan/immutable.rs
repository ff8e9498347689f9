//! What becomes of a change that the API server refuses because the field can't change on an object that exists.
//!
//! Kinds that hold nothing but what is rendered are made anew; where data would go or be orphaned, or work would be
//! done twice, the change is refused with what to do.

use serde_json::Value;

use super::ObservedObject;
use crate::manifest::{ObjectKey, Uid};

/// What to do about an object whose change is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// Delete exactly this object; once it is gone, it is applied anew.
    Recreate {
        /// The identity that the server checks.
        uid: Uid,
    },
    /// Leave it as it is.
    Refuse {
        /// What a person can do.
        advice: String,
    },
}

/// Kinds, by group, that are made anew: all they hold is rendered.
const RECREATED: [(&str, &str); 7] = [
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("", "ConfigMap"),
    ("", "ResourceQuota"),
    ("", "Service"),
    ("policy", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
];

/// How the API server and its validation rules say that a field can't change.
const WORDS: [&str; 4] = ["immutable", "may not change", "cannot change", "updates to statefulset spec"];

/// Finds the field that can't change among what the API server says of single fields: pairs of path and words. None when
/// it says anything else besides: an object made anew would be refused for that, and the one before would be gone.
pub fn immutable_field<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Option<(&'a str, &'a str)> {
    let mut first = None;
    for (path, words) in fields {
        // What is about no field are the words of a policy or a webhook.
        if path.is_empty() || !WORDS.iter().any(|known| words.contains(known)) {
            return None;
        }
        first = first.or(Some((path, words)));
    }
    first
}

/// How the API server says of a claim's size that it can't change: that it shrinks, or, as a refusal of admission, that
/// nothing enlarges its volume.
const CLAIM_WORDS: [&str; 2] = ["field can not be less than", "must support resize"];

/// Finds what the API server says against a claim's new size: in fields, or in its sentence when that is about no field.
pub fn refused_size<'a>(
    key: &ObjectKey,
    mut fields: impl Iterator<Item = (&'a str, &'a str)>,
    message: &'a str,
) -> Option<(&'a str, &'a str)> {
    let is_known = |words: &str| CLAIM_WORDS.iter().any(|known| words.contains(known));
    if key.kind != "PersistentVolumeClaim" {
        return None;
    }
    let size = ("spec.resources.requests.storage", message);
    fields.find(|(_, words)| is_known(words)).or(Some(size).filter(|_| is_known(message)))
}

/// Decides about an object whose change is refused; `observed` is what the watch knows of it.
pub fn treatment(key: &ObjectKey, observed: Option<&ObservedObject>, namespace: &str) -> Treatment {
    let refuse = |advice: String| Treatment::Refuse { advice };
    let (kind, name) = (key.kind.to_lowercase(), &key.name);
    let delete = format!("`kubectl -n {namespace} delete {kind}/{name}`");
    match key.kind.as_str() {
        "StatefulSet" => {
            return refuse(format!(
                "its volumes hold data, so it is left as it is: take the change back in git, or run {} and it is made \
                 anew around its pods and claims (which keep their size: enlarge a claim by itself)",
                format_args!("`kubectl -n {namespace} delete {kind}/{name} --cascade=orphan`")
            ));
        }
        "PersistentVolumeClaim" => {
            return refuse(
                "it holds data, so it is left as it is: take the change back in git, or render a claim of another name \
                 and move the data; a claim is enlarged only where its StorageClass allows that"
                    .to_owned(),
            );
        }
        "Secret" => {
            return refuse(format!(
                "what it holds may be in use, so it is left as it is: take the change back in git, or render a Secret of \
                 another name; {delete} only if nothing was made with it"
            ));
        }
        "Job" => {
            return refuse(format!(
                "a Job that has begun is not run a second time: name it by a hash of its content, so that a change is a \
                 new Job, or take the change back in git; {delete} has it run again"
            ));
        }
        _ => {}
    }
    let known = observed.filter(|object| !object.keep && !object.deleting);
    match known {
        Some(object) if RECREATED.contains(&(key.group.as_str(), key.kind.as_str())) => {
            Treatment::Recreate { uid: object.uid.clone() }
        }
        _ => refuse(format!(
            "it is left as it is: take the change back in git, or run {delete} and it is made anew"
        )),
    }
}

/// Says what to do about an object that can't be tried out beside the one before, because a quota has no room for both. Only
/// a person can tell whether the new one fits into what the old one leaves.
pub fn no_room(key: &ObjectKey, namespace: &str, quota: &str) -> String {
    let (kind, name) = (key.kind.to_lowercase(), &key.name);
    format!(
        "it would be made anew, but beside it there is no room to try that out ({quota}): raise the quota, take the change \
         back in git, or run `kubectl -n {namespace} delete {kind}/{name}` and it is made anew"
    )
}

/// Returns an object as it is tried out before the one of its name is deleted: without its name, and without addresses
/// and ports that only one object can have.
pub fn stand_in(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(metadata) = body.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("name");
        metadata.insert("generateName".to_owned(), "storekeeper-tries-".into());
    }
    if body.pointer("/kind") == Some(&"Service".into())
        && let Some(spec) = body.pointer_mut("/spec").and_then(Value::as_object_mut)
    {
        let is_headless = spec.get("clusterIP") == Some(&"None".into());
        spec.retain(|field, _| {
            field != "healthCheckNodePort" && (is_headless || !matches!(&**field, "clusterIP" | "clusterIPs"))
        });
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(group: &str, kind: &str) -> ObjectKey {
        ObjectKey::new(group, kind, "x")
    }

    fn observed() -> ObservedObject {
        ObservedObject {
            uid: Uid::new("u"),
            version: 1,
            owned_fields: None,
            unexplained: false,
            others_time: 0,
            other_writer: None,
            deleting: false,
            keep: false,
            workload: None,
            hook_run: None,
        }
    }

    fn advice(group: &str, kind: &str, observed: Option<&ObservedObject>) -> String {
        match treatment(&key(group, kind), observed, "store-acme") {
            Treatment::Refuse { advice } => advice,
            Treatment::Recreate { .. } => panic!("{kind} is made anew"),
        }
    }

    #[test]
    fn what_holds_nothing_but_what_is_rendered_is_made_anew() {
        for (group, kind) in RECREATED {
            let expected = Treatment::Recreate { uid: Uid::new("u") };
            assert_eq!(treatment(&key(group, kind), Some(&observed()), "store-acme"), expected, "{kind}");
        }
    }

    #[test]
    fn where_data_would_go_or_work_be_done_twice_the_change_is_refused_with_what_to_do() {
        let set = advice("apps", "StatefulSet", Some(&observed()));
        assert!(set.contains("`kubectl -n store-acme delete statefulset/x --cascade=orphan`"), "{set}");
        assert!(advice("", "PersistentVolumeClaim", Some(&observed())).contains("another name"));
        assert!(advice("", "Secret", Some(&observed())).contains("Secret of another name"));
        let job = advice("batch", "Job", Some(&observed()));
        assert!(job.contains("a hash of its content"), "{job}");
        assert!(advice("example.com", "Deployment", Some(&observed())).contains("delete deployment/x"));
    }

    #[test]
    fn an_object_that_nobody_has_seen_or_that_must_be_kept_is_not_deleted() {
        let kept = ObservedObject { keep: true, ..observed() };
        let going = ObservedObject { deleting: true, ..observed() };
        for object in [None, Some(&kept), Some(&going)] {
            assert!(advice("", "Service", object).contains("it is left as it is"));
        }
    }

    #[test]
    fn the_field_is_found_by_the_words_of_a_real_api_server() {
        for words in [
            "Invalid value: {...}: field is immutable",
            "Forbidden: field is immutable when `immutable` is set",
            "Invalid value: {...}: cannot change roleRef",
            "Invalid value: [\"None\"]: may not change once set",
            "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
            "Forbidden: spec is immutable after creation except resources.requests",
        ] {
            let fields = [("spec", words), ("spec.other", words)];
            assert_eq!(immutable_field(fields.into_iter()), Some(("spec", words)));
        }
        assert_eq!(immutable_field([("spec", "Forbidden: may not be set")].into_iter()), None);
        assert_eq!(immutable_field([].into_iter()), None);
    }

    #[test]
    fn the_size_of_a_claim_is_found_by_the_words_of_a_real_api_server() {
        let claim = key("", "PersistentVolumeClaim");
        let path = "spec.resources.requests.storage";
        for words in [
            "Forbidden: field can not be less than status.capacity",
            "field can not be less than previous value",
        ] {
            let found = refused_size(&claim, [(path, words)].into_iter(), "is invalid");
            assert_eq!(found, Some((path, words)));
            assert_eq!(refused_size(&key("", "Pod"), [(path, words)].into_iter(), "is invalid"), None);
        }
        let words = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        assert_eq!(refused_size(&claim, [].into_iter(), words), Some((path, words)));
        assert_eq!(refused_size(&claim, [].into_iter(), "exceeded quota: store"), None);
    }

    #[test]
    fn what_is_refused_for_another_reason_too_is_not_one_of_them() {
        let frozen = ("spec.selector", "Invalid value: {...}: field is immutable");
        let wrong = ("spec.template.metadata.labels", "Invalid value: \"-\": must start with a letter");
        assert_eq!(immutable_field([frozen, wrong].into_iter()), None);
        assert_eq!(immutable_field([wrong, frozen].into_iter()), None);
        let policy = ("", "ValidatingAdmissionPolicy 'immutable-tags' denied request: tags are immutable");
        assert_eq!(immutable_field([policy].into_iter()), None);
        assert_eq!(immutable_field([frozen, policy].into_iter()), None);
    }

    #[test]
    fn what_is_tried_out_has_nothing_that_only_one_object_can_have() {
        let service = |spec: Value| {
            let body =
                json!({"kind": "Service", "metadata": {"name": "web", "labels": {"a": "b"}}, "spec": spec});
            let tried = stand_in(&body);
            assert_eq!(
                tried["metadata"],
                json!({"labels": {"a": "b"}, "generateName": "storekeeper-tries-"})
            );
            tried["spec"].clone()
        };
        let fixed = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30080}]});
        assert_eq!(service(fixed), json!({"ports": [{"port": 80}]}));
        let headless = json!({"clusterIP": "None", "ports": [{"port": 80}]});
        assert_eq!(service(headless.clone()), headless);
    }
}
