//! Made-up values to be written as YAML and JSON, and made-up texts to be read as YAML.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::case::{Case, Output};
use super::helm::Helm;
use super::ours;

/// How many values and texts one rendering takes: as many as the limits on a rendering allow.
const COUNT: usize = 400;

/// Renders the chart `fuzz` with what a seed decides, and returns what differs, with the value or text that it is about.
pub fn differences(helm: &Helm, chart: &Path, folder: &Path, seed: u64) -> Vec<String> {
    let mut dice = Dice(seed);
    let values: Vec<Value> = (0..COUNT).map(|_| dice.value(0)).collect();
    let texts: Vec<String> = (0..COUNT).map(|_| dice.yaml()).collect();
    let file = folder.join("values.json");
    fs::write(&file, escaped(&json!({"values": values, "texts": texts}).to_string())).unwrap();
    let case = Case { chart: chart.to_owned(), values: vec![file], ..Case::default() };
    let ours = ours::load(chart).and_then(|chart| ours::render(&chart, &case)).expect("our side renders");
    let helms = helm.template(&case).expect("helm renders");
    let (ours, helms) = (data(&ours), data(&helms));
    let mut differences = Vec::new();
    for (key, our) in &ours {
        let helms = helms.get(key);
        if Some(our) != helms && !(key.starts_with("pretty") && holds_large(&values[index_of(key)])) {
            let index = index_of(key);
            let reads = key.starts_with("map") || key.starts_with("list");
            let about = if reads { json!(texts[index]) } else { values[index].clone() };
            differences.push(format!(
                "seed {seed} {key} of {about}\n  ours: {:?}\n  helm: {:?}",
                decoded(our),
                helms.map(decoded)
            ));
        }
    }
    differences
}

fn index_of(key: &str) -> usize {
    key.trim_start_matches(|character: char| !character.is_ascii_digit()).parse().unwrap()
}

/// Whole numbers from a million on are written as what they are in a template, which JSON does not tell: `toYamlPretty`
/// writes an integer plainly and a float with an exponent.
fn holds_large(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|float| float.abs() >= 1e6),
        Value::Array(items) => items.iter().any(holds_large),
        Value::Object(entries) => entries.values().any(holds_large),
        _ => false,
    }
}

/// Where the project's chart for this lies.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chart/fuzz")
}

/// JSON that is YAML too: characters that YAML does not allow, or breaks lines at, as escapes.
fn escaped(json: &str) -> String {
    let rare =
        |character: char| matches!(u32::from(character), 0x7f..=0xa0 | 0x2028 | 0x2029 | 0xe000..=0xffff);
    let escape = |character: char| {
        if rare(character) { format!("\\u{:04x}", u32::from(character)) } else { character.to_string() }
    };
    json.chars().map(escape).collect()
}

fn data(output: &Output) -> Map<String, Value> {
    let maps = output.documents.iter().filter_map(|document| document.value["data"].as_object());
    maps.flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn decoded(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    bytes.map_or_else(|_| text.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Words that YAML may take for something else, and parts of such words.
const WORDS: [&str; 93] = [
    "a",
    "word",
    "y",
    "n",
    "yes",
    "No",
    "ON",
    "off",
    "true",
    "False",
    "null",
    "Null",
    "~",
    "NaN",
    ".nan",
    ".inf",
    "-.Inf",
    "0",
    "1",
    "-1",
    "+1",
    "007",
    "0o17",
    "0x1F",
    "0b101",
    "1_000",
    "1.5",
    "-.5",
    "5.",
    "1e3",
    "1E+3",
    "1e-7",
    ".",
    "..",
    "...",
    "---",
    "--- a",
    "-",
    "- a",
    "-a",
    "?",
    "? a",
    ":",
    ": a",
    "a:",
    "a: b",
    "a:b",
    "#",
    "# a",
    "a #b",
    "a#b",
    ",",
    "[",
    "]",
    "{",
    "}",
    "[a]",
    "{a: b}",
    "&a",
    "*a",
    "!a",
    "!!str a",
    "|",
    ">",
    "'",
    "\"",
    "it's",
    "\"quoted\"",
    "%",
    "@",
    "`",
    "\\",
    "\\n",
    "=",
    "<<",
    "<",
    ">=1.2",
    "2020-01-01",
    "2020-1-1",
    "2020-01-01T10:00:00Z",
    "2020-01-01 10:00:00",
    "10:20",
    "1:2:3.5",
    "190:20:30",
    "é",
    "ß日本",
    "\u{1f600}",
    "\u{a0}",
    "\u{7f}",
    "\u{1}",
    "\u{e000}",
    "{{ a }}",
    "$(a)",
];

/// What stands between words.
const GAPS: [&str; 14] = [" ", " ", " ", "", "", "  ", "\n", "\n", "\n\n", "\n ", " \n", "\t", "\r", "\r\n"];

/// Pieces of YAML.
const PIECES: [&str; 59] = [
    "a: ",
    "b: ",
    "c:\n",
    "key: value\n",
    "- ",
    "- a\n",
    "- - b\n",
    "\n",
    "\n",
    "\n",
    "  ",
    "  ",
    "    ",
    " ",
    "# c\n",
    " # c\n",
    "a: 1\n",
    "b: {x: 1, y: [2, 3]}\n",
    "c: [a, b,\n  c]\n",
    "d: |\n  x\n   y\n\n  z\n",
    "e: >\n  x\n  y\n\n  z\n   w\n",
    "f: |-\n  x\n\n",
    "g: |+\n  x\n\n",
    "h: >-\n  x\n  y\n",
    "i: |2\n   x\n",
    "j: \"x\\ty\\u00e9\\\n  z\"\n",
    "k: 'it''s'\n",
    "l: plain\n  goes on\n",
    "m: \"a\n  b\"\n",
    "n: &x {q: 1}\n",
    "o: *x\n",
    "p:\n  <<: *x\n  r: 2\n",
    "q: !!str 1\n",
    "r: !!int \"3\"\n",
    "s: !!binary aGk=\n",
    "t: ~\n",
    "u: 0644\n",
    "v: 1_000.5\n",
    "w: yes\n",
    "x: 0x1F\n",
    "1: 2\n",
    "true: 3\n",
    "? a\n: b\n",
    "\"k\": v\n",
    "'k': v\n",
    "a b: c\n",
    "---\n",
    "--- # d\n",
    "2.5: x\n",
    "~: 1\n",
    "a: b: c\n",
    "a: [\n",
    "a: }\n",
    "a:\tb\n",
    "\ta: b\n",
    "aa: @x\n",
    "ab: - x\n",
    "ac: 12e03\n",
    "ad: 2020-01-01\n",
];

/// A source of numbers that gives the same ones for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth > 3 { 6 } else { 10 }) {
            0 => self.number(),
            1 => self.one_of(&[json!(true), json!(false), Value::Null].each_ref()).clone(),
            2..=5 => Value::from(self.text()),
            6 | 7 => (0..self.below(4)).map(|_| self.value(depth + 1)).collect(),
            _ => {
                let entries = (0..self.below(5)).map(|_| (self.key(), self.value(depth + 1)));
                Value::Object(entries.collect())
            }
        }
    }

    fn number(&mut self) -> Value {
        let whole = i64::try_from(self.below(2000)).unwrap() - 1000;
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let float = whole as f64;
        match self.below(6) {
            0 => json!(whole),
            1 => json!(float / 8.0),
            2 => json!(float * 1e18),
            3 => json!(float * 1e-9),
            4 => json!(whole << self.below(50)),
            _ => self
                .one_of(&[json!(0.0), json!(1e21), json!(1e300), json!(9_007_199_254_740_993_u64)].each_ref())
                .clone(),
        }
    }

    fn text(&mut self) -> String {
        // Some are long enough to be folded.
        let words = if self.below(6) == 0 { 10 + self.below(30) } else { self.below(3) };
        let plain = self.below(3) == 0;
        let mut text = String::new();
        for _ in 0..=words {
            text.push_str(if plain {
                self.one_of(&["word", "a", "longer-word", "it's", "a:b", "1"])
            } else {
                self.one_of(&WORDS)
            });
            text.push_str(if plain { " " } else { self.one_of(&GAPS) });
        }
        if self.below(2) == 0 { text.trim().to_owned() } else { text }
    }

    fn key(&mut self) -> String {
        match self.below(8) {
            0 => self.text(),
            1 | 2 => self.one_of(&WORDS).to_owned(),
            _ => format!("{}{}", self.one_of(&["a", "b", "key-", "Key", "_", "1"]), self.below(30)),
        }
    }

    fn yaml(&mut self) -> String {
        (0..=self.below(6)).map(|_| self.one_of(&PIECES)).collect()
    }
}
