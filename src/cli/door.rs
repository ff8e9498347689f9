//! Where page, API and metrics are served, and who may ask.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Context as _;
use axum::http::HeaderName;
use clap::Args;
use ipnet::IpNet;
use tokio::net::TcpListener;

use crate::metrics::DoorMeter;
use crate::web::{Door, DoorSettings, LoginSettings, READ_TOKEN_MIN};

/// What is served over HTTP, and to whom.
#[derive(Debug, Args)]
pub(super) struct WebArguments {
    /// The address for the page, the API and the metrics.
    #[arg(long, env = "STOREKEEPER_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A second address for metrics and probes alone, without login and rate limits: only the cluster may reach it.
    #[arg(long, env = "STOREKEEPER_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    /// How many stores have metrics of their own, those that are not READY first.
    #[arg(long, env = "STOREKEEPER_METRICS_STORES_MAX", default_value_t = 2_000)]
    pub(super) metrics_stores_max: usize,
    /// Networks of proxies that are believed when they say who asks, such as 10.0.0.0/8; several with commas between.
    #[arg(long, env = "STOREKEEPER_TRUSTED_PROXIES", value_delimiter = ',', value_parser = parse_network)]
    trusted_proxies: Vec<IpNet>,
    /// A file with the token that lets people read, 16 bytes at least; it may be replaced at any time.
    #[arg(long, env = "STOREKEEPER_READ_TOKEN_FILE")]
    read_token_file: Option<PathBuf>,
    /// The header in which a trusted proxy names who is logged in, such as X-Forwarded-User: only they may read.
    #[arg(long, env = "STOREKEEPER_AUTH_HEADER", requires = "trusted_proxies")]
    auth_header: Option<HeaderName>,
    /// Requests a second of one client, after four times as many at once; 0: any number.
    #[arg(long, env = "STOREKEEPER_RATE_PER_CLIENT", default_value_t = 50)]
    rate_per_client: u32,
    /// Requests a second of all clients together, after four times as many at once; 0: any number.
    #[arg(long, env = "STOREKEEPER_RATE_TOTAL", default_value_t = 1_000)]
    rate_total: u32,
}

impl WebArguments {
    /// Listens for page, API and metrics.
    pub(super) async fn listener(&self) -> anyhow::Result<TcpListener> {
        let words = || format!("listen on {}; choose another address with --listen", self.listen);
        TcpListener::bind(self.listen).await.with_context(words)
    }

    /// Listens for metrics and probes alone, if that is wanted.
    pub(super) async fn inner_listener(&self) -> anyhow::Result<Option<TcpListener>> {
        let Some(address) = self.metrics_listen else { return Ok(None) };
        let words = || format!("listen on {address}; choose another address with --metrics-listen");
        let listener = TcpListener::bind(address).await.with_context(words)?;
        let address = listener.local_addr().context("ask for the address of the metrics")?;
        tracing::info!(metrics = %address, "metrics and probes are served without a login here");
        Ok(Some(listener))
    }

    /// Builds the door; fails when the token's file is of no use.
    pub(super) fn door(&self, meter: DoorMeter) -> anyhow::Result<Door> {
        if let Some(path) = &self.read_token_file {
            let token = std::fs::read(path)
                .with_context(|| format!("read the token for reading in {}", path.display()))?;
            anyhow::ensure!(
                token.trim_ascii().len() >= READ_TOKEN_MIN,
                "use the token for reading in {}: it has fewer than {READ_TOKEN_MIN} bytes; `openssl rand -hex 32` \
                 makes a good one",
                path.display()
            );
        }
        Ok(Door::new(DoorSettings {
            trusted_proxies: self.trusted_proxies.clone(),
            login: LoginSettings {
                token_file: self.read_token_file.clone(),
                header: self.auth_header.clone(),
            },
            rate_per_client: NonZeroU32::new(self.rate_per_client),
            rate_total: NonZeroU32::new(self.rate_total),
            meter,
        }))
    }
}

/// Reads a network, or one address.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network =
        text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| "a network such as 10.0.0.0/8 or an address is needed".to_owned())
}
