//! The rules and the dashboard of deploy/monitoring ask for series that there are, and alerts fire when they should.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use storekeeper::metrics::Metrics;
use storekeeper::names::StoreId;
use storekeeper::report::{Board, StoreReport, StoreState};

/// Words of `PromQL` that are neither series nor labels.
const WORDS: [&str; 21] = [
    "absent",
    "and",
    "by",
    "histogram_quantile",
    "increase",
    "le",
    "label_values",
    "max",
    "min",
    "or",
    "rate",
    "sort_desc",
    "sum",
    "time",
    "unless",
    "without",
    "m",
    "h",
    "s",
    "d",
    "x",
];

/// Labels that Prometheus adds to what it scrapes.
const SCRAPED: [&str; 3] = ["job", "namespace", "instance"];

/// A series' labels, each with the values it has.
type Labels = BTreeMap<String, BTreeSet<String>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&read(name)).unwrap()
}

/// What the daemon shows with a store in each state.
fn exposition(stores: usize) -> String {
    let (board, metrics) = (Board::default(), Metrics::new());
    metrics.show_stores(board.reader(), 2_000);
    for (number, state) in StoreState::ALL.into_iter().cycle().take(stores).enumerate() {
        let id: StoreId = format!("s{number}").parse().unwrap();
        let report = StoreReport { state, ..StoreReport::new(id.clone(), 1_700_000_000) };
        board.update(|picture| picture.stores.insert(id, report));
    }
    metrics.reader().encode()
}

/// Returns every series by name, with its labels.
fn series() -> BTreeMap<String, Labels> {
    let mut all = BTreeMap::<String, Labels>::new();
    for line in exposition(StoreState::ALL.len()).lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = all.entry(name.to_owned()).or_default();
        let inside =
            line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inside, _)| inside);
        for (label, value) in inside.split(',').filter_map(|pair| pair.split_once('=')) {
            labels.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    all
}

/// Splits an expression into its words, and its texts with the words before them: `state=~"A|B"` gives `state` and `A|B`.
fn words(expression: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (mut words, mut texts) = (Vec::<String>::new(), Vec::new());
    for (index, part) in expression.split('"').enumerate() {
        if index % 2 == 1 {
            texts.push((words.last().cloned().unwrap_or_default(), part.to_owned()));
            continue;
        }
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$');
        let found = part.split(|c| !inner(c)).filter(|word| !word.is_empty());
        let names = found.filter(|word| !word.starts_with(|c: char| c.is_ascii_digit() || c == '$'));
        words.extend(names.map(str::to_owned));
    }
    (words, texts)
}

/// Checks an expression against the series that there are; `records` are the names that rules make, with the labels left.
fn check(
    place: &str,
    expression: &str,
    series: &BTreeMap<String, Labels>,
    records: &BTreeSet<String>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let (words, texts) = words(expression);
    let known = |word: &String| series.contains_key(word) || records.contains(word);
    let asked: Vec<_> = words.iter().filter(|word| known(word)).collect();
    let labels: BTreeMap<_, _> = asked.iter().filter_map(|name| series.get(*name)).flatten().collect();
    if asked.is_empty() {
        problems.push(format!("{place}: asks for no series: {expression}"));
    }
    for word in words.iter().filter(|word| !known(word) && !WORDS.contains(&word.as_str())) {
        if !labels.contains_key(word) && !SCRAPED.contains(&word.as_str()) {
            problems.push(format!(
                "{place}: `{word}` is no series, and no label of those asked for: {expression}"
            ));
        }
    }
    for (label, text) in texts.iter().filter(|(_, text)| !text.contains('$')) {
        for value in text.split('|') {
            if labels.get(label).is_none_or(|values| !values.contains(value)) {
                problems.push(format!("{place}: {label} is never \"{value}\": {expression}"));
            }
        }
    }
    problems
}

/// Every rule of the alerts' file.
fn rules() -> Vec<Value> {
    let groups = yaml("alerts.yaml")["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn records() -> BTreeSet<String> {
    rules().iter().map(|rule| text(rule, "record").to_owned()).filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_rule_asks_for_series_and_labels_that_there_are() {
    let (series, records) = (series(), records());
    let check = |rule: &Value| {
        check(
            &format!("{}{}", text(rule, "alert"), text(rule, "record")),
            text(rule, "expr"),
            &series,
            &records,
        )
    };
    let problems: Vec<_> = rules().iter().flat_map(check).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_query_of_the_dashboard_asks_for_series_and_labels_that_there_are_and_no_series_is_left_out() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let (series, mut problems, mut asked) = (series(), Vec::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = text(target, "expr").replace("$__rate_interval", "5m");
            problems.extend(check(text(panel, "title"), &expression, &series, &BTreeSet::new()));
            asked.extend(words(&expression).0);
        }
    }
    for variable in
        dashboard["templating"]["list"].as_array().unwrap().iter().filter(|it| it["type"] == "query")
    {
        problems.extend(check("variable", text(variable, "definition"), &series, &BTreeSet::new()));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let expressions = rules().iter().map(|rule| text(rule, "expr").to_owned()).collect::<String>();
    let shown = |name: &&str| {
        asked.iter().any(|word| word.trim_end_matches("_bucket").trim_end_matches("_count") == *name)
    };
    let exposition = exposition(1);
    let all = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let left_out: Vec<_> = all.filter(|name| !shown(name) && !expressions.contains(*name)).collect();
    // Each of these is shown by another one that says more.
    assert_eq!(
        left_out,
        ["storekeeper_fights_total", "storekeeper_http_request_duration_seconds", "storekeeper_store_ready"]
    );
}

#[test]
fn the_dashboard_is_what_grafana_takes() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    assert_eq!((text(&dashboard, "uid"), text(&dashboard, "title")), ("storekeeper", "storekeeper"));
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36 && dashboard.get("id").is_none());
    let variables: BTreeSet<_> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|it| text(it, "name")).collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "job"]));
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = text(panel, "title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id is used twice");
        assert!(["row", "stat", "timeseries", "table"].contains(&text(panel, "type")), "{title}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("w") > 0 && place("x") + place("w") <= 24, "{title} is too wide");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{title} covers another panel");
            }
        }
        if text(panel, "type") == "row" {
            continue;
        }
        assert!(!text(panel, "description").is_empty(), "{title} says what it shows");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let references: BTreeSet<_> =
            panel["targets"].as_array().unwrap().iter().map(|target| text(target, "refId")).collect();
        assert_eq!(references.len(), panel["targets"].as_array().unwrap().len(), "{title}");
    }
}

#[test]
fn every_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do() {
    let documented = std::fs::read_to_string(folder().join("../../docs/monitoring.md")).unwrap();
    let tried = read("alerts.test.yaml");
    let mut names = BTreeSet::new();
    for rule in rules().iter().filter(|rule| rule.get("alert").is_some()) {
        let name = text(rule, "alert");
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        assert!(["critical", "warning", "info"].contains(&text(&rule["labels"], "severity")), "{name}");
        for annotation in ["summary", "description", "action"] {
            assert!(text(&rule["annotations"], annotation).len() > 10, "{name} has no {annotation}");
        }
        assert!(documented.contains(&format!("`{name}`")), "docs/monitoring.md does not mention {name}");
        for case in ["fires", "is quiet"] {
            assert!(tried.contains(&format!("'{name} {case}")), "no case in which {name} {case}");
        }
    }
}

#[test]
fn promtool_takes_the_rules_and_every_alert_fires_when_it_should_and_only_then() {
    let promtool = std::env::var("STOREKEEPER_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        let output = Command::new(&promtool).args(arguments).current_dir(folder()).output();
        let output =
            output.unwrap_or_else(|error| panic!("{promtool}: {error}; run this through `make test`"));
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn promtool_finds_nothing_wrong_with_the_exposition() {
    let promtool = std::env::var("STOREKEEPER_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let mut check = Command::new(&promtool);
    check.args(["check", "metrics"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut check = check.stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut check.stdin.take().unwrap(), exposition(6).as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_service_monitor_finds_its_service_and_takes_all_series_of_a_large_fleet() {
    let documents = read("servicemonitor.yaml");
    let documents: Vec<Value> =
        documents.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect();
    let [service, monitor] = documents.as_slice() else { panic!("a Service and a ServiceMonitor") };
    let labels = service["metadata"]["labels"].as_object().unwrap();
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(labels.get(label), Some(value), "{label}");
    }
    let endpoint = &monitor["spec"]["endpoints"][0];
    let port = &service["spec"]["ports"][0];
    assert_eq!((&endpoint["port"], text(endpoint, "path")), (&port["name"], "/metrics"));
    assert_eq!(port["port"], port["targetPort"]);
    let listens = format!("--metrics-listen 0.0.0.0:{}", port["port"]);
    assert!(read("servicemonitor.yaml").contains(&listens) && read("README.md").contains(&listens));
    let samples = exposition(10_000).lines().filter(|line| !line.starts_with('#')).count();
    let limit = monitor["spec"]["sampleLimit"].as_u64().unwrap();
    assert!(u64::try_from(samples).unwrap() * 2 < limit, "{samples} samples, and the limit is {limit}");
}

#[test]
fn a_misspelt_series_label_or_value_is_found() {
    let (series, none) = (series(), BTreeSet::new());
    let found = |expression: &str| !check("here", expression, &series, &none).is_empty();
    assert!(!found("sum by (state) (storekeeper_stores{state=~\"READY|FAILED\"})"));
    assert!(!found("rate(storekeeper_run_wait_seconds_bucket{why=\"changed\"}[10m]) > 5"));
    assert!(found("sum(storekeeper_store)"));
    assert!(found("provisioning_failure_total > 1"));
    assert!(found("sum by (stat) (storekeeper_stores)"));
    assert!(found("storekeeper_stores{state=\"BROKEN\"}"));
    assert!(found("storekeeper_stores{why=\"changed\"}"));
}
