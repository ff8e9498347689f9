//! Which member owns which part of a source's stores, and who should. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::names::StoreId;

/// How many shards there are. Fixed for ever: another number would give every store another shard, and two versions of
/// the daemon would disagree about who owns it.
const SHARDS: u8 = 64;

/// One of the 64 parts of a source's stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// The shard whose owner also does what is to be done once for all stores.
    pub const SPEAKER: Self = Self(0);

    /// Returns the shard of a store. It follows from the id alone.
    pub fn of(store: &StoreId) -> Self {
        Self(Sha256::digest(store.as_str())[0] % SHARDS)
    }

    /// Returns every shard.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// Reads it as the ring writes it: two digits.
    fn read(text: &str) -> Option<Self> {
        let shard = text.parse().ok().filter(|number| *number < SHARDS).map(Self)?;
        (shard.to_string() == text).then_some(shard)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// One life of a replica: its identity and the uid of the Lease that it made for itself. A uid never comes back, so what
/// an earlier life owned is never taken for this one's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The pod's name.
    pub identity: Arc<str>,
    /// The uid of its Lease.
    pub uid: Arc<str>,
}

impl Member {
    pub(super) fn new(identity: &str, uid: &str) -> Self {
        Self { identity: identity.into(), uid: uid.into() }
    }

    /// Reads it as the ring writes it. What somebody else wrote there is a member that has no Lease.
    fn read(text: &str) -> Self {
        let (identity, uid) = text.rsplit_once('/').unwrap_or((text, ""));
        Self::new(identity, uid)
    }

    /// How much it is meant for a shard. The same for every life, so that a restart moves nothing twice.
    fn weight(&self, shard: Shard) -> [u8; 8] {
        let hash = Sha256::new().chain_update(&*self.identity).chain_update([0, shard.0]).finalize();
        std::array::from_fn(|index| hash[index])
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.identity, self.uid)
    }
}

/// How the members share the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// One member has all of them, the others wait for its end.
    Leader,
    /// Each has its part.
    Spread,
}

impl Spread {
    /// Its word in a label.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Spread => "spread",
        }
    }

    /// Reads that word. Another one was written by another version: then one member has all, which suits every version.
    pub(super) fn read(word: &str) -> Self {
        if word == Self::Spread.word() { Self::Spread } else { Self::Leader }
    }
}

/// Which member owns which shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ring {
    owners: BTreeMap<Shard, Member>,
    /// When it was changed last, in seconds since 1970 by the API server's clock. For people; decides nothing.
    pub(super) changed: Option<i64>,
}

impl Ring {
    /// Reads the data of the ring's ConfigMap.
    pub(super) fn read(data: &BTreeMap<String, String>) -> Self {
        let shards = data.iter().filter_map(|(shard, owner)| Some((Shard::read(shard)?, owner)));
        let owners = shards.map(|(shard, owner)| (shard, Member::read(owner))).collect();
        Self { owners, changed: None }
    }

    pub(super) fn owner(&self, shard: Shard) -> Option<&Member> {
        self.owners.get(&shard)
    }

    /// Returns every shard that has an owner, with it.
    pub(super) fn owners(&self) -> impl Iterator<Item = (Shard, &Member)> {
        self.owners.iter().map(|(shard, owner)| (*shard, owner))
    }

    pub(super) fn set(&mut self, shard: Shard, owner: Option<Member>) {
        match owner {
            Some(owner) => _ = self.owners.insert(shard, owner),
            None => _ = self.owners.remove(&shard),
        }
    }

    /// Returns what has to change in the ConfigMap's data to make another ring of this one.
    pub(super) fn changes(&self, to: &Self) -> BTreeMap<String, Option<String>> {
        let changed = Shard::all().filter(|shard| self.owner(*shard) != to.owner(*shard));
        changed.map(|shard| (shard.to_string(), to.owner(shard).map(Member::to_string))).collect()
    }

    /// Tells which of these members should own which shard; none when there are none. Whoever computes it from the same
    /// ring and members comes to the same.
    pub(super) fn wishes<'a>(&self, members: &[&'a Member], spread: Spread) -> BTreeMap<Shard, &'a Member> {
        let heaviest =
            |shard| members.iter().copied().max_by_key(|member| (member.weight(shard), &member.uid));
        let owned = self.owners().find_map(|(_, owner)| members.iter().copied().find(|it| *it == owner));
        let leader = owned.or_else(|| heaviest(Shard::SPEAKER));
        let wish = |shard| match spread {
            Spread::Leader => leader,
            Spread::Spread => heaviest(shard),
        };
        Shard::all().filter_map(|shard| Some((shard, wish(shard)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> Vec<Member> {
        names.iter().map(|name| Member::new(name, &format!("uid-{name}"))).collect()
    }

    fn wishes(ring: &Ring, members: &[Member], spread: Spread) -> BTreeMap<Shard, Member> {
        let all: Vec<_> = members.iter().collect();
        ring.wishes(&all, spread).into_iter().map(|(shard, member)| (shard, member.clone())).collect()
    }

    #[test]
    fn the_shard_of_a_store_is_fixed_for_ever() {
        let of = |id: &str| Shard::of(&id.parse().unwrap()).to_string();
        // The first byte of each name's SHA-256, modulo 64: `printf acme | sha256sum`.
        assert_eq!([of("acme"), of("a"), of("shop-1")], ["02", "10", "57"]);
    }

    #[test]
    fn a_ring_is_read_as_it_is_written_and_what_is_no_shard_is_left_alone() {
        let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let data = BTreeMap::from([
            text("00", "pod-a/1-2"),
            text("63", "somebody"),
            text("64", "x/y"),
            text("7", "x/y"),
            text("note", "x"),
        ]);
        let ring = Ring::read(&data);
        let owners: Vec<_> = ring.owners().map(|(shard, owner)| format!("{shard} {owner}")).collect();
        assert_eq!(owners, ["00 pod-a/1-2", "63 somebody/"]);
        let mut other = ring.clone();
        other.set(Shard(63), None);
        other.set(Shard(1), Some(Member::new("b", "u")));
        let changes = BTreeMap::from([("01".to_owned(), Some("b/u".to_owned())), ("63".to_owned(), None)]);
        assert_eq!(ring.changes(&other), changes);
    }

    #[test]
    fn a_member_that_comes_or_goes_moves_only_its_share() {
        let all = members(&["storekeeper-a", "storekeeper-b", "storekeeper-c"]);
        let (three, two) = (
            wishes(&Ring::default(), &all, Spread::Spread),
            wishes(&Ring::default(), &all[..2], Spread::Spread),
        );
        for (shard, member) in &three {
            assert!(*member == two[shard] || *member == all[2], "{shard} moves without need");
        }
        for member in &all {
            let share = three.values().filter(|it| *it == member).count();
            assert!((10..=32).contains(&share), "{member} has {share} of 64");
        }
    }

    #[test]
    fn a_leader_stays_whoever_comes_and_a_new_one_is_agreed_on() {
        let all = members(&["a", "b", "c"]);
        let mut ring = Ring::default();
        let first = wishes(&ring, &all, Spread::Leader)[&Shard(5)].clone();
        let other = all.iter().find(|member| **member != first).unwrap();
        assert!(wishes(&ring, &all, Spread::Leader).values().all(|member| *member == first));
        ring.set(Shard(9), Some(other.clone()));
        ring.set(Shard(3), Some(Member::new("gone", "u")));
        assert!(wishes(&ring, &all, Spread::Leader).values().all(|member| member == other));
        assert!(wishes(&ring, &[], Spread::Leader).is_empty());
    }
}
