//! YAML with positions: from bytes to a tree that knows where each piece stands.
//!
//! This reads the events of the scanner under serde-saphyr instead of deserializing with serde, for three
//! reasons: serde stops at the first error where a file's author wants all of them, every value here keeps its
//! line and column, and a plain scalar keeps its text, so that `0644` or `yes`, which YAML 1.1 (Helm) and YAML
//! 1.2 read differently, can be refused instead of silently becoming one of the two.

use std::collections::BTreeMap;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::Number;

use super::problem::quote;
use super::{FileContent, Limits, Problem};

/// How many bytes to either side of a place a snippet can show.
const SNIPPET_REACH: usize = 80;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    byte: usize,
}

/// A file that is text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// Its path.
    pub file: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// Checks that a file can be read as text at all.
    pub(super) fn new(file: &'a str, content: &'a FileContent, limits: &Limits) -> Result<Self, Problem> {
        match content {
            FileContent::Bytes(bytes) => Self::from_bytes(file, bytes, limits),
            FileContent::Unreadable(why) => {
                let max = limits.file_bytes / 1024;
                let message = format!("this is {why}: put a regular text file of at most {max} KiB here");
                Err(Problem::of_file(file, &message))
            }
        }
    }

    /// Checks that bytes can be read as text at all.
    pub(super) fn from_bytes(file: &'a str, bytes: &'a [u8], limits: &Limits) -> Result<Self, Problem> {
        if bytes.len() > limits.file_bytes {
            let (length, max) = (bytes.len(), limits.file_bytes);
            let message = format!("the file has {length} bytes, at most {max} are read: make it smaller");
            return Err(Problem::of_file(file, &message));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let at = end_of(&good);
            let message =
                format!("byte {} of the file is not UTF-8: save it as UTF-8", error.valid_up_to() + 1);
            Problem::at(file, at.line, at.column, &message, None)
        })?;
        let source = Self { file, text: text.strip_prefix('\u{feff}').unwrap_or(text) };
        if source.text.starts_with("version https://git-lfs") {
            let message = "the file is a Git LFS pointer: keep YAML files out of LFS (see `.gitattributes`)";
            return Err(Problem::of_file(file, message));
        }
        let foreign = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
        if let Some((byte, character)) = source.text.char_indices().find(|(_, c)| foreign(*c)) {
            let code = u32::from(character);
            let message = format!("the control character U+{code:04X} stands here: remove it");
            return Err(source.problem(end_of(&source.text[..byte]), &message));
        }
        Ok(source)
    }

    /// Makes a problem of one place in the file, with its line as the snippet.
    pub(super) fn problem(&self, at: Position, message: &str) -> Problem {
        // Behind the last line end is no line that a forge could show.
        let at =
            if at.byte < self.text.len() { at } else { end_of(self.text.trim_end_matches(['\n', '\r'])) };
        // Of a very long line only the neighbourhood is looked at: a file may have thousands of problems on it.
        let byte = boundary(self.text, at.byte);
        let before = &self.text[boundary(self.text, byte.saturating_sub(SNIPPET_REACH))..byte];
        let after = &self.text[byte..boundary(self.text, byte + SNIPPET_REACH)];
        let start = byte - before.len() + before.rfind(['\n', '\r']).map_or(0, |byte| byte + 1);
        let end = byte + after.find(['\n', '\r']).unwrap_or(after.len());
        Problem::at(self.file, at.line, at.column, message, Some(&self.text[start..end]))
    }
}

/// Returns the last place up to `byte` where a text can be cut.
fn boundary(text: &str, byte: usize) -> usize {
    (0..=byte.min(text.len())).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(0)
}

/// Returns the position behind a text.
fn end_of(text: &str) -> Position {
    let line_start = text.rfind('\n').map_or(0, |byte| byte + 1);
    Position {
        line: text.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: text[line_start..].chars().count() + 1,
        byte: text.len(),
    }
}

/// A piece of a document.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub kind: Kind,
    nodes: usize,
    bytes: usize,
    height: usize,
}

/// What a piece of a document is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Text, a number, a boolean or null.
    Scalar(Scalar),
    /// `- item` or `[item]`.
    List(Vec<Rc<Node>>),
    /// `key: value`; no key comes twice.
    Map(Vec<(Key, Rc<Node>)>),
}

/// A key of a map.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Where it begins.
    pub at: Position,
    /// Its text.
    pub text: String,
    /// What it is when it is not text.
    pub scalar: Scalar,
}

/// A scalar after YAML's rules for plain text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole or decimal number, and how the file writes it.
    Number(Number, String),
    /// Text, quoted or not.
    Text(String),
    /// Something that can't be used, and the reason with the remedy; fits "{quoted text} {reason}".
    Refused(String, String),
}

/// Reads the one document of a file. What can be read in spite of a problem is read, so that the other
/// problems of a file show as well.
pub(super) fn parse(source: &Source<'_>, limits: &Limits) -> (Option<Rc<Node>>, Vec<Problem>) {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        flow_nesting_limit: limits.depth,
        block_nesting_limit: limits.depth,
    };
    let mut builder = Builder::new(*source, limits);
    for item in Parser::new_from_str_with_options(source.text, options) {
        let step = match item {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(scan_problem(source, &error, limits)),
        };
        if let Err(problem) = step {
            builder.problems.push(problem);
            return (None, builder.problems);
        }
    }
    if builder.root.as_ref().is_none_or(|root| matches!(root.kind, Kind::Scalar(Scalar::Null))) {
        builder.root = None;
        builder.problems.push(Problem::of_file(source.file, "the file is empty or holds only comments"));
    }
    (builder.root, builder.problems)
}

enum Frame {
    List {
        at: Position,
        anchor: usize,
        items: Vec<Rc<Node>>,
    },
    Map {
        at: Position,
        anchor: usize,
        entries: Vec<(Key, Rc<Node>)>,
        key: Option<Key>,
        seen: BTreeMap<String, Position>,
    },
}

struct Builder<'a> {
    source: Source<'a>,
    limits: &'a Limits,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, Rc<Node>>,
    documents: usize,
    nodes: usize,
    bytes: usize,
    root: Option<Rc<Node>>,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn new(source: Source<'a>, limits: &'a Limits) -> Self {
        Self {
            source,
            limits,
            frames: Vec::new(),
            anchors: BTreeMap::new(),
            documents: 0,
            nodes: 0,
            bytes: 0,
            root: None,
            problems: Vec::new(),
        }
    }

    /// Takes one event; an error ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let at = position(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document begins here (`---`): one file describes one thing";
                    return Err(self.source.problem(at, message));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(at, tag.is_some())?;
                let text = if span.is_empty() { "" } else { &*text };
                let scalar = match style {
                    ScalarStyle::Plain => resolve(text),
                    _ => Scalar::Text(text.to_owned()),
                };
                self.scalar(at, text, scalar, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(at, tag.is_some())?;
                self.open(at, Frame::List { at, anchor, items: Vec::new() })?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(at, tag.is_some())?;
                let (entries, seen) = (Vec::new(), BTreeMap::new());
                self.open(at, Frame::Map { at, anchor, entries, key: None, seen })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at)?,
            Event::Alias(id) => self.alias(at, id)?,
            _ => {}
        }
        Ok(())
    }

    fn refuse_tag(&self, at: Position, tagged: bool) -> Result<(), Problem> {
        if tagged {
            let message =
                "tags (`!name`, `!!str`) are not read: remove it, and quote the value if it is text";
            return Err(self.source.problem(at, message));
        }
        Ok(())
    }

    fn scalar(&mut self, at: Position, text: &str, scalar: Scalar, anchor: usize) -> Result<(), Problem> {
        self.spend(at, 1, text.len())?;
        if self.awaits_key() {
            return self.key(Key { at, text: text.to_owned(), scalar });
        }
        let node = Node { at, kind: Kind::Scalar(scalar), nodes: 1, bytes: text.len(), height: 0 };
        self.finish(Rc::new(node), anchor)
    }

    fn awaits_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Map { key: None, .. }))
    }

    fn key(&mut self, new: Key) -> Result<(), Problem> {
        let Some(Frame::Map { key, seen, .. }) = self.frames.last_mut() else { return Ok(()) };
        if new.text == "<<" && matches!(new.scalar, Scalar::Text(_)) {
            let message = "merge keys (`<<`) are not read: YAML 1.2 has none; write the fields out";
            return Err(self.source.problem(new.at, message));
        }
        if let Some(first) = seen.get(&new.text) {
            let message = format!(
                "{} is set twice, here and in line {}: remove one of the two",
                quote(&new.text),
                first.line
            );
            self.problems.push(self.source.problem(new.at, &message));
        } else {
            seen.insert(new.text.clone(), new.at);
        }
        *key = Some(new);
        Ok(())
    }

    fn open(&mut self, at: Position, frame: Frame) -> Result<(), Problem> {
        if self.awaits_key() {
            return Err(self.source.problem(at, "a map or list is the key of a map here: keys are text, and text that begins with `{` or `[` needs quotes"));
        }
        self.spend(at, 1, 0)?;
        self.frames.push(frame);
        self.check_depth(at, 0)
    }

    fn close(&mut self, at: Position) -> Result<(), Problem> {
        let (at, anchor, kind) = match self.frames.pop() {
            Some(Frame::List { at, anchor, items }) => (at, anchor, Kind::List(items)),
            Some(Frame::Map { at, anchor, entries, key: _, seen: _ }) => (at, anchor, Kind::Map(entries)),
            None => return Err(self.source.problem(at, "a map or list ends here that never began")),
        };
        let (mut nodes, mut bytes, mut height) = (1_usize, 0_usize, 0_usize);
        let mut add = |child: &Node| {
            nodes = nodes.saturating_add(child.nodes);
            bytes = bytes.saturating_add(child.bytes);
            height = height.max(child.height + 1);
        };
        match &kind {
            Kind::List(items) => {
                for item in items {
                    add(item);
                }
            }
            Kind::Map(entries) => {
                for (_, value) in entries {
                    add(value);
                }
                nodes = nodes.saturating_add(entries.len());
                bytes = entries.iter().fold(bytes, |sum, (key, _)| sum.saturating_add(key.text.len()));
            }
            Kind::Scalar(_) => {}
        }
        self.finish(Rc::new(Node { at, kind, nodes, bytes, height }), anchor)
    }

    fn alias(&mut self, at: Position, id: usize) -> Result<(), Problem> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            let message = "this alias stands inside the map or list that it refers to: write the values out";
            return Err(self.source.problem(at, message));
        };
        if self.awaits_key() {
            return Err(self.source.problem(at, "an alias is the key of a map here: write the key out"));
        }
        self.spend(at, node.nodes, node.bytes)?;
        self.check_depth(at, node.height)?;
        self.finish(node, 0)
    }

    /// Counts what has been read; an alias costs what it stands for, so that aliases of aliases add up.
    fn spend(&mut self, at: Position, nodes: usize, bytes: usize) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        let Limits { nodes: max_nodes, expanded_bytes: max_bytes, .. } = *self.limits;
        let message = if self.nodes > max_nodes {
            format!(
                "the file has more than {max_nodes} keys and values (aliases count fully): make it smaller"
            )
        } else if self.bytes > max_bytes {
            format!(
                "the file has more than {max_bytes} bytes of text with its aliases filled in: make it smaller"
            )
        } else {
            return Ok(());
        };
        Err(self.source.problem(at, &message))
    }

    fn check_depth(&self, at: Position, height: usize) -> Result<(), Problem> {
        if self.frames.len() + height > self.limits.depth {
            return Err(self.source.problem(at, &too_deep(self.limits.depth)));
        }
        Ok(())
    }

    fn finish(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Problem> {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, seen, .. }) => match key.take() {
                // Of a key set twice the first value counts; the problem is noted already.
                Some(key) if seen.get(&key.text) == Some(&key.at) => entries.push((key, node)),
                Some(_) => {}
                None => return Err(self.source.problem(node.at, "a value stands here without a key")),
            },
        }
        Ok(())
    }
}

fn position(span: Span) -> Position {
    let start = span.start;
    Position { line: start.line(), column: start.col() + 1, byte: start.byte_offset().unwrap_or(0) }
}

fn too_deep(depth: usize) -> String {
    format!("maps and lists are nested deeper than {depth} levels here: make the file flatter")
}

/// Says in the words of the person at the keyboard what the scanner stumbled over.
fn scan_problem(source: &Source<'_>, error: &ScanError, limits: &Limits) -> Problem {
    let mark = error.marker();
    let at = Position {
        line: mark.line(),
        column: mark.col() + 1,
        byte: mark.byte_offset().unwrap_or(source.text.len()),
    };
    if let Some(conflict) = source.text.lines().position(|line| line.starts_with("<<<<<<< ")) {
        let message = "a merge conflict was committed (`<<<<<<<`): choose one side and remove the marks";
        return Problem::at(source.file, conflict + 1, 1, message, None);
    }
    let message = match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart => "a tab stands here where spaces must be: indent with spaces".to_owned(),
        ErrorKind::UnknownAnchor => {
            "no anchor (`&name`) of this name stands above: text that begins with `*` needs quotes".to_owned()
        }
        ErrorKind::DirectiveDisallowed => "lines that begin with `%` are not read: remove the line".to_owned(),
        ErrorKind::UndeclaredTagHandle => {
            "tags (`!name`) are not read: text that begins with `!` needs quotes".to_owned()
        }
        ErrorKind::RecursionLimitExceeded => too_deep(limits.depth),
        ErrorKind::UnclosedQuotedScalar => "a quote is opened here and never closed".to_owned(),
        ErrorKind::InvalidQuotedScalarIndent => {
            "text in quotes does not end above: close the quote, or indent the lines of the text".to_owned()
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            format!("`{open}` is opened here and closed by `{close}`")
        }
        ErrorKind::UnclosedFlowCollection { open } => format!("`{open}` is opened here and never closed"),
        ErrorKind::MappingValueNotAllowed => {
            "a `:` stands here where no field can begin: check the indentation here and in the line above, and quote text that holds `: `"
                .to_owned()
        }
        ErrorKind::UnexpectedCharacter { character } => {
            format!("{} can't begin a value: quote the text", quote(&character.to_string()))
        }
        ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey => {
            "this line is indented like no line above: align it with its neighbours".to_owned()
        }
        ErrorKind::SimpleKeyExpected => "this line is no field: a `:` and a space are missing after its name".to_owned(),
        _ => format!("this is not valid YAML: {}", error.info()),
    };
    source.problem(at, &message)
}

/// Reads a plain scalar by the core schema of YAML 1.2, and refuses what YAML 1.1 reads differently.
fn resolve(text: &str) -> Scalar {
    let refused = |reason: &str| Scalar::Refused(text.to_owned(), reason.to_owned());
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return refused(
                "means true to some YAML readers and text to others: write true, or quote the text",
            );
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return refused(
                "means false to some YAML readers and text to others: write false, or quote the text",
            );
        }
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return refused("is no number that chart values can hold: write a finite number, or quote the text");
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Scalar::Text(text.to_owned());
    }
    if is_date(text) {
        return refused("is a date to some YAML readers and text to others: quote it");
    }
    if is_base_sixty(unsigned) {
        return refused("is a number of base 60 to some YAML readers and text to others: quote it");
    }
    resolve_number(text, unsigned)
}

fn resolve_number(text: &str, unsigned: &str) -> Scalar {
    let refused = |reason: &str| Scalar::Refused(text.to_owned(), reason.to_owned());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = unsigned
        .strip_prefix("0x")
        .filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_'))
    {
        return match u64::from_str_radix(rest, 16) {
            Ok(number) if unsigned == text => Scalar::Number(number.into(), text.to_owned()),
            _ => {
                refused("is a number to some YAML readers and text to others: write it decimal, or quote it")
            }
        };
    }
    let other_base = |mark: &str, base: &[u8]| {
        unsigned
            .strip_prefix(mark)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| base.contains(&b)))
    };
    if other_base("0b", b"01_") || other_base("0o", b"01234567_") {
        return refused("is a number to some YAML readers and text to others: write it decimal, or quote it");
    }
    let plain: String = unsigned.chars().filter(|c| *c != '_').collect();
    let (mantissa, exponent) = split_exponent(&plain);
    let (whole, fraction) =
        mantissa.split_once('.').map_or((mantissa, None), |(whole, part)| (whole, Some(part)));
    let is_number = (digits(whole) || whole.is_empty())
        && fraction.is_none_or(|part| part.is_empty() || digits(part))
        && (digits(whole) || fraction.is_some_and(digits));
    if !is_number {
        return Scalar::Text(text.to_owned());
    }
    if plain != unsigned {
        return refused("is a number to some YAML readers and text to others: leave out `_`, or quote it");
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return refused(
            "is octal to some YAML readers and decimal to others: leave out the first 0, or quote it",
        );
    }
    if exponent.is_some_and(|exponent| fraction.is_none() || !exponent.starts_with(['+', '-'])) {
        return refused(
            "is a number to some YAML readers and text to others: write it without `e`, or quote it",
        );
    }
    let number = if fraction.is_none() && exponent.is_none() { whole_number(text) } else { decimal(text) };
    match number {
        Some(number) => Scalar::Number(number, text.to_owned()),
        None => refused("is too large for a number in chart values: quote it if it is text"),
    }
}

/// Splits `1.5e+3` into `1.5` and `+3`; without a well-formed exponent everything is mantissa.
fn split_exponent(text: &str) -> (&str, Option<&str>) {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return (text, None) };
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        (mantissa, Some(exponent))
    } else {
        (text, None)
    }
}

fn whole_number(text: &str) -> Option<Number> {
    let text = text.strip_prefix('+').unwrap_or(text);
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

fn decimal(text: &str) -> Option<Number> {
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

/// `2026-11-22`, alone or with a time behind it.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let day: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let digits = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let tail = &rest[day.len()..];
    digits(year, &[4])
        && digits(month, &[1, 2])
        && digits(&day, &[1, 2])
        && (tail.is_empty() || tail.starts_with(['T', 't', ' ', '\t']))
}

/// `12:30:00` and `22:22`: YAML 1.1 counts them in minutes and seconds.
fn is_base_sixty(unsigned: &str) -> bool {
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest = parts.peekable();
    if rest.peek().is_none() || !first.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    number(first)
        && rest.all(|part| {
            let whole = part.split_once('.').map_or(part, |(whole, _)| whole);
            whole.len() <= 2 && whole.parse::<u8>().is_ok_and(|value| value < 60)
        })
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
