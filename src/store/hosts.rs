//! One host, one store: who gets a host that two files claim.

use std::collections::{BTreeMap, BTreeSet};

use super::Problem;
use super::shop::Draft;
use crate::names::{Host, StoreId};

/// Finds the stores that can't have the host that they claim.
///
/// The store that holds a host in the cluster now keeps it. Without such a store nobody gets it: the order of
/// file names is no reason to answer for somebody else's shop. A store that is rejected, for this or another
/// reason, stays in the cluster as it is, and so does its hold on its old host; that is why this repeats until
/// nothing changes.
pub(super) fn conflicts(
    drafts: &BTreeMap<StoreId, Draft>,
    rejected: &BTreeMap<StoreId, String>,
    incumbents: &BTreeMap<Host, StoreId>,
) -> BTreeMap<StoreId, Problem> {
    let mut losers: BTreeMap<StoreId, Problem> = BTreeMap::new();
    let mut claims: BTreeMap<&Host, Vec<&Draft>> = BTreeMap::new();
    for draft in drafts.values() {
        claims.entry(&draft.host).or_default().push(draft);
    }
    loop {
        let before = losers.len();
        for (host, claimants) in &claims {
            let holder = incumbents.get(*host);
            let stuck: BTreeSet<&StoreId> = rejected.keys().chain(losers.keys()).collect();
            let lost: Vec<(StoreId, Problem)> = match holder {
                Some(holder) if claimants.iter().any(|draft| draft.id == *holder) => {
                    let file = drafts.get(holder).map_or("", |draft| draft.file.as_str());
                    let others = claimants.iter().filter(|draft| draft.id != *holder);
                    others.map(|draft| (draft.id.clone(), held(draft, holder, file))).collect()
                }
                Some(holder) if stuck.contains(holder) => {
                    let file = rejected.get(holder).map(String::as_str);
                    let file = file.or_else(|| drafts.get(holder).map(|draft| draft.file.as_str()));
                    let file = file.unwrap_or_default();
                    claimants
                        .iter()
                        .map(|draft| (draft.id.clone(), stuck_holder(draft, holder, file)))
                        .collect()
                }
                _ if claimants.len() > 1 => {
                    claimants.iter().map(|draft| (draft.id.clone(), shared(draft, claimants))).collect()
                }
                _ => Vec::new(),
            };
            for (id, problem) in lost {
                losers.entry(id).or_insert(problem);
            }
        }
        if losers.len() == before {
            return losers;
        }
    }
}

fn held(draft: &Draft, holder: &StoreId, file: &str) -> Problem {
    let message = format!(
        "host `{}` belongs to the store `{holder}` (`{file}`), which runs with it: {}",
        draft.host,
        remedy(draft)
    );
    draft.host_problem.saying(&message)
}

fn stuck_holder(draft: &Draft, holder: &StoreId, file: &str) -> Problem {
    let message = format!(
        "host `{}` is still held by the store `{holder}`, whose file was rejected: correct `{file}` first, or {}",
        draft.host,
        remedy(draft)
    );
    draft.host_problem.saying(&message)
}

fn shared(draft: &Draft, claimants: &[&Draft]) -> Problem {
    let others: Vec<&&Draft> = claimants.iter().filter(|other| other.id != draft.id).collect();
    let named = others.iter().take(2).map(|other| format!("`{}` line {}", other.file, other.host_at.line));
    let mut named = named.collect::<Vec<_>>().join(", ");
    if others.len() > 2 {
        named = format!("{named} and {} more", others.len() - 2);
    }
    let message = format!("host `{}` is claimed by {named} too: {}", draft.host, remedy(draft));
    draft.host_problem.saying(&message)
}

fn remedy(draft: &Draft) -> &'static str {
    if draft.host_is_default { "set another `spec.host`" } else { "write another host here" }
}
