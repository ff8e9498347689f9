//! In a repository with 10,000 store files a commit that changes one of them costs little more than that file.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use storekeeper::git::{Mirror, ReadLimits};
use storekeeper::store::{KnownFiles, Limits, Listing, Snapshot, wants};

#[path = "common/git_origin.rs"]
mod git_origin;
use git_origin::Origin;

const STORES: usize = 10_000;
const FLEET: &str =
    "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec: {domain: example.com, values: {tier: small}}\n";

fn store(number: usize, display_name: &str) -> (String, String) {
    let text = format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: store-{number}\nspec:\n  displayName: {display_name}\n  \
         version: \"2.21.2\"\n  values:\n    store: {{currency: eur}}\n    medusa: {{replicas: 2, resources: {{requests: {{cpu: 100m}}}}}}\n"
    );
    (format!("stores/store-{number}.yaml"), text)
}

/// Reads a commit as the daemon does. Returns how many contents were asked for.
fn read(mirror: &Mirror, commit: &str, known: &mut KnownFiles) -> (Arc<Snapshot>, usize) {
    let blobs = mirror.blobs().unwrap();
    let files = blobs.list(commit, &wants, &|path| known.listed(path), &ReadLimits::default()).unwrap();
    let listing = Listing { revision: commit.parse().unwrap(), files };
    let mut asked = 0;
    let mut contents = |_: &str, id| {
        asked += 1;
        blobs.content(id)
    };
    let snapshot = known.read(&listing, &mut contents, &|_| None, &BTreeMap::new).unwrap();
    (Arc::new(snapshot.unwrap()), asked)
}

#[test]
fn one_changed_file_of_ten_thousand_is_one_content_read_and_one_store_made() {
    let origin = Origin::empty();
    let mut files: Vec<_> = (0..STORES).map(|number| store(number, "One of many")).collect();
    files.push(("storekeeper.yaml".to_owned(), FLEET.to_owned()));
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    origin.push(&files);
    let (mirror, mut known) = (origin.mirror(), KnownFiles::new(Limits::default()));

    let start = Instant::now();
    let commit = mirror.fetch().unwrap().commit;
    let fetched = start.elapsed();
    let start = Instant::now();
    let (before, asked) = read(&mirror, &commit, &mut known);
    println!("at first: fetch {fetched:?}, read {:?}", start.elapsed());
    assert_eq!((before.stores.len(), asked), (STORES, STORES + 1));

    for number in [0, 4321, STORES - 1] {
        let (path, text) = store(number, "Changed");
        origin.push(&[(&path, &text)]);
        let start = Instant::now();
        let commit = mirror.fetch().unwrap().commit;
        let fetched = start.elapsed();
        let start = Instant::now();
        let (after, asked) = read(&mirror, &commit, &mut known);
        println!("one changed: fetch {fetched:?}, read {:?}", start.elapsed());
        assert_eq!(asked, 1);
        let id = format!("store-{number}").parse().unwrap();
        assert_eq!(after.stores[&id].accepted().unwrap().display_name, "Changed");
    }
    let (last, _) = read(&mirror, &mirror.head().unwrap().unwrap(), &mut known);
    let same = |id| Arc::ptr_eq(before.stores[id].accepted().unwrap(), last.stores[id].accepted().unwrap());
    assert_eq!(before.stores.keys().filter(|id| same(id)).count(), STORES - 3);

    let start = Instant::now();
    mirror.fetch().unwrap();
    println!("nothing changed: fetch {:?}", start.elapsed());
}
