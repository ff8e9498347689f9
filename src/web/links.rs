//! Links to the forge: commits, pull requests, and its own editors for store files. Changes go through git, so these are the
//! page's only way to change anything.

use std::fmt::Write as _;

use crate::names::{STORES_FOLDER, StoreId};

/// Whose pages are linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgePages {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
    /// Bitbucket Cloud.
    Bitbucket,
}

/// Where a new file is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewFile {
    /// The forge's page.
    pub(super) url: String,
    /// What that leaves to do, where the forge does not take name and text both.
    pub(super) left: Option<String>,
}

/// Where people see the watched repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The forge.
    pub forge: ForgePages,
    /// The repository's own page, without a slash at the end.
    pub repository: String,
    /// The watched branch.
    pub branch: String,
}

impl Links {
    /// Finds the pages of a public forge by the URL that is watched.
    pub fn guess(url: &str, branch: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        if scheme != "https" || rest.contains('@') {
            return None;
        }
        let forge = match rest.split('/').next()? {
            "github.com" => ForgePages::GitHub,
            "gitlab.com" => ForgePages::GitLab,
            "codeberg.org" => ForgePages::Gitea,
            "bitbucket.org" => ForgePages::Bitbucket,
            _ => return None,
        };
        let repository = url.trim_end_matches('/').trim_end_matches(".git").to_owned();
        Some(Self { forge, repository, branch: branch.to_owned() })
    }

    /// Returns where a commit is shown.
    pub(super) fn commit(&self, revision: &str) -> String {
        let path = match self.forge {
            ForgePages::GitHub | ForgePages::Gitea => "commit",
            ForgePages::GitLab => "-/commit",
            ForgePages::Bitbucket => "commits",
        };
        format!("{}/{path}/{}", self.repository, encoded(revision))
    }

    /// Returns where a pull request is shown.
    pub(super) fn pull(&self, number: u64) -> String {
        let path = match self.forge {
            ForgePages::GitHub => "pull",
            ForgePages::GitLab => "-/merge_requests",
            ForgePages::Gitea => "pulls",
            ForgePages::Bitbucket => "pull-requests",
        };
        format!("{}/{path}/{number}", self.repository)
    }

    /// Returns where a store's file is edited.
    pub(super) fn edit(&self, store: &StoreId) -> String {
        let (repository, branch, file) = (&self.repository, encoded(&self.branch), file(store));
        match self.forge {
            ForgePages::GitHub => format!("{repository}/edit/{branch}/{file}"),
            ForgePages::GitLab => format!("{repository}/-/edit/{branch}/{file}"),
            ForgePages::Gitea => format!("{repository}/_edit/{branch}/{file}"),
            ForgePages::Bitbucket => format!("{repository}/src/{branch}/{file}?mode=edit"),
        }
    }

    /// Returns where a store's file is deleted; where a forge has no page for that, the file's own with its button.
    pub(super) fn delete(&self, store: &StoreId) -> String {
        let (repository, branch, file) = (&self.repository, encoded(&self.branch), file(store));
        match self.forge {
            ForgePages::GitHub => format!("{repository}/delete/{branch}/{file}"),
            ForgePages::GitLab => format!("{repository}/-/blob/{branch}/{file}"),
            ForgePages::Gitea => format!("{repository}/_delete/{branch}/{file}"),
            ForgePages::Bitbucket => format!("{repository}/src/{branch}/{file}"),
        }
    }

    /// Returns where a new store's file is made, with its name and text filled in as far as the forge takes them.
    pub(super) fn create(&self, store: &StoreId, text: &str) -> Option<NewFile> {
        let (repository, branch, text) = (&self.repository, encoded(&self.branch), encoded(text));
        let page = |url: String, left: Option<String>| Some(NewFile { url, left });
        match self.forge {
            ForgePages::GitHub => page(
                format!("{repository}/new/{branch}/{STORES_FOLDER}?filename={store}.yaml&value={text}"),
                None,
            ),
            ForgePages::GitLab => page(
                format!("{repository}/-/new/{branch}?file_name={}", encoded(&file(store))),
                Some("GitLab takes the name alone: copy the file and paste it there.".to_owned()),
            ),
            // From 1.25 on Gitea takes a name for a folder, in which a file without a name is to be made.
            ForgePages::Gitea => page(
                format!("{repository}/_new/{branch}/{STORES_FOLDER}?value={text}"),
                Some(format!("The forge asks for the file's name: {store}.yaml")),
            ),
            ForgePages::Bitbucket => None,
        }
    }
}

fn file(store: &StoreId) -> String {
    format!("{STORES_FOLDER}/{store}.yaml")
}

/// Writes a text so that no part of a URL takes it for its own. The slashes of a branch's name stay.
pub(super) fn encoded(text: &str) -> String {
    let mut url = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_forge_has_its_own_addresses() {
        let acme = "acme".parse().unwrap();
        let links = |forge| {
            let links =
                Links { forge, repository: "https://f.example/o/r".into(), branch: "release/1 x".into() };
            let create = links.create(&acme, "a: \"&b\"\n").map(|page| page.url).unwrap_or_default();
            let all = [links.commit("1a2b"), links.pull(7), links.edit(&acme), links.delete(&acme), create];
            all.map(|url| url.strip_prefix("https://f.example/o/r").unwrap_or_default().to_owned())
        };
        assert_eq!(
            links(ForgePages::GitHub),
            [
                "/commit/1a2b",
                "/pull/7",
                "/edit/release/1%20x/stores/acme.yaml",
                "/delete/release/1%20x/stores/acme.yaml",
                "/new/release/1%20x/stores?filename=acme.yaml&value=a%3A%20%22%26b%22%0A",
            ]
        );
        assert_eq!(links(ForgePages::GitLab)[1], "/-/merge_requests/7");
        assert_eq!(links(ForgePages::GitLab)[4], "/-/new/release/1%20x?file_name=stores/acme.yaml");
        assert_eq!(links(ForgePages::Gitea)[4], "/_new/release/1%20x/stores?value=a%3A%20%22%26b%22%0A");
        assert_eq!(links(ForgePages::Gitea)[2], "/_edit/release/1%20x/stores/acme.yaml");
        assert_eq!(links(ForgePages::Bitbucket)[4], "", "its editor takes no text");
    }

    #[test]
    fn only_public_forges_over_https_are_guessed() {
        let links = Links::guess("https://github.com/acme/stores.git", "main").unwrap();
        assert_eq!(
            (links.forge, links.repository.as_str()),
            (ForgePages::GitHub, "https://github.com/acme/stores")
        );
        for other in [
            "https://me:token@github.com/a/b",
            "https://github.com.evil.example/a/b",
            "/srv/fleet.git",
            "ssh://git@github.com/a/b",
        ] {
            assert_eq!(Links::guess(other, "main"), None, "{other}");
        }
    }
}
