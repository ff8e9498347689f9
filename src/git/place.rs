//! A bare repository of ours on disk: opened with no configuration but its own, and replaceable while it is read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use git2::{Config, Repository, RepositoryInitOptions, RepositoryOpenFlags};

use super::error::{GitError, one_line};

/// Where a repository of ours lies.
#[derive(Debug)]
pub(super) struct Place {
    /// The folder that the repository is in, under [`repository_path`].
    pub folder: PathBuf,
    /// Read-held by whoever uses the repository, write-held while another one takes its place.
    turn: RwLock<()>,
    /// Set when an object of the repository could not be read.
    damaged: AtomicBool,
}

impl Place {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), turn: RwLock::new(()), damaged: AtomicBool::new(false) }
    }

    /// Returns where the repository is.
    pub fn repository(&self) -> PathBuf {
        repository_path(&self.folder)
    }

    /// Keeps the repository where it is for as long as the guard lives.
    pub fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.turn.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a repository in the place of the one that is there.
    pub fn take(&self, incoming: &Path) -> Result<(), GitError> {
        let (path, old) = (self.repository(), damaged_path(&self.folder));
        let storage = |source| GitError::Storage { action: "replace", path: path.clone(), source };
        let _turn = self.turn.write().unwrap_or_else(PoisonError::into_inner);
        remove_folder(&old)?;
        if path.exists() {
            fs::rename(&path, &old).map_err(storage)?;
        }
        fs::rename(incoming, &path).map_err(storage)?;
        self.damaged.store(false, Ordering::Relaxed);
        remove_folder(&old)
    }

    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    pub fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// Runs work on the repository and turns its failure into an error; damage is remembered, for the next
    /// fetch to mend.
    pub fn with_repository<T>(
        &self,
        work: impl FnOnce(&Repository) -> Result<T, Failure>,
    ) -> Result<T, GitError> {
        let _turn = self.hold();
        let result = open_repository(&self.repository()).map_err(Failure::Git);
        result.and_then(|repository| work(&repository)).map_err(|failure| self.failed(failure))
    }

    /// Turns a failure into an error; damage is remembered.
    pub fn failed(&self, failure: Failure) -> GitError {
        match failure {
            Failure::Known(error) => error,
            Failure::Git(error) => {
                self.mark_damaged();
                self.corrupt(&error)
            }
        }
    }

    /// Says that the repository is damaged.
    pub fn corrupt(&self, error: &git2::Error) -> GitError {
        GitError::Corrupt { folder: self.folder.clone(), reason: one_line(error.message(), 200) }
    }
}

/// Why work on the repository stopped: an error of its own, or one of libgit2 that means damage.
pub(super) enum Failure {
    Known(GitError),
    Git(git2::Error),
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        Self::Known(error)
    }
}

pub(super) fn repository_path(folder: &Path) -> PathBuf {
    folder.join("repository")
}

/// Where a repository grows that is to take the place of another, until it is complete.
pub(super) fn incoming_path(folder: &Path) -> PathBuf {
    folder.join("repository.incoming")
}

/// Where a repository goes when its successor takes its place.
pub(super) fn damaged_path(folder: &Path) -> PathBuf {
    folder.join("repository.damaged")
}

/// Opens a repository of ours with its own configuration file and no other: neither the user's nor the system's
/// configuration may rewrite URLs or turn off checks.
pub(super) fn open_repository(path: &Path) -> Result<Repository, git2::Error> {
    let flags = RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::BARE | RepositoryOpenFlags::NO_DOTGIT;
    let repository = Repository::open_ext(path, flags, std::iter::empty::<&Path>())?;
    repository.set_config(&Config::open(&path.join("config"))?)?;
    Ok(repository)
}

pub(super) fn create_repository(path: &Path) -> Result<(), GitError> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).no_reinit(true).mkpath(true).external_template(false).initial_head("storekeeper");
    let created = Repository::init_opts(path, &options).and_then(|_| {
        let mut config = Config::open(&path.join("config"))?;
        config.set_str("http.followRedirects", "false")
    });
    created.map_err(|error| GitError::Storage {
        action: "create a bare repository in",
        path: path.to_owned(),
        source: io::Error::other(one_line(error.message(), 200)),
    })
}

/// Removes a folder and all in it; a missing one is fine.
pub(super) fn remove_folder(path: &Path) -> Result<(), GitError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(GitError::Storage { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
