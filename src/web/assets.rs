//! The style sheet, the script and the icon. Their names carry a hash of their content, so browsers keep them for ever and never
//! use an old one.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::WebState;
use super::problem::Problem;

/// A file that pages need.
pub(super) struct Asset {
    stem: &'static str,
    extension: &'static str,
    kind: &'static str,
    content: &'static str,
    name: LazyLock<String>,
}

/// How the pages look.
pub(super) static STYLE: Asset = Asset {
    stem: "style",
    extension: "css",
    kind: "text/css; charset=utf-8",
    content: include_str!("assets/style.css"),
    name: LazyLock::new(|| STYLE.hashed()),
};

/// What keeps them up to date.
pub(super) static SCRIPT: Asset = Asset {
    stem: "live",
    extension: "js",
    kind: "text/javascript; charset=utf-8",
    content: include_str!("assets/live.js"),
    name: LazyLock::new(|| SCRIPT.hashed()),
};

/// The icon in the browser's tab.
static ICON: Asset = Asset {
    stem: "icon",
    extension: "svg",
    kind: "image/svg+xml",
    content: include_str!("assets/icon.svg"),
    name: LazyLock::new(|| "icon.svg".to_owned()),
};

/// What a browser may do with a page: show it with its own style sheet, script and pictures, and ask its own origin.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

impl Asset {
    /// Returns the file's name, with the hash of its content in it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn hashed(&self) -> String {
        let digest = Sha256::digest(self.content);
        let digits = digest.iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        format!("{}-{digits}.{}", self.stem, self.extension)
    }
}

/// Builds the routes.
pub(super) fn routes() -> Router<WebState> {
    Router::new().route("/assets/{name}", get(asset)).route("/favicon.ico", get(async || send(&ICON)))
}

async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let found = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.name() == name);
    let gone = || Problem::not_found("this file belongs to another version; load the page again".to_owned());
    found.map(send).ok_or_else(gone)
}

fn send(asset: &'static Asset) -> Response {
    let kept = if asset.name().contains('-') {
        "public, max-age=31536000, immutable"
    } else {
        "public, max-age=86400"
    };
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(kept)),
    ];
    (headers, asset.content).into_response()
}
