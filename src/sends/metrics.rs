//! The metrics of messages sent under a key.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::awaited::Overdue;

/// The gauges of messages sent under a key. Clones share the family.
#[derive(Clone, Debug)]
pub struct SendMetrics {
    without_status: Family<CredentialLabel, Gauge>,
}

impl SendMetrics {
    /// Registers the family, without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            without_status: Family::default(),
        };
        registry.register(
            "sends_without_status",
            "Messages sent under an Idempotency-Key of which no status has told for 5 minutes",
            metrics.without_status.clone(),
        );
        metrics
    }

    /// Sets the gauges.
    pub fn set(&self, all: &[Overdue]) {
        self.without_status.clear();
        for overdue in all {
            let label = CredentialLabel {
                credential: overdue.account.clone(),
            };
            let messages = i64::try_from(overdue.messages).unwrap_or(i64::MAX);
            self.without_status.get_or_create(&label).set(messages);
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CredentialLabel {
    credential: String,
}
