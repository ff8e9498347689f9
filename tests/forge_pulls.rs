//! A pull request shows beforehand what merging it would do, on a real forge.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/forge_world.rs"]
mod forge_world;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;

use common::api_proxy::ApiProxy;
use common::repository::git;
use common::until;
use forge_world::ForgeWorld;
use reqwest::Method;
use serde_json::json;

const ALL: &str = "storekeeper/all";
const PLAN: &str = "storekeeper/plan";

#[test]
fn a_pull_request_is_planned_planned_again_after_a_push_merged_and_carried_out() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    let (number, first) = forge.propose("acme", "Acme");
    let store = forge.world.store("acme");
    let status = forge.until(&first, PLAN, "success");
    assert_eq!(status["description"], format!("1 to add: {store}"));
    assert_eq!(status["target_url"], format!("https://keeper.example.com/plans/{first}"));
    assert_eq!(forge.until(&first, ALL, "success")["description"], status["description"]);
    let comment = forge.until_comment(number, &[&store, "Deployment"]);
    let (code, page) = daemon.get(&format!("/plans/{first}"));
    assert!(code == 200 && page.contains(&store), "{code} {page}");

    forge.world.repository.write(&forge.world.file("acme"), "what is this");
    let second = forge.project.push("acme", "break it");
    let status = forge.until(&second, PLAN, "failure");
    let path = forge.world.file("acme");
    assert!(status["description"].as_str().unwrap().contains(&path), "{status}");
    let edited = forge.until_comment(number, &[&format!("{path}:1")]);
    assert_eq!(edited["id"], comment["id"], "one comment, kept up to date");
    let line = until("the problem stands at its line", || {
        let reviews = forge.project.reviews(number);
        let lines = reviews.iter().flat_map(|it| it["lines"].as_array().unwrap().clone());
        lines.into_iter().find(|line| line["path"] == path.as_str())
    });
    assert_eq!((&line["position"], &line["commit_id"]), (&json!(1), &json!(second)), "{line}");
    forge.world.write_store("acme", "Acme Outdoor");
    let third = forge.project.push("acme", "mend it");
    forge.until(&third, PLAN, "success");
    assert!(forge.world.cluster.namespace(&forge.world.namespace("acme")).is_none(), "nothing is done yet");

    let merged = forge.project.merge(number, "merge");
    forge.until(&merged, &forge.context("acme"), "success");
    forge.until(&merged, ALL, "success");
    forge.world.until_state(&daemon, "acme", "READY");

    forge.project.begin("remove-acme");
    git(&forge.project.checkout, &["rm", "--quiet", &path]);
    let removal = forge.project.push("remove-acme", "acme goes");
    let number = forge.project.open(&forge.project.owner, "remove-acme", "Remove acme");
    let status = forge.until(&removal, PLAN, "success");
    assert_eq!(status["description"], format!("1 to remove: {store}"));
    let namespace = forge.world.namespace("acme");
    forge.until_comment(number, &[&namespace, "lost"]);
    let merged = forge.project.merge(number, "squash");
    forge.until(&merged, &forge.context("acme"), "success");
    assert!(forge.world.cluster.namespace(&namespace).is_none());
}

#[test]
fn a_removal_over_the_budget_is_refused_on_the_pull_request_and_goes_when_the_same_one_approves_it() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    let names = ["acme", "bold", "calm"];
    for name in names {
        forge.world.write_store(name, name);
    }
    let commit = forge.world.repository.push("three stores");
    forge.until(&commit, ALL, "success");

    forge.project.begin("remove");
    for name in names {
        forge.world.repository.remove(&forge.world.file(name));
    }
    forge.world.write_store("dove", "Dove");
    let refused = forge.project.push("remove", "all three go");
    let number = forge.project.open(&forge.project.owner, "remove", "Remove three");
    let status = forge.until(&refused, PLAN, "failure");
    assert!(status["description"].as_str().unwrap().starts_with("blocked: "), "{status}");
    assert_eq!(forge.until(&refused, ALL, "failure")["description"], status["description"]);
    forge.until_comment(number, &["approved"]);
    let ids: Vec<_> = names.iter().map(|name| forge.world.store(name)).collect();
    forge.world.write_fleet(&format!(
        "deletionBudget: {{maxStores: 2, maxPercent: 100, windowMinutes: 0, approved: [{}]}}",
        ids.join(", ")
    ));
    let approved = forge.project.push("remove", "and may");
    forge.until(&approved, PLAN, "success");
    let merged = forge.project.merge(number, "rebase");
    for name in names {
        forge.until(&merged, &forge.context(name), "success");
        assert!(forge.world.cluster.namespace(&forge.world.namespace(name)).is_none(), "{name}");
    }
    forge.until(&merged, &forge.context("dove"), "success");
}

#[test]
fn a_strangers_fork_is_planned_without_secrets_and_only_maintainers_are_where_that_is_set() {
    let mut forge = ForgeWorld::new();
    let proxy = ApiProxy::start(&forge.kubeconfig, forge.world.folder.path(), 1);
    forge.kubeconfig.clone_from(&proxy.kubeconfig);
    let asks_for_secrets = || {
        let calls = proxy.seen().into_iter().map(|seen| seen.call);
        calls.filter(|call| !call.is_watch() && call.path.contains("/secrets")).count() > 0
    };
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    forge.world.write_store("acme", "Acme");
    let commit = forge.world.repository.push("acme");
    forge.until(&commit, ALL, "success");
    let stranger = forge.gitea.account(&format!("s-{}", forge.world.prefix));
    let fork = forge.project.fork(&stranger, &forge.file("fork"));
    let propose = |branch: &str, name: &str| {
        fork.begin(branch);
        let text = std::fs::read_to_string(fork.checkout.join(forge.world.file("acme"))).unwrap();
        fork.write(
            &forge.world.file("acme"),
            &text.replace("displayName: Acme", &format!("displayName: {name}")),
        );
        let head = fork.push(branch, name);
        (forge.project.open(&stranger, &format!("{}:{branch}", stranger.name), name), head)
    };
    proxy.forget();
    let (number, head) = propose("first", "\"@everyone <b>``` #1\"");
    let status = forge.until(&head, PLAN, "success");
    assert!(!asks_for_secrets(), "a stranger's plan asked for Secrets");
    assert_eq!(status["description"], format!("1 to change: {}", forge.world.store("acme")));
    let comment = forge.until_comment(number, &[&forge.world.store("acme")]);
    let body = comment["body"].as_str().unwrap();
    for markup in ["@everyone", "<b>", "#1"] {
        let plain = body.lines().filter(|line| !line.starts_with("    ")).any(|line| line.contains(markup));
        assert!(!plain || body.contains("```"), "{markup}: {body}");
    }
    // The forge sees no mention in it.
    let rendered = forge.gitea.done(
        &forge.project.owner,
        reqwest::Method::POST,
        "/markdown",
        &serde_json::json!({ "Text": body, "Mode": "comment", "Context": forge.project.full_name() }),
    );
    let rendered = rendered.as_str().unwrap().to_owned();
    for active in ["class=\"mention\"", "<b>", "issues/1\""] {
        assert!(!rendered.contains(active), "{active} in {rendered}");
    }
    // A branch of the repository itself is planned with them.
    let (_, own) = forge.propose("acme", "Acme of our own");
    forge.until(&own, PLAN, "success");
    assert!(asks_for_secrets());
    let address = daemon.address.clone();
    daemon.kill();
    let _daemon =
        forge.start_daemon_on(&address, &["--poll-seconds", "3600"], &["--plan-forks", "maintainers"]);
    let (_, head) = propose("second", "Acme again");
    let status = forge.until(&head, PLAN, "failure");
    assert!(status["description"].as_str().unwrap().contains("only maintainers"), "{status}");
}

#[test]
fn a_pull_request_that_turns_to_the_branch_is_planned_at_once() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    forge.project.begin("elsewhere");
    forge.project.push("elsewhere", "nothing new");
    forge.project.begin("acme");
    forge.world.write_store("acme", "Acme");
    let head = forge.project.push("acme", "add acme");
    let path = forge.project.path("/pulls");
    let pull = json!({ "title": "Add acme", "head": "acme", "base": "elsewhere" });
    let pull = forge.gitea.done(&forge.project.owner, Method::POST, &path, &pull);
    // One to the branch that is followed is planned meanwhile, so the other one was seen as well.
    let (_, other) = forge.propose("bold", "Bold");
    forge.until(&other, PLAN, "success");
    assert!(!forge.project.statuses(&head).contains_key(PLAN), "it goes elsewhere");

    forge.project.send(Method::PATCH, &format!("/pulls/{}", pull["number"]), &json!({ "base": "main" }));
    let status = forge.until(&head, PLAN, "success");
    assert_eq!(status["description"], format!("1 to add: {}", forge.world.store("acme")));
}

#[test]
fn a_pull_request_that_was_pushed_to_while_it_was_closed_says_what_to_do_and_is_planned_then() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    let (number, first) = forge.propose("acme", "Acme");
    forge.until(&first, PLAN, "success");

    forge.project.close(number);
    forge.world.write_store("acme", "Acme and Sons");
    let second = forge.project.push("acme", "rename it");
    forge.project.send(Method::PATCH, &format!("/pulls/{number}"), &json!({ "state": "open" }));
    // Gitea's own ref for it stays where it was.
    let status = forge.until(&second, PLAN, "pending");
    let words = status["description"].as_str().unwrap();
    assert!(words.contains("the ref of the pull request is at"), "{words}");
    forge.world.write_store("acme", "Acme and Daughters");
    let third = forge.project.push("acme", "rename it again");
    forge.until(&third, PLAN, "success");
}

#[test]
fn the_plan_of_a_merged_pull_request_stays_as_it_was_merged() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    for style in ["merge", "squash"] {
        let (number, head) = forge.propose(style, style);
        let status = forge.until(&head, PLAN, "success");
        let comment = forge.until_comment(number, &[&forge.world.store(style), "Deployment"]);
        let merged = forge.project.merge(number, style);
        forge.until(&merged, &forge.context(style), "success");
        assert_eq!(forge.until_comment(number, &[])["body"], comment["body"], "{style}");
        assert_eq!(forge.project.statuses(&head)[PLAN]["description"], status["description"], "{style}");
    }
}
