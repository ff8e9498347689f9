//! Why the API server did not do what was asked.

use super::mask::Mask;
use super::pace::{ANSWER_LIMIT, Fenced, NoAnswer};

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
        /// What it says of single fields.
        causes: Vec<RefusalCause>,
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
    /// Nothing was sent: another replica keeps this store by now.
    #[error("{act}: another replica keeps this store")]
    Fenced {
        /// What was asked.
        act: String,
    },
    /// A namespace of the store's name has come, or has changed hands, since it was looked at.
    #[error("use namespace {namespace}: it has changed since it was looked at")]
    Changed {
        /// The namespace.
        namespace: String,
    },
}

/// Why the API server may refuse without having looked at what is in an object.
const SAFE_REASONS: [&str; 3] = ["Forbidden", "NotFound", "Conflict"];

/// What the API server says of one field, or of one circumstance, in a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalCause {
    /// The field's path; empty when it is about none.
    pub field: String,
    /// One word, such as `FieldValueInvalid` or `NamespaceTerminating`.
    pub reason: String,
    /// The API server's own words.
    pub message: String,
}

impl ClusterError {
    /// Makes a closure for `map_err` that names what was asked, and takes out of the server's words what was sent and is
    /// nobody's business: a refusal may repeat the object. Words are cut to length when nothing in them is left to find.
    pub(super) fn request(
        act: impl Into<String>,
        mask: impl FnOnce() -> Mask,
    ) -> impl FnOnce(kube::Error) -> Self {
        let act = act.into();
        move |error| match error {
            kube::Error::Api(status) => {
                let mask = mask();
                Self::Refused {
                    act,
                    code: status.code,
                    reason: status.reason.clone(),
                    retry_after: status.details.as_ref().map_or(0, |details| details.retry_after_seconds),
                    causes: causes(&status, &mask),
                    message: one_line(&mask.clean(&status.message)),
                }
            }
            kube::Error::Service(error) if error.is::<NoAnswer>() => {
                Self::TimedOut { act, seconds: ANSWER_LIMIT.as_secs() }
            }
            kube::Error::Service(error) if error.is::<Fenced>() => Self::Fenced { act },
            other => Self::Unreachable { act, detail: one_line(&mask().clean(&joined(&other))) },
        }
    }

    /// Returns whether the API server itself said that the thing does not exist. A bare 404 may come from anything
    /// between it and us, and proves nothing.
    pub fn is_not_found(&self) -> bool {
        self.reason() == Some("NotFound")
    }

    /// Returns whether nothing was sent because another replica keeps the store.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// Returns whether the API server said that we may not do it.
    pub fn is_forbidden(&self) -> bool {
        self.reason() == Some("Forbidden")
    }

    /// Returns whether the API server said that the thing exists already.
    pub fn is_taken(&self) -> bool {
        self.reason() == Some("AlreadyExists")
    }

    /// Returns whether the API server said that the thing is another version than was asked for.
    pub(super) fn is_conflict(&self) -> bool {
        self.reason() == Some("Conflict")
    }

    /// Returns whether the API server itself refused the request, so that it was not carried out.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { code: 400..500, reason, .. } if !reason.is_empty() && reason != "Timeout")
    }

    /// Returns whether a namespace on its way out refused to take anything new.
    pub fn is_namespace_going(&self) -> bool {
        let Self::Refused { causes, .. } = self else { return false };
        causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// Returns what the API server says of single fields when it found the object itself wrong; else nothing. A policy
    /// that denies an object calls it invalid too.
    pub fn invalid_fields(&self) -> &[RefusalCause] {
        match self {
            Self::Refused { reason, causes, message, .. }
                if reason == "Invalid" && denier(message).is_none() =>
            {
                causes
            }
            _ => &[],
        }
    }

    /// Returns the sentence of a policy or webhook that denied something.
    pub fn denied(&self) -> Option<&str> {
        match self {
            Self::Refused { message, .. } => denier(message).map(|_| message.as_str()),
            _ => None,
        }
    }

    /// Returns the API server's sentence when an object is wrong by itself, wherever it would be.
    pub fn malformed(&self) -> Option<&str> {
        match self {
            Self::Refused { code, reason, message, .. } if denier(message).is_none() => {
                let is_its_own =
                    reason == "Invalid" || *code == 400 || message.contains("typed patch object");
                is_its_own.then_some(message)
            }
            _ => None,
        }
    }

    /// Returns the API server's sentence when it forbade something, as admission does.
    pub fn forbidden(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, message, .. } if reason == "Forbidden" => Some(message),
            _ => None,
        }
    }

    /// Leaves out the server's sentence where it may repeat what was sent: for Secrets. (Argo CD echoed a refused
    /// Secret into its status, CVE-2025-23216.) Who may not, what is full and what is going is said without looking at
    /// the data; a policy that quotes it is masked before.
    pub(super) fn without_content(self) -> Self {
        match self {
            // Which policy or webhook it was is said, not what that says: it has read the data.
            Self::Refused { act, code, reason, retry_after, message, .. } if denier(&message).is_some() => {
                let who = denier(&message).unwrap_or_default();
                let message = format!("{who} (its words are withheld, they may hold secret data)");
                Self::Refused { act, code, reason, message, retry_after, causes: Vec::new() }
            }
            Self::Refused { ref reason, .. } if SAFE_REASONS.contains(&reason.as_str()) => self,
            Self::Refused { act, code, reason, retry_after, causes, .. } => {
                let message = format!(
                    "the API server refused it with code {code} (its words are withheld, they may hold secret data)"
                );
                let causes = causes.into_iter().map(RefusalCause::without_content).collect();
                Self::Refused { act, code, reason, message, retry_after, causes }
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

impl RefusalCause {
    /// Keeps which field it is, and of the words only that it can't be changed.
    fn without_content(self) -> Self {
        let message = if self.message.contains("immutable") { "field is immutable" } else { "" };
        Self { message: message.to_owned(), ..self }
    }
}

/// Cuts the sentence of a policy or webhook behind its name; none when it was neither.
fn denier(message: &str) -> Option<&str> {
    let ends = ["denied the request", "denied request"].iter();
    ends.filter_map(|words| Some(message.find(words)? + words.len())).min().map(|end| &message[..end])
}

fn causes(status: &kube::core::Status, mask: &Mask) -> Vec<RefusalCause> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .map(|cause| RefusalCause {
            field: one_line(&cause.field),
            reason: one_line(&cause.reason),
            message: one_line(&mask.clean(&cause.message)),
        })
        .collect()
}

/// Joins an error and its sources into one line, leaving out what a source only repeats.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    one_line(&joined(error))
}

fn joined(error: &dyn std::error::Error) -> String {
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
    text
}

/// Keeps log lines and pages whole: no line breaks, no control characters, at most 600 characters.
fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(600).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(kind: &str, reason: &str, message: &str) -> ClusterError {
        let cause = json!({"reason": "FieldValueInvalid", "message": message, "field": "data"});
        let status = json!({"status": "Failure", "code": 422, "reason": reason, "message": message,
            "details": {"causes": [cause]}});
        let status: kube::core::Status = serde_json::from_value(status).unwrap();
        ClusterError::request(format!("apply {kind}/x"), Mask::default)(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_refused_secret_does_not_reach_the_message() {
        let error = refused("Secret", "Invalid", "invalid value canary-123").without_content();
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        let immutable = refused("Secret", "Invalid", "Forbidden: field is immutable when `immutable` is set");
        let immutable = immutable.without_content();
        assert_eq!(immutable.invalid_fields()[0].message, "field is immutable");
    }

    #[test]
    fn a_value_where_the_words_are_cut_leaves_no_part_of_it() {
        let env = json!([{"name": "KEY", "value": "canary-123\ncanary-456"}]);
        let body = json!({"spec": {"containers": [{"name": "c", "env": env}]}});
        let words = format!("{} canary-123\ncanary-456", "x".repeat(590));
        let status = json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": words,
            "details": {"causes": [{"message": words}]}});
        let status: kube::core::Status = serde_json::from_value(status).unwrap();
        let error = ClusterError::request("apply Deployment/x", || Mask::of(&body))(kube::Error::Api(
            Box::new(status),
        ));
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }

    #[test]
    fn who_may_not_write_a_secret_is_told_why() {
        let words =
            "secrets \"x\" is forbidden: exceeded quota: store, requested: secrets=1, used: secrets=3";
        let error = refused("Secret", "Forbidden", words).without_content();
        assert!(error.to_string().contains("exceeded quota: store"), "{error}");
    }

    #[test]
    fn who_denied_a_secret_is_said_and_not_what_it_says() {
        for (reason, words) in [
            ("Forbidden", "admission webhook \"w.example.com\" denied the request: canary-123 is weak"),
            (
                "Invalid",
                "secrets \"x\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: canary-123",
            ),
        ] {
            let error = refused("Secret", reason, words).without_content();
            let name = if reason == "Forbidden" { "w.example.com" } else { "'p' denied request" };
            assert!(error.to_string().contains(name), "{error}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn a_namespace_that_goes_is_told_by_its_cause_not_by_its_words() {
        let going = |reason: &str| {
            let cause = json!({"reason": reason, "message": "namespace x is being terminated", "field": "metadata.namespace"});
            let status = json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": "is being terminated",
                "details": {"causes": [cause]}});
            let status: kube::core::Status = serde_json::from_value(status).unwrap();
            ClusterError::request("apply Service/x", Mask::default)(kube::Error::Api(Box::new(status)))
                .is_namespace_going()
        };
        assert!(going("NamespaceTerminating") && !going("FieldValueInvalid"));
    }

    #[test]
    fn only_an_invalid_object_has_invalid_fields() {
        assert_eq!(refused("Job", "Invalid", "field is immutable").invalid_fields()[0].field, "data");
        assert!(refused("Job", "Forbidden", "field is immutable").invalid_fields().is_empty());
        for words in [
            "jobs \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: field is immutable",
            "admission webhook \"w.example.com\" denied the request: field is immutable",
        ] {
            assert!(refused("Job", "Invalid", words).invalid_fields().is_empty(), "{words}");
        }
    }
}
