//! Concludes what state each store is in, and holds those conclusions for whoever shows them. Pure.
//!
//! - `step`: the steps on the way to READY, and their time-outs
//! - `readiness`: what a workload's status says
//! - `symptoms`: what pods and events say besides
//! - `probe`: what is asked of the shop itself
//! - `rollout`: what runs when a newer version does not come up
//! - `verdict`: the state that follows from all of these
//! - `status`: what is said on a forge about a commit
//! - `commit`: what becomes of a commit, store by store
//! - `delivery`: everything that a forge is told
//! - `plan`: what a change in git would do, and `plans` the newest of these
//! - `event`: what happened, `history` the newest of it, and `origin` which pull request brought a commit
//! - `statistics`: the last thirty days in numbers
//! - `inspection`: what is inside a store's namespace
//! - `replicas`: who shares the stores with us
//! - `board`: all of that in one picture, and `bell` rings when it changes
//! - `moment`: times as they are written

mod bell;
mod board;
mod commit;
mod delivery;
mod event;
mod history;
mod inspection;
pub mod moment;
mod origin;
mod plan;
mod plans;
mod probe;
mod readiness;
mod replicas;
mod rollout;
mod statistics;
mod status;
mod step;
mod symptoms;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{ClusterName, Host, StoreId};

pub use bell::Bell;
pub use board::{Board, BoardReader, Picture, Stores};
pub use commit::{
    Change, CommitBook, CommitHead, CommitReport, Moved, NewCommit, Progress, StoreVerdict, changes, status,
};
pub use delivery::Delivery;
pub use event::{Event, EventKind, Origin};
pub use history::{EventReader, EventsWanted, History, HistoryReader, Remembered, Sample};
pub use inspection::{Health, Inspection, ObjectHealth, PodHealth, VersionReport, pod_health};
pub use origin::pull_request_in;
pub use plan::{
    FieldChange, Lost, LostKind, ObjectAction, ObjectChange, PlanProblem, PlanReport, PlanVerdict,
    StoreAction, StorePlanReport, Truncated,
};
pub use plans::{Plans, PlansReader};
pub use probe::{ProbeFailure, ProbeTarget, ProbeTargetError, Probed};
pub use readiness::{Readiness, WORKLOAD_KINDS, Workload, workload};
pub use replicas::{Replica, Replicas, Role};
pub use rollout::{Version, failed_rollout, rolled_back, silent_rollout};
pub use statistics::{DAYS, Day, Statistics};
pub use status::{Annotation, CommitState, CommitStatus, DESCRIPTION_MAX, one_line};
pub use step::{Step, StepTimeout, StepTimeoutError, StepTimeouts};
pub use symptoms::{Symptom, explain, symptoms};
pub use verdict::{Evidence, Verdict, judge};

/// The state of a store, as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StoreState {
    /// Git wants the store; nothing of it is in the cluster yet.
    Requested,
    /// Its objects are applied or being applied; something does not run yet.
    Provisioning,
    /// Every object is applied, every workload ran with them, and a shopper can buy.
    Ready,
    /// It was READY with what git wants now, and a shopper can't buy any more.
    Degraded,
    /// Something is wrong; the reason says what, and when the next try comes.
    Failed,
    /// Git says that nothing of it shall be changed until a moment; the reason says how it is.
    Paused,
    /// Its file is gone, and it is being deleted or will be.
    Deleting,
}

impl StoreState {
    /// Every state, in the order of a store's life.
    pub const ALL: [Self; 7] = [
        Self::Requested,
        Self::Provisioning,
        Self::Ready,
        Self::Degraded,
        Self::Failed,
        Self::Paused,
        Self::Deleting,
    ];

    /// Returns the state as pages and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Provisioning => "PROVISIONING",
            Self::Ready => "READY",
            Self::Degraded => "DEGRADED",
            Self::Failed => "FAILED",
            Self::Paused => "PAUSED",
            Self::Deleting => "DELETING",
        }
    }
}

/// What there is to say about a store. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreReport {
    /// The store's id.
    pub name: StoreId,
    /// The name that shoppers see.
    pub display_name: Option<String>,
    /// The state.
    pub state: StoreState,
    /// The step on the way to READY that is not done; none when nothing is to be done.
    pub step: Option<Step>,
    /// Why it is in that state.
    pub reason: String,
    /// Since when.
    pub since: i64,
    /// Where shoppers find it.
    pub url: Option<String>,
    /// The commit that git wants it at.
    pub revision: Option<String>,
    /// The commit it was last applied at.
    pub applied_revision: Option<String>,
    /// When its namespace was made.
    pub created: Option<i64>,
    /// The last error, kept until the store is READY again.
    pub last_error: Option<String>,
    /// When a failed run is tried again.
    pub next_retry: Option<i64>,
    /// When the shop itself last answered as a shopper needs it.
    pub answered: Option<i64>,
    /// When it is deleted, while its file is gone and its grace period lasts.
    pub deletes_at: Option<i64>,
    /// The commit that last changed what git wants of it.
    pub origin: Option<Origin>,
    /// What the fleet file calls the cluster that it is on, where it lists several.
    pub cluster: Option<String>,
    /// The replica that keeps it, where several share the stores.
    pub keeper: Option<String>,
}

/// What holds for the fleet as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FleetReport {
    /// The newest commit whose snapshot is in force.
    pub revision: Option<String>,
    /// Who signed that commit, when signatures are looked at.
    pub signer: Option<String>,
    /// Why that commit is not believed, though it is followed.
    pub distrust: Option<String>,
    /// Why newer commits are not followed, if they are not.
    pub frozen: Option<String>,
    /// Removals refused by the deletion budget, and what to do.
    pub removals_refused: Option<String>,
    /// Problems in files that name no store.
    pub problems: Vec<String>,
    /// Whether the first pass over all stores is finished.
    pub ready: bool,
    /// Why shops are not asked before they count as READY, if they are not.
    pub not_asked: Option<String>,
    /// Until when no request is sent because the API server asked for that, in seconds since 1970.
    pub held_until: Option<i64>,
    /// How many new stores the operator's caps keep waiting, and which cap, if any.
    pub admission: Option<String>,
    /// Which stores are paused, or that all are, until when and why.
    pub paused: Option<String>,
    /// Which stores wait for a change window, or that all windows are open in an emergency.
    pub window: Option<String>,
    /// Why the forge is not told what there is to tell, if it is not.
    pub forge: Option<String>,
    /// Why what happens is not written into the journal, if it is not.
    pub journal: Option<String>,
    /// The domain under which stores without a host of their own answer.
    pub domain: Option<String>,
    /// Further domains in which stores' hosts may lie.
    #[serde(skip)]
    pub domains: Arc<BTreeSet<Host>>,
    /// What the fleet file calls this cluster, where it lists several.
    pub cluster: Option<String>,
    /// The stores that are on other clusters, by what their files say, and on which.
    #[serde(skip)]
    pub elsewhere: Arc<BTreeMap<StoreId, ClusterName>>,
    /// Namespaces of this source that are left alone, because they are another cluster's or nobody's, and what to do.
    pub strays: Option<String>,
    /// Who shares the stores, where there are several replicas.
    pub replicas: Option<Replicas>,
}

impl StoreReport {
    /// Starts the report of a store just heard of.
    pub fn new(name: StoreId, now: i64) -> Self {
        Self {
            name,
            display_name: None,
            state: StoreState::Requested,
            step: None,
            reason: "waiting for its first run".to_owned(),
            since: now,
            url: None,
            revision: None,
            applied_revision: None,
            created: None,
            last_error: None,
            next_retry: None,
            answered: None,
            deletes_at: None,
            cluster: None,
            origin: None,
            keeper: None,
        }
    }

    /// Says which cluster the store is on, where the fleet has several.
    #[must_use]
    pub fn on(self, cluster: Option<String>) -> Self {
        Self { cluster, ..self }
    }

    /// Moves to a state; `since` changes only when the state does. Returns the state it left, if it left one.
    pub fn enter(&mut self, state: StoreState, reason: String, now: i64) -> Option<StoreState> {
        let left = (self.state != state).then_some(self.state);
        if left.is_some() {
            self.since = now;
        }
        if matches!(state, StoreState::Failed | StoreState::Degraded) {
            self.last_error = Some(reason.clone());
        }
        if state != StoreState::Failed {
            self.next_retry = None;
        }
        if state == StoreState::Ready {
            self.last_error = None;
        }
        self.state = state;
        self.reason = reason;
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_moves_only_with_the_state_and_the_last_error_stays_until_ready() {
        let mut report = StoreReport::new("acme".parse().unwrap(), 1);
        assert_eq!(report.enter(StoreState::Failed, "broken".into(), 5), Some(StoreState::Requested));
        assert_eq!(report.enter(StoreState::Failed, "broken still".into(), 9), None);
        assert_eq!((report.since, report.last_error.as_deref()), (5, Some("broken still")));
        report.enter(StoreState::Provisioning, "again".into(), 10);
        assert_eq!(report.last_error.as_deref(), Some("broken still"));
        report.enter(StoreState::Ready, "fine".into(), 11);
        assert_eq!(report.last_error, None);
    }
}
