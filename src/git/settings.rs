//! What the operator says about a source.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::url::RemoteUrl;

/// How long a remote may stay silent before a fetch gives up.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes that one fetch may receive: 512 MiB, far more than any repository of store files.
pub const DEFAULT_MAX_FETCH_BYTES: u64 = 512 * 1024 * 1024;

/// The user name that goes with a token when none is set. GitHub wants exactly this one; GitLab, Gitea and
/// Forgejo take any.
pub const DEFAULT_TOKEN_USERNAME: &str = "x-access-token";

/// Describes a source: the repository, the branch, and how to reach them.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Where the repository is.
    pub url: RemoteUrl,
    /// The branch to follow, without `refs/heads/`.
    pub branch: String,
    /// How to log in.
    pub auth: Auth,
    /// A PEM file of certificate authorities that are trusted besides the system's, for https.
    pub ca_file: Option<PathBuf>,
    /// How long the remote may stay silent before a fetch fails. A whole fetch may take twenty times as long.
    pub timeout: Duration,
    /// The most bytes that one fetch may receive.
    pub max_fetch_bytes: u64,
    /// Which refs are the heads of pull requests.
    pub pulls: PullNames,
}

/// Says which refs are the heads of pull requests: each forge keeps its own names to itself, and lets people push
/// to the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullNames {
    /// Either name, for a forge that is not known; of a number that has both, `refs/pull` counts.
    Any,
    /// `refs/pull/N/head`: GitHub, Gitea, Forgejo.
    Pull,
    /// `refs/merge-requests/N/head`: GitLab.
    MergeRequest,
}

impl SourceSettings {
    /// Describes a source that needs no login, with the defaults for everything else.
    pub fn new(url: RemoteUrl, branch: &str) -> Self {
        Self {
            url,
            branch: branch.to_owned(),
            auth: Auth::Anonymous,
            ca_file: None,
            timeout: DEFAULT_TIMEOUT,
            max_fetch_bytes: DEFAULT_MAX_FETCH_BYTES,
            pulls: PullNames::Any,
        }
    }
}

/// Says how to log in to a remote.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Without a login: public https repositories and local ones.
    Anonymous,
    /// With a token over https, sent only to the host in the source's URL.
    Token {
        /// The user name, [`DEFAULT_TOKEN_USERNAME`] unless the forge wants another.
        username: String,
        /// The token.
        token: Secret,
    },
    /// With a private key over ssh.
    SshKey {
        /// The file of the private key, in OpenSSH or PEM format.
        private_key: PathBuf,
        /// What unlocks the private key.
        passphrase: Option<Secret>,
        /// The file of host keys that are trusted, in the format of OpenSSH.
        known_hosts: PathBuf,
    },
}

/// Holds a text that must not be printed: `Debug` hides it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text. Surrounding white space goes: files of secrets often end in a newline.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Returns the text, to be sent and never shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
