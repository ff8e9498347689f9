//! Asking pods and events of one namespace why a store does not come up. Only while it waits: nothing of this is
//! watched.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::Value;

use super::{Cluster, ClusterError, bounded};
use crate::manifest::ObjectKey;
use crate::names::StoreId;
use crate::report::{Step, Symptom, symptoms};

/// How many objects one look reads at most. A store has a handful; whoever fills its namespace costs us no more.
const MOST: u32 = 200;

impl Cluster {
    /// Collects what pods and warning events of a store's namespace show of its workloads; events from `since` on, in
    /// seconds since 1970. Two requests.
    pub async fn symptoms(
        &self,
        store: &StoreId,
        workloads: &BTreeMap<ObjectKey, Step>,
        since: i64,
    ) -> Result<Vec<Symptom>, ClusterError> {
        let namespace = store.namespace();
        let pods = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        let events = Api::<Event>::namespaced(self.client.clone(), &namespace);
        let most = ListParams::default().limit(MOST);
        let warnings = most.clone().fields("type=Warning");
        let (pods, events) = tokio::try_join!(
            bounded(format!("list the pods in {namespace}"), pods.list(&most)),
            bounded(format!("list the events in {namespace}"), events.list(&warnings)),
        )?;
        let seconds = |time: &str| time.parse().ok().map(|time: jiff::Timestamp| time.as_second());
        Ok(symptoms(workloads, &values(pods.items), &values(events.items), since, &seconds))
    }
}

fn values(objects: Vec<impl Serialize>) -> Vec<Value> {
    objects.into_iter().filter_map(|object| serde_json::to_value(object).ok()).collect()
}
