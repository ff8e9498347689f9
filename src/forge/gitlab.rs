//! GitLab: API version 4.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, End, ITEMS_MAX, Paging, commit, is_commit, page, short};
use super::error::ForgeError;
use super::text::{Marker, same};
use super::wire::Call;
use super::{PULLS_MAX, Pull};
use crate::report::{CommitState, CommitStatus, one_line};

/// Items on a page: the most that GitLab gives.
pub(super) const PER_PAGE: u32 = 100;

/// The access level of a Developer, the least that may push.
const DEVELOPER: u32 = 30;

/// The longest link of a status that GitLab takes.
const TARGET_MAX: usize = 255;

/// One project.
pub(super) struct GitLab {
    pub(super) client: Client,
    /// The path with its groups.
    pub(super) project: String,
}

impl GitLab {
    pub(super) async fn set_status(&self, sha: &str, status: &CommitStatus) -> Result<(), ForgeError> {
        let act = self.client.act(&format!("set the status {} of {}", status.context, short(sha)));
        let commit = commit(&act, sha)?;
        let state = match status.state {
            CommitState::Pending => "pending",
            CommitState::Success => "success",
            CommitState::Failure => "failed",
        };
        let mut body = json!({ "state": state, "name": status.context, "description": status.description });
        if let Some(url) = status.url.as_ref().filter(|url| url.chars().count() <= TARGET_MAX) {
            body["target_url"] = url.as_str().into();
        }
        let call = Call::new(&act, Method::POST, &self.path(&["statuses", commit]));
        match self.client.done(call.clone().body(body.clone())).await {
            Err(ForgeError::Refused { status: 404, detail, .. })
                if detail.contains("References for commit") => {}
            result => return unless_there(result, state),
        }
        // The commit is on no branch of this project: it is the head of a fork.
        let Some(reference) = self.merge_request_of(&act, commit).await? else {
            let detail = "the commit is on no branch and in no merge request".to_owned();
            return Err(ForgeError::Refused { act, status: 404, detail });
        };
        body["ref"] = reference.into();
        unless_there(self.client.done(call.body(body)).await, state)
    }

    pub(super) async fn open_pulls(&self, base: &str) -> Result<Vec<Pull>, ForgeError> {
        let act = self.client.act(&format!("list the open merge requests into {base}"));
        let call = Call::get(&act, &self.path(&["merge_requests"]))
            .query("state", "opened")
            .query("target_branch", base)
            .query("order_by", "created_at")
            .query("sort", "desc")
            .query("per_page", PER_PAGE);
        let found: Vec<MergeRequest> = self.client.list(&call, Paging::NextPage, PULLS_MAX).await?;
        let pulls: Result<Vec<_>, _> = found.into_iter().map(|found| found.pull(&call)).collect();
        Ok(pulls?.into_iter().flatten().filter(|pull| pull.base == base).collect())
    }

    pub(super) async fn pull(&self, number: u64) -> Result<Option<Pull>, ForgeError> {
        let act = self.client.act(&format!("look at merge request {number}"));
        let found = self.merge_request(&act, number).await?;
        found.map_or(Ok(None), |found| found.pull(&Call::get(&act, &[])))
    }

    pub(super) async fn may_write(&self, pull: &Pull) -> Result<bool, ForgeError> {
        let act = self.client.act(&format!("ask whether {} may push", pull.author));
        // Members go by id, and whoever renames himself frees his name for others.
        let found = self.merge_request(&act, pull.number).await?;
        let Some(author) = found.and_then(|found| found.author).map(|author| author.id.to_string()) else {
            return Ok(false);
        };
        let call = Call::get(&act, &self.path(&["members", "all", &author]));
        let member: Option<Member> = self.client.find(call).await?;
        Ok(member.is_some_and(|member| member.state == "active" && member.access_level >= DEVELOPER))
    }

    pub(super) async fn put_comment(&self, pull: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        let act = self.client.act(&format!("comment on merge request {pull}"));
        let marker = Marker::new(self.client.kind(), marker)?;
        let body = marker.before(self.client.kind(), text);
        let me = self.me(&act).await?;
        let number = pull.to_string();
        let path = self.path(&["merge_requests", &number, "notes"]);
        let call = Call::get(&act, &path)
            .query("sort", "asc")
            .query("order_by", "created_at")
            .query("per_page", PER_PAGE);
        let mut ours = None;
        let end = self.client.pages(&call, Paging::NextPage, ITEMS_MAX, |note: Note| {
            let found = note.is_by(&me) && marker.begins(&note.body);
            ours = found.then_some(note);
            !found
        });
        if end.await? == End::Cut {
            return Err(call.unavailable("there are too many comments to find ours"));
        }
        match ours {
            Some(note) if same(&note.body, &body) => Ok(()),
            Some(note) => {
                let id = note.id.to_string();
                let path = self.path(&["merge_requests", &number, "notes", &id]);
                self.client.done(Call::new(&act, Method::PUT, &path).body(json!({ "body": body }))).await
            }
            None => {
                self.client.done(Call::new(&act, Method::POST, &path).body(json!({ "body": body }))).await
            }
        }
    }

    /// Returns who we are, in the form of [`Note::is_by`].
    pub(super) async fn me(&self, act: &str) -> Result<String, ForgeError> {
        self.client.me(act, &["user"], |user: &Value| Some(user["id"].as_u64()?.to_string())).await
    }

    pub(super) async fn merge_request(
        &self,
        act: &str,
        number: u64,
    ) -> Result<Option<MergeRequest>, ForgeError> {
        self.client.find(Call::get(act, &self.path(&["merge_requests", &number.to_string()]))).await
    }

    /// Returns the ref of a merge request whose head a commit is, or that holds it.
    async fn merge_request_of(&self, act: &str, commit: &str) -> Result<Option<String>, ForgeError> {
        let path = self.path(&["repository", "commits", commit, "merge_requests"]);
        let call = Call::get(act, &path).query("per_page", PER_PAGE);
        let found: Vec<MergeRequest> = self.client.json(call).await?;
        let head = found.iter().find(|found| found.sha.as_deref() == Some(commit));
        Ok(head.or(found.first()).map(|found| reference(found.iid)))
    }

    pub(super) fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        ["projects", &self.project].into_iter().chain(rest.iter().copied()).collect()
    }
}

/// A merge request.
#[derive(Deserialize)]
pub(super) struct MergeRequest {
    iid: u64,
    title: String,
    state: String,
    /// None while GitLab prepares it.
    sha: Option<String>,
    target_branch: String,
    source_project_id: Option<i64>,
    target_project_id: i64,
    author: Option<User>,
    web_url: Option<String>,
    pub(super) diff_refs: Option<DiffRefs>,
}

/// The commits that a merge request's diff lies between.
#[derive(Deserialize)]
pub(super) struct DiffRefs {
    #[serde(rename = "base_sha")]
    pub(super) base: Option<String>,
    #[serde(rename = "start_sha")]
    pub(super) start: Option<String>,
    #[serde(rename = "head_sha")]
    pub(super) head: Option<String>,
}

/// A comment.
#[derive(Deserialize)]
pub(super) struct Note {
    id: u64,
    pub(super) body: String,
    author: User,
    #[serde(default)]
    system: bool,
    #[serde(default)]
    pub(super) resolvable: bool,
    #[serde(default)]
    pub(super) resolved: bool,
}

impl Note {
    pub(super) fn is_by(&self, me: &str) -> bool {
        !self.system && self.author.id.to_string() == me
    }
}

#[derive(Deserialize)]
struct User {
    id: u64,
    username: String,
}

#[derive(Deserialize)]
struct Member {
    access_level: u32,
    state: String,
}

impl MergeRequest {
    /// Returns what is open and has a head.
    fn pull(self, call: &Call) -> Result<Option<Pull>, ForgeError> {
        let Self { iid, title, state, sha, target_branch, .. } = self;
        let Some(head) = sha.filter(|_| state == "opened") else { return Ok(None) };
        if !is_commit(&head) {
            return Err(call.unavailable(format!("the head of merge request {iid} is no commit")));
        }
        Ok(Some(Pull {
            number: iid,
            head,
            base: target_branch,
            reference: Some(reference(iid)),
            author: self.author.map(|author| author.username).unwrap_or_default(),
            fork: self.source_project_id != Some(self.target_project_id),
            title: one_line(&title, super::TITLE_MAX),
            url: page(self.web_url),
        }))
    }
}

fn reference(iid: u64) -> String {
    format!("refs/merge-requests/{iid}/head")
}

/// GitLab refuses to set the state that a status has already.
fn unless_there(result: Result<(), ForgeError>, state: &str) -> Result<(), ForgeError> {
    match result {
        Err(ForgeError::Refused { status: 400, detail, .. })
            if detail.contains("Cannot transition status") && detail.contains(&format!("from :{state} ")) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(detail: &str) -> Result<(), ForgeError> {
        Err(ForgeError::Refused { act: "x".to_owned(), status: 400, detail: detail.to_owned() })
    }

    #[test]
    fn a_state_that_is_there_already_is_success_and_another_one_is_not() {
        let there = r#"Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via "enqueue")"#;
        assert_eq!(unless_there(refused(there), "pending"), Ok(()));
        let running = "Cannot transition status via :enqueue from :running (Reason(s): x)";
        assert!(unless_there(refused(running), "pending").is_err());
        assert!(unless_there(refused("name is too long"), "pending").is_err());
    }
}
