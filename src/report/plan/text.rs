//! A plan for a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::lines::{Line, of_store, printable, sentence};
use super::{LostKind, PlanReport, StoreAction, StorePlanReport};

impl PlanReport {
    /// Writes the plan for a terminal, in colour where that is asked for. Nothing in it moves the cursor.
    pub fn text(&self, colour: bool) -> String {
        let mut out = Out { text: String::new(), colour };
        for problem in &self.problems {
            out.line('!', 0, &printable(&problem.to_string()));
        }
        for store in &self.stores {
            out.line(store.action.sign(), 0, &headline(store));
            for Line { sign, depth, text, .. } in of_store(store) {
                out.line(sign, depth + 2, &text);
            }
        }
        for words in &self.blocked {
            out.sentence('!', words);
        }
        for words in &self.warnings {
            out.sentence('!', &format!("note: {words}"));
        }
        if let Some(words) = self.left_out() {
            out.line(' ', 0, &words);
        }
        let count = |action| self.stores.iter().filter(|store| store.action == action).count();
        out.line(
            ' ',
            0,
            &format!(
                "{} to add, {} to change, {} to remove, {} removals refused, {} wrong",
                count(StoreAction::Add),
                count(StoreAction::Change) + self.truncated.stores,
                count(StoreAction::Remove),
                count(StoreAction::Keep),
                count(StoreAction::Wrong) + self.problems.len()
            ),
        );
        out.text
    }

    /// Says what the plan does not list.
    pub fn left_out(&self) -> Option<String> {
        let (stores, objects) = (self.truncated.stores, self.truncated.objects);
        let stores = (stores > 0).then(|| {
            format!("{stores} more stores change; they were rendered, but not tried on the API server")
        });
        let objects = (objects > 0).then(|| format!("{objects} more objects are not listed"));
        let both: Vec<_> = stores.into_iter().chain(objects).collect();
        (!both.is_empty()).then(|| both.join("; "))
    }
}

/// Says what becomes of a store as a whole.
fn headline(store: &StorePlanReport) -> String {
    let StorePlanReport { store: name, action, lost, host, .. } = store;
    let words = match action {
        StoreAction::Remove => {
            let volumes = lost.iter().filter(|it| it.what == LostKind::Volume).count();
            let namespace = lost.iter().find(|it| it.what == LostKind::Namespace);
            let namespace = namespace.map_or_else(String::new, |it| format!("namespace {} and ", it.name));
            format!("{name}: {namespace}everything in it, volumes included ({volumes})")
        }
        StoreAction::Keep => format!("{name}: its file is gone, and it is kept: see below"),
        StoreAction::Add | StoreAction::Change | StoreAction::Wrong => match host {
            Some(host) => format!("{name} ({host})"),
            None => name.clone(),
        },
    };
    printable(&format!("store {words}"))
}

struct Out {
    text: String,
    colour: bool,
}

impl Out {
    fn line(&mut self, sign: char, depth: usize, text: &str) {
        let style = if self.colour { style(sign) } else { Style::new() };
        let indent = "  ".repeat(depth);
        let body = if sign == ' ' && depth == 0 { text.to_owned() } else { format!("{sign} {text}") };
        // A String takes every write.
        let _ = writeln!(self.text, "{indent}{}{}{}", style.render(), body.trim_end(), style.render_reset());
    }

    fn sentence(&mut self, sign: char, text: &str) {
        let mut lines = Vec::new();
        sentence(&mut lines, sign, 0, text);
        for Line { sign, depth, text, .. } in lines {
            self.line(sign, depth, &text);
        }
    }
}

fn style(sign: char) -> Style {
    let of = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match sign {
        '+' => of(AnsiColor::Green),
        '~' | '±' => of(AnsiColor::Yellow),
        '-' => of(AnsiColor::Red),
        '!' => of(AnsiColor::Red).bold(),
        _ => Style::new(),
    }
}
