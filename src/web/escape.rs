//! Escapes every text that a template shows. What is markup stands in templates; everything else is text and gets escaped,
//! whoever wrote it: a commit, a chart, the API server.

use std::fmt::{self, Write};

use askama::filters::Escaper;

/// Escapes for an element's content and for a quoted attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text;

impl Escaper for Text {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, character) in text.char_indices() {
            let Some(shown) = escaped(character) else { continue };
            dest.write_str(&text[plain..at])?;
            dest.write_str(shown)?;
            plain = at + character.len_utf8();
        }
        dest.write_str(&text[plain..])
    }
}

/// Returns what is shown in place of a character, if it can't be shown as it is.
fn escaped(character: char) -> Option<&'static str> {
    Some(match character {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        '\'' => "&#39;",
        '\n' | '\t' => return None,
        // HTML has no place for the other control characters, messages carry terminal colours, and what turns the direction
        // of writing makes one name look like another.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
            "\u{fffd}"
        }
        _ if character.is_control() => "\u{fffd}",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_leave_neither_an_element_nor_a_quoted_attribute() {
        let mut html = String::new();
        Text.write_escaped_str(&mut html, "</b>\"'&amp;\0\u{1b}[31m\nä\u{202e}x").unwrap();
        assert_eq!(html, "&lt;/b&gt;&quot;&#39;&amp;amp;\u{fffd}\u{fffd}[31m\nä\u{fffd}x");
    }
}
