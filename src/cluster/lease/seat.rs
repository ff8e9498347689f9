//! What one member knows and may do, and its next step. Pure: the time comes in, and others take the steps.
//!
//! A shard changes hands in three ways only: nobody owns it; its owner gives it away, having stopped to write for it
//! before the request was sent; or its owner is gone for good, which somebody has proved. The ring is only ever changed at
//! the version that the change was decided from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ring::{Member, Ring, Shard, Spread};
use crate::names::StoreId;

/// Which part of a Lease's duration is kept clear at its end, for requests on their way and for clocks that run at
/// different speeds.
const MARGIN: u32 = 5;

/// In which part of its duration a Lease is renewed.
pub(super) const RENEWALS: u32 = 3;

/// A Lease as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenLease {
    pub(super) member: Member,
    /// The name of the Lease.
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) duration: Duration,
    pub(super) spread: Spread,
}

/// Another member's Lease and since when it has been as it is, by our own clock.
#[derive(Debug, Clone)]
struct Peer {
    lease: SeenLease,
    since: Instant,
}

impl Peer {
    fn ends(&self) -> Instant {
        self.since + self.lease.duration
    }
}

/// Our own Lease.
#[derive(Debug, Clone)]
struct Tenure {
    member: Member,
    name: String,
    /// Until when we may write.
    valid_until: Instant,
    renew_at: Instant,
}

/// The ring as far as it is known.
#[derive(Debug, Clone)]
enum Known {
    /// Nothing was heard yet.
    Nothing,
    /// There is none; one is made when this moment is over.
    Absent(Option<Instant>),
    At(u64, Ring),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until something is heard or this moment comes.
    Rest(Option<Instant>),
    /// Delete a Lease that is as it was for its whole duration, if it still is.
    Bury(SeenLease),
    /// List all Leases afresh: an owner seems to have none.
    Count,
    /// Read the ring afresh.
    Read,
    /// Change the ring at this version; without one, make it.
    Write(Draft),
}

/// A change of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) version: Option<u64>,
    pub(super) from: Ring,
    pub(super) to: Ring,
}

/// What becomes of our own Lease next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tending {
    /// It is to be made.
    Register,
    /// It is to be renewed at this moment, by this name.
    Renew(Member, String, Instant),
}

/// What a member holds, and who holds what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The shards whose stores this member may write at the moment.
    pub mine: BTreeSet<Shard>,
    /// Those of them that it is about to give away: runs under way may end, and none may begin.
    pub leaving: BTreeSet<Shard>,
    /// Which member owns each shard, alive or not.
    pub owners: BTreeMap<Shard, Member>,
    /// The members that are alive.
    pub alive: BTreeSet<Member>,
    /// Since when the shards are shared like this, in seconds since 1970 by the API server's clock.
    pub since: Option<i64>,
}

impl Holdings {
    /// Returns the member that keeps a store, alive or not.
    pub fn keeper(&self, store: &StoreId) -> Option<&Member> {
        self.owners.get(&Shard::of(store))
    }

    /// Returns the member that does what is to be done once for all stores.
    pub fn speaker(&self) -> Option<&Member> {
        self.owners.get(&Shard::SPEAKER)
    }

    /// Tells how many shards each member has, by identity; those that are alive and have none, too.
    pub fn members(&self) -> BTreeMap<Arc<str>, usize> {
        let identity = |member: &Member| Arc::clone(&member.identity);
        let mut members: BTreeMap<_, _> = self.alive.iter().map(|member| (identity(member), 0)).collect();
        for owner in self.owners.values() {
            *members.entry(identity(owner)).or_default() += 1;
        }
        members
    }

    /// Counts the shards that no living member has.
    pub fn unkept(&self) -> usize {
        let kept = self.owners.values().filter(|owner| self.alive.contains(owner)).count();
        Shard::all().count() - kept
    }
}

/// One member's knowledge.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub(super) struct Seat {
    identity: Arc<str>,
    duration: Duration,
    spread: Spread,
    tenure: Option<Tenure>,
    /// The other Leases, by uid.
    peers: BTreeMap<Arc<str>, Peer>,
    /// What the list of Leases under way has shown.
    listed: BTreeSet<Arc<str>>,
    /// Whether a list of Leases was ever complete.
    is_acquainted: bool,
    ring: Known,
    /// Whether a list of the ring is under way that is newer than what is known of it.
    relisting: bool,
    reread: bool,
    /// Members who will never write again: their Lease is gone, and they know it or have had the time to. Kept for ever,
    /// a line a restart, because a late event may still show the Lease.
    gone: BTreeSet<Member>,
    /// Owners without a Lease, and since when.
    missing: BTreeMap<Member, Instant>,
    /// Shards that a request gives away whose answer is open, and the version that it was for. It may take effect at
    /// any time as long as the ring is at that version.
    given: Option<(u64, BTreeSet<Shard>)>,
    leaving: BTreeSet<Shard>,
    /// How many runs are under way in each shard.
    under_way: BTreeMap<Shard, usize>,
    has_left: bool,
}

impl Seat {
    pub(super) fn new(identity: &str, duration: Duration, spread: Spread) -> Self {
        Self {
            identity: identity.into(),
            duration,
            spread,
            tenure: None,
            peers: BTreeMap::new(),
            listed: BTreeSet::new(),
            is_acquainted: false,
            ring: Known::Nothing,
            relisting: false,
            reread: false,
            gone: BTreeSet::new(),
            missing: BTreeMap::new(),
            given: None,
            leaving: BTreeSet::new(),
            under_way: BTreeMap::new(),
            has_left: false,
        }
    }

    /// Whether we may write for a shard now.
    pub(super) fn permits(&self, shard: Shard, now: Instant) -> bool {
        let Known::At(_, ring) = &self.ring else { return false };
        let given = self.given.as_ref().is_some_and(|(_, given)| given.contains(&shard));
        !given && self.valid(now).is_some_and(|me| ring.owner(shard) == Some(me))
    }

    /// Begins a run in a shard, if one may begin there now.
    pub(super) fn enter(&mut self, shard: Shard, now: Instant) -> bool {
        let begins = self.permits(shard, now) && !self.leaving.contains(&shard);
        if begins {
            *self.under_way.entry(shard).or_default() += 1;
        }
        begins
    }

    /// Ends a run; returns whether that is what a step waits for.
    pub(super) fn exit(&mut self, shard: Shard) -> bool {
        let Some(count) = self.under_way.get_mut(&shard) else { return false };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        self.under_way.remove(&shard);
        self.leaving.contains(&shard)
    }

    pub(super) fn holdings(&self, now: Instant) -> Holdings {
        let mine: BTreeSet<_> = Shard::all().filter(|shard| self.permits(*shard, now)).collect();
        let leaving = self.leaving.intersection(&mine).copied().collect();
        let alive = self.candidates(now).into_iter().cloned().collect();
        let (owners, since) = match &self.ring {
            Known::At(_, ring) => {
                (ring.owners().map(|(shard, owner)| (shard, owner.clone())).collect(), ring.changed)
            }
            Known::Nothing | Known::Absent(_) => (BTreeMap::new(), None),
        };
        Holdings { mine, leaving, owners, alive, since }
    }

    /// When our own right to write ends, if nothing renews it.
    pub(super) fn valid_until(&self) -> Option<Instant> {
        self.tenure.as_ref().map(|tenure| tenure.valid_until)
    }

    /// Who we are, as long as we have a Lease.
    pub(super) fn member(&self) -> Option<&Member> {
        self.tenure.as_ref().map(|tenure| &tenure.member)
    }

    fn valid(&self, now: Instant) -> Option<&Member> {
        let tenure = self.tenure.as_ref().filter(|tenure| now < tenure.valid_until && !self.has_left);
        tenure.map(|tenure| &tenure.member)
    }

    // Our own Lease.

    pub(super) fn tending(&self) -> Tending {
        match &self.tenure {
            None => Tending::Register,
            Some(Tenure { member, name, renew_at, .. }) => {
                Tending::Renew(member.clone(), name.clone(), *renew_at)
            }
        }
    }

    /// Our Lease was made by a request that was sent at this moment.
    pub(super) fn registered(&mut self, member: Member, name: String, sent: Instant) {
        let (valid_until, renew_at) = self.times(sent);
        self.peers.remove(&member.uid);
        self.tenure = Some(Tenure { member, name, valid_until, renew_at });
    }

    /// Our Lease was renewed by a request that was sent at this moment.
    pub(super) fn renewed(&mut self, member: &Member, sent: Instant) {
        let (valid_until, renew_at) = self.times(sent);
        if let Some(tenure) = self.tenure.as_mut().filter(|tenure| tenure.member == *member) {
            (tenure.valid_until, tenure.renew_at) = (valid_until.max(tenure.valid_until), renew_at);
        }
    }

    /// The duration counts from when the request was sent: others count from when they saw what it did, which is later.
    fn times(&self, sent: Instant) -> (Instant, Instant) {
        (sent + self.duration * (MARGIN - 1) / MARGIN, sent + self.duration / RENEWALS)
    }

    /// Our Lease is gone: somebody took us for dead. Nothing is ours from now on.
    pub(super) fn lost(&mut self, member: &Member) {
        if self.tenure.take_if(|tenure| tenure.member == *member).is_some() {
            // We were the one who might still have written.
            self.gone.insert(member.clone());
            (self.given, self.leaving) = (None, BTreeSet::new());
        }
    }

    // What is heard of the others.

    pub(super) fn lease_listing(&mut self) {
        self.listed.clear();
    }

    pub(super) fn saw_lease(&mut self, lease: SeenLease, now: Instant) {
        let uid = Arc::clone(&lease.member.uid);
        self.listed.insert(Arc::clone(&uid));
        if self.member() == Some(&lease.member) || self.gone.contains(&lease.member) {
            return;
        }
        match self.peers.get_mut(&uid) {
            Some(peer) if peer.lease.version >= lease.version => {}
            Some(peer) => *peer = Peer { lease, since: now },
            None => _ = self.peers.insert(uid, Peer { lease, since: now }),
        }
    }

    pub(super) fn lease_gone(&mut self, member: &Member) {
        self.peers.remove(&member.uid);
        self.lost(member);
    }

    pub(super) fn leases_complete(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        self.peers.retain(|uid, _| listed.contains(uid));
        self.is_acquainted = true;
    }

    /// Whether another member has this Lease, as far as is known.
    pub(super) fn is_there(&self, uid: &str) -> bool {
        self.peers.contains_key(uid)
    }

    pub(super) fn ring_listing(&mut self) {
        self.relisting = true;
    }

    /// The ring was seen, by a watch or as the answer to a request.
    pub(super) fn saw_ring(&mut self, version: u64, ring: Ring) {
        // A list shows what is there now, also when the server was restored and its versions have gone back.
        let newer = match &self.ring {
            Known::At(known, _) => version > *known || self.relisting,
            Known::Nothing | Known::Absent(_) => true,
        };
        self.relisting = false;
        if newer {
            self.given.take_if(|(given, _)| *given != version);
            self.ring = Known::At(version, ring);
        }
    }

    pub(super) fn ring_complete(&mut self, now: Instant) {
        if self.relisting {
            self.ring_gone(now);
        }
    }

    /// There is no ring. Where there was one, its owners get the time to hear of it too.
    pub(super) fn ring_gone(&mut self, now: Instant) {
        (self.relisting, self.given) = (false, None);
        self.ring = match self.ring {
            Known::Nothing => Known::Absent(None),
            Known::Absent(until) => Known::Absent(until),
            Known::At(..) => Known::Absent(Some(now + self.duration)),
        };
    }

    // What to do.

    /// Decides the next step.
    pub(super) fn next_step(&mut self, now: Instant) -> Step {
        let Some(me) = self.valid(now).cloned() else { return Step::Rest(None) };
        if !self.is_acquainted {
            return Step::Rest(None);
        }
        if self.reread {
            return Step::Read;
        }
        self.note_missing(&me, now);
        if let Some(dead) = self.peers.values().find(|peer| peer.ends() <= now) {
            return Step::Bury(dead.lease.clone());
        }
        if self.missing.values().any(|since| *since + self.duration <= now) {
            return Step::Count;
        }
        if let Some(draft) = self.draft(&me, now) {
            let given = draft
                .from
                .owners()
                .filter(|(shard, owner)| **owner == me && draft.to.owner(*shard) != Some(&me));
            let given: BTreeSet<_> = given.map(|(shard, _)| shard).collect();
            self.given = draft.version.map(|version| (version, given));
            return Step::Write(draft);
        }
        let absent = if let Known::Absent(until) = &self.ring { *until } else { None };
        let ends = self.peers.values().map(Peer::ends);
        let ends = ends.chain(self.missing.values().map(|since| *since + self.duration)).chain(absent);
        Step::Rest(ends.min())
    }

    /// The Lease of another member was deleted by us as it was for its whole duration: it will never write again.
    pub(super) fn buried(&mut self, member: &Member) {
        self.peers.remove(&member.uid);
        self.gone.insert(member.clone());
    }

    /// The Lease of another member was there no more.
    pub(super) fn found_no_lease(&mut self, member: &Member) {
        self.peers.remove(&member.uid);
    }

    /// The Lease of another member has changed meanwhile: it lives, and the watch will say more.
    pub(super) fn found_alive(&mut self, member: &Member, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&member.uid) {
            peer.since = now;
        }
    }

    /// These are all Leases, by a list that was asked for after an owner's had been missing for long enough.
    pub(super) fn counted(&mut self, leases: Vec<SeenLease>, now: Instant) {
        let there: BTreeSet<_> = leases.iter().map(|lease| lease.member.clone()).collect();
        for lease in leases {
            self.saw_lease(lease, now);
        }
        let duration = self.duration;
        let (over, missing) = std::mem::take(&mut self.missing)
            .into_iter()
            .filter(|(member, _)| !there.contains(member))
            .partition(|(_, since)| *since + duration <= now);
        self.missing = missing;
        let over: BTreeMap<Member, Instant> = over;
        self.gone.extend(over.into_keys());
    }

    /// The ring was changed as drafted.
    pub(super) fn wrote(&mut self, version: u64, ring: Ring) {
        self.given = None;
        self.saw_ring(version, ring);
    }

    /// The ring was at another version: the request did nothing and never will.
    pub(super) fn refused(&mut self) {
        (self.given, self.reread) = (None, true);
    }

    /// Nobody knows whether the ring was changed, or yet will be.
    pub(super) fn unanswered(&mut self) {
        self.reread = true;
    }

    /// The ring was read afresh; none when there is none.
    pub(super) fn read(&mut self, found: Option<(u64, Ring)>, now: Instant) {
        self.reread = false;
        match found {
            Some((version, ring)) => self.saw_ring(version, ring),
            None => self.ring_gone(now),
        }
    }

    /// Ends the right to write, for good.
    pub(super) fn leave(&mut self) -> Option<(Member, String)> {
        self.has_left = true;
        let tenure = self.tenure.as_ref()?;
        Some((tenure.member.clone(), tenure.name.clone()))
    }

    /// Decides to whom what is ours goes when we have left.
    pub(super) fn bequest(&self, version: u64, from: Ring, now: Instant) -> Option<Draft> {
        let me = self.member()?;
        let candidates = self.candidates(now);
        let wishes = from.wishes(&candidates, self.spread_in_effect(&candidates));
        let mut to = from.clone();
        for (shard, _) in from.owners().filter(|(_, owner)| *owner == me) {
            to.set(shard, wishes.get(&shard).copied().cloned());
        }
        (to != from).then_some(Draft { version: Some(version), from, to })
    }

    /// Notes since when owners have no Lease that we know of.
    fn note_missing(&mut self, me: &Member, now: Instant) {
        let Known::At(_, ring) = &self.ring else { return };
        let owners: BTreeSet<_> = ring.owners().map(|(_, owner)| owner).collect();
        let without = |member: &Member| {
            owners.contains(member)
                && member != me
                && !self.gone.contains(member)
                && !self.peers.contains_key(&member.uid)
        };
        self.missing.retain(|member, _| without(member));
        for owner in owners.iter().copied().filter(|owner| without(owner)) {
            self.missing.entry(owner.clone()).or_insert(now);
        }
    }

    /// Returns the members that shards may be meant for: of each identity one, the newest.
    fn candidates(&self, now: Instant) -> Vec<&Member> {
        let mut newest = BTreeMap::<&str, (u64, &Member)>::new();
        for Peer { lease, .. } in self.peers.values().filter(|peer| now < peer.ends()) {
            let candidate = (lease.version, &lease.member);
            let entry = newest.entry(&lease.member.identity).or_insert(candidate);
            *entry = candidate.max(*entry);
        }
        // Whoever else has our identity is an earlier life of ours.
        newest.remove(&*self.identity);
        newest.into_values().map(|(_, member)| member).chain(self.valid(now)).collect()
    }

    /// During an upgrade members may differ. They would pass shards to and fro, so one word for the leader decides.
    fn spread_in_effect(&self, candidates: &[&Member]) -> Spread {
        let theirs = candidates.iter().filter_map(|member| self.peers.get(&member.uid));
        let leads = |spread: Spread| spread == Spread::Leader;
        let leader = leads(self.spread) || theirs.into_iter().any(|peer| leads(peer.lease.spread));
        if leader { Spread::Leader } else { Spread::Spread }
    }

    /// Decides what the ring should be, as far as it is on us to change it; none when it is as it should be. Notes
    /// which shards are to leave once their runs have ended.
    fn draft(&mut self, me: &Member, now: Instant) -> Option<Draft> {
        let (version, from) = match &self.ring {
            Known::Nothing => return None,
            Known::Absent(until) if until.is_some_and(|until| now < until) => return None,
            Known::Absent(_) => (None, Ring::default()),
            Known::At(version, ring) => (Some(*version), ring.clone()),
        };
        let candidates = self.candidates(now);
        let wishes = from.wishes(&candidates, self.spread_in_effect(&candidates));
        let (mut to, mut leaving) = (from.clone(), BTreeSet::new());
        for (shard, wish) in wishes {
            match from.owner(shard) {
                Some(owner) if owner == me => {
                    let in_doubt = self.given.as_ref().is_some_and(|(_, given)| given.contains(&shard));
                    if in_doubt {
                        // The earlier request may still take effect, so it can't be kept.
                        to.set(shard, Some(wish.clone()).filter(|wish| wish != me));
                    } else if wish != me {
                        leaving.insert(shard);
                        if !self.under_way.contains_key(&shard) {
                            to.set(shard, Some(wish.clone()));
                        }
                    }
                }
                Some(owner) if !self.gone.contains(owner) => {}
                _ => to.set(shard, Some(wish.clone())),
            }
        }
        self.leaving = leaving;
        (to != from).then_some(Draft { version, from, to })
    }
}
