//! A model check: two or three real seats, a made-up API server, and everything that may go wrong between them, drawn
//! from a seed. At no moment may two members write for the same shard, and in peace each shard comes to its owner.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ring::{Member, Ring, Shard, Spread};
use super::seat::{Draft, Seat, SeenLease, Step, Tending};
use super::wire::Burial;

const DURATION: Duration = Duration::from_secs(15);
const TICK: u64 = 100;
const WAR: u64 = 150_000;
const PEACE: u64 = 150_000;

/// A generator of chance that a seed decides (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[derive(Clone, Debug)]
enum Request {
    Register { identity: String, spread: Spread },
    Renew(Member),
    Bury(SeenLease),
    Count,
    Read,
    Write(Draft),
    GiveUp(Member),
}

#[derive(Clone, Debug)]
enum Answer {
    Registered(SeenLease),
    Renewed(bool),
    Burial(Burial),
    Leases(Vec<SeenLease>),
    Ring(Option<(u64, Ring)>),
    Written(Option<(u64, Ring)>),
    GivenUp,
}

#[derive(Clone, Debug)]
enum Event {
    Lease(SeenLease),
    LeaseGone(Member),
    LeasesComplete,
    Ring(u64, Ring),
    RingComplete,
}

/// A request that a member waits for.
struct Asked {
    number: u64,
    request: Request,
    sent: u64,
}

/// A request or an answer on its way.
struct Flying {
    at: u64,
    actor: usize,
    number: u64,
    what: Result<Request, Answer>,
    answers: bool,
}

#[derive(PartialEq)]
enum Life {
    Running,
    Leaving,
    Dead,
}

struct Actor {
    seat: Seat,
    life: Life,
    spread: Spread,
    /// Its clock: how far it is ahead, and how fast it runs in thousandths.
    clock: (u64, u64),
    paused_until: u64,
    cut_until: u64,
    /// The requests under way: about its Lease, and its step.
    lanes: [Option<Asked>; 2],
    retry_at: [u64; 2],
    /// What each watch has still to tell, and when it lists again; of the Leases and of the ring.
    news: [VecDeque<(u64, Event)>; 2],
    relist_at: [Option<u64>; 2],
    next_look: u64,
    runs: Vec<(Shard, u64)>,
}

struct Model {
    dice: Dice,
    base: Instant,
    now: u64,
    peace: bool,
    leases: BTreeMap<Arc<str>, SeenLease>,
    ring: Option<(u64, Ring)>,
    version: u64,
    numbers: u64,
    actors: Vec<Actor>,
    flying: Vec<Flying>,
    /// How often a shard came into other hands, to see that the model does something.
    moves: usize,
}

impl Actor {
    fn born(name: usize, spread: Spread, clock: (u64, u64), now: u64) -> Self {
        Self {
            seat: Seat::new(&format!("pod-{name}"), DURATION, spread),
            life: Life::Running,
            spread,
            clock,
            paused_until: 0,
            cut_until: 0,
            lanes: [None, None],
            retry_at: [now, now],
            news: [VecDeque::new(), VecDeque::new()],
            relist_at: [Some(now), Some(now)],
            next_look: now,
            runs: Vec::new(),
        }
    }
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let count = 2 + dice.below(2);
        let actors = (0..count).map(|name| {
            let spread = [Spread::Spread, Spread::Leader][usize::from(dice.once_in(3))];
            let clock = (dice.below(10_000_000), 970 + dice.below(60));
            Actor::born(usize::try_from(name).unwrap(), spread, clock, 0)
        });
        let actors = actors.collect();
        Self {
            dice,
            base: Instant::now(),
            now: 0,
            peace: false,
            leases: BTreeMap::new(),
            ring: None,
            version: 1,
            numbers: 0,
            actors,
            flying: Vec::new(),
            moves: 0,
        }
    }

    fn local(&self, actor: usize, at: u64) -> Instant {
        let (ahead, speed) = self.actors[actor].clock;
        self.base + Duration::from_millis(ahead + at * speed / 1000)
    }

    /// How long something takes on its way; in war sometimes very long.
    fn delay(&mut self) -> u64 {
        let long = if !self.peace && self.dice.once_in(20) { 20_000 } else { 300 };
        self.dice.below(long)
    }

    fn run(&mut self) {
        while self.now < WAR + PEACE {
            self.peace = self.now >= WAR;
            self.check();
            self.mischief();
            self.land();
            for actor in 0..self.actors.len() {
                if self.actors[actor].life != Life::Dead && self.actors[actor].paused_until <= self.now {
                    self.hear(actor);
                    self.work(actor);
                    self.tend(actor);
                    self.act(actor);
                }
            }
            self.now += TICK;
        }
    }

    /// No two members may write for one shard, whatever they believe.
    fn check(&self) {
        for shard in Shard::all() {
            let may = |actor: &usize| self.actors[*actor].seat.permits(shard, self.local(*actor, self.now));
            let writers: Vec<_> = (0..self.actors.len()).filter(may).collect();
            assert!(writers.len() <= 1, "at {} ms members {writers:?} may write for shard {shard}", self.now);
        }
    }

    fn mischief(&mut self) {
        for actor in 0..self.actors.len() {
            if self.actors[actor].life == Life::Dead && (self.peace || self.dice.once_in(200)) {
                let spread = if self.dice.once_in(8) { Spread::Leader } else { self.actors[actor].spread };
                self.actors[actor] = Actor::born(actor, spread, self.actors[actor].clock, self.now);
            }
            if self.peace {
                continue;
            }
            let (now, some) = (self.now, self.dice.below(40_000));
            let it = &mut self.actors[actor];
            match self.dice.below(3000) {
                0..4 => it.paused_until = now + some,
                4..8 => it.cut_until = now + some,
                // A container that is started again at once, or a pod that is gone for a while.
                8..10 => *it = Actor::born(actor, it.spread, it.clock, now),
                10 => self.end(actor),
                11 if it.life == Life::Running => it.life = Life::Leaving,
                12 => self.delete_some_lease(),
                _ => {}
            }
            if self.actors[actor].cut_until > now || self.dice.once_in(400) {
                for watch in 0..2 {
                    let at = self.actors[actor].cut_until.max(now) + self.delay();
                    self.actors[actor].news[watch].clear();
                    self.actors[actor].relist_at[watch] = Some(at);
                }
            }
        }
    }

    fn end(&mut self, actor: usize) {
        self.actors[actor].life = Life::Dead;
        self.actors[actor].seat.leave();
    }

    /// Somebody with kubectl.
    fn delete_some_lease(&mut self) {
        let index = usize::try_from(self.dice.below(4)).unwrap();
        if let Some(uid) = self.leases.keys().nth(index).cloned() {
            self.bury(&uid);
        }
    }

    fn bury(&mut self, uid: &Arc<str>) {
        if let Some(lease) = self.leases.remove(uid) {
            self.version += 1;
            self.tell(0, &Event::LeaseGone(lease.member));
        }
    }

    /// Puts news into every watch that is open.
    fn tell(&mut self, watch: usize, event: &Event) {
        for actor in 0..self.actors.len() {
            let at = self.now + self.delay();
            let it = &mut self.actors[actor];
            if it.relist_at[watch].is_none() {
                let last = it.news[watch].back().map_or(0, |(at, _)| *at);
                it.news[watch].push_back((at.max(last), event.clone()));
            }
        }
    }

    /// Lets requests take effect and answers arrive.
    fn land(&mut self) {
        let now = self.now;
        let (landing, flying) = std::mem::take(&mut self.flying).into_iter().partition(|it| it.at <= now);
        self.flying = flying;
        let landing: Vec<Flying> = landing;
        for Flying { actor, number, what, answers, .. } in landing {
            match what {
                Ok(request) => {
                    let answer = self.serve(request);
                    if answers {
                        let at = self.now + self.delay();
                        self.flying.push(Flying { at, actor, number, what: Err(answer), answers });
                    }
                }
                Err(answer) => self.answered(actor, number, answer),
            }
        }
    }

    fn serve(&mut self, request: Request) -> Answer {
        match request {
            Request::Register { identity, spread } => {
                self.version += 1;
                let name = format!("{identity}-{}", self.version);
                let member = Member::new(&identity, &format!("uid-{}", self.version));
                let lease = SeenLease { member, name, version: self.version, duration: DURATION, spread };
                self.leases.insert(Arc::clone(&lease.member.uid), lease.clone());
                self.tell(0, &Event::Lease(lease.clone()));
                Answer::Registered(lease)
            }
            Request::Renew(member) => {
                self.version += 1;
                let renewed = self.leases.get_mut(&member.uid).map(|lease| {
                    lease.version = self.version;
                    lease.clone()
                });
                if let Some(lease) = &renewed {
                    self.tell(0, &Event::Lease(lease.clone()));
                }
                Answer::Renewed(renewed.is_some())
            }
            Request::Bury(lease) => Answer::Burial(match self.leases.get(&lease.member.uid) {
                None => Burial::NotThere,
                Some(found) if found.version != lease.version => Burial::Alive,
                Some(_) => {
                    self.bury(&lease.member.uid);
                    Burial::Done
                }
            }),
            Request::GiveUp(member) => {
                self.bury(&member.uid);
                Answer::GivenUp
            }
            Request::Count => Answer::Leases(self.leases.values().cloned().collect()),
            Request::Read => Answer::Ring(self.ring.clone()),
            Request::Write(draft) => {
                let version = self.ring.as_ref().map(|(version, _)| *version);
                if version != draft.version {
                    return Answer::Written(None);
                }
                self.version += 1;
                self.moves += draft.from.changes(&draft.to).len();
                self.ring = Some((self.version, draft.to.clone()));
                self.tell(1, &Event::Ring(self.version, draft.to));
                Answer::Written(self.ring.clone())
            }
        }
    }

    fn send(&mut self, actor: usize, lane: usize, request: Request) {
        self.numbers += 1;
        let (number, sent) = (self.numbers, self.now);
        let at = self.now + self.delay();
        let is_cut = self.actors[actor].cut_until > self.now;
        let (lost, answers) = (is_cut || self.lose(), !self.lose());
        if !lost {
            self.flying.push(Flying { at, actor, number, what: Ok(request.clone()), answers });
        }
        self.actors[actor].lanes[lane] = Some(Asked { number, request, sent });
    }

    fn lose(&mut self) -> bool {
        !self.peace && self.dice.once_in(15)
    }

    /// An answer has come; one that comes too late, or to an earlier life, finds nobody who waits for it.
    fn answered(&mut self, actor: usize, number: u64, answer: Answer) {
        let is_cut = self.actors[actor].cut_until > self.now || self.actors[actor].paused_until > self.now;
        let waits = |asked: &mut Asked| asked.number == number;
        let found = self.actors[actor].lanes.iter_mut().find_map(|lane| lane.take_if(waits));
        let Some(Asked { request, sent, .. }) = found else { return };
        let (sent, now) = (self.local(actor, sent), self.local(actor, self.now));
        let it = &mut self.actors[actor];
        it.next_look = self.now;
        let seat = &mut it.seat;
        match (request, answer) {
            // As if it had not come: the time limit ends the wait.
            (Request::Write(_), _) if is_cut => seat.unanswered(),
            _ if is_cut => {}
            (_, Answer::Registered(lease)) => seat.registered(lease.member, lease.name, sent),
            (Request::Renew(member), Answer::Renewed(true)) => seat.renewed(&member, sent),
            (Request::Renew(member), Answer::Renewed(false)) => seat.lost(&member),
            (Request::Bury(lease), Answer::Burial(burial)) => match burial {
                Burial::Done => seat.buried(&lease.member),
                Burial::NotThere => seat.found_no_lease(&lease.member),
                Burial::Alive => seat.found_alive(&lease.member, now),
            },
            (_, Answer::Leases(leases)) => seat.counted(leases, now),
            (_, Answer::Ring(found)) if it.life == Life::Leaving => {
                let draft = found.and_then(|(version, ring)| seat.bequest(version, ring, now));
                match draft {
                    Some(draft) => self.send(actor, 1, Request::Write(draft)),
                    None => self.end(actor),
                }
            }
            (_, Answer::Ring(found)) => seat.read(found, now),
            (_, Answer::Written(Some(_))) if it.life == Life::Leaving => self.end(actor),
            (_, Answer::Written(None)) if it.life == Life::Leaving => self.send(actor, 1, Request::Read),
            (_, Answer::Written(Some((version, ring)))) => seat.wrote(version, ring),
            (_, Answer::Written(None)) => seat.refused(),
            (_, Answer::GivenUp) => self.send(actor, 1, Request::Read),
            other => unreachable!("{other:?}"),
        }
    }

    fn hear(&mut self, actor: usize) {
        for watch in 0..2 {
            if self.actors[actor].relist_at[watch].is_some_and(|at| at <= self.now) {
                self.relist(actor, watch);
            }
            while let Some((_, event)) =
                self.actors[actor].news[watch].pop_front_if(|(at, _)| *at <= self.now)
            {
                let now = self.local(actor, self.now);
                let it = &mut self.actors[actor];
                it.next_look = self.now;
                match event {
                    Event::Lease(lease) => it.seat.saw_lease(lease, now),
                    Event::LeaseGone(member) => it.seat.lease_gone(&member),
                    Event::LeasesComplete => it.seat.leases_complete(),
                    Event::Ring(version, ring) => it.seat.saw_ring(version, ring),
                    Event::RingComplete => it.seat.ring_complete(now),
                }
            }
        }
    }

    fn relist(&mut self, actor: usize, watch: usize) {
        let at = self.now + self.delay();
        let it = &mut self.actors[actor];
        it.relist_at[watch] = None;
        if watch == 0 {
            it.seat.lease_listing();
            let all = self.leases.values().map(|lease| (at, Event::Lease(lease.clone())));
            it.news[0] = all.chain([(at, Event::LeasesComplete)]).collect();
        } else {
            it.seat.ring_listing();
            let all = self.ring.iter().map(|(version, ring)| (at, Event::Ring(*version, ring.clone())));
            it.news[1] = all.chain([(at, Event::RingComplete)]).collect();
        }
    }

    /// Runs begin and end.
    fn work(&mut self, actor: usize) {
        let now = self.local(actor, self.now);
        let shard = Shard::all().nth(usize::try_from(self.dice.below(64)).unwrap()).unwrap();
        let until = self.now + self.dice.below(8000);
        let it = &mut self.actors[actor];
        if it.seat.enter(shard, now) {
            assert!(it.seat.permits(shard, now));
            it.runs.push((shard, until));
        }
        for (shard, _) in it.runs.extract_if(.., |(_, until)| *until <= self.now) {
            if it.seat.exit(shard) {
                it.next_look = self.now;
            }
        }
    }

    /// Gives up waiting for an answer; returns whether a request may be sent now.
    fn is_free(&mut self, actor: usize, lane: usize) -> bool {
        let limit = u64::try_from(DURATION.as_millis()).unwrap() / 3;
        let now = self.now;
        let it = &mut self.actors[actor];
        if let Some(asked) = it.lanes[lane].take_if(|asked| asked.sent + limit <= now) {
            it.retry_at[lane] = now + 1000;
            it.next_look = now;
            if matches!(asked.request, Request::Write(_)) {
                it.seat.unanswered();
            }
            if it.life == Life::Leaving && lane == 1 {
                self.end(actor);
                return false;
            }
        }
        self.actors[actor].lanes[lane].is_none() && self.actors[actor].retry_at[lane] <= now
    }

    fn tend(&mut self, actor: usize) {
        if self.actors[actor].life != Life::Running || !self.is_free(actor, 0) {
            return;
        }
        match self.actors[actor].seat.tending() {
            Tending::Register => {
                let (identity, spread) = (format!("pod-{actor}"), self.actors[actor].spread);
                self.send(actor, 0, Request::Register { identity, spread });
            }
            Tending::Renew(member, _, at) if at <= self.local(actor, self.now) => {
                self.send(actor, 0, Request::Renew(member));
            }
            Tending::Renew(..) => {}
        }
    }

    fn act(&mut self, actor: usize) {
        let now = self.local(actor, self.now);
        if self.actors[actor].life == Life::Leaving && self.actors[actor].runs.is_empty() {
            if self.is_free(actor, 1) && self.actors[actor].life == Life::Leaving {
                self.actors[actor].lanes[0] = None;
                match self.actors[actor].seat.leave() {
                    Some((member, _)) => self.send(actor, 1, Request::GiveUp(member)),
                    None => self.end(actor),
                }
            }
            return;
        }
        if !self.is_free(actor, 1) || self.actors[actor].next_look > self.now {
            return;
        }
        let step = self.actors[actor].seat.next_step(now);
        let request = match step {
            Step::Rest(until) => {
                let wait = until.map_or(1000, |until| until.saturating_duration_since(now).as_millis());
                self.actors[actor].next_look = self.now + u64::try_from(wait).unwrap().clamp(TICK, 1000);
                return;
            }
            Step::Bury(lease) => Request::Bury(lease),
            Step::Count => Request::Count,
            Step::Read => Request::Read,
            Step::Write(draft) => {
                let given = |shard| draft.from.owner(shard) != draft.to.owner(shard);
                let run = self.actors[actor].runs.iter().find(|(shard, _)| {
                    let owner = draft.from.owner(*shard);
                    given(*shard) && owner.is_some_and(|it| Some(it) == self.actors[actor].seat.member())
                });
                assert_eq!(run, None, "a shard is given away while a run is under way in it");
                Request::Write(draft)
            }
        };
        self.send(actor, 1, request);
    }

    /// In the end each has exactly what is meant for it.
    fn check_peace(&self) {
        let members: Vec<_> = self.leases.values().map(|lease| &lease.member).collect();
        assert_eq!(members.len(), self.actors.len(), "one Lease each: {members:?}");
        let leads = self.leases.values().any(|lease| lease.spread == Spread::Leader);
        let (_, ring) = self.ring.as_ref().unwrap();
        let wishes = ring.wishes(&members, if leads { Spread::Leader } else { Spread::Spread });
        for shard in Shard::all() {
            let wish = wishes[&shard];
            assert_eq!(ring.owner(shard), Some(wish), "shard {shard}");
            let writers = (0..self.actors.len())
                .filter(|actor| self.actors[*actor].seat.permits(shard, self.local(*actor, self.now)));
            let writers: Vec<_> = writers.map(|actor| format!("pod-{actor}")).collect();
            assert_eq!(writers, [&*wish.identity], "shard {shard}");
        }
    }
}

#[test]
fn never_may_two_members_write_for_one_shard_and_in_peace_each_has_its_own() {
    let seeds = std::env::var("STOREKEEPER_MODEL_SEEDS").ok().map_or(25, |text| text.parse().unwrap());
    let first = std::env::var("STOREKEEPER_MODEL_FIRST").ok().map_or(1, |text| text.parse().unwrap());
    let mut moves = 0;
    for seed in first..first + seeds {
        println!("seed {seed}");
        let mut model = Model::new(seed);
        model.run();
        model.check_peace();
        moves += model.moves;
    }
    println!("{seeds} seeds, {moves} shards moved");
    assert!(moves > 100 * usize::try_from(seeds).unwrap(), "{moves} shards moved: the model does nothing");
}
