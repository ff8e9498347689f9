//! Asks the shops themselves, beside the runs: a shop that does not answer delays no run, and a run that waits no
//! question.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::Chance;
use super::checks::{Answer, Checks, Errand, News};
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::Fingerprint;
use crate::names::{PROBE_KEY, StoreId};
use crate::probe::{Prober, PublishableKey};
use crate::reconcile::Question;
use crate::report::{ProbeFailure, Probed, Step};

/// How many shops are asked at once. They are small requests; many, because a shop that hangs holds its place for
/// as long as a question may take.
const AT_ONCE: usize = 64;

/// How shops are asked.
#[derive(Debug, Clone)]
pub struct AskingOptions {
    /// The edge to them.
    pub prober: Prober,
    /// How often a shop that answers is asked.
    pub interval: Duration,
}

/// One finished question.
pub(super) struct Asked {
    pub(super) errand: Errand,
    answer: Answer,
    pub(super) took: Duration,
}

/// The questions to shops, those under way included.
pub(super) struct Asking {
    prober: Option<Prober>,
    chance: Chance,
    checks: Checks,
    running: JoinSet<Asked>,
}

impl Asking {
    pub(super) fn new(options: Option<AskingOptions>, chance: Chance) -> Self {
        let (prober, interval) = options.map(|it| (it.prober, it.interval)).unzip();
        let checks = Checks::new(interval.unwrap_or_default());
        Self { prober, chance, checks, running: JoinSet::new() }
    }

    /// Says why no shop is asked, if none is.
    pub(super) fn not_asked(&self) -> Option<String> {
        self.prober.is_none().then(|| "the shop itself is not asked (--probe objects)".to_owned())
    }

    /// Returns what a shop answered last, and the inputs it ran with.
    pub(super) fn probed(&self, store: &StoreId) -> (Option<Fingerprint>, Probed) {
        match self.not_asked() {
            Some(reason) => (None, Probed::NotAsked(reason)),
            None => self.checks.probed(store),
        }
    }

    /// A run has ended: see [`Checks::concluded`].
    pub(super) fn concluded(&mut self, store: &StoreId, ask: Option<Question>, restless: bool, now: Instant) {
        if self.prober.is_some() {
            self.checks.concluded(store, ask, restless, now);
        }
    }

    /// Begins the questions that are due.
    pub(super) fn start(&mut self, cluster: &Cluster, now: Instant) {
        let Some(prober) = &self.prober else { return };
        while self.running.len() < AT_ONCE {
            let Some(errand) = self.checks.take_due(now) else { return };
            let (prober, cluster) = (prober.clone(), cluster.clone());
            let span = tracing::info_span!("probe", store.id = %errand.store);
            let asked = async move {
                let begun = Instant::now();
                let answer = unbroken(ask(&prober, &cluster, &errand)).await;
                Asked { errand, answer, took: begun.elapsed() }
            };
            self.running.spawn(asked.instrument(span));
        }
    }

    /// When the next question is due; none while as many as may be are under way.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.running.len() < AT_ONCE { self.checks.next_due() } else { None }
    }

    /// Waits for the end of a question; for ever when none is under way.
    pub(super) async fn next(&mut self) -> Asked {
        loop {
            match self.running.join_next().await {
                Some(Ok(asked)) => return asked,
                Some(Err(error)) => tracing::error!(%error, "a question to a shop broke off"),
                None => std::future::pending().await,
            }
        }
    }

    /// Takes an answer in and plans the next question; none when nobody wants it any more.
    pub(super) fn finished(&mut self, asked: Asked, now: Instant) -> Option<News> {
        let Asked { errand, answer, took: _ } = asked;
        self.checks.finished(&errand, answer, now, (self.chance)())
    }
}

async fn ask(prober: &Prober, cluster: &Cluster, errand: &Errand) -> Answer {
    let Errand { store, question, key, .. } = errand;
    let key = match (key, &question.target.key_secret) {
        (_, None) => None,
        (Some(key), _) => Some(key.clone()),
        (None, Some(secret)) => match read_key(cluster, store, secret).await {
            Ok(Ok(key)) => Some(key),
            Ok(Err(reason)) => return Answer::Shop(None, Err(ProbeFailure::new(Step::Probe, reason))),
            Err(error) => {
                tracing::warn!(store.id = %store, %error, "failed to read the key to ask the shop with");
                return Answer::Unasked;
            }
        },
    };
    let result = prober.ask(&question.url, &question.target, key.as_ref()).await;
    Answer::Shop(key, result)
}

/// Reads the key; what is wrong with the Secret itself comes as a sentence.
async fn read_key(
    cluster: &Cluster,
    store: &StoreId,
    secret: &str,
) -> Result<Result<PublishableKey, String>, ClusterError> {
    let entry = cluster.secret_entry(&store.namespace(), secret, PROBE_KEY).await?;
    let entry = entry.ok_or_else(|| format!("Secret/{secret} has no entry {PROBE_KEY} to ask the shop with"));
    Ok(entry.and_then(|text| {
        let unusable = || format!("entry {PROBE_KEY} of Secret/{secret} is no key: no header can carry it");
        PublishableKey::new(&text).ok_or_else(unusable)
    }))
}

/// A panic is a mistake of ours and must not leave the store waiting for an answer for ever.
async fn unbroken(answer: impl Future<Output = Answer>) -> Answer {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        let reason = "the question broke off, which is a mistake in storekeeper, please report it";
        Answer::Shop(None, Err(ProbeFailure::new(Step::Probe, reason.to_owned())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_panics_has_an_answer_too() {
        let answer = unbroken(async { panic!("a mistake") }).now_or_never().unwrap();
        let Answer::Shop(None, Err(failure)) = answer else { panic!("{answer:?}") };
        assert!(failure.step == Step::Probe && failure.reason.contains("please report it"));
    }
}
