//! What a seat does in single situations; the model check mixes them.

use std::time::{Duration, Instant};

use super::ring::{Member, Ring, Shard, Spread};
use super::seat::{Draft, Seat, SeenLease, Step};

const DURATION: Duration = Duration::from_secs(15);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn lease(identity: &str, version: u64, spread: Spread) -> SeenLease {
    let member = Member::new(identity, &format!("uid-{identity}"));
    SeenLease { member, name: format!("lease-{identity}"), version, duration: DURATION, spread }
}

/// Returns a seat with a Lease, that has seen all there is, and the moment of its renewal.
fn seated(spread: Spread, others: &[SeenLease], ring: Ring) -> (Seat, Member, Instant) {
    let (mut seat, now) = (Seat::new("me", DURATION, spread), Instant::now());
    let me = lease("me", 1, spread).member;
    seat.registered(me.clone(), "lease-me".to_owned(), now);
    seat.lease_listing();
    for other in others {
        seat.saw_lease(other.clone(), now);
    }
    seat.leases_complete();
    seat.ring_listing();
    seat.saw_ring(10, ring);
    (seat, me, now)
}

fn all_of(member: &Member) -> Ring {
    let mut ring = Ring::default();
    Shard::all().for_each(|shard| ring.set(shard, Some(member.clone())));
    ring
}

fn drafted(seat: &mut Seat, now: Instant) -> Draft {
    match seat.next_step(now) {
        Step::Write(draft) => draft,
        other => panic!("{other:?}"),
    }
}

fn given(draft: &Draft, me: &Member) -> Vec<Shard> {
    Shard::all().filter(|shard| draft.to.owner(*shard) != Some(me)).collect()
}

#[test]
fn the_right_to_write_ends_before_others_may_believe_that_we_are_gone() {
    let me = lease("me", 1, Spread::Leader).member;
    let (mut seat, me, now) = seated(Spread::Leader, &[], all_of(&me));
    assert!(seat.permits(Shard::SPEAKER, now + seconds(11)));
    assert!(!seat.permits(Shard::SPEAKER, now + seconds(12)), "a request may take three seconds");
    seat.renewed(&me, now + seconds(5));
    assert!(
        seat.permits(Shard::SPEAKER, now + seconds(16)) && !seat.enter(Shard::SPEAKER, now + seconds(17))
    );
    seat.lost(&me);
    assert!(!seat.permits(Shard::SPEAKER, now));
}

#[test]
fn a_dead_one_is_taken_from_only_when_its_lease_was_deleted_as_it_was() {
    let other = lease("other", 7, Spread::Leader);
    let (mut seat, me, now) = seated(Spread::Leader, std::slice::from_ref(&other), all_of(&other.member));
    assert_eq!(seat.next_step(now), Step::Rest(Some(now + DURATION)));
    let later = now + seconds(14);
    seat.renewed(&me, later);
    seat.saw_lease(SeenLease { version: 8, ..other.clone() }, later);
    assert_eq!(seat.next_step(now + seconds(20)), Step::Rest(Some(later + DURATION)), "it was renewed");
    let end = later + DURATION;
    seat.renewed(&me, end);
    assert_eq!(seat.next_step(end), Step::Bury(SeenLease { version: 8, ..other.clone() }));
    assert!(!seat.permits(Shard::SPEAKER, end));
    seat.buried(&other.member);
    // A late event from before.
    seat.saw_lease(SeenLease { version: 8, ..other }, end);
    let draft = drafted(&mut seat, end);
    assert!(draft.version == Some(10) && given(&draft, &me).is_empty());
    seat.wrote(11, draft.to);
    assert!(seat.permits(Shard::SPEAKER, end));
}

#[test]
fn an_owner_without_a_lease_is_waited_for_and_looked_for_before_it_is_taken_from() {
    let stranger = Member::new("stranger", "uid-unseen");
    let (mut seat, me, now) = seated(Spread::Leader, &[], all_of(&stranger));
    assert_eq!(seat.next_step(now), Step::Rest(Some(now + DURATION)));
    let end = now + DURATION;
    seat.renewed(&me, end);
    assert_eq!(seat.next_step(end), Step::Count);
    let mut found = seated(Spread::Leader, &[], all_of(&stranger)).0;
    found.registered(me.clone(), "lease-me".to_owned(), end);
    let there = SeenLease { member: stranger, ..lease("stranger", 9, Spread::Leader) };
    found.counted(vec![there], end);
    assert!(matches!(found.next_step(end), Step::Rest(_)), "its Lease is there, the watch was late");
    seat.counted(Vec::new(), end);
    assert!(given(&drafted(&mut seat, end), &me).is_empty());
}

#[test]
fn what_a_lost_request_may_yet_give_away_is_given_away_even_if_nobody_wants_it_any_more() {
    let other = lease("other", 7, Spread::Spread);
    let me = lease("me", 1, Spread::Spread).member;
    let (mut seat, me, now) = seated(Spread::Spread, std::slice::from_ref(&other), all_of(&me));
    let draft = drafted(&mut seat, now);
    let gone = given(&draft, &me);
    assert!(!gone.is_empty() && gone.iter().all(|shard| !seat.permits(*shard, now)));
    seat.unanswered();
    assert_eq!(seat.next_step(now), Step::Read);
    seat.lease_gone(&other.member);
    seat.read(Some((10, draft.from.clone())), now);
    let again = drafted(&mut seat, now);
    assert!(gone.iter().all(|shard| again.to.owner(*shard).is_none() && !seat.permits(*shard, now)));
    // The ring has another version then, and the lost request can't take effect any more.
    seat.wrote(11, again.to);
    let taken = drafted(&mut seat, now);
    assert_eq!(given(&taken, &me), []);
    // One that was refused has done nothing: what it would have given away stays ours.
    let (mut seat, _, now) = seated(Spread::Spread, &[other], draft.from);
    drafted(&mut seat, now);
    seat.refused();
    assert!(gone.iter().all(|shard| seat.permits(*shard, now)));
}

#[test]
fn a_run_under_way_keeps_its_shard_and_no_other_begins_in_it() {
    let other = lease("other", 7, Spread::Spread);
    let me = lease("me", 1, Spread::Spread).member;
    let (mut seat, me, now) = seated(Spread::Spread, &[], all_of(&me));
    assert!(Shard::all().all(|shard| seat.enter(shard, now)));
    seat.saw_lease(other, now);
    assert!(matches!(seat.next_step(now), Step::Rest(_)), "runs are under way in all shards");
    let leaving: Vec<_> = seat.holdings(now).leaving.into_iter().collect();
    let shard = leaving[0];
    assert!(seat.permits(shard, now) && !seat.enter(shard, now));
    assert!(seat.exit(shard), "that is what was waited for");
    assert_eq!(given(&drafted(&mut seat, now), &me), [shard]);
}

#[test]
fn one_that_wants_a_leader_decides_for_all_as_long_as_it_is_there() {
    let other = lease("other", 7, Spread::Leader);
    let me = lease("me", 1, Spread::Spread).member;
    let (mut seat, me, now) = seated(Spread::Spread, std::slice::from_ref(&other), all_of(&me));
    assert!(matches!(seat.next_step(now), Step::Rest(_)), "nothing passes to and fro during an upgrade");
    seat.saw_lease(SeenLease { version: 8, spread: Spread::Spread, ..other }, now);
    assert!(!given(&drafted(&mut seat, now), &me).is_empty());
}

#[test]
fn a_ring_that_somebody_deleted_is_made_anew_when_all_have_heard_of_it() {
    let me = lease("me", 1, Spread::Leader).member;
    let (mut seat, me, now) = seated(Spread::Leader, &[], all_of(&me));
    seat.ring_gone(now);
    assert!(!seat.permits(Shard::SPEAKER, now));
    assert_eq!(seat.next_step(now), Step::Rest(Some(now + DURATION)));
    seat.renewed(&me, now + DURATION);
    assert_eq!(drafted(&mut seat, now + DURATION).version, None);
    // Where there never was one it is made at once.
    let mut first = Seat::new("me", DURATION, Spread::Leader);
    first.registered(me, "lease-me".to_owned(), now);
    first.lease_listing();
    first.leases_complete();
    assert_eq!(first.next_step(now), Step::Rest(None), "nothing was heard of a ring yet");
    first.ring_listing();
    first.ring_complete(now);
    assert_eq!(drafted(&mut first, now).version, None);
}
