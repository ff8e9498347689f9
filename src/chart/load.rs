//! Loads a chart from its files: metadata, default values, schema, templates, subcharts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use sha2::Digest as _;

use super::archive::{self, Allowance};
use super::documents;
use super::error::{ChartError, Place, TemplateError};
use super::functions::encoding::hexadecimal;
use super::ignore::IgnoreRules;
use super::metadata::{self, list};
use super::objects::FileMap;
use super::schema::Schema;
use super::template::{self, Parsed};
use super::values;
use super::yaml;

/// How deep subcharts may nest; each level is a folder `charts/`.
const SUBCHART_DEPTH_MAX: usize = 8;
/// How the name of a packed chart ends.
const PACKED: &str = ".tgz";

/// Files by their paths.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A chart or subchart. Cloning one is cheap.
#[derive(Clone)]
pub(crate) struct ChartNode {
    /// The contents of Chart.yaml, checked; an alias replaces the name.
    pub(crate) metadata: Arc<Map<String, Json>>,
    /// The contents of values.yaml.
    pub(crate) values: Arc<Map<String, Json>>,
    /// What no values can change.
    pub(crate) content: Arc<Content>,
    /// The subcharts in `charts/`.
    pub(crate) dependencies: Vec<ChartNode>,
}

/// The parsed files of a chart. What is broken in a subchart matters only if that is enabled.
pub(crate) struct Content {
    /// Templates by their path within the chart.
    pub(crate) templates: Vec<(String, Result<Parsed, TemplateError>)>,
    /// What `.Files` sees.
    pub(crate) files: FileMap,
    /// values.schema.json.
    pub(crate) schema: Option<Result<Schema, ChartError>>,
    /// The documents of the files in `crds/`, by their path within the chart.
    pub(crate) crds: Vec<Crds>,
}

/// A file in `crds/`, with its documents.
type Crds = (String, Result<Vec<Arc<Json>>, ChartError>);

impl ChartNode {
    pub(crate) fn name(&self) -> &str {
        self.text("name")
    }

    /// A text of Chart.yaml, empty if it is missing.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.metadata.get(key).and_then(Json::as_str).unwrap_or_default()
    }

    pub(crate) fn is_library(&self) -> bool {
        self.text("type") == "library"
    }
}

/// Computes the digest of a chart's files: SHA-256 over each path and content with their lengths.
pub(crate) fn digest(files: &Files) -> String {
    let mut hash = sha2::Sha256::new();
    for (path, bytes) in files {
        for part in [path.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hexadecimal(&hash.finalize())
}

/// Leaves out what the root's `.helmignore` says; those of subcharts and packed charts are not looked at, as in Helm.
pub(crate) fn without_ignored(files: &Files) -> Result<Files, ChartError> {
    let invalid = |message| ChartError::Invalid { path: ".helmignore".to_owned(), message };
    let rules = files.get(".helmignore").map(|bytes| String::from_utf8_lossy(without_mark(bytes)));
    let rules = IgnoreRules::parse(&rules.unwrap_or_default()).map_err(invalid)?;
    let kept = files.iter().filter(|(path, _)| !rules.ignores(path));
    Ok(kept.map(|(path, bytes)| (path.clone(), bytes.clone())).collect())
}

/// Unpacks a chart into its files.
pub(crate) fn unpack(packed: &[u8], allowance: &mut Allowance) -> Result<Files, ChartError> {
    let invalid = |message| ChartError::Invalid { path: "the packed chart".to_owned(), message };
    archive::unpack(packed, allowance).map_err(invalid)
}

/// Puts the files of packed subcharts in their place: `charts/a-1.0.0.tgz` becomes a folder.
pub(crate) fn unpack_subcharts(files: Files, allowance: &mut Allowance) -> Result<Files, ChartError> {
    let mut unpacked = Files::new();
    // Files still to look at, with the folder and the depth of the chart that they belong to.
    let mut waiting = vec![(String::new(), files)];
    while let Some((folder, files)) = waiting.pop() {
        for (path, bytes) in files {
            let full_path = format!("{folder}{path}");
            let is_packed = is_packed_subchart(&path);
            if is_packed && full_path.matches("charts/").count() > SUBCHART_DEPTH_MAX {
                return Err(too_deep(&full_path));
            }
            if is_packed {
                let invalid = |message| ChartError::Invalid { path: full_path.clone(), message };
                let inner = archive::unpack(&bytes, allowance).map_err(invalid)?;
                waiting.push((format!("{full_path}/"), inner));
            } else {
                unpacked.insert(full_path, bytes);
            }
        }
    }
    Ok(unpacked)
}

/// Whether a file is a packed chart in the folder `charts/` of a chart, be it of a subchart in a folder.
fn is_packed_subchart(mut path: &str) -> bool {
    while let Some(below) = path.strip_prefix("charts/") {
        match below.split_once('/') {
            Some((_, in_subchart)) => path = in_subchart,
            None => return below.ends_with(PACKED) && !below.starts_with(['.', '_']),
        }
    }
    false
}

/// Whether a file signs a packed chart: Helm counts it among the files of the chart that holds that one.
fn is_provenance(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, end)| end == "prov")
}

fn too_deep(path: &str) -> ChartError {
    let message = format!("subcharts are nested deeper than {SUBCHART_DEPTH_MAX}");
    ChartError::Invalid { path: path.to_owned(), message }
}

/// Loads a chart and its subcharts.
pub(crate) fn load(files: &Files) -> Result<ChartNode, ChartError> {
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let location = Location { folder: String::new(), full_name: String::new(), depth: 0 };
    let root = load_node(&files, &location)?;
    check_root(&root)?;
    Ok(root)
}

/// What must hold of the chart that is installed, and need not of its subcharts.
fn check_root(root: &ChartNode) -> Result<(), ChartError> {
    let invalid = |message| Err(ChartError::Invalid { path: "Chart.yaml".to_owned(), message });
    if root.is_library() {
        return invalid("a library chart cannot be installed".to_owned());
    }
    for dependency in list(&root.metadata, "dependencies") {
        let name = dependency.get("name").and_then(Json::as_str).unwrap_or_default();
        if !root.dependencies.iter().any(|chart| chart.name() == name) {
            return invalid(format!("the dependency `{name}` is not in charts/"));
        }
    }
    let broken = root.content.templates.iter().find_map(|(_, parsed)| parsed.as_ref().err());
    if let Some(error) = broken {
        return Err(error.clone().into());
    }
    match &root.content.schema {
        Some(Err(error)) => Err(error.clone()),
        _ => Ok(()),
    }
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
    let chart_yaml = file("Chart.yaml").ok_or_else(|| ChartError::Missing { path: path("Chart.yaml") })?;
    let mut metadata = yaml_map(&path("Chart.yaml"), chart_yaml)?;
    // Where charts of the first version list their dependencies.
    if let Some(bytes) = file("requirements.yaml") {
        metadata.extend(yaml_map(&path("requirements.yaml"), bytes)?);
    }
    metadata::check(&mut metadata)
        .map_err(|message| ChartError::Invalid { path: path("Chart.yaml"), message })?;
    let values = match file("values.yaml") {
        Some(bytes) => values::parse_values(&text_of(&path("values.yaml"), bytes)?)
            .map_err(|source| ChartError::Yaml { path: path("values.yaml"), source })?,
        None => Map::new(),
    };
    let schema = file("values.schema.json").map(|bytes| {
        Schema::parse(without_mark(bytes))
            .map_err(|message| ChartError::Invalid { path: path("values.schema.json"), message })
    });
    let text = |key: &str| metadata.get(key).and_then(Json::as_str).unwrap_or_default();
    let name = text("name");
    let full_name =
        if location.depth == 0 { name.to_owned() } else { format!("{}/charts/{name}", location.full_name) };
    let dependencies = load_subcharts(files, location, &full_name)?;
    let (templates, other) = sort_files(files, &full_name, text("apiVersion") == "v1");
    let crds = load_crds(&other, &location.folder);
    let content = Arc::new(Content { templates, files: other, schema, crds });
    Ok(ChartNode { metadata: Arc::new(metadata), values: Arc::new(values), content, dependencies })
}

type ParsedTemplates = Vec<(String, Result<Parsed, TemplateError>)>;

/// Splits a chart's own files into templates and the rest.
fn sort_files(
    files: &[(&str, &[u8])],
    full_name: &str,
    is_first_version: bool,
) -> (ParsedTemplates, FileMap) {
    let mut templates = Vec::new();
    let mut other = FileMap::new();
    for (path, bytes) in files {
        let bytes = without_mark(bytes);
        match *path {
            "Chart.yaml" | "Chart.lock" | "values.yaml" | "values.schema.json" => {}
            "requirements.yaml" | "requirements.lock" if !is_first_version => {}
            path if path.starts_with("charts/") && !is_provenance(path) => {}
            path if path.starts_with("templates/") => {
                templates.push((path.to_owned(), parse_template(&format!("{full_name}/{path}"), bytes)));
            }
            path => {
                other.insert(Arc::from(path), Arc::from(bytes));
            }
        }
    }
    (templates, other)
}

/// Reads the files that are applied as they are, before everything else.
fn load_crds(files: &FileMap, folder: &str) -> Vec<Crds> {
    let is_manifest = |path: &str| {
        let end = path.rsplit_once('.').map_or("", |(_, end)| end).to_lowercase();
        path.starts_with("crds/") && matches!(end.as_str(), "yaml" | "yml" | "json")
    };
    let read = |path: &str, bytes: &[u8]| {
        let path = format!("{folder}{path}");
        let text = text_of(&path, bytes)?;
        let documents = documents::split(&text).map(|text| documents::parse(text, true));
        let objects = documents.filter_map(Result::transpose).map(|object| object.map(Arc::new));
        objects.collect::<Result<_, _>>().map_err(|fault| fault.of_file(path))
    };
    let manifests = files.iter().filter(|(path, _)| is_manifest(path));
    manifests.map(|(path, bytes)| (path.to_string(), read(path, bytes))).collect()
}

fn parse_template(name: &str, bytes: &[u8]) -> Result<Parsed, TemplateError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = valid.matches('\n').count() + 1;
        TemplateError {
            place: Place { template: name.to_owned(), line, column: 1 },
            message: "the text is not UTF-8".to_owned(),
            snippet: None,
            included_from: Vec::new(),
        }
    })?;
    template::parse(name, text)
}

fn load_subcharts(
    files: &[(&str, &[u8])],
    location: &Location,
    full_name: &str,
) -> Result<Vec<ChartNode>, ChartError> {
    let mut folders: BTreeMap<&str, Vec<(&str, &[u8])>> = BTreeMap::new();
    for (path, bytes) in files {
        let Some(below) = path.strip_prefix("charts/") else { continue };
        if below.starts_with(['.', '_']) || is_provenance(below) {
            continue;
        }
        let Some((folder, path)) = below.split_once('/') else {
            let message = "is no chart, and only charts may lie here".to_owned();
            return Err(ChartError::Invalid { path: format!("{}{path}", location.folder), message });
        };
        folders.entry(folder).or_default().push((path, bytes));
    }
    if location.depth >= SUBCHART_DEPTH_MAX && !folders.is_empty() {
        return Err(too_deep(&format!("{}charts", location.folder)));
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

fn yaml_map(path: &str, bytes: &[u8]) -> Result<Map<String, Json>, ChartError> {
    match yaml::parse_document(&text_of(path, bytes)?) {
        Ok(Json::Object(map)) => Ok(map),
        Ok(Json::Null) => Ok(Map::new()),
        Ok(_) => Err(ChartError::Invalid { path: path.to_owned(), message: "must be a map".to_owned() }),
        Err(source) => Err(ChartError::Yaml { path: path.to_owned(), source }),
    }
}

fn text_of<'b>(path: &str, bytes: &'b [u8]) -> Result<Cow<'b, str>, ChartError> {
    let text = std::str::from_utf8(without_mark(bytes)).map(Cow::Borrowed);
    text.map_err(|_| ChartError::Invalid { path: path.to_owned(), message: "is not UTF-8".to_owned() })
}

/// Leaves out a byte order mark, which editors leave and YAML does not know.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}
