//! A commit costs the reading of the files that it changes, and gives the same snapshot as reading all of them.

#![expect(clippy::unwrap_used, reason = "a test that can't go on stops there")]

use std::collections::BTreeMap;
use std::sync::Arc;

use storekeeper::names::{Host, StoreId};
use storekeeper::store::{
    ContentId, FileContent, Freeze, KnownFiles, Limits, Listed, Listing, RepositoryTree, Snapshot, Store,
    read,
};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// A repository that is read commit by commit, each time by what is known and anew.
struct Reader {
    known: KnownFiles,
    files: BTreeMap<String, String>,
    /// Texts by their place: the number of a text is its id.
    texts: Vec<String>,
    incumbents: BTreeMap<Host, StoreId>,
    /// Paths whose content was asked for at the last read.
    asked: Vec<String>,
}

impl Reader {
    fn new() -> Self {
        let mut reader = Self {
            known: KnownFiles::new(Limits::default()),
            files: BTreeMap::new(),
            texts: Vec::new(),
            incumbents: BTreeMap::new(),
            asked: Vec::new(),
        };
        reader.write("storekeeper.yaml", &fleet("example.com", "a"));
        reader.write("values/a.yaml", "tier: one\n");
        for name in ["acme", "birch", "cedar"] {
            reader.write(&format!("stores/{name}.yaml"), &store(name, name));
        }
        reader
    }

    fn write(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), text.to_owned());
    }

    fn remove(&mut self, path: &str) -> String {
        self.files.remove(path).unwrap()
    }

    fn listed(&mut self, text: &str) -> Listed {
        if text == "LINK" {
            return Listed::Unreadable("a symbolic link, which is not followed".to_owned());
        }
        let number = self.texts.iter().position(|known| known == text).unwrap_or_else(|| {
            self.texts.push(text.to_owned());
            self.texts.len() - 1
        });
        let mut id = [0; 20];
        id[..8].copy_from_slice(&number.to_le_bytes());
        Listed::File { content: ContentId(id), size: text.len() as u64 }
    }

    /// Reads by what is known, and checks that reading anew says the same.
    fn read(&mut self) -> Result<Snapshot, Freeze> {
        let files: Vec<_> = self.files.iter().map(|(path, text)| (path.clone(), text.clone())).collect();
        let files = files.into_iter().map(|(path, text)| (path, self.listed(&text))).collect();
        let listing = Listing { revision: REVISION.parse().unwrap(), files };
        self.asked.clear();
        let mut contents = |path: &str, ContentId(id): ContentId| {
            self.asked.push(path.to_owned());
            let number = usize::from_le_bytes(id[..8].try_into().unwrap());
            Ok::<_, String>(FileContent::Bytes(self.texts[number].clone().into_bytes()))
        };
        let incumbents = || self.incumbents.clone();
        let by_changes = self.known.read(&listing, &mut contents, &|_| None, &incumbents).unwrap();
        let content = |text: &String| match text.as_str() {
            "LINK" => FileContent::Unreadable("a symbolic link, which is not followed".to_owned()),
            text => FileContent::Bytes(text.as_bytes().to_vec()),
        };
        let files = self.files.iter().map(|(path, text)| (path.clone(), content(text))).collect();
        let tree = RepositoryTree { revision: REVISION.parse().unwrap(), files };
        let anew = read(&tree, &|_| None, &self.incumbents, &Limits::default());
        assert_eq!(by_changes, anew, "of {:#?}", self.files);
        by_changes
    }

    /// Reads a commit that must be usable.
    fn good(&mut self) -> Snapshot {
        self.read().unwrap()
    }
}

fn fleet(domain: &str, values: &str) -> String {
    format!(
        "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: {domain}\n  valueFiles: [values/{values}.yaml]\n"
    )
}

fn store(name: &str, display_name: &str) -> String {
    format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: {name}}}\nspec: {{displayName: {display_name}}}\n"
    )
}

fn store_with_host(name: &str, host: &str) -> String {
    format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: {name}}}\nspec: {{host: {host}}}\n"
    )
}

fn id(text: &str) -> StoreId {
    text.parse().unwrap()
}

fn accepted(snapshot: &Snapshot, name: &str) -> Arc<Store> {
    Arc::clone(snapshot.stores[&id(name)].accepted().unwrap())
}

#[test]
fn only_a_changed_file_is_read_and_the_other_stores_are_the_very_same() {
    let mut reader = Reader::new();
    let first = reader.good();
    assert_eq!(reader.asked.len(), 5);
    assert_eq!(reader.known.parsed(), 3);
    reader.good();
    assert_eq!((reader.asked.len(), reader.known.parsed()), (0, 0));

    reader.write("stores/birch.yaml", &store("birch", "Changed"));
    let second = reader.good();
    assert_eq!(reader.asked, ["stores/birch.yaml"]);
    assert_eq!(reader.known.parsed(), 1);
    for name in ["acme", "cedar"] {
        assert!(Arc::ptr_eq(&accepted(&first, name), &accepted(&second, name)), "{name}");
    }
    assert_eq!(accepted(&second, "birch").display_name, "Changed");
    assert_ne!(accepted(&first, "birch").digest(), accepted(&second, "birch").digest());
}

#[test]
fn a_file_that_breaks_and_comes_back_byte_for_byte_is_the_same_store() {
    let mut reader = Reader::new();
    let first = reader.good();
    let text = reader.files["stores/acme.yaml"].clone();
    reader.write("stores/acme.yaml", "kind: [");
    assert!(!reader.good().stores[&id("acme")].problems().is_empty());
    reader.good();
    assert_eq!(reader.asked.len(), 0, "a broken file is not read again either");
    reader.write("stores/acme.yaml", &text);
    assert_eq!(accepted(&reader.good(), "acme"), accepted(&first, "acme"));
    assert_eq!(reader.asked, ["stores/acme.yaml"]);
}

#[test]
fn a_fleet_file_that_changes_what_stores_share_changes_every_digest_and_reads_no_store_file() {
    let mut reader = Reader::new();
    let first = reader.good();
    for change in
        [("values/a.yaml", "tier: two\n".to_owned()), ("storekeeper.yaml", fleet("example.org", "a"))]
    {
        let before = reader.good();
        reader.write(change.0, &change.1);
        let after = reader.good();
        assert_eq!(reader.known.parsed(), 0, "{change:?}");
        for name in ["acme", "birch", "cedar"] {
            assert_ne!(accepted(&before, name).digest(), accepted(&after, name).digest(), "{change:?}");
        }
    }
    let moved = reader.good();
    assert_eq!(accepted(&moved, "acme").host.as_str(), "acme.example.org");
    reader.write("storekeeper.yaml", &fleet("example.com", "a"));
    reader.write("values/a.yaml", "tier: one\n");
    let back = reader.good();
    assert_eq!(back, first);
    // The snapshot that was given away is as it was.
    assert_eq!(accepted(&moved, "acme").host.as_str(), "acme.example.org");
}

#[test]
fn a_fleet_file_that_changes_nothing_for_stores_leaves_them_the_very_same() {
    let mut reader = Reader::new();
    let first = reader.good();
    reader.write(
        "storekeeper.yaml",
        &format!("{}  deletionBudget: {{maxStores: 9}}\n", fleet("example.com", "a")),
    );
    let second = reader.good();
    assert_eq!(second.fleet.deletion_budget.max_stores, 9);
    assert!(Arc::ptr_eq(&accepted(&first, "acme"), &accepted(&second, "acme")));
}

#[test]
fn a_fleet_file_that_breaks_freezes_each_time_and_what_changed_meanwhile_is_read_afterwards() {
    let mut reader = Reader::new();
    let first = reader.good();
    reader.write("storekeeper.yaml", "kind: [");
    reader.write("stores/acme.yaml", &store("acme", "Changed"));
    assert!(matches!(reader.read(), Err(Freeze::Fleet(_))));
    assert!(matches!(reader.read(), Err(Freeze::Fleet(_))));
    let fleet_file = reader.remove("storekeeper.yaml");
    assert_eq!(reader.read(), Err(Freeze::NoFleetFile));
    reader.write("storekeeper.yml", &fleet_file);
    assert!(matches!(reader.read(), Err(Freeze::Fleet(_))));
    reader.write("storekeeper.yaml", &fleet("example.com", "a"));
    let last = reader.good();
    assert_eq!(accepted(&last, "acme").display_name, "Changed");
    assert!(Arc::ptr_eq(&accepted(&first, "birch"), &accepted(&last, "birch")));
}

#[test]
fn an_emptied_tree_freezes_and_forgets_nothing() {
    let mut reader = Reader::new();
    let first = reader.good();
    let files = std::mem::take(&mut reader.files);
    assert_eq!(reader.read(), Err(Freeze::EmptyTree));
    reader.files = files;
    assert_eq!(reader.good(), first);
    assert_eq!(reader.asked.len(), 0);
}

#[test]
fn too_many_files_freeze_before_any_is_read() {
    let mut reader = Reader::new();
    reader.known = KnownFiles::new(Limits { store_files: 2, ..Limits::default() });
    let files = reader
        .files
        .keys()
        .cloned()
        .map(|path| (path, Listed::File { content: ContentId([1; 20]), size: 1 }));
    let listing = Listing { revision: REVISION.parse().unwrap(), files: files.collect() };
    let mut contents = |path: &str, _| -> Result<FileContent, String> { panic!("{path} was read") };
    let read = reader.known.read(&listing, &mut contents, &|_| None, &BTreeMap::new);
    assert_eq!(read, Ok(Err(Freeze::TooManyFiles { count: 3, max: 2 })));
}

#[test]
fn a_content_that_cannot_be_had_fails_the_read_and_is_asked_for_again() {
    let mut reader = Reader::new();
    let first = reader.good();
    reader.write("stores/acme.yaml", &store("acme", "Changed"));
    reader.write("values/a.yaml", "tier: two\n");
    let path = "values/a.yaml";
    let files: Vec<_> = reader.files.clone().into_iter().collect();
    let files = files.into_iter().map(|(path, text)| (path, reader.listed(&text))).collect();
    let listing = Listing { revision: REVISION.parse().unwrap(), files };
    for broken in [path, "stores/acme.yaml"] {
        let mut contents = |path: &str, _| match path {
            path if path == broken => Err("damaged".to_owned()),
            "values/a.yaml" => Ok(FileContent::Bytes(b"tier: two\n".to_vec())),
            _ => Ok(FileContent::Bytes(fleet("example.com", "a").into_bytes())),
        };
        let read = reader.known.read(&listing, &mut contents, &|_| None, &BTreeMap::new);
        assert_eq!(read.unwrap_err(), "damaged");
    }
    let second = reader.good();
    assert_eq!(accepted(&second, "acme").display_name, "Changed");
    // Whatever was read before the failure: every store follows the new values.
    for name in ["acme", "birch", "cedar"] {
        assert_eq!(accepted(&second, name).merged()["tier"], "two", "{name}");
        assert_eq!(accepted(&first, name).merged()["tier"], "one", "{name}");
    }
}

#[test]
fn who_holds_a_host_is_asked_at_each_commit_and_no_file_is_read_for_it() {
    let mut reader = Reader::new();
    reader.write("stores/acme.yaml", &store_with_host("acme", "shop.example.com"));
    reader.write("stores/birch.yaml", &store_with_host("birch", "shop.example.com"));
    let nobody = reader.good();
    assert!(["acme", "birch"].iter().all(|name| nobody.stores[&id(name)].accepted().is_none()));
    for winner in ["acme", "birch"] {
        reader.incumbents = [("shop.example.com".parse().unwrap(), id(winner))].into();
        let snapshot = reader.good();
        assert_eq!(reader.asked.len(), 0);
        for name in ["acme", "birch"] {
            assert_eq!(snapshot.stores[&id(name)].accepted().is_some(), name == winner);
        }
    }
}

#[test]
fn a_file_that_moves_is_read_under_its_new_name_and_frees_the_old_one() {
    let mut reader = Reader::new();
    reader.good();
    let text = reader.remove("stores/acme.yaml");
    // The content says `acme`: under another name it is wrong, and still protects acme.
    reader.write("stores/zeder.yaml", &text);
    let moved = reader.good();
    assert!(["acme", "zeder"].iter().all(|name| !moved.stores[&id(name)].problems().is_empty()));
    // Only the case of the name, and of the folder.
    for path in ["stores/Acme.yaml", "Stores/acme.yaml", "stores/acme.yml", "stores/eu/acme.yaml"] {
        let text = reader.remove(
            &reader.files.keys().find(|it| it.contains("zeder") || it.contains("cme")).unwrap().clone(),
        );
        reader.write(path, &text);
        let snapshot = reader.good();
        assert!(!snapshot.stores[&id("acme")].problems().is_empty(), "{path}");
        assert!(!snapshot.stores.contains_key(&id("zeder")), "{path}");
    }
}

/// A small generator of numbers that look random: the same ones each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap()
    }
}

#[test]
fn whatever_commits_do_reading_by_changes_says_what_reading_anew_says() {
    const NAMES: [&str; 5] = ["acme", "birch", "cedar", "dogwood", "elm"];
    for seed in 0..20 {
        let (mut dice, mut reader) = (Dice(seed), Reader::new());
        let mut past = vec![reader.files.clone()];
        for _ in 0..60 {
            for _ in 0..=dice.roll(3) {
                mutate(&mut reader, &mut dice, &NAMES, &past);
            }
            // The comparison is in here.
            let _ = reader.read();
            past.push(reader.files.clone());
        }
    }
}

fn mutate(reader: &mut Reader, dice: &mut Dice, names: &[&str], past: &[BTreeMap<String, String>]) {
    let name = names[dice.roll(names.len())];
    let other = names[dice.roll(names.len())];
    let paths = [
        format!("stores/{name}.yaml"),
        format!("stores/{name}.yml"),
        format!("stores/{}.yaml", name.to_uppercase()),
        format!("Stores/{name}.yaml"),
        format!("stores/eu/{name}.yaml"),
        format!("stores/{name}"),
        "stores/not a name.yaml".to_owned(),
    ];
    let odd = paths[dice.roll(paths.len())].clone();
    match dice.roll(14) {
        0 | 1 => reader.write(&paths[0], &store(name, ["One", "Two"][dice.roll(2)])),
        2 => reader
            .write(&paths[0], &store_with_host(name, ["x.example.com", "acme.example.org"][dice.roll(2)])),
        3 => reader.write(&paths[0], ["kind: [", "", "a: {b: 1}\n"][dice.roll(3)]),
        4 => reader.write(&odd, &store(other, "Odd")),
        5 => reader.write(&odd, "LINK"),
        6 | 7 => drop(reader.files.remove(&odd)),
        8 => drop(reader.files.remove(&paths[0])),
        9 => {
            let text = reader.files.remove(&paths[0]).unwrap_or_default();
            reader.write(&format!("stores/{other}.yaml"), &text);
        }
        10 => reader.write(
            "storekeeper.yaml",
            &fleet(["example.com", "example.org"][dice.roll(2)], ["a", "b"][dice.roll(2)]),
        ),
        11 => reader.write(
            ["values/a.yaml", "values/b.yaml"][dice.roll(2)],
            ["tier: x\n", "tier: y\n", "["][dice.roll(3)],
        ),
        12 => reader.files.clone_from(&past[dice.roll(past.len())]),
        _ => reader.incumbents = [("x.example.com".parse().unwrap(), id(name))].into(),
    }
}

fn fleet_with_charts(charts: &str) -> String {
    format!("{}  charts:\n{charts}", fleet("example.com", "a"))
}

fn store_of(name: &str, chart: &str) -> String {
    format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: {name}}}\nspec: {{chart: {chart}}}\n"
    )
}

#[test]
fn a_chart_in_the_repository_is_read_when_it_is_named_and_changes_its_stores_alone() {
    let mut reader = Reader::new();
    reader.write("charts/page/Chart.yaml", "name: page\nversion: 1.0.0\n");
    reader.write("charts/other/Chart.yaml", "name: other\nversion: 1.0.0\n");
    reader.good();
    assert!(!reader.asked.iter().any(|path| path.starts_with("charts/")), "{:?}", reader.asked);
    reader.write("storekeeper.yaml", &fleet_with_charts("    page: {folder: charts/page}\n"));
    reader.write("stores/acme.yaml", &store_of("acme", "page"));
    let before = reader.good();
    assert!(reader.asked.contains(&"charts/page/Chart.yaml".to_owned()), "{:?}", reader.asked);
    assert!(!reader.asked.contains(&"charts/other/Chart.yaml".to_owned()), "{:?}", reader.asked);
    reader.write("charts/page/templates/a.yaml", "a: 1\n");
    let after = reader.good();
    assert!(!reader.asked.iter().any(|path| path.starts_with("stores/")), "{:?}", reader.asked);
    assert_ne!(accepted(&before, "acme").digest(), accepted(&after, "acme").digest());
    assert!(Arc::ptr_eq(&accepted(&before, "birch"), &accepted(&after, "birch")));
}

#[test]
fn stores_follow_what_the_fleet_file_says_of_their_charts() {
    let mut reader = Reader::new();
    reader.write("charts/page/Chart.yaml", "name: page\nversion: 1.0.0\n");
    reader.write("storekeeper.yaml", &fleet_with_charts("    page: {folder: charts/page}\n"));
    reader.write("stores/acme.yaml", &store_of("acme", "page"));
    let before = reader.good();
    let titled = "    page: {folder: charts/page, fields: {displayName: title}, values: {tier: two}}\n";
    reader.write("storekeeper.yaml", &fleet_with_charts(titled));
    let after = reader.good();
    assert_eq!(
        serde_json::json!(accepted(&after, "acme").merged()),
        serde_json::json!({"tier": "two", "title": "acme"})
    );
    assert!(Arc::ptr_eq(&accepted(&before, "birch"), &accepted(&after, "birch")));
    for (charts, is_good) in [
        ("    pages: {folder: charts/page}\n", false),
        (titled, true),
        ("    page: {folder: charts/gone}\n", false),
        ("    page: {folder: charts/page}\n", true),
    ] {
        reader.write("storekeeper.yaml", &fleet_with_charts(charts));
        assert_eq!(reader.good().stores[&id("acme")].accepted().is_some(), is_good, "{charts}");
    }
    reader.write("storekeeper.yaml", &format!("{}  chart: page\n", fleet_with_charts(titled)));
    assert_eq!(accepted(&reader.good(), "birch").chart.name, "page");
}

#[test]
fn stores_follow_what_the_fleet_file_says_of_clusters() {
    let mut reader = Reader::new();
    let on = |cluster: &str| {
        format!(
            "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: acme}}\nspec: {{cluster: {cluster}}}\n"
        )
    };
    let with = |clusters: &str| format!("{}{clusters}", fleet("example.com", "a"));
    let cluster = |snapshot: &Snapshot, name: &str| {
        let store = snapshot.stores[&id(name)].accepted().cloned();
        store.map(|store| store.cluster.as_ref().map(ToString::to_string).unwrap_or_default())
    };
    // Of acme, which names one, and of birch, which names none: `-` when the file is wrong now.
    for (clusters, acme, birch) in [
        ("", "-", ""),
        ("  clusters: [eu-1, us-1]\n  cluster: us-1\n", "eu-1", "us-1"),
        ("  clusters: [eu-1, us-1]\n  cluster: eu-1\n", "eu-1", "eu-1"),
        ("  clusters: [us-1]\n  cluster: us-1\n", "-", "us-1"),
        ("  clusters: [us-1, eu-1]\n", "eu-1", "-"),
        ("  clusters: [us-1, eu-1, ap-1]\n  cluster: ap-1\n", "eu-1", "ap-1"),
        ("", "-", ""),
    ] {
        reader.write("storekeeper.yaml", &with(clusters));
        reader.write("stores/acme.yaml", &on("eu-1"));
        let snapshot = reader.good();
        let found = ["acme", "birch"].map(|name| cluster(&snapshot, name).unwrap_or("-".to_owned()));
        assert_eq!(found, [acme, birch], "{clusters}");
    }
}
