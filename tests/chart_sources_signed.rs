//! Promise: where the operator gives keys, a chart of a registry or a Helm repository comes only when one of them signed it, as
//! `helm package --sign` and `gpg` do.
//!
//! Needs the real Helm; `make test` provides it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::json;
use sha2::{Digest, Sha256};
use storekeeper::chart_source::{ChartFetchSettings, ChartFetcher, ChartSourceError, Fetched};
use storekeeper::store::ChartSource;
use tempfile::TempDir;

#[path = "common/chart_host.rs"]
mod chart_host;
use chart_host::{Host, Reply};

/// A home of `gpg` with keys, and a chart that Helm signed with Ada's.
struct Scene {
    folder: TempDir,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    host: Host,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let served = Arc::clone(&files);
        let host = Host::start(move |request| {
            let found = served.lock().unwrap().get(&request.path).cloned();
            found.map_or_else(|| Reply::Status(404, String::new()), Reply::Body)
        });
        let scene = Self { folder, files, host };
        fs::create_dir(scene.path().join("gpg")).unwrap();
        for name in ["Ada", "Eve"] {
            scene.gpg(&[
                "--quick-generate-key",
                &format!("{name} <{name}@example.com>"),
                "ed25519",
                "sign",
                "never",
            ]);
            fs::write(scene.path().join(name), scene.gpg(&["--armor", "--export", name])).unwrap();
        }
        fs::write(scene.path().join("secret"), scene.gpg(&["--export-secret-keys", "Ada"])).unwrap();
        scene.helm(&["create", "shop"]);
        scene.helm(&[
            "package",
            "shop",
            "--version",
            "1.2.3",
            "--sign",
            "--key",
            "Ada",
            "--keyring",
            "secret",
        ]);
        scene.helm(&["repo", "index", "."]);
        for name in ["index.yaml", "shop-1.2.3.tgz", "shop-1.2.3.tgz.prov"] {
            scene.serve(name, scene.read(name));
        }
        scene
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap()
    }

    fn serve(&self, name: &str, content: Vec<u8>) {
        self.files.lock().unwrap().insert(format!("/{name}"), content);
    }

    fn run(&self, command: &mut Command) -> Vec<u8> {
        let output = command.current_dir(self.path()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Runs `gpg` in a home of its own.
    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let home = self.path().join("gpg");
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(home).args(["--batch", "--yes", "--quiet", "--no-tty"]);
        self.run(command.args(["--pinentry-mode", "loopback", "--passphrase", ""]).args(arguments))
    }

    fn helm(&self, arguments: &[&str]) {
        let helm = std::env::var_os("STOREKEEPER_HELM")
            .expect("STOREKEEPER_HELM does not name the helm binary: run it through make test");
        self.run(Command::new(helm).args(arguments).env("HOME", self.path()));
    }

    fn digest(bytes: &[u8]) -> String {
        Sha256::digest(bytes)
            .iter()
            .fold("sha256:".to_owned(), |digits, byte| digits + &format!("{byte:02x}"))
    }

    fn source(&self) -> ChartSource {
        let (url, name, version) = (self.host.url(), "shop".to_owned(), "1.2.3".to_owned());
        ChartSource::Repository { url, name, version, digest: Self::digest(&self.read("shop-1.2.3.tgz")) }
    }

    /// Fetches with the keys in a file, and a cache of this name.
    async fn fetch(&self, keys: Option<&str>, cache: &str) -> Result<Fetched, ChartSourceError> {
        self.fetch_source(&self.source(), keys, cache).await
    }

    async fn fetch_source(
        &self,
        source: &ChartSource,
        keys: Option<&str>,
        cache: &str,
    ) -> Result<Fetched, ChartSourceError> {
        let mut settings = ChartFetchSettings::new(&self.path().join(cache));
        let address = self.host.address();
        settings.allowed = [format!("http://{address}/"), format!("oci+http://{address}/")]
            .map(|text| text.parse().unwrap())
            .into();
        settings.failure_memory = Duration::ZERO;
        settings.keyring_file = keys.map(|name| self.path().join(name));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        ChartFetcher::new(settings, Arc::new(move || now)).unwrap().fetch(source).await
    }

    async fn error(&self, keys: &str, cache: &str) -> String {
        let error = self.fetch(Some(keys), cache).await.expect_err("it must be refused");
        error.to_string()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let home = self.path().join("gpg");
        let _ = Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "all"]).status();
    }
}

#[tokio::test]
async fn a_chart_that_helm_signed_comes_and_is_held_against_the_keys_of_the_day() {
    let scene = Scene::new();
    let archive = Fetched::Archive(Arc::new(scene.read("shop-1.2.3.tgz")));
    assert_eq!(scene.fetch(Some("Ada"), "cache").await.unwrap(), archive);
    let asked = scene.host.paths().len();
    assert_eq!(scene.fetch(Some("Ada"), "cache").await.unwrap(), archive);
    assert_eq!(scene.host.paths().len(), asked, "the second time nobody is asked");
    // The archive and a good signature are in the cache, and the key is known no more.
    let error = scene.error("Eve", "cache").await;
    assert!(
        error.starts_with("trust the chart shop 1.2.3 of ") && error.contains("not among the known ones"),
        "{error}"
    );
    // Keys that come later count for what is in the cache.
    assert!(scene.fetch(None, "other").await.is_ok());
    assert!(scene.error("Eve", "other").await.contains("not among the known ones"));
    assert_eq!(scene.fetch(Some("Ada"), "other").await.unwrap(), archive);
    let error = scene.error("nowhere", "cache").await;
    assert!(error.contains("use the keys in ") && error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn what_gpg_signs_itself_comes_too() {
    let scene = Scene::new();
    let signed = String::from_utf8(scene.read("shop-1.2.3.tgz.prov")).unwrap();
    let text = signed.split_once("\n\n").unwrap().1.split("-----BEGIN PGP SIGNATURE").next().unwrap();
    let text: Vec<_> = text.lines().map(|line| line.strip_prefix("- ").unwrap_or(line)).collect();
    fs::write(scene.path().join("text"), text.join("\n")).unwrap();
    scene.serve(
        "shop-1.2.3.tgz.prov",
        scene.gpg(&["--local-user", "Eve", "--clearsign", "--output", "-", "text"]),
    );
    assert!(scene.fetch(Some("Eve"), "cache").await.is_ok(), "{:?}", scene.fetch(Some("Eve"), "cache").await);
    assert!(scene.error("Ada", "cache").await.contains("not among the known ones"));
}

#[tokio::test]
async fn what_is_not_signed_as_it_is_does_not_come() {
    let scene = Scene::new();
    let good = String::from_utf8(scene.read("shop-1.2.3.tgz.prov")).unwrap();
    for (file, words) in [
        (good.replace("version: 1.2.3", "version: 1.2.4"), "is not over its text"),
        (good.replacen("Hash: ", "files: ", 1), "is no text signed with OpenPGP"),
        (format!("files: {{}}\n{good}"), "is no text signed with OpenPGP"),
        ("files: {}\n".to_owned(), "is no text signed with OpenPGP"),
    ] {
        scene.serve("shop-1.2.3.tgz.prov", file.into_bytes());
        let error = scene.error("Ada", "cache").await;
        assert!(error.contains(words), "{words}: {error}");
    }
    // A good signature, over another archive.
    scene.helm(&["package", "shop", "--version", "1.2.2", "--sign", "--key", "Ada", "--keyring", "secret"]);
    scene.serve("shop-1.2.3.tgz.prov", scene.read("shop-1.2.2.tgz.prov"));
    let error = scene.error("Ada", "cache").await;
    assert!(error.contains("is that of another archive"), "{error}");
    scene.files.lock().unwrap().remove("/shop-1.2.3.tgz.prov");
    let error = scene.error("Ada", "cache").await;
    assert!(error.contains("the provenance file is not there"), "{error}");
    assert!(scene.fetch(None, "cache").await.is_ok(), "without keys it is not asked for");
}

#[tokio::test]
async fn a_chart_of_a_registry_brings_its_signature_along() {
    let scene = Scene::new();
    let (archive, signature) = (scene.read("shop-1.2.3.tgz"), scene.read("shop-1.2.3.tgz.prov"));
    let config = br#"{"name":"shop","version":"1.2.3"}"#.to_vec();
    let part = |kind: &str, bytes: &[u8]| {
        let kind = format!("application/vnd.cncf.helm.{kind}");
        json!({ "mediaType": kind, "digest": Scene::digest(bytes), "size": bytes.len() })
    };
    let mut layers = vec![part("chart.content.v1.tar+gzip", &archive)];
    for is_signed in [false, true] {
        if is_signed {
            layers.push(part("chart.provenance.v1.prov", &signature));
        }
        let manifest =
            json!({ "schemaVersion": 2, "config": part("config.v1+json", &config), "layers": layers });
        let manifest = manifest.to_string().into_bytes();
        let digest = Scene::digest(&manifest);
        for bytes in [&config, &archive, &signature] {
            scene.serve(&format!("v2/shop/blobs/{}", Scene::digest(bytes)), bytes.clone());
        }
        scene.serve(&format!("v2/shop/manifests/{digest}"), manifest);
        let reference = format!("oci://{}/shop", scene.host.address());
        let source = ChartSource::Oci { reference, version: "1.2.3".to_owned(), digest };
        let by_ada = scene.fetch_source(&source, Some("Ada"), "cache").await;
        if is_signed {
            assert_eq!(by_ada.unwrap(), Fetched::Archive(Arc::new(archive.clone())));
            let error = scene.fetch_source(&source, Some("Eve"), "cache").await.unwrap_err().to_string();
            assert!(error.contains("not among the known ones"), "{error}");
        } else {
            let error = by_ada.unwrap_err().to_string();
            assert!(error.ends_with("its provenance file is missing, and keys are set"), "{error}");
            assert!(scene.fetch_source(&source, None, "cache").await.is_ok());
        }
    }
}
