//! Keeps every log line one line, whatever commits, authors and API servers write into it.

use std::io::{self, Stderr, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Writes to standard error. What would begin a line, move the cursor or turn the direction of text is written as an escape
/// that JSON knows, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// Whether colours are written, which begin with an escape character. Those of others are escaped before they come here.
    pub(super) in_colour: bool,
}

/// One event's line.
pub(super) struct Line {
    out: Stderr,
    in_colour: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { out: io::stderr(), in_colour: self.in_colour }
    }
}

impl Write for Line {
    /// Takes a whole event, as tracing writes it.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.out.write_all(one_line(&text, self.in_colour).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Escapes what does not belong into a line; its end stays.
fn one_line(event: &str, in_colour: bool) -> String {
    use std::fmt::Write as _;
    let (text, end) = event.strip_suffix('\n').map_or((event, ""), |text| (text, "\n"));
    let mut line = String::with_capacity(event.len());
    for c in text.chars() {
        match c {
            '\u{1b}' if in_colour => line.push(c),
            '\n' => line.push_str("\\n"),
            _ if is_unfit(c) => _ = write!(line, "\\u{:04x}", u32::from(c)),
            _ => line.push(c),
        }
    }
    line + end
}

/// Whether a character is no part of a text that people read from left to right.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_what_moves_text_about() {
        let event = "warn: subject\n{\"level\":\"INFO\"}\r\u{1b}[2K \u{202e}evil\u{2069}\u{9b}31m\n";
        assert_eq!(
            one_line(event, false),
            "warn: subject\\n{\"level\":\"INFO\"}\\u000d\\u001b[2K \\u202eevil\\u2069\\u009b31m\n"
        );
        assert_eq!(one_line("\u{1b}[32m INFO\u{1b}[0m ä → ✓\n", true), "\u{1b}[32m INFO\u{1b}[0m ä → ✓\n");
    }

    #[test]
    fn a_json_line_stays_json_and_says_the_same() {
        let event = serde_json::json!({ "message": "a\n\u{202e}b\u{2028}" });
        let line = one_line(&format!("{event}\n"), false);
        assert!(!line.contains('\u{202e}'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), event);
    }
}
