//! The metrics of the shared server.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The state of the connection to the shared server. Clones share the metrics.
#[derive(Clone, Debug)]
pub struct SharedMetrics {
    up: UpGauge,
    losses: Counter,
}

impl SharedMetrics {
    /// Registers both metrics, one without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            up: UpGauge::default(),
            losses: Counter::default(),
        };
        registry.register_collector(Box::new(metrics.up.clone()));
        registry.register(
            "redis_losses",
            "Losses of the connection to the shared server of [limits] redis",
            metrics.losses.clone(),
        );
        metrics
    }

    /// Records that the configuration names a shared server.
    pub(super) fn configured(&self) {
        self.up.0.lock().get_or_insert(false);
    }

    /// Records that the shared server is connected.
    pub(super) fn connected(&self) {
        *self.up.0.lock() = Some(true);
    }

    /// Counts the loss of a connection.
    pub(super) fn lost(&self) {
        *self.up.0.lock() = Some(false);
        self.losses.inc();
    }

    /// Records that the configuration names no shared server any more.
    pub fn removed(&self) {
        *self.up.0.lock() = None;
    }
}

/// The gauge of the connection; `None` without a shared server in the configuration. A family
/// without labels could be absent as well, but its series would have empty braces behind the name.
#[derive(Clone, Debug, Default)]
struct UpGauge(Arc<Mutex<Option<bool>>>);

impl Collector for UpGauge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(is_up) = *self.0.lock() else {
            return Ok(());
        };
        let help =
            "1 while the shared server of [limits] redis is connected, else 0; absent without one";
        let gauge = ConstGauge::new(i64::from(is_up));
        gauge.encode(encoder.encode_descriptor("redis_up", help, None, MetricType::Gauge)?)
    }
}
