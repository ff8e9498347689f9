//! Everything that a forge is told. What is told replaces what was told before about the same thing.

use serde::{Deserialize, Serialize};

use super::status::{Annotation, CommitStatus};

/// Something that a forge shall show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Delivery {
    /// A verdict on a commit.
    Status {
        /// The commit.
        commit: String,
        /// The verdict.
        status: CommitStatus,
    },
    /// Our comment on a pull request.
    Comment {
        /// Its number.
        pull: u64,
        /// The comment, in Markdown.
        text: String,
    },
    /// What is wrong at lines of a pull request's files.
    Annotations {
        /// Its number.
        pull: u64,
        /// The commit that they are about.
        head: String,
        /// What is wrong.
        annotations: Vec<Annotation>,
    },
}

impl Delivery {
    /// Names what it is about.
    pub fn name(&self) -> String {
        match self {
            Self::Status { commit, status } => format!("status {commit} {}", status.context),
            Self::Comment { pull, .. } => format!("comment {pull}"),
            Self::Annotations { pull, .. } => format!("annotations {pull}"),
        }
    }

    /// Returns its place in the line, 0 first: what people wait for goes before what there may be a thousand of.
    pub fn rank(&self) -> u8 {
        match self {
            // A store with such a name gets ahead too, which is no harm.
            Self::Status { status, .. } if status.context.ends_with("/plan") => 0,
            Self::Status { status, .. } if status.context.ends_with("/all") => 1,
            Self::Comment { .. } => 1,
            Self::Annotations { .. } => 2,
            Self::Status { .. } => 3,
        }
    }
}
