//! The steps on a store's way to READY, and how long each may take.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One step on the way to READY, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The namespace and every object in it is applied.
    Namespace,
    /// PostgreSQL, and Redis where the store has one, is ready.
    Database,
    /// The bootstrap Job of this image and these settings is complete.
    Migration,
    /// Medusa's API and worker run.
    Api,
    /// The shop's pages are served.
    Storefront,
    /// The store's host leads to it.
    Ingress,
    /// The shop itself answers as a shopper needs it.
    Probe,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Database,
        Self::Migration,
        Self::Api,
        Self::Storefront,
        Self::Ingress,
        Self::Probe,
    ];

    /// Returns the step as people read it and flags name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Database => "database",
            Self::Migration => "migration",
            Self::Api => "api",
            Self::Storefront => "storefront",
            Self::Ingress => "ingress",
            Self::Probe => "probe",
        }
    }

    /// Finds the step of a component of the chart.
    pub fn of_component(component: &str) -> Option<Self> {
        Some(match component {
            "postgres" | "redis" => Self::Database,
            "bootstrap" => Self::Migration,
            "medusa" | "worker" => Self::Api,
            "storefront" => Self::Storefront,
            "ingress" => Self::Ingress,
            _ => return None,
        })
    }

    /// Finds the step of a kind, for charts that name their components otherwise.
    pub fn of_kind(kind: &str) -> Self {
        match kind {
            "StatefulSet" => Self::Database,
            "Job" => Self::Migration,
            "Ingress" => Self::Ingress,
            _ => Self::Api,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long a store may stay at each step before it counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTimeouts([Duration; Step::ALL.len()]);

impl Default for StepTimeouts {
    /// The bootstrap Job has a deadline of its own, also when it restores, which is shorter and says more.
    fn default() -> Self {
        let seconds = |step| match step {
            Step::Namespace => 60,
            Step::Migration => 3000,
            Step::Database | Step::Api | Step::Storefront | Step::Ingress | Step::Probe => 300,
        };
        Self(Step::ALL.map(|step| Duration::from_secs(seconds(step))))
    }
}

impl StepTimeouts {
    /// Returns how long a store may stay at a step.
    pub fn of(&self, step: Step) -> Duration {
        self.0[step as usize]
    }

    /// Sets how long a store may stay at a step.
    pub fn set(&mut self, step: Step, timeout: Duration) {
        self.0[step as usize] = timeout;
    }
}

/// Why a text is no time-out of a step; fits "failed to understand it: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepTimeoutError {
    /// Not `step=seconds`.
    #[error("`{0}` is not of the form step=seconds, such as database=600")]
    NoPair(String),
    /// No such step.
    #[error("`{0}` is not a step: use one of {all}", all = Step::ALL.map(Step::as_str).join(", "))]
    NoStep(String),
    /// No number of seconds that makes sense.
    #[error("`{0}` is not a number of seconds from 1 to 86400")]
    NoSeconds(String),
}

/// The time-out of one step, as flags give it: `database=600`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTimeout {
    /// The step.
    pub step: Step,
    /// How long a store may stay at it.
    pub timeout: Duration,
}

impl FromStr for StepTimeout {
    type Err = StepTimeoutError;

    fn from_str(text: &str) -> Result<Self, StepTimeoutError> {
        let (name, seconds) =
            text.split_once('=').ok_or_else(|| StepTimeoutError::NoPair(text.to_owned()))?;
        let step = Step::ALL.into_iter().find(|step| step.as_str() == name);
        let step = step.ok_or_else(|| StepTimeoutError::NoStep(name.to_owned()))?;
        match seconds.parse() {
            Ok(number @ 1..=86_400) => Ok(Self { step, timeout: Duration::from_secs(number) }),
            _ => Err(StepTimeoutError::NoSeconds(seconds.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_step_and_seconds_and_mistakes_are_named() {
        let parse = |text: &str| text.parse::<StepTimeout>();
        assert_eq!(
            parse("database=600"),
            Ok(StepTimeout { step: Step::Database, timeout: Duration::from_mins(10) })
        );
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert!(message("database").contains("step=seconds"));
        assert!(message("databse=1").contains("namespace, database, migration, api"));
        for bad in ["api=0", "api=86401", "api=1m", "api="] {
            assert!(message(bad).contains("1 to 86400"), "{bad}");
        }
    }

    #[test]
    fn each_step_has_its_own_timeout() {
        let mut timeouts = StepTimeouts::default();
        timeouts.set(Step::Probe, Duration::from_secs(5));
        for step in Step::ALL {
            let expected =
                if step == Step::Probe { Duration::from_secs(5) } else { StepTimeouts::default().of(step) };
            assert_eq!(timeouts.of(step), expected);
        }
    }
}
