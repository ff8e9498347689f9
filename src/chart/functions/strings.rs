//! Text. Where characters do not matter, functions work on bytes, for a string in Go holds any.

use super::{Function, Outcome, Runtime, argument, bytes, integer, text};
use crate::chart::error::Failure;
use crate::chart::format;
use crate::chart::lines::next_break;
use crate::chart::value::{Element, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("trim", 1, |_, values| trimmed(values, 0, char::is_whitespace)),
    Function::exactly("trimAll", 2, trim_all),
    Function::exactly("trimall", 2, trim_all),
    Function::exactly("trimPrefix", 2, |_, values| {
        let (prefix, text) = (bytes(values, 0)?, bytes(values, 1)?);
        Ok(text.strip_prefix(prefix).map_or_else(|| argument(values, 1).clone(), of_bytes))
    }),
    Function::exactly("trimSuffix", 2, |_, values| {
        let (suffix, text) = (bytes(values, 0)?, bytes(values, 1)?);
        Ok(text.strip_suffix(suffix).map_or_else(|| argument(values, 1).clone(), of_bytes))
    }),
    Function::exactly("lower", 1, |_, values| Ok(Value::from(mapped(text(values, 0)?, lower)))),
    Function::exactly("upper", 1, |_, values| Ok(Value::from(mapped(text(values, 0)?, upper)))),
    Function::exactly("repeat", 2, repeat),
    Function::exactly("substr", 3, substr),
    Function::exactly("trunc", 2, trunc),
    Function::exactly("nospace", 1, |_, values| Ok(without_space(argument(values, 0), bytes(values, 0)?))),
    Function::exactly("contains", 2, |runtime, values| {
        Ok(Value::Bool(find(runtime, values, 0, 1)?.is_some()))
    }),
    Function::exactly("hasPrefix", 2, |_, values| {
        Ok(Value::Bool(bytes(values, 1)?.starts_with(bytes(values, 0)?)))
    }),
    Function::exactly("hasSuffix", 2, |_, values| {
        Ok(Value::Bool(bytes(values, 1)?.ends_with(bytes(values, 0)?)))
    }),
    Function::at_least("quote", 0, |runtime, values| {
        quoted(runtime, values, |text| format::quote(text).into_bytes())
    }),
    Function::at_least("squote", 0, |runtime, values| {
        quoted(runtime, values, |text| [b"'", text, b"'"].concat())
    }),
    Function::at_least("cat", 0, |runtime, values| Ok(Value::bytes(displayed(runtime, values)?.join(&b' ')))),
    Function::exactly("indent", 2, |runtime, values| indent(runtime, values, "")),
    Function::exactly("nindent", 2, |runtime, values| indent(runtime, values, "\n")),
    Function::exactly("replace", 3, replace),
    Function::exactly("plural", 3, |_, values| {
        bytes(values, 0)?;
        bytes(values, 1)?;
        Ok(argument(values, usize::from(integer(values, 2)? != 1)).clone())
    }),
    Function::exactly("join", 2, join),
    Function::exactly("split", 2, |runtime, values| Ok(numbered(parts(runtime, values, (0, 1), None)?))),
    Function::exactly("splitn", 3, |runtime, values| {
        let limit = usize::try_from(integer(values, 1)?).ok();
        Ok(numbered(parts(runtime, values, (0, 2), limit)?))
    }),
    Function::exactly("splitList", 2, |runtime, values| {
        Ok(Value::list_of(Element::String, parts(runtime, values, (0, 1), None)?))
    }),
    Function::exactly("sortAlpha", 1, sort_alpha),
    Function::exactly("toString", 1, to_string),
    Function::exactly("toStrings", 1, |runtime, values| Ok(texts(strings(runtime, argument(values, 0))?))),
    Function::exactly("shuffle", 1, shuffle),
];

fn of_bytes(bytes: &[u8]) -> Value {
    Value::bytes(bytes.to_vec())
}

/// Go's `[]string`.
fn texts(items: Vec<Vec<u8>>) -> Value {
    Value::list_of(Element::String, items.into_iter().map(Value::bytes).collect())
}

/// The part of a string between two places of its characters.
pub(super) fn part(value: &Value, start: usize, end: usize) -> Value {
    match value {
        Value::Binary(binary) => of_bytes(binary.part(start, end)),
        value => Value::string(value.as_str().and_then(|text| text.get(start..end)).unwrap_or_default()),
    }
}

fn trimmed(values: &[Value], position: usize, is_cut: impl Fn(char) -> bool) -> Outcome {
    let text = text(values, position)?;
    let start = text.len() - text.trim_start_matches(&is_cut).len();
    let end = text.trim_end_matches(&is_cut).len();
    Ok(part(argument(values, position), start, end.max(start)))
}

fn trim_all(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let characters = text(values, 0)?;
    trimmed(values, 1, |character| characters.contains(character))
}

fn mapped(text: &str, each: impl Fn(char) -> char) -> String {
    text.chars().map(each).collect()
}

/// One character for one, as in Go: `ß` has no capital.
pub(super) fn upper(character: char) -> char {
    let greek = match character {
        // Letters with an iota below, which Rust writes behind their capital.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => return single(character.to_uppercase()).unwrap_or(character),
    };
    char::from_u32(u32::from(character) + greek).unwrap_or(character)
}

pub(super) fn lower(character: char) -> char {
    match character {
        // With a dot above in Rust, without in Go.
        'İ' => 'i',
        _ => single(character.to_lowercase()).unwrap_or(character),
    }
}

fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next()?;
    characters.next().is_none().then_some(first)
}

/// Sprig's helper takes each byte for a character: a text with space and anything but ASCII comes out another.
fn without_space(value: &Value, bytes: &[u8]) -> Value {
    let kept: String =
        bytes.iter().map(|byte| char::from(*byte)).filter(|character| !character.is_whitespace()).collect();
    if kept.chars().count() == bytes.len() { value.clone() } else { Value::from(kept) }
}

/// Finds one argument in another.
fn find(
    runtime: &mut Runtime<'_>,
    values: &[Value],
    needle: usize,
    text: usize,
) -> Result<Option<usize>, Failure> {
    if let (Value::String(needle), Value::String(text)) = (argument(values, needle), argument(values, text)) {
        return Ok(text.find(&**needle));
    }
    let (needle, text) = (bytes(values, needle)?, bytes(values, text)?);
    runtime.budget.read(text.len().saturating_mul(needle.len()))?;
    Ok(position(text, needle))
}

/// Finds bytes in bytes. To be counted before: each place is compared.
fn position(text: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    text.windows(needle.len()).position(|window| window == needle)
}

fn repeat(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let count = integer(values, 0)?;
    let text = bytes(values, 1)?;
    let Ok(count) = usize::try_from(count) else { return Err(Failure::new("negative repeat count")) };
    runtime.budget.produce(text.len().saturating_mul(count))?;
    Ok(Value::bytes(text.repeat(count)))
}

/// Cuts bytes, as Go does, also within a character.
fn cut(text: &[u8], start: usize, end: usize) -> Outcome {
    let part = text.get(start..end);
    part.map(of_bytes).ok_or_else(|| Failure::new(format!("slice bounds out of range [{start}:{end}]")))
}

fn substr(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let text = bytes(values, 2)?;
    let (start, end) = (integer(values, 0)?, integer(values, 1)?);
    match (usize::try_from(start), usize::try_from(end)) {
        (Err(_), Ok(end)) => cut(text, 0, end),
        (Err(_), Err(_)) => Err(Failure::new(format!("slice bounds out of range [:{end}]"))),
        (Ok(start), Ok(end)) if end <= text.len() => cut(text, start, end),
        (Ok(start), _) => cut(text, start, text.len()),
    }
}

fn trunc(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let count = integer(values, 0)?;
    let text = bytes(values, 1)?;
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if size >= text.len() {
        return Ok(argument(values, 1).clone());
    }
    if count < 0 { cut(text, text.len() - size, text.len()) } else { cut(text, 0, size) }
}

/// The arguments that are not nil, printed.
fn displayed(runtime: &mut Runtime<'_>, values: &[Value]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut output = Vec::with_capacity(values.len());
    for value in values.iter().filter(|value| !value.is_nil()) {
        runtime.budget.produce(value.deep_size()?)?;
        output.push(format::display(value)?);
    }
    Ok(output)
}

fn quoted(runtime: &mut Runtime<'_>, values: &[Value], quote: impl Fn(&[u8]) -> Vec<u8>) -> Outcome {
    if let [Value::String(text)] = values {
        runtime.budget.produce(argument(values, 0).deep_size()?)?;
        return Ok(Value::bytes(quote(text.as_bytes())));
    }
    let quoted: Vec<Vec<u8>> = displayed(runtime, values)?.iter().map(|text| quote(text)).collect();
    Ok(Value::bytes(quoted.join(&b' ')))
}

fn indent(runtime: &mut Runtime<'_>, values: &[Value], before: &str) -> Outcome {
    let count = integer(values, 0)?;
    let text = bytes(values, 1)?;
    let Ok(count) = usize::try_from(count) else { return Err(Failure::new("negative repeat count")) };
    let lines = text.split(|byte| *byte == b'\n').count();
    let size = text.len().saturating_add(lines.saturating_mul(count));
    runtime.budget.produce(size)?;
    let margin = vec![b' '; count];
    let mut output = Vec::with_capacity(size + before.len());
    output.extend_from_slice(before.as_bytes());
    let mut begin = 0;
    while let Some(at) = next_break(text, begin) {
        output.extend_from_slice(&margin);
        output.extend_from_slice(&text[begin..=at]);
        begin = at + 1;
    }
    output.extend_from_slice(&margin);
    output.extend_from_slice(&text[begin..]);
    Ok(Value::bytes(output))
}

fn replace(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    if let [Value::String(old), Value::String(new), Value::String(text)] = values {
        // An empty `old` matches between all characters.
        let matches = if old.is_empty() { text.len() + 1 } else { text.matches(&**old).count() };
        runtime.budget.produce(matches.saturating_mul(new.len()))?;
        return Ok(Value::from(text.replace(&**old, new)));
    }
    let (old, new, text) = (bytes(values, 0)?, bytes(values, 1)?, bytes(values, 2)?);
    let pieces = if old.is_empty() {
        let characters = characters(text);
        [&[&text[..0]], characters.as_slice(), &[&text[..0]]].concat()
    } else {
        runtime.budget.read(text.len().saturating_mul(old.len()))?;
        split_bytes(text, old, usize::MAX)
    };
    runtime.budget.produce(pieces.len().saturating_mul(new.len()))?;
    Ok(Value::bytes(pieces.join(new)))
}

/// A list as text, item by item; nil items are left out, a single value is a list of one.
fn strings(runtime: &mut Runtime<'_>, value: &Value) -> Result<Vec<Vec<u8>>, Failure> {
    match value {
        Value::List(items) => displayed(runtime, items),
        Value::Object(object) => match object.as_collection() {
            Some(Value::List(items)) => displayed(runtime, &items),
            _ => displayed(runtime, std::slice::from_ref(value)),
        },
        other => displayed(runtime, std::slice::from_ref(other)),
    }
}

fn join(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let separator = bytes(values, 0)?;
    let parts = strings(runtime, argument(values, 1))?;
    runtime.budget.produce(separator.len().saturating_mul(parts.len()))?;
    Ok(Value::bytes(parts.join(separator)))
}

/// `split` returns a map with the keys `_0`, `_1`, …
fn numbered(parts: Vec<Value>) -> Value {
    Value::text_map(parts.into_iter().enumerate().map(|(position, part)| (format!("_{position}"), part)))
}

/// Splits the text at one position at the separator at the other into so many parts at most.
fn parts(
    runtime: &mut Runtime<'_>,
    values: &[Value],
    (separator, text): (usize, usize),
    limit: Option<usize>,
) -> Result<Vec<Value>, Failure> {
    let limit = limit.unwrap_or(usize::MAX);
    if let (Value::String(separator), Value::String(text)) =
        (argument(values, separator), argument(values, text))
        && !separator.is_empty()
    {
        runtime.budget.produce(text.len())?;
        return Ok(text.splitn(limit, &**separator).map(Value::from).collect());
    }
    let (separator, text) = (bytes(values, separator)?, bytes(values, text)?);
    runtime.budget.produce(text.len().saturating_mul(size_of::<Value>()))?;
    runtime.budget.read(text.len().saturating_mul(separator.len()))?;
    let parts = match limit {
        0 => Vec::new(),
        _ if separator.is_empty() => {
            let mut characters = characters(text);
            if characters.len() > limit {
                let rest: usize = characters[..limit - 1].iter().map(|character| character.len()).sum();
                characters.truncate(limit - 1);
                characters.push(&text[rest..]);
            }
            characters
        }
        _ => split_bytes(text, separator, limit),
    };
    Ok(parts.into_iter().map(of_bytes).collect())
}

/// The characters of a text; a stray byte is one.
fn characters(text: &[u8]) -> Vec<&[u8]> {
    let mut characters = Vec::new();
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        characters.extend(valid.char_indices().map(|(at, next)| &valid.as_bytes()[at..at + next.len_utf8()]));
        characters.extend(chunk.invalid().chunks(1));
    }
    characters
}

fn split_bytes<'t>(text: &'t [u8], separator: &[u8], limit: usize) -> Vec<&'t [u8]> {
    let mut parts = Vec::new();
    let mut rest = text;
    while parts.len() + 1 < limit
        && let Some(at) = position(rest, separator)
    {
        parts.push(&rest[..at]);
        rest = &rest[at + separator.len()..];
    }
    parts.push(rest);
    parts
}

fn sort_alpha(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut parts = strings(runtime, argument(values, 0))?;
    parts.sort_unstable();
    Ok(texts(parts))
}

fn to_string(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let value = argument(values, 0);
    if value.as_bytes().is_some() {
        return Ok(value.clone());
    }
    runtime.budget.produce(value.deep_size()?)?;
    if let Value::Object(object) = value
        && let Some(content) = object.as_content()
    {
        return Ok(of_bytes(content));
    }
    Ok(Value::bytes(format::display(value)?))
}

/// Puts characters in any order, each order as likely as any other.
fn shuffle(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut characters: Vec<char> = text(values, 0)?.chars().collect();
    for last in (1..characters.len()).rev() {
        let drawn = super::random::below(runtime, last as u64 + 1)?;
        characters.swap(last, usize::try_from(drawn).unwrap_or(last));
    }
    Ok(Value::from(characters.into_iter().collect::<String>()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn text_functions() {
        let values = json!({"t": "  Hello World ", "n": null, "number": 5, "l": ["b", 1, null, "a"]});
        assert_prints(
            &values,
            &[
                ("trim .Values.t", "Hello World"),
                ("trimAll \"$\" \"$5$\"", "5"),
                ("trimPrefix \"-\" \"-a-\"", "a-"),
                ("trimSuffix \"-\" \"-a-\"", "-a"),
                ("lower \"AbC\"", "abc"),
                ("upper \"é\"", "É"),
                ("repeat 3 \"ab\"", "ababab"),
                ("substr 1 3 \"hello\"", "el"),
                ("substr -1 3 \"hello\"", "hel"),
                ("substr 3 -1 \"hello\"", "lo"),
                ("trunc 3 \"hello\"", "hel"),
                ("trunc -3 \"hello\"", "llo"),
                ("nospace .Values.t", "HelloWorld"),
                ("contains \"World\" .Values.t", "true"),
                ("hasPrefix \"a\" \"abc\"", "true"),
                ("quote .Values.n", ""),
                ("quote .Values.number \"a\\\"b\"", "\"5\" \"a\\\"b\""),
                ("squote .Values.number", "'5'"),
                ("cat 1 nil \"b\"", "1 b"),
                ("indent 2 \"a\\nb\"", "  a\n  b"),
                ("nindent 2 \"a\"", "\n  a"),
                ("replace \".\" \"-\" \"a.b.c\"", "a-b-c"),
                ("shuffle \"aaa\"", "aaa"),
                ("plural \"one\" \"many\" 2", "many"),
                ("join \",\" .Values.l", "b,1,a"),
                ("join \",\" \"x\"", "x"),
                ("(split \"/\" \"a/b\")._1", "b"),
                ("(splitn \"/\" 2 \"a/b/c\")._1", "b/c"),
                ("splitList \",\" \"a,b\" | toJson", "[\"a\",\"b\"]"),
                ("sortAlpha .Values.l | toJson", "[\"1\",\"a\",\"b\"]"),
                ("toString .Values.n", "<nil>"),
                ("toString .Values.number | kindOf", "string"),
                ("toStrings .Values.l | toJson", "[\"b\",\"1\",\"a\"]"),
            ],
        );
    }

    #[test]
    fn wrong_kinds_are_refused_as_in_go() {
        let values = json!({"number": 5});
        assert_refused(
            &values,
            &[
                ("upper .Values.none", "calling `upper`: invalid value; expected string"),
                ("upper .Values.number", "wrong type for value; expected string; got float64"),
                ("trunc .Values.number \"a\"", "expected int; got float64"),
                ("indent -1 \"a\"", "negative repeat count"),
                ("substr 9 10 \"abc\"", "out of range"),
            ],
        );
    }

    #[test]
    fn what_multiplies_text_is_bounded_before_it_is_built() {
        for expression in [
            "repeat 1000000000 \"ab\"",
            "indent 1000000000 \"a\"",
            "replace \"\" (repeat 20000 \"x\") (repeat 20000 \"y\")",
            "join (repeat 20000 \"x\") (until 20000)",
            "printf \"%999999d%999999d\" 1 2 | repeat 100",
        ] {
            assert_refused(
                &json!({}),
                &[(expression, "the templates produce more than 134217728 bytes in total")],
            );
        }
    }
}
