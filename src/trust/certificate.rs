//! OpenPGP keys whose signatures are believed, and what each part of one may do at a time.
//!
//! A key is what its own signatures say of it. Of these only those count that verify with the primary key and are
//! over a hash that nobody can forge; revocations count over any hash.

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, PublicKey, PublicSubkey, RevocationCode, Signature, SignatureType};
use pgp::packet::{SignatureConfig, SubpacketData, UserId};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, Tag, VerifyingKey};

use super::{Doubt, Problem, Times, armor, day, printable};

/// How a key begins that is written as text.
const LABEL: &str = "PGP PUBLIC KEY BLOCK";

/// The most bytes of a file, and the most packets in it.
const FILE_MAX: usize = 4 * 1024 * 1024;
const PACKETS_MAX: usize = 20_000;

/// The fewest bits of an RSA key.
const RSA_BITS_MIN: u16 = 2048;

/// How many seconds ahead of ours the clock of who signs may be.
pub(super) const CLOCKS_DIFFER: i64 = 15 * 60;

/// Why a file of OpenPGP keys can't be used; fits "failed to {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("understand the OpenPGP keys: {0}")]
pub struct CertificatesError(String);

/// OpenPGP keys.
#[derive(Debug, Clone)]
pub struct Certificates(pub(super) Vec<Certificate>);

/// One OpenPGP key with all that the file says of it.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub primary: PublicKey,
    /// Signatures on the primary key alone: revocations and statements.
    direct: Vec<Signature>,
    users: Vec<(UserId, Vec<Signature>)>,
    pub subkeys: Vec<Subkey>,
}

/// A subkey with its signatures.
#[derive(Debug, Clone)]
pub(super) struct Subkey {
    pub key: PublicSubkey,
    signatures: Vec<Signature>,
}

impl Certificates {
    /// Reads a file of public keys, as text or as bytes. One that is not understood makes it unusable: it could be
    /// the one that revokes another.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificatesError> {
        read(bytes).map(Self).map_err(CertificatesError)
    }
}

fn read(bytes: &[u8]) -> Result<Vec<Certificate>, String> {
    if bytes.len() > FILE_MAX {
        return Err(format!("the file is larger than {FILE_MAX} bytes"));
    }
    // The first byte of a packet has its highest bit set, which no text has.
    let blocks = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        vec![bytes.to_vec()]
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| "they are neither text nor packets".to_owned())?;
        armor::blocks(text, LABEL)?
    };
    let mut reading = Reading::default();
    for block in &blocks {
        reading.on = On::Nothing;
        for packet in PacketParser::new(block.as_slice()) {
            reading.packets += 1;
            if reading.packets > PACKETS_MAX {
                return Err(format!("there are more than {PACKETS_MAX} packets"));
            }
            let packet = packet.map_err(|_| format!("packet {} can't be read", reading.packets))?;
            reading.add(packet)?;
        }
    }
    reading.finish()
}

/// What is being read.
#[derive(Default)]
struct Reading {
    certificates: Vec<Certificate>,
    /// Revocations that stand alone, as `gpg --gen-revoke` writes them.
    loose: Vec<Signature>,
    packets: usize,
    on: On,
}

/// What a signature that comes now is on.
#[derive(Default, Clone, Copy)]
enum On {
    #[default]
    Nothing,
    Primary,
    /// The user id at this place.
    User(usize),
    /// The subkey at this place.
    Subkey(usize),
    /// Something that says nothing about signing.
    Aside,
}

impl Reading {
    fn add(&mut self, packet: Packet) -> Result<(), String> {
        self.on = match packet {
            Packet::PublicKey(primary) => {
                let (direct, users, subkeys) = (Vec::new(), Vec::new(), Vec::new());
                self.certificates.push(Certificate { primary, direct, users, subkeys });
                On::Primary
            }
            Packet::SecretKey(_) | Packet::SecretSubkey(_) => {
                return Err("there is a secret key among them: export the public ones only".to_owned());
            }
            Packet::Signature(signature) => {
                self.add_signature(signature);
                self.on
            }
            Packet::UserId(user) => On::User(self.last()?.user(user)),
            Packet::PublicSubkey(key) => On::Subkey(self.last()?.subkey(key)),
            Packet::UserAttribute(_) => On::Aside,
            Packet::Trust(_) | Packet::Marker(_) | Packet::Padding(_) => self.on,
            _ => return Err(format!("packet {} belongs to no public key", self.packets)),
        };
        Ok(())
    }

    fn last(&mut self) -> Result<&mut Certificate, String> {
        let packets = self.packets;
        self.certificates.last_mut().ok_or_else(|| format!("packet {packets} comes before any key"))
    }

    fn add_signature(&mut self, signature: Signature) {
        if signature.typ() == Some(SignatureType::KeyRevocation) {
            // Wherever it stands: what it revokes is found by who made it.
            self.loose.push(signature);
            return;
        }
        let Some(certificate) = self.certificates.last_mut() else { return };
        let signatures = match self.on {
            On::Primary => Some(&mut certificate.direct),
            On::User(at) => certificate.users.get_mut(at).map(|(_, signatures)| signatures),
            On::Subkey(at) => certificate.subkeys.get_mut(at).map(|subkey| &mut subkey.signatures),
            On::Nothing | On::Aside => None,
        };
        if let Some(signatures) = signatures {
            signatures.push(signature);
        }
    }

    /// Puts together what the file says of a key in several places, so that a revocation in one of them counts.
    fn finish(self) -> Result<Vec<Certificate>, String> {
        let mut merged: Vec<Certificate> = Vec::new();
        for certificate in self.certificates {
            let same =
                |known: &&mut Certificate| known.primary.fingerprint() == certificate.primary.fingerprint();
            match merged.iter_mut().find(same) {
                Some(known) => known.absorb(certificate),
                None => merged.push(certificate),
            }
        }
        if merged.is_empty() {
            return Err("there is none".to_owned());
        }
        for certificate in &mut merged {
            certificate.direct.extend(self.loose.iter().cloned());
        }
        Ok(merged)
    }
}

impl Certificate {
    fn absorb(&mut self, other: Self) {
        let Self { primary: _, direct, users, subkeys } = other;
        self.direct.extend(direct);
        for (user, signatures) in users {
            let at = self.user(user);
            self.users[at].1.extend(signatures);
        }
        for Subkey { key, signatures } in subkeys {
            let at = self.subkey(key);
            self.subkeys[at].signatures.extend(signatures);
        }
    }

    /// Returns the place of a user id, which is the same however often the file has it.
    fn user(&mut self, user: UserId) -> usize {
        let known = self.users.iter().position(|(known, _)| known.id() == user.id());
        known.unwrap_or_else(|| {
            self.users.push((user, Vec::new()));
            self.users.len() - 1
        })
    }

    /// Returns the place of a subkey, which is the same however often the file has it.
    fn subkey(&mut self, key: PublicSubkey) -> usize {
        let known = self.subkeys.iter().position(|known| known.key.fingerprint() == key.fingerprint());
        known.unwrap_or_else(|| {
            self.subkeys.push(Subkey { key, signatures: Vec::new() });
            self.subkeys.len() - 1
        })
    }

    /// Returns whose key it is: its primary user id, or its fingerprint.
    pub fn principal(&self, now: i64) -> String {
        let user = self.primary_user(now).map(|(user, _)| printable(&String::from_utf8_lossy(user.id())));
        user.filter(|user| !user.is_empty()).unwrap_or_else(|| fingerprint(&self.primary))
    }

    /// Checks that the primary key may make a signature at a time, or that a subkey may.
    pub fn may_sign(&self, subkey: Option<&Subkey>, made: i64, times: Times) -> Result<(), Doubt> {
        let at = times.now;
        let who =
            format!("is signed by the OpenPGP key {} of {}", fingerprint(&self.primary), self.principal(at));
        let own = self.own_statements(at);
        if own.is_empty() {
            let words = format!(
                "{who}, which says nothing of itself that can be believed: its own signatures are missing or over a \
                 weak hash"
            );
            return Err(Doubt::invalid(words));
        }
        self.check_revoked(&who, made, at)?;
        let born = i64::from(self.primary.created_at().as_secs());
        check_life(&who, born, expiry(&own), made, times)?;
        check_strength(&who, self.primary.public_params())?;
        match subkey {
            Some(subkey) => self.may_subkey_sign(&who, subkey, made, times),
            None if own.iter().any(|statement| statement.key_flags().sign()) => Ok(()),
            None => Err(Doubt::invalid(format!("{who}, which may not sign (its key flags say so)"))),
        }
    }

    fn may_subkey_sign(&self, who: &str, subkey: &Subkey, made: i64, times: Times) -> Result<(), Doubt> {
        let at = times.now;
        let who = format!("{who}, with its subkey {}", fingerprint(&subkey.key));
        let by_primary = |typ, any_hash: bool| {
            subkey.signatures.iter().filter(move |signature| {
                signature.typ() == Some(typ)
                    && (any_hash || is_believable(signature, at))
                    && signature.verify_subkey_binding(&self.primary, &subkey.key).is_ok()
            })
        };
        for revocation in by_primary(SignatureType::SubkeyRevocation, true) {
            check_revocation(&who, revocation, made)?;
        }
        let latest = by_primary(SignatureType::SubkeyBinding, false).max_by_key(|binding| created(binding));
        let Some(binding) = latest else {
            return Err(Doubt::invalid(format!("{who}, which it does not vouch for")));
        };
        if !binding.key_flags().sign() {
            return Err(Doubt::invalid(format!("{who}, which may not sign (its key flags say so)")));
        }
        let vouches_back = binding.embedded_signature().is_some_and(|back| {
            is_believable(back, at) && back.verify_primary_key_binding(&subkey.key, &self.primary).is_ok()
        });
        if !vouches_back {
            let words = format!(
                "{who}, which does not vouch for it in turn: somebody else's subkey may have been taken"
            );
            return Err(Doubt::invalid(words));
        }
        let born = i64::from(subkey.key.created_at().as_secs());
        check_life(&who, born, expiry(&[binding]), made, times)?;
        check_strength(&who, subkey.key.public_params())
    }

    /// Returns what the key says of itself now: its last word on itself alone, and on its primary user id.
    fn own_statements(&self, at: i64) -> Vec<&Signature> {
        let alone = self.direct.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::Key)
                && is_believable(signature, at)
                && signature.verify_key(&self.primary).is_ok()
        });
        let user = self.primary_user(at).map(|(_, statement)| statement);
        alone.max_by_key(|signature| created(signature)).into_iter().chain(user).collect()
    }

    /// Finds the user id that the key calls its primary one, with what it says there last; the one it spoke of last
    /// when it calls none so.
    fn primary_user(&self, at: i64) -> Option<(&UserId, &Signature)> {
        let own = self.users.iter().filter_map(|(user, signatures)| {
            let by_key = |signature: &&Signature| {
                signature.verify_certification(&self.primary, Tag::UserId, user).is_ok()
            };
            let mine = signatures.iter().filter(|signature| self.may_be_by_primary(signature));
            let latest =
                mine.clone().filter(|signature| signature.is_certification() && is_believable(signature, at));
            let latest = latest.filter(by_key).max_by_key(|signature| created(signature))?;
            let mut revocations = mine.filter(|it| it.typ() == Some(SignatureType::CertRevocation));
            let revoked = revocations.any(|it| created(it) >= created(latest) && by_key(&it));
            (!revoked).then_some((user, latest))
        });
        own.max_by_key(|(_, statement)| (statement.is_primary(), created(statement)))
    }

    /// Leaves out what others say of the key, without checking their signatures.
    fn may_be_by_primary(&self, signature: &Signature) -> bool {
        let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
        (ids.is_empty() && fingerprints.is_empty())
            || ids.contains(&&self.primary.legacy_key_id())
            || fingerprints.contains(&&self.primary.fingerprint())
    }

    fn check_revoked(&self, who: &str, made: i64, at: i64) -> Result<(), Doubt> {
        let own = self.own_statements(at);
        let revokers: Vec<_> = own.iter().flat_map(|statement| revokers(statement)).collect();
        for revocation in self.direct.iter().filter(|it| it.typ() == Some(SignatureType::KeyRevocation)) {
            let mut issuers = revocation.issuer_fingerprint().into_iter();
            // Whoever the key lets revoke it: the file is the operator's, so who put it there meant it.
            let by_other = issuers.any(|issuer| revokers.contains(&issuer.as_bytes()));
            if by_other
                || (self.may_be_by_primary(revocation) && revocation.verify_key(&self.primary).is_ok())
            {
                check_revocation(who, revocation, made)?;
            }
        }
        Ok(())
    }
}

fn revokers(statement: &Signature) -> Vec<&[u8]> {
    let subpackets = statement.config().into_iter().flat_map(SignatureConfig::hashed_subpackets);
    let revokers = subpackets.filter_map(|subpacket| match &subpacket.data {
        SubpacketData::RevocationKey(key) => Some(key.fingerprint.as_slice()),
        _ => None,
    });
    revokers.collect()
}

/// A key that was given up for a better one keeps what it signed before; any other reason takes back all of it.
fn check_revocation(who: &str, revocation: &Signature, made: i64) -> Result<(), Doubt> {
    let since = created(revocation).unwrap_or(0);
    let soft = matches!(
        revocation.revocation_reason_code(),
        Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired)
    );
    if soft && made < since {
        return Ok(());
    }
    Err(Doubt::new(Problem::Revoked, format!("{who}, which was revoked on {}", day(since))))
}

fn check_life(who: &str, born: i64, expires: Option<i64>, made: i64, times: Times) -> Result<(), Doubt> {
    if made < born {
        return Err(Doubt::invalid(format!("{who}, which was made later, on {}", day(born))));
    }
    let ends = expires.map(|seconds| born.saturating_add(seconds));
    for time in times.of(made) {
        if let Some(end) = ends.filter(|end| time >= *end) {
            return Err(Doubt::new(Problem::Expired, format!("{who}, which was valid until {}", day(end))));
        }
    }
    Ok(())
}

/// Returns after how many seconds of its life a key ends, by the strictest of these statements.
fn expiry(statements: &[&Signature]) -> Option<i64> {
    let stated = statements.iter().filter_map(|statement| statement.key_expiration_time());
    stated.map(|time| i64::from(time.as_secs())).filter(|seconds| *seconds > 0).min()
}

/// Refuses keys whose signatures prove too little.
fn check_strength(who: &str, parameters: &PublicParams) -> Result<(), Doubt> {
    let reason = match parameters {
        PublicParams::RSA(rsa) => {
            let mut bytes = Vec::new();
            let written = rsa.to_writer(&mut bytes);
            // The modulus comes first, with the number of its bits in front.
            let bits = bytes.first_chunk().map_or(0, |bits| u16::from_be_bytes(*bits));
            if written.is_ok() && bits >= RSA_BITS_MIN {
                return Ok(());
            }
            format!("has an RSA key of {bits} bits, and needs {RSA_BITS_MIN} at least")
        }
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => return Ok(()),
        _ => "is of a kind that is not supported; use RSA, ECDSA or EdDSA".to_owned(),
    };
    Err(Doubt::invalid(format!("{who}, which {reason}")))
}

/// Tells whether a signature is of a kind that nobody but the key's owner can make, and in force.
pub(super) fn is_believable(signature: &Signature, at: i64) -> bool {
    let made = created(signature);
    let ends =
        signature.signature_expiration_time().map(|time| i64::from(time.as_secs())).filter(|it| *it > 0);
    is_strong(signature)
        && !has_unknown_demand(signature)
        && made.is_some_and(|made| made <= at + CLOCKS_DIFFER && ends.is_none_or(|ends| at < made + ends))
}

/// Tells whether nobody can make another text with the same hash.
pub(super) fn is_strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha224
                | HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

/// Tells whether a signature demands that something is understood that is not.
pub(super) fn has_unknown_demand(signature: &Signature) -> bool {
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|subpacket| {
            let unknown = matches!(
                subpacket.data,
                SubpacketData::Notation(_)
                    | SubpacketData::Experimental(..)
                    | SubpacketData::Other(..)
                    | SubpacketData::RegularExpression(_)
                    | SubpacketData::IntendedRecipientFingerprint(_)
            );
            subpacket.is_critical && unknown
        })
    })
}

/// Returns when a signature was made, by its own protected word.
pub(super) fn created(signature: &Signature) -> Option<i64> {
    signature.created().map(|created| i64::from(created.as_secs()))
}

/// Returns a fingerprint as `gpg` prints it.
pub(super) fn fingerprint(key: &impl KeyDetails) -> String {
    key.fingerprint().to_string().to_uppercase()
}

/// Tells whether a key is one that a signature names as its maker's.
pub(super) fn is_named(signature: &Signature, key: &impl VerifyingKey) -> bool {
    signature.issuer_key_id().contains(&&key.legacy_key_id())
        || signature.issuer_fingerprint().contains(&&key.fingerprint())
}
