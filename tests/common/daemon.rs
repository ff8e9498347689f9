//! The daemon as users run it: the built binary, a child process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::until;

pub struct Daemon {
    child: Child,
    pub address: String,
    pub log: PathBuf,
}

impl Daemon {
    /// Starts the binary on a free port and waits until it listens. Objects alone make stores READY: behind a
    /// simulated node no shop answers.
    pub fn start(folder: &Path, repository: &str, source: &str, kubeconfig: &Path) -> Self {
        let more = ["--probe", "objects"];
        Self::start_on("127.0.0.1:0", folder, repository, source, kubeconfig, &more)
    }

    /// Starts the binary on an address, with more arguments, and waits until it listens.
    pub fn start_on(
        listen: &str,
        folder: &Path,
        repository: &str,
        source: &str,
        kubeconfig: &Path,
        more: &[&str],
    ) -> Self {
        Self::start_with(listen, folder, repository, source, kubeconfig, more, &[])
    }

    /// The same, with more variables in its environment.
    pub fn start_with(
        listen: &str,
        folder: &Path,
        repository: &str,
        source: &str,
        kubeconfig: &Path,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let log = folder.join(format!("daemon-{}.log", unique()));
        let child = Command::new(binary())
            .args(["run", "--listen", listen, "--repository", repository, "--source", source])
            .args(more)
            .arg("--state-folder")
            .arg(folder.join("state"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .env("STOREKEEPER_LOG", "info")
            // Tests look as often as they can; those of the door say how often one may.
            .env("STOREKEEPER_RATE_PER_CLIENT", "0")
            .env("STOREKEEPER_RATE_TOTAL", "0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, address: String::new(), log };
        daemon.address = until("the daemon listens", || {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended before it listened, with {}", ended.unwrap());
            daemon.lines().find_map(|line| line["address"].as_str().map(str::to_owned))
        });
        daemon
    }

    /// Returns the log as it stands, a JSON value a line.
    pub fn lines(&self) -> impl Iterator<Item = Value> + use<> {
        lines(&self.log)
    }

    /// Waits until the log holds a line that this accepts.
    pub fn until_logged(&self, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.lines().find(|line| accept(line)))
    }

    /// Returns the state of a store as the API shows it; none when it does not know the store.
    pub fn store(&self, name: &str) -> Option<Value> {
        let (status, body) = self.get(&format!("/api/v1/stores/{name}"));
        (status == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    /// Returns what the API says of the fleet.
    pub fn fleet(&self) -> Value {
        let (status, body) = self.get("/api/v1/stores");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["fleet"].clone()
    }

    /// Returns the value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no metric {name}")).parse().unwrap()
    }

    /// Sends a GET and returns status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(&self.address, path).unwrap()
    }

    /// Returns the id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process at once, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to end and waits for it.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        let status = until("the daemon ends", || self.child.try_wait().unwrap());
        (status, begun.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let from = text.len().saturating_sub(6000);
            eprintln!("the daemon's log ended:\n{}", text.get(from..).unwrap_or(&text));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a GET to an address and returns status and body; none when there is no whole answer.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Returns a log as it stands, a JSON value a line.
pub fn lines(log: &Path) -> impl Iterator<Item = Value> + use<> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    lines.into_iter()
}

/// The binary under test: Cargo's for tests, the Makefile's for the demo.
pub fn binary() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_storekeeper") {
        Some(path) => PathBuf::from(path),
        None => super::required_path("STOREKEEPER_BINARY"),
    }
}

fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}
