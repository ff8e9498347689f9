//! The book of the newest plans, by the commit that each is about: what the daemon plans and the page shows. Pure.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Bell, FieldChange, ObjectChange, PlanProblem, PlanReport, StorePlanReport};

/// How many plans are kept.
const MOST_PLANS: usize = 200;

/// How many bytes of text they may hold together. The newest is kept whatever it takes.
const MOST_BYTES: usize = 32 << 20;

/// The shortest beginning of a commit id that names a plan.
const SHORTEST: usize = 7;

/// The newest plans. Cloned handles share them.
#[derive(Debug, Clone, Default)]
pub struct Plans(Arc<RwLock<Book>>, Bell);

/// A handle on [`Plans`] that can only read.
#[derive(Debug, Clone)]
pub struct PlansReader(Plans);

/// Newest first.
#[derive(Debug, Default)]
struct Book {
    plans: VecDeque<Entry>,
    bytes: usize,
    /// How many were ever put.
    count: u64,
}

#[derive(Debug)]
struct Entry {
    head: String,
    bytes: usize,
    plan: Arc<PlanReport>,
}

impl Plans {
    /// Makes an empty book that rings a bell at every plan.
    pub fn new(bell: Bell) -> Self {
        Self(Arc::default(), bell)
    }

    /// Returns a handle for those who only show.
    pub fn reader(&self) -> PlansReader {
        PlansReader(self.clone())
    }

    /// Adds a plan, in place of an earlier one of the same commit. One of files on disk has no commit and is not kept.
    pub fn put(&self, plan: PlanReport) {
        let Some(head) = plan.head.clone() else { return };
        let bytes = bytes(&plan);
        let mut book = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = book.plans.iter().position(|entry| entry.head == head) {
            book.drop_at(at);
        }
        book.count += 1;
        book.bytes += bytes;
        book.plans.push_front(Entry { head, bytes, plan: Arc::new(plan) });
        while book.plans.len() > MOST_PLANS || book.bytes > MOST_BYTES && book.plans.len() > 1 {
            let last = book.plans.len() - 1;
            book.drop_at(last);
        }
        drop(book);
        self.1.ring();
    }
}

impl Book {
    fn drop_at(&mut self, at: usize) {
        self.bytes -= self.plans.remove(at).map_or(0, |entry| entry.bytes);
    }
}

/// Counts what of a plan can get large.
fn bytes(plan: &PlanReport) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let list = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let field = |it: &FieldChange| size_of_val(it) + it.path.len() + text(&it.before) + text(&it.after);
    let object = |it: &ObjectChange| {
        size_of_val(it) + it.name.len() + text(&it.note) + it.fields.iter().map(field).sum::<usize>()
    };
    let store = |it: &StorePlanReport| {
        let lost: usize = it.lost.iter().map(|it| size_of_val(it) + it.name.len() + text(&it.note)).sum();
        let objects: usize = it.objects.iter().map(object).sum();
        size_of_val(it) + lost + objects + list(&it.warnings) + text(&it.trouble) + text(&it.display_name)
    };
    let problem = |it: &PlanProblem| size_of_val(it) + it.path.len() + it.message.len();
    let stores: usize = plan.stores.iter().map(store).sum();
    let problems: usize = plan.problems.iter().map(problem).sum();
    stores + problems + list(&plan.blocked) + list(&plan.warnings)
}

impl PlansReader {
    /// Finds the plan of a commit, by its whole id or by a beginning of at least 7 digits that no other plan has.
    pub fn get(&self, commit: &str) -> Option<Arc<PlanReport>> {
        if commit.len() < SHORTEST {
            return None;
        }
        let book = self.0.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = book.plans.iter().filter(|entry| entry.head.starts_with(commit));
        let first = found.next()?;
        (found.next().is_none()).then(|| Arc::clone(&first.plan))
    }

    /// Counts the plans that were ever put.
    pub fn count(&self) -> u64 {
        self.0.0.read().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Returns the newest plans, newest first.
    pub fn newest(&self, most: usize) -> Vec<Arc<PlanReport>> {
        let book = self.0.0.read().unwrap_or_else(PoisonError::into_inner);
        book.plans.iter().take(most).map(|entry| Arc::clone(&entry.plan)).collect()
    }
}
