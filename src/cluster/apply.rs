//! Writing: the namespace, the inventory, and objects by server-side apply.

use http::header::{ACCEPT, HeaderValue};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Resource as _;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::{Value, json};

use super::follow::METADATA;
use super::index::{Feed, Origin, owned_fields};
use super::mask::Mask;
use super::seen::Seen;
use super::watch::selecting_labels;
use super::{Cluster, ClusterError, NAMESPACES, bounded_and_masked, collection};
use crate::manifest::{Fingerprint, Manifest, Owner};
use crate::names::{FIELD_MANAGER, INVENTORY_KEY, INVENTORY_NAME, SourceId, StoreId};
use crate::plan::{self, Inventory, NamespaceSpec};
use crate::report::WORKLOAD_KINDS;

/// No object has this resource version. An apply that asks for it makes an object and changes none.
const NEVER: &str = "1";

impl Cluster {
    /// Makes a store's namespace. It is created, not applied: applying would take over a namespace that
    /// somebody else made between our look and our act.
    pub async fn create_namespace(&self, spec: &NamespaceSpec) -> Result<(), ClusterError> {
        // Its request does not say in its path which store it is for.
        if StoreId::of_namespace(&spec.name).is_some_and(|store| !self.fence().permits(&store)) {
            return Err(ClusterError::Fenced { act: format!("create namespace {}", spec.name) });
        }
        let metadata = json!({ "name": spec.name, "labels": spec.labels, "annotations": spec.annotations });
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = Request::new(NAMESPACES).create(&params, body.to_string().into_bytes());
        match self.answer(format!("create namespace {}", spec.name), request).await {
            Ok(made) => {
                self.index.put(Origin::Answer, &Feed::Namespaces, &made);
                Ok(())
            }
            Err(error) if error.is_taken() => {
                // Perhaps ours: an answer that was lost, or a cache behind. The next run looks at it.
                let found = self.read_namespace(&spec.name).await?;
                self.index.put(Origin::Watch, &Feed::Namespaces, &found);
                Err(ClusterError::Changed { namespace: spec.name.clone() })
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the labels and annotations of our namespace right.
    pub async fn apply_namespace(&self, spec: &NamespaceSpec) -> Result<(), ClusterError> {
        // With its identity, or a namespace made anew by somebody else meanwhile would be taken over.
        let metadata = json!({
            "name": spec.name, "uid": spec.uid, "labels": spec.labels, "annotations": spec.annotations,
        });
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        let request = Request::new(NAMESPACES).patch(&spec.name, &params(), &Patch::Apply(&body));
        let mut made = self.answer(format!("apply namespace {}", spec.name), request).await?;
        // A mark that somebody else wrote stays after an apply: it is not ours to leave out.
        let stale: serde_json::Map<_, _> = spec
            .stale_marks(&made.metadata.annotations)
            .map(|mark| (mark.to_owned(), serde_json::Value::Null))
            .collect();
        if !stale.is_empty() {
            let body = json!({ "metadata": { "uid": spec.uid, "annotations": stale } });
            let patch = Patch::Merge(&body);
            let request = Request::new(NAMESPACES).patch(&spec.name, &PatchParams::default(), &patch);
            made = self.answer(format!("take stale marks off namespace {}", spec.name), request).await?;
        }
        self.index.put(Origin::Answer, &Feed::Namespaces, &made);
        Ok(())
    }

    /// Reads a namespace afresh.
    pub(super) async fn read_namespace(&self, name: &str) -> Result<Seen, ClusterError> {
        let request = Request::new(NAMESPACES).get(name, &GetParams::default());
        self.answer(format!("read namespace {name}"), request).await
    }

    /// Applies one object and returns the fingerprint of the fields that are ours from now on. `unseen` says that no
    /// object of this name was seen when it was planned.
    pub async fn apply(
        &self,
        manifest: &Manifest,
        namespace: &str,
        unseen: bool,
    ) -> Result<Option<Fingerprint>, ClusterError> {
        let made = match manifest.key.kind.as_str() {
            "Secret" if unseen => self.make_secret(manifest, namespace).await?,
            _ => self.send(manifest, namespace, &manifest.body).await?,
        };
        self.index.put(Origin::Answer, &feed_of(manifest), &made);
        Ok(owned_fields(&made))
    }

    /// Applies a Secret only if there is none: what it holds may be random, and a request of a run that was cut off may
    /// land when the next one has made other values and a database uses them.
    async fn make_secret(&self, manifest: &Manifest, namespace: &str) -> Result<Seen, ClusterError> {
        match self.make(manifest, namespace).await? {
            Ok(made) => Ok(made),
            // One that lacks a label of ours is not seen. The chart looked it up, so it keeps its values.
            Err(_) => self.send(manifest, namespace, &manifest.body).await,
        }
    }

    /// Makes an object that must not be there yet.
    pub async fn create(&self, manifest: &Manifest, namespace: &str) -> Result<(), ClusterError> {
        let made = self.make(manifest, namespace).await??;
        self.index.put(Origin::Answer, &feed_of(manifest), &made);
        Ok(())
    }

    /// Applies an object if there is none. One of ours that was not seen is noted, for the next run; of one that its watch
    /// does not show the refusal is returned.
    async fn make(
        &self,
        manifest: &Manifest,
        namespace: &str,
    ) -> Result<Result<Seen, ClusterError>, ClusterError> {
        let mut body = (*manifest.body).clone();
        body["metadata"]["resourceVersion"] = NEVER.into();
        let conflict = match self.send(manifest, namespace, &body).await {
            Err(error) if error.is_conflict() => error,
            answer => return answer.map(Ok),
        };
        let found = self.read_metadata(manifest, namespace).await?;
        if is_selected(&found, &self.source) {
            // Its event is on its way, or the cache has lost it and no event may ever come. The next run finds it.
            self.index.put(Origin::Watch, &feed_of(manifest), &found);
            return Err(conflict);
        }
        Ok(Err(conflict))
    }

    /// Reads the metadata of an object afresh, whatever its labels.
    async fn read_metadata(&self, manifest: &Manifest, namespace: &str) -> Result<Seen, ClusterError> {
        let request = Request::new(collection(&manifest.resource, Some(namespace)));
        let mut request = request.get(&manifest.key.name, &GetParams::default());
        if let Ok(request) = &mut request {
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(METADATA));
        }
        self.answer(format!("read {} in {namespace}", manifest.key), request).await
    }

    async fn send(&self, manifest: &Manifest, namespace: &str, body: &Value) -> Result<Seen, ClusterError> {
        let act = format!("apply {}", manifest.key);
        let request = Request::new(collection(&manifest.resource, Some(namespace)));
        let mut request = request.patch(&manifest.key.name, &params(), &Patch::Apply(body));
        if let (Ok(request), false) = (&mut request, WORKLOAD_KINDS.contains(&manifest.key.kind.as_str())) {
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(METADATA));
        }
        let is_secret = manifest.key.kind == "Secret";
        let answer = self.masked_answer(act, || Mask::of(&manifest.body), request).await;
        answer.map_err(|error| if is_secret { error.without_content() } else { error })
    }

    /// Asks whether the API server would make an object anew, with everything that has a say in it. Nothing is changed: it
    /// is a dry run under a name that nobody has.
    pub async fn would_create(&self, manifest: &Manifest, namespace: &str) -> Result<(), ClusterError> {
        let act = format!("make {} anew", manifest.key);
        let body = plan::stand_in(&manifest.body).to_string().into_bytes();
        let params = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let request = Request::new(collection(&manifest.resource, Some(namespace))).create(&params, body);
        self.masked_answer(act, || Mask::of(&manifest.body), request).await.map(|_| ())
    }

    /// Writes a store's inventory.
    pub async fn record(&self, owner: Owner<'_>, inventory: &Inventory) -> Result<(), ClusterError> {
        let namespace = owner.store.namespace();
        let text = serde_json::to_string(inventory).unwrap_or_default();
        let labels: serde_json::Map<_, _> =
            owner.labels().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        let body = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": INVENTORY_NAME, "namespace": namespace, "labels": labels },
            "data": { INVENTORY_KEY: text },
        });
        let act = format!("record the inventory of {namespace}");
        let request = Request::new(ConfigMap::url_path(&(), Some(&namespace)));
        let request = request.patch(INVENTORY_NAME, &params(), &Patch::Apply(&body));
        let made = self.answer(act, request).await?;
        self.index.put(Origin::Answer, &Feed::Inventories, &made);
        Ok(())
    }

    /// Sends a request and reads of its answer what the caches hold.
    pub(super) async fn answer(
        &self,
        act: String,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Seen, ClusterError> {
        self.masked_answer(act, Mask::default, request).await
    }

    /// The same for a request whose refusal may repeat what was sent.
    async fn masked_answer(
        &self,
        act: String,
        mask: impl FnOnce() -> Mask,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Seen, ClusterError> {
        let request = request
            .map_err(|error| ClusterError::Unreachable { act: act.clone(), detail: error.to_string() })?;
        bounded_and_masked(act, mask, self.client.request::<Seen>(request)).await
    }
}

fn feed_of(manifest: &Manifest) -> Feed {
    Feed::Objects { group: manifest.key.group.clone(), kind: manifest.key.kind.clone() }
}

/// Whether an object has all labels that its feed selects by, so that its watch shows it.
fn is_selected(found: &Seen, source: &SourceId) -> bool {
    let labels = &found.metadata.labels;
    selecting_labels(source)
        .iter()
        .all(|(label, value)| labels.get(*label).is_some_and(|found| found == value))
}

/// Force: git is the only way in, so whoever else set a field of ours loses it. Strict: a misspelt field is an
/// error, as with `kubectl apply`.
pub(super) fn params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force().validation_strict()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Method, Request, Response};
    use kube::Client;
    use kube::client::Body;
    use tower::service_fn;

    use super::super::changes::Changes;
    use super::super::index::Index;
    use super::super::pace::Pace;
    use super::super::resources::Kinds;
    use super::*;
    use crate::manifest::{ObjectKey, Resource};
    use crate::names::{LABEL_MANAGED_BY, LABEL_SOURCE, MANAGED_BY};

    /// A cluster in which a Secret with these labels lies that nobody has seen, and which applies none anew.
    async fn cluster_with(labels: Value) -> Cluster {
        let answer = move |request: Request<Body>| {
            let (code, body) = match (request.method(), request.uri().path()) {
                (&Method::PATCH, _) => {
                    (409, json!({ "kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409 }))
                }
                (_, "/version") => (
                    200,
                    json!({ "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "",
                        "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "" }),
                ),
                (_, "/api" | "/apis") => (
                    200,
                    json!({ "kind": "APIGroupDiscoveryList", "metadata": {}, "items": [],
                        "apiVersion": "apidiscovery.k8s.io/v2" }),
                ),
                _ => (
                    200,
                    json!({ "metadata": { "name": "password", "namespace": "store-acme", "uid": "u",
                    "resourceVersion": "7", "labels": labels } }),
                ),
            };
            let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            async move { Ok::<_, std::io::Error>(response.unwrap()) }
        };
        let client = Client::new(service_fn(answer), "default");
        Cluster {
            pace: Pace::new(1, crate::metrics::Metrics::new()),
            metrics: crate::metrics::Metrics::new(),
            source: "shops".parse().unwrap(),
            kinds: Arc::new(Kinds::discover(client.clone()).await.unwrap()),
            index: Arc::new(Index::new(Changes::default())),
            watches: Arc::default(),
            access: None,
            try_out_namespace: crate::cluster::DEFAULT_TRY_OUT_NAMESPACE.into(),
            prompt: client.clone(),
            client,
        }
    }

    fn password() -> Manifest {
        let resource = Resource {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            plural: "secrets".to_owned(),
            namespaced: true,
        };
        let body = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "password" } });
        let fingerprint = Fingerprint::of_bytes(body.to_string().as_bytes());
        let key = ObjectKey::new("", "Secret", "password");
        Manifest { key, resource, body: Arc::new(body), fingerprint }
    }

    #[tokio::test]
    async fn a_secret_of_ours_that_the_cache_has_lost_is_known_again_after_the_conflict() {
        let labels = json!({ LABEL_MANAGED_BY: MANAGED_BY, LABEL_SOURCE: "shops" });
        let cluster = cluster_with(labels).await;
        let error = cluster.apply(&password(), "store-acme", true).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
        let observed = cluster.observe(&"acme".parse().unwrap());
        assert!(observed.objects.contains_key(&password().key), "the next run finds it");
    }
}
