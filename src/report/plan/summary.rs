//! A plan in one line.

use super::lines::{printable, shortened};
use super::{PlanReport, PlanVerdict, StoreAction, StorePlanReport};

/// How many characters a forge shows of a commit status' description.
const MOST: usize = 140;

impl PlanReport {
    /// Says how the plan ends, in one line of at most 140 characters.
    pub fn summary(&self) -> String {
        let line = match self.verdict {
            PlanVerdict::Nothing => "nothing would change".to_owned(),
            PlanVerdict::Changes => format!("{}: {}", self.counts(), self.names()),
            PlanVerdict::Blocked => format!("blocked: {}", self.blocked.join("; ")),
            PlanVerdict::Wrong => self.first_trouble(),
        };
        cut(&line)
    }

    /// Counts what would be done, as `2 to add, 1 to change, 1 to remove`.
    pub fn counts(&self) -> String {
        let count = |action| self.stores.iter().filter(|store| store.action == action).count();
        let more = self.truncated.stores;
        let counted = [
            (count(StoreAction::Add), "to add"),
            (count(StoreAction::Change) + more, "to change"),
            (count(StoreAction::Remove), "to remove"),
            (count(StoreAction::Keep), "kept against the change"),
            (count(StoreAction::Wrong) + self.problems.len(), "wrong"),
        ];
        let parts: Vec<_> = counted
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, words)| format!("{count} {words}"))
            .collect();
        if parts.is_empty() { "nothing to change".to_owned() } else { parts.join(", ") }
    }

    fn names(&self) -> String {
        self.stores.iter().map(|store| store.store.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn first_trouble(&self) -> String {
        let count = self.problems.len() + self.stores.iter().filter(|store| store.is_wrong()).count();
        let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        let problem = self.problems.first().map(ToString::to_string);
        let trouble = || {
            let store = self.stores.iter().find(|store| store.is_wrong())?;
            Some(format!("store {}: {}", store.store, store.trouble.as_deref().unwrap_or("would fail")))
        };
        let first = problem.or_else(trouble).unwrap_or_else(|| "it can't be planned".to_owned());
        let room = MOST.saturating_sub(more.chars().count() + "wrong: ".len());
        format!("wrong: {}{more}", shortened(&first, room))
    }
}

impl StorePlanReport {
    pub(super) fn is_wrong(&self) -> bool {
        self.action == StoreAction::Wrong
    }
}

/// Keeps a line within what a status shows.
fn cut(line: &str) -> String {
    shortened(&printable(&line.replace('\n', " ")), MOST)
}
