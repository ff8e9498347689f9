//! Everything together, on a real node: stores are pushed, bought from, broken, changed, backed up, restored and
//! removed, by what users have: git, a browser, HTTP and kubectl.
//!
//! Each phase prints how long it took; the last line sums up. What is wrong panics and names itself.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod browser;
#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/browser.rs"]
mod driver;
#[path = "../../tests/common/git_server.rs"]
mod git_server;
mod installed;
mod shopper;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use browser::Browser;
use clap::Parser;
use common::cluster::Cluster;
use common::daemon::Daemon;
use common::repository::Repository;
use common::until_within;
use reqwest::Method;
use serde_json::Value;
use shopper::{Http, Order, Shop};

/// This run's source on the cluster.
const SOURCE: &str = "e2e";

/// How long anything may take before the run gives up: machines are shared, and nothing here is a benchmark.
const PATIENCE: Duration = Duration::from_mins(10);

#[derive(Parser)]
struct Arguments {
    /// A kubeconfig of the cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The devcluster program.
    #[arg(long)]
    devcluster: PathBuf,
    /// The folder of the devcluster, which holds the volumes.
    #[arg(long)]
    state: PathBuf,
    /// The address of the ingress controller.
    #[arg(long)]
    ingress: SocketAddr,
    /// The `ChromeDriver` program; without it nobody buys through the pages.
    #[arg(long)]
    chromedriver: Option<PathBuf>,
    /// The folder for screenshots.
    #[arg(long)]
    screenshots: PathBuf,
    /// The helm program.
    #[arg(long)]
    helm: PathBuf,
    /// The file that the line of figures goes to.
    #[arg(long)]
    figures: PathBuf,
}

fn main() {
    let arguments = Arguments::parse();
    let figures = arguments.figures.clone();
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::start(arguments, folder.path());
    run.provision();
    run.stores_are_apart();
    let order = run.buy();
    run.lose_pods(&order);
    run.rename();
    let dump = run.back_up();
    run.restore(&dump, &order);
    run.memory();
    run.remove();
    run.install(folder.path());
    let summary = run.stop();
    fs::write(figures, format!("{summary}\n")).unwrap();
}

struct Run {
    arguments: Arguments,
    repository: Repository,
    cluster: Cluster,
    daemon: Daemon,
    http: Arc<Http>,
    domain: String,
    begun: Instant,
    figures: Vec<String>,
}

impl Run {
    fn start(arguments: Arguments, folder: &Path) -> Self {
        let domain = format!("{}.nip.io", arguments.ingress.ip());
        let repository = Repository::new(folder);
        let fleet = format!(
            "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: {domain}\n  valueFiles:\n    - chart:values-local.yaml\n  \
             deletionGracePeriodSeconds: 0\n  deletionBudget: {{maxPercent: 100}}\n"
        );
        repository.write("storekeeper.yaml", &fleet);
        repository.push("the fleet");
        let cluster = Cluster::connect(arguments.kubeconfig.clone());
        let address = arguments.ingress.to_string();
        let probe = ["--probe-address", address.as_str(), "--probe-interval-seconds", "10"];
        let daemon =
            Daemon::start_on("127.0.0.1:0", folder, &repository.url(), SOURCE, &cluster.kubeconfig, &probe);
        let http = Arc::new(Http::new(arguments.ingress));
        Self {
            arguments,
            repository,
            cluster,
            daemon,
            http,
            domain,
            begun: Instant::now(),
            figures: Vec::new(),
        }
    }

    /// Two stores from one push, each from nothing to READY.
    fn provision(&mut self) {
        self.write_store("acme", "Acme Outdoor", "");
        // The one as small as a store gets, the other with Redis and a worker.
        let bonsai = "  values:\n    store:\n      currency: jpy\n      countries: [jp]\n    redis:\n      mode: embedded\n";
        self.write_store("bonsai", "Bonsai & Moss", bonsai);
        let commit = self.repository.push("add acme and bonsai");
        let pushed = Instant::now();
        let mut ready = BTreeMap::new();
        let mut shown: BTreeMap<&str, String> = BTreeMap::new();
        let daemon = &self.daemon;
        until_within(PATIENCE, "both stores are READY", || {
            for name in ["acme", "bonsai"] {
                let store = daemon.store(name).unwrap_or_default();
                assert_ne!(store["state"], "FAILED", "{store}");
                let step = store["step"].as_str().unwrap_or_default();
                let line = format!("{} {step}", store["state"].as_str().unwrap_or("-"));
                if shown.get(name) != Some(&line) {
                    say(pushed, &format!("{name}: {}", store["reason"].as_str().unwrap_or_default()));
                    shown.insert(name, line);
                }
                if store["state"] == "READY" && store["appliedRevision"] == commit {
                    ready.entry(name).or_insert_with(|| pushed.elapsed());
                }
            }
            (ready.len() == 2).then_some(())
        });
        self.figure(
            "two stores at once: push to READY",
            &ready.values().map(|it| seconds(*it)).collect::<Vec<_>>().join(" and "),
        );
        // What READY promised.
        let page = self.shop("acme").page("/").unwrap();
        assert!(page.contains("Acme Outdoor"), "the storefront names the store");
        for component in ["redis", "worker"] {
            self.pod("store-bonsai", component);
        }
    }

    /// What one store knows is worth nothing at the other.
    fn stores_are_apart(&mut self) {
        let (acme, bonsai) = (self.shop("acme"), self.shop("bonsai"));
        let key = &acme.secrets["publishable-key"];
        assert_eq!(acme.status_with_key(key), 200);
        assert_eq!(bonsai.status_with_key(key), 400, "a key is good for its own store only");
        for (name, value) in &acme.secrets {
            assert_ne!(bonsai.secrets.get(name), Some(value), "{name} is the same in two stores");
        }
        assert!(bonsai.try_log_in(&self.email("acme")).is_none(), "acme's merchant can log in at bonsai");
        let pods = self.cluster.list("v1", "Pod", "store-acme");
        let tokens: Vec<_> =
            pods.iter().filter(|pod| pod.to_string().contains("serviceAccountToken")).collect();
        assert!(tokens.is_empty(), "a pod has a token of the API server: {tokens:?}");
        self.note("keys, passwords and logins of one store are refused by the other");
        self.note("network policies: no CNI at hand enforces them; tests/chart_network_policies.rs evaluates them instead");
    }

    /// An order through the pages in a browser, one through the Store API, both seen by the merchant.
    fn buy(&mut self) -> Order {
        let begun = Instant::now();
        let api = self.shop("bonsai").buy();
        assert!(self.shop("bonsai").orders(&self.email("bonsai")).contains(&api));
        self.figure("order through the Store API", &seconds(begun.elapsed()));
        let http = Arc::clone(&self.http);
        let acme = Shop { http: &http, ..self.shop("acme") };
        let Some(chromedriver) = self.arguments.chromedriver.clone() else {
            self.note("no ChromeDriver here: nobody bought through the pages");
            return acme.buy();
        };
        let ingress = self.arguments.ingress.to_string();
        let browser = Browser::start(&chromedriver, &ingress, &self.arguments.screenshots);
        let begun = Instant::now();
        let number = browser.buy(&acme.url);
        self.figure("order through the storefront in Chromium", &seconds(begun.elapsed()));
        let orders = acme.orders(&self.email("acme"));
        let order = orders.into_iter().find(|order| order.number == number);
        let order = order.unwrap_or_else(|| panic!("the Admin API does not know order {number}"));
        let password = acme.secrets["admin-password"].clone();
        browser.see_order_in_dashboard(&acme.url, (&self.email("acme"), &password), number);
        self.note("the merchant sees the order in the Admin API and, logged in, in the dashboard");
        order
    }

    /// The API's and the database's pods go, one after the other; the order stays.
    fn lose_pods(&mut self, order: &Order) {
        for (component, what) in [("medusa", "API pod"), ("postgres", "PostgreSQL pod")] {
            let pod = self.pod("store-acme", component);
            self.kubectl(&["-n", "store-acme", "delete", "pod", &pod, "--wait=false"]);
            let begun = Instant::now();
            until_within(PATIENCE, &format!("pod {pod} has been replaced"), || {
                let pods = self.cluster.list("v1", "Pod", "store-acme");
                let ours = pods
                    .iter()
                    .filter(|it| it["metadata"]["labels"]["app.kubernetes.io/component"] == component);
                let alive: Vec<_> = ours.filter(|it| it["metadata"]["deletionTimestamp"].is_null()).collect();
                let ready = |pod: &&&Value| {
                    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
                    conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
                };
                let replaced = alive.len() == 1
                    && alive.iter().find(ready).is_some()
                    && (component == "postgres" || alive[0]["metadata"]["name"] != pod.as_str());
                let uid_is_new = pods.iter().all(|it| {
                    it["metadata"]["name"] != pod.as_str() || it["metadata"]["deletionTimestamp"].is_null()
                });
                (replaced && uid_is_new).then_some(())
            });
            self.until_ready("acme", None);
            let orders = self.shop("acme").orders(&self.email("acme"));
            assert!(orders.contains(order), "the order is gone with the {what}: {orders:?}");
            self.figure(&format!("{what} deleted, READY again with the order"), &seconds(begun.elapsed()));
        }
    }

    /// A commit changes the name; shoppers are served all the while.
    fn rename(&mut self) {
        let (stop, failures, asked) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let shopping = {
            let (stop, failures, asked) = (Arc::clone(&stop), Arc::clone(&failures), Arc::clone(&asked));
            let (ingress, url) = (self.arguments.ingress, self.url("acme"));
            std::thread::spawn(move || {
                let http = Http::new(ingress);
                while !stop.load(Ordering::Relaxed) {
                    let answer = http.try_send(Method::GET, &format!("{url}/"), &[], None);
                    asked.fetch_add(1, Ordering::Relaxed);
                    if answer.is_none_or(|answer| answer.status != 200) {
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(500));
                }
            })
        };
        let name = "Acme & Daughters <Outdoor>";
        self.write_store("acme", &format!("'{name}'"), "");
        let commit = self.repository.push("rename acme");
        let begun = Instant::now();
        self.until_ready("acme", Some(&commit));
        let live = until_within(PATIENCE, "the new name is live", || {
            let page = self.shop("acme").page("/")?;
            page.contains("Acme &amp; Daughters &lt;Outdoor&gt;").then(|| begun.elapsed())
        });
        stop.store(true, Ordering::Relaxed);
        shopping.join().unwrap();
        let (asked, failures) = (asked.load(Ordering::Relaxed), failures.load(Ordering::Relaxed));
        assert_eq!(failures, 0, "{failures} of {asked} visits failed during the change");
        self.figure(
            "display name changed: push to live",
            &format!("{}, {asked} visits meanwhile, none failed", seconds(live)),
        );
    }

    /// Runs a backup now and fetches its dump; returns the dump's name.
    fn back_up(&mut self) -> (String, Vec<u8>) {
        let begun = Instant::now();
        self.kubectl(&["-n", "store-acme", "create", "job", "--from=cronjob/backup", "backup-now"]);
        until_within(PATIENCE, "the backup is complete", || {
            let job = self.cluster.get("batch/v1", "Job", "store-acme", "backup-now")?;
            let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
            assert!(!conditions.iter().any(|it| it["type"] == "Failed"), "{job}");
            conditions.iter().any(|it| it["type"] == "Complete").then_some(())
        });
        let took = begun.elapsed();
        // The documented way to read a dump out of the volume.
        let reader = documented("name: read-backups");
        self.apply("store-acme", &reader);
        self.kubectl(&[
            "-n",
            "store-acme",
            "wait",
            "--for=condition=Ready",
            "--timeout=120s",
            "pod/read-backups",
        ]);
        let list = self.kubectl(&["-n", "store-acme", "exec", "read-backups", "--", "ls", "/backups"]);
        let list = String::from_utf8(list).unwrap();
        let name = list.lines().rfind(|line| Path::new(line).extension().is_some_and(|it| it == "dump"));
        let name = name.unwrap_or_else(|| panic!("no dump: {list}")).to_owned();
        let dump = self.kubectl(&[
            "-n",
            "store-acme",
            "exec",
            "read-backups",
            "--",
            "cat",
            &format!("/backups/{name}"),
        ]);
        self.kubectl(&["-n", "store-acme", "delete", "pod", "read-backups", "--wait=false"]);
        self.figure("backup", &format!("{}, {} kB", seconds(took), dump.len() / 1000));
        (name, dump)
    }

    /// Makes a second store from the dump.
    fn restore(&mut self, (name, dump): &(String, Vec<u8>), order: &Order) {
        let begun = Instant::now();
        self.write_store("copy", "A copy of Acme", &format!("  values:\n    restore:\n      file: {name}\n"));
        let commit = self.repository.push("restore acme's backup as copy");
        let pod = until_within(PATIENCE, "the restore waits for its file", || {
            let pods = self.cluster.list("v1", "Pod", "store-copy");
            let pod = pods
                .iter()
                .find(|it| it["metadata"]["labels"]["app.kubernetes.io/component"] == "bootstrap")?;
            let statuses = pod["status"]["initContainerStatuses"].as_array()?;
            let runs = statuses.iter().any(|it| it["name"] == "restore" && !it["state"]["running"].is_null());
            runs.then(|| pod["metadata"]["name"].as_str().unwrap().to_owned())
        });
        let receive = format!("cat >/backups/.incoming && mv /backups/.incoming /backups/{name}");
        let arguments = [
            "-n",
            "store-copy",
            "exec",
            "--stdin",
            &pod,
            "--container",
            "restore",
            "--",
            "sh",
            "-c",
            &receive,
        ];
        self.kubectl_with(&arguments, dump);
        self.until_ready("copy", Some(&commit));
        let copy = self.shop("copy");
        let orders = copy.orders(&self.email("copy"));
        assert!(orders.contains(order), "the order is not in the copy: {orders:?}");
        assert_ne!(copy.secrets["publishable-key"], self.shop("acme").secrets["publishable-key"]);
        let placed = copy.buy();
        assert!(placed.number > order.number, "the copy sells on");
        self.figure("second store from the backup: push to READY with the order", &seconds(begun.elapsed()));
    }

    /// What a store's pods hold in memory.
    fn memory(&mut self) {
        let pods: Vec<_> =
            self.working_sets("store-acme").into_iter().filter(|(_, megabytes)| *megabytes > 0).collect();
        let sum: u64 = pods.iter().map(|(_, megabytes)| megabytes).sum();
        assert!(sum > 0, "the kubelet tells no memory");
        let parts: Vec<_> = pods.iter().map(|(name, megabytes)| format!("{name} {megabytes}")).collect();
        self.figure("memory of acme", &format!("{sum} MB ({})", parts.join(", ")));
    }

    /// Returns the memory of each pod that runs in a namespace, or in all for `""`, in megabytes: the working set, as
    /// the kubelet counts it.
    fn working_sets(&self, namespace: &str) -> Vec<(String, u64)> {
        let nodes = self.cluster.list("v1", "Node", "");
        let node = nodes[0]["metadata"]["name"].as_str().unwrap();
        let summary = self.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/stats/summary")]);
        let summary: Value = serde_json::from_slice(&summary).unwrap();
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let ours = pods.iter().filter(|pod| namespace.is_empty() || pod["podRef"]["namespace"] == namespace);
        let sets = ours.map(|pod| {
            let bytes = pod["memory"]["workingSetBytes"].as_u64().unwrap_or(0);
            (pod["podRef"]["name"].as_str().unwrap().to_owned(), bytes / 1_000_000)
        });
        sets.collect()
    }

    /// The files go, and with them namespaces, volumes and the volumes' folders; the other store stays.
    fn remove(&mut self) {
        let folders = self.volume_folders("store-acme");
        assert!(folders.len() >= 2, "acme has volumes: {folders:?}");
        assert!(folders.iter().all(|folder| folder.is_dir()), "{folders:?}");
        self.repository.remove("stores/acme.yaml");
        self.repository.push("remove acme");
        let begun = Instant::now();
        until_within(PATIENCE, "namespace store-acme is gone", || {
            self.cluster.namespace("store-acme").is_none().then_some(())
        });
        let gone = begun.elapsed();
        until_within(PATIENCE, "acme's volumes and their folders are gone", || {
            let left =
                self.volume_folders("store-acme").len() + folders.iter().filter(|it| it.exists()).count();
            (left == 0).then_some(())
        });
        self.figure(
            "store removed: namespace gone",
            &format!("{}, volumes on disk {}", seconds(gone), seconds(begun.elapsed())),
        );
        assert_eq!(self.daemon.store("bonsai").unwrap()["state"], "READY", "bonsai is not concerned");
        let host = self.http.try_send(Method::GET, &format!("{}/", self.url("acme")), &[], None).unwrap();
        assert_eq!(host.status, 404, "acme's host leads nowhere");
    }

    fn stop(self) -> String {
        let names = ["bonsai", "copy"];
        let folders: Vec<_> =
            names.iter().flat_map(|name| self.volume_folders(&format!("store-{name}"))).collect();
        for name in names {
            self.repository.remove(&format!("stores/{name}.yaml"));
        }
        // An empty folder of stores is a mistake to storekeeper; a last store that goes is not.
        self.write_store("last", "Last", "");
        self.repository.push("remove bonsai and copy");
        until_within(PATIENCE, "bonsai and copy are gone", || {
            let there = names.iter().any(|name| self.cluster.namespace(&format!("store-{name}")).is_some());
            (!there && folders.iter().all(|folder| !folder.exists())).then_some(())
        });
        let (status, _) = self.daemon.terminate();
        assert!(status.success(), "the daemon ended with {status}");
        self.cluster.delete_namespaces(&format!("storekeeper.dev/source={SOURCE}"));
        format!("e2e: passed in {}; {}", seconds(self.begun.elapsed()), self.figures.join("; "))
    }

    fn until_ready(&self, name: &str, commit: Option<&str>) {
        let mut last = String::new();
        let begun = Instant::now();
        until_within(PATIENCE, &format!("{name} is READY"), || {
            let store = self.daemon.store(name)?;
            let text = |key: &str| store[key].as_str().unwrap_or_default().to_owned();
            let line = format!("{name}: {} {}", text("state"), text("reason"));
            if line != last {
                say(begun, &line);
                last = line;
            }
            let applied = commit.is_none_or(|commit| store["appliedRevision"] == commit);
            (store["state"] == "READY" && store["step"].is_null() && applied).then_some(())
        });
    }

    fn shop(&self, name: &str) -> Shop<'_> {
        let secret = self.cluster.get("v1", "Secret", &format!("store-{name}"), "medusa").unwrap();
        let entries = secret["data"].as_object().unwrap().iter().map(|(key, value)| {
            let bytes = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
            (key.clone(), String::from_utf8(bytes).unwrap())
        });
        Shop { http: &self.http, url: self.url(name), secrets: entries.collect() }
    }

    fn url(&self, name: &str) -> String {
        format!("http://{name}.{}", self.domain)
    }

    fn email(&self, name: &str) -> String {
        format!("admin@{name}.{}", self.domain)
    }

    fn pod(&self, namespace: &str, component: &str) -> String {
        let pods = self.cluster.list("v1", "Pod", namespace);
        let pod = pods.iter().find(|it| it["metadata"]["labels"]["app.kubernetes.io/component"] == component);
        pod.unwrap_or_else(|| panic!("no pod of {component}"))["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn volume_folders(&self, namespace: &str) -> Vec<PathBuf> {
        let volumes = self.cluster.list("v1", "PersistentVolume", "");
        let ours = volumes.iter().filter(|volume| volume["spec"]["claimRef"]["namespace"] == namespace);
        ours.map(|volume| PathBuf::from(volume["spec"]["local"]["path"].as_str().unwrap())).collect()
    }

    fn write_store(&self, name: &str, display_name: &str, more: &str) {
        let text = format!(
            "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {name}\nspec:\n  displayName: {display_name}\n{more}"
        );
        self.repository.write(&format!("stores/{name}.yaml"), &text);
    }

    fn apply(&self, namespace: &str, manifest: &str) {
        self.kubectl_with(&["-n", namespace, "apply", "-f", "-"], manifest.as_bytes());
    }

    fn kubectl(&self, arguments: &[&str]) -> Vec<u8> {
        self.kubectl_with(arguments, &[])
    }

    fn kubectl_with(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new(&self.arguments.devcluster)
            .arg("--state")
            .arg(&self.arguments.state)
            .arg("kubectl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let _ = writing.join().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {errors}");
        output.stdout
    }

    fn figure(&mut self, what: &str, value: &str) {
        let memory: u64 = self.working_sets("").iter().map(|(_, megabytes)| megabytes).sum();
        say(self.begun, &format!("{what}: {value}; all pods now hold {memory} MB"));
        self.figures.push(format!("{what} {value}"));
    }

    fn note(&self, what: &str) {
        say(self.begun, what);
    }
}

/// Returns the YAML block of the chart's README that holds these words: what is documented is what runs.
fn documented(words: &str) -> String {
    let readme = fs::read_to_string("charts/medusa-store/README.md").unwrap();
    let block = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    block.into_iter().find(|block| block.contains(words)).unwrap().to_owned()
}

fn say(since: Instant, what: &str) {
    eprintln!("  {:>8}  {what}", seconds(since.elapsed()));
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
