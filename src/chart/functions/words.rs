//! Text as words: cases, abbreviations, wrapping. What Sprig's helpers do byte by byte is done byte by byte.

use std::sync::LazyLock;

use regex::Regex;

use super::strings::{lower, upper};
use super::{Function, Outcome, Runtime, argument, bytes, integer, text};
use crate::chart::error::Failure;
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("title", 1, title_case),
    Function::exactly("untitle", 1, untitle),
    Function::exactly("swapcase", 1, swapcase),
    Function::exactly("snakecase", 1, |_, values| Ok(Value::from(joined(text(values, 0)?, '_')))),
    Function::exactly("kebabcase", 1, |_, values| Ok(Value::from(joined(text(values, 0)?, '-')))),
    Function::exactly("camelcase", 1, |_, values| Ok(Value::from(camelcase(text(values, 0)?)))),
    Function::exactly("initials", 1, |_, values| Ok(Value::from(initials(bytes(values, 0)?)))),
    Function::exactly("abbrev", 2, |_, values| {
        Ok(abbreviated(argument(values, 1), bytes(values, 1)?, 0, integer(values, 0)?))
    }),
    Function::exactly("abbrevboth", 3, |_, values| {
        Ok(abbreviated(argument(values, 2), bytes(values, 2)?, integer(values, 0)?, integer(values, 1)?))
    }),
    Function::exactly("wrap", 2, |runtime, values| {
        let (width, text) = (integer(values, 0)?, bytes(values, 1)?);
        wrapped(runtime, text, width, b"\n", false)
    }),
    Function::exactly("wrapWith", 3, |runtime, values| {
        let (width, separator, text) = (integer(values, 0)?, bytes(values, 1)?, bytes(values, 2)?);
        wrapped(runtime, text, width, if separator.is_empty() { b"\n" } else { separator }, true)
    }),
];

/// The form at the beginning of a word: a capital, but for letters that are two.
fn title(character: char) -> char {
    match character {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        // Georgian has capitals, but not for this.
        'ა'..='ჺ' | 'ჽ'..='ჿ' => character,
        _ => upper(character),
    }
}

fn is_title(character: char) -> bool {
    matches!(character, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ')
}

fn title_case(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut output = String::new();
    let mut in_word = false;
    for character in text(values, 0)?.chars() {
        output.push(if in_word { character } else { title(character) });
        in_word = character.is_alphanumeric()
            || character == '_'
            || (!character.is_ascii() && !character.is_whitespace());
    }
    Ok(Value::from(output))
}

fn untitle(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut output = String::new();
    let mut in_word = false;
    for character in text(values, 0)?.chars() {
        output.push(if in_word { character } else { lower(character) });
        in_word = !character.is_whitespace();
    }
    Ok(Value::from(output))
}

fn swapcase(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut output = String::new();
    let mut begins_word = true;
    for character in text(values, 0)?.chars() {
        if character.is_uppercase() || is_title(character) {
            begins_word = false;
            output.push(lower(character));
        } else if character.is_lowercase() {
            output.push(if begins_word { title(character) } else { upper(character) });
            begins_word = false;
        } else {
            begins_word = character.is_whitespace();
            output.push(character);
        }
    }
    Ok(Value::from(output))
}

fn initials(bytes: &[u8]) -> String {
    let mut output = String::new();
    let mut begins_word = true;
    for character in bytes.iter().map(|byte| char::from(*byte)) {
        if character.is_whitespace() {
            begins_word = true;
        } else if std::mem::take(&mut begins_word) {
            output.push(character);
        }
    }
    output
}

/// What a run of characters is, where a text is cut into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Number,
    /// A word that begins with a capital, or capitals alone.
    Capital,
    Letters,
    Connector,
    Punctuation,
    Other,
}

fn is_connector(character: char) -> bool {
    matches!(character, '-' | '_') || character.is_whitespace()
}

/// A letter of a script that has words; Chinese characters are none.
fn is_letter(character: char) -> bool {
    character.is_alphabetic() && !matches!(character, '\u{3400}'..='\u{9fcc}' | '\u{20000}'..='\u{2b81d}')
}

static PUNCTUATION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{P}$").ok());

fn is_punctuation(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_punctuation() && !"$+<=>^`|~".contains(character);
    }
    let text = character.encode_utf8(&mut [0; 4]).to_owned();
    PUNCTUATION.as_ref().is_some_and(|punctuation| punctuation.is_match(&text))
}

/// Takes the first run off a text.
fn next_run(text: &[char]) -> Option<(Run, &[char], &[char])> {
    let first = *text.first()?;
    let count = |from: usize, belongs: &dyn Fn(char) -> bool| {
        from + text[from..].iter().take_while(|next| belongs(**next)).count()
    };
    let is_small = |next: char| is_letter(next) && !next.is_uppercase();
    let (run, length) = if is_connector(first) {
        (Run::Connector, count(1, &is_connector))
    } else if is_punctuation(first) {
        (Run::Punctuation, count(1, &is_punctuation))
    } else if first.is_uppercase() {
        (Run::Capital, capital_run(text))
    } else if is_letter(first) {
        (Run::Letters, count(1, &is_small))
    } else if first.is_numeric() {
        (Run::Number, count(1, &char::is_numeric))
    } else {
        let is_other = |next: char| {
            !is_connector(next) && !is_letter(next) && !next.is_numeric() && !is_punctuation(next)
        };
        (Run::Other, count(1, &is_other))
    };
    let (run_text, rest) = text.split_at(length);
    Some((run, run_text, rest))
}

/// `HTTPServer` begins with `HTTP`: the last capital belongs to the small letters behind it.
fn capital_run(text: &[char]) -> usize {
    let capitals = text.iter().take_while(|next| next.is_uppercase()).count();
    let behind = text.get(capitals).copied();
    if capitals > 1 {
        return if behind.is_some_and(is_letter) { capitals - 1 } else { capitals };
    }
    1 + text[1..].iter().take_while(|next| is_letter(**next) && !next.is_uppercase()).count()
}

/// Puts words in small letters with a connector between them. A number goes with the letters behind it.
fn joined(text: &str, connector: char) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut words = Words { rest: &characters, current: None, connector, output: String::new() };
    words.advance();
    while !words.rest.is_empty() {
        let Some((run, run_text)) = words.current else { break };
        if run != Run::Connector {
            words.write(run, run_text);
        }
        words.advance();
        match run {
            Run::Number => {
                words.write_letters_and_numbers();
                words.connect();
            }
            Run::Connector => words.write(run, run_text),
            Run::Punctuation => {}
            Run::Capital | Run::Letters | Run::Other => words.behind_letters(),
        }
    }
    if let Some((run, run_text)) = words.current {
        words.write(run, run_text);
    }
    words.output
}

/// A text on its way through [`joined`].
struct Words<'t> {
    rest: &'t [char],
    current: Option<(Run, &'t [char])>,
    connector: char,
    output: String,
}

impl Words<'_> {
    fn advance(&mut self) {
        self.current = next_run(self.rest).map(|(run, text, rest)| {
            self.rest = rest;
            (run, text)
        });
    }

    fn is(&self, runs: &[Run]) -> bool {
        self.current.is_some_and(|(run, _)| runs.contains(&run))
    }

    /// Only capitals and connectors change.
    fn write(&mut self, run: Run, text: &[char]) {
        if !matches!(run, Run::Capital | Run::Connector) {
            self.output.extend(text);
            return;
        }
        for character in text {
            let character = *character;
            self.output.push(if is_connector(character) { self.connector } else { lower(character) });
        }
    }

    fn write_letters_and_numbers(&mut self) {
        while let Some((run @ (Run::Letters | Run::Number), text)) = self.current {
            self.write(run, text);
            self.advance();
        }
    }

    /// Puts a connector before a word.
    fn connect(&mut self) {
        if self.current.is_some() && !self.is(&[Run::Connector, Run::Punctuation]) {
            self.output.push(self.connector);
        }
    }

    /// A number behind letters belongs to them, unless letters follow it.
    fn behind_letters(&mut self) {
        let Some((Run::Number, number)) = self.current else {
            self.connect();
            return;
        };
        if self.rest.is_empty() {
            return;
        }
        self.advance();
        if !self.is(&[Run::Letters]) {
            self.write(Run::Number, number);
            self.connect();
            return;
        }
        self.output.push(self.connector);
        self.write(Run::Number, number);
        self.write_letters_and_numbers();
        self.connect();
    }
}

/// Takes connectors out and begins each word with a capital; of several capitals only the first stays.
fn camelcase(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let start = characters.iter().take_while(|next| is_connector(**next)).count();
    let mut output: String = characters[..start].iter().collect();
    let Some((&first, rest)) = characters[start..].split_first() else { return output };
    let mut begins_with_capital = first.is_uppercase();
    let mut before = upper(first);
    for character in rest {
        let mut character = *character;
        match (is_connector(before), is_connector(character)) {
            (true, true) => output.push(before),
            (true, false) => {
                begins_with_capital = character.is_uppercase();
                character = upper(character);
            }
            _ => {
                if begins_with_capital && character.is_uppercase() {
                    character = lower(character);
                } else {
                    begins_with_capital = false;
                }
                output.push(before);
            }
        }
        before = character;
    }
    output.push(before);
    output
}

/// Shortens to `width` bytes with `...`, at both ends if more than four bytes are left out on the left.
fn abbreviated(value: &Value, text: &[u8], left: i64, width: i64) -> Value {
    let Ok(width) = usize::try_from(width) else { return value.clone() };
    let left = usize::try_from(left).unwrap_or(0);
    if width < 4 || (left > 0 && width < 7) || text.len() <= width {
        return value.clone();
    }
    Value::bytes(shortened(text, left, width))
}

fn shortened(text: &[u8], left: usize, width: usize) -> Vec<u8> {
    if text.len() <= width {
        return text.to_vec();
    }
    let kept = width - 3;
    let mut offset = left.min(text.len());
    if text.len() - offset < kept {
        offset = text.len() - kept;
    }
    if offset <= 4 {
        return [&text[..kept], b"..."].concat();
    }
    if offset + kept < text.len() {
        // The rest is shortened in its turn, with room for the marker in front.
        let rest = if kept < 4 { Vec::new() } else { shortened(&text[offset..], 0, kept) };
        return [b"...".as_slice(), &rest].concat();
    }
    [b"...", &text[text.len() - kept..]].concat()
}

/// Breaks a text at spaces into lines of at most `width` bytes; longer words only if `cuts_words`.
fn wrapped(
    runtime: &mut Runtime<'_>,
    text: &[u8],
    width: i64,
    separator: &[u8],
    cuts_words: bool,
) -> Result<Value, Failure> {
    let width = usize::try_from(width.max(1)).unwrap_or(usize::MAX);
    runtime.budget.produce((text.len() / width + 1).saturating_mul(separator.len()))?;
    let mut output = Vec::with_capacity(text.len());
    let mut offset = 0;
    while text.len() - offset > width {
        if text[offset] == b' ' {
            offset += 1;
            continue;
        }
        let line = &text[offset..=offset + width];
        let after = &text[offset + width..];
        let (end, next) = if let Some(space) = line.iter().rposition(|byte| *byte == b' ') {
            (offset + space, offset + space + 1)
        } else if cuts_words {
            (offset + width, offset + width)
        } else if let Some(space) = after.iter().position(|byte| *byte == b' ') {
            (offset + width + space, offset + width + space + 1)
        } else {
            break;
        };
        output.extend_from_slice(&text[offset..end]);
        output.extend_from_slice(separator);
        offset = next;
    }
    output.extend_from_slice(&text[offset..]);
    Ok(Value::bytes(output))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::assert_prints;

    #[test]
    fn cases_and_wrapping() {
        assert_prints(
            &json!({}),
            &[
                ("title \"hello big-world\"", "Hello Big-World"),
                ("untitle \"Hello World\"", "hello world"),
                ("swapcase \"aBc\"", "AbC"),
                ("snakecase \"FirstName\"", "first_name"),
                ("snakecase \"Bld4Floor3rd\"", "bld4_floor_3rd"),
                ("kebabcase \"HTTPServer\"", "http-server"),
                ("camelcase \"http_server\"", "HttpServer"),
                ("camelcase \"NoHTTPS\"", "NoHTTPS"),
                ("initials \"First Try\"", "FT"),
                ("abbrev 5 \"hello world\"", "he..."),
                ("abbrevboth 5 10 \"1234 5678 9123\"", "...5678..."),
                ("wrap 5 \"aa bb cc dd\"", "aa bb\ncc dd"),
                ("wrapWith 3 \"|\" \"abcdefgh\"", "abc|def|gh"),
                ("wrap 3 \"abcdefgh x\"", "abcdefgh\nx"),
            ],
        );
    }
}
