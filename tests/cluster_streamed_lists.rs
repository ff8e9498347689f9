//! The daemon starts also where the API server, or what stands before it, can't stream lists.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::World;
use common::api_proxy::{ApiProxy, Call, Fault, Rule};

#[test]
fn a_server_that_fails_at_streamed_lists_in_unknown_words_is_asked_for_pages() {
    let world = World::new();
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 1);
    let namespaces = |call: &Call| call.is_streamed_list() && call.path == "/api/v1/namespaces";
    proxy.add(Rule::new(Fault::status(500, "InternalError", "etcd says no"), namespaces));
    let daemon = world.start_small_on(&proxy.kubeconfig);
    world.until_state(&daemon, "acme", "READY");
}
