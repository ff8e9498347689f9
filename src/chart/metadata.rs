//! Chart.yaml: what it must say, and what templates see of it.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value as Json, json};

use super::version_matches;

/// The fields of Chart.yaml that are texts, with the names that templates know them by.
const TEXTS: [(&str, &str); 11] = [
    ("name", "Name"),
    ("version", "Version"),
    ("appVersion", "AppVersion"),
    ("apiVersion", "APIVersion"),
    ("description", "Description"),
    ("home", "Home"),
    ("icon", "Icon"),
    ("type", "Type"),
    ("kubeVersion", "KubeVersion"),
    ("condition", "Condition"),
    ("tags", "Tags"),
];
/// The fields that are lists of texts.
const LISTS: [(&str, &str); 2] = [("keywords", "Keywords"), ("sources", "Sources")];
/// The fields of a maintainer.
const MAINTAINER: [(&str, &str); 3] = [("name", "Name"), ("email", "Email"), ("url", "URL")];
/// The texts of a dependency.
const DEPENDENCY: [(&str, &str); 5] = [
    ("name", "Name"),
    ("version", "Version"),
    ("repository", "Repository"),
    ("condition", "Condition"),
    ("alias", "Alias"),
];

/// What an alias may be made of.
static ALIAS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[a-zA-Z0-9_-]+$").ok());

/// Checks Chart.yaml as Helm does when it loads a chart, and makes texts of what Helm reads as texts.
pub(crate) fn check(metadata: &mut Map<String, Json>) -> Result<(), String> {
    texts(metadata, &TEXTS)?;
    for (key, _) in LISTS {
        for text in entries(metadata, key)? {
            *text = Json::from(clean(text).ok_or_else(|| format!("`{key}` must be a list of texts"))?);
        }
    }
    match metadata.get("annotations") {
        None | Some(Json::Null) => {}
        Some(Json::Object(annotations)) if annotations.values().all(is_scalar) => {}
        Some(_) => return Err("`annotations` must be a map of texts".to_owned()),
    }
    if !matches!(metadata.get("deprecated"), None | Some(Json::Null | Json::Bool(_))) {
        return Err("`deprecated` must be true or false".to_owned());
    }
    let text = |key: &str| metadata.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let (name, version) = (text("name"), text("version"));
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err("`name` must be a name without slashes".to_owned());
    }
    if version_matches("*", version.split('-').next().unwrap_or_default()).is_none() {
        return Err("`version` must be a semantic version such as 1.2.3".to_owned());
    }
    if !matches!(text("apiVersion").as_str(), "" | "v1" | "v2") {
        return Err("`apiVersion` must be v1 or v2".to_owned());
    }
    if !matches!(text("type").as_str(), "" | "application" | "library") {
        return Err("`type` must be application or library".to_owned());
    }
    if text("apiVersion").is_empty() {
        metadata.insert("apiVersion".to_owned(), Json::from("v1"));
    }
    for maintainer in entries(metadata, "maintainers")? {
        let maintainer = maintainer.as_object_mut().ok_or("`maintainers` must be a list of maps")?;
        texts(maintainer, &MAINTAINER)?;
    }
    check_dependencies(metadata)
}

fn check_dependencies(metadata: &mut Map<String, Json>) -> Result<(), String> {
    let mut names: Vec<String> = Vec::new();
    for dependency in entries(metadata, "dependencies")? {
        let dependency = dependency.as_object_mut().ok_or("`dependencies` must be a list of maps")?;
        texts(dependency, &DEPENDENCY)?;
        for tag in entries(dependency, "tags")? {
            *tag = Json::from(clean(tag).ok_or("`tags` of a dependency must be a list of texts")?);
        }
        drop(entries(dependency, "import-values")?);
        let text = |key: &str| dependency.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let (name, alias) = (text("name"), text("alias"));
        if !alias.is_empty() && ALIAS.as_ref().is_some_and(|allowed| !allowed.is_match(&alias)) {
            return Err(format!("the alias `{alias}` must be of letters, digits, - and _"));
        }
        let name = if alias.is_empty() { name } else { alias };
        if names.contains(&name) {
            return Err(format!("more than one dependency is called `{name}`; use an alias"));
        }
        names.push(name);
    }
    Ok(())
}

/// Makes texts of the scalars that YAML takes for something else: a chart named `n` is called `false`, as in Helm.
fn texts(map: &mut Map<String, Json>, fields: &[(&str, &str)]) -> Result<(), String> {
    for (key, _) in fields {
        if let Some(value) = map.get_mut(*key) {
            *value = Json::from(clean(value).ok_or_else(|| format!("`{key}` must be a text"))?);
        }
    }
    Ok(())
}

/// The entries of a list; none if it is missing.
fn entries<'m>(map: &'m mut Map<String, Json>, key: &str) -> Result<std::slice::IterMut<'m, Json>, String> {
    match map.get_mut(key) {
        None | Some(Json::Null) => Ok(std::slice::IterMut::default()),
        Some(Json::Array(entries)) => Ok(entries.iter_mut()),
        Some(_) => Err(format!("`{key}` must be a list")),
    }
}

fn is_scalar(value: &Json) -> bool {
    !matches!(value, Json::Array(_) | Json::Object(_))
}

/// A scalar as text, without what no printer shows and with plain spaces only.
fn clean(value: &Json) -> Option<String> {
    let is_shown = |character: &char| {
        let invisible = matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}');
        character.is_whitespace() || !(character.is_control() || invisible)
    };
    let text = scalar_text(value);
    let plain = |character: char| if character.is_whitespace() { ' ' } else { character };
    is_scalar(value).then(|| text.chars().filter(is_shown).map(plain).collect())
}

/// A scalar as text; a collection is none.
pub(crate) fn scalar_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::Null | Json::Array(_) | Json::Object(_) => String::new(),
    }
}

/// A list in Chart.yaml, empty if there is none.
pub(crate) fn list<'a>(map: &'a Map<String, Json>, key: &str) -> &'a [Json] {
    map.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// What templates see as `.Chart`.
pub(crate) fn for_templates(metadata: &Map<String, Json>, is_root: bool) -> Json {
    let mut chart = renamed(metadata, &TEXTS);
    for (key, name) in LISTS {
        chart.insert(name.to_owned(), Json::from(list(metadata, key)));
    }
    let maps = |key: &str| list(metadata, key).iter().filter_map(Json::as_object);
    let maintainers: Json = maps("maintainers").map(|entry| renamed(entry, &MAINTAINER)).collect();
    chart.insert("Maintainers".to_owned(), maintainers);
    let dependencies: Json = maps("dependencies").map(dependency_for_templates).collect();
    chart.insert("Dependencies".to_owned(), dependencies);
    let annotations = metadata.get("annotations").and_then(Json::as_object);
    let annotations = annotations.into_iter().flatten().map(|(key, value)| (key.clone(), scalar_text(value)));
    chart.insert("Annotations".to_owned(), annotations.collect());
    let is_deprecated = metadata.get("deprecated").and_then(Json::as_bool).unwrap_or_default();
    chart.insert("Deprecated".to_owned(), Json::from(is_deprecated));
    chart.insert("IsRoot".to_owned(), Json::from(is_root));
    Json::Object(chart)
}

/// A dependency that takes part: it goes by its alias, and what is imported from it is told in full.
fn dependency_for_templates(entry: &Map<String, Json>) -> Map<String, Json> {
    let mut dependency = renamed(entry, &DEPENDENCY);
    if entry.get("alias").and_then(Json::as_str).is_some_and(|alias| !alias.is_empty()) {
        dependency.insert("Name".to_owned(), entry["alias"].clone());
    }
    let imports =
        list(entry, "import-values").iter().filter(|import| import.is_string() || import.is_object());
    let imports: Json = imports
        .map(|import| {
            let (child, parent) = import_paths(import);
            json!({"child": child, "parent": parent})
        })
        .collect();
    dependency.insert("ImportValues".to_owned(), imports);
    dependency.insert("Tags".to_owned(), Json::from(list(entry, "tags")));
    dependency.insert("Enabled".to_owned(), Json::from(true));
    dependency
}

/// From where in a subchart's values, and to where in its parent's, an entry of `import-values` leads.
pub(crate) fn import_paths(import: &Json) -> (String, String) {
    match import {
        Json::String(export) => (format!("exports.{export}"), ".".to_owned()),
        import => {
            let text = |key: &str| import.get(key).map_or_else(|| "<nil>".to_owned(), scalar_text);
            (text("child"), text("parent"))
        }
    }
}

fn renamed(map: &Map<String, Json>, fields: &[(&str, &str)]) -> Map<String, Json> {
    let text = |key: &str| Json::from(map.get(key).and_then(Json::as_str).unwrap_or_default());
    fields.iter().map(|(key, name)| ((*name).to_owned(), text(key))).collect()
}
