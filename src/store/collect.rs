//! From what the files of a commit say to a snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clusters::Scope;
use super::hosts;
use super::known::{KnownFile, Said};
use super::path::{Claim, Misplaced, is_misnamed_fleet_file};
use super::problem::quote;
use super::shop::{Draft, Outcome};
use super::{Fleet, Problem, Revision, Snapshot, StoreEntry};
use crate::names::{ClusterName, FLEET_FILE, Host, STORES_FOLDER, StoreId};

/// Settles who has which file and which host, over all clusters, and then whose stores are wanted.
///
/// `stores` holds the files under `stores/`, all of them read; `others` the paths of all other wanted files.
pub(super) fn assemble<'k>(
    revision: &Revision,
    (fleet, scope): (Arc<Fleet>, &Scope),
    stores: &'k BTreeMap<String, KnownFile>,
    others: impl Iterator<Item = &'k String>,
    incumbents: &BTreeMap<Host, StoreId>,
) -> Snapshot {
    let mut collected = Collected::default();
    for path in others.filter(|path| *path != FLEET_FILE && is_misnamed_fleet_file(path)) {
        let message = format!("this looks like the fleet file, but `{FLEET_FILE}` is: remove one of the two");
        collected.problems.push(Problem::of_file(path, &message));
    }
    collected.problems.extend(fleet.charts.all.values().filter_map(|chart| chart.as_ref().err().cloned()));
    for (path, known) in stores {
        collected.take(path, known);
    }
    collected.protect_claimed_names(stores);
    collected.settle_hosts(&fleet, incumbents);
    let mut snapshot = collected.into_snapshot(revision, fleet);
    if let Scope::Cluster(Some(own)) = scope {
        let elsewhere = stores.values().filter_map(|known| elsewhere(known, own));
        leave_to_others(&mut snapshot, elsewhere.collect());
    }
    snapshot
}

/// Returns the store of a file that another cluster has, and which.
fn elsewhere(known: &KnownFile, own: &ClusterName) -> Option<(StoreId, ClusterName)> {
    let (Claim::File(id), Some(Said::Store(outcome))) = (&known.claim, &known.said) else { return None };
    let cluster = outcome.cluster.as_ref().filter(|cluster| *cluster != own)?;
    Some((id.clone(), cluster.clone()))
}

/// Takes the stores of other clusters out. One whose file is wrong stays in: whatever is of it here is protected.
fn leave_to_others(snapshot: &mut Snapshot, elsewhere: BTreeMap<StoreId, ClusterName>) {
    let is_left = |id: &StoreId, entry: &StoreEntry| elsewhere.contains_key(id) && entry.accepted().is_some();
    snapshot.stores.retain(|id, entry| !is_left(id, entry));
    snapshot.elsewhere = Arc::new(elsewhere);
}

/// What has been read so far.
#[derive(Default)]
struct Collected<'k> {
    drafts: BTreeMap<&'k StoreId, &'k Draft>,
    rejected: BTreeMap<StoreId, Vec<Problem>>,
    /// Names in `metadata.name` of files that are not theirs, with the problems of the file.
    claimed: Vec<(StoreId, Vec<Problem>)>,
    /// Files in the wrong place, by the store that they mean.
    misplaced: Vec<(&'k StoreId, Misplaced, &'k str)>,
    problems: Vec<Problem>,
}

impl<'k> Collected<'k> {
    fn take(&mut self, path: &'k str, known: &'k KnownFile) {
        match (&known.claim, &known.said) {
            (Claim::File(id), Some(Said::Store(Outcome { draft, claims, cluster: _ }))) => match draft {
                Ok(draft) => {
                    self.drafts.insert(id, draft);
                }
                Err(problems) => {
                    let other = claims.as_ref().filter(|claimed| *claimed != id);
                    self.claimed.extend(other.map(|claimed| (claimed.clone(), problems.clone())));
                    self.rejected.insert(id.clone(), problems.clone());
                }
            },
            (Claim::File(id), _) => {
                // Never in a sound program. Whatever it says, the store has a file.
                let message = "it was not read, which is a mistake in storekeeper: please report it";
                self.rejected.insert(id.clone(), vec![Problem::of_file(path, message)]);
            }
            (Claim::Misplaced(id, how), said) => {
                self.misplaced.push((id, *how, path));
                if let Some(Said::Claims(other)) = said
                    && other != id
                {
                    let message = format!(
                        "a store file is called after its store: `{STORES_FOLDER}/{other}.yaml` by what it says"
                    );
                    self.claimed.push((other.clone(), vec![Problem::of_file(path, &message)]));
                }
            }
            (Claim::Nameless(why), said) => {
                let message =
                    format!("a store file is called after its store, `{STORES_FOLDER}/<name>.yaml`: {why}");
                let problem = Problem::of_file(path, &message);
                if let Some(Said::Claims(id)) = said {
                    self.claimed.push((id.clone(), vec![problem.clone()]));
                }
                self.problems.push(problem);
            }
            (Claim::Other, Some(Said::Unreadable(why))) => {
                let message = format!("this is {why}; only regular files are read, nothing behind it is");
                self.problems.push(Problem::of_file(path, &message));
            }
            (Claim::Other, _) => {}
        }
    }

    /// A file that is not in its place, or carries another store's name, keeps that store from being taken for
    /// removed: whoever wrote it may well believe that it is the store's file.
    fn protect_claimed_names(&mut self, stores: &BTreeMap<String, KnownFile>) {
        for (id, how, path) in std::mem::take(&mut self.misplaced) {
            let right = format!("{STORES_FOLDER}/{id}.yaml");
            let has_file = stores.contains_key(&right);
            let (twice, message) = match how {
                Misplaced::Extension if has_file => (true, claims_too(&right, id)),
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
            let problem = Problem::of_file(path, &message);
            if twice {
                self.drafts.remove(id);
                let message = claims_too(path, id);
                let problems = self.rejected.entry(id.clone()).or_default();
                problems.push(Problem::of_file(&right, &message));
                problems.push(problem);
            } else if has_file {
                self.problems.push(problem);
            } else {
                self.rejected.entry(id.clone()).or_default().push(problem);
            }
        }
        for (id, problems) in std::mem::take(&mut self.claimed) {
            if !self.drafts.contains_key(&id) {
                self.rejected.entry(id).or_insert(problems);
            }
        }
    }

    fn settle_hosts(&mut self, fleet: &Fleet, incumbents: &BTreeMap<Host, StoreId>) {
        self.reject(hosts::outside(&self.drafts, fleet));
        let file_of = |problems: &Vec<Problem>| problems.first().map(|problem| problem.file.clone());
        let rejected = self.rejected.iter();
        let rejected =
            rejected.map(|(id, problems)| (id.clone(), file_of(problems).unwrap_or_default())).collect();
        self.reject(hosts::conflicts(&self.drafts, &rejected, incumbents));
    }

    fn reject(&mut self, problems: BTreeMap<StoreId, Problem>) {
        for (id, problem) in problems {
            self.drafts.remove(&id);
            self.rejected.insert(id, vec![problem]);
        }
    }

    fn into_snapshot(self, revision: &Revision, fleet: Arc<Fleet>) -> Snapshot {
        let Self { drafts, rejected, claimed: _, misplaced: _, problems } = self;
        let accepted = drafts
            .into_iter()
            .map(|(id, draft)| (id.clone(), StoreEntry::Accepted(Arc::clone(&draft.store))));
        let rejected = rejected.into_iter().map(|(id, problems)| (id, StoreEntry::Rejected(problems)));
        let stores = accepted.chain(rejected).collect();
        let elsewhere = Arc::default();
        Snapshot { revision: revision.clone(), fleet, stores, elsewhere, problems }
    }
}

fn claims_too(other: &str, id: &StoreId) -> String {
    format!("this file and {} both claim the store `{id}`: remove one of the two", quote(other))
}
