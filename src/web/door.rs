//! The door before every route: who asks, how often, how much of it, and whether they may read. Nobody gets past it to
//! change anything, for behind it there is nothing that could be changed.

mod login;
mod rates;
mod streams;
mod visitor;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use tracing::{Instrument, field};

use super::problem::Problem;
use crate::metrics::{DoorMeter, DoorRefusal, HttpAnswer, Route};

pub use login::{LoginSettings, READ_TOKEN_MIN};
use rates::{Rates, Room};
use streams::Streams;
pub(super) use streams::{Connection, Count, Counts};
pub use visitor::Visitor;

/// The longest path with its query, in bytes.
const PATH_MAX: usize = 8 * 1024;

/// The most bytes of a body that is not read anyway. Webhooks have their own bounds.
const BODY_MAX: u64 = 8 * 1024;

/// What the door lets in.
#[derive(Debug)]
pub struct DoorSettings {
    /// Networks of proxies that are believed when they say who asks.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may read; anybody when there is neither token nor header.
    pub login: LoginSettings,
    /// Requests a second of one client, after four times as many at once; any number without it.
    pub rate_per_client: Option<NonZeroU32>,
    /// The same of all clients together.
    pub rate_total: Option<NonZeroU32>,
    /// Counts what comes.
    pub meter: DoorMeter,
}

/// The door. Cloned handles share what they count.
#[derive(Debug, Clone)]
pub struct Door(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    settings: DoorSettings,
    login: login::Login,
    rates: Rates,
    streams: Streams,
    connections: Counts,
}

/// Where a request comes from. The server adds it to each.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) connection: Connection,
}

/// Why a request is not let in.
enum Refusal {
    /// So long until the next one is.
    Rate(DoorRefusal, Room),
    /// It has to be another one.
    Bad(DoorRefusal, StatusCode, String),
    /// Whoever asks has to log in.
    Login { wants_page: bool },
    /// The login can't be checked.
    NoToken,
}

impl Door {
    /// Builds a door; nothing is read before the first request.
    pub fn new(settings: DoorSettings) -> Self {
        let rates = Rates::new(settings.rate_per_client, settings.rate_total);
        let login = login::Login::new(settings.login.clone());
        let (streams, connections) = (Streams::default(), Counts::default());
        Self(Arc::new(Inside { settings, login, rates, streams, connections }))
    }

    /// Stands before these routes.
    pub fn guard(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), pass))
    }

    /// Takes one more connection of a client, unless there are too many.
    pub(super) fn connect(&self, address: IpAddr) -> Option<(Option<Count>, crate::metrics::Present)> {
        let Inside { settings, connections, .. } = &*self.0;
        let own = (!self.trusts(address)).then(|| connections.take(address, streams::CONNECTIONS_OF_CLIENT));
        if matches!(own, Some(None)) {
            settings.meter.refused(DoorRefusal::ConnectionsOfClient);
            return None;
        }
        Some((own.flatten(), settings.meter.connection()))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.settings.trusted_proxies.iter().any(|network| network.contains(&address))
    }

    /// Decides about a request; returns what is left of its client's rate.
    fn admit(&self, visitor: &Visitor, request: &Request, route: Route) -> Result<Option<Room>, Refusal> {
        let Inside { login, rates, .. } = &*self.0;
        let room = match route {
            Route::Probe => None,
            _ => rates
                .of_client(visitor.address)
                .map_err(|room| Refusal::Rate(DoorRefusal::RateOfClient, room))?,
        };
        if !matches!(route, Route::Probe | Route::Hook) {
            rates.of_all().map_err(|room| Refusal::Rate(DoorRefusal::RateOfAll, room))?;
        }
        check_size(request, route)?;
        if matches!(route, Route::Probe | Route::Hook) {
            return Ok(room);
        }
        match login.check(visitor, request.headers(), Instant::now()) {
            login::Verdict::Welcome => Ok(room),
            login::Verdict::Stranger => Err(Refusal::Login { wants_page: wants_page(request) }),
            login::Verdict::NoToken => Err(Refusal::NoToken),
        }
    }
}

/// Passes a request on, or turns it away.
async fn pass(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let (begun, route) = (Instant::now(), Route::of(request.uri().path()));
    let peer = request.extensions_mut().remove::<Peer>().unwrap_or_else(Peer::unknown);
    let trusted = door.trusts(peer.address);
    let login_header = door.0.settings.login.header.as_ref();
    let visitor =
        Visitor::of(peer.address, trusted, |it| door.trusts(it), login_header, request.headers_mut());
    let span = tracing::debug_span!(
        "http.request", http.request.method = %request.method(), http.route = route.label(),
        http.response.status_code = field::Empty
    );
    let admitted = door.admit(&visitor, &request, route);
    let mut response = match &admitted {
        Ok(_) => {
            request.extensions_mut().insert(visitor.clone());
            next.run(request).instrument(span.clone()).await
        }
        Err(refusal) => turn_away(&door, refusal).await,
    };
    if let Ok(Some(room)) = &admitted {
        room.say(response.headers_mut());
    }
    let streams = streams::is_stream(&response);
    if streams {
        response = door.0.streams.bound(response, &visitor, &peer.connection, &door.0.settings.meter).await;
    }
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    let route = if streams { Route::Stream } else { route };
    door.0.settings.meter.answered(route, HttpAnswer::of(status), begun.elapsed());
    response
}

/// Refuses paths and bodies that nothing here needs.
fn check_size(request: &Request, route: Route) -> Result<(), Refusal> {
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if path > PATH_MAX {
        let detail = format!("the path and its query have {path} bytes, and may have {PATH_MAX}");
        return Err(Refusal::Bad(DoorRefusal::Path, StatusCode::URI_TOO_LONG, detail));
    }
    let body = request.body().size_hint().upper();
    if route != Route::Hook && body.is_none_or(|bytes| bytes > BODY_MAX) {
        let detail = "nothing is read of a body here: send none".to_owned();
        return Err(Refusal::Bad(DoorRefusal::Body, StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(())
}

fn wants_page(request: &Request) -> bool {
    let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

/// Says why a request is not let in, and counts it.
async fn turn_away(door: &Door, refusal: &Refusal) -> Response {
    let meter = &door.0.settings.meter;
    let response = match refusal {
        Refusal::Rate(why, room) => {
            meter.refused(*why);
            too_many(*why, room)
        }
        Refusal::Bad(why, status, detail) => {
            meter.refused(*why);
            Problem::new(*status, detail.clone()).into_response()
        }
        Refusal::Login { wants_page } => {
            meter.refused(DoorRefusal::Login);
            login::ask(&door.0.settings.login, *wants_page)
        }
        Refusal::NoToken => {
            meter.refused(DoorRefusal::Login);
            let detail = "the file of the token that lets people read can't be used; the log says why";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail.to_owned()).into_response()
        }
    };
    super::protect(response).await
}

/// Asks to come again later.
fn too_many(why: DoorRefusal, room: &Room) -> Response {
    let who = match why {
        DoorRefusal::RateOfClient => "this client asks",
        _ => "all clients together ask",
    };
    let detail = format!("{who} too often: come again in {} s", room.seconds());
    let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).into_response();
    room.say(response.headers_mut());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(room.seconds()));
    response
}

impl Peer {
    /// Stands for a request that came by no connection of ours.
    fn unknown() -> Self {
        Self { address: IpAddr::from([0, 0, 0, 0]), connection: Connection::default() }
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
