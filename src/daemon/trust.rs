//! Whose commits are believed: the files of keys, read anew at each look, and what follows for the newest commit.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::Frozen;
use crate::git::Mirror;
use crate::metrics::Metrics;
use crate::trust::{
    AllowedSigners, Certificates, Distrust, Judgement, Keys, Policy, Problem, Signer, VerifyRange, judge,
};

/// The file of the state folder that holds the commit that was acknowledged.
const ACKNOWLEDGEMENT: &str = "acknowledged";

/// What becomes of a commit that nobody who is believed has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyCommits {
    /// Nobody looks.
    Off,
    /// It is followed, and said.
    Warn,
    /// The last good one stays in force.
    Require,
}

/// Whose commits are believed.
#[derive(Debug, Clone)]
pub struct TrustOptions {
    /// What becomes of a commit that is not believed.
    pub verify: VerifyCommits,
    /// Which commits must be signed.
    pub range: VerifyRange,
    /// The file of SSH keys.
    pub allowed_signers_file: Option<PathBuf>,
    /// The file of OpenPGP keys.
    pub openpgp_keys_file: Option<PathBuf>,
    /// Who alone may make the branch's commits.
    pub forge_merges_by: Option<String>,
    /// Whether the branch may only go on from the last good commit.
    pub fast_forward_only: bool,
    /// The folder that an acknowledgement is written to.
    pub state_folder: PathBuf,
}

/// What is known of who made the newest commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Belief {
    /// Nobody looked.
    NotAsked,
    /// This signer did.
    Signed(Signer),
    /// Nobody who is believed, and why; it is followed nevertheless.
    Doubted(String),
}

/// Judges commits at each look.
pub(super) struct Trust {
    options: TrustOptions,
    clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    metrics: Metrics,
    signers: Known<AllowedSigners>,
    openpgp: Known<Certificates>,
    /// What was said last, so that it is said once.
    said: Option<Distrust>,
    noted: Option<&'static str>,
}

/// What a file of keys said when it was read last.
struct Known<T>(Option<(Vec<u8>, T)>);

impl<T: Clone> Known<T> {
    /// Reads a file; one whose bytes are the same is not understood anew. The error is a whole sentence.
    fn read(
        &mut self,
        path: Option<&Path>,
        understand: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let Some(path) = path else { return Ok(None) };
        let bytes = fs::read(path)
            .map_err(|error| format!("failed to read the keys in {}: {error}", path.display()))?;
        if let Some((_, known)) = self.0.as_ref().filter(|(known, _)| *known == bytes) {
            return Ok(Some(known.clone()));
        }
        let understood =
            understand(&bytes).map_err(|error| format!("failed to {error} in {}", path.display()))?;
        self.0 = Some((bytes, understood.clone()));
        Ok(Some(understood))
    }
}

impl Trust {
    pub(super) fn new(
        options: TrustOptions,
        clock: Arc<dyn Fn() -> i64 + Send + Sync>,
        metrics: Metrics,
    ) -> Self {
        let (signers, openpgp) = (Known(None), Known(None));
        Self { options, clock, metrics, signers, openpgp, said: None, noted: None }
    }

    /// Tells whether a commit of the branch may be put in force, and who signed it.
    pub(super) fn judge(&mut self, mirror: &Mirror, tip: &str) -> Result<Belief, Frozen> {
        let verifies = self.options.verify != VerifyCommits::Off;
        if !verifies && !self.options.fast_forward_only {
            return Ok(Belief::NotAsked);
        }
        let (keys, unreadable) = match if verifies { self.keys() } else { Ok(Keys::default()) } {
            Ok(keys) => (keys, None),
            Err(reason) if self.options.verify == VerifyCommits::Require => {
                return Err(Frozen::without_commit(reason));
            }
            Err(reason) => (Keys::default(), Some(reason)),
        };
        let policy = Policy {
            verifies: verifies && unreadable.is_none(),
            range: self.options.range,
            forge: self.options.forge_merges_by.clone(),
            fast_forward_only: self.options.fast_forward_only,
        };
        let all = policy.verifies && (policy.range == VerifyRange::All || policy.forge.is_some());
        let ancestry = mirror.ancestry(tip, all)?;
        let judgement = judge(&ancestry, &policy, &keys, self.acknowledged().as_deref(), (self.clock)());
        let belief = self.conclude(tip, judgement)?;
        Ok(unreadable.map_or(belief, Belief::Doubted))
    }

    fn conclude(&mut self, tip: &str, judgement: Judgement) -> Result<Belief, Frozen> {
        let Judgement { verdict, note } = judgement;
        if let Some(note) = note.filter(|note| self.noted != Some(note)) {
            tracing::warn!(git.commit = tip, "{note}");
        }
        self.noted = note;
        let distrust = match verdict {
            Ok(signer) => {
                self.said = None;
                return Ok(signer.map_or(Belief::NotAsked, Belief::Signed));
            }
            Err(distrust) => distrust,
        };
        let Distrust { commit, problem, words } = &distrust;
        // Rewritten history is refused whatever becomes of signatures.
        let freezes = self.options.verify == VerifyCommits::Require || *problem == Problem::Rewritten;
        if self.said.as_ref() != Some(&distrust) {
            self.metrics.commit_distrusted(*problem);
            if !freezes {
                // What freezes is said where the freeze is.
                tracing::warn!(
                    git.commit = commit,
                    problem = problem.as_str(),
                    "followed all the same: {words}"
                );
            }
        }
        let words = words.clone();
        self.said = Some(distrust);
        if freezes {
            return Err(Frozen::by(tip, words));
        }
        Ok(Belief::Doubted(words))
    }

    /// A commit was put in force: its acknowledgement has done its duty, and is no leave to come back to it.
    pub(super) fn settle(&self, commit: &str) {
        if self.options.fast_forward_only && self.acknowledged().as_deref() == Some(commit) {
            tracing::warn!(git.commit = commit, "followed because it was acknowledged");
            let path = acknowledgement(&self.options.state_folder);
            if let Err(error) = fs::remove_file(&path) {
                tracing::error!(path = %path.display(), %error, "failed to remove a used acknowledgement");
            }
        }
    }

    fn keys(&mut self) -> Result<Keys, String> {
        let TrustOptions { allowed_signers_file, openpgp_keys_file, .. } = &self.options;
        let signers = self.signers.read(allowed_signers_file.as_deref(), |bytes| {
            let text =
                std::str::from_utf8(bytes).map_err(|_| "read the allowed signers as text".to_owned())?;
            AllowedSigners::parse(text).map_err(|error| error.to_string())
        })?;
        let openpgp = self.openpgp.read(openpgp_keys_file.as_deref(), |bytes| {
            Certificates::parse(bytes).map_err(|error| error.to_string())
        })?;
        Ok(Keys { signers, openpgp })
    }

    fn acknowledged(&self) -> Option<String> {
        let text = fs::read_to_string(acknowledgement(&self.options.state_folder)).ok()?;
        Some(text.trim().to_owned())
    }
}

fn acknowledgement(state_folder: &Path) -> PathBuf {
    state_folder.join(ACKNOWLEDGEMENT)
}

/// Writes into a daemon's state folder that this commit, and no other one, may replace history.
pub fn acknowledge(state_folder: &Path, commit: &str) -> io::Result<()> {
    let path = acknowledgement(state_folder);
    let partial = path.with_extension("partial");
    let mut file = fs::File::create(&partial)?;
    file.write_all(format!("{commit}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, &path)
}
