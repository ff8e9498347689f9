//! Which whole stores may be removed: those that no file names any more, held against what protects them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{ObservedNamespace, Ownership};
use crate::manifest::Owner;
use crate::names::{ANNOTATION_REMOVAL_REFUSED, SourceId, StoreId};
use crate::store::DeletionBudget;

/// Which stores of the cluster git no longer has, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removals {
    /// To be deleted, or being deleted already.
    pub allowed: BTreeSet<StoreId>,
    /// Over the budget: refused as a whole, until approved.
    pub refused: BTreeSet<StoreId>,
    /// The budget they were held against.
    pub max_stores: u32,
}

impl Removals {
    /// Says what was refused and what to do about it.
    pub fn refusal(&self) -> Option<String> {
        if self.refused.is_empty() {
            return None;
        }
        let names: Vec<_> = self.refused.iter().map(StoreId::as_str).collect();
        Some(format!(
            "{} stores would be removed at once, the deletion budget is {}: nothing is removed until \
             spec.deletionBudget.approved in storekeeper.yaml names them ({}) or their files come back",
            names.len(),
            self.max_stores,
            shortened_list(&names, 20),
        ))
    }
}

/// Plans the removal of whole stores. `present` holds every store that a file names, broken files included;
/// `observed` the namespaces found by name; `refused_before` what was refused a moment ago and may not be marked yet.
/// Only namespaces whose identity confirms the find are considered.
pub fn removals(
    present: &BTreeSet<StoreId>,
    observed: &BTreeMap<StoreId, ObservedNamespace>,
    source: &SourceId,
    budget: &DeletionBudget,
    refused_before: &BTreeSet<StoreId>,
) -> Removals {
    let mut removals = Removals { max_stores: budget.max_stores, ..Removals::default() };
    let mut unapproved = BTreeSet::new();
    let mut under_way = 0;
    for (store, namespace) in observed {
        if present.contains(store) || namespace.ownership(Owner { store, source }) != Ownership::Ours {
            continue;
        }
        if budget.approved.contains(store) {
            removals.allowed.insert(store.clone());
        } else if namespace.deleting_since.is_some() {
            removals.allowed.insert(store.clone());
            under_way += 1;
        } else if refused_before.contains(store)
            || namespace.annotations.contains_key(ANNOTATION_REMOVAL_REFUSED)
        {
            removals.refused.insert(store.clone());
        } else {
            unapproved.insert(store.clone());
        }
    }
    // What is going already counts: commits in a row that remove three each are one mass removal. What was
    // refused before counts too and stays refused, or a batch would slip through once half of it is marked.
    let fits = under_way + removals.refused.len() + unapproved.len() <= budget.max_stores as usize;
    if fits {
        removals.allowed.append(&mut unapproved);
    } else {
        removals.refused.append(&mut unapproved);
    }
    removals
}

/// Joins names for a message, leaving out what no reader would finish.
pub fn shortened_list(names: &[&str], most: usize) -> String {
    let shown = names.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{shown} and {} more", names.len() - most) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::super::NamespaceSpec;
    use super::*;
    use crate::names::{Host, LABEL_MANAGED_BY, LABEL_SOURCE};

    fn id(text: &str) -> StoreId {
        text.parse().unwrap()
    }

    fn source() -> SourceId {
        "main".parse().unwrap()
    }

    fn host() -> Host {
        "acme.example.com".parse().unwrap()
    }

    fn namespaces(stores: &[&str]) -> BTreeMap<StoreId, ObservedNamespace> {
        let namespace = |store: &StoreId| ObservedNamespace {
            labels: NamespaceSpec::new(Owner { store, source: &source() }, &host()).labels,
            ..ObservedNamespace::default()
        };
        stores.iter().map(|store| (id(store), namespace(&id(store)))).collect()
    }

    fn budget(max_stores: u32, approved: &[&str]) -> DeletionBudget {
        DeletionBudget { max_stores, approved: approved.iter().map(|store| id(store)).collect() }
    }

    fn ids(stores: &[&str]) -> BTreeSet<StoreId> {
        stores.iter().map(|store| id(store)).collect()
    }

    /// Plans removals with nothing refused before.
    fn remove(
        present: &[&str],
        observed: &BTreeMap<StoreId, ObservedNamespace>,
        budget: &DeletionBudget,
    ) -> Removals {
        removals(&ids(present), observed, &source(), budget, &BTreeSet::new())
    }

    #[test]
    fn removals_within_the_budget_are_allowed_and_more_are_refused_as_a_whole() {
        let observed = namespaces(&["a", "b", "c"]);
        let within = remove(&["a"], &observed, &budget(2, &[]));
        assert_eq!((within.allowed, within.refused), (ids(&["b", "c"]), ids(&[])));
        let over = remove(&[], &observed, &budget(2, &[]));
        assert_eq!((over.allowed.clone(), over.refused.clone()), (ids(&[]), ids(&["a", "b", "c"])));
        assert!(over.refusal().unwrap().contains("3 stores would be removed at once"));
    }

    #[test]
    fn approval_by_name_lets_a_refused_store_go_and_no_other() {
        let observed = namespaces(&["a", "b", "c"]);
        let result = remove(&[], &observed, &budget(1, &["b"]));
        assert_eq!((result.allowed, result.refused), (ids(&["b"]), ids(&["a", "c"])));
    }

    #[test]
    fn removals_under_way_count_against_the_budget() {
        let mut observed = namespaces(&["a", "b"]);
        observed.get_mut(&id("a")).unwrap().deleting_since = Some(1);
        let result = remove(&[], &observed, &budget(1, &[]));
        assert_eq!((result.allowed, result.refused), (ids(&["a"]), ids(&["b"])));
    }

    #[test]
    fn what_was_refused_a_moment_ago_stays_refused_before_it_is_marked() {
        let observed = namespaces(&["a", "b"]);
        let result = removals(&ids(&[]), &observed, &source(), &budget(3, &[]), &ids(&["a"]));
        assert_eq!((result.allowed, result.refused), (ids(&["b"]), ids(&["a"])));
    }

    #[test]
    fn what_was_refused_stays_refused_when_the_rest_has_gone() {
        let mut observed = namespaces(&["a"]);
        let annotations = &mut observed.get_mut(&id("a")).unwrap().annotations;
        annotations.insert(ANNOTATION_REMOVAL_REFUSED.to_owned(), "true".to_owned());
        let result = remove(&[], &observed, &budget(3, &[]));
        assert_eq!(result.refused, ids(&["a"]));
        let approved = remove(&[], &observed, &budget(3, &["a"]));
        assert_eq!(approved.allowed, ids(&["a"]));
    }

    #[test]
    fn a_namespace_that_identity_does_not_confirm_is_never_removed() {
        let mut observed = namespaces(&["a", "b"]);
        observed.get_mut(&id("a")).unwrap().labels.remove(LABEL_MANAGED_BY);
        observed.get_mut(&id("b")).unwrap().labels.insert(LABEL_SOURCE.to_owned(), "other".to_owned());
        let result = remove(&[], &observed, &budget(9, &["a", "b"]));
        assert_eq!(result, Removals { max_stores: 9, ..Removals::default() });
    }

    #[test]
    fn a_refusal_is_written_on_the_namespace_and_taken_off_when_the_file_is_back() {
        let observed = namespaces(&["acme"]).remove(&id("acme")).unwrap();
        let (store_id, source) = (id("acme"), source());
        let owner = Owner { store: &store_id, source: &source };
        let refused = NamespaceSpec::refused(owner, &observed);
        assert!(!refused.matches(&observed));
        let marked = ObservedNamespace { annotations: refused.annotations.clone(), ..observed };
        assert!(refused.matches(&marked));
        assert!(!NamespaceSpec::new(owner, &host()).matches(&marked));
    }
}
