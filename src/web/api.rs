//! The shapes of `/api/v1`: a promise to other programs, so they are kept apart from the report's own types.
//! Names are in camelCase as in Kubernetes; times are RFC 3339 in UTC; what is not known is null.

use serde::Serialize;

use super::when::rfc3339;
use crate::names::StoreId;
use crate::report::{FleetReport, Picture, Step, StoreReport, StoreState};

/// What `/api/v1/stores` answers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stores {
    /// What holds for the fleet as a whole.
    pub fleet: Fleet,
    /// Its stores, by name.
    pub stores: Vec<Store>,
}

/// What holds for the fleet as a whole.
#[derive(Debug, Clone, Serialize)]
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
}

/// What `/api/v1/stores/<name>` answers.
#[derive(Debug, Clone, Serialize)]
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
}

impl Stores {
    /// Takes a picture over.
    pub(super) fn of(picture: &Picture) -> Self {
        let Picture { fleet, stores, .. } = picture;
        Self { fleet: Fleet::of(fleet), stores: stores.values().map(Store::of).collect() }
    }
}

impl Fleet {
    fn of(report: &FleetReport) -> Self {
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
        } = report.clone();
        let held_until = held_until.map(rfc3339);
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
        }
    }
}

impl Store {
    /// Takes a report over.
    pub(super) fn of(report: &StoreReport) -> Self {
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
        }
    }
}
