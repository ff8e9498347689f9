//! The file of SSH keys whose signatures are believed, in the format that OpenSSH calls `allowed_signers`.

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};

use super::printable;
use crate::report::moment;

/// The most bytes of a file.
const FILE_MAX: usize = 4 * 1024 * 1024;

/// The fewest bits of an RSA key.
const RSA_BITS_MIN: usize = 2048;

/// Why a file of allowed signers can't be used; fits "failed to {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("understand line {line} of the allowed signers: {reason}")]
pub struct AllowedSignersError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// SSH keys and authorities whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSigners(pub(super) Vec<Line>);

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub number: usize,
    /// The principals as they are written.
    pub principals: Patterns,
    /// Whether the key signs certificates, not commits.
    pub is_authority: bool,
    /// What the key may sign; none: anything.
    pub namespaces: Option<Patterns>,
    /// From when on, in seconds since 1970.
    pub valid_after: Option<i64>,
    /// Until when.
    pub valid_before: Option<i64>,
    pub key: KeyData,
}

impl AllowedSigners {
    /// Reads a file. A line that is not understood makes it unusable: it could have meant to keep somebody out.
    pub fn parse(text: &str) -> Result<Self, AllowedSignersError> {
        if text.len() > FILE_MAX {
            let reason = format!("the file is larger than {FILE_MAX} bytes");
            return Err(AllowedSignersError { line: 1, reason });
        }
        let mut lines = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let (number, text) = (index + 1, text.trim());
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let read = line(number, text);
            lines.push(read.map_err(|reason| AllowedSignersError { line: number, reason })?);
        }
        Ok(Self(lines))
    }
}

/// Patterns with `*` and `?`, each of which may be denied by a `!` in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patterns(Vec<String>);

impl Patterns {
    fn parse(text: &str) -> Result<Self, String> {
        let patterns: Vec<_> = text.split(',').map(|pattern| pattern.trim().to_owned()).collect();
        if patterns.iter().any(|pattern| pattern.trim_start_matches('!').is_empty()) {
            return Err(format!("`{}` has an empty pattern", printable(text)));
        }
        Ok(Self(patterns))
    }

    /// Tells whether a text matches a pattern, and none that is denied.
    pub fn matches(&self, text: &str) -> bool {
        let denied = self.0.iter().filter_map(|pattern| pattern.strip_prefix('!'));
        let allowed = self.0.iter().filter(|pattern| !pattern.starts_with('!'));
        !denied.into_iter().any(|pattern| glob(pattern, text))
            && allowed.into_iter().any(|pattern| glob(pattern, text))
    }

    /// Shows the patterns as they were written.
    pub fn shown(&self) -> String {
        printable(&self.0.join(","))
    }
}

/// Matches a text against a pattern in time proportional to both lengths multiplied, whatever the pattern.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where to go on when what follows the last star does not match.
    let mut star = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, seen));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (at, seen) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

fn line(number: usize, text: &str) -> Result<Line, String> {
    let (principals, rest) = token(text)?;
    let principals = Patterns::parse(&principals.replace('"', ""))?;
    let (options, key) = if is_key_type(rest) { ("", rest) } else { token(rest)? };
    let mut line = Line {
        number,
        principals,
        is_authority: false,
        namespaces: None,
        valid_after: None,
        valid_before: None,
        key: self::key(key)?,
    };
    for option in split_options(options)? {
        set(&mut line, &option)?;
    }
    if let (Some(after), Some(before)) = (line.valid_after, line.valid_before)
        && after >= before
    {
        return Err("the key is valid at no time: valid-after is not before valid-before".to_owned());
    }
    Ok(line)
}

fn set(line: &mut Line, option: &str) -> Result<(), String> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(unquoted(value)?)),
        None => (option, None),
    };
    let is_new = match (name.to_ascii_lowercase().as_str(), value) {
        ("cert-authority", None) => !std::mem::replace(&mut line.is_authority, true),
        ("namespaces", Some(value)) => line.namespaces.replace(Patterns::parse(value)?).is_none(),
        ("valid-after", Some(value)) => line.valid_after.replace(time(value)?).is_none(),
        ("valid-before", Some(value)) => line.valid_before.replace(time(value)?).is_none(),
        _ => {
            return Err(format!(
                "the option `{}` is not supported; there are cert-authority, namespaces=\"…\", valid-after=\"…\" and \
                 valid-before=\"…\"",
                printable(option)
            ));
        }
    };
    if is_new { Ok(()) } else { Err(format!("the option `{}` is there twice", printable(name))) }
}

/// Takes what comes before the first white space that is not between quotes.
fn token(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return Ok((&text[..at], text[at..].trim_start())),
            _ => {}
        }
    }
    Err(if quoted { "a quote is not closed" } else { "it has no key" }.to_owned())
}

fn split_options(text: &str) -> Result<Vec<String>, String> {
    let (mut options, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        quoted ^= c == '"';
        match options.last_mut() {
            Some(option) if c != ',' || quoted => option.push(c),
            _ => options.push(String::new()),
        }
    }
    options.retain(|option| !option.is_empty());
    if quoted { Err("a quote is not closed".to_owned()) } else { Ok(options) }
}

fn unquoted(value: &str) -> Result<&str, String> {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner
        .filter(|inner| !inner.contains(['"', '\\']))
        .ok_or_else(|| format!("the value {} is not between double quotes, or holds one", printable(value)))
}

/// Reads `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with or without a `Z`, as UTC.
fn time(text: &str) -> Result<i64, String> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or("00");
    let written = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..12),
        part(12..14)
    );
    let is_long_enough = matches!(digits.len(), 8 | 12 | 14);
    moment::seconds(&written).filter(|_| is_long_enough).ok_or_else(|| {
        format!("`{}` is not a time as in 20261122, 202611221345 or 20261122134500Z", printable(text))
    })
}

fn is_key_type(text: &str) -> bool {
    let name = text.split_whitespace().next().unwrap_or_default();
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| name.starts_with(start))
}

fn key(text: &str) -> Result<KeyData, String> {
    let name = text.split_whitespace().next().unwrap_or_default();
    if !is_key_type(text) {
        return Err(format!("`{}` is not the type of a key", printable(name)));
    }
    let key = PublicKey::from_openssh(text).map_err(|error| format!("the key can't be read: {error}"))?;
    check(key.key_data()).map_err(|reason| format!("the key can't be used: {reason}"))?;
    Ok(key.key_data().clone())
}

/// Refuses keys whose signatures prove too little, or can't be checked.
pub(super) fn check(key: &KeyData) -> Result<(), String> {
    match key {
        KeyData::Rsa(key) => {
            let bits = key.n.as_positive_bytes().map_or(0, |bytes| bytes.len() * 8);
            if bits < RSA_BITS_MIN {
                return Err(format!("RSA keys need {RSA_BITS_MIN} bits at least, and it has {bits}"));
            }
            Ok(())
        }
        KeyData::Ecdsa(_) | KeyData::Ed25519(_) | KeyData::SkEcdsaSha2NistP256(_) | KeyData::SkEd25519(_) => {
            Ok(())
        }
        other => Err(format!("keys of type {} are not supported", printable(other.algorithm().as_str()))),
    }
}

/// Returns a key's fingerprint, as `ssh-keygen -l` prints it.
pub(super) fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn lines_are_read_with_their_options() {
        let text = format!(
            "# who may decide\n\nada@example.com,*@ops.example.com {KEY} ada's laptop\n\
             \"bob@example.com\" cert-authority,namespaces=\"git,file\",valid-after=\"20260101\",Valid-Before=\"20270101120000Z\" {KEY}\n"
        );
        let AllowedSigners(lines) = AllowedSigners::parse(&text).unwrap();
        assert_eq!((lines[0].number, lines[1].number), (3, 4));
        assert!(lines[0].principals.matches("x@ops.example.com") && !lines[0].is_authority);
        assert_eq!((lines[0].namespaces.clone(), lines[0].valid_after), (None, None));
        assert!(lines[1].is_authority && lines[1].namespaces.as_ref().unwrap().matches("git"));
        let times = (lines[1].valid_after, lines[1].valid_before);
        assert_eq!(times, (moment::seconds("2026-01-01T00:00:00Z"), moment::seconds("2027-01-01T12:00:00Z")));
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error_with_its_number() {
        let dsa = "ssh-dss AAAAB3NzaC1kc3M=";
        for (line, reason) in [
            (format!("a no-touch-required {KEY}"), "the option `no-touch-required` is not supported"),
            (format!("a namespaces=git {KEY}"), "is not between double quotes"),
            (format!("a namespaces=\"git {KEY}"), "a quote is not closed"),
            (format!("a namespaces=\"git\",namespaces=\"x\" {KEY}"), "is there twice"),
            (format!("a valid-after=\"20261301\" {KEY}"), "is not a time"),
            (format!("a valid-after=\"2026\" {KEY}"), "is not a time"),
            (format!("a valid-after=\"20270101\",valid-before=\"20260101\" {KEY}"), "valid at no time"),
            (format!("a,,b {KEY}"), "has an empty pattern"),
            ("a ssh-ed25519 AAAA".to_owned(), "the key can't be read"),
            (format!("a {dsa}"), "the key can't be read"),
            ("a".to_owned(), "it has no key"),
            ("a what AAAA".to_owned(), "is not the type of a key"),
        ] {
            let error = AllowedSigners::parse(&format!("# one\n{line}\n")).unwrap_err();
            assert_eq!(error.line, 2);
            assert!(error.reason.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn patterns_match_as_in_openssh() {
        let patterns = Patterns::parse("*@example.com,!eve@*,b?b").unwrap();
        for (text, matches) in [
            ("ada@example.com", true),
            ("eve@example.com", false),
            ("bob", true),
            ("boob", false),
            ("", false),
        ] {
            assert_eq!(patterns.matches(text), matches, "{text}");
        }
        assert!(!Patterns::parse("!a").unwrap().matches("b"), "a denial alone allows nobody");
        assert!(glob("a*b*c", "a-b-b-c") && !glob("a*b*c", "a-b-b"));
        let (start, long) = (std::time::Instant::now(), "a".repeat(20_000));
        assert!(!glob(&"a*".repeat(200), &format!("{long}b")[..20_000].replace('a', "b")));
        assert!(start.elapsed().as_secs() < 5);
    }
}
