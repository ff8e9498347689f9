//! What the operator says about a forge.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;

use super::error::ForgeError;
use crate::names::ClusterName;

/// How long one request may take.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// The forges that storekeeper talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForgeKind {
    /// GitHub, also Enterprise Server.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
    /// Bitbucket Cloud.
    Bitbucket,
}

impl ForgeKind {
    /// Every forge.
    pub const ALL: [Self; 4] = [Self::GitHub, Self::GitLab, Self::Gitea, Self::Bitbucket];

    /// Returns the forge's name as settings write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::Bitbucket => "bitbucket",
        }
    }

    /// Returns how many characters a comment may have, so that texts can be made to fit. Longer ones are cut.
    pub fn comment_max(self) -> usize {
        match self {
            Self::GitHub | Self::Gitea => 65_536,
            Self::GitLab => 1_000_000,
            Self::Bitbucket => 32_768,
        }
    }

    /// Returns where people see the forge, without a slash at the end: where they are said to be, or beside its API.
    pub fn pages(self, said: Option<&str>, api: Option<&str>) -> Option<String> {
        let api = api.or(self.public_api()).map(|api| api.trim_end_matches('/'));
        let beside = api.map(|api| match (self, api) {
            (Self::GitHub, "https://api.github.com") => "https://github.com",
            (Self::Bitbucket, "https://api.bitbucket.org/2.0") => "https://bitbucket.org",
            // Enterprise Server has its API at /api/v3.
            (Self::GitHub, own) => own.trim_end_matches("/api/v3"),
            (_, own) => own.trim_end_matches(self.api_path().unwrap_or_default()),
        });
        said.or(beside).map(|pages| pages.trim_end_matches('/').to_owned())
    }

    /// Returns where the public forge's API is.
    fn public_api(self) -> Option<&'static str> {
        match self {
            Self::GitHub => Some("https://api.github.com"),
            Self::GitLab => Some("https://gitlab.com/api/v4"),
            Self::Gitea => None,
            Self::Bitbucket => Some("https://api.bitbucket.org/2.0"),
        }
    }

    /// Returns how the path of every such API ends. GitHub's differs with the edition.
    fn api_path(self) -> Option<&'static str> {
        match self {
            Self::GitHub => None,
            Self::GitLab => Some("/api/v4"),
            Self::Gitea => Some("/api/v1"),
            Self::Bitbucket => Some("/2.0"),
        }
    }
}

impl fmt::Display for ForgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ForgeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forgejo" {
            return Ok(Self::Gitea);
        }
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no forge: use github, gitlab, gitea, forgejo or bitbucket"))
    }
}

/// Says who storekeeper is on the forge. The files are read at each use, so that they may be replaced at any time.
#[derive(Debug, Clone)]
pub enum Login {
    /// A token. For Bitbucket `user:token` in the file means Basic authentication.
    Token {
        /// The file that holds it.
        file: PathBuf,
    },
    /// A GitHub App that is installed on the repository.
    App {
        /// The App's id or client id.
        id: String,
        /// The PEM file of the App's private key.
        key_file: PathBuf,
    },
}

/// Describes one repository on a forge.
#[derive(Debug, Clone)]
pub struct ForgeSettings {
    /// Which forge.
    pub kind: ForgeKind,
    /// The base URL of its API, such as `https://git.example.com/api/v1`; the public one if there is none. Gitea has no
    /// public one. Where every API of the kind has the same path (`/api/v4`, `/api/v1`, `/2.0`), it may be left out.
    pub api: Option<String>,
    /// The repository: `owner/name`, on GitLab also `group/subgroup/name`.
    pub repository: String,
    /// Who storekeeper is.
    pub login: Login,
    /// A PEM file of authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
    /// The cluster that is spoken of, where the fleet has several: what is said at lines of files is told from what the other
    /// clusters' storekeepers say there.
    pub cluster: Option<ClusterName>,
}

impl ForgeSettings {
    /// Checks the base URL: https, or http to this machine.
    pub(super) fn base(&self) -> Result<Url, ForgeError> {
        let Some(text) = self.api.as_deref().or(self.kind.public_api()) else {
            return Err(unusable(format!(
                "there is no public {}: set the base URL of its API, such as https://git.example.com/api/v1",
                self.kind
            )));
        };
        // The text is not repeated: it may hold a password.
        let wrong = |what: &str| unusable(format!("the base URL of the API {what}"));
        let mut url: Url = text.parse().map_err(|error| wrong(&format!("is no URL: {error}")))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        match url.scheme() {
            "https" => {}
            "http" if is_this_machine(&host) => {}
            "http" => {
                return Err(wrong("is http, which would show the token to everybody on the way: use https"));
            }
            _ => return Err(wrong("is neither https nor http")),
        }
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("holds a user name or password: put the token into its own file"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("holds `?` or `#`, which it has no use for"));
        }
        if self.kind == ForgeKind::GitHub && host == "github.com" {
            return Err(wrong("is that of the pages; the API is at https://api.github.com"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let end = self.kind.api_path().filter(|end| !path.ends_with(end)).unwrap_or_default();
        url.set_path(&format!("{path}{end}"));
        Ok(url)
    }

    /// Checks the repository's name and returns what stands between its slashes.
    pub(super) fn repository(&self) -> Result<Vec<String>, ForgeError> {
        let parts: Vec<String> = self.repository.split('/').map(str::to_owned).collect();
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = |part: &String| {
            let dots = part.bytes().all(|byte| byte == b'.');
            !dots && part.len() <= 255 && part.bytes().all(inner)
        };
        let (most, form) = match self.kind {
            ForgeKind::GitLab => (20, "group/name or group/subgroup/name"),
            ForgeKind::GitHub | ForgeKind::Gitea => (2, "owner/name"),
            ForgeKind::Bitbucket => (2, "workspace/name"),
        };
        if (2..=most).contains(&parts.len()) && parts.iter().all(fits) {
            return Ok(parts);
        }
        let found: String = self.repository.chars().take(100).flat_map(char::escape_debug).collect();
        Err(unusable(format!("`{found}` is no repository of {}: use {form}", self.kind)))
    }
}

fn unusable(reason: String) -> ForgeError {
    ForgeError::Settings { reason }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(kind: ForgeKind, api: Option<&str>, repository: &str) -> ForgeSettings {
        ForgeSettings {
            kind,
            api: api.map(str::to_owned),
            repository: repository.to_owned(),
            login: Login::Token { file: PathBuf::from("/run/token") },
            ca_file: None,
            timeout: DEFAULT_TIMEOUT,
            cluster: None,
        }
    }

    #[test]
    fn a_forge_is_named_in_lower_case_and_forgejo_is_gitea() {
        for kind in ForgeKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("forgejo".parse(), Ok(ForgeKind::Gitea));
        assert!("GitHub".parse::<ForgeKind>().unwrap_err().contains("github"));
    }

    #[test]
    fn a_base_url_is_the_public_one_or_the_one_that_is_set() {
        let base = |kind, api| settings(kind, api, "a/b").base().map(|url| url.to_string());
        assert_eq!(base(ForgeKind::GitHub, None).unwrap(), "https://api.github.com/");
        assert_eq!(base(ForgeKind::GitLab, None).unwrap(), "https://gitlab.com/api/v4");
        assert_eq!(base(ForgeKind::Bitbucket, None).unwrap(), "https://api.bitbucket.org/2.0");
        assert!(base(ForgeKind::Gitea, None).unwrap_err().to_string().contains("api/v1"));
        let gitea = base(ForgeKind::Gitea, Some("https://git.example.com/")).unwrap();
        assert_eq!(gitea, "https://git.example.com/api/v1");
        let gitea = base(ForgeKind::Gitea, Some("https://git.example.com/git/api/v1/")).unwrap();
        assert_eq!(gitea, "https://git.example.com/git/api/v1");
        let enterprise = base(ForgeKind::GitHub, Some("https://ghe.example.com/api/v3")).unwrap();
        assert_eq!(enterprise, "https://ghe.example.com/api/v3");
        for local in ["http://127.0.0.1:3000", "http://[::1]:3000", "http://localhost:3000"] {
            assert!(base(ForgeKind::Gitea, Some(local)).is_ok(), "{local}");
        }
    }

    #[test]
    fn a_base_url_that_would_show_a_token_is_refused_without_repeating_it() {
        for bad in [
            "http://canary.example.com",
            "http://127.0.0.1.canary.example",
            "http://10.0.0.1",
            "https://user:canary@git.example.com",
            "https://canary@git.example.com",
            "https://git.example.com/?token=canary",
            "https://git.example.com/#canary",
            "ftp://canary.example.com",
            "canary",
            "https://",
            "file:///canary",
            "https://github.com",
        ] {
            let error = settings(ForgeKind::GitHub, Some(bad), "a/b").base().expect_err(bad);
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_repository_is_names_between_slashes() {
        let parts = |kind, name| settings(kind, None, name).repository();
        assert_eq!(parts(ForgeKind::GitHub, "acme/stores.v2").unwrap(), ["acme", "stores.v2"]);
        assert_eq!(parts(ForgeKind::GitLab, "a/b/c").unwrap(), ["a", "b", "c"]);
        for bad in
            ["", "acme", "a/b/c", "a/..", "./a", "a/", "/a", "a/b?x", "a/b%2f", "a/b c", "ä/b", "a/b\n"]
        {
            assert!(parts(ForgeKind::GitHub, bad).is_err(), "{bad:?}");
        }
    }
}
