//! Asks the shops themselves, beside the runs: a shop that does not answer delays no run, and a run that waits no
//! question.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::Instrument;

use super::Chance;
use super::agenda::Agenda;
use crate::cluster::Cluster;
use crate::manifest::Fingerprint;
use crate::names::{PROBE_KEY, StoreId};
use crate::probe::{Prober, PublishableKey};
use crate::reconcile::Question;
use crate::report::{ProbeFailure, Probed, Step};

/// How many shops are asked at once.
const AT_ONCE: usize = 16;

/// How soon a shop is asked again after its first failure; the wait doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// The longest wait after failures.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How often a shop is asked that answers while something of it does not run.
const RESTLESS: Duration = Duration::from_secs(5);

/// How far chance moves the next question, so that shops that came together are not asked together.
const JITTER: f64 = 0.1;

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
    pub(super) store: StoreId,
    question: Question,
    key: Option<PublishableKey>,
    result: Result<(), ProbeFailure>,
    pub(super) took: Duration,
}

/// What a finished question means for its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    pub(super) good: bool,
    /// Whether the store has to be judged anew.
    pub(super) changed: bool,
}

/// The stores that are asked, what they answered last, and who is due.
pub(super) struct Asking {
    options: Option<AskingOptions>,
    chance: Chance,
    checks: BTreeMap<StoreId, Check>,
    due: Agenda,
    running: JoinSet<Asked>,
}

#[derive(Debug)]
struct Check {
    question: Question,
    key: Option<PublishableKey>,
    probed: Probed,
    /// Something of the store does not run.
    restless: bool,
    running: bool,
    /// What the running question will answer is too old already.
    again: bool,
}

impl Asking {
    pub(super) fn new(options: Option<AskingOptions>, chance: Chance) -> Self {
        Self { options, chance, checks: BTreeMap::new(), due: Agenda::default(), running: JoinSet::new() }
    }

    /// Says why no shop is asked, if none is.
    pub(super) fn not_asked(&self) -> Option<String> {
        self.options.is_none().then(|| "the shop itself is not asked (--probe objects)".to_owned())
    }

    /// Returns what a shop answered last, and the inputs it ran with.
    pub(super) fn probed(&self, store: &StoreId) -> (Option<Fingerprint>, Probed) {
        if let Some(reason) = self.not_asked() {
            return (None, Probed::NotAsked(reason));
        }
        self.checks.get(store).map_or((None, Probed::Pending), |check| {
            (Some(check.question.inputs.clone()), check.probed.clone())
        })
    }

    /// A run has ended: the store shall be asked this from now on, or nothing. `restless`: something of it does not
    /// run, so what it said before may no longer hold.
    pub(super) fn concluded(&mut self, store: &StoreId, ask: Option<Question>, restless: bool, now: Instant) {
        if self.options.is_none() {
            return;
        }
        let Some(question) = ask else {
            self.checks.remove(store);
            self.due.remove(store);
            return;
        };
        match self.checks.get_mut(store) {
            Some(check) if check.question == question => {
                if restless && !check.restless {
                    check.again = check.running;
                    self.due.set(store, now);
                }
                check.restless = restless;
            }
            _ => {
                let check = Check {
                    question,
                    key: None,
                    probed: Probed::Pending,
                    restless,
                    running: false,
                    again: false,
                };
                self.checks.insert(store.clone(), check);
                self.due.set(store, now);
            }
        }
    }

    /// Begins the questions that are due.
    pub(super) fn start(&mut self, cluster: &Cluster, now: Instant) {
        let Some(AskingOptions { prober, .. }) = &self.options else { return };
        while self.running.len() < AT_ONCE {
            let Some(store) = self.due.take_due(now) else { return };
            let Some(check) = self.checks.get_mut(&store).filter(|check| !check.running) else { continue };
            check.running = true;
            let (prober, cluster) = (prober.clone(), cluster.clone());
            let (question, key) = (check.question.clone(), check.key.clone());
            let span = tracing::info_span!("probe", store.id = %store);
            let asked = async move {
                let begun = Instant::now();
                let (key, result) = ask(&prober, &cluster, &store, &question, key).await;
                Asked { store, question, key, result, took: begun.elapsed() }
            };
            self.running.spawn(asked.instrument(span));
        }
    }

    /// When the next question is due; none while as many as may be are under way.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.running.len() < AT_ONCE { self.due.next() } else { None }
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
        let interval = self.options.as_ref()?.interval;
        let Asked { store, question, key, result, took: _ } = asked;
        let check = self.checks.get_mut(&store).filter(|check| check.question == question)?;
        check.running = false;
        if std::mem::take(&mut check.again) {
            self.due.set(&store, now);
            return None;
        }
        let good = result.is_ok();
        let before = std::mem::take(&mut check.probed);
        let failures = if let Probed::Bad { times, .. } = before { times } else { 0 };
        check.probed = match result {
            Ok(()) => Probed::Good,
            Err(failure) => Probed::Bad { failure, times: failures.saturating_add(1) },
        };
        // A key that may be wrong is read anew.
        check.key = key.filter(|_| good);
        let wait = if !good {
            FIRST_RETRY.saturating_mul(1 << failures.min(8)).min(LAST_RETRY).min(interval)
        } else if check.restless {
            RESTLESS.min(interval)
        } else {
            interval.mul_f64(1.0 + JITTER * (2.0 * (self.chance)() - 1.0))
        };
        self.due.set(&store, now + wait);
        Some(News { good, changed: check.probed != before })
    }
}

async fn ask(
    prober: &Prober,
    cluster: &Cluster,
    store: &StoreId,
    question: &Question,
    key: Option<PublishableKey>,
) -> (Option<PublishableKey>, Result<(), ProbeFailure>) {
    let key = match key {
        Some(key) => key,
        None => match read_key(cluster, store, question).await {
            Ok(key) => key,
            Err(reason) => return (None, Err(ProbeFailure { step: Step::Probe, reason })),
        },
    };
    let result = prober.ask(&question.url, &question.target, &key).await;
    (Some(key), result)
}

async fn read_key(cluster: &Cluster, store: &StoreId, question: &Question) -> Result<PublishableKey, String> {
    let secret = &question.target.key_secret;
    match cluster.secret_entry(&store.namespace(), secret, PROBE_KEY).await {
        Ok(Some(key)) => Ok(PublishableKey::new(key)),
        Ok(None) => Err(format!("Secret/{secret} has no entry {PROBE_KEY} to ask the shop with")),
        Err(error) => Err(format!("failed to {error}")),
    }
}
