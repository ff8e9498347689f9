//! A version that does not come up leaves what ran before serving, says what runs and what is wanted, and gives way to
//! the next commit, or, where the store asks for it, to what ran before.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::daemon::Daemon;
use common::shop::{Mood, Shop};
use common::{World, until};
use serde_json::{Value, json};

/// Values with which the bootstrap Job finds no node.
const HOMELESS_JOB: &str = "bootstrap: {resources: {requests: {cpu: \"900\"}, limits: {cpu: \"900\"}}}";

/// Values with which the API's pods find no node.
const HOMELESS_API: &str = "api: {resources: {requests: {cpu: \"900\"}, limits: {cpu: \"900\"}}}";

/// Writes the store with a version and chart values, pushes, and returns the commit.
fn push(world: &World, version: &str, rollback: &str, values: &str) -> String {
    world.write_store("acme", "Acme");
    let text = std::fs::read_to_string(world.repository.checkout.join(world.file("acme"))).unwrap();
    let more = format!("  version: \"{version}\"\n  rollback: {rollback}\n  values:\n    {values}\n");
    world.repository.write(&world.file("acme"), &format!("{text}{more}"));
    world.repository.push(version)
}

fn until_shown(world: &World, daemon: &Daemon, state: &str, words: &[&str]) -> Value {
    let mut last = Value::Null;
    until(&format!("acme is {state} with {words:?}"), || {
        last = daemon.store(&world.store("acme")).unwrap_or_default();
        let reason = last["reason"].as_str().unwrap_or_default();
        let said = words.iter().all(|word| reason.contains(word));
        (last["state"] == state && said).then(|| last.clone())
    })
}

fn until_ready_at(world: &World, daemon: &Daemon, commit: &str) {
    until(&format!("acme is READY at {commit}"), || {
        let shown = daemon.store(&world.store("acme"))?;
        (shown["state"] == "READY" && shown["appliedRevision"] == commit).then_some(())
    });
}

fn jobs(world: &World) -> Vec<Value> {
    let all = world.cluster.list("batch/v1", "Job", &world.namespace("acme"));
    all.into_iter().filter(|job| !job["metadata"]["labels"]["storekeeper.dev/store"].is_null()).collect()
}

/// Waits for a Job that is not this one and has begun, and ends it as the Job controller ends one past its deadline.
fn fail_job_besides(world: &World, old: &Value) {
    let new = until("the new version's Job has begun", || {
        let begun =
            |job: &Value| job["status"]["startTime"].is_string() && job["status"]["conditions"].is_null();
        jobs(world).into_iter().find(|job| job["metadata"]["uid"] != old["metadata"]["uid"] && begun(job))
    });
    let now = new["status"]["startTime"].as_str().unwrap();
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "it broke",
            "lastProbeTime": now, "lastTransitionTime": now})
    };
    let status = json!({"startTime": now, "active": 0, "ready": 0, "terminating": 0, "failed": 1,
        "uncountedTerminatedPods": {}, "conditions": [condition("FailureTarget"), condition("Failed")]});
    let name = new["metadata"]["name"].as_str().unwrap();
    world.cluster.patch_status("batch/v1", "Job", &world.namespace("acme"), name, &status);
}

fn image(world: &World) -> String {
    let deployment = world.cluster.get("apps/v1", "Deployment", &world.namespace("acme"), "medusa").unwrap();
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap().to_owned()
}

#[test]
fn a_failed_migration_says_what_runs_and_why_and_the_next_commit_recovers() {
    let (world, shop) = (World::new(), Shop::open(Mood::Open));
    let daemon = world.start_probing(&shop.address, &[]);
    let first = push(&world, "1.0.1", "none", "bootstrap: {}");
    until_ready_at(&world, &daemon, &first);
    let old = jobs(&world).remove(0);

    let second = push(&world, "1.0.2", "none", HOMELESS_JOB);
    fail_job_besides(&world, &old);
    let (runs, wants) = (format!("runs {} (", &first[..10]), format!("wants {} (", &second[..10]));
    let because = "because migration: Job/bootstrap-";
    let words = [&runs, ":1.0.1)", &wants, ":1.0.2)", because, "BackoffLimitExceeded: it broke"];
    until_shown(&world, &daemon, "FAILED", &words);
    until_shown(&world, &daemon, "FAILED", &["what runs still answers as a shopper needs it"]);
    shop.set(Mood::Away);
    until_shown(&world, &daemon, "FAILED", &["what runs does not answer"]);
    shop.set(Mood::Open);

    let third = push(&world, "1.0.3", "none", "bootstrap: {}");
    until_ready_at(&world, &daemon, &third);
    until("the Jobs of the earlier versions are gone", || (jobs(&world).len() == 1).then_some(()));
}

#[test]
fn a_version_that_runs_and_does_not_answer_is_not_said_to_be_another() {
    let (world, shop) = (World::new(), Shop::open(Mood::Open));
    let daemon = world.start_probing(&shop.address, &["--step-timeout", "probe=3"]);
    let first = push(&world, "1.0.1", "none", "bootstrap: {}");
    until_ready_at(&world, &daemon, &first);
    shop.set(Mood::Pageless);
    let second = push(&world, "1.0.2", "none", "bootstrap: {}");
    let (runs, last) = (format!("runs {} (", &second[..10]), format!("READY last with {}", &first[..10]));
    until_shown(&world, &daemon, "FAILED", &[&runs, ":1.0.2), which does not answer", "probe: ", &last]);
}

#[test]
fn what_ran_before_comes_back_and_is_held_over_restarts_until_a_commit_changes_the_store() {
    let world = World::new();
    let daemon = world.start_daemon();
    let first = push(&world, "1.0.1", "lastGood", "bootstrap: {}");
    until_ready_at(&world, &daemon, &first);
    let old = jobs(&world).remove(0);

    let second = push(&world, "1.0.2", "lastGood", HOMELESS_JOB);
    fail_job_besides(&world, &old);
    let words = [
        format!("rolled back to {} (", &first[..10]),
        format!("because {} (", &second[..10]),
        "BackoffLimitExceeded: it broke".to_owned(),
        "held until a commit changes this store".to_owned(),
    ];
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let held = until_shown(&world, &daemon, "FAILED", &words);
    assert_eq!(held["revision"], second, "git still wants the newer one");
    until("what ran before is applied", || image(&world).ends_with(":1.0.1").then_some(()));
    until("the newer version's Job is gone", || (jobs(&world).len() == 1).then_some(()));
    assert_eq!(jobs(&world)[0]["metadata"]["uid"], old["metadata"]["uid"], "nothing ran a second time");
    let inventory = world.cluster.get("v1", "ConfigMap", &world.namespace("acme"), "storekeeper-inventory");
    let inventory = inventory.unwrap()["data"]["inventory.json"].as_str().unwrap().to_owned();
    assert!(!inventory.contains("displayName"), "no values are kept in the cluster: {inventory}");

    daemon.kill();
    world.repository.write("README.md", "another commit, which changes no store");
    world.repository.push("nothing of a store");
    let daemon = world.start_daemon();
    until_shown(&world, &daemon, "FAILED", &words);
    // A password that somebody changed is kept, and is no other version.
    let patch = json!({ "stringData": { "admin-password": "changed-by-hand" } });
    world.cluster.patch("v1", "Secret", &world.namespace("acme"), "medusa", &patch);
    let patch = json!({ "spec": { "replicas": 0 } });
    world.cluster.patch("apps/v1", "Deployment", &world.namespace("acme"), "medusa", &patch);
    until("what is held is healed", || {
        let object = world.cluster.get("apps/v1", "Deployment", &world.namespace("acme"), "medusa")?;
        (object["spec"]["replicas"] == 1).then_some(())
    });
    assert!(image(&world).ends_with(":1.0.1"), "it is the version before that is healed");

    let third = push(&world, "1.0.3", "lastGood", "bootstrap: {}");
    until_ready_at(&world, &daemon, &third);
    assert!(image(&world).ends_with(":1.0.3"));
}

#[test]
fn a_version_whose_migration_has_run_is_not_rolled_back_and_says_so() {
    let world = World::new();
    let (url, folder) = (world.repository.url(), world.folder.path());
    let more = ["--probe", "objects", "--step-timeout", "api=3"];
    let daemon =
        Daemon::start_on("127.0.0.1:0", folder, &url, &world.source, &world.cluster.kubeconfig, &more);
    let first = push(&world, "1.0.1", "lastGood", "bootstrap: {}");
    until_ready_at(&world, &daemon, &first);
    let second = push(&world, "1.0.2", "lastGood", HOMELESS_API);
    let runs = format!("runs {}", &first[..10]);
    let words = [&runs, "because not done after 3 s", "not rolled back: Job/bootstrap-", "has run"];
    let shown = until_shown(&world, &daemon, "FAILED", &words);
    assert_eq!(shown["appliedRevision"], second);
    assert!(image(&world).ends_with(":1.0.2"));
}

#[test]
fn a_version_that_is_wanted_again_after_its_migration_failed_is_tried_again() {
    let world = World::new();
    let daemon = world.start_daemon();
    push(&world, "1.0.1", "none", HOMELESS_JOB);
    let nothing = json!({ "metadata": { "uid": null } });
    fail_job_besides(&world, &nothing);
    until_shown(&world, &daemon, "FAILED", &["BackoffLimitExceeded: it broke"]);
    let first = jobs(&world).remove(0);
    push(&world, "1.0.2", "none", HOMELESS_JOB);
    fail_job_besides(&world, &first);
    until_shown(&world, &daemon, "FAILED", &["BackoffLimitExceeded: it broke"]);

    let third = push(&world, "1.0.1", "none", HOMELESS_JOB);
    let again = until("the first version's Job is made anew", || {
        let is_again = |job: &Value| job["metadata"]["name"] == first["metadata"]["name"];
        jobs(&world).into_iter().find(is_again)
    });
    assert_ne!(again["metadata"]["uid"], first["metadata"]["uid"]);
    until("nothing else is left", || (jobs(&world).len() == 1).then_some(()));
    until_shown(&world, &daemon, "PROVISIONING", &["migration"]);
    assert_eq!(daemon.store(&world.store("acme")).unwrap()["appliedRevision"], third);
}

/// Leaves a pod of a Job behind, one of whose containers has ended with this code. The Job's own pods don't fit into the
/// store's quota.
fn leave_pod(world: &World, job: &Value, container: &str, code: i64) {
    let (namespace, name) = (world.namespace("acme"), "left-behind");
    let labels = json!({ "batch.kubernetes.io/job-name": job["metadata"]["name"] });
    let safe = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    let spec = json!({
        "schedulerName": "nobody", "automountServiceAccountToken": false,
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{ "name": container, "image": "example.com/x:1", "securityContext": safe }],
    });
    let metadata = json!({ "name": name, "namespace": namespace, "labels": labels });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    world.cluster.create("v1", "Pod", &namespace, pod);
    let now = job["metadata"]["creationTimestamp"].as_str().unwrap();
    let terminated = json!({ "exitCode": code, "reason": "Ended", "startedAt": now, "finishedAt": now });
    let ended = json!({ "name": container, "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": { "terminated": terminated } });
    world.cluster.patch_status("v1", "Pod", &namespace, name, &json!({ "containerStatuses": [ended] }));
}

#[test]
fn a_failed_job_whose_migration_ended_well_is_not_rolled_back() {
    let world = World::new();
    let daemon = world.start_daemon();
    let first = push(&world, "1.0.1", "lastGood", "bootstrap: {}");
    until_ready_at(&world, &daemon, &first);
    let old = jobs(&world).remove(0);
    push(&world, "1.0.2", "lastGood", HOMELESS_JOB);
    let new = until("the new version's Job is there", || {
        jobs(&world).into_iter().find(|job| job["metadata"]["uid"] != old["metadata"]["uid"])
    });
    leave_pod(&world, &new, "migrate", 0);
    fail_job_besides(&world, &old);
    let words = ["not rolled back: migrate of Job/bootstrap-", "ended well before that failed"];
    until_shown(&world, &daemon, "FAILED", &words);

    // What is given up before anybody knows how far it came keeps the one before from coming back too, until READY.
    push(&world, "1.0.3", "lastGood", HOMELESS_JOB);
    fail_job_besides(&world, &new);
    let name = new["metadata"]["name"].as_str().unwrap();
    let words = [&*format!("not rolled back: Job/{name}, of a version in between, went before")];
    until_shown(&world, &daemon, "FAILED", &words);
    let good = push(&world, "1.0.4", "lastGood", "bootstrap: {}");
    until_ready_at(&world, &daemon, &good);
    let last = jobs(&world);
    push(&world, "1.0.5", "lastGood", HOMELESS_JOB);
    fail_job_besides(
        &world,
        last.iter().find(|job| job["metadata"]["uid"] != new["metadata"]["uid"]).unwrap(),
    );
    until_shown(&world, &daemon, "FAILED", &[&format!("rolled back to {}", &good[..10])]);
}

fn redis(world: &World, kind: &str) -> Option<Value> {
    let version = if kind == "Service" { "v1" } else { "apps/v1" };
    world.cluster.get(version, kind, &world.namespace("acme"), "redis")
}

#[test]
fn what_a_newer_version_no_longer_has_stays_until_that_has_come_up() {
    let world = World::new();
    let daemon = world.start_daemon();
    let first = push(&world, "1.0.1", "none", "redis: {mode: embedded}");
    until_ready_at(&world, &daemon, &first);
    let (old, before) = (jobs(&world).remove(0), redis(&world, "StatefulSet").unwrap());

    push(&world, "1.0.2", "none", &format!("redis: {{mode: none}}\n    {HOMELESS_JOB}"));
    fail_job_besides(&world, &old);
    until_shown(&world, &daemon, "FAILED", &["because migration: Job/bootstrap-"]);
    let kept = redis(&world, "StatefulSet").expect("the version before needs it");
    assert_eq!(kept["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(redis(&world, "Service").is_some() && kept["metadata"]["deletionTimestamp"].is_null());

    // Over a restart too; and what holds it when it goes is nothing that the store waits for.
    daemon.kill();
    let daemon = world.start_daemon();
    let hold = |finalizers: &[&str]| {
        let patch = json!({ "metadata": { "finalizers": finalizers } });
        world.cluster.patch("v1", "Service", &world.namespace("acme"), "redis", &patch);
    };
    hold(&["example.com/hold"]);
    let third = push(&world, "1.0.3", "none", "redis: {mode: none}");
    until_ready_at(&world, &daemon, &third);
    until("what nothing needs any more is gone", || redis(&world, "StatefulSet").is_none().then_some(()));
    until("the Service is going", || {
        let going = redis(&world, "Service")?["metadata"]["deletionTimestamp"].is_string();
        going.then_some(())
    });
    let shown = daemon.store(&world.store("acme")).unwrap();
    assert_eq!(shown["state"], "READY", "{shown}");
    hold(&[]);
}

#[test]
fn a_migration_begins_when_the_one_before_has_ended() {
    let world = World::new();
    let daemon = world.start_daemon();
    push(&world, "1.0.1", "none", "nodeSelector: {nobody: \"has\"}");
    let of_job = |pod: &Value| pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_string();
    let pods = || world.cluster.list("v1", "Pod", &world.namespace("acme")).into_iter().find(of_job);
    let pod = until("the first Job has a pod", pods);
    let old = jobs(&world).remove(0);
    let name = old["metadata"]["name"].as_str().unwrap();
    // A pod that takes its time to end, as Medusa does.
    let hold = |finalizers: &[&str]| {
        let (name, patch) = (&pod["metadata"]["name"], json!({ "metadata": { "finalizers": finalizers } }));
        world.cluster.patch("v1", "Pod", &world.namespace("acme"), name.as_str().unwrap(), &patch);
    };
    hold(&["example.com/hold", "batch.kubernetes.io/job-tracking"]);
    push(&world, "1.0.2", "none", "bootstrap: {}");
    let waits = format!("waits for Job/{name}, of the version before, to end");
    until_shown(&world, &daemon, "PROVISIONING", &[&waits]);
    let there = jobs(&world);
    assert_eq!(there.len(), 1, "the newer one has not begun");
    assert_eq!(there[0]["metadata"]["uid"], old["metadata"]["uid"]);
    assert!(there[0]["metadata"]["deletionTimestamp"].is_string() && pods().is_some());
    hold(&[]);
    until("the newer one has begun", || {
        let is_new = |job: &Value| job["metadata"]["uid"] != old["metadata"]["uid"];
        jobs(&world).iter().all(is_new).then_some(()).filter(|()| !jobs(&world).is_empty())
    });
}
