//! Serves the routes on a socket, with limits that keep slow or silent clients from holding it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;
use tracing::{Instrument, debug, debug_span, warn};

use super::door::{Connection, Door, Peer};
use super::stall::Moving;

/// The most a request's head may take in bytes.
const HEAD_MAX: usize = 16 * 1024;

/// The most headers of a request.
const HEADERS_MAX: usize = 100;

/// How long to wait when the system has no socket left, before asking again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What clients may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at a time; further ones wait in the system's queue.
    connections: usize,
    /// Time from the connect, or from the answer before, to the end of a request's head.
    head: Duration,
    /// Time that a connection may stay open, unless it carries a stream of changes. It bounds clients that read an answer
    /// slowly, too.
    age: Duration,
    /// Time that a write may wait for the client to take anything.
    stall: Duration,
    /// Time to finish the answer under way, after the age or on shutdown.
    drain: Duration,
}

impl Limits {
    const DEFAULT: Self = Self {
        connections: 256,
        head: Duration::from_secs(10),
        age: Duration::from_mins(1),
        stall: Duration::from_secs(30),
        drain: Duration::from_secs(5),
    };
}

/// Serves until `shutdown` resolves, then ends streams and lets answers under way finish for at most 5 seconds. The door bounds
/// the connections of each client; what a request may do is up to the routes, so guard them where that is wanted.
pub async fn serve(listener: TcpListener, router: Router, door: Door, shutdown: impl Future<Output = ()>) {
    serve_within(Limits::DEFAULT, listener, router, door, shutdown).await;
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    router: Router,
    door: Door,
    shutdown: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (slot, stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
            // Only forgets the finished one; an ended connection needs no care.
            Some(_) = connections.join_next() => continue,
        };
        // Closed without a word: it holds as many already.
        let Some(counted) = door.connect(peer.ip()) else { continue };
        let (router, closed) = (router.clone(), closed.clone());
        let connection = async move {
            answer(limits, stream, peer, router, closed).await;
            drop((slot, counted));
        };
        connections.spawn(connection.instrument(debug_span!("http.connection")));
    }
    drop((listener, closing));
    // Ends: each connection keeps within the drain limit.
    while connections.join_next().await.is_some() {}
}

/// Waits for a free slot, then for a client.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (slot, stream, peer),
            Err(error) => {
                warn!(%error, "failed to accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection until the client leaves, the limits end it or `closed` says so.
async fn answer(
    limits: Limits,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut closed: watch::Receiver<()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head);
    http.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX);
    let peer = Peer { address: peer.ip(), connection: Connection::new(closed.clone()) };
    let carrier = peer.connection.clone();
    let service = router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    let stream = TokioIo::new(Moving::new(stream, limits.stall));
    let mut connection = pin!(http.serve_connection(stream, TowerToHyperService::new(service)));
    let aged = async {
        sleep(limits.age).await;
        carrier.carries_none().await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = closed.changed() => None,
        () = aged => None,
    };
    let ended = if let Some(ended) = ended {
        Ok(ended)
    } else {
        connection.as_mut().graceful_shutdown();
        timeout(limits.drain, connection).await
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an HTTP connection ended early"),
        Err(_) => debug!("an HTTP connection was cut: its answer took too long"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use axum::routing::get;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::web::door::DoorSettings;

    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_millis(200);
    const PATIENT: Limits = Limits { connections: 2, head: LONG, age: LONG, stall: LONG, drain: LONG };

    fn door() -> Door {
        let login = crate::web::door::LoginSettings::default();
        let meter = crate::metrics::Metrics::new().door();
        let trusted_proxies = Vec::new();
        Door::new(DoorSettings { trusted_proxies, login, rate_per_client: None, rate_total: None, meter })
    }

    /// Serves one quick and one endless route; returns where, and the switch that shuts down.
    async fn start(limits: Limits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endless = get(async || std::future::pending::<()>().await);
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/endless", endless)
            .route("/events", get(async || events(Duration::from_millis(20), "data: x\n\n".to_owned())))
            .route("/flood", get(async || events(Duration::ZERO, "x".repeat(1 << 20))));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let door = door();
        let router = door.guard(router);
        (address, stop, tokio::spawn(serve_within(limits, listener, router, door, shutdown)))
    }

    /// A stream of changes that never ends.
    fn events(every: Duration, event: String) -> impl axum::response::IntoResponse {
        let events = futures::stream::unfold(event, move |event| async move {
            sleep(every).await;
            Some((Ok::<_, std::io::Error>(event.clone()), event))
        });
        ([("content-type", "text/event-stream")], axum::body::Body::from_stream(events))
    }

    /// Connects and sends this; the blocking client runs beside the server's own threads.
    fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// Reads until the server closes; a reset is a close, too.
    fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("still open: {error}"),
            _ => String::from_utf8(bytes).unwrap(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_never_finishes_its_request_is_cut_off() {
        let (address, _stop, _server) = start(Limits { head: SHORT, ..PATIENT }).await;
        let mut stream = send(address, "GET / HTTP/1.1\r\nhost: x\r\n");
        assert!(!rest(&mut stream).contains("200 OK"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_says_nothing_more_is_cut_off() {
        let (address, _stop, _server) = start(Limits { head: SHORT, ..PATIENT }).await;
        assert_eq!(rest(&mut send(address, "")), "");
        assert!(rest(&mut send(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")).ends_with("hello"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_past_its_age_is_cut_off_even_while_it_is_answered() {
        let (address, _stop, _server) = start(Limits { age: SHORT, drain: SHORT, ..PATIENT }).await;
        assert_eq!(rest(&mut send(address, "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")), "");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_outlives_the_age_of_connections_and_ends_when_the_server_stops() {
        let (address, stop, server) = start(Limits { age: SHORT, drain: SHORT, ..PATIENT }).await;
        let mut stream = send(address, "GET /events HTTP/1.1\r\nhost: x\r\n\r\n");
        let begun = std::time::Instant::now();
        let mut bytes = [0; 512];
        while begun.elapsed() < 4 * SHORT {
            assert!(stream.read(&mut bytes).unwrap() > 0, "it was cut after {:?}", begun.elapsed());
        }
        stop.send(()).unwrap();
        assert!(rest(&mut stream).ends_with("0\r\n\r\n"), "it ends as a whole answer does");
        timeout(Duration::from_secs(10), server).await.expect("the server ends").unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_takes_nothing_of_its_stream_is_cut_off() {
        let (address, _stop, _server) = start(Limits { connections: 1, stall: SHORT, ..PATIENT }).await;
        let mut lazy = send(address, "GET /flood HTTP/1.1\r\nhost: x\r\n\r\n");
        // Its place is free again though it is still there.
        let mut next = send(address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert!(rest(&mut next).ends_with("hello"));
        lazy.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut bytes = Vec::new();
        let _ = lazy.read_to_end(&mut bytes);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_holds_so_many_connections_and_no_more() {
        let (address, _stop, _server) = start(Limits { connections: 256, ..PATIENT }).await;
        let mut held: Vec<_> = (0..64).map(|_| send(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")).collect();
        for stream in &mut held {
            stream.read_exact(&mut [0; 15]).unwrap();
        }
        let mut further = TcpStream::connect(address).unwrap();
        further.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(rest(&mut further), "", "it is closed without a word");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_head_with_too_much_in_it_is_refused() {
        let (address, _stop, _server) = start(PATIENT).await;
        let ask = |headers: usize, bytes: usize| {
            let many = "a: b\r\n".repeat(headers);
            let long = "x".repeat(bytes);
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{many}c: {long}\r\n\r\n");
            rest(&mut send(address, &head)).lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(ask(97, 0), "HTTP/1.1 200 OK");
        assert!(ask(98, 0).contains("431"));
        assert!(ask(0, HEAD_MAX).contains("431"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_beyond_the_limit_is_answered_when_another_leaves() {
        let (address, _stop, _server) = start(Limits { connections: 1, ..PATIENT }).await;
        let holder = send(address, "");
        let mut waiting = send(address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        waiting.set_read_timeout(Some(SHORT)).unwrap();
        assert!(waiting.peek(&mut [0]).is_err(), "the slot is taken");
        drop(holder);
        waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(rest(&mut waiting).ends_with("hello"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn shutdown_closes_an_idle_connection_at_once() {
        let (address, stop, server) = start(PATIENT).await;
        let mut idle = send(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        idle.read_exact(&mut [0; 15]).unwrap();
        stop.send(()).unwrap();
        assert!(rest(&mut idle).ends_with("hello"));
        timeout(Duration::from_secs(10), server).await.expect("the server ends").unwrap();
        assert!(TcpStream::connect(address).is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn shutdown_waits_for_a_busy_connection_no_longer_than_the_limit() {
        let (address, stop, server) = start(Limits { drain: SHORT, ..PATIENT }).await;
        let mut busy = send(address, "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n");
        stop.send(()).unwrap();
        assert_eq!(rest(&mut busy), "");
        timeout(Duration::from_secs(10), server).await.expect("the server ends").unwrap();
    }
}
