//! What `range` goes through.

use std::rc::Rc;

use super::error::Failure;
use super::value::{List, Value};

/// What `range` iterates. A map is copied: the body may change it.
pub(crate) enum Items {
    List(Rc<List>),
    Entries(Vec<(Rc<str>, Value)>),
    Count(i64),
}

impl Items {
    pub(crate) fn of(collection: &Value) -> Result<Items, Failure> {
        Ok(match collection {
            Value::Nil => Items::Count(0),
            Value::List(items) => Items::List(items.clone()),
            Value::Map(map) => Items::Entries(
                map.entries().iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            ),
            Value::Int(count) | Value::Int64(count) => Items::Count(*count),
            Value::Object(object) => match (object.as_collection(), object.as_whole()) {
                (Some(collection), _) => return Items::of(&collection),
                (None, Some(count)) => Items::Count(count),
                (None, None) => return Err(cannot_range(collection)),
            },
            Value::Bool(_) | Value::Float(_) | Value::String(_) | Value::Binary(_) => {
                return Err(cannot_range(collection));
            }
        })
    }

    pub(crate) fn get(&self, position: usize) -> Option<(Value, Value)> {
        match self {
            Self::List(items) => items.get(position).map(|item| (Value::count(position), item.clone())),
            Self::Entries(entries) => {
                entries.get(position).map(|(key, value)| (Value::String(key.clone()), value.clone()))
            }
            Self::Count(count) => {
                let index = i64::try_from(position).ok().filter(|index| index < count)?;
                Some((Value::Int(index), Value::Int(index)))
            }
        }
    }
}

fn cannot_range(value: &Value) -> Failure {
    Failure::new(format!("range can't iterate over a value of type {}", value.type_name()))
}
