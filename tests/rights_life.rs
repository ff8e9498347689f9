//! The whole life of stores with the rights that the chart gives, all of which it takes.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::api_proxy::{ApiProxy, Call};
use common::cluster::Cluster;
use common::daemon::{Daemon, binary};
use common::rights::{Right, Rights};
use common::{World, until};
use serde_json::{Value, json};

/// What the chart renders of rights, and of what confines them.
const RIGHTS: [&str; 8] = [
    "Namespace",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// How many lives are lived side by side.
const AT_ONCE: usize = 6;

/// How long a step of a life may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// A chart with an object of every kind that a store may have.
const ZOO: &str = r#"
{{- define "pod" -}}
securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
containers:
  - name: c
    image: example.com/x:1
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
{{- end -}}
{{- define "template" -}}
metadata:
  labels: {app: {{ .app }}}
  {{- with .simulate }}
  annotations: {devcluster.storekeeper.dev/simulate: {{ . }}}
  {{- end }}
spec: {{- include "pod" . | nindent 2 }}
{{- end -}}
{{- $meta := printf "{name: zoo, labels: {stage: %q}}" (toString .Values.stage) -}}
apiVersion: v1
kind: ConfigMap
metadata: {{ $meta }}
{{- if lt (int .Values.stage) 3 }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: more}
---
apiVersion: v1
kind: Secret
metadata: {{ $meta }}
stringData: {a: {{ randAlphaNum 20 | quote }}}
---
apiVersion: v1
kind: LimitRange
metadata: {{ $meta }}
spec: {limits: [{type: Container, default: {cpu: 1m, memory: 1Mi}, defaultRequest: {cpu: 1m, memory: 1Mi}}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {{ $meta }}
spec: {hard: {pods: "20"}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{ $meta }}
spec: {storageClassName: {{ .Values.class }}, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Service
metadata: {{ $meta }}
spec: {selector: {app: zoo}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{ $meta }}
---
apiVersion: v1
kind: Pod
metadata: {{ $meta }}
spec: {{- include "pod" . | nindent 2 }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ $meta }}
spec:
  selector: {matchLabels: {app: zoo}}
  template: {{- include "template" (dict "app" "zoo" "simulate" .Values.simulate) | nindent 4 }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{ $meta }}
spec:
  serviceName: zoo
  selector: {matchLabels: {app: set}}
  template: {{- include "template" (dict "app" "set" "simulate" "") | nindent 4 }}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{ $meta }}
spec:
  selector: {matchLabels: {app: daemon}}
  template: {{- include "template" (dict "app" "daemon" "simulate" "") | nindent 4 }}
---
apiVersion: batch/v1
kind: Job
metadata: {{ $meta }}
spec:
  template:
    spec:
      restartPolicy: Never {{- include "pod" . | nindent 6 }}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: zoo
  labels: {stage: {{ .Values.stage | quote }}}
  annotations: {storekeeper.dev/final-backup: "true"}
spec:
  schedule: "0 0 31 2 *"
  suspend: true
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never {{- include "pod" . | nindent 10 }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{ $meta }}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: nobody}, maxReplicas: 2}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{ $meta }}
spec: {rules: [{host: {{ .Values.host }}, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: zoo, port: {number: 80}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{ $meta }}
spec: {podSelector: {}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{ $meta }}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: zoo}}}
{{- end }}
"#;

/// A life under way, which ends at the first thing that is forbidden.
struct Life<'a> {
    world: &'a World,
    daemon: Daemon,
    kubeconfig: &'a Path,
    arguments: Vec<String>,
    /// Which lines of the log are of no account, from one to another.
    pardoned: Cell<(usize, usize)>,
}

/// Starts a replica with a folder of its own.
fn start(world: &World, kubeconfig: &Path, arguments: &[String], identity: &str) -> Daemon {
    let (folder, url) = (world.folder.path().join(identity), world.repository.url());
    std::fs::create_dir_all(&folder).unwrap();
    let more = ["--probe", "objects", "--identity", identity];
    let more: Vec<_> = more.into_iter().chain(arguments.iter().map(String::as_str)).collect();
    Daemon::start_on("127.0.0.1:0", &folder, &url, &world.source, kubeconfig, &more)
}

/// What a life ended with before its time.
type Broken = String;

impl<'a> Life<'a> {
    fn begin(world: &'a World, rights: &Rights, kubeconfig: &'a Path) -> Self {
        let fleet = "deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}\n  charts:\n    zoo: {folder: charts/zoo, \
                     fields: {host: host}}";
        world.write_fleet(fleet);
        world.repository.write("charts/zoo/Chart.yaml", "apiVersion: v2\nname: zoo\nversion: 1.0.0\n");
        world.repository.write("charts/zoo/values.yaml", "stage: 1\nsimulate: ''\nclass: ''\nhost: ''\n");
        world.repository.write("charts/zoo/templates/zoo.yaml", ZOO);
        let arguments = rights.arguments();
        let daemon = start(world, kubeconfig, &arguments, "first");
        Self { world, daemon, kubeconfig, arguments, pardoned: Cell::new((0, 0)) }
    }

    /// Waits for something; a line of the log about what is forbidden ends the life.
    fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T, Broken> {
        until_or(what, look, || self.forbidden())
    }

    /// Finds what the log says was forbidden.
    fn forbidden(&self) -> Option<Value> {
        let (from, to) = self.pardoned.get();
        let mut lines = self.daemon.lines().enumerate().filter(|(place, _)| !(from..to).contains(place));
        lines.find_map(|(_, line)| {
            let text = line.to_string().to_lowercase();
            (text.contains("is forbidden: user") || text.contains("allows nothing")).then_some(line)
        })
    }

    fn write_zoo(&self, stage: u32, simulate: &str) {
        let (id, class) = (self.world.store("zoo"), &self.world.prefix);
        let text = format!(
            "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: {id}}}\nspec: {{chart: zoo, values: {{stage: \
             {stage}, simulate: '{simulate}', class: {class}}}}}\n"
        );
        self.world.repository.write(&self.world.file("zoo"), &text);
    }

    fn until_ready(&self, name: &str, commit: &str) -> Result<(), Broken> {
        let store = self.world.store(name);
        self.until(&format!("{name} is READY"), || {
            let shown = self.daemon.store(&store)?;
            (shown["state"] == "READY" && shown["appliedRevision"] == commit).then_some(())
        })
    }

    /// Shows what a run would do with the repository's files.
    fn plan(&self) -> Result<String, Broken> {
        let output = Command::new(binary())
            .args(["plan", "--source", &self.world.source, "--kubeconfig"])
            .arg(self.kubeconfig)
            .args(&self.arguments[..6])
            .arg(&self.world.repository.checkout)
            .output()
            .unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if said.contains("forbidden") { Err(said) } else { Ok(said) }
    }

    /// From the first push to a store's end.
    fn live(mut self) -> Result<(), Broken> {
        let world = self.world;
        self.write_zoo(1, "fail");
        world.write_store("acme", "Acme Tools");
        let commit = world.repository.push("two stores");
        self.until_ready("acme", &commit)?;
        self.until("zoo says what its pods are up to", || {
            let shown = self.daemon.store(&world.store("zoo"))?;
            shown["reason"].as_str().is_some_and(|reason| reason.contains("pod ")).then_some(())
        })?;
        self.write_zoo(2, "");
        // One that has no namespace to be tried in.
        world.write_store("new", "New");
        self.plan()?;
        world.repository.remove(&world.file("new"));
        self.until_ready("zoo", &world.repository.push("stage 2"))?;
        self.heal()?;
        self.until("an Event says so", || {
            let events = world.cluster.list("events.k8s.io/v1", "Event", &world.namespace("acme"));
            events.iter().any(|event| event["reportingController"] == "storekeeper").then_some(())
        })?;
        self.write_zoo(3, "");
        self.until_ready("zoo", &world.repository.push("stage 3"))?;
        let left = |kind: &str| world.cluster.get("v1", kind, &world.namespace("zoo"), "zoo");
        self.until("what is rendered no longer is gone", || left("Secret").is_none().then_some(()))?;
        self.write_zoo(2, "");
        self.until_ready("zoo", &world.repository.push("stage 2 again"))?;
        world.repository.remove(&world.file("zoo"));
        let plan = self.plan()?;
        if !plan.contains("its StorageClass retains the volume itself") {
            return Err(format!("nothing is said of the volume that stays: {plan}"));
        }
        world.repository.push("no zoo");
        let gone = || world.cluster.namespace(&world.namespace("zoo")).is_none().then_some(());
        self.until("zoo is gone", gone)?;
        self.hand_over()?;
        world.remove_store("acme");
        let gone = || world.cluster.namespace(&world.namespace("acme")).is_none().then_some(());
        self.until("acme is gone", gone)?;
        self.unforbidden()
    }

    /// Another replica takes over.
    fn hand_over(&mut self) -> Result<(), Broken> {
        let second = start(self.world, self.kubeconfig, &self.arguments, "second");
        let first = std::mem::replace(&mut self.daemon, second);
        self.until("acme is READY there too", || {
            let shown = self.daemon.store(&self.world.store("acme"))?;
            (shown["state"] == "READY").then_some(())
        })?;
        let second = std::mem::replace(&mut self.daemon, first);
        self.unforbidden()?;
        let before = self.daemon.lines().count();
        let first = std::mem::replace(&mut self.daemon, second);
        let log = first.log.clone();
        first.terminate();
        self.pardoned.set((0, 0));
        let said = common::daemon::lines(&log).skip(before).find(|line| line["level"] == "WARN");
        said.map_or(Ok(()), |line| Err(format!("the first replica's end: {line}")))
    }

    /// Whether nothing was forbidden so far.
    fn unforbidden(&self) -> Result<(), Broken> {
        self.forbidden().map_or(Ok(()), |line| Err(format!("all went well, but {line}")))
    }

    /// What somebody deletes comes back: a Secret when somebody asks for a look, all else at once.
    fn heal(&self) -> Result<(), Broken> {
        let (cluster, namespace) = (&self.world.cluster, self.world.namespace("zoo"));
        for (version, kind) in [("v1", "Service"), ("v1", "Secret")] {
            cluster.delete(version, kind, &namespace, "zoo");
            if kind == "Secret" {
                let asked = json!({ "storekeeper.dev/requested-at": "2026-11-23T12:00:00Z" });
                cluster.patch_namespace(&namespace, &json!({ "metadata": { "annotations": asked } }));
            }
            self.until(&format!("{kind}/zoo is back"), || {
                cluster.get(version, kind, &namespace, "zoo").map(|_| ())
            })?;
        }
        let (version, kind) = ("rbac.authorization.k8s.io/v1", "RoleBinding");
        let binding = &self.arguments[1];
        let before = self.daemon.lines().count();
        cluster.delete(version, kind, &namespace, binding);
        // What a run was about to do meanwhile was forbidden.
        let back = || cluster.get(version, kind, &namespace, binding).map(|_| ());
        until_or("the RoleBinding is back", back, || None)?;
        until_or(
            "zoo is READY again",
            || {
                let shown = self.daemon.store(&self.world.store("zoo"))?;
                (shown["state"] == "READY").then_some(())
            },
            || None,
        )?;
        self.pardoned.set((before, self.daemon.lines().count()));
        Ok(())
    }
}

/// Waits for something, unless something else ends the life.
fn until_or<T>(
    what: &str,
    mut look: impl FnMut() -> Option<T>,
    end: impl Fn() -> Option<Value>,
) -> Result<T, Broken> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if let Some(line) = end() {
            return Err(format!("{what}: {line}"));
        }
        if Instant::now() > deadline {
            return Err(format!("{what}: not within {} s", PATIENCE.as_secs()));
        }
        sleep(Duration::from_millis(50));
    }
}

/// A world with a `StorageClass` whose volumes stay, for the zoo's claim.
struct Keeping<'a>(&'a World);

impl<'a> Keeping<'a> {
    fn new(world: &'a World) -> Self {
        let body = json!({ "metadata": { "name": world.prefix }, "provisioner": "example.com/none", "reclaimPolicy": "Retain" });
        world.cluster.create("storage.k8s.io/v1", "StorageClass", "", body);
        Self(world)
    }
}

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        self.0.cluster.delete("storage.k8s.io/v1", "StorageClass", "", &self.0.prefix);
    }
}

/// What a call takes, as roles say it. An apply makes an object where there is none.
fn taken(call: &Call, own: &str) -> Vec<(bool, &'static str, String, String)> {
    let parts: Vec<_> = call.path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return Vec::new(),
    };
    let (resource, named) = match rest {
        ["namespaces", _, resource] | [resource] => (*resource, false),
        ["namespaces", _, resource, _] | [resource, _] => (*resource, true),
        _ => return Vec::new(),
    };
    let verbs: &[&str] = match (call.verb.as_str(), named) {
        ("WATCH", _) => &["list", "watch"],
        ("GET", true) => &["get"],
        ("GET", false) => &["list"],
        ("POST", _) => &["create"],
        ("PATCH", _) => &["create", "patch"],
        ("DELETE", _) => &["delete"],
        _ => &[],
    };
    let is_own = call.concerns(own);
    verbs.iter().map(|verb| (is_own, *verb, group.to_owned(), resource.to_owned())).collect()
}

#[test]
fn the_rights_of_the_chart_are_enough_for_a_life_and_none_of_them_is_spare() {
    let world = World::new();
    let _class = Keeping::new(&world);
    let rights = Rights::install(&world, &RIGHTS, |_| ());
    let account = Cluster::connect(rights.kubeconfig.clone());
    until("the rights are in force", || account.may("list", "", "namespaces", "").then_some(()));
    let proxy = ApiProxy::start(&rights.kubeconfig, world.folder.path(), 1);
    let life = Life::begin(&world, &rights, &proxy.kubeconfig);
    life.live().unwrap();
    // A streamed list takes the right to watch, its pages take the right to list.
    let used: BTreeSet<_> =
        proxy.seen().iter().flat_map(|seen| taken(&seen.call, &rights.namespace)).collect();
    let spare: Vec<_> = rights
        .granted()
        .into_iter()
        .filter(|right| right.verb != "bind")
        .filter(|Right { is_own, verb, group, resource }| {
            !used.contains(&(*is_own, verb.as_str(), group.clone(), resource.clone()))
        })
        .collect();
    assert!(spare.is_empty(), "nothing uses {spare:#?}");
}

#[test]
fn without_any_one_of_its_rules_something_fails() {
    let rules =
        Mutex::new(counted().into_iter().flat_map(|(role, rules)| (0..rules).map(move |at| (role, at))));
    let unmissed = Mutex::new(Vec::new());
    let next = || rules.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((role, place)) = next() {
                    match live_without(role, place) {
                        Err(why) => println!("without rule {place} of the {role} role: {why}"),
                        Ok(()) => unmissed.lock().unwrap().push((role, place)),
                    }
                }
            });
        }
    });
    let unmissed = unmissed.into_inner().unwrap();
    assert!(unmissed.is_empty(), "nobody misses these rules: {unmissed:?}");
}

/// Lives with all rights but those of one rule.
fn live_without(role: &str, place: usize) -> Result<(), Broken> {
    let world = World::new();
    let _class = Keeping::new(&world);
    let rights = Rights::install(&world, &RIGHTS, |object| {
        if name_of_role(object) == Some(role) {
            object["rules"].as_array_mut().unwrap().remove(place);
        }
    });
    Life::begin(&world, &rights, &rights.kubeconfig).live()
}

/// How many rules each of the chart's roles has.
fn counted() -> Vec<(&'static str, usize)> {
    let world = World::new();
    let rendered = common::rights::render(&world, "x", "y");
    let roles = rendered.iter().filter_map(|object| Some((name_of_role(object)?, object)));
    roles.map(|(role, object)| (role, object["rules"].as_array().unwrap().len())).collect()
}

/// Says which of the chart's roles an object is, if it is one.
fn name_of_role(object: &Value) -> Option<&'static str> {
    match object["kind"].as_str()? {
        "Role" => Some("own"),
        "ClusterRole" if object["metadata"]["name"].as_str()?.ends_with("-store") => Some("store"),
        "ClusterRole" => Some("cluster"),
        _ => None,
    }
}
