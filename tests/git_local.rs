//! A mirror follows a repository and gives the files of a commit, whatever the repository holds and whatever
//! happened to the mirror.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Instant;

use storekeeper::git::{GitError, Mirror, ReadLimits, RemoteUrl, SourceSettings};
use storekeeper::store::FileContent;

#[path = "common/git_origin.rs"]
mod git_origin;
use git_origin::{Origin, git, git_with_input};

fn read_all(mirror: &Mirror, commit: &str) -> BTreeMap<String, FileContent> {
    mirror.read(commit, &|_| true, &ReadLimits::default()).unwrap()
}

fn bytes(text: &str) -> FileContent {
    FileContent::Bytes(text.as_bytes().to_vec())
}

fn reason(files: &BTreeMap<String, FileContent>, path: &str) -> String {
    match &files[path] {
        FileContent::Unreadable(reason) => reason.clone(),
        FileContent::Bytes(_) => panic!("{path} must be unreadable"),
    }
}

#[test]
fn a_push_is_fetched_and_its_files_are_read() {
    let origin = Origin::with_a_store();
    let mirror = origin.mirror();
    assert_eq!(mirror.head().unwrap(), None);
    let first = mirror.fetch().unwrap();
    assert!(first.changed && !first.forced);
    assert_eq!(
        read_all(&mirror, &first.commit),
        [("stores/acme.yaml".into(), bytes("host: acme.example.com\n"))].into()
    );

    let again = mirror.fetch().unwrap();
    assert!(!again.changed && !again.forced && again.commit == first.commit);

    let commit = origin.push(&[("stores/birch.yaml", "b"), ("docs/readme.md", "x"), ("top", "t")]);
    let second = mirror.fetch().unwrap();
    assert!(second.changed && !second.forced);
    assert_eq!(second.commit, commit);
    assert_eq!(mirror.head().unwrap(), Some(commit.clone()));
    let wanted = mirror.read(&commit, &|path| path.starts_with("stores/"), &ReadLimits::default()).unwrap();
    assert_eq!(wanted.keys().collect::<Vec<_>>(), ["stores/acme.yaml", "stores/birch.yaml"]);
    assert_eq!(read_all(&mirror, &first.commit).len(), 1, "an older commit stays readable as it was");
}

#[test]
fn a_forced_push_is_followed_and_the_last_good_commit_outlives_its_history() {
    let origin = Origin::with_a_store();
    let mirror = origin.mirror();
    let good = mirror.fetch().unwrap().commit;
    mirror.mark_good(&good).unwrap();

    git(&origin.work, &["checkout", "-q", "--orphan", "other"]);
    let commit = origin.push(&[("stores/birch.yaml", "b")]);
    git(&origin.bare, &["reflog", "expire", "--expire=now", "--all"]);
    git(&origin.bare, &["gc", "-q", "--prune=now"]);
    let head = mirror.fetch().unwrap();
    assert!(head.changed && head.forced);
    assert_eq!(head.commit, commit);

    drop(mirror);
    let mirror = origin.mirror();
    assert_eq!(mirror.last_good().unwrap(), Some(good.clone()));
    assert_eq!(mirror.head().unwrap(), Some(commit));
    assert_eq!(read_all(&mirror, &good).len(), 1);
}

#[test]
fn a_missing_branch_an_empty_repository_and_a_lost_one_are_errors_that_leave_the_mirror_as_it_was() {
    let origin = Origin::empty();
    let mirror = origin.mirror();
    let error = mirror.fetch().unwrap_err();
    assert!(matches!(error, GitError::EmptyRepository { .. }), "{error}");
    drop(mirror);

    origin.push(&[("stores/acme.yaml", "a")]);
    let mirror = origin.mirror();
    let good = mirror.fetch().unwrap().commit;
    mirror.mark_good(&good).unwrap();
    git(&origin.bare, &["update-ref", "refs/heads/next", &good]);
    git(&origin.bare, &["update-ref", "-d", "refs/heads/main"]);
    let error = mirror.fetch().unwrap_err();
    assert!(matches!(error, GitError::BranchMissing { .. }), "{error}");
    assert!(
        error.to_string().ends_with("branch `main` does not exist; the repository has `next`"),
        "{error}"
    );

    fs::remove_dir_all(&origin.bare).unwrap();
    let error = mirror.fetch().unwrap_err();
    assert!(matches!(error, GitError::RepositoryMissing { .. }), "{error}");
    assert_eq!(mirror.last_good().unwrap(), Some(good.clone()));
    assert_eq!(mirror.head().unwrap(), Some(good.clone()));
    assert_eq!(read_all(&mirror, &good).len(), 1);
}

#[test]
fn a_commit_with_an_empty_tree_has_no_files() {
    let origin = Origin::with_a_store();
    git(&origin.work, &["rm", "-q", "-r", "."]);
    let commit = origin.push_index();
    let mirror = origin.mirror();
    assert_eq!(mirror.fetch().unwrap().commit, commit);
    assert!(read_all(&mirror, &commit).is_empty());
}

#[test]
fn links_submodules_large_files_and_lfs_pointers_are_named_and_not_followed() {
    let origin = Origin::with_a_store();
    std::os::unix::fs::symlink("/etc/passwd", origin.work.join("stores/link.yaml")).unwrap();
    std::os::unix::fs::symlink("../..", origin.work.join("stores/folder")).unwrap();
    let commit = git(&origin.work, &["rev-parse", "HEAD"]);
    let submodule = format!("160000,{commit},stores/module.yaml");
    origin.push(&[
        ("stores/large.yaml", &"x".repeat(300 * 1024)),
        ("stores/lfs.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
        ("stores/fits.yaml", &"x".repeat(256 * 1024)),
    ]);
    git(&origin.work, &["update-index", "--add", "--cacheinfo", &submodule]);
    let commit = origin.push_index();
    let mirror = origin.mirror();
    mirror.fetch().unwrap();
    let files = read_all(&mirror, &commit);
    assert_eq!(reason(&files, "stores/link.yaml"), "a symbolic link, which is not followed");
    assert_eq!(reason(&files, "stores/folder"), "a symbolic link, which is not followed");
    assert_eq!(reason(&files, "stores/module.yaml"), "a submodule, which is not fetched");
    assert_eq!(reason(&files, "stores/large.yaml"), "300 KiB, larger than the limit of 256 KiB");
    assert!(reason(&files, "stores/lfs.yaml").starts_with("a Git LFS pointer"));
    assert!(matches!(&files["stores/fits.yaml"], FileContent::Bytes(bytes) if bytes.len() == 256 * 1024));
    assert_eq!(files["stores/acme.yaml"], bytes("host: acme.example.com\n"));
}

#[test]
fn names_that_only_a_hand_made_tree_can_hold_are_not_read() {
    let origin = Origin::with_a_store();
    let blob = origin.write_object("blob", b"evil");
    let raw: Vec<u8> =
        (0..40).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap()).collect();
    let mut tree = Vec::new();
    for name in
        [&b".."[..], b".git", b"a/b.yaml", b"c.yaml", b"c.yaml", b"d\n.yaml", b"e\xff.yaml", b"f.yaml"]
    {
        tree.extend_from_slice(b"100644 ");
        tree.extend_from_slice(name);
        tree.push(0);
        tree.extend_from_slice(&raw);
    }
    let tree = origin.write_object("tree", &tree);
    let commit = origin.commit_tree(&tree);
    let mirror = origin.mirror();
    mirror.fetch().unwrap();
    let files = read_all(&mirror, &commit);
    assert_eq!(files["f.yaml"], bytes("evil"));
    assert_eq!(reason(&files, "c.yaml"), "listed more than once in the commit's tree");
    for name in ["..", ".git", "a/b.yaml", "d\\n.yaml", "e\u{fffd}.yaml"] {
        reason(&files, name);
    }
    assert_eq!(files.len(), 7);
}

#[test]
fn reads_stop_at_their_limits() {
    let origin = Origin::empty();
    let commit = origin.push(&[("a/b/c/deep.yaml", "deep"), ("a/flat.yaml", "flat"), ("top.yaml", "top")]);
    let mirror = origin.mirror();
    mirror.fetch().unwrap();
    let read = |limits: ReadLimits| mirror.read(&commit, &|_| true, &limits);
    let files = read(ReadLimits { max_depth: 2, ..ReadLimits::default() }).unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["a/b/c", "a/flat.yaml", "top.yaml"]);
    assert!(reason(&files, "a/b/c").starts_with("a folder inside 2 others"));
    for (limits, message) in [
        (ReadLimits { max_files: 2, ..ReadLimits::default() }, "it holds more than 2 files"),
        (ReadLimits { max_entries: 5, ..ReadLimits::default() }, "it holds more than 5 entries"),
        (
            ReadLimits { max_total_bytes: 10, ..ReadLimits::default() },
            "its files hold more than the limit of 10 bytes",
        ),
    ] {
        let error = read(limits).unwrap_err().to_string();
        assert_eq!(error, format!("read commit {commit}: {message}"));
    }
}

#[test]
fn a_tree_that_unfolds_without_end_is_given_up() {
    let origin = Origin::with_a_store();
    let blob = origin.write_object("blob", b"x");
    let mut tree = git_with_input(&origin.bare, &["mktree"], format!("100644 blob {blob}\tx\n").as_bytes());
    for _ in 0..8 {
        let lines: Vec<_> = (0..10).map(|n| format!("040000 tree {tree}\td{n}\n")).collect();
        tree = git_with_input(&origin.bare, &["mktree"], lines.concat().as_bytes());
    }
    let commit = origin.commit_tree(&tree);
    let mirror = origin.mirror();
    mirror.fetch().unwrap();
    let limits = ReadLimits { max_files: usize::MAX, ..ReadLimits::default() };
    let error = mirror.read(&commit, &|_| true, &limits).unwrap_err();
    assert!(matches!(error, GitError::TooMany { limit: 500_000, .. }), "{error}");
}

#[test]
fn only_a_full_commit_id_is_read() {
    let origin = Origin::with_a_store();
    let mirror = origin.mirror();
    let commit = mirror.fetch().unwrap().commit;
    let tree = git(&origin.bare, &["rev-parse", "main^{tree}"]);
    for id in ["", "main", "HEAD", &commit[..10], &"0".repeat(40), &tree, "../../etc/passwd", "a\nb"] {
        let error = mirror.read(id, &|_| true, &ReadLimits::default()).unwrap_err();
        assert!(matches!(error, GitError::CommitMissing { .. }), "{id}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
    assert!(mirror.mark_good(&"0".repeat(40)).is_err());
}

#[test]
fn a_damaged_mirror_is_fetched_anew_and_keeps_its_last_good_commit() {
    let origin = Origin::with_a_store();
    let mirror = origin.mirror();
    let first = mirror.fetch().unwrap().commit;
    mirror.mark_good(&first).unwrap();
    let commit = origin.push(&[("stores/birch.yaml", "b")]);
    mirror.fetch().unwrap();
    damage_packs(&origin);

    let error = mirror.read(&commit, &|_| true, &ReadLimits::default()).unwrap_err();
    assert!(matches!(error, GitError::Corrupt { .. }) && error.is_transient(), "{error}");
    let head = mirror.fetch().unwrap();
    assert_eq!((head.commit.as_str(), head.changed), (commit.as_str(), false));
    assert_eq!(read_all(&mirror, &commit).len(), 2);
    assert_eq!(mirror.last_good().unwrap(), Some(first));
}

#[test]
fn a_mirror_in_many_pieces_is_fetched_anew_and_keeps_a_last_good_commit_that_the_remote_forgot() {
    let origin = Origin::with_a_store();
    let mirror = origin.mirror();
    let good = mirror.fetch().unwrap().commit;
    mirror.mark_good(&good).unwrap();
    git(&origin.work, &["checkout", "-q", "--orphan", "other"]);
    origin.push(&[("stores/birch.yaml", "b")]);
    git(&origin.bare, &["reflog", "expire", "--expire=now", "--all"]);
    git(&origin.bare, &["gc", "-q", "--prune=now"]);
    mirror.fetch().unwrap();
    let packs = origin.mirror_folder().join("repository/objects/pack");
    for number in 0..70 {
        fs::write(packs.join(format!("pack-{number:040}.pack")), "").unwrap();
    }
    // News first: whoever pushed waits for it, and tidying up has time.
    let commit = origin.push(&[("stores/cedar.yaml", "c")]);
    let head = mirror.fetch().unwrap();
    assert_eq!((head.commit.as_str(), head.changed), (commit.as_str(), true));
    assert!(fs::read_dir(&packs).unwrap().count() > 70, "the packs are as they were");
    let head = mirror.fetch().unwrap();
    assert_eq!((head.commit.as_str(), head.changed, head.forced), (commit.as_str(), false, false));
    assert!(fs::read_dir(&packs).unwrap().count() < 10, "the old packs are gone");
    assert_eq!(mirror.last_good().unwrap(), Some(good.clone()));
    assert_eq!((read_all(&mirror, &good).len(), read_all(&mirror, &commit).len()), (1, 3));
}

#[test]
fn a_mirror_that_was_damaged_while_nobody_used_it_is_made_anew() {
    let origin = Origin::with_a_store();
    let commit = origin.mirror().fetch().unwrap().commit;
    let repository = origin.mirror_folder().join("repository");

    fs::write(repository.join("config"), "\0[[[").unwrap();
    assert_eq!(origin.mirror().fetch().unwrap().commit, commit);

    damage_packs(&origin);
    let mirror = origin.mirror();
    assert_eq!(mirror.fetch().unwrap().commit, commit);
    assert_eq!(read_all(&mirror, &commit).len(), 1);
    drop(mirror);

    fs::remove_dir_all(repository.join("objects")).unwrap();
    assert_eq!(origin.mirror().fetch().unwrap().commit, commit);

    fs::write(repository.join("refs/storekeeper/head"), "no commit\n").unwrap();
    assert_eq!(origin.mirror().fetch().unwrap().commit, commit);
}

fn damage_packs(origin: &Origin) {
    let packs = origin.mirror_folder().join("repository/objects/pack");
    for file in fs::read_dir(packs).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension() == Some(OsStr::new("pack")) {
            let mut permissions = fs::metadata(&file).unwrap().permissions();
            #[allow(clippy::permissions_set_readonly_false, reason = "a file of the test's own")]
            permissions.set_readonly(false);
            fs::set_permissions(&file, permissions).unwrap();
            fs::write(&file, b"PACK").unwrap();
        }
    }
}

#[test]
fn what_a_killed_process_left_does_not_stop_the_next_one() {
    let origin = Origin::with_a_store();
    origin.mirror().fetch().unwrap();
    let repository = origin.mirror_folder().join("repository");
    fs::write(repository.join("refs/storekeeper/head.lock"), "").unwrap();
    fs::write(repository.join("objects/pack/pack_kJ3x9a"), "half").unwrap();
    fs::create_dir_all(origin.mirror_folder().join("repository.incoming/x")).unwrap();
    let commit = origin.push(&[("stores/birch.yaml", "b")]);
    assert_eq!(origin.mirror().fetch().unwrap().commit, commit);
    assert!(!repository.join("objects/pack/pack_kJ3x9a").exists());
    assert!(!origin.mirror_folder().join("repository.incoming").exists());
}

#[test]
fn a_folder_that_is_not_a_mirror_or_is_in_use_is_refused() {
    let origin = Origin::with_a_store();
    let error = Mirror::open(&origin.work, origin.settings()).unwrap_err();
    assert!(matches!(error, GitError::NotOurs { .. }), "{error}");
    let _mirror = origin.mirror();
    let error = Mirror::open(&origin.mirror_folder(), origin.settings()).unwrap_err();
    assert!(matches!(error, GitError::InUse { .. }), "{error}");
}

#[test]
fn the_last_good_commit_of_another_source_is_never_used() {
    let (origin, other) = (Origin::with_a_store(), Origin::with_a_store());
    let mirror = origin.mirror();
    let commit = mirror.fetch().unwrap().commit;
    mirror.mark_good(&commit).unwrap();
    drop(mirror);
    let mirror = Mirror::open(&origin.mirror_folder(), other.settings()).unwrap();
    assert_eq!((mirror.last_good().unwrap(), mirror.head().unwrap()), (None, None));
    drop(mirror);
    let branch = SourceSettings { branch: "next".to_owned(), ..other.settings() };
    let mirror = Mirror::open(&origin.mirror_folder(), branch).unwrap();
    assert_eq!(mirror.last_good().unwrap(), None);
}

#[test]
fn a_branch_name_that_git_would_not_take_is_refused() {
    let origin = Origin::with_a_store();
    for branch in ["", "-x", "a..b", "a b", "*", "a:b", "a\nb", "refs/*", "x.lock", "@{"] {
        let settings = SourceSettings { branch: branch.to_owned(), ..origin.settings() };
        let error = Mirror::open(&origin.mirror_folder(), settings).unwrap_err();
        assert!(matches!(error, GitError::Settings { .. }), "{branch}: {error}");
    }
}

#[test]
fn a_branch_whose_name_is_not_utf_8_does_not_get_in_the_way() {
    let origin = Origin::with_a_store();
    let commit = git(&origin.bare, &["rev-parse", "main"]);
    let name = OsStr::from_bytes(b"refs/heads/a\xff");
    fs::write(origin.bare.join(name), format!("{commit}\n")).unwrap();
    assert_eq!(origin.mirror().fetch().unwrap().commit, commit);
}

#[test]
fn a_repository_with_sha_256_objects_is_refused_with_the_reason() {
    let origin = Origin::with_a_store();
    fs::remove_dir_all(&origin.bare).unwrap();
    git(origin.folder.path(), &["init", "-q", "--bare", "--object-format=sha256", "stores.git"]);
    let error = origin.mirror().fetch().unwrap_err();
    assert!(matches!(error, GitError::UnsupportedFormat { .. }), "{error}");
}

#[test]
fn a_repository_of_another_user_is_refused_with_what_to_do() {
    let origin = Origin::with_a_store();
    // Only root may give a folder away; for anybody else there is nothing to test.
    if std::os::unix::fs::chown(&origin.bare, Some(54_321), None).is_err() {
        return;
    }
    let error = origin.mirror().fetch().unwrap_err();
    assert!(matches!(error, GitError::OwnerDiffers { .. }), "{error}");
    assert!(error.to_string().contains("safe.directory"));
}

#[test]
fn the_git_configuration_of_the_user_is_not_read() {
    let home = tempfile::TempDir::new().unwrap();
    let text = "[url \"file:///nowhere/\"]\n\tinsteadOf = file:///\n[http]\n\tsslVerify = false\n";
    fs::write(home.path().join(".gitconfig"), text).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_push_is_fetched_and_its_files_are_read"])
        .env("HOME", home.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn who_made_a_commit_and_why_is_one_printable_line() {
    let origin = Origin::with_a_store();
    let tree = git(&origin.bare, &["rev-parse", "main^{tree}"]);
    let text = format!(
        "tree {tree}\nauthor E\u{1b}[31mve\u{202e} <e@example.com> 1700000000 +0000\n\
         committer Eve <e@example.com> 1700000000 +0000\n\nopen \u{7}shop{}\n\nbody\n",
        "!".repeat(500)
    );
    let commit = origin.write_object("commit", text.as_bytes());
    git(&origin.bare, &["update-ref", "refs/heads/main", &commit]);
    let mirror = origin.mirror();
    mirror.fetch().unwrap();
    let info = mirror.commit_info(&commit).unwrap();
    assert_eq!(info.author, "E [31mve");
    assert!(
        info.subject.starts_with("open shop!!!") && info.subject.chars().count() <= 161,
        "{}",
        info.subject
    );
    assert_eq!(info.time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_700_000_000);
}

#[test]
fn ten_thousand_stores_are_read_in_a_moment() {
    let origin = Origin::empty();
    let files: Vec<_> = (0..10_000)
        .map(|n| (format!("stores/store-{n}.yaml"), format!("host: store-{n}.example.com\nplan: small\n")))
        .collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let commit = origin.push(&files);
    let mirror = origin.mirror();
    let start = Instant::now();
    mirror.fetch().unwrap();
    let fetched = start.elapsed();
    let start = Instant::now();
    assert_eq!(read_all(&mirror, &commit).len(), 10_000);
    let read = start.elapsed();
    let start = Instant::now();
    assert!(!mirror.fetch().unwrap().changed);
    println!("fetch {fetched:?}, read {read:?}, fetch without change {:?}", start.elapsed());
    assert!(read.as_secs() < 10, "reading took {read:?}");
}

#[test]
fn a_relative_or_remote_url_is_no_local_repository() {
    assert_eq!(
        "/srv/a.git".parse::<RemoteUrl>().unwrap().local_path(),
        Some(std::path::Path::new("/srv/a.git"))
    );
    assert_eq!("https://h/a.git".parse::<RemoteUrl>().unwrap().local_path(), None);
    assert!("a.git".parse::<RemoteUrl>().is_err());
}
