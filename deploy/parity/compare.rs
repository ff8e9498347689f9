//! Object by object: what differs, and what may, because it is random.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Value, json};

use super::case::{Document, Output};

/// What a comparison comes to.
#[derive(Debug, Default)]
pub struct Comparison {
    /// How many objects there are on either side.
    pub objects: usize,
    /// How many of them are the same on both.
    pub identical: usize,
    /// How many fields differ between two renderings by Helm itself, and were left out.
    pub random: usize,
    /// Path and both values of each difference.
    pub differences: Vec<String>,
}

/// Compares our output with Helm's first one; what differs between Helm's first and second one is left out.
pub fn compare(ours: &Output, first: &Output, again: &Output) -> Comparison {
    let mut comparison = Comparison::default();
    let mut second: HashMap<*const Document, &Document> = HashMap::new();
    for pair in pairs(&first.documents, &again.documents) {
        if let (Some(document), Some(other)) = pair {
            second.insert(document, other);
        }
    }
    let knows_hooks = again.notes.is_some();
    for (our, helms) in pairs(&ours.documents, &first.documents) {
        comparison.objects += 1;
        let other = helms.and_then(|helms| second.get(&std::ptr::from_ref(helms)).copied());
        let mut random = Vec::new();
        if let (Some(helms), Some(other)) = (helms, other) {
            find("", Some(&helms.value), Some(&other.value), &mut random);
        }
        let random: HashSet<String> = random.into_iter().map(|difference| difference.path).collect();
        let mut found = Vec::new();
        find("", our.map(|our| &our.value), helms.map(|helms| &helms.value), &mut found);
        found.retain(|difference| !random.contains(&difference.path));
        if let (Some(our), Some(other), true) = (our, other, knows_hooks) {
            find("(hook)", our.hook.as_ref(), other.hook.as_ref(), &mut found);
        }
        comparison.random += random.len();
        comparison.identical += usize::from(found.is_empty());
        let key = our.or(helms).map(Document::key).unwrap_or_default();
        comparison.differences.extend(found.iter().map(|difference| difference.tell(&key)));
    }
    if let (Some(our), Some(helms)) = (&ours.notes, &again.notes) {
        let mut found = Vec::new();
        find("", Some(&json!(our)), Some(&json!(helms)), &mut found);
        comparison.differences.extend(found.iter().map(|difference| difference.tell("NOTES.txt")));
    }
    comparison
}

type Pair<'d> = (Option<&'d Document>, Option<&'d Document>);

/// Pairs documents by template, kind, namespace and name, whatever their order; what is left, because its name is random,
/// by template and kind.
fn pairs<'d>(left: &'d [Document], right: &'d [Document]) -> Vec<Pair<'d>> {
    let (mut pairs, left, right) =
        matched(left.iter().collect(), &right.iter().collect::<Vec<_>>(), Document::key);
    let (by_family, left, right) = matched(left, &right, Document::family);
    pairs.extend(by_family);
    pairs.extend(left.into_iter().map(|document| (Some(document), None)));
    pairs.extend(right.into_iter().map(|document| (None, Some(document))));
    pairs
}

type Documents<'d> = Vec<&'d Document>;

/// Pairs documents of the same key in their order, and returns what is left of both sides too.
fn matched<'d>(
    left: Documents<'d>,
    right: &[&'d Document],
    key: impl Fn(&Document) -> String,
) -> (Vec<Pair<'d>>, Documents<'d>, Documents<'d>) {
    let mut by_key: HashMap<String, VecDeque<usize>> = HashMap::new();
    for (index, document) in right.iter().enumerate() {
        by_key.entry(key(document)).or_default().push_back(index);
    }
    let (mut pairs, mut left_over, mut used) = (Vec::new(), Vec::new(), HashSet::new());
    for document in left {
        match by_key.get_mut(&key(document)).and_then(VecDeque::pop_front) {
            Some(index) => {
                used.insert(index);
                pairs.push((Some(document), Some(right[index])));
            }
            None => left_over.push(document),
        }
    }
    let unused = right.iter().enumerate().filter(|(index, _)| !used.contains(index));
    (pairs, left_over, unused.map(|(_, document)| *document).collect())
}

struct Difference {
    path: String,
    left: Option<Value>,
    right: Option<Value>,
}

impl Difference {
    fn tell(&self, key: &str) -> String {
        let (left, right) = shown(self.left.as_ref(), self.right.as_ref());
        format!("{key} {}\n  ours: {left}\n  helm: {right}", self.path)
    }
}

/// How many characters of a value are shown; of longer texts, those around the first difference.
const SHOWN: usize = 160;

fn shown(left: Option<&Value>, right: Option<&Value>) -> (String, String) {
    let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let (left, right) = (text(left), text(right));
    let same = left.chars().zip(right.chars()).take_while(|(left, right)| left == right).count();
    let from = if left.len().max(right.len()) > SHOWN { same.saturating_sub(SHOWN / 2) } else { 0 };
    let cut = |text: &str| {
        let part: String = text.chars().skip(from).take(SHOWN).collect();
        if from > 0 { format!("…{part}") } else { part }
    };
    (cut(&left), cut(&right))
}

fn find(path: &str, left: Option<&Value>, right: Option<&Value>, found: &mut Vec<Difference>) {
    match (left, right) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
                find(&format!("{path}.{key}"), left.get(key), right.get(key), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                find(&format!("{path}[{index}]"), Some(left), Some(right), found);
            }
        }
        // Helm reads every number as a float.
        (Some(Value::Number(left)), Some(Value::Number(right))) if left.as_f64() == right.as_f64() => {}
        (left, right) if left == right => {}
        (left, right) => {
            found.push(Difference { path: path.to_owned(), left: left.cloned(), right: right.cloned() });
        }
    }
}
