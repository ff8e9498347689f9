//! A watch on a local repository's refs, so that a push is seen at once instead of at the next poll.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::warn;

use super::error::{GitError, one_line};

/// A push may write several files within a few milliseconds: this much quiet means that it is over.
const QUIET: Duration = Duration::from_millis(20);

/// A repository that never goes quiet is reported on this often.
const PATIENCE: Duration = Duration::from_millis(200);

/// Watches a local repository for as long as it lives.
#[derive(Debug)]
pub struct LocalWatch {
    _watcher: RecommendedWatcher,
}

/// Calls `on_change` soon after a ref of a local repository changed, on a thread of its own.
///
/// It may be called when nothing of interest changed, and must not be the only means: a repository that is
/// replaced by another one, or lies on a network file system, goes unnoticed until the next poll.
pub fn watch_local(path: &Path, on_change: impl Fn() + Send + 'static) -> Result<LocalWatch, GitError> {
    let failed = |reason: &str| GitError::Watch { path: path.to_owned(), reason: reason.to_owned() };
    let folder = git_folder(path).ok_or_else(|| failed("it is not a git repository"))?;
    let (sender, receiver) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let matters = match &event {
            Ok(event) => changes_refs(event),
            Err(error) => {
                warn!(reason = %one_line(&error.to_string(), 200), "the watch on a local repository lost events");
                true
            }
        };
        if matters {
            // The receiver is gone only while the watch is being dropped.
            let _ = sender.send(());
        }
    })
    .map_err(|error| failed(&one_line(&error.to_string(), 200)))?;
    // `packed-refs` and HEAD are replaced, not written: their folder is watched, as a watch on a file would
    // stay with the old one.
    let mut places = vec![(folder.clone(), RecursiveMode::NonRecursive)];
    for below in ["refs", "reftable"] {
        let below = folder.join(below);
        if below.is_dir() {
            places.push((below, RecursiveMode::Recursive));
        }
    }
    for (place, mode) in places {
        watcher.watch(&place, mode).map_err(|error| failed(&one_line(&error.to_string(), 200)))?;
    }
    std::thread::Builder::new()
        .name("git-watch".to_owned())
        .spawn(move || report(&receiver, &on_change))
        .map_err(|error| failed(&one_line(&error.to_string(), 200)))?;
    Ok(LocalWatch { _watcher: watcher })
}

/// Finds the folder that holds a repository's refs: the path itself when bare, its `.git`, or what a `.git`
/// file and a `commondir` file point to.
fn git_folder(path: &Path) -> Option<PathBuf> {
    let dot_git = path.join(".git");
    let folder = if dot_git.is_dir() {
        dot_git
    } else if let Ok(text) = fs::read_to_string(&dot_git) {
        path.join(text.strip_prefix("gitdir:")?.trim())
    } else {
        path.to_owned()
    };
    let folder = match fs::read_to_string(folder.join("commondir")) {
        Ok(common) => folder.join(common.trim()),
        Err(_) => folder,
    };
    (folder.join("HEAD").is_file() && folder.join("objects").is_dir()).then_some(folder)
}

/// Tells whether an event may mean that a ref changed. Reading must not count: the fetch that follows a change
/// reads the same files, and would call for the next fetch for ever.
fn changes_refs(event: &Event) -> bool {
    if event.need_rescan() {
        return true;
    }
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.paths.iter().any(|path| {
        let in_refs = path.iter().any(|part| part == "refs" || part == "reftable");
        let named = path.file_name().is_some_and(|name| name == "packed-refs" || name == "HEAD");
        let lock = path.extension().is_some_and(|extension| extension == "lock");
        (in_refs || named) && !lock
    })
}

/// Calls back at the first change of a burst, for a push has mostly ended with it, and once more when the burst is over, if
/// anything followed; until the watcher is dropped.
fn report(changes: &Receiver<()>, on_change: &dyn Fn()) {
    while changes.recv().is_ok() {
        on_change();
        let (first, mut more) = (Instant::now(), false);
        loop {
            match changes.recv_timeout(QUIET) {
                Ok(()) if first.elapsed() < PATIENCE => more = true,
                Ok(()) => {
                    more = true;
                    break;
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if more {
            on_change();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_at_once_and_what_follows_it_is_told_once_when_it_is_over() {
        let (change, changes) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        for _ in 0..4 {
            change.send(()).unwrap();
        }
        let thread = std::thread::spawn(move || report(&changes, &|| tell.send(()).unwrap()));
        for _ in 0..2 {
            told.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        let further = told.recv_timeout(Duration::from_millis(100));
        drop(change);
        thread.join().unwrap();
        assert!(further.is_err(), "one burst, two words");
    }
}
