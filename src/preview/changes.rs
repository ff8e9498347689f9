//! Which stores a change touches. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::differs;
use crate::names::StoreId;
use crate::plan;
use crate::report::{StoreAction, StorePlanReport};
use crate::store::{Problem, Snapshot, Store, StoreEntry};

/// What differs between two snapshots.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    /// Stores with good files that are new or say something else.
    pub(super) planned: Vec<StoreChange<'a>>,
    /// What is wrong with files, and was not before.
    pub(super) problems: Vec<Problem>,
    /// What is wrong and was before, and what else holds for the fleet.
    pub(super) warnings: Vec<String>,
    /// How many stores say what they said.
    pub(super) unchanged: usize,
}

/// A store with a good file.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreChange<'a> {
    /// What its file said before; none when there was no good one.
    pub(super) before: Option<&'a Arc<Store>>,
    /// What it says.
    pub(super) store: &'a Arc<Store>,
}

impl<'a> Changes<'a> {
    pub(super) fn between(base: Option<&'a Snapshot>, proposed: &'a Snapshot) -> Self {
        let mut changes = Self::default();
        let mut left_wrong = BTreeSet::new();
        for problem in &proposed.problems {
            if base.is_some_and(|base| base.problems.contains(problem)) {
                left_wrong.insert(problem.file.as_str());
            } else {
                changes.problems.push(problem.clone());
            }
        }
        for (id, entry) in &proposed.stores {
            let before = base.and_then(|base| base.stores.get(id));
            match entry {
                StoreEntry::Rejected(problems) if before.is_some_and(|it| it.problems() == problems) => {
                    left_wrong.extend(problems.iter().map(|problem| problem.file.as_str()));
                }
                StoreEntry::Rejected(problems) => changes.problems.extend(problems.iter().cloned()),
                StoreEntry::Accepted(store) => {
                    let change = StoreChange { before: before.and_then(StoreEntry::accepted), store };
                    if base.is_none() || differs(&change) {
                        changes.planned.push(change);
                    } else {
                        changes.unchanged += 1;
                    }
                }
            }
        }
        if !left_wrong.is_empty() {
            let files: Vec<_> = left_wrong.into_iter().collect();
            let listed = plan::shortened_list(&files, 5);
            changes.warnings.push(format!("wrong before and not mended here: {listed}"));
        }
        changes.warnings.extend(fleet(base, proposed));
        changes
    }
}

/// What there is to say of the fleet file.
fn fleet(base: Option<&Snapshot>, proposed: &Snapshot) -> Vec<String> {
    let mut warnings = Vec::new();
    let has_file = |store: &StoreId| proposed.stores.contains_key(store);
    let idle = plan::idle_approvals(&has_file, &proposed.fleet.deletion_budget);
    let known = base.and_then(|base| {
        let had_file = |store: &StoreId| base.stores.contains_key(store);
        plan::idle_approvals(&had_file, &base.fleet.deletion_budget)
    });
    warnings.extend(idle.filter(|idle| known.as_ref() != Some(idle)));
    let Some(base) = base else { return warnings };
    let (before, after) = (&base.fleet, &proposed.fleet);
    if before.domain != after.domain {
        warnings.push(format!(
            "the fleet's domain becomes {} (it was {}): every store without a host of its own moves there, and its old \
             address stops answering",
            after.domain, before.domain
        ));
    }
    let (old, new) = (&before.deletion_budget, &after.deletion_budget);
    for (name, old, new) in
        [("maxStores", old.max_stores, new.max_stores), ("maxPercent", old.max_percent, new.max_percent)]
    {
        if new > old {
            warnings.push(format!(
                "spec.deletionBudget.{name} is raised from {old} to {new}: more stores may go at once"
            ));
        }
    }
    if after.deletion_grace_seconds < before.deletion_grace_seconds {
        warnings.push(format!(
            "stores without a file are kept for {} s only (it was {} s)",
            after.deletion_grace_seconds, before.deletion_grace_seconds
        ));
    }
    warnings
}

/// Says of stores that come with the host or the name of one that goes that they are not the same.
pub(super) fn warn_of_renames(stores: &mut [StorePlanReport]) {
    let going: Vec<_> = stores.iter().filter(|it| it.action == StoreAction::Remove).cloned().collect();
    for store in stores.iter_mut().filter(|it| it.action == StoreAction::Add) {
        let named = |it: &StorePlanReport| it.display_name.clone().filter(|name| *name != it.store);
        let same = going.iter().find(|it| {
            it.host.is_some() && it.host == store.host || named(it).is_some() && named(it) == named(store)
        });
        if let Some(old) = same {
            store.warnings.push(format!(
                "it looks like store {} under another name: that one is deleted with its data, and nothing is moved",
                old.store
            ));
        }
    }
}
