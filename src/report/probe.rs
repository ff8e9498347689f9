//! What is asked of a store through its own address, and what came of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Step;
use crate::manifest::Manifest;
use crate::names::{ANNOTATION_PROBE, ANNOTATION_PROBE_KEY_SECRET};

/// What a shop has to answer before it is READY. The chart says it on the store's Ingress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeTarget {
    /// Whether a product with a price is demanded; an empty shop is READY otherwise.
    pub products: bool,
    /// Whether the page at the store's address is demanded.
    pub storefront: bool,
    /// The Secret of the store's namespace that holds the publishable key of Medusa's Store API; none for a shop without
    /// one, of which a page is all that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<String>,
}

/// A word in the annotation that nobody knows; fits "failed to {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeTargetError {
    /// The annotation asks for something that can't be probed.
    #[error(
        "read annotation {ANNOTATION_PROBE} of Ingress/{ingress}: `{word}` is not one of store-api, products, storefront, page"
    )]
    UnknownWord {
        /// The Ingress.
        ingress: String,
        /// The word.
        word: String,
    },
    /// The Store API can't be asked without a key.
    #[error(
        "read the annotations of Ingress/{ingress}: {ANNOTATION_PROBE} needs {ANNOTATION_PROBE_KEY_SECRET}"
    )]
    NoKey {
        /// The Ingress.
        ingress: String,
    },
}

impl ProbeTarget {
    /// Reads off the rendered objects what is to be probed; none when no Ingress says anything.
    pub fn of(manifests: &[Manifest]) -> Result<Option<Self>, ProbeTargetError> {
        let ingresses = manifests.iter().filter(|manifest| manifest.key.kind == "Ingress");
        for manifest in ingresses {
            let annotation = |key: &str| {
                let all = manifest.body.pointer("/metadata/annotations")?;
                all.get(key).and_then(Value::as_str)
            };
            let Some(words) = annotation(ANNOTATION_PROBE) else { continue };
            let ingress = || manifest.key.name.clone();
            let secret = annotation(ANNOTATION_PROBE_KEY_SECRET);
            let mut target = Self { products: false, storefront: false, key_secret: None };
            let mut asks_store_api = false;
            for word in words.split(',').map(str::trim) {
                asks_store_api |= word != "page";
                match word {
                    "store-api" => {}
                    "products" => target.products = true,
                    "storefront" | "page" => target.storefront = true,
                    _ => {
                        let word = word.to_owned();
                        return Err(ProbeTargetError::UnknownWord { ingress: ingress(), word });
                    }
                }
            }
            if asks_store_api {
                let secret = secret.ok_or_else(|| ProbeTargetError::NoKey { ingress: ingress() })?;
                target.key_secret = Some(secret.to_owned());
            }
            return Ok(Some(target));
        }
        Ok(None)
    }
}

/// How many checks in a row must fail before a READY store is DEGRADED: a single lost packet is no outage.
pub(super) const TOLERATED: u32 = 2;

/// What is known of the shop itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Probed {
    /// It is not asked, for this reason: READY is what the controllers say.
    NotAsked(String),
    /// It has not answered yet since its workloads run as they do.
    #[default]
    Pending,
    /// It answered as a shopper needs it.
    Good,
    /// It did not, so many times in a row.
    Bad {
        /// Where it went wrong.
        failure: ProbeFailure,
        /// How often in a row; counted as far as it matters.
        times: u32,
    },
}

impl Probed {
    /// Takes a further answer in. Once a failure counts, one more of the same changes nothing.
    #[must_use]
    pub fn then(&self, answer: Result<(), ProbeFailure>) -> Self {
        let before = if let Self::Bad { times, .. } = self { *times } else { 0 };
        match answer {
            Ok(()) => Self::Good,
            Err(failure) => Self::Bad { failure, times: TOLERATED.min(before + 1) },
        }
    }
}

/// Why a shop can't be bought from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    /// [`Step::Ingress`] when nothing of the store answered, else [`Step::Probe`].
    pub step: Step,
    /// What was asked and what came back.
    pub reason: String,
    /// Whether the key that it was asked with may be the reason.
    pub refuses_key: bool,
}

impl ProbeFailure {
    /// Makes a failure that has nothing to do with the key.
    pub fn new(step: Step, reason: String) -> Self {
        Self { step, reason, refuses_key: false }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::{Fingerprint, ObjectKey, Resource};

    fn ingress(annotations: &Value) -> Manifest {
        let body = json!({"metadata": {"annotations": annotations}});
        let key = ObjectKey::new("networking.k8s.io", "Ingress", "store");
        let resource = Resource {
            group: key.group.clone(),
            version: "v1".into(),
            kind: key.kind.clone(),
            plural: "ingresses".into(),
            namespaced: true,
        };
        Manifest { fingerprint: Fingerprint::of(&body), key, resource, body: body.into() }
    }

    #[test]
    fn the_ingress_says_what_is_probed() {
        let all = json!({ANNOTATION_PROBE: "store-api,products, storefront", ANNOTATION_PROBE_KEY_SECRET: "medusa"});
        let target = ProbeTarget { products: true, storefront: true, key_secret: Some("medusa".into()) };
        assert_eq!(ProbeTarget::of(&[ingress(&all)]), Ok(Some(target)));
        assert_eq!(ProbeTarget::of(&[ingress(&json!({}))]), Ok(None), "another chart");
        let page = ProbeTarget { products: false, storefront: true, key_secret: None };
        assert_eq!(ProbeTarget::of(&[ingress(&json!({ANNOTATION_PROBE: "page"}))]), Ok(Some(page)));
    }

    #[test]
    fn a_misspelt_annotation_is_an_error_that_names_it() {
        let message = |annotations| ProbeTarget::of(&[ingress(&annotations)]).unwrap_err().to_string();
        assert!(
            message(json!({ANNOTATION_PROBE: "store-api,product", ANNOTATION_PROBE_KEY_SECRET: "medusa"}))
                .contains("`product` is not one of")
        );
        assert!(message(json!({ANNOTATION_PROBE: "store-api"})).contains(ANNOTATION_PROBE_KEY_SECRET));
    }
}
