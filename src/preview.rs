//! What the daemon would do if it ran now with these files: the plan of a whole fleet, by the daemon's own
//! functions, without acting.

use std::collections::BTreeMap;

use crate::names::StoreId;
use crate::plan::{self, Fate, RemovalRules, Removals, StorePlan};
use crate::reconcile::{self, Context, RunError};
use crate::store::{Problem, Snapshot, StoreEntry};

/// The plan of a fleet.
#[derive(Debug, Default)]
pub struct FleetPlan {
    /// Stores whose files are good, with what a run would do.
    pub stores: BTreeMap<StoreId, Result<StorePlan, RunError>>,
    /// Everything wrong with files, whether they name a store or not.
    pub problems: Vec<Problem>,
    /// What would become of stores that no file names. What the daemon deleted lately is not counted here.
    pub removals: Removals,
    /// Approvals of removals that are not removed, if there are any.
    pub idle_approvals: Option<String>,
}

/// How a plan ends, worst first; the exit code of `storekeeper plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A file is wrong or a store can't be planned.
    Wrong,
    /// The deletion budget, or protection, refuses removals.
    Blocked,
    /// Something would change.
    Changes,
    /// Nothing would change.
    Nothing,
}

impl FleetPlan {
    /// Judges the plan as a whole.
    pub fn verdict(&self) -> Verdict {
        let wrong = |plan: &Result<StorePlan, RunError>| {
            matches!(plan, Err(_) | Ok(StorePlan::NotOurs(_) | StorePlan::Held(_)))
        };
        let changes = |plan: &Result<StorePlan, RunError>| match plan {
            Ok(StorePlan::Converged) => false,
            // Only the record of what it was made from would change.
            Ok(StorePlan::Sync(waves)) => !waves.is_empty(),
            _ => true,
        };
        if !self.problems.is_empty() || self.stores.values().any(wrong) {
            Verdict::Wrong
        } else if self.removals.refusal().is_some() {
            Verdict::Blocked
        } else if !self.removals.fates.is_empty() || self.stores.values().any(changes) {
            Verdict::Changes
        } else {
            Verdict::Nothing
        }
    }
}

/// Plans every store of a snapshot against the cluster as it is.
pub async fn fleet(context: &Context, snapshot: &Snapshot) -> FleetPlan {
    let mut plan = FleetPlan { problems: snapshot.problems.clone(), ..FleetPlan::default() };
    for (id, entry) in &snapshot.stores {
        match entry {
            StoreEntry::Rejected(problems) => plan.problems.extend(problems.iter().cloned()),
            StoreEntry::Accepted(store) => {
                let planned = reconcile::plan_store(context, store, snapshot.revision.as_str()).await;
                plan.stores.insert(id.clone(), planned.map(|planned| planned.plan));
            }
        }
    }
    let has_file = |store: &StoreId| snapshot.stores.contains_key(store);
    let (observed, fleet) = context.cluster.without_file(&has_file);
    let now = (context.surroundings.clock)();
    plan.removals = plan::removals(
        &has_file,
        &observed,
        &RemovalRules::new(&context.source, &snapshot.fleet, fleet, now),
    );
    plan.idle_approvals = plan::idle_approvals(&has_file, &snapshot.fleet.deletion_budget);
    // What is going already is no change to come.
    plan.removals.fates.retain(|_, fate| *fate != Fate::Going);
    plan
}
