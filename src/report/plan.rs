//! What a change in git would do, as people are shown it before it is merged: on a pull request, on a page and in a
//! terminal. Plain values; who made them has masked what nobody may read. Pure.
//!
//! - `summary`: the line of a commit status
//! - `markdown`: the comment on a pull request
//! - `text`: a terminal
//! - `lines`: what the last two have in common

mod lines;
mod markdown;
mod summary;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::Annotation;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// How it ends.
    pub verdict: PlanVerdict,
    /// The commit it is merged with, or compared with: what is in force.
    pub base: Option<String>,
    /// The branch of that commit.
    pub branch: Option<String>,
    /// The commit that is proposed; none for files that lie on disk.
    pub head: Option<String>,
    /// The number of the pull request.
    pub pull: Option<u64>,
    /// When it was made, in seconds since 1970; RFC 3339 in JSON.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub made: i64,
    /// Stores that would change, or that can't be planned, by name.
    pub stores: Vec<StorePlanReport>,
    /// What is wrong with files.
    pub problems: Vec<PlanProblem>,
    /// What the deletion budget or protection refuses, in words with what to do.
    pub blocked: Vec<String>,
    /// What to know about the fleet as a whole.
    pub warnings: Vec<String>,
    /// What was left out because there is too much of it.
    pub truncated: Truncated,
    /// How many stores stay as they are.
    pub unchanged: usize,
}

/// How a plan ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PlanVerdict {
    /// Nothing would change.
    Nothing,
    /// Something would change.
    Changes,
    /// The deletion budget, or protection, refuses removals.
    Blocked,
    /// A file is wrong, or a store can't be planned or would fail.
    Wrong,
}

/// What a plan does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Truncated {
    /// Stores that would change too and were not tried on the API server.
    pub stores: usize,
    /// Objects of listed stores.
    pub objects: usize,
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanProblem {
    /// The file's path in the repository; empty when it is about the repository as a whole.
    pub path: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What would become of one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorePlanReport {
    /// Its name.
    pub store: String,
    /// What shoppers read.
    pub display_name: Option<String>,
    /// What would be done.
    pub action: StoreAction,
    /// Where it answers, or will.
    pub host: Option<String>,
    /// What would be done to its objects, in the order of doing it.
    pub objects: Vec<ObjectChange>,
    /// What is lost for good.
    pub lost: Vec<Lost>,
    /// What to know before it is merged.
    pub warnings: Vec<String>,
    /// Why it can't be planned, or would fail.
    pub trouble: Option<String>,
    /// When that happens, where it is not at once after the merge; for removals always.
    pub when: Option<String>,
}

/// What would be done with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum StoreAction {
    /// It would be made.
    Add,
    /// Some of it would change.
    Change,
    /// It would be deleted with everything in it.
    Remove,
    /// Its file is gone, and it would be kept: its removal is refused.
    Keep,
    /// It can't be planned, or a run would fail.
    Wrong,
}

/// What would be done to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// What.
    pub action: ObjectAction,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The fields that would change.
    pub fields: Vec<FieldChange>,
    /// What else there is to say of it.
    pub note: Option<String>,
}

/// What would be done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ObjectAction {
    /// It would be made.
    Add,
    /// Fields of it would change.
    Change,
    /// It would be deleted.
    Remove,
    /// It would be deleted and made anew, because a field can't change in place.
    Recreate,
    /// The API server refuses it, or a run would; the note says why.
    Refused,
}

/// A field that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Where it is, such as `spec.template.spec.containers[medusa].image`.
    pub path: String,
    /// What it is now; none when it is not there.
    pub before: Option<String>,
    /// What it would be; none when it would not be there.
    pub after: Option<String>,
}

/// What is lost for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// What it is.
    pub what: LostKind,
    /// Its name.
    pub name: String,
    /// How large it is, as Kubernetes writes it.
    pub size: Option<String>,
    /// When it was made, as RFC 3339.
    pub created: Option<String>,
    /// How long ago that is, in words.
    pub age: Option<String>,
    /// What else there is to say of it.
    pub note: Option<String>,
}

/// What can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum LostKind {
    /// A namespace with everything in it.
    Namespace,
    /// A claim with what its volume holds.
    Volume,
}

impl PlanVerdict {
    /// Whether a merge would be a mistake.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Blocked | Self::Wrong)
    }
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, message } = self;
        if path.is_empty() {
            return f.write_str(message);
        }
        f.write_str(path)?;
        for place in [line, column].into_iter().map_while(Option::as_ref) {
            write!(f, ":{place}")?;
        }
        write!(f, ": {message}")
    }
}

impl PlanReport {
    /// Returns what is wrong at known places of files.
    pub fn annotations(&self) -> Vec<Annotation> {
        let placed = self.problems.iter().filter_map(|problem| {
            let PlanProblem { path, line, column, message } = problem.clone();
            let column = column.and_then(|column| u32::try_from(column).ok());
            Some(Annotation { path, line: u32::try_from(line?).ok()?, column, message })
        });
        placed.collect()
    }
}

/// Times as other programs read them.
mod rfc3339 {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::report::moment;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
    pub(super) fn serialize<S: Serializer>(seconds: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&moment::utc(*seconds))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        moment::seconds(&text).ok_or_else(|| D::Error::custom("a time is written as 2026-11-22T13:45:00Z"))
    }
}
