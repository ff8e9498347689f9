//! Which subcharts take part: conditions, tags, aliases and imported values.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::RenderError;
use super::load::ChartNode;
use super::metadata::{import_paths, list, scalar_text};
use super::values;

/// Returns the chart with only those subcharts that the values enable, under the names that aliases give them.
pub(crate) fn enabled(chart: &ChartNode, values: &Map<String, Value>) -> Result<ChartNode, RenderError> {
    let mut chart = chart.clone();
    if !chart.dependencies.is_empty() {
        select(&mut chart, values, "")?;
    }
    Ok(chart)
}

/// Names the charts that take part, and what each lists of those it needs: two choices with the same outline are the same.
pub(crate) fn outline(chart: &ChartNode) -> String {
    let listed: Vec<_> = Requirement::all(chart).into_iter().map(|entry| entry.name).collect();
    let below: Vec<_> = chart.dependencies.iter().map(outline).collect();
    format!("{:?}{listed:?}({})", chart.name(), below.join(","))
}

/// One entry of `dependencies` in Chart.yaml.
struct Requirement {
    chart_name: String,
    /// The alias if there is one, else the chart's name.
    name: String,
    version: String,
    condition: String,
    tags: Vec<String>,
}

impl Requirement {
    fn all(chart: &ChartNode) -> Vec<Self> {
        list(&chart.metadata, "dependencies").iter().map(Self::read).collect()
    }

    fn read(entry: &Value) -> Self {
        let text = |key: &str| entry.get(key).map(scalar_text).unwrap_or_default();
        let (chart_name, alias) = (text("name"), text("alias"));
        let tags = entry.get("tags").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Self {
            name: if alias.is_empty() { chart_name.clone() } else { alias },
            chart_name,
            version: text("version"),
            condition: text("condition"),
            tags: tags.iter().map(scalar_text).collect(),
        }
    }

    fn fits(&self, chart: &ChartNode) -> bool {
        self.chart_name == chart.name()
            && super::version_matches(&self.version, chart.text("version")).unwrap_or(false)
    }

    /// The first condition that is a boolean decides; without one, tags do; without those, the chart is in.
    fn is_enabled(&self, values: &Map<String, Value>, path: &str) -> bool {
        let conditions = self.condition.trim().split(',').filter(|condition| !condition.is_empty());
        for condition in conditions {
            if let Some(Value::Bool(enabled)) = at(values, &format!("{path}{condition}")) {
                return *enabled;
            }
        }
        let Some(Value::Object(known)) = values.get("tags") else { return true };
        let flags: Vec<bool> = self.tags.iter().filter_map(|tag| known.get(tag)?.as_bool()).collect();
        flags.is_empty() || flags.contains(&true)
    }
}

/// Follows a dotted path through maps.
fn at<'a>(values: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let mut current = values.get(parts.next()?)?;
    for part in parts {
        current = current.as_object()?.get(part)?;
    }
    Some(current)
}

fn select(chart: &mut ChartNode, values: &Map<String, Value>, path: &str) -> Result<(), RenderError> {
    let requirements = Requirement::all(chart);
    if requirements.is_empty() {
        return Ok(());
    }
    let available = std::mem::take(&mut chart.dependencies);
    let unlisted = available.iter().filter(|chart| !requirements.iter().any(|entry| entry.fits(chart)));
    let mut dependencies: Vec<ChartNode> = unlisted.cloned().collect();
    for requirement in &requirements {
        if let Some(found) = available.iter().find(|chart| requirement.fits(chart)) {
            let mut renamed = found.clone();
            if renamed.name() != requirement.name {
                let name = Value::from(requirement.name.as_str());
                Arc::make_mut(&mut renamed.metadata).insert("name".to_owned(), name);
            }
            dependencies.push(renamed);
        }
    }
    chart.dependencies = dependencies;
    let coalesced = values::coalesce(chart, values.clone())?;
    let disabled: Vec<&str> = requirements
        .iter()
        .filter(|requirement| !requirement.is_enabled(&coalesced, path))
        .map(|requirement| requirement.name.as_str())
        .collect();
    if !disabled.is_empty() {
        chart.dependencies.retain(|subchart| !disabled.contains(&subchart.name()));
        // Templates see those that take part, and only from them values are imported.
        let entries = list(&chart.metadata, "dependencies").iter();
        let enabled =
            entries.zip(&requirements).filter(|(_, entry)| !disabled.contains(&entry.name.as_str()));
        let enabled: Value = enabled.map(|(entry, _)| entry.clone()).collect();
        Arc::make_mut(&mut chart.metadata).insert("dependencies".to_owned(), enabled);
    }
    for subchart in &mut chart.dependencies {
        let path = format!("{path}{}.", subchart.name());
        select(subchart, &coalesced, &path)?;
    }
    Ok(())
}

/// `import-values`: takes tables of subcharts over into the parent's defaults, the innermost first.
///
/// A parent that lists dependencies gets all their defaults into its own, even if it imports nothing, as in Helm. That
/// is seen where a user's null deletes a global: the subchart still has the parent's default.
pub(crate) fn import_values(chart: &mut ChartNode) -> Result<(), RenderError> {
    if chart.dependencies.is_empty() && list(&chart.metadata, "dependencies").is_empty() {
        return Ok(());
    }
    for subchart in &mut chart.dependencies {
        import_values(subchart)?;
    }
    let entries = list(&chart.metadata, "dependencies");
    if entries.is_empty() {
        return Ok(());
    }
    let mut merged = values::merge_defaults(chart, Map::new())?;
    let mut imported = Map::new();
    for entry in entries {
        let name = Requirement::read(entry).name;
        let Some(Value::Array(imports)) = entry.get("import-values") else { continue };
        for import in imports.iter().filter(|import| import.is_string() || import.is_object()) {
            let (child, parent) = import_paths(import);
            if let Some(Value::Object(table)) = at(&merged, &format!("{name}.{child}")) {
                values::coalesce_tables(&mut imported, nested(&parent, table.clone()), true);
            }
        }
    }
    values::coalesce_tables(&mut merged, imported, true);
    chart.values = Arc::new(merged);
    Ok(())
}

/// Puts a table below a dotted path; `.` is the root.
fn nested(path: &str, table: Map<String, Value>) -> Map<String, Value> {
    if path == "." {
        return table;
    }
    path.rsplit('.').fold(table, |below, part| Map::from_iter([(part.to_owned(), Value::Object(below))]))
}
