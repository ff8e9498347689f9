//! What merging a pull request would give, worked out in memory and written as trees alone: no checkout, no merge
//! driver, no hook.
//!
//! libgit2's own merge walks every entry of all three trees, and a few hand-made trees that name each other have
//! more entries than anyone can walk. Here only what differs on both sides is looked into, and all of it is
//! bounded. A renamed file is a removal and an addition, which it is for a store too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use git2::{ErrorCode, MergeFileInput, ObjectType, Odb, Oid, Repository};

use super::error::GitError;
use super::mirror::find_commit;
use super::place::Failure;
use super::read::{MODE_FILE, MODE_FOLDER, MODE_KIND, checked_name};

/// The longest that one merge may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most tree entries that one merge looks at.
const ENTRIES_MAX: usize = 500_000;

/// How deep folders may lie.
const DEPTH_MAX: usize = 64;

/// The largest file that is merged line by line, and the most bytes of all such files; larger ones conflict when
/// both sides changed them.
const TEXT_MAX: usize = 1024 * 1024;
const TEXTS_MAX: usize = 32 * 1024 * 1024;

/// How far into a file a zero byte makes it no text, as in git.
const BINARY_LOOK: usize = 8000;

/// How many conflicts are named.
const CONFLICTS_NAMED: usize = 100;

/// How often criss-cross histories may have criss-cross histories.
const CROSSINGS_MAX: usize = 4;

/// What a merge gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// This tree.
    Tree(String),
    /// Nothing new: the branch has it all.
    AlreadyIn,
    /// Both sides changed these paths (a hundred at most), and neither change goes on top of the other.
    Conflicts(Vec<String>),
}

/// Works out what merging `head` into `base` gives.
pub(super) fn merge(repository: &Repository, base: &str, head: &str) -> Result<Merge, Failure> {
    let (base, head) = (find_commit(repository, base)?, find_commit(repository, head)?);
    let ancestors = common_ancestors(repository, base.id(), head.id())?;
    if ancestors.contains(&head.id()) {
        return Ok(Merge::AlreadyIn);
    }
    let mut merger = Merger {
        repository,
        objects: repository.odb()?,
        commit: head.id(),
        deadline: Instant::now() + PATIENCE,
        entries: 0,
        texts: 0,
        crossings: 0,
        conflicts: BTreeSet::new(),
    };
    let ancestor = merger.ancestor(&ancestors)?;
    let merged = merger.folders([Some(ancestor), Some(base.tree_id()), Some(head.tree_id())], "", 0)?;
    if !merger.conflicts.is_empty() {
        return Ok(Merge::Conflicts(merger.conflicts.into_iter().collect()));
    }
    let tree = merged.map_or_else(|| merger.write(&BTreeMap::new()), Ok)?;
    Ok(Merge::Tree(tree.to_string()))
}

struct Merger<'r> {
    repository: &'r Repository,
    objects: Odb<'r>,
    /// The commit that is merged, for errors.
    commit: Oid,
    deadline: Instant,
    entries: usize,
    texts: usize,
    /// How many criss-cross histories are being put together; their conflicts are nobody's.
    crossings: usize,
    conflicts: BTreeSet<String>,
}

/// The common ancestor's side, the branch's and the pull request's.
type Sides<T> = [Option<T>; 3];

/// The mode of an entry, as a tree holds it, and what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    mode: i32,
    id: Oid,
}

impl Entry {
    fn is(self, kind: i32) -> bool {
        self.mode & MODE_KIND == kind
    }
}

type Entries = BTreeMap<Vec<u8>, Entry>;

impl Merger<'_> {
    /// Returns the tree of the common ancestor. When there are several, they are merged, as git does.
    fn ancestor(&mut self, ancestors: &[Oid]) -> Result<Oid, Failure> {
        let Some((first, others)) = ancestors.split_first() else {
            return Err(self.unmergeable("it shares no history with the branch"));
        };
        let mut tree = self.repository.find_commit(*first)?.tree_id();
        if self.crossings == CROSSINGS_MAX {
            return Ok(tree);
        }
        for other in others {
            self.crossings += 1;
            let between = common_ancestors(self.repository, *first, *other)?;
            let between = if between.is_empty() { None } else { Some(self.ancestor(&between)?) };
            let other = self.repository.find_commit(*other)?.tree_id();
            let merged = self.folders([between, Some(tree), Some(other)], "", 0)?;
            tree = merged.map_or_else(|| self.write(&BTreeMap::new()), Ok)?;
            self.crossings -= 1;
        }
        Ok(tree)
    }

    /// Merges folders; none: there is none, or nothing is left in it.
    fn folders(&mut self, sides: Sides<Oid>, path: &str, depth: usize) -> Result<Option<Oid>, Failure> {
        if let Resolved::To(settled) = resolve(sides) {
            return Ok(settled);
        }
        if depth > DEPTH_MAX {
            return Err(self.unmergeable("its folders lie too deep in each other"));
        }
        let mut entries = [Entries::new(), Entries::new(), Entries::new()];
        for (entries, id) in entries.iter_mut().zip(sides) {
            match id.map(|id| self.read(id)).transpose()?.flatten() {
                Some(read) => *entries = read,
                None if id.is_none() => {}
                None => {
                    self.conflict(path);
                    return Ok(sides[1]);
                }
            }
        }
        let names: BTreeSet<_> = entries.iter().flat_map(BTreeMap::keys).cloned().collect();
        let mut merged = Entries::new();
        for name in names {
            let sides = [0, 1, 2].map(|side| entries[side].get(&name).copied());
            let shown = checked_name(&name).0;
            let path = if path.is_empty() { shown } else { format!("{path}/{shown}") };
            if let Some(entry) = self.entry(sides, &path, depth)? {
                merged.insert(name, entry);
            }
        }
        if merged.is_empty() { Ok(None) } else { self.write(&merged).map(Some) }
    }

    fn entry(&mut self, sides: Sides<Entry>, path: &str, depth: usize) -> Result<Option<Entry>, Failure> {
        if let Resolved::To(settled) = resolve(sides) {
            return Ok(settled);
        }
        let folder = |side: Option<Entry>| side.filter(|entry| entry.is(MODE_FOLDER));
        let file = |side: Option<Entry>| side.filter(|entry| !entry.is(MODE_FOLDER));
        let folder = self.folders(sides.map(|side| folder(side).map(|entry| entry.id)), path, depth + 1)?;
        let file = self.files(sides.map(file), path)?;
        match (folder, file) {
            // In a crossing the file gives way, as in git.
            (Some(_), Some(_)) if self.crossings == 0 => {
                self.conflict(path);
                Ok(None)
            }
            (Some(id), _) => Ok(Some(Entry { mode: MODE_FOLDER, id })),
            (None, file) => Ok(file),
        }
    }

    /// Merges what is no folder.
    fn files(&mut self, sides: Sides<Entry>, path: &str) -> Result<Option<Entry>, Failure> {
        if let Resolved::To(settled) = resolve(sides) {
            return Ok(settled);
        }
        if let [Some(base), Some(ours), Some(theirs)] = sides
            && ours.is(MODE_FILE)
            && theirs.is(MODE_FILE)
            && let Resolved::To(Some(mode)) = resolve([base, ours, theirs].map(|entry| Some(entry.mode)))
        {
            let ids = [base, ours, theirs].map(|entry| entry.id);
            let id = match resolve(ids.map(Some)) {
                Resolved::To(Some(id)) => Some(id),
                _ if base.is(MODE_FILE) => self.text(ids)?,
                _ => None,
            };
            if let Some(id) = id {
                return Ok(Some(Entry { mode, id }));
            }
        }
        if self.crossings == 0 {
            self.conflict(path);
            return Ok(sides[1]);
        }
        // In a crossing: what nobody has, so that both sides differ from it. As bytes it is merged with nothing.
        let id = self.objects.write(ObjectType::Blob, format!("\0{path}").as_bytes())?;
        Ok(Some(Entry { mode: MODE_FILE | 0o644, id }))
    }

    /// Merges a text line by line; none: it can't be.
    fn text(&mut self, ids: [Oid; 3]) -> Result<Option<Oid>, Failure> {
        self.check_time()?;
        for id in ids {
            let (size, kind) = self.objects.read_header(id)?;
            self.texts = self.texts.saturating_add(size);
            if kind != ObjectType::Blob || size > TEXT_MAX || self.texts > TEXTS_MAX {
                return Ok(None);
            }
        }
        let [base, ours, theirs] =
            [self.objects.read(ids[0])?, self.objects.read(ids[1])?, self.objects.read(ids[2])?];
        let is_binary = |data: &[u8]| data.iter().take(BINARY_LOOK).any(|byte| *byte == 0);
        if [&base, &ours, &theirs].iter().any(|object| is_binary(object.data())) {
            return Ok(None);
        }
        let mut inputs = [MergeFileInput::new(), MergeFileInput::new(), MergeFileInput::new()];
        inputs[0].content(base.data());
        inputs[1].content(ours.data());
        inputs[2].content(theirs.data());
        let merged = git2::merge_file(&inputs[0], &inputs[1], &inputs[2], None)?;
        if !merged.is_automergeable() && self.crossings == 0 {
            return Ok(None);
        }
        // In a crossing the conflict's marks stay, so that they conflict with who changes the same lines.
        Ok(Some(self.objects.write(ObjectType::Blob, merged.content())?))
    }

    /// Reads a tree; none: it names an entry twice.
    fn read(&mut self, id: Oid) -> Result<Option<Entries>, Failure> {
        self.check_time()?;
        let tree = self.repository.find_tree(id)?;
        self.entries += tree.len();
        if self.entries > ENTRIES_MAX {
            return Err(self.unmergeable("too many files differ"));
        }
        let entries = tree
            .iter()
            .map(|entry| (entry.name_bytes().to_vec(), Entry { mode: entry.filemode_raw(), id: entry.id() }));
        let entries: Entries = entries.collect();
        Ok(Some(entries).filter(|entries| entries.len() == tree.len()))
    }

    /// Writes a tree as its entries were, names that git would refuse included: whoever reads it judges them.
    fn write(&self, entries: &Entries) -> Result<Oid, Failure> {
        let mut sorted: Vec<_> = entries.iter().collect();
        // In a tree a folder stands where its name with a slash would.
        sorted.sort_by_cached_key(|(name, entry)| {
            let mut name = (*name).clone();
            if entry.is(MODE_FOLDER) {
                name.push(b'/');
            }
            name
        });
        let mut bytes = Vec::new();
        for (name, entry) in sorted {
            bytes.extend(format!("{:o} ", entry.mode).into_bytes());
            bytes.extend(name);
            bytes.push(0);
            bytes.extend(entry.id.as_bytes());
        }
        Ok(self.objects.write(ObjectType::Tree, &bytes)?)
    }

    fn conflict(&mut self, path: &str) {
        if self.crossings == 0 && self.conflicts.len() < CONFLICTS_NAMED {
            self.conflicts.insert(path.to_owned());
        }
    }

    fn check_time(&self) -> Result<(), Failure> {
        if Instant::now() > self.deadline { Err(self.unmergeable("it takes too long")) } else { Ok(()) }
    }

    fn unmergeable(&self, reason: &'static str) -> Failure {
        GitError::Unmergeable { commit: self.commit.to_string(), reason }.into()
    }
}

fn common_ancestors(repository: &Repository, one: Oid, other: Oid) -> Result<Vec<Oid>, git2::Error> {
    match repository.merge_bases(one, other) {
        Ok(found) => Ok(found.to_vec()),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What becomes of something without a look inside.
enum Resolved<T> {
    /// This, or nothing: both sides have it, or only one of them changed it.
    To(Option<T>),
    /// Both sides changed it.
    Open,
}

fn resolve<T: PartialEq + Copy>([base, ours, theirs]: Sides<T>) -> Resolved<T> {
    if ours == theirs || theirs == base {
        Resolved::To(ours)
    } else if ours == base {
        Resolved::To(theirs)
    } else {
        Resolved::Open
    }
}
