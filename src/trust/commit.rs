//! What a commit says of itself, and what its signature is over.

use super::{Doubt, Problem};

/// The header that holds a signature.
const SIGNATURE: &[u8] = b"gpgsig";

/// The headers whose names begin so hold signatures, of which this crate reads one kind only.
const SIGNATURES: &[u8] = b"gpgsig";

/// The largest commit that is looked at, in bytes: a message has some kilobytes.
pub const COMMIT_MAX: usize = 1024 * 1024;

/// A commit as its object is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// How many parents it has.
    pub parents: usize,
    /// When it was made, by its own word, in seconds since 1970.
    pub committed: i64,
    /// Its signature, if it has one.
    pub signature: Option<String>,
    /// What the signature is over: the commit without it.
    pub payload: Vec<u8>,
}

/// Reads a commit. Whatever could make two readers of it disagree is refused.
pub(super) fn read(bytes: &[u8]) -> Result<Commit, Doubt> {
    // One that is too large is handed over empty.
    if bytes.is_empty() || bytes.len() > COMMIT_MAX {
        return Err(Doubt::invalid("is larger than any commit should be"));
    }
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").map_or(bytes.len(), |at| at + 1);
    let (header, message) = bytes.split_at(end);
    let (mut payload, mut signature) = (Vec::with_capacity(bytes.len()), None);
    let (mut parents, mut committed, mut in_signature) = (0, None, false);
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        let (name, value) = match line.iter().position(|byte| *byte == b' ') {
            Some(space) => (&line[..space], &line[space + 1..]),
            None => (line, &b""[..]),
        };
        in_signature = name == SIGNATURE || (in_signature && name.is_empty());
        if in_signature {
            if name == SIGNATURE && signature.replace(Vec::new()).is_some() {
                return Err(Doubt::invalid("carries more than one signature"));
            }
            signature.get_or_insert_default().extend(value);
            continue;
        }
        if name.starts_with(SIGNATURES) {
            let words = "carries a signature for a repository of another kind";
            return Err(Doubt::new(Problem::Unknown, words));
        }
        match name {
            b"parent" => parents += 1,
            b"committer" if committed.is_none() => committed = Some(value),
            _ => {}
        }
        payload.extend(line);
    }
    payload.extend(message);
    let committed = committed.and_then(moment).ok_or_else(|| Doubt::invalid("says not when it was made"))?;
    let signature = signature.map(String::from_utf8).transpose();
    let signature = signature.map_err(|_| Doubt::invalid("carries a signature that is no text"))?;
    Ok(Commit { parents, committed, signature, payload })
}

/// Reads the time of `Name <address> 1700000000 +0100`.
fn moment(committer: &[u8]) -> Option<i64> {
    let after = committer.iter().rposition(|byte| *byte == b'>')? + 1;
    let text = std::str::from_utf8(&committer[after..]).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent aa\nauthor A <a@b> 1 +0000\n";

    fn commit(extra: &str) -> Vec<u8> {
        format!("{HEAD}committer A <a@b> 1700000000 +0100\n{extra}\nsubject\n\ngpgsig in the message\n")
            .into()
    }

    #[test]
    fn a_signature_is_taken_out_and_everything_else_stays() {
        let read = read(&commit("gpgsig -----BEGIN\n line\n \n last\nencoding x\n")).unwrap();
        assert_eq!(read.signature.as_deref(), Some("-----BEGIN\nline\n\nlast\n"));
        assert_eq!(read.payload, commit("encoding x\n"));
        assert_eq!((read.parents, read.committed), (1, 1_700_000_000));
    }

    #[test]
    fn a_commit_without_a_signature_is_its_own_payload() {
        let bytes = commit("mergetag object aa\n gpgsig -----BEGIN\n");
        let read = read(&bytes).unwrap();
        assert_eq!((read.signature, read.payload), (None, bytes));
    }

    #[test]
    fn a_second_signature_and_one_of_another_kind_are_refused() {
        let problem = |extra: &str| read(&commit(extra)).unwrap_err().problem;
        assert_eq!(problem("gpgsig a\nencoding x\ngpgsig b\n"), Problem::Invalid);
        assert_eq!(problem("gpgsig a\ngpgsig b\n"), Problem::Invalid);
        assert_eq!(problem("gpgsig-sha256 a\n"), Problem::Unknown);
        assert_eq!(read(b"tree x\n\nsubject").unwrap_err().problem, Problem::Invalid);
        assert_eq!(read(&vec![b'x'; COMMIT_MAX + 1]).unwrap_err().problem, Problem::Invalid);
    }
}
