//! How fast a push is followed and a pull request planned, with a real forge: Gitea on the loopback interface.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

use super::cold::{Bench, Running};
use super::common::daemon::Daemon;
use super::common::repository::git;
use super::common::until_within;
use super::figures::rounded;
use super::fleet::{self, Fleet};
use super::fleetwide::{stop, until_steady};
use super::gitea::{DAEMON_SCOPES, Gitea, Project, secret};
use super::statistics::percentile;
use super::witness::{Event, Kind};

const PUSHES: usize = 100;
const PLANS: usize = 100;

/// How long one may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A fleet on the forge, and the daemon that follows it there.
struct Scene<'a> {
    bench: &'a Bench<'a>,
    fleet: &'a Fleet,
    stores: usize,
    project: Project,
    daemon: Daemon,
    secret: String,
}

/// Has the fleet followed on the forge for as long as it takes to measure.
pub fn measure(bench: &Bench<'_>, mut running: Running) -> (Value, Running) {
    stop(running.daemon);
    let folder = bench.folder.join("forge");
    fs::create_dir_all(&folder).unwrap();
    let (gitea, hook_secret) = (Gitea::start(), secret());
    let project = bring(&gitea, &running.fleet, &folder.join("checkout"));
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    let token = write("token", &gitea.token(&project.owner, &DAEMON_SCOPES));
    let secret_file = write("secret", &hook_secret);
    let (api, ca) = (gitea.url("/api/v1"), gitea.ca_file().to_str().unwrap().to_owned());
    let name = project.full_name();
    let arguments = [
        "--forge",
        "gitea",
        "--forge-api",
        &api,
        "--forge-repository",
        &name,
        "--forge-token-file",
        &token,
        "--forge-ca-file",
        &ca,
        "--git-token-file",
        &token,
        "--git-ca-file",
        &ca,
        "--hook-secret-file",
        &secret_file,
        "--poll-seconds",
        "3600",
        "--public-url",
        "http://127.0.0.1",
    ];
    let daemon = running.fleet.start_at(&project.url(), &folder, &arguments);
    until_steady(&daemon, running.stores);
    let scene =
        Scene { bench, fleet: &running.fleet, stores: running.stores, project, daemon, secret: hook_secret };
    let (pushes, plans) = (scene.pushes(), scene.plans());
    stop(scene.daemon);
    drop(gitea);
    running.daemon = running.fleet.start(&[]);
    until_steady(&running.daemon, running.stores);
    let mut figures = json!({ "stores": running.stores });
    for part in [pushes, plans] {
        figures.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }
    (figures, running)
}

/// Copies the fleet's repository to the forge.
fn bring(gitea: &Arc<Gitea>, fleet: &Fleet, checkout: &Path) -> Project {
    let from = fleet.url();
    git(checkout.parent().unwrap(), &["clone", "--quiet", &from, checkout.to_str().unwrap()]);
    let owner = gitea.account("bench");
    gitea.project(&owner, "stores", checkout)
}

impl Scene<'_> {
    /// Pushes one edited store at a time, announces it by hand as the forge would, and waits for the first object.
    fn pushes(&self) -> Value {
        let (mut first, mut pushing) = (Vec::new(), Vec::new());
        for turn in 0..PUSHES {
            let store = turn * 7 % self.stores;
            let namespace = self.fleet.namespace(store);
            self.edit(store, &format!("push-{turn}"));
            let begun = Instant::now();
            self.project.push("main", "edit");
            pushing.push(begun.elapsed().as_secs_f64() * 1000.0);
            std::thread::sleep(Duration::from_millis(200));
            let mark = self.bench.witness.mark();
            let sent = Instant::now();
            self.announce();
            let ours = |event: &&Event| event.namespace == namespace && event.kind == Kind::ConfigMap;
            let at =
                self.bench.witness.until(PATIENCE, "a pushed store's first object changes", mark, |events| {
                    events.iter().find(ours).map(|event| event.at)
                });
            first.push(at.saturating_duration_since(sent).as_secs_f64() * 1000.0);
        }
        json!({
            "pushes": PUSHES, "hook_to_apply_p50_ms": rounded(percentile(&first, 50.0)),
            "hook_to_apply_p99_ms": rounded(percentile(&first, 99.0)),
            "hook_to_apply_max_ms": rounded(percentile(&first, 100.0)),
            "git_push_p50_ms": rounded(percentile(&pushing, 50.0)),
        })
    }

    /// Pushes one edited store at a time to a pull request's branch, which the forge itself announces, and waits for the
    /// status of the plan.
    fn plans(&self) -> Value {
        let url = format!("http://{}/hooks/gitea", self.daemon.address);
        self.project.hook(&url, &self.secret, &["push", "pull_request"]);
        self.project.begin("change");
        self.edit(0, "plan");
        self.project.push("change", "begin");
        self.project.open(&self.project.owner, "change", "A change");
        let mut told = Vec::new();
        for turn in 0..PLANS {
            // Always one store that differs from what is in force.
            self.edit(0, &format!("plan-{turn}"));
            let head = self.project.push("change", "edit");
            let pushed = Instant::now();
            let path = format!("/commits/{head}/statuses");
            until_within(PATIENCE, "the plan's status is there", || {
                let statuses = self.project.get(&path);
                let plan = |status: &&Value| {
                    status["context"] == "storekeeper/plan" && status["status"] == "success"
                };
                statuses.as_array().unwrap().iter().find(plan).map(|_| ())
            });
            told.push(pushed.elapsed().as_secs_f64() * 1000.0);
        }
        json!({
            "plans": PLANS, "push_to_status_p50_ms": rounded(percentile(&told, 50.0)),
            "push_to_status_p99_ms": rounded(percentile(&told, 99.0)),
            "push_to_status_max_ms": rounded(percentile(&told, 100.0)),
        })
    }

    fn edit(&self, store: usize, edition: &str) {
        let name = self.fleet.store(store);
        self.project.write(&format!("stores/{name}.yaml"), &fleet::store_file(&name, edition));
    }

    /// Delivers what the forge would, and waits for the answer.
    fn announce(&self) {
        let body = "{}";
        let key = PKey::hmac(self.secret.as_bytes()).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        signer.update(body.as_bytes()).unwrap();
        let digest = signer.sign_to_vec().unwrap();
        let digest = digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let mut stream = TcpStream::connect(&self.daemon.address).unwrap();
        let request = format!(
            "POST /hooks/gitea HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Gitea-Event: push\r\n\
             X-Gitea-Signature: {digest}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
}
