//! The pages that are open: each is drawn by a task of its own, for all who have it open, as long as somebody does.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Shown;
use crate::web::pages::Page;
use crate::web::{Version, WebState};

/// How long changes are gathered before a page is drawn anew.
const GATHERED: Duration = Duration::from_millis(250);

/// How often the page of a store is drawn even if nothing was told: its pods move without a word.
const STORE_AGAIN: Duration = Duration::from_secs(5);

/// The region of a store's page that shows its namespace, of which no version tells.
const INSIDE: &str = "inside";

/// The pages that are open. Cloned handles share them.
#[derive(Clone, Default)]
pub(in crate::web) struct Drawings(Arc<Open>);

#[derive(Default)]
struct Open {
    /// A page's own task holds on to it; when nobody has it open any more, it goes.
    pages: Mutex<HashMap<Shown, Weak<Sender>>>,
    hasher: RandomState,
}

type Sender = watch::Sender<Option<Arc<Drawing>>>;

/// A page as it was at some moment. Ages in it are told as of when it was first opened, and moved on by the reader's own
/// machine.
pub(super) struct Drawing {
    /// What there was to be seen when the drawing began; it shows at least that.
    pub(super) begun: Version,
    /// Whether something moved meanwhile.
    is_mixed: bool,
    pub(super) page: Page,
    pub(super) marks: Arc<Marks>,
}

/// Hashes of what a page shows.
#[derive(Clone)]
pub(super) struct Marks {
    pub(super) title: u64,
    pub(super) regions: BTreeMap<&'static str, u64>,
    pub(super) rows: Vec<(Box<str>, u64)>,
}

impl Drawings {
    /// Returns the drawings of a page, from the newest one on, if there is one yet.
    pub(super) fn follow(&self, state: &WebState, shown: Shown) -> watch::Receiver<Option<Arc<Drawing>>> {
        let mut pages = self.lock();
        if let Some(sender) = pages.get(&shown).and_then(Weak::upgrade) {
            return sender.subscribe();
        }
        let sender = Arc::new(Sender::default());
        pages.insert(shown.clone(), Arc::downgrade(&sender));
        let drawings = sender.subscribe();
        tokio::spawn(self.clone().keep(state.clone(), shown, sender));
        drawings
    }

    /// Draws a page whenever something moves, until nobody has it open.
    async fn keep(self, state: WebState, shown: Shown, sender: Arc<Sender>) {
        let opened = (state.clock)();
        let mut changes = state.changes.clone();
        loop {
            changes.borrow_and_update();
            let drawing = self.draw(&state, &shown, opened).await;
            sender.send_replace(Some(Arc::new(drawing)));
            tokio::select! {
                () = sender.closed() => {}
                moved = changes.changed() => if moved.is_err() { return },
                () = sleep(STORE_AGAIN), if matches!(shown, Shown::Store(..)) => {}
            }
            {
                // Nobody can come back to it meanwhile.
                let mut pages = self.lock();
                if sender.receiver_count() == 0 {
                    pages.remove(&shown);
                    return;
                }
            }
            sleep(GATHERED).await;
        }
    }

    async fn draw(&self, state: &WebState, shown: &Shown, opened: i64) -> Drawing {
        let begun = state.version();
        let page = shown.draw(state, opened).await;
        let hash = |text: &str| self.0.hasher.hash_one(text);
        let marks = Marks {
            title: hash(&page.title),
            regions: page.regions.iter().map(|(id, html)| (*id, hash(html))).collect(),
            rows: page.rows.iter().map(|(id, html)| (id.as_str().into(), hash(html))).collect(),
        };
        Drawing { begun, is_mixed: state.version() != begun, page, marks: Arc::new(marks) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Shown, Weak<Sender>>> {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drawing {
    /// Whether it shows just what a page of that version does, but for what no version tells.
    pub(super) fn shows(&self, version: &str) -> bool {
        !self.is_mixed && self.begun.to_string() == version
    }

    /// Returns what a reader has who has the page of the same version.
    pub(super) fn known(&self) -> Arc<Marks> {
        let mut marks = Marks::clone(&self.marks);
        marks.regions.remove(INSIDE);
        Arc::new(marks)
    }
}
