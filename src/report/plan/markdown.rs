//! A plan as the comment on a pull request: GitHub's Markdown, which GitLab and Gitea show alike.
//!
//! What comes from files stands in blocks and spans of code alone, where nothing is a mention, a link or markup; and in
//! these nothing can end them.

use std::fmt::Write as _;

use super::lines::{Line, broken, of_store, printable, sentence, shortened};
use super::{LostKind, PlanReport, PlanVerdict, StoreAction, StorePlanReport};

/// How many characters a comment has at most. GitHub takes 65,536.
const MOST: usize = 60_000;

/// How many characters are kept free for what ends the comment.
const RESERVE: usize = 1_000;

/// How many rows the table has at most, and how many characters.
const MOST_ROWS: usize = 100;
const MOST_OF_TABLE: usize = 20_000;

/// How many characters what is said besides single stores has at most.
const MOST_SAID: usize = 20_000;

/// How many characters of one line are shown.
const LONGEST_LINE: usize = 2_000;

/// How many characters a span of code has at most.
const LONGEST_SPAN: usize = 260;

/// What begins and ends a block of code.
const FENCE: &str = "```";

/// How many digits of a commit are shown.
const COMMIT: usize = 7;

impl PlanReport {
    /// Writes the plan as GitHub's Markdown, at most 60,000 characters. `link` leads to its page, where the rest is.
    pub fn markdown(&self, link: Option<&str>) -> String {
        let link = link.filter(|link| is_plain(link));
        let mut out = Out { text: String::new(), length: 0, is_cut: false };
        out.add(&format!("### storekeeper plan: {}\n\n{}\n\n", self.counts(), self.verdict.words()));
        out.add(&self.origin());
        out.block(&self.sentences(), MOST_SAID);
        out.add(&self.table());
        for store in &self.stores {
            out.store(store);
        }
        let rest = match (out.is_cut, link) {
            (true, Some(link)) => format!("…the rest is on [the plan's page]({link})\n"),
            (true, None) => "…the rest is left out: `storekeeper plan` shows it\n".to_owned(),
            (false, Some(link)) => format!("[The plan's page]({link})\n"),
            (false, None) => String::new(),
        };
        out.text.push_str(&rest);
        out.text
    }

    /// Says what was planned.
    fn origin(&self) -> String {
        let short = |commit: &String| code(&commit.chars().take(COMMIT).collect::<String>());
        let Some(head) = &self.head else { return String::new() };
        let base = self.base.as_ref().map(|base| match &self.branch {
            Some(branch) => format!(", merged with {} at {}", code(branch), short(base)),
            None => format!(", merged with {}", short(base)),
        });
        format!("Planned for {}{}.\n\n", short(head), base.unwrap_or_default())
    }

    /// What there is to say besides single stores.
    fn sentences(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for problem in &self.problems {
            sentence(&mut lines, '!', 0, &problem.to_string());
        }
        for words in self.blocked.iter().chain(&self.warnings) {
            sentence(&mut lines, '!', 0, words);
        }
        if let Some(words) = self.left_out() {
            sentence(&mut lines, ' ', 0, &words);
        }
        lines
    }

    fn table(&self) -> String {
        if self.stores.is_empty() {
            return String::new();
        }
        let mut table = "| | store | address | |\n|---|---|---|---|\n".to_owned();
        let mut rows = 0;
        for store in self.stores.iter().take(MOST_ROWS) {
            if table.len() > MOST_OF_TABLE {
                break;
            }
            rows += 1;
            let host = store.host.as_deref().map(code).unwrap_or_default();
            let (name, what) = (code(&store.store), summed_up(store));
            // A String takes every write.
            let _ = writeln!(table, "| {} | {name} | {host} | {what} |", store.action.word());
        }
        if self.stores.len() > rows {
            let _ = writeln!(table, "| | and {} more | | |", self.stores.len() - rows);
        }
        table.push('\n');
        table
    }
}

impl PlanVerdict {
    /// Says what the verdict means.
    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "**Nothing would change.**",
            Self::Changes => "**Ready to merge:** this is what a merge would do.",
            Self::Blocked => "**Blocked:** the deletion budget or protection refuses a part of it.",
            Self::Wrong => "**Wrong:** something of it would fail.",
        }
    }
}

impl StoreAction {
    /// Says it in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Change => "change",
            Self::Remove => "remove",
            Self::Keep => "keep",
            Self::Wrong => "wrong",
        }
    }
}

/// Says in a few words of ours what would happen to a store.
fn summed_up(store: &StorePlanReport) -> String {
    let volumes = store.lost.iter().filter(|it| it.what == LostKind::Volume).count();
    let counted = |count: usize, noun: &str| match count {
        0 => None,
        1 => Some(format!("1 {noun}")),
        _ => Some(format!("{count} {noun}s")),
    };
    let lost = store.lost.iter().any(|it| it.what == LostKind::Namespace).then(|| "namespace".to_owned());
    let lost: Vec<_> = lost.into_iter().chain(counted(volumes, "volume")).collect();
    let parts = [
        (store.action == StoreAction::Keep).then(|| "**its removal is refused**".to_owned()),
        counted(store.objects.len(), "object"),
        (!lost.is_empty()).then(|| format!("**lost for good: {}**", lost.join(", "))),
        counted(store.warnings.len(), "warning"),
        store.trouble.is_some().then(|| "**would fail**".to_owned()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Writes a span of code that nothing in it ends.
fn code(text: &str) -> String {
    let text = shortened(&printable(text), LONGEST_SPAN).replace('`', "'").replace('|', "/");
    let text = text.trim();
    if text.is_empty() { "–".to_owned() } else { format!("`{text}`") }
}

/// Whether an address can stand in a link as it is.
fn is_plain(link: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?&=%+,".contains(c);
    (link.starts_with("https://") || link.starts_with("http://"))
        && link.chars().all(is_plain)
        && link.len() < 500
}

struct Out {
    text: String,
    /// In characters.
    length: usize,
    is_cut: bool,
}

impl Out {
    fn add(&mut self, text: &str) {
        self.text.push_str(text);
        self.length += text.chars().count();
    }

    fn room(&self) -> usize {
        (MOST - RESERVE).saturating_sub(self.length)
    }

    /// Writes what there is to say of a store, as far as there is room.
    fn store(&mut self, store: &StorePlanReport) {
        // So much that a first line fits into its block.
        if self.room() < 2 * LONGEST_LINE {
            self.is_cut = true;
            return;
        }
        let lines = of_store(store);
        if lines.is_empty() {
            return;
        }
        let open = if store.trouble.is_some() { " open" } else { "" };
        let name = tag_text(&store.store);
        let head = format!("<details{open}><summary>{} {name}</summary>\n\n", store.action.word());
        self.add(&head);
        self.block(&lines, MOST);
        self.add("</details>\n\n");
    }

    /// Writes lines as a block of code, as far as there is room and in at most so many characters.
    fn block(&mut self, lines: &[Line], most: usize) {
        if lines.is_empty() {
            return;
        }
        self.add(&format!("{FENCE}diff\n"));
        let floor = self.room().saturating_sub(most);
        for Line { sign, depth, text, .. } in lines.iter().flat_map(broken) {
            let text = shortened(&without_fences(&text), LONGEST_LINE);
            let text = format!("{sign} {}{text}", "  ".repeat(depth));
            let text = text.trim_end();
            // With what ends the block, and what it stands in.
            if self.room().saturating_sub(floor) < text.chars().count() + 30 {
                self.is_cut = true;
                self.add("…\n");
                break;
            }
            self.add(text);
            self.add("\n");
        }
        self.add(&format!("{FENCE}\n\n"));
    }
}

/// Replaces runs of backticks that could end a block of code.
fn without_fences(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains(FENCE) {
        text = text.replace(FENCE, "'''");
    }
    text
}

/// Writes a store's name into a tag. A name that is none loses what could be more than text.
fn tag_text(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.chars().take(100).map(|c| if is_plain(c) { c } else { '?' }).collect()
}
