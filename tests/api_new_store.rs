//! A store that somebody thinks of, checked against the fleet: what is wrong with it, or its file and where the forge makes it.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "common/showroom.rs"]
mod showroom;

use std::sync::Arc;

use serde_json::{Value, json};
use showroom::{NOW, Showroom};
use storekeeper::report::StoreReport;
use storekeeper::web::{ForgePages, Links};

/// A fleet with a store at its usual address, one at a host of its own, and one that takes the usual address of another.
fn fleet() -> Showroom {
    let mut showroom = Showroom::new();
    showroom.board.update(|picture| {
        picture.fleet.domain = Some("example.com".to_owned());
        picture.fleet.domains = Arc::new(["example.org", "example.net"].map(|it| it.parse().unwrap()).into());
        let addresses = [
            ("acme", "https://acme.example.com"),
            ("bold", "https://shop.example.org:8443/"),
            ("cute", "https://dear.example.com"),
        ];
        for (name, address) in addresses {
            let mut report = StoreReport::new(name.parse().unwrap(), NOW);
            report.url = Some(address.to_owned());
            picture.stores.get_or_insert_with(&report.name.clone(), || report);
        }
    });
    let repository = "https://forge.example/acme/stores".to_owned();
    showroom.links = Some(Links { forge: ForgePages::Gitea, repository, branch: "main".to_owned() });
    showroom
}

async fn check(showroom: &Showroom, query: &str) -> Value {
    let answer = showroom.get(&format!("/api/v1/check?{query}")).await;
    assert_eq!(answer.status.as_u16(), 200, "{query}: {}", answer.body);
    answer.json()
}

#[tokio::test]
async fn a_good_idea_becomes_a_file_and_a_link_to_the_forge() {
    let showroom = fleet();
    let file = "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: emma\n";
    let create = "https://forge.example/acme/stores/_new/main/stores?value=\
                  apiVersion%3A%20storekeeper.dev/v1%0Akind%3A%20Store%0Ametadata%3A%0A%20%20name%3A%20emma%0A";
    let good = json!({
        "name": null, "displayName": null, "host": null, "address": "emma.example.com",
        "path": "stores/emma.yaml", "file": file, "create": create,
        "createLeft": "The forge asks for the file's name: emma.yaml",
    });
    assert_eq!(check(&showroom, "name=emma").await, good);
    let full =
        check(&showroom, "name=%20emma%20&displayName=Emma%20%26%20%22Co%22&host=Emma.Example.NET").await;
    let file = format!("{file}spec:\n  displayName: \"Emma & \\\"Co\\\"\"\n  host: emma.example.net\n");
    assert_eq!((&full["file"], &full["address"]), (&file.into(), &"emma.example.net".into()));
    // A name that is free, whatever hosts look like it.
    assert_eq!(check(&showroom, "name=shop").await["host"], Value::Null);
}

#[tokio::test]
async fn what_is_taken_or_can_not_be_is_said_where_it_was_written_and_nothing_is_made_of_it() {
    let showroom = fleet();
    let wrong = [
        ("name", "a store needs a name", "name="),
        ("name", "there is a store of that name: stores/acme.yaml", "name=acme&host=new.example.com"),
        ("name", "", "name=Emma"),
        ("name", "", "name=kube%2Fsystem"),
        ("host", "store bold answers there already", "name=emma&host=shop.example.org"),
        ("host", "store bold answers there already", "name=emma&host=SHOP.example.org"),
        ("host", "store cute answers there already", "name=dear"),
        ("host", "it lies in no domain of the fleet", "name=emma&host=emma.example"),
        ("host", "", "name=emma&host=a%20b"),
        ("host", "", "name=emma&host=https%3A%2F%2Femma.example.com"),
        ("displayName", "one line", "name=emma&displayName=a%0Ab"),
        ("displayName", "at most 100", &format!("name=emma&displayName={}", "x".repeat(101))),
    ];
    for (field, words, query) in wrong {
        let checked = check(&showroom, query).await;
        let said = checked[field].as_str().unwrap_or_else(|| panic!("{query}: {checked}"));
        assert!(said.contains(words) && !said.is_empty(), "{query}: {said}");
        for other in ["name", "displayName", "host", "address", "path", "file", "create", "createLeft"] {
            assert!(other == field || checked[other].is_null(), "{query}: {other} of {checked}");
        }
    }
}

#[tokio::test]
async fn where_the_fleet_has_several_clusters_the_file_names_this_one_and_names_of_the_others_are_taken() {
    let showroom = fleet();
    showroom.board.update(|picture| {
        picture.fleet.cluster = Some("eu-1".to_owned());
        let there = [("emma".parse().unwrap(), "us-1".parse().unwrap())];
        picture.fleet.elsewhere = std::sync::Arc::new(there.into());
    });
    let file = check(&showroom, "name=dora").await["file"].as_str().unwrap().to_owned();
    assert!(file.ends_with("  name: dora\nspec:\n  cluster: eu-1\n"), "{file}");
    let taken = check(&showroom, "name=emma").await["name"].as_str().unwrap().to_owned();
    assert_eq!(taken, "there is a store of that name on cluster us-1: stores/emma.yaml");
}
