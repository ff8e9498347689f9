//! Writes JSON values as YAML exactly as go-yaml does: keys in natural order, sequences not indented, long
//! lines folded after column 80, quotes only where needed. The text lands in config maps and in checksum
//! annotations, so every character counts.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::scalar;
use crate::chart::format;

/// Whole numbers that fit 64 bits are integers to go-yaml, everything else is a float to it.
const INTEGERS: std::ops::Range<f64> = -9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0;

/// Where go-yaml starts to look for a space to fold a line at.
const WIDTH: usize = 80;

/// Writes a value in the layout of Helm's `toYaml`.
pub(crate) fn to_text(value: &Value) -> String {
    if is_unwritable(value) {
        return String::new();
    }
    Writer::new(false).document(value)
}

/// Writes a value in the layout of Helm's `toYamlPretty`: sequences are indented and lines never fold.
pub(crate) fn to_pretty_text(value: &Value) -> String {
    Writer::new(true).document(value)
}

struct Writer {
    output: String,
    pretty: bool,
}

impl Writer {
    fn new(pretty: bool) -> Self {
        Self { output: String::new(), pretty }
    }

    fn document(mut self, value: &Value) -> String {
        self.node(value, 0);
        if !self.output.ends_with('\n') {
            self.output.push('\n');
        }
        self.output
    }

    fn node(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(entries) if entries.is_empty() => self.output.push_str("{}"),
            Value::Array(items) if items.is_empty() => self.output.push_str("[]"),
            Value::Object(entries) => self.mapping(entries, indent),
            Value::Array(items) => self.sequence(items, indent),
            Value::String(text) => self.scalar(text, indent, false),
            Value::Null => self.output.push_str("null"),
            Value::Bool(flag) => self.output.push_str(if *flag { "true" } else { "false" }),
            Value::Number(number) => self.output.push_str(&number_text(number)),
        }
    }

    fn mapping(&mut self, entries: &Map<String, Value>, indent: usize) {
        let mut sorted: Vec<(&String, &Value)> = entries.iter().collect();
        sorted.sort_by(|left, right| natural_order(left.0, right.0, self.pretty));
        for (position, (key, value)) in sorted.into_iter().enumerate() {
            if position > 0 {
                self.start_line(indent);
            }
            if is_simple_key(key) {
                self.scalar(key, indent, true);
                self.output.push(':');
            } else {
                self.output.push_str("? ");
                self.scalar(key, indent + 2, false);
                self.start_line(indent);
                self.output.push(':');
                self.output.push(' ');
                self.node(value, indent + 2);
                continue;
            }
            let below = match value {
                Value::Object(entries) if !entries.is_empty() => Some(indent + 2),
                Value::Array(items) if !items.is_empty() && self.pretty => Some(indent + 2),
                Value::Array(items) if !items.is_empty() => Some(indent),
                _ => None,
            };
            if let Some(below) = below {
                self.start_line(below);
                self.node(value, below);
            } else {
                self.output.push(' ');
                self.node(value, indent + 2);
            }
        }
    }

    fn sequence(&mut self, items: &[Value], indent: usize) {
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                self.start_line(indent);
            }
            self.output.push_str("- ");
            self.node(item, indent + 2);
        }
    }

    /// Begins a line, unless a block scalar has just ended one.
    fn start_line(&mut self, indent: usize) {
        if !self.output.ends_with('\n') {
            self.output.push('\n');
        }
        self.spaces(indent);
    }

    fn spaces(&mut self, count: usize) {
        self.output.extend(std::iter::repeat_n(' ', count));
    }

    fn column(&self) -> usize {
        let line = self.output.rfind('\n').map_or(0, |at| at + 1);
        self.output[line..].chars().count()
    }

    fn scalar(&mut self, text: &str, indent: usize, is_key: bool) {
        let shape = Shape::of(text, self.pretty);
        // Strings that look like another type get double quotes, other awkward ones single quotes.
        let may_be_bare = !text.is_empty() && !scalar::looks_like_another_type(text);
        if text.contains('\n') && !is_key && shape.block_allowed {
            self.literal_block(text, indent);
        } else if !text.contains('\n') && may_be_bare && shape.plain_allowed {
            self.folded(text, indent, !is_key, false);
        } else if !text.contains('\n') && may_be_bare && shape.single_quotes_allowed {
            self.output.push('\'');
            self.folded(text, indent, !is_key, true);
            self.output.push('\'');
        } else {
            self.double_quoted(text, indent, !is_key);
        }
    }

    fn literal_block(&mut self, text: &str, indent: usize) {
        self.output.push('|');
        if text.starts_with([' ', '\n']) {
            self.output.push('2');
        }
        if !text.ends_with('\n') {
            self.output.push('-');
        } else if text == "\n" || text.ends_with("\n\n") {
            self.output.push('+');
        }
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            self.output.push('\n');
            if !line.is_empty() {
                self.spaces(indent.max(2));
                self.output.push_str(line);
            }
        }
        if text.ends_with('\n') {
            self.output.push('\n');
        }
    }

    /// Breaks the line inside a scalar and returns the new column.
    fn fold(&mut self, indent: usize) -> usize {
        self.output.push('\n');
        self.spaces(indent.max(2));
        indent.max(2)
    }

    /// A plain or single-quoted scalar. Lines fold at the first single space after column 80.
    fn folded(&mut self, text: &str, indent: usize, may_fold: bool, quoted: bool) {
        let mut column = self.column();
        let mut after_space = false;
        let mut characters = text.chars().peekable();
        let mut at_start = true;
        while let Some(character) = characters.next() {
            if character == ' ' {
                let next_is_text = characters.peek().is_some_and(|next| *next != ' ');
                let at_edge = quoted && at_start;
                if may_fold && !after_space && !at_edge && column > WIDTH && !self.pretty && next_is_text {
                    column = self.fold(indent);
                } else {
                    self.output.push(' ');
                    column += 1;
                }
                after_space = true;
            } else {
                if quoted && character == '\'' {
                    self.output.push('\'');
                    column += 1;
                }
                self.output.push(character);
                column += 1;
                after_space = false;
            }
            at_start = false;
        }
    }

    fn double_quoted(&mut self, text: &str, indent: usize, may_fold: bool) {
        self.output.push('"');
        let mut column = self.column();
        let mut after_space = false;
        let mut characters = text.chars().peekable();
        let mut at_start = true;
        while let Some(character) = characters.next() {
            if let Some(escape) = escape(character) {
                column += escape.len();
                self.output.push_str(&escape);
                after_space = false;
            } else if character == ' ' {
                let next = characters.peek().copied();
                if may_fold && !after_space && column > WIDTH && !self.pretty && !at_start && next.is_some() {
                    column = self.fold(indent);
                    if next == Some(' ') {
                        self.output.push('\\');
                        column += 1;
                    }
                } else {
                    self.output.push(' ');
                    column += 1;
                }
                after_space = true;
            } else {
                self.output.push(character);
                column += 1;
                after_space = false;
            }
            at_start = false;
        }
        self.output.push('"');
    }
}

/// Tells whether a key stands in front of its value in one line; a longer one stands on its own behind a `?`.
fn is_simple_key(key: &str) -> bool {
    const LONGEST: usize = 128;
    key.len() <= LONGEST && !key.contains(is_break)
}

fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Tells whether a value holds a character that YAML does not allow. Helm writes JSON first and reads that as YAML, so such
/// a value comes to nothing at all.
fn is_unwritable(value: &Value) -> bool {
    let has_control = |text: &str| {
        !text.is_ascii() && text.contains(|c: char| matches!(c, '\u{80}'..='\u{84}' | '\u{86}'..='\u{9f}'))
            || text.contains('\u{7f}')
    };
    match value {
        Value::String(text) => has_control(text),
        Value::Array(items) => items.iter().any(is_unwritable),
        Value::Object(entries) => entries.iter().any(|(key, value)| has_control(key) || is_unwritable(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Which notations can carry a text; after libyaml's `yaml_emitter_analyze_scalar`.
struct Shape {
    plain_allowed: bool,
    single_quotes_allowed: bool,
    block_allowed: bool,
}

impl Shape {
    fn of(text: &str, pretty: bool) -> Shape {
        let mut shape = Shape { plain_allowed: true, single_quotes_allowed: true, block_allowed: true };
        let is_white = |character: char| matches!(character, ' ' | '\t' | '\n' | '\r' | '\0');
        if text.is_empty() || has_indicator(text, is_white) || text.contains(is_break) {
            shape.plain_allowed = false;
        }
        if text.starts_with([' ', '\n', '\r']) || text.ends_with([' ', '\n', '\r']) {
            shape.plain_allowed = false;
        }
        if text.ends_with(' ') {
            shape.block_allowed = false;
        }
        let mut previous = None;
        for character in text.chars() {
            let space_after_break = character == ' ' && previous.is_some_and(is_break);
            let break_after_space = is_break(character) && previous == Some(' ');
            if space_after_break || break_after_space || !is_printable(character) {
                shape.plain_allowed = false;
                shape.single_quotes_allowed = false;
            }
            let is_tab = pretty && character == '\t';
            if break_after_space || !(is_printable(character) || is_tab) {
                shape.block_allowed = false;
            }
            previous = Some(character);
        }
        shape
    }
}

/// Tells whether a text holds something that a YAML reader would take for syntax.
fn has_indicator(text: &str, is_white: impl Fn(char) -> bool) -> bool {
    if text.starts_with("---") || text.starts_with("...") {
        return true;
    }
    let mut characters = text.chars().peekable();
    let mut after_white = true;
    let mut at_start = true;
    while let Some(character) = characters.next() {
        let before_white = characters.peek().is_none_or(|next| is_white(*next));
        let found = match character {
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                at_start
            }
            '-' | '?' => at_start && before_white,
            ':' => before_white,
            '#' => after_white,
            _ => false,
        };
        if found {
            return true;
        }
        after_white = is_white(character);
        at_start = false;
    }
    false
}

fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && character != '\u{feff}'
}

fn escape(character: char) -> Option<String> {
    let short = match character {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        _ if is_printable(character) => return None,
        _ => "",
    };
    if !short.is_empty() {
        return Some(short.to_owned());
    }
    let code = u32::from(character);
    Some(match code {
        0..=0xff => format!("\\x{code:02X}"),
        0x100..=0xffff => format!("\\u{code:04X}"),
        _ => format!("\\U{code:08X}"),
    })
}

fn number_text(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    if float.fract() == 0.0 && INTEGERS.contains(&float) {
        format::json_float(float)
    } else {
        format::float(float)
    }
}

/// go-yaml's order of keys: letters by code, digits by value, so that `a2` comes before `a10`. Of a letter and something
/// else the letter comes last; but behind digits it comes first in the newer go-yaml, which writes the pretty layout.
fn natural_order(left: &str, right: &str, pretty: bool) -> Ordering {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut in_digits = false;
    for at in 0..left.len().min(right.len()) {
        let (first, second) = (left[at], right[at]);
        if first == second {
            in_digits = pretty && first.is_ascii_digit();
            continue;
        }
        let (first_is_letter, second_is_letter) = (first.is_alphabetic(), second.is_alphabetic());
        if first_is_letter && second_is_letter {
            return first.cmp(&second);
        }
        if first_is_letter || second_is_letter {
            return if first_is_letter == in_digits { Ordering::Less } else { Ordering::Greater };
        }
        return compare_digits(&left, &right, at);
    }
    left.len().cmp(&right.len())
}

fn compare_digits(left: &[char], right: &[char], at: usize) -> Ordering {
    // A number that goes on from a non-zero digit has weight; `0` alone does not.
    let carried = (left[at] == '0' || right[at] == '0')
        && left[..at].iter().rev().take_while(|digit| digit.is_ascii_digit()).any(|digit| *digit != '0');
    let number = |characters: &[char]| {
        let mut value: i64 = i64::from(carried);
        let mut end = at;
        while let Some(digit) = characters.get(end).and_then(|digit| digit.to_digit(10)) {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            end += 1;
        }
        (value, end)
    };
    number(left).cmp(&number(right)).then(left[at].cmp(&right[at]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_in_natural_order_and_sequences_not_indented() {
        let value = json!({"a10": 1, "a2": [1, {"b": "x", "a": []}], "B": {}, "z": {"k": [[1, 2]]}});
        assert_eq!(to_text(&value), "B: {}\na2:\n- 1\n- a: []\n  b: x\na10: 1\nz:\n  k:\n  - - 1\n    - 2\n");
        assert_eq!(to_pretty_text(&json!({"a": [1]})), "a:\n  - 1\n");
    }

    #[test]
    fn strings_are_quoted_as_go_yaml_does() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("true", "\"true\""),
            ("1", "\"1\""),
            ("", "\"\""),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("- x", "'- x'"),
            ("-x", "-x"),
            ("it's", "it's"),
            ("'q'", "'''q'''"),
            (" lead", "' lead'"),
            ("tab\tx", "\"tab\\tx\""),
            ("two\nlines", "|-\n  two\n  lines"),
            ("two\nlines\n", "|\n  two\n  lines"),
            ("keep\n\n", "|+\n  keep\n"),
            ("\u{1f600}", "\"\\U0001F600\""),
            ("2020-01-01", "\"2020-01-01\""),
            ("*", "'*'"),
        ] {
            assert_eq!(
                to_text(&json!(text)).trim_end_matches('\n'),
                expected.trim_end_matches('\n'),
                "{text:?}"
            );
        }
    }

    #[test]
    fn long_lines_fold_after_column_80() {
        let text = "word ".repeat(20) + "end";
        let written = to_text(&json!({ "key": text }));
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), 84, "{written}");
        assert!(lines[1].starts_with("  word"));
    }

    #[test]
    fn numbers_are_printed_plainly() {
        assert_eq!(
            to_text(&json!([1, 1.5, 1e21, 0.000_000_1, 1e20, 1_234_567.5])),
            "- 1\n- 1.5\n- 1e+21\n- 1e-07\n- 1e+20\n- 1.2345675e+06\n"
        );
    }
}
