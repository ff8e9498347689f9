//! Which shops are asked what and when, and what they answered last. Pure: time and chance come in as arguments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use crate::manifest::Fingerprint;
use crate::names::StoreId;
use crate::probe::PublishableKey;
use crate::reconcile::Question;
use crate::report::{ProbeFailure, Probed};

/// How soon a shop is asked again after its first failure; the wait grows with the time that it fails.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// The longest wait after failures, as long as they are news.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How long failures are news. A shop that fails for longer is asked as often as one that answers.
const NEWS: Duration = Duration::from_mins(5);

/// How often a shop is asked that answers while something of it does not run.
const RESTLESS: Duration = Duration::from_secs(5);

/// How far chance moves the next question, so that shops that came together are not asked together.
const JITTER: f64 = 0.1;

/// The stores that are asked, what they answered last, and who is due.
#[derive(Debug)]
pub(super) struct Checks {
    interval: Duration,
    stores: BTreeMap<StoreId, Check>,
    /// Who has not answered with what runs now. They go first: shops that hang must not keep others from READY.
    first: Agenda,
    /// Who has.
    further: Agenda,
    begun: u64,
}

#[derive(Debug)]
struct Check {
    question: Question,
    key: Option<PublishableKey>,
    probed: Probed,
    /// Since when it answers badly.
    bad_since: Option<Instant>,
    /// Something of the store does not run.
    restless: bool,
    /// The errand whose answer is waited for.
    running: Option<u64>,
}

/// A question that is put now.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) store: StoreId,
    pub(super) question: Question,
    /// The key that the shop took before.
    pub(super) key: Option<PublishableKey>,
    number: u64,
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Answer {
    /// What the shop said to this key; none when it has none to be asked with.
    Shop(Option<PublishableKey>, Result<(), ProbeFailure>),
    /// The shop was not asked, which says nothing about it.
    Unasked,
}

/// What a finished question means for its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    pub(super) good: bool,
    /// Whether the store has to be judged anew.
    pub(super) changed: bool,
}

impl Checks {
    /// Starts without stores; a shop that answers is asked this often.
    pub(super) fn new(interval: Duration) -> Self {
        let (first, further) = (Agenda::default(), Agenda::default());
        Self { interval, stores: BTreeMap::new(), first, further, begun: 0 }
    }

    /// Returns what a shop answered last, and the inputs it ran with.
    pub(super) fn probed(&self, store: &StoreId) -> (Option<Fingerprint>, Probed) {
        self.stores
            .get(store)
            .map_or((None, Probed::Pending), |check| (Some(check.question.inputs), check.probed.clone()))
    }

    /// A run has ended: the store shall be asked this from now on, or nothing. `restless`: something of it does not
    /// run, so what it said before may no longer hold.
    pub(super) fn concluded(&mut self, store: &StoreId, ask: Option<Question>, restless: bool, now: Instant) {
        let Some(question) = ask else {
            self.stores.remove(store);
            self.first.remove(store);
            self.further.remove(store);
            return;
        };
        if let Some(check) = self.stores.get_mut(store).filter(|check| check.question == question) {
            // A failure is itself why the store is restless, and has its retry in its time: asked again at once, one
            // lost packet would count as two.
            let doubted = restless && !check.restless && !matches!(check.probed, Probed::Bad { .. });
            check.restless = restless;
            if doubted {
                // What a running question will answer is too old already.
                check.running = None;
                self.set_due(store, now);
            }
            return;
        }
        let probed = Probed::Pending;
        let check = Check { question, key: None, probed, bad_since: None, restless, running: None };
        self.stores.insert(store.clone(), check);
        self.set_due(store, now);
    }

    /// Takes a question that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Errand> {
        let store = self.first.take_due(now).or_else(|| self.further.take_due(now))?;
        let check = self.stores.get_mut(&store)?;
        self.begun += 1;
        check.running = Some(self.begun);
        let (question, key) = (check.question.clone(), check.key.clone());
        Some(Errand { store, question, key, number: self.begun })
    }

    /// When the next question is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.first.next().into_iter().chain(self.further.next()).min()
    }

    /// Takes an answer in and plans the next question; none when nobody wants it any more. `chance` lies between 0
    /// and 1.
    pub(super) fn finished(
        &mut self,
        errand: &Errand,
        answer: Answer,
        now: Instant,
        chance: f64,
    ) -> Option<News> {
        let check = self.stores.get_mut(&errand.store);
        let check = check.filter(|check| check.running == Some(errand.number))?;
        check.running = None;
        let news = check.take_in(answer, now);
        let wait = check.wait(self.interval, now).mul_f64(1.0 + JITTER * (2.0 * chance - 1.0));
        self.set_due(&errand.store, now + wait);
        news
    }

    fn set_due(&mut self, store: &StoreId, when: Instant) {
        let is_new = self.stores.get(store).is_some_and(|check| check.probed == Probed::Pending);
        self.first.remove(store);
        self.further.remove(store);
        if is_new { self.first.set(store, when) } else { self.further.set(store, when) }
    }
}

impl Check {
    fn take_in(&mut self, answer: Answer, now: Instant) -> Option<News> {
        let Answer::Shop(key, result) = answer else { return None };
        let good = result.is_ok();
        // The shop refused it, so it may have been replaced: it is read anew.
        let refused = result.as_ref().is_err_and(|failure| failure.refuses_key);
        self.key = key.filter(|_| !refused);
        self.bad_since = if good { None } else { Some(self.bad_since.unwrap_or(now)) };
        let probed = self.probed.then(result);
        let changed = probed != self.probed;
        self.probed = probed;
        Some(News { good, changed })
    }

    /// How long the next question waits.
    fn wait(&self, interval: Duration, now: Instant) -> Duration {
        let wait = match (self.bad_since, &self.probed) {
            (Some(since), _) if now.saturating_duration_since(since) < NEWS => {
                now.saturating_duration_since(since).clamp(FIRST_RETRY, LAST_RETRY)
            }
            (None, Probed::Pending) => RESTLESS,
            (None, _) if self.restless => RESTLESS,
            _ => interval,
        };
        wait.min(interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ProbeTarget, Step};

    const MINUTE: Duration = Duration::from_mins(1);

    fn id(text: &str) -> StoreId {
        text.parse().unwrap()
    }

    fn question(inputs: &str) -> Question {
        Question {
            url: "http://acme.example.com/".to_owned(),
            target: ProbeTarget { products: true, storefront: true, key_secret: Some("medusa".to_owned()) },
            inputs: Fingerprint::of_bytes(inputs.as_bytes()),
        }
    }

    fn key() -> Option<PublishableKey> {
        PublishableKey::new("pk_1")
    }

    fn bad() -> Answer {
        Answer::Shop(key(), Err(ProbeFailure::new(Step::Ingress, "503".to_owned())))
    }

    fn good() -> Answer {
        Answer::Shop(key(), Ok(()))
    }

    /// One store, whose questions are answered at once.
    struct Shop {
        checks: Checks,
        begun: Instant,
    }

    impl Shop {
        /// Concluded with a question that is due at once.
        fn new(restless: bool) -> Self {
            let mut shop = Self { checks: Checks::new(MINUTE), begun: Instant::now() };
            shop.concluded(restless, 0);
            shop
        }

        fn at(&self, seconds: u64) -> Instant {
            self.begun + Duration::from_secs(seconds)
        }

        fn concluded(&mut self, restless: bool, at: u64) {
            let now = self.at(at);
            self.checks.concluded(&id("acme"), Some(question("1")), restless, now);
        }

        /// Takes the next question when it is due, answers it, and returns when that was.
        fn answer(&mut self, answer: Answer) -> (u64, Option<News>) {
            let due = self.checks.next_due().unwrap();
            let errand = self.checks.take_due(due).unwrap();
            let news = self.checks.finished(&errand, answer, due, 0.5);
            ((due - self.begun).as_secs(), news)
        }

        fn times(&self) -> u32 {
            match self.checks.probed(&id("acme")).1 {
                Probed::Bad { times, .. } => times,
                _ => 0,
            }
        }
    }

    #[test]
    fn a_failed_question_has_its_retry_after_two_seconds_though_the_store_is_restless_since() {
        let mut shop = Shop::new(false);
        shop.answer(good());
        let (at, news) = shop.answer(bad());
        assert_eq!((at, news), (60, Some(News { good: false, changed: true })));
        shop.concluded(true, 60);
        assert_eq!(shop.answer(good()).0, 62, "not at once");
        assert_eq!(shop.answer(good()).0, 67, "it is restless still");
        shop.concluded(false, 67);
        shop.answer(good());
        assert_eq!(shop.answer(good()).0, 132, "and no more");
    }

    #[test]
    fn a_shop_that_stays_bad_is_asked_seldomer_and_in_the_end_like_any_other() {
        let mut shop = Shop::new(true);
        let asked: Vec<_> = (0..17).map(|_| shop.answer(bad()).0).collect();
        assert_eq!(asked, [0, 2, 4, 8, 16, 32, 62, 92, 122, 152, 182, 212, 242, 272, 302, 362, 422]);
        shop.answer(good());
        let (failed, _) = shop.answer(bad());
        assert_eq!(shop.answer(good()).0, failed + 2, "a new failure is news again");
    }

    #[test]
    fn failures_beyond_the_tolerated_ones_are_no_news() {
        let mut shop = Shop::new(true);
        let changed: Vec<_> = (0..4).map(|_| shop.answer(bad()).1.unwrap().changed).collect();
        assert_eq!((changed, shop.times()), (vec![true, true, false, false], 2));
    }

    #[test]
    fn what_begins_not_to_run_is_asked_about_at_once_and_older_answers_do_not_count() {
        let mut shop = Shop::new(false);
        shop.answer(good());
        let errand = shop.checks.take_due(shop.at(60)).unwrap();
        shop.concluded(true, 61);
        let newer = shop.checks.take_due(shop.at(61)).unwrap();
        assert_eq!(shop.checks.finished(&errand, good(), shop.at(61), 0.5), None);
        let news = shop.checks.finished(&newer, bad(), shop.at(62), 0.5);
        assert_eq!(news, Some(News { good: false, changed: true }));
        assert_eq!(shop.times(), 1);
    }

    #[test]
    fn an_answer_to_a_question_that_was_replaced_or_dropped_is_nobodys() {
        let mut shop = Shop::new(true);
        let old = shop.checks.take_due(shop.begun).unwrap();
        shop.checks.concluded(&id("acme"), Some(question("2")), true, shop.begun);
        assert_eq!(shop.checks.finished(&old, good(), shop.begun, 0.5), None);
        assert_eq!(shop.checks.probed(&id("acme")), (Some(question("2").inputs), Probed::Pending));
        // The same question as before the detour, but not the same shop any more.
        shop.checks.concluded(&id("acme"), None, true, shop.begun);
        assert_eq!(shop.checks.next_due(), None);
        shop.concluded(true, 0);
        assert_eq!(shop.checks.finished(&old, good(), shop.begun, 0.5), None);
        assert_eq!(shop.checks.probed(&id("acme")).1, Probed::Pending);
    }

    #[test]
    fn a_key_is_kept_until_the_shop_refuses_it() {
        let mut shop = Shop::new(true);
        let next_key = |shop: &mut Shop| {
            let due = shop.checks.next_due().unwrap();
            let errand = shop.checks.take_due(due).unwrap();
            let key = errand.key.clone();
            // Puts it back as it was.
            shop.checks.finished(&errand, Answer::Unasked, due, 0.5);
            key
        };
        assert_eq!(next_key(&mut shop), None);
        shop.answer(good());
        assert_eq!(next_key(&mut shop), key());
        shop.answer(bad());
        assert_eq!(next_key(&mut shop), key(), "no answer says nothing about the key");
        let refusal = ProbeFailure { refuses_key: true, ..ProbeFailure::new(Step::Probe, "401".to_owned()) };
        shop.answer(Answer::Shop(key(), Err(refusal)));
        assert_eq!(next_key(&mut shop), None);
    }

    #[test]
    fn a_shop_that_could_not_be_asked_is_what_it_was_and_is_asked_later() {
        let mut shop = Shop::new(true);
        assert_eq!(shop.answer(Answer::Unasked), (0, None));
        assert_eq!(shop.checks.probed(&id("acme")).1, Probed::Pending);
        assert_eq!(shop.answer(bad()).0, 5);
        shop.answer(Answer::Unasked);
        assert_eq!(shop.times(), 1, "it did not fail a second time");
    }

    #[test]
    fn who_was_never_asked_goes_before_who_was() {
        let mut shop = Shop::new(true);
        shop.answer(bad());
        let now = shop.at(9);
        shop.checks.concluded(&id("bonsai"), Some(question("1")), true, now);
        let order = [shop.checks.take_due(now).unwrap().store, shop.checks.take_due(now).unwrap().store];
        assert_eq!(order, [id("bonsai"), id("acme")], "though acme was due before");
        assert!(shop.checks.take_due(now).is_none());
    }

    #[test]
    fn chance_moves_every_next_question_by_a_tenth() {
        for (chance, answer, expected) in [
            (0.0, good(), 54.0),
            (1.0, good(), 66.0),
            (0.0, bad(), 1.8),
            (1.0, bad(), 2.2),
            (1.0, Answer::Unasked, 5.5),
        ] {
            let mut shop = Shop::new(false);
            let errand = shop.checks.take_due(shop.begun).unwrap();
            shop.checks.finished(&errand, answer, shop.begun, chance);
            let wait = shop.checks.next_due().unwrap() - shop.begun;
            assert!((wait.as_secs_f64() - expected).abs() < 0.001, "{wait:?}");
        }
    }
}
