//! Renders a loaded chart: values, contexts, templates in Helm's order, objects out of their output.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::budget::{Budget, RenderLimits};
use super::capabilities::Capabilities;
use super::documents;
use super::error::{Failure, Place, RenderError, SchemaViolation, TemplateError};
use super::exec::{Machine, Scope};
use super::functions::{LookupQuery, Runtime};
use super::hook::{Hook, Role};
use super::load::ChartNode;
use super::metadata;
use super::objects::Object;
use super::reuse::{Patterns, Reuse};
use super::template::{self, Templates};
use super::value::{MapCell, Value};
use super::values;

/// The file whose output is told to the user instead of being applied.
const NOTES: &str = "NOTES.txt";

/// What templates see as `.Release`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The release's name.
    pub name: String,
    /// The namespace it goes to.
    pub namespace: String,
    /// Whether an earlier revision exists.
    pub is_upgrade: bool,
    /// The revision, from 1.
    pub revision: u32,
}

/// Everything that decides what a chart renders to.
pub struct RenderRequest<'a> {
    /// The release.
    pub release: Release,
    /// The user's values, all layers merged; a null deletes a default of the chart.
    pub values: &'a Map<String, Json>,
    /// What the cluster can do.
    pub capabilities: &'a Capabilities,
    /// Answers `lookup`: the object or list, or `{}` if there is none.
    pub lookup: &'a dyn Fn(&LookupQuery) -> Json,
    /// Fills bytes with randomness, for `randAlphaNum` and its kin.
    pub entropy: &'a dyn Fn(&mut [u8]),
    /// The time that `now` tells, in seconds since 1970.
    pub now: i64,
    /// What the render may use.
    pub limits: RenderLimits,
}

/// What a chart renders to.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendering {
    /// The objects, in the order of the templates' paths and of the documents in their output. Hooks are among them.
    pub objects: Vec<RenderedObject>,
    /// What lies in `crds/` of the chart and of its subcharts, to be there before everything else. Helm makes these
    /// when a release is installed, and never changes or deletes them.
    pub crds: Vec<Crd>,
    /// The output of the root chart's NOTES.txt.
    pub notes: Option<String>,
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedObject {
    /// The path of the template that wrote it, such as `shop/templates/service.yaml`.
    pub template: String,
    /// The object.
    pub value: Json,
    /// When to make it instead of with the others, if it is a hook. Whether to is the caller's choice.
    pub hook: Option<Hook>,
    /// Whether it stays when the chart no longer has it, or the release goes.
    pub keep: bool,
}

/// One object of a file in `crds/`, as it stands there.
#[derive(Debug, Clone, PartialEq)]
pub struct Crd {
    /// The file's path, such as `shop/crds/orders.yaml`.
    pub file: String,
    /// The object, shared with the chart.
    pub value: Arc<Json>,
}

/// Renders a chart.
pub(crate) fn render(
    root: &ChartNode,
    reuse: &Reuse,
    request: &RenderRequest<'_>,
) -> Result<Rendering, RenderError> {
    check_kube_version(root, request.capabilities)?;
    let prepared = reuse.prepared(root, request.values)?;
    let chart = &prepared.chart;
    let coalesced = Json::Object(values::coalesce(chart, request.values.clone())?);
    let violations = violations(chart, &coalesced, "")?;
    if !violations.is_empty() {
        return Err(RenderError::Schema(violations));
    }
    let mut plan = Plan::default();
    let shared = Shared {
        release: release_value(&request.release),
        capabilities: request.capabilities.for_templates(),
    };
    plan.add(chart, None, &Value::from_json(&coalesced), &shared);
    plan.order();
    let templates = prepared.templates.as_ref().map_err(Clone::clone)?;
    let outputs = run(&plan, templates, request, &reuse.patterns)?;
    let mut rendering = collect(outputs, &format!("{}/templates/{NOTES}", chart.name()))?;
    crds(chart, None, &mut rendering.crds)?;
    Ok(rendering)
}

/// Only the root's constraint counts, and suffixes of the cluster's version (`-gke.1`) do not, as in Helm.
fn check_kube_version(root: &ChartNode, capabilities: &Capabilities) -> Result<(), RenderError> {
    let wanted = root.text("kubeVersion");
    let found = capabilities.plain_version();
    if wanted.is_empty() || super::version_matches(wanted, &found) == Some(true) {
        return Ok(());
    }
    Err(RenderError::Incompatible { chart: root.name().to_owned(), wanted: wanted.to_owned(), found })
}

/// Validates a chart's values and those of its subcharts.
fn violations(chart: &ChartNode, values: &Json, path: &str) -> Result<Vec<SchemaViolation>, RenderError> {
    let mut found = match &chart.content.schema {
        None => Vec::new(),
        Some(Ok(schema)) => schema.violations(values, path),
        Some(Err(error)) => return Err(error.clone().into()),
    };
    for subchart in &chart.dependencies {
        let name = subchart.name();
        if let Some(below @ Json::Object(_)) = values.get(name) {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            found.extend(violations(subchart, below, &path)?);
        }
    }
    Ok(found)
}

/// What all charts of a release share.
struct Shared {
    release: Value,
    capabilities: Value,
}

fn release_value(release: &Release) -> Value {
    let Release { name, namespace, is_upgrade, revision } = release;
    Value::map([
        ("Name", Value::string(name)),
        ("Namespace", Value::string(namespace)),
        ("IsUpgrade", Value::Bool(*is_upgrade)),
        ("IsInstall", Value::Bool(!is_upgrade)),
        ("Revision", Value::Int(i64::from(*revision))),
        ("Service", Value::from("Helm")),
    ])
}

/// Collects the templates of all charts that take part: a later one replaces an earlier one, so parents beat subcharts.
pub(crate) fn templates(chart: &ChartNode) -> Result<Templates, TemplateError> {
    let mut files = Vec::new();
    parsed_files(chart, None, &mut files);
    files.sort_by_cached_key(|(path, _)| place(path));
    let mut templates: Templates = HashMap::new();
    for (path, parsed) in files {
        let parsed = parsed.as_ref().map_err(Clone::clone)?;
        for (name, define) in &parsed.defines {
            template::insert(&mut templates, name.clone(), define.clone());
        }
        template::insert(&mut templates, path, parsed.main.clone());
    }
    Ok(templates)
}

type ParsedFile<'c> = (String, &'c Result<template::Parsed, TemplateError>);

fn parsed_files<'c>(chart: &'c ChartNode, parent_path: Option<&str>, files: &mut Vec<ParsedFile<'c>>) {
    let path = full_path(chart, parent_path);
    for subchart in &chart.dependencies {
        parsed_files(subchart, Some(&path), files);
    }
    files.extend(own_files(chart).map(|(file, parsed)| (format!("{path}/{file}"), parsed)));
}

/// The files of a chart that count: of a library only partials.
fn own_files(chart: &ChartNode) -> impl Iterator<Item = &(String, Result<template::Parsed, TemplateError>)> {
    chart.content.templates.iter().filter(|(file, _)| !chart.is_library() || is_partial(file))
}

/// Helm's order of files: the deepest path first, and each depth backwards.
fn place(path: &str) -> Reverse<(usize, String)> {
    Reverse((path.bytes().filter(|byte| *byte == b'/').count(), path.to_owned()))
}

/// One file to render.
struct File {
    path: String,
    base_path: String,
    context: Rc<MapCell>,
}

/// All files of all charts that take part, without partials.
#[derive(Default)]
struct Plan {
    files: Vec<File>,
}

impl Plan {
    /// Adds a chart and its subcharts, and returns the chart's context. There is one context for all templates
    /// of a chart, and a subchart's values are the parent's own table: `set` is seen across them.
    fn add(
        &mut self,
        chart: &ChartNode,
        parent_path: Option<&str>,
        values: &Value,
        shared: &Shared,
    ) -> Value {
        let path = full_path(chart, parent_path);
        let subcharts: Vec<(&str, Value)> = chart
            .dependencies
            .iter()
            .map(|subchart| {
                let below = match values {
                    Value::Map(values) => values.get(subchart.name()),
                    _ => None,
                };
                let below = below.unwrap_or_else(|| Value::map::<&str>([]));
                (subchart.name(), self.add(subchart, Some(&path), &below, shared))
            })
            .collect();
        let metadata = Value::from_json(&metadata::for_templates(&chart.metadata, parent_path.is_none()));
        let entries = [
            ("Chart", metadata),
            ("Files", Value::object(Object::Files(chart.content.files.clone()))),
            ("Release", shared.release.clone()),
            ("Capabilities", shared.capabilities.clone()),
            ("Values", values.clone()),
            ("Subcharts", Value::map(subcharts)),
        ];
        let context: Rc<MapCell> =
            Rc::new(entries.into_iter().map(|(key, value)| (Rc::from(key), value)).collect());
        self.files.extend(own_files(chart).filter(|(file, _)| !is_partial(file)).map(|(file, _)| File {
            path: format!("{path}/{file}"),
            base_path: format!("{path}/templates"),
            context: context.clone(),
        }));
        Value::Map(context)
    }

    fn order(&mut self) {
        self.files.sort_by_cached_key(|file| place(&file.path));
    }
}

fn is_partial(path: &str) -> bool {
    path.rsplit('/').next().unwrap_or(path).starts_with('_')
}

/// Executes every file; returns path and output.
fn run(
    plan: &Plan,
    templates: &Templates,
    request: &RenderRequest<'_>,
    patterns: &Patterns,
) -> Result<Vec<(String, Vec<u8>)>, RenderError> {
    let mut machine = Machine::new(Runtime {
        budget: Budget::new(&request.limits),
        now: request.now,
        entropy: request.entropy,
        lookup: request.lookup,
        patterns,
        compiled: HashMap::new(),
        changed_maps: Vec::new(),
    });
    let result = run_files(&mut machine, plan, templates, request.limits.output_bytes);
    // Maps that hold each other would never be freed.
    for map in machine.runtime.changed_maps.drain(..) {
        map.clear();
    }
    result
}

fn run_files(
    machine: &mut Machine<'_>,
    plan: &Plan,
    templates: &Templates,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, RenderError> {
    let scope = Scope::root(templates);
    let mut outputs = Vec::new();
    let mut written = 0;
    for file in &plan.files {
        let about =
            Value::map([("Name", Value::string(&file.path)), ("BasePath", Value::string(&file.base_path))]);
        file.context.insert("Template", about);
        let dot = Value::Map(file.context.clone());
        let output =
            machine.execute(&scope, &file.path, &dot).map_err(|failure| located(failure, &file.path))?;
        written += output.len();
        if written > limit {
            return Err(RenderError::OutputTooLarge { template: file.path.clone(), limit });
        }
        outputs.push((file.path.clone(), output));
    }
    Ok(outputs)
}

fn located(failure: Failure, path: &str) -> RenderError {
    RenderError::Template(match failure {
        Failure::Located(error) => *error,
        Failure::Message(message) => TemplateError {
            place: Place { template: path.to_owned(), line: 1, column: 1 },
            message,
            snippet: None,
            included_from: Vec::new(),
        },
    })
}

/// Parses the outputs into objects, in the order of their paths.
fn collect(mut outputs: Vec<(String, Vec<u8>)>, notes_path: &str) -> Result<Rendering, RenderError> {
    outputs.sort();
    let mut rendering = Rendering { objects: Vec::new(), crds: Vec::new(), notes: None };
    for (path, output) in outputs {
        if path.ends_with(NOTES) {
            // Subcharts' notes are dropped, as Helm does unless asked.
            if path == notes_path {
                rendering.notes = Some(String::from_utf8_lossy(&output).into_owned());
            }
            continue;
        }
        rendering.objects.extend(parse_output(&path, &text_of(&path, output)?)?);
    }
    Ok(rendering)
}

fn text_of(path: &str, output: Vec<u8>) -> Result<String, RenderError> {
    String::from_utf8(output).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        let message = format!("line {line} is not UTF-8");
        RenderError::NotAnObject { template: path.to_owned(), message }
    })
}

/// Parses what a template wrote into objects, in the order of its documents.
pub fn parse_output(template: &str, output: &str) -> Result<Vec<RenderedObject>, RenderError> {
    documents::split(output).filter_map(|document| object(template, document).transpose()).collect()
}

/// Reads one document of a template's output; nothing if Helm leaves it out.
fn object(path: &str, document: &str) -> Result<Option<RenderedObject>, RenderError> {
    let parse = |in_manifest| {
        documents::parse(document, in_manifest).map_err(|fault| fault.of_output(path.to_owned()))
    };
    let Some(Json::Object(value)) = parse(true)? else { return Ok(None) };
    let role =
        Role::of(&value).map_err(|message| documents::Fault::NoObject(message).of_output(path.to_owned()))?;
    let object = |value, hook, keep| RenderedObject { template: path.to_owned(), value, hook, keep };
    Ok(match role {
        Role::Part { keep } => Some(object(Json::Object(value), None, keep)),
        Role::Hook(hook) => parse(false)?.map(|value| object(value, Some(hook), false)),
        Role::Unknown => None,
    })
}

/// Collects what lies in `crds/`, the parent's before its subcharts'.
fn crds(chart: &ChartNode, parent_path: Option<&str>, found: &mut Vec<Crd>) -> Result<(), RenderError> {
    let path = full_path(chart, parent_path);
    for (file, objects) in &chart.content.crds {
        let objects = objects.as_ref().map_err(Clone::clone)?;
        found
            .extend(objects.iter().map(|value| Crd { file: format!("{path}/{file}"), value: value.clone() }));
    }
    chart.dependencies.iter().try_for_each(|subchart| crds(subchart, Some(&path), found))
}

/// The path that a chart's templates are known by; an alias is part of it.
fn full_path(chart: &ChartNode, parent_path: Option<&str>) -> String {
    match parent_path {
        None => chart.name().to_owned(),
        Some(parent) => format!("{parent}/charts/{}", chart.name()),
    }
}
