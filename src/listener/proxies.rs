//! The client behind a reverse proxy.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::peer::Peer;
use crate::provider::Network;

/// The reverse proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[Network]>);

impl TrustedProxies {
    /// Makes a list of the proxies in these networks.
    #[must_use]
    pub fn new(networks: &[Network]) -> Self {
        Self(networks.into())
    }

    /// Returns true if the connections of an address are counted. Behind a private address stands a
    /// proxy or an own machine, and behind a trusted proxy stand many clients.
    pub(super) fn counts_connections_of(&self, address: IpAddr) -> bool {
        !is_private(address) && !self.contain(address)
    }

    /// Returns the client that a trusted proxy names: the rightmost address that is no trusted
    /// proxy itself. Every address further left could be the client's invention. A Unix socket
    /// counts as loopback.
    pub(super) fn client(&self, peer: &Peer, headers: &HeaderMap) -> Option<IpAddr> {
        if self.0.is_empty() || !self.contain(peer.ip_or_loopback()) {
            return None;
        }
        let mut last = None;
        for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            let entries = value.to_str().ok()?.rsplit(',').map(str::trim);
            // RFC 9110, section 5.6.1: an empty element of a list means nothing.
            for entry in entries.filter(|entry| !entry.is_empty()) {
                let Some(address) = address(entry) else {
                    return last;
                };
                last = Some(address);
                if !self.contain(address) {
                    return last;
                }
            }
        }
        last
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// Reads an address, with or without a port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = || entry.trim_start_matches('[').trim_end_matches(']').parse();
    let address = bare()
        .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()?;
    Some(address.to_canonical())
}

/// Returns true for an address that the Internet does not route: loopback, link-local, RFC 1918,
/// `fc00::/7`, and the shared space of carriers, 100.64.0.0/10.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0b1100_0000 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_trusted_proxy() {
        let trusted = TrustedProxies::new(&[
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8:1::/48".parse().unwrap(),
        ]);
        for (peer, lines, expected) in [
            ("10.0.0.1", &["203.0.113.9"][..], Some("203.0.113.9")),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9"], Some("203.0.113.9")),
            (
                "10.0.0.1",
                &["1.1.1.1, 203.0.113.9, 10.2.3.4"],
                Some("203.0.113.9"),
            ),
            (
                "10.0.0.1",
                &["1.1.1.1", "203.0.113.9,10.2.3.4"],
                Some("203.0.113.9"),
            ),
            ("10.0.0.1", &["203.0.113.9:4711"], Some("203.0.113.9")),
            ("10.0.0.1", &["::ffff:203.0.113.9"], Some("203.0.113.9")),
            (
                "2001:db8:1::7",
                &["[2001:db8:2::1]:443"],
                Some("2001:db8:2::1"),
            ),
            ("2001:db8:1::7", &["[2001:db8:2::1]"], Some("2001:db8:2::1")),
            ("::ffff:10.0.0.1", &["203.0.113.9"], Some("203.0.113.9")),
            ("10.0.0.1", &["10.9.9.9, 10.2.3.4"], Some("10.9.9.9")),
            // A word that is no address ends the chain.
            ("10.0.0.1", &["203.0.113.9, unknown"], None),
            (
                "10.0.0.1",
                &["203.0.113.9, unknown, 10.2.3.4"],
                Some("10.2.3.4"),
            ),
            (
                "10.0.0.1",
                &["203.0.113.9,, 10.2.3.4,"],
                Some("203.0.113.9"),
            ),
            ("10.0.0.1", &[""], None),
            ("10.0.0.1", &[], None),
            // Nobody believes a peer that is no proxy.
            ("203.0.113.1", &["198.51.100.7"], None),
        ] {
            let peer = Peer::Tcp(SocketAddr::new(peer.parse().unwrap(), 1));
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
            }
            let expected = expected.map(|address| address.parse::<IpAddr>().unwrap());
            assert_eq!(
                trusted.client(&peer, &headers),
                expected,
                "{peer} {lines:?}"
            );
        }
        let headers =
            HeaderMap::from_iter([(X_FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"))]);
        let peer = Peer::Tcp(([127, 0, 0, 1], 1).into());
        assert_eq!(TrustedProxies::default().client(&peer, &headers), None);
    }

    #[test]
    fn only_public_addresses_that_are_no_proxy_are_counted() {
        let trusted = TrustedProxies::new(&["198.51.100.0/24".parse().unwrap()]);
        for (address, expected) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.1.1", false),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("100.128.0.1", true),
            ("::1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::ffff:10.0.0.1", false),
            ("2001:db8::1", true),
            ("203.0.113.9", true),
            ("198.51.100.7", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(
                trusted.counts_connections_of(address),
                expected,
                "{address}"
            );
        }
    }
}
