//! The task of a member: it keeps the Lease, follows the others and the ring, and takes the steps.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::super::error::ClusterError;
use super::super::follow::{News, Tries};
use super::Shared;
use super::ring::Member;
use super::seat::{Draft, Seat, Step, Tending};
use super::wire::{Burial, Wire, seen_ring, word};
use super::word::Word;

/// In which part of a Lease's duration what has failed is tried again.
const RETRIES: u32 = 15;

/// How long after one renewal another one may be sent only because there is something new to say: others hear of a push
/// within this time, and a flood of pushes costs one request in it.
const TELLING: Duration = Duration::from_secs(1);

/// How often the ring may change under somebody who leaves before he lets the others find out by themselves.
const PARTING_TRIES: usize = 5;

/// Runs until it is dropped.
pub(super) async fn run(shared: Arc<Shared>, wire: Arc<Wire>) {
    let (shared, wire) = (&*shared, &*wire);
    tokio::join!(
        tend(shared, wire),
        follow_leases(shared, wire),
        follow_ring(shared, wire),
        take_steps(shared, wire)
    );
}

/// Hands everything over: without our Lease nobody hands anything back, and then the ring names others.
pub(super) async fn part(shared: &Shared, wire: &Wire, member: &Member, name: &str) {
    let parted = async {
        wire.give_up(member, name).await?;
        for _ in 0..PARTING_TRIES {
            let Some((version, ring)) = wire.read_ring().await? else { break };
            let draft = shared.seat().bequest(version, ring, Instant::now());
            let Some(draft) = draft else { break };
            match wire.write_ring(&draft).await {
                Err(error) if error.is_conflict() => {}
                answer => return answer.map(|_| ()),
            }
        }
        Ok(())
    };
    let parted: Result<(), ClusterError> = parted.await;
    if let Err(error) = parted {
        tracing::warn!(%error, "failed to hand the stores over; others take them when the Lease would have ended");
    }
}

/// Makes our Lease, renews it and says on it what there is to say.
async fn tend(shared: &Shared, wire: &Wire) {
    let (mut troubled, mut words) = (false, shared.told.subscribe());
    let (mut said, mut sent) = (Word::default(), Instant::now());
    loop {
        let tending = shared.seat().tending();
        if let Tending::Renew(_, _, at) = &tending {
            tokio::select! {
                () = sleep_until((*at).into()) => {}
                () = shared.tend.notified() => continue,
                () = until_news(&mut words, &said, sent) => {}
            }
        }
        sent = Instant::now();
        let answer = {
            let mut attempt = pin!(attempt(shared, wire, &tending, &mut said));
            tokio::select! {
                answer = &mut attempt => answer,
                () = end_of_validity(shared) => {
                    shared.show();
                    attempt.await
                }
            }
        };
        match answer {
            Ok(()) => troubled = false,
            Err(error) => {
                if !troubled {
                    tracing::warn!(%error, "failed to keep this replica's Lease; it is tried again");
                }
                troubled = true;
                tokio::time::sleep(wire.duration() / RETRIES).await;
                shared.show();
            }
        }
    }
}

/// Waits until there is something to say that our Lease does not say yet, and until it may be said.
async fn until_news(words: &mut watch::Receiver<Word>, said: &Word, sent: Instant) {
    // Who sends is there for as long as this task.
    let _ = words.wait_for(|word| word != said).await;
    sleep_until((sent + TELLING).into()).await;
}

async fn attempt(
    shared: &Shared,
    wire: &Wire,
    tending: &Tending,
    said: &mut Word,
) -> Result<(), ClusterError> {
    let (sent, word) = (Instant::now(), shared.told.borrow().clone());
    match tending {
        Tending::Register => {
            let lease = wire.register(&word).await?;
            tracing::info!(lease.name = %lease.name, "this replica has a Lease");
            shared.learn(|seat, _| seat.registered(lease.member, lease.name, sent));
        }
        Tending::Renew(member, name, _) => match wire.renew(name, (word != *said).then_some(&word)).await {
            Err(error) if error.is_not_found() => {
                tracing::warn!("this replica was taken for dead: nothing is its own any more");
                shared.learn(|seat, _| seat.lost(member));
                return Ok(());
            }
            answer => {
                answer?;
                shared.learn(|seat, _| seat.renewed(member, sent));
            }
        },
    }
    *said = word;
    Ok(())
}

/// Waits for the moment when our right to write ends; for ever when it has ended.
async fn end_of_validity(shared: &Shared) {
    let until = shared.seat().valid_until().filter(|until| *until > Instant::now());
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

async fn follow_leases(shared: &Shared, wire: &Wire) {
    let (source, mut tries) = (wire.lease_source(), Tries::new());
    loop {
        let take_in = |news: News<Lease>| match news {
            News::Listing => shared.seat().lease_listing(),
            News::There(lease) => {
                let seen = wire.seen(&lease);
                let uid = Arc::clone(&seen.member.uid);
                shared.learn(|seat, now| seat.saw_lease(seen, now));
                hear(shared, uid, word(&lease));
            }
            News::Gone(lease) => {
                let member = wire.seen(&lease).member;
                shared.learn(|seat, _| seat.lease_gone(&member));
                forget_silent(shared);
                shared.tend.notify_one();
            }
            News::Complete(_) => {
                shared.learn(|seat, _| seat.leases_complete());
                forget_silent(shared);
            }
            News::Broken(words) => tracing::warn!("failed to watch the members' Leases: {words}"),
            News::Unstreamed(words) => tracing::debug!("the members' Leases are not streamed: {words}"),
        };
        source.follow(&mut tries, take_in).await;
    }
}

/// Takes in what another member says; what we said ourselves is no news.
fn hear(shared: &Shared, uid: Arc<str>, word: Word) {
    if !shared.seat().is_there(&uid) {
        return;
    }
    shared.heard.send_if_modified(|heard| {
        let is_news = heard.get(&uid) != Some(&word);
        heard.insert(uid, word);
        is_news
    });
}

/// Forgets what members said that are gone.
fn forget_silent(shared: &Shared) {
    let seat = shared.seat();
    shared.heard.send_if_modified(|heard| {
        let count = heard.len();
        heard.retain(|uid, _| seat.is_there(uid));
        heard.len() != count
    });
}

async fn follow_ring(shared: &Shared, wire: &Wire) {
    let (source, mut tries) = (wire.ring_source(), Tries::new());
    loop {
        let take_in = |news: News<ConfigMap>| match news {
            News::Listing => shared.seat().ring_listing(),
            News::There(ring) => {
                let (version, ring) = seen_ring(&ring);
                shared.learn(|seat, _| seat.saw_ring(version, ring));
            }
            News::Gone(_) => shared.learn(Seat::ring_gone),
            News::Complete(_) => shared.learn(Seat::ring_complete),
            News::Broken(words) => tracing::warn!("failed to watch who owns which stores: {words}"),
            News::Unstreamed(words) => tracing::debug!("who owns which stores is not streamed: {words}"),
        };
        source.follow(&mut tries, take_in).await;
    }
}

/// Takes one step after the other.
async fn take_steps(shared: &Shared, wire: &Wire) {
    let mut troubled = false;
    loop {
        let step = shared.seat().next_step(Instant::now());
        shared.show();
        let taken = match step {
            Step::Rest(until) => {
                rest(shared, until).await;
                continue;
            }
            Step::Bury(lease) => wire.bury(&lease).await.map(|burial| {
                tracing::info!(member.identity = %lease.member.identity, ?burial, "a member was silent for too long");
                shared.learn(|seat, now| match burial {
                    Burial::Done => seat.buried(&lease.member),
                    Burial::NotThere => seat.found_no_lease(&lease.member),
                    Burial::Alive => seat.found_alive(&lease.member, now),
                });
            }),
            Step::Count => wire
                .count()
                .await
                .map(|leases| shared.learn(|seat, now| seat.counted(leases, now))),
            Step::Read => wire.read_ring().await.map(|found| shared.learn(|seat, now| seat.read(found, now))),
            Step::Write(draft) => write(shared, wire, &draft).await,
        };
        if let Err(error) = &taken {
            if !troubled {
                tracing::warn!(%error, "failed to share the stores among the replicas; it is tried again");
            }
            tokio::time::sleep(wire.duration() / RETRIES).await;
        }
        troubled = taken.is_err();
    }
}

async fn rest(shared: &Shared, until: Option<Instant>) {
    let heard = shared.stir.notified();
    match until {
        Some(until) => tokio::select! {
            () = heard => {}
            () = sleep_until(until.into()) => {}
        },
        None => heard.await,
    }
}

async fn write(shared: &Shared, wire: &Wire, draft: &Draft) -> Result<(), ClusterError> {
    match wire.write_ring(draft).await {
        Ok((version, ring)) => {
            shared.learn(|seat, _| seat.wrote(version, ring));
            Ok(())
        }
        Err(error) if error.is_conflict() || error.is_taken() => {
            shared.learn(|seat, _| seat.refused());
            Ok(())
        }
        // What the server refuses it has not done. Anything else it may still do.
        Err(error) if error.is_refusal() => {
            shared.learn(|seat, _| seat.refused());
            Err(error)
        }
        Err(error) => {
            shared.learn(|seat, _| seat.unanswered());
            Err(error)
        }
    }
}
