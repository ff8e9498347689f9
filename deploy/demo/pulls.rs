//! The check of a demo with a forge: a store comes and goes by pull requests, and the forge says so.

use std::time::Instant;

use crate::common::cluster::Witness;
use crate::common::{until, until_within};
use crate::forge::{Forge, MACHINE, REQUIRED};
use crate::{Demo, GUEST, PATIENCE, guest, latencies};

/// A pull request whose plan is there.
struct Proposal {
    number: u64,
    comment: String,
    pushed: Instant,
    planned: Instant,
}

/// A commit on the branch that is followed.
struct Merged {
    commit: String,
    at: Instant,
    seen: Instant,
}

impl Demo {
    /// Adds and removes a store by pull requests; returns the latencies in a line.
    pub(crate) fn check_pulls(&self, forge: &Forge) -> String {
        let namespace = format!("store-{GUEST}");
        assert!(self.cluster.namespace(&namespace).is_none(), "{namespace} exists before the demo made it");
        let kinds = [("v1", "Namespace")];
        let witness = self.cluster.witness(&kinds, &format!("storekeeper.dev/store={GUEST}"));
        let added = self.add_by_pull(forge, &witness);
        println!("{added}");
        let removed = self.remove_by_pull(forge, &witness);
        println!("{removed}");
        assert!(self.cluster.namespace(&namespace).is_none(), "{namespace} is still there");
        format!("{GUEST} {added}; {removed}")
    }

    fn add_by_pull(&self, forge: &Forge, witness: &Witness) -> String {
        forge.project.begin("add-dahlia");
        forge.project.write(&format!("stores/{GUEST}.yaml"), &guest("Dahlia"));
        let proposal = Self::propose(forge, "add-dahlia");
        let merged = self.merge(forge, &proposal);
        let first = witness.until("the first object is applied", merged.at, |event| {
            event.kind == "Namespace" && !event.gone
        });
        let ready = self.until_applied(&merged.commit);
        let told = Self::until_verdict(forge, &merged.commit);
        Self::assert_still_said(forge, &proposal);
        format!(
            "{}; {}",
            planned("added", &proposal),
            latencies(
                "merged",
                merged.at,
                &[
                    ("seen", merged.seen),
                    ("first object applied", first.at),
                    ("READY", ready),
                    ("verdict", told),
                ]
            )
        )
    }

    fn remove_by_pull(&self, forge: &Forge, witness: &Witness) -> String {
        forge.project.begin("remove-dahlia");
        std::fs::remove_file(forge.project.checkout.join(format!("stores/{GUEST}.yaml"))).unwrap();
        let proposal = Self::propose(forge, "remove-dahlia");
        let merged = self.merge(forge, &proposal);
        let gone = witness
            .until("the namespace is gone", merged.at, |event| event.kind == "Namespace" && event.gone);
        let told = Self::until_verdict(forge, &merged.commit);
        Self::assert_still_said(forge, &proposal);
        until("the API forgets the store", || self.daemon.store(GUEST).is_none().then_some(()));
        format!(
            "{}; {}",
            planned("removed", &proposal),
            latencies("merged", merged.at, &[("seen", merged.seen), ("gone", gone.at), ("verdict", told)])
        )
    }

    /// Proposes what is changed in the checkout, and waits until plan and comment are there.
    fn propose(forge: &Forge, branch: &str) -> Proposal {
        let project = &forge.project;
        let head = project.push(branch, &branch.replace('-', " "));
        let number = project.open(&project.owner, branch, branch);
        let pushed = Instant::now();
        let plan = project.until_status(&head, "storekeeper/plan", "success");
        let planned = Instant::now();
        assert_ne!(plan["target_url"], "", "the plan has no page: {plan}");
        let comment = until("the plan is a comment too", || Self::comment(forge, number));
        assert!(comment.contains(GUEST), "{comment}");
        project.until_status(&head, REQUIRED, "success");
        Proposal { number, comment, pushed, planned }
    }

    /// Returns what storekeeper says on a pull request.
    fn comment(forge: &Forge, number: u64) -> Option<String> {
        let comments = forge.project.comments(number).into_iter();
        let ours: Vec<_> = comments.filter(|comment| comment["user"]["login"] == MACHINE).collect();
        assert!(ours.len() < 2, "more than one comment: {ours:?}");
        ours.first().map(|comment| comment["body"].as_str().unwrap().to_owned())
    }

    /// Makes sure that what was said before the merge still stands there.
    fn assert_still_said(forge: &Forge, proposal: &Proposal) {
        assert_eq!(
            Self::comment(forge, proposal.number).as_ref(),
            Some(&proposal.comment),
            "the plan that was merged"
        );
    }

    /// Merges a pull request and waits until the daemon follows it.
    fn merge(&self, forge: &Forge, proposal: &Proposal) -> Merged {
        let commit = forge.project.merge(proposal.number, "merge");
        let at = Instant::now();
        let seen = self.until_seen(&commit);
        Merged { commit, at, seen }
    }

    /// Waits until the forge shows success for the store and for all, with a link each.
    fn until_verdict(forge: &Forge, commit: &str) -> Instant {
        for context in [format!("storekeeper/{GUEST}"), "storekeeper/all".to_owned()] {
            let status = until_within(PATIENCE, &format!("{context} is a success"), || {
                let statuses = forge.project.statuses(commit);
                statuses.get(&context).filter(|status| status["status"] == "success").cloned()
            });
            assert_ne!(status["target_url"], "", "{context} has no page: {status}");
        }
        Instant::now()
    }
}

fn planned(what: &str, proposal: &Proposal) -> String {
    latencies(what, proposal.pushed, &[("plan shown", proposal.planned)])
}
