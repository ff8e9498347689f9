//! From a document tree to checked fields: what is expected, what stands there, and where.

use serde_json::{Map, Value};

use super::problem::{is_unprintable, quote};
use super::yaml::{Kind, Node, Position, Scalar, Source, parse};
use super::{Limits, Problem};

/// The fields that a file may have: each section by its path (`""` is the top), with its fields.
pub(super) type Catalog = &'static [(&'static str, &'static [&'static str])];

/// Reads one file and collects everything that is wrong with it.
pub(super) struct Reader<'a> {
    source: Source<'a>,
    catalog: Catalog,
    max: usize,
    problems: Vec<Problem>,
}

/// A map of which the known fields have been looked up.
pub(super) struct Section<'n> {
    /// Where it begins.
    pub at: Position,
    node: &'n Node,
}

impl<'n> Section<'n> {
    /// Returns what stands in a field.
    pub fn get(&self, field: &str) -> Option<&'n Node> {
        lookup(self.node, field)
    }
}

/// Returns what stands under a key of a map; nothing when `node` is no map.
pub(super) fn lookup<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Kind::Map(entries) = &node.kind else { return None };
    entries.iter().find(|(known, _)| known.text == key).map(|(_, value)| &**value)
}

/// Returns the text of a scalar that is text.
pub(super) fn plain_text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar(Scalar::Text(text)) => Some(text),
        _ => None,
    }
}

impl<'a> Reader<'a> {
    /// Makes a reader without problems so far.
    pub fn new(source: Source<'a>, catalog: Catalog, limits: &Limits) -> Self {
        Self { source, catalog, max: limits.problems, problems: Vec::new() }
    }

    /// Parses the file's document.
    pub fn document(&mut self, limits: &Limits) -> Option<std::rc::Rc<Node>> {
        let (root, problems) = parse(&self.source, limits);
        self.problems.extend(problems);
        root
    }

    /// Notes a problem.
    pub fn complain(&mut self, at: Position, message: &str) {
        let problem = self.source.problem(at, message);
        self.problems.push(problem);
    }

    /// Says whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the problems in the order of the file, at most as many as the limit says.
    pub fn into_problems(self) -> Vec<Problem> {
        let Self { source, catalog: _, max, mut problems } = self;
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.dedup();
        if problems.len() > max {
            let rest = problems.len() - max;
            problems.truncate(max);
            problems.push(Problem::of_file(source.file, &format!("and {rest} more problems like these")));
        }
        problems
    }

    /// Reads a map that is a section of the catalog, and reports the fields that it can't have.
    pub fn section<'n>(&mut self, node: &'n Node, path: &str) -> Option<Section<'n>> {
        self.section_of(node, path, path)
    }

    /// Reads a map that is one of several of the same section, and lies at a path of its own.
    pub fn section_of<'n>(&mut self, node: &'n Node, section: &str, path: &str) -> Option<Section<'n>> {
        let Kind::Map(entries) = &node.kind else {
            self.unexpected(node, path, "a map of fields");
            return None;
        };
        let known = self.fields_of(section);
        for (key, _) in entries {
            if !known.contains(&key.text.as_str()) {
                let message = self.unknown_field(&key.text, path, known);
                self.complain(key.at, &message);
            }
        }
        Some(Section { at: node.at, node })
    }

    fn fields_of(&self, path: &str) -> &'static [&'static str] {
        self.catalog.iter().find(|(section, _)| *section == path).map_or(&[], |(_, fields)| fields)
    }

    fn unknown_field(&self, name: &str, path: &str, known: &[&str]) -> String {
        let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
        let elsewhere =
            self.catalog.iter().find(|(section, fields)| *section != path && fields.contains(&name));
        let hint = match (closest(name, known), elsewhere) {
            (Some(field), _) => format!("; did you mean `{field}`?"),
            (None, Some((section, _))) => format!("; it belongs to {}", section_name(section)),
            (None, None) if known.contains(&"values") => {
                format!("; remove it, or put it under `{path}.values` if it is a chart value.")
            }
            (None, None) => "; remove it.".to_owned(),
        };
        let hint = if hint.ends_with(['?', '.']) { hint } else { format!("{hint}.") };
        format!("unknown field {}{place}{hint} Known here: {}", quote(name), known.join(", "))
    }

    /// Notes that a required field is missing.
    pub fn missing(&mut self, section: &Section<'_>, path: &str, example: &str) {
        self.complain(section.at, &format!("`{path}` is missing: add `{example}`"));
    }

    /// Reads text.
    pub fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        let found = plain_text(node);
        if found.is_none() {
            self.unexpected(node, path, "text");
        }
        found.map(str::to_owned)
    }

    /// Reads a date or a time, quoted or not: what some YAML readers make of it is what it is meant to be.
    pub fn moment(&mut self, node: &Node, path: &str, shape: &regex::Regex) -> Option<String> {
        match &node.kind {
            Kind::Scalar(Scalar::Refused(text, _)) if shape.is_match(text) => Some(text.clone()),
            _ => self.text(node, path),
        }
    }

    /// Reads a whole number from 0 to `most`.
    pub fn count(&mut self, node: &Node, path: &str, most: u32) -> Option<u32> {
        if let Kind::Scalar(Scalar::Number(number, text)) = &node.kind {
            let count = number.as_u64().and_then(|count| u32::try_from(count).ok());
            if let Some(count) = count.filter(|count| *count <= most) {
                return Some(count);
            }
            let message = format!("`{path}` is {}: write a whole number from 0 to {most}", quote(text));
            self.complain(node.at, &message);
            return None;
        }
        self.unexpected(node, path, "a whole number");
        None
    }

    /// Reads a yes or no.
    pub fn truth(&mut self, node: &Node, path: &str) -> Option<bool> {
        if let Kind::Scalar(Scalar::Bool(truth)) = &node.kind {
            return Some(*truth);
        }
        self.unexpected(node, path, "`true` or `false`");
        None
    }

    /// Reads a list.
    pub fn list<'n>(&mut self, node: &'n Node, path: &str) -> &'n [std::rc::Rc<Node>] {
        if let Kind::List(items) = &node.kind {
            return items;
        }
        self.unexpected(node, path, "a list");
        &[]
    }

    /// Reads a map of chart values: any keys, any values that JSON can hold.
    pub fn values(&mut self, node: &Node, path: &str) -> Option<Map<String, Value>> {
        match &node.kind {
            Kind::Map(_) => match self.json(node, path)? {
                Value::Object(map) => Some(map),
                _ => None,
            },
            Kind::List(_) | Kind::Scalar(_) => {
                self.unexpected(node, path, "a map of chart values");
                None
            }
        }
    }

    fn json(&mut self, node: &Node, path: &str) -> Option<Value> {
        match &node.kind {
            Kind::Scalar(scalar) => self.json_scalar(node.at, scalar, path),
            Kind::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    out.extend(self.json(item, &format!("{path}[{index}]")));
                }
                Some(Value::Array(out))
            }
            Kind::Map(entries) => {
                let mut out = Map::new();
                for (key, value) in entries {
                    self.check_key(key.at, &key.text, &key.scalar);
                    if let Some(value) = self.json(value, &join(path, &key.text)) {
                        out.insert(key.text.clone(), value);
                    }
                }
                Some(Value::Object(out))
            }
        }
    }

    fn json_scalar(&mut self, at: Position, scalar: &Scalar, path: &str) -> Option<Value> {
        match scalar {
            Scalar::Null => Some(Value::Null),
            Scalar::Bool(value) => Some(Value::Bool(*value)),
            Scalar::Number(number, _) => Some(Value::Number(number.clone())),
            Scalar::Text(text) => {
                let control = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
                if let Some(character) = text.chars().find(control) {
                    let code = u32::from(character);
                    let message =
                        format!("{} holds the control character U+{code:04X}: remove it", quote(path));
                    self.complain(at, &message);
                }
                Some(Value::String(text.clone()))
            }
            Scalar::Refused(text, reason) => {
                self.complain(at, &format!("{}: {} {reason}", quote(path), quote(text)));
                None
            }
        }
    }

    /// Accepts text and plain whole numbers (a port, say) as keys: Helm makes text of those too.
    fn check_key(&mut self, at: Position, text: &str, scalar: &Scalar) {
        let good = match scalar {
            Scalar::Text(text) => !text.chars().any(is_unprintable),
            Scalar::Number(number, _) => number.to_string() == text && !text.contains('.'),
            Scalar::Null | Scalar::Bool(_) | Scalar::Refused(..) => false,
        };
        if !good {
            let message = if text.chars().any(is_unprintable) {
                format!("the key {} holds a control character: remove it", quote(text))
            } else {
                format!("the key {} is not text to every YAML reader: put it in quotes", quote(text))
            };
            self.complain(at, &message);
        }
    }

    /// Notes that something else stands in a field than what is expected.
    pub fn unexpected(&mut self, node: &Node, path: &str, expected: &str) {
        let field = if path.is_empty() { "the file".to_owned() } else { quote(path) };
        let quoted = |text: &str| match expected {
            "text" => format!(": put it in quotes, \"{}\"", shown(text)),
            "a list" => format!(": put it in brackets, [{}]", shown(text)),
            _ if expected.starts_with("a map") && text.contains(':') => {
                ": a space is missing behind the `:`".to_owned()
            }
            _ => String::new(),
        };
        let message = match &node.kind {
            Kind::Map(_) => format!("{field} is a map where {expected} is expected"),
            Kind::List(_) => format!("{field} is a list where {expected} is expected"),
            Kind::Scalar(Scalar::Null) => {
                format!("{field} has no value: write {expected}, or remove the line")
            }
            Kind::Scalar(Scalar::Bool(value)) => {
                format!("{field} is {value} where {expected} is expected{}", quoted(&value.to_string()))
            }
            Kind::Scalar(Scalar::Number(_, text)) => {
                format!("{field} is the number {} where {expected} is expected{}", quote(text), quoted(text))
            }
            Kind::Scalar(Scalar::Text(text)) => {
                format!("{field} is the text {} where {expected} is expected{}", quote(text), quoted(text))
            }
            Kind::Scalar(Scalar::Refused(text, reason)) => format!("{field}: {} {reason}", quote(text)),
        };
        self.complain(node.at, &message);
    }
}

fn join(path: &str, key: &str) -> String {
    // Only for messages, which cut it anyway; a bound keeps deep hostile files linear.
    if path.is_empty() {
        key.to_owned()
    } else if path.len() > 200 {
        path.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Shortens somebody else's text without putting it into backticks.
fn shown(text: &str) -> String {
    quote(text).trim_matches('`').to_owned()
}

fn section_name(path: &str) -> String {
    if path.is_empty() { "the top of the file".to_owned() } else { format!("`{path}`") }
}

/// Returns the known field that a misspelt one probably means.
fn closest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > 40 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let squeezed = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    known
        .iter()
        .map(|field| (distance(&squeezed(&name), &squeezed(field)), *field))
        .filter(|(distance, field)| *distance <= 2 && distance * 2 < field.len())
        .min()
        .map(|(_, field)| field)
}

/// Counts the letters to insert, remove, replace or swap with their neighbour.
pub(super) fn distance(one: &str, two: &str) -> usize {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    let mut rows = vec![(0..=two.len()).collect::<Vec<_>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=two.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != two[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == two[j - 2] && one[i - 2] == two[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_finds_what_was_meant() {
        let known = ["displayName", "host", "image", "values", "version"];
        for (name, meant) in [
            ("hots", Some("host")),
            ("Host", Some("host")),
            ("hostt", Some("host")),
            ("display_name", Some("displayName")),
            ("display-name", Some("displayName")),
            ("value", Some("values")),
            ("vesrion", Some("version")),
            ("replicas", None),
            ("h", None),
        ] {
            assert_eq!(closest(name, &known), meant, "{name}");
        }
    }
}
