//! Values: Helm's merging of values files and its coalescing with the defaults of charts and subcharts.
//!
//! The user wins over a parent chart, which wins over a subchart. A null deletes a default; a null over a
//! subchart's key is kept until that subchart is coalesced, and acts there. The functions follow Helm 4.3.1's
//! `coalesce.go` step by step, because the order of the steps decides what a null does.

use serde_json::{Map, Value};

use super::error::RenderError;
use super::load::ChartNode;
use super::yaml::{self, YamlError};
use crate::store::values::merge;

/// The key whose table every subchart shares.
pub(crate) const GLOBAL: &str = "global";

/// Parses a values file as Helm does: YAML 1.1, the documents merged in their order, nothing at all counts as no values.
pub fn parse_values(text: &str) -> Result<Map<String, Value>, YamlError> {
    let mut merged = Map::new();
    let mut first_line = 0;
    for document in documents(text)? {
        let located = |error: YamlError| YamlError { line: error.line + first_line, ..error };
        match yaml::parse_document(document).map_err(located)? {
            Value::Object(values) if merged.is_empty() => merged = values,
            Value::Object(values) => merge(&mut merged, &values),
            Value::Null => {}
            _ => {
                let message = "the values must be a map".to_owned();
                return Err(YamlError { line: first_line + 1, column: 1, message });
            }
        }
        first_line += document.matches('\n').count();
    }
    Ok(merged)
}

/// Splits a values file in front of the lines that begin with `---`. Only a comment may follow there.
fn documents(text: &str) -> Result<Vec<&str>, YamlError> {
    let mut documents = Vec::new();
    let (mut begin, mut at) = (0, 0);
    for (line, text_of_line) in text.split_inclusive('\n').enumerate() {
        if let Some(behind) = text_of_line.strip_prefix("---") {
            if !behind.trim().is_empty() && !behind.trim_start().starts_with('#') {
                let message = "nothing but a comment may follow ---".to_owned();
                return Err(YamlError { line: line + 1, column: 4, message });
            }
            documents.push(&text[begin..at]);
            begin = at;
        }
        at += text_of_line.len();
    }
    documents.push(&text[begin..]);
    Ok(documents)
}

/// Coalesces values with the defaults of a chart and of its subcharts.
pub(crate) fn coalesce(
    chart: &ChartNode,
    values: Map<String, Value>,
) -> Result<Map<String, Value>, RenderError> {
    coalesce_chart(chart, values, "", false)
}

/// Like [`coalesce`], but keeps nulls for a later coalescing.
pub(crate) fn merge_defaults(
    chart: &ChartNode,
    values: Map<String, Value>,
) -> Result<Map<String, Value>, RenderError> {
    coalesce_chart(chart, values, "", true)
}

fn coalesce_chart(
    chart: &ChartNode,
    mut values: Map<String, Value>,
    path: &str,
    keeps_nulls: bool,
) -> Result<Map<String, Value>, RenderError> {
    coalesce_defaults(chart, &mut values, keeps_nulls);
    for subchart in &chart.dependencies {
        let name = subchart.name();
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let mut below = match values.get(name) {
            None => Map::new(),
            Some(Value::Object(below)) => below.clone(),
            Some(_) => return Err(RenderError::NotAMap { path }),
        };
        hand_globals_down(&mut below, &values);
        let below = coalesce_chart(subchart, below, &path, keeps_nulls)?;
        values.insert(name.to_owned(), Value::Object(below));
    }
    Ok(values)
}

/// Fills in a chart's own defaults.
fn coalesce_defaults(chart: &ChartNode, values: &mut Map<String, Value>, keeps_nulls: bool) {
    for (key, default) in &*chart.values {
        match values.get_mut(key) {
            Some(Value::Null) if !keeps_nulls => {
                values.shift_remove(key);
            }
            Some(Value::Object(table)) => {
                if let Value::Object(default) = default {
                    let is_subchart = chart.dependencies.iter().any(|subchart| subchart.name() == key);
                    let keeps_nulls = keeps_nulls || is_subchart;
                    let mut default = default.clone();
                    if !keeps_nulls {
                        remove_nulls(&mut default);
                    }
                    coalesce_tables(table, default, keeps_nulls);
                }
            }
            Some(_) => {}
            None => {
                let mut default = default.clone();
                if !keeps_nulls {
                    match &mut default {
                        Value::Null => continue,
                        Value::Object(table) => remove_nulls(table),
                        _ => {}
                    }
                }
                values.insert(key.clone(), default);
            }
        }
    }
}

/// Fills what a table lacks from another one. What the first has, wins.
pub(crate) fn coalesce_tables(
    destination: &mut Map<String, Value>,
    mut source: Map<String, Value>,
    keeps_nulls: bool,
) {
    let had_value: Vec<String> =
        source.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key.clone()).collect();
    for (key, value) in destination.iter() {
        if value.is_null() {
            source.insert(key.clone(), Value::Null);
        }
    }
    for (key, value) in source {
        match destination.get_mut(&key) {
            Some(Value::Null) if !keeps_nulls && had_value.contains(&key) => {
                destination.shift_remove(&key);
            }
            None => {
                destination.insert(key, value);
            }
            Some(Value::Object(below)) => {
                if let Value::Object(value) = value {
                    coalesce_tables(below, value, keeps_nulls);
                }
            }
            Some(_) => {}
        }
    }
}

/// Merges a chart's `global` into a subchart's: the parent wins. The table is there even if it is empty.
fn hand_globals_down(below: &mut Map<String, Value>, values: &Map<String, Value>) {
    let empty = Map::new();
    let globals = match values.get(GLOBAL) {
        None => &empty,
        Some(Value::Object(globals)) => globals,
        Some(_) => return,
    };
    let mut own = match below.get(GLOBAL) {
        None => Map::new(),
        Some(Value::Object(own)) => own.clone(),
        Some(_) => return,
    };
    for (key, value) in globals {
        let merged = match (value, own.get(key)) {
            (Value::Object(table), Some(Value::Object(own_table))) => {
                let mut table = table.clone();
                coalesce_tables(&mut table, own_table.clone(), true);
                Value::Object(table)
            }
            (Value::Object(_), Some(_)) | (_, Some(Value::Object(_))) => continue,
            _ => value.clone(),
        };
        own.insert(key.clone(), merged);
    }
    below.insert(GLOBAL.to_owned(), Value::Object(own));
}

fn remove_nulls(table: &mut Map<String, Value>) {
    table.retain(|_, value| !value.is_null());
    for value in table.values_mut() {
        if let Value::Object(below) = value {
            remove_nulls(below);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_values_file_is_a_map_in_yaml_1_1() {
        assert_eq!(Value::Object(parse_values("a: yes\nb: 0644\n").unwrap()), json!({"a": true, "b": 420}));
        assert!(parse_values("# nothing\n").unwrap().is_empty());
        assert_eq!(
            Value::Object(parse_values("---\na: {b: 1, c: 2}\n--- # more\na: {b: 3}\n---\n").unwrap()),
            json!({"a": {"b": 3, "c": 2}})
        );
        assert_eq!(parse_values("a: 1\n---\nb: 1\nc: [\n").unwrap_err().line, 4);
        assert_eq!(parse_values("a: 1\n---b: 1\n").unwrap_err().line, 2);
        assert_eq!(
            parse_values("- a\n").unwrap_err().to_string(),
            "parse YAML at line 1, column 1: the values must be a map"
        );
        let error = parse_values("a: 1\n  b: [\n").unwrap_err();
        assert!(error.line >= 2, "{error}");
    }
}
