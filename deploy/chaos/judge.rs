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
    /// When the look ended that found it so.
    pub until: Instant,
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
    found.extend(lost_runs(history.seen, &lives));
    for repeated in repeated_jobs(history.seen, &lives) {
        let again = &repeated.again;
        let reasonable = name_of(&again.namespace).is_some_and(|name| {
            is_undone(&repeated, history.seen)
                && wanted_twice(&repeated, history, &mut |tree| jobs_of(tree, name))
        });
        if !reasonable {
            let how = if repeated.completed.is_some() { "had run to its end" } else { "was there" };
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
        match first(pushed, floor_of_creation(from, life.seen, name, history), life.seen, has) {
            Some(push) => from = push,
            None => found.push(Violation {
                at: Some(life.seen),
                what: format!(
                    "store {name} was made, and no commit that has it was pushed since it was last gone"
                ),
            }),
        }
        let Some(deleting) = life.deleting else { continue };
        let start = floor(from, deleting, history);
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

/// What the daemon had carried out by then, it can't act on again: acts from then on need later commits.
fn floor(from: usize, at: Instant, history: History<'_>) -> usize {
    let last = history.settled.iter().rev().find(|settled| settled.at <= at);
    from.max(last.map_or(0, |settled| settled.push))
}

/// The same for making a store. A broken file leaves its last good version in force, so there the last commit with
/// another file counts.
fn floor_of_creation(from: usize, at: Instant, name: &str, history: History<'_>) -> usize {
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

/// What has run is known by its Job: while a namespace lives, one that has run to its end goes only when another one has
/// and is there, or going back to it would run it again.
fn lost_runs(seen: &[Sighting], lives: &BTreeMap<String, Vec<Life>>) -> Vec<Violation> {
    // Which Jobs have run and are not going, by the life of their namespace.
    let mut there: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut found = Vec::new();
    for job in seen.iter().filter(|sighting| sighting.kind == Kind::Job) {
        let Some(life) = life_of(job, lives) else { continue };
        let there = there.entry(&life.uid).or_default();
        if !job.deleting && !job.gone {
            if job.complete {
                there.insert(&job.uid);
            }
            continue;
        }
        // The namespace's own end may be seen a moment later than that of what is in it.
        let lives_on = life.deleting.is_none_or(|end| end > job.at + Duration::from_secs(2));
        if there.remove(job.uid.as_str()) && there.is_empty() && lives_on {
            let what =
                format!("{}: Job/{} had run to its end and went before another had", job.namespace, job.name);
            found.push(Violation { at: Some(job.at), what });
        }
    }
    found
}

/// A Job that was made again within one life of its namespace.
struct Repeated {
    /// What was last seen of it while it was there.
    before: Sighting,
    /// When it was first seen to have run to its end.
    completed: Option<Instant>,
    /// What was first seen of the new one.
    again: Sighting,
}

fn repeated_jobs(seen: &[Sighting], lives: &BTreeMap<String, Vec<Life>>) -> Vec<Repeated> {
    let mut last: BTreeMap<(&str, &str), (Sighting, Option<Instant>)> = BTreeMap::new();
    let mut found = Vec::new();
    for job in seen.iter().filter(|sighting| sighting.kind == Kind::Job) {
        let Some(life) = life_of(job, lives) else { continue };
        let completed = job.complete.then_some(job.at);
        let (known, known_completed) =
            last.entry((&life.uid, &job.name)).or_insert_with(|| (job.clone(), completed));
        if known.uid != job.uid {
            let before = std::mem::replace(known, job.clone());
            let completed = std::mem::replace(known_completed, completed);
            found.push(Repeated { before, completed, again: job.clone() });
        } else if !job.gone {
            *known = job.clone();
            *known_completed = known_completed.or(completed);
        }
    }
    found
}

/// A Job that has run is needed again only when another one has run since: until then it stays where it is.
fn is_undone(repeated: &Repeated, seen: &[Sighting]) -> bool {
    let Repeated { before, completed, again } = repeated;
    let Some(completed) = completed else { return true };
    let mut ends: BTreeMap<&str, Instant> = BTreeMap::new();
    for job in seen.iter().filter(|sighting| sighting.kind == Kind::Job && sighting.complete) {
        if job.namespace == before.namespace && job.name != before.name {
            ends.entry(&job.uid).or_insert(job.at);
        }
    }
    ends.values().any(|end| completed < end && *end <= again.at)
}

/// A Job's name is a hash of what it does, so it runs once for as long as git wants it. Whoever changes a store and takes
/// that back wants it again: it has to put back what the Job of the other settings did.
fn wanted_twice(
    Repeated { before, completed: _, again }: &Repeated,
    history: History<'_>,
    jobs: &mut dyn FnMut(&Tree) -> Vec<String>,
) -> bool {
    // The old one was there still: what was carried out before then did not make it go.
    let settled = history.settled.iter().rev().find(|settled| settled.until <= before.at);
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
#[path = "judge_tests.rs"]
mod tests;
