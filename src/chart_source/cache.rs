//! What was fetched, on disk: named by its digest, checked at each read, bounded in size. Processes may share it.
//!
//! ```text
//! <folder>/content/<sha256>   bytes with this digest
//! <folder>/sealed/<name>      bytes that something else names: their digest, a line break, the bytes
//! ```
//!
//! The cache is never needed: what can't be written is fetched again.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};

use super::Clock;

/// How many digits the digest of a sealed entry has.
const DIGITS: usize = 64;

/// An entry of the cache.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// Bytes with this SHA-256, in hexadecimal digits.
    Content(&'a str),
    /// Bytes that this name, 64 hexadecimal digits, stands for.
    Sealed(&'a str),
}

/// A folder of entries.
pub(super) struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    clock: Clock,
}

impl Cache {
    pub fn new(folder: &Path, max_bytes: u64, clock: Clock) -> Self {
        Self { folder: folder.to_owned(), max_bytes, clock }
    }

    /// Returns an entry's bytes; none when it is not there or damaged.
    pub fn get(&self, entry: Entry<'_>) -> Option<Vec<u8>> {
        let path = self.path(entry);
        let found = fs::read(&path).ok()?;
        let Some(bytes) = opened(entry, found) else {
            warn!(path = %path.display(), "an entry of the chart cache is damaged: it is fetched again");
            let _ = fs::remove_file(&path);
            return None;
        };
        // The newest use is what is removed last; a cache that can only be read has no order.
        let _ = File::options().append(true).open(&path).and_then(|file| file.set_modified(self.now()));
        Some(bytes)
    }

    /// Keeps bytes, and removes what was not used for the longest time until all fits.
    pub fn put(&self, entry: Entry<'_>, bytes: &[u8]) {
        let path = self.path(entry);
        if bytes.len() as u64 > self.max_bytes {
            return;
        }
        let written = self.make_room(bytes.len() as u64).and_then(|()| self.write(&path, entry, bytes));
        if let Err(error) = written {
            warn!(path = %path.display(), %error, "the chart cache can't be written");
        }
    }

    fn write(&self, path: &Path, entry: Entry<'_>, bytes: &[u8]) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.folder);
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        if let Entry::Sealed(_) = entry {
            writeln!(file, "{}", sha256(bytes))?;
        }
        file.write_all(bytes)?;
        file.as_file().set_modified(self.now())?;
        file.persist(path)?;
        Ok(())
    }

    fn make_room(&self, wanted: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        for part in ["content", "sealed"] {
            let folder = self.folder.join(part);
            fs::create_dir_all(&folder)?;
            for entry in fs::read_dir(&folder)?.flatten() {
                // Another process may have removed it.
                let Ok(metadata) = entry.metadata() else { continue };
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                entries.push((used, metadata.len(), entry.path()));
            }
        }
        entries.sort();
        let mut total: u64 = wanted + entries.iter().map(|(_, size, _)| size).sum::<u64>();
        for (_, size, path) in entries {
            if total <= self.max_bytes {
                break;
            }
            debug!(path = %path.display(), "removed from the chart cache to make room");
            let _ = fs::remove_file(&path);
            total -= size;
        }
        Ok(())
    }

    fn path(&self, entry: Entry<'_>) -> PathBuf {
        match entry {
            Entry::Content(digest) => self.folder.join("content").join(digest),
            Entry::Sealed(name) => self.folder.join("sealed").join(name),
        }
    }

    fn now(&self) -> SystemTime {
        let seconds = u64::try_from((self.clock)()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }
}

/// Returns what an entry holds when it is whole.
fn opened(entry: Entry<'_>, mut found: Vec<u8>) -> Option<Vec<u8>> {
    match entry {
        Entry::Content(digest) => (sha256(&found) == digest).then_some(found),
        Entry::Sealed(_) => {
            if found.get(DIGITS) != Some(&b'\n') {
                return None;
            }
            let bytes = found.split_off(DIGITS + 1);
            (sha256(&bytes).as_bytes() == &found[..DIGITS]).then_some(bytes)
        }
    }
}

/// Returns the SHA-256 of bytes in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(DIGITS);
    for byte in Sha256::digest(bytes) {
        // Writing to a text can't fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn cache(folder: &Path, max_bytes: u64) -> Cache {
        let time = AtomicI64::new(1);
        Cache::new(folder, max_bytes, Arc::new(move || time.fetch_add(1, Ordering::Relaxed)))
    }

    #[test]
    fn entries_stay_over_restarts_and_damaged_ones_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let (content, sealed) = (sha256(b"chart"), sha256(b"a name"));
        for entry in [Entry::Content(&content), Entry::Sealed(&sealed)] {
            let first = cache(folder.path(), 1000);
            assert_eq!(first.get(entry), None);
            first.put(entry, b"chart");
            let second = cache(folder.path(), 1000);
            assert_eq!(second.get(entry).as_deref(), Some(b"chart".as_slice()));
            let path = second.path(entry);
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(second.get(entry), None);
            assert!(!path.exists(), "a damaged entry is removed");
            fs::write(&path, "").unwrap();
            assert_eq!(second.get(entry), None);
        }
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 250);
        let bytes = |fill: u8| vec![fill; 100];
        let name = |fill: u8| sha256(&bytes(fill));
        cache.put(Entry::Content(&name(1)), &bytes(1));
        cache.put(Entry::Content(&name(2)), &bytes(2));
        assert!(cache.get(Entry::Content(&name(1))).is_some());
        cache.put(Entry::Content(&name(3)), &bytes(3));
        assert!(cache.get(Entry::Content(&name(2))).is_none(), "it was used first");
        assert!(cache.get(Entry::Content(&name(1))).is_some());
        assert!(cache.get(Entry::Content(&name(3))).is_some());
        cache.put(Entry::Content(&sha256(&[0; 300])), &[0; 300]);
        assert!(cache.get(Entry::Content(&name(1))).is_some(), "what is too large removes nothing");
    }

    #[test]
    fn a_cache_that_cannot_be_written_only_forgets() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let cache = cache(&folder.path().join("file"), 1000);
        cache.put(Entry::Content(&sha256(b"a")), b"a");
        assert_eq!(cache.get(Entry::Content(&sha256(b"a"))), None);
    }
}
