//! How many connections and streams a client may hold. Streams live as long as they are followed, longer than any other
//! answer, so they are few.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use tokio::sync::watch;

use super::super::problem::Problem;
use super::Visitor;
use super::rates::client_key;
use crate::metrics::{DoorMeter, DoorRefusal};

/// How many connections one client may hold; a proxy that is trusted may hold any number.
pub(super) const CONNECTIONS_OF_CLIENT: usize = 64;

/// How many streams one client may follow: a browser opens no more to one host.
const STREAMS_OF_CLIENT: usize = 6;

/// How many streams all clients together may follow.
const STREAMS_OF_ALL: usize = 100;

/// When to come again for a stream, in seconds.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("30");

/// Counts what clients hold.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Counts(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One thing that is held, until it is dropped.
#[derive(Debug)]
pub(in super::super) struct Count {
    counts: Counts,
    client: IpAddr,
}

impl Counts {
    /// Takes one more for this client, unless it holds as many as it may.
    pub(super) fn take(&self, address: IpAddr, most: usize) -> Option<Count> {
        let client = client_key(address);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.by_client.get(&client).is_some_and(|count| *count >= most) {
            return None;
        }
        *held.by_client.entry(client).or_default() += 1;
        held.all += 1;
        Some(Count { counts: self.clone(), client })
    }

    fn all(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let mut held = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= 1;
        if let Some(count) = held.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                held.by_client.remove(&self.client);
            }
        }
    }
}

/// What a connection's requests tell the server, and the server them.
#[derive(Debug, Clone)]
pub(in super::super) struct Connection {
    /// How many streams it carries.
    streams: watch::Sender<usize>,
    /// Changes when the server stops; without one it never does.
    closing: Option<watch::Receiver<()>>,
}

impl Default for Connection {
    fn default() -> Self {
        Self { streams: watch::channel(0).0, closing: None }
    }
}

impl Connection {
    /// Stands for a connection of a server that stops when this changes.
    pub(in super::super) fn new(closing: watch::Receiver<()>) -> Self {
        Self { closing: Some(closing), ..Self::default() }
    }

    /// Returns when it carries no stream.
    pub(in super::super) async fn carries_none(&self) {
        let _ = self.streams.subscribe().wait_for(|streams| *streams == 0).await;
    }
}

/// A stream that a connection carries, until it is dropped.
struct Carried(watch::Sender<usize>);

impl Carried {
    fn new(connection: &Connection) -> Self {
        connection.streams.send_modify(|streams| *streams += 1);
        Self(connection.streams.clone())
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.send_modify(|streams| *streams -= 1);
    }
}

/// Whether an answer goes on for as long as somebody listens.
pub(super) fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// Counts the streams that are followed.
#[derive(Debug, Default)]
pub(super) struct Streams(Counts);

impl Streams {
    /// Lets a stream go on if there is room for it, and ends it when the server stops.
    pub(super) async fn bound(
        &self,
        response: Response,
        visitor: &Visitor,
        connection: &Connection,
        meter: &DoorMeter,
    ) -> Response {
        let place = if self.0.all() < STREAMS_OF_ALL {
            self.0.take(visitor.address, STREAMS_OF_CLIENT).ok_or(DoorRefusal::StreamsOfClient)
        } else {
            Err(DoorRefusal::StreamsOfAll)
        };
        let place = match place {
            Ok(place) => place,
            Err(why) => {
                meter.refused(why);
                return super::super::protect(no_room(why)).await;
            }
        };
        let held = (place, Carried::new(connection), meter.stream());
        let closing = connection.closing.clone();
        let stopped = async move {
            match closing {
                Some(mut closing) => _ = closing.changed().await,
                None => std::future::pending().await,
            }
        };
        response.map(|body| {
            let chunks = body.into_data_stream().take_until(Box::pin(stopped));
            Body::from_stream(chunks.inspect(move |_| _ = &held))
        })
    }
}

/// Says that there is no room for a stream.
fn no_room(why: DoorRefusal) -> Response {
    let (status, detail) = match why {
        DoorRefusal::StreamsOfClient => (
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "this client follows {STREAMS_OF_CLIENT} streams already: close one, or ask for the lists instead"
            ),
        ),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "{STREAMS_OF_ALL} streams are followed already: come again later, or ask for the lists instead"
            ),
        ),
    };
    let mut response = Problem::new(status, detail).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, COME_AGAIN);
    response
}
