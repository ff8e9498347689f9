//! Remembers which stores were deleted lately, in a small file of the state folder, or in a ConfigMap that several replicas
//! share: the deletion budget counts them after a restart too. It may be lost at any time, which loses this memory and
//! nothing else.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::cluster::{SeenText, SharedRecord};
use crate::plan::{Recent, Removed};

/// How long a removal is remembered, in seconds: the longest window of a budget is 30 days.
const REMEMBERED: i64 = 31 * 24 * 3600;

/// How many removals are remembered however old they seem: a clock that jumps forward and back again loses none of these.
const ALWAYS_REMEMBERED: usize = 1000;

/// The removals of late could not be written down; fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
#[error("write down in {place} which store is deleted: {why}; nothing is deleted before that")]
pub struct LedgerError {
    place: String,
    why: String,
}

/// The memory. Cloned handles share it.
#[derive(Clone)]
pub struct Ledger {
    /// Where several replicas keep it together, in place of the file.
    shared: Option<SharedRecord>,
    path: PathBuf,
    /// None until it is needed for the first time.
    recent: Arc<Mutex<Option<Recent>>>,
    /// Held by who writes, from the memory as it was to the memory as it is then.
    writing: Arc<Mutex<()>>,
}

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    removed: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unknown_since: Option<i64>,
}

/// One removal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    store: String,
    uid: String,
    at: i64,
}

impl Ledger {
    /// Names the file; it is read when it is needed first.
    pub fn new(path: PathBuf) -> Self {
        Self { shared: None, path, recent: Arc::default(), writing: Arc::default() }
    }

    /// Keeps the memory together with other replicas.
    pub fn shared(record: SharedRecord) -> Self {
        Self { shared: Some(record), ..Self::new(PathBuf::new()) }
    }

    /// Returns what is remembered. A file that can't be read is said, and set aside; from then on it counts as a time
    /// of which nobody knows what was deleted.
    pub fn recent(&self, now: i64) -> Recent {
        match &self.shared {
            Some(record) => self.shared_recent(record.read().as_ref(), now),
            None => self.locked(now, |recent| recent.clone()),
        }
    }

    /// Writes a removal down before it is carried out, as [`Ledger::note`] does. Where replicas share the memory and another
    /// one wrote meanwhile, this fails: what it removed counts, and whether there is room is to be judged anew.
    pub async fn write_down(&self, removed: Removed) -> Result<(), LedgerError> {
        let Some(record) = &self.shared else {
            let ledger = self.clone();
            let noted = tokio::task::spawn_blocking(move || ledger.note(removed)).await;
            return noted.unwrap_or_else(|error| Err(self.failed(&error)));
        };
        let Some(before) = record.read() else {
            return Err(self.failed(&"it is not known yet what it says"));
        };
        let next = with(self.shared_recent(Some(&before), removed.at), removed);
        record
            .replace(&before, &print(&next))
            .await
            .map_err(|error| self.failed(&format!("failed to {error}")))
    }

    /// Understands what replicas share. What is not known, or can't be read, counts as a time of which nobody knows what was
    /// deleted, from the moment on when that was found.
    fn shared_recent(&self, seen: Option<&SeenText>, now: i64) -> Recent {
        let words = match seen.map(|seen| seen.text.as_str()) {
            None => "it is not known yet what it says".to_owned(),
            Some("") => return Recent::default(),
            Some(text) => match understand(text.as_bytes()) {
                Ok(recent) => return recent,
                Err(words) => words,
            },
        };
        self.locked(now, |lost| {
            if lost.unknown_since.is_none() {
                tracing::warn!("the record of removals that replicas share can't be used: {words}");
                lost.unknown_since = Some(now);
            }
            lost.clone()
        })
    }

    fn failed(&self, error: &dyn fmt::Display) -> LedgerError {
        let place = if self.shared.is_some() {
            "the replicas' record".to_owned()
        } else {
            self.path.display().to_string()
        };
        LedgerError { place, why: error.to_string() }
    }

    /// Writes a removal down before it is carried out. When this returns, a crash does not lose it. Until then it is not
    /// remembered, and nobody waits for the disk but who writes too.
    pub fn note(&self, removed: Removed) -> Result<(), LedgerError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = removed.at;
        let next = with(self.locked(now, |recent| recent.clone()), removed);
        self.write(&next)?;
        self.locked(now, |recent| *recent = next);
        Ok(())
    }

    fn locked<T>(&self, now: i64, act: impl FnOnce(&mut Recent) -> T) -> T {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        act(recent.get_or_insert_with(|| self.read(now)))
    }

    fn read(&self, now: i64) -> Recent {
        match fs::read(&self.path).map(|bytes| understand(&bytes)) {
            Ok(Ok(recent)) => recent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Recent::default(),
            Ok(Err(words)) => self.give_up(now, &words),
            Err(error) => self.give_up(now, &error.to_string()),
        }
    }

    fn give_up(&self, now: i64, why: &str) -> Recent {
        let path = self.path.display();
        tracing::error!(
            %path,
            "the record of removals can't be read ({why}): the deletion budget counts as used up until its window has passed"
        );
        let recent = Recent { removed: Vec::new(), unknown_since: Some(now) };
        // So that the next start counts from now too, and whoever wants to can look at what was there.
        let _ = fs::rename(&self.path, self.path.with_extension("broken"));
        if let Err(error) = self.write(&recent) {
            tracing::error!("failed to {error}");
        }
        recent
    }

    /// Replaces the file as a whole: a crash leaves the old one or the new one.
    fn write(&self, recent: &Recent) -> Result<(), LedgerError> {
        self.replace(&print(recent)).map_err(|error| self.failed(&error))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().map(PathBuf::from).unwrap_or_default();
        fs::create_dir_all(&folder)?;
        let partial = self.path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)?;
        File::open(&folder)?.sync_all()
    }
}

/// Adds a removal, and forgets what is old.
fn with(mut recent: Recent, removed: Removed) -> Recent {
    let now = removed.at;
    recent.removed.retain(|it| (&it.store, &it.uid) != (&removed.store, &removed.uid));
    let mut spare = recent.removed.len().saturating_sub(ALWAYS_REMEMBERED);
    recent.removed.retain(|it| {
        let is_new = spare == 0 || it.at > now - REMEMBERED;
        spare = spare.saturating_sub(1);
        is_new
    });
    recent.removed.push(removed);
    recent
}

fn understand(bytes: &[u8]) -> Result<Recent, String> {
    let content: Content = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let Content { removed, unknown_since } = content;
    let removed = removed.into_iter().map(|Entry { store, uid, at }| {
        let store = store.parse().map_err(|error| format!("{error}"))?;
        Ok(Removed { store, uid, at })
    });
    Ok(Recent { removed: removed.collect::<Result<_, String>>()?, unknown_since })
}

fn print(recent: &Recent) -> String {
    let Recent { removed, unknown_since } = recent;
    let removed = removed.iter().map(|Removed { store, uid, at }| Entry {
        store: store.to_string(),
        uid: uid.clone(),
        at: *at,
    });
    let content = Content { removed: removed.collect(), unknown_since: *unknown_since };
    serde_json::to_string(&content).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn removed(store: &str, at: i64) -> Removed {
        Removed { store: store.parse().unwrap(), uid: format!("uid-{store}"), at }
    }

    #[test]
    fn what_is_written_down_is_known_after_a_restart_and_once_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not-yet-there/removals.json");
        let ledger = Ledger::new(path.clone());
        assert_eq!(ledger.recent(NOW), Recent::default(), "no file is no removal");
        for (store, at) in [("a", NOW - 5), ("b", NOW - 4), ("a", NOW)] {
            ledger.note(removed(store, at)).unwrap();
        }
        let expected = [removed("b", NOW - 4), removed("a", NOW)];
        for ledger in [ledger, Ledger::new(path)] {
            assert_eq!(ledger.recent(NOW).removed, expected);
        }
    }

    #[test]
    fn old_removals_are_forgotten_when_there_are_many_and_not_because_a_clock_jumps() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("removals.json"));
        ledger.note(removed("a", NOW)).unwrap();
        ledger.note(removed("b", NOW + 2 * REMEMBERED)).unwrap();
        assert_eq!(ledger.recent(NOW).removed.len(), 2);
        let many = (0..ALWAYS_REMEMBERED + 2).map(|number| removed(&format!("s{number}"), NOW - REMEMBERED));
        let recent = Recent { removed: many.collect(), unknown_since: None };
        *ledger.recent.lock().unwrap() = Some(recent);
        ledger.note(removed("new", NOW)).unwrap();
        let left = ledger.recent(NOW).removed;
        assert_eq!((left.len(), left[0].store.as_str()), (ALWAYS_REMEMBERED + 1, "s2"));
    }

    #[test]
    fn a_file_that_is_broken_is_no_empty_one_and_stays_so_after_a_restart() {
        for broken in ["", "{", "[]", r#"{"removed":[{"store":"A b","uid":"u","at":1}]}"#, r#"{"gone":[]}"#] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("removals.json");
            fs::write(&path, broken).unwrap();
            assert_eq!(Ledger::new(path.clone()).recent(NOW).unknown_since, Some(NOW), "{broken}");
            let later = Ledger::new(path.clone());
            later.note(removed("a", NOW + 9)).unwrap();
            let recent = Ledger::new(path).recent(NOW + 10);
            assert_eq!((recent.unknown_since, recent.removed.len()), (Some(NOW), 1));
        }
    }

    #[test]
    fn a_disk_that_hangs_keeps_nobody_waiting_who_reads() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("removals.json"));
        ledger.note(removed("a", NOW)).unwrap();
        // Whoever opens a pipe to write waits until somebody reads.
        let pipe = folder.path().join("removals.partial");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (writer, reader) = (ledger.clone(), ledger.clone());
        let writing = std::thread::spawn(move || writer.note(removed("b", NOW)));
        while ledger.writing.try_lock().is_ok() {
            std::thread::yield_now();
        }
        let (answer, answers) = std::sync::mpsc::channel();
        std::thread::spawn(move || answer.send(reader.recent(NOW)));
        let recent = answers.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        assert_eq!(recent.removed, [removed("a", NOW)], "what is not on the disk does not count as noted");
        // A pipe is no disk, so it fails in the end, and what failed is not remembered.
        assert!(fs::read_to_string(&pipe).unwrap().contains("\"b\""));
        writing.join().unwrap().unwrap_err();
        assert_eq!(ledger.recent(NOW).removed, [removed("a", NOW)]);
    }

    #[test]
    fn two_that_write_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("removals.json");
        let ledger = Ledger::new(path.clone());
        std::thread::scope(|scope| {
            for number in 0..8 {
                let ledger = ledger.clone();
                scope.spawn(move || ledger.note(removed(&format!("s{number}"), NOW)).unwrap());
            }
        });
        for ledger in [ledger, Ledger::new(path)] {
            assert_eq!(ledger.recent(NOW).removed.len(), 8);
        }
    }

    #[test]
    fn what_can_not_be_written_down_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let ledger = Ledger::new(folder.path().join("file/removals.json"));
        let error = ledger.note(removed("a", NOW)).unwrap_err();
        assert!(error.to_string().contains("nothing is deleted before that"), "{error}");
    }
}
