//! Git over https on the loopback interface: real `git http-backend` behind a small TLS server, or one that
//! misbehaves in a certain way.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod, SslStream};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

/// How the server answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// As a git server, to whoever shows this token, or to all.
    Git { root: PathBuf, token: Option<&'static str> },
    /// As [`Answer::Git`], with all but the last bytes of each pack.
    CutPack { root: PathBuf },
    /// With a web page.
    Html,
    /// With a status and nothing else.
    Status(u16),
    /// With a redirect to a URL, to which the path is added.
    Redirect(String),
    /// As a git server, which redirects what starts with a path to the same host without it.
    Moved { from: String, root: PathBuf },
    /// Not at all, before the TLS handshake.
    SilentBeforeTls,
    /// Not at all, after the request.
    SilentAfterRequest,
    /// With one byte from time to time.
    Dripping,
    /// By ending each connection at once.
    HangUp,
    /// As a git server, each answer only after a while.
    Slow { root: PathBuf, delay: Duration },
}

/// A certificate with its key.
pub struct Identity {
    pub certificate: X509,
    pub key: PKey<Private>,
}

impl Identity {
    /// Makes a certificate for names, signed by another identity or by itself.
    pub fn new(
        common_name: &str,
        signer: Option<&Identity>,
        is_authority: bool,
        names: &[&str],
        days: i64,
    ) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", common_name).unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(rand_serial()).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(signer.map_or(&name, |signer| signer.certificate.subject_name())).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(now - 30 * 86400).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(now + days * 86400).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        if is_authority {
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        }
        if !names.is_empty() {
            let mut alternatives = SubjectAlternativeName::new();
            for name in names {
                match name.parse::<std::net::IpAddr>() {
                    Ok(_) => alternatives.ip(name),
                    Err(_) => alternatives.dns(name),
                };
            }
            let extension = alternatives.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(extension).unwrap();
        }
        builder.sign(signer.map_or(&key, |signer| &signer.key), MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    pub fn write_pem(&self, path: &Path) {
        fs::write(path, self.certificate.to_pem().unwrap()).unwrap();
    }
}

/// Makes serial numbers differ within a process; two certificates of one issuer must not share one.
fn rand_serial() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// A server that runs until the test ends.
pub struct Server {
    pub port: u16,
    answer: Arc<Mutex<Answer>>,
    /// The request lines with the Authorization header, if any.
    pub requests: Arc<Requests>,
    /// How many connections were accepted.
    pub connections: Arc<Mutex<usize>>,
}

impl Server {
    /// Serves with a certificate and the intermediate ones that lead to its authority.
    pub fn start(identity: &Identity, intermediates: &[&Identity], answer: Answer) -> Self {
        Self::start_on([127, 0, 0, 1].into(), identity, intermediates, answer)
    }

    /// The same on another address of this machine than the loopback interface's.
    pub fn start_on(
        address: IpAddr,
        identity: &Identity,
        intermediates: &[&Identity],
        answer: Answer,
    ) -> Self {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&identity.certificate).unwrap();
        acceptor.set_private_key(&identity.key).unwrap();
        for intermediate in intermediates {
            acceptor.add_extra_chain_cert(intermediate.certificate.clone()).unwrap();
        }
        let acceptor = acceptor.build();
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let answer = Arc::new(Mutex::new(answer));
        let server = Self {
            port,
            answer: Arc::clone(&answer),
            requests: Arc::clone(&requests),
            connections: Arc::clone(&connections),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                *connections.lock().unwrap() += 1;
                let (acceptor, requests) = (acceptor.clone(), Arc::clone(&requests));
                let answer = answer.lock().unwrap().clone();
                thread::spawn(move || {
                    // A client that refuses the certificate or goes away is part of the tests.
                    let _ = serve(stream?, &acceptor, &answer, &requests);
                    std::io::Result::Ok(())
                });
            }
        });
        server
    }

    /// Answers connections from now on in another way.
    pub fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn requests(&self) -> Vec<(String, Option<String>)> {
        self.requests.lock().unwrap().clone()
    }
}

type Requests = Mutex<Vec<(String, Option<String>)>>;

fn serve(
    stream: TcpStream,
    acceptor: &SslAcceptor,
    answer: &Answer,
    requests: &Requests,
) -> std::io::Result<()> {
    if matches!(answer, Answer::HangUp) {
        return Ok(());
    }
    if matches!(answer, Answer::SilentBeforeTls) {
        thread::sleep(Duration::from_mins(1));
        return Ok(());
    }
    let Ok(stream) = acceptor.accept(stream) else { return Ok(()) };
    let mut stream = BufReader::new(stream);
    while let Some(request) = Request::read(&mut stream)? {
        requests.lock().unwrap().push((request.line.clone(), request.authorization.clone()));
        respond(stream.get_mut(), &request, answer)?;
        if request.is_last {
            let _ = stream.get_mut().shutdown();
            break;
        }
    }
    Ok(())
}

fn respond(stream: &mut SslStream<TcpStream>, request: &Request, answer: &Answer) -> std::io::Result<()> {
    match answer {
        Answer::Git { root, token } => {
            let expected =
                token.map(|token| format!("Basic {}", STANDARD.encode(format!("x-access-token:{token}"))));
            if expected.is_some() && request.authorization != expected {
                let header = "WWW-Authenticate: Basic realm=\"git\"\r\n";
                return write(stream, "401 Unauthorized", header, b"no");
            }
            let (status, headers, body) = cgi(root, request);
            write(stream, &status, &headers, &body)
        }
        Answer::CutPack { root } => {
            let (status, headers, mut body) = cgi(root, request);
            if request.line.starts_with("POST") {
                // The chunk with the end of the pack is lost, the end of the conversation is not.
                body.truncate(body.len() / 2);
            }
            write(stream, &status, &headers, &body)
        }
        Answer::Html => {
            write(stream, "200 OK", "Content-Type: text/html; charset=utf-8\r\n", b"<h1>Sign in</h1>")
        }
        Answer::Status(status) => {
            write(stream, &format!("{status} Status"), "Content-Type: text/plain\r\n", b"x")
        }
        Answer::Redirect(target) => {
            let path = request.line.split(' ').nth(1).unwrap();
            write(stream, "302 Found", &format!("Location: {target}{path}\r\n"), b"")
        }
        Answer::Moved { from, root } => {
            if let Some(path) = request.line.split(' ').nth(1).unwrap().strip_prefix(from.as_str()) {
                return write(stream, "301 Moved", &format!("Location: {path}\r\n"), b"");
            }
            let (status, headers, body) = cgi(root, request);
            write(stream, &status, &headers, &body)
        }
        Answer::Slow { root, delay } => {
            thread::sleep(*delay);
            let (status, headers, body) = cgi(root, request);
            write(stream, &status, &headers, &body)
        }
        Answer::HangUp => Ok(()),
        Answer::SilentBeforeTls | Answer::SilentAfterRequest => {
            thread::sleep(Duration::from_mins(1));
            Ok(())
        }
        Answer::Dripping => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Drip: ")?;
            loop {
                stream.write_all(b"x")?;
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn write(stream: &mut SslStream<TcpStream>, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    stream.flush()
}

/// Runs `git http-backend` and returns the status, the other headers and the body.
fn cgi(root: &Path, request: &Request) -> (String, String, Vec<u8>) {
    let mut words = request.line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .envs([("GIT_PROJECT_ROOT", root.to_str().unwrap()), ("GIT_HTTP_EXPORT_ALL", "1")])
        .envs([("REQUEST_METHOD", method), ("PATH_INFO", path), ("QUERY_STRING", query)])
        .envs([("CONTENT_TYPE", request.content_type.as_str()), ("REMOTE_USER", "test")])
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = request.body.clone();
    let writer = thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().unwrap().stdout;
    let _ = writer.join();
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut status = "200 OK".to_owned();
    let mut headers = String::new();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        match line.strip_prefix("Status: ") {
            Some(other) => other.clone_into(&mut status),
            None => headers.extend([line, "\r\n"]),
        }
    }
    (status, headers, output[end + 4..].to_vec())
}

struct Request {
    line: String,
    authorization: Option<String>,
    content_type: String,
    is_last: bool,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &mut BufReader<SslStream<TcpStream>>) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let (mut authorization, mut content_type, mut length, mut is_last) = (None, String::new(), 0, false);
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let header = header.trim_end();
            let Some((name, value)) = header.split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => authorization = Some(value.to_owned()),
                "connection" => is_last = value == "close",
                "content-type" => value.clone_into(&mut content_type),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Some(Self { line: line.trim_end().to_owned(), authorization, content_type, is_last, body }))
    }
}
