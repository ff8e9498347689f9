//! Who takes part, for somebody who asks once and is no member. Whether a member is alive takes a watch and time to tell, so
//! this says when each renewed its Lease last, and judges nothing.

use std::time::Duration;

use kube::Resource as _;

use super::super::Cluster;
use super::super::error::ClusterError;
use super::ring::{Shard, Spread};
use super::wire::{Wire, word};
use super::{LeaseSettings, Member};
use crate::metrics::Metrics;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who takes part. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// The members by their Leases, and owners without one.
    pub members: Vec<Enrolled>,
    /// How many shards nobody owns who has a Lease.
    pub unkept: usize,
    /// Since when the shards are shared like this, by the API server's clock.
    pub since: Option<i64>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The pod's name.
    pub identity: String,
    /// How many shards it owns.
    pub shards: usize,
    /// When its Lease was made, by the API server's clock; none when it has no Lease.
    pub joined: Option<i64>,
    /// When it renewed it last, by its own clock.
    pub renewed: Option<i64>,
    /// How many stores that it keeps are FAILED.
    pub failed: usize,
}

impl Cluster {
    /// Reads who takes part in the sharing of this source's stores, from the daemon's namespace.
    pub async fn roster(&self, namespace: &str) -> Result<Roster, ClusterError> {
        let settings = LeaseSettings {
            namespace: namespace.to_owned(),
            identity: String::new(),
            duration: PATIENCE,
            spread: Spread::Leader,
            clock: std::sync::Arc::new(|| 0),
        };
        let wire = Wire::new(self.prompt.clone(), self.source.clone(), settings, Metrics::new());
        let (leases, ring) = (wire.leases().await?, wire.read_ring().await?);
        let ring = ring.map(|(_, ring)| ring).unwrap_or_default();
        let owned = |member: &Member| ring.owners().filter(|(_, owner)| *owner == member).count();
        let mut members: Vec<_> = leases
            .iter()
            .map(|lease| {
                let (member, word) = (wire.seen(lease).member, word(lease));
                let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
                let enrolled = Enrolled {
                    identity: member.identity.to_string(),
                    shards: owned(&member),
                    joined: lease.meta().creation_timestamp.as_ref().map(|time| time.0.as_second()),
                    renewed: renewed.map(|time| time.0.as_second()),
                    failed: word.failed.len() + word.left_out,
                };
                (member, enrolled)
            })
            .collect();
        let kept: usize = members.iter().map(|(_, enrolled)| enrolled.shards).sum();
        for (_, owner) in ring.owners() {
            if members.iter().all(|(member, _)| member != owner) {
                let (identity, shards) = (owner.identity.to_string(), owned(owner));
                let gone = Enrolled { identity, shards, joined: None, renewed: None, failed: 0 };
                members.push((owner.clone(), gone));
            }
        }
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        let members = members.into_iter().map(|(_, enrolled)| enrolled).collect();
        Ok(Roster { members, unkept: Shard::all().count() - kept, since: ring.changed })
    }
}
