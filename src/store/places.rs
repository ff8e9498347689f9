//! Where values stand in the files that set them, so that what a chart refuses has a file and a line.

use super::value_path::ValuePath;
use super::yaml::{Kind, Node, Position};

/// The places of the values that one file sets, by their paths in the chart's values, such as `workers[0].name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    path: Box<str>,
    line: u32,
    column: u32,
}

impl Places {
    /// Notes the places of everything in a map of values.
    pub(super) fn of(values: &Node) -> Self {
        let mut places = Self::default();
        places.collect(values, "");
        // Files are long-lived, and most have few values.
        places.0.shrink_to_fit();
        places
    }

    /// Notes where the fields stand that values come from.
    pub(super) fn extend<'p>(&mut self, fields: impl IntoIterator<Item = (&'p ValuePath, Position)>) {
        for (path, at) in fields {
            self.add(&path.to_string(), at);
        }
    }

    fn add(&mut self, path: &str, at: Position) {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.0.push(Entry { path: path.into(), line: number(at.line), column: number(at.column) });
    }

    fn collect(&mut self, node: &Node, path: &str) {
        match &node.kind {
            Kind::Map(entries) => {
                for (key, value) in entries {
                    let below =
                        if path.is_empty() { key.text.clone() } else { format!("{path}.{}", key.text) };
                    self.add(&below, key.at);
                    self.collect(value, &below);
                }
            }
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let below = format!("{path}[{index}]");
                    self.add(&below, item.at);
                    self.collect(item, &below);
                }
            }
            Kind::Scalar(_) => {}
        }
    }

    /// Returns line and column of a value, both from 1.
    fn find(&self, path: &str) -> Option<(u32, u32)> {
        let entry = self.0.iter().find(|entry| &*entry.path == path)?;
        Some((entry.line, entry.column))
    }
}

/// Finds the file and the place that a value comes from: the strongest layer that sets it, or what it lies in. `layers` are
/// files with their places, the strongest first.
pub(super) fn find<'p>(
    path: &str,
    layers: &(impl Iterator<Item = (&'p str, &'p Places)> + Clone),
) -> Option<String> {
    let mut path = path;
    loop {
        let found = layers.clone().find_map(|(file, places)| Some((file, places.find(path)?)));
        if let Some((file, (line, column))) = found {
            return Some(format!("{file}:{line}:{column}"));
        }
        path = &path[..path.rfind(['.', '['])?];
    }
}
