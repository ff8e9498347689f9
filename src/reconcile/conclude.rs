//! The end of a run: what state the store is in, and what to learn of it before the next one.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::rollback::{self, Way};
use super::{Conclusion, Context, Done, Leaving, Memory, RunError};
use crate::manifest::{Fingerprint, ObjectKey, Owner};
use crate::plan::{self, Held, HookLine, HookRecord, HookState, Inventory, ObservedObject, ObservedStore};
use crate::report::{
    Evidence, ProbeTarget, Probed, Readiness, Step, StoreState, Symptom, Verdict, Version, Workload,
    failed_rollout, judge, silent_rollout,
};
use crate::store::Store;

/// What a shop shall be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its address.
    pub url: String,
    /// What it has to answer.
    pub target: ProbeTarget,
    /// What it runs with: the answer holds for these inputs only.
    pub inputs: Fingerprint,
}

impl Question {
    /// What the shop is asked about what is applied.
    fn of(inventory: &Inventory) -> Option<Self> {
        Self::with(inventory, inventory.inputs?)
    }

    /// What the shop is asked while a newer version does not run: whether the one before serves. Its answers never make
    /// the newer one READY, because they are about other inputs.
    fn of_before(inventory: &Inventory) -> Option<Self> {
        Self::with(inventory, inventory.good.as_ref().filter(|_| !inventory.was_ready())?.inputs)
    }

    fn with(inventory: &Inventory, inputs: Fingerprint) -> Option<Self> {
        Some(Self { url: inventory.url.clone()?, target: inventory.probe.clone()?, inputs })
    }
}

/// What git wants of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The store, as git has it now.
    pub(super) store: &'a Arc<Store>,
    /// Set when that is held back.
    pub(super) held: Option<&'a Held>,
    /// Whether nothing of the store is changed, its inventory included.
    pub(super) untouched: bool,
}

/// Concludes what state the store is in, and writes down when it is READY for the first time with what is applied.
pub(super) async fn conclude(
    context: &Context,
    wanted: Wanted<'_>,
    done: Done,
    memory: &Memory,
) -> Result<Conclusion, RunError> {
    let owner = Owner { store: &wanted.store.id, source: &context.source };
    let observed = context.cluster.observe(owner.store);
    let mut verdict = judged(context, &observed, memory, &memory.symptoms);
    let mut symptoms = None;
    if let Some(step) = verdict.step.filter(|_| memory.look_closer) {
        // Pods explain what does not run; what does not answer explains itself. What they told of a step that comes
        // and goes is kept for its return.
        let found = if step < Step::Ingress && is_worth_a_look(&observed, step) {
            look_closer(context, owner, &observed, memory).await
        } else {
            memory.symptoms.clone()
        };
        verdict = judged(context, &observed, memory, &found);
        symptoms = Some(found);
    }
    let inventory = observed.inventory.as_deref();
    let before = || inventory.and_then(Question::of_before);
    let ask = inventory.filter(|_| verdict.ask).and_then(Question::of).or_else(before);
    let news = inventory.and_then(|inventory| ready_for_the_first_time(inventory, verdict.state));
    if let Some(inventory) = news.filter(|_| !wanted.untouched) {
        context.cluster.record(owner, &inventory).await?;
    }
    let verdict = match inventory {
        Some(inventory) => explained(context, wanted, &observed, inventory, memory, verdict).await?,
        None => verdict,
    };
    let Verdict { state, step, reason, ask: _ } = verdict;
    let leaving = Leaving::default();
    Ok(Conclusion { done, state: Some(state), step, reason, ask, symptoms, leaving, waits: false })
}

/// Says in an inventory that is about to be written that the store is READY, should it be already: then this record is the
/// last one.
pub(super) fn note_ready(
    context: &Context,
    owner: Owner<'_>,
    memory: &Memory,
    inventory: Inventory,
) -> Inventory {
    let observed = context.cluster.observe(owner.store);
    let observed = ObservedStore { inventory: Some(Arc::new(inventory.clone())), ..observed };
    let state = judged(context, &observed, memory, &memory.symptoms).state;
    ready_for_the_first_time(&inventory, state).unwrap_or(inventory)
}

/// Returns what is to be written down when the store is READY for the first time with what is applied, or again with what
/// was in doubt.
fn ready_for_the_first_time(inventory: &Inventory, state: StoreState) -> Option<Inventory> {
    let is_doubted = || inventory.good.as_ref().is_some_and(|good| good.doubt.is_some());
    let is_news = state == StoreState::Ready && (!inventory.was_ready() || is_doubted());
    let good = inventory.as_good().filter(|_| is_news)?;
    Some(Inventory { good: Some(Box::new(good)), ..inventory.clone() })
}

/// Says what runs and what is wanted, where these are two, and has what ran before come back where the store asks for it.
async fn explained(
    context: &Context,
    wanted: Wanted<'_>,
    observed: &ObservedStore,
    inventory: &Inventory,
    memory: &Memory,
    verdict: Verdict,
) -> Result<Verdict, RunError> {
    let Some(good) = inventory.good.as_deref() else { return Ok(verdict) };
    if let Some(held) = wanted.held {
        // Whatever runs, it is not what git wants.
        let reason = rollback::said(good, held, &verdict.reason);
        return Ok(Verdict { state: StoreState::Failed, reason, ..verdict });
    }
    if verdict.state != StoreState::Failed || inventory.inputs.is_none() || inventory.was_ready() {
        return Ok(verdict);
    }
    if wanted.untouched {
        return Ok(verdict);
    }
    let version = |revision, image| Version { revision, image };
    let before = version(&good.revision, good.image.as_deref());
    let wanted_one = version(&inventory.revision, inventory.image.as_deref());
    let serves = match &memory.probed {
        (Some(inputs), probed) if *inputs == good.inputs => probed,
        _ => &Probed::Pending,
    };
    // From here on every workload has been rolled out: nothing of the version before runs any more.
    let failed = if verdict.step.is_some_and(|step| step >= Step::Ingress) {
        silent_rollout(wanted_one, before, &verdict.reason)
    } else {
        failed_rollout(before, wanted_one, &verdict.reason, serves)
    };
    let reason = match rollback::decide(context, wanted.store, observed, inventory, &verdict.reason).await {
        Way::Stay => failed,
        Way::Refused(why) => format!("{failed}; not rolled back: {why}"),
        Way::Back(held) => {
            let owner = Owner { store: &wanted.store.id, source: &context.source };
            let inventory = Inventory { held: Some(Box::new(held)), ..inventory.clone() };
            // Its event starts the run that goes back.
            context.cluster.record(owner, &inventory).await?;
            format!("{failed}; rolling back")
        }
    };
    Ok(Verdict { reason, ..verdict })
}

/// Judges by what the inventory names: an object that is missing counts as much as one that does not run.
fn judged(context: &Context, observed: &ObservedStore, memory: &Memory, symptoms: &[Symptom]) -> Verdict {
    let inventory = observed.inventory.as_deref();
    let incomplete = inventory.and_then(|inventory| incomplete(inventory, observed));
    let workloads = workloads(observed);
    judge(&Evidence {
        before: memory.state,
        was_ready: inventory.is_some_and(Inventory::was_ready),
        incomplete,
        workloads: workloads.iter().map(|(key, workload)| (key.to_string(), &**workload)).collect(),
        probed: &probed(memory, inventory),
        waited: memory.waited,
        timeouts: &context.timeouts,
        symptoms,
    })
}

/// Says what is missing of what the inventory names, or is there and goes. What goes because it is no longer rendered, and
/// what holds it, is nothing that the store waits for.
fn incomplete(inventory: &Inventory, observed: &ObservedStore) -> Option<String> {
    if inventory.hooks.as_deref().is_some_and(HookRecord::is_before) {
        return None;
    }
    let keys = || inventory.objects.iter().map(|entry| &entry.key);
    let going = keys().find(|key| observed.objects.get(key).is_some_and(|object| object.deleting));
    if let Some(key) = going {
        return Some(format!("waiting for the deletion of {key} to end"));
    }
    let missing = keys().find(|key| !observed.objects.contains_key(key))?;
    let is_wanted = |key: &ObjectKey, _: &ObservedObject| inventory.is_rendered(key);
    let job = plan::unfinished_job(is_wanted, observed).filter(|_| missing.kind == "Job");
    Some(match job {
        Some(job) => format!("{missing} waits for {job}, of the version before, to end"),
        None => format!("{missing} is missing"),
    })
}

/// What of the inventory has to run. Before a version is applied that is its first hooks; the last ones begin when all the
/// rest runs.
fn workloads(observed: &ObservedStore) -> Vec<(&ObjectKey, Cow<'_, Workload>)> {
    let Some(inventory) = observed.inventory.as_deref() else { return Vec::new() };
    let hooks = inventory.hooks.as_deref();
    let mut found = Vec::new();
    if !hooks.is_some_and(HookRecord::is_before) {
        let entries = inventory.objects.iter();
        found.extend(entries.filter_map(|entry| {
            Some((&entry.key, Cow::Borrowed(observed.objects.get(&entry.key)?.workload.as_deref()?)))
        }));
    }
    let runs =
        |workload: &Workload| workload.step >= Step::Ingress || workload.readiness == Readiness::Current;
    if found.iter().all(|(_, workload)| runs(workload))
        && let Some((hooks, line)) = hooks.and_then(|hooks| Some((hooks, hooks.pending()?)))
    {
        found.push((&line.entry.key, Cow::Owned(hook_workload(hooks, line, observed))));
    }
    found
}

/// How far a hook is that is waited for.
fn hook_workload(hooks: &HookRecord, line: &HookLine, observed: &ObservedStore) -> Workload {
    let object = observed.objects.get(&line.entry.key);
    let made = object.filter(|object| hooks.made(object));
    let event = line.event.as_str();
    let said = made.and_then(|object| object.workload.as_ref()).map(|workload| &workload.readiness);
    let readiness = match (line.state, said) {
        (HookState::Cleared, _) => {
            let reason = hooks.reason.as_deref().unwrap_or("it failed");
            Readiness::Failed(format!(
                "the {event} hook failed and was deleted, as its chart wants: {reason}; it runs again with the next change in git"
            ))
        }
        (_, Some(Readiness::Failed(reason))) => {
            Readiness::Failed(format!("the {event} hook failed: {reason}; what comes after it waits"))
        }
        (_, Some(Readiness::Progressing(reason))) => {
            Readiness::Progressing(format!("{event} hook: {reason}"))
        }
        _ if made.is_none() && object.is_some() => {
            Readiness::Progressing(format!("{event} hook: the one of before is still there"))
        }
        _ => Readiness::Progressing(format!("{event} hook: it is about to begin or to be counted")),
    };
    Workload { step: Step::Migration, readiness, made: None }
}

/// Whether pods and events may tell why a step is not done. Where nothing of it has to run, they are all there is.
fn is_worth_a_look(observed: &ObservedStore, step: Step) -> bool {
    let mut waited_for = workloads(observed)
        .into_iter()
        .map(|(_, workload)| workload)
        .filter(|workload| workload.step == step && workload.readiness != Readiness::Current)
        .peekable();
    waited_for.peek().is_none() || waited_for.any(|workload| workload.is_worth_a_look())
}

/// What is known of the shop with what is applied now.
fn probed(memory: &Memory, inventory: Option<&Inventory>) -> Probed {
    let (inputs, probed) = &memory.probed;
    // Without inputs a change was begun and not finished: nobody knows what is applied, nor what to ask.
    let Some(inventory) = inventory.filter(|it| it.inputs.is_some()) else { return Probed::Pending };
    match (probed, Question::of(inventory)) {
        (Probed::NotAsked(_), _) => probed.clone(),
        (_, None) => Probed::NotAsked("its chart does not say what to ask the shop itself".to_owned()),
        (_, Some(question)) if inputs.as_ref() == Some(&question.inputs) => probed.clone(),
        _ => Probed::Pending,
    }
}

/// Asks pods and events; while they can't be had, what they told before is the best there is.
async fn look_closer(
    context: &Context,
    owner: Owner<'_>,
    observed: &ObservedStore,
    memory: &Memory,
) -> Vec<Symptom> {
    let waited = memory.waited.map_or(Duration::ZERO, |(_, time)| time);
    let since = (context.surroundings.clock)() - i64::try_from(waited.as_secs()).unwrap_or(0);
    let workloads = workloads(observed).into_iter().map(|(key, workload)| (key.clone(), workload.step));
    let found = context.cluster.symptoms(owner.store, &workloads.collect(), since).await;
    found.unwrap_or_else(|error| {
        tracing::warn!(store.id = %owner.store, %error, "failed to ask why the store waits");
        memory.symptoms.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ProbeFailure;

    fn fingerprint(text: &str) -> Fingerprint {
        Fingerprint::of_bytes(text.as_bytes())
    }

    fn memory(inputs: &str, probed: Probed) -> Memory {
        Memory {
            state: StoreState::Provisioning,
            probed: (Some(fingerprint(inputs)), probed),
            waited: None,
            symptoms: Vec::new(),
            look_closer: false,
            leaving: crate::reconcile::LeavingMemory::default(),
            keeper: None,
            withhold_healing: false,
            moved_to: None,
        }
    }

    fn inventory() -> Inventory {
        let target = ProbeTarget { products: true, storefront: true, key_secret: Some("medusa".to_owned()) };
        Inventory {
            inputs: Some(fingerprint("1")),
            url: Some("http://acme.example.com/".to_owned()),
            probe: Some(target),
            ..Inventory::default()
        }
    }

    #[test]
    fn an_answer_counts_for_the_inputs_that_it_was_given_with() {
        let failure = ProbeFailure::new(Step::Probe, "500".to_owned());
        for answer in [Probed::Good, Probed::Bad { failure, times: 1 }] {
            assert_eq!(probed(&memory("1", answer.clone()), Some(&inventory())), answer);
            assert_eq!(probed(&memory("0", answer), Some(&inventory())), Probed::Pending);
        }
    }

    #[test]
    fn a_store_whose_chart_says_nothing_is_not_asked() {
        for silent in [Inventory { probe: None, ..inventory() }, Inventory { url: None, ..inventory() }] {
            let known = probed(&memory("1", Probed::Pending), Some(&silent));
            assert!(matches!(known, Probed::NotAsked(_)), "{known:?}");
        }
    }

    #[test]
    fn while_a_change_is_under_way_nothing_is_known_of_the_shop() {
        let begun = Inventory { inputs: None, ..inventory() };
        let silent = Inventory { probe: None, ..begun.clone() };
        for answer in [Probed::Good, Probed::NotAsked("not asked here".to_owned())] {
            for inventory in [None, Some(&begun), Some(&silent)] {
                assert_eq!(probed(&memory("1", answer.clone()), inventory), Probed::Pending);
            }
        }
    }
}
