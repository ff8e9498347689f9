//! Says what runs when a newer version does not come up.

use std::fmt;

use super::Probed;
use super::probe::TOLERATED;

/// One version of a store, as people know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    /// Its commit.
    pub revision: &'a str,
    /// Its image.
    pub image: Option<&'a str>,
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.revision.get(..10).unwrap_or(self.revision))?;
        self.image.map_or(Ok(()), |image| write!(f, " ({image})"))
    }
}

/// Says that a store runs one version and wants another, why it has not got it, and whether the one that runs serves.
pub fn failed_rollout(runs: Version<'_>, wants: Version<'_>, because: &str, serves: &Probed) -> String {
    let serves = match serves {
        Probed::Good => "; what runs still answers as a shopper needs it".to_owned(),
        Probed::Bad { failure, times } if *times >= TOLERATED => {
            format!("; what runs does not answer: {}: {}", failure.step, failure.reason)
        }
        Probed::Bad { .. } | Probed::Pending | Probed::NotAsked(_) => String::new(),
    };
    format!("runs {runs}, wants {wants}, because {because}{serves}")
}

/// Says that the wanted version runs and does not serve, and which one served last.
pub fn silent_rollout(runs: Version<'_>, last: Version<'_>, because: &str) -> String {
    format!("runs {runs}, which does not answer as a shopper needs it: {because}; READY last with {last}")
}

/// Says that a version was taken back, and for how long.
pub fn rolled_back(to: Version<'_>, from: Version<'_>, because: &str, now: &str) -> String {
    format!(
        "rolled back to {to} because {from} did not come up: {because}; held until a commit changes this store; {now}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::{ProbeFailure, Step};
    use super::*;

    const OLD: Version<'_> = Version { revision: "1111111111111111", image: Some("medusa:1") };
    const NEW: Version<'_> = Version { revision: "2222222222222222", image: None };

    #[test]
    fn a_failed_rollout_says_what_runs_what_is_wanted_and_whether_it_serves() {
        let said = |serves: &Probed| failed_rollout(OLD, NEW, "migration: failed", serves);
        let plain = "runs 1111111111 (medusa:1), wants 2222222222, because migration: failed";
        assert_eq!(said(&Probed::Pending), plain);
        assert_eq!(said(&Probed::Good), format!("{plain}; what runs still answers as a shopper needs it"));
        let bad = |times| Probed::Bad { failure: ProbeFailure::new(Step::Probe, "500".to_owned()), times };
        assert_eq!(said(&bad(1)), plain, "one lost packet is no outage");
        assert_eq!(said(&bad(2)), format!("{plain}; what runs does not answer: probe: 500"));
    }

    #[test]
    fn a_version_that_runs_and_does_not_answer_is_said_to_run() {
        assert_eq!(
            silent_rollout(NEW, OLD, "probe: 500"),
            "runs 2222222222, which does not answer as a shopper needs it: probe: 500; READY last with 1111111111 (medusa:1)"
        );
    }

    #[test]
    fn a_rollback_says_from_what_to_what_and_until_when() {
        assert_eq!(
            rolled_back(OLD, NEW, "api: not ready", "it answers"),
            "rolled back to 1111111111 (medusa:1) because 2222222222 did not come up: api: not ready; held until a \
             commit changes this store; it answers"
        );
    }
}
