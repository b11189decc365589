//! An emulator of the WhatsApp Cloud API, and of other WhatsApp providers, for development and
//! tests.
//!
//! The crate knows nothing of Keyside. `keyside sandbox`, `keyside demo` and Keyside's tests use
//! it.
//!
//! # The emulation and its limits
//!
//! | part | emulated | not emulated |
//! |---|---|---|
//! | Meta, Graph host | messages of all types, read receipts, media, resumable uploads, templates, phone numbers, profiles, block lists, calls, tokens and their exchange, proofs with the app secret, versions, usage headers, rate limits, errors as recorded or documented | the content of templates and interactive messages, delivery to phones, quality ratings, billing |
//! | Meta, media host | links that expire, the token on the media host, ranges | scans and conversions |
//! | Meta, webhooks | handshake, signature with the app secret, batches of changes, repetition until 200, mutual TLS, statuses of every message, messages from users on demand | repetition for days (here about a minute) |
//! | other providers | the place of the key, its exchange for a token, the paths that send, the forms of answers and errors, the signature of events | media, templates, the content of messages, the form of events |
//!
//! The bodies of Meta's answers have the recorded order of keys and the recorded escapes. SDKs in
//! several languages run against the sandbox in Keyside's test suite. Magic recipients (`keyside
//! sandbox --help` lists them) trigger rare failures: resets, silence, broken answers, throttling.
//! Control endpoints below `/_sandbox/` show what arrived, and send events.
//!
//! The sandbox is not a server for production: random values are good enough for tests only.
//!
//! # Modules
//!
//! Each module uses modules of its own row and of rows below only.
//!
//! | modules | subject |
//! |---|---|
//! | `serve` | connections, TLS, failures on purpose |
//! | `graph`, `provider`, `control` | handlers: Meta's two hosts, other providers, control endpoints |
//! | `options`, `state` | the options of a sandbox; its rules, stores and webhooks |
//! | `webhook` | delivery of events to apps |
//! | `store` | data: tokens, media, templates, records, rates |
//! | `dialect` | data: the protocols of other providers, and their signatures |
//! | `reply`, `json`, `query`, `body`, `magic`, `ids`, `clock`, `tls` | the ground |

mod body;
mod clock;
mod control;
mod dialect;
mod graph;
mod ids;
mod json;
mod magic;
mod options;
mod provider;
mod query;
mod reply;
mod serve;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod tls;
mod webhook;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use dialect::{
    Dialect, EventSigning, Key, KeyKind, KeyPairError, new_private_key, new_seed, public_key,
    public_key_of_seed,
};
pub use options::{AccountStanding, Options, ThrottleStatus, ThrottleStatusError};
pub use store::attempt::{Attempt, AttemptResult};
pub use store::record::Accepted;
pub use tls::CertificateError;
pub use webhook::{App, CallbackError, Signing, SubscribeError};

use serve::Host;
use state::{Rules, State};
use tls::Authority;
use webhook::{Order, Webhooks};

/// A running sandbox, which stops when dropped.
pub struct Sandbox {
    graph: SocketAddr,
    media: SocketAddr,
    authority: Authority,
    state: Arc<State>,
    listeners: Vec<JoinHandle<Infallible>>,
}

impl Sandbox {
    /// Binds the hosts and serves them on the current runtime.
    ///
    /// # Errors
    /// An address cannot be bound, or a certificate cannot be made.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        let authority = Authority::new()?;
        let names = options.provider.into_iter().flat_map(Dialect::hosts);
        let tls = if options.tls {
            Some(authority.server(names)?)
        } else {
            None
        };
        let client = authority.client(options.callback_ca.as_deref())?;
        let (listener, graph) = bind(options.listen).await?;
        let host = options.provider.map_or(Host::Graph, Host::Provider);
        let mut hosts = vec![(listener, host)];
        let mut media = graph;
        if options.provider.is_none() {
            let (listener, address) = bind(options.media_listen).await?;
            hosts.push((listener, Host::Media));
            media = address;
        }
        let webhooks = Webhooks::new(client, options.provider);
        let state = Arc::new(State::new(rules(&options, media), webhooks));
        for token in &options.tokens {
            state.tokens.introduce(token);
        }
        Ok(Self {
            graph,
            media,
            authority,
            listeners: serve_all(hosts, tls.as_ref(), &state),
            state,
        })
    }

    /// Returns the address of the Graph host, or of the provider's host.
    #[must_use]
    pub fn graph(&self) -> SocketAddr {
        self.graph
    }

    /// Returns the address of the media host, or of the provider's host.
    #[must_use]
    pub fn media(&self) -> SocketAddr {
        self.media
    }

    /// Returns the certificate of the sandbox's authority, in PEM.
    ///
    /// The certificate of the hosts names `localhost`, `127.0.0.1`, `::1`, `graph.facebook.com`,
    /// `lookaside.fbsbx.com` and the provider's hosts.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Makes a token or a provider's key valid; a revoked token stays revoked.
    pub fn accept_token(&self, token: &str) {
        self.state.tokens.introduce(token);
    }

    /// Revokes a token, with immediate effect.
    pub fn revoke_token(&self, token: &str) {
        self.state.tokens.revoke(token);
    }

    /// Returns the accepted messages in the order of acceptance.
    #[must_use]
    pub fn accepted(&self) -> Vec<Accepted> {
        self.state.records.accepted()
    }

    /// Subscribes an app to the account, after the handshake with the callback URL.
    ///
    /// The app then gets the statuses of every message, and the messages of users. Callback URLs
    /// with mutual TLS see a client certificate with the common name of Meta's certificate, issued
    /// by the authority of [`Sandbox::ca_pem`].
    ///
    /// # Errors
    /// The handshake is not answered with 200 and the challenge. Other providers than Meta have no
    /// handshake.
    pub async fn subscribe(&self, app: App) -> Result<(), SubscribeError> {
        self.state.webhooks.subscribe(app).await
    }

    /// Sends `count` text messages of a user at a rate; `{n}` in the text is replaced by the number
    /// of the message.
    pub fn receive_texts(&self, from: &str, text: &str, count: u32, per_second: NonZeroU32) {
        let order = Order::text(from, text).repeated(count, per_second);
        self.state.place(order);
    }

    /// Sends a text message of a user.
    pub fn receive_text(&self, from: &str, text: &str) {
        self.state.place(Order::text(from, text));
    }

    /// Sends a text message signed by a stranger who does not know the app's secret.
    pub fn forge_text(&self, from: &str, text: &str) {
        self.state.place(Order::text(from, text).forged());
    }

    /// Changes the secret of an app, and the secret that signs events. Returns false for an unknown
    /// app.
    pub fn change_app_secret(&self, app: &str, secret: Option<String>, signing: Signing) -> bool {
        self.state.webhooks.change_secret(app, secret, signing)
    }

    /// Returns the attempts to deliver webhooks, oldest first.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.state.webhooks.attempts().list()
    }

    /// Stops the sandbox and closes all its connections, as dropping it does.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
    }
}

/// Makes a token in the form of Meta's tokens, for use with a sandbox only.
#[must_use]
pub fn new_token() -> String {
    ids::token()
}

/// Makes an app secret in the form of Meta's secrets, for use with a sandbox only.
#[must_use]
pub fn new_app_secret() -> String {
    ids::app_secret()
}

/// Returns the magic recipients of Meta or of another provider, each with a description of the
/// effect.
pub fn magic_recipients(
    provider: Option<&Dialect>,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    // Other providers report no failure after acceptance.
    let known = magic::recipients()
        .filter(move |(_, magic, _)| provider.is_none() || magic.later_error().is_none());
    known.map(|(number, _, description)| (number, description))
}

/// The reason for not starting a sandbox.
#[derive(Debug)]
pub enum SandboxError {
    /// An address cannot be bound.
    Bind(SocketAddr, io::Error),
    /// A certificate cannot be made.
    Certificate(CertificateError),
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Certificate(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SandboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(_, error) => Some(error),
            Self::Certificate(error) => Some(error),
        }
    }
}

impl From<CertificateError> for SandboxError {
    fn from(error: CertificateError) -> Self {
        Self::Certificate(error)
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let failed = |error| SandboxError::Bind(address, error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn serve_all(
    hosts: Vec<(TcpListener, Host)>,
    tls: Option<&Arc<ServerConfig>>,
    state: &Arc<State>,
) -> Vec<JoinHandle<Infallible>> {
    let tasks = hosts.into_iter().map(|(listener, host)| {
        let tls = tls.map(Arc::clone);
        tokio::spawn(serve::listen(listener, tls, host, Arc::clone(state)))
    });
    tasks.collect()
}

fn rules(options: &Options, media: SocketAddr) -> Rules {
    let scheme = if options.tls { "https" } else { "http" };
    let media_host = options
        .media_host
        .clone()
        .unwrap_or_else(|| media.to_string());
    Rules {
        scheme,
        media_origin: format!("{scheme}://{media_host}"),
        app_secret: options.app_secret.clone(),
        require_proof: options.require_proof,
        senders: options.senders.clone(),
        per_sender: options.per_sender,
        pair_limit: options.pair_limit,
        throttle_status: options.throttle_status.into(),
        latency: options.latency,
        standing: options.standing.clone(),
    }
}
