//! One question to Vault and its answer: <https://developer.hashicorp.com/vault/api-docs>.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use zeroize::Zeroizing;

use crate::provider::{Ca, Origin};
use crate::secret::Secret;
use crate::tls;
use crate::upstream::{Head, Outgoing, OutgoingBody, Reply, Upstream};

use super::super::document::wipe;

/// Where Vault is.
pub(super) struct Client {
    upstream: Arc<Upstream>,
    host: String,
    namespace: Option<String>,
}

/// A question.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    /// The path below `/v1/`.
    pub(super) path: &'a str,
    pub(super) token: Option<&'a Secret>,
    /// A JSON text, where there is one.
    pub(super) body: Option<Zeroizing<String>>,
}

impl<'a> Question<'a> {
    pub(super) fn get(path: &'a str, token: Option<&'a Secret>) -> Self {
        Self { method: Method::GET, path, token, body: None }
    }

    pub(super) fn post(path: &'a str, token: Option<&'a Secret>, body: Zeroizing<String>) -> Self {
        Self { method: Method::POST, path, token, body: Some(body) }
    }
}

impl Client {
    /// As the `vault` and `bao` commands find it: `VAULT_ADDR`, `VAULT_CACERT` and `VAULT_NAMESPACE`, or the
    /// same with `BAO_`. Certificates are always checked: `VAULT_SKIP_VERIFY` is not looked at.
    pub(super) fn from_environment() -> Result<Self, VaultError> {
        let address = super::variable("ADDR").map_or_else(|| DEFAULT_ADDRESS.to_owned(), |address| (*address).clone());
        let origin: Origin = address.trim_end_matches('/').parse().map_err(|_| VaultError::Address)?;
        let ca = super::variable("CACERT").map_or(Ca::System, |path| Ca::File(path.as_str().into()));
        let pem = match &ca {
            Ca::File(path) => {
                Some(std::fs::read(path).map_err(|error| VaultError::Authority(path.clone(), error.to_string()))?)
            }
            Ca::Bundled | Ca::System => None,
        };
        let tls = tls::client_config(if origin.tls { &ca } else { &Ca::Bundled }, pem.as_deref())
            .map_err(|error| VaultError::Unreachable(error.to_string()))?;
        let host = origin.authority();
        let upstream = Upstream::new(origin, tls).map_err(|error| VaultError::Unreachable(error.to_string()))?;
        let namespace = super::variable("NAMESPACE").map(|namespace| (*namespace).clone());
        Ok(Self { upstream: Arc::new(upstream), host, namespace })
    }

    /// The answer to a question, where it is one of success. Whoever reads a secret in it wipes it.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Bytes, VaultError> {
        let method = question.method.clone();
        let outgoing = Outgoing::new(method, self.compose(&question), OutgoingBody::Whole(Bytes::new()));
        let answer = self.upstream.ask(outgoing, TIME).await;
        let Reply { status, body, .. } = answer.map_err(|error| VaultError::Unreachable(error.to_string()))?;
        match status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(body),
            StatusCode::FORBIDDEN => Err(VaultError::Denied(question.path.to_owned(), errors(&body))),
            StatusCode::NOT_FOUND => {
                wipe(body);
                Err(VaultError::NotFound(question.path.to_owned()))
            }
            status => Err(VaultError::Answered(status, errors(&body))),
        }
    }

    /// The body goes into the head too, which is wiped once it is written.
    fn compose(&self, question: &Question<'_>) -> Head {
        let body = question.body.as_ref().map(|body| body.as_bytes()).unwrap_or_default();
        #[expect(clippy::disallowed_methods, reason = "Vault's own token goes to Vault")]
        let token = question.token.map(Secret::expose).unwrap_or_default();
        let mut head = Head::with_capacity(1024 + question.path.len() + token.len() + body.len());
        head.push(format!("{} /v1/{} HTTP/1.1\r\nhost: {}\r\n", question.method, question.path, self.host).as_bytes());
        head.push(concat!("user-agent: keyside/", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes());
        // Without it a server that listens for browsers may refuse.
        head.push(b"x-vault-request: true\r\n");
        if let Some(namespace) = &self.namespace {
            head.push(format!("x-vault-namespace: {namespace}\r\n").as_bytes());
        }
        if !body.is_empty() {
            head.push(format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()).as_bytes());
        }
        if !token.is_empty() {
            head.push(b"x-vault-token: ");
            head.push_secret(token.as_bytes());
            head.push(b"\r\n");
        }
        head.push(b"\r\n");
        head.push_secret(body);
        head
    }
}

/// What Vault says is wrong, as far as it can be shown.
fn errors(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Answer {
        errors: Vec<String>,
    }
    let errors = serde_json::from_slice(body).map(|answer: Answer| answer.errors.join("; ")).unwrap_or_default();
    let shown: String = errors.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
    if shown.is_empty() { "no reason given".to_owned() } else { shown }
}

/// Why Vault gives no secret.
#[derive(Debug)]
pub(super) enum VaultError {
    /// `VAULT_ADDR` is no address.
    Address,
    /// The file that `VAULT_CACERT` names.
    Authority(std::path::PathBuf, String),
    /// No answer.
    Unreachable(String),
    /// The token may not read it, or is no token any longer.
    Denied(String, String),
    /// There is nothing.
    NotFound(String),
    /// Something else than success.
    Answered(StatusCode, String),
    /// The answer is not what is documented.
    Strange(&'static str),
    /// The mount holds another kind of secrets.
    Engine(String),
    /// There is nothing to log in with.
    Login(String),
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("VAULT_ADDR is not such as https://vault.example.com:8200"),
            Self::Authority(path, problem) => write!(f, "VAULT_CACERT: {}: {problem}", path.display()),
            Self::Unreachable(reason) => write!(f, "Vault gave no answer: {reason}"),
            Self::Denied(path, errors) if errors.ends_with("permission denied") => {
                write!(f, "Vault denies permission for `{path}`: its token has ended, or its policy does not allow it")
            }
            Self::Denied(path, errors) => write!(f, "Vault denies permission for `{path}`: {errors}"),
            Self::NotFound(path) => write!(f, "Vault has nothing at `{path}`"),
            Self::Answered(status, errors) => write!(f, "Vault answered {}: {errors}", status.as_u16()),
            Self::Strange(what) => write!(f, "Vault's answer has no {what}"),
            Self::Engine(kind) => write!(f, "the mount is of type `{kind}`; only KV, version 1 or 2, can be read"),
            Self::Login(problem) => write!(f, "cannot log in to Vault: {problem}"),
        }
    }
}

/// As the `vault` command has it.
const DEFAULT_ADDRESS: &str = "https://127.0.0.1:8200";
const TIME: Duration = Duration::from_secs(5);
const MAX_SHOWN: usize = 200;
