//! Our side.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use storekeeper::chart::{
    Capabilities, Chart, Release, RenderLimits, RenderRequest, RenderedObject, parse_values,
};
use storekeeper::store::values::merge;

use super::case::{Case, Document, NAMESPACE, Output, RELEASE, read_folder};

/// Loads a folder or a packed chart.
pub fn load(chart: &Path) -> Result<Chart, String> {
    let loaded = if chart.is_dir() {
        Chart::load(read_folder(chart))
    } else {
        Chart::load_archive(&fs::read(chart).map_err(|error| error.to_string())?)
    };
    loaded.map_err(|error| error.to_string())
}

/// Renders a case of a loaded chart.
pub fn render(chart: &Chart, case: &Case) -> Result<Output, String> {
    let values = values(case)?;
    let capabilities =
        Capabilities::without_cluster(case.kube_version.as_deref(), case.api_versions.iter().cloned())
            .map_err(|error| error.to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let request = RenderRequest {
        release: Release {
            name: RELEASE.to_owned(),
            namespace: NAMESPACE.to_owned(),
            is_upgrade: false,
            revision: 1,
        },
        values: &values,
        capabilities: &capabilities,
        lookup: &|_| json!({}),
        entropy: &|bytes| getrandom::fill(bytes).expect("the system has random bytes"),
        now: i64::try_from(now).unwrap(),
        limits: RenderLimits::default(),
    };
    let rendering = chart.render(&request).map_err(|error| error.to_string())?;
    let crds = rendering.crds.into_iter();
    let crds = crds.map(|crd| Document { template: crd.file, value: Value::clone(&crd.value), hook: None });
    let documents = crds.chain(rendering.objects.into_iter().map(document)).collect();
    Ok(Output { documents, notes: Some(rendering.notes.unwrap_or_default()) })
}

fn document(object: RenderedObject) -> Document {
    let hook = object.hook.map(|hook| {
        let events: Vec<&str> = hook.events.iter().map(|event| event.as_str()).collect();
        let policies: Vec<&str> = hook.delete_policies.iter().map(|policy| policy.as_str()).collect();
        json!({"events": events, "weight": hook.weight, "delete policies": policies})
    });
    Document { template: object.template, value: object.value, hook }
}

fn values(case: &Case) -> Result<Map<String, Value>, String> {
    let mut values = Map::new();
    for file in &case.values {
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        merge(&mut values, &parse_values(&text).map_err(|error| error.to_string())?);
    }
    if let Some((path, value)) = &case.set {
        let nested = path.rsplit('.').fold(json!(value), |below, part| json!({ part: below }));
        merge(&mut values, nested.as_object().expect("a map"));
    }
    Ok(values)
}
