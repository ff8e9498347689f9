//! Replicas share the stores by Leases: never do two write for one store, and what one leaves behind another takes over.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::api_proxy::{ApiProxy, Call, Fault, Interruption, Rule};
use common::{cluster, until};
use serde_json::{Value, json};
use storekeeper::cluster::{
    Changes, Cluster, ClusterSettings, Fence, Holdings, Leadership, LeaseSettings, Shard, Spread,
};
use storekeeper::names::StoreId;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Shorter than in production, so that tests end; what follows from it is in proportion.
const DURATION: Duration = Duration::from_secs(6);

/// A namespace in which members meet.
struct Place {
    namespace: String,
    cluster: cluster::Cluster,
    folder: TempDir,
    runtime: Runtime,
}

/// A member with a client of its own.
struct Member {
    leadership: Leadership,
    fence: Fence,
}

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("members-{:x}-{count}", std::process::id());
        let cluster = cluster::Cluster::from_environment();
        cluster.create_namespace(&namespace, &json!({}));
        Self { namespace, cluster, folder: tempfile::tempdir().unwrap(), runtime: Runtime::new().unwrap() }
    }

    fn proxy(&self) -> ApiProxy {
        ApiProxy::start(&self.cluster.kubeconfig, self.folder.path(), 1)
    }

    fn join(&self, identity: &str, spread: Spread) -> Member {
        self.join_by(&self.cluster.kubeconfig, identity, spread, 0)
    }

    /// Joins by another kubeconfig, with a wall clock that is wrong by so many seconds.
    fn join_by(&self, kubeconfig: &Path, identity: &str, spread: Spread, wrong: i64) -> Member {
        let settings = ClusterSettings {
            kubeconfig: Some(kubeconfig.to_owned()),
            requests_at_once: 8,
            ..ClusterSettings::new(self.namespace.parse().unwrap())
        };
        let lease = LeaseSettings {
            namespace: self.namespace.clone(),
            identity: identity.to_owned(),
            duration: DURATION,
            spread,
            clock: Arc::new(move || jiff::Timestamp::now().as_second() + wrong),
        };
        let leadership = self
            .runtime
            .block_on(async { Cluster::connect(settings, Changes::default()).await.unwrap().join(lease) });
        Member { fence: leadership.fence(), leadership }
    }

    fn leave(&self, member: Member) {
        self.runtime.block_on(member.leadership.leave());
    }

    /// Returns the data of the ring: shard to owner.
    fn ring(&self) -> BTreeMap<String, String> {
        let name = format!("storekeeper-{}-shards", self.namespace);
        let ring = self.cluster.get("v1", "ConfigMap", &self.namespace, &name).unwrap();
        // Without an entry there is no data at all.
        serde_json::from_value::<Option<_>>(ring["data"].clone()).unwrap().unwrap_or_default()
    }

    fn leases(&self) -> Vec<Value> {
        self.cluster.list("coordination.k8s.io/v1", "Lease", &self.namespace)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cluster.delete_namespace(&self.namespace);
    }
}

impl Member {
    fn holdings(&self) -> Holdings {
        self.leadership.holdings().borrow().clone()
    }

    fn has(&self, shards: usize) -> bool {
        let Holdings { mine, leaving, .. } = self.holdings();
        mine.len() == shards && leaving.is_empty()
    }
}

/// Returns a store of each shard.
fn stores() -> Vec<StoreId> {
    let mut found = BTreeMap::new();
    for number in 0.. {
        let store: StoreId = format!("s{number}").parse().unwrap();
        found.entry(Shard::of(&store)).or_insert(store);
        if found.len() == Shard::all().count() {
            break;
        }
    }
    found.into_values().collect()
}

/// Looks all the time whether two may write for one store.
struct Lookout {
    fences: Arc<Mutex<Vec<Fence>>>,
    ends: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Lookout {
    fn new(members: &[&Member]) -> Self {
        let fences: Vec<_> = members.iter().map(|member| member.fence.clone()).collect();
        let (fences, stores) = (Arc::new(Mutex::new(fences)), stores());
        let (ends, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (all, end, count) = (Arc::clone(&fences), Arc::clone(&ends), Arc::clone(&looks));
        let look = move || {
            let mut found = Vec::new();
            while !end.load(Ordering::Relaxed) {
                let fences = all.lock().unwrap().clone();
                for store in &stores {
                    // Who may before and after another may, may at the same moment.
                    let first: Vec<_> = fences.iter().filter(|fence| fence.permits(store)).collect();
                    if first.len() > 1 && first.iter().filter(|fence| fence.permits(store)).count() > 1 {
                        found.push(format!("{} members may write for {store}", first.len()));
                    }
                }
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
            found
        };
        Self { fences, ends, looks, thread: Some(std::thread::spawn(look)) }
    }

    fn add(&self, member: &Member) {
        self.fences.lock().unwrap().push(member.fence.clone());
    }

    fn end(mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let found = self.thread.take().unwrap().join().unwrap();
        let looks = self.looks.load(Ordering::Relaxed);
        assert!(found.is_empty() && looks > 0, "{looks} looks: {found:?}");
        println!("{looks} looks, never two at once");
    }
}

fn until_settled(what: &str, members: &[&Member], shards: &[usize]) {
    let mut seen = Vec::new();
    until(what, || {
        seen = members.iter().map(|member| member.holdings().mine.len()).collect();
        let settled = members.iter().zip(shards).all(|(member, shards)| member.has(*shards));
        settled.then_some(())
    });
}

/// Returns those members in the order of who leads.
fn leader_first<'a>(a: &'a Member, b: &'a Member) -> (&'a Member, &'a Member) {
    until("one leads", || (a.has(64) || b.has(64)).then_some(()));
    if a.has(64) { (a, b) } else { (b, a) }
}

#[test]
fn one_leads_and_another_takes_over_when_it_is_killed() {
    let place = Place::new();
    let a = place.join("a", Spread::Leader);
    until_settled("a leads", &[&a], &[64]);
    let b = place.join("b", Spread::Leader);
    until("b knows who leads", || (b.holdings().members().get("a") == Some(&64)).then_some(()));
    assert!(b.holdings().mine.is_empty() && a.fence.is_speaker() && !b.fence.is_speaker());
    let killed = Instant::now();
    drop(a);
    until_settled("b leads", &[&b], &[64]);
    let taken = killed.elapsed();
    println!("killed: taken over after {} ms, Leases of {} s", taken.as_millis(), DURATION.as_secs());
    assert!(taken < DURATION + Duration::from_secs(2), "{taken:?}");
    assert!(taken > DURATION / 2, "it was believed to live for as long as it might have: {taken:?}");
    assert_eq!(place.leases().len(), 1, "the dead one's Lease is gone");
}

#[test]
fn who_leaves_hands_over_at_once() {
    let place = Place::new();
    let a = place.join("a", Spread::Leader);
    until_settled("a leads", &[&a], &[64]);
    let b = place.join("b", Spread::Leader);
    until("b knows who leads", || (b.holdings().members().get("a") == Some(&64)).then_some(()));
    let lookout = Lookout::new(&[&a, &b]);
    let left = Instant::now();
    place.leave(a);
    until_settled("b leads", &[&b], &[64]);
    let taken = left.elapsed();
    println!("left: taken over after {} ms", taken.as_millis());
    assert!(taken < Duration::from_secs(2), "{taken:?}");
    lookout.end();
    place.leave(b);
    assert!(place.ring().is_empty() && place.leases().is_empty(), "the last one leaves nothing behind");
}

#[test]
fn who_was_cut_off_has_no_rights_before_another_has_them_and_none_when_it_comes_back() {
    let place = Place::new();
    let proxy = place.proxy();
    let a = place.join_by(&proxy.kubeconfig, "a", Spread::Leader, 0);
    until_settled("a leads", &[&a], &[64]);
    let b = place.join("b", Spread::Leader);
    until("b knows who leads", || (b.holdings().members().get("a") == Some(&64)).then_some(()));
    let lookout = Lookout::new(&[&a, &b]);
    // What it sends lands when it has long been taken for dead.
    proxy.add(Rule::new(Fault::Delay(2 * DURATION), |_| true));
    proxy.interrupt_watches(Interruption::Silence, |_| true);
    let cut = Instant::now();
    until("a has stopped", || a.holdings().mine.is_empty().then_some(()));
    let stopped = cut.elapsed();
    assert!(!a.fence.is_speaker() && b.holdings().mine.is_empty(), "nobody may write for a while");
    until_settled("b leads", &[&b], &[64]);
    println!(
        "cut off: a stopped after {} ms, b began after {} ms",
        stopped.as_millis(),
        cut.elapsed().as_millis()
    );
    // The requests of before have landed by then.
    std::thread::sleep(2 * DURATION);
    assert!(a.holdings().mine.is_empty() && b.has(64));
    proxy.clear();
    proxy.end_silence();
    until("a is back", || (a.holdings().members().get("b") == Some(&64)).then_some(()));
    until("both have a Lease", || (place.leases().len() == 2).then_some(()));
    assert!(a.holdings().mine.is_empty() && b.has(64) && !a.fence.is_speaker());
    lookout.end();
}

#[test]
fn three_share_the_shards_and_hand_them_over_without_a_moment_of_two_writers() {
    let place = Place::new();
    let a = place.join("storekeeper-a", Spread::Spread);
    let lookout = Lookout::new(&[&a]);
    until_settled("one has all", &[&a], &[64]);
    let (b, c) = (place.join("storekeeper-b", Spread::Spread), place.join("storekeeper-c", Spread::Spread));
    lookout.add(&b);
    lookout.add(&c);
    let shares = until("each has its share", || {
        let counts = [&a, &b, &c].map(|member| member.holdings().mine.len());
        let settled = [&a, &b, &c].iter().all(|member| member.holdings().leaving.is_empty());
        (settled && counts.iter().sum::<usize>() == 64 && counts.iter().all(|it| *it >= 10)).then_some(counts)
    });
    println!("shares of three: {shares:?}");
    assert_eq!(place.ring().len(), 64);
    let before = place.ring();
    let killed = Instant::now();
    drop(b);
    until("two have all", || {
        let counts = [&a, &c].map(|member| member.holdings().mine.len());
        (counts.iter().sum::<usize>() == 64).then_some(())
    });
    println!("one of three killed: all shards have an owner after {} ms", killed.elapsed().as_millis());
    let after = place.ring();
    let moved = before.iter().filter(|(shard, owner)| after[*shard] != **owner).count();
    assert_eq!(moved, shares[1], "only what was b's has moved");
    lookout.end();
}

#[test]
fn a_run_under_way_ends_before_its_shard_is_handed_over() {
    let place = Place::new();
    let a = place.join("storekeeper-a", Spread::Spread);
    until_settled("one has all", &[&a], &[64]);
    let stores = stores();
    let passes: Vec<_> = stores.iter().map(|store| a.fence.enter(store).unwrap()).collect();
    let b = place.join("storekeeper-b", Spread::Spread);
    let lookout = Lookout::new(&[&a, &b]);
    let leaving =
        until("shards are to leave", || Some(a.holdings().leaving).filter(|leaving| !leaving.is_empty()));
    std::thread::sleep(Duration::from_millis(500));
    assert!(a.holdings().mine.len() == 64 && b.holdings().mine.is_empty(), "runs are under way");
    for (store, _) in stores.iter().zip(&passes) {
        assert!(a.fence.permits(store), "a run under way may go on");
        assert_eq!(a.fence.enter(store).is_none(), leaving.contains(&Shard::of(store)), "{store}");
    }
    let ended = Instant::now();
    drop(passes);
    until_settled("b has them", &[&a, &b], &[64 - leaving.len(), leaving.len()]);
    println!("{} shards handed over {} ms after their last run", leaving.len(), ended.elapsed().as_millis());
    lookout.end();
}

#[test]
fn wrong_wall_clocks_change_nothing_and_rest_costs_a_renewal_now_and_then() {
    let place = Place::new();
    let hours = 5 * 3600;
    let (ahead, behind) = (place.proxy(), place.proxy());
    let a = place.join_by(&ahead.kubeconfig, "a", Spread::Leader, hours);
    until_settled("a leads", &[&a], &[64]);
    let b = place.join_by(&behind.kubeconfig, "b", Spread::Leader, -hours);
    until("b knows who leads", || (b.holdings().members().get("a") == Some(&64)).then_some(()));
    let (leader, _) = leader_first(&a, &b);
    assert!(leader.fence.is_speaker());
    let lookout = Lookout::new(&[&a, &b]);
    let ring = place.ring();
    ahead.forget();
    behind.forget();
    let rest = 3 * DURATION;
    let changed = a.leadership.holdings().has_changed().unwrap();
    assert!(!changed);
    let mut changes = a.leadership.holdings();
    std::thread::sleep(rest);
    assert!(!changes.borrow_and_update().mine.is_empty() && place.ring() == ring, "a has led all the time");
    for (name, proxy) in [("leader", &ahead), ("follower", &behind)] {
        let renewals = proxy.count(|call: &Call| call.verb == "PATCH" && call.path.contains("/leases/"));
        let others: Vec<_> =
            proxy.seen().into_iter().map(|seen| seen.call).filter(|call| call.verb != "PATCH").collect();
        println!("{name} at rest: {renewals} renewals in {} s, others: {others:?}", rest.as_secs());
        assert!((7..=10).contains(&renewals) && others.is_empty(), "{renewals} {others:?}");
    }
    let times: Vec<_> = place.leases().iter().map(|lease| lease["spec"]["renewTime"].to_string()).collect();
    assert!(times.len() == 2 && times[0][..14] != times[1][..14], "the clocks are hours apart: {times:?}");
    lookout.end();
}
