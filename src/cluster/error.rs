//! Why the API server did not do what was asked.

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
    /// Somebody else made a namespace of the store's name meanwhile, or took its labels off.
    #[error(
        "use namespace {namespace}: it exists and is not storekeeper's for this store and source; rename the store or remove that namespace"
    )]
    NotOurs {
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
                retry_after: status.details.as_ref().map_or(0, |details| details.retry_after_seconds),
                message: one_line(&status.message),
            },
            other => Self::Unreachable { act, detail: chain(&other) },
        }
    }

    /// Returns whether the API server said that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Returns whether the API server said that the thing exists or has changed meanwhile.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Leaves out the server's sentence, which may repeat what was sent: for Secrets. (Argo CD echoed a
    /// refused Secret into its status, CVE-2025-23216.)
    pub(super) fn without_content(self) -> Self {
        match self {
            Self::Refused { act, code, retry_after, .. } => {
                let message = format!(
                    "the API server refused it with code {code} (its words are withheld, they may hold secret data)"
                );
                Self::Refused { act, code, message, retry_after }
            }
            other => other,
        }
    }

    fn code(&self) -> Option<u16> {
        if let Self::Refused { code, .. } = self { Some(*code) } else { None }
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
            message: "invalid value canary-123".to_owned(),
            retry_after: 0,
        };
        assert!(!error.without_content().to_string().contains("canary"));
    }
}
