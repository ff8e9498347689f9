//! Promise: charts render to what Helm renders them to, and what Helm refuses is refused.
//!
//! Needs the real Helm; `make test` provides it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use openssl::asn1::Asn1OctetStringRef;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::{Map, Value, json};
use storekeeper::chart::{Capabilities, Chart, Release, RenderLimits, RenderRequest, parse_values};
use storekeeper::store::values::merge;

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
    Case::new(trap_chart("references"), &[], None).assert_same();
}

#[test]
fn nulls_and_missing_keys_are_helms() {
    for layers in [&[][..], &["values-user.yaml"]] {
        Case::new(trap_chart("nils"), layers, None).assert_same();
    }
}

#[test]
fn numbers_print_as_helm_prints_them() {
    Case::new(trap_chart("numbers"), &[], None).assert_same();
}

#[test]
fn yaml_is_read_and_written_as_helm_does() {
    Case::new(trap_chart("yaml"), &[], None).assert_same();
}

#[test]
fn templates_comments_and_files_are_helms() {
    Case::new(trap_chart("text"), &[], None).assert_same();
}

#[test]
fn functions_return_what_helms_return() {
    for chart in ["functions", "words", "conversions", "versions"] {
        Case::new(trap_chart(chart), &[], None).assert_same();
    }
}

#[test]
fn expressions_and_literals_come_to_what_helms_come_to() {
    for chart in ["expressions", "literals"] {
        Case::new(trap_chart(chart), &[], None).assert_same();
    }
}

#[test]
fn values_of_every_kind_print_as_in_helm() {
    Case::new(trap_chart("printf"), &[], None).assert_same();
}

#[test]
fn strings_carry_any_bytes_as_in_helm() {
    Case::new(trap_chart("bytes"), &[], None).assert_same();
}

#[test]
fn dates_zones_and_durations_are_helms() {
    Case::new(trap_chart("dates"), &[], None).assert_same();
}

#[test]
fn keys_and_certificates_say_what_helms_say() {
    let case = Case::new(trap_chart("crypto"), &[], None);
    let (ours, helms) = (case.ours().expect("it renders"), case.helms().expect("helm renders it"));
    let (ours, helms) = (&ours["Keys -/crypto"], &helms["Keys -/crypto"]);
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
        Case::new(trap_chart("subcharts"), layers, None).assert_same();
    }
}

#[test]
fn what_helm_refuses_is_refused() {
    for (case, message) in REFUSALS {
        Case::new(trap_chart("refusals"), &[], Some(("case", case))).assert_refused(message);
    }
    Case::new(trap_chart("refusals"), &[], Some(("number", "eleven"))).assert_refused("`number`: ");
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
        Case::new(chart.clone(), &[layer], Some(("store.id", "acme"))).assert_same();
    }
    let one_server = ["values-prod.yaml", "values-prod-volumes.yaml"];
    Case::new(chart.clone(), &one_server, Some(("store.id", "acme"))).assert_same();
    Case::new(chart.clone(), &[], Some(("store.id", "Not_A_Name"))).assert_both_refuse();
    Case::new(chart, &[], Some(("nonsense", "x"))).assert_both_refuse();
}

fn trap_chart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chart").join(name)
}

/// A chart with values files and at most one `--set-string`.
struct Case {
    folder: PathBuf,
    layers: Vec<String>,
    set: Option<(String, String)>,
}

impl Case {
    fn new(folder: PathBuf, layers: &[&str], set: Option<(&str, &str)>) -> Self {
        let layers = layers.iter().map(|layer| (*layer).to_owned()).collect();
        Self { folder, layers, set: set.map(|(path, value)| (path.to_owned(), value.to_owned())) }
    }

    fn name(&self) -> String {
        format!("{} {:?} {:?}", self.folder.display(), self.layers, self.set)
    }

    fn assert_same(&self) {
        let ours = self.ours().unwrap_or_else(|error| panic!("{}: failed to {error}", self.name()));
        let helms = self.helms().unwrap_or_else(|error| panic!("{}: helm: {error}", self.name()));
        assert!(!helms.is_empty(), "{}: helm renders nothing", self.name());
        let mut differences = Vec::new();
        for key in ours.keys().chain(helms.keys().filter(|key| !ours.contains_key(*key))) {
            compare(key, ours.get(key), helms.get(key), &mut differences);
        }
        assert!(differences.is_empty(), "{}:\n{}", self.name(), differences.join("\n"));
    }

    fn assert_refused(&self, message: &str) {
        let error = self.assert_both_refuse();
        assert!(error.contains(message), "{}: {error}", self.name());
    }

    fn assert_both_refuse(&self) -> String {
        assert!(self.helms().is_err(), "{}: helm accepts it", self.name());
        self.ours().expect_err(&self.name())
    }

    fn ours(&self) -> Result<BTreeMap<String, Value>, String> {
        let mut files = BTreeMap::new();
        read(&self.folder, "", &mut files);
        let chart = Chart::load(files).map_err(|error| error.to_string())?;
        let mut values = Map::new();
        for layer in &self.layers {
            let text = fs::read_to_string(self.folder.join(layer)).expect("the layer is readable");
            merge(&mut values, &parse_values(&text).map_err(|error| error.to_string())?);
        }
        if let Some((path, value)) = &self.set {
            let nested = path.rsplit('.').fold(json!(value), |below, part| json!({ part: below }));
            merge(&mut values, nested.as_object().expect("a map"));
        }
        let request = RenderRequest {
            release: Release {
                name: "rel".to_owned(),
                namespace: "space".to_owned(),
                is_upgrade: false,
                revision: 1,
            },
            values: &values,
            capabilities: &Capabilities::default(),
            lookup: &|_| json!({}),
            entropy: &|bytes| bytes.fill(7),
            now: 1_700_000_000,
            limits: RenderLimits::default(),
        };
        let rendering = chart.render(&request).map_err(|error| error.to_string())?;
        Ok(by_identity(rendering.objects.into_iter().map(|rendered| rendered.value)))
    }

    fn helms(&self) -> Result<BTreeMap<String, Value>, String> {
        let helm = std::env::var_os("STOREKEEPER_HELM")
            .expect("STOREKEEPER_HELM does not name the helm binary: run it through make test");
        let mut command = Command::new(helm);
        command.args(["template", "rel", "--namespace", "space"]).arg(&self.folder);
        command.env("TZ", "UTC");
        for layer in &self.layers {
            command.arg("-f").arg(self.folder.join(layer));
        }
        if let Some((path, value)) = &self.set {
            command.arg("--set-string").arg(format!("{path}={value}"));
        }
        let output = command.output().expect("helm starts");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8(output.stdout).expect("helm prints UTF-8");
        Ok(by_identity(documents(&text)))
    }
}

/// Reads helm's output. It puts each document behind `---` and a comment that names the template.
fn documents(text: &str) -> impl Iterator<Item = Value> {
    let parse = |document: &str| {
        let values =
            parse_values(document).unwrap_or_else(|error| panic!("helm's output: {error}\n{document}"));
        (!values.is_empty()).then_some(Value::Object(values))
    };
    let documents: Vec<Value> = format!("\n{text}").split("\n---\n").filter_map(parse).collect();
    documents.into_iter()
}

fn by_identity(objects: impl Iterator<Item = Value>) -> BTreeMap<String, Value> {
    let mut map = BTreeMap::new();
    for mut object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
        let key = format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        if object["kind"] == "Secret" {
            hide_values(&mut object);
        }
        assert!(map.insert(key.clone(), object).is_none(), "{key} is rendered twice");
    }
    map
}

/// Passwords are random: only the keys of a Secret can be compared.
fn hide_values(secret: &mut Value) {
    for part in ["data", "stringData"] {
        if let Some(Value::Object(entries)) = secret.get_mut(part) {
            entries.values_mut().for_each(|value| *value = json!("hidden"));
        }
    }
}

fn compare(path: &str, ours: Option<&Value>, helms: Option<&Value>, differences: &mut Vec<String>) {
    match (ours, helms) {
        (Some(Value::Object(ours)), Some(Value::Object(helms))) => {
            for key in ours.keys().chain(helms.keys().filter(|key| !ours.contains_key(*key))) {
                compare(&format!("{path}.{key}"), ours.get(key), helms.get(key), differences);
            }
        }
        (ours, helms) if ours == helms => {}
        (ours, helms) => {
            let show =
                |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            differences.push(format!("{path}\n  ours: {}\n  helm: {}", show(ours), show(helms)));
        }
    }
}

fn read(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the chart's folder is readable") {
        let entry = entry.expect("readable");
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, fs::read(entry.path()).expect("the file is readable"));
        }
    }
}
