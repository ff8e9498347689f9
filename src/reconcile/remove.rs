//! A store that no file names: kept and marked for as long as something protects it, backed up if it asks for that,
//! and deleted.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Conclusion, Context, Done, Healed, Memory, RunError, Wish, owns};
use crate::manifest::{ObjectKey, Owner};
use crate::plan::{self, BackupStep, Marks, NamespaceSpec, ObservedNamespace, ObservedStore, moment};
use crate::report::StoreState;
use crate::store::Store;

/// Whether what a removal was decided on still holds. A commit that brings the file back while the run is under way takes
/// it away, also from a request that waits for its turn.
#[derive(Debug, Clone, Default)]
pub struct Permit(Arc<watch::Sender<bool>>);

impl Permit {
    /// Takes it away.
    pub fn withdraw(&self) {
        self.0.send_replace(true);
    }

    fn holds(&self) -> bool {
        !*self.0.borrow()
    }

    /// Waits until it is taken away.
    async fn withdrawn(&self) {
        // Its sender lives as long as it does.
        let _ = self.0.subscribe().wait_for(|withdrawn| *withdrawn).await;
    }
}

/// What a run learnt of a store on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaving {
    /// When it is deleted, in seconds since 1970, while its grace period lasts.
    pub deletes_at: Option<i64>,
    /// What is left in its namespace, if that was asked.
    pub remains: Option<String>,
}

/// What is known of it from runs before.
#[derive(Debug, Clone, Default)]
pub struct LeavingMemory {
    /// What was left in its namespace at the last look.
    pub remains: Option<String>,
    /// Whether it is time for another look, should the namespace still be there.
    pub look: bool,
}

/// Runs a store that no file names.
pub(super) async fn absent(
    context: &Context,
    owner: Owner<'_>,
    wish: &Wish,
    memory: &Memory,
) -> Result<Conclusion, RunError> {
    let observed = context.cluster.observe(owner.store);
    let Some(namespace) = observed.namespace.as_ref().filter(|_| owns(owner, &observed)) else {
        return Ok(Conclusion::new(Done::Nothing, None, String::new()));
    };
    if let Some(since) = namespace.deleting_since {
        return Ok(going(context, owner, (namespace, since), memory).await);
    }
    let gone = gone(memory);
    match wish {
        Wish::InGrace { since, until } => {
            mark_unless(memory.observes(), context, owner, namespace, decided(namespace, *since)).await?;
            let when = moment::utc(*until);
            let reason = format!("{gone}; it is deleted at {when} unless the file comes back");
            let mut conclusion = Conclusion::new(Done::Waiting, Some(StoreState::Deleting), reason);
            conclusion.leaving.deletes_at = Some(*until);
            Ok(conclusion)
        }
        Wish::Absent { .. } if memory.observes() => {
            let reason = format!("{gone}; the replica that keeps it removes it");
            Ok(Conclusion::new(Done::Waiting, Some(StoreState::Deleting), reason))
        }
        Wish::Absent { since, approved, permit } => {
            let removal = Removal { since: *since, approved: *approved, permit };
            remove(context, owner, (&observed, namespace), &removal, &gone).await
        }
        Wish::AbsentOnHold { since, until, hold, paused_until } => {
            let marks = Marks { paused_until: *paused_until, ..decided(namespace, *since) };
            mark_unless(memory.observes(), context, owner, namespace, marks).await?;
            let when = moment::utc(*until);
            let reason =
                format!("{gone}, but it is {hold}; it is deleted at {when} unless the file comes back");
            let state = if hold.is_pause() { StoreState::Paused } else { StoreState::Deleting };
            let mut conclusion = Conclusion::new(Done::Waiting, Some(state), reason);
            conclusion.leaving.deletes_at = Some(*until);
            Ok(conclusion)
        }
        Wish::AbsentButKept { marks, reason } => {
            mark_unless(memory.observes(), context, owner, namespace, *marks).await?;
            let reason = format!("{gone}, but it is kept: {reason}");
            Ok(Conclusion::new(Done::Refused, Some(StoreState::Failed), reason))
        }
        Wish::AwaitsLook { since: _ } => {
            let reason = format!("{gone}; it is deleted once the repository has been looked at again");
            Ok(Conclusion::new(Done::Waiting, Some(StoreState::Deleting), reason))
        }
        Wish::AbsentForNow(reason) => {
            let reason = format!("{gone}, but nothing is removed for now: {reason}");
            Ok(Conclusion::new(Done::Waiting, Some(StoreState::Failed), reason))
        }
        Wish::Present { .. } | Wish::Unreadable | Wish::HostTaken(_) | Wish::NotAdmitted(_) => {
            Ok(Conclusion::new(Done::Waiting, None, String::new()))
        }
    }
}

/// Says why a store goes.
fn gone(memory: &Memory) -> String {
    match &memory.moved_to {
        Some(cluster) => format!("moved to cluster {cluster} in git"),
        None => "its file is gone".to_owned(),
    }
}

/// Writes down what is decided, unless another replica does so.
async fn mark_unless(
    observes: bool,
    context: &Context,
    owner: Owner<'_>,
    namespace: &ObservedNamespace,
    marks: Marks,
) -> Result<(), RunError> {
    if observes { Ok(()) } else { mark(context, owner, namespace, marks).await }
}

/// Writes down what is decided, where a restart finds it.
async fn mark(
    context: &Context,
    owner: Owner<'_>,
    namespace: &ObservedNamespace,
    marks: Marks,
) -> Result<(), RunError> {
    let spec = NamespaceSpec::absent(owner, namespace, &marks);
    if !spec.matches(namespace) {
        context.cluster.apply_namespace(&spec).await?;
    }
    Ok(())
}

/// Takes off what says that no file names a store: one does again, though it may be of no use. What it was marked with
/// must not shorten its next removal. Refusal and protection stay until a file that is of use decides. That it `protect`s
/// the store is written at once: its version may not render, or be held back, for as long as the file is there. Returns
/// the namespace if there was anything to put right.
pub(super) async fn call_off(
    context: &Context,
    owner: Owner<'_>,
    store: Option<&Store>,
) -> Result<Option<Healed>, RunError> {
    let Some(namespace) = marked_wrongly(context, owner, store) else { return Ok(None) };
    let (refused, protected) = (namespace.is_refused(), namespace.is_protected());
    let protect = store.is_some_and(|store| store.protect);
    let paused_until = paused_until(context, &namespace, store);
    let marks = Marks { since: None, refused, protected: protected || protect, paused_until };
    mark(context, owner, &namespace, marks).await?;
    let object = ObjectKey::new("", "Namespace", owner.store.namespace().as_str());
    Ok(Some(Healed { object, other: namespace.other_writer }))
}

/// Whether there is anything to put right in this way.
pub(super) fn is_to_call_off(context: &Context, owner: Owner<'_>, store: Option<&Store>) -> bool {
    marked_wrongly(context, owner, store).is_some()
}

/// Until when a namespace shall be marked as paused: as its file says now, or as it is where the file is of no use.
fn paused_until(context: &Context, namespace: &ObservedNamespace, store: Option<&Store>) -> Option<i64> {
    let Some(store) = store else { return namespace.paused_until() };
    let now = (context.surroundings.clock)();
    store.pause.as_ref().filter(|pause| pause.holds(now)).map(|pause| pause.until)
}

fn marked_wrongly(context: &Context, owner: Owner<'_>, store: Option<&Store>) -> Option<ObservedNamespace> {
    let observed = context.cluster.observe(owner.store);
    let is_ours = owns(owner, &observed);
    observed.namespace.filter(|namespace| {
        let protect = store.is_some_and(|store| store.protect);
        let is_right = !namespace.is_removal_marked()
            && (namespace.is_protected() || !protect)
            && namespace.paused_until() == paused_until(context, namespace, store);
        is_ours && namespace.deleting_since.is_none() && !is_right
    })
}

struct Removal<'a> {
    since: i64,
    approved: bool,
    permit: &'a Permit,
}

async fn remove(
    context: &Context,
    owner: Owner<'_>,
    (observed, namespace): (&ObservedStore, &ObservedNamespace),
    removal: &Removal<'_>,
    gone: &str,
) -> Result<Conclusion, RunError> {
    let Removal { since, approved, permit } = *removal;
    let deleting = |done, reason| Ok(Conclusion::new(done, Some(StoreState::Deleting), reason));
    match back_up(context, owner, (observed, namespace), since).await? {
        BackupStep::NotWanted | BackupStep::Done => {}
        BackupStep::Make(_) | BackupStep::Clear(_) => {
            return deleting(Done::Applied, format!("{gone}; its final backup is being made"));
        }
        BackupStep::Wait(words) => {
            return deleting(Done::Waiting, format!("{gone}; its final backup is being made: {words}"));
        }
        BackupStep::Failed(why) if approved => {
            tracing::warn!(store.id = %owner.store, "deleted without the final backup, as the fleet file approves: {why}");
        }
        BackupStep::Failed(why) => {
            let reason = format!(
                "{gone}, but it is kept: its final backup can't be had, {why}: bring the file back, or name \
                 the store under spec.deletionBudget.approved in storekeeper.yaml to delete it without"
            );
            return Ok(Conclusion::new(Done::Refused, Some(StoreState::Failed), reason));
        }
    }
    // An approved one takes no room in the budget. Asked last: what is written down is about to happen.
    if permit.holds() && !approved {
        let (store, uid) = (owner.store.clone(), namespace.uid.clone());
        let at = (context.surroundings.clock)();
        context.ledger.write_down(plan::Removed { store, uid, at }).await?;
    }
    if context.cluster.delete_namespace(owner, &namespace.uid, permit.withdrawn()).await? {
        deleting(Done::Deleted, "its namespace is being deleted".to_owned())
    } else {
        deleting(Done::Waiting, "what git says of it has changed meanwhile".to_owned())
    }
}

/// Takes the next step towards the final backup. The Job is bound to this removal by its mark, so the mark is there
/// before the Job.
async fn back_up(
    context: &Context,
    owner: Owner<'_>,
    (observed, namespace): (&ObservedStore, &ObservedNamespace),
    since: i64,
) -> Result<BackupStep, RunError> {
    let recorded = observed.inventory.as_ref().and_then(|inventory| inventory.final_backup.as_deref());
    let now = (context.surroundings.clock)();
    let step = context.cluster.final_backup(owner, (since, now), recorded).await?;
    if let BackupStep::Make(_) | BackupStep::Clear(_) = step {
        mark(context, owner, namespace, decided(namespace, since)).await?;
        context.cluster.advance_final_backup(owner, &step).await?;
    }
    Ok(step)
}

/// The marks of a store that may go. An earlier refusal stays written: an approval may be taken back until it is gone.
fn decided(namespace: &ObservedNamespace, since: i64) -> Marks {
    // A pause that stands there may be moved on by a file that comes back, and has no effect once it is over.
    let paused_until = namespace.paused_until();
    Marks { since: Some(since), refused: namespace.is_refused(), protected: false, paused_until }
}

/// Concludes that the namespace is on its way out, and says what holds it: in its controller's own words where it has
/// some, and after a look where it takes long.
pub(super) async fn going(
    context: &Context,
    owner: Owner<'_>,
    (namespace, since): (&ObservedNamespace, i64),
    memory: &Memory,
) -> Conclusion {
    let held_by = namespace.held_by.as_deref();
    let mut remains = None;
    if memory.leaving.look {
        let look = context.cluster.remains(owner.store, held_by.unwrap_or_default()).await;
        for (_, error) in &look.unlisted {
            tracing::warn!(store.id = %owner.store, %error, "failed to ask what holds a namespace");
        }
        let unlisted: Vec<_> = look.unlisted.iter().map(|(kind, _)| kind.as_str()).collect();
        remains = Some(plan::remaining(&look.found, &unlisted).unwrap_or_default());
    }
    let known = remains.as_deref().or(memory.leaving.remains.as_deref()).unwrap_or_default();
    let since = format!("its namespace is being deleted since {}", moment::utc(since));
    let words = [since.as_str(), held_by.unwrap_or_default(), known];
    let words: Vec<_> = words.into_iter().filter(|words| !words.is_empty()).collect();
    let mut conclusion = Conclusion::new(Done::Waiting, Some(StoreState::Deleting), words.join("; "));
    conclusion.leaving.remains = remains;
    conclusion
}
