//! Keys and certificates. OpenSSL makes them; what is in them is what Go's `crypto/x509` puts there for Sprig.

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time, Asn1Type};
use openssl::bn::{BigNum, BigNumContext};
use openssl::dsa::Dsa;
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, PKeyRef, Private};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameBuilder, X509NameRef};

use super::crypto::refused;
use super::encoding::base64_bytes;
use super::{Function, Outcome, Runtime, argument, bytes, integer, text, wrong_type};
use crate::chart::error::Failure;
use crate::chart::objects::Object;
use crate::chart::value::{Element, Value};

/// How many steps it counts as to make a key: with all steps that a render may take, keys of any kind take ten seconds
/// or so.
const RSA_2048_STEPS: u64 = 50_000;
const RSA_4096_STEPS: u64 = 500_000;
const DSA_STEPS: u64 = 500_000;
const SMALL_KEY_STEPS: u64 = 10_000;

/// The size of keys of certificates, in bits.
const CERTIFICATE_KEY: u32 = 2048;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("genPrivateKey", 1, generate),
    Function::exactly("genCA", 2, |runtime, values| {
        let key = new_key(runtime)?;
        authority(runtime, values, &key)
    }),
    Function::exactly("genCAWithKey", 3, |runtime, values| {
        authority(runtime, values, &given_key(values, 2)?)
    }),
    Function::exactly("genSelfSignedCert", 4, |runtime, values| {
        let key = new_key(runtime)?;
        self_signed(runtime, values, &key)
    }),
    Function::exactly("genSelfSignedCertWithKey", 5, |runtime, values| {
        self_signed(runtime, values, &given_key(values, 4)?)
    }),
    Function::exactly("genSignedCert", 5, |runtime, values| {
        let key = new_key(runtime)?;
        signed(runtime, values, &key)
    }),
    Function::exactly("genSignedCertWithKey", 6, |runtime, values| {
        signed(runtime, values, &given_key(values, 5)?)
    }),
    Function::exactly("buildCustomCert", 2, custom),
];

type Key = PKey<Private>;

fn generate(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let kind = text(values, 0)?;
    let steps = match kind {
        "" | "rsa" => RSA_4096_STEPS,
        "dsa" => DSA_STEPS,
        "ecdsa" | "ed25519" => SMALL_KEY_STEPS,
        _ => return Ok(Value::from(format!("Unknown type {kind}"))),
    };
    runtime.budget.steps(steps)?;
    let pem = new_key_of(kind).and_then(|key| pem_of(&key)).map_err(|error| refused(&error))?;
    Ok(Value::bytes(pem))
}

fn new_key_of(kind: &str) -> Result<Key, ErrorStack> {
    match kind {
        "dsa" => PKey::from_dsa(Dsa::generate(2048)?),
        "ecdsa" => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            PKey::from_ec_key(EcKey::generate(&group)?)
        }
        "ed25519" => PKey::generate_ed25519(),
        _ => PKey::from_rsa(Rsa::generate(4096)?),
    }
}

fn new_key(runtime: &mut Runtime<'_>) -> Result<Key, Failure> {
    runtime.budget.steps(RSA_2048_STEPS)?;
    Rsa::generate(CERTIFICATE_KEY).and_then(PKey::from_rsa).map_err(|error| refused(&error))
}

/// The format of a key goes by its kind, as Go's module writes them.
fn pem_of(key: &PKeyRef<Private>) -> Result<Vec<u8>, ErrorStack> {
    match key.id() {
        Id::RSA => key.rsa()?.private_key_to_pem(),
        Id::EC => key.ec_key()?.private_key_to_pem(),
        Id::DSA => key.dsa()?.private_key_to_pem(),
        _ => key.private_key_to_pem_pkcs8(),
    }
}

/// Finds the first block of PEM; returns its label and content. OpenSSL's own reader would ask for a password.
fn block(pem: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    // Lines such as `Proc-Type: …` come before an empty one.
    let content: String = body.lines().filter(|line| !line.contains(':')).map(str::trim).collect();
    Some((label, base64_bytes(content.as_bytes()).ok()?))
}

fn given_key(values: &[Value], position: usize) -> Result<Key, Failure> {
    read_key(text(values, position)?).map_err(|reason| Failure::new(format!("parsing private key: {reason}")))
}

fn read_key(pem: &str) -> Result<Key, String> {
    let Some((label, content)) = block(pem) else { return Err("no PEM data in input".to_owned()) };
    let read = match label {
        "PRIVATE KEY" => PKey::private_key_from_pkcs8(&content),
        "RSA PRIVATE KEY" => Rsa::private_key_from_der(&content).and_then(PKey::from_rsa),
        "EC PRIVATE KEY" => EcKey::private_key_from_der(&content).and_then(PKey::from_ec_key),
        "DSA PRIVATE KEY" => PKey::private_key_from_der(&content),
        _ => match label.strip_suffix(" PRIVATE KEY") {
            Some(kind) => return Err(format!("invalid private key type {kind}")),
            None => return Err(format!("no private key data in PEM block of type {label}")),
        },
    };
    read.map_err(|_| format!("the block {label} holds no such key"))
}

/// What a certificate says beside its key.
#[derive(Default)]
struct Content<'v> {
    common_name: &'v str,
    addresses: Vec<String>,
    domains: Vec<&'v str>,
    days: i64,
    is_authority: bool,
}

/// Who signs: name and key.
struct Issuer<'i> {
    certificate: Option<&'i X509>,
    key: &'i Key,
}

fn authority(runtime: &mut Runtime<'_>, values: &[Value], key: &Key) -> Outcome {
    let content = Content {
        common_name: text(values, 0)?,
        days: integer(values, 1)?,
        is_authority: true,
        ..Content::default()
    };
    certificate(runtime, &content, key, &Issuer { certificate: None, key })
}

fn self_signed(runtime: &mut Runtime<'_>, values: &[Value], key: &Key) -> Outcome {
    certificate(runtime, &content(values)?, key, &Issuer { certificate: None, key })
}

fn signed(runtime: &mut Runtime<'_>, values: &[Value], key: &Key) -> Outcome {
    let value = argument(values, 4);
    let (pem, signing_key) = match value {
        Value::Object(object) => match &**object {
            Object::Certificate { certificate, key } => (certificate, key),
            _ => return Err(wrong_type(value, "sprig.certificate")),
        },
        _ => return Err(wrong_type(value, "sprig.certificate")),
    };
    let issuer = read_certificate(pem)?;
    let signing_key = read_key(signing_key)
        .map_err(|reason| Failure::new(format!("error parsing private key: {reason}")))?;
    let matches = issuer.public_key().is_ok_and(|public| public.public_eq(&signing_key));
    if !matches {
        return Err(Failure::new("x509: provided PrivateKey doesn't match parent's PublicKey"));
    }
    certificate(runtime, &content(values)?, key, &Issuer { certificate: Some(&issuer), key: &signing_key })
}

fn read_certificate(pem: &str) -> Result<X509, Failure> {
    let (_, content) = block(pem).ok_or_else(|| Failure::new("unable to decode certificate"))?;
    X509::from_der(&content).map_err(|_| Failure::new("error parsing certificate"))
}

/// Checks a certificate and a key that the values bring along, and takes them as they are.
fn custom(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let decode = |position: usize, what: &str| {
        let decoded = base64_bytes(bytes(values, position)?).ok();
        let text = decoded.and_then(|decoded| String::from_utf8(decoded).ok());
        text.ok_or_else(|| Failure::new(format!("unable to decode base64 {what}")))
    };
    let certificate = decode(0, "certificate")?;
    let key = decode(1, "private key")?;
    read_certificate(&certificate)?;
    read_key(&key).map_err(|reason| Failure::new(format!("error parsing private key: {reason}")))?;
    Ok(Value::object(Object::Certificate { certificate, key }))
}

fn content(values: &[Value]) -> Result<Content<'_>, Failure> {
    let mut addresses = Vec::new();
    for item in texts(values, 1)? {
        let Some(address) = item.as_str() else { return Err(no_text("error parsing ip", item)) };
        let parsed = address.parse::<std::net::IpAddr>();
        let parsed = parsed.map_err(|_| Failure::new(format!("error parsing ip: {address}")))?;
        addresses.push(parsed.to_canonical().to_string());
    }
    let mut domains = Vec::new();
    for item in texts(values, 2)? {
        let Some(domain) = item.as_str() else {
            return Err(no_text("error processing alternate dns name", item));
        };
        if !domain.is_ascii() {
            return Err(Failure::new(format!("x509: {domain:?} cannot be encoded as an IA5String")));
        }
        domains.push(domain);
    }
    Ok(Content {
        common_name: text(values, 0)?,
        addresses,
        domains,
        days: integer(values, 3)?,
        is_authority: false,
    })
}

fn no_text(what: &str, value: &Value) -> Failure {
    Failure::new(format!("{what}: a value of type {} is not a string", value.type_name()))
}

/// A Go parameter of type `[]interface {}`, or nil.
fn texts(values: &[Value], position: usize) -> Result<&[Value], Failure> {
    match argument(values, position) {
        Value::Nil => Ok(&[]),
        Value::List(items) if items.element() == Element::Any => Ok(items),
        other => Err(wrong_type(other, "[]interface {}")),
    }
}

fn certificate(runtime: &mut Runtime<'_>, content: &Content<'_>, key: &Key, issuer: &Issuer<'_>) -> Outcome {
    if key.id() == Id::DSA || issuer.key.id() == Id::DSA {
        return Err(Failure::new("x509: certificate private key does not implement crypto.Signer"));
    }
    runtime.budget.steps(SMALL_KEY_STEPS)?;
    let mut serial = [0; 16];
    (runtime.entropy)(&mut serial);
    let built = build(content, key, issuer, &serial, runtime.now).map_err(|error| refused(&error))?;
    let (certificate, key) =
        (built.to_pem().map_err(|error| refused(&error))?, pem_of(key).map_err(|error| refused(&error))?);
    let as_text = |pem: Vec<u8>| String::from_utf8(pem).map_err(|_| Failure::new("the PEM is not UTF-8"));
    Ok(Value::object(Object::Certificate { certificate: as_text(certificate)?, key: as_text(key)? }))
}

fn build(
    content: &Content<'_>,
    key: &Key,
    issuer: &Issuer<'_>,
    serial: &[u8],
    now: i64,
) -> Result<X509, ErrorStack> {
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    let serial = Asn1Integer::from_bn(&*BigNum::from_slice(serial)?)?;
    builder.set_serial_number(&serial)?;
    let subject = name(content.common_name)?;
    let issuer_name: &X509NameRef = issuer.certificate.map_or(&*subject, |issuer| issuer.subject_name());
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(issuer_name)?;
    builder.set_not_before(&*Asn1Time::from_unix(now)?)?;
    let until = now.saturating_add(content.days.saturating_mul(86_400));
    builder.set_not_after(&*Asn1Time::from_unix(until)?)?;
    builder.set_pubkey(key)?;
    let is_own_issuer = subject.to_der()? == issuer_name.to_der()?;
    let authority = issuer.certificate.filter(|_| !is_own_issuer);
    for extension in extensions(content, key, authority)? {
        builder.append_extension(extension)?;
    }
    if let Some(names) = alternative_names(content, &builder)? {
        builder.append_extension(names)?;
    }
    builder.sign(issuer.key, digest(issuer.key)?)?;
    Ok(builder.build())
}

/// Go writes a name as printable characters where it can.
fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let is_printable =
        common_name.chars().all(|next| next.is_ascii_alphanumeric() || " '()+,-./:=?".contains(next));
    let kind = if is_printable { Asn1Type::PRINTABLESTRING } else { Asn1Type::UTF8STRING };
    let mut builder = X509NameBuilder::new()?;
    if !common_name.is_empty() {
        builder.append_entry_by_nid_with_type(Nid::COMMONNAME, common_name, kind)?;
    }
    Ok(builder.build())
}

fn extensions(
    content: &Content<'_>,
    key: &Key,
    authority: Option<&X509>,
) -> Result<Vec<X509Extension>, ErrorStack> {
    let mut usage = KeyUsage::new();
    usage.critical().digital_signature().key_encipherment();
    let mut constraints = BasicConstraints::new();
    constraints.critical();
    if content.is_authority {
        usage.key_cert_sign();
        constraints.ca();
    }
    let mut extensions = vec![
        usage.build()?,
        ExtendedKeyUsage::new().server_auth().client_auth().build()?,
        constraints.build()?,
    ];
    if content.is_authority {
        let identifier = &sha256(&public_bits(key)?)[..20];
        extensions.push(identifier_extension("2.5.29.14", &[&[0x04, 20], identifier].concat())?);
    }
    if let Some(identifier) = authority.and_then(|authority| authority.subject_key_id()) {
        let identifier = identifier.as_slice();
        // A sequence with one field: the identifier.
        if let (Ok(inner), Ok(outer)) = (u8::try_from(identifier.len()), u8::try_from(identifier.len() + 2)) {
            let content = [&[0x30, outer, 0x80, inner], identifier].concat();
            extensions.push(identifier_extension("2.5.29.35", &content)?);
        }
    }
    Ok(extensions)
}

fn identifier_extension(object: &str, content: &[u8]) -> Result<X509Extension, ErrorStack> {
    let object = Asn1Object::from_str(object)?;
    let content = Asn1OctetString::new_from_bytes(content)?;
    X509Extension::new_from_der(&object, false, &content)
}

/// The bits of a public key that Go hashes for its identifier.
fn public_bits(key: &Key) -> Result<Vec<u8>, ErrorStack> {
    match key.id() {
        Id::RSA => key.rsa()?.public_key_to_der_pkcs1(),
        Id::EC => {
            let key = key.ec_key()?;
            let mut context = BigNumContext::new()?;
            key.public_key().to_bytes(key.group(), PointConversionForm::UNCOMPRESSED, &mut context)
        }
        _ => key.raw_public_key(),
    }
}

/// The other names of a certificate; they must be understood where it has no name of its own.
fn alternative_names(
    content: &Content<'_>,
    builder: &X509Builder,
) -> Result<Option<X509Extension>, ErrorStack> {
    if content.domains.is_empty() && content.addresses.is_empty() {
        return Ok(None);
    }
    let mut names = SubjectAlternativeName::new();
    if content.common_name.is_empty() {
        names.critical();
    }
    for domain in &content.domains {
        names.dns(domain);
    }
    for address in &content.addresses {
        names.ip(address);
    }
    names.build(&builder.x509v3_context(None, None)).map(Some)
}

/// The hash that fits a signing key.
fn digest(key: &Key) -> Result<MessageDigest, ErrorStack> {
    Ok(match key.id() {
        Id::EC => match key.ec_key()?.group().degree() {
            0..=256 => MessageDigest::sha256(),
            257..=384 => MessageDigest::sha384(),
            _ => MessageDigest::sha512(),
        },
        Id::ED25519 => MessageDigest::null(),
        _ => MessageDigest::sha256(),
    })
}

#[cfg(test)]
mod tests {
    use openssl::x509::X509VerifyResult;
    use serde_json::json;

    use super::*;
    use crate::chart::RenderLimits;
    use crate::chart::functions::testing::{assert_prints, assert_refused, render, render_within};

    fn rendered(template: &str) -> String {
        render(template, &json!({})).unwrap()
    }

    #[test]
    fn keys_are_of_their_kind_and_size() {
        let key = |kind: &str| read_key(&rendered(&format!("{{{{ genPrivateKey \"{kind}\" }}}}"))).unwrap();
        assert_eq!(key("rsa").rsa().unwrap().size() * 8, 4096);
        assert_eq!(key("dsa").dsa().unwrap().q().num_bits(), 256);
        assert_eq!(key("ecdsa").ec_key().unwrap().group().curve_name(), Some(Nid::X9_62_PRIME256V1));
        assert_eq!(key("ed25519").id(), Id::ED25519);
        assert_prints(
            &json!({}),
            &[
                ("genPrivateKey \"ecdsa\" | splitList \"\\n\" | first", "-----BEGIN EC PRIVATE KEY-----"),
                ("genPrivateKey \"ed25519\" | splitList \"\\n\" | first", "-----BEGIN PRIVATE KEY-----"),
                ("genPrivateKey \"x\"", "Unknown type x"),
            ],
        );
    }

    #[test]
    fn a_certificate_is_signed_by_its_authority_and_says_what_sprigs_says() {
        let text = rendered(
            "{{ $ca := genCA \"my ca\" 365 }}{{ $ca.Cert }}|{{ $key := genPrivateKey \"ecdsa\" }}\
            {{ (genSignedCertWithKey \"*.x.y\" (list \"10.0.0.1\" \"::1\") (list \"a.b\") 30 $ca $key).Cert }}",
        );
        let (authority, leaf) = text.split_once('|').unwrap();
        let (authority, leaf) = (read_certificate(authority).unwrap(), read_certificate(leaf).unwrap());
        assert_eq!(authority.issued(&leaf), X509VerifyResult::OK);
        assert!(leaf.verify(&authority.public_key().unwrap()).unwrap());
        assert_eq!(
            leaf.authority_key_id().unwrap().as_slice(),
            authority.subject_key_id().unwrap().as_slice()
        );
        let names = leaf.subject_alt_names().unwrap();
        let names: Vec<_> =
            names.iter().map(|name| (name.dnsname(), name.ipaddress().map(<[u8]>::len))).collect();
        assert_eq!(names, [(Some("a.b"), None), (None, Some(4)), (None, Some(16))]);
        let days = leaf.not_before().diff(leaf.not_after()).unwrap().days;
        assert_eq!((days, leaf.version()), (30, 2));
    }

    #[test]
    fn no_template_makes_keys_for_minutes() {
        let limits = RenderLimits { steps: 90_000, ..RenderLimits::default() };
        for made in ["genPrivateKey \"rsa\"", "genPrivateKey \"dsa\"", "list (genCA \"a\" 1) (genCA \"a\" 1)"]
        {
            let error = render_within(&limits, &format!("{{{{ {made} }}}}"), &json!({})).unwrap_err();
            assert!(error.contains("more than 90000 steps"), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_or_fits_no_other_is_refused() {
        assert_refused(
            &json!({}),
            &[
                ("genCAWithKey \"a\" 1 \"x\"", "parsing private key: no PEM data in input"),
                ("genCAWithKey \"a\" 1 (genPrivateKey \"dsa\")", "does not implement crypto.Signer"),
                (
                    "genSelfSignedCertWithKey \"a\" (list \"x\") nil 1 (genPrivateKey \"ecdsa\")",
                    "error parsing ip: x",
                ),
                ("genSignedCert \"a\" nil nil 1 \"x\"", "expected sprig.certificate; got string"),
                ("buildCustomCert \"!\" \"\"", "unable to decode base64 certificate"),
            ],
        );
    }
}
