//! `printf`.

use std::io::Write as _;

use super::numbers::{self, Whole};
use super::{quote, quoted};
use crate::chart::binary;
use crate::chart::budget::Budget;
use crate::chart::error::Failure;
use crate::chart::objects::{Kind, Number, Object};
use crate::chart::value::{DEPTH_MAX, TooDeep, Value};

/// The widest field or greatest precision that `printf` takes; Go's own bound.
const WIDTH_MAX: usize = 1_000_000;

/// The flags, width and precision of one `%` directive.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "printf has these flags")]
pub(super) struct Directive {
    pub(super) minus: bool,
    pub(super) zero: bool,
    pub(super) plus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    /// `%+v`, which is no sign.
    plus_v: bool,
    /// `%#v`: as Go would write the value.
    pub(super) sharp_v: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

/// What a field that is wider than its text is filled up with, if the zero flag is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Spaces,
    Zeros,
    ZerosBehindSign,
}

/// Runs Go's `fmt.Sprintf`. What it writes may not be longer than the budget affords; it is not counted yet.
pub(crate) fn sprintf(budget: &Budget<'_>, format: &[u8], arguments: &[Value]) -> Result<Vec<u8>, Failure> {
    let mut printer =
        Printer { budget, arguments, next: 0, is_reordered: false, is_bad_index: false, output: Vec::new() };
    let mut rest = format;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        printer.output.extend_from_slice(&rest[..at]);
        rest = printer.directive(&rest[at + 1..])?;
    }
    printer.output.extend_from_slice(rest);
    printer.extra_arguments()?;
    Ok(printer.output)
}

struct Printer<'a> {
    budget: &'a Budget<'a>,
    arguments: &'a [Value],
    next: usize,
    /// Whether any directive said which argument it wants.
    is_reordered: bool,
    /// Whether this one asks for an argument that cannot be.
    is_bad_index: bool,
    output: Vec<u8>,
}

impl Printer<'_> {
    /// Prints the directive at the start of a text and returns what follows it.
    fn directive<'t>(&mut self, text: &'t [u8]) -> Result<&'t [u8], Failure> {
        let mut directive = Directive::default();
        self.is_bad_index = false;
        let mut rest = flags(&mut directive, text);
        let mut after_index = false;
        rest = self.index(rest, &mut after_index);
        if let Some(after) = rest.strip_prefix(b"*") {
            rest = after;
            match self.star() {
                Some(width) => {
                    directive.minus |= width < 0;
                    directive.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => self.output.extend_from_slice(b"%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            let Some((width, after)) = number(rest) else { return Ok(self.no_verb()) };
            self.is_bad_index |= after_index && width.is_some();
            (directive.width, rest) = (width, after);
        }
        // A point at the end is no precision but a verb.
        if let Some(after) = rest.strip_prefix(b".").filter(|after| !after.is_empty()) {
            self.is_bad_index |= after_index;
            rest = self.index(after, &mut after_index);
            if let Some(after) = rest.strip_prefix(b"*") {
                rest = after;
                directive.precision = self.star().and_then(|precision| usize::try_from(precision).ok());
                if directive.precision.is_none() {
                    self.output.extend_from_slice(b"%!(BADPREC)");
                }
                after_index = false;
            } else {
                let Some((precision, after)) = number(rest) else { return Ok(self.no_verb()) };
                (directive.precision, rest) = (Some(precision.unwrap_or(0)), after);
            }
        }
        if !after_index {
            rest = self.index(rest, &mut after_index);
        }
        let Some((verb, length)) = first_character(rest) else { return Ok(self.no_verb()) };
        self.verb(verb, directive)?;
        Ok(&rest[length..])
    }

    fn no_verb<'t>(&mut self) -> &'t [u8] {
        self.output.extend_from_slice(b"%!(NOVERB)");
        &[]
    }

    /// Reads `[3]`: the next argument is the third.
    fn index<'t>(&mut self, text: &'t [u8], found: &mut bool) -> &'t [u8] {
        *found = false;
        if text.first() != Some(&b'[') {
            return text;
        }
        self.is_reordered = true;
        let Some(close) = text.iter().position(|byte| *byte == b']') else {
            self.is_bad_index = true;
            return &text[1..];
        };
        *found = true;
        let wanted =
            number(&text[1..close]).filter(|(_, rest)| rest.is_empty()).and_then(|(number, _)| number);
        match wanted.filter(|wanted| (1..=self.arguments.len()).contains(wanted)) {
            Some(wanted) => self.next = wanted - 1,
            None => self.is_bad_index = true,
        }
        &text[close + 1..]
    }

    fn star(&mut self) -> Option<i64> {
        let argument = self.arguments.get(self.next)?;
        self.next += 1;
        let whole = argument.as_whole()?;
        (whole.unsigned_abs() <= WIDTH_MAX as u64).then_some(whole)
    }

    fn verb(&mut self, verb: char, mut directive: Directive) -> Result<(), Failure> {
        if verb == '%' {
            self.output.push(b'%');
            return Ok(());
        }
        if self.is_bad_index {
            _ = write!(self.output, "%!{verb}(BADINDEX)");
            return Ok(());
        }
        let arguments = self.arguments;
        let Some(argument) = arguments.get(self.next) else {
            _ = write!(self.output, "%!{verb}(MISSING)");
            return Ok(());
        };
        self.next += 1;
        if verb == 'v' {
            directive.sharp_v = std::mem::take(&mut directive.sharp);
            directive.plus_v = std::mem::take(&mut directive.plus);
        }
        self.argument(verb, &directive, argument, 0)?;
        self.budget.affords(self.output.len())
    }

    fn extra_arguments(&mut self) -> Result<(), Failure> {
        let arguments = self.arguments;
        let extra = arguments.get(self.next..).unwrap_or_default();
        if extra.is_empty() || self.is_reordered {
            return Ok(());
        }
        self.output.extend_from_slice(b"%!(EXTRA ");
        for (position, argument) in extra.iter().enumerate() {
            if position > 0 {
                self.output.extend_from_slice(b", ");
            }
            if !argument.is_nil() {
                _ = write!(self.output, "{}=", argument.type_name());
            }
            self.argument('v', &Directive::default(), argument, 0)?;
        }
        self.output.push(b')');
        Ok(())
    }

    /// Prints one value under one verb.
    fn argument(
        &mut self,
        verb: char,
        directive: &Directive,
        value: &Value,
        depth: usize,
    ) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return Err(TooDeep.into());
        }
        match (verb, value) {
            (_, Value::Nil) if depth > 0 => {
                self.output.extend_from_slice(if directive.sharp_v {
                    b"interface {}(nil)"
                } else {
                    b"<nil>"
                });
                Ok(())
            }
            ('T' | 'v', Value::Nil) => self.padded(b"<nil>", directive, Fill::Zeros),
            ('T', _) if depth == 0 => self.string('s', directive, value.type_name().as_bytes()).map(|_| ()),
            ('t' | 'v', Value::Bool(flag)) => {
                self.padded(flag.to_string().as_bytes(), directive, Fill::Zeros)
            }
            (_, Value::List(items)) if directive.sharp_v && items.is_nil() => {
                _ = write!(self.output, "{}(nil)", value.type_name());
                Ok(())
            }
            (_, Value::List(items)) => {
                let open = if directive.sharp_v { value.type_name() } else { "" };
                self.collection(verb, directive, open, items.iter().map(|item| (None, item)), depth)
            }
            (_, Value::Map(map)) => {
                let open = if directive.sharp_v { value.type_name() } else { "map" };
                let entries: Vec<(Value, Value)> = map
                    .entries()
                    .iter()
                    .map(|(key, value)| (Value::String(key.clone()), value.clone()))
                    .collect();
                let entries = entries.iter().map(|(key, value)| (Some(key), value));
                self.collection(verb, directive, open, entries, depth)
            }
            _ => {
                if !self.scalar(verb, directive, value)? {
                    self.bad_verb(verb, directive, value, depth)?;
                }
                Ok(())
            }
        }
    }

    fn collection<'v>(
        &mut self,
        verb: char,
        directive: &Directive,
        name: &str,
        items: impl Iterator<Item = (Option<&'v Value>, &'v Value)>,
        depth: usize,
    ) -> Result<(), Failure> {
        let (open, separator, close) = if directive.sharp_v { ("{", ", ", "}") } else { ("[", " ", "]") };
        self.output.extend_from_slice(name.as_bytes());
        self.output.extend_from_slice(open.as_bytes());
        for (position, (key, value)) in items.enumerate() {
            if position > 0 {
                self.output.extend_from_slice(separator.as_bytes());
            }
            if let Some(key) = key {
                self.argument(verb, directive, key, depth + 1)?;
                self.output.push(b':');
            }
            self.argument(verb, directive, value, depth + 1)?;
        }
        self.output.extend_from_slice(close.as_bytes());
        Ok(())
    }

    /// Prints what is no collection; tells whether the verb fits.
    fn scalar(&mut self, verb: char, directive: &Directive, value: &Value) -> Result<bool, Failure> {
        let printed = match value {
            Value::Int(value) | Value::Int64(value) => {
                numbers::whole(verb, directive, Whole { value: *value, is_unsigned: false })
            }
            Value::Float(number) => numbers::float(verb, directive, *number),
            Value::String(text) => return self.string(verb, directive, text.as_bytes()),
            Value::Binary(binary) => return self.string(verb, directive, binary.bytes()),
            Value::Object(object) => return self.object(verb, directive, object),
            _ => None,
        };
        let Some(printed) = printed else { return Ok(false) };
        self.padded(printed.text.as_bytes(), directive, printed.fill)?;
        Ok(true)
    }

    fn object(&mut self, verb: char, directive: &Directive, object: &Object) -> Result<bool, Failure> {
        let is_text = matches!(verb, 'v' | 's' | 'q' | 'x' | 'X');
        if is_text && object.is_stringer() && !directive.sharp_v {
            return self.string(verb, directive, object.display().as_bytes());
        }
        match object {
            Object::Bytes(bytes) if is_text && verb != 'v' => self.string(verb, directive, bytes),
            Object::Number(Number { kind, value }) => {
                let is_unsigned = matches!(kind, Kind::Byte | Kind::Unsigned);
                let Some(printed) = numbers::whole(verb, directive, Whole { value: *value, is_unsigned })
                else {
                    return Ok(false);
                };
                self.padded(printed.text.as_bytes(), directive, printed.fill)?;
                Ok(true)
            }
            _ if is_text => self.string('s', &Directive::default(), object.display().as_bytes()),
            _ => Ok(false),
        }
    }

    /// Prints a string; tells whether the verb fits.
    fn string(&mut self, verb: char, directive: &Directive, bytes: &[u8]) -> Result<bool, Failure> {
        let verb = if verb == 'v' && directive.sharp_v { 'q' } else { verb };
        match verb {
            'v' | 's' => self.padded(cut(bytes, directive.precision), directive, Fill::Zeros)?,
            'q' => {
                let bytes = cut(bytes, directive.precision);
                let text = match std::str::from_utf8(bytes) {
                    Ok(text) if directive.sharp && is_raw(text) => format!("`{text}`"),
                    _ if directive.plus => quoted(bytes, true),
                    _ => quote(bytes),
                };
                self.padded(text.as_bytes(), directive, Fill::Zeros)?;
            }
            'x' | 'X' => {
                let bytes = &bytes[..bytes.len().min(directive.precision.unwrap_or(usize::MAX))];
                self.padded(&hexadecimal(verb, directive, bytes), directive, Fill::Zeros)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A verb that does not fit its argument: Go prints the argument in its place, with the same flags.
    fn bad_verb(
        &mut self,
        verb: char,
        directive: &Directive,
        value: &Value,
        depth: usize,
    ) -> Result<(), Failure> {
        if value.is_nil() {
            _ = write!(self.output, "%!{verb}(<nil>)");
            return Ok(());
        }
        _ = write!(self.output, "%!{verb}({}=", value.type_name());
        self.argument('v', directive, value, depth)?;
        self.output.push(b')');
        Ok(())
    }

    fn padded(&mut self, text: &[u8], directive: &Directive, fill: Fill) -> Result<(), Failure> {
        let width = directive.width.unwrap_or(0);
        let missing = if width == 0 { 0 } else { width.saturating_sub(count_characters(text)) };
        self.budget.affords(self.output.len().saturating_add(missing))?;
        if directive.minus {
            self.output.extend_from_slice(text);
            self.output.extend(std::iter::repeat_n(b' ', missing));
            return Ok(());
        }
        let is_signed =
            fill == Fill::ZerosBehindSign && text.first().is_some_and(|first| b"+- ".contains(first));
        let byte = if directive.zero && fill != Fill::Spaces { b'0' } else { b' ' };
        let (sign, rest) = text.split_at(usize::from(byte == b'0' && is_signed));
        self.output.extend_from_slice(sign);
        self.output.extend(std::iter::repeat_n(byte, missing));
        self.output.extend_from_slice(rest);
        Ok(())
    }
}

fn flags<'t>(directive: &mut Directive, text: &'t [u8]) -> &'t [u8] {
    for (at, flag) in text.iter().enumerate() {
        match flag {
            b'-' => directive.minus = true,
            b'0' => directive.zero = true,
            b'+' => directive.plus = true,
            b'#' => directive.sharp = true,
            b' ' => directive.space = true,
            _ => return &text[at..],
        }
    }
    &[]
}

/// Reads a number if there is one; none at all if it is too large, and then what follows is not read either.
fn number(text: &[u8]) -> Option<(Option<usize>, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    if digits.is_empty() {
        return Some((None, rest));
    }
    let number = std::str::from_utf8(digits).ok()?.parse().ok().filter(|number| *number <= WIDTH_MAX)?;
    Some((Some(number), rest))
}

fn first_character(text: &[u8]) -> Option<(char, usize)> {
    let chunk = text[..text.len().min(4)].utf8_chunks().next()?;
    Some(match chunk.valid().chars().next() {
        Some(first) => (first, first.len_utf8()),
        None => (binary::NO_CHARACTER, 1),
    })
}

fn count_characters(text: &[u8]) -> usize {
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

/// The first so many characters.
fn cut(bytes: &[u8], precision: Option<usize>) -> &[u8] {
    let Some(mut left) = precision else { return bytes };
    let mut end = 0;
    for chunk in bytes.utf8_chunks() {
        let sizes = chunk.valid().chars().map(char::len_utf8).chain(chunk.invalid().iter().map(|_| 1));
        for size in sizes {
            if left == 0 {
                return &bytes[..end];
            }
            left -= 1;
            end += size;
        }
    }
    bytes
}

/// Whether a text can stand between backquotes.
fn is_raw(text: &str) -> bool {
    !text.contains(|character: char| {
        matches!(character, '`' | '\u{7f}' | '\u{feff}') || (character < ' ' && character != '\t')
    })
}

fn hexadecimal(verb: char, directive: &Directive, bytes: &[u8]) -> Vec<u8> {
    let prefix = match (directive.sharp, verb) {
        (false, _) => "",
        (true, 'x') => "0x",
        (true, _) => "0X",
    };
    let mut output = Vec::new();
    for (position, byte) in bytes.iter().enumerate() {
        if directive.space && position > 0 {
            output.push(b' ');
        }
        if position == 0 || directive.space {
            output.extend_from_slice(prefix.as_bytes());
        }
        _ = if verb == 'x' { write!(output, "{byte:02x}") } else { write!(output, "{byte:02X}") };
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::RenderLimits;

    fn sprint(format: &str, arguments: &[Value]) -> String {
        let limits = RenderLimits::default();
        let printed = sprintf(&Budget::new(&limits), format.as_bytes(), arguments).unwrap();
        String::from_utf8(printed).unwrap()
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
        assert_eq!(sprint("%[2]d %[1]s", &[text, three]), "3 ab");
    }

    #[test]
    fn no_width_is_wider_than_the_budget() {
        let limits = RenderLimits { memory_bytes: 5_000_000, ..RenderLimits::default() };
        let numbers = Value::list(vec![Value::Int(1); 100]);
        let error = sprintf(&Budget::new(&limits), b"%1000000d", &[numbers]).unwrap_err();
        assert!(format!("{error:?}").contains("produce more than 5000000 bytes"));
    }
}
