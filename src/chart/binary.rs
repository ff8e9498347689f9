//! Strings of any bytes. A Go string need not be UTF-8: a file of a chart, decoded base 64, a text cut within a character.

use std::cell::OnceCell;

/// What Go sees where a byte is no part of a character.
pub(crate) const NO_CHARACTER: char = '\u{fffd}';

/// A string that is not UTF-8.
pub(crate) struct Binary {
    bytes: Box<[u8]>,
    text: OnceCell<Box<str>>,
}

impl Binary {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_boxed_slice(), text: OnceCell::new() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The characters as Go iterates them: U+FFFD for each byte that belongs to none.
    pub(crate) fn text(&self) -> &str {
        self.text.get_or_init(|| characters(&self.bytes).into_boxed_str())
    }

    /// The bytes that a part of [`Binary::text`] stands for; the part begins and ends between characters.
    pub(crate) fn part(&self, start: usize, end: usize) -> &[u8] {
        let (start, end) = (self.offset(start), self.offset(end));
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn offset(&self, wanted: usize) -> usize {
        let (mut in_text, mut in_bytes) = (0, 0);
        for chunk in self.bytes.utf8_chunks() {
            let (valid, invalid) = (chunk.valid().len(), chunk.invalid().len());
            if wanted <= in_text + valid {
                return in_bytes + (wanted - in_text);
            }
            (in_text, in_bytes) = (in_text + valid, in_bytes + valid);
            let replaced = NO_CHARACTER.len_utf8();
            if wanted <= in_text + invalid * replaced {
                return in_bytes + (wanted - in_text) / replaced;
            }
            (in_text, in_bytes) = (in_text + invalid * replaced, in_bytes + invalid);
        }
        in_bytes
    }
}

/// Reads bytes as Go iterates characters. Unlike `from_utf8_lossy`, each stray byte counts by itself.
pub(crate) fn characters(bytes: &[u8]) -> String {
    let mut output = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        output.push_str(chunk.valid());
        output.extend(chunk.invalid().iter().map(|_| NO_CHARACTER));
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stray_byte_is_a_character_of_its_own() {
        let binary = Binary::new(b"a\xe2\x82b\xff\xc3\xa4".to_vec());
        assert_eq!(binary.text(), "a\u{fffd}\u{fffd}b\u{fffd}ä");
        assert_eq!(binary.part(1, 4), b"\xe2");
        assert_eq!(binary.part(7, 13), b"b\xff\xc3\xa4");
        assert_eq!(binary.part(0, 13), binary.bytes());
    }
}
