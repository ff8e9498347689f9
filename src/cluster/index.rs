//! What the watches say, in memory. Synchronous and without a client, so that tests need no API server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::mpsc::UnboundedSender;

use crate::manifest::{Fingerprint, ObjectKey};
use crate::names::{ANNOTATION_RESOURCE_POLICY, FIELD_MANAGER, INVENTORY_NAME, NAMESPACE_PREFIX, StoreId};
use crate::plan::{Inventory, ObservedNamespace, ObservedObject, ObservedStore};
use crate::report::Workload;

/// One watch that feeds the index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Feed {
    /// All namespaces whose name is a store's.
    Namespaces,
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

/// Everything observed, by store. Each change that matters is told to the receiver of changes.
pub(super) struct Index {
    inner: Mutex<Inner>,
    changes: UnboundedSender<StoreId>,
}

#[derive(Default)]
struct Inner {
    namespaces: BTreeMap<StoreId, Versioned<ObservedNamespace>>,
    inventories: BTreeMap<StoreId, Versioned<Inventory>>,
    objects: HashMap<StoreId, BTreeMap<ObjectKey, Versioned<ObservedObject>>>,
    /// For each feed that lists anew, what the list has shown so far.
    relists: HashMap<Feed, HashSet<(StoreId, String)>>,
    /// For each feed, the newest resource version that its events carried.
    newest: HashMap<Feed, u64>,
}

/// A value with the resource version it had, so that a late event can't undo a newer one, and its identity, so that
/// the end of an earlier object of the same name can't take it away.
#[derive(Debug, Clone)]
struct Versioned<T> {
    value: T,
    version: u64,
    uid: String,
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
    pub(super) fn new(changes: UnboundedSender<StoreId>) -> Self {
        Self { inner: Mutex::default(), changes }
    }

    pub(super) fn observe(&self, store: &StoreId) -> ObservedStore {
        let inner = self.lock();
        let objects = inner.objects.get(store).into_iter().flatten();
        ObservedStore {
            namespace: inner.namespaces.get(store).map(|namespace| namespace.value.clone()),
            inventory: inner.inventories.get(store).map(|inventory| inventory.value.clone()),
            objects: objects.map(|(key, object)| (key.clone(), object.value.clone())).collect(),
        }
    }

    /// Returns the namespaces with a store's name, whoever made them.
    pub(super) fn namespaces(&self) -> BTreeMap<StoreId, ObservedNamespace> {
        let inner = self.lock();
        inner.namespaces.iter().map(|(store, namespace)| (store.clone(), namespace.value.clone())).collect()
    }

    /// Returns the stores whose namespaces are such, without copying any.
    pub(super) fn stores_where(&self, such: impl Fn(&StoreId, &ObservedNamespace) -> bool) -> Vec<StoreId> {
        let inner = self.lock();
        let found = inner.namespaces.iter().filter(|(store, namespace)| such(store, &namespace.value));
        found.map(|(store, _)| store.clone()).collect()
    }

    pub(super) fn namespace(&self, store: &StoreId) -> Option<ObservedNamespace> {
        self.lock().namespaces.get(store).map(|namespace| namespace.value.clone())
    }

    /// Returns the kinds that inventories name, as group, version and kind.
    pub(super) fn inventoried_kinds(&self) -> HashSet<(String, String, String)> {
        let inner = self.lock();
        let entries = inner.inventories.values().flat_map(|inventory| &inventory.value.objects);
        entries
            .map(|entry| (entry.key.group.clone(), entry.version.clone(), entry.key.kind.clone()))
            .collect()
    }

    pub(super) fn put_namespace(&self, origin: Origin, meta: &ObjectMeta, held_by: Option<String>) {
        let Some(store) = meta.name.as_deref().and_then(store_of) else { return };
        let value = observed_namespace(meta, held_by);
        let mut inner = self.lock();
        let known = inner.namespaces.get(&store);
        if known
            .is_some_and(|known| Some(&known.uid) != meta.uid.as_ref() && known.version < version_of(meta))
        {
            // Another namespace of the same name: what was in the old one is gone.
            inner.forget_contents(&store);
        }
        let known = inner.namespaces.contains_key(&store);
        if inner.accepts(origin, &Feed::Namespaces, &store, meta, known)
            && put(&mut inner.namespaces, store.clone(), value, meta)
        {
            self.tell(store);
        }
    }

    pub(super) fn remove_namespace(&self, meta: &ObjectMeta) {
        let Some(store) = meta.name.as_deref().and_then(store_of) else { return };
        let mut inner = self.lock();
        inner.note_version(&Feed::Namespaces, meta);
        if inner.namespaces.get(&store).is_some_and(|known| is_same(&known.uid, meta)) {
            inner.namespaces.remove(&store);
            inner.forget_contents(&store);
        }
        self.tell(store);
    }

    /// A fresh read says that there is no such namespace.
    pub(super) fn forget_namespace(&self, store: &StoreId) {
        let mut inner = self.lock();
        inner.namespaces.remove(store);
        inner.forget_contents(store);
        self.tell(store.clone());
    }

    pub(super) fn put_inventory(&self, origin: Origin, meta: &ObjectMeta, inventory: Inventory) {
        let Some(store) = meta.namespace.as_deref().and_then(store_of) else { return };
        let mut inner = self.lock();
        let known = inner.inventories.contains_key(&store);
        if inner.accepts(origin, &Feed::Inventories, &store, meta, known)
            && put(&mut inner.inventories, store.clone(), inventory, meta)
        {
            self.tell(store);
        }
    }

    pub(super) fn remove_inventory(&self, meta: &ObjectMeta) {
        let Some(store) = meta.namespace.as_deref().and_then(store_of) else { return };
        let mut inner = self.lock();
        inner.note_version(&Feed::Inventories, meta);
        if inner.inventories.get(&store).is_some_and(|known| is_same(&known.uid, meta)) {
            inner.inventories.remove(&store);
        }
        self.tell(store);
    }

    pub(super) fn put_object(
        &self,
        origin: Origin,
        feed: &Feed,
        meta: &ObjectMeta,
        workload: Option<Workload>,
    ) {
        let Some((store, key)) = object_of(feed, meta) else { return };
        let value = ObservedObject {
            uid: meta.uid.clone().unwrap_or_default(),
            owned_fields: owned_fields(meta),
            deleting: meta.deletion_timestamp.is_some(),
            keep: is_kept(meta),
            workload,
        };
        let mut inner = self.lock();
        let known = inner.objects.get(&store).is_some_and(|objects| objects.contains_key(&key));
        if inner.accepts(origin, feed, &store, meta, known)
            && put(inner.objects.entry(store.clone()).or_default(), key, value, meta)
        {
            self.tell(store);
        }
    }

    pub(super) fn remove_object(&self, feed: &Feed, meta: &ObjectMeta) {
        let Some((store, key)) = object_of(feed, meta) else { return };
        let mut inner = self.lock();
        inner.note_version(feed, meta);
        if let Some(objects) = inner.objects.get_mut(&store) {
            if objects.get(&key).is_some_and(|known| is_same(&known.uid, meta)) {
                objects.remove(&key);
            }
            if objects.is_empty() {
                inner.objects.remove(&store);
            }
        }
        self.tell(store);
    }

    /// A feed begins to list anew; nothing is forgotten before [`Index::end_relist`].
    pub(super) fn begin_relist(&self, feed: &Feed) {
        self.lock().relists.insert(feed.clone(), HashSet::new());
    }

    /// The list is complete: what it did not show is gone.
    pub(super) fn end_relist(&self, feed: &Feed) {
        let mut inner = self.lock();
        let Some(seen) = inner.relists.remove(feed) else { return };
        for store in inner.forget_unseen(feed, &seen) {
            self.tell(store);
        }
    }

    fn tell(&self, store: StoreId) {
        // Nobody listens any more only while the daemon stops.
        let _ = self.changes.send(store);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether news may go in. An answer that comes after the feed has passed its version, for an object that the
    /// feed does not know, is about one that has gone meanwhile.
    fn accepts(
        &mut self,
        origin: Origin,
        feed: &Feed,
        store: &StoreId,
        meta: &ObjectMeta,
        known: bool,
    ) -> bool {
        if origin == Origin::Answer && !known {
            let newest = self.newest.get(feed).copied().unwrap_or(0);
            if version_of(meta) <= newest {
                return false;
            }
        }
        if origin == Origin::Watch {
            self.note_version(feed, meta);
        }
        if let Some(seen) = self.relists.get_mut(feed) {
            seen.insert((store.clone(), meta.name.clone().unwrap_or_default()));
        }
        true
    }

    fn note_version(&mut self, feed: &Feed, meta: &ObjectMeta) {
        let version = version_of(meta);
        match self.newest.get_mut(feed) {
            Some(newest) => *newest = version.max(*newest),
            None => drop(self.newest.insert(feed.clone(), version)),
        }
    }

    /// What was in a namespace is gone with it, though its events may come later.
    fn forget_contents(&mut self, store: &StoreId) {
        self.objects.remove(store);
        self.inventories.remove(store);
    }

    fn forget_unseen(&mut self, feed: &Feed, seen: &HashSet<(StoreId, String)>) -> Vec<StoreId> {
        let mut forgotten = Vec::new();
        let mut keep = |store: &StoreId, name: &str| {
            let kept = seen.contains(&(store.clone(), name.to_owned()));
            if !kept {
                forgotten.push(store.clone());
            }
            kept
        };
        match feed {
            Feed::Namespaces => {
                self.namespaces.retain(|store, _| keep(store, &store.namespace()));
                for store in &forgotten {
                    self.forget_contents(store);
                }
            }
            Feed::Inventories => self.inventories.retain(|store, _| keep(store, INVENTORY_NAME)),
            Feed::Objects { group, kind } => {
                for (store, objects) in &mut self.objects {
                    objects
                        .retain(|key, _| key.group != *group || key.kind != *kind || keep(store, &key.name));
                }
                self.objects.retain(|_, objects| !objects.is_empty());
            }
        }
        forgotten
    }
}

/// Puts a value in unless a newer one is there; returns whether anything changed that matters.
fn put<K: Ord, T: PartialEq>(
    map: &mut BTreeMap<K, Versioned<T>>,
    key: K,
    value: T,
    meta: &ObjectMeta,
) -> bool {
    let news = Versioned { value, version: version_of(meta), uid: meta.uid.clone().unwrap_or_default() };
    match map.get_mut(&key) {
        Some(known) if known.version > news.version => false,
        Some(known) => {
            let changed = known.value != news.value || known.uid != news.uid;
            *known = news;
            changed
        }
        None => {
            map.insert(key, news);
            true
        }
    }
}

/// Whether the object stays when it is no longer rendered, in Helm's own words.
fn is_kept(meta: &ObjectMeta) -> bool {
    let policy =
        meta.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION_RESOURCE_POLICY));
    policy.is_some_and(|policy| policy.split(',').any(|word| word.trim() == "keep"))
}

/// Whether a deletion is about the object known here and not about an earlier one of the same name.
fn is_same(known_uid: &str, deleted: &ObjectMeta) -> bool {
    deleted.uid.as_deref() == Some(known_uid)
}

/// Reads off a namespace what plans need.
pub(super) fn observed_namespace(meta: &ObjectMeta, held_by: Option<String>) -> ObservedNamespace {
    ObservedNamespace {
        uid: meta.uid.clone().unwrap_or_default(),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        created: meta.creation_timestamp.as_ref().map(|time| time.0.as_second()),
        deleting_since: meta.deletion_timestamp.as_ref().map(|time| time.0.as_second()),
        held_by,
    }
}

/// Returns the fingerprint of the fields that our field manager owns by apply.
pub(super) fn owned_fields(meta: &ObjectMeta) -> Option<Fingerprint> {
    let entries = meta.managed_fields.as_ref()?;
    let ours = entries.iter().find(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    })?;
    ours.fields_v1.as_ref().map(|fields| Fingerprint::of(&fields.0))
}

/// Resource versions are decimal numbers that grow, comparable within a resource (guaranteed since
/// Kubernetes 1.35, true before).
fn version_of(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(u64::MAX)
}

fn store_of(namespace: &str) -> Option<StoreId> {
    namespace.strip_prefix(NAMESPACE_PREFIX)?.parse().ok()
}

fn object_of(feed: &Feed, meta: &ObjectMeta) -> Option<(StoreId, ObjectKey)> {
    let Feed::Objects { group, kind } = feed else { return None };
    let store = meta.namespace.as_deref().and_then(store_of)?;
    let name = meta.name.clone()?;
    // The inventory is ours but not the store's: it has its own feed.
    if name == INVENTORY_NAME && kind == "ConfigMap" {
        return None;
    }
    Some((store, ObjectKey { group: group.clone(), kind: kind.clone(), name }))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn index() -> (Index, UnboundedReceiver<StoreId>) {
        let (sender, receiver) = unbounded_channel();
        (Index::new(sender), receiver)
    }

    fn meta(name: &str, version: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("store-acme".to_owned()),
            uid: Some(format!("uid-{version}")),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    fn secrets() -> Feed {
        Feed::Objects { group: String::new(), kind: "Secret".to_owned() }
    }

    fn acme() -> StoreId {
        "acme".parse().unwrap()
    }

    #[test]
    fn a_late_event_does_not_undo_what_an_apply_answered() {
        let (index, _changes) = index();
        index.put_object(Origin::Answer, &secrets(), &meta("a", "20"), None);
        index.put_object(Origin::Watch, &secrets(), &meta("a", "10"), None);
        let observed = index.observe(&acme());
        assert_eq!(observed.objects.values().next().unwrap().uid, "uid-20");
    }

    #[test]
    fn only_changes_that_matter_are_told() {
        let (index, mut changes) = index();
        let mut first = meta("a", "10");
        index.put_object(Origin::Watch, &secrets(), &first, None);
        assert_eq!(changes.try_recv().unwrap(), acme());
        first.resource_version = Some("11".to_owned());
        index.put_object(Origin::Watch, &secrets(), &first, None);
        assert!(changes.try_recv().is_err(), "a new resource version alone is no news");
    }

    #[test]
    fn a_list_under_way_forgets_nothing_and_a_complete_one_forgets_what_it_did_not_show() {
        let (index, _changes) = index();
        index.put_object(Origin::Watch, &secrets(), &meta("a", "1"), None);
        index.put_object(Origin::Watch, &secrets(), &meta("b", "2"), None);
        index.begin_relist(&secrets());
        index.put_object(Origin::Watch, &secrets(), &meta("b", "2"), None);
        assert_eq!(index.observe(&acme()).objects.len(), 2, "half a list proves no absence");
        index.end_relist(&secrets());
        let left: Vec<_> = index.observe(&acme()).objects.into_keys().map(|key| key.name).collect();
        assert_eq!(left, ["b"]);
    }

    #[test]
    fn a_late_deletion_does_not_take_away_what_was_made_anew() {
        let (index, _changes) = index();
        index.put_object(Origin::Watch, &secrets(), &meta("a", "10"), None);
        index.put_object(Origin::Watch, &secrets(), &meta("a", "20"), None);
        index.remove_object(&secrets(), &meta("a", "10"));
        assert_eq!(index.observe(&acme()).objects.len(), 1);
        index.remove_object(&secrets(), &meta("a", "20"));
        assert!(index.observe(&acme()).objects.is_empty());
    }

    #[test]
    fn an_answer_that_comes_after_the_objects_end_makes_no_ghost() {
        let (index, _changes) = index();
        index.put_object(Origin::Watch, &secrets(), &meta("a", "10"), None);
        let mut deleted = meta("a", "10");
        deleted.resource_version = Some("11".to_owned());
        index.remove_object(&secrets(), &deleted);
        index.put_object(Origin::Answer, &secrets(), &meta("a", "10"), None);
        assert!(index.observe(&acme()).objects.is_empty());
        index.put_object(Origin::Answer, &secrets(), &meta("b", "12"), None);
        assert_eq!(index.observe(&acme()).objects.len(), 1, "an answer ahead of its event counts");
    }

    #[test]
    fn a_namespace_takes_everything_in_it_along() {
        let (index, _changes) = index();
        let namespace = meta("store-acme", "5");
        index.put_namespace(Origin::Watch, &namespace, None);
        index.put_object(Origin::Watch, &secrets(), &meta("a", "10"), None);
        index.remove_namespace(&namespace);
        assert!(index.observe(&acme()).objects.is_empty());
    }

    #[test]
    fn namespaces_of_other_names_are_not_ours_to_know() {
        let (index, mut changes) = index();
        for name in ["kube-system", "store-", "store-Acme", "restore-x"] {
            index.put_namespace(Origin::Watch, &meta(name, "1"), None);
        }
        assert!(changes.try_recv().is_err());
        assert!(index.namespaces().is_empty());
    }
}
