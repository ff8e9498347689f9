//! A journal that can't be written stops nothing: stores go on, people are told, and what happened meanwhile is written down
//! once when it is back.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use common::daemon::{Daemon, binary};
use common::postgres::{PASSWORD, Postgres};
use common::{World, until};
use serde_json::Value;
use sqlx::Connection as _;

/// Runs a command over the journal and returns whether it went well, and what it printed.
fn journal(world: &World, verb: &str, more: &[&str]) -> (bool, String) {
    let output = Command::new(binary())
        .args(["journal", verb, "--state-folder"])
        .arg(world.folder.path().join("state"))
        .args(more)
        .env_remove("STOREKEEPER_JOURNAL_URL")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), text)
}

/// Returns how often a store is told to be READY.
fn times_ready(world: &World, store: &str, more: &[&str]) -> usize {
    let (read, text) = journal(world, "export", more);
    if !read {
        return 0;
    }
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["store"] == store && event["state"] == "READY").count()
}

/// Makes a store while the journal is away, and returns what the fleet's report says of that.
fn go_on_without(world: &World, daemon: &Daemon, name: &str) -> String {
    world.write_store(name, name);
    world.repository.push(name);
    world.until_state(daemon, name, "READY");
    let said = until("the fleet's report says that the journal is away", || {
        daemon.fleet()["journal"].as_str().map(str::to_owned)
    });
    until("the metrics say so too", || (daemon.metric("storekeeper_journal_up") < 1.0).then_some(()));
    assert!(daemon.metric("storekeeper_journal_backlog") > 0.0);
    let (_, page) = daemon.get("/");
    assert!(page.contains("The journal is not written"), "{page}");
    said
}

/// Waits until the journal is back with all that happened, once.
fn until_back(world: &World, daemon: &Daemon, names: &[&str], more: &[&str]) {
    until("nothing waits to be written", || {
        let up = daemon.metric("storekeeper_journal_up") > 0.0;
        (up && daemon.metric("storekeeper_journal_backlog") < 1.0).then_some(())
    });
    until("nothing is said of it any more", || daemon.fleet()["journal"].is_null().then_some(()));
    for name in names {
        assert_eq!(times_ready(world, &world.store(name), more), 1, "{name}");
    }
    assert!(daemon.metric("storekeeper_journal_events_lost_total") < 1.0);
    let (whole, said) = journal(world, "verify", more);
    assert!(whole, "{said}");
}

fn file(world: &World) -> PathBuf {
    world.folder.path().join("state/journal.db")
}

/// Waits until a store's READY is written down.
fn until_written(world: &World, name: &str, more: &[&str]) {
    let store = world.store(name);
    until("READY is written down", || (times_ready(world, &store, more) == 1).then_some(()));
}

#[test]
fn a_locked_file_is_waited_for() {
    let (world, daemon) = World::with_ready(&["a"]);
    until_written(&world, "a", &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("sqlite://{}", file(&world).display());
    let lock = runtime.block_on(async {
        let mut lock = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut lock).await.unwrap();
        lock
    });
    let said = go_on_without(&world, &daemon, "b");
    assert!(said.contains("locked"), "{said}");
    runtime.block_on(lock.close()).unwrap();
    until_back(&world, &daemon, &["a", "b"], &[]);
}

/// Overwrites the file with garbage from a byte on, while the daemon runs; the file is set aside and a new one begun.
fn overwritten_from(begin: impl Fn(usize) -> usize) {
    let (world, daemon) = World::with_ready(&["a"]);
    until_written(&world, "a", &[]);
    let mut bytes = fs::read(file(&world)).unwrap();
    let begin = begin(bytes.len());
    bytes[begin..].fill(b'x');
    fs::write(file(&world), &bytes).unwrap();
    fs::write(file(&world).with_extension("db-wal"), b"").unwrap();
    world.write_store("b", "b");
    world.repository.push("b");
    world.until_state(&daemon, "b", "READY");
    until_written(&world, "b", &[]);
    until_back(&world, &daemon, &["b"], &[]);
    assert!(file(&world).with_extension("broken").exists());
}

#[test]
fn a_file_that_is_overwritten_with_garbage_is_set_aside() {
    overwritten_from(|_| 0);
}

#[test]
fn a_file_whose_pages_are_damaged_is_set_aside_though_it_can_be_opened() {
    overwritten_from(|length| length / 2);
}

#[test]
fn a_file_that_is_garbage_at_the_start_is_set_aside() {
    let world = World::new();
    fs::create_dir_all(file(&world).parent().unwrap()).unwrap();
    fs::write(file(&world), vec![b'x'; 9999]).unwrap();
    let daemon = world.start_daemon();
    world.write_store("a", "a");
    world.repository.push("a");
    world.until_state(&daemon, "a", "READY");
    until_written(&world, "a", &[]);
    until_back(&world, &daemon, &["a"], &[]);
}

#[test]
fn a_file_that_is_deleted_is_made_anew() {
    let (world, daemon) = World::with_ready(&["a"]);
    until_written(&world, "a", &[]);
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        fs::remove_file(file(&world).with_file_name(name)).unwrap();
    }
    world.write_store("b", "b");
    world.repository.push("b");
    world.until_state(&daemon, "b", "READY");
    until_written(&world, "b", &[]);
    until_back(&world, &daemon, &["b"], &[]);
}

#[test]
fn a_place_where_no_file_can_be_stops_nothing_and_is_tried_again() {
    let world = World::new();
    fs::create_dir_all(file(&world)).unwrap();
    let daemon = world.start_daemon();
    go_on_without(&world, &daemon, "a");
    fs::remove_dir(file(&world)).unwrap();
    until_back(&world, &daemon, &["a"], &[]);
}

/// A small file system of its own, which only root can make.
struct Disk(PathBuf);

impl Disk {
    fn new(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(folder).status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: no file system can be mounted here");
            return None;
        }
        Some(Self(folder.to_owned()))
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let mounted = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(mounted.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Makes a world whose journal is on a disk of its own.
fn with_disk() -> Option<(World, Disk)> {
    let world = World::new();
    let disk = Disk::new(&world.folder.path().join("disk"))?;
    fs::create_dir_all(file(&world).parent().unwrap()).unwrap();
    symlink(disk.0.join("journal.db"), file(&world)).unwrap();
    Some((world, disk))
}

#[test]
fn a_full_disk_is_waited_for() {
    let Some((world, disk)) = with_disk() else { return };
    let daemon = world.start_daemon();
    world.write_store("a", "a");
    world.repository.push("a");
    until_written(&world, "a", &[]);
    // What the journal itself frees is taken at once, too.
    let (filler, fills) = (disk.0.join("filler"), AtomicBool::new(true));
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut filler = fs::OpenOptions::new().create(true).append(true).open(&filler).unwrap();
            while fills.load(Ordering::Relaxed) {
                if filler.write(&[0; 4096]).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        // A thread that fills for ever would hide what failed.
        let said = std::panic::catch_unwind(AssertUnwindSafe(|| go_on_without(&world, &daemon, "b")));
        fills.store(false, Ordering::Relaxed);
        said.unwrap()
    });
    assert!(said.contains("full") || said.contains("disk I/O error"), "{said}");
    fs::remove_file(filler).unwrap();
    until_back(&world, &daemon, &["a", "b"], &[]);
}

#[test]
fn a_read_only_disk_is_waited_for() {
    let Some((world, disk)) = with_disk() else { return };
    let daemon = world.start_daemon();
    world.write_store("a", "a");
    world.repository.push("a");
    until_written(&world, "a", &[]);
    assert!(daemon.terminate().0.success());
    disk.remount("ro");
    let daemon = world.start_daemon();
    let said = go_on_without(&world, &daemon, "b");
    assert!(said.contains("open the journal"), "{said}");
    disk.remount("rw");
    until_back(&world, &daemon, &["a", "b"], &[]);
}

#[test]
fn a_database_that_goes_away_and_comes_back_misses_nothing_and_its_password_is_in_no_log() {
    let Some(mut server) = Postgres::start() else { return };
    let world = World::new();
    let secret = world.folder.path().join("journal-url");
    fs::write(&secret, format!("{}\n", server.database())).unwrap();
    let (url, more) = (world.repository.url(), ["--journal-url-file", secret.to_str().unwrap()]);
    let start = || {
        let arguments = [&["--probe", "objects"][..], &more].concat();
        let kubeconfig = &world.cluster.kubeconfig;
        Daemon::start_on("127.0.0.1:0", world.folder.path(), &url, &world.source, kubeconfig, &arguments)
    };
    let daemon = start();
    world.write_store("a", "a");
    let commit = world.repository.push("a");
    world.until_state(&daemon, "a", "READY");
    until_written(&world, "a", &more);
    server.stop();
    let said = go_on_without(&world, &daemon, "b");
    server.go_on();
    until_back(&world, &daemon, &["a", "b"], &more);
    // A start while it is away.
    let log = fs::read_to_string(&daemon.log).unwrap();
    drop(daemon);
    server.stop();
    let daemon = start();
    let again = go_on_without(&world, &daemon, "c");
    let first = world.store("a");
    let page = || daemon.get(&format!("/stores/{first}")).1;
    assert!(page().contains("Older events can't be had now"), "{}", page());
    let verdict = || daemon.get(&format!("/api/v1/commits/{commit}")).1;
    assert!(!verdict().contains("success"), "{}", verdict());
    server.go_on();
    until_back(&world, &daemon, &["a", "b", "c"], &more);
    until("what happened before it began is shown again", || {
        let page = page();
        (page.contains("File added") && !page.contains("Older events can't be had now")).then_some(())
    });
    until("what became of earlier commits too", || verdict().contains("success").then_some(()));
    assert!(!file(&world).exists(), "there is one journal");
    for text in [said, again, log, fs::read_to_string(&daemon.log).unwrap()] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}
