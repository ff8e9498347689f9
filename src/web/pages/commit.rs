//! Commits: the newest ones, and one with what became of it store by store.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;

use super::view::{Banner, CommitView, Moment, Shell, StateView, plural};
use super::{Page, answer, draw};
use crate::report::{Change, CommitReport, CommitState};
use crate::web::links::Links;
use crate::web::problem::Problem;
use crate::web::{WebState, unknown_commit};

/// How many commits are listed.
const LISTED: usize = 100;

#[derive(Template)]
#[template(path = "commits.html")]
struct CommitsPage {
    shell: Shell,
    page: Page,
}

#[derive(Template)]
#[template(path = "commits_list.html")]
struct List {
    root: &'static str,
    commits: Vec<Row>,
}

struct Row {
    commit: CommitView,
    subject: String,
    state: StateView,
    reason: String,
    seen: Moment,
}

#[derive(Template)]
#[template(path = "commit.html")]
struct CommitPage {
    shell: Shell,
    page: Page,
}

#[derive(Template)]
#[template(path = "commit_body.html")]
struct Body {
    commit: CommitView,
    subject: String,
    seen: Moment,
    banner: Banner,
    caption: String,
    stores: Vec<StoreRow>,
}

struct StoreRow {
    name: String,
    change: &'static str,
    state: StateView,
    reason: String,
    since: Moment,
}

/// Answers with the newest commits.
pub(in crate::web) async fn list(State(state): State<WebState>) -> Response {
    let version = state.version();
    let page = list_page(&state, (state.clock)());
    answer(&CommitsPage { shell: Shell::new(page.title.clone(), 0, "commits").live(version), page })
}

/// Draws what changes of the list.
pub(in crate::web) fn list_page(state: &WebState, now: i64) -> Page {
    let links = state.links.as_ref();
    let commits = state.board.read(|picture| {
        picture.commits.commits().take(LISTED).map(|commit| row(commit, links, now)).collect()
    });
    let regions = BTreeMap::from([("commits", draw(&List { root: "./", commits }))]);
    Page { title: "Commits".to_owned(), regions, rows: Vec::new() }
}

/// Answers with one commit.
pub(in crate::web) async fn show(
    State(state): State<WebState>,
    revision: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(revision) = revision.map_err(|error| Problem::not_found(error.body_text()))?;
    let version = state.version();
    let page = page(&state, &revision, (state.clock)()).ok_or_else(unknown_commit)?;
    let shell = Shell::new(page.title.clone(), 1, "").live(version);
    Ok(answer(&CommitPage { shell, page }))
}

/// Draws what changes of a commit's page; none when nothing is known of it.
pub(in crate::web) fn page(state: &WebState, revision: &str, now: i64) -> Option<Page> {
    let report = state.board.read(|picture| picture.commits.commit(revision).cloned())?;
    let links = state.links.as_ref();
    let (verdict, words) = report.overall();
    let state = StateView::of_commit(verdict);
    let class = match verdict {
        CommitState::Pending => "info",
        CommitState::Success => "good",
        CommitState::Failure => "bad",
    };
    let title = if report.refused.is_some() { "Not followed" } else { state.word };
    let stores = report.stores.iter().map(|(store, verdict)| StoreRow {
        name: store.to_string(),
        change: match verdict.change {
            Change::Added => "added",
            Change::Changed => "changed",
            Change::Removed => "removed",
        },
        state: StateView::of_commit(verdict.state),
        reason: verdict.reason.clone(),
        since: Moment::ago(verdict.since, now),
    });
    let body = Body {
        commit: commit_view(&report, links),
        subject: report.subject.clone(),
        seen: Moment::ago(report.seen, now),
        banner: Banner::new(class, title, words),
        caption: format!("{} that it changes", plural(report.stores.len(), "store")),
        stores: stores.collect(),
    };
    let title = format!("{} · commit {}", state.word, body.commit.short);
    Some(Page { title, regions: BTreeMap::from([("commit", draw(&body))]), rows: Vec::new() })
}

fn row(report: &CommitReport, links: Option<&Links>, now: i64) -> Row {
    let (state, reason) = report.overall();
    Row {
        commit: commit_view(report, links),
        subject: report.subject.clone(),
        state: StateView::of_commit(state),
        reason,
        seen: Moment::ago(report.seen, now),
    }
}

fn commit_view(report: &CommitReport, links: Option<&Links>) -> CommitView {
    CommitView { author: report.author.clone(), ..CommitView::new(&report.revision, links) }
}
