//! Which charts are not trusted with Secrets while a change is planned: what writes a file must not make them tell.

use std::collections::BTreeMap;

use super::changes::StoreChange;
use crate::reconcile::Context;
use crate::store::{Snapshot, StoreChart};

/// Returns the charts of stores that would be planned with which no Secret may be used, by name, and why.
pub(super) async fn untrusted(
    context: &Context,
    base: Option<&Snapshot>,
    changes: &[StoreChange<'_>],
) -> BTreeMap<String, String> {
    let charts: BTreeMap<_, _> =
        changes.iter().map(|change| (&change.store.chart.name, &change.store.chart)).collect();
    let mut untrusted = BTreeMap::new();
    for (name, chart) in charts {
        if let Some(reason) = reason(context, base, chart).await {
            untrusted.insert(name.clone(), reason);
        }
    }
    untrusted
}

async fn reason(context: &Context, base: Option<&Snapshot>, chart: &StoreChart) -> Option<String> {
    let name = &chart.name;
    let in_force = base.map(|base| base.fleet.charts.find(Some(name)));
    let is_same = |found: Option<&Result<std::sync::Arc<StoreChart>, _>>| {
        found.is_some_and(|found| found.as_ref().is_ok_and(|it| it.source == chart.source))
    };
    if !chart.source.is_built_in() && in_force.is_some_and(|found| !is_same(found)) {
        return Some(format!(
            "chart `{name}` is not the one in force, and its templates could read what Secrets hold"
        ));
    }
    // What can't be loaded is said where its stores are planned.
    let loaded = context.charts.load(chart).await.ok()?;
    loaded.calls("tpl").then(|| {
        format!("chart `{name}` passes texts through `tpl`, so that a value could read what Secrets hold")
    })
}
