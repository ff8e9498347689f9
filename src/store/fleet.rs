//! Reading the fleet file and the value files that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::chart::{ChartSource, FieldPaths};
use super::charts::{self, ChartDraft};
use super::clusters::{self, Clusters, Scope};
use super::fields::{Reader, Section};
use super::file::{FLEET_FIELDS, VALUE_FILE};
use super::problem::quote;
use super::shop::{chart_name, header, host, owned_by_each_store, refuse_owned, rollback, shape};
use super::yaml::{Node, Position, Source};
use super::{
    ChangeWindow, DeletionBudget, FileContent, Fleet, Freeze, Limits, Pause, Places, Problem, Rollback,
    ValueFile, pause, values, window,
};
use crate::names::{BUILT_IN_CHART, FLEET_FILE, Host, STORE_ID_MAX, StoreId};

/// The longest grace period and the longest window of the deletion budget: 30 days. Who wants to keep stores for ever
/// protects them.
const GRACE_SECONDS_MAX: u32 = 30 * 24 * 3600;
const WINDOW_MINUTES_MAX: u32 = 30 * 24 * 60;

/// The longest domain in characters: the longest store name and a dot fit before it in a host of 253.
const DOMAIN_MAX: usize = 253 - STORE_ID_MAX - 1;

static VALUE_FILE_SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(VALUE_FILE));

/// The fleet file, read, and what it needs of other files.
pub(super) struct Draft {
    domain: Host,
    domains: BTreeSet<Host>,
    default_chart: String,
    charts: Vec<ChartDraft>,
    value_files: Vec<ValueFileLine>,
    values: Map<String, Value>,
    places: Places,
    deletion_budget: DeletionBudget,
    deletion_grace_seconds: u32,
    rollback: Rollback,
    pause: Option<Pause>,
    change_windows: Vec<ChangeWindow>,
    override_windows: Option<Pause>,
    clusters: Clusters,
}

/// A value file with the place where the fleet file names it.
pub(super) type ValueFileLine = (ValueFile, Position);

/// Reads the fleet file, for whoever wants these stores of the repository.
pub(super) fn read(
    files: &BTreeMap<String, FileContent>,
    scope: &Scope,
    limits: &Limits,
) -> Result<Draft, Freeze> {
    let content = files.get(FLEET_FILE).ok_or(Freeze::NoFleetFile)?;
    let source = Source::new(FLEET_FILE, content, limits).map_err(|problem| Freeze::Fleet(vec![problem]))?;
    let mut reader = Reader::new(source, FLEET_FIELDS, limits);
    let draft = reader.document(limits).and_then(|root| fleet(&mut reader, &root, scope));
    match draft {
        Some(draft) if reader.is_clean() => Ok(draft),
        _ => Err(Freeze::Fleet(reader.into_problems())),
    }
}

impl Draft {
    /// Returns the folders of this repository in which charts lie.
    pub(super) fn chart_folders(&self) -> impl Iterator<Item = &str> {
        self.charts.iter().filter_map(ChartDraft::folder)
    }

    /// Reads the files that the fleet file names; `files` holds those of its charts too.
    pub(super) fn finish<'chart>(
        self,
        files: &BTreeMap<String, FileContent>,
        chart_file: &dyn Fn(&str) -> Option<&'chart [u8]>,
        limits: &Limits,
    ) -> Result<Fleet, Freeze> {
        let Self {
            domain,
            domains,
            default_chart,
            mut charts,
            value_files,
            values,
            places,
            deletion_budget,
            deletion_grace_seconds,
            rollback,
            pause,
            change_windows,
            override_windows,
            clusters,
        } = self;
        let content = files.get(FLEET_FILE).ok_or(Freeze::NoFleetFile)?;
        let source =
            Source::new(FLEET_FILE, content, limits).map_err(|problem| Freeze::Fleet(vec![problem]))?;
        if let Some(chart) = charts.iter_mut().find(|chart| chart.name() == default_chart) {
            chart.add(values.clone(), places, value_files.clone());
        }
        let layers = Layers { source, files, chart_file, limits };
        let charts = charts::finish(default_chart, charts, &layers).map_err(Freeze::Fleet)?;
        Ok(Fleet {
            domain,
            domains,
            values,
            value_files: value_files.into_iter().map(|(file, _)| file).collect(),
            deletion_budget,
            deletion_grace_seconds,
            rollback,
            pause,
            change_windows,
            override_windows,
            clusters,
            charts,
        })
    }
}

/// Where layers of values are read from.
pub(super) struct Layers<'a, 'chart> {
    /// The fleet file.
    pub source: Source<'a>,
    /// The files of the repository that were wanted.
    pub files: &'a BTreeMap<String, FileContent>,
    /// Finds a file of the built-in chart.
    chart_file: &'a dyn Fn(&str) -> Option<&'chart [u8]>,
    limits: &'a Limits,
}

/// What one file sets, and where it does.
type Layer = (Map<String, Value>, Places);

/// Layers of values, merged.
#[derive(Default)]
pub(super) struct Merged {
    pub values: Map<String, Value>,
    /// The files of the layers, the weakest first, with where they set what.
    pub places: Vec<(String, Places)>,
}

impl Merged {
    /// Puts a layer over those that are there.
    pub(super) fn add(&mut self, file: &str, values: &Map<String, Value>, places: Places) {
        values::merge(&mut self.values, values);
        self.places.push((file.to_owned(), places));
    }
}

impl Layers<'_, '_> {
    /// Puts value files over the layers that are there.
    pub(super) fn add(
        &self,
        merged: &mut Merged,
        value_files: &[ValueFileLine],
        chart: &ChartSource,
        fields: &FieldPaths,
    ) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for (value_file, at) in value_files {
            match self.layer(value_file, chart, fields) {
                Ok(Some((layer, places))) => merged.add(&value_file.to_string(), &layer, places),
                Ok(None) => problems.push(self.source.problem(*at, &absent(value_file, chart))),
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Reads one value file; nothing when there is no such file.
    fn layer(
        &self,
        value_file: &ValueFile,
        chart: &ChartSource,
        fields: &FieldPaths,
    ) -> Result<Option<Layer>, Vec<Problem>> {
        let name = value_file.to_string();
        let (source, owned) = match value_file {
            ValueFile::Repository(path) => {
                let Some(content) = self.files.get(path) else { return Ok(None) };
                let owned = owned_by_each_store(fields, chart.is_built_in());
                (Source::new(&name, content, self.limits), owned)
            }
            ValueFile::Chart(path) => {
                let Some(bytes) = self.file_of(chart, path) else { return Ok(None) };
                (Source::from_bytes(&name, bytes, self.limits), Vec::new())
            }
        };
        let source = source.map_err(|problem| vec![problem])?;
        let mut reader = Reader::new(source, FLEET_FIELDS, self.limits);
        let layer = reader.document(self.limits).and_then(|root| {
            refuse_owned(&mut reader, &root, "", &owned);
            Some((reader.values(&root, "")?, Places::of(&root)))
        });
        match layer {
            Some(layer) if reader.is_clean() => Ok(Some(layer)),
            _ => Err(reader.into_problems()),
        }
    }

    fn file_of<'s>(&'s self, chart: &'s ChartSource, path: &str) -> Option<&'s [u8]> {
        match chart {
            ChartSource::BuiltIn => (self.chart_file)(path),
            ChartSource::Folder(folder) => folder.files.get(path).map(Vec::as_slice),
            ChartSource::Git { .. } | ChartSource::Oci { .. } | ChartSource::Repository { .. } => None,
        }
    }
}

fn fleet(reader: &mut Reader<'_>, root: &Node, scope: &Scope) -> Option<Draft> {
    let top = header(reader, root, "Fleet")?;
    let Some(node) = top.get("spec") else {
        reader.missing(&top, "spec", "spec: {domain: shops.example.com}");
        return None;
    };
    let spec = reader.section(node, "spec")?;
    let domain = domain(reader, &spec);
    let domains = spec.get("domains").map(|node| domains(reader, node)).unwrap_or_default();
    let clusters = clusters::read(reader, &spec, node.at, scope);
    let mut charts = spec.get("charts").map(|node| charts::read_all(reader, node)).unwrap_or_default();
    if !charts.iter().any(|chart| chart.name() == BUILT_IN_CHART) {
        charts.push(ChartDraft::built_in());
    }
    let default_chart = default_chart(reader, &spec, &charts);
    let default = default_chart.as_ref().and_then(|name| charts.iter().find(|chart| chart.name() == name));
    let owned = default.map(|chart| owned_by_each_store(chart.fields(), chart.is_built_in()));
    let values = spec.get("values").and_then(|node| {
        refuse_owned(reader, node, "spec.values", &owned.unwrap_or_default());
        Some((reader.values(node, "spec.values")?, Places::of(node)))
    });
    let (values, places) = values.unwrap_or_default();
    let value_files = spec.get("valueFiles").map(|node| value_files(reader, node, "spec.valueFiles"));
    let deletion_budget = spec.get("deletionBudget").map(|node| deletion_budget(reader, node));
    let grace = spec
        .get("deletionGracePeriodSeconds")
        .and_then(|node| reader.count(node, "spec.deletionGracePeriodSeconds", GRACE_SECONDS_MAX));
    let rollback = spec.get("rollback").and_then(|node| rollback(reader, node));
    let mut until = |field: &str| pause::read(reader, spec.get(field)?, &format!("spec.{field}"));
    let (pause, override_windows) = (until("pause"), until("overrideWindows"));
    let change_windows = spec.get("changeWindows").map(|node| window::read_all(reader, node));
    Some(Draft {
        domain: domain?,
        domains,
        default_chart: default_chart?,
        charts,
        values,
        places,
        value_files: value_files.unwrap_or_default(),
        deletion_budget: deletion_budget.unwrap_or_default(),
        deletion_grace_seconds: grace.unwrap_or(Fleet::DEFAULT_GRACE_SECONDS),
        rollback: rollback.unwrap_or_default(),
        pause,
        change_windows: change_windows.unwrap_or_default(),
        override_windows,
        clusters,
    })
}

fn default_chart(reader: &mut Reader<'_>, spec: &Section<'_>, charts: &[ChartDraft]) -> Option<String> {
    let Some(node) = spec.get("chart") else { return Some(BUILT_IN_CHART.to_owned()) };
    let (name, at) = chart_name(reader, node)?;
    if charts.iter().any(|chart| chart.name() == name) {
        return Some(name);
    }
    let known: Vec<_> = charts.iter().map(ChartDraft::name).collect();
    let message = format!(
        "`spec.chart` is {}, which `spec.charts` does not name: write one of {}",
        quote(&name),
        known.join(", ")
    );
    reader.complain(at, &message);
    None
}

fn domain(reader: &mut Reader<'_>, spec: &Section<'_>) -> Option<Host> {
    let Some(node) = spec.get("domain") else {
        reader.missing(spec, "spec.domain", "domain: shops.example.com");
        return None;
    };
    let domain = host(reader, node, "spec.domain")?;
    let length = domain.as_str().len();
    if length > DOMAIN_MAX {
        let message = format!(
            "`spec.domain` has {length} characters, at most {DOMAIN_MAX} are allowed: a store's name comes before it"
        );
        reader.complain(node.at, &message);
        return None;
    }
    Some(domain)
}

fn domains(reader: &mut Reader<'_>, node: &Node) -> BTreeSet<Host> {
    let mut out = BTreeSet::new();
    for (index, item) in reader.list(node, "spec.domains").iter().enumerate() {
        let Some(domain) = host(reader, item, &format!("spec.domains[{index}]")) else { continue };
        let text = quote(domain.as_str());
        if !out.insert(domain) {
            reader.complain(item.at, &format!("{text} is listed twice: remove one of the two"));
        }
    }
    out
}

/// Reads a list of value files.
pub(super) fn value_files(reader: &mut Reader<'_>, node: &Node, path: &str) -> Vec<ValueFileLine> {
    let mut out: Vec<ValueFileLine> = Vec::new();
    for (index, item) in reader.list(node, path).iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(text) = reader.text(item, &path) else { continue };
        if !VALUE_FILE_SHAPE.is_match(&text) {
            let message = format!(
                "`{path}` is {}: write a path in this repository, `values/<name>.yaml`, or one in the chart, \
                 `chart:<name>.yaml`",
                quote(&text)
            );
            reader.complain(item.at, &message);
            continue;
        }
        let file = match text.strip_prefix("chart:") {
            Some(path) => ValueFile::Chart(path.to_owned()),
            None => ValueFile::Repository(text.clone()),
        };
        if out.iter().any(|(known, _)| *known == file) {
            reader.complain(item.at, &format!("{} is listed twice: remove one of the two", quote(&text)));
        }
        out.push((file, item.at));
    }
    out
}

fn deletion_budget(reader: &mut Reader<'_>, node: &Node) -> DeletionBudget {
    let mut budget = DeletionBudget::default();
    let Some(section) = reader.section(node, "spec.deletionBudget") else { return budget };
    let DeletionBudget { max_stores, max_percent, window_minutes, approved: _ } = &mut budget;
    for (field, most, value) in [
        ("maxStores", u32::MAX, max_stores),
        ("maxPercent", 100, max_percent),
        ("windowMinutes", WINDOW_MINUTES_MAX, window_minutes),
    ] {
        let count = |node| reader.count(node, &format!("spec.deletionBudget.{field}"), most);
        *value = section.get(field).and_then(count).unwrap_or(*value);
    }
    if let Some(node) = section.get("approved") {
        budget.approved = approved(reader, node);
    }
    budget
}

fn approved(reader: &mut Reader<'_>, node: &Node) -> BTreeSet<StoreId> {
    let mut out = BTreeSet::new();
    for (index, item) in reader.list(node, "spec.deletionBudget.approved").iter().enumerate() {
        let path = format!("spec.deletionBudget.approved[{index}]");
        let Some(text) = reader.text(item, &path) else { continue };
        match text.parse::<StoreId>() {
            Err(error) => reader.complain(item.at, &format!("`{path}` must name a store: {error}")),
            Ok(id) => {
                if !out.insert(id) {
                    let message = format!("{} is listed twice: remove one of the two", quote(&text));
                    reader.complain(item.at, &message);
                }
            }
        }
    }
    out
}

fn absent(value_file: &ValueFile, chart: &ChartSource) -> String {
    match (value_file, chart) {
        (ValueFile::Repository(path), _) => {
            format!("{} is not in this commit: add the file, or correct the path", quote(path))
        }
        (ValueFile::Chart(path), ChartSource::BuiltIn | ChartSource::Folder(_)) => {
            format!("the chart has no file {}: correct the path, or remove the line", quote(path))
        }
        (ValueFile::Chart(path), _) => format!(
            "{} can't be read out of a chart that is fetched: put a copy of it into `values/`",
            quote(path)
        ),
    }
}
