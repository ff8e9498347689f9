//! A plan reads as reviewed, as a status, a comment, a terminal's text and JSON; and nothing in it becomes markup.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "common/plan_report.rs"]
mod plan_report;

use plan_report::{rich, with_everywhere};
use storekeeper::report::{
    FieldChange, ObjectAction, ObjectChange, PlanProblem, PlanReport, PlanVerdict, Plans, StoreAction,
    Truncated,
};

const LINK: &str = "https://storekeeper.example.com/plans/1a2b3c4d5e6f7081920a1b2c3d4e5f6071829304";

#[test]
fn the_comment_is_as_reviewed() {
    insta::assert_snapshot!(rich().markdown(Some(LINK)));
}

#[test]
fn the_text_is_as_reviewed() {
    insta::assert_snapshot!(rich().text(false));
}

#[test]
fn the_json_is_as_reviewed_and_reads_back() {
    let json = serde_json::to_string_pretty(&rich()).unwrap();
    insta::assert_snapshot!(json);
    assert_eq!(serde_json::from_str::<PlanReport>(&json).unwrap(), rich());
}

#[test]
fn colours_change_nothing_but_colours() {
    let coloured = rich().text(true);
    assert!(coloured.contains("\u{1b}[32m") && coloured.contains("\u{1b}[31m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, rich().text(false));
}

#[test]
fn a_summary_says_what_counts_in_140_characters() {
    let mut plan = rich();
    plan.verdict = PlanVerdict::Changes;
    plan.problems.clear();
    plan.truncated = Truncated::default();
    plan.stores.retain(|store| !matches!(store.action, StoreAction::Wrong | StoreAction::Keep));
    assert_eq!(plan.summary(), "1 to add, 1 to change, 1 to remove: acme, bonsai, chocolate");
    plan.verdict = PlanVerdict::Blocked;
    assert!(plan.summary().starts_with("blocked: 3 stores would be removed within 60 min"));
    plan.verdict = PlanVerdict::Nothing;
    assert_eq!(plan.summary(), "nothing would change");
    let wrong = rich().summary();
    assert!(wrong.starts_with("wrong: stores/broken.yaml:7:3: unknown field"), "{wrong}");
    assert!(wrong.ends_with("(and 2 more)"), "{wrong}");
    let mut long = rich();
    long.problems[0].message = "ä".repeat(500);
    assert_eq!(long.summary().chars().count(), 140);
    assert!(long.summary().ends_with("… (and 2 more)"), "{}", long.summary());
}

#[test]
fn only_problems_at_a_line_are_annotations() {
    let found = rich().annotations();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].path.as_str(), found[0].line, found[0].column), ("stores/broken.yaml", 7, Some(3)));
}

/// What must be nowhere in a comment but in code.
fn check(markdown: &str, what: &str) {
    assert!(markdown.chars().count() <= 60_000, "{what}: {} characters", markdown.chars().count());
    let unseen = |c: char| c.is_control() && c != '\n' || "\u{200b}\u{202e}\u{2028}\u{feff}".contains(c);
    assert!(!markdown.chars().any(unseen), "{what}: something that can't be seen");
    let (mut inside, mut prose) = (false, String::new());
    for line in markdown.lines() {
        match (inside, line) {
            (false, "```diff") => inside = true,
            (true, "```") => inside = false,
            (true, line) => assert!(!line.contains("```"), "{what}: a block could end at {line}"),
            (false, line) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    assert!(!inside, "{what}: a block has no end");
    // Spans of code end in the line that they begin in.
    let mut words = String::new();
    for line in prose.lines() {
        let parts: Vec<_> = line.split('`').collect();
        assert!(parts.len() % 2 == 1, "{what}: a span has no end in {line}");
        words.extend(parts.into_iter().step_by(2));
        words.push('\n');
    }
    let mut words = words.replace(LINK, "");
    for tag in ["<details>", "<details open>", "</details>", "<summary>", "</summary>"] {
        words = words.replace(tag, "");
    }
    words = words.replace("### storekeeper plan", "");
    for bad in ["@", "#", "<", ">", "://", "www.", "\\", "&", "![", "~~", "$"] {
        assert!(!words.contains(bad), "{what}: `{bad}` in prose:\n{words}");
    }
    assert_eq!(markdown.matches("\n<details").count(), markdown.matches("\n</details>").count(), "{what}");
}

#[test]
fn nothing_of_a_file_is_markup_in_a_comment() {
    for hostile in [
        "@canary",
        "canary #12 GH-12 canary/canary#3 !4",
        "https://canary.example www.canary.example mailto:canary@example.com",
        "<!-- canary -->",
        "<img src=x onerror=canary>",
        "</details></summary><h1>canary",
        "```\n@canary\n```diff",
        "`@canary`",
        "``` canary ````` @canary",
        "~~~\n@canary",
        "a\r\n\r\n# canary",
        "\n/close canary\n",
        "| canary | @canary |",
        "[canary](https://canary.example) ![canary](x)",
        "\u{202e}canary\u{2066}\u{200b}@\u{200b}canary\u{feff}",
        "\u{1b}[31mcanary\u{7}\u{0}",
        "\\`@canary\\`",
        "&#64;canary &lt;b&gt;",
        "**canary** $canary$ :canary:",
        "canary\u{2028}@canary",
    ] {
        let plan = with_everywhere(hostile);
        let markdown = plan.markdown(Some(LINK));
        check(&markdown, hostile);
        assert!(markdown.contains("canary"), "{hostile:?} is shown somewhere");
        let text = plan.text(false);
        let moves = |c: char| c.is_control() && c != '\n';
        assert!(!text.chars().any(moves), "{hostile:?} moves the cursor");
        let summary = plan.summary();
        assert!(summary.chars().count() <= 140 && !summary.chars().any(char::is_control), "{summary}");
    }
}

/// Numbers that look like chance and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

#[test]
fn whatever_a_file_says_a_comment_keeps_its_form() {
    const PIECES: [&str; 24] = [
        "`",
        "``",
        "```",
        "````",
        "\n",
        "\r",
        "@canary",
        "#1",
        "<",
        ">",
        "<!--",
        "-->",
        "|",
        "\\",
        "&",
        "[",
        "](",
        "://",
        "www.",
        "\u{202e}",
        "\u{0}",
        "ä",
        " ",
        "</details>",
    ];
    let mut chance = Chance(42);
    for round in 0..500 {
        let length = chance.below(60);
        let hostile: String = (0..length).map(|_| PIECES[chance.below(PIECES.len())]).collect();
        check(&with_everywhere(&hostile).markdown(Some(LINK)), &format!("round {round}: {hostile:?}"));
    }
}

#[test]
fn a_long_plan_is_cut_and_says_where_the_rest_is() {
    let long = || {
        let field = |at: usize| FieldChange {
            path: format!("spec.field{at}"),
            before: Some("x".repeat(chance_length(at))),
            after: Some("```y".repeat(chance_length(at))),
        };
        ObjectChange {
            action: ObjectAction::Change,
            kind: "ConfigMap".to_owned(),
            name: "a".to_owned(),
            fields: (0..200).map(field).collect(),
            note: None,
        }
    };
    let mut plan = rich();
    let store = plan.stores[0].clone();
    for count in [1, 3, 30, 300] {
        plan.stores = (0..count)
            .map(|at| {
                let mut store = store.clone();
                store.store = format!("store-{at}");
                store.objects = vec![long(), long()];
                store
            })
            .collect();
        let markdown = plan.markdown(Some(LINK));
        check(&markdown, &format!("{count} stores"));
        assert!(markdown.ends_with(&format!("…the rest is on [the plan's page]({LINK})\n")), "{count}");
        assert!(markdown.chars().count() > 50_000, "{count}: {} are used", markdown.chars().count());
    }
    let many = |at| PlanProblem {
        path: format!("stores/{at}.yaml"),
        line: Some(at),
        column: None,
        message: "x".repeat(300),
    };
    plan.problems = (1..1000).map(many).collect();
    check(&plan.markdown(Some(LINK)), "many problems");
    let without = plan.markdown(None);
    assert!(without.ends_with("…the rest is left out: `storekeeper plan` shows it\n"));
}

#[test]
fn a_link_that_is_none_is_left_out() {
    for link in ["javascript:alert(1)", "https://x/)[a](y", "https://x/ y", "https://x/<b>", ""] {
        let markdown = rich().markdown(Some(link));
        assert!(!markdown.contains("The plan's page"), "{link}");
    }
}

fn of_commit(commit: &str, note: &str) -> PlanReport {
    PlanReport { head: Some(commit.to_owned()), warnings: vec![note.to_owned()], ..rich() }
}

#[test]
fn plans_are_found_by_their_commit_or_the_beginning_of_it() {
    let (plans, long) = (Plans::default(), |digit: &str| digit.repeat(40));
    let reader = plans.reader();
    plans.put(of_commit(&format!("1234567{}", "a".repeat(33)), "one"));
    plans.put(of_commit(&format!("1234567{}", "b".repeat(33)), "two"));
    plans.put(of_commit(&long("c"), "three"));
    plans.put(PlanReport { head: None, ..rich() });
    let said = |commit: &str| reader.get(commit).map(|plan| plan.warnings[0].clone());
    assert_eq!(said(&long("c")).as_deref(), Some("three"));
    assert_eq!(said("ccccccc").as_deref(), Some("three"));
    assert_eq!(said("cccccc"), None, "six digits name nothing");
    assert_eq!(said("1234567"), None, "two begin so");
    assert_eq!(said("1234567b").as_deref(), Some("two"));
    plans.put(of_commit(&format!("1234567{}", "a".repeat(33)), "one again"));
    assert_eq!(said("1234567a").as_deref(), Some("one again"));
    let newest: Vec<_> = reader.newest(10).iter().map(|plan| plan.warnings[0].clone()).collect();
    assert_eq!(newest, ["one again", "three", "two"]);
}

#[test]
fn the_book_holds_the_newest_200_plans_and_not_more_bytes_than_it_may() {
    let plans = Plans::default();
    let commit = |at: usize| format!("{at:040}");
    for at in 0..250 {
        plans.put(of_commit(&commit(at), "x"));
    }
    assert_eq!(plans.reader().newest(1000).len(), 200);
    assert!(plans.reader().get(&commit(49)).is_none() && plans.reader().get(&commit(50)).is_some());
    for at in 300..310 {
        plans.put(of_commit(&commit(at), &"y".repeat(10 << 20)));
    }
    let kept = plans.reader().newest(1000);
    assert_eq!(kept.len(), 3, "three of 10 MiB fit");
    assert!(plans.reader().get(&commit(309)).is_some());
    plans.put(of_commit(&commit(400), &"z".repeat(40 << 20)));
    assert_eq!(plans.reader().newest(1000).len(), 1, "the newest is kept whatever it takes");
}

fn chance_length(at: usize) -> usize {
    at * 37 % 900
}
