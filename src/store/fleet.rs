//! Reading the fleet file and the value files that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::{Map, Value};

use super::fields::{Reader, Section};
use super::file::{FLEET_FIELDS, VALUE_FILE};
use super::problem::quote;
use super::shop::{OWNED_BY_EACH_STORE, header, host, refuse_owned, rollback, shape};
use super::yaml::{Node, Position, Source};
use super::{
    ChangeWindow, DeletionBudget, FileContent, Fleet, Freeze, Limits, Pause, Problem, Rollback, ValueFile,
    pause, values, window,
};
use crate::names::{FLEET_FILE, Host, STORE_ID_MAX, StoreId};

/// The longest grace period and the longest window of the deletion budget: 30 days. Who wants to keep stores for ever
/// protects them.
const GRACE_SECONDS_MAX: u32 = 30 * 24 * 3600;
const WINDOW_MINUTES_MAX: u32 = 30 * 24 * 60;

/// The longest domain in characters: the longest store name and a dot fit before it in a host of 253.
const DOMAIN_MAX: usize = 253 - STORE_ID_MAX - 1;

static VALUE_FILE_SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(VALUE_FILE));

/// Reads the fleet file, and the value files that it names.
pub(super) fn read<'chart>(
    files: &BTreeMap<String, FileContent>,
    chart_file: &dyn Fn(&str) -> Option<&'chart [u8]>,
    limits: &Limits,
) -> Result<Fleet, Freeze> {
    let content = files.get(FLEET_FILE).ok_or(Freeze::NoFleetFile)?;
    let source = Source::new(FLEET_FILE, content, limits).map_err(|problem| Freeze::Fleet(vec![problem]))?;
    let mut reader = Reader::new(source, FLEET_FIELDS, limits);
    let draft = reader.document(limits).and_then(|root| fleet(&mut reader, &root));
    let Some(draft) = draft.filter(|_| reader.is_clean()) else {
        return Err(Freeze::Fleet(reader.into_problems()));
    };
    let mut base = draft.values.clone();
    let mut problems = Vec::new();
    for (value_file, at) in &draft.value_files {
        match layer(files, chart_file, value_file, limits) {
            Ok(Some(layer)) => values::merge(&mut base, &layer),
            Ok(None) => problems.push(source.problem(*at, &absent(value_file))),
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(Freeze::Fleet(problems));
    }
    Ok(draft.into_fleet(base))
}

struct Draft {
    domain: Host,
    values: Map<String, Value>,
    value_files: Vec<(ValueFile, Position)>,
    deletion_budget: DeletionBudget,
    deletion_grace_seconds: u32,
    rollback: Rollback,
    pause: Option<Pause>,
    change_windows: Vec<ChangeWindow>,
    override_windows: Option<Pause>,
}

impl Draft {
    fn into_fleet(self, base: Map<String, Value>) -> Fleet {
        let Self {
            domain,
            values,
            value_files,
            deletion_budget,
            deletion_grace_seconds,
            rollback,
            pause,
            change_windows,
            override_windows,
        } = self;
        Fleet {
            domain,
            values,
            value_files: value_files.into_iter().map(|(file, _)| file).collect(),
            deletion_budget,
            deletion_grace_seconds,
            rollback,
            pause,
            change_windows,
            override_windows,
            base: Arc::new(base),
        }
    }
}

fn fleet(reader: &mut Reader<'_>, root: &Node) -> Option<Draft> {
    let top = header(reader, root, "Fleet")?;
    let Some(node) = top.get("spec") else {
        reader.missing(&top, "spec", "spec: {domain: shops.example.com}");
        return None;
    };
    let spec = reader.section(node, "spec")?;
    let domain = domain(reader, &spec);
    let values = spec.get("values").and_then(|node| {
        refuse_owned(reader, node, "spec.values", OWNED_BY_EACH_STORE);
        reader.values(node, "spec.values")
    });
    let value_files = spec.get("valueFiles").map(|node| value_files(reader, node));
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
        values: values.unwrap_or_default(),
        value_files: value_files.unwrap_or_default(),
        deletion_budget: deletion_budget.unwrap_or_default(),
        deletion_grace_seconds: grace.unwrap_or(Fleet::DEFAULT_GRACE_SECONDS),
        rollback: rollback.unwrap_or_default(),
        pause,
        change_windows: change_windows.unwrap_or_default(),
        override_windows,
    })
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

fn value_files(reader: &mut Reader<'_>, node: &Node) -> Vec<(ValueFile, Position)> {
    let mut out: Vec<(ValueFile, Position)> = Vec::new();
    for (index, item) in reader.list(node, "spec.valueFiles").iter().enumerate() {
        let path = format!("spec.valueFiles[{index}]");
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

/// Reads one value file; nothing when there is no such file.
fn layer<'chart>(
    files: &BTreeMap<String, FileContent>,
    chart_file: &dyn Fn(&str) -> Option<&'chart [u8]>,
    value_file: &ValueFile,
    limits: &Limits,
) -> Result<Option<Map<String, Value>>, Vec<Problem>> {
    let name = value_file.to_string();
    let (source, owned): (_, &[_]) = match value_file {
        ValueFile::Repository(path) => {
            let Some(content) = files.get(path) else { return Ok(None) };
            (Source::new(&name, content, limits), OWNED_BY_EACH_STORE)
        }
        ValueFile::Chart(path) => {
            let Some(bytes) = chart_file(path) else { return Ok(None) };
            (Source::from_bytes(&name, bytes, limits), &[])
        }
    };
    let mut reader = Reader::new(source.map_err(|problem| vec![problem])?, FLEET_FIELDS, limits);
    let layer = reader.document(limits).and_then(|root| {
        refuse_owned(&mut reader, &root, "", owned);
        reader.values(&root, "")
    });
    match layer {
        Some(layer) if reader.is_clean() => Ok(Some(layer)),
        _ => Err(reader.into_problems()),
    }
}

fn absent(value_file: &ValueFile) -> String {
    match value_file {
        ValueFile::Repository(path) => {
            format!("{} is not in this commit: add the file, or correct the path", quote(path))
        }
        ValueFile::Chart(path) => {
            format!("the chart has no file {}: correct the path, or remove the line", quote(path))
        }
    }
}
