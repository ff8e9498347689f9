//! Which chart a store is rendered with: where it comes from, what renders it, and where in its values the fields of the
//! store go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::value_path::ValuePath;
use super::{Places, Problem};
use crate::manifest::Fingerprint;
use crate::names::BUILT_IN_CHART;

/// Where a chart comes from, pinned: the same source is the same chart, whenever it is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChartSource {
    /// The one that comes with storekeeper, or that its operator put in its place.
    BuiltIn,
    /// A folder of the watched repository, at the commit that was read.
    Folder(ChartFolder),
    /// A commit of another git repository.
    Git {
        /// The repository, by HTTPS or SSH.
        url: String,
        /// The commit: 40 lower-case hexadecimal digits.
        revision: String,
        /// The chart's folder in it; empty for the root.
        path: String,
    },
    /// An artifact of an OCI registry.
    Oci {
        /// Registry and repository, such as `oci://registry.example.com/charts/shop`.
        reference: String,
        /// The version that the chart must have.
        version: String,
        /// The digest of the artifact's manifest: `sha256:` and 64 hexadecimal digits.
        digest: String,
    },
    /// An archive that the index of a Helm repository names.
    Repository {
        /// The repository, such as `https://charts.example.com`.
        url: String,
        /// The chart's name in its index.
        name: String,
        /// The version.
        version: String,
        /// The digest of the archive: `sha256:` and 64 hexadecimal digits.
        digest: String,
    },
}

/// A chart's files as a commit holds them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChartFolder {
    /// The folder in the watched repository, such as `charts/shop`.
    pub path: String,
    /// Names the files' contents: same digest, same files.
    pub digest: String,
    /// The files, by their path in the folder.
    pub files: Arc<BTreeMap<String, Vec<u8>>>,
}

impl ChartFolder {
    /// Makes the folder of these files.
    pub fn new(path: &str, files: BTreeMap<String, Vec<u8>>) -> Self {
        let lines = files.iter().map(|(path, bytes)| format!("{}{path}\0", Fingerprint::of_bytes(bytes)));
        let digest = Fingerprint::of_bytes(lines.collect::<String>().as_bytes()).to_string();
        Self { path: path.to_owned(), digest, files: Arc::new(files) }
    }
}

impl ChartSource {
    /// Whether it comes with storekeeper.
    pub fn is_built_in(&self) -> bool {
        matches!(self, Self::BuiltIn)
    }

    /// Returns what tells this chart from every other one; empty for the built-in one, whose own digest does.
    pub fn identity(&self) -> String {
        match self {
            Self::BuiltIn => String::new(),
            Self::Folder(folder) => format!("folder:{}", folder.digest),
            Self::Git { url, revision, path } => format!("git:{url}@{revision}:{path}"),
            Self::Oci { reference, version, digest } => format!("{reference}:{version}@{digest}"),
            Self::Repository { url, name, version, digest } => format!("{url}#{name}:{version}@{digest}"),
        }
    }
}

impl fmt::Display for ChartSource {
    /// Writes it as people name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("the built-in chart"),
            Self::Folder(folder) => f.write_str(&folder.path),
            Self::Git { url, revision, path } => {
                let folder = if path.is_empty() { String::new() } else { format!("{path} of ") };
                write!(f, "{folder}{url} at {}", &revision[..10.min(revision.len())])
            }
            Self::Oci { reference, version, .. } => write!(f, "{reference}:{version}"),
            Self::Repository { url, name, version, .. } => write!(f, "{name} {version} of {url}"),
        }
    }
}

/// What renders a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Renderer {
    /// storekeeper itself.
    #[default]
    Native,
    /// The helm program.
    Helm,
}

/// Where in a chart's values the fields of a store file go; none for those that the chart has no place for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FieldPaths {
    /// The store's name.
    pub name: Option<ValuePath>,
    /// `spec.displayName`.
    pub display_name: Option<ValuePath>,
    /// `spec.host`.
    pub host: Option<ValuePath>,
    /// `spec.image.repository`.
    pub image_repository: Option<ValuePath>,
    /// `spec.image.tag` and `spec.version`.
    pub image_tag: Option<ValuePath>,
    /// `spec.image.digest`.
    pub image_digest: Option<ValuePath>,
}

impl FieldPaths {
    /// Returns the places in the values of the built-in chart, and of every chart of which nothing else is said.
    pub fn usual() -> Self {
        let path = |text| Some(ValuePath::known(text));
        Self {
            name: path("store.id"),
            display_name: path("store.displayName"),
            host: path("store.host"),
            image_repository: path("image.repository"),
            image_tag: path("image.tag"),
            image_digest: path("image.digest"),
        }
    }

    fn identity(&self) -> String {
        let Self { name, display_name, host, image_repository, image_tag, image_digest } = self;
        let all = [name, display_name, host, image_repository, image_tag, image_digest];
        all.map(|path| path.as_ref().map(ToString::to_string).unwrap_or_default()).join("\n")
    }
}

/// A chart as a fleet uses it, under the name that its stores know it by.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreChart {
    /// The name.
    pub name: String,
    /// Where it comes from.
    pub source: ChartSource,
    /// What renders it.
    pub renderer: Renderer,
    /// Where in its values the fields of a store go.
    pub fields: FieldPaths,
    /// The values that the fleet sets for all stores of this chart, its layers merged.
    pub base: Arc<Map<String, Value>>,
    /// The files that set these values, the weakest first, with where they do.
    pub places: Vec<(String, Places)>,
}

impl StoreChart {
    /// Returns what a store's fingerprint has to hold of its chart beside the values; empty for the built-in chart as it
    /// usually is.
    pub(super) fn identity(&self) -> String {
        let Self { name: _, source, renderer, fields: _, base: _, places: _ } = self;
        match renderer {
            Renderer::Native => source.identity(),
            Renderer::Helm => format!("helm:{}", source.identity()),
        }
    }

    /// Whether a store file says the same with this chart as with another one, but for the values that both fleets set.
    pub(super) fn reads_like(&self, other: &Self) -> bool {
        self.fields.identity() == other.fields.identity()
    }
}

/// The charts that a fleet file names.
#[derive(Debug, Clone, PartialEq)]
pub struct Charts {
    /// The name of the one that stores have which name none.
    pub default: String,
    /// Each by its name; or why it can't be used, which concerns its stores alone.
    pub all: BTreeMap<String, Result<Arc<StoreChart>, Problem>>,
}

impl Charts {
    /// The built-in chart and nothing else, with these values.
    pub fn built_in(base: Map<String, Value>) -> Self {
        let chart = StoreChart {
            name: BUILT_IN_CHART.to_owned(),
            source: ChartSource::BuiltIn,
            renderer: Renderer::Native,
            fields: FieldPaths::usual(),
            base: Arc::new(base),
            places: Vec::new(),
        };
        let all = BTreeMap::from([(BUILT_IN_CHART.to_owned(), Ok(Arc::new(chart)))]);
        Self { default: BUILT_IN_CHART.to_owned(), all }
    }

    /// Finds the chart that a store names, or the one of those that name none.
    pub fn find(&self, name: Option<&str>) -> Option<&Result<Arc<StoreChart>, Problem>> {
        self.all.get(name.unwrap_or(&self.default))
    }

    /// Whether every store file says the same with these charts as with others, but for the values that both fleets set.
    pub(super) fn read_like(&self, others: &Self) -> bool {
        self.default == others.default
            && self.all.len() == others.all.len()
            && self.all.iter().zip(&others.all).all(|((name, one), (other_name, other))| {
                name == other_name
                    && match (one, other) {
                        (Ok(one), Ok(other)) => one.reads_like(other),
                        (Err(one), Err(other)) => one == other,
                        _ => false,
                    }
            })
    }

    /// Takes the very charts of a fleet before over where nothing of them differs.
    pub(super) fn keep(&mut self, before: &Self) {
        for (name, chart) in &mut self.all {
            let (Ok(chart), Some(Ok(before))) = (chart, before.all.get(name)) else { continue };
            if chart == before {
                *chart = Arc::clone(before);
            }
        }
    }
}
