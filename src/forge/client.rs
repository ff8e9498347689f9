//! One repository on one forge: requests with its login, pages, and who we are there.

use reqwest::header::HeaderValue;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::Clock;
use super::error::ForgeError;
use super::login::{Account, Pass};
use super::secret::Secret;
use super::settings::{ForgeKind, ForgeSettings};
use super::wire::{Answer, Call, Wire};
use crate::names::{ClusterName, files_marker};
use crate::report::one_line;

/// How many pages are read of one list, whatever their size.
const PAGES_MAX: u32 = 200;

/// How many items of one list are read, such as comments.
pub(super) const ITEMS_MAX: usize = 10_000;

/// How a list goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paging {
    /// With a `Link` header to the next page. Its URL is not used: behind a proxy it names another host.
    Link,
    /// With GitLab's `x-next-page`.
    NextPage,
    /// With a `Link` header, or only with a count of all items: Gitea has lists of both kinds.
    Total,
    /// With the URL of the next page beside the items: Bitbucket.
    Next,
}

/// How the reading of a list ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// What was looked for is found.
    Found,
    /// There is nothing more.
    Whole,
    /// There is more than is read.
    Cut,
}

/// Sends requests about one repository.
pub(super) struct Client {
    kind: ForgeKind,
    wire: Wire,
    account: Account,
    name: String,
    cluster: Option<ClusterName>,
    /// What the markers of our annotations begin with.
    marker: String,
    /// Who we are, with the token for which that was found out.
    me: Mutex<Option<(Secret, String)>>,
}

impl Client {
    pub(super) fn new(settings: &ForgeSettings, clock: Clock) -> Result<Self, ForgeError> {
        let account = Account::new(settings)?;
        let wire = Wire::new(settings, clock)?;
        let name = format!("{} {}", settings.kind, settings.repository);
        let (cluster, marker) = (settings.cluster.clone(), files_marker(settings.cluster.as_ref()));
        Ok(Self { kind: settings.kind, wire, account, name, cluster, marker, me: Mutex::new(None) })
    }

    /// Returns the cluster that is spoken of, where the fleet has several.
    pub(super) fn cluster(&self) -> Option<&ClusterName> {
        self.cluster.as_ref()
    }

    /// Returns what the markers of our annotations begin with.
    pub(super) fn marker(&self) -> &str {
        &self.marker
    }

    pub(super) fn kind(&self) -> ForgeKind {
        self.kind
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_app(&self) -> bool {
        self.account.is_app()
    }

    /// Returns scheme, host and port of the API.
    pub(super) fn base(&self) -> &reqwest::Url {
        self.wire.base()
    }

    /// Says what is tried, with the repository.
    pub(super) fn act(&self, what: &str) -> String {
        format!("{} on {}", one_line(what, 200), self.name)
    }

    pub(super) async fn send(&self, call: Call) -> Result<Answer, ForgeError> {
        let pass = self.account.pass(&self.wire, &call.act).await?;
        let result = self.wire.send(call, &pass.header, &pass.secret).await;
        self.settle(&pass, result).await
    }

    /// Sends a request and reads its answer.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, ForgeError> {
        self.send(call).await?.json()
    }

    /// Sends a request whose answer says nothing that we need, but must be a forge's all the same.
    pub(super) async fn done(&self, call: Call) -> Result<(), ForgeError> {
        let answer = self.send(call).await?;
        if answer.status == 204 { Ok(()) } else { answer.json::<Value>().map(drop) }
    }

    /// Reads what may not be there.
    pub(super) async fn find<T: DeserializeOwned>(&self, call: Call) -> Result<Option<T>, ForgeError> {
        match self.json(call).await {
            Err(ForgeError::Refused { status: 404, .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    /// Reads a list page by page until `see` has seen enough, or `most` items.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        call: &Call,
        paging: Paging,
        most: usize,
        mut see: impl FnMut(T) -> bool,
    ) -> Result<End, ForgeError> {
        let (mut seen, mut page, mut url) = (0, 1, None);
        loop {
            let answer = match url.take() {
                Some(url) => self.send_to(call, url).await?,
                None if page == 1 => self.send(call.clone()).await?,
                None => self.send(call.clone().query("page", page)).await?,
            };
            let (items, next) = read_page::<T>(&answer, paging)?;
            let count = items.len();
            for item in items {
                if seen == most {
                    return Ok(End::Cut);
                }
                seen += 1;
                if !see(item) {
                    return Ok(End::Found);
                }
            }
            let more = match paging {
                Paging::Link => answer.links_to_next(),
                Paging::NextPage => answer.next_page().is_some_and(|next| next > page),
                Paging::Total => count > 0 && (answer.links_to_next() || answer.total() > seen),
                Paging::Next => next.is_some(),
            };
            if !more {
                return Ok(End::Whole);
            }
            if seen == most || page == PAGES_MAX {
                return Ok(End::Cut);
            }
            url = next.map(|next| answer.same_host(&next)).transpose()?;
            page += 1;
        }
    }

    /// Reads a list, at most so many items of it.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        call: &Call,
        paging: Paging,
        most: usize,
    ) -> Result<Vec<T>, ForgeError> {
        let mut items = Vec::new();
        self.pages(call, paging, most, |item| {
            items.push(item);
            true
        })
        .await?;
        Ok(items)
    }

    /// Returns who we are: the text that `read` finds in the answer from `path`; for an App its user name.
    pub(super) async fn me(
        &self,
        act: &str,
        path: &[&str],
        read: fn(&Value) -> Option<String>,
    ) -> Result<String, ForgeError> {
        let mut me = self.me.lock().await;
        let pass = self.account.pass(&self.wire, act).await?;
        if let Some((secret, me)) = me.as_ref()
            && *secret == pass.secret
        {
            return Ok(me.clone());
        }
        let found = if self.is_app() {
            format!("{}[bot]", self.account.app_slug(&self.wire, act).await?)
        } else {
            let call = Call::get(act, path);
            let value = self.json(call.clone()).await?;
            read(&value).ok_or_else(|| call.unavailable("the answer does not say who we are"))?
        };
        *me = Some((pass.secret, found.clone()));
        Ok(found)
    }

    async fn send_to(&self, call: &Call, url: reqwest::Url) -> Result<Answer, ForgeError> {
        let pass = self.account.pass(&self.wire, &call.act).await?;
        let header: &HeaderValue = &pass.header;
        let result = self.wire.send_to(call.clone(), url, header, &pass.secret).await;
        self.settle(&pass, result).await
    }

    async fn settle(&self, pass: &Pass, result: Result<Answer, ForgeError>) -> Result<Answer, ForgeError> {
        if let Err(ForgeError::LoginRefused { status: 401, .. }) = result {
            self.account.refused(pass).await;
        }
        result
    }
}

fn read_page<T: DeserializeOwned>(
    answer: &Answer,
    paging: Paging,
) -> Result<(Vec<T>, Option<String>), ForgeError> {
    #[derive(serde::Deserialize)]
    struct Page<T> {
        values: Vec<T>,
        next: Option<String>,
    }
    match paging {
        Paging::Link | Paging::NextPage | Paging::Total => Ok((answer.json()?, None)),
        Paging::Next => {
            let Page { values, next } = answer.json()?;
            Ok((values, next))
        }
    }
}

/// Checks that a text is a commit: it becomes part of URLs.
pub(super) fn commit<'a>(act: &str, text: &'a str) -> Result<&'a str, ForgeError> {
    if is_commit(text) {
        return Ok(text);
    }
    let reason = format!("`{}` is no commit: 40 or 64 hexadecimal digits are expected", one_line(text, 80));
    Err(ForgeError::Unfit { act: act.to_owned(), reason })
}

pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// The start of a commit, for messages.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// Keeps a page's address only if it is one.
pub(super) fn page(url: Option<String>) -> String {
    url.filter(|url| url.starts_with("https://") || url.starts_with("http://"))
        .filter(|url| !url.chars().any(|c| c.is_control() || c.is_whitespace()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_the_web_is_linked_to() {
        let kept = |url: &str| page(Some(url.to_owned()));
        assert_eq!(kept("https://git.example.com/acme/1"), "https://git.example.com/acme/1");
        for bad in ["javascript:alert(1)", "data:text/html,x", "//x", "", "https://x/\n", "https://x/ y"] {
            assert_eq!(kept(bad), "", "{bad:?}");
        }
        assert_eq!(page(None), "");
    }

    #[test]
    fn a_commit_is_forty_or_sixty_four_lower_case_digits() {
        assert!(is_commit(&"0f".repeat(20)) && is_commit(&"0f".repeat(32)));
        for bad in ["", "0f", &"0F".repeat(20), &"0g".repeat(20), &"0f".repeat(21), "main"] {
            assert!(!is_commit(bad), "{bad}");
        }
    }
}
