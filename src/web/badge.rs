//! A badge with a store's state, for a README or a wiki.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::WebState;
use super::pages::view::StateView;
use super::problem::{Body, Problem};
use crate::names::StoreId;

/// How wide a character is, in tenths of a pixel: a little more than the average of the letters used.
const CHARACTER: usize = 68;

#[derive(askama::Template)]
#[template(path = "badge.svg", escape = "html")]
struct Badge<'a> {
    name: &'a str,
    state: StateView,
    name_width: usize,
    state_width: usize,
}

/// Draws a badge with a store's state. One of a store that is not known says so, with status 200, because pages show it as a
/// picture.
#[utoipa::path(
    get, path = "/badge/{name}.svg", tag = "stores", params(("name" = String, Path, description = "The store's name")),
    responses(
        (status = 200, body = String, content_type = "image/svg+xml"),
        (status = 404, description = "No store can have that name", body = Body, content_type = "application/problem+json"),
    )
)]
pub(super) async fn badge(
    State(state): State<WebState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(file) = name.map_err(|error| Problem::not_found(error.body_text()))?;
    let name = file.strip_suffix(".svg").unwrap_or_default();
    let id: StoreId = name.parse().map_err(|error| {
        Problem::not_found(format!(
            "a badge is at /badge/<store>.svg, and no store can have this name: {error}"
        ))
    })?;
    let found = state.board.read(|picture| picture.stores.get(&id).map(|store| store.state));
    let state = found.map_or(StateView::UNKNOWN, StateView::of);
    let width = |text: &str| (text.chars().count() * CHARACTER).div_ceil(10) + 12;
    let badge = Badge { name, state_width: width(state.word), name_width: width(name), state };
    let svg = askama::Template::render(&badge).map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"))], svg).into_response())
}
