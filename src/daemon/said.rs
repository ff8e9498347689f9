//! What stands on pull requests by our hand, and what a newer plan has to put right there.

use std::collections::BTreeSet;

use crate::report::{Delivery, PlanReport, PlanVerdict};

/// Pull requests on which something of ours stands.
#[derive(Debug, Default)]
pub(super) struct Said {
    comments: BTreeSet<u64>,
    /// Those whose newest plan has problems at lines.
    annotations: BTreeSet<u64>,
}

impl Said {
    /// Notes a plan that was told earlier; the newest one counts.
    pub(super) fn note(&mut self, pull: u64, plan: &PlanReport) {
        if plan.verdict != PlanVerdict::Nothing {
            self.comments.insert(pull);
        }
        if plan.annotations().is_empty() {
            self.annotations.remove(&pull);
        } else {
            self.annotations.insert(pull);
        }
    }

    /// Forgets all other pull requests.
    pub(super) fn keep_only(&mut self, open: &BTreeSet<u64>) {
        self.comments.retain(|number| open.contains(number));
        self.annotations.retain(|number| open.contains(number));
    }

    /// Returns what a new plan says on its pull request. Where there was nothing to say and is nothing, nothing is said.
    pub(super) fn deliveries(
        &mut self,
        pull: u64,
        head: &str,
        plan: &PlanReport,
        page: Option<&str>,
    ) -> Vec<Delivery> {
        let (had_comment, had_annotations) =
            (self.comments.contains(&pull), self.annotations.contains(&pull));
        self.note(pull, plan);
        let mut deliveries = Vec::new();
        if plan.verdict != PlanVerdict::Nothing || had_comment {
            deliveries.push(Delivery::Comment { pull, text: plan.markdown(page) });
        }
        let annotations = plan.annotations();
        // Without problems too, after some: what stands there is not true any more.
        if !annotations.is_empty() || had_annotations {
            deliveries.push(Delivery::Annotations { pull, head: head.to_owned(), annotations });
        }
        deliveries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::PlanProblem;
    use crate::{preview, store};

    fn plan(verdict: PlanVerdict, lines: &[usize]) -> PlanReport {
        let problem = |line: &usize| PlanProblem {
            path: "stores/acme.yaml".to_owned(),
            line: Some(*line),
            column: Some(1),
            message: "not so".to_owned(),
        };
        let problems = lines.iter().map(problem).collect();
        PlanReport { verdict, problems, ..preview::unusable(&store::Freeze::EmptyTree, 0) }
    }

    /// Says in short what is delivered: a comment, and how many annotations.
    fn said(said: &mut Said, plan: &PlanReport) -> (bool, Option<usize>) {
        let deliveries = said.deliveries(7, "1a2b", plan, None);
        let comment = deliveries.iter().any(|it| matches!(it, Delivery::Comment { pull: 7, .. }));
        let annotations = deliveries.iter().find_map(|it| match it {
            Delivery::Annotations { annotations, .. } => Some(annotations.len()),
            _ => None,
        });
        (comment, annotations)
    }

    #[test]
    fn what_is_not_true_any_more_is_put_right_once() {
        let mut book = Said::default();
        assert_eq!(said(&mut book, &plan(PlanVerdict::Nothing, &[])), (false, None));
        assert_eq!(said(&mut book, &plan(PlanVerdict::Wrong, &[1, 2])), (true, Some(2)));
        assert_eq!(said(&mut book, &plan(PlanVerdict::Changes, &[])), (true, Some(0)));
        assert_eq!(said(&mut book, &plan(PlanVerdict::Nothing, &[])), (true, None));
    }

    #[test]
    fn plans_of_an_earlier_process_count_and_closed_pull_requests_do_not() {
        let mut book = Said::default();
        book.note(7, &plan(PlanVerdict::Wrong, &[1]));
        book.keep_only(&BTreeSet::from([7]));
        assert_eq!(said(&mut book, &plan(PlanVerdict::Nothing, &[])), (true, Some(0)));
        book.note(7, &plan(PlanVerdict::Wrong, &[1]));
        book.keep_only(&BTreeSet::new());
        assert_eq!(said(&mut book, &plan(PlanVerdict::Nothing, &[])), (false, None));
    }
}
