//! The metrics of listeners.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of every kind of listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    connections: Family<ListenerLabel, Gauge>,
    refused: Family<RefusalLabels, Counter>,
}

/// The metrics of the listeners of one kind.
#[derive(Clone, Debug)]
pub struct KindMetrics {
    /// The kind: `outbound`, `inbound` or `admin`.
    pub(super) listener: &'static str,
    /// The number of open connections.
    pub(super) open: Gauge,
    refused: [Counter; RefusalReason::ALL.len()],
}

/// The reason for which a connection gets no place, or a request no handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalReason {
    /// Every place is taken, and no connection is idle.
    Overloaded,
    /// The address of the client has too many connections or requests open.
    PerAddress,
    /// The user at the other end of a Unix socket may not call.
    User,
    /// The bodies and the requests under way leave no room in memory.
    Memory,
    /// The client or the server refused the handshake of TLS.
    Tls,
}

impl RefusalReason {
    const ALL: [Self; 5] = [
        Self::Overloaded,
        Self::PerAddress,
        Self::User,
        Self::Memory,
        Self::Tls,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::PerAddress => "per_address",
            Self::User => "user",
            Self::Memory => "memory",
            Self::Tls => "tls",
        }
    }
}

impl ListenerMetrics {
    /// Registers the families, without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Family::default(),
            refused: Family::default(),
        };
        registry.register(
            "connections",
            "Open connections by kind of listener",
            metrics.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Refused connections by kind of listener and reason",
            metrics.refused.clone(),
        );
        metrics
    }

    /// Returns the metrics of one kind, `outbound`, `inbound` or `admin`, with every series at 0.
    #[must_use]
    pub fn of(&self, listener: &'static str) -> KindMetrics {
        let counter = |reason: RefusalReason| {
            let labels = RefusalLabels {
                listener,
                reason: reason.as_str(),
            };
            self.refused.get_or_create(&labels).clone()
        };
        KindMetrics {
            listener,
            open: self
                .connections
                .get_or_create(&ListenerLabel { listener })
                .clone(),
            refused: RefusalReason::ALL.map(counter),
        }
    }
}

impl KindMetrics {
    /// Returns metrics that nobody reads.
    #[must_use]
    pub fn unread(listener: &'static str) -> Self {
        ListenerMetrics::register(&mut Registry::default()).of(listener)
    }

    /// Counts a refusal.
    pub(super) fn refused(&self, reason: RefusalReason) {
        let reasons = RefusalReason::ALL.iter().zip(&self.refused);
        for (_, counter) in reasons.filter(|(known, _)| **known == reason) {
            counter.inc();
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    listener: &'static str,
    reason: &'static str,
}
