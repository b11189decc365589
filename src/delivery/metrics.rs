//! The metrics of deliveries.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The metrics of all destinations. Clones share the families.
#[derive(Clone, Debug)]
pub struct DeliveryMetrics {
    seconds: Family<DestinationLabels, Histogram, Buckets>,
}

impl DeliveryMetrics {
    /// Registers the families, all without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            seconds: Family::new_with_constructor(Buckets),
        };
        registry.register(
            "webhook_delivery_seconds",
            "Time from the arrival of an event until its destination has it",
            metrics.seconds.clone(),
        );
        metrics
    }

    /// Returns the metrics of a destination, which has no series before its first event.
    #[must_use]
    pub fn of(&self, webhook: &str, to: &str) -> DestinationMetrics {
        DestinationMetrics {
            labels: DestinationLabels {
                webhook: webhook.to_owned(),
                to: to.to_owned(),
            },
            seconds: OnceLock::new(),
            families: self.clone(),
        }
    }
}

/// The metrics of one destination.
#[derive(Clone, Debug)]
pub struct DestinationMetrics {
    labels: DestinationLabels,
    seconds: OnceLock<Histogram>,
    families: DeliveryMetrics,
}

impl DestinationMetrics {
    /// Notes that the destination has an event that arrived at `received_ms` milliseconds since 1970.
    pub(super) fn delivered(&self, received_ms: u64, now: SystemTime) {
        let received = UNIX_EPOCH + Duration::from_millis(received_ms);
        self.took(now.duration_since(received).unwrap_or_default());
    }

    /// Notes the time that an event took.
    pub fn took(&self, time: Duration) {
        let family = &self.families.seconds;
        let seconds = || family.get_or_create(&self.labels).clone();
        self.seconds
            .get_or_init(seconds)
            .observe(time.as_secs_f64());
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DestinationLabels {
    webhook: String,
    to: String,
}

/// Makes histograms of seconds: from an application that answers at once to an application that was down for a day.
#[derive(Clone, Debug)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new([
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0,
        ])
    }
}
