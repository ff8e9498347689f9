//! The clusters of a fleet, and which of them a store is on.

use super::fields::{Reader, Section, lookup, plain_text};
use super::problem::quote;
use super::yaml::{Node, Position};
use crate::names::{ClusterName, FLEET_FILE};

/// The most clusters that a fleet may have.
const CLUSTERS_MAX: usize = 50;

/// Whose stores of a repository are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// Those of all clusters.
    #[default]
    All,
    /// Those of the cluster with this name; without one, those of a fleet that lists no clusters.
    Cluster(Option<ClusterName>),
}

/// The clusters that a fleet file lists. A fleet that lists none has one cluster, and nobody has to name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clusters {
    /// Their names, as they are listed.
    pub names: Vec<ClusterName>,
    /// The cluster of stores that name none.
    pub default: Option<ClusterName>,
}

/// A store is on no cluster: it names one that is not listed, or none where there is no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nowhere;

impl Clusters {
    /// Finds the cluster of a store that names this one, or none. None in a fleet with one cluster.
    fn find(&self, named: Option<&str>) -> Result<Option<&ClusterName>, Nowhere> {
        match named {
            Some(named) => self.listed(named).map(Some).ok_or(Nowhere),
            None if self.names.is_empty() => Ok(None),
            None => self.default.as_ref().map(Some).ok_or(Nowhere),
        }
    }

    /// Finds the cluster of a store whose file was read before, when other clusters may have been listed.
    pub(super) fn find_again(&self, named: Option<&ClusterName>) -> Result<Option<ClusterName>, Nowhere> {
        self.find(named.map(ClusterName::as_str)).map(Option::<&_>::cloned)
    }

    /// Tells on which cluster a store file means its store to be, as far as one that may be wrong says it.
    pub(super) fn meant(&self, root: &Node) -> Option<ClusterName> {
        let named = lookup(root, "spec").and_then(|spec| lookup(spec, "cluster"));
        match named {
            Some(node) => self.listed(plain_text(node)?).cloned(),
            None => self.default.clone(),
        }
    }

    fn listed(&self, named: &str) -> Option<&ClusterName> {
        self.names.iter().find(|name| name.as_str() == named)
    }

    fn in_words(&self) -> String {
        self.names.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Where a store file says that its store is.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// The cluster that the file itself names.
    pub named: Option<ClusterName>,
    /// The one that follows.
    pub cluster: Option<ClusterName>,
}

/// Reads which cluster a store is on; complains at `at` when its file had to say it.
pub(super) fn place(
    reader: &mut Reader<'_>,
    spec: Option<&Section<'_>>,
    at: Position,
    clusters: &Clusters,
) -> Place {
    let node = spec.and_then(|spec| spec.get("cluster"));
    let (text, at) = match node {
        Some(node) => match reader.text(node, "spec.cluster") {
            Some(text) => (Some(text), node.at),
            None => return Place::default(),
        },
        None => (None, at),
    };
    let known = clusters.in_words();
    let message = match (clusters.find(text.as_deref()), text) {
        (Ok(found), text) => {
            return Place { named: text.and(found.cloned()), cluster: found.cloned() };
        }
        (Err(_), Some(text)) if clusters.names.is_empty() => format!(
            "`spec.cluster` is {}, and the fleet file lists no clusters: list them as `spec.clusters` in \
             `{FLEET_FILE}`, or remove this line",
            quote(&text)
        ),
        (Err(_), Some(text)) => format!(
            "`spec.cluster` is {}, which the fleet file does not list: write one of {known}, or add it to \
             `spec.clusters` in `{FLEET_FILE}`",
            quote(&text)
        ),
        (Err(_), None) => format!(
            "`spec.cluster` is missing, and the fleet has several: write one of {known}, or set `spec.cluster` in \
             `{FLEET_FILE}` for all stores that name none"
        ),
    };
    reader.complain(at, &message);
    Place::default()
}

/// Reads the clusters of a fleet, and holds them against whose stores are wanted.
pub(super) fn read(reader: &mut Reader<'_>, spec: &Section<'_>, at: Position, scope: &Scope) -> Clusters {
    let names = spec.get("clusters").map(|node| names(reader, node)).unwrap_or_default();
    let mut clusters = Clusters { names, default: None };
    clusters.default = spec.get("cluster").and_then(|node| default(reader, node, &clusters));
    let (listed, at) = (!clusters.names.is_empty(), spec.get("clusters").map_or(at, |node| node.at));
    let known = clusters.in_words();
    let message = match scope {
        Scope::All | Scope::Cluster(None) if !listed => return clusters,
        Scope::All => return clusters,
        Scope::Cluster(Some(own)) if clusters.names.contains(own) => return clusters,
        Scope::Cluster(None) => format!(
            "`spec.clusters` lists {known}, and this storekeeper was not told which of them it is on: start it with \
             --cluster (`cluster` in the platform chart's values)"
        ),
        Scope::Cluster(Some(own)) if listed => format!(
            "`spec.clusters` lists {known}, and this storekeeper was told that it is on `{own}`: add that, or correct \
             --cluster (`cluster` in the platform chart's values)"
        ),
        Scope::Cluster(Some(own)) => format!(
            "this storekeeper was told that it is on cluster `{own}`, and `spec.clusters` is missing: list the fleet's \
             clusters, or start it without --cluster (`cluster` in the platform chart's values)"
        ),
    };
    reader.complain(at, &message);
    clusters
}

fn names(reader: &mut Reader<'_>, node: &Node) -> Vec<ClusterName> {
    let mut names: Vec<ClusterName> = Vec::new();
    let items = reader.list(node, "spec.clusters");
    if items.len() > CLUSTERS_MAX {
        let message = format!(
            "`spec.clusters` has {} names, at most {CLUSTERS_MAX} are allowed: spread the stores over more repositories",
            items.len()
        );
        reader.complain(node.at, &message);
        return names;
    }
    for (index, item) in items.iter().enumerate() {
        let path = format!("spec.clusters[{index}]");
        let Some(text) = reader.text(item, &path) else { continue };
        match text.parse::<ClusterName>() {
            Err(error) => reader.complain(item.at, &format!("`{path}` must name a cluster: {error}")),
            Ok(name) if names.contains(&name) => {
                let message = format!("{} is listed twice: remove one of the two", quote(&text));
                reader.complain(item.at, &message);
            }
            Ok(name) => names.push(name),
        }
    }
    if items.is_empty() && reader.is_clean() {
        let message = "`spec.clusters` is empty: list the clusters that there are, such as `[eu-1, us-1]`, or remove the line";
        reader.complain(node.at, message);
    }
    names
}

fn default(reader: &mut Reader<'_>, node: &Node, clusters: &Clusters) -> Option<ClusterName> {
    let text = reader.text(node, "spec.cluster")?;
    let found = clusters.listed(&text).cloned();
    if found.is_none() {
        let known = clusters.in_words();
        let what_to_do = if known.is_empty() {
            "list the fleet's clusters there, or remove this line".to_owned()
        } else {
            format!("write one of {known}")
        };
        let message =
            format!("`spec.cluster` is {}, which `spec.clusters` does not list: {what_to_do}", quote(&text));
        reader.complain(node.at, &message);
    }
    found
}
