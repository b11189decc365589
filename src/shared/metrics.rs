//! The metrics of the shared server.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The state of the connection to the shared server. Without a shared server in the configuration
/// there is no `up`. Clones share the metrics.
#[derive(Clone, Debug)]
pub struct SharedMetrics {
    up: Family<NoLabels, Gauge>,
    losses: Counter,
}

impl SharedMetrics {
    /// Registers both metrics, one without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            up: Family::default(),
            losses: Counter::default(),
        };
        registry.register(
            "redis_up",
            "1 while the shared server of [limits] redis is connected, else 0; absent without one",
            metrics.up.clone(),
        );
        registry.register(
            "redis_losses",
            "Losses of the connection to the shared server of [limits] redis",
            metrics.losses.clone(),
        );
        metrics
    }

    /// Records that the configuration names a shared server.
    pub(super) fn configured(&self) {
        drop(self.up.get_or_create(&[]));
    }

    /// Records that the shared server is connected.
    pub(super) fn connected(&self) {
        self.up.get_or_create(&[]).set(1);
    }

    /// Counts the loss of a connection.
    pub(super) fn lost(&self) {
        self.up.get_or_create(&[]).set(0);
        self.losses.inc();
    }

    /// Records that the configuration names no shared server any more.
    pub fn removed(&self) {
        self.up.clear();
    }
}

/// The labels of a metric that has one series or none.
type NoLabels = [(&'static str, &'static str); 0];
