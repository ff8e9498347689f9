//! A plan shows beforehand what a merge would do, exactly: fields, losses, refusals and warnings, and nothing of a Secret.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::World;
use storekeeper::chart::Chart;
use storekeeper::cluster::{Changes, Cluster, ClusterSettings};
use storekeeper::ledger::Ledger;
use storekeeper::preview::{self, Outlook};
use storekeeper::reconcile::{Context, Past, Surroundings};
use storekeeper::report::{PlanReport, StepTimeouts};
use storekeeper::store::{FileContent, Limits, RepositoryTree, Revision, Snapshot};
use tokio::runtime::Runtime;

/// Someone who plans, beside the daemon.
struct Planner {
    runtime: Runtime,
    context: Context,
}

impl Planner {
    fn new(world: &World, chart: &Path) -> Self {
        Self::on(world, chart, &world.cluster.kubeconfig)
    }

    fn on(world: &World, chart: &Path, kubeconfig: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        let chart = Arc::new(Chart::load(files(chart)).unwrap());
        let source: storekeeper::names::SourceId = world.source.parse().unwrap();
        let settings = ClusterSettings {
            kubeconfig: Some(kubeconfig.to_owned()),
            context: None,
            source: source.clone(),
            requests_at_once: 64,
        };
        let cluster = runtime.block_on(async {
            let cluster = Cluster::connect(settings, Changes::default()).await.unwrap();
            cluster.start_watching().await.unwrap();
            cluster
        });
        let entropy = |bytes: &mut [u8]| getrandom(bytes);
        let surroundings = Surroundings { clock: Arc::new(now), entropy: Arc::new(entropy) };
        let past = Past::new(Arc::default(), Arc::clone(&chart));
        let (timeouts, ledger) = (StepTimeouts::default(), Ledger::new(std::path::PathBuf::new()));
        Self { runtime, context: Context { cluster, chart, source, surroundings, timeouts, ledger, past } }
    }

    /// Reads the files as they lie in the checkout.
    fn snapshot(&self, world: &World) -> Snapshot {
        let folder = &world.repository.checkout;
        let mut found = files(folder);
        found.retain(|path, _| storekeeper::store::wants(path));
        let files = found.into_iter().map(|(path, bytes)| (path, FileContent::Bytes(bytes))).collect();
        let tree = RepositoryTree { revision: Revision::working_tree(), files };
        let incumbents = self.context.cluster.incumbents();
        storekeeper::store::read(
            &tree,
            &|path| self.context.chart.file(path),
            &incumbents,
            &Limits::default(),
        )
        .unwrap()
    }

    fn plan(&self, base: Option<&Snapshot>, proposed: &Snapshot) -> PlanReport {
        self.plan_with(base, proposed, &Outlook::new(now()))
    }

    fn plan_with(&self, base: Option<&Snapshot>, proposed: &Snapshot, outlook: &Outlook) -> PlanReport {
        self.runtime.block_on(preview::proposal(&self.context, base, proposed, outlook))
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn getrandom(bytes: &mut [u8]) {
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), bytes).unwrap();
}

/// Reads all files of a folder by their paths in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with(".git") {
                    open.push(path);
                }
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

fn built_in() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/medusa-store"))
}

#[test]
fn look() {
    let (world, _daemon) = World::with_ready(&["acme", "bonsai"]);
    let planner = Planner::new(&world, built_in());
    let base = planner.snapshot(&world);
    println!("{}", planner.plan(None, &base).text(false));
    world.write_store_with(
        "acme",
        "values: {storefront: {replicas: 3, image: {tag: edge}}, store: {currency: usd}}",
    );
    let proposed = planner.snapshot(&world);
    let begun = std::time::Instant::now();
    let plan = planner.plan(Some(&base), &proposed);
    println!("{:?}\n{}", begun.elapsed(), serde_json::to_string_pretty(&plan).unwrap());
    let begun = std::time::Instant::now();
    let plan = planner.plan(Some(&base), &proposed);
    println!("{:?}\n{}", begun.elapsed(), plan.text(false));
    let stranger = Outlook { lookups: false, ..Outlook::new(now()) };
    let plan = planner.plan_with(Some(&base), &proposed, &stranger);
    println!("{}", serde_json::to_string_pretty(&plan).unwrap());
    world.repository.remove(&world.file("bonsai"));
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    println!("{}", serde_json::to_string_pretty(&plan.stores[1]).unwrap());
}
