//! Which fields of an object differ: by path, items of lists by the key that merges them where there is one. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

/// What the API server keeps about an object itself.
const KEPT_BY_THE_SERVER: [&str; 8] = [
    "metadata.creationTimestamp",
    "metadata.deletionGracePeriodSeconds",
    "metadata.deletionTimestamp",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.uid",
    "status",
];

/// What tells the items of a list apart: the first that all items have and no two share. It is what server-side apply
/// merges lists by, and what people know them by.
const KEYS: [&str; 9] =
    ["name", "mountPath", "devicePath", "containerPort", "port", "topologyKey", "ip", "host", "key"];

/// How many characters of a value are shown.
const LONGEST: usize = 1000;

/// How many lines around a change in a text are shown.
const CONTEXT: usize = 1;

/// A field that differs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference<'a> {
    /// Where it is.
    pub(super) place: Place,
    pub(super) before: Option<Cow<'a, Value>>,
    pub(super) after: Option<Cow<'a, Value>>,
}

/// Where a field is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// All of it, such as `spec.template.spec.containers[medusa].image`.
    pub(super) path: String,
    /// Its last name.
    pub(super) name: String,
    /// What the closest item of a list is known by, such as the name of an environment variable.
    pub(super) item: String,
}

impl Place {
    /// Whether it is that field or lies in it.
    pub(super) fn is_within(&self, path: &str) -> bool {
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }

    /// Whether one of the two is the other or lies in it.
    pub(super) fn is_related(&self, other: &Self) -> bool {
        self.is_within(&other.path) || other.is_within(&self.path)
    }

    fn field(&self, name: &str) -> Self {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let path = match (name.bytes().all(is_plain) && !name.is_empty(), self.path.as_str()) {
            (true, "") => name.to_owned(),
            (true, path) => format!("{path}.{name}"),
            (false, path) => format!("{path}[{name}]"),
        };
        Self { path, name: name.to_owned(), item: self.item.clone() }
    }

    fn item(&self, key: &str) -> Self {
        Self { path: format!("{}[{key}]", self.path), name: self.name.clone(), item: key.to_owned() }
    }
}

/// Finds what differs between two versions of an object, but for its status and what the API server keeps itself.
pub(super) fn differences<'a>(before: &'a Value, after: &'a Value) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    walk(Place::default(), Some(before), Some(after), &mut found);
    found.retain(|it| !KEPT_BY_THE_SERVER.iter().any(|path| it.place.is_within(path)));
    found
}

fn walk<'a>(
    place: Place,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
    found: &mut Vec<Difference<'a>>,
) {
    if before == after {
        return;
    }
    let is_any = |such: fn(&Value) -> bool| [before, after].into_iter().flatten().any(such);
    let are_all = |such: fn(&Value) -> bool| [before, after].into_iter().flatten().all(such);
    if are_all(Value::is_object) && is_any(|value| value.as_object().is_some_and(|map| !map.is_empty())) {
        let mut seen = BTreeSet::new();
        let maps = [after, before].into_iter().flatten().filter_map(Value::as_object);
        for name in maps.flat_map(serde_json::Map::keys).filter(|name| seen.insert(name.as_str())) {
            let of = |value: Option<&'a Value>| value.and_then(|value| value.get(name));
            walk(place.field(name), of(before), of(after), found);
        }
    } else if are_all(Value::is_array) && is_any(has_maps) {
        lists(&place, items(before), items(after), found);
    } else {
        found.push(Difference { place, before: before.map(Cow::Borrowed), after: after.map(Cow::Borrowed) });
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn has_maps(value: &Value) -> bool {
    items(Some(value)).iter().any(Value::is_object)
}

fn lists<'a>(place: &Place, before: &'a [Value], after: &'a [Value], found: &mut Vec<Difference<'a>>) {
    let keyed = KEYS.iter().find_map(|key| Some((key, keys(before, key)?, keys(after, key)?)));
    let Some((name, old, new)) = keyed else {
        for at in 0..before.len().max(after.len()) {
            walk(place.item(&at.to_string()), before.get(at), after.get(at), found);
        }
        return;
    };
    let of = |keys: &[String], items: &'a [Value], key: &String| {
        keys.iter().position(|it| it == key).and_then(|at| items.get(at))
    };
    for key in new.iter().chain(old.iter().filter(|key| !new.contains(key))) {
        let (at, first) = (place.item(key), found.len());
        walk(at.clone(), of(&old, before, key), of(&new, after, key), found);
        // Of an item that comes or goes, what it is called stands in its path.
        let called = at.field(name);
        if found.len() > first + 1
            && let Some(named) = found[first..].iter().position(|it| it.place == called)
        {
            found.remove(first + named);
        }
    }
    let shared = |keys: &[String], others: &[String]| -> Vec<String> {
        keys.iter().filter(|key| others.contains(key)).cloned().collect()
    };
    let (before, after) = (shared(&old, &new), shared(&new, &old));
    if before != after {
        let order = |keys: Vec<String>| Some(Cow::Owned(Value::from(keys)));
        let place = Place { path: format!("{} (order)", place.path), ..place.clone() };
        found.push(Difference { place, before: order(before), after: order(after) });
    }
}

/// Returns what the items have under a key, if all have something of their own there.
fn keys(items: &[Value], key: &str) -> Option<Vec<String>> {
    let key_of = |item: &Value| match item.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let keys: Vec<_> = items.iter().map(key_of).collect::<Option<_>>()?;
    let distinct: BTreeSet<_> = keys.iter().collect();
    (distinct.len() == keys.len()).then_some(keys)
}

/// Writes two values of a field for people: of long texts what differs, and of anything so much as is read.
pub(super) fn written(before: Option<&Value>, after: Option<&Value>) -> (Option<String>, Option<String>) {
    if let (Some(Value::String(old)), Some(Value::String(new))) = (before, after)
        && (old.contains('\n') || new.contains('\n'))
    {
        let (old, new) = differing_lines(old, new);
        return (Some(cut(&old)), Some(cut(&new)));
    }
    (before.map(|value| cut(&one(value))), after.map(|value| cut(&one(value))))
}

fn one(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text.to_owned(),
    }
}

/// Leaves out the lines that two texts begin and end with alike, but for some around what differs.
fn differing_lines(before: &str, after: &str) -> (String, String) {
    let (old, new): (Vec<_>, Vec<_>) = (before.split('\n').collect(), after.split('\n').collect());
    let most = old.len().min(new.len());
    let alike = (0..most).take_while(|at| old[*at] == new[*at]).count();
    let ends = (0..most - alike).take_while(|at| old[old.len() - 1 - at] == new[new.len() - 1 - at]).count();
    let (skipped, left) = (alike.saturating_sub(CONTEXT), ends.saturating_sub(CONTEXT));
    let part = |lines: &[&str]| {
        let shown = &lines[skipped..lines.len() - left];
        let lead = (skipped > 0).then_some("…");
        let tail = (left > 0).then_some("…");
        lead.into_iter().chain(shown.iter().copied()).chain(tail).collect::<Vec<_>>().join("\n")
    };
    (part(&old), part(&new))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(before: &Value, after: &Value) -> Vec<String> {
        let line = |it: Difference<'_>| {
            let (before, after) = written(it.before.as_deref(), it.after.as_deref());
            let word = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            format!("{}: {} > {}", it.place.path, word(before), word(after))
        };
        differences(before, after).into_iter().map(line).collect()
    }

    fn deployment(containers: &Value) -> Value {
        json!({"metadata": {"name": "web", "generation": 1, "managedFields": [{"manager": "a"}]},
            "spec": {"template": {"spec": {"containers": containers}}}, "status": {"replicas": 1}})
    }

    #[test]
    fn items_of_lists_are_known_by_what_merges_them() {
        let before = deployment(&json!([
            {"name": "medusa", "image": "a:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
             "ports": [{"containerPort": 80}]},
            {"name": "old", "image": "o"},
        ]));
        let after = deployment(&json!([
            {"name": "medusa", "image": "a:2", "env": [{"name": "A", "value": "1"}, {"name": "C", "value": "3"}],
             "ports": [{"containerPort": 81}]},
        ]));
        let at = "spec.template.spec.containers";
        assert_eq!(
            lines(&before, &after),
            [
                format!("{at}[medusa].image: a:1 > a:2"),
                format!("{at}[medusa].env[C].value: - > 3"),
                format!("{at}[medusa].env[B].value: 2 > -"),
                format!("{at}[medusa].ports[81].containerPort: - > 81"),
                format!("{at}[medusa].ports[80].containerPort: 80 > -"),
                format!("{at}[old].image: o > -"),
            ]
        );
    }

    #[test]
    fn what_the_server_keeps_is_no_change_and_a_name_that_begins_alike_is_one() {
        let before =
            json!({"metadata": {"uid": "1", "generation": 1, "uidx": 1}, "status": {"a": 1}, "statusx": 1});
        let after =
            json!({"metadata": {"uid": "2", "generation": 2, "uidx": 2}, "status": {"a": 2}, "statusx": 2});
        assert_eq!(lines(&before, &after), ["metadata.uidx: 1 > 2", "statusx: 1 > 2"]);
    }

    #[test]
    fn a_list_without_a_key_is_compared_by_place_and_one_of_words_as_a_whole() {
        let before = json!({"rules": [{"to": 1}, {"to": 2}], "args": ["a", "b"]});
        let after = json!({"rules": [{"to": 1}, {"to": 3}, {"to": 4}], "args": ["a", "c"]});
        let expected = ["rules[1].to: 2 > 3", "rules[2].to: - > 4", "args: [\"a\",\"b\"] > [\"a\",\"c\"]"];
        assert_eq!(lines(&before, &after), expected);
    }

    #[test]
    fn another_order_is_a_change() {
        let (a, b) = (json!({"name": "a"}), json!({"name": "b"}));
        let found = lines(&json!({"env": [a, b]}), &json!({"env": [b, a]}));
        assert_eq!(found, ["env (order): [\"a\",\"b\"] > [\"b\",\"a\"]"]);
    }

    #[test]
    fn names_that_are_no_words_stand_in_brackets() {
        let found = lines(&json!({"data": {}}), &json!({"data": {"nginx.conf": "", "": "x"}}));
        assert_eq!(found, ["data[nginx.conf]: - > \"\"", "data[]: - > x"]);
        assert_eq!(lines(&json!({"a": {}}), &json!({"a": null})), ["a: {} > null"]);
    }

    #[test]
    fn of_a_long_text_only_what_differs_is_shown() {
        let whole = |line: &str| Value::from(format!("0\n1\n2\n3\n{line}\n5\n6\n7\n8"));
        let (before, after) = written(Some(&whole("old")), Some(&whole("new\nnewer")));
        assert_eq!(before.unwrap(), "…\n3\nold\n5\n…");
        assert_eq!(after.unwrap(), "…\n3\nnew\nnewer\n5\n…");
        let (_, long) = written(None, Some(&Value::from("ä".repeat(2000))));
        assert!(long.unwrap().ends_with("ää… (2000 characters)"));
        assert_eq!(written(Some(&"a\nb".into()), Some(&"a".into())).0.unwrap(), "a\nb");
    }

    #[test]
    fn places_are_related_when_one_lies_in_the_other() {
        let place = |path: &str| Place { path: path.to_owned(), ..Place::default() };
        for (one, other, expected) in [
            ("spec.a", "spec.a", true),
            ("spec.a", "spec.a.b", true),
            ("spec.a[x]", "spec.a", true),
            ("spec.ab", "spec.a", false),
            ("spec.a", "spec.b", false),
        ] {
            assert_eq!(place(one).is_related(&place(other)), expected, "{one} {other}");
        }
    }
}
