//! A webhook reaches one replica, whichever the Service chose, and all of them look at the repository.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/hooks.rs"]
mod hooks;
#[path = "common/replicas.rs"]
mod replicas;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{World, until};
use git_server::{Answer, Identity, Server};
use replicas::{Replica, Replicas, until_at};

const SECRET: &str = "a secret of some length";

/// How long a store may take from the webhook on: nobody looks by himself within an hour.
const SOON: Duration = Duration::from_secs(10);

/// Starts two replicas, of which the first leads. The repository is behind a wire, so that nobody sees a push by itself.
fn start<'a>(world: &'a World, replicas: &Replicas<'a>) -> (Server, [Replica; 2]) {
    let folder = world.folder.path();
    let authority = Identity::new("Test CA", None, true, &[], 30);
    let identity = Identity::new("localhost", Some(&authority), false, &["localhost"], 30);
    let (ca_file, secret_file) = (folder.join("ca.pem"), folder.join("secret"));
    authority.write_pem(&ca_file);
    std::fs::write(&secret_file, SECRET).unwrap();
    let server = Server::start(&identity, &[], Answer::Git { root: folder.to_owned(), token: None });
    let url = format!("https://localhost:{}/fleet.git", server.port);
    let more = [
        ["--poll-seconds", "3600"],
        ["--git-ca-file", ca_file.to_str().unwrap()],
        ["--hook-secret-file", secret_file.to_str().unwrap()],
    ];
    let start = |identity| {
        let replica = replicas.start_with(identity, &url, &more.concat());
        until("it has looked", || replica.daemon.fleet()["revision"].as_str().map(|_| ()));
        replica
    };
    (server, ["first", "second"].map(start))
}

/// Delivers a push as a forge does, and returns the status of the answer.
fn deliver(replica: &Replica, secret: &str) -> u16 {
    let (body, address) = ("{}", &replica.daemon.address);
    let signature = hooks::signature(secret, body.as_bytes());
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST /hooks/gitea HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nX-Gitea-Event: push\r\n\
         X-Gitea-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// When it wrote on its Lease.
fn renewals(replica: &Replica) -> Vec<Instant> {
    let seen = replica.proxy.seen();
    let ours = seen.iter().filter(|seen| seen.call.is_write() && seen.call.path.contains("/leases/"));
    ours.map(|seen| seen.at).collect()
}

#[test]
fn a_push_that_is_told_to_a_follower_is_carried_out_by_the_leader_at_once() {
    let world = World::new();
    world.repository.push("nothing yet");
    let replicas = Replicas::new(&world, "leader");
    let (_server, [first, second]) = start(&world, &replicas);
    world.write_store("acme", "Acme");
    let commit = world.repository.push("acme");
    let begun = Instant::now();
    assert_eq!(deliver(&second, SECRET), 202);
    until_at(&first, &world, "acme", &commit);
    println!("told to the follower, READY {:.1} s later", begun.elapsed().as_secs_f64());
    assert!(begun.elapsed() < SOON, "the leader heard of it too late");
    assert_eq!(second.writes(), []);

    // The other way round: who looks on shows what is in force.
    world.write_store("brew", "Brew");
    let commit = world.repository.push("brew");
    let begun = Instant::now();
    assert_eq!(deliver(&first, SECRET), 202);
    until("the follower follows", || (second.daemon.fleet()["revision"] == commit).then_some(()));
    assert!(begun.elapsed() < SOON, "the follower heard of it too late");
}

#[test]
fn a_flood_of_webhooks_costs_one_write_a_second_and_forged_ones_cost_none() {
    let world = World::new();
    world.repository.push("nothing yet");
    let replicas = Replicas::new(&world, "leader");
    let (_server, [first, second]) = start(&world, &replicas);
    let flood = Instant::now();
    for _ in 0..40 {
        assert_eq!(deliver(&second, SECRET), 202);
        std::thread::sleep(Duration::from_millis(100));
    }
    until("the leader heard of it", || {
        first.daemon.lines().find(|line| line["message"] == "another replica was told of a push")
    });
    let seconds = flood.elapsed().as_secs();
    let written = renewals(&second).into_iter().filter(|at| *at >= flood).count() as u64;
    println!("40 deliveries in {seconds} s: {written} writes");
    // Its Lease is renewed anyway, three times in its duration.
    assert!((2..=seconds + 2).contains(&written), "{written} writes in {seconds} s");

    let told = || {
        let lines = first.daemon.lines();
        lines.filter(|line| line["message"] == "another replica was told of a push").count()
    };
    std::thread::sleep(Duration::from_secs(2));
    let before = told();
    assert_eq!(deliver(&second, "another secret of some length"), 401);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(told(), before, "nobody is woken by who does not know the secret");
}
