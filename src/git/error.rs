//! Why git work failed, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why git work failed; each fits "failed to {error}". `remote` is a URL without the user; no field ever holds
/// a token or passphrase.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The remote can't be reached, or broke off, or answers with a server error.
    #[error("reach {remote}: {reason}")]
    Unreachable {
        /// The remote, without its user.
        remote: String,
        /// What happened.
        reason: String,
    },
    /// The remote stayed silent, or the whole fetch took too long.
    #[error("fetch {remote} in time: {reason} within {} s", .limit.as_secs_f32())]
    TimedOut {
        /// The remote, without its user.
        remote: String,
        /// What did not happen.
        reason: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The remote wants a login, or refuses the one it got.
    #[error("log in to {remote}: {reason}")]
    AuthenticationFailed {
        /// The remote, without its user.
        remote: String,
        /// What was refused and what to check.
        reason: String,
    },
    /// The host's ssh key is in no line of `known_hosts`.
    #[error(
        "trust the ssh host of {remote}: {} {}. If the fingerprint {} is the one that the host's owner publishes, \
         add this line: {}", .key.known_hosts.display(), .key.found, .key.fingerprint, .key.line
    )]
    HostKeyUnknown {
        /// The remote, without its user.
        remote: String,
        /// The key that the host showed.
        key: Box<ShownHostKey>,
    },
    /// The host's ssh key is another one than `known_hosts` says, or is revoked there.
    #[error(
        "trust the ssh host of {remote}: its key changed, which happens when the host was set up anew or when \
         someone intercepts the connection: {} {}. Ask the host's owner; if the fingerprint {} is theirs, replace \
         that line by: {}", .key.known_hosts.display(), .key.found, .key.fingerprint, .key.line
    )]
    HostKeyMismatch {
        /// The remote, without its user.
        remote: String,
        /// The key that the host showed.
        key: Box<ShownHostKey>,
    },
    /// The https certificate is not signed by a trusted authority, expired, or for another host.
    #[error("trust the certificate of {remote}: {reason}")]
    CertificateUntrusted {
        /// The remote, without its user.
        remote: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The remote points elsewhere. That is not followed: the login was given for this host only.
    #[error(
        "fetch {remote}: it redirects to {target}, which is not followed; set the URL to where the repository is"
    )]
    Redirected {
        /// The remote, without its user.
        remote: String,
        /// Where it points, without a query.
        target: String,
    },
    /// There is no such repository, or the login may not see it.
    #[error("find the repository {remote}: {reason}")]
    RepositoryMissing {
        /// The remote, without its user.
        remote: String,
        /// What the remote said.
        reason: String,
    },
    /// Something answers, but it does not speak git.
    #[error(
        "fetch {remote}: it answers, but not as a git server ({reason}); is it a login page or a web front end?"
    )]
    RemoteIsNotGit {
        /// The remote, without its user.
        remote: String,
        /// What it answered with, such as a content type.
        reason: String,
    },
    /// The repository has no branch at all.
    #[error("fetch {remote}: the repository is empty, push a commit to branch `{branch}`")]
    EmptyRepository {
        /// The remote, without its user.
        remote: String,
        /// The branch that was looked for.
        branch: String,
    },
    /// The repository has branches, but not this one.
    #[error("fetch {remote}: branch `{branch}` does not exist; the repository has {}", list(.existing, *.total))]
    BranchMissing {
        /// The remote, without its user.
        remote: String,
        /// The branch that was looked for.
        branch: String,
        /// Up to five branches that exist.
        existing: Vec<String>,
        /// How many branches exist.
        total: usize,
    },
    /// A local repository belongs to another user, so git refuses it.
    #[error(
        "open {remote}: the repository belongs to another user, who could run code as storekeeper; run storekeeper \
         as that user, change the owner, or list the path as safe.directory in the git configuration of the user \
         who runs storekeeper"
    )]
    OwnerDiffers {
        /// The local repository.
        remote: String,
    },
    /// The repository uses a format that libgit2 does not read.
    #[error("read {remote}: {reason}; storekeeper reads repositories with SHA-1 objects and refs as files")]
    UnsupportedFormat {
        /// The remote, without its user.
        remote: String,
        /// What is not supported.
        reason: String,
    },
    /// A fetch would bring more than the limit.
    #[error("fetch {remote}: it sends more than the limit of {}", human_bytes(*.limit))]
    FetchTooLarge {
        /// The remote, without its user.
        remote: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A fetch would bring more objects than the limit.
    #[error("fetch {remote}: it sends more than the limit of {limit} objects")]
    TooManyObjects {
        /// The remote, without its user.
        remote: String,
        /// The limit.
        limit: usize,
    },
    /// A commit can't be merged into the branch at all.
    #[error("merge commit {commit}: {reason}")]
    Unmergeable {
        /// The commit, made printable.
        commit: String,
        /// Why not.
        reason: &'static str,
    },
    /// The remote's repository itself is damaged.
    #[error("fetch {remote}: the remote repository is damaged: {reason}")]
    RemoteBroken {
        /// The remote, without its user.
        remote: String,
        /// What is damaged.
        reason: String,
    },
    /// A commit holds more than a limit allows.
    #[error("read commit {commit}: it holds more than {limit} {what}")]
    TooMany {
        /// The commit.
        commit: String,
        /// The limit.
        limit: usize,
        /// What there is too much of, in the plural.
        what: &'static str,
    },
    /// The wanted files of a commit are larger than the limit, taken together.
    #[error("read commit {commit}: its files hold more than the limit of {}", human_bytes(*.limit))]
    TooLarge {
        /// The commit.
        commit: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The mirror does not hold this commit.
    #[error(
        "find commit {commit} in the mirror: it is in the branch's history no more (it was rewritten), or never was"
    )]
    CommitMissing {
        /// The commit, made printable.
        commit: String,
    },
    /// The remote does not give this commit away.
    #[error(
        "fetch commit {commit} of {remote}: no branch or tag there holds it; push it, or name one that is there"
    )]
    CommitNotServed {
        /// The remote, without its user.
        remote: String,
        /// The commit, made printable.
        commit: String,
    },
    /// The mirror is damaged. The next fetch rebuilds it.
    #[error("read the mirror {}: {reason}; the next fetch rebuilds it", .folder.display())]
    Corrupt {
        /// The mirror's folder.
        folder: PathBuf,
        /// What is damaged.
        reason: String,
    },
    /// The folder holds something else than a mirror.
    #[error("use {} for a mirror: it is not empty and storekeeper did not make it; name another folder", .folder.display())]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process uses the mirror.
    #[error("use the mirror {}: another process does already", .folder.display())]
    InUse {
        /// The mirror's folder.
        folder: PathBuf,
    },
    /// The file system failed.
    #[error("{action} {}", .path.display())]
    Storage {
        /// What was tried, such as "create".
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A setting can't be used.
    #[error("use the settings of {remote}: {reason}")]
    Settings {
        /// The remote, without its user.
        remote: String,
        /// What is wrong and how it should be.
        reason: String,
    },
    /// A local repository can't be watched.
    #[error("watch {}: {reason}", .path.display())]
    Watch {
        /// The repository.
        path: PathBuf,
        /// Why it can't be watched.
        reason: String,
    },
}

/// Describes a host key that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownHostKey {
    /// The file that was looked into.
    pub known_hosts: PathBuf,
    /// What the file holds about the host.
    pub found: String,
    /// The SHA-256 fingerprint of the key, as ssh prints it.
    pub fingerprint: String,
    /// The line that would make the key known.
    pub line: String,
}

/// Sorts errors by who can do something about them; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Goes away by itself or with the network: try again.
    Transient,
    /// The operator must change a setting, a credential or the trust in a host.
    Settings,
    /// Whoever pushes to the repository must change it.
    Repository,
    /// storekeeper's own disk.
    Storage,
}

impl GitError {
    /// Returns who can do something about the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::RemoteIsNotGit { .. } => {
                ErrorKind::Transient
            }
            Self::AuthenticationFailed { .. }
            | Self::HostKeyUnknown { .. }
            | Self::HostKeyMismatch { .. }
            | Self::CertificateUntrusted { .. }
            | Self::Redirected { .. }
            | Self::RepositoryMissing { .. }
            | Self::OwnerDiffers { .. }
            | Self::Settings { .. }
            | Self::Watch { .. } => ErrorKind::Settings,
            Self::EmptyRepository { .. }
            | Self::BranchMissing { .. }
            | Self::UnsupportedFormat { .. }
            | Self::FetchTooLarge { .. }
            | Self::TooManyObjects { .. }
            | Self::Unmergeable { .. }
            | Self::RemoteBroken { .. }
            | Self::TooMany { .. }
            | Self::TooLarge { .. }
            | Self::CommitNotServed { .. }
            | Self::CommitMissing { .. } => ErrorKind::Repository,
            Self::Corrupt { .. } | Self::NotOurs { .. } | Self::InUse { .. } | Self::Storage { .. } => {
                ErrorKind::Storage
            }
        }
    }

    /// Tells whether the same call may well succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient || matches!(self, Self::Corrupt { .. })
    }
}

/// Makes foreign text fit for a message: one line, no control or direction-changing character, at most `max`
/// characters.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let clean: String = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|c| !reorders_or_hides(*c))
        .collect();
    match clean.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", clean[..end].trim_end()),
        None => clean,
    }
}

/// Tells whether a character shows nothing itself but changes how its neighbours are shown.
pub(super) fn reorders_or_hides(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{061c}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Shows a size with the unit that suits it.
pub(super) fn human_bytes(bytes: u64) -> String {
    const KIB: u64 = 1024;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..1_048_576 => format!("{} KiB", bytes.div_ceil(KIB)),
        _ => format!("{} MiB", bytes.div_ceil(KIB * KIB)),
    }
}

fn list(names: &[String], total: usize) -> String {
    let shown = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match total - names.len() {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_printable_line() {
        assert_eq!(one_line("a\r\n\tb \u{1b}[31mred\u{202e}evil", 80), "a b [31mredevil");
        assert_eq!(one_line(&"x".repeat(90), 10), format!("{}…", "x".repeat(10)));
        assert_eq!(one_line("  \n ", 10), "");
    }

    #[test]
    fn a_missing_branch_names_some_that_exist() {
        let error = GitError::BranchMissing {
            remote: "https://git.example.com/stores".to_owned(),
            branch: "main".to_owned(),
            existing: vec!["master".to_owned(), "next".to_owned()],
            total: 9,
        };
        assert_eq!(
            error.to_string(),
            "fetch https://git.example.com/stores: branch `main` does not exist; the repository has `master`, \
             `next` and 7 more"
        );
    }

    #[test]
    fn sizes_have_the_unit_that_suits_them() {
        assert_eq!(human_bytes(900), "900 bytes");
        assert_eq!(human_bytes(812 * 1024), "812 KiB");
        assert_eq!(human_bytes(512 * 1024 * 1024), "512 MiB");
    }
}
