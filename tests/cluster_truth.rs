//! What the API server refuses is said in its own words, with what was sent masked, and is mended by the next try.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/turned_chart.rs"]
mod turned_chart;

use std::path::{Path, PathBuf};

use common::daemon::Daemon;
use common::policies::{ClusterScoped, refuse};
use common::{World, until};
use serde_json::{Value, json};

fn start(world: &World, chart: Option<&Path>, kubeconfig: &Path) -> Daemon {
    let (url, folder) = (world.repository.url(), world.folder.path());
    let chart = chart.map(|chart| ["--chart", chart.to_str().unwrap()]);
    // The turned chart's, and one that some of these tests install.
    let kinds = format!("{},{}.example.com/Widget", turned_chart::KIND, world.prefix);
    let more = ["--probe", "objects", "--chart-kinds", &kinds];
    let more: Vec<_> = more.into_iter().chain(chart.into_iter().flatten()).collect();
    Daemon::start_on("127.0.0.1:0", folder, &url, &world.source, kubeconfig, &more)
}

#[test]
fn an_admission_policy_is_quoted_without_what_was_sent_and_names_what_waits_for_it() {
    let world = World::new();
    let chart = turned_chart::write(world.folder.path());
    let quote = |field: &str| format!("'not here: ' + {field}");
    let env = "object.spec.template.spec.containers[0].env[0].value";
    let sets = refuse(&world, ("apps", "statefulsets"), &["CREATE", "UPDATE"], ("false", &quote(env)));
    let secrets =
        refuse(&world, ("", "secrets"), &["CREATE", "UPDATE"], ("false", &quote("object.data.canary")));
    // Policies come into force a moment after they are made.
    let labels = json!({"storekeeper.dev/source": world.source});
    let probe = format!("{}-probe", world.prefix);
    world.cluster.create_namespace(&probe, &labels);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": probe},
        "data": {"canary": ""}});
    until("the policy is in force", || world.cluster.try_apply(&secret).is_err().then_some(()));

    let daemon = start(&world, Some(&chart), &world.cluster.kubeconfig);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    let policy = format!("ValidatingAdmissionPolicy '{}-secrets'", world.prefix);
    let words =
        ["apply Secret/frozen: ", &policy, "denied request (its words", "not tried before this is mended: "];
    let reason = world.until_failed(&daemon, "acme", &words);
    assert!(reason.contains("PersistentVolumeClaim/pictures"), "{reason}");
    drop(secrets);
    let words = ["apply StatefulSet/database: ", "denied request: not here: ***", "CronJob/last"];
    world.until_failed(&daemon, "acme", &words);
    drop(sets);
    world.until_state(&daemon, "acme", "READY");
    let log = std::fs::read_to_string(&daemon.log).unwrap();
    assert!(!log.contains("canary") && !log.contains("Y2FuYXJ5"), "what was sent is nowhere:\n{log}");
    world.cluster.delete_namespace(&probe);
}

#[test]
fn a_full_quota_is_said_in_the_api_servers_words() {
    let world = World::new();
    let daemon = world.start_daemon();
    world.write_store("acme", "Acme");
    let text = std::fs::read_to_string(world.repository.checkout.join(world.file("acme"))).unwrap();
    let quota = "quota:\n      hard:\n        count/ingresses.networking.k8s.io: \"0\"";
    world.repository.write(&world.file("acme"), &format!("{text}  values:\n    {quota}\n"));
    world.repository.push("a store without room");
    world.until_failed(
        &daemon,
        "acme",
        &["apply Ingress/", "is forbidden: exceeded quota: store", "limited: count/ingresses"],
    );
    let shown = daemon.store(&world.store("acme")).unwrap();
    assert!(shown["appliedRevision"].is_null(), "no commit is applied yet: {shown}");
    world.repository.write(&world.file("acme"), &text);
    world.repository.push("room");
    world.until_state(&daemon, "acme", "READY");
}

#[test]
fn a_kind_that_is_not_installed_is_named_and_found_once_it_is() {
    let world = World::new();
    let chart = turned_chart::write(world.folder.path());
    let group = format!("{}.example.com", world.prefix);
    let widget = format!("apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w}}\n");
    std::fs::write(chart.join("templates/widget.yaml"), widget).unwrap();
    let daemon = start(&world, Some(&chart), &world.cluster.kubeconfig);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    let kind = format!("the cluster serves no kind Widget in {group}/v1; install what defines it first");
    world.until_failed(&daemon, "acme", &["Widget/w of template", &kind]);
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
    let names =
        json!({"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"});
    let body = json!({"metadata": {"name": format!("widgets.{group}")}, "spec": {"group": group,
        "scope": "Namespaced", "names": names, "versions": [version]}});
    let _definition = ClusterScoped::new(&world, "apiextensions.k8s.io/v1", "CustomResourceDefinition", body);
    world.until_state(&daemon, "acme", "READY");
    drop(daemon);
    world.cluster.delete_namespaces(&format!("storekeeper.dev/source={}", world.source));
    world.until_gone("acme");
}

/// Writes a kubeconfig of a user who may do everything but write network policies.
fn limited(world: &World) -> (PathBuf, ClusterScoped<'_>, ClusterScoped<'_>) {
    let (api, name) = ("rbac.authorization.k8s.io/v1", format!("{}-limited", world.prefix));
    let all = ["", "apps", "batch", "policy", "autoscaling", "rbac.authorization.k8s.io"];
    let rules = json!([
        {"apiGroups": all, "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"nonResourceURLs": ["*"], "verbs": ["get"]},
    ]);
    let role =
        ClusterScoped::new(world, api, "ClusterRole", json!({"metadata": {"name": name}, "rules": rules}));
    let user = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let body = json!({"metadata": {"name": name}, "roleRef": reference, "subjects": [user]});
    let binding = ClusterScoped::new(world, api, "ClusterRoleBinding", body);
    let text = std::fs::read_to_string(&world.cluster.kubeconfig).unwrap();
    let mut config = serde_json::to_value(serde_saphyr::from_str::<Value>(&text).unwrap()).unwrap();
    config["users"][0]["user"]["as"] = name.into();
    let path = world.folder.path().join("limited.json");
    std::fs::write(&path, config.to_string()).unwrap();
    (path, role, binding)
}

#[test]
fn who_may_not_is_told_what_and_the_right_given_mends_it() {
    let world = World::new();
    let chart = turned_chart::write(world.folder.path());
    let (kubeconfig, role, _binding) = limited(&world);
    let daemon = start(&world, Some(&chart), &kubeconfig);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    let user = format!("User \"{}\" cannot patch resource \"networkpolicies\"", role.name);
    world.until_failed(&daemon, "acme", &["apply NetworkPolicy/free: ", "is forbidden: ", &user]);
    let more = json!({"apiGroups": ["networking.k8s.io"], "resources": ["*"], "verbs": ["*"]});
    let core = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    world.cluster.patch(role.api_version, role.kind, "", &role.name, &json!({"rules": [more, core]}));
    world.until_state(&daemon, "acme", "READY");
}
