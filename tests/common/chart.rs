//! Renders the project's charts with the sets of values that they come with.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use storekeeper::chart::{Capabilities, Chart, Release, RenderLimits, RenderRequest, parse_values};
use storekeeper::store::values::merge;

/// The chart of a store.
pub const STORE: &str = "medusa-store";

/// The chart that installs storekeeper itself.
pub const PLATFORM: &str = "platform";

/// Returns a chart's folder.
pub fn folder_of(chart: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts").join(chart)
}

/// Returns the store chart's folder.
pub fn folder() -> PathBuf {
    folder_of(STORE)
}

/// Returns a file of a chart.
pub fn text_of(chart: &str, path: &str) -> String {
    fs::read_to_string(folder_of(chart).join(path)).unwrap()
}

/// Returns a file of the store chart.
pub fn text(path: &str) -> String {
    text_of(STORE, path)
}

/// Returns every set of values that a chart comes with: a name, and the files that make it.
pub fn value_sets_of(chart: &str) -> Vec<(String, Vec<String>)> {
    let named: &[(&str, &[&str])] = match chart {
        STORE => &[
            ("local", &["values-local.yaml"]),
            ("prod", &["values-prod.yaml"]),
            ("prod on volumes", &["values-prod.yaml", "values-prod-volumes.yaml"]),
        ],
        _ => &[("local", &["values-local.yaml"]), ("prod", &["values-prod.yaml"])],
    };
    let mut sets = vec![("defaults".to_owned(), vec![])];
    sets.extend(named.iter().map(|(name, files)| {
        ((*name).to_owned(), files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>())
    }));
    for entry in fs::read_dir(folder_of(chart).join("ci")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        sets.push((name.trim_end_matches("-values.yaml").to_owned(), vec![format!("ci/{name}")]));
    }
    assert!(sets.len() > 6, "{sets:?}");
    sets
}

/// Returns every set of values that the store chart comes with.
pub fn value_sets() -> Vec<(String, Vec<String>)> {
    value_sets_of(STORE)
}

/// Returns the values of a set over the store chart's defaults.
pub fn values(files: &[String]) -> Value {
    let mut values = parse_values(&text("values.yaml")).unwrap();
    merge(&mut values, &layers(STORE, files));
    Value::Object(values)
}

fn layers(chart: &str, files: &[String]) -> Map<String, Value> {
    let mut merged = Map::new();
    for file in files {
        merge(&mut merged, &parse_values(&text_of(chart, file)).unwrap());
    }
    merged
}

/// Loads the store chart as the binary holds it.
pub fn load() -> Result<Chart, String> {
    load_of(STORE)
}

fn load_of(chart: &str) -> Result<Chart, String> {
    let mut contents = BTreeMap::new();
    read(&folder_of(chart), "", &mut contents);
    Chart::load(contents).map_err(|error| error.to_string())
}

/// Renders the store `acme` with these files, further values over them, into this namespace.
pub fn render(files: &[String], over: &Value, namespace: &str) -> Result<Vec<Value>, String> {
    let mut values = layers(STORE, files);
    merge(&mut values, over.as_object().unwrap());
    merge(&mut values, json!({"store": {"id": "acme"}}).as_object().unwrap());
    render_release(STORE, "store", &values, namespace)
}

/// Renders storekeeper's own chart with these files, further values over them, as this release of this namespace.
pub fn render_platform(
    files: &[String],
    over: &Value,
    (release, namespace): (&str, &str),
) -> Result<Vec<Value>, String> {
    let mut values = layers(PLATFORM, files);
    merge(&mut values, over.as_object().unwrap());
    render_release(PLATFORM, release, &values, namespace)
}

fn render_release(
    chart: &str,
    release: &str,
    values: &Map<String, Value>,
    namespace: &str,
) -> Result<Vec<Value>, String> {
    let chart = load_of(chart)?;
    let release =
        Release { name: release.to_owned(), namespace: namespace.to_owned(), is_upgrade: false, revision: 1 };
    let rendering = chart.render(&RenderRequest {
        release,
        values,
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
