//! What is counted at our own door. The web side gets this handle and the reader, and no other: it can change nothing.

use std::sync::Arc;
use std::time::Duration;

use super::labels::{DoorRefusal, HttpAnswer, Route};
use super::{Metrics, Series};

/// Counts who comes, who is let in and what is answered. Cloned handles share the numbers.
#[derive(Debug, Clone)]
pub struct DoorMeter(Arc<Series>);

/// Something that is there now. It is not there any more when this is dropped.
#[derive(Debug)]
pub struct Present(prometheus::IntGauge);

impl Present {
    fn new(gauge: &prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Returns a handle for the door.
    pub fn door(&self) -> DoorMeter {
        DoorMeter(Arc::clone(&self.0))
    }
}

impl DoorMeter {
    /// Counts an answer, and observes how long it took until it began.
    pub fn answered(&self, route: Route, answer: HttpAnswer, took: Duration) {
        self.0.http_requests.with_label_values(&[route.label(), answer.label()]).inc();
        self.0.http_durations.with_label_values(&[route.label()]).observe(took.as_secs_f64());
    }

    /// Counts a request or a connection that was turned away.
    pub fn refused(&self, why: DoorRefusal) {
        self.0.http_refused.with_label_values(&[why.label()]).inc();
    }

    /// Counts a connection for as long as it is open.
    pub fn connection(&self) -> Present {
        Present::new(&self.0.http_connections)
    }

    /// Counts a stream of changes for as long as it is followed.
    pub fn stream(&self) -> Present {
        Present::new(&self.0.http_streams)
    }
}
