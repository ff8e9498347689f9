//! How often clients may ask: each for itself, and all together. The memory for it is bounded, whoever asks.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};

/// How many clients are told apart. When as many have asked within the last seconds, further ones share a few places.
const CLIENTS_MAX: usize = 10_000;

/// How many places those share.
const SHARED_PLACES: u64 = 1_024;

/// How many seconds' worth may come at once.
const BURST_SECONDS: u32 = 4;

/// How often what is over is forgotten while the places are taken, in seconds.
const SWEPT_EVERY: Duration = Duration::from_secs(1);

/// Lets so many requests in.
pub(super) struct Rates<C: Clock + Clone = DefaultClock> {
    clients: Option<Clients<C>>,
    all: Option<RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>>,
    clock: C,
}

type Keyed<K, C> = RateLimiter<K, HashMapStateStore<K>, C, StateInformationMiddleware>;

struct Clients<C: Clock> {
    each: Keyed<IpAddr, C>,
    shared: Keyed<u64, C>,
    begun: C::Instant,
    swept: AtomicU64,
    hasher: RandomState,
    most: usize,
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    name: &'static str,
    /// How many may come at once, and within how many seconds there are as many again.
    quota: (u32, u32),
    /// How many may still come now.
    left: u32,
    /// How long until there is room, or until all of it is there again.
    wait: Duration,
}

impl Room {
    /// Returns how long to wait, in whole seconds and never none.
    pub(super) fn seconds(&self) -> u64 {
        self.wait.as_millis().div_ceil(1_000).max(1).try_into().unwrap_or(u64::MAX)
    }

    /// Writes what is left, in the form of the IETF's draft for `RateLimit` fields.
    pub(super) fn say(&self, headers: &mut HeaderMap) {
        let Self { name, quota: (most, window), left, wait: _ } = *self;
        let fields = [
            (HeaderName::from_static("ratelimit-policy"), format!("\"{name}\";q={most};w={window}")),
            (HeaderName::from_static("ratelimit"), format!("\"{name}\";r={left};t={}", self.seconds())),
        ];
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

impl Rates {
    /// Begins with nobody having asked; rates are requests a second.
    pub(super) fn new(client: Option<NonZeroU32>, all: Option<NonZeroU32>) -> Self {
        Self::with_clock(client, all, CLIENTS_MAX, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(client: Option<NonZeroU32>, all: Option<NonZeroU32>, most: usize, clock: C) -> Self {
        let clients = client.map(|rate| Clients {
            each: keyed(rate, &clock),
            shared: keyed(rate, &clock),
            begun: clock.now(),
            swept: AtomicU64::new(0),
            hasher: RandomState::new(),
            most,
        });
        let all = all.map(|rate| RateLimiter::new(quota(rate), InMemoryState::default(), clock.clone()));
        Self { clients, all, clock }
    }

    /// Takes a request of one client. An IPv6 client has a whole /64 to ask from.
    pub(super) fn of_client(&self, address: IpAddr) -> Result<Option<Room>, Room> {
        let Some(clients) = &self.clients else { return Ok(None) };
        let key = client_key(address);
        let answer = if clients.is_full(self.clock.now()) {
            clients.shared.check_key(&(clients.hasher.hash_one(key) % SHARED_PLACES))
        } else {
            clients.each.check_key(&key)
        };
        self.judge("client", answer).map(Some)
    }

    /// Takes a request of anybody.
    pub(super) fn of_all(&self) -> Result<(), Room> {
        let Some(all) = &self.all else { return Ok(()) };
        self.judge("everybody", all.check()).map(|_| ())
    }

    fn judge(
        &self,
        name: &'static str,
        answer: Result<StateSnapshot, NotUntil<C::Instant>>,
    ) -> Result<Room, Room> {
        match answer {
            Ok(state) => {
                let quota = state.quota();
                let (most, left) = (quota.burst_size().get(), state.remaining_burst_capacity());
                let wait = quota.replenish_interval().saturating_mul(most - left.min(most));
                Ok(Room { name, quota: (most, BURST_SECONDS), left, wait })
            }
            Err(not_until) => {
                let most = not_until.quota().burst_size().get();
                let wait = not_until.wait_time_from(self.clock.now());
                Err(Room { name, quota: (most, BURST_SECONDS), left: 0, wait })
            }
        }
    }
}

impl<C: Clock> Clients<C> {
    /// Whether no further client can be told apart; forgets those whose rate is whole again.
    fn is_full(&self, now: C::Instant) -> bool {
        if self.each.len() < self.most {
            return false;
        }
        let second = Duration::from(now.duration_since(self.begun)).as_secs() / SWEPT_EVERY.as_secs() + 1;
        if self.swept.swap(second, Ordering::Relaxed) != second {
            self.each.retain_recent();
            self.shared.retain_recent();
        }
        self.each.len() >= self.most
    }
}

impl<C: Clock + Clone> std::fmt::Debug for Rates<C> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Rates").finish_non_exhaustive()
    }
}

/// Tells clients apart: by their address, or by the network that one of IPv6 has for itself.
pub(super) fn client_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

fn quota(rate: NonZeroU32) -> Quota {
    Quota::per_second(rate)
        .allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1)))
}

fn keyed<K: std::hash::Hash + Eq + Clone, C: Clock + Clone>(rate: NonZeroU32, clock: &C) -> Keyed<K, C> {
    RateLimiter::new(quota(rate), HashMapStateStore::default(), clock.clone())
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rates(client: u32, most: usize) -> (Rates<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Rates::with_clock(NonZeroU32::new(client), NonZeroU32::new(100), most, clock.clone()), clock)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_may_ask_four_seconds_worth_at_once_and_is_told_when_to_come_again() {
        let (rates, clock) = rates(5, 10);
        for left in (0..20).rev() {
            assert_eq!(rates.of_client(address("192.0.2.1")).unwrap().unwrap().left, left);
        }
        let refused = rates.of_client(address("192.0.2.1")).unwrap_err();
        assert_eq!((refused.left, refused.wait), (0, Duration::from_millis(200)));
        let mut headers = HeaderMap::new();
        refused.say(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"client\";q=20;w=4");
        assert_eq!(headers["ratelimit"], "\"client\";r=0;t=1");
        rates.of_client(address("192.0.2.2")).expect("another client has a rate of its own");
        clock.advance(Duration::from_millis(200));
        rates.of_client(address("192.0.2.1")).expect("the wait is over");
    }

    #[test]
    fn a_network_that_one_client_of_ipv6_has_counts_as_one_client() {
        let (rates, _) = rates(1, 10);
        for host in 1..=4 {
            rates.of_client(address(&format!("2001:db8:0:1::{host}"))).unwrap();
        }
        rates.of_client(address("2001:db8:0:1::5")).unwrap_err();
        rates.of_client(address("2001:db8:0:2::5")).unwrap();
        assert_eq!(client_key(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn however_many_clients_ask_only_so_many_are_remembered() {
        let (rates, clock) = rates(1, 100);
        for number in 0..10_000_u32 {
            let _ = rates.of_client(IpAddr::V4(number.into()));
        }
        let clients = rates.clients.as_ref().unwrap();
        assert_eq!(clients.each.len(), 100);
        assert!(clients.shared.len() <= 1_024);
        clock.advance(Duration::from_mins(1));
        rates.of_client(address("192.0.2.1")).unwrap();
        assert_eq!(clients.each.len(), 1, "who has not asked for a while is forgotten");
    }

    #[test]
    fn all_together_have_a_rate_and_without_one_there_is_no_limit() {
        let (limited, _) = rates(1, 10);
        (0..400).for_each(|_| limited.of_all().unwrap());
        limited.of_all().unwrap_err();
        let open = Rates::new(None, None);
        for _ in 0..1_000 {
            assert_eq!(open.of_client(address("192.0.2.1")), Ok(None));
            open.of_all().unwrap();
        }
    }
}
