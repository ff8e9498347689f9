//! Concludes what state a store is in whose objects were applied: from its workloads, its own answers and the time
//! it has spent at a step.

use std::time::Duration;

use super::probe::TOLERATED;
use super::{Probed, Readiness, Step, StepTimeouts, StoreState, Symptom, Workload, explain};

/// Everything that a verdict rests on.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// The state it was in before.
    pub before: StoreState,
    /// Whether it was READY with exactly these inputs.
    pub was_ready: bool,
    /// What is missing or still going of its objects.
    pub incomplete: Option<String>,
    /// Its workloads, each with a name.
    pub workloads: Vec<(String, &'a Workload)>,
    /// What is known of the shop itself.
    pub probed: &'a Probed,
    /// The step it was at, and for how long.
    pub waited: Option<(Step, Duration)>,
    /// How long it may be at each step.
    pub timeouts: &'a StepTimeouts,
    /// What pods and events tell, if they were asked.
    pub symptoms: &'a [Symptom],
}

/// What state a store is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: StoreState,
    /// The step that is not done; none when it is READY.
    pub step: Option<Step>,
    /// Why.
    pub reason: String,
    /// Whether the shop itself is worth asking: everything runs, or it did.
    pub ask: bool,
}

/// What the cluster says is not as it should be.
struct Trouble {
    step: Step,
    reason: String,
    /// Its controller has given up.
    is_final: bool,
}

/// Concludes from the evidence.
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    match trouble(evidence) {
        None => answered(evidence),
        // A store that was READY may serve all the same: a pod more by its autoscaler, a replica that moves.
        Some(trouble) if evidence.was_ready && !trouble.is_final => shaken(evidence, trouble),
        Some(Trouble { step, reason, is_final: false }) => waiting(evidence, step, &reason, false),
        Some(Trouble { step, reason, is_final: true }) => {
            let state = if evidence.was_ready { StoreState::Degraded } else { StoreState::Failed };
            Verdict { state, step: Some(step), reason, ask: false }
        }
    }
}

/// Finds the first step that is not done. The Ingress is none of them: not every controller publishes an address.
fn trouble(evidence: &Evidence<'_>) -> Option<Trouble> {
    let explained =
        |step: Step, reason: &str| format!("{step}: {reason}{}", explain(evidence.symptoms, step));
    if let Some(reason) = &evidence.incomplete {
        let reason = explained(Step::Namespace, reason);
        return Some(Trouble { step: Step::Namespace, reason, is_final: false });
    }
    let mut workloads: Vec<_> = evidence.workloads.iter().collect();
    workloads.sort_by_key(|(_, workload)| workload.step);
    let failed = workloads.iter().find_map(|(name, workload)| match &workload.readiness {
        Readiness::Failed(reason) => Some((workload.step, format!("{name}: {reason}"))),
        Readiness::Current | Readiness::Progressing(_) => None,
    });
    if let Some((step, reason)) = failed {
        return Some(Trouble { step, reason: explained(step, &reason), is_final: true });
    }
    let first = workloads.iter().map(|(_, workload)| workload).find(|workload| {
        workload.step < Step::Ingress && matches!(workload.readiness, Readiness::Progressing(_))
    })?;
    let reasons: Vec<_> = progressing(&evidence.workloads, first.step).collect();
    let reason = explained(first.step, &reasons.join("; "));
    Some(Trouble { step: first.step, reason, is_final: false })
}

fn progressing<'a>(workloads: &'a [(String, &Workload)], step: Step) -> impl Iterator<Item = String> + 'a {
    workloads.iter().filter(move |(_, workload)| workload.step == step).filter_map(|(name, workload)| {
        match &workload.readiness {
            Readiness::Progressing(reason) => Some(format!("{name}: {reason}")),
            Readiness::Current | Readiness::Failed(_) => None,
        }
    })
}

/// Everything runs: what the shop itself says decides.
fn answered(evidence: &Evidence<'_>) -> Verdict {
    let ready = |reason: String| Verdict { state: StoreState::Ready, step: None, reason, ask: true };
    match evidence.probed {
        Probed::NotAsked(why) => ready(format!("every object is applied and every workload runs; {why}")),
        Probed::Good => ready("it answers as a shopper needs it".to_owned()),
        Probed::Pending => {
            let reason = "probe: everything runs; asking the shop itself".to_owned();
            if !evidence.was_ready {
                return waiting(evidence, Step::Probe, &reason, true);
            }
            Verdict { state: unchanged(evidence), step: Some(Step::Probe), reason, ask: true }
        }
        Probed::Bad { failure, times } => {
            let mut reason = failure.reason.clone();
            if failure.step == Step::Ingress {
                let why: Vec<_> = progressing(&evidence.workloads, Step::Ingress).collect();
                if !why.is_empty() {
                    reason = format!("{reason} ({})", why.join("; "));
                }
            }
            let reason = format!("{}: {reason}", failure.step);
            if !evidence.was_ready {
                return waiting(evidence, failure.step, &reason, true);
            }
            failing(evidence, failure.step, &reason, *times)
        }
    }
}

/// The shop was READY and something of it does not run: whether it serves decides. Where nobody asks it, time does.
fn shaken(evidence: &Evidence<'_>, trouble: Trouble) -> Verdict {
    let Trouble { step, mut reason, is_final: _ } = trouble;
    let verdict = |state, reason| Verdict { state, step: Some(step), reason, ask: true };
    let overdue = is_overdue(evidence, step);
    if overdue {
        reason = overdue_words(evidence, step, &reason);
    }
    match evidence.probed {
        Probed::NotAsked(_) if overdue => verdict(StoreState::Degraded, reason),
        Probed::NotAsked(_) | Probed::Pending => verdict(unchanged(evidence), reason),
        Probed::Good => verdict(StoreState::Ready, format!("it answers as a shopper needs it; {reason}")),
        Probed::Bad { failure, times } => {
            let reason = format!("{reason}; {}: {}", failure.step, failure.reason);
            failing(evidence, step, &reason, *times)
        }
    }
}

fn failing(evidence: &Evidence<'_>, step: Step, reason: &str, times: u32) -> Verdict {
    let (state, reason) = if times < TOLERATED {
        (unchanged(evidence), format!("one check failed and is made again: {reason}"))
    } else {
        (StoreState::Degraded, reason.to_owned())
    };
    Verdict { state, step: Some(step), reason, ask: true }
}

/// A store that was READY stays what it was until a check has decided.
fn unchanged(evidence: &Evidence<'_>) -> StoreState {
    match evidence.before {
        before @ (StoreState::Ready | StoreState::Degraded) if evidence.was_ready => before,
        _ => StoreState::Provisioning,
    }
}

fn waiting(evidence: &Evidence<'_>, step: Step, reason: &str, ask: bool) -> Verdict {
    let (state, reason) = if is_overdue(evidence, step) {
        (StoreState::Failed, overdue_words(evidence, step, reason))
    } else {
        (StoreState::Provisioning, reason.to_owned())
    };
    Verdict { state, step: Some(step), reason, ask }
}

fn is_overdue(evidence: &Evidence<'_>, step: Step) -> bool {
    evidence.waited.is_some_and(|(at, time)| at == step && time >= evidence.timeouts.of(step))
}

fn overdue_words(evidence: &Evidence<'_>, step: Step, reason: &str) -> String {
    format!("not done after {} s and still waited for: {reason}", evidence.timeouts.of(step).as_secs())
}

#[cfg(test)]
mod tests {
    use super::super::ProbeFailure;
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(5);

    struct Case {
        workloads: Vec<(String, Workload)>,
        probed: Probed,
        before: StoreState,
        was_ready: bool,
        waited: Option<(Step, Duration)>,
    }

    impl Case {
        fn new(workloads: &[(Step, Readiness)], probed: Probed) -> Self {
            let named = |(step, readiness): &(Step, Readiness)| {
                (format!("Kind/{step}"), Workload { step: *step, readiness: readiness.clone(), made: None })
            };
            let workloads = workloads.iter().map(named).collect();
            Self { workloads, probed, before: StoreState::Provisioning, was_ready: false, waited: None }
        }

        fn ready_before(mut self) -> Self {
            (self.before, self.was_ready) = (StoreState::Ready, true);
            self
        }

        fn judge(&self) -> Verdict {
            judge(&Evidence {
                before: self.before,
                was_ready: self.was_ready,
                incomplete: None,
                workloads: self.workloads.iter().map(|(name, workload)| (name.clone(), workload)).collect(),
                probed: &self.probed,
                waited: self.waited,
                timeouts: &StepTimeouts::default(),
                symptoms: &[Symptom { step: Some(Step::Database), text: "no image".into() }],
            })
        }
    }

    fn progressing(step: Step) -> (Step, Readiness) {
        (step, Readiness::Progressing("0 of 1".into()))
    }

    fn bad(step: Step, times: u32) -> Probed {
        Probed::Bad { failure: ProbeFailure::new(step, "no answer".into()), times }
    }

    #[test]
    fn a_store_is_at_the_first_step_that_is_not_done() {
        let all = [progressing(Step::Api), progressing(Step::Database), progressing(Step::Migration)];
        let verdict = Case::new(&all, Probed::Good).judge();
        assert_eq!((verdict.state, verdict.step), (StoreState::Provisioning, Some(Step::Database)));
        assert_eq!(verdict.reason, "database: Kind/database: 0 of 1 (no image)");
        assert!(!verdict.ask, "nothing can answer yet");
    }

    #[test]
    fn what_runs_is_ready_only_when_the_shop_itself_answers() {
        let current = [(Step::Api, Readiness::Current)];
        assert_eq!(Case::new(&current, Probed::Good).judge().state, StoreState::Ready);
        let pending = Case::new(&current, Probed::Pending).judge();
        assert_eq!(
            (pending.state, pending.step, pending.ask),
            (StoreState::Provisioning, Some(Step::Probe), true)
        );
        let bad = Case::new(&current, bad(Step::Probe, 1)).judge();
        assert_eq!((bad.state, bad.step, bad.ask), (StoreState::Provisioning, Some(Step::Probe), true));
        let unasked = Case::new(&current, Probed::NotAsked("not asked here".into())).judge();
        assert_eq!(unasked.state, StoreState::Ready);
        assert!(unasked.reason.ends_with("not asked here"), "{}", unasked.reason);
    }

    #[test]
    fn an_ingress_without_an_address_holds_nothing_up_but_explains() {
        let ingress = [progressing(Step::Ingress)];
        assert_eq!(Case::new(&ingress, Probed::Good).judge().state, StoreState::Ready);
        let verdict = Case::new(&ingress, bad(Step::Ingress, 1)).judge();
        assert_eq!(verdict.reason, "ingress: no answer (Kind/ingress: 0 of 1)");
    }

    #[test]
    fn a_ready_store_degrades_at_the_second_failed_check_and_at_once_when_a_controller_gives_up() {
        assert_eq!(Case::new(&[], bad(Step::Probe, 1)).ready_before().judge().state, StoreState::Ready);
        assert_eq!(Case::new(&[], bad(Step::Probe, 2)).ready_before().judge().state, StoreState::Degraded);
        let failed = [(Step::Api, Readiness::Failed("deadline".into()))];
        assert_eq!(Case::new(&failed, Probed::Pending).ready_before().judge().state, StoreState::Degraded);
        assert_eq!(Case::new(&failed, Probed::Pending).judge().state, StoreState::Failed);
    }

    #[test]
    fn a_ready_store_that_serves_is_ready_however_long_a_workload_takes_and_says_which() {
        let case = |probed| Case::new(&[progressing(Step::Api)], probed).ready_before();
        let serving = case(Probed::Good).judge();
        assert_eq!((serving.state, serving.step, serving.ask), (StoreState::Ready, Some(Step::Api), true));
        assert_eq!(case(Probed::Pending).judge().state, StoreState::Ready, "it is asked now");
        assert_eq!(case(bad(Step::Probe, 1)).judge().state, StoreState::Ready);
        assert_eq!(case(bad(Step::Probe, 2)).judge().state, StoreState::Degraded);
        let mut overdue = case(Probed::Good);
        overdue.waited = Some((Step::Api, TIMEOUT));
        let verdict = overdue.judge();
        assert_eq!(verdict.state, StoreState::Ready);
        assert_eq!(
            verdict.reason,
            "it answers as a shopper needs it; not done after 300 s and still waited for: api: Kind/api: 0 of 1"
        );
        overdue.probed = bad(Step::Probe, 1);
        assert_eq!(overdue.judge().state, StoreState::Ready, "time does not make a lost packet an outage");
    }

    #[test]
    fn a_ready_store_that_nobody_asks_degrades_when_a_workload_takes_too_long() {
        let unasked = Probed::NotAsked("not asked here".into());
        let mut case = Case::new(&[progressing(Step::Api)], unasked).ready_before();
        assert_eq!(case.judge().state, StoreState::Ready, "a pod that moves is no outage");
        case.waited = Some((Step::Api, TIMEOUT));
        assert_eq!(case.judge().state, StoreState::Degraded);
    }

    #[test]
    fn a_new_store_whose_shop_can_not_be_asked_fails_in_the_end() {
        let mut case = Case::new(&[(Step::Api, Readiness::Current)], Probed::Pending);
        case.waited = Some((Step::Probe, TIMEOUT));
        assert_eq!(case.judge().state, StoreState::Failed);
        assert_eq!(case.ready_before().judge().state, StoreState::Ready);
    }

    #[test]
    fn a_degraded_store_stays_so_until_a_check_went_well() {
        let mut case = Case::new(&[(Step::Api, Readiness::Current)], Probed::Pending).ready_before();
        case.before = StoreState::Degraded;
        assert_eq!(case.judge().state, StoreState::Degraded);
        case.probed = Probed::Good;
        assert_eq!(case.judge().state, StoreState::Ready);
    }

    #[test]
    fn after_a_restart_a_store_is_not_ready_before_it_was_asked() {
        let mut case = Case::new(&[(Step::Api, Readiness::Current)], Probed::Pending).ready_before();
        case.before = StoreState::Requested;
        assert_eq!(case.judge().state, StoreState::Provisioning);
    }

    #[test]
    fn a_step_that_takes_too_long_fails_and_names_itself_but_another_step_has_its_own_time() {
        let mut case = Case::new(&[progressing(Step::Database)], Probed::Pending);
        case.waited = Some((Step::Database, TIMEOUT));
        let verdict = case.judge();
        assert_eq!(verdict.state, StoreState::Failed);
        assert!(
            verdict.reason.starts_with("not done after 300 s and still waited for: database:"),
            "{}",
            verdict.reason
        );
        case.waited = Some((Step::Database, TIMEOUT.checked_sub(Duration::from_secs(1)).unwrap()));
        assert_eq!(case.judge().state, StoreState::Provisioning);
        case.waited = Some((Step::Migration, TIMEOUT * 9));
        assert_eq!(case.judge().state, StoreState::Provisioning, "that time was another step's");
    }
}
