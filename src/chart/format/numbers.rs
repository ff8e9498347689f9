//! Numbers under the verbs of `printf`.

use super::escape;
use super::printf::{Directive, Fill};

/// A whole number: sign, size and whether Go's type of it has a sign at all.
#[derive(Clone, Copy)]
pub(super) struct Whole {
    pub(super) value: i64,
    pub(super) is_unsigned: bool,
}

/// What a verb made of a number, and how a width may fill it up.
pub(super) struct Printed {
    pub(super) text: String,
    pub(super) fill: Fill,
}

fn without_zeros(text: String) -> Printed {
    Printed { text, fill: Fill::Spaces }
}

/// Prints a whole number; `None` if the verb is none for it.
pub(super) fn whole(verb: char, directive: &Directive, number: Whole) -> Option<Printed> {
    let (value, size) = (number.value, number.value.unsigned_abs());
    let prefix = |prefix: &'static str| if directive.sharp { prefix } else { "" };
    Some(match verb {
        'v' if directive.sharp_v && number.is_unsigned => without_zeros(format!("{value:#x}")),
        'v' | 'd' => without_zeros(digits(directive, value, &size.to_string(), "")),
        'b' => without_zeros(digits(directive, value, &format!("{size:b}"), prefix("0b"))),
        'o' if size == 0 => without_zeros(digits(directive, value, "0", "")),
        'o' => without_zeros(digits(directive, value, &format!("{size:o}"), prefix("0"))),
        'O' => without_zeros(digits(directive, value, &format!("{size:o}"), "0o")),
        'x' => without_zeros(digits(directive, value, &format!("{size:x}"), prefix("0x"))),
        'X' => without_zeros(digits(directive, value, &format!("{size:X}"), prefix("0X"))),
        'c' => Printed { text: character(value).to_string(), fill: Fill::Zeros },
        'q' => {
            let mut text = String::from("'");
            escape(&mut text, character(value), '\'', directive.plus);
            Printed { text: text + "'", fill: Fill::Zeros }
        }
        'U' => without_zeros(code_point(directive, value)),
        _ => return None,
    })
}

/// `U+00E4`, with `#` also the character.
fn code_point(directive: &Directive, value: i64) -> String {
    let precision = directive.precision.unwrap_or(4).max(4);
    let code = format!("U+{value:0precision$X}");
    if directive.sharp && super::is_printable(character(value)) {
        format!("{code} '{}'", character(value))
    } else {
        code
    }
}

fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
}

/// Puts sign, prefix and leading zeros before digits.
fn digits(directive: &Directive, value: i64, digits: &str, prefix: &str) -> String {
    let sign = sign(directive, value < 0);
    if directive.precision == Some(0) && value == 0 {
        return String::new();
    }
    let least = match (directive.precision, directive.width) {
        (Some(precision), _) => precision,
        (None, Some(width)) if directive.zero && !directive.minus => width.saturating_sub(sign.len()),
        _ => 0,
    };
    // An octal number that is filled up with zeros has its prefix already.
    let prefix = if prefix == "0" && least > digits.len() { "" } else { prefix };
    format!("{sign}{prefix}{digits:0>least$}")
}

fn sign(directive: &Directive, is_negative: bool) -> &'static str {
    match (is_negative, directive.plus, directive.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

/// Prints a float; `None` if the verb is none for it.
pub(super) fn float(verb: char, directive: &Directive, number: f64) -> Option<Printed> {
    let precision = directive.precision.map(|precision| precision.min(1_000));
    let size = number.abs();
    let text = match verb {
        _ if !"vbgGxXfFeE".contains(verb) => return None,
        _ if number.is_nan() => "NaN".to_owned(),
        _ if number.is_infinite() => "Inf".to_owned(),
        'v' | 'g' => general(size, precision, directive.sharp),
        'G' => general(size, precision, directive.sharp).to_uppercase(),
        'b' => binary(size),
        'x' => hexadecimal(size, precision),
        'X' => hexadecimal(size, precision).to_uppercase(),
        'f' | 'F' => plain(size, precision.unwrap_or(6), directive.sharp),
        _ => scientific(size, precision.unwrap_or(6), directive.sharp, verb),
    };
    let fill = if number.is_finite() { Fill::ZerosBehindSign } else { Fill::Spaces };
    let is_negative = number.is_sign_negative() && !number.is_nan();
    // Infinity has its sign always.
    let sign = if number == f64::INFINITY && !directive.space { "+" } else { sign(directive, is_negative) };
    Some(Printed { text: format!("{sign}{text}"), fill })
}

fn plain(size: f64, precision: usize, keeps_point: bool) -> String {
    let text = format!("{size:.precision$}");
    if keeps_point && precision == 0 { text + "." } else { text }
}

fn scientific(size: f64, precision: usize, keeps_point: bool, letter: char) -> String {
    let text = format!("{size:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let point = if keeps_point && precision == 0 { "." } else { "" };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{point}{letter}{sign}{:02}", exponent.abs())
}

/// `%g`: that many significant digits without zeros at the end, or as few as mean the number.
fn general(size: f64, precision: Option<usize>, keeps_zeros: bool) -> String {
    let Some(precision) = precision else {
        let text = super::float(size);
        return if keeps_zeros { six_digits(&text) } else { text };
    };
    let significant = precision.max(1);
    let text = format!("{size:.*e}", significant - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trim = |text: &str| match text {
        _ if keeps_zeros && text.contains('.') => text.to_owned(),
        _ if keeps_zeros => format!("{text}."),
        _ if text.contains('.') => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        _ => text.to_owned(),
    };
    let limit = i32::try_from(significant).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = limit - 1 - exponent;
    trim(&format!("{size:.*}", usize::try_from(decimals).unwrap_or_default()))
}

/// Adds the point and zeros that `%#g` wants.
fn six_digits(text: &str) -> String {
    let (mantissa, exponent) = text.split_at(text.find('e').unwrap_or(text.len()));
    let digits = mantissa.trim_start_matches(['0', '.']).bytes().filter(u8::is_ascii_digit).count();
    let point = if mantissa.contains('.') { "" } else { "." };
    format!("{mantissa}{point}{}{exponent}", "0".repeat(6usize.saturating_sub(digits.max(1))))
}

const FRACTION_BITS: u32 = 52;

/// A float's 53 digits and what power of two they are multiplied by.
fn mantissa(size: f64) -> (u64, i64) {
    let bits = size.to_bits();
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    let exponent = i64::try_from(bits >> FRACTION_BITS & 0x7ff).unwrap_or_default();
    if exponent == 0 { (fraction, -1_074) } else { (fraction | 1 << FRACTION_BITS, exponent - 1_075) }
}

/// `%b`: digits and exponent of two.
fn binary(size: f64) -> String {
    let (digits, exponent) = mantissa(size);
    format!("{digits}p{exponent:+}")
}

/// `%x`: `0x1.8p+01`.
fn hexadecimal(size: f64, precision: Option<usize>) -> String {
    let (mut digits, mut exponent) = mantissa(size);
    if digits == 0 {
        exponent = 0;
    } else {
        let shift = digits.leading_zeros() - (63 - FRACTION_BITS);
        digits <<= shift;
        exponent += i64::from(FRACTION_BITS) - i64::from(shift);
    }
    if let Some(precision) = precision.filter(|precision| *precision < 13) {
        let dropped = FRACTION_BITS - 4 * u32::try_from(precision).unwrap_or_default();
        let (kept, rest, half) = (digits >> dropped, digits & ((1 << dropped) - 1), 1 << (dropped - 1));
        let kept = kept + u64::from(rest > half || (rest == half && kept & 1 == 1));
        digits = kept << dropped;
        if digits >> FRACTION_BITS > 1 {
            (digits, exponent) = (digits >> 1, exponent + 1);
        }
    }
    let fraction = format!("{:013x}", digits & ((1 << FRACTION_BITS) - 1));
    let fraction = match precision {
        Some(precision) => format!("{fraction:0<precision$}")[..precision].to_owned(),
        None => fraction.trim_end_matches('0').to_owned(),
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{}{point}{fraction}p{sign}{:02}", digits >> FRACTION_BITS, exponent.abs())
}
