//! Annotations on Bitbucket: a Code Insights report on the head of a pull request.
//!
//! A report has one name, and annotations have ids made from what they say, so that sending them again changes nothing.
//! The report says PENDING until all of them are there.

use std::collections::BTreeSet;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bitbucket::Bitbucket;
use super::client::commit;
use super::error::ForgeError;
use super::text::{hash, hash_all, plain};
use super::wire::Call;
use super::{Annotated, NOTES_MAX, Pull};
use crate::names::{REPORTER, report_files};
use crate::report::{Annotation, one_line};

/// Annotations in one request: the most that Bitbucket takes.
const BATCH: usize = 100;

/// The longest summary of an annotation.
const SUMMARY_MAX: usize = 450;

impl Bitbucket {
    pub(super) async fn annotate(
        &self,
        pull: &Pull,
        annotations: &[Annotation],
    ) -> Result<Annotated, ForgeError> {
        let act = self.client.act(&format!("annotate pull request {}", pull.number));
        let report = report_files(self.client.cluster());
        let path = self.path(&["commit", commit(&act, &pull.head)?, "reports", &report]);
        let mut seen = BTreeSet::new();
        let unique: Vec<_> = annotations.iter().filter(|note| seen.insert(hash(note))).collect();
        let kept = &unique[..unique.len().min(NOTES_MAX)];
        let there: Option<Report> = self.client.find(Call::get(&act, &path)).await?;
        if kept.is_empty() {
            if there.is_some() {
                self.remove(&act, &path).await?;
            }
            return Ok(Annotated { changed: there.is_some(), ..Annotated::default() });
        }
        let mut annotated =
            Annotated { shown: kept.len(), left_out: unique.len() - kept.len(), changed: false };
        let details = details(&pull.head, kept);
        let ours = there.as_ref().is_some_and(|there| there.details.as_deref() == Some(details.as_str()));
        if ours && there.as_ref().is_some_and(|there| there.result.as_deref() == Some("FAILED")) {
            return Ok(annotated);
        }
        if there.is_some() && !ours {
            self.remove(&act, &path).await?;
        }
        self.put(&act, &path, &details, "PENDING").await?;
        let notes: Vec<_> = path.iter().copied().chain(["annotations"]).collect();
        for batch in kept.chunks(BATCH) {
            let batch: Vec<_> = batch.iter().map(|note| annotation(&report, note)).collect();
            self.client.done(Call::new(&act, Method::POST, &notes).body(batch.into())).await?;
        }
        self.put(&act, &path, &details, "FAILED").await?;
        annotated.changed = true;
        Ok(annotated)
    }

    async fn put(&self, act: &str, path: &[&str], details: &str, result: &str) -> Result<(), ForgeError> {
        let body = json!({
            "title": "The files of this pull request",
            "details": details,
            "report_type": "BUG",
            "reporter": REPORTER,
            "result": result,
        });
        self.client.done(Call::new(act, Method::PUT, path).body(body)).await
    }

    async fn remove(&self, act: &str, path: &[&str]) -> Result<(), ForgeError> {
        match self.client.done(Call::new(act, Method::DELETE, path)).await {
            Err(ForgeError::Refused { status: 404, .. }) => Ok(()),
            result => result,
        }
    }
}

#[derive(Deserialize)]
struct Report {
    details: Option<String>,
    result: Option<String>,
}

/// Says how much is wrong, and names it.
fn details(head: &str, notes: &[&Annotation]) -> String {
    let all: Vec<_> = notes.iter().map(|note| (*note).clone()).collect();
    format!("Lines that are wrong: {} (report {})", all.len(), hash_all(head, &all))
}

fn annotation(report: &str, note: &Annotation) -> Value {
    let message = plain(&note.message);
    json!({
        "external_id": format!("{report}-{}", hash(note)),
        "annotation_type": "BUG",
        "result": "FAILED",
        "severity": "HIGH",
        "summary": one_line(&message, SUMMARY_MAX),
        "details": message,
        "path": note.path,
        "line": note.line.max(1),
    })
}
