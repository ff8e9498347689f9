//! Promise: the chart that installs storekeeper gives it every setting, secrets only as files, and no more rights or openings than
//! it says.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/chart.rs"]
mod chart;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chart::{PLATFORM, render_platform, text_of, value_sets_of};
use serde_json::{Value, json};

/// A set without an address has this one.
const ADDRESS: &str = "https://git.example.com/acme/stores.git";

fn sets() -> Vec<(String, Vec<Value>)> {
    let sets = value_sets_of(PLATFORM).into_iter().map(|(name, files)| {
        let rendered = render(&files, &json!({"repository": {"url": ADDRESS}}));
        (name.clone(), rendered.unwrap_or_else(|error| panic!("{name}: {error}")))
    });
    sets.collect()
}

fn render(files: &[String], over: &Value) -> Result<Vec<Value>, String> {
    render_platform(files, over, ("storekeeper", "platform"))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    of_kind(objects, kind).next().unwrap_or_else(|| panic!("no {kind}"))
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

/// Returns the settings in the ConfigMap, by their variables.
fn settings(objects: &[Value]) -> BTreeMap<String, String> {
    let map = of_kind(objects, "ConfigMap").find(|map| map["data"]["STOREKEEPER_REPOSITORY"].is_string());
    serde_json::from_value(map.unwrap()["data"].clone()).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn every_setting_of_run_can_be_given_by_values() {
    let mut given = BTreeSet::new();
    for (_, objects) in sets() {
        given.extend(settings(&objects).into_keys());
        // What is known of a pod only once it is there.
        let deployment = of_kind(&objects, "Deployment").next().unwrap();
        let containers = deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let variables = containers.iter().flat_map(|it| it["env"].as_array().into_iter().flatten());
        given.extend(variables.filter_map(|it| it["name"].as_str().map(str::to_owned)));
    }
    let mut missing = Vec::new();
    for entry in fs::read_dir(root().join("src/cli")).unwrap() {
        let code = fs::read_to_string(entry.unwrap().path()).unwrap();
        for rest in code.split("env = \"").skip(1) {
            let variable = rest.split('"').next().unwrap();
            // It lies in the state folder, whose size has a bound.
            if variable != "STOREKEEPER_CHART_CACHE_FOLDER" && !given.contains(variable) {
                missing.push(variable.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "no set of values gives {missing:?}");
}

#[test]
fn storekeeper_understands_the_settings_and_arguments_of_every_set() {
    for (name, objects) in sets() {
        let arguments =
            strings(&one(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"])
                .into_iter()
                // What it looks at first, so that it ends here.
                .chain(["--chart", "/nowhere"]);
        let mut settings = settings(&objects);
        settings.remove("STOREKEEPER_CHART");
        let mut command = Command::new(env!("CARGO_BIN_EXE_storekeeper"));
        let output = command.args(arguments).env_clear().envs(settings).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(printed.contains("failed to read the chart in /nowhere"), "{name}: {printed}");
    }
}

#[test]
fn every_file_that_a_setting_names_is_mounted_and_comes_from_a_secret_that_values_name() {
    let mut seen = 0;
    for (name, objects) in sets() {
        assert_eq!(of_kind(&objects, "Secret").count(), 0, "{name}: the chart makes a Secret");
        let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
        let find = |list: &'static str, of: &'static str| {
            pod.pointer(list).unwrap().as_array().unwrap().iter().find(move |entry| entry["name"] == of)
        };
        let folder = find("/containers/0/volumeMounts", "secrets").map(|mount| &mount["mountPath"]);
        let sources = find("/volumes", "secrets").map(|volume| &volume["projected"]["sources"]);
        let mounted: BTreeSet<String> = sources
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .flat_map(|source| source["secret"]["items"].as_array().unwrap())
            .map(|item| format!("{}/{}", folder.unwrap().as_str().unwrap(), item["path"].as_str().unwrap()))
            .collect();
        let settings = settings(&objects);
        let named = settings.iter().filter(|(variable, _)| variable.ends_with("_FILE"));
        let named: BTreeSet<String> = named.map(|(_, path)| path.clone()).collect();
        assert_eq!(mounted, named, "{name}");
        seen += named.len();
    }
    assert!(seen > 20, "{seen} files in all sets");
}

#[test]
fn a_change_of_settings_restarts_the_pods_and_nothing_else_does() {
    let checksum = |over: &Value| {
        let objects = render(&["values-local.yaml".to_owned()], over).unwrap();
        one(&objects, "Deployment")["spec"]["template"].clone()
    };
    let before = checksum(&json!({"repository": {"url": ADDRESS}}));
    assert_eq!(before, checksum(&json!({"repository": {"url": ADDRESS}, "replicas": 3})));
    assert_ne!(before, checksum(&json!({"repository": {"url": ADDRESS, "branch": "next"}})));
}

#[test]
fn no_role_has_a_wildcard_and_the_cluster_wide_one_reads_no_secrets() {
    let mut rules = 0;
    for (name, objects) in sets() {
        let bound: Vec<_> = of_kind(&objects, "ClusterRoleBinding").map(|b| &b["roleRef"]["name"]).collect();
        for role in of_kind(&objects, "ClusterRole").chain(of_kind(&objects, "Role")) {
            let is_cluster_wide = role["kind"] == "ClusterRole" && bound.contains(&&role["metadata"]["name"]);
            for rule in role["rules"].as_array().unwrap() {
                rules += 1;
                let words = [&rule["apiGroups"], &rule["resources"], &rule["verbs"]].map(strings).concat();
                for word in ["*", "escalate", "impersonate", "deletecollection"] {
                    assert!(!words.contains(&word), "{name}: {rule}");
                }
                assert!(
                    !words.contains(&"bind") || strings(&rule["resourceNames"]).len() == 1,
                    "{name}: {rule}"
                );
                assert!(!(is_cluster_wide && words.contains(&"secrets")), "{name}: {rule}");
            }
        }
    }
    assert!(rules > 50, "{rules} rules in all sets");
}

#[test]
fn further_kinds_reach_both_roles_and_storekeeper() {
    let objects = render(&["ci/everything-values.yaml".to_owned()], &json!({})).unwrap();
    let kinds = &settings(&objects)["STOREKEEPER_CHART_KINDS"];
    assert_eq!(kinds, "cert-manager.io/Certificate,ReplicationController");
    for role in of_kind(&objects, "ClusterRole") {
        let rules = role["rules"].as_array().unwrap();
        for (group, resource) in [("cert-manager.io", "certificates"), ("", "replicationcontrollers")] {
            let reaches = |rule: &&Value| {
                strings(&rule["apiGroups"]) == [group] && strings(&rule["resources"]).contains(&resource)
            };
            assert!(rules.iter().any(|rule| reaches(&rule)), "{}: {resource}", role["metadata"]["name"]);
        }
    }
}

#[test]
fn no_rule_of_the_network_policy_is_open_to_everybody_by_having_no_peers() {
    let mut rules = 0;
    for (name, objects) in sets() {
        for policy in of_kind(&objects, "NetworkPolicy") {
            for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
                for rule in policy["spec"][direction].as_array().into_iter().flatten() {
                    rules += 1;
                    let some = rule[peers].as_array().is_some_and(|peers| !peers.is_empty());
                    assert!(some, "{name}: {direction} {rule}");
                }
            }
        }
    }
    assert!(rules > 20, "{rules} rules in all sets");
}

#[test]
fn no_ingress_and_no_node_port_leads_to_the_metrics() {
    let mut ways = 0;
    for (name, objects) in sets() {
        for service in of_kind(&objects, "Service") {
            let ports = service["spec"]["ports"].as_array().unwrap();
            let has_metrics = ports.iter().any(|port| port["targetPort"] == "metrics");
            assert!(!has_metrics || service["spec"]["type"] == "ClusterIP", "{name}: {service}");
        }
        for ingress in of_kind(&objects, "Ingress") {
            let path = &ingress["spec"]["rules"][0]["http"]["paths"][0];
            let backend = &path["backend"]["service"];
            assert_eq!(backend["port"]["name"], "http", "{name}");
            let leads = |service: &&Value| service["metadata"]["name"] == backend["name"];
            let service = of_kind(&objects, "Service").find(leads).unwrap();
            assert_eq!(service["spec"]["ports"][0]["targetPort"], "http", "{name}");
            ways += 1;
        }
    }
    assert!(ways > 3, "{ways} Ingresses in all sets");
}

#[test]
fn what_does_not_fit_together_is_refused_with_the_reason() {
    let secret = json!({"name": "a"});
    let refused = [
        (json!({"repository": {"url": ""}}), "repository.url is required"),
        (json!({"repository": {"url": "https://me:pass@git.example.com/a/b"}}), "holds a login"),
        (json!({"repository": {"tokenSecret": secret, "sshKeySecret": secret}}), "exclude each other"),
        (json!({"repository": {"sshKeySecret": secret}}), "needs repository.knownHostsSecret"),
        (json!({"charts": {"sshKeySecret": secret}}), "needs charts.knownHostsSecret"),
        (json!({"trust": {"verifyCommits": "require"}}), "whose signatures count?"),
        (json!({"trust": {"forgeMergesBy": "forge"}}), "needs trust.verifyCommits"),
        (json!({"forge": {"kind": "github"}}), "how does storekeeper log in?"),
        (json!({"forge": {"kind": "gitea", "tokenSecret": secret}}), "forge.api is required"),
        (json!({"forge": {"tokenSecret": secret}}), "forge.kind is required"),
        (json!({"forge": {"kind": "github", "app": {"id": "7"}}}), "go together"),
        (
            json!({"forge": {"kind": "github", "tokenSecret": secret, "app": {"id": "7", "keySecret": secret}}}),
            "forge.tokenSecret and forge.app exclude each other",
        ),
        (json!({"state": {"persistence": {"enabled": true}}}), "needs replicas 1"),
        (json!({"journal": {"postgresqlSecret": secret}}), "open the way to the database"),
        (json!({"page": {"authHeader": "X-User"}}), "needs page.trustedProxies"),
        (json!({"ingress": {"enabled": true}}), "ingress.host is required"),
        (
            json!({"ingress": {"enabled": true, "host": "a.example.com"}, "networkPolicy": {"page": {"namespaces": []}}}),
            "keep the ingress controller out",
        ),
        (json!({"repository": {"tokn": "x"}}), "tokn"),
        (json!({"networkPolicy": {"apiServer": {"cidrs": []}}}), "networkPolicy.apiServer.cidrs"),
    ];
    for (mut over, words) in refused {
        let url = &mut over["repository"]["url"];
        if url.is_null() {
            *url = json!(ADDRESS);
        }
        let error = render(&[], &over).expect_err(words);
        assert!(error.contains(words), "{words}: {error}");
    }
    let error =
        render_platform(&[], &json!({"repository": {"url": ADDRESS}}), ("sk", "store-a")).unwrap_err();
    assert!(error.contains("begins with store-"), "{error}");
}

#[test]
fn the_chart_has_storekeepers_version_and_the_alerts_of_deploy_monitoring() {
    let meta = text_of(PLATFORM, "Chart.yaml");
    let version = format!("appVersion: \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(meta.contains(&version), "Chart.yaml has another appVersion");
    let rules = fs::read_to_string(root().join("deploy/monitoring/alerts.yaml")).unwrap();
    let same = rules == text_of(PLATFORM, "files/alerts.yaml");
    assert!(same, "copy deploy/monitoring/alerts.yaml to charts/platform/files");
    let objects = render(&["ci/everything-values.yaml".to_owned()], &json!({})).unwrap();
    let expected = storekeeper::chart::parse_values(&rules).unwrap();
    assert_eq!(one(&objects, "PrometheusRule")["spec"], Value::Object(expected));
}
