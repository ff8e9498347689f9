//! Tries the objects of a store out on the API server, and reads beside each what it is now.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use serde_json::Value;

use super::curtain::{Curtain, Dependent, disguised, secrets_in};
use super::drafts::Draft;
use super::fields::differences;
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::{Manifest, ObjectKey, Owner};
use crate::plan::{self, Cause, ObservedStore};
use crate::reconcile::{self, Answers, Context, LookUps, Planned, Replacement, StepError};
use crate::report::ObjectAction;

/// How many objects of one store are tried at once.
const OBJECTS_AT_ONCE: usize = 8;

/// The name that they are tried under, so that what has their name there is not compared with them.
const NOBODYS_NAME: &str = "storekeeper-tries-this-out";

/// What the API server says of an object.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It would be like this.
    Would(Box<Value>),
    /// It would be deleted and made anew, because this field can't be changed in place.
    Anew(String),
    /// It would be refused, in these words.
    Refused(String),
    /// It can't be told, for this reason.
    Untold(String),
    /// It may be refused: in another namespace it was, as these words say.
    Doubtful(String),
}

/// An object that was tried.
#[derive(Debug)]
pub(super) struct Tried {
    /// What it is now; none when it is not there or was not read.
    pub(super) live: Option<Value>,
    pub(super) verdict: Verdict,
}

/// Tries those that would be applied, in their order; none for the others. `reads` says whether what is there is read
/// too. What keeps the API server from answering fails them all.
pub(super) async fn try_all(
    cluster: &Cluster,
    observed: &ObservedStore,
    namespace: &str,
    drafts: &[Draft],
    reads: bool,
) -> Result<Vec<Option<Tried>>, ClusterError> {
    let try_draft = async |draft: &Draft| {
        let Some(manifest) = draft.manifest.as_ref().filter(|_| draft.cause.is_some()) else {
            return Ok(None);
        };
        let reads = reads && matches!(draft.cause, Some(Cause::Changed | Cause::Drifted));
        try_one(cluster, observed, namespace, manifest, reads).await.map(Some)
    };
    let tries: Vec<_> = drafts.iter().map(|draft| try_draft(draft).boxed()).collect();
    let tried: Vec<_> = futures::stream::iter(tries).buffered(OBJECTS_AT_ONCE).collect().await;
    tried.into_iter().collect()
}

/// Tries the objects of a store whose namespace is not there yet, in another one; none for those that nothing can be said
/// of that holds for their own. Secrets are not sent: what they would hold is made up.
pub(super) async fn try_elsewhere(
    cluster: &Cluster,
    drafts: &[Draft],
) -> Result<Vec<Option<Tried>>, ClusterError> {
    let tries = drafts.iter().map(|draft| {
        let manifest = draft.manifest.as_ref().filter(|it| draft.cause.is_some() && it.key.kind != "Secret");
        async move {
            match manifest {
                Some(manifest) => try_stand_in(cluster, manifest).await,
                None => Ok(None),
            }
        }
        .boxed()
    });
    let tries: Vec<_> = tries.collect();
    let tried: Vec<_> = futures::stream::iter(tries).buffered(OBJECTS_AT_ONCE).collect().await;
    tried.into_iter().collect()
}

async fn try_stand_in(cluster: &Cluster, manifest: &Manifest) -> Result<Option<Tried>, ClusterError> {
    let mut body = plan::stand_in(&manifest.body);
    if let Some(metadata) = body.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("generateName");
        metadata.insert("name".to_owned(), NOBODYS_NAME.into());
        metadata.insert("namespace".to_owned(), cluster.try_out_namespace().into());
    }
    let key = ObjectKey::new(&manifest.key.group, &manifest.key.kind, NOBODYS_NAME);
    let stand_in = Manifest { key, body: Arc::new(body), ..manifest.clone() };
    let error = match cluster.try_apply(&stand_in, cluster.try_out_namespace()).await {
        // What the API server fills in is of no interest where all of it is new.
        Ok(_) => return Ok(None),
        Err(error @ ClusterError::Refused { .. }) => error,
        Err(error) => return Err(error),
    };
    let own = |words: &str| words.replace(NOBODYS_NAME, &manifest.key.name);
    let verdict = match (error.malformed(), error.denied()) {
        (Some(words), _) => Verdict::Refused(own(words)),
        (None, Some(words)) => {
            let elsewhere = cluster.try_out_namespace();
            Verdict::Doubtful(format!(
                "may be refused, as it would be in namespace {elsewhere}: {}",
                own(words)
            ))
        }
        // Its quota, who may write there: that is said of the other namespace.
        (None, None) => return Ok(None),
    };
    Ok(Some(Tried { live: None, verdict }))
}

async fn try_one(
    cluster: &Cluster,
    observed: &ObservedStore,
    namespace: &str,
    manifest: &Manifest,
    reads: bool,
) -> Result<Tried, ClusterError> {
    let read = async || {
        if !reads {
            return Ok(None);
        }
        let (version, key) = (manifest.resource.api_version(), &manifest.key);
        cluster.look_up(&version, &key.kind, namespace, &key.name).await
    };
    let (mut live, mut then) = futures::join!(read(), cluster.try_apply(manifest, namespace));
    // Somebody wrote in between: what that changed would look like a change of ours.
    if let (Ok(Some(before)), Ok(after)) = (&live, &then)
        && version(before) != version(after)
    {
        (live, then) = futures::join!(read(), cluster.try_apply(manifest, namespace));
    }
    let verdict = match then {
        Ok(then) => Verdict::Would(Box::new(then)),
        Err(error) => refused(cluster, observed, namespace, manifest, error).await?,
    };
    Ok(Tried { live: live?, verdict })
}

fn version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str)
}

/// Tells what a run would make of a refusal.
async fn refused(
    cluster: &Cluster,
    observed: &ObservedStore,
    namespace: &str,
    manifest: &Manifest,
    error: ClusterError,
) -> Result<Verdict, ClusterError> {
    let ClusterError::Refused { code, message, .. } = &error else { return Err(error) };
    // A webhook that can't be asked this way says nothing against the object.
    if message.contains("dry run") || message.contains("dryRun") {
        return Ok(Verdict::Untold(message.clone()));
    }
    if !(400..500).contains(code) || matches!(code, 401 | 408 | 429) {
        return Err(error);
    }
    let answer = reconcile::replacement(cluster, namespace, observed, manifest, error).await;
    Ok(match answer {
        Ok(Replacement { field, uid: _ }) => Verdict::Anew(field),
        Err(StepError::Cluster(ClusterError::Refused { message, .. })) => Verdict::Refused(message),
        Err(StepError::Cluster(error)) => return Err(error),
        Err(StepError::Immutable { object: _, field, words, advice }) => {
            Verdict::Refused(format!("`{field}` can't be changed in place ({words}); {advice}"))
        }
        Err(error @ StepError::Obstructed(_)) => Verdict::Refused(error.to_string()),
    })
}

/// Learns what must not be shown of a store: everything that its Secrets hold, and what comes out otherwise when they hold
/// something else.
pub(super) async fn curtain(
    context: &Context,
    planned: &Planned,
    answers: &Answers,
) -> Result<Curtain, ClusterError> {
    let store = planned.store();
    let owner = Owner { store: &store.id, source: &context.source };
    let others = LookUps::Given(Arc::new(disguised(answers)));
    let again = reconcile::manifests(context, owner, store, &planned.observed, &others);
    let namespace = store.id.namespace();
    let (again, there) = futures::join!(again, context.cluster.look_up("v1", "Secret", &namespace, ""));
    let there = there?.unwrap_or_default();
    let there = there.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // A chart that can't take other Secrets leaves unknown what depends on them.
    let dependent = again.ok().map(|again| Dependent::between(&planned.manifests, &again));
    Ok(Curtain::new(&store.id, secrets_in(answers).chain(there), &planned.manifests, dependent))
}

/// Takes over what was learnt of a draft; none when nothing of the object would change.
pub(super) fn settle(mut draft: Draft, tried: Option<&Tried>, curtain: &Curtain) -> Option<Draft> {
    let Some(Tried { live, verdict }) = tried else { return Some(draft) };
    match (verdict, live) {
        (Verdict::Would(_), _) if draft.is_settled => {}
        (Verdict::Would(then), Some(live)) => {
            let differences = differences(live, then);
            draft.differs(curtain, &differences);
            return (!differences.is_empty()).then_some(draft);
        }
        (Verdict::Would(_), None) if draft.action == ObjectAction::Change => draft.action = ObjectAction::Add,
        (Verdict::Would(_), None) => {}
        (Verdict::Anew(field), live) => {
            draft.action = ObjectAction::Recreate;
            if let (Some(live), Some(manifest)) = (live, &draft.manifest) {
                let body = Arc::clone(&manifest.body);
                let mut differences = differences(live, &body);
                // What is not rendered was filled in by the API server.
                differences.retain(|it| it.after.is_some() && it.place.is_within(field));
                draft.differs(curtain, &differences);
            }
            draft.note(format!(
                "`{field}` can't be changed in place: it is deleted and made anew, and is away meanwhile"
            ));
        }
        (Verdict::Refused(words), _) => {
            draft.action = ObjectAction::Refused;
            draft.note(words.clone());
        }
        (Verdict::Doubtful(words), _) => draft.note(words.clone()),
        (Verdict::Untold(words), _) => {
            draft.note(format!("what would change can't be told: {words}"));
        }
    }
    Some(draft)
}
