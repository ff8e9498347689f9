//! Promise: each chart's values, their schema and the table in its README name the same keys, types and defaults.
//!
//! With `UPDATE_VALUES_TABLE=1` the tables are written anew from values.yaml.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/chart.rs"]
mod chart;

use std::collections::BTreeSet;
use std::fs;

use chart::{PLATFORM, STORE, folder_of, text_of};
use serde_json::Value;
use storekeeper::chart::parse_values;

const CHARTS: [&str; 2] = [STORE, PLATFORM];

const HEAD: &str = "| Key | Type | Default | Description |\n|---|---|---|---|\n";

#[test]
fn the_table_in_the_readme_is_that_of_values_yaml() {
    for chart in CHARTS {
        let readme = text_of(chart, "README.md");
        let start = readme.find(HEAD).expect("the README has the table") + HEAD.len();
        let table = table(chart);
        if std::env::var_os("UPDATE_VALUES_TABLE").is_some() {
            fs::write(folder_of(chart).join("README.md"), format!("{}{table}", &readme[..start])).unwrap();
            continue;
        }
        for (ours, expected) in readme[start..].lines().zip(table.lines()) {
            assert_eq!(ours, expected, "{chart}: write the table anew with UPDATE_VALUES_TABLE=1");
        }
        let (ours, expected) = (readme[start..].lines().count(), table.lines().count());
        assert_eq!(ours, expected, "{chart}: rows are missing, or too many");
    }
}

#[test]
fn every_value_has_a_schema_and_every_schema_a_value() {
    for chart in CHARTS {
        let values = Value::Object(parse_values(&text_of(chart, "values.yaml")).unwrap());
        let schema: Value = serde_json::from_str(&text_of(chart, "values.schema.json")).unwrap();
        let mut problems = Vec::new();
        compare(&schema, &schema, &values, "", &mut problems);
        assert!(problems.is_empty(), "{chart}:\n{}", problems.join("\n"));
    }
}

#[test]
fn no_schema_lets_an_unknown_key_pass() {
    for chart in CHARTS {
        let schema: Value = serde_json::from_str(&text_of(chart, "values.schema.json")).unwrap();
        let mut problems = Vec::new();
        closed(&schema, "", &mut problems);
        assert!(problems.is_empty(), "{chart}:\n{}", problems.join("\n"));
    }
}

#[test]
fn value_files_name_only_keys_that_exist() {
    // What the schema refuses is no value; this finds a file that the renderer is never given.
    for chart in CHARTS {
        let sets = chart::value_sets_of(chart);
        for entry in fs::read_dir(folder_of(chart)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_known = sets.iter().any(|(_, files)| files.contains(&name));
            assert!(
                !name.starts_with("values-") || is_known,
                "{chart}: {name} is in no set of tests/common/chart.rs"
            );
        }
    }
}

/// A map whose keys are the user's own.
fn is_free(schema: &Value) -> bool {
    schema["additionalProperties"].is_object()
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => root.pointer(path.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn compare(root: &Value, schema: &Value, values: &Value, path: &str, problems: &mut Vec<String>) {
    let schema = resolved(root, schema);
    if path.is_empty() || schema.get("properties").is_some() {
        let keys =
            |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
        let (known, given) = (keys(&schema["properties"]), keys(values));
        problems.extend(
            known.difference(&given).map(|key| format!("{path}{key} is in the schema, not in values.yaml")),
        );
        problems.extend(
            given.difference(&known).map(|key| format!("{path}{key} is in values.yaml, not in the schema")),
        );
        for key in known.intersection(&given) {
            compare(root, &schema["properties"][key], &values[key], &format!("{path}{key}."), problems);
        }
    } else if values.is_object() && !is_free(schema) {
        problems.push(format!("{path} is a map without a schema"));
    } else if schema.get("description").is_none() || schema.get("type").is_none() {
        problems.push(format!("{path} has no description or type in the schema"));
    }
}

fn closed(schema: &Value, path: &str, problems: &mut Vec<String>) {
    if schema.get("properties").is_some() && schema["additionalProperties"] != false {
        problems.push(format!("{path} takes keys that it does not know"));
    }
    for (key, below) in schema.as_object().into_iter().flatten() {
        if key != "properties" || path.ends_with("/properties") {
            closed(below, &format!("{path}/{key}"), problems);
            continue;
        }
        for (name, below) in below.as_object().unwrap() {
            closed(below, &format!("{path}/{name}"), problems);
        }
    }
}

/// Makes the table from the comments `# -- ...` in values.yaml.
fn table(chart: &str) -> String {
    let content = text_of(chart, "values.yaml");
    let values = Value::Object(parse_values(&content).unwrap());
    let (mut rows, mut path): (String, Vec<&str>) = (String::new(), Vec::new());
    let mut description: Option<String> = None;
    for line in content.lines() {
        let indent = (line.len() - line.trim_start().len()) / 2;
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            let comment = comment.trim();
            if let Some(begin) = comment.strip_prefix("-- ") {
                description = Some(begin.to_owned());
            } else if let Some(description) = &mut description {
                *description = format!("{description} {comment}");
            }
            continue;
        }
        let Some((key, _)) = line.split_once(':').filter(|(key, _)| !key.starts_with('-')) else { continue };
        path.truncate(indent);
        path.push(key);
        let value = values.pointer(&format!("/{}", path.join("/")));
        let (Some(described), Some(value)) = (description.take(), value) else {
            let inside = documented_above(&rows, &path);
            let is_section = value.is_some_and(|value| value.is_object() && value != &serde_json::json!({}));
            assert!(inside || is_section, "{} has no comment that begins with `# --`", path.join("."));
            continue;
        };
        rows.push_str(&row(&path.join("."), value, &described));
    }
    rows
}

/// Keys below a map that is described as a whole need no row.
fn documented_above(rows: &str, path: &[&str]) -> bool {
    (1..path.len()).any(|length| rows.contains(&format!("| `{}` |", path[..length].join("."))))
}

fn row(path: &str, value: &Value, description: &str) -> String {
    let (kind, default) = match value {
        Value::Object(map) if map.is_empty() => ("object", "`{}`".to_owned()),
        Value::Object(_) => ("object", "see `values.yaml`".to_owned()),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(ToString::to_string).collect();
            ("array", format!("`[{}]`", items.join(", ")))
        }
        Value::Bool(_) => ("boolean", format!("`{value}`")),
        Value::Number(_) => ("integer", format!("`{value}`")),
        _ => ("string", format!("`{value}`")),
    };
    format!("| `{path}` | {kind} | {default} | {description} |\n")
}
