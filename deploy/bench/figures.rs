//! What was measured: the goals, the table and the file.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// What a figure shall be at most, or at least.
enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// MiB: 64 up to 1,000 stores, 256 above.
    Memory,
}

impl Goal {
    /// Whether a figure of a fleet of this size meets it, and what it says.
    fn holds(&self, value: f64, stores: u64) -> (bool, String) {
        let at_most = |most: f64| (value <= most, format!("at most {most}"));
        match self {
            Self::AtMost(most) => at_most(*most),
            Self::AtLeast(least) => (value >= *least, format!("at least {least}")),
            Self::Memory => at_most(if stores <= 1000 { 64.0 } else { 256.0 }),
        }
    }
}

/// The goals, by where their figure lies in the file. In `cold_install` they hold for each size.
const GOALS: [(&str, Goal, &str); 21] = [
    ("cold_install/ratio", Goal::AtMost(1.10), "time over the floor's"),
    ("cold_install/cpu_ratio", Goal::AtMost(1.3), "daemon and server CPU over the floor's"),
    ("cold_install/daemon_peak_rss_mib", Goal::Memory, "peak memory of the daemon, MiB"),
    ("idle/requests", Goal::AtMost(0.0), "requests at rest, watches and lease left out"),
    ("drift/p50_ms", Goal::AtMost(100.0), "heal, median, ms"),
    ("drift/p99_ms", Goal::AtMost(300.0), "heal, 99th percentile, ms"),
    ("restart/seconds", Goal::AtMost(10.0), "restart to steady, s"),
    ("restart/writes", Goal::AtMost(0.0), "writes after a restart"),
    ("forge/hook_to_apply_p50_ms", Goal::AtMost(150.0), "webhook to first applied object, median, ms"),
    (
        "forge/hook_to_apply_p99_ms",
        Goal::AtMost(500.0),
        "webhook to first applied object, 99th percentile, ms",
    ),
    ("forge/push_to_status_p99_ms", Goal::AtMost(2000.0), "push to the plan's status, 99th percentile, ms"),
    ("render/ms_per_store", Goal::AtMost(1.0), "rendering a store, ms"),
    ("render/ratio_to_helm", Goal::AtLeast(50.0), "times faster than helm template"),
    ("charts/kube_prometheus_stack_ms", Goal::AtMost(20.0), "rendering kube-prometheus-stack, ms"),
    (
        "charts/least_ratio_to_helm",
        Goal::AtLeast(50.0),
        "times faster than helm template, the least of all charts",
    ),
    ("diff_10000_ms", Goal::AtMost(100.0), "one changed file of 10,000, ms after the fetch"),
    ("converged/daemon_peak_rss_mib", Goal::Memory, "peak memory with 10,000 converged stores, MiB"),
    (
        "web/1000/list_gzip/per_core_second",
        Goal::AtLeast(2000.0),
        "lists of 1,000 stores a second and core, packed",
    ),
    (
        "web/1000/list_plain/per_core_second",
        Goal::AtLeast(2000.0),
        "lists of 1,000 stores a second and core, plain",
    ),
    ("web/1000/browser/first_paint_ms", Goal::AtMost(200.0), "page of 1,000 stores, first paint, ms"),
    ("web/1000/browser/loaded_ms", Goal::AtMost(200.0), "page of 1,000 stores, loaded, ms"),
];

/// Returns a number as people want to read it: three digits that count, more for large ones.
pub fn rounded(value: f64) -> Value {
    let digits = if value.abs() >= 100.0 {
        1
    } else if value.abs() >= 1.0 {
        2
    } else {
        4
    };
    let scale = 10_f64.powi(digits);
    json!((value * scale).round() / scale)
}

/// Holds every goal against what was measured; a figure that is missing was not measured and is left out.
pub fn goals(figures: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for (path, goal, what) in &GOALS {
        let (part, field) = path.split_once('/').unwrap_or((path, ""));
        let measured = match &figures[part] {
            Value::Array(sizes) => sizes.iter().map(|it| (&it[field], &it["stores"])).collect(),
            Value::Object(_) => {
                let figure = figures[part].pointer(&format!("/{field}"));
                vec![(figure.unwrap_or(&Value::Null), &figures[part]["stores"])]
            }
            alone => vec![(alone, &Value::Null)],
        };
        for (figure, stores) in measured {
            let Some(value) = figure.as_f64() else { continue };
            let (met, wanted) = goal.holds(value, stores.as_u64().unwrap_or_default());
            all.push(json!({
                "figure": path, "what": what, "stores": stores, "measured": value, "goal": wanted, "met": met,
            }));
        }
    }
    all
}

/// Writes the table for people.
pub fn table(figures: &Value) -> String {
    let mut text = String::new();
    cold_table(&mut text, figures["cold_install"].as_array().map(Vec::as_slice).unwrap_or_default());
    for part in [
        "idle",
        "edit",
        "drift",
        "removal",
        "converged",
        "restart",
        "forge",
        "chart_change",
        "render",
        "charts",
        "many",
    ] {
        if let Value::Object(fields) = &figures[part] {
            let _ = writeln!(text, "{:<13} {}", part.replace('_', " "), line(fields));
        }
    }
    for (what, fields) in figures["replicas"].as_object().into_iter().flatten() {
        if let Value::Object(fields) = fields {
            let _ = writeln!(text, "replicas, {what:<9} {}", line(fields));
        }
    }
    for (size, measured) in figures["web"].as_object().into_iter().flatten() {
        for (what, fields) in measured.as_object().into_iter().flatten() {
            if let Value::Object(fields) = fields
                && what != "assets"
            {
                let _ = writeln!(text, "web {size:<9} {:<17} {}", what.replace('_', " "), line(fields));
            }
        }
    }
    let _ = writeln!(text, "\n{:<54} {:>7} {:>10}  {:<14}", "goal", "stores", "measured", "wanted");
    for goal in goals(figures) {
        let (what, wanted) =
            (goal["what"].as_str().unwrap_or_default(), goal["goal"].as_str().unwrap_or_default());
        let stores = goal["stores"].as_u64().map(|stores| stores.to_string()).unwrap_or_default();
        let met = if goal["met"] == true { "met" } else { "NOT MET" };
        let _ =
            writeln!(text, "{what:<54} {stores:>7} {:>10}  {wanted:<14} {met}", goal["measured"].to_string());
    }
    text
}

/// The columns of cold installs: heading and field.
const COLUMNS: [(&str, &str); 12] = [
    ("stores", "stores"),
    ("s", "seconds"),
    ("floor s", "floor_seconds"),
    ("ratio", "ratio"),
    ("READY s", "ready_seconds"),
    ("ratio", "ready_ratio"),
    ("CPU-s", "daemon_cpu_seconds"),
    ("server", "server_cpu_seconds"),
    ("floor's", "floor_server_cpu_seconds"),
    ("ratio", "cpu_ratio"),
    ("MiB", "daemon_peak_rss_mib"),
    ("req/obj", "requests_per_object"),
];

fn cold_table(text: &mut String, sizes: &[Value]) {
    let mut row = |cell: &dyn Fn(&(&str, &str)) -> String| {
        let cells = COLUMNS.iter().map(|column| format!("{:>8}", cell(column)));
        let _ = writeln!(text, "{:<13}{}", "cold install", cells.collect::<String>());
    };
    if !sizes.is_empty() {
        row(&|(heading, _)| (*heading).to_owned());
    }
    for size in sizes {
        row(&|(_, field)| size[*field].to_string());
    }
}

fn line(fields: &Map<String, Value>) -> String {
    let simple = fields.iter().filter(|(_, value)| !value.is_object() && !value.is_array());
    simple.map(|(name, value)| format!("{} {value}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
}
