//! The configuration in checked form: complete, with references to secrets and never a secret
//! itself.

mod bypass;
mod candidate;
mod destination;
mod egress;
mod error;
mod file;
mod reference;
#[cfg(test)]
mod tests;
mod unbound;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use bypass::BypassRule;
pub use candidate::{Candidate, CandidateError};
pub use destination::{
    ApplicationAddress, ApplicationUrl, DestinationConfig, DestinationTarget, EventWay,
    PublishTarget, SpoolConfig, StreamAddress,
};
pub use egress::{EgressConfig, ProxyChoice};
pub use error::Faults;
pub use reference::ReferenceError;

use crate::audit::AuditSettings;
use crate::document::Fault;
use crate::log::LogFormat;
use crate::named::ByName;
use crate::provider::{Network, OperationSet, Origin, Provider, Rates};
use crate::trace::SampleRate;

/// A whole configuration. Every value in it is within its bounds.
#[derive(Debug)]
pub struct Config {
    /// `[outbound]`: the listener for applications.
    pub outbound: OutboundConfig,
    /// `[credential.NAME]`, by name.
    pub credentials: BTreeMap<String, CredentialConfig>,
    /// `[[route]]`, in the order written.
    pub routes: Vec<RouteConfig>,
    /// `[limits]`, if limits are shared with other sidecars.
    pub limits: Option<SharedLimits>,
    /// `[inbound]`: the listener for providers.
    pub inbound: InboundConfig,
    /// `[[webhook]]`, in the order written.
    pub webhooks: Vec<WebhookConfig>,
    /// `[spool]`, if events wait on disk.
    pub spool: Option<SpoolConfig>,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[metrics]`, if the file has the table.
    pub metrics: Option<MetricsConfig>,
    /// `[egress]`.
    pub egress: EgressConfig,
    /// `[reload]`.
    pub reload: ReloadConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[audit]`, if the file has the table.
    pub audit: Option<AuditSettings>,
    /// `[state]`, if the file has the table.
    pub state: Option<StateConfig>,
    /// `[telemetry]`, if the file has the table.
    pub telemetry: Option<TelemetryConfig>,
    /// Keys that are allowed and yet deserve a second look.
    pub warnings: Vec<Fault>,
}

/// The configuration in the working directory.
pub const PATH_HERE: &str = "proxy.toml";
/// The configuration of the machine, if the working directory has none.
pub const DEFAULT_PATH: &str = "/etc/keyside/proxy.toml";

/// The file with the configuration.
#[derive(Clone, Debug)]
pub enum ConfigFile {
    /// A file that a person or a service has named, or the file in `/etc`.
    Named(PathBuf),
    /// `proxy.toml` in the working directory, which nobody has named: somebody else may have put
    /// the file there.
    Found(PathBuf),
}

impl ConfigFile {
    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Found(path) => path,
        }
    }
}

/// The files that a configuration was read from.
#[derive(Debug, Default)]
pub struct ConfigTexts {
    /// The files, each with its text, in the order of reading.
    pub texts: Vec<(PathBuf, String)>,
    /// The folders in which further files would count.
    pub folders: Vec<PathBuf>,
}

/// `[limits]`: limits shared by several sidecars in a Redis or Valkey, the shared server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLimits {
    /// The reference to the URL of the shared server, which may hold a password.
    pub redis: Reference,
    /// The PEM file of authorities that vouch for the shared server; `None` for the system's list.
    pub ca: Option<PathBuf>,
    /// The limits while the shared server does not answer.
    pub on_failure: OnFailure,
    /// The number of sidecars with the same shared limits: each may use such a part of a limit
    /// while the shared server does not answer.
    pub replicas: NonZeroU32,
}

/// The limits while the shared server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Each sidecar alone keeps an equal part of every limit: the limit divided by `replicas`.
    Local,
    /// No limit.
    Open,
    /// No request that counts against a limit is sent.
    Closed,
}

impl OnFailure {
    /// Returns the word of the configuration.
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
pub struct OutboundConfig {
    /// The addresses without TLS; may be empty if `tls` has addresses.
    pub listen: Vec<ListenAddress>,
    /// Host names accepted besides loopback names and the hosts of upstreams: lower case, no port,
    /// IPv6 in brackets.
    pub allowed_hosts: Vec<String>,
    /// Scheme and host of links in answers: `https://HOST` or `https://HOST:PORT`; `None` for the
    /// origin of each request.
    pub public_origin: Option<String>,
    /// The reverse proxies, besides loopback, whose `X-Forwarded-Proto` and `X-Forwarded-Host` name
    /// the origin of links.
    pub trusted_proxies: Vec<Network>,
    /// `[outbound.tls]`; `None` without alias mode.
    pub tls: Option<OutboundTls>,
    /// User ids with access to a Unix socket; empty for the user of the process.
    pub allow_uids: Vec<u32>,
    /// The time for requests under way to finish at shutdown; above zero.
    pub drain: Duration,
    /// The time for which connections are still accepted after the signal to stop.
    pub linger: Duration,
    /// The bound on open connections of applications: 1 to 100,000.
    pub max_connections: u32,
    /// The largest upload, in bytes; above 0.
    pub max_media: u64,
    /// The longest transfer of media, up or down; above zero.
    pub media_timeout: Duration,
}

impl OutboundConfig {
    /// Returns every TCP address at which applications are served, with TLS or without.
    pub fn tcp_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let with_tls = self.tls.iter().flat_map(|tls| &tls.listen);
        self.listen
            .iter()
            .chain(with_tls)
            .filter_map(|address| match address {
                ListenAddress::Tcp(address) => Some(*address),
                ListenAddress::Unix(_) => None,
            })
    }
}

/// `[outbound.tls]`: the listener for applications that call the provider by its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundTls {
    /// The addresses with TLS; at least one.
    pub listen: Vec<ListenAddress>,
    /// The file with the certificate and its chain.
    pub cert: PathBuf,
    /// The file with the certificate's key.
    pub key: PathBuf,
}

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and port; loopback unless `allow_remote` was set.
    Tcp(SocketAddr),
    /// A Unix socket, created with mode 0600. The path has at most [`MAX_SOCKET_PATH`] bytes.
    Unix(PathBuf),
}

/// The longest path of a Unix socket, in bytes: Linux has 108 bytes for the path and its NUL.
pub const MAX_SOCKET_PATH: usize = 107;

/// `[credential.NAME]`: references to the secrets of an account at a provider.
#[derive(Clone, Debug)]
pub struct CredentialConfig {
    /// The provider that the secrets are for.
    pub provider: Arc<Provider>,
    /// The references of each secret, by the secret's name: the first is current, the others are
    /// accepted as well.
    pub secrets: ByName<Vec<Reference>>,
    /// The age at which a secret raises an alarm; above zero.
    pub max_age: Duration,
    /// The time for which a replaced secret stays usable; zero for none.
    pub overlap: Duration,
    /// The time for which a request waits for a new secret while the provider refuses every secret;
    /// zero for none.
    pub hold: Duration,
    /// The form of Meta's `appsecret_proof` in each call.
    pub proof: ProofForm,
    /// True if the provider is asked about new secrets before they are used.
    pub check: bool,
    /// The place that a new secret is written to, where that is not the source that it is read
    /// from.
    pub place: Option<Reference>,
    /// The time before a token's end for the exchange into a new token; `None` for no exchange.
    pub renew: Option<Duration>,
    /// True if a route sends with the credential: else the secrets serve webhooks alone.
    pub has_route: bool,
}

/// A reference to one secret (`env:NAME`, `file:/path`, ...). Safe to print.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// An environment variable.
    Env(String),
    /// A whole file.
    File(PathBuf),
    /// A field of a file with several secrets: a JSON object, or lines `NAME=value`.
    FileField {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
    },
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Systemd(String),
    /// The standard output of a program, which runs without a shell.
    Exec {
        /// The absolute path of the program.
        program: PathBuf,
        /// The arguments.
        arguments: Vec<String>,
    },
    /// A field of a secret in HashiCorp Vault or OpenBao.
    Vault {
        /// The mount of a KV engine and the path in the engine, without the `data/` of version 2.
        path: String,
        /// The field.
        field: String,
    },
    /// A secret in AWS Secrets Manager.
    Aws {
        /// The name or ARN.
        name: String,
        /// The field, if the secret is a JSON object.
        field: Option<String>,
    },
    /// A secret in Google Cloud's Secret Manager: `projects/P/secrets/S`, perhaps with
    /// `/versions/N`.
    Gcp {
        /// The resource name.
        secret: String,
    },
    /// A secret in an Azure Key Vault.
    Azure {
        /// The vault's name, or the vault's host if the host is not below `vault.azure.net`.
        vault: String,
        /// The name of the secret.
        name: String,
    },
    /// A key of a Secret of the Kubernetes cluster that Keyside runs in.
    Kubernetes {
        /// The namespace; `None` for the namespace of the pod.
        namespace: Option<String>,
        /// The name of the Secret.
        name: String,
        /// The key in the data of the Secret.
        key: String,
    },
}

/// Meta's `appsecret_proof`: <https://developers.facebook.com/docs/facebook-login/security>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofForm {
    /// The time-stamped form, if the credential has an app secret.
    Auto,
    /// HMAC over the token alone; requires an app secret.
    Classic,
    /// No proof.
    Off,
}

/// `[[route]]`: the requests of a credential.
#[derive(Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// The name in logs, metrics and errors.
    pub name: String,
    /// The credential in the requests of the route.
    pub credential: String,
    /// The path prefix at which applications reach the route: empty for `/`, else `/a/b` without a
    /// slash at the end.
    pub path: String,
    /// The allowed senders; empty for any.
    pub senders: Vec<String>,
    /// The allowed operations of the provider.
    pub operations: OperationSet,
    /// The allowed channels, in lower case; empty for any.
    pub channels: Vec<String>,
    /// The users of the route over a Unix socket; empty for all users of the socket.
    pub allow_uids: Vec<u32>,
    /// `[route.limits]`.
    pub limits: RouteLimits,
}

/// `[route.limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLimits {
    /// The rates. A rate that neither the route nor the provider names is `None`.
    pub rates: Rates,
    /// The longest wait of a request over a limit; above zero.
    pub max_wait: Duration,
    /// The largest number of requests in the queue of a limit; 0 for an answer at once.
    pub max_queue: usize,
    /// True if a message refused by the provider as too fast goes back into the queue.
    pub retry: bool,
}

/// `[inbound]`.
#[derive(Debug)]
pub struct InboundConfig {
    /// The addresses to listen at; empty without a webhook.
    pub listen: Vec<ListenAddress>,
    /// The largest accepted body, in bytes; above 0.
    pub max_body: u64,
    /// The number of bytes of bodies in memory at a time. Events past this bound are refused
    /// with 503.
    pub max_in_flight: u64,
    /// The reverse proxies whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<Network>,
    /// `[inbound.tls]`; `None` if a proxy in front terminates TLS.
    pub tls: Option<InboundTls>,
}

/// `[inbound.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundTls {
    /// The file with the certificate and its chain.
    pub cert: PathBuf,
    /// The file with the certificate's key.
    pub key: PathBuf,
    /// The accepted clients; `None` for any.
    pub client: Option<ClientAuth>,
}

/// The clients accepted by `[inbound.tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// The file with the authorities that vouch for clients.
    pub ca: PathBuf,
    /// The name in the client's certificate; `None` for any.
    pub name: Option<String>,
}

/// `[[webhook]]`: an endpoint for a provider's events.
#[derive(Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The name in logs, metrics and headers.
    pub name: String,
    /// The path to which the provider sends events.
    pub path: WebhookPath,
    /// The credential with the secrets for checking events.
    pub credential: String,
    /// The way of genuine events.
    pub way: EventWay,
    /// The longest wait for the answer of a destination; above zero.
    pub timeout: Duration,
    /// The references to the key of the signature for applications, the current one first; empty
    /// for no signature.
    pub sign: Vec<Reference>,
    /// The whole URL given to the provider, for providers with signatures over the URL.
    pub public_url: Option<String>,
    /// True if the provider gets the application's own answer.
    pub reply: bool,
}

/// The path of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookPath {
    /// The path without its token: `/webhooks/x`, or empty before a token at the root.
    pub text: String,
    /// True if a secret segment follows.
    pub token: bool,
}

/// `[admin]`.
#[derive(Debug)]
pub struct AdminConfig {
    /// The addresses to listen at: loopback, unless `[outbound] allow_remote` is true, or a Unix
    /// socket.
    pub listen: Vec<ListenAddress>,
}

/// `[metrics]`: the listener for metrics and probes alone.
#[derive(Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The addresses to listen at, on loopback or not.
    pub listen: Vec<ListenAddress>,
}

/// `[reload]`.
#[derive(Debug)]
pub struct ReloadConfig {
    /// The interval at which files are checked for changed content; `None` for "off".
    pub watch: Option<Duration>,
    /// The interval at which programs and secret managers are asked again; `None` for "off".
    pub refresh: Option<Duration>,
}

/// `[state]`: what outlives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// The folder.
    pub dir: PathBuf,
    /// The references to the key that seals secrets, the current one first; empty for none.
    pub key: Vec<Reference>,
}

/// `[telemetry]`: the receiver of traces and metrics by OTLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// The receiver.
    pub receiver: Origin,
    /// The path before `/v1/traces` and `/v1/metrics`: empty, or `/a/b` without a slash at the end.
    pub path: String,
    /// The share of new traces that is recorded.
    pub sample: SampleRate,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The least severe level that is written.
    pub level: tracing::level_filters::LevelFilter,
    /// The form of a line.
    pub format: LogFormat,
}

impl std::fmt::Display for WebhookPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        if self.token {
            f.write_str("/{token}")
        } else {
            Ok(())
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
