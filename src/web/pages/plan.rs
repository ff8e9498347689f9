//! Plans of changes: the newest as a list, and one with everything in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::view::{Banner, CommitView, Moment, Shell, StateView, short};
use super::{Page, answer, draw};
use crate::report::{LostKind, ObjectAction, PlanReport, PlanVerdict, StoreAction};
use crate::web::problem::Problem;
use crate::web::{WebState, unknown_plan};

/// How many plans are listed.
const LISTED: usize = 100;

#[derive(Template)]
#[template(path = "plans.html")]
struct PlansPage {
    shell: Shell,
    page: Page,
}

#[derive(Template)]
#[template(path = "plans_list.html")]
struct List {
    plans: Vec<Row>,
}

struct Row {
    head: String,
    short: String,
    pull: Option<(u64, Option<String>)>,
    verdict: StateView,
    words: String,
    made: Moment,
}

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    shell: Shell,
    plan: Arc<PlanReport>,
    head: CommitView,
    base: Option<CommitView>,
    pull: Option<(u64, Option<String>)>,
    made: Moment,
    banners: Vec<Banner>,
}

/// Answers with the newest plans.
pub(in crate::web) async fn list(State(state): State<WebState>) -> Response {
    let version = state.version();
    let page = list_page(&state, (state.clock)());
    answer(&PlansPage { shell: Shell::new(page.title.clone(), 0, "plans").live(version), page })
}

/// Draws what changes of the list.
pub(in crate::web) fn list_page(state: &WebState, now: i64) -> Page {
    let links = state.links.as_ref();
    let row = |plan: &Arc<PlanReport>| {
        let head = plan.head.clone().unwrap_or_default();
        Row {
            short: short(&head),
            head,
            pull: plan.pull.map(|number| (number, links.map(|links| links.pull(number)))),
            verdict: StateView::of_plan(plan.verdict),
            words: plan.summary(),
            made: Moment::ago(plan.made, now),
        }
    };
    let plans = state.plans.newest(LISTED).iter().map(row).collect();
    let regions = BTreeMap::from([("list", draw(&List { plans }))]);
    Page { title: "Plans".to_owned(), regions, rows: Vec::new() }
}

/// Answers with the plan of a commit: a page, or JSON for those who ask for it by the path or by what they accept.
pub(in crate::web) async fn show(
    State(state): State<WebState>,
    commit: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = commit.map_err(|error| Problem::not_found(error.body_text()))?;
    let (commit, by_path) = match name.strip_suffix(".json") {
        Some(commit) => (commit, true),
        None => (name.as_str(), false),
    };
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wants_json = by_path || accepted.contains("application/json") && !accepted.contains("text/html");
    let plan = state.plans.get(commit).ok_or_else(|| unknown_plan(commit))?;
    let vary = [(header::VARY, "accept")];
    if wants_json {
        return Ok((vary, Json(&*plan)).into_response());
    }
    Ok((vary, answer(&page(&state, plan))).into_response())
}

fn page(state: &WebState, plan: Arc<PlanReport>) -> PlanPage {
    let links = state.links.as_ref();
    let now = (state.clock)();
    let head = CommitView::new(plan.head.as_deref().unwrap_or_default(), links);
    PlanPage {
        shell: Shell::new(format!("Plan of {}", head.short), 1, ""),
        base: plan.base.as_deref().map(|base| CommitView::new(base, links)),
        pull: plan.pull.map(|number| (number, links.map(|links| links.pull(number)))),
        made: Moment::ago(plan.made, now),
        banners: banners(&plan),
        head,
        plan,
    }
}

/// Says how the plan ends, and what is not about one store.
fn banners(plan: &PlanReport) -> Vec<Banner> {
    let class = match plan.verdict {
        PlanVerdict::Nothing => "info",
        PlanVerdict::Changes => "good",
        PlanVerdict::Blocked => "warn",
        PlanVerdict::Wrong => "bad",
    };
    let mut banners = vec![Banner::new(class, StateView::of_plan(plan.verdict).word, plan.counts())];
    let mut say = |class, title: &str, words: Vec<String>| {
        if !words.is_empty() {
            banners.push(Banner { words, ..Banner::new(class, title, "") });
        }
    };
    say("bad", "Wrong in files", plan.problems.iter().map(ToString::to_string).collect());
    say("warn", "Refused", plan.blocked.clone());
    say("info", "To know", plan.warnings.iter().cloned().chain(plan.left_out()).collect());
    banners
}

/// Says in a word what would become of a store.
pub(super) fn action_words(action: StoreAction) -> &'static str {
    match action {
        StoreAction::Add => "added",
        StoreAction::Change => "changed",
        StoreAction::Remove => "removed",
        StoreAction::Keep => "kept, its removal is refused",
        StoreAction::Wrong => "wrong",
    }
}

/// Marks what would become of a store, with sign, class and word.
fn action_mark(action: StoreAction) -> (&'static str, &'static str) {
    match action {
        StoreAction::Add => ("add", "+ add"),
        StoreAction::Change => ("change", "~ change"),
        StoreAction::Remove => ("remove", "− remove"),
        StoreAction::Keep => ("remove", "! keep"),
        StoreAction::Wrong => ("remove", "! wrong"),
    }
}

/// Marks what would be done to an object, with class and sign.
fn object_mark(action: ObjectAction) -> (&'static str, &'static str) {
    match action {
        ObjectAction::Add => ("add", "+"),
        ObjectAction::Change => ("change", "~"),
        ObjectAction::Remove => ("remove", "−"),
        ObjectAction::Recreate => ("change", "± made anew:"),
        ObjectAction::Refused => ("remove", "! refused:"),
    }
}
