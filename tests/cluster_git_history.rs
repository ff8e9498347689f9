//! Whatever becomes of the branch, what it says now counts: the newest of many commits, an older one that it was put
//! back to, and the last usable one while it says nothing usable.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::fs;

use common::daemon::Daemon;
use common::repository::git;
use common::{World, until};

fn until_followed(daemon: &Daemon, commit: &str) {
    until(&format!("commit {commit} is followed"), || {
        let fleet = daemon.fleet();
        (fleet["revision"] == *commit && fleet["frozen"].is_null()).then_some(())
    });
}

fn until_applied(world: &World, daemon: &Daemon, name: &str, display_name: &str) {
    until(&format!("{name} is {display_name} and READY"), || {
        let store = daemon.store(&world.store(name))?;
        (store["displayName"] == *display_name && store["state"] == "READY").then_some(())
    });
}

#[test]
fn of_many_commits_the_newest_counts_and_a_branch_put_back_is_followed_too() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let older = git(&world.repository.checkout, &["rev-parse", "HEAD"]);
    let mut newest = String::new();
    for number in 0..12 {
        world.write_store("acme", &format!("Number {number}"));
        if number == 6 {
            world.write_store("birch", "Birch");
        }
        newest = world.repository.push("one of many");
    }
    until_followed(&daemon, &newest);
    until_applied(&world, &daemon, "acme", "Number 11");
    world.until_state(&daemon, "birch", "READY");

    git(&world.repository.checkout, &["reset", "--quiet", "--hard", &older]);
    git(&world.repository.checkout, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
    until_followed(&daemon, &older);
    until_applied(&world, &daemon, "acme", "acme");
    // The older commit has no birch, so it goes.
    world.until_gone("birch");
    assert!(daemon.lines().any(|line| line["git.forced"] == true && line["git.commit"] == *older));
}

#[test]
fn a_commit_that_changes_one_store_reads_one_file_and_runs_one_store() {
    let (world, daemon) = World::with_ready(&["acme", "birch", "cedar"]);
    world.write_store("birch", "Changed");
    let commit = world.repository.push("one store");
    let line = daemon.until_logged("the commit is in force", |line| {
        line["message"] == "a new commit is in force" && line["git.commit"] == *commit
    });
    assert_eq!((&line["stores"], &line["touched"], &line["parsed"]), (&3.into(), &1.into(), &1.into()));
    until("birch is as the commit says", || {
        (daemon.store(&world.store("birch"))?["appliedRevision"] == *commit).then_some(())
    });
    let applied: Vec<_> = daemon.lines().filter(|line| line["message"] == "applied").collect();
    let by_commit = applied.iter().filter(|line| line["git.commit"] == *commit);
    let stores: std::collections::BTreeSet<_> = by_commit.map(|line| line["store.id"].to_string()).collect();
    assert_eq!(stores, [format!("\"{}\"", world.store("birch"))].into());
    assert!(daemon.metric("storekeeper_git_read_seconds_count") >= 2.0);
}

#[test]
fn a_fleet_that_cannot_be_read_in_whatever_way_freezes_and_prunes_nothing() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let checkout = &world.repository.checkout;
    let good = git(checkout, &["rev-parse", "HEAD"]);
    let fleet = checkout.join("storekeeper.yaml");
    let uid = || world.cluster.namespace(&world.namespace("acme")).unwrap()["metadata"]["uid"].clone();
    let before = uid();
    let breakages: [(&dyn Fn(), &str); 6] = [
        (
            &|| {
                fs::remove_file(&fleet).unwrap();
                std::os::unix::fs::symlink("elsewhere.yaml", &fleet).unwrap();
            },
            "a symbolic link",
        ),
        (&|| fs::rename(&fleet, checkout.join("storekeeper.yml")).unwrap(), "must be called"),
        (&|| fs::remove_file(&fleet).unwrap(), "has no `storekeeper.yaml`"),
        (
            &|| {
                let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
                fs::write(&fleet, pointer).unwrap();
            },
            "Git LFS",
        ),
        (&|| world.write_fleet("valueFiles: [values/gone.yaml]"), "valueFiles"),
        (
            &|| {
                fs::remove_dir_all(checkout.join("stores")).unwrap();
                fs::write(checkout.join("stores"), "no folder").unwrap();
            },
            "`stores` is a file",
        ),
    ];
    for (break_it, reason) in breakages {
        break_it();
        world.repository.push("break the fleet");
        until(&format!("frozen: {reason}"), || {
            daemon.fleet()["frozen"].as_str().filter(|shown| shown.contains(reason)).map(drop)
        });
        assert_eq!(daemon.fleet()["revision"], good, "{reason}");
        assert_eq!(daemon.store(&world.store("acme")).unwrap()["state"], "READY", "{reason}");
        // Put back to the commit that is in force already: nothing is new, and the freeze ends.
        git(checkout, &["reset", "--quiet", "--hard", &good]);
        git(checkout, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
        until_followed(&daemon, &good);
    }
    assert_eq!(uid(), before);
}
