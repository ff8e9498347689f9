//! Up to the plan: looks at the store, finds what to work towards, renders and checks its objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::render::{LookUps, Rendered, RenderedHook};
use super::rollback::{self, Aim};
use super::{ChartCache, Context, RunError, render};
use crate::chart::HookEvent;
use crate::manifest::{self, Fingerprint, Manifest, ManifestError, ObjectKey, Owner, Resource};
use crate::names::ANNOTATION_HOOK_RUN;
use crate::plan::{self, HookRun, Hooks, InventoryEntry, Moment, ObservedObject, ObservedStore, StorePlan};
use crate::report::ProbeTarget;
use crate::store::Store;

/// How often a run looks again when the namespace changes under it.
const LOOKS: usize = 3;

/// A plan with what it was made from.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: StorePlan,
    /// What the caches held.
    pub observed: ObservedStore,
    pub(super) inputs: Fingerprint,
    /// What was rendered; empty when nothing had to be.
    pub manifests: Vec<Manifest>,
    /// The chart's hooks, if it has any.
    pub hooks: Option<Hooks>,
    pub(super) probe: Option<ProbeTarget>,
    pub(super) aim: Aim,
}

impl Planned {
    /// Returns the store as the objects describe it: as git wants it, or as it was when it last came up.
    pub fn store(&self) -> &Arc<Store> {
        &self.aim.store
    }

    /// Whether an object is of the version that is planned.
    pub fn has(&self, key: &ObjectKey, object: &ObservedObject) -> bool {
        self.manifests.iter().any(|manifest| manifest.key == *key)
            || self.hooks.as_ref().is_some_and(|hooks| hooks.made(key, object))
    }
}

/// Plans one store that git wants, without acting: what a run would do now.
pub async fn plan_store(
    context: &Context,
    store: &Arc<Store>,
    revision: &str,
    look_ups: &LookUps,
) -> Result<Planned, RunError> {
    let owner = Owner { store: &store.id, source: &context.source };
    for _ in 0..LOOKS {
        if let Some(inventory) = context.cluster.observe(&store.id).inventory {
            context.cluster.watch_inventoried(&inventory).await?;
        }
        let observed = context.cluster.observe(&store.id);
        let aim = rollback::aim(context, store, revision, observed.inventory.as_deref()).await;
        let (aim, stuck) = match aim {
            Ok(aim) => (aim, None),
            Err(reason) => (Aim::at(store, revision), Some(reason)),
        };
        let inputs = inputs(&aim.store, &context.charts, context.cluster.served_fingerprint());
        let unrendered = |plan, observed, aim| Planned {
            plan,
            observed,
            inputs,
            manifests: Vec::new(),
            hooks: None,
            probe: None,
            aim,
        };
        if stuck.is_none() && plan::is_converged(owner, (&aim.store.host, aim.protect), &inputs, &observed) {
            return Ok(unrendered(StorePlan::Converged, observed, aim));
        }
        // Before anything is rendered or read: what isn't ours is none of our business.
        match (plan::store(&aim.desired(owner, &inputs, &[], None), &observed), stuck) {
            (StorePlan::Converged | StorePlan::Sync(_), None) => {}
            (StorePlan::Converged | StorePlan::Sync(_), Some(reason)) => {
                return Ok(unrendered(StorePlan::Held(reason), observed, aim));
            }
            (not_now, _) => return Ok(unrendered(not_now, observed, aim)),
        }
        let (manifests, rendered) = prepared(context, owner, &aim.store, &observed, look_ups).await?;
        if let Some(reason) = aim.is_lost(&observed, &inputs, &manifests) {
            return Ok(unrendered(StorePlan::Held(reason), observed, aim));
        }
        // Before anything is applied: a store that can't be asked would never be READY.
        let probe = ProbeTarget::of(&manifests)?;
        let hooks = hooks(context, owner, &aim, &observed, (rendered, &manifests))?;
        let runs = hooks.iter().flat_map(|hooks| &hooks.runs).map(|run| &run.manifest);
        context.cluster.watch_kinds(kinds_of(manifests.iter().chain(runs))).await?;
        let newest = context.cluster.observe(&store.id);
        // Rendered without a namespace, secrets are new ones: they must never meet a namespace that has come since.
        if identity(&newest) == identity(&observed) {
            let plan = plan::store(&aim.desired(owner, &inputs, &manifests, hooks.as_ref()), &newest);
            return Ok(Planned { plan, observed: newest, inputs, manifests, hooks, probe, aim });
        }
    }
    Err(RunError::Unsettled { namespace: store.id.namespace() })
}

fn identity(observed: &ObservedStore) -> Option<&str> {
    observed.namespace.as_ref().map(|namespace| namespace.uid.as_str())
}

/// Everything the rendering depends on, with what the cluster serves: same inputs, same manifests (but for generated
/// secrets, which the chart keeps by looking them up).
pub fn inputs(store: &Store, charts: &ChartCache, served: Fingerprint) -> Fingerprint {
    Fingerprint::of_bytes(
        // The version of storekeeper too: a release may render or stamp otherwise.
        [env!("CARGO_PKG_VERSION"), store.digest(), charts.digest_for(&store.chart), &served.to_string()]
            .join("\n")
            .as_bytes(),
    )
}

/// Renders and prepares a store's objects, without what hooks make.
pub async fn manifests(
    context: &Context,
    owner: Owner<'_>,
    store: &Arc<Store>,
    observed: &ObservedStore,
    look_ups: &LookUps,
) -> Result<Vec<Manifest>, RunError> {
    prepared(context, owner, store, observed, look_ups).await.map(|(manifests, _)| manifests)
}

/// Renders a store and prepares its objects; when a kind is unknown, the cluster is asked once more what it serves.
async fn prepared(
    context: &Context,
    owner: Owner<'_>,
    store: &Arc<Store>,
    observed: &ObservedStore,
    look_ups: &LookUps,
) -> Result<(Vec<Manifest>, Vec<RenderedHook>), RunError> {
    let Rendered { objects, hooks, crds } = render::render(context, store, observed, look_ups).await?;
    let resolve = |version: &str, kind: &str| context.cluster.resolve(version, kind);
    let defined: Vec<_> = crds.iter().filter_map(|crd| manifest::defined(&crd.file, &crd.value)).collect();
    let is_unknown = |defined: &manifest::Defined| resolve(&defined.api_version, &defined.kind).is_none();
    let all = objects.iter().map(|(_, value)| value).chain(hooks.iter().map(|hook| &hook.value));
    if manifest::has_unknown_kind(all, &resolve) || defined.iter().any(is_unknown) {
        context.cluster.rediscover().await?;
    }
    if let Some(missing) = defined.into_iter().find(is_unknown) {
        return Err(ManifestError::KindNotInstalled(missing).into());
    }
    Ok((manifest::prepare(objects, owner, &store.host, context.charts.kinds(), &resolve)?, hooks))
}

/// Names what git wants of a store and the chart that it is made with: hooks run once for each, whatever storekeeper's
/// own version and the cluster's are.
pub(super) fn version(store: &Store, charts: &ChartCache) -> Fingerprint {
    Fingerprint::of_bytes([store.digest(), charts.digest_for(&store.chart)].join("\n").as_bytes())
}

/// Prepares the hooks of a rendering; none when its chart has none that a store has use for.
fn hooks(
    context: &Context,
    owner: Owner<'_>,
    aim: &Aim,
    observed: &ObservedStore,
    (rendered, manifests): (Vec<RenderedHook>, &[Manifest]),
) -> Result<Option<Hooks>, RunError> {
    // Nobody asks for tests, and a store's namespace goes as a whole.
    const NEVER: [HookEvent; 3] = [HookEvent::Test, HookEvent::PreDelete, HookEvent::PostDelete];
    if rendered.iter().all(|hook| hook.hook.events.iter().all(|event| NEVER.contains(event))) {
        return Ok(None);
    }
    let wish = version(&aim.store, &context.charts);
    let moment = Moment::of(observed.inventory.as_deref(), &wish, aim.held.is_some());
    let (mut runs, mut others) = (Vec::new(), Vec::new());
    for event in moment.events() {
        let of_event = rendered.iter().filter(|hook| hook.hook.events.contains(&event));
        runs.extend(prepared_runs(context, owner, aim, &wish, event, of_event)?);
    }
    let mut seen: BTreeSet<_> = manifests.iter().map(|manifest| (None, manifest.key.clone())).collect();
    let is_twice = |run: &HookRun| {
        let key = &run.manifest.key;
        seen.contains(&(None, key.clone())) || !seen.insert((Some(run.event.as_str()), key.clone()))
    };
    if let Some(twice) = runs.iter().position(is_twice) {
        return Err(ManifestError::HookTwice { object: runs[twice].manifest.key.to_string() }.into());
    }
    for hook in &rendered {
        let is_run = hook.hook.events.iter().any(|event| moment.events().contains(event));
        others.extend(manifest::key_of(&hook.value).filter(|_| !is_run).map(|(key, version)| {
            InventoryEntry { key, version: version.into(), manifest: None, fields: None }
        }));
    }
    Ok(Some(Hooks { wish, moment, runs, others }))
}

/// Prepares the hooks of one event, in the order in which Helm runs them: by weight, then by name.
fn prepared_runs<'a>(
    context: &Context,
    owner: Owner<'_>,
    aim: &Aim,
    wish: &Fingerprint,
    event: HookEvent,
    hooks: impl Iterator<Item = &'a RenderedHook>,
) -> Result<Vec<HookRun>, RunError> {
    let run_id = plan::run_id(wish, event).to_string();
    let mut weighted = Vec::new();
    for RenderedHook { template, value, hook } in hooks {
        let resolve = |version: &str, kind: &str| context.cluster.resolve(version, kind);
        let (object, kinds) = (vec![(template.clone(), value.clone())], context.charts.kinds());
        let prepared = manifest::prepare(object, owner, &aim.store.host, kinds, &resolve)?;
        let mark = |manifest: Manifest| manifest.annotated(ANNOTATION_HOOK_RUN, &run_id);
        weighted.extend(prepared.into_iter().map(mark).map(|manifest| {
            (hook.weight, HookRun { event, manifest, delete_policies: hook.delete_policies.clone() })
        }));
    }
    weighted.sort_by(|(weight, run), (other_weight, other)| {
        (weight, &run.manifest.key.name).cmp(&(other_weight, &other.manifest.key.name))
    });
    Ok(weighted.into_iter().map(|(_, run)| run).collect())
}

fn kinds_of<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Vec<Resource> {
    let mut kinds: Vec<_> = manifests.map(|manifest| manifest.resource.clone()).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}
