//! Plans a store without any Secret, for changes by people who must not learn what Secrets hold: not even by how something
//! else comes out.
//!
//! Nothing of what the cluster holds is shown. What the store's file said before and what it would say are both rendered,
//! each look-up finding nothing and chance being the same, and the two are compared. What chance alone decides, as it does
//! a password that is made because none is found, is left out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::curtain::{Curtain, Dependent};
use super::drafts::Draft;
use super::fields::differences;
use super::tries::{Tried, Verdict};
use crate::manifest::{Manifest, ObjectKey, Owner};
use crate::plan::{Cause, ObservedStore};
use crate::reconcile::{self, Context, Entropy, LookUps, RunError, Surroundings};
use crate::report::ObjectAction;
use crate::store::Store;

/// What is known without Secrets.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) drafts: Vec<Draft>,
    pub(super) curtain: Curtain,
    /// What the store's objects were rendered as before.
    pub(super) before: BTreeMap<ObjectKey, Manifest>,
    /// Whether something was left out.
    pub(super) is_partial: bool,
}

/// Compares what a store's file said with what it would say.
pub(super) async fn compare(
    context: &Context,
    before: &Arc<Store>,
    after: &Arc<Store>,
    observed: &ObservedStore,
) -> Result<Comparison, RunError> {
    let seed = |number: u8| {
        let mut seed = [number; 32];
        (context.surroundings.entropy)(&mut seed);
        seed
    };
    let (one, other) = (seed(1), seed(2));
    let old = rendered(context, before, observed, one).await?;
    let new = rendered(context, after, observed, one).await?;
    let again = rendered(context, after, observed, other).await?;
    let chance = Dependent::between(&new, &again);
    let by_key =
        |all: Vec<Manifest>| all.into_iter().map(|it| (it.key.clone(), it)).collect::<BTreeMap<_, _>>();
    let before = by_key(old);
    let (mut drafts, mut is_partial) = (Vec::new(), false);
    let secrets = before.values().filter(|it| it.key.kind == "Secret").map(|it| &*it.body);
    let curtain = Curtain::new(&after.id, secrets, &new, Some(Dependent::default()));
    for manifest in &new {
        let key = &manifest.key;
        if chance.objects.contains(key) {
            is_partial = true;
            continue;
        }
        let Some(old) = before.get(key) else {
            drafts.push(applied(manifest, ObjectAction::Add, Cause::New));
            continue;
        };
        let mut differences = differences(&old.body, &manifest.body);
        let all = differences.len();
        differences.retain(|it| !chance.has(key, &it.place));
        is_partial |= differences.len() < all || chance.fields.contains_key(key);
        if !differences.is_empty() {
            let mut draft = applied(manifest, ObjectAction::Change, Cause::Changed);
            draft.differs(&curtain, &differences);
            drafts.push(draft);
        }
    }
    let is_left =
        |key: &&ObjectKey| !new.iter().any(|it| it.key == **key) && observed.objects.contains_key(key);
    drafts.extend(before.keys().filter(is_left).map(|key| Draft::new(key.clone(), ObjectAction::Remove)));
    Ok(Comparison { drafts, curtain, before, is_partial })
}

/// Keeps of what the API server says only whether it refuses: what it would make of an object tells what is there now. The
/// versions to compare are those of the files.
pub(super) fn keep_to_the_files(draft: &Draft, tried: &mut Option<Tried>, before: Option<&Manifest>) {
    let (Some(manifest), Some(before)) = (&draft.manifest, before) else { return };
    let live = Some((*before.body).clone());
    let verdict = match tried.take() {
        Some(Tried { verdict: verdict @ (Verdict::Refused(_) | Verdict::Anew(_)), .. }) => verdict,
        _ => Verdict::Would(Box::new((*manifest.body).clone())),
    };
    *tried = Some(Tried { live, verdict });
}

fn applied(manifest: &Manifest, action: ObjectAction, cause: Cause) -> Draft {
    // What a Secret would hold was made up just now: the API server is not asked about it.
    let cause = (manifest.key.kind != "Secret").then_some(cause);
    Draft {
        cause,
        manifest: Some(manifest.clone()),
        is_settled: true,
        ..Draft::new(manifest.key.clone(), action)
    }
}

async fn rendered(
    context: &Context,
    store: &Arc<Store>,
    observed: &ObservedStore,
    seed: [u8; 32],
) -> Result<Vec<Manifest>, RunError> {
    let now = (context.surroundings.clock)();
    let surroundings = Surroundings { clock: Arc::new(move || now), entropy: repeatable(seed) };
    let context = Context { surroundings, ..context.clone() };
    let owner = Owner { store: &store.id, source: &context.source };
    reconcile::manifests(&context, owner, store, observed, &LookUps::Nowhere).await
}

/// Makes bytes that a seed decides. Whatever is made of them is thrown away.
fn repeatable(seed: [u8; 32]) -> Entropy {
    let count = Mutex::new(0_u64);
    Arc::new(move |bytes: &mut [u8]| {
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(32) {
            *count += 1;
            let block = Sha256::digest([&seed[..], &count.to_be_bytes()].concat());
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
        let take = |seed| {
            let entropy = repeatable([seed; 32]);
            let (mut one, mut other) = ([0; 40], [0; 5]);
            entropy(&mut one);
            entropy(&mut other);
            (one, other)
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
        assert_ne!(take(1).0[..5], take(1).1);
    }
}
