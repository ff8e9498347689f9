//! What happened, event by event: the audit trail that the journal keeps and the page shows. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Change, Step, StoreState};
use crate::names::StoreId;

/// What kind of thing happened. Names are a promise: they stand in journals, exports and answers of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A commit is in force.
    CommitFollowed,
    /// A commit is not followed.
    CommitRefused,
    /// A commit changes the store's file, or what holds for all stores.
    FileChanged,
    /// The store's namespace was made.
    NamespaceMade,
    /// Objects were applied or pruned.
    Applied,
    /// A step on the way to READY is done.
    StepDone,
    /// The store entered another state.
    StateEntered,
    /// An object was put back after somebody else changed or deleted it.
    DriftHealed,
    /// Somebody else undoes again and again what is put back.
    FightBegun,
    /// Nobody undoes it any more.
    FightEnded,
    /// The store, or the fleet, is paused.
    Paused,
    /// The pause is over.
    Resumed,
    /// A removal is refused, by the deletion budget or by protection.
    RemovalRefused,
    /// The deletion of the store's namespace was asked for.
    DeletionBegun,
    /// Nothing of the store is left.
    Deleted,
    /// Newer commits are not followed from here on.
    Frozen,
    /// Newer commits are followed again.
    Thawed,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::CommitFollowed,
        Self::CommitRefused,
        Self::FileChanged,
        Self::NamespaceMade,
        Self::Applied,
        Self::StepDone,
        Self::StateEntered,
        Self::DriftHealed,
        Self::FightBegun,
        Self::FightEnded,
        Self::Paused,
        Self::Resumed,
        Self::RemovalRefused,
        Self::DeletionBegun,
        Self::Deleted,
        Self::Frozen,
        Self::Thawed,
    ];

    /// Returns the kind as journals and the API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CommitFollowed => "commit-followed",
            Self::CommitRefused => "commit-refused",
            Self::FileChanged => "file-changed",
            Self::NamespaceMade => "namespace-made",
            Self::Applied => "applied",
            Self::StepDone => "step-done",
            Self::StateEntered => "state-entered",
            Self::DriftHealed => "drift-healed",
            Self::FightBegun => "fight-begun",
            Self::FightEnded => "fight-ended",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::RemovalRefused => "removal-refused",
            Self::DeletionBegun => "deletion-begun",
            Self::Deleted => "deleted",
            Self::Frozen => "frozen",
            Self::Thawed => "thawed",
        }
    }
}

/// Where a commit comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The commit.
    pub revision: String,
    /// Who wrote it, by the commit's own word.
    pub author: String,
    /// Who signed it, when signatures are looked at.
    pub signer: Option<String>,
    /// The pull request that brought it, where one is known.
    pub pull: Option<u64>,
}

/// One thing that happened. Texts come from commits, files, charts and the API server: whoever shows them escapes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its number: later events have higher ones, over restarts too. Microseconds since 1970, moved on where two would meet.
    pub id: i64,
    /// When, in seconds since 1970.
    pub at: i64,
    /// What kind of thing.
    pub kind: EventKind,
    /// The store; none for what concerns the fleet.
    pub store: Option<StoreId>,
    /// What a commit does to the store.
    pub change: Option<Change>,
    /// The state that was entered.
    pub state: Option<StoreState>,
    /// The step that is done, or at which the state was entered.
    pub step: Option<Step>,
    /// How long it took, in milliseconds: the run, the step, or with a first READY all since the store was seen in git.
    pub took_ms: Option<u64>,
    /// The commit behind it.
    pub origin: Option<Origin>,
    /// The cause in words.
    pub words: String,
}

impl Event {
    /// Returns what two have in common who saw the same thing happen.
    #[must_use]
    pub fn essence(&self) -> Self {
        let revision = self.origin.as_ref().map(|origin| origin.revision.clone());
        let origin = revision.map(|revision| Origin { revision, ..Origin::default() });
        // A state is entered at whatever step one happened to look.
        let step = self.step.filter(|_| self.kind == EventKind::StepDone);
        let (id, at, words, took_ms) = (0, 0, String::new(), None);
        Self { id, at, step, took_ms, origin, words, ..self.clone() }
    }

    /// Describes something that happened at `at`, in seconds since 1970; [`super::History::push`] numbers it.
    pub fn new(at: i64, kind: EventKind, store: Option<StoreId>, words: impl Into<String>) -> Self {
        Self {
            id: 0,
            at,
            kind,
            store,
            change: None,
            state: None,
            step: None,
            took_ms: None,
            origin: None,
            words: words.into(),
        }
    }
}
