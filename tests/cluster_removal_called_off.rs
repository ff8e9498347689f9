//! A deletion that waits for its turn at the API server is called off by a commit like one that was not asked for yet.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::time::{Duration, Instant};

use common::api_proxy::{ApiProxy, Call, Fault, Rule};
use common::daemon::Daemon;
use common::{World, until};

const BUDGET: &str = "deletionBudget: {maxStores: 1, maxPercent: 100, windowMinutes: 0}";

/// For how long the API server asks to wait.
const HELD: u32 = 4;

/// A world of two stores whose first one is about to be deleted: the request was answered "wait".
struct Scene {
    world: World,
    daemon: Daemon,
    proxy: ApiProxy,
    asked: Instant,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        world.write_fleet(BUDGET);
        for name in ["acme", "bonsai"] {
            world.write_store(name, name);
        }
        world.repository.push("two stores");
        let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 1);
        let daemon = world.start_small_on(&proxy.kubeconfig);
        for name in ["acme", "bonsai"] {
            world.until_state(&daemon, name, "READY");
        }
        let (rule, told) = Rule::new(Fault::too_many_requests(HELD), deletes(&world)).times(1).told();
        proxy.add(rule);
        world.remove_store("acme");
        told.blocking_recv().unwrap();
        Self { world, daemon, proxy, asked: Instant::now() }
    }

    /// Waits until a request that was told to wait would have been sent again, and looks that it was not.
    fn was_called_off(&self) {
        let again = Duration::from_secs(HELD.into()) * 2;
        until("the wait is over", || (self.asked.elapsed() > again).then_some(()));
        assert_eq!(self.proxy.count(deletes(&self.world)), 1);
        assert!(self.world.stays("acme"));
    }
}

fn deletes(world: &World) -> impl Fn(&Call) -> bool + Send + 'static {
    let path = format!("/api/v1/namespaces/{}", world.namespace("acme"));
    move |call| call.verb == "DELETE" && call.path == path
}

#[test]
fn a_file_that_comes_back_calls_it_off() {
    let scene = Scene::new();
    let before = scene.world.uid("acme");
    scene.world.write_store("acme", "acme");
    scene.world.repository.push("acme is back");
    scene.was_called_off();
    scene.world.until_state(&scene.daemon, "acme", "READY");
    assert_eq!(scene.world.uid("acme"), before);
}

#[test]
fn a_commit_that_can_not_be_used_calls_it_off() {
    let scene = Scene::new();
    scene.world.write_fleet("domian: wrong");
    scene.world.repository.push("a fleet file that is wrong");
    scene.was_called_off();
    scene.world.until_failed(&scene.daemon, "acme", &["nothing is removed for now"]);
    scene.world.write_fleet(BUDGET);
    scene.world.repository.push("mended");
    scene.world.until_gone("acme");
}

#[test]
fn a_commit_that_exceeds_the_budget_calls_it_off() {
    let scene = Scene::new();
    scene.world.remove_store("bonsai");
    scene.was_called_off();
    for name in ["acme", "bonsai"] {
        scene.world.until_failed(&scene.daemon, name, &["deletion budget"]);
    }
}
