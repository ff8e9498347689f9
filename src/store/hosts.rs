//! One host, one store: who gets a host that two files claim, and which hosts a fleet has.

use std::collections::BTreeMap;

use super::shop::Draft;
use super::{Fleet, Problem};
use crate::names::{FLEET_FILE, Host, StoreId};

/// Finds the stores whose host lies outside the fleet's domains.
pub(super) fn outside(drafts: &BTreeMap<&StoreId, &Draft>, fleet: &Fleet) -> BTreeMap<StoreId, Problem> {
    let outside = drafts.iter().filter(|(_, draft)| !lies_inside(&draft.store.host, fleet));
    outside.map(|(id, draft)| ((*id).clone(), stranger(draft, fleet))).collect()
}

/// Whether a host is one of the fleet's domains or lies below one.
fn lies_inside(host: &Host, fleet: &Fleet) -> bool {
    host.domains().any(|domain| domain == fleet.domain.as_str() || fleet.domains.contains(domain))
}

fn stranger(draft: &Draft, fleet: &Fleet) -> Problem {
    let host = &draft.store.host;
    draft.host_problem(&format!(
        "`spec.host` is {host}, which lies in no domain of the fleet: write one below {}, or add its domain to `spec.domains` of \
         `{FLEET_FILE}`",
        fleet.domain
    ))
}

/// Finds the stores that can't have the host that they claim.
///
/// The store that holds a host in the cluster now keeps it. Without such a store nobody gets it: the order of
/// file names is no reason to answer for somebody else's shop. A store that is rejected, for this or another
/// reason, stays in the cluster as it is, and so does its hold on its old host; that is why this repeats until
/// nothing changes.
pub(super) fn conflicts(
    drafts: &BTreeMap<&StoreId, &Draft>,
    rejected: &BTreeMap<StoreId, String>,
    incumbents: &BTreeMap<Host, StoreId>,
) -> BTreeMap<StoreId, Problem> {
    let mut losers: BTreeMap<StoreId, Problem> = BTreeMap::new();
    let mut claims: Vec<&Draft> = drafts.values().copied().collect();
    claims.sort_by(|a, b| a.store.host.cmp(&b.store.host));
    loop {
        let before = losers.len();
        for claimants in claims.chunk_by(|a, b| a.store.host == b.store.host) {
            let lost = contest(claimants, drafts, rejected, &losers, incumbents);
            for (id, problem) in lost {
                losers.entry(id).or_insert(problem);
            }
        }
        if losers.len() == before {
            return losers;
        }
    }
}

/// Finds which of the stores that claim one host can't have it.
fn contest(
    claimants: &[&Draft],
    drafts: &BTreeMap<&StoreId, &Draft>,
    rejected: &BTreeMap<StoreId, String>,
    losers: &BTreeMap<StoreId, Problem>,
    incumbents: &BTreeMap<Host, StoreId>,
) -> Vec<(StoreId, Problem)> {
    let file = |holder| drafts.get(holder).map(|draft| draft.store.file.as_str());
    let lost = |draft: &&Draft, problem| (draft.store.id.clone(), problem);
    match incumbents.get(&claimants[0].store.host) {
        Some(holder) if claimants.iter().any(|draft| draft.store.id == *holder) => {
            let others = claimants.iter().filter(|draft| draft.store.id != *holder);
            let file = file(holder).unwrap_or_default();
            others.map(|draft| lost(draft, held(draft, holder, file))).collect()
        }
        Some(holder) if rejected.contains_key(holder) || losers.contains_key(holder) => {
            let file = rejected.get(holder).map(String::as_str).or_else(|| file(holder)).unwrap_or_default();
            claimants.iter().map(|draft| lost(draft, stuck_holder(draft, holder, file))).collect()
        }
        _ if claimants.len() > 1 => {
            claimants.iter().map(|draft| lost(draft, shared(draft, claimants))).collect()
        }
        _ => Vec::new(),
    }
}

fn held(draft: &Draft, holder: &StoreId, file: &str) -> Problem {
    let message = format!(
        "host `{}` belongs to the store `{holder}` (`{file}`), which runs with it: {}",
        draft.store.host,
        remedy(draft)
    );
    draft.host_problem(&message)
}

fn stuck_holder(draft: &Draft, holder: &StoreId, file: &str) -> Problem {
    let message = format!(
        "host `{}` is still held by the store `{holder}`, whose file was rejected: correct `{file}` first, or {}",
        draft.store.host,
        remedy(draft)
    );
    draft.host_problem(&message)
}

fn shared(draft: &Draft, claimants: &[&Draft]) -> Problem {
    let others: Vec<&&Draft> = claimants.iter().filter(|other| other.store.id != draft.store.id).collect();
    let named = others.iter().take(2).map(|other| format!("`{}` line {}", other.store.file, other.host_line));
    let mut named = named.collect::<Vec<_>>().join(", ");
    if others.len() > 2 {
        named = format!("{named} and {} more", others.len() - 2);
    }
    let message = format!("host `{}` is claimed by {named} too: {}", draft.store.host, remedy(draft));
    draft.host_problem(&message)
}

fn remedy(draft: &Draft) -> &'static str {
    if draft.host_is_default { "set another `spec.host`" } else { "write another host here" }
}
