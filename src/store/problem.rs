//! What is wrong with a file, and where, in words for the person who wrote the file.

use std::fmt;

use serde::Serialize;

/// The longest message in characters.
const MESSAGE_MAX: usize = 300;

/// The longest snippet in characters: one line of a file, cut.
const SNIPPET_MAX: usize = 160;

/// The longest piece of somebody else's text inside a message, in characters.
const QUOTE_MAX: usize = 60;

/// Something wrong with a file: where, the offending text and what would be right.
///
/// Message and snippet are one line each without control characters, so that they can go into logs, commit
/// statuses and pages as they are (a page still escapes HTML).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The path of the file in the watched repository, or `chart:<path>`.
    pub file: String,
    /// The line, from 1, where one can be named.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// What is wrong and what would be right: one line, at most 300 characters.
    pub message: String,
    /// The offending line of the file, at most 160 characters.
    pub snippet: Option<String>,
}

impl Problem {
    /// Makes a problem of a whole file.
    pub(super) fn of_file(file: &str, message: &str) -> Self {
        Self {
            file: clean(file, MESSAGE_MAX),
            line: None,
            column: None,
            message: clean(message, MESSAGE_MAX),
            snippet: None,
        }
    }

    /// Makes a problem of one place in a file.
    pub(super) fn at(file: &str, line: usize, column: usize, message: &str, snippet: Option<&str>) -> Self {
        Self {
            line: Some(line),
            column: Some(column),
            snippet: snippet
                .map(str::trim_end)
                .filter(|line| !line.is_empty())
                .map(|line| clean(line, SNIPPET_MAX)),
            ..Self::of_file(file, message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, snippet: _ } = self;
        f.write_str(file)?;
        if let Some(line) = line {
            write!(f, ":{line}")?;
            if let Some(column) = column {
                write!(f, ":{column}")?;
            }
        }
        write!(f, ": {message}")
    }
}

/// Puts somebody else's text into backticks, shortened.
pub(super) fn quote(text: &str) -> String {
    format!("`{}`", clean(text, QUOTE_MAX))
}

/// Makes one line of at most `max` characters: everything that could move a cursor, end a line or turn the
/// reading direction is escaped.
fn clean(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for character in text.chars() {
        let piece = if is_unprintable(character) {
            character.escape_unicode().to_string()
        } else {
            character.to_string()
        };
        length += piece.chars().count();
        if length > max {
            let keep = out.chars().count().min(max - 1);
            out = out.chars().take(keep).collect();
            out.push('…');
            return out;
        }
        out.push_str(&piece);
    }
    out
}

/// Says whether a character has no place in one line of text: control characters, line and paragraph
/// separators, and the marks that turn the reading direction.
pub(super) fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_like_a_compiler_message() {
        let problem = Problem::at("stores/acme.yaml", 7, 3, "unknown field `hots`", Some("  hots: x"));
        assert_eq!(problem.to_string(), "stores/acme.yaml:7:3: unknown field `hots`");
        let problem = Problem::of_file("stores/acme.yaml", "the file is empty");
        assert_eq!(problem.to_string(), "stores/acme.yaml: the file is empty");
    }

    #[test]
    fn hostile_text_stays_on_one_line_and_short() {
        let hostile = format!("a\n\u{1b}[31m\u{202e}{}", "x".repeat(10_000));
        let problem = Problem::at(&hostile, 1, 1, &hostile, Some(&hostile));
        for text in [&problem.file, &problem.message, problem.snippet.as_ref().unwrap()] {
            assert!(!text.chars().any(is_unprintable), "{text}");
            assert!(text.chars().count() <= MESSAGE_MAX, "{text}");
            assert!(text.starts_with("a\\u{a}\\u{1b}[31m\\u{202e}xxx"), "{text}");
        }
    }

    #[test]
    fn a_quote_is_cut_where_it_gets_long() {
        assert_eq!(quote("acme"), "`acme`");
        assert_eq!(quote(&"y".repeat(61)), format!("`{}…`", "y".repeat(59)));
    }
}
