//! Provenance files of charts, as `helm package --sign` makes them: a chart's metadata and the digests of its archive, signed
//! as a text.

use super::openpgp::{self, Signed};
use super::{Certificates, Signer, Times};
use crate::chart::parse_values;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";

/// What stands between the metadata and the digests: the end of a YAML document.
const SEPARATOR: &str = "...";

/// The largest file that is looked at.
const FILE_MAX: usize = 1024 * 1024;

/// Why a provenance file proves nothing; continues "its provenance file".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProvenanceError(String);

/// Finds who signed a provenance file that names an archive by its SHA-256, in hexadecimal digits. `now` is in seconds
/// since 1970.
pub fn provenance(
    file: &[u8],
    archive: &str,
    certificates: &Certificates,
    now: i64,
) -> Result<Signer, ProvenanceError> {
    let error = |words: &str| ProvenanceError(words.to_owned());
    let text = std::str::from_utf8(file).ok().filter(|text| text.len() <= FILE_MAX);
    let text = text.ok_or_else(|| error("is too large, or no text"))?;
    let Message { lines, signature } = read(text).ok_or_else(|| error("is no text signed with OpenPGP"))?;
    let payload = lines.join("\r\n");
    let times = Times { now, was_believed: false };
    let signer = openpgp::verify(&signature, Signed::Text(payload.as_bytes()), certificates, times)
        .map_err(|doubt| ProvenanceError(doubt.words))?;
    // Only what is signed is read.
    let end = lines.iter().rposition(|line| *line == SEPARATOR).map_or(0, |at| at + 1);
    let digests = parse_values(&lines[end..].join("\n")).map_err(|_| error("names no digests of files"))?;
    let files = digests.get("files").and_then(serde_json::Value::as_object);
    let wanted = format!("sha256:{archive}");
    if files.is_some_and(|files| files.values().any(|digest| digest.as_str() == Some(&wanted))) {
        return Ok(signer);
    }
    Err(error("is that of another archive: it does not name the digest of this one"))
}

/// A text and its signature.
struct Message<'a> {
    /// As they are signed: without white space at their ends.
    lines: Vec<&'a str>,
    signature: String,
}

/// Reads a text that is signed in clear. Nothing may stand before it, so that nobody takes for signed what is not.
fn read(text: &str) -> Option<Message<'_>> {
    let mut rest = text.lines().skip_while(|line| line.is_empty());
    if rest.next()?.trim_end() != BEGIN {
        return None;
    }
    // Headers name hashes, which the signature does too.
    rest.by_ref().take_while(|line| !line.is_empty()).all(|line| line.starts_with("Hash: ")).then_some(())?;
    let mut lines = Vec::new();
    for line in rest.by_ref() {
        if line.trim_end() == BEGIN_SIGNATURE {
            let signature: Vec<_> = std::iter::once(BEGIN_SIGNATURE).chain(rest).collect();
            return Some(Message { lines, signature: signature.join("\n") });
        }
        let line = match line.strip_prefix("- ") {
            Some(escaped) => escaped,
            None if line.starts_with('-') => return None,
            None => line,
        };
        lines.push(line.trim_end_matches([' ', '\t', '\r']));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_text_is_taken_apart_as_it_is_signed() {
        let text = format!("\n{BEGIN}\nHash: SHA512\n\na: 1  \r\n- - b\n\n{BEGIN_SIGNATURE}\nx\n");
        let message = read(&text).unwrap();
        assert_eq!(message.lines, ["a: 1", "- b", ""]);
        assert_eq!(message.signature, format!("{BEGIN_SIGNATURE}\nx"));
    }

    #[test]
    fn what_could_pass_for_signed_and_is_not_is_no_message() {
        for text in [
            String::new(),
            format!("a: 1\n{BEGIN}\n\na\n{BEGIN_SIGNATURE}\n"),
            format!("{BEGIN}\nfiles: x\n\na\n{BEGIN_SIGNATURE}\n"),
            format!("{BEGIN}\n\n-----BEGIN X-----\n{BEGIN_SIGNATURE}\n"),
            format!("{BEGIN}\n\na: 1\n"),
        ] {
            assert!(read(&text).is_none(), "{text}");
        }
    }
}
