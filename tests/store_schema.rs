//! The JSON Schemas and the reader say the same, and the example repository is right by both.

#![expect(clippy::unwrap_used, reason = "a test that can't go on stops there")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use storekeeper::names::API_VERSION;
use storekeeper::store::{FileContent, Limits, RepositoryTree, Snapshot, read, schema, wants};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const HEAD: &str = "apiVersion: storekeeper.dev/v1\n";
const NAMED: &str = "metadata: {name: acme}\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stores.example")
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn fits(schema: &Value, text: &str) -> bool {
    jsonschema::draft202012::is_valid(schema, &yaml(text))
}

fn chart_file(path: &str) -> Option<&'static [u8]> {
    (path == "values-local.yaml").then_some(b"ingress: {className: nginx}\n")
}

fn read_files(files: &[(&str, &str)]) -> Option<Snapshot> {
    let mut tree = RepositoryTree { revision: REVISION.parse().unwrap(), files: BTreeMap::new() };
    for (path, text) in files {
        tree.files.insert((*path).to_owned(), FileContent::Bytes(text.as_bytes().to_vec()));
    }
    read(&tree, &chart_file, &BTreeMap::new(), &Limits::default()).ok()
}

fn example() -> RepositoryTree {
    let mut tree = RepositoryTree { revision: REVISION.parse().unwrap(), files: BTreeMap::new() };
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            if wants(&name) {
                tree.files.insert(name, FileContent::Bytes(fs::read(path).unwrap()));
            }
        }
    }
    tree
}

#[test]
fn the_schemas_name_the_api_version_of_the_reader() {
    for schema in [schema::store(), schema::fleet()] {
        assert_eq!(schema["properties"]["apiVersion"]["const"], API_VERSION);
    }
}

#[test]
fn the_example_repository_is_good() {
    let snapshot = read(&example(), &chart_file, &BTreeMap::new(), &Limits::default()).unwrap();
    assert_eq!(snapshot.problems, []);
    assert!(snapshot.stores.len() >= 3);
    for (id, entry) in &snapshot.stores {
        assert_eq!(entry.problems(), [], "{id}");
    }
    let hosts: Vec<_> = snapshot
        .stores
        .values()
        .filter_map(|entry| entry.accepted())
        .map(|store| store.host.as_str())
        .collect();
    assert!(hosts.contains(&"acme.127.0.0.1.nip.io"), "{hosts:?}");
}

#[test]
fn the_example_repository_fits_the_schemas() {
    for (path, content) in example().files {
        let FileContent::Bytes(bytes) = content else { panic!("{path} can't be read") };
        let text = String::from_utf8(bytes).unwrap();
        let schema = match path.as_str() {
            "storekeeper.yaml" => schema::fleet(),
            path if path.starts_with("stores/") => schema::store(),
            _ => continue,
        };
        let errors: Vec<_> = jsonschema::draft202012::new(&schema)
            .unwrap()
            .iter_errors(&yaml(&text))
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{path}");
        assert!(fits(&schema::any(), &text), "{path}");
        assert!(text.starts_with("# yaml-language-server: $schema="), "{path}: an editor finds no schema");
    }
}

#[test]
fn one_example_shows_every_field_and_the_fleet_file_too() {
    let mut bonsai = fs::read_to_string(root().join("stores/bonsai.yaml")).unwrap();
    for field in
        ["image:", "  repository:", "  tag:", "  digest:", "pause:", "  until:", "  reason:", "cluster:"]
    {
        assert!(bonsai.contains(&format!("# {field}")), "{field}");
        bonsai = bonsai.replace(&format!("# {field}"), field);
    }
    assert!(bonsai.contains("# version: "), "short for image.tag, and not together with it");
    let mut fleet = fs::read_to_string(root().join("storekeeper.yaml")).unwrap();
    for field in ["overrideWindows:", "pause:", "  until:", "  reason:", "clusters:", "cluster:"] {
        assert!(fleet.contains(&format!("# {field}")), "{field}");
        fleet = fleet.replace(&format!("# {field}"), field);
    }
    let snapshot = read_files(&[("storekeeper.yaml", &fleet), ("stores/bonsai.yaml", &bonsai)]).unwrap();
    assert_eq!(snapshot.stores[&"bonsai".parse().unwrap()].problems(), []);
    assert!(fits(&schema::store(), &bonsai));
    for (text, schema, left_out) in
        [(&bonsai, schema::store(), &[".spec.version"][..]), (&fleet, schema::fleet(), &[])]
    {
        let mut missing = Vec::new();
        fields_missing(&schema, &yaml(text), "", &mut missing);
        assert_eq!(missing, left_out);
    }
}

fn fields_missing(schema: &Value, value: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, part) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match value.get(name) {
            Some(value) => fields_missing(part, value, &path, missing),
            None => missing.push(path),
        }
    }
}

#[test]
fn the_committed_schemas_are_what_the_program_prints() {
    for (file, schema) in [("store.json", schema::store()), ("fleet.json", schema::fleet())] {
        let path = root().join("schema").join(file);
        let text = schema::print(&schema);
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{file} is out of date: run this test with UPDATE_SCHEMAS=1");
    }
}

#[test]
fn every_object_of_the_schemas_is_closed_described_and_without_null() {
    for schema in [schema::store(), schema::fleet()] {
        let text = schema::print(&schema);
        assert!(
            !text.contains("null\"") && !text.contains("\"default\"") && !text.contains("$ref"),
            "{text}"
        );
        check_described(&schema, "");
    }
}

fn check_described(schema: &Value, path: &str) {
    assert!(schema["description"].is_string(), "{path} has no description");
    let Some(fields) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{path} is open");
    for (name, part) in fields {
        check_described(part, &format!("{path}.{name}"));
    }
}

#[test]
fn reader_and_schema_agree_on_stores() {
    let digest = format!("image: {{digest: 'sha256:{}'}}", "0a".repeat(32));
    let good = [
        "{}",
        "displayName: Acme Outdoor",
        "displayName: käse",
        "host: a",
        "host: shop.example.com",
        "version: v1",
        "version: '2.21'",
        "image: {}",
        "image: {repository: medusa}",
        "image: {repository: 'localhost:5000/a/b_c'}",
        "image: {repository: ghcr.io/acme/medusa, tag: '1'}",
        &digest,
        "rollback: lastGood",
        "rollback: none",
        "values: {}",
        "values: {a: null, b: [1, 2.5, x], c: {d: true}}",
        "values: {store: {currency: eur}}",
        "protect: true",
        "protect: false",
    ];
    let bad = [
        "[]",
        "text",
        "null",
        "hots: x",
        "displayName: ''",
        "displayName: 12",
        "displayName: \"a\\nb\"",
        "displayName: null",
        "rollback: always",
        "rollback: true",
        "host: Shop.example.com",
        "host: 'a b'",
        "host: a..b",
        "host: -a",
        "host: https://a",
        "host: [a]",
        "host: null",
        "version: 2.21",
        "version: true",
        "version: ''",
        "version: 'a b'",
        "version: null",
        "version: '{{ x }}'",
        "image: medusa",
        "image: null",
        "image: {name: medusa}",
        "image: {repository: 'a:b'}",
        "image: {repository: A}",
        "image: {repository: 'a b'}",
        "image: {tag: 2}",
        "image: {digest: 'sha256:12'}",
        "values: []",
        "values: null",
        "values: text",
        "values: true",
        "protect: 'true'",
        "protect: 1",
        "protect: null",
    ];
    let schema = schema::store();
    let long = format!("displayName: {}", "x".repeat(101));
    for (specs, right) in [(&good[..], true), (&bad[..], false), (&[long.as_str()][..], false)] {
        for spec in specs {
            let text = format!("{HEAD}kind: Store\n{NAMED}spec:\n  {spec}\n");
            check_store(&schema, &text, right);
        }
    }
    for (text, right) in [
        (format!("{HEAD}kind: Store\n{NAMED}"), true),
        (format!("{HEAD}kind: Store\n"), false),
        (format!("{HEAD}{NAMED}"), false),
        (format!("kind: Store\n{NAMED}"), false),
        (format!("{HEAD}kind: Fleet\n{NAMED}"), false),
        (format!("apiVersion: v1\nkind: Store\n{NAMED}"), false),
        (format!("{HEAD}kind: Store\n{NAMED}status: {{}}\n"), false),
        (format!("{HEAD}kind: Store\nmetadata: {{}}\n"), false),
        (format!("{HEAD}kind: Store\nmetadata: {{name: acme, labels: {{}}}}\n"), false),
        (format!("{HEAD}kind: Store\nmetadata: {{name: Acme}}\n"), false),
        (format!("{HEAD}kind: Store\nmetadata: {{name: {}}}\n", "a".repeat(58)), false),
        (format!("{HEAD}kind: Store\nmetadata: acme\n"), false),
        ("[]".to_owned(), false),
        ("acme".to_owned(), false),
    ] {
        check_store(&schema, &text, right);
    }
}

fn check_store(schema: &Value, text: &str, right: bool) {
    let fleet =
        format!("{HEAD}kind: Fleet\nspec: {{domain: shops.example.com, domains: [a, shop.example.com]}}\n");
    let snapshot = read_files(&[("storekeeper.yaml", &fleet), ("stores/acme.yaml", text)]).unwrap();
    let entry = snapshot.stores.get(&"acme".parse().unwrap()).unwrap();
    assert_eq!(entry.accepted().is_some(), right, "the reader, about\n{text}\n{:?}", entry.problems());
    assert_eq!(fits(schema, text), right, "the schema, about\n{text}");
}

#[test]
fn reader_and_schema_agree_on_pauses() {
    let good = [
        "pause: {until: 2026-12-01T08:00:00Z, reason: stocktaking}",
        "pause: {until: '2026-12-01', reason: 'x'}",
        "pause: {until: 2026-12-01, reason: x}",
        "pause: {until: '2026-12-01T08:00+01:00', reason: x}",
    ];
    let bad = [
        "pause: true",
        "pause: {}",
        "pause: {until: 2026-12-01}",
        "pause: {reason: x}",
        "pause: {until: tomorrow, reason: x}",
        "pause: {until: '2026-12-01T08:00:00', reason: x}",
        "pause: {until: '2026-12-01 08:00:00Z', reason: x}",
        "pause: {until: 2026, reason: x}",
        "pause: {until: 2026-12-01, reason: ''}",
        "pause: {until: 2026-12-01, reason: 12}",
        "pause: {until: 2026-12-01, reason: \"a\\nb\"}",
        "pause: {until: 2026-12-01, reason: x, by: me}",
    ];
    let schema = schema::store();
    for (specs, right) in [(&good[..], true), (&bad[..], false)] {
        for spec in specs {
            check_store(&schema, &format!("{HEAD}kind: Store\n{NAMED}spec:\n  {spec}\n"), right);
        }
    }
}

#[test]
fn reader_and_schema_agree_on_the_fleet() {
    let good = [
        "domain: shops.example.com",
        "domain: localhost",
        "domain: a.b\n  domains: []",
        "domain: a.b\n  domains: [c, d.e]",
        "domain: a.b\n  values: {}",
        "domain: a.b\n  values: {image: {tag: '1'}}",
        "domain: a.b\n  valueFiles: []",
        "domain: a.b\n  valueFiles: ['chart:values-local.yaml', values/eu/x.yml]",
        "domain: a.b\n  deletionBudget: {}",
        "domain: a.b\n  rollback: lastGood",
        "domain: a.b\n  deletionBudget: {maxStores: 0, approved: [acme, '12']}",
        "domain: a.b\n  deletionBudget: {maxStores: 4294967295}",
        "domain: a.b\n  deletionBudget: {maxPercent: 0, windowMinutes: 0}",
        "domain: a.b\n  deletionBudget: {maxPercent: 100, windowMinutes: 43200}",
        "domain: a.b\n  deletionGracePeriodSeconds: 0",
        "domain: a.b\n  deletionGracePeriodSeconds: 2592000",
        "domain: a.b\n  pause: {until: 2026-12-01, reason: x}",
        "domain: a.b\n  overrideWindows: {until: 2026-12-01T00:00:00Z, reason: x}",
        "domain: a.b\n  changeWindows: []",
        "domain: a.b\n  clusters: [eu-1]",
        "domain: a.b\n  clusters: [eu-1, '2']\n  cluster: eu-1",
        "domain: a.b\n  changeWindows: [{from: '09:00', to: '17:00', timeZone: Europe/Berlin}]",
        "domain: a.b\n  changeWindows: [{days: [mon, sun], from: '22:00:05', to: '24:00', timeZone: UTC, stores: ['a-*']}]",
    ];
    let bad = [
        "domain: a.b\n  domains: c",
        "domain: a.b\n  domains: [c, c]",
        "{}",
        "[]",
        "null",
        "domain: a.b\n  clusters: []",
        "domain: a.b\n  clusters: eu-1",
        "domain: a.b\n  clusters: [EU]",
        "domain: a.b\n  clusters: [eu-1, eu-1]",
        "domain: a.b\n  clusters: null",
        "domain: a.b\n  clusters: [eu-1]\n  cluster: [eu-1]",
        "domain: a.b\n  clusters: [eu-1]\n  cluster: eu_1",
        "domain: null",
        "domain: A.b",
        "domain: 12",
        "domain: a b",
        "domian: a.b",
        "domain: a.b\n  replicas: 2",
        "domain: a.b\n  values: []",
        "domain: a.b\n  valueFiles: values/eu/x.yml",
        "domain: a.b\n  valueFiles: null",
        "domain: a.b\n  valueFiles: [x.yaml]",
        "domain: a.b\n  valueFiles: [../values/eu/x.yml]",
        "domain: a.b\n  valueFiles: [values/../x.yml]",
        "domain: a.b\n  valueFiles: [/values/eu/x.yml]",
        "domain: a.b\n  valueFiles: [values/eu/x.txt]",
        "domain: a.b\n  valueFiles: ['values\\x.yml']",
        "domain: a.b\n  valueFiles: ['chart:../x.yaml']",
        "domain: a.b\n  valueFiles: [values/eu/x.yml, values/eu/x.yml]",
        "domain: a.b\n  valueFiles: [12]",
        "domain: a.b\n  deletionBudget: 3",
        "domain: a.b\n  rollback: last",
        "domain: a.b\n  deletionBudget: {maxStores: -1}",
        "domain: a.b\n  deletionBudget: {maxStores: 1.5}",
        "domain: a.b\n  deletionBudget: {maxStores: 4294967296}",
        "domain: a.b\n  deletionBudget: {maxStores: '3'}",
        "domain: a.b\n  deletionBudget: {max: 3}",
        "domain: a.b\n  deletionBudget: {maxPercent: 101}",
        "domain: a.b\n  deletionBudget: {maxPercent: 50%}",
        "domain: a.b\n  deletionBudget: {windowMinutes: 43201}",
        "domain: a.b\n  deletionBudget: {windowMinutes: null}",
        "domain: a.b\n  deletionGracePeriodSeconds: 5m",
        "domain: a.b\n  deletionGracePeriodSeconds: -1",
        "domain: a.b\n  deletionGracePeriodSeconds: 2592001",
        "domain: a.b\n  deletionBudget: {approved: acme}",
        "domain: a.b\n  deletionBudget: {approved: [Acme]}",
        "domain: a.b\n  deletionBudget: {approved: [acme, acme]}",
        "domain: a.b\n  deletionBudget: {approved: [12]}",
        "domain: a.b\n  pause: {until: 2026-12-01}",
        "domain: a.b\n  overrideWindows: {reason: x}",
        "domain: a.b\n  changeWindows: {from: '09:00', to: '17:00', timeZone: UTC}",
        "domain: a.b\n  changeWindows: [{from: '09:00', to: '17:00'}]",
        "domain: a.b\n  changeWindows: [{from: '9:00', to: '17:00', timeZone: UTC}]",
        "domain: a.b\n  changeWindows: [{from: '09:60', to: '17:00', timeZone: UTC}]",
        "domain: a.b\n  changeWindows: [{days: [], from: '09:00', to: '17:00', timeZone: UTC}]",
        "domain: a.b\n  changeWindows: [{days: [Mon], from: '09:00', to: '17:00', timeZone: UTC}]",
        "domain: a.b\n  changeWindows: [{days: [mon, mon], from: '09:00', to: '17:00', timeZone: UTC}]",
        "domain: a.b\n  changeWindows: [{from: '09:00', to: '17:00', timeZone: UTC, stores: ['A*']}]",
        "domain: a.b\n  changeWindows: [{from: '09:00', to: '17:00', timeZone: UTC, zone: x}]",
    ];
    let schema = schema::fleet();
    let long = format!("domain: {}", "shops.".repeat(40) + "example");
    for (specs, right) in [(&good[..], true), (&bad[..], false), (&[long.as_str()][..], false)] {
        for spec in specs {
            check_fleet(&schema, &format!("{HEAD}kind: Fleet\nspec:\n  {spec}\n"), right);
        }
    }
    for (text, right) in [
        (format!("{HEAD}kind: Fleet\n"), false),
        (format!("{HEAD}kind: Store\nspec: {{domain: a.b}}\n"), false),
        (format!("{HEAD}kind: Fleet\nmetadata: {{name: x}}\nspec: {{domain: a.b}}\n"), false),
    ] {
        check_fleet(&schema, &text, right);
    }
}

fn check_fleet(schema: &Value, text: &str, right: bool) {
    let snapshot = read_files(&[("storekeeper.yaml", text), ("values/eu/x.yml", "a: 1\n")]);
    assert_eq!(snapshot.is_some(), right, "the reader, about\n{text}");
    assert_eq!(fits(schema, text), right, "the schema, about\n{text}");
}
