//! Passwords, their hashes, and AES.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcrypt::Version;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::symm::{Cipher, Crypter, Mode, encrypt};

use super::encoding::base64_bytes;
use super::{Function, Outcome, Runtime, argument, bytes, text, wrong_type};
use crate::chart::error::Failure;
use crate::chart::value::Value;

/// Go's default cost of bcrypt: two to the power of it rounds.
const BCRYPT_COST: u32 = 10;
/// Of a longer password bcrypt would ignore the rest.
const BCRYPT_LENGTH: usize = 72;
/// How many steps a hash and a derived key count as: with all steps that a render may take, they take about ten seconds.
const BCRYPT_STEPS: u64 = 100_000;
const SCRYPT_STEPS: u64 = 100_000;

const BLOCK: usize = 16;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("bcrypt", 1, |runtime, values| {
        let password = bytes(values, 0)?;
        Ok(Value::from(hashed(runtime, password)?))
    }),
    Function::exactly("htpasswd", 2, htpasswd),
    Function::exactly("derivePassword", 5, derive_password),
    Function::exactly("encryptAES", 2, encrypt_aes),
    Function::exactly("decryptAES", 2, decrypt_aes),
];

/// Takes over why OpenSSL gave up.
pub(super) fn refused(error: &ErrorStack) -> Failure {
    let reason = error.errors().first().and_then(openssl::error::Error::reason);
    Failure::new(reason.unwrap_or("OpenSSL gave up").to_owned())
}

fn hashed(runtime: &mut Runtime<'_>, password: &[u8]) -> Result<String, Failure> {
    if password.len() > BCRYPT_LENGTH {
        let reason = format!("bcrypt: password length exceeds {BCRYPT_LENGTH} bytes");
        return Ok(format!("failed to encrypt string with bcrypt: {reason}"));
    }
    runtime.budget.steps(BCRYPT_STEPS)?;
    let mut salt = [0; 16];
    (runtime.entropy)(&mut salt);
    let hash = bcrypt::hash_with_salt(password, BCRYPT_COST, salt)
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(hash.format_for_version(Version::TwoA))
}

fn htpasswd(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (user, password) = (text(values, 0)?, bytes(values, 1)?);
    if user.contains(':') {
        return Ok(Value::from(format!("invalid username: {user}")));
    }
    let hash = hashed(runtime, password)?;
    Ok(Value::from(format!("{user}:{hash}")))
}

/// The scheme of the Master Password application: the same password for the same words always.
const SEED: &[u8] = b"com.lyndir.masterpassword";

/// What passwords of a type look like; each letter stands for some characters.
const SHAPES: [(&str, &[&str]); 6] = [
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];

fn alphabet(letter: u8) -> &'static [u8] {
    match letter {
        b'V' => b"AEIOU",
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

/// Puts a text behind its length, as the scheme does.
fn with_length(output: &mut Vec<u8>, text: &[u8]) {
    output.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    output.extend_from_slice(text);
}

fn derive_password(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let counter = argument(values, 0);
    let Some(counter) = counter.as_whole().and_then(|counter| u32::try_from(counter).ok()) else {
        return Err(wrong_type(counter, "uint32"));
    };
    let kind = text(values, 1)?;
    let Some((_, shapes)) = SHAPES.iter().find(|(name, _)| *name == kind) else {
        return Ok(Value::from(format!("cannot find password template {kind}")));
    };
    let mut salt = SEED.to_vec();
    with_length(&mut salt, bytes(values, 3)?);
    runtime.budget.steps(SCRYPT_STEPS)?;
    let mut key = [0; 64];
    openssl::pkcs5::scrypt(bytes(values, 2)?, &salt, 32_768, 8, 2, 64 << 20, &mut key)
        .map_err(|error| refused(&error))?;
    let mut message = SEED.to_vec();
    with_length(&mut message, bytes(values, 4)?);
    message.extend_from_slice(&counter.to_be_bytes());
    let seed = authentication_code(&key, &message).map_err(|error| refused(&error))?;
    let shape = shapes[usize::from(seed[0]) % shapes.len()];
    let characters = shape.bytes().zip(&seed[1..]).map(|(letter, chosen)| {
        let alphabet = alphabet(letter);
        char::from(alphabet[usize::from(*chosen) % alphabet.len()])
    });
    Ok(Value::from(characters.collect::<String>()))
}

fn authentication_code(key: &[u8], message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    signer.sign_oneshot_to_vec(message)
}

/// A password as a key: cut or filled up with zeros.
fn key_of(password: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    let length = password.len().min(key.len());
    key[..length].copy_from_slice(&password[..length]);
    key
}

fn encrypt_aes(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (password, plain) = (bytes(values, 0)?, bytes(values, 1)?);
    if plain.is_empty() {
        return Ok(Value::from(""));
    }
    let mut output = vec![0; BLOCK];
    (runtime.entropy)(&mut output);
    let encrypted = encrypt(Cipher::aes_256_cbc(), &key_of(password), Some(&output), plain)
        .map_err(|error| refused(&error))?;
    output.extend(encrypted);
    Ok(Value::from(STANDARD.encode(output)))
}

fn decrypt_aes(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (password, encrypted) = (bytes(values, 0)?, bytes(values, 1)?);
    if encrypted.is_empty() {
        return Ok(Value::from(""));
    }
    let encrypted = base64_bytes(encrypted).map_err(Failure::new)?;
    let Some((vector, blocks)) = encrypted.split_at_checked(BLOCK).filter(|(_, blocks)| !blocks.is_empty())
    else {
        return Err(Failure::new("the encrypted text is too short"));
    };
    let plain = decrypted(&key_of(password), vector, blocks).map_err(|error| refused(&error))?;
    // Sprig trusts the last byte to say how many there are too many.
    let surplus = plain.last().map_or(0, |last| usize::from(*last));
    let length = plain.len().checked_sub(surplus);
    let plain = length.and_then(|length| plain.get(..length));
    plain
        .map(|plain| Value::bytes(plain.to_vec()))
        .ok_or_else(|| Failure::new("the text was encrypted with another password"))
}

fn decrypted(key: &[u8], vector: &[u8], blocks: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let mut crypter = Crypter::new(Cipher::aes_256_cbc(), Mode::Decrypt, key, Some(vector))?;
    crypter.pad(false);
    let mut output = vec![0; blocks.len() + BLOCK];
    let written = crypter.update(blocks, &mut output)?;
    let rest = crypter.finalize(&mut output[written..])?;
    output.truncate(written + rest);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::RenderLimits;
    use crate::chart::functions::testing::{assert_prints, assert_refused, print, render_within};

    #[test]
    fn passwords_are_hashed_and_derived() {
        assert_prints(
            &json!({}),
            &[
                ("bcrypt \"x\" | trunc 7", "$2a$10$"),
                ("bcrypt \"x\" | len", "60"),
                (
                    "bcrypt (repeat 73 \"x\")",
                    "failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes",
                ),
                ("htpasswd \"me\" \"x\" | trunc 10", "me:$2a$10$"),
                ("htpasswd \"m:e\" \"x\"", "invalid username: m:e"),
                ("derivePassword 1 \"long\" \"password\" \"user\" \"example.com\"", "ZedaFaxcZaso9*"),
                (
                    "derivePassword 1 \"none\" \"password\" \"user\" \"example.com\"",
                    "cannot find password template none",
                ),
            ],
        );
        let hash = print("bcrypt \"secret\"", &json!({})).unwrap();
        assert!(bcrypt::verify("secret", &hash).unwrap());
    }

    #[test]
    fn what_is_encrypted_is_decrypted_with_the_same_password_alone() {
        assert_prints(
            &json!({}),
            &[
                ("encryptAES \"key\" \"plaintext\" | decryptAES \"key\"", "plaintext"),
                ("decryptAES \"secretkey\" \"30tEfhuJSVRhpG97XCuWgz2okj7L8vQ1s6V9zVUPeDQ=\"", "plaintext"),
                ("encryptAES \"key\" \"\"", ""),
            ],
        );
        assert_refused(
            &json!({}),
            &[
                ("decryptAES \"key\" \"AAAA\"", "too short"),
                ("decryptAES \"key\" \"!\"", "illegal base64 data"),
            ],
        );
    }

    #[test]
    fn no_template_hashes_for_minutes() {
        let limits = RenderLimits { steps: 150_000, ..RenderLimits::default() };
        for hash in ["bcrypt \"x\"", "derivePassword 1 \"pin\" \"p\" \"u\" \"s\""] {
            let twice = format!("{{{{ {hash} }}}}{{{{ {hash} }}}}");
            let error = render_within(&limits, &twice, &json!({})).unwrap_err();
            assert!(error.contains("more than 150000 steps"), "{error}");
        }
    }
}
