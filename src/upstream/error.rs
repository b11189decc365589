//! The reasons why an upstream gives no answer.

use std::fmt;

use super::framing::ProtocolError;
use super::proxy_error::ProxyFailure;
use crate::multipart::MultipartFault;

/// The reason why an upstream gave no answer, or no whole answer.
#[derive(Debug)]
pub enum UpstreamError {
    /// No connection: no address, refused, unreachable.
    Unreachable(String),
    /// A proxy that opens no tunnel to the upstream. Nothing was sent.
    Proxy(Box<ProxyFailure>),
    /// No file descriptor, or no place among the connections to upstreams. Nothing was sent.
    NoPlace,
    /// The handshake failed: certificate, name, version.
    Tls(String),
    /// An answer that is not HTTP/1.1, or that ends too early.
    Protocol(ProtocolError),
    /// An answer that Keyside must read, and cannot read.
    Unreadable(Unreadable),
    /// A step that took too long.
    TimedOut {
        /// The step, as the message names it after "took too long".
        what: &'static str,
        /// True if a byte of the request had been written.
        written: bool,
    },
    /// A target or a header with a byte that could end a line early. Nothing was sent.
    MalformedRequest,
    /// The end of the connection before a byte of the request was written.
    NotWritten,
    /// A malformed body of the application, or a body that ended too early.
    RequestBody(hyper::Error),
    /// A multipart form of the application that must not leave. The request stays incomplete.
    RequestBodyRefused(MultipartFault),
    /// A body of the application that stopped arriving.
    RequestBodyTimedOut,
    /// A body of the application that goes on past the bound.
    RequestBodyTooLarge {
        /// The bound in bytes.
        limit: u64,
    },
}

/// The reason why a well-formed answer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A body over the bound up to which Keyside reads it whole.
    TooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// A body in a content coding that Keyside does not undo, or that is broken.
    ContentCoding,
    /// A body for which other bodies left no room in memory.
    NoRoom,
}

impl UpstreamError {
    /// Returns one word for the error, from a closed set.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Proxy(_) => "unreachable",
            Self::NoPlace => "no_place",
            Self::Tls(_) => "tls",
            Self::Protocol(_) | Self::NotWritten => "protocol",
            Self::Unreadable(_) => "unreadable",
            Self::TimedOut { .. } => "timeout",
            Self::MalformedRequest => "malformed_request",
            Self::RequestBody(_)
            | Self::RequestBodyRefused(_)
            | Self::RequestBodyTimedOut
            | Self::RequestBodyTooLarge { .. } => "request_body",
        }
    }

    /// True if no byte of the request was written, so that the upstream cannot have acted.
    #[must_use]
    pub fn is_before_request(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Proxy(_)
                | Self::Tls(_)
                | Self::MalformedRequest
                | Self::NotWritten
                | Self::TimedOut { written: false, .. }
        )
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => {
                write!(f, "it is larger than Keyside reads whole ({limit} bytes)")
            }
            Self::ContentCoding => {
                f.write_str("it is compressed in a way that was not accepted, or broken")
            }
            Self::NoRoom => f.write_str("other bodies left no room for it in memory in time"),
        }
    }
}

impl From<Unreadable> for UpstreamError {
    fn from(reason: Unreadable) -> Self {
        Self::Unreadable(reason)
    }
}

impl From<ProtocolError> for UpstreamError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<MultipartFault> for UpstreamError {
    fn from(fault: MultipartFault) -> Self {
        Self::RequestBodyRefused(fault)
    }
}

impl UpstreamError {
    /// Returns the text for another side than the upstream of a request, such as Vault.
    #[must_use]
    pub fn of(&self, side: &str) -> String {
        self.to_string().replace(UPSTREAM, side)
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(f, "the upstream cannot be reached: {reason}"),
            Self::Proxy(failure) => write!(f, "the upstream cannot be reached: {failure}"),
            Self::NoPlace => f.write_str(
                "too many connections to providers and applications are open for another one",
            ),
            Self::Tls(reason) => write!(f, "no TLS connection to the upstream: {reason}"),
            Self::Protocol(error) => write!(f, "the upstream broke the protocol: {error}"),
            Self::Unreadable(reason) => {
                write!(f, "the answer of the upstream cannot be read: {reason}")
            }
            Self::TimedOut { what, .. } => write!(f, "the upstream took too long {what}"),
            Self::MalformedRequest => f.write_str(
                "the request was not sent: its target or a header has a line break or a control character",
            ),
            Self::NotWritten => {
                f.write_str("the upstream closed the connection before the request was written")
            }
            Self::RequestBody(_) => {
                f.write_str("the body of the request is malformed or incomplete")
            }
            Self::RequestBodyRefused(fault) => fault.fmt(f),
            Self::RequestBodyTooLarge { limit } => {
                write!(f, "the body of the request is larger than {limit} bytes")
            }
            Self::RequestBodyTimedOut => f.write_str("the body of the request stopped coming"),
        }
    }
}

impl std::error::Error for UpstreamError {}

/// The words for the other side of a request.
const UPSTREAM: &str = "the upstream";
