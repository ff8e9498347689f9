//! Dashboards and alerts hang on the names, types and label values of the series.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use storekeeper::metrics::{
    ApiAnswer, DoorRefusal, GitFetch, HttpAnswer, Metrics, Outcome, Route, Transfer, Verb, WatchKind, Why,
};
use storekeeper::report::StoreState;
use storekeeper::trust::Problem;

const PROMISED: [(&str, &str); 4] = [
    ("provisioning_duration_seconds", "histogram"),
    ("provisioning_failures_total", "counter"),
    ("stores_created_total", "counter"),
    ("active_stores", "gauge"),
];

/// Returns name -> type as the exposition declares them.
fn types(exposition: &str) -> BTreeMap<&str, &str> {
    exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn the_four_promised_series_have_their_names_and_types_and_all_others_carry_the_prefix() {
    let exposition = Metrics::new().reader().encode();
    let types = types(&exposition);
    for (name, kind) in PROMISED {
        assert_eq!(types.get(name), Some(&kind), "{name}");
    }
    let promised: BTreeSet<_> = PROMISED.iter().map(|(name, _)| *name).collect();
    for name in types.keys().filter(|name| !promised.contains(*name)) {
        assert!(name.starts_with("storekeeper_"), "{name} lacks the prefix");
    }
    assert_eq!(types.len(), 52);
}

#[test]
fn every_series_exists_with_every_label_value_before_anything_happens() {
    let exposition = Metrics::new().reader().encode();
    let (series, _) = exposition.split_once("provisioning_duration_seconds_bucket").unwrap();
    assert!(series.contains("active_stores 0"));
    let shape: Vec<_> = exposition
        .lines()
        .filter(|line| !line.contains("_bucket{"))
        .map(|line| line.replace(env!("CARGO_PKG_VERSION"), "<version>"))
        .collect();
    insta::assert_snapshot!(shape.join("\n"));
}

#[test]
fn each_method_moves_its_own_series() {
    let metrics = Metrics::new();
    metrics.store_created();
    metrics.provisioned(Duration::from_secs(70));
    metrics.provisioning_failed();
    metrics.set_states(&BTreeMap::from([(StoreState::Ready, 2), (StoreState::Deleting, 1)]));
    metrics.reconciled(Outcome::Applied, Duration::from_millis(500));
    metrics.probed(true, Duration::from_millis(30));
    metrics.set_runs(true, 3);
    metrics.set_pace(32, 5);
    metrics.set_pace(33, 5);
    metrics.set_held(true);
    metrics.set_waiting_for_admission(4);
    metrics.set_waiting_for_run(900, 2, 1);
    metrics.waited_for_run(Why::Moved, Duration::from_millis(100));
    metrics.first_pass_finished();
    metrics.api_requested(Verb::Apply, ApiAnswer::of(Some(409)), Duration::from_millis(7));
    metrics.watch_failed(WatchKind::Workloads);
    metrics.watch_listed(WatchKind::Namespaces);
    metrics.git_fetched(GitFetch::Failed);
    metrics.git_transferred(Transfer::Done, Duration::from_millis(200));
    metrics.set_git_looked_at(1_760_000_011);
    metrics.git_read(Duration::from_millis(20));
    metrics.set_git_frozen(true);
    metrics.commit_distrusted(Problem::NotAMerge);
    metrics.set_git_observed_commit(1_760_000_000);
    metrics.set_journal(true, 11);
    metrics.journal_event_lost();
    metrics.set_removals_refused(7);
    metrics.set_removals_under_way(2, Some(1_760_000_009));
    metrics.drift_healed();
    metrics.fight_begun();
    metrics.set_stores_fighting(3);
    metrics.set_shares(20, 4, 3);
    metrics.taken_over();
    metrics.set_lease_renewed(1_760_000_012);
    let door = metrics.door();
    door.answered(Route::Api, HttpAnswer::of(304), Duration::from_millis(1));
    door.refused(DoorRefusal::Login);
    let _present = (door.connection(), door.stream());
    drop(door.stream());
    let exposition = metrics.reader().encode();
    for line in [
        "storekeeper_run_wait_seconds_sum{why=\"moved\"} 0.1",
        "storekeeper_first_pass_finished 1",
        "storekeeper_api_requests_total{code=\"409\",verb=\"apply\"} 1",
        "storekeeper_api_request_duration_seconds_count{verb=\"apply\"} 1",
        "storekeeper_watch_restarts_total{kind=\"workloads\"} 1",
        "storekeeper_watch_lists_total{kind=\"namespaces\"} 1",
        "storekeeper_git_fetch_duration_seconds_sum{result=\"done\"} 0.2",
        "storekeeper_git_looked_at_timestamp_seconds 1760000011",
        "storekeeper_http_requests_total{code=\"3xx\",route=\"api\"} 1",
        "storekeeper_http_request_duration_seconds_count{route=\"api\"} 1",
        "storekeeper_http_refused_total{why=\"login\"} 1",
        "storekeeper_http_connections 1",
        "storekeeper_http_streams 1",
        "storekeeper_probe_duration_seconds_sum{result=\"good\"} 0.03",
        "storekeeper_runs_under_way{lane=\"slow\"} 3",
        "storekeeper_stores_waiting_for_run{why=\"changed\"} 900",
        "storekeeper_api_requests_at_once 33",
        "storekeeper_api_refusals_total 5",
        "storekeeper_api_held 1",
        "storekeeper_stores_waiting_for_admission 4",
        "stores_created_total 1",
        "provisioning_duration_seconds_bucket{le=\"60\"} 0",
        "provisioning_duration_seconds_bucket{le=\"90\"} 1",
        "provisioning_duration_seconds_sum 70",
        "provisioning_failures_total 1",
        "active_stores 2",
        "storekeeper_stores{state=\"READY\"} 2",
        "storekeeper_stores{state=\"DELETING\"} 1",
        "storekeeper_reconcile_duration_seconds_count{outcome=\"applied\"} 1",
        "storekeeper_git_fetches_total{result=\"failed\"} 1",
        "storekeeper_git_read_seconds_bucket{le=\"0.01\"} 0",
        "storekeeper_git_read_seconds_bucket{le=\"0.025\"} 1",
        "storekeeper_git_frozen 1",
        "storekeeper_commits_distrusted_total{problem=\"not_a_merge\"} 1",
        "storekeeper_git_observed_commit_timestamp_seconds 1760000000",
        "storekeeper_journal_up 1",
        "storekeeper_journal_backlog 11",
        "storekeeper_journal_events_lost_total 1",
        "storekeeper_removals_refused 7",
        "storekeeper_removals_under_way 2",
        "storekeeper_removal_oldest_timestamp_seconds 1760000009",
        "storekeeper_drift_healed_total 1",
        "storekeeper_fights_total 1",
        "storekeeper_stores_fighting 3",
        "storekeeper_shards_kept 20",
        "storekeeper_shards_unkept 4",
        "storekeeper_replicas_alive 3",
        "storekeeper_takeovers_total 1",
        "storekeeper_lease_renewed_timestamp_seconds 1760000012",
    ] {
        assert!(exposition.lines().any(|found| found == line), "missing {line} in\n{exposition}");
    }
}

#[test]
fn every_series_says_what_it_is() {
    let exposition = Metrics::new().reader().encode();
    for name in types(&exposition).keys() {
        let help = exposition.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} "))).unwrap();
        assert!(help.len() > 10 && help.ends_with('.'), "{name}: {help}");
    }
    for (name, kind) in types(&exposition) {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
    }
}
