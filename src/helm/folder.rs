//! The private folder of a run: what Helm reads, and what it writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::error::HelmError;
use crate::report::one_line;

/// Where things are in the folder, in which Helm runs. The chart's own name comes from its Chart.yaml.
pub(super) const CHART: &str = "./chart";
pub(super) const VALUES: &str = "values.json";
pub(super) const OUTPUT: &str = "output";
pub(super) const KUBECONFIG: &str = "kubeconfig";

/// A folder that nobody else may look into. It goes with all that is in it when it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    folder: TempDir,
    parent: PathBuf,
}

impl Folder {
    /// Makes the folder in another one and writes what Helm reads.
    pub async fn make(
        parent: &Path,
        files: Arc<BTreeMap<String, Vec<u8>>>,
        values: String,
        server: &str,
    ) -> Result<Self, HelmError> {
        if let Some(path) = files.keys().find(|path| !is_inside(path)) {
            return Err(HelmError::Path { path: one_line(path, 200) });
        }
        let parent = parent.to_owned();
        let kubeconfig = kubeconfig(server);
        blocking(move || {
            let failed = |source| HelmError::Folder { folder: parent.clone(), source };
            let private = Permissions::from_mode(0o700);
            let folder = tempfile::Builder::new()
                .prefix("helm-")
                .permissions(private)
                .tempdir_in(&parent)
                .map_err(failed)?;
            write(folder.path(), &files, &values, &kubeconfig).map_err(failed)?;
            Ok(Self { folder, parent })
        })
        .await
    }

    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns what the templates wrote, by their paths. The folder is gone then.
    pub async fn outputs(self, limit: u64) -> Result<BTreeMap<String, String>, HelmError> {
        blocking(move || {
            let (mut outputs, mut left) = (BTreeMap::new(), Some(limit));
            let read = collect(&self.path().join(OUTPUT), "", &mut outputs, &mut left);
            read.map_err(|source| HelmError::Folder { folder: self.parent.clone(), source })?;
            if left.is_none() {
                return Err(HelmError::OutputTooLarge { limit });
            }
            Ok(outputs)
        })
        .await
    }
}

/// Writes values so that YAML reads them as JSON does: these characters, bare in a JSON text, would be breaks of lines or
/// forbidden.
pub(super) fn values_text(values: &Map<String, Value>) -> String {
    let json = Value::Object(values.clone()).to_string();
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                // Writing to a text can't fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text
}

fn is_inside(path: &str) -> bool {
    !path.contains(['\\', '\0'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// Names the server whose path is a secret: Helm sends no token over plain HTTP.
fn kubeconfig(server: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "run", "cluster": { "server": server } }],
        "users": [{ "name": "run", "user": {} }],
        "contexts": [{ "name": "run", "context": { "cluster": "run", "user": "run" } }],
        "current-context": "run",
    })
    .to_string()
}

fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>, values: &str, kubeconfig: &str) -> io::Result<()> {
    let chart = folder.join(CHART);
    fs::create_dir(&chart)?;
    for (path, bytes) in files {
        let path = chart.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    fs::create_dir(folder.join(OUTPUT))?;
    fs::write(folder.join(VALUES), values)?;
    fs::write(folder.join(KUBECONFIG), kubeconfig)
}

/// Reads the files below a folder until nothing is left of the limit.
fn collect(
    folder: &Path,
    prefix: &str,
    outputs: &mut BTreeMap<String, String>,
    left: &mut Option<u64>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let path = format!("{prefix}{}", name.to_string_lossy());
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), outputs, left)?;
        } else if kind.is_file() {
            *left = left.and_then(|left| left.checked_sub(entry.metadata().ok()?.len()));
            if left.is_none() {
                return Ok(());
            }
            outputs.insert(path, String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HelmError> + Send + 'static,
) -> Result<T, HelmError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_of_the_chart_is_none_of_its_files() {
        for path in ["Chart.yaml", "templates/a.yaml", "charts/sub/..a", "a b"] {
            assert!(is_inside(path), "{path}");
        }
        for path in ["", "/etc/passwd", "../a", "templates/../../a", "a//b", "./a", "a/", "a\\b", "a\0"] {
            assert!(!is_inside(path), "{path}");
        }
    }

    #[test]
    fn values_hold_no_character_that_yaml_takes_for_something_else() {
        let values = json!({ "a\u{2028}b": "\u{85}\u{7f}é\u{1F600}\n", "n": null });
        let text = values_text(values.as_object().unwrap());
        assert_eq!(text, "{\"a\\u2028b\":\"\\u0085\\u007fé\u{1F600}\\n\",\"n\":null}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), values);
    }
}
