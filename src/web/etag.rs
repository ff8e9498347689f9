//! Says whether a reader has an answer already, and packs what is sent often.

use std::io::Write as _;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// The longest answer that gets a tag; none that is made here is longer.
const LONGEST: usize = 64 << 20;

/// Names a content. Weak, because the same content may be sent packed or not.
pub(super) fn of(content: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(content);
    let digits = digest.iter().take(12).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    HeaderValue::try_from(format!("W/\"{digits}\"")).expect("hexadecimal digits are fit for a header")
}

/// Whether the reader has that content.
pub(super) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let (Some(known), Ok(tag)) = (text(headers, header::IF_NONE_MATCH), tag.to_str()) else { return false };
    let strong = |it: &str| it.trim().trim_start_matches("W/").to_owned();
    known.split(',').any(|it| it.trim() == "*" || strong(it) == strong(tag))
}

/// Whether the reader understands gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let Some(accepted) = text(headers, header::ACCEPT_ENCODING) else { return false };
    accepted.split(',').any(|it| {
        let mut parts = it.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused =
            parts.any(|part| matches!(part.strip_prefix("q="), Some("0" | "0.0" | "0.00" | "0.000")));
        is_gzip && !refused
    })
}

/// Packs a content with gzip.
pub(super) fn pack(content: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(content).and_then(|()| packer.finish()).expect("memory takes every write")
}

/// Gives an answer its tag, or leaves it out for whoever has it.
pub(super) async fn tag(request: Request, next: Next) -> Response {
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let response = next.run(request).await;
    let is_tagged = response.headers().contains_key(header::ETAG);
    if !(method == Method::GET || method == Method::HEAD) || response.status() != StatusCode::OK || is_tagged
    {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(content) = to_bytes(body, LONGEST).await else {
        parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        return Response::from_parts(parts, Body::empty());
    };
    let tag = of(&content);
    parts.headers.insert(header::ETAG, tag.clone());
    if is_known(&headers, &tag) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(content))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_reader_who_has_the_content_is_recognised() {
        let tag = of(b"a");
        assert_ne!(tag, of(b"b"));
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag.clone())]);
        assert!(is_known(&known, &tag) && !is_known(&known, &of(b"b")));
        assert!(is_known(&headers(header::IF_NONE_MATCH, "\"x\", *"), &tag));
        assert!(!is_known(&HeaderMap::new(), &tag));
    }

    #[test]
    fn gzip_goes_to_those_who_ask_for_it() {
        for (accepted, takes) in
            [("gzip", true), ("br, GZIP;q=0.5", true), ("gzip;q=0", false), ("identity", false), ("", false)]
        {
            assert_eq!(takes_gzip(&headers(header::ACCEPT_ENCODING, accepted)), takes, "{accepted}");
        }
    }
}
