//! The functions that templates call: Go's built-ins, Sprig's and Helm's, one file for each theme.
//!
//! `env` and `expandenv` do not exist and `getHostByName` returns nothing, as in Helm. What takes time by purpose, such
//! as making a key, counts as many steps, so that no template computes for minutes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::LazyLock;

use super::budget::Budget;
use super::error::Failure;
use super::reuse::Patterns;
use super::value::{List, MapCell, Value};

mod builtin;
mod certificates;
mod compare;
mod conversion;
mod crypto;
mod dictionaries;
mod durations;
pub(crate) mod encoding;
pub(crate) mod glob;
mod lists;
mod logic;
mod math;
mod numbers;
mod paths;
mod random;
mod regular;
mod strings;
mod time;
mod toml;
mod urls;
pub(crate) mod versions;
mod words;

pub(crate) use versions::version_matches;

/// Asks for an object of the cluster, as `lookup` in a template does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupQuery {
    /// The API version, such as `apps/v1`.
    pub api_version: String,
    /// The kind, such as `Deployment`.
    pub kind: String,
    /// The namespace; empty for all of them or for a cluster-wide kind.
    pub namespace: String,
    /// The name; empty for a list.
    pub name: String,
}

/// What functions may use beside their arguments.
pub(crate) struct Runtime<'a> {
    pub(crate) budget: Budget<'a>,
    /// Seconds since 1970.
    pub(crate) now: i64,
    pub(crate) entropy: &'a dyn Fn(&mut [u8]),
    pub(crate) lookup: &'a dyn Fn(&LookupQuery) -> serde_json::Value,
    /// Compiled patterns, of this chart's earlier renderings too.
    pub(crate) patterns: &'a Patterns,
    /// Those of this rendering.
    pub(crate) compiled: HashMap<Rc<str>, regex::Regex>,
    /// Maps that got a collection put into them. Only these can be part of a cycle; the renderer empties them
    /// at its end, because reference counting alone would never free one.
    pub(crate) changed_maps: Vec<Rc<MapCell>>,
}

impl Runtime<'_> {
    /// Puts a value into a map that others may hold.
    pub(crate) fn insert(&mut self, map: &Rc<MapCell>, key: &str, value: Value) -> Result<(), Failure> {
        self.budget.produce(key.len() + size_of::<Value>())?;
        if matches!(value, Value::Map(_) | Value::List(_)) {
            self.changed_maps.push(map.clone());
        }
        map.insert(key, value);
        Ok(())
    }
}

/// A result of a function.
pub(crate) type Outcome = Result<Value, Failure>;

type Run = fn(&mut Runtime<'_>, &[Value]) -> Outcome;

/// A function and how many arguments it takes.
pub(crate) struct Function {
    name: &'static str,
    least: usize,
    most: usize,
    pub(crate) run: Run,
}

impl Function {
    const fn exactly(name: &'static str, count: usize, run: Run) -> Self {
        Self { name, least: count, most: count, run }
    }

    const fn at_least(name: &'static str, least: usize, run: Run) -> Self {
        Self { name, least, most: usize::MAX, run }
    }

    const fn between(name: &'static str, least: usize, most: usize, run: Run) -> Self {
        Self { name, least, most, run }
    }

    /// Refuses a call with the wrong number of arguments, in Go's words.
    pub(crate) fn check_count(&self, count: usize) -> Result<(), Failure> {
        if (self.least..=self.most).contains(&count) {
            return Ok(());
        }
        let wanted = if self.most == usize::MAX {
            format!("at least {}", self.least)
        } else if self.least == self.most {
            self.least.to_string()
        } else {
            format!("{} to {}", self.least, self.most)
        };
        Err(Failure::new(format!("wrong number of arguments: want {wanted}, got {count}")))
    }
}

static TABLE: LazyLock<HashMap<&'static str, &'static Function, BuildHasherDefault<NameHasher>>> =
    LazyLock::new(|| {
        [
            builtin::FUNCTIONS,
            certificates::FUNCTIONS,
            compare::FUNCTIONS,
            conversion::FUNCTIONS,
            crypto::FUNCTIONS,
            dictionaries::FUNCTIONS,
            durations::FUNCTIONS,
            encoding::FUNCTIONS,
            lists::FUNCTIONS,
            logic::FUNCTIONS,
            math::FUNCTIONS,
            numbers::FUNCTIONS,
            paths::FUNCTIONS,
            random::FUNCTIONS,
            regular::FUNCTIONS,
            strings::FUNCTIONS,
            time::FUNCTIONS,
            toml::FUNCTIONS,
            urls::FUNCTIONS,
            versions::FUNCTIONS,
            words::FUNCTIONS,
        ]
        .into_iter()
        .flatten()
        .map(|function| (function.name, function))
        .collect()
    });

/// FNV-1a: the names of functions are short and come from the chart's author, who gains nothing by collisions in a
/// table that holds only our own names.
struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Finds a function by name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    TABLE.get(name).copied()
}

/// Tells whether a function of this name exists in the table.
pub(crate) fn exists(name: &str) -> bool {
    TABLE.contains_key(name)
}

/// The argument at a position; the table has checked that it is there, optional ones are nil if not.
fn argument(values: &[Value], position: usize) -> &Value {
    values.get(position).unwrap_or(&Value::Nil)
}

fn wrong_type(value: &Value, wanted: &str) -> Failure {
    if value.is_nil() {
        Failure::new(format!("invalid value; expected {wanted}"))
    } else {
        Failure::new(format!("wrong type for value; expected {wanted}; got {}", value.type_name()))
    }
}

/// A Go parameter of type `string`: nothing else is converted. Stray bytes are seen as U+FFFD, as Go's functions on
/// characters see them.
fn text(values: &[Value], position: usize) -> Result<&str, Failure> {
    let value = argument(values, position);
    value.as_str().ok_or_else(|| wrong_type(value, "string"))
}

/// A Go parameter of type `string` whose characters do not matter.
fn bytes(values: &[Value], position: usize) -> Result<&[u8], Failure> {
    let value = argument(values, position);
    value.as_bytes().ok_or_else(|| wrong_type(value, "string"))
}

/// A Go parameter of type `int`: a float or an `int64` is refused, charts convert with `int`.
fn integer(values: &[Value], position: usize) -> Result<i64, Failure> {
    match argument(values, position) {
        Value::Int(number) => Ok(*number),
        other => Err(wrong_type(other, "int")),
    }
}

/// A Go parameter of type `bool`.
fn boolean(values: &[Value], position: usize) -> Result<bool, Failure> {
    match argument(values, position) {
        Value::Bool(flag) => Ok(*flag),
        other => Err(wrong_type(other, "bool")),
    }
}

/// A Go parameter of type `map[string]interface {}`. Nil is an empty map, as Go's nil map is when it is read.
fn dictionary(values: &[Value], position: usize) -> Result<Rc<MapCell>, Failure> {
    match argument(values, position) {
        Value::Map(map) if !map.holds_text() => Ok(map.clone()),
        Value::Nil => Ok(Rc::default()),
        other => Err(wrong_type(other, "map[string]interface {}")),
    }
}

/// A parameter that Sprig takes apart by reflection: any slice.
fn items(values: &[Value], position: usize) -> Result<Rc<List>, Failure> {
    match argument(values, position) {
        Value::List(items) => Ok(items.clone()),
        Value::Object(object) => match object.as_collection() {
            Some(Value::List(items)) => Ok(items),
            _ => Err(Failure::new(format!("wants a list, got {}", object.type_name()))),
        },
        other => Err(Failure::new(format!("wants a list, got {}", other.type_name()))),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Renders one-line templates, so that the tests of the functions read like their documentation.

    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use crate::chart::{Capabilities, Chart, Release, RenderLimits, RenderRequest};

    /// Renders `{{ expression }}` over `.Values` and returns what it prints.
    pub(crate) fn print(expression: &str, values: &Value) -> Result<String, String> {
        render(&format!("{{{{ {expression} }}}}"), values)
    }

    /// Renders a template over `.Values` and returns its text.
    pub(crate) fn render(template: &str, values: &Value) -> Result<String, String> {
        render_within(&RenderLimits::default(), template, values)
    }

    /// Renders a template within limits.
    pub(crate) fn render_within(
        limits: &RenderLimits,
        template: &str,
        values: &Value,
    ) -> Result<String, String> {
        let files = BTreeMap::from([
            (
                "Chart.yaml".to_owned(),
                b"apiVersion: v2\nname: demo\nversion: 1.2.3\nappVersion: \"7\"\n".to_vec(),
            ),
            ("templates/NOTES.txt".to_owned(), template.as_bytes().to_vec()),
            ("config/a.txt".to_owned(), b"one\ntwo\n".to_vec()),
        ]);
        let chart = Chart::load(files).map_err(|error| error.to_string())?;
        let Value::Object(values) = values else { panic!("values must be a map") };
        let request = RenderRequest {
            release: Release {
                name: "rel".into(),
                namespace: "space".into(),
                is_upgrade: false,
                revision: 1,
            },
            values,
            capabilities: &Capabilities::default(),
            lookup: &|_| json!({}),
            entropy: &|bytes| {
                bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = u8::try_from(at % 251).unwrap());
            },
            now: 1_700_000_000,
            limits: limits.clone(),
        };
        let rendering = chart.render(&request).map_err(|error| error.to_string())?;
        Ok(rendering.notes.unwrap_or_default())
    }

    /// Asserts what expressions print, each with the same values.
    pub(crate) fn assert_prints(values: &Value, cases: &[(&str, &str)]) {
        for (expression, expected) in cases {
            assert_eq!(print(expression, values).as_deref(), Ok(*expected), "{expression}");
        }
    }

    /// Asserts that expressions are refused with a message that holds a text.
    pub(crate) fn assert_refused(values: &Value, cases: &[(&str, &str)]) {
        for (expression, message) in cases {
            let error = print(expression, values).expect_err(expression);
            assert!(error.contains(message), "{expression}: {error}");
        }
    }
}
