//! Promise: a chart from elsewhere comes only from where the operator allows, is exactly the pinned one, is fetched once,
//! and nothing that a host does costs more than a bounded error that says what to do.
//!
//! Needs the real Helm for a repository as it makes them; `make test` provides it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use storekeeper::chart_source::{ChartFetchSettings, ChartFetcher, ChartSourceError, Fetched};
use storekeeper::store::ChartSource;
use tempfile::TempDir;

#[path = "common/chart_host.rs"]
mod chart_host;
use chart_host::{Host, Reply, Request};

/// What may be in no message.
const PASSWORD: &str = "canary-77ab";

/// A place for a cache, and what the operator says.
struct Scene {
    folder: TempDir,
    settings: ChartFetchSettings,
}

impl Scene {
    fn allowing(sources: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = ChartFetchSettings {
            allowed: sources.iter().map(|source| source.parse().unwrap()).collect(),
            failure_memory: Duration::ZERO,
            ..ChartFetchSettings::new(&folder.path().join("cache"))
        };
        Self { folder, settings }
    }

    fn fetcher(&self) -> ChartFetcher {
        let time = AtomicI64::new(1);
        let clock = Arc::new(move || time.fetch_add(1, Ordering::Relaxed));
        ChartFetcher::new(self.settings.clone(), clock).unwrap()
    }

    async fn fetch(&self, source: &ChartSource) -> Result<Fetched, ChartSourceError> {
        self.fetcher().fetch(source).await
    }

    async fn archive(&self, source: &ChartSource) -> Vec<u8> {
        match self.fetch(source).await.unwrap_or_else(|error| panic!("failed to {error}")) {
            Fetched::Archive(archive) => archive.to_vec(),
            Fetched::Files(_) => panic!("files came"),
        }
    }

    async fn error(&self, source: &ChartSource) -> String {
        let error = self.fetch(source).await.expect_err("it must fail");
        let text = error.to_string();
        assert!(!format!("{text} {error:?}").contains(PASSWORD), "{error:?}");
        assert!(text.chars().count() < 800, "{text}");
        text
    }

    /// Writes the file of credentials with one login.
    fn log_in(&mut self, host: &str, password: &str) {
        let path = self.folder.path().join("credentials.json");
        let file = json!({ "auths": { host: { "username": "ada", "password": password } } });
        fs::write(&path, file.to_string()).unwrap();
        self.settings.credentials_file = Some(path);
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |digits, byte| digits + &format!("{byte:02x}"))
}

fn repository(url: &str, version: &str, archive: &[u8]) -> ChartSource {
    let (url, name, version) = (url.to_owned(), "shop".to_owned(), version.to_owned());
    ChartSource::Repository { url, name, version, digest: sha256(archive) }
}

/// An index with one version of one chart.
fn index(url: &str, archive: &[u8]) -> Vec<u8> {
    let digest = sha256(archive);
    format!(
        "apiVersion: v1\nentries:\n  shop:\n  - version: 1.2.3\n    digest: {}\n    urls:\n    - {url}\n",
        &digest["sha256:".len()..]
    )
    .into_bytes()
}

/// A repository with one chart, behind answers that may replace its own.
fn host_of(
    archive: &'static [u8],
    instead: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> Host {
    Host::start(move |request| {
        instead(request).unwrap_or_else(|| match request.path.as_str() {
            "/index.yaml" => Reply::Body(index("files/shop.tgz", archive)),
            "/files/shop.tgz" => Reply::Body(archive.to_vec()),
            _ => Reply::Status(404, String::new()),
        })
    })
}

const ARCHIVE: &[u8] = b"an archive, as far as digests know";

#[tokio::test]
async fn a_repository_that_helm_made_gives_the_pinned_archive_and_is_asked_once() {
    let helm = std::env::var_os("STOREKEEPER_HELM")
        .expect("STOREKEEPER_HELM does not name the helm binary: run it through make test");
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(&helm)
            .args(arguments)
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["create", "shop"]);
    for version in ["1.2.3", "1.3.0+build.7"] {
        run(&["package", "shop", "--version", version]);
    }
    for arguments in [&["repo", "index", "."][..], &["repo", "index", ".", "--url", "URL"]] {
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        let (archive, plus) = (read("shop-1.2.3.tgz"), read("shop-1.3.0+build.7.tgz"));
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        files.insert("/stable/shop-1.2.3.tgz".to_owned(), archive.clone());
        files.insert("/stable/shop-1.3.0+build.7.tgz".to_owned(), plus.clone());
        run(arguments);
        // The port is known when the server runs: what it serves names it by a redirect.
        let index = String::from_utf8(read("index.yaml")).unwrap();
        let host = Host::start(move |request| match request.path.as_str() {
            "/stable/index.yaml" => {
                let own = format!("http://{}/stable", request.headers["host"]);
                Reply::Body(index.replace("URL", &own).into_bytes())
            }
            path => files.get(path).cloned().map_or(Reply::Status(404, String::new()), Reply::Body),
        });
        let url = format!("{}/stable", host.url());
        let scene = Scene::allowing(&[&url]);
        assert_eq!(scene.archive(&repository(&url, "1.2.3", &archive)).await, archive);
        assert_eq!(scene.archive(&repository(&url, "1.3.0+build.7", &plus)).await, plus);
        let asked = host.paths().len();
        // After a restart, too.
        assert_eq!(scene.archive(&repository(&url, "1.2.3", &archive)).await, archive);
        assert_eq!(host.paths().len(), asked, "{:?}", host.paths());
        let error = scene.error(&repository(&url, "9.9.9", b"other")).await;
        assert!(
            error.contains("the index has no version 9.9.9 of `shop`; it has `1.3.0+build.7`, `1.2.3`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn nothing_is_asked_of_a_host_that_is_not_allowed() {
    let host = host_of(ARCHIVE, |_| None);
    let source = repository(&host.url(), "1.2.3", ARCHIVE);
    let port = host.address();
    for allowed in [
        &[][..],
        &["https://charts.example.com/"],
        &[&*format!("https://{port}/"), &*format!("oci+http://{port}/"), &*format!("http://{port}/other/")],
    ] {
        let error = Scene::allowing(allowed).error(&source).await;
        assert!(
            error.ends_with(
                "it is no allowed source; whoever operates storekeeper may allow it with --chart-sources"
            ),
            "{error}"
        );
    }
    let scene = Scene::allowing(&[&format!("http://{port}/")]);
    let with_user = repository(&format!("http://ada:{PASSWORD}@{port}/"), "1.2.3", ARCHIVE);
    assert!(scene.error(&with_user).await.contains("it names a user"));
    assert!(
        scene.error(&repository(&format!("http://{port}/../a"), "1.2.3", ARCHIVE)).await.contains("`..`")
    );
    assert!(host.requests().is_empty(), "{:?}", host.paths());
    // What is in the cache already is no way around it.
    scene.archive(&source).await;
    let forbidding = Scene {
        settings: ChartFetchSettings { allowed: Vec::new(), ..scene.settings.clone() },
        ..Scene::allowing(&[])
    };
    assert!(forbidding.error(&source).await.contains("no allowed source"));
}

#[tokio::test]
async fn what_is_not_the_pinned_archive_is_refused_with_both_digests() {
    let host = host_of(ARCHIVE, |_| None);
    let scene = Scene::allowing(&[&host.url()]);
    let error = scene.error(&repository(&host.url(), "1.2.3", b"what was pinned")).await;
    for digest in [sha256(ARCHIVE), sha256(b"what was pinned")] {
        assert!(error.contains(&digest), "{error}");
    }
    assert!(error.ends_with(&format!("If what is there now is trusted, pin {}", sha256(ARCHIVE))), "{error}");
    assert_eq!(host.paths(), ["/index.yaml"], "the index says so already");
    // An index that tells the pinned digest of another archive.
    let lying = host_of(ARCHIVE, |request| {
        (request.path == "/files/shop.tgz").then(|| Reply::Body(b"something else".to_vec()))
    });
    let scene = Scene::allowing(&[&lying.url()]);
    let error = scene.error(&repository(&lying.url(), "1.2.3", ARCHIVE)).await;
    assert!(error.contains(&format!("the archive has the digest {}", sha256(b"something else"))), "{error}");
    let unpinned = ChartSource::Repository {
        url: lying.url(),
        name: "shop".to_owned(),
        version: "1.2.3".to_owned(),
        digest: "latest".to_owned(),
    };
    assert!(scene.error(&unpinned).await.contains("its digest is not `sha256:`"));
}

#[tokio::test]
async fn a_damaged_entry_of_the_cache_is_fetched_again() {
    let host = host_of(ARCHIVE, |_| None);
    let scene = Scene::allowing(&[&host.url()]);
    let source = repository(&host.url(), "1.2.3", ARCHIVE);
    scene.archive(&source).await;
    let entry =
        fs::read_dir(scene.settings.cache_folder.join("content")).unwrap().next().unwrap().unwrap().path();
    fs::write(&entry, "damaged").unwrap();
    assert_eq!(scene.archive(&source).await, ARCHIVE);
    assert_eq!(host.paths().len(), 4, "{:?}", host.paths());
    assert_eq!(fs::read(&entry).unwrap(), ARCHIVE);
}

#[tokio::test]
async fn what_a_host_sends_is_bounded_in_bytes_and_time() {
    let limits = |host: &Host| {
        let mut scene = Scene::allowing(&[&host.url()]);
        scene.settings.max_archive_bytes = 1000;
        scene.settings.max_index_bytes = 2000;
        scene.settings.time_limit = Duration::from_secs(1);
        scene
    };
    let too_large = "is larger than the limit of";
    for (path, reply, words) in [
        ("/index.yaml", Reply::Claims(2001), "the index is larger than the limit of 2000 bytes"),
        ("/index.yaml", Reply::EndlessBody, too_large),
        ("/files/shop.tgz", Reply::EndlessBody, "the archive is larger than the limit of 1000 bytes"),
        ("/files/shop.tgz", Reply::Claims(1001), too_large),
        ("/files/shop.tgz", Reply::Claims(1000), "it was not there within 1 s"),
        ("/files/shop.tgz", Reply::Silence, "it was not there within 1 s"),
        ("/index.yaml", Reply::EndlessHead, "can't be reached"),
        ("/index.yaml", Reply::HangUp, "can't be reached"),
        ("/index.yaml", Reply::Status(500, String::new()), "answers 500 to the index"),
        ("/index.yaml", Reply::Status(404, String::new()), "the index is not there"),
        ("/index.yaml", Reply::Status(206, String::new()), "answers 206"),
        ("/index.yaml", Reply::Body(b"<html>&nope".to_vec()), "index"),
        ("/index.yaml", Reply::Body(vec![0xff; 10]), "its index is not UTF-8"),
    ] {
        let shown = format!("{path} {words}");
        let host = host_of(ARCHIVE, move |request| (request.path == path).then(|| reply.clone()));
        let start = Instant::now();
        let error = limits(&host).error(&repository(&host.url(), "1.2.3", ARCHIVE)).await;
        assert!(error.contains(words), "{shown}: {error}");
        assert!(start.elapsed() < Duration::from_secs(20), "{shown}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_redirect_takes_no_login_along_and_does_not_go_everywhere() {
    let elsewhere = Host::of([("/moved.tgz".to_owned(), ARCHIVE.to_vec())].into());
    let target = format!("{}/moved.tgz", elsewhere.url());
    let host = host_of(ARCHIVE, move |request| {
        (request.path == "/files/shop.tgz").then(|| Reply::redirect(&target))
    });
    let mut scene = Scene::allowing(&[&host.url()]);
    scene.log_in(&host.address(), PASSWORD);
    let source = repository(&host.url(), "1.2.3", ARCHIVE);
    assert_eq!(scene.archive(&source).await, ARCHIVE);
    assert!(host.requests().iter().all(|request| request.headers.contains_key("authorization")));
    assert!(!elsewhere.requests()[0].headers.contains_key("authorization"), "the login is the first host's");
    for (target, words) in [
        ("http://169.254.169.254/latest".to_owned(), "an address of the machine or its host alone"),
        ("file:///etc/passwd".to_owned(), "it is not https"),
        ("/files/shop.tgz".to_owned(), "leads on again and again"),
        (format!("http://u:{PASSWORD}@127.0.0.1/"), "leads to nowhere"),
        ("http://".to_owned(), "leads to nowhere"),
    ] {
        let host = host_of(ARCHIVE, move |request| {
            (request.path == "/files/shop.tgz").then(|| Reply::redirect(&target))
        });
        let error = Scene::allowing(&[&host.url()]).error(&repository(&host.url(), "1.2.3", ARCHIVE)).await;
        assert!(error.contains(words), "{error}");
        assert!(host.requests().len() <= 7, "{:?}", host.paths());
    }
}

#[tokio::test]
async fn an_index_that_names_another_host_gives_it_no_login() {
    let elsewhere = Host::of([("/shop.tgz".to_owned(), ARCHIVE.to_vec())].into());
    let url = format!("{}/shop.tgz", elsewhere.url());
    let host = host_of(ARCHIVE, move |request| {
        (request.path == "/index.yaml").then(|| Reply::Body(index(&url, ARCHIVE)))
    });
    let mut scene = Scene::allowing(&[&host.url()]);
    scene.log_in(&host.address(), PASSWORD);
    assert_eq!(scene.archive(&repository(&host.url(), "1.2.3", ARCHIVE)).await, ARCHIVE);
    assert!(host.requests()[0].headers.contains_key("authorization"));
    assert!(!elsewhere.requests()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_login_is_read_anew_and_its_refusal_says_what_to_check() {
    let host = host_of(ARCHIVE, |request| {
        // ada and the password
        let right =
            request.headers.get("authorization").is_some_and(|value| value == "Basic YWRhOmNhbmFyeS03N2Fi");
        (!right).then(|| Reply::Status(401, "www-authenticate: Basic realm=\"x\"\r\n".to_owned()))
    });
    let source = repository(&host.url(), "1.2.3", ARCHIVE);
    let mut scene = Scene::allowing(&[&host.url()]);
    let error = scene.error(&source).await;
    assert!(
        error.starts_with(&format!("log in to {} for the chart shop 1.2.3 of ", host.address())),
        "{error}"
    );
    assert!(
        error.ends_with("a login is wanted, and the file of credentials has none for this host"),
        "{error}"
    );
    scene.log_in(&host.address(), "wrong");
    let fetcher = scene.fetcher();
    let error = fetcher.fetch(&source).await.unwrap_err().to_string();
    assert!(error.contains("was refused; is it valid"), "{error}");
    scene.log_in(&host.address(), PASSWORD);
    assert!(fetcher.fetch(&source).await.is_ok(), "the file changed");
    fs::write(scene.settings.credentials_file.as_ref().unwrap(), format!("{{\"auths\": {PASSWORD}}}"))
        .unwrap();
    let error = Scene {
        settings: ChartFetchSettings {
            cache_folder: scene.folder.path().join("new"),
            ..scene.settings.clone()
        },
        ..Scene::allowing(&[])
    };
    let error = error.error(&source).await;
    assert!(error.contains("credentials.json: line 1 column"), "{error}");
}

#[tokio::test]
async fn who_asks_at_once_waits_for_one_fetch_and_a_failure_is_remembered() {
    let host = host_of(ARCHIVE, |_| {
        std::thread::sleep(Duration::from_millis(100));
        None
    });
    let scene = Scene::allowing(&[&host.url()]);
    let (fetcher, source) = (scene.fetcher(), repository(&host.url(), "1.2.3", ARCHIVE));
    let all = join_all((0..100).map(|_| fetcher.fetch(&source))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(host.paths(), ["/index.yaml", "/files/shop.tgz"]);

    let works = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&works);
    let host = host_of(ARCHIVE, move |_| {
        (!switch.load(Ordering::SeqCst)).then(|| Reply::Status(503, String::new()))
    });
    let mut scene = Scene::allowing(&[&host.url()]);
    scene.settings.failure_memory = Duration::from_millis(500);
    let (fetcher, source) = (scene.fetcher(), repository(&host.url(), "1.2.3", ARCHIVE));
    assert!(fetcher.fetch(&source).await.unwrap_err().is_transient());
    works.store(true, Ordering::SeqCst);
    assert!(fetcher.fetch(&source).await.is_err(), "it is remembered");
    assert_eq!(host.paths().len(), 1);
    let deadline = Instant::now() + Duration::from_mins(1);
    while fetcher.fetch(&source).await.is_err() {
        assert!(Instant::now() < deadline, "it is remembered for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a registry on the wire says, and to whom.
#[derive(Clone)]
struct Registry {
    manifest: Value,
    config: Vec<u8>,
    archive: Vec<u8>,
    /// The challenge, and the Authorization header that it wants.
    door: Option<(String, String)>,
}

impl Registry {
    fn new() -> Self {
        let config = br#"{"name":"shop","version":"1.2.3"}"#.to_vec();
        let part = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": sha256(bytes), "size": bytes.len() });
        let manifest = json!({
            "schemaVersion": 2,
            "config": part("application/vnd.cncf.helm.config.v1+json", &config),
            "layers": [
                part("application/vnd.cncf.helm.chart.provenance.v1.prov", b"signed"),
                part("application/vnd.cncf.helm.chart.content.v1.tar+gzip", ARCHIVE),
            ],
        });
        Self { manifest, config, archive: ARCHIVE.to_vec(), door: None }
    }

    fn digest(&self) -> String {
        sha256(self.manifest.to_string().as_bytes())
    }

    fn serve(&self) -> Host {
        let Self { manifest, config, archive, door } = self.clone();
        let manifest = manifest.to_string().into_bytes();
        let blob = |bytes: &[u8]| format!("/v2/charts/shop/blobs/{}", sha256(bytes));
        let paths = BTreeMap::from([
            (format!("/v2/charts/shop/manifests/{}", sha256(&manifest)), manifest),
            (blob(br#"{"name":"shop","version":"1.2.3"}"#), config),
            (blob(ARCHIVE), archive),
        ]);
        Host::start(move |request| {
            if let Some((challenge, wanted)) = &door {
                if request.path.starts_with("/token") {
                    let right = request
                        .headers
                        .get("authorization")
                        .is_some_and(|value| value == "Basic YWRhOmNhbmFyeS03N2Fi");
                    return if right {
                        Reply::Body(br#"{"token":"t0ken"}"#.to_vec())
                    } else {
                        Reply::Status(401, String::new())
                    };
                }
                if request.headers.get("authorization") != Some(wanted) {
                    let own = challenge.replace("HOST", &request.headers["host"]);
                    return Reply::Status(401, format!("www-authenticate: {own}\r\n"));
                }
            }
            paths.get(&request.path).cloned().map_or(Reply::Status(404, String::new()), Reply::Body)
        })
    }

    fn source(&self, host: &Host, version: &str) -> ChartSource {
        let reference = format!("oci://{}/charts/shop", host.address());
        ChartSource::Oci { reference, version: version.to_owned(), digest: self.digest() }
    }
}

fn without_tls(host: &Host) -> Scene {
    Scene::allowing(&[&format!("oci+http://{}/charts/", host.address())])
}

#[tokio::test]
async fn a_registry_gives_the_archive_of_the_pinned_manifest_and_is_asked_once() {
    let registry = Registry::new();
    let host = registry.serve();
    let (scene, source) = (without_tls(&host), registry.source(&host, "1.2.3"));
    assert_eq!(scene.archive(&source).await, ARCHIVE);
    assert_eq!(host.requests()[0].headers["accept"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(scene.archive(&source).await, ARCHIVE);
    assert_eq!(host.paths().len(), 3, "{:?}", host.paths());
    // Of another version nothing is given out, though all of it is in the cache.
    let error = scene.error(&registry.source(&host, "1.2.4")).await;
    assert!(
        error.ends_with(
            "the digest is that of version 1.2.3; set the version to 1.2.3, or the digest to that of 1.2.4"
        ),
        "{error}"
    );
    let error = Scene::allowing(&[&format!("oci://{}/", host.address())]).error(&source).await;
    assert!(error.contains("can't be reached"), "TLS is tried, and nothing else: {error}");
}

#[tokio::test]
async fn what_a_registry_gives_is_held_against_the_manifest() {
    let change = |change: &dyn Fn(&mut Registry)| {
        let mut registry = Registry::new();
        change(&mut registry);
        registry
    };
    for (registry, words) in [
        (change(&|it| it.archive = b"other".to_vec()), "the archive has the digest"),
        (change(&|it| it.config = b"{}".to_vec()), "the config has the digest"),
        (
            change(&|it| {
                it.manifest["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
            }),
            "no Helm chart",
        ),
        (change(&|it| it.manifest["config"] = json!(7)), "its manifest is none of OCI's"),
        (
            change(&|it| it.manifest["layers"][1]["size"] = json!(1_u64 << 40)),
            "the archive is larger than the limit",
        ),
        (
            change(&|it| it.manifest["layers"][1]["digest"] = json!("sha512:00")),
            "a digest that is not SHA-256",
        ),
        (
            change(&|it| it.manifest["layers"][1]["digest"] = json!("sha256:../../etc")),
            "a digest that is not SHA-256",
        ),
        (change(&|it| it.manifest["layers"] = json!([])), "no archive, or several"),
        (change(&|it| it.manifest["layers"][0] = it.manifest["layers"][1].clone()), "no archive, or several"),
    ] {
        let host = registry.serve();
        let error = without_tls(&host).error(&registry.source(&host, "1.2.3")).await;
        assert!(error.contains(words), "{words}: {error}");
    }
    let (registry, host) = (Registry::new(), Registry::new().serve());
    let other = ChartSource::Oci {
        reference: format!("oci://{}/charts/shop", host.address()),
        version: "1.2.3".to_owned(),
        digest: sha256(b"another manifest"),
    };
    let error = without_tls(&host).error(&other).await;
    assert!(error.contains("the manifest is not there"), "{error}");
    let body = registry.manifest.to_string().into_bytes();
    let lying = Host::start(move |_| Reply::Body(body.clone()));
    let ChartSource::Oci { version, digest, .. } = other else { unreachable!() };
    let other =
        ChartSource::Oci { reference: format!("oci://{}/charts/shop", lying.address()), version, digest };
    let error = without_tls(&lying).error(&other).await;
    assert!(error.contains("the manifest has the digest"), "{error}");
}

#[tokio::test]
async fn a_registry_gets_the_login_that_it_asks_for() {
    let mut registry = Registry::new();
    for (challenge, wanted) in [
        (
            "Bearer realm=\"http://HOST/token?x=y\",service=\"registry\",scope=\"repository:charts/shop:pull,push\"",
            "Bearer t0ken",
        ),
        ("Basic realm=\"registry\"", "Basic YWRhOmNhbmFyeS03N2Fi"),
    ] {
        registry.door = Some((challenge.to_owned(), wanted.to_owned()));
        let host = registry.serve();
        let (mut scene, source) = (without_tls(&host), registry.source(&host, "1.2.3"));
        let error = scene.error(&source).await;
        assert!(error.contains("the file of credentials has none for this host"), "{error}");
        scene.log_in(&host.address(), "wrong");
        let error = scene.error(&source).await;
        assert!(error.contains("was refused"), "{error}");
        scene.log_in(&host.address(), PASSWORD);
        assert_eq!(scene.archive(&source).await, ARCHIVE);
        let tokens: Vec<_> = host.paths().into_iter().filter(|path| path.starts_with("/token")).collect();
        let expected = "/token?x=y&service=registry&scope=repository%3Acharts%2Fshop%3Apull";
        assert!(tokens.iter().all(|path| path == expected), "{tokens:?}");
    }
    registry.door = Some(("Negotiate".to_owned(), "x".to_owned()));
    let host = registry.serve();
    let error = without_tls(&host).error(&registry.source(&host, "1.2.3")).await;
    assert!(error.contains("in a way that is not known"), "{error}");
}

#[tokio::test]
async fn a_file_of_authorities_that_is_none_is_told_at_the_start() {
    let mut scene = Scene::allowing(&[]);
    let path = scene.folder.path().join("ca.pem");
    fs::write(&path, "no certificate").unwrap();
    for (path, words) in
        [(path.as_path(), "there are none in it"), (Path::new("/nowhere/ca.pem"), "No such file")]
    {
        scene.settings.ca_file = Some(path.to_owned());
        let error = ChartFetcher::new(scene.settings.clone(), Arc::new(|| 0)).err().unwrap().to_string();
        assert!(
            error.starts_with(&format!("trust the authorities in {}", path.display()))
                && error.contains(words),
            "{error}"
        );
    }
}
