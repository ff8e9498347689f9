//! The replicas that share a source's stores, as one of them sees them. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// The replicas that share a source's stores, as one of them sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replicas {
    /// The identity of the one that sees them so.
    pub here: String,
    /// Since when the stores are shared like this, in seconds since 1970.
    pub since: Option<i64>,
    /// Into how many shards the stores are divided.
    pub shards: usize,
    /// How many of these no living replica keeps.
    pub unkept: usize,
    /// All of them by their identities.
    pub all: BTreeMap<String, Replica>,
}

/// One replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// Whether it renews its Lease.
    pub alive: bool,
    /// How many shards it keeps.
    pub shards: usize,
}

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It keeps all stores.
    Leader,
    /// It keeps its part of the stores.
    Partner,
    /// It keeps none and looks on.
    Follower,
}

impl Replicas {
    /// Returns what a replica does.
    pub fn role(&self, replica: Replica) -> Role {
        match replica.shards {
            0 => Role::Follower,
            shards if shards == self.shards => Role::Leader,
            _ => Role::Partner,
        }
    }

    /// Returns the one that sees them so; it has no Lease yet when it is not among them.
    pub fn this(&self) -> Replica {
        self.all.get(&self.here).copied().unwrap_or(Replica { alive: false, shards: 0 })
    }
}
