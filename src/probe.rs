//! The edge to the shops themselves: asks a store through its own address what a shopper's browser would need.
//!
//! Only GET, only fixed paths, no redirects, bounded in time and bytes, and nothing of an answer's body is
//! repeated: a store file chooses the host, so the host may be anything.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::report::{ProbeFailure, ProbeTarget, Step};

/// The header that carries a publishable key, as Medusa's Store API wants it.
const KEY_HEADER: &str = "x-publishable-api-key";

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How many bytes of an answer are read.
const ANSWER_LIMIT: usize = 4 << 20;

/// How many products are looked at for one with a price: few first, since nearly every one has one.
const PRODUCTS: [usize; 2] = [3, 12];

/// How shops are asked.
#[derive(Debug, Clone, Default)]
pub struct ProbeSettings {
    /// Where to connect instead of the address that a store's host resolves to.
    pub address: Option<ProbeAddress>,
    /// PEM certificates of authorities that are trusted besides the system's.
    pub authorities: Option<Vec<u8>>,
}

/// An address to connect to: `IP` or `IP:PORT`; without a port, that of the scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeAddress(SocketAddr);

impl FromStr for ProbeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = text.parse().ok();
        let alone = text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0));
        whole.or(alone).map(Self).ok_or_else(|| format!("`{text}` is not an address: use IP or IP:PORT"))
    }
}

/// Why shops can't be asked at all; fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
#[error("prepare to ask shops: {0}")]
pub struct ProbeSettingsError(String);

/// The key that shoppers send. Public by design, but not for logs.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishableKey(HeaderValue);

impl PublishableKey {
    /// Takes a key over, without the white space around it that files end with; none when it is empty or no header
    /// can carry it.
    pub fn new(text: &str) -> Option<Self> {
        let text = Some(text.trim()).filter(|text| !text.is_empty())?;
        HeaderValue::from_str(text).ok().map(Self)
    }
}

impl fmt::Debug for PublishableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishableKey(…)")
    }
}

/// Asks shops. Cloned handles share it.
#[derive(Debug, Clone)]
pub struct Prober {
    client: Client,
}

impl Prober {
    /// Prepares for asking.
    pub fn new(settings: &ProbeSettings) -> Result<Self, ProbeSettingsError> {
        let mut builder = Client::builder()
            .user_agent(concat!("storekeeper/", env!("CARGO_PKG_VERSION"), " (probe)"))
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // As a new shopper: a connection that was kept would not see that the way is gone.
            .pool_max_idle_per_host(0)
            .redirect(Policy::none())
            .no_proxy();
        if let Some(ProbeAddress(address)) = settings.address {
            builder = builder.dns_resolver(Arc::new(Fixed(address)));
        }
        if let Some(pem) = &settings.authorities {
            let certificates = Certificate::from_pem_bundle(pem);
            let certificates = certificates.map_err(|error| ProbeSettingsError(chain(&error)))?;
            builder = certificates.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = builder.build().map_err(|error| ProbeSettingsError(chain(&error)))?;
        Ok(Self { client })
    }

    /// Asks a shop at its address, with `/` at its end, for everything that its target demands; without a key nothing of
    /// Medusa's Store API.
    pub async fn ask(
        &self,
        url: &str,
        target: &ProbeTarget,
        key: Option<&PublishableKey>,
    ) -> Result<(), ProbeFailure> {
        if let Some(key) = key {
            self.store(url, target.products, key).await?;
        }
        if target.storefront {
            self.page(url).await?;
        }
        Ok(())
    }

    /// Asks the Store API for what is sold, and where.
    async fn store(&self, url: &str, products: bool, key: &PublishableKey) -> Result<(), ProbeFailure> {
        let Regions { regions } = self.store_api_value(url, "store/regions?limit=1", key).await?;
        let Some(region) = regions.into_iter().next() else {
            return Err(failure(
                Step::Probe,
                "the Store API answers without a region: nothing can be sold".to_owned(),
            ));
        };
        if products {
            return self.priced_product(url, &region, key).await;
        }
        // For the database's sake. An empty shop has none, and what its merchant makes of them is not ours.
        self.store_api(url, &products_path(&region, PRODUCTS[0]), key).await.map(drop)
    }

    /// Looks for a product that has a price in this region.
    async fn priced_product(
        &self,
        url: &str,
        region: &Region,
        key: &PublishableKey,
    ) -> Result<(), ProbeFailure> {
        for limit in PRODUCTS {
            let Products { products } = self.store_api_value(url, &products_path(region, limit), key).await?;
            if products.iter().flat_map(|product| product.variants.iter().flatten()).any(Variant::has_price) {
                return Ok(());
            }
            if products.len() < limit {
                break;
            }
        }
        Err(failure(Step::Probe, "the Store API answers without a product that has a price".to_owned()))
    }

    async fn store_api_value<T: DeserializeOwned>(
        &self,
        url: &str,
        path: &str,
        key: &PublishableKey,
    ) -> Result<T, ProbeFailure> {
        let asked = plainly(url, path);
        let body = read(&asked, self.store_api(url, path, key).await?).await?;
        serde_json::from_slice(&body).map_err(|_| {
            failure(Step::Probe, format!("GET {asked}: the answer is not what the Store API answers"))
        })
    }

    /// Asks the Store API and takes its answer, whatever stands in it.
    async fn store_api(&self, url: &str, path: &str, key: &PublishableKey) -> Result<Response, ProbeFailure> {
        let asked = plainly(url, path);
        let request = self.client.get(format!("{url}{path}")).header(KEY_HEADER, key.0.clone());
        let answer = request.send().await.map_err(|error| unanswered(&asked, &error))?;
        let refuses_key = matches!(answer.status().as_u16(), 400 | 401 | 403);
        let accepted = accepted(&asked, answer, "application/json");
        accepted.map_err(|failure| ProbeFailure { refuses_key, ..failure })
    }

    async fn page(&self, url: &str) -> Result<(), ProbeFailure> {
        let answer = self.client.get(url).send().await.map_err(|error| unanswered(url, &error))?;
        read(url, accepted(url, answer, "text/html")?).await.map(drop)
    }
}

/// Connects everything to one address.
struct Fixed(SocketAddr);

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

#[derive(Deserialize)]
struct Regions {
    regions: Vec<Region>,
}

#[derive(Deserialize)]
struct Region {
    id: String,
}

#[derive(Deserialize)]
struct Products {
    products: Vec<Product>,
}

#[derive(Deserialize)]
struct Product {
    variants: Option<Vec<Variant>>,
}

#[derive(Deserialize)]
struct Variant {
    calculated_price: Option<Price>,
}

#[derive(Deserialize)]
struct Price {
    calculated_amount: Option<serde_json::Number>,
}

impl Variant {
    fn has_price(&self) -> bool {
        self.calculated_price.as_ref().is_some_and(|price| price.calculated_amount.is_some())
    }
}

fn failure(step: Step, reason: String) -> ProbeFailure {
    ProbeFailure::new(step, reason)
}

fn products_path(region: &Region, limit: usize) -> String {
    let region = word(&region.id);
    format!("store/products?region_id={region}&limit={limit}&fields=id,*variants.calculated_price")
}

/// Says what is asked without the query, which says nothing to people.
fn plainly(url: &str, path: &str) -> String {
    format!("{url}{}", path.split('?').next().unwrap_or(path))
}

/// Keeps an id from the answer to a path word: it goes into the next request.
fn word(id: &str) -> String {
    id.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').take(64).collect()
}

/// Says why nothing answered: the way to the store is at fault, unless the store only took too long.
fn unanswered(asked: &str, error: &reqwest::Error) -> ProbeFailure {
    if error.is_timeout() && !error.is_connect() {
        return failure(
            Step::Probe,
            format!("GET {asked}: no answer within {} s", REQUEST_TIMEOUT.as_secs()),
        );
    }
    // What could not even be sent is no fault of the way.
    let step = if error.is_builder() { Step::Probe } else { Step::Ingress };
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    failure(step, format!("GET {asked}: {}", line(&cause.to_string())))
}

/// Takes an answer whose head is as it should be.
fn accepted(asked: &str, answer: Response, kind: &str) -> Result<Response, ProbeFailure> {
    let status = answer.status();
    if status != StatusCode::OK {
        // What an ingress controller answers when nothing stands behind it.
        let step = match status.as_u16() {
            404 | 502..=504 => Step::Ingress,
            _ => Step::Probe,
        };
        return Err(failure(step, format!("GET {asked}: {status}")));
    }
    let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    if !content_type.unwrap_or_default().starts_with(kind) {
        return Err(failure(Step::Probe, format!("GET {asked}: the answer is not {kind}")));
    }
    Ok(answer)
}

async fn read(asked: &str, mut answer: Response) -> Result<Vec<u8>, ProbeFailure> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_LIMIT => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let reason = format!("GET {asked}: the answer is larger than {ANSWER_LIMIT} bytes");
                return Err(failure(Step::Probe, reason));
            }
            Ok(None) => return Ok(body),
            Err(error) => return Err(unanswered(asked, &error)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    line(&text)
}

/// Keeps log lines and pages whole.
fn line(text: &str) -> String {
    text.chars().take(300).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_or_takes_that_of_the_scheme() {
        let parse = |text: &str| text.parse::<ProbeAddress>();
        assert_eq!(parse("127.0.0.1:8080"), Ok(ProbeAddress(([127, 0, 0, 1], 8080).into())));
        assert_eq!(parse("127.0.0.1"), Ok(ProbeAddress(([127, 0, 0, 1], 0).into())));
        assert!(parse("[::1]:80").is_ok() && parse("::1").is_ok());
        assert!(parse("localhost:80").unwrap_err().contains("IP:PORT"));
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let key = PublishableKey::new("pk_secret");
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn a_key_is_what_a_header_can_carry_without_the_end_of_a_line() {
        assert_eq!(PublishableKey::new("pk_1\n"), PublishableKey::new("pk_1"));
        assert!(PublishableKey::new("pk_1").is_some());
        for bad in ["", " \n", "pk\n1", "pk\u{7f}"] {
            assert_eq!(PublishableKey::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_id_from_an_answer_cannot_change_the_next_request() {
        assert_eq!(word("reg_01ABC"), "reg_01ABC");
        assert_eq!(word("x&limit=9 /../\r\n"), "xlimit9");
    }
}
