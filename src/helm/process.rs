//! One run of the binary: an environment of its own, a process group of its own, and an end in any case.

use std::fs;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::HelmSettings;
use super::error::HelmError;
use super::folder::{Folder, KUBECONFIG};
use crate::report::one_line;

/// How often is looked at how much memory a run holds.
const MEMORY_INTERVAL: Duration = Duration::from_millis(25);

/// How many bytes of what Helm says are kept; the rest is read and thrown away.
const WORDS_MAX: usize = 64 << 10;

/// How many characters of what Helm says become part of an error.
const REASON_MAX: usize = 600;

/// A run under way. Dropped, it is killed, and its folder goes when it is dead.
pub(super) struct Process {
    child: Option<Child>,
    /// There until the run is over.
    folder: Option<Folder>,
    words: JoinHandle<Vec<u8>>,
    memory_bytes: u64,
}

impl Process {
    /// Starts Helm in its folder with these arguments.
    pub fn start(settings: &HelmSettings, folder: Folder, arguments: &[&str]) -> Result<Self, HelmError> {
        let path = folder.path();
        let mut command = Command::new(&settings.path);
        command
            .args(arguments)
            .current_dir(path)
            .env_clear()
            .env("HOME", path)
            .env("TMPDIR", path)
            .env("KUBECONFIG", path.join(KUBECONFIG))
            .env("KUBECACHEDIR", path.join("kube-cache"))
            .envs([("HELM_NO_PLUGINS", "1"), ("HELM_COLOR", "never"), ("NO_COLOR", "1")])
            // The server is ours and on this machine: there is nobody to be spared.
            .envs([("HELM_QPS", "1000"), ("HELM_BURST_LIMIT", "1000")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{name}_HOME"), path.join("helm"));
        }
        let started = command.spawn();
        let mut child = started.map_err(|source| HelmError::Start { path: settings.path.clone(), source })?;
        let words = tokio::spawn(first_words(child.stderr.take()));
        Ok(Self { child: Some(child), folder: Some(folder), words, memory_bytes: settings.memory_bytes })
    }

    /// Waits until Helm has ended. May be called anew when the wait was given up.
    pub async fn ended(&mut self) -> Result<ExitStatus, HelmError> {
        let Some(child) = &mut self.child else { return Ok(ExitStatus::default()) };
        loop {
            tokio::select! {
                status = child.wait() => return status.map_err(HelmError::Lost),
                () = tokio::time::sleep(MEMORY_INTERVAL) => {
                    if child.id().and_then(memory_of).is_some_and(|bytes| bytes > self.memory_bytes) {
                        return Err(HelmError::TooMuchMemory { limit: self.memory_bytes });
                    }
                }
            }
        }
    }

    /// Returns the folder of a run that ended well, and what Helm said of any other.
    pub async fn finish(mut self, status: ExitStatus) -> Result<Folder, HelmError> {
        let words = (&mut self.words).await.unwrap_or_default();
        if !status.success() {
            return Err(self.refused(&String::from_utf8_lossy(&words), status));
        }
        let ended = HelmError::Lost(io::Error::other("it is over already"));
        self.folder.take().ok_or(ended)
    }

    fn refused(&self, words: &str, status: ExitStatus) -> HelmError {
        let folder = self.folder.as_ref().map(|folder| format!("{}/", folder.path().display()));
        let reason = reason(&folder.map_or_else(|| words.to_owned(), |folder| words.replace(&folder, "")));
        let reason = if reason.is_empty() { format!("it ended without a word ({status})") } else { reason };
        HelmError::Refused { reason }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let (Some(mut child), folder) = (self.child.take(), self.folder.take()) else { return };
        if let Some(group) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            // Nobody is left to kill when it has just ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
        if let Ok(runtime) = Handle::try_current() {
            // What is still dying may still write: the folder goes after it.
            runtime.spawn(async move {
                let _ = child.wait().await;
                drop(folder);
            });
        }
    }
}

/// Reads everything, and keeps the beginning.
async fn first_words(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut words, mut buffer) = (Vec::new(), vec![0; 8 << 10]);
    let Some(mut stream) = stream else { return words };
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let kept = count.min(WORDS_MAX - words.len());
        words.extend_from_slice(&buffer[..kept]);
    }
    words
}

/// Returns the reason among what Helm says: what follows `Error:`, without its advice for a terminal.
fn reason(words: &str) -> String {
    let error = words.find("Error: ").map_or(words, |at| &words[at + "Error: ".len()..]);
    let error = error.split("\n\nUse --debug flag").next().unwrap_or_default();
    one_line(&without_colours(error), REASON_MAX)
}

/// Takes out the sequences by which terminals change colour.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').trim_start_matches('m')
    })
}

/// Returns the bytes that a process holds in memory, on Linux.
fn memory_of(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helm_says_becomes_the_reason_in_one_line() {
        for (words, said) in [
            ("level=WARN msg=x\nError: no such\tvalue\n\nUse --debug flag to render out\n", "no such value"),
            ("Error: \u{1b}[1;31mred\u{1b}[0m text", "red text"),
            ("panic: x\ny", "panic: x y"),
            ("", ""),
        ] {
            assert_eq!(reason(words), said);
        }
        assert_eq!(reason(&"x".repeat(2000)).chars().count(), REASON_MAX);
    }

    #[test]
    fn the_memory_of_this_process_is_known() {
        let bytes = memory_of(std::process::id()).unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
