//! What the chart `charts/platform` gives the daemon, put on the test's cluster under names of its own: roles, bindings,
//! policies, a service account, and a kubeconfig that logs in as that account.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use serde_json::{Map, Value, json};
use storekeeper::chart::{Capabilities, Chart, Release, RenderLimits, RenderRequest};

use super::World;

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// The chart's rights on the cluster. What has no namespace goes with it.
pub struct Rights<'a> {
    world: &'a World,
    pub namespace: String,
    pub name: String,
    pub kubeconfig: PathBuf,
    cluster_scoped: Vec<Value>,
}

impl<'a> Rights<'a> {
    /// Installs what the chart renders of these kinds; `change` may alter each object before.
    pub fn install(world: &'a World, kinds: &[&str], change: impl Fn(&mut Value)) -> Self {
        let (namespace, name) = (format!("{}-system", world.prefix), format!("{}-keeper", world.prefix));
        world.cluster.create_namespace(&namespace, &json!({ "storekeeper.dev/source": world.source }));
        let mut cluster_scoped = Vec::new();
        let mut rendered = render(world, &name, &namespace);
        rendered.sort_by_key(|object| object["kind"] != "Namespace");
        for mut object in rendered {
            let kind = object["kind"].as_str().unwrap().to_owned();
            if !kinds.contains(&kind.as_str()) {
                continue;
            }
            change(&mut object);
            let version = object["apiVersion"].as_str().unwrap().to_owned();
            let within = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let within = if kind == "ServiceAccount" { namespace.clone() } else { within };
            if within.is_empty() {
                cluster_scoped.push(object.clone());
            }
            world.cluster.create(&version, &kind, &within, object);
        }
        let token = world.cluster.token(&namespace, &name);
        let kubeconfig = world.folder.path().join("rights-kubeconfig");
        write_kubeconfig(&world.cluster.kubeconfig, &token, &kubeconfig);
        Self { world, namespace, name, kubeconfig, cluster_scoped }
    }

    /// Returns the arguments by which a daemon lives with these rights.
    pub fn arguments(&self) -> Vec<String> {
        let account = format!("{}:{}", self.namespace, self.name);
        [
            "--store-role",
            &self.store_role(),
            "--service-account",
            &account,
            "--try-out-namespace",
            &self.try_out_namespace(),
            "--lease-namespace",
            &self.namespace,
            "--lease-seconds",
            "5",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    pub fn store_role(&self) -> String {
        format!("{}-store", self.name)
    }

    pub fn try_out_namespace(&self) -> String {
        format!("{}-try-out", self.name)
    }
}

impl Drop for Rights<'_> {
    fn drop(&mut self) {
        for object in &self.cluster_scoped {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap();
            self.world.cluster.delete(text("/apiVersion"), text("/kind"), "", text("/metadata/name"));
        }
    }
}

/// Renders the chart for a world.
pub fn render(world: &World, name: &str, namespace: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/platform");
    let mut files = BTreeMap::new();
    read(&folder, &folder, &mut files);
    let chart = Chart::load(files).unwrap();
    let values = json!({ "fullnameOverride": name, "source": world.source,
        "repository": { "url": "https://git.example.com/shops.git" } });
    let defaults =
        storekeeper::chart::parse_values(std::str::from_utf8(chart.file("values.yaml").unwrap()).unwrap());
    let mut merged: Map<String, Value> = defaults.unwrap();
    storekeeper::store::values::merge(&mut merged, values.as_object().unwrap());
    let request = RenderRequest {
        release: Release {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            is_upgrade: false,
            revision: 1,
        },
        values: &merged,
        capabilities: &Capabilities::without_cluster(None, Vec::new()).unwrap(),
        lookup: &|_| json!({}),
        entropy: &|bytes| bytes.fill(7),
        now: 0,
        limits: RenderLimits::default(),
    };
    chart.render(&request).unwrap().objects.into_iter().map(|object| object.value).collect()
}

fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// Writes a kubeconfig for the same server that logs in with a token.
fn write_kubeconfig(admin: &Path, token: &str, path: &Path) {
    let mut config = Kubeconfig::read_from(admin).unwrap();
    for named in &mut config.auth_infos {
        named.auth_info = Some(kube::config::AuthInfo {
            token: Some(token.to_owned().into()),
            ..kube::config::AuthInfo::default()
        });
    }
    // The token itself, which printing leaves out.
    let mut written = serde_json::to_value(&config).unwrap();
    for user in written["users"].as_array_mut().unwrap() {
        user["user"]["token"] = token.into();
    }
    fs::write(path, written.to_string()).unwrap();
}

/// One thing that a rule allows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Whether it is one in the daemon's own namespace.
    pub is_own: bool,
    pub verb: String,
    pub group: String,
    pub resource: String,
}

impl Rights<'_> {
    /// Returns everything that the roles allow, one verb on one kind each.
    pub fn granted(&self) -> Vec<Right> {
        let mut granted = Vec::new();
        let store_role = self.store_role();
        let roles = [
            ("ClusterRole", "", &self.name),
            ("ClusterRole", "", &store_role),
            ("Role", self.namespace.as_str(), &self.name),
        ];
        for (kind, within, name) in roles {
            let object = self.world.cluster.get(RBAC, kind, within, name).unwrap();
            let is_own = kind == "Role";
            for rule in object["rules"].as_array().unwrap() {
                let words = |of: &str| -> Vec<String> {
                    let words = rule[of].as_array().unwrap().iter();
                    words.map(|word| word.as_str().unwrap().to_owned()).collect()
                };
                for group in words("apiGroups") {
                    for resource in words("resources") {
                        for verb in words("verbs") {
                            let (group, resource) = (group.clone(), resource.clone());
                            granted.push(Right { is_own, verb, group, resource });
                        }
                    }
                }
            }
        }
        granted
    }
}
