//! Scheme, host and port of an upstream, and the certificate authorities for upstreams.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Scheme, Uri};

use crate::document::Malformed;

/// Scheme, host and port of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// True for `https`. False only for an upstream on loopback, in development and tests.
    pub tls: bool,
    /// The host name in lower case; an IPv6 address in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Origin {
    /// Returns the authority in the form of a `Host` header, without the port that the scheme
    /// implies.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.implied_port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns true if the authority `HOST` or `HOST:PORT` names this origin.
    #[must_use]
    pub fn is_at(&self, authority: &str) -> bool {
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of a bare IPv6 address stands inside the brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, Some(self.implied_port())),
        };
        self.host.eq_ignore_ascii_case(host) && port == Some(self.port)
    }

    /// True if requests cross a network in clear text.
    #[must_use]
    pub fn is_in_clear(&self) -> bool {
        !self.tls && !is_loopback(&self.host)
    }

    fn implied_port(&self) -> u16 {
        if self.tls { HTTPS_PORT } else { HTTP_PORT }
    }
}

impl FromStr for Origin {
    type Err = Malformed;

    /// Reads `https://HOST` or `https://HOST:PORT`; `http://` only on loopback.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let uri: Uri = text.parse().map_err(|_| NOT_AN_ORIGIN)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(NOT_AN_ORIGIN);
        };
        let is_bare = !authority.as_str().contains('@')
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !text.contains('#');
        let tls = *scheme == Scheme::HTTPS;
        if !is_bare || (!tls && *scheme != Scheme::HTTP) {
            return Err(NOT_AN_ORIGIN);
        }
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16();
        // `host:` and `host:99999` are authorities for the parser, although neither has a port
        // number.
        let is_whole = port.is_some() || host.len() == authority.as_str().len();
        if host.is_empty() || port == Some(0) || !is_whole {
            return Err(NOT_AN_ORIGIN);
        }
        if !tls && !is_loopback(&host) {
            return Err(NO_TLS);
        }
        let implied = if tls { HTTPS_PORT } else { HTTP_PORT };
        Ok(Self {
            tls,
            host,
            port: port.unwrap_or(implied),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']);
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The certificate authorities that may vouch for an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ca {
    /// Mozilla's list, compiled into Keyside.
    Bundled,
    /// The list of the operating system.
    System,
    /// The certificates of a PEM file, and no others.
    File(PathBuf),
}

/// The port that `https` implies: RFC 9110, section 4.2.2.
const HTTPS_PORT: u16 = 443;
/// The port that `http` implies: RFC 9110, section 4.2.1.
const HTTP_PORT: u16 = 80;

const NOT_AN_ORIGIN: Malformed =
    Malformed::new("not an upstream, expected https://HOST or https://HOST:PORT");
const NO_TLS: Malformed =
    Malformed::new("without TLS, expected https:// (http:// only for an upstream on loopback)");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_https_and_ends_after_the_port() {
        for (text, expected) in [
            (
                "https://graph.facebook.com",
                Some((true, "graph.facebook.com", 443)),
            ),
            (
                "https://Graph.Facebook.com/",
                Some((true, "graph.facebook.com", 443)),
            ),
            (
                "https://example.com:8443",
                Some((true, "example.com", 8443)),
            ),
            (
                "https://[2001:db8::1]:8443",
                Some((true, "[2001:db8::1]", 8443)),
            ),
            ("http://127.0.0.1:9000", Some((false, "127.0.0.1", 9000))),
            ("http://127.1.2.3", Some((false, "127.1.2.3", 80))),
            ("http://localhost:1", Some((false, "localhost", 1))),
            ("http://[::1]:9000", Some((false, "[::1]", 9000))),
            ("http://graph.facebook.com", None),
            ("http://localhost.example.com", None),
            ("http://127.0.0.1.example.com", None),
            ("https://example.com/v23.0", None),
            ("https://example.com?a=b", None),
            ("https://example.com#a", None),
            ("https://user:password@example.com", None),
            ("https://example.com:", None),
            ("https://example.com:0", None),
            ("https://example.com:99999", None),
            ("ftp://example.com", None),
            ("example.com", None),
            ("https://", None),
            ("", None),
        ] {
            let origin = text.parse::<Origin>().ok();
            let origin = origin.as_ref().map(|o| (o.tls, o.host.as_str(), o.port));
            assert_eq!(origin, expected, "{text}");
        }
    }

    #[test]
    fn an_upstream_is_displayed_as_it_is_written() {
        for text in [
            "https://graph.facebook.com",
            "https://example.com:8443",
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_the_parser(text in "\\PC{0,60}|[{}/.v:a\\[\\]@#?-]{0,30}") {
            let _origin = text.parse::<Origin>();
        }
    }
}
