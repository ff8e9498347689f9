//! One store's run, as named steps, each pure or bound to the cluster:
//! look, decide, render, prepare, plan, act, record, conclude.
//!
//! A run decides from now: what git wants at this moment against what the caches hold at this moment. It can be
//! cut off anywhere; the next one continues.

mod act;
mod charts;
mod conclude;
mod hold;
mod past;
mod prepare;
mod remove;
mod render;
mod rollback;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use crate::cluster::{Cluster, ClusterError};
use crate::ledger::{Ledger, LedgerError};
use crate::manifest::{Fingerprint, ManifestError, ObjectKey, Owner};
use crate::names::{ClusterName, INVENTORY_NAME, LABEL_CLUSTER, SourceId, StoreId};
use crate::plan::{self, Hold, Inventory, Marks, ObservedStore, Ownership, StorePlan};
use crate::report::{ProbeTargetError, Probed, Step, StepTimeouts, StoreState, Symptom};
use crate::store::Store;

pub use charts::{ChartCache, ChartPlaces, ChartUnavailable};

use act::Acted;
pub use act::{Replacement, StepError, StepsFailed, replacement};
pub use conclude::Question;
use conclude::{Wanted, conclude, note_ready};
use hold::InForce;
pub use past::{Past, PastError};
pub use prepare::{Planned, inputs, manifests, plan_store};
pub use remove::{Leaving, LeavingMemory, Permit};
pub use render::{
    Answers, Entropy, LookUps, RenderFailure, Rendered, RenderedHook, Surroundings, render_now,
    render_offline,
};

/// What every run needs.
#[derive(Clone)]
pub struct Context {
    /// The cluster.
    pub cluster: Cluster,
    /// The charts that stores are rendered with.
    pub charts: ChartCache,
    /// The source that the stores come from.
    pub source: SourceId,
    /// Time and chance, for charts.
    pub surroundings: Surroundings,
    /// How long a store may be at each step on its way to READY.
    pub timeouts: StepTimeouts,
    /// Which stores were deleted lately.
    pub ledger: Ledger,
    /// Stores as earlier commits had them.
    pub past: Past,
}

/// What git says about a store at the moment of its run.
#[derive(Debug, Clone)]
pub enum Wish {
    /// Its file is good, or was at the last good commit: the cluster shall hold this.
    Present {
        /// The store.
        store: Arc<Store>,
        /// The commit.
        revision: String,
        /// What keeps that waiting, if anything does.
        hold: Option<Hold>,
    },
    /// Its file exists and was never good: nothing is changed.
    Unreadable,
    /// Its file is good, but another store's namespace still holds its host, for this reason.
    HostTaken(String),
    /// Its file is good, but the operator's caps keep it from being made, for this reason.
    NotAdmitted(String),
    /// No file names it, and it may go.
    Absent {
        /// Since when no file names it, in seconds since 1970.
        since: i64,
        /// Whether the fleet file approves it by name.
        approved: bool,
        /// Whether that still holds.
        permit: Permit,
    },
    /// No file names it, and it is kept for its grace period. Times are seconds since 1970.
    InGrace {
        /// Since when no file names it.
        since: i64,
        /// When the grace period is over.
        until: i64,
    },
    /// No file names it, and it is kept for as long as it is paused or outside its change window.
    AbsentOnHold {
        /// Since when no file names it, in seconds since 1970.
        since: i64,
        /// When it may go, in seconds since 1970: its grace period is over by then too.
        until: i64,
        /// What holds it.
        hold: Hold,
        /// Until when its last file pauses it.
        paused_until: Option<i64>,
    },
    /// No file names it, and it may go once the repository was looked at again.
    AwaitsLook {
        /// Since when no file names it, in seconds since 1970.
        since: i64,
    },
    /// No file names it, but nothing is removed for now, for this reason.
    AbsentForNow(String),
    /// No file names it, but the deletion budget or its protection keeps it.
    AbsentButKept {
        /// What is written on its namespace.
        marks: Marks,
        /// Why, and what to do.
        reason: String,
    },
}

impl Wish {
    /// Returns the commit that the wish comes from, for logs; empty when it has none.
    pub fn revision(&self) -> &str {
        if let Self::Present { revision, .. } = self { revision } else { "" }
    }
}

/// What was learnt of a store between its runs.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The state it was in.
    pub state: StoreState,
    /// What the shop itself answered, and the inputs it had then: the answer of another version counts for nothing.
    pub probed: (Option<Fingerprint>, Probed),
    /// The step it is at, and for how long.
    pub waited: Option<(Step, Duration)>,
    /// What its pods and events told last.
    pub symptoms: Vec<Symptom>,
    /// Whether it is time to ask pods and events, should it wait still.
    pub look_closer: bool,
    /// What is known of its way out.
    pub leaving: LeavingMemory,
    /// Whether drift is left as it is for now, because somebody else fights for it.
    pub withhold_healing: bool,
    /// The cluster that its file names, if that is another one.
    pub moved_to: Option<ClusterName>,
    /// Who acts on the store in our place, where another replica does: it is looked at, and nothing is changed.
    pub keeper: Option<Keeper>,
}

impl Memory {
    /// Whether the store is looked at, and nothing is changed.
    fn observes(&self) -> bool {
        self.keeper.is_some()
    }
}

/// The replica that acts on a store in our place, and what it says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keeper {
    /// Which, if it is settled.
    pub identity: Option<String>,
    /// Why the store is FAILED, if it is.
    pub failed: Option<String>,
    /// Whether it has more FAILED stores than it tells of.
    pub leaves_out: bool,
}

/// How a run ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// What kind of run it was.
    pub done: Done,
    /// The state the store is in; none when nothing is left of it.
    pub state: Option<StoreState>,
    /// The step on the way to READY that is not done.
    pub step: Option<Step>,
    /// Why.
    pub reason: String,
    /// What to ask the shop itself, if that is worth it now.
    pub ask: Option<Question>,
    /// What pods and events tell, if they were asked.
    pub symptoms: Option<Vec<Symptom>>,
    /// What there is to say of its way out.
    pub leaving: Leaving,
    /// Whether what git wants waits for the end of what holds it back.
    pub waits: bool,
}

impl Conclusion {
    fn new(done: Done, state: Option<StoreState>, reason: String) -> Self {
        Self {
            done,
            state,
            step: None,
            reason,
            ask: None,
            symptoms: None,
            leaving: Leaving::default(),
            waits: false,
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing was to do.
    Nothing,
    /// Objects were applied or pruned.
    Applied,
    /// The namespace's deletion was asked for.
    Deleted,
    /// The deletion budget forbade the removal.
    Refused,
    /// Something else must end first.
    Waiting,
}

/// What a run changed in the cluster, whether it ended well or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Steps that succeeded.
    pub steps: usize,
    /// What of it put back what somebody else had changed or deleted.
    pub healed: Vec<Healed>,
    /// The namespace, if marks on it were put right that go by whether there is a file and what it says. Once it is a
    /// commit's doing, again and again somebody's.
    pub marked: Option<Healed>,
    /// Whether something that somebody else changed or deleted was left so.
    pub withheld: bool,
    /// Whether the namespace was made.
    pub created: bool,
}

/// An object that was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healed {
    /// Which.
    pub object: ObjectKey,
    /// The field manager that had changed it last, besides ours; none is known of what was deleted.
    pub other: Option<Arc<str>>,
}

/// Why a run failed; fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The namespace belongs to somebody else.
    #[error("use namespace {namespace}: {detail}")]
    NotOurs {
        /// The namespace.
        namespace: String,
        /// Whose it is and what to do.
        detail: String,
    },
    /// The chart could not be rendered with this store's values.
    #[error(transparent)]
    Render(#[from] RenderFailure),
    /// The chart says what to ask the shop in words that nobody knows.
    #[error(transparent)]
    Probe(#[from] ProbeTargetError),
    /// The rendered objects can't be this store's.
    #[error("prepare the objects: {0}")]
    Manifest(#[from] ManifestError),
    /// The API server refused or did not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Steps of the plan did not succeed.
    #[error(transparent)]
    Steps(Box<StepsFailed>),
    /// What is about to be deleted could not be written down.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The namespace comes and goes faster than a run looks.
    #[error("plan the store: namespace {namespace} changed at each look")]
    Unsettled {
        /// The namespace.
        namespace: String,
    },
    /// It took longer than a run may.
    #[error("finish the run within {seconds} s: what it asked for was answered slowly or not at all")]
    TooLong {
        /// How long it may take.
        seconds: u64,
    },
    /// A mistake of ours: the run panicked. It must cost no other store anything.
    #[error("finish the run, which is a mistake in storekeeper, please report it: {0}")]
    Panicked(String),
}

impl RunError {
    /// Says whose namespace it is and what to do.
    pub fn not_ours(owner: Owner<'_>, ownership: &Ownership) -> Self {
        let detail = match ownership {
            Ownership::OtherSource(source) => format!(
                "it belongs to the store of the same name from source {source}; rename this store or remove the other"
            ),
            Ownership::OtherCluster(cluster) => format!(
                "it says that it is on cluster {cluster} of this fleet: is this the right API server? If it is, {}",
                match owner.source.cluster() {
                    Some(own) => format!("label the namespace {LABEL_CLUSTER}={own}"),
                    None => format!("take the label {LABEL_CLUSTER} off the namespace"),
                }
            ),
            Ownership::Ours | Ownership::NoCluster | Ownership::Foreign => {
                "it exists and storekeeper did not make it (or its storekeeper \
                 labels were taken off); rename the store, remove that namespace, or put the labels back"
                    .to_owned()
            }
        };
        Self::NotOurs { namespace: owner.store.namespace(), detail }
    }

    /// Whether it ended because another replica keeps the store.
    pub fn is_fenced(&self) -> bool {
        match self {
            Self::Cluster(error) | Self::Render(RenderFailure::LookUp(error)) => error.is_fenced(),
            Self::Steps(failed) => failed.is_fenced(),
            _ => false,
        }
    }

    /// Whether the API server said that we may not do something.
    fn is_forbidden(&self) -> bool {
        match self {
            Self::Cluster(error) | Self::Render(RenderFailure::LookUp(error)) => error.is_forbidden(),
            Self::Steps(failed) => failed.is_forbidden(),
            _ => false,
        }
    }

    /// Returns how long the API server asks to wait before the next try, in seconds; 0 when it does not say.
    pub fn retry_after(&self) -> u32 {
        match self {
            Self::Cluster(ClusterError::Refused { retry_after, .. })
            | Self::Render(RenderFailure::LookUp(ClusterError::Refused { retry_after, .. })) => *retry_after,
            Self::Steps(failed) => failed.retry_after(),
            _ => 0,
        }
    }
}

/// Runs one store once, and adds to `tally` what it changed.
pub async fn run(
    context: &Context,
    id: &StoreId,
    wish: &Wish,
    memory: &Memory,
    tally: &mut Tally,
) -> Result<Conclusion, RunError> {
    let steps = AssertUnwindSafe(decide(context, id, wish, memory, tally));
    let ended = steps.catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(RunError::Panicked(words.unwrap_or_else(|| "without a word".to_owned())))
    });
    if ended.as_ref().is_err_and(RunError::is_forbidden) {
        context.cluster.doubt_access(id);
    }
    ended
}

async fn decide(
    context: &Context,
    id: &StoreId,
    wish: &Wish,
    memory: &Memory,
    tally: &mut Tally,
) -> Result<Conclusion, RunError> {
    let owner = Owner { store: id, source: &context.source };
    if let Some(keeper) = &memory.keeper {
        let seen = observe(context, owner, wish, memory).await?;
        return Ok(keeper.said_of(seen, matches!(wish, Wish::Present { hold: None, .. })));
    }
    context.cluster.gain_access(owner).await?;
    if let Wish::Unreadable = wish {
        remove::call_off(context, owner, None).await?;
    }
    if let Wish::Present { store, revision, hold } = wish {
        if memory.withhold_healing {
            tally.withheld = remove::is_to_call_off(context, owner, Some(store));
        } else {
            tally.marked = remove::call_off(context, owner, Some(store)).await?;
        }
        let wanted = (store, revision.as_str());
        return match hold {
            None => sync(context, owner, wanted, memory, tally).await,
            Some(hold) if hold.is_pause() => hold::untouched(context, owner, wanted, memory).await,
            Some(_) => keep_up(context, owner, wanted, memory, tally).await,
        };
    }
    without_wish(context, owner, wish, memory).await
}

/// Runs a store of which git wants nothing that can be had now.
async fn without_wish(
    context: &Context,
    owner: Owner<'_>,
    wish: &Wish,
    memory: &Memory,
) -> Result<Conclusion, RunError> {
    match wish {
        Wish::HostTaken(reason) | Wish::NotAdmitted(reason) => {
            Ok(Conclusion::new(Done::Waiting, Some(StoreState::Requested), reason.clone()))
        }
        Wish::Unreadable => Ok(Conclusion::new(Done::Waiting, Some(StoreState::Failed), String::new())),
        _ => remove::absent(context, owner, wish, memory).await,
    }
}

impl Keeper {
    /// Adds to what was seen of a store what its keeper alone knows, such as why the API server refuses an object. `may_act`
    /// says whether the keeper may do now what git wants.
    fn said_of(&self, seen: Conclusion, may_act: bool) -> Conclusion {
        if matches!(seen.state, None | Some(StoreState::Deleting)) {
            return seen;
        }
        if let Some(reason) = &self.failed {
            let (state, reason) = (Some(StoreState::Failed), reason.clone());
            return Conclusion { state, step: None, reason, waits: false, ..seen };
        }
        if !may_act || !seen.waits {
            return seen;
        }
        let keeper = match &self.identity {
            Some(identity) => format!("replica {identity} keeps it and applies its objects"),
            None => "it is not settled which replica keeps it".to_owned(),
        };
        let more = if self.leaves_out { ", or says on its own page why it can't" } else { "" };
        let reason = format!("namespace: {keeper}{more}; {}", seen.reason);
        let (state, step) = (Some(StoreState::Provisioning), Some(Step::Namespace));
        Conclusion { state, step, reason, waits: false, ..seen }
    }
}

/// Looks at a store that another replica acts on, and concludes how it is.
async fn observe(
    context: &Context,
    owner: Owner<'_>,
    wish: &Wish,
    memory: &Memory,
) -> Result<Conclusion, RunError> {
    let Wish::Present { store, revision, hold: _ } = wish else {
        return without_wish(context, owner, wish, memory).await;
    };
    hold::untouched(context, owner, (store, revision.as_str()), memory).await
}

/// Keeps up what is in force while what commits change waits.
async fn keep_up(
    context: &Context,
    owner: Owner<'_>,
    wanted: (&Arc<Store>, &str),
    memory: &Memory,
    tally: &mut Tally,
) -> Result<Conclusion, RunError> {
    match hold::in_force(context, owner, wanted).await? {
        InForce::Wanted => sync(context, owner, wanted, memory, tally).await,
        InForce::Before(store, revision) => {
            let kept = sync(context, owner, (&store, &revision), memory, tally).await?;
            Ok(Conclusion { waits: true, ..kept })
        }
        InForce::Nothing(why) => {
            let mut conclusion = hold::untouched(context, owner, wanted, memory).await?;
            conclusion.reason = format!("{why}; {}", conclusion.reason);
            Ok(conclusion)
        }
    }
}

async fn sync(
    context: &Context,
    owner: Owner<'_>,
    (store, revision): (&Arc<Store>, &str),
    memory: &Memory,
    tally: &mut Tally,
) -> Result<Conclusion, RunError> {
    let planned = plan_store(context, store, revision, &LookUps::Cluster).await?;
    let Planned { plan, observed, inputs, manifests, hooks, probe, aim } = planned;
    let wanted = Wanted { store, held: aim.held.as_ref(), untouched: false };
    let waves = match plan {
        StorePlan::Converged => return conclude(context, wanted, Done::Nothing, memory).await,
        StorePlan::Held(reason) => {
            return Ok(Conclusion::new(Done::Waiting, Some(StoreState::Failed), reason));
        }
        StorePlan::AwaitDeletion => return Ok(awaiting_deletion(context, owner, &observed, memory).await),
        StorePlan::NotOurs(ownership) => return Err(RunError::not_ours(owner, &ownership)),
        StorePlan::Sync(waves) => waves,
    };
    let waves = if memory.withhold_healing {
        let (waves, withheld) = plan::without_healing(waves);
        tally.withheld |= withheld;
        waves
    } else {
        waves
    };
    let acted = act::carry_out(&context.cluster, owner, &observed, waves, tally).await;
    // What was observed before is not what is recorded now, once an intent was.
    let recorded = acted.intent.as_ref().or(observed.inventory.as_deref());
    let desired = aim.desired(owner, &inputs, &manifests, hooks.as_ref());
    if acted.failed.is_some() || !acted.replaced.is_empty() || acted.awaits {
        // A new store has no record before its first change.
        let recorded = recorded.cloned().unwrap_or_else(|| plan::intent(&desired, &observed));
        let hooks = plan::recorded_hooks(&desired, &observed, &acted.hooks);
        let partly = plan::partly_achieved(&recorded, &manifests, &acted.applied, &acted.pruned, hooks);
        remember(context, owner, &recorded, &partly).await;
        if acted.awaits && acted.failed.is_none() {
            let done = if tally.steps == 0 { Done::Nothing } else { Done::Applied };
            return conclude(context, wanted, done, memory).await;
        }
        return unfinished(acted);
    }
    let inventory = plan::achieved(&desired, probe, &observed, &acted.applied, &acted.pruned, &acted.hooks);
    if recorded != Some(&inventory) {
        let inventory = note_ready(context, owner, memory, inventory);
        context.cluster.record(owner, &inventory).await?;
        tally.healed.extend(lost_inventory(&observed));
    }
    let done = if tally.withheld && tally.steps == 0 { Done::Nothing } else { Done::Applied };
    conclude(context, wanted, done, memory).await
}

/// Names the inventory if somebody took it away: what a store holds of ours was recorded once.
fn lost_inventory(observed: &ObservedStore) -> Option<Healed> {
    let ours = observed.objects.values().any(|object| object.owned_fields.is_some());
    let object = ObjectKey::new("", "ConfigMap", INVENTORY_NAME);
    (ours && observed.inventory.is_none()).then_some(Healed { object, other: None })
}

/// Writes down what a run achieved that did not reach its end, so that the next one leaves it alone. When that fails too,
/// the next one does a little more than it must.
async fn remember(context: &Context, owner: Owner<'_>, recorded: &Inventory, partly: &Inventory) {
    if partly != recorded
        && let Err(error) = context.cluster.record(owner, partly).await
    {
        tracing::warn!(store.id = %owner.store, %error, "failed to write down what an unfinished run achieved");
    }
}

/// Concludes a run that did not reach its end: objects are to be made anew, the namespace goes, or steps failed.
fn unfinished(acted: Acted) -> Result<Conclusion, RunError> {
    match acted.failed {
        Some(failed) if failed.is_namespace_going() => {
            let reason = "its namespace is being deleted; the store is made anew afterwards".to_owned();
            Ok(Conclusion::new(Done::Waiting, Some(StoreState::Deleting), reason))
        }
        Some(failed) => Err(RunError::Steps(Box::new(failed))),
        None => {
            let reason = format!("namespace: waiting: {}", acted.replaced.join("; "));
            let step = Some(Step::Namespace);
            Ok(Conclusion { step, ..Conclusion::new(Done::Waiting, Some(StoreState::Provisioning), reason) })
        }
    }
}

/// A store whose file came back while its namespace is going is made anew when that is gone.
async fn awaiting_deletion(
    context: &Context,
    owner: Owner<'_>,
    observed: &ObservedStore,
    memory: &Memory,
) -> Conclusion {
    let going = observed.namespace.as_ref().and_then(|it| Some((it, it.deleting_since?)));
    let Some(going) = going else {
        return Conclusion::new(Done::Waiting, Some(StoreState::Deleting), String::new());
    };
    let mut conclusion = remove::going(context, owner, going, memory).await;
    conclusion.reason.push_str("; the store is made anew afterwards");
    conclusion
}

fn owns(owner: Owner<'_>, observed: &ObservedStore) -> bool {
    observed.namespace.as_ref().is_some_and(|namespace| namespace.ownership(owner) == Ownership::Ours)
}
