//! Bytes that are written as text between two lines, by OpenSSH and by OpenPGP.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Decodes every block of a label, such as `PGP SIGNATURE`. Anything but white space outside of the blocks is
/// refused, and so is a block that does not end; the error says what in words.
pub(super) fn blocks(text: &str, label: &str) -> Result<Vec<Vec<u8>>, String> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let (mut blocks, mut lines) = (Vec::new(), text.lines().map(str::trim_end));
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        if line != begin {
            return Err(format!("there is something else than `{begin}`"));
        }
        let mut inside = Vec::new();
        loop {
            match lines.next() {
                Some(line) if line == end => break,
                Some(line) => inside.push(line),
                None => return Err(format!("`{end}` is missing")),
            }
        }
        blocks.push(decode(&inside)?);
    }
    Ok(blocks)
}

/// Decodes what is between the two lines: headers up to an empty line, if there are any, then base64, then a
/// checksum, which proves nothing and is not looked at.
fn decode(lines: &[&str]) -> Result<Vec<u8>, String> {
    let body = match lines.iter().position(|line| line.is_empty()) {
        Some(empty) if lines[..empty].iter().all(|line| line.contains(": ") || line.ends_with(':')) => {
            &lines[empty + 1..]
        }
        _ => lines,
    };
    let body = match body.split_last() {
        Some((last, rest)) if last.starts_with('=') && last.len() == 5 => rest,
        _ => body,
    };
    STANDARD.decode(body.concat()).map_err(|error| format!("it is not base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_checksums_are_left_out_and_blocks_follow_each_other() {
        let text = "\n-----BEGIN X-----\r\nVersion: 1\r\nComment:\r\n\r\nYWJj\r\nZGVm\r\n=abcd\r\n-----END X-----\r\n\n\
                    -----BEGIN X-----\nYWJj\n-----END X-----";
        assert_eq!(blocks(text, "X").unwrap(), [b"abcdef".to_vec(), b"abc".to_vec()]);
        assert!(blocks("", "X").unwrap().is_empty());
    }

    #[test]
    fn what_is_not_a_block_is_refused() {
        for text in [
            "x\n-----BEGIN X-----\nYWJj\n-----END X-----",
            "-----BEGIN X-----\nYWJj\n-----END X-----\nx",
            "-----BEGIN X-----\nYWJj",
            "-----BEGIN X-----\nYW!j\n-----END X-----",
            "-----BEGIN Y-----\nYWJj\n-----END Y-----",
        ] {
            assert!(blocks(text, "X").is_err(), "{text}");
        }
    }
}
