//! One store: where it is on its way, what runs and what is wanted, what is inside its namespace, and what happened to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::view::{Address, CommitView, Moment, Shell, StateView, took};
use super::{Page, answer, draw};
use crate::names::{STORES_FOLDER, StoreId};
use crate::report::{
    CommitReport, Event, EventKind, Inspection, ObjectHealth, PlanReport, Step, StoreReport, StoreState,
    VersionReport,
};
use crate::web::api::events::newest;
use crate::web::links::Links;
use crate::web::problem::Problem;
use crate::web::{WebState, store_id, unknown_store};

/// How many events a page shows.
const EVENTS: usize = 50;

/// How many events are looked through for the times of steps.
const LOOKED_THROUGH: usize = 200;

/// How many plans a page shows.
const PLANS: usize = 10;

/// What the page is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Question {
    /// The commit that the reader comes from, as commit statuses link it.
    revision: Option<String>,
    /// Where the page of events before ended.
    before: Option<i64>,
}

#[derive(Template)]
#[template(path = "store.html")]
struct StorePage {
    shell: Shell,
    page: Page,
    name: String,
    edit: Option<String>,
    delete: Option<String>,
    file: String,
    /// What shows the same in a terminal.
    command: String,
}

#[derive(Template)]
#[template(path = "store_now.html")]
struct Now {
    root: &'static str,
    display_name: Option<String>,
    state: StateView,
    since: Option<Moment>,
    reason: String,
    error: Option<String>,
    retry: Option<Moment>,
    deletes: Option<Moment>,
    answered: Option<Moment>,
    url: Option<Address>,
    admin: Option<Address>,
    is_gone: bool,
    verdict: Option<Verdict>,
    changed_by: Option<CommitView>,
    /// The replica that keeps it, where several share the stores.
    keeper: Option<String>,
    steps: Vec<StepView>,
}

/// What became of a commit in this store.
struct Verdict {
    commit: CommitView,
    state: StateView,
    reason: String,
    since: Moment,
}

/// A step on the way to READY.
struct StepView {
    name: &'static str,
    /// `done`, `now`, `failed` or `open`.
    class: &'static str,
    /// The same in words, for those who do not see it.
    words: &'static str,
    took: String,
}

#[derive(Template)]
#[template(path = "store_inside.html")]
struct InsideView {
    root: &'static str,
    runs: Option<Version>,
    wants: Option<Version>,
    same: bool,
    objects: Vec<ObjectHealth>,
    healthy: usize,
    pods: Vec<PodView>,
    unknown: Option<String>,
}

struct Version {
    commit: CommitView,
    image: Option<String>,
}

struct PodView {
    name: String,
    status: String,
    ready: String,
    restarts: u64,
    created: Option<Moment>,
}

#[derive(Template)]
#[template(path = "events.html")]
struct Timeline {
    root: &'static str,
    events: Vec<EventView>,
    older: Option<String>,
    incomplete: Option<String>,
}

struct EventView {
    at: Moment,
    class: &'static str,
    title: String,
    words: String,
    took: Option<String>,
    commit: Option<CommitView>,
}

#[derive(Template)]
#[template(path = "store_plans.html")]
struct PlanTable {
    plans: Vec<PlanRow>,
}

struct PlanRow {
    head: String,
    short: String,
    pull: Option<(u64, Option<String>)>,
    verdict: StateView,
    action: &'static str,
    made: Moment,
}

/// Answers with a store.
pub(in crate::web) async fn show(
    State(state): State<WebState>,
    name: Result<Path<String>, PathRejection>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Problem> {
    let id = store_id(name)?;
    let question = question.map(|Query(question)| question).unwrap_or_default();
    let version = state.version();
    let page = page(&state, &id, &question, (state.clock)()).await;
    let page = page.ok_or_else(|| unknown_store(&state, &id))?;
    let links = state.links.as_ref();
    let has_file = state
        .board
        .read(|picture| picture.stores.get(&id).is_some_and(|store| store.state != StoreState::Deleting));
    Ok(answer(&StorePage {
        shell: Shell::new(page.title.clone(), 1, "").live(version),
        page,
        name: id.to_string(),
        edit: links.filter(|_| has_file).map(|links| links.edit(&id)),
        delete: links.filter(|_| has_file).map(|links| links.delete(&id)),
        file: format!("{STORES_FOLDER}/{id}.yaml"),
        command: format!("kubectl -n {} get all,events", id.namespace()),
    }))
}

/// Draws what changes of the page; none when nothing is known of such a store.
pub(in crate::web) async fn page(
    state: &WebState,
    id: &StoreId,
    question: &Question,
    now: i64,
) -> Option<Page> {
    let (report, commit) = state.board.read(|picture| {
        let commit = question.revision.as_ref().and_then(|revision| picture.commits.commit(revision));
        let commit = commit.filter(|commit| commit.stores.contains_key(id)).map(|it| it.excerpt(Some(id)));
        (picture.stores.get(id).cloned(), commit)
    });
    let (events, incomplete) = newest(state, Some(id.clone()), question.before, EVENTS + 1).await;
    if report.is_none() && commit.is_none() && events.is_empty() {
        return None;
    }
    let links = state.links.as_ref();
    let word = report.as_ref().map_or("gone", |report| report.state.as_str());
    let inside = match &report {
        Some(_) => (state.inspect)(id.clone()).await,
        None => Err(String::new()),
    };
    let latest = state.history.newest(Some(id), None, LOOKED_THROUGH).events;
    let now_view = now_view(report.as_ref(), commit.as_ref(), id, &latest, links, now);
    let plans = plans(state, id, now);
    let regions = BTreeMap::from([
        ("now", draw(&now_view)),
        ("inside", report.map(|_| draw(&inside_view(inside, links, now))).unwrap_or_default()),
        ("timeline", draw(&timeline(&events, incomplete, links, now))),
        ("plans", draw(&PlanTable { plans })),
    ]);
    Some(Page { title: format!("{word} · {id}"), regions, rows: Vec::new() })
}

fn now_view(
    report: Option<&StoreReport>,
    commit: Option<&CommitReport>,
    id: &StoreId,
    events: &[Arc<Event>],
    links: Option<&Links>,
    now: i64,
) -> Now {
    let verdict = commit.and_then(|commit| {
        let verdict = commit.stores.get(id)?;
        let author = commit.author.clone();
        Some(Verdict {
            commit: CommitView { author, ..CommitView::new(&commit.revision, links) },
            state: StateView::of_commit(verdict.state),
            reason: verdict.reason.clone(),
            since: Moment::ago(verdict.since, now),
        })
    });
    let url = report.and_then(|report| report.url.as_deref());
    let admin = url.map(|url| Address::new(&format!("{}/app", url.trim_end_matches('/'))));
    Now {
        root: "../",
        display_name: report.and_then(|it| it.display_name.clone().filter(|name| name != id.as_str())),
        state: report.map_or(StateView::UNKNOWN, |report| StateView::of(report.state)),
        since: report.map(|report| Moment::since(report.since, now)),
        reason: report.map(|report| report.reason.clone()).unwrap_or_default(),
        error: report.and_then(|it| it.last_error.clone().filter(|error| *error != it.reason)),
        retry: report.and_then(|report| report.next_retry).map(|at| Moment::until(at, now)),
        deletes: report.and_then(|report| report.deletes_at).map(|at| Moment::until(at, now)),
        answered: report.and_then(|report| report.answered).map(|at| Moment::ago(at, now)),
        url: url.map(Address::new),
        admin,
        is_gone: report.is_none(),
        verdict,
        changed_by: report.and_then(|it| it.origin.as_ref()).map(|origin| CommitView::of(origin, links)),
        keeper: report.and_then(|report| report.keeper.clone()),
        steps: report.map(|report| steps(report, events)).unwrap_or_default(),
    }
}

/// Shows the steps on the way to READY as a line, with the time that each took the last time it was gone.
fn steps(report: &StoreReport, events: &[Arc<Event>]) -> Vec<StepView> {
    let took_of = |step: Step| {
        let found = events.iter().find(|it| it.kind == EventKind::StepDone && it.step == Some(step));
        found.and_then(|event| event.took_ms).map(took).unwrap_or_default()
    };
    let view = |step: Step| {
        let (class, words) = match (report.state, report.step) {
            (StoreState::Ready, _) => ("done", "done"),
            (StoreState::Failed | StoreState::Degraded, Some(at)) if at == step => ("failed", "failed"),
            (_, Some(at)) if at == step => ("now", "under way"),
            (_, Some(at)) if at > step => ("done", "done"),
            _ => ("open", "to come"),
        };
        let took = if class == "done" { took_of(step) } else { String::new() };
        StepView { name: step.as_str(), class, words, took }
    };
    match report.state {
        StoreState::Deleting => Vec::new(),
        _ => Step::ALL.map(view).into(),
    }
}

fn inside_view(found: Result<Inspection, String>, links: Option<&Links>, now: i64) -> InsideView {
    let version =
        |it: VersionReport| Version { commit: CommitView::new(&it.revision, links), image: it.image };
    let unknown = |unknown| InsideView {
        root: "../",
        runs: None,
        wants: None,
        same: true,
        objects: Vec::new(),
        healthy: 0,
        pods: Vec::new(),
        unknown,
    };
    let Inspection { runs, wants, objects, pods } = match found {
        Ok(found) => found,
        Err(reason) => return unknown(Some(reason)),
    };
    let is_well = |it: &&ObjectHealth| it.health == crate::report::Health::Current && it.drift.is_none();
    let (pods, unknown) = match pods {
        Ok(pods) => (pods, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    let pods = pods.into_iter().map(|pod| PodView {
        name: pod.name,
        status: pod.status,
        ready: format!("{}/{}", pod.ready, pod.containers),
        restarts: pod.restarts,
        created: pod.created.map(|at| Moment::since(at, now)),
    });
    InsideView {
        root: "../",
        same: runs == wants,
        runs: runs.map(version),
        wants: wants.map(version),
        healthy: objects.iter().filter(is_well).count(),
        objects,
        pods: pods.collect(),
        unknown,
    }
}

fn timeline(events: &[Arc<Event>], incomplete: Option<String>, links: Option<&Links>, now: i64) -> Timeline {
    let shown = &events[..events.len().min(EVENTS)];
    let older = events.get(EVENTS).and_then(|_| shown.last()).map(|last| format!("?before={}", last.id));
    let view = |event: &Arc<Event>| event_view(event, links, now);
    Timeline { root: "../", events: shown.iter().map(view).collect(), older, incomplete }
}

fn event_view(event: &Event, links: Option<&Links>, now: i64) -> EventView {
    let (class, title) = told(event);
    EventView {
        at: Moment::ago(event.at, now),
        class,
        title,
        words: event.words.clone(),
        took: event.took_ms.map(took),
        commit: event.origin.as_ref().map(|origin| CommitView::of(origin, links)),
    }
}

/// Says what kind of thing happened, as a heading with its colour.
fn told(event: &Event) -> (&'static str, String) {
    let state = event.state.map_or(StateView::UNKNOWN, StateView::of);
    let (class, title) = match event.kind {
        EventKind::CommitFollowed => ("info", "Commit in force"),
        EventKind::CommitRefused => ("failed", "Commit not followed"),
        EventKind::FileChanged => match event.change {
            Some(crate::report::Change::Added) => ("info", "File added"),
            Some(crate::report::Change::Removed) => ("deleting", "File removed"),
            _ => ("info", "File changed"),
        },
        EventKind::NamespaceMade => ("info", "Namespace made"),
        EventKind::Applied => ("info", "Chart applied"),
        EventKind::StepDone => return ("ready", step_done(event.step).to_owned()),
        EventKind::StateEntered => return (state.class, state.word.to_owned()),
        EventKind::DriftHealed => ("degraded", "Drift healed"),
        EventKind::FightBegun => ("failed", "Fight begun"),
        EventKind::FightEnded => ("ready", "Fight ended"),
        EventKind::Paused => ("deleting", "Paused"),
        EventKind::Resumed => ("info", "Resumed"),
        EventKind::RemovalRefused => ("failed", "Removal refused"),
        EventKind::DeletionBegun => ("deleting", "Deletion begun"),
        EventKind::Deleted => ("deleting", "Deleted"),
        EventKind::Frozen => ("failed", "Frozen"),
        EventKind::Thawed => ("ready", "Followed again"),
    };
    (class, title.to_owned())
}

fn step_done(step: Option<Step>) -> &'static str {
    match step {
        Some(Step::Namespace) => "Objects applied",
        Some(Step::Database) => "Database ready",
        Some(Step::Migration) => "Migrated",
        Some(Step::Api) => "Medusa runs",
        Some(Step::Storefront) => "Storefront runs",
        Some(Step::Ingress) => "Ingress ready",
        Some(Step::Probe) => "The shop answers",
        None => "Step done",
    }
}

fn plans(state: &WebState, id: &StoreId, now: i64) -> Vec<PlanRow> {
    let links = state.links.as_ref();
    let row = |plan: &Arc<PlanReport>| {
        let store = plan.stores.iter().find(|store| store.store == id.as_str())?;
        let head = plan.head.clone()?;
        Some(PlanRow {
            short: super::view::short(&head),
            head,
            pull: plan.pull.map(|number| (number, links.map(|links| links.pull(number)))),
            verdict: StateView::of_plan(plan.verdict),
            action: super::plan::action_words(store.action),
            made: Moment::ago(plan.made, now),
        })
    };
    state.plans.newest(usize::MAX).iter().filter_map(row).take(PLANS).collect()
}
