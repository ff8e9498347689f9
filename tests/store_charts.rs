//! Which chart a store has, and what goes into its values: by what the fleet file and the store file say.

#![expect(clippy::unwrap_used, reason = "a test that can't go on stops there")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use storekeeper::names::StoreId;
use storekeeper::store::{
    ChartSource, FileContent, Freeze, Limits, Problem, Renderer, RepositoryTree, Snapshot, Store, read,
};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const CHART: [(&str, &str); 2] = [
    ("charts/page/Chart.yaml", "name: page\nversion: 1.0.0\n"),
    ("charts/page/values-eu.yaml", "region: eu\n"),
];

/// Reads a repository: the lines of the fleet file's `spec.charts`, other lines of its `spec`, and the store `acme`.
fn repository(charts: &str, fleet: &str, store: &str, more: &[(&str, &str)]) -> Result<Snapshot, Freeze> {
    let charts = if charts.is_empty() { String::new() } else { format!("  charts:\n{charts}") };
    let fleet = format!(
        "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: shops.example.com\n{fleet}{charts}"
    );
    let store = format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: acme}}\nspec:\n  displayName: Acme\n{store}"
    );
    let own = [("storekeeper.yaml", &*fleet), ("stores/acme.yaml", &store)];
    let content = |text: &str| match text {
        "LINK" => FileContent::Unreadable("a symbolic link, which is not followed".to_owned()),
        text => FileContent::Bytes(text.as_bytes().to_vec()),
    };
    let files = own.iter().chain(&CHART).chain(more);
    let files = files.map(|(path, text)| ((*path).to_owned(), content(text))).collect();
    let tree = RepositoryTree { revision: REVISION.parse().unwrap(), files };
    let chart_file = |path: &str| (path == "values-local.yaml").then_some(&b"local: true\n"[..]);
    read(&tree, &chart_file, &BTreeMap::new(), &Limits::default())
}

fn acme(snapshot: &Snapshot) -> &Store {
    let entry = &snapshot.stores[&"acme".parse::<StoreId>().unwrap()];
    entry.accepted().unwrap_or_else(|| panic!("{:?}", entry.problems()))
}

fn problems(snapshot: &Snapshot) -> String {
    let entry = &snapshot.stores[&"acme".parse::<StoreId>().unwrap()];
    lines(entry.problems())
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |lines, problem| format!("{lines}{problem}\n"))
}

/// What is wrong with a fleet file with these lines in `spec.charts`.
fn refusal(charts: &str) -> String {
    repository(charts, "", "", &[]).unwrap_err().to_string()
}

#[test]
fn a_store_has_the_fleets_chart_unless_it_names_another() {
    let charts = "    page: {folder: charts/page}\n";
    let name =
        |fleet: &str, store: &str| acme(&repository(charts, fleet, store, &[]).unwrap()).chart.name.clone();
    assert_eq!(name("", ""), "medusa-store");
    assert_eq!(name("", "  chart: page\n"), "page");
    assert_eq!(name("  chart: page\n", ""), "page");
    assert_eq!(name("  chart: page\n", "  chart: medusa-store\n"), "medusa-store");
}

#[test]
fn a_chart_comes_from_one_of_five_places() {
    let digest = "0a".repeat(32);
    let source = |lines: &str| {
        let snapshot = repository(&format!("    page:\n{lines}"), "", "  chart: page\n", &[]).unwrap();
        (acme(&snapshot).chart.source.clone(), acme(&snapshot).chart.renderer)
    };
    assert_eq!(source("      renderer: helm\n"), (ChartSource::BuiltIn, Renderer::Helm));
    let (ChartSource::Folder(folder), Renderer::Native) = source("      folder: charts/page\n") else {
        panic!("another source");
    };
    assert_eq!(folder.path, "charts/page");
    assert_eq!(folder.files.keys().collect::<Vec<_>>(), ["Chart.yaml", "values-eu.yaml"]);
    let git =
        format!("      git: {{url: https://git.example.com/charts.git, revision: {REVISION}, path: a/b}}\n");
    let expected = ChartSource::Git {
        url: "https://git.example.com/charts.git".to_owned(),
        revision: REVISION.to_owned(),
        path: "a/b".to_owned(),
    };
    assert_eq!(source(&git).0, expected);
    let oci = format!(
        "      oci: {{reference: 'oci://registry.example.com:5000/charts/page', version: 1.2.3, digest: 'sha256:{digest}'}}\n"
    );
    let expected = ChartSource::Oci {
        reference: "oci://registry.example.com:5000/charts/page".to_owned(),
        version: "1.2.3".to_owned(),
        digest: format!("sha256:{digest}"),
    };
    assert_eq!(source(&oci).0, expected);
    let repository = format!(
        "      repository: {{url: https://charts.example.com, name: page, version: 1.2.3-rc.1+x, digest: 'sha256:{digest}'}}\n"
    );
    let expected = ChartSource::Repository {
        url: "https://charts.example.com".to_owned(),
        name: "page".to_owned(),
        version: "1.2.3-rc.1+x".to_owned(),
        digest: format!("sha256:{digest}"),
    };
    assert_eq!(source(&repository).0, expected);
}

#[test]
fn each_chart_has_its_own_values_and_the_fleets_are_for_the_fleets_chart() {
    let charts = "    page:\n      folder: charts/page\n      values: {a: entry, b: entry}\n      valueFiles: ['chart:values-eu.yaml', values/page.yaml]\n";
    let fleet = "  values: {a: fleet}\n  valueFiles: ['chart:values-eu.yaml']\n";
    let more = [("values/page.yaml", "b: file\n")];
    let merged = |charts: &str, fleet: &str, store: &str| {
        let snapshot = repository(charts, fleet, store, &more).unwrap();
        let mut merged = acme(&snapshot).merged();
        merged.shift_remove("store");
        Value::Object(merged)
    };
    let own = json!({"a": "entry", "b": "file", "region": "eu"});
    assert_eq!(merged(charts, "  values: {a: fleet}\n", "  chart: page\n"), own);
    assert_eq!(
        merged(charts, "  values: {a: fleet}\n  valueFiles: ['chart:values-local.yaml']\n", ""),
        json!({
            "a": "fleet", "local": true
        })
    );
    let both = json!({"a": "fleet", "b": "file", "region": "eu"});
    assert_eq!(
        merged(
            charts,
            &format!("  chart: page\n{}", fleet.replace("  valueFiles: ['chart:values-eu.yaml']\n", "")),
            ""
        ),
        both
    );
}

#[test]
fn fields_go_where_the_chart_has_a_place_for_them() {
    let charts = "    page:\n      folder: charts/page\n      fields: {host: 'ingress.hosts[0].host', displayName: title, imageTag: app.tag, imageDigest: app.digest}\n      values: {ingress: {hosts: [{paths: [/]}]}}\n";
    let snapshot = repository(charts, "", "  chart: page\n  version: \"7\"\n", &[]).unwrap();
    let expected = json!({
        "ingress": {"hosts": [{"paths": ["/"], "host": "acme.shops.example.com"}]},
        "title": "Acme",
        "app": {"tag": "7", "digest": ""},
    });
    assert_eq!(Value::Object(acme(&snapshot).merged()), expected);
    let none = "    page: {folder: charts/page, fields: {}}\n";
    let snapshot = repository(none, "", "  chart: page\n", &[]).unwrap();
    assert_eq!(Value::Object(acme(&snapshot).merged()), json!({}));
}

#[test]
fn what_a_field_sets_has_no_second_place() {
    let charts = "    page: {folder: charts/page, fields: {host: 'hosts[0].name'}}\n";
    let store =
        |spec: &str| problems(&repository(charts, "", &format!("  chart: page\n{spec}"), &[]).unwrap());
    insta::assert_snapshot!(
        [
            store("  values: {hosts: [{name: x}]}\n"),
            store("  values: {hosts: x}\n"),
            store("  values: {store: {id: x}, image: x}\n"),
            store("  version: \"7\"\n"),
            store("  image: {repository: a/b, tag: \"7\"}\n"),
            refusal("    page: {folder: charts/page, fields: {host: a.b}, values: {a: {b: x}}}\n"),
        ]
        .join("---\n")
    );
}

#[test]
fn a_bad_chart_concerns_its_own_stores_alone() {
    let charts = "    page: {folder: charts/gone}\n";
    let snapshot = repository(charts, "", "  chart: page\n", &[]).unwrap();
    let linked = repository(
        "    page: {folder: charts/page}\n",
        "",
        "  chart: page\n",
        &[("charts/page/templates/a.yaml", "LINK")],
    );
    let other = repository(charts, "", "", &[]).unwrap();
    assert_eq!(acme(&other).chart.name, "medusa-store");
    let said = lines(&other.problems);
    let unknown = problems(&repository(charts, "", "  chart: pgae\n", &[]).unwrap());
    insta::assert_snapshot!([problems(&snapshot), problems(&linked.unwrap()), said, unknown].join("---\n"));
}

#[test]
fn a_chart_that_is_not_pinned_or_not_named_is_refused_with_what_to_write() {
    insta::assert_snapshot!(
        [
            refusal("    page: {git: {url: https://git.example.com/a.git, revision: main}}\n"),
            refusal("    page: {git: {url: 'https://me:secret@git.example.com/a.git', revision: main}}\n"),
            refusal("    page: {git: {url: 'ext::sh -c id', path: ../a}}\n"),
            refusal("    page: {oci: {reference: registry.example.com/a, version: latest}}\n"),
            refusal("    page: {repository: {url: file:///etc, name: A, version: ^1, digest: md5}}\n"),
            refusal("    page: {folder: ../page}\n"),
            refusal("    page: {folder: charts/page, oci: {}}\n"),
            refusal("    page: {renderer: argo}\n"),
            refusal("    page: {fields: {host: 'a b'}}\n"),
            refusal("    page: {fields: {hots: a}}\n"),
            refusal("    Page: {}\n"),
            refusal("    page: {valueFiles: ['chart:values-eu.yaml']}\n"),
            repository("", "  chart: page\n", "", &[]).unwrap_err().to_string(),
            repository("    - page\n", "", "", &[]).unwrap_err().to_string(),
        ]
        .join("\n")
    );
}

#[test]
fn the_digest_of_a_store_changes_with_its_chart() {
    let digest = |charts: &str, more: &[(&str, &str)]| {
        let store = if charts.is_empty() { "" } else { "  chart: page\n" };
        acme(&repository(charts, "", store, more).unwrap()).digest().to_owned()
    };
    let folder = digest("    page: {folder: charts/page}\n", &[]);
    assert_eq!(folder, digest("    page: {folder: charts/page}\n", &[("charts/other/x", "y")]));
    assert_ne!(
        folder,
        digest("    page: {folder: charts/page}\n", &[("charts/page/templates/a.yaml", "a: 1\n")])
    );
    assert_ne!(folder, digest("    page: {folder: charts/page, renderer: helm}\n", &[]));
    assert_eq!(digest("", &[]), digest("    page: {}\n", &[]), "the same chart under another name");
}

#[test]
fn a_value_has_a_place_in_the_file_that_sets_it() {
    let charts = "    page:\n      folder: charts/page\n      values: {a: {b: 1}, list: [{c: 1}]}\n      valueFiles: [values/page.yaml]\n";
    let store = "  host: a.shops.example.com\n  chart: page\n  values:\n    a:\n      d: 2\n";
    let more = [("values/page.yaml", "# one\na: {e: 3}\n")];
    let snapshot = repository(charts, "", store, &more).unwrap();
    let place = |path: &str| acme(&snapshot).place_of(path).unwrap_or_else(|| "nowhere".to_owned());
    assert_eq!(place("a.d"), "stores/acme.yaml:10:7");
    assert_eq!(place("a.d.deeper[0]"), "stores/acme.yaml:10:7");
    assert_eq!(place("a.e"), "values/page.yaml:2:5");
    assert_eq!(place("a.b"), "storekeeper.yaml:8:20");
    assert_eq!(place("list[0].c"), "storekeeper.yaml:8:35");
    assert_eq!(place("a.unknown"), "stores/acme.yaml:9:5");
    assert_eq!(place("store.host"), "stores/acme.yaml:6:9");
    assert_eq!(place("store.displayName"), "stores/acme.yaml:5:16");
    assert_eq!(place("of.the.chart"), "nowhere");
}
