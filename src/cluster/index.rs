//! What the watches say, in memory. Synchronous and without a client, so that tests need no API server.
//!
//! A fleet has hundreds of thousands of objects: names recur in every store and are kept once, identities and versions
//! are numbers, and a look at a store copies a few pointers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::changes::Changes;
use super::mask::Mask;
use super::seen::{Seen, SeenMeta, Written};
use crate::manifest::{Fingerprint, ObjectKey, Uid};
use crate::names::{INVENTORY_NAME, StoreId, is_our_mark};
use crate::plan::{Inventory, ObservedNamespace, ObservedObject, ObservedStore};
use crate::report::{Workload, workload};

/// One watch that feeds the index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Feed {
    /// All namespaces whose name is a store's.
    Namespaces,
    /// The `RoleBindings` that let us into them.
    Access,
    /// The inventories.
    Inventories,
    /// Our objects of one kind.
    Objects {
        /// The API group.
        group: String,
        /// The kind.
        kind: String,
    },
}

/// Everything observed, by store. Each change that matters is told.
pub(super) struct Index {
    inner: Mutex<Inner>,
    changes: Changes,
}

#[derive(Default)]
struct Inner {
    stores: BTreeMap<StoreId, Entry>,
    /// For each feed that lists anew, what came since it began.
    relists: HashMap<Feed, Relist>,
    /// For each feed, the newest resource version that its events carried.
    newest: HashMap<Feed, u64>,
    words: Words,
    hasher: RandomState,
}

/// A list under way. Objects are hashes of their store and name: one that is taken for another by chance (once in
/// 2^64) is kept though it has gone, until the next list.
#[derive(Default)]
struct Relist {
    /// What it has shown.
    shown: HashSet<u64>,
    /// What answers told of meanwhile, and its version. Only the list's end says which of the two is newer.
    answered: HashMap<u64, u64>,
}

/// What is known of one store.
#[derive(Default)]
struct Entry {
    namespace: Option<Versioned<ObservedNamespace>>,
    inventory: Option<Versioned<Arc<Inventory>>>,
    /// What the `RoleBinding` says that lets us in.
    access: Option<Versioned<Grant>>,
    /// Shared with whoever observes the store; copied when it changes while somebody looks at it.
    objects: Arc<BTreeMap<ObjectKey, ObservedObject>>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        let Self { namespace, inventory, access, objects } = self;
        namespace.is_none() && inventory.is_none() && access.is_none() && objects.is_empty()
    }
}

/// A value with the resource version it had, so that a late event can't undo a newer one, and its identity, so that
/// the end of an earlier object of the same name can't take it away.
struct Versioned<T> {
    value: T,
    version: u64,
    uid: Uid,
}

impl<T> Versioned<T> {
    fn new(value: T, meta: &SeenMeta) -> Self {
        Self { value, version: meta.version(), uid: Uid::new(&meta.uid) }
    }
}

/// What a `RoleBinding` of ours says: which role, by the binding's name, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) role: String,
    pub(super) subjects: Value,
}

/// Texts that recur, each kept once.
#[derive(Default)]
struct Words {
    keys: HashSet<ObjectKey>,
    texts: HashSet<Arc<str>>,
    /// How many keys may be there before those that nobody uses any more are thrown away.
    limit: usize,
}

/// Where news come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// An event of the feed itself.
    Watch,
    /// The answer to a request of ours, ahead of its event or late after it.
    Answer,
}

impl Index {
    pub(super) fn new(changes: Changes) -> Self {
        Self { inner: Mutex::default(), changes }
    }

    pub(super) fn observe(&self, store: &StoreId) -> ObservedStore {
        let inner = self.lock();
        let Some(Entry { namespace, inventory, access: _, objects }) = inner.stores.get(store) else {
            return ObservedStore::default();
        };
        ObservedStore {
            namespace: namespace.as_ref().map(|namespace| namespace.value.clone()),
            inventory: inventory.as_ref().map(|inventory| Arc::clone(&inventory.value)),
            objects: Arc::clone(objects),
        }
    }

    /// Returns what is wanted of the namespaces with a store's name, whoever made them; copies nothing itself.
    pub(super) fn namespaces_as<T, C: FromIterator<T>>(
        &self,
        wanted: impl Fn(&StoreId, &ObservedNamespace) -> Option<T>,
    ) -> C {
        let inner = self.lock();
        let stores = inner.stores.iter();
        stores.filter_map(|(store, entry)| wanted(store, &entry.namespace.as_ref()?.value)).collect()
    }

    /// Returns the stores whose namespaces are such, without copying any.
    pub(super) fn stores_where(&self, such: impl Fn(&StoreId, &ObservedNamespace) -> bool) -> Vec<StoreId> {
        let inner = self.lock();
        let found = inner.stores.iter().filter(|(store, entry)| {
            entry.namespace.as_ref().is_some_and(|namespace| such(store, &namespace.value))
        });
        found.map(|(store, _)| store.clone()).collect()
    }

    pub(super) fn has_namespace(&self, store: &StoreId) -> bool {
        self.lock().stores.get(store).is_some_and(|entry| entry.namespace.is_some())
    }

    pub(super) fn namespace(&self, store: &StoreId) -> Option<ObservedNamespace> {
        self.lock().stores.get(store)?.namespace.as_ref().map(|namespace| namespace.value.clone())
    }

    /// Returns the kinds that inventories name, as group, version and kind.
    pub(super) fn inventoried_kinds(&self) -> HashSet<(String, String, String)> {
        let inner = self.lock();
        let inventories = inner.stores.values().filter_map(|entry| entry.inventory.as_ref());
        let entries = inventories.flat_map(|inventory| inventory.value.all());
        let kinds: HashSet<_> = entries
            .map(|entry| (entry.key.group.as_str(), &*entry.version, entry.key.kind.as_str()))
            .collect();
        let owned = |(group, version, kind): (&str, &str, &str)| (group.into(), version.into(), kind.into());
        kinds.into_iter().map(owned).collect()
    }

    /// Takes in that an object is there, and what it is like.
    pub(super) fn put(&self, origin: Origin, feed: &Feed, seen: &Seen) {
        let meta = &seen.metadata;
        let Some(store) = store_of(feed, meta) else { return };
        // Before the lock: reading may take a moment.
        let inventory = matches!(feed, Feed::Inventories).then(|| read_inventory(seen));
        let mut inner = self.lock();
        let Some(first) = inner.admit(origin, feed, &store, meta) else { return };
        let changed = match (feed, inventory) {
            (Feed::Namespaces, _) => inner.put_namespace(&store, observed_namespace(seen), meta, first),
            (Feed::Access, _) => {
                let access = inner.stores.entry(store.clone()).or_default();
                replace(&mut access.access, Versioned::new(grant_of(seen), meta), first)
            }
            (Feed::Inventories, inventory) => {
                inner.put_inventory(&store, inventory.unwrap_or_default(), meta, first)
            }
            (Feed::Objects { group, kind }, _) => {
                let key = ObjectKey::new(group.as_str(), kind.as_str(), meta.name.as_str());
                inner.put_object(&store, key, observed_object(feed, seen), (&meta.written, origin, first))
            }
        };
        if changed {
            self.changes.tell(store);
        }
    }

    /// Takes in that an object is gone.
    pub(super) fn remove(&self, feed: &Feed, seen: &Seen) {
        let meta = &seen.metadata;
        let Some(store) = store_of(feed, meta) else { return };
        let mut inner = self.lock();
        inner.note_version(feed, meta.version());
        let uid = Uid::new(&meta.uid);
        let Some(entry) = inner.stores.get_mut(&store) else { return };
        match feed {
            Feed::Namespaces => {
                if entry.namespace.as_ref().is_some_and(|known| known.uid == uid) {
                    // What was in it is gone with it, though its events may come later.
                    *entry = Entry::default();
                }
            }
            Feed::Inventories => {
                entry.inventory.take_if(|known| known.uid == uid);
            }
            Feed::Access => {
                entry.access.take_if(|known| known.uid == uid);
            }
            Feed::Objects { group, kind } => {
                let key = ObjectKey::new(group.as_str(), kind.as_str(), meta.name.as_str());
                if entry.objects.get(&key).is_some_and(|known| known.uid == uid) {
                    Arc::make_mut(&mut entry.objects).remove(&key);
                }
            }
        }
        inner.tidy(&store);
        self.changes.tell(store);
    }

    /// A fresh read says that there is no such namespace.
    pub(super) fn forget_namespace(&self, store: &StoreId) {
        self.lock().stores.remove(store);
        self.changes.tell(store.clone());
    }

    /// A feed begins to list anew; nothing is forgotten before [`Index::end_relist`].
    pub(super) fn begin_relist(&self, feed: &Feed) {
        self.lock().relists.insert(feed.clone(), Relist::default());
    }

    /// The list is complete, as of this version: what it did not show is gone, unless an answer was newer.
    pub(super) fn end_relist(&self, feed: &Feed, version: &str) {
        let mut inner = self.lock();
        let Some(Relist { mut shown, answered }) = inner.relists.remove(feed) else { return };
        let version = version.parse().unwrap_or(0);
        shown.extend(answered.into_iter().filter(|(_, answered)| *answered > version).map(|(hash, _)| hash));
        // Also back, for a server that was restored from a backup counts from an earlier version on.
        inner.newest.insert(feed.clone(), version);
        for store in inner.forget_unseen(feed, &shown) {
            self.changes.tell(store);
        }
    }

    /// Takes in everything of one kind that is in a store's namespace, as of this version: what was asked for once and is
    /// not watched. What an answer has told since is newer.
    pub(super) fn relist(
        &self,
        store: &StoreId,
        (group, kind): (&str, &str),
        objects: &[Seen],
        version: &str,
    ) {
        let feed = Feed::Objects { group: group.to_owned(), kind: kind.to_owned() };
        let version = version.parse().unwrap_or(0);
        let mut inner = self.lock();
        let mut changed = false;
        for seen in objects.iter().filter(|seen| store_of(&feed, &seen.metadata).as_ref() == Some(store)) {
            let meta = &seen.metadata;
            let key = ObjectKey::new(group, kind, meta.name.as_str());
            let written = (&meta.written, Origin::Watch, false);
            changed |= inner.put_object(store, key, observed_object(&feed, seen), written);
        }
        if let Some(entry) = inner.stores.get_mut(store) {
            let is_gone = |key: &ObjectKey, object: &ObservedObject| {
                let listed = objects.iter().any(|seen| seen.metadata.name == key.name);
                key.group == group && key.kind == kind && !listed && object.version <= version
            };
            if entry.objects.iter().any(|(key, object)| is_gone(key, object)) {
                Arc::make_mut(&mut entry.objects).retain(|key, object| !is_gone(key, object));
                changed = true;
            }
        }
        inner.tidy(store);
        if changed {
            self.changes.tell(store.clone());
        }
    }

    /// What is known of the way into a store's namespace is not believed any longer.
    pub(super) fn forget_access(&self, store: &StoreId) {
        let mut inner = self.lock();
        if let Some(entry) = inner.stores.get_mut(store) {
            entry.access = None;
        }
        inner.tidy(store);
    }

    /// Returns what the `RoleBinding` says that lets us into a store's namespace.
    pub(super) fn access(&self, store: &StoreId) -> Option<Grant> {
        self.lock().stores.get(store)?.access.as_ref().map(|access| access.value.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether news may go in, and if so, whether they are the first of their object since its feed began to list
    /// anew: such are newer than all from before, whatever their versions say.
    fn admit(&mut self, origin: Origin, feed: &Feed, store: &StoreId, meta: &SeenMeta) -> Option<bool> {
        if origin == Origin::Watch {
            self.note_version(feed, meta.version());
        } else if !self.is_timely(feed, store, meta) {
            return None;
        }
        let hash = self.hasher.hash_one((store, meta.name.as_str()));
        let Some(Relist { shown, answered }) = self.relists.get_mut(feed) else { return Some(false) };
        if origin == Origin::Answer {
            answered.insert(hash, meta.version());
            return Some(false);
        }
        Some(shown.insert(hash) && !answered.contains_key(&hash))
    }

    /// Whether an answer is as new as what is known. One that comes after the feed has passed its version, for an object
    /// that the feed does not know, is about one that has gone meanwhile.
    fn is_timely(&self, feed: &Feed, store: &StoreId, meta: &SeenMeta) -> bool {
        match self.known_version(feed, store, &meta.name) {
            Some(known) => known <= meta.version(),
            None => self.newest.get(feed).copied().unwrap_or(0) < meta.version(),
        }
    }

    fn known_version(&self, feed: &Feed, store: &StoreId, name: &str) -> Option<u64> {
        let entry = self.stores.get(store)?;
        match feed {
            Feed::Namespaces => entry.namespace.as_ref().map(|known| known.version),
            Feed::Inventories => entry.inventory.as_ref().map(|known| known.version),
            Feed::Access => entry.access.as_ref().map(|known| known.version),
            Feed::Objects { group, kind } => {
                let key = ObjectKey::new(group.as_str(), kind.as_str(), name);
                entry.objects.get(&key).map(|known| known.version)
            }
        }
    }

    fn put_namespace(
        &mut self,
        store: &StoreId,
        mut value: ObservedNamespace,
        meta: &SeenMeta,
        first: bool,
    ) -> bool {
        value.other_writer = meta.written.other.as_deref().map(|other| self.words.text(other));
        let entry = self.stores.entry(store.clone()).or_default();
        let news = Versioned { value, version: meta.version(), uid: Uid::new(&meta.uid) };
        if let Some(known) = &entry.namespace
            && known.uid != news.uid
            && (known.version < news.version || first)
        {
            // Another namespace of the same name: what was in the old one is gone.
            *entry = Entry::default();
        }
        replace(&mut entry.namespace, news, first)
    }

    fn put_inventory(&mut self, store: &StoreId, mut value: Inventory, meta: &SeenMeta, first: bool) -> bool {
        for entry in value.objects.iter_mut().chain(&mut value.leaving) {
            entry.key = self.words.key(entry.key.clone());
            entry.version = self.words.text(&entry.version);
        }
        value.objects.shrink_to_fit();
        let news = Versioned { value: Arc::new(value), version: meta.version(), uid: Uid::new(&meta.uid) };
        replace(&mut self.stores.entry(store.clone()).or_default().inventory, news, first)
    }

    fn put_object(
        &mut self,
        store: &StoreId,
        key: ObjectKey,
        mut news: ObservedObject,
        (written, origin, first): (&Written, Origin, bool),
    ) -> bool {
        news.other_writer = written.other.as_deref().map(|other| self.words.text(other));
        let entry = self.stores.entry(store.clone()).or_default();
        let changed = match entry.objects.get(&key) {
            Some(known) if known.version > news.version && !first => return false,
            Some(known) => {
                // Only an answer to an apply clears what is unexplained: others' events that follow it explain nothing.
                let same = known.uid == news.uid && known.owned_fields == news.owned_fields;
                // A pod's binding to its node leaves no trace of who did it.
                let is_told = key.kind != "Pod";
                let stays = known.unexplained || !first && is_told && is_unexplained(known, &news, written);
                news.unexplained = origin == Origin::Watch && same && stays;
                differs(known, &news)
            }
            None => true,
        };
        let key = self.words.key(key);
        Arc::make_mut(&mut entry.objects).insert(key, news);
        changed
    }

    fn note_version(&mut self, feed: &Feed, version: u64) {
        match self.newest.get_mut(feed) {
            Some(newest) => *newest = version.max(*newest),
            None => drop(self.newest.insert(feed.clone(), version)),
        }
    }

    /// Forgets a store of which nothing is left.
    fn tidy(&mut self, store: &StoreId) {
        if self.stores.get(store).is_some_and(Entry::is_empty) {
            self.stores.remove(store);
        }
    }

    fn forget_unseen(&mut self, feed: &Feed, shown: &HashSet<u64>) -> Vec<StoreId> {
        let mut forgotten = Vec::new();
        let hasher = &self.hasher;
        for (store, entry) in &mut self.stores {
            let is_shown = |name: &str| shown.contains(&hasher.hash_one((store, name)));
            let gone = match feed {
                Feed::Namespaces if entry.namespace.is_some() && !is_shown(&store.namespace()) => {
                    *entry = Entry::default();
                    true
                }
                Feed::Inventories => entry.inventory.take_if(|_| !is_shown(INVENTORY_NAME)).is_some(),
                Feed::Access => entry.access.take_if(|known| !is_shown(&known.value.role)).is_some(),
                Feed::Namespaces => false,
                Feed::Objects { group, kind } => {
                    let is_gone =
                        |key: &ObjectKey| key.group == *group && key.kind == *kind && !is_shown(&key.name);
                    let any = entry.objects.keys().any(is_gone);
                    if any {
                        Arc::make_mut(&mut entry.objects).retain(|key, _| !is_gone(key));
                    }
                    any
                }
            };
            if gone {
                forgotten.push(store.clone());
            }
        }
        self.stores.retain(|_, entry| !entry.is_empty());
        forgotten
    }
}

impl Words {
    /// Returns the copy of a key that everybody shares.
    fn key(&mut self, key: ObjectKey) -> ObjectKey {
        if let Some(known) = self.keys.get(&key) {
            return known.clone();
        }
        if self.keys.len() >= self.limit {
            self.keys.retain(|key| !key.is_alone());
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.limit = 2 * self.keys.len() + 1024;
        }
        self.keys.insert(key.clone());
        key
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

/// Puts a value in unless a newer one is there; returns whether anything changed that matters.
fn replace<T: PartialEq>(slot: &mut Option<Versioned<T>>, news: Versioned<T>, first: bool) -> bool {
    let changed = match slot {
        Some(known) if known.version > news.version && !first => return false,
        Some(known) => known.value != news.value || known.uid != news.uid,
        None => true,
    };
    *slot = Some(news);
    changed
}

/// Whether objects differ in more than their version and in who else wrote.
fn differs(known: &ObservedObject, news: &ObservedObject) -> bool {
    let ObservedObject {
        uid,
        version: _,
        owned_fields,
        unexplained,
        others_time: _,
        other_writer: _,
        deleting,
        keep,
        workload,
        hook_run,
    } = news;
    known.uid != *uid
        || known.owned_fields != *owned_fields
        || known.unexplained != *unexplained
        || known.deleting != *deleting
        || known.keep != *keep
        || known.workload != *workload
        || known.hook_run != *hook_run
}

/// Whether an object changed and nobody is to be seen who did it. The times of field managers have whole seconds: a
/// second write of our own in one second, such as a request of an earlier run that lands late, moves nothing but the
/// version. Everybody else who writes leaves a time: another one than before, or at least one no earlier than ours. (Who
/// only takes fields away leaves none, and is taken for us.)
fn is_unexplained(known: &ObservedObject, news: &ObservedObject, written: &Written) -> bool {
    news.version > known.version
        && news.owned_fields.is_some()
        && known.deleting == news.deleting
        && known.others_time == news.others_time
        && written.others_time < written.our_time
}

/// Reads off a namespace what plans need.
pub(super) fn observed_namespace(seen: &Seen) -> ObservedNamespace {
    let meta = &seen.metadata;
    let marks = |all: &BTreeMap<String, String>| {
        let ours = all.iter().filter(|(key, _)| is_our_mark(key));
        ours.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    ObservedNamespace {
        uid: meta.uid.clone(),
        labels: marks(&meta.labels),
        annotations: marks(&meta.annotations),
        created: meta.creation_timestamp.as_ref().map(|time| time.0.as_second()),
        deleting_since: meta.deletion_timestamp.as_ref().map(|time| time.0.as_second()),
        held_by: held_by(seen),
        other_writer: None,
    }
}

/// Says what holds the deletion of a namespace up, in the namespace controller's own words.
fn held_by(seen: &Seen) -> Option<String> {
    seen.metadata.deletion_timestamp.as_ref()?;
    let conditions = seen.status.as_ref()?.get("conditions")?.as_array()?;
    let holding = conditions.iter().filter(|condition| condition["status"] == "True");
    let words: Vec<_> = holding.filter_map(|condition| condition["message"].as_str()).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn grant_of(seen: &Seen) -> Grant {
    Grant { role: seen.metadata.name.clone(), subjects: seen.subjects.clone() }
}

fn observed_object(feed: &Feed, seen: &Seen) -> ObservedObject {
    let meta = &seen.metadata;
    ObservedObject {
        uid: Uid::new(&meta.uid),
        version: meta.version(),
        owned_fields: owned_fields(seen),
        unexplained: false,
        others_time: meta.written.others_time.and_then(|time| u32::try_from(time).ok()).unwrap_or(0),
        other_writer: None,
        deleting: meta.deletion_timestamp.is_some(),
        keep: meta.is_kept(),
        workload: workload_of(feed, seen).map(Box::new),
        hook_run: meta.hook_run().map(Box::new),
    }
}

/// Returns the fingerprint of the fields that our field manager owns by apply.
pub(super) fn owned_fields(seen: &Seen) -> Option<Fingerprint> {
    seen.metadata.written.ours
}

/// Judges a workload by its status. List items come without their kind: the feed knows it.
fn workload_of(feed: &Feed, seen: &Seen) -> Option<Workload> {
    let Feed::Objects { kind, .. } = feed else { return None };
    let mut status = seen.status.clone()?;
    // What a controller was answered may repeat a login or a pod. What pods are given is not read here.
    Mask::default().clean_messages(&mut status);
    let made = seen.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    let judged = workload(&serde_json::json!({
        "kind": kind,
        "metadata": {
            "generation": seen.metadata.generation,
            "labels": seen.metadata.labels,
            "annotations": seen.metadata.annotations,
        },
        "spec": seen.spec,
        "status": status,
    }))?;
    Some(Workload { made, ..judged })
}

/// Reads an inventory; one that can't be read counts as empty, which costs one idempotent apply.
fn read_inventory(seen: &Seen) -> Inventory {
    let Some(text) = seen.inventory() else { return Inventory::default() };
    serde_json::from_str(text).unwrap_or_else(|error| {
        let namespace = seen.metadata.namespace.as_str();
        tracing::warn!(namespace, %error, "an inventory can't be read and is written anew");
        Inventory::default()
    })
}

/// Returns the store that an object belongs to; none for what is no store's, or has a feed of its own.
fn store_of(feed: &Feed, meta: &SeenMeta) -> Option<StoreId> {
    let namespace = match feed {
        Feed::Namespaces => &meta.name,
        Feed::Objects { kind, .. } if kind == "ConfigMap" && meta.name == INVENTORY_NAME => return None,
        Feed::Inventories | Feed::Access | Feed::Objects { .. } => &meta.namespace,
    };
    StoreId::of_namespace(namespace)
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
