//! Renders the store chart with the sets of values that it comes with.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use storekeeper::chart::{Capabilities, Chart, Release, RenderLimits, RenderRequest, parse_values};
use storekeeper::store::values::merge;

/// Returns the chart's folder.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/medusa-store")
}

/// Returns a file of the chart.
pub fn text(path: &str) -> String {
    fs::read_to_string(folder().join(path)).unwrap()
}

/// Returns every set of values that the chart comes with: a name, and the files that make it.
pub fn value_sets() -> Vec<(String, Vec<String>)> {
    let mut sets = vec![
        ("defaults".to_owned(), vec![]),
        ("local".to_owned(), vec!["values-local.yaml".to_owned()]),
        ("prod".to_owned(), vec!["values-prod.yaml".to_owned()]),
        (
            "prod on volumes".to_owned(),
            vec!["values-prod.yaml".to_owned(), "values-prod-volumes.yaml".to_owned()],
        ),
    ];
    for entry in fs::read_dir(folder().join("ci")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        sets.push((name.trim_end_matches("-values.yaml").to_owned(), vec![format!("ci/{name}")]));
    }
    assert!(sets.len() > 10, "{sets:?}");
    sets
}

/// Returns the values of a set over the chart's defaults.
pub fn values(files: &[String]) -> Value {
    let mut values = parse_values(&text("values.yaml")).unwrap();
    merge(&mut values, &layers(files));
    Value::Object(values)
}

fn layers(files: &[String]) -> Map<String, Value> {
    let mut merged = Map::new();
    for file in files {
        merge(&mut merged, &parse_values(&text(file)).unwrap());
    }
    merged
}

/// Loads the chart as the binary holds it.
pub fn load() -> Result<Chart, String> {
    let mut contents = BTreeMap::new();
    read(&folder(), "", &mut contents);
    Chart::load(contents).map_err(|error| error.to_string())
}

/// Renders the store `acme` with these files, further values over them, into this namespace.
pub fn render(files: &[String], over: &Value, namespace: &str) -> Result<Vec<Value>, String> {
    let chart = load()?;
    let mut values = layers(files);
    merge(&mut values, over.as_object().unwrap());
    merge(&mut values, json!({"store": {"id": "acme"}}).as_object().unwrap());
    let release =
        Release { name: "store".to_owned(), namespace: namespace.to_owned(), is_upgrade: false, revision: 1 };
    let rendering = chart.render(&RenderRequest {
        release,
        values: &values,
        capabilities: &Capabilities::default(),
        lookup: &|_| json!({}),
        entropy: &|bytes| bytes.fill(7),
        now: 1_700_000_000,
        limits: RenderLimits::default(),
    });
    let rendering = rendering.map_err(|error| error.to_string())?;
    Ok(rendering.objects.into_iter().map(|rendered| rendered.value).collect())
}

fn read(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, fs::read(entry.path()).unwrap());
        }
    }
}

/// Returns the template of a workload's pods.
pub fn pod_template(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Deployment" | "StatefulSet" | "Job" => object.pointer("/spec/template"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Returns the manifest in the README of the pod that reads dumps.
pub fn reading_pod() -> Value {
    let readme = text("README.md");
    let block = readme.split("```yaml\n").find(|block| block.starts_with("apiVersion: v1\nkind: Pod\n"));
    let block = block.and_then(|block| block.split("```").next()).unwrap();
    Value::Object(parse_values(block).unwrap())
}
