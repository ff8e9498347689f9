//! Hooks of a chart: what is done before and after its objects are applied, once for each version of the store, one after
//! the other.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::inventory::{Inventory, InventoryEntry, read_entry, write_entry};
use super::{ObservedObject, ObservedStore, Step};
use crate::chart::{HookDeletePolicy, HookEvent};
use crate::manifest::{Fingerprint, Manifest, ObjectKey};
use crate::report::Readiness;

/// Kinds that are waited for until they have ended well. A hook of any other kind is done when it is made.
const RUN_TO_THEIR_END: [&str; 2] = ["Job", "Pod"];

/// Holds data: a hook of this kind that is there already is used as it is, whatever its delete policy says.
const HOLDS_DATA: &str = "PersistentVolumeClaim";

/// What hooks of a store are run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// Nothing of the store was applied yet.
    Install,
    /// Git wants it otherwise than it was applied.
    Upgrade,
    /// What ran before comes back.
    Rollback,
}

impl Moment {
    /// Tells what a version is run for. A first version whose first hooks did not end well was never applied: the next one
    /// is the first.
    pub fn of(inventory: Option<&Inventory>, wish: &Fingerprint, goes_back: bool) -> Self {
        let Some(inventory) = inventory else { return Self::Install };
        match &inventory.hooks {
            Some(record) if record.wish == *wish => record.moment,
            Some(record) if record.moment == Self::Install && record.is_before() => Self::Install,
            _ if goes_back => Self::Rollback,
            _ => Self::Upgrade,
        }
    }

    /// Returns the events of a moment: before anything is applied, and when all of it has come up.
    pub fn events(self) -> [HookEvent; 2] {
        match self {
            Self::Install => [HookEvent::PreInstall, HookEvent::PostInstall],
            Self::Upgrade => [HookEvent::PreUpgrade, HookEvent::PostUpgrade],
            Self::Rollback => [HookEvent::PreRollback, HookEvent::PostRollback],
        }
    }
}

/// Whether hooks of an event come before the objects.
fn is_first(event: HookEvent) -> bool {
    matches!(event, HookEvent::PreInstall | HookEvent::PreUpgrade | HookEvent::PreRollback)
}

/// What marks an object as made by the hooks of one event for one version.
pub fn run_id(wish: &Fingerprint, event: HookEvent) -> Fingerprint {
    Fingerprint::of_bytes(format!("{wish} {}", event.as_str()).as_bytes())
}

/// The hooks of a rendering.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// The fingerprint of what git wants of the store and the chart: they run once for each.
    pub wish: Fingerprint,
    /// What they are run for.
    pub moment: Moment,
    /// Those that run, in their order.
    pub runs: Vec<HookRun>,
    /// Objects of other hooks of the chart: what an earlier moment left of them is not pruned.
    pub others: Vec<InventoryEntry>,
}

/// A hook that runs.
#[derive(Debug, Clone)]
pub struct HookRun {
    /// When.
    pub event: HookEvent,
    /// What is made, marked with its [`run_id`].
    pub manifest: Manifest,
    /// When it is deleted again.
    pub delete_policies: Vec<HookDeletePolicy>,
}

/// What a store's inventory says of its hooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRecord {
    /// What they run for, as [`Hooks::wish`].
    pub wish: Fingerprint,
    /// What they are run for.
    pub moment: Moment,
    /// How far each is, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<HookLine>,
    /// What other hooks left.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "lines")]
    pub others: Vec<InventoryEntry>,
    /// Why one did not end well, once its object is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far one hook is: a line of event, state, API version, kind, name and two dashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HookLine {
    /// When it runs.
    pub event: HookEvent,
    /// How far it is.
    pub state: HookState,
    /// Its object, without claims.
    pub entry: InventoryEntry,
}

/// How far a hook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookState {
    /// Not begun, or at work.
    Todo,
    /// It ended well.
    Done,
    /// It failed. Whoever deletes its object has it run again.
    Failed,
    /// It failed and its delete policy took it away: it runs again for another version.
    Cleared,
}

impl HookState {
    const WORDS: [(Self, &str); 4] =
        [(Self::Todo, "todo"), (Self::Done, "done"), (Self::Failed, "failed"), (Self::Cleared, "cleared")];
}

impl From<HookLine> for String {
    fn from(line: HookLine) -> Self {
        let word =
            HookState::WORDS.iter().find(|(state, _)| *state == line.state).map_or("", |(_, word)| word);
        format!("{} {word} {}", line.event.as_str(), write_entry(&line.entry))
    }
}

impl TryFrom<String> for HookLine {
    type Error = String;

    fn try_from(line: String) -> Result<Self, String> {
        let read = || {
            let (event, rest) = line.split_once(' ')?;
            let (word, entry) = rest.split_once(' ')?;
            let state = HookState::WORDS.iter().find(|(_, known)| *known == word).map(|(state, _)| *state);
            Some(Self { event: HookEvent::parse(event)?, state: state?, entry: read_entry(entry)? })
        };
        read().ok_or_else(|| format!("`{line}` is no hook of an inventory"))
    }
}

/// Entries as lines.
mod lines {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{InventoryEntry, read_entry, write_entry};

    pub(super) fn serialize<S: Serializer>(
        entries: &[InventoryEntry],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(entries.iter().map(write_entry))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<InventoryEntry>, D::Error> {
        let lines = Vec::<String>::deserialize(deserializer)?;
        let read = |line: String| {
            read_entry(&line)
                .ok_or_else(|| D::Error::custom(format!("`{line}` is no object of an inventory")))
        };
        lines.into_iter().map(read).collect()
    }
}

impl HookRecord {
    /// Returns the first hook that is not done.
    pub fn pending(&self) -> Option<&HookLine> {
        self.runs.iter().find(|line| line.state != HookState::Done)
    }

    /// Whether hooks that come before the objects are not done.
    pub fn is_before(&self) -> bool {
        self.pending().is_some_and(|line| is_first(line.event))
    }

    /// Whether an object was made by these hooks.
    pub fn made(&self, object: &ObservedObject) -> bool {
        let is_run = |event| object.hook_run.as_deref() == Some(&run_id(&self.wish, event));
        self.moment.events().into_iter().any(is_run)
    }

    /// Returns a hook that did work which nothing takes back.
    pub fn has_worked(&self) -> Option<&ObjectKey> {
        let done = self.runs.iter().filter(|line| line.state == HookState::Done);
        done.map(|line| &line.entry.key).find(|key| RUN_TO_THEIR_END.contains(&&*key.kind))
    }

    /// Returns the objects of all hooks.
    pub fn entries(&self) -> impl Iterator<Item = &InventoryEntry> {
        self.runs.iter().map(|line| &line.entry).chain(&self.others)
    }

    /// Whether a run would move a hook on that comes after the objects, when these have come up.
    pub(super) fn is_due(&self, observed: &ObservedStore) -> bool {
        let is_there =
            |line: &HookLine| observed.objects.get(&line.entry.key).is_some_and(|object| self.made(object));
        self.pending().is_some_and(|line| match line.state {
            HookState::Todo => true,
            HookState::Failed => !is_there(line),
            HookState::Done | HookState::Cleared => false,
        })
    }
}

/// What a run does about a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookAct {
    /// Makes its object.
    Make,
    /// Deletes the object of an earlier run; the next run makes the new one.
    Clear,
    /// Waits for its end, or for what has to end before it begins.
    Await,
    /// Nothing: it has failed.
    Stay,
    /// Fails: its object is there from before, and its delete policy says that it stays.
    Obstructed,
    /// Waits until what is applied has come up.
    Later,
}

/// A hook in a plan.
#[derive(Debug, Clone)]
pub struct HookStep {
    /// When it runs.
    pub event: HookEvent,
    /// Its object.
    pub manifest: Manifest,
    /// What is done about it.
    pub act: HookAct,
}

impl HookStep {
    /// Whether what comes after it waits for its end.
    pub fn is_waited_for(&self) -> bool {
        runs_to_its_end(&self.manifest.key)
    }
}

impl fmt::Display for HookStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, manifest, act } = self;
        let words = match act {
            HookAct::Make => "",
            HookAct::Clear => ", once the one of before is gone",
            HookAct::Await => ", waited for",
            HookAct::Stay => ", failed",
            HookAct::Obstructed => ", in the way of itself",
            HookAct::Later => ", when the rest runs",
        };
        write!(f, "> {} ({} hook{words})", manifest.key, event.as_str())
    }
}

fn runs_to_its_end(key: &ObjectKey) -> bool {
    RUN_TO_THEIR_END.contains(&&*key.kind)
}

/// What is to be done about hooks.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How far they are, as far as the cluster shows.
    pub(super) record: Option<HookRecord>,
    /// Before anything is applied, in waves.
    pub(super) before: Vec<Vec<Step>>,
    /// After it.
    pub(super) after: Vec<Vec<Step>>,
}

/// Decides about the hooks of a store; `has_come_up` says whether all that is rendered runs, `is_busy` whether a Job of an
/// earlier version is still at work.
pub(super) fn progress(
    hooks: &Hooks,
    observed: &ObservedStore,
    has_come_up: bool,
    is_busy: bool,
) -> Progress {
    let inventory = observed.inventory.as_deref();
    let old = inventory.and_then(|inventory| inventory.hooks.as_deref());
    let old = old.filter(|old| old.wish == hooks.wish && old.moment == hooks.moment);
    let mut record = HookRecord {
        wish: hooks.wish,
        moment: hooks.moment,
        runs: Vec::new(),
        others: others(hooks, observed),
        reason: None,
    };
    let [mut before, mut after] = [Vec::new(), Vec::new()];
    for event in hooks.moment.events() {
        let waits = !is_first(event) && (!has_come_up || record.is_before());
        let phase = Phase { hooks, event, observed, old, is_busy, waits };
        let steps = phase.advance(&mut record);
        *(if is_first(event) { &mut before } else { &mut after }) = steps;
    }
    let has_any = !hooks.runs.is_empty() || !hooks.others.is_empty();
    Progress { record: has_any.then_some(record), before, after }
}

/// What other hooks of the chart have left in the namespace.
fn others(hooks: &Hooks, observed: &ObservedStore) -> Vec<InventoryEntry> {
    let runs = |key: &ObjectKey| hooks.runs.iter().any(|run| run.manifest.key == *key);
    let is_left = |entry: &&InventoryEntry| {
        !runs(&entry.key) && observed.objects.get(&entry.key).is_some_and(|object| object.hook_run.is_some())
    };
    hooks.others.iter().filter(is_left).cloned().collect()
}

/// The hooks of one event.
struct Phase<'a> {
    hooks: &'a Hooks,
    event: HookEvent,
    observed: &'a ObservedStore,
    old: Option<&'a HookRecord>,
    is_busy: bool,
    waits: bool,
}

impl Phase<'_> {
    /// Writes down how far the hooks are, and returns what to do.
    fn advance(&self, record: &mut HookRecord) -> Vec<Vec<Step>> {
        let runs = || self.hooks.runs.iter().filter(|run| run.event == self.event);
        let states: Vec<_> = runs().map(|run| self.state(run)).collect();
        for (run, state) in runs().zip(&states) {
            let (key, version) = (run.manifest.key.clone(), run.manifest.resource.version.as_str().into());
            let entry = InventoryEntry { key, version, manifest: None, fields: None };
            record.runs.push(HookLine { event: self.event, state: *state, entry });
            if *state == HookState::Cleared {
                record.reason = self.reason(run);
            }
        }
        let Some(first) = states.iter().position(|state| *state != HookState::Done) else {
            return self.cleared(runs(), HookDeletePolicy::HookSucceeded);
        };
        let mut waves = Vec::new();
        if matches!(states[first], HookState::Failed | HookState::Cleared) {
            waves.extend(self.cleared(runs().skip(first).take(1), HookDeletePolicy::HookFailed));
            waves.extend(self.cleared(runs().take(first), HookDeletePolicy::HookSucceeded));
        }
        waves.extend(runs().skip(first).zip(&states[first..]).map(|(run, state)| {
            let (event, manifest, act) = (self.event, run.manifest.clone(), self.act(run, *state));
            vec![Step::Hook(HookStep { event, manifest, act })]
        }));
        waves
    }

    /// Returns an object of this run.
    fn made(&self, run: &HookRun) -> Option<&ObservedObject> {
        let object = self.observed.objects.get(&run.manifest.key)?;
        (object.hook_run.as_deref() == Some(&run_id(&self.hooks.wish, self.event))).then_some(object)
    }

    fn state(&self, run: &HookRun) -> HookState {
        let key = &run.manifest.key;
        let is_line = |line: &&HookLine| line.event == self.event && line.entry.key == *key;
        let old = self.old.and_then(|old| old.runs.iter().find(is_line)).map(|line| line.state);
        let clears = run.delete_policies.contains(&HookDeletePolicy::HookFailed);
        match (old, self.made(run)) {
            (Some(settled @ (HookState::Done | HookState::Cleared)), _) => settled,
            (_, Some(object)) if object.deleting => HookState::Todo,
            (_, Some(object)) if runs_to_its_end(key) => match object.readiness() {
                Some(Readiness::Current) => HookState::Done,
                Some(Readiness::Failed(_)) if clears => HookState::Cleared,
                Some(Readiness::Failed(_)) => HookState::Failed,
                Some(Readiness::Progressing(_)) | None => HookState::Todo,
            },
            (_, Some(_)) => HookState::Done,
            (_, None) if self.is_kept(key) => HookState::Done,
            (_, None) => HookState::Todo,
        }
    }

    /// Whether what is there already is used as it is: a volume holds data, and a Secret that a first version made may be
    /// what a database was made with.
    fn is_kept(&self, key: &ObjectKey) -> bool {
        let is_secret = key.kind == "Secret" && self.hooks.moment == Moment::Install;
        let object = self.observed.objects.get(key).filter(|_| key.kind == HOLDS_DATA || is_secret);
        object.is_some_and(|object| !object.deleting)
    }

    fn act(&self, run: &HookRun, state: HookState) -> HookAct {
        if matches!(state, HookState::Failed | HookState::Cleared) {
            return HookAct::Stay;
        }
        if self.waits {
            return HookAct::Later;
        }
        let key = &run.manifest.key;
        let Some(object) = self.observed.objects.get(key) else {
            let is_early = self.is_busy && runs_to_its_end(key);
            return if is_early { HookAct::Await } else { HookAct::Make };
        };
        if object.deleting || self.made(run).is_some() {
            return HookAct::Await;
        }
        let may = run.delete_policies.contains(&HookDeletePolicy::BeforeHookCreation);
        if may { HookAct::Clear } else { HookAct::Obstructed }
    }

    /// Deletes what hooks of this run have made and their policy takes away, the last one first.
    fn cleared<'a>(
        &self,
        runs: impl Iterator<Item = &'a HookRun>,
        policy: HookDeletePolicy,
    ) -> Vec<Vec<Step>> {
        let goes =
            runs.filter(|run| run.delete_policies.contains(&policy) && run.manifest.key.kind != HOLDS_DATA);
        let mut steps: Vec<_> = goes
            .filter_map(|run| Some((run, self.made(run)?)))
            .filter(|(_, object)| !object.deleting)
            .map(|(run, object)| Step::Prune {
                key: run.manifest.key.clone(),
                uid: object.uid.clone(),
                version: None,
            })
            .collect();
        steps.reverse();
        Some(steps).filter(|steps| !steps.is_empty()).into_iter().collect()
    }

    /// Says why a hook failed whose object goes.
    fn reason(&self, run: &HookRun) -> Option<String> {
        match self.made(run).and_then(ObservedObject::readiness) {
            Some(Readiness::Failed(reason)) => Some(reason.clone()),
            _ => self.old.and_then(|old| old.reason.clone()),
        }
    }
}

impl Hooks {
    /// Whether an object that is there is one of these hooks', whichever run made it.
    pub(super) fn has(&self, key: &ObjectKey) -> bool {
        let runs = self.runs.iter().map(|run| &run.manifest.key);
        runs.chain(self.others.iter().map(|entry| &entry.key)).any(|own| own == key)
    }

    /// Whether an object was made by these hooks for this version.
    pub fn made(&self, key: &ObjectKey, object: &ObservedObject) -> bool {
        let is_run = |event| object.hook_run.as_deref() == Some(&run_id(&self.wish, event));
        self.has(key) && self.moment.events().into_iter().any(is_run)
    }
}

/// Says in an inventory that these hooks are done.
pub(super) fn mark(record: Option<HookRecord>, done: &[(HookEvent, ObjectKey)]) -> Option<Box<HookRecord>> {
    let mut record = record?;
    for line in &mut record.runs {
        if done.iter().any(|(event, key)| *event == line.event && *key == line.entry.key) {
            line.state = HookState::Done;
        }
    }
    Some(Box::new(record))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::manifest::{Resource, Uid};
    use crate::report::{Step as Stage, Workload};

    const BOTH: [HookDeletePolicy; 2] =
        [HookDeletePolicy::BeforeHookCreation, HookDeletePolicy::HookSucceeded];

    fn wish(text: &str) -> Fingerprint {
        Fingerprint::of_bytes(text.as_bytes())
    }

    fn run(event: HookEvent, kind: &str, name: &str, delete_policies: &[HookDeletePolicy]) -> HookRun {
        let body = json!({"kind": kind, "metadata": {"name": name}});
        let (group, version, plural) = (String::new(), "v1".to_owned(), String::new());
        let resource = Resource { group, version, kind: kind.to_owned(), plural, namespaced: true };
        let fingerprint = Fingerprint::of(&body);
        let manifest =
            Manifest { key: ObjectKey::new("", kind, name), resource, body: Arc::new(body), fingerprint };
        HookRun { event, manifest, delete_policies: delete_policies.to_vec() }
    }

    fn upgrade(version: &str, runs: &[HookRun]) -> Hooks {
        Hooks { wish: wish(version), moment: Moment::Upgrade, runs: runs.to_vec(), others: Vec::new() }
    }

    /// Puts an object of this run into the namespace.
    fn put(observed: &mut ObservedStore, hooks: &Hooks, run: &HookRun, readiness: Option<Readiness>) {
        let workload =
            readiness.map(|readiness| Box::new(Workload { step: Stage::Migration, readiness, made: None }));
        let object = ObservedObject {
            uid: Uid::new("u"),
            version: 1,
            owned_fields: Some(wish("fields")),
            unexplained: false,
            others_time: 0,
            other_writer: None,
            deleting: false,
            keep: false,
            workload,
            hook_run: Some(Box::new(run_id(&hooks.wish, run.event))),
        };
        Arc::make_mut(&mut observed.objects).insert(run.manifest.key.clone(), object);
    }

    fn record(observed: &mut ObservedStore, progress: &Progress) {
        let hooks = progress.record.clone().map(Box::new);
        observed.inventory = Some(Arc::new(Inventory { hooks, ..Inventory::default() }));
    }

    fn lines(waves: &[Vec<Step>]) -> Vec<String> {
        waves.iter().flatten().map(ToString::to_string).collect()
    }

    #[test]
    fn hooks_run_one_after_the_other_and_those_of_afterwards_when_the_rest_runs() {
        let runs = [
            run(HookEvent::PreUpgrade, "ConfigMap", "settings", &BOTH),
            run(HookEvent::PreUpgrade, "Job", "migrate", &BOTH[..1]),
            run(HookEvent::PostUpgrade, "Job", "tell", &BOTH[..1]),
        ];
        let hooks = upgrade("2", &runs);
        let mut observed = ObservedStore::default();
        let first = progress(&hooks, &observed, true, false);
        let expected = ["> ConfigMap/settings (pre-upgrade hook)", "> Job/migrate (pre-upgrade hook)"];
        assert_eq!(lines(&first.before), expected);
        assert_eq!(lines(&first.after), ["> Job/tell (post-upgrade hook, when the rest runs)"]);

        put(&mut observed, &hooks, &runs[0], None);
        put(&mut observed, &hooks, &runs[1], Some(Readiness::Progressing("at work".to_owned())));
        let at_work = progress(&hooks, &observed, true, false);
        assert_eq!(lines(&at_work.before), ["> Job/migrate (pre-upgrade hook, waited for)"]);

        put(&mut observed, &hooks, &runs[1], Some(Readiness::Current));
        let done = progress(&hooks, &observed, false, false);
        assert_eq!(
            lines(&done.before),
            ["- ConfigMap/settings"],
            "its policy takes it away once all have ended"
        );
        assert_eq!(lines(&done.after), ["> Job/tell (post-upgrade hook, when the rest runs)"]);

        // What is recorded is not done again, whatever became of its object.
        record(&mut observed, &done);
        observed.objects = Arc::default();
        let settled = progress(&hooks, &observed, true, false);
        assert!(settled.before.is_empty());
        assert_eq!(lines(&settled.after), ["> Job/tell (post-upgrade hook)"]);
        assert!(!settled.record.unwrap().is_before());
    }

    #[test]
    fn another_version_runs_them_again_and_clears_what_the_last_one_left_if_it_may() {
        let runs = |policies: &[HookDeletePolicy]| [run(HookEvent::PreUpgrade, "Job", "migrate", policies)];
        let (one, two) = (upgrade("1", &runs(&BOTH[..1])), upgrade("2", &runs(&BOTH[..1])));
        let mut observed = ObservedStore::default();
        put(&mut observed, &one, &one.runs[0], Some(Readiness::Current));
        let done = progress(&one, &observed, true, false);
        record(&mut observed, &done);
        assert!(progress(&one, &observed, true, false).before.is_empty());
        let next = progress(&two, &observed, true, false);
        assert_eq!(lines(&next.before), ["> Job/migrate (pre-upgrade hook, once the one of before is gone)"]);
        let kept = progress(&upgrade("2", &runs(&[])), &observed, true, false);
        assert_eq!(lines(&kept.before), ["> Job/migrate (pre-upgrade hook, in the way of itself)"]);
    }

    #[test]
    fn a_hook_that_failed_holds_the_rest_until_somebody_deletes_it_or_git_says_something_else() {
        let failed = || Some(Readiness::Failed("it broke".to_owned()));
        let runs = [
            run(HookEvent::PreUpgrade, "Job", "one", &BOTH[..1]),
            run(HookEvent::PreUpgrade, "Job", "two", &BOTH[..1]),
        ];
        let hooks = upgrade("2", &runs);
        let mut observed = ObservedStore::default();
        put(&mut observed, &hooks, &runs[0], failed());
        let stuck = progress(&hooks, &observed, true, false);
        assert_eq!(lines(&stuck.before)[0], "> Job/one (pre-upgrade hook, failed)");
        record(&mut observed, &stuck);
        observed.objects = Arc::default();
        assert_eq!(
            lines(&progress(&hooks, &observed, true, false).before)[0],
            "> Job/one (pre-upgrade hook)"
        );
    }

    #[test]
    fn a_hook_that_failed_and_goes_by_its_policy_does_not_run_again() {
        let runs = [run(HookEvent::PreUpgrade, "Job", "one", &[HookDeletePolicy::HookFailed])];
        let hooks = upgrade("2", &runs);
        let mut observed = ObservedStore::default();
        put(&mut observed, &hooks, &runs[0], Some(Readiness::Failed("it broke".to_owned())));
        let stuck = progress(&hooks, &observed, true, false);
        assert_eq!(lines(&stuck.before), ["- Job/one", "> Job/one (pre-upgrade hook, failed)"]);
        record(&mut observed, &stuck);
        observed.objects = Arc::default();
        let gone = progress(&hooks, &observed, true, false);
        assert_eq!(lines(&gone.before), ["> Job/one (pre-upgrade hook, failed)"]);
        assert_eq!(gone.record.unwrap().reason.as_deref(), Some("it broke"));
    }

    #[test]
    fn what_holds_data_is_used_as_it_is() {
        let runs = [run(HookEvent::PreInstall, "Secret", "password", &BOTH[..1])];
        let install = Hooks { moment: Moment::Install, ..upgrade("2", &runs) };
        let mut observed = ObservedStore::default();
        put(&mut observed, &Hooks { wish: wish("1"), ..install.clone() }, &runs[0], None);
        assert!(progress(&install, &observed, true, false).before.is_empty());
        let volume = [run(HookEvent::PreUpgrade, "PersistentVolumeClaim", "data", &BOTH)];
        let later = upgrade("2", &volume);
        put(&mut observed, &upgrade("1", &volume), &volume[0], None);
        assert!(progress(&later, &observed, true, false).before.is_empty());
    }

    #[test]
    fn a_version_is_the_first_one_until_its_first_hooks_have_ended_well() {
        let moment =
            |inventory: Option<&Inventory>, version: &str| Moment::of(inventory, &wish(version), false);
        assert_eq!(moment(None, "1"), Moment::Install);
        let runs = [run(HookEvent::PreInstall, "Job", "one", &BOTH[..1])];
        let install = Hooks { moment: Moment::Install, ..upgrade("1", &runs) };
        let mut observed = ObservedStore::default();
        let begun = progress(&install, &observed, false, false);
        record(&mut observed, &begun);
        let inventory = observed.inventory.clone();
        assert_eq!(moment(inventory.as_deref(), "2"), Moment::Install);
        put(&mut observed, &install, &runs[0], Some(Readiness::Current));
        let done = progress(&install, &observed, false, false);
        record(&mut observed, &done);
        let inventory = observed.inventory.as_deref();
        assert_eq!((moment(inventory, "1"), moment(inventory, "2")), (Moment::Install, Moment::Upgrade));
        assert_eq!(Moment::of(inventory, &wish("2"), true), Moment::Rollback);
    }

    #[test]
    fn a_record_survives_the_way_through_its_text() {
        let runs = [
            run(HookEvent::PreUpgrade, "Job", "one", &BOTH),
            run(HookEvent::PostUpgrade, "ConfigMap", "two", &[]),
        ];
        let record = progress(&upgrade("2", &runs), &ObservedStore::default(), false, false).record.unwrap();
        let text = serde_json::to_string(&record).unwrap();
        assert!(
            text.contains(r#""pre-upgrade todo v1 Job one - -","post-upgrade todo v1 ConfigMap two - -""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<HookRecord>(&text).unwrap(), record);
        let other = text.replace("todo", "soon");
        assert!(serde_json::from_str::<HookRecord>(&other).unwrap_err().to_string().contains("no hook of"));
    }
}
