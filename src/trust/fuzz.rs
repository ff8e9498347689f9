//! What a fuzzer may call: whatever the bytes, these return, and soon. A cargo-fuzz target is one line around one of
//! them; `tests/trust_garbage.rs` feeds them mutations of what real programs wrote.

use super::{AllowedSigners, Certificates, Keys, Times, judge};

/// Reads bytes as a file of allowed signers; tells whether they are one.
pub fn allowed_signers(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| AllowedSigners::parse(text).is_ok())
}

/// Reads bytes as a file of OpenPGP keys; tells whether they are one.
pub fn openpgp_keys(bytes: &[u8]) -> bool {
    Certificates::parse(bytes).is_ok()
}

/// Reads bytes as a commit and looks for who signed it; tells whether somebody did who is believed.
pub fn commit(bytes: &[u8], keys: &Keys, now: i64) -> bool {
    judge::signer(bytes, keys, Times { now, was_believed: false }).is_ok()
}
