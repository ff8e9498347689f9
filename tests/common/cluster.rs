//! The API server, looked at from outside the daemon.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::TryStreamExt;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub struct Cluster {
    pub kubeconfig: PathBuf,
    runtime: Runtime,
    client: Client,
}

impl Cluster {
    /// Connects to the cluster that `make test` brought up.
    pub fn from_environment() -> Self {
        Self::connect(super::required_path("STOREKEEPER_TEST_KUBECONFIG"))
    }

    pub fn connect(kubeconfig: PathBuf) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = client(&runtime, &kubeconfig, true);
        Self { kubeconfig, runtime, client }
    }

    /// Connects to the same cluster with a token of a service account, as its pods do.
    pub fn as_service_account(&self, namespace: &str, name: &str) -> Self {
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let request = TokenRequest::default();
        let made =
            self.runtime.block_on(accounts.create_token_request(name, &PostParams::default(), &request));
        let token = made.unwrap().status.unwrap().token;
        let mut read = serde_json::to_value(Kubeconfig::read_from(&self.kubeconfig).unwrap()).unwrap();
        read["users"][0]["user"] = json!({ "token": token });
        let read = serde_json::from_value(read).unwrap();
        let runtime = Runtime::new().unwrap();
        let client = client_of(&runtime, read, true);
        Self { kubeconfig: self.kubeconfig.clone(), runtime, client }
    }

    /// Returns an object as JSON; none when it does not exist.
    pub fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let api = self.api(api_version, kind, namespace);
        let object = self.runtime.block_on(api.get_opt(name)).unwrap()?;
        Some(serde_json::to_value(object).unwrap())
    }

    /// Returns the objects of a kind in a namespace, or of all namespaces for `""`.
    pub fn list(&self, api_version: &str, kind: &str, namespace: &str) -> Vec<Value> {
        let list = self.runtime.block_on(self.api(api_version, kind, namespace).list(&ListParams::default()));
        list.unwrap().items.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
    }

    pub fn namespace(&self, name: &str) -> Option<Value> {
        let api = Api::<Namespace>::all(self.client.clone());
        let namespace = self.runtime.block_on(api.get_opt(name)).unwrap()?;
        Some(serde_json::to_value(namespace).unwrap())
    }

    pub fn create_namespace(&self, name: &str, labels: &Value) {
        let body = json!({ "metadata": { "name": name, "labels": labels } });
        let namespace: Namespace = serde_json::from_value(body).unwrap();
        let api = Api::<Namespace>::all(self.client.clone());
        self.runtime.block_on(api.create(&PostParams::default(), &namespace)).unwrap();
    }

    pub fn create(&self, api_version: &str, kind: &str, namespace: &str, body: Value) {
        let object: DynamicObject = serde_json::from_value(body).unwrap();
        let api = self.api(api_version, kind, namespace);
        self.runtime.block_on(api.create(&PostParams::default(), &object)).unwrap();
    }

    /// Asks the API server whether it would take an object, by a strict server-side apply that changes nothing.
    pub fn try_apply(&self, object: &Value) -> Result<(), String> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let api = self.api(text("/apiVersion"), text("/kind"), text("/metadata/namespace"));
        let params = PatchParams { dry_run: true, ..PatchParams::apply("test") }.validation_strict();
        let applied =
            self.runtime.block_on(api.patch(text("/metadata/name"), &params, &Patch::Apply(object)));
        applied.map(|_| ()).map_err(|error| error.to_string())
    }

    pub fn delete(&self, api_version: &str, kind: &str, namespace: &str, name: &str) {
        let api = self.api(api_version, kind, namespace);
        self.runtime.block_on(api.delete(name, &DeleteParams::default())).unwrap();
    }

    /// Asks the API server whether it would delete an object.
    pub fn try_delete(
        &self,
        api_version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), String> {
        let api = self.api(api_version, kind, namespace);
        let answer = self.runtime.block_on(api.delete(name, &DeleteParams::default().dry_run()));
        answer.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Asks the API server whether it would delete a namespace, and returns what it says against it.
    pub fn try_delete_namespace(&self, name: &str) -> String {
        let api = Api::<Namespace>::all(self.client.clone());
        let answer = self.runtime.block_on(api.delete(name, &DeleteParams::default().dry_run()));
        answer.map_or_else(|error| error.to_string(), |_| String::new())
    }

    pub fn delete_namespace(&self, name: &str) {
        let api = Api::<Namespace>::all(self.client.clone());
        self.runtime.block_on(api.delete(name, &DeleteParams::default())).unwrap();
    }

    /// Applies an object under a field manager's name, by force, and returns it as it is then.
    pub fn apply_as(&self, manager: &str, object: &Value) -> Value {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let api = self.api(text("/apiVersion"), text("/kind"), text("/metadata/namespace"));
        let params = PatchParams::apply(manager).force();
        let applied =
            self.runtime.block_on(api.patch(text("/metadata/name"), &params, &Patch::Apply(object)));
        serde_json::to_value(applied.unwrap()).unwrap()
    }

    /// Changes an object as another writer would, by a merge patch.
    pub fn patch(&self, api_version: &str, kind: &str, namespace: &str, name: &str, patch: &Value) {
        let api = self.api(api_version, kind, namespace);
        let params =
            PatchParams { field_manager: Some("somebody-else".to_owned()), ..PatchParams::default() };
        self.runtime.block_on(api.patch(name, &params, &Patch::Merge(patch))).unwrap();
    }

    /// Changes the status of an object as its controller would.
    pub fn patch_status(&self, api_version: &str, kind: &str, namespace: &str, name: &str, status: &Value) {
        let api = self.api(api_version, kind, namespace);
        let patch = json!({ "status": status });
        self.runtime
            .block_on(api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)))
            .unwrap();
    }

    pub fn patch_namespace(&self, name: &str, patch: &Value) {
        let api = Api::<Namespace>::all(self.client.clone());
        self.runtime.block_on(api.patch(name, &PatchParams::default(), &Patch::Merge(patch))).unwrap();
    }

    /// Deletes the namespaces with these labels and does not wait for their end.
    pub fn delete_namespaces(&self, labels: &str) {
        let api = Api::<Namespace>::all(self.client.clone());
        self.runtime.block_on(async {
            let found = api.list(&ListParams::default().labels(labels)).await;
            for namespace in found.map(|list| list.items).unwrap_or_default() {
                let name = namespace.metadata.name.unwrap_or_default();
                let _ = api.delete(&name, &DeleteParams::default()).await;
            }
        });
    }

    /// Notes from now on when objects of these kinds with these labels appear, change or go.
    pub fn witness(&self, kinds: &[(&str, &str)], labels: &str) -> Witness {
        let events = Arc::new(Mutex::new(Vec::new()));
        let _guard = self.runtime.enter();
        let tasks = kinds.iter().map(|(version, kind)| {
            let config = watcher::Config::default().labels(labels);
            let stream = watcher(self.api(version, kind, ""), config);
            let (events, kind) = (Arc::clone(&events), (*kind).to_owned());
            self.runtime.spawn(async move {
                let mut stream = std::pin::pin!(stream);
                while let Ok(Some(event)) = stream.try_next().await {
                    let (object, gone) = match event {
                        watcher::Event::Apply(object) => (object, false),
                        watcher::Event::Delete(object) => (object, true),
                        _ => continue,
                    };
                    let event = Witnessed {
                        at: Instant::now(),
                        kind: kind.clone(),
                        name: object.metadata.name.clone().unwrap_or_default(),
                        uid: object.metadata.uid.clone().unwrap_or_default(),
                        deleting: object.metadata.deletion_timestamp.is_some(),
                        gone,
                    };
                    events.lock().unwrap().push(event);
                }
            })
        });
        Witness { tasks: tasks.collect(), events }
    }

    /// Makes a token of a service account, good for an hour.
    pub fn token(&self, namespace: &str, account: &str) -> String {
        use k8s_openapi::api::authentication::v1::TokenRequest;
        let api =
            Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(self.client.clone(), namespace);
        let request: TokenRequest = serde_json::from_value(
            json!({ "metadata": {}, "spec": { "audiences": [], "expirationSeconds": 3600 } }),
        )
        .unwrap();
        let params = PostParams::default();
        self.runtime
            .block_on(api.create_token_request(account, &params, &request))
            .unwrap()
            .status
            .unwrap()
            .token
            .unwrap()
    }

    /// Whether whoever this client is may do something, in a namespace or, for `""`, in all.
    pub fn may(&self, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
        use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
        let attributes =
            json!({ "verb": verb, "group": group, "resource": resource, "namespace": namespace });
        let review: SelfSubjectAccessReview =
            serde_json::from_value(json!({ "spec": { "resourceAttributes": attributes } })).unwrap();
        let api = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let answer = self.runtime.block_on(api.create(&PostParams::default(), &review)).unwrap();
        answer.status.unwrap().allowed
    }

    fn api(&self, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }
}

/// Makes a client from a kubeconfig. Unless it is patient, it hands on what the API server says; kube's own clients
/// wait and try again by themselves after 429, 503 and 504.
pub fn client(runtime: &Runtime, kubeconfig: &Path, patient: bool) -> Client {
    client_of(runtime, Kubeconfig::read_from(kubeconfig).unwrap(), patient)
}

fn client_of(runtime: &Runtime, read: Kubeconfig, patient: bool) -> Client {
    runtime.block_on(async {
        let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
        config.default_retry = patient;
        Client::try_from(config).unwrap()
    })
}

/// One event of a watch, with the moment it arrived.
#[derive(Debug, Clone)]
pub struct Witnessed {
    pub at: Instant,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub deleting: bool,
    pub gone: bool,
}

/// An independent watcher of the API server.
pub struct Witness {
    tasks: Vec<JoinHandle<()>>,
    events: Arc<Mutex<Vec<Witnessed>>>,
}

impl Witness {
    /// Returns the events since then.
    pub fn since(&self, since: Instant) -> Vec<Witnessed> {
        self.events.lock().unwrap().iter().filter(|event| event.at >= since).cloned().collect()
    }

    /// Waits for the first event since `since` that this accepts.
    pub fn until(&self, what: &str, since: Instant, accept: impl Fn(&Witnessed) -> bool) -> Witnessed {
        super::until(what, || {
            let events = self.events.lock().unwrap();
            events.iter().find(|event| event.at >= since && accept(event)).cloned()
        })
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
