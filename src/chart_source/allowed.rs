//! Which sources the operator allows: prefixes of addresses, compared by their parts.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// What is spoken with a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Https,
    Http,
    Oci,
    /// OCI without TLS.
    OciHttp,
    GitHttps,
    GitSsh,
}

impl Kind {
    const ALL: [(&'static str, Self); 6] = [
        ("https", Self::Https),
        ("http", Self::Http),
        ("oci", Self::Oci),
        ("oci+http", Self::OciHttp),
        ("git+https", Self::GitHttps),
        ("git+ssh", Self::GitSsh),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    fn port(self) -> u16 {
        match self {
            Self::Https | Self::Oci | Self::GitHttps => 443,
            Self::Http | Self::OciHttp => 80,
            Self::GitSsh => 22,
        }
    }

    fn has_tls(self) -> bool {
        !matches!(self, Self::Http | Self::OciHttp)
    }
}

/// Allows every source whose address begins with this one: same scheme, host and port, and whole segments of the path.
///
/// The schemes are `https`, `http` (Helm repositories), `oci`, `oci+http` (registries, the latter without TLS), `git+https`
/// and `git+ssh`.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedSource(Location);

/// The text is not a prefix of sources; fits "failed to read the allowed source: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AllowedSourceError(String);

impl FromStr for AllowedSource {
    type Err = AllowedSourceError;

    fn from_str(text: &str) -> Result<Self, AllowedSourceError> {
        Location::parse(text).map(Self).map_err(AllowedSourceError)
    }
}

impl fmt::Display for AllowedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for AllowedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowedSource({})", self.0)
    }
}

/// Where a source is, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub kind: Kind,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: Option<u16>,
    segments: Vec<String>,
}

impl Location {
    /// Takes an address apart. The error says what is wrong with it, without repeating what may be a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let schemes = || Kind::ALL.map(|(name, _)| format!("{name}://")).join(", ");
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| format!("it begins with none of {}", schemes()))?;
        let kind = Kind::ALL.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
        let (_, kind) = *kind.ok_or_else(|| format!("its scheme is none of {}", schemes()))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]+".contains(c);
        if rest.contains('@') {
            return Err("it names a user: logins come from the file of credentials".to_owned());
        }
        if !rest.chars().all(plain) {
            return Err("it holds other characters than letters, digits and `-._~:/[]+`".to_owned());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = host_and_port(authority)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<_> = path.split('/').filter(|_| !path.is_empty()).map(str::to_owned).collect();
        if segments.iter().any(|segment| segment.is_empty() || segment == "." || segment == "..") {
            return Err("its path has `.`, `..` or nothing between two slashes".to_owned());
        }
        Ok(Self { kind, host, port, segments })
    }

    /// Returns the kind by which a source is allowed, the one with TLS if there are two.
    pub fn allowed_by(&self, allowed: &[AllowedSource]) -> Option<Kind> {
        let covering = allowed.iter().filter(|AllowedSource(prefix)| prefix.covers(self));
        covering.map(|AllowedSource(prefix)| prefix.kind).max_by_key(|kind| kind.has_tls())
    }

    fn covers(&self, source: &Self) -> bool {
        let Self { kind, host, port, segments } = self;
        // A reference to a registry does not say whether there is TLS; its operator does.
        let same_kind = *kind == source.kind || (*kind == Kind::OciHttp && source.kind == Kind::Oci);
        let effective = |port: Option<u16>| port.unwrap_or(kind.port());
        same_kind
            && *host == source.host
            && effective(*port) == effective(source.port)
            && source.segments.starts_with(segments)
    }

    /// Returns the address for HTTP of a path below the host, made of whole segments.
    pub fn url(&self, kind: Kind, path: &str) -> Option<Url> {
        let scheme = if kind.has_tls() { "https" } else { "http" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        Url::parse(&format!("{scheme}://{}{port}/{path}", self.host)).ok()
    }

    /// Returns the path without slashes at its ends.
    pub fn path(&self) -> String {
        self.segments.join("/")
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.kind.name(), self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", self.path())
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let colon = authority.rfind(':').filter(|colon| !authority[*colon..].contains(']'));
    let (host, port) = match colon {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    // What is a host in all its forms, `127.1` too, only the parser of URLs knows.
    let parsed = Url::parse(&format!("https://{host}/")).ok().filter(|_| !host.is_empty());
    let host = parsed.and_then(|url| url.host_str().map(str::to_owned)).ok_or("it names no host")?;
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(port.parse().ok().filter(|port| *port != 0).ok_or("its port is none")?)
        }
        Some(_) => return Err("its port is none".to_owned()),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(allowed: &str, source: &str) -> Option<Kind> {
        let allowed: AllowedSource = allowed.parse().unwrap();
        Location::parse(source).unwrap().allowed_by(&[allowed])
    }

    #[test]
    fn a_prefix_allows_what_lies_below_it_by_whole_segments() {
        for (allowed, source) in [
            ("https://charts.example.com", "https://charts.example.com"),
            ("https://charts.example.com/", "https://charts.example.com/stable/"),
            ("https://charts.example.com/", "https://Charts.Example.com:443/stable"),
            ("https://charts.example.com:8443/a", "https://charts.example.com:8443/a/b"),
            ("oci://ghcr.io/acme/", "oci://ghcr.io/acme/charts/shop"),
            ("oci+http://registry:5000/", "oci://registry:5000/shop"),
            ("git+https://forge.example.com/charts", "git+https://forge.example.com/charts/shop.git"),
            ("git+ssh://forge.example.com/", "git+ssh://forge.example.com:22/charts/shop.git"),
            ("http://127.0.0.1:80/", "http://127.0.0.1/a"),
            ("https://[::1]:8443/", "https://[::1]:8443/a"),
        ] {
            assert!(allows(allowed, source).is_some(), "{allowed} {source}");
        }
    }

    #[test]
    fn a_prefix_allows_nothing_that_only_begins_with_its_letters() {
        for (allowed, source) in [
            ("https://charts.example.com/", "https://charts.example.com.evil.com/"),
            ("https://charts.example.com/", "https://charts.example.comevil/"),
            ("https://charts.example.com/", "https://charts.example.com:8443/"),
            ("https://charts.example.com/", "http://charts.example.com/"),
            ("https://charts.example.com/", "git+https://charts.example.com/"),
            ("oci://ghcr.io/acme/", "oci://ghcr.io/acme-evil/shop"),
            ("oci://ghcr.io/acme/", "oci://ghcr.io/"),
            ("oci://registry:5000/", "oci://registry/shop"),
            ("oci+http://registry/", "oci://registry:443/shop"),
            ("https://charts.example.com/a", "https://charts.example.com/A"),
        ] {
            assert_eq!(allows(allowed, source), None, "{allowed} {source}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_address() {
        for text in [
            "",
            "charts.example.com",
            "ftp://charts.example.com/",
            "https://",
            "https:///a",
            "https://charts.example.com@evil.com/",
            "https://user:canary@charts.example.com/",
            "https://charts.example.com/../evil",
            "https://charts.example.com/a/./b",
            "https://charts.example.com//a",
            "https://charts.example.com/%2e%2e/evil",
            "https://charts.example.com\\@evil.com/",
            "https://charts.example.com/?a",
            "https://charts.example.com/#a",
            "https://charts.example.com:0/",
            "https://charts.example.com:/",
            "https://charts.example.com:99999/",
            "https://charts.exa mple.com/",
            "https://charts.example.com/é",
            "git+file:///srv",
        ] {
            let error = Location::parse(text).err().unwrap_or_else(|| panic!("{text} is read"));
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_registry_without_tls_is_one_only_when_its_operator_says_so() {
        let allowed: Vec<AllowedSource> =
            ["oci+http://registry:443/", "oci://registry:443/"].map(|text| text.parse().unwrap()).into();
        let source = Location::parse("oci://registry:443/shop").unwrap();
        assert_eq!(source.allowed_by(&allowed[..1]), Some(Kind::OciHttp));
        assert_eq!(source.allowed_by(&allowed), Some(Kind::Oci));
        let url = |kind| source.url(kind, "v2/").unwrap().to_string();
        assert_eq!(
            (url(Kind::Oci), url(Kind::OciHttp)),
            ("https://registry/v2/".to_owned(), "http://registry:443/v2/".to_owned())
        );
    }
}
