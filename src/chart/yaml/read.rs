//! Reads YAML into JSON values, with bounds on depth and on what aliases expand to.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

use super::{YamlError, quick, scalar};

/// How deep collections may nest. Deeper text is hostile: `serde_json` itself stops at 128.
const DEPTH_MAX: usize = 100;
/// How many nodes one document may hold once its aliases are expanded. The CRDs of a large public chart come
/// to some 60,000; a "billion laughs" of aliases runs into this bound instead of into memory.
pub(super) const NODES_MAX: usize = 300_000;
/// How many bytes of scalars one document may hold once its aliases are expanded.
const BYTES_MAX: usize = 32 << 20;

/// How many lines of quoted texts are indented for the parser, at the cost of reading the text anew.
const INDENTED_MAX: usize = 100;

/// Parses the first document of a text; an empty text is null.
pub(crate) fn parse_document(text: &str) -> Result<Value, YamlError> {
    Ok(Reader::read(text)?.value)
}

/// What one document comes to.
pub(crate) struct Reader {
    /// The document.
    pub(crate) value: Value,
    /// How many nodes it has, aliases expanded: what it costs to work on it.
    pub(crate) nodes: usize,
}

impl Reader {
    /// Reads the first document of a text. Later documents are not looked at, as in Helm.
    pub(crate) fn read(text: &str) -> Result<Reader, YamlError> {
        let Some((value, nodes)) = quick::read(text) else { return Self::read_in_full(text) };
        debug_assert!(
            Self::read_in_full(text).is_ok_and(|full| full.value == value && full.nodes == nodes),
            "the quick reader disagrees with the full parser about {text:?}"
        );
        Ok(Reader { value, nodes })
    }

    /// Reads with the parser that knows all of YAML.
    pub(super) fn read_in_full(text: &str) -> Result<Reader, YamlError> {
        let mut text = Cow::Borrowed(text);
        for _ in 0..INDENTED_MAX {
            match Self::read_strictly(&text) {
                Err(Refusal::QuotedLine(line)) => text = Cow::Owned(indented(&text, line)),
                Err(Refusal::Final(error)) => return Err(error),
                Ok(reader) => return Ok(reader),
            }
        }
        Self::read_strictly(&text).map_err(|refusal| match refusal {
            Refusal::Final(error) => error,
            Refusal::QuotedLine(line) => {
                YamlError { line, column: 1, message: "a line of a quoted text is not indented".to_owned() }
            }
        })
    }

    fn read_strictly(text: &str) -> Result<Reader, Refusal> {
        let mut builder = Builder::default();
        let mut tabs = Tabs::new(text);
        let ends_in_line = text.rsplit('\n').next().is_some_and(|last| !last.trim_matches(' ').is_empty());
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| match error.kind() {
                ErrorKind::InvalidQuotedScalarIndent => Refusal::QuotedLine(error.marker().line()),
                _ => Refusal::Final(YamlError {
                    line: error.marker().line(),
                    column: error.marker().col() + 1,
                    message: error.info(),
                }),
            })?;
            if matches!(event, Event::DocumentEnd) {
                break;
            }
            let refusal = |message| Refusal::Final(at(span, message));
            tabs.check(&event, span).map_err(refusal)?;
            let at_end = span.end.byte_offset().is_some_and(|offset| offset >= text.len());
            let event =
                if at_end && !text.ends_with('\n') { without_line_break(event, ends_in_line) } else { event };
            builder.event(event).map_err(refusal)?;
        }
        Ok(Reader { value: builder.root.unwrap_or(Value::Null), nodes: builder.size.nodes })
    }
}

/// Why the parser stopped.
enum Refusal {
    /// A quoted text goes on in a line that is not indented enough for YAML 1.2. Go's parser takes it.
    QuotedLine(usize),
    /// The text is no YAML.
    Final(YamlError),
}

/// Indents a line of a quoted text: space where such a line begins is no part of the text.
fn indented(text: &str, line: usize) -> String {
    let mut output = String::with_capacity(text.len() + DEPTH_MAX * 4);
    for (index, text_of_line) in text.split_inclusive('\n').enumerate() {
        if index + 1 == line {
            output.extend(std::iter::repeat_n(' ', DEPTH_MAX * 4));
        }
        output.push_str(text_of_line);
    }
    output
}

/// Finds tabs where Go's parser allows none and ours does: in front of a key or an item, where a line or an item begins.
struct Tabs<'t> {
    text: &'t str,
    may_be_wrong: bool,
    /// For each collection that is open, whether it is in brackets.
    open: Vec<bool>,
}

impl<'t> Tabs<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, may_be_wrong: text.contains('\t'), open: Vec::new() }
    }

    fn check(&mut self, event: &Event<'_>, span: Span) -> Result<(), String> {
        if !self.may_be_wrong {
            return Ok(());
        }
        let Some(before) = span.start.byte_offset().and_then(|offset| self.text.split_at_checked(offset))
        else {
            return Ok(());
        };
        let (before, behind) = before;
        let in_brackets = self.open.last().copied().unwrap_or_default();
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                self.open.push(in_brackets || behind.starts_with(['[', '{']));
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                return Ok(());
            }
            Event::Scalar(..) | Event::Alias(..) => {}
            _ => return Ok(()),
        }
        let line = before.rsplit('\n').next().unwrap_or_default();
        let is_space = |line: &str| {
            line.trim_start_matches([' ', '\t', '-', '?']).is_empty() && !line.starts_with("---")
        };
        if !in_brackets && line.contains('\t') && is_space(line) && !behind.is_empty() {
            return Err("a tab stands in front of a key or value; use spaces".to_owned());
        }
        Ok(())
    }
}

/// A block scalar that runs to the end of a text without a line break has none itself, if the last line is one of its own:
/// it holds more than space (`ends_in_line`), or more of that than the scalar is indented. The parser adds one, Go's does
/// not, and `fromYaml (toYaml …)` shows it.
fn without_line_break(event: Event<'_>, ends_in_line: bool) -> Event<'_> {
    match event {
        Event::Scalar(text, style @ (ScalarStyle::Literal | ScalarStyle::Folded), anchor, tag) => {
            let stripped = text.strip_suffix('\n').unwrap_or(&text);
            let last = stripped.rsplit('\n').next().unwrap_or_default();
            let ends_in_space = !last.is_empty() && last.bytes().all(|byte| byte == b' ');
            let text = if ends_in_line || ends_in_space { stripped.to_owned().into() } else { text };
            Event::Scalar(text, style, anchor, tag)
        }
        other => other,
    }
}

fn at(span: Span, message: String) -> YamlError {
    YamlError { line: span.start.line(), column: span.start.col() + 1, message }
}

/// What a value costs; an alias costs it again.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

struct Open {
    collection: Collection,
    anchor: usize,
    size_before: Size,
}

enum Collection {
    Sequence(Vec<Value>),
    Mapping { entries: Map<String, Value>, key: Option<Key>, merges: Vec<Value> },
}

enum Key {
    Name(String),
    /// `<<`: the value's entries are taken over where the mapping has none of its own.
    Merge,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, (Value, Size)>,
    root: Option<Value>,
    size: Size,
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
                let value = resolve_scalar(&text, style, tag.as_deref())?;
                let size = Size { nodes: 1, bytes: text.len() };
                self.count(size)?;
                self.remember(anchor, &value, size);
                self.finish(value, is_merge)
            }
            Event::Alias(anchor) => {
                let (value, size) = self.anchors.get(&anchor).ok_or("an alias refers to itself")?.clone();
                self.count(size)?;
                self.finish(value, false)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Collection::Sequence(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => {
                self.begin(Collection::Mapping { entries: Map::new(), key: None, merges: Vec::new() }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, collection: Collection, anchor: usize) -> Result<(), String> {
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("collections are nested deeper than {DEPTH_MAX}"));
        }
        let size_before = self.size;
        self.count(Size { nodes: 1, bytes: 0 })?;
        self.open.push(Open { collection, anchor, size_before });
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(Open { collection, anchor, size_before }) = self.open.pop() else {
            return Err("a collection ends that did not begin".to_owned());
        };
        let value = match collection {
            Collection::Sequence(items) => Value::Array(items),
            Collection::Mapping { entries, merges, .. } => Value::Object(merged(entries, merges)?),
        };
        let size =
            Size { nodes: self.size.nodes - size_before.nodes, bytes: self.size.bytes - size_before.bytes };
        self.remember(anchor, &value, size);
        self.finish(value, false)
    }

    /// Puts a finished value where it belongs: into the innermost open collection, or at the root.
    fn finish(&mut self, value: Value, is_merge: bool) -> Result<(), String> {
        match self.open.last_mut().map(|open| &mut open.collection) {
            None => self.root = Some(value),
            Some(Collection::Sequence(items)) => items.push(value),
            Some(Collection::Mapping { entries, key, merges }) => match key.take() {
                None if is_merge => *key = Some(Key::Merge),
                None => *key = Some(Key::Name(key_name(value)?)),
                Some(Key::Merge) => merges.push(value),
                Some(Key::Name(name)) => {
                    entries.insert(name, value);
                }
            },
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, value: &Value, size: Size) {
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), size));
        }
    }

    fn count(&mut self, size: Size) -> Result<(), String> {
        self.size.nodes += size.nodes;
        self.size.bytes += size.bytes;
        if self.size.nodes > NODES_MAX || self.size.bytes > BYTES_MAX {
            return Err(format!(
                "the document holds more than {NODES_MAX} nodes or {BYTES_MAX} bytes once its aliases are expanded"
            ));
        }
        Ok(())
    }
}

/// The name of a tag of YAML's own. The parser knows those of YAML 1.2 by name, and not the older `binary`.
fn short_tag(tag: &Tag) -> Option<&str> {
    tag.core_suffix().or_else(|| tag.to_string().ends_with(":binary").then_some("binary"))
}

fn resolve_scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let resolved = match (style, tag.and_then(short_tag)) {
        (_, Some("str")) => Value::String(text.to_owned()),
        (_, Some("binary")) => {
            let compact: String = text.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(compact)
                .map_err(|_| "!!binary value contains invalid base64 data".to_owned())?;
            Value::String(String::from_utf8_lossy(&bytes).into_owned())
        }
        (ScalarStyle::Plain, _) | (_, Some("int" | "float" | "bool" | "null")) => scalar::resolve(text),
        _ => Value::String(text.to_owned()),
    };
    Ok(resolved)
}

/// JSON has only string keys; Helm prints other scalars and refuses collections.
pub(super) fn key_name(value: Value) -> Result<String, String> {
    match value {
        Value::String(name) => Ok(name),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Err("a key is null".to_owned()),
        Value::Array(_) | Value::Object(_) => Err("a key is a collection".to_owned()),
    }
}

fn merged(mut entries: Map<String, Value>, merges: Vec<Value>) -> Result<Map<String, Value>, String> {
    let sources = merges.into_iter().flat_map(|merge| match merge {
        Value::Array(items) => items,
        single => vec![single],
    });
    for source in sources {
        let Value::Object(source) = source else {
            return Err("map merge requires map or sequence of maps as the value".to_owned());
        };
        for (key, value) in source {
            entries.entry(key).or_insert(value);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_become_json_with_string_keys() {
        let text = "a: [1, yes]\non: x\n1: {b: ~}\nbase: &base {p: 1, q: 2}\nother:\n  <<: *base\n  q: 3\n";
        assert_eq!(
            parse_document(text).unwrap(),
            json!({"a": [1, true], "true": "x", "1": {"b": null}, "base": {"p": 1, "q": 2}, "other": {"q": 3, "p": 1}})
        );
        assert_eq!(parse_document("").unwrap(), json!(null));
        assert_eq!(parse_document("a: 'yes'\nb: !!str 1\n").unwrap(), json!({"a": "yes", "b": "1"}));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let error = parse_document("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.line >= 2, "{error}");
        assert!(error.to_string().starts_with("parse YAML at line "), "{error}");
        assert_eq!(parse_document("a: 1\n~: 2\n").unwrap_err().message, "a key is null");
    }

    #[test]
    fn a_deep_nest_and_an_alias_bomb_are_refused() {
        let error = parse_document(&"[".repeat(5000)).unwrap_err();
        assert!(!error.message.is_empty());
        let deep = format!("{}1{}", "[".repeat(101), "]".repeat(101));
        assert!(parse_document(&deep).unwrap_err().message.contains("nested deeper than 100"));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            let items = [below.as_str(); 10].join(",");
            bomb.extend([format!("a{level}: &a{level} [{items}]\n")]);
        }
        assert!(parse_document(&bomb).unwrap_err().message.contains("more than 300000 nodes"));
    }
}
