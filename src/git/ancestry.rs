//! How a commit came about: the commits between it and the last good one, as they are stored.

use std::collections::BTreeSet;

use git2::{ErrorCode, Odb, Oid, Repository, Sort};

use super::error::GitError;
use super::mirror::{GOOD_REFERENCE, Mirror, find_commit};
use super::place::Failure;
use crate::trust::{Ancestry, COMMIT_MAX, RawCommit};

/// The most commits that are looked at one by one, and the most bytes of them.
const COMMITS_MAX: usize = 5000;
const BYTES_MAX: usize = 64 * 1024 * 1024;

impl Mirror {
    /// Tells how a commit came about since the last good one. The commits in between are read when `all` is set.
    pub fn ancestry(&self, tip: &str, all: bool) -> Result<Ancestry, GitError> {
        self.place.with_repository(|repository| {
            let tip = find_commit(repository, tip)?.id();
            let good = match repository.refname_to_id(GOOD_REFERENCE) {
                Ok(good) => Some(good),
                Err(error) if error.code() == ErrorCode::NotFound => None,
                Err(error) => return Err(error.into()),
            };
            let follows = match good {
                Some(good) => good == tip || repository.graph_descendant_of(tip, good)?,
                None => true,
            };
            let since = match good {
                Some(good) if all => between(repository, tip, good)?,
                _ => None,
            };
            let tip = raw(&repository.odb()?, tip, true)?;
            Ok(Ancestry { tip, good: good.map(|good| good.to_string()), since, follows })
        })
    }
}

/// Reads the commits that lead from one to another, oldest first; none when there are too many.
fn between(repository: &Repository, tip: Oid, good: Oid) -> Result<Option<Vec<RawCommit>>, Failure> {
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL)?;
    walk.push(tip)?;
    walk.hide(good)?;
    let ids: Vec<_> = walk.take(COMMITS_MAX + 1).collect::<Result<_, _>>()?;
    if ids.len() > COMMITS_MAX {
        return Ok(None);
    }
    let range: BTreeSet<_> = ids.iter().copied().collect();
    let (mut line, mut next) = (BTreeSet::new(), Some(tip));
    while let Some(id) = next.filter(|id| range.contains(id)) {
        line.insert(id);
        next = repository.find_commit(id)?.parent_ids().next();
    }
    let (objects, mut bytes, mut commits) = (repository.odb()?, 0, Vec::with_capacity(ids.len()));
    for id in ids.into_iter().rev() {
        let commit = raw(&objects, id, line.contains(&id))?;
        bytes += commit.bytes.len();
        if bytes > BYTES_MAX {
            return Ok(None);
        }
        commits.push(commit);
    }
    Ok(Some(commits))
}

fn raw(objects: &Odb<'_>, id: Oid, is_first_parent: bool) -> Result<RawCommit, git2::Error> {
    let (size, _) = objects.read_header(id)?;
    // One that is too large is left out, which whoever judges it sees.
    let bytes = if size > COMMIT_MAX { Vec::new() } else { objects.read(id)?.data().to_vec() };
    Ok(RawCommit { id: id.to_string(), bytes, is_first_parent })
}
