//! Promise: the chart's backup and restore scripts lose no order: on a real PostgreSQL, killed, with broken dumps, with a
//! full shop while they run, and on S3.
//!
//! Needs PostgreSQL 15 or newer, client and server (Debian: postgresql), and rclone for S3. What is missing is said on
//! standard error, and its tests pass without having run.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/fake_bucket.rs"]
mod fake_bucket;
#[path = "common/programs.rs"]
mod programs;

use std::cell::Cell;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fake_bucket::FakeBucket;
use tempfile::TempDir;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/medusa-store/files");
const PATIENCE: Duration = Duration::from_mins(1);
/// The user nobody: a server refuses to run as root.
const NOBODY: u32 = 65534;

/// Returns a shop's surroundings, or says why there are none here.
macro_rules! shop {
    () => {
        match programs::postgres(&["initdb", "postgres", "pg_dump"]) {
            Some(binaries) => Shop::open(binaries),
            None => {
                eprintln!("SKIPPED: no PostgreSQL server found (Debian: apt-get install postgresql)");
                return;
            }
        }
    };
}

#[test]
fn a_backup_is_whole_and_a_restore_brings_its_orders_back() {
    let shop = shop!();
    shop.order(1);
    let (good, printed) = shop.backup(&[]);
    assert!(good, "{printed}");
    let dumps = shop.dumps();
    assert_eq!(dumps.len(), 1, "{dumps:?}");
    assert!(dumps[0].starts_with("acme-20") && dumps[0].ends_with("Z.dump"), "{dumps:?}");
    assert_eq!(shop.hidden(), Vec::<String>::new());
    shop.order(2);

    let (good, printed) = shop.restore(&dumps[0], "11111111", &[]);
    assert!(good, "{printed}");
    assert_eq!(shop.orders("medusa"), ["1"]);
    assert_eq!(shop.orders("medusa_before_11111111"), ["1", "2"]);
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'medusa'";
    assert_eq!(shop.superuser("postgres", owner), "medusa");
    let table = "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'";
    assert_eq!(shop.superuser("medusa", table), "medusa");
    assert!(shop.psql("medusa", "CREATE TABLE migrated ()").status.success(), "the store can migrate on");
}

#[test]
fn a_restore_happens_once_whatever_runs_again_and_again_when_asked() {
    let shop = shop!();
    shop.order(1);
    let file = shop.backed_up();
    shop.restored(&file, "11111111");
    shop.order(2);
    let (good, printed) = shop.restore(&file, "11111111", &[]);
    assert!(good && printed.contains("was restored before"), "{printed}");
    assert_eq!(shop.orders("medusa"), ["1", "2"]);

    shop.restored(&file, "22222222");
    assert_eq!(shop.orders("medusa"), ["1"]);
    shop.order(3);
    // A revert in git to the first setting is no new request.
    let (good, printed) = shop.restore(&file, "11111111", &[]);
    assert!(good && printed.contains("was restored before"), "{printed}");
    assert_eq!(shop.orders("medusa"), ["1", "3"]);
}

#[test]
fn clients_that_come_back_at_once_do_not_stop_the_swap() {
    let shop = shop!();
    shop.order(1);
    let file = shop.backed_up();
    let script = "while :; do psql -qtA -d medusa -c 'SELECT pg_sleep(0.02)' >/dev/null 2>&1; done";
    let mut clients: Vec<_> = (0..4).map(|_| shop.start("sh", &["-c", script], &login())).collect();
    let mut session = shop.start("psql", &["-d", "medusa", "-c", "SELECT pg_sleep(600)"], &login());
    shop.until("the long session runs", || {
        shop.superuser("postgres", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(600)'")
            != "0"
    });
    shop.restored(&file, "11111111");
    assert!(!session.wait().unwrap().success(), "the session in the replaced database was ended");
    for client in &mut clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    assert_eq!(shop.orders("medusa"), ["1"]);
}

#[test]
fn two_restores_at_once_swap_once() {
    let shop = shop!();
    shop.order(1);
    let file = shop.backed_up();
    let settings = shop.restore_settings(&file, "11111111");
    let both: Vec<_> = (0..2).map(|_| shop.script("restore.sh", &settings)).collect();
    let outputs: Vec<_> = both.into_iter().map(|child| finish(&child.wait_with_output().unwrap())).collect();
    assert!(outputs.iter().all(|(good, _)| *good), "{outputs:?}");
    let idle = outputs.iter().filter(|(_, printed)| printed.contains("was restored before")).count();
    assert_eq!(idle, 1, "{outputs:?}");
    assert_eq!(shop.databases(), ["medusa", "medusa_before_11111111"]);
}

#[test]
fn a_broken_dump_leaves_the_running_database_untouched() {
    let shop = shop!();
    shop.order(1);
    shop.psql("medusa", "INSERT INTO filler SELECT md5(i::text) FROM generate_series(1, 20000) i");
    let whole = fs::read(shop.backups().join(shop.backed_up())).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() * 2 / 3;
    flipped[middle] ^= 0xff;
    let broken: [(&str, &[u8]); 4] = [
        ("cut.dump", &whole[..whole.len() / 2]),
        ("short.dump", &whole[..whole.len() - 10]),
        ("flipped.dump", &flipped),
        ("text.dump", b"SELECT 1;\n"),
    ];
    for (name, content) in broken {
        fs::write(shop.backups().join(name), content).unwrap();
        let (good, printed) = shop.restore(name, "11111111", &[]);
        assert!(!good, "{name}: {printed}");
        assert!(printed.contains("is not a whole dump: nothing was changed"), "{name}: {printed}");
    }
    assert_eq!(shop.orders("medusa"), ["1"]);
    assert_eq!(shop.databases(), ["medusa"]);
}

#[test]
fn a_dump_cannot_do_more_than_the_store_itself() {
    let shop = shop!();
    shop.order(1);
    // Only a superuser may create this extension, and the dump asks for it.
    shop.superuser("medusa", "CREATE EXTENSION file_fdw");
    let file = shop.backed_up();
    shop.superuser("medusa", "DROP EXTENSION file_fdw");
    let (good, printed) = shop.restore(&file, "11111111", &[]);
    assert!(!good && printed.contains("the running database is untouched"), "{printed}");
    assert!(printed.contains("permission denied to create extension"), "{printed}");
    assert_eq!(shop.databases(), ["medusa"]);
    assert_eq!(shop.orders("medusa"), ["1"]);
}

#[test]
fn a_restore_that_is_killed_starts_anew() {
    let shop = shop!();
    shop.order(1);
    let file = shop.backed_up();
    shop.order(2);
    // Hangs in the middle: the list and the check pass, the filling does not end.
    shop.shim(
        "pg_restore",
        "case $* in *--dbname=*) exec sleep 600 ;; esac\nexec \"$REAL/pg_restore\" \"$@\"",
    );
    for signal in ["TERM", "KILL"] {
        let mut child = shop.script("restore.sh", &shop.restore_settings(&file, "11111111"));
        shop.until("the fresh database is there", || shop.databases().len() == 2);
        send(signal, &child);
        let status = child.wait().unwrap();
        assert!(!status.success());
        shop.end_sleepers();
        if signal == "TERM" {
            assert_eq!(status.code(), Some(143));
            assert_eq!(shop.databases(), ["medusa"]);
        }
        assert_eq!(shop.orders("medusa"), ["1", "2"]);
    }
    fs::remove_file(shop.shims().join("pg_restore")).unwrap();
    shop.restored(&file, "11111111");
    assert_eq!(shop.orders("medusa"), ["1"]);
    assert_eq!(shop.databases(), ["medusa", "medusa_before_11111111"]);
}

#[test]
fn a_restore_waits_for_its_file_and_says_what_to_do() {
    let shop = shop!();
    shop.order(1);
    let file = shop.backed_up();
    shop.order(2);
    fs::rename(shop.backups().join(&file), shop.backups().join(".incoming")).unwrap();
    let log = shop.folder.path().join("log");
    let mut settings = shop.restore_settings(&file, "11111111");
    settings.push(("LOG".to_owned(), log.to_str().unwrap().to_owned()));
    let mut child = shop.start("sh", &["-c", &format!("exec sh {SCRIPTS}/restore.sh >$LOG 2>&1")], &settings);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    shop.until("it waits", || said().contains("kubectl"));
    assert!(said().contains("kubectl --namespace store-acme exec --stdin "), "{}", said());
    fs::rename(shop.backups().join(".incoming"), shop.backups().join(&file)).unwrap();
    assert!(child.wait().unwrap().success(), "{}", said());
    assert_eq!(shop.orders("medusa"), ["1"]);
}

/// A backup is called by the second in which it begins.
fn until_the_next_second() {
    std::thread::sleep(Duration::from_secs(1));
}

#[test]
fn rotation_removes_the_oldest_of_its_own_and_nothing_else() {
    let shop = shop!();
    shop.order(1);
    let others =
        ["acme-old.dump", "acme-20200101T000000Z.dump.bak", "bonsai-20200101T000000Z.dump", "notes.txt"];
    let own = ["acme-20200101T000000Z.dump", "acme-20200102T000000Z.dump", "acme-20200103T000000Z.dump"];
    for name in others.iter().chain(&own) {
        fs::write(shop.backups().join(name), "x").unwrap();
    }
    let (good, printed) = shop.backup(&[("BACKUP_KEEP", "2")]);
    assert!(good, "{printed}");
    assert!(printed.contains("removed acme-20200101T000000Z.dump"), "{printed}");
    let left = shop.files();
    assert!(others.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
    assert!(left.contains(&own[2].to_owned()), "{left:?}");
    assert_eq!(left.len(), others.len() + 2, "{left:?}");

    // A clock that was ahead left later names: what was made just now stays all the same.
    for name in ["acme-20990101T000000Z.dump", "acme-20990102T000000Z.dump"] {
        fs::write(shop.backups().join(name), "x").unwrap();
    }
    let before = shop.files();
    until_the_next_second();
    let (good, printed) = shop.backup(&[("BACKUP_KEEP", "1")]);
    assert!(good, "{printed}");
    let new: Vec<_> = shop.files().into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(new.len(), 1, "{printed}");
    let dumps = shop.dumps();
    assert_eq!(dumps.iter().filter(|name| name.starts_with("acme-2")).count(), 1, "{dumps:?}");
    shop.restored(&new[0], "11111111");
}

#[test]
fn the_final_backup_of_a_removed_store_outlives_every_backup_of_a_new_one_of_its_name() {
    let shop = shop!();
    shop.order(1);
    let first = shop.backed_up();
    let (good, printed) = shop.backup(&[("BACKUP_JOB", "final-backup"), ("BACKUP_KEEP", "1")]);
    assert!(good, "{printed}");
    let dumps = shop.dumps();
    assert!(dumps.contains(&first), "it rotates nothing: {dumps:?}");
    let last = dumps.iter().find(|name| **name != first).unwrap();
    assert!(last.starts_with("acme-20") && last.ends_with("Z-final.dump"), "{last}");

    shop.order(2);
    until_the_next_second();
    let (good, printed) = shop.backup(&[("BACKUP_JOB", "backup-29"), ("BACKUP_KEEP", "1")]);
    assert!(good, "{printed}");
    let dumps = shop.dumps();
    assert!(dumps.contains(last) && !dumps.contains(&first), "{dumps:?}");
    shop.restored(last, "11111111");
    assert_eq!(shop.orders("medusa"), ["1"]);
}

#[test]
fn a_backup_that_fails_says_so_and_removes_nothing() {
    let shop = shop!();
    shop.order(1);
    let first = shop.backed_up();
    let (good, printed) = shop.backup(&[("PGPASSWORD", "wrong"), ("BACKUP_KEEP", "1")]);
    assert!(!good, "{printed}");
    assert!(printed.contains("pg_dump failed with exit code 1: no backup was made"), "{printed}");
    let (good, printed) = shop.backup(&[("PGPORT", "1"), ("DATABASE_WAIT_S", "2")]);
    assert!(!good && printed.contains("did not answer within 2 s"), "{printed}");
    // A dump that ends early without an error, such as on a full disk behind a lying file system.
    shop.shim(
        "pg_dump",
        "\"$REAL/pg_dump\" \"$@\"; for last; do :; done; truncate -s -40 \"${last#--file=}\"",
    );
    let (good, printed) = shop.backup(&[("BACKUP_KEEP", "1")]);
    assert!(!good && printed.contains("the dump is not whole: it was thrown away"), "{printed}");
    assert_eq!(shop.files(), [first]);
}

#[test]
fn a_backup_that_is_killed_leaves_nothing_that_looks_like_one() {
    let shop = shop!();
    shop.order(1);
    for signal in ["TERM", "KILL"] {
        // Somebody holds a table, so the dump hangs in the middle.
        let hold = "BEGIN; LOCK TABLE orders; SELECT pg_sleep(600)";
        let mut holder = shop.start("psql", &["-d", "medusa", "-c", hold], &login());
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        shop.until("the table is held", || {
            shop.superuser("postgres", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(600)'")
                != "0"
        });
        let mut child = shop.script("backup.sh", &shop.backup_settings(&[]));
        shop.until("the dump waits for the table", || shop.superuser("postgres", waits) != "0");
        send(signal, &child);
        let status = child.wait().unwrap();
        assert!(!status.success());
        assert_eq!(shop.dumps(), Vec::<String>::new());
        assert_eq!(shop.hidden().len(), usize::from(signal == "KILL"), "{:?}", shop.hidden());
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'medusa'";
        shop.superuser("postgres", end);
        holder.wait().unwrap();
    }
    // What the kill left is removed when no backup can be at it any more.
    let left = shop.backups().join(&shop.hidden()[0]);
    shop.backed_up();
    assert!(left.exists(), "it may belong to a backup that runs");
    assert!(Command::new("touch").args(["-d", "2 hours ago"]).arg(&left).status().unwrap().success());
    shop.backed_up();
    assert!(!left.exists());
}

#[test]
fn a_bucket_is_a_destination_and_a_source() {
    let shop = shop!();
    if Command::new("rclone").arg("version").output().is_err() {
        eprintln!("SKIPPED: no rclone found (Debian: apt-get install rclone)");
        return;
    }
    let bucket = FakeBucket::start("shops");
    let port = bucket.port().to_string();
    let endpoint = format!("http://127.0.0.1:{port}");
    let s3 = [
        ("BACKUP_DESTINATION", "s3"),
        ("S3_BUCKET", "shops"),
        ("S3_REGION", "us-east-1"),
        ("S3_ENDPOINT", &endpoint),
        ("S3_FORCE_PATH_STYLE", "true"),
        ("S3_PREFIX", "dumps/"),
        ("S3_ACCESS_KEY_ID", "key"),
        ("S3_SECRET_ACCESS_KEY", "secret"),
    ];
    shop.order(1);
    for name in ["acme/acme-20200101T000000Z.dump", "acme/notes.txt", "bonsai/bonsai-20200101T000000Z.dump"] {
        bucket.put(&format!("dumps/{name}"), b"x");
    }
    let (good, printed) = shop.backup(&[&s3[..], &[("BACKUP_KEEP", "1")]].concat());
    assert!(good, "{printed}");
    let names = bucket.names();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"dumps/acme/notes.txt".to_owned()), "{names:?}");
    assert!(names.contains(&"dumps/bonsai/bonsai-20200101T000000Z.dump".to_owned()), "{names:?}");
    let file = names.iter().find(|name| name.ends_with("Z.dump") && name.contains("acme")).unwrap();
    let file = file.rsplit('/').next().unwrap();
    assert_eq!(fs::read_dir(shop.work()).unwrap().count(), 0, "the work folder is left clean");

    shop.order(2);
    let (good, printed) = shop.restore(file, "11111111", &s3);
    assert!(good, "{printed}");
    assert_eq!(shop.orders("medusa"), ["1"]);
    // Another store takes it from the first one's folder.
    let elsewhere = [&s3[..], &[("STORE_ID", "bonsai")]].concat();
    let (good, printed) = shop.restore(&format!("acme/{file}"), "22222222", &elsewhere);
    assert!(good, "{printed}");
    let (good, printed) = shop.restore("missing.dump", "33333333", &s3);
    assert!(!good && printed.contains("missing.dump is not there: nothing was changed"), "{printed}");

    bucket.refuse_uploads();
    let (good, printed) = shop.backup(&s3);
    assert!(!good && printed.contains("the upload failed: no backup was made"), "{printed}");
    assert_eq!(bucket.names().len(), 3);
}

#[test]
fn the_scripts_are_posix_shell() {
    for name in ["backup.sh", "create-role.sh", "dump.sh", "restore.sh"] {
        let parsed = Command::new("sh").args(["-n", name]).current_dir(SCRIPTS).status().unwrap();
        assert!(parsed.success(), "{name}");
        let mut check = Command::new("shellcheck");
        check.args(["--external-sources", "--shell=sh", name]).current_dir(SCRIPTS);
        let Ok(checked) = check.output() else {
            eprintln!("SKIPPED: no shellcheck found (Debian: apt-get install shellcheck)");
            return;
        };
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
}

/// A database server with a store's database, and folders as in the containers.
struct Shop {
    folder: TempDir,
    binaries: PathBuf,
    port: u16,
    server: Child,
    /// When the last backup began, in seconds since 1970.
    last_backup: Cell<u64>,
}

impl Shop {
    fn open(binaries: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for name in ["backups", "work", "shims", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("password"), "super\n").unwrap();
        let is_root =
            fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if is_root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            chown(folder.path().join("password"), Some(NOBODY), None).unwrap();
        }
        let unprivileged = |program: &str| {
            if !is_root {
                return Command::new(binaries.join(program));
            }
            let mut command = Command::new("setpriv");
            let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
            command.args(ids).arg(binaries.join(program));
            command
        };
        let data = folder.path().join("data");
        let made = unprivileged("initdb")
            .args([
                "--username=postgres",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg(format!("--pwfile={}", folder.path().join("password").display()))
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let server = unprivileged("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-k", "", "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("server-log")).unwrap())
            .spawn()
            .unwrap();
        let shop = Self { folder, binaries, port, server, last_backup: Cell::new(0) };
        shop.until("the server answers", || shop.run("pg_isready", &["-q"], &login()).status.success());
        shop.create_store();
        shop
    }

    /// The way the chart does it, in a server that has just been made.
    fn create_store(&self) {
        let settings = [
            ("PGUSER", "postgres"),
            ("PGPASSWORD", "super"),
            ("STORE_DATABASE_USER", "medusa"),
            ("STORE_DATABASE_PASSWORD", "store"),
            ("STORE_DATABASE_NAME", "medusa"),
        ];
        let made = self.run("sh", &[&format!("{SCRIPTS}/create-role.sh")], &owned(&settings));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let schema = "CREATE EXTENSION pg_trgm; CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE filler (t text)";
        assert!(self.psql("medusa", schema).status.success());
    }

    fn command(&self, program: &str, arguments: &[&str], settings: &[(String, String)]) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap();
        command
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:{}:{path}", self.shims().display(), self.binaries.display()))
            .env("REAL", &self.binaries)
            .env("HOME", self.folder.path().join("home"))
            .env("TMPDIR", self.folder.path().join("home"))
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .envs(settings.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, program: &str, arguments: &[&str], settings: &[(String, String)]) -> Output {
        self.command(program, arguments, settings).output().unwrap()
    }

    fn start(&self, program: &str, arguments: &[&str], settings: &[(String, String)]) -> Child {
        self.command(program, arguments, settings)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn script(&self, name: &str, settings: &[(String, String)]) -> Child {
        if name == "backup.sh" {
            // Names carry seconds, and two dumps of one name are refused.
            let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            self.until("a second of its own", || second() > self.last_backup.get());
            self.last_backup.set(second());
        }
        self.start("sh", &[&format!("{SCRIPTS}/{name}")], settings)
    }

    fn psql(&self, database: &str, statement: &str) -> Output {
        self.run("psql", &["-qtA", "-d", database, "-c", statement], &login())
    }

    fn superuser(&self, database: &str, statement: &str) -> String {
        let login = owned(&[("PGUSER", "postgres"), ("PGPASSWORD", "super")]);
        let output = self.run("psql", &["-qtA", "-d", database, "-c", statement], &login);
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn order(&self, id: u32) {
        assert!(self.psql("medusa", &format!("INSERT INTO orders VALUES ({id})")).status.success());
    }

    fn orders(&self, database: &str) -> Vec<String> {
        let ids = self.superuser(database, "SELECT id FROM orders ORDER BY id");
        ids.lines().map(str::to_owned).collect()
    }

    fn databases(&self) -> Vec<String> {
        let names = "SELECT datname FROM pg_database WHERE datname LIKE 'medusa%' ORDER BY 1";
        self.superuser("postgres", names).lines().map(str::to_owned).collect()
    }

    fn backup_settings(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut settings = login();
        settings.extend(self.places());
        settings.extend(owned(&[
            ("PGDATABASE", "medusa"),
            ("BACKUP_KEEP", "7"),
            ("BACKUP_TIMEOUT_S", "3600"),
        ]));
        settings.extend(owned(more));
        settings
    }

    fn restore_settings(&self, file: &str, id: &str) -> Vec<(String, String)> {
        let mut settings = owned(&[
            ("PGUSER", "postgres"),
            ("PGPASSWORD", "super"),
            ("RESTORE_OWNER", "medusa"),
            ("RESTORE_OWNER_PASSWORD", "store"),
            ("RESTORE_DATABASE", "medusa"),
            ("RESTORE_NAMESPACE", "store-acme"),
            ("RESTORE_FILE", file),
            ("RESTORE_ID", id),
            ("SETTLE_S", "1"),
        ]);
        settings.extend(self.places());
        settings
    }

    fn places(&self) -> Vec<(String, String)> {
        owned(&[
            ("STORE_ID", "acme"),
            ("BACKUP_DESTINATION", "volume"),
            ("BACKUP_FOLDER", self.backups().to_str().unwrap()),
            ("WORK_FOLDER", self.work().to_str().unwrap()),
        ])
    }

    fn backup(&self, more: &[(&str, &str)]) -> (bool, String) {
        let child = self.script("backup.sh", &self.backup_settings(more));
        finish(&child.wait_with_output().unwrap())
    }

    fn backed_up(&self) -> String {
        let before = self.files();
        let (good, printed) = self.backup(&[]);
        assert!(good, "{printed}");
        self.files().into_iter().find(|name| !before.contains(name)).unwrap()
    }

    fn restore(&self, file: &str, id: &str, more: &[(&str, &str)]) -> (bool, String) {
        let mut settings = self.restore_settings(file, id);
        settings.extend(owned(more));
        finish(&self.script("restore.sh", &settings).wait_with_output().unwrap())
    }

    fn restored(&self, file: &str, id: &str) {
        let (good, printed) = self.restore(file, id, &[]);
        assert!(good && printed.contains("The replaced database stays"), "{printed}");
    }

    /// Puts a script in front of a program; `$REAL` is the folder of the real one.
    fn shim(&self, program: &str, body: &str) {
        let path = self.shims().join(program);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Ends what a killed script left running; in a container its end is everybody's.
    fn end_sleepers(&self) {
        let mark = format!("REAL={}", self.binaries.display());
        let home = format!("HOME={}", self.folder.path().join("home").display());
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment);
            let ours = environment.split('\0').any(|line| line == mark)
                && environment.split('\0').any(|line| line == home);
            if ours {
                Command::new("kill").arg(entry.file_name()).output().unwrap();
            }
        }
    }

    fn shims(&self) -> PathBuf {
        self.folder.path().join("shims")
    }

    fn backups(&self) -> PathBuf {
        self.folder.path().join("backups")
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn files(&self) -> Vec<String> {
        listed(&self.backups()).into_iter().filter(|name| !name.starts_with('.')).collect()
    }

    fn dumps(&self) -> Vec<String> {
        self.files().into_iter().filter(|name| has_extension(name, "dump")).collect()
    }

    fn hidden(&self) -> Vec<String> {
        listed(&self.backups()).into_iter().filter(|name| name.starts_with('.')).collect()
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            let log = || fs::read_to_string(self.folder.path().join("server-log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "{what}: not within {PATIENCE:?}; the server says:\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // A test that failed leaves its scripts behind.
        self.end_sleepers();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn login() -> Vec<(String, String)> {
    owned(&[("PGUSER", "medusa"), ("PGPASSWORD", "store")])
}

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn finish(output: &Output) -> (bool, String) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}
