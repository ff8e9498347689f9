//! Whether a store's workloads fit into the quotas of its namespace: what they ask for in the end, and while they are
//! rolled out. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A rendered object of a store.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// The object.
    pub object: &'a Value,
    /// Whether its pods are new ones after this: those before run for a while beside them.
    pub rolls_out: bool,
}

/// What pods and claims ask for, by the names that quotas count them under: in thousandths, so that a part of a CPU is a
/// whole number.
type Amounts = BTreeMap<&'static str, i128>;

/// What quotas count of containers: the name, and where it stands.
const COUNTED: [(&str, &str, &str); 6] = [
    ("limits.cpu", "limits", "cpu"),
    ("limits.ephemeral-storage", "limits", "ephemeral-storage"),
    ("limits.memory", "limits", "memory"),
    ("requests.cpu", "requests", "cpu"),
    ("requests.ephemeral-storage", "requests", "ephemeral-storage"),
    ("requests.memory", "requests", "memory"),
];

/// Short names of the same.
const SHORT: [(&str, &str); 3] = [
    ("cpu", "requests.cpu"),
    ("ephemeral-storage", "requests.ephemeral-storage"),
    ("memory", "requests.memory"),
];

/// Says which quotas have no room for a store, as sentences. A quota with scopes counts some pods only and is left out. What
/// asks for nothing gets what the `LimitRange`s say; what else runs in the namespace is not counted.
pub fn shortages(loads: &[Load<'_>], quotas: &[Value], limit_ranges: &[Value]) -> Vec<String> {
    let (mut lasting, mut passing, mut surges) = (Amounts::new(), Amounts::new(), Vec::new());
    for load in loads {
        let most = scaled_to(load.object, loads);
        let pods = pods(load, most, limit_ranges);
        for (sum, count) in [(&mut lasting, pods.lasting), (&mut passing, pods.passing)] {
            for (name, amount) in &pods.each {
                let sum = sum.entry(name).or_default();
                *sum = sum.saturating_add(amount.saturating_mul(i128::from(count)));
            }
        }
        if load.rolls_out && pods.passing > 0 {
            surges.push(format!("{} more of {}", pods.passing, called(load.object)));
        }
        claims(&mut lasting, load.object);
    }
    for (name, amount) in &lasting {
        let sum = passing.entry(name).or_default();
        *sum = sum.saturating_add(*amount);
    }
    let is_whole = |quota: &&Value| ["scopes", "scopeSelector"].iter().all(|it| quota["spec"][*it].is_null());
    let mut said = Vec::new();
    for quota in quotas.iter().filter(is_whole) {
        let name = text(quota, "/metadata/name");
        let ends_short = over(quota, &lasting);
        let rolls_short: Vec<_> =
            over(quota, &passing).into_iter().filter(|it| !ends_short.contains(it)).collect();
        if !ends_short.is_empty() {
            let list = ends_short.join(", ");
            said.push(format!(
                "quota {name} has no room for it, some pods or claims will be missing: {list}"
            ));
        } else if !rolls_short.is_empty() {
            let list = rolls_short.join(", ");
            let why = if surges.is_empty() { "its Jobs run".to_owned() } else { surges.join(", ") };
            said.push(format!(
                "quota {name} has no room while it is rolled out ({why}), which may never end: {list}"
            ));
        }
    }
    said
}

/// The pods of one object.
struct Pods {
    each: Amounts,
    /// How many there are in the end.
    lasting: i64,
    /// How many more there are meanwhile.
    passing: i64,
}

fn pods(load: &Load<'_>, scaled_to: Option<i64>, limit_ranges: &[Value]) -> Pods {
    let object = load.object;
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let replicas = scaled_to.or_else(|| number("/spec/replicas")).unwrap_or(1);
    let (template, lasting, passing) = match text(object, "/kind") {
        "Deployment" => {
            let more = if load.rolls_out { surge(object, replicas) } else { 0 };
            ("/spec/template/spec", replicas, more)
        }
        "StatefulSet" => ("/spec/template/spec", replicas, 0),
        "Job" if load.rolls_out => ("/spec/template/spec", 0, number("/spec/parallelism").unwrap_or(1)),
        "Pod" => ("/spec", 1, 0),
        _ => return Pods { each: Amounts::new(), lasting: 0, passing: 0 },
    };
    let each = object.pointer(template).map_or_else(Amounts::new, |spec| one_pod(spec, limit_ranges));
    Pods { each, lasting, passing }
}

/// How many pods more than it has a Deployment may have while it is rolled out.
fn surge(deployment: &Value, replicas: i64) -> i64 {
    if text(deployment, "/spec/strategy/type") == "Recreate" {
        return 0;
    }
    match deployment.pointer("/spec/strategy/rollingUpdate/maxSurge") {
        Some(Value::Number(count)) => count.as_i64().unwrap_or(0),
        Some(Value::String(part)) => {
            let percent = part.trim_end_matches('%').parse::<i64>().unwrap_or(0).clamp(0, 100);
            let hundredths = replicas.saturating_mul(percent);
            hundredths / 100 + i64::from(hundredths % 100 > 0)
        }
        // What Kubernetes takes when nothing is said: a quarter, rounded up.
        _ => replicas / 4 + i64::from(replicas % 4 > 0),
    }
}

/// How many pods a workload has at most, where something scales it.
fn scaled_to(workload: &Value, loads: &[Load<'_>]) -> Option<i64> {
    let is_scaler = |load: &&Load<'_>| {
        let target = &load.object["spec"]["scaleTargetRef"];
        text(load.object, "/kind") == "HorizontalPodAutoscaler"
            && target["kind"] == workload["kind"]
            && target["name"] == workload["metadata"]["name"]
    };
    loads.iter().find(is_scaler)?.object["spec"]["maxReplicas"].as_i64()
}

/// What a pod counts as: its containers and what runs beside them together, or its largest step before that.
fn one_pod(spec: &Value, limit_ranges: &[Value]) -> Amounts {
    let list = |name: &str| spec[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut amounts = Amounts::from([("pods", 1000)]);
    for (name, part, resource) in COUNTED {
        let of = |container: &Value| asked(container, part, resource, limit_ranges);
        let (mut beside, mut largest) = (0, 0);
        for container in list("initContainers") {
            if container["restartPolicy"] == "Always" {
                beside = of(container).saturating_add(beside);
            } else {
                largest = largest.max(of(container).saturating_add(beside));
            }
        }
        let together = list("containers").iter().map(of).fold(beside, i128::saturating_add);
        amounts.insert(name, together.max(largest));
    }
    amounts
}

/// What a container asks for, or gets when it asks for nothing.
fn asked(container: &Value, part: &str, resource: &str, limit_ranges: &[Value]) -> i128 {
    let own = |part: &str| container.pointer(&format!("/resources/{part}/{resource}")).and_then(quantity);
    let given = |part: &str| {
        let limits = limit_ranges.iter().filter_map(|range| range["spec"]["limits"].as_array()).flatten();
        let mut containers = limits.filter(|limit| limit["type"] == "Container");
        containers.find_map(|limit| quantity(&limit[part][resource]))
    };
    let limit = || own("limits").or_else(|| given("default"));
    let found = match part {
        "limits" => limit(),
        // A limit without a request is a request too.
        _ => own("requests").or_else(|| own("limits")).or_else(|| given("defaultRequest")).or_else(limit),
    };
    found.unwrap_or(0)
}

fn claims(sum: &mut Amounts, object: &Value) {
    let mut add = |claim: &Value, count: i64| {
        *sum.entry("persistentvolumeclaims").or_default() += i128::from(count) * 1000;
        let size = quantity(&claim["spec"]["resources"]["requests"]["storage"]).unwrap_or(0);
        let storage = sum.entry("requests.storage").or_default();
        *storage = storage.saturating_add(size.saturating_mul(i128::from(count)));
    };
    match text(object, "/kind") {
        "PersistentVolumeClaim" => add(object, 1),
        "StatefulSet" => {
            let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
            for claim in object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
                add(claim, replicas);
            }
        }
        _ => {}
    }
}

/// Says what exceeds a quota: how much is needed of what, and how much there is.
fn over(quota: &Value, need: &Amounts) -> Vec<String> {
    let Some(hard) = quota["spec"]["hard"].as_object() else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let mut over = Vec::new();
    for (resource, allowed) in hard {
        let name = match SHORT.iter().find(|(short, _)| short == resource) {
            Some((_, long)) => long,
            None => resource.strip_prefix("count/").unwrap_or(resource),
        };
        let (Some(need), Some(room)) = (need.get(name), quantity(allowed)) else { continue };
        if *need > room && seen.insert(name) {
            let allowed = allowed.as_str().map_or_else(|| allowed.to_string(), str::to_owned);
            over.push(format!("{} of {resource} needed, {allowed} allowed", amount(name, *need)));
        }
    }
    over
}

fn called(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Writes an amount as people write such; one that is no whole unit rounded up.
fn amount(name: &str, thousandths: i128) -> String {
    let whole = thousandths.div_euclid(1000) + i128::from(thousandths % 1000 > 0);
    if name.ends_with("cpu") {
        return if thousandths % 1000 == 0 { whole.to_string() } else { format!("{thousandths}m") };
    }
    if !name.ends_with("memory") && !name.ends_with("storage") {
        return whole.to_string();
    }
    match whole {
        _ if whole % (1 << 30) == 0 => format!("{}Gi", whole >> 30),
        1_048_576.. => format!("{}Mi", (whole >> 20) + i128::from(whole % (1 << 20) > 0)),
        _ => whole.to_string(),
    }
}

/// Reads a quantity as Kubernetes writes them, in thousandths, rounded up; none when it is none.
///
/// Source: the serialization format of `resource.Quantity`.
fn quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    // As a fraction: this much by that much.
    let (times, over) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "" => (1000, 1),
        "k" => (1000_i128.pow(2), 1),
        "M" => (1000_i128.pow(3), 1),
        "G" => (1000_i128.pow(4), 1),
        "T" => (1000_i128.pow(5), 1),
        "P" => (1000_i128.pow(6), 1),
        "E" => (1000_i128.pow(7), 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000 << 50, 1),
        "Ei" => (1000 << 60, 1),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1000, power) } else { (power.checked_mul(1000)?, 1) }
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let over = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(over)?;
    let product = digits.checked_mul(times)?;
    Some(product.div_euclid(over) + i128::from(product.rem_euclid(over) > 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(hard: &Value) -> Value {
        json!({"kind": "ResourceQuota", "metadata": {"name": "store"}, "spec": {"hard": hard}})
    }

    fn deployment(replicas: i64, memory: &str) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {"containers": [{"resources": {"limits": {"memory": memory}}}]}}}})
    }

    fn said(object: &Value, rolls_out: bool, hard: &Value) -> Vec<String> {
        shortages(&[Load { object, rolls_out }], &[quota(hard)], &[])
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("1", 1000),
            ("0.5", 500),
            ("100m", 100),
            ("1.5Ki", 1_536_000),
            ("1k", 1_000_000),
            ("2e3", 2_000_000),
            ("5e-3", 5),
            ("1n", 1),
            ("1E", 1000_i128.pow(7)),
            (".5", 500),
        ] {
            assert_eq!(quantity(&text.into()), Some(expected), "{text}");
        }
        assert_eq!(quantity(&json!(2)), Some(2000));
        for bad in ["", "x", "1x", "1e", "1e99", "--1", "1.2.3"] {
            assert_eq!(quantity(&bad.into()), None, "{bad}");
        }
    }

    #[test]
    fn what_lasts_and_what_passes_are_told_apart() {
        let hard = json!({"limits.memory": "3Gi", "pods": "10"});
        assert_eq!(said(&deployment(3, "1Gi"), false, &hard), [""; 0]);
        assert_eq!(
            said(&deployment(3, "1Gi"), true, &hard),
            [
                "quota store has no room while it is rolled out (1 more of Deployment/web), which may never end: 4Gi of \
              limits.memory needed, 3Gi allowed"
            ]
        );
        assert_eq!(
            said(&deployment(3, "1500Mi"), true, &hard),
            [
                "quota store has no room for it, some pods or claims will be missing: 4500Mi of limits.memory needed, 3Gi \
              allowed"
            ]
        );
    }

    #[test]
    fn a_quarter_surges_when_nothing_is_said_and_none_when_pods_are_recreated() {
        let of = |strategy: &Value, replicas| surge(&json!({"spec": {"strategy": strategy}}), replicas);
        assert_eq!((of(&json!(null), 1), of(&json!(null), 8), of(&json!(null), 9)), (1, 2, 3));
        assert_eq!(of(&json!({"type": "Recreate"}), 4), 0);
        assert_eq!(of(&json!({"rollingUpdate": {"maxSurge": "50%"}}), 3), 2);
    }

    #[test]
    fn a_pod_counts_as_its_containers_or_its_largest_step_before() {
        let memory = |limit: &str| json!({"resources": {"limits": {"memory": limit}}});
        let beside = json!({"restartPolicy": "Always", "resources": {"limits": {"memory": "1Gi"}}});
        let spec = json!({"containers": [memory("1Gi"), memory("1Gi")], "initContainers": [memory("3Gi")]});
        assert_eq!(one_pod(&spec, &[])["limits.memory"], 1000 * (3 << 30));
        let spec =
            json!({"containers": [memory("1Gi"), memory("1Gi")], "initContainers": [beside, memory("1Gi")]});
        assert_eq!(one_pod(&spec, &[])["limits.memory"], 1000 * (3 << 30));
        assert_eq!(one_pod(&spec, &[])["requests.memory"], 1000 * (3 << 30), "a limit is a request");
    }

    #[test]
    fn what_asks_for_nothing_gets_what_the_limit_range_says() {
        let range = json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "9"}},
            {"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "500m"}}]}});
        let spec = json!({"containers": [{}]});
        let amounts = one_pod(&spec, std::slice::from_ref(&range));
        assert_eq!((amounts["limits.cpu"], amounts["requests.cpu"]), (2000, 500));
        let quota = quota(&json!({"cpu": "400m"}));
        let object = json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        let said = shortages(&[Load { object: &object, rolls_out: false }], &[quota], &[range]);
        assert!(said[0].ends_with("500m of cpu needed, 400m allowed"), "{said:?}");
    }

    #[test]
    fn claims_count_with_those_of_stateful_sets() {
        let size = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        let set = json!({"kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {"replicas": 2,
            "volumeClaimTemplates": [size("4Gi")], "template": {"spec": {"containers": []}}}});
        let hard = json!({"requests.storage": "7Gi", "count/persistentvolumeclaims": "1"});
        let found = said(&set, false, &hard);
        assert!(found[0].contains("8Gi of requests.storage needed, 7Gi allowed"), "{found:?}");
        assert!(found[0].contains("2 of count/persistentvolumeclaims needed, 1 allowed"), "{found:?}");
    }

    #[test]
    fn what_scales_a_workload_says_how_many_it_may_have_and_a_job_counts_while_it_runs() {
        let scaler = json!({"kind": "HorizontalPodAutoscaler", "spec": {"maxReplicas": 5,
            "scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
        let (web, quota) = (deployment(1, "1Gi"), quota(&json!({"pods": "4"})));
        let loads = [&web, &scaler].map(|object| Load { object, rolls_out: false });
        assert!(shortages(&loads, std::slice::from_ref(&quota), &[])[0].contains("5 of pods needed"));
        let job = json!({"kind": "Job", "metadata": {"name": "j"}, "spec": {"parallelism": 5,
            "template": {"spec": {"containers": []}}}});
        let of =
            |rolls_out| shortages(&[Load { object: &job, rolls_out }], std::slice::from_ref(&quota), &[]);
        assert!(of(true)[0].contains("(5 more of Job/j)"), "{:?}", of(true));
        assert!(of(false).is_empty());
        let scoped =
            json!({"metadata": {"name": "s"}, "spec": {"scopes": ["BestEffort"], "hard": {"pods": "1"}}});
        assert!(shortages(&loads, &[scoped], &[]).is_empty());
    }
}
