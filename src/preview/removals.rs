//! What would become of stores without a file.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use super::{Outlook, Plan, STORES_AT_ONCE, holds};
use crate::cluster::Claim;
use crate::names::{ANNOTATION_HOST, StoreId};
use crate::plan::{self, Fate, Hold, ObservedNamespace, RemovalRules, Removals, moment};
use crate::reconcile::Context;
use crate::report::{Lost, LostKind, StoreAction, StorePlanReport};
use crate::store::{Pause, Snapshot};

/// Of how many removed stores the volumes are listed.
const MOST_LISTED: usize = 100;

/// What a plan says of them.
#[derive(Debug, Default)]
pub(super) struct PlannedRemovals {
    pub(super) stores: Vec<StorePlanReport>,
    pub(super) blocked: Vec<String>,
}

/// Plans the removal of stores that lose their file, and of those whose removal this change decides otherwise.
pub(super) async fn plan(plan: &Plan<'_>) -> PlannedRemovals {
    let (mut removals, observed) = decide(plan.context, plan.proposed, plan.outlook);
    let before = plan.base.map(|base| decide(plan.context, base, plan.outlook).0);
    removals.fates.retain(|store, fate| {
        let known = before.as_ref().and_then(|before| before.fates.get(store));
        *fate != Fate::Going && !known.is_some_and(|known| is_same(known, fate))
    });
    let mut planned = PlannedRemovals::default();
    planned.blocked.extend(removals.refusal());
    let fates = removals.fates.iter().filter_map(|(store, fate)| Some((store, *fate, observed.get(store)?)));
    let mut listed = 0;
    let reports = fates.map(|(store, fate, namespace)| {
        let goes = is_removal(fate);
        listed += usize::from(goes);
        let lists = goes && listed <= MOST_LISTED;
        async move { report(plan, store, fate, namespace, lists).await }
    });
    let reports: Vec<_> = reports.collect();
    planned.stores = futures::stream::iter(reports).buffered(STORES_AT_ONCE).collect().await;
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

fn is_removal(fate: Fate) -> bool {
    matches!(fate, Fate::Grace { .. } | Fate::Due { .. })
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

async fn report(
    plan: &Plan<'_>,
    store: &StoreId,
    fate: Fate,
    namespace: &ObservedNamespace,
    lists: bool,
) -> StorePlanReport {
    let before = plan.base.and_then(|base| base.stores.get(store)?.accepted());
    let action = if is_removal(fate) { StoreAction::Remove } else { StoreAction::Keep };
    let mut report = StorePlanReport {
        store: store.to_string(),
        display_name: before.map(|store| store.display_name.clone()),
        action,
        host: namespace.annotations.get(ANNOTATION_HOST).cloned(),
        objects: Vec::new(),
        lost: Vec::new(),
        warnings: Vec::new(),
        trouble: None,
        when: when(plan, fate),
    };
    if action == StoreAction::Keep {
        return report;
    }
    if let Some(cluster) = plan.proposed.elsewhere.get(store) {
        report.warnings.push(format!(
            "it moves to cluster {cluster}, where an empty one is made: its data does not move with it"
        ));
    }
    if let Some(hold) = hold(plan, store, namespace) {
        report.warnings.push(format!("it is {hold}: it is not deleted before"));
        report.when = Some(format!("{}, or later", holds::when(&hold)));
    }
    let now = plan.outlook.now;
    report.lost.push(Lost {
        what: LostKind::Namespace,
        name: store.namespace(),
        size: None,
        created: namespace.created.map(moment::utc),
        age: namespace.created.map(|created| moment::span(now.saturating_sub(created))),
        note: Some("everything in it, volumes included".to_owned()),
    });
    if lists {
        match plan.context.cluster.claims(&store.namespace()).await {
            Ok(claims) => {
                let retaining = plan.retaining().await;
                report.lost.extend(claims.iter().map(|claim| volume(claim, retaining, now)));
            }
            Err(error) => report.warnings.push(format!("failed to {error}: its volumes are not known")),
        }
    } else {
        report.warnings.push("its volumes are not listed: too many stores are removed at once".to_owned());
    }
    let inventory = plan.context.cluster.observe(store).inventory;
    if inventory.is_some_and(|inventory| inventory.final_backup.is_some()) {
        report.warnings.push("a final backup is made before; without it the store is kept".to_owned());
    }
    report
}

/// What keeps a store without a file from being deleted: a pause in its last file, one of the whole fleet, or its window.
fn hold(plan: &Plan<'_>, store: &StoreId, namespace: &ObservedNamespace) -> Option<Hold> {
    let last = plan.base.and_then(|base| base.stores.get(store)?.accepted());
    let marked = namespace.paused_until();
    let marked = marked.map(|until| Pause { until, reason: "its last file says so".to_owned() });
    let pause = last.map_or(marked, |last| last.pause.clone());
    plan::hold(store, pause.as_ref(), &plan.proposed.fleet, plan.outlook.now)
}

/// When a removal is carried out. After a merge its time begins anew; a plan of files on disk counts from now.
fn when(plan: &Plan<'_>, fate: Fate) -> Option<String> {
    let unless = "unless its file comes back before";
    match fate {
        Fate::Due { .. } => Some("at once".to_owned()),
        Fate::Grace { since, until } if plan.base.is_some() && since >= plan.outlook.now => {
            Some(format!("{} after the merge, {unless}", moment::span(until.saturating_sub(since))))
        }
        Fate::Grace { until, .. } => Some(format!("at {}, {unless}", moment::utc(until))),
        Fate::Refused { .. } | Fate::Protected | Fate::Going => None,
    }
}

/// Says what is lost with a claim.
pub(super) fn volume(claim: &Claim, retaining: &BTreeSet<String>, now: i64) -> Lost {
    let Claim { name, requested, actual, storage_class, created } = claim;
    let is_retained = storage_class.as_ref().is_some_and(|class| retaining.contains(class));
    let retained = || {
        "its StorageClass retains the volume itself, for an administrator to recover or to delete".to_owned()
    };
    Lost {
        what: LostKind::Volume,
        name: name.clone(),
        size: actual.clone().or_else(|| requested.clone()),
        created: created.map(moment::utc),
        age: created.map(|created| moment::span(now.saturating_sub(created))),
        note: is_retained.then(retained),
    }
}

impl Plan<'_> {
    /// Returns the `StorageClasses` whose volumes stay, asked for once a plan. Whoever may not list them takes every volume for
    /// lost.
    pub(super) async fn retaining(&self) -> &BTreeSet<String> {
        let ask = async || self.context.cluster.retaining_classes().await.unwrap_or_default();
        self.retaining.get_or_init(ask).await
    }
}
