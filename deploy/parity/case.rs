//! What is rendered, and what comes out on either side.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The release's name and namespace on both sides.
pub const RELEASE: &str = "rel";
pub const NAMESPACE: &str = "space";

/// A chart with values.
#[derive(Clone, Default)]
pub struct Case {
    /// The chart: a folder or a `.tgz`.
    pub chart: PathBuf,
    /// Values files, later ones win.
    pub values: Vec<PathBuf>,
    /// One text set by its path, as `--set-string` does; the path has no escapes.
    pub set: Option<(String, String)>,
    /// As `--kube-version` and `--api-versions` of `helm template`.
    pub kube_version: Option<String>,
    pub api_versions: Vec<String>,
}

impl Case {
    /// Describes the case in one line.
    pub fn name(&self) -> String {
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = vec![name(&self.chart)];
        parts.extend(self.values.iter().map(name));
        parts.extend(self.set.iter().map(|(path, value)| format!("{path}={value}")));
        parts.join(" ")
    }

    /// Whether the cluster that both sides assume is not the default one.
    pub fn has_own_capabilities(&self) -> bool {
        self.kube_version.is_some() || !self.api_versions.is_empty()
    }
}

/// An object, where it came from, and how Helm would treat it.
#[derive(Debug, Clone)]
pub struct Document {
    /// The template's path.
    pub template: String,
    pub value: Value,
    /// Events, weight and delete policies, if it is a hook and this is known.
    pub hook: Option<Value>,
}

impl Document {
    /// What tells it from the other objects of a chart.
    pub fn key(&self) -> String {
        let text = |pointer: &str| self.value.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        format!("{}: {kind} {}/{name}", self.template, text("/metadata/namespace"))
    }

    /// What is left of the key where names are random.
    pub fn family(&self) -> String {
        let kind = self.value.get("kind").and_then(Value::as_str).unwrap_or("-");
        format!("{}: {kind}", self.template)
    }
}

/// What one side renders a case to.
#[derive(Debug, Clone, Default)]
pub struct Output {
    pub documents: Vec<Document>,
    /// What NOTES.txt comes to; nothing where that is not asked.
    pub notes: Option<String>,
}

/// Reads all files of a folder, by their paths in it.
pub fn read_folder(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    read_into(folder, "", &mut files);
    files
}

fn read_into(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the chart's folder is readable") {
        let entry = entry.expect("readable");
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read_into(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, fs::read(entry.path()).expect("the file is readable"));
        }
    }
}
