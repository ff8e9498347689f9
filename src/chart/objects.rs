//! Values with methods: what Go has as structs in a template's context, such as `.Files` or the result of `now`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Map, Value as Json};

use super::dates::Moment;
use super::functions::glob::Glob;
use super::value::Value;
use super::yaml;

/// Files of a chart, shared with the parsed chart.
pub(crate) type FileMap = BTreeMap<Arc<str>, Arc<[u8]>>;

/// A Go struct, reduced to what charts use of it.
pub(crate) enum Object {
    /// `.Files`, or a part of it that `.Files.Glob` found.
    Files(FileMap),
    /// `.Capabilities`.
    Capabilities { kube_version: Value, api_versions: Value },
    /// `.Capabilities.KubeVersion`.
    KubeVersion { version: String, normalized: String, major: String, minor: String },
    /// `.Capabilities.APIVersions`.
    ApiVersions(Arc<[String]>),
    /// The result of `now` and `toDate`.
    Time(Moment),
    /// The result of `semver`.
    Version(BTreeMap<&'static str, Value>),
}

/// What a field or method of an object comes to.
pub(crate) enum Member {
    Found(Value),
    /// The object has no such member.
    Unknown,
    /// The method was called with other arguments than it takes.
    BadArguments(&'static str),
}

impl Object {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Files(_) => "engine.files",
            Self::Capabilities { .. } => "*common.Capabilities",
            Self::KubeVersion { .. } => "common.KubeVersion",
            Self::ApiVersions(_) => "common.VersionSet",
            Self::Time(_) => "time.Time",
            Self::Version(_) => "*semver.Version",
        }
    }

    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Files(_) => "map",
            Self::Capabilities { .. } | Self::Version(_) => "ptr",
            Self::KubeVersion { .. } | Self::Time(_) => "struct",
            Self::ApiVersions(_) => "slice",
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Files(files) => !files.is_empty(),
            Self::ApiVersions(versions) => !versions.is_empty(),
            _ => true,
        }
    }

    /// A rough size in bytes, for the budget.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Files(files) => files.values().map(|bytes| bytes.len()).sum(),
            Self::ApiVersions(versions) => versions.iter().map(String::len).sum(),
            _ => 64,
        }
    }

    pub(crate) fn display(&self) -> String {
        match self {
            Self::Files(files) => {
                let names: Vec<&str> = files.keys().map(|name| &**name).collect();
                format!("map[{}]", names.join(" "))
            }
            Self::Capabilities { .. } => "capabilities".to_owned(),
            Self::KubeVersion { normalized, .. } => normalized.clone(),
            Self::ApiVersions(versions) => format!("[{}]", versions.join(" ")),
            Self::Time(moment) => moment.to_string(),
            Self::Version(fields) => fields
                .get("Original")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .trim_start_matches('v')
                .to_owned(),
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Files(files) => {
                let encode =
                    |bytes: &Arc<[u8]>| Json::from(base64::engine::general_purpose::STANDARD.encode(bytes));
                Json::Object(files.iter().map(|(name, bytes)| (name.to_string(), encode(bytes))).collect())
            }
            Self::ApiVersions(versions) => Json::from(versions.to_vec()),
            Self::KubeVersion { version, major, minor, .. } => {
                serde_json::json!({"Major": major, "Minor": minor, "Version": version})
            }
            Self::Time(moment) => Json::from(moment.rfc3339()),
            Self::Capabilities { kube_version, api_versions } => {
                let mut entries = Map::new();
                entries.insert("APIVersions".to_owned(), api_versions.to_json().unwrap_or_default());
                entries.insert("KubeVersion".to_owned(), kube_version.to_json().unwrap_or_default());
                Json::Object(entries)
            }
            Self::Version(_) => Json::from(self.display()),
        }
    }

    /// Lists the object as `range` and `index` see it, if it is a map or a slice in Go.
    pub(crate) fn as_collection(&self) -> Option<Value> {
        match self {
            Self::Files(files) => Some(Value::map(files.iter().map(|(name, bytes)| (name, text_of(bytes))))),
            Self::ApiVersions(versions) => Some(Value::strings(versions.iter())),
            _ => None,
        }
    }

    /// Evaluates a field, or a method with its arguments.
    pub(crate) fn member(&self, name: &str, arguments: &[Value]) -> Member {
        match self {
            Self::Files(files) => files_member(files, name, arguments),
            Self::Capabilities { kube_version, api_versions } => match name {
                "KubeVersion" => Member::Found(kube_version.clone()),
                "APIVersions" => Member::Found(api_versions.clone()),
                "HelmVersion" => Member::Found(Value::map([("Version", Value::from("v4.3.1"))])),
                _ => Member::Unknown,
            },
            Self::KubeVersion { version, normalized, major, minor } => match name {
                "Version" | "GitVersion" => Member::Found(Value::string(version)),
                "String" => Member::Found(Value::string(normalized)),
                "Major" => Member::Found(Value::string(major)),
                "Minor" => Member::Found(Value::string(minor)),
                _ => Member::Unknown,
            },
            Self::ApiVersions(versions) => match (name, arguments) {
                ("Has", [Value::String(wanted)]) => {
                    Member::Found(Value::Bool(versions.iter().any(|version| **version == **wanted)))
                }
                ("Has", _) => Member::BadArguments("one string"),
                _ => Member::Unknown,
            },
            Self::Time(moment) => moment.member(name, arguments),
            Self::Version(fields) => fields.get(name).cloned().map_or(Member::Unknown, Member::Found),
        }
    }
}

fn files_member(files: &FileMap, name: &str, arguments: &[Value]) -> Member {
    let result = match (name, arguments) {
        ("Get" | "GetBytes", [Value::String(path)]) => {
            files.get(&**path).map_or_else(|| Value::from(""), |bytes| text_of(bytes))
        }
        ("Glob", [Value::String(pattern)]) => {
            let glob = Glob::new(pattern);
            let found = files.iter().filter(|(path, _)| glob.matches(path));
            Value::object(Object::Files(found.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()))
        }
        ("Lines", [Value::String(path)]) => lines(files.get(&**path).map_or(&[], |bytes| &**bytes)),
        ("AsConfig", []) => flat(files, |bytes| String::from_utf8_lossy(bytes).into_owned()),
        ("AsSecrets", []) => flat(files, |bytes| base64::engine::general_purpose::STANDARD.encode(bytes)),
        ("Get" | "GetBytes" | "Glob" | "Lines", _) => return Member::BadArguments("one string"),
        ("AsConfig" | "AsSecrets", _) => return Member::BadArguments("no arguments"),
        // `.Files` is a map in Go, so `.Files.README` is a look-up.
        _ => files.get(name).map_or(Value::Nil, |bytes| text_of(bytes)),
    };
    Member::Found(result)
}

/// A file as text. Bytes that are no UTF-8 are lost here; `.AsSecrets` keeps them.
fn text_of(bytes: &[u8]) -> Value {
    Value::string(String::from_utf8_lossy(bytes))
}

fn lines(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::list(Vec::new());
    }
    let text = String::from_utf8_lossy(bytes);
    Value::strings(text.strip_suffix('\n').unwrap_or(&text).split('\n'))
}

/// `.AsConfig` and `.AsSecrets`: a YAML map from file name without folders to content.
fn flat(files: &FileMap, encode: impl Fn(&[u8]) -> String) -> Value {
    let entries: Map<String, Json> = files
        .iter()
        .map(|(path, bytes)| (path.rsplit('/').next().unwrap_or(path).to_owned(), Json::from(encode(bytes))))
        .collect();
    let text = yaml::to_text(&Json::Object(entries));
    Value::from(text.strip_suffix('\n').unwrap_or(&text))
}
