//! From the files of a commit to a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::path::{Claim, Misplaced, claim, is_misnamed_fleet_file};
use super::problem::quote;
use super::shop::{self, Draft};
use super::{FileContent, Fleet, Freeze, Limits, Problem, RepositoryTree, Snapshot, Store, StoreEntry};
use super::{fleet, hosts, values};
use crate::names::{FLEET_FILE, Host, STORES_FOLDER, StoreId};

/// Reads a repository at one commit.
///
/// `chart_file` finds a file that the chart ships by its path (for value files written `chart:<path>`).
/// `incumbents` says which store holds a host in the cluster now: when two files claim one host, it keeps it.
///
/// # Errors
/// [`Freeze`] when the commit can't be used as a whole.
pub fn read<'chart>(
    tree: &RepositoryTree,
    chart_file: &dyn Fn(&str) -> Option<&'chart [u8]>,
    incumbents: &BTreeMap<Host, StoreId>,
    limits: &Limits,
) -> Result<Snapshot, Freeze> {
    check_tree(tree, limits)?;
    let fleet = fleet::read(tree, chart_file, limits)?;
    let mut collected = Collected::default();
    for (path, content) in &tree.files {
        collected.take(path, content, &fleet, limits);
    }
    collected.protect_claimed_names();
    collected.settle_hosts(incumbents);
    Ok(collected.into_snapshot(tree, fleet))
}

fn check_tree(tree: &RepositoryTree, limits: &Limits) -> Result<(), Freeze> {
    if tree.files.is_empty() {
        return Err(Freeze::EmptyTree);
    }
    match tree.files.get(STORES_FOLDER) {
        Some(FileContent::Unreadable(why)) => return Err(Freeze::StoresNotAFolder { why: why.clone() }),
        Some(FileContent::Bytes(_)) => return Err(Freeze::StoresNotAFolder { why: "a file".to_owned() }),
        None => {}
    }
    let store_files = tree.files.keys().filter(|path| !matches!(claim(path), None | Some(Claim::Other)));
    let count = store_files.count();
    if count > limits.store_files {
        return Err(Freeze::TooManyFiles { count, max: limits.store_files });
    }
    if !tree.files.contains_key(FLEET_FILE)
        && let Some(path) = tree.files.keys().find(|path| is_misnamed_fleet_file(path))
    {
        let message = format!("the fleet file must be called `{FLEET_FILE}`: rename it");
        return Err(Freeze::Fleet(vec![Problem::of_file(path, &message)]));
    }
    Ok(())
}

/// What has been read so far.
#[derive(Default)]
struct Collected {
    drafts: BTreeMap<StoreId, Draft>,
    rejected: BTreeMap<StoreId, Vec<Problem>>,
    /// Stores whose file is where it should be, good or bad.
    in_place: BTreeSet<StoreId>,
    /// Names in `metadata.name` of rejected files, with the problems of the file.
    claimed: Vec<(StoreId, Vec<Problem>)>,
    /// Files in the wrong place, by the store that they mean.
    misplaced: Vec<(StoreId, Misplaced, String)>,
    problems: Vec<Problem>,
}

impl Collected {
    fn take(&mut self, path: &str, content: &FileContent, fleet: &Fleet, limits: &Limits) {
        match claim(path) {
            Some(Claim::File(id)) => {
                self.in_place.insert(id.clone());
                let shop::Outcome { draft, claims } = shop::read(path, content, &id, &fleet.domain, limits);
                match draft {
                    Ok(draft) => {
                        self.drafts.insert(id, draft);
                    }
                    Err(problems) => {
                        let other = claims.filter(|claimed| *claimed != id);
                        self.claimed.extend(other.map(|claimed| (claimed, problems.clone())));
                        self.rejected.insert(id, problems);
                    }
                }
            }
            Some(Claim::Misplaced(id, how)) => self.misplaced.push((id, how, path.to_owned())),
            Some(Claim::Nameless(why)) => {
                let message =
                    format!("a store file is called after its store, `{STORES_FOLDER}/<name>.yaml`: {why}");
                self.problems.push(Problem::of_file(path, &message));
            }
            Some(Claim::Other) => {
                if let FileContent::Unreadable(why) = content {
                    let message = format!("this is {why}; only regular files are read, nothing behind it is");
                    self.problems.push(Problem::of_file(path, &message));
                }
            }
            None if path != FLEET_FILE && is_misnamed_fleet_file(path) => {
                let message =
                    format!("this looks like the fleet file, but `{FLEET_FILE}` is: remove one of the two");
                self.problems.push(Problem::of_file(path, &message));
            }
            None => {}
        }
    }

    /// A file that is not in its place, or carries another store's name, keeps that store from being taken for
    /// removed: whoever wrote it may well believe that it is the store's file.
    fn protect_claimed_names(&mut self) {
        for (id, how, path) in std::mem::take(&mut self.misplaced) {
            let right = format!("{STORES_FOLDER}/{id}.yaml");
            let has_file = self.in_place.contains(&id);
            let (twice, message) = match how {
                Misplaced::Extension if has_file => (true, claims_too(&right, &id)),
                Misplaced::Deeper if has_file => (
                    false,
                    format!(
                        "store files lie directly in `{STORES_FOLDER}/`, and `{right}` exists: remove this one"
                    ),
                ),
                Misplaced::UpperCase if has_file => {
                    (false, format!("names are lower case, and `{right}` exists: remove this file"))
                }
                Misplaced::Deeper => {
                    (false, format!("store files lie directly in `{STORES_FOLDER}/`: move it to `{right}`"))
                }
                Misplaced::Extension | Misplaced::UpperCase => {
                    (false, format!("rename the file to `{right}`"))
                }
            };
            let problem = Problem::of_file(&path, &message);
            if twice {
                self.drafts.remove(&id);
                let message = claims_too(&path, &id);
                let problems = self.rejected.entry(id).or_default();
                problems.push(Problem::of_file(&right, &message));
                problems.push(problem);
            } else if has_file {
                self.problems.push(problem);
            } else {
                self.rejected.entry(id).or_default().push(problem);
            }
        }
        for (id, problems) in std::mem::take(&mut self.claimed) {
            if !self.drafts.contains_key(&id) {
                self.rejected.entry(id).or_insert(problems);
            }
        }
    }

    fn settle_hosts(&mut self, incumbents: &BTreeMap<Host, StoreId>) {
        let file_of = |problems: &Vec<Problem>| problems.first().map(|problem| problem.file.clone());
        let rejected = self.rejected.iter();
        let rejected =
            rejected.map(|(id, problems)| (id.clone(), file_of(problems).unwrap_or_default())).collect();
        for (id, problem) in hosts::conflicts(&self.drafts, &rejected, incumbents) {
            self.drafts.remove(&id);
            self.rejected.insert(id, vec![problem]);
        }
    }

    fn into_snapshot(self, tree: &RepositoryTree, fleet: Fleet) -> Snapshot {
        let Self { drafts, rejected, in_place: _, claimed: _, misplaced: _, problems } = self;
        let accepted = drafts.into_values().map(|draft| {
            let store = into_store(draft, &fleet);
            (store.id.clone(), StoreEntry::Accepted(Arc::new(store)))
        });
        let rejected = rejected.into_iter().map(|(id, problems)| (id, StoreEntry::Rejected(problems)));
        let stores = accepted.chain(rejected).collect();
        Snapshot { revision: tree.revision.clone(), fleet, stores, problems }
    }
}

fn claims_too(other: &str, id: &StoreId) -> String {
    format!("this file and {} both claim the store `{id}`: remove one of the two", quote(other))
}

fn into_store(draft: Draft, fleet: &Fleet) -> Store {
    let Draft {
        id,
        display_name,
        host,
        host_at: _,
        host_is_default: _,
        host_problem: _,
        image,
        values,
        file,
    } = draft;
    let base = Arc::clone(&fleet.base);
    let mut store = Store { id, display_name, host, image, values, file, base, digest: String::new() };
    store.digest = values::digest(&store.id, &store.merged());
    store
}
