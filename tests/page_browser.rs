//! The pages in a real browser: with and without scripts, light and dark, wide and narrow, live, and for those who do not see.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "common/browser.rs"]
mod browser;
#[path = "common/mod.rs"]
mod common;
#[path = "common/showroom.rs"]
mod showroom;

use browser::{Driver, PATIENCE, run, until};
use common::{World, required_path};
use fantoccini::{Client, Locator};
use serde_json::json;
use showroom::{NOW, Showroom};
use storekeeper::report::{
    Event, EventKind, Health, Inspection, ObjectHealth, Origin, PodHealth, Step, StoreReport, StoreState,
    VersionReport,
};
use storekeeper::web::{ForgePages, Links, serve};
use tokio::net::TcpListener;

const PAGES: [&str; 7] = ["", "stores/acme", "new?name=acme", "commits", "plans", "api", "nothing"];

/// Serves a showroom on a port of its own and returns its address.
async fn open(showroom: &Showroom) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let door = showroom.door();
    tokio::spawn(serve(listener, door.guard(showroom.router()), door, std::future::pending()));
    address
}

fn store(name: &str, state: StoreState, words: &str) -> StoreReport {
    let mut report = StoreReport::new(name.parse().unwrap(), NOW - 600);
    report.enter(state, words.to_owned(), NOW - 60);
    report.url = Some(format!("https://{name}.example.com/"));
    report.created = Some(NOW - 600);
    let (revision, author) = ("1a2b3c4d5e6f7081920a1b2c3d4e5f6071829304".to_owned(), "Ada".to_owned());
    report.origin =
        Some(Origin { revision, author, signer: Some("ada@example.com".to_owned()), pull: Some(7) });
    report
}

/// A fleet of three with something of everything.
fn fleet() -> Showroom {
    let mut showroom = Showroom::new();
    showroom.board.update(|picture| {
        picture.fleet.ready = true;
        picture.fleet.revision = Some("1a2b3c4d5e6f7081920a1b2c3d4e5f6071829304".to_owned());
        picture.fleet.frozen = Some("git does not answer".to_owned());
        picture.fleet.domain = Some("example.com".to_owned());
        picture.stores = [
            store("acme", StoreState::Ready, "a shopper can buy"),
            store("bold", StoreState::Failed, "database: no quota for its volume"),
            store("cork", StoreState::Provisioning, "migration: Job/bootstrap runs"),
        ]
        .into_iter()
        .collect();
    });
    let acme = Some("acme".parse().unwrap());
    for (at, kind) in (NOW - 100..).zip(EventKind::ALL) {
        let (state, step) = (Some(StoreState::Ready), Some(Step::Database));
        let event = Event::new(at, kind, acme.clone(), "as it should");
        showroom.history.push(Event { state, step, took_ms: Some(1_234), ..event });
    }
    let version = VersionReport { revision: "1a2b3c4d".to_owned(), image: Some("medusa:2.21.2".to_owned()) };
    let object = ObjectHealth {
        kind: "Deployment".to_owned(),
        group: "apps".to_owned(),
        name: "medusa".to_owned(),
        health: Health::Current,
        note: None,
        drift: Some("changed by kubectl".to_owned()),
    };
    let pod = PodHealth {
        name: "medusa-1".to_owned(),
        status: "Running".to_owned(),
        ready: 1,
        containers: 1,
        restarts: 2,
        created: Some(NOW - 500),
    };
    let (runs, wants) = (Some(version.clone()), Some(version));
    showroom.inside = Ok(Inspection { runs, wants, objects: vec![object], pods: Ok(vec![pod]) });
    let repository = "https://forge.example/acme/stores".to_owned();
    showroom.links = Some(Links { forge: ForgePages::Gitea, repository, branch: "main".to_owned() });
    showroom
}

/// A driver for browsers, with everything that a test of pages needs.
/// Keeps a picture of the page for the documents, where a folder is named for that.
async fn shoot(browser: &Client, name: &str) {
    if let Some(folder) = std::env::var_os("SCREENSHOTS").filter(|folder| !folder.is_empty()) {
        let picture = browser.screenshot().await.unwrap();
        std::fs::write(std::path::Path::new(&folder).join(format!("page-{name}.png")), picture).unwrap();
    }
}

fn driver() -> Driver {
    Driver::start(&required_path("STOREKEEPER_CHROMEDRIVER"))
}

const ROWS: &str = "return [...document.querySelectorAll('#rows tr')].map(row => row.id)";

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_searched_while_one_types_and_follows_what_happens_without_a_reload() {
    let (driver, showroom) = (driver(), fleet());
    let browser = driver.open(&[]).await;
    let address = open(&showroom).await;
    browser.goto(&address).await.unwrap();
    assert_eq!(run(&browser, ROWS).await, json!(["store-acme", "store-bold", "store-cork"]));
    run(&browser, "window.stayed = true").await;

    // A store moves, one comes, one goes.
    showroom.board.update(|picture| {
        let cork = picture.stores.get_mut(&"cork".parse().unwrap()).unwrap();
        cork.enter(StoreState::Ready, "open for <b>business</b>".to_owned(), NOW);
        let new = store("amber", StoreState::Requested, "waits for its first run");
        picture.stores.insert(new.name.clone(), new);
        picture.stores.remove(&"bold".parse().unwrap());
        picture.fleet.frozen = None;
    });
    until(
        &browser,
        "the rows follow",
        &format!("return ({ROWS_CALL})() == 'store-acme,store-amber,store-cork'"),
    )
    .await;
    let text = run(&browser, "return document.getElementById('store-cork').innerText").await;
    assert!(
        text.as_str().unwrap().contains("READY") && text.as_str().unwrap().contains("<b>business</b>"),
        "{text}"
    );
    let head = run(&browser, "return document.getElementById('head').innerText").await;
    assert!(!head.as_str().unwrap().contains("git does not answer"), "{head}");
    assert_eq!(run(&browser, "return window.stayed").await, true, "the page was not loaded anew");

    let search = browser.find(Locator::Css("input[type=search]")).await.unwrap();
    search.send_keys("amb").await.unwrap();
    until(&browser, "the list is narrowed", &format!("return ({ROWS_CALL})() == 'store-amber'")).await;
    assert!(browser.current_url().await.unwrap().query().unwrap().contains("q=amb"));
    // What does not fit the search does not come up, what does is.
    showroom.board.update(|picture| {
        for name in ["ambrose", "zinc"] {
            let new = store(name, StoreState::Requested, "new");
            picture.stores.insert(new.name.clone(), new);
        }
    });
    until(&browser, "the search goes on", &format!("return ({ROWS_CALL})() == 'store-amber,store-ambrose'"))
        .await;
    assert_eq!(run(&browser, "return window.stayed").await, true);
    browser.close().await.unwrap();
}

const ROWS_CALL: &str = "() => [...document.querySelectorAll('#rows tr')].map(row => row.id).join()";

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_followed_and_what_the_reader_opened_stays_open() {
    let (driver, showroom) = (driver(), fleet());
    let browser = driver.open(&[]).await;
    browser.goto(&format!("{}stores/acme", open(&showroom).await)).await.unwrap();
    until(
        &browser,
        "times are told in the reader's own words",
        "return document.querySelector('time[data-told]') != null",
    )
    .await;
    run(&browser, "document.getElementById('objects').open = false; window.stayed = true").await;
    let acme: storekeeper::names::StoreId = "acme".parse().unwrap();
    showroom.history.push(Event::new(
        NOW,
        EventKind::DriftHealed,
        Some(acme.clone()),
        "Deployment/medusa was put back",
    ));
    showroom.board.update(|picture| {
        let acme = picture.stores.get_mut(&acme).unwrap();
        acme.enter(StoreState::Degraded, "the shop does not answer".to_owned(), NOW);
    });
    until(
        &browser,
        "the event shows",
        "return document.querySelector('.timeline li').innerText.includes('was put back')",
    )
    .await;
    until(
        &browser,
        "the state shows",
        "return document.getElementById('now').innerText.includes('DEGRADED')",
    )
    .await;
    until(&browser, "the title follows", "return document.title.startsWith('DEGRADED')").await;
    assert_eq!(
        run(&browser, "return [window.stayed, document.getElementById('objects').open]").await,
        json!([true, false])
    );
    browser.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_store_is_checked_while_one_types_and_leads_to_the_forge() {
    let (driver, showroom) = (driver(), fleet());
    let browser = driver.open(&[]).await;
    browser.goto(&format!("{}new", open(&showroom).await)).await.unwrap();
    let name = browser.find(Locator::Id("name")).await.unwrap();
    name.send_keys("acme").await.unwrap();
    until(
        &browser,
        "a name that is taken",
        "return document.getElementById('name-wrong').textContent.includes('there is a store')",
    )
    .await;
    assert_eq!(run(&browser, "return document.getElementById('written').hidden").await, true);
    name.send_keys("-two").await.unwrap();
    let link = until(&browser, "the link", "const it = document.getElementById('create'); return !it.hidden && it.href.includes('acme-two') && it.href").await;
    let link = link.as_str().unwrap();
    assert!(link.starts_with("https://forge.example/acme/stores/_new/main/stores?value="), "{link}");
    assert!(link.contains("name%3A%20acme-two%0A"), "{link}");
    let left = run(&browser, "return document.getElementById('left').innerText").await;
    assert_eq!(left, "The forge asks for the file's name: acme-two.yaml");
    let host = browser.find(Locator::Id("host")).await.unwrap();
    host.send_keys("bold.example.com").await.unwrap();
    until(
        &browser,
        "a host that is taken",
        "return document.getElementById('host-wrong').textContent.includes('store bold')",
    )
    .await;
    browser.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_connection_is_lost_says_so_and_comes_back() {
    let (driver, showroom) = (driver(), fleet());
    let browser = driver.open(&[]).await;
    browser.goto(&open(&showroom).await).await.unwrap();
    let connection = "return !document.getElementById('connection').hidden && document.getElementById('connection').innerText";
    assert_eq!(run(&browser, connection).await, false);
    run(&browser, "window.Real = EventSource; window.EventSource = class { constructor() { setTimeout(() => this.onerror(), 10); } close() {} }; document.dispatchEvent(new Event('visibilitychange'))").await;
    // Only what is closed is opened anew: hide the page and show it again.
    run(&browser, "Object.defineProperty(document, 'hidden', { value: true, configurable: true }); document.dispatchEvent(new Event('visibilitychange')); Object.defineProperty(document, 'hidden', { value: false, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))").await;
    let said = until(&browser, "the loss is said", connection).await;
    assert!(said.as_str().unwrap().contains("may be old"), "{said}");
    run(&browser, "window.EventSource = window.Real").await;
    until(&browser, "it comes back", "return document.getElementById('connection').hidden").await;
    showroom.board.update(|picture| picture.stores.remove(&"bold".parse().unwrap()));
    until(&browser, "it follows again", &format!("return ({ROWS_CALL})() == 'store-acme,store-cork'")).await;
    browser.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_everything_can_be_read_searched_and_filled_in() {
    let (driver, showroom) = (driver(), fleet());
    let browser = driver.open(&["--blink-settings=scriptEnabled=false"]).await;
    let address = open(&showroom).await;
    browser.goto(&address).await.unwrap();
    browser.find(Locator::Css("input[type=search]")).await.unwrap().send_keys("bold").await.unwrap();
    browser.find(Locator::Css("form.search button")).await.unwrap().click().await.unwrap();
    browser.wait().at_most(PATIENCE).for_element(Locator::Css("input[value=bold]")).await.unwrap();
    let rows = browser.find_all(Locator::Css("#rows tr")).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].text().await.unwrap().contains("no quota for its volume"));
    browser.find(Locator::LinkText("bold")).await.unwrap().click().await.unwrap();
    browser.wait().at_most(PATIENCE).for_element(Locator::Css("#now .failed")).await.unwrap();
    browser.goto(&format!("{address}new")).await.unwrap();
    browser.find(Locator::Id("name")).await.unwrap().send_keys("dahlia").await.unwrap();
    browser.find(Locator::Css("form.new button")).await.unwrap().click().await.unwrap();
    let link =
        browser.wait().at_most(PATIENCE).for_element(Locator::Css("#create:not([hidden])")).await.unwrap();
    assert!(link.attr("href").await.unwrap().unwrap().contains("name%3A%20dahlia"));
    browser.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_a_phone_and_follow_the_readers_colours() {
    let (driver, showroom) = (driver(), fleet());
    let address = open(&showroom).await;
    let mut backgrounds = Vec::new();
    for colours in ["--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"] {
        let browser = driver.open(&[colours]).await;
        browser.set_window_rect(0, 0, 500, 900).await.unwrap();
        for page in PAGES {
            browser.goto(&format!("{address}{page}")).await.unwrap();
            if page == "stores/acme" {
                shoot(&browser, "store-phone").await;
            }
            let widths = run(&browser, "return [document.documentElement.scrollWidth, innerWidth]").await;
            assert!(widths[0].as_i64() <= widths[1].as_i64(), "/{page} is wider than the screen: {widths}");
        }
        backgrounds.push(run(&browser, "return getComputedStyle(document.body).backgroundColor").await);
        browser.close().await.unwrap();
    }
    assert_ne!(backgrounds[0], backgrounds[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_that_keeps_people_out() {
    let (driver, showroom) = (driver(), fleet());
    let address = open(&showroom).await;
    let axe = std::fs::read_to_string(required_path("STOREKEEPER_AXE")).unwrap();
    for colours in ["--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"] {
        let browser = driver.open(&[colours]).await;
        for page in PAGES {
            browser.goto(&format!("{address}{page}")).await.unwrap();
            let dark = if colours.ends_with('0') { "-dark" } else { "" };
            let name = page.split(['/', '?']).next().unwrap().trim_end_matches('s');
            shoot(&browser, &format!("{}{dark}", if name.is_empty() { "fleet" } else { name })).await;
            run(&browser, &axe).await;
            let script = "const done = arguments[arguments.length - 1]; axe.run().then(found => done(found), error => done({ error: String(error) }))";
            let found = browser.execute_async(script, Vec::new()).await.unwrap();
            assert!(found["passes"].as_array().is_some_and(|passes| passes.len() > 5), "{found}");
            let violations: Vec<_> = found["violations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| format!("{} ({}): {}", it["id"], it["impact"], it["nodes"][0]["html"]))
                .collect();
            assert!(violations.is_empty(), "/{page} {colours}: {violations:#?}");
        }
        browser.close().await.unwrap();
    }
}

/// With a real daemon and a real cluster: what is pushed comes up on the page that is open.
#[test]
fn a_push_shows_on_an_open_page_without_a_reload() {
    let (world, daemon) = World::with_small(&["acme"], "deletionGracePeriodSeconds: 0");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let driver = driver();
    let browser = runtime.block_on(driver.open(&[]));
    let row = format!("document.getElementById('store-{}')", world.store("bonsai"));
    runtime.block_on(async {
        browser.goto(&format!("http://{}/", daemon.address)).await.unwrap();
        run(&browser, "window.stayed = true").await;
        assert_eq!(run(&browser, &format!("return {row} == null")).await, true);
    });
    world.write_store("bonsai", "Bonsai & Moss");
    world.repository.push("bonsai opens");
    runtime.block_on(async {
        until(&browser, "the new store shows", &format!("return {row}?.innerText.includes('READY')")).await;
        let text = run(&browser, &format!("return {row}.innerText")).await;
        assert!(text.as_str().unwrap().contains("Bonsai & Moss"), "{text}");
        assert_eq!(run(&browser, "return window.stayed").await, true);
        browser.goto(&format!("http://{}/stores/{}", daemon.address, world.store("bonsai"))).await.unwrap();
        let events = run(&browser, "return document.getElementById('timeline').innerText").await;
        for words in ["File added", "bonsai opens", "Namespace made", "Chart applied", "READY"] {
            assert!(events.as_str().unwrap().contains(words), "{words}: {events}");
        }
        browser.close().await.unwrap();
    });
}
