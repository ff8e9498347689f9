//! The house rules that no compiler holds: layers, purity, names in one place, and files that fit everybody.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The picture of docs/architecture.md, top to bottom. A module imports from layers below its own only.
const LAYERS: [&[&str]; 7] = [
    &["main", "cli"],
    &["daemon", "preview"],
    &["reconcile"],
    &[
        "chart_source",
        "cluster",
        "forge",
        "git",
        "helm",
        "hooks",
        "journal",
        "ledger",
        "metrics",
        "probe",
        "web",
    ],
    &["plan", "report", "trust"],
    &["chart"],
    &["store", "manifest", "names"],
];

/// Imports within a layer, each with its reason. All others are errors: edges are blind to each other.
const WITHIN_A_LAYER: [(&str, &str, &str); 12] = [
    ("main", "cli", "main is the binary's door to it"),
    ("daemon", "preview", "pull requests are planned beside it"),
    ("chart_source", "git", "charts in git come with its bounds, its logins and its trust in hosts"),
    ("plan", "report", "an observed workload carries how ready it is"),
    ("trust", "report", "moments are written and read in one way"),
    ("web", "metrics", "it shows them through the reader, and counts who comes to its door"),
    ("cluster", "metrics", "it counts requests where all of them pass"),
    ("hooks", "metrics", "it counts deliveries"),
    ("ledger", "cluster", "several replicas keep it in one place"),
    ("store", "names", "ids and hosts are validated types"),
    ("store", "manifest", "a store's digest is a fingerprint"),
    ("manifest", "names", "ownership is written in labels"),
];

/// Modules that decide and never act.
const PURE: [&str; 7] = ["chart", "store", "manifest", "names", "plan", "report", "trust"];

/// The dependencies that a pure module may use: they compute and touch nothing outside. Of `jiff` the database of time
/// zones that is compiled in, never the machine's. `openssl` asks the system for chance where a chart wants a key made,
/// which is the purpose of a key; every other random byte of a chart comes in as an argument.
const PURE_DEPENDENCIES: [&str; 19] = [
    "anstyle",
    "base64",
    "bcrypt",
    "flate2",
    "gotmpl",
    "granit-parser",
    "jiff",
    "jsonschema",
    "openssl",
    "pgp",
    "regex",
    "schemars",
    "serde",
    "serde_json",
    "sha2",
    "ssh-key",
    "thiserror",
    "toml",
    "utoipa",
];

/// What a pure module may not have from the standard library.
const IMPURE_STANDARD: [&str; 7] = ["env", "fs", "net", "os", "process", "thread", "time::Instant"];

/// What a pure module may not call, by whatever path.
const IMPURE_CALLS: [&str; 8] = [
    "Instant::now",
    "SystemTime::now",
    ".elapsed()",
    "io::stdin",
    "io::stdout",
    "io::stderr",
    "print!",
    "println!",
];

/// Plain data in a part of the standard library that otherwise reaches outside.
const PURE_STANDARD: [&str; 3] = ["net::IpAddr", "net::Ipv4Addr", "net::Ipv6Addr"];

/// Modules outside `cli` that may ask for a moment to measure a duration by; what time it is, only `cli` asks.
const STOPWATCHES: [(&str, &str); 5] = [
    ("cluster", "it keeps requests back for as long as the API server asks"),
    ("daemon", "it times runs and waits for retries"),
    ("hooks", "it lets so many deliveries through a second"),
    ("git", "libgit2 has no timeouts of its own that safe code can set"),
    ("web", "it times answers, and reads the token for reading anew"),
];

/// Modules outside `cli` that may ask the system for random bytes.
const DICE: [(&str, &str); 2] = [
    ("git", "a secret for each relay, so that only libgit2 gets through it"),
    ("helm", "a secret for each run's API server, so that only that run is answered"),
];

/// Texts that only `src/names.rs` may hold, or parts of them.
const RESERVED_PARTS: [&str; 2] = ["storekeeper.dev/", "kubernetes.io/"];
const RESERVED_WHOLE: &str = "storekeeper";

/// Reserved texts elsewhere, each with its reason.
const RESERVED_ELSEWHERE: [(&str, &str, &str); 5] = [
    ("src/cli/arguments.rs", "storekeeper", "the program's name"),
    ("src/git/place.rs", "storekeeper", "the unborn branch of a mirror, on our own disk"),
    (
        "src/store/file.rs",
        "storekeeper.dev/v1",
        "an attribute takes no constant; tests/store_schema.rs compares",
    ),
    ("src/store/schema.rs", "storekeeper", "the title of a schema"),
    (
        "src/web/api/document.rs",
        "storekeeper",
        "the title of a description, whose attributes take no constants",
    ),
];

/// How many lines a function may have, its signature included: a screen.
const FUNCTION_LINES: usize = 60;

/// Longer functions, each with its reason.
const LONG_FUNCTIONS: [(&str, &str, &str); 0] = [];

/// One file of `src/` without comments and test modules.
struct Source {
    path: String,
    module: String,
    /// How many times `super::` leads from here to the crate's root.
    depth: usize,
    /// The code, in which texts are blank too.
    code: String,
    /// The texts and where they begin.
    texts: Vec<(usize, String)>,
}

impl Source {
    fn new(path: &str, content: &str) -> Self {
        let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let module = inner.split('/').next().unwrap().to_owned();
        let (code, texts) = strip(content);
        Self { path: path.to_owned(), module, depth: inner.split('/').count(), code, texts }
    }

    fn at(&self, offset: usize) -> String {
        let line = 1 + self.code[..offset].bytes().filter(|byte| *byte == b'\n').count();
        format!("{}:{line}", self.path)
    }

    /// Returns the modules of this crate that the file names, with the rest of each path.
    fn imports(&self) -> Vec<(usize, String)> {
        let mut imports = Vec::new();
        for root in ["crate", "storekeeper"] {
            imports.extend(paths(&self.code, root));
        }
        for (offset, path) in paths(&self.code, "super") {
            let climbs = path.iter().take_while(|part| *part == "super").count() + 1;
            if climbs >= self.depth {
                imports.push((offset, path[climbs - 1..].to_vec()));
            }
        }
        imports.into_iter().map(|(offset, path)| (offset, path.join("::"))).collect()
    }
}

#[test]
fn imports_point_down_and_edges_are_blind_to_each_other() {
    let rank = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let (mut problems, mut used) = (Vec::new(), BTreeSet::new());
    for source in sources().iter().filter(|source| source.module != "lib") {
        for (offset, path) in source.imports() {
            let (from, to) = (source.module.as_str(), path.split("::").next().unwrap());
            let within = WITHIN_A_LAYER.iter().any(|(a, b, _)| (*a, *b) == (from, to));
            let allowed = match (rank(from), rank(to)) {
                _ if from == to => true,
                (Some(from), Some(to)) if from == to => within,
                (Some(from), Some(to)) => from < to,
                _ => false,
            };
            used.insert((from.to_owned(), to.to_owned()));
            if !allowed {
                problems.push(format!("{}: `{from}` may not import `{path}`", source.at(offset)));
            }
        }
    }
    let stale = WITHIN_A_LAYER.iter().filter(|(from, to, _)| !used.contains(&((*from).into(), (*to).into())));
    problems.extend(stale.map(|(from, to, _)| format!("the exception `{from}` -> `{to}` is not in use")));
    none(&problems, "imports point to lower layers only; see LAYERS in tests/tidy.rs");
}

#[test]
fn every_module_has_its_layer_and_every_layer_its_modules() {
    let found: BTreeSet<_> = sources().into_iter().map(|source| source.module).collect();
    let placed: BTreeSet<_> = LAYERS.iter().copied().flatten().map(|module| (*module).to_owned()).collect();
    let found: BTreeSet<_> = found.into_iter().filter(|module| module != "lib").collect();
    assert_eq!(found, placed, "the modules of src/ (left) and those of LAYERS (right) differ");
}

#[test]
fn the_web_side_holds_readers_only() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| source.module == "web") {
        for writer in ["Metrics", "Board", "Cluster", "Mirror", "Plans"] {
            let found = words(&source.code, writer);
            problems
                .extend(found.map(|offset| format!("{}: `{writer}` can change things", source.at(offset))));
        }
    }
    none(&problems, "what is shown over HTTP can only read");
}

#[test]
fn what_decides_touches_nothing() {
    let impure: Vec<_> =
        dependencies().into_iter().filter(|name| !PURE_DEPENDENCIES.contains(&name.as_str())).collect();
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.module.as_str())) {
        for dependency in &impure {
            let name = dependency.replace('-', "_");
            let found = paths(&source.code, &name).into_iter();
            problems.extend(found.map(|(offset, _)| format!("{}: `{name}` acts", source.at(offset))));
        }
        for (offset, path) in paths(&source.code, "std") {
            let path = path.join("::");
            if PURE_STANDARD.contains(&path.as_str()) {
                continue;
            }
            let below = |part: &str| path == part || path.starts_with(&format!("{part}::"));
            if let Some(part) = IMPURE_STANDARD.iter().find(|part| below(part)) {
                problems.push(format!("{}: `std::{part}` reaches outside", source.at(offset)));
            }
        }
        for call in IMPURE_CALLS {
            let found = source.code.match_indices(call);
            problems
                .extend(found.map(|(offset, _)| format!("{}: `{call}` reaches outside", source.at(offset))));
        }
    }
    none(&problems, "pure modules get everything as arguments; see PURE in tests/tidy.rs");
}

#[test]
fn only_cli_reads_environment_clock_and_randomness() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| source.module != "cli") {
        let environment = paths(&source.code, "std").into_iter().filter(|(_, path)| path[0] == "env");
        let dice = DICE.iter().any(|(module, _)| *module == source.module);
        let randomness = paths(&source.code, "getrandom").into_iter().filter(|_| !dice);
        let mut found: Vec<_> = environment.map(|(offset, path)| (offset, path.join("::"))).collect();
        found.extend(randomness.map(|(offset, path)| (offset, format!("getrandom::{}", path.join("::")))));
        let stopwatch = STOPWATCHES.iter().any(|(module, _)| *module == source.module);
        for call in [
            "SystemTime::now",
            "UNIX_EPOCH.elapsed",
            "Timestamp::now",
            "Zoned::now",
            "Instant::now",
            "env::var",
        ] {
            let allowed = call == "Instant::now" && stopwatch;
            let calls = source.code.match_indices(call).filter(|_| !allowed);
            found.extend(calls.map(|(offset, call)| (offset, call.to_owned())));
        }
        problems.extend(found.into_iter().map(|(offset, what)| format!("{}: `{what}`", source.at(offset))));
    }
    none(&problems, "time, environment and randomness come in as arguments; only cli reads them");
}

#[test]
fn the_names_we_write_into_clusters_are_in_one_file() {
    let (mut problems, mut used) = (Vec::new(), BTreeSet::new());
    for source in sources().iter().filter(|source| source.path != "src/names.rs") {
        for (offset, text) in &source.texts {
            let reserved = RESERVED_PARTS.iter().any(|part| text.contains(part)) || text == RESERVED_WHOLE;
            let entry = (source.path.as_str(), text.as_str());
            if reserved && RESERVED_ELSEWHERE.iter().any(|(path, text, _)| (*path, *text) == entry) {
                used.insert((source.path.clone(), text.clone()));
            } else if reserved {
                problems.push(format!("{}: \"{text}\"", source.at(*offset)));
            }
        }
    }
    let stale =
        RESERVED_ELSEWHERE.iter().filter(|(path, text, _)| !used.contains(&((*path).into(), (*text).into())));
    problems.extend(stale.map(|(path, text, _)| format!("the exception \"{text}\" in {path} is not in use")));
    none(&problems, "labels, annotations, field managers and API versions are constants of src/names.rs");
}

#[test]
fn functions_fit_on_a_screen() {
    let (mut problems, mut used) = (Vec::new(), BTreeSet::new());
    for source in sources() {
        for (offset, name, lines) in functions(&source.code) {
            let entry = (source.path.as_str(), name);
            if lines <= FUNCTION_LINES {
                continue;
            }
            if LONG_FUNCTIONS.iter().any(|(path, name, _)| (*path, *name) == entry) {
                used.insert(format!("{} {name}", source.path));
            } else {
                problems.push(format!("{}: `{name}` has {lines} lines", source.at(offset)));
            }
        }
    }
    let stale = LONG_FUNCTIONS.iter().filter(|(path, name, _)| !used.contains(&format!("{path} {name}")));
    problems.extend(stale.map(|(path, name, _)| format!("the exception for {name} in {path} is not in use")));
    none(&problems, &format!("a function has at most {FUNCTION_LINES} lines"));
}

#[test]
fn every_test_file_begins_with_its_promise() {
    let mut problems = Vec::new();
    for path in files().iter().filter(|path| path.starts_with("tests/") && has_extension(path, "rs")) {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let promise = text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
        if promise.trim().is_empty() {
            problems.push(format!("{path}:1: begin with `//! ` and what these tests hold"));
        }
    }
    none(&problems, "a test file says first what it promises");
}

#[test]
fn no_file_names_a_machine_of_ours_or_a_registry() {
    // In parts, or this file would be the first to break the rule.
    let paths = ["/wo|rk/", "/tm|p/h/", "/tm|p/t/", "/ro|ot/"];
    let hosts = [
        "proxy.gol|ang.org",
        "sum.gol|ang.org",
        "registry.np|mjs.org",
        "registry.ya|rnpkg.com",
        "static.cra|tes.io",
        "index.cra|tes.io",
        "deb.deb|ian.org",
        "security.deb|ian.org",
        "archive.ubu|ntu.com",
        "py|pi.org",
        "files.python|hosted.org",
        "repo.ma|ven",
        "repo1.ma|ven",
    ];
    let needles: Vec<_> = paths.iter().chain(&hosts).map(|needle| needle.replace('|', "")).collect();
    let locks = ["Cargo.lock", "go.sum", "package-lock.json"];
    let mut problems = Vec::new();
    for path in files().iter().filter(|path| !locks.contains(&path.rsplit('/').next().unwrap())) {
        // What is not text names nothing that a person reads.
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let found = needles.iter().filter(|needle| line.contains(needle.as_str()));
            problems.extend(found.map(|needle| format!("{path}:{}: `{needle}`", number + 1)));
        }
    }
    none(&problems, "files hold for everybody's machine: no path of ours, no registry's host");
}

#[test]
fn every_module_and_file_of_the_architecture_is_there() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut named = BTreeSet::new();
    for word in text.split('`').skip(1).step_by(2) {
        let top = word.split('/').next().unwrap();
        if ["src", "tests", "docs", "deploy", "charts", "stores.example", "examples"].contains(&top)
            && word.contains('/')
        {
            named.insert(word.trim_end_matches('/').to_owned());
        }
    }
    let missing = named.iter().filter(|path| !root().join(path).exists());
    let mut problems: Vec<_> = missing.map(|path| format!("`{path}` does not exist")).collect();
    for module in LAYERS.iter().copied().flatten() {
        let homes = [format!("src/{module}.rs"), format!("src/{module}")];
        if !homes.iter().any(|home| named.contains(home)) {
            problems.push(format!("module `{module}` has no row: name `{}` or `{}/`", homes[0], homes[1]));
        }
    }
    none(&problems, "docs/architecture.md says where things are");
}

#[test]
fn every_link_in_the_documents_leads_to_a_file() {
    let mut problems = Vec::new();
    for path in files().iter().filter(|path| has_extension(path, "md")) {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let folder = root().join(path).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let elsewhere = link.is_empty() || link.contains("://") || link.contains(' ');
            if !elsewhere && !folder.join(link).exists() {
                problems.push(format!("{path}: `{link}`"));
            }
        }
    }
    none(&problems, "a link leads somewhere");
}

#[test]
fn every_dependency_has_its_reason_and_every_setting_its_line() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (decisions, readme) = (read("docs/decisions.md"), read("README.md"));
    let mut problems = Vec::new();
    for name in dependencies() {
        if !decisions.contains(&format!("| `{name}` |")) {
            problems.push(format!("docs/decisions.md has no row `{name}` that says why we depend on it"));
        }
    }
    let prefixed = |text: &str, prefix: &str| -> BTreeSet<String> {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let starts = text.match_indices(prefix).map(|(offset, _)| &text[offset..]);
        starts.map(|rest| rest.chars().take_while(|c| inner(*c)).collect()).collect()
    };
    for source in sources() {
        let wanted = match source.module.as_str() {
            "cli" => "STOREKEEPER_",
            "metrics" => "storekeeper_",
            _ => continue,
        };
        for name in source.texts.iter().flat_map(|(_, text)| prefixed(text, wanted)) {
            if !readme.contains(&name) {
                problems.push(format!("README.md does not mention {name} of {}", source.path));
            }
        }
    }
    none(&problems, "what exists is documented");
}

#[test]
fn these_tests_see_through_nesting_comments_and_texts() {
    let source = Source::new(
        "src/cluster/watch.rs",
        "use crate::{names, store::{self, Host as H}}; // crate::daemon\nfn f<'a>(c: char) -> &'a str {\n    \
         let _ = (b'\"', '\\'', r#\"crate::web \"{\"#, \"crate::git\"); super::super::plan::x(); super::index::y()\n\
         /* crate::cli /* nested */ crate::cli */ }\n#[cfg(test)]\nmod tests { use crate::web; }\n",
    );
    let imports: Vec<_> = source.imports().into_iter().map(|(_, path)| path).collect();
    assert_eq!(imports, ["names", "store::self", "store::Host", "plan::x"]);
    assert_eq!(
        source.texts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
        ["crate::web \"{", "crate::git"]
    );
    assert_eq!(
        functions(&source.code).iter().map(|(_, name, lines)| (*name, *lines)).collect::<Vec<_>>(),
        [("f", 3)]
    );
    assert_eq!(source.at(source.imports()[3].0), "src/cluster/watch.rs:3");
}

fn none(problems: &[String], rule: &str) {
    assert!(problems.is_empty(), "{rule}:\n  {}\n", problems.join("\n  "));
}

fn root() -> PathBuf {
    let at_run = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    at_run.or_else(|| option_env!("CARGO_MANIFEST_DIR").map(PathBuf::from)).unwrap_or_else(|| ".".into())
}

/// Returns every file that is or could be committed, relative to the root. Outside a git checkout, every file.
fn files() -> Vec<String> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(arguments).current_dir(root()).output();
    let mut files: Vec<String> = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect()
        }
        _ => {
            let mut found = Vec::new();
            walk(&root(), "", &mut found);
            found
        }
    };
    files.retain(|path| root().join(path).is_file());
    files.sort();
    assert!(files.len() > 10, "the list of files is wrong: {files:?}");
    files
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        if entry.file_type().unwrap().is_dir() {
            if !["target", ".git", ".devcluster", ".demo"].contains(&name.as_str()) {
                walk(&entry.path(), &format!("{path}/"), found);
            }
        } else {
            found.push(path);
        }
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Returns the files of `src/`; those that end in `_tests.rs` are test modules.
fn sources() -> Vec<Source> {
    let files = files();
    let wanted = files
        .iter()
        .filter(|path| path.starts_with("src/") && has_extension(path, "rs") && !path.ends_with("_tests.rs"));
    wanted.map(|path| Source::new(path, &fs::read_to_string(root().join(path)).unwrap())).collect()
}

/// Returns the direct dependencies, those of tests included.
fn dependencies() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut names = BTreeMap::<String, usize>::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.trim_end().ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            *names.entry(name.trim().to_owned()).or_default() += 1;
        }
    }
    assert!(names.len() > 10, "Cargo.toml is not understood any more: {names:?}");
    names.into_keys().collect()
}

/// Blanks comments, texts and test modules, keeping every line and offset, and returns the texts besides.
fn strip(content: &str) -> (String, Vec<(usize, String)>) {
    let bytes = content.as_bytes();
    let (mut code, mut texts) = (bytes.to_vec(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &content[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some((length, text)) = text_literal(rest) {
            texts.push((at, text.to_owned()));
            length
        } else if let Some(length) = character_literal(rest) {
            length
        } else {
            at += rest.chars().next().unwrap().len_utf8();
            continue;
        };
        blank(&mut code[at..at + length]);
        at += length;
    }
    while let Some(start) = find(&code, b"#[cfg(test)]") {
        let open = start + code[start..].iter().position(|byte| matches!(byte, b'{' | b';')).unwrap();
        let end = if code[open] == b'{' { closing(&code, open) } else { open };
        blank(&mut code[start..=end]);
        texts.retain(|(offset, _)| !(start..=end).contains(offset));
    }
    (String::from_utf8(code).unwrap(), texts)
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            Some(_) => at += 1,
            None => return rest.len(),
        }
        if depth == 0 {
            return at;
        }
    }
}

/// Returns the length and content of a text, plain or raw, that begins here.
fn text_literal(rest: &str) -> Option<(usize, &str)> {
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let inner = raw[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let length = inner.find(&close)?;
        return Some((2 + hashes + length + close.len(), &inner[..length]));
    }
    let inner = rest.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some((end + 2, &inner[..end]))
}

/// Returns the length of a character literal that begins here; none for a lifetime.
fn character_literal(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        return inner.get(2..)?.find('\'').map(|end| end + 4);
    }
    let length = inner.chars().next()?.len_utf8();
    inner[length..].starts_with('\'').then_some(length + 2)
}

/// Returns where the brace that opens here is closed.
fn closing(code: &[u8], open: usize) -> usize {
    let mut depth = 0;
    for (offset, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return offset;
        }
    }
    code.len() - 1
}

fn is_inner(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Finds a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(offset, _)| offset).filter(move |offset| {
        let before = offset.checked_sub(1).is_some_and(|before| is_inner(bytes[before]));
        let after = bytes.get(offset + word.len()).is_some_and(|byte| is_inner(*byte));
        !before && !after
    })
}

/// Finds every path that begins with this word and returns what follows it, with nested imports spelt out:
/// `crate::{a, b::{self, c}}` gives `a`, `b::self` and `b::c`.
fn paths(code: &str, first: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for offset in words(code, first) {
        let inside = code[..offset].trim_end().ends_with("::");
        let rest = code[offset + first.len()..].trim_start();
        if let (false, Some(rest)) = (inside, rest.strip_prefix("::")) {
            let mut ends = Vec::new();
            path_tree(rest, &mut Vec::new(), &mut ends);
            found.extend(ends.into_iter().map(|path| (offset, path)));
        }
    }
    found
}

/// Reads one path or group of paths and returns what comes after it.
fn path_tree<'a>(text: &'a str, before: &mut Vec<String>, ends: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut inside) = text.strip_prefix('{') {
        loop {
            inside = inside.trim_start();
            if let Some(rest) = inside.strip_prefix('}') {
                return rest;
            }
            inside = path_tree(inside, before, ends);
            // `as name`, and the comma.
            let next = inside.find([',', '}']).unwrap_or(inside.len());
            inside = inside[next..].trim_start_matches(',');
            if inside.is_empty() {
                return inside;
            }
        }
    }
    let length =
        text.bytes().take_while(|byte| is_inner(*byte)).count().max(usize::from(text.starts_with('*')));
    if length == 0 {
        ends.push(before.clone());
        return text;
    }
    before.push(text[..length].to_owned());
    let rest = &text[length..];
    let rest = if let Some(more) = rest.trim_start().strip_prefix("::") {
        path_tree(more, before, ends)
    } else {
        ends.push(before.clone());
        rest
    };
    before.pop();
    rest
}

/// Returns each function that has a body: where it begins, its name, and its lines from `fn` to its last brace.
fn functions(code: &str) -> Vec<(usize, &str, usize)> {
    let mut found = Vec::new();
    for offset in words(code, "fn") {
        let rest = code[offset + 2..].trim_start();
        let name = &rest[..rest.bytes().take_while(|byte| is_inner(*byte)).count()];
        let mut depth = 0;
        let body = code.bytes().enumerate().skip(offset).find(|(_, byte)| {
            match byte {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth -= 1,
                _ => {}
            }
            depth < 0 || (depth == 0 && matches!(byte, b'{' | b';'))
        });
        let open = body.filter(|(_, byte)| *byte == b'{').map(|(index, _)| index);
        if let (false, Some(open)) = (name.is_empty(), open) {
            let end = closing(code.as_bytes(), open);
            let lines = 1 + code[offset..end].bytes().filter(|byte| *byte == b'\n').count();
            found.push((offset, name, lines));
        }
    }
    found
}
