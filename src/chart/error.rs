//! Why a chart cannot be loaded or rendered. Messages fit "failed to {error}".

use std::fmt;

use super::yaml::YamlError;

/// Why a chart cannot be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChartError {
    /// A file that every chart needs is missing.
    #[error("load the chart: {path} is missing")]
    Missing {
        /// The file's path within the chart.
        path: String,
    },
    /// A file of the chart is not the YAML it should be.
    #[error("load {path}: {source}")]
    Yaml {
        /// The file's path within the chart.
        path: String,
        /// Where and what.
        source: YamlError,
    },
    /// A file of the chart says something that cannot be.
    #[error("load {path}: {message}")]
    Invalid {
        /// The file's path within the chart.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// A template has a syntax error, or calls a function that does not exist.
    #[error("parse {0}")]
    Template(#[from] TemplateError),
}

/// Why a chart cannot be rendered with these values.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The values, coalesced with the chart's defaults, break `values.schema.json`.
    #[error("validate the values: {}", list(.0))]
    Schema(Vec<SchemaViolation>),
    /// Chart.yaml asks for another version of Kubernetes.
    #[error("render {chart}: it needs Kubernetes {wanted}, and this is {found}")]
    Incompatible {
        /// The chart's name.
        chart: String,
        /// The constraint in Chart.yaml.
        wanted: String,
        /// The version in the capabilities.
        found: String,
    },
    /// A subchart that takes part is broken.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// What is to be the version of Kubernetes is none.
    #[error("read the version `{version}`: use one such as 1.34.0")]
    NotAVersion {
        /// What was given.
        version: String,
    },
    /// A subchart's values are not a map.
    #[error("merge the values: `{path}` must be a map because it is the name of a subchart")]
    NotAMap {
        /// The path of the offending value.
        path: String,
    },
    /// A template stopped, be it by `required`, by `fail` or by a mistake.
    #[error("render {0}")]
    Template(#[from] TemplateError),
    /// A template's output is no YAML.
    #[error("read the output of {template}: {source}")]
    Output {
        /// The template's path.
        template: String,
        /// Where and what; lines count within the offending document.
        source: YamlError,
    },
    /// A template's output is YAML, but no Kubernetes object.
    #[error("read the output of {template}: {message}")]
    NotAnObject {
        /// The template's path.
        template: String,
        /// What is missing.
        message: String,
    },
    /// All templates together wrote more than [`super::RenderLimits::output_bytes`].
    #[error("render {template}: the chart's output exceeds {limit} bytes")]
    OutputTooLarge {
        /// The template that went over the limit.
        template: String,
        /// The limit.
        limit: usize,
    },
}

/// One place where values break the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaViolation {
    /// The offending value's path, such as `store.id` or `workers[0].name`; empty at the root.
    pub path: String,
    /// What the schema wants.
    pub message: String,
    /// The file, line and column that the value comes from, where the caller knows it.
    pub place: Option<String>,
}

impl fmt::Display for SchemaViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "(root)" } else { &self.path };
        write!(f, "`{path}`: {}", self.message)?;
        self.place.as_ref().map_or(Ok(()), |place| write!(f, " ({place})"))
    }
}

impl ChartError {
    /// Returns the template's line that cannot be parsed, if that is what is wrong.
    pub fn snippet(&self) -> Option<&Snippet> {
        match self {
            Self::Template(error) => error.snippet.as_deref(),
            _ => None,
        }
    }
}

impl RenderError {
    /// Returns the template's line that stopped the rendering, if a template did.
    pub fn snippet(&self) -> Option<&Snippet> {
        match self {
            Self::Template(error) => error.snippet.as_deref(),
            _ => None,
        }
    }
}

fn list(violations: &[SchemaViolation]) -> String {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// Where in a template something went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The template's path, such as `shop/templates/service.yaml`.
    pub template: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.template, self.line, self.column)
    }
}

/// A template stopped or cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}{}", chain(.included_from))]
pub struct TemplateError {
    /// Where it happened.
    pub place: Place,
    /// What happened, naming the function or field.
    pub message: String,
    /// The line of the template, to be shown below the message.
    pub snippet: Option<Box<Snippet>>,
    /// The calls that led there, the nearest first.
    pub included_from: Vec<Place>,
}

/// A line of a template, short enough for a terminal and without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    text: String,
    /// How many characters are before the place.
    before: usize,
}

impl Snippet {
    /// How many characters of a line are shown, and how many of them before the place at most.
    const WIDTH: usize = 100;
    const BEFORE: usize = 60;

    /// Cuts a line around a column, which counts characters from 1.
    pub(crate) fn new(line: &str, column: usize) -> Option<Self> {
        let clean = |character: char| if character.is_control() { ' ' } else { character };
        let margin = line.chars().take_while(|character| character.is_whitespace()).count();
        let start = margin.max(column.saturating_sub(1 + Self::BEFORE)).min(column.saturating_sub(1));
        let text: String = line.chars().skip(start).take(Self::WIDTH).map(clean).collect();
        let text = text.trim_end().to_owned();
        (!text.is_empty()).then(|| Self { text, before: column.saturating_sub(1 + start) })
    }

    /// Returns the line.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns a line with a mark below the place.
    pub fn mark(&self) -> String {
        " ".repeat(self.before) + "^"
    }
}

/// Names the nearest and the outermost callers; a runaway recursion has hundreds.
fn chain(places: &[Place]) -> String {
    const SHOWN: usize = 5;
    if places.is_empty() {
        return String::new();
    }
    let mut names: Vec<String> = places.iter().take(SHOWN).map(ToString::to_string).collect();
    if places.len() > SHOWN {
        names.push(format!("{} more", places.len() - SHOWN));
    }
    format!(" (called from {})", names.join(", "))
}

/// Why an evaluation stopped, on its way up to where its place in the template is known.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not located yet.
    Message(String),
    /// Located.
    Located(Box<TemplateError>),
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }

    /// Adds the name of the function that failed, unless the failure came from further below.
    pub(crate) fn calling(self, function: &str) -> Self {
        match self {
            Self::Message(message) => Self::Message(format!("calling `{function}`: {message}")),
            located @ Self::Located(_) => located,
        }
    }
}

impl From<super::value::TooDeep> for Failure {
    fn from(_: super::value::TooDeep) -> Self {
        Self::Message(format!("the value is nested deeper than {}", super::value::DEPTH_MAX))
    }
}
