//! What the plan's words do to the API proxy and to the git remote.

use std::path::Path;
use std::time::Duration;

use super::acts::{Aim, Break, Fate, GitFault, Weather};
use crate::common::api_proxy::{Call, Fault, Interruption, Rule};
use crate::git_server::Answer;

/// Which calls a kind of weather meets.
#[derive(Clone, Copy)]
enum Scope {
    All,
    Writes,
    /// Everything but writes and watches.
    Reads,
    Watches,
    /// Watches that begin with a list.
    Lists,
}

/// How long a call is under way that lands when the next daemon is at work.
pub const LATE: Duration = Duration::from_secs(2);

/// The rules of a kind of weather. The chance of a call decides which of them it meets, so that one number is enough.
pub fn rules(weather: Weather) -> Vec<Rule> {
    use Scope::{All, Lists, Reads, Watches, Writes};
    let internal = Fault::status(500, "InternalError", "etcdserver: request timed out");
    let conflict = Fault::status(
        409,
        "Conflict",
        "the object has been modified; please apply your changes to the latest version",
    );
    let expired = Fault::status(410, "Expired", "the provided continue parameter is too old");
    let (busy, slow) = (Fault::too_many_requests(1), Fault::Delay(Duration::from_millis(150)));
    let table = match weather {
        Weather::Calm => vec![],
        Weather::Mixed => vec![
            (busy.clone(), All, 2),
            (internal.clone(), All, 2),
            (conflict, Writes, 2),
            (Fault::Reset, All, 2),
            (Fault::LoseAnswer, Writes, 3),
            (Fault::CutBody, Reads, 2),
            (Fault::ShortBody, Reads, 2),
            (expired, Reads, 2),
            (slow, All, 10),
            (busy, Watches, 2),
            (internal, Watches, 2),
            (Fault::Reset, Watches, 2),
            (Fault::WatchGone, Watches, 5),
            (Fault::EndAfter(2), Lists, 5),
        ],
        Weather::Busy => vec![(busy.clone(), All, 25), (busy, Watches, 8)],
        Weather::Failing => {
            vec![(internal.clone(), All, 15), (conflict, Writes, 15), (internal, Watches, 8)]
        }
        Weather::Torn => vec![
            (Fault::Reset, All, 10),
            (Fault::LoseAnswer, Writes, 15),
            (Fault::CutBody, Reads, 10),
            (Fault::Reset, Watches, 5),
            (Fault::BreakAfter(1), Lists, 5),
        ],
        Weather::Halves => vec![
            (Fault::CutBody, Reads, 10),
            (Fault::ShortBody, Reads, 15),
            (expired, Reads, 10),
            (Fault::WatchGone, Watches, 20),
            (Fault::EndAfter(1), Lists, 10),
            (Fault::BreakAfter(3), Lists, 5),
        ],
        Weather::Slow => vec![(slow, All, 50), (Fault::Hang, Writes, 2), (Fault::HoldAnswer, Writes, 2)],
    };
    let mut from = 0;
    let mut rules = Vec::new();
    for (fault, scope, percent) in table {
        let (low, high) = (f64::from(from) / 100.0, f64::from(from + percent) / 100.0);
        from += percent;
        let fits = move |call: &Call| {
            // A daemon that starts asks what is served, all or nothing: with as many faults it would never begin.
            let high = if is_discovery(call) { low + (high - low) / 5.0 } else { high };
            (low..high).contains(&call.chance) && scope.holds(call)
        };
        rules.push(Rule::new(fault, fits));
    }
    rules
}

/// Whether a call asks what the API server serves.
fn is_discovery(call: &Call) -> bool {
    let depth = call.path.trim_matches('/').split('/').count();
    match call.path.split('/').nth(1) {
        Some("api") => depth <= 2,
        Some("apis") => depth <= 3,
        Some(first) => first == "version",
        None => false,
    }
}

impl Scope {
    fn holds(self, call: &Call) -> bool {
        match self {
            Self::All => !call.is_watch(),
            Self::Writes => call.is_write(),
            Self::Reads => !call.is_write() && !call.is_watch(),
            Self::Watches => call.is_watch(),
            Self::Lists => call.is_streamed_list(),
        }
    }
}

/// The rule that stops the call at which the daemon is killed.
pub fn aim(aim: Aim, nth: usize, fate: Fate) -> Rule {
    let fault = match fate {
        Fate::Lost => Fault::Hang,
        Fate::Landed => Fault::HoldAnswer,
        Fate::Late => Fault::Delay(LATE),
    };
    let fits = move |call: &Call| {
        let (verb, path) = (call.verb.as_str(), call.path.as_str());
        if verb == "DELETE" && fate == Fate::Late {
            return false;
        }
        match aim {
            Aim::Write => call.is_write(),
            Aim::NewNamespace => verb == "POST" && path.ends_with("/namespaces"),
            Aim::Inventory => verb == "PATCH" && path.ends_with("/configmaps/storekeeper-inventory"),
            Aim::Secret => call.is_write() && path.contains("/secrets"),
            Aim::Job => call.is_write() && path.contains("/jobs/"),
            Aim::Delete => verb == "DELETE",
        }
    };
    Rule::new(fault, fits).after(nth).times(1)
}

pub fn interruption(how: Break) -> Interruption {
    match how {
        Break::End => Interruption::End,
        Break::Gone => Interruption::Gone,
        Break::Tear => Interruption::Break,
        Break::Silence => Interruption::Silence,
    }
}

/// How the remote answers; `root` is the folder that holds the repository.
pub fn answer(fault: GitFault, root: &Path) -> Answer {
    let root = root.to_owned();
    match fault {
        GitFault::Well => Answer::Git { root, token: None },
        GitFault::Refused => Answer::HangUp,
        GitFault::Failing => Answer::Status(500),
        GitFault::Html => Answer::Html,
        GitFault::CutPack => Answer::CutPack { root },
        GitFault::Slow => Answer::Slow { root, delay: Duration::from_millis(700) },
    }
}
