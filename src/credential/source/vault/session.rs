//! Vault's own token: how it is come by, and how it is kept alive.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::document::wipe;
use super::client::{Client, Question, VaultError};
use super::variable;
use crate::secret::Secret;

/// A client with the token that it asks with.
pub(super) struct Session {
    pub(super) client: Client,
    /// None where an agent in between adds one.
    token: Option<Secret>,
    /// Whether another can be had by logging in.
    logged_in: bool,
    lease: Mutex<Lease>,
}

/// How long a token is good.
#[derive(Clone, Copy)]
struct Lease {
    renewable: bool,
    /// How long it was at first, in seconds.
    length: u64,
    /// When two thirds of it are over; `None` where it does not end.
    due: Option<Instant>,
}

impl Lease {
    /// Of so many seconds from now; 0 is without end.
    fn new(length: u64, renewable: bool) -> Self {
        let due = (length > 0).then(|| Instant::now() + Duration::from_secs(length) * 2 / 3);
        Self { renewable, length, due }
    }
}

/// What Vault says of a token, both on login and when it is looked up.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    client_token: String,
    #[serde(alias = "ttl", default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct Answer {
    /// To a login or a renewal.
    auth: Option<Token>,
    /// To a look-up.
    data: Option<Token>,
}

impl Session {
    /// A token from the environment, or from a login: AppRole where `VAULT_ROLE_ID` is set, Kubernetes where
    /// `VAULT_ROLE` is, else `VAULT_TOKEN` or the file that `VAULT_TOKEN_FILE` names (an agent's sink). None of
    /// them is right too: an agent may add its own.
    pub(super) async fn open() -> Result<Self, VaultError> {
        let client = Client::from_environment()?;
        let (method, body) = match (variable("ROLE_ID"), variable("ROLE")) {
            (Some(role), _) => {
                let secret = secret_of("SECRET_ID")?;
                ("approle", json(&[("role_id", &role), ("secret_id", expose(secret.as_ref()))]))
            }
            (None, Some(role)) => {
                let path = variable("JWT_FILE").map_or_else(|| SERVICE_ACCOUNT.to_owned(), |path| (*path).clone());
                let jwt = read(Path::new(&path))?;
                ("kubernetes", json(&[("role", &role), ("jwt", expose(Some(&jwt)))]))
            }
            (None, None) => return Self::with_token(client, secret_of("TOKEN")?).await,
        };
        let mount = variable("AUTH_MOUNT").map_or_else(|| method.to_owned(), |mount| (*mount).clone());
        let answer = client.ask(Question::post(&format!("auth/{mount}/login"), None, body)).await;
        let token = parse(answer.map_err(|error| VaultError::Login(format!("{method}: {error}")))?)?;
        let lease = Mutex::new(Lease::new(token.lease_duration, token.renewable));
        let token = secret(token.client_token.into_bytes().into(), "its answer")?;
        Ok(Self { client, token: Some(token), logged_in: true, lease })
    }

    async fn with_token(client: Client, token: Option<Secret>) -> Result<Self, VaultError> {
        let mut lease = Lease::new(0, false);
        if token.is_some() {
            // A token need not be allowed to look at itself; it is then used for as long as it is good.
            match client.ask(Question::get("auth/token/lookup-self", token.as_ref())).await {
                Ok(answer) => {
                    let about = parse(answer)?;
                    lease = Lease::new(about.lease_duration, about.renewable);
                }
                Err(VaultError::Denied(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { client, token, logged_in: false, lease: Mutex::new(lease) })
    }

    pub(super) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Whether a new one may fare better after a refusal: by another login, or with what the file says by now.
    pub(super) fn can_be_replaced(&self) -> bool {
        self.logged_in || variable("TOKEN_FILE").is_some()
    }

    /// When the token must be looked after; never, where it does not end.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lease().due
    }

    /// Makes the token last longer.
    ///
    /// # Errors
    /// Where it cannot: a new session is needed.
    pub(super) async fn renew(&self) -> Result<(), VaultError> {
        if !self.lease().renewable {
            return Err(VaultError::Login("its token cannot be renewed".to_owned()));
        }
        let question = Question::post("auth/token/renew-self", self.token(), Zeroizing::new("{}".to_owned()));
        let renewed = parse(self.client.ask(question).await?)?;
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        // Towards the end of its longest life a token is renewed by ever less.
        if renewed.lease_duration < lease.length / 2 {
            return Err(VaultError::Login("its token nears the end of its longest life".to_owned()));
        }
        *lease = Lease { length: lease.length, ..Lease::new(renewed.lease_duration, renewed.renewable) };
        Ok(())
    }

    /// Leaves the token alone for a while.
    pub(super) fn put_off(&self, time: Duration) {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.due = Some(Instant::now() + time);
    }

    fn lease(&self) -> Lease {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(body: bytes::Bytes) -> Result<Token, VaultError> {
    let answer = serde_json::from_slice(&body).map(|answer: Answer| answer.auth.or(answer.data));
    wipe(body);
    answer.ok().flatten().ok_or(VaultError::Strange("token"))
}

/// What a variable holds, or the file that the one of the same name with `_FILE` leads to.
fn secret_of(name: &str) -> Result<Option<Secret>, VaultError> {
    if let Some(path) = variable(&format!("{name}_FILE")) {
        return read(Path::new(path.as_str())).map(Some);
    }
    variable(name).map(|value| secret(value.as_bytes().to_vec().into(), &format!("VAULT_{name}"))).transpose()
}

fn read(path: &Path) -> Result<Secret, VaultError> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| VaultError::Login(format!("{shown}: {error}")))?;
    secret(bytes.into(), &shown)
}

fn secret(bytes: Zeroizing<Vec<u8>>, place: &str) -> Result<Secret, VaultError> {
    Secret::parse(bytes).map_err(|error| VaultError::Login(format!("{place}: {error}")))
}

fn expose(secret: Option<&Secret>) -> &str {
    #[expect(clippy::disallowed_methods, reason = "what proves to Vault who asks goes to Vault")]
    secret.map(Secret::expose).unwrap_or_default()
}

fn json(fields: &[(&str, &str)]) -> Zeroizing<String> {
    let quoted = |text: &str| Zeroizing::new(serde_json::Value::from(text).to_string());
    let length = fields.iter().map(|(name, value)| name.len() + 2 * value.len() + 8).sum();
    let mut text = Zeroizing::new(String::with_capacity(length));
    for (name, value) in fields {
        let separator = if text.is_empty() { '{' } else { ',' };
        text.push(separator);
        text.push_str(&quoted(name));
        text.push(':');
        text.push_str(&quoted(value));
    }
    text.push('}');
    text
}

/// Where Kubernetes puts the token of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
