//! Asking pods and events of one namespace why a store does not come up, and how far a Job came. Only while somebody waits
//! for that: nothing of this is watched.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::Value;

use super::mask::Mask;
use super::{Cluster, ClusterError, bounded};
use crate::manifest::ObjectKey;
use crate::names::{LABEL_JOB_NAME, StoreId};
use crate::report::{PodHealth, Step, Symptom, moment, pod_health, symptoms};

/// How many objects one look reads at most. A store has a handful; whoever fills its namespace costs us no more.
const MOST: u32 = 200;

impl Cluster {
    /// Collects what pods and warning events of a store's namespace show of its workloads; events from `since` on, in
    /// seconds since 1970. Two requests, or three where Secrets are not watched.
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
        let (pods, events, ()) = tokio::try_join!(
            bounded(format!("list the pods in {namespace}"), pods.list(&most)),
            bounded(format!("list the events in {namespace}"), events.list(&warnings)),
            // A pod may wait for a Secret that somebody deleted.
            self.look_at_unwatched(store),
        )?;
        let seconds = |time: &str| time.parse().ok().map(|time: jiff::Timestamp| time.as_second());
        let (mut pods, mut events) = (values(pods.items), values(events.items));
        mask_messages(&mut pods, &mut events);
        Ok(symptoms(workloads, &pods, &events, since, &seconds))
    }

    /// Tells the pods of a store's namespace. One request.
    pub async fn pods(&self, store: &StoreId) -> Result<Vec<PodHealth>, ClusterError> {
        let namespace = store.namespace();
        let pods = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        let most = ListParams::default().limit(MOST);
        let found = bounded(format!("list the pods in {namespace}"), pods.list(&most)).await?;
        Ok(values(found.items).iter().map(|pod| pod_health(pod, &moment::seconds)).collect())
    }

    /// Reads the pods of a Job that are there still.
    pub async fn pods_of_job(&self, name: &str, namespace: &str) -> Result<Vec<Value>, ClusterError> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().limit(MOST).labels(&format!("{LABEL_JOB_NAME}={name}"));
        let found = bounded(format!("list the pods of Job/{name}"), pods.list(&params)).await?;
        Ok(values(found.items))
    }
}

/// Takes out of what pods and events say whatever the pods are given as variables and arguments: a refused pod's event
/// may repeat its whole specification. Before anything is cut to length.
fn mask_messages(pods: &mut [Value], events: &mut [Value]) {
    let mask = Mask::of_all(pods);
    for status in pods.iter_mut().filter_map(|pod| pod.get_mut("status")) {
        mask.clean_messages(status);
    }
    for event in events {
        mask.clean_messages(event);
    }
}

fn values(objects: Vec<impl Serialize>) -> Vec<Value> {
    objects.into_iter().filter_map(|object| serde_json::to_value(object).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_pod_is_given_does_not_come_back_in_what_is_said_of_it() {
        let env = json!([{"name": "KEY", "value": "canary-1"}, {"name": "DATABASE", "value": "medusa"}]);
        let waiting = json!({"reason": "CreateContainerError", "message": "exec --key=canary-1: not found"});
        let mut pods = [json!({"metadata": {"name": "medusa-0"},
            "spec": {"containers": [{"name": "medusa", "env": env}]},
            "status": {"containerStatuses": [{"state": {"waiting": waiting}}]}})];
        let words =
            "probe of pod medusa-0 failed: postgres://medusa:canary-2@postgres/ does not take canary-1";
        let mut events = [json!({"reason": "Unhealthy", "message": words})];
        mask_messages(&mut pods, &mut events);
        let said = pods[0].pointer("/status/containerStatuses/0/state/waiting/message").unwrap();
        assert_eq!(said, "exec --key=***: not found");
        let expected = "probe of pod medusa-0 failed: postgres://***@postgres/ does not take ***";
        assert_eq!(events[0]["message"], expected);
    }
}
