//! Base 64, base 32 and check sums.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::sha::sha1;
use sha2::Digest as _;

use super::{Function, bytes};
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("b64enc", 1, |_, values| Ok(Value::from(STANDARD.encode(bytes(values, 0)?)))),
    Function::exactly("b64dec", 1, |_, values| Ok(decoded(bytes(values, 0)?, base64_bytes))),
    Function::exactly("b32enc", 1, |_, values| Ok(Value::from(base32(bytes(values, 0)?)))),
    Function::exactly("b32dec", 1, |_, values| Ok(decoded(bytes(values, 0)?, base32_bytes))),
    Function::exactly("sha1sum", 1, |_, values| Ok(Value::from(hexadecimal(&sha1(bytes(values, 0)?))))),
    Function::exactly("sha256sum", 1, |_, values| {
        Ok(Value::from(hexadecimal(&sha2::Sha256::digest(bytes(values, 0)?))))
    }),
    Function::exactly("sha512sum", 1, |_, values| {
        Ok(Value::from(hexadecimal(&sha2::Sha512::digest(bytes(values, 0)?))))
    }),
    Function::exactly("adler32sum", 1, |_, values| Ok(Value::from(adler32(bytes(values, 0)?).to_string()))),
];

/// Sprig returns the message as if it were the text.
fn decoded(encoded: &[u8], decode: fn(&[u8]) -> Result<Vec<u8>, String>) -> Value {
    decode(encoded).map_or_else(Value::from, Value::bytes)
}

/// Decodes base 64, in Go's words where it is none. Line breaks within do not count.
///
/// # Errors
/// Names the first byte at which the text is none.
pub(super) fn base64_bytes(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let kept: Vec<(usize, u8)> = without_breaks(encoded);
    let text: Vec<u8> = kept.iter().map(|(_, byte)| *byte).collect();
    STANDARD_LENIENT
        .decode(&text)
        .map_err(|_| format!("illegal base64 data at input byte {}", base64_mistake(&kept, encoded.len())))
}

/// Go does not mind what the bits behind the last byte are.
const STANDARD_LENIENT: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::general_purpose::PAD.with_decode_allow_trailing_bits(true),
);

fn without_breaks(encoded: &[u8]) -> Vec<(usize, u8)> {
    encoded.iter().copied().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n')).collect()
}

/// The place at which Go gives up.
fn base64_mistake(kept: &[(usize, u8)], length: usize) -> usize {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    for group in kept.chunks(4) {
        let Some(at) = group.iter().position(|(_, byte)| !is_digit(*byte)) else {
            if group.len() < 4 {
                // The text ends within a group: Go names the group's beginning.
                return length - group.len();
            }
            continue;
        };
        let (offset, byte) = group[at];
        if byte != b'=' || at < 2 {
            return offset;
        }
        let behind = kept.iter().skip_while(|(next, _)| *next <= offset);
        let mut behind = behind.copied();
        if at == 2 {
            match behind.next() {
                None => return length,
                Some((_, b'=')) => {}
                Some((next, _)) => return next - 1,
            }
        }
        return behind.next().map_or(length, |(next, _)| next);
    }
    length
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Eight digits of five bits for five bytes each, filled up with `=`.
fn base32(bytes: &[u8]) -> String {
    let mut output = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let mut padded = [0; 8];
        padded[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(padded);
        for digit in 0..8 {
            let index = usize::try_from(bits >> (35 - 5 * digit) & 31).unwrap_or_default();
            output.push(if digit * 5 < group.len() * 8 { char::from(BASE32[index]) } else { '=' });
        }
    }
    output
}

fn base32_bytes(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let text: Vec<u8> = without_breaks(encoded).into_iter().map(|(_, byte)| byte).collect();
    // Go counts without the line breaks.
    let mistake = |at: usize| Err(format!("illegal base32 data at input byte {at}"));
    let mut output = Vec::with_capacity(text.len() / 8 * 5);
    for (number, group) in text.chunks(8).enumerate() {
        let begin = number * 8;
        let is_last = begin + group.len() == text.len();
        let mut bits: u64 = 0;
        let mut digits = 0;
        for byte in group {
            let Some(value) = BASE32.iter().position(|digit| digit == byte) else { break };
            bits |= (value as u64) << (35 - 5 * digits);
            digits += 1;
        }
        if digits < 8 {
            let at = begin + digits;
            match group.get(digits) {
                None => return mistake(begin),
                Some(b'=') if digits >= 2 && is_last => {
                    if group.len() < 8 {
                        return mistake(text.len());
                    }
                    if let Some(wrong) = group[digits..].iter().position(|byte| *byte != b'=') {
                        return mistake(at + wrong - 1);
                    }
                    if matches!(digits, 3 | 6) {
                        return mistake(at);
                    }
                }
                Some(_) => return mistake(at),
            }
        }
        output.extend_from_slice(&bits.to_be_bytes()[3..3 + digits * 5 / 8]);
    }
    Ok(output)
}

/// Prints bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut output, byte| {
        let _ = write!(output, "{byte:02x}");
        output
    })
}

fn adler32(bytes: &[u8]) -> u32 {
    const PRIME: u32 = 65_521;
    let (low, high) = bytes.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % PRIME;
        (low, (high + low) % PRIME)
    });
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::assert_prints;

    #[test]
    fn encodings_and_sums() {
        assert_prints(
            &json!({}),
            &[
                ("b64enc \"héllo\"", "aMOpbGxv"),
                ("b64dec \"aMOpbGxv\"", "héllo"),
                ("b64dec \"aMOpb!xv\"", "illegal base64 data at input byte 5"),
                ("b64dec \"//8=\" | b64enc", "//8="),
                ("b32enc \"foobar\"", "MZXW6YTBOI======"),
                ("b32dec \"MZXW6YTBOI======\"", "foobar"),
                ("sha1sum \"abc\"", "a9993e364706816aba3e25717850c26c9cd0d89d"),
                ("sha256sum \"\"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
                ("sha512sum \"a\" | trunc 8", "1f40fc92"),
                ("adler32sum \"Wikipedia\"", "300286872"),
            ],
        );
    }
}
