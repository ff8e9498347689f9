//! The caches against everything a watch may show: late, twice, out of order, half, or of another life.

use serde_json::{Value, json};

use super::*;
use crate::names::{FIELD_MANAGER, INVENTORY_KEY};

fn index() -> (Index, Changes) {
    let changes = Changes::default();
    (Index::new(changes.clone()), changes)
}

fn secrets() -> Feed {
    Feed::Objects { group: String::new(), kind: "Secret".to_owned() }
}

fn acme() -> StoreId {
    "acme".parse().unwrap()
}

fn read(value: &Value) -> Seen {
    serde_json::from_str(&value.to_string()).unwrap()
}

fn of(uid: &str, name: &str, version: u64) -> Seen {
    read(&json!({ "metadata": {
        "name": name, "namespace": "store-acme", "uid": uid, "resourceVersion": version.to_string(),
    } }))
}

/// An object of one life.
fn object(name: &str, version: u64) -> Seen {
    of("one", name, version)
}

/// An object with entries of field managers: who, and at which second.
fn written(version: u64, entries: &[(&str, u32)]) -> Seen {
    let entries = entries.iter().map(|(manager, second)| {
        json!({
            "manager": manager, "operation": "Apply", "time": format!("2026-11-22T10:00:{second:02}Z"),
            "fieldsV1": { "f:data": {} },
        })
    });
    read(&json!({ "metadata": {
        "name": "a", "namespace": "store-acme", "uid": "one", "resourceVersion": version.to_string(),
        "managedFields": entries.collect::<Vec<_>>(),
    } }))
}

fn inventory(version: u64, text: &str) -> Seen {
    let metadata = json!({
        "name": INVENTORY_NAME, "namespace": "store-acme", "uid": "i", "resourceVersion": version.to_string(),
    });
    read(&json!({ "metadata": metadata, "data": { INVENTORY_KEY: text } }))
}

fn names(index: &Index) -> Vec<String> {
    index.observe(&acme()).objects.keys().map(|key| key.name.clone()).collect()
}

fn only(index: &Index) -> ObservedObject {
    let observed = index.observe(&acme());
    assert_eq!(observed.objects.len(), 1);
    observed.objects.values().next().unwrap().clone()
}

#[test]
fn a_late_event_does_not_undo_what_an_apply_answered() {
    let (index, _changes) = index();
    index.put(Origin::Answer, &secrets(), &of("new", "a", 20));
    index.put(Origin::Watch, &secrets(), &of("old", "a", 10));
    assert_eq!((only(&index).uid, only(&index).version), (Uid::new("new"), 20));
}

#[test]
fn only_changes_that_matter_are_told() {
    let (index, changes) = index();
    index.put(Origin::Watch, &secrets(), &object("a", 10));
    assert!(changes.take().contains(&acme()));
    index.put(Origin::Watch, &secrets(), &object("a", 11));
    assert!(changes.take().is_empty(), "a new resource version alone is no news");
    index.put(Origin::Watch, &secrets(), &object("a", 11));
    index.put(Origin::Watch, &secrets(), &object("a", 10));
    assert!(changes.take().is_empty(), "neither is an event that comes twice, or late");
}

#[test]
fn a_list_under_way_forgets_nothing_and_a_complete_one_forgets_what_it_did_not_show() {
    let (index, _changes) = index();
    index.put(Origin::Watch, &secrets(), &object("a", 1));
    index.put(Origin::Watch, &secrets(), &object("b", 2));
    index.begin_relist(&secrets());
    index.put(Origin::Watch, &secrets(), &object("b", 2));
    assert_eq!(names(&index), ["a", "b"], "half a list proves no absence");
    // It broke off, and begins anew.
    index.begin_relist(&secrets());
    index.put(Origin::Watch, &secrets(), &object("a", 1));
    index.end_relist(&secrets(), "9");
    assert_eq!(names(&index), ["a"], "what the list that broke off has shown does not count");
}

#[test]
fn a_list_of_one_kind_says_nothing_of_another() {
    let (index, _changes) = index();
    let maps = Feed::Objects { group: String::new(), kind: "ConfigMap".to_owned() };
    index.put(Origin::Watch, &secrets(), &object("a", 1));
    index.put(Origin::Watch, &maps, &object("b", 2));
    index.begin_relist(&maps);
    index.end_relist(&maps, "9");
    assert_eq!(names(&index), ["a"]);
}

#[test]
fn what_an_apply_answers_while_a_list_is_under_way_outlives_the_list() {
    let (index, _changes) = index();
    index.begin_relist(&secrets());
    index.put(Origin::Answer, &secrets(), &object("new", 30));
    index.put(Origin::Answer, &secrets(), &of("two", "a", 31));
    index.put(Origin::Watch, &secrets(), &of("one", "a", 20));
    index.end_relist(&secrets(), "25");
    assert_eq!(names(&index), ["a", "new"]);
    let observed = index.observe(&acme());
    let uids: Vec<_> = observed.objects.values().map(|object| object.uid.clone()).collect();
    assert_eq!(uids[0], Uid::new("two"), "the list was asked for before the answer");
}

#[test]
fn what_an_apply_answered_before_the_list_and_the_list_does_not_show_is_gone() {
    let (index, _changes) = index();
    index.begin_relist(&secrets());
    index.put(Origin::Answer, &secrets(), &object("gone", 20));
    index.put(Origin::Answer, &secrets(), &object("new", 30));
    index.put(Origin::Answer, &secrets(), &object("there", 22));
    index.put(Origin::Watch, &secrets(), &object("there", 22));
    index.end_relist(&secrets(), "25");
    assert_eq!(names(&index), ["new", "there"]);
}

#[test]
fn a_server_whose_versions_went_back_is_believed_from_the_next_list_on() {
    let (index, _changes) = index();
    index.put(Origin::Watch, &secrets(), &of("one", "a", 900));
    index.begin_relist(&secrets());
    index.put(Origin::Watch, &secrets(), &of("restored", "a", 50));
    index.end_relist(&secrets(), "60");
    assert_eq!(only(&index).uid, Uid::new("restored"));
    index.put(Origin::Answer, &secrets(), &object("b", 61));
    assert_eq!(names(&index), ["a", "b"], "its answers count too");
}

#[test]
fn an_answer_that_is_older_than_what_is_known_hides_no_object_from_a_list() {
    let (index, _changes) = index();
    index.put(Origin::Watch, &secrets(), &of("one", "a", 900));
    index.begin_relist(&secrets());
    // The server was restored from a backup meanwhile.
    index.put(Origin::Answer, &secrets(), &of("restored", "a", 50));
    index.put(Origin::Watch, &secrets(), &of("restored", "a", 50));
    index.end_relist(&secrets(), "60");
    assert_eq!((only(&index).uid, only(&index).version), (Uid::new("restored"), 50));
    index.put(Origin::Watch, &secrets(), &of("restored", "a", 61));
    assert_eq!(only(&index).version, 61, "and what follows counts too");
}

#[test]
fn a_late_deletion_does_not_take_away_what_was_made_anew() {
    let (index, _changes) = index();
    index.put(Origin::Watch, &secrets(), &of("one", "a", 10));
    index.put(Origin::Watch, &secrets(), &of("two", "a", 20));
    index.remove(&secrets(), &of("one", "a", 21));
    assert_eq!(names(&index), ["a"]);
    index.remove(&secrets(), &of("two", "a", 22));
    assert!(names(&index).is_empty());
}

#[test]
fn an_answer_that_comes_after_the_objects_end_makes_no_ghost() {
    let (index, _changes) = index();
    index.put(Origin::Watch, &secrets(), &object("a", 10));
    index.remove(&secrets(), &object("a", 11));
    index.put(Origin::Answer, &secrets(), &object("a", 10));
    assert!(names(&index).is_empty());
    index.put(Origin::Answer, &secrets(), &object("b", 12));
    assert_eq!(names(&index), ["b"], "an answer ahead of its event counts");
}

#[test]
fn a_namespace_takes_everything_in_it_along() {
    let (index, _changes) = index();
    let namespace = |uid, version| of(uid, "store-acme", version);
    index.put(Origin::Watch, &Feed::Namespaces, &namespace("n", 5));
    index.put(Origin::Watch, &secrets(), &object("a", 10));
    index.put(Origin::Watch, &Feed::Inventories, &inventory(11, "{}"));
    index.remove(&Feed::Namespaces, &namespace("of an earlier one", 12));
    assert_eq!(names(&index), ["a"]);
    index.remove(&Feed::Namespaces, &namespace("n", 12));
    let observed = index.observe(&acme());
    assert!(observed.namespace.is_none() && observed.inventory.is_none() && observed.objects.is_empty());
}

#[test]
fn another_namespace_of_the_same_name_begins_empty() {
    let (index, _changes) = index();
    index.put(Origin::Watch, &Feed::Namespaces, &of("n", "store-acme", 5));
    index.put(Origin::Watch, &secrets(), &object("a", 10));
    index.put(Origin::Watch, &Feed::Namespaces, &of("n2", "store-acme", 20));
    assert!(names(&index).is_empty(), "though the end of the first was never seen");
}

#[test]
fn namespaces_of_other_names_are_not_ours_to_know() {
    let (index, changes) = index();
    for name in ["kube-system", "store-", "store-Acme", "restore-x"] {
        index.put(Origin::Watch, &Feed::Namespaces, &of("n", name, 1));
    }
    assert!(changes.take().is_empty() && index.stores_where(|_, _| true).is_empty());
}

#[test]
fn an_inventory_of_another_form_is_no_inventory_and_its_end_is_seen() {
    let (index, changes) = index();
    index.put(Origin::Watch, &Feed::Inventories, &inventory(1, "{\"form\":1}"));
    assert_eq!(index.observe(&acme()).inventory.as_deref(), Some(&Inventory::default()));
    index.put(
        Origin::Watch,
        &Feed::Inventories,
        &inventory(2, "{\"form\":2,\"revision\":\"r\",\"objects\":[]}"),
    );
    assert_eq!(index.observe(&acme()).inventory.unwrap().revision, "r");
    changes.take();
    index.begin_relist(&Feed::Inventories);
    index.end_relist(&Feed::Inventories, "3");
    assert!(index.observe(&acme()).inventory.is_none() && changes.take().contains(&acme()));
}

#[test]
fn a_look_at_a_store_is_not_changed_by_what_comes_later() {
    let (index, _changes) = index();
    index.put(Origin::Watch, &secrets(), &object("a", 1));
    let before = index.observe(&acme());
    index.put(Origin::Watch, &secrets(), &object("b", 2));
    assert_eq!((before.objects.len(), names(&index).len()), (1, 2));
}

#[test]
fn names_that_recur_are_kept_once_and_thrown_away_when_nobody_has_them() {
    let (index, _changes) = index();
    for store in 0..3 {
        let line = "{\"form\":2,\"revision\":\"\",\"objects\":[\"v1 Secret a - -\"]}";
        let mut object = object("a", 1);
        let mut inventory = inventory(2, line);
        object.metadata.namespace = format!("store-{store}");
        inventory.metadata.namespace = format!("store-{store}");
        index.put(Origin::Watch, &secrets(), &object);
        index.put(Origin::Watch, &Feed::Inventories, &inventory);
    }
    assert_eq!(index.lock().words.keys.len(), 1);
    for number in 0..5000_u64 {
        index.put(Origin::Watch, &secrets(), &object(&format!("o{number}"), number));
        index.remove(&secrets(), &object(&format!("o{number}"), number));
    }
    assert!(index.lock().words.keys.len() < 2000, "{}", index.lock().words.keys.len());
}

#[test]
fn who_else_writes_is_remembered_and_is_no_news() {
    let (index, changes) = index();
    index.put(Origin::Watch, &secrets(), &written(1, &[(FIELD_MANAGER, 1)]));
    assert_eq!(only(&index).other_writer, None);
    changes.take();
    index.put(Origin::Watch, &secrets(), &written(2, &[(FIELD_MANAGER, 1), ("somebody", 2)]));
    assert_eq!(only(&index).other_writer.as_deref(), Some("somebody"));
    assert!(changes.take().is_empty());
}

#[test]
fn a_second_write_as_us_in_one_second_is_drift_until_an_answer_says_otherwise() {
    let (index, changes) = index();
    index.put(Origin::Answer, &secrets(), &written(1, &[(FIELD_MANAGER, 5)]));
    let ours = only(&index).owned_fields;
    changes.take();
    let before = [(FIELD_MANAGER, 5), ("kubelet", 4)];
    index.put(Origin::Watch, &secrets(), &written(1, &[(FIELD_MANAGER, 5)]));
    assert!(!only(&index).unexplained, "the answer's own event");
    index.put(Origin::Watch, &secrets(), &written(2, &before));
    assert!(!only(&index).unexplained, "somebody else wrote whose clock is behind");
    index.put(Origin::Watch, &secrets(), &written(3, &before));
    assert!(only(&index).unexplained, "nobody else wrote");
    assert!(changes.take().contains(&acme()));
    index.put(Origin::Watch, &secrets(), &written(4, &[(FIELD_MANAGER, 5), ("kubelet", 6)]));
    assert!(only(&index).unexplained, "what somebody else writes afterwards does not explain it");
    index.begin_relist(&secrets());
    index.put(Origin::Watch, &secrets(), &written(4, &[(FIELD_MANAGER, 5), ("kubelet", 6)]));
    index.end_relist(&secrets(), "5");
    assert!(only(&index).unexplained, "nor does a list");
    assert_eq!(only(&index).owned_fields, ours, "it is ours all the same");
    index.put(Origin::Answer, &secrets(), &written(4, &[(FIELD_MANAGER, 5), ("kubelet", 6)]));
    assert!(!only(&index).unexplained, "an apply that changed nothing answered the same version");
    index.put(Origin::Watch, &secrets(), &written(5, &[(FIELD_MANAGER, 5), ("kubelet", 6)]));
    assert!(!only(&index).unexplained, "somebody else wrote since us, and perhaps again");
}
