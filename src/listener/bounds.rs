//! The bounds that a listener sets for peers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::link::Timeouts;
use super::proxies::TrustedProxies;
use crate::refusal_form::RefusalForms;

/// The bounds and the transport of the connections of one listener.
#[derive(Clone)]
pub struct ConnectionBounds {
    /// Timeouts of a peer.
    pub timeouts: Timeouts,
    /// Longest head of a request: request line and headers, in bytes.
    pub max_head: usize,
    /// The reverse proxies that name the client. Read at each connection and request, as the TLS
    /// settings.
    pub proxies: Arc<ArcSwap<TrustedProxies>>,
    /// TLS settings; `None` for plain HTTP. Read at each handshake, so that a new certificate needs
    /// no restart.
    pub tls: Option<Arc<ArcSwap<ServerConfig>>>,
    /// The forms of refusals that the handler cannot write. Read at each refusal.
    pub refusals: Arc<ArcSwap<RefusalForms>>,
    /// Advice for a peer that sends TLS to a plain port.
    pub tls_advice: &'static str,
}

impl ConnectionBounds {
    /// The bounds for processes of this machine.
    #[must_use]
    pub fn local() -> Self {
        Self {
            timeouts: Timeouts {
                head: Duration::from_secs(10),
                // Longer than the pools of common clients keep a connection (90 s), so that the
                // client closes first and no request meets a closing connection.
                keep_alive: Duration::from_secs(120),
                write: Duration::from_secs(30),
            },
            max_head: 32 * 1024,
            proxies: Arc::default(),
            refusals: Arc::default(),
            tls: None,
            tls_advice: "use http:// on localhost; Keyside adds TLS on the way to the provider",
        }
    }

    /// The bounds for watchers, local or remote: probes and readers of metrics, with a request
    /// every few seconds and no body.
    #[must_use]
    pub fn watchers() -> Self {
        Self {
            timeouts: Timeouts {
                head: Duration::from_secs(5),
                // Longer than the interval of usual readers (60 s).
                keep_alive: Duration::from_secs(75),
                write: Duration::from_secs(10),
            },
            max_head: 16 * 1024,
            tls_advice: "use http://; the listener of [metrics] has no TLS",
            ..Self::local()
        }
    }

    /// The bounds for providers, and for every other host that finds the address.
    #[must_use]
    pub fn internet(
        tls: Option<Arc<ArcSwap<ServerConfig>>>,
        proxies: Arc<ArcSwap<TrustedProxies>>,
    ) -> Self {
        Self {
            timeouts: Timeouts {
                head: Duration::from_secs(5),
                // Longer than reverse proxies keep an idle connection (nginx: 60 s).
                keep_alive: Duration::from_secs(75),
                write: Duration::from_secs(10),
            },
            max_head: 16 * 1024,
            proxies,
            refusals: Arc::default(),
            tls,
            tls_advice: "set [inbound.tls], or let what stands in front of Keyside terminate TLS",
        }
    }

    /// True for an address whose connections are counted against a bound of its own.
    pub(super) fn counts_connections_of(&self, address: IpAddr) -> bool {
        self.proxies.load().counts_connections_of(address)
    }
}
