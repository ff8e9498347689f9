//! Renders plans of changes: one as a page, and the newest as a list. Everything in a plan is text.

use super::html::Html;
use super::page::{self, commit, moment};
use super::when::{rfc3339, span};
use crate::report::{
    FieldChange, Lost, LostKind, ObjectAction, ObjectChange, PlanReport, PlanVerdict, StoreAction,
    StorePlanReport,
};

/// Renders one plan as of `now`, in seconds since 1970.
pub(super) fn render(plan: &PlanReport, now: i64) -> String {
    let mut html = Html::default();
    let short: String = plan.head.iter().flat_map(|head| head.chars().take(page::REVISION_LENGTH)).collect();
    page::begin(&mut html, format_args!("plan of {short}"));
    html.markup("<header>\n<h1><a href=\"../plans\">Plans</a> / ");
    html.text(&short).markup("</h1>\n<p>");
    origin(&mut html, plan, now);
    html.markup("</p>\n</header>\n<main>\n");
    verdict(&mut html, plan);
    said(&mut html, plan);
    for store in &plan.stores {
        one_store(&mut html, store);
    }
    html.markup("<p class=\"none\">")
        .text(plan.unchanged)
        .markup(" stores stay as they are.</p>\n</main>\n<footer>");
    html.markup("For programs: <a href=\"").text(plan.head.as_deref().unwrap_or_default());
    html.markup(".json\">JSON</a> <a href=\"../\">stores</a></footer>\n</body>\n</html>\n");
    html.into_string()
}

/// Renders the list of the newest plans.
pub(super) fn render_list(plans: &[impl AsRef<PlanReport>], now: i64) -> String {
    let mut html = Html::default();
    page::begin(&mut html, format_args!("plans"));
    html.markup(
        "<header>\n<h1>Plans</h1>\n<p>what pull requests would do, newest first</p>\n</header>\n<main>\n",
    );
    if plans.is_empty() {
        html.markup(
            "<section class=\"empty\"><h2>No plans yet</h2><p>Each pull request gets one, when its newest ",
        )
        .markup("commit is seen.</p></section>\n");
    } else {
        html.markup("<table>\n<caption>The newest plans</caption>\n<thead><tr><th scope=\"col\">Commit</th>")
            .markup("<th scope=\"col\">Verdict</th><th scope=\"col\">What</th><th scope=\"col\">Made</th></tr></thead>\n<tbody>\n");
        for plan in plans {
            row(&mut html, plan.as_ref(), now);
        }
        html.markup("</tbody>\n</table>\n");
    }
    html.markup(
        "</main>\n<footer>Changes go through git; this page only shows. <a href=\"./\">stores</a></footer>\n",
    );
    html.markup("</body>\n</html>\n");
    html.into_string()
}

fn row(html: &mut Html, plan: &PlanReport, now: i64) {
    let head = plan.head.as_deref().unwrap_or_default();
    html.markup("<tr><th scope=\"row\"><a href=\"plans/").text(head).markup("\">");
    commit(html, head);
    html.markup("</a>");
    if let Some(pull) = plan.pull {
        html.markup("<small>pull request ").text(pull).markup("</small>");
    }
    html.markup("</th><td data-label=\"Verdict\">");
    badge(html, plan.verdict);
    html.markup("</td><td data-label=\"What\" class=\"words\">").text(plan.summary());
    html.markup("</td><td data-label=\"Made\" class=\"time\">");
    moment(html, plan.made, format!("{} ago", span(now.saturating_sub(plan.made))));
    html.markup("</td></tr>\n");
}

fn origin(html: &mut Html, plan: &PlanReport, now: i64) {
    if let Some(pull) = plan.pull {
        html.markup("pull request ").text(pull).markup(" · ");
    }
    if let Some(base) = &plan.base {
        html.markup("merged with ");
        if let Some(branch) = &plan.branch {
            html.text(branch).markup(" at ");
        }
        commit(html, base);
        html.markup(" · ");
    }
    html.markup("made ");
    moment(html, plan.made, format!("{} ago", span(now.saturating_sub(plan.made))));
    html.markup(" (").text(rfc3339(plan.made)).markup(")");
}

/// Shows a verdict by word, sign and colour, so that no reader depends on one of them.
fn badge(html: &mut Html, verdict: PlanVerdict) {
    html.markup(match verdict {
        PlanVerdict::Nothing => {
            "<span class=\"state requested\"><i aria-hidden=\"true\">○</i> NOTHING</span>"
        }
        PlanVerdict::Changes => "<span class=\"state ready\"><i aria-hidden=\"true\">●</i> CHANGES</span>",
        PlanVerdict::Blocked => "<span class=\"state degraded\"><i aria-hidden=\"true\">⊖</i> BLOCKED</span>",
        PlanVerdict::Wrong => "<span class=\"state failed\"><i aria-hidden=\"true\">✕</i> WRONG</span>",
    });
}

fn verdict(html: &mut Html, plan: &PlanReport) {
    html.markup(match plan.verdict {
        PlanVerdict::Nothing => "<section class=\"banner info\"><h2>",
        PlanVerdict::Changes => "<section class=\"banner good\"><h2>",
        PlanVerdict::Blocked => "<section class=\"banner warn\"><h2>",
        PlanVerdict::Wrong => "<section class=\"banner bad\"><h2>",
    });
    badge(html, plan.verdict);
    html.markup("</h2><p>").text(plan.counts()).markup("</p></section>\n");
}

/// Says what is not about one store.
fn said(html: &mut Html, plan: &PlanReport) {
    let problems: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
    sentences(html, "<section class=\"banner bad\"><h2>Wrong in files</h2><ul>", &problems);
    sentences(html, "<section class=\"banner warn\"><h2>Refused</h2><ul>", &plan.blocked);
    let left_out = plan.left_out();
    let notes: Vec<_> = plan.warnings.iter().cloned().chain(left_out).collect();
    sentences(html, "<section class=\"banner info\"><h2>To know</h2><ul>", &notes);
}

fn sentences(html: &mut Html, begin: &'static str, sentences: &[String]) {
    if sentences.is_empty() {
        return;
    }
    html.markup(begin);
    for sentence in sentences {
        html.markup("<li>").text(sentence).markup("</li>");
    }
    html.markup("</ul></section>\n");
}

fn one_store(html: &mut Html, store: &StorePlanReport) {
    let StorePlanReport { store: name, display_name, action, host, objects, lost, warnings, trouble, when } =
        store;
    html.markup("<details class=\"plan\" open><summary>");
    html.markup(match action {
        StoreAction::Add => "<b class=\"add\">+ add</b> ",
        StoreAction::Change => "<b class=\"change\">~ change</b> ",
        StoreAction::Remove => "<b class=\"remove\">− remove</b> ",
        StoreAction::Keep => "<b class=\"remove\">! keep</b> ",
        StoreAction::Wrong => "<b class=\"remove\">! wrong</b> ",
    });
    html.markup("<strong>").text(name).markup("</strong> <span class=\"none\">");
    if let Some(display_name) = display_name {
        html.text(display_name).markup(" ");
    }
    if let Some(host) = host {
        html.text(host);
    }
    html.markup("</span></summary>\n");
    if *action == StoreAction::Keep {
        html.markup("<p>Its file is gone, and it is kept: its removal is refused.</p>\n");
    }
    if let Some(trouble) = trouble {
        html.markup("<p class=\"failed\">").text(trouble).markup("</p>\n");
    }
    if let Some(when) = when {
        html.markup("<p>When: ").text(when).markup("</p>\n");
    }
    if !warnings.is_empty() {
        html.markup("<ul class=\"deleting\">");
        for warning in warnings {
            html.markup("<li>").text(warning).markup("</li>");
        }
        html.markup("</ul>\n");
    }
    losses(html, lost);
    if !objects.is_empty() {
        html.markup("<ul class=\"objects\">\n");
        for object in objects {
            one_object(html, object);
        }
        html.markup("</ul>\n");
    }
    html.markup("</details>\n");
}

fn losses(html: &mut Html, lost: &[Lost]) {
    if lost.is_empty() {
        return;
    }
    html.markup("<table class=\"lost\">\n<caption>Lost for good</caption>\n<thead><tr><th scope=\"col\">What</th>")
        .markup("<th scope=\"col\">Name</th><th scope=\"col\">Size</th><th scope=\"col\">Age</th></tr></thead>\n<tbody>\n");
    for Lost { what, name, size, created, age, note } in lost {
        html.markup("<tr><td data-label=\"What\">").markup(match what {
            LostKind::Namespace => "namespace",
            LostKind::Volume => "volume",
        });
        html.markup("</td><td data-label=\"Name\"><code>").text(name).markup("</code>");
        if let Some(note) = note {
            html.markup("<small>").text(note).markup("</small>");
        }
        html.markup("</td><td data-label=\"Size\">").text(size.as_deref().unwrap_or("–"));
        html.markup("</td><td data-label=\"Age\">").text(age.as_deref().unwrap_or("–"));
        if let Some(created) = created {
            html.markup("<small>made ").text(created).markup("</small>");
        }
        html.markup("</td></tr>\n");
    }
    html.markup("</tbody>\n</table>\n");
}

fn one_object(html: &mut Html, object: &ObjectChange) {
    let ObjectChange { action, kind, name, fields, note } = object;
    html.markup("<li>").markup(match action {
        ObjectAction::Add => "<b class=\"add\">+</b> ",
        ObjectAction::Change => "<b class=\"change\">~</b> ",
        ObjectAction::Remove => "<b class=\"remove\">−</b> ",
        ObjectAction::Recreate => "<b class=\"change\">± made anew:</b> ",
        ObjectAction::Refused => "<b class=\"remove\">! refused:</b> ",
    });
    html.text(kind).markup("/").text(name);
    if let Some(note) = note {
        html.markup("<small>").text(note).markup("</small>");
    }
    if !fields.is_empty() {
        html.markup("<ul class=\"fields\">");
        for field in fields {
            one_field(html, field);
        }
        html.markup("</ul>");
    }
    html.markup("</li>\n");
}

fn one_field(html: &mut Html, field: &FieldChange) {
    let FieldChange { path, before, after } = field;
    html.markup("<li><code>").text(path).markup("</code>");
    if before == after {
        html.markup(" <span class=\"none\">another value, which is not shown</span>");
    } else {
        if let Some(before) = before {
            html.markup(" <del>").text(before).markup("</del>");
        }
        if let Some(after) = after {
            html.markup(" <ins>").text(after).markup("</ins>");
        }
    }
    html.markup("</li>");
}
