//! What a replica shows that keeps nothing: who does, and how the stores are, as far as their keeper alone can know.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/replicas.rs"]
mod replicas;

use std::process::Command;

use common::api_proxy::{Fault, Rule};
use common::daemon::binary;
use common::{World, until};
use replicas::{Replicas, until_at};
use serde_json::Value;

/// Returns what an entry of a list says that is named so.
fn named<'a>(replicas: &'a Value, identity: &str) -> &'a Value {
    replicas["all"].as_array().unwrap().iter().find(|it| it["identity"] == identity).unwrap_or(&Value::Null)
}

/// Runs the command that lists them; returns its exit code and what it says.
fn list_replicas(world: &World, replicas: &Replicas<'_>) -> (i32, String) {
    let kubeconfig = world.cluster.kubeconfig.to_str().unwrap();
    let output = Command::new(binary())
        .args(["replicas", "--lease-namespace", &replicas.namespace])
        .args(["--source", &world.source, "--kubeconfig", kubeconfig])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn every_replica_says_who_keeps_what_and_since_when() {
    let world = World::new();
    let replicas = Replicas::new(&world, "leader");
    let first = replicas.start("first");
    world.write_store("acme", "Acme");
    let commit = world.repository.push("acme");
    until_at(&first, &world, "acme", &commit);
    let second = replicas.start("second");
    until_at(&second, &world, "acme", &commit);

    let mut since = Vec::new();
    for (replica, identity, role) in [(&first, "first", "leader"), (&second, "second", "follower")] {
        let shown = until("both are known", || {
            let shown = replica.daemon.fleet()["replicas"].clone();
            (!named(&shown, "second").is_null()).then_some(shown)
        });
        assert_eq!((&shown["identity"], &shown["role"]), (&identity.into(), &role.into()), "{shown}");
        assert_eq!((&shown["shards"], &shown["unkept"]), (&64.into(), &0.into()), "{shown}");
        let leader = named(&shown, "first");
        let kept = (&leader["alive"], &leader["shards"], &leader["stores"]);
        assert_eq!(kept, (&true.into(), &64.into(), &1.into()), "{shown}");
        assert_eq!(named(&shown, "second")["role"], "follower", "{shown}");
        since.push(shown["since"].as_str().unwrap().to_owned());
        assert_eq!(replica.daemon.store(&world.store("acme")).unwrap()["keeper"], "first");
        let page = replica.daemon.get(&format!("/stores/{}", world.store("acme"))).1;
        assert!(page.contains("<dt>Kept by</dt><dd>first</dd>"), "{page}");
    }
    assert_eq!(since[0], since[1], "they agree since when");
    assert!(
        second.daemon.get("/").1.contains("This is replica second, which follows; first keeps all stores")
    );
    let metric = |replica: &replicas::Replica, name: &str| replica.daemon.metric(name).to_string();
    assert_eq!(metric(&first, "storekeeper_shards_kept"), "64");
    assert_eq!(metric(&second, "storekeeper_shards_kept"), "0");
    assert_eq!(metric(&second, "storekeeper_replicas_alive"), "2");
    assert_eq!(metric(&second, "storekeeper_takeovers_total"), "0");
    assert!(second.daemon.metric("storekeeper_lease_renewed_timestamp_seconds") > 1.7e9);

    let (code, said) = list_replicas(&world, &replicas);
    assert!(code == 0 && said.contains("\nfirst     64  ") && said.contains("\nsecond    0   "), "{said}");

    first.signal("STOP");
    until("the second one sees that the first is silent, or has taken over", || {
        (metric(&second, "storekeeper_takeovers_total") == "1").then_some(())
    });
    assert_eq!(metric(&second, "storekeeper_shards_kept"), "64");
    let shown = until("it says so", || {
        let shown = second.daemon.fleet()["replicas"].clone();
        (shown["role"] == "leader" && shown["unkept"] == 0).then_some(shown)
    });
    assert!(named(&shown, "first").is_null(), "{shown}");
    assert_eq!(second.daemon.store(&world.store("acme")).unwrap()["keeper"], "second");
    first.signal("CONT");
    for replica in [first, second] {
        replica.daemon.kill();
    }
    world.cluster.delete(
        "v1",
        "ConfigMap",
        &replicas.namespace,
        &format!("storekeeper-{}-shards", world.source),
    );
    let (code, said) = list_replicas(&world, &replicas);
    assert!(code == 1 && said.contains("64 shards are kept by nobody"), "{said}");
}

#[test]
fn what_its_keeper_alone_knows_of_a_store_shows_on_every_replica() {
    const WORDS: &str = "the keeper alone hears this";
    let world = World::new();
    let replicas = Replicas::new(&world, "leader");
    let first = replicas.start("first");
    until("the first one leads", || (first.daemon.metric("storekeeper_shards_kept") > 63.0).then_some(()));
    let namespace = world.namespace("acme");
    let refused = Rule::new(Fault::status(422, "Invalid", WORDS), move |call| {
        call.is_write() && call.concerns(&namespace) && call.path.contains("/deployments/")
    });
    let refused = first.proxy.add(refused);
    let second = replicas.start("second");
    world.write_store("acme", "Acme");
    let commit = world.repository.push("acme");
    let shown = |replica: &replicas::Replica| replica.daemon.store(&world.store("acme")).unwrap_or_default();
    let is_failed = |replica: &replicas::Replica| {
        let shown = shown(replica);
        (shown["state"] == "FAILED" && shown["reason"].as_str()?.contains(WORDS)).then_some(())
    };
    until("the keeper fails", || is_failed(&first));
    until("the follower says so, and why", || is_failed(&second));
    assert_eq!(shown(&second)["keeper"], "first");
    assert_eq!(second.writes(), []);

    first.proxy.remove(refused);
    until_at(&first, &world, "acme", &commit);
    until_at(&second, &world, "acme", &commit);
    assert_eq!(second.writes(), []);
}
