//! Why a chart could not be fetched. Messages fit "failed to {error}".

use std::sync::Arc;
use std::time::Duration;

use super::ALLOWED_SETTING;
use crate::git::{ErrorKind, GitError};

/// Why a chart could not be fetched. `chart` names its source, without any login; no field ever holds one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChartSourceError {
    /// The operator allows no source that covers it.
    #[error(
        "fetch {chart}: it is no allowed source; whoever operates storekeeper may allow it with {ALLOWED_SETTING}"
    )]
    NotAllowed {
        /// The source.
        chart: String,
    },
    /// The source's address or pin can't be one.
    #[error("fetch {chart}: {reason}")]
    Invalid {
        /// The source.
        chart: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The chart lies in the watched repository, or comes with storekeeper.
    #[error("fetch a chart that is here already")]
    Here,
    /// A setting can't be used.
    #[error("{reason}")]
    Settings {
        /// What was tried and what is wrong.
        reason: String,
    },
    /// The host can't be reached, breaks off, or answers with an error of its own.
    #[error("fetch {chart}: {reason}")]
    Unreachable {
        /// The source.
        chart: String,
        /// What happened.
        reason: String,
    },
    /// It took too long.
    #[error("fetch {chart} in time: it was not there within {} s", .limit.as_secs_f32())]
    TimedOut {
        /// The source.
        chart: String,
        /// How long a fetch may take.
        limit: Duration,
    },
    /// The host wants a login, or refuses the one it got.
    #[error("log in to {host} for {chart}: {reason}")]
    LoginRefused {
        /// The source.
        chart: String,
        /// The host.
        host: String,
        /// What to check.
        reason: &'static str,
    },
    /// The source has no such chart.
    #[error("find {chart}: {reason}")]
    Missing {
        /// The source.
        chart: String,
        /// What is not there, and what is.
        reason: String,
    },
    /// Something is larger than it may be.
    #[error("fetch {chart}: {what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The source.
        chart: String,
        /// What it is.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// An answer leads to where it may not.
    #[error("fetch {chart}: it leads to {target}, which is not followed: {reason}")]
    Redirected {
        /// The source.
        chart: String,
        /// Scheme and host.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// What is there is not what is pinned.
    #[error(
        "fetch {chart}: {what} has the digest {found}, and {pinned} is pinned; it was changed after it was pinned, or the \
         pin is another version's. If what is there now is trusted, pin {found}"
    )]
    Digest {
        /// The source.
        chart: String,
        /// What has a digest.
        what: String,
        /// What it is.
        found: String,
        /// What it should be.
        pinned: String,
    },
    /// Nobody signed the chart whose key is known.
    #[error("trust {chart}: its provenance file {reason}")]
    Untrusted {
        /// The source.
        chart: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is there is no chart, or another one.
    #[error("fetch {chart}: {reason}")]
    NotThisChart {
        /// The source.
        chart: String,
        /// What it is instead.
        reason: String,
    },
    /// Git did not bring the commit.
    #[error("{error}")]
    Git {
        /// The source.
        chart: String,
        /// Why not.
        error: Arc<GitError>,
    },
}

impl ChartSourceError {
    /// Tells whether the same call may well succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Git { chart: _, error } => {
                matches!(error.kind(), ErrorKind::Transient | ErrorKind::Storage)
            }
            Self::NotAllowed { .. }
            | Self::Invalid { .. }
            | Self::Here
            | Self::Settings { .. }
            | Self::LoginRefused { .. }
            | Self::Missing { .. }
            | Self::TooLarge { .. }
            | Self::Redirected { .. }
            | Self::Digest { .. }
            | Self::Untrusted { .. }
            | Self::NotThisChart { .. } => false,
        }
    }
}
