//! The pages: what each shows is gathered here as plain values, and its markup is a template.
//!
//! A page consists of regions, each an element with an id. A page that is open is kept up to date by sending those regions
//! that look otherwise than before (`live`), so everything is drawn in one place.

pub(super) mod commit;
pub(super) mod docs;
pub(super) mod fleet;
pub(super) mod new;
pub(super) mod plan;
pub(super) mod store;
pub(super) mod view;

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use super::assets;
use super::problem::Problem;
use view::Shell;

/// A page as it is sent, and as it is kept up to date.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    /// What stands in the browser's tab.
    pub(super) title: String,
    /// Its regions by their ids.
    pub(super) regions: BTreeMap<&'static str, String>,
    /// Where rows are listed, their ids in order, each with its markup.
    pub(super) rows: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    shell: Shell,
    title: &'a str,
    detail: &'a str,
}

/// Draws a template. One that can't be drawn is a mistake of ours, and says so.
pub(super) fn draw(template: &impl Template) -> String {
    template.render().unwrap_or_else(|error| {
        tracing::error!(%error, "failed to draw a part of a page");
        "<p>This part can't be shown; the log says why.</p>".to_owned()
    })
}

/// Answers with a page.
pub(super) fn answer(template: &impl Template) -> Response {
    Html(draw(template)).into_response()
}

/// Draws the page of a problem; `depth` is how many folders deep its address is.
pub(super) fn problem(problem: &Problem, depth: usize) -> Response {
    let Problem { status, detail } = problem;
    let title = match *status {
        StatusCode::NOT_FOUND => "Nothing is here",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests",
        StatusCode::UNAUTHORIZED => "Who are you?",
        _ => status.canonical_reason().unwrap_or("Not answered"),
    };
    let page = ProblemPage { shell: Shell::new(title.to_owned(), depth, ""), title, detail };
    (*status, answer(&page)).into_response()
}

/// Where the style sheet and the script are, from so many folders deep.
fn asset_links(root: &str) -> (String, String) {
    (format!("{root}assets/{}", assets::STYLE.name()), format!("{root}assets/{}", assets::SCRIPT.name()))
}
