//! Series by store. They are made out of the board whenever somebody asks, so that a store that is gone has none, and no
//! more stores have any than the operator allows.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use super::Metrics;
use crate::report::{BoardReader, StoreReport, StoreState};

/// Reads the board for whoever collects.
struct Stores {
    board: BoardReader,
    most: usize,
    describing: Gauges,
}

/// The series, made afresh for each collection.
struct Gauges {
    ready: IntGaugeVec,
    since: IntGaugeVec,
    left_out: IntGauge,
}

impl Metrics {
    /// Shows series by store from now on, of so many stores at most: those that are not READY first, for somebody is to
    /// hear of them. May be called once.
    #[expect(clippy::missing_panics_doc, reason = "the names are constants")]
    pub fn show_stores(&self, board: BoardReader, most: usize) {
        let describing = Gauges::new().expect("the names are valid, a test makes them");
        let stores = Stores { board, most, describing };
        self.0.registry.register(Box::new(stores)).expect("no other series have these names");
    }
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let ready = Opts::new("storekeeper_store_ready", "1 while this store is READY, else 0.");
        let since = Opts::new(
            "storekeeper_store_state_timestamp_seconds",
            "Since when this store is in its state, in seconds since 1970.",
        );
        let left_out =
            IntGauge::new("storekeeper_stores_without_series", "Stores beyond --metrics-stores-max.")?;
        Ok(Self {
            ready: IntGaugeVec::new(ready, &["store"])?,
            since: IntGaugeVec::new(since, &["store", "state"])?,
            left_out,
        })
    }

    fn show(&self, store: &StoreReport) {
        let (id, state) = (store.name.as_str(), store.state);
        self.ready.with_label_values(&[id]).set(i64::from(state == StoreState::Ready));
        self.since.with_label_values(&[id, state.as_str()]).set(store.since);
    }

    fn all(&self) -> [&dyn Collector; 3] {
        [&self.ready, &self.since, &self.left_out]
    }
}

impl Collector for Stores {
    fn desc(&self) -> Vec<&Desc> {
        self.describing.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(gauges) = Gauges::new() else { return Vec::new() };
        self.board.read(|picture| {
            let is_ready = |store: &&StoreReport| store.state == StoreState::Ready;
            let others = picture.stores.values().filter(|store| !is_ready(store));
            let shown = others.chain(picture.stores.values().filter(is_ready)).take(self.most);
            shown.for_each(|store| gauges.show(store));
            let left_out = picture.stores.len().saturating_sub(self.most);
            gauges.left_out.set(i64::try_from(left_out).unwrap_or(i64::MAX));
        });
        gauges.all().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::StoreId;
    use crate::report::Board;

    fn add(board: &Board, name: &str, state: StoreState) {
        let id: StoreId = name.parse().unwrap();
        let report = StoreReport { state, ..StoreReport::new(id.clone(), 1_700_000_000) };
        board.update(|picture| picture.stores.insert(id, report));
    }

    fn lines(metrics: &Metrics, series: &str) -> Vec<String> {
        let text = metrics.reader().encode();
        text.lines().filter(|line| line.starts_with(series)).map(str::to_owned).collect()
    }

    #[test]
    fn a_store_has_its_series_in_its_state_alone_and_none_when_it_is_gone() {
        let (board, metrics) = (Board::default(), Metrics::new());
        metrics.show_stores(board.reader(), 10);
        assert_eq!(lines(&metrics, "storekeeper_store_ready"), Vec::<String>::new());
        add(&board, "acme", StoreState::Provisioning);
        assert_eq!(lines(&metrics, "storekeeper_store_ready"), ["storekeeper_store_ready{store=\"acme\"} 0"]);
        let acme: StoreId = "acme".parse().unwrap();
        board.update(|picture| {
            picture.stores.get_mut(&acme).unwrap().enter(StoreState::Ready, String::new(), 1_700_000_009)
        });
        assert_eq!(lines(&metrics, "storekeeper_store_ready"), ["storekeeper_store_ready{store=\"acme\"} 1"]);
        assert_eq!(
            lines(&metrics, "storekeeper_store_state"),
            ["storekeeper_store_state_timestamp_seconds{state=\"READY\",store=\"acme\"} 1700000009"]
        );
        board.update(|picture| picture.stores.remove(&acme));
        assert_eq!(lines(&metrics, "storekeeper_store_"), Vec::<String>::new());
    }

    #[test]
    fn ten_thousand_stores_stay_within_the_cap_and_those_in_trouble_are_the_last_to_go() {
        let (board, metrics) = (Board::default(), Metrics::new());
        metrics.show_stores(board.reader(), 2_000);
        for number in 0..10_000 {
            add(&board, &format!("s{number:05}"), StoreState::Ready);
        }
        add(&board, "zebra", StoreState::Failed);
        assert_eq!(lines(&metrics, "storekeeper_store_ready").len(), 2_000);
        assert_eq!(lines(&metrics, "storekeeper_store_state").len(), 2_000);
        let zebra = "storekeeper_store_ready{store=\"zebra\"} 0".to_owned();
        assert!(lines(&metrics, "storekeeper_store_ready").contains(&zebra));
        assert_eq!(
            lines(&metrics, "storekeeper_stores_without_series"),
            ["storekeeper_stores_without_series 8001"]
        );
    }
}
