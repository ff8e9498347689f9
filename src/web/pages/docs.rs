//! The API's description as a page, from the same document that machines read.

use askama::Template;
use axum::response::Response;
use serde_json::Value;

use super::answer;
use super::view::Shell;
use crate::web::api::DOCUMENT;

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage {
    shell: Shell,
    title: String,
    version: String,
    description: String,
    operations: Vec<Operation>,
    schemas: Vec<Schema>,
}

struct Operation {
    method: String,
    path: String,
    /// Where it can be tried: none where a name has to be filled in.
    href: Option<String>,
    summary: String,
    parameters: Vec<(String, String, String)>,
    answers: Vec<(String, String, Option<String>)>,
}

struct Schema {
    name: String,
    description: String,
    fields: Vec<(String, String, String)>,
}

/// Answers with the description.
pub(in crate::web) async fn show() -> Response {
    let text = |pointer: &str| words(DOCUMENT.pointer(pointer));
    let paths = DOCUMENT["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, it)| operation(path, method, it))
    });
    let schemas = DOCUMENT.pointer("/components/schemas").and_then(Value::as_object).into_iter().flatten();
    answer(&DocsPage {
        shell: Shell::new("API".to_owned(), 0, "api"),
        title: text("/info/title"),
        version: text("/info/version"),
        description: text("/info/description"),
        operations: operations.collect(),
        schemas: schemas.map(|(name, schema)| described(name, schema)).collect(),
    })
}

fn operation(path: &str, method: &str, it: &Value) -> Operation {
    let parameters = it["parameters"].as_array().into_iter().flatten().map(|parameter| {
        let place = words(parameter.get("in"));
        (words(parameter.get("name")), place, words(parameter.get("description")))
    });
    let answers = it["responses"].as_object().into_iter().flatten().map(|(status, answer)| {
        let schema = answer["content"].as_object().and_then(|content| content.values().next());
        (status.clone(), words(answer.get("description")), schema.and_then(|it| kind(it.get("schema"))))
    });
    let summary = [words(it.get("summary")), words(it.get("description"))].join(" ");
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        href: (!path.contains('{')).then(|| format!(".{path}")),
        summary: summary.trim().to_owned(),
        parameters: parameters.collect(),
        answers: answers.collect(),
    }
}

fn described(name: &str, schema: &Value) -> Schema {
    let fields =
        schema["properties"].as_object().into_iter().flatten().map(|(field, it)| {
            (field.clone(), kind(Some(it)).unwrap_or_default(), words(it.get("description")))
        });
    let values = schema["enum"].as_array().into_iter().flatten();
    let values = values.map(|value| (words(Some(value)), String::new(), String::new()));
    let fields = fields.chain(values).collect();
    Schema { name: name.to_owned(), description: words(schema.get("description")), fields }
}

/// Names a schema in a few words.
fn kind(schema: Option<&Value>) -> Option<String> {
    let schema = schema?;
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().map(str::to_owned);
    }
    let several = ["oneOf", "anyOf"].iter().find_map(|name| schema[*name].as_array());
    if let Some(several) = several {
        let all: Vec<_> = several.iter().filter_map(|it| kind(Some(it))).collect();
        return Some(all.join(" or "));
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => Some(format!("list of {}", kind(schema.get("items"))?)),
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => {
            let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
            Some(names.join(" or "))
        }
        _ => None,
    }
}

fn words(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}
