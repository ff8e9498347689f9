//! Which stores a list shows, in which order: the same for the page and for the API.

use std::cmp::Ordering;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::report::{Picture, StoreReport, StoreState};

/// What a list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Selection {
    /// Words that a store's name, shown name, address, state, or the author or signer of its last change has to contain, each of
    /// them somewhere; upper and lower case are the same.
    #[param(required = false)]
    pub(super) q: String,
    /// States, with commas between; none means all.
    #[param(required = false, example = "FAILED,DEGRADED")]
    pub(super) state: String,
    /// The order: name, state, changed (newest first), created (newest first) or host.
    #[param(required = false, example = "name")]
    pub(super) sort: String,
}

/// An order of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    /// By name.
    #[default]
    Name,
    /// What needs a person first.
    State,
    /// Whose state changed last first.
    Changed,
    /// The youngest first.
    Created,
    /// By address.
    Host,
}

impl Sort {
    /// Every order.
    pub(super) const ALL: [Self; 5] = [Self::Name, Self::State, Self::Changed, Self::Created, Self::Host];

    /// Returns the order as addresses write it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Changed => "changed",
            Self::Created => "created",
            Self::Host => "host",
        }
    }

    fn compare(self, one: &StoreReport, other: &StoreReport) -> Ordering {
        let by = match self {
            Self::Name => Ordering::Equal,
            Self::State => urgency(one.state).cmp(&urgency(other.state)),
            Self::Changed => other.since.cmp(&one.since),
            Self::Created => other.created.cmp(&one.created),
            Self::Host => one.url.cmp(&other.url),
        };
        by.then_with(|| one.name.cmp(&other.name))
    }
}

/// Orders states by how much they need a person.
fn urgency(state: StoreState) -> u8 {
    match state {
        StoreState::Failed => 0,
        StoreState::Degraded => 1,
        StoreState::Deleting => 2,
        StoreState::Provisioning => 3,
        StoreState::Requested => 4,
        StoreState::Paused => 5,
        StoreState::Ready => 6,
    }
}

/// A selection that was understood.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    words: Vec<String>,
    pub(super) states: Vec<StoreState>,
    pub(super) sort: Sort,
}

impl Selection {
    /// Understands what is asked for, or says what is not.
    pub(super) fn understand(&self) -> Result<Selector, String> {
        let known =
            |name: &str| StoreState::ALL.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(name));
        let names = self.state.split(',').map(str::trim).filter(|name| !name.is_empty());
        let states: Vec<_> = names
            .map(|name| {
                known(name).ok_or_else(|| format!("no state is called `{name}`: there are {}", all_states()))
            })
            .collect::<Result<_, _>>()?;
        let sort = match self.sort.as_str() {
            "" => Sort::default(),
            name => Sort::ALL.into_iter().find(|sort| sort.as_str() == name).ok_or_else(|| {
                format!("stores are not sorted by `{name}`: use name, state, changed, created or host")
            })?,
        };
        Ok(Selector {
            words: self.q.to_lowercase().split_whitespace().map(str::to_owned).collect(),
            states,
            sort,
        })
    }
}

fn all_states() -> String {
    StoreState::ALL.map(StoreState::as_str).join(", ")
}

impl Selector {
    /// Whether a store is one of those asked for, states aside.
    pub(super) fn names(&self, store: &StoreReport) -> bool {
        let holds =
            |text: Option<&str>, word: &str| text.is_some_and(|text| text.to_lowercase().contains(word));
        self.words.iter().all(|word| {
            let origin = store.origin.as_ref();
            store.name.as_str().contains(word)
                || holds(store.display_name.as_deref(), word)
                || holds(store.url.as_deref(), word)
                || holds(Some(store.state.as_str()), word)
                || holds(origin.map(|origin| origin.author.as_str()), word)
                || holds(origin.and_then(|origin| origin.signer.as_deref()), word)
        })
    }

    /// Whether a store is in one of the states asked for.
    pub(super) fn is_in_state(&self, store: &StoreReport) -> bool {
        self.states.is_empty() || self.states.contains(&store.state)
    }

    /// Returns the stores that are asked for, in their order.
    pub(super) fn select<'a>(&self, picture: &'a Picture) -> Vec<&'a StoreReport> {
        let such = |store: &&StoreReport| self.is_in_state(store) && self.names(store);
        let mut found: Vec<_> = picture.stores.values().filter(such).collect();
        if self.sort != Sort::Name {
            found.sort_by(|one, other| self.sort.compare(one, other));
        }
        found
    }

    /// Whether a store comes after another place in the order: where a page ended. Both are keys of [`Self::place`].
    pub(super) fn is_after(&self, store: &StoreReport, place: &(String, String)) -> bool {
        let (key, name) = self.place(store);
        let by = match self.sort {
            Sort::Name => Ordering::Equal,
            Sort::State | Sort::Host => key.cmp(&place.0),
            Sort::Changed | Sort::Created => place.0.cmp(&key),
        };
        by.then_with(|| name.cmp(&place.1)) == Ordering::Greater
    }

    /// Returns where a store stands in the order, as texts that compare like it.
    pub(super) fn place(&self, store: &StoreReport) -> (String, String) {
        let moment = |at: i64| format!("{:020}", at.max(0));
        let key = match self.sort {
            Sort::Name => String::new(),
            Sort::State => urgency(store.state).to_string(),
            Sort::Changed => moment(store.since),
            Sort::Created => store.created.map(moment).unwrap_or_default(),
            Sort::Host => store.url.clone().unwrap_or_default(),
        };
        (key, store.name.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Origin;

    fn picture() -> Picture {
        let store = |name: &str, state, since, url: Option<&str>| {
            let mut report = StoreReport::new(name.parse().unwrap(), since);
            (report.state, report.url) = (state, url.map(str::to_owned));
            report.created = Some(100 - since);
            report
        };
        let mut signed = store("cork", StoreState::Ready, 3, None);
        let signer = Some("ada@example.com".to_owned());
        signed.origin = Some(Origin { author: "Ada".to_owned(), signer, ..Origin::default() });
        let mut picture = Picture::default();
        picture.stores = [
            store("acme", StoreState::Ready, 1, Some("https://z.example")),
            store("bold", StoreState::Failed, 2, Some("https://a.example")),
            signed,
        ]
        .into_iter()
        .collect();
        picture
    }

    fn found(q: &str, state: &str, sort: &str) -> Vec<String> {
        let selection = Selection { q: q.into(), state: state.into(), sort: sort.into() };
        let selector = selection.understand().unwrap();
        selector.select(&picture()).iter().map(|store| store.name.to_string()).collect()
    }

    #[test]
    fn words_states_and_orders_select() {
        assert_eq!(found("", "", ""), ["acme", "bold", "cork"]);
        assert_eq!(found("A.EXAMPLE", "", ""), ["bold"]);
        assert_eq!(found("ada", "", ""), ["cork"]);
        assert_eq!(found("example ready", "", ""), ["acme", "cork"], "the signer's address counts too");
        assert_eq!(found("", "failed,DEGRADED", ""), ["bold"]);
        assert_eq!(found("", "", "state"), ["bold", "acme", "cork"]);
        assert_eq!(found("", "", "changed"), ["cork", "bold", "acme"]);
        assert_eq!(found("", "", "created"), ["acme", "bold", "cork"]);
        assert_eq!(found("", "", "host"), ["cork", "bold", "acme"]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let wrong = Selection { state: "ready,RAEDY".into(), ..Selection::default() };
        assert!(wrong.understand().unwrap_err().contains("`RAEDY`"));
        let wrong = Selection { sort: "size".into(), ..Selection::default() };
        assert!(wrong.understand().unwrap_err().contains("`size`"));
    }

    #[test]
    fn a_list_goes_on_where_its_page_ended_in_every_order() {
        let picture = picture();
        for sort in Sort::ALL {
            let selector = Selector { sort, ..Selector::default() };
            let all = selector.select(&picture);
            for (at, store) in all.iter().enumerate() {
                let place = selector.place(store);
                let rest: Vec<_> =
                    all.iter().filter(|it| selector.is_after(it, &place)).map(|it| &it.name).collect();
                let expected: Vec<_> = all[at + 1..].iter().map(|it| &it.name).collect();
                assert_eq!(rest, expected, "{sort:?} after {}", store.name);
            }
        }
    }
}
