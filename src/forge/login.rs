//! Who storekeeper is on a forge: a token from a file, or a GitHub App that gets tokens for an hour.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::error::ForgeError;
use super::secret::{self, Secret};
use super::settings::{ForgeKind, ForgeSettings, Login};
use super::wire::{Answer, Call, Wire};

/// How long before its end an installation's token is replaced: a call may take its time.
const SPARE_SECONDS: i64 = 300;

/// How far back a JWT is dated, for clocks that differ.
const JWT_BACK_SECONDS: i64 = 60;

/// How long a JWT holds from now. GitHub takes ten minutes at most.
const JWT_SECONDS: i64 = 540;

/// A login that is ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    pub(super) secret: Secret,
    pub(super) header: HeaderValue,
}

/// Logs in, and remembers what it got for that.
pub(super) struct Account {
    kind: ForgeKind,
    login: Login,
    /// Owner and name, where an App looks for its installation.
    repository: Vec<String>,
    installation: Mutex<Option<Installed>>,
}

struct Installed {
    pass: Pass,
    ends: i64,
}

impl Account {
    /// Checks the login's form; reads no file.
    pub(super) fn new(settings: &ForgeSettings) -> Result<Self, ForgeError> {
        if let Login::App { id, .. } = &settings.login {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            if settings.kind != ForgeKind::GitHub {
                return Err(unusable(format!("only GitHub has Apps: {} needs a token", settings.kind)));
            }
            if id.is_empty() || !id.bytes().all(inner) {
                return Err(unusable(
                    "the App's id is its number or client id, as its page shows it".to_owned(),
                ));
            }
        }
        Ok(Self {
            kind: settings.kind,
            login: settings.login.clone(),
            repository: settings.repository()?,
            installation: Mutex::new(None),
        })
    }

    /// Tells whether it is an App.
    pub(super) fn is_app(&self) -> bool {
        matches!(self.login, Login::App { .. })
    }

    /// Returns the login for calls about the repository.
    pub(super) async fn pass(&self, wire: &Wire, act: &str) -> Result<Pass, ForgeError> {
        match &self.login {
            Login::Token { file } => {
                let secret = Secret::read(file)?;
                let basic = self.kind == ForgeKind::Bitbucket && secret.has_user();
                let header = if basic { secret.basic() } else { secret.bearer() };
                Ok(Pass { secret, header })
            }
            Login::App { .. } => self.installation_pass(wire, act).await,
        }
    }

    /// Forgets a token that was refused, unless another one has taken its place already.
    pub(super) async fn refused(&self, pass: &Pass) {
        let mut installed = self.installation.lock().await;
        if installed.as_ref().is_some_and(|installed| installed.pass.secret == pass.secret) {
            *installed = None;
        }
    }

    /// Asks who the App is: its name in user names.
    pub(super) async fn app_slug(&self, wire: &Wire, act: &str) -> Result<String, ForgeError> {
        let App { slug } = self.as_app(wire, Call::get(act, &["app"])).await?.json()?;
        Ok(slug)
    }

    async fn installation_pass(&self, wire: &Wire, act: &str) -> Result<Pass, ForgeError> {
        // Held over the requests: many calls at once need one token.
        let mut installed = self.installation.lock().await;
        if let Some(Installed { pass, ends }) = installed.as_ref()
            && wire.now() < ends - SPARE_SECONDS
        {
            return Ok(pass.clone());
        }
        let [owner, name] = self.repository.as_slice() else {
            return Err(unusable("an App needs a repository `owner/name`".to_owned()));
        };
        let look = Call::get(act, &["repos", owner, name, "installation"]);
        let Installation { id } = self.as_app(wire, look).await?.json()?;
        let ask = Call::new(act, Method::POST, &["app", "installations", &id.to_string(), "access_tokens"]);
        let answer = self.as_app(wire, ask.body(json!({ "repositories": [name] }))).await?;
        let Token { token, expires_at } = answer.json()?;
        let ends = expires_at.parse::<Timestamp>().map_or(0, Timestamp::as_second);
        let secret = Secret::new(&token, "the forge's answer")?;
        let pass = Pass { header: secret.bearer(), secret };
        *installed = Some(Installed { pass: pass.clone(), ends });
        Ok(pass)
    }

    /// Sends a request as the App itself.
    async fn as_app(&self, wire: &Wire, call: Call) -> Result<Answer, ForgeError> {
        let Login::App { id, key_file } = &self.login else {
            return Err(unusable("a token is no App".to_owned()));
        };
        let key = private_key(key_file)?;
        let unsigned = |error: ErrorStack| unusable(format!("sign with {}: {error}", key_file.display()));
        let secret = Secret::new(&jwt(id, &key, wire.now()).map_err(unsigned)?, "the App's login")?;
        wire.send(call, &secret.bearer(), &secret).await
    }
}

#[derive(Deserialize)]
struct App {
    slug: String,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

#[derive(Deserialize)]
struct Token {
    token: String,
    expires_at: String,
}

fn unusable(reason: String) -> ForgeError {
    ForgeError::Settings { reason }
}

fn private_key(path: &Path) -> Result<PKey<Private>, ForgeError> {
    let key = PKey::private_key_from_pem(&secret::read(path)?).ok();
    key.filter(|key| key.id() == Id::RSA).ok_or_else(|| {
        unusable(format!("{} holds no RSA key in PEM, as GitHub makes one for an App", path.display()))
    })
}

/// Makes the JSON Web Token that proves to GitHub that an App asks.
fn jwt(id: &str, key: &PKey<Private>, now: i64) -> Result<String, ErrorStack> {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    // Older servers take the number of an App as a number only; a client id is a text.
    let issuer = id.parse::<u64>().map_or_else(|_| Value::from(id), Value::from);
    let claims = json!({ "iat": now - JWT_BACK_SECONDS, "exp": now + JWT_SECONDS, "iss": issuer });
    let text = format!("{}.{}", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims));
    let mut signer = Signer::new(MessageDigest::sha256(), key)?;
    let signature = signer.sign_oneshot_to_vec(text.as_bytes())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use openssl::rsa::Rsa;

    use super::*;

    #[test]
    fn the_number_of_an_app_is_a_number_and_its_client_id_a_text() {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        for (id, issuer) in [("12345", json!(12345)), ("Iv23li", json!("Iv23li"))] {
            let token = jwt(id, &key, 1_000).unwrap();
            let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            assert_eq!(claims, json!({ "iat": 940, "exp": 1540, "iss": issuer }));
        }
    }

    #[test]
    fn only_github_has_apps_and_their_ids_are_words() {
        let settings = |kind, id: &str| ForgeSettings {
            kind,
            api: Some("https://git.example.com".to_owned()),
            repository: "acme/stores".to_owned(),
            login: Login::App { id: id.to_owned(), key_file: "/run/key".into() },
            ca_file: None,
            timeout: super::super::DEFAULT_TIMEOUT,
            cluster: None,
        };
        assert!(Account::new(&settings(ForgeKind::GitHub, "Iv23.li-x_1")).is_ok());
        for (kind, id) in [(ForgeKind::Gitea, "1"), (ForgeKind::GitHub, ""), (ForgeKind::GitHub, "a b")] {
            assert!(Account::new(&settings(kind, id)).is_err(), "{kind} {id:?}");
        }
    }
}
