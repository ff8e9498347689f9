//! Pull requests are seen with the branch, fetched apart from it and merged in memory; whatever they hold, the
//! branch is followed.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use storekeeper::chart::Chart;
use storekeeper::daemon::snapshot_of_tree;
use storekeeper::git::{
    Auth, DEFAULT_TOKEN_USERNAME, GitError, Merge, Mirror, PullNames, PullRef, Pulls, ReadLimits, Secret,
    SourceSettings,
};
use storekeeper::names::StoreId;
use storekeeper::store::{KnownFiles, Limits, Listed, Revision, Snapshot, wants};

#[path = "common/git_origin.rs"]
mod git_origin;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/git_sshd.rs"]
mod git_sshd;
use git_origin::{Origin, git, git_with_input};
use git_server::{Answer, Identity, Server};
use git_sshd::{Sshd, make_key};

const TOKEN: &str = "canary-77a1";

fn store(name: &str, display_name: &str) -> String {
    format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {{name: {name}}}\nspec:\n  displayName: {display_name}\n  \
         values:\n    a: 1\n    b: 2\n    c: 3\n    d: 4\n    e: 5\n    f: 6\n"
    )
}

/// An origin with pull requests, and both of storekeeper's repositories.
struct Scene {
    origin: Origin,
    settings: SourceSettings,
    mirror: Mirror,
    pulls: Pulls,
}

impl Scene {
    fn local() -> Self {
        let origin = Origin::empty();
        let settings = origin.settings();
        Self::with(origin, settings)
    }

    fn with(origin: Origin, settings: SourceSettings) -> Self {
        origin.push(&[
            (
                "storekeeper.yaml",
                "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec: {domain: example.com}\n",
            ),
            ("stores/acme.yaml", &store("acme", "Acme")),
            ("stores/birch.yaml", &store("birch", "Birch")),
        ]);
        let mirror = Mirror::open(&origin.mirror_folder(), settings.clone()).unwrap();
        let pulls = Pulls::open(&pulls_folder(&origin), settings.clone(), &origin.mirror_folder()).unwrap();
        Self { origin, settings, mirror, pulls }
    }

    /// Makes the head of a pull request out of a commit, with changes that a closure makes in the working copy.
    fn propose(&self, number: u64, onto: &str, change: impl FnOnce(&Path)) -> String {
        propose(&self.origin, &format!("refs/pull/{number}/head"), onto, change)
    }

    /// Fetches the branch and these pull requests. Returns the branch's commit and the heads that came.
    fn fetch(&self, numbers: &[u64]) -> (String, BTreeMap<u64, String>) {
        let head = self.mirror.fetch().unwrap();
        let wanted: Vec<_> = numbers.iter().map(|number| wanted(*number, &head.pulls[number])).collect();
        let fetched = self.pulls.fetch(&wanted, &head.commit).unwrap();
        (head.commit, fetched)
    }

    fn merge(&self, number: u64) -> Merge {
        let (base, heads) = self.fetch(&[number]);
        self.pulls.merge(&base, &heads[&number]).unwrap()
    }

    fn listed(&self, merge: &Merge) -> BTreeMap<String, Listed> {
        let Merge::Tree(tree) = merge else { panic!("no tree: {merge:?}") };
        self.pulls.blobs().unwrap().list_tree(tree, &wants, &|_| None, &ReadLimits::default()).unwrap()
    }

    fn reopen(self) -> Self {
        let Self { origin, settings, mirror, pulls } = self;
        drop(pulls);
        let pulls = Pulls::open(&pulls_folder(&origin), settings.clone(), &origin.mirror_folder()).unwrap();
        Self { origin, settings, mirror, pulls }
    }
}

fn pulls_folder(origin: &Origin) -> PathBuf {
    origin.folder.path().join("pulls")
}

fn wanted(number: u64, commit: &str) -> PullRef {
    PullRef { number, reference: format!("refs/pull/{number}/head"), commit: commit.to_owned() }
}

fn propose(origin: &Origin, reference: &str, onto: &str, change: impl FnOnce(&Path)) -> String {
    git(&origin.work, &["checkout", "-q", "--detach", onto]);
    change(&origin.work);
    git(&origin.work, &["add", "-A"]);
    git(&origin.work, &["commit", "-q", "--allow-empty", "-m", "proposed"]);
    git(&origin.work, &["push", "-q", "--force", "origin", &format!("HEAD:{reference}")]);
    let commit = git(&origin.work, &["rev-parse", "HEAD"]);
    git(&origin.work, &["checkout", "-q", "main"]);
    commit
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn chart() -> Chart {
    let files = [("Chart.yaml", "apiVersion: v2\nname: test\nversion: 1.0.0\n"), ("templates/a.yaml", "")];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Chart::load(files.into()).unwrap()
}

fn packs(folder: &Path) -> Vec<PathBuf> {
    let packs = fs::read_dir(folder.join("repository/objects/pack")).unwrap();
    let mut packs: Vec<_> = packs.map(|entry| entry.unwrap().path()).collect();
    packs.retain(|path| path.extension().is_some_and(|extension| extension == "pack"));
    packs
}

/// What holds over every way to a remote.
fn a_fork_is_seen_fetched_and_merged(scene: &Scene) {
    let base = git(&scene.origin.work, &["rev-parse", "main"]);
    let acme = scene.propose(7, &base, |work| write(work, "stores/acme.yaml", &store("acme", "Better")));
    let new = scene.propose(8, &base, |work| write(work, "stores/coral.yaml", &store("coral", "Coral")));
    let moved = scene.origin.push(&[("stores/birch.yaml", &store("birch", "Moved on"))]);

    let head = scene.mirror.fetch().unwrap();
    assert_eq!(head.commit, moved);
    assert_eq!(*head.pulls, BTreeMap::from([(7, acme.clone()), (8, new.clone())]));
    let again = scene.mirror.fetch().unwrap();
    assert!(std::sync::Arc::ptr_eq(&head.pulls, &again.pulls), "what did not change is not made anew");
    let error = scene.mirror.commit_info(&acme).unwrap_err();
    assert!(matches!(error, GitError::CommitMissing { .. }), "in the mirror: {error}");

    let wanted = [wanted(7, &acme), wanted(8, &new), wanted(9, &acme)];
    let fetched = scene.pulls.fetch(&wanted, &moved).unwrap();
    assert_eq!(fetched, BTreeMap::from([(7, acme.clone()), (8, new.clone())]));
    let error = scene.mirror.commit_info(&acme).unwrap_err();
    assert!(matches!(error, GitError::CommitMissing { .. }), "in the mirror: {error}");
    // A blob, two trees and a commit each; what the mirror has is not sent again.
    let pack = &packs(&pulls_folder(&scene.origin))[0];
    let verified =
        git(&scene.origin.work, &["verify-pack", "-v", pack.with_extension("idx").to_str().unwrap()]);
    let count = |kind: &str| verified.lines().filter(|line| line.split(' ').nth(1) == Some(kind)).count();
    assert_eq!(count("commit"), 2, "{verified}");

    let merged = scene.pulls.merge(&moved, &acme).unwrap();
    let Merge::Tree(tree) = &merged else { panic!("{merged:?}") };
    let (blobs, mut known) = (scene.pulls.blobs().unwrap(), KnownFiles::new(Limits::default()));
    let revision: Revision = acme.parse().unwrap();
    let snapshot = snapshot_of_tree(&blobs, tree, revision, &mut known, &chart(), &BTreeMap::new);
    let snapshot = snapshot.unwrap().unwrap();
    assert_eq!(snapshot.revision.to_string(), acme);
    let name = |id: &str| {
        let id: StoreId = id.parse().unwrap();
        snapshot.stores[&id].accepted().unwrap().display_name.clone()
    };
    assert_eq!((name("acme"), name("birch")), ("Better".to_owned(), "Moved on".to_owned()));
}

#[test]
fn heads_are_seen_and_merged_from_a_local_repository() {
    a_fork_is_seen_fetched_and_merged(&Scene::local());
}

#[test]
fn heads_are_seen_and_merged_over_https_in_two_conversations() {
    let origin = Origin::empty();
    let authority = Identity::new("Test CA", None, true, &[], 30);
    let identity = Identity::new("localhost", Some(&authority), false, &["localhost"], 30);
    let ca_file = origin.folder.path().join("ca.pem");
    authority.write_pem(&ca_file);
    let answer = Answer::Git { root: origin.folder.path().to_owned(), token: Some(TOKEN) };
    let server = Server::start(&identity, &[], answer);
    let url = format!("https://localhost:{}/stores.git", server.port).parse().unwrap();
    let settings = SourceSettings {
        ca_file: Some(ca_file),
        auth: Auth::Token { username: DEFAULT_TOKEN_USERNAME.to_owned(), token: Secret::new(TOKEN) },
        ..SourceSettings::new(url, "main")
    };
    let scene = Scene::with(origin, settings);
    a_fork_is_seen_fetched_and_merged(&scene);
    let requests = server.requests();
    let lists = requests.iter().filter(|(line, _)| line.contains("info/refs")).count();
    assert_eq!(lists, 3, "two looks at the branch and one fetch of heads: {requests:?}");
    assert!(!format!("{:?}", scene.pulls).contains("canary"));

    scene.pulls.set_auth(Auth::Token { username: "x".to_owned(), token: Secret::new("old") }).unwrap();
    let error = scene.pulls.fetch(&[wanted(7, "")], &"0".repeat(40)).unwrap_err();
    assert!(matches!(error, GitError::AuthenticationFailed { .. }), "{error}");
}

#[test]
fn heads_are_seen_and_merged_over_ssh() {
    let origin = Origin::empty();
    let key = make_key(&origin.folder.path().join("client"), "ed25519", "");
    let server = Sshd::start(origin.folder.path(), "ed25519", &key);
    let known_hosts = origin.folder.path().join("known_hosts");
    fs::write(&known_hosts, format!("[127.0.0.1]:{} {}\n", server.port, server.host_key)).unwrap();
    let url = format!("ssh://{}@127.0.0.1:{}{}", server.user, server.port, origin.bare.display());
    let auth = Auth::SshKey { private_key: key, passphrase: None, known_hosts };
    let settings = SourceSettings { auth, ..SourceSettings::new(url.parse().unwrap(), "main") };
    a_fork_is_seen_fetched_and_merged(&Scene::with(origin, settings));
}

#[test]
fn merge_requests_are_seen_too_and_names_that_no_forge_makes_are_not() {
    let scene = Scene::local();
    let one = propose(&scene.origin, "refs/merge-requests/3/head", "main", |_| ());
    for name in ["refs/pull/0/head", "refs/pull/x/head", "refs/pull/3/merge", "refs/pull/03/head"] {
        git(&scene.origin.bare, &["update-ref", name, &one]);
    }
    assert_eq!(*scene.mirror.fetch().unwrap().pulls, BTreeMap::from([(3, one.clone())]));
    let fetched = scene.pulls.fetch(
        &[PullRef { number: 3, reference: "refs/merge-requests/3/head".to_owned(), commit: one.clone() }],
        &git(&scene.origin.work, &["rev-parse", "main"]),
    );
    assert_eq!(fetched.unwrap(), BTreeMap::from([(3, one)]));

    let Scene { origin, settings, mirror, .. } = scene;
    drop(mirror);
    let settings = SourceSettings { pulls: PullNames::Pull, ..settings };
    let mirror = Mirror::open(&origin.mirror_folder(), settings).unwrap();
    assert!(mirror.fetch().unwrap().pulls.is_empty(), "on GitHub anybody may push refs/merge-requests");
}

#[test]
fn a_name_that_would_be_more_than_a_name_in_a_refspec_fetches_nothing() {
    let scene = Scene::local();
    let head = scene.mirror.fetch().unwrap();
    for reference in ["refs/heads/main:refs/heads/x", "refs/heads/*", "HEAD", "", "^refs/heads/main", "main"]
    {
        let wanted = PullRef { number: 1, reference: reference.to_owned(), commit: head.commit.clone() };
        assert_eq!(scene.pulls.fetch(&[wanted], &head.commit).unwrap(), BTreeMap::new(), "{reference}");
    }
    let references = git(&pulls_folder(&scene.origin).join("repository"), &["for-each-ref"]);
    assert_eq!(references, "", "no ref came of it");
}

#[test]
fn two_sides_that_change_the_same_lines_conflict_and_other_lines_merge() {
    let scene = Scene::local();
    let acme = store("acme", "Acme");
    scene.propose(1, "main", |work| write(work, "stores/acme.yaml", &acme.replace("f: 6", "f: 7")));
    scene.propose(2, "main", |work| {
        write(work, "stores/acme.yaml", &acme.replace("a: 1", "a: 0"));
        write(work, "stores/fir.yaml", &store("fir", "Fir"));
        fs::remove_file(work.join("stores/birch.yaml")).unwrap();
    });
    scene.propose(3, "main", |work| {
        fs::rename(work.join("stores/acme.yaml"), work.join("stores/oak.yaml")).unwrap();
    });
    let already = git(&scene.origin.work, &["rev-parse", "main"]);
    git(&scene.origin.bare, &["update-ref", "refs/pull/4/head", &already]);
    scene.origin.push(&[
        ("stores/acme.yaml", &acme.replace("a: 1", "a: 9")),
        ("stores/fir.yaml", &store("fir", "Another")),
        ("stores/birch.yaml", &store("birch", "Changed")),
    ]);

    let merged = scene.merge(1);
    let Listed::File { content, .. } = scene.listed(&merged)["stores/acme.yaml"] else { panic!() };
    let content = scene.pulls.blobs().unwrap().content(content).unwrap();
    let text = acme.replace("a: 1", "a: 9").replace("f: 6", "f: 7");
    assert_eq!(content, storekeeper::store::FileContent::Bytes(text.into_bytes()));
    let paths = ["stores/acme.yaml", "stores/birch.yaml", "stores/fir.yaml"].map(str::to_owned);
    assert_eq!(scene.merge(2), Merge::Conflicts(paths.to_vec()));
    assert_eq!(
        scene.merge(3),
        Merge::Conflicts(vec!["stores/acme.yaml".to_owned()]),
        "no rename is followed"
    );
    assert_eq!(scene.merge(4), Merge::AlreadyIn);

    git(&scene.origin.work, &["checkout", "-q", "--orphan", "alien"]);
    git(&scene.origin.work, &["commit", "-q", "-m", "alien"]);
    git(&scene.origin.work, &["push", "-q", "origin", "HEAD:refs/pull/5/head"]);
    git(&scene.origin.work, &["checkout", "-q", "-f", "main"]);
    let (base, heads) = scene.fetch(&[5]);
    let error = scene.pulls.merge(&base, &heads[&5]).unwrap_err();
    assert!(error.to_string().ends_with("it shares no history with the branch"), "{error}");
}

#[test]
fn a_head_that_was_pushed_anew_is_fetched_as_it_is_and_not_as_it_was_seen() {
    let scene = Scene::local();
    let first = scene.propose(1, "main", |work| write(work, "stores/oak.yaml", &store("oak", "One")));
    let (base, heads) = scene.fetch(&[1]);
    assert_eq!(heads[&1], first);
    let second = scene.propose(1, "main", |work| write(work, "stores/oak.yaml", &store("oak", "Two")));
    assert_ne!(first, second);
    assert_eq!(scene.pulls.fetch(&[wanted(1, &first)], &base).unwrap()[&1], second);
    let Merge::Tree(one) = scene.pulls.merge(&base, &first).unwrap() else { panic!() };
    let Merge::Tree(two) = scene.pulls.merge(&base, &second).unwrap() else { panic!() };
    assert_ne!(one, two);
    git(&scene.origin.bare, &["update-ref", "-d", "refs/pull/1/head"]);
    assert_eq!(scene.pulls.fetch(&[wanted(1, &second)], &base).unwrap(), BTreeMap::new());
}

#[test]
fn hostile_trees_are_read_as_data_and_cost_little() {
    let scene = Scene::local();
    let submodule = git(&scene.origin.work, &["rev-parse", "main"]);
    scene.propose(1, "main", |work| {
        std::os::unix::fs::symlink("/etc/passwd", work.join("stores/link.yaml")).unwrap();
        write(work, "stores/huge.yaml", &"#".repeat(300 * 1024));
        let entry = format!("160000,{submodule},stores/sub.yaml");
        git(work, &["update-index", "--add", "--cacheinfo", &entry]);
        fs::create_dir_all(work.join("stores/sub.yaml")).unwrap();
    });
    let listed = scene.listed(&scene.merge(1));
    let reason = |path: &str| match &listed[path] {
        Listed::Unreadable(reason) => reason.as_str(),
        Listed::File { .. } => panic!("{path} is read"),
    };
    assert_eq!(reason("stores/link.yaml"), "a symbolic link, which is not followed");
    assert_eq!(reason("stores/huge.yaml"), "300 KiB, larger than the limit of 256 KiB");
    assert_eq!(reason("stores/sub.yaml"), "a submodule, which is not fetched");

    // Thirty folders that each name the next one ten times: 10^30 entries to whoever walks them.
    let on_branch = bomb(&scene.origin, "b");
    scene.origin.push(&[("README.md", "moves on")]);
    let tree = git(&scene.origin.bare, &["ls-tree", "main"]);
    let commit = git(&scene.origin.bare, &["rev-parse", "main"]);
    let with = |bomb: &str, parent: &str, message: &str| {
        let tree = format!("{tree}\n040000 tree {bomb}\tdeep\n");
        let tree = git_with_input(&scene.origin.bare, &["mktree"], tree.as_bytes());
        git(&scene.origin.bare, &["commit-tree", "-p", parent, "-m", message, &tree])
    };
    let base = with(&on_branch, &commit, "branch");
    let head = with(&bomb(&scene.origin, "p"), &commit, "pull");
    git(&scene.origin.bare, &["update-ref", "refs/heads/main", &base]);
    git(&scene.origin.bare, &["update-ref", "refs/pull/2/head", &head]);
    let (base, heads) = scene.fetch(&[2]);
    let start = Instant::now();
    let error = scene.pulls.merge(&base, &heads[&2]).unwrap_err();
    assert!(matches!(error, GitError::Unmergeable { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(12), "a merge is bounded: {:?}", start.elapsed());

    // A tree that names a path twice, and one that names what no file may be called.
    let blob = scene.origin.write_object("blob", b"x");
    let raw = |name: &str| [format!("100644 {name}\0").into_bytes(), hex(&blob)].concat();
    let twice = scene.origin.write_object("tree", &[raw("a.yaml"), raw("a.yaml")].concat());
    let dots = scene.origin.write_object("tree", &raw(".."));
    for (number, folder) in [(3, twice), (4, dots)] {
        let tree = git_with_input(
            &scene.origin.bare,
            &["mktree"],
            format!("040000 tree {folder}\tstores\n").as_bytes(),
        );
        let head = git(&scene.origin.bare, &["commit-tree", "-p", &commit, "-m", "hand-made", &tree]);
        git(&scene.origin.bare, &["update-ref", &format!("refs/pull/{number}/head"), &head]);
        git(&scene.origin.bare, &["update-ref", "refs/heads/main", &commit]);
        let merged = scene.merge(number);
        let all = scene.listed(&merged);
        assert!(all.values().all(|listed| matches!(listed, Listed::Unreadable(_))), "{all:?}");
    }
}

fn bomb(origin: &Origin, salt: &str) -> String {
    let blob = origin.write_object("blob", salt.as_bytes());
    let mut tree = git_with_input(&origin.bare, &["mktree"], format!("100644 blob {blob}\tx\n").as_bytes());
    for _ in 0..30 {
        let lines = (0..10).fold(String::new(), |text, name| format!("{text}040000 tree {tree}\t{name}\n"));
        tree = git_with_input(&origin.bare, &["mktree"], lines.as_bytes());
    }
    tree
}

fn hex(id: &str) -> Vec<u8> {
    (0..20).map(|byte| u8::from_str_radix(&id[2 * byte..2 * byte + 2], 16).unwrap()).collect()
}

/// Bytes that no compression makes smaller.
fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b' ' + u8::try_from((state >> 33) % 90).unwrap())
    };
    (0..length).map(|_| byte()).collect()
}

#[test]
fn a_pull_request_that_is_too_large_is_refused_and_the_branch_is_followed() {
    let origin = Origin::empty();
    let settings = SourceSettings { max_fetch_bytes: 64 * 1024, ..origin.settings() };
    let scene = Scene::with(origin, settings);
    let large = scene.propose(1, "main", |work| write(work, "large.bin", &noise(200_000)));
    let small = scene.propose(2, "main", |work| write(work, "stores/oak.yaml", &store("oak", "Oak")));
    let head = scene.mirror.fetch().unwrap();
    let error = scene.pulls.fetch(&[wanted(1, &large), wanted(2, &small)], &head.commit).unwrap_err();
    assert!(matches!(error, GitError::FetchTooLarge { .. }), "{error}");
    let fetched = scene.pulls.fetch(&[wanted(2, &small)], &head.commit).unwrap();
    assert_eq!(fetched, BTreeMap::from([(2, small)]));
    let commit = scene.origin.push(&[("stores/elm.yaml", &store("elm", "Elm"))]);
    assert_eq!(scene.mirror.fetch().unwrap().commit, commit, "nothing of it came with the branch");
}

#[test]
fn a_commit_that_inflates_to_more_than_any_should_is_refused_before_it_is_read() {
    let scene = Scene::local();
    let good = scene.propose(1, "main", |work| write(work, "stores/oak.yaml", &store("oak", "Oak")));
    let tree = git(&scene.origin.bare, &["rev-parse", "main^{tree}"]);
    let parent = git(&scene.origin.bare, &["rev-parse", "main"]);
    let message = "x".repeat(20 * 1024 * 1024);
    let bytes = format!(
        "tree {tree}\nparent {parent}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n{message}\n"
    );
    let large = scene.origin.write_object("commit", bytes.as_bytes());
    git(&scene.origin.bare, &["update-ref", "refs/pull/2/head", &large]);
    let base = scene.mirror.fetch().unwrap().commit;
    let error = scene.pulls.fetch(&[wanted(2, &large)], &base).unwrap_err();
    assert!(error.to_string().ends_with("it holds commits or folders that are too large"), "{error}");
    assert_eq!(scene.pulls.fetch(&[wanted(1, &good)], &base).unwrap()[&1], good, "nothing of it stayed");
    let error = scene.pulls.merge(&base, &large).unwrap_err();
    assert!(matches!(error, GitError::CommitMissing { .. }), "{error}");
}

#[test]
fn a_copy_that_is_damaged_or_too_large_is_emptied_and_the_branch_is_followed() {
    let scene = Scene::local();
    let head = scene.propose(1, "main", |work| write(work, "stores/oak.yaml", &store("oak", "Oak")));
    let (base, _) = scene.fetch(&[1]);
    let folder = pulls_folder(&scene.origin);
    for pack in packs(&folder) {
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, b"PACK").unwrap();
    }
    let error = scene.pulls.merge(&base, &head).unwrap_err();
    assert!(matches!(error, GitError::Corrupt { .. } | GitError::CommitMissing { .. }), "{error}");
    assert_eq!(scene.fetch(&[1]).1[&1], head);
    assert!(matches!(scene.pulls.merge(&base, &head).unwrap(), Merge::Tree(_)));

    // A sparse file: 300 MiB to who counts, nothing on the disk.
    let ballast = fs::File::create(folder.join("repository/objects/pack/ballast")).unwrap();
    ballast.set_len(300 * 1024 * 1024).unwrap();
    scene.pulls.keep_only(&BTreeSet::from([1])).unwrap();
    let error = scene.pulls.merge(&base, &head).unwrap_err();
    assert!(matches!(error, GitError::CommitMissing { .. }), "{error}");
    assert_eq!(scene.fetch(&[1]).1[&1], head);
    assert!(matches!(scene.pulls.merge(&base, &head).unwrap(), Merge::Tree(_)));
}

#[test]
fn what_is_closed_is_forgotten_and_what_is_open_survives_a_restart() {
    let scene = Scene::local();
    for number in 1..=3 {
        scene.propose(number, "main", |work| write(work, &format!("stores/s{number}.yaml"), "x"));
    }
    let (base, heads) = scene.fetch(&[1, 2, 3]);
    scene.pulls.keep_only(&BTreeSet::from([2])).unwrap();
    let references =
        git(&pulls_folder(&scene.origin).join("repository"), &["for-each-ref", "refs/storekeeper/pull"]);
    assert!(
        references.ends_with("refs/storekeeper/pull/2") && references.lines().count() == 1,
        "{references}"
    );
    let scene = scene.reopen();
    assert!(matches!(scene.pulls.merge(&base, &heads[&2]).unwrap(), Merge::Tree(_)));

    let error =
        Pulls::open(&pulls_folder(&scene.origin), scene.settings.clone(), &scene.origin.mirror_folder());
    assert!(matches!(error.unwrap_err(), GitError::InUse { .. }));
    let error =
        Pulls::open(&scene.origin.mirror_folder(), scene.settings.clone(), &scene.origin.mirror_folder());
    assert!(matches!(error.unwrap_err(), GitError::NotOurs { .. }));
    // Of another source nothing is kept.
    let (folder, mirror) = (pulls_folder(&scene.origin), scene.origin.mirror_folder());
    let settings = SourceSettings { branch: "next".to_owned(), ..scene.settings.clone() };
    drop(scene.pulls);
    let pulls = Pulls::open(&folder, settings, &mirror).unwrap();
    assert!(matches!(pulls.merge(&base, &heads[&2]).unwrap_err(), GitError::CommitMissing { .. }));
}

#[test]
fn a_mirror_that_was_made_anew_without_an_old_base_costs_a_fetch_at_most() {
    let scene = Scene::local();
    let head = scene.propose(1, "main", |work| write(work, "stores/oak.yaml", &store("oak", "Oak")));
    scene.fetch(&[1]);
    // The branch is rewritten, and the mirror fetched anew: what the pull request was based on is nowhere.
    git(&scene.origin.work, &["checkout", "-q", "--orphan", "fresh"]);
    git(&scene.origin.work, &["branch", "-q", "-D", "main"]);
    git(&scene.origin.work, &["branch", "-q", "-m", "main"]);
    let rewritten = scene.origin.push(&[("stores/elm.yaml", &store("elm", "Elm"))]);
    for pack in packs(&scene.origin.mirror_folder()) {
        fs::remove_file(&pack).unwrap();
    }
    assert!(scene.mirror.fetch().is_ok_and(|head| head.commit == rewritten));
    let _ = scene.pulls.merge(&rewritten, &head);
    assert_eq!(scene.fetch(&[1]).1[&1], head);
    let error = scene.pulls.merge(&rewritten, &head).unwrap_err();
    assert!(error.to_string().ends_with("it shares no history with the branch"), "{error}");
}

/// Runs in a process of its own, which is killed.
#[test]
#[ignore = "a part of the test below"]
fn fetches_until_it_is_killed() {
    let Some(folder) = std::env::var_os("PULLS_OF").map(PathBuf::from) else { return };
    let url = folder.join("stores.git").to_str().unwrap().parse().unwrap();
    let pulls =
        Pulls::open(&folder.join("pulls"), SourceSettings::new(url, "main"), &folder.join("mirror")).unwrap();
    let _ = pulls.fetch(&[wanted(1, "")], &"0".repeat(40));
}

#[test]
fn a_process_that_is_killed_in_the_middle_of_a_fetch_leaves_nothing_that_hinders() {
    let scene = Scene::local();
    let head = scene.propose(1, "main", |work| write(work, "large.bin", &noise(30_000_000)));
    let base = scene.mirror.fetch().unwrap().commit;
    let Scene { origin, settings, mirror, pulls } = scene;
    drop(pulls);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fetches_until_it_is_killed", "--ignored"])
        .env("PULLS_OF", origin.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pack = pulls_folder(&origin).join("repository.incoming/objects/pack");
    let begun = || fs::read_dir(&pack).is_ok_and(|mut entries| entries.next().is_some());
    let start = Instant::now();
    while !begun() {
        assert!(start.elapsed() < Duration::from_mins(1), "no pack was begun");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(packs(&pulls_folder(&origin)).is_empty(), "the fetch was over before it was killed");
    assert!(begun());

    let pulls = Pulls::open(&pulls_folder(&origin), settings.clone(), &origin.mirror_folder()).unwrap();
    assert!(!begun(), "what was begun is gone");
    assert_eq!(pulls.fetch(&[wanted(1, &head)], &base).unwrap()[&1], head);
    drop(mirror);
}

#[test]
fn one_changed_file_of_a_thousand_is_one_file_read_and_the_other_stores_are_the_very_same() {
    const STORES: usize = 1000;
    let scene = Scene::local();
    let files: Vec<_> = (0..STORES)
        .map(|number| (format!("stores/s{number}.yaml"), store(&format!("s{number}"), "One of many")))
        .collect();
    scene.origin.push(&files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>());
    let base = scene.mirror.fetch().unwrap().commit;
    let mut known = KnownFiles::new(Limits::default());
    let (before, _) = read(&scene, &base, &mut known);
    scene.propose(1, "main", |work| write(work, "stores/s500.yaml", &store("s500", "Changed")));
    scene.origin.push(&[("stores/s7.yaml", &store("s7", "Meanwhile"))]);
    let start = Instant::now();
    let (base, heads) = scene.fetch(&[1]);
    let fetched = start.elapsed();
    let start = Instant::now();
    let Merge::Tree(tree) = scene.pulls.merge(&base, &heads[&1]).unwrap() else { panic!() };
    let merged = start.elapsed();
    let start = Instant::now();
    let mut beside = known.clone();
    let blobs = scene.pulls.blobs().unwrap();
    let revision = heads[&1].parse().unwrap();
    let snapshot = snapshot_of_tree(&blobs, &tree, revision, &mut beside, &chart(), &BTreeMap::new);
    let after = snapshot.unwrap().unwrap();
    println!("branch and head fetched {fetched:?}, merged {merged:?}, read {:?}", start.elapsed());
    assert_eq!(beside.parsed(), 2);
    let changed: Vec<_> = after
        .stores
        .iter()
        .filter(|(id, entry)| {
            !std::sync::Arc::ptr_eq(before.stores[*id].accepted().unwrap(), entry.accepted().unwrap())
        })
        .map(|(id, _)| id.to_string())
        .collect();
    assert_eq!(changed, ["s500", "s7"]);
    assert_eq!(read(&scene, &base, &mut known).1, 1, "the branch's own reading knows nothing of it");
}

fn read(scene: &Scene, commit: &str, known: &mut KnownFiles) -> (Snapshot, usize) {
    let tree = git(&scene.origin.bare, &["rev-parse", &format!("{commit}^{{tree}}")]);
    let blobs = scene.mirror.blobs().unwrap();
    let snapshot = snapshot_of_tree(&blobs, &tree, commit.parse().unwrap(), known, &chart(), &BTreeMap::new);
    (snapshot.unwrap().unwrap(), known.parsed())
}
