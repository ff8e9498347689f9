//! Chart values: how layers are merged, and what a store adds to them.

use serde_json::{Map, Value};

use super::chart::FieldPaths;
use super::{Image, Store};
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
        image: Image { repository, tag, digest },
        values,
        protect: _,
        rollback: _,
        pause: _,
        cluster: _,
        file: _,
        chart,
        places: _,
        digest: _,
    } = store;
    let mut merged = Map::clone(&chart.base);
    merge(&mut merged, values);
    let FieldPaths { name, display_name: title, host: address, image_repository, image_tag, image_digest } =
        &chart.fields;
    // A digest from a layer below names another image and would win over a tag of this one in the chart.
    let digest = digest.as_deref().or(tag.is_some().then_some(""));
    for (path, value) in [
        (name, Some(id.as_str())),
        (title, Some(display_name.as_str())),
        (address, Some(host.as_str())),
        (image_repository, repository.as_deref()),
        (image_tag, tag.as_deref()),
        (image_digest, digest),
    ] {
        if let (Some(path), Some(value)) = (path, value) {
            path.set(&mut merged, value.into());
        }
    }
    merged
}

/// Returns the fingerprint of what a store is rendered from: its id, its chart and the merged values; the order of fields
/// is of no consequence.
pub(super) fn digest(store: &Store) -> String {
    digest_of(&store.id, &store.chart.identity(), store.merged())
}

/// The built-in chart has no identity here: its own digest comes to it where stores are rendered.
fn digest_of(id: &StoreId, chart: &str, merged: Map<String, Value>) -> String {
    let mut parts = vec![Value::from(id.as_str()), Value::Object(merged)];
    if !chart.is_empty() {
        parts.push(chart.into());
    }
    Fingerprint::of(&Value::from(parts)).to_string()
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
        let digest = |id: &StoreId, values: Value| digest_of(id, "", map(values));
        let one = digest(&id, json!({"a": 1, "b": {"c": [1, 2], "d": null}}));
        assert_eq!(one.len(), 22);
        assert_eq!(one, digest(&id, json!({"b": {"d": null, "c": [1, 2]}, "a": 1})));
        for other in [
            json!({"a": 1, "b": {"c": [2, 1], "d": null}}),
            json!({"a": 1, "b": {"c": [1, 2]}}),
            json!({"a": "1", "b": {"c": [1, 2], "d": null}}),
        ] {
            assert_ne!(one, digest(&id, other));
        }
        let values = json!({"a": 1, "b": {"c": [1, 2], "d": null}});
        assert_ne!(one, digest(&"bonsai".parse().unwrap(), values.clone()));
        assert_ne!(one, digest_of(&id, "folder:x", map(values)));
    }
}
