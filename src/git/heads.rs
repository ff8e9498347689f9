//! Which of a remote's refs are the heads of its pull requests.

use std::collections::BTreeMap;

use git2::Oid;

use super::settings::PullNames;

/// How many heads are kept of what a remote lists: those with the highest numbers.
const HEADS_MAX: usize = 100_000;

/// Collects the heads of pull requests from a list of refs.
pub(super) struct PullHeads {
    names: PullNames,
    pulls: BTreeMap<u64, Oid>,
    merge_requests: BTreeMap<u64, Oid>,
}

impl PullHeads {
    pub(super) fn new(names: PullNames) -> Self {
        Self { names, pulls: BTreeMap::new(), merge_requests: BTreeMap::new() }
    }

    /// Looks at one ref; every name that is not exactly a forge's is nothing.
    pub(super) fn add(&mut self, name: &str, id: Oid) {
        let (pull, merge_request) = match self.names {
            PullNames::Any => (true, true),
            PullNames::Pull => (true, false),
            PullNames::MergeRequest => (false, true),
        };
        let (heads, number) = match (number(name, "refs/pull/"), number(name, "refs/merge-requests/")) {
            (Some(number), _) if pull => (&mut self.pulls, number),
            (_, Some(number)) if merge_request => (&mut self.merge_requests, number),
            _ => return,
        };
        heads.insert(number, id);
        if heads.len() > HEADS_MAX {
            heads.pop_first();
        }
    }

    /// Returns the commits by number.
    pub(super) fn commits(self) -> BTreeMap<u64, String> {
        let mut heads = self.merge_requests;
        heads.extend(self.pulls);
        while heads.len() > HEADS_MAX {
            heads.pop_first();
        }
        heads.into_iter().map(|(number, id)| (number, id.to_string())).collect()
    }
}

/// Returns the number of a name, written as a forge writes it.
fn number(name: &str, before: &str) -> Option<u64> {
    let digits = name.strip_prefix(before)?.strip_suffix("/head")?;
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: char) -> Oid {
        Oid::from_str(&digit.to_string().repeat(40)).unwrap()
    }

    fn collected(names: PullNames, refs: &[(&str, char)]) -> Vec<(u64, String)> {
        let mut heads = PullHeads::new(names);
        for (name, digit) in refs {
            heads.add(name, commit(*digit));
        }
        heads.commits().into_iter().collect()
    }

    #[test]
    fn only_names_as_a_forge_writes_them_are_heads_of_pull_requests() {
        let hostile = [
            "refs/pull/0/head",
            "refs/pull/01/head",
            "refs/pull/+1/head",
            "refs/pull/-1/head",
            "refs/pull/1/merge",
            "refs/pull/1/head/head",
            "refs/pull//head",
            "refs/pull/1/head^{}",
            "refs/pull/99999999999999999999/head",
            "refs/pull/1\u{0661}/head",
            "refs/merge-requests/1/train",
            "refs/tags/refs/pull/1/head",
        ];
        assert!(collected(PullNames::Any, &hostile.map(|name| (name, '1'))).is_empty());
        let good = [("refs/pull/7/head", '1'), ("refs/merge-requests/8/head", '2')];
        assert_eq!(collected(PullNames::Any, &good), [(7, "1".repeat(40)), (8, "2".repeat(40))]);
    }

    #[test]
    fn a_forge_that_is_known_lets_nobody_push_heads_under_another_forges_name() {
        let both = [("refs/merge-requests/7/head", '2'), ("refs/pull/7/head", '1')];
        assert_eq!(collected(PullNames::Any, &both), [(7, "1".repeat(40))]);
        assert_eq!(collected(PullNames::Pull, &both), [(7, "1".repeat(40))]);
        assert_eq!(collected(PullNames::MergeRequest, &both), [(7, "2".repeat(40))]);
    }

    #[test]
    fn of_too_many_heads_those_with_the_highest_numbers_are_kept() {
        let mut heads = PullHeads::new(PullNames::Any);
        for number in 1..=HEADS_MAX + 5 {
            heads.add(&format!("refs/pull/{number}/head"), commit('1'));
            heads.add(&format!("refs/merge-requests/{}/head", number + 2), commit('2'));
        }
        let heads = heads.commits();
        assert_eq!(heads.len(), HEADS_MAX);
        assert_eq!(heads.first_key_value().map(|(number, _)| *number), Some(8));
    }
}
