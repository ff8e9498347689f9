//! A folder that is ours, for one process at a time and one source.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use tracing::warn;

use super::error::GitError;
use super::place::{damaged_path, incoming_path, remove_folder, repository_path};
use super::settings::SourceSettings;

/// Holds a folder. The lock is on an open file: it goes when the process goes, however that happens.
#[derive(Debug)]
pub(super) struct Claim(File);

impl Drop for Claim {
    fn drop(&mut self) {
        // Closing is not enough: a child process that is just being started holds the open file for a moment.
        let _ = self.0.unlock();
    }
}

impl Claim {
    /// Makes a folder ours, or finds that it is, and locks it. `marker` is the file that says so, and what is in the
    /// folder. A repository of another source than the settings say is removed, and so is what is left of one that
    /// took another's place.
    pub fn take(
        folder: &Path,
        marker: &str,
        what: &str,
        settings: &SourceSettings,
    ) -> Result<Self, GitError> {
        let mut claim = Self(lock(folder, marker)?);
        for leftover in [incoming_path(folder), damaged_path(folder)] {
            remove_folder(&leftover)?;
        }
        claim.keep_only_own(folder, marker, what, settings)?;
        Ok(claim)
    }

    /// Removes the repository when it is of another source: a last good commit of one repository must never stand
    /// in for another's.
    fn keep_only_own(
        &mut self,
        folder: &Path,
        marker: &str,
        what: &str,
        settings: &SourceSettings,
    ) -> Result<(), GitError> {
        let SourceSettings { url, branch, auth: _, ca_file: _, timeout: _, max_fetch_bytes: _, pulls: _ } =
            settings;
        let wanted = format!(
            "This folder is storekeeper's {what}. It is made anew when it is missing.\n\
             source: {url}\nbranch: {branch}\n"
        );
        let Self(file) = self;
        let mut found = String::new();
        file.read_to_string(&mut found).map_err(storage("read", &folder.join(marker)))?;
        if found == wanted {
            return Ok(());
        }
        let repository = repository_path(folder);
        if repository.exists() {
            warn!(mirror.folder = %folder.display(), source.url = %url, source.branch = branch, "the {what} is of another source: made anew");
            remove_folder(&repository)?;
        }
        let written =
            file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(wanted.as_bytes()));
        written.map_err(storage("write", &folder.join(marker)))
    }
}

fn lock(folder: &Path, marker: &str) -> Result<File, GitError> {
    fs::create_dir_all(folder).map_err(storage("create", folder))?;
    let path = folder.join(marker);
    if !path.is_file() {
        for entry in fs::read_dir(folder).map_err(storage("list", folder))? {
            let name = entry.map_err(storage("list", folder))?.file_name();
            // A freshly made file system has this folder at its root.
            if name != "lost+found" && name != marker {
                return Err(GitError::NotOurs { folder: folder.to_owned() });
            }
        }
    }
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.map_err(storage("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(GitError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(GitError::Storage { action: "lock", path, source }),
    }
}

fn storage(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> GitError {
    let path = path.to_owned();
    move |source| GitError::Storage { action, path, source }
}
