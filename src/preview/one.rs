//! What would become of one store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::Plan;
use super::changes::StoreChange;
use super::curtain::{Curtain, Dependent};
use super::drafts::{Draft, drafts};
use super::holds;
use super::removals::volume;
use super::strangers;
use super::tries::{self, Tried, Verdict};
use super::warnings::{Facts, Touch, WITH_PODS, warnings};
use crate::cluster::ClusterError;
use crate::manifest::{ObjectKey, Owner};
use crate::plan::{Step, StorePlan};
use crate::reconcile::{self, Answers, LookUps, Planned, RunError};
use crate::report::{ObjectAction, StoreAction, StorePlanReport};
use crate::store::Store;

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

/// Plans one store, and says what holds it back.
pub(super) async fn plan(plan: &Plan<'_>, change: &StoreChange<'_>) -> PlannedStore {
    let (fleet, now) = (&plan.proposed.fleet, plan.outlook.now);
    let said = holds::of_store(change, fleet, now);
    let hold = holds::hold(change, fleet, now);
    match Box::pin(unheld(plan, change)).await {
        // Nothing but its pause changes.
        PlannedStore::Stays
            if said.is_empty() || change.before.is_none_or(|it| it.pause == change.store.pause) =>
        {
            PlannedStore::Stays
        }
        PlannedStore::Stays => {
            PlannedStore::Changes(StorePlanReport { warnings: said, ..of(change.store, StoreAction::Change) })
        }
        PlannedStore::Fails(report) => PlannedStore::Fails(report),
        PlannedStore::Changes(mut report) => {
            report.warnings.splice(0..0, said);
            report.when = hold.as_ref().map(holds::when).or(report.when);
            PlannedStore::Changes(report)
        }
    }
}

/// Plans one store as if nothing held it back.
async fn unheld(plan: &Plan<'_>, change: &StoreChange<'_>) -> PlannedStore {
    let store = change.store;
    let noted = Arc::new(Mutex::new(Answers::new()));
    let look_ups =
        if plan.reads_secrets(store) { LookUps::Noted(Arc::clone(&noted)) } else { LookUps::Nowhere };
    let planned =
        reconcile::plan_store(plan.context, store, plan.proposed.revision.as_str(), &look_ups).await;
    let answers = std::mem::take(&mut *noted.lock().unwrap_or_else(PoisonError::into_inner));
    let planned = match planned {
        Ok(planned) => planned,
        Err(error) => {
            let words = Curtain::of_answers(&store.id, &answers).text(&format!("failed to {error}"));
            return fails(store, words);
        }
    };
    match &planned.plan {
        StorePlan::Converged => PlannedStore::Stays,
        StorePlan::AwaitDeletion => {
            let mut report = of(store, StoreAction::Change);
            report.when =
                Some("when its namespace is gone, which is being deleted: it is made anew then".to_owned());
            PlannedStore::Changes(report)
        }
        StorePlan::Held(reason) => fails(store, reason.clone()),
        StorePlan::NotOurs(ownership) => {
            let owner = Owner { store: &store.id, source: &plan.context.source };
            fails(store, format!("failed to {}", RunError::not_ours(owner, ownership)))
        }
        StorePlan::Sync(waves) => match sync(plan, change, &planned, waves, &answers).await {
            Ok(planned) => planned,
            Err(error) => fails(store, format!("failed to {error}")),
        },
    }
}

/// What is known of the objects of a store that would be made or changed.
struct Findings {
    drafts: Vec<Draft>,
    tried: Vec<Option<Tried>>,
    curtain: Curtain,
    /// What there is to say besides.
    said: Vec<String>,
}

async fn sync(
    plan: &Plan<'_>,
    change: &StoreChange<'_>,
    planned: &Planned,
    waves: &[Vec<Step>],
    answers: &Answers,
) -> Result<PlannedStore, RunError> {
    let (store, observed) = (change.store, &planned.observed);
    let is_new = observed.namespace.is_none();
    let found = match (is_new || plan.reads_secrets(store), change.before) {
        (false, Some(before)) => {
            without_secrets(plan, before, planned, drafts(planned, waves), store).await?
        }
        _ => with_what_there_is(plan, planned, drafts(planned, waves), answers, is_new).await?,
    };
    let Findings { drafts, tried, curtain, said } = found;
    let touched = touched(&drafts, &tried);
    let settled = drafts.into_iter().zip(&tried);
    let drafts: Vec<_> =
        settled.filter_map(|(draft, tried)| tries::settle(draft, tried.as_ref(), &curtain)).collect();
    let touched: BTreeMap<_, _> =
        touched.into_iter().filter(|(key, _)| drafts.iter().any(|draft| draft.key == *key)).collect();
    if drafts.is_empty() {
        return Ok(PlannedStore::Stays);
    }
    let mut report = of(store, if is_new { StoreAction::Add } else { StoreAction::Change });
    let (running, limits) = if is_new || !plan.outlook.fields {
        Default::default()
    } else {
        surroundings(plan, planned, &touched).await?
    };
    let facts = Facts {
        before: change.before.map(|it| &**it),
        after: store,
        namespace: observed.namespace.as_ref(),
        manifests: &planned.manifests,
        touched: &touched,
        running: &running,
        limits: &limits,
    };
    report.warnings = warnings(&facts).iter().map(|words| curtain.text(words)).collect();
    report.warnings.extend(said.into_iter().chain(comes_from(plan, store)));
    lost(plan, &mut report, store, &drafts).await?;
    report.when = waits_for_host(plan, store, is_new);
    report.objects = drafts.into_iter().map(|draft| draft.shown(&curtain)).collect();
    Ok(judged(report))
}

/// Says that a store moves here from another cluster, if it does.
fn comes_from(plan: &Plan<'_>, store: &Store) -> Option<String> {
    let cluster = plan.base?.elsewhere.get(&store.id)?;
    Some(format!("it moves here from cluster {cluster}, and is made empty: its data does not move with it"))
}

/// A store of which an object would be refused would fail.
fn judged(mut report: StorePlanReport) -> PlannedStore {
    let refused: Vec<_> = report.objects.iter().filter(|it| it.action == ObjectAction::Refused).collect();
    let Some(first) = refused.first() else { return PlannedStore::Changes(report) };
    let more = if refused.len() > 1 { format!(" (and {} more)", refused.len() - 1) } else { String::new() };
    let words = first.note.as_deref().unwrap_or_default();
    report.trouble = Some(format!("{}/{} would be refused: {words}{more}", first.kind, first.name));
    report.action = StoreAction::Wrong;
    PlannedStore::Fails(report)
}

/// Tries the objects out, if that is asked for and there is a namespace to do it in.
async fn with_what_there_is(
    plan: &Plan<'_>,
    planned: &Planned,
    mut drafts: Vec<Draft>,
    answers: &Answers,
    is_new: bool,
) -> Result<Findings, RunError> {
    let id = &planned.store().id;
    let nothing_hidden = || Some(Dependent::default());
    if is_new || !plan.outlook.fields {
        let curtain =
            Curtain::new(id, super::curtain::secrets_in(answers), &planned.manifests, nothing_hidden());
        let tried = if plan.outlook.fields {
            tries::try_elsewhere(&plan.context.cluster, &drafts).await?
        } else {
            drafts.iter().map(|_| None).collect()
        };
        return Ok(Findings { drafts, tried, curtain, said: Vec::new() });
    }
    let (cluster, namespace) = (&plan.context.cluster, id.namespace());
    if !plan.reads_secrets(planned.store()) {
        // What it said before is not known either, so there is nothing to compare with.
        let is_secret = |draft: &Draft| draft.key.kind == "Secret" && draft.manifest.is_some();
        let said = drafts.iter().any(is_secret).then(|| NOT_COMPARED.to_owned());
        drafts.retain(|draft| !is_secret(draft));
        for draft in &mut drafts {
            draft.is_settled = true;
        }
        let tried = tries::try_all(cluster, &planned.observed, &namespace, &drafts, false).await?;
        let curtain = Curtain::new(id, std::iter::empty(), &planned.manifests, None);
        return Ok(Findings { drafts, tried, curtain, said: said.into_iter().collect() });
    }
    let tries = tries::try_all(cluster, &planned.observed, &namespace, &drafts, true);
    let (tried, curtain) = futures::try_join!(tries, tries::curtain(plan.context, planned, answers))?;
    let said = curtain.is_closed().then(|| CLOSED.to_owned());
    Ok(Findings { drafts, tried, curtain, said: said.into_iter().collect() })
}

/// What is said where Secrets may not be used.
const NOT_COMPARED: &str =
    "planned without Secrets: what depends on what they hold was not compared, and is left out";

/// What is said where a chart can't be rendered with other Secrets.
const CLOSED: &str = "no value is shown: the chart can't be rendered with other Secrets, so that nobody knows which values depend \
                      on what they hold";

async fn without_secrets(
    plan: &Plan<'_>,
    before: &Arc<Store>,
    planned: &Planned,
    drafts: Vec<Draft>,
    store: &Arc<Store>,
) -> Result<Findings, RunError> {
    let observed = &planned.observed;
    let compared = strangers::compare(plan.context, before, store, observed).await?;
    let strangers::Comparison { drafts: compared, curtain, before, is_partial } = compared;
    let is_namespace = |draft: &Draft| draft.manifest.is_none() && draft.key.kind == "Namespace";
    let drafts: Vec<_> = drafts.into_iter().filter(is_namespace).chain(compared).collect();
    let said = is_partial.then(|| NOT_COMPARED.to_owned()).into_iter().collect();
    let mut tried: Vec<Option<Tried>> = drafts.iter().map(|_| None).collect();
    if plan.outlook.fields {
        let namespace = store.id.namespace();
        tried = tries::try_all(&plan.context.cluster, observed, &namespace, &drafts, false).await?;
    }
    for (draft, tried) in drafts.iter().zip(&mut tried) {
        strangers::keep_to_the_files(draft, tried, before.get(&draft.key));
    }
    Ok(Findings { drafts, tried, curtain, said })
}

/// Collects what warnings are made from: each object that would be made or changed.
fn touched(drafts: &[Draft], tried: &[Option<Tried>]) -> BTreeMap<ObjectKey, Touch> {
    let mut touched = BTreeMap::new();
    for (draft, tried) in drafts.iter().zip(tried) {
        let Some(manifest) = &draft.manifest else { continue };
        let versions = tried.as_ref().and_then(|tried| {
            let then = match &tried.verdict {
                Verdict::Would(then) => (**then).clone(),
                _ => (*manifest.body).clone(),
            };
            Some((tried.live.clone()?, then))
        });
        let is_new = draft.action == ObjectAction::Add;
        touched.insert(draft.key.clone(), Touch { is_new, versions });
    }
    touched
}

type Running = BTreeMap<String, BTreeSet<String>>;

/// Asks what runs, and which limits there are that the chart did not render; nothing when no pods are concerned.
async fn surroundings(
    plan: &Plan<'_>,
    planned: &Planned,
    touched: &BTreeMap<ObjectKey, Touch>,
) -> Result<(Running, Vec<Value>), ClusterError> {
    if !touched.keys().any(|key| WITH_PODS.contains(&key.kind.as_str())) {
        return Ok(Default::default());
    }
    let (cluster, namespace) = (&plan.context.cluster, planned.store().id.namespace());
    let (running, quotas, ranges) = futures::try_join!(
        cluster.running_images(&namespace),
        cluster.look_up("v1", "ResourceQuota", &namespace, ""),
        cluster.look_up("v1", "LimitRange", &namespace, ""),
    )?;
    let mut limits = Vec::new();
    for (kind, list) in [("ResourceQuota", quotas), ("LimitRange", ranges)] {
        let items = list.as_ref().and_then(|list| list.get("items")).and_then(Value::as_array);
        for item in items.into_iter().flatten() {
            let name = item.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let is_rendered = planned.manifests.iter().any(|it| it.key.kind == kind && it.key.name == name);
            // One of ours that is not rendered any more goes.
            let goes = planned.observed.objects.contains_key(&ObjectKey::new("", kind, name));
            if !is_rendered && !goes {
                let mut item = item.clone();
                // Lists leave out what their items are.
                item["kind"] = kind.into();
                limits.push(item);
            }
        }
    }
    Ok((running, limits))
}

/// Finds the claims that would be deleted, and says what becomes of those of StatefulSets that go.
async fn lost(
    plan: &Plan<'_>,
    report: &mut StorePlanReport,
    store: &Store,
    drafts: &[Draft],
) -> Result<(), ClusterError> {
    let removed = |kind: &'static str| {
        let removed = drafts.iter().filter(|draft| draft.action == ObjectAction::Remove);
        removed.filter(move |draft| draft.key.kind == kind).map(|draft| draft.key.name.as_str())
    };
    let (cluster, namespace) = (&plan.context.cluster, store.id.namespace());
    let mut prefixes = Vec::new();
    for name in removed("StatefulSet") {
        let live = cluster.look_up("apps/v1", "StatefulSet", &namespace, name).await?.unwrap_or_default();
        if live["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete" {
            let templates = live["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
            let names = templates.filter_map(|it| it["metadata"]["name"].as_str());
            prefixes.extend(names.map(|template| format!("{template}-{name}-")));
        } else {
            report.warnings.push(format!(
                "StatefulSet/{name} goes: what it served is gone, its claims and their volumes stay in the namespace"
            ));
        }
    }
    if prefixes.is_empty() && removed("PersistentVolumeClaim").next().is_none() {
        return Ok(());
    }
    let is_of_set = |name: &str| {
        let ordinal =
            |prefix: &String| name.strip_prefix(prefix.as_str()).is_some_and(|it| it.parse::<u32>().is_ok());
        prefixes.iter().any(ordinal)
    };
    let found = cluster.claims(&namespace).await?;
    let goes = found
        .iter()
        .filter(|it| is_of_set(&it.name) || removed("PersistentVolumeClaim").any(|name| name == it.name));
    let (retaining, now) = (plan.retaining().await, plan.outlook.now);
    report.lost.extend(goes.map(|claim| volume(claim, retaining, now)));
    Ok(())
}

/// A new store waits while another one without a file still holds its host.
fn waits_for_host(plan: &Plan<'_>, store: &Store, is_new: bool) -> Option<String> {
    let holders = if is_new { plan.context.cluster.holders(&store.host) } else { Vec::new() };
    let holder = holders.into_iter().find(|holder| !plan.proposed.stores.contains_key(holder))?;
    Some(format!(
        "when store {holder} is gone, whose file is gone and whose namespace holds the host {} still",
        store.host
    ))
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
