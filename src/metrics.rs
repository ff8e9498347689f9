//! Counts and times what the daemon does, in a registry of its own; shown as Prometheus text and as JSON.
//!
//! Four series carry the names that users were promised; every further one starts with `storekeeper_`. Label
//! values come from closed enums only, and each of them exists from the start with 0: a rate over a series that
//! appears with its first failure would miss that failure. Series by store alone come and go, with their stores, and
//! are capped: [`stores`].

mod door;
mod labels;
mod stores;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::names::ClusterName;
use crate::report::StoreState;
use crate::trust::Problem;

pub use door::{DoorMeter, Present};
pub use labels::{
    ApiAnswer, DoorRefusal, GitFetch, HookResult, HttpAnswer, Outcome, Route, Told, Transfer, Verb,
    WatchKind, Why,
};

/// The content type of [`MetricsReader::encode`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Seconds: from a chart of config maps alone to a database that pulls its image over a slow line.
const PROVISIONING_BUCKETS: [f64; 16] =
    [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 600.0, 900.0];

/// Seconds: from a run that finds nothing to do to one that waits on a slow API server.
const RECONCILE_BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Seconds: from an answer inside one machine to a shop that is about to time out.
const PROBE_BUCKETS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0];

/// Seconds: from a run that begins at once to one behind a commit that touches every store.
const WAIT_BUCKETS: [f64; 10] = [0.001, 0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0];

/// Seconds: from an answer out of memory to a request that is given up.
const REQUEST_BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Seconds: from a list of refs to a repository of years.
const FETCH_BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// Seconds: from a commit that changes one file to the first sight of ten thousand.
const GIT_READ_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Seconds: from one changed store to a fleet of five hundred.
const PLAN_BUCKETS: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0];

/// Records what happens. Cloned handles share the numbers.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Series>);

/// A handle on [`Metrics`] that can only read.
#[derive(Debug, Clone)]
pub struct MetricsReader(Arc<Series>);

/// The numbers people ask for first, under the names they have in the exposition.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Summary {
    /// Stores in READY.
    pub active_stores: i64,
    /// Stores by state, every state named.
    pub stores: BTreeMap<StoreState, i64>,
    /// Stores created since the process started.
    pub stores_created_total: u64,
    /// Provisionings that failed since the process started.
    pub provisioning_failures_total: u64,
    /// How long provisionings took since the process started.
    pub provisioning_duration_seconds: DurationSummary,
}

/// A distribution of durations, in seconds. The numbers are none until something was observed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DurationSummary {
    /// How many were observed.
    pub count: u64,
    /// The exact mean, in seconds.
    pub mean: Option<f64>,
    /// The median in seconds, estimated from the histogram's buckets.
    pub p50: Option<f64>,
    /// The 95th percentile in seconds, estimated from the histogram's buckets.
    pub p95: Option<f64>,
}

/// Declares the series: a field's doc comment is also the help text of the series that it holds.
macro_rules! series {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident = $build:ident($name:literal $(, $more:expr)*);)+) => {
        #[derive(Debug)]
        struct Series {
            registry: Registry,
            $($(#[doc = $help])+ $field: $kind,)+
        }

        impl Series {
            fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let $field: $kind = $build($name, concat!($($help),+).trim() $(, $more)*)?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { registry, $($field,)+ })
            }
        }
    };
}

series! {
    /// Time in seconds from the first sight of a store in git until it is READY for the first time.
    provisioning: Histogram = histogram("provisioning_duration_seconds", &PROVISIONING_BUCKETS);
    /// Stores that became FAILED before they were ever READY, each counted once.
    provisioning_failures: IntCounter = counter("provisioning_failures_total");
    /// Stores whose namespace was created.
    stores_created: IntCounter = counter("stores_created_total");
    /// Stores in state READY.
    active_stores: IntGauge = gauge("active_stores");
    /// Stores by state.
    stores: IntGaugeVec = gauges("storekeeper_stores", "state");
    /// Time in seconds of one run over one store, by how it ended.
    reconciles: HistogramVec =
        histograms("storekeeper_reconcile_duration_seconds", "outcome", &RECONCILE_BUCKETS);
    /// Runs under way, by lane: slow are those that took long and gave their place back.
    runs: IntGaugeVec = gauges("storekeeper_runs_under_way", "lane");
    /// Stores that wait for a run, by why they want one: git changed, something moved in the cluster, or it is time.
    waiting: IntGaugeVec = gauges("storekeeper_stores_waiting_for_run", "why");
    /// Time in seconds that stores waited for their run, by why they wanted one.
    waits: HistogramVec = histograms("storekeeper_run_wait_seconds", "why", &WAIT_BUCKETS);
    /// 1 once the first pass over all stores is finished, else 0.
    first_pass: IntGauge = gauge("storekeeper_first_pass_finished");
    /// New stores that the operator's caps keep waiting.
    waiting_for_admission: IntGauge = gauge("storekeeper_stores_waiting_for_admission");
    /// Requests to the API server that may be under way at once; fewer after it asked us to wait.
    requests_at_once: IntGauge = gauge("storekeeper_api_requests_at_once");
    /// Answers of the API server that told us to wait (429, or 503 with Retry-After).
    api_refusals: IntCounter = counter("storekeeper_api_refusals_total");
    /// 1 while no request is sent because the API server asked for that, else 0.
    api_held: IntGauge = gauge("storekeeper_api_held");
    /// Requests to the API server, by what was asked and what was answered.
    api_requests: IntCounterVec = grid("storekeeper_api_requests_total", ["verb", "code"]);
    /// Time in seconds until the API server's answer began, by what was asked.
    api_durations: HistogramVec =
        histograms("storekeeper_api_request_duration_seconds", "verb", &REQUEST_BUCKETS);
    /// Watches that failed and were started again, by what they are over.
    watch_restarts: IntCounterVec = counters("storekeeper_watch_restarts_total", "kind");
    /// Lists that began a watch, by what it is over; beyond the first ones, places were lost.
    watch_lists: IntCounterVec = counters("storekeeper_watch_lists_total", "kind");
    /// Time in seconds of asking one shop itself, by what it answered.
    probes: HistogramVec = histograms("storekeeper_probe_duration_seconds", "result", &PROBE_BUCKETS);
    /// Fetches of the watched repository, by result.
    git_fetches: IntCounterVec = counters("storekeeper_git_fetches_total", "result");
    /// Time in seconds of one transfer from the watched repository, by how it ended.
    git_transfers: HistogramVec = histograms("storekeeper_git_fetch_duration_seconds", "result", &FETCH_BUCKETS);
    /// When the watched repository answered last, in seconds since 1970; 0 until it does.
    git_looked_at: IntGauge = gauge("storekeeper_git_looked_at_timestamp_seconds");
    /// Time in seconds from a fetched commit to its stores in the queue.
    git_reads: Histogram = histogram("storekeeper_git_read_seconds", &GIT_READ_BUCKETS);
    /// 1 while newer commits are not followed, else 0.
    git_frozen: IntGauge = gauge("storekeeper_git_frozen");
    /// Deliveries of webhooks: accepted, ignored, forged, refused.
    hooks: IntCounterVec = counters("storekeeper_hooks_total", "result");
    /// Tries to tell the forge something: sent, busy, unavailable, refused login, refused.
    told: IntCounterVec = counters("storekeeper_forge_deliveries_total", "result");
    /// Time in seconds from the beginning of a pull request's plan until it was made.
    plans: Histogram = histogram("storekeeper_plan_duration_seconds", &PLAN_BUCKETS);
    /// What the forge is still to be told.
    outbox: IntGauge = gauge("storekeeper_forge_outbox");
    /// Since when the oldest of it waits, in seconds since 1970; 0 when nothing does.
    outbox_oldest: IntGauge = gauge("storekeeper_forge_outbox_oldest_timestamp_seconds");
    /// What could not be written into the journal or read from it.
    journal_failures: IntCounter = counter("storekeeper_journal_failures_total");
    /// 1 while the journal can be written, else 0.
    journal_up: IntGauge = gauge("storekeeper_journal_up");
    /// Events that wait in memory to be written into the journal.
    journal_backlog: IntGauge = gauge("storekeeper_journal_backlog");
    /// Events that were lost because the journal could not be written for so long that too many waited.
    journal_events_lost: IntCounter = counter("storekeeper_journal_events_lost_total");
    /// Commits that are not believed, by what is wrong with them, each counted once.
    commits_distrusted: IntCounterVec = counters("storekeeper_commits_distrusted_total", "problem");
    /// When the newest commit seen was committed, in seconds since 1970; 0 until one is seen.
    git_observed_commit: IntGauge = gauge("storekeeper_git_observed_commit_timestamp_seconds");
    /// Stores that are kept though their file is gone, by the deletion budget or their protection.
    removals_refused: IntGauge = gauge("storekeeper_removals_refused");
    /// Removals under way: stores that may be deleted, or are being deleted, and are not gone.
    removals_under_way: IntGauge = gauge("storekeeper_removals_under_way");
    /// When the oldest removal under way began, in seconds since 1970; 0 when none is under way.
    removal_oldest: IntGauge = gauge("storekeeper_removal_oldest_timestamp_seconds");
    /// Objects put back after somebody else changed or deleted them.
    drift_healed: IntCounter = counter("storekeeper_drift_healed_total");
    /// Fights: one object put back more than five times within a minute, so that healing of its store pauses.
    fights: IntCounter = counter("storekeeper_fights_total");
    /// Stores in a fight now; the reason of each names the object and the other field manager.
    stores_fighting: IntGauge = gauge("storekeeper_stores_fighting");
    /// Shards of the fleet, of 64, that this replica keeps; 0 where it shares the stores with nobody.
    shards_kept: IntGauge = gauge("storekeeper_shards_kept");
    /// Shards of the fleet that no living replica keeps, as far as this one sees.
    shards_unkept: IntGauge = gauge("storekeeper_shards_unkept");
    /// Replicas that are alive, as far as this one sees; 0 where it shares the stores with nobody.
    replicas_alive: IntGauge = gauge("storekeeper_replicas_alive");
    /// Times that this replica took shards over, its first ones included.
    takeovers: IntCounter = counter("storekeeper_takeovers_total");
    /// When this replica's Lease was renewed last, in seconds since 1970; 0 until it is.
    lease_renewed: IntGauge = gauge("storekeeper_lease_renewed_timestamp_seconds");
    /// Requests over HTTP, by what was asked for and what was answered.
    http_requests: IntCounterVec = grid("storekeeper_http_requests_total", ["route", "code"]);
    /// Time in seconds until an answer over HTTP began, by what was asked for.
    http_durations: HistogramVec =
        histograms("storekeeper_http_request_duration_seconds", "route", &REQUEST_BUCKETS);
    /// Requests and connections that were turned away, by why.
    http_refused: IntCounterVec = counters("storekeeper_http_refused_total", "why");
    /// Connections open now.
    http_connections: IntGauge = gauge("storekeeper_http_connections");
    /// Streams of changes that are followed now.
    http_streams: IntGauge = gauge("storekeeper_http_streams");
    /// Always 1; the labels say which version runs, and of which commit if that was said at its build.
    build_info: IntGaugeVec = gauge_grid("storekeeper_build_info", ["version", "revision"]);
    /// Always 1, where the fleet has several clusters; the label says which one this is.
    cluster_info: IntGaugeVec = gauges("storekeeper_cluster_info", "cluster");
}

impl Metrics {
    /// Makes the registry with every series at 0.
    #[expect(clippy::missing_panics_doc, reason = "the names are constants")]
    pub fn new() -> Self {
        let series = Series::new().expect("the declared names are valid and differ, a test makes them all");
        let revision = option_env!("STOREKEEPER_BUILD_REVISION").unwrap_or("unknown");
        series.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        series.begin_at_zero();
        Self(Arc::new(series))
    }
    /// Returns a handle for those who only show.
    pub fn reader(&self) -> MetricsReader {
        MetricsReader(Arc::clone(&self.0))
    }

    /// Says which cluster of the fleet this one is.
    pub fn set_cluster(&self, cluster: &ClusterName) {
        self.0.cluster_info.with_label_values(&[cluster.as_str()]).set(1);
    }

    /// Counts a store whose namespace was created.
    pub fn store_created(&self) {
        self.0.stores_created.inc();
    }

    /// Observes how long a store took until it was READY for the first time.
    pub fn provisioned(&self, took: Duration) {
        self.0.provisioning.observe(took.as_secs_f64());
    }

    /// Counts a store that was never READY becoming FAILED.
    pub fn provisioning_failed(&self) {
        self.0.provisioning_failures.inc();
    }

    /// Sets how many stores are in each state; states that are not named have none.
    pub fn set_states(&self, counts: &BTreeMap<StoreState, usize>) {
        for state in StoreState::ALL {
            let count = whole(counts.get(&state).copied().unwrap_or(0));
            self.0.stores.with_label_values(&[state.as_str()]).set(count);
            if state == StoreState::Ready {
                self.0.active_stores.set(count);
            }
        }
    }

    /// Observes one run over one store.
    pub fn reconciled(&self, outcome: Outcome, took: Duration) {
        self.0.reconciles.with_label_values(&[outcome.label()]).observe(took.as_secs_f64());
    }

    /// Sets how many runs are under way in the fast lane or the slow one.
    pub fn set_runs(&self, slow: bool, runs: usize) {
        self.0.runs.with_label_values(&[lane_label(slow)]).set(whole(runs));
    }

    /// Sets how many stores wait for a run because git changed, because something moved, and because it is time.
    pub fn set_waiting_for_run(&self, changed: usize, moved: usize, routine: usize) {
        for (why, stores) in Why::ALL.into_iter().zip([changed, moved, routine]) {
            self.0.waiting.with_label_values(&[why.label()]).set(whole(stores));
        }
    }

    /// Observes how long a store waited for its run.
    pub fn waited_for_run(&self, why: Why, waited: Duration) {
        self.0.waits.with_label_values(&[why.label()]).observe(waited.as_secs_f64());
    }

    /// Notes that the first pass over all stores is finished.
    pub fn first_pass_finished(&self) {
        self.0.first_pass.set(1);
    }

    /// Sets how many new stores the operator's caps keep waiting.
    pub fn set_waiting_for_admission(&self, stores: usize) {
        self.0.waiting_for_admission.set(whole(stores));
    }

    /// Sets how many requests may be under way at once, and how many answers have told us to wait until now.
    pub fn set_pace(&self, at_once: usize, refusals: u64) {
        self.0.requests_at_once.set(whole(at_once));
        self.0.api_refusals.inc_by(refusals.saturating_sub(self.0.api_refusals.get()));
    }

    /// Sets whether requests are held back.
    pub fn set_held(&self, held: bool) {
        self.0.api_held.set(i64::from(held));
    }

    /// Counts one request to the API server, and observes how long it took until the answer began.
    pub fn api_requested(&self, verb: Verb, answer: ApiAnswer, took: Duration) {
        self.0.api_requests.with_label_values(&[verb.label(), answer.label()]).inc();
        self.0.api_durations.with_label_values(&[verb.label()]).observe(took.as_secs_f64());
    }

    /// Counts a watch that failed and is started again.
    pub fn watch_failed(&self, kind: WatchKind) {
        self.0.watch_restarts.with_label_values(&[kind.label()]).inc();
    }

    /// Counts a list that begins a watch.
    pub fn watch_listed(&self, kind: WatchKind) {
        self.0.watch_lists.with_label_values(&[kind.label()]).inc();
    }

    /// Observes one question to a shop itself.
    pub fn probed(&self, good: bool, took: Duration) {
        self.0.probes.with_label_values(&[probe_label(good)]).observe(took.as_secs_f64());
    }

    /// Counts one fetch of the watched repository.
    pub fn git_fetched(&self, result: GitFetch) {
        self.0.git_fetches.with_label_values(&[result.label()]).inc();
    }

    /// Observes one transfer from the watched repository.
    pub fn git_transferred(&self, result: Transfer, took: Duration) {
        self.0.git_transfers.with_label_values(&[result.label()]).observe(took.as_secs_f64());
    }

    /// Sets when the watched repository answered last, in seconds since 1970.
    pub fn set_git_looked_at(&self, now: i64) {
        self.0.git_looked_at.set(now);
    }

    /// Observes how long it took from a fetched commit to its stores in the queue.
    pub fn git_read(&self, took: Duration) {
        self.0.git_reads.observe(took.as_secs_f64());
    }

    /// Counts a commit that is not believed.
    pub fn commit_distrusted(&self, problem: Problem) {
        self.0.commits_distrusted.with_label_values(&[problem.as_str()]).inc();
    }

    /// Sets whether newer commits are not followed.
    pub fn set_git_frozen(&self, frozen: bool) {
        self.0.git_frozen.set(i64::from(frozen));
    }

    /// Sets when the newest commit seen was committed, in seconds since 1970.
    pub fn set_git_observed_commit(&self, committed: i64) {
        self.0.git_observed_commit.set(committed);
    }

    /// Counts one delivery of a webhook.
    pub fn hook_received(&self, result: HookResult) {
        self.0.hooks.with_label_values(&[result.label()]).inc();
    }

    /// Counts one try to tell the forge something.
    pub fn told(&self, result: Told) {
        self.0.told.with_label_values(&[result.label()]).inc();
    }

    /// Observes how long a plan of a pull request took.
    pub fn planned(&self, took: Duration) {
        self.0.plans.observe(took.as_secs_f64());
    }

    /// Sets how much the forge is still to be told, and since when the oldest of it waits, in seconds since 1970.
    pub fn set_outbox(&self, letters: usize, oldest: Option<i64>) {
        self.0.outbox.set(whole(letters));
        self.0.outbox_oldest.set(oldest.unwrap_or(0));
    }

    /// Counts something that could not be written into the journal, or read from it.
    pub fn journal_failed(&self) {
        self.0.journal_failures.inc();
    }

    /// Sets whether the journal can be written, and how many events wait for that.
    pub fn set_journal(&self, up: bool, backlog: usize) {
        self.0.journal_up.set(up.into());
        self.0.journal_backlog.set(whole(backlog));
    }

    /// Counts an event that will never be in the journal.
    pub fn journal_event_lost(&self) {
        self.0.journal_events_lost.inc();
    }

    /// Sets how many removals are under way, and since when the oldest is, in seconds since 1970.
    pub fn set_removals_under_way(&self, stores: usize, oldest: Option<i64>) {
        self.0.removals_under_way.set(whole(stores));
        self.0.removal_oldest.set(oldest.unwrap_or(0));
    }

    /// Sets how many stores without a file are kept.
    pub fn set_removals_refused(&self, stores: usize) {
        self.0.removals_refused.set(whole(stores));
    }

    /// Counts an object that was put back.
    pub fn drift_healed(&self) {
        self.0.drift_healed.inc();
    }

    /// Counts a fight that began.
    pub fn fight_begun(&self) {
        self.0.fights.inc();
    }

    /// Sets how many shards this replica keeps, how many nobody does, and how many replicas are alive.
    pub fn set_shares(&self, kept: usize, unkept: usize, alive: usize) {
        self.0.shards_kept.set(whole(kept));
        self.0.shards_unkept.set(whole(unkept));
        self.0.replicas_alive.set(whole(alive));
    }

    /// Counts that this replica took shards over.
    pub fn taken_over(&self) {
        self.0.takeovers.inc();
    }

    /// Sets when this replica's Lease was renewed last, in seconds since 1970.
    pub fn set_lease_renewed(&self, now: i64) {
        self.0.lease_renewed.set(now);
    }

    /// Sets how many stores are in a fight.
    pub fn set_stores_fighting(&self, stores: usize) {
        self.0.stores_fighting.set(i64::try_from(stores).unwrap_or(i64::MAX));
    }
}

impl Series {
    /// Makes every series with every value of its labels.
    fn begin_at_zero(&self) {
        for state in StoreState::ALL {
            self.stores.with_label_values(&[state.as_str()]).set(0);
        }
        for good in [true, false] {
            self.probes.with_label_values(&[probe_label(good)]);
        }
        for slow in [false, true] {
            self.runs.with_label_values(&[lane_label(slow)]);
        }
        for problem in Problem::ALL {
            self.commits_distrusted.with_label_values(&[problem.as_str()]);
        }
        for it in Outcome::ALL {
            self.reconciles.with_label_values(&[it.label()]);
        }
        for it in Why::ALL {
            self.waiting.with_label_values(&[it.label()]);
            self.waits.with_label_values(&[it.label()]);
        }
        for it in GitFetch::ALL {
            self.git_fetches.with_label_values(&[it.label()]);
        }
        for it in Transfer::ALL {
            self.git_transfers.with_label_values(&[it.label()]);
        }
        for it in HookResult::ALL {
            self.hooks.with_label_values(&[it.label()]);
        }
        for it in Told::ALL {
            self.told.with_label_values(&[it.label()]);
        }
        for it in WatchKind::ALL {
            self.watch_restarts.with_label_values(&[it.label()]);
            self.watch_lists.with_label_values(&[it.label()]);
        }
        for it in DoorRefusal::ALL {
            self.http_refused.with_label_values(&[it.label()]);
        }
        self.begin_grids();
    }

    fn begin_grids(&self) {
        for verb in Verb::ALL {
            self.api_durations.with_label_values(&[verb.label()]);
            for it in ApiAnswer::ALL {
                self.api_requests.with_label_values(&[verb.label(), it.label()]);
            }
        }
        for route in Route::ALL {
            self.http_durations.with_label_values(&[route.label()]);
            for it in HttpAnswer::ALL {
                self.http_requests.with_label_values(&[route.label(), it.label()]);
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl MetricsReader {
    /// Writes every series as Prometheus text; its content type is [`CONTENT_TYPE`].
    #[expect(clippy::missing_panics_doc, reason = "it writes into memory")]
    pub fn encode(&self) -> String {
        let families = self.0.registry.gather();
        TextEncoder::new().encode_to_string(&families).expect("a String takes every write")
    }

    /// Sums up what people ask for first.
    pub fn summary(&self) -> Summary {
        let count = |state: StoreState| (state, self.0.stores.with_label_values(&[state.as_str()]).get());
        Summary {
            active_stores: self.0.active_stores.get(),
            stores: StoreState::ALL.map(count).into(),
            stores_created_total: self.0.stores_created.get(),
            provisioning_failures_total: self.0.provisioning_failures.get(),
            provisioning_duration_seconds: durations(&self.0.provisioning),
        }
    }
}

fn lane_label(slow: bool) -> &'static str {
    if slow { "slow" } else { "fast" }
}

fn probe_label(good: bool) -> &'static str {
    if good { "good" } else { "bad" }
}

fn durations(histogram: &Histogram) -> DurationSummary {
    let families = histogram.collect();
    let buckets: Vec<(f64, u64)> = families
        .iter()
        .flat_map(MetricFamily::get_metric)
        .flat_map(|metric| metric.get_histogram().get_bucket())
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .collect();
    let count = histogram.get_sample_count();
    DurationSummary {
        count,
        mean: (count > 0).then(|| histogram.get_sample_sum() / real(count)),
        p50: quantile(0.50, &buckets, count),
        p95: quantile(0.95, &buckets, count),
    }
}

/// Estimates a quantile from buckets (upper bound, observations up to it), as the query `histogram_quantile`
/// does: evenly spread within a bucket, and never above the last bound.
fn quantile(fraction: f64, buckets: &[(f64, u64)], count: u64) -> Option<f64> {
    if count == 0 {
        return None;
    }
    let rank = fraction * real(count);
    let (mut lower, mut below) = (0.0, 0);
    for &(upper, up_to) in buckets.iter().filter(|(upper, _)| upper.is_finite()) {
        if real(up_to) >= rank {
            return Some(lower + (upper - lower) * (rank - real(below)) / real(up_to - below));
        }
        (lower, below) = (upper, up_to);
    }
    Some(lower)
}

fn counter(name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    IntCounter::new(name, help)
}

fn counters(name: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), &[label])
}

fn grid(name: &str, help: &str, labels: [&str; 2]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), &labels)
}

fn gauge_grid(name: &str, help: &str, labels: [&str; 2]) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(Opts::new(name, help), &labels)
}

fn gauge(name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    IntGauge::new(name, help)
}

fn gauges(name: &str, help: &str, label: &str) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(Opts::new(name, help), &[label])
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))
}

fn histograms(
    name: &str,
    help: &str,
    label: &str,
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label])
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_spreads_a_bucket_evenly_and_stops_at_the_last_bound() {
        let buckets = [(1.0, 0), (2.0, 4), (4.0, 8), (f64::INFINITY, 10)];
        assert_eq!(quantile(0.2, &buckets, 10), Some(1.5));
        assert_eq!(quantile(0.4, &buckets, 10), Some(2.0));
        assert_eq!(quantile(0.5, &buckets, 10), Some(2.5));
        assert_eq!(quantile(0.99, &buckets, 10), Some(4.0));
        assert_eq!(quantile(0.5, &buckets, 0), None);
    }

    #[test]
    fn the_summary_counts_means_and_estimates_in_seconds() {
        let metrics = Metrics::new();
        assert_eq!(
            metrics.reader().summary().provisioning_duration_seconds,
            DurationSummary { count: 0, mean: None, p50: None, p95: None }
        );
        for seconds in [25, 25, 100, 2_000] {
            metrics.provisioned(Duration::from_secs(seconds));
        }
        // Ranks 2 and 3.8: the end of the bucket up to 30 s, and beyond the last bound.
        let expected = DurationSummary { count: 4, mean: Some(537.5), p50: Some(30.0), p95: Some(900.0) };
        assert_eq!(metrics.reader().summary().provisioning_duration_seconds, expected);
    }

    #[test]
    fn a_state_that_nobody_is_in_any_more_goes_back_to_zero() {
        let metrics = Metrics::new();
        metrics.set_states(&BTreeMap::from([(StoreState::Ready, 3), (StoreState::Failed, 1)]));
        metrics.set_states(&BTreeMap::from([(StoreState::Ready, 4)]));
        let summary = metrics.reader().summary();
        assert_eq!((summary.active_stores, summary.stores[&StoreState::Ready]), (4, 4));
        assert_eq!(summary.stores[&StoreState::Failed], 0);
    }
}
