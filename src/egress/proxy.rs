//! A proxy: the address, and the credentials in the URL.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::Ipv6Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// An HTTP proxy that opens tunnels. Output shows scheme, host and port alone.
pub struct Proxy {
    tls: bool,
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`, if the URL has a user.
    authorization: Option<Zeroizing<String>>,
    /// User and password, percent-encoded as in the URL.
    userinfo: Option<Zeroizing<String>>,
    /// The digest of the whole URL: proxies are equal with equal credentials.
    digest: [u8; 32],
}

/// The fault of a proxy's URL. The message never shows the URL, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyUrlError {
    /// A scheme that Keyside does not speak.
    Scheme,
    /// Not a host with a port, or more than that.
    Form,
    /// A user or a password with a control character.
    Credentials,
}

impl Proxy {
    /// Reads `http://HOST:PORT` or `https://HOST:PORT`, perhaps with `USER:PASSWORD@`. Without a
    /// scheme the proxy speaks plain HTTP, as for curl and Go.
    ///
    /// # Errors
    /// The fault of the text.
    pub fn parse(url: &str) -> Result<Self, ProxyUrlError> {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(ProxyUrlError::Scheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = host_and_port(place).ok_or(ProxyUrlError::Form)?;
        let port = match port {
            Some(port) => port,
            None if tls => 443,
            None => 80,
        };
        let user = user.filter(|user| !user.is_empty());
        let authorization = user.map(basic).transpose()?;
        let digest = Sha256::new()
            .chain_update([u8::from(tls)])
            .chain_update(format!("{host}:{port}"))
            .chain_update(authorization.as_ref().map_or("", |basic| basic.as_str()))
            .finalize();
        Ok(Self {
            tls,
            host,
            port,
            authorization,
            userinfo: user.map(|user| Zeroizing::new(user.to_owned())),
            digest: digest.into(),
        })
    }

    /// Returns true if the connection to the proxy itself is under TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Returns the host; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the secret value of `Proxy-Authorization`, for the proxy alone.
    #[must_use]
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_ref().map(|value| value.as_str())
    }

    /// Returns the URL with the credentials, for a client that speaks to the proxy itself.
    #[must_use]
    pub fn secret_url(&self) -> Zeroizing<String> {
        let scheme = if self.tls { "https" } else { "http" };
        let (user, at) = match &self.userinfo {
            Some(user) => (user.as_str(), "@"),
            None => ("", ""),
        };
        Zeroizing::new(format!("{scheme}://{user}{at}{}:{}", self.host, self.port))
    }
}

/// Returns host and port of `HOST`, `HOST:PORT` or `[V6]:PORT`.
fn host_and_port(place: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match place.rsplit_once(':') {
        // The last colon of an IPv6 address stands inside the brackets.
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            (host, Some(port))
        }
        _ => (place, None),
    };
    if let Some(v6) = host.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')) {
        let address: Ipv6Addr = v6.parse().ok()?;
        return Some((format!("[{address}]"), port));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_host = !host.is_empty() && host.chars().all(plain);
    is_host.then(|| (host.to_ascii_lowercase(), port))
}

/// Returns the value of `Proxy-Authorization` for `USER` or `USER:PASSWORD`, both percent-encoded.
fn basic(user: &str) -> Result<Zeroizing<String>, ProxyUrlError> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain = Zeroizing::new(Vec::with_capacity(user.len() + 1));
    plain.extend(percent_decode_str(name));
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    if plain.iter().any(u8::is_ascii_control) {
        return Err(ProxyUrlError::Credentials);
    }
    let mut value = Zeroizing::new(String::with_capacity(6 + plain.len().div_ceil(3) * 4));
    value.push_str("Basic ");
    STANDARD.encode_string(&*plain, &mut value);
    Ok(value)
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Proxy {}

impl Hash for Proxy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ProxyUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => {
                "not a proxy that opens HTTP tunnels, expected http://HOST:PORT or https://HOST:PORT (SOCKS is not spoken)"
            }
            Self::Form => {
                "not the URL of a proxy, expected http://HOST:PORT or http://USER:PASSWORD@HOST:PORT with a \
                 percent-encoded password"
            }
            Self::Credentials => "user or password has a control character, expected printable text",
        })
    }
}

impl std::error::Error for ProxyUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_a_host_and_perhaps_credentials() {
        for (url, shown, authorization) in [
            ("http://proxy:3128", "http://proxy:3128", None),
            ("https://Proxy.Corp", "https://proxy.corp:443", None),
            ("proxy:3128", "http://proxy:3128", None),
            (" http://proxy/ ", "http://proxy:80", None),
            (
                "http://[2001:db8::1]:3128",
                "http://[2001:db8::1]:3128",
                None,
            ),
            ("http://@proxy:1", "http://proxy:1", None),
            // The example of RFC 7617, section 2.
            (
                "http://Aladdin:open%20sesame@proxy:1",
                "http://proxy:1",
                Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ),
            (
                "http://user@proxy:1",
                "http://proxy:1",
                Some("Basic dXNlcjo="),
            ),
            ("u:p%40@proxy:1", "http://proxy:1", Some("Basic dTpwQA==")),
        ] {
            let proxy = Proxy::parse(url).unwrap();
            assert_eq!(proxy.to_string(), shown, "{url}");
            assert_eq!(proxy.authorization(), authorization, "{url}");
            assert_eq!(Proxy::parse(&proxy.secret_url()).unwrap(), proxy, "{url}");
        }
    }

    #[test]
    fn other_texts_are_refused_without_being_shown() {
        use ProxyUrlError::{Credentials, Form, Scheme};
        for (url, expected) in [
            ("socks5://proxy:1080", Scheme),
            ("ftp://proxy", Scheme),
            ("", Form),
            ("http://", Form),
            ("http://proxy:0", Form),
            ("http://proxy:99999", Form),
            ("http://proxy:3128/path", Form),
            ("http://pro xy", Form),
            ("http://[::1", Form),
            ("http://u:a%0d%0ab@proxy:1", Credentials),
        ] {
            assert_eq!(Proxy::parse(url).unwrap_err(), expected, "{url}");
        }
    }
}
