//! Renders the page: one plain document without scripts or outside resources, legible by itself.

use std::fmt::Display;
use std::sync::LazyLock;

use axum::http::HeaderValue;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::html::Html;
use super::when::{rfc3339, span};
use crate::names::STORES_FOLDER;
use crate::report::{FleetReport, Picture, StoreReport, StoreState};

const STYLE: &str = include_str!("style.css");

/// How much of a revision is shown: what git abbreviates to in a repository of middling size.
pub(super) const REVISION_LENGTH: usize = 8;

/// Allows the page's own style sheet, by its hash, and nothing else.
pub(super) static CONTENT_SECURITY_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 is fit for a header")
});

/// Renders the picture as of `now`, in seconds since 1970.
pub(super) fn render(picture: &Picture, now: i64) -> String {
    let Picture { fleet, stores, .. } = picture;
    let mut html = Html::default();
    // First what a narrow browser tab should tell.
    let all = plural(picture.stores.len(), "store");
    match in_state(picture, StoreState::Failed) {
        0 => head(&mut html, all, true),
        failed => head(&mut html, format_args!("{failed} failed · {all}"), true),
    }
    html.markup("<body>\n<header>\n<h1>storekeeper</h1>\n<p>");
    if let Some(revision) = &fleet.revision {
        html.markup("git at <a href=\"commits/").text(revision).markup("\">");
        commit(&mut html, revision);
        html.markup("</a>");
        if let Some(signer) = &fleet.signer {
            html.text(format_args!(", signed by {signer}"));
        }
        html.markup(" · ");
    }
    html.markup("as of ");
    moment(&mut html, now, rfc3339(now));
    html.markup(" · refreshes every 5 s</p>\n</header>\n<main>\n");
    banners(&mut html, fleet);
    if stores.is_empty() {
        nothing_yet(&mut html, fleet.ready);
    } else {
        counts(&mut html, picture);
        table(&mut html, picture, now);
    }
    html.markup("</main>\n<footer>Changes go through git; this page only shows. <a href=\"plans\">plans</a> · For programs: ")
        .markup("<a href=\"api/v1/stores\">stores</a> <a href=\"metrics\">metrics</a> ")
        .markup("<a href=\"metrics/summary\">summary</a></footer>\n</body>\n</html>\n");
    html.into_string()
}

/// Begins a page: everything up to its body. One that `refreshes` is loaded anew every 5 seconds.
pub(super) fn head(html: &mut Html, title: impl Display, refreshes: bool) {
    html.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .markup("<meta name=\"color-scheme\" content=\"light dark\">\n");
    if refreshes {
        html.markup("<meta http-equiv=\"refresh\" content=\"5\">\n");
    }
    html.markup("<title>").text(title).markup(" · storekeeper</title>\n<style>");
    html.markup(STYLE).markup("</style>\n</head>\n");
}

/// Begins a page that does not refresh itself, its body included.
pub(super) fn begin(html: &mut Html, title: std::fmt::Arguments<'_>) {
    head(html, title, false);
    html.markup("<body>\n");
}

fn warning(html: &mut Html, title: &'static str, reason: Option<&str>) {
    if let Some(reason) = reason {
        html.markup("<section class=\"banner warn\"><h2>").markup(title).markup("</h2><p>");
        html.text(reason).markup("</p></section>\n");
    }
}

fn notice(html: &mut Html, title: &str, words: Option<&str>) {
    if let Some(words) = words {
        html.markup("<section class=\"banner info\"><h2>").text(title).markup("</h2><p>");
        html.text(words).markup("</p></section>\n");
    }
}

/// Says above everything else what holds the whole fleet back.
fn banners(html: &mut Html, fleet: &FleetReport) {
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
    } = fleet;
    if let Some(reason) = frozen {
        html.markup("<section class=\"banner bad\"><h2>Newer commits are not followed</h2><p>");
        html.text(reason).markup("</p></section>\n");
    }
    if let Some(reason) = distrust {
        html.markup("<section class=\"banner warn\"><h2>The commit in force is not believed</h2><p>");
        html.text(reason).markup("</p></section>\n");
    }
    if let Some(until) = held_until {
        html.markup("<section class=\"banner info\"><h2>The API server asked us to wait</h2><p>It has more requests than \
                     it can take; none is sent until ");
        moment(html, *until, rfc3339(*until));
        html.markup(".</p></section>\n");
    }
    notice(html, "New stores wait for their admission", admission.as_deref());
    notice(html, "Paused", paused.as_deref());
    notice(html, "Change windows", window.as_deref());
    if let Some(reason) = removals_refused {
        html.markup("<section class=\"banner warn\"><h2>Removals are refused</h2><p>");
        html.text(reason).markup("</p></section>\n");
    }
    warning(html, "The forge is not told everything", forge.as_deref());
    warning(html, "The journal is not written", journal.as_deref());
    if !problems.is_empty() {
        html.markup("<section class=\"banner warn\"><h2>");
        html.text(plural(problems.len(), "problem")).markup(" in files that name no store</h2><ul>");
        for problem in problems {
            html.markup("<li>").text(problem).markup("</li>");
        }
        html.markup("</ul></section>\n");
    }
    if let Some(reason) = not_asked {
        html.markup("<section class=\"banner info\"><h2>READY is what the cluster says</h2><p>")
            .text(format_args!("Every workload of a READY store runs, but {reason}."))
            .markup("</p></section>\n");
    }
    if !ready {
        html.markup("<section class=\"banner info\"><h2>Starting</h2><p>The first pass over all stores is ")
            .markup("not finished; what stands here is incomplete.</p></section>\n");
    }
}

fn nothing_yet(html: &mut Html, ready: bool) {
    html.markup("<section class=\"empty\">");
    if ready {
        html.markup("<h2>No stores yet</h2><p>Add <code>")
            .text(format_args!("{STORES_FOLDER}/<name>.yaml"))
            .markup("</code> to the watched branch and push: each such file becomes a store.</p>");
    } else {
        html.markup("<h2>No stores seen yet</h2><p>They appear as the first pass finds them.</p>");
    }
    html.markup("</section>\n");
}

fn counts(html: &mut Html, picture: &Picture) {
    html.markup("<ul class=\"counts\" aria-label=\"Stores by state\">\n");
    for state in StoreState::ALL {
        let count = in_state(picture, state);
        html.markup(if count == 0 { "<li class=\"none\"><b>" } else { "<li><b>" });
        html.text(count).markup("</b> ");
        badge(html, state);
        html.markup("</li>\n");
    }
    html.markup("</ul>\n");
}

fn table(html: &mut Html, picture: &Picture, now: i64) {
    html.markup("<table>\n<caption>").text(plural(picture.stores.len(), "store"));
    html.markup(", by name</caption>\n<thead><tr>");
    html.markup("<th scope=\"col\">Store</th><th scope=\"col\">State</th><th scope=\"col\">URL</th>")
        .markup("<th scope=\"col\">Revision</th><th scope=\"col\">In state</th><th scope=\"col\">Age</th>")
        .markup("<th scope=\"col\">Last error</th></tr></thead>\n<tbody>\n");
    for store in picture.stores.values() {
        row(html, store, now);
    }
    html.markup("</tbody>\n</table>\n");
}

fn row(html: &mut Html, store: &StoreReport, now: i64) {
    let StoreReport {
        name,
        display_name,
        state,
        reason,
        since,
        url,
        revision,
        applied_revision,
        created,
        last_error,
        next_retry,
        answered,
        deletes_at,
        step: _, // The reason begins with it.
    } = store;
    html.markup("<tr><th scope=\"row\"><a href=\"stores/").text(name).markup("\">").text(name);
    html.markup("</a>");
    if let Some(display_name) = display_name {
        html.markup("<small>").text(display_name).markup("</small>");
    }
    html.markup("</th><td data-label=\"State\" class=\"words\">");
    badge(html, *state);
    // A failed store's reason is its last error; one column is enough for it.
    if last_error.as_ref() != Some(reason) {
        html.markup("<small>").text(reason).markup("</small>");
    }
    deletion(html, *deletes_at, now);
    html.markup("</td><td data-label=\"URL\" class=\"url\">");
    address(html, url.as_deref());
    if let Some(answered) = answered {
        html.markup("<small>answered ");
        moment(html, *answered, format!("{} ago", span(now.saturating_sub(*answered))));
        html.markup("</small>");
    }
    html.markup("</td><td data-label=\"Revision\">");
    revisions(html, revision.as_deref(), applied_revision.as_deref());
    html.markup("</td><td data-label=\"In state\" class=\"time\">");
    moment(html, *since, span(now.saturating_sub(*since)));
    html.markup("</td><td data-label=\"Age\" class=\"time\">");
    match created {
        Some(created) => moment(html, *created, span(now.saturating_sub(*created))),
        None => nothing(html),
    }
    html.markup("</td><td data-label=\"Last error\" class=\"words\">");
    match last_error {
        Some(error) => _ = html.markup("<div class=\"error\">").text(error).markup("</div>"),
        None => nothing(html),
    }
    if let Some(retry) = next_retry {
        html.markup("<small>next try ");
        countdown(html, *retry, now);
        html.markup("</small>");
    }
    html.markup("</td></tr>\n");
}

fn deletion(html: &mut Html, at: Option<i64>, now: i64) {
    if let Some(at) = at {
        html.markup("<small>deleted ");
        countdown(html, at, now);
        html.markup("</small>");
    }
}

/// Shows a state by word, sign and colour, so that no reader depends on one of them.
pub(super) fn badge(html: &mut Html, state: StoreState) {
    html.markup(match state {
        StoreState::Requested => "<span class=\"state requested\"><i aria-hidden=\"true\">○</i> ",
        StoreState::Provisioning => "<span class=\"state provisioning\"><i aria-hidden=\"true\">◐</i> ",
        StoreState::Ready => "<span class=\"state ready\"><i aria-hidden=\"true\">●</i> ",
        StoreState::Degraded => "<span class=\"state degraded\"><i aria-hidden=\"true\">◍</i> ",
        StoreState::Failed => "<span class=\"state failed\"><i aria-hidden=\"true\">✕</i> ",
        StoreState::Paused => "<span class=\"state paused\"><i aria-hidden=\"true\">‖</i> ",
        StoreState::Deleting => "<span class=\"state deleting\"><i aria-hidden=\"true\">⊖</i> ",
    });
    html.text(state.as_str()).markup("</span>");
}

/// Makes a link only of what a browser fetches: `javascript:` and its kin stay text.
pub(super) fn address(html: &mut Html, url: Option<&str>) {
    let Some(url) = url else { return nothing(html) };
    let is = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if is("https://") || is("http://") {
        html.markup("<a rel=\"noopener noreferrer\" href=\"").text(url).markup("\">");
        // The usual scheme says nothing; `http://` stays to be seen.
        html.text(url.strip_prefix("https://").unwrap_or(url)).markup("</a>");
    } else {
        html.text(url);
    }
}

fn revisions(html: &mut Html, wanted: Option<&str>, applied: Option<&str>) {
    match wanted {
        Some(wanted) => commit(html, wanted),
        None => nothing(html),
    }
    if let Some(applied) = applied.filter(|applied| Some(*applied) != wanted) {
        html.markup("<small>applied ");
        commit(html, applied);
        html.markup("</small>");
    }
}

pub(super) fn commit(html: &mut Html, revision: &str) {
    let short: String = revision.chars().take(REVISION_LENGTH).collect();
    html.markup("<code title=\"").text(revision).markup("\">").text(short).markup("</code>");
}

pub(super) fn moment(html: &mut Html, seconds: i64, shown: String) {
    let exact = rfc3339(seconds);
    html.markup("<time datetime=\"").text(&exact).markup("\" title=\"").text(&exact).markup("\">");
    html.text(shown).markup("</time>");
}

fn countdown(html: &mut Html, at: i64, now: i64) {
    let left = at.saturating_sub(now);
    moment(html, at, if left > 0 { format!("in {}", span(left)) } else { "now".to_owned() });
}

pub(super) fn nothing(html: &mut Html) {
    html.markup("<span class=\"none\">–</span>");
}

fn in_state(picture: &Picture, state: StoreState) -> usize {
    picture.stores.values().filter(|store| store.state == state).count()
}

pub(super) fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
