//! The page and the API: how many times a second one core lists a fleet, how long a page takes, and what it weighs.
//!
//! The server has one thread of its own, and what counts is that thread's processor time: whoever asks shares the machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storekeeper::report::{Event, EventKind, Origin, StoreReport, StoreState};
use storekeeper::web::serve;

use super::browser::Driver;
use super::figures::rounded;
use super::process;
use super::showroom::{NOW, Showroom};

/// How long one kind of request is repeated.
const SPELL: Duration = Duration::from_secs(3);

/// How many connections ask.
const CLIENTS: usize = 4;

/// How many stores there are.
const SIZES: [usize; 2] = [1_000, 10_000];

/// Measures both sizes.
pub fn measure() -> Value {
    let sizes: serde_json::Map<_, _> =
        SIZES.into_iter().map(|size| (size.to_string(), measure_size(size))).collect();
    Value::Object(sizes)
}

fn measure_size(size: usize) -> Value {
    let showroom = fill(size);
    let server = Server::start(&showroom);
    let list = format!("/api/v1/stores?limit={size}");
    let tag = server.ask(&list, "").header("etag").to_owned();
    let page = server.ask("/", "");
    let weight = |path: &str| {
        let (plain, packed) = (server.ask(path, ""), server.ask(path, GZIP));
        json!({ "bytes": plain.length, "gzip_bytes": packed.length })
    };
    let assets = page.text.split('"').filter(|part| part.starts_with("./assets/") && part.contains('-'));
    let assets: serde_json::Map<_, _> = assets.map(|path| (path.to_owned(), weight(&path[1..]))).collect();
    let figures = json!({
        "list_gzip": server.load(&list, GZIP),
        "list_plain": server.load(&list, ""),
        "list_known": server.load(&list, &format!("if-none-match: {tag}\r\n")),
        "one_store": server.load("/api/v1/stores/s00007", ""),
        "fleet_page": server.load("/", GZIP),
        "store_page": server.load("/stores/s00007", GZIP),
        "metrics": server.load("/metrics", GZIP),
        "fleet_page_weight": weight("/"),
        "list_weight": weight(&list),
        "assets": assets,
        "browser": in_browser(server.address),
    });
    drop(server);
    figures
}

const GZIP: &str = "accept-encoding: gzip\r\n";

/// Loads the fleet's page in a real browser ten times: how long until it is drawn and until all of it is there, in
/// milliseconds. Null without a browser.
fn in_browser(address: SocketAddr) -> Value {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|it| it.join("chromedriver")).find(|it| it.exists());
    let Some(chromedriver) = found else { return Value::Null };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let driver = Driver::start(&chromedriver);
    runtime.block_on(async {
        let browser = driver.open(&[]).await;
        let (mut drawn, mut loaded) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            browser.goto(&format!("http://{address}/")).await.unwrap();
            let script = "const paint = performance.getEntriesByName('first-contentful-paint')[0]; \
                          const load = performance.getEntriesByType('navigation')[0]; \
                          return [paint ? paint.startTime : null, load.loadEventEnd]";
            let times = browser.execute(script, Vec::new()).await.unwrap();
            drawn.extend(times[0].as_f64());
            loaded.extend(times[1].as_f64());
        }
        browser.close().await.unwrap();
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().map_or(Value::Null, rounded)
        };
        json!({ "first_paint_ms": median(drawn), "loaded_ms": median(loaded) })
    })
}

/// A fleet of which everything usual is known.
fn fill(size: usize) -> Showroom {
    let showroom = Showroom::new();
    let revision = |at: usize| format!("{at:08x}").repeat(5);
    let store = |at: usize| {
        let name = format!("s{at:05}");
        let mut report = StoreReport::new(name.parse().unwrap(), NOW - 90_000);
        report.enter(StoreState::Ready, "a shopper can buy".to_owned(), NOW - 60);
        report.display_name = Some(format!("Store number {at}"));
        report.url = Some(format!("https://{name}.shops.example.com/"));
        report.revision = Some(revision(7));
        report.applied_revision = Some(revision(at));
        (report.created, report.answered) = (Some(NOW - 90_000), Some(NOW - 5));
        let (revision, author) = (revision(at), "Ada Lovelace".to_owned());
        report.origin = Some(Origin { revision, author, signer: None, pull: Some(7) });
        report
    };
    showroom.board.update(|picture| {
        picture.fleet.ready = true;
        picture.stores = (0..size).map(store).collect();
    });
    for at in 0..20 {
        let event = Event::new(
            NOW - 60 + at,
            EventKind::Applied,
            Some("s00007".parse().unwrap()),
            "32 steps are done",
        );
        showroom.history.push(event);
    }
    showroom
}

/// Our own server, on one thread.
struct Server {
    address: SocketAddr,
    thread: u32,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    serving: Option<std::thread::JoinHandle<()>>,
}

/// An answer.
struct Answer {
    head: String,
    length: usize,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_default().trim()
    }
}

impl Server {
    fn start(showroom: &Showroom) -> Self {
        let (router, door) = (showroom.router(), showroom.door());
        let (said, heard) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                said.send((listener.local_addr().unwrap(), process::this_thread())).unwrap();
                serve(listener, door.guard(router), door, async { _ = stopped.await }).await;
            });
        });
        let (address, thread) = heard.recv().unwrap();
        Self { address, thread, stop: Some(stop), serving: Some(serving) }
    }

    fn ask(&self, path: &str, headers: &str) -> Answer {
        Client::new(self.address).ask(path, headers, true)
    }

    /// Repeats a request over several connections, and tells how many a second of the server's own processor time makes.
    fn load(&self, path: &str, headers: &str) -> Value {
        self.ask(path, headers);
        let (cpu, begun) = (process::thread_cpu_seconds(self.thread), Instant::now());
        let clients = (0..CLIENTS).map(|_| {
            let (address, path, headers) = (self.address, path.to_owned(), headers.to_owned());
            std::thread::spawn(move || {
                let (mut client, mut times) = (Client::new(address), Vec::new());
                while begun.elapsed() < SPELL {
                    let asked = Instant::now();
                    client.ask(&path, &headers, false);
                    times.push(asked.elapsed().as_secs_f64() * 1_000.0);
                }
                times
            })
        });
        let clients: Vec<_> = clients.collect();
        let mut times: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let (took, cpu) = (begun.elapsed().as_secs_f64(), process::thread_cpu_seconds(self.thread) - cpu);
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        let count = times.len() as f64;
        json!({
            "per_core_second": rounded(count / cpu),
            "per_second": rounded(count / took),
            "p50_ms": rounded(at(50)),
            "p99_ms": rounded(at(99)),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::with_capacity(256 << 10, stream))
    }

    fn ask(&mut self, path: &str, headers: &str, keep: bool) -> Answer {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nhost: bench\r\naccept: */*\r\n{headers}\r\n")
            .unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).unwrap(), 0, "the connection ended: {head}");
        }
        let of = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let mut body = Vec::new();
        if of("transfer-encoding:").is_some() {
            loop {
                let mut line = String::new();
                self.0.read_line(&mut line).unwrap();
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                let begin = body.len();
                body.resize(begin + size, 0);
                self.0.read_exact(&mut body[begin..]).unwrap();
                self.0.read_line(&mut line).unwrap();
                if size == 0 {
                    break;
                }
            }
        } else {
            body.resize(of("content-length:").map_or(0, |length| length.parse().unwrap()), 0);
            self.0.read_exact(&mut body).unwrap();
        }
        let text = if keep { String::from_utf8_lossy(&body).into_owned() } else { String::new() };
        Answer { head, length: body.len(), text }
    }
}
