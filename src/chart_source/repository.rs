//! Charts in Helm repositories: an index, and the archives that it names.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::{Map, Value};

use super::allowed::{Kind, Location};
use super::cache::{Entry, sha256};
use super::credentials::Login;
use super::error::ChartSourceError;
use super::wire::{Answer, Ask, Origin};
use super::{Desk, check_digest};
use crate::chart::parse_values;
use crate::report::one_line;

/// How many charts or versions an error names.
const NAMED_MAX: usize = 5;

/// A chart in a Helm repository, pinned.
pub(super) struct Listed<'a> {
    pub location: &'a Location,
    pub kind: Kind,
    pub name: &'a str,
    pub version: &'a str,
    /// Of the archive, in hexadecimal digits.
    pub digest: &'a str,
}

/// How many bytes a provenance file may have: real ones have a few thousand.
const PROVENANCE_MAX: u64 = 1 << 20;

/// Returns the verified archive of a chart.
pub(super) async fn fetch(
    desk: &Desk,
    chart: &str,
    listed: &Listed<'_>,
) -> Result<Vec<u8>, ChartSourceError> {
    let (content, signed) =
        (Entry::Content(listed.digest), sha256(format!("provenance of {}", listed.digest).as_bytes()));
    let known = desk.cached(content).await;
    let provenance = desk.cached(Entry::Sealed(&signed)).await;
    // Keys come and go: what was signed well once is looked at again, and fetched again.
    let is_signed = desk.check_provenance(chart, listed.digest, provenance.as_deref()).is_ok();
    let known = match known {
        Some(archive) if is_signed => return Ok(archive),
        known => known,
    };
    let (origin, url) = find_archive(desk, chart, listed).await?;
    let archive = if let Some(archive) = known {
        archive
    } else {
        let limit = desk.settings.max_archive_bytes;
        let archive = get(desk, &origin, url.clone(), "the archive", limit).await?;
        check_digest(chart, "the archive", &archive, listed.digest)?;
        desk.keep(content, &archive).await;
        archive
    };
    if !is_signed {
        let mut url = url;
        url.set_path(&format!("{}.prov", url.path()));
        let provenance = get(desk, &origin, url, "the provenance file", PROVENANCE_MAX).await?;
        desk.check_provenance(chart, listed.digest, Some(&provenance))?;
        desk.keep(Entry::Sealed(&signed), &provenance).await;
    }
    Ok(archive)
}

/// Returns where the index says that the archive is.
async fn find_archive(
    desk: &Desk,
    chart: &str,
    listed: &Listed<'_>,
) -> Result<(Origin, Url), ChartSourceError> {
    let path = match listed.location.path() {
        path if path.is_empty() => path,
        path => format!("{path}/"),
    };
    let base = listed.location.url(listed.kind, &path).ok_or_else(|| invalid(chart, "it is no URL"))?;
    let origin = desk.wire.origin(chart, base.clone()).await;
    let index = base.join("index.yaml").map_err(|_| invalid(chart, "it is no URL"))?;
    let index = get(desk, &origin, index, "the index", desk.settings.max_index_bytes).await?;
    let entry = {
        let (chart, name, version) = (chart.to_owned(), listed.name.to_owned(), listed.version.to_owned());
        // A large one takes seconds to read.
        super::blocking(move || find(&chart, &index, &name, &version)).await?
    };
    check_listed(chart, &entry, listed.digest)?;
    let archive = base.join(&entry.url).map_err(|_| other(chart, "its index names no URL for it"))?;
    Ok((origin, archive))
}

async fn get(
    desk: &Desk,
    origin: &Origin,
    url: Url,
    what: &'static str,
    limit: u64,
) -> Result<Vec<u8>, ChartSourceError> {
    // An index may name any host: the login is for the repository's alone.
    let login = if url.origin() == origin.url.origin() { desk.login(&origin.url)? } else { None };
    let has_login = login.is_some();
    let login = login.as_ref().and_then(Login::basic);
    let ask = Ask { url: url.clone(), what, accept: None, login, limit };
    match desk.wire.get(origin, ask).await? {
        Answer::Body(body) => Ok(body),
        Answer::Login(_) => Err(origin.login_refused(&url, super::login_advice(has_login))),
    }
}

/// What an index says of a version of a chart.
#[derive(Debug)]
struct IndexEntry {
    url: String,
    digest: Option<String>,
}

fn find(chart: &str, index: &[u8], name: &str, version: &str) -> Result<IndexEntry, ChartSourceError> {
    let missing = |reason| ChartSourceError::Missing { chart: chart.to_owned(), reason };
    let text = std::str::from_utf8(index).map_err(|_| other(chart, "its index is not UTF-8"))?;
    let Found { versions, names } =
        versions(text, name).ok_or_else(|| other(chart, "its index is not YAML"))?;
    let Some(versions) = versions else {
        return Err(missing(format!(
            "the index has no chart `{name}`; it has {}",
            some(names.iter().map(String::as_str))
        )));
    };
    let version_of = |entry: &Value| entry.get("version").and_then(Value::as_str).map(str::to_owned);
    let Some(entry) = versions.iter().find(|entry| version_of(entry).as_deref() == Some(version)) else {
        let known: Vec<_> = versions.iter().filter_map(version_of).collect();
        let known = some(known.iter().map(String::as_str));
        return Err(missing(format!("the index has no version {version} of `{name}`; it has {known}")));
    };
    let url = entry.pointer("/urls/0").and_then(Value::as_str);
    let url = url.ok_or_else(|| other(chart, "its index names no URL for it"))?.to_owned();
    if url.starts_with("oci://") {
        return Err(other(
            chart,
            "its index leads to an OCI registry; name the chart there, with its manifest's digest",
        ));
    }
    let digest = entry.get("digest").and_then(Value::as_str);
    let digest = digest.map(|digest| digest.trim_start_matches("sha256:").to_ascii_lowercase());
    Ok(IndexEntry { url, digest: digest.filter(|digest| super::is_digest(digest)) })
}

/// What an index has of a chart.
struct Found {
    /// None when there is no such chart.
    versions: Option<Vec<Value>>,
    /// All charts, when there is none of that name.
    names: Vec<String>,
}

/// Reads the versions of one chart; none when the index is not understood.
fn versions(index: &str, name: &str) -> Option<Found> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned();
    if let Some(blocks) = blocks(index) {
        // An index may have a million entries: only those of the chart are parsed.
        let versions = match blocks.get(name) {
            Some(block) => list(parse_values(&format!("versions:\n{block}")).ok()?.get("versions")),
            None => None,
        };
        return Some(Found { versions, names: blocks.into_keys().map(str::to_owned).collect() });
    }
    let index = parse_values(index).ok()?;
    let empty = Map::new();
    let entries = index.get("entries").and_then(Value::as_object).unwrap_or(&empty);
    Some(Found { versions: list(entries.get(name)), names: entries.keys().cloned().collect() })
}

/// Cuts an index into the lines of each chart, as long as it is laid out as Helm does it; none otherwise.
fn blocks(index: &str) -> Option<BTreeMap<&str, &str>> {
    let start = match index.strip_prefix("entries:\n") {
        Some(_) => "entries:\n".len(),
        None => index.find("\nentries:\n")? + "\nentries:\n".len(),
    };
    let (mut blocks, mut level, mut open, mut offset) = (BTreeMap::new(), 0, None, start);
    for line in index[start..].split_inclusive('\n') {
        let (at, text) = (offset, line.trim_start_matches(' '));
        offset += line.len();
        let indent = line.len() - text.len();
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        level = if level == 0 { indent } else { level };
        // A list may stand as deep as the name that it belongs to.
        if indent > level || (indent == level && level > 0 && text.starts_with('-')) {
            continue;
        }
        if let Some((name, from)) = open.take() {
            blocks.insert(name, &index[from..at]);
        }
        if indent < level || level == 0 {
            return Some(blocks);
        }
        open = Some((text.trim_end().strip_suffix(':')?.trim_matches(['"', '\'']), offset));
    }
    if let Some((name, from)) = open {
        blocks.insert(name, &index[from..]);
    }
    Some(blocks)
}

/// Compares what the index says with what is pinned, before anything large comes.
fn check_listed(chart: &str, entry: &IndexEntry, pinned: &str) -> Result<(), ChartSourceError> {
    match &entry.digest {
        Some(found) if found != pinned => Err(ChartSourceError::Digest {
            chart: chart.to_owned(),
            what: "the archive, as the index says,".to_owned(),
            found: format!("sha256:{found}"),
            pinned: format!("sha256:{pinned}"),
        }),
        _ => Ok(()),
    }
}

/// Names some of many.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let shown: Vec<_> =
        names.iter().take(NAMED_MAX).map(|name| format!("`{}`", one_line(name, 60))).collect();
    match names.len() - shown.len() {
        _ if names.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn invalid(chart: &str, reason: &str) -> ChartSourceError {
    ChartSourceError::Invalid { chart: chart.to_owned(), reason: reason.to_owned() }
}

fn other(chart: &str, reason: &str) -> ChartSourceError {
    ChartSourceError::NotThisChart { chart: chart.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_asked_for_one_version_of_one_chart() {
        let digest = "a".repeat(64);
        let index = format!(
            "apiVersion: v1\nentries:\n  shop:\n  - version: 1.2.3\n    digest: sha256:{digest}\n    urls: [shop-1.2.3.tgz]\n  \
             - version: 1.2.2\n    digest: short\n    urls: [https://cdn.example.com/a.tgz]\n  - version: 1.0.0\n    \
             urls: ['oci://registry.example.com/shop']\n  - version: 0.9.0\n  empty:\n  - name: empty\n"
        );
        let find = |name, version| find("x", index.as_bytes(), name, version);
        let entry = find("shop", "1.2.3").unwrap();
        assert_eq!((entry.url.as_str(), entry.digest), ("shop-1.2.3.tgz", Some(digest)));
        assert_eq!(find("shop", "1.2.2").unwrap().digest, None);
        let error = |name, version| find(name, version).unwrap_err().to_string();
        assert_eq!(
            error("shop", "2.0.0"),
            "find x: the index has no version 2.0.0 of `shop`; it has `1.2.3`, `1.2.2`, `1.0.0`, `0.9.0`"
        );
        assert_eq!(error("cart", "2.0.0"), "find x: the index has no chart `cart`; it has `empty`, `shop`");
        assert_eq!(error("empty", "2.0.0"), "find x: the index has no version 2.0.0 of `empty`; it has none");
        assert!(error("shop", "1.0.0").contains("OCI registry"));
        assert!(error("shop", "0.9.0").contains("names no URL"));
    }

    #[test]
    fn an_index_is_read_however_it_is_laid_out() {
        let json = r#"{"entries": {"shop": [{"version": "1.0.0", "urls": ["a.tgz"]}], "cart": []}}"#;
        let flow = "entries:\n  shop: [{version: 1.0.0, urls: [a.tgz]}]\n  cart: []\n";
        let deep = "entries:\n    cart:\n      - version: 0.1.0\n\n    \"shop\":\n    # the shop\n      - version: 1.0.0\n        \
                    description: |\n          cart:\n        urls:\n          - a.tgz\ngenerated: now\n";
        let crlf = deep.replace('\n', "\r\n");
        for index in [json, flow, deep, &crlf, &format!("apiVersion: v1\n{deep}")] {
            assert_eq!(find("x", index.as_bytes(), "shop", "1.0.0").unwrap().url, "a.tgz", "{index}");
            let error = find("x", index.as_bytes(), "none", "1.0.0").unwrap_err().to_string();
            assert!(error.contains("`shop`") && error.contains("`cart`"), "{error}");
        }
        for index in ["", "entries:\n", "entries:\ngenerated: now\n", "entries: {}\n", "a: 1\n"] {
            let error = find("x", index.as_bytes(), "shop", "1.0.0").unwrap_err().to_string();
            assert!(error.ends_with("the index has no chart `shop`; it has none"), "{index}: {error}");
        }
    }

    #[test]
    fn an_index_of_many_charts_is_read_for_one_of_them() {
        let version =
            |chart, version| format!("  - urls:\n    - {chart}-{version}.tgz\n    version: 1.0.{version}\n");
        let chart = |chart| {
            let versions: Vec<_> = (0..200).map(|number| version(chart, number)).collect();
            format!("  chart{chart}:\n{}", versions.concat())
        };
        let index = format!("entries:\n{}", (0..500).map(chart).collect::<Vec<_>>().concat());
        assert!(parse_values(&index).is_err(), "it has more than is read as a whole");
        assert_eq!(find("x", index.as_bytes(), "chart499", "1.0.199").unwrap().url, "499-199.tgz");
    }
}
