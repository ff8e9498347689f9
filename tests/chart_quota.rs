//! Promise: quota and limits of a store admit all its pods at their worst moment: every surge pod, two bootstrap Jobs, a
//! backup, the certificate's solver, and a pod with which somebody reads dumps.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/chart.rs"]
mod chart;

use std::collections::BTreeMap;

use chart::{pod_template, reading_pod, render, text, value_sets};
use serde_json::{Value, json};

/// What a quota counts: cpu in thousandths, memory and storage in bytes, everything else in pieces.
type Amounts = BTreeMap<&'static str, i64>;

#[test]
fn every_set_of_values_fits_its_own_quota() {
    let mut checked = 0;
    for (name, files) in value_sets() {
        let objects = render(&files, &json!({}), "store-acme").unwrap();
        let Some(quota) = objects.iter().find(|object| object["kind"] == "ResourceQuota") else { continue };
        let problems = excesses(&worst_moment(&objects), &quota["spec"]["hard"]);
        assert!(problems.is_empty(), "{name}: raise quota.hard, or lower the rest:\n{}", problems.join("\n"));
        checked += 1;
    }
    assert!(checked > 10, "only {checked} sets have a quota");
}

#[test]
fn redis_can_be_switched_on_without_touching_the_quota() {
    for files in [vec![], vec!["values-local.yaml".to_owned()]] {
        let objects = render(&files, &json!({"redis": {"mode": "embedded"}}), "store-acme").unwrap();
        let quota = objects.iter().find(|object| object["kind"] == "ResourceQuota").unwrap();
        let problems = excesses(&worst_moment(&objects), &quota["spec"]["hard"]);
        assert!(problems.is_empty(), "{files:?}: {}", problems.join("\n"));
    }
}

#[test]
fn a_raised_limit_without_the_quota_is_noticed() {
    for (path, least) in [
        (json!({"api": {"resources": {"limits": {"cpu": "2", "memory": "2Gi"}}}}), "limits.memory"),
        (json!({"storefront": {"replicas": 20}}), "pods"),
        (json!({"postgres": {"storage": {"size": "100Gi"}}}), "requests.storage"),
    ] {
        let objects = render(&["values-local.yaml".to_owned()], &path, "store-acme").unwrap();
        let quota = objects.iter().find(|object| object["kind"] == "ResourceQuota").unwrap();
        let problems = excesses(&worst_moment(&objects), &quota["spec"]["hard"]);
        assert!(problems.iter().any(|problem| problem.starts_with(least)), "{path}: {problems:?}");
    }
}

#[test]
fn the_sums_in_the_comments_are_right() {
    let all_on = json!({"redis": {"mode": "embedded"}, "ingress": {"tls": {"issuer": "any"}}});
    for (file, files, over) in [
        ("values.yaml", vec![], all_on),
        ("values-prod.yaml", vec!["values-prod.yaml".to_owned()], json!({})),
    ] {
        let need = worst_moment(&render(&files, &over, "store-acme").unwrap());
        let whole = |name: &str| need[name] / (1 << 20);
        let cpus = |name: &str| format!("{}.{:03}", need[name] / 1000, need[name] % 1000);
        let expected = format!(
            "sum {}m {}Mi {} {}Mi",
            need["requests.cpu"],
            whole("requests.memory"),
            cpus("limits.cpu").trim_end_matches('0'),
            whole("limits.memory")
        );
        let content = text(file);
        let line = content.lines().find(|line| line.starts_with("#   sum ")).unwrap();
        let line = line.trim_start_matches('#').split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line, expected, "{file}");
    }
}

#[test]
fn every_container_has_requests_and_limits_within_the_limit_range() {
    for (name, files) in value_sets() {
        let objects = render(&files, &json!({}), "store-acme").unwrap();
        let range = objects.iter().find(|object| object["kind"] == "LimitRange");
        let max = range.map(|range| range["spec"]["limits"][0]["max"].clone());
        for object in &objects {
            let Some(template) = pod_template(object) else { continue };
            for container in containers(&template["spec"]) {
                let at = format!("{name}: {} {}", object["metadata"]["name"], container["name"]);
                for resource in ["cpu", "memory"] {
                    let limit = quantity(&container["resources"]["limits"][resource]);
                    let request = quantity(&container["resources"]["requests"][resource]);
                    assert!(0 < request && request <= limit, "{at}: {resource} {request} of {limit}");
                    if let Some(max) = &max {
                        assert!(limit <= quantity(&max[resource]), "{at}: {resource} exceeds the LimitRange");
                    }
                }
            }
        }
    }
}

#[test]
fn heaps_and_caches_leave_room_below_their_memory_limits() {
    for (name, files) in value_sets() {
        let values = chart::values(&files);
        let mebibytes = |path: &str| quantity(values.pointer(path).unwrap()) >> 20;
        for component in ["api", "worker"] {
            let heap = values[component]["maxOldSpaceMb"].as_i64().unwrap();
            let limit = mebibytes(&format!("/{component}/resources/limits/memory"));
            // Measured: stacks and buffers take 130 MiB beside a heap of 256 MiB at most.
            assert!(heap + 192 <= limit, "{name}: {component} has {heap} MiB of heap in {limit} MiB");
        }
        let redis =
            values["redis"]["maxMemory"].as_str().unwrap().trim_end_matches("mb").parse::<i64>().unwrap();
        let limit = mebibytes("/redis/resources/limits/memory");
        assert!(
            redis * 3 / 2 <= limit,
            "{name}: redis takes {redis} MB in {limit} MiB, rewriting needs room"
        );
    }
}

/// Returns what is needed and not there, one line each.
fn excesses(need: &Amounts, hard: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, need) in need {
        let hard = hard.get(name).map_or(i64::MAX, |hard| quantity_of(name, hard));
        if *need > hard {
            problems.push(format!("{name}: {need} needed, {hard} allowed"));
        }
    }
    problems
}

/// Adds up all pods that can exist at once, and their volumes.
fn worst_moment(objects: &[Value]) -> Amounts {
    let mut need = Amounts::new();
    for object in objects {
        let name = &object["metadata"]["name"];
        if let Some(template) = pod_template(object) {
            let count = match object["kind"].as_str().unwrap() {
                "Deployment" => {
                    assert_eq!(
                        object["spec"]["strategy"]["rollingUpdate"],
                        json!({"maxSurge": 1, "maxUnavailable": 0})
                    );
                    most_pods(objects, object) + 1
                }
                // The old one may still run when the new one starts.
                "Job" => 2,
                "CronJob" => {
                    assert_eq!(object["spec"]["concurrencyPolicy"], "Forbid", "{name}");
                    1
                }
                _ => object["spec"]["replicas"].as_i64().unwrap(),
            };
            add_pods(&mut need, &template["spec"], count);
            for claim in object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
                add_claim(&mut need, claim, count);
            }
        }
        if object["kind"] == "PersistentVolumeClaim" {
            add_claim(&mut need, object, 1);
        }
        if object["kind"] == "NetworkPolicy" && name == "acme-solver" {
            // What cert-manager gives its solver, and the Service for it.
            let resources = json!({"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}});
            add_pods(&mut need, &json!({"containers": [{"resources": resources}]}), 1);
            *need.entry("services.nodeports").or_default() += 1;
        }
    }
    add_pods(&mut need, &reading_pod()["spec"], 1);
    need
}

fn most_pods(objects: &[Value], deployment: &Value) -> i64 {
    let name = &deployment["metadata"]["name"];
    let scaler = objects.iter().find(|object| {
        object["kind"] == "HorizontalPodAutoscaler" && object["spec"]["scaleTargetRef"]["name"] == *name
    });
    match scaler {
        Some(scaler) => {
            assert!(deployment["spec"].get("replicas").is_none(), "{name}: two hands on the number of pods");
            scaler["spec"]["maxReplicas"].as_i64().unwrap()
        }
        None => deployment["spec"]["replicas"].as_i64().unwrap(),
    }
}

/// A pod counts as the sum of its containers, or as its largest init container if that is more.
fn add_pods(need: &mut Amounts, spec: &Value, count: i64) {
    *need.entry("pods").or_default() += count;
    for (amount, kind, resource) in [
        ("requests.cpu", "requests", "cpu"),
        ("requests.memory", "requests", "memory"),
        ("limits.cpu", "limits", "cpu"),
        ("limits.memory", "limits", "memory"),
    ] {
        let of = |container: &Value| quantity(&container["resources"][kind][resource]);
        let sum: i64 = spec["containers"].as_array().unwrap().iter().map(of).sum();
        let init = spec["initContainers"].as_array().into_iter().flatten().map(of).max().unwrap_or(0);
        *need.entry(amount).or_default() += sum.max(init) * count;
    }
}

fn add_claim(need: &mut Amounts, claim: &Value, count: i64) {
    *need.entry("persistentvolumeclaims").or_default() += count;
    *need.entry("requests.storage").or_default() +=
        quantity(&claim["spec"]["resources"]["requests"]["storage"]) * count;
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().flat_map(|list| spec[list].as_array().into_iter().flatten())
}

/// CPU reads in thousandths and everything with a binary suffix in bytes; a plain number of cpus is told by its size.
fn quantity(value: &Value) -> i64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let thousandths: i64 =
        format!("{whole}{fraction:0<3}").parse().unwrap_or_else(|_| panic!("no quantity: {value}"));
    match &text[digits.len()..] {
        "m" => thousandths / 1000,
        "" => thousandths,
        "Mi" => (thousandths << 20) / 1000,
        "Gi" => (thousandths << 30) / 1000,
        other => panic!("the suffix {other} is not expected here"),
    }
}

fn quantity_of(name: &str, value: &Value) -> i64 {
    let read = quantity(value);
    let is_count = !name.contains("cpu") && !name.contains("memory") && !name.contains("storage");
    if is_count { read / 1000 } else { read }
}
