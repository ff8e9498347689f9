//! A repository to fetch from, made by the real git in a folder that goes with the test.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use storekeeper::git::{Mirror, RemoteUrl, SourceSettings};
use tempfile::TempDir;

/// A bare repository and a working copy that pushes to it.
pub struct Origin {
    pub folder: TempDir,
    pub bare: PathBuf,
    pub work: PathBuf,
}

#[allow(dead_code, reason = "each test file uses some of it")]
impl Origin {
    /// Makes a bare repository without any commit.
    pub fn empty() -> Self {
        let folder = TempDir::new().unwrap();
        let (bare, work) = (folder.path().join("stores.git"), folder.path().join("work"));
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "stores.git"]);
        git(folder.path(), &["init", "-q", "-b", "main", "work"]);
        git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
        Self { folder, bare, work }
    }

    /// Makes a repository with one store file on `main`.
    pub fn with_a_store() -> Self {
        let origin = Self::empty();
        origin.push(&[("stores/acme.yaml", "host: acme.example.com\n")]);
        origin
    }

    /// Commits files and pushes. Returns the commit.
    pub fn push(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.work.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        git(&self.work, &["add", "-A"]);
        self.push_index()
    }

    /// Commits what is staged and pushes. Returns the commit.
    pub fn push_index(&self) -> String {
        git(&self.work, &["commit", "-q", "--allow-empty", "-m", "change"]);
        git(&self.work, &["push", "-q", "--force", "origin", "HEAD:main"]);
        git(&self.work, &["rev-parse", "HEAD"])
    }

    /// Makes `main` of the bare repository a commit of a tree, given as text for `git mktree`.
    pub fn commit_tree(&self, tree: &str) -> String {
        let commit = git(&self.bare, &["commit-tree", "-m", "made by hand", tree]);
        git(&self.bare, &["update-ref", "refs/heads/main", &commit]);
        commit
    }

    /// Writes an object into the bare repository, without the checks that git makes. Returns its id.
    pub fn write_object(&self, kind: &str, bytes: &[u8]) -> String {
        git_with_input(&self.bare, &["hash-object", "-t", kind, "-w", "--stdin", "--literally"], bytes)
    }

    pub fn settings(&self) -> SourceSettings {
        SourceSettings::new(self.bare.to_str().unwrap().parse::<RemoteUrl>().unwrap(), "main")
    }

    pub fn mirror_folder(&self) -> PathBuf {
        self.folder.path().join("mirror")
    }

    pub fn mirror(&self) -> Mirror {
        Mirror::open(&self.mirror_folder(), self.settings()).unwrap()
    }
}

/// Runs git, without any configuration of the user, and returns what it printed.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    git_with_input(folder, arguments, b"")
}

pub fn git_with_input(folder: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")])
        .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.com")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git must be installed (Debian package git)");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
