//! What store files and the fleet file may say, and what their authors read when they are wrong.

#![expect(clippy::unwrap_used, reason = "a test that can't go on stops there")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use storekeeper::names::{Host, StoreId};
use storekeeper::store::{
    DeletionBudget, FileContent, Freeze, Limits, Problem, RepositoryTree, Rollback, Snapshot, StoreEntry,
    ValueFile, read, wants,
};

const FLEET: &str = "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: shops.example.com\n  domains: [acme.example, example]\n";

/// Domains that no fleet can have.
const USELESS: &str = "Acme.example, a.example, a.example, 1";
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

fn id(text: &str) -> StoreId {
    text.parse().unwrap()
}

fn store(name: &str, spec: &str) -> String {
    let spec = if spec.is_empty() { String::new() } else { format!("spec:\n{spec}") };
    format!("apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {name}\n{spec}")
}

fn tree(files: &[(&str, &str)]) -> RepositoryTree {
    let mut tree = RepositoryTree { revision: REVISION.parse().unwrap(), files: BTreeMap::new() };
    for (path, text) in files {
        if wants(path) {
            tree.files.insert((*path).to_owned(), FileContent::Bytes(text.as_bytes().to_vec()));
        }
    }
    tree
}

fn with_fleet(files: &[(&str, &str)]) -> RepositoryTree {
    tree(&[&[("storekeeper.yaml", FLEET)], files].concat())
}

fn chart_file(path: &str) -> Option<&'static [u8]> {
    (path == "values-local.yaml").then_some(b"postgres:\n  size: 1Gi\n")
}

fn read_all(tree: &RepositoryTree) -> Result<Snapshot, Freeze> {
    read(tree, &chart_file, &BTreeMap::new(), &Limits::default())
}

fn accept(files: &[(&str, &str)]) -> Snapshot {
    let snapshot = read_all(&with_fleet(files)).unwrap();
    assert_eq!(snapshot.problems, []);
    for (id, entry) in &snapshot.stores {
        assert_eq!(entry.problems(), [], "{id}");
    }
    snapshot
}

/// Reads one store file and returns what its author reads.
fn complaints(text: &str) -> String {
    outcome(&with_fleet(&[("stores/acme.yaml", text)]), &BTreeMap::new())
}

fn outcome(tree: &RepositoryTree, incumbents: &BTreeMap<Host, StoreId>) -> String {
    let mut out = String::new();
    match read(tree, &chart_file, incumbents, &Limits::default()) {
        Ok(snapshot) => {
            for (id, entry) in &snapshot.stores {
                match entry {
                    StoreEntry::Accepted(store) => writeln!(out, "{id}: accepted, {}", store.host).unwrap(),
                    StoreEntry::Rejected(problems) => {
                        writeln!(out, "{id}: rejected").unwrap();
                        print(&mut out, problems);
                    }
                }
            }
            if !snapshot.problems.is_empty() {
                writeln!(out, "no store:").unwrap();
                print(&mut out, &snapshot.problems);
            }
        }
        Err(freeze) => {
            writeln!(out, "frozen: {freeze}").unwrap();
            print(&mut out, freeze.problems());
        }
    }
    out
}

fn print(out: &mut String, problems: &[Problem]) {
    for problem in problems {
        writeln!(out, "  {problem}").unwrap();
        if let Some(snippet) = &problem.snippet {
            writeln!(out, "    | {snippet}").unwrap();
        }
    }
}

#[test]
fn a_name_is_all_that_a_store_needs() {
    let snapshot = accept(&[("stores/acme.yaml", &store("acme", ""))]);
    let acme = snapshot.stores[&id("acme")].accepted().unwrap();
    assert_eq!(acme.display_name, "acme");
    assert_eq!(acme.host.as_str(), "acme.shops.example.com");
    let expected = json!({"store": {"id": "acme", "displayName": "acme", "host": "acme.shops.example.com"}});
    assert_eq!(Value::Object(acme.merged()), expected);
    assert!(!acme.protect);
    assert_eq!(snapshot.fleet.deletion_grace_seconds, 300);
    let DeletionBudget { max_stores, max_percent, window_minutes, approved } =
        &snapshot.fleet.deletion_budget;
    assert_eq!((*max_stores, *max_percent, *window_minutes, approved.len()), (3, 50, 60, 0));
}

#[test]
fn every_field_of_a_store_reaches_the_chart() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let spec = format!(
        "  displayName: \"Acme \u{2013} Outdoor\"\n  host: shop.acme.example\n  version: \"2.21.2\"\n  image:\n    repository: \
         registry.example:5000/acme/medusa\n    digest: {digest}\n  values:\n    image: {{pullPolicy: Always}}\n    \
         ports: {{8080: web}}\n    empty: null\n"
    );
    let snapshot = accept(&[("stores/acme.yaml", &store("acme", &spec))]);
    let acme = snapshot.stores[&id("acme")].accepted().unwrap();
    let expected = json!({
        "image": {
            "pullPolicy": "Always", "repository": "registry.example:5000/acme/medusa", "tag": "2.21.2", "digest": digest,
        },
        "ports": {"8080": "web"},
        "empty": null,
        "store": {"id": "acme", "displayName": "Acme \u{2013} Outdoor", "host": "shop.acme.example"},
    });
    assert_eq!(Value::Object(acme.merged()), expected);
}

#[test]
fn fleet_values_lose_to_value_files_and_those_to_the_store() {
    let fleet = format!(
        "{FLEET}  values: {{a: fleet, b: fleet, c: fleet, postgres: {{size: 10Gi, backup: true}}}}\n  valueFiles: \
         [values/one.yaml, values/two.yaml, 'chart:values-local.yaml']\n"
    );
    let snapshot = read_all(&tree(&[
        ("storekeeper.yaml", &fleet),
        ("values/one.yaml", "b: one\nc: one\nd: one\n"),
        ("values/two.yaml", "d: two\n"),
        ("values/unused.yaml", "this: [is never read"),
        ("stores/acme.yaml", &store("acme", "  values: {c: store, postgres: {backup: null}}\n")),
    ]))
    .unwrap();
    let acme = snapshot.stores[&id("acme")].accepted().unwrap();
    let mut merged = acme.merged();
    merged.shift_remove("store");
    let expected = json!({
        "a": "fleet", "b": "one", "c": "store", "d": "two", "postgres": {"size": "1Gi", "backup": null},
    });
    assert_eq!(Value::Object(merged), expected);
    let files: Vec<_> = snapshot.fleet.value_files.iter().map(ToString::to_string).collect();
    assert_eq!(files, ["values/one.yaml", "values/two.yaml", "chart:values-local.yaml"]);
    assert_eq!(snapshot.fleet.value_files[2], ValueFile::Chart("values-local.yaml".to_owned()));
}

#[test]
fn what_the_fleet_says_of_rollbacks_holds_for_stores_that_say_nothing() {
    let policies = |fleet: &str| {
        let files = [
            ("storekeeper.yaml", &*format!("{FLEET}{fleet}")),
            ("stores/silent.yaml", &store("silent", "")),
            ("stores/back.yaml", &store("back", "  rollback: lastGood\n")),
            ("stores/forward.yaml", &store("forward", "  rollback: none\n")),
        ];
        let snapshot = read_all(&tree(&files)).unwrap();
        ["silent", "back", "forward"].map(|name| snapshot.stores[&id(name)].accepted().unwrap().rollback)
    };
    let (none, back) = (Rollback::None, Rollback::LastGood);
    assert_eq!(policies(""), [none, back, none]);
    assert_eq!(policies("  rollback: lastGood\n"), [back, back, none]);
}

#[test]
fn a_version_of_the_store_is_not_overruled_by_a_digest_of_the_fleet() {
    let fleet = format!("{FLEET}  values: {{image: {{tag: \"1.0\", digest: 'sha256:00'}}}}\n");
    let snapshot = read_all(&tree(&[
        ("storekeeper.yaml", &fleet),
        ("stores/acme.yaml", &store("acme", "  version: \"2.0\"\n")),
        ("stores/bonsai.yaml", &store("bonsai", "")),
    ]))
    .unwrap();
    let image = |name: &str| snapshot.stores[&id(name)].accepted().unwrap().merged()["image"].clone();
    assert_eq!(image("acme"), json!({"tag": "2.0", "digest": ""}));
    assert_eq!(image("bonsai"), json!({"tag": "1.0", "digest": "sha256:00"}));
}

#[test]
fn the_digest_changes_with_what_is_rendered_and_with_nothing_else() {
    let digest = |fleet: &str, text: &str| {
        let snapshot = read_all(&tree(&[
            ("storekeeper.yaml", fleet),
            ("stores/acme.yaml", text),
            ("values/x.yaml", "a: 1"),
        ]));
        snapshot.unwrap().stores[&id("acme")].accepted().unwrap().digest().to_owned()
    };
    let plain = digest(FLEET, &store("acme", "  values: {a: 1, b: 2}\n"));
    assert_eq!(plain, digest(FLEET, &store("acme", "  # a comment\n  values: {b: 2, a: 1}\n")));
    let budget = format!("{FLEET}  deletionBudget: {{maxStores: 7}}\n");
    assert_eq!(plain, digest(&budget, &store("acme", "  values: {b: 2, a: 1}\n")));
    assert_ne!(plain, digest(FLEET, &store("acme", "  values: {a: 1, b: 3}\n")));
    assert_ne!(plain, digest(FLEET, &store("acme", "  displayName: Acme\n  values: {a: 1, b: 2}\n")));
    let fleet = format!("{FLEET}  values: {{c: 1}}\n");
    assert_ne!(plain, digest(&fleet, &store("acme", "  values: {a: 1, b: 2}\n")));
}

#[test]
fn all_problems_of_a_file_show_at_once() {
    let text = "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {name: acme}\nspec:\n  hots: shop.example.com\n  \
                displayName: 1984\n  version: 2.21\n  values:\n    debug: yes\n    mode: 0644\n    store: {id: other}\n";
    insta::assert_snapshot!(complaints(text));
}

#[test]
fn one_bad_file_rejects_one_store() {
    let snapshot = read_all(&with_fleet(&[
        ("stores/acme.yaml", &store("acme", "  hots: x\n")),
        ("stores/bonsai.yaml", &store("bonsai", "")),
    ]))
    .unwrap();
    assert!(snapshot.stores[&id("acme")].accepted().is_none());
    assert!(snapshot.stores[&id("bonsai")].accepted().is_some());
}

#[test]
fn messages_for_wrong_fields_say_what_would_be_right() {
    let mut out = String::new();
    for (case, text) in [
        ("misspelt field", store("acme", "  hots: shop.example.com\n")),
        ("field on the wrong level", format!("{}host: shop.example.com\n", store("acme", ""))),
        ("field that does not exist", store("acme", "  replicas: 3\n")),
        ("other apiVersion", store("acme", "").replace("dev/v1", "dev/v2")),
        (
            "Kubernetes manifest",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: acme, labels: {}}\n".to_owned(),
        ),
        ("no kind", store("acme", "").replace("kind: Store\n", "")),
        ("no metadata", "apiVersion: storekeeper.dev/v1\nkind: Store\n".to_owned()),
        ("name is missing", store("acme", "").replace("  name: acme", "  {}")),
        ("name of another store", store("bonsai", "")),
        ("bad name", store("Acme_Shop", "")),
        ("name is a number", store("2024", "")),
        ("field without value", store("acme", "  host:\n")),
        ("spec without fields", store("acme", "  # host: shop.example.com\n")),
        ("text instead of a map", store("acme", "  values: none\n")),
        ("list instead of text", store("acme", "  host: [a.example, b.example]\n")),
        ("version as a number", store("acme", "  version: 2.21\n")),
        ("version as a date", store("acme", "  version: 2026-11-22\n")),
        ("version with a space", store("acme", "  version: \"2.21 beta\"\n")),
        ("version and tag", store("acme", "  version: \"2.21.2\"\n  image: {tag: \"2.21.3\"}\n")),
        ("repository with a tag", store("acme", "  image: {repository: 'ghcr.io/acme/medusa:2'}\n")),
        ("short digest", store("acme", "  image: {digest: 'sha256:12ab'}\n")),
        ("template in a version", store("acme", "  version: '{{ .Values.secret }}'\n")),
        ("host with upper case", store("acme", "  host: Shop.Example.com\n")),
        ("host is a URL", store("acme", "  host: https://shop.example.com/start\n")),
        ("host with a port", store("acme", "  host: shop.example.com:8080\n")),
        ("host with a dot at its end", store("acme", "  host: shop.example.com.\n")),
        ("host is a pattern", store("acme", "  host: '*.example.com'\n")),
        ("host outside the fleet's domains", store("acme", "  host: acme.example.org\n")),
        ("host that only ends like a domain", store("acme", "  host: notshops.example.com\n")),
        ("host is an address", store("acme", "  host: 10.0.0.1\n")),
        ("host with umlauts", store("acme", "  host: käse.example\n")),
        ("display name over two lines", store("acme", "  displayName: \"Acme\\nOutdoor\"\n")),
        ("display name without letters", store("acme", "  displayName: \"\"\n")),
        ("display name that turns the text around", store("acme", "  displayName: \"Acme \\u202e\"\n")),
        ("values that have a field", store("acme", "  values: {store: {id: x, host: y}, image: {tag: z}}\n")),
        ("values that replace a section", store("acme", "  values: {store: x}\n")),
        ("NUL in a value", store("acme", "  values: {a: {b: [1, \"x\\0\"]}}\n")),
        ("ambiguous keys", store("acme", "  values: {on: 1, 0x10: 2, ~: 3, 1.5: 4}\n")),
    ] {
        writeln!(out, "# {case}\n{}", complaints(&text)).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn messages_for_broken_yaml_say_what_would_be_right() {
    let mut out = String::new();
    for (case, text) in [
        ("key set twice", store("acme", "  host: a.example\n  host: b.example\n")),
        ("tab", store("acme", "\thost: a.example\n")),
        ("wrong indentation", store("acme", "  host: a.example\n   version: \"1\"\n")),
        ("less indentation", store("acme", "    host: a.example\n  version: \"1\"\n")),
        ("no colon", store("acme", "  host a.example\n  version: \"1\"\n")),
        ("no space behind the colon", store("acme", "  host:a.example\n")),
        ("colon in text", store("acme", "  displayName: Acme: Outdoor\n")),
        ("open quote", store("acme", "  displayName: \"Acme\n")),
        ("open bracket", store("acme", "  values: {a: [1, 2}\n")),
        ("never closed bracket", store("acme", "  values: {a: 1\n")),
        ("text that begins with an at sign", store("acme", "  displayName: @acme\n")),
        ("text that begins with a percent sign", store("acme", "  displayName: %acme\n")),
        ("text that begins with a star", store("acme", "  displayName: *acme\n")),
        ("text that begins with an exclamation mark", store("acme", "  displayName: !acme shop\n")),
        ("tag", store("acme", "  displayName: !!str 12\n")),
        ("directive", format!("%YAML 1.1\n---\n{}", store("acme", ""))),
        ("merge key", store("acme", "  values:\n    a: &a {b: 1}\n    c:\n      <<: *a\n")),
        ("two documents", format!("{}---\n{}", store("acme", ""), store("bonsai", ""))),
        ("merge conflict", format!("<<<<<<< HEAD\n{}=======\n>>>>>>> other\n", store("acme", ""))),
        ("LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n".to_owned()),
        ("empty", String::new()),
        ("list", "- a\n".to_owned()),
        ("text", "acme\n".to_owned()),
        ("map as a key", store("acme", "  values: {{a: 1}: 2}\n")),
        ("log injection", store("acme", "  \"a\\n\\e[31mERROR\": 1\n")),
        ("template", "{{ range .stores }}\n".to_owned()),
    ] {
        writeln!(out, "# {case}\n{}", complaints(&text)).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_file_with_endless_problems_reports_the_first_and_counts_the_rest() {
    let mut fields = String::new();
    for number in 0..5000 {
        writeln!(fields, "  f{number}: 1").unwrap();
    }
    let text = complaints(&store("acme", &fields));
    assert!(text.contains("and 4980 more problems like these"), "{text}");
    assert!(text.len() < 10_000);
}

#[test]
fn a_file_in_the_wrong_place_still_keeps_its_store() {
    let mut out = String::new();
    let acme = store("acme", "");
    let bonsai = store("bonsai", "");
    let cases: [(&str, &[(&str, &str)]); 16] = [
        ("yml", &[("stores/acme.yml", &acme)]),
        ("yml beside yaml", &[("stores/acme.yml", &acme), ("stores/acme.yaml", &acme)]),
        ("deeper", &[("stores/eu/acme.yaml", &acme)]),
        ("deeper beside the real one", &[("stores/eu/acme.yaml", &acme), ("stores/acme.yaml", &acme)]),
        ("deeper and yml", &[("stores/eu/acme.yaml", &acme), ("stores/acme.yml", &acme)]),
        ("upper case", &[("stores/Acme.yaml", &acme)]),
        ("upper case beside the real one", &[("stores/Acme.yaml", &acme), ("stores/acme.yaml", &acme)]),
        ("folder in upper case", &[("Stores/acme.yaml", &acme)]),
        ("content of another store", &[("stores/acme.yaml", &bonsai)]),
        (
            "content of another store that exists",
            &[("stores/acme.yaml", &bonsai), ("stores/bonsai.yaml", &bonsai)],
        ),
        ("no name", &[("stores/a b.yaml", &acme), ("stores/.yaml", &acme), ("stores/a\n\u{1b}.yaml", &acme)]),
        (
            "no store's name, a store inside",
            &[("stores/acme_shop.yaml", &acme), ("stores/bonsai.prod.yaml", &bonsai)],
        ),
        (
            "no store's name, a store that exists inside",
            &[("stores/acme_2.yaml", &acme), ("stores/acme.yaml", &acme)],
        ),
        ("another place, another store inside", &[("stores/eu/acme-shop.yaml", &acme)]),
        ("not YAML", &[("stores/README.md", "#"), ("stores/.gitkeep", ""), ("stores/acme.yaml.bak", &acme)]),
        ("too long", &[("stores/a23456789-123456789-123456789-123456789-123456789-12345678.yaml", &acme)]),
    ];
    for (case, files) in cases {
        writeln!(out, "# {case}\n{}", outcome(&with_fleet(files), &BTreeMap::new())).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn what_is_no_regular_file_is_reported_and_not_followed() {
    let mut tree = with_fleet(&[("stores/bonsai.yaml", &store("bonsai", ""))]);
    for (path, why) in [
        ("stores/acme.yaml", "a symbolic link"),
        ("stores/cacao.yaml", "larger than 256 KiB"),
        ("stores/eu", "a submodule"),
        ("values/unused.yaml", "a symbolic link"),
    ] {
        tree.files.insert(path.to_owned(), FileContent::Unreadable(why.to_owned()));
    }
    insta::assert_snapshot!(outcome(&tree, &BTreeMap::new()));
    tree.files.insert("storekeeper.yaml".to_owned(), FileContent::Unreadable("a symbolic link".to_owned()));
    let frozen = read_all(&tree).unwrap_err();
    assert_eq!(frozen.problems()[0].file, "storekeeper.yaml");
    tree.files.insert("stores".to_owned(), FileContent::Unreadable("a submodule".to_owned()));
    assert_eq!(read_all(&tree), Err(Freeze::StoresNotAFolder { why: "a submodule".to_owned() }));
}

#[test]
fn two_stores_with_one_host_are_settled_by_who_holds_it() {
    let mut out = String::new();
    let on =
        |name: &str, host: &str| (format!("stores/{name}.yaml"), store(name, &format!("  host: {host}\n")));
    let broken = ("stores/acme.yaml".to_owned(), store("acme", "  hots: a.example\n"));
    let cases = [
        (
            "nobody holds it",
            vec![on("acme", "a.example"), on("bonsai", "a.example"), on("cacao", "c.example")],
            vec![],
        ),
        (
            "three claim it",
            vec![on("acme", "a.example"), on("bonsai", "a.example"), on("cacao", "a.example")],
            vec![],
        ),
        ("four claim it", ["a", "b", "c", "d"].map(|name| on(name, "a.example")).to_vec(), vec![]),
        (
            "one claims another's default",
            vec![on("acme", "bonsai.shops.example.com"), ("stores/bonsai.yaml".into(), store("bonsai", ""))],
            vec![],
        ),
        (
            "one holds it",
            vec![on("acme", "a.example"), on("bonsai", "a.example")],
            vec![("a.example", "bonsai")],
        ),
        ("the holder is removed", vec![on("acme", "a.example")], vec![("a.example", "bonsai")]),
        (
            "the holder is removed and two want it",
            vec![on("acme", "a.example"), on("cacao", "a.example")],
            vec![("a.example", "bonsai")],
        ),
        (
            "the holder moves away",
            vec![on("acme", "a.example"), on("bonsai", "b.example")],
            vec![("a.example", "bonsai")],
        ),
        (
            "two swap",
            vec![on("acme", "a.example"), on("bonsai", "b.example")],
            vec![("a.example", "bonsai"), ("b.example", "acme")],
        ),
        ("the holder's file is broken", vec![broken, on("bonsai", "a.example")], vec![("a.example", "acme")]),
        (
            "the holder loses the host that it wants and stays",
            vec![on("acme", "a.example"), on("bonsai", "a.example"), on("cacao", "b.example")],
            vec![("a.example", "acme"), ("b.example", "bonsai")],
        ),
    ];
    for (case, files, incumbents) in cases {
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let incumbents = incumbents.iter().map(|(host, store)| (host.parse().unwrap(), id(store))).collect();
        writeln!(out, "# {case}\n{}", outcome(&with_fleet(&files), &incumbents)).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn what_concerns_the_whole_fleet_freezes_it() {
    let mut out = String::new();
    let acme = store("acme", "");
    let fleet = |spec: &str| format!("{FLEET}{spec}");
    let cases: [(&str, Vec<(&str, String)>); 24] = [
        ("empty tree", vec![("README.md", String::new())]),
        ("no fleet file", vec![("stores/acme.yaml", acme.clone())]),
        ("yml", vec![("storekeeper.yml", FLEET.to_owned()), ("stores/acme.yaml", acme.clone())]),
        ("yml too", vec![("storekeeper.yml", FLEET.to_owned()), ("storekeeper.yaml", FLEET.to_owned())]),
        (
            "stores is a file",
            vec![("storekeeper.yaml", FLEET.to_owned()), ("stores", "stores-2026".to_owned())],
        ),
        ("empty fleet file", vec![("storekeeper.yaml", String::new())]),
        ("a store file in its place", vec![("storekeeper.yaml", acme)]),
        ("no spec", vec![("storekeeper.yaml", "apiVersion: storekeeper.dev/v1\nkind: Fleet\n".to_owned())]),
        ("no domain", vec![("storekeeper.yaml", FLEET.replace("domain", "domian"))]),
        (
            "bad domain",
            vec![("storekeeper.yaml", FLEET.replace("shops.example.com", "https://Shops.example.com/"))],
        ),
        ("domains of no use", vec![("storekeeper.yaml", FLEET.replace("acme.example, example", USELESS))]),
        ("long domain", vec![("storekeeper.yaml", FLEET.replace("shops.", &"shops.".repeat(40)))]),
        (
            "value file is missing",
            vec![("storekeeper.yaml", fleet("  valueFiles: [values/production.yaml]\n"))],
        ),
        (
            "chart file is missing",
            vec![("storekeeper.yaml", fleet("  valueFiles: ['chart:values-prod.yaml']\n"))],
        ),
        (
            "value file outside",
            vec![(
                "storekeeper.yaml",
                fleet(
                    "  valueFiles: [../x.yaml, /etc/passwd, 'values\\x.yaml', values/../../x.yaml, values/.git/x.yaml, production.yaml]\n",
                ),
            )],
        ),
        (
            "value file twice",
            vec![("storekeeper.yaml", fleet("  valueFiles: [values/x.yaml, values/x.yaml]\n"))],
        ),
        ("value files is text", vec![("storekeeper.yaml", fleet("  valueFiles: values/x.yaml\n"))]),
        (
            "value file is empty",
            vec![
                ("storekeeper.yaml", fleet("  valueFiles: [values/x.yaml]\n")),
                ("values/x.yaml", "# a: 1\n".to_owned()),
            ],
        ),
        (
            "value file is wrong",
            vec![
                ("storekeeper.yaml", fleet("  valueFiles: [values/x.yaml, values/y.yaml]\n")),
                ("values/x.yaml", "a: yes\nstore: {host: x}\n".to_owned()),
                ("values/y.yaml", "- a\n".to_owned()),
            ],
        ),
        (
            "values that each store has",
            vec![(
                "storekeeper.yaml",
                fleet("  values: {store: {id: x, displayName: y, currency: eur}, restore: {file: a.dump}}\n"),
            )],
        ),
        (
            "bad budget",
            vec![(
                "storekeeper.yaml",
                fleet("  deletionBudget: {maxStores: -1, approved: [Acme, bonsai, bonsai, 12]}\n"),
            )],
        ),
        (
            "limits of removals that are too large",
            vec![(
                "storekeeper.yaml",
                fleet(
                    "  deletionBudget: {maxPercent: 101, windowMinutes: 43201}\n  deletionGracePeriodSeconds: 2592001\n",
                ),
            )],
        ),
        (
            "a grace period with a unit",
            vec![("storekeeper.yaml", fleet("  deletionGracePeriodSeconds: 5m\n"))],
        ),
        (
            "budget as text",
            vec![("storekeeper.yaml", fleet("  deletionBudget: {maxStores: '3', approved: acme, max: 2}\n"))],
        ),
    ];
    for (case, files) in cases {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        writeln!(out, "# {case}\n{}", outcome(&tree(&files), &BTreeMap::new())).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn more_files_than_the_limit_freeze_the_fleet_instead_of_losing_some() {
    let mut tree = with_fleet(&[]);
    for number in 0..11 {
        let name = format!("store-{number}");
        tree.files.insert(format!("stores/{name}.yaml"), FileContent::Bytes(store(&name, "").into_bytes()));
    }
    let limits = Limits { store_files: 10, ..Limits::default() };
    let frozen = read(&tree, &chart_file, &BTreeMap::new(), &limits).unwrap_err();
    assert_eq!(frozen, Freeze::TooManyFiles { count: 11, max: 10 });
    let limits = Limits { store_files: 11, ..limits };
    assert_eq!(read(&tree, &chart_file, &BTreeMap::new(), &limits).unwrap().stores.len(), 11);
}

#[test]
fn no_message_is_long_or_can_move_a_cursor() {
    let hostile = "\\u001b[2J\\u202e\\n".repeat(500);
    for spec in [
        format!("  \"{hostile}\": 1\n"),
        format!("  host: \"{hostile}\"\n"),
        format!("  version: \"{hostile}\"\n"),
        format!("  values: {{\"{hostile}\": {{\"{hostile}\": yes}}}}\n"),
        format!("  values: {{a: \"{hostile}\"}}\n"),
        format!("  values: \"{hostile}\"\n"),
    ] {
        let snapshot = read_all(&with_fleet(&[("stores/acme.yaml", &store("acme", &spec))])).unwrap();
        let problems = snapshot.stores[&id("acme")].problems();
        assert!(!problems.is_empty(), "{spec}");
        for problem in problems {
            let text = problem.to_string();
            assert!(text.chars().count() <= 350 && !text.chars().any(char::is_control), "{text}");
            assert!(!text.contains('\u{202e}') && !text.contains(&"u{1b}".repeat(20)), "{text}");
        }
    }
}

#[test]
fn a_file_cut_or_damaged_anywhere_is_read_or_refused_without_a_panic() {
    let text = store(
        "acme",
        "  displayName: 'Käse & more'\n  host: \"shop.example\" # c\n  image: {tag: \"1\"}\n  values:\n    a: &a [1, {b: |\n    c: >-\n               x\n    d: *a\n    ? e\n    : [~, 0x1F, 1.5]\n",
    );
    let check = |bytes: Vec<u8>| {
        let broken_at = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let lines: Vec<_> = bytes.split(broken_at).collect();
        let last = lines.iter().rposition(|line| !line.is_empty()).unwrap_or(0) + 1;
        let mut tree = with_fleet(&[]);
        tree.files.insert("stores/acme.yaml".to_owned(), FileContent::Bytes(bytes));
        let snapshot = read_all(&tree).unwrap();
        for problem in snapshot.stores[&id("acme")].problems() {
            assert!(problem.line.is_none_or(|line| (1..=last).contains(&line)), "{problem} of {last} lines");
            assert!(!problem.message.is_empty());
        }
    };
    for at in 0..text.len() {
        check(text.as_bytes()[..at].to_vec());
        for byte in *b"\0\n\r\t :-?&*!|>'\"%@`{}[],#0\x80\xff" {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = byte;
            check(bytes.clone());
            bytes.insert(at, byte);
            check(bytes);
        }
    }
}

#[test]
fn ten_thousand_stores_are_read_in_seconds() {
    let mut tree = with_fleet(&[]);
    for number in 0..10_000 {
        let name = format!("store-{number}");
        let text = store(
            &name,
            "  displayName: One of many\n  values: {store: {currency: eur}, a: {b: [1, 2, 3]}}\n",
        );
        tree.files.insert(format!("stores/{name}.yaml"), FileContent::Bytes(text.into_bytes()));
    }
    let start = std::time::Instant::now();
    let snapshot = read_all(&tree).unwrap();
    let spent = start.elapsed();
    println!("10,000 stores in {spent:?}");
    assert_eq!(snapshot.stores.values().filter_map(StoreEntry::accepted).count(), 10_000);
    assert!(spent.as_secs() < 30, "{spent:?}");
}

#[test]
fn what_is_wrong_with_a_pause_or_a_window_is_told_at_its_place() {
    let said = |more: &str| {
        let fleet = format!("apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: a.b\n  {more}\n");
        outcome(&tree(&[("storekeeper.yaml", &fleet)]), &BTreeMap::new())
    };
    for (more, place, words) in [
        (
            "pause: {reason: x}",
            ":5:10",
            "`spec.pause.until` is missing: add `until: 2026-12-01T08:00:00Z`, when it ends by itself",
        ),
        (
            "pause: {until: 2026-02-30, reason: x}",
            ":5:18",
            "`spec.pause.until` is `2026-02-30`: write a moment with its offset",
        ),
        ("pause: {until: 2026-02-20}", ":5:10", "`spec.pause.reason` is missing"),
        (
            "changeWindows: [{from: '09:00', to: '17:00', timeZone: Europe/Berln}]",
            ":5:58",
            "did you mean `Europe/Berlin`?",
        ),
        (
            "changeWindows: [{from: '09:00', to: '17:00', timeZone: Berlin}]",
            ":5:58",
            "did you mean `Europe/Berlin`?",
        ),
        (
            "changeWindows: [{from: '24:00', to: '17:00', timeZone: UTC}]",
            ":5:26",
            "is the end of a day: write \"00:00\"",
        ),
        ("changeWindows: [{from: '09:00', to: '09:00', timeZone: UTC}]", ":5:19", "are the same time"),
        (
            "changeWindows: [{days: [monday], from: '09:00', to: '10:00', timeZone: UTC}]",
            ":5:27",
            "names `monday`: days are mon",
        ),
        ("overrideWindows: {until: 2026-12-01, reason: x, why: y}", ":5:51", "unknown field `why`"),
    ] {
        let said = said(more);
        assert!(
            said.contains(&format!("storekeeper.yaml{place}: ")) && said.contains(words),
            "{more}\n{said}"
        );
    }
}
