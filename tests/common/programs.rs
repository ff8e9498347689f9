//! Finds programs that Debian keeps out of the way.

use std::path::PathBuf;

/// Returns the folder that has these programs of PostgreSQL's; none where it is not installed.
pub fn postgres(needed: &[&str]) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|entry| entry.path().join("bin")).collect();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH")?));
    folders.into_iter().find(|folder| needed.iter().all(|name| folder.join(name).is_file()))
}
