//! Reads a watched repository, or a chart, from a folder on disk as it lies there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::git::ReadLimits;
use crate::store::{self, FileContent, Limits, RepositoryTree, Revision};

/// Reads the files of a watched repository. Links are not followed, as the daemon does not follow them.
pub(super) fn read(folder: &Path, limits: &Limits) -> io::Result<RepositoryTree> {
    let mut files = BTreeMap::new();
    visit(folder, "", &mut |path, entry| {
        let is_folder = entry.file_type()?.is_dir();
        let asked = if is_folder { format!("{path}/") } else { path.to_owned() };
        if !store::wants(&asked) {
            return Ok(false);
        }
        if !is_folder {
            let chart_limit =
                usize::try_from(ReadLimits::default().max_chart_file_bytes).unwrap_or(usize::MAX);
            let limit = if store::is_chart_file(path) { chart_limit } else { limits.file_bytes };
            files.insert(path.to_owned(), content(entry, limit)?);
        }
        Ok(true)
    })?;
    Ok(RepositoryTree { revision: Revision::working_tree(), files })
}

/// Reads every file below a folder.
pub(super) fn read_all(folder: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    visit(folder, "", &mut |path, entry| {
        if entry.file_type()?.is_file() {
            files.insert(path.to_owned(), fs::read(entry.path())?);
        }
        Ok(true)
    })?;
    Ok(files)
}

/// Shows each entry below a folder to `look`, which says of folders whether to go inside.
fn visit(
    folder: &Path,
    prefix: &str,
    look: &mut dyn FnMut(&str, &fs::DirEntry) -> io::Result<bool>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if look(&path, &entry)? && entry.file_type()?.is_dir() {
            visit(&entry.path(), &format!("{path}/"), look)?;
        }
    }
    Ok(())
}

fn content(entry: &fs::DirEntry, limit: usize) -> io::Result<FileContent> {
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        return Ok(FileContent::Unreadable("a symbolic link, which is not followed".to_owned()));
    }
    if !kind.is_file() {
        return Ok(FileContent::Unreadable("not a regular file".to_owned()));
    }
    let size = entry.metadata()?.len();
    if size > limit as u64 {
        return Ok(FileContent::Unreadable(format!(
            "{size} bytes long, more than the limit of {limit} bytes"
        )));
    }
    fs::read(entry.path()).map(FileContent::Bytes)
}
