//! The commits of pull requests, apart from the mirror that stores come from: whoever may open a pull request
//! decides what lies here, and nothing of it may stop the branch from being followed.
//!
//! ```text
//! <folder>/storekeeper-pulls   whose pull requests these are; locked while a process uses them
//! <folder>/repository          a bare repository that borrows the mirror's objects
//! <folder>/repository.incoming what a fetch brings, until it has been looked at
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use git2::{ObjectType, Odb, Oid, Repository};
use tracing::{info, warn};

use super::claim::Claim;
use super::error::GitError;
use super::fetch::check_complete;
use super::merge::{self, Merge};
use super::mirror::{check_auth, check_settings, remove_stale_files};
use super::place::{
    Place, create_repository, incoming_path, open_repository, remove_folder, repository_path,
};
use super::read::Blobs;
use super::session::Session;
use super::settings::{Auth, SourceSettings};

/// The most bytes that one fetch of pull requests may receive: 64 MiB.
pub const DEFAULT_MAX_PULL_BYTES: u64 = 64 * 1024 * 1024;

/// The most objects that one fetch may receive.
const OBJECTS_MAX: usize = 100_000;

/// The largest commit or folder in bytes: one of this size holds a quarter of a million files.
const STRUCTURE_MAX: usize = 8 * 1024 * 1024;

/// How large the folder may get before it is emptied.
const FOLDER_BYTES: u64 = 256 * 1024 * 1024;

/// How many packs may lie in it before it is emptied: libgit2 does not repack, and reading suffers from many.
const PACKS_MAX: usize = 256;

/// What a file takes on a disk at least.
const BLOCK: u64 = 4096;

/// How long a folder that was emptied for its damage is not emptied for that again: what can't be read may be as
/// its author wants it.
const DAMAGE_PAUSE: Duration = Duration::from_mins(10);

/// Marks a folder as ours, says in words what it is, and is what a process locks.
const MARKER: &str = "storekeeper-pulls";

/// Where the heads are.
const PULL_REFERENCES: &str = "refs/storekeeper/pull/";

/// The branch's commit, so that the remote sends nothing that the mirror has.
const BASE_REFERENCE: &str = "refs/storekeeper/base";

/// The head of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRef {
    /// The number.
    pub number: u64,
    /// The remote's ref, such as `refs/pull/7/head`.
    pub reference: String,
    /// The commit that it was seen at.
    pub commit: String,
}

/// Holds the commits of pull requests. All methods block; one fetch runs at a time.
///
/// The folder is disposable: it is emptied when it is damaged or too large, and what is missing is fetched again.
#[derive(Debug)]
pub struct Pulls {
    place: Place,
    settings: SourceSettings,
    auth: Mutex<Auth>,
    /// The objects of the mirror.
    borrowed: PathBuf,
    /// Held by a fetch, so that there is one at a time. Holds when the folder was emptied for its damage last.
    fetching: Mutex<Option<Instant>>,
    _claim: Claim,
}

impl Pulls {
    /// Opens the folder, and makes it when there is none. `mirror_folder` is the folder of the source's mirror.
    ///
    /// The limit on the bytes of a fetch is the one of the settings, or [`DEFAULT_MAX_PULL_BYTES`] when that is
    /// less.
    pub fn open(folder: &Path, settings: SourceSettings, mirror_folder: &Path) -> Result<Self, GitError> {
        check_settings(&settings)?;
        let absolute = |path: &Path| {
            let storage = |source| GitError::Storage { action: "resolve", path: path.to_owned(), source };
            std::path::absolute(path).map_err(storage)
        };
        let (folder, mirror_folder) = (absolute(folder)?, absolute(mirror_folder)?);
        let claim = Claim::take(&folder, MARKER, "copy of pull requests", &settings)?;
        let pulls = Self {
            auth: Mutex::new(settings.auth.clone()),
            settings: SourceSettings {
                max_fetch_bytes: settings.max_fetch_bytes.min(DEFAULT_MAX_PULL_BYTES),
                ..settings
            },
            borrowed: repository_path(&mirror_folder).join("objects"),
            fetching: Mutex::new(None),
            place: Place::new(&folder),
            _claim: claim,
        };
        let repository = pulls.place.repository();
        remove_stale_files(&repository);
        if open_repository(&repository).is_err() {
            pulls.empty()?;
        }
        borrow(&repository, &pulls.borrowed)?;
        Ok(pulls)
    }

    /// Replaces the login, for a token or key that rotates.
    pub fn set_auth(&self, auth: Auth) -> Result<(), GitError> {
        check_auth(&self.settings, &auth)?;
        *self.auth.lock().unwrap_or_else(PoisonError::into_inner) = auth;
        Ok(())
    }

    /// Fetches heads in one conversation and returns what each of them is at, which may be another commit than it
    /// was seen at. One that the remote lists no more, or that is no commit, is missing in the answer.
    ///
    /// `have` is the branch's commit, which the mirror holds. When one head is too large, the fetch of all fails:
    /// ask for them one by one then.
    pub fn fetch(&self, wanted: &[PullRef], have: &str) -> Result<BTreeMap<u64, String>, GitError> {
        let mut mended = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        self.empty_if_large()?;
        if !self.place.is_damaged() {
            match self.converse(wanted, have) {
                Err(GitError::Corrupt { folder: _, reason }) => {
                    warn!(reason, "the copy of pull requests is damaged");
                    self.place.mark_damaged();
                }
                fetched => return fetched,
            }
        }
        if mended.is_none_or(|mended| mended.elapsed() > DAMAGE_PAUSE) {
            *mended = Some(Instant::now());
            info!(pulls.folder = %self.place.folder.display(), "the copy of pull requests is fetched anew");
            self.empty()?;
        }
        self.converse(wanted, have)
    }

    /// Works out what merging a commit into the branch's gives, without fetching anything.
    pub fn merge(&self, base: &str, head: &str) -> Result<Merge, GitError> {
        self.place.with_repository(|repository| merge::merge(repository, base, head))
    }

    /// Opens the objects for reading, those of the mirror included.
    pub fn blobs(&self) -> Result<Blobs<'_>, GitError> {
        Blobs::open(&self.place)
    }

    /// Forgets the heads of pull requests but these, and empties the folder when it is too large: what is missing
    /// then is fetched when it is asked for.
    pub fn keep_only(&self, numbers: &BTreeSet<u64>) -> Result<(), GitError> {
        let _only_one = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        self.place.with_repository(|repository| {
            for reference in repository.references_glob(&format!("{PULL_REFERENCES}*"))? {
                let mut reference = reference?;
                let number =
                    reference.name().ok().and_then(|name| name.strip_prefix(PULL_REFERENCES)?.parse().ok());
                if !number.is_some_and(|number| numbers.contains(&number)) {
                    reference.delete()?;
                }
            }
            Ok(())
        })?;
        self.empty_if_large()
    }

    /// Fetches beside the repository, looks at what came, and takes it over.
    fn converse(&self, wanted: &[PullRef], have: &str) -> Result<BTreeMap<u64, String>, GitError> {
        let _held = self.place.hold();
        let (own, incoming) = (self.place.repository(), incoming_path(&self.place.folder));
        let corrupt = |error: git2::Error| self.place.corrupt(&error);
        let repository = open_repository(&own).map_err(corrupt)?;
        remove_folder(&incoming)?;
        create_repository(&incoming)?;
        borrow(&incoming, &own.join("objects"))?;
        let quarantine = open_repository(&incoming).map_err(corrupt)?;
        advertise(&quarantine, &repository, wanted, have).map_err(corrupt)?;
        let listed = self.download(&quarantine, wanted)?;
        check_sizes(&incoming.join("objects"), &listed)?;
        take_over(&incoming, &own)?;
        remove_folder(&incoming)?;
        // Opened before the new objects came.
        repository.odb().and_then(|objects| objects.refresh()).map_err(corrupt)?;
        let mut fetched = BTreeMap::new();
        for (pull, id) in listed {
            let kind = repository.find_object(id, None).map_err(corrupt)?.kind();
            if kind != Some(ObjectType::Commit) {
                warn!(pull.number = pull.number, git.object = %id, "the head of a pull request is no commit");
                continue;
            }
            check_complete(&repository, id).map_err(corrupt)?;
            repository.reference(&reference(pull.number), id, true, "fetched").map_err(corrupt)?;
            fetched.insert(pull.number, id.to_string());
        }
        Ok(fetched)
    }

    /// Returns which of the wanted heads the remote has, and where.
    fn download<'w>(
        &self,
        quarantine: &Repository,
        wanted: &'w [PullRef],
    ) -> Result<Vec<(&'w PullRef, Oid)>, GitError> {
        let auth = self.auth.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut session = Session::start(&self.settings, &auth)?;
        session.max_objects = OBJECTS_MAX;
        let mut remote = session.remote(quarantine)?;
        let mut connection = session.connect(&mut remote)?;
        let listed = session.find(connection.remote(), wanted)?;
        let refspecs: Vec<_> = listed
            .iter()
            .map(|(pull, id)| (format!("+{}:{}", pull.reference, reference(pull.number)), *id))
            .collect();
        if !refspecs.is_empty() {
            session.download(quarantine, connection.remote(), &refspecs, &self.place.folder)?;
        }
        Ok(listed)
    }

    fn empty_if_large(&self) -> Result<(), GitError> {
        let (bytes, packs) = occupied(&self.place.repository());
        if bytes <= FOLDER_BYTES && packs <= PACKS_MAX {
            return Ok(());
        }
        info!(pulls.folder = %self.place.folder.display(), bytes, packs, "the copy of pull requests is large: emptied");
        self.empty()
    }

    /// Puts an empty repository in the place of the one that is there.
    fn empty(&self) -> Result<(), GitError> {
        let incoming = incoming_path(&self.place.folder);
        remove_folder(&incoming)?;
        create_repository(&incoming)?;
        borrow(&incoming, &self.borrowed)?;
        self.place.take(&incoming)
    }
}

fn reference(number: u64) -> String {
    format!("{PULL_REFERENCES}{number}")
}

/// Makes other objects readable from a repository.
fn borrow(repository: &Path, objects: &Path) -> Result<(), GitError> {
    let path = repository.join("objects/info/alternates");
    let mut line = objects.as_os_str().as_encoded_bytes().to_vec();
    line.push(b'\n');
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(&path, line));
    written.map_err(|source| GitError::Storage { action: "write", path, source })
}

/// Says what is had: the branch's commit, and where the heads were before.
fn advertise(
    quarantine: &Repository,
    repository: &Repository,
    wanted: &[PullRef],
    have: &str,
) -> Result<(), git2::Error> {
    let id = Oid::from_str(have)?;
    // The mirror may have been made anew in between: then more is sent.
    if quarantine.find_commit(id).is_ok() {
        quarantine.reference(BASE_REFERENCE, id, true, "the branch")?;
    }
    for name in wanted.iter().map(|pull| reference(pull.number)) {
        if let Ok(before) = repository.refname_to_id(&name) {
            quarantine.reference(&name, before, true, "the head before")?;
        }
    }
    Ok(())
}

/// Refuses commits and folders that are larger than any should be: they are read into memory as a whole, and a pack holds
/// a thousand times its size.
fn check_sizes(objects: &Path, listed: &[(&PullRef, Oid)]) -> Result<(), GitError> {
    let too_large = || -> Result<bool, git2::Error> {
        let (own, mut ids) = (Odb::new()?, Vec::new());
        own.add_disk_alternate(&objects.to_string_lossy())?;
        own.foreach(|id| {
            ids.push(*id);
            true
        })?;
        for id in ids {
            let (size, kind) = own.read_header(id)?;
            if kind != ObjectType::Blob && size > STRUCTURE_MAX {
                return Ok(true);
            }
        }
        Ok(false)
    };
    // What can't be told is refused too: nothing of it lies with the others yet.
    if too_large().unwrap_or(true) {
        let commit = listed.first().map(|(_, id)| id.to_string()).unwrap_or_default();
        return Err(GitError::Unmergeable {
            commit,
            reason: "it holds commits or folders that are too large",
        });
    }
    Ok(())
}

/// Moves the packs that came, each before the index that makes it known.
fn take_over(incoming: &Path, repository: &Path) -> Result<(), GitError> {
    let (from, to) = (incoming.join("objects/pack"), repository.join("objects/pack"));
    let storage = |source| GitError::Storage { action: "move packs into", path: to.clone(), source };
    let mut files: Vec<_> =
        fs::read_dir(&from).map_err(storage)?.flatten().map(|entry| entry.file_name()).collect();
    files.sort_by_key(|name| name.to_string_lossy().ends_with(".idx"));
    for name in files {
        fs::rename(from.join(&name), to.join(&name)).map_err(storage)?;
    }
    Ok(())
}

/// Counts the bytes that a folder takes on the disk, and the packs in it.
fn occupied(folder: &Path) -> (u64, usize) {
    let Ok(entries) = fs::read_dir(folder) else { return (0, 0) };
    let (mut bytes, mut packs) = (0, 0);
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            let (inner_bytes, inner_packs) = occupied(&entry.path());
            (bytes, packs) = (bytes + inner_bytes, packs + inner_packs);
        } else {
            bytes += metadata.len().next_multiple_of(BLOCK);
            packs += usize::from(entry.path().extension().is_some_and(|extension| extension == "pack"));
        }
    }
    (bytes, packs)
}
