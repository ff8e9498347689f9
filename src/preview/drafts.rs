//! What the steps of a store's plan are about, object by object. Pure.

use super::curtain::Curtain;
use super::fields::{Difference, differences};
use crate::manifest::{Manifest, ObjectKey};
use crate::names::ANNOTATION_PAUSED_UNTIL;
use crate::plan::{
    self, Cause, HookAct, NamespaceSpec, ObservedNamespace, ObservedObject, ObservedStore, Step,
};
use crate::reconcile::Planned;
use crate::report::{FieldChange, ObjectAction, ObjectChange};

/// How many fields of an object are listed.
const MOST_FIELDS: usize = 200;

/// What would be done to an object, as far as the caches tell.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) key: ObjectKey,
    pub(super) action: ObjectAction,
    /// Why it would be applied; none when it would not.
    pub(super) cause: Option<Cause>,
    pub(super) manifest: Option<Manifest>,
    pub(super) fields: Vec<FieldChange>,
    /// Whether its fields, or that there are none, are final: what the API server makes of it is not looked at.
    pub(super) is_settled: bool,
    pub(super) note: Option<String>,
}

impl Draft {
    pub(super) fn new(key: ObjectKey, action: ObjectAction) -> Self {
        Self { key, action, cause: None, manifest: None, fields: Vec::new(), is_settled: false, note: None }
    }

    /// Adds a sentence.
    pub(super) fn note(&mut self, words: impl Into<String>) {
        let words = words.into();
        self.note = Some(match self.note.take() {
            Some(before) => format!("{before}; {words}"),
            None => words,
        });
    }

    /// Takes over which fields would change.
    pub(super) fn differs(&mut self, curtain: &Curtain, differences: &[Difference<'_>]) {
        self.fields = differences.iter().take(MOST_FIELDS).map(|it| curtain.field(&self.key, it)).collect();
        if differences.len() > MOST_FIELDS {
            self.note(format!("and {} more fields", differences.len() - MOST_FIELDS));
        }
    }

    /// Returns what is shown of it.
    pub(super) fn shown(self, curtain: &Curtain) -> ObjectChange {
        let Self { key, action, fields, note, cause: _, manifest: _, is_settled: _ } = self;
        let note = note.map(|note| curtain.text(&note));
        ObjectChange { action, kind: key.kind.clone(), name: curtain.name(&key), fields, note }
    }
}

/// Drafts what a run would do, in its order, and after it.
pub(super) fn drafts(planned: &Planned, waves: &[Vec<Step>]) -> Vec<Draft> {
    let observed = &planned.observed;
    let mut drafts: Vec<_> = waves.iter().flatten().filter_map(|step| draft(step, observed)).collect();
    drafts.extend(later_jobs(planned, &drafts));
    drafts.extend(former_jobs(planned, &drafts));
    drafts
}

/// Jobs of the version before, which stay until this one is READY.
fn former_jobs(planned: &Planned, drafts: &[Draft]) -> Vec<Draft> {
    let is_wanted = |key: &ObjectKey, object: &ObservedObject| planned.has(key, object);
    let spared = plan::spared_jobs(is_wanted, &planned.observed);
    let spared = spared.filter(|key| !drafts.iter().any(|draft| draft.key == **key));
    let later = spared.map(|key| {
        let mut draft = Draft::new(key.clone(), ObjectAction::Remove);
        draft.note("when the rest runs");
        draft
    });
    later.collect()
}

fn draft(step: &Step, observed: &ObservedStore) -> Option<Draft> {
    let namespace = |spec: &NamespaceSpec| ObjectKey::new("", "Namespace", spec.name.as_str());
    Some(match step {
        Step::RecordIntent(_) => return None,
        Step::CreateNamespace(spec) => Draft::new(namespace(spec), ObjectAction::Add),
        Step::ApplyNamespace { spec, .. } => {
            let mut draft = Draft::new(namespace(spec), ObjectAction::Change);
            draft.fields = marks(spec, observed.namespace.as_ref()?);
            if draft.fields.is_empty() {
                return None;
            }
            draft
        }
        Step::Apply { manifest, cause } => {
            let is_there = matches!(cause, Cause::Changed | Cause::Drifted);
            let action = if is_there { ObjectAction::Change } else { ObjectAction::Add };
            let mut draft = Draft::new(manifest.key.clone(), action);
            match cause {
                Cause::Deleted => draft.note("somebody deleted it"),
                Cause::Drifted => draft.note("somebody else changed it, and it is put back"),
                Cause::New | Cause::Changed => {}
            }
            Draft { cause: Some(*cause), manifest: Some(manifest.clone()), ..draft }
        }
        Step::Prune { key, .. } => Draft::new(key.clone(), ObjectAction::Remove),
        Step::PruneLater { key } => {
            let mut draft = Draft::new(key.clone(), ObjectAction::Remove);
            draft.note("when the rest runs");
            draft
        }
        Step::Hook(hook) => {
            let mut draft = Draft::new(hook.manifest.key.clone(), ObjectAction::Add);
            let event = hook.event.as_str();
            draft.note(match hook.act {
                HookAct::Make | HookAct::Clear => format!("{event} hook"),
                HookAct::Await => format!("{event} hook, under way"),
                HookAct::Later => format!("{event} hook, when the rest runs"),
                HookAct::Stay => format!("{event} hook, which has failed"),
                HookAct::Obstructed => {
                    format!("{event} hook, which its own object of before stands in the way of")
                }
            });
            draft
        }
    })
}

/// Which labels and annotations of a namespace would change.
fn marks(spec: &NamespaceSpec, observed: &ObservedNamespace) -> Vec<FieldChange> {
    let (labels, mut annotations) = (observed.labels.clone(), observed.annotations.clone());
    // It comes and goes with the pause, which is told in words.
    annotations.remove(ANNOTATION_PAUSED_UNTIL);
    let before = serde_json::json!({ "metadata": { "labels": labels, "annotations": annotations } });
    let mut labels = labels;
    labels.extend(spec.labels.clone());
    for mark in spec.stale_marks(&observed.annotations) {
        annotations.remove(mark);
    }
    annotations.extend(spec.annotations.clone());
    let after = serde_json::json!({ "metadata": { "labels": labels, "annotations": annotations } });
    let key = ObjectKey::new("", "Namespace", spec.name.as_str());
    differences(&before, &after).iter().map(|it| Curtain::open().field(&key, it)).collect()
}

/// Jobs that no run begins yet, because one of an earlier version is at work.
fn later_jobs(planned: &Planned, drafts: &[Draft]) -> Vec<Draft> {
    let observed = &planned.observed;
    let is_wanted = |key: &ObjectKey, object: &ObservedObject| planned.has(key, object);
    let Some(before) = plan::unfinished_job(is_wanted, observed) else { return Vec::new() };
    let is_open = |manifest: &&Manifest| {
        let key = &manifest.key;
        key.kind == "Job"
            && !observed.objects.contains_key(key)
            && !drafts.iter().any(|draft| draft.key == *key)
    };
    let later = planned.manifests.iter().filter(is_open).map(|manifest| {
        let mut draft = Draft::new(manifest.key.clone(), ObjectAction::Add);
        draft.note(format!("when {before} has ended"));
        Draft { manifest: Some(manifest.clone()), ..draft }
    });
    later.collect()
}
