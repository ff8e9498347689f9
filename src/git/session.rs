//! One conversation with a remote: what it lists, what is downloaded, and what its failure means in words.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::panic;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use git2::cert::{Cert, CertHostkey};
use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, Direction, ErrorClass, ErrorCode,
    FetchOptions, Oid, Reference, Remote, RemoteCallbacks, RemoteConnection, RemoteRedirect, Repository,
};

use super::error::{GitError, ShownHostKey, one_line};
use super::heads::PullHeads;
use super::known_hosts::{self, Opinion};
use super::local::{self, CopyError};
use super::pulls::PullRef;
use super::relay::{Bounds, Https, Mode, Relay, Verdict};
use super::settings::{Auth, Secret, SourceSettings};
use super::url::Parts;

/// How much longer than one silence a whole fetch may take.
const TOTAL_TIMEOUTS: u32 = 20;

/// How many existing branches an error names.
const BRANCHES_NAMED: usize = 5;

/// One conversation with a remote: the relay to it, and what the callbacks found out.
pub(super) struct Session<'a> {
    settings: &'a SourceSettings,
    auth: &'a Auth,
    relay: Option<Relay>,
    /// What a callback refused. libgit2 would tell less.
    refusal: RefCell<Option<GitError>>,
    /// How often the remote asked for a login; more than once means that it refused ours.
    logins: Cell<u32>,
    start: Instant,
    /// The most objects that may come.
    pub(super) max_objects: usize,
    /// How many generations of commits are fetched; 0 is all of them.
    pub(super) depth: i32,
}

impl<'a> Session<'a> {
    pub(super) fn start(settings: &'a SourceSettings, auth: &'a Auth) -> Result<Self, GitError> {
        let bounds = Bounds {
            silence: settings.timeout,
            total: settings.timeout.saturating_mul(TOTAL_TIMEOUTS),
            bytes: settings.max_fetch_bytes,
        };
        let mut session = Self {
            settings,
            auth,
            relay: None,
            refusal: RefCell::new(None),
            logins: Cell::new(0),
            start: Instant::now(),
            max_objects: usize::MAX,
            depth: 0,
        };
        let (host, port, mode) = match settings.url.parts() {
            Parts::Https { host, port, path: _ } => (host, *port, session.https()?),
            Parts::Ssh { user: _, host, port, path: _ } => (host, *port, Mode::Direct),
            Parts::Local { path: _ } => return Ok(session),
        };
        let relay = Relay::start(host, port, mode, bounds);
        session.relay = Some(relay.map_err(|error| session.unreachable(&error.to_string()))?);
        Ok(session)
    }

    fn https(&self) -> Result<Mode, GitError> {
        let authorization = match self.auth {
            Auth::Token { username, token } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{username}:{}", token.expose()))))
            }
            Auth::Anonymous | Auth::SshKey { .. } => None,
        };
        let https = Https::new(self.settings.ca_file.as_deref(), authorization);
        https.map(Mode::Https).map_err(|reason| self.unusable(&reason))
    }

    pub(super) fn remote<'r>(&self, repository: &'r Repository) -> Result<Remote<'r>, GitError> {
        let url = self.url();
        let failed = |reason: &str| GitError::Settings { remote: self.name(), reason: reason.to_owned() };
        let remote =
            repository.remote_anonymous(&url).map_err(|error| failed(&self.scrub(error.message())))?;
        // The mirror's own configuration rewrites nothing; this makes sure that no other is read either.
        if remote.url_bytes() != url.as_bytes() {
            return Err(self.unusable("a git configuration rewrites the URL"));
        }
        Ok(remote)
    }

    /// Connects, which makes the remote list its refs.
    pub(super) fn connect<'s, 'r: 's>(
        &'s self,
        remote: &'s mut Remote<'r>,
    ) -> Result<RemoteConnection<'r, 's, 's>, GitError> {
        let connected = remote.connect_auth(Direction::Fetch, Some(self.callbacks()), None);
        connected.map_err(|error| self.explain(&error, None))
    }

    /// Downloads what is wanted, each with the refspec that names it and the commit that was listed for it. `folder`
    /// is the one of the repository that it is stored in.
    pub(super) fn download(
        &self,
        repository: &Repository,
        remote: &mut Remote<'_>,
        wanted: &[(String, Oid)],
        folder: &Path,
    ) -> Result<(), GitError> {
        if let Parts::Local { path } = self.settings.url.parts() {
            return self.download_local(repository, path, wanted, folder);
        }
        let refspecs: Vec<_> = wanted.iter().map(|(refspec, _)| refspec).collect();
        let downloaded = remote.download(&refspecs, Some(&mut self.fetch_options()));
        downloaded.map_err(|error| self.explain(&error, Some(folder)))
    }

    /// libgit2's own way to read a local repository brings every branch and every pull request along.
    fn download_local(
        &self,
        repository: &Repository,
        path: &Path,
        wanted: &[(String, Oid)],
        folder: &Path,
    ) -> Result<(), GitError> {
        let ids: Vec<_> = wanted.iter().map(|(_, id)| *id).collect();
        match local::copy(path, repository, &ids, &|received, objects| self.may_go_on(received, objects)) {
            Ok(()) => Ok(()),
            Err(CopyError::Source(error)) => Err(self.explain(&error, None)),
            Err(CopyError::Target(error)) => Err(self.explain(&error, Some(folder))),
        }
    }

    /// The URL for libgit2, which leads to the relay unless the repository is local.
    fn url(&self) -> String {
        match (self.settings.url.parts(), &self.relay) {
            (Parts::Https { host: _, port: _, path }, Some(relay)) => relay.http_url(path),
            (Parts::Ssh { user, path, host: _, port: _ }, Some(relay)) if path.starts_with('/') => {
                format!("ssh://{user}@{}{path}", relay.address())
            }
            (Parts::Ssh { user, path, host: _, port: _ }, Some(relay)) => {
                format!("[{user}@{}]:{path}", relay.address())
            }
            (Parts::Local { path }, _) => format!("file://{}", percent_encoded(path)),
            (Parts::Https { .. } | Parts::Ssh { .. }, None) => {
                unreachable!("a session with a remote has a relay")
            }
        }
    }

    fn fetch_options(&self) -> FetchOptions<'_> {
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(self.callbacks())
            .download_tags(AutotagOption::None)
            .depth(self.depth)
            .follow_redirects(RemoteRedirect::None)
            .update_fetchhead(false);
        options
    }

    fn callbacks(&self) -> RemoteCallbacks<'_> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks
            .credentials(|_url, _user, allowed| self.log_in(allowed))
            .certificate_check(|certificate, _host| self.check_certificate(certificate))
            .transfer_progress(|progress| {
                self.may_go_on(progress.received_bytes() as u64, progress.total_objects())
            })
            .sideband_progress(|_| self.may_go_on(0, 0));
        callbacks
    }

    fn may_go_on(&self, received: u64, objects: usize) -> bool {
        if objects > self.max_objects {
            self.refuse(GitError::TooManyObjects { remote: self.name(), limit: self.max_objects });
            return false;
        }
        let limit = self.settings.max_fetch_bytes;
        if received > limit {
            self.refuse(GitError::FetchTooLarge { remote: self.name(), limit });
            return false;
        }
        if self.start.elapsed() > self.total() || self.relay.as_ref().is_some_and(Relay::is_over) {
            self.refuse(self.too_slow());
            return false;
        }
        true
    }

    /// Gives libgit2 the ssh key. The token of an https remote is the relay's to give.
    fn log_in(&self, allowed: CredentialType) -> Result<Cred, git2::Error> {
        let (Parts::Ssh { user, .. }, Auth::SshKey { private_key, passphrase, .. }) =
            (self.settings.url.parts(), self.auth)
        else {
            return Err(self.deny("it asks for a login where none is expected"));
        };
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(user);
        }
        // libgit2 asks again when the host refused the key, and would do so for ever.
        self.logins.set(self.logins.get() + 1);
        if self.logins.get() > 1 {
            return Err(
                self.deny("the ssh key was refused; check that its public half may read the repository")
            );
        }
        if !allowed.contains(CredentialType::SSH_KEY) {
            return Err(self.deny("the host does not accept ssh keys"));
        }
        if let Err(error) = File::open(private_key) {
            let reason = format!("the private key {} can't be read: {error}", private_key.display());
            return Err(self.refuse(self.unusable(&reason)));
        }
        Cred::ssh_key(user, None, private_key, passphrase.as_ref().map(Secret::expose))
    }

    fn check_certificate(&self, certificate: &Cert<'_>) -> Result<CertificateCheckStatus, git2::Error> {
        let (Parts::Ssh { host, port, .. }, Auth::SshKey { known_hosts, .. }) =
            (self.settings.url.parts(), self.auth)
        else {
            return Err(self.deny("it shows a certificate where none is expected"));
        };
        let key = certificate.as_hostkey().and_then(CertHostkey::hostkey);
        match self.check_host_key(host, *port, known_hosts, key) {
            Ok(()) => Ok(CertificateCheckStatus::CertificateOk),
            Err(error) => Err(self.refuse(error)),
        }
    }

    fn check_host_key(&self, host: &str, port: u16, path: &Path, key: Option<&[u8]>) -> Result<(), GitError> {
        let remote = self.name();
        let text = fs::read_to_string(path).map_err(|error| {
            self.unusable(&format!("known_hosts {} can't be read: {error}", path.display()))
        })?;
        let Some(key) = key else {
            return Err(self.unreachable("the ssh host showed no key"));
        };
        let shown = |found: String| {
            let (fingerprint, line) = (known_hosts::fingerprint(key), known_hosts::line_for(host, port, key));
            Box::new(ShownHostKey { known_hosts: path.to_owned(), found, fingerprint, line })
        };
        match known_hosts::look_up(&text, host, port, key) {
            Opinion::Known => Ok(()),
            Opinion::Unknown { other_types } if other_types.is_empty() => {
                Err(GitError::HostKeyUnknown { remote, key: shown("has no line for it".to_owned()) })
            }
            Opinion::Unknown { other_types } => {
                let types = one_line(&other_types.join(", "), 120);
                let found = format!("has only keys of other types for it ({types})");
                Err(GitError::HostKeyUnknown { remote, key: shown(found) })
            }
            Opinion::Changed { line } => Err(GitError::HostKeyMismatch {
                remote,
                key: shown(format!("has another key in line {line}")),
            }),
            Opinion::Revoked { line } => Err(GitError::HostKeyMismatch {
                remote,
                key: shown(format!("revokes its key in line {line}")),
            }),
        }
    }

    /// Finds where the branch is among the refs that the remote lists, and where the pull requests are.
    pub(super) fn find_branch(&self, remote: &Remote<'_>) -> Result<(Oid, BTreeMap<u64, String>), GitError> {
        let heads = remote.list().map_err(|error| self.explain(&error, None))?;
        let (mut found, mut existing, mut pulls) = (None, Vec::new(), PullHeads::new(self.settings.pulls));
        for head in heads {
            // git2 panics on a ref name that is not UTF-8. Such a ref can't be one that is followed.
            let Ok(name) = panic::catch_unwind(panic::AssertUnwindSafe(|| head.name())) else { continue };
            match name.strip_prefix("refs/heads/") {
                Some(branch) if branch == self.settings.branch => found = Some(head.oid()),
                Some(branch) => existing.push(one_line(branch, 80)),
                None => pulls.add(name, head.oid()),
            }
        }
        if let Some(found) = found {
            return Ok((found, pulls.commits()));
        }
        let (remote, branch, total) = (self.name(), self.settings.branch.clone(), existing.len());
        if existing.is_empty() {
            return Err(GitError::EmptyRepository { remote, branch });
        }
        existing.truncate(BRANCHES_NAMED);
        Err(GitError::BranchMissing { remote, branch, existing, total })
    }

    /// Finds where the heads of pull requests are among the refs that the remote lists.
    pub(super) fn find<'w>(
        &self,
        remote: &Remote<'_>,
        wanted: &'w [PullRef],
    ) -> Result<Vec<(&'w PullRef, Oid)>, GitError> {
        let by_name: BTreeMap<_, _> = wanted.iter().map(|pull| (pull.reference.as_str(), pull)).collect();
        let heads = remote.list().map_err(|error| self.explain(&error, None))?;
        let found = heads.iter().filter_map(|head| {
            let name = panic::catch_unwind(panic::AssertUnwindSafe(|| head.name())).ok()?;
            // A refspec is made of the name: one that is no name would say more than a name says.
            let is_name = name.starts_with("refs/") && Reference::is_valid_name(name);
            let pull = by_name.get(name).filter(|_| is_name)?;
            Some((*pull, head.oid()))
        });
        Ok(found.collect())
    }

    /// Turns an error of libgit2 into one that says what to do. What the callbacks and the relay know comes
    /// first: libgit2 only saw a connection end. `mirror` is the mirror's folder once objects are being stored,
    /// when its own damage may be the cause.
    pub(super) fn explain(&self, error: &git2::Error, mirror: Option<&Path>) -> GitError {
        if let Some(refusal) = self.refusal.take() {
            return refusal;
        }
        if let Some(verdict) = self.relay.as_ref().and_then(Relay::verdict) {
            return self.explain_verdict(verdict);
        }
        match self.settings.url.parts() {
            Parts::Local { path } => self.explain_local(error, path, mirror),
            Parts::Https { .. } => self.explain_common(error, mirror),
            Parts::Ssh { .. } => self.explain_ssh(error, mirror),
        }
    }

    fn explain_verdict(&self, verdict: Verdict) -> GitError {
        let remote = self.name();
        match verdict {
            Verdict::Silent => {
                GitError::TimedOut { remote, reason: "nothing came", limit: self.settings.timeout }
            }
            Verdict::Slow => self.too_slow(),
            Verdict::TooMuch => GitError::FetchTooLarge { remote, limit: self.settings.max_fetch_bytes },
            Verdict::Lost(reason) => self.unreachable(&reason),
            Verdict::Untrusted(reason) => {
                GitError::CertificateUntrusted { remote, reason: self.scrub(&reason) }
            }
            Verdict::Elsewhere(target) => {
                GitError::Redirected { remote, target: self.scrub(without_query(&target)) }
            }
            Verdict::NotGit(content_type) => GitError::RemoteIsNotGit {
                remote,
                reason: format!("its content type is {}", self.scrub(&content_type)),
            },
            Verdict::Status(401 | 403) => {
                let reason = match self.auth {
                    Auth::Token { .. } => {
                        "the token was refused; check that it is valid and may read the repository"
                    }
                    Auth::Anonymous | Auth::SshKey { .. } => {
                        "it asks for a login and none is set; set a token"
                    }
                };
                GitError::AuthenticationFailed { remote, reason: reason.to_owned() }
            }
            Verdict::Status(404 | 410) => {
                let reason =
                    "the server knows no such repository; many say so too when the login may not see it";
                GitError::RepositoryMissing { remote, reason: reason.to_owned() }
            }
            Verdict::Status(status) => self.unreachable(&format!("it answers with HTTP status {status}")),
        }
    }

    fn explain_local(&self, error: &git2::Error, path: &Path, mirror: Option<&Path>) -> GitError {
        let (remote, reason) = (self.name(), self.scrub(error.message()));
        if error.code() == ErrorCode::Owner || reason.contains("is not owned by") {
            return GitError::OwnerDiffers { remote };
        }
        if reason.contains("extension")
            || reason.contains("object format")
            || reason.contains("repositoryformatversion")
        {
            return GitError::UnsupportedFormat { remote, reason };
        }
        if !path.exists() {
            return GitError::RepositoryMissing { remote, reason: "there is no such folder".to_owned() };
        }
        if error.class() == ErrorClass::Repository || error.code() == ErrorCode::NotFound {
            return GitError::RepositoryMissing { remote, reason };
        }
        self.explain_common(error, mirror)
    }

    fn explain_ssh(&self, error: &git2::Error, mirror: Option<&Path>) -> GitError {
        let (remote, reason) = (self.name(), self.scrub(error.message()));
        if error.code() == ErrorCode::Auth || reason.contains("authenticat") || reason.contains("private key")
        {
            return GitError::AuthenticationFailed { remote, reason };
        }
        if error.code() == ErrorCode::Eof
            || reason.contains("EOF")
            || reason.contains("could not read from remote")
        {
            return GitError::RepositoryMissing {
                remote,
                reason: format!(
                    "the host closed the connection ({reason}); check the path and that the key may read it"
                ),
            };
        }
        self.explain_common(error, mirror)
    }

    fn explain_common(&self, error: &git2::Error, mirror: Option<&Path>) -> GitError {
        let reason = self.scrub(error.message());
        match error.class() {
            _ if error.code() == ErrorCode::Auth => {
                GitError::AuthenticationFailed { remote: self.name(), reason }
            }
            ErrorClass::Odb
            | ErrorClass::Object
            | ErrorClass::Tree
            | ErrorClass::Reference
            | ErrorClass::Config => match mirror {
                Some(folder) => GitError::Corrupt { folder: folder.to_owned(), reason },
                None => self.broken(&reason),
            },
            ErrorClass::Indexer | ErrorClass::Zlib | ErrorClass::Sha1 => self.broken(&reason),
            _ => self.unreachable(&reason),
        }
    }

    /// Keeps an error for [`Self::explain`] and returns the one that makes libgit2 stop.
    fn refuse(&self, error: GitError) -> git2::Error {
        self.refusal.borrow_mut().get_or_insert(error);
        refused()
    }

    fn deny(&self, reason: &str) -> git2::Error {
        self.refuse(GitError::AuthenticationFailed { remote: self.name(), reason: reason.to_owned() })
    }

    fn unusable(&self, reason: &str) -> GitError {
        GitError::Settings { remote: self.name(), reason: self.scrub(reason) }
    }

    fn unreachable(&self, reason: &str) -> GitError {
        GitError::Unreachable { remote: self.name(), reason: self.scrub(reason) }
    }

    pub(super) fn broken(&self, reason: &str) -> GitError {
        GitError::RemoteBroken { remote: self.name(), reason: self.scrub(reason) }
    }

    fn too_slow(&self) -> GitError {
        GitError::TimedOut { remote: self.name(), reason: "it was not complete", limit: self.total() }
    }

    fn total(&self) -> Duration {
        self.settings.timeout.saturating_mul(TOTAL_TIMEOUTS)
    }

    pub(super) fn name(&self) -> String {
        self.settings.url.to_string()
    }

    /// Makes foreign text fit for a message, and takes out the secrets in case a library or server repeats one.
    fn scrub(&self, text: &str) -> String {
        let secret = match self.auth {
            Auth::Token { username: _, token } => Some(token),
            Auth::SshKey { private_key: _, passphrase, known_hosts: _ } => passphrase.as_ref(),
            Auth::Anonymous => None,
        };
        match secret.map(Secret::expose) {
            Some(secret) if !secret.is_empty() => one_line(&text.replace(secret, "…"), 300),
            _ => one_line(text, 300),
        }
    }
}

fn refused() -> git2::Error {
    git2::Error::new(ErrorCode::User, ErrorClass::Callback, "refused")
}

/// Cuts off what may hold a ticket or a login.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

pub(super) fn percent_encoded(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let encode =
        |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_encoded_bytes().iter().map(encode).collect::<Vec<_>>().concat()
}
