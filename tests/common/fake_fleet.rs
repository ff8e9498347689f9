//! An API server that shows a converged fleet of any size: copies of one real store, in the very shape in which the
//! real API server shows it, managed fields included. It answers discovery, streamed lists, pages and watches, and takes
//! no write but marks on namespaces: it counts them all.
//!
//! A copy is made while it is sent, so a large fleet costs nothing here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use futures::stream::{self, Stream, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use kube::core::discovery::v2::ACCEPT_AGGREGATED_DISCOVERY_V2;
use serde_json::{Value, json};
use storekeeper::chart::Chart;
use storekeeper::cluster::{Changes, Cluster, ClusterSettings};
use storekeeper::names::StoreId;
use storekeeper::reconcile::{ChartCache, ChartPlaces};
use storekeeper::store::{FileContent, Limits, RepositoryTree, StoreEntry};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::World;

/// What discovery asks for.
const DISCOVERY: [&str; 3] = ["/version", "/api", "/apis"];

/// How many stores go into one piece of a streamed list.
const PIECE: usize = 20;

/// The largest body of a request, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// How often a watch shows that it is alive.
const BOOKMARKS: Duration = Duration::from_secs(30);

/// A store as the real API server shows it.
pub struct Template {
    store: StoreId,
    /// Objects by the path of their collection.
    objects: BTreeMap<String, Vec<Value>>,
    discovery: BTreeMap<String, String>,
}

impl Template {
    /// Reads a store that is READY on a real cluster.
    pub fn of(kubeconfig: &Path, source: &str, store: &StoreId) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = super::cluster::client(&runtime, kubeconfig, true);
        runtime.block_on(async {
            let cluster = connect(kubeconfig, source).await;
            let mut discovery = BTreeMap::new();
            for path in DISCOVERY {
                let request = Request::get(path).header(header::ACCEPT, ACCEPT_AGGREGATED_DISCOVERY_V2);
                let answer = client.request_text(request.body(Vec::new()).unwrap()).await.unwrap();
                discovery.insert(path.to_owned(), answer);
            }
            let namespace = store.namespace();
            let read = |path: String| {
                let client = client.clone();
                async move { client.request::<Value>(Request::get(path).body(Vec::new()).unwrap()).await.unwrap() }
            };
            let inventory_path = format!("/api/v1/namespaces/{namespace}/configmaps/storekeeper-inventory");
            let inventory = read(inventory_path).await;
            let text: Value = serde_json::from_str(inventory["data"]["inventory.json"].as_str().unwrap()).unwrap();
            let mut objects: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for line in text["objects"].as_array().unwrap() {
                let words: Vec<_> = line.as_str().unwrap().split(' ').collect();
                let resource = cluster.resolve(words[0], words[1]).unwrap();
                let root = if resource.group.is_empty() { "/api" } else { "/apis" };
                let (root, plural) = (format!("{root}/{}", words[0]), resource.plural);
                let object = read(format!("{root}/namespaces/{namespace}/{plural}/{}", words[2])).await;
                objects.entry(format!("{root}/{plural}")).or_default().push(object);
            }
            objects.entry("/api/v1/configmaps".to_owned()).or_default().push(inventory);
            let namespace = read(format!("/api/v1/namespaces/{namespace}")).await;
            objects.insert("/api/v1/namespaces".to_owned(), vec![namespace]);
            Self { store: store.clone(), objects, discovery }
        })
    }

    /// Returns how many objects a store has, its namespace and its inventory included.
    pub fn objects(&self) -> usize {
        self.objects.values().map(Vec::len).sum()
    }
}

async fn connect(kubeconfig: &Path, source: &str) -> Cluster {
    let settings = ClusterSettings {
        kubeconfig: Some(kubeconfig.to_owned()),
        requests_at_once: 8,
        ..ClusterSettings::new(source.parse().unwrap())
    };
    Cluster::connect(settings, Changes::default()).await.unwrap()
}

/// One store of the fleet: its id, and the fingerprint of what it was made from.
pub type Copy = (StoreId, String);

/// The server at work.
pub struct FakeFleet {
    pub kubeconfig: PathBuf,
    runtime: Runtime,
    state: Arc<State>,
}

struct State {
    template: Template,
    copies: Mutex<Arc<Vec<Copy>>>,
    streams: bool,
    requests: Mutex<BTreeMap<String, usize>>,
    writes: AtomicUsize,
    /// How many requests asked for whole Secrets.
    whole_secrets: AtomicUsize,
}

impl FakeFleet {
    /// Starts a server without stores; one that does not stream lists is like those before Kubernetes 1.34.
    pub fn start(template: Template, folder: &Path, streams: bool) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let kubeconfig = folder.join("fake-kubeconfig");
        let server = format!("http://{}", listener.local_addr().unwrap());
        let cluster = json!([{ "name": "fake", "cluster": { "server": server } }]);
        let context = json!([{ "name": "fake", "context": { "cluster": "fake", "user": "fake" } }]);
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake", "clusters": cluster, "contexts": context,
            "users": [{ "name": "fake", "user": {} }],
        });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let state = Arc::new(State {
            template,
            copies: Mutex::default(),
            streams,
            requests: Mutex::default(),
            writes: AtomicUsize::new(0),
            whole_secrets: AtomicUsize::new(0),
        });
        let answering = Arc::clone(&state);
        let router = Router::new().fallback(move |request: Request<Body>| {
            let state = Arc::clone(&answering);
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, LARGEST_BODY).await.unwrap();
                state.answer(&Request::from_parts(parts, body))
            }
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { kubeconfig, runtime, state }
    }

    /// Starts a server that shows a converged fleet of copies of one store, which the real API server has made READY, and
    /// pushes their files. The first one's name is `shop-00000`.
    pub fn converged(world: &World, chart: Chart, stores: usize, streams: bool) -> Self {
        let daemon = world.start_daemon();
        world.write_store("template", "template");
        world.repository.push("the store that is copied");
        world.until_state(&daemon, "template", "READY");
        drop(daemon);
        let store: StoreId = world.store("template").parse().unwrap();
        let template = Template::of(&world.cluster.kubeconfig, &world.source, &store);
        let fake = Self::start(template, world.folder.path(), streams);
        let served = fake.connect(&world.source).served_fingerprint();
        world.repository.remove(&world.file("template"));
        let tree = write_stores(world, stores);
        let limits = Limits::default();
        let charts = ChartCache::new(chart.into(), ChartPlaces::repository());
        let chart_file = |path: &str| charts.built_in().file(path);
        let snapshot = storekeeper::store::read(&tree, &chart_file, &BTreeMap::new(), &limits).unwrap();
        let copies = snapshot.stores.iter().map(|(id, entry)| {
            let StoreEntry::Accepted(store) = entry else { panic!("{entry:?}") };
            (id.clone(), storekeeper::reconcile::inputs(store, &charts, served).to_string())
        });
        fake.set(copies.collect());
        fake
    }

    /// Returns how many objects a store has, its namespace and its inventory included.
    pub fn objects(&self) -> usize {
        self.state.template.objects()
    }

    /// Connects as the daemon does.
    pub fn connect(&self, source: &str) -> Cluster {
        self.runtime.block_on(connect(&self.kubeconfig, source))
    }

    /// Sets the stores of the fleet. Watches that are open already do not see them.
    pub fn set(&self, copies: Vec<Copy>) {
        *self.state.copies.lock().unwrap() = Arc::new(copies);
    }

    /// Returns how many requests came that would have changed something.
    pub fn writes(&self) -> usize {
        self.state.writes.load(Ordering::Relaxed)
    }

    /// Returns how many requests asked for Secrets with their data.
    pub fn whole_secrets(&self) -> usize {
        self.state.whole_secrets.load(Ordering::Relaxed)
    }

    /// Returns how many requests came, by what they asked for.
    pub fn requests(&self) -> BTreeMap<String, usize> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl State {
    fn answer(&self, request: &Request<Bytes>) -> Response<Body> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let watch = query.contains("watch=true");
        let verb = if watch { "WATCH" } else { request.method().as_str() };
        *self.requests.lock().unwrap().entry(format!("{verb} {path}")).or_insert(0) += 1;
        if path.contains("/secrets") && !wants_metadata(request.headers()) {
            self.whole_secrets.fetch_add(1, Ordering::Relaxed);
        }
        if request.method() != Method::GET {
            self.writes.fetch_add(1, Ordering::Relaxed);
            if let Some(marked) = self.marked(request) {
                return with_type("application/json", Body::from(marked.to_string()));
            }
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "this fleet does not change");
        }
        if let Some(answer) = self.template.discovery.get(path) {
            let form = if path == "/version" { "application/json" } else { AGGREGATED };
            return with_type(form, Body::from(answer.clone()));
        }
        let Some(objects) = self.template.objects.get(path) else {
            // A kind of which there is nothing.
            return if watch { self.stream(&[], query) } else { self.page(&[], query) };
        };
        let texts = texts(objects, query, request.headers());
        if watch { self.stream(&texts, query) } else { self.page(&texts, query) }
    }

    /// The namespace as a PATCH of its labels and annotations makes it. No watch tells of that.
    fn marked(&self, request: &Request<Bytes>) -> Option<Value> {
        let collection = "/api/v1/namespaces";
        let name = request.uri().path().strip_prefix(collection)?.strip_prefix('/')?;
        let copies = Arc::clone(&self.copies.lock().unwrap());
        let number = copies.iter().position(|(store, _)| store.namespace() == name)?;
        let text = text_of(self.template.objects.get(collection)?.first()?, false);
        let text = filled(&text, &self.template.store, &copies[number], number * 100);
        let mut namespace: Value = serde_json::from_str(&text).unwrap();
        let wanted: Value = serde_json::from_slice(request.body()).ok()?;
        for field in ["labels", "annotations"] {
            for (key, value) in wanted["metadata"][field].as_object()? {
                namespace["metadata"][field][key] = value.clone();
            }
        }
        namespace["metadata"]["resourceVersion"] = "9000001".into();
        Some(namespace)
    }

    /// The first objects, if they are asked for, and then nothing for ever.
    fn stream(&self, texts: &[String], query: &str) -> Response<Body> {
        let initial = query.contains("sendInitialEvents=true");
        if initial && !self.streams {
            return refusal(
                StatusCode::UNPROCESSABLE_ENTITY,
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
            );
        }
        if !initial {
            return with_type("application/json", Body::from_stream(bookmarks()));
        }
        let copies = Arc::clone(&self.copies.lock().unwrap());
        let (texts, template) = (texts.to_vec(), self.template.store.clone());
        let pieces = stream::unfold(0, move |from| {
            let mut piece = String::new();
            for (number, copy) in copies.iter().enumerate().skip(from).take(PIECE) {
                for (place, text) in texts.iter().enumerate() {
                    let object = filled(text, &template, copy, number * 100 + place);
                    let _ = writeln!(piece, "{{\"type\":\"ADDED\",\"object\":{object}}}");
                }
            }
            let (done, last) = (from == usize::MAX, from <= copies.len() && from + PIECE > copies.len());
            if last {
                piece.push_str(&bookmark(&json!({ "k8s.io/initial-events-end": "true" })));
            }
            let next = if last { usize::MAX } else { from.saturating_add(PIECE) };
            let piece = (!done).then(|| (Ok::<_, std::io::Error>(Bytes::from(piece)), next));
            async move { piece }
        });
        with_type("application/json", Body::from_stream(pieces.chain(bookmarks())))
    }

    fn page(&self, texts: &[String], query: &str) -> Response<Body> {
        let number = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<usize>().ok())
        };
        let (from, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
        let copies = Arc::clone(&self.copies.lock().unwrap());
        let all = copies.len() * texts.len();
        let until = from.saturating_add(limit).min(all);
        let items: Vec<_> = (from..until)
            .map(|index| {
                let (number, place) = (index / texts.len(), index % texts.len());
                filled(&texts[place], &self.template.store, &copies[number], number * 100 + place)
            })
            .collect();
        let more = if until < all { format!(",\"continue\":\"{until}\"") } else { String::new() };
        let metadata = format!("{{\"resourceVersion\":\"9000000\"{more}}}");
        let items = items.join(",");
        let body = format!(
            "{{\"kind\":\"List\",\"apiVersion\":\"v1\",\"metadata\":{metadata},\"items\":[{items}]}}"
        );
        with_type("application/json", Body::from(body))
    }
}

fn write_stores(world: &World, stores: usize) -> RepositoryTree {
    let mut files = BTreeMap::new();
    let fleet = std::fs::read(world.repository.checkout.join("storekeeper.yaml")).unwrap();
    files.insert("storekeeper.yaml".to_owned(), FileContent::Bytes(fleet));
    for number in 0..stores {
        let name = format!("shop-{number:05}");
        world.write_store(&name, &name);
        let path = world.file(&name);
        let text = std::fs::read(world.repository.checkout.join(&path)).unwrap();
        files.insert(path, FileContent::Bytes(text));
    }
    let revision = world.repository.push("the whole fleet").parse().unwrap();
    RepositoryTree { revision, files }
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A watch on which nothing happens.
fn bookmarks() -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream::unfold((), |()| async {
        tokio::time::sleep(BOOKMARKS).await;
        Some((Ok(Bytes::from(bookmark(&json!({})))), ()))
    })
}

fn bookmark(annotations: &Value) -> String {
    let metadata = json!({ "resourceVersion": "9000000", "annotations": annotations });
    let object = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata });
    format!("{}\n", json!({ "type": "BOOKMARK", "object": object }))
}

fn with_type(form: &str, body: Body) -> Response<Body> {
    Response::builder().header(header::CONTENT_TYPE, form).body(body).unwrap()
}

fn refusal(code: StatusCode, message: &str) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "Invalid", "code": code.as_u16(),
    });
    let body = Body::from(status.to_string());
    Response::builder().status(code).header(header::CONTENT_TYPE, "application/json").body(body).unwrap()
}

/// Writes an object with marks in place of what differs from copy to copy.
fn text_of(object: &Value, metadata: bool) -> String {
    let mut object = object.clone();
    object["metadata"]["uid"] = "@uid@".into();
    object["metadata"]["resourceVersion"] = "@version@".into();
    if let Some(text) = object["data"]["inventory.json"].as_str() {
        // Wherever they stand: what was applied, and what was READY.
        let inventory: Value = serde_json::from_str(text).unwrap();
        let text = text.replace(inventory["inputs"].as_str().unwrap(), "@inputs@");
        object["data"]["inventory.json"] = text.into();
    }
    if metadata {
        object = json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        });
    }
    object.to_string()
}

fn filled(text: &str, template: &StoreId, (store, inputs): &Copy, number: usize) -> String {
    text.replace(template.as_str(), store.as_str())
        .replace("@inputs@", inputs)
        .replace("@uid@", &format!("00000000-0000-4000-8000-{number:012x}"))
        .replace("@version@", &(1000 + number).to_string())
}

fn wants_metadata(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("PartialObjectMetadata")
}

/// Returns the objects asked for as texts with marks where copies differ.
fn texts(objects: &[Value], query: &str, headers: &HeaderMap) -> Vec<String> {
    let metadata = wants_metadata(headers);
    let inventories = query.contains("fieldSelector=metadata.name");
    let is_inventory = |object: &&Value| object["metadata"]["name"] == "storekeeper-inventory";
    let wanted = objects.iter().filter(|object| !inventories || is_inventory(object));
    wanted.map(|object| text_of(object, metadata)).collect()
}
