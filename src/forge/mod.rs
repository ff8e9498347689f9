//! The edge to forges: commit statuses, pull requests, comments and annotations on GitHub, GitLab, Gitea (Forgejo) and
//! Bitbucket Cloud.
//!
//! Nothing is tried twice here: each method makes its requests once, and its error says how to go on.

mod error;
mod settings;

use std::sync::Arc;

use crate::report::{Annotation, CommitStatus};

pub use error::ForgeError;
pub use settings::{DEFAULT_TIMEOUT, ForgeKind, ForgeSettings, Login};

/// The time in seconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// An open pull request, or merge request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Its number within the repository.
    pub number: u64,
    /// The commit at its head, in full.
    pub head: String,
    /// The branch that it is to be merged into.
    pub base: String,
    /// The ref of the repository that its head can be fetched by; none where the forge has none, as Bitbucket for forks.
    pub reference: Option<String>,
    /// The user name of who opened it; empty when that account is gone.
    pub author: String,
    /// Whether it comes from another repository.
    pub fork: bool,
    /// Its title: one line, else as written.
    pub title: String,
    /// Its page.
    pub url: String,
}

/// What became of annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Annotated {
    /// How many are at their lines now.
    pub shown: usize,
    /// How many could not be put at a line, because the pull request does not show it or there are too many.
    pub left_out: usize,
    /// Whether anything was sent for them now; an earlier call may have done it all.
    pub changed: bool,
}

/// One repository on a forge. Cloned handles share it.
#[derive(Clone)]
pub struct Forge {
    settings: Arc<ForgeSettings>,
}

impl Forge {
    /// Checks the settings and prepares for requests; sends none.
    pub fn new(settings: ForgeSettings, _clock: Clock) -> Result<Self, ForgeError> {
        Ok(Self { settings: Arc::new(settings) })
    }

    /// Returns which forge it is.
    pub fn kind(&self) -> ForgeKind {
        self.settings.kind
    }

    /// Returns a name for messages, such as `gitea acme/stores`.
    pub fn name(&self) -> String {
        format!("{} {}", self.settings.kind, self.settings.repository)
    }

    /// Sets a status on a commit. The newest one of a context counts, so that the same call again changes nothing.
    pub async fn set_status(&self, _commit: &str, _status: &CommitStatus) -> Result<(), ForgeError> {
        todo!()
    }

    /// Returns the open pull requests into a branch, newest first, at most 1,000.
    pub async fn open_pulls(&self, _base_branch: &str) -> Result<Vec<Pull>, ForgeError> {
        todo!()
    }

    /// Returns a pull request; none when there is none of this number, or it is not open any more.
    pub async fn pull(&self, _number: u64) -> Result<Option<Pull>, ForgeError> {
        todo!()
    }

    /// Tells whether the author of a pull request may push to the repository. Who can't be found may not.
    pub async fn may_write(&self, _pull: &Pull) -> Result<bool, ForgeError> {
        todo!()
    }

    /// Keeps one comment of ours on a pull request up to date: the oldest one that begins with the marker (a line with an
    /// HTML comment, put before the text) is edited, or one is made. Nothing is sent when it says the same already.
    pub async fn put_comment(&self, _pull: u64, _marker: &str, _text: &str) -> Result<(), ForgeError> {
        todo!()
    }

    /// Puts annotations at lines of a pull request's files, as the forge has it. The same ones for the same head are
    /// put once.
    pub async fn annotate(&self, _pull: &Pull, _annotations: &[Annotation]) -> Result<Annotated, ForgeError> {
        todo!()
    }
}
