//! Regular expressions with Go's syntax over Rust's engine: both are RE2, but Go's `\w`, `\d`, `\s` and `\b` know
//! only ASCII, `\Q…\E` quotes, and `[` in a class needs no escape.

use std::iter::Peekable;
use std::rc::Rc;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

use super::strings::part;
use super::{Function, Outcome, Runtime, argument, bytes, integer, text};
use crate::chart::error::Failure;
use crate::chart::value::{Element, Value};

/// The size in bytes that a compiled pattern may have. `(a{1000}){1000}` is refused, as in Go.
const PROGRAM_MAX: usize = 1 << 20;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("regexMatch", 2, regex_match),
    Function::exactly("mustRegexMatch", 2, regex_match),
    Function::exactly("regexFind", 2, find),
    Function::exactly("mustRegexFind", 2, find),
    Function::exactly("regexFindAll", 3, find_all),
    Function::exactly("mustRegexFindAll", 3, find_all),
    Function::exactly("regexReplaceAll", 3, replace_all),
    Function::exactly("mustRegexReplaceAll", 3, replace_all),
    Function::exactly("regexReplaceAllLiteral", 3, replace_all_literal),
    Function::exactly("mustRegexReplaceAllLiteral", 3, replace_all_literal),
    Function::exactly("regexSplit", 3, split),
    Function::exactly("mustRegexSplit", 3, split),
    Function::exactly("regexQuoteMeta", 1, |_, values| Ok(Value::from(quote_meta(text(values, 0)?)))),
];

/// Compiles a pattern, or takes it from earlier in the render, and counts the cost of a search.
fn pattern(runtime: &mut Runtime<'_>, values: &[Value]) -> Result<Regex, Failure> {
    let pattern = text(values, 0)?;
    // A search takes time in proportion to pattern times text.
    let searched = values.get(1).map_or(0, Value::shallow_size);
    runtime.budget.read(searched.saturating_mul(pattern.len() / 8 + 1))?;
    if let Some(compiled) = runtime.compiled.get(pattern) {
        return Ok(compiled.clone());
    }
    runtime.budget.steps(1_000)?;
    let compiled = runtime.patterns.get(pattern, compile).map_err(Failure::new)?;
    runtime.compiled.insert(Rc::from(pattern), compiled.clone());
    Ok(compiled)
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(PROGRAM_MAX)
        .dfa_size_limit(PROGRAM_MAX)
        .nest_limit(50)
        .build()
        .map_err(|error| {
            // The engine draws the pattern over several lines; the last one says what is wrong.
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("pattern `{pattern}`: {reason}")
        })
}

/// Rewrites a Go pattern for Rust's engine.
fn translate(pattern: &str) -> String {
    let mut output = String::with_capacity(pattern.len() * 2);
    let mut characters = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('Q') => output.push_str(&quoted(&mut characters)),
                Some(escaped) => {
                    output.push_str(&class(escaped, in_class));
                    // `\p{Greek}` and `\x{e4}` have braces of their own.
                    if matches!(escaped, 'p' | 'P' | 'x') {
                        output.extend(characters.next_if_eq(&'{'));
                    }
                }
                None => output.push('\\'),
            },
            '[' if in_class && characters.peek() != Some(&':') => output.push_str("\\["),
            '[' if in_class => {
                // A named class such as `[:alpha:]` runs to its own bracket.
                output.push('[');
                for inner in characters.by_ref() {
                    output.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' => {
                in_class = true;
                output.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    output.push('^');
                }
                if characters.next_if_eq(&']').is_some() {
                    output.push_str("\\]");
                }
            }
            ']' if in_class => {
                in_class = false;
                output.push(']');
            }
            // A brace that begins no repetition is a brace.
            '{' if !in_class && !is_repetition(characters.clone()) => {
                output.push_str("\\{");
            }
            '&' | '~' if in_class => {
                output.push('\\');
                output.push(character);
            }
            other => output.push(other),
        }
    }
    output
}

/// Whether a text goes on as `3}`, `3,}` or `3,5}`.
fn is_repetition(characters: impl Iterator<Item = char>) -> bool {
    // No count that can be has more digits.
    let text: String = characters.take(24).collect();
    let Some((counts, _)) = text.split_once('}') else { return false };
    let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && is_number(least) && is_number(most)
}

/// Reads what `\Q` quotes, up to `\E`.
fn quoted(characters: &mut Peekable<Chars<'_>>) -> String {
    let rest: String = characters.clone().collect();
    let quoted = rest.split("\\E").next().unwrap_or_default();
    for _ in 0..quoted.chars().count() + 2 {
        characters.next();
    }
    regex::escape(quoted)
}

/// What an escaped letter means in Go: ASCII only.
fn class(escaped: char, in_class: bool) -> String {
    let (negated, members) = match escaped {
        'w' | 'W' => (escaped == 'W', "0-9A-Za-z_"),
        'd' | 'D' => (escaped == 'D', "0-9"),
        's' | 'S' => (escaped == 'S', "\\t\\n\\f\\r "),
        'b' | 'B' if !in_class => return format!("(?-u:\\{escaped})"),
        other => return format!("\\{other}"),
    };
    match (negated, in_class) {
        (false, true) => members.to_owned(),
        (false, false) => format!("[{members}]"),
        (true, _) => format!("[^{members}]"),
    }
}

/// Go's `QuoteMeta` escapes only what is special; Rust's escapes some more.
fn quote_meta(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for character in text.chars() {
        if "\\.+*?()|[]{}^$".contains(character) {
            output.push('\\');
        }
        output.push(character);
    }
    output
}

fn regex_match(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(Value::Bool(pattern(runtime, values)?.is_match(text(values, 1)?)))
}

/// The part of the text that was searched. In one that is not UTF-8 its place is counted from the beginning.
fn found(runtime: &mut Runtime<'_>, value: &Value, start: usize, end: usize) -> Outcome {
    if let Value::Binary(binary) = value {
        runtime.budget.read(binary.bytes().len())?;
    }
    Ok(part(value, start, end))
}

fn find(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    match pattern(runtime, values)?.find(text(values, 1)?) {
        Some(range) => found(runtime, argument(values, 1), range.start(), range.end()),
        None => Ok(Value::from("")),
    }
}

/// How many results are wanted: all for a negative number.
fn limit(values: &[Value]) -> Result<usize, Failure> {
    Ok(usize::try_from(integer(values, 2)?).unwrap_or(usize::MAX))
}

fn find_all(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let regex = pattern(runtime, values)?;
    let text = text(values, 1)?;
    runtime.budget.produce(text.len() * 4)?;
    let mut all = Vec::new();
    for range in regex.find_iter(text).take(limit(values)?) {
        all.push(found(runtime, argument(values, 1), range.start(), range.end())?);
    }
    Ok(Value::list_or_nil(Element::String, all))
}

/// A piece of what a match is replaced with.
enum Piece<'t> {
    Text(&'t [u8]),
    Group(usize),
}

/// Reads a replacement: `$1` and `${name}` are groups, and nothing where there is no such group; `$1x` asks for a group
/// of that name; `$$` is a dollar, and so is one before anything else.
fn replacement<'t>(regex: &Regex, template: &'t [u8]) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        pieces.push(Piece::Text(&rest[..at]));
        let after = &rest[at + 1..];
        if let Some(behind) = after.strip_prefix(b"$") {
            pieces.push(Piece::Text(b"$"));
            rest = behind;
            continue;
        }
        let Some((name, behind)) = group_name(after) else {
            pieces.push(Piece::Text(b"$"));
            rest = after;
            continue;
        };
        let is_number =
            name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        let number = name.parse::<usize>().ok().filter(|_| is_number);
        let group = number.or_else(|| regex.capture_names().position(|known| known == Some(name)));
        pieces.extend(group.map(Piece::Group));
        rest = behind;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// The name behind a dollar, with or without braces, and what follows it.
fn group_name(text: &[u8]) -> Option<(&str, &[u8])> {
    let (inner, in_braces) = match text.strip_prefix(b"{") {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let valid = inner.utf8_chunks().next().map(|chunk| chunk.valid())?;
    let length = valid.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(valid.len());
    if length == 0 {
        return None;
    }
    let rest = &inner[length..];
    Some((&valid[..length], if in_braces { rest.strip_prefix(b"}")? } else { rest }))
}

fn replace_all(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let regex = pattern(runtime, values)?;
    let pieces = replacement(&regex, bytes(values, 2)?);
    replaced(runtime, values, &regex, &pieces)
}

fn replace_all_literal(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let regex = pattern(runtime, values)?;
    replaced(runtime, values, &regex, &[Piece::Text(bytes(values, 2)?)])
}

fn replaced(runtime: &mut Runtime<'_>, values: &[Value], regex: &Regex, pieces: &[Piece<'_>]) -> Outcome {
    let (source, value) = (text(values, 1)?, argument(values, 1));
    let mut output = Vec::new();
    let mut end = 0;
    for captures in regex.captures_iter(source) {
        let Some(whole) = captures.get(0) else { continue };
        append(runtime, &mut output, value, end, whole.start())?;
        let before = output.len();
        for piece in pieces {
            match piece {
                Piece::Text(text) => output.extend_from_slice(text),
                Piece::Group(group) => {
                    if let Some(group) = captures.get(*group) {
                        append(runtime, &mut output, value, group.start(), group.end())?;
                    }
                }
            }
        }
        // Counted as it grows: a template can repeat a long match many times.
        runtime.budget.produce(output.len() - before)?;
        end = whole.end();
    }
    append(runtime, &mut output, value, end, source.len())?;
    Ok(Value::bytes(output))
}

fn append(
    runtime: &mut Runtime<'_>,
    output: &mut Vec<u8>,
    value: &Value,
    start: usize,
    end: usize,
) -> Result<(), Failure> {
    match value {
        Value::String(text) => output.extend_from_slice(&text.as_bytes()[start..end]),
        _ => output.extend_from_slice(found(runtime, value, start, end)?.as_bytes().unwrap_or_default()),
    }
    Ok(())
}

fn split(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let regex = pattern(runtime, values)?;
    let text = text(values, 1)?;
    runtime.budget.produce(text.len() * 4)?;
    let value = argument(values, 1);
    let limit = limit(values)?;
    if limit == 0 {
        return Ok(Value::list_or_nil(Element::String, Vec::new()));
    }
    if text.is_empty() && !bytes(values, 0)?.is_empty() {
        return Ok(Value::strings([""]));
    }
    let mut parts = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for range in regex.find_iter(text) {
        if parts.len() + 1 >= limit {
            break;
        }
        end = range.start();
        // What matches nothing at the beginning splits nothing off.
        if range.end() > 0 {
            parts.push(found(runtime, value, begin, end)?);
        }
        begin = range.end();
    }
    // What matches nothing at the end leaves nothing behind it.
    if end != text.len() {
        parts.push(found(runtime, value, begin, text.len())?);
    }
    Ok(Value::list_of(Element::String, parts))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn regular_expressions() {
        assert_prints(
            &json!({}),
            &[
                ("regexMatch \"^[a-z]+$\" \"abc\"", "true"),
                ("regexMatch `^\\w+$` \"é\"", "false"),
                ("regexMatch `^[\\w.-]+$` \"a.b-c\"", "true"),
                ("regexFind \"[0-9]+\" \"a12b3\"", "12"),
                ("regexFindAll \"[0-9]\" \"a12b3\" -1 | toJson", "[\"1\",\"2\",\"3\"]"),
                ("regexFindAll \"[0-9]\" \"a12b3\" 2 | len", "2"),
                ("regexReplaceAll \"a(x*)b\" \"-ab-axxb-\" \"${1}W\"", "-W-xxW-"),
                ("regexReplaceAll \"a(x*)b\" \"-ab-axxb-\" \"$1W\"", "---"),
                ("regexReplaceAllLiteral \"a\" \"banana\" \"$0\"", "b$0n$0n$0"),
                ("regexSplit \"z+\" \"pizza\" -1 | toJson", "[\"pi\",\"a\"]"),
                ("regexQuoteMeta \"1.2-3\"", "1\\.2-3"),
            ],
        );
        assert_refused(
            &json!({}),
            &[
                ("regexMatch \"a(\" \"\"", "calling `regexMatch`: pattern `a(`: unclosed group"),
                ("regexMatch \"((a{1000}){1000})\" \"a\"", "size limit"),
            ],
        );
    }

    #[test]
    fn gos_syntax_is_translated() {
        assert_eq!(translate(r"[[a&&b~]\Qa.b\E\d[^\S]"), r"[\[a\&\&b\~]a\.b[0-9][^[^\t\n\f\r ]]");
        assert_eq!(translate("[[:alpha:]x][]a]"), r"[[:alpha:]x][\]a]");
    }
}
