//! Decides what to do: pure functions from what git wants and what the cluster has to steps.
//!
//! The daemon, `storekeeper plan` and, later, the pull-request preview call the same functions. Nothing here
//! reads a clock, a cluster or a file.

mod admission;
mod backup;
mod hold;
mod hooks;
mod immutable;
pub mod inspection;
mod inventory;
mod leaving;
mod quota;
mod record;
mod remaining;
mod removals;
mod rollback;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::manifest::{Fingerprint, Manifest, ObjectKey, Owner, Uid, is_usual, kind_order};
use crate::names::{
    ANNOTATION_HOST, ANNOTATION_PAUSED_UNTIL, ANNOTATION_PROTECT, ANNOTATION_REMOVAL_REFUSED,
    ANNOTATION_REMOVAL_SINCE, Host, LABEL_CLUSTER, LABEL_MANAGED_BY, LABEL_SOURCE, LABEL_STORE, MANAGED_BY,
    POD_SECURITY_LABELS, POD_SECURITY_LEVEL,
};
use crate::report::{Readiness, Workload};

pub use crate::report::moment;

pub use admission::{Admission, Cap, Caps, Crowd, Waiting, admit};
pub use backup::{BackupStep, final_backup, wants_final_backup};
pub use hold::{Hold, HoldKind, hold, is_overridden};
pub use hooks::{HookAct, HookLine, HookRecord, HookRun, HookState, HookStep, Hooks, Moment, run_id};
pub use immutable::{Treatment, immutable_field, no_room, refused_size, stand_in, treatment};
pub use inventory::{Held, Inventory, InventoryEntry, LastGood, rendering};
pub use leaving::{spared_jobs, unfinished_job};
pub use quota::{Load, shortages};
pub use record::{Applied, achieved, partly_achieved, recorded_hooks};
pub use remaining::{Remaining, remaining};
pub use removals::{
    Fate, Gone, PROTECTED, Recent, RemovalRules, Removals, Removed, Room, idle_approvals, is_marked_to_stay,
    removals, shortened_list,
};
pub use rollback::{ended_well, failed_jobs, may_roll_back};

use hooks::Progress;
use leaving::{Leaving, leaving};

/// What the cluster holds of one store, from the watch caches. A copy shares everything large with the cache.
#[derive(Debug, Clone, Default)]
pub struct ObservedStore {
    /// The namespace of the store's name, whoever made it.
    pub namespace: Option<ObservedNamespace>,
    /// Our objects in it, of every kind that the inventory or the rendering names.
    pub objects: Arc<BTreeMap<ObjectKey, ObservedObject>>,
    /// What the last run recorded.
    pub inventory: Option<Arc<Inventory>>,
}

/// A namespace named like a store's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedNamespace {
    /// The server's identity of it; a namespace made again has another.
    pub uid: String,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// All its annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// When its deletion began, in seconds since 1970.
    pub deleting_since: Option<i64>,
    /// What the namespace controller says still holds it.
    pub held_by: Option<String>,
    /// The field manager that changed it last, besides ours.
    pub other_writer: Option<Arc<str>>,
}

/// Whose namespace it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// All labels say that it is this store's.
    Ours,
    /// This source's, from before it had several clusters: it is taken over when a file wants it, and never removed, for
    /// nobody can tell which cluster it belongs to.
    NoCluster,
    /// storekeeper made it for another source.
    OtherSource(String),
    /// storekeeper made it for this source, and for another cluster of the fleet: one of the two is at the wrong API server.
    OtherCluster(String),
    /// Made by someone else, or its labels were taken off: never touched.
    Foreign,
}

impl Ownership {
    /// Whether a store with a file may have the namespace.
    pub fn may_be_had(&self) -> bool {
        matches!(self, Self::Ours | Self::NoCluster)
    }
}

impl ObservedNamespace {
    /// Confirms by identity what a name or a selector found.
    pub fn ownership(&self, owner: Owner<'_>) -> Ownership {
        let label = |key: &str| self.labels.get(key).map(String::as_str);
        let managed = label(LABEL_MANAGED_BY) == Some(MANAGED_BY);
        if !managed || label(LABEL_STORE) != Some(owner.store.as_str()) {
            return Ownership::Foreign;
        }
        match label(LABEL_SOURCE) {
            Some(source) if source == owner.source.as_str() => {}
            Some(other) => return Ownership::OtherSource(other.to_owned()),
            None => return Ownership::Foreign,
        }
        match (label(LABEL_CLUSTER), owner.source.cluster()) {
            (None, None) => Ownership::Ours,
            (Some(cluster), Some(own)) if cluster == own.as_str() => Ownership::Ours,
            (None, Some(_)) => Ownership::NoCluster,
            (Some(other), _) => Ownership::OtherCluster(other.to_owned()),
        }
    }

    /// Returns since when no file names the store, as it is marked. A mark from before the namespace was made is of
    /// another one, and none.
    pub fn removal_since(&self) -> Option<i64> {
        let since = moment::seconds(self.annotations.get(ANNOTATION_REMOVAL_SINCE)?)?;
        (since >= self.created.unwrap_or(since)).then_some(since)
    }

    /// Whether anything is marked about its removal having begun.
    pub fn is_removal_marked(&self) -> bool {
        self.annotations.contains_key(ANNOTATION_REMOVAL_SINCE)
    }

    /// Whether its removal is marked as refused by the budget.
    pub fn is_refused(&self) -> bool {
        self.annotations.contains_key(ANNOTATION_REMOVAL_REFUSED)
    }

    /// Returns until when it is marked as paused, in seconds since 1970.
    pub fn paused_until(&self) -> Option<i64> {
        moment::seconds(self.annotations.get(ANNOTATION_PAUSED_UNTIL)?)
    }

    /// Whether it is marked as protected.
    pub fn is_protected(&self) -> bool {
        self.annotations.get(ANNOTATION_PROTECT).is_some_and(|value| value == YES)
    }
}

/// One of our objects, by its metadata alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedObject {
    /// The server's identity of it.
    pub uid: Uid,
    /// The resource version that it was seen at.
    pub version: u64,
    /// The fingerprint of our field manager's entry; none when the entry is gone.
    pub owned_fields: Option<Fingerprint>,
    /// Whether it changed and nobody is to be seen who did it: perhaps a request of an earlier run. It stays so until an
    /// apply of ours has answered.
    pub unexplained: bool,
    /// When anybody else wrote last, in seconds since 1970; 0 when nobody did.
    pub others_time: u32,
    /// The field manager that changed it last, besides ours.
    pub other_writer: Option<Arc<str>>,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// Whether it stays when it is no longer rendered (`helm.sh/resource-policy: keep`).
    pub keep: bool,
    /// For a workload whether it runs as it should; none for kinds that are ready once applied.
    pub workload: Option<Box<Workload>>,
    /// The [`run_id`] of the hooks that made it.
    pub hook_run: Option<Box<Fingerprint>>,
}

impl ObservedObject {
    /// Returns whether it runs as it should; none for kinds that are ready once applied.
    fn readiness(&self) -> Option<&Readiness> {
        self.workload.as_ref().map(|workload| &workload.readiness)
    }

    /// Whether it is as the run left it that recorded these fields.
    fn is_as_recorded(&self, fields: Option<Fingerprint>) -> bool {
        !self.unexplained && fields.is_some() && self.owned_fields == fields
    }
}

/// A store as git wants it, rendered.
#[derive(Debug, Clone, Copy)]
pub struct DesiredStore<'a> {
    /// Whose it is.
    pub owner: Owner<'a>,
    /// The host of its Ingress.
    pub host: &'a Host,
    /// Whether it is kept when its file goes.
    pub protect: bool,
    /// The fingerprint of everything the rendering depends on.
    pub inputs: &'a Fingerprint,
    /// The commit it comes from.
    pub revision: &'a str,
    /// The version that is held back in favour of this one, if one is.
    pub held: Option<&'a Held>,
    /// Its objects in the order of applying.
    pub manifests: &'a [Manifest],
    /// Its chart's hooks, if it has any.
    pub hooks: Option<&'a Hooks>,
}

impl DesiredStore<'_> {
    /// Whether an object of this name is rendered, as a hook too.
    fn has(&self, key: &ObjectKey) -> bool {
        self.manifests.iter().any(|manifest| manifest.key == *key)
            || self.hooks.is_some_and(|hooks| hooks.has(key))
    }

    /// Whether an object is of this version: what hooks made for another one is not.
    fn is_wanted(&self, key: &ObjectKey, object: &ObservedObject) -> bool {
        self.manifests.iter().any(|manifest| manifest.key == *key)
            || self.hooks.is_some_and(|hooks| hooks.made(key, object))
    }
}

/// The labels and annotations of a store's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceSpec {
    /// The namespace's name.
    pub name: String,
    /// The identity of the namespace that was observed: a change to it lands on no other one.
    pub uid: Option<String>,
    /// Labels of ownership and Pod Security.
    pub labels: BTreeMap<String, String>,
    /// The host.
    pub annotations: BTreeMap<String, String>,
}

impl NamespaceSpec {
    /// Describes the namespace that a store with a file shall have.
    pub fn new(owner: Owner<'_>, host: &Host, protect: bool) -> Self {
        let mut labels: BTreeMap<_, _> =
            owner.labels().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        if let Some(cluster) = owner.source.cluster() {
            labels.insert(LABEL_CLUSTER.to_owned(), cluster.to_string());
        }
        for label in POD_SECURITY_LABELS {
            labels.insert(label.to_owned(), POD_SECURITY_LEVEL.to_owned());
        }
        let mut annotations = BTreeMap::from([(ANNOTATION_HOST.to_owned(), host.to_string())]);
        if protect {
            annotations.insert(ANNOTATION_PROTECT.to_owned(), YES.to_owned());
        }
        Self { name: owner.store.namespace(), uid: None, labels, annotations }
    }

    /// Describes the namespace of a store without a file: as it is, with what is decided about it written down.
    pub fn absent(owner: Owner<'_>, observed: &ObservedNamespace, marks: &Marks) -> Self {
        let Marks { since, refused, protected, paused_until } = marks;
        let ours = |label: &&String| {
            POD_SECURITY_LABELS.contains(&label.as_str())
                || label.as_str() == LABEL_CLUSTER
                || owner.labels().iter().any(|(key, _)| key == &label.as_str())
        };
        let kept = observed.labels.iter().filter(|(label, _)| ours(label));
        let labels = kept.map(|(label, value)| (label.clone(), value.clone())).collect();
        let marks = [
            (ANNOTATION_HOST, observed.annotations.get(ANNOTATION_HOST).cloned()),
            (ANNOTATION_PROTECT, protected.then(|| YES.to_owned())),
            (ANNOTATION_REMOVAL_REFUSED, refused.then(|| YES.to_owned())),
            (ANNOTATION_REMOVAL_SINCE, since.map(moment::utc)),
            (ANNOTATION_PAUSED_UNTIL, paused_until.map(moment::utc)),
        ];
        let annotations =
            marks.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        Self { name: owner.store.namespace(), uid: Some(observed.uid.clone()), labels, annotations }
    }

    /// Whether a namespace is as described.
    pub fn matches(&self, observed: &ObservedNamespace) -> bool {
        let has =
            |all: &BTreeMap<String, String>, (key, value): (&String, &String)| all.get(key) == Some(value);
        self.labels.iter().all(|pair| has(&observed.labels, pair))
            && self.annotations.iter().all(|pair| has(&observed.annotations, pair))
            && self.stale_marks(&observed.annotations).next().is_none()
    }

    /// Whether somebody else changed what a run with the same inputs wrote. Marks come and go without new inputs.
    fn has_drifted(&self, observed: &ObservedNamespace) -> bool {
        let is_mark = |key: &str| MARKS.contains(&key);
        let annotations = self.annotations.iter().filter(|(key, _)| !is_mark(key));
        self.labels.iter().any(|(key, value)| observed.labels.get(key) != Some(value))
            || annotations.into_iter().any(|(key, value)| observed.annotations.get(key) != Some(value))
    }

    /// Finds the marks among a namespace's annotations that it shall not have.
    pub fn stale_marks<'a>(
        &'a self,
        annotations: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'static str> + 'a {
        let stale = |mark: &&str| annotations.contains_key(*mark) && !self.annotations.contains_key(*mark);
        MARKS.into_iter().filter(stale)
    }
}

/// What is written on the namespace of a store without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Since when it has none, in seconds since 1970.
    pub since: Option<i64>,
    /// Whether the deletion budget keeps it.
    pub refused: bool,
    /// Whether its protection keeps it.
    pub protected: bool,
    /// Until when its last file pauses it, in seconds since 1970.
    pub paused_until: Option<i64>,
}

/// The annotations whose absence says something too.
const MARKS: [&str; 4] =
    [ANNOTATION_PAUSED_UNTIL, ANNOTATION_PROTECT, ANNOTATION_REMOVAL_REFUSED, ANNOTATION_REMOVAL_SINCE];

/// The value of an annotation that only says yes.
const YES: &str = "true";

/// One act on the cluster.
#[derive(Debug, Clone)]
pub enum Step {
    /// Makes the namespace; fails when somebody else made it meanwhile.
    CreateNamespace(NamespaceSpec),
    /// Puts labels and annotations of our namespace right.
    ApplyNamespace {
        /// What they shall be.
        spec: NamespaceSpec,
        /// Why.
        cause: Cause,
    },
    /// Writes down what is about to change, so that a crash from here on leaves nothing unknown.
    RecordIntent(Inventory),
    /// Applies an object.
    Apply {
        /// What.
        manifest: Manifest,
        /// Why.
        cause: Cause,
    },
    /// Deletes an object that is no longer rendered.
    Prune {
        /// Which.
        key: ObjectKey,
        /// The identity that the server checks.
        uid: Uid,
        /// The resource version that the server checks too; it stays when it has changed since.
        version: Option<u64>,
    },
    /// Deletes nothing yet: a later run does so, when what is applied has come up.
    PruneLater {
        /// Which.
        key: ObjectKey,
    },
    /// Moves a hook on. What comes after it waits for its end.
    Hook(HookStep),
}

/// Why an object is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is new, or nobody knows whether it was applied.
    New,
    /// It was applied, and somebody deleted it.
    Deleted,
    /// Git wants it otherwise than it was applied.
    Changed,
    /// Somebody else changed fields of ours.
    Drifted,
}

impl Step {
    /// Whether nothing is done now.
    pub fn is_later(&self) -> bool {
        matches!(self, Self::PruneLater { .. } | Self::Hook(HookStep { act: HookAct::Later, .. }))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNamespace(spec) => write!(f, "+ Namespace/{}", spec.name),
            Self::ApplyNamespace { spec, cause: Cause::Drifted } => {
                write!(f, "~ Namespace/{} (drifted)", spec.name)
            }
            Self::ApplyNamespace { spec, .. } => write!(f, "~ Namespace/{}", spec.name),
            Self::RecordIntent(_) => f.write_str("  record what is about to change"),
            Self::Apply { manifest, cause } => match cause {
                Cause::New => write!(f, "+ {}", manifest.key),
                Cause::Deleted => write!(f, "+ {} (was deleted)", manifest.key),
                Cause::Changed => write!(f, "~ {}", manifest.key),
                Cause::Drifted => write!(f, "~ {} (drifted)", manifest.key),
            },
            Self::Prune { key, .. } => write!(f, "- {key}"),
            Self::PruneLater { key } => write!(f, "- {key} (when the rest runs)"),
            Self::Hook(hook) => write!(f, "{hook}"),
        }
    }
}

/// What a store's run shall do.
#[derive(Debug, Clone)]
pub enum StorePlan {
    /// Everything is as git wants it.
    Converged,
    /// Waves of steps: those of one wave side by side, the waves one after the other.
    Sync(Vec<Vec<Step>>),
    /// A namespace of this name is being deleted; the store is made anew when it is gone.
    AwaitDeletion,
    /// The namespace exists and is not ours.
    NotOurs(Ownership),
    /// What ran before is wanted again and can't be had, for this reason: nothing is changed.
    Held(String),
}

/// Plans one store that git wants.
pub fn store(desired: &DesiredStore<'_>, observed: &ObservedStore) -> StorePlan {
    let spec = NamespaceSpec::new(desired.owner, desired.host, desired.protect);
    let recorded = observed.inventory.as_ref().and_then(|inventory| inventory.inputs.as_ref());
    let mut waves = Vec::new();
    match &observed.namespace {
        None => waves.push(vec![Step::CreateNamespace(spec)]),
        Some(namespace) => match namespace.ownership(desired.owner) {
            Ownership::Ours | Ownership::NoCluster if namespace.deleting_since.is_some() => {
                return StorePlan::AwaitDeletion;
            }
            whose @ (Ownership::Ours | Ownership::NoCluster) if !spec.matches(namespace) => {
                // That it names its cluster from now on is not somebody's doing.
                let is_known = recorded == Some(desired.inputs) && whose == Ownership::Ours;
                let drifted = is_known && spec.has_drifted(namespace);
                let cause = if drifted { Cause::Drifted } else { Cause::Changed };
                let spec = NamespaceSpec { uid: Some(namespace.uid.clone()), ..spec };
                waves.push(vec![Step::ApplyNamespace { spec, cause }]);
            }
            Ownership::Ours | Ownership::NoCluster => {}
            other => return StorePlan::NotOurs(other),
        },
    }
    let applies = applies(desired, observed);
    let Leaving { stopped, pruned, kept } = leaving(desired, observed);
    let Progress { record: hooks, before, after } = hook_progress(desired, observed);
    let good = observed.inventory.as_ref().and_then(|inventory| inventory.good.as_ref());
    let raises_doubt = record::good(desired, observed).as_ref() != good;
    let begins_hooks = !before.is_empty() && !is_version_of_hooks(hooks.as_ref(), observed);
    let goes = stopped.iter().chain(pruned.iter().flatten());
    let record = if raises_doubt || begins_hooks || needs_intent(&applies, goes, observed) {
        Some(intent(desired, observed))
    } else {
        hook_news(hooks.as_ref(), before.iter().chain(&after).flatten(), observed)
    };
    // After a run that failed, all of it stands there already.
    let news = record.filter(|record| observed.inventory.as_deref() != Some(record));
    waves.extend(news.map(|record| vec![Step::RecordIntent(record)]));
    waves.extend(Some(stopped).filter(|wave| !wave.is_empty()));
    waves.extend(before);
    waves.extend(applies);
    waves.extend(pruned);
    let (later, after): (Vec<_>, Vec<_>) =
        after.into_iter().partition(|wave| wave.iter().all(Step::is_later));
    waves.extend(after);
    if waves.is_empty() && is_recorded_whole(desired, hooks.as_ref(), observed) {
        return StorePlan::Converged;
    }
    waves.extend(Some(kept).filter(|wave| !wave.is_empty()));
    waves.extend(later);
    StorePlan::Sync(waves)
}

/// Decides about the chart's hooks.
fn hook_progress(desired: &DesiredStore<'_>, observed: &ObservedStore) -> Progress {
    let Some(hooks) = desired.hooks else { return Progress::default() };
    let is_busy = unfinished_job(|key, object| desired.is_wanted(key, object), observed).is_some();
    hooks::progress(hooks, observed, leaving::has_come_up(desired, observed), is_busy)
}

/// Whether the hooks that the inventory names are those of this version.
fn is_version_of_hooks(record: Option<&HookRecord>, observed: &ObservedStore) -> bool {
    let known = observed.inventory.as_ref().and_then(|inventory| inventory.hooks.as_deref());
    known.map(|known| known.wish) == record.map(|record| record.wish)
}

/// Returns what is to be recorded of hooks before these steps: of what a delete policy takes away nothing else tells that it
/// has run.
fn hook_news<'a>(
    record: Option<&HookRecord>,
    mut steps: impl Iterator<Item = &'a Step>,
    observed: &ObservedStore,
) -> Option<Inventory> {
    let old = observed.inventory.as_deref()?;
    let hooks = record.cloned().map(Box::new);
    let goes = steps.any(|step| matches!(step, Step::Prune { .. }));
    (goes && old.hooks != hooks).then(|| Inventory { hooks, ..old.clone() })
}

/// Whether the inventory says all that it will say after a run without steps.
fn is_recorded_whole(
    desired: &DesiredStore<'_>,
    hooks: Option<&HookRecord>,
    observed: &ObservedStore,
) -> bool {
    observed.inventory.as_ref().is_some_and(|inventory| {
        inventory.inputs.as_ref() == Some(desired.inputs)
            && inventory.hooks.as_deref() == hooks
            && (inventory.leaving.is_empty() || !leaving::has_come_up(desired, observed))
    })
}

/// Whether a crash in the middle of these waves would leave something that no later run could know. Without an
/// inventory there are no claims to drop and nothing looks converged; what was applied is known by our field manager's
/// entry, as long as its kind is watched after a restart.
fn needs_intent<'a>(
    applies: &[Vec<Step>],
    mut prunes: impl Iterator<Item = &'a Step>,
    observed: &ObservedStore,
) -> bool {
    let applied = applies.iter().flatten().filter_map(|step| match step {
        Step::Apply { manifest, .. } => Some(manifest),
        _ => None,
    });
    match &observed.inventory {
        None => applied.into_iter().any(|manifest| !is_usual(&manifest.resource)),
        Some(inventory) => {
            // A Job that is left over is no claim of the inventory, and is found again without it; what is known to leave
            // is none either.
            let is_claimed = |key: &ObjectKey| {
                let leaves = inventory.leaving.iter().any(|entry| entry.key == *key);
                !leaves && (key.kind != "Job" || inventory.get(key).is_some())
            };
            prunes.any(|step| matches!(step, Step::Prune { key, .. } if is_claimed(key)))
                || applied.into_iter().any(|manifest| !is_recorded(manifest, observed))
        }
    }
}

/// Takes out of waves what puts back what somebody else changed or deleted; tells whether there was any. A namespace is left
/// as it is altogether: what a commit wants of it ends any fight, and marks have no cause of their own.
pub fn without_healing(waves: Vec<Vec<Step>>) -> (Vec<Vec<Step>>, bool) {
    let heals = |step: &Step| match step {
        Step::ApplyNamespace { .. } => true,
        Step::Apply { cause, .. } => matches!(cause, Cause::Deleted | Cause::Drifted),
        _ => false,
    };
    let any = waves.iter().flatten().any(heals);
    let left = waves.into_iter().map(|wave| wave.into_iter().filter(|step| !heals(step)).collect::<Vec<_>>());
    (left.filter(|wave| !wave.is_empty()).collect(), any)
}

/// Tells without rendering whether a store is as the last run left it and that run had the same inputs.
pub fn is_converged(
    owner: Owner<'_>,
    (host, protect): (&Host, bool),
    inputs: &Fingerprint,
    observed: &ObservedStore,
) -> bool {
    let (Some(namespace), Some(inventory)) = (&observed.namespace, &observed.inventory) else { return false };
    namespace.deleting_since.is_none()
        && namespace.ownership(owner) == Ownership::Ours
        && NamespaceSpec::new(owner, host, protect).matches(namespace)
        && inventory.inputs.as_ref() == Some(inputs)
        && inventory.objects.iter().all(|entry| {
            observed
                .objects
                .get(&entry.key)
                .is_some_and(|object| !object.deleting && object.is_as_recorded(entry.fields))
        })
        && !leaving::is_due(inventory, observed)
}

fn applies(desired: &DesiredStore<'_>, observed: &ObservedStore) -> Vec<Vec<Step>> {
    let job_at_work = unfinished_job(|key, object| desired.is_wanted(key, object), observed).is_some();
    let mut waves: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
    for manifest in desired.manifests {
        let key = &manifest.key;
        // Its end triggers the run that begins this one.
        if job_at_work && key.kind == "Job" && !observed.objects.contains_key(key) {
            continue;
        }
        let Some(cause) = cause(manifest, observed) else { continue };
        let step = Step::Apply { manifest: manifest.clone(), cause };
        waves.entry(kind_order(&key.kind)).or_default().push(step);
    }
    waves.into_values().collect()
}

/// Tells why an object is to be applied; none when it is as it shall be.
fn cause(manifest: &Manifest, observed: &ObservedStore) -> Option<Cause> {
    let object = observed.objects.get(&manifest.key);
    let entry = observed.inventory.as_ref().and_then(|inventory| inventory.get(&manifest.key));
    match (object, entry) {
        // An object on its way out cannot be applied; its end triggers the next run.
        (Some(object), _) if object.deleting => None,
        (Some(object), Some(entry)) if entry.manifest.as_ref() == Some(&manifest.fingerprint) => {
            (!object.is_as_recorded(entry.fields)).then_some(Cause::Drifted)
        }
        (Some(_), _) => Some(Cause::Changed),
        (None, _) if is_recorded(manifest, observed) => Some(Cause::Deleted),
        (None, _) => Some(Cause::New),
    }
}

/// Whether the inventory says already that exactly this was applied: applying it again needs no new record.
fn is_recorded(manifest: &Manifest, observed: &ObservedStore) -> bool {
    let entry = observed.inventory.as_ref().and_then(|inventory| inventory.get(&manifest.key));
    entry.is_some_and(|entry| entry.manifest.as_ref() == Some(&manifest.fingerprint))
}

/// The inventory to record before a change: everything that is or may come to be ours, with no claim about
/// objects that are about to change.
pub fn intent(desired: &DesiredStore<'_>, observed: &ObservedStore) -> Inventory {
    let old = observed.inventory.as_deref().cloned().unwrap_or_default();
    let good = record::good(desired, observed);
    let objects = desired
        .manifests
        .iter()
        .map(|manifest| {
            let unchanged = old
                .get(&manifest.key)
                .filter(|entry| entry.manifest.as_ref() == Some(&manifest.fingerprint))
                .cloned();
            unchanged.unwrap_or_else(|| InventoryEntry {
                key: manifest.key.clone(),
                version: manifest.resource.version.as_str().into(),
                manifest: None,
                fields: None,
            })
        })
        .collect();
    let leaving = old.all().filter(|entry| !desired.has(&entry.key)).cloned().collect();
    let hooks = hook_progress(desired, observed).record.map(Box::new);
    // The commit stays the one that was applied last: of this one nothing is yet.
    Inventory { inputs: None, good, objects, leaving, hooks, ..old }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chart::HookEvent;
    use crate::manifest::{self, AllowedKinds, Resource};
    use crate::names::{SourceId, StoreId};

    fn id(text: &str) -> StoreId {
        text.parse().unwrap()
    }

    fn source() -> SourceId {
        "main".parse().unwrap()
    }

    fn host() -> Host {
        "acme.example.com".parse().unwrap()
    }

    fn inputs(text: &str) -> Fingerprint {
        Fingerprint::of_bytes(text.as_bytes())
    }

    fn manifests(objects: &[(&str, &str, &str)]) -> Vec<Manifest> {
        let rendered = objects.iter().map(|(kind, name, content)| {
            let metadata = json!({ "name": name });
            let body = json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata, "data": content });
            ("t.yaml".to_owned(), body)
        });
        let resolve = |version: &str, kind: &str| {
            Some(Resource {
                group: String::new(),
                version: version.to_owned(),
                kind: kind.to_owned(),
                plural: String::new(),
                namespaced: true,
            })
        };
        let (store, source) = (id("acme"), source());
        let kinds = AllowedKinds::with(objects.iter().map(|(kind, ..)| kind.parse().unwrap()));
        let owner = Owner { store: &store, source: &source };
        manifest::prepare(rendered.collect(), owner, &host(), &kinds, &resolve).unwrap()
    }

    fn plan(manifests: &[Manifest], inputs: &Fingerprint, observed: &ObservedStore) -> StorePlan {
        let (store_id, source, host) = (id("acme"), source(), host());
        let owner = Owner { store: &store_id, source: &source };
        let desired = DesiredStore {
            owner,
            host: &host,
            protect: false,
            inputs,
            revision: "r",
            held: None,
            manifests,
            hooks: None,
        };
        store(&desired, observed)
    }

    fn lines(plan: &StorePlan) -> Vec<String> {
        match plan {
            StorePlan::Sync(waves) => waves.iter().flatten().map(ToString::to_string).collect(),
            other => vec![format!("{other:?}")],
        }
    }

    /// The cluster after a run with these manifests.
    fn after(manifests: &[Manifest], run: &Fingerprint) -> ObservedStore {
        let (store_id, source) = (id("acme"), source());
        let spec = NamespaceSpec::new(Owner { store: &store_id, source: &source }, &host(), false);
        let namespace = ObservedNamespace {
            uid: "n".to_owned(),
            labels: spec.labels,
            annotations: spec.annotations,
            ..ObservedNamespace::default()
        };
        let fields = Fingerprint::of(&Value::Null);
        let entries = manifests.iter().map(|manifest| InventoryEntry {
            key: manifest.key.clone(),
            version: "v1".into(),
            manifest: Some(manifest.fingerprint),
            fields: Some(fields),
        });
        let objects = manifests.iter().map(|manifest| {
            let object = ObservedObject {
                uid: Uid::new(&format!("u-{}", manifest.key.name)),
                version: 1,
                owned_fields: Some(fields),
                unexplained: false,
                others_time: 0,
                other_writer: None,
                deleting: false,
                keep: false,
                workload: None,
                hook_run: None,
            };
            (manifest.key.clone(), object)
        });
        ObservedStore {
            namespace: Some(namespace),
            objects: Arc::new(objects.collect()),
            inventory: Some(Arc::new(Inventory {
                inputs: Some(*run),
                revision: "r".to_owned(),
                objects: entries.collect(),
                ..Inventory::default()
            })),
        }
    }

    fn objects(observed: &mut ObservedStore) -> &mut BTreeMap<ObjectKey, ObservedObject> {
        Arc::make_mut(&mut observed.objects)
    }

    fn is_fast(observed: &ObservedStore, run: &Fingerprint) -> bool {
        let (store_id, source) = (id("acme"), source());
        is_converged(Owner { store: &store_id, source: &source }, (&host(), false), run, observed)
    }

    #[test]
    fn a_new_store_gets_its_namespace_first_and_has_no_claims_to_drop() {
        let wanted = manifests(&[("Service", "web", ""), ("Secret", "key", "")]);
        let steps = lines(&plan(&wanted, &inputs("1"), &ObservedStore::default()));
        assert_eq!(steps, ["+ Namespace/store-acme", "+ Secret/key", "+ Service/web"]);
        // Cut off in between, it goes on without a record too.
        let mut observed = after(&wanted[..1], &inputs("1"));
        observed.inventory = None;
        let steps = lines(&plan(&wanted, &inputs("1"), &observed));
        assert_eq!(steps, ["~ Secret/key", "+ Service/web"]);
    }

    #[test]
    fn a_kind_that_a_restart_would_not_watch_is_written_down_before_it_is_applied() {
        let wanted = manifests(&[("Secret", "key", ""), ("Widget", "w", "")]);
        let steps = lines(&plan(&wanted, &inputs("1"), &ObservedStore::default()));
        let intent = "  record what is about to change";
        assert_eq!(steps, ["+ Namespace/store-acme", intent, "+ Secret/key", "+ Widget/w"]);
    }

    #[test]
    fn what_a_cut_off_run_left_is_found_when_it_is_seen_after_the_next_one() {
        let wanted = manifests(&[("Secret", "key", "")]);
        let mut observed = after(&wanted, &inputs("1"));
        let mut left = after(&manifests(&[("ConfigMap", "left", "")]), &inputs("0"));
        objects(&mut observed).append(objects(&mut left));
        assert!(!is_fast(&observed, &inputs("1")), "a stray is no rest");
        let steps = lines(&plan(&wanted, &inputs("1"), &observed));
        assert_eq!(steps, ["  record what is about to change", "- ConfigMap/left"]);
        for object in objects(&mut observed).values_mut().filter(|object| object.uid == Uid::new("u-left")) {
            object.owned_fields = None;
        }
        assert!(is_fast(&observed, &inputs("1")), "a copy of our labels is not ours");
    }

    #[test]
    fn a_namespace_that_somebody_else_changed_is_healed_and_left_alone_in_a_fight() {
        let wanted = manifests(&[("Secret", "key", "")]);
        let mut observed = after(&wanted, &inputs("1"));
        let namespace = observed.namespace.as_mut().unwrap();
        namespace.labels.insert(POD_SECURITY_LABELS[0].to_owned(), "privileged".to_owned());
        let changed = plan(&wanted, &inputs("1"), &observed);
        assert_eq!(lines(&changed), ["~ Namespace/store-acme (drifted)"]);
        let StorePlan::Sync(waves) = changed else { panic!("{changed:?}") };
        assert!(matches!(without_healing(waves), (left, true) if left.is_empty()));
        // Another version may want another namespace, and marks are no part of any version.
        let newer = plan(&wanted, &inputs("2"), &observed);
        assert_eq!(lines(&newer)[0], "~ Namespace/store-acme");
        let mut marked = after(&wanted, &inputs("1"));
        let annotations = &mut marked.namespace.as_mut().unwrap().annotations;
        annotations.insert(ANNOTATION_PROTECT.to_owned(), YES.to_owned());
        assert_eq!(lines(&plan(&wanted, &inputs("1"), &marked)), ["~ Namespace/store-acme"]);
    }

    #[test]
    fn what_nobody_explains_is_applied_again_though_its_fields_are_as_recorded() {
        let wanted = manifests(&[("Secret", "key", "")]);
        let mut observed = after(&wanted, &inputs("1"));
        objects(&mut observed).get_mut(&wanted[0].key).unwrap().unexplained = true;
        assert!(!is_fast(&observed, &inputs("1")));
        assert_eq!(lines(&plan(&wanted, &inputs("1"), &observed)), ["~ Secret/key (drifted)"]);
    }

    #[test]
    fn a_converged_store_needs_nothing_and_is_known_as_such_without_rendering() {
        let wanted = manifests(&[("Secret", "key", "")]);
        let observed = after(&wanted, &inputs("1"));
        assert!(matches!(plan(&wanted, &inputs("1"), &observed), StorePlan::Converged));
        assert!(is_fast(&observed, &inputs("1")));
        assert!(!is_fast(&observed, &inputs("2")), "git wants something else");
    }

    #[test]
    fn what_hooks_left_keeps_no_store_busy_and_one_that_is_due_does() {
        let wanted = manifests(&[("Secret", "key", "")]);
        let record = |line: &str| {
            let text = json!({"wish": inputs("w"), "moment": "upgrade", "runs": [line]});
            serde_json::from_value::<HookRecord>(text).unwrap()
        };
        let with = |line: &str| {
            let mut observed = after(&wanted, &inputs("1"));
            let mut job = objects(&mut observed)[&wanted[0].key].clone();
            job.hook_run = Some(Box::new(run_id(&inputs("w"), HookEvent::PostUpgrade)));
            objects(&mut observed).insert(ObjectKey::new("batch", "Job", "tell"), job);
            let inventory = observed.inventory.as_deref().cloned().unwrap();
            let hooks = Some(Box::new(record(line)));
            observed.inventory = Some(Arc::new(Inventory { hooks, ..inventory }));
            observed
        };
        assert!(is_fast(&with("post-upgrade done batch/v1 Job tell - -"), &inputs("1")));
        assert!(
            is_fast(&with("post-upgrade failed batch/v1 Job tell - -"), &inputs("1")),
            "it is there still"
        );
        assert!(!is_fast(&with("post-upgrade todo batch/v1 Job tell - -"), &inputs("1")));
        let mut gone = with("post-upgrade failed batch/v1 Job tell - -");
        objects(&mut gone).retain(|key, _| key.kind != "Job");
        assert!(!is_fast(&gone, &inputs("1")), "somebody wants it to run again");
        assert!(!is_fast(&with("post-upgrade done batch/v1 Job other - -"), &inputs("1")), "nobody knows it");
    }

    fn intent_of(plan: &StorePlan) -> Option<&Inventory> {
        let StorePlan::Sync(waves) = plan else { panic!("{plan:?}") };
        waves.iter().flatten().find_map(|step| match step {
            Step::RecordIntent(intent) => Some(intent),
            _ => None,
        })
    }

    #[test]
    fn what_drops_claims_is_recorded_before_and_healing_claims_nothing_new() {
        let wanted = manifests(&[("ConfigMap", "a", "1")]);
        let mut observed = after(&wanted, &inputs("1"));
        // Ours by its field manager, and in no inventory: the record before the prune and after it are the same.
        let mut stray = after(&manifests(&[("ConfigMap", "stray", "1")]), &inputs("1"));
        objects(&mut observed).append(objects(&mut stray));
        assert!(intent_of(&plan(&wanted, &inputs("1"), &observed)).is_some());
        objects(&mut observed).retain(|key, _| key.name == "a");
        for object in objects(&mut observed).values_mut() {
            object.owned_fields = None;
        }
        assert!(intent_of(&plan(&wanted, &inputs("1"), &observed)).is_none());
    }

    #[test]
    fn what_a_failed_run_achieved_is_left_alone_by_the_next_and_nothing_is_claimed_of_the_rest() {
        let before = after(&manifests(&[("ConfigMap", "a", "1"), ("Service", "b", "1")]), &inputs("1"));
        let wanted = manifests(&[("ConfigMap", "a", "2"), ("Service", "b", "2"), ("Ingress", "c", "2")]);
        let first = plan(&wanted, &inputs("2"), &before);
        let intent = intent_of(&first).unwrap();
        let fields = Some(inputs("fields of a"));
        let applied = Applied::from([(wanted[0].key.clone(), fields)]);
        let partly = partly_achieved(intent, &wanted, &applied, &[], None);
        assert_eq!(partly.inputs, None, "it does not look converged");
        let claims: Vec<_> = partly.objects.iter().map(|entry| entry.manifest.is_some()).collect();
        assert_eq!(claims, [true, false, false]);

        let mut observed = ObservedStore { inventory: Some(Arc::new(partly)), ..before };
        objects(&mut observed).get_mut(&wanted[0].key).unwrap().owned_fields = fields;
        let next = plan(&wanted, &inputs("2"), &observed);
        assert_eq!(lines(&next), ["~ Service/b", "+ Ingress/c"], "not even the intent is written again");
        assert!(!is_fast(&observed, &inputs("2")));
    }

    #[test]
    fn a_changed_object_is_recorded_and_applied_and_a_dropped_one_is_pruned() {
        let mut before = after(&manifests(&[("ConfigMap", "a", "1"), ("ConfigMap", "b", "1")]), &inputs("1"));
        Arc::make_mut(before.inventory.as_mut().unwrap()).revision = "before".to_owned();
        let wanted = manifests(&[("ConfigMap", "a", "2")]);
        let steps = lines(&plan(&wanted, &inputs("2"), &before));
        assert_eq!(steps, ["  record what is about to change", "~ ConfigMap/a", "- ConfigMap/b"]);
        let StorePlan::Sync(waves) = plan(&wanted, &inputs("2"), &before) else { panic!() };
        let Step::RecordIntent(intent) = &waves[0][0] else { panic!() };
        assert_eq!(intent.inputs, None, "a crash from here on must not look converged");
        let claims =
            |entries: &[InventoryEntry]| entries.iter().map(|it| it.manifest.is_some()).collect::<Vec<_>>();
        assert_eq!(claims(&intent.objects), [false], "nothing is claimed of the object that changes");
        assert_eq!(claims(&intent.leaving), [true]);
        assert_eq!(intent.revision, "before", "nothing of the new commit is applied yet");
    }

    #[test]
    fn drift_and_a_deletion_by_hand_are_healed_without_a_new_record() {
        let wanted = manifests(&[("ConfigMap", "a", ""), ("ConfigMap", "b", "")]);
        let mut observed = after(&wanted, &inputs("1"));
        objects(&mut observed).remove(&wanted[0].key);
        objects(&mut observed).get_mut(&wanted[1].key).unwrap().owned_fields =
            Some(inputs("somebody else's"));
        assert!(!is_fast(&observed, &inputs("1")));
        assert_eq!(
            lines(&plan(&wanted, &inputs("1"), &observed)),
            ["+ ConfigMap/a (was deleted)", "~ ConfigMap/b (drifted)"]
        );
    }

    #[test]
    fn an_object_of_ours_that_no_inventory_names_is_pruned_and_a_copy_of_our_labels_is_not() {
        let run = inputs("1");
        let mut observed = after(&manifests(&[("ConfigMap", "stray", ""), ("Endpoints", "copy", "")]), &run);
        observed.inventory = Some(Arc::new(Inventory { inputs: Some(run), ..Inventory::default() }));
        let copy = objects(&mut observed).iter_mut().find(|(key, _)| key.name == "copy").unwrap().1;
        copy.owned_fields = None;
        let steps = lines(&plan(&[], &run, &observed));
        assert_eq!(steps, ["  record what is about to change", "- ConfigMap/stray"]);
    }

    #[test]
    fn what_exposes_is_pruned_before_what_it_exposes() {
        let all = manifests(&[("Secret", "s", ""), ("Deployment", "d", ""), ("Ingress", "i", "")]);
        let steps = lines(&plan(&[], &inputs("2"), &after(&all, &inputs("1"))));
        assert_eq!(steps[1..], ["- Ingress/i", "- Deployment/d", "- Secret/s"]);
    }

    #[test]
    fn an_object_that_must_be_kept_is_not_pruned() {
        let mut before = after(&manifests(&[("PersistentVolumeClaim", "data", "")]), &inputs("1"));
        for object in objects(&mut before).values_mut() {
            object.keep = true;
        }
        assert_eq!(lines(&plan(&[], &inputs("2"), &before)), Vec::<String>::new());
    }

    #[test]
    fn an_object_on_its_way_out_is_waited_for() {
        let wanted = manifests(&[("ConfigMap", "a", "")]);
        let mut observed = after(&wanted, &inputs("1"));
        objects(&mut observed).get_mut(&wanted[0].key).unwrap().deleting = true;
        assert!(!is_fast(&observed, &inputs("1")));
        assert!(lines(&plan(&wanted, &inputs("2"), &observed)).is_empty());
    }

    #[test]
    fn a_job_that_has_run_is_pruned_only_once_the_newer_version_is_ready() {
        let old = manifests(&[("Job", "migrate-1", "")]);
        let new = manifests(&[("Job", "migrate-2", "")]);
        let ready = |mut observed: ObservedStore, run: &Fingerprint| {
            let inventory = Arc::make_mut(observed.inventory.as_mut().unwrap());
            let good = LastGood { inputs: *run, ..inventory.as_good().unwrap() };
            inventory.good = Some(Box::new(good));
            observed
        };
        let with_job = |mut observed: ObservedStore, readiness: Readiness| {
            let job = objects(&mut observed).get_mut(&old[0].key).unwrap();
            job.workload =
                Some(Box::new(Workload { step: crate::report::Step::Migration, readiness, made: None }));
            observed
        };
        let before = ready(after(&old, &inputs("1")), &inputs("1"));
        let run = with_job(before.clone(), Readiness::Current);
        let record = "  record what is about to change";
        assert_eq!(lines(&plan(&new, &inputs("2"), &run)), [record, "+ Job/migrate-2"]);
        let failed = with_job(before.clone(), Readiness::Failed("deadline".into()));
        let instead = [record, "- Job/migrate-1", "+ Job/migrate-2"];
        assert_eq!(
            lines(&plan(&new, &inputs("2"), &failed)),
            instead,
            "its version may come back, and be tried again"
        );
        let never_ready = with_job(after(&old, &inputs("1")), Readiness::Current);
        assert_eq!(
            lines(&plan(&new, &inputs("2"), &never_ready)),
            [record, "+ Job/migrate-2"],
            "READY or not"
        );

        // One that has not ended goes first, and nothing takes its place before it is gone.
        let at_work = with_job(before, Readiness::Progressing("1 of 1".into()));
        assert_eq!(lines(&plan(&new, &inputs("2"), &at_work)), [record, "- Job/migrate-1"]);
        let (mut going, mut kept) = (at_work.clone(), at_work);
        objects(&mut going).get_mut(&old[0].key).unwrap().deleting = true;
        assert_eq!(lines(&plan(&new, &inputs("2"), &going)), [record], "that what ran before is in doubt");
        objects(&mut going).clear();
        assert_eq!(lines(&plan(&new, &inputs("2"), &going)), [record, "+ Job/migrate-2"]);
        objects(&mut kept).get_mut(&old[0].key).unwrap().keep = true;
        assert!(lines(&plan(&new, &inputs("2"), &kept)).is_empty(), "one that stays is waited for");
        assert!(!leaving::is_due(kept.inventory.as_ref().unwrap(), &kept), "and nothing else");

        // The newer version is applied and has come up, and the Job of the one before is still there.
        let mut both = ready(after(&new, &inputs("2")), &inputs("1"));
        objects(&mut both).insert(old[0].key.clone(), run.objects[&old[0].key].clone());
        assert!(is_fast(&both, &inputs("2")), "it waits for READY");
        let both = ready(both, &inputs("2"));
        assert!(!is_fast(&both, &inputs("2")));
        assert_eq!(lines(&plan(&new, &inputs("2"), &both)), ["- Job/migrate-1"], "and claims nothing");
    }

    #[test]
    fn a_job_that_goes_before_it_succeeded_puts_what_ran_before_in_doubt() {
        let (old, new) = (manifests(&[("Job", "migrate-1", "")]), manifests(&[("Job", "migrate-2", "")]));
        for readiness in [Readiness::Progressing("1 of 1".into()), Readiness::Failed("deadline".into())] {
            let mut observed = after(&old, &inputs("1"));
            let job = objects(&mut observed).get_mut(&old[0].key).unwrap();
            job.workload =
                Some(Box::new(Workload { step: crate::report::Step::Migration, readiness, made: None }));
            let inventory = Arc::make_mut(observed.inventory.as_mut().unwrap());
            inventory.good = Some(Box::new(LastGood { inputs: inputs("0"), ..inventory.as_good().unwrap() }));
            let next = plan(&new, &inputs("2"), &observed);
            let doubt = |inventory: &Inventory| inventory.good.as_ref().unwrap().doubt.clone();
            assert_eq!(doubt(intent_of(&next).unwrap()).as_deref(), Some("Job/migrate-1"));
            let StorePlan::Sync(waves) = &next else { panic!() };
            let Step::Prune { version, .. } = &waves[1][0] else { panic!("{waves:?}") };
            assert_eq!(*version, Some(1), "one that has succeeded meanwhile must stay");

            // What is wanted goes on, and what is held back has been looked at.
            assert!(matches!(plan(&old, &inputs("1"), &observed), StorePlan::Converged));
            let (store_id, source, host) = (id("acme"), source(), host());
            let (wish, reason) = (inputs("w"), "it broke".to_owned());
            let held = Held { wish, revision: "r".to_owned(), image: None, reason };
            let owner = Owner { store: &store_id, source: &source };
            let (inputs, manifests) = (&inputs("2"), &new[..]);
            let desired = DesiredStore {
                owner,
                host: &host,
                protect: false,
                inputs,
                revision: "r",
                held: None,
                manifests,
                hooks: None,
            };
            let recorded = achieved(&desired, None, &observed, &Applied::new(), &[old[0].key.clone()], &[]);
            assert_eq!(doubt(&recorded).as_deref(), Some("Job/migrate-1"));
            assert!(recorded.leaving.is_empty(), "what was deleted is not named any more");
            let desired = DesiredStore { held: Some(&held), ..desired };
            assert_eq!(doubt(&intent(&desired, &observed)), None);
        }
    }

    #[test]
    fn what_is_no_longer_rendered_stays_until_the_rest_has_come_up() {
        let (web, cache) = (("Deployment", "web", "1"), ("StatefulSet", "cache", "1"));
        let scaler = ("HorizontalPodAutoscaler", "web", "1");
        let before = after(&manifests(&[web, cache, scaler]), &inputs("1"));
        let wanted = manifests(&[("Deployment", "web", "2")]);
        let steps = lines(&plan(&wanted, &inputs("2"), &before));
        assert_eq!(
            steps[1..],
            ["~ Deployment/web", "- HorizontalPodAutoscaler/web", "- StatefulSet/cache (when the rest runs)"]
        );

        // Applied, and on its way: the record names what stays, and the store is at rest.
        let run = |readiness: Readiness| {
            let mut observed = after(&wanted, &inputs("2"));
            let (key, object) = before.objects.iter().find(|(key, _)| key.name == "cache").unwrap();
            objects(&mut observed).insert(key.clone(), object.clone());
            let inventory = Arc::make_mut(observed.inventory.as_mut().unwrap());
            inventory.leaving = vec![before.inventory.as_ref().unwrap().get(key).unwrap().clone()];
            let web = objects(&mut observed).get_mut(&wanted[0].key).unwrap();
            web.workload = Some(Box::new(Workload { step: crate::report::Step::Api, readiness, made: None }));
            observed
        };
        let (store_id, source, host, two) = (id("acme"), source(), host(), inputs("2"));
        let owner = Owner { store: &store_id, source: &source };
        let desired = DesiredStore {
            owner,
            host: &host,
            protect: false,
            inputs: &two,
            revision: "r",
            held: None,
            manifests: &wanted,
            hooks: None,
        };
        for readiness in [Readiness::Progressing("0 of 1".into()), Readiness::Failed("deadline".into())] {
            let observed = run(readiness);
            assert!(is_fast(&observed, &two));
            assert!(matches!(plan(&wanted, &two, &observed), StorePlan::Converged));
            let recorded = achieved(&desired, None, &observed, &Applied::new(), &[], &[]);
            assert_eq!(Some(&recorded), observed.inventory.as_deref(), "nothing is written");
        }
        let mut observed = run(Readiness::Current);
        assert!(!is_fast(&observed, &two));
        assert_eq!(lines(&plan(&wanted, &two, &observed)), ["- StatefulSet/cache"], "it drops no claim");
        objects(&mut observed).retain(|key, _| key.name == "web");
        assert!(!is_fast(&observed, &two), "cut off before the record");
        let recorded = achieved(&desired, None, &observed, &Applied::new(), &[], &[]);
        assert!(recorded.leaving.is_empty());
    }

    #[test]
    fn what_comes_back_before_it_went_is_as_it_was_applied() {
        let all = manifests(&[("Deployment", "web", "1"), ("Secret", "cache", "1")]);
        let mut observed = after(&all, &inputs("1"));
        let inventory = Arc::make_mut(observed.inventory.as_mut().unwrap());
        inventory.leaving = inventory.objects.split_off(1);
        inventory.inputs = Some(inputs("2"));
        assert!(lines(&plan(&all, &inputs("1"), &observed)).is_empty());
    }

    #[test]
    fn a_namespace_that_is_not_ours_stops_everything() {
        let wanted = manifests(&[("ConfigMap", "a", "")]);
        for label in [LABEL_MANAGED_BY, LABEL_STORE, LABEL_SOURCE] {
            let mut observed = after(&wanted, &inputs("1"));
            observed.namespace.as_mut().unwrap().labels.remove(label);
            let plan = plan(&wanted, &inputs("2"), &observed);
            assert!(matches!(plan, StorePlan::NotOurs(Ownership::Foreign)), "without {label}");
        }
        let mut observed = after(&wanted, &inputs("1"));
        observed.namespace.as_mut().unwrap().labels.insert(LABEL_SOURCE.to_owned(), "other".to_owned());
        let plan = plan(&wanted, &inputs("2"), &observed);
        assert!(matches!(plan, StorePlan::NotOurs(Ownership::OtherSource(source)) if source == "other"));
    }

    #[test]
    fn a_namespace_of_another_cluster_is_left_alone_and_one_that_names_none_is_taken_over_by_a_file() {
        let (acme, unnamed) = (id("acme"), source());
        let named = source().on(Some("eu-1".parse().unwrap()));
        let namespace = |source: &SourceId| {
            let labels = NamespaceSpec::new(Owner { store: &acme, source }, &host(), false).labels;
            ObservedNamespace { labels, ..ObservedNamespace::default() }
        };
        let elsewhere = namespace(&source().on(Some("us-1".parse().unwrap())));
        let other = Ownership::OtherCluster("us-1".to_owned());
        for (found, source, ownership) in [
            (&namespace(&named), &named, Ownership::Ours),
            (&namespace(&unnamed), &unnamed, Ownership::Ours),
            (&namespace(&unnamed), &named, Ownership::NoCluster),
            (&elsewhere, &named, other.clone()),
            (&elsewhere, &unnamed, other),
        ] {
            assert_eq!(found.ownership(Owner { store: &acme, source }), ownership, "{found:?}");
            let may = matches!(ownership, Ownership::Ours | Ownership::NoCluster);
            assert_eq!(ownership.may_be_had(), may);
        }
        let kept =
            NamespaceSpec::absent(Owner { store: &acme, source: &named }, &elsewhere, &Marks::default());
        assert_eq!(kept.labels, elsewhere.labels, "marks take no label away");
    }

    #[test]
    fn a_store_whose_namespace_is_going_waits_for_its_end() {
        let wanted = manifests(&[("ConfigMap", "a", "")]);
        let mut observed = after(&wanted, &inputs("1"));
        observed.namespace.as_mut().unwrap().deleting_since = Some(1);
        assert!(matches!(plan(&wanted, &inputs("1"), &observed), StorePlan::AwaitDeletion));
        assert!(!is_fast(&observed, &inputs("1")));
    }
}
