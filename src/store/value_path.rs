//! Where in a chart's values a field of the store file goes.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::fields::lookup;
use super::file::VALUE_PATH;
use super::shop::shape;
use super::yaml::{Kind, Node, Position};

static SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(VALUE_PATH));

/// A place in a chart's values, such as `ingress.hosts[0].host`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValuePath(String);

/// One step into values.
enum Part<'p> {
    Key(&'p str),
    Index(usize),
}

impl ValuePath {
    /// Reads a path as people write it; none when it is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        SHAPE.is_match(text).then(|| Self(text.to_owned()))
    }

    /// A path that is written here.
    pub(super) fn known(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.split('.').flat_map(|part| {
            let (key, rest) = part.split_once('[').unwrap_or((part, ""));
            let indexes = rest.split(['[', ']']).filter_map(|index| index.parse().ok()).map(Part::Index);
            std::iter::once(Part::Key(key)).chain(indexes)
        })
    }

    /// Puts a value there. What stands in the way and is no map or list makes room.
    pub(super) fn set(&self, values: &mut Map<String, Value>, value: Value) {
        let mut parts = self.parts();
        let Some(Part::Key(first)) = parts.next() else { return };
        let mut slot = values.entry(first).or_insert(Value::Null);
        for part in parts {
            slot = match part {
                Part::Key(key) => {
                    if !slot.is_object() {
                        *slot = Value::Object(Map::new());
                    }
                    match slot {
                        Value::Object(map) => map.entry(key).or_insert(Value::Null),
                        _ => unreachable!("made a map just above"),
                    }
                }
                Part::Index(index) => {
                    if !slot.is_array() {
                        *slot = Value::Array(Vec::new());
                    }
                    match slot {
                        Value::Array(items) => {
                            if items.len() <= index {
                                items.resize(index + 1, Value::Null);
                            }
                            &mut items[index]
                        }
                        _ => unreachable!("made a list just above"),
                    }
                }
            };
        }
        *slot = value;
    }

    /// Finds out what a document says about this place.
    pub(super) fn find(&self, root: &Node) -> Found {
        let mut node = root;
        let mut way = String::new();
        for part in self.parts() {
            let (below, wanted) = match (&part, &node.kind) {
                (Part::Key(key), Kind::Map(_)) => (lookup(node, key), ""),
                (Part::Index(index), Kind::List(items)) => (items.get(*index).map(|item| &**item), ""),
                (Part::Key(_), _) => (None, "a map of chart values"),
                (Part::Index(_), _) => (None, "a list"),
            };
            if !wanted.is_empty() {
                return Found::InTheWay { at: node.at, path: way, wanted };
            }
            let Some(below) = below else { return Found::Nothing };
            match part {
                Part::Key(key) if way.is_empty() => way.push_str(key),
                Part::Key(key) => way = format!("{way}.{key}"),
                Part::Index(index) => way = format!("{way}[{index}]"),
            }
            node = below;
        }
        Found::Value(node.at)
    }
}

/// What a document says about a place in values.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A value, here.
    Value(Position),
    /// On the way there is something else than what leads there.
    InTheWay {
        /// Where it is.
        at: Position,
        /// Its path.
        path: String,
        /// What leads there.
        wanted: &'static str,
    },
}

impl fmt::Display for ValuePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(path: &str, values: Value, value: &str) -> Value {
        let Value::Object(mut map) = values else { panic!("not a map") };
        ValuePath::parse(path).unwrap().set(&mut map, value.into());
        Value::Object(map)
    }

    #[test]
    fn a_path_leads_through_maps_and_lists_and_makes_what_is_missing() {
        assert_eq!(set("a", json!({}), "x"), json!({"a": "x"}));
        assert_eq!(set("a.b", json!({"a": {"c": 1}}), "x"), json!({"a": {"c": 1, "b": "x"}}));
        assert_eq!(
            set("a.hosts[0].host", json!({"a": {"hosts": [{"paths": ["/"]}, 2]}}), "x"),
            json!({"a": {"hosts": [{"paths": ["/"], "host": "x"}, 2]}})
        );
        assert_eq!(set("hosts[2]", json!({"hosts": ["a"]}), "x"), json!({"hosts": ["a", null, "x"]}));
        assert_eq!(set("a[1][0]", json!({}), "x"), json!({"a": [null, ["x"]]}));
        assert_eq!(set("a.b", json!({"a": null}), "x"), json!({"a": {"b": "x"}}));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", ".", "a.", "a..b", "a[x]", "a[100]", "[0]", "a b", "a[0", "a[-1]"] {
            assert!(ValuePath::parse(text).is_none(), "{text}");
        }
        assert!(ValuePath::parse("my-key.sub_key[12].x").is_some());
    }
}
