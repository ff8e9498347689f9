//! What still holds a namespace that is being deleted, in words. Pure.

use super::moment;

/// An object that is left in such a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What has to be taken off it before it can go.
    pub finalizers: Vec<String>,
    /// Since when it is being deleted, in seconds since 1970; none when nobody has asked for that yet.
    pub deleting_since: Option<i64>,
}

/// How many objects are named.
const MOST: usize = 5;

/// Names what is left, with what holds it and since when; those with finalizers first, because somebody has to act.
/// `unlisted` are kinds that could not be looked at.
pub fn remaining(found: &[Remaining], unlisted: &[&str]) -> Option<String> {
    let mut found: Vec<_> = found.iter().collect();
    found.sort_by_key(|it| (it.finalizers.is_empty(), &it.kind, &it.name));
    let mut words: Vec<_> = found.iter().take(MOST).map(|it| describe(it)).collect();
    if found.len() > MOST {
        words.push(format!("and {} more", found.len() - MOST));
    }
    let left = (!words.is_empty()).then(|| format!("left in it: {}", words.join(", ")));
    let hidden = (!unlisted.is_empty()).then(|| format!("could not be listed: {}", unlisted.join(", ")));
    let both: Vec<_> = left.into_iter().chain(hidden).collect();
    (!both.is_empty()).then(|| both.join("; "))
}

fn describe(object: &Remaining) -> String {
    let Remaining { kind, name, finalizers, deleting_since } = object;
    let since = deleting_since.map_or_else(
        || "its deletion has not begun".to_owned(),
        |since| format!("being deleted since {}", moment::utc(since)),
    );
    match finalizers.as_slice() {
        [] => format!("{kind}/{name} ({since})"),
        [one] => format!("{kind}/{name} ({since}, held by finalizer {one})"),
        many => format!("{kind}/{name} ({since}, held by finalizers {})", many.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named_with_its_finalizers_and_its_age_and_the_held_ones_first() {
        let object = |name: &str, finalizers: &[&str], deleting_since| Remaining {
            kind: "Pod".to_owned(),
            name: name.to_owned(),
            finalizers: finalizers.iter().map(ToString::to_string).collect(),
            deleting_since,
        };
        assert_eq!(remaining(&[], &[]), None);
        assert_eq!(remaining(&[], &["Widget", "Pod"]).unwrap(), "could not be listed: Widget, Pod");
        let mut found = vec![object("a", &[], None), object("b", &["x/y", "z"], Some(1_800_000_000))];
        assert_eq!(
            remaining(&found, &[]).unwrap(),
            "left in it: Pod/b (being deleted since 2027-01-15T08:00:00Z, held by finalizers x/y and z), \
             Pod/a (its deletion has not begun)"
        );
        found.extend(["c", "d", "e", "f", "g"].map(|name| object(name, &["x/y"], None)));
        assert!(
            remaining(&found, &["Widget"])
                .unwrap()
                .ends_with("held by finalizer x/y), and 2 more; could not be listed: Widget")
        );
    }
}
