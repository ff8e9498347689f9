//! Which whole stores may be removed: those that no file names any more, held against what protects them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{ObservedNamespace, Ownership, moment};
use crate::manifest::Owner;
use crate::names::{SourceId, StoreId};
use crate::store::{DeletionBudget, Fleet};

/// What becomes of a store that no file names. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its namespace is being deleted already.
    Going,
    /// It is deleted at this time, unless its file comes back before.
    Grace {
        /// Since when no file names it.
        since: i64,
        /// When the grace period is over.
        until: i64,
    },
    /// It may be deleted now.
    Due {
        /// Since when no file names it.
        since: i64,
        /// Whether the fleet file approves it by name.
        approved: bool,
    },
    /// Over the budget: kept until it is approved by name.
    Refused {
        /// Since when no file names it.
        since: i64,
    },
    /// Its last file said that it must not be deleted: kept, approved or not.
    Protected,
}

/// Since when no file names a store, as a process knows it that has seen files come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// Since when, in seconds since 1970.
    pub since: i64,
    /// How many seconds have passed since then, by a clock that never jumps.
    pub waited: i64,
}

/// What is remembered of removals beyond what the cluster shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recent {
    /// Stores that were deleted without an approval, newest last.
    pub removed: Vec<Removed>,
    /// When it was found that an earlier memory can't be read. Whatever it held counts as a full window.
    pub unknown_since: Option<i64>,
}

/// A store that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its name.
    pub store: StoreId,
    /// The identity of its namespace: a store that was made anew has another.
    pub uid: String,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// What removals are decided by, besides the namespaces.
#[derive(Debug, Clone, Copy)]
pub struct RemovalRules<'a> {
    /// The source whose stores these are.
    pub source: &'a SourceId,
    /// How many may go.
    pub budget: &'a DeletionBudget,
    /// How long a store is kept after its file is gone, in seconds.
    pub grace_seconds: u32,
    /// The time in seconds since 1970.
    pub now: i64,
    /// How many stores of this source the cluster has, those with files included.
    pub fleet: usize,
    /// What went before.
    pub recent: &'a Recent,
    /// What was refused a moment ago and may not be marked yet.
    pub refused_before: &'a BTreeSet<StoreId>,
    /// What the newest file of a store said of its protection, where this process has seen one.
    pub protection: &'a BTreeMap<StoreId, bool>,
    /// Since when they have no file, where this process knows it.
    pub gone: &'a BTreeMap<StoreId, Gone>,
}

impl<'a> RemovalRules<'a> {
    /// Makes the rules of a fleet file for a process that has seen nothing else yet.
    pub fn new(source: &'a SourceId, fleet_file: &'a Fleet, fleet: usize, now: i64) -> Self {
        static NO_RECENT: Recent = Recent { removed: Vec::new(), unknown_since: None };
        static NO_REFUSED: BTreeSet<StoreId> = BTreeSet::new();
        static NO_PROTECTION: BTreeMap<StoreId, bool> = BTreeMap::new();
        static NO_GONE: BTreeMap<StoreId, Gone> = BTreeMap::new();
        Self {
            source,
            budget: &fleet_file.deletion_budget,
            grace_seconds: fleet_file.deletion_grace_seconds,
            now,
            fleet,
            recent: &NO_RECENT,
            refused_before: &NO_REFUSED,
            protection: &NO_PROTECTION,
            gone: &NO_GONE,
        }
    }
}

/// What becomes of the stores that git no longer has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removals {
    /// Each of them.
    pub fates: BTreeMap<StoreId, Fate>,
    /// What the budget says.
    pub room: Room,
}

/// The budget as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// How many stores may go within the window.
    pub limit: usize,
    /// How many have gone within the window, are going, or would go without an approval.
    pub counted: usize,
    /// How many of those have gone already.
    pub gone: usize,
    /// The part of the fleet that may go, in percent, and of how many stores, where that is the narrower limit.
    pub percent_of: Option<(u32, usize)>,
    /// The window in minutes.
    pub window_minutes: u32,
    /// Until when nothing goes without an approval, because nobody knows what went before.
    pub unknown_until: Option<i64>,
}

impl Removals {
    /// Returns the stores with this kind of fate.
    pub fn which(&self, such: impl Fn(&Fate) -> bool) -> BTreeSet<StoreId> {
        self.fates.iter().filter(|(_, fate)| such(fate)).map(|(store, _)| store.clone()).collect()
    }

    /// Returns the stores that the budget keeps.
    pub fn refused(&self) -> BTreeSet<StoreId> {
        self.which(|fate| matches!(fate, Fate::Refused { .. }))
    }

    /// Returns the stores that their protection keeps.
    pub fn protected(&self) -> BTreeSet<StoreId> {
        self.which(|fate| *fate == Fate::Protected)
    }

    /// Says what the budget refuses and what to do about it.
    pub fn over_budget(&self) -> Option<String> {
        let refused = self.refused();
        if refused.is_empty() {
            return None;
        }
        let Room { limit, counted, gone, percent_of, window_minutes, unknown_until } = self.room;
        let what_to_do = format!(
            "none of these is removed until spec.deletionBudget.approved in storekeeper.yaml names it ({}) or its file \
             comes back",
            listed(&refused)
        );
        if let Some(until) = unknown_until {
            return Some(format!(
                "the record of what was removed before was broken, so the deletion budget counts as used up until {}: \
                 {what_to_do}",
                moment::utc(until)
            ));
        }
        if counted <= limit {
            return Some(format!("the deletion budget refused this before: {what_to_do}"));
        }
        let span =
            if window_minutes == 0 { "at once".to_owned() } else { format!("within {window_minutes} min") };
        let before = if gone == 0 { String::new() } else { format!(" ({gone} of them are gone already)") };
        let part = percent_of
            .map_or_else(String::new, |(percent, fleet)| format!(", {percent} % of a fleet of {fleet}"));
        Some(format!(
            "{counted} stores would be removed {span}{before}, the deletion budget is {limit}{part}: {what_to_do}"
        ))
    }

    /// Says everything that is refused, for the fleet as a whole.
    pub fn refusal(&self) -> Option<String> {
        let protected = self.protected();
        let kept = (!protected.is_empty()).then(|| format!("{} ({})", PROTECTED, listed(&protected)));
        let both: Vec<_> = self.over_budget().into_iter().chain(kept).collect();
        (!both.is_empty()).then(|| both.join("; "))
    }
}

/// Why a protected store stays, and what to do.
pub const PROTECTED: &str = "protected by `protect: true` in its last file, which no approval overrides: to remove it, bring the file \
     back with `protect: false`, push, and remove it after that";

/// Plans the removal of whole stores. `has_file` tells which stores some file names, broken files included; `observed`
/// holds the namespaces found by name. Only those whose identity confirms the find are considered.
pub fn removals(
    has_file: &dyn Fn(&StoreId) -> bool,
    observed: &BTreeMap<StoreId, ObservedNamespace>,
    rules: &RemovalRules<'_>,
) -> Removals {
    let RemovalRules { source, budget, grace_seconds, now, fleet, recent, refused_before, protection, gone } =
        *rules;
    let ours = |store: &StoreId, namespace: &ObservedNamespace| {
        !has_file(store) && namespace.ownership(Owner { store, source }) == Ownership::Ours
    };
    // The time has to be over by the clock, which a restart finds again, and by the time that has passed: a clock that
    // jumps ends no grace period.
    let timed = |store: &StoreId, since: i64, approved| {
        let grace = i64::from(grace_seconds);
        let left = gone.get(store).map_or(0, |gone| grace - gone.waited);
        match since.saturating_add(grace) {
            until if now < until => Fate::Grace { since, until },
            _ if left > 0 => Fate::Grace { since, until: now.saturating_add(left) },
            _ => Fate::Due { since, approved },
        }
    };
    let (mut fates, mut undecided, mut counted) = (BTreeMap::new(), Vec::new(), 0);
    for (store, namespace) in observed.iter().filter(|(store, namespace)| ours(store, namespace)) {
        // What stands there may be of an earlier removal, which was called off.
        let since = gone.get(store).map(|gone| gone.since).max(namespace.removal_since()).unwrap_or(now);
        let approved = budget.approved.contains(store);
        let protected = protection.get(store).copied().unwrap_or_else(|| namespace.is_protected());
        let refused = refused_before.contains(store) || namespace.is_refused();
        let fate = match namespace.deleting_since {
            Some(_) => Fate::Going,
            None if protected => Fate::Protected,
            None if approved => timed(store, since, true),
            None if refused => Fate::Refused { since },
            None => {
                undecided.push((store, since));
                continue;
            }
        };
        counted += usize::from(fate == Fate::Going && !approved || matches!(fate, Fate::Refused { .. }));
        fates.insert(store.clone(), fate);
    }
    // What is going already counts: commits in a row that remove three each are one mass removal. What was refused
    // before counts too and stays refused, or a batch would slip through once half of it is marked.
    let room =
        room(budget, now, fleet, counted + undecided.len(), &went(observed, recent, budget, now), recent);
    let fits = room.counted <= room.limit && room.unknown_until.is_none();
    for (store, since) in undecided {
        fates.insert(store.clone(), if fits { timed(store, since, false) } else { Fate::Refused { since } });
    }
    Removals { fates, room }
}

/// Whether a namespace says by now that its store must stay, though a plan from before says that it is due. `protection` is
/// what its newest file said, where that is known.
pub fn is_marked_to_stay(namespace: &ObservedNamespace, approved: bool, protection: Option<bool>) -> bool {
    protection.unwrap_or_else(|| namespace.is_protected()) || !approved && namespace.is_refused()
}

/// Says which approvals are for stores that a file names. They are left over, or come early: either way the next removal
/// of such a store meets no budget.
pub fn idle_approvals(has_file: &dyn Fn(&StoreId) -> bool, budget: &DeletionBudget) -> Option<String> {
    let idle: BTreeSet<_> = budget.approved.iter().filter(|store| has_file(store)).cloned().collect();
    let words = "spec.deletionBudget.approved in storekeeper.yaml names stores that have a file, so their next removal is \
                 approved already: take out those that stay";
    (!idle.is_empty()).then(|| format!("{words} ({})", listed(&idle)))
}

/// Finds what went within the window and is not seen going.
fn went<'a>(
    observed: &BTreeMap<StoreId, ObservedNamespace>,
    recent: &'a Recent,
    budget: &DeletionBudget,
    now: i64,
) -> Vec<&'a Removed> {
    let begin = now.saturating_sub(window_seconds(budget));
    let is_seen = |removed: &Removed| observed.get(&removed.store).is_some_and(|it| it.uid == removed.uid);
    recent.removed.iter().filter(|removed| removed.at > begin && !is_seen(removed)).collect()
}

fn room(
    budget: &DeletionBudget,
    now: i64,
    fleet: usize,
    wanted: usize,
    went: &[&Removed],
    recent: &Recent,
) -> Room {
    let DeletionBudget { max_stores, max_percent, window_minutes, approved: _ } = budget;
    // As large as it was when the window began, or a shrinking fleet would shrink its own budget.
    let fleet = fleet + went.len();
    let part = (fleet * *max_percent as usize).div_ceil(100);
    let most = *max_stores as usize;
    let unknown_until = recent.unknown_since.map(|since| since.saturating_add(window_seconds(budget)));
    Room {
        limit: part.min(most),
        counted: wanted + went.len(),
        gone: went.len(),
        percent_of: (part < most).then_some((*max_percent, fleet)),
        window_minutes: *window_minutes,
        unknown_until: unknown_until.filter(|until| now < *until),
    }
}

fn window_seconds(budget: &DeletionBudget) -> i64 {
    i64::from(budget.window_minutes) * 60
}

fn listed(stores: &BTreeSet<StoreId>) -> String {
    shortened_list(&stores.iter().map(StoreId::as_str).collect::<Vec<_>>(), 20)
}

/// Joins names for a message, leaving out what no reader would finish.
pub fn shortened_list(names: &[&str], most: usize) -> String {
    let shown = names.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{shown} and {} more", names.len() - most) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::super::{Marks, NamespaceSpec};
    use super::*;
    use crate::names::{Host, LABEL_MANAGED_BY, LABEL_SOURCE};

    const NOW: i64 = 1_800_000_000;

    fn id(text: &str) -> StoreId {
        text.parse().unwrap()
    }

    fn source() -> SourceId {
        "main".parse().unwrap()
    }

    fn host() -> Host {
        "acme.example.com".parse().unwrap()
    }

    fn namespaces(stores: &[&str]) -> BTreeMap<StoreId, ObservedNamespace> {
        let namespace = |store: &StoreId| {
            let spec = NamespaceSpec::new(Owner { store, source: &source() }, &host(), false);
            let uid = format!("uid-{store}");
            let NamespaceSpec { labels, annotations, .. } = spec;
            ObservedNamespace { uid, labels, annotations, ..ObservedNamespace::default() }
        };
        stores.iter().map(|store| (id(store), namespace(&id(store)))).collect()
    }

    fn mark(observed: &mut BTreeMap<StoreId, ObservedNamespace>, store: &str, marks: Marks) {
        let (store, source) = (id(store), source());
        let namespace = observed.get_mut(&store).unwrap();
        let owner = Owner { store: &store, source: &source };
        namespace.annotations = NamespaceSpec::absent(owner, namespace, &marks).annotations;
    }

    /// A budget without a percentage and without a window.
    fn budget(max_stores: u32, approved: &[&str]) -> DeletionBudget {
        let approved = approved.iter().map(|store| id(store)).collect();
        DeletionBudget { max_stores, max_percent: 100, window_minutes: 0, approved }
    }

    fn ids(stores: &[&str]) -> BTreeSet<StoreId> {
        stores.iter().map(|store| id(store)).collect()
    }

    fn due(removals: &Removals) -> BTreeSet<StoreId> {
        removals.which(|fate| matches!(fate, Fate::Due { .. }))
    }

    fn fleet_file(deletion_budget: DeletionBudget, deletion_grace_seconds: u32) -> Fleet {
        Fleet {
            pause: None,
            change_windows: Vec::new(),
            override_windows: None,
            clusters: crate::store::Clusters::default(),
            domain: host(),
            domains: BTreeSet::new(),
            values: serde_json::Map::new(),
            value_files: Vec::new(),
            deletion_budget,
            deletion_grace_seconds,
            rollback: crate::store::Rollback::None,
            charts: crate::store::Charts::built_in(serde_json::Map::new()),
        }
    }

    /// What a test sets besides the budget.
    #[derive(Default)]
    struct Setting {
        fleet: usize,
        grace_seconds: u32,
        recent: Recent,
        refused_before: BTreeSet<StoreId>,
        protection: BTreeMap<StoreId, bool>,
        gone: BTreeMap<StoreId, Gone>,
    }

    /// Plans removals without a grace period, in a fleet of ten, unless the test sets something else.
    fn remove(
        present: &[&str],
        observed: &BTreeMap<StoreId, ObservedNamespace>,
        budget: &DeletionBudget,
        change: impl FnOnce(&mut Setting),
    ) -> Removals {
        let mut setting = Setting { fleet: 10, ..Setting::default() };
        change(&mut setting);
        let Setting { fleet, grace_seconds, recent, refused_before, protection, gone } = &setting;
        let (present, source) = (ids(present), source());
        let file = fleet_file(budget.clone(), *grace_seconds);
        let rules = RemovalRules::new(&source, &file, *fleet, NOW);
        let rules = RemovalRules { recent, refused_before, protection, gone, ..rules };
        removals(&|store| present.contains(store), observed, &rules)
    }

    #[test]
    fn what_does_not_say_that_it_is_on_this_cluster_is_never_removed() {
        let observed = namespaces(&["a"]);
        let named = source().on(Some("eu-1".parse().unwrap()));
        let file = fleet_file(budget(2, &["a"]), 0);
        let rules = RemovalRules::new(&named, &file, 10, NOW);
        assert!(removals(&|_| false, &observed, &rules).fates.is_empty(), "it names no cluster");
        let mut ours = observed.clone();
        for (cluster, is_due) in [("us-1", false), ("eu-1", true)] {
            let labels = &mut ours.get_mut(&id("a")).unwrap().labels;
            labels.insert(crate::names::LABEL_CLUSTER.to_owned(), cluster.to_owned());
            assert_eq!(due(&removals(&|_| false, &ours, &rules)).len(), usize::from(is_due), "{cluster}");
        }
    }

    #[test]
    fn removals_within_the_budget_are_due_and_more_are_refused_as_a_whole() {
        let observed = namespaces(&["a", "b", "c"]);
        let within = remove(&["a"], &observed, &budget(2, &[]), |_| ());
        assert_eq!((due(&within), within.refused()), (ids(&["b", "c"]), ids(&[])));
        let over = remove(&[], &observed, &budget(2, &[]), |_| ());
        assert_eq!((due(&over), over.refused()), (ids(&[]), ids(&["a", "b", "c"])));
        let words = over.refusal().unwrap();
        assert!(
            words.starts_with("3 stores would be removed at once, the deletion budget is 2: "),
            "{words}"
        );
        assert!(words.contains("spec.deletionBudget.approved") && words.contains("(a, b, c)"), "{words}");
    }

    #[test]
    fn the_narrower_one_of_count_and_percentage_holds_and_a_percentage_is_rounded_up() {
        let percent = |max_percent| DeletionBudget { max_percent, ..budget(100, &[]) };
        for (fleet, max_percent, goes) in [
            (10, 20, true),
            (9, 20, true),
            (5, 20, false),
            (6, 20, true),
            (2, 50, false),
            (2, 51, true),
            (10, 0, false),
        ] {
            let observed = namespaces(&["a", "b"]);
            let result = remove(&[], &observed, &percent(max_percent), |it| it.fleet = fleet);
            assert_eq!(!due(&result).is_empty(), goes, "{max_percent} % of {fleet}");
        }
        let one = remove(&[], &namespaces(&["a"]), &percent(1), |it| it.fleet = 1);
        assert_eq!(due(&one), ids(&["a"]), "a fleet of one can end");
        let over = remove(&[], &namespaces(&["a", "b"]), &percent(50), |it| it.fleet = 2);
        let words = over.refusal().unwrap();
        assert!(words.contains("the deletion budget is 1, 50 % of a fleet of 2"), "{words}");
    }

    #[test]
    fn what_went_within_the_window_counts_and_what_went_before_it_does_not() {
        let window = DeletionBudget { window_minutes: 60, ..budget(2, &[]) };
        let removed = |store: &str, minutes_ago: i64| Removed {
            store: id(store),
            uid: format!("uid-{store}"),
            at: NOW - minutes_ago * 60,
        };
        let recent = |removed: &[Removed]| Recent { removed: removed.to_vec(), unknown_since: None };
        let observed = namespaces(&["c"]);
        let full = recent(&[removed("a", 59), removed("b", 1)]);
        let over = remove(&[], &observed, &window, |it| it.recent = full.clone());
        assert_eq!(over.refused(), ids(&["c"]));
        let words = over.refusal().unwrap();
        assert!(
            words.starts_with("3 stores would be removed within 60 min (2 of them are gone already)"),
            "{words}"
        );
        let passed = recent(&[removed("a", 60), removed("b", 1)]);
        let within = remove(&[], &observed, &window, |it| it.recent = passed.clone());
        assert_eq!(due(&within), ids(&["c"]));
        // Written down, and still there: it counts once. The same name made anew is another store.
        let itself = recent(&[removed("c", 1), removed("a", 1)]);
        assert_eq!(remove(&[], &observed, &window, |it| it.recent = itself.clone()).room.counted, 2);
        let mut anew = namespaces(&["c"]);
        anew.get_mut(&id("c")).unwrap().uid = "another".to_owned();
        assert_eq!(remove(&[], &anew, &window, |it| it.recent = itself.clone()).room.counted, 3);
    }

    #[test]
    fn a_memory_that_was_lost_in_a_bad_way_counts_as_a_full_window_until_it_has_passed() {
        let window = DeletionBudget { window_minutes: 60, ..budget(9, &["b"]) };
        let observed = namespaces(&["a", "b"]);
        let lost =
            |minutes_ago: i64| Recent { unknown_since: Some(NOW - minutes_ago * 60), ..Recent::default() };
        let full = lost(59);
        let result = remove(&[], &observed, &window, |it| it.recent = full.clone());
        assert_eq!((due(&result), result.refused()), (ids(&["b"]), ids(&["a"])));
        assert!(result.refusal().unwrap().contains("2027-01-15T08:01:00Z"), "{:?}", result.refusal());
        let passed = lost(60);
        let result = remove(&[], &observed, &window, |it| it.recent = passed.clone());
        assert_eq!(due(&result), ids(&["a", "b"]));
    }

    #[test]
    fn approval_by_name_lets_a_refused_store_go_and_no_other() {
        let observed = namespaces(&["a", "b", "c"]);
        let result = remove(&[], &observed, &budget(1, &["b"]), |_| ());
        assert_eq!((due(&result), result.refused()), (ids(&["b"]), ids(&["a", "c"])));
        assert_eq!(result.fates[&id("b")], Fate::Due { since: NOW, approved: true });
    }

    #[test]
    fn approvals_of_stores_that_have_a_file_are_named() {
        let budget = budget(1, &["a", "b", "c"]);
        let idle = |present: &[&str]| idle_approvals(&|store| ids(present).contains(store), &budget);
        assert_eq!(idle(&["d"]), None);
        let words = idle(&["a", "c", "d"]).unwrap();
        assert!(words.ends_with("take out those that stay (a, c)"), "{words}");
    }

    #[test]
    fn a_protected_store_stays_whatever_is_approved_and_takes_no_room() {
        let mut observed = namespaces(&["a", "b"]);
        mark(&mut observed, "a", Marks { protected: true, ..Marks::default() });
        let result = remove(&[], &observed, &budget(1, &["a"]), |_| ());
        assert_eq!((result.protected(), due(&result)), (ids(&["a"]), ids(&["b"])));
        let words = result.refusal().unwrap();
        assert!(words.contains("`protect: false`") && words.ends_with("(a)"), "{words}");
        // What this process read in the newest file counts, marked or not.
        let known = BTreeMap::from([(id("a"), false), (id("b"), true)]);
        let result = remove(&[], &observed, &budget(1, &["a"]), |it| it.protection = known.clone());
        assert_eq!((result.protected(), due(&result)), (ids(&["b"]), ids(&["a"])));
    }

    #[test]
    fn a_store_that_is_marked_to_stay_is_never_due_and_one_that_is_not_may_be() {
        for (refused, protected, approved, known) in [
            (false, false, false, None),
            (true, false, false, None),
            (true, false, true, None),
            (false, true, true, None),
            (false, true, true, Some(false)),
            (false, false, true, Some(true)),
        ] {
            let mut observed = namespaces(&["a"]);
            mark(&mut observed, "a", Marks { since: None, refused, protected, ..Marks::default() });
            let approvals: &[&str] = if approved { &["a"] } else { &[] };
            let result = remove(&[], &observed, &budget(9, approvals), |it| {
                it.protection.extend(known.map(|protected| (id("a"), protected)));
            });
            let stays = is_marked_to_stay(&observed[&id("a")], approved, known);
            assert_eq!(due(&result).is_empty(), stays, "{refused} {protected} {approved} {known:?}");
        }
    }

    #[test]
    fn the_grace_period_counts_from_the_mark_and_an_approval_does_not_shorten_it() {
        let mut observed = namespaces(&["a", "b", "c"]);
        mark(&mut observed, "b", Marks { since: Some(NOW - 299), ..Marks::default() });
        mark(&mut observed, "c", Marks { since: Some(NOW - 300), ..Marks::default() });
        let result = remove(&[], &observed, &budget(9, &["b"]), |it| it.grace_seconds = 300);
        assert_eq!(result.fates[&id("a")], Fate::Grace { since: NOW, until: NOW + 300 });
        assert_eq!(result.fates[&id("b")], Fate::Grace { since: NOW - 299, until: NOW + 1 });
        assert_eq!(result.fates[&id("c")], Fate::Due { since: NOW - 300, approved: false });
        // A mark that nobody can read, or from the future, never makes the time shorter.
        observed.get_mut(&id("b")).unwrap().annotations.insert(ANNOTATION.to_owned(), "long ago".to_owned());
        mark(&mut observed, "c", Marks { since: Some(NOW + 50), ..Marks::default() });
        let result = remove(&[], &observed, &budget(9, &[]), |it| it.grace_seconds = 300);
        assert_eq!(result.fates[&id("b")], Fate::Grace { since: NOW, until: NOW + 300 });
        assert_eq!(result.fates[&id("c")], Fate::Grace { since: NOW + 50, until: NOW + 350 });
    }

    #[test]
    fn a_mark_of_an_earlier_removal_shortens_no_grace_period() {
        let mut observed = namespaces(&["a", "b"]);
        for store in ["a", "b"] {
            mark(&mut observed, store, Marks { since: Some(NOW - 900), ..Marks::default() });
        }
        let gone = BTreeMap::from([(id("a"), Gone { since: NOW - 10, waited: 10 })]);
        // What was marked before the namespace was made is of another one.
        observed.get_mut(&id("b")).unwrap().created = Some(NOW - 800);
        let result = remove(&[], &observed, &budget(9, &[]), |it| {
            (it.grace_seconds, it.gone) = (300, gone.clone());
        });
        assert_eq!(result.fates[&id("a")], Fate::Grace { since: NOW - 10, until: NOW + 290 });
        assert_eq!(result.fates[&id("b")], Fate::Grace { since: NOW, until: NOW + 300 });
    }

    #[test]
    fn a_clock_that_jumps_ends_no_grace_period() {
        let observed = namespaces(&["a"]);
        let fate = |since, waited| {
            let gone = BTreeMap::from([(id("a"), Gone { since, waited })]);
            let result = remove(&[], &observed, &budget(9, &["a"]), |it| {
                (it.grace_seconds, it.gone) = (300, gone.clone());
            });
            result.fates[&id("a")]
        };
        let since = NOW - 86_400;
        assert_eq!(fate(since, 299), Fate::Grace { since, until: NOW + 1 });
        assert_eq!(fate(since, 300), Fate::Due { since, approved: true });
        assert_eq!(fate(NOW + 50, 300), Fate::Grace { since: NOW + 50, until: NOW + 350 });
    }

    const ANNOTATION: &str = crate::names::ANNOTATION_REMOVAL_SINCE;

    #[test]
    fn stores_in_their_grace_period_take_room_and_are_refused_when_more_join_them() {
        let mut observed = namespaces(&["a", "b"]);
        mark(&mut observed, "a", Marks { since: Some(NOW - 10), ..Marks::default() });
        let alone = remove(&["b"], &observed, &budget(1, &[]), |it| it.grace_seconds = 60);
        assert_eq!(alone.refused(), ids(&[]));
        let joined = remove(&[], &observed, &budget(1, &[]), |it| it.grace_seconds = 60);
        assert_eq!(joined.refused(), ids(&["a", "b"]));
        assert_eq!(joined.fates[&id("a")], Fate::Refused { since: NOW - 10 }, "its time passes all the same");
    }

    #[test]
    fn removals_under_way_count_against_the_budget() {
        let mut observed = namespaces(&["a", "b"]);
        observed.get_mut(&id("a")).unwrap().deleting_since = Some(1);
        let result = remove(&[], &observed, &budget(1, &[]), |_| ());
        assert_eq!((result.fates[&id("a")], result.refused()), (Fate::Going, ids(&["b"])));
    }

    #[test]
    fn what_was_refused_a_moment_ago_stays_refused_before_it_is_marked() {
        let (observed, before) = (namespaces(&["a", "b"]), ids(&["a"]));
        let result = remove(&[], &observed, &budget(3, &[]), |it| it.refused_before = before.clone());
        assert_eq!((due(&result), result.refused()), (ids(&["b"]), ids(&["a"])));
    }

    #[test]
    fn what_was_refused_stays_refused_when_the_rest_has_gone() {
        let mut observed = namespaces(&["a"]);
        mark(&mut observed, "a", Marks { refused: true, ..Marks::default() });
        let result = remove(&[], &observed, &budget(3, &[]), |_| ());
        assert_eq!(result.refused(), ids(&["a"]));
        assert!(result.refusal().unwrap().contains("refused this before"), "{:?}", result.refusal());
        let approved = remove(&[], &observed, &budget(3, &["a"]), |_| ());
        assert_eq!(due(&approved), ids(&["a"]));
    }

    #[test]
    fn a_namespace_that_identity_does_not_confirm_is_never_removed() {
        let mut observed = namespaces(&["a", "b"]);
        observed.get_mut(&id("a")).unwrap().labels.remove(LABEL_MANAGED_BY);
        observed.get_mut(&id("b")).unwrap().labels.insert(LABEL_SOURCE.to_owned(), "other".to_owned());
        let result = remove(&[], &observed, &budget(9, &["a", "b"]), |_| ());
        assert_eq!(result.fates, BTreeMap::new());
    }

    #[test]
    fn marks_are_written_on_the_namespace_and_taken_off_when_the_file_is_back() {
        let mut observed = namespaces(&["acme"]);
        let before = observed[&id("acme")].clone();
        let (store_id, source) = (id("acme"), source());
        let owner = Owner { store: &store_id, source: &source };
        for marks in [
            Marks { refused: true, ..Marks::default() },
            Marks { since: Some(NOW), ..Marks::default() },
            Marks { protected: true, ..Marks::default() },
        ] {
            assert!(!NamespaceSpec::absent(owner, &before, &marks).matches(&before), "{marks:?}");
            mark(&mut observed, "acme", marks);
            let marked = &observed[&id("acme")];
            assert!(NamespaceSpec::absent(owner, marked, &marks).matches(marked));
            assert!(!NamespaceSpec::new(owner, &host(), false).matches(marked));
            assert_eq!(NamespaceSpec::new(owner, &host(), true).matches(marked), marks.protected);
        }
        assert!(NamespaceSpec::new(owner, &host(), false).matches(&before));
    }
}
