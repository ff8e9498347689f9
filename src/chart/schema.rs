//! Validates values against `values.schema.json`.

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::Value;

use super::error::SchemaViolation;

/// A compiled schema. References to other files or hosts are not followed: such a schema does not load.
pub(crate) struct Schema(Validator);

impl Schema {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let schema: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        jsonschema::options()
            // The linear engine: a pattern that backtracks could be made to hang by a value.
            .with_pattern_options(PatternOptions::regex())
            // What a path is relative to, so that it is refused like everything else.
            .with_base_uri("file:///values.schema.json")
            .with_retriever(NothingElse)
            .build(&schema)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Lists every place where values break the schema; `prefix` is the subchart's path.
    pub(crate) fn violations(&self, values: &Value, prefix: &str) -> Vec<SchemaViolation> {
        // The question alone is cheaper than the list, which is nearly always empty.
        if self.0.is_valid(values) {
            return Vec::new();
        }
        let violation = |error: jsonschema::ValidationError<'_>| SchemaViolation {
            path: values_path(prefix, error.instance_path().as_str()),
            // Without the value itself: it may be a password.
            message: error.masked().to_string(),
            place: None,
        };
        self.0.iter_errors(values).map(violation).collect()
    }
}

/// Answers references out of the schema. Helm fetches them, which makes a rendering depend on another host or on the files
/// of the machine. A name (`urn:`) that nobody resolves allows everything, as in Helm.
struct NothingElse;

impl Retrieve for NothingElse {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        if uri.scheme().as_str() == "urn" {
            return Ok(Value::Bool(true));
        }
        Err("references to other files and hosts are not followed; put the schema under $defs".into())
    }
}

/// Writes a JSON pointer as a values path: `/workers/0/name` is `workers[0].name`.
fn values_path(prefix: &str, pointer: &str) -> String {
    let mut path = prefix.to_owned();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.parse::<usize>().is_ok() {
            path.extend(["[", &part, "]"]);
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&part);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn violations(schema: &Value, values: &Value) -> Vec<String> {
        let schema = Schema::parse(schema.to_string().as_bytes()).unwrap();
        schema.violations(values, "").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_violation_is_listed_with_its_values_path() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {
                "store": {"required": ["id"], "additionalProperties": false, "properties": {"id": {"type": "string"}}},
                "workers": {"items": {"properties": {"count": {"type": "integer", "minimum": 1}}}}
            }
        });
        let values = json!({"store": {"id": 5, "extra": 1}, "workers": [{"count": 0}, {"count": 2}]});
        let found = violations(&schema, &values);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("`store.id`: ")), "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("`workers[0].count`: ")), "{found:?}");
        assert!(violations(&schema, &json!({"store": {"id": "a"}, "workers": []})).is_empty());
    }

    #[test]
    fn a_reference_to_another_file_or_host_is_refused() {
        for reference in ["https://example.com/schema.json", "file:///etc/schema.json", "other.json"] {
            let schema = json!({"properties": {"a": {"$ref": reference}}});
            let error = Schema::parse(schema.to_string().as_bytes()).err().expect("must be refused");
            assert!(error.contains("references to other files and hosts are not followed"), "{error}");
        }
        let inner =
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$id": "https://example.com/a", "type": "string"}}});
        assert!(Schema::parse(inner.to_string().as_bytes()).is_ok());
        let named = json!({"properties": {"a": {"$ref": "urn:example:a"}}});
        assert!(violations(&named, &json!({"a": 1})).is_empty());
    }
}
