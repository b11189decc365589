//! Streams of message servers: an event is delivered with the confirmation of the server.
//!
//! ```text
//! Publisher::publish -> spool::AttemptOutcome
//! └ Line::publish                         a connection for all lanes; an answer has a bound of time
//!     Line::connection                    a single dial at a time, without a connection
//!     Broker::send                        XADD, JetStream's publish, basic.publish with a confirm
//! ```
//!
//! The event carries the id and the headers of the delivery to an application. After a connection
//! has ended before the answer, the event comes twice under the same id. No part of a URL, a login
//! or an event is ever logged or shown.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

#[cfg(feature = "amqp")]
mod amqp;
mod line;
#[cfg(feature = "nats")]
mod nats;
mod redis;
#[cfg(any(feature = "amqp", feature = "nats"))]
mod url;

pub use line::PublishedEvent;

#[cfg(feature = "amqp")]
use amqp::AmqpExchange;
use line::{Line, PublishFault};
#[cfg(feature = "nats")]
use nats::NatsSubject;
use redis::RedisStream;

use crate::config::StreamAddress;
use crate::secret::{Fingerprint, Secret};
use crate::shared::{self, ServerClient, ServerTimeouts, ServerUrlError};
use crate::spool::{AttemptOutcome, StreamAnswer};
#[cfg(any(feature = "amqp", feature = "nats"))]
use crate::tls::TlsError;

/// The sender of events to a stream.
pub struct Publisher {
    server: Server,
    stream: StreamAddress,
    url: Fingerprint,
    /// The digest of the authorities; `None` for the system's.
    authorities: Option<[u8; 32]>,
    patience: Duration,
    /// The cause of the last event's failure; `None` after a success.
    problem: Mutex<Option<String>>,
}

enum Server {
    Redis(Line<RedisStream>),
    #[cfg(feature = "nats")]
    Nats(Box<Line<NatsSubject>>),
    #[cfg(feature = "amqp")]
    Amqp(Line<AmqpExchange>),
}

impl Publisher {
    /// Returns a publisher without a connection; the first event connects. `url` is the URL of the
    /// server, and `authorities` are PEM certificates in place of the system's. An answer may take
    /// `patience`.
    ///
    /// # Errors
    /// If the URL cannot be used, or the build has no support for the server. No error shows a part
    /// of the URL.
    pub fn new(
        stream: &StreamAddress,
        url: &Secret,
        authorities: Option<&[u8]>,
        patience: Duration,
    ) -> Result<Self, PublisherError> {
        let host_timeout = patience.min(HOST_TIMEOUT);
        let server = match stream {
            StreamAddress::Redis { key } => {
                let timeouts = ServerTimeouts {
                    host: host_timeout,
                    answer: patience,
                };
                let client = ServerClient::parse(url, authorities, timeouts)?;
                Server::Redis(Line::new(RedisStream::new(key, client), patience))
            }
            #[cfg(feature = "nats")]
            StreamAddress::Nats { subject } => {
                let subject = NatsSubject::new(subject, url, authorities, host_timeout)?;
                Server::Nats(Box::new(Line::new(subject, patience)))
            }
            #[cfg(not(feature = "nats"))]
            StreamAddress::Nats { .. } => return Err(PublisherError::Unsupported("nats")),
            #[cfg(feature = "amqp")]
            StreamAddress::Amqp {
                exchange,
                routing_key,
            } => {
                let exchange =
                    AmqpExchange::new(exchange, routing_key, url, authorities, host_timeout)?;
                Server::Amqp(Line::new(exchange, patience))
            }
            #[cfg(not(feature = "amqp"))]
            StreamAddress::Amqp { .. } => return Err(PublisherError::Unsupported("amqp")),
        };
        Ok(Self {
            server,
            stream: stream.clone(),
            url: url.fingerprint(),
            authorities: authorities.map(digest),
            patience,
            problem: Mutex::default(),
        })
    }

    /// True if this publisher is what [`Publisher::new`] would make of the arguments.
    #[must_use]
    pub fn is_for(
        &self,
        stream: &StreamAddress,
        url: &Secret,
        authorities: Option<&[u8]>,
        patience: Duration,
    ) -> bool {
        self.stream == *stream
            && self.url == url.fingerprint()
            && self.authorities == authorities.map(digest)
            && self.patience == patience
    }

    /// Publishes an event, and waits for the answer of the server.
    pub async fn publish(&self, event: &PublishedEvent<'_>) -> AttemptOutcome {
        let published = match &self.server {
            Server::Redis(line) => line.publish(event).await,
            #[cfg(feature = "nats")]
            Server::Nats(line) => line.publish(event).await,
            #[cfg(feature = "amqp")]
            Server::Amqp(line) => line.publish(event).await,
        };
        let fault = published.err();
        *self.problem.lock() = fault.as_ref().map(PublishFault::to_string);
        fault.map_or(AttemptOutcome::Published(StreamAnswer::Taken), |fault| {
            fault.outcome()
        })
    }

    /// Returns the cause of the last event's failure; `None` after a success.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// True if a password in the URL of a stream's server would cross a network without TLS.
#[must_use]
pub fn exposes_password(stream: &StreamAddress, url: &Secret) -> bool {
    match stream {
        StreamAddress::Redis { .. } => shared::exposes_password(url),
        #[cfg(feature = "nats")]
        StreamAddress::Nats { .. } => nats::exposes_password(url),
        #[cfg(feature = "amqp")]
        StreamAddress::Amqp { .. } => amqp::exposes_password(url),
        #[cfg(not(all(feature = "amqp", feature = "nats")))]
        _ => false,
    }
}

/// The reason why a stream cannot be published to.
#[derive(Debug)]
pub enum PublisherError {
    /// The build has no support for the server. Holds the feature.
    Unsupported(&'static str),
    /// The URL of the Redis server has a fault.
    Redis(ServerUrlError),
    /// The URL of the NATS or AMQP server has a fault.
    #[cfg(any(feature = "amqp", feature = "nats"))]
    Url(url::BrokerUrlError),
    /// The exchange or the routing key is longer than AMQP allows.
    #[cfg(feature = "amqp")]
    Name,
    /// The authorities of the server cannot be used.
    #[cfg(any(feature = "amqp", feature = "nats"))]
    Tls(TlsError),
}

impl fmt::Display for PublisherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(feature) => {
                write!(
                    f,
                    "this build has no `{feature}`; build Keyside with `--features {feature}`"
                )
            }
            Self::Redis(error) => error.fmt(f),
            #[cfg(any(feature = "amqp", feature = "nats"))]
            Self::Url(error) => error.fmt(f),
            #[cfg(feature = "amqp")]
            Self::Name => f.write_str("an exchange or routing key of more than 255 bytes"),
            #[cfg(any(feature = "amqp", feature = "nats"))]
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PublisherError {}

impl From<ServerUrlError> for PublisherError {
    fn from(error: ServerUrlError) -> Self {
        Self::Redis(error)
    }
}

#[cfg(any(feature = "amqp", feature = "nats"))]
impl From<url::BrokerUrlError> for PublisherError {
    fn from(error: url::BrokerUrlError) -> Self {
        Self::Url(error)
    }
}

#[cfg(any(feature = "amqp", feature = "nats"))]
impl From<TlsError> for PublisherError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// Returns the TLS of a message server: as for an upstream, without the protocol of HTTP.
#[cfg(any(feature = "amqp", feature = "nats"))]
fn tls(authorities: Option<&[u8]>) -> Result<rustls::ClientConfig, TlsError> {
    use crate::provider::Ca;
    let ca = match authorities {
        Some(_) => Ca::File(std::path::PathBuf::new()),
        None => Ca::System,
    };
    let usual = crate::tls::client_config(&ca, authorities)?;
    let mut config = std::sync::Arc::unwrap_or_clone(usual);
    config.alpn_protocols.clear();
    Ok(config)
}

/// The longest time for name, TCP, TLS and login of a host: as long as for a connection to a
/// provider.
const HOST_TIMEOUT: Duration = Duration::from_secs(5);
