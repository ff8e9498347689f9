//! Reads the part of YAML that charts mostly write, ten times as fast as the full parser.
//!
//! It knows block maps and lists, plain and quoted scalars, literal blocks, empty `{}` and `[]`, and lists of words in
//! brackets. At anything else (an anchor, a tag, a folded block, a tab, a mistake) it gives up, and the full parser reads the whole text instead: so every error, every bound and every rare form is
//! that parser's alone. What this one does accept must come to the very same value and count of nodes; the tests
//! compare the two on everything that the charts render to and on thousands of made-up texts.

use serde_json::{Map, Value};

use super::read::{NODES_MAX, key_name};
use super::scalar;
use crate::chart::lines::next_break;

/// Longer texts are left to the full parser, which counts bytes as it goes. A text this short can't hold as many as are
/// allowed.
const TEXT_MAX: usize = 16 << 20;
/// Deeper nests are left to the full parser; it allows 100.
const DEPTH_MAX: usize = 60;
/// Longer keys are left to the full parser; YAML allows 1024 characters.
const KEY_MAX: usize = 200;

/// Room for as many entries as most maps of a manifest have, so that few grow: growing costs more than it saves.
const ENTRIES: usize = 7;

/// Reads a text that is one map or list in the common subset. Nothing means: ask the full parser.
pub(super) fn read(text: &str) -> Option<(Value, usize)> {
    if text.len() > TEXT_MAX || !has_common_characters(text) {
        return None;
    }
    let mut reader = Quick { text, next: 0, at: 0, end: 0, column: 0, is_done: false, nodes: 0, depth: 0 };
    reader.advance();
    if reader.is_done {
        return None;
    }
    let value = reader.block()?;
    (reader.is_done && reader.nodes <= NODES_MAX).then_some((value, reader.nodes))
}

/// Tells whether a text holds no tab, carriage return, control character, byte order mark or rare line break.
fn has_common_characters(text: &str) -> bool {
    // In pieces, each looked at as a whole: that is what the compiler makes vectors of.
    let is_ascii =
        |piece: &[u8]| piece.iter().fold(true, |all, byte| all & matches!(byte, b' '..=b'~' | b'\n'));
    if text.as_bytes().chunks(256).all(is_ascii) {
        return true;
    }
    text.chars().all(|character| match character {
        '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        ' '..='~' | '\n' | '\u{a0}'..='\u{fffd}' | '\u{10000}'.. => true,
        _ => false,
    })
}

/// Where the reader is: in front of something in a line. Blank lines and comments are never where it is.
struct Quick<'t> {
    text: &'t str,
    /// Where the next line begins.
    next: usize,
    /// The first byte that has not been read.
    at: usize,
    /// Where the line ends, in front of its line break.
    end: usize,
    /// How far from the line's begin `at` was when something began there: the indentation of what begins.
    column: usize,
    /// Whether the text is at its end.
    is_done: bool,
    nodes: usize,
    depth: usize,
}

impl Quick<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(b'\n')
    }

    fn line_end(&self, from: usize) -> usize {
        next_break(self.text, from).unwrap_or(self.text.len())
    }

    fn spaces(&self, from: usize) -> usize {
        self.text.as_bytes()[from..].iter().take_while(|byte| **byte == b' ').count()
    }

    /// Goes to the next line that holds more than space and a comment.
    fn advance(&mut self) {
        while self.next < self.text.len() {
            let begin = self.next;
            self.column = self.spaces(begin);
            self.at = begin + self.column;
            match self.byte(self.at) {
                b'\n' => self.next = self.at + 1,
                b'#' => self.next = self.line_end(self.at) + 1,
                _ => {
                    self.end = self.line_end(self.at);
                    self.next = self.end + 1;
                    return;
                }
            }
        }
        (self.is_done, self.column) = (true, 0);
    }

    /// Tells whether an item of a list begins here.
    fn is_item(&self) -> bool {
        self.byte(self.at) == b'-' && matches!(self.byte(self.at + 1), b' ' | b'\n')
    }

    /// Reads the map or list that begins here.
    fn block(&mut self) -> Option<Value> {
        self.depth += 1;
        self.nodes += 1;
        if self.depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return None;
        }
        let value = if self.is_item() { self.list()? } else { self.map()? };
        self.depth -= 1;
        Some(value)
    }

    fn map(&mut self) -> Option<Value> {
        let column = self.column;
        let mut entries = Map::with_capacity(ENTRIES);
        while !self.is_done && self.column >= column {
            if self.column > column {
                return None;
            }
            let name = self.key()?;
            let value = self.value(column)?;
            entries.insert(name, value);
        }
        Some(Value::Object(entries))
    }

    fn list(&mut self) -> Option<Value> {
        let column = self.column;
        let mut items = Vec::new();
        while !self.is_done && self.column >= column {
            if self.column > column {
                return None;
            }
            if !self.is_item() {
                break;
            }
            items.push(self.item(column)?);
        }
        Some(Value::Array(items))
    }

    /// Reads an item of a list, from its dash.
    fn item(&mut self, column: usize) -> Option<Value> {
        let space = 1 + self.spaces(self.at + 1);
        self.at += space;
        if self.at >= self.end {
            self.advance();
            return if !self.is_done && self.column > column {
                self.below(column)
            } else {
                Some(self.empty())
            };
        }
        if self.is_item() || self.key_length().is_some() {
            // Deeper than the dash by what lies between them: later lines of it stand below its first.
            self.column = column + space;
            return self.block();
        }
        self.scalar(column)
    }

    /// Reads what follows a key in a map of this column.
    fn value(&mut self, column: usize) -> Option<Value> {
        self.at += self.spaces(self.at);
        if self.at < self.end && self.byte(self.at) != b'#' {
            return self.scalar(column);
        }
        self.advance();
        if self.is_done || self.column < column {
            return Some(self.empty());
        }
        // A list may stand below its key without being indented.
        match self.column > column {
            true => self.below(column),
            false if self.is_item() => self.block(),
            false => Some(self.empty()),
        }
    }

    /// Reads what stands in lines of its own, deeper than that column.
    fn below(&mut self, column: usize) -> Option<Value> {
        if self.is_item() || self.key_length().is_some() { self.block() } else { self.scalar(column) }
    }

    /// Nothing where a value may be is null, and counts as a node.
    fn empty(&mut self) -> Value {
        self.nodes += 1;
        Value::Null
    }

    /// Finds how long the key is that begins here, its quotes included; none if this is no key.
    fn key_length(&self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..self.end];
        let is_common = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
        let length = match rest.first()? {
            b'-' => return None,
            quote @ (b'"' | b'\'') => {
                2 + rest[1..].iter().position(|byte| byte == quote || *byte == b'\\')?
            }
            _ => rest.iter().take_while(|byte| is_common(byte)).count(),
        };
        let is_key =
            rest.get(length) == Some(&b':') && matches!(self.byte(self.at + length + 1), b' ' | b'\n');
        (is_key && (1..=KEY_MAX).contains(&length)).then_some(length)
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Option<String> {
        let length = self.key_length()?;
        let key = &self.text[self.at..self.at + length];
        self.nodes += 1;
        self.at += length + 1;
        if key.starts_with(['"', '\'']) {
            let name = &key[1..length - 1];
            return (key.ends_with(&key[..1]) && !name.is_empty()).then(|| name.to_owned());
        }
        key_name(scalar::resolve(key)).ok()
    }

    /// Reads a scalar, or a collection in brackets, that begins in this line and lies below that column.
    fn scalar(&mut self, column: usize) -> Option<Value> {
        let first = self.byte(self.at);
        if let b'[' | b'{' = first {
            let value = self.flow()?;
            return self.finished(value);
        }
        self.nodes += 1;
        match first {
            b'|' => self.literal(column),
            b'"' | b'\'' => self.quoted(column),
            _ => self.plain(column),
        }
    }

    /// Goes on behind a value. Nothing but a comment may follow in its line.
    fn finished(&mut self, value: Value) -> Option<Value> {
        let after = &self.text[self.at..self.end];
        let behind = after.trim_start_matches(' ');
        let is_comment = behind.starts_with('#') && after.starts_with(' ');
        if !behind.is_empty() && !is_comment {
            return None;
        }
        self.advance();
        Some(value)
    }

    /// Finds the next line of a scalar: how many blank lines are before it, and where it begins. None at the end of the
    /// text, and when the line does not lie below that column.
    fn continuation(&self, mut next: usize, column: usize) -> Option<(usize, usize)> {
        let mut blanks = 0;
        while next < self.text.len() {
            let spaces = self.spaces(next);
            let begin = next + spaces;
            if self.byte(begin) != b'\n' {
                return (spaces > column).then_some((blanks, begin));
            }
            blanks += 1;
            next = begin + 1;
        }
        None
    }

    /// Reads a plain scalar, in all its lines.
    fn plain(&mut self, column: usize) -> Option<Value> {
        let first = &self.text[self.at..self.end];
        let length = plain_length(first)?;
        let content = &first[..length];
        if !content.trim_start_matches('-').starts_with(is_first) || content == "<<" {
            return None;
        }
        self.at += length;
        let is_whole = first.as_bytes()[length..].iter().all(|byte| *byte == b' ');
        let mut found = self.continuation(self.next, column).filter(|_| is_whole);
        if found.is_none() {
            let value = scalar::resolve(content);
            return self.finished(value);
        }
        let mut content = content.to_owned();
        while let Some((blanks, begin)) = found {
            let end = self.line_end(begin);
            let line = &self.text[begin..end];
            let length = plain_length(line)?;
            // A comment would end the scalar.
            if line.starts_with('#') || line.as_bytes()[length..].iter().any(|byte| *byte != b' ') {
                return None;
            }
            fold(&mut content, blanks);
            content.push_str(&line[..length]);
            self.next = end + 1;
            found = self.continuation(self.next, column);
        }
        self.advance();
        Some(scalar::resolve(&content))
    }

    /// Reads a quoted scalar, in all its lines.
    fn quoted(&mut self, column: usize) -> Option<Value> {
        let quote = self.byte(self.at);
        let mut content = String::new();
        let mut at = self.at + 1;
        let mut taken = at;
        loop {
            if at >= self.end {
                let (blanks, begin) = self.continuation(self.next, column)?;
                content.push_str(self.text[taken..self.end].trim_end_matches(' '));
                fold(&mut content, blanks);
                (at, taken, self.end) = (begin, begin, self.line_end(begin));
                self.next = self.end + 1;
                continue;
            }
            let byte = self.byte(at);
            if byte == quote {
                content.push_str(&self.text[taken..at]);
                // Two single quotes stand for one.
                if quote == b'"' || at + 1 >= self.end || self.byte(at + 1) != quote {
                    self.at = at + 1;
                    return self.finished(Value::String(content));
                }
                taken = at + 1;
                at += 2;
            } else if byte == b'\\' && quote == b'"' {
                content.push_str(&self.text[taken..at]);
                if at + 1 == self.end {
                    // The line goes on in the next one, without what lies between.
                    let (blanks, begin) = self.continuation(self.next, column)?;
                    content.extend(std::iter::repeat_n('\n', blanks));
                    (at, taken, self.end) = (begin, begin, self.line_end(begin));
                    self.next = self.end + 1;
                    continue;
                }
                content.push(escaped(self.byte(at + 1))?);
                at += 2;
                taken = at;
            } else {
                at += 1;
            }
        }
    }

    /// Reads a collection in brackets that ends in the line where it begins.
    fn flow(&mut self) -> Option<Value> {
        self.depth += 1;
        self.nodes += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let is_list = self.byte(self.at) == b'[';
        let close = if is_list { b']' } else { b'}' };
        let (mut items, mut entries) = (Vec::new(), Map::new());
        self.at += 1;
        loop {
            self.at += self.spaces(self.at);
            // A comma in front of the end is rare.
            if self.byte(self.at) == close && items.is_empty() && entries.is_empty() {
                break;
            }
            if is_list {
                items.push(self.flow_item()?);
            } else {
                let (name, value) = self.flow_entry()?;
                entries.insert(name, value);
            }
            self.at += self.spaces(self.at);
            match self.byte(self.at) {
                b',' => self.at += 1,
                byte if byte == close => break,
                _ => return None,
            }
        }
        self.at += 1;
        self.depth -= 1;
        Some(if is_list { Value::Array(items) } else { Value::Object(entries) })
    }

    /// Reads `key: value` in brackets.
    fn flow_entry(&mut self) -> Option<(String, Value)> {
        let name = self.key()?;
        self.at += self.spaces(self.at);
        Some((name, self.flow_item()?))
    }

    fn flow_item(&mut self) -> Option<Value> {
        let rest = &self.text[self.at..self.end];
        if rest.starts_with(['[', '{']) {
            return self.flow();
        }
        self.nodes += 1;
        let (value, length) = match rest.as_bytes().first()? {
            b'"' => double_quoted(rest)?,
            b'\'' => single_quoted(rest)?,
            _ => flow_word(rest)?,
        };
        self.at += length;
        Some(value)
    }

    /// Reads a literal block, from its `|`.
    fn literal(&mut self, column: usize) -> Option<Value> {
        let keeps_break = match self.text[self.at..self.end].trim_end_matches(' ') {
            "|" => true,
            "|-" => false,
            _ => return None,
        };
        let mut content = String::with_capacity(256);
        let (mut indent, mut blanks) = (0, 0);
        while self.next < self.text.len() {
            let spaces = self.spaces(self.next);
            let begin = self.next + spaces;
            if self.byte(begin) == b'\n' {
                // Space that is part of the text, or a mistake before its first line: rare.
                if spaces > indent && (indent > 0 || spaces > column) {
                    return None;
                }
                blanks += 1;
                self.next = begin + 1;
                continue;
            }
            if indent == 0 {
                indent = spaces;
            }
            if spaces < indent || indent <= column {
                break;
            }
            let end = self.line_end(begin);
            content.extend(std::iter::repeat_n('\n', blanks));
            content.push_str(&self.text[self.next + indent..end]);
            content.push('\n');
            (blanks, self.next) = (0, end + 1);
        }
        // At the very end of a text without a last line break, the block has none either.
        if content.is_empty() || self.next > self.text.len() {
            return None;
        }
        if !keeps_break {
            content.pop();
        }
        self.advance();
        Some(Value::String(content))
    }
}

/// Reads a scalar in quotes that ends in this line; returns its length in the text too.
fn double_quoted(text: &str) -> Option<(Value, usize)> {
    let bytes = text.as_bytes();
    let mut content = String::new();
    let (mut at, mut taken) = (1, 1);
    loop {
        match bytes.get(at)? {
            b'"' => {
                content.push_str(&text[taken..at]);
                return Some((Value::String(content), at + 1));
            }
            b'\\' => {
                content.push_str(&text[taken..at]);
                content.push(escaped(*bytes.get(at + 1)?)?);
                at += 2;
                taken = at;
            }
            _ => at += 1,
        }
    }
}

fn single_quoted(text: &str) -> Option<(Value, usize)> {
    let length = text[1..].find('\'')?;
    // Two quotes stand for one: rare in brackets.
    if text[length + 2..].starts_with('\'') {
        return None;
    }
    Some((Value::from(&text[1..=length]), length + 2))
}

/// Reads a plain scalar in brackets.
fn flow_word(text: &str) -> Option<(Value, usize)> {
    let is_common =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'=' | b'~');
    let length = text.bytes().take_while(is_common).count();
    let word = &text[..length];
    word.trim_start_matches('-').starts_with(is_first).then(|| (scalar::resolve(word), length))
}

/// Returns what a backslash and this letter stand for, if that is common.
fn escaped(letter: u8) -> Option<char> {
    Some(match letter {
        b'n' => '\n',
        b't' => '\t',
        b' ' => ' ',
        b'"' => '"',
        b'\\' => '\\',
        _ => return None,
    })
}

/// Joins lines of a scalar: a line break is a space, unless lines are blank.
fn fold(content: &mut String, blanks: usize) {
    match blanks {
        0 => content.push(' '),
        _ => content.extend(std::iter::repeat_n('\n', blanks)),
    }
}

/// Finds how long the part of a line is that belongs to a plain scalar: up to a comment, without space at the end. None
/// if it is more than a scalar.
fn plain_length(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut length = bytes.len();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b':' if matches!(bytes.get(at + 1), None | Some(b' ')) => return None,
            b'#' if at > 0 && bytes[at - 1] == b' ' => {
                length = at;
                break;
            }
            _ => {}
        }
    }
    while length > 0 && bytes[length - 1] == b' ' {
        length -= 1;
    }
    Some(length)
}

/// Tells whether a plain scalar that begins so is no other form of YAML.
fn is_first(character: char) -> bool {
    character.is_alphanumeric()
        || matches!(
            character,
            '/' | '.' | ':' | '_' | '+' | '$' | '(' | ')' | '~' | '=' | '^' | '\\' | ';' | '<'
        )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::read::Reader;
    use super::*;

    /// What the full parser makes of a text: value and nodes, or nothing if it refuses it.
    fn full(text: &str) -> Option<(Value, usize)> {
        Reader::read_in_full(text).ok().map(|reader| (reader.value, reader.nodes))
    }

    /// Asserts that a text the quick reader accepts is one that the full parser reads to the same; tells whether it did.
    fn agrees(text: &str) -> bool {
        let Some(quick) = read(text) else { return false };
        let full = full(text);
        // The order of keys must agree too: `==` of maps does not look at it.
        let shown =
            |read: &Option<(Value, usize)>| read.as_ref().map(|(value, nodes)| format!("{value} {nodes}"));
        assert_eq!(shown(&Some(quick)), shown(&full), "of {text:?}");
        true
    }

    const DEPLOYMENT: &str = "# A comment\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: acme-medusa\n  \
        annotations:\n    nginx.ingress.kubernetes.io/proxy-body-size: \"8m\"\n    empty: \"\"\n  labels: {}\nspec:\n  replicas: 2\n  \
        template:\n    spec:\n      # another\n      containers:\n      - name: medusa\n        image: 'ghcr.io/acme/medusa:1'\n        \
        command: [sh, -c, \"x\", 127.0.0.1]\n        args:\n          - |\n            set -e\n\n            if true; then\n              \
        echo \"a: b # c\"\n            fi\n\n        env:\n          - name: URL\n            value: \"a \\\"b\\\" \\\\ \\n\"\n          \
        - name: NOTHING\n            value:\n        resources: {} # none\n        volumeMounts: []\n      -\n        name: second\n  \
        strategy: yes\n  mode: 0644\n  cpu: 1.5\n  url: http://a.b:80/c#d\n  text: two words # not these\n  on: 1e3\n";

    #[test]
    fn what_charts_write_is_accepted_and_read_as_the_full_parser_reads_it() {
        assert!(agrees(DEPLOYMENT), "{DEPLOYMENT}");
        assert_eq!(
            read(DEPLOYMENT).unwrap().0["spec"]["template"]["spec"]["containers"][0]["args"][0],
            json!("set -e\n\nif true; then\n  echo \"a: b # c\"\nfi\n")
        );
        for text in [
            "a: 1",
            "a:",
            "a:\n",
            "- a\n- b: 1\n  c: 2\n-\n- - x\n  - y\n",
            "a:\n- 1\n- 2\nb: 3\n",
            "a: |-\n  x\n  y\n\n\nb: 1\n",
            "a: |\n\n  x\n\n# c\nb: ~\n",
            "a: 1\na: 2\nb: 3\na: 4\n",
            "\"a b\": 'c'\n",
            "y: no\n8: 0x1f\n",
            "  a: 1\n  b: 2\n",
            "a: -1\nb: --flag\nc: .5\n",
            "a: \"é\"\nb: |\n  ü\n",
            "a: [] \nb: {} # c\n",
            "a: b:c\n",
            "a: 1 \n\n\n",
            "a: x\n  y\n",
            "a: x \n\n\n   y z \n  w:v\n\nb: 1\n",
            "a:\n  x\n - y\n  * z\nb:\n  {}\n",
            "- x\n  y\n-\n  z: w\n   v\n",
            "a: \"x\n  y\"\n",
            "a: ' x \n\n   it''s #1: '\nb: '''' # c\n",
            "a: \"x \\n \n\n  \\\"y\\\" \"\n",
            "a: {b: 1, \"c d\": [x, 'y z', {}], e: -f}\nb: [[], [\"\", \"*\"], { a: ~ }] # c\n",
            "- [a-b, 1,2]\n- { x: y }\n",
            "a: \"x \\\n  y\\\n\n \\ z\"\nb: :80\n",
            "a: ^[a-z]+$\nb: <none>\nc: é\nd: ;\n",
        ] {
            assert!(agrees(text), "{text:?} is not accepted");
        }
    }

    #[test]
    fn what_is_rare_or_wrong_is_left_to_the_full_parser() {
        for text in [
            "",
            "# c\n",
            "a\n",
            "a: &x 1\n",
            "a: *x\n",
            "a: !!str 1\n",
            "a: >\n  x\n",
            "a: |+\n  x\n\n",
            "a: |2\n   x\n",
            "a:\tb\n",
            "a: b\r\n",
            "a: x\n  # c\n  y\n",
            "a: x # c\n  y\n",
            "a: x\n  y: z\n",
            "a: x\n  y:\n",
            "a: \"x\ny\"\n",
            "a: 'x\n",
            "a: <<\n",
            "a: [b,]\n",
            "a: [b\n  ]\n",
            "a: [b c]\n",
            "a: [b: c]\n",
            "a: {b}\n",
            "a: {b: }\n",
            "a: {b:1}\n",
            "a: [*]\n",
            "a: {b: 1}}\n",
            "a: [b}\n",
            "a: b: c\n",
            "a: b:\n",
            "a: 1\n b: 2\n",
            "a:\n    b: 1\n  c: 2\n",
            "a: 1\n- b\n",
            "- a\nb: 1\n",
            "---\na: 1\n",
            "a: 1\n---\nb: 2\n",
            "a: 1\n...\n",
            "%YAML 1.1\n",
            "~: 1\n",
            "? a\n: b\n",
            "<<: {}\n",
            "a: \"\\x41\"\n",
            "a: \"x\" y\n",
            "a: |\n  x",
            "a: |\nb: 1\n",
            "a: \u{85}\n",
            "a: \u{2028}\n",
            "a: |\n    x\n  y\n",
            "a: @x\n",
            "a: `x\n",
            "a: %x\n",
            "a: - b\n",
            "a: ]\n",
            "\u{feff}a: 1\n",
        ] {
            assert!(read(text).is_none(), "{text:?} is accepted as {:?}", read(text));
        }
        assert!(read(&"- ".repeat(DEPTH_MAX + 1)).is_none());
        assert!(read(&format!("{}: 1\n", "k".repeat(KEY_MAX + 1))).is_none());
        assert!(read(&format!("a: {}\n", "x".repeat(TEXT_MAX))).is_none());
        assert!(read(&"- a\n".repeat(NODES_MAX)).is_none());
    }

    /// A source of numbers that gives the same ones each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % bound
        }

        fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
            items[self.below(items.len())]
        }
    }

    const PIECES: [&str; 70] = [
        "a",
        "b",
        "key",
        "- ",
        "-",
        ": ",
        ":",
        "\n",
        "\n",
        "\n",
        "\n  ",
        "\n  ",
        "\n    ",
        "\n ",
        " ",
        "  ",
        "#",
        " # c",
        "\"",
        "'",
        "\"x\"",
        "'y'",
        "|",
        "|-",
        "|+",
        ">",
        "[]",
        "{}",
        "[a, b]",
        "[",
        "]",
        "{",
        "}",
        ",",
        "1",
        "0644",
        "yes",
        "~",
        "null",
        "<<",
        "&x",
        "*x",
        "!t",
        "? ",
        "---",
        "...",
        "%",
        "@",
        "\\",
        "\\n",
        "/",
        ".",
        "é",
        "\t",
        "=",
        "a: 1",
        "b: |",
        "- c: d",
        "\nkey:",
        "\n- x",
        "\n  - y",
        "\n\n",
        "\"x\n  ",
        "'y\n\n   ",
        "''",
        " y\n  z\n",
        "{a: b}",
        "[\"x\",",
        "\\\n  ",
        "\\ ",
    ];

    #[test]
    fn made_up_texts_are_read_as_the_full_parser_reads_them() {
        let mut numbers = Numbers(1);
        let mut accepted = 0;
        for _ in 0..40_000 {
            let text: String = (0..=numbers.below(14)).map(|_| numbers.one_of(&PIECES)).collect();
            accepted += usize::from(agrees(&text));
        }
        assert!(accepted > 1000, "only {accepted} were accepted: this compares nothing");
    }

    #[test]
    fn damaged_manifests_are_read_as_the_full_parser_reads_them() {
        let mut numbers = Numbers(2);
        let mut accepted = 0;
        for _ in 0..6000 {
            let mut text = DEPLOYMENT.to_owned();
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(text.len());
                let to = (at + numbers.below(6)).min(text.len());
                text.replace_range(at..to, if numbers.below(3) == 0 { "" } else { numbers.one_of(&PIECES) });
                // Pieces are not ASCII alone: stay on the borders of characters.
                text = text.replace('é', "e");
            }
            accepted += usize::from(agrees(&text));
        }
        assert!(accepted > 500, "only {accepted} were accepted: this compares nothing");
    }
}
