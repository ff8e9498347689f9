//! Bitbucket Cloud: API version 2.0.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::{Client, End, ITEMS_MAX, Paging, commit, is_commit, page, short};
use super::error::ForgeError;
use super::text::{Marker, hex, same};
use super::wire::Call;
use super::{PULLS_MAX, Pull};
use crate::report::{CommitState, CommitStatus, one_line};

/// The longest key of a status.
const KEY_MAX: usize = 40;

/// How many heads are known in full.
const HEADS_MAX: usize = 4_096;

/// One repository.
pub(super) struct Bitbucket {
    pub(super) client: Client,
    pub(super) workspace: String,
    pub(super) repo: String,
    /// Commits in full by the twelve digits that pull requests name them by, within this repository.
    pub(super) heads: Mutex<BTreeMap<String, String>>,
}

impl Bitbucket {
    pub(super) async fn set_status(&self, sha: &str, status: &CommitStatus) -> Result<(), ForgeError> {
        let act = self.client.act(&format!("set the status {} of {}", status.context, short(sha)));
        let commit = commit(&act, sha)?;
        let url = status.url.clone().unwrap_or_else(|| self.commit_page(commit));
        let body = json!({
            "key": key(&status.context),
            "name": status.context,
            "state": match status.state {
                CommitState::Pending => "INPROGRESS",
                CommitState::Success => "SUCCESSFUL",
                CommitState::Failure => "FAILED",
            },
            "description": status.description,
            // Braces in it would be filled in.
            "url": url.replace('{', "%7B").replace('}', "%7D"),
        });
        let path = self.path(&["commit", commit, "statuses", "build"]);
        self.client.done(Call::new(&act, Method::POST, &path).body(body)).await
    }

    pub(super) async fn open_pulls(&self, base: &str) -> Result<Vec<Pull>, ForgeError> {
        let act = self.client.act(&format!("list the open pull requests into {base}"));
        let quoted = base.replace('\\', "\\\\").replace('"', "\\\"");
        let call = Call::get(&act, &self.path(&["pullrequests"]))
            .query("q", format!("state=\"OPEN\" AND destination.branch.name=\"{quoted}\""))
            .query("sort", "-created_on")
            .query("pagelen", 50);
        let found: Vec<PullRequest> = self.client.list(&call, Paging::Next, PULLS_MAX).await?;
        let mut pulls = Vec::new();
        for found in found.into_iter().filter(|found| found.destination.branch.name == base) {
            pulls.extend(self.pull_of(&call, found).await?);
        }
        Ok(pulls)
    }

    pub(super) async fn pull(&self, number: u64) -> Result<Option<Pull>, ForgeError> {
        let act = self.client.act(&format!("look at pull request {number}"));
        let call = Call::get(&act, &self.path(&["pullrequests", &number.to_string()]));
        match self.client.find(call.clone()).await? {
            Some(found) => self.pull_of(&call, found).await,
            None => Ok(None),
        }
    }

    pub(super) async fn may_write(&self, pull: &Pull) -> Result<bool, ForgeError> {
        let act = self.client.act(&format!("ask whether {} may push", pull.author));
        // Nicknames are not unique: permissions go by the id of who opened the pull request.
        let call = Call::get(&act, &self.path(&["pullrequests", &pull.number.to_string()]));
        let found: Option<PullRequest> = self.client.find(call).await?;
        let uuid = found.and_then(|found| found.author?.uuid).filter(|uuid| is_uuid(uuid));
        let Some(uuid) = uuid else { return Ok(false) };
        let path = ["workspaces", &self.workspace, "permissions", "repositories", &self.repo];
        let call = Call::get(&act, &path).query("q", format!("user.uuid=\"{uuid}\""));
        let permissions: Vec<Permission> = self.client.list(&call, Paging::Next, ITEMS_MAX).await?;
        let theirs = permissions.iter().filter(|found| found.user.uuid.as_deref() == Some(uuid.as_str()));
        Ok(theirs.into_iter().any(|found| matches!(found.permission.as_str(), "write" | "admin")))
    }

    pub(super) async fn put_comment(&self, pull: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        let act = self.client.act(&format!("comment on pull request {pull}"));
        let marker = Marker::new(self.client.kind(), marker)?;
        let body = marker.before(self.client.kind(), text);
        let me = self.me(&act).await?;
        let number = pull.to_string();
        let path = self.path(&["pullrequests", &number, "comments"]);
        let call = Call::get(&act, &path).query("sort", "created_on").query("pagelen", 100);
        let mut candidates = Vec::new();
        let end = self.client.pages(&call, Paging::Next, ITEMS_MAX, |comment: Comment| {
            let found = comment.may_be_by(me.as_deref()) && marker.begins(&comment.content.raw);
            if found {
                candidates.push(comment);
            }
            !found || me.is_none()
        });
        if end.await? == End::Cut {
            return Err(call.unavailable("there are too many comments to find ours"));
        }
        let content = json!({ "content": { "raw": body } });
        for comment in candidates {
            if same(&comment.content.raw, &body) {
                return Ok(());
            }
            let id = comment.id.to_string();
            let path = self.path(&["pullrequests", &number, "comments", &id]);
            match self.client.done(Call::new(&act, Method::PUT, &path).body(content.clone())).await {
                // Only its author may edit a comment: this one is somebody else's.
                Err(ForgeError::LoginRefused { status: 403, .. }) if me.is_none() => {}
                result => return result,
            }
        }
        self.client.done(Call::new(&act, Method::POST, &path).body(content)).await
    }

    /// Returns who we are; none for the tokens of repositories, projects and workspaces, which may not ask.
    async fn me(&self, act: &str) -> Result<Option<String>, ForgeError> {
        let read = |user: &Value| Some(user["uuid"].as_str()?.to_owned());
        match self.client.me(act, &["user"], read).await {
            // 401 says that the token is invalid or not for this: the next request tells which.
            Err(ForgeError::LoginRefused { .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    async fn pull_of(&self, call: &Call, found: PullRequest) -> Result<Option<Pull>, ForgeError> {
        let PullRequest { id, title, state, author, source, destination, links } = found;
        // A fork that is gone has neither.
        let Some(head) = source.commit.filter(|_| state == "OPEN") else { return Ok(None) };
        let Some(head) = self.head(call, id, &head.hash).await? else { return Ok(None) };
        let own = source.repository.is_some() && source.repository == destination.repository;
        let branch = Some(source.branch.name).filter(|branch| own && is_branch(branch));
        Ok(Some(Pull {
            number: id,
            head,
            base: destination.branch.name,
            reference: branch.map(|branch| format!("refs/heads/{branch}")),
            author: author.and_then(|author| author.nickname.or(author.display_name)).unwrap_or_default(),
            fork: !own,
            title: one_line(&title, super::TITLE_MAX),
            url: page(links.html.and_then(|link| link.href)),
        }))
    }

    /// Returns a pull request's head in full: lists name it by twelve digits.
    async fn head(&self, call: &Call, number: u64, hash: &str) -> Result<Option<String>, ForgeError> {
        if is_commit(hash) {
            return Ok(Some(hash.to_owned()));
        }
        let digits = hash.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        if !digits || !(7..64).contains(&hash.len()) {
            return Err(call.unavailable(format!("the head of pull request {number} is no commit")));
        }
        if let Some(full) = self.heads.lock().unwrap_or_else(PoisonError::into_inner).get(hash) {
            return Ok(Some(full.clone()));
        }
        let number = number.to_string();
        let path = self.path(&["pullrequests", &number, "commits"]);
        let commits = Call::get(&call.act, &path).query("pagelen", 1);
        // The newest comes first.
        let newest: Vec<Commit> = self.client.list(&commits, Paging::Next, 1).await?;
        let Some(Commit { hash: full }) = newest.into_iter().next() else { return Ok(None) };
        if !is_commit(&full) {
            return Err(call.unavailable(format!("the newest commit of pull request {number} is no commit")));
        }
        if full.starts_with(hash) {
            let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
            if heads.len() >= HEADS_MAX {
                heads.clear();
            }
            heads.insert(hash.to_owned(), full.clone());
        }
        Ok(Some(full))
    }

    /// Returns a commit's own page, for a status must lead somewhere.
    fn commit_page(&self, commit: &str) -> String {
        let base = self.client.base();
        let host = base.host_str().unwrap_or_default();
        let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = host.strip_prefix("api.").unwrap_or(host);
        format!("{}://{host}{port}/{}/{}/commits/{commit}", base.scheme(), self.workspace, self.repo)
    }

    pub(super) fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        ["repositories", &self.workspace, &self.repo].into_iter().chain(rest.iter().copied()).collect()
    }
}

#[derive(Deserialize)]
struct PullRequest {
    id: u64,
    title: String,
    state: String,
    author: Option<User>,
    source: Side,
    destination: Side,
    links: Links,
}

/// What a pull request comes from or goes to.
#[derive(Deserialize)]
struct Side {
    branch: Branch,
    commit: Option<Commit>,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[derive(Deserialize)]
struct Commit {
    hash: String,
}

#[derive(Deserialize, PartialEq)]
struct Repository {
    uuid: String,
}

#[derive(Deserialize)]
struct Links {
    html: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: Option<String>,
}

#[derive(Deserialize)]
struct User {
    uuid: Option<String>,
    nickname: Option<String>,
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Permission {
    permission: String,
    user: User,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    content: Content,
    user: Option<User>,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
struct Content {
    raw: String,
}

impl Comment {
    /// Tells whether this user wrote it, as far as we know who we are.
    fn may_be_by(&self, me: Option<&str>) -> bool {
        let author = self.user.as_ref().and_then(|user| user.uuid.as_deref());
        !self.deleted && me.is_none_or(|me| author == Some(me))
    }
}

/// Fits a context into the key of a status: one that is too long ends in its own hash.
fn key(context: &str) -> String {
    if context.chars().count() <= KEY_MAX {
        return context.to_owned();
    }
    let hash = hex(&Sha256::digest(context.as_bytes())[..6]);
    let start: String = context.chars().take(KEY_MAX - hash.len() - 1).collect();
    format!("{start}-{hash}")
}

fn is_uuid(text: &str) -> bool {
    let inside = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| inside.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'))
}

/// Tells whether a branch's name can be part of a ref that is fetched: git's own rules, in short.
fn is_branch(name: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none();
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let whole =
        !name.contains("..") && !name.contains("@{") && !name.starts_with('-') && !name.ends_with('.');
    whole && name.len() <= 250 && name.split('/').all(part) && !name.contains(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_at_most_forty_characters_and_stays_its_contexts_own() {
        assert_eq!(key("storekeeper/acme"), "storekeeper/acme");
        let longest = "storekeeper/".to_owned() + &"a".repeat(28);
        assert_eq!(key(&longest), longest);
        let (one, other) =
            (format!("storekeeper/{}1", "a".repeat(50)), format!("storekeeper/{}2", "a".repeat(50)));
        assert_eq!(key(&one).chars().count(), 40);
        assert!(key(&one) != key(&other) && key(&one) == key(&one));
        assert!(key(&one).starts_with("storekeeper/aaaa"));
    }

    #[test]
    fn only_a_branch_becomes_a_ref() {
        assert!(is_branch("feature/new-store_1.2"));
        for bad in
            ["", "-x", "a..b", "a:b", "a b", "/a", "a/", "a/.b", "a.lock", "a~1", "a\nb", "a@{1}", "+a:b"]
        {
            assert!(!is_branch(bad), "{bad:?}");
        }
    }

    #[test]
    fn only_a_uuid_becomes_part_of_a_query() {
        assert!(is_uuid("{d301aafa-d676-4ee0-88be-962be7417567}"));
        assert!(!is_uuid("{x\" OR permission=\"admin}") && !is_uuid("d301"));
    }
}
