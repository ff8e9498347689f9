//! Text with YAML documents in it, as Helm takes it apart.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value as Json;

use super::error::{ChartError, RenderError};
use super::yaml::{self, YamlError};

/// Helm's separator of documents. It is no YAML marker: `---# comment`, left by a trimmed template, counts too.
static SEPARATOR: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?m)^---[ \t]*").ok());

/// Splits a text into its documents; those of space only are left out.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim_start();
    let documents: Vec<&str> = match SEPARATOR.as_ref() {
        Some(separator) => separator.split(text).collect(),
        None => vec![text],
    };
    documents.into_iter().map(str::trim_start).filter(|document| !document.is_empty())
}

/// Why a document is no object.
pub(crate) enum Fault {
    Yaml(YamlError),
    NoObject(String),
}

/// Parses a document into an object, or nothing if it holds only comments. Where Helm sends a release's documents one
/// after the other, each has a further line break behind it: a block scalar that keeps its line breaks has one more.
pub(crate) fn parse(document: &str, in_manifest: bool) -> Result<Option<Json>, Fault> {
    let parsed = if in_manifest {
        yaml::parse_document(&format!("{document}\n"))
    } else {
        yaml::parse_document(document)
    };
    match parsed {
        Ok(value @ Json::Object(_)) => Ok(Some(value)),
        Ok(Json::Null) => Ok(None),
        Ok(_) => Err(Fault::NoObject("a document is not a map".to_owned())),
        Err(error) => Err(Fault::Yaml(error)),
    }
}

impl Fault {
    /// Names the file of a chart that holds the document.
    pub(crate) fn of_file(self, path: String) -> ChartError {
        match self {
            Self::Yaml(source) => ChartError::Yaml { path, source },
            Self::NoObject(message) => ChartError::Invalid { path, message },
        }
    }

    /// Names the template that wrote the document.
    pub(crate) fn of_output(self, template: String) -> RenderError {
        match self {
            Self::Yaml(source) => RenderError::Output { template, source },
            Self::NoObject(message) => RenderError::NotAnObject { template, message },
        }
    }
}
