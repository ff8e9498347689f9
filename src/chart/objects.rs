//! Values with methods: what Go has as structs in a template's context, such as `.Files` or the result of `now`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Map, Value as Json};

use super::binary;
use super::dates::{self, Moment};
use super::durations;
use super::functions::glob::Glob;
use super::functions::versions::Version;
use super::value::{Element, Value};
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
    /// The content of a file as `.Files.GetBytes` returns it: in Go no string.
    Bytes(Arc<[u8]>),
    /// The result of `now` and `toDate`.
    Time(Moment),
    /// A whole number of a named type, such as a duration.
    Number(Number),
    /// The result of `semver`.
    Version(Version),
    /// The result of `genCA` and its kin: certificate and key.
    Certificate { certificate: String, key: String },
}

/// A whole number that is neither `int` nor `int64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) kind: Kind,
    pub(crate) value: i64,
}

/// Which type a [`Number`] has in Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nanoseconds.
    Duration,
    Month,
    Weekday,
    /// A byte of a string.
    Byte,
    /// A part of a version.
    Unsigned,
}

impl Number {
    fn display(self) -> String {
        let name = |names: &[&str], first: i64| {
            let at = usize::try_from(self.value - first).ok();
            at.and_then(|at| names.get(at)).map_or_else(|| self.value.to_string(), ToString::to_string)
        };
        match self.kind {
            Kind::Duration => durations::display(self.value),
            Kind::Month => name(&dates::MONTHS, 1),
            Kind::Weekday => name(&dates::WEEKDAYS, 0),
            Kind::Byte | Kind::Unsigned => self.value.to_string(),
        }
    }

    fn member(self, name: &str, arguments: &[Value]) -> Member {
        match (self.kind, name, arguments) {
            (Kind::Byte | Kind::Unsigned, ..) => Member::Unknown,
            (_, "String", []) => Member::Found(Value::from(self.display())),
            (Kind::Duration, ..) => duration_member(self.value, name, arguments),
            _ => Member::Unknown,
        }
    }
}

fn duration_member(duration: i64, name: &str, arguments: &[Value]) -> Member {
    let float = |unit| Value::Float(durations::in_units(duration, unit));
    let same = |value| Value::object(Object::Number(Number { kind: Kind::Duration, value }));
    Member::Found(match (name, arguments) {
        ("Hours", []) => float(durations::HOUR),
        ("Minutes", []) => float(durations::MINUTE),
        ("Seconds", []) => float(durations::SECOND),
        ("Milliseconds", []) => Value::Int64(duration / 1_000_000),
        ("Microseconds", []) => Value::Int64(duration / 1_000),
        ("Nanoseconds", []) => Value::Int64(duration),
        ("Abs", []) => same(duration.saturating_abs()),
        ("Round" | "Truncate", [multiple]) => {
            let multiple = match multiple {
                Value::Int(nanoseconds) => Some(*nanoseconds),
                Value::Object(object) => object.as_duration(),
                _ => None,
            };
            let Some(multiple) = multiple else { return Member::BadArguments("one duration") };
            let to_multiple = if name == "Round" { durations::round } else { durations::truncate };
            same(to_multiple(duration, multiple))
        }
        _ => return Member::Unknown,
    })
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
            Self::Bytes(_) => "[]uint8",
            Self::Time(_) => "time.Time",
            Self::Number(Number { kind, .. }) => match kind {
                Kind::Duration => "time.Duration",
                Kind::Month => "time.Month",
                Kind::Weekday => "time.Weekday",
                Kind::Byte => "uint8",
                Kind::Unsigned => "uint64",
            },
            Self::Version(_) => "*semver.Version",
            Self::Certificate { .. } => "sprig.certificate",
        }
    }

    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Files(_) => "map",
            Self::Capabilities { .. } | Self::Version(_) => "ptr",
            Self::KubeVersion { .. } | Self::Time(_) | Self::Certificate { .. } => "struct",
            Self::ApiVersions(_) | Self::Bytes(_) => "slice",
            Self::Number(Number { kind, .. }) => match kind {
                Kind::Duration => "int64",
                Kind::Month | Kind::Weekday => "int",
                Kind::Byte => "uint8",
                Kind::Unsigned => "uint64",
            },
        }
    }

    /// A number whatever its type.
    pub(crate) fn as_whole(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(number.value),
            _ => None,
        }
    }

    /// The bytes of a file.
    pub(crate) fn as_content(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn as_duration(&self) -> Option<i64> {
        match self {
            Self::Number(Number { kind: Kind::Duration, value }) => Some(*value),
            _ => None,
        }
    }

    /// Whether `%v` prints it by a method `String`, which `%s` and `%q` use too.
    pub(crate) fn is_stringer(&self) -> bool {
        match self {
            Self::KubeVersion { .. } | Self::Time(_) | Self::Version(_) => true,
            Self::Number(number) => !matches!(number.kind, Kind::Byte | Kind::Unsigned),
            _ => false,
        }
    }

    /// Go's `reflect.DeepEqual` of two objects.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes(left), Self::Bytes(right)) => left == right,
            (Self::Time(left), Self::Time(right)) => left == right,
            (Self::Number(left), Self::Number(right)) => left == right,
            (Self::Version(left), Self::Version(right)) => left == right,
            (
                Self::Certificate { certificate, key },
                Self::Certificate { certificate: other_certificate, key: other_key },
            ) => certificate == other_certificate && key == other_key,
            _ => false,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Files(files) => !files.is_empty(),
            Self::ApiVersions(versions) => !versions.is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::Number(number) => number.value != 0,
            _ => true,
        }
    }

    /// A rough size in bytes, for the budget.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Files(files) => files.values().map(|bytes| bytes.len()).sum(),
            Self::ApiVersions(versions) => versions.iter().map(String::len).sum(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Certificate { certificate, key } => certificate.len() + key.len(),
            _ => 64,
        }
    }

    pub(crate) fn display(&self) -> String {
        match self {
            Self::Files(files) => {
                let files: Vec<String> =
                    files.iter().map(|(name, bytes)| format!("{name}:{}", numbers(bytes))).collect();
                format!("map[{}]", files.join(" "))
            }
            Self::Bytes(bytes) => numbers(bytes),
            Self::Capabilities { .. } => "capabilities".to_owned(),
            Self::KubeVersion { normalized, .. } => normalized.clone(),
            Self::ApiVersions(versions) => format!("[{}]", versions.join(" ")),
            Self::Time(moment) => moment.to_string(),
            Self::Number(number) => number.display(),
            Self::Version(version) => version.to_string(),
            Self::Certificate { certificate, key } => format!("{{{certificate} {key}}}"),
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Files(files) => {
                let encode = |bytes: &Arc<[u8]>| Json::from(base64(bytes));
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
            Self::Bytes(bytes) => Json::from(base64(bytes)),
            Self::Number(number) => Json::from(number.value),
            Self::Version(_) => Json::from(self.display()),
            Self::Certificate { certificate, key } => serde_json::json!({"Cert": certificate, "Key": key}),
        }
    }

    /// Lists the object as `range` and `index` see it, if it is a map or a slice in Go.
    pub(crate) fn as_collection(&self) -> Option<Value> {
        match self {
            Self::Files(files) => Some(Value::map(
                files.iter().map(|(name, bytes)| (name, Value::object(Object::Bytes(Arc::clone(bytes))))),
            )),
            Self::ApiVersions(versions) => Some(Value::strings(versions.iter())),
            Self::Bytes(bytes) => Some(Value::list(bytes.iter().copied().map(byte).collect())),
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
                ("Has", [wanted]) => match wanted.as_str() {
                    Some(wanted) => {
                        Member::Found(Value::Bool(versions.iter().any(|version| version == wanted)))
                    }
                    None => Member::BadArguments("one string"),
                },
                ("Has", _) => Member::BadArguments("one string"),
                _ => Member::Unknown,
            },
            Self::Bytes(_) => Member::Unknown,
            Self::Time(moment) => dates::member(moment, name, arguments),
            Self::Number(number) => number.member(name, arguments),
            Self::Version(version) => version.member(name, arguments),
            Self::Certificate { certificate, key } => match name {
                "Cert" => Member::Found(Value::string(certificate)),
                "Key" => Member::Found(Value::string(key)),
                _ => Member::Unknown,
            },
        }
    }
}

/// A byte as Go has it: a number.
pub(crate) fn byte(byte: u8) -> Value {
    Value::object(Object::Number(Number { kind: Kind::Byte, value: i64::from(byte) }))
}

fn numbers(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn files_member(files: &FileMap, name: &str, arguments: &[Value]) -> Member {
    let path = match arguments {
        [argument] => argument.as_str(),
        _ => None,
    };
    let empty = || Arc::from([].as_slice());
    let result = match (name, path) {
        ("Get", Some(path)) => files.get(path).map_or_else(|| Value::from(""), |bytes| text_of(bytes)),
        ("GetBytes", Some(path)) => {
            Value::object(Object::Bytes(files.get(path).cloned().unwrap_or_else(empty)))
        }
        ("Glob", Some(pattern)) => {
            let glob = Glob::new(pattern);
            let found = files.iter().filter(|(path, _)| glob.matches(path));
            Value::object(Object::Files(found.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()))
        }
        ("Lines", Some(path)) => lines(files.get(path).map_or(&[], |bytes| &**bytes)),
        ("AsConfig", None) if arguments.is_empty() => flat(files, binary::characters),
        ("AsSecrets", None) if arguments.is_empty() => flat(files, base64),
        ("Get" | "GetBytes" | "Glob" | "Lines", _) => return Member::BadArguments("one string"),
        ("AsConfig" | "AsSecrets", _) => return Member::BadArguments("no arguments"),
        // `.Files` is a map in Go, so `.Files.README` is a look-up.
        _ => files.get(name).map_or(Value::Nil, |bytes| Value::object(Object::Bytes(bytes.clone()))),
    };
    Member::Found(result)
}

/// A file as text, whatever its bytes.
fn text_of(bytes: &[u8]) -> Value {
    Value::bytes(bytes.to_vec())
}

fn lines(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::list(Vec::new());
    }
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let lines = text.split(|byte| *byte == b'\n').map(|line| Value::bytes(line.to_vec()));
    Value::list_of(Element::String, lines.collect())
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
