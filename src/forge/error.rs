//! Why a request to a forge failed, and how to go on.

use std::time::Duration;

/// Why a request to a forge failed; fits "failed to {error}". No field ever holds a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// A setting, or a file that it names, can't be used. Files are read at each use, so this may end.
    #[error("use the settings of the forge: {reason}")]
    Settings {
        /// What is wrong and how it should be.
        reason: String,
    },
    /// What was asked for can't be done, such as a status of a commit that is not there.
    #[error("{act}: {reason}")]
    Unfit {
        /// What was tried.
        act: String,
        /// What is wrong.
        reason: String,
    },
    /// The forge wants to be left alone for a while.
    #[error("{act}: the forge asks to wait {} s", .retry_after.as_secs())]
    Busy {
        /// What was tried.
        act: String,
        /// How long to wait; at most an hour.
        retry_after: Duration,
    },
    /// The forge can't be reached, or answers with a server error, or not as a forge. What was sent may have been done.
    #[error("{act}: {detail}")]
    Unavailable {
        /// What was tried.
        act: String,
        /// What happened instead.
        detail: String,
    },
    /// The forge does not take the login, or the login may not do this.
    #[error("{act}: the forge refuses the login ({status}): {detail}")]
    LoginRefused {
        /// What was tried.
        act: String,
        /// The status of the answer: 401 or 403.
        status: u16,
        /// What the forge said.
        detail: String,
    },
    /// The forge refuses this request, such as a comment in a locked conversation. Trying again does not help by itself.
    #[error("{act}: the forge refuses it ({status}): {detail}")]
    Refused {
        /// What was tried.
        act: String,
        /// The status of the answer.
        status: u16,
        /// What the forge said.
        detail: String,
    },
}

impl ForgeError {
    /// Returns how long to wait at least before anything else is sent to the forge; none when it did not ask for that.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Tells whether the same call will be refused for ever. A refused login may be replaced, and what is not found
    /// (404) may only be hidden from the login, so neither is final.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Unfit { .. } => true,
            Self::Refused { status, .. } => !matches!(status, 404 | 408 | 409 | 423 | 425),
            Self::Settings { .. }
            | Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::LoginRefused { .. } => false,
        }
    }
}
