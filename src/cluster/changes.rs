//! The stores whose observation changed and whom nobody has looked at yet: each once, however often it changes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::names::StoreId;

/// A set of stores that changed. Clones share it: the caches put stores in, the daemon takes them out.
#[derive(Debug, Clone, Default)]
pub struct Changes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stores: Mutex<HashSet<StoreId>>,
    news: Notify,
}

impl Changes {
    pub(super) fn tell(&self, store: StoreId) {
        let mut stores = self.0.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.insert(store);
        self.0.news.notify_one();
    }

    /// Takes every store that changed since the last time.
    pub fn take(&self) -> HashSet<StoreId> {
        std::mem::take(&mut *self.0.stores.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until a store has changed and takes all that have. Nothing is lost when the wait is given up.
    pub async fn next(&self) -> HashSet<StoreId> {
        loop {
            let stores = self.take();
            if !stores.is_empty() {
                return stores;
            }
            self.0.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_changes_often_is_told_once_and_none_is_missed() {
        let changes = Changes::default();
        let acme: StoreId = "acme".parse().unwrap();
        for _ in 0..3 {
            changes.tell(acme.clone());
        }
        assert_eq!(changes.next().await.len(), 1);
        assert!(changes.take().is_empty());
        let waiting = changes.clone();
        let next = tokio::spawn(async move { waiting.next().await });
        tokio::task::yield_now().await;
        changes.tell(acme.clone());
        assert!(next.await.unwrap().contains(&acme));
    }
}
