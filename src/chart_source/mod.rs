//! The edge to where charts come from: git repositories, OCI registries and Helm repositories, each pinned by a commit or
//! a digest.
//!
//! Nothing is fetched that the operator did not allow ([`AllowedSource`]), nothing is returned that is not what is pinned,
//! and what was fetched once is read from disk from then on. What is deliberately absent: versions without a digest,
//! retries (the caller's business), Docker's credential helpers, proxies.

mod allowed;
mod cache;
mod commit;
mod credentials;
mod error;
mod oci;
mod repository;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::{Semaphore, watch};
use tracing::{Instrument, debug, debug_span};

use crate::git::{Auth, RemoteUrl};
use crate::report::one_line;
use crate::store::ChartSource;
use crate::trust::{self, Certificates};

use self::allowed::{Kind, Location};
use self::cache::{Cache, Entry, sha256};
use self::credentials::Login;
use self::wire::Wire;

pub use self::allowed::{AllowedSource, AllowedSourceError};
pub use self::error::ChartSourceError;

/// How errors call the setting that allows sources.
pub const ALLOWED_SETTING: &str = "--chart-sources";

/// How many fetches may be under way at once; more wait.
const AT_ONCE: usize = 4;

/// Returns seconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What the operator says about charts from elsewhere.
#[derive(Debug, Clone)]
pub struct ChartFetchSettings {
    /// The folder in which fetched charts are kept. Processes may share it.
    pub cache_folder: PathBuf,
    /// How many bytes are kept there at most.
    pub cache_bytes: u64,
    /// The sources that stores may name; none when it is empty.
    pub allowed: Vec<AllowedSource>,
    /// A file of logins in the format of Docker's `config.json`.
    pub credentials_file: Option<PathBuf>,
    /// A PEM file of certificate authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How to log in to git over ssh: [`Auth::SshKey`].
    pub git_ssh: Option<Auth>,
    /// A file of OpenPGP public keys. With it, charts of registries and Helm repositories must have a provenance file that
    /// one of them signed; those in git are as they are.
    pub keyring_file: Option<PathBuf>,
    /// The most bytes of an archive, or of all files of a chart in git.
    pub max_archive_bytes: u64,
    /// The most bytes of the index of a Helm repository.
    pub max_index_bytes: u64,
    /// The most bytes that a fetch from git may receive.
    pub max_git_bytes: u64,
    /// How long a fetch may take.
    pub time_limit: Duration,
    /// How long a failure is the answer to who asks again.
    pub failure_memory: Duration,
}

impl ChartFetchSettings {
    /// Describes fetches that are allowed nothing, with the defaults for everything else.
    pub fn new(cache_folder: &Path) -> Self {
        Self {
            cache_folder: cache_folder.to_owned(),
            cache_bytes: 512 << 20,
            allowed: Vec::new(),
            credentials_file: None,
            ca_file: None,
            git_ssh: None,
            keyring_file: None,
            max_archive_bytes: 16 << 20,
            max_index_bytes: 50 << 20,
            max_git_bytes: 64 << 20,
            time_limit: Duration::from_mins(1),
            failure_memory: Duration::from_secs(5),
        }
    }
}

/// A chart as it came. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The packed archive, with the digest that is pinned.
    Archive(Arc<Vec<u8>>),
    /// The files of a folder in git, by their paths in it.
    Files(Arc<BTreeMap<String, Vec<u8>>>),
}

type Outcome = Result<Fetched, ChartSourceError>;

/// Fetches charts. Clones are cheap and share what is under way.
#[derive(Clone)]
pub struct ChartFetcher {
    desk: Arc<Desk>,
}

impl ChartFetcher {
    /// Prepares for fetches; sends nothing.
    pub fn new(settings: ChartFetchSettings, clock: Clock) -> Result<Self, ChartSourceError> {
        let wire =
            Wire::new(settings.ca_file.as_deref()).map_err(|reason| ChartSourceError::Settings { reason })?;
        let cache = Cache::new(&settings.cache_folder, settings.cache_bytes, Arc::clone(&clock));
        let desk = Desk {
            settings,
            wire,
            clock,
            cache: Arc::new(cache),
            places: Semaphore::new(AT_ONCE),
            flights: Mutex::default(),
        };
        Ok(Self { desk: Arc::new(desk) })
    }

    /// Returns a chart, from the cache or from its source. Whoever asks for one that is being fetched waits with the
    /// others; a fetch that has begun goes on when nobody waits any more, and what it found is in the cache then.
    ///
    /// That the archive says of itself what name and version it has is for the caller to compare.
    pub async fn fetch(&self, source: &ChartSource) -> Outcome {
        let mut flight = self.flight(source);
        match flight.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(broken_off(source))),
            Err(_) => Err(broken_off(source)),
        }
    }

    /// Returns where the outcome of the one fetch of a source shows.
    fn flight(&self, source: &ChartSource) -> watch::Receiver<Option<Outcome>> {
        let mut flights = self.desk.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(source) {
            return flight.clone();
        }
        let (tell, flight) = watch::channel(None);
        flights.insert(source.clone(), flight.clone());
        let landing = Landing { desk: Arc::clone(&self.desk), source: source.clone() };
        let span = debug_span!("fetch_chart", chart.source = %shown(source));
        tokio::spawn(async move { landing.fly(tell).await }.instrument(span));
        flight
    }
}

/// Removes a flight when it is over, however that comes.
struct Landing {
    desk: Arc<Desk>,
    source: ChartSource,
}

impl Landing {
    async fn fly(self, tell: watch::Sender<Option<Outcome>>) {
        let limit = self.desk.settings.time_limit;
        // It is never closed; were it, there would only be no bound.
        let place = self.desk.places.acquire().await.ok();
        let outcome = match tokio::time::timeout(limit, self.desk.fetch(&self.source)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ChartSourceError::TimedOut { chart: shown(&self.source), limit }),
        };
        drop(place);
        let memory = self.desk.settings.failure_memory;
        let is_remembered = outcome.is_err() && !memory.is_zero();
        debug!(failed = outcome.is_err(), "the fetch of a chart is over");
        if is_remembered {
            tell.send_replace(Some(outcome));
            tokio::time::sleep(memory).await;
        } else {
            // First, so that whoever has the outcome and asks again gets another.
            drop(self);
            tell.send_replace(Some(outcome));
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.desk.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.source);
    }
}

/// What all fetches share.
struct Desk {
    settings: ChartFetchSettings,
    wire: Wire,
    clock: Clock,
    cache: Arc<Cache>,
    places: Semaphore,
    /// The fetches under way, and those that failed lately.
    flights: Mutex<HashMap<ChartSource, watch::Receiver<Option<Outcome>>>>,
}

impl Desk {
    async fn fetch(self: &Arc<Self>, source: &ChartSource) -> Outcome {
        let chart = shown(source);
        match source {
            ChartSource::BuiltIn | ChartSource::Folder(_) => Err(ChartSourceError::Here),
            ChartSource::Git { url, revision, path } => {
                let url: RemoteUrl = url.parse().map_err(|error| invalid(&chart, format!("{error}")))?;
                self.allowed(&chart, &format!("git+{url}"))?;
                if revision.len() != 40 || !is_hexadecimal(revision) {
                    return Err(invalid(
                        &chart,
                        "its commit is not 40 lower-case hexadecimal digits".to_owned(),
                    ));
                }
                let folder = commit::Folder { url, revision, path: path.trim_matches('/') };
                let files = commit::fetch(self, &chart, &folder).await?;
                Ok(Fetched::Files(Arc::new(files)))
            }
            ChartSource::Oci { reference, version, digest } => {
                let (location, kind) = self.allowed(&chart, reference)?;
                let digest = pinned(&chart, digest)?;
                let artifact = oci::Artifact { location: &location, kind, version, digest };
                oci::fetch(self, &chart, &artifact).await.map(|archive| Fetched::Archive(Arc::new(archive)))
            }
            ChartSource::Repository { url, name, version, digest } => {
                let (location, kind) = self.allowed(&chart, url)?;
                let digest = pinned(&chart, digest)?;
                let listed = repository::Listed { location: &location, kind, name, version, digest };
                let archive = repository::fetch(self, &chart, &listed).await?;
                Ok(Fetched::Archive(Arc::new(archive)))
            }
        }
    }

    /// Returns where a source is, and how it may be reached.
    fn allowed(&self, chart: &str, address: &str) -> Result<(Location, Kind), ChartSourceError> {
        let location = Location::parse(address).map_err(|reason| invalid(chart, reason))?;
        let kind = location.allowed_by(&self.settings.allowed);
        let kind = kind.ok_or_else(|| ChartSourceError::NotAllowed { chart: chart.to_owned() })?;
        Ok((location, kind))
    }

    /// Returns the login for a URL's host, from the file as it is now.
    fn login(&self, url: &Url) -> Result<Option<Login>, ChartSourceError> {
        let Some(path) = &self.settings.credentials_file else { return Ok(None) };
        credentials::login_for(url, path).map_err(|reason| ChartSourceError::Settings { reason })
    }

    /// Checks that somebody signed an archive whose key is known. Without known keys everybody is believed.
    fn check_provenance(
        &self,
        chart: &str,
        archive: &str,
        provenance: Option<&[u8]>,
    ) -> Result<(), ChartSourceError> {
        let Some(path) = &self.settings.keyring_file else { return Ok(()) };
        let failed = |reason: String| ChartSourceError::Settings {
            reason: format!("use the keys in {}: {reason}", path.display()),
        };
        let keys = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let keys = Certificates::parse(&keys).map_err(|error| failed(format!("failed to {error}")))?;
        let untrusted = |reason: String| ChartSourceError::Untrusted { chart: chart.to_owned(), reason };
        let file = provenance.ok_or_else(|| untrusted("is missing, and keys are set".to_owned()))?;
        let signer = trust::provenance(file, archive, &keys, (self.clock)());
        let signer = signer.map_err(|error| untrusted(error.to_string()))?;
        debug!(%signer, "the chart is signed");
        Ok(())
    }

    async fn cached(&self, entry: Entry<'_>) -> Option<Vec<u8>> {
        let (cache, (name, sealed)) = (Arc::clone(&self.cache), owned(entry));
        blocking(move || cache.get(borrowed(&name, sealed))).await
    }

    async fn keep(&self, entry: Entry<'_>, bytes: &[u8]) {
        let (cache, (name, sealed), bytes) = (Arc::clone(&self.cache), owned(entry), bytes.to_owned());
        blocking(move || cache.put(borrowed(&name, sealed), &bytes)).await;
    }
}

fn owned(entry: Entry<'_>) -> (String, bool) {
    match entry {
        Entry::Content(name) => (name.to_owned(), false),
        Entry::Sealed(name) => (name.to_owned(), true),
    }
}

fn borrowed(name: &str, sealed: bool) -> Entry<'_> {
    if sealed { Entry::Sealed(name) } else { Entry::Content(name) }
}

/// Does what reads disks or computes, off the threads that wait for others.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

/// Names a source for messages. What holds a login is not repeated.
fn shown(source: &ChartSource) -> String {
    let address = |text: &str| {
        if text.contains('@') { "an address with a login".to_owned() } else { one_line(text, 200) }
    };
    match source {
        ChartSource::BuiltIn => "the built-in chart".to_owned(),
        ChartSource::Folder(folder) => format!("the folder {}", one_line(&folder.path, 200)),
        ChartSource::Git { url, revision, path } => {
            // Its own way to be shown leaves the user out.
            let url = url.parse::<RemoteUrl>().map_or_else(|_| address(url), |url| url.to_string());
            let path = if path.is_empty() { "." } else { path };
            format!("the chart `{}` of {url} at {}", one_line(path, 200), one_line(revision, 64))
        }
        ChartSource::Oci { reference, version, digest: _ } => {
            format!("the chart {} {}", address(reference), one_line(version, 60))
        }
        ChartSource::Repository { url, name, version, digest: _ } => {
            format!("the chart {} {} of {}", one_line(name, 60), one_line(version, 60), address(url))
        }
    }
}

fn broken_off(source: &ChartSource) -> ChartSourceError {
    ChartSourceError::Unreachable { chart: shown(source), reason: "the fetch broke off".to_owned() }
}

fn invalid(chart: &str, reason: String) -> ChartSourceError {
    ChartSourceError::Invalid { chart: chart.to_owned(), reason }
}

/// Returns the digits of a pinned digest.
fn pinned<'a>(chart: &str, digest: &'a str) -> Result<&'a str, ChartSourceError> {
    let digits = digest.strip_prefix("sha256:").filter(|digits| is_digest(digits));
    digits.ok_or_else(|| {
        invalid(chart, "its digest is not `sha256:` and 64 lower-case hexadecimal digits".to_owned())
    })
}

fn is_digest(digits: &str) -> bool {
    digits.len() == 64 && is_hexadecimal(digits)
}

fn is_hexadecimal(digits: &str) -> bool {
    digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn check_digest(chart: &str, what: &str, bytes: &[u8], pinned: &str) -> Result<(), ChartSourceError> {
    let found = sha256(bytes);
    if found == pinned {
        return Ok(());
    }
    Err(ChartSourceError::Digest {
        chart: chart.to_owned(),
        what: what.to_owned(),
        found: format!("sha256:{found}"),
        pinned: format!("sha256:{pinned}"),
    })
}

fn login_advice(has_login: bool) -> &'static str {
    if has_login {
        "the login in the file of credentials was refused; is it valid, and may it read this?"
    } else {
        "a login is wanted, and the file of credentials has none for this host"
    }
}
