//! Whether a namespace's deletion was asked for while a commit was in force that lacks the store. Pure.

use std::time::{Duration, SystemTime};

use super::tree::Tree;

/// How long a request may have been on its way: what was in force at any time since counts.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// The daemon said that a commit is in force.
#[derive(Debug, Clone, Copy)]
pub struct InForce<'a> {
    pub at: SystemTime,
    pub tree: &'a Tree,
}

/// Says what is wrong with a deletion that came at a moment; `said` is what the daemon that lived then said, in order. One
/// that has said nothing yet follows what the one before it did, which only the branch's history is held against.
pub fn complaint(name: &str, at: SystemTime, said: &[InForce<'_>]) -> Option<String> {
    let before = said.iter().rev().find(|said| said.at + ON_ITS_WAY <= at);
    let since = said.iter().filter(|said| said.at <= at && at < said.at + ON_ITS_WAY);
    let mut in_force = before.into_iter().chain(since).peekable();
    in_force.peek()?;
    let has = in_force.all(|said| !said.tree.lacks(name));
    has.then(|| format!("store {name} was deleted while a commit that has it was in force"))
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Breakage, StoreFile};
    use super::*;

    #[test]
    fn a_deletion_needs_a_commit_in_force_that_lacks_the_store() {
        let (without, mut with) = (Tree::default(), Tree::default());
        with.stores.insert("acme", StoreFile::Broken(Breakage::Empty));
        let begun = SystemTime::now();
        let at = |tenths: u64| begun + Duration::from_millis(tenths * 100);
        let said = [InForce { at: at(0), tree: &without }, InForce { at: at(20), tree: &with }];
        assert_eq!(complaint("acme", at(15), &said), None);
        assert_eq!(complaint("acme", at(29), &said), None, "it was on its way");
        assert!(complaint("acme", at(31), &said).is_some());
        assert!(complaint("acme", at(31), &said[1..]).is_some());
        assert_eq!(complaint("acme", at(5), &[]), None);
    }
}
