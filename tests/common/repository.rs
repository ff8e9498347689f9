//! A bare repository and a checkout of it, driven by the real git command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Repository {
    pub bare: PathBuf,
    pub checkout: PathBuf,
}

impl Repository {
    /// Makes an empty bare repository with a checkout of branch `main`.
    pub fn new(folder: &Path) -> Self {
        let repository = Self { bare: folder.join("fleet.git"), checkout: folder.join("checkout") };
        fs::create_dir_all(&repository.bare).unwrap();
        git(&repository.bare, &["init", "--quiet", "--bare", "--initial-branch=main"]);
        fs::create_dir_all(&repository.checkout).unwrap();
        git(&repository.checkout, &["init", "--quiet", "--initial-branch=main"]);
        git(&repository.checkout, &["remote", "add", "origin", &repository.url()]);
        repository
    }

    pub fn url(&self) -> String {
        self.bare.to_str().unwrap().to_owned()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.checkout.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.checkout.join(path)).unwrap();
    }

    /// Commits everything, pushes, and returns the commit.
    pub fn push(&self, message: &str) -> String {
        git(&self.checkout, &["add", "--all"]);
        git(&self.checkout, &["commit", "--quiet", "--allow-empty", "--message", message]);
        git(&self.checkout, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
        git(&self.checkout, &["rev-parse", "HEAD"])
    }
}

/// Runs git without the user's configuration and returns what it prints.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        // Stronger than the repository's own configuration.
        .env_remove("GIT_SSL_CAINFO")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
