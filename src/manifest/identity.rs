//! What tells one object, one content and one life of an object from another, in few bytes: a fleet has hundreds of
//! thousands of them in memory.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Identifies an object within its store's namespace. The version of its API is left out: an object that moves
/// from `v1beta1` to `v1` is the same object.
///
/// A copy shares its text with the original: the same names recur in every store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<KeyParts>);

/// The parts of an [`ObjectKey`].
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyParts {
    /// The API group, empty for the core group.
    pub group: String,
    /// The kind, such as `Deployment`.
    pub kind: String,
    /// The object's name.
    pub name: String,
}

impl ObjectKey {
    /// Makes a key of its parts.
    pub fn new(group: impl Into<String>, kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self(Arc::new(KeyParts { group: group.into(), kind: kind.into(), name: name.into() }))
    }

    /// Whether nobody else holds this copy's text.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Deref for ObjectKey {
    type Target = KeyParts;

    fn deref(&self) -> &KeyParts {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// The first half of a SHA-256. Whoever could make two manifests of one fingerprint would fool the drift detector of
/// his own store and nothing else, and that takes 2^64 tries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Computes the fingerprint of a JSON value; the order of its keys does not matter.
    pub fn of(value: &Value) -> Self {
        let mut text = String::new();
        write_canonical(&mut text, value);
        Self::of_bytes(text.as_bytes())
    }

    /// Computes the fingerprint of bytes as they are.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(bytes)[..16]);
        Self(half)
    }

    /// Computes the fingerprint of this one and a number.
    #[must_use]
    pub fn and(self, number: i64) -> Self {
        Self::of_bytes(&[&self.0[..], &number.to_be_bytes()].concat())
    }
}

/// As URLs write Base64, without padding: 22 characters.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The text is no fingerprint; fits "failed to read the inventory: {error}".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 22 characters of Base64 for URLs")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoFingerprint)?;
        Ok(Self(bytes.try_into().map_err(|_| NoFingerprint)?))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The server's identity of one life of an object: made again, it has another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(UidForm);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum UidForm {
    /// What API servers give: a UUID in small letters.
    Uuid([u8; 16]),
    /// Anything else, as it is.
    Other(Box<str>),
}

impl Uid {
    /// Takes any text; that of a UUID takes 16 bytes.
    pub fn new(text: &str) -> Self {
        Self(uuid(text).map_or_else(|| UidForm::Other(text.into()), UidForm::Uuid))
    }
}

/// Reads a UUID that is written exactly as it would be written again.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    let dashed = bytes.len() == 36 && [8, 13, 18, 23].iter().all(|position| bytes[*position] == b'-');
    if !dashed {
        return None;
    }
    let mut digits = bytes.iter().enumerate().filter(|(position, _)| ![8, 13, 18, 23].contains(position));
    let mut digit = || match *digits.next()?.1 {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = digit()? << 4 | digit()?;
    }
    Some(uuid)
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            UidForm::Uuid(bytes) => {
                for (position, byte) in bytes.iter().enumerate() {
                    let dash = if [4, 6, 8, 10].contains(&position) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
            UidForm::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uid({self})")
    }
}

fn write_canonical(text: &mut String, value: &Value) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            text.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                let _ = write!(text, "{}:", Value::from(key.as_str()));
                write_canonical(text, value);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(text, item);
            }
            text.push(']');
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fingerprint_does_not_depend_on_the_order_of_keys() {
        let one = Fingerprint::of(&json!({"a": 1, "b": [1, {"c": 2, "d": "x"}]}));
        let other = Fingerprint::of(&json!({"b": [1, {"d": "x", "c": 2}], "a": 1}));
        assert_eq!(one, other);
        assert_ne!(one, Fingerprint::of(&json!({"a": 1, "b": [{"c": 2, "d": "x"}, 1]})));
        assert_ne!(one.and(1), one.and(2));
    }

    #[test]
    fn a_fingerprint_is_read_as_it_is_written_and_nothing_else_is() {
        let one = Fingerprint::of_bytes(b"x");
        assert_eq!(
            one.to_string(),
            "LXEWQrcmsEQBYnyp-6wy9Q",
            "it must never change, or every store is applied again"
        );
        assert_eq!(one.to_string().parse(), Ok(one));
        for bad in ["", "LXEWQrcmsEQBYnyp-6wy9", "LXEWQrcmsEQBYnyp/6wy9Q", &"0a".repeat(32)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_uid_is_written_as_it_was_read() {
        for text in [
            "6f2ac1b0-09e5-4d3a-8a51-0c9d7e1f2a3b",
            "6F2AC1B0-09e5-4d3a-8a51-0c9d7e1f2a3b",
            "6f2ac1b009e54d3a8a510c9d7e1f2a3b",
            "6f2ac1b0-09e5-4d3a-8a51-0c9d7e1f2a3",
            "u-1",
            "",
        ] {
            assert_eq!(Uid::new(text).to_string(), text);
        }
        assert!(size_of::<Uid>() <= 24);
    }

    #[test]
    fn equal_keys_are_one_whoever_holds_their_text() {
        let (one, other) =
            (ObjectKey::new("apps", "Deployment", "a"), ObjectKey::new("apps", "Deployment", "a"));
        assert_eq!(one, other);
        assert!(one < ObjectKey::new("apps", "Deployment", "b") && one.is_alone());
        let copy = one.clone();
        assert!(!one.is_alone() && copy == one);
        assert_eq!((size_of::<ObjectKey>(), one.to_string().as_str()), (8, "Deployment/a"));
    }
}
