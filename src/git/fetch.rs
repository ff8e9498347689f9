//! Fetching the branch of a source into its mirror.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use git2::{AutotagOption, FetchOptions, Oid, Repository};
use tracing::{info, warn};

use super::error::{GitError, one_line};
use super::mirror::{GOOD_REFERENCE, HEAD_REFERENCE, Mirror, find_commit};
use super::place::{create_repository, incoming_path, open_repository, remove_folder};
use super::session::{Session, percent_encoded};
use super::settings::{Auth, SourceSettings};

/// How many packs a mirror may be in before it is fetched anew, once nothing new is there. Each changed fetch
/// leaves one.
const PACKS_MAX: usize = 64;

/// How many packs it may be in while there is news at each fetch: whoever pushes waits for it.
const PACKS_MAX_BUSY: usize = 512;

/// Tells what a fetch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The commit that the branch is at.
    pub commit: String,
    /// Whether it is another one than the fetch before found.
    pub changed: bool,
    /// Whether the commit before is not among its ancestors: history was rewritten.
    pub forced: bool,
    /// Where the pull or merge requests are, by number, closed ones too: they stood in the same list of refs. The
    /// same allocation as long as nothing of it changed.
    pub pulls: Arc<BTreeMap<u64, String>>,
}

impl Mirror {
    /// Fetches the branch and returns the commit it is at.
    ///
    /// The remote is asked for its refs first; when the branch has not moved nothing else is sent. The mirror's
    /// head moves only when all objects are there. After an error the mirror is as it was before.
    pub fn fetch(&self) -> Result<Head, GitError> {
        let _only_one = self.one_fetch();
        self.fetch_or_rebuild().map(|head| self.settle(head))
    }

    fn fetch_or_rebuild(&self) -> Result<Head, GitError> {
        if self.place.is_damaged() {
            warn!(mirror.folder = %self.place.folder.display(), "the mirror is damaged: fetching it anew");
            return self.rebuild();
        }
        if self.packs() > PACKS_MAX_BUSY {
            return self.put_together();
        }
        let result = {
            let _held = self.place.hold();
            fetch_into(&self.place.repository(), &self.place.folder, &self.settings, &self.current_auth())
        };
        match result {
            Err(GitError::Corrupt { folder: _, reason }) => {
                warn!(mirror.folder = %self.place.folder.display(), reason, "the mirror is damaged: fetching it anew");
                self.rebuild()
            }
            // What is there is whole: failing to make it faster to read is no failure.
            Ok(head) if !head.changed && self.packs() > PACKS_MAX => self.put_together().or(Ok(head)),
            result => result,
        }
    }

    /// Gives the heads of pull requests that were seen before when these are the same.
    fn settle(&self, head: Head) -> Head {
        let mut known = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != head.pulls {
            known.clone_from(&head.pulls);
        }
        Head { pulls: Arc::clone(&known), ..head }
    }

    /// Fetches everything anew, into one pack.
    fn put_together(&self) -> Result<Head, GitError> {
        info!(mirror.folder = %self.place.folder.display(), "the mirror is in many pieces: fetching it anew");
        self.rebuild()
    }

    /// Fetches everything anew beside the repository and then takes its place, so that what is readable stays
    /// until there is something better.
    fn rebuild(&self) -> Result<Head, GitError> {
        let (before, good) = (self.head().ok().flatten(), self.last_good().ok().flatten());
        let incoming = incoming_path(&self.place.folder);
        remove_folder(&incoming)?;
        create_repository(&incoming)?;
        let mut head = fetch_into(&incoming, &self.place.folder, &self.settings, &self.current_auth())
            .map_err(|error| {
                match error {
                    // A fresh repository is not damaged: what was received is.
                    GitError::Corrupt { folder: _, reason } => {
                        GitError::RemoteBroken { remote: self.settings.url.to_string(), reason }
                    }
                    other => other,
                }
            })?;
        if let Some(good) = good
            && let Err(error) = carry_over(&good, &self.place.repository(), &incoming)
        {
            let reason = one_line(error.message(), 200);
            warn!(git.commit = good, reason, "the last good commit was lost with the old mirror");
        }
        self.place.take(&incoming)?;
        head.changed = before.as_ref() != Some(&head.commit);
        head.forced = match before {
            Some(before) if head.changed => !self.is_ancestor(&before, &head.commit),
            _ => false,
        };
        Ok(head)
    }

    /// Counts the packs that fetches left: libgit2 does not repack, and reading suffers from many.
    fn packs(&self) -> usize {
        let Ok(entries) = fs::read_dir(self.place.repository().join("objects/pack")) else { return 0 };
        let is_pack = |path: &Path| path.extension().is_some_and(|extension| extension == "pack");
        entries.flatten().filter(|entry| is_pack(&entry.path())).count()
    }

    fn is_ancestor(&self, old: &str, new: &str) -> bool {
        let answer = self.place.with_repository(|repository| {
            let (old, new) = (find_commit(repository, old)?.id(), find_commit(repository, new)?.id());
            Ok(repository.graph_descendant_of(new, old)?)
        });
        answer.unwrap_or(false)
    }
}

/// Brings the last good commit into a new repository: from there when its history still holds it, otherwise
/// from the old one.
fn carry_over(good: &str, old: &Path, new: &Path) -> Result<(), git2::Error> {
    let repository = open_repository(new)?;
    let id = Oid::from_str(good)?;
    if check_complete(&repository, id).is_err() {
        let refspec = format!("+{GOOD_REFERENCE}:{GOOD_REFERENCE}");
        let mut remote = repository.remote_anonymous(&format!("file://{}", percent_encoded(old)))?;
        remote.download(&[refspec], Some(FetchOptions::new().download_tags(AutotagOption::None)))?;
        check_complete(&repository, id)?;
    }
    repository.reference(GOOD_REFERENCE, id, true, "carried over").map(|_| ())
}

fn fetch_into(path: &Path, folder: &Path, settings: &SourceSettings, auth: &Auth) -> Result<Head, GitError> {
    let corrupt = |error: &git2::Error| GitError::Corrupt {
        folder: folder.to_owned(),
        reason: one_line(error.message(), 200),
    };
    let repository = open_repository(path).map_err(|error| corrupt(&error))?;
    let session = Session::start(settings, auth)?;
    let mut remote = session.remote(&repository)?;
    let mut connection = session.connect(&mut remote)?;
    let (id, pulls) = session.find_branch(connection.remote())?;
    let pulls = Arc::new(pulls);
    let before = repository.refname_to_id(HEAD_REFERENCE).ok();
    if before == Some(id) {
        check_complete(&repository, id).map_err(|error| corrupt(&error))?;
        return Ok(Head { commit: id.to_string(), changed: false, forced: false, pulls });
    }
    let refspec = format!("+refs/heads/{}:{HEAD_REFERENCE}", settings.branch);
    session.download(&repository, connection.remote(), &[(refspec, id)], folder)?;
    check_complete(&repository, id)
        .map_err(|error| session.broken(&format!("commit {id} came incomplete: {}", error.message())))?;
    let forced = before.is_some_and(|before| !repository.graph_descendant_of(id, before).unwrap_or(false));
    repository.reference(HEAD_REFERENCE, id, true, "fetched").map_err(|error| corrupt(&error))?;
    Ok(Head { commit: id.to_string(), changed: true, forced, pulls })
}

/// Checks that a commit and its tree are there, and that it is a commit.
pub(super) fn check_complete(repository: &Repository, id: Oid) -> Result<(), git2::Error> {
    repository.find_commit(id)?.tree().map(|_| ())
}
