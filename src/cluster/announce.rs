//! Kubernetes Events of ours in a store's namespace, for who uses kubectl. Nothing of them is read again.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use super::{Cluster, ClusterError, bounded};
use crate::names::{
    EVENT_ACTION, EVENT_CONTROLLER, EVENT_INSTANCE_PREFIX, EVENT_NAME_PREFIX, FIELD_MANAGER, StoreId,
};

/// The longest note in bytes that the API server takes.
const NOTE_MAX: usize = 1024;

/// What an Event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The store in whose namespace it is shown.
    pub store: StoreId,
    /// Whether it is a warning.
    pub is_warning: bool,
    /// Its reason, in one word of `names::event_reasons`.
    pub reason: &'static str,
    /// What happened.
    pub note: String,
    /// When, in microseconds since 1970.
    pub at: i64,
}

impl Cluster {
    /// Whether Events may be sent to a store's namespace: it is there, this source's, and stays, and no other replica's.
    pub fn takes_announcements(&self, store: &StoreId) -> bool {
        self.fence().permits(store)
            && self.has_its_namespace(store)
            && self.namespace(store).is_some_and(|it| it.deleting_since.is_none())
    }

    /// Sends an Event. One request.
    pub async fn announce(&self, announcement: &Announcement) -> Result<(), ClusterError> {
        let Announcement { store, is_warning, reason, note, at } = announcement;
        let namespace = store.namespace();
        // The API server wants an Event in the namespace of what it is about; a namespace is taken to be in itself.
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: Some(namespace.clone()),
            namespace: Some(namespace.clone()),
            uid: self.namespace(store).map(|it| it.uid),
            ..ObjectReference::default()
        };
        let mut instance = format!("{EVENT_INSTANCE_PREFIX}{}", self.source);
        instance.truncate(128);
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(EVENT_NAME_PREFIX.to_owned()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(EVENT_ACTION.to_owned()),
            event_time: jiff::Timestamp::from_microsecond(*at).ok().map(MicroTime),
            note: Some(shortened(note)),
            reason: Some((*reason).to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(EVENT_CONTROLLER.to_owned()),
            reporting_instance: Some(instance),
            type_: Some(if *is_warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        };
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        bounded(format!("make an Event in {namespace}"), api.create(&params, &event)).await.map(|_| ())
    }
}

fn shortened(note: &str) -> String {
    if note.len() <= NOTE_MAX {
        return note.to_owned();
    }
    format!("{}…", &note[..note.floor_char_boundary(NOTE_MAX - "…".len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_never_longer_than_the_api_server_takes() {
        for note in ["ä".repeat(600), "x".repeat(1024), "x".repeat(1025)] {
            let shown = shortened(&note);
            assert!(shown.len() <= NOTE_MAX && shown.starts_with(&note[..1000]), "{}", shown.len());
        }
    }
}
