//! Annotations on GitLab: discussions at lines of a merge request.
//!
//! An annotation that stands at its line already is not put there again by the next push, and the discussion of one that
//! is no longer true is resolved: many projects merge only when nothing is left to discuss.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{ITEMS_MAX, Paging, commit};
use super::error::ForgeError;
use super::gitlab::{DiffRefs, GitLab, Note, PER_PAGE};
use super::lines::{Line, Shown};
use super::text::{Marker, fenced, hash, marked};
use super::wire::Call;
use super::{Annotated, COMMENTS_MAX, Pull};
use crate::report::Annotation;

/// Files of a merge request that are looked at.
const FILES_MAX: usize = 3_000;

impl GitLab {
    pub(super) async fn annotate(
        &self,
        pull: &Pull,
        annotations: &[Annotation],
    ) -> Result<Annotated, ForgeError> {
        let act = self.client.act(&format!("annotate merge request {}", pull.number));
        commit(&act, &pull.head)?;
        let number = pull.number.to_string();
        let threads = self.threads(&act, &number).await?;
        let wanted: BTreeSet<_> = annotations.iter().map(hash).collect();
        let mut changed = false;
        for thread in threads.iter().filter(|thread| thread.open && !wanted.contains(&thread.hash)) {
            let path = self.path(&["merge_requests", &number, "discussions", &thread.id]);
            self.client.done(Call::new(&act, Method::PUT, &path).body(json!({ "resolved": true }))).await?;
            changed = true;
        }
        let mut there: BTreeSet<_> = threads.into_iter().map(|thread| thread.hash).collect();
        let mut shown = wanted.iter().filter(|hash| there.contains(*hash)).count();
        let missing: Vec<_> = annotations.iter().filter(|note| there.insert(hash(note))).collect();
        if !missing.is_empty() {
            let put = self.put_discussions(&act, pull, &missing).await?;
            shown += put;
            changed |= put > 0;
        }
        Ok(Annotated { shown, left_out: wanted.len() - shown, changed })
    }

    /// Returns our discussions.
    async fn threads(&self, act: &str, number: &str) -> Result<Vec<Thread>, ForgeError> {
        let me = self.me(act).await?;
        let path = self.path(&["merge_requests", number, "discussions"]);
        let call = Call::get(act, &path).query("per_page", PER_PAGE);
        let mut threads = Vec::new();
        let see = |Discussion { id, notes }: Discussion| {
            let first = notes.first().filter(|note| note.is_by(&me));
            if let Some((note, hash)) =
                first.and_then(|note| Some((note, marked(self.client.marker(), &note.body)?)))
            {
                // It becomes part of a URL.
                if id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    let open = note.resolvable && !note.resolved;
                    threads.push(Thread { id, hash: hash.to_owned(), open });
                }
            }
            true
        };
        self.client.pages(&call, Paging::NextPage, ITEMS_MAX, see).await?;
        Ok(threads)
    }

    /// Begins a discussion for each annotation whose line the merge request shows; returns how many.
    async fn put_discussions(
        &self,
        act: &str,
        pull: &Pull,
        annotations: &[&Annotation],
    ) -> Result<usize, ForgeError> {
        let request = self.merge_request(act, pull.number).await?;
        // Without them GitLab prepares the diff still; with another head, these are lines of an older one.
        let Some(refs) = request.and_then(|request| request.diff_refs) else { return Ok(0) };
        if refs.head.as_deref() != Some(pull.head.as_str()) {
            return Ok(0);
        }
        let number = pull.number.to_string();
        let files = self.files(act, &number).await?;
        let path = self.path(&["merge_requests", &number, "discussions"]);
        let placed = annotations.iter().filter_map(|note| {
            let position = position(&refs, files.get(&note.path)?, note)?;
            Some((*note, position))
        });
        let mut put = 0;
        for (note, position) in placed.take(COMMENTS_MAX) {
            let marker = Marker::of(self.client.marker(), &hash(note));
            let body = marker.before(self.client.kind(), &fenced(&note.message));
            let body = json!({ "body": body, "position": position });
            match self.client.done(Call::new(act, Method::POST, &path).body(body)).await {
                Ok(()) => put += 1,
                // GitLab sees its diff otherwise.
                Err(ForgeError::Refused { status: 400 | 422, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(put)
    }

    async fn files(&self, act: &str, number: &str) -> Result<BTreeMap<String, File>, ForgeError> {
        let path = self.path(&["merge_requests", number, "diffs"]);
        let call = Call::get(act, &path).query("per_page", PER_PAGE);
        let files: Vec<Diff> = self.client.list(&call, Paging::NextPage, FILES_MAX).await?;
        let file =
            |file: Diff| (file.new_path, File { old_path: file.old_path, shown: Shown::read(&file.hunks) });
        Ok(files.into_iter().map(file).collect())
    }
}

struct Thread {
    id: String,
    hash: String,
    open: bool,
}

struct File {
    old_path: String,
    shown: Shown,
}

#[derive(Deserialize)]
struct Discussion {
    id: String,
    notes: Vec<Note>,
}

#[derive(Deserialize)]
struct Diff {
    old_path: String,
    new_path: String,
    #[serde(rename = "diff")]
    hunks: String,
}

/// Returns where an annotation stands; none when the merge request does not show its line.
fn position(refs: &DiffRefs, file: &File, note: &Annotation) -> Option<Value> {
    let line = file.shown.line(note.line)?;
    let mut position = json!({
        "position_type": "text",
        "base_sha": refs.base,
        "start_sha": refs.start,
        "head_sha": refs.head,
        "old_path": file.old_path,
        "new_path": note.path,
        "new_line": note.line,
    });
    // A line that both versions have is named by both numbers.
    if let Line::Kept(old) = line {
        position["old_line"] = old.into();
    }
    Some(position)
}
