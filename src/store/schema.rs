//! JSON Schemas of store files and the fleet file, for editors and other tools.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use super::file::{FleetFile, StoreFile};

/// Returns the schema of `stores/<name>.yaml`.
pub fn store() -> Value {
    generate::<StoreFile>()
}

/// Returns the schema of `storekeeper.yaml`.
pub fn fleet() -> Value {
    generate::<FleetFile>()
}

/// Returns one schema for both kinds of files: the field `kind` decides.
pub fn any() -> Value {
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "storekeeper",
        "description": "A store file or a fleet file; the field `kind` decides.",
        "oneOf": [nested(store()), nested(fleet())],
    })
}

/// Prints a schema as it is committed: indented, with a line end.
pub fn print(schema: &Value) -> String {
    format!("{schema:#}\n")
}

fn generate<T: JsonSchema>() -> Value {
    // Inlined: a short schema without references reads well and every editor understands it.
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    // What it is comes before what is in it.
    let mut ordered = serde_json::Map::new();
    if let Value::Object(mut map) = schema {
        for key in ["$schema", "title", "description"] {
            ordered.extend(map.shift_remove(key).map(|value| (key.to_owned(), value)));
        }
        ordered.extend(map);
    }
    Value::Object(ordered)
}

fn nested(mut schema: Value) -> Value {
    if let Value::Object(map) = &mut schema {
        map.shift_remove("$schema");
    }
    schema
}

/// Makes the schema as strict as the reader: a field may be left out, but not left empty. Also drops what
/// schemars adds about Rust's number types, and the line breaks of doc comments.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = map.get("anyOf") {
                let some = choices.iter().find(|choice| choice["type"] != "null").cloned();
                map.shift_remove("anyOf");
                if let Some(Value::Object(some)) = some {
                    for (key, value) in some {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            map.retain(|key, value| !(key == "default" && value.is_null()) && key != "format");
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::Catalog;
    use super::super::file::{FLEET_FIELDS, STORE_FIELDS};
    use super::*;

    #[test]
    fn the_reader_knows_the_fields_of_the_schemas_and_no_others() {
        for (schema, catalog) in [(store(), STORE_FIELDS), (fleet(), FLEET_FIELDS)] {
            check(&schema, catalog);
        }
    }

    fn check(schema: &Value, catalog: Catalog) {
        let mut sections = Vec::new();
        collect(schema, "", &mut sections);
        let read: Vec<_> =
            catalog.iter().map(|(path, fields)| ((*path).to_owned(), fields.to_vec())).collect();
        assert_eq!(sections, read);
    }

    fn collect<'s>(schema: &'s Value, path: &str, out: &mut Vec<(String, Vec<&'s str>)>) {
        let Some(fields) = schema["properties"].as_object() else { return };
        out.push((path.to_owned(), fields.keys().map(String::as_str).collect()));
        for (name, part) in fields {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            collect(part, &inner, out);
            collect(&part["items"], &format!("{inner}[]"), out);
            collect(&part["additionalProperties"], &format!("{inner}{{}}"), out);
        }
    }
}
