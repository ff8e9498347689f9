//! A fleet that three replicas share: what they cost, that no store is worked on by two, and how one that dies and one that
//! comes are taken up while everything changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::config::Kubeconfig;
use serde_json::{Value, json};

use super::audit::{Audit, Write};
use super::cold::{Bench, patience, until_settled};
use super::common::daemon::Daemon;
use super::common::until_within;
use super::figures::rounded;
use super::fleet::{self, Fleet};
use super::statistics::percentile;
use super::witness::Kind;
use super::{CONFIG_MAPS, fleetwide, process, say};

const NAMES: [&str; 3] = ["one", "two", "three"];

/// All shards of a source.
const SHARDS: u64 = 64;

/// How long a replica that says nothing counts as alive: what the chart says too.
const LEASE: Duration = Duration::from_secs(15);

/// How long the converged fleet rests.
const REST: Duration = Duration::from_mins(1);

/// How many of the stores change while a replica is gone: one in so many.
const EDITED: usize = 10;

const NAMESPACE: &str = "replicas";

/// The replicas on their fleet.
struct Shared<'a> {
    bench: &'a Bench<'a>,
    fleet: Fleet,
    stores: usize,
}

/// Installs stores by three replicas, lets them rest, kills one, and starts it again while every store changes.
pub fn measure(bench: &Bench<'_>, stores: usize) -> Value {
    let fleet = Fleet::new(bench.folder, "r", bench.chart, &bench.server.cluster.kubeconfig);
    bench.server.cluster.create_namespace(NAMESPACE, &json!({}));
    let shared = Shared { bench, fleet, stores };
    let mut replicas: Vec<_> = NAMES.iter().map(|name| shared.start(name)).collect();
    until_shared(&replicas);
    let mut figures = json!({ "stores": stores, "replicas": NAMES.len(), "lease_seconds": LEASE.as_secs() });
    let mut add = |name: &str, part: Value| {
        eprintln!("  {name}: {part}");
        figures[name] = part;
    };
    add("install", shared.install(&replicas));
    add("rest", shared.rest(&replicas));
    // The first one: it has kept stores for as long as any.
    replicas.remove(0).kill();
    add("killed", shared.killed(&replicas));
    let begun = Instant::now();
    replicas.insert(0, shared.start(NAMES[0]));
    add("back", shared.back(&replicas, begun));
    replicas.into_iter().for_each(fleetwide::stop);
    figures
}

impl Shared<'_> {
    fn start(&self, name: &str) -> Daemon {
        let folder = self.bench.folder.join(format!("replica-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let kubeconfig = kubeconfig_as(&self.bench.server.cluster.kubeconfig, name, &folder);
        let lease = LEASE.as_secs().to_string();
        let more = [
            ["--lease-namespace", NAMESPACE],
            ["--identity", name],
            ["--lease-seconds", &lease],
            ["--shards", "spread"],
        ];
        self.fleet.start_as(&kubeconfig, &folder, &more.concat())
    }

    /// From one push to all stores READY, as all replicas show it.
    fn install(&self, replicas: &[Daemon]) -> Value {
        let commit = self.edit("1", 1);
        let audit = self.bench.server.audit();
        let (server_cpu, cpu) = (self.bench.server.cpu_seconds(), cpu_seconds(replicas));
        let pushed = self.fleet.publish(&commit);
        until_settled(self.bench, &self.fleet.prefix(), self.stores);
        let ready = self.until_ready(replicas);
        let server_cpu = self.bench.server.cpu_seconds() - server_cpu;
        let cpu: Vec<_> =
            cpu_seconds(replicas).iter().zip(cpu).map(|(now, then)| rounded(now - then)).collect();
        let (_, whole) = self.bench.witness.whole(&self.fleet.prefix());
        let work = Work::of(&audit);
        json!({
            "seconds": rounded(whole.unwrap().duration_since(pushed).as_secs_f64()),
            "ready_seconds": rounded(ready.duration_since(pushed).as_secs_f64()),
            "stores_of_each": work.stores_of_each(), "worked_on_by_two": work.by_more_than_one(),
            "cpu_seconds_of_each": cpu, "server_cpu_seconds": rounded(server_cpu),
            "peak_rss_mib_of_each": peaks(replicas), "server_peak_rss_mib": self.bench.server.peaks(),
        })
    }

    /// A converged fleet at rest.
    fn rest(&self, replicas: &[Daemon]) -> Value {
        std::thread::sleep(Duration::from_secs(5));
        let (audit, cpu) = (self.bench.server.audit(), cpu_seconds(replicas));
        std::thread::sleep(REST);
        let requests = audit.count("storekeeper/");
        let cpu: Vec<_> =
            cpu_seconds(replicas).iter().zip(cpu).map(|(now, then)| rounded(now - then)).collect();
        json!({
            "seconds": REST.as_secs(), "requests": requests.total(), "lease_requests": requests.leases,
            "cpu_seconds_of_each": cpu, "requests_by_kind": requests.kinds,
        })
    }

    /// A replica has just been killed; some stores of everybody change.
    fn killed(&self, replicas: &[Daemon]) -> Value {
        let killed = Instant::now();
        let (audit, mark) = (self.bench.server.audit(), self.bench.witness.mark());
        let commit = self.edit("2", EDITED);
        let pushed = self.fleet.publish(&commit);
        let after = self.until_changed(mark, EDITED);
        let edited: BTreeSet<_> = self.numbers(EDITED).map(|number| self.fleet.namespace(number)).collect();
        until_shared(replicas);
        self.until_ready(replicas);
        let work = Work::of(&audit);
        let untouched = work.writes.iter().filter(|write| !edited.contains(&write.namespace)).count();
        let after: Vec<_> = after.values().map(|at| at.duration_since(pushed).as_secs_f64()).collect();
        let late: Vec<_> =
            after.iter().copied().filter(|seconds| *seconds > LEASE.as_secs_f64() / 2.0).collect();
        json!({
            "edited": edited.len(), "pushed_after_seconds": rounded(pushed.duration_since(killed).as_secs_f64()),
            "p50_seconds": rounded(percentile(&after, 50.0)), "last_seconds": rounded(percentile(&after, 100.0)),
            "waited_for_the_lease": late.len(), "first_of_those_seconds": late.iter().copied().reduce(f64::min).map(rounded),
            "worked_on_by_two": work.by_more_than_one(), "writes_into_other_stores": untouched,
        })
    }

    /// The replica that was killed is started again, and every store changes while it gets its share.
    fn back(&self, replicas: &[Daemon], begun: Instant) -> Value {
        let (audit, mark) = (self.bench.server.audit(), self.bench.witness.mark());
        let commit = self.edit("3", 1);
        let pushed = self.fleet.publish(&commit);
        let share = until_within(patience(self.stores), "the stores are shared by three again", || {
            is_shared(replicas).then(|| begun.elapsed())
        });
        let after = self.until_changed(mark, 1);
        let ready = self.until_ready(replicas);
        let work = Work::of(&audit);
        let last = after.values().max().unwrap();
        json!({
            "shared_after_seconds": rounded(share.as_secs_f64()),
            "all_changed_seconds": rounded(last.duration_since(pushed).as_secs_f64()),
            "ready_seconds": rounded(ready.duration_since(pushed).as_secs_f64()),
            "stores_of_each": work.stores_of_each(), "handed_over_on_the_way": work.by_more_than_one(),
            "worked_on_by_two_at_once": work.interleaved(), "writes": work.writes.len(),
        })
    }

    fn numbers(&self, one_in: usize) -> impl Iterator<Item = usize> {
        (0..self.stores).step_by(one_in)
    }

    fn edit(&self, edition: &str, one_in: usize) -> String {
        self.numbers(one_in).for_each(|number| self.fleet.write(number, edition));
        self.fleet.commit(&format!("edition {edition}"))
    }

    /// Returns when the last object of each edited store had changed.
    fn until_changed(&self, mark: usize, one_in: usize) -> BTreeMap<String, Instant> {
        let edited: BTreeSet<_> = self.numbers(one_in).map(|number| self.fleet.namespace(number)).collect();
        self.bench.witness.until(
            patience(self.stores),
            "every edited store's objects change",
            mark,
            |events| {
                let (mut names, mut done) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::new());
                for event in
                    events.iter().filter(|it| it.kind == Kind::ConfigMap && edited.contains(&it.namespace))
                {
                    let seen = names.entry(&event.namespace).or_default();
                    if seen.insert(&event.name) && seen.len() == CONFIG_MAPS {
                        done.insert(event.namespace.clone(), event.at);
                    }
                }
                (done.len() == edited.len()).then_some(done)
            },
        )
    }

    fn until_ready(&self, replicas: &[Daemon]) -> Instant {
        let mut shown = Instant::now();
        until_within(patience(self.stores), "all replicas show all stores READY", || {
            let ready: Vec<_> = replicas.iter().map(fleet::ready).collect();
            if shown.elapsed() > Duration::from_secs(5) {
                shown = Instant::now();
                say(&format!("READY: {ready:?} of {}", self.stores));
            }
            ready.iter().all(|count| *count == self.stores).then(Instant::now)
        })
    }
}

/// Who wrote where, in order.
struct Work {
    writes: Vec<Write>,
}

impl Work {
    fn of(audit: &Audit) -> Self {
        let mut writes = audit.writes("storekeeper/");
        writes.retain(|write| write.namespace.starts_with("store-"));
        writes.sort_by(|a, b| a.at.cmp(&b.at));
        Self { writes }
    }

    fn writers(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut writers = BTreeMap::<_, Vec<_>>::new();
        for write in &self.writes {
            writers.entry(write.namespace.as_str()).or_default().push(write.user.as_str());
        }
        writers
    }

    fn stores_of_each(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for writers in self.writers().values() {
            for writer in writers.iter().collect::<BTreeSet<_>>() {
                *count.entry(*writer).or_default() += 1;
            }
        }
        count
    }

    fn by_more_than_one(&self) -> usize {
        let several = |writers: &&Vec<&str>| writers.iter().any(|writer| *writer != writers[0]);
        self.writers().values().filter(several).count()
    }

    /// How many stores somebody wrote into again after another one had.
    fn interleaved(&self) -> usize {
        let returned = |writers: &&Vec<&str>| {
            let mut turns = (*writers).clone();
            turns.dedup();
            turns.len() > turns.iter().collect::<BTreeSet<_>>().len()
        };
        self.writers().values().filter(returned).count()
    }
}

fn cpu_seconds(replicas: &[Daemon]) -> Vec<f64> {
    replicas.iter().map(|replica| process::cpu_seconds(replica.pid())).collect()
}

fn peaks(replicas: &[Daemon]) -> Vec<Value> {
    replicas.iter().map(|replica| rounded(process::peak_rss_mib(replica.pid()))).collect()
}

fn until_shared(replicas: &[Daemon]) {
    until_within(LEASE * 8, "the stores are shared", || is_shared(replicas).then_some(()));
}

/// Whether each replica keeps a share, none is on its way to another one, and nothing is left over.
fn is_shared(replicas: &[Daemon]) -> bool {
    let shares = replicas.iter().map(|replica| {
        let line = replica.lines().filter(|line| line["message"] == "the stores are shared anew").last()?;
        let settled = line["leaving"] == 0 && line["members"] == replicas.len();
        line["shards"].as_u64().filter(|shards| settled && *shards > 0)
    });
    shares.collect::<Option<Vec<_>>>().is_some_and(|shares| shares.iter().sum::<u64>() == SHARDS)
}

/// Writes a kubeconfig by which a replica acts as a user of its own, so that the audit log tells them apart.
fn kubeconfig_as(kubeconfig: &Path, name: &str, folder: &Path) -> PathBuf {
    let mut read = serde_json::to_value(Kubeconfig::read_from(kubeconfig).unwrap()).unwrap();
    read["users"][0]["user"]["as"] = json!(name);
    read["users"][0]["user"]["as-groups"] = json!(["system:masters"]);
    let path = folder.join("kubeconfig");
    std::fs::write(&path, read.to_string()).unwrap();
    path
}
