//! Promise: the network policies of a store open the intended connections and no other. No CNI that enforces policies takes
//! part: the manifests are evaluated here, by the rules of Kubernetes, between all pods of two stores and everything around.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/chart.rs"]
mod chart;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use chart::{pod_template, reading_pod, render};
use serde_json::{Value, json};

/// The ports that are tried between any two.
const TCP: [u16; 14] = [22, 53, 80, 443, 587, 3000, 5432, 6379, 6380, 6432, 6443, 8089, 9000, 10250];
const UDP: [u16; 2] = [53, 443];

/// What surrounds the stores: the name, the namespace (none outside the cluster's pods), the address.
const SURROUNDINGS: [(&str, Option<&str>, &str); 18] = [
    ("ingress", Some("ingress-nginx"), "10.42.9.1"),
    ("ingress-on-host", None, "10.0.0.5"),
    ("ingress-on-host-6", None, "fd00::5"),
    ("dns", Some("kube-system"), "10.42.9.2"),
    ("elsewhere", Some("default"), "10.42.9.3"),
    ("database-pod", Some("databases"), "10.42.9.4"),
    ("objects-pod", Some("objects"), "10.42.9.5"),
    ("api-server-service", None, "10.43.0.1"),
    ("node", None, "192.168.1.10"),
    ("node-6", None, "fe80::1"),
    ("public-api-server", None, "203.0.113.10"),
    ("public-api-server-6", None, "2001:db8::10"),
    ("metadata", None, "169.254.169.254"),
    ("database", None, "10.20.0.5"),
    ("redis-server", None, "10.30.0.5"),
    ("bucket", None, "10.40.0.9"),
    ("internet", None, "93.184.216.34"),
    ("internet-6", None, "2606:4700::1111"),
];

/// What every store has that runs its own database.
const EMBEDDED: &str = "
    medusa,bootstrap,backup -> postgres 5432
    storefront -> medusa 9000
    ingress -> medusa 9000
    ingress -> storefront 3000
    medusa,bootstrap,storefront,backup -> dns 53
";

/// k3s and other clusters run their ingress controller in kube-system, beside DNS.
const CONTROLLER_IN_KUBE_SYSTEM: &str = "
    dns -> medusa 9000
    dns -> storefront 3000
";

const REDIS: &str = "
    worker -> postgres 5432
    medusa,bootstrap,worker -> redis 6379
    worker -> dns 53
";

const INTERNET: &str = "internet,internet-6,public-api-server,public-api-server-6";

#[test]
fn a_local_store() {
    check(&["values-local.yaml"], &[EMBEDDED, CONTROLLER_IN_KUBE_SYSTEM]);
}

#[test]
fn a_production_store_with_redis_and_s3() {
    let more = "
        dns -> solver 8089
        medusa,worker -> INTERNET 443,587
        backup -> INTERNET 443
    ";
    // In kube-system only.
    let own = EMBEDDED.replace("ingress -> medusa 9000", "").replace("ingress -> storefront 3000", "");
    check(&["values-prod.yaml"], &[&own, CONTROLLER_IN_KUBE_SYSTEM, REDIS, more]);
    let volumes = more.replace("backup -> INTERNET 443", "");
    check(
        &["values-prod.yaml", "values-prod-volumes.yaml"],
        &[&own, CONTROLLER_IN_KUBE_SYSTEM, REDIS, &volumes],
    );
}

#[test]
fn servers_elsewhere_and_a_controller_on_the_host_network() {
    let scaled = "
        ingress-on-host,ingress-on-host-6 -> medusa 9000
        ingress-on-host,ingress-on-host-6 -> storefront 3000
        ingress,ingress-on-host,ingress-on-host-6 -> solver 8089
        worker -> postgres 5432
        worker -> dns 53
        medusa,bootstrap,worker -> redis-server 6380
        medusa,worker -> internet,internet-6 443
    ";
    check(&["ci/scaled-values.yaml"], &[EMBEDDED, scaled]);
    let own = EMBEDDED.replace("medusa,bootstrap,backup -> postgres 5432", "");
    let external = "medusa,bootstrap,backup -> database,database-pod 6432";
    check(&["ci/external-postgres-values.yaml"], &[&own, external]);
}

#[test]
fn buckets_inside_the_cluster_and_by_address() {
    let more = "
        medusa,worker -> objects-pod 9000
        backup -> bucket 9000
    ";
    check(&["ci/autoscaled-values.yaml"], &[EMBEDDED, REDIS, more]);
}

#[test]
fn a_restore_opens_the_bucket_to_the_job() {
    check(&["ci/restore-s3-values.yaml"], &[EMBEDDED, "bootstrap,backup -> INTERNET 443"]);
    let own = EMBEDDED.replace(",backup", "");
    check(&["ci/restore-values.yaml"], &[&own]);
}

#[test]
fn without_storefront_worker_or_backup_there_is_nothing_to_call() {
    let headless = "
        medusa,bootstrap -> postgres 5432
        ingress -> medusa 9000
        medusa,bootstrap -> dns 53
    ";
    check(&["ci/no-storefront-values.yaml"], &[headless]);
    let redis = EMBEDDED.replace(",backup", "");
    check(&["ci/redis-without-worker-values.yaml"], &[&redis, "medusa,bootstrap -> redis 6379"]);
}

#[test]
fn every_policy_is_needed_and_none_may_be_wider() {
    let files = ["values-prod.yaml".to_owned()];
    let objects = render(&files, &json!({}), "store-acme").unwrap();
    let policies: Vec<_> = objects.iter().filter(|object| object["kind"] == "NetworkPolicy").collect();
    assert!(policies.len() >= 9, "{}", policies.len());
    let intended = World::new(&objects).matrix();
    for policy in &policies {
        let name = &policy["metadata"]["name"];
        let without: Vec<_> = objects.iter().filter(|object| object != policy).cloned().collect();
        assert_ne!(World::new(&without).matrix(), intended, "{name} can be taken away and nothing changes");
        for (rules, direction) in [("ingress", "Ingress"), ("egress", "Egress")] {
            if policy["spec"].get(rules).is_none() {
                continue;
            }
            let mut wider = objects.clone();
            let object = wider.iter_mut().find(|object| object == policy).unwrap();
            object["spec"][rules] = json!([{}]);
            assert_ne!(World::new(&wider).matrix(), intended, "{name} can allow every {direction}");
        }
    }
}

/// Compares what the policies of these values allow with what is intended, and says each difference.
fn check(files: &[&str], intended: &[&str]) {
    let files: Vec<_> = files.iter().map(|file| (*file).to_owned()).collect();
    let objects = render(&files, &json!({}), "store-acme").unwrap();
    let allowed = World::new(&objects).matrix();
    let intended: BTreeSet<_> = intended.iter().flat_map(|rows| read_rows(rows)).collect();
    let open: Vec<_> = allowed.difference(&intended).collect();
    let closed: Vec<_> = intended.difference(&allowed).collect();
    assert!(
        open.is_empty() && closed.is_empty(),
        "{files:?}\nopen by mistake: {open:#?}\nclosed by mistake: {closed:#?}"
    );
}

/// Reads rows such as `a,b -> c 80,443`; port 53 is both protocols.
fn read_rows(rows: &str) -> Vec<String> {
    let mut found = Vec::new();
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (from, rest) = row.split_once(" -> ").unwrap();
        let (to, ports) = rest.rsplit_once(' ').unwrap();
        for from in from.split(',') {
            for to in to.replace("INTERNET", INTERNET).split(',') {
                for port in ports.split(',') {
                    found.push(format!("{from} -> {to} {port}/TCP"));
                    if port == "53" {
                        found.push(format!("{from} -> {to} 53/UDP"));
                    }
                }
            }
        }
    }
    found
}

/// Somebody who calls or is called.
struct Party {
    name: String,
    namespace: Option<String>,
    labels: BTreeMap<String, String>,
    address: IpAddr,
}

/// Two stores with the same values, and their surroundings.
struct World {
    parties: Vec<Party>,
    policies: Vec<Value>,
}

impl World {
    fn new(objects: &[Value]) -> Self {
        let mut world = Self { parties: Vec::new(), policies: Vec::new() };
        world.add_store(objects, "store-acme", "", 1);
        let mut other = objects.to_vec();
        for object in &mut other {
            object["metadata"]["namespace"] = json!("store-other");
        }
        world.add_store(&other, "store-other", "other/", 2);
        for (name, namespace, address) in SURROUNDINGS {
            world.parties.push(Party {
                name: name.to_owned(),
                namespace: namespace.map(str::to_owned),
                labels: BTreeMap::new(),
                address: address.parse().unwrap(),
            });
        }
        world
    }

    fn add_store(&mut self, objects: &[Value], namespace: &str, prefix: &str, net: u8) {
        let mut pods: Vec<(String, BTreeMap<String, String>)> = Vec::new();
        for template in objects.iter().filter_map(pod_template) {
            let labels = strings(&template["metadata"]["labels"]);
            pods.push((labels["app.kubernetes.io/component"].clone(), labels));
        }
        let solver = BTreeMap::from([("acme.cert-manager.io/http01-solver".to_owned(), "true".to_owned())]);
        pods.push(("solver".to_owned(), solver));
        pods.push(("stranger".to_owned(), BTreeMap::new()));
        pods.push(("reading".to_owned(), strings(&reading_pod()["metadata"]["labels"])));
        for (index, (name, labels)) in pods.into_iter().enumerate() {
            self.parties.push(Party {
                name: format!("{prefix}{name}"),
                namespace: Some(namespace.to_owned()),
                labels,
                address: format!("10.42.{net}.{}", index + 10).parse().unwrap(),
            });
        }
        self.policies.extend(objects.iter().filter(|object| object["kind"] == "NetworkPolicy").cloned());
    }

    /// Returns every connection that is allowed from or to the first store.
    fn matrix(&self) -> BTreeSet<String> {
        let mut allowed = BTreeSet::new();
        let ports = TCP.iter().map(|port| (*port, "TCP")).chain(UDP.iter().map(|port| (*port, "UDP")));
        let ports: Vec<_> = ports.collect();
        for from in &self.parties {
            for to in &self.parties {
                let ours = |party: &Party| party.namespace.as_deref() == Some("store-acme");
                if from.name == to.name || !(ours(from) || ours(to)) {
                    continue;
                }
                for (port, protocol) in &ports {
                    if self.allows(from, to, *port, protocol) {
                        allowed.insert(format!("{} -> {} {port}/{protocol}", from.name, to.name));
                    }
                }
            }
        }
        allowed
    }

    /// A connection needs the consent of both sides.
    fn allows(&self, from: &Party, to: &Party, port: u16, protocol: &str) -> bool {
        self.side_allows("Egress", from, to, port, protocol)
            && self.side_allows("Ingress", to, from, port, protocol)
    }

    /// A pod that no policy selects for this direction is open; otherwise one rule of one policy must allow it.
    fn side_allows(&self, direction: &str, pod: &Party, peer: &Party, port: u16, protocol: &str) -> bool {
        let selecting: Vec<_> =
            self.policies.iter().filter(|policy| selects(policy, direction, pod)).collect();
        let (rules, peers) = if direction == "Egress" { ("egress", "to") } else { ("ingress", "from") };
        selecting.is_empty()
            || selecting.iter().any(|policy| {
                let namespace = policy["metadata"]["namespace"].as_str().unwrap();
                let rules = policy["spec"][rules].as_array();
                rules.into_iter().flatten().any(|rule| {
                    let peers = rule[peers].as_array().filter(|peers| !peers.is_empty());
                    let known = ["to", "from", "ports"];
                    assert!(
                        rule.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())),
                        "{rule}"
                    );
                    peers.is_none_or(|peers| peers.iter().any(|one| peer_matches(one, namespace, peer)))
                        && port_matches(&rule["ports"], port, protocol)
                })
            })
    }
}

fn selects(policy: &Value, direction: &str, pod: &Party) -> bool {
    let types = policy["spec"]["policyTypes"].as_array().expect("policyTypes are spelt out");
    pod.namespace.as_deref() == policy["metadata"]["namespace"].as_str()
        && types.iter().any(|kind| kind == direction)
        && label_selector_matches(&policy["spec"]["podSelector"], &pod.labels)
}

fn peer_matches(rule: &Value, namespace: &str, peer: &Party) -> bool {
    let known = ["podSelector", "namespaceSelector", "ipBlock"];
    let keys: Vec<_> = rule.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| known.contains(key)), "{rule}");
    if let Some(block) = rule.get("ipBlock") {
        let inside = |range: &Value| contains(range.as_str().unwrap(), peer.address);
        let excepted = block["except"].as_array().into_iter().flatten().any(inside);
        return inside(&block["cidr"]) && !excepted;
    }
    let Some(peer_namespace) = &peer.namespace else { return false };
    let in_namespace = match rule.get("namespaceSelector") {
        Some(selector) => {
            let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), peer_namespace.clone())]);
            label_selector_matches(selector, &labels)
        }
        None => peer_namespace == namespace,
    };
    in_namespace
        && rule.get("podSelector").is_none_or(|selector| label_selector_matches(selector, &peer.labels))
}

fn port_matches(ports: &Value, port: u16, protocol: &str) -> bool {
    let Some(ports) = ports.as_array().filter(|ports| !ports.is_empty()) else { return true };
    ports.iter().any(|one| {
        assert!(one.get("endPort").is_none(), "ranges of ports are not evaluated here: {one}");
        let number = one.get("port").map(|number| number.as_u64().expect("ports are numbers"));
        one["protocol"].as_str().unwrap_or("TCP") == protocol
            && number.is_none_or(|number| number == u64::from(port))
    })
}

fn label_selector_matches(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let known = ["matchLabels", "matchExpressions"];
    assert!(selector.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{selector}");
    let equal = strings(&selector["matchLabels"]).iter().all(|(key, value)| labels.get(key) == Some(value));
    let expressions = selector["matchExpressions"].as_array();
    equal
        && expressions.into_iter().flatten().all(|one| {
            let value = labels.get(one["key"].as_str().unwrap());
            let among = value
                .is_some_and(|value| one["values"].as_array().unwrap().iter().any(|other| other == value));
            match one["operator"].as_str().unwrap() {
                "In" => among,
                "NotIn" => !among,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("no operator: {other}"),
            }
        })
}

fn strings(map: &Value) -> BTreeMap<String, String> {
    let entries = map.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn contains(range: &str, address: IpAddr) -> bool {
    let (network, length) = range.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    match (network.parse::<IpAddr>().unwrap(), address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[test]
fn ranges_and_selectors_are_read_as_kubernetes_reads_them() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(contains("10.0.0.0/8", address("10.255.0.1")) && !contains("10.0.0.0/8", address("11.0.0.1")));
    assert!(contains("0.0.0.0/0", address("1.2.3.4")) && !contains("0.0.0.0/0", address("::1")));
    assert!(
        contains("172.16.0.0/12", address("172.31.0.1")) && !contains("172.16.0.0/12", address("172.32.0.1"))
    );
    assert!(contains("::/0", address("2606::1")) && contains("fe80::/10", address("febf::1")));
    assert!(
        contains("10.30.0.5/32", address("10.30.0.5")) && !contains("10.30.0.5/32", address("10.30.0.6"))
    );
    // Nothing selects everything; an empty list of rules allows nothing, an empty rule everything.
    assert!(label_selector_matches(&json!({}), &BTreeMap::new()));
    assert!(port_matches(&Value::Null, 80, "TCP") && !port_matches(&json!([{"port": 80}]), 80, "UDP"));
}
