//! Whose commits are believed: signatures of commits, the keys that may make them, and what follows. Pure: keys,
//! commits and the time come in as bytes and numbers.
//!
//! - `commit`: what a commit says of itself, and what its signature is over
//! - `armor`: bytes that are written as text
//! - `allowed_signers`: the file of SSH keys, as OpenSSH has it
//! - `ssh`: SSH signatures
//! - `certificate`: OpenPGP keys, and what may be done with each part of one
//! - `openpgp`: OpenPGP signatures
//! - `provenance`: files that say which archive of a chart was signed
//! - `judge`: what a branch's commits come to
//! - `fuzz`: functions for whoever feeds all of it garbage
//!
//! Whatever is not understood is not believed.

mod allowed_signers;
mod armor;
mod certificate;
mod commit;
pub mod fuzz;
mod judge;
mod openpgp;
mod provenance;
mod ssh;

use std::fmt;

use crate::report::moment;

pub use allowed_signers::{AllowedSigners, AllowedSignersError};
pub use certificate::{Certificates, CertificatesError};
pub use commit::COMMIT_MAX;
pub use judge::{Ancestry, Judgement, Policy, RawCommit, VerifyRange, judge};
pub use provenance::{ProvenanceError, provenance};

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Whose key it is: the principals of a line of allowed signers, the principal of a certificate, or the primary
    /// user id of an OpenPGP key.
    pub principal: String,
    /// The key's fingerprint, as `ssh-keygen` and `gpg` print it.
    pub key: String,
    /// What kind of key it is.
    pub kind: Kind,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} key {})", self.principal, self.kind.as_str(), self.key)
    }
}

/// The kind of a signer's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An SSH key.
    Ssh,
    /// An OpenPGP key.
    OpenPgp,
}

impl Kind {
    /// Returns the kind as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "SSH",
            Self::OpenPgp => "OpenPGP",
        }
    }
}

/// What is wrong with a commit that is not believed; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// It is not signed.
    Unsigned,
    /// It is signed by a key that nobody vouches for, or in a way that is not known.
    Unknown,
    /// The key was revoked.
    Revoked,
    /// The key, or the signature, is not valid any more, or was not when it signed.
    Expired,
    /// The signature is not over this commit, or is not one.
    Invalid,
    /// The forge did not make it.
    NotAMerge,
    /// It does not follow from the last good commit.
    Rewritten,
}

impl Problem {
    /// Every problem.
    pub const ALL: [Self; 7] = [
        Self::Unsigned,
        Self::Unknown,
        Self::Revoked,
        Self::Expired,
        Self::Invalid,
        Self::NotAMerge,
        Self::Rewritten,
    ];

    /// Returns the problem as metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Invalid => "invalid",
            Self::NotAMerge => "not_a_merge",
            Self::Rewritten => "rewritten",
        }
    }
}

/// A commit that is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distrust {
    /// The commit.
    pub commit: String,
    /// What is wrong with it.
    pub problem: Problem,
    /// The same in words, and what to do.
    pub words: String,
}

/// Whose signatures are believed.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// SSH keys.
    pub signers: Option<AllowedSigners>,
    /// OpenPGP keys.
    pub openpgp: Option<Certificates>,
}

/// Why a signature is not believed; the words continue "the commit …".
#[derive(Debug, Clone, PartialEq, Eq)]
struct Doubt {
    problem: Problem,
    words: String,
}

impl Doubt {
    fn new(problem: Problem, words: impl Into<String>) -> Self {
        Self { problem, words: words.into() }
    }

    fn invalid(words: impl Into<String>) -> Self {
        Self::new(Problem::Invalid, words)
    }

    /// Tells how much a doubt says: of several keys that could have made a signature, the one that is nearest to
    /// being believed explains it.
    fn weight(&self) -> u8 {
        match self.problem {
            Problem::Revoked => 4,
            Problem::Expired => 3,
            Problem::Invalid | Problem::NotAMerge | Problem::Rewritten => 2,
            Problem::Unknown => 1,
            Problem::Unsigned => 0,
        }
    }
}

/// The times that a key must be valid at, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Times {
    now: i64,
    /// Whether the commit was believed before: then it stays so when its key runs out.
    was_believed: bool,
}

impl Times {
    /// Returns the times at which the key of a signature must be valid that was made then.
    fn of(self, made: i64) -> impl Iterator<Item = i64> {
        std::iter::once(made).chain((!self.was_believed).then_some(self.now))
    }
}

/// Makes foreign text fit for a message: one line of printable characters, at most 120.
fn printable(text: &str) -> String {
    let shown = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{061c}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().filter(|c| shown(*c)).take(120).collect::<String>().trim().to_owned()
}

/// Writes a moment as people read it.
fn day(seconds: i64) -> String {
    moment::utc(seconds)
}
