//! A [`World`] whose repository lies on a real Gitea, and a daemon that tells that Gitea what becomes of commits and pull
//! requests.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::common::daemon::Daemon;
use crate::common::{World, until};
use crate::gitea::{DAEMON_SCOPES, Gitea, Project, secret};

pub struct ForgeWorld {
    pub world: World,
    pub gitea: Arc<Gitea>,
    pub project: Project,
    /// Of the API server that daemons talk to.
    pub kubeconfig: PathBuf,
    hook_secret: String,
}

impl ForgeWorld {
    /// Makes a world on the Gitea that tests of this process share.
    pub fn new() -> Self {
        Self::on(Gitea::shared())
    }

    /// Makes a world on this Gitea.
    pub fn on(gitea: Arc<Gitea>) -> Self {
        let world = World::new();
        let owner = gitea.account(&format!("o-{}", world.prefix));
        let project = gitea.project(&owner, "stores", &world.repository.checkout);
        let token = gitea.token(&owner, &DAEMON_SCOPES);
        fs::write(world.folder.path().join("token"), token).unwrap();
        let hook_secret = secret();
        fs::write(world.folder.path().join("hook-secret"), &hook_secret).unwrap();
        let kubeconfig = world.cluster.kubeconfig.clone();
        Self { world, gitea, project, kubeconfig, hook_secret }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.world.folder.path().join(name)
    }

    /// Starts a daemon that polls once an hour, so that what it sees soon a webhook told; the arguments are further ones.
    pub fn start_daemon(&self, more: &[&str]) -> Daemon {
        self.start_daemon_on("127.0.0.1:0", &["--poll-seconds", "3600"], more)
    }

    /// Starts a daemon on an address.
    pub fn start_daemon_on(&self, listen: &str, polling: &[&str], more: &[&str]) -> Daemon {
        let (token, secret) = (self.file("token"), self.file("hook-secret"));
        let (token, secret) = (token.to_str().unwrap(), secret.to_str().unwrap());
        let (ca, api, name) = (self.gitea.ca_file(), self.gitea.url("/api/v1"), self.project.full_name());
        let ca = ca.to_str().unwrap();
        let forge = [
            ["--probe", "objects"],
            ["--forge", "gitea"],
            ["--forge-api", &api],
            ["--forge-repository", &name],
            ["--forge-token-file", token],
            ["--forge-ca-file", ca],
            ["--git-token-file", token],
            ["--git-ca-file", ca],
            ["--hook-secret-file", secret],
            ["--public-url", "https://keeper.example.com"],
        ];
        let arguments = [&forge.concat()[..], polling, more].concat();
        let (world, url) = (&self.world, self.project.url());
        let folder = world.folder.path();
        Daemon::start_on(listen, folder, &url, &world.source, &self.kubeconfig, &arguments)
    }

    /// Opens a pull request that adds a store or changes its display name, from a branch named like it. Returns its number and
    /// its head.
    pub fn propose(&self, name: &str, display_name: &str) -> (u64, String) {
        self.project.begin(name);
        self.world.write_store(name, display_name);
        let head = self.project.push(name, display_name);
        (self.project.open(&self.project.owner, name, display_name), head)
    }

    /// Has the forge deliver pushes and pull requests to a daemon.
    pub fn hook(&self, daemon: &Daemon) -> u64 {
        let url = format!("http://{}/hooks/gitea", daemon.address);
        self.project.hook(&url, &self.hook_secret, &["push", "pull_request"])
    }

    /// Keeps a store from being made, by a namespace of its name that somebody else made, until the returned is dropped.
    pub fn hold_back(&self, name: &str) -> HeldBack<'_> {
        let namespace = self.world.namespace(name);
        self.world.cluster.create_namespace(&namespace, &json!({}));
        HeldBack { world: &self.world, namespace }
    }

    /// Returns the context of a store's status.
    pub fn context(&self, name: &str) -> String {
        format!("storekeeper/{}", self.world.store(name))
    }

    /// Waits until a commit's status has this state, and returns the status.
    pub fn until(&self, commit: &str, context: &str, state: &str) -> Value {
        self.project.until_status(commit, context, state)
    }

    /// Returns the states that a context of a commit went through, the oldest first.
    pub fn states(&self, commit: &str, context: &str) -> Vec<String> {
        let mut all = self.project.status_history(commit);
        all.retain(|status| status["context"] == context);
        all.sort_by_key(|status| status["id"].as_u64());
        all.iter().map(|status| status["status"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until our only comment on a pull request holds these words, and returns it.
    pub fn until_comment(&self, number: u64, words: &[&str]) -> Value {
        let mut last = Vec::new();
        until(&format!("a comment on {number} with {words:?}, not {last:?}"), || {
            last = self.project.comments(number);
            let found = last.iter().find(|it| {
                let body = it["body"].as_str().unwrap_or_default();
                body.starts_with("<!-- storekeeper") && words.iter().all(|word| body.contains(word))
            });
            found.cloned()
        })
    }
}

/// A store that can't be made.
pub struct HeldBack<'a> {
    world: &'a World,
    namespace: String,
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.world.cluster.delete_namespace(&self.namespace);
    }
}
