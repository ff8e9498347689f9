//! A real Gitea on the loopback interface, over https with a certificate of a test authority.
//!
//! It is quick enough to begin from nothing each time: database and administrator take 0.3 s, until it answers 0.7 s more.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::common::repository::git;
use crate::common::{required_path, until};
use crate::git_server::Identity;

/// The user that a server of root's runs as: Gitea refuses to be root.
const NOBODY: u32 = 65534;

/// What a token may do when a test says nothing else.
const EVERYTHING: [&str; 1] = ["all"];

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The scopes that the daemon needs: who it is, statuses and reviews, comments.
pub const DAEMON_SCOPES: [&str; 3] = ["read:user", "write:repository", "write:issue"];

/// A server with its data. Both go when it is dropped.
pub struct Gitea {
    folder: TempDir,
    port: u16,
    identity: Identity,
    authority: Identity,
    /// May do everything everywhere.
    pub admin: Account,
    process: Mutex<Option<Process>>,
    runtime: Runtime,
    client: Client,
}

/// Somebody who may log in.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: String,
    pub password: String,
    /// A token for everything that its owner may do.
    pub token: String,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    /// Null when there is none, a string when it is no JSON.
    pub body: Value,
}

impl Gitea {
    /// Returns the server that tests of this process share while any of them has it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Gitea>> = Mutex::new(Weak::new());
        // A test that failed while it held the lock has left the old server there, or none.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let gitea = Self::start();
            *shared = Arc::downgrade(&gitea);
            gitea
        })
    }

    /// Starts a server on a free port and waits until it answers.
    pub fn start() -> Arc<Self> {
        Self::start_with("", None)
    }

    /// Starts a server with further lines of configuration, which win, and the folder of its pages' styles and scripts: without
    /// them they are bare.
    pub fn start_with(configuration: &str, pages: Option<&Path>) -> Arc<Self> {
        let authority = Identity::new("Forge CA", None, true, &[], 30);
        let identity = Identity::new("forge", Some(&authority), false, &["127.0.0.1", "localhost"], 30);
        let certificate = Certificate::from_pem(&authority.certificate.to_pem().unwrap()).unwrap();
        let client =
            Client::builder().tls_certs_only([certificate]).no_proxy().timeout(PATIENCE).build().unwrap();
        let password = password();
        let mut gitea = Self {
            folder: tempfile::Builder::new().prefix("gitea-").tempdir().unwrap(),
            port: quiet_port(),
            identity,
            authority,
            admin: Account { name: "root".to_owned(), password, token: String::new() },
            process: Mutex::new(None),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            client,
        };
        gitea.unpack(pages);
        gitea.configure(configuration);
        gitea.run(&["migrate"]);
        gitea.admin.token = gitea.make_admin();
        gitea.resume();
        Arc::new(gitea)
    }

    /// Returns the address of a page or of what git is asked for; a path begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// Returns the file with the authority that vouches for the server.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Ends the server in the middle of what it does, as a power cut would.
    pub fn stop(&self) {
        self.process.lock().unwrap().take();
    }

    /// Starts it again on the same port with the same data.
    pub fn resume(&self) {
        let mut process = self.process.lock().unwrap();
        assert!(process.is_none(), "Gitea runs already");
        *process = Some(Process::start(self.command(&["web"]), self.log()));
        drop(process);
        until("Gitea answers", || {
            let process = self.process.lock().unwrap();
            let ended = process.as_ref().is_none_or(Process::has_ended);
            assert!(!ended, "Gitea ended: {}", self.log_text());
            drop(process);
            let request = self.client.get(self.url("/api/healthz"));
            let answer = self.runtime.block_on(async { request.send().await });
            answer.is_ok_and(|answer| answer.status().is_success()).then_some(())
        });
    }

    /// Returns what the server has logged. Level and configuration make it quiet: mostly this is nothing.
    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Makes a user with a token for everything.
    pub fn account(&self, name: &str) -> Account {
        let mut account =
            Account { name: name.to_owned(), password: password(), token: self.admin.token.clone() };
        let user = json!({
            "username": name, "email": format!("{name}@example.com"), "password": account.password,
            "must_change_password": false,
        });
        self.done(&account, Method::POST, "/admin/users", &user);
        account.token = self.token(&account, &EVERYTHING);
        account
    }

    /// Makes a token of a user with these scopes.
    pub fn token(&self, account: &Account, scopes: &[&str]) -> String {
        let login = format!("Basic {}", STANDARD.encode(format!("{}:{}", account.name, account.password)));
        let token = json!({ "name": format!("test-{}", secret()), "scopes": scopes });
        let path = format!("/users/{}/tokens", account.name);
        let answer = self.ask(Some(&login), Method::POST, &path, &token);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["sha1"].as_str().unwrap().to_owned()
    }

    /// Sends a request to the API as nobody or with an `Authorization` header.
    pub fn ask(&self, authorization: Option<&str>, method: Method, path: &str, body: &Value) -> Answer {
        let mut request = self.client.request(method, self.url(&format!("/api/v1{path}")));
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        if !body.is_null() {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let headers = answer.headers().iter();
            let headers = headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
            let headers = headers.collect();
            let text = answer.text().await.unwrap();
            let body = match text.as_str() {
                "" => Value::Null,
                text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
            };
            Answer { status, headers, body }
        })
    }

    /// Sends a request as a user, which must succeed, and returns what was answered.
    pub fn done(&self, account: &Account, method: Method, path: &str, body: &Value) -> Value {
        let token = format!("token {}", account.token);
        let asked = format!("{method} {path} {body}");
        let answer = self.ask(Some(&token), method, path, body);
        assert!((200..300).contains(&answer.status), "{asked}: {answer:?}");
        answer.body
    }

    /// Gets something as a user; it must be there.
    pub fn get(&self, account: &Account, path: &str) -> Value {
        self.done(account, Method::GET, path, &Value::Null)
    }

    /// Makes a user's repository out of a checkout, whose `origin` it becomes, and pushes the checkout's HEAD to `main`.
    pub fn project(self: &Arc<Self>, owner: &Account, name: &str, checkout: &Path) -> Project {
        self.done(owner, Method::POST, "/user/repos", &json!({ "name": name, "default_branch": "main" }));
        let project = self.known(owner, name, checkout);
        project.push_to("main");
        project
    }

    /// Takes a repository that is there, with a checkout whose `origin` it becomes.
    fn known(self: &Arc<Self>, owner: &Account, name: &str, checkout: &Path) -> Project {
        let project = Project {
            gitea: Arc::clone(self),
            owner: owner.clone(),
            name: name.to_owned(),
            checkout: checkout.to_owned(),
        };
        let url = project.url().replacen("https://", &format!("https://{}:{}@", owner.name, owner.token), 1);
        git(checkout, &["config", "http.sslCAInfo", self.ca_file().to_str().unwrap()]);
        git(checkout, &["config", "http.proxy", ""]);
        git(checkout, &["config", "remote.origin.url", &url]);
        project
    }

    /// Returns a repository's folder on the server's disk.
    pub fn bare(&self, owner: &str, name: &str) -> PathBuf {
        self.data().join(format!("repositories/{owner}/{name}.git"))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("gitea.log")
    }

    /// Brings the program and what it reads to where its user may read them, as the cache may lie in a closed home.
    fn unpack(&self, pages: Option<&Path>) {
        let folder = self.folder.path();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let program = required_path("STOREKEEPER_GITEA");
        link(program.parent().unwrap(), &folder.join("program"));
        if let Some(pages) = pages {
            link(pages, &folder.join("program/public/assets"));
        }
        fs::write(self.ca_file(), self.authority.certificate.to_pem().unwrap()).unwrap();
        for name in ["data", "data/home", "data/custom"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        fs::write(folder.join("data/cert.pem"), self.identity.certificate.to_pem().unwrap()).unwrap();
        fs::write(folder.join("data/key.pem"), self.identity.key.private_key_to_pem_pkcs8().unwrap())
            .unwrap();
    }

    fn configure(&self, more: &str) {
        let (data, program) = (self.data(), self.folder.path().join("program"));
        let (data, program, port) = (data.display(), program.display(), self.port);
        let text = format!(
            "APP_NAME = Forge\nWORK_PATH = {data}\n\
             [server]\nPROTOCOL = https\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\n\
             ROOT_URL = https://127.0.0.1:{port}/\nCERT_FILE = {data}/cert.pem\nKEY_FILE = {data}/key.pem\n\
             APP_DATA_PATH = {data}\nSTATIC_ROOT_PATH = {program}\n\
             DISABLE_SSH = true\nOFFLINE_MODE = true\nLFS_START_SERVER = false\n\
             [database]\nDB_TYPE = sqlite3\nPATH = {data}/gitea.db\nSQLITE_JOURNAL_MODE = WAL\n\
             [repository]\nROOT = {data}/repositories\nDEFAULT_BRANCH = main\n\
             [security]\nINSTALL_LOCK = true\nSECRET_KEY = {}\nINTERNAL_TOKEN = {}\n\
             [service]\nDISABLE_REGISTRATION = true\n[oauth2]\nENABLED = false\n\
             [indexer]\nISSUE_INDEXER_TYPE = db\n[session]\nPROVIDER = memory\n\
             [cron]\nENABLED = false\n[actions]\nENABLED = false\n[packages]\nENABLED = false\n\
             [queue]\nTYPE = channel\nBATCH_LENGTH = 1\n\
             [webhook]\nALLOWED_HOST_LIST = loopback\n\
             [log]\nMODE = console\nLEVEL = warn\n{more}\n",
            secret(),
            secret(),
        );
        fs::write(self.data().join("app.ini"), text).unwrap();
        if is_root() {
            give_away(&self.data());
        }
    }

    /// Runs a command of Gitea's, which must succeed, and returns what it prints.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gitea {}: {error}", arguments[0]);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes the administrator and returns a token.
    fn make_admin(&self) -> String {
        let Account { name, password, .. } = &self.admin;
        let email = format!("{name}@example.com");
        let user = ["admin", "user", "create", "--admin", "--username", name, "--password", password];
        self.run(&[&user[..], &["--email", &email, "--must-change-password=false"]].concat());
        let token = ["admin", "user", "generate-access-token", "--username", name, "--token-name", "first"];
        self.run(&[&token[..], &["--scopes", "all", "--raw"]].concat()).trim().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // Killed when the thread ends that started it, so that not even a killed test leaves a server behind.
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=KILL");
        if is_root() {
            command.args([
                format!("--reuid={NOBODY}"),
                format!("--regid={NOBODY}"),
                "--clear-groups".to_owned(),
            ]);
        }
        command
            .arg(self.folder.path().join("program/gitea"))
            .arg("--config")
            .arg(self.data().join("app.ini"))
            .args(arguments)
            .current_dir(self.data())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.data().join("home"))
            .env("TMPDIR", self.data().join("home"));
        command
    }
}

impl Drop for Gitea {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Gitea's log: {}", self.log_text());
        }
        self.stop();
    }
}

/// A running server, which a thread of its own starts and, when told or when the owner is gone, kills.
struct Process {
    tell: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Process {
    fn start(mut command: Command, log: PathBuf) -> Self {
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let log = File::options().append(true).create(true).open(log).unwrap();
            let mut child = command
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .expect("setpriv must be installed (Debian package util-linux)");
            while told.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
                if child.try_wait().unwrap().is_some() {
                    return;
                }
            }
            // Its gits have process groups of their own and would go on for a moment.
            let children = descendants(child.id());
            let _ = child.kill();
            let _ = child.wait();
            for pid in children {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
            }
        });
        Self { tell: Some(tell), thread: Some(thread) }
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.tell.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A repository on the server, with a checkout of it.
#[derive(Clone)]
pub struct Project {
    gitea: Arc<Gitea>,
    pub owner: Account,
    pub name: String,
    pub checkout: PathBuf,
}

impl Project {
    /// Returns what git is told, without a login.
    pub fn url(&self) -> String {
        self.gitea.url(&format!("/{}/{}.git", self.owner.name, self.name))
    }

    /// Returns `owner/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner.name, self.name)
    }

    /// Returns a path of the API below this repository's.
    pub fn path(&self, rest: &str) -> String {
        format!("/repos/{}{rest}", self.full_name())
    }

    /// Asks the API about this repository as its owner; the answer must be a success.
    pub fn get(&self, rest: &str) -> Value {
        self.gitea.get(&self.owner, &self.path(rest))
    }

    /// Sends something to the API below this repository as its owner, which must succeed.
    pub fn send(&self, method: Method, rest: &str, body: &Value) -> Value {
        self.gitea.done(&self.owner, method, &self.path(rest), body)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.checkout.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Begins a branch where `main` is on the server, and checks it out.
    pub fn begin(&self, branch: &str) {
        git(&self.checkout, &["fetch", "--quiet", "origin", "main"]);
        git(&self.checkout, &["checkout", "--quiet", "--force", "-B", branch, "FETCH_HEAD"]);
    }

    /// Commits everything, pushes it to a branch, and returns the commit.
    pub fn push(&self, branch: &str, message: &str) -> String {
        git(&self.checkout, &["add", "--all"]);
        git(&self.checkout, &["commit", "--quiet", "--allow-empty", "--message", message]);
        self.push_to(branch)
    }

    /// Pushes what is checked out to a branch and returns the commit.
    pub fn push_to(&self, branch: &str) -> String {
        git(&self.checkout, &["push", "--quiet", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
        git(&self.checkout, &["rev-parse", "HEAD"])
    }

    /// Returns the server's refs as git sees them.
    pub fn refs(&self) -> BTreeMap<String, String> {
        let listed = git(&self.checkout, &["ls-remote", "--quiet", "origin"]);
        let pairs = listed.lines().filter_map(|line| line.split_once('\t'));
        pairs.map(|(commit, name)| (name.to_owned(), commit.to_owned())).collect()
    }

    /// Opens a pull request to `main` and returns its number. The head is a branch, or `user:branch` of a fork.
    pub fn open(&self, author: &Account, head: &str, title: &str) -> u64 {
        let pull = json!({ "title": title, "head": head, "base": "main" });
        let pull = self.gitea.done(author, Method::POST, &self.path("/pulls"), &pull);
        pull["number"].as_u64().unwrap()
    }

    pub fn pull(&self, number: u64) -> Value {
        self.get(&format!("/pulls/{number}"))
    }

    /// Merges, by `merge`, `squash` or `rebase`, and returns the commit that `main` then is at.
    pub fn merge(&self, number: u64, style: &str) -> String {
        let path = self.path(&format!("/pulls/{number}/merge"));
        let token = format!("token {}", self.owner.token);
        until("the pull request can be merged", || {
            let body = json!({ "Do": style });
            let answer = self.gitea.ask(Some(&token), Method::POST, &path, &body);
            match answer.status {
                200 => Some(()),
                // Gitea looks for conflicts in the background and says this until it has.
                405 if answer.body["message"].as_str().is_some_and(|said| said.contains("try again")) => None,
                _ => panic!("{answer:?}"),
            }
        });
        let merged = self.pull(number);
        assert_eq!(merged["merged"], true, "{merged}");
        merged["merge_commit_sha"].as_str().unwrap().to_owned()
    }

    /// Closes a pull request without merging it.
    pub fn close(&self, number: u64) {
        self.send(Method::PATCH, &format!("/issues/{number}"), &json!({ "state": "closed" }));
    }

    /// Has the server tell an address about events, signed with a secret.
    pub fn hook(&self, url: &str, secret: &str, events: &[&str]) -> u64 {
        let config = json!({ "url": url, "content_type": "json", "secret": secret });
        let hook = json!({ "type": "gitea", "active": true, "events": events, "config": config });
        self.send(Method::POST, "/hooks", &hook)["id"].as_u64().unwrap()
    }

    /// Sets a status as the owner, without a link.
    pub fn set_status(&self, commit: &str, context: &str, state: &str, description: &str) {
        let status = json!({ "context": context, "state": state, "description": description });
        self.send(Method::POST, &format!("/statuses/{commit}"), &status);
    }

    /// Returns the newest status of each context on a commit, by context.
    pub fn statuses(&self, commit: &str) -> BTreeMap<String, Value> {
        let mut newest: BTreeMap<String, Value> = BTreeMap::new();
        for status in self.all(&format!("/commits/{commit}/statuses")) {
            let context = status["context"].as_str().unwrap().to_owned();
            let id = |status: &Value| status["id"].as_u64().unwrap();
            if newest.get(&context).is_none_or(|before| id(before) < id(&status)) {
                newest.insert(context, status);
            }
        }
        newest
    }

    /// Returns every status that was ever set on a commit, oldest first.
    pub fn status_history(&self, commit: &str) -> Vec<Value> {
        let mut statuses = self.all(&format!("/commits/{commit}/statuses"));
        statuses.sort_by_key(|status| status["id"].as_u64());
        statuses
    }

    /// Waits until a status has a state, and returns it.
    pub fn until_status(&self, commit: &str, context: &str, state: &str) -> Value {
        let mut last = BTreeMap::new();
        until(&format!("status {context} of {commit} is {state}"), || {
            last = self.statuses(commit);
            last.get(context).filter(|status| status["status"] == state).cloned()
        })
    }

    /// Returns the comments of a pull request, those on lines aside.
    pub fn comments(&self, number: u64) -> Vec<Value> {
        self.all(&format!("/issues/{number}/comments"))
    }

    /// Returns the reviews of a pull request, each with its comments on lines as `lines`, which Gitea shuffles and this sorts.
    pub fn reviews(&self, number: u64) -> Vec<Value> {
        let mut reviews = self.all(&format!("/pulls/{number}/reviews"));
        for review in &mut reviews {
            let lines = self.get(&format!("/pulls/{number}/reviews/{}/comments", review["id"]));
            let mut lines = lines.as_array().unwrap().clone();
            lines.sort_by_key(|line| line["id"].as_u64());
            review["lines"] = lines.into();
        }
        reviews
    }

    /// Lets nothing into `main` that lacks these statuses; its owner may still push.
    pub fn protect(&self, contexts: &[&str]) {
        let rule = json!({
            "rule_name": "main", "enable_push": true, "enable_status_check": true,
            "status_check_contexts": contexts,
        });
        self.send(Method::POST, "/branch_protections", &rule);
    }

    /// Lets another user push, merge and set statuses.
    pub fn admit(&self, account: &Account) {
        self.admit_as(account, "write");
    }

    /// Gives another user a permission: `read`, `write` or `admin`.
    pub fn admit_as(&self, account: &Account, permission: &str) {
        let path = format!("/collaborators/{}", account.name);
        self.send(Method::PUT, &path, &json!({ "permission": permission }));
    }

    /// Makes another user's fork, with a checkout in a folder.
    pub fn fork(&self, account: &Account, checkout: &Path) -> Project {
        self.gitea.done(account, Method::POST, &self.path("/forks"), &json!({}));
        fs::create_dir_all(checkout).unwrap();
        git(checkout, &["init", "--quiet", "--initial-branch=main"]);
        let fork = self.gitea.known(account, &self.name, checkout);
        until("the fork is filled", || fork.refs().contains_key("refs/heads/main").then_some(()));
        fork
    }

    /// Returns all pages of a list.
    fn all(&self, rest: &str) -> Vec<Value> {
        let mut all = Vec::new();
        for page in 1.. {
            let listed = self.get(&format!("{rest}?limit=50&page={page}"));
            let listed = listed.as_array().unwrap().clone();
            if listed.is_empty() {
                break;
            }
            // A list without pages answers the same each time.
            if all.ends_with(&listed) {
                break;
            }
            all.extend(listed);
        }
        all
    }
}

/// Returns a port that no outgoing connection takes while the server is stopped: those are from 32768 on.
fn quiet_port() -> u16 {
    let mut bytes = [0; 2];
    loop {
        File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
        let port = 20000 + u16::from_le_bytes(bytes) % 12000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Returns something that nobody guesses.
pub fn secret() -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Returns the same, short enough to be typed.
fn password() -> String {
    secret()[..12].to_owned()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Puts what is in a folder into another, by hard links where that can be: 120 MB would take as long as the start.
fn link(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            link(&entry.path(), &target);
        } else if !target.exists() && fs::hard_link(entry.path(), &target).is_err() {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Gives a folder with all that is in it to the user that the server runs as.
fn give_away(folder: &Path) {
    chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            give_away(&path);
        } else {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

/// Returns the processes that a process started, and theirs.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let tasks = fs::read_dir(format!("/proc/{}/task", found[at]));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        at += 1;
    }
    found.split_off(1)
}
