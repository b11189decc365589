//! The metrics of the shared server.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The state of the connection to the shared server. Both metrics are 0 without a shared server.
/// Clones share the metrics.
#[derive(Clone, Debug)]
pub struct SharedMetrics {
    up: Gauge,
    losses: Counter,
}

impl SharedMetrics {
    /// Registers both metrics at 0.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            up: Gauge::default(),
            losses: Counter::default(),
        };
        registry.register(
            "redis_up",
            "1 while the shared server of [limits] redis is connected, else 0",
            metrics.up.clone(),
        );
        registry.register(
            "redis_losses",
            "Losses of the connection to the shared server of [limits] redis",
            metrics.losses.clone(),
        );
        metrics
    }

    /// Records that the shared server is connected.
    pub(super) fn connected(&self) {
        self.up.set(1);
    }

    /// Counts the loss of a connection.
    pub(super) fn lost(&self) {
        self.up.set(0);
        self.losses.inc();
    }

    /// Records that the configuration names no shared server any more.
    pub fn removed(&self) {
        self.up.set(0);
    }
}
