//! Reading the charts that the fleet file names.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::{Map, Value};

use super::chart::{ChartFolder, ChartSource, Charts, FieldPaths, Renderer, StoreChart};
use super::fields::{Reader, Section};
use super::file::{
    CHART_FOLDER, CHART_NAME, COMMIT, DIGEST, GIT_PATH, GIT_URL, NAME, OCI_REFERENCE, REPOSITORY_URL, VERSION,
};
use super::fleet::{Layers, Merged, ValueFileLine, value_files};
use super::problem::quote;
use super::shop::{owned_by_each_store, refuse_owned, shape};
use super::value_path::ValuePath;
use super::yaml::{Kind, Node, Position};
use super::{FileContent, Places, Problem};
use crate::names::{BUILT_IN_CHART, FLEET_FILE};

/// The most charts that a fleet file may name, and the longest name.
const CHARTS_MAX: usize = 50;
const NAME_MAX: usize = 63;

/// The most bytes of one chart in the watched repository.
const FOLDER_BYTES_MAX: usize = 16 * 1024 * 1024;

static NAME_SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(NAME));

/// A chart as the fleet file names it, before its files are read.
pub(super) struct ChartDraft {
    name: String,
    source: SourceDraft,
    renderer: Renderer,
    fields: FieldPaths,
    values: Map<String, Value>,
    places: Places,
    value_files: Vec<ValueFileLine>,
    /// What the fleet file sets for all stores, if this is its chart.
    fleet: Option<(Map<String, Value>, Places, Vec<ValueFileLine>)>,
}

enum SourceDraft {
    Known(ChartSource),
    /// A folder of this repository, named here.
    Folder(String, Position),
}

impl ChartDraft {
    /// The built-in chart, with what the fleet file sets for all stores.
    pub(super) fn built_in() -> Self {
        Self {
            name: BUILT_IN_CHART.to_owned(),
            source: SourceDraft::Known(ChartSource::BuiltIn),
            renderer: Renderer::default(),
            fields: FieldPaths::usual(),
            values: Map::new(),
            places: Places::default(),
            value_files: Vec::new(),
            fleet: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn fields(&self) -> &FieldPaths {
        &self.fields
    }

    pub(super) fn is_built_in(&self) -> bool {
        matches!(self.source, SourceDraft::Known(ChartSource::BuiltIn))
    }

    /// Returns the folder of this repository in which it lies.
    pub(super) fn folder(&self) -> Option<&str> {
        match &self.source {
            SourceDraft::Folder(folder, _) => Some(folder),
            SourceDraft::Known(_) => None,
        }
    }

    /// Puts the layers of values that are the fleet's over its own.
    pub(super) fn add(
        &mut self,
        values: Map<String, Value>,
        places: Places,
        value_files: Vec<ValueFileLine>,
    ) {
        self.fleet = Some((values, places, value_files));
    }

    /// Reads its files: the outer failure is the fleet's, the inner one its own stores'.
    fn finish(self, layers: &Layers<'_, '_>) -> Result<Result<StoreChart, Problem>, Vec<Problem>> {
        let Self { name, source, renderer, fields, values, places, value_files, fleet } = self;
        let source = match source {
            SourceDraft::Known(source) => source,
            SourceDraft::Folder(folder, at) => match folder_of(&folder, layers.files) {
                Ok(folder) => ChartSource::Folder(folder),
                Err(message) => {
                    let message = format!("`spec.charts.{name}.folder`: {message}");
                    return Ok(Err(layers.source.problem(at, &message)));
                }
            },
        };
        let mut merged = Merged::default();
        merged.add(FLEET_FILE, &values, places);
        layers.add(&mut merged, &value_files, &source, &fields)?;
        if let Some((values, places, value_files)) = fleet {
            merged.add(FLEET_FILE, &values, places);
            layers.add(&mut merged, &value_files, &source, &fields)?;
        }
        let Merged { values, places } = merged;
        Ok(Ok(StoreChart { name, source, renderer, fields, base: Arc::new(values), places }))
    }
}

/// Reads the files of all charts.
pub(super) fn finish(
    default: String,
    drafts: Vec<ChartDraft>,
    layers: &Layers<'_, '_>,
) -> Result<Charts, Vec<Problem>> {
    let (mut all, mut problems) = (BTreeMap::new(), Vec::new());
    for draft in drafts {
        let name = draft.name.clone();
        match draft.finish(layers) {
            Ok(chart) => drop(all.insert(name, chart.map(Arc::new))),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(Charts { default, all }) } else { Err(problems) }
}

fn folder_of(folder: &str, files: &BTreeMap<String, FileContent>) -> Result<ChartFolder, String> {
    let prefix = format!("{folder}/");
    let mut found = BTreeMap::new();
    let mut size = 0;
    for (path, content) in files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix)) {
        match content {
            FileContent::Bytes(bytes) => {
                size += bytes.len();
                found.insert(path[prefix.len()..].to_owned(), bytes.clone());
            }
            FileContent::Unreadable(why) => {
                return Err(format!("{} is {why}: put a regular file there", quote(path)));
            }
        }
    }
    if !found.contains_key("Chart.yaml") {
        return Err(format!(
            "{} is not in this commit: correct the path",
            quote(&format!("{prefix}Chart.yaml"))
        ));
    }
    if size > FOLDER_BYTES_MAX {
        let most = FOLDER_BYTES_MAX / (1024 * 1024);
        return Err(format!("the files in {} have {size} bytes, at most {most} MiB are read", quote(folder)));
    }
    Ok(ChartFolder::new(folder, found))
}

/// Reads `spec.charts`.
pub(super) fn read_all(reader: &mut Reader<'_>, node: &Node) -> Vec<ChartDraft> {
    let Kind::Map(entries) = &node.kind else {
        reader.unexpected(node, "spec.charts", "a map of charts by their names");
        return Vec::new();
    };
    if entries.len() > CHARTS_MAX {
        let message = format!("`spec.charts` has {} charts, at most {CHARTS_MAX} are allowed", entries.len());
        reader.complain(node.at, &message);
        return Vec::new();
    }
    let mut drafts = Vec::new();
    for (key, value) in entries {
        if key.text.len() > NAME_MAX || !NAME_SHAPE.is_match(&key.text) {
            let message = format!(
                "{} can't be a chart's name: write lower-case letters, digits and `-`, at most {NAME_MAX}",
                quote(&key.text)
            );
            reader.complain(key.at, &message);
            continue;
        }
        drafts.extend(read(reader, value, &key.text));
    }
    drafts
}

fn read(reader: &mut Reader<'_>, node: &Node, name: &str) -> Option<ChartDraft> {
    let section = reader.section_of(node, "spec.charts{}", &format!("spec.charts.{name}"))?;
    let path = |field: &str| format!("spec.charts.{name}.{field}");
    let source = source(reader, &section, &path)?;
    let fields = match section.get("fields") {
        Some(node) => fields(reader, node, &path("fields"))?,
        None => FieldPaths::usual(),
    };
    let renderer = section.get("renderer").map(|node| renderer(reader, node, &path("renderer")));
    let is_built_in = matches!(source, SourceDraft::Known(ChartSource::BuiltIn));
    let values = section.get("values").and_then(|node| {
        refuse_owned(reader, node, &path("values"), &owned_by_each_store(&fields, is_built_in));
        Some((reader.values(node, &path("values"))?, Places::of(node)))
    });
    let (values, places) = values.unwrap_or_default();
    let value_files = section.get("valueFiles").map(|node| value_files(reader, node, &path("valueFiles")));
    Some(ChartDraft {
        name: name.to_owned(),
        source,
        renderer: renderer.flatten().unwrap_or_default(),
        fields,
        values,
        places,
        value_files: value_files.unwrap_or_default(),
        fleet: None,
    })
}

/// Reads where a chart comes from: one of four places, or none for the built-in one.
fn source(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    path: &dyn Fn(&str) -> String,
) -> Option<SourceDraft> {
    let places = ["folder", "git", "oci", "repository"];
    let mut named = places.into_iter().filter_map(|place| Some((place, section.get(place)?)));
    let Some((place, node)) = named.next() else { return Some(SourceDraft::Known(ChartSource::BuiltIn)) };
    if let Some((other, node)) = named.next() {
        let message =
            format!("`{}` and `{}` are two places for one chart: remove one", path(place), path(other));
        reader.complain(node.at, &message);
        return None;
    }
    if place == "folder" {
        let right = "a folder under `charts/` in this repository, such as `charts/webshop`";
        let folder = shaped(reader, node, &path(place), CHART_FOLDER, right)?;
        return Some(SourceDraft::Folder(folder, node.at));
    }
    pinned(reader, node, place, &path(place)).map(SourceDraft::Known)
}

const SEMANTIC: &str = "a version such as \"1.2.3\", in quotes";
const PINNED: &str = "`sha256:` and 64 digits of 0-9 and a-f: it decides which chart is meant";
const FULL_ID: &str = "the full id of a commit, 40 digits of 0-9 and a-f (`git ls-remote` tells it of a tag or a branch, \
                       which may be moved)";

/// Reads a place outside of this repository.
fn pinned(reader: &mut Reader<'_>, node: &Node, place: &str, path: &str) -> Option<ChartSource> {
    let below = reader.section_of(node, &format!("spec.charts{{}}.{place}"), path)?;
    let mut field = |name: &str, pattern: &str, right: &str| {
        let path = format!("{path}.{name}");
        if let Some(node) = below.get(name) {
            return shaped(reader, node, &path, pattern, right);
        }
        reader.complain(below.at, &format!("`{path}` is missing: add {right}"));
        None
    };
    if place == "git" {
        let right = "a URL without a login, such as `https://git.example.com/charts.git`";
        let (url, revision) = (field("url", GIT_URL, right), field("revision", COMMIT, FULL_ID));
        let folder = below.get("path").map(|_| field("path", GIT_PATH, "a folder, such as `charts/webshop`"));
        let path = folder.unwrap_or(Some(String::new()))?;
        return Some(ChartSource::Git { url: url?, revision: revision?, path });
    }
    if place == "oci" {
        let right = "a reference without version, such as `oci://registry.example.com/charts/webshop`";
        let (reference, version) =
            (field("reference", OCI_REFERENCE, right), field("version", VERSION, SEMANTIC));
        let digest = field("digest", DIGEST, PINNED);
        return Some(ChartSource::Oci { reference: reference?, version: version?, digest: digest? });
    }
    let right = "a URL without a login, such as `https://charts.example.com`";
    let url = field("url", REPOSITORY_URL, right);
    let name = field("name", CHART_NAME, "the chart's name in that repository, such as `webshop`");
    let (version, digest) = (field("version", VERSION, SEMANTIC), field("digest", DIGEST, PINNED));
    Some(ChartSource::Repository { url: url?, name: name?, version: version?, digest: digest? })
}

fn fields(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<FieldPaths> {
    let section = reader.section_of(node, "spec.charts{}.fields", path)?;
    let mut all_good = true;
    let mut field = |name: &str| {
        let node = section.get(name)?;
        let path = format!("{path}.{name}");
        let text = reader.text(node, &path)?;
        let found = ValuePath::parse(&text);
        if found.is_none() {
            let right = "a place in the chart's values, such as `ingress.hosts[0].host`";
            reader.complain(node.at, &format!("`{path}` is {}: write {right}", quote(&text)));
            all_good = false;
        }
        found
    };
    let fields = FieldPaths {
        name: field("name"),
        display_name: field("displayName"),
        host: field("host"),
        image_repository: field("imageRepository"),
        image_tag: field("imageTag"),
        image_digest: field("imageDigest"),
    };
    all_good.then_some(fields)
}

fn renderer(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<Renderer> {
    let text = reader.text(node, path)?;
    match text.as_str() {
        "native" => Some(Renderer::Native),
        "helm" => Some(Renderer::Helm),
        _ => {
            let message = format!("`{path}` is {}: write `native` or `helm`", quote(&text));
            reader.complain(node.at, &message);
            None
        }
    }
}

fn shaped(reader: &mut Reader<'_>, node: &Node, path: &str, pattern: &str, right: &str) -> Option<String> {
    let text = reader.text(node, path)?;
    if shape(pattern).is_match(&text) {
        return Some(text);
    }
    // What has a login in it is not repeated.
    let found = if text.contains('@') { "something else".to_owned() } else { quote(&text) };
    reader.complain(node.at, &format!("`{path}` is {found}: write {right}"));
    None
}
