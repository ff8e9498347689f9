//! Arguments about the forge: what it is told, and what it tells.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use clap::{Args, ValueEnum};

use crate::daemon::{PlanForks, Telling, Trigger};
use crate::forge::{self, Forge, ForgeKind, ForgeSettings, Login};
use crate::git::{PullNames, RemoteUrl};
use crate::hooks::{self, Hooks};
use crate::metrics::Metrics;
use crate::names::ClusterName;
use crate::report::Plans;
use crate::web::{ForgePages, Links};

/// How the forge is told what becomes of commits and pull requests, and how it tells of pushes.
#[derive(Debug, Args)]
pub(super) struct ForgeArguments {
    /// The forge that is told what becomes of commits and pull requests: github, gitlab, gitea (forgejo) or bitbucket.
    /// Without it, only the page tells.
    #[arg(long, env = "STOREKEEPER_FORGE")]
    forge: Option<ForgeKind>,
    /// The base URL of its API; needed for gitea and for a forge of your own.
    #[arg(long, env = "STOREKEEPER_FORGE_API", requires = "forge")]
    forge_api: Option<String>,
    /// Where people reach the forge, such as <https://git.example.com>; without it, as its API's URL says.
    #[arg(long, env = "STOREKEEPER_FORGE_URL", requires = "forge", value_parser = parse_public_url)]
    forge_url: Option<String>,
    /// The repository's name there, such as acme/stores; without it, as --repository says.
    #[arg(long, env = "STOREKEEPER_FORGE_REPOSITORY", requires = "forge")]
    forge_repository: Option<String>,
    /// A file with the token for the API; it is read before each request.
    #[arg(long, env = "STOREKEEPER_FORGE_TOKEN_FILE", requires = "forge", conflicts_with = "forge_app_id")]
    forge_token_file: Option<PathBuf>,
    /// The id of the GitHub App to log in as, in place of a token.
    #[arg(long, env = "STOREKEEPER_FORGE_APP_ID", requires = "forge_app_key_file")]
    forge_app_id: Option<String>,
    /// The PEM file of the GitHub App's private key.
    #[arg(long, env = "STOREKEEPER_FORGE_APP_KEY_FILE", requires = "forge_app_id")]
    forge_app_key_file: Option<PathBuf>,
    /// A PEM file of certificate authorities that are trusted for the API besides the system's.
    #[arg(long, env = "STOREKEEPER_FORGE_CA_FILE", requires = "forge")]
    forge_ca_file: Option<PathBuf>,
    /// Where people reach the page, such as <https://storekeeper.example.com>: commit statuses link there.
    #[arg(long, env = "STOREKEEPER_PUBLIC_URL", value_parser = parse_public_url)]
    public_url: Option<String>,
    /// How many stores of one commit get a status of their own; `storekeeper/all` speaks for the rest.
    #[arg(long, env = "STOREKEEPER_STATUSES_PER_COMMIT", default_value_t = 50, value_parser = parse_statuses)]
    statuses_per_commit: usize,
    /// Which pull requests from other repositories are planned.
    #[arg(long, env = "STOREKEEPER_PLAN_FORKS", value_enum, default_value = "all")]
    plan_forks: Forks,
    /// A file with the secret that the forge signs webhooks with; with it, POST /hooks/<forge> is answered.
    #[arg(long, env = "STOREKEEPER_HOOK_SECRET_FILE")]
    hook_secret_file: Option<PathBuf>,
}

/// Whose pull requests from other repositories are planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Forks {
    /// Everybody's.
    All,
    /// Of those who may push to the repository.
    Maintainers,
}

impl ForgeArguments {
    /// Which refs are pull requests there: people may push to those of other forges.
    pub(super) fn pulls(&self) -> PullNames {
        match self.forge {
            Some(ForgeKind::GitHub | ForgeKind::Gitea) => PullNames::Pull,
            Some(ForgeKind::GitLab) => PullNames::MergeRequest,
            Some(ForgeKind::Bitbucket) | None => PullNames::Any,
        }
    }

    /// What is told, for a source at this URL, of this cluster where the fleet has several.
    pub(super) fn telling(
        &self,
        repository: &RemoteUrl,
        clock: Arc<dyn Fn() -> i64 + Send + Sync>,
        plans: Plans,
        cluster: Option<ClusterName>,
    ) -> anyhow::Result<Telling> {
        let forge =
            self.settings(repository, cluster)?.map(|settings| Forge::new(settings, clock)).transpose()?;
        let (pages, own_statuses) = (self.public_url.clone(), self.statuses_per_commit);
        let forks = match self.plan_forks {
            Forks::All => PlanForks::All,
            Forks::Maintainers => PlanForks::Maintainers,
        };
        Ok(Telling { forge, pages, own_statuses, forks, plans })
    }

    /// Where people see the repository: as the operator says, as the forge's API is found beside its pages, or as the URL that
    /// is watched tells of itself.
    pub(super) fn links(&self, repository: &RemoteUrl, branch: &str) -> Option<Links> {
        let guessed = || Links::guess(&repository.to_string(), branch);
        let Some(kind) = self.forge else { return guessed() };
        let forge = match kind {
            ForgeKind::GitHub => ForgePages::GitHub,
            ForgeKind::GitLab => ForgePages::GitLab,
            ForgeKind::Gitea => ForgePages::Gitea,
            ForgeKind::Bitbucket => ForgePages::Bitbucket,
        };
        let name = self.forge_repository.clone().or_else(|| repository.name_on_forge())?;
        let pages = kind.pages(self.forge_url.as_deref(), self.forge_api.as_deref())?;
        Some(Links { forge, repository: format!("{pages}/{name}"), branch: branch.to_owned() })
    }

    /// The routes for deliveries of webhooks; none where none are taken.
    pub(super) fn deliveries(&self, trigger: Trigger, metrics: &Metrics) -> Router {
        let Some(secret_file) = self.hook_secret_file.clone() else { return Router::new() };
        let look = Arc::new(move || trigger.look_everywhere());
        hooks::router(Hooks { secret_file, look, metrics: metrics.clone() })
    }

    fn settings(
        &self,
        repository: &RemoteUrl,
        cluster: Option<ClusterName>,
    ) -> anyhow::Result<Option<ForgeSettings>> {
        let Some(kind) = self.forge else { return Ok(None) };
        let login = match (&self.forge_token_file, &self.forge_app_id, &self.forge_app_key_file) {
            (Some(file), _, _) => Login::Token { file: file.clone() },
            (None, Some(id), Some(key)) => Login::App { id: id.clone(), key_file: key.clone() },
            _ => {
                anyhow::bail!("log in to the forge: give --forge-token-file, or --forge-app-id with its key")
            }
        };
        let named = self.forge_repository.clone().or_else(|| repository.name_on_forge());
        let repository =
            named.context("find the repository on the forge: give --forge-repository owner/name")?;
        let (api, ca_file) = (self.forge_api.clone(), self.forge_ca_file.clone());
        let timeout = forge::DEFAULT_TIMEOUT;
        Ok(Some(ForgeSettings { kind, api, repository, login, ca_file, timeout, cluster }))
    }
}

fn parse_public_url(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"<>?#".contains(c);
    let scheme = ["https://", "http://"].iter().find(|scheme| text.starts_with(*scheme));
    match scheme {
        Some(scheme) if text.len() > scheme.len() && text.chars().all(is_plain) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("a URL such as https://storekeeper.example.com is needed, without ? and #".to_owned()),
    }
}

fn parse_statuses(text: &str) -> Result<usize, String> {
    match text.parse() {
        // GitHub takes 1,000 a commit and context, and the roll-up is one of them.
        Ok(number @ 0..=900) => Ok(number),
        _ => Err("a number from 0 to 900 is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_one_that_a_link_can_begin_with() {
        assert_eq!(parse_public_url("https://x.example/a/").unwrap(), "https://x.example/a");
        for bad in ["x.example", "https://", "javascript:alert(1)", "https://x/?a", "https://x y", "ftp://x"]
        {
            parse_public_url(bad).unwrap_err();
        }
    }
}
