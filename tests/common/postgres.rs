//! A PostgreSQL server of Debian's on a free port of the loopback, which can be stopped and started again.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::until;

/// The user whom the server runs as where tests run as root: it refuses root.
const NOBODY: u32 = 65534;

/// What no message may show.
pub const PASSWORD: &str = "hunter2-of-the-journal";

pub struct Postgres {
    folder: TempDir,
    binaries: PathBuf,
    pub port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// Starts a server; none where PostgreSQL is not installed, which is said.
    pub fn start() -> Option<Self> {
        let Some(binaries) = super::programs::postgres(&["initdb", "postgres", "psql"]) else {
            eprintln!("SKIPPED: no PostgreSQL server found (Debian: apt-get install postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            chown(folder.path().join("password"), Some(NOBODY), None).unwrap();
        }
        let mut server = Self { folder, binaries, port, server: None };
        let made = server
            .unprivileged("initdb")
            .args([
                "--username=journal",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg(format!("--pwfile={}", server.folder.path().join("password").display()))
            .arg(server.folder.path().join("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.go_on();
        Some(server)
    }

    /// Starts the server again after [`Postgres::stop`].
    pub fn go_on(&mut self) {
        let server = self
            .unprivileged("postgres")
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args([
                "-p",
                &self.port.to_string(),
                "-k",
                "",
                "-c",
                "fsync=off",
                "-c",
                "listen_addresses=127.0.0.1",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.server = Some(server);
        until("the database answers", || self.psql("postgres", "SELECT 1").ok());
    }

    /// Stops the server at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let quit = Command::new("kill").args(["-QUIT", &server.id().to_string()]).status().unwrap();
            assert!(quit.success());
            server.wait().unwrap();
        }
    }

    /// Has the server show this certificate from now on, with this key, and let nobody in without TLS.
    pub fn demand_tls(&mut self, certificate: &[u8], key: &[u8]) {
        self.stop();
        let data = self.folder.path().join("data");
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let path = data.join(name);
            fs::write(&path, pem).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        fs::write(data.join("postgresql.auto.conf"), "ssl = on\n").unwrap();
        fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        self.go_on();
    }

    /// Makes a database and returns its URL.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("journal{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        format!("postgres://journal:{PASSWORD}@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs a statement and returns what it prints.
    pub fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        let output = Command::new(self.binaries.join("psql"))
            .args(["-qtAX", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "journal"])
            .args(["-d", database, "-c", statement])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn unprivileged(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = if is_root() { Command::new("setpriv") } else { Command::new(&program) };
        if is_root() {
            let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
            command.args(ids).arg(&program);
        }
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = Command::new("kill").args(["-QUIT", &server.id().to_string()]).status();
            let _ = server.wait();
        }
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
