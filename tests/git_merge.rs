//! Merging in memory gives what real git gives, on hundreds of made-up histories.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use storekeeper::git::{Merge, Pulls, RemoteUrl, SourceSettings};

#[path = "common/git_origin.rs"]
mod git_origin;
use git_origin::{git, git_with_input};

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

type Tree = BTreeMap<&'static str, (&'static str, String)>;

/// Paths that get in each other's way: files that are folders elsewhere.
const PATHS: [&str; 8] = ["a", "a/x", "a/y/z", "b", "d/a", "d/b", "d/e/f", "z"];

fn change(tree: &mut Tree, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let path = PATHS[numbers.below(PATHS.len())];
        if numbers.below(4) == 0 {
            tree.remove(path);
            continue;
        }
        // A path can't be a file and a folder.
        let inside =
            |other: &str, path: &str| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        tree.retain(|other, _| !inside(other, path) && !inside(path, other));
        let mode = ["100644", "100644", "100644", "100755", "120000"][numbers.below(5)];
        let before = tree.get(path).map(|(_, text)| text.clone());
        let mut lines: Vec<_> = match &before {
            Some(text) => text.lines().map(str::to_owned).collect(),
            // Each path has words of its own: git follows renames, even where it is told not to.
            None => (0..12).map(|line| format!("{path} {}", line * path.len())).collect(),
        };
        let line = numbers.below(lines.len());
        lines[line] = format!("{path} is {}", numbers.below(3));
        tree.insert(path, (mode, format!("{}\n", lines.join("\n"))));
    }
}

/// Makes a history of so many commits, each with up to two parents among those before it.
fn history(repository: &Path, numbers: &mut Numbers, commits: usize) {
    let (mut stream, mut trees) = (String::new(), Vec::<Tree>::new());
    for number in 0..commits {
        // Two lanes that take over each other's commits of a while ago, now and then.
        let mut parents: Vec<_> =
            [number.checked_sub(2), number.checked_sub(3)].into_iter().flatten().collect();
        parents.truncate(1 + usize::from(numbers.below(2) == 0));
        if number == 1 {
            parents.push(0);
        }
        let mut tree = parents.first().map(|parent| trees[*parent].clone()).unwrap_or_default();
        if number == 0 {
            for _ in 0..6 {
                change(&mut tree, numbers);
            }
        }
        change(&mut tree, numbers);
        writeln!(stream, "commit refs/heads/c{number}\nmark :{}", number + 1).unwrap();
        writeln!(stream, "committer Ada <ada@example.com> {} +0000\ndata 1\nx", 1_700_000_000 + number)
            .unwrap();
        for (place, parent) in parents.iter().enumerate() {
            writeln!(stream, "{} :{}", if place == 0 { "from" } else { "merge" }, parent + 1).unwrap();
        }
        writeln!(stream, "deleteall").unwrap();
        for (path, (mode, text)) in &tree {
            writeln!(stream, "M {mode} inline {path}\ndata {}\n{text}", text.len()).unwrap();
        }
        trees.push(tree);
    }
    git_with_input(repository, &["fast-import", "--quiet"], stream.as_bytes());
}

/// Returns the tree that git's own merge gives, none when it conflicts.
fn by_git(repository: &Path, base: &str, head: &str) -> Option<String> {
    let output = Command::new("git")
        .current_dir(repository)
        .args(["merge-tree", "--write-tree", base, head])
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .output()
        .unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| text.trim().to_owned())
}

#[test]
fn a_merge_in_memory_gives_what_git_gives_and_conflicts_where_git_does() {
    let folder = tempfile::tempdir().unwrap();
    let (mut trees, mut conflicts, mut crossings, mut others) = (0, 0, 0, 0);
    for seed in 0..24 {
        let mirror = folder.path().join(format!("mirror{seed}"));
        let repository = mirror.join("repository");
        fs::create_dir_all(&repository).unwrap();
        git(&repository, &["init", "-q", "--bare", "."]);
        let mut numbers = Numbers(seed);
        let commits = 14;
        history(&repository, &mut numbers, commits);
        let url: RemoteUrl = repository.to_str().unwrap().parse().unwrap();
        let settings = SourceSettings::new(url, "main");
        let pulls = Pulls::open(&folder.path().join(format!("pulls{seed}")), settings, &mirror).unwrap();
        let id = |number: usize| git(&repository, &["rev-parse", &format!("c{number}")]);
        let ids: Vec<_> = (0..commits).map(id).collect();
        for _ in 0..24 {
            let (base, head) = (&ids[numbers.below(commits)], &ids[numbers.below(commits)]);
            let ancestors = git(&repository, &["merge-base", "--all", base, head]).lines().count();
            crossings += usize::from(ancestors > 1);
            let expected = by_git(&repository, base, head);
            // Over criss-cross histories git and this may guess differently whether it is a conflict, never at what
            // comes out.
            let clear = ancestors == 1;
            match (pulls.merge(base, head), &expected) {
                (Ok(Merge::Tree(tree)), Some(expected)) => {
                    assert_eq!(tree, *expected, "seed {seed}, {base} and {head}, {ancestors} ancestors");
                    trees += 1;
                }
                (Ok(Merge::Conflicts(_)), None) => conflicts += 1,
                (Ok(Merge::Tree(_) | Merge::Conflicts(_)), _) if !clear => others += 1,
                (Ok(Merge::AlreadyIn), _) => {
                    let tree = git(&repository, &["rev-parse", &format!("{base}^{{tree}}")]);
                    assert_eq!(Some(tree), expected);
                }
                (merged, _) => panic!("seed {seed}, {base} and {head}: {merged:?}, git says {expected:?}"),
            }
        }
    }
    println!("{trees} merges, {conflicts} conflicts, {crossings} criss-cross with {others} other opinions");
    assert!(trees > 50 && conflicts > 30 && crossings > 20, "{trees}, {conflicts}, {crossings}");
    assert!(others * 10 < crossings, "{others} of {crossings}");
}
