//! One GET and its answer: bounded in bytes, redirects and hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, Url};

use super::error::ChartSourceError;
use crate::report::one_line;

/// How many times an answer may lead on.
const REDIRECTS_MAX: usize = 5;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection waits for the next request of a fetch.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many characters of a reason are repeated.
const REASON_MAX: usize = 200;

/// Sends requests. Redirects are followed here and not by the client, which would not look at where they lead.
pub(super) struct Wire {
    /// Reaches any host, for origins that the operator allowed.
    direct: Client,
    /// Reaches what an answer from a private network names.
    near: Client,
    /// Reaches what an answer from elsewhere names: hosts with public addresses.
    public: Client,
}

/// Whom a fetch is from, and what goes with its requests.
pub(super) struct Origin {
    /// What is fetched, for messages.
    pub chart: String,
    /// Any address of the host that the operator allowed.
    pub url: Url,
    /// Whether that host is in a private network: its answers may lead there too.
    is_private: bool,
}

/// What is asked for.
pub(super) struct Ask {
    pub url: Url,
    /// What it is, for messages.
    pub what: &'static str,
    pub accept: Option<&'static str>,
    /// Sent to this URL's origin alone.
    pub login: Option<HeaderValue>,
    /// The most bytes that may come.
    pub limit: u64,
}

/// What came.
pub(super) enum Answer {
    Body(Vec<u8>),
    /// A login is wanted; with the challenge, if it is one that can be read.
    Login(String),
}

impl Wire {
    /// Prepares for requests; sends none. Trusts the authorities in a PEM file besides the system's.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let certificates = match ca_file {
            Some(path) => {
                let failed =
                    |reason: String| format!("trust the authorities in {}: {reason}", path.display());
                let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
                let found = Certificate::from_pem_bundle(&text).map_err(|error| failed(cause(&error)))?;
                if found.is_empty() {
                    return Err(failed("there are none in it".to_owned()));
                }
                found
            }
            None => Vec::new(),
        };
        let builder = || {
            let builder = Client::builder()
                .user_agent(concat!("storekeeper/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .redirect(Policy::none())
                .no_proxy();
            certificates.iter().cloned().fold(builder, reqwest::ClientBuilder::add_root_certificate)
        };
        let built = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| cause(&error));
        let guarded = |is_refused| built(builder().dns_resolver(Guarded { is_refused }));
        Ok(Self {
            direct: built(builder())?,
            near: guarded(is_never_followed)?,
            public: guarded(|address| !is_public(address))?,
        })
    }

    /// Takes an address as allowed by the operator.
    pub async fn origin(&self, chart: &str, url: Url) -> Origin {
        let is_private = if let Some(address) = literal(&url) {
            !is_public(address)
        } else {
            let port = url.port_or_known_default().unwrap_or_default();
            let found = tokio::net::lookup_host((url.host_str().unwrap_or_default(), port)).await;
            // A host that is not found is not reached either.
            found.is_ok_and(|mut addresses| addresses.any(|address| !is_public(address.ip())))
        };
        Origin { chart: chart.to_owned(), url, is_private }
    }

    /// Gets what is asked for. Everything but an answer with it, or with a wish for a login, is an error.
    pub async fn get(&self, origin: &Origin, ask: Ask) -> Result<Answer, ChartSourceError> {
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.once(origin, &ask, &url).await?;
            let status = response.status().as_u16();
            let chart = || origin.chart.clone();
            let shown = |reason: String| ChartSourceError::Unreachable { chart: chart(), reason };
            match status {
                200 => return read(origin, &ask, response).await.map(Answer::Body),
                301 | 302 | 303 | 307 | 308 => url = onward(origin, &url, response.headers())?,
                401 => return Ok(Answer::Login(challenge(response.headers()))),
                403 => return Err(origin.login_refused(&url, "it may not be read with this login (403)")),
                404 | 410 => {
                    let reason = format!("{} is not there, or not for this login ({status})", ask.what);
                    return Err(ChartSourceError::Missing { chart: chart(), reason });
                }
                _ => return Err(shown(format!("{} answers {status} to {}", host(&url), ask.what))),
            }
        }
        let reason = format!("{} leads on again and again", host(&ask.url));
        Err(ChartSourceError::Unreachable { chart: origin.chart.clone(), reason })
    }

    async fn once(&self, origin: &Origin, ask: &Ask, url: &Url) -> Result<Response, ChartSourceError> {
        let refused = |reason| {
            let (chart, target) = (origin.chart.clone(), place(url));
            Err(ChartSourceError::Redirected { chart, target, reason })
        };
        match url.scheme() {
            "https" => {}
            "http" if origin.url.scheme() == "http" => {}
            _ => return refused("it is not https"),
        }
        let address = literal(url).filter(|_| url.origin() != origin.url.origin());
        if address.is_some_and(is_never_followed) {
            return refused("it is an address of the machine or its host alone");
        }
        if !origin.is_private && address.is_some_and(|address| !is_public(address)) {
            return refused("it is a private address");
        }
        let client = if url.origin() == origin.url.origin() {
            &self.direct
        } else if origin.is_private {
            &self.near
        } else {
            &self.public
        };
        let mut request = client.get(url.clone());
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(login) = ask.login.as_ref().filter(|_| url.origin() == ask.url.origin()) {
            request = request.header(AUTHORIZATION, login.clone());
        }
        request.send().await.map_err(|error| origin.unreachable(url, &error))
    }
}

impl Origin {
    /// Says that a login is refused, or wanted.
    pub fn login_refused(&self, url: &Url, reason: &'static str) -> ChartSourceError {
        ChartSourceError::LoginRefused { chart: self.chart.clone(), host: host(url), reason }
    }

    fn unreachable(&self, url: &Url, error: &reqwest::Error) -> ChartSourceError {
        let reason = format!("{} can't be reached: {}", host(url), cause(error));
        ChartSourceError::Unreachable { chart: self.chart.clone(), reason }
    }
}

async fn read(origin: &Origin, ask: &Ask, mut response: Response) -> Result<Vec<u8>, ChartSourceError> {
    let too_large = || ChartSourceError::TooLarge {
        chart: origin.chart.clone(),
        what: ask.what.to_owned(),
        limit: ask.limit,
    };
    if response.content_length().is_some_and(|length| length > ask.limit) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| origin.unreachable(&ask.url, &error))? {
        if (body.len() + chunk.len()) as u64 > ask.limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn onward(origin: &Origin, url: &Url, headers: &HeaderMap) -> Result<Url, ChartSourceError> {
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = target.and_then(|target| url.join(target).ok());
    // A login in a URL is nobody's that the operator named.
    target.filter(|target| target.username().is_empty() && target.password().is_none()).ok_or_else(|| {
        let reason = format!("{} leads to nowhere", host(url));
        ChartSourceError::Unreachable { chart: origin.chart.clone(), reason }
    })
}

fn challenge(headers: &HeaderMap) -> String {
    let challenge = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    challenge.unwrap_or_default().to_owned()
}

/// Returns a URL's host with its port, fit for a message.
pub(super) fn host(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    one_line(&format!("{}{port}", url.host_str().unwrap_or_default()), 100)
}

fn place(url: &Url) -> String {
    format!("{}://{}", one_line(url.scheme(), 20), host(url))
}

/// Returns the deepest reason, which is the one that says something.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    one_line(&cause.to_string(), REASON_MAX)
}

fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Resolves names, but to no refused addresses. What is looked at here is what is connected to.
struct Guarded {
    is_refused: fn(IpAddr) -> bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let is_refused = self.is_refused;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().any(|address| is_refused(address.ip())) {
                return Err("it has a private address, to which no answer may lead".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Addresses to which no answer leads, not even one from a private network: a cloud's data about the machine is at one.
fn is_never_followed(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
    }
}

/// Whether an address is one of the Internet.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_4(address),
        IpAddr::V6(address) => is_public_6(address),
    }
}

fn is_public_4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // Of carriers, of benchmarks, reserved for protocols, and of what has no use yet.
    let special =
        (a == 100 && b & 0xc0 == 64) || (a == 198 && b & 0xfe == 18) || (a, b, c) == (192, 0, 0) || a >= 240;
    !(special
        || a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

fn is_public_6(address: Ipv6Addr) -> bool {
    // 2000::/3 is what is given out; of it these are for documents and for tunnels that lead to IPv4.
    let [a, b, ..] = address.segments();
    let tunnel = a == 0x2002 || (a == 0x2001 && b == 0) || (a == 0x2001 && b == 0xdb8);
    a & 0xe000 == 0x2000 && !tunnel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for address in ["8.8.8.8", "140.82.121.4", "100.63.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "64:ff9b::7f00:1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        assert!(is_never_followed("169.254.169.254".parse().unwrap()));
        assert!(is_never_followed("::ffff:169.254.169.254".parse().unwrap()));
        assert!(!is_never_followed("10.0.0.1".parse().unwrap()));
    }

    /// Starts a host on the loopback interface that answers every request with this.
    fn host_that_answers(answer: &str) -> u16 {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // Said, so that nobody sends a second request to a connection that ends.
        let answer = answer.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    #[tokio::test]
    async fn no_answer_from_elsewhere_leads_into_a_private_network() {
        let inner = host_that_answers("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret");
        for (target, words) in [
            (format!("http://127.0.0.1:{inner}/"), "it is a private address"),
            (format!("http://[::ffff:127.0.0.1]:{inner}/"), "it is a private address"),
            (format!("http://localhost:{inner}/"), "it has a private address"),
            ("http://169.254.169.254/".to_owned(), "it is an address of the machine"),
            ("ftp://example.com/".to_owned(), "it is not https"),
        ] {
            let outer = host_that_answers(&format!(
                "HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n"
            ));
            let url: Url = format!("http://127.0.0.1:{outer}/").parse().unwrap();
            let wire = Wire::new(None).unwrap();
            let get = |is_private| {
                let origin = Origin { chart: "x".to_owned(), url: url.clone(), is_private };
                let ask = Ask { url: url.clone(), what: "it", accept: None, login: None, limit: 100 };
                let wire = &wire;
                async move { wire.get(&origin, ask).await }
            };
            let error = get(false).await.err().unwrap().to_string();
            assert!(error.contains(words), "{target}: {error}");
            let near = get(true).await;
            if target.contains(&inner.to_string()) {
                assert!(matches!(near, Ok(Answer::Body(body)) if body == b"secret"), "{target}");
            } else {
                assert!(near.is_err(), "{target}");
            }
        }
    }
}
