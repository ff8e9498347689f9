//! One request to a forge's API and its answer: bounded in time and bytes, JSON both ways, and never to another host.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Clock;
use super::error::ForgeError;
use super::secret::{self, Secret};
use super::settings::{ForgeKind, ForgeSettings};
use super::wait;
use crate::report::one_line;

/// How many bytes of an answer are read.
const ANSWER_MAX: usize = 8 << 20;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection waits for its next request: less than forges and what stands before them keep it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How many times an answer may send us on, on the same host.
const REDIRECTS_MAX: usize = 3;

/// How many characters of a forge's own words are repeated.
const DETAIL_MAX: usize = 300;

/// The version of GitHub's API that this is written for.
const GITHUB_VERSION: &str = "2022-11-28";

/// A request: what it is for, and what is sent.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// What it is for, as it stands after "failed to".
    pub(super) act: String,
    method: Method,
    /// Each segment is encoded as a whole, so that a `/` in it separates nothing.
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Call {
    /// Begins a request of this method.
    pub(super) fn new(act: &str, method: Method, path: &[&str]) -> Self {
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        Self { act: act.to_owned(), method, path, query: Vec::new(), body: None }
    }

    /// Begins a request that changes nothing.
    pub(super) fn get(act: &str, path: &[&str]) -> Self {
        Self::new(act, Method::GET, path)
    }

    /// Adds a parameter to the URL.
    pub(super) fn query(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Sets what is sent.
    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Returns the error that the forge does not answer as a forge.
    pub(super) fn unavailable(&self, detail: impl Into<String>) -> ForgeError {
        ForgeError::Unavailable { act: self.act.clone(), detail: detail.into() }
    }
}

/// What came back, with a status of 200 to 299.
#[derive(Debug)]
pub(super) struct Answer {
    call: Call,
    url: Url,
    pub(super) status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// Reads the body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ForgeError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = if looks_like_json(&self.body) {
                // Its words may repeat a value; the place does not.
                format!("line {} column {} is not what its API answers", error.line(), error.column())
            } else {
                format!("it is {}, not JSON", kind(&self.headers))
            };
            self.call.unavailable(format!(
                "the answer is of no use: {what}; is the base URL that of the API, and is no login page before it?"
            ))
        })
    }

    /// Reads a body that is plain text, such as a diff.
    pub(super) fn text(&self) -> Result<String, ForgeError> {
        let kind = kind(&self.headers);
        if kind.contains("html") || kind.contains("json") {
            return Err(self.call.unavailable(format!("the answer is {kind}, not text")));
        }
        Ok(String::from_utf8_lossy(&self.body).into_owned())
    }

    /// Tells whether the `Link` header names a next page.
    pub(super) fn links_to_next(&self) -> bool {
        self.headers.get_all("link").iter().filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|link| link.split(';').skip(1).any(|part| part.trim() == "rel=\"next\""))
        })
    }

    /// Returns GitLab's number of the next page.
    pub(super) fn next_page(&self) -> Option<u32> {
        self.headers.get("x-next-page")?.to_str().ok()?.trim().parse().ok()
    }

    /// Returns how many items there are on all pages, by Gitea's header.
    pub(super) fn total(&self) -> usize {
        let total = self.headers.get("x-total-count").and_then(|value| value.to_str().ok());
        total.and_then(|total| total.trim().parse().ok()).unwrap_or(0)
    }

    /// Reads the URL of a next page, which must lie on the same host.
    pub(super) fn same_host(&self, url: &str) -> Result<Url, ForgeError> {
        let next = self.url.join(url).ok().filter(|next| next.origin() == self.url.origin());
        next.ok_or_else(|| self.call.unavailable("the next page is on another host, where no token is sent"))
    }
}

/// Sends requests to one API.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client,
    base: Url,
    kind: ForgeKind,
    clock: Clock,
    timeout: Duration,
}

impl Wire {
    /// Prepares for requests; sends none.
    pub(super) fn new(settings: &ForgeSettings, clock: Clock) -> Result<Self, ForgeError> {
        let base = settings.base()?;
        let mut builder = Client::builder()
            .user_agent(concat!("storekeeper/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(Policy::none())
            .no_proxy();
        if let Some(path) = &settings.ca_file {
            let unusable = |error: reqwest::Error| ForgeError::Settings {
                reason: format!("trust the authorities in {}: {}", path.display(), cause(&error)),
            };
            let certificates = Certificate::from_pem_bundle(&secret::read(path)?).map_err(unusable)?;
            if certificates.is_empty() {
                let reason = format!("trust the authorities in {}: there are none in it", path.display());
                return Err(ForgeError::Settings { reason });
            }
            builder = certificates.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = builder.build().map_err(|error| ForgeError::Settings { reason: cause(&error) })?;
        Ok(Self { client, base, kind: settings.kind, clock, timeout: settings.timeout })
    }

    /// Returns the time.
    pub(super) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// Returns the base URL.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Sends a request. Everything but a status of 200 to 299 is an error.
    pub(super) async fn send(
        &self,
        call: Call,
        login: &HeaderValue,
        secret: &Secret,
    ) -> Result<Answer, ForgeError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        self.send_to(call, url, login, secret).await
    }

    /// Sends a request to a URL that an answer named.
    pub(super) async fn send_to(
        &self,
        call: Call,
        mut url: Url,
        login: &HeaderValue,
        secret: &Secret,
    ) -> Result<Answer, ForgeError> {
        for _ in 0..=REDIRECTS_MAX {
            let response = self.once(&call, &url, login).await?;
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return self.answer(call, url, response, secret).await;
            }
            url = onward(&call, &url, status, response.headers())?;
        }
        Err(call.unavailable("it redirects again and again"))
    }

    async fn once(&self, call: &Call, url: &Url, login: &HeaderValue) -> Result<Response, ForgeError> {
        let mut request =
            self.client.request(call.method.clone(), url.clone()).header(AUTHORIZATION, login.clone());
        request = match self.kind {
            ForgeKind::GitHub => request
                .header(ACCEPT, "application/vnd.github+json")
                .header("x-github-api-version", GITHUB_VERSION),
            ForgeKind::GitLab | ForgeKind::Gitea | ForgeKind::Bitbucket => {
                request.header(ACCEPT, "application/json")
            }
        };
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        request.send().await.map_err(|error| self.unanswered(call, &error))
    }

    async fn answer(
        &self,
        call: Call,
        url: Url,
        mut response: Response,
        secret: &Secret,
    ) -> Result<Answer, ForgeError> {
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let body = self.read(&call, response).await?;
        if (200..300).contains(&status) {
            return Ok(Answer { call, url, status, headers, body });
        }
        let said = secret.hide_in(&one_line(&words(&body), DETAIL_MAX));
        let act = call.act.clone();
        if let Some(retry_after) = wait::asked(status, &headers, &said, self.now()) {
            return Err(ForgeError::Busy { act, retry_after });
        }
        let page = kind(&headers).contains("html") && !looks_like_json(&body);
        Err(match status {
            401 => ForgeError::LoginRefused { act, status, detail: said },
            400..500 if page => call.unavailable(format!(
                "the answer is a page ({status}), not JSON; is the base URL that of the API?"
            )),
            403 if !is_locked(&said) => ForgeError::LoginRefused { act, status, detail: said },
            400..500 => ForgeError::Refused { act, status, detail: said },
            _ if page || said.is_empty() => call.unavailable(format!("the forge answers {status}")),
            _ => call.unavailable(format!("the forge answers {status}: {said}")),
        })
    }

    async fn read(&self, call: &Call, mut response: Response) -> Result<Vec<u8>, ForgeError> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_MAX => body.extend_from_slice(&chunk),
                Ok(Some(_)) => {
                    let limit = ANSWER_MAX >> 20;
                    return Err(call.unavailable(format!("the answer is larger than {limit} MiB")));
                }
                Ok(None) => return Ok(body),
                Err(error) => return Err(self.unanswered(call, &error)),
            }
        }
    }

    fn unanswered(&self, call: &Call, error: &reqwest::Error) -> ForgeError {
        let host = self.base.host_str().unwrap_or_default();
        call.unavailable(if error.is_timeout() && !error.is_connect() {
            format!("no answer from {host} within {} s", self.timeout.as_secs_f32())
        } else {
            format!("{host} can't be reached: {}", cause(error))
        })
    }
}

/// Follows a redirect that stays on its host and repeats the request as it was.
fn onward(call: &Call, url: &Url, status: u16, headers: &HeaderMap) -> Result<Url, ForgeError> {
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(next) = target.and_then(|target| url.join(target).ok()) else {
        return Err(call.unavailable("it redirects to nowhere"));
    };
    if next.origin() != url.origin() {
        let host = one_line(next.host_str().unwrap_or_default(), 100);
        return Err(call.unavailable(format!(
            "it redirects to {host}, which is not followed, for the token is not for that host; set the base URL to \
             where the API is"
        )));
    }
    // 301 to 303 let a client turn what it sends into a GET: the answer would look like success.
    if call.method != Method::GET && !matches!(status, 307 | 308) {
        return Err(call.unavailable("it redirects what is sent; set the repository to its present name"));
    }
    Ok(next)
}

/// Returns what an answer says about a failure, in the forms of all forges.
fn words(body: &[u8]) -> String {
    let Ok(Value::Object(answer)) = serde_json::from_slice::<Value>(body) else {
        return if looks_like_json(body) {
            String::new()
        } else {
            String::from_utf8_lossy(body).into_owned()
        };
    };
    // `{"error": {"message": …}}` is Bitbucket's form.
    let inner = answer.get("error").and_then(Value::as_object);
    let parts = [
        answer.get("message"),
        inner.and_then(|inner| inner.get("message")),
        answer.get("error").filter(|error| error.is_string()),
        answer.get("error_description"),
        answer.get("errors"),
        inner.and_then(|inner| inner.get("detail")),
        inner.and_then(|inner| inner.get("fields")),
    ];
    let parts = parts.into_iter().flatten().filter(|part| !empty(part));
    parts
        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
        .collect::<Vec<_>>()
        .join(": ")
}

/// A conversation that people have closed is no trouble with the login: GitHub's and Gitea's words for it.
fn is_locked(said: &str) -> bool {
    said.contains("issue is locked") || said.contains("locked issue")
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn looks_like_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// Returns the media type, fit for a message.
fn kind(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("without a type");
    one_line(value.split(';').next().unwrap_or_default(), 60)
}

/// Returns the deepest reason, which is the one that says something.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    one_line(&cause.to_string(), DETAIL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_forge_is_understood_when_it_says_why_not() {
        for (body, said) in [
            (r#"{"message":"Bad credentials","documentation_url":"https://x"}"#, "Bad credentials"),
            (
                r#"{"message":"Validation Failed","errors":[{"code":"custom"}]}"#,
                r#"Validation Failed: [{"code":"custom"}]"#,
            ),
            (r#"{"message":"not found","errors":null,"url":"https://x"}"#, "not found"),
            (r#"{"error":"insufficient_scope","error_description":"more"}"#, "insufficient_scope: more"),
            (r#"{"message":{"name":["is too long"]}}"#, r#"{"name":["is too long"]}"#),
            (
                r#"{"type":"error","error":{"message":"Bad request","fields":{"key":["too long"]}}}"#,
                r#"Bad request: {"key":["too long"]}"#,
            ),
            ("Retry later", "Retry later"),
            ("[1", ""),
            ("", ""),
        ] {
            assert_eq!(words(body.as_bytes()), said);
        }
    }

    #[test]
    fn only_what_stays_on_its_host_is_followed() {
        let url: Url = "https://git.example.com/api/v1/x".parse().unwrap();
        let follow = |call: &Call, status, to: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_static(to));
            onward(call, &url, status, &headers)
        };
        let get = Call::get("look", &[]);
        assert_eq!(follow(&get, 301, "/api/v1/y").unwrap().path(), "/api/v1/y");
        for elsewhere in
            ["https://evil.example/", "http://git.example.com/", "https://git.example.com:444/", "//x/y"]
        {
            assert!(follow(&get, 302, elsewhere).is_err(), "{elsewhere}");
        }
        let post = Call::new("post", Method::POST, &[]);
        assert!(follow(&post, 302, "/y").is_err());
        assert!(follow(&post, 307, "/y").is_ok());
    }
}
