//! The page of a commit: what it does to each store, and whether that is done.

use super::html::Html;
use super::page::{self, commit, moment};
use super::when::span;
use crate::names::StoreId;
use crate::report::{Change, CommitReport, CommitState, StoreVerdict};

/// Renders a commit's verdicts as of `now`, in seconds since 1970.
pub(super) fn render(report: &CommitReport, now: i64) -> String {
    let CommitReport { revision, author, subject, seen, refused, stores, .. } = report;
    let (state, words) = report.overall();
    let mut html = Html::default();
    let short: String = revision.chars().take(10).collect();
    page::head(&mut html, format_args!("{} · commit {short}", word(state)), state == CommitState::Pending);
    html.markup("<body>\n<header>\n<h1>Commit ");
    commit(&mut html, revision);
    html.markup("</h1>\n<p>").text(subject);
    if !author.is_empty() {
        html.markup(" · by ").text(author);
    }
    html.markup(" · seen ");
    moment(&mut html, *seen, format!("{} ago", span(now.saturating_sub(*seen))));
    html.markup("</p>\n</header>\n<main>\n<section class=\"banner ");
    html.markup(match state {
        CommitState::Pending => "info\"><h2>",
        CommitState::Success => "good\"><h2>",
        CommitState::Failure => "bad\"><h2>",
    });
    html.markup(if refused.is_some() { "Not followed" } else { word(state) });
    html.markup("</h2><p>").text(words).markup("</p></section>\n");
    if !stores.is_empty() {
        html.markup("<table>\n<caption>").text(page::plural(stores.len(), "store"));
        html.markup(" that it changes</caption>\n<thead><tr><th scope=\"col\">Store</th>")
            .markup("<th scope=\"col\">Change</th><th scope=\"col\">Verdict</th>")
            .markup("<th scope=\"col\">Why</th><th scope=\"col\">Since</th></tr></thead>\n<tbody>\n");
        for (store, verdict) in stores {
            row(&mut html, store, verdict, now);
        }
        html.markup("</tbody>\n</table>\n");
    }
    html.markup("</main>\n<footer>Changes go through git; this page only shows. ")
        .markup("<a href=\"../\">all stores</a></footer>\n</body>\n</html>\n");
    html.into_string()
}

fn row(html: &mut Html, store: &StoreId, verdict: &StoreVerdict, now: i64) {
    let StoreVerdict { change, state, reason, since } = verdict;
    html.markup("<tr><th scope=\"row\"><a href=\"../stores/").text(store).markup("\">").text(store);
    html.markup("</a></th><td data-label=\"Change\">").markup(match change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Removed => "removed",
    });
    html.markup("</td><td data-label=\"Verdict\">");
    sign(html, *state);
    html.markup("</td><td data-label=\"Why\" class=\"words\">").text(reason);
    html.markup("</td><td data-label=\"Since\" class=\"time\">");
    moment(html, *since, format!("{} ago", span(now.saturating_sub(*since))));
    html.markup("</td></tr>\n");
}

/// Shows a verdict by word, sign and colour.
pub(super) fn sign(html: &mut Html, state: CommitState) {
    html.markup(match state {
        CommitState::Pending => "<span class=\"state provisioning\"><i aria-hidden=\"true\">◐</i> ",
        CommitState::Success => "<span class=\"state ready\"><i aria-hidden=\"true\">●</i> ",
        CommitState::Failure => "<span class=\"state failed\"><i aria-hidden=\"true\">✕</i> ",
    });
    html.markup(word(state)).markup("</span>");
}

fn word(state: CommitState) -> &'static str {
    match state {
        CommitState::Pending => "Pending",
        CommitState::Success => "Done",
        CommitState::Failure => "Failed",
    }
}
