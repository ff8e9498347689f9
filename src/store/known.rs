//! What was read of a repository's files, kept from commit to commit: a commit costs the reading of what it
//! changes.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use super::clusters::Scope;
use super::collect::assemble;
use super::path::{Claim, claim, is_chart_file, is_misnamed_fleet_file};
use super::shop::{self, Outcome};
use super::{
    ContentId, FileContent, Fleet, Freeze, Limits, Listed, Listing, Problem, RepositoryTree, Snapshot, fleet,
};
use crate::names::{FLEET_FILE, Host, STORES_FOLDER, StoreId};

/// Finds a file that the chart ships by its path, for value files written `chart:<path>`.
pub(super) type ChartFile<'a, 'chart> = &'a dyn Fn(&str) -> Option<&'chart [u8]>;

/// Holds what the files of a repository said when they were read last, and which content said it.
///
/// A file whose content is the same is not read again, and neither is what follows from it computed again: the
/// stores of one snapshot are those of the one before, but for what changed. Bytes are not kept.
///
/// A clone reads another tree of the same repository, such as a pull request's, at the cost of what differs; the
/// stores that do not differ are the very same ones.
#[derive(Debug, Clone)]
pub struct KnownFiles {
    limits: Limits,
    scope: Scope,
    /// Everything under `stores/`, in whatever case, by path.
    stores: BTreeMap<String, KnownFile>,
    /// The fleet file, the value files, and what looks like one of them, by path.
    others: BTreeMap<String, Listed>,
    /// What the others said; none when that is not known, or can't be used.
    fleet: Option<Arc<Fleet>>,
    /// The fleet that every known store follows; none when they may follow different ones.
    followed: Option<Arc<Fleet>>,
    /// How many files under `stores/` were read for the last snapshot.
    parsed: usize,
}

/// A file under `stores/`.
#[derive(Debug, Clone)]
pub(super) struct KnownFile {
    listed: Listed,
    /// What its path stands for.
    pub claim: Claim,
    /// What its content says; none until it is read.
    pub said: Option<Said>,
}

/// What the content of a file under `stores/` says.
#[derive(Debug, Clone)]
pub(super) enum Said {
    /// A store file in its place says this.
    Store(Outcome),
    /// A file that is not where, or not called as, a store file must be, names this store inside.
    Claims(StoreId),
    /// There is no content to read, for this reason.
    Unreadable(String),
    /// It does not matter.
    Nothing,
}

impl KnownFiles {
    /// Knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        let (stores, others) = (BTreeMap::new(), BTreeMap::new());
        Self { limits, scope: Scope::All, stores, others, fleet: None, followed: None, parsed: 0 }
    }

    /// Narrows down which stores are wanted.
    #[must_use]
    pub fn within(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Returns what a path was listed as when its content was read last.
    pub fn listed(&self, path: &str) -> Option<&Listed> {
        self.stores.get(path).map(|known| &known.listed).or_else(|| self.others.get(path))
    }

    /// Returns how many files under `stores/` the last snapshot made necessary to read.
    pub fn parsed(&self) -> usize {
        self.parsed
    }

    /// Reads a repository at one commit.
    ///
    /// `contents` gives the content of a file and is asked only for what is not known. `chart_file` finds a file
    /// that the chart ships by its path (for value files written `chart:<path>`); it must be the same chart each
    /// time. `incumbents` says which store holds a host in the cluster now: when two files claim one host, it
    /// keeps it.
    ///
    /// # Errors
    /// What `contents` fails with; what was read until then stays known. [`Freeze`] when the commit can't be used
    /// as a whole.
    pub fn read<'chart, E>(
        &mut self,
        listing: &Listing,
        contents: &mut dyn FnMut(&str, ContentId) -> Result<FileContent, E>,
        chart_file: &dyn Fn(&str) -> Option<&'chart [u8]>,
        incumbents: &dyn Fn() -> BTreeMap<Host, StoreId>,
    ) -> Result<Result<Snapshot, Freeze>, E> {
        if let Err(freeze) = check_paths(listing) {
            return Ok(Err(freeze));
        }
        self.compare(listing);
        if let Err(freeze) = self.check_number().and_then(|()| self.check_fleet_file()) {
            return Ok(Err(freeze));
        }
        let fleet = match self.fleet(contents, chart_file)? {
            Ok(fleet) => fleet,
            Err(freeze) => return Ok(Err(freeze)),
        };
        self.read_stores(&fleet, contents)?;
        let held = incumbents();
        Ok(Ok(assemble(&listing.revision, (fleet, &self.scope), &self.stores, self.others.keys(), &held)))
    }

    /// Forgets what is not as it was.
    fn compare(&mut self, listing: &Listing) {
        let mut before = std::mem::take(&mut self.stores).into_iter().peekable();
        let mut others = BTreeMap::new();
        // Both are in the order of paths: one pass finds the same path in both.
        let stores = listing.files.iter().filter_map(|(path, listed)| {
            while before.next_if(|(known, _)| known < path).is_some() {}
            match before.next_if(|(known, _)| known == path) {
                Some((path, known)) if known.listed == *listed => return Some((path, known)),
                _ => {}
            }
            let Some(claim) = claim(path) else {
                others.insert(path.clone(), listed.clone());
                return None;
            };
            Some((path.clone(), KnownFile { listed: listed.clone(), claim, said: None }))
        });
        self.stores = stores.collect();
        if self.others != others {
            self.others = others;
            self.fleet = None;
        }
    }

    fn check_number(&self) -> Result<(), Freeze> {
        let is_store_file = |known: &&KnownFile| known.claim != Claim::Other;
        let (count, max) = (self.stores.values().filter(is_store_file).count(), self.limits.store_files);
        if count > max { Err(Freeze::TooManyFiles { count, max }) } else { Ok(()) }
    }

    /// Complains of a fleet file under a wrong name when there is none under the right one.
    fn check_fleet_file(&self) -> Result<(), Freeze> {
        if self.others.contains_key(FLEET_FILE) {
            return Ok(());
        }
        let Some(path) = self.others.keys().find(|path| is_misnamed_fleet_file(path)) else { return Ok(()) };
        let message = format!("the fleet file must be called `{FLEET_FILE}`: rename it");
        Err(Freeze::Fleet(vec![Problem::of_file(path, &message)]))
    }

    /// Reads the fleet file and the value files, unless they are as they were.
    fn fleet<'chart, E>(
        &mut self,
        contents: &mut dyn FnMut(&str, ContentId) -> Result<FileContent, E>,
        chart_file: ChartFile<'_, 'chart>,
    ) -> Result<Result<Arc<Fleet>, Freeze>, E> {
        if let Some(fleet) = &self.fleet {
            return Ok(Ok(Arc::clone(fleet)));
        }
        let mut files = BTreeMap::new();
        for (path, listed) in self.others.iter().filter(|(path, _)| !is_chart_file(path)) {
            files.insert(path.clone(), content_of(path, listed, contents)?);
        }
        let draft = match fleet::read(&files, &self.scope, &self.limits) {
            Ok(draft) => draft,
            Err(freeze) => return Ok(Err(freeze)),
        };
        let folders: BTreeSet<_> = draft.chart_folders().map(|folder| format!("{folder}/")).collect();
        for folder in &folders {
            let inside = self.others.range(folder.clone()..).take_while(|(path, _)| path.starts_with(folder));
            for (path, listed) in inside {
                files.insert(path.clone(), content_of(path, listed, contents)?);
            }
        }
        let mut read = draft.finish(&files, chart_file, &self.limits);
        if let (Ok(fleet), Some(before)) = (&mut read, &self.followed) {
            fleet.charts.keep(&before.charts);
        }
        let read = read.map(Arc::new);
        self.fleet = read.as_ref().ok().cloned();
        Ok(read)
    }

    /// Reads the files under `stores/` that are not known, and makes those that are follow the fleet file.
    fn read_stores<E>(
        &mut self,
        fleet: &Arc<Fleet>,
        contents: &mut dyn FnMut(&str, ContentId) -> Result<FileContent, E>,
    ) -> Result<(), E> {
        self.parsed = 0;
        let followed = self.followed.take();
        let is_followed = followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, fleet));
        let read_like = followed.is_some_and(|followed| {
            followed.charts.read_like(&fleet.charts) && followed.clusters == fleet.clusters
        });
        for (path, known) in &mut self.stores {
            let is_known = match &mut known.said {
                None => false,
                Some(_) if is_followed => true,
                Some(Said::Store(Outcome { draft: Ok(draft), cluster, claims: _ })) => {
                    let follows = draft.follow(fleet);
                    cluster.clone_from(&draft.store.cluster);
                    follows
                }
                Some(Said::Store(Outcome { draft: Err(_), .. })) => read_like,
                Some(Said::Claims(_) | Said::Unreadable(_) | Said::Nothing) => true,
            };
            if !is_known {
                let content = content_of(path, &known.listed, contents)?;
                known.said = Some(said(path, &known.claim, &content, fleet, &self.limits));
                self.parsed += 1;
            }
        }
        self.followed = Some(Arc::clone(fleet));
        Ok(())
    }
}

/// Checks by the paths alone that a commit can be used as a whole.
fn check_paths(listing: &Listing) -> Result<(), Freeze> {
    if listing.files.is_empty() {
        return Err(Freeze::EmptyTree);
    }
    match listing.files.get(STORES_FOLDER) {
        Some(Listed::Unreadable(why)) => Err(Freeze::StoresNotAFolder { why: why.clone() }),
        Some(Listed::File { .. }) => Err(Freeze::StoresNotAFolder { why: "a file".to_owned() }),
        None => Ok(()),
    }
}

fn content_of<E>(
    path: &str,
    listed: &Listed,
    contents: &mut dyn FnMut(&str, ContentId) -> Result<FileContent, E>,
) -> Result<FileContent, E> {
    match listed {
        Listed::File { content, size: _ } => contents(path, *content),
        Listed::Unreadable(why) => Ok(FileContent::Unreadable(why.clone())),
    }
}

fn said(path: &str, claim: &Claim, content: &FileContent, fleet: &Fleet, limits: &Limits) -> Said {
    match (claim, content) {
        (Claim::File(id), _) => Said::Store(shop::read(path, content, id, fleet, limits)),
        (_, FileContent::Unreadable(why)) => Said::Unreadable(why.clone()),
        (Claim::Misplaced(..) | Claim::Nameless(_), FileContent::Bytes(_)) => {
            shop::claims(path, content, limits).map_or(Said::Nothing, Said::Claims)
        }
        (Claim::Other, FileContent::Bytes(_)) => Said::Nothing,
    }
}

/// Reads a repository at one commit, all of it, for all clusters.
///
/// The arguments are those of [`KnownFiles::read`].
///
/// # Errors
/// [`Freeze`] when the commit can't be used as a whole.
pub fn read<'chart>(
    tree: &RepositoryTree,
    chart_file: &dyn Fn(&str) -> Option<&'chart [u8]>,
    incumbents: &BTreeMap<Host, StoreId>,
    limits: &Limits,
) -> Result<Snapshot, Freeze> {
    read_within(tree, chart_file, incumbents, (limits, &Scope::All))
}

/// Reads a repository at one commit, all of it, for those who want these stores.
///
/// The other arguments are those of [`KnownFiles::read`].
///
/// # Errors
/// [`Freeze`] when the commit can't be used as a whole.
pub fn read_within<'chart>(
    tree: &RepositoryTree,
    chart_file: &dyn Fn(&str) -> Option<&'chart [u8]>,
    incumbents: &BTreeMap<Host, StoreId>,
    (limits, scope): (&Limits, &Scope),
) -> Result<Snapshot, Freeze> {
    let listed = tree.files.iter().map(|(path, content)| {
        let listed = match content {
            // Nothing is known before, so that nothing is compared with this.
            FileContent::Bytes(bytes) => {
                Listed::File { content: ContentId([0; 20]), size: bytes.len() as u64 }
            }
            FileContent::Unreadable(why) => Listed::Unreadable(why.clone()),
        };
        (path.clone(), listed)
    });
    let listing = Listing { revision: tree.revision.clone(), files: listed.collect() };
    let mut contents = |path: &str, _| Ok::<_, Infallible>(tree.files[path].clone());
    let incumbents = || incumbents.clone();
    let mut known = KnownFiles::new(limits.clone()).within(scope.clone());
    match known.read(&listing, &mut contents, chart_file, &incumbents) {
        Ok(snapshot) => snapshot,
        Err(never) => match never {},
    }
}
