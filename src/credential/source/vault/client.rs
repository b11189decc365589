//! A request to Vault and the answer: <https://developer.hashicorp.com/vault/api-docs>.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode, header};
use zeroize::Zeroizing;

use crate::egress::Egress;
use crate::provider::{Ca, Origin};
use crate::secret::Secret;
use crate::tls;
use crate::upstream::{
    Outgoing, OutgoingBody, Reply, RequestLine, USER_AGENT, Upstream, UpstreamError, UpstreamKind,
};

use super::super::document::wipe;
use super::super::error::reason;
use super::super::file::read_regular;
use super::environment::{DEFAULT_ADDRESS, variable};
use super::error::VaultError;

/// A client for the Vault server that the environment names.
pub(super) struct VaultClient {
    upstream: Arc<Upstream>,
    host: String,
    egress: Egress,
    namespace: Option<String>,
}

/// A request to Vault.
pub(super) struct VaultRequest<'a> {
    pub(super) method: Method,
    /// The path below `/v1/`.
    pub(super) path: &'a str,
    pub(super) token: Option<&'a Secret>,
    /// The body, a JSON text.
    pub(super) body: Option<Zeroizing<String>>,
}

impl<'a> VaultRequest<'a> {
    pub(super) fn get(path: &'a str, token: Option<&'a Secret>) -> Self {
        Self {
            method: Method::GET,
            path,
            token,
            body: None,
        }
    }

    pub(super) fn post(path: &'a str, token: Option<&'a Secret>, body: Zeroizing<String>) -> Self {
        Self {
            method: Method::POST,
            path,
            token,
            body: Some(body),
        }
    }
}

impl VaultClient {
    /// Creates a client from the variables of the `vault` and `bao` commands: `VAULT_ADDR`,
    /// `VAULT_CACERT` and `VAULT_NAMESPACE`, or their `BAO_` forms. `VAULT_SKIP_VERIFY` is ignored:
    /// certificates are always checked.
    pub(super) fn from_environment(egress: &Egress) -> Result<Self, VaultError> {
        let address = variable("ADDR")
            .map_or_else(|| DEFAULT_ADDRESS.to_owned(), |address| (*address).clone());
        let origin: Origin = address
            .trim_end_matches('/')
            .parse()
            .map_err(|_| VaultError::Address)?;
        let ca = variable("CACERT").map_or(Ca::System, |path| Ca::File(path.as_str().into()));
        let pem = match &ca {
            Ca::File(path) => Some(
                read_regular(path)
                    .map_err(|error| VaultError::Authority(path.clone(), error.to_string()))?,
            ),
            Ca::Bundled | Ca::System => None,
        };
        let tls = tls::client_config(if origin.tls { &ca } else { &Ca::Bundled }, pem.as_deref())
            .map_err(|error| VaultError::Unreachable(error.to_string()))?;
        let host = origin.authority();
        let upstream = Upstream::new(UpstreamKind::SecretManager, origin, tls)
            .map_err(|error| VaultError::Unreachable(error.to_string()))?;
        let namespace = variable("NAMESPACE").map(|namespace| (*namespace).clone());
        Ok(Self {
            upstream: Arc::new(upstream.through(egress)),
            host,
            egress: egress.clone(),
            namespace,
        })
    }

    /// True if a new client would take the same way out.
    pub(super) fn goes_out_by(&self, egress: &Egress) -> bool {
        self.egress.leads_as(egress)
    }

    /// Sends a request and returns the body of a successful answer.
    pub(super) async fn ask(&self, question: VaultRequest<'_>) -> Result<Bytes, VaultError> {
        let path = question.path;
        let outgoing = self.compose(question);
        let answer = self.upstream.ask(outgoing, REQUEST_TIMEOUT).await;
        read(path, answer)
    }

    /// Sends a request whose answer holds a secret, and returns the body of a successful answer,
    /// which the caller has to wipe.
    pub(super) async fn ask_for_secret(
        &self,
        question: VaultRequest<'_>,
    ) -> Result<Bytes, VaultError> {
        let path = question.path;
        let outgoing = self.compose(question);
        let answer = self.upstream.ask_for_secret(outgoing, REQUEST_TIMEOUT);
        read(path, answer.await)
    }

    fn compose(&self, question: VaultRequest<'_>) -> Outgoing {
        let has_body = question.body.is_some();
        let body = question
            .body
            .map_or_else(OutgoingBody::empty, OutgoingBody::Secret);
        let mut line = RequestLine::new(question.method, body);
        line.target("/v1/");
        line.target(question.path);
        let mut head = line.headers(&self.host);
        head.header(&header::USER_AGENT, USER_AGENT);
        // A Vault server may be set to refuse requests without this header, which no browser form
        // can add.
        head.header(&REQUEST, "true");
        if let Some(namespace) = &self.namespace {
            head.header(&NAMESPACE, namespace);
        }
        if has_body {
            head.header(&header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = question.token {
            #[expect(clippy::disallowed_methods, reason = "Vault's own token goes to Vault")]
            head.secret_header(&TOKEN, token.expose());
        }
        head.finish()
    }
}

/// Returns the body of a successful answer to a request for `path`.
fn read(path: &str, answer: Result<Reply, UpstreamError>) -> Result<Bytes, VaultError> {
    let Reply { status, body, .. } = answer.map_err(|error| {
        if error.is_before_request() {
            VaultError::Unreachable(error.of("the server"))
        } else {
            VaultError::Lost(error.of("the server"))
        }
    })?;
    match status {
        StatusCode::OK | StatusCode::NO_CONTENT => Ok(body),
        StatusCode::FORBIDDEN => Err(VaultError::Denied(path.to_owned(), errors(&body))),
        StatusCode::NOT_FOUND => {
            wipe(body);
            Err(VaultError::NotFound(path.to_owned()))
        }
        status => Err(VaultError::Answered(status, errors(&body))),
    }
}

/// Returns the errors in an answer of Vault, without control characters and bounded.
fn errors(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Answer {
        errors: Vec<String>,
    }
    let errors = serde_json::from_slice(body)
        .map(|answer: Answer| answer.errors.join("; "))
        .unwrap_or_default();
    reason(&errors)
}

const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
/// The time for one request: a read of a secret takes two, within the 10 s for a document.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
