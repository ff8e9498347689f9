//! What would become of stores without a file.

use std::collections::BTreeMap;

use super::Outlook;
use crate::names::{ANNOTATION_HOST, StoreId};
use crate::plan::{self, Fate, ObservedNamespace, RemovalRules, Removals, moment};
use crate::reconcile::Context;
use crate::report::{Lost, LostKind, StoreAction, StorePlanReport};
use crate::store::Snapshot;

/// What a plan says of them.
#[derive(Debug, Default)]
pub(super) struct PlannedRemovals {
    pub(super) stores: Vec<StorePlanReport>,
    pub(super) blocked: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Plans the removal of stores that lose their file, and of those whose removal this change lets happen.
pub(super) async fn plan(
    context: &Context,
    base: Option<&Snapshot>,
    proposed: &Snapshot,
    outlook: &Outlook,
) -> PlannedRemovals {
    let (mut removals, observed) = decide(context, proposed, outlook);
    let before = base.map(|base| decide(context, base, outlook).0);
    removals.fates.retain(|store, fate| {
        let unchanged =
            before.as_ref().and_then(|before| before.fates.get(store)).is_some_and(|it| is_same(it, fate));
        !unchanged && *fate != Fate::Going
    });
    let mut planned = PlannedRemovals::default();
    planned.blocked.extend(removals.refusal());
    for (store, fate) in &removals.fates {
        let Some(namespace) = observed.get(store) else { continue };
        planned.stores.push(report(store, *fate, namespace, base, outlook));
    }
    planned
}

fn decide(
    context: &Context,
    snapshot: &Snapshot,
    outlook: &Outlook,
) -> (Removals, BTreeMap<StoreId, ObservedNamespace>) {
    let has_file = |store: &StoreId| snapshot.stores.contains_key(store);
    let (observed, fleet) = context.cluster.without_file(&has_file);
    let rules = RemovalRules {
        recent: &outlook.recent,
        refused_before: &outlook.refused_before,
        protection: &outlook.protection,
        gone: &outlook.gone,
        ..RemovalRules::new(&context.source, &snapshot.fleet, fleet, outlook.now)
    };
    (plan::removals(&has_file, &observed, &rules), observed)
}

/// Whether a store without a file fares as before, but for the time.
fn is_same(before: &Fate, after: &Fate) -> bool {
    let word = |fate: &Fate| match fate {
        Fate::Going => 0,
        Fate::Grace { .. } | Fate::Due { .. } => 1,
        Fate::Refused { .. } => 2,
        Fate::Protected => 3,
    };
    word(before) == word(after)
}

fn report(
    store: &StoreId,
    fate: Fate,
    namespace: &ObservedNamespace,
    base: Option<&Snapshot>,
    outlook: &Outlook,
) -> StorePlanReport {
    let (action, when) = match fate {
        Fate::Due { .. } => (StoreAction::Remove, Some("at once".to_owned())),
        Fate::Grace { until, .. } => {
            let at = moment::utc(until);
            (StoreAction::Remove, Some(format!("at {at}, unless its file comes back before")))
        }
        Fate::Refused { .. } | Fate::Protected | Fate::Going => (StoreAction::Keep, None),
    };
    let before = base.and_then(|base| base.stores.get(store)?.accepted());
    let lost = Lost {
        what: LostKind::Namespace,
        name: store.namespace(),
        size: None,
        created: namespace.created.map(moment::utc),
        age: namespace.created.map(|created| format!("{} s", outlook.now.saturating_sub(created))),
        note: None,
    };
    StorePlanReport {
        store: store.to_string(),
        display_name: before.map(|store| store.display_name.clone()),
        action,
        host: namespace.annotations.get(ANNOTATION_HOST).cloned(),
        objects: Vec::new(),
        lost: if action == StoreAction::Remove { vec![lost] } else { Vec::new() },
        warnings: Vec::new(),
        trouble: None,
        when,
    }
}
