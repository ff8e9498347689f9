//! What of a store's plan nobody may read: what Secrets hold, wherever the chart put it. Pure.
//!
//! The chart is rendered twice, the second time with other words in the Secrets that it looks up. What comes out otherwise
//! then depends on Secrets, as it is, cut, encoded or hashed, and is not shown. Words of Secrets are masked besides.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::fields::{Difference, Place, differences, written};
use crate::cluster::Mask;
use crate::manifest::{Manifest, ObjectKey};
use crate::names::StoreId;
use crate::reconcile::Answers;
use crate::report::FieldChange;

/// What stands for what is not shown.
pub(super) const HIDDEN: &str = "***";

/// Words in the name of an environment variable, or of an entry of a `ConfigMap`, by which it holds a secret all the same.
const TELLING: [&str; 11] = [
    "ACCESS_KEY",
    "APIKEY",
    "API_KEY",
    "CONNECTION_STRING",
    "CREDENTIAL",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PRIVATE_KEY",
    "SECRET",
    "TOKEN",
];

/// What must not be shown of one store.
#[derive(Debug, Default)]
pub(super) struct Curtain {
    mask: Mask,
    /// None when it is not known: then no field is shown.
    dependent: Option<Dependent>,
}

/// What comes out otherwise when Secrets hold something else, or when chance is another.
#[derive(Debug, Default)]
pub(super) struct Dependent {
    /// Objects that are there, or are called so, only in one of the two.
    pub(super) objects: BTreeSet<ObjectKey>,
    /// Fields.
    pub(super) fields: BTreeMap<ObjectKey, Vec<Place>>,
}

impl Dependent {
    /// Compares two renderings.
    pub(super) fn between(one: &[Manifest], other: &[Manifest]) -> Self {
        let by_key = |all: &[Manifest]| {
            all.iter().map(|it| (it.key.clone(), it.body.clone())).collect::<BTreeMap<_, _>>()
        };
        let (one, other) = (by_key(one), by_key(other));
        let mut found = Self::default();
        for key in one.keys().chain(other.keys()) {
            let (Some(one), Some(other)) = (one.get(key), other.get(key)) else {
                found.objects.insert(key.clone());
                continue;
            };
            let places: Vec<_> = differences(one, other).into_iter().map(|it| it.place).collect();
            if !places.is_empty() {
                found.fields.insert(key.clone(), places);
            }
        }
        found
    }

    /// Whether a field of an object, or a part of it, is one of them.
    pub(super) fn has(&self, key: &ObjectKey, place: &Place) -> bool {
        let fields = self.fields.get(key).into_iter().flatten();
        self.objects.contains(key) || fields.into_iter().any(|known| known.is_related(place))
    }
}

impl Curtain {
    /// Hides nothing but what tells by its name that it is a secret.
    pub(super) fn open() -> Self {
        Self { mask: Mask::default(), dependent: Some(Dependent::default()) }
    }

    /// Whether it is unknown what depends on Secrets, so that no value is shown.
    pub(super) fn is_closed(&self) -> bool {
        self.dependent.is_none()
    }

    /// Hides what these Secrets hold, and what depends on Secrets. `rendered` are the store's objects.
    pub(super) fn new<'a>(
        store: &StoreId,
        secrets: impl Iterator<Item = &'a Value>,
        rendered: &'a [Manifest],
        dependent: Option<Dependent>,
    ) -> Self {
        let is_named = |key: &ObjectKey| dependent.as_ref().is_some_and(|it| !it.objects.contains(key));
        let mut public = BTreeSet::from([store.namespace()]);
        for manifest in rendered.iter().filter(|it| is_named(&it.key)) {
            public.extend([manifest.key.kind.clone(), manifest.key.name.clone()]);
        }
        let rendered = rendered.iter().filter(|it| it.key.kind == "Secret").map(|it| &*it.body);
        Self { mask: Mask::of_secrets(secrets.chain(rendered), &public), dependent }
    }

    /// Hides what the Secrets among these answers hold: all that is known while nothing is rendered.
    pub(super) fn of_answers(store: &StoreId, answers: &Answers) -> Self {
        Self::new(store, secrets_in(answers), &[], None)
    }

    /// Returns a text as it may be shown.
    pub(super) fn text(&self, text: &str) -> String {
        self.mask.hide(text)
    }

    /// Returns an object's name as it may be shown.
    pub(super) fn name(&self, key: &ObjectKey) -> String {
        if self.dependent.as_ref().is_some_and(|it| it.objects.contains(key)) {
            HIDDEN.to_owned()
        } else {
            self.mask.hide(&key.name)
        }
    }

    /// Returns a change of a field as it may be shown.
    pub(super) fn field(&self, key: &ObjectKey, difference: &Difference<'_>) -> FieldChange {
        let Difference { place, before, after } = difference;
        let path = self.mask.hide(&place.path);
        if self.is_secret(key, place) {
            let hidden = |value: bool| value.then(|| HIDDEN.to_owned());
            return FieldChange { path, before: hidden(before.is_some()), after: hidden(after.is_some()) };
        }
        if place.name.contains("checksum") {
            let word = |value: bool, word: &str| value.then(|| word.to_owned());
            let (before, after) = (word(before.is_some(), "one checksum"), word(after.is_some(), "another"));
            return FieldChange { path, before, after };
        }
        // Before anything is cut, or a part of a secret would be none.
        let masked = |value: Option<&Value>| value.map(|value| self.masked(value));
        let (before, after) = (masked(before.as_deref()), masked(after.as_deref()));
        let (before, after) = written(before.as_ref(), after.as_ref());
        FieldChange { path, before, after }
    }

    fn masked(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.mask.hide(text).into(),
            Value::Array(items) => items.iter().map(|item| self.masked(item)).collect(),
            Value::Object(map) => {
                map.iter().map(|(key, value)| (self.mask.hide(key), self.masked(value))).collect()
            }
            Value::Number(number) => match self.mask.hide(&number.to_string()) {
                text if text == number.to_string() => value.clone(),
                text => text.into(),
            },
            Value::Bool(_) | Value::Null => value.clone(),
        }
    }

    fn is_secret(&self, key: &ObjectKey, place: &Place) -> bool {
        let within = |part: &str| place.is_within(part);
        let tells = |name: &str| {
            let name = name.to_uppercase().replace(['-', '.'], "_");
            TELLING.iter().any(|word| name.contains(word))
        };
        let is_variable = place.name == "value" && place.path.ends_with("].value");
        (key.kind == "Secret" && (within("data") || within("stringData")))
            || self.dependent.as_ref().is_none_or(|it| it.has(key, place))
            || (is_variable && tells(&place.item))
            || (key.kind == "ConfigMap" && within("data") && tells(&place.name))
    }
}

/// Finds the Secrets that were looked up, lists of them included.
pub(super) fn secrets_in(answers: &Answers) -> impl Iterator<Item = &Value> {
    let secrets = answers.iter().filter(|(query, _)| query.kind == "Secret").map(|(_, answer)| answer);
    secrets.flat_map(|answer| match answer.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        None => vec![answer],
    })
}

/// Puts other words of the same form into every Secret: letters become other letters and digits other digits, so that what
/// reads JSON or a number out of one still does.
pub(super) fn disguised(answers: &Answers) -> Answers {
    let mut disguised = answers.clone();
    for (_, answer) in disguised.iter_mut().filter(|(query, _)| query.kind == "Secret") {
        match answer.get_mut("items").and_then(Value::as_array_mut) {
            Some(items) => items.iter_mut().for_each(disguise),
            None => disguise(answer),
        }
    }
    disguised
}

fn disguise(secret: &mut Value) {
    for (pointer, is_encoded) in [("/data", true), ("/stringData", false), ("/metadata/annotations", false)] {
        let Some(entries) = secret.pointer_mut(pointer).and_then(Value::as_object_mut) else { continue };
        for entry in entries.values_mut() {
            let Some(text) = entry.as_str() else { continue };
            *entry = match BASE64_STANDARD.decode(text) {
                Ok(bytes) if is_encoded => {
                    let other: Vec<u8> = bytes.into_iter().map(other_byte).collect();
                    BASE64_STANDARD.encode(other).into()
                }
                _ => {
                    let other = |c: char| u8::try_from(c).map_or('x', |byte| other_byte(byte).into());
                    text.chars().map(other).collect::<String>().into()
                }
            };
        }
    }
}

fn other_byte(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => b'0' + (byte - b'0' + 7) % 10,
        b'a'..=b'z' => b'a' + (byte - b'a' + 11) % 26,
        b'A'..=b'Z' => b'A' + (byte - b'A' + 11) % 26,
        0x80.. => byte ^ 1,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::chart::LookupQuery;
    use crate::manifest::{Fingerprint, Resource};

    fn manifest(kind: &str, body: Value) -> Manifest {
        let name = body["metadata"]["name"].as_str().unwrap();
        let resource = Resource {
            group: String::new(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: String::new(),
            namespaced: true,
        };
        let key = ObjectKey::new("", kind, name);
        Manifest { key, resource, fingerprint: Fingerprint::of(&body), body: Arc::new(body) }
    }

    fn shown(curtain: &Curtain, kind: &str, before: &Value, after: &Value) -> Vec<String> {
        let key = ObjectKey::new("", kind, "x");
        let line = |it: &Difference<'_>| {
            let FieldChange { path, before, after } = curtain.field(&key, it);
            format!("{path}: {} > {}", before.unwrap_or_default(), after.unwrap_or_default())
        };
        differences(before, after).iter().map(line).collect()
    }

    #[test]
    fn what_depends_on_a_secret_is_hidden_however_it_was_turned() {
        let of = |hash: &str, cut: &str| {
            let annotations = json!({"hash": hash, "other": "a"});
            [
                manifest("ConfigMap", json!({"metadata": {"name": "x", "annotations": annotations}})),
                manifest("Service", json!({"metadata": {"name": cut}})),
            ]
        };
        let (one, other) = (of("9f86", "can"), of("60fd", "nly"));
        let dependent = Dependent::between(&one, &other);
        let curtain = Curtain::new(&"acme".parse().unwrap(), [].into_iter(), &one, Some(dependent));
        let live = json!({"metadata": {"annotations": {"hash": "old", "other": "b"}}});
        let lines = shown(&curtain, "ConfigMap", &live, &one[0].body);
        assert!(lines.contains(&"metadata.annotations.hash: *** > ***".to_owned()), "{lines:?}");
        assert!(lines.contains(&"metadata.annotations.other: b > a".to_owned()), "{lines:?}");
        assert_eq!(curtain.name(&one[1].key), "***");
        assert_eq!(curtain.name(&one[0].key), "x");
    }

    #[test]
    fn words_of_secrets_and_telling_names_are_hidden_and_checksums_are_said_only() {
        let secret = json!({"data": {"p": BASE64_STANDARD.encode("canary-1")}});
        let rendered =
            [manifest("Secret", json!({"metadata": {"name": "s"}, "stringData": {"q": "canary-2"}}))];
        let store: StoreId = "acme".parse().unwrap();
        let curtain = Curtain::new(&store, [&secret].into_iter(), &rendered, Some(Dependent::default()));
        let env = |value: &str| json!({"env": [{"name": "DB_PASSWORD", "value": value}, {"name": "LEVEL", "value": format!("{value} canary-2")}]});
        assert_eq!(
            shown(&curtain, "Deployment", &env("a"), &env("canary-1")),
            ["env[DB_PASSWORD].value: *** > ***", "env[LEVEL].value: a *** > *** ***"]
        );
        let map = |value: &str| json!({"data": {"api-token": value, "canary-1": value, "url": format!("a://b:{value}@c/")}});
        assert_eq!(
            shown(&curtain, "ConfigMap", &json!({}), &map("x")),
            ["data.api-token:  > ***", "data.***:  > x", "data.url:  > a://***@c/"]
        );
        let sum = |sum: &str| json!({"metadata": {"annotations": {"checksum/config": sum}}});
        assert_eq!(
            shown(&curtain, "Deployment", &sum("1"), &sum("2")),
            ["metadata.annotations[checksum/config]: one checksum > another"]
        );
        let data = |value: &str| json!({"data": {"p": value}, "type": value});
        assert_eq!(shown(&curtain, "Secret", &data("1"), &data("2")), ["data.p: *** > ***", "type: 1 > 2"]);
    }

    #[test]
    fn a_value_is_masked_before_it_is_cut() {
        let secret = json!({"stringData": {"p": "canary-1"}});
        let curtain =
            Curtain::new(&"acme".parse().unwrap(), [&secret].into_iter(), &[], Some(Dependent::default()));
        let long = Value::from(format!("{}canary-1", "x".repeat(995)));
        let place = Place { path: "a".to_owned(), name: "a".to_owned(), item: String::new() };
        let after = Some(Cow::Owned(long));
        let change =
            curtain.field(&ObjectKey::new("", "ConfigMap", "x"), &Difference { place, before: None, after });
        assert!(!change.after.unwrap().contains("can"));
    }

    #[test]
    fn every_entry_of_a_secret_is_disguised_and_keeps_its_form() {
        let query = |kind: &str, name: &str| LookupQuery {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: "store-acme".to_owned(),
            name: name.to_owned(),
        };
        let secret =
            |text: &str| json!({"data": {"p": BASE64_STANDARD.encode(text)}, "metadata": {"name": "p"}});
        let answers = Answers::from([
            (query("Secret", "one"), secret("{\"a\": \"B7-ä\"}")),
            (query("Secret", ""), json!({"items": [secret("canary")]})),
            (query("ConfigMap", "one"), json!({"data": {"a": "b"}})),
        ]);
        let other = disguised(&answers);
        let read = |value: &Value| {
            String::from_utf8_lossy(&BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).into_owned()
        };
        let one = read(&other[&query("Secret", "one")]["data"]["p"]);
        assert!(one.starts_with("{\"l\": \"M4-"), "{one}");
        assert_eq!(read(&other[&query("Secret", "")]["items"][0]["data"]["p"]), "nlylcj");
        assert_eq!(other[&query("ConfigMap", "one")], answers[&query("ConfigMap", "one")]);
        assert_eq!(secrets_in(&answers).count(), 2);
    }
}
