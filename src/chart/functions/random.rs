//! Random text. The bytes come from the caller, so a test can decide them.

use base64::Engine as _;

use super::{Function, Outcome, Runtime, integer};
use crate::chart::error::Failure;
use crate::chart::value::Value;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &[u8] = b"0123456789";

pub(super) const FUNCTIONS: &[Function] = &[
    Function::exactly("randAlphaNum", 1, |runtime, values| {
        random_text(runtime, values, &[LETTERS, DIGITS].concat())
    }),
    Function::exactly("randAlpha", 1, |runtime, values| random_text(runtime, values, LETTERS)),
    Function::exactly("randNumeric", 1, |runtime, values| random_text(runtime, values, DIGITS)),
    Function::exactly("randAscii", 1, |runtime, values| {
        random_text(runtime, values, &(b' '..=b'~').collect::<Vec<u8>>())
    }),
    Function::exactly("randInt", 2, rand_int),
    Function::exactly("randBytes", 1, rand_bytes),
    Function::exactly("uuidv4", 0, uuidv4),
];

fn count_of(runtime: &mut Runtime<'_>, values: &[Value]) -> Result<usize, Failure> {
    let count = usize::try_from(integer(values, 0)?).map_err(|_| Failure::new("the count is negative"))?;
    runtime.budget.produce(count)?;
    Ok(count)
}

/// Draws a number below `bound` without preferring small ones: draws beyond the last whole multiple are
/// repeated.
pub(super) fn below(runtime: &mut Runtime<'_>, bound: u64) -> Result<u64, Failure> {
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        runtime.budget.step()?;
        let mut bytes = [0; 8];
        (runtime.entropy)(&mut bytes);
        let drawn = u64::from_le_bytes(bytes);
        if drawn < limit {
            return Ok(drawn % bound);
        }
    }
}

fn random_text(runtime: &mut Runtime<'_>, values: &[Value], alphabet: &[u8]) -> Outcome {
    let count = count_of(runtime, values)?;
    let mut text = String::with_capacity(count);
    for _ in 0..count {
        let drawn = below(runtime, alphabet.len() as u64)?;
        text.push(
            usize::try_from(drawn).ok().and_then(|at| alphabet.get(at)).map_or('a', |byte| char::from(*byte)),
        );
    }
    Ok(Value::from(text))
}

fn rand_int(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let (least, most) = (integer(values, 0)?, integer(values, 1)?);
    if most <= least {
        return Err(Failure::new("the second number must be greater than the first"));
    }
    let drawn = below(runtime, most.abs_diff(least))?;
    Ok(Value::Int(least.wrapping_add_unsigned(drawn)))
}

fn rand_bytes(runtime: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let mut bytes = vec![0; count_of(runtime, values)?];
    (runtime.entropy)(&mut bytes);
    Ok(Value::from(base64::engine::general_purpose::STANDARD.encode(bytes)))
}

#[expect(clippy::unnecessary_wraps, reason = "the table wants this type")]
fn uuidv4(runtime: &mut Runtime<'_>, _: &[Value]) -> Outcome {
    let mut bytes = [0; 16];
    (runtime.entropy)(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = super::encoding::hexadecimal(&bytes);
    let (first, rest) = digits.split_at(8);
    let groups = [first, &rest[..4], &rest[4..8], &rest[8..12], &rest[12..]];
    Ok(Value::from(groups.join("-")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn random_text_has_the_length_and_letters_asked_for() {
        assert_prints(
            &json!({}),
            &[
                ("randAlphaNum 8 | len", "8"),
                ("randNumeric 8 | regexMatch \"^[0-9]{8}$\"", "true"),
                ("randAlpha 8 | regexMatch \"^[a-zA-Z]{8}$\"", "true"),
                ("randBytes 3", "AAEC"),
                ("uuidv4", "00010203-0405-4607-8809-0a0b0c0d0e0f"),
                ("ge (randInt 3 5) 3", "true"),
            ],
        );
        assert_refused(
            &json!({}),
            &[("randAlphaNum 1000000000", "produce more than"), ("randInt 5 5", "must be greater")],
        );
    }
}
