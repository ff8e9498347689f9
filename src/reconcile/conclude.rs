//! The end of a run: what state the store is in, and what to learn of it before the next one.

use std::time::Duration;

use super::{Conclusion, Context, Done, Memory, RunError};
use crate::manifest::{Fingerprint, Owner};
use crate::plan::{Inventory, ObservedStore};
use crate::report::{Evidence, ProbeTarget, Probed, StoreState, Symptom, Verdict, judge};

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
    fn of(inventory: &Inventory) -> Option<Self> {
        let Inventory { inputs, revision: _, url, probe, ready: _, objects: _ } = inventory;
        Some(Self { url: url.clone()?, target: probe.clone()?, inputs: inputs.clone()? })
    }
}

/// Concludes what state the store is in, and writes down when it is READY for the first time with what is applied.
pub(super) async fn conclude(
    context: &Context,
    owner: Owner<'_>,
    done: Done,
    memory: &Memory,
) -> Result<Conclusion, RunError> {
    let observed = context.cluster.observe(owner.store);
    let mut verdict = judged(context, &observed, memory, &memory.symptoms);
    let mut symptoms = None;
    if verdict.step.is_some() && memory.look_closer {
        let found = look_closer(context, owner, memory).await;
        verdict = judged(context, &observed, memory, &found);
        symptoms = Some(found);
    }
    let Verdict { state, step, reason, ask } = verdict;
    let inventory = observed.inventory;
    let ask = inventory.as_ref().filter(|_| ask).and_then(Question::of);
    if let Some(mut inventory) = inventory.filter(|it| state == StoreState::Ready && !it.was_ready()) {
        inventory.ready.clone_from(&inventory.inputs);
        context.cluster.record(owner, &inventory).await?;
    }
    Ok(Conclusion { done, state: Some(state), step, reason, ask, symptoms })
}

/// Judges by what the inventory names: an object that is missing counts as much as one that does not run.
fn judged(context: &Context, observed: &ObservedStore, memory: &Memory, symptoms: &[Symptom]) -> Verdict {
    let inventory = observed.inventory.as_ref();
    let entries = inventory.iter().flat_map(|inventory| &inventory.objects);
    let going = observed.objects.iter().find(|(_, object)| object.deleting);
    let missing = entries.clone().find(|entry| !observed.objects.contains_key(&entry.key));
    let incomplete = match (going, missing) {
        (Some((key, _)), _) => Some(format!("waiting for the deletion of {key} to end")),
        (None, Some(entry)) => Some(format!("{} is missing", entry.key)),
        (None, None) => None,
    };
    let workloads = entries.filter_map(|entry| {
        let workload = observed.objects.get(&entry.key)?.workload.as_ref()?;
        Some((entry.key.to_string(), workload))
    });
    judge(&Evidence {
        before: memory.state,
        was_ready: inventory.is_some_and(Inventory::was_ready),
        incomplete,
        workloads: workloads.collect(),
        probed: &probed(memory, inventory),
        waited: memory.waited,
        timeouts: &context.timeouts,
        symptoms,
    })
}

/// What is known of the shop with what is applied now.
fn probed(memory: &Memory, inventory: Option<&Inventory>) -> Probed {
    let (inputs, probed) = &memory.probed;
    match (probed, inventory.and_then(Question::of)) {
        (Probed::NotAsked(_), _) => probed.clone(),
        (_, None) => Probed::NotAsked("its chart does not say what to ask the shop itself".to_owned()),
        (_, Some(question)) if inputs.as_ref() == Some(&question.inputs) => probed.clone(),
        _ => Probed::Pending,
    }
}

/// Asks pods and events; what can't be had is left out, for the state is known without it.
async fn look_closer(context: &Context, owner: Owner<'_>, memory: &Memory) -> Vec<Symptom> {
    let waited = memory.waited.map_or(Duration::ZERO, |(_, time)| time);
    let since = (context.surroundings.clock)() - i64::try_from(waited.as_secs()).unwrap_or(0);
    context.cluster.symptoms(owner.store, since).await.unwrap_or_else(|error| {
        tracing::warn!(store.id = %owner.store, %error, "failed to ask why the store waits");
        Vec::new()
    })
}
