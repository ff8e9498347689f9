//! Takes out of the API server's sentences what must not be shown: values that were sent, dumps of whole objects, and
//! logins in addresses. Pure.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// What stands in the place of what was taken out.
pub(super) const HIDDEN: &str = "***";

/// Shorter entries of data are words like `on` and `80`: masking them would only spoil the sentence.
const SHORTEST_ENTRY: usize = 4;

/// The same for variables and arguments, which hold more of such words and fewer secrets.
const SHORTEST_ARGUMENT: usize = 6;

/// Words that say nothing, whoever holds them.
const HARMLESS: [&str; 4] = ["true", "false", "null", "none"];

/// The values of an object that nobody may read in a message.
#[derive(Default)]
pub struct Mask {
    /// Longest first, so that a part of one does not leave the rest of it standing.
    values: Vec<String>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask of {} values", self.values.len())
    }
}

impl Mask {
    /// Collects the values of environment variables, command lines, and of the data of Secrets and ConfigMaps. What the
    /// object itself is called stays.
    pub(super) fn of(object: &Value) -> Self {
        Self::of_all(std::slice::from_ref(object))
    }

    /// Collects those of several objects. What one of them is called stays.
    pub(super) fn of_all(objects: &[Value]) -> Self {
        let (mut entries, mut arguments, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for object in objects {
            for part in ["data", "stringData", "binaryData"] {
                texts(object.get(part), &mut |text| {
                    entries.push(text.to_owned());
                    entries.extend(decoded(text));
                });
            }
            containers(object, &mut |container| {
                for part in ["command", "args"] {
                    texts(container.get(part), &mut |text| arguments.push(text.to_owned()));
                }
                let variables = container.get("env").and_then(Value::as_array).into_iter().flatten();
                for variable in variables {
                    texts(variable.get("value"), &mut |text| arguments.push(text.to_owned()));
                }
            });
            let called = ["/metadata/name", "/metadata/namespace", "/kind"];
            names.extend(called.iter().filter_map(|name| object.pointer(name)?.as_str()));
        }
        entries.retain(|value| value.len() >= SHORTEST_ENTRY);
        arguments.retain(|value| value.len() >= SHORTEST_ARGUMENT);
        let is_name = |value: &String| names.iter().any(|name| name.contains(value.as_str()));
        let found: BTreeSet<_> =
            entries.into_iter().chain(arguments).filter(|value| !is_name(value)).collect();
        let mut values: Vec<_> = found.into_iter().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// Collects what Secrets hold, as it is and as Base64. Words that `public` names are made of stay.
    pub fn of_secrets<'a>(secrets: impl Iterator<Item = &'a Value>, public: &BTreeSet<String>) -> Self {
        let mut found = BTreeSet::new();
        for secret in secrets {
            for (part, is_encoded) in [("data", true), ("stringData", false)] {
                texts(secret.get(part), &mut |text| {
                    let other = if is_encoded { decoded(text) } else { Some(BASE64_STANDARD.encode(text)) };
                    found.extend(other);
                    found.insert(text.to_owned());
                });
            }
        }
        let is_public = |value: &String| public.iter().any(|name| name.contains(value.as_str()));
        let is_hidden = |value: &String| {
            value.trim().len() >= SHORTEST_ENTRY && !HARMLESS.contains(&value.trim()) && !is_public(value)
        };
        let mut values: Vec<_> = found.into_iter().filter(is_hidden).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// Returns the text without the values and without logins in addresses; unlike [`Mask::clean`] it is no sentence of
    /// the API server.
    pub fn hide(&self, text: &str) -> String {
        without_logins(&self.without_values(text.to_owned()))
    }

    /// Returns the text without them.
    pub(super) fn clean(&self, text: &str) -> String {
        without_logins(&self.without_values(without_dumps(text)))
    }

    fn without_values(&self, mut text: String) -> String {
        for form in self.values.iter().flat_map(|value| forms(value)) {
            if text.contains(&form) {
                text = text.replace(&form, HIDDEN);
            }
        }
        text
    }

    /// Takes them out of every `message` at any depth.
    pub(super) fn clean_messages(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    match inner {
                        Value::String(text) if key == "message" => *text = self.clean(text),
                        _ => self.clean_messages(inner),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.clean_messages(item)),
            _ => {}
        }
    }
}

/// How a value may stand in a sentence: as it is, as Go quotes it, as Go's JSON escapes it for HTML, and in one line;
/// each with and without the space around it.
fn forms(value: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for value in [value, value.trim()].into_iter().filter(|value| value.len() >= SHORTEST_ENTRY) {
        let quoted = Value::from(value).to_string();
        let quoted = quoted[1..quoted.len() - 1].to_owned();
        let escaped = quoted.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
        let one_line = value.replace(char::is_control, " ");
        forms.extend([escaped, quoted, value.to_owned(), one_line]);
    }
    forms
}

fn decoded(text: &str) -> Option<String> {
    BASE64_STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

fn texts(value: Option<&Value>, found: &mut impl FnMut(&str)) {
    match value {
        Some(Value::String(text)) => found(text),
        Some(Value::Array(items)) => items.iter().for_each(|item| texts(Some(item), found)),
        Some(Value::Object(map)) => map.values().for_each(|item| texts(Some(item), found)),
        Some(Value::Number(number)) => found(&number.to_string()),
        Some(Value::Bool(_) | Value::Null) | None => {}
    }
}

/// Finds containers at any depth: a `CronJob` hides them deeper than a Deployment.
fn containers(value: &Value, found: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                if matches!(key.as_str(), "containers" | "initContainers") {
                    inner.as_array().into_iter().flatten().for_each(&mut *found);
                } else {
                    containers(inner, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| containers(item, found)),
        _ => {}
    }
}

/// Cuts what follows `Invalid value: ` when it is a dump of an object or a list: the API server repeats a Job's whole
/// template there, environment included. The same for a difference between two versions of a claim.
fn without_dumps(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.split("\n@@").next().unwrap_or(text);
    while let Some(start) = ["Invalid value: ", "valueUnstructured", "got "]
        .iter()
        .filter_map(|lead| rest.find(lead).map(|at| at + lead.len()))
        .min()
    {
        clean.push_str(&rest[..start]);
        rest = &rest[start..];
        if rest.starts_with(['{', '[']) {
            clean.push_str("{...}");
            rest = &rest[dump_length(rest)..];
        }
    }
    clean.push_str(rest);
    clean
}

/// How long a value in braces or brackets is, texts in quotes respected; all of it when it has no end.
fn dump_length(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Cuts user and password out of addresses: `postgres://medusa:secret@db/` becomes `postgres://***@db/`.
fn without_logins(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'')).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(login) => {
                clean.push_str(HIDDEN);
                &after[login..]
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dump_of_a_jobs_template_is_cut_and_the_reason_stays() {
        let words = r#"Job.batch "d" is invalid: spec.template.spec: Invalid value: {"Env":[{"Name":"P","Value":"a}\"b"}]}: field is immutable"#;
        assert_eq!(
            Mask::default().clean(words),
            r#"Job.batch "d" is invalid: spec.template.spec: Invalid value: {...}: field is immutable"#
        );
        let endless = Mask::default().clean("Invalid value: {\"Env\":[{\"Value\":\"canary");
        assert_eq!(endless, "Invalid value: {...}");
        let difference = Mask::default().clean("spec is immutable after creation\n@@ -1 +1 @@\n- \"canary\"");
        assert_eq!(difference, "spec is immutable after creation");
    }

    #[test]
    fn a_wrong_type_is_said_without_the_value() {
        let words = r"failed to create typed patch object: .data.a: expected string, got &value.valueUnstructured{Value:1234}";
        assert_eq!(
            Mask::default().clean(words),
            "failed to create typed patch object: .data.a: expected string, got &value.valueUnstructured{...}"
        );
    }

    #[test]
    fn what_was_sent_as_a_variable_an_argument_or_data_does_not_come_back() {
        let container = json!({"name": "c", "args": ["--key=canary-args"],
            "env": [{"name": "A", "value": "canary-env \"quoted\""}, {"name": "B", "value": "on"}]});
        let template = json!({"spec": {"initContainers": [container]}});
        let object = json!({"data": {"p": "Y2FuYXJ5LWRhdGE="}, "stringData": {"q": "canary-text"},
            "spec": {"jobTemplate": {"spec": {"template": template}}}});
        let mask = Mask::of(&object);
        let words = r#"denied: canary-env \"quoted\", canary-env "quoted", --key=canary-args, canary-text, canary-data, Y2FuYXJ5LWRhdGE=, on"#;
        assert_eq!(mask.clean(words), "denied: ***, ***, ***, ***, ***, ***, on");
    }

    #[test]
    fn a_value_of_many_lines_or_with_signs_of_html_is_found_however_it_is_written() {
        let env = json!([{"name": "KEY", "value": "canary-1\ncanary-2\n"}, {"name": "URL", "value": "<a&b>canary-3"}]);
        let mask = Mask::of(&json!({"spec": {"containers": [{"name": "c", "env": env}]}}));
        let words = "denied: canary-1\ncanary-2\n; canary-1\ncanary-2; canary-1 canary-2; \"canary-1\\ncanary-2\\n\"; \
                     <a&b>canary-3; \"\\u003ca\\u0026b\\u003ecanary-3\"";
        assert_eq!(mask.clean(words), "denied: ***; ***; ***; \"***\"; ***; \"***\"");
    }

    #[test]
    fn what_secrets_hold_is_hidden_as_it_is_and_encoded_but_for_words_of_public_names() {
        let secrets = [
            json!({"data": {"p": "Y2FuYXJ5LWRhdGE=", "user": "bWVkdXNh", "on": "dHJ1ZQ=="}}),
            json!({"stringData": {"q": "canary-text"}}),
        ];
        let mask = Mask::of_secrets(secrets.iter(), &BTreeSet::from(["medusa-server".to_owned()]));
        let hidden =
            mask.hide("canary-data Y2FuYXJ5LWRhdGE= xcanary-textx Y2FuYXJ5LXRleHQ= medusa true a://b:c@d/");
        assert_eq!(hidden, "*** *** x***x *** medusa true a://***@d/");
        assert!(!format!("{mask:?}").contains("canary"));
    }

    #[test]
    fn a_login_in_an_address_is_cut() {
        let words = "can't reach postgresql://medusa:p@ss@db:5432/x, see https://example.com/a@b";
        assert_eq!(
            Mask::default().clean(words),
            "can't reach postgresql://***@db:5432/x, see https://example.com/a@b"
        );
    }
}
