//! The checked form of `[egress]`.

use std::time::Duration;

use super::{BypassRule, Reference};

/// `[egress]`: the way out of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressConfig {
    /// The proxy for all connections to other machines that are not covered by `no_proxy`.
    pub proxy: ProxyChoice,
    /// The hosts that are reached without the proxy.
    pub no_proxy: Vec<BypassRule>,
    /// The number of connections to each provider in use that are kept ready: 0 to 16.
    pub warm: usize,
    /// The age at which a connection to a provider ends; above zero.
    pub max_age: Duration,
}

/// The source of the proxy's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyChoice {
    /// The variables `HTTPS_PROXY` and `NO_PROXY`.
    Environment,
    /// No proxy, whatever the environment says.
    Off,
    /// A reference to the URL, which may hold a password.
    Reference(Reference),
}

impl EgressConfig {
    /// Returns the reference to the URL of the proxy.
    #[must_use]
    pub fn reference(&self) -> Option<&Reference> {
        match &self.proxy {
            ProxyChoice::Reference(reference) => Some(reference),
            ProxyChoice::Environment | ProxyChoice::Off => None,
        }
    }
}
