//! The metrics of deliveries.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::traffic::{Burst, DestinationTraffic, Failure, FailureClass, Streak};

/// The metrics of all destinations. Clones share the families.
#[derive(Clone, Debug)]
pub struct DeliveryMetrics {
    seconds: Family<DestinationLabels, Histogram, DeliverySeconds>,
    failures: Family<FailureLabels, Counter>,
    successes: Family<DestinationLabels, Gauge>,
    /// The health of each destination, kept over reloads.
    traffic: Arc<Mutex<HashMap<DestinationLabels, Arc<DestinationTraffic>>>>,
}

impl DeliveryMetrics {
    /// Registers the families, all without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            seconds: Family::new_with_constructor(DeliverySeconds),
            failures: Family::default(),
            successes: Family::default(),
            traffic: Arc::default(),
        };
        registry.register(
            "webhook_delivery_seconds",
            "Time from the arrival of an event until its destination has it",
            metrics.seconds.clone(),
        );
        registry.register(
            "webhook_delivery_failures",
            "Attempts to deliver an event that its destination did not take, by class",
            metrics.failures.clone(),
        );
        registry.register(
            "webhook_delivery_last_success_timestamp_seconds",
            "Unix time at which a destination last took an event",
            metrics.successes.clone(),
        );
        metrics
    }

    /// Returns the metrics of a destination, which has no series before its first event.
    #[must_use]
    pub fn of(&self, webhook: &str, to: &str) -> DestinationMetrics {
        let labels = DestinationLabels {
            webhook: webhook.to_owned(),
            to: to.to_owned(),
        };
        DestinationMetrics {
            traffic: Arc::clone(self.traffic.lock().entry(labels.clone()).or_default()),
            labels,
            seconds: OnceLock::new(),
            last_success: OnceLock::new(),
            families: self.clone(),
        }
    }

    /// Returns the health of a destination; `None` for one that no load has named.
    #[must_use]
    pub fn traffic(&self, webhook: &str, to: &str) -> Option<Arc<DestinationTraffic>> {
        let labels = DestinationLabels {
            webhook: webhook.to_owned(),
            to: to.to_owned(),
        };
        self.traffic.lock().get(&labels).cloned()
    }
}

/// The metrics of one destination.
#[derive(Clone, Debug)]
pub struct DestinationMetrics {
    labels: DestinationLabels,
    traffic: Arc<DestinationTraffic>,
    seconds: OnceLock<Histogram>,
    last_success: OnceLock<Gauge>,
    families: DeliveryMetrics,
}

impl DestinationMetrics {
    /// Notes that the destination has an event that arrived at `received_ms` milliseconds
    /// since 1970.
    pub(super) fn delivered(&self, received_ms: u64, now: SystemTime) {
        let received = UNIX_EPOCH + Duration::from_millis(received_ms);
        self.took(now.duration_since(received).unwrap_or_default());
    }

    /// Notes the time that an event took.
    pub fn took(&self, time: Duration) {
        self.seconds().observe(time.as_secs_f64());
    }

    /// Returns the health of the destination.
    #[must_use]
    pub fn traffic(&self) -> &DestinationTraffic {
        &self.traffic
    }

    /// Notes an event accepted by the destination. Returns the ended failures, if any.
    pub fn succeeded(&self, now: SystemTime) -> Option<Streak> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        self.seconds();
        let family = &self.families.successes;
        let made = || family.get_or_create(&self.labels).clone();
        self.last_success.get_or_init(made).set(seconds);
        self.traffic.succeeded(Instant::now())
    }

    /// Notes that the destination did not take an event. Returns the failures to log now.
    pub fn failed(&self, failure: &Failure) -> Option<Burst> {
        self.seconds();
        self.count(failure.class).inc();
        self.traffic.failed(failure, Instant::now())
    }

    /// Returns the series of the time. The first use makes those of failures too, at 0: an alert on
    /// a growing counter does not see a counter that begins with 1.
    fn seconds(&self) -> &Histogram {
        self.seconds.get_or_init(|| {
            for class in CLASSES {
                drop(self.count(class));
            }
            self.families.seconds.get_or_create(&self.labels).clone()
        })
    }

    fn count(&self, class: FailureClass) -> Counter {
        let labels = FailureLabels {
            webhook: self.labels.webhook.clone(),
            to: self.labels.to.clone(),
            class: class.of_destination(),
        };
        self.families.failures.get_or_create(&labels).clone()
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DestinationLabels {
    webhook: String,
    to: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FailureLabels {
    webhook: String,
    to: String,
    class: &'static str,
}

/// The classes of failures that a destination can have.
const CLASSES: [FailureClass; 8] = [
    FailureClass::Unreachable,
    FailureClass::Tls,
    FailureClass::Protocol,
    FailureClass::Timeout,
    FailureClass::Refused,
    FailureClass::Throttled,
    FailureClass::Temporary,
    FailureClass::Other,
];

/// Makes histograms of seconds: from an application that answers at once to an application that was
/// down for a day.
#[derive(Clone, Debug)]
struct DeliverySeconds;

impl MetricConstructor<Histogram> for DeliverySeconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new([
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0,
        ])
    }
}
