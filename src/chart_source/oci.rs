//! Charts in OCI registries: a manifest by its digest, and what it names.

use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::allowed::{Kind, Location};
use super::cache::Entry;
use super::credentials::{Login, sensitive};
use super::error::ChartSourceError;
use super::wire::{Answer, Ask, Origin};
use super::{Desk, check_digest};
use crate::report::one_line;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";

/// How many bytes a manifest, a config, a provenance file and a token may have: real ones have a few thousand.
const SMALL: u64 = 1 << 20;

/// A chart in a registry, pinned.
pub(super) struct Artifact<'a> {
    pub location: &'a Location,
    pub kind: Kind,
    pub version: &'a str,
    /// Of the manifest, in hexadecimal digits.
    pub digest: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Option<Part>,
    #[serde(default)]
    layers: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    media_type: String,
    digest: String,
    size: u64,
}

/// What of a manifest matters.
struct Parts {
    config: Part,
    archive: Part,
    provenance: Option<Part>,
}

#[derive(Deserialize)]
struct Config {
    version: String,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// A conversation with a registry about one repository.
struct Session<'a> {
    desk: &'a Desk,
    origin: Origin,
    artifact: &'a Artifact<'a>,
    /// What the registry asked for.
    authorization: Option<HeaderValue>,
}

/// Returns the verified archive of a chart.
pub(super) async fn fetch(
    desk: &Desk,
    chart: &str,
    artifact: &Artifact<'_>,
) -> Result<Vec<u8>, ChartSourceError> {
    let invalid =
        |reason: &str| ChartSourceError::Invalid { chart: chart.to_owned(), reason: reason.to_owned() };
    let url = artifact.location.url(artifact.kind, "v2/").ok_or_else(|| invalid("it is no URL"))?;
    if artifact.location.path().is_empty() {
        return Err(invalid("it names no repository in the registry"));
    }
    let origin = desk.wire.origin(chart, url).await;
    let mut session = Session { desk, origin, artifact, authorization: None };
    let manifest = session.part("manifests", "the manifest", artifact.digest, SMALL, Some(MANIFEST)).await?;
    let Parts { config, archive: layer, provenance } = session.parts(&manifest)?;
    let config = session.blob(&config, "the config", SMALL).await?;
    session.check_version(&config)?;
    let provenance = match provenance.filter(|_| desk.settings.keyring_file.is_some()) {
        Some(part) => Some(session.blob(&part, "the provenance file", SMALL).await?),
        None => None,
    };
    let digest = layer.digest.trim_start_matches("sha256:");
    desk.check_provenance(chart, digest, provenance.as_deref())?;
    session.blob(&layer, "the archive", desk.settings.max_archive_bytes).await
}

impl Session<'_> {
    /// Returns the parts of a chart that a manifest names.
    fn parts(&self, manifest: &[u8]) -> Result<Parts, ChartSourceError> {
        let parsed: Manifest = serde_json::from_slice(manifest)
            .map_err(|_| self.other("its manifest is none of OCI's, version 1"))?;
        let config = parsed.config.filter(|config| config.media_type == CONFIG);
        let config =
            config.ok_or_else(|| self.other("what the digest names is no Helm chart, by its media types"))?;
        let (mut archives, mut provenance) = (Vec::new(), None);
        for layer in parsed.layers {
            match layer.media_type.as_str() {
                CHART => archives.push(layer),
                PROVENANCE => provenance = Some(layer),
                _ => {}
            }
        }
        match archives.pop().filter(|_| archives.is_empty()) {
            Some(archive) => Ok(Parts { config, archive, provenance }),
            None => Err(self.other("its manifest names no archive, or several")),
        }
    }

    fn check_version(&self, config: &[u8]) -> Result<(), ChartSourceError> {
        let config: Config =
            serde_json::from_slice(config).map_err(|_| self.other("its config names no version"))?;
        if config.version == self.artifact.version {
            return Ok(());
        }
        let found = one_line(&config.version, 60);
        Err(self.other(&format!(
            "the digest is that of version {found}; set the version to {found}, or the digest to that of {}",
            self.artifact.version
        )))
    }

    async fn blob(
        &mut self,
        part: &Part,
        what: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, ChartSourceError> {
        let digest = part.digest.strip_prefix("sha256:").filter(|digits| super::is_digest(digits));
        let digest = digest.ok_or_else(|| self.other("its manifest has a digest that is not SHA-256"))?;
        if part.size > limit {
            let chart = self.origin.chart.clone();
            return Err(ChartSourceError::TooLarge { chart, what: what.to_owned(), limit });
        }
        self.part("blobs", what, digest, limit, None).await
    }

    /// Returns what a digest names, from the cache or the registry.
    async fn part(
        &mut self,
        collection: &str,
        what: &'static str,
        digest: &str,
        limit: u64,
        accept: Option<&'static str>,
    ) -> Result<Vec<u8>, ChartSourceError> {
        if let Some(bytes) = self.desk.cached(Entry::Content(digest)).await {
            return Ok(bytes);
        }
        let Artifact { location, kind, .. } = self.artifact;
        let url = location.url(*kind, &format!("v2/{}/{collection}/sha256:{digest}", location.path()));
        let url = url.ok_or_else(|| self.other("it is no URL"))?;
        let bytes = self.get(&url, what, limit, accept).await?;
        check_digest(&self.origin.chart, what, &bytes, digest)?;
        self.desk.keep(Entry::Content(digest), &bytes).await;
        Ok(bytes)
    }

    async fn get(
        &mut self,
        url: &Url,
        what: &'static str,
        limit: u64,
        accept: Option<&'static str>,
    ) -> Result<Vec<u8>, ChartSourceError> {
        let mut tried = false;
        loop {
            let login = self.authorization.clone();
            let ask = Ask { url: url.clone(), what, accept, login, limit };
            match self.desk.wire.get(&self.origin, ask).await? {
                Answer::Body(body) => return Ok(body),
                Answer::Login(challenge) if !tried => self.log_in(&challenge).await?,
                Answer::Login(_) => return Err(self.refused(url)),
            }
            tried = true;
        }
    }

    /// Does what a challenge asks for: a basic login, or a token from where the registry says.
    async fn log_in(&mut self, challenge: &str) -> Result<(), ChartSourceError> {
        let login = self.desk.login(&self.origin.url)?;
        let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        let basic = login.as_ref().and_then(Login::basic);
        if scheme.eq_ignore_ascii_case("basic") {
            let url = self.origin.url.clone();
            self.authorization = Some(basic.ok_or_else(|| self.refused(&url))?);
            return Ok(());
        }
        let unread = || self.other("the registry asks for a login in a way that is not known");
        let realm = parameter(parameters, "realm").filter(|_| scheme.eq_ignore_ascii_case("bearer"));
        let mut url = Url::parse(realm.ok_or_else(unread)?).map_err(|_| unread())?;
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = parameter(parameters, "service") {
                query.append_pair("service", service);
            }
            // Not the scope that the registry names: this is all that is needed.
            query.append_pair("scope", &format!("repository:{}:pull", self.artifact.location.path()));
        }
        let ask = Ask { url: url.clone(), what: "a token", accept: None, login: basic, limit: SMALL };
        let answer = match self.desk.wire.get(&self.origin, ask).await? {
            Answer::Body(body) => body,
            Answer::Login(_) => return Err(self.refused(&url)),
        };
        let token: Token = serde_json::from_slice(&answer).map_err(|_| unread())?;
        let token = token.token.or(token.access_token).ok_or_else(unread)?;
        self.authorization = Some(sensitive(&format!("Bearer {token}")).ok_or_else(unread)?);
        Ok(())
    }

    fn refused(&self, url: &Url) -> ChartSourceError {
        let has_login = self.desk.login(&self.origin.url).is_ok_and(|login| login.is_some());
        self.origin.login_refused(url, super::login_advice(has_login))
    }

    fn other(&self, reason: &str) -> ChartSourceError {
        ChartSourceError::NotThisChart { chart: self.origin.chart.clone(), reason: reason.to_owned() }
    }
}

/// Returns a parameter of a challenge, such as the realm in `realm="https://…",service="…"`.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = parameters;
    loop {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_start_matches([',', ' ']).trim();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_by_its_parameters() {
        let text =
            r#"realm="https://auth.example.com/token?a=b,c",service=registry, scope="repository:a:pull""#;
        assert_eq!(parameter(text, "realm"), Some("https://auth.example.com/token?a=b,c"));
        assert_eq!(parameter(text, "Service"), Some("registry"));
        assert_eq!(parameter(text, "scope"), Some("repository:a:pull"));
        assert_eq!(parameter(text, "error"), None);
        assert_eq!(parameter("realm=\"open", "realm"), None);
    }
}
