//! The shapes of `/api/v1`: a promise to other programs, so they are kept apart from the report's own types.
//! Names are in camelCase as in Kubernetes; times are RFC 3339 in UTC; what is not known is null.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::names::StoreId;
use crate::report::{
    self, Change, CommitReport, CommitState, Event, EventKind, FleetReport, Inspection, ObjectHealth, Origin,
    Picture, PodHealth, Role, Step, StoreReport, StoreState, StoreVerdict, VersionReport,
};
use crate::web::when::rfc3339;

/// A page of stores, with what holds for the fleet.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stores {
    /// What holds for the fleet as a whole.
    pub fleet: Fleet,
    /// How many stores of the selection are in each state; the states asked for do not narrow these.
    #[schema(value_type = BTreeMap<String, usize>, example = json!({"READY": 12, "FAILED": 1}))]
    pub counts: BTreeMap<&'static str, usize>,
    /// How many stores the selection has, on all pages together.
    pub total: usize,
    /// The stores of this page.
    pub stores: Vec<Store>,
    /// The cursor of the next page; null on the last one.
    pub next: Option<String>,
}

/// What holds for the fleet as a whole.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// The newest commit whose snapshot is in force.
    pub revision: Option<String>,
    /// Who signed that commit, when signatures are looked at.
    pub signer: Option<String>,
    /// Why that commit is not believed, though it is followed.
    pub distrust: Option<String>,
    /// Why newer commits are not followed, if they are not.
    pub frozen: Option<String>,
    /// Removals refused by the deletion budget, and what to do.
    pub removals_refused: Option<String>,
    /// Problems in files that name no store.
    pub problems: Vec<String>,
    /// Whether the first pass over all stores is finished.
    pub ready: bool,
    /// Why shops are not asked before they count as READY, if they are not.
    pub not_asked: Option<String>,
    /// Until when no request is sent because the API server asked for that.
    pub held_until: Option<String>,
    /// How many new stores the operator's caps keep waiting, and which cap, if any.
    pub admission: Option<String>,
    /// Which stores are paused, or that all are, until when and why.
    pub paused: Option<String>,
    /// Which stores wait for a change window, or that all windows are open in an emergency.
    pub window: Option<String>,
    /// Why the forge is not told what there is to tell, if it is not.
    pub forge: Option<String>,
    /// Why what happens is not written into the journal, if it is not.
    pub journal: Option<String>,
    /// The domain under which stores without a host of their own answer.
    pub domain: Option<String>,
    /// What the fleet file calls this cluster, where it lists several.
    pub cluster: Option<String>,
    /// How many stores are on other clusters, by what their files say; their own storekeepers tell of them.
    pub stores_elsewhere: usize,
    /// Namespaces of this source that are left alone, because they are another cluster's or nobody's, and what to do.
    pub strays: Option<String>,
    /// Who shares the stores; null where there is one storekeeper alone.
    pub replicas: Option<Replicas>,
}

/// The replicas that share the stores, as the one that answers sees them.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replicas {
    /// The replica that answers.
    pub identity: String,
    /// What it does.
    pub role: Role,
    /// Since when the stores are shared like this.
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// Into how many shards the stores are divided.
    pub shards: usize,
    /// How many of the shards no living replica keeps: nothing is changed or healed in their stores.
    pub unkept: usize,
    /// All replicas, by identity, this one included.
    pub all: Vec<Replica>,
}

/// One of several replicas.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Its name: the pod's.
    pub identity: String,
    /// What it does.
    pub role: Role,
    /// Whether it renews its Lease.
    pub alive: bool,
    /// How many shards it keeps.
    pub shards: usize,
    /// How many stores that is.
    pub stores: usize,
}

/// What `/api/v1/stores/<name>` answers.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// The store's id.
    pub name: StoreId,
    /// The name that shoppers see.
    pub display_name: Option<String>,
    /// The state, in capitals.
    pub state: StoreState,
    /// The step on the way to READY that is not done: namespace, database, migration, api, storefront, ingress or
    /// probe.
    pub step: Option<Step>,
    /// Why it is in that state.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// Where shoppers find it.
    pub url: Option<String>,
    /// The commit that git wants it at.
    pub revision: Option<String>,
    /// The commit it was last applied at.
    pub applied_revision: Option<String>,
    /// When its namespace was made.
    pub created: Option<String>,
    /// The last error, kept until the store is READY again.
    pub last_error: Option<String>,
    /// When a failed run is tried again.
    pub next_retry: Option<String>,
    /// When the shop itself last answered as a shopper needs it.
    pub answered: Option<String>,
    /// When it is deleted, while its file is gone and its grace period lasts.
    pub deletes_at: Option<String>,
    /// The commit that last changed what git wants of it.
    pub changed_by: Option<Commit>,
    /// What the fleet file calls the cluster that it is on, where it lists several.
    pub cluster: Option<String>,
    /// The replica that keeps it; null where there is one storekeeper alone.
    pub keeper: Option<String>,
}

/// Where a commit comes from.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Commit {
    /// The commit's id.
    pub revision: String,
    /// Who wrote it, by the commit's own word.
    pub author: String,
    /// Who signed it, when signatures are looked at.
    pub signer: Option<String>,
    /// The number of the pull request that brought it, where one is known.
    pub pull: Option<u64>,
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Happening {
    /// Its number: later events have higher ones, over restarts too.
    pub id: i64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What kind of thing.
    pub kind: EventKind,
    /// The store; null for what concerns the fleet.
    pub store: Option<StoreId>,
    /// What a commit does to the store.
    pub change: Option<Change>,
    /// The state that was entered.
    pub state: Option<StoreState>,
    /// The step that is done, or at which the state was entered.
    pub step: Option<Step>,
    /// How long it took, in milliseconds.
    pub took_ms: Option<u64>,
    /// The commit behind it.
    pub commit: Option<Commit>,
    /// The cause in words.
    pub words: String,
}

/// A page of events, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Happenings {
    /// The events.
    pub events: Vec<Happening>,
    /// The cursor of the next page, of older events; null when there are none.
    pub next: Option<String>,
    /// Why older ones can't be had, if the journal can't be read now.
    pub incomplete: Option<String>,
}

/// A commit and what became of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitVerdict {
    /// The commit's id.
    pub revision: String,
    /// Who wrote it.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// When it was seen.
    #[schema(format = DateTime)]
    pub seen: String,
    /// What became of it as a whole.
    pub state: CommitState,
    /// Why, in words.
    pub reason: String,
    /// What it does to stores, by name; only where one commit is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stores: Option<BTreeMap<StoreId, StoreOutcome>>,
}

/// What became of a commit in one store.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreOutcome {
    /// What the commit does to it.
    pub change: Change,
    /// Whether that is done.
    pub state: CommitState,
    /// Why, in words.
    pub reason: String,
    /// When the state was entered.
    #[schema(format = DateTime)]
    pub since: String,
}

/// The newest commits, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Commits {
    /// The commits.
    pub commits: Vec<CommitVerdict>,
}

/// What is inside a store's namespace now.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inside {
    /// The version that runs.
    pub runs: Option<RunningVersion>,
    /// The version that git wants.
    pub wants: Option<RunningVersion>,
    /// The objects that are applied.
    pub objects: Vec<Object>,
    /// The pods, where the API server tells.
    pub pods: Vec<Pod>,
    /// Why pods can't be shown, if they can't.
    pub pods_unknown: Option<String>,
}

/// A version of a store.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningVersion {
    /// The commit that it was applied at.
    pub revision: String,
    /// The image of Medusa.
    pub image: Option<String>,
}

/// An object and how it is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// Its API group; empty for the core group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Whether it does what it is there for: current, progressing, failed, missing, or unknown.
    pub health: String,
    /// What there is to say of that.
    pub note: Option<String>,
    /// Who changed it since it was applied, if it is not as it was applied.
    pub drift: Option<String>,
}

/// A pod and how it is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its phase, or what its containers wait for.
    pub status: String,
    /// How many of its containers are ready.
    pub ready: usize,
    /// How many containers it has.
    pub containers: usize,
    /// How often its containers were restarted.
    pub restarts: u64,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created: Option<String>,
}

impl Fleet {
    /// Takes a report over.
    pub(in crate::web) fn of(picture: &Picture) -> Self {
        let FleetReport {
            revision,
            signer,
            distrust,
            frozen,
            removals_refused,
            problems,
            ready,
            not_asked,
            held_until,
            admission,
            paused,
            window,
            forge,
            journal,
            domain,
            domains: _,
            cluster,
            elsewhere,
            strays,
            replicas,
        } = picture.fleet.clone();
        let held_until = held_until.map(rfc3339);
        let replicas = replicas.map(|replicas| Replicas::of(replicas, picture));
        Self {
            revision,
            signer,
            distrust,
            frozen,
            removals_refused,
            problems,
            ready,
            not_asked,
            held_until,
            admission,
            paused,
            window,
            forge,
            journal,
            domain,
            cluster,
            stores_elsewhere: elsewhere.len(),
            strays,
            replicas,
        }
    }
}

impl Replicas {
    fn of(replicas: report::Replicas, picture: &Picture) -> Self {
        let (role, stores) = (replicas.role(replicas.this()), picture.stores_by_keeper());
        let one = |(identity, replica): (&String, &report::Replica)| Replica {
            identity: identity.clone(),
            role: replicas.role(*replica),
            alive: replica.alive,
            shards: replica.shards,
            stores: stores.get(identity.as_str()).copied().unwrap_or(0),
        };
        let all = replicas.all.iter().map(one).collect();
        let report::Replicas { here, since, shards, unkept, all: _ } = replicas;
        Self { identity: here, role, since: since.map(rfc3339), shards, unkept, all }
    }
}

impl Store {
    /// Takes a report over.
    pub(in crate::web) fn of(report: &StoreReport) -> Self {
        let StoreReport {
            name,
            display_name,
            state,
            step,
            reason,
            since,
            url,
            revision,
            applied_revision,
            created,
            last_error,
            next_retry,
            answered,
            deletes_at,
            origin,
            cluster,
            keeper,
        } = report.clone();
        Self {
            name,
            display_name,
            state,
            step,
            reason,
            since: rfc3339(since),
            url,
            revision,
            applied_revision,
            created: created.map(rfc3339),
            last_error,
            next_retry: next_retry.map(rfc3339),
            answered: answered.map(rfc3339),
            deletes_at: deletes_at.map(rfc3339),
            changed_by: origin.map(Commit::of),
            cluster,
            keeper,
        }
    }
}

impl Commit {
    fn of(origin: Origin) -> Self {
        let Origin { revision, author, signer, pull } = origin;
        Self { revision, author, signer, pull }
    }
}

impl Happening {
    /// Takes an event over.
    pub(in crate::web) fn of(event: &Event) -> Self {
        let Event { id, at, kind, store, change, state, step, took_ms, origin, words } = event.clone();
        let commit = origin.map(Commit::of);
        Self { id, at: rfc3339(at), kind, store, change, state, step, took_ms, commit, words }
    }
}

impl CommitVerdict {
    /// Takes a report over, with its stores or without.
    pub(in crate::web) fn of(report: &CommitReport, with_stores: bool) -> Self {
        let CommitReport { revision, author, subject, seen, refused: _, stores, .. } = report;
        let (state, reason) = report.overall();
        let outcome = |(store, verdict): (&StoreId, &StoreVerdict)| {
            let StoreVerdict { change, state, reason, since } = verdict.clone();
            (store.clone(), StoreOutcome { change, state, reason, since: rfc3339(since) })
        };
        let stores = with_stores.then(|| stores.iter().map(outcome).collect());
        let (revision, author, subject) = (revision.clone(), author.clone(), subject.clone());
        Self { revision, author, subject, seen: rfc3339(*seen), state, reason, stores }
    }
}

impl Inside {
    /// Takes an inspection over.
    pub(in crate::web) fn of(inspection: Inspection) -> Self {
        let Inspection { runs, wants, objects, pods } = inspection;
        let version = |it: VersionReport| RunningVersion { revision: it.revision, image: it.image };
        let (pods, pods_unknown) = match pods {
            Ok(pods) => (pods.into_iter().map(Pod::of).collect(), None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let objects = objects.into_iter().map(Object::of).collect();
        Self { runs: runs.map(version), wants: wants.map(version), objects, pods, pods_unknown }
    }
}

impl Object {
    fn of(object: ObjectHealth) -> Self {
        let ObjectHealth { kind, group, name, health, note, drift } = object;
        Self { kind, group, name, health: health.as_str().to_owned(), note, drift }
    }
}

impl Pod {
    fn of(pod: PodHealth) -> Self {
        let PodHealth { name, status, ready, containers, restarts, created } = pod;
        Self { name, status, ready, containers, restarts, created: created.map(rfc3339) }
    }
}
