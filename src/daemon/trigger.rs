//! What makes the daemon look at the repository and run stores out of turn: webhooks and signals by a handle, people by an
//! annotation on a store's namespace.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Daemon;
use crate::names::{ANNOTATION_REQUESTED_AT, StoreId};

/// Makes the daemon look at the repository now, from outside. Cloned handles do the same.
#[derive(Debug, Clone)]
pub struct Trigger {
    pub(super) look: UnboundedSender<()>,
    retry: UnboundedSender<()>,
    call: UnboundedSender<()>,
}

/// The daemon's end of a [`Trigger`].
#[derive(Debug)]
pub struct Triggers {
    pub(super) trigger: Trigger,
    pub(super) looks: UnboundedReceiver<()>,
    pub(super) retries: UnboundedReceiver<()>,
    pub(super) calls: UnboundedReceiver<()>,
}

impl Triggers {
    /// Makes both ends.
    pub fn new() -> (Trigger, Self) {
        let ((look, looks), (retry, retries)) = (unbounded_channel(), unbounded_channel());
        let (call, calls) = unbounded_channel();
        let trigger = Trigger { look, retry, call };
        (trigger.clone(), Self { trigger, looks, retries, calls })
    }
}

impl Trigger {
    /// Asks for a look at the repository.
    pub fn look(&self) {
        let _ = self.look.send(());
    }

    /// Asks for a look at the repository, here and by every other replica: what is delivered to one of them concerns all.
    pub fn look_everywhere(&self) {
        let _ = self.call.send(());
        self.look();
    }

    /// Asks for a look at the repository, and for a run of every store that waits for its next try.
    pub fn retry(&self) {
        let _ = self.retry.send(());
        self.look();
    }
}

impl Daemon {
    /// Runs a store and looks at the repository when somebody writes so on the store's namespace.
    pub(super) fn note_request(&mut self, store: &StoreId) {
        let namespace = self.context.cluster.namespace(store).filter(|_| self.context.cluster.is_ours(store));
        let request = namespace.and_then(|it| it.annotations.get(ANNOTATION_REQUESTED_AT).cloned());
        let Some(request) = request else {
            self.requests.remove(store);
            return;
        };
        if self.requests.get(store) == Some(&request) {
            return;
        }
        // At the start every store has a run, and the repository is looked at.
        if self.is_ready {
            tracing::info!(store.id = %store, "asked to look at this store by {ANNOTATION_REQUESTED_AT}");
            self.context.cluster.look_at_unwatched_soon(store);
            self.queue.mark_fresh(store);
            let _ = self.look.send(());
        }
        self.requests.insert(store.clone(), request);
    }
}
