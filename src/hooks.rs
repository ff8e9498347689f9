//! The edge where forges deliver webhooks. A delivery that is signed as agreed makes the daemon look at the repository now, and nothing
//! more: what is there is what the repository itself says. Its body is hashed as it comes and never read, so there is nothing
//! in it to parse, to keep or to believe; a delivery that comes twice makes one look more.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::metrics::{HookResult, Metrics};

/// The most bytes of a body: GitHub delivers none over 25 MB.
const BODY_MAX: u64 = 25 * 1024 * 1024;

/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The most deliveries at once.
const AT_ONCE: usize = 8;

/// The shortest secret in bytes: a shorter one could be found by trying.
const SECRET_MIN: usize = 16;

/// What a forge's deliveries look like.
struct Dialect {
    /// The last part of the path.
    name: &'static str,
    /// The header with the proof.
    proof: &'static str,
    /// What stands before the proof in its header.
    prefix: &'static str,
    /// Whether the proof is the secret itself; otherwise it is the body's HMAC-SHA-256 in hexadecimal digits.
    is_plain: bool,
    /// The header that names the event.
    event: &'static str,
}

const DIALECTS: [Dialect; 4] = [
    Dialect {
        name: "github",
        proof: "x-hub-signature-256",
        prefix: "sha256=",
        is_plain: false,
        event: "x-github-event",
    },
    Dialect { name: "gitlab", proof: "x-gitlab-token", prefix: "", is_plain: true, event: "x-gitlab-event" },
    Dialect {
        name: "gitea",
        proof: "x-gitea-signature",
        prefix: "",
        is_plain: false,
        event: "x-gitea-event",
    },
    Dialect {
        name: "bitbucket",
        proof: "x-hub-signature",
        prefix: "sha256=",
        is_plain: false,
        event: "x-event-key",
    },
];

/// Words in the names of events after which the repository may have moved.
const MOVING_EVENTS: [&str; 3] = ["push", "pull", "merge"];

/// What deliveries do.
pub struct Hooks {
    /// The file of the secret that forges sign with; it is read for each delivery, so that it may be replaced.
    pub secret_file: PathBuf,
    /// Makes the daemon look at the repository.
    pub look: Arc<dyn Fn() + Send + Sync>,
    /// Counts deliveries.
    pub metrics: Metrics,
}

/// Shared by all deliveries.
struct Reception {
    hooks: Hooks,
    places: Semaphore,
    arrivals: Mutex<Bucket>,
    looks: Mutex<Bucket>,
    /// How long a body may take to come.
    body_time: Duration,
}

/// Lets so many through at once, and so many a second from then on.
struct Bucket {
    most: f64,
    each_second: f64,
    level: f64,
    since: Instant,
    /// Whether somebody waits for the next drop.
    awaited: bool,
}

impl Bucket {
    fn new(most: f64, each_second: f64) -> Self {
        Self { most, each_second, level: most, since: Instant::now(), awaited: false }
    }

    /// Takes one out, or says how long until there is one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        self.level = (self.level + elapsed * self.each_second).min(self.most);
        self.since = now;
        if self.level >= 1.0 {
            self.level -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.level) / self.each_second))
        }
    }
}

/// Builds the routes for deliveries.
pub fn router(hooks: Hooks) -> Router {
    router_within(BODY_TIME, hooks)
}

fn router_within(body_time: Duration, hooks: Hooks) -> Router {
    let reception = Reception {
        hooks,
        places: Semaphore::new(AT_ONCE),
        arrivals: Mutex::new(Bucket::new(100.0, 20.0)),
        looks: Mutex::new(Bucket::new(50.0, 5.0)),
        body_time,
    };
    Router::new().route("/hooks/{forge}", post(receive)).with_state(Arc::new(reception))
}

async fn receive(
    State(reception): State<Arc<Reception>>,
    Path(forge): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (result, response) = match take(&reception, &forge, &headers, body).await {
        Ok(true) => {
            Reception::look(&reception);
            (HookResult::Accepted, (StatusCode::ACCEPTED, "looking at the repository\n").into_response())
        }
        Ok(false) => {
            (HookResult::Ignored, (StatusCode::OK, "nothing to do for this event\n").into_response())
        }
        Err((result, problem)) => {
            tracing::debug!(forge, "a delivery was refused");
            (result, problem)
        }
    };
    reception.hooks.metrics.hook_received(result);
    response
}

/// Takes a delivery and returns whether it asks for a look.
async fn take(
    reception: &Reception,
    forge: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<bool, (HookResult, Response)> {
    let refused =
        |status, detail: &str| (HookResult::Refused, (status, format!("{detail}\n")).into_response());
    let known = DIALECTS.iter().find(|dialect| dialect.name == forge);
    let dialect = known.ok_or_else(|| {
        refused(StatusCode::NOT_FOUND, "deliveries go to /hooks/github, gitlab, gitea or bitbucket")
    })?;
    let busy = |seconds: u64| {
        let (result, mut response) =
            refused(StatusCode::TOO_MANY_REQUESTS, "too many deliveries; come again later");
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        (result, response)
    };
    let arrival = reception.arrivals.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
    arrival.map_err(|wait| busy(wait.as_secs() + 1))?;
    let _place = reception.places.try_acquire().map_err(|_| busy(1))?;
    if body.size_hint().lower() > BODY_MAX {
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "a delivery has at most 25 MiB"));
    }
    let proof = headers.get(dialect.proof).and_then(|proof| proof.to_str().ok());
    let secret = std::fs::read_to_string(&reception.hooks.secret_file).unwrap_or_default();
    let secret = secret.trim();
    if secret.len() < SECRET_MIN {
        let path = reception.hooks.secret_file.display();
        tracing::error!(%path, "the secret for webhooks is missing, or has fewer than {SECRET_MIN} bytes: no delivery is taken");
        return Err(refused(StatusCode::SERVICE_UNAVAILABLE, "no secret is set up here"));
    }
    let digest = match timeout(reception.body_time, hash(secret.as_bytes(), body)).await {
        Ok(Ok(digest)) => digest,
        Ok(Err(Unread::TooLarge)) => {
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "a delivery has at most 25 MiB"));
        }
        Ok(Err(Unread::BrokenOff)) | Err(_) => {
            return Err(refused(StatusCode::REQUEST_TIMEOUT, "the delivery did not come whole"));
        }
    };
    if !proof.is_some_and(|proof| is_proven(dialect, proof, secret, &digest)) {
        let words = format!("{} does not prove that the sender knows the secret\n", dialect.proof);
        return Err((HookResult::Forged, (StatusCode::UNAUTHORIZED, words).into_response()));
    }
    let event = headers.get(dialect.event).and_then(|event| event.to_str().ok()).unwrap_or_default();
    let event = event.to_ascii_lowercase();
    Ok(MOVING_EVENTS.iter().any(|word| event.contains(word)))
}

impl Reception {
    /// Has the daemon look now, or a little later when it was made to look too often; never not at all.
    fn look(reception: &Arc<Self>) {
        let mut looks = reception.looks.lock().unwrap_or_else(PoisonError::into_inner);
        match looks.take(Instant::now()) {
            Ok(()) => (reception.hooks.look)(),
            Err(wait) if !looks.awaited => {
                looks.awaited = true;
                let reception = Arc::clone(reception);
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    reception.looks.lock().unwrap_or_else(PoisonError::into_inner).awaited = false;
                    (reception.hooks.look)();
                });
            }
            Err(_) => {}
        }
    }
}

enum Unread {
    TooLarge,
    BrokenOff,
}

/// Hashes a body with the secret while it comes; nothing of it is kept.
async fn hash(secret: &[u8], body: Body) -> Result<Vec<u8>, Unread> {
    let key = PKey::hmac(secret).map_err(|_| Unread::BrokenOff)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key).map_err(|_| Unread::BrokenOff)?;
    let mut body = pin!(body);
    let mut length = 0;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|_| Unread::BrokenOff)?;
        if let Some(bytes) = frame.data_ref() {
            length += bytes.len() as u64;
            if length > BODY_MAX {
                return Err(Unread::TooLarge);
            }
            signer.update(bytes).map_err(|_| Unread::BrokenOff)?;
        }
    }
    signer.sign_to_vec().map_err(|_| Unread::BrokenOff)
}

/// Whether a header proves that the sender knows the secret. How long that takes tells nothing about either.
fn is_proven(dialect: &Dialect, proof: &str, secret: &str, digest: &[u8]) -> bool {
    if dialect.is_plain {
        // Hashed first: what is compared has the same length whatever came.
        let (found, wanted) =
            (openssl::sha::sha256(proof.as_bytes()), openssl::sha::sha256(secret.as_bytes()));
        return openssl::memcmp::eq(&found, &wanted);
    }
    let Some(found) = proof.strip_prefix(dialect.prefix).and_then(from_hexadecimal) else { return false };
    openssl::memcmp::eq(&found, digest)
}

/// Reads the 64 hexadecimal digits of a SHA-256.
fn from_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    const SECRET: &str = "a secret of some length";

    struct Door {
        router: Router,
        looks: Arc<AtomicUsize>,
        metrics: Metrics,
        _folder: tempfile::TempDir,
    }

    impl Door {
        fn new(secret: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let secret_file = folder.path().join("secret");
            std::fs::write(&secret_file, format!("{secret}\n")).unwrap();
            let (looks, metrics) = (Arc::new(AtomicUsize::new(0)), Metrics::new());
            let counted = Arc::clone(&looks);
            let look = Arc::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            });
            let hooks = Hooks { secret_file, look, metrics: metrics.clone() };
            let router = router_within(Duration::from_millis(100), hooks);
            Self { router, looks, metrics, _folder: folder }
        }

        async fn knock(&self, forge: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> StatusCode {
            let mut request = Request::post(format!("/hooks/{forge}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(body.into()).unwrap();
            self.router.clone().oneshot(request).await.unwrap().status()
        }

        fn looks(&self) -> usize {
            self.looks.load(Ordering::SeqCst)
        }
    }

    fn signature(secret: &str, body: &str) -> String {
        let key = PKey::hmac(secret.as_bytes()).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        signer.update(body.as_bytes()).unwrap();
        signer.sign_to_vec().unwrap().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    #[tokio::test]
    async fn each_forges_proof_opens_and_no_other_does() {
        let body = r#"{"ref":"refs/heads/main"}"#;
        let (right, wrong) = (signature(SECRET, body), signature("another secret of that length", body));
        let prefixed = |digest: &str| format!("sha256={digest}");
        for (forge, header, event, right, wrong) in [
            ("github", "x-hub-signature-256", ("x-github-event", "push"), prefixed(&right), prefixed(&wrong)),
            ("gitea", "x-gitea-signature", ("x-gitea-event", "pull_request"), right.clone(), wrong.clone()),
            (
                "bitbucket",
                "x-hub-signature",
                ("x-event-key", "repo:push"),
                prefixed(&right),
                prefixed(&wrong),
            ),
            (
                "gitlab",
                "x-gitlab-token",
                ("x-gitlab-event", "Merge Request Hook"),
                SECRET.into(),
                "guess".into(),
            ),
        ] {
            let door = Door::new(SECRET);
            let knock = |proof: String| {
                let door = &door;
                async move { door.knock(forge, &[(header, &proof), event], body).await }
            };
            assert_eq!(knock(right.clone()).await, StatusCode::ACCEPTED, "{forge}");
            assert_eq!(door.looks(), 1, "{forge}");
            for bad in [
                wrong,
                String::new(),
                right[..right.len() - 1].to_owned(),
                format!("{right}0"),
                "sha1=00".into(),
            ] {
                assert_eq!(knock(bad.clone()).await, StatusCode::UNAUTHORIZED, "{forge} {bad}");
            }
            assert_eq!(door.knock(forge, &[event], body).await, StatusCode::UNAUTHORIZED, "{forge}");
            if forge != "gitlab" {
                let tampered = door.knock(forge, &[(header, &right), event], "{}").await;
                assert_eq!(tampered, StatusCode::UNAUTHORIZED, "{forge}");
            }
            assert_eq!(door.looks(), 1, "{forge}: only the first one was believed");
            let text = door.metrics.reader().encode();
            assert!(text.contains(r#"storekeeper_hooks_total{result="accepted"} 1"#), "{text}");
        }
    }

    #[tokio::test]
    async fn an_event_that_moves_nothing_asks_for_nothing() {
        let door = Door::new(SECRET);
        let proof = format!("sha256={}", signature(SECRET, "{}"));
        for event in ["ping", "status", "issues", ""] {
            let headers = [("x-hub-signature-256", proof.as_str()), ("x-github-event", event)];
            assert_eq!(door.knock("github", &headers, "{}").await, StatusCode::OK, "{event}");
        }
        assert_eq!(door.looks(), 0);
        assert_eq!(door.knock("sourceforge", &[], "{}").await, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_secret_that_could_be_guessed_opens_for_nobody() {
        for secret in ["", "short"] {
            let door = Door::new(secret);
            let headers = [("x-gitlab-token", secret), ("x-gitlab-event", "Push Hook")];
            assert_eq!(door.knock("gitlab", &headers, "{}").await, StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[tokio::test]
    async fn a_body_without_end_is_cut_off_without_being_kept() {
        let door = Door::new(SECRET);
        let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1 << 20]));
        let headers = [("x-hub-signature-256", "sha256=00"), ("x-github-event", "push")];
        let status = door.knock("github", &headers, Body::from_stream(endless)).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(door.looks(), 0);
    }

    #[tokio::test]
    async fn a_body_that_never_comes_is_not_waited_for() {
        let door = Door::new(SECRET);
        let silent = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let headers = [("x-hub-signature-256", "sha256=00"), ("x-github-event", "push")];
        let status = door.knock("github", &headers, Body::from_stream(silent)).await;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn a_flood_of_replays_makes_few_looks_and_the_last_one_is_not_lost() {
        let door = Door::new(SECRET);
        let proof = format!("sha256={}", signature(SECRET, "{}"));
        let headers = [("x-hub-signature-256", proof.as_str()), ("x-github-event", "push")];
        let mut taken = 0;
        for _ in 0..1000 {
            taken += usize::from(door.knock("github", &headers, "{}").await == StatusCode::ACCEPTED);
        }
        let at_once = door.looks();
        assert!(taken >= 100 && at_once >= 50 && at_once < taken, "{taken} taken, {at_once} looks");
        let late = async {
            while door.looks() == at_once {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), late)
            .await
            .expect("the deliveries that were taken are answered by a look more");
    }

    #[test]
    fn a_bucket_lets_so_many_through_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket { since: start, ..Bucket::new(3.0, 2.0) };
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert_eq!((0..5).filter(|_| bucket.take(at(0.0)).is_ok()).count(), 3);
        assert_eq!(bucket.take(at(0.25)), Err(Duration::from_millis(250)));
        assert_eq!(bucket.take(at(0.5)), Ok(()));
        assert_eq!((0..9).filter(|_| bucket.take(at(1000.0)).is_ok()).count(), 3, "it holds no more");
    }

    #[test]
    fn whatever_stands_in_a_header_is_a_proof_or_none() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let digest = [7; 32];
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let length = usize::try_from(state % 140).unwrap();
            let letter = |at: usize| {
                char::from_u32(u32::try_from(state.rotate_left(u32::try_from(at).unwrap()) % 0x250).unwrap())
            };
            let text: String = (0..length).map(|at| letter(at).unwrap_or('x')).collect();
            for dialect in &DIALECTS {
                assert!(!is_proven(dialect, &text, SECRET, &digest), "{text}");
            }
        }
        assert!(is_proven(&DIALECTS[2], &"07".repeat(32), SECRET, &digest));
    }
}
