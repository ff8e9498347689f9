//! Promise: charts render to what Helm renders them to, and what Helm refuses is refused.
//!
//! Needs the real Helm; `make test` provides it.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "../deploy/parity/mod.rs"]
mod parity;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use parity::case::{Case, read_folder};
use parity::compare::compare;
use parity::helm::{self, Helm};
use parity::ours;

/// The refusals chart's cases, each with a part of our message.
const REFUSALS: [(&str, &str); 17] = [
    ("required", "calling `required`: a name is needed"),
    ("fail", "calling `fail`: stopped here"),
    ("nil", "nil pointer evaluating interface {}.deeper"),
    ("kind", "incompatible types for comparison"),
    ("string", "calling `upper`: invalid value; expected string"),
    ("int", "wrong type for value; expected int; got float64"),
    ("scalar", "can't evaluate field deeper in type float64"),
    ("range", "range can't iterate over"),
    ("template", "template `not.there` is not defined"),
    ("tpl", "function `nope` is not defined"),
    ("yaml", "read the output of refusals/templates/all.yaml: parse YAML at line"),
    ("count", "wrong number of arguments"),
    ("index", "index out of range: 3"),
    ("recursion", "the templates nest deeper than"),
    ("method", "is not a method but has arguments"),
    ("ternary", "expected bool; got string"),
    ("divide", "integer divide by zero"),
];

#[test]
fn changes_to_values_are_seen_as_in_helm() {
    assert_same(&case(trap_chart("references"), &[], None));
}

#[test]
fn nulls_and_missing_keys_are_helms() {
    for layers in [&[][..], &["values-user.yaml"]] {
        assert_same(&case(trap_chart("nils"), layers, None));
    }
}

#[test]
fn numbers_print_as_helm_prints_them() {
    assert_same(&case(trap_chart("numbers"), &[], None));
}

#[test]
fn yaml_is_read_and_written_as_helm_does() {
    assert_same(&case(trap_chart("yaml"), &[], None));
}

#[test]
fn templates_comments_and_files_are_helms() {
    assert_same(&case(trap_chart("text"), &[], None));
}

#[test]
fn functions_return_what_helms_return() {
    assert_same(&case(trap_chart("functions"), &[], None));
}

#[test]
fn subcharts_get_the_values_that_helm_gives_them() {
    for layers in [&[][..], &["values-user.yaml"], &["values-user.yaml", "values-tags.yaml"]] {
        assert_same(&case(trap_chart("subcharts"), layers, None));
    }
}

#[test]
fn charts_load_as_helm_loads_them() {
    let sets = ["ci/second-values.yaml", "ci/nulls-values.yaml", "ci/tags-values.yaml"];
    assert_same(&case(trap_chart("loading"), &[], None));
    for layer in sets {
        assert_same(&case(trap_chart("loading"), &[layer], None));
    }
    assert_same(&case(trap_chart("loading"), &sets, None));
}

#[test]
fn packed_charts_are_what_they_were_before() {
    let folder = tempfile::tempdir().unwrap();
    // A packed chart with a packed subchart: Helm packs both.
    let chart = folder.path().join("loading");
    for (path, bytes) in read_folder(&trap_chart("loading")) {
        let path = chart.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let pack = |chart: &Path, to: &Path| {
        let mut command = Command::new(helm::binary());
        let status = command.arg("package").arg(chart).arg("--destination").arg(to).output().unwrap().status;
        assert!(status.success(), "helm package {}", chart.display());
    };
    pack(&chart.join("charts/part"), &chart.join("charts"));
    fs::remove_dir_all(chart.join("charts/part")).unwrap();
    assert_same(&case(chart.clone(), &[], None));
    pack(&chart, folder.path());
    let packed = folder.path().join("loading-0.1.0.tgz");
    assert_same(&case(packed.clone(), &[], None));
    assert!(!render(&case(packed, &[], None)).unwrap().documents.is_empty());
}

#[test]
fn another_cluster_is_told_as_helm_tells_it() {
    let mut case = case(trap_chart("loading"), &[], None);
    for version in ["1.29", "v1.31.4-gke.256+x", "1.30.2"] {
        case.kube_version = Some(version.to_owned());
        case.api_versions = vec!["example.com/v1".to_owned(), "example.com/v1/Thing".to_owned()];
        assert_same(&case);
    }
    for version in ["1", "one.two", "01.30"] {
        case.kube_version = Some(version.to_owned());
        assert_both_refuse(&case);
    }
}

#[test]
fn made_up_values_and_texts_are_written_and_read_as_helm_does() {
    let folder = tempfile::tempdir().unwrap();
    let helm = Helm::new(helm::binary(), folder.path().to_owned());
    for seed in [1, 2] {
        let differences = parity::fuzz::differences(&helm, &parity::fuzz::chart(), folder.path(), seed);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

#[test]
fn what_helm_refuses_is_refused() {
    for (name, message) in REFUSALS {
        assert_refused(&case(trap_chart("refusals"), &[], Some(("case", name))), message);
    }
    assert_refused(&case(trap_chart("refusals"), &[], Some(("number", "eleven"))), "`number`: ");
}

#[test]
fn the_store_chart_renders_as_helm_does_with_every_values_set() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/medusa-store");
    let mut layers = vec!["values-local.yaml".to_owned(), "values-prod.yaml".to_owned()];
    for entry in fs::read_dir(chart.join("ci")).expect("the chart has a folder ci") {
        let name = entry.expect("readable").file_name().into_string().expect("a name in UTF-8");
        layers.push(format!("ci/{name}"));
    }
    assert!(layers.len() > 3, "no values sets in ci/");
    for layer in &layers {
        assert_same(&case(chart.clone(), &[layer], Some(("store.id", "acme"))));
    }
    let one_server = ["values-prod.yaml", "values-prod-volumes.yaml"];
    assert_same(&case(chart.clone(), &one_server, Some(("store.id", "acme"))));
    assert_both_refuse(&case(chart.clone(), &[], Some(("store.id", "Not_A_Name"))));
    assert_both_refuse(&case(chart, &[], Some(("nonsense", "x"))));
}

fn trap_chart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chart").join(name)
}

fn case(chart: PathBuf, layers: &[&str], set: Option<(&str, &str)>) -> Case {
    let values = layers.iter().map(|layer| chart.join(layer)).collect();
    let set = set.map(|(path, value)| (path.to_owned(), value.to_owned()));
    Case { chart, values, set, ..Case::default() }
}

fn render(case: &Case) -> Result<parity::case::Output, String> {
    ours::load(&case.chart).and_then(|chart| ours::render(&chart, case))
}

fn assert_same(case: &Case) {
    let folder = tempfile::tempdir().unwrap();
    let ours = render(case).unwrap_or_else(|error| panic!("{}: failed to {error}", case.name()));
    let helm = Helm::new(helm::binary(), folder.path().to_owned());
    let (first, again) =
        helm.render_twice(case).unwrap_or_else(|error| panic!("{}: helm: {error}", case.name()));
    assert!(!first.documents.is_empty(), "{}: helm renders nothing", case.name());
    let differences = compare(&ours, &first, &again).differences;
    assert!(differences.is_empty(), "{}:\n{}", case.name(), differences.join("\n"));
}

fn assert_refused(case: &Case, message: &str) {
    let error = assert_both_refuse(case);
    assert!(error.contains(message), "{}: {error}", case.name());
}

fn assert_both_refuse(case: &Case) -> String {
    let folder = tempfile::tempdir().unwrap();
    let helm = Helm::new(helm::binary(), folder.path().to_owned());
    assert!(helm.template(case).is_err(), "{}: helm accepts it", case.name());
    render(case).expect_err(&case.name())
}
