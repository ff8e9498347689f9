//! The demo: a repository made from `stores.example`, the daemon on a cluster, and what a push does to stores.
//!
//! With `--ingress`, shops are real: their pods run, the daemon asks them before they are READY, and their addresses
//! open in a browser. Without it the node is simulated, and objects alone make stores READY.
//!
//! Without `--check` it stays until Ctrl-C, for people to push to. With it, it adds, changes and removes a store
//! itself, looks at each effect on the API server from outside the daemon, and prints how long each took.
//!
//! First `storekeeper plan` says what a branch would do that nobody has pushed.
//!
//! With `--forge-pages` the repository is on a Gitea, and stores come and go by pull requests there.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod branch;
#[path = "../../tests/common/mod.rs"]
mod common;
mod forge;
#[path = "../../tests/common/git_server.rs"]
mod git_server;
#[path = "../../tests/common/gitea.rs"]
mod gitea;
mod history;
mod pulls;

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use common::cluster::{Cluster, Witness};
use common::daemon::Daemon;
use common::repository::{Repository, git};
use common::{until, until_within};
use forge::Forge;

/// The demo's own source on the cluster.
const SOURCE: &str = "demo";

/// The domain of the example, below which every name is 127.0.0.1.
const DOMAIN: &str = "127.0.0.1.nip.io";

/// How long real shops may take on a slow machine: three at once, each with migrations of its own.
const PATIENCE: Duration = Duration::from_mins(15);

/// The store that comes, changes and goes.
const GUEST: &str = "dahlia";

#[derive(Parser)]
struct Arguments {
    /// A kubeconfig of the cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The command line that runs kubectl on the cluster, to show to people.
    #[arg(long)]
    kubectl: String,
    /// What the cluster's node is: simulated, real, or current for a cluster of the user's.
    #[arg(long)]
    node: String,
    /// The folder to make the repository from.
    #[arg(long)]
    stores: PathBuf,
    /// The address of an ingress controller through which shops are reached; without it they are simulated.
    #[arg(long)]
    ingress: Option<SocketAddr>,
    /// The styles and scripts of Gitea's pages: with it, the repository is on a Gitea.
    #[arg(long)]
    forge_pages: Option<PathBuf>,
    /// The folder for the repository and the daemon's state; made anew and removed at the end.
    #[arg(long, default_value = ".demo")]
    folder: PathBuf,
    /// Add, change and remove a store, check each effect, and end.
    #[arg(long)]
    check: bool,
    /// The file that the line of figures goes to.
    #[arg(long)]
    figures: PathBuf,
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.folder.exists() {
        fs::remove_dir_all(&arguments.folder).unwrap();
    }
    fs::create_dir_all(&arguments.folder).unwrap();
    let folder = arguments.folder.canonicalize().unwrap();
    let demo = Demo::start(&arguments, &folder);
    let took = demo.until_ready();
    // Where changes come by pull requests alone, people make the history.
    let history = if demo.forge.is_none() { demo.make_history() } else { Vec::new() };
    let summary = if arguments.check {
        let summary = match &demo.forge {
            Some(forge) => demo.check_pulls(forge),
            None => demo.check(),
        };
        format!("demo: {} stores READY in {}; {summary}", demo.stores.len(), seconds(took))
    } else {
        demo.show(&arguments.folder, &history);
        format!("demo: {} stores READY in {}", demo.stores.len(), seconds(took))
    };
    demo.stop();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&arguments.figures, format!("{summary}\n")).unwrap();
}

struct Demo {
    repository: Repository,
    cluster: Cluster,
    daemon: Daemon,
    stores: Vec<String>,
    forge: Option<Forge>,
    ingress: Option<SocketAddr>,
    kubectl: String,
    node: String,
}

impl Demo {
    fn start(arguments: &Arguments, folder: &Path) -> Self {
        let repository = Repository::new(folder);
        for (key, value) in [("user.name", "Demo"), ("user.email", "demo@example.com")] {
            git(&repository.checkout, &["config", key, value]);
        }
        copy(&arguments.stores, &repository.checkout);
        shorten_grace_period(&repository.checkout);
        if let Some(ingress) = arguments.ingress {
            move_domain(&repository.checkout, &format!("{}.nip.io", ingress.ip()));
        }
        let stores = store_names(&repository.checkout.join("stores"));
        repository.push("the example stores");
        let cluster = Cluster::connect(arguments.kubeconfig.clone());
        // The names of the shops resolve by a service on the Internet; the daemon needs none of it.
        let address = arguments.ingress.map(|address| address.to_string());
        let probe = match &address {
            Some(address) => ["--probe-address", address],
            None => ["--probe", "objects"],
        };
        let listen = free_address();
        let pages = arguments.forge_pages.as_deref();
        let forge = pages.map(|pages| Forge::start(pages, &repository.checkout, folder, &listen));
        let url = forge.as_ref().map_or_else(|| repository.url(), |forge| forge.project.url());
        let told = forge.iter().flat_map(|forge| forge.arguments.iter().map(String::as_str));
        let more: Vec<_> = probe.into_iter().chain(told).collect();
        let daemon = Daemon::start_on(&listen, folder, &url, SOURCE, &cluster.kubeconfig, &more);
        eprintln!("storekeeper runs and watches {url}");
        let (ingress, kubectl, node) = (arguments.ingress, arguments.kubectl.clone(), arguments.node.clone());
        Self { repository, cluster, daemon, stores, forge, ingress, kubectl, node }
    }

    /// Waits until every store of the example is READY and shows each step on the way.
    fn until_ready(&self) -> Duration {
        let begun = Instant::now();
        let mut shown: BTreeMap<&str, String> = BTreeMap::new();
        until_within(PATIENCE, "every store of the example is READY", || {
            for name in &self.stores {
                let store = self.daemon.store(name).unwrap_or_default();
                let state = store["state"].as_str().unwrap_or("-");
                let at = format!("{state} {}", store["step"].as_str().unwrap_or_default());
                if shown.get(name.as_str()).is_none_or(|before| *before != at) {
                    let reason = store["reason"].as_str().unwrap_or_default();
                    eprintln!("  {:>6}  {name:<12} {state:<13} {reason}", seconds(begun.elapsed()));
                    shown.insert(name, at);
                }
            }
            shown.values().all(|at| at == "READY ").then_some(())
        });
        begun.elapsed()
    }

    /// Tells a newcomer what to try, and waits for Ctrl-C.
    fn show(&self, folder: &Path, history: &[String]) {
        self.show_shops();
        if let Some(forge) = &self.forge {
            forge.show();
        } else {
            self.show_branch(folder);
            Self::show_pushes(folder);
        }
        println!("The page:  http://{}/", self.daemon.address);
        for line in history {
            println!("           {line}");
        }
        println!("\nCtrl-C ends the demo and removes everything it made.");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(tokio::signal::ctrl_c()).unwrap();
        println!();
    }

    /// Tells how stores come and go by pushes to the branch.
    fn show_pushes(folder: &Path) {
        let checkout = folder.join("checkout");
        let at = checkout.display();
        let push = |message: &str| {
            format!(
                "git -C {at} add -A && git -C {at} commit -qm '{message}' && git -C {at} push -q origin HEAD:main"
            )
        };
        println!("\nIn another terminal, in this folder, paste:");
        let file = format!("{at}/stores/{GUEST}.yaml");
        let text = guest("Dahlia").replace('\n', "\\n");
        println!("\n  # add a store\n  printf '{text}' > {file} && {}", push("add dahlia"));
        let rename = format!("sed -i 's/displayName: .*/displayName: Dahlia and Daughters/' {file}");
        println!("\n  # change it\n  {rename} && {}", push("rename dahlia"));
        println!("\n  # remove it\n  rm {file} && {}\n", push("remove dahlia"));
    }

    /// Tells where the shops are; their names are found through the Internet's DNS.
    fn show_shops(&self) {
        let Some(ingress) = self.ingress else {
            println!("{}", without_shops(&self.node));
            return;
        };
        for name in &self.stores {
            let store = self.daemon.store(name).unwrap_or_default();
            println!("A shop:   {}   (its dashboard: app)", store["url"].as_str().unwrap_or_default());
        }
        let ip = ingress.ip();
        println!("Without the Internet: chromium --host-resolver-rules='MAP *.nip.io {ip}'");
        println!(
            "Who may log in at the dashboard: admin@<host of the shop>, with the password that this prints:"
        );
        println!(
            "  {} -n store-{} get secret medusa -o jsonpath='{{.data.admin-password}}' | base64 -d; echo",
            self.kubectl, self.stores[0],
        );
    }

    /// Adds, changes and removes a store; returns the latencies in a line.
    fn check(&self) -> String {
        let namespace = format!("store-{GUEST}");
        assert!(self.cluster.namespace(&namespace).is_none(), "{namespace} exists before the demo made it");
        let kinds =
            [("v1", "Namespace"), ("v1", "ConfigMap"), ("apps/v1", "Deployment"), ("batch/v1", "Job")];
        let witness = self.cluster.witness(&kinds, &format!("storekeeper.dev/store={GUEST}"));
        let planned = self.check_branch();
        let added = self.add(&witness, &namespace);
        let changed = self.change(&witness, &namespace);
        let removed = self.remove(&witness, &namespace);
        for line in [&added, &changed, &removed] {
            println!("{line}");
        }
        format!("{planned}; {GUEST} {added}; {changed}; {removed}")
    }

    fn add(&self, witness: &Witness, namespace: &str) -> String {
        self.write_guest("Dahlia");
        let (commit, pushed) = self.push("add dahlia");
        let seen = self.until_seen(&commit);
        let first = witness.until("the first object is applied", pushed, |event| event.kind == "Namespace");
        let ready = self.until_applied(&commit);
        let deployment = self.cluster.get("apps/v1", "Deployment", namespace, "medusa").unwrap();
        assert_eq!(deployment["status"]["availableReplicas"], 1, "the API runs");
        let database = self.cluster.get("apps/v1", "StatefulSet", namespace, "postgres").unwrap();
        assert_eq!(database["status"]["readyReplicas"], 1, "the database runs");
        latencies(
            "added",
            pushed,
            &[("push seen", seen), ("first object applied", first.at), ("READY", ready)],
        )
    }

    fn change(&self, witness: &Witness, namespace: &str) -> String {
        let name = "Dahlia and Daughters";
        self.write_guest(name);
        let (commit, pushed) = self.push("rename dahlia");
        let seen = self.until_seen(&commit);
        let ours = |name: &str| name != "storekeeper-inventory";
        let first =
            witness.until("the first object is applied", pushed, |event| ours(&event.name) && !event.gone);
        let ready = self.until_applied(&commit);
        let storefront = self.cluster.get("apps/v1", "Deployment", namespace, "storefront").unwrap();
        assert!(storefront.to_string().contains(name), "the new name is in the cluster");
        latencies(
            "changed",
            pushed,
            &[("push seen", seen), ("first object applied", first.at), ("READY", ready)],
        )
    }

    fn remove(&self, witness: &Witness, namespace: &str) -> String {
        self.repository.remove(&format!("stores/{GUEST}.yaml"));
        let (commit, pushed) = self.push("remove dahlia");
        let seen = self.until_seen(&commit);
        let deleting =
            witness.until("the deletion begins", pushed, |event| event.kind == "Namespace" && event.deleting);
        let gone =
            witness.until("the namespace is gone", pushed, |event| event.kind == "Namespace" && event.gone);
        assert!(self.cluster.namespace(namespace).is_none(), "{namespace} is still there");
        until("the volume is gone", || {
            let volumes = self.cluster.list("v1", "PersistentVolume", "");
            volumes.iter().all(|volume| volume["spec"]["claimRef"]["namespace"] != namespace).then_some(())
        });
        until("the API forgets the store", || self.daemon.store(GUEST).is_none().then_some(()));
        let gone = ("gone", gone.at);
        latencies(
            "removed",
            pushed,
            &[("push seen", seen), ("deletion begun, after a grace period of 3 s", deleting.at), gone],
        )
    }

    fn write_guest(&self, display_name: &str) {
        self.repository.write(&format!("stores/{GUEST}.yaml"), &guest(display_name));
    }

    /// Pushes; returns the commit and the moment the push returned.
    fn push(&self, message: &str) -> (String, Instant) {
        // Not the moment before: how long `git push` takes is git's affair.
        let commit = self.repository.push(message);
        (commit, Instant::now())
    }

    fn until_seen(&self, commit: &str) -> Instant {
        until("the push is seen", || (self.daemon.fleet()["revision"] == commit).then(Instant::now))
    }

    fn until_applied(&self, commit: &str) -> Instant {
        until_within(PATIENCE, "the store is READY at the new commit", || {
            let store = self.daemon.store(GUEST)?;
            (store["state"] == "READY" && store["appliedRevision"] == commit).then(Instant::now)
        })
    }

    /// Stops the daemon and removes the demo's stores from the cluster.
    fn stop(self) {
        let (status, took) = self.daemon.terminate();
        assert!(status.success(), "the daemon ended with {status}");
        assert!(took < Duration::from_secs(10), "the daemon took {took:?} to end");
        self.cluster.delete_namespaces(&format!("storekeeper.dev/source={SOURCE}"));
    }
}

/// Says why no shop opens.
fn without_shops(node: &str) -> &'static str {
    match node {
        "simulated" => {
            "The node is simulated, so no shop opens. As root on Debian, make demo NODE=real runs real ones."
        }
        _ => "On a cluster of yours, READY is what its controllers say: the shops themselves are not asked.",
    }
}

/// Who watches a demo does not want to wait five minutes for a removal.
fn shorten_grace_period(checkout: &Path) {
    let path = checkout.join("storekeeper.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let (long, short) = ("deletionGracePeriodSeconds: 300", "deletionGracePeriodSeconds: 3");
    assert!(text.contains(long), "the example's fleet file has another grace period");
    fs::write(path, text.replace(long, short)).unwrap();
}

/// Puts the shops below another domain.
fn move_domain(checkout: &Path, domain: &str) {
    let stores = store_names(&checkout.join("stores")).into_iter().map(|name| format!("stores/{name}.yaml"));
    for file in stores.chain(["storekeeper.yaml".to_owned()]) {
        let path = checkout.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace(DOMAIN, domain)).unwrap();
    }
}

fn guest(display_name: &str) -> String {
    let head = "apiVersion: storekeeper.dev/v1\nkind: Store";
    format!("{head}\nmetadata:\n  name: {GUEST}\nspec:\n  displayName: {display_name}\n")
}

/// Prints moments as times since the push. A watch can deliver an event before `git push` has returned.
fn latencies(what: &str, pushed: Instant, moments: &[(&str, Instant)]) -> String {
    let times = moments.iter().map(|(name, at)| {
        format!("{name} {}", seconds(at.checked_duration_since(pushed).unwrap_or_default()))
    });
    format!("{what}: {}", times.collect::<Vec<_>>().join(", "))
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Prefers the port that people expect.
fn free_address() -> String {
    let usual = TcpListener::bind("127.0.0.1:8080");
    usual.or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap().local_addr().unwrap().to_string()
}

fn store_names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let yaml = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut names: Vec<_> = yaml.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
