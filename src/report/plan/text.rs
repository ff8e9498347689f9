//! A plan for a terminal.

use std::fmt::Write as _;

use super::{LostKind, ObjectAction, PlanReport, StoreAction, StorePlanReport};

impl PlanReport {
    /// Writes the plan for a terminal, in colour where that is asked for.
    pub fn text(&self, colour: bool) -> String {
        let _ = colour;
        let mut out = String::new();
        for problem in &self.problems {
            let _ = writeln!(out, "! {problem}");
        }
        for store in &self.stores {
            let _ = writeln!(out, "{} store {}", store.action.sign(), store.store);
            of_store(&mut out, store);
        }
        for words in &self.blocked {
            let _ = writeln!(out, "! {words}");
        }
        for words in &self.warnings {
            let _ = writeln!(out, "note: {words}");
        }
        let count = |action| self.stores.iter().filter(|store| store.action == action).count();
        let _ = writeln!(
            out,
            "{} to add, {} to change, {} to remove, {} removals refused, {} wrong",
            count(StoreAction::Add),
            count(StoreAction::Change) + self.truncated.stores,
            count(StoreAction::Remove),
            count(StoreAction::Keep),
            count(StoreAction::Wrong) + self.problems.len()
        );
        out
    }
}

fn of_store(out: &mut String, store: &StorePlanReport) {
    if let Some(trouble) = &store.trouble {
        let _ = writeln!(out, "    {trouble}");
    }
    for object in &store.objects {
        let _ = writeln!(out, "    {} {}/{}", object.action.sign(), object.kind, object.name);
    }
    for lost in &store.lost {
        let what = match lost.what {
            LostKind::Namespace => "namespace",
            LostKind::Volume => "volume",
        };
        let _ = writeln!(out, "    - {what} {}", lost.name);
    }
    if let Some(when) = &store.when {
        let _ = writeln!(out, "    {when}");
    }
}

impl StoreAction {
    /// Returns the sign that stands before it.
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
            Self::Keep | Self::Wrong => '!',
        }
    }
}

impl ObjectAction {
    /// Returns the sign that stands before it.
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
            Self::Recreate => '±',
            Self::Refused => '!',
        }
    }
}
