//! Charts in git repositories: the files of a folder at a commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

use super::cache::{Entry, sha256};
use super::error::ChartSourceError;
use super::{ChartFetchSettings, Desk};
use crate::git::{self, Auth, ReadLimits, RemoteUrl, Secret, SourceSettings};
use crate::store::FileContent;

/// The most files that a chart may have.
const FILES_MAX: usize = 5_000;

/// How deep folders may lie in each other: a chart's subcharts have two levels each.
const DEPTH_MAX: usize = 32;

/// The most entries of the repository's folders that are looked at.
const ENTRIES_MAX: usize = 200_000;

/// How old a folder is that a killed process left.
const LEFT_BEHIND: Duration = Duration::from_hours(1);

/// How the folders of fetches are called.
const PREFIX: &str = "git-";

/// The least time for which a remote may stay silent.
const SILENCE_MIN: Duration = Duration::from_secs(1);

/// A chart in a git repository, pinned.
pub(super) struct Folder<'a> {
    pub url: RemoteUrl,
    pub revision: &'a str,
    /// Without slashes at its ends; empty for the root.
    pub path: &'a str,
}

type Files = BTreeMap<String, Vec<u8>>;

/// Returns the files of a chart, by their paths in its folder.
pub(super) async fn fetch(
    desk: &Arc<Desk>,
    chart: &str,
    folder: &Folder<'_>,
) -> Result<Files, ChartSourceError> {
    let key = sha256(format!("{}\n{}\n{}", folder.url, folder.revision, folder.path).as_bytes());
    if let Some(files) = desk.cached(Entry::Sealed(&key)).await.and_then(|bytes| unpack(&bytes)) {
        return Ok(files);
    }
    let settings = settings(desk, chart, &folder.url)?;
    let (revision, path) = (folder.revision.to_owned(), folder.path.to_owned());
    let (limits, place) = (limits(&desk.settings), desk.settings.cache_folder.clone());
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from((desk.clock)()).unwrap_or(0));
    let read = super::blocking(move || {
        remove_left_behind(&place, now);
        read(&place, &settings, &revision, &path, &limits)
    })
    .await;
    let failed = |error| ChartSourceError::Git { chart: chart.to_owned(), error: Arc::new(error) };
    let files = checked(chart, folder, read.map_err(failed)?)?;
    desk.keep(Entry::Sealed(&key), &pack(&files)).await;
    Ok(files)
}

fn settings(desk: &Desk, chart: &str, url: &RemoteUrl) -> Result<SourceSettings, ChartSourceError> {
    let ChartFetchSettings { ca_file, time_limit, max_git_bytes, git_ssh, .. } = &desk.settings;
    let shown = url.to_string();
    let auth = match (shown.strip_prefix("ssh://"), git_ssh) {
        (Some(_), Some(login)) => login.clone(),
        (Some(_), None) => {
            let reason =
                format!("fetch {chart}: git over ssh needs a private key and known_hosts, and none are set");
            return Err(ChartSourceError::Settings { reason });
        }
        (None, _) => {
            let parsed = Url::parse(&shown).ok();
            match parsed.map(|url| desk.login(&url)).transpose()?.flatten() {
                Some(login) => Auth::Token { username: login.username, token: Secret::new(&login.password) },
                None => Auth::Anonymous,
            }
        }
    };
    Ok(SourceSettings {
        auth,
        ca_file: ca_file.clone(),
        // Git's own bound on the whole is a multiple of it, and only ends what was given up already.
        timeout: (*time_limit / 2).max(SILENCE_MIN),
        max_fetch_bytes: *max_git_bytes,
        // Plays no part.
        ..SourceSettings::new(url.clone(), "main")
    })
}

fn limits(settings: &ChartFetchSettings) -> ReadLimits {
    ReadLimits {
        max_files: FILES_MAX,
        max_file_bytes: settings.max_archive_bytes,
        max_chart_file_bytes: settings.max_archive_bytes,
        max_total_bytes: settings.max_archive_bytes,
        max_depth: DEPTH_MAX,
        max_entries: ENTRIES_MAX,
    }
}

/// Removes the folders of processes that were killed. Another process may be at work in a younger one.
fn remove_left_behind(place: &Path, now: SystemTime) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let begun = entry.metadata().and_then(|metadata| metadata.modified());
        let age = begun.ok().and_then(|begun| now.duration_since(begun).ok());
        if is_ours && age.is_some_and(|age| age > LEFT_BEHIND) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Fetches into a folder that goes again.
fn read(
    place: &Path,
    settings: &SourceSettings,
    revision: &str,
    path: &str,
    limits: &ReadLimits,
) -> Result<BTreeMap<String, FileContent>, git::GitError> {
    let storage =
        |source| git::GitError::Storage { action: "make a folder in", path: place.to_owned(), source };
    fs::create_dir_all(place).map_err(storage)?;
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place).map_err(storage)?;
    let inside = if path.is_empty() { String::new() } else { format!("{path}/") };
    // A folder is asked for with a slash at its end: those on the way to the chart's are wanted too.
    let wants =
        |asked: &str| asked.starts_with(&inside) || (asked.ends_with('/') && inside.starts_with(asked));
    let files = git::read_commit(folder.path(), settings, revision, &wants, limits)?;
    Ok(files
        .into_iter()
        .filter_map(|(name, file)| Some((name.strip_prefix(&inside)?.to_owned(), file)))
        .collect())
}

/// Refuses what is no chart, and what a chart can't be made of.
fn checked(
    chart: &str,
    folder: &Folder<'_>,
    files: BTreeMap<String, FileContent>,
) -> Result<Files, ChartSourceError> {
    let other = |reason| ChartSourceError::NotThisChart { chart: chart.to_owned(), reason };
    let place = if folder.path.is_empty() { "the root" } else { folder.path };
    let mut read = Files::new();
    for (name, content) in files {
        match content {
            FileContent::Bytes(bytes) => drop(read.insert(name, bytes)),
            FileContent::Unreadable(why) => return Err(other(format!("`{name}` in {place} is {why}"))),
        }
    }
    if !read.contains_key("Chart.yaml") {
        return Err(other(format!("there is no Chart.yaml in {place} at that commit")));
    }
    Ok(read)
}

fn pack(files: &Files) -> Vec<u8> {
    let encoded = files.iter().map(|(path, bytes)| (path.clone(), STANDARD.encode(bytes).into()));
    serde_json::Value::Object(encoded.collect()).to_string().into_bytes()
}

fn unpack(bytes: &[u8]) -> Option<Files> {
    let encoded: BTreeMap<String, String> = serde_json::from_slice(bytes).ok()?;
    encoded.into_iter().map(|(path, text)| Some((path, STANDARD.decode(text).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_and_what_is_at_work_stays() {
        let place = tempfile::tempdir().unwrap();
        for name in ["git-a", "content"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let made = fs::metadata(place.path().join("git-a")).unwrap().modified().unwrap();
        remove_left_behind(place.path(), made + LEFT_BEHIND);
        assert!(place.path().join("git-a").exists());
        remove_left_behind(place.path(), made + LEFT_BEHIND * 2);
        assert!(!place.path().join("git-a").exists());
        assert!(place.path().join("content").exists());
    }

    #[test]
    fn files_are_kept_with_all_their_bytes() {
        let files = Files::from([("a".to_owned(), vec![0, 0xff, b'\n']), ("b/c".to_owned(), Vec::new())]);
        assert_eq!(unpack(&pack(&files)), Some(files));
        assert_eq!(unpack(b"{\"a\": \"!\"}"), None);
    }
}
