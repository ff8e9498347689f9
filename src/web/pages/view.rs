//! What pages have in common, as templates take it.

use crate::report::{CommitState, Origin, PlanVerdict, StoreState};
use crate::web::Version;
use crate::web::links::Links;
use crate::web::when::{rfc3339, span};

/// How much of a revision is shown: what git abbreviates to in a repository of middling size.
const REVISION_LENGTH: usize = 8;

/// What is around every page.
#[derive(Debug, Clone)]
pub(in crate::web) struct Shell {
    /// What stands in the browser's tab.
    pub(in crate::web) title: String,
    /// The way from the page up to the root of ours, which may lie anywhere.
    pub(in crate::web) root: String,
    /// Which entry of the menu this is.
    pub(in crate::web) here: &'static str,
    pub(in crate::web) style: String,
    pub(in crate::web) script: String,
    /// What the page shows, as a version; none when it is not kept up to date.
    pub(in crate::web) live: Option<String>,
}

impl Shell {
    /// Describes a page that lies so many folders deep.
    pub(in crate::web) fn new(title: String, depth: usize, here: &'static str) -> Self {
        let root = if depth == 0 { "./".to_owned() } else { "../".repeat(depth) };
        let (style, script) = super::asset_links(&root);
        Self { title, root, here, style, script, live: None }
    }

    /// Says that the page is kept up to date, from this version on.
    pub(in crate::web) fn live(self, version: Version) -> Self {
        Self { live: Some(version.to_string()), ..self }
    }
}

/// A moment, with the words that stand for it until the reader's own machine puts its own there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct Moment {
    pub(in crate::web) exact: String,
    pub(in crate::web) shown: String,
    /// How it is shown: `ago`, `in` or `for`.
    pub(in crate::web) form: &'static str,
}

impl Moment {
    /// Shows how long ago it was.
    pub(in crate::web) fn ago(at: i64, now: i64) -> Self {
        let shown = format!("{} ago", span(now.saturating_sub(at)));
        Self { exact: rfc3339(at), shown, form: "ago" }
    }

    /// Shows how long it lasts.
    pub(in crate::web) fn since(at: i64, now: i64) -> Self {
        Self { exact: rfc3339(at), shown: span(now.saturating_sub(at)), form: "for" }
    }

    /// Shows how long it is until then.
    pub(in crate::web) fn until(at: i64, now: i64) -> Self {
        let left = at.saturating_sub(now);
        let shown = if left > 0 { format!("in {}", span(left)) } else { "now".to_owned() };
        Self { exact: rfc3339(at), shown, form: "in" }
    }
}

/// A state by word, sign and colour, so that no reader depends on one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) struct StateView {
    pub(in crate::web) word: &'static str,
    pub(in crate::web) sign: &'static str,
    pub(in crate::web) class: &'static str,
    /// The colour where there is no style sheet, dark enough for white letters.
    pub(in crate::web) colour: &'static str,
}

impl StateView {
    /// A store that nothing is known of.
    pub(in crate::web) const UNKNOWN: Self =
        Self { word: "UNKNOWN", sign: "?", class: "requested", colour: "#5a6472" };

    /// Shows a store's state.
    pub(in crate::web) fn of(state: StoreState) -> Self {
        let (sign, class, colour) = match state {
            StoreState::Requested => ("○", "requested", "#4d5868"),
            StoreState::Provisioning => ("◐", "provisioning", "#1857b6"),
            StoreState::Ready => ("●", "ready", "#17683a"),
            StoreState::Degraded => ("◍", "degraded", "#9c4300"),
            StoreState::Failed => ("✕", "failed", "#b3201c"),
            StoreState::Paused => ("‖", "paused", "#6b3fa0"),
            StoreState::Deleting => ("⊖", "deleting", "#86510a"),
        };
        Self { word: state.as_str(), sign, class, colour }
    }

    /// Shows what became of a commit.
    pub(in crate::web) fn of_commit(state: CommitState) -> Self {
        match state {
            CommitState::Pending => Self { word: "Pending", ..Self::of(StoreState::Provisioning) },
            CommitState::Success => Self { word: "Done", ..Self::of(StoreState::Ready) },
            CommitState::Failure => Self { word: "Failed", ..Self::of(StoreState::Failed) },
        }
    }

    /// Shows how a plan ends.
    pub(in crate::web) fn of_plan(verdict: PlanVerdict) -> Self {
        match verdict {
            PlanVerdict::Nothing => Self { word: "NOTHING", ..Self::of(StoreState::Requested) },
            PlanVerdict::Changes => Self { word: "CHANGES", ..Self::of(StoreState::Ready) },
            PlanVerdict::Blocked => Self { word: "BLOCKED", sign: "⊖", ..Self::of(StoreState::Degraded) },
            PlanVerdict::Wrong => Self { word: "WRONG", ..Self::of(StoreState::Failed) },
        }
    }
}

/// A commit, with the pages that tell more of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct CommitView {
    pub(in crate::web) revision: String,
    pub(in crate::web) short: String,
    /// Where the forge shows it.
    pub(in crate::web) forge: Option<String>,
    pub(in crate::web) author: String,
    pub(in crate::web) signer: Option<String>,
    /// The pull request, and where the forge shows that.
    pub(in crate::web) pull: Option<(u64, Option<String>)>,
}

impl CommitView {
    /// Shows a commit of which only the id is known.
    pub(in crate::web) fn new(revision: &str, links: Option<&Links>) -> Self {
        Self {
            revision: revision.to_owned(),
            short: short(revision),
            forge: links.map(|links| links.commit(revision)),
            author: String::new(),
            signer: None,
            pull: None,
        }
    }

    /// Shows where something comes from.
    pub(in crate::web) fn of(origin: &Origin, links: Option<&Links>) -> Self {
        let Origin { revision, author, signer, pull } = origin;
        let pull = pull.map(|number| (number, links.map(|links| links.pull(number))));
        Self { author: author.clone(), signer: signer.clone(), pull, ..Self::new(revision, links) }
    }
}

/// An address of a shop: a link only where a browser fetches it, for `javascript:` and its kin stay text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct Address {
    pub(in crate::web) url: String,
    /// The usual scheme says nothing; `http://` stays to be seen.
    pub(in crate::web) shown: String,
    pub(in crate::web) is_link: bool,
}

impl Address {
    /// Shows an address.
    pub(in crate::web) fn new(url: &str) -> Self {
        let is =
            |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        let shown = url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/');
        Self { url: url.to_owned(), shown: shown.to_owned(), is_link: is("https://") || is("http://") }
    }
}

/// Something that holds for all stores, above them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct Banner {
    /// `bad`, `warn`, `info` or `good`.
    pub(in crate::web) class: &'static str,
    pub(in crate::web) title: String,
    pub(in crate::web) words: Vec<String>,
    /// What to do about it, where that is not in the words.
    pub(in crate::web) advice: &'static str,
    /// Until when it holds.
    pub(in crate::web) until: Option<Moment>,
}

impl Banner {
    /// Says something in one sentence.
    pub(in crate::web) fn new(
        class: &'static str,
        title: impl Into<String>,
        words: impl Into<String>,
    ) -> Self {
        Self { class, title: title.into(), words: vec![words.into()], advice: "", until: None }
    }
}

/// Shortens a revision.
pub(in crate::web) fn short(revision: &str) -> String {
    revision.chars().take(REVISION_LENGTH).collect()
}

/// Counts in words.
pub(in crate::web) fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Writes how long something took, in milliseconds, as people say it.
pub(in crate::web) fn took(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => {
            #[expect(clippy::cast_precision_loss, reason = "below a minute every tenth of a second fits")]
            let seconds = milliseconds as f64 / 1_000.0;
            format!("{seconds:.1} s")
        }
        _ => span(i64::try_from(milliseconds / 1_000).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_browser_fetches_is_a_link() {
        for (url, is_link) in [
            ("https://a.example/", true),
            ("HTTP://a.example", true),
            ("javascript:alert(1)", false),
            (" https://a.example", false),
            ("data:text/html,x", false),
            ("ä", false),
        ] {
            assert_eq!(Address::new(url).is_link, is_link, "{url}");
        }
        assert_eq!(Address::new("https://a.example/").shown, "a.example");
    }

    #[test]
    fn what_took_long_is_told_shortly() {
        assert_eq!([took(7), took(1_240), took(61_000)], ["7 ms", "1.2 s", "1m 1s"]);
    }
}
