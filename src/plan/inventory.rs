//! What a run writes down in the store's own namespace, and its short form in a ConfigMap.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::HookRecord;
use crate::manifest::{Fingerprint, ObjectKey};
use crate::report::ProbeTarget;

/// The form that is written. Any other counts as no inventory, which costs one idempotent apply.
const FORM: u32 = 2;

/// What stands for a fingerprint that is not known.
const NONE: &str = "-";

/// What a run applied to a store's namespace, kept there itself: a restart compares and writes nothing, and an
/// object whose template is gone is still known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Inventory {
    /// The fingerprint of everything the rendering depends on; none while a run is under way.
    pub inputs: Option<Fingerprint>,
    /// The commit that was applied.
    pub revision: String,
    /// Where shoppers find the store, as its Ingress says.
    pub url: Option<String>,
    /// What the shop has to answer before it is READY; none when its chart does not say.
    pub probe: Option<ProbeTarget>,
    /// The image of the version that was applied, for people.
    pub image: Option<String>,
    /// What the store was READY with last: with the same inputs, what stops is a failure and no beginning.
    pub good: Option<Box<LastGood>>,
    /// A version that did not come up, and is not applied again before git says something else.
    pub held: Option<Box<Held>>,
    /// The CronJob that a final backup is to be made of before the store is deleted, if one is wanted.
    pub final_backup: Option<String>,
    /// The objects that are rendered.
    pub objects: Vec<InventoryEntry>,
    /// Objects that are no longer rendered, ours until pruned.
    pub leaving: Vec<InventoryEntry>,
    /// How far the chart's hooks are, if it has any.
    pub hooks: Option<Box<HookRecord>>,
}

/// What a store was READY with. Its values are not kept: they are read from git at its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGood {
    /// The fingerprint of everything that its rendering depended on.
    pub inputs: Fingerprint,
    /// Its commit.
    pub revision: String,
    /// Its image, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The fingerprint of all its objects.
    pub rendering: Fingerprint,
    /// A Job of a newer version that has gone before it succeeded, and may have changed data that this one needs. None again
    /// when the store is READY.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

/// A version that did not come up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The fingerprint of what git wanted and what rendered it: held for as long as both are the same.
    pub wish: Fingerprint,
    /// Its commit.
    pub revision: String,
    /// Its image, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Why it did not come up.
    pub reason: String,
}

/// One object of an [`Inventory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryEntry {
    /// Which object.
    pub key: ObjectKey,
    /// The version of its API when it was applied.
    pub version: Arc<str>,
    /// The fingerprint of the manifest applied; none when an apply may or may not have happened.
    pub manifest: Option<Fingerprint>,
    /// The fingerprint our field manager's entry had after it.
    pub fields: Option<Fingerprint>,
}

impl Inventory {
    /// Whether the store was READY with what is applied now.
    pub fn was_ready(&self) -> bool {
        self.good.as_ref().is_some_and(|good| Some(good.inputs) == self.inputs)
    }

    /// Returns what is applied as what the store is READY with; none while a change is under way.
    pub fn as_good(&self) -> Option<LastGood> {
        let rendering = rendering(self.objects.iter().map(|entry| (&entry.key, entry.manifest)));
        Some(LastGood {
            inputs: self.inputs?,
            revision: self.revision.clone(),
            image: self.image.clone(),
            rendering,
            doubt: None,
        })
    }

    /// Returns everything that is ours, rendered or not.
    pub fn all(&self) -> impl Iterator<Item = &InventoryEntry> {
        let hooks = self.hooks.iter().flat_map(|hooks| hooks.entries());
        self.objects.iter().chain(&self.leaving).chain(hooks)
    }

    /// Whether an object of this name is rendered, as a hook too.
    pub fn is_rendered(&self, key: &ObjectKey) -> bool {
        let mut hooks = self.hooks.iter().flat_map(|hooks| hooks.entries());
        self.objects.iter().any(|entry| entry.key == *key) || hooks.any(|entry| entry.key == *key)
    }

    /// Finds an object's entry.
    pub fn get(&self, key: &ObjectKey) -> Option<&InventoryEntry> {
        self.all().find(|entry| entry.key == *key)
    }
}

/// Returns the fingerprint of a whole rendering, whatever the order of its objects.
pub fn rendering<'a>(objects: impl Iterator<Item = (&'a ObjectKey, Option<Fingerprint>)>) -> Fingerprint {
    let line = |(key, manifest): (&ObjectKey, Option<Fingerprint>)| {
        let word = manifest.map_or(NONE.to_owned(), |manifest| manifest.to_string());
        format!("{} {} {} {word}", key.group, key.kind, key.name)
    };
    let mut lines: Vec<_> = objects.map(line).collect();
    lines.sort_unstable();
    Fingerprint::of_bytes(lines.join("\n").as_bytes())
}

/// The JSON of an inventory. An object is one line of five words: API version, kind, name, the fingerprint of its
/// manifest and that of our fields. It is written for every change of every store, so it is short.
#[derive(Serialize, Deserialize)]
struct Written {
    form: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inputs: Option<Fingerprint>,
    revision: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probe: Option<ProbeTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    good: Option<Box<LastGood>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Box<Held>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    final_backup: Option<String>,
    objects: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hooks: Option<Box<HookRecord>>,
}

impl From<Inventory> for Written {
    fn from(inventory: Inventory) -> Self {
        let Inventory {
            inputs,
            revision,
            url,
            probe,
            image,
            good,
            held,
            final_backup,
            objects,
            leaving,
            hooks,
        } = inventory;
        let write = |entries: Vec<InventoryEntry>| entries.iter().map(write_entry).collect();
        let (objects, leaving) = (write(objects), write(leaving));
        Self {
            form: FORM,
            inputs,
            revision,
            url,
            probe,
            image,
            good,
            held,
            final_backup,
            objects,
            leaving,
            hooks,
        }
    }
}

impl TryFrom<Written> for Inventory {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written {
            form,
            inputs,
            revision,
            url,
            probe,
            image,
            good,
            held,
            final_backup,
            objects,
            leaving,
            hooks,
        } = written;
        if form != FORM {
            return Err(format!("it has form {form}, this release knows form {FORM}"));
        }
        let read =
            |line: String| read_entry(&line).ok_or_else(|| format!("`{line}` is no object of an inventory"));
        let objects = objects.into_iter().map(read).collect::<Result<_, _>>()?;
        let leaving = leaving.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { inputs, revision, url, probe, image, good, held, final_backup, objects, leaving, hooks })
    }
}

pub(super) fn write_entry(entry: &InventoryEntry) -> String {
    let InventoryEntry { key, version, manifest, fields } = entry;
    let word = |fingerprint: &Option<Fingerprint>| fingerprint.map_or(NONE.to_owned(), |it| it.to_string());
    let api_version = crate::manifest::api_version(&key.group, version);
    format!("{api_version} {} {} {} {}", key.kind, key.name, word(manifest), word(fields))
}

pub(super) fn read_entry(line: &str) -> Option<InventoryEntry> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let (api_version, kind, name, manifest, fields) = (word()?, word()?, word()?, word()?, word()?);
    if word().is_some() {
        return None;
    }
    let fingerprint = |word: &str| if word == NONE { Some(None) } else { word.parse().ok().map(Some) };
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    Some(InventoryEntry {
        key: ObjectKey::new(group, kind, name),
        version: version.into(),
        manifest: fingerprint(manifest)?,
        fields: fingerprint(fields)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory() -> Inventory {
        let entry = |group, kind, name, fields| InventoryEntry {
            key: ObjectKey::new(group, kind, name),
            version: "v1".into(),
            manifest: Some(Fingerprint::of_bytes(b"m")),
            fields,
        };
        Inventory {
            inputs: Some(Fingerprint::of_bytes(b"i")),
            revision: "abc".to_owned(),
            url: Some("http://acme.example.com/".to_owned()),
            probe: None,
            image: None,
            good: None,
            held: None,
            final_backup: Some("backup".to_owned()),
            objects: vec![
                entry("", "Service", "web", Some(Fingerprint::of_bytes(b"f"))),
                entry("apps", "Deployment", "web", None),
            ],
            leaving: Vec::new(),
            hooks: None,
        }
    }

    #[test]
    fn an_inventory_is_written_in_few_words_and_read_as_it_was() {
        let text = serde_json::to_string(&inventory()).unwrap();
        assert_eq!(
            text,
            "{\"form\":2,\"inputs\":\"3n0bchoeBjK3zwTt9QMsjg\",\"revision\":\"abc\",\"url\":\"http://acme.example.com/\",\
             \"final_backup\":\"backup\",\"objects\":[\"v1 Service web YsZqel3XDDFGYYBjw0TlMQ JS8QyDYQ68oaBZwLroJV6w\",\
             \"apps/v1 Deployment web YsZqel3XDDFGYYBjw0TlMQ -\"]}"
        );
        assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), inventory());
    }

    #[test]
    fn what_was_ready_and_what_is_held_are_read_as_they_were_written() {
        let mut inventory = inventory();
        let good = inventory.as_good().unwrap();
        assert_eq!(good.revision, "abc");
        inventory.good = Some(Box::new(good));
        assert!(inventory.was_ready());
        let (wish, reason) = (Fingerprint::of_bytes(b"w"), "it broke".to_owned());
        inventory.held = Some(Box::new(Held { wish, revision: "def".to_owned(), image: None, reason }));
        let text = serde_json::to_string(&inventory).unwrap();
        assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), inventory);
        inventory.leaving = inventory.objects.split_off(1);
        let text = serde_json::to_string(&inventory).unwrap();
        assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), inventory);
        inventory.inputs = None;
        assert!(!inventory.was_ready() && inventory.as_good().is_none(), "a change is under way");
    }

    #[test]
    fn a_rendering_is_known_by_its_objects_in_any_order() {
        let mut inventory = inventory();
        let good = inventory.as_good();
        inventory.objects.reverse();
        assert_eq!(inventory.as_good(), good);
        inventory.objects.pop();
        assert_ne!(inventory.as_good(), good);
    }

    #[test]
    fn another_form_is_no_inventory() {
        let old = "{\"inputs\":null,\"revision\":\"abc\",\"url\":null,\"objects\":[{\"group\":\"\",\"kind\":\"Secret\",\
                   \"name\":\"key\",\"version\":\"v1\"}]}";
        assert!(serde_json::from_str::<Inventory>(old).is_err());
        let later = "{\"form\":3,\"revision\":\"abc\",\"objects\":[]}";
        let error = serde_json::from_str::<Inventory>(later).unwrap_err().to_string();
        assert!(error.contains("form 3"), "{error}");
        for line in ["v1 Secret key -", "v1 Secret key - - -", "v1 Secret key - x"] {
            let text = format!("{{\"form\":2,\"revision\":\"\",\"objects\":[\"{line}\"]}}");
            assert!(serde_json::from_str::<Inventory>(&text).is_err(), "{line}");
        }
    }
}
