//! The metrics of the audit file.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// The counter of lost events. Clones share the counter.
#[derive(Clone, Debug, Default)]
pub struct AuditMetrics {
    lost: Counter,
}

impl AuditMetrics {
    /// Registers the counter.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "audit_lost",
            "Events that are not in the audit file, because the file could not be written",
            metrics.lost.clone(),
        );
        metrics
    }

    /// Counts lost events.
    pub(super) fn count_lost(&self, events: u64) {
        self.lost.inc_by(events);
    }

    /// Returns the number of lost events.
    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }
}
