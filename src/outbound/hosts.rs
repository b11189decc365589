//! The names of Keyside and of its upstreams, in `Host` and in targets.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use super::error::OutboundError;
use crate::listener::Link;

/// The host names that Keyside answers for, besides the names of loopback: lower case, without
/// ports.
#[derive(Debug, Default)]
pub struct Hosts {
    /// The hosts of the providers in use.
    pub upstreams: HashSet<String>,
    /// The names that the configuration allows.
    pub allowed: HashSet<String>,
}

/// An upstream that a request names, in a target in absolute form or in `Host`. Only a route to
/// this upstream may take the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedUpstream {
    /// The host in lower case.
    pub host: String,
    /// The port, written or implied by the scheme; `None` for a `Host`, whose port is that of the
    /// listener.
    pub port: Option<u16>,
}

/// A name that Keyside answers for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServedName {
    /// A name of Keyside's own.
    Keyside,
    /// The host of an upstream, in lower case: an application in alias mode takes Keyside for the
    /// provider.
    Upstream(String),
}

impl ServedName {
    /// The upstream that a `Host` header with this name means.
    pub(super) fn upstream(self) -> Option<NamedUpstream> {
        match self {
            Self::Keyside => None,
            Self::Upstream(host) => Some(NamedUpstream { host, port: None }),
        }
    }
}

impl Hosts {
    /// The name in the authority of a `Host` header; `None` for a name that Keyside does not answer
    /// for.
    pub(super) fn name(&self, authority: &str, link: &Link) -> Option<ServedName> {
        let host = host_of(authority)?;
        if is_loopback(host) || is_own(host, link) {
            return Some(ServedName::Keyside);
        }
        let lower = host.to_ascii_lowercase();
        if self.allowed.contains(&lower) {
            return Some(ServedName::Keyside);
        }
        self.upstreams
            .contains(&lower)
            .then_some(ServedName::Upstream(lower))
    }
}

/// Returns the upstream that a target in absolute form names; `None` for another form, and for a
/// name of Keyside's own. A proxy is addressed in this form, and some HTTP libraries use the form
/// for every server.
///
/// # Errors
/// 421 for any other name.
pub fn named_upstream(
    target: &Uri,
    hosts: &Hosts,
    link: &Link,
) -> Result<Option<NamedUpstream>, OutboundError> {
    let Some(authority) = target.authority() else {
        return Ok(None);
    };
    let implied = match target.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(OutboundError::WrongHost),
    };
    let host = host_of(authority.as_str()).ok_or(OutboundError::WrongHost)?;
    let port = authority.port_u16().unwrap_or(implied);
    let own_port = link.local().is_none_or(|local| local.port() == port);
    let lower = host.to_ascii_lowercase();
    if hosts.allowed.contains(&lower) || (own_port && (is_loopback(host) || is_own(host, link))) {
        return Ok(None);
    }
    if hosts.upstreams.contains(&lower) {
        return Ok(Some(NamedUpstream {
            host: lower,
            port: Some(port),
        }));
    }
    Err(OutboundError::WrongHost)
}

/// True for the literal address at which the connection arrived: a pod may call a sidecar by its
/// address.
fn is_own(host: &str, link: &Link) -> bool {
    let Some(local) = link.local() else {
        return false;
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let named = match bare {
        Some(bare) => bare.parse().map(IpAddr::V6),
        None => host.parse().map(IpAddr::V4),
    };
    named.is_ok_and(|named| named.to_canonical() == local.ip().to_canonical())
}

/// The host of an authority, without the port; `None` for a malformed authority.
pub fn host_of(authority: &str) -> Option<&str> {
    let port_at = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(port_at)?;
    let port_is_fine = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.parse::<u16>().is_ok());
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let host_is_fine = host.starts_with('[') || (!host.is_empty() && host.bytes().all(is_name));
    (port_is_fine && host_is_fine).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    let v6 = || {
        host.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<Ipv6Addr>()
            .ok()
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
        || v6().is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Peer;

    #[test]
    fn a_host_is_taken_apart_or_refused() {
        for (authority, host) in [
            ("localhost", "localhost"),
            ("a.b:80", "a.b"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("a:", "a"),
        ] {
            let expected = (authority != "a:").then_some(host);
            assert_eq!(host_of(authority), expected, "{authority}");
        }
        for authority in [
            "", ":80", "a@b", "a/c", "a:b", "a:80:90", "a:99999", "[::1", "[::1]x", "a b", "\u{e9}",
        ] {
            assert_eq!(host_of(authority), None, "{authority}");
        }
    }

    #[test]
    fn loopback_has_many_names_and_others_are_none() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_target_in_absolute_form_names_keyside_or_an_upstream() {
        let hosts = Hosts {
            upstreams: HashSet::from(["graph.test".to_owned()]),
            allowed: HashSet::from(["sidecar.test".to_owned()]),
        };
        let local = "[::ffff:10.0.0.1]:8080".parse().ok();
        let link = Link::new(Peer::Unix { uid: 0 }).arrived_at(local);
        let upstream = |port| {
            let host = "graph.test".to_owned();
            let port = Some(port);
            Some(Some(NamedUpstream { host, port }))
        };
        for (target, expected) in [
            ("/a", Some(None)),
            ("http://localhost:8080/a", Some(None)),
            ("http://127.0.0.1:8080/a", Some(None)),
            ("http://[::1]:8080/a", Some(None)),
            ("http://10.0.0.1:8080/a", Some(None)),
            ("http://Sidecar.Test:1/a", Some(None)),
            ("https://graph.test/a", upstream(443)),
            ("http://GRAPH.test/a", upstream(80)),
            ("http://graph.test:99/a", upstream(99)),
            ("http://localhost/a", None),
            ("http://localhost:8081/a", None),
            ("http://10.0.0.1/a", None),
            ("http://10.0.0.2:8080/a", None),
            ("ftp://graph.test/a", None),
            ("ws://localhost:8080/a", None),
            ("http://evil.test/a", None),
            ("http://graph.test@evil.test/a", None),
        ] {
            let found = named_upstream(&target.parse().unwrap(), &hosts, &link).ok();
            assert_eq!(found, expected, "{target}");
        }
    }
    #[test]
    fn a_host_names_an_upstream_unless_it_is_a_name_of_keyside() {
        let hosts = Hosts {
            upstreams: ["graph.test", "both.test", "127.0.0.1", "10.0.0.1"]
                .map(str::to_owned)
                .into(),
            allowed: HashSet::from(["both.test".to_owned()]),
        };
        let link = Link::new(Peer::Unix { uid: 0 }).arrived_at("10.0.0.1:443".parse().ok());
        let upstream = || Some(ServedName::Upstream("graph.test".to_owned()));
        let keyside = || Some(ServedName::Keyside);
        for (host, expected) in [
            ("graph.test", upstream()),
            ("Graph.Test:8443", upstream()),
            ("both.test", keyside()),
            ("127.0.0.1:443", keyside()),
            ("10.0.0.1", keyside()),
            ("LocalHost", keyside()),
            ("other.test", None),
            ("graph.test:x", None),
        ] {
            assert_eq!(hosts.name(host, &link), expected, "{host}");
        }
    }
}
