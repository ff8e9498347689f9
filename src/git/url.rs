//! Where a source lies: a validated URL that can't print who logs in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Why a text is not a URL that a source may have; fits "failed to parse the URL: {error}". No variant repeats
/// the text, because it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing was given.
    #[error("the URL is empty")]
    Empty,
    /// The text holds a control character or white space.
    #[error("the URL holds white space or a control character")]
    Characters,
    /// The text starts with `-`: some program could take it for an option.
    #[error("the URL starts with `-`")]
    LeadingDash,
    /// The scheme is not one that storekeeper speaks.
    #[error(
        "the scheme `{scheme}` is not supported: use https://, ssh://, git@host:path or an absolute local path"
    )]
    Scheme {
        /// The scheme, without what follows it.
        scheme: String,
    },
    /// The transport would neither hide the token nor prove who answers.
    #[error("http:// neither hides a token nor proves who answers: use https://")]
    PlainHttp,
    /// An https URL holds a user name or password.
    #[error("the URL holds a user name or password: give the token in its own setting")]
    Credentials,
    /// A query or fragment: git has no use for it and tokens hide in it.
    #[error("the URL holds `?` or `#`, which a git URL has no use for")]
    Query,
    /// The host is missing or not a host.
    #[error("the URL has no valid host")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// The ssh user holds characters that a user name has no use for.
    #[error("the ssh user is not letters, digits, `-`, `_` or `.`")]
    User,
    /// The path of the repository is missing, or could be taken for an option by the server.
    #[error("the URL names no repository path")]
    Path,
    /// A local path is relative, or a file URL names another host.
    #[error(
        "a local repository is named by an absolute path, such as /srv/stores.git or file:///srv/stores.git"
    )]
    LocalPath,
}

/// Names a source's repository: https, ssh (`ssh://` and `git@host:path`) or, when the operator writes one, an
/// absolute local path.
///
/// `Display` and `Debug` leave out the user.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl(Parts);

/// What a URL is made of. A host is lower-case and without the brackets of an IPv6 address.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Parts {
    Https { host: String, port: u16, path: String },
    Ssh { user: String, host: String, port: u16, path: String },
    Local { path: PathBuf },
}

impl RemoteUrl {
    /// Returns the path of a local repository, `None` for a remote one.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.0 {
            Parts::Local { path } => Some(path),
            Parts::Https { .. } | Parts::Ssh { .. } => None,
        }
    }

    /// Returns how a forge calls the repository, such as `acme/stores`; none for a local one.
    pub fn name_on_forge(&self) -> Option<String> {
        let (Parts::Https { path, .. } | Parts::Ssh { path, .. }) = &self.0 else { return None };
        let name = path.trim_matches('/');
        let name = name.strip_suffix(".git").unwrap_or(name);
        name.contains('/').then(|| name.to_owned())
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.0
    }
}

impl FromStr for RemoteUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.starts_with('-') {
            return Err(UrlError::LeadingDash);
        }
        if let Some(path) = text.strip_prefix("file://") {
            return local(path);
        }
        if text.starts_with('/') {
            return local(text);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Characters);
        }
        match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => https(rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ssh") => ssh(rest),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => Err(UrlError::PlainHttp),
            Some((scheme, _)) => Err(UrlError::Scheme { scheme: printable_scheme(scheme) }),
            None => scp_like(text),
        }
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Parts::Https { host, port: 443, path } => write!(f, "https://{}{path}", bracketed(host)),
            Parts::Https { host, port, path } => write!(f, "https://{}:{port}{path}", bracketed(host)),
            Parts::Ssh { user: _, host, port, path } => {
                let slash = if path.starts_with('/') { "" } else { "/" };
                match port {
                    22 => write!(f, "ssh://{}{slash}{path}", bracketed(host)),
                    port => write!(f, "ssh://{}:{port}{slash}{path}", bracketed(host)),
                }
            }
            Parts::Local { path } => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({self})")
    }
}

fn https(rest: &str) -> Result<RemoteUrl, UrlError> {
    // The user is looked for before anything is split off: a password may hold any character.
    if rest.contains('@') && rest.find('@') < rest.find('/').or(Some(usize::MAX)) {
        return Err(UrlError::Credentials);
    }
    let (authority, path) = split_path(rest)?;
    let (host, port) = host_and_port(authority, 443)?;
    Ok(RemoteUrl(Parts::Https { host, port, path }))
}

fn ssh(rest: &str) -> Result<RemoteUrl, UrlError> {
    let (authority, path) = split_path(rest)?;
    let (user, authority) = user(authority)?;
    let (host, port) = host_and_port(authority, 22)?;
    Ok(RemoteUrl(Parts::Ssh { user, host, port, path: repository_path(path)? }))
}

/// Parses `git@host:path`, where the path is relative to the home of the user unless it starts with `/`. The
/// user is required: `ext::sh -c …` makes real git run a command, and `file:x` is nobody's host.
fn scp_like(text: &str) -> Result<RemoteUrl, UrlError> {
    let Some(at) = text.find('@') else {
        return match text.split_once(':') {
            Some((scheme, _)) => Err(UrlError::Scheme { scheme: printable_scheme(scheme) }),
            None => Err(UrlError::LocalPath),
        };
    };
    // `[git@host:2222]:path` names a port, `git@[::1]:path` an IPv6 address.
    let colon = if text.starts_with('[') || text[at..].starts_with("@[") {
        text.rfind("]:").map(|bracket| bracket + 1)
    } else {
        text[at..].find(':').map(|colon| at + colon)
    };
    let colon = colon.ok_or(UrlError::Path)?;
    let authority = &text[..colon];
    let authority = match authority.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']').ok_or(UrlError::Host)?,
        None => authority,
    };
    let (user, host) = user(authority)?;
    let (host, port) = host_and_port(host, 22)?;
    Ok(RemoteUrl(Parts::Ssh { user, host, port, path: repository_path(text[colon + 1..].to_owned())? }))
}

fn local(path: &str) -> Result<RemoteUrl, UrlError> {
    if path.chars().any(char::is_control) {
        return Err(UrlError::Characters);
    }
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(UrlError::LocalPath);
    }
    Ok(RemoteUrl(Parts::Local { path: PathBuf::from(path) }))
}

fn split_path(rest: &str) -> Result<(&str, String), UrlError> {
    if rest.contains(['?', '#']) {
        return Err(UrlError::Query);
    }
    let slash = rest.find('/').ok_or(UrlError::Path)?;
    let path = rest[slash..].trim_end_matches('/');
    if path.is_empty() {
        return Err(UrlError::Path);
    }
    Ok((&rest[..slash], path.to_owned()))
}

fn user(authority: &str) -> Result<(String, &str), UrlError> {
    let Some((user, host)) = authority.rsplit_once('@') else {
        return Ok(("git".to_owned(), authority));
    };
    if user.contains(':') {
        return Err(UrlError::Credentials);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if user.is_empty() || user.starts_with('-') || !user.bytes().all(allowed) {
        return Err(UrlError::User);
    }
    Ok((user.to_owned(), host))
}

fn host_and_port(authority: &str, default: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
            match after {
                "" => (host, None),
                after => (host, Some(after.strip_prefix(':').ok_or(UrlError::Port)?)),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (check_host(host)?, Some(port)),
            None => (check_host(authority)?, None),
        },
    };
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?
        }
        Some(_) => return Err(UrlError::Port),
        None => default,
    };
    Ok((host.to_ascii_lowercase(), port))
}

fn check_host(host: &str) -> Result<&str, UrlError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let valid = !host.is_empty() && host.len() <= 253 && !host.starts_with('-') && host.bytes().all(allowed);
    if valid { Ok(host) } else { Err(UrlError::Host) }
}

/// Refuses what the server's `git-upload-pack` could take for an option.
fn repository_path(path: String) -> Result<String, UrlError> {
    if path.is_empty() || path == "/" || path.trim_start_matches('/').starts_with('-') {
        return Err(UrlError::Path);
    }
    Ok(path)
}

fn printable_scheme(scheme: &str) -> String {
    scheme.chars().take(16).filter(char::is_ascii_alphanumeric).collect()
}

/// Puts an IPv6 address into the brackets that it wears in URLs and in `known_hosts`.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_shown_without_its_user() {
        for (text, shown) in [
            ("https://git.example.com/team/stores.git", "https://git.example.com/team/stores.git"),
            ("https://Git.Example.com:8443/stores/", "https://git.example.com:8443/stores"),
            ("https://[::1]:8443/stores", "https://[::1]:8443/stores"),
            ("ssh://deploy@git.example.com/stores.git", "ssh://git.example.com/stores.git"),
            ("ssh://git@git.example.com:2222/stores.git", "ssh://git.example.com:2222/stores.git"),
            ("git@git.example.com:team/stores.git", "ssh://git.example.com/team/stores.git"),
            ("[git@git.example.com:2222]:team/stores.git", "ssh://git.example.com:2222/team/stores.git"),
            ("git@[::1]:team/stores.git", "ssh://[::1]/team/stores.git"),
            ("/srv/stores.git", "/srv/stores.git"),
            ("file:///srv/stores.git", "/srv/stores.git"),
        ] {
            let url: RemoteUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("RemoteUrl({shown})"));
        }
    }

    #[test]
    fn a_url_that_could_run_a_command_or_leak_is_refused() {
        for text in [
            "",
            "-uroot@host:x",
            "--upload-pack=touch x",
            "ext::sh -c id",
            "ext::sh",
            "fd::17",
            "http://git.example.com/x",
            "git://git.example.com/x",
            "ftp://git.example.com/x",
            "https://token@git.example.com/x",
            "https://user:canary@git.example.com/x",
            "https://user:can/ary@git.example.com/x@y",
            "ssh://git:canary@git.example.com/x",
            "ssh://-oProxyCommand=id/x",
            "ssh://git@-oProxyCommand=id/x",
            "git@host:-x",
            "git@host:",
            "host",
            "https://git.example.com",
            "https://git.example.com/",
            "https://git.example.com/x?token=canary",
            "https://git.example.com/x#canary",
            "https:///x",
            "https://host:0/x",
            "https://host:99999/x",
            "https://host:+1/x",
            "https://ho st/x",
            "https://host/x\n",
            "file://host/x",
            "file:relative",
            "./x:y",
            "//host/x",
            "/srv/a\0b",
        ] {
            let error = text.parse::<RemoteUrl>().map(|_| ()).expect_err(text);
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
