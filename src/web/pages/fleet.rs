//! The fleet: how many stores are in which state, what holds them all back, and a list to search, sort and page through.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::view::{Address, Banner, CommitView, Moment, Shell, StateView, plural};
use super::{Page, answer, draw};
use crate::names::STORES_FOLDER;
use crate::report::{FleetReport, Picture, Replica, Replicas, Role, Sample, StoreReport, StoreState};
use crate::web::links::Links;
use crate::web::problem::Problem;
use crate::web::select::{Selection, Selector, Sort};
use crate::web::{WebState, charts, links};

/// How many stores a page has.
const PAGE: usize = 1_000;

/// What the list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Question {
    q: String,
    state: String,
    sort: String,
    page: String,
}

impl Question {
    fn selection(&self) -> Selection {
        let Self { q, state, sort, page: _ } = self.clone();
        Selection { q, state, sort }
    }

    fn page(&self) -> usize {
        self.page.parse().unwrap_or(1).max(1)
    }

    /// Writes the question with another part.
    fn with(&self, name: &str, value: &str) -> String {
        let parts = [("q", &*self.q), ("state", &*self.state), ("sort", &*self.sort), ("page", "")];
        let parts = parts.map(|(part, now)| if part == name { (part, value) } else { (part, now) });
        let kept = parts.iter().filter(|(_, value)| !value.is_empty());
        let text: Vec<_> = kept.map(|(part, value)| format!("{part}={}", links::encoded(value))).collect();
        if text.is_empty() { "./".to_owned() } else { format!("./?{}", text.join("&")) }
    }
}

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    shell: Shell,
    page: Page,
    question: Question,
    sorts: Vec<(&'static str, &'static str, bool)>,
    states: Vec<(&'static str, bool)>,
    is_empty: bool,
    charts: String,
}

#[derive(Template)]
#[template(path = "fleet_head.html")]
struct Head {
    revision: Option<CommitView>,
    signer: Option<String>,
    cluster: Option<String>,
    elsewhere: Option<String>,
    sharing: Option<Sharing>,
    banners: Vec<Banner>,
    root: String,
}

/// Who keeps the stores.
struct Sharing {
    words: String,
    since: Option<Moment>,
}

#[derive(Template)]
#[template(path = "fleet_counts.html")]
struct Counts {
    states: Vec<(StateView, usize, String, bool)>,
    total: usize,
    all: String,
}

#[derive(Template)]
#[template(path = "fleet_pager.html")]
struct Pager {
    shown: String,
    before: Option<String>,
    after: Option<String>,
    empty: Option<Empty>,
}

/// Why no store is listed, and what to do.
struct Empty {
    title: String,
    words: String,
    is_fleet: bool,
}

#[derive(Template)]
#[template(path = "fleet_row.html")]
struct Row {
    id: String,
    name: String,
    display_name: Option<String>,
    state: StateView,
    step: Option<&'static str>,
    reason: String,
    error: Option<String>,
    url: Option<Address>,
    commit: Option<CommitView>,
    since: Moment,
    created: Option<Moment>,
    retry: Option<Moment>,
    deletes: Option<Moment>,
    root: String,
}

/// Answers with the fleet.
pub(in crate::web) async fn show(
    State(state): State<WebState>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Query(question) = question.map_err(|error| wrong(error.body_text()))?;
    let selector = question.selection().understand().map_err(wrong)?;
    let shell_version = state.version();
    let page = page(&state, &question, (state.clock)()).map_err(wrong)?;
    let sort = selector.sort;
    let sorts = Sort::ALL.map(|it| (it.as_str(), sort_words(it), it == sort)).to_vec();
    let states = StoreState::ALL.map(|it| (it.as_str(), selector.states == [it])).to_vec();
    let is_empty = state.board.read(|picture| picture.stores.is_empty());
    let now = (state.clock)();
    let mut statistics = state.history.statistics(now);
    // Samples are taken now and then; where the stores are is known.
    statistics.samples.push(Sample { at: now, stores: state.board.read(by_state) });
    let charts = charts::fleet(&statistics);
    let shell = Shell::new(page.title.clone(), 0, "fleet").live(shell_version);
    Ok(answer(&FleetPage { shell, page, question, sorts, states, is_empty, charts }))
}

/// Draws what changes of the page.
pub(in crate::web) fn page(state: &WebState, question: &Question, now: i64) -> Result<Page, String> {
    let selector = question.selection().understand()?;
    let links = state.links.as_ref();
    let begin = (question.page() - 1) * PAGE;
    let (fleet, shown, total, counts, in_fleet, sharing) = state.board.read(|picture| {
        let found = selector.select(picture);
        let shown: Vec<StoreReport> =
            found.iter().skip(begin).take(PAGE).map(|store| (*store).clone()).collect();
        let sharing = sharing(picture, now);
        (picture.fleet.clone(), shown, found.len(), count(picture, &selector), picture.stores.len(), sharing)
    });
    let all: usize = counts.values().sum();
    let failed = counts.get(&StoreState::Failed).copied().unwrap_or(0);
    // First what a narrow tab should tell.
    let title = match failed {
        0 => plural(all, "store"),
        failed => format!("{failed} failed · {}", plural(all, "store")),
    };
    let title = fleet.cluster.iter().fold(title, |title, cluster| format!("{title} · {cluster}"));
    let rows =
        shown.iter().map(|store| (format!("store-{}", store.name), draw(&row(store, links, now)))).collect();
    let head = Head {
        revision: fleet.revision.as_ref().map(|revision| CommitView::new(revision, links)),
        signer: fleet.signer.clone(),
        cluster: fleet.cluster.clone(),
        elsewhere: (!fleet.elsewhere.is_empty()).then(|| plural(fleet.elsewhere.len(), "store")),
        sharing,
        banners: banners(&fleet, now),
        root: "./".to_owned(),
    };
    let (before, after) = neighbours(question, begin, total);
    let range =
        if total > PAGE { format!("{} to {} of ", begin + 1, begin + shown.len()) } else { String::new() };
    let pager = Pager {
        shown: format!("{range}{}", plural(total, "store")),
        before,
        after,
        empty: shown.is_empty().then(|| nothing(&fleet, in_fleet)),
    };
    let regions = BTreeMap::from([
        ("head", draw(&head)),
        ("counts", draw(&counts_of(question, &selector, &counts))),
        ("pager", draw(&pager)),
    ]);
    Ok(Page { title, regions, rows })
}

/// Says which replica this is and who keeps what; nothing where there is one alone.
fn sharing(picture: &Picture, now: i64) -> Option<Sharing> {
    let replicas = picture.fleet.replicas.as_ref()?;
    let stores = picture.stores_by_keeper();
    let does = |identity: &String, replica: Replica| {
        let silent = if replica.alive { "" } else { " but is silent" };
        let does = match replicas.role(replica) {
            Role::Leader => "keeps all stores".to_owned(),
            Role::Partner => {
                format!("keeps {}", plural(stores.get(identity.as_str()).copied().unwrap_or(0), "store"))
            }
            Role::Follower => "follows".to_owned(),
        };
        format!("{does}{silent}")
    };
    let others = replicas.all.iter().filter(|(identity, _)| **identity != replicas.here);
    let others = others.map(|(identity, replica)| format!("; {identity} {}", does(identity, *replica)));
    let here = &replicas.here;
    Some(Sharing {
        words: format!("{here}, which {}{}", does(here, replicas.this()), others.collect::<String>()),
        since: replicas.since.map(|since| Moment::since(since, now)),
    })
}

fn by_state(picture: &Picture) -> BTreeMap<StoreState, usize> {
    count(picture, &Selector::default())
}

fn count(picture: &Picture, selector: &Selector) -> BTreeMap<StoreState, usize> {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for store in picture.stores.values().filter(|store| selector.names(store)) {
        *counts.entry(store.state).or_default() += 1;
    }
    counts
}

fn counts_of(question: &Question, selector: &Selector, counts: &BTreeMap<StoreState, usize>) -> Counts {
    let of = |state: StoreState| {
        let count = counts.get(&state).copied().unwrap_or(0);
        (StateView::of(state), count, question.with("state", state.as_str()), selector.states == [state])
    };
    Counts {
        states: StoreState::ALL.map(of).to_vec(),
        total: counts.values().sum(),
        all: question.with("state", ""),
    }
}

fn neighbours(question: &Question, begin: usize, total: usize) -> (Option<String>, Option<String>) {
    let page = question.page();
    let at = |page: usize| question.with("page", &page.to_string());
    ((page > 1).then(|| at(page - 1)), (begin + PAGE < total).then(|| at(page + 1)))
}

fn nothing(fleet: &FleetReport, all: usize) -> Empty {
    let (title, words) = match (all, fleet.ready) {
        (0, true) => (
            "No stores yet",
            format!(
                "Add {STORES_FOLDER}/<name>.yaml to the watched branch and push: each such file becomes a store."
            ),
        ),
        (0, false) => ("No stores seen yet", "They appear as the first pass finds them.".to_owned()),
        _ => ("No store is like that", "Take a word or the state out of the search.".to_owned()),
    };
    Empty { title: title.to_owned(), words, is_fleet: all == 0 && fleet.ready }
}

fn sort_words(sort: Sort) -> &'static str {
    match sort {
        Sort::Name => "name",
        Sort::State => "what needs you first",
        Sort::Changed => "last change",
        Sort::Created => "youngest first",
        Sort::Host => "address",
    }
}

fn row(store: &StoreReport, links: Option<&Links>, now: i64) -> Row {
    let StoreReport {
        name,
        display_name,
        state,
        step,
        reason,
        since,
        url,
        revision: _, // The newest commit of all; what counts is which changed this store.
        applied_revision,
        created,
        last_error,
        next_retry,
        answered: _,
        deletes_at,
        origin,
        cluster: _, // The same of all.
        keeper: _,
    } = store;
    let applied = || applied_revision.as_ref().map(|revision| CommitView::new(revision, links));
    Row {
        id: format!("store-{name}"),
        name: name.to_string(),
        display_name: display_name.clone().filter(|shown| shown != name.as_str()),
        state: StateView::of(*state),
        step: step.filter(|_| *state != StoreState::Ready).map(crate::report::Step::as_str),
        reason: reason.clone(),
        error: last_error.clone().filter(|error| error != reason),
        url: url.as_deref().map(Address::new),
        commit: origin.as_ref().map(|origin| CommitView::of(origin, links)).or_else(applied),
        since: Moment::since(*since, now),
        created: created.map(|created| Moment::since(created, now)),
        retry: next_retry.map(|retry| Moment::until(retry, now)),
        deletes: deletes_at.map(|at| Moment::until(at, now)),
        root: "./".to_owned(),
    }
}

const STARTING: &str = "The first pass over all stores is not finished; what stands here is incomplete.";

/// Says that some stores are nobody's, if that is so.
fn unkept(replicas: &Replicas) -> Option<Banner> {
    let Replicas { unkept, shards, .. } = replicas;
    let title = match *unkept {
        0 => return None,
        unkept if unkept == *shards => "No replica keeps the stores",
        _ => "No replica keeps some stores",
    };
    let words = format!("As seen from here, {unkept} of {shards} parts of the fleet are nobody's.");
    let advice = "Nothing of their stores is changed or healed until a replica takes them over.";
    Some(Banner { advice, ..Banner::new("bad", title, &words) })
}

/// Says above everything else what holds the whole fleet back.
fn banners(fleet: &FleetReport, now: i64) -> Vec<Banner> {
    let FleetReport {
        revision: _,
        signer: _,
        distrust,
        frozen,
        removals_refused,
        problems,
        ready,
        not_asked,
        held_until,
        admission,
        paused,
        window,
        forge,
        journal,
        domain: _,
        domains: _,
        cluster: _,
        elsewhere: _,
        strays,
        replicas,
    } = fleet;
    let mut banners = Vec::new();
    let mut say = |class, title: &str, words: &Option<String>, advice| {
        if let Some(words) = words {
            banners.push(Banner { advice, ..Banner::new(class, title, words) });
        }
    };
    say("bad", "Newer commits are not followed", frozen, "Stores stay as they are until this is over.");
    say("warn", "The commit in force is not believed", distrust, "");
    say("warn", "Removals are refused", removals_refused, "");
    say("warn", "Namespaces are left alone", strays, "");
    say("warn", "The forge is not told everything", forge, "It is tried again; stores do not wait for it.");
    say(
        "warn",
        "The journal is not written",
        journal,
        "What happens waits in memory until it can be; stores do not wait for it.",
    );
    say("info", "New stores wait for their admission", admission, "");
    say(
        "info",
        "Paused",
        paused,
        "Nothing of it is changed or healed until then, or until a commit ends the pause.",
    );
    say("info", "Change windows", window, "");
    let asked =
        not_asked.as_ref().map(|reason| format!("Every workload of a READY store runs, but {reason}."));
    say("info", "READY is what the cluster says", &asked, "");
    banners.extend(held_until.map(|until| held_banner(until, now)));
    banners.extend(replicas.as_ref().and_then(unkept));
    banners.extend(problems_banner(problems));
    banners.extend((!ready).then(|| Banner::new("info", "Starting", STARTING)));
    banners
}

fn held_banner(until: i64, now: i64) -> Banner {
    let words = "It has more requests than it can take; none is sent until then.";
    let until = Some(Moment::until(until, now));
    Banner { until, ..Banner::new("info", "The API server asked us to wait", words) }
}

fn problems_banner(problems: &[String]) -> Option<Banner> {
    let title = format!("{} in files that name no store", plural(problems.len(), "problem"));
    (!problems.is_empty()).then(|| Banner { words: problems.to_vec(), ..Banner::new("warn", title, "") })
}
