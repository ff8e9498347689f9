//! Tests of the YAML reader.
#![expect(clippy::format_collect, clippy::format_push_string, reason = "hostile files are built from pieces")]

use super::*;

fn scalar(text: &str) -> Scalar {
    resolve(text)
}

fn read(text: &str) -> (Option<Rc<Node>>, Vec<Problem>) {
    read_bytes(text.as_bytes())
}

fn read_bytes(bytes: &[u8]) -> (Option<Rc<Node>>, Vec<Problem>) {
    let limits = Limits::default();
    match Source::from_bytes("stores/acme.yaml", bytes, &limits) {
        Ok(source) => parse(&source, &limits),
        Err(problem) => (None, vec![problem]),
    }
}

fn only_problem(text: &str) -> String {
    let (_, problems) = read(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn scalars_that_all_yaml_readers_agree_on_are_read() {
    for text in ["", "~", "null", "Null", "NULL"] {
        assert_eq!(scalar(text), Scalar::Null, "{text}");
    }
    assert_eq!(scalar("true"), Scalar::Bool(true));
    assert_eq!(scalar("FALSE"), Scalar::Bool(false));
    for (text, json) in [
        ("0", "0"),
        ("-12", "-12"),
        ("+12", "12"),
        ("8080", "8080"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0x1F", "31"),
        ("1.5", "1.5"),
        ("0.50", "0.5"),
        (".5", "0.5"),
        ("-2.", "-2.0"),
        ("1.5e+3", "1500.0"),
    ] {
        match scalar(text) {
            Scalar::Number(number, source) => {
                assert_eq!((number.to_string(), source), (json.into(), text.into()));
            }
            other => panic!("{text} is {other:?}"),
        }
    }
    for text in [
        "acme",
        "2.21.2",
        "v1",
        "1Gi",
        "500m",
        "0x",
        "0xyz",
        "-",
        "+",
        ".",
        "..",
        "1.2.3",
        "a:b",
        "8080:80",
        "99:99",
        "sha256:12",
        "2026-11",
        "12-30",
        "1_a",
        "nUll",
        "yEs",
        "tRue",
        "10.0.0.1",
        "::1",
        "e5",
        "1e",
        "-foo",
        "/data",
    ] {
        assert_eq!(scalar(text), Scalar::Text(text.to_owned()));
    }
}

#[test]
fn scalars_that_yaml_1_1_and_1_2_read_differently_are_refused() {
    for text in [
        "y",
        "Y",
        "yes",
        "Yes",
        "YES",
        "n",
        "N",
        "no",
        "No",
        "NO",
        "on",
        "On",
        "ON",
        "off",
        "Off",
        "OFF",
        "0644",
        "-0644",
        "08",
        "00",
        "1_000",
        "1_000.5",
        "12:30:00",
        "22:22",
        "1:30.5",
        "0o17",
        "0b101",
        "-0x1F",
        "0x_1F",
        "1e3",
        "1.5e3",
        "1E5",
        "2026-11-22",
        "2026-11-22T10:00:00Z",
        "2026-1-2 10:00:00",
        "00.5",
    ] {
        assert!(matches!(scalar(text), Scalar::Refused(..)), "{text} is {:?}", scalar(text));
    }
}

#[test]
fn numbers_that_json_cannot_hold_are_refused() {
    for text in [".inf", "-.Inf", ".nan", "18446744073709551616", "1.0e+309", &"9".repeat(1000)] {
        assert!(matches!(scalar(text), Scalar::Refused(..)), "{text} is {:?}", scalar(text));
    }
}

#[test]
fn positions_count_lines_and_characters_from_one() {
    for (text, place) in [
        ("a: 1\nb: 2\na: 3\n", "3:1"),
        ("a: 1\r\nb: 2\r\na: 3\r\n", "3:1"),
        ("\u{feff}a: 1\na: 3\n", "2:1"),
        ("ü: {x: 1, ä: 2, x: 3}\n", "1:17"),
    ] {
        let message = only_problem(text);
        assert!(message.starts_with(&format!("stores/acme.yaml:{place}: ")), "{text:?}: {message}");
    }
}

#[test]
fn a_key_set_twice_names_both_lines_and_the_other_problems_still_show() {
    let (root, problems) = read("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n\"a\": 3\n");
    let messages: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "stores/acme.yaml:4:3: `c` is set twice, here and in line 3: remove one of the two",
            "stores/acme.yaml:5:1: `a` is set twice, here and in line 1: remove one of the two",
            "stores/acme.yaml:6:1: `a` is set twice, here and in line 1: remove one of the two",
        ]
    );
    assert!(root.is_some());
    assert_eq!(problems[0].snippet.as_deref(), Some("  c: 2"));
}

#[test]
fn an_alias_bomb_is_refused_without_being_filled_in() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{inner}]\n");
    }
    assert!(only_problem(&text).contains("more than 20000 keys and values (aliases count fully)"));
    let long = "x".repeat(60_000);
    let text = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 100].join(", "));
    assert!(only_problem(&text).contains("more than 1048576 bytes of text"));
}

#[test]
fn an_alias_of_something_around_it_is_refused() {
    assert!(only_problem("a: &a\n  b: *a\n").contains("inside the map or list that it refers to"));
    let nested: String = (1..40).map(|level| format!("a{level}: &a{level} [[*a{}]]\n", level - 1)).collect();
    assert!(only_problem(&format!("a0: &a0 [x]\n{nested}")).contains("deeper than 64 levels"));
}

#[test]
fn nesting_beyond_the_limit_is_refused_however_it_is_written() {
    let block: String = (0..100).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let mixed =
        format!("{}{}", (0..40).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>(), {
            format!("{}a: {}{}\n", " ".repeat(41), "[".repeat(40), "]".repeat(40))
        });
    for text in ["[".repeat(100_000), "{a: ".repeat(50_000), "- ".repeat(100_000), block, mixed] {
        let message = only_problem(&text);
        assert!(message.contains("deeper than 64 levels"), "{message}");
    }
    let fits = format!("{}{}", "[".repeat(64), "]".repeat(64));
    assert!(read(&fits).1.is_empty());
}

#[test]
fn what_is_not_text_is_refused_with_its_place() {
    for (bytes, message) in [
        (&b"a: 1\nb: \xff\n"[..], "stores/acme.yaml:2:4: byte 9 of the file is not UTF-8: save it as UTF-8"),
        (b"\xff\xfea\0:\0", "stores/acme.yaml:1:1: byte 1 of the file is not UTF-8: save it as UTF-8"),
        (b"a: 1\n\0b: 2", "stores/acme.yaml:2:1: the control character U+0000 stands here: remove it"),
        (b"a: \x1b[31m", "stores/acme.yaml:1:4: the control character U+001B stands here: remove it"),
        (b"", "stores/acme.yaml: the file is empty or holds only comments"),
        (b"\n# nothing\n", "stores/acme.yaml: the file is empty or holds only comments"),
        (b"---\n...\n", "stores/acme.yaml: the file is empty or holds only comments"),
    ] {
        let (_, problems) = read_bytes(bytes);
        assert_eq!(problems[0].to_string(), message);
    }
    let (_, problems) = read_bytes(&vec![b'a'; 256 * 1024 + 1]);
    let message = "stores/acme.yaml: the file has 262145 bytes, at most 262144 are read: make it smaller";
    assert_eq!(problems[0].to_string(), message);
}

#[test]
fn files_at_the_size_limit_are_read_in_time_however_hostile() {
    let size = 256 * 1024;
    let fill = |piece: &str| piece.repeat(size / piece.len());
    let lines = |piece: &str| (0..size / 12).map(|n| format!("{n}{piece}\n")).collect::<String>();
    let mut hostile: Vec<String> = [
        "a", "a ", "- a\n", "a: b\n", "'", "\"", "? ", ": ", "&a ", "*a ", "!a ", "# c\n", "\t", "\n", "\r",
        "[]", "a,", "%", "|\n", "ä",
    ]
    .iter()
    .map(|piece| fill(piece))
    .collect();
    hostile.extend(["'a': 1", ": &x y", ": [", "", " a"].iter().map(|piece| lines(piece)));
    hostile.push(format!("[{}", fill("a, ")));
    hostile.push(format!("{{{}", fill("a: b, ")));
    hostile.push(format!("a: \"{}", fill("\\u0041")));
    for text in &hostile {
        let text = &text[..boundary(text, size)];
        let start = std::time::Instant::now();
        let _ = read(text);
        let spent = start.elapsed();
        assert!(spent.as_secs() < 5, "{:?}… took {spent:?}", &text[..boundary(text, 20)]);
    }
}
