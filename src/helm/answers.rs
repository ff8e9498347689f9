//! The API server that Helm meets: it tells what the cluster can do and hands look-ups on.
//!
//! Tried on Helm 4.3.1 with `--dry-run=server`: it asks for `/version`, `/api`, `/apis` and the kinds of every API
//! version; at each look-up for the kinds of its API version, then for the object. A look-up takes its object's path from
//! what the kind is listed as, so every kind is listed under its own name, and as one of a namespace: a path says then
//! exactly what the template asked. Of the real plural, or of who has no namespace, nothing is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::error::HelmError;
use crate::chart::{Capabilities, LookupQuery};

/// What Helm accepts as the answer to a look-up, and to nothing else that it asks.
const OBJECT: &str = "application/json";

/// A look-up of a template, which waits for its answer.
pub(super) struct Question {
    pub query: LookupQuery,
    pub answer: oneshot::Sender<Value>,
}

/// A server for one run; it ends when it is dropped.
pub(super) struct ApiServer {
    address: SocketAddr,
    capability: String,
    task: JoinHandle<()>,
    /// The look-ups that wait.
    pub asked: mpsc::Receiver<Question>,
}

impl ApiServer {
    /// Starts to answer on a port of the loopback interface.
    pub async fn start(capabilities: &Capabilities, namespace: &str) -> Result<Self, HelmError> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| HelmError::Server(error.into()))?;
        let capability = format!("/{:032x}", u128::from_ne_bytes(secret));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(HelmError::Server)?;
        let address = listener.local_addr().map_err(HelmError::Server)?;
        let (questions, asked) = mpsc::channel(1);
        let desk = Desk {
            capability: capability.clone(),
            version: version(&capabilities.kube_version),
            kinds: kinds(&capabilities.api_versions),
            namespace: namespace.to_owned(),
            known: Mutex::default(),
            questions,
        };
        let router = Router::new().fallback(answer).with_state(Arc::new(desk));
        let task = tokio::spawn(async move {
            // It ends with its task alone.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, capability, task, asked })
    }

    /// Returns the server's URL. Its path is a secret: other users of this machine reach the port too.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.capability)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What answers are made of.
struct Desk {
    capability: String,
    version: Value,
    /// The kinds of each API version.
    kinds: BTreeMap<String, BTreeSet<String>>,
    namespace: String,
    /// What was found already: all of a rendering sees the same.
    known: Mutex<BTreeMap<LookupQuery, Value>>,
    questions: mpsc::Sender<Question>,
}

async fn answer(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let path = request.uri().path();
    let Some(path) = path.strip_prefix(&desk.capability).filter(|path| path.starts_with('/')) else {
        return refusal(StatusCode::FORBIDDEN, "Forbidden");
    };
    if request.method() != Method::GET {
        return refusal(StatusCode::FORBIDDEN, "Forbidden");
    }
    let is_look_up = request.headers().get(ACCEPT).is_some_and(|accept| accept == OBJECT);
    let found = if is_look_up { desk.object(path).await } else { desk.discovery(path) };
    match found {
        Some(found) => ([(CONTENT_TYPE, OBJECT)], found.to_string()).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "NotFound"),
    }
}

impl Desk {
    /// Answers what the cluster can do.
    fn discovery(&self, path: &str) -> Option<Value> {
        let segments: Vec<_> = path.split('/').skip(1).collect();
        match segments[..] {
            ["version"] => Some(self.version.clone()),
            ["api"] => {
                let versions: Vec<_> = self.kinds.keys().filter(|version| !version.contains('/')).collect();
                Some(json!({ "kind": "APIVersions", "versions": versions }))
            }
            ["apis"] => Some(self.groups()),
            ["api", version] => Some(self.resources(version)),
            ["apis", group, version] => Some(self.resources(&format!("{group}/{version}"))),
            _ => None,
        }
    }

    fn groups(&self) -> Value {
        let mut groups = BTreeMap::<&str, Vec<Value>>::new();
        for (api_version, (group, version)) in
            self.kinds.keys().filter_map(|key| Some((key, key.split_once('/')?)))
        {
            let named = json!({ "groupVersion": api_version, "version": version });
            groups.entry(group).or_default().push(named);
        }
        let groups = groups.into_iter().map(
            |(name, versions)| json!({ "name": name, "preferredVersion": versions[0], "versions": versions }),
        );
        json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>() })
    }

    /// Lists the kinds of an API version. One that is not served has none, rather than being an error: a look-up of its
    /// objects finds nothing.
    fn resources(&self, api_version: &str) -> Value {
        let kinds = self.kinds.get(api_version).into_iter().flatten();
        let listed = kinds.map(|kind| {
            json!({ "name": kind, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "list"] })
        });
        json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version,
            "resources": listed.collect::<Vec<_>>(),
        })
    }

    /// Answers a look-up; with none when there is no such object, or it is none of the release's namespace.
    async fn object(&self, path: &str) -> Option<Value> {
        let segments: Vec<_> = path.split('/').skip(1).collect();
        let (api_version, namespace, kind, name) = match segments[..] {
            ["api", version, "namespaces", namespace, kind] => (version.to_owned(), namespace, kind, ""),
            ["api", version, "namespaces", namespace, kind, name] => {
                (version.to_owned(), namespace, kind, name)
            }
            ["apis", group, version, "namespaces", namespace, kind] => {
                (format!("{group}/{version}"), namespace, kind, "")
            }
            ["apis", group, version, "namespaces", namespace, kind, name] => {
                (format!("{group}/{version}"), namespace, kind, name)
            }
            _ => return None,
        };
        if namespace != self.namespace || !self.kinds.get(&api_version)?.contains(kind) {
            return None;
        }
        let namespace = namespace.to_owned();
        let query = LookupQuery { api_version, kind: kind.to_owned(), namespace, name: name.to_owned() };
        let mut known = self.known.lock().await;
        if !known.contains_key(&query) {
            let found = self.ask(&query).await?;
            known.insert(query.clone(), found);
        }
        known.get(&query).cloned().and_then(|found| complete(found, &query))
    }

    /// Asks and waits; none when the run was given up.
    async fn ask(&self, query: &LookupQuery) -> Option<Value> {
        let (answer, answered) = oneshot::channel();
        self.questions.send(Question { query: query.clone(), answer }).await.ok()?;
        answered.await.ok()
    }
}

/// Adds what Helm needs to read an object or a list; none when nothing was found.
fn complete(mut found: Value, query: &LookupQuery) -> Option<Value> {
    let fields = found.as_object_mut().filter(|fields| !fields.is_empty())?;
    let suffix = if query.name.is_empty() { "List" } else { "" };
    fields.entry("apiVersion").or_insert_with(|| query.api_version.clone().into());
    fields.entry("kind").or_insert_with(|| format!("{}{suffix}", query.kind).into());
    if query.name.is_empty() {
        fields.entry("items").or_insert_with(|| json!([]));
    }
    Some(found)
}

fn version(kube_version: &str) -> Value {
    let mut parts = kube_version.trim_start_matches('v').split(['.', '-', '+']);
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let version = format!("v{}", kube_version.trim_start_matches('v'));
    json!({ "major": major, "minor": minor, "gitVersion": version })
}

/// Sorts `v1`, `apps/v1`, `v1/Secret` and `apps/v1/Deployment` into API versions and their kinds.
fn kinds(served: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut kinds = BTreeMap::<String, BTreeSet<String>>::new();
    for entry in served {
        match entry.rsplit_once('/') {
            Some((api_version, kind)) if kind.starts_with(|c: char| c.is_ascii_uppercase()) => {
                kinds.entry(api_version.to_owned()).or_default().insert(kind.to_owned());
            }
            _ => drop(kinds.entry(entry.clone()).or_default()),
        }
    }
    kinds
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
        "message": "this server answers look-ups of one namespace and nothing else", "code": status.as_u16(),
    });
    (status, [(CONTENT_TYPE, OBJECT)], body.to_string()).into_response()
}
