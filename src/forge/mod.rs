//! The edge to forges: commit statuses, pull requests, comments and annotations on GitHub, GitLab, Gitea (Forgejo) and
//! Bitbucket Cloud.
//!
//! Nothing is tried twice here: each method makes its requests once, and its error says how to go on. Called again after
//! an answer was lost, it finds what it did. What is sent is data of a request's body; of it, nothing gets into URLs or
//! headers.
//!
//! - `settings`: what the operator says; `login`: tokens and GitHub Apps; `secret`: what can't be printed
//! - `wire`: one request and its bounds; `wait`: how long a forge asks to wait; `error`: why it failed
//! - `client`: requests with a login, page by page
//! - `github`, `gitlab`, `gitea`, `bitbucket`: what each forge calls it; `github_notes`, `gitlab_notes`,
//!   `gitea_notes`, `bitbucket_report`: how it annotates lines
//! - `text`: markers and blocks of code; `lines`: which lines a diff shows

mod bitbucket;
mod bitbucket_report;
mod client;
mod error;
mod gitea;
mod gitea_notes;
mod github;
mod github_notes;
mod gitlab;
mod gitlab_notes;
mod lines;
mod login;
mod secret;
mod settings;
mod text;
mod wait;
mod wire;

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::report::{Annotation, CommitStatus};

use bitbucket::Bitbucket;
use client::Client;
use gitea::Gitea;
use github::GitHub;
use gitlab::GitLab;

pub use error::ForgeError;
pub use settings::{DEFAULT_TIMEOUT, ForgeKind, ForgeSettings, Login};

/// The most open pull requests that are listed.
pub const PULLS_MAX: usize = 1_000;

/// The most annotations that become comments of one call, each of which somebody is told of.
pub const COMMENTS_MAX: usize = 50;

/// The most annotations in a check run or report.
pub const NOTES_MAX: usize = 1_000;

/// The longest title of a pull request.
const TITLE_MAX: usize = 250;

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
    /// The user name of who opened it; empty when that account is gone. On Bitbucket a nickname, which is not unique.
    pub author: String,
    /// Whether it comes from another repository.
    pub fork: bool,
    /// Its title: one line, else as written.
    pub title: String,
    /// Its page; empty when the forge names none.
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
pub struct Forge(Arc<Api>);

enum Api {
    GitHub(GitHub),
    GitLab(GitLab),
    Gitea(Gitea),
    Bitbucket(Bitbucket),
}

/// Calls a method of whichever forge it is.
macro_rules! on {
    ($forge:expr, $api:ident => $call:expr) => {
        match &*$forge.0 {
            Api::GitHub($api) => $call,
            Api::GitLab($api) => $call,
            Api::Gitea($api) => $call,
            Api::Bitbucket($api) => $call,
        }
    };
}

impl Forge {
    /// Checks the settings and prepares for requests; sends none. Of the files only that of authorities is read now.
    pub fn new(settings: ForgeSettings, clock: Clock) -> Result<Self, ForgeError> {
        let client = Client::new(&settings, clock)?;
        let parts = settings.repository()?;
        let (owner, repo) =
            (parts.first().cloned().unwrap_or_default(), parts.last().cloned().unwrap_or_default());
        Ok(Self(Arc::new(match settings.kind {
            ForgeKind::GitHub => Api::GitHub(GitHub { client, owner, repo }),
            ForgeKind::GitLab => Api::GitLab(GitLab { client, project: settings.repository }),
            ForgeKind::Gitea => Api::Gitea(Gitea { client, owner, repo }),
            ForgeKind::Bitbucket => {
                Api::Bitbucket(Bitbucket { client, workspace: owner, repo, heads: Mutex::default() })
            }
        })))
    }

    /// Returns which forge it is.
    pub fn kind(&self) -> ForgeKind {
        on!(self, api => api.client.kind())
    }

    /// Returns a name for messages, such as `gitea acme/stores`.
    pub fn name(&self) -> String {
        on!(self, api => api.client.name().to_owned())
    }

    /// Sets a status on a commit. The newest one of a context counts, so that the same call again changes nothing.
    pub async fn set_status(&self, commit: &str, status: &CommitStatus) -> Result<(), ForgeError> {
        on!(self, api => api.set_status(commit, status).await)
    }

    /// Returns the open pull requests into a branch, newest first, at most [`PULLS_MAX`].
    pub async fn open_pulls(&self, base_branch: &str) -> Result<Vec<Pull>, ForgeError> {
        on!(self, api => api.open_pulls(base_branch).await)
    }

    /// Returns a pull request; none when there is none of this number, or it is not open any more.
    pub async fn pull(&self, number: u64) -> Result<Option<Pull>, ForgeError> {
        on!(self, api => api.pull(number).await)
    }

    /// Tells whether the author of a pull request may push to the repository. Who can't be found may not.
    pub async fn may_write(&self, pull: &Pull) -> Result<bool, ForgeError> {
        on!(self, api => api.may_write(pull).await)
    }

    /// Keeps one comment of ours on a pull request up to date: the oldest one that begins with the marker (a line with an
    /// HTML comment, put before the text) is edited, or one is made. Nothing is sent when it says the same already. The
    /// text is Markdown; one that is longer than [`ForgeKind::comment_max`] is cut.
    pub async fn put_comment(&self, pull: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        on!(self, api => api.put_comment(pull, marker, text).await)
    }

    /// Puts annotations at lines of a pull request's files, as the forge has it. The same ones for the same head are
    /// put once. Without any, what an earlier call put there is taken back where the forge lets that be done: GitHub as an
    /// App, GitLab and Bitbucket.
    pub async fn annotate(&self, pull: &Pull, annotations: &[Annotation]) -> Result<Annotated, ForgeError> {
        on!(self, api => api.annotate(pull, annotations).await)
    }
}

impl fmt::Debug for Forge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forge({})", self.name())
    }
}
