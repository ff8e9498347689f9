//! Arguments about whose commits are believed, and the command that acknowledges rewritten history.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::daemon::{self, TrustOptions, VerifyCommits};
use crate::trust::VerifyRange;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerifyMode {
    /// Nobody looks at signatures.
    Off,
    /// A commit that nobody who is believed has signed is followed, and said.
    Warn,
    /// Such a commit is not followed.
    Require,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RangeMode {
    /// The commit that the branch is at.
    Tip,
    /// Every commit since the last good one, those that were merged too.
    All,
}

/// Whose commits are believed.
#[derive(Debug, Args)]
pub(super) struct TrustArguments {
    /// Whether commits must be signed by somebody who is believed.
    #[arg(long, env = "STOREKEEPER_VERIFY_COMMITS", value_enum, default_value = "off")]
    verify_commits: VerifyMode,
    /// Which commits must be signed.
    #[arg(long, env = "STOREKEEPER_VERIFY_RANGE", value_enum, default_value = "tip")]
    verify_range: RangeMode,
    /// The SSH keys that are believed, in OpenSSH's `allowed_signers` format; it is read at each look.
    #[arg(long, env = "STOREKEEPER_ALLOWED_SIGNERS_FILE")]
    allowed_signers_file: Option<PathBuf>,
    /// The OpenPGP keys that are believed, as `gpg --export` writes them; it is read at each look.
    #[arg(long, env = "STOREKEEPER_OPENPGP_KEYS_FILE")]
    openpgp_keys_file: Option<PathBuf>,
    /// Follow only commits that this signer, the forge, made: a principal or a key's fingerprint.
    #[arg(long, env = "STOREKEEPER_FORGE_MERGES_BY", value_name = "PRINCIPAL")]
    forge_merges_by: Option<String>,
    /// Do not follow rewritten history until `storekeeper acknowledge` allows it.
    #[arg(long, env = "STOREKEEPER_FAST_FORWARD_ONLY")]
    fast_forward_only: bool,
}

impl TrustArguments {
    pub(super) fn options(&self, state_folder: &Path) -> anyhow::Result<TrustOptions> {
        let verify = match self.verify_commits {
            VerifyMode::Off => VerifyCommits::Off,
            VerifyMode::Warn => VerifyCommits::Warn,
            VerifyMode::Require => VerifyCommits::Require,
        };
        let has_keys = self.allowed_signers_file.is_some() || self.openpgp_keys_file.is_some();
        if verify != VerifyCommits::Off && !has_keys {
            anyhow::bail!(
                "understand --verify-commits: whose? Name the keys with --allowed-signers-file or --openpgp-keys-file"
            );
        }
        if verify == VerifyCommits::Off && self.forge_merges_by.is_some() {
            anyhow::bail!(
                "understand --forge-merges-by: who made a commit shows in its signature; add --verify-commits require"
            );
        }
        Ok(TrustOptions {
            verify,
            range: match self.verify_range {
                RangeMode::Tip => VerifyRange::Tip,
                RangeMode::All => VerifyRange::All,
            },
            allowed_signers_file: self.allowed_signers_file.clone(),
            openpgp_keys_file: self.openpgp_keys_file.clone(),
            forge_merges_by: self.forge_merges_by.clone(),
            fast_forward_only: self.fast_forward_only,
            state_folder: state_folder.to_owned(),
        })
    }
}

/// Which commit may replace history.
#[derive(Debug, Args)]
pub(super) struct AcknowledgeArguments {
    /// The commit's full id, as the page and the log name it.
    #[arg(value_parser = parse_commit)]
    commit: String,
    /// The folder that the daemon has as its state folder.
    #[arg(long, env = "STOREKEEPER_STATE_FOLDER", default_value = "/var/lib/storekeeper")]
    state_folder: PathBuf,
}

impl AcknowledgeArguments {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let Self { commit, state_folder } = self;
        daemon::acknowledge(state_folder, commit).with_context(|| {
            format!(
                "write the acknowledgement into {}; is it the daemon's state folder?",
                state_folder.display()
            )
        })
    }
}

fn parse_commit(text: &str) -> Result<String, String> {
    let is_full = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_full {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("the full id of a commit is needed: 40 digits".to_owned())
    }
}
