//! What is left in a namespace that does not go away: asked, by metadata alone, when its deletion takes long.

use std::collections::BTreeSet;

use kube::Api;
use kube::api::ListParams;
use kube::core::{DynamicObject, PartialObjectMeta};

use super::{Cluster, ClusterError, api_resource, bounded};
use crate::manifest::Resource;
use crate::names::StoreId;
use crate::plan::Remaining;

/// How many kinds one look asks for at most.
const MOST_KINDS: usize = 6;

/// How many objects of a kind one look reads at most.
const MOST_OBJECTS: u32 = 20;

/// What a look found.
#[derive(Debug, Default)]
pub struct Remains {
    /// Objects that are left.
    pub found: Vec<Remaining>,
    /// Kinds that could not be listed, and why.
    pub unlisted: Vec<(String, ClusterError)>,
}

impl Cluster {
    /// Lists what remains in a store's namespace: claims of volumes, pods, and the kinds that these words of the
    /// namespace controller name. At most six requests, one after the other. A kind that can't be listed hides nothing of
    /// the others.
    pub async fn remains(&self, store: &StoreId, held_by: &str) -> Remains {
        let namespace = store.namespace();
        let usual = ["PersistentVolumeClaim", "Pod"].map(|kind| self.resolve("v1", kind));
        let named = kinds_in(held_by).map(|(plural, group)| self.resolve_plural(group, plural));
        let kinds: Vec<Resource> = usual.into_iter().chain(named).flatten().collect();
        let mut seen = BTreeSet::new();
        let kinds: Vec<_> =
            kinds.into_iter().filter(|kind| seen.insert(kind.clone())).take(MOST_KINDS).collect();
        let mut remains = Remains::default();
        for kind in &kinds {
            match self.remaining(kind, &namespace).await {
                Ok(mut found) => remains.found.append(&mut found),
                Err(error) => remains.unlisted.push((kind.kind.clone(), error)),
            }
        }
        remains
    }

    async fn remaining(&self, resource: &Resource, namespace: &str) -> Result<Vec<Remaining>, ClusterError> {
        let kind = api_resource(resource);
        let api =
            Api::<PartialObjectMeta<DynamicObject>>::namespaced_with(self.client.clone(), namespace, &kind);
        let most = ListParams::default().limit(MOST_OBJECTS);
        let act = format!("list what remains of kind {} in {namespace}", resource.kind);
        let list = bounded(act, api.list_metadata(&most)).await?;
        let remaining = list.items.into_iter().map(|object| Remaining {
            kind: resource.kind.clone(),
            name: object.metadata.name.unwrap_or_default(),
            finalizers: object.metadata.finalizers.unwrap_or_default(),
            deleting_since: object.metadata.deletion_timestamp.map(|time| time.0.as_second()),
        });
        Ok(remaining.collect())
    }
}

/// Finds the kinds in the namespace controller's words, as plural and group: "Some resources are remaining:
/// persistentvolumeclaims. has 1 resource instances, widgets.example.com has 2 resource instances".
fn kinds_in(words: &str) -> impl Iterator<Item = (&str, &str)> {
    let before = words.match_indices(" has ").map(|(offset, _)| &words[..offset]);
    let names = before.filter_map(|text| text.rsplit([' ', ',']).next());
    names.filter_map(|name| name.split_once('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_words_name_the_kinds_that_remain() {
        let words = "Some resources are remaining: persistentvolumeclaims. has 1 resource instances, \
                     widgets.example.com has 2 resource instances; Some content in the namespace has finalizers \
                     remaining: kubernetes.io/pvc-protection in 1 resource instances";
        let kinds: Vec<_> = kinds_in(words).collect();
        assert_eq!(kinds, [("persistentvolumeclaims", ""), ("widgets", "example.com")]);
        assert_eq!(kinds_in("").count(), 0);
    }
}
