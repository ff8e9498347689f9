//! Helm's side: the real binary. Its output is read by Helm as well, so that our own reader of YAML judges nothing.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::case::{Case, Document, NAMESPACE, Output, RELEASE};

/// A chart that turns the documents in its folder `documents/` into one line of JSON each. What a document holds is
/// encoded: as it is, it might hold characters that no YAML may.
const READER_CHART: [(&str, &str); 2] = [
    ("Chart.yaml", "apiVersion: v2\nname: reader\nversion: 1.0.0\n"),
    (
        "templates/all.yaml",
        "{{- range $path, $_ := .Files.Glob \"documents/*\" }}\n---\n\
         {{ dict \"index\" (base $path | atoi) \"value\" ($.Files.Get $path | fromYaml | toJson | b64enc) | toJson }}\n{{- end }}\n",
    ),
];

/// The real Helm, with a folder for what it reads.
pub struct Helm {
    binary: PathBuf,
    folder: PathBuf,
}

impl Helm {
    /// Takes a binary, and a folder that is this one's alone.
    pub fn new(binary: PathBuf, folder: PathBuf) -> Self {
        for (path, text) in READER_CHART {
            let path = folder.join("reader").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { binary, folder }
    }

    /// Renders a case twice: what differs between the two is random. Nothing about hooks and notes is known where the
    /// cluster is not the default one, because only `helm template` can be told of another.
    pub fn render_twice(&self, case: &Case) -> Result<(Output, Output), String> {
        let first = self.template(case)?;
        let again = if case.has_own_capabilities() { self.template(case)? } else { self.install(case)? };
        Ok((first, again))
    }

    /// Renders with `helm template`, which knows the CRDs.
    pub fn template(&self, case: &Case) -> Result<Output, String> {
        let mut command = self.command(["template", RELEASE], case);
        command.arg("--include-crds");
        if let Some(version) = &case.kube_version {
            command.args(["--kube-version", version]);
        }
        for version in &case.api_versions {
            command.args(["--api-versions", version]);
        }
        let documents = self.read(&split(&run(&mut command)?))?;
        Ok(Output { documents, notes: None })
    }

    /// Renders with `helm install --dry-run`, which knows hooks and notes.
    pub fn install(&self, case: &Case) -> Result<Output, String> {
        let mut command = self.command(["install", RELEASE], case);
        command.args(["--dry-run=client", "--output", "json"]);
        let release: Value = serde_json::from_str(&run(&mut command)?)
            .map_err(|error| format!("read the release: {error}"))?;
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let mut sources = split(&text(&release, "manifest"));
        let hooks = release["hooks"].as_array().cloned().unwrap_or_default();
        sources.extend(hooks.iter().map(|hook| (text(hook, "path"), text(hook, "manifest"))));
        let mut documents = self.read(&sources)?;
        let mut by_template: HashMap<String, Vec<Value>> = HashMap::new();
        for hook in &hooks {
            let list = |key: &str| hook[key].as_array().cloned().unwrap_or_default();
            let typed = json!({
                "events": list("events"),
                "weight": hook["weight"].as_i64().unwrap_or_default(),
                "delete policies": policies(&list("delete_policies")),
            });
            by_template.entry(text(hook, "path")).or_default().push(typed);
        }
        let is_hook = |document: &Document| {
            document
                .value
                .pointer("/metadata/annotations")
                .is_some_and(|all| all.get("helm.sh/hook").is_some())
        };
        // The hooks of a template stand in the order of the list, which is the order of `sources`.
        for document in documents.iter_mut().filter(|document| is_hook(document)) {
            if let Some(hooks) = by_template.get_mut(&document.template).filter(|hooks| !hooks.is_empty()) {
                document.hook = Some(hooks.remove(0));
            }
        }
        Ok(Output { documents, notes: Some(text(&release["info"], "notes")) })
    }

    fn command(&self, verb: [&str; 2], case: &Case) -> Command {
        let mut command = self.plain();
        command.args(verb).arg(&case.chart).args(["--namespace", NAMESPACE]);
        for file in &case.values {
            command.arg("--values").arg(file);
        }
        if let Some((path, value)) = &case.set {
            command.arg("--set-string").arg(format!("{path}={value}"));
        }
        command
    }

    /// Helm without anything of the user's, in the time zone that our charts see.
    fn plain(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("TZ", "UTC").env("KUBECONFIG", "/dev/null");
        for place in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
            command.env(place, self.folder.join("home"));
        }
        command
    }

    /// Has Helm read documents, each with its template's path; those without contents are left out.
    fn read(&self, sources: &[(String, String)]) -> Result<Vec<Document>, String> {
        let folder = self.folder.join("reader/documents");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (index, (_, text)) in sources.iter().enumerate() {
            fs::write(folder.join(index.to_string()), text).unwrap();
        }
        let mut command = self.plain();
        command.arg("template").arg(self.folder.join("reader"));
        let output = run(&mut command)?;
        let lines = output.lines().filter(|line| line.starts_with('{'));
        let mut read = Vec::new();
        for line in lines {
            let parsed: Value = serde_json::from_str(line).map_err(|error| format!("read JSON: {error}"))?;
            let index = parsed["index"].as_u64().and_then(|index| usize::try_from(index).ok());
            let index = index.ok_or("a document has lost its place")?;
            let value = BASE64_STANDARD.decode(parsed["value"].as_str().unwrap_or_default());
            let value = serde_json::from_slice::<Value>(&value.map_err(|error| error.to_string())?);
            read.push((index, value.map_err(|error| format!("read JSON: {error}"))?));
        }
        read.sort_by_key(|(index, _)| *index);
        let full = read.into_iter().filter(|(_, value)| value.as_object().is_none_or(|map| !map.is_empty()));
        Ok(full
            .map(|(index, value)| Document { template: sources[index].0.clone(), value, hook: None })
            .collect())
    }
}

/// Splits a manifest at the lines with which Helm begins each document, and files of CRDs into their documents.
fn split(manifest: &str) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let text = format!("\n{}", manifest.strip_suffix('\n').unwrap_or(manifest));
    for part in text.split("\n---\n# Source: ").skip(1) {
        let (path, text) = part.split_once('\n').unwrap_or((part, ""));
        for document in text.split("\n---") {
            // The line break in front of a separator ends the document before it. `helm template` puts one behind a hook
            // too, which is no part of it: hooks are sent one by one.
            let end = if is_hook(document) { "" } else { "\n" };
            sources.push((path.to_owned(), format!("{document}{end}")));
        }
    }
    sources
}

fn is_hook(document: &str) -> bool {
    let names = ["helm.sh/hook:", "\"helm.sh/hook\":", "'helm.sh/hook':"];
    document.lines().any(|line| names.iter().any(|name| line.trim_start().starts_with(name)))
}

/// What Helm goes by: the default where there are none, and of those that there are the ones it knows.
fn policies(named: &[Value]) -> Vec<&str> {
    if named.is_empty() {
        return vec!["before-hook-creation"];
    }
    let known = |policy: &&str| matches!(*policy, "before-hook-creation" | "hook-succeeded" | "hook-failed");
    named.iter().filter_map(Value::as_str).filter(known).collect()
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("start {}: {error}", command.get_program().to_str().unwrap_or_default()))?;
    if !output.status.success() {
        let lines = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_warning = |line: &&str| line.contains("level=") || line.contains("warning: ");
        return Err(lines.lines().filter(|line| !is_warning(line)).collect::<Vec<_>>().join("\n"));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// The binary that the environment names.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("STOREKEEPER_HELM").map(PathBuf::from);
    named.expect("STOREKEEPER_HELM does not name the helm binary: run it through make")
}
