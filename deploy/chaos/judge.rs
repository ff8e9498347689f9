//! What must never have happened, from what was pushed and what the witness saw. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::tree::{StoreFile, Tree};
use super::witness::{Kind, Sighting};

/// A push that was made.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// When `git push` was started: from then on the daemon may know of it.
    pub at: Instant,
    pub tree: Tree,
    pub refused: BTreeSet<&'static str>,
}

/// A moment at which the cluster was equal to a push, by its number.
#[derive(Debug, Clone, Copy)]
pub struct Settled {
    pub at: Instant,
    pub push: usize,
}

/// What was violated, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub at: Option<Instant>,
    pub what: String,
}

/// What is known of a run.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    pub seen: &'a [Sighting],
    pub pushed: &'a [Pushed],
    pub settled: &'a [Settled],
}

/// Finds every violation. `name_of` gives the name of the store behind a namespace, `jobs_of` the Jobs that a store has
/// at a commit.
pub fn violations(
    history: History<'_>,
    name_of: &dyn Fn(&str) -> Option<&'static str>,
    jobs_of: &mut dyn FnMut(&Tree, &'static str) -> Vec<String>,
) -> Vec<Violation> {
    let lives = lives(history.seen);
    let mut found = Vec::new();
    for (namespace, lives) in &lives {
        match name_of(namespace) {
            Some(name) => found.extend(unwanted_lives(name, lives, history)),
            None => found.push(Violation { at: None, what: format!("namespace {namespace} is nobody's") }),
        }
    }
    found.extend(changed_secrets(history.seen, &lives));
    for Repeated { before, again } in repeated_jobs(history.seen, &lives) {
        let reasonable = name_of(&again.namespace)
            .is_some_and(|name| wanted_twice(&before, &again, history, &mut |tree| jobs_of(tree, name)));
        if !reasonable {
            let how = if before.complete { "had run to its end" } else { "was there" };
            let what = format!("{}: Job/{} {how} and was made again", again.namespace, again.name);
            found.push(Violation { at: Some(again.at), what });
        }
    }
    found
}

/// A namespace from its creation on.
#[derive(Debug)]
struct Life {
    uid: String,
    created: String,
    seen: Instant,
    deleting: Option<Instant>,
}

/// The lives of each namespace, in their order. Where the witness missed an end, the next life's beginning shows it.
fn lives(seen: &[Sighting]) -> BTreeMap<String, Vec<Life>> {
    let mut lives: BTreeMap<String, Vec<Life>> = BTreeMap::new();
    for sighting in seen.iter().filter(|sighting| sighting.kind == Kind::Namespace) {
        let of_name = lives.entry(sighting.name.clone()).or_default();
        if of_name.iter().all(|life| life.uid != sighting.uid) {
            if let Some(before) = of_name.last_mut() {
                before.deleting.get_or_insert(sighting.at);
            }
            let (uid, created) = (sighting.uid.clone(), sighting.created.clone());
            of_name.push(Life { uid, created, seen: sighting.at, deleting: None });
        }
        let life = of_name.iter_mut().find(|life| life.uid == sighting.uid);
        if let Some(life) = life.filter(|_| sighting.deleting || sighting.gone) {
            life.deleting.get_or_insert(sighting.at);
        }
    }
    lives
}

/// The lives of a namespace have to fit into the history of the branch: each begins with a commit that has the store,
/// and ends with a later one that lacks it, after the grace period. The earliest commit that fits is taken each time, so what does not fit then
/// fits in no way.
fn unwanted_lives(name: &'static str, lives: &[Life], history: History<'_>) -> Vec<Violation> {
    let pushed = history.pushed;
    let mut found = Vec::new();
    let mut from = 0;
    for life in lives {
        let has = |push: &Pushed| push.tree.is_usable() && push.tree.good(name).is_some();
        match first(pushed, floor(from, life.seen, name, history), life.seen, has) {
            Some(push) => from = push,
            None => found.push(Violation {
                at: Some(life.seen),
                what: format!(
                    "store {name} was made, and no commit that has it was pushed since it was last gone"
                ),
            }),
        }
        let Some(deleting) = life.deleting else { continue };
        let start = floor(from, deleting, name, history);
        let lacks =
            |push: &Pushed| push.tree.is_usable() && push.tree.lacks(name) && !push.refused.contains(name);
        let since = first(pushed, start, deleting, lacks).map(|push| pushed[push].at);
        let due = |push: &Pushed| {
            let grace = push.tree.fleet.as_ref().map_or(0, |fleet| fleet.grace);
            lacks(push) && since.is_some_and(|since| since + at_least(grace) <= deleting)
        };
        match first(pushed, start, deleting, due) {
            Some(push) => from = push,
            None => found.push(Violation {
                at: Some(deleting),
                what: format!(
                    "store {name} was deleted, and no commit that allows it was pushed since it was made"
                ),
            }),
        }
    }
    found
}

/// How long a grace period lasts at least: it begins at a whole second.
fn at_least(grace: usize) -> Duration {
    Duration::from_secs(u64::try_from(grace).unwrap().saturating_sub(1))
}

/// What the daemon had carried out by then, it can't act on again: acts from then on need later commits. A broken file
/// leaves the store's last good version in force, so there the last commit with another file counts.
fn floor(from: usize, at: Instant, name: &str, history: History<'_>) -> usize {
    let last = history.settled.iter().rev().find(|settled| settled.at <= at);
    let broken =
        |push: &usize| matches!(history.pushed[*push].tree.stores.get(name), Some(StoreFile::Broken(_)));
    let settled = last.and_then(|settled| (0..=settled.push).rev().find(|push| !broken(push)));
    from.max(settled.unwrap_or(0))
}

/// Finds the first push from a number on that was made before a moment and fits.
fn first(pushed: &[Pushed], from: usize, before: Instant, fits: impl Fn(&Pushed) -> bool) -> Option<usize> {
    (from..pushed.len()).find(|number| pushed[*number].at <= before && fits(&pushed[*number]))
}

/// Within one life of a namespace, no entry of a Secret ever changes, also not when the Secret is made anew.
fn changed_secrets(seen: &[Sighting], lives: &BTreeMap<String, Vec<Life>>) -> Vec<Violation> {
    let mut values: BTreeMap<(String, String, String), String> = BTreeMap::new();
    let mut found = Vec::new();
    for secret in seen.iter().filter(|sighting| sighting.kind == Kind::Secret) {
        let Some(life) = life_of(secret, lives) else { continue };
        for (entry, value) in &secret.entries {
            let key = (life.uid.clone(), secret.name.clone(), entry.clone());
            let first = values.entry(key).or_insert_with(|| value.clone());
            if first != value {
                let (namespace, name) = (&secret.namespace, &secret.name);
                let what = format!("{namespace}: Secret/{name} has another value of {entry} than at first");
                found.push(Violation { at: Some(secret.at), what });
                first.clone_from(value);
            }
        }
    }
    found
}

/// A Job that was made again within one life of its namespace: what was last seen of the one, and first of the other.
struct Repeated {
    before: Sighting,
    again: Sighting,
}

fn repeated_jobs(seen: &[Sighting], lives: &BTreeMap<String, Vec<Life>>) -> Vec<Repeated> {
    let mut last: BTreeMap<(&str, &str), Sighting> = BTreeMap::new();
    let mut found = Vec::new();
    for job in seen.iter().filter(|sighting| sighting.kind == Kind::Job) {
        let Some(life) = life_of(job, lives) else { continue };
        let known = last.entry((&life.uid, &job.name)).or_insert_with(|| job.clone());
        if known.uid == job.uid {
            known.complete |= job.complete;
            continue;
        }
        found.push(Repeated { before: std::mem::replace(known, job.clone()), again: job.clone() });
    }
    found
}

/// A Job's name is a hash of what it does, so it runs once for as long as git wants it. Whoever changes a store and takes
/// that back wants it again: it has to put back what the Job of the other settings did.
fn wanted_twice(
    before: &Sighting,
    again: &Sighting,
    history: History<'_>,
    jobs: &mut dyn FnMut(&Tree) -> Vec<String>,
) -> bool {
    let settled = history.settled.iter().rev().find(|settled| settled.at <= before.at);
    let from = settled.map_or(0, |settled| settled.push);
    let known = history.pushed[from..].iter().filter(|push| push.at <= again.at && push.tree.is_usable());
    let wanted = known.map(|push| jobs(&push.tree)).filter(|jobs| !jobs.is_empty());
    let mut turns: Vec<_> = wanted.map(|jobs| jobs.contains(&again.name)).collect();
    turns.dedup();
    turns.windows(3).any(|three| three == [true, false, true])
}

/// Finds the namespace that an object lay in: the last one made before the object.
fn life_of<'a>(object: &Sighting, lives: &'a BTreeMap<String, Vec<Life>>) -> Option<&'a Life> {
    let of_name = lives.get(&object.namespace)?;
    of_name.iter().rev().find(|life| life.created <= object.created)
}

#[cfg(test)]
mod tests {
    use super::super::tree::{AMPLE, Breakage, Fleet, Settings};
    use super::*;

    /// A history of pushes and sightings, at whole seconds since a beginning.
    struct History {
        begun: Instant,
        pushed: Vec<Pushed>,
        seen: Vec<Sighting>,
        settled: Vec<Settled>,
    }

    impl History {
        fn new() -> Self {
            Self { begun: Instant::now(), pushed: Vec::new(), seen: Vec::new(), settled: Vec::new() }
        }

        fn at(&self, second: u64) -> Instant {
            self.begun + Duration::from_secs(second)
        }

        /// A push of a branch with or without `acme`.
        fn push(&mut self, second: u64, file: impl Into<Option<StoreFile>>) -> &mut Pushed {
            let fleet = Fleet { budget: AMPLE, approved: BTreeSet::new(), grace: 0, broken: false };
            let stores = file.into().map(|file| ("acme", file)).into_iter().collect();
            let tree = Tree { fleet: Some(fleet), stores };
            self.pushed.push(Pushed { at: self.at(second), tree, refused: BTreeSet::new() });
            self.pushed.last_mut().unwrap()
        }

        fn see(&mut self, second: u64, kind: Kind, name: &str, uid: &str) -> &mut Sighting {
            let namespace = if kind == Kind::Namespace { String::new() } else { "store-acme".to_owned() };
            let sighting = Sighting {
                at: self.at(second),
                kind,
                namespace,
                name: name.to_owned(),
                uid: uid.to_owned(),
                created: format!("2026-11-22T00:00:{second:02}Z"),
                deleting: false,
                gone: false,
                entries: BTreeMap::new(),
                complete: false,
            };
            self.seen.push(sighting);
            self.seen.last_mut().unwrap()
        }

        fn made(&mut self, second: u64, uid: &str) {
            self.see(second, Kind::Namespace, "store-acme", uid);
        }

        fn deleted(&mut self, second: u64, uid: &str) {
            self.see(second, Kind::Namespace, "store-acme", uid).deleting = true;
        }

        fn found(&self) -> Vec<String> {
            let name_of = |namespace: &str| (namespace == "store-acme").then_some("acme");
            let history = super::History { seen: &self.seen, pushed: &self.pushed, settled: &self.settled };
            let mut jobs_of = |tree: &Tree, name: &'static str| {
                let title = tree.good(name).map(|settings| settings.title);
                title.map(|title| format!("bootstrap-{title}")).into_iter().collect()
            };
            let found = violations(history, &name_of, &mut jobs_of);
            found.into_iter().map(|violation| violation.what).collect()
        }
    }

    fn good() -> StoreFile {
        StoreFile::Good(settings())
    }

    fn settings() -> Settings {
        Settings { title: 1, version: 1, storefront: true, redis: false, host: None }
    }

    fn broken() -> StoreFile {
        StoreFile::Broken(Breakage::NotYaml)
    }

    #[test]
    fn a_store_that_comes_and_goes_as_git_says_is_no_violation() {
        let mut history = History::new();
        history.push(1, good());
        history.made(2, "a");
        history.push(3, None);
        history.deleted(4, "a");
        history.push(5, good());
        history.made(6, "b");
        assert_eq!(history.found(), Vec::<String>::new());
    }

    #[test]
    fn a_deletion_needs_a_usable_commit_without_the_file_that_came_before_it() {
        for (file, usable, refused) in [
            (Some(good()), true, false),
            (Some(broken()), true, false),
            (None, false, false),
            (None, true, true),
        ] {
            let mut history = History::new();
            history.push(1, good());
            history.made(2, "a");
            let push = history.push(3, file.clone());
            push.tree.fleet.as_mut().unwrap().broken = !usable;
            push.refused.extend(refused.then_some("acme"));
            history.deleted(4, "a");
            history.push(5, None);
            let found = history.found();
            assert!(
                found.len() == 1 && found[0].contains("was deleted"),
                "{file:?} {usable} {refused}: {found:?}"
            );
        }
    }

    #[test]
    fn a_deletion_waits_for_the_end_of_the_grace_period() {
        for (second, violations) in [(4, 1), (7, 0)] {
            let mut history = History::new();
            history.push(1, good());
            history.made(2, "a");
            history.push(3, None).tree.fleet.as_mut().unwrap().grace = 4;
            history.deleted(second, "a");
            assert_eq!(history.found().len(), violations, "deleted at {second} s");
        }
    }

    #[test]
    fn a_commit_that_was_carried_out_does_not_count_again() {
        let mut history = History::new();
        history.push(1, good());
        history.made(2, "a");
        history.push(3, None);
        history.push(4, good());
        history.settled.push(Settled { at: history.at(5), push: 2 });
        history.deleted(6, "a");
        assert!(history.found()[0].contains("was deleted"), "{:?}", history.found());
    }

    #[test]
    fn a_store_made_anew_shows_a_deletion_that_nobody_saw() {
        let mut history = History::new();
        history.push(1, good());
        history.made(2, "a");
        history.made(4, "b");
        let found = history.found();
        assert!(found.iter().any(|what| what.contains("was deleted")), "{found:?}");
    }

    #[test]
    fn a_store_that_no_commit_had_is_a_violation() {
        let mut history = History::new();
        history.push(1, broken());
        history.made(2, "a");
        history.push(3, good());
        assert!(history.found()[0].contains("was made"), "{:?}", history.found());
    }

    #[test]
    fn a_secret_that_changes_is_a_violation_unless_the_namespace_is_another() {
        let mut history = History::new();
        history.push(1, good());
        history.made(2, "a");
        history.see(3, Kind::Secret, "medusa", "s").entries.insert("key".to_owned(), "one".to_owned());
        history.see(4, Kind::Secret, "medusa", "t").entries.insert("key".to_owned(), "two".to_owned());
        assert!(history.found()[0].contains("another value of key"), "{:?}", history.found());
        history.seen.pop();
        history.push(5, None);
        history.deleted(6, "a");
        history.push(7, good());
        history.made(8, "b");
        history.see(9, Kind::Secret, "medusa", "t").entries.insert("key".to_owned(), "two".to_owned());
        assert_eq!(history.found(), Vec::<String>::new());
    }

    #[test]
    fn a_job_that_is_made_twice_is_a_violation_unless_git_wanted_another_between() {
        for (other, complete, words) in [(None, true, "had run to its end"), (None, false, "was there")] {
            let mut history = History::new();
            history.push(1, good());
            history.made(2, "a");
            history.see(3, Kind::Job, "bootstrap-1", "j").complete = complete;
            history.see(4, Kind::Job, "bootstrap-1", "j").gone = true;
            history.push(5, other);
            history.push(6, good());
            assert_eq!(history.found(), Vec::<String>::new());
            history.see(7, Kind::Job, "bootstrap-1", "k");
            assert!(history.found()[0].contains(words), "{:?}", history.found());
        }
        let mut history = History::new();
        history.push(1, good());
        history.made(2, "a");
        history.see(3, Kind::Job, "bootstrap-1", "j").complete = true;
        history.push(4, StoreFile::Good(Settings { title: 2, ..settings() }));
        history.push(5, good());
        history.see(6, Kind::Job, "bootstrap-1", "k");
        assert_eq!(history.found(), Vec::<String>::new());
    }
}
