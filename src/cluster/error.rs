//! Why the API server did not do what was asked.

use super::pace::{ANSWER_LIMIT, NoAnswer};

/// A failed act on the cluster; fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no usable kubeconfig or service account.
    #[error("find a cluster to work on: {0}; name one with --kubeconfig or KUBECONFIG")]
    Settings(String),
    /// The API server answered and refused.
    #[error("{act}: {message}")]
    Refused {
        /// What was asked.
        act: String,
        /// The HTTP status code.
        code: u16,
        /// The API server's reason in one word, such as `NotFound`; empty when something else answered.
        reason: String,
        /// The API server's own sentence.
        message: String,
        /// How long it asks to wait before the next try, in seconds; 0 when it does not say.
        retry_after: u32,
    },
    /// No answer came, or none that makes sense.
    #[error("{act}: {detail}")]
    Unreachable {
        /// What was asked.
        act: String,
        /// What went wrong on the way.
        detail: String,
    },
    /// The answer took too long.
    #[error("{act}: no answer within {seconds} s")]
    TimedOut {
        /// What was asked.
        act: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A namespace of the store's name has come, or has changed hands, since it was looked at.
    #[error("use namespace {namespace}: it has changed since it was looked at")]
    Changed {
        /// The namespace.
        namespace: String,
    },
}

impl ClusterError {
    /// Makes a closure for `map_err` that names what was asked.
    pub(super) fn request(act: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let act = act.into();
        move |error| match error {
            kube::Error::Api(status) => Self::Refused {
                act,
                code: status.code,
                reason: status.reason.clone(),
                retry_after: status.details.as_ref().map_or(0, |details| details.retry_after_seconds),
                message: one_line(&status.message),
            },
            kube::Error::Service(error) if error.is::<NoAnswer>() => {
                Self::TimedOut { act, seconds: ANSWER_LIMIT.as_secs() }
            }
            other => Self::Unreachable { act, detail: chain(&other) },
        }
    }

    /// Returns whether the API server itself said that the thing does not exist. A bare 404 may come from anything
    /// between it and us, and proves nothing.
    pub fn is_not_found(&self) -> bool {
        self.reason() == Some("NotFound")
    }

    /// Returns whether the API server said that the thing exists already.
    pub fn is_taken(&self) -> bool {
        self.reason() == Some("AlreadyExists")
    }

    /// Leaves out the server's sentence, which may repeat what was sent: for Secrets. (Argo CD echoed a
    /// refused Secret into its status, CVE-2025-23216.)
    pub(super) fn without_content(self) -> Self {
        match self {
            Self::Refused { act, code, reason, retry_after, .. } => {
                let message = format!(
                    "the API server refused it with code {code} (its words are withheld, they may hold secret data)"
                );
                Self::Refused { act, code, reason, message, retry_after }
            }
            Self::Unreachable { act, .. } => {
                Self::Unreachable { act, detail: "no answer that makes sense".to_owned() }
            }
            other => other,
        }
    }

    fn reason(&self) -> Option<&str> {
        if let Self::Refused { reason, .. } = self { Some(reason) } else { None }
    }
}

/// Joins an error and its sources into one line, leaving out what a source only repeats.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let words = source.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = source.source();
    }
    one_line(&text)
}

/// Keeps log lines and pages whole: no line breaks, no control characters, at most 600 characters.
fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(600).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_secret_does_not_reach_the_message() {
        let error = ClusterError::Refused {
            act: "apply Secret/x".to_owned(),
            code: 422,
            reason: "Invalid".to_owned(),
            message: "invalid value canary-123".to_owned(),
            retry_after: 0,
        };
        assert!(!error.without_content().to_string().contains("canary"));
    }
}
