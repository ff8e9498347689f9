//! Rendering in this process, against `helm template` on the same chart and values.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use storekeeper::chart::Chart;
use storekeeper::reconcile::{Surroundings, render_now};
use storekeeper::store::{FileContent, RepositoryTree, Revision, Store};

use super::figures::rounded;
use super::statistics::median;

/// How many stores are rendered, and how often helm is run.
const RENDERINGS: usize = 300;
const HELM_RUNS: usize = 15;

/// Renders stores of the example with the chart of real stores.
pub fn measure(helm: &Path, folder: &Path, chart: &Path, example: &Path) -> Value {
    let loaded = load(chart);
    let fleet = fs::read_to_string(example.join("storekeeper.yaml")).unwrap();
    let files = fs::read_dir(example.join("stores")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let files = files.map(|path| (name(&path), fs::read_to_string(&path).unwrap()));
    // One of them has a chart of its own.
    let files = files.filter(|(_, text)| !text.contains("chart: webpage")).collect();
    let stores = stores(&loaded, &fleet, &files);
    let surroundings = surroundings();
    let once = |store: &Store| {
        let begun = Instant::now();
        let objects = render_now(&loaded, store, &surroundings).unwrap().objects;
        assert!(!objects.is_empty(), "{} renders nothing", store.id);
        begun.elapsed().as_secs_f64() * 1000.0
    };
    for store in &stores {
        once(store);
    }
    let ours: Vec<_> = (0..RENDERINGS).map(|turn| once(&stores[turn % stores.len()])).collect();
    let mean = ours.iter().sum::<f64>() / ours.len() as f64;
    let helms: Vec<_> =
        (0..HELM_RUNS).map(|turn| helm_once(helm, folder, chart, &stores[turn % stores.len()])).collect();
    let helm_ms = median(&helms);
    json!({
        "ms_per_store": rounded(mean), "median_ms_per_store": rounded(median(&ours)),
        "helm_ms_per_store": rounded(helm_ms), "ratio_to_helm": rounded(helm_ms / mean), "renderings": RENDERINGS,
    })
}

fn helm_once(helm: &Path, folder: &Path, chart: &Path, store: &Store) -> f64 {
    let values = folder.join(format!("{}-values.json", store.id));
    fs::write(&values, serde_json::to_vec(&store.merged()).unwrap()).unwrap();
    let mut command = Command::new(helm);
    command.args(["template", store.id.as_str()]).arg(chart).arg("--values").arg(&values);
    command.args(["--namespace", &store.id.namespace()]);
    let begun = Instant::now();
    let output = command.output().unwrap();
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    assert!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    took
}

/// Loads a chart from its folder.
pub fn load(folder: &Path) -> Chart {
    let mut files = BTreeMap::new();
    collect(folder, "", &mut files);
    Chart::load(files).unwrap()
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, fs::read(entry.path()).unwrap());
        }
    }
}

/// Reads store files, by name, with a fleet file.
pub fn stores(chart: &Chart, fleet: &str, stores: &BTreeMap<String, String>) -> Vec<Arc<Store>> {
    let bytes = |text: &str| FileContent::Bytes(text.as_bytes().to_vec());
    let mut files = BTreeMap::from([("storekeeper.yaml".to_owned(), bytes(fleet))]);
    files.extend(stores.iter().map(|(name, text)| (format!("stores/{name}.yaml"), bytes(text))));
    let tree = RepositoryTree { revision: Revision::working_tree(), files };
    let snapshot = storekeeper::daemon::snapshot(&tree, chart, &BTreeMap::new()).unwrap();
    let accepted = |entry: &storekeeper::store::StoreEntry| match entry.accepted() {
        Some(store) => Arc::clone(store),
        None => panic!("a store file is wrong: {:?}", entry.problems()),
    };
    snapshot.stores.values().map(accepted).collect()
}

/// Time and chance that are always the same.
pub fn surroundings() -> Surroundings {
    Surroundings { clock: Arc::new(|| 1_700_000_000), entropy: Arc::new(|bytes| bytes.fill(7)) }
}
