//! What an object's annotations tell Helm: when to run it as a hook, and to keep it when the release goes.

use serde_json::{Map, Value};

use super::metadata::scalar_text;

/// Makes an object a hook, and says for which events.
const HOOK: &str = "helm.sh/hook";
/// Orders the hooks of one event.
const WEIGHT: &str = "helm.sh/hook-weight";
/// When a hook's object is deleted again.
const DELETE_POLICY: &str = "helm.sh/hook-delete-policy";
/// What becomes of an object that the chart no longer has.
const RESOURCE_POLICY: &str = "helm.sh/resource-policy";

/// An object that is no part of the release but is made at certain moments of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The moments, in the order of the annotation.
    pub events: Vec<HookEvent>,
    /// Hooks of one event run in the order of their weights, the lightest first; 0 unless the annotation is a number.
    pub weight: i64,
    /// When the object is deleted: before the hook runs again, unless the annotation says otherwise. Empty if it says
    /// only what Helm does not know: then never.
    pub delete_policies: Vec<HookDeletePolicy>,
}

/// A moment in a release's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookEvent {
    /// Before a release's first objects are made.
    PreInstall,
    /// After all of a new release's objects were made.
    PostInstall,
    /// Before a release is deleted.
    PreDelete,
    /// After all of a release's objects were deleted.
    PostDelete,
    /// Before a release's objects are changed.
    PreUpgrade,
    /// After a release's objects were changed.
    PostUpgrade,
    /// Before an earlier revision comes back.
    PreRollback,
    /// After an earlier revision came back.
    PostRollback,
    /// When somebody asks for a test.
    Test,
}

/// When a hook's object is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookDeletePolicy {
    /// Before the hook runs again.
    BeforeHookCreation,
    /// When it succeeded.
    HookSucceeded,
    /// When it failed.
    HookFailed,
}

impl HookEvent {
    const ALL: [Self; 9] = [
        Self::PreInstall,
        Self::PostInstall,
        Self::PreDelete,
        Self::PostDelete,
        Self::PreUpgrade,
        Self::PostUpgrade,
        Self::PreRollback,
        Self::PostRollback,
        Self::Test,
    ];

    /// Returns the annotation's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::PreDelete => "pre-delete",
            Self::PostDelete => "post-delete",
            Self::PreUpgrade => "pre-upgrade",
            Self::PostUpgrade => "post-upgrade",
            Self::PreRollback => "pre-rollback",
            Self::PostRollback => "post-rollback",
            Self::Test => "test",
        }
    }

    /// Finds the event of a word of the annotation.
    pub fn parse(word: &str) -> Option<Self> {
        // Helm 2's word is still understood.
        let word = if word == "test-success" { "test" } else { word };
        Self::ALL.into_iter().find(|event| event.as_str() == word)
    }
}

impl HookDeletePolicy {
    const ALL: [Self; 3] = [Self::BeforeHookCreation, Self::HookSucceeded, Self::HookFailed];

    /// Returns the annotation's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeHookCreation => "before-hook-creation",
            Self::HookSucceeded => "hook-succeeded",
            Self::HookFailed => "hook-failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == word)
    }
}

/// What Helm makes of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A part of the release. Kept when it leaves the chart, or the release goes, if so annotated.
    Part { keep: bool },
    /// A hook.
    Hook(Hook),
    /// A hook for an event that Helm does not know: it is left out altogether.
    Unknown,
}

impl Role {
    /// Reads the annotations of an object. An error says what no Kubernetes object can be.
    pub(crate) fn of(object: &Map<String, Value>) -> Result<Self, String> {
        check_head(object)?;
        let none = Map::new();
        let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
        let annotations = annotations.and_then(Value::as_object).unwrap_or(&none);
        let text = |name: &str| annotations.get(name).map(scalar_text);
        let Some(events) = text(HOOK) else {
            let keep = text(RESOURCE_POLICY).is_some_and(|policy| policy.trim().to_lowercase() == "keep");
            return Ok(Self::Part { keep });
        };
        let events: Option<Vec<HookEvent>> = words(&events).map(|word| HookEvent::parse(&word)).collect();
        let Some(events) = events else { return Ok(Self::Unknown) };
        let weight = text(WEIGHT).and_then(|weight| weight.parse().ok()).unwrap_or_default();
        let delete_policies = match text(DELETE_POLICY) {
            Some(policies) => words(&policies).filter_map(|word| HookDeletePolicy::parse(&word)).collect(),
            None => vec![HookDeletePolicy::BeforeHookCreation],
        };
        Ok(Self::Hook(Hook { events, weight, delete_policies }))
    }
}

/// The words of a list with commas, as Helm compares them.
fn words(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|word| word.trim().to_lowercase())
}

/// Helm reads a head of each object: texts, and annotations that are texts. Numbers and booleans count as texts there.
fn check_head(object: &Map<String, Value>) -> Result<(), String> {
    let is_text = |value: &Value| !matches!(value, Value::Array(_) | Value::Object(_));
    let metadata = match object.get("metadata") {
        None | Some(Value::Null) => None,
        Some(Value::Object(metadata)) => Some(metadata),
        Some(_) => return Err("`metadata` is not a map".to_owned()),
    };
    let name = metadata.and_then(|metadata| metadata.get("name"));
    for (key, value) in
        [("apiVersion", object.get("apiVersion")), ("kind", object.get("kind")), ("metadata.name", name)]
    {
        if value.is_some_and(|value| !is_text(value)) {
            return Err(format!("`{key}` is not a text"));
        }
    }
    match metadata.and_then(|metadata| metadata.get("annotations")) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(annotations)) => match annotations.iter().find(|(_, value)| !is_text(value)) {
            Some((name, _)) => Err(format!("the annotation `{name}` is not a text")),
            None => Ok(()),
        },
        Some(_) => Err("`metadata.annotations` is not a map".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(annotations: &Value) -> Result<Role, String> {
        Role::of(json!({"kind": "Job", "metadata": {"annotations": annotations}}).as_object().unwrap())
    }

    #[test]
    fn annotations_tell_when_a_hook_runs_and_goes() {
        use HookDeletePolicy::{BeforeHookCreation, HookFailed, HookSucceeded};
        use HookEvent::{PostUpgrade, PreInstall, Test};
        let hook = |events: &[HookEvent], weight, policies: &[HookDeletePolicy]| {
            Ok(Role::Hook(Hook { events: events.to_vec(), weight, delete_policies: policies.to_vec() }))
        };
        for (annotations, expected) in [
            (json!({HOOK: "pre-install"}), hook(&[PreInstall], 0, &[BeforeHookCreation])),
            (
                json!({HOOK: " Pre-Install,post-upgrade", WEIGHT: "-5", DELETE_POLICY: "hook-failed, HOOK-SUCCEEDED"}),
                hook(&[PreInstall, PostUpgrade], -5, &[HookFailed, HookSucceeded]),
            ),
            (json!({HOOK: "test-success", WEIGHT: 7, DELETE_POLICY: "never"}), hook(&[Test], 7, &[])),
            (json!({HOOK: "test", WEIGHT: "1.5"}), hook(&[Test], 0, &[BeforeHookCreation])),
            (json!({HOOK: "crd-install"}), Ok(Role::Unknown)),
            (json!({HOOK: "pre-install,soon"}), Ok(Role::Unknown)),
            (json!({HOOK: ""}), Ok(Role::Unknown)),
            (json!({RESOURCE_POLICY: " Keep"}), Ok(Role::Part { keep: true })),
            (json!({RESOURCE_POLICY: "delete"}), Ok(Role::Part { keep: false })),
            (Value::Null, Ok(Role::Part { keep: false })),
        ] {
            assert_eq!(role(&annotations), expected, "{annotations}");
        }
    }

    #[test]
    fn what_helm_cannot_read_as_the_head_of_an_object_is_refused() {
        assert_eq!(role(&json!({"a": ["b"]})).unwrap_err(), "the annotation `a` is not a text");
        assert_eq!(role(&json!("a")).unwrap_err(), "`metadata.annotations` is not a map");
        let refusal = |object: Value| Role::of(object.as_object().unwrap()).unwrap_err();
        assert_eq!(refusal(json!({"metadata": []})), "`metadata` is not a map");
        assert_eq!(refusal(json!({"kind": {}})), "`kind` is not a text");
        assert_eq!(refusal(json!({"metadata": {"name": ["x"]}})), "`metadata.name` is not a text");
        assert!(Role::of(json!({"kind": 1, "metadata": {"name": 2}}).as_object().unwrap()).is_ok());
    }
}
