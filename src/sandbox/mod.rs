//! An emulator of the WhatsApp Cloud API, for development and tests: two hosts on loopback that SDKs cannot
//! tell from the real ones, and that say afterwards what was sent. It can stand for another provider instead, with one host
//! and less detail: a [`Dialect`].
//!
//! It knows nothing of the rest of Keyside, and nothing of the rest but `keyside sandbox`, `keyside demo` and
//! the tests knows of it.

mod account;
mod auth;
mod call;
mod control;
mod date;
mod dialect;
mod download;
mod error;
mod graph;
mod ids;
mod json;
mod magic;
mod media;
mod message;
mod multipart;
mod oauth;
mod pace;
mod record;
mod reply;
mod send;
mod serve;
mod state;
mod target;
mod template;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod upload;
mod webhook;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use dialect::{Dialect, Key, Kind, Webhook, new_private_key, new_seed, public_key, public_key_of_seed};
pub use record::Accepted;
use serve::Host;
use state::{Rules, State};
use tls::Authority;
pub use webhook::{App, Attempt, Signing, SubscribeError};
use webhook::{Order, Webhooks};

/// How a sandbox is to behave.
#[derive(Clone)]
pub struct Options {
    /// The provider that it stands for; Meta where there is none. Then the rules of Meta's own are without effect: media,
    /// proofs, senders, the limit of pairs, the status of throttles.
    pub provider: Option<&'static Dialect>,
    /// Where the Graph host, or the provider's, listens; port 0 for any.
    pub listen: SocketAddr,
    /// Where the media host listens; port 0 for any.
    pub media_listen: SocketAddr,
    /// The host, with its port where it needs one, in the links to media; without it, where the media host listens.
    pub media_host: Option<String>,
    /// Whether both speak TLS, with a certificate of the sandbox's own authority.
    pub tls: bool,
    /// The tokens, or the provider's keys, that are valid from the start: tokens with both WhatsApp scopes, of a key in two
    /// halves the public one.
    pub tokens: Vec<String>,
    /// The secret of the app. Without it, no proof is checked.
    pub app_secret: Option<String>,
    /// "Require App Secret": calls without a proof fail.
    pub require_proof: bool,
    /// The phone number ids that may send; empty for any digits.
    pub senders: Vec<String>,
    /// How many messages a number may send each second, 130429 beyond.
    pub per_sender: Option<u32>,
    /// Whether one number may be written to only so often, 131056 beyond: a message in 6 s, 45 of them borrowed.
    pub pair_limit: bool,
    /// The HTTP status of those two: 400, as documented now, or 429.
    pub throttle_status: u16,
    /// How long every answer of the Graph host takes.
    pub latency: Duration,
    /// The authorities of callback URLs with TLS, in PEM; the sandbox's own where they are missing.
    pub callback_ca: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Options {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Options {
            provider: None,
            listen: any,
            media_listen: any,
            media_host: None,
            tls: false,
            tokens: Vec::new(),
            app_secret: None,
            require_proof: false,
            senders: Vec::new(),
            per_sender: None,
            pair_limit: false,
            throttle_status: 400,
            latency: Duration::ZERO,
            callback_ca: None,
        }
    }
}

/// A sandbox that runs. It ends when it is dropped.
pub struct Sandbox {
    graph: SocketAddr,
    media: SocketAddr,
    authority: Authority,
    state: Arc<State>,
    listeners: Vec<JoinHandle<std::convert::Infallible>>,
}

impl Sandbox {
    /// Binds its hosts and serves them on the current runtime.
    pub async fn start(options: Options) -> Result<Sandbox, SandboxError> {
        let authority = Authority::new().map_err(|error| SandboxError::Certificate(error.into()))?;
        let name = options.provider.map(|dialect| dialect.host);
        let tls = options.tls.then(|| authority.server(name).map_err(SandboxError::Certificate)).transpose()?;
        let (listener, graph) = bind(options.listen).await?;
        let mut hosts = vec![(listener, options.provider.map_or(Host::Graph, Host::Provider))];
        let mut media = graph;
        if options.provider.is_none() {
            let (listener, address) = bind(options.media_listen).await?;
            hosts.push((listener, Host::Media));
            media = address;
        }
        let client = authority.client(options.callback_ca.as_deref()).map_err(SandboxError::Certificate)?;
        let state = Arc::new(State::new(rules(&options, media)?, Webhooks::new(client, options.provider)));
        options.tokens.iter().for_each(|token| state.tokens.introduce(token));
        let serve = |(listener, host)| tokio::spawn(serve::listen(listener, tls.clone(), host, Arc::clone(&state)));
        let listeners = hosts.into_iter().map(serve).collect();
        Ok(Sandbox { graph, media, authority, state, listeners })
    }

    /// Where the Graph host, or the provider's, listens.
    pub fn graph(&self) -> SocketAddr {
        self.graph
    }

    /// Where the media host listens; where the provider's only host does.
    pub fn media(&self) -> SocketAddr {
        self.media
    }

    /// The certificate of the authority that vouches for its hosts, in PEM. Their certificate names `localhost`,
    /// `127.0.0.1`, `::1`, `graph.facebook.com`, `lookaside.fbsbx.com` and the provider's host.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Makes a token, or a key of the provider's, valid; one that was revoked stays so.
    pub fn accept_token(&self, token: &str) {
        self.state.tokens.introduce(token);
    }

    /// Takes a token back, at once.
    pub fn revoke_token(&self, token: &str) {
        self.state.tokens.revoke(token);
    }

    /// The sends that were accepted, in order.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.state.records.accepted()
    }

    /// Subscribes an app to the account, after the handshake with its callback URL. From then on it gets the status of
    /// every message that is sent, and what users write. The client certificate that callbacks with TLS may ask for has
    /// the common name of Meta's and the authority of [`Sandbox::ca_pem`].
    ///
    /// # Errors
    /// Where the handshake is not answered with 200 and the challenge. Other providers than Meta have none.
    pub async fn subscribe(&self, app: App) -> Result<(), SubscribeError> {
        self.state.webhooks.subscribe(app).await
    }

    /// A user writes, so many times at so many a second.
    pub fn receive_texts(&self, from: &str, text: &str, count: u32, per_second: NonZeroU32) {
        self.state.order(Order::text(from, text).repeated(count, per_second));
    }

    /// A user writes, once.
    pub fn receive_text(&self, from: &str, text: &str) {
        self.state.order(Order::text(from, text));
    }

    /// Somebody who does not know the app's secret says that a user wrote.
    pub fn forge_text(&self, from: &str, text: &str) {
        self.state.order(Order::text(from, text).forged());
    }

    /// Changes the secret of an app, and says which one signs from now on; whether the app is there.
    pub fn change_app_secret(&self, app: &str, secret: Option<String>, signing: Signing) -> bool {
        self.state.webhooks.change_secret(app, secret, signing)
    }

    /// Every attempt to deliver a webhook, in order.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.state.webhooks.attempts().list()
    }

    /// Stops it and closes all its connections, as dropping it does.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
    }
}

/// A new token that looks like one of Meta's. Good for a sandbox, not for more.
pub fn new_token() -> String {
    ids::token()
}

/// A new app secret that looks like one of Meta's. Good for a sandbox, not for more.
pub fn new_app_secret() -> String {
    ids::app_secret()
}

/// The recipients for whom something happens at Meta, or at another provider, and what.
pub fn magic_recipients(provider: Option<&Dialect>) -> impl Iterator<Item = (&'static str, &'static str)> {
    magic::recipients(provider.is_none())
}

/// Why a sandbox did not start.
#[derive(Debug)]
pub enum SandboxError {
    /// An address could not be listened on.
    Bind(SocketAddr, io::Error),
    /// No certificate could be made.
    Certificate(Box<dyn std::error::Error + Send + Sync>),
    /// The status for throttles is not an HTTP error status.
    ThrottleStatus(u16),
}

impl std::fmt::Display for SandboxError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SandboxError::Bind(address, error) => {
                write!(formatter, "cannot listen on {address}: {error}")
            }
            SandboxError::Certificate(error) => {
                write!(formatter, "cannot make a certificate: {error}")
            }
            SandboxError::ThrottleStatus(status) => {
                write!(formatter, "{status} is no status for a throttled request: expected 400 or 429")
            }
        }
    }
}

impl std::error::Error for SandboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SandboxError::Bind(_, error) => Some(error),
            SandboxError::Certificate(error) => Some(error.as_ref()),
            SandboxError::ThrottleStatus(_) => None,
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let failed = |error| SandboxError::Bind(address, error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn rules(options: &Options, media: SocketAddr) -> Result<Rules, SandboxError> {
    let throttle_status = match options.throttle_status {
        400 => StatusCode::BAD_REQUEST,
        429 => StatusCode::TOO_MANY_REQUESTS,
        other => return Err(SandboxError::ThrottleStatus(other)),
    };
    let scheme = if options.tls { "https" } else { "http" };
    let media_host = options.media_host.clone().unwrap_or_else(|| media.to_string());
    Ok(Rules {
        scheme,
        media_origin: format!("{scheme}://{media_host}"),
        app_secret: options.app_secret.clone(),
        require_proof: options.require_proof,
        senders: options.senders.clone(),
        per_sender: options.per_sender,
        pair_limit: options.pair_limit,
        throttle_status,
        latency: options.latency,
    })
}
