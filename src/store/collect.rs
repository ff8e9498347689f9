//! From a tree to a snapshot.

use std::collections::BTreeMap;

use super::{Freeze, Limits, RepositoryTree, Snapshot};
use crate::names::{Host, StoreId};

/// Reads a repository at one commit.
///
/// `chart_file` finds a file that the chart ships by its path (for value files written `chart:<path>`).
/// `incumbents` says which store holds a host in the cluster now: when two files claim one host, it keeps it.
pub fn read<'chart>(
    tree: &RepositoryTree,
    chart_file: &dyn Fn(&str) -> Option<&'chart [u8]>,
    incumbents: &BTreeMap<Host, StoreId>,
    limits: &Limits,
) -> Result<Snapshot, Freeze> {
    let _ = (tree, chart_file, incumbents, limits);
    Err(Freeze::EmptyTree)
}
