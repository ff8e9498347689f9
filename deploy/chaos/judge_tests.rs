//! What the judge lets pass and what it does not.

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
        let fleet = Fleet { budget: AMPLE, percent: 100, approved: BTreeSet::new(), grace: 0, broken: false };
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
    Settings { title: 1, version: 1, storefront: true, redis: false, protect: false, host: None }
}

/// A change of what the Job does.
fn another() -> StoreFile {
    StoreFile::Good(Settings { title: 2, ..settings() })
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
    for (file, usable, refused) in
        [(Some(good()), true, false), (Some(broken()), true, false), (None, false, false), (None, true, true)]
    {
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
    history.settled.push(Settled { at: history.at(5), until: history.at(5), push: 2 });
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
        let made_again =
            |history: &History| history.found().into_iter().find(|what| what.contains("made again"));
        assert_eq!(made_again(&history), None);
        history.see(7, Kind::Job, "bootstrap-1", "k");
        assert!(made_again(&history).unwrap().contains(words), "{:?}", history.found());
    }
    for (complete, other_complete, violations) in
        [(true, true, 0), (true, false, 1), (false, false, 0), (false, true, 0)]
    {
        let mut history = taken_back(complete);
        history.see(5, Kind::Job, "bootstrap-2", "o").complete = other_complete;
        history.push(6, good());
        history.see(7, Kind::Job, "bootstrap-1", "k");
        assert_eq!(history.found().len(), violations, "{complete} {other_complete}: {:?}", history.found());
    }
}

#[test]
fn a_job_that_had_run_before_excuses_nothing() {
    let mut history = History::new();
    history.push(1, good());
    history.made(2, "a");
    history.see(2, Kind::Job, "bootstrap-2", "o").complete = true;
    history.see(3, Kind::Job, "bootstrap-1", "j").complete = true;
    history.push(4, another());
    history.see(5, Kind::Job, "bootstrap-2", "o").complete = true;
    history.push(6, good());
    history.see(7, Kind::Job, "bootstrap-1", "k");
    assert_eq!(history.found().len(), 1, "{:?}", history.found());
}

#[test]
fn a_job_that_outlived_a_change_and_its_end_is_not_made_again_because_of_them() {
    for (last_seen, violations) in [(5, 0), (8, 1)] {
        let mut history = taken_back(true);
        history.see(5, Kind::Job, "bootstrap-2", "o").complete = true;
        history.push(6, good());
        history.settled.push(Settled { at: history.at(7), until: history.at(7), push: 2 });
        history.see(last_seen, Kind::Job, "bootstrap-1", "j").complete = true;
        history.see(9, Kind::Job, "bootstrap-1", "j").gone = true;
        history.see(10, Kind::Job, "bootstrap-1", "k");
        assert_eq!(history.found().len(), violations, "last seen at {last_seen} s: {:?}", history.found());
    }
}

/// A store whose Job has run, or not, when a commit changes it.
fn taken_back(complete: bool) -> History {
    let mut history = History::new();
    history.push(1, good());
    history.made(2, "a");
    history.see(3, Kind::Job, "bootstrap-1", "j").complete = complete;
    history.push(4, another());
    history
}

#[test]
fn a_removal_before_a_settled_broken_file_excuses_no_deletion_after_it() {
    let mut history = History::new();
    history.push(1, None);
    history.push(2, good());
    history.made(3, "a");
    history.push(4, None);
    history.push(5, broken());
    history.settled.push(Settled { at: history.at(6), until: history.at(6), push: 3 });
    history.deleted(7, "a");
    assert!(history.found()[0].contains("was deleted"), "{:?}", history.found());
}

#[test]
fn a_job_that_has_run_goes_only_when_another_one_has() {
    for (other_complete, namespace_goes, violations) in
        [(true, false, 0), (false, false, 1), (false, true, 0)]
    {
        let mut history = taken_back(true);
        history.see(5, Kind::Job, "bootstrap-2", "o").complete = other_complete;
        if namespace_goes {
            history.push(5, None);
            history.deleted(7, "a");
        }
        let gone = history.see(6, Kind::Job, "bootstrap-1", "j");
        (gone.gone, gone.complete) = (true, true);
        assert_eq!(
            history.found().len(),
            violations,
            "{other_complete} {namespace_goes}: {:?}",
            history.found()
        );
    }
}
