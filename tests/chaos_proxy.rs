//! The proxy that misbehaves does so as told: else the tests that use it prove nothing.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::api_proxy::{ApiProxy, Call, Fault, Interruption, Rule};
use common::{World, required_path, until};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A proxy with a client behind it and a namespace to write into.
struct Bench {
    proxy: ApiProxy,
    runtime: Runtime,
    client: Client,
    namespace: String,
    _folder: TempDir,
}

impl Bench {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let proxy = ApiProxy::start(&required_path("STOREKEEPER_TEST_KUBECONFIG"), folder.path(), 1);
        let runtime = Runtime::new().unwrap();
        let client = common::cluster::client(&runtime, &proxy.kubeconfig, false);
        let namespace = format!("proxy-{name}-{:x}", std::process::id());
        let bench = Self { proxy, runtime, client, namespace, _folder: folder };
        let metadata = ObjectMeta { name: Some(bench.namespace.clone()), ..ObjectMeta::default() };
        let namespaces = Api::<Namespace>::all(bench.client.clone());
        let made = Namespace { metadata, ..Namespace::default() };
        bench.runtime.block_on(namespaces.create(&PostParams::default(), &made)).unwrap();
        bench
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a ConfigMap; the error in its own words.
    fn apply(&self, name: &str) -> Result<(), Error> {
        let body = map(name);
        let params = PatchParams::apply("test");
        self.runtime.block_on(self.maps().patch(name, &params, &Patch::Apply(&body))).map(|_| ())
    }

    fn exists(&self, name: &str) -> bool {
        self.runtime.block_on(self.maps().get_opt(name)).unwrap().is_some()
    }

    /// Opens a watch of the namespace's ConfigMaps.
    fn open_watch(&self, query: &str) -> TcpStream {
        let config = std::fs::read_to_string(&self.proxy.kubeconfig).unwrap();
        let address = config.split("http://").nth(1).unwrap().split('"').next().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let path = format!("/api/v1/namespaces/{}/configmaps?watch=true{query}", self.namespace);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        stream
    }

    /// Whether an act is still under way after a while.
    fn hangs(&self, act: impl Future) -> bool {
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(300), act).await.is_err() })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.proxy.clear();
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let _ = self.runtime.block_on(namespaces.delete(&self.namespace, &DeleteParams::default()));
    }
}

fn map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

fn patch(name: &'static str) -> impl Fn(&Call) -> bool + Send + 'static {
    move |call| call.verb == "PATCH" && call.path.ends_with(&format!("/configmaps/{name}"))
}

#[test]
fn what_meets_no_rule_passes_and_is_counted() {
    let bench = Bench::new("pass");
    bench.apply("a").unwrap();
    bench.apply("a").unwrap();
    assert!(bench.exists("a"));
    let path = format!("/api/v1/namespaces/{}/configmaps/a", bench.namespace);
    let counts = bench.proxy.counts();
    assert_eq!(counts[&("PATCH".to_owned(), path.clone())], 2);
    assert_eq!(counts[&("GET".to_owned(), path)], 1);
    assert_eq!(bench.proxy.count(Call::is_write), 3);
    assert!(bench.proxy.seen().iter().all(|seen| seen.call.concerns(&bench.namespace) || seen.call.nth == 0));
    assert!(bench.proxy.faults().is_empty());
}

#[test]
fn a_status_comes_instead_of_the_act_as_often_as_told() {
    let bench = Bench::new("status");
    let busy = Fault::too_many_requests(7);
    bench.proxy.add(Rule::new(busy, patch("a")).after(1).times(1));
    bench.apply("a").unwrap();
    match bench.apply("a").unwrap_err() {
        Error::Api(status) => {
            assert_eq!(status.code, 429);
            assert!(status.message.contains("Too many requests"), "{status}");
        }
        other => panic!("{other}"),
    }
    bench.apply("a").unwrap();
    bench.proxy.add(Rule::new(Fault::status(409, "Conflict", "be quicker"), patch("b")));
    match bench.apply("b").unwrap_err() {
        Error::Api(status) => assert_eq!((status.code, status.reason.as_str()), (409, "Conflict")),
        other => panic!("{other}"),
    }
    assert!(!bench.exists("b"));
    let faults: Vec<_> = bench.proxy.faults().into_iter().collect();
    assert_eq!(faults, [("409".to_owned(), 1), ("429".to_owned(), 1)]);
}

#[test]
fn a_reset_keeps_the_act_from_landing_and_a_lost_answer_does_not() {
    let bench = Bench::new("reset");
    bench.proxy.add(Rule::new(Fault::Reset, patch("reset")));
    let (rule, told) = Rule::new(Fault::LoseAnswer, patch("lost")).told();
    bench.proxy.add(rule);
    assert!(bench.apply("reset").is_err());
    assert!(bench.apply("lost").is_err());
    assert!(told.blocking_recv().unwrap().concerns(&bench.namespace));
    assert!(!bench.exists("reset"));
    assert!(bench.exists("lost"));
}

#[test]
fn a_hanging_call_never_lands_and_a_held_answer_comes_after_the_act() {
    let bench = Bench::new("hang");
    bench.proxy.add(Rule::new(Fault::Hang, |call| call.path.ends_with("/hangs")));
    bench.proxy.add(Rule::new(Fault::HoldAnswer, |call| call.verb == "POST"));
    let maps = bench.maps();
    assert!(bench.hangs(maps.get("hangs")));
    let metadata = ObjectMeta { name: Some("held".to_owned()), ..ObjectMeta::default() };
    let held = ConfigMap { metadata, ..ConfigMap::default() };
    assert!(bench.hangs(maps.create(&PostParams::default(), &held)));
    assert!(bench.exists("held"));
    bench.proxy.add(Rule::new(Fault::Delay(Duration::from_millis(200)), patch("slow")));
    let begun = Instant::now();
    bench.apply("slow").unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_delayed_call_lands_though_its_sender_has_gone() {
    let bench = Bench::new("late");
    bench.proxy.add(Rule::new(Fault::Delay(Duration::from_secs(1)), patch("late")));
    let (maps, body) = (bench.maps(), map("late"));
    assert!(bench.hangs(maps.patch("late", &PatchParams::apply("test"), &Patch::Apply(&body))));
    assert!(!bench.exists("late"));
    until("it lands", || bench.exists("late").then_some(()));
}

#[test]
fn a_streamed_list_ends_or_breaks_off_after_as_many_objects_as_told() {
    let bench = Bench::new("list");
    for name in ["a", "b", "c"] {
        bench.apply(name).unwrap();
    }
    for (fault, is_whole) in [(Fault::EndAfter(2), true), (Fault::BreakAfter(2), false)] {
        bench.proxy.add(Rule::new(fault, Call::is_streamed_list).times(1));
        let query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let stream = bench.open_watch(query);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut text = Vec::new();
        let _ = (&stream).read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.matches("\"type\":\"ADDED\"").count(), 2, "{text}");
        assert_eq!(text.ends_with("0\r\n\r\n"), is_whole, "{text}");
    }
}

#[test]
fn half_a_body_is_an_error_whether_the_connection_breaks_or_not() {
    let bench = Bench::new("half");
    bench.apply("a").unwrap();
    for fault in [Fault::CutBody, Fault::ShortBody] {
        let rule = bench.proxy.add(Rule::new(fault, |call| call.path.ends_with("/configmaps")));
        assert!(bench.runtime.block_on(bench.maps().list(&ListParams::default())).is_err());
        bench.proxy.remove(rule);
    }
    bench.runtime.block_on(bench.maps().list(&ListParams::default())).unwrap();
}

#[test]
fn watches_stream_and_end_as_told() {
    let bench = Bench::new("watch");
    bench.apply("a").unwrap();
    for how in [Interruption::End, Interruption::Gone, Interruption::Break, Interruption::Silence] {
        // At the wire: kube's own client tells a watch that ended and one that broke off alike.
        let stream = bench.open_watch("");
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut text = Vec::new();
        until("the watch tells of what there is", || {
            let _ = (&stream).read_to_end(&mut text);
            String::from_utf8_lossy(&text).contains("\"name\":\"a\"").then_some(())
        });
        text.clear();
        let met = bench.proxy.interrupt_watches(how, |call| call.concerns(&bench.namespace));
        assert_eq!(met, 1, "{how:?}");
        let ended = (&stream).read_to_end(&mut text).is_ok();
        let text = String::from_utf8(text).unwrap();
        let last_chunk = text.ends_with("0\r\n\r\n");
        let told = text.contains("\"code\":410");
        match how {
            // The connection stays open for the next request.
            Interruption::End => assert!(!told && last_chunk, "{text}"),
            Interruption::Gone => assert!(told && last_chunk, "{text}"),
            Interruption::Break => assert!(ended && !told && !last_chunk, "{text}"),
            Interruption::Silence => assert!(!ended && text.is_empty(), "{text}"),
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_call_the_same_chance() {
    let chances = |seed| (0..1000).map(move |nth| common::api_proxy::chance(seed, &format!("GET /a {nth}")));
    assert!(chances(1).eq(chances(1)));
    assert!(!chances(1).eq(chances(2)));
    let low = chances(3).filter(|chance| *chance < 0.1).count();
    assert!((60..140).contains(&low), "{low} of 1000 below 0.1");
}

#[test]
fn the_daemon_makes_a_store_through_the_proxy() {
    let world = World::new();
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 1);
    let daemon = world.start_daemon_on(&proxy.kubeconfig);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    world.until_state(&daemon, "acme", "READY");
    let namespace = world.namespace("acme");
    assert!(proxy.count(|call| call.is_write() && call.concerns(&namespace)) > 10);
    assert!(proxy.count(Call::is_watch) > 5);
}
