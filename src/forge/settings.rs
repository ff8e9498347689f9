//! What the operator says about a forge.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How long one request may take.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// The forges that storekeeper talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForgeKind {
    /// GitHub, also Enterprise Server.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
    /// Bitbucket Cloud.
    Bitbucket,
}

impl ForgeKind {
    /// Every forge.
    pub const ALL: [Self; 4] = [Self::GitHub, Self::GitLab, Self::Gitea, Self::Bitbucket];

    /// Returns the forge's name as settings write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::Bitbucket => "bitbucket",
        }
    }
}

impl fmt::Display for ForgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ForgeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forgejo" {
            return Ok(Self::Gitea);
        }
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no forge: use github, gitlab, gitea, forgejo or bitbucket"))
    }
}

/// Says who storekeeper is on the forge. The files are read at each use, so that they may be replaced at any time.
#[derive(Debug, Clone)]
pub enum Login {
    /// A token. For Bitbucket `user:token` in the file means Basic authentication.
    Token {
        /// The file that holds it.
        file: PathBuf,
    },
    /// A GitHub App that is installed on the repository.
    App {
        /// The App's id or client id.
        id: String,
        /// The PEM file of the App's private key.
        key_file: PathBuf,
    },
}

/// Describes one repository on a forge.
#[derive(Debug, Clone)]
pub struct ForgeSettings {
    /// Which forge.
    pub kind: ForgeKind,
    /// The base URL of its API, such as `https://git.example.com/api/v1`; the public one if there is none. Gitea has no
    /// public one.
    pub api: Option<String>,
    /// The repository: `owner/name`, on GitLab also `group/subgroup/name`.
    pub repository: String,
    /// Who storekeeper is.
    pub login: Login,
    /// A PEM file of authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
}
