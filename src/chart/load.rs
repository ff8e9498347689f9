//! Loads a chart from its files: metadata, default values, schema, templates, subcharts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use sha2::Digest as _;

use super::error::{ChartError, TemplateError};
use super::functions::encoding::hexadecimal;
use super::ignore::IgnoreRules;
use super::objects::FileMap;
use super::schema::Schema;
use super::template::{self, Parsed};
use super::yaml;

/// How deep subcharts may nest; each level is a folder `charts/`.
const SUBCHART_DEPTH_MAX: usize = 8;

/// A chart or subchart. Cloning one is cheap but for its default values.
#[derive(Clone)]
pub(crate) struct ChartNode {
    /// The contents of Chart.yaml; an alias replaces the name.
    pub(crate) metadata: Map<String, Json>,
    /// The contents of values.yaml.
    pub(crate) values: Map<String, Json>,
    /// What no values can change.
    pub(crate) content: Arc<Content>,
    /// The subcharts in `charts/`.
    pub(crate) dependencies: Vec<ChartNode>,
}

/// The parsed files of a chart.
pub(crate) struct Content {
    /// Templates by their path within the chart. A subchart's may be broken: it matters only if it is enabled.
    pub(crate) templates: Vec<(String, Result<Parsed, TemplateError>)>,
    /// What `.Files` sees.
    pub(crate) files: FileMap,
    /// values.schema.json.
    pub(crate) schema: Option<Schema>,
}

impl ChartNode {
    pub(crate) fn name(&self) -> &str {
        self.metadata.get("name").and_then(Json::as_str).unwrap_or_default()
    }

    /// A text of Chart.yaml, empty if it is missing.
    pub(crate) fn text(&self, key: &str) -> String {
        self.metadata.get(key).map(scalar_text).unwrap_or_default()
    }

    pub(crate) fn is_library(&self) -> bool {
        self.text("type") == "library"
    }

    /// What templates see as `.Chart`.
    pub(crate) fn metadata_for_templates(&self, is_root: bool) -> Json {
        let text = |key: &str| self.text(key);
        let other = |key: &str, missing: Json| match self.metadata.get(key) {
            None | Some(Json::Null) => missing,
            Some(value) => value.clone(),
        };
        let maintainers: Vec<Json> = list(&self.metadata, "maintainers")
            .iter()
            .map(|entry| {
                let text = |key: &str| entry.get(key).map(scalar_text).unwrap_or_default();
                json!({"Name": text("name"), "Email": text("email"), "URL": text("url")})
            })
            .collect();
        json!({
            "Name": self.name(), "Version": text("version"), "AppVersion": text("appVersion"),
            "APIVersion": text("apiVersion"), "Description": text("description"), "Home": text("home"),
            "Icon": text("icon"), "Type": text("type"), "KubeVersion": text("kubeVersion"),
            "Condition": text("condition"), "Tags": text("tags"), "Deprecated": other("deprecated", json!(false)),
            "Keywords": other("keywords", json!([])), "Sources": other("sources", json!([])),
            "Annotations": other("annotations", json!({})), "Maintainers": maintainers,
            "Dependencies": [], "IsRoot": is_root,
        })
    }
}

/// A list in Chart.yaml, empty if there is none.
pub(crate) fn list<'a>(map: &'a Map<String, Json>, key: &str) -> &'a [Json] {
    map.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// A scalar as text. YAML 1.1 makes a boolean of a chart's name `n`; Helm then calls the chart `false`.
pub(crate) fn scalar_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::Null | Json::Array(_) | Json::Object(_) => String::new(),
    }
}

/// Computes the digest of a chart's files: SHA-256 over each path and content with their lengths.
pub(crate) fn digest(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hash = sha2::Sha256::new();
    for (path, bytes) in files {
        for part in [path.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hexadecimal(&hash.finalize())
}

/// Loads a chart and its subcharts.
pub(crate) fn load(files: &BTreeMap<String, Vec<u8>>) -> Result<ChartNode, ChartError> {
    let rules = files.get(".helmignore").map(|bytes| text_of(bytes)).unwrap_or_default();
    let rules = IgnoreRules::parse(&rules);
    let kept = files.iter().filter(|(path, _)| !rules.ignores(path));
    let kept: Vec<(&str, &[u8])> = kept.map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    load_node(&kept, &Location { folder: String::new(), full_name: String::new(), depth: 0 })
}

/// Where a chart lies: its folder in the root chart, and the name that its templates get.
struct Location {
    folder: String,
    full_name: String,
    depth: usize,
}

fn load_node(files: &[(&str, &[u8])], location: &Location) -> Result<ChartNode, ChartError> {
    let file = |name: &str| files.iter().find(|(path, _)| *path == name).map(|(_, bytes)| *bytes);
    let path = |name: &str| format!("{}{name}", location.folder);
    let metadata = file("Chart.yaml").ok_or_else(|| ChartError::Missing { path: path("Chart.yaml") })?;
    let mut metadata = yaml_map(&path("Chart.yaml"), metadata)?;
    check_metadata(&mut metadata, &path("Chart.yaml"), location)?;
    let values = match file("values.yaml") {
        Some(bytes) => yaml_map(&path("values.yaml"), bytes)?,
        None => Map::new(),
    };
    let schema = match file("values.schema.json") {
        Some(bytes) => Some(
            Schema::parse(bytes)
                .map_err(|message| ChartError::Invalid { path: path("values.schema.json"), message })?,
        ),
        None => None,
    };
    let name = metadata.get("name").and_then(Json::as_str).unwrap_or_default();
    let full_name =
        if location.depth == 0 { name.to_owned() } else { format!("{}/charts/{name}", location.full_name) };
    let dependencies = load_subcharts(files, location, &full_name)?;
    check_dependencies(&metadata, &dependencies, &path("Chart.yaml"))?;
    let (templates, other) = sort_files(files, &full_name);
    let broken = templates.iter().find_map(|(_, parsed)| parsed.as_ref().err());
    if let Some(error) = broken.filter(|_| location.depth == 0) {
        return Err(error.clone().into());
    }
    let content = Arc::new(Content { templates, files: other, schema });
    Ok(ChartNode { metadata, values, content, dependencies })
}

type ParsedTemplates = Vec<(String, Result<Parsed, TemplateError>)>;

/// Splits a chart's own files into templates and the rest.
fn sort_files(files: &[(&str, &[u8])], full_name: &str) -> (ParsedTemplates, FileMap) {
    let mut templates = Vec::new();
    let mut other = FileMap::new();
    for (path, bytes) in files {
        match *path {
            "Chart.yaml" | "Chart.lock" | "values.yaml" | "values.schema.json" => {}
            path if path.starts_with("charts/") => {}
            path if path.starts_with("templates/") => {
                let parsed = template::parse(&format!("{full_name}/{path}"), &text_of(bytes));
                templates.push((path.to_owned(), parsed));
            }
            path => {
                other.insert(Arc::from(path), Arc::from(*bytes));
            }
        }
    }
    (templates, other)
}

fn load_subcharts(
    files: &[(&str, &[u8])],
    location: &Location,
    full_name: &str,
) -> Result<Vec<ChartNode>, ChartError> {
    let mut folders: BTreeMap<&str, Vec<(&str, &[u8])>> = BTreeMap::new();
    for (path, bytes) in files {
        let Some(below) = path.strip_prefix("charts/") else { continue };
        if below.starts_with(['.', '_']) {
            continue;
        }
        match below.split_once('/') {
            Some((folder, path)) => folders.entry(folder).or_default().push((path, bytes)),
            None if below.to_lowercase().ends_with(".tgz") => {
                return Err(ChartError::Invalid {
                    path: format!("{}{path}", location.folder),
                    message: "packed subcharts are not supported; unpack it into a folder".to_owned(),
                });
            }
            None => {}
        }
    }
    if location.depth >= SUBCHART_DEPTH_MAX && !folders.is_empty() {
        return Err(ChartError::Invalid {
            path: format!("{}charts", location.folder),
            message: format!("subcharts are nested deeper than {SUBCHART_DEPTH_MAX}"),
        });
    }
    let load = |(folder, files): (&str, Vec<(&str, &[u8])>)| {
        let location = Location {
            folder: format!("{}charts/{folder}/", location.folder),
            full_name: full_name.to_owned(),
            depth: location.depth + 1,
        };
        load_node(&files, &location)
    };
    folders.into_iter().map(load).collect()
}

fn check_metadata(
    metadata: &mut Map<String, Json>,
    path: &str,
    location: &Location,
) -> Result<(), ChartError> {
    let invalid =
        |message: &str| Err(ChartError::Invalid { path: path.to_owned(), message: message.to_owned() });
    let name = metadata.get("name").map(scalar_text).unwrap_or_default();
    if name.is_empty() || name.contains('/') {
        return invalid("`name` must be a name without slashes");
    }
    metadata.insert("name".to_owned(), Json::from(name));
    let version = metadata.get("version").map(scalar_text).unwrap_or_default();
    if super::version_matches("*", version.split('-').next().unwrap_or_default()).is_none() {
        return invalid("`version` must be a semantic version such as 1.2.3");
    }
    if location.depth == 0 && metadata.get("type").map(scalar_text).as_deref() == Some("library") {
        return invalid("a library chart cannot be installed");
    }
    Ok(())
}

/// Every dependency that Chart.yaml names must be there.
fn check_dependencies(
    metadata: &Map<String, Json>,
    dependencies: &[ChartNode],
    path: &str,
) -> Result<(), ChartError> {
    for dependency in list(metadata, "dependencies") {
        let name = dependency.get("name").map(scalar_text).unwrap_or_default();
        if !dependencies.iter().any(|chart| chart.name() == name) {
            let message = format!("the dependency `{name}` is not in charts/");
            return Err(ChartError::Invalid { path: path.to_owned(), message });
        }
    }
    Ok(())
}

fn yaml_map(path: &str, bytes: &[u8]) -> Result<Map<String, Json>, ChartError> {
    match yaml::parse_document(&text_of(bytes)) {
        Ok(Json::Object(map)) => Ok(map),
        Ok(Json::Null) => Ok(Map::new()),
        Ok(_) => Err(ChartError::Invalid { path: path.to_owned(), message: "must be a map".to_owned() }),
        Err(source) => Err(ChartError::Yaml { path: path.to_owned(), source }),
    }
}

/// Text without a byte order mark, which editors leave and YAML does not know.
fn text_of(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}
