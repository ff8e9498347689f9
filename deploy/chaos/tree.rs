//! What git holds after a push, as the harness itself knows it: nothing of the daemon's own reading is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::dice::Dice;

/// The names that stores may have, behind the world's prefix.
pub const NAMES: [&str; 10] =
    ["acme", "bonsai", "chocolate", "dahlia", "ember", "fable", "garnet", "hazel", "iris", "jade"];

/// More stores than there are: a budget that never matters.
pub const AMPLE: usize = 100_000;

/// Where stores have their hosts that name none.
const DOMAIN: &str = "shops.example.com";

/// All files of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    pub fleet: Option<Fleet>,
    /// By name, without the world's prefix.
    pub stores: BTreeMap<&'static str, StoreFile>,
}

/// The fleet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    pub budget: usize,
    /// The part of the fleet that may go at once, in percent.
    pub percent: usize,
    pub approved: BTreeSet<&'static str>,
    /// For how many seconds a store without a file is kept.
    pub grace: usize,
    pub broken: bool,
}

/// A store's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreFile {
    Good(Settings),
    Broken(Breakage),
}

/// What a good file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub title: usize,
    pub version: usize,
    pub storefront: bool,
    pub redis: bool,
    /// Whether it is kept when its file goes.
    pub protect: bool,
    /// A host of its own, which a renamed store takes with it.
    pub host: Option<usize>,
}

/// How a file is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    NotYaml,
    Empty,
    UnknownField,
    /// `stores/<name>.yml`
    Extension,
    /// `stores/europe/<name>.yaml`
    Folder,
    /// A link to nowhere.
    Link,
}

impl Breakage {
    pub const ALL: [Self; 6] =
        [Self::NotYaml, Self::Empty, Self::UnknownField, Self::Extension, Self::Folder, Self::Link];
}

impl Settings {
    pub fn draw(dice: &mut Dice) -> Self {
        Self {
            title: dice.below(5),
            version: dice.below(3),
            storefront: dice.percent(80),
            redis: dice.percent(20),
            protect: false,
            host: dice.percent(30).then(|| dice.below(1_000_000)),
        }
    }

    /// Changes one thing.
    pub fn changed(&self, dice: &mut Dice) -> Self {
        let mut changed = self.clone();
        match dice.below(4) {
            0 => changed.title += 1,
            1 => changed.version = (changed.version + 1) % 3,
            2 => changed.storefront = !changed.storefront,
            _ => changed.redis = !changed.redis,
        }
        changed
    }
}

/// A file to write; a link has no content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    path: String,
    content: Option<String>,
}

impl Tree {
    /// Whether the daemon may act on it at all.
    pub fn is_usable(&self) -> bool {
        self.fleet.as_ref().is_some_and(|fleet| !fleet.broken)
    }

    /// Whether no file is this store's, not even a broken one.
    pub fn lacks(&self, name: &str) -> bool {
        !self.stores.contains_key(name)
    }

    /// The settings of a store whose file is good.
    pub fn good(&self, name: &str) -> Option<&Settings> {
        match self.stores.get(name) {
            Some(StoreFile::Good(settings)) => Some(settings),
            _ => None,
        }
    }

    /// The host that a store with a good file has; `prefix` is the world's.
    pub fn host(&self, name: &str, prefix: &str) -> Option<String> {
        let own = self.good(name)?.host;
        Some(own.map_or_else(|| format!("{prefix}-{name}.{DOMAIN}"), |host| own_host(host, prefix)))
    }

    /// Whether it can be gone back to without what a round about refusals set up.
    pub fn is_ordinary(&self) -> bool {
        let ample = |fleet: &Fleet| fleet.budget == AMPLE && fleet.percent == 100;
        let protected = |file: &StoreFile| matches!(file, StoreFile::Good(settings) if settings.protect);
        self.fleet.as_ref().is_none_or(ample) && !self.stores.values().any(protected)
    }

    /// Sets or takes the protection of stores with good files.
    pub fn protect(&mut self, protects: impl Fn(&str) -> bool) {
        for (name, file) in &mut self.stores {
            if let StoreFile::Good(settings) = file {
                settings.protect = protects(name);
            }
        }
    }

    pub fn good_names(&self) -> Vec<&'static str> {
        self.stores.keys().copied().filter(|name| self.good(name).is_some()).collect()
    }

    /// Makes a folder hold exactly these files, beside its `.git`.
    pub fn write(&self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(".git") {
                continue;
            }
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
        }
        for Written { path, content } in self.files(prefix) {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => std::os::unix::fs::symlink("nowhere", &path).unwrap(),
            }
        }
    }

    /// Returns the files to write, with the world's prefix.
    fn files(&self, prefix: &str) -> Vec<Written> {
        let fleet = self.fleet.iter().map(|fleet| fleet_file(fleet, prefix));
        let stores =
            self.stores.iter().map(|(name, file)| store_file(&format!("{prefix}-{name}"), file, prefix));
        fleet.chain(stores).collect()
    }
}

fn fleet_file(fleet: &Fleet, prefix: &str) -> Written {
    let Fleet { budget, percent, approved, grace, broken } = fleet;
    let approved: Vec<_> = approved.iter().map(|name| format!("{prefix}-{name}")).collect();
    let mut text = format!(
        "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: {DOMAIN}\n  valueFiles:\n    \
         - chart:values-local.yaml\n  deletionBudget:\n    maxStores: {budget}\n    \
         maxPercent: {percent}\n    windowMinutes: 0\n    approved: [{}]\n  deletionGracePeriodSeconds: {grace}\n",
        approved.join(", ")
    );
    if *broken {
        text.push_str("  domian: example.com\n");
    }
    Written { path: "storekeeper.yaml".to_owned(), content: Some(text) }
}

fn own_host(host: usize, prefix: &str) -> String {
    format!("shop-{host}.{prefix}.example.com")
}

fn store_file(name: &str, file: &StoreFile, prefix: &str) -> Written {
    let path = format!("stores/{name}.yaml");
    let head = format!("apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {name}\n");
    let written = |path: String, content: &str| Written { path, content: Some(content.to_owned()) };
    match file {
        StoreFile::Good(settings) => written(path, &format!("{head}{}", spec(settings, prefix))),
        StoreFile::Broken(Breakage::NotYaml) => written(path, "{{{ not YAML\n"),
        StoreFile::Broken(Breakage::Empty) => written(path, ""),
        StoreFile::Broken(Breakage::UnknownField) => written(path, &format!("{head}spec:\n  hots: x\n")),
        StoreFile::Broken(Breakage::Extension) => written(format!("stores/{name}.yml"), &head),
        StoreFile::Broken(Breakage::Folder) => written(format!("stores/europe/{name}.yaml"), &head),
        StoreFile::Broken(Breakage::Link) => Written { path, content: None },
    }
}

fn spec(settings: &Settings, prefix: &str) -> String {
    let Settings { title, version, storefront, redis, protect, host } = settings;
    let host = host.map(|host| format!("  host: {}\n", own_host(host, prefix))).unwrap_or_default();
    format!(
        "spec:\n  displayName: Shop {title}\n  version: \"2.{version}.0\"\n  protect: {protect}\n{host}  values:\n    storefront:\n      \
         enabled: {storefront}\n    redis:\n      mode: {}\n",
        if *redis { "embedded" } else { "none" }
    )
}
