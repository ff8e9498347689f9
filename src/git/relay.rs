//! A relay on the loopback interface between libgit2 and one remote host.
//!
//! libgit2 offers timeouts, certificate authorities and its redirect policy only as process-wide state behind
//! `unsafe`, so a silent server could hold a thread for ever and two sources could not trust different
//! authorities. Its proxy support is no way out: when a connection through a proxy fails, libgit2 1.9 writes to
//! a socket it has freed. So the relay owns the sockets: it ends what is silent, slow or too large, and it
//! reaches exactly one host and port.
//!
//! For https the relay is also the end of TLS and adds the login, so that libgit2 never holds it. Who wants
//! through must name a secret made for this relay. For ssh it passes ciphertext.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslStream};
use openssl::x509::X509VerifyResult;

use super::error::one_line;
use super::url::bracketed;

/// The longest head of a request or answer. Real ones have a few hundred bytes.
const HEAD_MAX: u64 = 32 * 1024;

/// How a connection gets through.
pub(super) enum Mode {
    /// As it is, for ssh.
    Direct,
    /// As HTTP that the relay puts into TLS.
    Https(Https),
}

/// What the relay needs to speak for libgit2.
pub(super) struct Https {
    connector: SslConnector,
    /// The value of the Authorization header.
    authorization: Option<String>,
    /// The first part of each path, which only libgit2 knows.
    capability: String,
}

impl Https {
    /// Trusts the system's certificate authorities and those in a PEM file. The error says in words what is
    /// wrong with the file.
    pub(super) fn new(ca_file: Option<&Path>, authorization: Option<String>) -> Result<Self, String> {
        let mut connector =
            SslConnector::builder(SslMethod::tls_client()).map_err(|error| error.to_string())?;
        if let Some(ca_file) = ca_file {
            connector
                .set_ca_file(ca_file)
                .map_err(|_| format!("{} is not a readable PEM file of certificates", ca_file.display()))?;
        }
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| error.to_string())?;
        let capability = format!("{:032x}", u128::from_ne_bytes(secret));
        Ok(Self { connector: connector.build(), authorization, capability })
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "Direct",
            Self::Https(_) => "Https",
        })
    }
}

/// Bounds what passes through a relay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How long nothing may move.
    pub silence: Duration,
    /// How long the relay serves.
    pub total: Duration,
    /// The most bytes from the host.
    pub bytes: u64,
}

/// Why the relay ended or refused a connection. All text is the host's and not made printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing moved for as long as [`Bounds::silence`].
    Silent,
    /// The relay served for [`Bounds::total`].
    Slow,
    /// The host sent more than [`Bounds::bytes`].
    TooMuch,
    /// The connection to the host failed, and how.
    Lost(String),
    /// The certificate is not trusted, and why.
    Untrusted(String),
    /// The host redirects to another one; holds where to.
    Elsewhere(String),
    /// The host answers with a status other than success.
    Status(u16),
    /// The host answers with something that is not git's; holds the content type.
    NotGit(String),
}

/// Relays connections to one host until it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
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
    /// All sockets, so that whoever reads or writes can be made to stop.
    sockets: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Connects to the host and starts to relay. A host that can't be reached is an error here already.
    pub(super) fn start(host: &str, port: u16, mode: Mode, bounds: Bounds) -> io::Result<Self> {
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
        let mut relay = Self { address, shared: Arc::clone(&shared), threads: Vec::new() };
        let for_guard = Arc::clone(&shared);
        relay
            .threads
            .push(thread::Builder::new().name("git-guard".to_owned()).spawn(move || guard(&for_guard))?);
        let acceptor = move || accept(&listener, first, &shared);
        relay.threads.push(thread::Builder::new().name("git-relay".to_owned()).spawn(acceptor)?);
        Ok(relay)
    }

    /// Returns where the relay listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL under which libgit2 reaches a path of an https host.
    pub(super) fn http_url(&self, path: &str) -> String {
        let capability = match &self.shared.mode {
            Mode::Https(https) => &https.capability,
            Mode::Direct => "",
        };
        format!("http://{}/{capability}{path}", self.address)
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
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Keeps the first verdict and ends all connections.
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
        // Whoever ended all connections in between has not seen this one.
        if self.stopping.load(Ordering::SeqCst) {
            socket.shutdown(Shutdown::Both)?;
        }
        Ok(())
    }

    fn moved(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_move.store(now, Ordering::Relaxed);
    }

    /// Finds what is wrong with how the connections go.
    fn problem(&self) -> Option<Verdict> {
        let elapsed = self.start.elapsed();
        let last_move = Duration::from_millis(self.last_move.load(Ordering::Relaxed));
        if elapsed > self.bounds.total {
            Some(Verdict::Slow)
        } else if elapsed.saturating_sub(last_move) > self.bounds.silence {
            Some(Verdict::Silent)
        } else if self.received.load(Ordering::Relaxed) > self.bounds.bytes {
            Some(Verdict::TooMuch)
        } else {
            None
        }
    }
}

/// Looks from time to time whether something is wrong, as the threads that copy may all be waiting.
fn guard(shared: &Shared) {
    let tick = (shared.bounds.silence / 4).clamp(Duration::from_millis(10), Duration::from_millis(250));
    while !shared.stopping.load(Ordering::SeqCst) {
        if let Some(problem) = shared.problem() {
            shared.judge(problem);
        }
        thread::park_timeout(tick);
    }
}

fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(ErrorKind::NotFound, "the host name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
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
            let _ = serve(&client, prepared, &shared);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(client: &TcpStream, prepared: Option<TcpStream>, shared: &Arc<Shared>) -> io::Result<()> {
    shared.keep(client)?;
    shared.moved();
    client.set_nodelay(true)?;
    let connected = prepared.map_or_else(|| connect(&shared.host, shared.port, shared.bounds.silence), Ok);
    let upstream = connected.inspect_err(|error| shared.judge(Verdict::Lost(error.to_string())))?;
    shared.keep(&upstream)?;
    shared.moved();
    match &shared.mode {
        Mode::Direct => serve_direct(client, &upstream, shared),
        Mode::Https(https) => {
            let done = serve_https(client, upstream, https, shared);
            client.shutdown(Shutdown::Both)?;
            done
        }
    }
}

fn serve_direct(client: &TcpStream, upstream: &TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let (mut from_client, mut to_upstream) = (client.try_clone()?, upstream.try_clone()?);
    let for_thread = Arc::clone(shared);
    let upload = thread::spawn(move || {
        let _ = io::copy(
            &mut Counted { stream: &mut from_client, shared: &for_thread, is_host: false },
            &mut to_upstream,
        );
        let _ = to_upstream.shutdown(Shutdown::Write);
    });
    let mut from_host = upstream;
    let mut to_client = client;
    let copied = io::copy(&mut Counted { stream: &mut from_host, shared, is_host: true }, &mut to_client);
    let _ = client.shutdown(Shutdown::Write);
    let _ = upload.join();
    copied.map(|_| ())
}

/// Serves one request: more on the same connection would need to know where the answer ends.
fn serve_https(client: &TcpStream, upstream: TcpStream, https: &Https, shared: &Shared) -> io::Result<()> {
    let mut from_client = BufReader::new(client);
    let request = Head::read(&mut from_client)?;
    let (head, length) =
        request.for_host(https, &shared.host, shared.port).ok_or(ErrorKind::PermissionDenied)?;
    let counted = Counted { stream: upstream, shared, is_host: true };
    let mut host = https.connector.connect(&shared.host, counted).map_err(|error| {
        shared.judge(handshake_verdict(&error));
        ErrorKind::ConnectionAborted
    })?;
    host.write_all(head.as_bytes())?;
    io::copy(&mut from_client.take(length), &mut host)?;
    let answered = answer(&mut host, client, https, shared);
    if let Err(error) = &answered
        && error.kind() != ErrorKind::BrokenPipe
    {
        shared.judge(Verdict::Lost(error.to_string()));
    }
    answered
}

/// Passes the host's answer on when it is one that libgit2 should see.
fn answer(
    host: &mut SslStream<Counted<'_, TcpStream>>,
    mut client: &TcpStream,
    https: &Https,
    shared: &Shared,
) -> io::Result<()> {
    let mut host = BufReader::new(host);
    let head = Head::read(&mut host)?;
    let status = head.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let location = match status {
        200 => None,
        301 | 302 | 303 | 307 | 308 => {
            let target = head.value("location").unwrap_or_default();
            let Some(path) = same_host_path(target, &shared.host, shared.port) else {
                shared.judge(Verdict::Elsewhere(target.to_owned()));
                return Ok(());
            };
            Some(format!("/{}{path}", https.capability))
        }
        status => {
            shared.judge(Verdict::Status(status));
            return Ok(());
        }
    };
    let content_type = head.value("content-type").unwrap_or("none");
    if location.is_none() && !content_type.starts_with("application/x-git-") {
        shared.judge(Verdict::NotGit(content_type.to_owned()));
        return Ok(());
    }
    client.write_all(head.for_client(location.as_deref()).as_bytes())?;
    // Many servers close without saying so in TLS. What is missing then shows in HTTP's own framing.
    let _ = io::copy(&mut host, &mut client);
    Ok(())
}

fn handshake_verdict(error: &HandshakeError<Counted<'_, TcpStream>>) -> Verdict {
    match error {
        HandshakeError::Failure(stream) if stream.ssl().verify_result() != X509VerifyResult::OK => {
            Verdict::Untrusted(stream.ssl().verify_result().error_string().to_owned())
        }
        HandshakeError::Failure(stream) | HandshakeError::WouldBlock(stream) => {
            Verdict::Lost(format!("the TLS handshake failed: {}", stream.error()))
        }
        HandshakeError::SetupFailure(error) => Verdict::Lost(error.to_string()),
    }
}

/// Returns the path that a redirect leads to, when it stays on the host and port.
fn same_host_path<'t>(target: &'t str, host: &str, port: u16) -> Option<&'t str> {
    if target.starts_with('/') && !target.starts_with("//") {
        return Some(target);
    }
    let rest = target.strip_prefix("https://")?;
    let (authority, _) = rest.split_once('/')?;
    let own = bracketed(host);
    let same = authority.eq_ignore_ascii_case(&format!("{own}:{port}"))
        || (port == 443 && authority.eq_ignore_ascii_case(&own));
    same.then(|| &rest[authority.len()..])
}

/// The first line and the headers of a request or an answer.
struct Head {
    first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let mut from = from.take(HEAD_MAX);
        let mut line = || -> io::Result<String> {
            let mut line = Vec::new();
            from.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed early"));
            }
            Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
        };
        let first = line()?;
        let mut headers = Vec::new();
        loop {
            let line = line()?;
            if line.is_empty() {
                return Ok(Self { first, headers });
            }
            let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the head as the host gets it and the length of the body. `None` when the request is not
    /// libgit2's: it does not know the capability, or has a body without a length.
    fn for_host(&self, https: &Https, host: &str, port: u16) -> Option<(String, u64)> {
        let mut words = self.first.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let path = target.strip_prefix('/')?.strip_prefix(&https.capability)?.strip_prefix('/')?;
        let length = self.value("content-length").map_or(Some(0), |length| length.parse().ok())?;
        if self.value("transfer-encoding").is_some() {
            return None;
        }
        let host = bracketed(host);
        let host = if port == 443 { host } else { format!("{host}:{port}") };
        let mut head = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        if let Some(authorization) = &https.authorization {
            head.extend(["Authorization: ", authorization, "\r\n"]);
        }
        self.push_others(&mut head, &["host", "connection", "authorization", "expect"]);
        Some((head, length))
    }

    fn for_client(&self, location: Option<&str>) -> String {
        let mut head = format!("{}\r\nConnection: close\r\n", self.first);
        if let Some(location) = location {
            head.extend(["Location: ", location, "\r\n"]);
        }
        self.push_others(&mut head, &["connection", "keep-alive", "location"]);
        head
    }

    fn push_others(&self, head: &mut String, known: &[&str]) {
        for (name, value) in &self.headers {
            if !known.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                head.extend([name, ": ", &one_line(value, usize::MAX), "\r\n"]);
            }
        }
        head.push_str("\r\n");
    }
}

/// A stream that reports what moves.
#[derive(Debug)]
struct Counted<'s, S> {
    stream: S,
    shared: &'s Shared,
    /// Whether what is read comes from the host and counts towards the limit.
    is_host: bool,
}

impl<S: Read> Read for Counted<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.shared.moved();
        if self.is_host {
            self.shared.received.fetch_add(count as u64, Ordering::Relaxed);
            if self.shared.received.load(Ordering::Relaxed) > self.shared.bounds.bytes {
                self.shared.judge(Verdict::TooMuch);
            }
        }
        Ok(count)
    }
}

impl<S: Write> Write for Counted<'_, S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(buffer)?;
        self.shared.moved();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_redirect_on_the_same_host_and_port_has_a_path_to_follow() {
        for (target, port, path) in [
            ("/stores.git/info/refs", 443, Some("/stores.git/info/refs")),
            ("https://h/a?b", 443, Some("/a?b")),
            ("https://H:443/a", 443, Some("/a")),
            ("https://h:8443/a", 8443, Some("/a")),
            ("https://h/a", 8443, None),
            ("https://h:444/a", 443, None),
            ("http://h/a", 443, None),
            ("https://h@evil/a", 443, None),
            ("https://evil/h", 443, None),
            ("//evil/a", 443, None),
            ("", 443, None),
        ] {
            assert_eq!(same_host_path(target, "h", port), path, "{target}");
        }
    }

    #[test]
    fn a_request_without_the_capability_gets_nowhere() {
        let https = Https::new(None, Some("Basic canary".to_owned())).unwrap();
        let head = |text: &str| Head::read(&mut text.as_bytes()).unwrap();
        for target in ["/stores.git", "/", "http://h/", "/0/stores.git", &format!("/{}x/a", https.capability)]
        {
            assert!(
                head(&format!("GET {target} HTTP/1.1\r\n\r\n")).for_host(&https, "h", 443).is_none(),
                "{target}"
            );
        }
        let text = format!(
            "POST /{}/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nAccept: b\r\n\r\n",
            https.capability
        );
        let (head, length) = head(&text).for_host(&https, "h", 8443).unwrap();
        assert_eq!(length, 4);
        assert_eq!(
            head,
            "POST /a HTTP/1.1\r\nHost: h:8443\r\nConnection: close\r\nAuthorization: Basic canary\r\n\
             Content-Length: 4\r\nAccept: b\r\n\r\n"
        );
    }
}
