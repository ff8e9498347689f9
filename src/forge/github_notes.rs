//! Annotations on GitHub: a check run where storekeeper is an App, comments of a review where it is a user.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{ITEMS_MAX, Paging, commit};
use super::error::ForgeError;
use super::github::{Comment, GitHub, PER_PAGE};
use super::lines::Shown;
use super::text::{Marker, fenced, hash, hash_all, marked, plain};
use super::wire::Call;
use super::{Annotated, COMMENTS_MAX, NOTES_MAX, Pull};
use crate::names::check_files;
use crate::report::Annotation;

/// Annotations in one request: the most that GitHub takes.
const BATCH: usize = 50;

/// Files of a pull request: the most that GitHub lists.
const FILES_MAX: usize = 3_000;

impl GitHub {
    pub(super) async fn annotate(
        &self,
        pull: &Pull,
        annotations: &[Annotation],
    ) -> Result<Annotated, ForgeError> {
        let act = self.client.act(&format!("annotate pull request {}", pull.number));
        commit(&act, &pull.head)?;
        if self.client.is_app() {
            self.check(&act, pull, annotations).await
        } else {
            self.review(&act, pull, annotations).await
        }
    }

    /// Makes one check run for the head. A run is ours by its external id, which says what is in it.
    async fn check(
        &self,
        act: &str,
        pull: &Pull,
        annotations: &[Annotation],
    ) -> Result<Annotated, ForgeError> {
        let kept = &annotations[..annotations.len().min(NOTES_MAX)];
        let marker = self.client.marker();
        let id = format!("{marker}-{}", hash_all(&pull.head, kept));
        let call = Call::get(act, &self.path(&["commits", &pull.head, "check-runs"]))
            .query("check_name", check_files(self.client.cluster()))
            .query("filter", "latest")
            .query("per_page", PER_PAGE);
        let CheckRuns { check_runs } = self.client.json(call).await?;
        let ours = |run: &&CheckRun| run.external_id.as_deref().is_some_and(|id| id.starts_with(marker));
        let newest = check_runs.iter().filter(ours).max_by_key(|run| run.id);
        if kept.is_empty() {
            let wrong = newest.is_some_and(|run| run.conclusion.as_deref() != Some("success"));
            if wrong {
                self.report(act, pull, &id, kept, None).await?;
            }
            return Ok(Annotated { changed: wrong, ..Annotated::default() });
        }
        let begun = newest.filter(|run| run.external_id.as_deref() == Some(id.as_str()));
        let whole = begun.is_some_and(|run| run.status == "completed");
        if !whole {
            self.report(act, pull, &id, kept, begun).await?;
        }
        Ok(Annotated { shown: kept.len(), left_out: annotations.len() - kept.len(), changed: !whole })
    }

    /// Sends the annotations that a run does not have yet; the last of them completes it.
    async fn report(
        &self,
        act: &str,
        pull: &Pull,
        external_id: &str,
        annotations: &[Annotation],
        begun: Option<&CheckRun>,
    ) -> Result<(), ForgeError> {
        let done = begun.map_or(0, |run| run.output.annotations_count).min(annotations.len());
        let mut run = begun.map(|run| run.id);
        let mut rest = &annotations[done..];
        loop {
            let (batch, after) = rest.split_at(rest.len().min(BATCH));
            let mut body = json!({ "output": output(annotations.len(), batch) });
            if after.is_empty() {
                body["status"] = "completed".into();
                body["conclusion"] = if annotations.is_empty() { "success" } else { "failure" }.into();
            } else {
                body["status"] = "in_progress".into();
            }
            if let Some(run) = run {
                let id = run.to_string();
                let path = self.path(&["check-runs", &id]);
                self.client.done(Call::new(act, Method::PATCH, &path).body(body)).await?;
            } else {
                body["name"] = check_files(self.client.cluster()).into();
                body["head_sha"] = pull.head.as_str().into();
                body["external_id"] = external_id.into();
                let call = Call::new(act, Method::POST, &self.path(&["check-runs"])).body(body);
                run = Some(self.client.json::<CheckRun>(call).await?.id);
            }
            rest = after;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Makes one review with a comment at each line that the pull request shows.
    async fn review(
        &self,
        act: &str,
        pull: &Pull,
        annotations: &[Annotation],
    ) -> Result<Annotated, ForgeError> {
        if annotations.is_empty() {
            return Ok(Annotated::default());
        }
        let there = self.there(act, pull).await?;
        let hashes: BTreeSet<_> = annotations.iter().map(hash).collect();
        let shown = hashes.iter().filter(|hash| there.contains(*hash)).count();
        let mut seen = there;
        let missing: Vec<_> = annotations.iter().filter(|annotation| seen.insert(hash(annotation))).collect();
        let left_out = |shown: usize| hashes.len() - shown;
        if missing.is_empty() {
            return Ok(Annotated { shown, left_out: left_out(shown), changed: false });
        }
        let files = self.files(act, pull).await?;
        let fits =
            |note: &&&Annotation| files.get(&note.path).is_some_and(|shown| shown.line(note.line).is_some());
        let comments: Vec<_> = missing
            .iter()
            .filter(fits)
            .take(COMMENTS_MAX)
            .map(|note| comment(self.client.marker(), note))
            .collect();
        let put = if comments.is_empty() { 0 } else { self.put_comments(act, pull, comments).await? };
        Ok(Annotated { shown: shown + put, left_out: left_out(shown + put), changed: put > 0 })
    }

    /// Returns the hashes of our comments at lines that are shown still.
    async fn there(&self, act: &str, pull: &Pull) -> Result<BTreeSet<String>, ForgeError> {
        let me = self.me(act).await?;
        let number = pull.number.to_string();
        let call = Call::get(act, &self.path(&["pulls", &number, "comments"])).query("per_page", PER_PAGE);
        let mut there = BTreeSet::new();
        let see = |comment: Comment| {
            if comment.line.is_some() && comment.is_by(&me) {
                there.extend(marked(self.client.marker(), comment.text()).map(str::to_owned));
            }
            true
        };
        self.client.pages(&call, Paging::Link, ITEMS_MAX, see).await?;
        Ok(there)
    }

    /// Returns the lines that the pull request shows of each file.
    async fn files(&self, act: &str, pull: &Pull) -> Result<BTreeMap<String, Shown>, ForgeError> {
        let number = pull.number.to_string();
        let call = Call::get(act, &self.path(&["pulls", &number, "files"])).query("per_page", PER_PAGE);
        let files: Vec<File> = self.client.list(&call, Paging::Link, FILES_MAX).await?;
        let shown = |file: File| (file.filename, Shown::read(file.patch.as_deref().unwrap_or_default()));
        Ok(files.into_iter().map(shown).collect())
    }

    /// Posts comments together, or those of them that GitHub takes; returns how many.
    async fn put_comments(&self, act: &str, pull: &Pull, comments: Vec<Value>) -> Result<usize, ForgeError> {
        let number = pull.number.to_string();
        let count = comments.len();
        let body = json!({
            "commit_id": pull.head,
            "event": "COMMENT",
            "body": "What is wrong in the files, at its lines.",
            "comments": comments,
        });
        let path = self.path(&["pulls", &number, "reviews"]);
        match self.client.done(Call::new(act, Method::POST, &path).body(body)).await {
            Err(ForgeError::Refused { status: 422, .. }) => {}
            result => return result.map(|()| count),
        }
        // GitHub does not say which of them it does not take.
        let path = self.path(&["pulls", &number, "comments"]);
        let mut put = 0;
        for mut comment in comments {
            comment["commit_id"] = pull.head.as_str().into();
            match self.client.done(Call::new(act, Method::POST, &path).body(comment)).await {
                Ok(()) => put += 1,
                Err(ForgeError::Refused { status: 422, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(put)
    }
}

#[derive(Deserialize)]
struct CheckRuns {
    check_runs: Vec<CheckRun>,
}

#[derive(Deserialize)]
struct CheckRun {
    id: u64,
    external_id: Option<String>,
    status: String,
    conclusion: Option<String>,
    output: Output,
}

#[derive(Deserialize)]
struct Output {
    annotations_count: usize,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    patch: Option<String>,
}

fn output(count: usize, batch: &[Annotation]) -> Value {
    let summary = match count {
        0 => "Nothing is wrong in the files any more.".to_owned(),
        1 => "One line is wrong.".to_owned(),
        count => format!("{count} lines are wrong."),
    };
    let annotations: Vec<_> = batch.iter().map(annotation).collect();
    json!({ "title": summary, "summary": summary, "annotations": annotations })
}

fn annotation(note: &Annotation) -> Value {
    let Annotation { path, line, column, message } = note;
    let line = (*line).max(1);
    let mut value = json!({
        "path": path,
        "start_line": line,
        "end_line": line,
        "annotation_level": "failure",
        "message": plain(message),
    });
    if let Some(column) = column {
        value["start_column"] = (*column).max(1).into();
        value["end_column"] = (*column).max(1).into();
    }
    value
}

fn comment(marker: &str, note: &Annotation) -> Value {
    let body = Marker::of(marker, &hash(note)).before(super::ForgeKind::GitHub, &fenced(&note.message));
    json!({ "path": note.path, "line": note.line, "side": "RIGHT", "body": body })
}
