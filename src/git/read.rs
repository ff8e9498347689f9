//! Files of a commit, straight from the object database: no checkout, no link followed, no submodule.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::sync::RwLockReadGuard;

use git2::{ObjectType, Odb, Oid, Repository, Tree, TreeEntry};

use super::error::{GitError, human_bytes};
use super::mirror::{Mirror, find_commit};
use super::place::{Failure, Place, open_repository};
use crate::store::{ContentId, FileContent, Listed, is_chart_file};

/// What git calls the kinds of tree entries.
pub(super) const MODE_KIND: i32 = 0o170_000;
pub(super) const MODE_FOLDER: i32 = 0o040_000;
pub(super) const MODE_FILE: i32 = 0o100_000;
const MODE_LINK: i32 = 0o120_000;
const MODE_SUBMODULE: i32 = 0o160_000;

/// The longest that a Git LFS pointer may be, and how it starts; both from the LFS specification.
const LFS_POINTER_MAX: usize = 1024;
const LFS_POINTER_START: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Bounds what a read may bring into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLimits {
    /// The most wanted files.
    pub max_files: usize,
    /// The most bytes of one file; a larger one is unreadable, the others are read.
    pub max_file_bytes: u64,
    /// The same of one file of a chart.
    pub max_chart_file_bytes: u64,
    /// The most bytes of all wanted files together.
    pub max_total_bytes: u64,
    /// The most folders that a file may lie in; what is deeper is unreadable.
    pub max_depth: usize,
    /// The most entries looked at, wanted or not. A few trees that name each other's like many times over
    /// would otherwise keep the walk busy for years.
    pub max_entries: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            max_files: 50_000,
            max_file_bytes: 256 * 1024,
            max_chart_file_bytes: 5 * 1024 * 1024,
            max_total_bytes: 256 * 1024 * 1024,
            max_depth: 24,
            max_entries: 500_000,
        }
    }
}

impl Mirror {
    /// Opens the mirror for reading. While this is held no rebuilt repository takes the mirror's place.
    pub fn blobs(&self) -> Result<Blobs<'_>, GitError> {
        Blobs::open(&self.place)
    }

    /// Reads the wanted files of a commit, by path: what [`Blobs::list`] lists, with the bytes.
    pub fn read(
        &self,
        commit: &str,
        wants: &dyn Fn(&str) -> bool,
        limits: &ReadLimits,
    ) -> Result<BTreeMap<String, FileContent>, GitError> {
        let blobs = self.blobs()?;
        let listed = blobs.list(commit, wants, &|_| None, limits)?;
        let read = |(path, listed)| match listed {
            Listed::File { content, size: _ } => blobs.content(content).map(|content| (path, content)),
            Listed::Unreadable(why) => Ok((path, FileContent::Unreadable(why))),
        };
        listed.into_iter().map(read).collect()
    }
}

/// The object database of a mirror, opened.
pub struct Blobs<'m> {
    place: &'m Place,
    repository: Repository,
    _held: RwLockReadGuard<'m, ()>,
}

impl<'m> Blobs<'m> {
    pub(super) fn open(place: &'m Place) -> Result<Self, GitError> {
        let held = place.hold();
        let repository = open_repository(&place.repository()).map_err(|error| place.failed(error.into()))?;
        Ok(Self { place, repository, _held: held })
    }

    /// Lists the wanted files of a commit, by path, from its trees alone.
    ///
    /// `wants` is asked with each path; for a folder, to know whether to look inside, with a path that ends in
    /// `/`. Links, submodules, files over the size limit and names that no file may have come back as
    /// [`Listed::Unreadable`]. `known` may say what a path was listed as before: for the same content its size is
    /// not looked up again. A commit with an empty tree has no files, which is not an error here.
    pub fn list<'k>(
        &self,
        commit: &str,
        wants: &dyn Fn(&str) -> bool,
        known: &dyn Fn(&str) -> Option<&'k Listed>,
        limits: &ReadLimits,
    ) -> Result<BTreeMap<String, Listed>, GitError> {
        let tree = find_commit(&self.repository, commit).and_then(|commit| Ok(commit.tree()?));
        let tree = tree.map_err(|failure| self.place.failed(failure))?;
        self.walk(commit, &tree, wants, known, limits)
    }

    /// Lists the wanted files of a tree that is no commit's (yet), as [`Self::list`] does.
    pub fn list_tree<'k>(
        &self,
        tree: &str,
        wants: &dyn Fn(&str) -> bool,
        known: &dyn Fn(&str) -> Option<&'k Listed>,
        limits: &ReadLimits,
    ) -> Result<BTreeMap<String, Listed>, GitError> {
        let found = Oid::from_str(tree).and_then(|id| self.repository.find_tree(id));
        let found = found.map_err(|error| self.place.failed(error.into()))?;
        self.walk(tree, &found, wants, known, limits)
    }

    fn walk<'k>(
        &self,
        name: &str,
        tree: &Tree<'_>,
        wants: &dyn Fn(&str) -> bool,
        known: &dyn Fn(&str) -> Option<&'k Listed>,
        limits: &ReadLimits,
    ) -> Result<BTreeMap<String, Listed>, GitError> {
        let walked = self.repository.odb().map_err(Failure::Git).and_then(|objects| {
            let mut walk = Walk {
                repository: &self.repository,
                objects,
                commit: name.to_owned(),
                wants,
                known,
                limits,
                entries_seen: 0,
                bytes_listed: 0,
                files: BTreeMap::new(),
            };
            walk.folder("", tree, 0)?;
            Ok(walk.files)
        });
        walked.map_err(|failure| self.place.failed(failure))
    }

    /// Reads the content of a listed file. A Git LFS pointer is [`FileContent::Unreadable`].
    pub fn content(&self, id: ContentId) -> Result<FileContent, GitError> {
        let read = || -> Result<FileContent, git2::Error> {
            let objects = self.repository.odb()?;
            let object = objects.read(Oid::from_bytes(&id.0)?)?;
            let bytes = object.data();
            if bytes.len() <= LFS_POINTER_MAX && bytes.starts_with(LFS_POINTER_START) {
                let reason = "a Git LFS pointer, whose content is not fetched; commit the file itself";
                return Ok(FileContent::Unreadable(reason.to_owned()));
            }
            Ok(FileContent::Bytes(bytes.to_vec()))
        };
        read().map_err(|error| self.place.failed(error.into()))
    }
}

struct Walk<'a, 'k> {
    repository: &'a Repository,
    objects: Odb<'a>,
    commit: String,
    wants: &'a dyn Fn(&str) -> bool,
    known: &'a dyn Fn(&str) -> Option<&'k Listed>,
    limits: &'a ReadLimits,
    entries_seen: usize,
    bytes_listed: u64,
    files: BTreeMap<String, Listed>,
}

impl Walk<'_, '_> {
    fn folder(&mut self, prefix: &str, tree: &Tree<'_>, depth: usize) -> Result<(), Failure> {
        for entry in tree {
            self.entries_seen += 1;
            if self.entries_seen > self.limits.max_entries {
                return Err(self.too_many(self.limits.max_entries, "entries"));
            }
            let (name, problem) = checked_name(entry.name_bytes());
            let path = format!("{prefix}{name}");
            if let Some(problem) = problem {
                if (self.wants)(&path) {
                    self.add(path, Listed::Unreadable(problem.to_owned()))?;
                }
            } else if entry.filemode_raw() & MODE_KIND == MODE_FOLDER {
                self.subfolder(&path, &entry, depth + 1)?;
            } else if (self.wants)(&path) {
                let listed = self.listed(&path, &entry)?;
                self.add(path, listed)?;
            }
        }
        Ok(())
    }

    fn subfolder(&mut self, path: &str, entry: &TreeEntry<'_>, depth: usize) -> Result<(), Failure> {
        let inside = format!("{path}/");
        if !(self.wants)(&inside) {
            return Ok(());
        }
        let max_depth = self.limits.max_depth;
        if depth > max_depth {
            let reason = format!("a folder inside {max_depth} others, which is deeper than the limit");
            return self.add(path.to_owned(), Listed::Unreadable(reason));
        }
        let tree = self.repository.find_tree(entry.id())?;
        self.folder(&inside, &tree, depth)
    }

    fn listed(&mut self, path: &str, entry: &TreeEntry<'_>) -> Result<Listed, Failure> {
        let unreadable = |reason: &str| Ok(Listed::Unreadable(reason.to_owned()));
        match entry.filemode_raw() & MODE_KIND {
            MODE_FILE => {}
            MODE_LINK => return unreadable("a symbolic link, which is not followed"),
            MODE_SUBMODULE => return unreadable("a submodule, which is not fetched"),
            _ => return unreadable("neither a file nor a folder"),
        }
        let mut id = [0; 20];
        id.copy_from_slice(entry.id().as_bytes());
        let content = ContentId(id);
        let size = match (self.known)(path) {
            Some(Listed::File { content: known, size }) if *known == content => *size,
            _ => {
                // The size comes first and costs little: a file over the limit is never brought into memory.
                let (size, kind) = self.objects.read_header(entry.id())?;
                if kind != ObjectType::Blob {
                    return unreadable("neither a file nor a folder");
                }
                size as u64
            }
        };
        let ReadLimits { max_file_bytes, max_chart_file_bytes, .. } = *self.limits;
        let limit = if is_chart_file(path) { max_chart_file_bytes } else { max_file_bytes };
        if size > limit {
            let reason = format!("{}, larger than the limit of {}", human_bytes(size), human_bytes(limit));
            return Ok(Listed::Unreadable(reason));
        }
        self.bytes_listed += size;
        if self.bytes_listed > self.limits.max_total_bytes {
            let limit = self.limits.max_total_bytes;
            return Err(GitError::TooLarge { commit: self.commit.clone(), limit }.into());
        }
        Ok(Listed::File { content, size })
    }

    fn add(&mut self, path: String, listed: Listed) -> Result<(), Failure> {
        if self.files.len() >= self.limits.max_files {
            return Err(self.too_many(self.limits.max_files, "files"));
        }
        match self.files.entry(path) {
            btree_map::Entry::Vacant(vacant) => drop(vacant.insert(listed)),
            // Only a hand-made tree names a path twice, and programs differ in which one they take.
            btree_map::Entry::Occupied(mut occupied) => {
                occupied.insert(Listed::Unreadable("listed more than once in the commit's tree".to_owned()));
            }
        }
        Ok(())
    }

    fn too_many(&self, limit: usize, what: &'static str) -> Failure {
        GitError::TooMany { commit: self.commit.clone(), limit, what }.into()
    }
}

/// Returns a name as it may be shown and, when no file may have that name, why. `git` refuses to make such
/// names; a hand-made tree may hold them.
pub(super) fn checked_name(bytes: &[u8]) -> (String, Option<&'static str>) {
    let Ok(name) = std::str::from_utf8(bytes) else {
        return (
            String::from_utf8_lossy(bytes).escape_debug().to_string(),
            Some("named with bytes that are not UTF-8"),
        );
    };
    let problem = if name.is_empty() || name == "." || name == ".." || name.eq_ignore_ascii_case(".git") {
        Some("named in a way that only a hand-made tree can")
    } else if name.contains(['/', '\\']) {
        Some("named with a slash or backslash")
    } else if name.chars().any(char::is_control) {
        Some("named with a control character")
    } else {
        None
    };
    match problem {
        Some(problem) => (name.escape_debug().to_string(), Some(problem)),
        None => (name.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_file_may_have_is_shown_escaped_and_not_read() {
        assert_eq!(checked_name("acmé.yaml".as_bytes()), ("acmé.yaml".to_owned(), None));
        for (name, shown) in [
            (&b".."[..], ".."),
            (b".GIT", ".GIT"),
            (b"", ""),
            (b"a/b.yaml", "a/b.yaml"),
            (b"a\\b", "a\\\\b"),
            (b"a\nb", "a\\nb"),
            (b"a\x1b[31m", "a\\u{1b}[31m"),
            (b"\xff", "\u{fffd}"),
        ] {
            let (found, problem) = checked_name(name);
            assert_eq!(found, shown);
            assert!(problem.is_some(), "{name:?} must be refused");
        }
    }
}
