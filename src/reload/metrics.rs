//! The metrics of loads, and the metrics of all rooms built by a load.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::audit::metrics::AuditMetrics;
use crate::config::Config;
use crate::credential::metrics::{FEW_CREDENTIALS, Rotations};
use crate::delivery::metrics::DeliveryMetrics;
use crate::inbound::metrics::InboundMetrics;
use crate::outbound::metrics::OutboundMetrics;
use crate::sends::metrics::SendMetrics;
use crate::shared::metrics::SharedMetrics;

/// The counters of loads, and the metrics of each room built by a load. Clones share the families.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    /// The metrics of routes.
    pub outbound: OutboundMetrics,
    /// The metrics of webhooks.
    pub inbound: InboundMetrics,
    /// The metrics of deliveries from the spool.
    pub deliveries: DeliveryMetrics,
    /// The metrics of messages sent under a key.
    pub sends: SendMetrics,
    /// The metrics of the shared server.
    pub shared: SharedMetrics,
    /// The metrics of the audit file.
    pub audit: AuditMetrics,
    /// The counter of replaced secrets.
    pub rotations: Rotations,
    results: Family<ResultLabel, Counter>,
    last_success: Gauge,
}

impl ReloadMetrics {
    /// Registers the metrics of loads, and of all rooms built by a load.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let rotations = Rotations::register(registry);
        let metrics = Self {
            outbound: OutboundMetrics::register(registry, rotations.clone()),
            inbound: InboundMetrics::register(registry),
            deliveries: DeliveryMetrics::register(registry),
            sends: SendMetrics::register(registry),
            shared: SharedMetrics::register(registry),
            audit: AuditMetrics::register(registry),
            rotations,
            results: Family::default(),
            last_success: Gauge::default(),
        };
        registry.register("reloads", "Loads by result", metrics.results.clone());
        for result in [SUCCESS, REFUSED] {
            drop(metrics.results.get_or_create(&ResultLabel { result }));
        }
        registry.register(
            "reload_last_success_timestamp_seconds",
            "Unix time of the last successful load of the configuration",
            metrics.last_success.clone(),
        );
        metrics
    }

    /// Makes the series of rotations of every credential; of more than [`FEW_CREDENTIALS`], only of
    /// those with `renew`. The others begin with the first event then: hundreds of tenants would
    /// have a zero each.
    pub(super) fn begin_rotations(&self, config: &Config) {
        let are_few = config.credentials.len() <= FEW_CREDENTIALS;
        let begun = config
            .credentials
            .iter()
            .filter(|(_, credential)| are_few || credential.renew.is_some());
        for (name, _) in begun {
            self.rotations.begin(name);
        }
    }

    /// Counts a published load, and sets the time of the last success to now.
    pub(super) fn published(&self) {
        self.count(SUCCESS);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.last_success
            .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// Counts a load refused for a fault.
    pub(super) fn refused(&self) {
        self.count(REFUSED);
    }

    fn count(&self, result: &'static str) {
        self.results.get_or_create(&ResultLabel { result }).inc();
    }
}

const SUCCESS: &str = "success";
const REFUSED: &str = "refused";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}
