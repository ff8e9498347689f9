//! Text as words: cases, abbreviations, wrapping.

use super::{Function, Outcome, Runtime, integer, text};
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("title", 1, title),
    Function::exactly("untitle", 1, untitle),
    Function::exactly("swapcase", 1, swapcase),
    Function::exactly("snakecase", 1, |_, values| {
        Ok(Value::from(words(text(values, 0)?).join("_").to_lowercase()))
    }),
    Function::exactly("kebabcase", 1, |_, values| {
        Ok(Value::from(words(text(values, 0)?).join("-").to_lowercase()))
    }),
    Function::exactly("camelcase", 1, |_, values| {
        Ok(Value::from(words(text(values, 0)?).iter().map(|word| capitalized(word)).collect::<String>()))
    }),
    Function::exactly("initials", 1, |_, values| {
        Ok(Value::from(
            text(values, 0)?.split_whitespace().filter_map(|word| word.chars().next()).collect::<String>(),
        ))
    }),
    Function::exactly("abbrev", 2, |_, values| {
        Ok(Value::from(abbreviated(text(values, 1)?, 0, integer(values, 0)?)))
    }),
    Function::exactly("abbrevboth", 3, |_, values| {
        Ok(Value::from(abbreviated(text(values, 2)?, integer(values, 0)?, integer(values, 1)?)))
    }),
    Function::exactly("wrap", 2, |_, values| Ok(wrapped(text(values, 1)?, integer(values, 0)?, "\n", false))),
    Function::exactly("wrapWith", 3, wrap_with),
];

fn title(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut output = String::new();
    let mut in_word = false;
    for character in text(values, 0)?.chars() {
        if in_word {
            output.push(character);
        } else {
            output.extend(character.to_uppercase());
        }
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
        if in_word {
            output.push(character);
        } else {
            output.extend(character.to_lowercase());
        }
        in_word = !character.is_whitespace();
    }
    Ok(Value::from(output))
}

fn swapcase(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut output = String::new();
    for character in text(values, 0)?.chars() {
        if character.is_uppercase() {
            output.extend(character.to_lowercase());
        } else {
            output.extend(character.to_uppercase());
        }
    }
    Ok(Value::from(output))
}

/// Cuts a text into words: at space, `-` and `_`, before a capital after a small letter, and
/// before the last capital of several when a small letter follows (`HTTPServer` is `HTTP` and `Server`).
fn words(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut words = vec![String::new()];
    for (at, &character) in characters.iter().enumerate() {
        if matches!(character, '-' | '_') || character.is_whitespace() {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).map(|before| characters[before]);
        let after_small = before.is_some_and(|before| before.is_lowercase() || before.is_numeric());
        let after_capital = before.is_some_and(char::is_uppercase);
        let before_small = characters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if character.is_uppercase() && (after_small || (after_capital && before_small)) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    first + &characters.as_str().to_lowercase()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Shortens to `width` bytes with `...`, at both ends if more than four bytes are left out on the left.
fn abbreviated(text: &str, left: i64, width: i64) -> String {
    let bytes = text.as_bytes();
    let Ok(width) = usize::try_from(width) else { return text.to_owned() };
    let left = usize::try_from(left).unwrap_or(0);
    if width < 4 || (left > 0 && width < 7) || bytes.len() <= width {
        return text.to_owned();
    }
    let mut offset = left.min(bytes.len());
    if bytes.len() - offset < width - 3 {
        offset = bytes.len() - (width - 3);
    }
    if offset <= 4 {
        return lossy(&bytes[..width - 3]) + "...";
    }
    if offset + width - 3 < bytes.len() {
        // The rest is shortened in its turn, with room for the marker in front.
        return format!(
            "...{}",
            abbreviated(&lossy(&bytes[offset..]), 0, i64::try_from(width - 3).unwrap_or(0))
        );
    }
    format!("...{}", lossy(&bytes[bytes.len() - (width - 3)..]))
}

fn wrap_with(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (width, separator, text) = (integer(values, 0)?, text(values, 1)?, text(values, 2)?);
    let lines = text.len() / usize::try_from(width.max(1)).unwrap_or(usize::MAX) + 1;
    runtime.budget.produce(lines.saturating_mul(separator.len()))?;
    let separator = if separator.is_empty() { "\n" } else { separator };
    Ok(wrapped(text, width, separator, true))
}

/// Breaks a text at spaces into lines of at most `width` bytes; longer words only if `cuts_words`.
fn wrapped(text: &str, width: i64, separator: &str, cuts_words: bool) -> Value {
    let bytes = text.as_bytes();
    let width = usize::try_from(width.max(1)).unwrap_or(usize::MAX);
    let mut output: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut offset = 0;
    while bytes.len() - offset > width {
        if bytes[offset] == b' ' {
            offset += 1;
            continue;
        }
        let line = &bytes[offset..=offset + width];
        let after = &bytes[offset + width..];
        let (end, next) = if let Some(space) = line.iter().rposition(|byte| *byte == b' ') {
            (offset + space, offset + space + 1)
        } else if cuts_words {
            (offset + width, offset + width)
        } else if let Some(space) = after.iter().position(|byte| *byte == b' ') {
            (offset + width + space, offset + width + space + 1)
        } else {
            break;
        };
        output.extend_from_slice(&bytes[offset..end]);
        output.extend_from_slice(separator.as_bytes());
        offset = next;
    }
    output.extend_from_slice(&bytes[offset..]);
    Value::from(lossy(&output))
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
                ("kebabcase \"HTTPServer\"", "http-server"),
                ("camelcase \"http_server\"", "HttpServer"),
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
