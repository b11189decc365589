//! The reasons why a proxy opens no tunnel.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use crate::egress::Proxy;

/// A proxy that opened no tunnel, with the reason. The upstream has seen nothing.
#[derive(Debug)]
pub struct ProxyFailure {
    /// The proxy, shown without its credentials.
    pub proxy: Arc<Proxy>,
    /// The upstream, `HOST:PORT`.
    pub target: String,
    /// The reason.
    pub fault: ProxyFault,
}

/// The reason why a proxy opened no tunnel.
#[derive(Debug, PartialEq, Eq)]
pub enum ProxyFault {
    /// No connection to the proxy: no address, refused, unreachable.
    Unreachable(String),
    /// The proxy's certificate or TLS is not accepted.
    Tls(String),
    /// The proxy said nothing in the time to connect.
    Silent,
    /// Status 407.
    CredentialsRefused {
        /// True if credentials were sent.
        had_credentials: bool,
    },
    /// Another status than 2xx.
    Refused(StatusCode),
    /// The answer is not HTTP, too long, or goes on behind its head.
    Malformed,
    /// The end of the connection before a whole answer.
    Closed,
    /// A target or credentials with a byte that would end a line of the request early.
    Unwritable,
}

impl ProxyFault {
    /// Returns what to look at.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Silent => {
                "check that the proxy runs and that this machine reaches it: its address stands in [egress] proxy, or in \
                 HTTPS_PROXY"
            }
            Self::Tls(_) => {
                "the certificate of the proxy must be from an authority of the system (SSL_CERT_FILE) or a public one"
            }
            Self::CredentialsRefused {
                had_credentials: true,
            } => "put the proxy's present user and password into its URL, and reload",
            Self::CredentialsRefused {
                had_credentials: false,
            } => "put user and password into the proxy's URL: http://USER:PASSWORD@HOST:PORT",
            Self::Refused(StatusCode::FORBIDDEN) => {
                "have the proxy's operators allow the host, or name the host in no_proxy if it is reached without the proxy"
            }
            Self::Refused(status) if status.is_server_error() => {
                "the proxy itself does not reach the host: its operators, or the provider's status page, may tell more"
            }
            Self::Refused(_) | Self::Malformed | Self::Closed => {
                "check that the address is that of an HTTP proxy that accepts CONNECT"
            }
            Self::Unwritable => "check the host of the upstream, and the user in the proxy's URL",
        }
    }
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        write!(f, "the proxy {} ", self.proxy)?;
        match &self.fault {
            ProxyFault::Unreachable(reason) => write!(f, "cannot be reached: {reason}"),
            ProxyFault::Tls(reason) => write!(f, "has no usable TLS: {reason}"),
            ProxyFault::Silent => write!(f, "did not open the way to {target} in time"),
            ProxyFault::CredentialsRefused {
                had_credentials: true,
            } => f.write_str("wants other credentials (407)"),
            ProxyFault::CredentialsRefused {
                had_credentials: false,
            } => f.write_str("wants credentials (407)"),
            ProxyFault::Refused(status) if *status == StatusCode::FORBIDDEN => {
                write!(f, "forbids the way to {target} (403)")
            }
            ProxyFault::Refused(status) if status.is_server_error() => {
                write!(f, "does not reach {target} ({})", status.as_u16())
            }
            ProxyFault::Refused(status) => {
                write!(f, "opens no way to {target} ({})", status.as_u16())
            }
            ProxyFault::Malformed => {
                f.write_str("gave an answer that is not that of an HTTP proxy")
            }
            ProxyFault::Closed => write!(
                f,
                "closed the connection instead of opening the way to {target}"
            ),
            ProxyFault::Unwritable => f.write_str(
                "is not asked: the host or the credentials have a character that no header can have",
            ),
        }
    }
}
