//! storekeeper as its chart installs it, on the real node: two replicas keep a real store, the one that leads is killed, the
//! release is upgraded, taken away and put back. The stores outlive all of it.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::common::daemon::get;
use super::common::repository::Repository;
use super::common::until_within;
use super::git_server::{Answer, Identity, Server};
use super::{PATIENCE, Run, say, seconds};

/// The release, its namespace and its source on the cluster.
const NAME: &str = "storekeeper";
const SOURCE: &str = "installed";
const STORE: &str = "store-clover";

/// How long a replica that says nothing counts as alive.
const LEASE: Duration = Duration::from_secs(5);

/// The page's port on the node, from the chart's values for a laptop.
const NODE_PORT: u16 = 30_080;

/// What lies in a store's namespace and changes when somebody writes there, and not by itself.
const STILL: [(&str, &str); 10] = [
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("v1", "LimitRange"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
];

/// What is at hand outside the cluster for the pods in it: the repository by https, and a way to the ingress controller.
struct Outside {
    repository: Repository,
    server: Server,
    address: IpAddr,
    relay: u16,
}

impl Run {
    /// The whole life of a store under an installed storekeeper.
    pub fn install(&mut self, folder: &Path) {
        let outside = self.outside(folder);
        let begun = Instant::now();
        self.kubectl(&["create", "namespace", NAME]);
        let authority = folder.join("authority.pem");
        let from = format!("--from-file=ca.crt={}", authority.display());
        self.kubectl(&["-n", NAME, "create", "secret", "generic", "git", &from]);
        self.helm_release("install", &outside, &[]);
        self.figure("storekeeper installed: two pods ready", &seconds(begun.elapsed()));

        Self::write_clover(&outside, "Clover");
        let commit = outside.repository.push("clover");
        let begun = Instant::now();
        self.until_shown(&commit);
        self.figure("a store under it: push to READY, on both pods' pages", &seconds(begun.elapsed()));
        assert!(self.shop("clover").page("/").unwrap().contains("Clover"));

        self.kill_the_leader(&outside);
        self.upgrade(&outside);
        self.uninstall_and_come_back(&outside);

        outside.repository.remove("stores/clover.yaml");
        outside.repository.push("no clover");
        let begun = Instant::now();
        until_within(PATIENCE, "clover is gone", || self.cluster.namespace(STORE).is_none().then_some(()));
        self.figure("its store removed: namespace gone", &seconds(begun.elapsed()));
        self.helm(&["uninstall", NAME, "--namespace", NAME, "--wait"]);
        self.kubectl(&["delete", "namespace", NAME, "--wait=false"]);
    }

    /// The leader's process is killed with a change on its way; the other replica carries it out.
    fn kill_the_leader(&mut self, outside: &Outside) {
        let before = self.owner();
        let leader = before.split('/').next().unwrap().to_owned();
        Self::write_clover(outside, "Clover & Daughters");
        let commit = outside.repository.push("another name");
        let pid = process_of(&leader);
        let killed = Instant::now();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        let taken = until_within(PATIENCE, "another replica leads", || {
            (self.owner() != before).then(|| killed.elapsed())
        });
        self.until_shown(&commit);
        self.figure(
            "leader killed, lease of 5 s: taken over, and the change READY",
            &format!("{}, {}", seconds(taken), seconds(killed.elapsed())),
        );
    }

    /// New pods, one after the other: the page is there all the time, and nothing is written into the store.
    fn upgrade(&mut self, outside: &Outside) {
        let before = self.versions();
        let stop = Arc::new(AtomicBool::new(false));
        let asking = spawn({
            let (stop, page) = (Arc::clone(&stop), format!("{}:{NODE_PORT}", self.node()));
            move || {
                let (mut asked, mut failed) = (0_u32, 0_u32);
                while !stop.load(Ordering::Relaxed) {
                    asked += 1;
                    failed += u32::from(get(&page, "/").is_none_or(|(status, _)| status != 200));
                    sleep(Duration::from_millis(100));
                }
                (asked, failed)
            }
        });
        let begun = Instant::now();
        self.helm_release("upgrade", outside, &["log.level=debug"]);
        self.until_shown(&outside.commit());
        let took = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        let (asked, failed) = asking.join().unwrap();
        assert_eq!(failed, 0, "{failed} of {asked} visits of the page failed during the upgrade");
        assert_eq!(before, self.versions(), "the upgrade wrote into the store");
        let figure =
            format!("{}, {asked} visits of the page meanwhile, none failed, nothing written", seconds(took));
        self.figure("upgrade of storekeeper", &figure);
    }

    /// Without storekeeper the shop goes on; a new one takes it up as it is.
    fn uninstall_and_come_back(&mut self, outside: &Outside) {
        let before = self.versions();
        self.helm(&["uninstall", NAME, "--namespace", NAME, "--wait"]);
        assert!(self.shop("clover").page("/").unwrap().contains("Clover &amp; Daughters"));
        self.helm_release("install", outside, &[]);
        self.until_shown(&outside.commit());
        assert_eq!(before, self.versions(), "a new storekeeper wrote into a store that is as git wants it");
        self.note("uninstalled and installed again: the shop was there all the time, and nothing was written into it");
    }

    fn outside(&self, folder: &Path) -> Outside {
        let mut address = self.node();
        if let IpAddr::V4(node) = address {
            let [a, b, c, _] = node.octets();
            address = IpAddr::from([a, b, c, 1]);
        }
        let authority = Identity::new("an authority", None, true, &[], 30);
        authority.write_pem(&folder.join("authority.pem"));
        let identity = Identity::new("git", Some(&authority), false, &[&address.to_string()], 30);
        let root = folder.join("installed");
        fs::create_dir_all(&root).unwrap();
        let repository = Repository::new(&root);
        let fleet = format!(
            "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: {}\n  valueFiles:\n    - chart:values-local.yaml\n  \
             deletionGracePeriodSeconds: 0\n  deletionBudget: {{maxPercent: 100}}\n",
            self.domain
        );
        repository.write("storekeeper.yaml", &fleet);
        repository.push("the fleet");
        let server = Server::start_on(address, &identity, &[], Answer::Git { root, token: None });
        let relay = relay(address, self.arguments.ingress);
        Outside { repository, server, address, relay }
    }

    fn write_clover(outside: &Outside, display_name: &str) {
        let text = format!(
            "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: clover\nspec:\n  displayName: {display_name}\n"
        );
        outside.repository.write("stores/clover.yaml", &text);
    }

    /// Installs or upgrades the release, and waits for its pods.
    fn helm_release(&self, verb: &str, outside: &Outside, more: &[&str]) {
        let Outside { server, address, relay, .. } = outside;
        let settings = [
            "replicas=2".to_owned(),
            format!("source={SOURCE}"),
            format!("repository.url=https://{address}:{}/fleet.git", server.port),
            "repository.caSecret.name=git".to_owned(),
            "repository.pollSeconds=2".to_owned(),
            format!("leadership.leaseSeconds={}", LEASE.as_secs()),
            "probe.mode=ingress".to_owned(),
            format!("probe.address={address}:{relay}"),
            "probe.intervalSeconds=10".to_owned(),
        ];
        let sets = settings.iter().map(String::as_str).chain(more.iter().copied());
        let sets: Vec<_> = sets.flat_map(|setting| ["--set", setting]).collect();
        let values = ["--values", "charts/platform/values-local.yaml"];
        let base = [verb, NAME, "charts/platform", "--namespace", NAME, "--wait", "--timeout", "5m"];
        self.helm(&[&base[..], &values, &sets].concat());
    }

    fn helm(&self, arguments: &[&str]) {
        let output = Command::new(&self.arguments.helm)
            .args(arguments)
            .env("KUBECONFIG", &self.arguments.kubeconfig)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm {arguments:?}: {said}");
    }

    /// Waits until every replica shows the store READY at this commit.
    fn until_shown(&self, commit: &str) {
        let begun = Instant::now();
        let mut last = String::new();
        until_within(PATIENCE, "every replica shows clover READY", || {
            let pages = self.pages();
            let shown = |page: &String| {
                let (_, body) = get(page, "/api/v1/stores/clover")?;
                serde_json::from_str::<Value>(&body).ok()
            };
            let shown: Vec<_> = pages.iter().filter_map(shown).collect();
            let line = shown
                .iter()
                .map(|it| format!("{} {}", it["state"], it["reason"]))
                .collect::<Vec<_>>()
                .join(" | ");
            if line != last {
                say(begun, &format!("clover: {line}"));
                last = line;
            }
            let is_ready = |it: &Value| it["state"] == "READY" && it["appliedRevision"] == commit;
            (shown.len() == 2 && shown.iter().all(is_ready)).then_some(())
        });
    }

    /// Returns where the pods of the release show their pages.
    fn pages(&self) -> Vec<String> {
        let pods = self.cluster.list("v1", "Pod", NAME);
        let stays = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        stays.filter_map(|pod| Some(format!("{}:8080", pod["status"]["podIP"].as_str()?))).collect()
    }

    /// Returns who keeps the stores, by pod and life.
    fn owner(&self) -> String {
        let ring = self.cluster.get("v1", "ConfigMap", NAME, &format!("storekeeper-{SOURCE}-shards"));
        ring.unwrap_or_default()["data"]["00"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns the version of everything of the store that changes by writing only.
    fn versions(&self) -> Vec<String> {
        let all = STILL.iter().flat_map(|(version, kind)| {
            let objects = self.cluster.list(version, kind, STORE);
            objects.into_iter().map(move |object| {
                let meta = &object["metadata"];
                // What the status says of a workload is its controller's.
                let version = meta.get("generation").unwrap_or(&meta["resourceVersion"]);
                format!("{kind}/{} {version}", meta["name"])
            })
        });
        all.collect()
    }

    fn node(&self) -> IpAddr {
        let nodes = self.cluster.list("v1", "Node", "");
        let addresses = nodes[0]["status"]["addresses"].as_array().unwrap();
        let inner = addresses.iter().find(|it| it["type"] == "InternalIP").unwrap();
        inner["address"].as_str().unwrap().parse().unwrap()
    }
}

impl Outside {
    fn commit(&self) -> String {
        super::common::repository::git(&self.repository.checkout, &["rev-parse", "HEAD"])
    }
}

/// Finds the process of a replica, by the name that it was given.
fn process_of(identity: &str) -> String {
    let given = format!("STOREKEEPER_IDENTITY={identity}\0");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter(|entry| {
        let variables = fs::read(entry.path().join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&variables).contains(&given)
    });
    pids.next().expect("the replica runs").file_name().into_string().unwrap()
}

/// Passes connections on from an address that pods reach.
fn relay(address: IpAddr, to: SocketAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    spawn(move || {
        for inward in listener.incoming().flatten() {
            let Ok(outward) = TcpStream::connect(to) else { continue };
            let pass = |mut from: TcpStream, mut to: TcpStream| {
                spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.flush();
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            };
            pass(inward.try_clone().unwrap(), outward.try_clone().unwrap());
            pass(outward, inward);
        }
    });
    port
}
