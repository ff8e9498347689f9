//! Who may read, where that is limited: whoever has the token, or whom a trusted proxy names.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::super::problem::Problem;
use super::Visitor;

/// The shortest token in bytes: a shorter one could be found by trying.
pub const READ_TOKEN_MIN: usize = 16;

/// How old the knowledge of the file may be.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Who may read; anybody when nothing is set.
#[derive(Debug, Clone, Default)]
pub struct LoginSettings {
    /// The file with the token; it may be replaced at any time.
    pub token_file: Option<PathBuf>,
    /// The header in which a trusted proxy names the user.
    pub header: Option<HeaderName>,
}

/// What becomes of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They may read.
    Welcome,
    /// They may not.
    Stranger,
    /// Nobody can tell, for there is no token that can be used.
    NoToken,
}

/// Checks logins. Of the token only its digest is kept.
#[derive(Debug)]
pub(super) struct Login {
    settings: LoginSettings,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    read: Instant,
    digest: Option<[u8; 32]>,
}

impl Login {
    pub(super) fn new(settings: LoginSettings) -> Self {
        Self { settings, known: Mutex::new(None) }
    }

    /// Decides whether somebody may read.
    pub(super) fn check(&self, visitor: &Visitor, headers: &HeaderMap, now: Instant) -> Verdict {
        let LoginSettings { token_file, header } = &self.settings;
        let by_proxy = header.is_some() && visitor.user.is_some();
        match token_file {
            None if header.is_none() || by_proxy => Verdict::Welcome,
            None => Verdict::Stranger,
            Some(_) if by_proxy => Verdict::Welcome,
            Some(path) => match (self.digest(path, now), bearer(headers)) {
                (None, _) => Verdict::NoToken,
                (Some(wanted), Some(token)) if openssl::memcmp::eq(&wanted, &Sha256::digest(token)) => {
                    Verdict::Welcome
                }
                (Some(_), _) => Verdict::Stranger,
            },
        }
    }

    /// Returns the digest of the token as it is now, or was a second ago.
    fn digest(&self, path: &std::path::Path, now: Instant) -> Option<[u8; 32]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *known;
        if let Some(it) = before.filter(|it| now.saturating_duration_since(it.read) < READ_EVERY) {
            return it.digest;
        }
        let text = std::fs::read(path).unwrap_or_default();
        let token = text.trim_ascii();
        let digest = (token.len() >= READ_TOKEN_MIN).then(|| Sha256::digest(token).into());
        if digest.is_none() && before.is_none_or(|it| it.digest.is_some()) {
            let path = path.display();
            tracing::error!(
                %path, "the token for reading is missing, or has fewer than {READ_TOKEN_MIN} bytes: nobody may read"
            );
        }
        *known = Some(Known { read: now, digest });
        digest
    }
}

/// Returns the token that a request carries.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Asks for a login, in a way that a person can follow where one asks for a page.
pub(super) fn ask(settings: &LoginSettings, wants_page: bool) -> Response {
    let by_proxy = "come through the proxy that people log in to";
    let by_token = "send the header `Authorization: Bearer <token>`";
    let what = match (settings.token_file.is_some(), settings.header.is_some()) {
        (true, true) => format!("{by_proxy}, or {by_token}"),
        (true, false) => by_token.to_owned(),
        (false, _) => by_proxy.to_owned(),
    };
    let status = StatusCode::UNAUTHORIZED;
    let mut response = if wants_page {
        let token = if settings.token_file.is_some() {
            "<p>Programs send the header <code>Authorization: Bearer &lt;token&gt;</code>. Browsers can't: let whoever runs \
             storekeeper put a proxy with a login in front of it, as docs/monitoring.md says.</p>"
        } else {
            ""
        };
        let page = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>Log in · storekeeper</title><h1>You are not logged in</h1><p>This page \
             is for people who are. Come through the address that your team logs in at.</p>{token}</html>"
        );
        (status, Html(page)).into_response()
    } else {
        Problem::new(status, format!("only who is logged in may read: {what}")).into_response()
    };
    let scheme = HeaderValue::from_static("Bearer realm=\"storekeeper\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    response
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn verdict(login: &Login, user: Option<&str>, authorization: &str, now: Instant) -> Verdict {
        let visitor = Visitor { address: IpAddr::from([192, 0, 2, 1]), user: user.map(str::to_owned) };
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        login.check(&visitor, &headers, now)
    }

    #[test]
    fn a_token_lets_in_and_another_one_does_after_the_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first-token-of-16-bytes\n").unwrap();
        let settings = LoginSettings { token_file: Some(path.clone()), header: None };
        let (login, now) = (Login::new(settings), Instant::now());
        assert_eq!(verdict(&login, None, "Bearer first-token-of-16-bytes", now), Verdict::Welcome);
        assert_eq!(verdict(&login, None, "bearer first-token-of-16-bytes", now), Verdict::Welcome);
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer first-token-of-16-byte", "Basic first-token-of-16-bytes"]
        {
            assert_eq!(verdict(&login, None, wrong, now), Verdict::Stranger, "{wrong}");
        }
        assert_eq!(verdict(&login, Some("ada"), "", now), Verdict::Stranger, "no header is agreed on");
        std::fs::write(&path, "second-token-of-16-bytes").unwrap();
        let later = now + READ_EVERY;
        assert_eq!(verdict(&login, None, "Bearer first-token-of-16-bytes", later), Verdict::Stranger);
        assert_eq!(verdict(&login, None, "Bearer second-token-of-16-bytes", later), Verdict::Welcome);
        std::fs::write(&path, "short").unwrap();
        assert_eq!(verdict(&login, None, "Bearer short", later + READ_EVERY), Verdict::NoToken);
    }

    #[test]
    fn an_empty_file_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "").unwrap();
        let login = Login::new(LoginSettings { token_file: Some(path), header: None });
        assert_eq!(verdict(&login, None, "Bearer ", Instant::now()), Verdict::NoToken);
    }

    #[test]
    fn without_settings_anybody_may_read_and_with_a_header_whom_the_proxy_names() {
        let now = Instant::now();
        assert_eq!(verdict(&Login::new(LoginSettings::default()), None, "", now), Verdict::Welcome);
        let header = Some(HeaderName::from_static("x-forwarded-user"));
        let login = Login::new(LoginSettings { token_file: None, header });
        assert_eq!(verdict(&login, None, "", now), Verdict::Stranger);
        assert_eq!(verdict(&login, Some("ada"), "", now), Verdict::Welcome);
    }
}
