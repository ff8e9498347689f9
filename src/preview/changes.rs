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
                StoreEntry::Rejected(_) if proposed.is_others_trouble(id, base) => {}
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
    for domain in after.domains.difference(&before.domains) {
        warnings.push(format!("hosts of stores may lie in {domain} from now on"));
    }
    let lost = before.clusters.names.iter().filter(|name| !after.clusters.names.contains(name));
    warnings.extend(lost.map(|name| {
        format!(
            "spec.clusters does not list {name} any more: its storekeeper follows nothing from then on, and its stores \
             stay there as they are"
        )
    }));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::{FileContent, Limits, RepositoryTree, Revision};

    const FLEET: &str = "domain: example.com";

    fn snapshot(fleet: &str, stores: &[(&str, &str)]) -> Snapshot {
        let head = |kind: &str| format!("apiVersion: storekeeper.dev/v1\nkind: {kind}\n");
        let mut files = BTreeMap::from([(
            "storekeeper.yaml".to_owned(),
            format!("{}spec: {{{fleet}}}\n", head("Fleet")),
        )]);
        for (name, spec) in stores {
            let text = format!("{}metadata: {{name: {name}}}\nspec: {{{spec}}}\n", head("Store"));
            files.insert(format!("stores/{name}.yaml"), text);
        }
        let files =
            files.into_iter().map(|(path, text)| (path, FileContent::Bytes(text.into_bytes()))).collect();
        let tree = RepositoryTree { revision: Revision::working_tree(), files };
        crate::store::read(&tree, &|_| None, &BTreeMap::new(), &Limits::default()).unwrap()
    }

    fn planned(changes: &Changes<'_>) -> Vec<(String, bool)> {
        let name = |it: &StoreChange<'_>| (it.store.id.to_string(), it.before.is_some());
        changes.planned.iter().map(name).collect()
    }

    #[test]
    fn only_stores_that_say_something_else_are_planned() {
        let base = snapshot(FLEET, &[("acme", ""), ("bonsai", ""), ("daisy", "nonsense: 1"), ("elm", "")]);
        let proposed = snapshot(
            FLEET,
            &[
                ("acme", "protect: true"),
                ("bonsai", ""),
                ("chocolate", ""),
                ("daisy", ""),
                ("elm", "rollback: lastGood"),
            ],
        );
        let changes = Changes::between(Some(&base), &proposed);
        let of = |name: &str, was_there| (name.to_owned(), was_there);
        let expected = [of("acme", true), of("chocolate", false), of("daisy", false), of("elm", true)];
        assert_eq!(planned(&changes), expected);
        assert_eq!(changes.unchanged, 1);
        assert_eq!(Changes::between(None, &proposed).planned.len(), 5);
    }

    #[test]
    fn what_was_wrong_before_is_no_problem_of_the_change() {
        let base = snapshot(FLEET, &[("acme", "nonsense: 1"), ("Bad", "")]);
        let proposed = snapshot(FLEET, &[("acme", "nonsense: 1"), ("Bad", ""), ("bonsai", "folly: 1")]);
        let changes = Changes::between(Some(&base), &proposed);
        let files: Vec<_> = changes.problems.iter().map(|it| it.file.as_str()).collect();
        assert_eq!(files, ["stores/bonsai.yaml"]);
        assert_eq!(changes.warnings, ["wrong before and not mended here: stores/Bad.yaml, stores/acme.yaml"]);
        let worse = snapshot(FLEET, &[("acme", "nonsense: 1, folly: 1"), ("Bad", "")]);
        assert!(!Changes::between(Some(&base), &worse).problems.is_empty());
        assert_eq!(Changes::between(None, &base).problems.len(), 2);
    }

    #[test]
    fn a_fleet_that_gets_less_safe_is_told() {
        let base = snapshot("domain: example.com, deletionBudget: {maxStores: 2}", &[("acme", "")]);
        let more = "domain: example.org, deletionGracePeriodSeconds: 10, deletionBudget: {maxStores: 9, approved: [acme]}";
        let said = Changes::between(Some(&base), &snapshot(more, &[("acme", "")])).warnings;
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[0].contains("so their next removal is approved already") && said[0].contains("(acme)"));
        assert!(said[1].contains("example.org (it was example.com)"));
        assert!(said[2].contains("maxStores is raised from 2 to 9"));
        assert!(said[3].contains("kept for 10 s only (it was 300 s)"));
        let again = snapshot(more, &[("acme", "")]);
        assert_eq!(Changes::between(Some(&again), &again).warnings, [""; 0]);
    }
}
