//! Promise: a chart in git is the folder at the pinned commit, over HTTPS and SSH, and is fetched once.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use storekeeper::chart_source::{ChartFetchSettings, ChartFetcher, ChartSourceError, Fetched};
use storekeeper::git::Auth;
use storekeeper::store::ChartSource;

#[path = "common/git_origin.rs"]
mod git_origin;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/git_sshd.rs"]
mod git_sshd;
use git_origin::{Origin, git};
use git_server::{Answer, Identity, Server};
use git_sshd::{Sshd, make_key};

/// The password of the file of credentials, which may be in no message.
const TOKEN: &str = "canary-19ec";

/// What is in the chart.
const CHART: [(&str, &str); 3] = [
    ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\n"),
    ("templates/a.yaml", "a: 1\n"),
    ("charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 1.0.0\n"),
];

/// A repository, a server for it with its authority, and what the operator says.
struct Scene {
    origin: Origin,
    identity: Identity,
    settings: ChartFetchSettings,
    /// With the chart in `charts/shop`.
    commit: String,
}

impl Scene {
    fn new() -> Self {
        let origin = Origin::empty();
        let files = CHART.map(|(path, text)| (format!("charts/shop/{path}"), text));
        let mut files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        files.extend([
            ("charts/shopping/Chart.yaml", "other"),
            ("README.md", "other"),
            ("charts/a", "other"),
        ]);
        let commit = origin.push(&files);
        let authority = Identity::new("Test CA", None, true, &[], 30);
        let identity = Identity::new("localhost", Some(&authority), false, &["localhost", "127.0.0.1"], 30);
        let (ca_file, login) =
            (origin.folder.path().join("ca.pem"), origin.folder.path().join("config.json"));
        authority.write_pem(&ca_file);
        let mut settings = ChartFetchSettings::new(&origin.folder.path().join("cache"));
        settings.ca_file = Some(ca_file);
        settings.credentials_file = Some(login);
        settings.failure_memory = std::time::Duration::ZERO;
        Self { origin, identity, settings, commit }
    }

    /// Serves over HTTPS for whoever has the token, and allows the host.
    fn serve(&mut self) -> Server {
        let root = self.origin.folder.path().to_owned();
        let server = Server::start(&self.identity, &[], Answer::Git { root, token: Some(TOKEN) });
        let host = format!("localhost:{}", server.port);
        self.settings.allowed = vec![format!("git+https://{host}/").parse().unwrap()];
        let file = json!({ "auths": { host: { "username": "x-access-token", "password": TOKEN } } });
        fs::write(self.settings.credentials_file.as_ref().unwrap(), file.to_string()).unwrap();
        server
    }

    async fn fetch(&self, source: &ChartSource) -> Result<Fetched, ChartSourceError> {
        ChartFetcher::new(self.settings.clone(), Arc::new(|| 1)).unwrap().fetch(source).await
    }

    async fn files(&self, source: &ChartSource) -> BTreeMap<String, Vec<u8>> {
        match self.fetch(source).await.unwrap_or_else(|error| panic!("failed to {error}")) {
            Fetched::Files(files) => files.as_ref().clone(),
            Fetched::Archive(_) => panic!("an archive came"),
        }
    }

    async fn error(&self, source: &ChartSource) -> String {
        let error = self.fetch(source).await.expect_err("it must fail");
        assert!(!format!("{error} {error:?}").contains(TOKEN), "{error:?}");
        error.to_string()
    }
}

fn chart() -> BTreeMap<String, Vec<u8>> {
    CHART.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into()
}

fn source(url: &str, revision: &str, path: &str) -> ChartSource {
    ChartSource::Git { url: url.to_owned(), revision: revision.to_owned(), path: path.to_owned() }
}

fn https(server: &Server) -> String {
    format!("https://localhost:{}/stores.git", server.port)
}

#[tokio::test]
async fn a_folder_at_a_commit_comes_over_https_and_then_from_the_cache() {
    let mut scene = Scene::new();
    let server = scene.serve();
    let at_tip = source(&https(&server), &scene.commit, "charts/shop");
    assert_eq!(scene.files(&at_tip).await, chart());
    let asked = server.requests().len();
    assert_eq!(scene.files(&at_tip).await, chart());
    assert_eq!(server.requests().len(), asked, "the second time nobody is asked");
    // No folder of a fetch is left.
    let left: Vec<_> = fs::read_dir(&scene.settings.cache_folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(left.iter().all(|name| name == "sealed" || name == "content"), "{left:?}");
    // The root of a repository, and a folder whose name begins like another's.
    let root = scene.origin.push(&[("Chart.yaml", "root")]);
    let files = scene.files(&source(&https(&server), &root, "")).await;
    assert_eq!(files["Chart.yaml"], b"root");
    assert_eq!(files["charts/shop/templates/a.yaml"], b"a: 1\n");
    let files = scene.files(&source(&https(&server), &root, "/charts/shopping/")).await;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["Chart.yaml"]);
}

#[tokio::test]
async fn a_commit_that_no_branch_is_at_any_more_is_found_whatever_the_server_allows() {
    let mut scene = Scene::new();
    let server = scene.serve();
    let old = scene.commit.clone();
    git(&scene.origin.work, &["tag", "-a", "-m", "v1", "v1"]);
    git(&scene.origin.work, &["push", "-q", "origin", "v1"]);
    scene.origin.push(&[("charts/shop/templates/a.yaml", "a: 2\n")]);
    for allows in ["false", "true"] {
        git(&scene.origin.bare, &["config", "uploadpack.allowReachableSHA1InWant", allows]);
        scene.settings.cache_folder = scene.origin.folder.path().join(format!("cache-{allows}"));
        assert_eq!(scene.files(&source(&https(&server), &old, "charts/shop")).await, chart(), "{allows}");
    }
    let missing = "1".repeat(40);
    let error = scene.error(&source(&https(&server), &missing, "charts/shop")).await;
    assert!(
        error.contains(&format!("fetch commit {missing} of https://localhost:{}/stores.git", server.port)),
        "{error}"
    );
}

#[tokio::test]
async fn a_folder_at_a_commit_comes_over_ssh() {
    let mut scene = Scene::new();
    let folder = scene.origin.folder.path().to_owned();
    let key = make_key(&folder.join("client"), "ed25519", "");
    let server = Sshd::start(&folder, "ed25519", &key);
    let known_hosts = folder.join("known_hosts");
    fs::write(&known_hosts, format!("[127.0.0.1]:{} {}\n", server.port, server.host_key)).unwrap();
    scene.settings.allowed = vec![format!("git+ssh://127.0.0.1:{}/", server.port).parse().unwrap()];
    let url = format!("ssh://{}@127.0.0.1:{}{}", server.user, server.port, scene.origin.bare.display());
    let wanted = source(&url, &scene.commit, "charts/shop");
    let error = scene.error(&wanted).await;
    assert!(error.contains("needs a private key and known_hosts, and none are set"), "{error}");
    scene.settings.git_ssh = Some(Auth::SshKey { private_key: key, passphrase: None, known_hosts });
    assert_eq!(scene.files(&wanted).await, chart());
    // A local repository is no remote one, whatever is allowed.
    let local = source(scene.origin.bare.to_str().unwrap(), &scene.commit, "charts/shop");
    assert!(scene.error(&local).await.contains("fetch the chart"), "{}", scene.error(&local).await);
}

#[tokio::test]
async fn what_is_no_chart_is_refused_with_what_it_is_instead() {
    let mut scene = Scene::new();
    let server = scene.serve();
    let link = scene.origin.work.join("charts/shop/templates/link.yaml");
    symlink("/etc/passwd", &link).unwrap();
    let linked = scene.origin.push(&[("empty/values.yaml", "a: 1")]);
    let url = https(&server);
    for (wanted, words) in [
        (source(&url, &linked, "charts/shop"), "`templates/link.yaml` in charts/shop is a symbolic link"),
        (source(&url, &linked, "empty"), "there is no Chart.yaml in empty at that commit"),
        (source(&url, &linked, "charts/none"), "there is no Chart.yaml in charts/none"),
        (source(&url, "main", "charts/shop"), "its commit is not 40 lower-case hexadecimal digits"),
        (source("ext::sh -c id", &linked, ""), "white space"),
        (source("https://127.0.0.1/stores.git", &linked, ""), "no allowed source"),
    ] {
        let error = scene.error(&wanted).await;
        assert!(error.contains(words), "{words}: {error}");
    }
    scene.settings.max_archive_bytes = 20;
    let error = scene.error(&source(&url, &scene.commit, "charts/shop")).await;
    assert!(error.contains("larger than the limit of 20 bytes"), "{error}");
    scene.settings.max_git_bytes = 100;
    let noise: PathBuf = scene.origin.work.join("noise");
    fs::write(noise, (0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    let large = scene.origin.push(&[("more", "x")]);
    let error = scene.error(&source(&url, &large, "charts/shop")).await;
    assert!(error.contains("it sends more than the limit of 100 bytes"), "{error}");
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_not_shown() {
    let mut scene = Scene::new();
    let server = scene.serve();
    let host = format!("localhost:{}", server.port);
    let file =
        json!({ "auths": { host: { "username": "x-access-token", "password": format!("{TOKEN}-wrong") } } });
    fs::write(scene.settings.credentials_file.as_ref().unwrap(), file.to_string()).unwrap();
    let error = scene.error(&source(&https(&server), &scene.commit, "charts/shop")).await;
    assert!(error.contains("the token was refused"), "{error}");
}
