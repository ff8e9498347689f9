//! The page shows everything that is known of the fleet, and no text in it can become markup.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "common/showroom.rs"]
mod showroom;

use std::sync::Arc;

use axum::http::StatusCode;
use showroom::{HOSTILE, NOW, Showroom, count, plain};
use storekeeper::report::{FleetReport, Origin, Picture, Replica, Replicas, Step, StoreReport, StoreState};

/// [`HOSTILE`] as it has to stand on a page.
const ESCAPED: &str = "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;";

fn shows(picture: Picture) -> Showroom {
    let showroom = Showroom::new();
    showroom.board.update(|shown| *shown = picture);
    showroom
}

async fn page(picture: Picture) -> String {
    let page = shows(picture).page("/").await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    page.body
}

/// Fills every text of a picture with its field's name behind `mark`. No `..`: a new field must get its canary.
fn marked(mark: &str) -> Picture {
    let text = |field: &str| format!("{mark}{field}");
    let some = |field: &str| Some(text(field));
    let store = StoreReport {
        name: "acme".parse().unwrap(),
        display_name: some("display_name"),
        state: StoreState::Provisioning,
        step: Some(Step::Database),
        reason: text("reason"),
        since: NOW - 61,
        url: Some(format!("https://acme.example.com/{mark}url")),
        revision: some("revision"),
        applied_revision: some("applied_revision"),
        created: Some(NOW - 7_320),
        last_error: some("last_error"),
        next_retry: Some(NOW + 30),
        answered: Some(NOW - 12),
        deletes_at: Some(NOW + 250),
        origin: Some(Origin {
            revision: text("origin"),
            author: text("author"),
            signer: some("by"),
            pull: Some(3),
        }),
        cluster: some("cluster"),
        keeper: some("keeper"),
    };
    let other = StoreReport { name: "other".parse().unwrap(), url: some("not_a_link"), ..store.clone() };
    let fleet = FleetReport {
        revision: some("fleet_revision"),
        signer: some("signer"),
        distrust: some("distrust"),
        frozen: some("frozen"),
        removals_refused: some("removals_refused"),
        problems: vec![text("problem_1"), text("problem_2")],
        ready: false,
        not_asked: some("not_asked"),
        held_until: Some(NOW + 5),
        admission: some("admission"),
        forge: some("forge"),
        journal: some("journal"),
        paused: some("paused"),
        window: some("window"),
        domain: some("domain"),
        domains: Arc::default(),
        cluster: some("cluster"),
        elsewhere: Arc::new([("there".parse().unwrap(), "us-1".parse().unwrap())].into()),
        strays: some("strays"),
        replicas: Some(Replicas {
            here: text("replica"),
            since: Some(NOW - 200),
            shards: 64,
            unkept: 24,
            all: [
                (text("replica"), Replica { alive: true, shards: 0 }),
                (text("keeper"), Replica { alive: true, shards: 40 }),
                (text("silent"), Replica { alive: false, shards: 24 }),
            ]
            .into(),
        }),
    };
    picture(fleet, [store, other])
}

fn picture(fleet: FleetReport, stores: impl IntoIterator<Item = StoreReport>) -> Picture {
    let mut picture = Picture::default();
    (picture.fleet, picture.stores) = (fleet, stores.into_iter().collect());
    picture
}

#[tokio::test]
async fn every_text_is_shown_and_none_can_become_markup() {
    let (hostile, harmless) = (page(marked(HOSTILE)).await, page(marked("canary-")).await);
    assert!(!hostile.contains("<script>"));
    for field in [
        "display_name",
        "reason",
        "url",
        "not_a_link",
        "author",
        "last_error",
        "fleet_revision",
        "signer",
        "distrust",
        "frozen",
        "removals_refused",
        "problem_1",
        "problem_2",
        "not_asked",
        "admission",
        "forge",
        "journal",
        "paused",
        "window",
        "cluster",
        "strays",
        "replica",
        "keeper",
        "silent",
    ] {
        assert!(hostile.contains(&format!("{ESCAPED}{field}")), "{field} is missing or not escaped");
    }
    for character in ['<', '>', '"', '\''] {
        assert_eq!(count(&hostile, character), count(&harmless, character), "a text added a {character}");
    }
}

#[tokio::test]
async fn only_http_addresses_become_links() {
    for (url, is_link) in [
        ("https://a.example", true),
        ("HTTP://a.example", true),
        ("javascript:alert(1)", false),
        (" https://a.example", false),
        ("data:text/html,x", false),
        ("ä", false),
    ] {
        let mut picture = marked("");
        for name in ["acme", "other"] {
            picture.stores.get_mut(&name.parse().unwrap()).unwrap().url = Some(url.to_owned());
        }
        let page = page(picture).await;
        assert!(page.contains(url));
        assert_eq!(page.contains(&format!("href=\"{url}\"")), is_link, "{url}");
    }
}

#[tokio::test]
async fn the_page_of_a_busy_fleet_is_as_reviewed() {
    let mut picture = marked("");
    let mut failed = StoreReport::new("broken".parse().unwrap(), NOW - 100);
    failed.enter(StoreState::Failed, "the chart has no such value".to_owned(), NOW - 5);
    failed.next_retry = Some(NOW - 1);
    picture.stores.insert(failed.name.clone(), failed);
    insta::assert_snapshot!(plain(&page(picture).await));
}

#[tokio::test]
async fn the_page_without_stores_says_what_to_do() {
    let fleet = FleetReport { ready: true, ..FleetReport::default() };
    insta::assert_snapshot!(plain(&page(picture(fleet, [])).await));
    let starting = page(Picture::default()).await;
    assert!(starting.contains("No stores seen yet") && !starting.contains("watched branch"));
}

#[tokio::test]
async fn a_page_runs_nothing_but_our_own_script_and_shows_nothing_from_elsewhere() {
    let showroom = shows(marked(""));
    for path in ["/", "/new", "/commits", "/plans", "/stores/acme", "/api", "/nothing"] {
        let answer = showroom.page(path).await;
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
            "{path}"
        );
        let page = answer.body;
        assert!(
            !page.contains("style=\"") && !page.contains(" onclick") && !page.contains("url("),
            "{path}: {page}"
        );
        assert_eq!((page.matches("<script").count(), page.matches(" src=").count()), (1, 1), "{path}");
        // Everything it loads is there, under a name that never gets another content.
        for name in page.split(['"']).filter(|part| part.contains("assets/") && !part.contains("icon")) {
            let asset = showroom.get(&format!("/{}", name.trim_start_matches(['.', '/']))).await;
            assert_eq!(asset.status, StatusCode::OK, "{name}");
            assert!(asset.header("cache-control").contains("immutable"), "{name}");
        }
    }
}

#[tokio::test]
async fn words_and_states_narrow_the_list_and_counts_tell_the_rest() {
    let store = |name: &str, state| {
        let mut report = StoreReport::new(name.parse().unwrap(), NOW);
        report.enter(state, "so".to_owned(), NOW);
        report
    };
    let fleet = FleetReport { ready: true, ..FleetReport::default() };
    let stores = [
        store("acme", StoreState::Ready),
        store("bold", StoreState::Failed),
        store("acid", StoreState::Failed),
    ];
    let showroom = shows(picture(fleet, stores));
    let rows = async |query: &str| {
        let page = showroom.page(&format!("/{query}")).await.body;
        let found: Vec<_> = page
            .split("<tr id=\"store-")
            .skip(1)
            .map(|row| row.split('"').next().unwrap().to_owned())
            .collect();
        (found, page)
    };
    assert_eq!(rows("").await.0, ["acid", "acme", "bold"]);
    assert_eq!(rows("?q=AC").await.0, ["acid", "acme"]);
    let (found, page) = rows("?q=ac&state=FAILED").await;
    assert_eq!(found, ["acid"]);
    assert!(page.contains("href=\"./?q=ac&amp;state=READY\""), "{page}");
    assert!(page.contains("<b>1</b> <span class=\"state ready\">"), "the other state is counted: {page}");
    assert_eq!(rows("?sort=state").await.0, ["acid", "bold", "acme"]);
    let (found, page) = rows("?q=nobody").await;
    assert!(found.is_empty() && page.contains("No store is like that"), "{page}");
    assert_eq!(showroom.page("/?state=SLEEPING").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn one_line_says_which_replica_this_is_and_who_keeps_what() {
    let shown = async |here: &str, shares: [(&str, bool, usize); 2], unkept| {
        let all = shares.map(|(name, alive, shards)| (name.to_owned(), Replica { alive, shards })).into();
        let replicas = Replicas { here: here.to_owned(), since: Some(NOW - 180), shards: 64, unkept, all };
        let fleet = FleetReport { ready: true, replicas: Some(replicas), ..FleetReport::default() };
        let store = |name: &str, keeper: &str| {
            let keeper = Some(keeper.to_owned());
            StoreReport { keeper, ..StoreReport::new(name.parse().unwrap(), NOW) }
        };
        page(picture(fleet, [store("acme", "a"), store("bold", "a"), store("calm", "b")])).await
    };
    for (here, shares, line) in [
        ("a", [("a", true, 64), ("b", true, 0)], "This is replica a, which keeps all stores; b follows (for"),
        ("b", [("a", true, 64), ("b", true, 0)], "This is replica b, which follows; a keeps all stores (for"),
        (
            "b",
            [("a", true, 30), ("b", true, 34)],
            "This is replica b, which keeps 1 store; a keeps 2 stores (for",
        ),
    ] {
        let page = shown(here, shares, 0).await;
        assert!(page.contains(line) && !page.contains("No replica keeps"), "{line} is not in {page}");
    }
    let silent = shown("b", [("a", false, 64), ("b", true, 0)], 64).await;
    assert!(
        silent.contains("a keeps all stores but is silent") && silent.contains("No replica keeps the stores")
    );
    let alone = page(marked_alone()).await;
    assert!(!alone.contains("replica") && !alone.contains("Replica"), "{alone}");
}

/// A fleet of one storekeeper alone.
fn marked_alone() -> Picture {
    let fleet = FleetReport { ready: true, ..FleetReport::default() };
    picture(fleet, [StoreReport::new("acme".parse().unwrap(), NOW)])
}

#[tokio::test]
async fn a_large_fleet_comes_in_pages() {
    let stores = (0..1_500).map(|at| StoreReport::new(format!("s{at:04}").parse().unwrap(), NOW));
    let showroom = shows(picture(FleetReport { ready: true, ..FleetReport::default() }, stores));
    let rows = |page: &str| page.matches("<tr id=\"store-").count();
    let first = showroom.page("/").await.body;
    assert_eq!(rows(&first), 1_000);
    assert!(first.contains("1 to 1000 of 1500 stores") && first.contains("rel=\"next\" href=\"./?page=2\""));
    let second = showroom.page("/?page=2").await.body;
    assert_eq!(rows(&second), 500);
    assert!(second.contains("store-s1499") && !second.contains("rel=\"next\""));
}
