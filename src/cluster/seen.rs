//! What is read of an object that a watch or an answer shows, and nothing else: other writers' fields, specifications
//! and data are skipped while they are parsed, or a fleet's first lists would fill the memory for a moment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::manifest::Fingerprint;
use crate::names::{ANNOTATION_HOOK_RUN, ANNOTATION_RESOURCE_POLICY, FIELD_MANAGER};

/// Parts of a specification that nobody here asks for, the large ones.
const SKIPPED_SPEC: [&str; 4] = ["template", "volumeClaimTemplates", "selector", "rules"];

/// An object as it was seen. What its kind does not have, or what was not asked for, is empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Seen {
    pub(super) metadata: SeenMeta,
    #[serde(deserialize_with = "small_spec")]
    pub(super) spec: Map<String, Value>,
    pub(super) status: Option<Value>,
    pub(super) subjects: Value,
    data: Data,
}

/// What is read of an object's metadata.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SeenMeta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) generation: Option<i64>,
    pub(super) creation_timestamp: Option<Time>,
    pub(super) deletion_timestamp: Option<Time>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(rename = "managedFields")]
    pub(super) written: Written,
}

/// What `managedFields` tells: which fields are ours, and who else wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The fingerprint of our entry: which fields we own, and when we changed the object last, to the second.
    pub(super) ours: Option<Fingerprint>,
    /// That time, in seconds since 1970.
    pub(super) our_time: Option<i64>,
    /// The field manager that wrote last besides us, the status set aside.
    pub(super) other: Option<String>,
    /// When anybody else wrote last, the status too.
    pub(super) others_time: Option<i64>,
}

/// Of all data only the inventory's text: a Secret's never gets into memory.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Data {
    #[serde(rename = "inventory.json")]
    inventory: Option<String>,
}

impl SeenMeta {
    /// Resource versions are decimal numbers that grow, comparable within a resource (guaranteed since
    /// Kubernetes 1.35, true before).
    pub(super) fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or(u64::MAX)
    }

    /// Returns which run of a chart's hooks made the object.
    pub(super) fn hook_run(&self) -> Option<Fingerprint> {
        self.annotations.get(ANNOTATION_HOOK_RUN)?.parse().ok()
    }

    /// Whether the object stays when it is no longer rendered, in Helm's own words.
    pub(super) fn is_kept(&self) -> bool {
        let policy = self.annotations.get(ANNOTATION_RESOURCE_POLICY);
        policy.is_some_and(|policy| policy.split(',').any(|word| word.trim() == "keep"))
    }
}

impl Seen {
    /// Returns the text of an inventory.
    pub(super) fn inventory(&self) -> Option<&str> {
        self.data.inventory.as_deref()
    }
}

/// Reads a specification without the parts that are large and that nobody asks for.
fn small_spec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    struct Spec;

    impl<'de> Visitor<'de> for Spec {
        type Value = Map<String, Value>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a specification")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
            let mut spec = Map::new();
            while let Some(name) = parts.next_key::<String>()? {
                if SKIPPED_SPEC.contains(&name.as_str()) {
                    parts.next_value::<IgnoredAny>()?;
                } else {
                    spec.insert(name, parts.next_value()?);
                }
            }
            Ok(spec)
        }
    }

    deserializer.deserialize_map(Spec)
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of field managers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Written, A::Error> {
                let mut written = Written::default();
                let mut other_time = None;
                while let Some(entry) = entries.next_element::<Entry>()? {
                    written.add(entry, &mut other_time);
                }
                Ok(written)
            }
        }

        deserializer.deserialize_seq(Entries)
    }
}

impl Written {
    fn add(&mut self, entry: Entry, other_time: &mut Option<i64>) {
        let Entry { manager, operation, time, subresource, fields } = entry;
        if manager == FIELD_MANAGER && operation == "Apply" && subresource.is_empty() {
            // The server moves the time exactly when an apply of ours changed something: a request of an earlier run
            // that lands late leaves the fields as they were, and not the time.
            self.ours = fields.map(|fields| Fingerprint::of(&fields).and(time.unwrap_or(0)));
            self.our_time = time;
            return;
        }
        self.others_time = self.others_time.max(time);
        // Who scales writes by way of a subresource, too.
        if subresource != "status" && time >= *other_time {
            *other_time = time;
            self.other = Some(manager);
        }
    }
}

/// One entry of `managedFields`.
#[derive(Default)]
struct Entry {
    manager: String,
    operation: String,
    time: Option<i64>,
    subresource: String,
    /// Only read when the entry may be ours.
    fields: Option<Value>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;

        impl<'de> Visitor<'de> for Parts {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry of managedFields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Entry, A::Error> {
                let mut entry = Entry::default();
                while let Some(part) = parts.next_key::<Cow<'de, str>>()? {
                    match &*part {
                        "manager" => entry.manager = parts.next_value()?,
                        "operation" => entry.operation = parts.next_value()?,
                        "subresource" => entry.subresource = parts.next_value()?,
                        "time" => entry.time = parts.next_value::<Option<Time>>()?.map(|it| it.0.as_second()),
                        // The server writes the manager first; where it does not, nothing is lost but time.
                        "fieldsV1" if entry.manager.is_empty() || entry.manager == FIELD_MANAGER => {
                            entry.fields = Some(parts.next_value()?);
                        }
                        _ => drop(parts.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(entry)
            }
        }

        deserializer.deserialize_map(Parts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::INVENTORY_KEY;

    fn read(value: &Value) -> Seen {
        // By way of a text, as the API server's answers come.
        serde_json::from_str(&value.to_string()).unwrap()
    }

    fn entry(manager: &str, operation: &str, second: u32, field: &str) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "v1",
            "time": format!("2026-11-22T10:00:{second:02}Z"), "fieldsType": "FieldsV1",
            "fieldsV1": { "f:data": { field: {} } },
        })
    }

    fn written(entries: &[Value]) -> Written {
        read(&json!({ "metadata": { "managedFields": entries } })).metadata.written
    }

    #[test]
    fn the_fields_of_others_and_their_times_are_no_part_of_ours() {
        let ours = entry(FIELD_MANAGER, "Apply", 1, "f:a");
        let alone = written(std::slice::from_ref(&ours));
        let among = written(&[ours.clone(), entry("somebody", "Update", 9, "f:b")]);
        assert!(alone.ours.is_some());
        assert_eq!((alone.ours, alone.our_time), (among.ours, among.our_time));
        assert_eq!((alone.other, alone.others_time), (None, None));
        assert_eq!(among.other.as_deref(), Some("somebody"));
    }

    #[test]
    fn another_set_of_fields_and_another_time_are_another_fingerprint() {
        let first = written(&[entry(FIELD_MANAGER, "Apply", 1, "f:a")]).ours;
        assert_eq!(first, written(&[entry(FIELD_MANAGER, "Apply", 1, "f:a")]).ours);
        assert_ne!(first, written(&[entry(FIELD_MANAGER, "Apply", 1, "f:b")]).ours);
        assert_ne!(first, written(&[entry(FIELD_MANAGER, "Apply", 2, "f:a")]).ours, "somebody applied as us");
        assert_eq!(written(&[entry(FIELD_MANAGER, "Update", 1, "f:a")]).ours, None, "not by apply");
    }

    #[test]
    fn who_wrote_last_is_who_has_the_newest_entry_but_for_the_status() {
        let mut status = entry("kubelet", "Update", 9, "f:x");
        status["subresource"] = "status".into();
        let seen = written(&[
            entry("late", "Update", 7, "f:b"),
            entry("early", "Apply", 3, "f:c"),
            status,
            entry(FIELD_MANAGER, "Apply", 8, "f:a"),
        ]);
        assert_eq!(seen.other.as_deref(), Some("late"));
        assert_eq!(seen.others_time.unwrap(), seen.our_time.unwrap() + 1, "the status counts here");
    }

    #[test]
    fn who_scales_is_named() {
        let mut scaled = entry("horizontal-pod-autoscaler", "Update", 9, "f:replicas");
        scaled["subresource"] = "scale".into();
        let seen =
            written(&[entry("early", "Apply", 3, "f:c"), scaled, entry(FIELD_MANAGER, "Apply", 8, "f:a")]);
        assert_eq!(seen.other.as_deref(), Some("horizontal-pod-autoscaler"));
        assert!(seen.ours.is_some());
    }

    #[test]
    fn of_data_and_specification_only_what_is_asked_for_is_read() {
        let seen = read(&json!({
            "kind": "Deployment", "metadata": { "name": "a" }, "data": { "password": "c2VjcmV0", INVENTORY_KEY: "{}" },
            "spec": { "replicas": 3, "template": { "spec": { "containers": [] } } }, "status": { "replicas": 3 },
        }));
        assert_eq!(Value::Object(seen.spec.clone()), json!({ "replicas": 3 }));
        assert_eq!((seen.inventory(), seen.status.is_some()), (Some("{}"), true));
        assert!(!format!("{seen:?}").contains("c2VjcmV0"));
        assert!(read(&json!({ "metadata": { "name": "a" } })).inventory().is_none());
    }
}
