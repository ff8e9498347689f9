//! Texts that are shown on a forge: what marks them as ours, and how they are kept from being anything but text.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::error::ForgeError;
use super::settings::ForgeKind;
use crate::report::Annotation;

/// How many characters of an annotation are shown.
const MESSAGE_MAX: usize = 2_000;

/// What stands where a comment was cut.
const CUT: &str = "\n\n… (cut: this forge takes no longer comment)";

/// A line that a reader does not see, by which a comment is found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    line: String,
}

impl Marker {
    /// Takes `<!-- words -->` over. Bitbucket shows HTML comments, so there it becomes the definition of a link that nobody
    /// uses.
    pub(super) fn new(kind: ForgeKind, comment: &str) -> Result<Self, ForgeError> {
        let words =
            comment.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")).map(str::trim);
        let inner = |c: char| c.is_ascii_alphanumeric() || " -_.:/=".contains(c);
        let words =
            words.filter(|words| !words.is_empty() && !words.contains("--") && words.chars().all(inner));
        let words = words.ok_or_else(|| ForgeError::Unfit {
            act: "mark a comment".to_owned(),
            reason: "a marker is one line `<!-- words -->`".to_owned(),
        })?;
        Ok(Self {
            line: match kind {
                ForgeKind::GitHub | ForgeKind::GitLab | ForgeKind::Gitea => format!("<!-- {words} -->"),
                ForgeKind::Bitbucket => format!("[//]: # ({words})"),
            },
        })
    }

    /// Makes the marker of one annotation, or of several together. `ours` are the words that such markers of ours begin with.
    pub(super) fn of(ours: &str, hash: &str) -> Self {
        Self { line: format!("<!-- {ours} {hash} -->") }
    }

    /// Tells whether a comment begins with it.
    pub(super) fn begins(&self, body: &str) -> bool {
        body.trim_start()
            .strip_prefix(&self.line)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['\r', '\n']))
    }

    /// Puts it before a text and cuts the whole to what the forge takes.
    pub(super) fn before(&self, kind: ForgeKind, text: &str) -> String {
        let gap = if kind == ForgeKind::Bitbucket { "\n\n" } else { "\n" };
        let text = text.trim();
        let text = if self.begins(text) { text[self.line.len()..].trim_start() } else { text };
        let text = if kind == ForgeKind::GitLab { without_quick_actions(text) } else { text.to_owned() };
        cut(&format!("{}{gap}{text}", self.line), kind.comment_max())
    }
}

/// Returns the hash of [`Marker::of`] in a comment's first line.
pub(super) fn marked<'b>(ours: &str, body: &'b str) -> Option<&'b str> {
    let line = body.trim_start().lines().next()?.trim();
    line.strip_prefix("<!-- ")?.strip_prefix(ours)?.strip_prefix(' ')?.strip_suffix(" -->")
}

/// Tells whether two comments say the same: forges change the ends of lines and of the text.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.replace("\r\n", "\n").trim() == other.replace("\r\n", "\n").trim()
}

/// Shows a text in a Markdown comment as it is: in a block of code, where neither markup nor mentions nor commands mean
/// anything, behind more backticks than the text has in a row.
pub(super) fn fenced(text: &str) -> String {
    let text = plain(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}\n{fence}")
}

/// Returns what an annotation says as lines of printable characters.
pub(super) fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| crate::report::one_line(line, MESSAGE_MAX));
    let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    match text.char_indices().nth(MESSAGE_MAX) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Names an annotation, whatever pull request it is in.
pub(super) fn hash(annotation: &Annotation) -> String {
    hash_all("", std::slice::from_ref(annotation))
}

/// Names annotations of a commit together.
pub(super) fn hash_all(head: &str, annotations: &[Annotation]) -> String {
    let text = serde_json::json!([head, annotations]).to_string();
    hex(&Sha256::digest(text.as_bytes())[..16])
}

/// Writes bytes as lower-case digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a text can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// GitLab carries out lines such as `/merge` and `/approve`, as whoever wrote them. Such lines get a backslash, which is
/// not shown; in blocks of code they mean nothing and stay as they are.
fn without_quick_actions(text: &str) -> String {
    let mut fence: Option<String> = None;
    let lines = text.split('\n').map(|line| {
        let start = line.trim_start();
        let ticks: String = start.chars().take_while(|c| matches!(c, '`' | '~')).collect();
        match &fence {
            Some(open) if ticks.starts_with(open.as_str()) => fence = None,
            None if ticks.len() >= 3 => fence = Some(ticks),
            None if start.starts_with('/') => {
                return format!("{}\\{start}", &line[..line.len() - start.len()]);
            }
            _ => {}
        }
        line.to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Cuts at the end of a line, where there is one.
fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let room: String = text.chars().take(max - CUT.chars().count()).collect();
    let end = room.rfind('\n').unwrap_or(room.len());
    format!("{}{CUT}", &room[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::files_marker;

    #[test]
    fn a_marker_is_a_line_that_nobody_sees() {
        let marker = Marker::new(ForgeKind::GitHub, "<!-- storekeeper:plan -->").unwrap();
        let body = marker.before(ForgeKind::GitHub, "text\n");
        assert_eq!(body, "<!-- storekeeper:plan -->\ntext");
        assert!(marker.begins(&body) && marker.begins(&body.replace('\n', "\r\n")));
        assert_eq!(marker.before(ForgeKind::GitHub, &body), body, "it is put once");
        assert!(
            !marker.begins("I saw <!-- storekeeper:plan -->") && !marker.begins("<!-- storekeeper:plan -->x")
        );
        let marker = Marker::new(ForgeKind::Bitbucket, "<!-- storekeeper:plan -->").unwrap();
        assert_eq!(marker.before(ForgeKind::Bitbucket, "text"), "[//]: # (storekeeper:plan)\n\ntext");
        for bad in ["", "plan", "<!-- -->", "<!-- a --> b", "<!-- a -- b -->", "<!-- a\nb -->", "<!-- ) -->"]
        {
            assert!(Marker::new(ForgeKind::GitHub, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_marker_of_an_annotation_is_found_again() {
        let (ours, others) = (files_marker(None), files_marker(Some(&"eu-1".parse().unwrap())));
        let body = Marker::of(&ours, "0a1b").before(ForgeKind::GitHub, "text");
        assert_eq!((marked(&ours, &body), marked(&others, &body)), (Some("0a1b"), None));
        let body = Marker::of(&others, "0a1b").before(ForgeKind::GitHub, "text");
        assert_eq!((marked(&ours, &body), marked(&others, &body)), (None, Some("0a1b")));
        assert_eq!(marked(&ours, "text\n<!-- storekeeper:files 0a1b -->"), None);
    }

    #[test]
    fn a_comment_is_cut_to_what_the_forge_takes() {
        let marker = Marker::new(ForgeKind::Bitbucket, "<!-- m -->").unwrap();
        let body = marker.before(ForgeKind::Bitbucket, &"ä line of text\n".repeat(4_000));
        assert!(body.chars().count() <= 32_768 && body.chars().count() > 32_000);
        assert!(body.ends_with("ä line of text\n\n… (cut: this forge takes no longer comment)"), "{body}");
    }

    #[test]
    fn no_text_gets_out_of_its_block() {
        assert_eq!(fenced("a @b"), "```text\na @b\n```");
        assert_eq!(fenced("```\n@all\n````x"), "`````text\n```\n@all\n````x\n`````");
        assert_eq!(fenced("a\u{202e}b\u{1b}[1m\r\nc"), "```text\nab [1m\nc\n```");
        assert!(fenced(&"x".repeat(9_999)).chars().count() < 2_020);
    }

    #[test]
    fn gitlab_carries_nothing_out() {
        let text = "a\n/merge\n  /approve\n```\n/etc/x\n```\n/close";
        let marker = Marker::of("m", "1");
        let body = marker.before(ForgeKind::GitLab, text);
        assert!(body.ends_with("a\n\\/merge\n  \\/approve\n```\n/etc/x\n```\n\\/close"), "{body}");
        assert!(marker.before(ForgeKind::GitHub, text).ends_with(text));
    }

    #[test]
    fn line_ends_make_no_difference() {
        assert!(same("a\nb", "a\r\nb\r\n") && !same("a\nb", "a b"));
    }
}
