//! Kubernetes objects as storekeeper sees them: identity, the order of kinds, the stamp of ownership. Pure.

mod allowed;
mod identity;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::names::{
    Host, INVENTORY_NAME, LABEL_COMPONENT, LABEL_MANAGED_BY, LABEL_SOURCE, LABEL_STORE, MANAGED_BY, SourceId,
    StoreId,
};

pub use allowed::{AllowedKinds, GroupKind, GroupKindError};
pub use identity::{Fingerprint, KeyParts, NoFingerprint, ObjectKey, Uid};

/// What the API server serves under a group and kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// The API group, empty for the core group.
    pub group: String,
    /// The version asked for.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The plural that URLs use.
    pub plural: String,
    /// Whether objects of this kind live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// Returns `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

/// Joins group and version as manifests write them.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// One object of a store, stamped and ready to be applied.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Which object it is.
    pub key: ObjectKey,
    /// How the API server serves it.
    pub resource: Resource,
    /// The object as JSON; plans and steps share it.
    pub body: Arc<Value>,
    /// The fingerprint of `body`.
    pub fingerprint: Fingerprint,
}

impl Manifest {
    /// Adds an annotation.
    #[must_use]
    pub fn annotated(self, name: &str, value: &str) -> Self {
        let mut body = Arc::unwrap_or_clone(self.body);
        if let Some(root) = body.as_object_mut() {
            entry_map(entry_map(root, "metadata"), "annotations").insert(name.to_owned(), value.into());
        }
        Self { fingerprint: Fingerprint::of(&body), body: Arc::new(body), ..self }
    }
}

/// Whose objects they are.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The store.
    pub store: &'a StoreId,
    /// The source that the store comes from.
    pub source: &'a SourceId,
}

impl Owner<'_> {
    /// Returns the labels that mark an object as this store's.
    pub fn labels(&self) -> [(&'static str, String); 3] {
        [
            (LABEL_MANAGED_BY, MANAGED_BY.to_owned()),
            (LABEL_STORE, self.store.to_string()),
            (LABEL_SOURCE, self.source.to_string()),
        ]
    }
}

/// Why rendered objects cannot be a store's; fits "failed to prepare the objects: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// An object lacks what every object has.
    #[error("an object of template {template} has no {field}")]
    Incomplete {
        /// The template that rendered it.
        template: String,
        /// What is missing.
        field: &'static str,
    },
    /// The API server does not serve this kind.
    #[error(
        "{object} of template {template}: the cluster serves no kind {kind} in {api_version}; install what defines it first"
    )]
    UnknownKind {
        /// Kind and name.
        object: String,
        /// The template that rendered it.
        template: String,
        /// The kind asked for.
        kind: String,
        /// The API version asked for.
        api_version: String,
    },
    /// The chart brings the definition of a kind that the API server does not serve.
    #[error(
        "the chart brings CustomResourceDefinition/{} ({}), which a store can't install: whoever administers the cluster \
         applies that file once", .0.definition, .0.file
    )]
    KindNotInstalled(
        /// What it defines.
        Defined,
    ),
    /// No store may have objects of this kind.
    #[error(
        "{object} of template {template}: {kind} is not among the kinds that a store may have; leave it out of the chart, or \
         have the operator allow it by --chart-kinds {kind}"
    )]
    KindNotAllowed {
        /// Kind and name.
        object: String,
        /// The template that rendered it.
        template: String,
        /// Group and kind.
        kind: String,
    },
    /// The object would reach outside its namespace.
    #[error("{object} of template {template} asks for {found}, which no store may have")]
    Reaches {
        /// Kind and name.
        object: String,
        /// The template that rendered it.
        template: String,
        /// What it asks for.
        found: String,
    },
    /// The object would land outside the store's namespace.
    #[error(
        "{object} of template {template} lies outside the store's namespace {namespace} ({found}); a store owns nothing outside its namespace"
    )]
    OutsideNamespace {
        /// Kind and name.
        object: String,
        /// The template that rendered it.
        template: String,
        /// The store's namespace.
        namespace: String,
        /// Where it would land.
        found: String,
    },
    /// An Ingress would answer to another host than the store's, or to every host.
    #[error(
        "{object} of template {template} serves {found}; a store serves its own host {host} and no other"
    )]
    OtherHost {
        /// Kind and name.
        object: String,
        /// The template that rendered it.
        template: String,
        /// What it would serve.
        found: String,
        /// The store's host.
        host: String,
    },
    /// The object would take the place of storekeeper's own.
    #[error("{object} of template {template} has the name of storekeeper's own inventory; give it another")]
    Reserved {
        /// Kind and name.
        object: String,
        /// The template that rendered it.
        template: String,
    },
    /// Two templates render the same object.
    #[error("{object} is rendered twice, the second time by template {template}")]
    Twice {
        /// Kind and name.
        object: String,
        /// The second template.
        template: String,
    },
    /// A hook renders an object that is rendered besides.
    #[error("{object} is rendered by a hook and a second time: give one of them another name")]
    HookTwice {
        /// Kind and name.
        object: String,
    },
}

/// A kind that a chart brings the definition of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defined {
    /// The file of the chart.
    pub file: String,
    /// The definition's name.
    pub definition: String,
    /// The API version of objects of the kind.
    pub api_version: String,
    /// The kind.
    pub kind: String,
}

/// Returns what a `CustomResourceDefinition` defines, by its first version that is served; nothing if it is none.
pub fn defined(file: &str, body: &Value) -> Option<Defined> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    if text("/kind") != Some("CustomResourceDefinition") {
        return None;
    }
    let versions = body.pointer("/spec/versions").and_then(Value::as_array);
    let served = versions.into_iter().flatten().find(|version| version["served"] == true)?;
    Some(Defined {
        file: file.to_owned(),
        definition: text("/metadata/name")?.to_owned(),
        api_version: api_version(text("/spec/group")?, served["name"].as_str()?),
        kind: text("/spec/names/kind")?.to_owned(),
    })
}

/// Whether some rendered object is of a kind that the cluster does not serve, as far as is known.
pub fn has_unknown_kind<'a>(
    mut rendered: impl Iterator<Item = &'a Value>,
    resolve: &dyn Fn(&str, &str) -> Option<Resource>,
) -> bool {
    rendered.any(|body| {
        let text = |field: &str| body.get(field).and_then(Value::as_str);
        text("apiVersion").zip(text("kind")).is_some_and(|(version, kind)| resolve(version, kind).is_none())
    })
}

/// Returns which object a rendered one is, and the version of its API; none if it is no object.
pub fn key_of(body: &Value) -> Option<(ObjectKey, &str)> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    let (group, version) = text("/apiVersion")?.rsplit_once('/').unwrap_or(("", text("/apiVersion")?));
    Some((ObjectKey::new(group, text("/kind")?, text("/metadata/name")?), version))
}

/// Turns rendered objects (template path and JSON) into manifests: checks that each lies in the store's
/// namespace, is of a kind that charts may render, reaches nothing outside and serves no host but the store's, stamps the
/// ownership labels and sorts by [`kind_order`].
pub fn prepare(
    rendered: Vec<(String, Value)>,
    owner: Owner<'_>,
    host: &Host,
    kinds: &AllowedKinds,
    resolve: &dyn Fn(&str, &str) -> Option<Resource>,
) -> Result<Vec<Manifest>, ManifestError> {
    let mut seen = BTreeSet::new();
    let mut manifests = Vec::with_capacity(rendered.len());
    for (template, body) in rendered {
        let manifest = prepare_one(&template, body, owner, resolve)?;
        check_reach(&manifest, &template, kinds)?;
        check_reserved(&manifest, &template)?;
        check_hosts(&manifest, &template, host)?;
        if !seen.insert(manifest.key.clone()) {
            return Err(ManifestError::Twice { object: manifest.key.to_string(), template });
        }
        manifests.push(manifest);
    }
    manifests.sort_by(|a, b| {
        (kind_order(&a.key.kind), &a.key.kind, &a.key.name).cmp(&(
            kind_order(&b.key.kind),
            &b.key.kind,
            &b.key.name,
        ))
    });
    Ok(manifests)
}

/// Returns when a kind is applied, as Helm orders them: lower first, equal side by side. What others need
/// comes before them: policies and quotas, accounts and secrets, then what runs, then what exposes it.
pub fn kind_order(kind: &str) -> usize {
    const ORDER: [&str; 26] = [
        "NetworkPolicy",
        "ResourceQuota",
        "LimitRange",
        "PodDisruptionBudget",
        "ServiceAccount",
        "Secret",
        "ConfigMap",
        "PersistentVolumeClaim",
        "CustomResourceDefinition",
        "Role",
        "RoleBinding",
        "Service",
        "DaemonSet",
        "Pod",
        "ReplicationController",
        "ReplicaSet",
        "Deployment",
        "HorizontalPodAutoscaler",
        "StatefulSet",
        "Job",
        "CronJob",
        "IngressClass",
        "Ingress",
        "APIService",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ];
    ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len())
}

/// Kinds that nearly every store has. They are watched from the start, so that the first store need not wait for them and
/// what a crash left of them is seen after a restart.
pub const USUAL_KINDS: [(&str, &str); 11] = [
    ("v1", "ConfigMap"),
    ("v1", "LimitRange"),
    ("v1", "ResourceQuota"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];

/// Whether a kind, in any version, is one of the [`USUAL_KINDS`].
pub fn is_usual(resource: &Resource) -> bool {
    USUAL_KINDS.iter().any(|(api_version, kind)| {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        group == resource.group && *kind == resource.kind
    })
}

fn prepare_one(
    template: &str,
    mut body: Value,
    owner: Owner<'_>,
    resolve: &dyn Fn(&str, &str) -> Option<Resource>,
) -> Result<Manifest, ManifestError> {
    let incomplete = |field| ManifestError::Incomplete { template: template.to_owned(), field };
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let api_version = text("/apiVersion").ok_or_else(|| incomplete("apiVersion"))?;
    let kind = text("/kind").ok_or_else(|| incomplete("kind"))?;
    let name = text("/metadata/name").ok_or_else(|| incomplete("metadata.name"))?;
    let object = format!("{kind}/{name}");
    let Some(resource) = resolve(&api_version, &kind) else {
        return Err(ManifestError::UnknownKind { object, template: template.to_owned(), kind, api_version });
    };

    let namespace = owner.store.namespace();
    let outside = |found: &str| ManifestError::OutsideNamespace {
        object: object.clone(),
        template: template.to_owned(),
        namespace: namespace.clone(),
        found: found.to_owned(),
    };
    if !resource.namespaced {
        return Err(outside("cluster-scoped"));
    }
    match text("/metadata/namespace") {
        Some(other) if other != namespace => return Err(outside(&format!("namespace {other}"))),
        _ => {}
    }

    stamp(&mut body, &namespace, owner);
    let key = ObjectKey::new(resource.group.as_str(), kind, name);
    let fingerprint = Fingerprint::of(&body);
    Ok(Manifest { key, resource, body: Arc::new(body), fingerprint })
}

fn check_reach(manifest: &Manifest, template: &str, kinds: &AllowedKinds) -> Result<(), ManifestError> {
    let KeyParts { group, kind, .. } = &*manifest.key;
    let (object, template) = (manifest.key.to_string(), template.to_owned());
    if !kinds.allows(group, kind) {
        let kind = if group.is_empty() { kind.clone() } else { format!("{group}/{kind}") };
        return Err(ManifestError::KindNotAllowed { object, template, kind });
    }
    match allowed::reach(kind, &manifest.body) {
        Some(found) => Err(ManifestError::Reaches { object, template, found }),
        None => Ok(()),
    }
}

fn check_reserved(manifest: &Manifest, template: &str) -> Result<(), ManifestError> {
    if manifest.key.kind == "ConfigMap" && manifest.key.name == INVENTORY_NAME {
        let object = manifest.key.to_string();
        return Err(ManifestError::Reserved { object, template: template.to_owned() });
    }
    Ok(())
}

/// Another store's host in an Ingress of this one would take that store's shoppers.
fn check_hosts(manifest: &Manifest, template: &str, host: &Host) -> Result<(), ManifestError> {
    if manifest.key.kind != "Ingress" {
        return Ok(());
    }
    let other = |found: String| ManifestError::OtherHost {
        object: manifest.key.to_string(),
        template: template.to_owned(),
        found,
        host: host.to_string(),
    };
    if manifest.body.pointer("/spec/defaultBackend").is_some_and(|backend| !backend.is_null()) {
        return Err(other("every host, by its default backend".to_owned()));
    }
    let rules = manifest.body.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten();
    for rule in rules {
        match rule.get("host").and_then(Value::as_str) {
            Some(found) if found == host.as_str() => {}
            Some(found) => return Err(other(found.to_owned())),
            None => return Err(other("every host, by a rule without one".to_owned())),
        }
    }
    Ok(())
}

/// Returns where people find this host: `https` when an Ingress among the objects has a certificate for it, `http`
/// when one serves it without; none when no Ingress serves it.
pub fn url(manifests: &[Manifest], host: &Host) -> Option<String> {
    let hosts = |list: Option<&Value>, pointer: &str| {
        let entries = list.and_then(Value::as_array).into_iter().flatten();
        let found = entries.filter_map(|entry| entry.pointer(pointer));
        found
            .flat_map(|value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]))
            .collect::<Vec<_>>()
    };
    let mut ingresses = manifests.iter().filter(|manifest| manifest.key.kind == "Ingress");
    let ours = Value::from(host.as_str());
    let ingress = ingresses.find(|it| hosts(it.body.pointer("/spec/rules"), "/host").contains(&ours))?;
    let tls = hosts(ingress.body.pointer("/spec/tls"), "/hosts").contains(&ours);
    Some(format!("{}://{host}/", if tls { "https" } else { "http" }))
}

/// Returns the image by which people know a version: that of the API, or else of the first Deployment.
pub fn image(manifests: &[Manifest]) -> Option<String> {
    let is_api = |manifest: &&Manifest| {
        let labels = manifest.body.pointer("/metadata/labels");
        labels.and_then(|labels| labels.get(LABEL_COMPONENT)).is_some_and(|of| of == "medusa")
    };
    let mut deployments = manifests.iter().filter(|manifest| manifest.key.kind == "Deployment");
    let first = deployments.clone().next();
    let found = deployments.find(is_api).or(first)?;
    let image = found.body.pointer("/spec/template/spec/containers/0/image")?;
    image.as_str().map(str::to_owned)
}

/// Writes namespace and ownership labels into an object and drops what only the server may say.
fn stamp(body: &mut Value, namespace: &str, owner: Owner<'_>) {
    let Some(root) = body.as_object_mut() else { return };
    root.remove("status");
    let metadata = entry_map(root, "metadata");
    metadata.insert("namespace".to_owned(), namespace.into());
    let labels = entry_map(metadata, "labels");
    for (label, value) in owner.labels() {
        labels.insert(label.to_owned(), value.into());
    }
}

fn entry_map<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = parent.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("the slot was just made an object"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve(api_version: &str, kind: &str) -> Option<Resource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        (kind != "Widget").then(|| Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: format!("{}s", kind.to_lowercase()),
            namespaced: kind != "ClusterRole",
        })
    }

    fn prepare_bodies(bodies: Vec<Value>) -> Result<Vec<Manifest>, ManifestError> {
        let (store, source) = ("acme".parse().unwrap(), "main".parse().unwrap());
        let rendered = bodies.into_iter().map(|body| ("templates/t.yaml".to_owned(), body)).collect();
        let host = "a.example.com".parse().unwrap();
        let kinds = AllowedKinds::with(["example.com/Unheard".parse().unwrap()]);
        prepare(rendered, Owner { store: &store, source: &source }, &host, &kinds, &resolve)
    }

    fn object(api_version: &str, kind: &str, metadata: &Value) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})
    }

    #[test]
    fn an_object_is_stamped_with_its_namespace_and_owner() {
        let labels = json!({"app": "x", "app.kubernetes.io/managed-by": "Helm"});
        let body = object("v1", "Service", &json!({"name": "a", "labels": labels}));
        let manifests = prepare_bodies(vec![body]).unwrap();
        assert_eq!(
            manifests[0].body["metadata"],
            json!({"name": "a", "namespace": "store-acme", "labels": {
                "app": "x",
                "app.kubernetes.io/managed-by": "storekeeper",
                "storekeeper.dev/store": "acme",
                "storekeeper.dev/source": "main",
            }})
        );
    }

    #[test]
    fn objects_are_sorted_so_that_what_others_need_comes_first() {
        let named = |version, kind| object(version, kind, &json!({"name": "x"}));
        let kinds: Vec<_> = prepare_bodies(vec![
            named("networking.k8s.io/v1", "Ingress"),
            named("example.com/v1", "Unheard"),
            named("apps/v1", "Deployment"),
            named("v1", "Secret"),
            named("networking.k8s.io/v1", "NetworkPolicy"),
        ])
        .unwrap()
        .into_iter()
        .map(|manifest| manifest.key.kind.clone())
        .collect();
        assert_eq!(kinds, ["NetworkPolicy", "Secret", "Deployment", "Ingress", "Unheard"]);
    }

    #[test]
    fn nothing_outside_the_namespace_of_the_store_is_accepted() {
        let foreign = object("v1", "Secret", &json!({"name": "a", "namespace": "kube-system"}));
        let error = prepare_bodies(vec![foreign]).unwrap_err();
        assert!(
            matches!(&error, ManifestError::OutsideNamespace { found, .. } if found.contains("kube-system"))
        );
        let role = object("rbac.authorization.k8s.io/v1", "ClusterRole", &json!({"name": "a"}));
        assert!(matches!(prepare_bodies(vec![role]), Err(ManifestError::OutsideNamespace { .. })));
    }

    #[test]
    fn an_unknown_kind_and_a_repeated_object_are_named() {
        let widget = object("example.com/v1", "Widget", &json!({"name": "w"}));
        assert!(has_unknown_kind(std::iter::once(&widget), &resolve));
        assert!(prepare_bodies(vec![widget]).unwrap_err().to_string().contains("no kind Widget"));
        let secret = object("v1", "Secret", &json!({"name": "a"}));
        let twice = prepare_bodies(vec![secret.clone(), secret]).unwrap_err();
        assert_eq!(
            twice.to_string(),
            "Secret/a is rendered twice, the second time by template templates/t.yaml"
        );
    }

    #[test]
    fn an_ingress_serves_the_host_of_its_store_and_no_other() {
        let ingress = |spec: Value| {
            let metadata = json!({ "name": "i" });
            let version = "networking.k8s.io/v1";
            let body =
                json!({ "apiVersion": version, "kind": "Ingress", "metadata": metadata, "spec": spec });
            prepare_bodies(vec![body])
        };
        assert!(ingress(json!({ "rules": [{ "host": "a.example.com" }] })).is_ok());
        for spec in [
            json!({ "rules": [{ "host": "a.example.com" }, { "host": "rival.example.com" }] }),
            json!({ "rules": [{ "http": {} }] }),
            json!({ "defaultBackend": { "service": { "name": "x" } } }),
        ] {
            assert!(matches!(ingress(spec), Err(ManifestError::OtherHost { .. })));
        }
    }

    #[test]
    fn the_inventory_of_a_store_is_not_the_charts_to_write() {
        let map = object("v1", "ConfigMap", &json!({ "name": INVENTORY_NAME }));
        assert!(matches!(prepare_bodies(vec![map]), Err(ManifestError::Reserved { .. })));
    }

    #[test]
    fn the_url_is_what_the_ingress_serves() {
        let ingress = |spec: Value| {
            let api_version = "networking.k8s.io/v1";
            let metadata = json!({ "name": "i" });
            let body =
                json!({ "apiVersion": api_version, "kind": "Ingress", "metadata": metadata, "spec": spec });
            prepare_bodies(vec![body]).unwrap()
        };
        let host: Host = "a.example.com".parse().unwrap();
        let rules = json!([{ "host": "a.example.com" }]);
        let plain = ingress(json!({ "rules": rules }));
        assert_eq!(url(&plain, &host).as_deref(), Some("http://a.example.com/"));
        let secure =
            ingress(json!({ "rules": rules, "tls": [{ "hosts": ["b.example.com", "a.example.com"] }] }));
        assert_eq!(url(&secure, &host).as_deref(), Some("https://a.example.com/"));
        assert_eq!(url(&secure, &"b.example.com".parse().unwrap()), None, "no rule serves it");
    }
}
