//! Which new stores may be made now: the operator's caps on the size of the fleet and on new stores per hour. Stores
//! that exist are never affected.

use std::collections::BTreeMap;
use std::fmt;

use crate::names::StoreId;

/// Seconds in the hour that the second cap is about.
const HOUR: i64 = 3600;

/// The operator's caps; none is no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps {
    /// How many stores the cluster may hold of this source, those on their way out included.
    pub max_stores: Option<usize>,
    /// How many new stores may be made within any hour.
    pub max_new_stores_per_hour: Option<usize>,
}

impl Caps {
    /// Whether there is no cap.
    pub fn are_off(self) -> bool {
        self == Self::default()
    }
}

/// Why a store waits for its admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The cap that it waits for.
    pub cap: Cap,
    /// How many stores are before it.
    pub before: usize,
    /// When its turn comes, in seconds since 1970, if time alone brings it.
    pub turn: Option<i64>,
}

/// A cap that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// The fleet has as many stores as it may have.
    Size {
        /// How many it has, admitted ones included.
        stores: usize,
        /// How many it may have.
        most: usize,
    },
    /// As many were made within the hour as may be.
    Rate {
        /// How many were made or admitted.
        made: usize,
        /// How many may be made.
        most: usize,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cap, before, turn } = self;
        write!(
            f,
            "waiting for its admission: {cap}; {before} new stores are before it; it is looked at again "
        )?;
        match (cap, turn) {
            (_, Some(turn)) => write!(f, "at {} UTC", time_of_day(*turn)),
            (Cap::Size { .. }, None) => f.write_str("when a store is gone"),
            (Cap::Rate { .. }, None) => f.write_str("when the cap is raised"),
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { stores, most } => {
                write!(f, "the fleet has {stores} of {most} stores (--max-stores)")
            }
            Self::Rate { made, most } => {
                write!(
                    f,
                    "{made} of {most} new stores were made in the last hour (--max-new-stores-per-hour)"
                )
            }
        }
    }
}

/// Hours and minutes, rounded up: whoever looks at that minute sees it done.
fn time_of_day(seconds: i64) -> String {
    let minutes = (seconds + 59).div_euclid(60).rem_euclid(24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// What an admission is decided from.
#[derive(Debug, Clone, Copy)]
pub struct Crowd<'a> {
    /// How many stores the cluster holds.
    pub existing: usize,
    /// When stores were made lately, in seconds since 1970, those that are gone again included.
    pub births: &'a [i64],
    /// New stores, first come first.
    pub line: &'a [StoreId],
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// How many of the line may be made now: its first ones.
    pub admitted: usize,
    /// Why the others wait.
    pub waiting: BTreeMap<StoreId, Waiting>,
    /// When time alone lets the next one in, in seconds since 1970.
    pub next_turn: Option<i64>,
}

/// Decides who may come in now: first come, first served.
pub fn admit(caps: Caps, crowd: Crowd<'_>) -> Admission {
    let Crowd { existing, births, line, now } = crowd;
    let by_size = caps.max_stores.map_or(usize::MAX, |most| most.saturating_sub(existing));
    // When each of the line may be made, as far as the hour goes.
    let mut made: Vec<_> = births.iter().copied().filter(|birth| *birth > now - HOUR).collect();
    made.sort_unstable();
    let in_last_hour = made.len();
    let mut admission = Admission::default();
    for (position, store) in line.iter().enumerate() {
        let turn = match caps.max_new_stores_per_hour {
            None => Some(now),
            Some(0) => None,
            // The one so many births before has to be an hour ago.
            Some(most) => {
                Some(made.len().checked_sub(most).map_or(now, |before| made[before] + HOUR).max(now))
            }
        };
        let of_size = position >= by_size;
        if turn == Some(now) && !of_size {
            admission.admitted += 1;
            made.push(now);
            continue;
        }
        let admitted = admission.admitted;
        let cap = match (of_size, caps.max_stores, caps.max_new_stores_per_hour) {
            (true, Some(most), _) => Cap::Size { stores: existing + admitted, most },
            (_, _, most) => Cap::Rate { made: in_last_hour + admitted, most: most.unwrap_or_default() },
        };
        let turn = turn.filter(|_| !of_size);
        made.extend(turn);
        admission.next_turn = admission.next_turn.or(turn);
        admission.waiting.insert(store.clone(), Waiting { cap, before: position - admitted, turn });
    }
    admission
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_760_000_000;

    fn line(names: &[&str]) -> Vec<StoreId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn decide(caps: Caps, existing: usize, births: &[i64], names: &[&str]) -> Admission {
        admit(caps, Crowd { existing, births, line: &line(names), now: NOW })
    }

    fn size(most: usize) -> Caps {
        Caps { max_stores: Some(most), ..Caps::default() }
    }

    fn rate(most: usize) -> Caps {
        Caps { max_new_stores_per_hour: Some(most), ..Caps::default() }
    }

    fn waiting(admission: &Admission, name: &str) -> Waiting {
        admission.waiting[&name.parse().unwrap()]
    }

    #[test]
    fn without_caps_everybody_comes_in() {
        let admission = decide(Caps::default(), 10_000, &[NOW; 500], &["a", "b"]);
        assert_eq!((admission.admitted, admission.waiting.len(), admission.next_turn), (2, 0, None));
    }

    #[test]
    fn a_full_fleet_lets_nobody_in_and_says_how_many_are_before() {
        let admission = decide(size(3), 2, &[], &["c", "a", "b"]);
        assert_eq!((admission.admitted, admission.next_turn), (1, None));
        let cap = Cap::Size { stores: 3, most: 3 };
        assert_eq!(waiting(&admission, "a"), Waiting { cap, before: 0, turn: None });
        assert_eq!(
            waiting(&admission, "b").to_string(),
            "waiting for its admission: the fleet has 3 of 3 stores (--max-stores); 1 new stores are before it; it is \
             looked at again when a store is gone"
        );
        assert_eq!(decide(size(3), 5, &[], &["a"]).admitted, 0, "a cap below what there is removes nothing");
        assert_eq!(decide(size(0), 0, &[], &["a"]).admitted, 0);
    }

    #[test]
    fn no_more_than_so_many_are_made_within_any_hour() {
        let births = [NOW - 3599, NOW - 3600, NOW - 1800, NOW - 9000];
        let admission = decide(rate(3), 4, &births, &["a", "b", "c", "d", "e"]);
        assert_eq!((admission.admitted, admission.next_turn), (1, Some(NOW + 1)));
        let turns = ["b", "c", "d", "e"].map(|name| waiting(&admission, name).turn.unwrap() - NOW);
        assert_eq!(turns, [1, 1800, 3600, 3601]);
        let cap = Cap::Rate { made: 3, most: 3 };
        assert_eq!(waiting(&admission, "c"), Waiting { cap, before: 1, turn: Some(NOW + 1800) });
        assert!(waiting(&admission, "c").to_string().ends_with("it is looked at again at 09:24 UTC"));
        let none = decide(rate(0), 0, &[], &["a"]);
        assert_eq!((none.admitted, waiting(&none, "a").turn), (0, None));
    }

    #[test]
    fn more_births_than_the_cap_allows_have_to_pass_first() {
        let admission = decide(rate(1), 3, &[NOW - 100, NOW - 200, NOW - 300], &["a"]);
        assert_eq!(waiting(&admission, "a").turn, Some(NOW + 3500));
    }

    #[test]
    fn with_both_caps_the_size_holds_back_who_would_be_one_too_many() {
        let caps = Caps { max_stores: Some(2), max_new_stores_per_hour: Some(1) };
        let admission = decide(caps, 0, &[], &["a", "b", "c"]);
        assert_eq!(admission.admitted, 1);
        assert_eq!(waiting(&admission, "b").cap, Cap::Rate { made: 1, most: 1 });
        assert_eq!(waiting(&admission, "b").turn, Some(NOW + 3600));
        assert_eq!(
            waiting(&admission, "c"),
            Waiting { cap: Cap::Size { stores: 1, most: 2 }, before: 1, turn: None }
        );
    }
}
