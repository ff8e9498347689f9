//! The values that templates work on, with Go's kinds and Go's reference semantics.
//!
//! Maps are shared: `set` on a map is seen by everyone who holds it. Lists and strings never change, so sharing
//! them is not visible. Values live inside one render call and are not `Send`.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::binary::Binary;
use super::objects::Object;
use super::yaml::number_from_float;

/// How deep a value may nest before functions that walk it stop with an error. Templates can build endless
/// nests and even cycles (`set $d "self" $d`); deeper than this is no Kubernetes object.
pub(crate) const DEPTH_MAX: usize = 100;

/// A value in a template.
#[derive(Clone)]
pub(crate) enum Value {
    /// Go's untyped nil: a key that is missing, a null in values.
    Nil,
    Bool(bool),
    /// Go's `int`: literals, lengths, indexes.
    Int(i64),
    /// Go's `int64`: the results of `add`, `int64` and the like. `typeOf` tells it from `int`.
    Int64(i64),
    /// Go's `float64`: every number that comes from values, YAML or JSON.
    Float(f64),
    String(Rc<str>),
    /// A string too, but one that is not UTF-8. [`Value::bytes`] chooses between the two.
    Binary(Rc<Binary>),
    List(Rc<List>),
    Map(Rc<MapCell>),
    /// Something with methods or a named type: `.Files`, `.Capabilities.APIVersions`, the result of `now`, a duration.
    Object(Rc<Object>),
}

/// What Go's type of a list or map says about its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Element {
    #[default]
    Any,
    String,
    Int,
    /// The result of `chunk`.
    Lists,
    /// Tables of TOML.
    Maps,
}

/// A list and the Go type of its items.
pub(crate) struct List {
    items: Vec<Value>,
    element: Element,
    /// Go's nil slice: an empty list, but `null` in JSON.
    is_nil: bool,
}

impl List {
    pub(crate) fn element(&self) -> Element {
        self.element
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.is_nil
    }
}

impl Deref for List {
    type Target = Vec<Value>;

    fn deref(&self) -> &Vec<Value> {
        &self.items
    }
}

/// A shared, mutable map. Keys are sorted, as Go's templates iterate them.
#[derive(Default)]
pub(crate) struct MapCell {
    entries: RefCell<BTreeMap<Rc<str>, Value>>,
    /// Whether it is a Go map from text to text, which `split` returns and most functions refuse.
    holds_text: bool,
}

impl MapCell {
    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        self.entries.borrow().get(key).cloned()
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.entries.borrow().contains_key(key)
    }

    pub(crate) fn insert(&self, key: impl Into<Rc<str>>, value: Value) {
        // The old value is dropped after the borrow ends: dropping it may drop this very map's cycle.
        let old = self.entries.borrow_mut().insert(key.into(), value);
        drop(old);
    }

    pub(crate) fn remove(&self, key: &str) {
        let old = self.entries.borrow_mut().remove(key);
        drop(old);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    pub(crate) fn entries(&self) -> Ref<'_, BTreeMap<Rc<str>, Value>> {
        self.entries.borrow()
    }

    /// Whether Go's type of it is `map[string]string`.
    pub(crate) fn holds_text(&self) -> bool {
        self.holds_text
    }

    /// Empties the map; the renderer does it at the end so that cycles of maps are freed.
    pub(crate) fn clear(&self) {
        let old = std::mem::take(&mut *self.entries.borrow_mut());
        drop(old);
    }
}

impl FromIterator<(Rc<str>, Value)> for MapCell {
    fn from_iter<T: IntoIterator<Item = (Rc<str>, Value)>>(entries: T) -> Self {
        Self { entries: RefCell::new(entries.into_iter().collect()), holds_text: false }
    }
}

impl Drop for MapCell {
    /// Frees nested maps and lists in a loop. The derived way recurses, and a template can nest values deeper
    /// than the stack is.
    fn drop(&mut self) {
        let entries = std::mem::take(self.entries.get_mut());
        if !entries.values().any(Value::is_collection) {
            return;
        }
        let mut pending: Vec<Value> = entries.into_values().collect();
        while let Some(value) = pending.pop() {
            match value {
                Value::Map(map) => {
                    if let Some(mut cell) = Rc::into_inner(map) {
                        pending.extend(std::mem::take(cell.entries.get_mut()).into_values());
                    }
                }
                Value::List(list) => {
                    if let Some(list) = Rc::into_inner(list) {
                        pending.extend(list.items);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The walk of a value went deeper than [`DEPTH_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooDeep;

impl Value {
    pub(crate) fn string(text: impl AsRef<str>) -> Self {
        Self::String(Rc::from(text.as_ref()))
    }

    /// A Go string of any bytes.
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::from(text),
            Err(error) => Self::Binary(Rc::new(Binary::new(error.into_bytes()))),
        }
    }

    /// Go's `[]interface {}`.
    pub(crate) fn list(items: Vec<Value>) -> Self {
        Self::list_of(Element::Any, items)
    }

    /// A list whose items have a type.
    pub(crate) fn list_of(element: Element, items: Vec<Value>) -> Self {
        Self::List(Rc::new(List { items, element, is_nil: false }))
    }

    /// The same, but a nil slice if there are no items.
    pub(crate) fn list_or_nil(element: Element, items: Vec<Value>) -> Self {
        let is_nil = items.is_empty();
        Self::List(Rc::new(List { items, element, is_nil }))
    }

    /// Go's `[]string`.
    pub(crate) fn strings<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::list_of(Element::String, items.into_iter().map(Self::string).collect())
    }

    /// Go's `map[string]string`.
    pub(crate) fn text_map(entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (Rc::from(key), value)).collect();
        Self::Map(Rc::new(MapCell { entries: RefCell::new(entries), holds_text: true }))
    }

    pub(crate) fn map<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(Rc::new(entries.into_iter().map(|(key, value)| (Rc::from(key.as_ref()), value)).collect()))
    }

    pub(crate) fn object(object: Object) -> Self {
        Self::Object(Rc::new(object))
    }

    /// A length or an index as Go's `int`.
    pub(crate) fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    fn is_collection(&self) -> bool {
        matches!(self, Self::Map(_) | Self::List(_))
    }

    /// The characters of a string; stray bytes are U+FFFD, as Go sees them.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Binary(binary) => Some(binary.text()),
            _ => None,
        }
    }

    /// The bytes of a string.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::String(text) => Some(text.as_bytes()),
            Self::Binary(binary) => Some(binary.bytes()),
            _ => None,
        }
    }

    /// A whole number of any of Go's kinds.
    pub(crate) fn as_whole(&self) -> Option<i64> {
        match self {
            Self::Int(number) | Self::Int64(number) => Some(*number),
            Self::Object(object) => object.as_whole(),
            _ => None,
        }
    }

    /// Go's truth: the zero value of a kind is false, structs are always true.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) | Self::Int64(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::Binary(_) => true,
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => map.len() > 0,
            Self::Object(object) => object.is_true(),
        }
    }

    /// What Go's `%T` prints.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Float(_) => "float64",
            Self::String(_) | Self::Binary(_) => "string",
            Self::List(list) => match list.element() {
                Element::Any => "[]interface {}",
                Element::String => "[]string",
                Element::Int => "[]int",
                Element::Lists => "[][]interface {}",
                Element::Maps => "[]map[string]interface {}",
            },
            Self::Map(map) if map.holds_text() => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Object(object) => object.type_name(),
        }
    }

    /// What Go's `reflect.Kind` prints.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Nil => "invalid",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Object(object) => object.kind_name(),
            _ => self.type_name(),
        }
    }

    /// A rough size in bytes of the value itself, not of what it holds: what a copy of it costs.
    pub(crate) fn shallow_size(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Binary(binary) => binary.bytes().len(),
            Self::List(items) => items.len() * size_of::<Value>(),
            _ => 0,
        }
    }

    /// Takes a value over from JSON. Numbers become `float64` as everything does that Helm reads from YAML.
    pub(crate) fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => Self::Float(number.as_f64().unwrap_or_default()),
            Json::String(text) => Self::string(text),
            Json::Array(items) => Self::list(items.iter().map(Self::from_json).collect()),
            Json::Object(entries) => Self::from_object(entries),
        }
    }

    /// Takes a Kubernetes object over: its whole numbers are `int64`, as client-go decodes them.
    pub(crate) fn from_unstructured(json: &Json) -> Self {
        match json {
            Json::Number(number) => match number.as_i64() {
                Some(number) => Self::Int64(number),
                None => Self::Float(number.as_f64().unwrap_or_default()),
            },
            Json::Array(items) => Self::list(items.iter().map(Self::from_unstructured).collect()),
            Json::Object(entries) => {
                Self::map(entries.iter().map(|(key, value)| (key, Self::from_unstructured(value))))
            }
            other => Self::from_json(other),
        }
    }

    pub(crate) fn from_object(entries: &Map<String, Json>) -> Self {
        Self::map(entries.iter().map(|(key, value)| (key, Self::from_json(value))))
    }

    /// Turns the value into JSON with sorted keys, as `toJson` and `toYaml` see it.
    pub(crate) fn to_json(&self) -> Result<Json, TooDeep> {
        self.to_json_at(0)
    }

    fn to_json_at(&self, depth: usize) -> Result<Json, TooDeep> {
        if depth > DEPTH_MAX {
            return Err(TooDeep);
        }
        Ok(match self {
            Self::Nil => Json::Null,
            Self::Bool(flag) => Json::Bool(*flag),
            Self::Int(number) | Self::Int64(number) => Json::from(*number),
            Self::Float(number) => number_from_float(*number).map_or(Json::Null, Json::Number),
            Self::String(text) => Json::from(&**text),
            Self::Binary(binary) => Json::from(binary.text()),
            Self::List(items) if items.is_nil() => Json::Null,
            Self::List(items) => {
                Json::Array(items.iter().map(|item| item.to_json_at(depth + 1)).collect::<Result<_, _>>()?)
            }
            Self::Map(map) => {
                let mut entries = Map::new();
                for (key, value) in map.entries().iter() {
                    entries.insert(key.to_string(), value.to_json_at(depth + 1)?);
                }
                Json::Object(entries)
            }
            Self::Object(object) => object.to_json(),
        })
    }

    /// How many values there are below and including this one, and how many bytes of text.
    pub(crate) fn deep_size(&self) -> Result<usize, TooDeep> {
        fn walk(value: &Value, depth: usize) -> Result<usize, TooDeep> {
            if depth > DEPTH_MAX {
                return Err(TooDeep);
            }
            Ok(size_of::<Value>()
                + match value {
                    Value::String(text) => text.len(),
                    Value::Binary(binary) => binary.bytes().len(),
                    Value::List(items) => {
                        let mut sum = 0;
                        for item in items.iter() {
                            sum += walk(item, depth + 1)?;
                        }
                        sum
                    }
                    Value::Map(map) => {
                        let mut sum = 0;
                        for (key, value) in map.entries().iter() {
                            sum += key.len() + walk(value, depth + 1)?;
                        }
                        sum
                    }
                    Value::Object(object) => object.size(),
                    _ => 0,
                })
        }
        walk(self, 0)
    }

    /// Copies maps and lists all the way down.
    pub(crate) fn deep_copy(&self) -> Result<Self, TooDeep> {
        fn copy(value: &Value, depth: usize) -> Result<Value, TooDeep> {
            if depth > DEPTH_MAX {
                return Err(TooDeep);
            }
            Ok(match value {
                Value::Map(map) => {
                    let mut entries = Vec::with_capacity(map.len());
                    for (key, value) in map.entries().iter() {
                        entries.push((key.clone(), copy(value, depth + 1)?));
                    }
                    Value::Map(Rc::new(entries.into_iter().collect()))
                }
                Value::List(items) if items.is_empty() => value.clone(),
                Value::List(items) => Value::list_of(
                    items.element(),
                    items.iter().map(|item| copy(item, depth + 1)).collect::<Result<Vec<_>, _>>()?,
                ),
                other => other.clone(),
            })
        }
        copy(self, 0)
    }

    /// Go's `reflect.DeepEqual`: kinds must agree, so `1` and `1.0` differ.
    pub(crate) fn deep_equal(&self, other: &Value) -> Result<bool, TooDeep> {
        deep_equal(self, other, 0)
    }
}

fn deep_equal(left: &Value, right: &Value, depth: usize) -> Result<bool, TooDeep> {
    if depth > DEPTH_MAX {
        return Err(TooDeep);
    }
    Ok(match (left, right) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(left), Value::Int(right)) | (Value::Int64(left), Value::Int64(right)) => left == right,
        #[expect(clippy::float_cmp, reason = "Go compares exactly")]
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::String(left), Value::String(right)) => left == right,
        (Value::Binary(left), Value::Binary(right)) => left.bytes() == right.bytes(),
        (Value::List(left), Value::List(right)) => {
            if left.len() != right.len()
                || left.element() != right.element()
                || left.is_nil() != right.is_nil()
            {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right.iter()) {
                if !deep_equal(left, right, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(left), Value::Map(right)) => {
            if Rc::ptr_eq(left, right) {
                return Ok(true);
            }
            if left.len() != right.len() || left.holds_text() != right.holds_text() {
                return Ok(false);
            }
            let (left, right) = (left.entries(), right.entries());
            for ((left_key, left), (right_key, right)) in left.iter().zip(right.iter()) {
                if left_key != right_key || !deep_equal(left, right, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(left), Value::Object(right)) => Rc::ptr_eq(left, right) || left.equals(right),
        _ => false,
    })
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(Rc::from(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_map_is_shared_by_all_who_hold_it() {
        let first = Value::map([("a", Value::Int(1))]);
        let second = first.clone();
        let Value::Map(cell) = &first else { unreachable!() };
        cell.insert("b", Value::Bool(true));
        assert_eq!(second.to_json().unwrap(), json!({"a": 1, "b": true}));
    }

    #[test]
    fn freeing_a_nest_deeper_than_the_stack_is_safe() {
        let mut value = Value::Nil;
        for round in 0..300_000 {
            value = if round % 2 == 0 { Value::list(vec![value]) } else { Value::map([("a", value)]) };
        }
        assert!(matches!(value.to_json(), Err(TooDeep)));
        assert!(matches!(value.deep_copy(), Err(TooDeep)));
        drop(value);
    }

    #[test]
    fn a_number_keeps_its_kind_and_loses_its_fraction_in_json() {
        assert_eq!(Value::from_json(&json!(3)).type_name(), "float64");
        assert_eq!(Value::Float(3.0).to_json().unwrap(), json!(3));
        assert!(!Value::Int(1).deep_equal(&Value::Float(1.0)).unwrap());
    }
}
