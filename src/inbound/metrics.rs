//! The metrics of webhooks: events and handshakes by outcome.

use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The counters of every webhook. Clones share the families.
#[derive(Clone, Debug)]
pub struct InboundMetrics {
    outcomes: Family<OutcomeLabels, Counter>,
    secrets: Family<SecretLabels, Counter>,
    repeats: Family<WebhookLabel, Counter>,
}

impl InboundMetrics {
    /// Registers the families, all without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            outcomes: Family::default(),
            secrets: Family::default(),
            repeats: Family::default(),
        };
        registry.register(
            "webhooks",
            "Events and handshakes by webhook and outcome",
            metrics.outcomes.clone(),
        );
        registry.register(
            "webhook_secret_used",
            "Genuine events by the secret that matches their signature",
            metrics.secrets.clone(),
        );
        registry.register(
            "webhook_repeats",
            "Items that had arrived before: messages, statuses and other changes",
            metrics.repeats.clone(),
        );
        metrics
    }

    /// Returns the counters of the webhook `webhook`, which has no series before its first request.
    #[must_use]
    pub fn webhook(&self, webhook: &Arc<str>) -> WebhookMetrics {
        WebhookMetrics {
            webhook: Arc::clone(webhook),
            used: OnceLock::new(),
            families: self.clone(),
        }
    }

    /// Counts an event or a handshake without a webhook.
    pub fn refused(&self, outcome: &'static str) {
        self.outcomes
            .get_or_create(&OutcomeLabels {
                webhook: String::new(),
                outcome,
            })
            .inc();
    }
}

/// The counters of one webhook. The frequent outcomes are looked up once, at the first request.
#[derive(Debug)]
pub struct WebhookMetrics {
    webhook: Arc<str>,
    used: OnceLock<UsedWebhook>,
    families: InboundMetrics,
}

/// The counters of a webhook that has had a request.
#[derive(Debug)]
struct UsedWebhook {
    delivered: Counter,
    stored: Counter,
    repeats: Counter,
    forged: Counter,
}

impl WebhookMetrics {
    /// Counts a genuine event accepted by the application.
    pub fn delivered(&self) {
        self.used().delivered.inc();
    }

    /// Counts a genuine event that was put on disk.
    pub fn stored(&self) {
        self.used().stored.inc();
    }

    /// Counts items that had arrived before.
    pub fn repeated(&self, items: u64) {
        self.used().repeats.inc_by(items);
    }

    /// Counts a request with any other outcome.
    pub fn answered(&self, outcome: &'static str) {
        // Anybody on the Internet can cause any number of forgeries: the counter needs no look-up.
        if outcome == FORGED {
            self.used().forged.inc();
            return;
        }
        self.used();
        self.counter(outcome).inc();
    }

    fn used(&self) -> &UsedWebhook {
        self.used.get_or_init(|| UsedWebhook {
            delivered: self.counter(DELIVERED),
            stored: self.counter(STORED),
            repeats: self
                .families
                .repeats
                .get_or_create(&WebhookLabel {
                    webhook: self.webhook.to_string(),
                })
                .clone(),
            forged: self.counter(FORGED),
        })
    }

    fn counter(&self, outcome: &'static str) -> Counter {
        let labels = OutcomeLabels {
            webhook: self.webhook.to_string(),
            outcome,
        };
        self.families.outcomes.get_or_create(&labels).clone()
    }

    /// Counts a genuine event by the secret of the signature.
    pub fn secret_used(&self, which: &'static str) {
        let labels = SecretLabels {
            webhook: self.webhook.to_string(),
            which,
        };
        self.families.secrets.get_or_create(&labels).inc();
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    webhook: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SecretLabels {
    webhook: String,
    which: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WebhookLabel {
    webhook: String,
}

/// The outcome of a genuine event that was put on disk.
const STORED: &str = "stored";
/// The outcome of a genuine event accepted by the application.
const DELIVERED: &str = "delivered";
/// The outcome of an event whose signature is wrong.
pub(super) const FORGED: &str = "forged";
