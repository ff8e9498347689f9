//! The mirror on disk: a folder of ours with a bare repository in it.
//!
//! ```text
//! <folder>/storekeeper-mirror   whose mirror this is; locked while a process uses it
//! <folder>/repository           the bare repository
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use git2::{Commit, ErrorCode, ObjectType, Oid, Reference, Repository};
use tracing::warn;

use super::claim::Claim;
use super::error::{GitError, one_line};
use super::place::{Failure, Place, create_repository, open_repository, remove_folder, repository_path};
use super::settings::{Auth, SourceSettings};
use super::url::Parts;
use crate::report::pull_request_in;

/// Marks a folder as ours, says in words what it is, and is what a process locks.
const MARKER: &str = "storekeeper-mirror";

/// The newest commit fetched. Outside `refs/heads`, so that no branch of the remote can take its place.
pub(super) const HEAD_REFERENCE: &str = "refs/storekeeper/head";

/// The commit that was last marked good. It survives restarts, and it keeps the commit's objects when the
/// remote's history was rewritten.
pub(super) const GOOD_REFERENCE: &str = "refs/storekeeper/good";

/// Holds a source's repository: what was fetched of it, readable by commit.
///
/// All methods block. One fetch runs at a time; reads run beside it.
#[derive(Debug)]
pub struct Mirror {
    pub(super) place: Place,
    pub(super) settings: SourceSettings,
    auth: Mutex<Auth>,
    /// Held by a fetch, so that there is one at a time.
    pub(super) fetching: Mutex<()>,
    /// The heads of pull requests that the last fetch saw.
    pub(super) pulls: Mutex<Arc<BTreeMap<u64, String>>>,
    _claim: Claim,
}

/// Tells who made a commit and why. All text is one printable line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// The author's name.
    pub author: String,
    /// The first line of the message.
    pub subject: String,
    /// When it was committed, by the committer's clock.
    pub time: SystemTime,
    /// Its parents, the first of them first.
    pub parents: Vec<String>,
    /// The pull request that its message names as forges write it.
    pub pull: Option<u64>,
}

impl Mirror {
    /// Opens the mirror in a folder, and makes one when there is none.
    ///
    /// A mirror of another repository is emptied first; a damaged one is made anew, with a warning. Nothing is
    /// fetched yet.
    pub fn open(folder: &Path, settings: SourceSettings) -> Result<Self, GitError> {
        check_settings(&settings)?;
        let absolute = std::path::absolute(folder);
        let folder = &absolute.map_err(|source| GitError::Storage {
            action: "resolve",
            path: folder.to_owned(),
            source,
        })?;
        let claim = Claim::take(folder, MARKER, "mirror of a git repository", &settings)?;
        let repository = repository_path(folder);
        let mirror = Self {
            place: Place::new(folder),
            auth: Mutex::new(settings.auth.clone()),
            settings,
            fetching: Mutex::new(()),
            pulls: Mutex::default(),
            _claim: claim,
        };
        if repository.exists() {
            remove_stale_files(&repository);
            mirror.check_or_recreate()?;
        } else {
            create_repository(&repository)?;
        }
        Ok(mirror)
    }

    /// Replaces the login, for a token or key that rotates.
    pub fn set_auth(&self, auth: Auth) -> Result<(), GitError> {
        check_auth(&self.settings, &auth)?;
        *self.auth.lock().unwrap_or_else(PoisonError::into_inner) = auth;
        Ok(())
    }

    /// Returns the commit that was fetched last, in this run or an earlier one.
    pub fn head(&self) -> Result<Option<String>, GitError> {
        self.place.with_repository(|repository| commit_of(repository, HEAD_REFERENCE))
    }

    /// Remembers a commit as the last good one, across restarts and rewritten history.
    pub fn mark_good(&self, commit: &str) -> Result<(), GitError> {
        self.place.with_repository(|repository| {
            let id = find_commit(repository, commit)?.id();
            repository.reference(GOOD_REFERENCE, id, true, "marked good").map_err(Failure::Git)?;
            Ok(())
        })
    }

    /// Returns the commit that was last marked good.
    pub fn last_good(&self) -> Result<Option<String>, GitError> {
        self.place.with_repository(|repository| commit_of(repository, GOOD_REFERENCE))
    }

    /// Tells who made a commit, when and why.
    pub fn commit_info(&self, commit: &str) -> Result<CommitInfo, GitError> {
        self.place.with_repository(|repository| {
            let commit = find_commit(repository, commit)?;
            let message = String::from_utf8_lossy(commit.message_bytes());
            let seconds = u64::try_from(commit.time().seconds()).unwrap_or(0);
            Ok(CommitInfo {
                author: one_line(&String::from_utf8_lossy(commit.author().name_bytes()), 80),
                subject: one_line(message.trim_start().lines().next().unwrap_or_default(), 160),
                time: SystemTime::UNIX_EPOCH
                    .checked_add(Duration::from_secs(seconds))
                    .unwrap_or(SystemTime::UNIX_EPOCH),
                parents: commit.parent_ids().map(|id| id.to_string()).collect(),
                pull: pull_request_in(&message),
            })
        })
    }

    pub(super) fn current_auth(&self) -> Auth {
        self.auth.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn one_fetch(&self) -> MutexGuard<'_, ()> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_or_recreate(&self) -> Result<(), GitError> {
        let path = self.place.repository();
        let problem = match open_repository(&path) {
            Ok(repository) => match drop_unreadable(&repository) {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    self.place.mark_damaged();
                    return Ok(());
                }
                Err(error) => error,
            },
            Err(error) if error.code() == ErrorCode::Owner => {
                return Err(GitError::OwnerDiffers { remote: path.display().to_string() });
            }
            Err(error) => error,
        };
        warn!(mirror.folder = %self.place.folder.display(), reason = %one_line(problem.message(), 200), "the mirror is damaged: made anew");
        remove_folder(&path)?;
        create_repository(&path)
    }
}

/// Finds a commit by its full id. Short ids are refused: what is read must be one certain commit.
pub(super) fn find_commit<'r>(repository: &'r Repository, commit: &str) -> Result<Commit<'r>, Failure> {
    let missing = || GitError::CommitMissing { commit: one_line(commit, 64) };
    if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(missing().into());
    }
    let id = Oid::from_str(commit)?;
    match repository.find_object(id, None) {
        Ok(object) if object.kind() == Some(ObjectType::Commit) => Ok(repository.find_commit(id)?),
        Ok(_) => Err(missing().into()),
        // A commit that a ref of ours names was there once: without it the mirror is damaged.
        Err(error) if error.code() == ErrorCode::NotFound && !is_ours(repository, id) => {
            Err(missing().into())
        }
        Err(error) => Err(error.into()),
    }
}

fn is_ours(repository: &Repository, id: Oid) -> bool {
    [HEAD_REFERENCE, GOOD_REFERENCE].iter().any(|name| repository.refname_to_id(name).ok() == Some(id))
}

fn commit_of(repository: &Repository, name: &str) -> Result<Option<String>, Failure> {
    match repository.refname_to_id(name) {
        Ok(id) => Ok(Some(id.to_string())),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn check_settings(settings: &SourceSettings) -> Result<(), GitError> {
    let branch = &settings.branch;
    if branch.starts_with('-') || !Reference::is_valid_name(&format!("refs/heads/{branch}")) {
        let reason = format!("`{}` is not the name of a branch", one_line(branch, 80));
        return Err(GitError::Settings { remote: settings.url.to_string(), reason });
    }
    check_auth(settings, &settings.auth)
}

pub(super) fn check_auth(settings: &SourceSettings, auth: &Auth) -> Result<(), GitError> {
    let reason = match (settings.url.parts(), auth) {
        (Parts::Https { .. }, Auth::SshKey { .. }) => "an ssh key does not log in over https; give a token",
        (Parts::Ssh { .. }, Auth::Anonymous | Auth::Token { .. }) => {
            "ssh needs a private key and known_hosts"
        }
        (Parts::Local { .. }, Auth::SshKey { .. } | Auth::Token { .. }) => {
            "a local repository needs no login"
        }
        (Parts::Https { .. } | Parts::Local { .. }, Auth::Anonymous)
        | (Parts::Https { .. }, Auth::Token { .. })
        | (Parts::Ssh { .. }, Auth::SshKey { .. }) => return Ok(()),
    };
    Err(GitError::Settings { remote: settings.url.to_string(), reason: reason.to_owned() })
}

/// Drops the refs whose commit or tree can't be read. Returns whether all could be.
fn drop_unreadable(repository: &Repository) -> Result<bool, git2::Error> {
    let mut sound = true;
    for name in [HEAD_REFERENCE, GOOD_REFERENCE] {
        let readable = match repository.find_reference(name) {
            Ok(reference) => reference.peel_to_commit().and_then(|commit| commit.tree()).map(|_| ()),
            Err(error) if error.code() == ErrorCode::NotFound => continue,
            Err(error) => Err(error),
        };
        if let Err(error) = readable {
            warn!(git.reference = name, reason = %one_line(error.message(), 200), "the mirror is damaged: the next fetch rebuilds it");
            repository.find_reference(name)?.delete()?;
            sound = false;
        }
    }
    Ok(sound)
}

/// Removes what a killed process left: a stale lock would fail every later write, and unfinished packs only
/// take space. The folder's lock is held, so nobody else is at work here.
pub(super) fn remove_stale_files(repository: &Path) {
    let stale_lock = |path: &Path| path.extension().is_some_and(|extension| extension == "lock");
    let finished = ["pack", "idx", "rev", "keep", "bitmap"];
    let unfinished = |path: &Path| {
        !path.extension().is_some_and(|extension| finished.iter().any(|known| extension == *known))
    };
    remove_files(repository, stale_lock);
    remove_files(&repository.join("refs/storekeeper"), stale_lock);
    remove_files(&repository.join("objects/pack"), unfinished);
}

fn remove_files(folder: &Path, which: impl Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_file() && which(&path) && fs::remove_file(&path).is_ok() {
            warn!(path = %path.display(), "removed what an interrupted fetch had left in the mirror");
        }
    }
}
