//! A session with Vault: the token of Vault itself, got by a login and renewed.

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::document::wipe;
use super::super::file;
use super::client::{VaultClient, VaultRequest};
use super::environment::variable;
use super::error::VaultError;
use crate::egress::Egress;
use crate::secret::Secret;

/// A client with the token for its requests.
pub(super) struct Session {
    pub(super) client: VaultClient,
    /// `None` if an agent between Keyside and Vault adds the token.
    token: Option<Secret>,
    /// True if the token came from a login, which can be repeated.
    logged_in: bool,
    lease: Mutex<Lease>,
}

/// The way to a session, by the environment.
enum VaultLogin {
    /// A login with the body of its request.
    Role {
        method: &'static str,
        body: Zeroizing<String>,
    },
    /// No login: a token at hand, or one that an agent adds.
    Token(Option<Secret>),
}

impl VaultLogin {
    /// Reads the environment, and the files that it names.
    fn of_environment() -> Result<Self, VaultError> {
        let (method, body) = match (variable("ROLE_ID"), variable("ROLE")) {
            (Some(role), _) => ("approle", approle_login(&role)?),
            (None, Some(role)) => ("kubernetes", kubernetes_login(&role)?),
            (None, None) => return secret_of("TOKEN").map(Self::Token),
        };
        Ok(Self::Role { method, body })
    }
}

/// The lifetime of a token.
#[derive(Clone, Copy)]
struct Lease {
    renewable: bool,
    /// The first lifetime, in seconds.
    length: u64,
    /// The time at which two thirds of the lifetime are over; `None` for a token without end.
    due: Option<Instant>,
}

impl Lease {
    /// The lease of a token without end, or of unknown lifetime.
    const ENDLESS: Self = Self {
        renewable: false,
        length: 0,
        due: None,
    };

    /// Creates the lease of a token from now on; a length of 0 is a lease without end.
    fn of(token: &Token) -> Self {
        let length = token.lease_duration;
        let due = (length > 0).then(|| Instant::now() + Duration::from_secs(length) * 2 / 3);
        Self {
            renewable: token.renewable,
            length,
            due,
        }
    }
}

/// A token in an answer of Vault, to a login, a renewal or a look-up.
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
struct LeaseAnswer {
    /// The token, in the answer to a login or a renewal.
    auth: Option<Token>,
    /// The token, in the answer to a look-up.
    data: Option<Token>,
}

impl Session {
    /// Opens a session: by an AppRole login if `VAULT_ROLE_ID` is set, by a Kubernetes login if
    /// `VAULT_ROLE` is, else with `VAULT_TOKEN` or the file that `VAULT_TOKEN_FILE` names (an
    /// agent's sink).
    ///
    /// A session without any token is valid: an agent between Keyside and Vault may add its own.
    pub(super) async fn open(egress: &Egress) -> Result<Self, VaultError> {
        let egress = egress.clone();
        let read = move || {
            let client = VaultClient::from_environment(&egress)?;
            Ok((client, VaultLogin::of_environment()?))
        };
        let ending = |_| Err(VaultError::Login("the process is ending".to_owned()));
        // The files are those of tokens and of authorities, of which a system has many.
        let reading = tokio::task::spawn_blocking(read);
        let (client, login) = reading.await.unwrap_or_else(ending)?;
        let (method, body) = match login {
            VaultLogin::Role { method, body } => (method, body),
            VaultLogin::Token(token) => return Self::with_token(client, token).await,
        };
        let own_mount = variable("AUTH_MOUNT");
        let mount = own_mount.as_ref().map_or(method, |mount| mount.as_str());
        let path = format!("auth/{mount}/login");
        let answer = client
            .ask_for_secret(VaultRequest::post(&path, None, body))
            .await
            .map_err(|error| VaultError::Login(format!("{method}: {error}")))?;
        let login = parse(answer)?;
        let lease = Mutex::new(Lease::of(&login));
        let token = secret(login.client_token.into_bytes().into(), "its answer")?;
        Ok(Self {
            client,
            token: Some(token),
            logged_in: true,
            lease,
        })
    }

    async fn with_token(client: VaultClient, token: Option<Secret>) -> Result<Self, VaultError> {
        let mut lease = Lease::ENDLESS;
        if token.is_some() {
            // A token may lack the right to look itself up, and is then used for as long as Vault
            // accepts the token.
            match client
                .ask_for_secret(VaultRequest::get("auth/token/lookup-self", token.as_ref()))
                .await
            {
                Ok(answer) => {
                    lease = Lease::of(&parse(answer)?);
                }
                Err(VaultError::Denied(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            client,
            token,
            logged_in: false,
            lease: Mutex::new(lease),
        })
    }

    pub(super) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// True if a new session may have a better token: from a new login, or from the token file.
    pub(super) fn can_be_replaced(&self) -> bool {
        self.logged_in || variable("TOKEN_FILE").is_some()
    }

    /// Returns the time at which the token should be renewed; `None` for a token without end.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lease.lock().due
    }

    /// Renews the token.
    ///
    /// # Errors
    /// If the token cannot be renewed any further: a new session is needed.
    pub(super) async fn renew(&self) -> Result<(), VaultError> {
        if !self.lease.lock().renewable {
            return Err(VaultError::Login("its token cannot be renewed".to_owned()));
        }
        let question = VaultRequest::post(
            "auth/token/renew-self",
            self.token(),
            Zeroizing::new("{}".to_owned()),
        );
        let renewed = parse(self.client.ask_for_secret(question).await?)?;
        let mut lease = self.lease.lock();
        // Near the maximum lifetime of a token (`max_ttl`) each renewal gives less time.
        if renewed.lease_duration < lease.length / 2 {
            return Err(VaultError::Login(
                "its token nears the end of its longest life".to_owned(),
            ));
        }
        *lease = Lease {
            length: lease.length,
            ..Lease::of(&renewed)
        };
        Ok(())
    }

    /// Puts the next renewal off.
    pub(super) fn put_off(&self, time: Duration) {
        self.lease.lock().due = Some(Instant::now() + time);
    }
}

/// Composes the body of an AppRole login. The secret id may be absent, if the role needs none.
fn approle_login(role: &str) -> Result<Zeroizing<String>, VaultError> {
    let secret = secret_of("SECRET_ID")?;
    Ok(json(&[
        ("role_id", role),
        ("secret_id", expose(secret.as_ref())),
    ]))
}

/// Composes the body of a login with the token of the pod's service account.
fn kubernetes_login(role: &str) -> Result<Zeroizing<String>, VaultError> {
    let own_path = variable("JWT_FILE");
    let path = own_path
        .as_ref()
        .map_or(SERVICE_ACCOUNT, |path| path.as_str());
    let jwt = read(Path::new(path))?;
    Ok(json(&[("role", role), ("jwt", expose(Some(&jwt)))]))
}

/// Reads the token in an answer, and wipes the answer.
fn parse(body: bytes::Bytes) -> Result<Token, VaultError> {
    let answer =
        serde_json::from_slice(&body).map(|answer: LeaseAnswer| answer.auth.or(answer.data));
    wipe(body);
    answer.ok().flatten().ok_or(VaultError::Malformed("token"))
}

/// Reads the secret from the file that `NAME_FILE` names, else from the variable `NAME`.
fn secret_of(name: &str) -> Result<Option<Secret>, VaultError> {
    if let Some(path) = variable(&format!("{name}_FILE")) {
        return read(Path::new(path.as_str())).map(Some);
    }
    variable(name)
        .map(|value| secret(value.as_bytes().to_vec().into(), &format!("VAULT_{name}")))
        .transpose()
}

fn read(path: &Path) -> Result<Secret, VaultError> {
    let shown = path.display().to_string();
    let (raw, _) =
        file::read(path).map_err(|error| VaultError::Login(format!("{shown}: {error}")))?;
    secret(raw.bytes, &shown)
}

fn secret(bytes: Zeroizing<Vec<u8>>, place: &str) -> Result<Secret, VaultError> {
    Secret::parse(bytes).map_err(|error| VaultError::Login(format!("{place}: {error}")))
}

/// Returns the value of a secret, or an empty text.
fn expose(secret: Option<&Secret>) -> &str {
    #[expect(
        clippy::disallowed_methods,
        reason = "the proof of identity goes to Vault"
    )]
    secret.map(Secret::expose).unwrap_or_default()
}

/// Writes an object of texts into a buffer that never grows, because a growing buffer leaves copies
/// behind.
fn json(fields: &[(&str, &str)]) -> Zeroizing<String> {
    let quoted = |text: &str| Zeroizing::new(serde_json::Value::from(text).to_string());
    let length = fields
        .iter()
        .map(|(name, value)| name.len() + 2 * value.len() + 8)
        .sum();
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

/// The path at which Kubernetes mounts the token of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
