//! Text.

use super::{Function, Outcome, Runtime, argument, integer, text};
use crate::chart::error::Failure;
use crate::chart::format;
use crate::chart::lines::next_break;
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("trim", 1, |_, values| Ok(Value::from(text(values, 0)?.trim()))),
    Function::exactly("trimAll", 2, trim_all),
    Function::exactly("trimall", 2, trim_all),
    Function::exactly("trimPrefix", 2, |_, values| {
        let (prefix, text) = (text(values, 0)?, text(values, 1)?);
        Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
    }),
    Function::exactly("trimSuffix", 2, |_, values| {
        let (suffix, text) = (text(values, 0)?, text(values, 1)?);
        Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
    }),
    Function::exactly("lower", 1, |_, values| Ok(Value::from(text(values, 0)?.to_lowercase()))),
    Function::exactly("upper", 1, |_, values| Ok(Value::from(text(values, 0)?.to_uppercase()))),
    Function::exactly("repeat", 2, repeat),
    Function::exactly("substr", 3, substr),
    Function::exactly("trunc", 2, trunc),
    Function::exactly("nospace", 1, |_, values| {
        Ok(Value::from(text(values, 0)?.split_whitespace().collect::<String>()))
    }),
    Function::exactly("contains", 2, |_, values| {
        Ok(Value::Bool(text(values, 1)?.contains(text(values, 0)?)))
    }),
    Function::exactly("hasPrefix", 2, |_, values| {
        Ok(Value::Bool(text(values, 1)?.starts_with(text(values, 0)?)))
    }),
    Function::exactly("hasSuffix", 2, |_, values| {
        Ok(Value::Bool(text(values, 1)?.ends_with(text(values, 0)?)))
    }),
    Function::at_least("quote", 0, |runtime, values| quoted(runtime, values, format::quote)),
    Function::at_least("squote", 0, |runtime, values| quoted(runtime, values, |text| format!("'{text}'"))),
    Function::at_least("cat", 0, |runtime, values| Ok(Value::from(displayed(runtime, values)?.join(" ")))),
    Function::exactly("indent", 2, |runtime, values| indent(runtime, values, "")),
    Function::exactly("nindent", 2, |runtime, values| indent(runtime, values, "\n")),
    Function::exactly("replace", 3, replace),
    Function::exactly("plural", 3, |_, values| {
        Ok(Value::from(if integer(values, 2)? == 1 { text(values, 0)? } else { text(values, 1)? }))
    }),
    Function::exactly("join", 2, join),
    Function::exactly("split", 2, |_, values| Ok(numbered(text(values, 1)?.split(text(values, 0)?)))),
    Function::exactly("splitn", 3, splitn),
    Function::exactly("splitList", 2, split_list),
    Function::exactly("sortAlpha", 1, sort_alpha),
    Function::exactly("toString", 1, to_string),
    Function::exactly("toStrings", 1, |runtime, values| {
        Ok(Value::strings(strings(runtime, argument(values, 0))?))
    }),
];

fn trim_all(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let characters = text(values, 0)?;
    Ok(Value::from(text(values, 1)?.trim_matches(|character| characters.contains(character))))
}

fn repeat(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let count = integer(values, 0)?;
    let text = text(values, 1)?;
    let Ok(count) = usize::try_from(count) else { return Err(Failure::new("negative repeat count")) };
    runtime.budget.produce(text.len().saturating_mul(count))?;
    Ok(Value::from(text.repeat(count)))
}

/// Cuts bytes, as Go does; a character cut in two is replaced.
fn bytes(text: &str, start: usize, end: usize) -> Outcome {
    let part = text.as_bytes().get(start..end);
    let part = part.ok_or_else(|| Failure::new(format!("slice bounds out of range [{start}:{end}]")))?;
    Ok(Value::string(String::from_utf8_lossy(part)))
}

fn substr(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let text = text(values, 2)?;
    let start = usize::try_from(integer(values, 0)?).unwrap_or(0);
    let end = match usize::try_from(integer(values, 1)?) {
        Ok(end) if end <= text.len() => end,
        _ => text.len(),
    };
    bytes(text, start, end)
}

fn trunc(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let count = integer(values, 0)?;
    let text = text(values, 1)?;
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if size >= text.len() {
        return Ok(Value::from(text));
    }
    if count < 0 { bytes(text, text.len() - size, text.len()) } else { bytes(text, 0, size) }
}

/// The arguments that are not nil, printed.
fn displayed(runtime: &mut Runtime<'_>, values: &[Value]) -> Result<Vec<String>, Failure> {
    let mut output = Vec::with_capacity(values.len());
    for value in values.iter().filter(|value| !value.is_nil()) {
        runtime.budget.produce(value.deep_size()?)?;
        output.push(format::display(value)?);
    }
    Ok(output)
}

fn quoted(runtime: &mut Runtime<'_>, values: &[Value], quote: impl Fn(&str) -> String) -> Outcome {
    if let [Value::String(text)] = values {
        runtime.budget.produce(argument(values, 0).deep_size()?)?;
        return Ok(Value::from(quote(text)));
    }
    let quoted: Vec<String> = displayed(runtime, values)?.iter().map(|text| quote(text)).collect();
    Ok(Value::from(quoted.join(" ")))
}

fn indent(runtime: &mut Runtime<'_>, values: &[Value], before: &str) -> Outcome {
    let count = integer(values, 0)?;
    let text = text(values, 1)?;
    let Ok(count) = usize::try_from(count) else { return Err(Failure::new("negative repeat count")) };
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let size = text.len().saturating_add(lines.saturating_mul(count));
    runtime.budget.produce(size)?;
    let margin = " ".repeat(count);
    let mut output = String::with_capacity(size + before.len());
    output.push_str(before);
    let mut begin = 0;
    while let Some(at) = next_break(text, begin) {
        output.push_str(&margin);
        output.push_str(&text[begin..=at]);
        begin = at + 1;
    }
    output.push_str(&margin);
    output.push_str(&text[begin..]);
    Ok(Value::from(output))
}

fn replace(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (old, new, text) = (text(values, 0)?, text(values, 1)?, text(values, 2)?);
    // An empty `old` matches between all characters.
    let matches = if old.is_empty() { text.len() + 1 } else { text.matches(old).count() };
    runtime.budget.produce(matches.saturating_mul(new.len()))?;
    Ok(Value::from(text.replace(old, new)))
}

/// A list as text, item by item; nil items are left out, a single value is a list of one.
fn strings(runtime: &mut Runtime<'_>, value: &Value) -> Result<Vec<String>, Failure> {
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
    let separator = text(values, 0)?;
    let parts = strings(runtime, argument(values, 1))?;
    runtime.budget.produce(separator.len().saturating_mul(parts.len()))?;
    Ok(Value::from(parts.join(separator)))
}

/// `split` returns a map with the keys `_0`, `_1`, …
fn numbered<'t>(parts: impl Iterator<Item = &'t str>) -> Value {
    Value::map(parts.enumerate().map(|(position, part)| (format!("_{position}"), Value::from(part))))
}

fn splitn(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (separator, count, text) = (text(values, 0)?, integer(values, 1)?, text(values, 2)?);
    Ok(match usize::try_from(count) {
        Ok(count) => numbered(text.splitn(count, separator)),
        Err(_) => numbered(text.split(separator)),
    })
}

fn split_list(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (separator, text) = (text(values, 0)?, text(values, 1)?);
    runtime.budget.produce(text.len())?;
    Ok(if separator.is_empty() {
        Value::strings(text.chars().map(String::from))
    } else {
        Value::strings(text.split(separator))
    })
}

fn sort_alpha(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut parts = strings(runtime, argument(values, 0))?;
    parts.sort_unstable();
    Ok(Value::strings(parts))
}

fn to_string(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let value = argument(values, 0);
    if let Value::String(_) = value {
        return Ok(value.clone());
    }
    runtime.budget.produce(value.deep_size()?)?;
    Ok(Value::from(format::display(value)?))
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
