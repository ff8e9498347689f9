//! Promise: charts that Helm itself pushed to a real registry and a real Helm repository are fetched, with and without a
//! login.
//!
//! Needs the real Helm and a real Gitea; `make test` provides them.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use reqwest::{Certificate, Client, Method};
use serde_json::json;
use sha2::{Digest, Sha256};
use storekeeper::chart_source::{ChartFetchSettings, ChartFetcher, ChartSourceError, Fetched};
use storekeeper::store::ChartSource;
use tempfile::TempDir;

mod common;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;
use common::repository::{Repository, git};
use common::required_path;
use gitea::{Account, Gitea};

/// A Gitea with packages, and a chart that Helm packed.
struct Scene {
    gitea: Arc<Gitea>,
    folder: TempDir,
    archive: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        // The server's first section of that name says that there are none.
        let gitea = Gitea::start_with("[packages]\nENABLED = true\n", None);
        let folder = tempfile::tempdir().unwrap();
        let scene = Self { gitea, folder, archive: Vec::new() };
        scene.helm(&["create", "shop"]);
        scene.helm(&["package", "shop", "--version", "1.2.3"]);
        Self { archive: fs::read(scene.path().join("shop-1.2.3.tgz")).unwrap(), ..scene }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn host(&self) -> String {
        self.gitea.url("").trim_start_matches("https://").to_owned()
    }

    /// Runs Helm and returns what it prints.
    fn helm(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(required_path("STOREKEEPER_HELM"));
        command.args(arguments).current_dir(self.path()).env("HOME", self.path());
        let output = command.env("HELM_REGISTRY_CONFIG", self.path().join("pushing.json")).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "helm {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap() + &error
    }

    fn write_login(&self, name: &str, account: &Account, password: &str) {
        let file = json!({ "auths": { self.host(): { "username": account.name, "password": password } } });
        fs::write(self.path().join(name), file.to_string()).unwrap();
    }

    /// Lets Helm push the chart to the registry and returns its source.
    fn push(&self, account: &Account) -> ChartSource {
        self.write_login("pushing.json", account, &account.password);
        let target = format!("oci://{}/{}", self.host(), account.name);
        let ca = self.gitea.ca_file();
        let said = self.helm(&["push", "shop-1.2.3.tgz", &target, "--ca-file", ca.to_str().unwrap()]);
        let digest = said.split("Digest: ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        let reference = format!("{target}/shop");
        ChartSource::Oci { reference, version: "1.2.3".to_owned(), digest }
    }

    /// Uploads the chart as Gitea's Helm repository wants it.
    fn upload(&self, url: &str, account: &Account) {
        let authority = Certificate::from_pem(&fs::read(self.gitea.ca_file()).unwrap()).unwrap();
        let client = Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
        let request = client.post(url).basic_auth(&account.name, Some(&account.password));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let answer = runtime.block_on(request.body(self.archive.clone()).send()).unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    fn settings(&self, cache: &str) -> ChartFetchSettings {
        let allowed = [format!("oci://{}/", self.host()), format!("https://{}/api/packages/", self.host())];
        let mut settings = ChartFetchSettings::new(&self.path().join(cache));
        settings.allowed = allowed.iter().map(|source| source.parse().unwrap()).collect();
        settings.ca_file = Some(self.gitea.ca_file());
        settings.failure_memory = std::time::Duration::ZERO;
        settings
    }

    fn assert_comes(&self, settings: ChartFetchSettings, source: &ChartSource) {
        match fetch(settings, source) {
            Ok(fetched) => assert_eq!(fetched, Fetched::Archive(Arc::new(self.archive.clone()))),
            Err(error) => panic!("failed to {error}"),
        }
    }

    /// Nobody but its owner sees what a private user has.
    fn private_account(&self, name: &str) -> Account {
        let account = self.gitea.account(name);
        let body = json!({ "login_name": name, "source_id": 0, "visibility": "private" });
        self.gitea.done(&self.gitea.admin, Method::PATCH, &format!("/admin/users/{name}"), &body);
        account
    }
}

fn fetch(settings: ChartFetchSettings, source: &ChartSource) -> Result<Fetched, ChartSourceError> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fetcher = ChartFetcher::new(settings, Arc::new(|| 1)).unwrap();
    runtime.block_on(fetcher.fetch(source))
}

#[test]
fn a_chart_that_helm_pushed_to_a_registry_comes_with_and_without_a_login() {
    let scene = Scene::new();
    let (open, closed) = (scene.gitea.account("open"), scene.private_account("closed"));
    scene.assert_comes(scene.settings("open"), &scene.push(&open));
    let source = scene.push(&closed);
    let mut settings = scene.settings("closed");
    let error = fetch(settings.clone(), &source).unwrap_err();
    assert!(matches!(error, ChartSourceError::LoginRefused { .. }), "{error}");
    settings.credentials_file = Some(scene.path().join("login.json"));
    scene.write_login("login.json", &closed, "canary-wrong");
    let error = fetch(settings.clone(), &source).unwrap_err();
    assert!(matches!(error, ChartSourceError::LoginRefused { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    scene.write_login("login.json", &closed, &closed.password);
    scene.assert_comes(settings.clone(), &source);
    // From then on nobody is asked.
    scene.gitea.stop();
    scene.assert_comes(settings, &source);
}

#[test]
fn a_chart_of_a_helm_repository_with_a_login_comes() {
    let scene = Scene::new();
    let closed = scene.private_account("closed");
    let url = scene.gitea.url("/api/packages/closed/helm");
    scene.upload(&format!("{url}/api/charts"), &closed);
    let digits = Sha256::digest(&scene.archive);
    let digest = digits.iter().fold("sha256:".to_owned(), |digits, byte| digits + &format!("{byte:02x}"));
    let (name, version) = ("shop".to_owned(), "1.2.3".to_owned());
    let source = ChartSource::Repository { url, name, version, digest };
    let mut settings = scene.settings("cache");
    assert!(fetch(settings.clone(), &source).is_err(), "nobody sees it without a login");
    settings.credentials_file = Some(scene.path().join("login.json"));
    scene.write_login("login.json", &closed, &closed.password);
    scene.assert_comes(settings, &source);
}

#[test]
fn a_chart_in_a_repository_of_a_forge_comes_at_a_commit_that_is_no_branchs() {
    let scene = Scene::new();
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path());
    repository.write("charts/shop/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n");
    let owner = scene.private_account("closed");
    let commit = repository.push("first");
    let project = scene.gitea.project(&owner, "charts", &repository.checkout);
    repository.write("charts/shop/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 2.0.0\n");
    git(&repository.checkout, &["commit", "--quiet", "--all", "--message", "second"]);
    project.push_to("main");
    let mut settings = scene.settings("cache");
    settings.allowed = vec![format!("git+https://{}/closed/", scene.host()).parse().unwrap()];
    settings.credentials_file = Some(scene.path().join("login.json"));
    scene.write_login("login.json", &owner, &owner.password);
    let path = "charts/shop".to_owned();
    let source = ChartSource::Git { url: project.url(), revision: commit, path };
    match fetch(settings, &source) {
        Ok(Fetched::Files(files)) => {
            assert_eq!(files["Chart.yaml"], b"apiVersion: v2\nname: shop\nversion: 1.0.0\n");
        }
        other => panic!("{other:?}"),
    }
}
