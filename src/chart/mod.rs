//! Loads Helm charts and renders them in-process: bytes in, objects out.
//!
//! Nothing here reads files, the clock, the environment or randomness; all of that comes in with the
//! [`RenderRequest`]. A [`Chart`] is parsed once and rendered many times, also from several threads. The
//! reference is Helm 4.3.1; `tests/chart_parity.rs` compares with it.
//!
//! | to read about | open |
//! |---|---|
//! | loading files, metadata, subcharts | `load.rs`, `ignore.rs` |
//! | values files, coalescing, nulls, globals | `values.rs` |
//! | conditions, tags, aliases, imported values | `dependencies.rs` |
//! | `values.schema.json` | `schema.rs` |
//! | the order of templates, their context, splitting output into objects | `render.rs` |
//! | parsing templates, what is checked at load | `template.rs` |
//! | executing templates: dot, variables, nil, `include`, `tpl` | `exec.rs` |
//! | values with Go's kinds and reference semantics | `value.rs`, `objects.rs`, `dates.rs` |
//! | `printf` and how values print | `format.rs` |
//! | the functions | `functions/`, a file for each theme |
//! | YAML 1.1 in, go-yaml's layout out; JSON out | `yaml/`, `json.rs` |
//! | bounds on steps, memory, output, depth | `budget.rs` |
//! | errors | `error.rs` |

use std::collections::BTreeMap;

mod budget;
mod dates;
mod dependencies;
mod error;
mod exec;
mod format;
mod functions;
mod ignore;
mod json;
mod load;
mod objects;
mod render;
mod schema;
mod template;
mod value;
mod values;
mod yaml;

pub use budget::RenderLimits;
pub use error::{ChartError, Place, RenderError, SchemaViolation, TemplateError};
pub use functions::LookupQuery;
pub use render::{Capabilities, Release, RenderRequest, RenderedObject, Rendering};
pub use values::{merge_values, parse_values};
pub use yaml::YamlError;

/// Writes JSON as YAML in the layout of Helm's `toYaml`, a line break at the end.
pub fn to_yaml(value: &serde_json::Value) -> String {
    yaml::to_text(value)
}

use functions::version_matches;

/// A chart, parsed.
pub struct Chart {
    root: load::ChartNode,
    files: BTreeMap<String, Vec<u8>>,
    version: String,
    app_version: String,
    digest: String,
}

impl Chart {
    /// Loads a chart from its files. Paths are relative to the chart's root and separated by `/`: `Chart.yaml`,
    /// `templates/service.yaml`, `charts/sub/Chart.yaml`.
    pub fn load(files: BTreeMap<String, Vec<u8>>) -> Result<Self, ChartError> {
        let root = load::load(&files)?;
        let (version, app_version) = (root.text("version"), root.text("appVersion"));
        let digest = load::digest(&files);
        Ok(Self { root, files, version, app_version, digest })
    }

    /// Returns the chart's name.
    pub fn name(&self) -> &str {
        self.root.name()
    }

    /// Returns the chart's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the version of the application in the chart; empty if Chart.yaml has none.
    pub fn app_version(&self) -> &str {
        &self.app_version
    }

    /// Returns the SHA-256 of all paths and files in hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns a file of the chart, such as `values-local.yaml`, also one that `.helmignore` leaves out.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// Renders the chart.
    pub fn render(&self, request: &RenderRequest<'_>) -> Result<Rendering, RenderError> {
        render::render(&self.root, request)
    }
}

impl std::fmt::Debug for Chart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chart")
            .field("name", &self.name())
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
