//! What renderings of one chart share because no values change it: compiled patterns, and the chart as it is with the same
//! subcharts enabled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regex::Regex;
use serde_json::{Map, Value};

use super::dependencies;
use super::error::{RenderError, TemplateError};
use super::load::ChartNode;
use super::render;
use super::template::Templates;

/// How many patterns are kept; a chart has a few dozen. One more empties the table.
const PATTERNS_MAX: usize = 200;
/// How many choices of subcharts are kept. One more empties the table.
const CHOICES_MAX: usize = 16;

/// What is kept of a chart from one rendering to the next.
#[derive(Default)]
pub(crate) struct Reuse {
    pub(crate) patterns: Patterns,
    choices: Mutex<HashMap<String, Arc<Prepared>>>,
}

/// A chart with the subcharts that take part.
pub(crate) struct Prepared {
    /// The chart, with the values that it imports among its defaults.
    pub(crate) chart: ChartNode,
    /// Its templates and those of its subcharts, or what is wrong with one of them.
    pub(crate) templates: Result<Templates, TemplateError>,
}

impl Reuse {
    /// Prepares a chart for these values, or finds what was prepared for others that enable the same subcharts.
    pub(crate) fn prepared(
        &self,
        root: &ChartNode,
        values: &Map<String, Value>,
    ) -> Result<Arc<Prepared>, RenderError> {
        let mut chart = dependencies::enabled(root, values)?;
        let choice = dependencies::outline(&chart);
        if let Some(known) = locked(&self.choices).get(&choice) {
            return Ok(Arc::clone(known));
        }
        dependencies::import_values(&mut chart)?;
        let templates = render::templates(&chart);
        let prepared = Arc::new(Prepared { chart, templates });
        insert(&mut locked(&self.choices), choice, &prepared, CHOICES_MAX);
        Ok(prepared)
    }
}

/// Compiled patterns: charts match the same few again and again, and compiling one costs more than most matches.
#[derive(Default)]
pub(crate) struct Patterns(Mutex<HashMap<String, Regex>>);

impl Patterns {
    /// Finds a pattern, or compiles it.
    pub(crate) fn get<E>(
        &self,
        pattern: &str,
        compile: impl FnOnce(&str) -> Result<Regex, E>,
    ) -> Result<Regex, E> {
        if let Some(known) = locked(&self.0).get(pattern) {
            return Ok(known.clone());
        }
        let compiled = compile(pattern)?;
        insert(&mut locked(&self.0), pattern.to_owned(), &compiled, PATTERNS_MAX);
        Ok(compiled)
    }
}

fn insert<T: Clone>(table: &mut HashMap<String, T>, key: String, value: &T, most: usize) {
    if table.len() >= most {
        table.clear();
    }
    table.insert(key, value.clone());
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_compiled_once_and_no_more_are_kept_than_fit() {
        let patterns = Patterns::default();
        let compile = |pattern: &str| Regex::new(pattern);
        assert!(patterns.get("a+", compile).unwrap().is_match("aa"));
        let again = patterns.get("a+", |_| Err::<Regex, _>("it was compiled again"));
        assert!(again.unwrap().is_match("aa"));
        assert!(patterns.get("(", compile).is_err());
        for number in 0..=PATTERNS_MAX {
            patterns.get(&format!("b{number}"), compile).unwrap();
        }
        assert!(locked(&patterns.0).len() <= PATTERNS_MAX);
    }
}
