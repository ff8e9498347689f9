//! Whether `known_hosts` vouches for a host's key, by the rules of OpenSSH's sshd(8), section on the
//! format of that file.
//!
//! libssh2's own check is not used: libgit2 hands it the file in the home folder and nothing else. Two rules
//! are stricter than ssh: a port other than 22 needs a line with `[host]:port`, and `@cert-authority` lines are
//! not read.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use sha2::{Digest, Sha256};

/// What `known_hosts` says about a key. Line numbers count from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opinion {
    /// A line holds exactly this key for the host.
    Known,
    /// No line is for the host, or only lines with other types of key; holds those types.
    Unknown { other_types: Vec<String> },
    /// A line holds another key of the same type for the host.
    Changed { line: usize },
    /// A line revokes this key.
    Revoked { line: usize },
}

/// Looks up the key that a host showed.
pub(super) fn look_up(known_hosts: &str, host: &str, port: u16, key: &[u8]) -> Opinion {
    let name = host_name(host, port);
    let key_type = key_type(key);
    let mut other_types = Vec::new();
    let mut changed = None;
    let mut known = false;
    for (index, line) in known_hosts.lines().enumerate() {
        let Some(line) = Line::parse(line) else { continue };
        let is_for_host = line.is_for(&name) || (port == 22 && line.is_for(&format!("[{host}]:22")));
        if !is_for_host {
            continue;
        }
        match (line.marker, line.key == key) {
            (Some("@revoked"), true) => return Opinion::Revoked { line: index + 1 },
            (Some(_), _) => {}
            (None, true) => known = true,
            (None, false) if line.key_type == key_type => changed = changed.or(Some(index + 1)),
            (None, false) => other_types.push(line.key_type.to_owned()),
        }
    }
    match (known, changed) {
        (true, _) => Opinion::Known,
        (false, Some(line)) => Opinion::Changed { line },
        (false, None) => Opinion::Unknown { other_types },
    }
}

/// Returns the line that would make a key known.
pub(super) fn line_for(host: &str, port: u16, key: &[u8]) -> String {
    format!("{} {} {}", host_name(host, port), key_type(key), STANDARD.encode(key))
}

/// Returns a key's fingerprint as ssh prints it.
pub(super) fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// Returns the type that a key names itself: the first field of its encoding, a length and as many bytes.
pub(super) fn key_type(key: &[u8]) -> String {
    let name = key.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        std::str::from_utf8(rest.get(..length)?).ok()
    });
    match name {
        Some(name) if name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic()) => name.to_owned(),
        _ => "unknown".to_owned(),
    }
}

struct Line<'a> {
    marker: Option<&'a str>,
    hosts: &'a str,
    key_type: &'a str,
    key: Vec<u8>,
}

impl<'a> Line<'a> {
    /// Parses a line; `None` for comments, empty lines and lines that ssh would skip too.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        let hosts = words.next().filter(|word| !word.starts_with('#'))?;
        let key_type = words.next()?;
        let key = STANDARD.decode(words.next()?).ok()?;
        Some(Self { marker, hosts, key_type, key })
    }

    fn is_for(&self, name: &str) -> bool {
        if let Some(hashed) = self.hosts.strip_prefix("|1|") {
            return is_hash_of(hashed, name);
        }
        let mut matched = false;
        for pattern in self.hosts.split(',') {
            match pattern.strip_prefix('!') {
                Some(pattern) if matches_pattern(pattern, name) => return false,
                Some(_) => {}
                None => matched |= matches_pattern(pattern, name),
            }
        }
        matched
    }
}

/// How `known_hosts` spells a host: with brackets and port unless the port is the usual one.
fn host_name(host: &str, port: u16) -> String {
    match port {
        22 => host.to_ascii_lowercase(),
        port => format!("[{}]:{port}", host.to_ascii_lowercase()),
    }
}

/// Tells whether `salt|hash`, both in base64, is the HMAC-SHA1 of a name.
fn is_hash_of(hashed: &str, name: &str) -> bool {
    let hash_of_name = |salt: &[u8]| {
        let key = PKey::hmac(salt)?;
        Signer::new(MessageDigest::sha1(), &key)?.sign_oneshot_to_vec(name.as_bytes())
    };
    let Some((salt, hash)) = hashed.split_once('|') else { return false };
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
    hash_of_name(&salt).is_ok_and(|found| found == hash)
}

/// Matches `*` and `?` as ssh does. Host names are short, so going back to the last star is cheap.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase().into_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((star_p, star_n)) => {
                    star = Some((star_p, star_n + 1));
                    p = star_p + 1;
                    n = star_n + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes a key as ssh does: each field with its length before it.
    fn key(key_type: &str, body: &str) -> Vec<u8> {
        [key_type, body]
            .iter()
            .flat_map(|field| {
                let length = u32::try_from(field.len()).unwrap().to_be_bytes();
                length.into_iter().chain(field.bytes())
            })
            .collect()
    }

    fn known(hosts: &str, key: &[u8]) -> String {
        format!("{hosts} {} {}\n", key_type(key), STANDARD.encode(key))
    }

    #[test]
    fn a_key_is_known_only_when_a_line_holds_it_for_this_host_and_port() {
        let ours = key("ssh-ed25519", "ours");
        for (hosts, host, port, expected) in [
            ("git.example.com", "git.example.com", 22, true),
            ("Git.Example.com", "git.example.com", 22, true),
            ("[git.example.com]:22", "git.example.com", 22, true),
            ("[git.example.com]:2222", "git.example.com", 2222, true),
            ("git.example.com", "git.example.com", 2222, false),
            ("[git.example.com]:2222", "git.example.com", 22, false),
            ("other.example.com,git.example.com", "git.example.com", 22, true),
            ("*.example.com", "git.example.com", 22, true),
            ("*.example.com,!git.example.com", "git.example.com", 22, false),
            ("g?t.example.com", "git.example.com", 22, true),
            ("*", "git.example.com", 22, true),
            ("git.example.com.evil.org", "git.example.com", 22, false),
            ("example.com", "git.example.com", 22, false),
            ("# git.example.com", "git.example.com", 22, false),
        ] {
            let opinion = look_up(&known(hosts, &ours), host, port, &ours);
            assert_eq!(opinion == Opinion::Known, expected, "{hosts} for {host}:{port} gave {opinion:?}");
        }
    }

    #[test]
    fn another_key_of_the_same_type_is_a_change_and_of_another_type_is_unknown() {
        let (ours, new) = (key("ssh-ed25519", "ours"), key("ssh-ed25519", "new"));
        let rsa = key("ssh-rsa", "ours");
        let text = format!("# comment\n{}", known("h", &ours));
        assert_eq!(look_up(&text, "h", 22, &new), Opinion::Changed { line: 2 });
        assert_eq!(
            look_up(&text, "h", 22, &rsa),
            Opinion::Unknown { other_types: vec!["ssh-ed25519".to_owned()] }
        );
        assert_eq!(look_up(&text, "other", 22, &ours), Opinion::Unknown { other_types: Vec::new() });
        let rotated = format!("{}{}", known("h", &ours), known("h", &new));
        assert_eq!(look_up(&rotated, "h", 22, &new), Opinion::Known);
    }

    #[test]
    fn a_revoked_key_is_refused_even_when_another_line_knows_it() {
        let ours = key("ssh-ed25519", "ours");
        let text = format!("{}@revoked {}", known("h", &ours), known("*", &ours));
        assert_eq!(look_up(&text, "h", 22, &ours), Opinion::Revoked { line: 2 });
        let authority = format!("@cert-authority {}", known("h", &ours));
        assert_eq!(look_up(&authority, "h", 22, &ours), Opinion::Unknown { other_types: Vec::new() });
    }

    #[test]
    fn broken_lines_are_skipped() {
        let ours = key("ssh-ed25519", "ours");
        let text = format!(
            "h\nh ssh-ed25519\nh ssh-ed25519 ***\n|1|x h\n|1|*|* a b\n@revoked\n\n{}",
            known("h", &ours)
        );
        assert_eq!(look_up(&text, "h", 22, &ours), Opinion::Known);
        assert_eq!(key_type(b""), "unknown");
        assert_eq!(key_type(b"\xff\xff\xff\xffx"), "unknown");
    }

    #[test]
    fn the_line_to_add_makes_the_key_known() {
        let ours = key("ssh-ed25519", "ours");
        for (host, port) in [("git.example.com", 22), ("git.example.com", 2222), ("::1", 22), ("::1", 2222)] {
            assert_eq!(look_up(&line_for(host, port, &ours), host, port, &ours), Opinion::Known);
        }
        assert!(fingerprint(&ours).starts_with("SHA256:"));
    }
}
