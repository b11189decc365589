//! The URL of a NATS or AMQP server, taken apart. The libraries get the parts, never the URL: their
//! errors and logs may quote a URL.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The parts of a server's URL.
pub(super) struct BrokerUrl {
    pub(super) tls: bool,
    pub(super) user: Option<Zeroizing<String>>,
    pub(super) password: Option<Zeroizing<String>>,
    /// The servers; never empty.
    pub(super) hosts: Vec<(String, u16)>,
    /// The text behind the first slash, percent-decoded.
    pub(super) path: Option<String>,
}

/// The words of a protocol's URLs.
pub(super) struct UrlScheme {
    pub(super) plain: &'static str,
    pub(super) tls: &'static str,
    pub(super) port: u16,
    pub(super) tls_port: u16,
    /// The form of a URL, for messages.
    pub(super) form: &'static str,
}

impl BrokerUrl {
    /// Reads `SCHEME://[[USER][:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/PATH]`.
    pub(super) fn parse(url: &Secret, scheme: &UrlScheme) -> Result<Self, BrokerUrlError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the place where the URL of a message server becomes a login"
        )]
        let (name, rest) = url.expose().split_once("://").ok_or(scheme.fault())?;
        let tls = match name {
            _ if name == scheme.plain => false,
            _ if name == scheme.tls => true,
            _ => return Err(scheme.fault()),
        };
        if rest.contains(['?', '#']) {
            return Err(BrokerUrlError::Parameter);
        }
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':')) {
            None => (None, None),
            Some(Some((user, password))) => (Some(user), Some(password)),
            Some(None) => (login, None),
        };
        let port = if tls { scheme.tls_port } else { scheme.port };
        Ok(Self {
            tls,
            user: user.map(decoded).transpose()?.map(Zeroizing::new),
            password: password.map(decoded).transpose()?.map(Zeroizing::new),
            hosts: hosts
                .split(',')
                .map(|host| host_and_port(host, port))
                .collect::<Result<_, _>>()?,
            path: path.map(decoded).transpose()?,
        })
    }

    /// True if a password or token would cross a network without TLS.
    pub(super) fn exposes_password(&self) -> bool {
        let has_login = self.user.is_some() || self.password.is_some();
        has_login && !self.tls && !self.hosts.iter().all(|(host, _)| is_loopback(host))
    }
}

impl UrlScheme {
    fn fault(&self) -> BrokerUrlError {
        BrokerUrlError::Form(self.form)
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback()) || host.eq_ignore_ascii_case("localhost")
}

/// Reads `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), BrokerUrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(BrokerUrlError::Host)?,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| BrokerUrlError::Host)?,
        None if port.is_empty() => default_port,
        None => return Err(BrokerUrlError::Host),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_plain) {
        return Err(BrokerUrlError::Host);
    }
    Ok((host.to_owned(), port))
}

fn decoded(text: &str) -> Result<String, BrokerUrlError> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(Into::into).map_err(|_| BrokerUrlError::Encoding)
}

/// The fault of a message server's URL. No message shows a part of the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerUrlError {
    /// The scheme is unknown. Holds the expected form.
    Form(&'static str),
    /// The URL has a query or a fragment.
    Parameter,
    /// A host or port is malformed.
    Host,
    /// A part is not UTF-8 after percent-decoding.
    Encoding,
    /// The URL has a path, without a meaning in the protocol.
    Path,
}

impl fmt::Display for BrokerUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(form) => write!(f, "not the URL of such a server, expected {form}"),
            Self::Parameter => f.write_str(
                "a ? or # in the URL, expected %3F or %23 where a password has one, and no parameters",
            ),
            Self::Host => f.write_str("no host, expected HOST, HOST:PORT or [IPV6]:PORT"),
            Self::Encoding => f.write_str("a part that is not UTF-8 after percent-decoding"),
            Self::Path => f.write_str("a path, expected nothing behind the hosts"),
        }
    }
}

impl std::error::Error for BrokerUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    const AMQP: UrlScheme = UrlScheme {
        plain: "amqp",
        tls: "amqps",
        port: 5672,
        tls_port: 5671,
        form: "amqp://",
    };

    fn parse(url: &str) -> Result<BrokerUrl, BrokerUrlError> {
        let secret = Secret::parse(Zeroizing::new(url.as_bytes().to_vec())).unwrap();
        BrokerUrl::parse(&secret, &AMQP)
    }

    #[test]
    fn a_url_is_taken_apart_into_login_hosts_and_path() {
        let url = parse("amqps://u%40x:p%2Fw%3A@a,b:7,[::1]:9/%2Fv").unwrap();
        assert!(url.tls);
        assert_eq!(url.user.unwrap().as_str(), "u@x");
        assert_eq!(url.password.unwrap().as_str(), "p/w:");
        let hosts: Vec<_> = url.hosts.iter().map(|(h, p)| (h.as_str(), *p)).collect();
        assert_eq!(hosts, [("a", 5671), ("b", 7), ("::1", 9)]);
        assert_eq!(url.path.as_deref(), Some("/v"));
        let url = parse("amqp://token@localhost").unwrap();
        assert_eq!(url.user.unwrap().as_str(), "token");
        assert!(!url.tls && url.password.is_none() && url.path.is_none());
        assert_eq!(url.hosts, [("localhost".to_owned(), 5672)]);
    }

    #[test]
    fn a_password_is_exposed_by_a_network_without_tls() {
        for (url, expected) in [
            ("amqp://u:p@rabbit", true),
            ("amqp://token@rabbit", true),
            ("amqp://u:p@localhost,rabbit", true),
            ("amqps://u:p@rabbit", false),
            ("amqp://rabbit", false),
            ("amqp://u:p@127.0.0.1,[::1]:7,localhost", false),
        ] {
            assert_eq!(parse(url).unwrap().exposes_password(), expected, "{url}");
        }
    }

    #[test]
    fn a_malformed_url_is_refused_without_showing_its_secrets() {
        for url in [
            "rabbit:5672",
            "http://CANARY@rabbit",
            "amqp://",
            "amqp://u:CANARY@",
            "amqp://a,,b",
            "amqp://a:port",
            "amqp://a:70000",
            "amqp://[::1",
            "amqp://a?CANARY=1",
            "amqp://:CANARY#x@a",
            "amqp://u:%FFCANARY@a",
            "amqp://a b",
        ] {
            let error = parse(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!error.to_string().contains("CANARY"), "{url}");
        }
    }
}
