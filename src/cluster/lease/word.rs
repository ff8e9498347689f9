//! What members tell each other on their own Leases: each renews its own and follows the others' anyway. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::StoreId;

/// How many bytes the reasons of one member may have together: every renewal sends them to every other member.
const REASONS_MAX: usize = 16 * 1024;

/// How many bytes one reason may have.
const REASON_MAX: usize = 600;

/// What one member tells the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Word {
    /// How often it was asked to have everybody look at the repository.
    pub calls: u64,
    /// Why stores that it keeps are FAILED.
    pub failed: BTreeMap<StoreId, String>,
    /// How many FAILED stores it keeps besides: too many to tell of each.
    pub left_out: usize,
}

impl Word {
    /// Reads it. What another version wrote otherwise says nothing.
    pub(super) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Writes it.
    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Says why stores are FAILED, of as many as there is room for.
    pub(super) fn tell(&mut self, failed: &BTreeMap<StoreId, String>) {
        let mut room = REASONS_MAX;
        self.failed.clear();
        for (store, reason) in failed {
            let reason = shortened(reason);
            let size = store.as_str().len() + reason.len();
            if size <= room {
                room -= size;
                self.failed.insert(store.clone(), reason);
            }
        }
        self.left_out = failed.len() - self.failed.len();
    }
}

fn shortened(reason: &str) -> String {
    if reason.len() <= REASON_MAX {
        return reason.to_owned();
    }
    let end = (0..=REASON_MAX).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &reason[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(count: usize, reason: &str) -> BTreeMap<StoreId, String> {
        (0..count).map(|number| (format!("s{number:04}").parse().unwrap(), reason.to_owned())).collect()
    }

    #[test]
    fn a_word_is_read_as_it_was_written_and_of_another_version_what_is_known() {
        let mut word = Word { calls: 3, ..Word::default() };
        word.tell(&failed(2, "failed to apply \"x\": no\n"));
        assert_eq!(Word::read(&word.write()), word);
        assert_eq!(Word::read(r#"{"calls": 7, "later": [1]}"#), Word { calls: 7, ..Word::default() });
        assert_eq!(Word::read("no JSON"), Word::default());
    }

    #[test]
    fn reasons_have_an_end_and_what_is_left_out_is_counted() {
        let mut word = Word::default();
        word.tell(&failed(1000, &"ä".repeat(5000)));
        let (told, longest) = (word.failed.len(), word.failed.values().map(String::len).max().unwrap());
        assert!(
            told > 20 && told + word.left_out == 1000 && longest <= REASON_MAX + '…'.len_utf8(),
            "{told}"
        );
        assert!(word.write().len() < 2 * REASONS_MAX);
        word.tell(&BTreeMap::new());
        assert_eq!(word, Word::default());
    }
}
