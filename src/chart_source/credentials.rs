//! Logins by host, in the format of Docker's `config.json`, which is that of Secrets of type
//! `kubernetes.io/dockerconfigjson` too.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

/// A user name with its password. Neither can be printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub username: String,
    pub password: String,
}

impl Login {
    /// Returns the value of an Authorization header.
    pub fn basic(&self) -> Option<HeaderValue> {
        sensitive(&format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password))))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

/// Makes a header's value that is not printed either.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// Returns the login for the host of a URL, from the file as it is now. The error repeats nothing of the file.
pub(super) fn login_for(url: &Url, path: &Path) -> Result<Option<Login>, String> {
    let text =
        fs::read(path).map_err(|error| format!("read the credentials in {}: {error}", path.display()))?;
    login_in(&text, url).map_err(|reason| format!("read the credentials in {}: {reason}", path.display()))
}

fn login_in(text: &[u8], url: &Url) -> Result<Option<Login>, String> {
    let file: File = serde_json::from_slice(text).map_err(|error| {
        // Its words may repeat a value; the place does not.
        format!("line {} column {} is not as in Docker's config.json", error.line(), error.column())
    })?;
    let host = url.host_str().unwrap_or_default();
    let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    let is_for = |name: &str| name == with_port || (url.port().is_none() && name == host);
    let Some((name, entry)) = file.auths.iter().find(|(name, _)| is_for(&host_of(name))) else {
        return Ok(None);
    };
    let Entry { auth, username, password } = entry;
    if let (Some(username), Some(password)) = (username, password) {
        return Ok(Some(Login { username: username.clone(), password: password.clone() }));
    }
    let decoded = auth.as_ref().and_then(|auth| String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok());
    let login = decoded.as_ref().and_then(|decoded| decoded.split_once(':'));
    let (username, password) = login.ok_or_else(|| {
        format!("the entry of {} has neither `auth` nor `username` and `password`", host_of(name))
    })?;
    Ok(Some(Login { username: username.to_owned(), password: password.to_owned() }))
}

/// Returns the host, with a port if there is one, of a name such as `ghcr.io` or `https://ghcr.io/v1/`.
fn host_of(name: &str) -> String {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    name.split('/').next().unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str, url: &str) -> Result<Option<Login>, String> {
        login_in(text.as_bytes(), &url.parse().unwrap())
    }

    #[test]
    fn a_login_is_for_its_host_and_port_alone() {
        let auth = STANDARD.encode("ada:can:ary");
        let text = format!(
            r#"{{"auths": {{"https://Ghcr.io/v1/": {{"auth": "{auth}"}}, "registry:5000": {{"username": "u", "password": "p"}}}}}}"#
        );
        let found = login(&text, "https://ghcr.io/v2/").unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("ada", "can:ary"));
        assert_eq!(format!("{found:?} {:?}", found.basic().unwrap()), "Login(…) Sensitive");
        assert!(login(&text, "https://ghcr.io:443/").unwrap().is_some());
        assert!(login(&text, "http://registry:5000/").unwrap().is_some());
        for url in [
            "https://ghcr.io:8443/",
            "https://ghcr.io.evil.com/",
            "https://registry/",
            "https://hub.ghcr.io/",
        ] {
            assert!(login(&text, url).unwrap().is_none(), "{url}");
        }
        assert!(login("{}", "https://ghcr.io/").unwrap().is_none());
    }

    #[test]
    fn a_broken_file_is_told_without_what_it_holds() {
        for text in [
            r#"{"auths": {"ghcr.io": {"auth": "canary"}}}"#,
            r#"{"auths": {"ghcr.io": {"auth": 7, "x": "canary"}}}"#,
            r#"{"auths": {"ghcr.io": {"username": "canary"}}}"#,
            "canary",
        ] {
            let error = login(text, "https://ghcr.io/").unwrap_err();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
