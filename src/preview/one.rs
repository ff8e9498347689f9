//! What would become of one store.

use super::Outlook;
use super::changes::StoreChange;
use crate::plan::{Cause, Step, StorePlan};
use crate::reconcile::{self, Context, LookUps, Planned, RunError};
use crate::report::{ObjectAction, ObjectChange, StoreAction, StorePlanReport};
use crate::store::{Snapshot, Store};

/// What a store's plan comes to.
#[derive(Debug)]
pub(super) enum PlannedStore {
    /// A run would change nothing that anybody could see.
    Stays,
    /// It would be made or changed.
    Changes(StorePlanReport),
    /// It can't be planned, or would fail.
    Fails(StorePlanReport),
}

/// Plans one store.
pub(super) async fn plan(
    context: &Context,
    _base: Option<&Snapshot>,
    proposed: &Snapshot,
    change: &StoreChange<'_>,
    outlook: &Outlook,
) -> PlannedStore {
    let look_ups = if outlook.lookups { LookUps::Cluster } else { LookUps::Nowhere };
    let planned = reconcile::plan_store(context, change.store, proposed.revision.as_str(), &look_ups).await;
    match planned {
        Err(error) => fails(change.store, format!("failed to {error}")),
        Ok(planned) => planned_store(context, change, planned),
    }
}

fn planned_store(context: &Context, change: &StoreChange<'_>, planned: Planned) -> PlannedStore {
    let store = change.store;
    let waves = match planned.plan {
        StorePlan::Converged => return PlannedStore::Stays,
        StorePlan::AwaitDeletion => {
            let mut report = of(store, StoreAction::Change);
            report.when =
                Some("when its namespace, which is being deleted, is gone: it is made anew then".to_owned());
            return PlannedStore::Changes(report);
        }
        StorePlan::Held(reason) => return fails(store, reason),
        StorePlan::NotOurs(ownership) => {
            let owner = crate::manifest::Owner { store: &store.id, source: &context.source };
            return fails(store, format!("failed to {}", RunError::not_ours(owner, &ownership)));
        }
        StorePlan::Sync(waves) => waves,
    };
    let is_new = waves.iter().flatten().any(|step| matches!(step, Step::CreateNamespace(_)));
    let mut report = of(store, if is_new { StoreAction::Add } else { StoreAction::Change });
    report.objects = waves.iter().flatten().filter_map(object).collect();
    if report.objects.is_empty() { PlannedStore::Stays } else { PlannedStore::Changes(report) }
}

fn object(step: &Step) -> Option<ObjectChange> {
    let (action, kind, name, note) = match step {
        Step::CreateNamespace(spec) => (ObjectAction::Add, "Namespace", spec.name.as_str(), None),
        Step::ApplyNamespace { spec, .. } => (ObjectAction::Change, "Namespace", spec.name.as_str(), None),
        Step::RecordIntent(_) => return None,
        Step::Apply { manifest, cause } => {
            let (action, note) = match cause {
                Cause::New => (ObjectAction::Add, None),
                Cause::Deleted => (ObjectAction::Add, Some("somebody deleted it")),
                Cause::Changed => (ObjectAction::Change, None),
                Cause::Drifted => (ObjectAction::Change, Some("somebody else changed it")),
            };
            (action, manifest.key.kind.as_str(), manifest.key.name.as_str(), note)
        }
        Step::Prune { key, .. } => (ObjectAction::Remove, key.kind.as_str(), key.name.as_str(), None),
        Step::PruneLater { key } => {
            (ObjectAction::Remove, key.kind.as_str(), key.name.as_str(), Some("when the rest runs"))
        }
    };
    let (kind, name, note) = (kind.to_owned(), name.to_owned(), note.map(str::to_owned));
    Some(ObjectChange { action, kind, name, fields: Vec::new(), note })
}

fn fails(store: &Store, trouble: String) -> PlannedStore {
    let mut report = of(store, StoreAction::Wrong);
    report.trouble = Some(trouble);
    PlannedStore::Fails(report)
}

/// Begins the report of a store with a good file.
fn of(store: &Store, action: StoreAction) -> StorePlanReport {
    StorePlanReport {
        store: store.id.to_string(),
        display_name: Some(store.display_name.clone()),
        action,
        host: Some(store.host.to_string()),
        objects: Vec::new(),
        lost: Vec::new(),
        warnings: Vec::new(),
        trouble: None,
        when: None,
    }
}
