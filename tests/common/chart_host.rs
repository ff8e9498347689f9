//! A small HTTP server on the loopback interface for charts: it keeps every request, and misbehaves as told.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// With its query.
    pub path: String,
    /// By lower-case names.
    pub headers: BTreeMap<String, String>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    Body(Vec<u8>),
    /// A status with further header lines.
    Status(u16, String),
    /// The head is for ever on its way.
    EndlessHead,
    /// The body has no end, and no length.
    EndlessBody,
    /// The body is said to be this long.
    Claims(u64),
    Silence,
    HangUp,
}

impl Reply {
    pub fn redirect(target: &str) -> Self {
        Self::Status(302, format!("location: {target}\r\n"))
    }
}

type Answers = dyn Fn(&Request) -> Reply + Send + Sync;

/// The server. Its threads end with the process.
#[derive(Clone)]
pub struct Host {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Host {
    pub fn start(answers: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Self { port: listener.local_addr().unwrap().port(), requests: Arc::default() };
        let (requests, answers): (_, Arc<Answers>) = (Arc::clone(&host.requests), Arc::new(answers));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, answers) = (Arc::clone(&requests), Arc::clone(&answers));
                // A client that goes away is part of the tests.
                thread::spawn(move || serve(stream, &*answers, &requests));
            }
        });
        host
    }

    /// Serves files by their paths, and 404 for all others.
    pub fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self::start(move |request| {
            let found = files.get(&request.path).cloned();
            found.map_or_else(|| Reply::Status(404, String::new()), Reply::Body)
        })
    }

    /// Returns the address after the scheme.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }
}

fn serve(stream: TcpStream, answers: &Answers, requests: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let request = Request { path: line.split(' ').nth(1).unwrap_or_default().to_owned(), headers };
        requests.lock().unwrap().push(request.clone());
        reply(stream.get_mut(), answers(&request))?;
    }
}

fn reply(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Body(body) => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)
        }
        Reply::Status(status, headers) => {
            write!(stream, "HTTP/1.1 {status} Status\r\n{headers}content-length: 0\r\n\r\n")
        }
        Reply::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                stream.write_all(b"x-drip: drop\r\n")?;
            }
        }
        Reply::EndlessBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 4096])?;
            }
        }
        Reply::Claims(length) => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
            thread::sleep(Duration::from_mins(1));
            Ok(())
        }
        Reply::Silence => {
            thread::sleep(Duration::from_mins(1));
            Ok(())
        }
        Reply::HangUp => Err(std::io::ErrorKind::ConnectionReset.into()),
    }
}
