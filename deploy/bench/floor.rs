//! The floor: the same objects, rendered beforehand, applied by plain writers that know nothing of git, plans or
//! crashes. Whoever manages stores by server-side apply can't be faster than this.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::Parser;
use http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use storekeeper::chart::Chart;
use storekeeper::manifest::{self, AllowedKinds, Manifest, Owner, Resource};
use storekeeper::names::{Host, SourceId};
use storekeeper::plan::NamespaceSpec;
use storekeeper::reconcile::render_now;

use super::{client, fleet, process, render};

/// How many requests are under way at once.
pub const WRITERS: usize = 32;

/// One request: its path and body.
type Apply = (String, Vec<u8>);

/// The requests of one store after the other.
type Stores = VecDeque<Vec<Apply>>;

/// A floor is a process of its own, so that its cost can be told apart.
#[derive(Parser)]
pub struct Arguments {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    chart: PathBuf,
    /// The source that the objects' labels name, and the beginning of every store's name.
    #[arg(long)]
    source: String,
    #[arg(long)]
    stores: usize,
}

/// The namespaces' prefix: not a store's, so that no daemon looks into them.
pub fn prefix(source: &str) -> String {
    format!("plain-{source}-")
}

/// Starts this program as a floor and returns the figures that it prints.
pub fn run(kubeconfig: &Path, chart: &Path, source: &str, stores: usize) -> Value {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.arg("floor").arg("--kubeconfig").arg(kubeconfig).arg("--chart").arg(chart);
    let output = command.args(["--source", source, "--stores", &stores.to_string()]).output().unwrap();
    assert!(output.status.success(), "the floor failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Writes everything and prints what it took.
pub fn main(arguments: &Arguments) {
    let stores = requests(arguments);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(client::connect(&arguments.kubeconfig, "floor"));
    let before = process::cpu_seconds(std::process::id());
    let begun = Instant::now();
    let stores = Arc::new(Mutex::new(stores));
    runtime.block_on(async {
        let writers = (0..WRITERS).map(|_| tokio::spawn(write(client.clone(), Arc::clone(&stores))));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = process::cpu_seconds(std::process::id()) - before;
    println!("{}", json!({ "seconds": seconds, "cpu_seconds": cpu }));
}

/// One writer: a store after the other, its objects one after the other.
async fn write(client: Client, stores: Arc<Mutex<Stores>>) {
    loop {
        let store = stores.lock().unwrap().pop_front();
        let Some(requests) = store else { return };
        for (path, body) in requests {
            let request = Request::patch(&path)
                .header("Content-Type", "application/apply-patch+yaml")
                .header("Accept", "application/json")
                .body(Body::from(body))
                .unwrap();
            let answer = client.send(request).await.unwrap();
            let status = answer.status();
            let body = answer.into_body().collect_bytes().await.unwrap();
            assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
        }
    }
}

/// Renders every store as the daemon would, and moves it into a namespace that is no store's.
fn requests(arguments: &Arguments) -> Stores {
    let chart = render::load(&arguments.chart);
    let source: SourceId = arguments.source.parse().unwrap();
    let stores: BTreeMap<_, _> = (0..arguments.stores)
        .map(|number| {
            let name = format!("{source}-{number:05}");
            (name.clone(), fleet::store_file(&name, "1"))
        })
        .collect();
    let fleet = "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: shops.example.com\n";
    let stores = render::stores(&chart, fleet, &stores);
    stores.iter().map(|store| of_store(&chart, store, &source)).collect()
}

fn of_store(chart: &Chart, store: &storekeeper::store::Store, source: &SourceId) -> Vec<Apply> {
    let owner = Owner { store: &store.id, source };
    let rendered = render_now(chart, store, &render::surroundings()).unwrap().objects;
    let resolve = |version: &str, kind: &str| Some(resource(version, kind));
    let manifests =
        manifest::prepare(rendered, owner, &store.host, &AllowedKinds::default(), &resolve).unwrap();
    let mut requests = vec![namespace(owner, &store.host)];
    requests.extend(manifests.iter().map(object));
    let (from, to) = (format!("store-{}", store.id), format!("plain-{}", store.id));
    let moved = requests.into_iter().map(|(path, body)| {
        let body = body.to_string().replace(&from, &to).into_bytes();
        (format!("{}?fieldManager=floor&force=true", path.replace(&from, &to)), body)
    });
    moved.collect()
}

fn namespace(owner: Owner<'_>, host: &Host) -> (String, Value) {
    let NamespaceSpec { name, labels, annotations, .. } = NamespaceSpec::new(owner, host, false);
    let metadata = json!({ "name": name, "labels": labels, "annotations": annotations });
    let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
    (format!("/api/v1/namespaces/{name}"), body)
}

fn object(manifest: &Manifest) -> (String, Value) {
    let Resource { group, version, plural, .. } = &manifest.resource;
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let namespace = manifest.body["metadata"]["namespace"].as_str().unwrap();
    (format!("{root}/namespaces/{namespace}/{plural}/{}", manifest.key.name), Value::clone(&manifest.body))
}

/// Says how the API server serves the kinds of the bench's chart.
fn resource(api_version: &str, kind: &str) -> Resource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
        namespaced: true,
    }
}
