//! Annotations on Gitea: one review with comments at lines of the pull request.
//!
//! Gitea makes a draft first and then publishes it. When it refuses one of the comments, the draft stays, and the next
//! review takes what is in it along; so only lines that the diff shows are sent, and a draft of ours is deleted first.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use super::client::{ITEMS_MAX, Paging, commit};
use super::error::ForgeError;
use super::gitea::{Comment, Gitea, PER_PAGE};
use super::lines;
use super::text::{Marker, fenced, hash, hash_all, marked};
use super::wire::Call;
use super::{Annotated, COMMENTS_MAX, Pull};
use crate::report::Annotation;

impl Gitea {
    /// The marker of a review says what was asked for, and for which head.
    pub(super) async fn annotate(
        &self,
        pull: &Pull,
        annotations: &[Annotation],
    ) -> Result<Annotated, ForgeError> {
        let act = self.client.act(&format!("annotate pull request {}", pull.number));
        commit(&act, &pull.head)?;
        let mut seen = BTreeSet::new();
        let unique: Vec<_> = annotations.iter().filter(|note| seen.insert(hash(note))).cloned().collect();
        let left_out = Annotated { left_out: unique.len(), ..Annotated::default() };
        // A review of a commit that is not there would spoil all later ones.
        let current = |now: &Pull| now.head == pull.head;
        if unique.is_empty() || !self.pull(pull.number).await?.as_ref().is_some_and(current) {
            return Ok(left_out);
        }
        let number = pull.number.to_string();
        let shown = self.shown(&act, &number, &unique).await?;
        let annotated =
            Annotated { shown: shown.len(), left_out: unique.len() - shown.len(), changed: false };
        let marker = hash_all(&pull.head, &unique);
        let reviews = self.reviews(&act, &number).await?;
        let (drafts, published): (Vec<_>, Vec<_>) = reviews.iter().partition(|review| is_draft(review));
        let ours = self.client.marker();
        let there = published.iter().any(|review| marked(ours, review.text()) == Some(marker.as_str()));
        if shown.is_empty() || there {
            return Ok(annotated);
        }
        if !self.drafts_are_gone(&act, &number, &drafts).await? {
            return Ok(left_out);
        }
        self.review(&act, pull, &marker, &shown).await?;
        Ok(Annotated { changed: true, ..annotated })
    }

    /// Returns those annotations whose lines the pull request shows.
    async fn shown<'a>(
        &self,
        act: &str,
        number: &str,
        annotations: &'a [Annotation],
    ) -> Result<Vec<&'a Annotation>, ForgeError> {
        let diff = format!("{number}.diff");
        let diff = self.client.send(Call::get(act, &self.path(&["pulls", &diff]))).await?.text()?;
        let files = lines::files(&diff);
        let shown = |note: &&Annotation| files.get(&note.path)?.line(note.line);
        Ok(annotations.iter().filter(|note| shown(note).is_some()).take(COMMENTS_MAX).collect())
    }

    /// Deletes a draft of ours that an earlier call has left behind. One with comments that are not ours belongs to a
    /// person with the same login, and stays: then nothing may be published.
    async fn drafts_are_gone(
        &self,
        act: &str,
        number: &str,
        drafts: &[&Comment],
    ) -> Result<bool, ForgeError> {
        for draft in drafts {
            let id = draft.id.to_string();
            let path = self.path(&["pulls", number, "reviews", &id]);
            let comments: Vec<_> = path.iter().copied().chain(["comments"]).collect();
            let comments: Vec<Comment> =
                self.client.list(&Call::get(act, &comments), Paging::Total, ITEMS_MAX).await?;
            if !comments.iter().all(|comment| marked(self.client.marker(), comment.text()).is_some()) {
                return Ok(false);
            }
            self.client.done(Call::new(act, Method::DELETE, &path)).await?;
        }
        Ok(true)
    }

    /// Returns the reviews of ours.
    async fn reviews(&self, act: &str, number: &str) -> Result<Vec<Comment>, ForgeError> {
        let me = self.me(act).await?;
        let path = self.path(&["pulls", number, "reviews"]);
        let call = Call::get(act, &path).query("limit", PER_PAGE);
        let mut reviews = self.client.list::<Comment>(&call, Paging::Total, ITEMS_MAX).await?;
        reviews.retain(|review| review.is_by(&me));
        Ok(reviews)
    }

    async fn review(
        &self,
        act: &str,
        pull: &Pull,
        marker: &str,
        annotations: &[&Annotation],
    ) -> Result<(), ForgeError> {
        let (kind, ours) = (self.client.kind(), self.client.marker());
        let comment = |note: &&Annotation| {
            let body = Marker::of(ours, &hash(note)).before(kind, &fenced(&note.message));
            json!({ "path": note.path, "new_position": note.line, "body": body })
        };
        let body = json!({
            "commit_id": pull.head,
            "event": "COMMENT",
            "body": Marker::of(ours, marker).before(kind, "What is wrong in the files, at its lines."),
            "comments": annotations.iter().map(comment).collect::<Vec<_>>(),
        });
        let number = pull.number.to_string();
        let path = self.path(&["pulls", &number, "reviews"]);
        self.client.done(Call::new(act, Method::POST, &path).body(body)).await
    }
}

fn is_draft(review: &Comment) -> bool {
    review.state.as_deref() == Some("PENDING")
}
