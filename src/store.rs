//! Store files and the fleet file: what a watched repository says, read from bytes into checked values. Pure.
//!
//! A broken file is data, not a failure: it rejects the store that its name stands for, says where and why, and
//! leaves every other store alone. Only what concerns the whole fleet (the fleet file, a value file that it
//! names, an empty tree) makes a repository unusable as a whole, and then [`read`] returns a [`Freeze`]: the
//! caller keeps its last good [`Snapshot`] and prunes nothing.

mod chart;
mod charts;
mod clusters;
mod collect;
mod fields;
pub mod file;
mod fleet;
mod hosts;
mod known;
mod path;
mod pause;
mod places;
mod problem;
pub mod schema;
mod shop;
mod value_path;
pub mod values;
mod window;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::names::{ClusterName, FLEET_FILE, Host, STORES_FOLDER, StoreId};

pub use self::chart::{ChartFolder, ChartSource, Charts, FieldPaths, Renderer, StoreChart};
pub use self::clusters::{Clusters, Scope};
pub use self::known::{KnownFiles, read, read_within};
pub use self::path::{VALUES_FOLDER, is_chart_file, wants};
pub use self::pause::Pause;
pub use self::places::Places;
pub use self::problem::Problem;
pub use self::value_path::ValuePath;
pub use self::window::{ChangeWindow, Opening};

/// Names a commit: 40 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// Returns the full commit id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Stands for files as they lie on disk, in no commit: forty zeros, as git itself writes "no commit".
    pub fn working_tree() -> Self {
        Self("0".repeat(40))
    }

    /// Whether it stands for files as they lie on disk.
    pub fn is_working_tree(&self) -> bool {
        *self == Self::working_tree()
    }

    /// Returns the first 10 digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

/// The text is not a commit id of 40 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a commit id has 40 lower-case hexadecimal digits")]
pub struct RevisionError;

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 40 && text.bytes().all(hexadecimal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RevisionError)
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A watched repository at one commit, as the git edge hands it over: every path that [`wants`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryTree {
    /// The commit.
    pub revision: Revision,
    /// The wanted files by path, relative to the root, with `/` between folders.
    pub files: BTreeMap<String, FileContent>,
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// The bytes of a regular file.
    Bytes(Vec<u8>),
    /// Nothing that can be read, and what it is instead; fits "this is {why}": `a symbolic link`,
    /// `a submodule`, `larger than 256 KiB`.
    Unreadable(String),
}

/// Names bytes: the id that git gives to the content of a file. Same id, same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId(pub [u8; 20]);

/// What a commit's tree says of a path, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A regular file.
    File {
        /// Its content.
        content: ContentId,
        /// Its size in bytes.
        size: u64,
    },
    /// Nothing that can be read, and what it is instead, as in [`FileContent::Unreadable`].
    Unreadable(String),
}

/// A watched repository at one commit, as its trees list it: every path that [`wants`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The commit.
    pub revision: Revision,
    /// What lies at each wanted path.
    pub files: BTreeMap<String, Listed>,
}

/// What one commit asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The commit.
    pub revision: Revision,
    /// What holds for all stores.
    pub fleet: Arc<Fleet>,
    /// Every store that a file names, well or badly, but for those that are on other clusters. A store that is not in here
    /// has no file, as far as this cluster goes.
    pub stores: BTreeMap<StoreId, StoreEntry>,
    /// Stores that other clusters have, by what their files say. Those whose files are wrong are in `stores` too: what
    /// is wrong may be the cluster.
    pub elsewhere: Arc<BTreeMap<StoreId, ClusterName>>,
    /// Problems that belong to no store, such as a file whose name can't be a store's.
    pub problems: Vec<Problem>,
}

/// A store that some file names.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreEntry {
    /// Its file is good.
    Accepted(Arc<Store>),
    /// Its file is not, for these reasons (at least one). Whatever runs in the cluster stays as it is.
    Rejected(Vec<Problem>),
}

impl Snapshot {
    /// Whether what a file says of a store is another cluster's to tell: the file is wrong, it names that cluster as far as
    /// it can be read, and before it did so too, or there was none. `before` is what was in force.
    pub fn is_others_trouble(&self, store: &StoreId, before: Option<&Self>) -> bool {
        let leaves =
            |snapshot: &Self| !snapshot.stores.contains_key(store) || snapshot.elsewhere.contains_key(store);
        self.elsewhere.contains_key(store) && self.stores.contains_key(store) && before.is_none_or(leaves)
    }
}

impl StoreEntry {
    /// Returns the store when its file is good.
    pub fn accepted(&self) -> Option<&Arc<Store>> {
        match self {
            Self::Accepted(store) => Some(store),
            Self::Rejected(_) => None,
        }
    }

    /// Returns why the file was rejected; empty when it was not.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Accepted(_) => &[],
            Self::Rejected(problems) => problems,
        }
    }
}

/// One shop, as its file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Its name.
    pub id: StoreId,
    /// What people call it; the name when the file says nothing.
    pub display_name: String,
    /// Where it answers; `<name>.<fleet domain>` when the file says nothing.
    pub host: Host,
    /// The container image of its Medusa server, as far as the file sets it.
    pub image: Image,
    /// The chart values that its file sets under `spec.values`.
    pub values: Map<String, Value>,
    /// Whether it is kept when its file goes.
    pub protect: bool,
    /// What becomes of a version that does not come up.
    pub rollback: Rollback,
    /// Until when nothing of it is changed, as its file says.
    pub pause: Option<Pause>,
    /// The cluster that it is on, where the fleet has several.
    pub cluster: Option<ClusterName>,
    /// The path of its file.
    pub file: String,
    /// The chart that it is rendered with, and what the fleet sets for all stores of that chart.
    pub chart: Arc<StoreChart>,
    /// Where its file sets values of the chart.
    places: Places,
    digest: String,
}

impl Store {
    /// Returns the values to render the chart with: fleet values < value files < `spec.values` < the fields of
    /// `spec` that are chart values too (in the built-in chart `store.id`, `store.displayName`, `store.host`,
    /// `image.*`). The chart's own defaults lie below all of them; a null stays in here because it deletes such a default.
    pub fn merged(&self) -> Map<String, Value> {
        values::for_store(self)
    }

    /// Returns the file, line and column (`stores/acme.yaml:7:12`) that a value of the chart comes from, or what it lies in;
    /// none when it is the chart's own default. `path` is a path of values, such as `workers[0].name`.
    pub fn place_of(&self, path: &str) -> Option<String> {
        let own = std::iter::once((self.file.as_str(), &self.places));
        let below = self.chart.places.iter().rev().map(|(file, places)| (file.as_str(), places));
        places::find(path, &own.chain(below))
    }

    /// Returns the fingerprint of everything that decides what is rendered: id, chart and merged values.
    /// Same digest, same manifest (from the same built-in chart), whatever else the commit changed.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// A container image, as far as a store file sets it; what is missing comes from the layers below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Registry and repository, such as `ghcr.io/acme/medusa`.
    pub repository: Option<String>,
    /// The tag, from `spec.version` or `spec.image.tag`.
    pub tag: Option<String>,
    /// The digest, such as `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
}

/// What holds for all stores of a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// The domain below which stores get their default host.
    pub domain: Host,
    /// Further domains in which stores' hosts may lie.
    pub domains: BTreeSet<Host>,
    /// The charts that its stores may have.
    pub charts: Charts,
    /// The chart values that the fleet file sets for stores of its default chart.
    pub values: Map<String, Value>,
    /// The value files that it names for them, in the order in which they are merged.
    pub value_files: Vec<ValueFile>,
    /// How many stores may be deleted without anybody naming them.
    pub deletion_budget: DeletionBudget,
    /// How long a store whose file is gone is kept before it is deleted, in seconds.
    pub deletion_grace_seconds: u32,
    /// What becomes of a version that does not come up, in stores that don't say so themselves.
    pub rollback: Rollback,
    /// Until when nothing of any store is changed.
    pub pause: Option<Pause>,
    /// When commits' changes are carried out; at any time in stores without a window.
    pub change_windows: Vec<ChangeWindow>,
    /// Until when all windows are open, in an emergency.
    pub override_windows: Option<Pause>,
    /// The clusters that its stores are on.
    pub clusters: Clusters,
}

/// What becomes of a version of a store that does not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rollback {
    /// It stays applied, and its store FAILED, until git says something else.
    #[default]
    None,
    /// What ran before is applied again and held until git says something else.
    LastGood,
}

impl Fleet {
    /// The grace period in seconds when the fleet file says nothing: time to notice and to revert.
    pub const DEFAULT_GRACE_SECONDS: u32 = 300;
}

/// A value file that the fleet file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueFile {
    /// A path in the watched repository, under `values/`.
    Repository(String),
    /// A path in the chart, written `chart:<path>`.
    Chart(String),
}

impl fmt::Display for ValueFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(path) => f.write_str(path),
            Self::Chart(path) => write!(f, "chart:{path}"),
        }
    }
}

/// How many stores may be deleted without anybody naming them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionBudget {
    /// The number of stores that may go within the window; more are refused.
    pub max_stores: u32,
    /// The part of the fleet that may go within the window, in percent, rounded up to whole stores.
    pub max_percent: u32,
    /// How long a deleted store counts, in minutes.
    pub window_minutes: u32,
    /// Stores whose deletion git acknowledges: they don't count.
    pub approved: BTreeSet<StoreId>,
}

impl DeletionBudget {
    /// The number of stores when the fleet file says nothing.
    pub const DEFAULT_MAX_STORES: u32 = 3;

    /// The percentage when the fleet file says nothing: half of a small fleet is a mistake more often than a wish.
    pub const DEFAULT_MAX_PERCENT: u32 = 50;

    /// The window in minutes when the fleet file says nothing.
    pub const DEFAULT_WINDOW_MINUTES: u32 = 60;
}

impl Default for DeletionBudget {
    fn default() -> Self {
        Self {
            max_stores: Self::DEFAULT_MAX_STORES,
            max_percent: Self::DEFAULT_MAX_PERCENT,
            window_minutes: Self::DEFAULT_WINDOW_MINUTES,
            approved: BTreeSet::new(),
        }
    }
}

/// How much a repository may ask for. The defaults are generous for people and small for attackers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one file.
    pub file_bytes: usize,
    /// YAML files under `stores/`; more freeze the repository.
    pub store_files: usize,
    /// Levels of maps and lists in one file.
    pub depth: usize,
    /// Maps, lists, keys and scalars in one file, aliases counted as often as they are used.
    pub nodes: usize,
    /// Bytes of text in one file, aliases counted as often as they are used.
    pub expanded_bytes: usize,
    /// Problems reported for one file; the rest is counted.
    pub problems: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 256 * 1024,
            store_files: 10_000,
            depth: 64,
            nodes: 20_000,
            expanded_bytes: 1024 * 1024,
            problems: 20,
        }
    }
}

/// Why a commit can't be used as a whole. Nothing is changed or pruned because of it: the last good snapshot
/// stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Freeze {
    /// The commit holds nothing of ours.
    #[error(
        "the commit holds neither `{FLEET_FILE}` nor `{STORES_FOLDER}/`: is this the right repository, branch and folder?"
    )]
    EmptyTree,
    /// There is no fleet file at the root.
    #[error("the commit has no `{FLEET_FILE}` at its root: add it, or move it there")]
    NoFleetFile,
    /// `stores` is not a folder.
    #[error("`{STORES_FOLDER}` is {why} where a folder must be: put the store files into a real folder")]
    StoresNotAFolder {
        /// What it is instead.
        why: String,
    },
    /// More files than [`Limits::store_files`].
    #[error(
        "the commit has {count} files under `{STORES_FOLDER}/`, at most {max} are read: spread the stores over more repositories"
    )]
    TooManyFiles {
        /// Files found.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The fleet file, or a value file that it names, is wrong.
    #[error("{}", first_of(.0))]
    Fleet(
        /// What is wrong; at least one.
        Vec<Problem>,
    ),
}

impl Freeze {
    /// Returns the problems by file and line, where there are such.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Fleet(problems) => problems,
            Self::EmptyTree
            | Self::NoFleetFile
            | Self::StoresNotAFolder { why: _ }
            | Self::TooManyFiles { count: _, max: _ } => &[],
        }
    }
}

fn first_of(problems: &[Problem]) -> String {
    match problems {
        [] => "the fleet file is wrong".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}
