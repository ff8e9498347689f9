//! What the door lets in, tried at its routes.

use axum::body::Body;
use axum::routing::get;
use tower::ServiceExt as _;

use super::*;
use crate::metrics::Metrics;

fn settings() -> DoorSettings {
    DoorSettings {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        login: LoginSettings::default(),
        rate_per_client: NonZeroU32::new(1),
        rate_total: None,
        meter: Metrics::new().door(),
    }
}

fn routes() -> Router {
    let stream = || {
        get(async || {
            let body = Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>());
            ([(header::CONTENT_TYPE, "text/event-stream")], body)
        })
    };
    let seen = get(async |request: Request| {
        let visitor = request.extensions().get::<Visitor>().unwrap();
        format!("{} {:?}", visitor.address, visitor.user)
    });
    Router::new()
        .route("/", get(async || "page"))
        .route("/api/v1/seen", seen)
        .route("/api/v1/events", stream())
        .route("/healthz", get(async || "ok"))
        .route("/hooks/github", axum::routing::post(async || "hook"))
}

async fn ask(door: &Door, peer: &str, request: axum::http::request::Builder) -> Response {
    ask_with(door, peer, request.body(Body::empty()).unwrap()).await
}

async fn ask_with(door: &Door, peer: &str, mut request: Request) -> Response {
    let connection = Connection::default();
    request.extensions_mut().insert(Peer { address: peer.parse().unwrap(), connection });
    door.guard(routes()).oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn get_of(path: &str) -> axum::http::request::Builder {
    axum::http::Request::get(path)
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_again_and_probes_and_hooks_are_not_in_its_way() {
    let door = Door::new(settings());
    for left in (0..4).rev() {
        let answer = ask(&door, "192.0.2.1", get_of("/")).await;
        assert_eq!(answer.headers()["ratelimit"], format!("\"client\";r={left};t={}", 4 - left));
    }
    let answer = ask(&door, "192.0.2.1", get_of("/")).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
    assert_eq!(answer.headers()["ratelimit-policy"], "\"client\";q=4;w=4");
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    assert!(answer.headers().contains_key(header::CONTENT_SECURITY_POLICY));
    assert_eq!(ask(&door, "192.0.2.2", get_of("/")).await.status(), StatusCode::OK, "another client");
    for _ in 0..10 {
        assert_eq!(ask(&door, "192.0.2.1", get_of("/healthz")).await.status(), StatusCode::OK);
    }
    // Behind a proxy each client has a rate of its own.
    let through = |client: &str| get_of("/api/v1/seen").header("x-forwarded-for", client);
    for client in 1..20 {
        let client = format!("192.0.2.{}", client + 100);
        let answer = ask(&door, "10.0.0.1", through(&client)).await;
        assert_eq!(text(answer).await, format!("{client} None"));
    }
}

#[tokio::test]
async fn all_together_ask_so_often_and_deliveries_come_all_the_same() {
    let door =
        Door::new(DoorSettings { rate_per_client: None, rate_total: NonZeroU32::new(1), ..settings() });
    for client in 1..=4 {
        assert_eq!(ask(&door, &format!("192.0.2.{client}"), get_of("/")).await.status(), StatusCode::OK);
    }
    let answer = ask(&door, "192.0.2.5", get_of("/")).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(text(answer).await.contains("all clients together"));
    let delivery = axum::http::Request::post("/hooks/github");
    assert_eq!(ask(&door, "192.0.2.5", delivery).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn who_has_no_login_reads_nothing_but_probes_and_is_told_how() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "a-token-of-20-bytes!").unwrap();
    let login = LoginSettings { token_file: Some(path), header: Some("x-forwarded-user".parse().unwrap()) };
    let door = Door::new(DoorSettings { login, rate_per_client: None, ..settings() });
    for path in [
        "/",
        "/api/v1/seen",
        "/metrics",
        "/nothing",
        "/healthz2",
        "//healthz",
        "/healthz/x",
        "/hooks",
        "/hooks/a/b",
        "/hooks2",
    ] {
        let answer = ask(&door, "192.0.2.1", get_of(path)).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"storekeeper\"");
    }
    for (path, status) in [("/healthz", 200), ("/readyz", 404), ("/hooks/github", 405)] {
        assert_eq!(ask(&door, "192.0.2.1", get_of(path)).await.status(), status, "{path}");
    }
    let page = ask(&door, "192.0.2.1", get_of("/").header("accept", "text/html")).await;
    assert!(text(page).await.contains("You are not logged in"));
    let by_token = get_of("/").header("authorization", "Bearer a-token-of-20-bytes!");
    assert_eq!(ask(&door, "192.0.2.1", by_token).await.status(), StatusCode::OK);
    let named = || get_of("/api/v1/seen").header("x-forwarded-user", "ada");
    assert_eq!(
        ask(&door, "192.0.2.1", named()).await.status(),
        StatusCode::UNAUTHORIZED,
        "anybody may say so"
    );
    let answer = ask(&door, "10.0.0.1", named().header("x-forwarded-for", "192.0.2.1")).await;
    assert_eq!(text(answer).await, "192.0.2.1 Some(\"ada\")");
}

#[tokio::test]
async fn long_paths_and_bodies_are_refused() {
    let door = Door::new(DoorSettings { rate_per_client: None, ..settings() });
    let long = format!("/?q={}", "x".repeat(PATH_MAX));
    assert_eq!(ask(&door, "192.0.2.1", get_of(&long)).await.status(), StatusCode::URI_TOO_LONG);
    let fitting = format!("/?q={}", "x".repeat(PATH_MAX - 4));
    assert_eq!(ask(&door, "192.0.2.1", get_of(&fitting)).await.status(), StatusCode::OK);
    let with_body = |bytes: usize| get_of("/").body(Body::from("x".repeat(bytes))).unwrap();
    assert_eq!(ask_with(&door, "192.0.2.1", with_body(8 * 1024)).await.status(), StatusCode::OK);
    let answer = ask_with(&door, "192.0.2.1", with_body(8 * 1024 + 1)).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let endless = Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>());
    let answer = ask_with(&door, "192.0.2.1", get_of("/").body(endless).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "nobody knows how much comes");
    let delivery = axum::http::Request::post("/hooks/github").body(Body::from("x".repeat(100_000))).unwrap();
    assert_eq!(ask_with(&door, "192.0.2.1", delivery).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn streams_are_few_and_one_that_ends_makes_room() {
    let metrics = Metrics::new();
    let door = Door::new(DoorSettings { rate_per_client: None, meter: metrics.door(), ..settings() });
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(ask(&door, "192.0.2.1", get_of("/api/v1/events")).await);
    }
    let refused = ask(&door, "192.0.2.1", get_of("/api/v1/events")).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "30");
    for client in 0..94 {
        let address = format!("192.0.2.{}", 10 + client);
        held.push(ask(&door, &address, get_of("/api/v1/events")).await);
        assert_eq!(held.last().unwrap().status(), StatusCode::OK);
    }
    let shown = |name: &str, value: &str| metrics.reader().encode().contains(&format!("{name} {value}\n"));
    assert!(shown("storekeeper_http_streams", "100"));
    let refused = ask(&door, "198.51.100.1", get_of("/api/v1/events")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(held.pop());
    assert_eq!(ask(&door, "198.51.100.1", get_of("/api/v1/events")).await.status(), StatusCode::OK);
    assert!(shown("storekeeper_http_refused_total{why=\"streams_client\"}", "1"));
    assert!(shown("storekeeper_http_refused_total{why=\"streams_all\"}", "1"));
    assert!(shown("storekeeper_http_requests_total{code=\"2xx\",route=\"stream\"}", "101"));
    drop(held);
    assert!(shown("storekeeper_http_streams", "0"));
}
