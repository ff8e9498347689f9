//! The page of a store: where it is, and what the commit that the reader came from did to it.

use super::commit::sign;
use super::html::Html;
use super::page::{self, address, badge, commit, moment};
use super::when::span;
use crate::names::StoreId;
use crate::report::{CommitReport, Picture, StoreReport, StoreState};

/// Renders a store as of `now`, in seconds since 1970, as a commit wants it where one is given. None when nothing is known
/// of either.
pub(super) fn render(picture: &Picture, id: &StoreId, revision: Option<&str>, now: i64) -> Option<String> {
    let report = picture.stores.get(id);
    let commit = revision.and_then(|revision| picture.commits.commit(revision));
    let commit = commit.filter(|commit| commit.stores.contains_key(id));
    if report.is_none() && commit.is_none() {
        return None;
    }
    let mut html = Html::default();
    let state = report.map_or("gone", |report| report.state.as_str());
    let is_settled = report.is_none_or(|report| report.state == StoreState::Ready);
    page::head(&mut html, format_args!("{state} · {id}"), !is_settled);
    html.markup("<body>\n<header>\n<h1>").text(id).markup("</h1>\n<p>");
    if let Some(name) = report.and_then(|report| report.display_name.as_ref()) {
        html.text(name);
    }
    html.markup("</p>\n</header>\n<main>\n");
    if let Some(commit) = commit {
        verdict(&mut html, id, commit, now);
    }
    match report {
        Some(report) => now_is(&mut html, report, now),
        None => {
            html.markup(
                "<section class=\"empty\"><h2>The store is gone</h2><p>No file names it, and nothing of it ",
            )
            .markup("is left in the cluster.</p></section>\n");
        }
    }
    html.markup("</main>\n<footer>Changes go through git; this page only shows. ")
        .markup("<a href=\"../\">all stores</a> For programs: <a href=\"../api/v1/stores/");
    html.text(id).markup("\">JSON</a></footer>\n</body>\n</html>\n");
    Some(html.into_string())
}

/// Says what became of the commit in this store.
fn verdict(html: &mut Html, id: &StoreId, report: &CommitReport, now: i64) {
    let Some(verdict) = report.stores.get(id) else { return };
    html.markup("<section class=\"card\"><h2>With commit <a href=\"../commits/");
    html.text(&report.revision).markup("\">");
    commit(html, &report.revision);
    html.markup("</a></h2><p>");
    sign(html, verdict.state);
    html.markup(" ");
    moment(html, verdict.since, format!("{} ago", span(now.saturating_sub(verdict.since))));
    html.markup(": ").text(&verdict.reason).markup("</p></section>\n");
}

/// Says where the store is now.
fn now_is(html: &mut Html, report: &StoreReport, now: i64) {
    html.markup("<section class=\"card\"><h2>Now</h2><p>");
    badge(html, report.state);
    html.markup(" ");
    moment(html, report.since, format!("for {}", span(now.saturating_sub(report.since))));
    html.markup(": ").text(&report.reason).markup("</p><p>");
    address(html, report.url.as_deref());
    html.markup("</p>");
    if let Some(revision) = &report.revision {
        html.markup("<p>git wants it at <a href=\"../commits/").text(revision).markup("\">");
        commit(html, revision);
        html.markup("</a>");
        if let Some(applied) = &report.applied_revision {
            html.markup("; it was last changed at ");
            commit(html, applied);
        }
        html.markup("</p>");
    }
    if let Some(error) = report.last_error.as_ref().filter(|error| **error != report.reason) {
        html.markup("<h3>Last error</h3><p class=\"error\">").text(error).markup("</p>");
    }
    html.markup("</section>\n");
}
