//! No store waits for another one: not for one that hangs, not for one that is slow to render, not for its own older
//! commit. What the API server and the operator ask for is kept to, visibly.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(clippy::float_cmp, reason = "these metrics count whole things")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::api_proxy::{ApiProxy, Call, Fault, Rule};
use common::daemon::Daemon;
use common::{World, until};

/// Less than the 30 s after which a request without an answer fails: who is done by then has waited for none.
const SOON: Duration = Duration::from_secs(25);

fn start(world: &World, kubeconfig: &Path, more: &[&str]) -> Daemon {
    let more = [&["--probe", "objects"], more].concat();
    let url = world.repository.url();
    Daemon::start_on("127.0.0.1:0", world.folder.path(), &url, &world.source, kubeconfig, &more)
}

fn proxy(world: &World) -> ApiProxy {
    ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 1)
}

/// What is asked of these stores hangs for ever.
fn hanging(world: &World, names: &[&str]) -> Rule {
    let namespaces: Vec<_> = names.iter().map(|name| world.namespace(name)).collect();
    let concerns = move |call: &Call| namespaces.iter().any(|namespace| call.concerns(namespace));
    Rule::new(Fault::Hang, concerns)
}

fn slow_runs(daemon: &Daemon) -> f64 {
    daemon.metric("storekeeper_runs_under_way{lane=\"slow\"}")
}

#[test]
fn stores_that_hang_for_ever_delay_no_other_store() {
    let world = World::new();
    let proxy = proxy(&world);
    let hang = ["a", "b", "c", "d", "e"];
    proxy.add(hanging(&world, &hang));
    let daemon = start(&world, &proxy.kubeconfig, &["--concurrency", "2"]);
    // More than there are places, and before the others by name.
    for name in hang.iter().chain(&["x", "z"]) {
        world.write_store(name, name);
    }
    world.repository.push("all at once");
    let begun = Instant::now();
    for name in ["x", "z"] {
        world.until_state(&daemon, name, "READY");
    }
    let took = begun.elapsed();
    eprintln!("two stores behind five that hang were READY after {took:?}");
    assert!(took < SOON, "{took:?}");
    until("all that hang are in the slow lane", || (slow_runs(&daemon) >= 5.0).then_some(()));

    // Healing goes on, too.
    let namespace = world.namespace("z");
    world.cluster.delete("v1", "Service", &namespace, "medusa");
    let begun = Instant::now();
    until("the Service is back", || world.cluster.get("v1", "Service", &namespace, "medusa"));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_newer_commit_ends_a_run_that_hangs_on_an_older_one() {
    let world = World::new();
    let proxy = proxy(&world);
    proxy.add(hanging(&world, &["acme"]));
    let daemon = start(&world, &proxy.kubeconfig, &[]);
    world.write_store("acme", "Old");
    world.repository.push("the older commit");
    until("the run hangs", || (slow_runs(&daemon) == 1.0).then_some(()));
    // What hangs, hangs on; what comes is served.
    proxy.clear();
    world.write_store("acme", "New");
    let commit = world.repository.push("the newer commit");
    let begun = Instant::now();
    let store = world.store("acme");
    until("the newer commit is applied", || {
        daemon.store(&store).filter(|shown| shown["appliedRevision"] == commit.as_str())
    });
    let took = begun.elapsed();
    eprintln!("the newer commit was applied {took:?} after its push");
    assert!(took < SOON, "{took:?}");
    daemon.until_logged("the run was ended", |line| {
        line["fields"]["message"] == "a newer commit ends the run under way"
            || line["message"] == "a newer commit ends the run under way"
    });
    world.until_state(&daemon, "acme", "READY");
}

#[test]
fn a_store_that_waits_on_an_older_commit_gets_the_newer_one_at_once() {
    let world = World::new();
    // Nobody answers there: the store is never READY.
    let daemon = world.start_probing("127.0.0.1:1", &[]);
    world.write_store("acme", "Old");
    let older = world.repository.push("the older commit");
    let store = world.store("acme");
    let applied = |commit: &str| {
        until(&format!("{commit} is applied"), || {
            daemon.store(&store).filter(|shown| shown["appliedRevision"] == commit)
        })
    };
    applied(&older);
    world.until_state(&daemon, "acme", "PROVISIONING");
    world.write_store("acme", "New");
    let newer = world.repository.push("the newer commit");
    let begun = Instant::now();
    let shown = applied(&newer);
    let took = begun.elapsed();
    eprintln!("the newer commit was applied {took:?} after its push");
    assert!(shown["state"] != "READY" && took < SOON, "{took:?} {shown}");
}

#[test]
fn an_api_server_that_asks_to_wait_is_left_alone_by_all_and_everything_is_done_afterwards() {
    let world = World::new();
    let proxy = proxy(&world);
    let namespace = world.namespace("a");
    let patches = move |call: &Call| call.verb == "PATCH" && call.concerns(&namespace);
    let (rule, told) = Rule::new(Fault::too_many_requests(4), patches).after(2).times(1).told();
    proxy.add(rule);
    let daemon = start(&world, &proxy.kubeconfig, &[]);
    for name in ["a", "b", "c"] {
        world.write_store(name, name);
    }
    world.repository.push("three");
    told.blocking_recv().unwrap();
    until("the wait is shown", || (!daemon.fleet()["heldUntil"].is_null()).then_some(()));
    assert_eq!(daemon.metric("storekeeper_api_held"), 1.0);
    for name in ["a", "b", "c"] {
        world.until_state(&daemon, name, "READY");
    }
    let seen = proxy.seen();
    let refused = seen.iter().position(|seen| seen.fault.is_some()).unwrap();
    // Half a second for what was on its way, and one for each store that a busy machine let arrive later still.
    let quiet = seen[refused].at + Duration::from_millis(500)..seen[refused].at + Duration::from_secs(4);
    let broke_it: Vec<_> =
        seen.iter().filter(|seen| quiet.contains(&seen.at)).map(|seen| &seen.call).collect();
    assert!(broke_it.len() <= 3, "{broke_it:?}");
    let again = &seen[refused].call;
    assert!(
        seen[refused + 1..].iter().any(|seen| seen.call.path == again.path && seen.call.verb == again.verb)
    );
    assert_eq!(daemon.metric("storekeeper_api_refusals_total"), 1.0);
    until("the wait is over on the page", || daemon.fleet()["heldUntil"].is_null().then_some(()));
}

/// A chart of one object that computes for seconds for a store called `a`.
fn slow_chart(world: &World) -> String {
    let folder = world.folder.path().join("chart");
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    let write = |path: &str, text: &str| std::fs::write(folder.join(path), text).unwrap();
    write("Chart.yaml", "apiVersion: v2\nname: slow\nversion: 1.0.0\n");
    write("values.yaml", "{}\n");
    write("values-local.yaml", "{}\n");
    let busy = "{{ $text := repeat 60 \"ab\" }}{{ range until 700 }}{{ range until 1000 }}{{ $hash := sha256sum $text }}\
                {{ end }}{{ end }}";
    let text = format!(
        "{{{{ if eq .Release.Name \"{}\" }}}}{busy}{{{{ end }}}}\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n",
        world.store("a")
    );
    write("templates/settings.yaml", &text);
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_store_that_is_slow_to_render_delays_no_other_store() {
    let world = World::new();
    let chart = slow_chart(&world);
    let kubeconfig = world.cluster.kubeconfig.clone();
    let daemon = start(&world, &kubeconfig, &["--concurrency", "1", "--chart", &chart]);
    for name in ["a", "b"] {
        world.write_store(name, name);
    }
    world.repository.push("both");
    world.until_state(&daemon, "b", "READY");
    let slow = daemon.store(&world.store("a")).unwrap();
    assert!(slow["state"] == "PROVISIONING" && slow["appliedRevision"].is_null(), "{slow}");
}

#[test]
fn new_stores_over_the_size_of_the_fleet_wait_visibly_until_there_is_room() {
    let world = World::new();
    let kubeconfig = world.cluster.kubeconfig.clone();
    let daemon = start(&world, &kubeconfig, &["--max-stores", "1"]);
    world.write_store("m", "m");
    world.repository.push("the first");
    world.until_state(&daemon, "m", "READY");
    for name in ["a", "z"] {
        world.write_store(name, name);
    }
    world.repository.push("two more");
    let waits = |daemon: &Daemon, name: &str, words: &str| {
        until(&format!("{name} waits"), || {
            daemon.store(&world.store(name)).filter(|shown| {
                shown["state"] == "REQUESTED" && shown["reason"].as_str().unwrap().contains(words)
            })
        })
    };
    waits(&daemon, "a", "1 of 1 stores (--max-stores); 0 new stores are before it");
    waits(&daemon, "z", "1 new stores are before it");
    assert_eq!(daemon.metric("storekeeper_stores_waiting_for_admission"), 2.0);
    assert!(daemon.fleet()["admission"].as_str().unwrap().starts_with("2 new stores wait"));

    // A restart forgets nothing, and what exists is changed as ever.
    daemon.kill();
    let daemon = start(&world, &kubeconfig, &["--max-stores", "1"]);
    world.write_store("m", "Changed");
    let commit = world.repository.push("change the first");
    let changed = |shown: &serde_json::Value| shown["appliedRevision"] == commit.as_str();
    until("the first is changed", || daemon.store(&world.store("m")).filter(changed));
    waits(&daemon, "a", "--max-stores");
    assert!(world.cluster.namespace(&world.namespace("a")).is_none());

    world.repository.remove(&world.file("m"));
    world.repository.push("remove the first");
    world.until_state(&daemon, "a", "READY");
    waits(&daemon, "z", "0 new stores are before it");
    assert!(world.cluster.namespace(&world.namespace("m")).is_none());
}

#[test]
fn new_stores_over_the_rate_wait_over_a_restart_and_say_until_when() {
    let world = World::new();
    let kubeconfig = world.cluster.kubeconfig.clone();
    let daemon = start(&world, &kubeconfig, &["--max-new-stores-per-hour", "1"]);
    for name in ["a", "b"] {
        world.write_store(name, name);
    }
    world.repository.push("two");
    world.until_state(&daemon, "a", "READY");
    daemon.kill();
    let daemon = start(&world, &kubeconfig, &["--max-new-stores-per-hour", "1"]);
    world.until_state(&daemon, "a", "READY");
    let shown = until("b says until when it waits", || {
        daemon.store(&world.store("b")).filter(|shown| !shown["nextRetry"].is_null())
    });
    assert_eq!(shown["state"], "REQUESTED");
    assert!(
        shown["reason"].as_str().unwrap().contains("1 of 1 new stores were made in the last hour"),
        "{shown}"
    );
    assert!(world.cluster.namespace(&world.namespace("b")).is_none());
}
