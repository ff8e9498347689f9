//! Builds HTML that can't hold what it was not meant to: markup comes from string literals only, everything else
//! is text and gets escaped.

use std::fmt::{self, Display, Write};

/// A piece of HTML under construction.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup. `'static` keeps out every text that is made while the program runs.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, escaped for an element's content and for a quoted attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        write!(Escape(&mut self.0), "{text}").expect("a String takes every write");
        self
    }

    /// Returns the HTML.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(character),
                // HTML has no place for the other control characters, and messages carry terminal colours.
                _ if character.is_control() => self.0.push(char::REPLACEMENT_CHARACTER),
                // What turns the direction of text would show something else than is there.
                '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    self.0.push(char::REPLACEMENT_CHARACTER);
                }
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_leave_neither_an_element_nor_a_quoted_attribute() {
        let mut html = Html::default();
        html.markup("<b>").text("</b>\"'&amp;\0\u{1b}[31m\nä\u{202e}").markup("</b>");
        let expected = "<b>&lt;/b&gt;&quot;&#39;&amp;amp;\u{fffd}\u{fffd}[31m\nä\u{fffd}</b>";
        assert_eq!(html.into_string(), expected);
    }
}
