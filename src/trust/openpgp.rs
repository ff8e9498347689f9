//! OpenPGP signatures, as `gpg --detach-sign` makes them for git.

use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SignatureVersion};
use pgp::types::VerifyingKey;

use super::certificate::{
    CLOCKS_DIFFER, Certificate, Subkey, created, fingerprint, has_unknown_demand, is_named, is_strong,
};
use super::ssh::best;
use super::{Certificates, Doubt, Kind, Problem, Signer, Times, armor, day};

/// How a signature begins.
pub(super) const LABEL: &str = "PGP SIGNATURE";

/// The largest signature that is looked at; one of a 4096-bit RSA key has less than 1 KiB.
const SIGNATURE_MAX: usize = 64 * 1024;

/// What a signature should be over.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signed<'a> {
    /// The bytes of a commit.
    Commit(&'a [u8]),
    /// A text, its lines as OpenPGP wants them.
    Text(&'a [u8]),
}

impl<'a> Signed<'a> {
    fn payload(self) -> &'a [u8] {
        match self {
            Self::Commit(payload) | Self::Text(payload) => payload,
        }
    }

    /// Continues "a signature that is not over".
    fn words(self) -> &'static str {
        match self {
            Self::Commit(_) => "this commit",
            Self::Text(_) => "its text",
        }
    }

    fn may_be(self, kind: Option<SignatureType>) -> bool {
        match self {
            Self::Commit(_) => kind == Some(SignatureType::Binary),
            Self::Text(_) => matches!(kind, Some(SignatureType::Binary | SignatureType::Text)),
        }
    }
}

/// Finds who signed something.
pub(super) fn verify(
    armored: &str,
    signed: Signed<'_>,
    certificates: &Certificates,
    times: Times,
) -> Result<Signer, Doubt> {
    let signature = read(armored, signed)?;
    let found = certificates.0.iter().flat_map(|certificate| {
        let primary = is_named(&signature, &certificate.primary).then(|| {
            let checked = check(certificate, None, &certificate.primary, &signature, signed, times);
            checked.map(|()| signer(certificate, &fingerprint(&certificate.primary), times))
        });
        let subkeys = certificate.subkeys.iter().filter(|subkey| is_named(&signature, &subkey.key));
        let subkeys: Vec<_> = subkeys
            .map(|subkey| {
                let checked = check(certificate, Some(subkey), &subkey.key, &signature, signed, times);
                checked.map(|()| signer(certificate, &fingerprint(&subkey.key), times))
            })
            .collect();
        primary.into_iter().chain(subkeys)
    });
    best(found).unwrap_or_else(|| {
        let mut issuers =
            signature.issuer_fingerprint().into_iter().map(|issuer| issuer.to_string().to_uppercase());
        let mut ids = signature.issuer_key_id().into_iter().map(|id| id.to_string().to_uppercase());
        let issuer =
            issuers.next().or_else(|| ids.next()).unwrap_or_else(|| "that it does not name".to_owned());
        let words = format!("is signed by the OpenPGP key {issuer}, which is not among the known ones");
        Err(Doubt::new(Problem::Unknown, words))
    })
}

fn signer(certificate: &Certificate, key: &str, times: Times) -> Signer {
    let principal = certificate.principal(times.now);
    Signer { principal, key: key.to_owned(), kind: Kind::OpenPgp }
}

/// Checks one signature against one key of a certificate.
fn check(
    certificate: &Certificate,
    subkey: Option<&Subkey>,
    key: &impl VerifyingKey,
    signature: &Signature,
    signed: Signed<'_>,
    times: Times,
) -> Result<(), Doubt> {
    if !is_strong(signature) {
        let hash = signature.hash_alg().map_or_else(|| "an unknown hash".to_owned(), |hash| hash.to_string());
        return Err(Doubt::invalid(format!("carries a signature over {hash}, which can be forged")));
    }
    if has_unknown_demand(signature) {
        return Err(Doubt::invalid("carries a signature that demands what is not known here"));
    }
    let Some(made) = created(signature) else {
        return Err(Doubt::invalid("carries a signature that says not when it was made"));
    };
    let verified = signature.verify(key, signed.payload());
    verified
        .map_err(|_| Doubt::invalid(format!("carries a signature that is not over {}", signed.words())))?;
    certificate.may_sign(subkey, made, times)?;
    check_times(signature, made, times)
}

fn check_times(signature: &Signature, made: i64, times: Times) -> Result<(), Doubt> {
    if made > times.now + CLOCKS_DIFFER {
        let words = format!("was signed on {}, which is still to come: compare the clocks", day(made));
        return Err(Doubt::invalid(words));
    }
    let lasts = signature.signature_expiration_time().map(|time| i64::from(time.as_secs()));
    match lasts.filter(|seconds| *seconds > 0).map(|seconds| made + seconds) {
        Some(end) if times.of(made).any(|time| time >= end) => Err(Doubt::new(
            Problem::Expired,
            format!("carries a signature that was valid until {}", day(end)),
        )),
        _ => Ok(()),
    }
}

/// Reads exactly one signature.
fn read(armored: &str, signed: Signed<'_>) -> Result<Signature, Doubt> {
    let malformed =
        |reason: &str| Doubt::invalid(format!("carries an OpenPGP signature that can't be read: {reason}"));
    if armored.len() > SIGNATURE_MAX {
        return Err(malformed("it is too large"));
    }
    let blocks = armor::blocks(armored, LABEL).map_err(|reason| malformed(&reason))?;
    let [block] = blocks.as_slice() else {
        return Err(Doubt::invalid("carries more than one signature"));
    };
    let mut packets = PacketParser::new(block.as_slice());
    let Some(Ok(Packet::Signature(signature))) = packets.next() else {
        return Err(malformed("it is no signature packet"));
    };
    if packets.next().is_some() {
        return Err(Doubt::invalid("carries more than one signature"));
    }
    if !matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6) {
        return Err(Doubt::new(Problem::Unknown, "carries an OpenPGP signature of an unknown version"));
    }
    if !signed.may_be(signature.typ()) {
        return Err(malformed("it is not over bytes as they are"));
    }
    Ok(signature)
}
