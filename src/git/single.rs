//! The files of one commit, fetched for this once: no mirror is kept.

use std::collections::BTreeMap;
use std::panic;
use std::path::Path;

use git2::{Oid, Reference, Remote, Repository};

use super::error::{GitError, one_line};
use super::fetch::check_complete;
use super::mirror::{check_auth, find_commit};
use super::place::{Place, create_repository};
use super::read::{Blobs, ReadLimits};
use super::session::Session;
use super::settings::SourceSettings;
use crate::store::{FileContent, Listed};

/// Where the commit goes.
const REFERENCE: &str = "refs/storekeeper/single";

/// What is fetched from a remote that gives commits away by the names of branches and tags alone.
const EVERYTHING: [&str; 2] =
    ["+refs/heads/*:refs/storekeeper/heads/*", "+refs/tags/*:refs/storekeeper/tags/*"];

/// Fetches a commit, named by its full id, into a new repository in an empty folder, and returns its wanted files by
/// path; see [`Blobs::list`]. The branch of the settings plays no part. Blocks; the folder is the caller's to remove.
///
/// The commit is asked for by itself, without its history; where the remote does not allow that, all branches and tags are
/// fetched, up to the limit of the settings.
pub fn read_commit(
    folder: &Path,
    settings: &SourceSettings,
    commit: &str,
    wants: &dyn Fn(&str) -> bool,
    limits: &ReadLimits,
) -> Result<BTreeMap<String, FileContent>, GitError> {
    check_auth(settings, &settings.auth)?;
    let place = Place::new(folder);
    create_repository(&place.repository())?;
    place.with_repository(|repository| {
        let missing = || GitError::CommitMissing { commit: one_line(commit, 64) };
        let id = Oid::from_str(commit).map_err(|_| missing())?;
        fetch(repository, folder, settings, id)?;
        find_commit(repository, commit).map(|_| ())
    })?;
    let blobs = Blobs::open(&place)?;
    let listed = blobs.list(commit, wants, &|_| None, limits)?;
    let read = |(path, listed)| match listed {
        Listed::File { content, size: _ } => blobs.content(content).map(|content| (path, content)),
        Listed::Unreadable(why) => Ok((path, FileContent::Unreadable(why))),
    };
    listed.into_iter().map(read).collect()
}

fn fetch(repository: &Repository, folder: &Path, settings: &SourceSettings, id: Oid) -> Result<(), GitError> {
    let alone = fetch_alone(repository, folder, settings, id);
    if check_complete(repository, id).is_ok() {
        return Ok(());
    }
    match alone {
        // It was asked for in a way that some servers refuse, each in its own words.
        Ok(())
        | Err(
            GitError::Unreachable { .. }
            | GitError::RepositoryMissing { .. }
            | GitError::RemoteBroken { .. }
            | GitError::Corrupt { .. },
        ) => {}
        Err(error) => return Err(error),
    }
    let session = Session::start(settings, &settings.auth)?;
    let mut remote = session.remote(repository)?;
    let mut connection = session.connect(&mut remote)?;
    let wanted = EVERYTHING.map(|refspec| (refspec.to_owned(), id));
    session.download(repository, connection.remote(), &wanted, folder)?;
    let remote = session.name();
    // The repository was opened before the objects came.
    let _ = repository.odb().and_then(|objects| objects.refresh());
    check_complete(repository, id).map_err(|_| GitError::CommitNotServed { remote, commit: id.to_string() })
}

/// Fetches the commit without its history: by the name of a branch or tag that is there, or else by its id.
fn fetch_alone(
    repository: &Repository,
    folder: &Path,
    settings: &SourceSettings,
    id: Oid,
) -> Result<(), GitError> {
    let mut session = Session::start(settings, &settings.auth)?;
    session.depth = 1;
    let mut remote = session.remote(repository)?;
    let mut connection = session.connect(&mut remote)?;
    let name = name_of(connection.remote(), id).map_err(|error| session.explain(&error, None))?;
    let refspec = format!("+{}:{REFERENCE}", name.unwrap_or_else(|| id.to_string()));
    session.download(repository, connection.remote(), &[(refspec, id)], folder)
}

/// Returns a ref of the remote that is at a commit.
fn name_of(remote: &Remote<'_>, id: Oid) -> Result<Option<String>, git2::Error> {
    let heads = remote.list()?;
    let names = heads.iter().filter(|head| head.oid() == id).filter_map(|head| {
        // git2 panics on a ref name that is not UTF-8.
        panic::catch_unwind(panic::AssertUnwindSafe(|| head.name().to_owned())).ok()
    });
    let mut names = names.filter(|name| name.starts_with("refs/") && Reference::is_valid_name(name));
    Ok(names.next())
}
