//! The OpenAPI 3.1 description of `/api/v1`, made from the code.

use std::sync::LazyLock;

use serde_json::Value;
use utoipa::OpenApi;

use super::{events, list, stream};

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "storekeeper",
        version = "1",
        description = "Where every store of the fleet is, what happened and what would. It can only be read: changes go through git.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        super::fleet, list::stores, super::store, super::inside, events::of_store, events::all, super::commits, super::commit,
        super::plans, super::plan, crate::web::pages::new::check, stream::stream, super::summary, crate::web::badge::badge,
    ),
    tags(
        (name = "fleet", description = "The fleet as a whole."),
        (name = "stores", description = "Its stores."),
        (name = "events", description = "What happened, and what happens."),
        (name = "commits", description = "What became of commits."),
        (name = "plans", description = "What pull requests would do."),
    )
)]
struct Description;

/// The description as JSON.
pub(in crate::web) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::to_value(Description::openapi()).expect("a description of constants can be written")
});

/// Returns the description.
pub(in crate::web) fn document() -> Value {
    DOCUMENT.clone()
}
