//! What a shop is asked, and what its answers mean: against a shop at the wire.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::shop::{Mood, Shop};
use storekeeper::probe::{ProbeSettings, Prober, PublishableKey};
use storekeeper::report::{ProbeFailure, ProbeTarget, Step};

/// Asks a shop in this mood, and says what it was asked for.
fn ask(mood: Mood, products: bool) -> (Result<(), ProbeFailure>, Vec<String>) {
    ask_with(mood, products, PublishableKey::new("pk_1").as_ref())
}

fn ask_with(
    mood: Mood,
    products: bool,
    key: Option<&PublishableKey>,
) -> (Result<(), ProbeFailure>, Vec<String>) {
    let shop = Shop::open(mood);
    let settings = ProbeSettings { address: Some(shop.address.parse().unwrap()), authorities: None };
    let prober = Prober::new(&settings).unwrap();
    let target = ProbeTarget { products, storefront: true, key_secret: Some("medusa".to_owned()) };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = runtime.block_on(prober.ask("http://acme.example.com/", &target, key));
    let limit =
        |path: &str| path.split("limit=").nth(1).map(|rest| rest.split('&').next().unwrap().to_owned());
    let asked = shop.visits().into_iter().map(|visit| {
        let path = visit.path.split('?').next().unwrap();
        limit(&visit.path).map_or(path.to_owned(), |limit| format!("{path} {limit}"))
    });
    (result, asked.collect())
}

#[test]
fn a_priced_product_among_the_first_few_is_enough() {
    let (result, asked) = ask(Mood::Open, true);
    assert_eq!((result, asked.join(", ").as_str()), (Ok(()), "/store/regions 1, /store/products 3, /"));
}

#[test]
fn a_shop_without_a_store_api_is_asked_for_its_page_and_nothing_else() {
    let (result, asked) = ask_with(Mood::Open, false, None);
    assert_eq!((result, asked.join(", ").as_str()), (Ok(()), "/"));
}

#[test]
fn more_products_are_looked_at_when_the_first_have_no_price() {
    let (result, asked) = ask(Mood::PricedLate, true);
    assert_eq!(result, Ok(()));
    assert_eq!(asked, ["/store/regions 1", "/store/products 3", "/store/products 12", "/"]);
    let failure = ask(Mood::Priceless, true).0.unwrap_err();
    assert!(failure.step == Step::Probe && failure.reason.contains("a product that has a price"));
}

#[test]
fn a_shop_that_may_be_empty_has_to_answer_about_products_and_no_more() {
    for mood in [Mood::Priceless, Mood::Odd] {
        let (result, asked) = ask(mood, false);
        assert_eq!(result, Ok(()), "{mood:?}");
        assert_eq!(asked, ["/store/regions 1", "/store/products 3", "/"]);
    }
    assert!(ask(Mood::Odd, true).0.unwrap_err().reason.contains("not what the Store API answers"));
    let failure = ask(Mood::Databaseless, false).0.unwrap_err();
    assert!(failure.step == Step::Probe && failure.reason.contains("/store/products: 500"), "{failure:?}");
}

#[test]
fn a_shop_that_refuses_the_key_says_so_and_one_that_is_away_does_not() {
    let failure = ask(Mood::Keyless, true).0.unwrap_err();
    assert!(failure.refuses_key && failure.step == Step::Probe, "{failure:?}");
    for mood in [Mood::Away, Mood::Databaseless, Mood::Pageless] {
        assert!(!ask(mood, true).0.unwrap_err().refuses_key, "{mood:?}");
    }
}
