//! Rendering in this process, against `helm template` on the same chart and values.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use storekeeper::chart::{Capabilities, Chart, Release, RenderLimits, RenderRequest};
use storekeeper::reconcile::{Surroundings, render_now};
use storekeeper::store::{FileContent, RepositoryTree, Revision, Store};

use super::figures::rounded;
use super::statistics::median;

/// How many stores are rendered, and how often helm is run.
const RENDERINGS: usize = 300;
const HELM_RUNS: usize = 15;

/// The same for each of many charts.
const CHART_RENDERINGS: usize = 20;
const CHART_HELM_RUNS: usize = 3;

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

/// Renders each chart of a folder with its defaults, loaded once, against whole runs of `helm template`. What either
/// refuses is left out, and counted.
pub fn measure_charts(helm: &Path, folder: &Path) -> Value {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.join("Chart.yaml").is_file());
    paths.sort();
    let (mut all, mut refused) = (Vec::new(), 0);
    for path in &paths {
        match measure_chart(helm, path) {
            Some(figures) => all.push(figures),
            None => refused += 1,
        }
    }
    let number = |figures: &Value, field: &str| figures[field].as_f64().unwrap();
    let by =
        |field: &'static str| move |a: &&Value, b: &&Value| number(a, field).total_cmp(&number(b, field));
    let (slowest, least) = (all.iter().max_by(by("ms")), all.iter().min_by(by("ratio_to_helm")));
    let stack = all.iter().find(|figures| figures["chart"] == "kube-prometheus-stack");
    json!({
        "charts": all.len(), "refused": refused,
        "kube_prometheus_stack_ms": stack.map(|figures| figures["ms"].clone()),
        "slowest": slowest.map(|figures| figures["chart"].clone()),
        "slowest_ms": slowest.map(|figures| figures["ms"].clone()),
        "least_ratio": least.map(|figures| figures["chart"].clone()),
        "least_ratio_to_helm": least.map(|figures| figures["ratio_to_helm"].clone()),
        "all": all,
    })
}

fn measure_chart(helm: &Path, path: &Path) -> Option<Value> {
    let chart = Chart::load(files(path)).ok()?;
    let (values, surroundings) = (serde_json::Map::new(), surroundings());
    let release =
        Release { name: "rel".to_owned(), namespace: "space".to_owned(), is_upgrade: false, revision: 1 };
    let capabilities = Capabilities::default();
    let once = || {
        let begun = Instant::now();
        let rendering = chart.render(&RenderRequest {
            release: release.clone(),
            values: &values,
            capabilities: &capabilities,
            lookup: &|_| json!({}),
            entropy: &*surroundings.entropy,
            now: (surroundings.clock)(),
            limits: RenderLimits::default(),
        });
        Some((begun.elapsed().as_secs_f64() * 1000.0, rendering.ok()?.objects.len()))
    };
    let (_, objects) = once()?;
    let ours: Vec<_> = (0..CHART_RENDERINGS).filter_map(|_| Some(once()?.0)).collect();
    let helms: Vec<_> = (0..CHART_HELM_RUNS).filter_map(|_| template(helm, path)).collect();
    if helms.is_empty() {
        return None;
    }
    let (ms, helm_ms) = (median(&ours), median(&helms));
    Some(json!({
        "chart": chart.name(), "version": chart.version(), "objects": objects, "ms": rounded(ms),
        "helm_ms": rounded(helm_ms), "ratio_to_helm": rounded(helm_ms / ms),
    }))
}

/// Times one run of `helm template`; nothing if it refuses.
fn template(helm: &Path, chart: &Path) -> Option<f64> {
    let mut command = Command::new(helm);
    command.args(["template", "rel"]).arg(chart).args(["--namespace", "space"]);
    let begun = Instant::now();
    let output = command.output().unwrap();
    output.status.success().then(|| begun.elapsed().as_secs_f64() * 1000.0)
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
    Chart::load(files(folder)).unwrap()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    collect(folder, "", &mut files);
    files
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
    let snapshot =
        storekeeper::daemon::snapshot(&tree, chart, &BTreeMap::new(), &storekeeper::store::Scope::All)
            .unwrap();
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
