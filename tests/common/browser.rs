//! A real browser: headless Chromium, driven by `WebDriver`.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};

/// How long a browser may take to start, or what is waited for to happen.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// `ChromeDriver` on a port of its own; it ends with this.
pub struct Driver {
    process: Child,
    address: String,
    /// What browsers leave behind goes with it.
    _folder: tempfile::TempDir,
}

impl Driver {
    /// Starts it.
    pub fn start(chromedriver: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(chromedriver);
        command.arg(format!("--port={port}")).env("TMPDIR", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().unwrap();
        Self { process, address: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    /// Opens a headless browser with further arguments.
    pub async fn open(&self, more: &[&str]) -> Client {
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            "--hide-scrollbars",
        ];
        let arguments = [&arguments[..], more].concat();
        let options = json!({"goog:chromeOptions": {"args": arguments}});
        let begun = Instant::now();
        loop {
            let capabilities = options.as_object().unwrap().clone();
            match ClientBuilder::native().capabilities(capabilities).connect(&self.address).await {
                Ok(client) => return client,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "the browser does not start: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Runs a script and returns what it says.
pub async fn run(browser: &Client, script: &str) -> Value {
    browser.execute(script, Vec::new()).await.unwrap()
}

/// Waits until a script says something else than null or false.
pub async fn until(browser: &Client, what: &str, script: &str) -> Value {
    let begun = Instant::now();
    loop {
        let found = run(browser, script).await;
        if !matches!(found, Value::Null | Value::Bool(false)) {
            return found;
        }
        if begun.elapsed() > PATIENCE {
            let page = browser.source().await.unwrap();
            panic!("{what}: not within {} s: {page}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
