//! The way of genuine events: an application that answers, or destinations for which events wait on
//! disk.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::{Reference, WebhookConfig};
use crate::provider::Origin;
use crate::units::Rate;

/// The way of a webhook's genuine events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventWay {
    /// An event is answered when the application has it: without `[spool]`, and with `reply`.
    Direct(ApplicationUrl),
    /// An event is answered when the event is on disk, and waits there for each destination; at
    /// least one.
    Spooled(Vec<DestinationConfig>),
}

/// `[[webhook.to]]`: a destination of events that wait on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationConfig {
    /// The name in logs, metrics and commands; no other destination of the webhook has it.
    pub name: String,
    /// The place of the destination.
    pub target: DestinationTarget,
    /// The fields of which an event must have one; empty for any event.
    pub fields: BTreeSet<String>,
    /// The numbers of the business of which an event must have one; empty for any event.
    pub senders: BTreeSet<String>,
    /// The number of conversations that are under way at a time: 1 to 1024.
    pub lanes: NonZeroUsize,
    /// The largest rate of events; `None` for as fast as the destination accepts events.
    pub rate: Option<Rate>,
    /// The time back from now at which a new destination begins; zero for now.
    pub from: Duration,
}

/// The place of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationTarget {
    /// An application that accepts events by HTTP.
    Application(ApplicationUrl),
    /// A stream of a message server.
    Stream(PublishTarget),
}

/// A stream of a message server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishTarget {
    /// The stream.
    pub stream: StreamAddress,
    /// The reference to the URL of the server, which may hold a password.
    pub server: Reference,
    /// The PEM file with the authorities of the server; `None` for the system's.
    pub ca: Option<PathBuf>,
}

/// The place of a stream at its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAddress {
    /// `redis-stream:KEY`.
    Redis {
        /// The key of the stream.
        key: String,
    },
    /// `nats:SUBJECT`, kept by JetStream.
    Nats {
        /// The subject, without wildcards.
        subject: String,
    },
    /// `amqp:EXCHANGE/KEY`.
    Amqp {
        /// The exchange; empty for the default exchange, where the routing key is the name of a
        /// queue.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
}

/// The URL at which an application accepts events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationUrl {
    /// The address of the application.
    pub application: ApplicationAddress,
    /// The path and query of the application's endpoint.
    pub path: String,
}

/// The address of an application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ApplicationAddress {
    /// A host and port, with TLS or, on the same machine, without.
    Origin(Origin),
    /// A Unix socket.
    Unix(PathBuf),
}

/// `[spool]`: events that wait on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The folder of the store.
    pub dir: PathBuf,
    /// The bytes of events past which no further event is accepted; above 0.
    pub max_size: u64,
    /// The age past which a waiting event becomes a dead letter; above zero.
    pub max_age: Duration,
    /// The time for which delivered events stay; zero for none.
    pub keep: Duration,
}

impl WebhookConfig {
    /// Returns the references to the webhook's own secrets.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let to = match &self.way {
            EventWay::Direct(_) => &[],
            EventWay::Spooled(to) => to.as_slice(),
        };
        let servers = to.iter().filter_map(|to| match &to.target {
            DestinationTarget::Application(_) => None,
            DestinationTarget::Stream(target) => Some(&target.server),
        });
        self.sign.iter().chain(servers)
    }
}

impl std::fmt::Display for ApplicationUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.application {
            ApplicationAddress::Origin(origin) => write!(f, "{origin}{}", self.path),
            ApplicationAddress::Unix(socket) => {
                write!(f, "unix:{}:{}", socket.display(), self.path)
            }
        }
    }
}

impl std::fmt::Display for DestinationTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Application(url) => url.fmt(f),
            Self::Stream(target) => target.stream.fmt(f),
        }
    }
}

impl std::fmt::Display for StreamAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Redis { key } => write!(f, "redis-stream:{key}"),
            Self::Nats { subject } => write!(f, "nats:{subject}"),
            Self::Amqp {
                exchange,
                routing_key,
            } => write!(f, "amqp:{exchange}/{routing_key}"),
        }
    }
}

impl EventWay {
    /// Returns each destination with its name; a way without a spool has the name of the webhook.
    #[must_use]
    pub fn ends<'w>(&'w self, webhook: &'w str) -> Vec<(&'w str, String)> {
        match self {
            Self::Direct(url) => vec![(webhook, url.to_string())],
            Self::Spooled(to) => to
                .iter()
                .map(|to| (to.name.as_str(), to.target.to_string()))
                .collect(),
        }
    }
}
