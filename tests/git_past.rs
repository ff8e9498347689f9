//! A store is read as an earlier commit had it, for as long as the mirror holds that commit.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::fs;
use std::sync::{Arc, OnceLock};

use storekeeper::chart::Chart;
use storekeeper::names::StoreId;
use storekeeper::reconcile::{Past, PastError};
use storekeeper::store::Store;

#[path = "common/git_origin.rs"]
mod git_origin;
use git_origin::{Origin, git};

const FLEET: &str =
    "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec: {domain: example.com, values: {tier: old}}\n";
const NEW_FLEET: &str =
    "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec: {domain: example.org, values: {tier: new}}\n";

fn file(name: &str, display_name: &str) -> String {
    format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: {name}}}\nspec: {{displayName: {display_name}}}\n"
    )
}

fn chart() -> Arc<Chart> {
    let files = [("Chart.yaml", "apiVersion: v2\nname: test\nversion: 1.0.0\n"), ("templates/a.yaml", "")];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Arc::new(Chart::load(files.into()).unwrap())
}

/// A past on a mirror of this origin that has fetched what there is.
fn past(origin: &Origin) -> (Arc<OnceLock<storekeeper::git::Mirror>>, Past) {
    let mirror = Arc::new(OnceLock::new());
    mirror.get_or_init(|| origin.mirror()).fetch().unwrap();
    (Arc::clone(&mirror), Past::new(mirror, chart()))
}

async fn read(past: &Past, commit: &str, store: &str) -> Result<Arc<Store>, PastError> {
    past.store_at(commit, &store.parse::<StoreId>().unwrap()).await
}

#[tokio::test]
async fn a_store_is_read_with_the_fleet_file_of_its_commit() {
    let origin = Origin::empty();
    let (one, two) = (file("acme", "One"), file("acme", "Two"));
    let first =
        origin.push(&[("storekeeper.yaml", FLEET), ("stores/acme.yaml", &one), ("stores/b.yaml", "[")]);
    let second = origin.push(&[("storekeeper.yaml", NEW_FLEET), ("stores/acme.yaml", &two)]);
    let (_mirror, past) = past(&origin);
    let then = read(&past, &first, "acme").await.unwrap();
    assert_eq!((then.display_name.as_str(), then.host.as_str()), ("One", "acme.example.com"));
    assert_eq!(then.merged()["tier"], "old");
    let now = read(&past, &second, "acme").await.unwrap();
    assert_eq!((now.display_name.as_str(), now.host.as_str()), ("Two", "acme.example.org"));
    assert_ne!(then.digest(), now.digest());
}

#[tokio::test]
async fn what_was_not_or_not_good_at_a_commit_is_said() {
    let origin = Origin::empty();
    let commit = origin.push(&[("storekeeper.yaml", FLEET), ("stores/broken.yaml", "kind: [")]);
    let (_mirror, past) = past(&origin);
    let error = read(&past, &commit, "acme").await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("read store acme as it was at commit {commit}: there was no `stores/acme.yaml`")
    );
    let error = read(&past, &commit, "broken").await.unwrap_err().to_string();
    assert!(error.contains("its file was broken then: stores/broken.yaml:"), "{error}");
    let error = read(&past, &"0".repeat(40), "acme").await.unwrap_err().to_string();
    assert!(error.contains("it is in the branch's history no more"), "{error}");
}

#[tokio::test]
async fn a_commit_that_a_force_push_removed_is_there_until_the_mirror_is_made_anew() {
    let origin = Origin::empty();
    let acme = file("acme", "Acme");
    let first = origin.push(&[("storekeeper.yaml", FLEET), ("stores/acme.yaml", &acme)]);
    let (mirror, past) = past(&origin);
    git(&origin.work, &["checkout", "-q", "--orphan", "other"]);
    origin.push(&[("storekeeper.yaml", NEW_FLEET)]);
    git(&origin.bare, &["reflog", "expire", "--expire=now", "--all"]);
    git(&origin.bare, &["gc", "-q", "--prune=now"]);
    mirror.get().unwrap().fetch().unwrap();
    assert_eq!(read(&past, &first, "acme").await.unwrap().display_name, "Acme");

    drop((mirror, past));
    fs::remove_dir_all(origin.mirror_folder()).unwrap();
    let (_mirror, past) = self::past(&origin);
    let error = read(&past, &first, "acme").await.unwrap_err();
    assert!(error.reason.contains("find commit"), "{error}");
}

#[tokio::test]
async fn before_the_repository_is_opened_nothing_is_known_of_the_past() {
    let past = Past::new(Arc::default(), chart());
    let error = read(&past, &"0".repeat(40), "acme").await.unwrap_err();
    assert_eq!(error.reason, "the repository has not been opened yet");
}
