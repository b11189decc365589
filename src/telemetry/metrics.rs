//! The metrics about the sending of traces and metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::receiver::TelemetrySignal;

/// The state of the receiver, and the losses. Clones share the metrics.
#[derive(Clone, Debug, Default)]
pub struct TelemetryMetrics {
    up: Gauge,
    lost: Family<SignalLabel, Counter>,
}

impl TelemetryMetrics {
    /// Registers both metrics, which exist with `[telemetry]` alone.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "telemetry_up",
            "1 while the receiver of [telemetry] takes traces and metrics, else 0",
            metrics.up.clone(),
        );
        registry.register(
            "telemetry_lost",
            "Spans, and reports of metrics, that the receiver of [telemetry] did not take",
            metrics.lost.clone(),
        );
        for signal in [TelemetrySignal::Traces, TelemetrySignal::Metrics] {
            metrics.count_lost(signal, 0);
        }
        metrics
    }

    /// Records that the receiver took the last request.
    pub(super) fn taken(&self) {
        self.up.set(1);
    }

    /// Records that the receiver did not take the last request.
    pub(super) fn not_taken(&self) {
        self.up.set(0);
    }

    /// Counts losses.
    pub(super) fn count_lost(&self, signal: TelemetrySignal, count: u64) {
        let label = SignalLabel {
            signal: signal.as_str(),
        };
        self.lost.get_or_create(&label).inc_by(count);
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SignalLabel {
    signal: &'static str,
}
