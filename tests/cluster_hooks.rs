//! A chart's hooks are steps: they run once for each version, in their order, and what comes after them waits.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::collections::BTreeSet;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::daemon::{Daemon, binary};
use common::{World, until};
use serde_json::Value;

const FLEET: &str = "deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}\n  charts:\n    hooked: {folder: charts/hooked, \
     fields: {}}";

const VALUES: &str = "text: one\njobs: true\nsimulate: {}\npolicy: before-hook-creation\n";

/// What a pod needs, but for its name.
const POD: &str = r#"
{{- define "pod" -}}
restartPolicy: {{ . }}
securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
containers:
  - name: c
    image: example.com/x:1
    resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
{{- end -}}
{{- define "hook" -}}
metadata:
  name: {{ .name }}
  annotations:
    helm.sh/hook: {{ .events }}
    helm.sh/hook-weight: {{ .weight | default "0" | quote }}
    helm.sh/hook-delete-policy: {{ .policy }}
{{- end -}}
{{- define "job" -}}
apiVersion: batch/v1
kind: Job
{{ include "hook" . }}
spec:
  backoffLimit: 0
  template:
    metadata: {annotations: {{ if .simulate }}{{ dict "devcluster.storekeeper.dev/simulate" .simulate | toJson }}{{ else }}{}{{ end }}}
    spec: {{- include "pod" "Never" | nindent 6 }}
{{- end -}}
"#;

const HOOKS: &str = r#"
apiVersion: v1
kind: ConfigMap
{{ include "hook" (dict "name" "early" "events" "pre-install,pre-upgrade" "weight" "-5" "policy" "before-hook-creation,hook-succeeded") }}
data: {text: {{ .Values.text }}}
---
{{ include "job" (dict "name" "back" "events" "pre-rollback" "policy" "before-hook-creation" "simulate" "") }}
{{- if .Values.jobs }}
---
{{ include "job" (dict "name" "migrate" "events" "pre-install,pre-upgrade" "policy" .Values.policy "simulate" (.Values.simulate.migrate | default "")) }}
---
{{ include "job" (dict "name" "check" "events" "post-install,post-upgrade" "weight" "1" "policy" "before-hook-creation" "simulate" (.Values.simulate.check | default "")) }}
---
{{ include "job" (dict "name" "first" "events" "post-install" "policy" "hook-succeeded" "simulate" "") }}
---
{{ include "job" (dict "name" "test" "events" "test" "policy" "hook-succeeded" "simulate" "") }}
{{- end }}
"#;

const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {text: {{ .Values.text }}, installed: {{ .Release.IsInstall | quote }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      annotations:
        text: {{ .Values.text }}
        {{- with .Values.simulate.web }}
        devcluster.storekeeper.dev/simulate: {{ . }}
        {{- end }}
    spec: {{- include "pod" "Always" | nindent 6 }}
"#;

/// A world whose repository holds the chart.
fn world() -> World {
    let world = World::new();
    for (name, text) in [
        ("Chart.yaml", "apiVersion: v2\nname: hooked\nversion: 1.0.0\n"),
        ("values.yaml", VALUES),
        ("templates/_helpers.tpl", POD),
        ("templates/hooks.yaml", HOOKS),
        ("templates/objects.yaml", OBJECTS),
    ] {
        world.repository.write(&format!("charts/hooked/{name}"), text);
    }
    world.write_fleet(FLEET);
    world
}

/// Writes the store with these values.
fn write(world: &World, values: &str) {
    let id = world.store("acme");
    let head = format!("apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: {id}}}\n");
    world.repository.write(
        &world.file("acme"),
        &format!("{head}spec: {{chart: hooked, rollback: lastGood, values: {values}}}\n"),
    );
}

/// Writes the store with these values, pushes, and returns the commit.
fn push(world: &World, values: &str) -> String {
    write(world, values);
    world.repository.push(values)
}

fn until_ready_at(world: &World, daemon: &Daemon, commit: &str) {
    until(&format!("acme is READY at {commit}"), || {
        let shown = daemon.store(&world.store("acme"))?;
        (shown["state"] == "READY" && shown["appliedRevision"] == commit).then_some(())
    });
}

fn job(world: &World, name: &str) -> Option<Value> {
    world.cluster.get("batch/v1", "Job", &world.namespace("acme"), name)
}

fn uid(job: &Value) -> String {
    job["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn settings(world: &World) -> Option<Value> {
    Some(world.cluster.get("v1", "ConfigMap", &world.namespace("acme"), "settings")?["data"].clone())
}

#[test]
fn hooks_run_once_for_each_version_in_their_order() {
    let world = world();
    let labels = format!("storekeeper.dev/store={}", world.store("acme"));
    let kinds = [("v1", "ConfigMap"), ("batch/v1", "Job"), ("apps/v1", "Deployment")];
    let witness = world.cluster.witness(&kinds, &labels);
    let daemon = world.start_daemon();
    let begin = Instant::now();
    let first = push(&world, "{text: one}");
    until_ready_at(&world, &daemon, &first);
    let is = |name: &'static str, gone: bool| {
        witness.until(name, begin, move |event| event.name == name && event.gone == gone).at
    };
    // What came when, as the API server told it; what its policy takes away goes when all of its event have ended.
    let order = [
        ("early", is("early", false)),
        ("migrate", is("migrate", false)),
        ("early goes", is("early", true)),
        ("web", is("web", false)),
        ("first", is("first", false)),
        ("check", is("check", false)),
        ("first goes", is("first", true)),
    ];
    assert!(order[0].1 < order[1].1, "{order:?}");
    assert!(order[1].1 < order[2].1 && order[1].1 < order[3].1, "{order:?}");
    assert!(order[3].1 < order[4].1 && order[4].1 < order[5].1 && order[5].1 < order[6].1, "{order:?}");
    assert!(job(&world, "test").is_none(), "nobody asks for tests");
    assert_eq!(settings(&world).unwrap()["installed"], "true");

    // Healing and a restart run no hook, and render what was installed; a restart writes nothing.
    let (migrate, check) = (uid(&job(&world, "migrate").unwrap()), uid(&job(&world, "check").unwrap()));
    world.cluster.delete("v1", "ConfigMap", &world.namespace("acme"), "settings");
    let back = until("the deleted ConfigMap is back", || settings(&world));
    assert_eq!(back["installed"], "true");
    drop(daemon);
    let versions = || {
        let of = |kind: &str, version: &str| world.cluster.list(version, kind, &world.namespace("acme"));
        let all = [of("ConfigMap", "v1"), of("Job", "batch/v1")].concat();
        all.iter().map(|it| it["metadata"]["resourceVersion"].clone()).collect::<Vec<_>>()
    };
    let before = versions();
    let daemon = world.start_daemon();
    until_ready_at(&world, &daemon, &first);
    assert_eq!(versions(), before);
    world.cluster.delete("batch/v1", "Job", &world.namespace("acme"), "check");
    until("the deleted Job is gone", || job(&world, "check").is_none().then_some(()));
    world.cluster.delete("v1", "ConfigMap", &world.namespace("acme"), "settings");
    until("the deleted ConfigMap is back", || settings(&world));
    assert_eq!(uid(&job(&world, "migrate").unwrap()), migrate);
    assert!(job(&world, "check").is_none(), "a hook that has run is not put back");

    let begin = Instant::now();
    write(&world, "{text: two}");
    let folder = world.repository.checkout.to_str().unwrap();
    let kubeconfig = world.cluster.kubeconfig.to_str().unwrap();
    let plan = ["plan", folder, "--kubeconfig", kubeconfig, "--source", &world.source];
    let printed = Command::new(binary()).args(plan).output().unwrap().stdout;
    let printed = String::from_utf8(printed).unwrap();
    for (object, note) in [
        ("+ ConfigMap/early", "pre-upgrade hook\n"),
        ("+ Job/migrate", "pre-upgrade hook\n"),
        ("+ Job/check", "post-upgrade hook"),
    ] {
        assert!(printed.contains(&format!("{object}\n        {note}")), "{object}: {printed}");
    }
    assert!(printed.contains("~ Deployment/web"), "{printed}");
    let second = push(&world, "{text: two}");
    until_ready_at(&world, &daemon, &second);
    let change = |name: &'static str| {
        witness.until(name, begin, move |event| event.name == name && !event.gone && !event.deleting).at
    };
    assert!(change("migrate") < change("web"));
    assert_ne!(uid(&job(&world, "migrate").unwrap()), migrate);
    assert_ne!(uid(&job(&world, "check").unwrap()), check);
    assert_eq!(settings(&world).unwrap()["installed"], "false");
    assert!(job(&world, "first").is_none(), "it is for the first version alone");

    // With the hooks gone from the chart, so are their objects.
    world.repository.write("charts/hooked/templates/hooks.yaml", "");
    let third = push(&world, "{text: three}");
    until_ready_at(&world, &daemon, &third);
    until("what hooks left is gone", || {
        (job(&world, "migrate").is_none() && job(&world, "check").is_none()).then_some(())
    });
}

#[test]
fn what_comes_after_a_hook_that_fails_waits_for_somebody() {
    let world = world();
    let daemon = world.start_daemon();
    let first = push(&world, "{text: one}");
    until_ready_at(&world, &daemon, &first);

    // Before the objects: they stay as they were.
    push(&world, "{text: two, simulate: {migrate: fail}}");
    world.until_failed(
        &daemon,
        "acme",
        &["migration: Job/migrate: the pre-upgrade hook failed", "BackoffLimit"],
    );
    assert_eq!(settings(&world).unwrap()["text"], "one");
    let failed = uid(&job(&world, "migrate").unwrap());
    world.cluster.delete("batch/v1", "Job", &world.namespace("acme"), "migrate");
    until("whoever deletes the Job has it run again", || {
        job(&world, "migrate").filter(|job| uid(job) != failed)
    });
    world.until_failed(&daemon, "acme", &["the pre-upgrade hook failed"]);
    let second = push(&world, "{text: two}");
    until_ready_at(&world, &daemon, &second);
    assert_eq!(settings(&world).unwrap()["text"], "two");

    // After them: they are applied, and the store is not READY.
    push(&world, "{text: three, simulate: {check: fail}}");
    world.until_failed(&daemon, "acme", &["Job/check: the post-upgrade hook failed"]);
    assert_eq!(settings(&world).unwrap()["text"], "three");
    let fourth = push(&world, "{text: four}");
    until_ready_at(&world, &daemon, &fourth);

    // One that its policy takes away is not run again without a commit.
    push(&world, "{text: five, policy: 'hook-failed,before-hook-creation', simulate: {migrate: fail}}");
    world.until_failed(&daemon, "acme", &["failed and was deleted, as its chart wants", "BackoffLimit"]);
    until("the Job is gone", || job(&world, "migrate").is_none().then_some(()));
    drop(daemon);
    let daemon = world.start_daemon();
    world.until_failed(&daemon, "acme", &["failed and was deleted, as its chart wants"]);
    assert!(job(&world, "migrate").is_none());
    assert_eq!(settings(&world).unwrap()["text"], "four");

    // One that its policy leaves stands in the way of the next.
    let sixth = push(&world, "{text: six, policy: hook-failed}");
    until_ready_at(&world, &daemon, &sixth);
    push(&world, "{text: seven, policy: hook-failed}");
    world.until_failed(
        &daemon,
        "acme",
        &["run hook Job/migrate: an object of this name is there from before"],
    );
    assert_eq!(settings(&world).unwrap()["text"], "six");
    let last = push(&world, "{text: eight}");
    until_ready_at(&world, &daemon, &last);
}

#[test]
fn killed_at_any_moment_of_a_version_it_runs_its_hooks_once() {
    const VERSIONS: u64 = 8;
    let world = world();
    let labels = format!("storekeeper.dev/store={}", world.store("acme"));
    let witness = world.cluster.witness(&[("batch/v1", "Job")], &labels);
    let begin = Instant::now();
    let mut daemon = world.start_daemon();
    for version in 0..VERSIONS {
        // What the policy takes away is known by the inventory alone.
        let values = format!("{{text: t{version}, policy: 'before-hook-creation,hook-succeeded'}}");
        let commit = push(&world, &values);
        // A bit further into the work each time.
        sleep(Duration::from_millis(200 * version));
        daemon.kill();
        daemon = world.start_daemon();
        until_ready_at(&world, &daemon, &commit);
    }
    let runs = |name: &str| {
        let of = witness.since(begin).into_iter().filter(|event| event.name == name);
        of.map(|event| event.uid).collect::<BTreeSet<_>>().len()
    };
    assert_eq!((runs("migrate"), runs("check"), runs("first")), (8, 8, 1));
}

#[test]
fn a_first_version_whose_hooks_fail_is_not_installed_and_the_next_one_is_the_first() {
    let world = world();
    let daemon = world.start_daemon();
    push(&world, "{text: one, simulate: {migrate: fail}}");
    world.until_failed(&daemon, "acme", &["Job/migrate: the pre-install hook failed"]);
    assert!(settings(&world).is_none());
    let second = push(&world, "{text: two}");
    until_ready_at(&world, &daemon, &second);
    let settings = settings(&world).unwrap();
    assert_eq!((&settings["text"], &settings["installed"]), (&"two".into(), &"true".into()));
}

#[test]
fn what_ran_before_comes_back_with_hooks_of_its_own_unless_one_has_worked() {
    let world = world();
    let (url, more) = (world.repository.url(), ["--probe", "objects", "--step-timeout", "api=2"]);
    let daemon = Daemon::start_on(
        "127.0.0.1:0",
        world.folder.path(),
        &url,
        &world.source,
        &world.cluster.kubeconfig,
        &more,
    );
    let first = push(&world, "{text: one, jobs: false}");
    until_ready_at(&world, &daemon, &first);
    assert!(job(&world, "back").is_none());
    push(&world, "{text: two, jobs: false, simulate: {web: never-ready}}");
    let words = ["rolled back", "not done after 2 s"];
    world.until_failed(&daemon, "acme", &words);
    until("what ran before is back", || {
        (settings(&world)?["text"] == "one" && job(&world, "back").is_some()).then_some(())
    });

    let third = push(&world, "{text: three}");
    until_ready_at(&world, &daemon, &third);
    push(&world, "{text: four, simulate: {web: never-ready}}");
    world.until_failed(&daemon, "acme", &["not rolled back: Job/migrate has run"]);
    assert_eq!(settings(&world).unwrap()["text"], "four");
}
