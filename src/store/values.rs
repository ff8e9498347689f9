//! Chart values: how layers are merged, and what a store adds to them.

use serde_json::{Map, Value};

use super::Store;
use crate::manifest::Fingerprint;
use crate::names::StoreId;

/// Merges `over` into `base` as Helm merges value files: maps key by key at every depth, everything else is
/// replaced. A null is a value like any other here: it stays, and deletes a chart default later.
pub fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (Some(below), _) => *below = value.clone(),
            (None, _) => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Merges all layers of a store.
pub(super) fn for_store(store: &Store) -> Map<String, Value> {
    let Store {
        id,
        display_name,
        host,
        image,
        values,
        protect: _,
        rollback: _,
        pause: _,
        file: _,
        base,
        digest: _,
    } = store;
    let mut merged = Map::clone(base);
    merge(&mut merged, values);
    let shop = section(&mut merged, "store");
    shop.insert("id".to_owned(), id.as_str().into());
    shop.insert("displayName".to_owned(), display_name.as_str().into());
    shop.insert("host".to_owned(), host.as_str().into());
    let super::Image { repository, tag, digest } = image;
    if repository.is_none() && tag.is_none() && digest.is_none() {
        return merged;
    }
    let image = section(&mut merged, "image");
    if let Some(repository) = repository {
        image.insert("repository".to_owned(), repository.as_str().into());
    }
    if let Some(tag) = tag {
        image.insert("tag".to_owned(), tag.as_str().into());
        // A digest from a layer below names another image and would win over this tag in the chart.
        image.insert("digest".to_owned(), digest.as_deref().unwrap_or_default().into());
    } else if let Some(digest) = digest {
        image.insert("digest".to_owned(), digest.as_str().into());
    }
    merged
}

fn section<'map>(map: &'map mut Map<String, Value>, key: &str) -> &'map mut Map<String, Value> {
    let slot = map.entry(key).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(section) => section,
        _ => unreachable!("made an object just above"),
    }
}

/// Returns the fingerprint of a store's id and merged values; the order of fields is of no consequence.
pub(super) fn digest(id: &StoreId, merged: &Map<String, Value>) -> String {
    let both = [Value::from(id.as_str()), Value::Object(merged.clone())];
    Fingerprint::of(&Value::from(both.to_vec())).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is not a map"),
        }
    }

    #[test]
    fn maps_merge_at_every_depth_and_everything_else_is_replaced() {
        let mut base = map(json!({"a": {"b": 1, "c": [1, 2], "d": {"e": 1}}, "f": {"g": 1}}));
        merge(&mut base, &map(json!({"a": {"c": [3], "d": {"h": 2}}, "f": "text", "i": true})));
        let expected = json!({"a": {"b": 1, "c": [3], "d": {"e": 1, "h": 2}}, "f": "text", "i": true});
        assert_eq!(Value::Object(base), expected);
    }

    #[test]
    fn a_null_stays_because_it_deletes_a_chart_default_later() {
        let mut base = map(json!({"a": {"b": 1}}));
        merge(&mut base, &map(json!({"a": {"b": null}})));
        assert_eq!(Value::Object(base), json!({"a": {"b": null}}));
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys_but_on_everything_else() {
        let id: StoreId = "acme".parse().unwrap();
        let one = digest(&id, &map(json!({"a": 1, "b": {"c": [1, 2], "d": null}})));
        assert_eq!(one.len(), 22);
        assert_eq!(one, digest(&id, &map(json!({"b": {"d": null, "c": [1, 2]}, "a": 1}))));
        for other in [
            json!({"a": 1, "b": {"c": [2, 1], "d": null}}),
            json!({"a": 1, "b": {"c": [1, 2]}}),
            json!({"a": "1", "b": {"c": [1, 2], "d": null}}),
        ] {
            assert_ne!(one, digest(&id, &map(other)));
        }
        assert_ne!(
            one,
            digest(&"bonsai".parse().unwrap(), &map(json!({"a": 1, "b": {"c": [1, 2], "d": null}})))
        );
    }
}
