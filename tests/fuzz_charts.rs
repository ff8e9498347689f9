//! Charts as nobody means them: whatever stands in templates and values, loading and rendering end soon, without a panic,
//! and within their bounds.
//!
//! Bounded and the same in each run; `STOREKEEPER_FUZZ_ROUNDS=100000` makes more of it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use storekeeper::chart::{Capabilities, Chart, Release, RenderLimits, RenderRequest, parse_values};

const ROUNDS: usize = 3000;

/// Far more than one rendering within these limits takes on a busy machine.
const LONGEST: Duration = Duration::from_secs(30);

/// Small, so that a round is short; the bounds themselves are other tests' business.
const LIMITS: RenderLimits =
    RenderLimits { steps: 60_000, memory_bytes: 8 << 20, output_bytes: 1 << 20, depth: 60 };

/// What templates are made of, and what breaks their readers.
const PIECES: [&str; 40] = [
    "{{",
    "}}",
    "{{-",
    "-}}",
    "{{/*",
    "*/}}",
    "(",
    ")",
    "|",
    ":=",
    "=",
    ",",
    "$",
    "$x",
    ".",
    ".Values",
    ".a.b",
    "\"",
    "`",
    "'",
    "\\",
    "range",
    "with",
    "if",
    "else",
    "end",
    "define \"x\"",
    "template \"x\" .",
    "block \"y\" .",
    "include \"x\" .",
    "tpl .Values.text .",
    "nil",
    "true",
    "1e308",
    "0x7fffffffffffffff",
    "-1",
    "'\\''",
    "\u{202e}",
    "---\n",
    "\0",
];

/// Numbers that look like chance and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Writes a call of a function with arguments of any kind.
    fn call(&mut self, functions: &[&str]) -> String {
        const ARGUMENTS: [&str; 16] = [
            "1",
            "-9223372036854775808",
            "1.5",
            "\"\"",
            "\"a,b\"",
            "\"\\xff\\x00\"",
            "nil",
            "true",
            ".",
            ".Values",
            ".Values.list",
            ".Values.text",
            "(list 1 \"a\" nil)",
            "(dict \"a\" 1)",
            "(until 5)",
            "(now)",
        ];
        let arguments = (0..self.below(5)).map(|_| self.one(&ARGUMENTS)).collect::<Vec<_>>().join(" ");
        format!("{{{{ {} {arguments} }}}}\n", self.one(functions))
    }

    /// Changes a text in a few places.
    fn mutate(&mut self, text: &[u8]) -> Vec<u8> {
        let mut bytes = text.to_vec();
        for _ in 0..=self.below(5) {
            let at = self.below(bytes.len() + 1);
            match self.below(5) {
                0 => _ = bytes.drain(at..(at + self.below(20)).min(bytes.len())),
                1 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                2 => {
                    let piece = bytes[at..(at + self.below(60)).min(bytes.len())].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                _ => {
                    let piece = self.one(&PIECES).repeat(1 + self.below(3));
                    bytes.splice(at..at, piece.into_bytes());
                }
            }
        }
        bytes
    }
}

/// The templates of the charts with traps: they use everything there is.
fn templates() -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chart")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.parent().is_some_and(|folder| folder.ends_with("templates")) {
                found.extend(fs::read_to_string(&path));
            }
        }
    }
    found.sort();
    found
}

/// The names that templates call, with all others that look like one: what is no function must be refused.
fn functions(templates: &[String]) -> Vec<String> {
    let words = templates.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric()));
    let words = words.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()) && word.len() > 1);
    let mut words: Vec<_> = words.map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words
}

fn values() -> Map<String, Value> {
    let values = json!({"text": "{{ .Values.list | toYaml }}", "list": [1, "a", null, {"b": [true]}], "a": {"b": "c"}});
    values.as_object().unwrap().clone()
}

/// Loads and renders; what comes of it does not matter.
fn render(files: BTreeMap<String, Vec<u8>>, values: &Map<String, Value>) -> bool {
    let Ok(chart) = Chart::load(files) else { return false };
    let release =
        Release { name: "rel".to_owned(), namespace: "space".to_owned(), is_upgrade: false, revision: 1 };
    let rendered = chart.render(&RenderRequest {
        release,
        values,
        capabilities: &Capabilities::default(),
        lookup: &|_| json!({}),
        entropy: &|bytes| bytes.fill(7),
        now: 1_700_000_000,
        limits: LIMITS,
    });
    rendered.is_ok()
}

/// Renders, and looks at how long that took.
fn within_bounds(what: &str, files: BTreeMap<String, Vec<u8>>, values: &Map<String, Value>) -> bool {
    let begun = Instant::now();
    let rendered = render(files, values);
    assert!(begun.elapsed() < LONGEST, "it took {:?}: {what}", begun.elapsed());
    rendered
}

fn files(template: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    let helpers = "{{ define \"x\" }}{{ . }}{{ end }}{{ define \"loop\" }}{{ include \"loop\" . }}{{ end }}";
    BTreeMap::from([
        ("Chart.yaml".to_owned(), b"apiVersion: v2\nname: fuzz\nversion: 1.0.0\n".to_vec()),
        ("templates/_helpers.tpl".to_owned(), helpers.as_bytes().to_vec()),
        ("templates/NOTES.txt".to_owned(), template),
    ])
}

fn rounds() -> usize {
    std::env::var("STOREKEEPER_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

#[test]
fn templates_that_were_changed_anywhere_are_rendered_or_refused() {
    let (templates, values, mut dice) = (templates(), values(), Dice(0x2545_f491_4f6c_dd1d));
    assert!(templates.len() > 15, "{}", templates.len());
    let mut rendered = 0;
    for _ in 0..rounds() / 3 {
        let template = &templates[dice.below(templates.len())];
        // A part: the whole is many times as long as what is changed.
        let lines: Vec<_> = template.lines().collect();
        let from = dice.below(lines.len());
        let part = lines[from..(from + 12).min(lines.len())].join("\n");
        let mutated = dice.mutate(part.as_bytes());
        let shown = String::from_utf8_lossy(&mutated).into_owned();
        rendered += usize::from(within_bounds(&shown, files(mutated), &values));
    }
    assert!(rendered > 0, "every template was refused: nothing was rendered");
}

#[test]
fn every_function_takes_or_refuses_every_argument() {
    let (templates, values, mut dice) = (templates(), values(), Dice(0x9e37_79b9_7f4a_7c15));
    let functions = functions(&templates);
    // Those that make large keys take their time by what they are for, and have tests of their own.
    let slow = [
        "genCA",
        "genPrivateKey",
        "genSelfSignedCert",
        "genSignedCert",
        "bcrypt",
        "htpasswd",
        "derivePassword",
    ];
    let functions: Vec<_> = functions
        .iter()
        .map(String::as_str)
        .filter(|name| !slow.iter().any(|slow| name.starts_with(slow)))
        .collect();
    let mut rendered = 0;
    for _ in 0..rounds() {
        let calls = dice.call(&functions);
        rendered += usize::from(within_bounds(&calls, files(calls.clone().into_bytes()), &values));
    }
    assert!(rendered > rounds() / 100, "only {rendered} of {} calls were rendered", rounds());
}

#[test]
fn values_and_packed_charts_of_any_bytes_are_read_or_refused() {
    let mut dice = Dice(0xd1b5_4a32_d192_ed03);
    let text =
        "a: &x [1, 2.5, ~, {b: *x}]\nc: |\n  one\n  two\nd: 0x1F\n? e\n: !!binary aGk=\nf: 2001-01-01\n";
    for _ in 0..rounds() {
        let mutated = dice.mutate(text.as_bytes());
        let begun = Instant::now();
        let _ = parse_values(&String::from_utf8_lossy(&mutated));
        assert!(begun.elapsed() < LONGEST, "{}", String::from_utf8_lossy(&mutated));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stores.example/charts");
    let tar = Command::new("tar").args(["cf", "-", "webpage"]).current_dir(folder).output().unwrap().stdout;
    assert!(Chart::load_archive(&packed(&tar)).is_ok());
    let mut loaded = 0;
    for _ in 0..rounds() / 20 {
        let (mutated, begun) = (dice.mutate(&tar), Instant::now());
        let mut archive = packed(&mutated);
        loaded += usize::from(Chart::load_archive(&archive).is_ok());
        let at = dice.below(archive.len());
        archive[at] ^= 1 << dice.below(8);
        let _ = Chart::load_archive(&archive);
        assert!(begun.elapsed() < LONGEST);
    }
    assert!(loaded < rounds() / 20, "no damage was noticed");
}

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}
