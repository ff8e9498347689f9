//! Store and fleet files as nobody means them: whatever bytes lie in a repository, reading ends soon, without a panic, and
//! no store whose file is there is ever taken for absent.
//!
//! Bounded and the same in each run; `STOREKEEPER_FUZZ_ROUNDS=1000000` makes more of it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use storekeeper::names::StoreId;
use storekeeper::store::{self, FileContent, Freeze, Limits, RepositoryTree, Snapshot};

const ROUNDS: usize = 4000;

/// Far more than one reading takes on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

const FLEET: &str = "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: shops.example.com\n  \
                     valueFiles: [values/all.yaml]\n  deletionBudget: {maxStores: 3, approved: [gone]}\n";
const STORE: &str = "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: acme\nspec:\n  \
                     displayName: \"Acme & Söhne\"\n  protect: false\n  values:\n    store: {currency: eur}\n    \
                     list: &a [1, 2.5, ~, *a]\n    text: |\n      one\n      two\n";
const VALUES: &str = "resources:\n  medusa: {cpu: 100m}\n";

/// What breaks parsers.
const PIECES: [&[u8]; 24] = [
    b"\0",
    b"\xff\xfe",
    b"\xe2\x80\xae",
    b"\n",
    b"\r",
    b"\t",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"!!binary ",
    b"{{ .Values }}",
    b"---\n",
    b"...\n",
    b"%YAML 9.9\n",
    b"\"",
    b"'",
    b"|+9\n",
    b">-\n",
    b"? ",
    b"[[[[[[[[",
    b"1e999",
    b"0x7fffffffffffffffffff",
];

/// Numbers that look like chance and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }

    /// Changes a text in a few places.
    fn mutate(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => _ = bytes.drain(at..(at + self.below(20)).min(bytes.len())),
                1 => bytes.truncate(at),
                2 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                3 => {
                    let piece = bytes[at..(at + self.below(40)).min(bytes.len())].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                4 => {
                    let piece = PIECES[self.below(PIECES.len())].repeat(1 + self.below(300));
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let piece = PIECES[self.below(PIECES.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
        bytes
    }
}

fn read(fleet: Vec<u8>, store: Vec<u8>, values: Vec<u8>) -> Result<Snapshot, Freeze> {
    let file = |path: &str, bytes| (path.to_owned(), FileContent::Bytes(bytes));
    let files = BTreeMap::from([
        file("storekeeper.yaml", fleet),
        file("stores/acme.yaml", store),
        file("stores/bold.yaml", STORE.replace("acme", "bold").into_bytes()),
        file("values/all.yaml", values),
    ]);
    let tree = RepositoryTree { revision: "0".repeat(40).parse().unwrap(), files };
    store::read(&tree, &|_| None, &BTreeMap::new(), &Limits::default())
}

fn rounds() -> usize {
    std::env::var("STOREKEEPER_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

#[test]
fn whatever_a_store_file_holds_its_store_is_there_and_the_others_are_fine() {
    let untouched = read(FLEET.into(), STORE.into(), VALUES.into()).unwrap();
    let (acme, bold): (StoreId, StoreId) = ("acme".parse().unwrap(), "bold".parse().unwrap());
    assert!(untouched.stores[&acme].accepted().is_none(), "an alias inside of itself is refused");
    let (mut dice, mut accepted) = (Dice(0xf1ea_5eed), 0);
    for round in 0..rounds() {
        let bytes = dice.mutate(&STORE.replace(", *a", ""));
        let began = Instant::now();
        let snapshot = read(FLEET.into(), bytes.clone(), VALUES.into()).unwrap_or_else(|freeze| {
            panic!("round {round}: a store file froze the fleet: {freeze}: {bytes:?}")
        });
        assert!(began.elapsed() < LONGEST, "round {round}: {bytes:?}");
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(snapshot.stores.contains_key(&acme), "round {round}: the store is gone: {shown}");
        accepted += usize::from(snapshot.stores[&acme].accepted().is_some());
        // A file may claim another's name, which keeps that one as it is; it may not make it go.
        assert!(snapshot.stores.contains_key(&bold), "round {round}: another store is gone: {shown}");
        for problem in snapshot.stores.values().flat_map(store::StoreEntry::problems) {
            let text = problem.to_string();
            assert!(
                !text.contains(['\n', '\0', '\u{202e}']) && text.chars().count() < 900,
                "round {round}: {text:?}"
            );
        }
    }
    assert!(accepted > 0, "no mutation was harmless: nothing but the first check is tried");
}

#[test]
fn whatever_the_fleet_file_and_its_values_hold_they_are_used_or_freeze_the_fleet() {
    let (mut dice, mut used) = (Dice(0xf1ee_7f11e), 0);
    for round in 0..rounds() {
        let (fleet, values) = match dice.below(2) {
            0 => (dice.mutate(FLEET), VALUES.into()),
            _ => (FLEET.into(), dice.mutate(VALUES)),
        };
        let began = Instant::now();
        match read(fleet, STORE.into(), values) {
            Ok(snapshot) => {
                used += 1;
                assert_eq!(snapshot.stores.len(), 2, "round {round}: no store is gone");
            }
            Err(freeze) => assert!(!freeze.to_string().contains('\0'), "round {round}: {freeze}"),
        }
        assert!(began.elapsed() < LONGEST, "round {round}");
    }
    assert!(used > 0);
}
