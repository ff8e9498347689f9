//! Gitea and Forgejo: API version 1.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, End, ITEMS_MAX, Paging, commit, is_commit, page, short};
use super::error::ForgeError;
use super::text::{Marker, same};
use super::wire::Call;
use super::{PULLS_MAX, Pull};
use crate::report::{CommitState, CommitStatus, one_line};

/// Items on a page: the most that Gitea gives unless it is told otherwise.
pub(super) const PER_PAGE: u32 = 50;

/// One repository.
pub(super) struct Gitea {
    pub(super) client: Client,
    pub(super) owner: String,
    pub(super) repo: String,
}

impl Gitea {
    pub(super) async fn set_status(&self, sha: &str, status: &CommitStatus) -> Result<(), ForgeError> {
        let act = self.client.act(&format!("set the status {} of {}", status.context, short(sha)));
        let mut body = json!({
            "state": match status.state {
                CommitState::Pending => "pending",
                CommitState::Success => "success",
                CommitState::Failure => "failure",
            },
            "context": status.context,
            "description": status.description,
        });
        if let Some(url) = &status.url {
            body["target_url"] = url.as_str().into();
        }
        let commit = commit(&act, sha)?;
        let path = self.path(&["statuses", commit]);
        match self.client.done(Call::new(&act, Method::POST, &path).body(body)).await {
            Err(error @ ForgeError::Unavailable { .. }) => {
                // A server error is what it answers too when there is no such commit.
                let path = self.path(&["git", "commits", commit]);
                let look = Call::get(&act, &path).query("stat", false).query("files", false);
                match self.client.find::<Value>(look.query("verification", false)).await {
                    Ok(None) => Err(ForgeError::Unfit { act, reason: "there is no such commit".to_owned() }),
                    Ok(Some(_)) | Err(_) => Err(error),
                }
            }
            result => result,
        }
    }

    pub(super) async fn open_pulls(&self, base: &str) -> Result<Vec<Pull>, ForgeError> {
        let act = self.client.act(&format!("list the open pull requests into {base}"));
        // Newest first is what it does when nothing is said. `base_branch` is new, and others ignore it.
        let call = Call::get(&act, &self.path(&["pulls"]))
            .query("state", "open")
            .query("base_branch", base)
            .query("limit", PER_PAGE);
        let found: Vec<PullRequest> = self.client.list(&call, Paging::Total, PULLS_MAX).await?;
        let pulls: Result<Vec<_>, _> = found.into_iter().map(|found| found.pull(&call)).collect();
        Ok(pulls?.into_iter().flatten().filter(|pull| pull.base == base).collect())
    }

    pub(super) async fn pull(&self, number: u64) -> Result<Option<Pull>, ForgeError> {
        let act = self.client.act(&format!("look at pull request {number}"));
        let call = Call::get(&act, &self.path(&["pulls", &number.to_string()]));
        let found: Option<PullRequest> = self.client.find(call.clone()).await?;
        found.map_or(Ok(None), |found| found.pull(&call))
    }

    pub(super) async fn may_write(&self, pull: &Pull) -> Result<bool, ForgeError> {
        let act = self.client.act(&format!("ask whether {} may push", pull.author));
        if pull.author.is_empty() {
            return Ok(false);
        }
        let path = self.path(&["collaborators", &pull.author, "permission"]);
        let found: Option<Permission> = self.client.find(Call::get(&act, &path)).await?;
        Ok(found.is_some_and(|found| matches!(found.permission.as_str(), "owner" | "admin" | "write")))
    }

    pub(super) async fn put_comment(&self, pull: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        let act = self.client.act(&format!("comment on pull request {pull}"));
        let marker = Marker::new(self.client.kind(), marker)?;
        let body = marker.before(self.client.kind(), text);
        let me = self.me(&act).await?;
        let number = pull.to_string();
        let path = self.path(&["issues", &number, "comments"]);
        let call = Call::get(&act, &path);
        let mut ours: Option<Comment> = None;
        // They come in no order that is promised.
        let end = self.client.pages(&call, Paging::Total, ITEMS_MAX, |comment: Comment| {
            let older = ours.as_ref().is_none_or(|ours| comment.id < ours.id);
            if older && comment.is_by(&me) && marker.begins(comment.text()) {
                ours = Some(comment);
            }
            true
        });
        if end.await? == End::Cut {
            return Err(call.unavailable("there are too many comments to find ours"));
        }
        match ours {
            Some(comment) if same(comment.text(), &body) => Ok(()),
            Some(comment) => {
                let id = comment.id.to_string();
                let path = self.path(&["issues", "comments", &id]);
                self.client.done(Call::new(&act, Method::PATCH, &path).body(json!({ "body": body }))).await
            }
            None => {
                self.client.done(Call::new(&act, Method::POST, &path).body(json!({ "body": body }))).await
            }
        }
    }

    /// Returns who we are, in the form of [`Comment::is_by`].
    pub(super) async fn me(&self, act: &str) -> Result<String, ForgeError> {
        self.client.me(act, &["user"], |user: &Value| Some(user["id"].as_u64()?.to_string())).await
    }

    pub(super) fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        ["repos", &self.owner, &self.repo].into_iter().chain(rest.iter().copied()).collect()
    }
}

/// A comment or a review.
#[derive(Deserialize)]
pub(super) struct Comment {
    pub(super) id: u64,
    body: Option<String>,
    user: Option<User>,
    /// Of a review: `PENDING` while it is a draft, which only its author sees.
    pub(super) state: Option<String>,
}

impl Comment {
    pub(super) fn text(&self) -> &str {
        self.body.as_deref().unwrap_or_default()
    }

    pub(super) fn is_by(&self, me: &str) -> bool {
        self.user.as_ref().is_some_and(|user| user.id.to_string() == me)
    }
}

#[derive(Deserialize)]
struct User {
    /// Less than 0 for an account that is gone.
    id: i64,
    login: String,
}

#[derive(Deserialize)]
struct Permission {
    permission: String,
}

#[derive(Deserialize)]
struct PullRequest {
    number: u64,
    state: String,
    title: String,
    html_url: Option<String>,
    user: Option<User>,
    head: Branch,
    base: Branch,
}

#[derive(Deserialize)]
struct Branch {
    #[serde(rename = "ref")]
    name: String,
    sha: Option<String>,
    repo_id: i64,
}

impl PullRequest {
    /// Returns what is open and has a head.
    fn pull(self, call: &Call) -> Result<Option<Pull>, ForgeError> {
        let Self { number, state, title, html_url, user, head, base } = self;
        // Empty while Gitea does not find it.
        let Some(sha) = head.sha.filter(|sha| state == "open" && !sha.is_empty()) else { return Ok(None) };
        if !is_commit(&sha) {
            return Err(call.unavailable(format!("the head of pull request {number} is no commit")));
        }
        Ok(Some(Pull {
            number,
            head: sha,
            base: base.name,
            reference: Some(format!("refs/pull/{number}/head")),
            author: user.filter(|user| user.id > 0).map(|user| user.login).unwrap_or_default(),
            fork: head.repo_id != base.repo_id,
            title: one_line(&title, super::TITLE_MAX),
            url: page(html_url),
        }))
    }
}
