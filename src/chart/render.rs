//! Renders a loaded chart: values, contexts, templates in Helm's order, objects out of their output.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::budget::{Budget, RenderLimits};
use super::dependencies;
use super::error::{Failure, Place, RenderError, SchemaViolation, TemplateError};
use super::exec::{Machine, Scope};
use super::functions::{LookupQuery, Runtime};
use super::load::ChartNode;
use super::objects::Object;
use super::template::{self, Templates};
use super::value::{MapCell, Value};
use super::values;
use super::yaml;

/// The annotation that makes an object a hook.
const HOOK_ANNOTATION: &str = "helm.sh/hook";
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

/// What templates see as `.Capabilities`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The version of Kubernetes, such as `v1.37.0`.
    pub kube_version: String,
    /// The API versions the cluster serves, such as `apps/v1`, and kinds, such as `apps/v1/Deployment`.
    pub api_versions: Arc<[String]>,
}

impl Capabilities {
    /// Describes a cluster by its version and what its discovery lists.
    pub fn new(kube_version: &str, api_versions: impl IntoIterator<Item = String>) -> Self {
        Self { kube_version: kube_version.to_owned(), api_versions: api_versions.into_iter().collect() }
    }
}

impl Default for Capabilities {
    /// What `helm template` of Helm 4.3.1 claims without a cluster.
    fn default() -> Self {
        Self {
            kube_version: "v1.37.0".to_owned(),
            api_versions: DEFAULT_API_VERSIONS.iter().map(ToString::to_string).collect(),
        }
    }
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
    /// The objects, in the order of the templates' paths and of the documents in their output.
    pub objects: Vec<RenderedObject>,
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
    /// The value of its `helm.sh/hook` annotation. Whether to apply hooks is the caller's choice.
    pub hook: Option<String>,
}

/// Renders a chart.
pub(crate) fn render(root: &ChartNode, request: &RenderRequest<'_>) -> Result<Rendering, RenderError> {
    check_kube_version(root, request.capabilities)?;
    let chart = dependencies::enabled(root, request.values)?;
    let coalesced = Json::Object(values::coalesce(&chart, request.values.clone())?);
    let violations = violations(&chart, &coalesced, "");
    if !violations.is_empty() {
        return Err(RenderError::Schema(violations));
    }
    let mut plan = Plan::default();
    let shared = Shared {
        release: release_value(&request.release),
        capabilities: capabilities_value(request.capabilities),
    };
    plan.add(&chart, None, &Value::from_json(&coalesced), &shared);
    let templates = plan.order()?;
    let outputs = run(&plan, &templates, request)?;
    collect(outputs, &format!("{}/templates/{NOTES}", chart.name()))
}

/// Only the root's constraint counts, and suffixes of the cluster's version (`-gke.1`) do not, as in Helm.
fn check_kube_version(root: &ChartNode, capabilities: &Capabilities) -> Result<(), RenderError> {
    let wanted = root.text("kubeVersion");
    let found = capabilities.kube_version.split(['-', '+']).next().unwrap_or_default();
    if wanted.is_empty() || super::version_matches(&wanted, found) == Some(true) {
        return Ok(());
    }
    Err(RenderError::Incompatible { chart: root.name().to_owned(), wanted, found: found.to_owned() })
}

/// Validates a chart's values and those of its subcharts.
fn violations(chart: &ChartNode, values: &Json, path: &str) -> Vec<SchemaViolation> {
    let schema = chart.content.schema.as_ref();
    let mut found = schema.map(|schema| schema.violations(values, path)).unwrap_or_default();
    for subchart in &chart.dependencies {
        let name = subchart.name();
        if let Some(below @ Json::Object(_)) = values.get(name) {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            found.extend(violations(subchart, below, &path));
        }
    }
    found
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

fn capabilities_value(capabilities: &Capabilities) -> Value {
    let Capabilities { kube_version, api_versions } = capabilities;
    // `v1.33.4-gke.1` is compared as `v1.33.4`.
    let version = format!("v{}", kube_version.trim_start_matches('v'));
    let normalized = version.split(['-', '+']).next().unwrap_or_default().to_owned();
    let mut parts = normalized.trim_start_matches('v').split('.');
    let major = parts.next().unwrap_or_default().to_owned();
    let minor = parts.next().unwrap_or_default().to_owned();
    Value::object(Object::Capabilities {
        kube_version: Value::object(Object::KubeVersion { version, normalized, major, minor }),
        api_versions: Value::object(Object::ApiVersions(Arc::clone(api_versions))),
    })
}

/// One file to render.
struct File<'c> {
    path: String,
    base_path: String,
    parsed: &'c Result<template::Parsed, TemplateError>,
    context: Rc<MapCell>,
}

/// All files of all charts that take part.
#[derive(Default)]
struct Plan<'c> {
    files: Vec<File<'c>>,
}

impl<'c> Plan<'c> {
    /// Adds a chart and its subcharts, and returns the chart's context. There is one context for all templates
    /// of a chart, and a subchart's values are the parent's own table: `set` is seen across them.
    fn add(
        &mut self,
        chart: &'c ChartNode,
        parent_path: Option<&str>,
        values: &Value,
        shared: &Shared,
    ) -> Value {
        let path = match parent_path {
            None => chart.name().to_owned(),
            Some(parent) => format!("{parent}/charts/{}", chart.name()),
        };
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
        let metadata = Value::from_json(&chart.metadata_for_templates(parent_path.is_none()));
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
        for (file, parsed) in &chart.content.templates {
            if chart.is_library() && !is_partial(file) {
                continue;
            }
            self.files.push(File {
                path: format!("{path}/{file}"),
                base_path: format!("{path}/templates"),
                parsed,
                context: context.clone(),
            });
        }
        Value::Map(context)
    }

    /// Sorts the files in Helm's order, the deepest path first and each depth backwards, and collects their
    /// templates: a later one replaces an earlier one, so parents beat subcharts.
    fn order(&mut self) -> Result<Templates, RenderError> {
        self.files.sort_by_cached_key(|file| {
            let depth = file.path.bytes().filter(|byte| *byte == b'/').count();
            Reverse((depth, file.path.clone()))
        });
        let mut templates: Templates = HashMap::new();
        for file in &self.files {
            let parsed = file.parsed.as_ref().map_err(Clone::clone)?;
            for (name, define) in &parsed.defines {
                template::insert(&mut templates, name.clone(), define.clone());
            }
            template::insert(&mut templates, file.path.clone(), parsed.main.clone());
        }
        Ok(templates)
    }
}

fn is_partial(path: &str) -> bool {
    path.rsplit('/').next().unwrap_or(path).starts_with('_')
}

/// Executes every file that is no partial; returns path and output.
fn run(
    plan: &Plan<'_>,
    templates: &Templates,
    request: &RenderRequest<'_>,
) -> Result<Vec<(String, Vec<u8>)>, RenderError> {
    let mut machine = Machine::new(Runtime {
        budget: Budget::new(&request.limits),
        now: request.now,
        entropy: request.entropy,
        lookup: request.lookup,
        patterns: HashMap::new(),
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
    plan: &Plan<'_>,
    templates: &Templates,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>, RenderError> {
    let scope = Scope::root(templates);
    let mut outputs = Vec::new();
    let mut written = 0;
    for file in plan.files.iter().filter(|file| !is_partial(&file.path)) {
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
    let mut rendering = Rendering { objects: Vec::new(), notes: None };
    for (path, output) in outputs {
        if path.ends_with(NOTES) {
            // Subcharts' notes are dropped, as Helm does unless asked.
            if path == notes_path {
                rendering.notes = Some(String::from_utf8_lossy(&output).into_owned());
            }
            continue;
        }
        let output = text_of(&path, output)?;
        for document in split(&output) {
            if let Some(object) = parse(&path, document)? {
                rendering.objects.push(object);
            }
        }
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

/// Helm's separator of documents. It is no YAML marker: `---# comment`, left by a trimmed template, counts too.
static SEPARATOR: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|[\t\n\x0C\r ]*\n)---[\t\n\x0C\r ]*").ok());

fn split(output: &str) -> impl Iterator<Item = &str> {
    let trimmed = output.trim();
    let documents: Vec<&str> = match SEPARATOR.as_ref() {
        Some(separator) => separator.split(trimmed).collect(),
        None => vec![trimmed],
    };
    documents.into_iter().map(str::trim).filter(|document| !document.is_empty())
}

fn parse(path: &str, document: &str) -> Result<Option<RenderedObject>, RenderError> {
    let template = path.to_owned();
    // Helm puts a line break behind each document: a block scalar at its end keeps its own.
    let value = match yaml::parse_document(&format!("{document}\n")) {
        Ok(value @ Json::Object(_)) => value,
        // Only comments.
        Ok(Json::Null) => return Ok(None),
        Ok(_) => {
            return Err(RenderError::NotAnObject { template, message: "a document is not a map".to_owned() });
        }
        Err(source) => return Err(RenderError::Output { template, source }),
    };
    let hook =
        value.pointer("/metadata/annotations").and_then(|annotations| annotations.get(HOOK_ANNOTATION));
    let hook = hook.and_then(Json::as_str).map(ToOwned::to_owned);
    Ok(Some(RenderedObject { template, value, hook }))
}

const DEFAULT_API_VERSIONS: [&str; 57] = [
    "v1",
    "admissionregistration.k8s.io/v1",
    "admissionregistration.k8s.io/v1alpha1",
    "admissionregistration.k8s.io/v1beta1",
    "internal.apiserver.k8s.io/v1alpha1",
    "apps/v1",
    "apps/v1beta1",
    "apps/v1beta2",
    "authentication.k8s.io/v1",
    "authentication.k8s.io/v1alpha1",
    "authentication.k8s.io/v1beta1",
    "authorization.k8s.io/v1",
    "authorization.k8s.io/v1beta1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "batch/v1beta1",
    "certificates.k8s.io/v1",
    "certificates.k8s.io/v1beta1",
    "certificates.k8s.io/v1alpha1",
    "coordination.k8s.io/v1alpha2",
    "coordination.k8s.io/v1beta1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "flowcontrol.apiserver.k8s.io/v1beta3",
    "lifecycle.k8s.io/v1alpha1",
    "networking.k8s.io/v1",
    "networking.k8s.io/v1beta1",
    "node.k8s.io/v1",
    "node.k8s.io/v1alpha1",
    "node.k8s.io/v1beta1",
    "policy/v1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1",
    "rbac.authorization.k8s.io/v1beta1",
    "rbac.authorization.k8s.io/v1alpha1",
    "resource.k8s.io/v1",
    "resource.k8s.io/v1beta2",
    "resource.k8s.io/v1beta1",
    "resource.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1beta1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1beta1",
    "storage.k8s.io/v1",
    "storage.k8s.io/v1alpha1",
    "storagemigration.k8s.io/v1",
    "storagemigration.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1",
];
