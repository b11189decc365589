//! The addresses of Keyside itself, to which no upstream may lead.
//!
//! In alias mode the hosts of providers lead applications to Keyside. If Keyside reads the same
//! hosts file, each request would come back to Keyside.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::error::UpstreamError;
use crate::provider::Origin;

/// The addresses at which this process listens for applications.
#[derive(Clone, Debug, Default)]
pub struct OwnAddresses(Arc<[SocketAddr]>);

impl OwnAddresses {
    /// Makes a list of listening addresses.
    #[must_use]
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(addresses.into_iter().collect())
    }

    /// Takes Keyside's own addresses out of the addresses of an upstream.
    ///
    /// # Errors
    /// `Unreachable` if no other address is left.
    pub(super) fn without_own(
        &self,
        host: &str,
        mut found: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        let Some(own) = found.iter().copied().find(|address| self.contain(*address)) else {
            return Ok(found);
        };
        found.retain(|address| !self.contain(*address));
        if found.is_empty() {
            return Err(UpstreamError::Unreachable(leads_back(host, own)));
        }
        Ok(found)
    }

    /// Returns the fault of an upstream whose name leads back to Keyside; `None` if the name leads
    /// elsewhere, or cannot be resolved now.
    pub(super) async fn fault_of(&self, origin: &Origin) -> Option<String> {
        let host = origin.host.trim_matches(['[', ']']);
        let lookup = tokio::net::lookup_host((host, origin.port));
        let found = timeout(LOOKUP_TIMEOUT, lookup).await.ok()?.ok()?;
        self.without_own(&origin.host, found.collect())
            .err()
            .map(|error| error.to_string())
    }

    fn contain(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.0.iter().any(|own| {
            let is_at_ip = own.ip() == ip || (own.ip().is_unspecified() && is_of_this_machine(ip));
            own.port() == address.port() && is_at_ip
        })
    }
}

fn leads_back(host: &str, own: SocketAddr) -> String {
    format!(
        "{host} resolves to {own}, which is Keyside itself: give the hosts entries to the applications alone, so that \
         Keyside finds the provider (docs/alias.md)"
    )
}

/// True for an address of this machine: the kernel binds no socket to another.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// The longest look-up of a name for a check, which asks whether the name leads back to this
/// machine. The hosts file answers within a millisecond; a resolver that takes longer than 2 s is
/// not the hosts file.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_never_leads_to_a_listener_of_keyside() {
        let own = |addresses: &[&str]| {
            OwnAddresses::new(addresses.iter().map(|address| address.parse().unwrap()))
        };
        let origin: Origin = "https://graph.facebook.com".parse().unwrap();
        let here = &["127.0.0.1:443", "[::1]:443"][..];
        let anywhere = &["0.0.0.0:443"][..];
        for (listening, found, left) in [
            (here, &["127.0.0.1:443"][..], None),
            (here, &["[::1]:443", "127.0.0.1:443"], None),
            (here, &["[::ffff:127.0.0.1]:443"], None),
            (here, &["127.0.0.2:443"], Some(1)),
            (here, &["127.0.0.1:8443"], Some(1)),
            (here, &["127.0.0.1:443", "157.240.0.1:443"], Some(1)),
            (anywhere, &["127.0.0.1:443"], None),
            (anywhere, &["127.0.0.9:443"], None),
            (anywhere, &["203.0.113.7:443"], Some(1)),
            (&[], &["127.0.0.1:443"], Some(1)),
        ] {
            let addresses = found.iter().map(|address| address.parse().unwrap());
            let kept = own(listening)
                .without_own(&origin.host, addresses.collect())
                .map(|kept| kept.len())
                .ok();
            assert_eq!(kept, left, "{listening:?} {found:?}");
        }
    }

    #[tokio::test]
    async fn a_fault_names_the_host_and_the_address() {
        let own = OwnAddresses::new(["127.0.0.1:443".parse().unwrap()]);
        let fault = own.fault_of(&"https://127.0.0.1".parse().unwrap()).await;
        let fault = fault.unwrap();
        assert!(
            fault.contains("127.0.0.1:443, which is Keyside itself"),
            "{fault}"
        );
        assert_eq!(
            own.fault_of(&"https://127.0.0.1:9".parse().unwrap()).await,
            None
        );
    }
}
