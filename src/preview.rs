//! What the daemon would do if it ran now with these files: the plan of a change, by the daemon's own functions, without
//! acting.
//!
//! - `changes`: which stores a change touches
//! - `one`: what would become of one of them: `drafts` of its steps, `tries` on the API server, `fields` that differ,
//!   and what to know before it is merged (`warnings`)
//! - `charts`: which of them are not trusted with Secrets
//! - `curtain`: what nobody may read; `strangers`: plans for whom no Secret is used
//! - `holds`: pauses and change windows
//! - `removals`: what would become of stores without a file

mod changes;
mod charts;
mod curtain;
mod drafts;
mod fields;
mod holds;
mod one;
mod removals;
mod strangers;
mod tries;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt};

use crate::names::StoreId;
use crate::plan::{Gone, Recent};
use crate::reconcile::Context;
use crate::report::{
    FieldChange, PlanProblem, PlanReport, PlanVerdict, StoreAction, StorePlanReport, Truncated,
};
use crate::store::{Freeze, Problem, Snapshot, Store};

use tokio::sync::OnceCell;

use changes::{Changes, StoreChange};
use one::PlannedStore;

/// How many stores of a plan are tried on the API server and listed.
const MOST_STORES: usize = 500;

/// How many objects of a plan are listed.
const MOST_OBJECTS: usize = 10_000;

/// How many stores are planned at once: what runs goes first.
const STORES_AT_ONCE: usize = 4;

/// How many bytes of fields a plan lists; of objects beyond that only what would be done is.
const MOST_BYTES: usize = 4 << 20;

/// What a plan is made with besides the cluster and the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// Whether Secrets may be used: the chart's look-ups are answered, and what they hold is masked. Without that nothing
    /// of the plan comes from a Secret, and what can't be compared for that reason is said.
    pub lookups: bool,
    /// Whether the API server is asked what would change, by dry runs.
    pub fields: bool,
    /// The time in seconds since 1970.
    pub now: i64,
    /// Which stores were deleted lately.
    pub recent: Recent,
    /// What was refused a moment ago and may not be marked yet.
    pub refused_before: BTreeSet<StoreId>,
    /// What the newest file of a store said of its protection, where this process has seen one.
    pub protection: BTreeMap<StoreId, bool>,
    /// Since when stores have no file, where this process knows it.
    pub gone: BTreeMap<StoreId, Gone>,
}

impl Outlook {
    /// Makes the outlook of a process that has seen nothing else yet, with Secrets and dry runs.
    pub fn new(now: i64) -> Self {
        Self {
            lookups: true,
            fields: true,
            now,
            recent: Recent::default(),
            refused_before: BTreeSet::new(),
            protection: BTreeMap::new(),
            gone: BTreeMap::new(),
        }
    }
}

/// A plan being made.
struct Plan<'a> {
    context: &'a Context,
    base: Option<&'a Snapshot>,
    proposed: &'a Snapshot,
    outlook: &'a Outlook,
    /// Charts by name with which no Secret is used.
    untrusted: BTreeSet<String>,
    /// `StorageClasses` that keep volumes, once they are asked for.
    retaining: OnceCell<BTreeSet<String>>,
}

impl Plan<'_> {
    /// Whether a store may be rendered with what its Secrets hold.
    fn reads_secrets(&self, store: &Store) -> bool {
        self.outlook.lookups && !self.untrusted.contains(&store.chart.name)
    }
}

/// Plans what would happen if `proposed` came into force. Only stores that differ from `base`, which is in force, are
/// planned; without a base every store is.
///
/// The report's `base` and `head` are the commits of the two snapshots. Where `proposed` is a merge, its caller sets `head`
/// to the commit that is proposed, and branch and pull request.
pub async fn proposal(
    context: &Context,
    base: Option<&Snapshot>,
    proposed: &Snapshot,
    outlook: &Outlook,
) -> PlanReport {
    let mut report = empty(outlook.now);
    let changes = Changes::between(base, proposed);
    let untrusted = if outlook.lookups {
        charts::untrusted(context, base, &changes.planned).await
    } else {
        BTreeMap::new()
    };
    report.warnings.extend(untrusted.values().map(|reason| format!("{reason}: planned without Secrets")));
    let untrusted = untrusted.into_keys().collect();
    let plan = Plan { context, base, proposed, outlook, untrusted, retaining: OnceCell::new() };
    let commit = |snapshot: &Snapshot| {
        Some(&snapshot.revision).filter(|it| !it.is_working_tree()).map(ToString::to_string)
    };
    report.base = base.and_then(commit);
    report.head = commit(proposed);
    report.problems = changes.problems.iter().map(problem).collect();
    report.warnings.extend(changes.warnings);
    report.warnings.extend(holds::of_fleet(base, proposed, outlook.now));
    report.unchanged = changes.unchanged;
    let (tried, rest) = changes.planned.split_at(changes.planned.len().min(MOST_STORES));
    for planned in plan_all(&plan, tried).await {
        match planned {
            PlannedStore::Stays => report.unchanged += 1,
            PlannedStore::Changes(store) | PlannedStore::Fails(store) => report.stores.push(store),
        }
    }
    // The rest is rendered all the same: what can't be planned makes the plan wrong, however many there are.
    let quick = Outlook { lookups: false, fields: false, ..outlook.clone() };
    let untrusted = BTreeSet::new();
    let quick =
        Plan { context, base: None, proposed, outlook: &quick, untrusted, retaining: OnceCell::new() };
    let unseen: Vec<_> = rest.iter().map(|change| StoreChange { before: None, ..*change }).collect();
    for planned in plan_all(&quick, &unseen).await {
        match planned {
            PlannedStore::Stays => report.unchanged += 1,
            PlannedStore::Changes(_) => report.truncated.stores += 1,
            PlannedStore::Fails(store) => report.stores.push(store),
        }
    }
    let removals = removals::plan(&plan).await;
    report.blocked = removals.blocked;
    report.stores.extend(removals.stores);
    changes::warn_of_renames(&mut report.stores);
    finish(report)
}

async fn plan_all(plan: &Plan<'_>, changes: &[StoreChange<'_>]) -> Vec<PlannedStore> {
    // Boxed: the compiler does not see otherwise that all of it may go from thread to thread.
    let plans: Vec<_> = changes.iter().map(|change| one::plan(plan, change).boxed()).collect();
    futures::stream::iter(plans).buffered(STORES_AT_ONCE).collect().await
}

/// Makes the plan of a commit that can't be used as a whole.
pub fn unusable(freeze: &Freeze, now: i64) -> PlanReport {
    let mut report = empty(now);
    report.problems = freeze.problems().iter().map(problem).collect();
    if report.problems.is_empty() {
        let message = freeze.to_string();
        report.problems.push(PlanProblem { path: String::new(), line: None, column: None, message });
    }
    finish(report)
}

/// Makes the plan of a pull request that can't be merged, because both sides changed these paths.
pub fn conflicting(paths: &[String], now: i64) -> PlanReport {
    let mut report = empty(now);
    let message = "it can't be merged: both sides changed it; bring the branch up to date".to_owned();
    let problem = |path: &String| PlanProblem {
        path: path.clone(),
        line: None,
        column: None,
        message: message.clone(),
    };
    report.problems = paths.iter().map(problem).collect();
    finish(report)
}

fn empty(now: i64) -> PlanReport {
    PlanReport {
        verdict: PlanVerdict::Nothing,
        base: None,
        branch: None,
        head: None,
        pull: None,
        made: now,
        stores: Vec::new(),
        problems: Vec::new(),
        blocked: Vec::new(),
        warnings: Vec::new(),
        truncated: Truncated::default(),
        unchanged: 0,
    }
}

/// Judges what is collected, puts it in order, and leaves out what nobody would read.
fn finish(mut report: PlanReport) -> PlanReport {
    report.stores.sort_by(|one, other| one.store.cmp(&other.store));
    report.verdict = verdict(&report);
    let (mut room, mut bytes) = (MOST_OBJECTS, MOST_BYTES);
    for store in &mut report.stores {
        let kept = store.objects.len().min(room);
        report.truncated.objects += store.objects.len() - kept;
        store.objects.truncate(kept);
        room -= kept;
        for object in &mut store.objects {
            let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            let size = |it: &FieldChange| it.path.len() + length(&it.before) + length(&it.after);
            let taken: usize = object.fields.iter().map(size).sum();
            if taken > bytes {
                let words =
                    format!("{} fields, which are left out: the plan is too large", object.fields.len());
                object.fields.clear();
                object.note =
                    Some(object.note.take().map_or(words.clone(), |note| format!("{note}; {words}")));
            } else {
                bytes -= taken;
            }
        }
    }
    report
}

fn verdict(report: &PlanReport) -> PlanVerdict {
    let any = |such: fn(&StorePlanReport) -> bool| report.stores.iter().any(such);
    if !report.problems.is_empty() || any(|store| store.action == StoreAction::Wrong) {
        PlanVerdict::Wrong
    } else if !report.blocked.is_empty() || any(|store| store.action == StoreAction::Keep) {
        PlanVerdict::Blocked
    } else if !report.stores.is_empty() || report.truncated.stores > 0 {
        PlanVerdict::Changes
    } else {
        PlanVerdict::Nothing
    }
}

fn problem(problem: &Problem) -> PlanProblem {
    let Problem { file, line, column, message, snippet: _ } = problem.clone();
    PlanProblem { path: file, line, column, message }
}

/// Whether a store's file says something else than before, as far as that changes anything.
fn differs(change: &StoreChange<'_>) -> bool {
    let StoreChange { before, store } = change;
    before.is_none_or(|before| {
        let said =
            |it: &crate::store::Store| (it.digest().to_owned(), it.protect, it.rollback, it.pause.clone());
        !std::sync::Arc::ptr_eq(before, store) && said(before) != said(store)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ObjectAction, ObjectChange};

    fn store(objects: usize, text: usize) -> StorePlanReport {
        let field = FieldChange { path: "a".to_owned(), before: None, after: Some("x".repeat(text)) };
        let object = ObjectChange {
            action: ObjectAction::Change,
            kind: "ConfigMap".to_owned(),
            name: "a".to_owned(),
            fields: vec![field],
            note: Some("known".to_owned()),
        };
        StorePlanReport {
            store: "acme".to_owned(),
            display_name: None,
            action: StoreAction::Change,
            host: None,
            objects: vec![object; objects],
            lost: Vec::new(),
            warnings: Vec::new(),
            trouble: None,
            when: None,
        }
    }

    #[test]
    fn a_plan_lists_so_many_objects_and_bytes_and_says_what_it_leaves_out() {
        let plan = finish(PlanReport { stores: vec![store(6000, 1), store(6000, 1)], ..empty(0) });
        assert_eq!(plan.truncated, Truncated { stores: 0, objects: 2000 });
        assert_eq!(plan.stores[1].objects.len(), 4000);
        let plan = finish(PlanReport { stores: vec![store(3, MOST_BYTES / 2 - 9)], ..empty(0) });
        let fields: Vec<_> = plan.stores[0].objects.iter().map(|it| it.fields.len()).collect();
        assert_eq!(fields, [1, 1, 0]);
        let note = plan.stores[0].objects[2].note.as_deref();
        assert_eq!(note, Some("known; 1 fields, which are left out: the plan is too large"));
    }

    #[test]
    fn the_worst_decides() {
        let of = |action| StorePlanReport { action, ..store(0, 0) };
        let verdict = |stores: &[StoreAction], blocked: &[&str]| {
            let stores = stores.iter().map(|action| of(*action)).collect();
            let blocked = blocked.iter().map(ToString::to_string).collect();
            finish(PlanReport { stores, blocked, ..empty(0) }).verdict
        };
        assert_eq!(verdict(&[], &[]), PlanVerdict::Nothing);
        assert_eq!(verdict(&[StoreAction::Remove], &[]), PlanVerdict::Changes);
        assert_eq!(verdict(&[StoreAction::Remove, StoreAction::Keep], &["no"]), PlanVerdict::Blocked);
        assert_eq!(verdict(&[StoreAction::Wrong, StoreAction::Keep], &["no"]), PlanVerdict::Wrong);
        let more = Truncated { stores: 1, objects: 0 };
        assert_eq!(finish(PlanReport { truncated: more, ..empty(0) }).verdict, PlanVerdict::Changes);
    }

    #[test]
    fn a_commit_that_cant_be_used_is_wrong_and_says_why() {
        let plan = unusable(&Freeze::EmptyTree, 7);
        assert_eq!((plan.verdict, plan.made), (PlanVerdict::Wrong, 7));
        assert!(plan.summary().starts_with("wrong: the commit holds neither"), "{}", plan.summary());
        assert!(plan.annotations().is_empty());
    }
}
