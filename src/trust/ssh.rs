//! SSH signatures, as `ssh-keygen -Y sign` makes them for git.

use ssh_key::certificate::CertType;
use ssh_key::{Certificate, HashAlg, PublicKey, Signature, SshSig};

use super::allowed_signers::{Line, check, fingerprint};
use super::{AllowedSigners, Doubt, Kind, Problem, Signer, Times, armor, day, printable};

/// How a signature begins.
pub(super) const LABEL: &str = "SSH SIGNATURE";

/// What git's signatures are for: one for something else, made by the same key, proves nothing here.
const NAMESPACE: &str = "git";

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const CERTIFICATE: &[u8] = b"-cert-v01@openssh.com";

/// A signature, taken apart.
struct Parts<'a> {
    key: &'a [u8],
    hash: HashAlg,
    signature: Signature,
}

/// Finds who signed a text.
pub(super) fn verify(
    armored: &str,
    payload: &[u8],
    signers: &AllowedSigners,
    committed: i64,
    times: Times,
) -> Result<Signer, Doubt> {
    let malformed =
        |reason: &str| Doubt::invalid(format!("carries an SSH signature that can't be read: {reason}"));
    let blocks = armor::blocks(armored, LABEL).map_err(|reason| malformed(&reason))?;
    let [block] = blocks.as_slice() else {
        return Err(Doubt::invalid("carries more than one signature"));
    };
    let parts = parts(block)?;
    let (algorithm, _) = string(parts.key).ok_or_else(|| malformed("it holds no key"))?;
    if algorithm.ends_with(CERTIFICATE) {
        let certificate = Certificate::from_bytes(parts.key).map_err(|error| match error {
            // The library has no moment for never.
            ssh_key::Error::Time => Doubt::invalid(
                "is signed with an SSH certificate that never ends, which is not supported; certify the key with \
                 `ssh-keygen -V`",
            ),
            error => malformed(&format!("the certificate: {error}")),
        })?;
        return by_certificate(&certificate, &parts, payload, signers, (committed, times));
    }
    let key = PublicKey::from_bytes(parts.key).map_err(|error| malformed(&format!("the key: {error}")))?;
    let lines = signers.0.iter().filter(|line| !line.is_authority && line.key == *key.key_data());
    let found = best(lines.map(|line| line_allows(line, committed, times).map(|()| line.principals.shown())));
    let shown = fingerprint(key.key_data());
    let principal = found.unwrap_or_else(|| {
        Err(Doubt::new(
            Problem::Unknown,
            format!("is signed by SSH key {shown}, which is no allowed signer's"),
        ))
    })?;
    check_signature(&key, &parts, payload)?;
    Ok(Signer { principal, key: shown, kind: Kind::Ssh })
}

fn by_certificate(
    certificate: &Certificate,
    parts: &Parts<'_>,
    payload: &[u8],
    signers: &AllowedSigners,
    (committed, times): (i64, Times),
) -> Result<Signer, Doubt> {
    let authority = fingerprint(certificate.signature_key());
    let lines = signers.0.iter().filter(|line| line.is_authority && line.key == *certificate.signature_key());
    let found = best(lines.map(|line| {
        line_allows(line, committed, times)?;
        let principals = certificate.valid_principals();
        let principal = principals.iter().find(|principal| line.principals.matches(principal));
        principal.map(|principal| printable(principal)).ok_or_else(|| {
            let words = format!(
                "is signed with a certificate of {authority} for none of the principals {}",
                line.principals.shown()
            );
            Doubt::new(Problem::Unknown, words)
        })
    }));
    let principal = found.unwrap_or_else(|| {
        let words =
            format!("is signed with an SSH certificate of {authority}, which is no allowed authority");
        Err(Doubt::new(Problem::Unknown, words))
    })?;
    check_certificate(certificate, committed, times)?;
    check_signature(&PublicKey::from(certificate.public_key().clone()), parts, payload)?;
    Ok(Signer { principal, key: fingerprint(certificate.public_key()), kind: Kind::Ssh })
}

fn check_certificate(certificate: &Certificate, committed: i64, times: Times) -> Result<(), Doubt> {
    let invalid = |reason: &str| Doubt::invalid(format!("is signed with an SSH certificate that {reason}"));
    if certificate.cert_type() != CertType::User {
        return Err(invalid("is not a user's"));
    }
    if let Some((name, _)) = certificate.critical_options().iter().next() {
        return Err(invalid(&format!("demands `{}`, which can't be kept here", printable(name))));
    }
    let (after, before) = (certificate.valid_after(), certificate.valid_before());
    for time in times.of(committed) {
        let time = u64::try_from(time).unwrap_or(0);
        if time < after || time >= before {
            let date = |seconds: u64| day(i64::try_from(seconds).unwrap_or(i64::MAX));
            let words = format!(
                "is signed with an SSH certificate that is valid from {} to {}",
                date(after),
                date(before)
            );
            return Err(Doubt::new(Problem::Expired, words));
        }
    }
    let own = certificate.signature_key().fingerprint(HashAlg::Sha256);
    let at = u64::try_from(committed).unwrap_or(0);
    certificate.validate_at(at, [&own]).map_err(|_| invalid("its authority did not make"))
}

/// Checks what a line says of when and what for.
/// `committed` is when the commit was made, by its own word: a signature holds no time.
fn line_allows(line: &Line, committed: i64, times: Times) -> Result<(), Doubt> {
    let who = format!(
        "is signed by the key of {} (line {} of the allowed signers)",
        line.principals.shown(),
        line.number
    );
    if line.namespaces.as_ref().is_some_and(|namespaces| !namespaces.matches(NAMESPACE)) {
        let words = format!("{who}, which may not sign commits: its namespaces leave out `{NAMESPACE}`");
        return Err(Doubt::new(Problem::Unknown, words));
    }
    for time in times.of(committed) {
        if let Some(before) = line.valid_before.filter(|before| time >= *before) {
            return Err(Doubt::new(
                Problem::Expired,
                format!("{who}, which was valid until {}", day(before)),
            ));
        }
        if let Some(after) = line.valid_after.filter(|after| time < *after) {
            return Err(Doubt::new(
                Problem::Expired,
                format!("{who}, which is valid from {} on", day(after)),
            ));
        }
    }
    Ok(())
}

/// Returns the first that is believed; otherwise the doubt that says most; none when there is nothing.
pub(super) fn best<T>(found: impl Iterator<Item = Result<T, Doubt>>) -> Option<Result<T, Doubt>> {
    let mut best: Option<Result<T, Doubt>> = None;
    for one in found {
        match (&one, &best) {
            (Ok(_), _) => return Some(one),
            (Err(doubt), Some(Err(before))) if before.weight() >= doubt.weight() => {}
            _ => best = Some(one),
        }
    }
    best
}

fn check_signature(key: &PublicKey, parts: &Parts<'_>, payload: &[u8]) -> Result<(), Doubt> {
    check(key.key_data())
        .map_err(|reason| Doubt::invalid(format!("is signed by a key that can't be used: {reason}")))?;
    let signature = SshSig::new(key.key_data().clone(), NAMESPACE, parts.hash, parts.signature.clone());
    let verified = signature.and_then(|signature| key.verify(NAMESPACE, payload, &signature));
    verified.map_err(|_| Doubt::invalid("carries a signature that is not over this commit"))
}

fn parts(block: &[u8]) -> Result<Parts<'_>, Doubt> {
    let malformed =
        || Doubt::invalid("carries an SSH signature that can't be read: it is cut off or garbled");
    let rest = block.strip_prefix(MAGIC).ok_or_else(malformed)?;
    let (version, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
    if u32::from_be_bytes(*version) != VERSION {
        return Err(Doubt::new(Problem::Unknown, "carries an SSH signature of an unknown version"));
    }
    let (key, rest) = string(rest).ok_or_else(malformed)?;
    let (namespace, rest) = string(rest).ok_or_else(malformed)?;
    let (_reserved, rest) = string(rest).ok_or_else(malformed)?;
    let (hash, rest) = string(rest).ok_or_else(malformed)?;
    let (signature, rest) = string(rest).ok_or_else(malformed)?;
    if !rest.is_empty() {
        return Err(malformed());
    }
    if namespace != NAMESPACE.as_bytes() {
        let namespace = printable(&String::from_utf8_lossy(namespace));
        return Err(Doubt::invalid(format!(
            "carries a signature that was made for `{namespace}`, not for git"
        )));
    }
    let hash = match hash {
        b"sha256" => HashAlg::Sha256,
        b"sha512" => HashAlg::Sha512,
        _ => return Err(Doubt::invalid("carries an SSH signature over a hash that is not believed")),
    };
    let signature = Signature::try_from(signature).map_err(|_| malformed())?;
    Ok(Parts { key, hash, signature })
}

/// Takes a text with its length in front of it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}
