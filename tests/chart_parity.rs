//! Promise: charts render to what Helm renders them to, and what Helm refuses is refused.
//!
//! Needs the real Helm; `make test` provides it.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "../deploy/parity/mod.rs"]
mod parity;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use openssl::asn1::Asn1OctetStringRef;
use openssl::pkey::PKey;
use openssl::x509::X509;
use parity::case::{Case, read_folder};
use parity::compare::compare;
use parity::helm::{self, Helm};
use parity::ours;
use serde_json::Value;

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
    for chart in ["functions", "words", "conversions", "versions"] {
        assert_same(&case(trap_chart(chart), &[], None));
    }
}

#[test]
fn expressions_and_literals_come_to_what_helms_come_to() {
    for chart in ["expressions", "literals"] {
        assert_same(&case(trap_chart(chart), &[], None));
    }
}

#[test]
fn values_of_every_kind_print_as_in_helm() {
    assert_same(&case(trap_chart("printf"), &[], None));
}

#[test]
fn strings_carry_any_bytes_as_in_helm() {
    assert_same(&case(trap_chart("bytes"), &[], None));
}

#[test]
fn dates_zones_and_durations_are_helms() {
    assert_same(&case(trap_chart("dates"), &[], None));
}

#[test]
fn keys_and_certificates_say_what_helms_say() {
    let (case, folder) = (case(trap_chart("crypto"), &[], None), tempfile::tempdir().unwrap());
    let helm = Helm::new(helm::binary(), folder.path().to_owned());
    let (ours, helms) = (render(&case).expect("it renders"), helm.template(&case).expect("helm renders it"));
    let (ours, helms) = (&ours.documents[0].value, &helms.documents[0].value);
    assert_eq!(ours["same"], helms["same"]);
    let kinds = |keys: &Value| -> BTreeMap<String, String> {
        let keys = keys["keys"].as_object().expect("keys");
        keys.iter().map(|(name, pem)| (name.clone(), key_kind(pem.as_str().expect("text")))).collect()
    };
    assert_eq!(kinds(ours), kinds(helms));
    let told = |made: &Value| -> BTreeMap<String, String> {
        let made = made["certificates"].as_object().expect("certificates");
        made.iter().map(|(name, pair)| (name.clone(), certificate_content(pair))).collect()
    };
    assert_eq!(told(ours), told(helms));
    for rendered in [ours, helms] {
        let read = |name: &str| certificate_of(&rendered["certificates"][name]);
        for (leaf, authority) in [("signed", "ca"), ("edLeaf", "ecCa"), ("own", "own"), ("ca", "custom")] {
            let key = read(authority).public_key().expect("a key");
            assert!(read(leaf).verify(&key).expect("a signature"), "{leaf} is not signed by {authority}");
        }
    }
}

/// What kind of key a PEM holds and how large it is.
fn key_kind(pem: &str) -> String {
    let label = pem.lines().next().expect("a label");
    let key = PKey::private_key_from_pem(pem.as_bytes()).expect("a key");
    format!("{label} {:?} {}", key.id(), key.bits())
}

fn certificate_of(pair: &Value) -> X509 {
    X509::from_pem(pair["cert"].as_str().expect("text").as_bytes()).expect("a certificate")
}

/// Everything in a certificate that is not random: no serial number, no bits of keys, no time.
fn certificate_content(pair: &Value) -> String {
    let certificate = certificate_of(pair);
    let key = PKey::private_key_from_pem(pair["key"].as_str().expect("text").as_bytes()).expect("a key");
    assert!(certificate.public_key().expect("a key").public_eq(&key), "the key is another's");
    let text = String::from_utf8(certificate.to_text().expect("text")).expect("UTF-8");
    let days = certificate.not_before().diff(certificate.not_after()).expect("times").days;
    let hexadecimal = |line: &str| line.trim().split(':').all(|part| part.len() <= 2);
    let kept = text.lines().filter(|line| {
        let line = line.trim();
        !line.starts_with("Not ") && !hexadecimal(line)
    });
    let kept: Vec<&str> = kept.map(str::trim).filter(|line| !line.starts_with("Serial Number")).collect();
    let names = format!("{:?} {:?}", certificate.subject_name().to_der(), certificate.issuer_name().to_der());
    let sizes = (
        certificate.subject_key_id().map(Asn1OctetStringRef::len),
        certificate.authority_key_id().map(Asn1OctetStringRef::len),
    );
    format!("{days} {sizes:?} {names} {}", kept.join("\n"))
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
    let layers = values_sets(&chart);
    for layer in &layers {
        assert_same(&case(chart.clone(), &[layer], Some(("store.id", "acme"))));
    }
    let one_server = ["values-prod.yaml", "values-prod-volumes.yaml"];
    assert_same(&case(chart.clone(), &one_server, Some(("store.id", "acme"))));
    assert_both_refuse(&case(chart.clone(), &[], Some(("store.id", "Not_A_Name"))));
    assert_both_refuse(&case(chart, &[], Some(("nonsense", "x"))));
}

#[test]
fn the_platform_chart_renders_as_helm_does_with_every_values_set() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/platform");
    for layer in &values_sets(&chart) {
        assert_same(&case(
            chart.clone(),
            &[layer],
            Some(("repository.url", "https://git.example.com/acme/stores.git")),
        ));
    }
    let message = "repository.url is required";
    assert_refused(&case(chart.clone(), &[], None), message);
    assert_both_refuse(&case(chart, &["values-prod.yaml"], Some(("nonsense", "x"))));
}

/// The values files of a chart of ours, each a set.
fn values_sets(chart: &Path) -> Vec<String> {
    let mut layers = vec!["values-local.yaml".to_owned(), "values-prod.yaml".to_owned()];
    for entry in fs::read_dir(chart.join("ci")).expect("the chart has a folder ci") {
        let name = entry.expect("readable").file_name().into_string().expect("a name in UTF-8");
        layers.push(format!("ci/{name}"));
    }
    assert!(layers.len() > 3, "no values sets in ci/");
    layers
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
