//! Prints values as Go's `fmt` does: `%v`, `printf` with its verbs, quoting, floats.

use std::fmt::Write as _;

use super::value::{DEPTH_MAX, TooDeep, Value};

/// The widest field or precision that `printf` honours; Go's own bound.
const WIDTH_MAX: usize = 1_000_000;

/// Prints a value as `%v` does.
pub(crate) fn display(value: &Value) -> Result<String, TooDeep> {
    let mut output = String::new();
    write_value(&mut output, value)?;
    Ok(output)
}

/// Appends a value as `%v` prints it.
pub(crate) fn write_value(output: &mut String, value: &Value) -> Result<(), TooDeep> {
    write_nested(output, value, 0)
}

fn write_nested(output: &mut String, value: &Value, depth: usize) -> Result<(), TooDeep> {
    if depth > DEPTH_MAX {
        return Err(TooDeep);
    }
    match value {
        Value::Nil => output.push_str("<nil>"),
        Value::Bool(flag) => output.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) | Value::Int64(number) => push(output, format_args!("{number}")),
        Value::Float(number) => output.push_str(&float(*number)),
        Value::String(text) => output.push_str(text),
        Value::List(items) => {
            output.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    output.push(' ');
                }
                write_nested(output, item, depth + 1)?;
            }
            output.push(']');
        }
        Value::Map(map) => {
            output.push_str("map[");
            for (position, (key, value)) in map.entries().iter().enumerate() {
                if position > 0 {
                    output.push(' ');
                }
                output.push_str(key);
                output.push(':');
                write_nested(output, value, depth + 1)?;
            }
            output.push(']');
        }
        Value::Object(object) => output.push_str(&object.display()),
    }
    Ok(())
}

fn push(output: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = output.write_fmt(arguments);
}

/// Prints a float as `%v` and go-yaml do: with an exponent below 1e-04 and from 1e+06 on.
pub(crate) fn float(number: f64) -> String {
    printed(number, -4..6, 2)
}

/// Prints a float as `encoding/json` does: with an exponent below 1e-6 and from 1e+21 on.
pub(crate) fn json_float(number: f64) -> String {
    printed(number, -6..21, 1)
}

/// Prints the shortest digits that mean the number, without an exponent while that is in `plain`.
fn printed(number: f64, plain: std::ops::Range<i32>, exponent_digits: usize) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if plain.contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:0exponent_digits$}", exponent.abs())
}

/// Quotes a text as Go's `%q`.
pub(crate) fn quote(text: &str) -> String {
    let mut output = String::with_capacity(text.len() + 2);
    output.push('"');
    for character in text.chars() {
        match character {
            '"' => output.push_str("\\\""),
            '\\' => output.push_str("\\\\"),
            '\u{7}' => output.push_str("\\a"),
            '\u{8}' => output.push_str("\\b"),
            '\u{c}' => output.push_str("\\f"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            '\u{b}' => output.push_str("\\v"),
            '\0'..='\u{1f}' | '\u{7f}' => push(&mut output, format_args!("\\x{:02x}", u32::from(character))),
            '\u{80}'..='\u{a0}' | '\u{ad}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                push(&mut output, format_args!("\\u{:04x}", u32::from(character)));
            }
            _ => output.push(character),
        }
    }
    output.push('"');
    output
}

/// Runs Go's `fmt.Sprintf`.
pub(crate) fn sprintf(format: &str, arguments: &[Value]) -> Result<String, TooDeep> {
    let mut printer = Printer { arguments, next: 0, output: String::new() };
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        printer.output.push_str(&rest[..at]);
        rest = printer.directive(&rest[at + 1..])?;
    }
    printer.output.push_str(rest);
    printer.extra_arguments()?;
    Ok(printer.output)
}

/// Tells how long the output of a format can get, so that the caller can refuse it before it is built.
pub(crate) fn sprintf_bound(format: &str, arguments: &[Value]) -> Result<usize, TooDeep> {
    let mut bound = format.len();
    for argument in arguments {
        // A byte can take four characters (`\x00`), a verb can print its argument twice at most.
        bound = bound.saturating_add(argument.deep_size()?.saturating_mul(4));
        if let Value::Int(width) = argument {
            bound = bound
                .saturating_add(usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX).min(WIDTH_MAX));
        }
    }
    for number in format.split(|character: char| !character.is_ascii_digit()) {
        bound = bound.saturating_add(number.parse::<usize>().unwrap_or(0).min(WIDTH_MAX));
    }
    Ok(bound)
}

struct Printer<'a> {
    arguments: &'a [Value],
    next: usize,
    output: String,
}

/// The flags of one `%` directive.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "printf has these flags")]
struct Directive {
    minus: bool,
    zero: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

impl<'a> Printer<'a> {
    /// Prints the directive at the start of `text` and returns what follows it.
    fn directive<'t>(&mut self, text: &'t str) -> Result<&'t str, TooDeep> {
        let mut directive = Directive::default();
        let mut rest = text;
        while let Some(flag) = rest.chars().next() {
            match flag {
                '-' => directive.minus = true,
                '0' => directive.zero = true,
                '+' => directive.plus = true,
                '#' => directive.sharp = true,
                ' ' => directive.space = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        if let Some(after) = rest.strip_prefix('*') {
            directive.width = self.star();
            rest = after;
        } else {
            (directive.width, rest) = number(rest);
        }
        if let Some(after) = rest.strip_prefix('.') {
            let precision;
            if let Some(after) = after.strip_prefix('*') {
                precision = self.star();
                rest = after;
            } else {
                (precision, rest) = number(after);
            }
            directive.precision = Some(precision);
        }
        let Some(verb) = rest.chars().next() else {
            self.output.push_str("%!(NOVERB)");
            return Ok("");
        };
        self.verb(verb, &directive)?;
        Ok(&rest[verb.len_utf8()..])
    }

    fn star(&mut self) -> usize {
        let argument = self.arguments.get(self.next);
        self.next += 1;
        match argument {
            Some(Value::Int(number)) => usize::try_from(*number).unwrap_or_default().min(WIDTH_MAX),
            _ => 0,
        }
    }

    fn verb(&mut self, verb: char, directive: &Directive) -> Result<(), TooDeep> {
        if verb == '%' {
            self.output.push('%');
            return Ok(());
        }
        let Some(argument) = self.arguments.get(self.next) else {
            push(&mut self.output, format_args!("%!{verb}(MISSING)"));
            return Ok(());
        };
        self.next += 1;
        let is_number = matches!(argument, Value::Int(_) | Value::Int64(_) | Value::Float(_));
        if let Some(text) = formatted(verb, directive, argument)? {
            self.output.push_str(&padded(&text, directive, is_number));
        } else {
            self.output.push_str(&bad_verb(verb, directive, argument)?);
        }
        Ok(())
    }

    fn extra_arguments(&mut self) -> Result<(), TooDeep> {
        let extra = self.arguments.get(self.next..).unwrap_or_default();
        if extra.is_empty() {
            return Ok(());
        }
        self.output.push_str("%!(EXTRA ");
        for (position, argument) in extra.iter().enumerate() {
            if position > 0 {
                self.output.push_str(", ");
            }
            if argument.is_nil() {
                self.output.push_str("<nil>");
            } else {
                push(&mut self.output, format_args!("{}={}", argument.type_name(), display(argument)?));
            }
        }
        self.output.push(')');
        Ok(())
    }
}

/// A verb that does not fit its argument: Go prints the argument in its place, with the same flags.
fn bad_verb(verb: char, directive: &Directive, argument: &Value) -> Result<String, TooDeep> {
    if argument.is_nil() {
        return Ok(format!("%!{verb}(<nil>)"));
    }
    let is_number = matches!(argument, Value::Int(_) | Value::Int64(_) | Value::Float(_));
    let text = formatted('v', directive, argument)?.unwrap_or_default();
    Ok(format!("%!{verb}({}={})", argument.type_name(), padded(&text, directive, is_number)))
}

fn padded(text: &str, directive: &Directive, is_number: bool) -> String {
    let missing = directive.width.saturating_sub(text.chars().count());
    let fill = |character: char| std::iter::repeat_n(character, missing).collect::<String>();
    if directive.minus {
        text.to_owned() + &fill(' ')
    } else if directive.zero && is_number {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        format!("{}{}{digits}", &text[..text.len() - digits.len()], fill('0'))
    } else {
        fill(if directive.zero { '0' } else { ' ' }) + text
    }
}

fn number(text: &str) -> (usize, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse::<usize>().unwrap_or(if end == 0 { 0 } else { WIDTH_MAX });
    (number.min(WIDTH_MAX), &text[end..])
}

/// Prints one argument under one verb; `None` if the verb does not fit the argument.
fn formatted(verb: char, directive: &Directive, argument: &Value) -> Result<Option<String>, TooDeep> {
    Ok(match (verb, argument) {
        ('T', _) => Some(argument.type_name().to_owned()),
        ('v', Value::Int(number) | Value::Int64(number)) => Some(number.to_string()),
        ('v', Value::Float(number)) => Some(general(*number, directive)),
        ('v', Value::String(text)) => string(if directive.sharp { 'q' } else { 's' }, directive, text),
        ('v', _) => Some(display(argument)?),
        ('t', Value::Bool(flag)) => Some(flag.to_string()),
        (_, Value::Int(number) | Value::Int64(number)) => integer(verb, directive, *number),
        (_, Value::Float(number)) => float_verb(verb, directive, *number),
        (_, Value::String(text)) => string(verb, directive, text),
        (_, Value::List(items)) => {
            let mut parts = Vec::with_capacity(items.len());
            for item in items.iter() {
                parts.push(element(verb, directive, item)?);
            }
            Some(format!("[{}]", parts.join(" ")))
        }
        ('s', Value::Object(object)) => Some(object.display()),
        ('q', Value::Object(object)) => Some(quote(&object.display())),
        ('s' | 'q' | 'd', Value::Map(map)) => {
            let mut parts = Vec::with_capacity(map.len());
            for (key, value) in map.entries().iter() {
                let key = element(verb, directive, &Value::String(key.clone()))?;
                parts.push(format!("{key}:{}", element(verb, directive, value)?));
            }
            Some(format!("map[{}]", parts.join(" ")))
        }
        _ => None,
    })
}

fn element(verb: char, directive: &Directive, value: &Value) -> Result<String, TooDeep> {
    // Nested collections print as %v: exact only for one level, which is what charts print.
    if matches!(value, Value::List(_) | Value::Map(_)) {
        return display(value);
    }
    Ok(match formatted(verb, directive, value)? {
        Some(text) => text,
        None => bad_verb(verb, directive, value)?,
    })
}

fn signed(text: &str, directive: &Directive) -> String {
    if text.starts_with(['-', '+']) {
        text.to_owned()
    } else if directive.plus {
        format!("+{text}")
    } else if directive.space {
        format!(" {text}")
    } else {
        text.to_owned()
    }
}

fn integer(verb: char, directive: &Directive, number: i64) -> Option<String> {
    let magnitude = number.unsigned_abs();
    let digits = match verb {
        'd' => magnitude.to_string(),
        'b' => format!("{magnitude:b}"),
        'o' if directive.sharp => format!("0{magnitude:o}"),
        'o' => format!("{magnitude:o}"),
        'O' => format!("0o{magnitude:o}"),
        'x' if directive.sharp => format!("{magnitude:#x}"),
        'x' => format!("{magnitude:x}"),
        'X' if directive.sharp => format!("0X{magnitude:X}"),
        'X' => format!("{magnitude:X}"),
        'c' | 'q' => {
            let character = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            return Some(if verb == 'c' { character.to_string() } else { format!("'{character}'") });
        }
        'U' => return Some(format!("U+{number:04X}")),
        _ => return None,
    };
    // A precision is the least number of digits.
    let zeros = directive.precision.unwrap_or_default().saturating_sub(digits.len());
    let digits = "0".repeat(zeros) + &digits;
    Some(if number < 0 { format!("-{digits}") } else { signed(&digits, directive) })
}

fn float_verb(verb: char, directive: &Directive, number: f64) -> Option<String> {
    let precision = directive.precision.unwrap_or(6).min(1_000);
    let text = match verb {
        'f' | 'F' => format!("{number:.precision$}"),
        'g' | 'G' => general(number, directive),
        'e' | 'E' => {
            let scientific = format!("{number:.precision$e}");
            let (mantissa, exponent) = scientific.split_once('e')?;
            let exponent: i32 = exponent.parse().ok()?;
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}{verb}{sign}{:02}", exponent.abs())
        }
        _ => return None,
    };
    Some(signed(&text, directive))
}

/// `%g`: with a precision, that many significant digits without trailing zeros.
fn general(number: f64, directive: &Directive) -> String {
    let Some(precision) = directive.precision else { return float(number) };
    let significant = precision.clamp(1, 1_000);
    let scientific = format!("{number:.*e}", significant - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let significant = i32::try_from(significant).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= significant {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(significant - 1 - exponent).unwrap_or_default();
    trim(&format!("{number:.decimals$}"))
}

fn string(verb: char, directive: &Directive, text: &str) -> Option<String> {
    let shortened: String;
    let text = match directive.precision {
        Some(precision) => {
            shortened = text.chars().take(precision).collect();
            &shortened
        }
        None => text,
    };
    Some(match verb {
        's' => text.to_owned(),
        'q' if directive.sharp && !text.contains(['`', '\n', '\r']) => format!("`{text}`"),
        'q' => quote(text),
        'x' => text.bytes().fold(String::new(), |mut output, byte| {
            push(&mut output, format_args!("{byte:02x}"));
            output
        }),
        'X' => text.bytes().fold(String::new(), |mut output, byte| {
            push(&mut output, format_args!("{byte:02X}"));
            output
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sprint(format: &str, arguments: &[Value]) -> String {
        sprintf(format, arguments).unwrap()
    }

    #[test]
    fn floats_print_as_go_does() {
        for (number, expected) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (1_000_000.0, "1e+06"),
            (100_000.0, "100000"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (-0.0, "-0"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(float(number), expected);
        }
        assert_eq!(json_float(1e20), "100000000000000000000");
        assert_eq!(json_float(1e21), "1e+21");
    }

    #[test]
    fn printf_knows_gos_verbs_flags_and_complaints() {
        let (three, text) = (Value::Int(3), Value::from("ab"));
        assert_eq!(
            sprint("%05d|%-5d|%+d|%x", &[three.clone(), three.clone(), three.clone(), Value::Int(255)]),
            "00003|3    |+3|ff"
        );
        assert_eq!(
            sprint(
                "%s %q %5s %-5s| %.1s",
                &[text.clone(), text.clone(), text.clone(), text.clone(), text.clone()]
            ),
            "ab \"ab\"    ab ab   | a"
        );
        assert_eq!(sprint("%d", &[Value::Float(80.0)]), "%!d(float64=80)");
        assert_eq!(sprint("%s", &[Value::Nil]), "%!s(<nil>)");
        assert_eq!(sprint("%v", &[Value::Nil]), "<nil>");
        assert_eq!(sprint("%d %d", std::slice::from_ref(&three)), "3 %!d(MISSING)");
        assert_eq!(sprint("x", std::slice::from_ref(&three)), "x%!(EXTRA int=3)");
        assert_eq!(sprint("100%%%", &[]), "100%%!(NOVERB)");
        assert_eq!(
            sprint("%.2f %g %e", &[Value::Float(1.005), Value::Float(0.1), Value::Float(12345.678)]),
            "1.00 0.1 1.234568e+04"
        );
        assert_eq!(sprint("%s", &[Value::strings(["a", "b"])]), "[a b]");
        assert_eq!(sprint("%t %T", &[Value::Bool(true), Value::Int64(1)]), "true int64");
        assert_eq!(sprint("%*d", &[Value::Int(4), Value::Int(7)]), "   7");
    }

    #[test]
    fn collections_print_in_brackets_with_sorted_keys() {
        let map = Value::map([("b", Value::Nil), ("a", Value::list(vec![Value::Int(1), Value::from("x")]))]);
        assert_eq!(display(&map).unwrap(), "map[a:[1 x] b:<nil>]");
    }

    #[test]
    fn quoting_escapes_like_go() {
        assert_eq!(quote("a\"b\\\n\u{1}é\u{feff}"), "\"a\\\"b\\\\\\n\\x01é\\ufeff\"");
    }
}
