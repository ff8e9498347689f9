//! Base 64 and check sums.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

use super::{Function, text};
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("b64enc", 1, |_, values| Ok(Value::from(STANDARD.encode(text(values, 0)?)))),
    Function::exactly("b64dec", 1, |_, values| {
        // Sprig returns the message as if it were the text; line breaks within are ignored by Go.
        let encoded = text(values, 0)?.replace(['\r', '\n'], "");
        Ok(match STANDARD.decode(encoded) {
            Ok(bytes) => Value::string(String::from_utf8_lossy(&bytes)),
            Err(error) => Value::from(error.to_string()),
        })
    }),
    Function::exactly("sha256sum", 1, |_, values| {
        Ok(Value::from(hexadecimal(&sha2::Sha256::digest(text(values, 0)?))))
    }),
    Function::exactly("sha512sum", 1, |_, values| {
        Ok(Value::from(hexadecimal(&sha2::Sha512::digest(text(values, 0)?))))
    }),
    Function::exactly("adler32sum", 1, |_, values| {
        Ok(Value::from(adler32(text(values, 0)?.as_bytes()).to_string()))
    }),
];

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
                ("sha256sum \"\"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
                ("sha512sum \"a\" | trunc 8", "1f40fc92"),
                ("adler32sum \"Wikipedia\"", "300286872"),
            ],
        );
    }
}
