//! Which chart a store is rendered with, and where it comes from.

use std::collections::BTreeMap;
use std::sync::Arc;

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
