//! An admission webhook on the loopback interface that denies what a test says, in words that quote what was sent.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::ssl::{SslAcceptor, SslMethod};
use serde_json::{Value, json};

use crate::common::World;
use crate::common::policies::ClusterScoped;
use crate::git_server::Identity;

/// What it does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Denies it and quotes the value at this path of the object.
    Denies(&'static str),
    /// Ends the connection.
    HangsUp,
    /// Never answers.
    Hangs,
    /// Lets it pass.
    Allows,
}

/// A webhook that runs until the test ends.
pub struct Webhook {
    address: String,
    authority: String,
    mood: Arc<Mutex<Mood>>,
}

impl Webhook {
    pub fn start(mood: Mood) -> Self {
        let identity = Identity::new("webhook", None, true, &["127.0.0.1"], 30);
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&identity.certificate).unwrap();
        acceptor.set_private_key(&identity.key).unwrap();
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mood = Arc::new(Mutex::new(mood));
        let moods = Arc::clone(&mood);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (acceptor, mood) = (acceptor.clone(), Arc::clone(&moods));
                // A server that goes away in the middle is nobody's loss.
                thread::spawn(move || serve(stream?, &acceptor, &mood));
            }
        });
        Self { address, authority: STANDARD.encode(identity.certificate.to_pem().unwrap()), mood }
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Has the API server ask it about a kind in this world's stores.
    pub fn guard<'a>(&self, world: &'a World, (group, resource): (&str, &str)) -> ClusterScoped<'a> {
        let rule = json!({"apiGroups": [group], "apiVersions": ["*"], "resources": [resource],
            "operations": ["CREATE", "UPDATE"]});
        let name = format!("{}.{resource}.example.com", world.prefix);
        let client = json!({"url": format!("https://{}/", self.address), "caBundle": self.authority});
        let ours = json!({"matchLabels": {"storekeeper.dev/source": world.source}});
        let webhook = json!({"name": name, "rules": [rule], "clientConfig": client, "namespaceSelector": ours,
            "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 1, "admissionReviewVersions": ["v1"]});
        let body = json!({"metadata": {"name": name}, "webhooks": [webhook]});
        let api = "admissionregistration.k8s.io/v1";
        ClusterScoped::new(world, api, "ValidatingWebhookConfiguration", body)
    }
}

fn serve(stream: TcpStream, acceptor: &SslAcceptor, mood: &Mutex<Mood>) -> std::io::Result<()> {
    let Ok(stream) = acceptor.accept(stream) else { return Ok(()) };
    let mut stream = BufReader::new(stream);
    while let Some(review) = read(&mut stream)? {
        let mood = *mood.lock().unwrap();
        let answer = match mood {
            Mood::HangsUp => return Ok(()),
            Mood::Hangs => {
                thread::sleep(Duration::from_secs(30));
                return Ok(());
            }
            Mood::Allows => json!({"allowed": true}),
            Mood::Denies(path) => {
                let quoted = review["request"]["object"].pointer(path).and_then(Value::as_str);
                let message = format!("not here: {}", quoted.unwrap_or("nothing"));
                json!({"allowed": false, "status": {"code": 403, "message": message}})
            }
        };
        let mut answer =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer});
        answer["response"]["uid"] = review["request"]["uid"].clone();
        let body = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
    }
    Ok(())
}

/// Reads one request's body; none when the connection has ended.
fn read(stream: &mut impl BufRead) -> std::io::Result<Option<Value>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body).unwrap()))
}
