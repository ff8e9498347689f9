//! Policies of the API server that refuse what a test names.

use serde_json::{Value, json};

use super::World;

/// An object without a namespace, which goes when the test ends.
pub struct ClusterScoped<'a> {
    world: &'a World,
    pub api_version: &'static str,
    pub kind: &'static str,
    pub name: String,
}

impl<'a> ClusterScoped<'a> {
    pub fn new(world: &'a World, api_version: &'static str, kind: &'static str, body: Value) -> Self {
        let name = body["metadata"]["name"].as_str().unwrap().to_owned();
        world.cluster.create(api_version, kind, "", body);
        Self { world, api_version, kind, name }
    }
}

impl Drop for ClusterScoped<'_> {
    fn drop(&mut self) {
        self.world.cluster.delete(self.api_version, self.kind, "", &self.name);
    }
}

/// Refuses these operations on a kind in this world's stores unless the expression holds, with the words that another
/// expression makes.
pub fn refuse<'a>(
    world: &'a World,
    what: (&str, &str),
    operations: &[&str],
    test: (&str, &str),
) -> (ClusterScoped<'a>, ClusterScoped<'a>) {
    let ours = json!({"matchLabels": {"storekeeper.dev/source": world.source}});
    refuse_where(world, what, operations, test, &json!({"namespaceSelector": ours}))
}

/// The same for what selectors match, in whatever namespace.
pub fn refuse_where<'a>(
    world: &'a World,
    (group, resource): (&str, &str),
    operations: &[&str],
    (unless, words): (&str, &str),
    selectors: &Value,
) -> (ClusterScoped<'a>, ClusterScoped<'a>) {
    let (api, name) = ("admissionregistration.k8s.io/v1", format!("{}-{resource}", world.prefix));
    let rule = json!({"apiGroups": [group], "apiVersions": ["*"], "operations": operations,
        "resources": [resource]});
    let spec = json!({"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": unless, "messageExpression": words}]});
    let meta = json!({"name": name});
    let policy =
        ClusterScoped::new(world, api, "ValidatingAdmissionPolicy", json!({"metadata": meta, "spec": spec}));
    let spec = json!({"policyName": name, "validationActions": ["Deny"], "matchResources": selectors});
    let body = json!({"metadata": meta, "spec": spec});
    (policy, ClusterScoped::new(world, api, "ValidatingAdmissionPolicyBinding", body))
}
