//! The board: everything that is shown, in one consistent picture, with the version at which each store last changed. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Bell, CommitBook, FleetReport, StoreReport};
use crate::names::StoreId;

/// How many stores that are gone are remembered, for those who watch.
const GONE_REMEMBERED: usize = 10_000;

/// Everything that is shown, in one consistent picture.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// The fleet.
    pub fleet: FleetReport,
    /// Its stores.
    pub stores: Stores,
    /// The newest commits and what became of them.
    pub commits: CommitBook,
    version: u64,
    fleet_changed: u64,
    commits_changed: u64,
}

/// Stores by their ids. It notes which of them change.
#[derive(Debug, Clone, Default)]
pub struct Stores {
    held: BTreeMap<StoreId, Held>,
    /// What the change under way may have changed, with what was there before.
    touched: Vec<(StoreId, Option<StoreReport>)>,
    /// Stores that went, with the version at which they did, oldest first.
    gone: VecDeque<(u64, StoreId)>,
    /// The version up to which stores that went are forgotten.
    forgotten: u64,
}

#[derive(Debug, Clone)]
struct Held {
    report: StoreReport,
    changed: u64,
}

/// Holds the newest [`Picture`]. Cloned handles share it.
#[derive(Debug, Clone, Default)]
pub struct Board {
    picture: Arc<RwLock<Picture>>,
    bell: Bell,
}

/// A handle on a [`Board`] that can only read.
#[derive(Debug, Clone)]
pub struct BoardReader(Board);

impl Board {
    /// Makes an empty board that rings a bell at every change.
    pub fn new(bell: Bell) -> Self {
        Self { bell, ..Self::default() }
    }

    /// Returns a handle for those who only show.
    pub fn reader(&self) -> BoardReader {
        BoardReader(self.clone())
    }

    /// Changes the picture; readers see all of the change or none.
    pub fn update<T>(&self, change: impl FnOnce(&mut Picture) -> T) -> T {
        let mut picture = self.picture.write().unwrap_or_else(PoisonError::into_inner);
        let (fleet, moves) = (picture.fleet.clone(), picture.commits.moves());
        let result = change(&mut picture);
        let moved = picture.settle(&fleet, moves);
        drop(picture);
        if moved {
            self.bell.ring();
        }
        result
    }
}

impl BoardReader {
    /// Looks at the picture.
    pub fn read<T>(&self, look: impl FnOnce(&Picture) -> T) -> T {
        look(&self.0.picture.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Picture {
    /// Counts the changes: it grows with each.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the version at which the fleet's own report last changed.
    pub fn fleet_changed(&self) -> u64 {
        self.fleet_changed
    }

    /// Counts the stores that each replica keeps, by its identity.
    pub fn stores_by_keeper(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for keeper in self.stores.values().filter_map(|store| store.keeper.as_deref()) {
            *counts.entry(keeper).or_default() += 1;
        }
        counts
    }

    /// Returns the version at which the commits last changed.
    pub fn commits_changed(&self) -> u64 {
        self.commits_changed
    }

    /// Notes what a change has changed, if anything.
    fn settle(&mut self, fleet: &FleetReport, moves: u64) -> bool {
        let version = self.version + 1;
        let mut moved = self.stores.settle(version);
        if self.fleet != *fleet {
            (self.fleet_changed, moved) = (version, true);
        }
        if self.commits.moves() != moves {
            (self.commits_changed, moved) = (version, true);
        }
        if moved {
            self.version = version;
        }
        moved
    }
}

impl Stores {
    /// Returns a store.
    pub fn get(&self, id: &StoreId) -> Option<&StoreReport> {
        self.held.get(id).map(|held| &held.report)
    }

    /// Returns a store to change it.
    pub fn get_mut(&mut self, id: &StoreId) -> Option<&mut StoreReport> {
        let held = self.held.get_mut(id)?;
        self.touched.push((id.clone(), Some(held.report.clone())));
        Some(&mut held.report)
    }

    /// Returns a store to change it, made when there is none yet.
    pub fn get_or_insert_with(
        &mut self,
        id: &StoreId,
        make: impl FnOnce() -> StoreReport,
    ) -> &mut StoreReport {
        let before = self.get(id).cloned();
        self.touched.push((id.clone(), before));
        &mut self.held.entry(id.clone()).or_insert_with(|| Held { report: make(), changed: 0 }).report
    }

    /// Says at which commit git wants a store. That alone changes no store: each commit would change all of them.
    pub fn follow(&mut self, id: &StoreId, revision: &str) {
        if let Some(held) = self.held.get_mut(id) {
            held.report.revision = Some(revision.to_owned());
        }
    }

    /// Puts a store in place of the one of that id, if there is one.
    pub fn insert(&mut self, id: StoreId, report: StoreReport) {
        let before = self.get(&id).cloned();
        let changed = self.held.get(&id).map_or(0, |held| held.changed);
        self.touched.push((id.clone(), before));
        self.held.insert(id, Held { report, changed });
    }

    /// Takes a store away and returns it.
    pub fn remove(&mut self, id: &StoreId) -> Option<StoreReport> {
        let held = self.held.remove(id)?;
        self.touched.push((id.clone(), Some(held.report.clone())));
        Some(held.report)
    }

    /// Whether there is such a store.
    pub fn contains_key(&self, id: &StoreId) -> bool {
        self.held.contains_key(id)
    }

    /// Returns all ids, in order.
    pub fn keys(&self) -> impl Iterator<Item = &StoreId> {
        self.held.keys()
    }

    /// Returns all stores, by id.
    pub fn values(&self) -> impl Iterator<Item = &StoreReport> {
        self.held.values().map(|held| &held.report)
    }

    /// Returns all stores after an id, or all, with the version at which each last changed.
    pub fn after(&self, id: Option<&StoreId>) -> impl Iterator<Item = (&StoreReport, u64)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let begin = id.map_or(Unbounded, Excluded);
        self.held.range::<StoreId, _>((begin, Unbounded)).map(|(_, held)| (&held.report, held.changed))
    }

    /// Returns the stores that went after a version; none when some of those are forgotten already.
    pub fn gone_since(&self, version: u64) -> Option<impl Iterator<Item = &StoreId>> {
        let begin = self.gone.partition_point(|(at, _)| *at <= version);
        (version >= self.forgotten).then(|| self.gone.range(begin..).map(|(_, id)| id))
    }

    /// Counts them.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn settle(&mut self, version: u64) -> bool {
        let mut moved = false;
        for (id, before) in std::mem::take(&mut self.touched) {
            match self.held.get_mut(&id) {
                Some(held) if before.as_ref() != Some(&held.report) => {
                    held.changed = version;
                    moved = true;
                }
                None if before.is_some() => {
                    self.gone.push_back((version, id));
                    moved = true;
                }
                Some(_) | None => {}
            }
        }
        while self.gone.len() > GONE_REMEMBERED {
            self.forgotten = self.gone.pop_front().map_or(self.forgotten, |(at, _)| at);
        }
        moved
    }
}

impl FromIterator<StoreReport> for Stores {
    fn from_iter<T: IntoIterator<Item = StoreReport>>(reports: T) -> Self {
        let mut stores = Self::default();
        for report in reports {
            stores.insert(report.name.clone(), report);
        }
        stores
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::StoreState;
    use super::*;

    fn id(name: &str) -> StoreId {
        name.parse().unwrap()
    }

    fn changed(board: &Board) -> Vec<(String, u64)> {
        let look = |picture: &Picture| {
            picture.stores.after(None).map(|(report, at)| (report.name.to_string(), at)).collect()
        };
        board.reader().read(look)
    }

    #[test]
    fn a_change_has_a_version_and_what_changes_nothing_has_none() {
        let rings = Arc::new(AtomicUsize::new(0));
        let (bell, counted) = (Bell::default(), Arc::clone(&rings));
        bell.listen(move || _ = counted.fetch_add(1, Ordering::SeqCst));
        let board = Board::new(bell);
        board.update(|picture| {
            for name in ["a", "b"] {
                picture.stores.insert(id(name), StoreReport::new(id(name), 1));
            }
        });
        board.update(|picture| {
            picture.stores.get_mut(&id("b")).unwrap().enter(StoreState::Ready, "so".into(), 2)
        });
        assert_eq!(changed(&board), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        board.update(|picture| {
            picture.stores.get_mut(&id("b")).unwrap().enter(StoreState::Ready, "so".into(), 3)
        });
        board.update(|picture| picture.fleet.ready = false);
        assert_eq!((changed(&board)[1].1, board.reader().read(Picture::version)), (2, 2), "nothing changed");
        board.update(|picture| picture.fleet.ready = true);
        assert_eq!(board.reader().read(|it| (it.fleet_changed(), it.commits_changed())), (3, 0));
        assert_eq!(rings.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn who_went_since_then_is_known() {
        let board = Board::default();
        for name in ["a", "b"] {
            board.update(|picture| picture.stores.insert(id(name), StoreReport::new(id(name), 1)));
        }
        board.update(|picture| picture.stores.remove(&id("a")));
        board.update(|picture| picture.stores.remove(&id("b")));
        board.update(|picture| picture.stores.remove(&id("c")));
        let gone = |since| {
            board.reader().read(|picture| {
                picture.stores.gone_since(since).map(|gone| gone.map(ToString::to_string).collect::<Vec<_>>())
            })
        };
        assert_eq!(gone(2), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(gone(3), Some(vec!["b".to_owned()]));
        assert_eq!((gone(4), board.reader().read(Picture::version)), (Some(Vec::new()), 4));
    }
}
