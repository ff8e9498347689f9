//! The requests about Leases and the ring. Each is answered within a third of a Lease's duration, or counts as failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource as _};
use serde_json::json;

use super::super::error::ClusterError;
use super::super::follow::{Depth, Followed, SILENCE, Source};
use super::super::mask::Mask;
use super::super::watch::selecting_labels;
use super::LeaseSettings;
use super::ring::{Member, Ring, Spread};
use super::seat::{Draft, RENEWALS, SeenLease};
use super::word::Word;
use crate::metrics::Metrics;
use crate::names::{
    ANNOTATION_WORD, FIELD_MANAGER, LABEL_MEMBER, SourceId, member_lease_prefix, shards_name,
};

/// What became of the Lease of a member that looked dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Burial {
    /// It was deleted, as it was seen.
    Done,
    /// It was there no more.
    NotThere,
    /// It has changed since it was seen.
    Alive,
}

/// Who asks, and for what.
pub(super) struct Wire {
    client: Client,
    leases: Api<Lease>,
    rings: Api<ConfigMap>,
    source: SourceId,
    settings: LeaseSettings,
    renewals: AtomicI64,
    metrics: Metrics,
}

impl Followed for Lease {
    fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

impl Followed for ConfigMap {
    fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

impl Wire {
    pub(super) fn new(client: Client, source: SourceId, settings: LeaseSettings, metrics: Metrics) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), &settings.namespace),
            rings: Api::namespaced(client.clone(), &settings.namespace),
            client,
            source,
            settings,
            renewals: AtomicI64::new(0),
            metrics,
        }
    }

    pub(super) fn duration(&self) -> Duration {
        self.settings.duration
    }

    /// Says how the members' Leases are followed. Our own is renewed all the time, so silence soon means a dead connection.
    pub(super) fn lease_source(&self) -> Source {
        Source {
            client: self.client.clone(),
            path: Lease::url_path(&(), Some(&self.settings.namespace)),
            depth: Depth::Full,
            labels: Some(self.selector()),
            fields: None,
            silence: self.settings.duration,
        }
    }

    /// Says how the ring is followed: by its name, so that the right to read it may be for that one alone.
    pub(super) fn ring_source(&self) -> Source {
        Source {
            client: self.client.clone(),
            path: ConfigMap::url_path(&(), Some(&self.settings.namespace)),
            depth: Depth::Full,
            labels: None,
            fields: Some(format!("metadata.name={}", shards_name(&self.source))),
            silence: SILENCE,
        }
    }

    /// Makes a Lease for this life of the replica.
    pub(super) async fn register(&self, word: &Word) -> Result<SeenLease, ClusterError> {
        let LeaseSettings { identity, duration, spread, .. } = &self.settings;
        let labels = selecting_labels(&self.source).into_iter().chain([(LABEL_MEMBER, spread.word())]);
        let now = self.moment();
        let lease = Lease {
            metadata: ObjectMeta {
                generate_name: Some(member_lease_prefix(&self.source, identity)),
                labels: Some(owned(labels)),
                annotations: Some(BTreeMap::from([(ANNOTATION_WORD.to_owned(), word.write())])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(identity.clone()),
                lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
                acquire_time: now.clone(),
                renew_time: now,
                ..LeaseSpec::default()
            }),
        };
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let made = self.within("make a Lease for this replica", self.leases.create(&params, &lease)).await?;
        self.note_renewal();
        Ok(self.seen(&made))
    }

    /// Renews our Lease, and says something new on it, if there is. It is nobody else's to write, so that its version does
    /// not matter, and an answer that was lost costs nothing. What is gone is not made again by a patch.
    pub(super) async fn renew(&self, name: &str, word: Option<&Word>) -> Result<(), ClusterError> {
        let mut renewed = json!({ "spec": { "renewTime": self.moment() } });
        if let Some(word) = word {
            renewed["metadata"] = json!({ "annotations": { ANNOTATION_WORD: word.write() } });
        }
        let patch = Patch::Merge(renewed);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let renewed = self.leases.patch(name, &params, &patch);
        self.within("renew this replica's Lease", renewed).await?;
        self.note_renewal();
        Ok(())
    }

    fn note_renewal(&self) {
        self.metrics.set_lease_renewed((self.settings.clock)());
    }

    /// Deletes a Lease, if it is still as it was seen.
    pub(super) async fn bury(&self, lease: &SeenLease) -> Result<Burial, ClusterError> {
        let preconditions = Preconditions {
            uid: Some(lease.member.uid.to_string()),
            resource_version: Some(lease.version.to_string()),
        };
        match self.delete(&lease.name, preconditions).await {
            Ok(()) => Ok(Burial::Done),
            Err(error) if error.is_not_found() => Ok(Burial::NotThere),
            Err(error) if error.is_conflict() => Ok(Burial::Alive),
            Err(error) => Err(error),
        }
    }

    /// Deletes our own Lease.
    pub(super) async fn give_up(&self, member: &Member, name: &str) -> Result<(), ClusterError> {
        let uid = Some(member.uid.to_string());
        match self.delete(name, Preconditions { uid, resource_version: None }).await {
            Err(error) if error.is_not_found() => Ok(()),
            answer => answer,
        }
    }

    async fn delete(&self, name: &str, preconditions: Preconditions) -> Result<(), ClusterError> {
        let params = DeleteParams::default().preconditions(preconditions);
        self.within(&format!("delete Lease/{name}"), self.leases.delete(name, &params)).await.map(|_| ())
    }

    /// Lists the members' Leases as they are now, not as a cache of the server remembers them.
    pub(super) async fn leases(&self) -> Result<Vec<Lease>, ClusterError> {
        let params = ListParams::default().labels(&self.selector());
        Ok(self.within("list the members' Leases", self.leases.list(&params)).await?.items)
    }

    /// The same, as members see them.
    pub(super) async fn count(&self) -> Result<Vec<SeenLease>, ClusterError> {
        Ok(self.leases().await?.iter().map(|lease| self.seen(lease)).collect())
    }

    /// Reads the ring as it is now; none when there is none.
    pub(super) async fn read_ring(&self) -> Result<Option<(u64, Ring)>, ClusterError> {
        let name = shards_name(&self.source);
        let found = self.within(&format!("read ConfigMap/{name}"), self.rings.get_opt(&name)).await?;
        Ok(found.as_ref().map(seen_ring))
    }

    /// Changes the ring, if it is still at the version of the draft, or makes it.
    pub(super) async fn write_ring(&self, draft: &Draft) -> Result<(u64, Ring), ClusterError> {
        let name = shards_name(&self.source);
        let changes = draft.from.changes(&draft.to);
        let manager = Some(FIELD_MANAGER.to_owned());
        let Some(version) = draft.version else {
            let ring = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    labels: Some(owned(selecting_labels(&self.source))),
                    ..ObjectMeta::default()
                },
                data: Some(changes.into_iter().filter_map(|(shard, owner)| Some((shard, owner?))).collect()),
                ..ConfigMap::default()
            };
            let params = PostParams { field_manager: manager, ..PostParams::default() };
            let made =
                self.within(&format!("make ConfigMap/{name}"), self.rings.create(&params, &ring)).await?;
            return Ok(seen_ring(&made));
        };
        let metadata = json!({ "resourceVersion": version.to_string() });
        let patch = Patch::Merge(json!({ "metadata": metadata, "data": changes }));
        let params = PatchParams { field_manager: manager, ..PatchParams::default() };
        let changed = self.rings.patch(&name, &params, &patch);
        Ok(seen_ring(&self.within(&format!("change ConfigMap/{name}"), changed).await?))
    }

    pub(super) fn seen(&self, lease: &Lease) -> SeenLease {
        let spec = lease.spec.as_ref();
        let identity = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let seconds = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok());
        let word = lease.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_MEMBER));
        SeenLease {
            member: Member::new(identity, lease.metadata.uid.as_deref().unwrap_or_default()),
            name: lease.metadata.name.clone().unwrap_or_default(),
            version: number(lease.version()),
            duration: seconds.map_or(self.settings.duration, Duration::from_secs),
            spread: Spread::read(word.map_or("", String::as_str)),
        }
    }

    fn selector(&self) -> String {
        let ours = selecting_labels(&self.source).map(|(label, value)| format!("{label}={value}"));
        format!("{},{LABEL_MEMBER}", ours.join(","))
    }

    /// Returns the time for people to read. Its microseconds count: a Lease that is patched with what is there already
    /// does not change, and others would not see that it was renewed.
    fn moment(&self) -> Option<MicroTime> {
        let count = self.renewals.fetch_add(1, Ordering::Relaxed).rem_euclid(1_000_000);
        let seconds = (self.settings.clock)().saturating_mul(1_000_000);
        jiff::Timestamp::from_microsecond(seconds.saturating_add(count)).ok().map(MicroTime)
    }

    async fn within<T>(
        &self,
        act: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ClusterError> {
        let limit = self.settings.duration / RENEWALS;
        match tokio::time::timeout(limit, request).await {
            Ok(answer) => answer.map_err(ClusterError::request(act, Mask::default)),
            Err(_) => Err(ClusterError::TimedOut { act: act.to_owned(), seconds: limit.as_secs() }),
        }
    }
}

fn owned<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
}

/// Reads the ring out of its ConfigMap.
pub(super) fn seen_ring(found: &ConfigMap) -> (u64, Ring) {
    let mut ring = found.data.as_ref().map(Ring::read).unwrap_or_default();
    let ours = found.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
    ring.changed = ours.map(|time| time.0.as_second()).max();
    (number(found.version()), ring)
}

/// Reads what a member tells the others.
pub(super) fn word(lease: &Lease) -> Word {
    let annotations = lease.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(ANNOTATION_WORD)).map(|text| Word::read(text)).unwrap_or_default()
}

fn number(version: &str) -> u64 {
    version.parse().unwrap_or_default()
}
