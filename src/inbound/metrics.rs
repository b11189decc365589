//! The metrics of webhooks: events and handshakes by outcome.

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

use super::rhythm::Rhythm;
use crate::credential::SecretRole;
use crate::traffic::{History, Minute, Outcome};

/// The counters of every webhook. Clones share the families.
#[derive(Clone, Debug)]
pub struct InboundMetrics {
    outcomes: Family<OutcomeLabels, Counter>,
    secrets: Family<SecretUseLabels, Counter>,
    repeats: Family<WebhookLabel, Counter>,
    lags: Family<WebhookLabel, Histogram, LagBuckets>,
    last_events: Family<WebhookLabel, Gauge>,
    silent: Family<WebhookLabel, Gauge>,
    traffic: Arc<Mutex<TrafficByWebhook>>,
}

/// The traffic of all webhooks, by the name of the webhook.
type TrafficByWebhook = HashMap<Arc<str>, Arc<Mutex<Traffic>>>;

/// The traffic of one webhook, which outlives reloads.
#[derive(Debug, Default)]
struct Traffic {
    rhythm: Rhythm,
    last_event: Option<Instant>,
    lag: Option<Duration>,
    is_silent: bool,
    history: History,
}

/// The traffic of a webhook, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookTraffic {
    /// The time since the last genuine event.
    pub last_event: Option<Duration>,
    /// The time from the own time of the last event to its arrival.
    pub lag: Option<Duration>,
    /// The time without an event, if it is unusually long.
    pub silence: Option<Duration>,
}

impl InboundMetrics {
    /// Registers the families, all without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            outcomes: Family::default(),
            secrets: Family::default(),
            repeats: Family::default(),
            lags: Family::new_with_constructor(LagBuckets),
            last_events: Family::default(),
            silent: Family::default(),
            traffic: Arc::default(),
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
        registry.register(
            "webhook_lag_seconds",
            "Time from an event's own time to its arrival",
            metrics.lags.clone(),
        );
        registry.register(
            "webhook_last_event_timestamp_seconds",
            "Unix time of the last genuine event",
            metrics.last_events.clone(),
        );
        registry.register(
            "webhook_silent",
            "1 while no event has come for 20 times the usual gap",
            metrics.silent.clone(),
        );
        metrics
    }

    /// Returns the counters of the webhook `webhook`, which has no series before its first request.
    #[must_use]
    pub fn webhook(&self, webhook: &Arc<str>) -> WebhookMetrics {
        let mut webhooks = self.traffic.lock();
        let traffic = webhooks.entry(Arc::clone(webhook)).or_default();
        WebhookMetrics {
            webhook: Arc::clone(webhook),
            used: OnceLock::new(),
            last_event: OnceLock::new(),
            traffic: Arc::clone(traffic),
            families: self.clone(),
        }
    }

    /// Forgets which webhooks are silent, before all are looked at.
    pub(super) fn begin_look(&self) {
        self.silent.clear();
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
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    webhook: Arc<str>,
    used: OnceLock<UsedWebhook>,
    last_event: OnceLock<Gauge>,
    traffic: Arc<Mutex<Traffic>>,
    families: InboundMetrics,
}

/// The counters of a webhook that has had a request.
#[derive(Clone, Debug)]
struct UsedWebhook {
    delivered: Counter,
    stored: Counter,
    repeats: Counter,
    forged: Counter,
    secrets: SecretUses,
    lag: Histogram,
}

/// The counts of genuine events by the role of the secret.
#[derive(Clone, Debug)]
struct SecretUses {
    current: Counter,
    accepted: Counter,
    previous: Counter,
}

impl SecretUses {
    /// Makes the series of a webhook, at 0: an alert on a growing counter does not see a counter
    /// that begins with 1.
    fn begin(families: &InboundMetrics, webhook: &str) -> Self {
        let counter = |role: SecretRole| {
            let labels = SecretUseLabels {
                webhook: webhook.to_owned(),
                which: role.as_str(),
            };
            families.secrets.get_or_create(&labels).clone()
        };
        Self {
            current: counter(SecretRole::Current),
            accepted: counter(SecretRole::Accepted),
            previous: counter(SecretRole::Previous(0)),
        }
    }

    fn of(&self, role: SecretRole) -> &Counter {
        match role {
            SecretRole::Current => &self.current,
            SecretRole::Accepted => &self.accepted,
            SecretRole::Previous(_) => &self.previous,
        }
    }
}

impl WebhookMetrics {
    /// True from the first event or handshake of the webhook on.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.used.get().is_some()
    }

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

    /// Takes note of the arrival of a genuine event.
    pub(super) fn seen(&self, now: Instant, wall: SystemTime) {
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self.last_event.get_or_init(|| {
            let label = WebhookLabel {
                webhook: self.webhook.to_string(),
            };
            self.families.last_events.get_or_create(&label).clone()
        });
        last.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let mut traffic = self.traffic.lock();
        traffic.rhythm.event(now);
        traffic.last_event = Some(now);
    }

    /// Takes note of the time from an event's own time to its arrival.
    pub(super) fn late(&self, lag: Duration) {
        self.used().lag.observe(lag.as_secs_f64());
        self.traffic.lock().lag = Some(lag);
    }

    /// Looks for a silence of unusual length, and tells begin and end of each.
    pub(super) fn check_rhythm(&self, now: Instant) {
        let webhook = &*self.webhook;
        let mut traffic = self.traffic.lock();
        // A webhook that has had no event has no usual gap, and no series.
        if traffic.last_event.is_none() {
            return;
        }
        let silence = traffic.rhythm.silence(now);
        let was_silent = std::mem::replace(&mut traffic.is_silent, silence.is_some());
        drop(traffic);
        match silence {
            Some(silence) if !was_silent => tracing::warn!(
                webhook,
                silent_seconds = silence.as_secs(),
                "no event for 20 times the usual gap: look at the provider's settings of the webhook, and at what stands before this listener"
            ),
            None if was_silent => tracing::info!(webhook, "events come again"),
            _ => {}
        }
        let label = WebhookLabel {
            webhook: webhook.to_owned(),
        };
        let silent = self.families.silent.get_or_create(&label);
        silent.set(i64::from(silence.is_some()));
    }

    /// Returns the traffic for operators.
    #[must_use]
    pub fn traffic(&self, now: Instant) -> WebhookTraffic {
        let traffic = self.traffic.lock();
        WebhookTraffic {
            last_event: traffic
                .last_event
                .map(|at| now.saturating_duration_since(at)),
            lag: traffic.lag,
            silence: traffic.rhythm.silence(now),
        }
    }

    /// Adds an event to the plots of the last hour.
    pub(super) fn remember(&self, outcome: Outcome, took: Duration, now: Instant) {
        self.traffic.lock().history.note(outcome, took, now);
    }

    /// Returns the last hour minute by minute; nothing without an event.
    #[must_use]
    pub fn minutes(&self, now: Instant) -> Vec<Minute> {
        self.traffic.lock().history.report(now)
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
        self.used.get_or_init(|| {
            let label = WebhookLabel {
                webhook: self.webhook.to_string(),
            };
            UsedWebhook {
                delivered: self.counter(DELIVERED),
                stored: self.counter(STORED),
                repeats: self.families.repeats.get_or_create(&label).clone(),
                forged: self.counter(FORGED),
                secrets: SecretUses::begin(&self.families, &self.webhook),
                lag: self.families.lags.get_or_create(&label).clone(),
            }
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
    pub fn secret_used(&self, which: SecretRole) {
        self.used().secrets.of(which).inc();
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    webhook: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SecretUseLabels {
    webhook: String,
    which: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WebhookLabel {
    webhook: String,
}

/// Makes histograms of seconds: from an event that comes at once to an event that the provider kept
/// for a week.
#[derive(Clone, Debug)]
struct LagBuckets;

impl MetricConstructor<Histogram> for LagBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new([
            1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0,
        ])
    }
}

/// The outcome of a genuine event that was put on disk.
const STORED: &str = "stored";
/// The outcome of a genuine event accepted by the application.
const DELIVERED: &str = "delivered";
/// The outcome of an event whose signature is wrong.
pub(super) const FORGED: &str = "forged";
