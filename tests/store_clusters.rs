//! Which cluster a store is on: what the files may say, and what each cluster's storekeeper makes of them.

#![expect(clippy::unwrap_used, reason = "a test that can't go on stops there")]

use std::collections::BTreeMap;

use storekeeper::names::{ClusterName, Host, StoreId};
use storekeeper::report::{Change, changes};
use storekeeper::store::{
    FileContent, Freeze, Limits, RepositoryTree, Scope, Snapshot, StoreEntry, read_within,
};

const TWO: &str = "  clusters: [eu-1, us-1]\n";

fn id(text: &str) -> StoreId {
    text.parse().unwrap()
}

fn scope(cluster: &str) -> Scope {
    Scope::Cluster((!cluster.is_empty()).then(|| cluster.parse().unwrap()))
}

fn store(name: &str, spec: &str) -> String {
    format!("apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {name}\nspec:\n  {spec}\n")
}

/// A repository with these lines in the fleet file's spec and these stores.
fn tree(fleet: &str, stores: &[(&str, &str)]) -> RepositoryTree {
    let fleet =
        format!("apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: shops.example.com\n{fleet}");
    let stores = stores.iter().map(|(name, spec)| (format!("stores/{name}.yaml"), store(name, spec)));
    let files = [("storekeeper.yaml".to_owned(), fleet)].into_iter().chain(stores);
    let files = files.map(|(path, text)| (path, FileContent::Bytes(text.into_bytes())));
    RepositoryTree { revision: "0".repeat(40).parse().unwrap(), files: files.collect() }
}

fn try_read(tree: &RepositoryTree, scope: &Scope) -> Result<Snapshot, Freeze> {
    read_within(tree, &|_| None, &BTreeMap::new(), (&Limits::default(), scope))
}

fn read(fleet: &str, stores: &[(&str, &str)], cluster: &str) -> Snapshot {
    try_read(&tree(fleet, stores), &scope(cluster)).unwrap()
}

/// Says in a line what a snapshot holds: accepted stores, `!` before rejected ones, and where the others are.
fn said(snapshot: &Snapshot) -> String {
    let stores = snapshot.stores.iter().map(|(id, entry)| match entry {
        StoreEntry::Accepted(_) => id.to_string(),
        StoreEntry::Rejected(_) => format!("!{id}"),
    });
    let others = snapshot.elsewhere.iter().map(|(id, cluster)| format!("{id}@{cluster}"));
    stores.chain(others).collect::<Vec<_>>().join(" ")
}

/// Returns what is wrong with acme's file, as its author reads it.
fn complaint(snapshot: &Snapshot) -> String {
    let problems = snapshot.stores[&id("acme")].problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

fn frozen(fleet: &str, cluster: &str) -> String {
    let freeze = try_read(&tree(fleet, &[("acme", "{}")]), &scope(cluster)).unwrap_err();
    let [problem] = freeze.problems() else { panic!("{freeze:?}") };
    problem.to_string()
}

#[test]
fn each_cluster_has_its_own_stores_and_knows_where_the_others_are() {
    let stores = [("acme", "cluster: eu-1"), ("birch", "cluster: us-1"), ("cedar", "displayName: Cedar")];
    let fleet = format!("{TWO}  cluster: us-1\n");
    assert_eq!(said(&read(&fleet, &stores, "eu-1")), "acme birch@us-1 cedar@us-1");
    assert_eq!(said(&read(&fleet, &stores, "us-1")), "birch cedar acme@eu-1");
    let all = try_read(&tree(&fleet, &stores), &Scope::All).unwrap();
    assert_eq!(said(&all), "acme birch cedar");
    let cluster = |name| all.stores[&id(name)].accepted().unwrap().cluster.clone();
    assert_eq!(cluster("cedar"), Some("us-1".parse::<ClusterName>().unwrap()));
}

#[test]
fn a_fleet_without_clusters_is_as_ever() {
    let snapshot = read("", &[("acme", "{}")], "");
    assert_eq!(said(&snapshot), "acme");
    assert_eq!(snapshot.stores[&id("acme")].accepted().unwrap().cluster, None);
    assert!(snapshot.fleet.clusters.names.is_empty());
}

#[test]
fn the_cluster_changes_nothing_of_what_is_rendered() {
    let digest = |spec, cluster| {
        let snapshot = read(TWO, &[("acme", spec)], cluster);
        snapshot.stores[&id("acme")].accepted().unwrap().digest().to_owned()
    };
    assert_eq!(digest("cluster: eu-1", "eu-1"), digest("cluster: us-1", "us-1"));
}

#[test]
fn a_cluster_that_is_not_listed_makes_the_file_a_broken_one_everywhere() {
    for cluster in ["eu-1", "us-1"] {
        let snapshot = read(TWO, &[("acme", "cluster: eu-2")], cluster);
        assert_eq!(said(&snapshot), "!acme", "a typo moves nothing");
        assert_eq!(
            complaint(&snapshot),
            "stores/acme.yaml:6:12: `spec.cluster` is `eu-2`, which the fleet file does not list: write one of eu-1, us-1, or \
             add it to `spec.clusters` in `storekeeper.yaml`"
        );
    }
    assert_eq!(
        complaint(&read(TWO, &[("acme", "displayName: Acme")], "eu-1")),
        "stores/acme.yaml:4:9: `spec.cluster` is missing, and the fleet has several: write one of eu-1, us-1, or set \
         `spec.cluster` in `storekeeper.yaml` for all stores that name none"
    );
    assert_eq!(
        complaint(&read("", &[("acme", "cluster: eu-1")], "")),
        "stores/acme.yaml:6:12: `spec.cluster` is `eu-1`, and the fleet file lists no clusters: list them as `spec.clusters` \
         in `storekeeper.yaml`, or remove this line"
    );
    let wrong = complaint(&read(TWO, &[("acme", "cluster: [eu-1]")], "eu-1"));
    assert!(wrong.starts_with("stores/acme.yaml:6:12: `spec.cluster` "), "{wrong}");
}

#[test]
fn a_file_that_is_wrong_protects_its_store_wherever_it_is_and_is_told_of_where_it_means_to_be() {
    let before = read(TWO, &[("acme", "cluster: eu-1")], "eu-1");
    // It moves and breaks at once: here it may not be taken for removed.
    let moved = [("acme", "{cluster: us-1, hots: x}")];
    let here = read(TWO, &moved, "eu-1");
    assert_eq!(said(&here), "!acme acme@us-1");
    assert_eq!(changes(Some(&before), &here), BTreeMap::from([(id("acme"), Change::Changed)]));
    assert_eq!(said(&read(TWO, &moved, "us-1")), "!acme");
    // A file that was never this cluster's is the other's to tell of.
    let unknown = read(TWO, &[], "eu-1");
    assert_eq!(changes(Some(&unknown), &here), BTreeMap::new());
    assert_eq!(changes(None, &here), BTreeMap::new());
    assert_eq!(changes(Some(&here), &here), BTreeMap::new());
    // One that can't be read at all is everybody's.
    let mut garbage = tree(TWO, &[]);
    garbage.files.insert("stores/acme.yaml".to_owned(), FileContent::Bytes(b"spec: [".to_vec()));
    for cluster in ["eu-1", "us-1"] {
        assert_eq!(said(&try_read(&garbage, &scope(cluster)).unwrap()), "!acme");
    }
}

#[test]
fn a_store_that_moves_is_removed_here_and_new_there() {
    let (home, away) = ([("acme", "cluster: eu-1")], [("acme", "cluster: us-1")]);
    let found = |cluster: &str| changes(Some(&read(TWO, &home, cluster)), &read(TWO, &away, cluster));
    assert_eq!(found("eu-1"), BTreeMap::from([(id("acme"), Change::Removed)]));
    assert_eq!(found("us-1"), BTreeMap::from([(id("acme"), Change::Added)]));
}

#[test]
fn a_host_is_one_stores_over_all_clusters() {
    let stores = [
        ("acme", "{cluster: eu-1, host: a.shops.example.com}"),
        ("birch", "{cluster: us-1, host: a.shops.example.com}"),
    ];
    for cluster in ["eu-1", "us-1"] {
        let snapshot = read(TWO, &stores, cluster);
        assert_eq!(snapshot.stores.values().filter_map(StoreEntry::accepted).count(), 0, "{cluster}");
    }
    // Who runs with it keeps it, though the other cluster can't know.
    let incumbents = BTreeMap::from([("a.shops.example.com".parse::<Host>().unwrap(), id("acme"))]);
    let tree = tree(TWO, &stores);
    let on = |cluster, incumbents| {
        said(&read_within(&tree, &|_| None, incumbents, (&Limits::default(), &scope(cluster))).unwrap())
    };
    assert_eq!(on("eu-1", &incumbents), "acme !birch birch@us-1");
    assert_eq!(on("us-1", &BTreeMap::new()), "!acme !birch acme@eu-1");
}

#[test]
fn a_storekeeper_follows_no_fleet_that_does_not_know_its_cluster() {
    assert_eq!(
        frozen(TWO, "").split_once("storekeeper.yaml:5:13: ").unwrap().1,
        "`spec.clusters` lists eu-1, us-1, and this storekeeper was not told which of them it is on: start it with \
         --cluster (`cluster` in the platform chart's values)"
    );
    assert_eq!(
        frozen(TWO, "ap-1").split_once("storekeeper.yaml:5:13: ").unwrap().1,
        "`spec.clusters` lists eu-1, us-1, and this storekeeper was told that it is on `ap-1`: add that, or correct \
         --cluster (`cluster` in the platform chart's values)"
    );
    assert_eq!(
        frozen("", "eu-1").split_once("storekeeper.yaml:4:3: ").unwrap().1,
        "this storekeeper was told that it is on cluster `eu-1`, and `spec.clusters` is missing: list the fleet's \
         clusters, or start it without --cluster (`cluster` in the platform chart's values)"
    );
}

#[test]
fn a_list_of_clusters_that_is_wrong_freezes_the_fleet_and_says_why() {
    for (fleet, words) in [
        ("  clusters: []\n", "`spec.clusters` is empty: list the clusters that there are"),
        ("  clusters: [eu-1, eu-1]\n", "`eu-1` is listed twice: remove one of the two"),
        ("  clusters: [EU]\n", "`spec.clusters[0]` must name a cluster: `EU` is not a DNS label"),
        ("  clusters: eu-1\n", "`spec.clusters` "),
        ("  clusters: [eu-1]\n  cluster: us-1\n", "which `spec.clusters` does not list: write one of eu-1"),
        ("  cluster: us-1\n", "which `spec.clusters` does not list: list the fleet's clusters there"),
    ] {
        let freeze = try_read(&tree(fleet, &[]), &Scope::All).unwrap_err();
        let [problem] = freeze.problems() else { panic!("{fleet}: {freeze:?}") };
        assert!(problem.to_string().contains(words), "{fleet}: {problem}");
    }
    let many: Vec<_> = (0..51).map(|number| format!("c{number}")).collect();
    let many = format!("  clusters: [{}]\n", many.join(", "));
    let freeze = try_read(&tree(&many, &[]), &Scope::All).unwrap_err();
    assert!(freeze.to_string().contains("has 51 names, at most 50 are allowed"), "{freeze}");
}
