//! Gives the page something to tell: a mistake in a file that is mended, and an object that somebody deletes.

use serde_json::Value;

use super::common::until;
use super::{Demo, store_names};

impl Demo {
    /// Makes a little history and returns where the page tells it.
    pub(super) fn make_history(&self) -> Vec<String> {
        let stores = store_names(&self.repository.checkout.join("stores"));
        let (clumsy, touched) = (&stores[1 % stores.len()], &stores[2 % stores.len()]);
        self.misspell_and_mend(clumsy);
        self.cluster.delete("v1", "Service", &format!("store-{touched}"), "storefront");
        self.until_told(touched, "drift-healed");
        self.until_state(touched, "READY");
        let page = |store: &str| format!("http://{}/stores/{store}", self.daemon.address);
        vec![
            format!("{}   a mistake in its file, and its end", page(clumsy)),
            format!("{}   a Service that was deleted, and came back", page(touched)),
        ]
    }

    fn misspell_and_mend(&self, store: &str) {
        let path = self.repository.checkout.join(format!("stores/{store}.yaml"));
        let right = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{right}  protcet: true\n")).unwrap();
        self.repository.push(&format!("protect {store}"));
        self.until_state(store, "FAILED");
        std::fs::write(&path, right).unwrap();
        self.repository.push(&format!("{store}: take the misspelt line out"));
        self.until_state(store, "READY");
        self.until_told(store, "state-entered");
    }

    fn until_state(&self, store: &str, state: &str) {
        until(&format!("{store} is {state}"), || (self.daemon.store(store)?["state"] == state).then_some(()));
    }

    fn until_told(&self, store: &str, kind: &str) {
        until(&format!("the page tells of {store}: {kind}"), || {
            let (_, text) = self.daemon.get(&format!("/api/v1/stores/{store}/events"));
            let told: Value = serde_json::from_str(&text).ok()?;
            told["events"].as_array()?.iter().any(|event| event["kind"] == kind).then_some(())
        });
    }
}
