//! Promise: with the real Helm a chart renders to the same objects as in-process, sees the release's namespace and nothing
//! else, and a run that goes wrong ends, says why and leaves nothing behind.
//!
//! Needs the real Helm; `make test` provides it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use storekeeper::chart::{
    Capabilities, Chart, Hook, HookEvent, LookupQuery, Release, RenderLimits, RenderRequest, RenderedObject,
    Rendering, parse_values,
};
use storekeeper::helm::{HelmBinary, HelmError, HelmRequest, HelmSettings};
use storekeeper::store::values::merge;
use tempfile::TempDir;

/// How long what must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

type Files = Arc<BTreeMap<String, Vec<u8>>>;

/// Why a rendering failed: by Helm, or by a look-up.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Helm(#[from] HelmError),
    #[error("look up {0}")]
    LookUp(String),
}

/// A folder in which runs have theirs.
struct Scene {
    folder: TempDir,
    settings: HelmSettings,
}

impl Scene {
    fn new() -> Self {
        let helm = std::env::var_os("STOREKEEPER_HELM")
            .expect("STOREKEEPER_HELM does not name the helm binary: run it through make test");
        Self::with(&PathBuf::from(helm))
    }

    fn with(helm: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = HelmSettings { time_limit: PATIENCE, ..HelmSettings::new(helm, folder.path()) };
        Self { folder, settings }
    }

    /// Takes a script for Helm, which runs in the run's folder.
    fn with_script(script: &str) -> Self {
        let mut scene = Self::with(Path::new("/"));
        let path = scene.folder.path().join("script");
        fs::write(&path, format!("#!/bin/sh\n{}\n", script.replace("FOLDER", &scene.path()))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        scene.settings.path = path;
        scene
    }

    fn path(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn helm(&self) -> HelmBinary {
        HelmBinary::new(self.settings.clone())
    }

    /// Renders with these values, and look-ups that find nothing.
    async fn render(&self, files: &Files) -> Result<Rendering, Failure> {
        render(self.helm(), Arc::clone(files), Map::new(), release(false), async |_| Ok(json!({}))).await
    }

    async fn refusal(&self, files: &Files) -> String {
        self.render(files).await.expect_err("it must be refused").to_string()
    }

    /// Waits until no process and no folder of a run is left.
    async fn until_nothing_is_left(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let folders = fs::read_dir(self.folder.path()).unwrap().flatten();
            let folders = folders.filter(|entry| entry.path().is_dir()).count();
            let processes = self.processes();
            if folders == 0 && processes == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{folders} folders and {processes} processes are left");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a run has begun.
    async fn until_begun(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.processes() == 0 {
            assert!(Instant::now() < deadline, "nothing began");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Counts the processes whose environment names the folder.
    fn processes(&self) -> usize {
        let folder = self.path();
        let all = fs::read_dir("/proc").unwrap().flatten();
        let environments = all.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
        environments
            .filter(|environment| String::from_utf8_lossy(environment).contains(&format!("HOME={folder}/")))
            .count()
    }
}

fn release(is_upgrade: bool) -> Release {
    Release { name: "rel".to_owned(), namespace: "space".to_owned(), is_upgrade, revision: 1 }
}

fn capabilities() -> Capabilities {
    let kinds = ["v1/Secret", "v1/ConfigMap", "apps/v1/Deployment", "batch/v1/Job"];
    let served = Capabilities::default().api_versions.to_vec().into_iter();
    Capabilities::new("v1.36.2", served.chain(kinds.map(str::to_owned)))
}

async fn render<Answer>(
    helm: HelmBinary,
    files: Files,
    values: Map<String, Value>,
    release: Release,
    look_up: impl Fn(LookupQuery) -> Answer,
) -> Result<Rendering, Failure>
where
    Answer: Future<Output = Result<Value, Failure>>,
{
    let capabilities = capabilities();
    let request = HelmRequest { release: &release, values: &values, capabilities: &capabilities };
    helm.render(files, request, look_up).await
}

fn chart(template: &str) -> Files {
    let files = [
        ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\n"),
        ("values.yaml", "a: {b: 1, gone: 1}\n"),
        ("templates/a.yaml", template),
    ];
    Arc::new(files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into())
}

fn store_chart() -> (Files, Map<String, Value>) {
    fn read(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                read(&entry.path(), &format!("{path}/"), files);
            } else {
                files.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/medusa-store"), "", &mut files);
    let local = String::from_utf8(files["values-local.yaml"].clone()).unwrap();
    let mut values = parse_values(&local).unwrap();
    merge(&mut values, json!({ "store": { "id": "acme" } }).as_object().unwrap());
    (Arc::new(files), values)
}

/// Sorts objects so that both ways of rendering give them in one order.
fn sorted(rendering: Rendering) -> Vec<(String, String, Option<Hook>, Value)> {
    let key = |RenderedObject { template, value, hook, .. }: RenderedObject| {
        (template, format!("{} {}", value["kind"], value["metadata"]["name"]), hook, value)
    };
    let mut objects: Vec<_> = rendering.objects.into_iter().map(key).collect();
    objects.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    objects
}

#[tokio::test]
async fn the_store_chart_renders_as_in_process_with_the_same_answers() {
    let (files, values) = store_chart();
    let secret = |name: &str| {
        let entry = |key: &str| (key.to_owned(), Value::from(format!("{name}-{key}=")));
        let keys = ["JWT_SECRET", "COOKIE_SECRET", "password", "POSTGRES_PASSWORD", "REDIS_PASSWORD"];
        let data: Map<_, _> = keys.into_iter().map(entry).collect();
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "data": data })
    };
    let answer = |query: &LookupQuery| match query.kind.as_str() {
        "Secret" => secret(&query.name),
        _ => json!({}),
    };
    let asked = Mutex::new(Vec::new());
    let scene = Scene::new();
    let by_helm = render(scene.helm(), files.clone(), values.clone(), release(true), async |query| {
        asked.lock().unwrap().push(query.name.clone());
        Ok(answer(&query))
    });
    let by_helm = by_helm.await.unwrap();
    let capabilities = capabilities();
    let in_process = Chart::load(files.as_ref().clone()).unwrap().render(&RenderRequest {
        release: release(true),
        values: &values,
        capabilities: &capabilities,
        lookup: &answer,
        entropy: &|bytes| bytes.fill(7),
        now: 1_700_000_000,
        limits: RenderLimits::default(),
    });
    let (by_helm, in_process) = (sorted(by_helm), sorted(in_process.unwrap()));
    assert!(by_helm.len() > 10, "{} objects", by_helm.len());
    assert_eq!(by_helm.len(), in_process.len());
    // What is random in a Secret that was found with other keys is told by its keys alone.
    for (helms, ours) in by_helm.into_iter().zip(in_process) {
        let (mut helms_value, mut ours_value) = (helms.3, ours.3);
        if helms_value["kind"] == "Secret" {
            let text = helms_value.to_string();
            assert!(
                text.contains(&format!("{}-", ours_value["metadata"]["name"].as_str().unwrap())),
                "{text}"
            );
            for value in [&mut helms_value, &mut ours_value] {
                hide_random(value);
            }
        }
        assert_eq!((helms.0, helms.1, helms.2, helms_value), (ours.0, ours.1, ours.2, ours_value));
    }
    let asked = asked.into_inner().unwrap();
    assert!(asked.contains(&"postgres".to_owned()), "{asked:?}");
}

/// Hides the entries of a Secret that no look-up gave.
fn hide_random(secret: &mut Value) {
    for part in ["data", "stringData"] {
        let entries = secret.get_mut(part).and_then(Value::as_object_mut).into_iter().flatten();
        for (_, value) in entries.filter(|(_, value)| !value.to_string().contains('-')) {
            *value = json!("random");
        }
    }
}

const LOOKS: &str = "\
own: {{ (lookup \"v1\" \"Secret\" \"space\" \"it\").data.found }}\n\
again: {{ (lookup \"v1\" \"Secret\" \"space\" \"it\").data.found }}\n\
number: {{ (lookup \"v1\" \"Secret\" \"space\" \"it\").data.count }}\n\
grouped: {{ (lookup \"apps/v1\" \"Deployment\" \"space\" \"it\").metadata.name }}\n\
list: {{ len (lookup \"v1\" \"ConfigMap\" \"space\" \"\").items }}\n\
absent: {{ lookup \"v1\" \"Secret\" \"space\" \"none\" | toJson }}\n\
other: {{ lookup \"v1\" \"Secret\" \"kube-system\" \"it\" | toJson }}\n\
everywhere: {{ lookup \"v1\" \"Secret\" \"\" \"\" | toJson }}\n\
cluster: {{ lookup \"v1\" \"Namespace\" \"\" \"space\" | toJson }}\n\
namespace: {{ lookup \"v1\" \"Namespace\" \"space\" \"space\" | toJson }}\n\
unserved: {{ lookup \"v1\" \"Pod\" \"space\" \"it\" | toJson }}\n\
unserveds: {{ lookup \"v1\" \"Pod\" \"space\" \"\" | toJson }}\n\
unknown: {{ lookup \"mon.example.com/v1\" \"Rule\" \"space\" \"it\" | toJson }}\n";

#[tokio::test]
async fn a_chart_sees_the_releases_own_namespace_and_nothing_else() {
    let (scene, asked) = (Scene::new(), Mutex::new(Vec::new()));
    let rendering = render(scene.helm(), chart(LOOKS), Map::new(), release(false), async |query| {
        let LookupQuery { api_version, kind, namespace, name } = query;
        asked.lock().unwrap().push(format!("{api_version} {kind} {namespace} {name}"));
        Ok(match (kind.as_str(), name.as_str()) {
            (_, "none") => json!({}),
            (_, "") => json!({ "items": [{ "metadata": { "name": "a" } }, {}] }),
            _ => json!({ "metadata": { "name": name }, "data": { "found": kind, "count": 2 } }),
        })
    });
    let rendering = rendering.await.unwrap();
    assert_eq!(
        rendering.objects[0].value,
        json!({
            "own": "Secret", "again": "Secret", "number": 2, "grouped": "it", "list": 2, "absent": {},
            "other": {}, "everywhere": {}, "cluster": {}, "namespace": {}, "unserved": {}, "unserveds": {},
            "unknown": {},
        })
    );
    assert_eq!(
        asked.into_inner().unwrap(),
        ["v1 Secret space it", "apps/v1 Deployment space it", "v1 ConfigMap space ", "v1 Secret space none"],
        "each is asked once, and none of another namespace"
    );
}

#[tokio::test]
async fn a_chart_is_told_what_the_request_says_of_release_cluster_and_values() {
    let text = "versions: {{ .Capabilities.APIVersions | sortAlpha | toJson }}\n\
        kube: {{ .Capabilities.KubeVersion.Version }} {{ .Capabilities.KubeVersion.Minor }}\n\
        release: {{ .Release.Name }} {{ .Release.Namespace }} {{ .Release.IsUpgrade }} {{ .Release.Revision }}\n\
        text: {{ b64enc .Values.a.text }}\nvalues: {{ printf \"%s %d\" (omit .Values.a \"text\" | toJson) (int .Values.big) | quote }}\nkind: Unheard\napiVersion: of.example.com/v1\n---\n\
        kind: Job\nmetadata: {name: h, annotations: {helm.sh/hook: pre-install}}\n";
    let values = json!({ "a": { "gone": null, "text": "\u{2028}\u{85}\u{7f}é" }, "big": 12_345_678 });
    let (scene, files) = (Scene::new(), chart(text));
    let rendering =
        render(scene.helm(), files, values.as_object().unwrap().clone(), release(true), async |_| {
            Ok(json!({}))
        });
    let rendering = rendering.await.unwrap();
    let mut versions = capabilities().api_versions.to_vec();
    versions.sort();
    let value = &rendering.objects[0].value;
    assert_eq!(value["versions"], json!(versions));
    assert_eq!(value["kube"], "v1.36.2 36");
    assert_eq!(value["release"], "rel space true 1");
    assert_eq!(value["values"], "{\"b\":1} 12345678");
    let text = STANDARD.decode(value["text"].as_str().unwrap()).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "\u{2028}\u{85}\u{7f}é");
    let events = |object: &RenderedObject| object.hook.as_ref().map(|hook| hook.events.clone());
    let seen: Vec<_> =
        rendering.objects.iter().map(|object| (object.template.as_str(), events(object))).collect();
    let install = Some(vec![HookEvent::PreInstall]);
    assert_eq!(seen, [("shop/templates/a.yaml", None), ("shop/templates/a.yaml", install)]);
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn a_look_up_that_fails_fails_the_rendering_and_not_as_something_absent() {
    let scene = Scene::new();
    let failed = render(scene.helm(), chart(LOOKS), Map::new(), release(false), async |query| {
        Err(Failure::LookUp(query.name))
    });
    assert_eq!(failed.await.unwrap_err().to_string(), "look up it");
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn a_chart_that_fails_says_why_in_one_line() {
    let scene = Scene::new();
    let error = scene.refusal(&chart("a: {{ fail \"no \\x1b[31msuch\\x1b[0m\\n plan\" }}")).await;
    assert!(error.starts_with("render with helm: execution error at (shop/templates/a.yaml:1:"), "{error}");
    assert!(error.ends_with(": no such plan"), "{error}");
    let error = scene.refusal(&chart("a: [1\nb: 2")).await;
    assert!(error.contains("YAML parse error on shop/templates/a.yaml"), "{error}");
    assert!(!error.contains("--debug") && !error.contains(&scene.path()), "{error}");
    let error = scene.refusal(&chart("- a")).await;
    assert!(error.contains("shop/templates/a.yaml"), "{error}");
    let outside = Arc::new(BTreeMap::from([("../Chart.yaml".to_owned(), Vec::new())]));
    let error = scene.refusal(&outside).await;
    assert_eq!(error, "give helm the chart: `../Chart.yaml` is no path of a file in a chart");
    let error = Scene::with(Path::new("/nowhere/helm")).refusal(&chart("")).await;
    assert!(error.starts_with("start helm at /nowhere/helm: No such file"), "{error}");
    scene.until_nothing_is_left().await;
}

/// A template that would compute for hours.
const ENDLESS: &str = "{{ range until 100000 }}{{ range until 100000 }}{{ $_ := . }}{{ end }}{{ end }}";

#[tokio::test]
async fn a_run_that_takes_too_long_is_ended_and_leaves_nothing() {
    let mut scene = Scene::new();
    scene.settings.time_limit = Duration::from_secs(1);
    let error = scene.refusal(&chart(ENDLESS)).await;
    assert_eq!(error, "render with helm in time: it was not done within 1 s, and was ended");
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn a_run_that_is_given_up_ends_with_its_children_and_leaves_nothing() {
    for scene in [Scene::new(), Scene::with_script("/bin/sleep 1000 & /bin/sleep 1000")] {
        let files = chart(ENDLESS);
        tokio::select! {
            ended = scene.render(&files) => panic!("it ended: {ended:?}"),
            () = scene.until_begun() => {}
        }
        scene.until_nothing_is_left().await;
    }
}

#[tokio::test]
async fn what_a_run_writes_and_holds_is_bounded() {
    let mut scene = Scene::new();
    scene.settings.output_bytes = 1000;
    let many = chart("a: {{ repeat 990 \"x\" }}");
    assert_eq!(scene.refusal(&many).await, "render with helm: the chart's output exceeds 1000 bytes");
    scene.settings.output_bytes = 2000;
    assert!(scene.render(&many).await.is_ok());
    scene.settings.memory_bytes = 256 << 20;
    let hoard =
        "{{ $all := list }}{{ range until 100000 }}{{ $all = append $all (repeat 100000 \"x\") }}{{ end }}";
    let error = scene.refusal(&chart(hoard)).await;
    assert_eq!(error, "render with helm: it held more than 256 MiB of memory, and was ended");
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn a_run_has_an_environment_and_a_folder_of_its_own() {
    let scene = Scene::with_script(
        "/usr/bin/env > FOLDER/environment\n/usr/bin/stat -c %a . > FOLDER/mode\necho no >&2; exit 3",
    );
    assert_eq!(scene.refusal(&chart("")).await, "render with helm: no");
    let text = fs::read_to_string(scene.folder.path().join("environment")).unwrap();
    let names: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let own = format!("{}/helm-", scene.path());
    for (name, value) in names {
        let known = ["PWD", "OLDPWD", "SHLVL", "_", "HELM_NO_PLUGINS", "HELM_COLOR", "NO_COLOR", "HELM_QPS"];
        let known = known.contains(&name) || name == "HELM_BURST_LIMIT";
        assert!(known || value.starts_with(&own), "{name} is {value}");
    }
    assert_eq!(fs::read_to_string(scene.folder.path().join("mode")).unwrap().trim(), "700");
    scene.until_nothing_is_left().await;
}

#[tokio::test]
async fn only_as_many_run_at_once_as_may() {
    // The second of two at once would find the first one's folder.
    let script = "/bin/mkdir FOLDER/turn || exit 1\n/bin/sleep 0.3\n/bin/rmdir FOLDER/turn";
    let mut scene = Scene::with_script(script);
    scene.settings.at_once = 1;
    let (helm, files) = (scene.helm(), chart(""));
    let one = || render(helm.clone(), files.clone(), Map::new(), release(false), async |_| Ok(json!({})));
    let ended = futures::future::join3(one(), one(), one()).await;
    assert!(ended.0.is_ok() && ended.1.is_ok() && ended.2.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn strangers_and_writes_are_refused_where_look_ups_are_answered() {
    let scene = Scene::with_script(
        "/bin/cp kubeconfig FOLDER/part\n/bin/mv FOLDER/part FOLDER/seen\n/bin/sleep 1000",
    );
    let seen = scene.folder.path().join("seen");
    let files = chart("");
    let ask = async {
        while !seen.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let config: Value = serde_json::from_slice(&fs::read(&seen).unwrap()).unwrap();
        let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let secret = "/api/v1/namespaces/space/Secret/it";
        let open = server.rsplit_once('/').unwrap().0;
        let status = async |request: reqwest::RequestBuilder| {
            request.header("accept", "application/json").send().await.unwrap().status().as_u16()
        };
        assert_eq!(
            status(client.get(format!("{server}{secret}"))).await,
            404,
            "it was asked, and is not there"
        );
        assert_eq!(status(client.get(format!("{open}{secret}"))).await, 403);
        assert_eq!(status(client.get(format!("{server}x{secret}"))).await, 403);
        for write in [client.post(format!("{server}{secret}")), client.delete(format!("{server}{secret}"))] {
            assert_eq!(status(write).await, 403);
        }
    };
    tokio::select! {
        ended = scene.render(&files) => panic!("it ended: {ended:?}"),
        () = ask => {}
    }
    scene.until_nothing_is_left().await;
}
