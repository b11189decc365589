//! The configuration as it was meant: checked, complete, with references and never a secret.

mod error;
mod file;
mod reference;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use error::Faults;
pub use reference::ReferenceError;

use crate::document::Fault;
use crate::provider::{Origin, Provider, Rates};

/// One whole configuration. Whoever holds it checks no range again.
#[derive(Debug)]
pub struct Config {
    /// `[outbound]`: where applications reach the sidecar.
    pub outbound: Outbound,
    /// `[credential.NAME]`, by name.
    pub credentials: BTreeMap<String, CredentialConfig>,
    /// `[[route]]`, in the order written.
    pub routes: Vec<Route>,
    /// `[limits]`, where limits are shared with other sidecars.
    pub limits: Option<SharedLimits>,
    /// `[inbound]`: where providers reach the sidecar.
    pub inbound: Inbound,
    /// `[[webhook]]`, in the order written.
    pub webhooks: Vec<Webhook>,
    /// `[admin]`.
    pub admin: Admin,
    /// `[reload]`.
    pub reload: Reload,
    /// `[log]`.
    pub log: Log,
    /// `[audit]`, where there is one.
    pub audit: Option<Audit>,
    /// What is allowed and yet worth a second look.
    pub warnings: Vec<Fault>,
}

/// `[limits]`: one budget for many sidecars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLimits {
    /// Where the URL of the server lives, which may hold a password.
    pub redis: Reference,
    /// The authorities that vouch for it over TLS; `None` for the system's.
    pub ca: Option<PathBuf>,
    /// What holds while it does not answer.
    pub on_failure: OnFailure,
    /// How many sidecars share them.
    pub replicas: NonZeroU32,
}

/// What holds while shared limits are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Each sidecar keeps its part of them by itself.
    Local,
    /// Nothing is limited.
    Open,
    /// Nothing that counts is sent.
    Closed,
}

impl OnFailure {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// `[outbound]`.
#[derive(Debug)]
pub struct Outbound {
    /// Where to listen; at least one address.
    pub listen: Vec<ListenAddress>,
    /// Host names accepted besides loopback names and upstream hosts, in lower case without port; IPv6 in brackets.
    pub allowed_hosts: Vec<String>,
    /// Who may use a Unix socket; empty means the owner of the process.
    pub allow_uids: Vec<u32>,
    /// How long requests under way may take to finish at shutdown.
    pub drain: Duration,
}

/// One place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and port; loopback unless `allow_remote` was set.
    Tcp(SocketAddr),
    /// A Unix socket, made with mode 0600.
    Unix(PathBuf),
}

/// `[credential.NAME]`: where the secrets of one account at one provider live.
#[derive(Clone, Debug)]
pub struct CredentialConfig {
    /// The provider that the secrets are for.
    pub provider: Arc<Provider>,
    /// For each secret its references: the first is current, the others are accepted too.
    pub secrets: BTreeMap<String, Vec<Reference>>,
    /// How old a secret may become before it is an alarm.
    pub max_age: Duration,
    /// How long a replaced secret stays of use.
    pub overlap: Duration,
    /// Which form of Meta's `appsecret_proof` goes with each call.
    pub proof: Proof,
    /// Whether the provider is asked about new secrets before they are used.
    pub check: bool,
    /// How long before its end a token is exchanged for a new one; `None` where it is not.
    pub renew: Option<Duration>,
}

/// Where one secret lives (`env:NAME`, `file:/path`, ...). Safe to print.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// An environment variable.
    Env(String),
    /// A file, read whole.
    File(PathBuf),
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Systemd(String),
    /// A program's standard output; run without a shell.
    Exec {
        /// The program's absolute path.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// A field of a secret in HashiCorp Vault or OpenBao.
    Vault {
        /// The mount of a KV engine and the path in it, without the `data/` of version 2.
        path: String,
        /// The field.
        field: String,
    },
    /// A secret in AWS Secrets Manager.
    Aws {
        /// Its name or ARN.
        name: String,
        /// The field, where it is a JSON object.
        field: Option<String>,
    },
    /// A secret in Google Cloud's Secret Manager: `projects/P/secrets/S`, perhaps with `/versions/N`.
    Gcp {
        /// Its resource name.
        secret: String,
    },
    /// A secret in an Azure Key Vault.
    Azure {
        /// The vault's name, or its host where that is not below `vault.azure.net`.
        vault: String,
        /// The secret's name.
        name: String,
    },
}

/// Meta's `appsecret_proof`: <https://developers.facebook.com/docs/facebook-login/security>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The time-stamped form whenever the credential has an app secret.
    Auto,
    /// HMAC over the token alone; needs an app secret.
    Classic,
    /// None.
    Off,
}

/// `[[route]]`: which requests go out with which credential.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in logs, metrics and errors.
    pub name: String,
    /// The credential that requests of this route carry.
    pub credential: String,
    /// The prefix at which applications reach it: empty for `/`, else `/a/b` without a slash at the end.
    pub path: String,
    /// The senders that it may use; empty means any.
    pub senders: Vec<String>,
    /// For each operation of the provider, in its order, whether this route may use it.
    pub operations: Vec<bool>,
    /// `[route.limits]`.
    pub limits: RouteLimits,
}

/// `[route.limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLimits {
    /// Those that neither the route nor the provider names are `None`.
    pub rates: Rates,
    /// How long a request over the limit may wait for its turn.
    pub max_wait: Duration,
    /// How many requests may wait for one limit.
    pub max_queue: usize,
    /// Whether a message that the provider has throttled waits for another turn.
    pub retry: bool,
}

/// `[inbound]`.
#[derive(Debug)]
pub struct Inbound {
    /// Where to listen; nothing does where there is no webhook.
    pub listen: Vec<ListenAddress>,
    /// The largest body that is taken, in bytes. Meta's have up to 3 MB.
    pub max_body: u64,
    /// How many bytes of bodies are held at a time; events beyond it are put off with 503.
    pub max_in_flight: u64,
    /// `[inbound.tls]`; without it something in front terminates TLS.
    pub tls: Option<InboundTls>,
}

/// `[inbound.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundTls {
    /// The file with the certificate and its chain.
    pub cert: PathBuf,
    /// The file with its key.
    pub key: PathBuf,
    /// Who may connect; anybody where it is missing.
    pub client: Option<ClientAuth>,
}

/// Which clients may connect to `[inbound.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// The file with the authorities that vouch for them.
    pub ca: PathBuf,
    /// The name that the certificate must have; any where it is missing.
    pub name: Option<String>,
}

/// `[[webhook]]`: an endpoint for a provider's events.
#[derive(Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name in logs, metrics and headers.
    pub name: String,
    /// Where the provider sends its events.
    pub path: WebhookPath,
    /// The credential whose secrets prove that they are genuine.
    pub credential: String,
    /// Where genuine ones go.
    pub forward: Forward,
    /// How long the application may take.
    pub timeout: Duration,
    /// The whole URL that the provider was given, for providers that sign it.
    pub public_url: Option<String>,
    /// Whether the provider gets the application's own answer.
    pub reply: bool,
}

/// The path of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookPath {
    /// The path without its token: `/webhooks/x`, or nothing before a token at the root.
    pub text: String,
    /// Whether one more segment follows, which is a secret.
    pub token: bool,
}

/// Where an application takes events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The application.
    pub application: Application,
    /// The path and query that it is asked for.
    pub path: String,
}

/// How an application is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Application {
    /// At a host and port, with TLS or, as beside a sidecar, without.
    Origin(Origin),
    /// At a Unix socket.
    Unix(PathBuf),
}

/// `[admin]`.
#[derive(Debug)]
pub struct Admin {
    /// Where to listen; loopback or a Unix socket.
    pub listen: Vec<ListenAddress>,
}

/// `[reload]`.
#[derive(Debug)]
pub struct Reload {
    /// How often files are looked at for changed content; `None` is "off".
    pub watch: Option<Duration>,
    /// How often programs and secret managers are asked again; `None` is "off".
    pub refresh: Option<Duration>,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: tracing::level_filters::LevelFilter,
    /// In which form.
    pub format: LogFormat,
}

/// `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The file that lines are added to.
    pub file: PathBuf,
    /// Whether each request has a line as well.
    pub requests: bool,
}

/// `[log] format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

impl std::fmt::Display for WebhookPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        if self.token { f.write_str("/{token}") } else { Ok(()) }
    }
}

impl std::fmt::Display for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.application {
            Application::Origin(origin) => write!(f, "{origin}{}", self.path),
            Application::Unix(socket) => write!(f, "unix:{}:{}", socket.display(), self.path),
        }
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
