//! Go's string literals, to their bytes.

/// Reads the literal that a text begins with, in double quotes; `None` if there is none.
pub(crate) fn unquoted(text: &str) -> Option<Vec<u8>> {
    let mut rest = text.strip_prefix('"')?;
    let mut output = Vec::new();
    loop {
        let character = rest.chars().next()?;
        rest = &rest[character.len_utf8()..];
        match character {
            '"' => return Some(output),
            '\\' => rest = escape(rest, &mut output)?,
            other => push(&mut output, other),
        }
    }
}

/// Reads what follows a backslash, and returns what follows that.
fn escape<'t>(text: &'t str, output: &mut Vec<u8>) -> Option<&'t str> {
    let kind = text.chars().next()?;
    let rest = &text[kind.len_utf8()..];
    let code = |digits: usize| {
        let (digits, rest) = rest.split_at_checked(digits)?;
        Some((u32::from_str_radix(digits, 16).ok()?, rest))
    };
    match kind {
        'x' => {
            let (code, rest) = code(2)?;
            output.push(u8::try_from(code).ok()?);
            return Some(rest);
        }
        'u' | 'U' => {
            let (code, rest) = code(if kind == 'u' { 4 } else { 8 })?;
            push(output, char::from_u32(code)?);
            return Some(rest);
        }
        '0'..='7' => {
            let (digits, rest) = text.split_at_checked(3)?;
            output.push(u8::from_str_radix(digits, 8).ok()?);
            return Some(rest);
        }
        'n' => output.push(b'\n'),
        't' => output.push(b'\t'),
        'r' => output.push(b'\r'),
        'a' => output.push(7),
        'b' => output.push(8),
        'f' => output.push(12),
        'v' => output.push(11),
        other => push(output, other),
    }
    Some(rest)
}

fn push(output: &mut Vec<u8>, character: char) {
    output.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_bytes_are_bytes_and_those_of_characters_characters() {
        assert_eq!(unquoted(r#""a\xff\303\u00e4ä\"\n" | x"#).unwrap(), b"a\xff\xc3\xc3\xa4\xc3\xa4\"\n");
        assert_eq!(unquoted("`raw`"), None);
    }
}
