//! A relay on the loopback interface between libgit2 and one remote host.
//!
//! libgit2 offers its timeouts and its proxy and redirect policy only as process-wide state behind `unsafe`, so
//! a silent server could hold a thread for ever. The relay owns the sockets instead: it ends a connection that
//! is silent, slow or too large, and reaches exactly one host and port, so that neither a redirect nor a bug in
//! URL handling can carry a login elsewhere. What passes through it is TLS or ssh, end to end: the relay sees
//! ciphertext only.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::one_line;
use super::url::bracketed;

/// How often an idle direction looks whether the other one is idle too.
const TICK: Duration = Duration::from_millis(250);

/// The longest CONNECT request of libgit2; it sends a few hundred bytes.
const REQUEST_MAX: usize = 8 * 1024;

/// How a client says where it wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// With an HTTP CONNECT request, which must name the relay's host and port.
    Connect,
    /// Not at all: every connection goes to the host and port.
    Direct,
}

/// Bounds what passes through a relay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How long both directions may be silent at once.
    pub silence: Duration,
    /// How long the relay serves.
    pub total: Duration,
    /// The most bytes from the host.
    pub bytes: u64,
}

/// Why the relay ended or refused a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing moved for as long as [`Bounds::silence`].
    Silent,
    /// The relay served for [`Bounds::total`].
    Slow,
    /// The host sent more than [`Bounds::bytes`].
    TooMuch,
    /// The client wanted to another host; holds which.
    Elsewhere(String),
    /// A further connection to the host failed.
    Lost(String),
}

/// Relays connections to one host until it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    host: String,
    port: u16,
    mode: Mode,
    bounds: Bounds,
    start: Instant,
    /// When something last moved, in milliseconds since `start`.
    last_move: AtomicU64,
    received: AtomicU64,
    stopping: AtomicBool,
    verdict: Mutex<Option<Verdict>>,
    /// All open sockets, so that dropping the relay can end them.
    sockets: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Connects to the host and starts to relay. A host that can't be reached is an error here, in words.
    pub(super) fn start(host: &str, port: u16, mode: Mode, bounds: Bounds) -> Result<Self, io::Error> {
        let first = connect(host, port, bounds.silence)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            host: host.to_owned(),
            port,
            mode,
            bounds,
            start: Instant::now(),
            last_move: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            verdict: Mutex::new(None),
            sockets: Mutex::new(Vec::new()),
        });
        let for_thread = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("git-relay".to_owned())
            .spawn(move || accept(&listener, first, &for_thread))?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Returns where the relay listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns why the relay ended a connection, if it did.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.shared.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whether the relay has served for as long as it may.
    pub(super) fn is_over(&self) -> bool {
        self.shared.start.elapsed() > self.shared.bounds.total
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.end_all();
        // The acceptor waits for a connection: this one makes it look at `stopping`.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn judge(&self, verdict: Verdict) {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(verdict);
        self.end_all();
    }

    fn end_all(&self) {
        for socket in self.sockets.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn keep(&self, socket: &TcpStream) -> io::Result<()> {
        let clone = socket.try_clone()?;
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(clone);
        // A relay that is dropped in between would not see this socket.
        if self.stopping.load(Ordering::SeqCst) {
            socket.shutdown(Shutdown::Both)?;
        }
        Ok(())
    }

    fn moved(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_move.store(now, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last_move.load(Ordering::Relaxed)))
    }

    /// Finds what is wrong with how the connections go.
    fn problem(&self) -> Option<Verdict> {
        if self.start.elapsed() > self.bounds.total {
            Some(Verdict::Slow)
        } else if self.silence() > self.bounds.silence {
            Some(Verdict::Silent)
        } else if self.received.load(Ordering::Relaxed) > self.bounds.bytes {
            Some(Verdict::TooMuch)
        } else {
            None
        }
    }

    fn tick(&self) -> Duration {
        (self.bounds.silence / 4).clamp(Duration::from_millis(10), TICK)
    }
}

fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(ErrorKind::NotFound, "the host name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn accept(listener: &TcpListener, first: TcpStream, shared: &Arc<Shared>) {
    let mut first = Some(first);
    let mut threads = Vec::new();
    for client in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(client) = client else { continue };
        let prepared = first.take();
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            // A broken connection shows at libgit2's end; the verdict says more where there is more to say.
            let _ = serve(client, prepared, &shared);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(mut client: TcpStream, prepared: Option<TcpStream>, shared: &Arc<Shared>) -> io::Result<()> {
    shared.keep(&client)?;
    shared.moved();
    client.set_nodelay(true)?;
    if shared.mode == Mode::Connect {
        client.set_read_timeout(Some(shared.bounds.silence))?;
        let target = connect_target(&mut client)?;
        let own = format!("{}:{}", bracketed(&shared.host), shared.port);
        let bare = format!("{}:{}", shared.host, shared.port);
        if !target.eq_ignore_ascii_case(&own) && !target.eq_ignore_ascii_case(&bare) {
            client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            shared.judge(Verdict::Elsewhere(one_line(&target, 120)));
            return Ok(());
        }
    }
    let upstream =
        match prepared.map_or_else(|| connect(&shared.host, shared.port, shared.bounds.silence), Ok) {
            Ok(upstream) => upstream,
            Err(error) => {
                shared.judge(Verdict::Lost(error.to_string()));
                return Ok(());
            }
        };
    shared.keep(&upstream)?;
    if shared.mode == Mode::Connect {
        client.write_all(b"HTTP/1.1 200 Connection established\r\nContent-Length: 0\r\n\r\n")?;
    }
    shared.moved();
    let (client_too, upstream_too, shared_too) =
        (client.try_clone()?, upstream.try_clone()?, Arc::clone(shared));
    let up = thread::spawn(move || pump(&client_too, &upstream_too, &shared_too, false));
    pump(&upstream, &client, shared, true);
    let _ = up.join();
    Ok(())
}

/// Reads a CONNECT request and returns where it wants to.
fn connect_target(client: &mut TcpStream) -> io::Result<String> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if request.len() > REQUEST_MAX || client.read(&mut byte)? == 0 {
            return Err(ErrorKind::InvalidData.into());
        }
        request.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&request);
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some("CONNECT"), Some(target)) => Ok(target.to_owned()),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

/// Copies one direction until it ends, or until something is wrong.
fn pump(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared, is_download: bool) {
    let mut buffer = vec![0; 64 * 1024];
    if from.set_read_timeout(Some(shared.tick())).is_err() {
        return;
    }
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(count) => {
                shared.moved();
                if is_download {
                    shared.received.fetch_add(count as u64, Ordering::Relaxed);
                }
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
                shared.moved();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        if let Some(problem) = shared.problem() {
            shared.judge(problem);
            return;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
