//! GitHub, its public service and Enterprise Server: API version 2022-11-28.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, End, ITEMS_MAX, Paging, commit, is_commit, page, short};
use super::error::ForgeError;
use super::text::{Marker, same};
use super::wire::Call;
use super::{PULLS_MAX, Pull};
use crate::report::{CommitState, CommitStatus, one_line};

/// Items on a page: the most that GitHub gives.
pub(super) const PER_PAGE: u32 = 100;

/// One repository.
pub(super) struct GitHub {
    pub(super) client: Client,
    pub(super) owner: String,
    pub(super) repo: String,
}

impl GitHub {
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
        let path = self.path(&["statuses", commit(&act, sha)?]);
        self.client.done(Call::new(&act, Method::POST, &path).body(body)).await
    }

    pub(super) async fn open_pulls(&self, base: &str) -> Result<Vec<Pull>, ForgeError> {
        let act = self.client.act(&format!("list the open pull requests into {base}"));
        let call = Call::get(&act, &self.path(&["pulls"]))
            .query("state", "open")
            .query("base", base)
            .query("sort", "created")
            .query("direction", "desc")
            .query("per_page", PER_PAGE);
        let found: Vec<PullRequest> = self.client.list(&call, Paging::Link, PULLS_MAX).await?;
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
        // The role `maintain` is written as `write` here, and `triage` as `read`.
        Ok(found.is_some_and(|found| matches!(found.permission.as_str(), "admin" | "write")))
    }

    pub(super) async fn put_comment(&self, pull: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        let act = self.client.act(&format!("comment on pull request {pull}"));
        let marker = Marker::new(self.client.kind(), marker)?;
        let body = marker.before(self.client.kind(), text);
        let me = self.me(&act).await?;
        let number = pull.to_string();
        let path = self.path(&["issues", &number, "comments"]);
        let call = Call::get(&act, &path).query("per_page", PER_PAGE);
        let mut ours = None;
        // The oldest come first.
        let end = self.client.pages(&call, Paging::Link, ITEMS_MAX, |comment: Comment| {
            let found = comment.is_by(&me) && marker.begins(comment.text());
            ours = found.then_some(comment);
            !found
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

/// A comment on a pull request, or at one of its lines.
#[derive(Debug, Deserialize)]
pub(super) struct Comment {
    pub(super) id: u64,
    body: Option<String>,
    user: Option<User>,
    /// Of a comment at a line: none when the line is not shown any more.
    pub(super) line: Option<u32>,
}

impl Comment {
    pub(super) fn text(&self) -> &str {
        self.body.as_deref().unwrap_or_default()
    }

    /// Tells whether this user wrote it: an id, or the user name of an App's bot.
    pub(super) fn is_by(&self, me: &str) -> bool {
        let Some(user) = &self.user else { return false };
        user.id.to_string() == me || (me.ends_with("[bot]") && user.login == me)
    }
}

#[derive(Debug, Deserialize)]
struct User {
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
    sha: String,
    repo: Option<Repository>,
}

#[derive(Deserialize, PartialEq)]
struct Repository {
    id: u64,
}

impl PullRequest {
    /// Returns what is open.
    fn pull(self, call: &Call) -> Result<Option<Pull>, ForgeError> {
        let Self { number, state, title, html_url, user, head, base } = self;
        if !is_commit(&head.sha) {
            return Err(call.unavailable(format!("the head of pull request {number} is no commit")));
        }
        let open = state == "open";
        Ok(open.then(|| Pull {
            number,
            fork: head.repo.is_none() || head.repo != base.repo,
            head: head.sha,
            base: base.name,
            reference: Some(format!("refs/pull/{number}/head")),
            author: user.map(|user| user.login).unwrap_or_default(),
            title: one_line(&title, super::TITLE_MAX),
            url: page(html_url),
        }))
    }
}
