//! GitHub's OpenAPI description, as a judge of requests and answers. Nothing is looked up outside the document.

#![allow(dead_code, missing_docs, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::fake_forge::{Reply, Request};

/// The description of one operation.
pub struct Operation {
    /// The path as the description writes it, such as `/repos/{owner}/{repo}/pulls`.
    pub path: String,
    value: &'static Value,
    parameters: BTreeMap<String, String>,
}

/// Reads the description once for all tests of a file.
pub fn description() -> &'static Value {
    static DESCRIPTION: OnceLock<Value> = OnceLock::new();
    DESCRIPTION.get_or_init(|| {
        let path = std::env::var_os("STOREKEEPER_GITHUB_OPENAPI").expect(
            "STOREKEEPER_GITHUB_OPENAPI does not name GitHub's description: run it through make test",
        );
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    })
}

/// Finds the operation of a request.
pub fn operation(request: &Request) -> Option<Operation> {
    let asked = request.segments();
    let fits = |path: &str| -> Option<BTreeMap<String, String>> {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        if parts.len() != asked.len() {
            return None;
        }
        let mut parameters = BTreeMap::new();
        for (part, asked) in parts.iter().zip(&asked) {
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => drop(parameters.insert(name.to_owned(), asked.clone())),
                None if part == asked => {}
                None => return None,
            }
        }
        Some(parameters)
    };
    let paths = description()["paths"].as_object().unwrap();
    let method = request.method.to_ascii_lowercase();
    let found = paths.iter().filter_map(|(path, methods)| {
        let (parameters, value) = (fits(path)?, methods.get(&method)?);
        Some(Operation { path: path.clone(), value, parameters })
    });
    // The one with the fewest names in braces says it most exactly.
    found.min_by_key(|operation| operation.parameters.len())
}

impl Operation {
    /// Says what a request does that the description does not allow.
    pub fn problems_of_request(&self, request: &Request) -> Vec<String> {
        let mut problems = Vec::new();
        let declared: Vec<_> =
            self.value["parameters"].as_array().into_iter().flatten().map(resolve).collect();
        let named = |place: &str| -> BTreeMap<&str, &Value> {
            let found = declared.iter().filter(|parameter| parameter["in"] == place);
            found.map(|parameter| (parameter["name"].as_str().unwrap(), &parameter["schema"])).collect()
        };
        let (in_path, in_query) = (named("path"), named("query"));
        for (name, text) in &self.parameters {
            match in_path.get(name.as_str()) {
                Some(schema) => problems.extend(check(schema, &typed(schema, text), name)),
                None => problems.push(format!("path: {name} is not declared")),
            }
        }
        for (name, text) in &request.query {
            match in_query.get(name.as_str()) {
                Some(schema) => problems.extend(check(schema, &typed(schema, text), name)),
                None => problems.push(format!("query: {name} is not declared")),
            }
        }
        match self.value.pointer("/requestBody/content/application~1json/schema") {
            Some(schema) => {
                problems.extend(check(schema, &request.body, "body"));
                undeclared(schema, &request.body, "body", &mut problems);
            }
            None if request.body.is_null() => {}
            None => problems.push("a body is sent, and none is described".to_owned()),
        }
        problems
    }

    /// Says what an answer is that the description does not have. Every operation may refuse the login, ask to wait, or
    /// fail.
    pub fn problems_of_reply(&self, reply: &Reply) -> Vec<String> {
        let Some(described) = self.value["responses"].get(reply.status.to_string()) else {
            let usual = matches!(reply.status, 401 | 403 | 404 | 422 | 429 | 500..);
            return if usual {
                Vec::new()
            } else {
                vec![format!("status {} is not described", reply.status)]
            };
        };
        let Some(schema) = resolve(described).pointer("/content/application~1json/schema") else {
            return Vec::new();
        };
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        check(schema, &body, "answer")
    }

    /// Returns the description's own example of an answer, of a list its first item.
    pub fn example(&self, status: u16) -> Value {
        example(&self.value["responses"][status.to_string()])
    }
}

/// Returns the example of a response.
fn example(response: &'static Value) -> Value {
    let content = &resolve(response)["content"]["application/json"];
    let examples = content["examples"].as_object().unwrap();
    let value = &resolve(examples.values().next().unwrap())["value"];
    value.as_array().map_or_else(|| value.clone(), |items| items[0].clone())
}

fn resolve(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => resolve(target(reference)),
        None => value,
    }
}

/// Returns what a reference within the document names; there are no others.
fn target(reference: &str) -> &'static Value {
    let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads outside"));
    description().pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

/// Reads a parameter as its schema wants it.
fn typed(schema: &Value, text: &str) -> Value {
    match schema["type"].as_str() {
        Some("integer" | "number") => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        Some("boolean") => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
        _ => text.into(),
    }
}

fn check(schema: &Value, value: &Value, what: &str) -> Vec<String> {
    let mut document = Document::default();
    let mut root = document.convert(schema);
    let definitions = std::mem::take(&mut document.definitions);
    root.as_object_mut().unwrap().insert("definitions".to_owned(), Value::Object(definitions));
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft7).should_validate_formats(true);
    let validator = options.build(&root).unwrap();
    let errors = validator.iter_errors(value);
    errors.map(|error| format!("{what}{}: {error}", error.instance_path())).collect()
}

/// Says which fields of a body the description does not name: GitHub would ignore them.
fn undeclared(schema: &Value, value: &Value, place: &str, problems: &mut Vec<String>) {
    let target;
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            target = self::target(reference);
            target
        }
        None => schema,
    };
    match value {
        Value::Object(fields) => {
            let Some(declared) = schema.get("properties").and_then(Value::as_object) else { return };
            for (name, value) in fields {
                match declared.get(name) {
                    Some(schema) => undeclared(schema, value, &format!("{place}/{name}"), problems),
                    None => problems.push(format!("{place}/{name} is not declared")),
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for item in items {
                undeclared(schema, item, &format!("{place}[]"), problems);
            }
        }
        _ => {}
    }
}

/// A schema of OpenAPI 3.0 as one of JSON Schema, with the definitions that it needs.
#[derive(Default)]
struct Document {
    definitions: Map<String, Value>,
    begun: BTreeSet<String>,
}

impl Document {
    fn convert(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => self.convert_object(fields),
            Value::Array(items) => items.iter().map(|item| self.convert(item)).collect(),
            value => value.clone(),
        }
    }

    fn convert_object(&mut self, fields: &Map<String, Value>) -> Value {
        if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
            let name = reference.rsplit('/').next().unwrap().to_owned();
            if self.begun.insert(name.clone()) {
                let converted = self.convert(target(reference));
                self.definitions.insert(name.clone(), converted);
            }
            return json!({ "$ref": format!("#/definitions/{name}") });
        }
        let mut converted = Map::new();
        for (name, value) in fields {
            match name.as_str() {
                "nullable" | "example" | "examples" | "discriminator" | "description" | "deprecated" => {}
                name if name.starts_with("x-") => {}
                // The names of fields are no keywords.
                "properties" => {
                    let inner = value.as_object().unwrap().iter();
                    let inner: Map<_, _> =
                        inner.map(|(name, value)| (name.clone(), self.convert(value))).collect();
                    converted.insert(name.clone(), inner.into());
                }
                "enum" | "required" | "default" => drop(converted.insert(name.clone(), value.clone())),
                // What one of them describes, another one often does too: the description means any.
                "oneOf" => drop(converted.insert("anyOf".to_owned(), self.convert(value))),
                _ => drop(converted.insert(name.clone(), self.convert(value))),
            }
        }
        if fields.get("nullable") == Some(&Value::Bool(true)) {
            return json!({ "anyOf": [converted, { "type": "null" }] });
        }
        converted.into()
    }
}
