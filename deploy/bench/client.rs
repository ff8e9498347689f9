//! A plain client of the API server, named in its audit log.

use std::path::Path;

use http::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Connects with this user agent.
pub async fn connect(kubeconfig: &Path, agent: &'static str) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    Client::try_from(config).unwrap()
}
