//! What is counted, in the form that Prometheus reads. Every label comes from a closed set:
//! configured names, operations, outcomes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::units::Rate;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabel, Histogram, Buckets>,
    queue_waits: Family<RouteLabel, Histogram, Buckets>,
    limited: Family<LimitLabels, Counter>,
    throttled: Family<LimitLabels, Counter>,
    upstream_errors: Family<ErrorLabels, Counter>,
    connections: Family<ListenerLabel, Gauge>,
    reloads: Family<ResultLabel, Counter>,
    reload_last_success: Gauge,
    rotations: Family<RotationLabels, Counter>,
    webhooks: Webhooks,
    /// What is told of credentials.
    pub credentials: Credentials,
    /// What is told of the server of shared limits.
    pub shared: Shared,
    /// What is told of limits.
    pub limits: Limits,
}

/// The metrics of one route, looked up once.
#[derive(Debug)]
pub struct RouteMetrics {
    route: Arc<str>,
    operations: Vec<(String, Counter)>,
    duration: Histogram,
    queue_wait: Histogram,
    all: Arc<Metrics>,
}

/// What is told of credentials: set when it is asked for.
#[derive(Debug)]
pub struct Credentials {
    /// `keyside_credential_age_seconds`
    pub age: Family<SecretLabels, Gauge>,
    /// `keyside_credential_max_age_seconds`
    pub max_age: Family<CredentialLabel, Gauge>,
    /// `keyside_credential_expires_seconds`
    pub expires: Family<CredentialLabel, Gauge>,
    /// `keyside_credential_usable`
    pub usable: Family<CredentialLabel, Gauge>,
}

impl Credentials {
    fn register(registry: &mut Registry) -> Self {
        let (age, max_age) = (Family::default(), Family::default());
        let (expires, usable) = (Family::default(), Family::default());
        registry.register("credential_age_seconds", "How old a secret is", Family::clone(&age));
        let policy = "How old the secrets of a credential may become";
        registry.register("credential_max_age_seconds", policy, Family::clone(&max_age));
        let still_good = "How long a token is still good, where it ends";
        registry.register("credential_expires_seconds", still_good, Family::clone(&expires));
        registry.register("credential_usable", "Whether a credential can be sent with", Family::clone(&usable));
        Self { age, max_age, expires, usable }
    }

    /// Forgets all of it.
    pub fn clear(&self) {
        self.age.clear();
        self.max_age.clear();
        self.expires.clear();
        self.usable.clear();
    }
}

/// What is told of the server of shared limits. Without one, both are 0.
#[derive(Debug)]
pub struct Shared {
    /// `keyside_redis_up`
    pub up: Gauge,
    /// `keyside_redis_losses_total`
    pub losses: Counter,
}

impl Shared {
    fn register(registry: &mut Registry) -> Self {
        let (up, losses) = (Gauge::default(), Counter::default());
        registry.register("redis_up", "Whether limits are shared with other sidecars", Gauge::clone(&up));
        registry.register("redis_losses", "How often the server of shared limits was lost", Counter::clone(&losses));
        Self { up, losses }
    }
}

/// What is told of limits: set when it is asked for.
#[derive(Debug)]
pub struct Limits {
    rate: Family<LimitLabels, Gauge<f64, AtomicU64>>,
    in_use: Family<LimitLabels, Gauge>,
    waiting: Family<LimitLabels, Gauge>,
    paused: Family<LimitLabels, Gauge>,
}

impl Limits {
    fn register(registry: &mut Registry) -> Self {
        let (rate, in_use) = (Family::default(), Family::default());
        let (waiting, paused) = (Family::default(), Family::default());
        registry.register("limit_per_second", "How many requests a limit lets through", Family::clone(&rate));
        let used = "How many senders, recipients or accounts have used some of their limit";
        registry.register("limit_in_use", used, Family::clone(&in_use));
        registry.register("limit_waiting", "How many requests wait for their turn", Family::clone(&waiting));
        let still = "To how many senders, recipients or accounts nothing goes for now";
        registry.register("limit_paused", still, Family::clone(&paused));
        Self { rate, in_use, waiting, paused }
    }

    /// Forgets all of it.
    pub fn clear(&self) {
        self.rate.clear();
        self.in_use.clear();
        self.waiting.clear();
        self.paused.clear();
    }

    /// How one limit of a route is used: `sender`, `recipient`, `account` or `management`.
    pub fn set(&self, route: &str, limit: &'static str, rate: Rate, used: Used) {
        let labels = LimitLabels { route: route.to_owned(), limit };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.rate.get_or_create(&labels).set(f64::from(rate.count.get()) / rate.per.as_secs_f64());
        self.in_use.get_or_create(&labels).set(number(used.in_use));
        self.waiting.get_or_create(&labels).set(number(used.waiting));
        self.paused.get_or_create(&labels).set(number(used.paused));
    }
}

/// How much of a limit is used.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// By how many senders, recipients or accounts.
    pub in_use: usize,
    /// How many requests wait.
    pub waiting: usize,
    /// To how many senders, recipients or accounts nothing goes.
    pub paused: usize,
}

/// What is counted of webhooks.
#[derive(Debug)]
struct Webhooks {
    outcomes: Family<WebhookLabels, Counter>,
    secrets: Family<WebhookSecretLabels, Counter>,
}

impl Webhooks {
    fn register(registry: &mut Registry) -> Self {
        let (outcomes, secrets) = (Family::default(), Family::default());
        registry.register("webhooks", "Events and handshakes by what became of them", Family::clone(&outcomes));
        registry.register(
            "webhook_secret_used",
            "Genuine events by the secret that they were signed with",
            Family::clone(&secrets),
        );
        Self { outcomes, secrets }
    }
}

/// The metrics of one webhook, looked up once.
#[derive(Debug)]
pub struct WebhookMetrics {
    webhook: Arc<str>,
    delivered: Counter,
    forged: Counter,
    all: Arc<Metrics>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    operation: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LimitLabels {
    route: String,
    limit: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    route: String,
    class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RotationLabels {
    credential: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WebhookLabels {
    webhook: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WebhookSecretLabels {
    webhook: String,
    which: &'static str,
}

/// The labels of [`Credentials::age`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SecretLabels {
    /// The credential's name.
    pub credential: String,
    /// The secret's name.
    pub secret: String,
}

/// The label of what is told of a credential as a whole.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CredentialLabel {
    /// The credential's name.
    pub credential: String,
}

#[derive(Clone, Debug)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new([0.001, 0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("keyside");
        let requests = Family::default();
        let durations = Family::new_with_constructor(Buckets);
        let queue_waits = Family::new_with_constructor(Buckets);
        let (limited, throttled) = (Family::default(), Family::default());
        let upstream_errors = Family::default();
        let connections = Family::default();
        let reloads = Family::default();
        let reload_last_success = Gauge::default();
        let rotations = Family::default();
        registry.register("requests", "Requests by what became of them", Family::clone(&requests));
        registry.register(
            "request_duration_seconds",
            "From a request's head to its answer's head",
            Family::clone(&durations),
        );
        registry.register("queue_wait_seconds", "How long requests waited for their turn", Family::clone(&queue_waits));
        registry.register("limited", "Requests refused because a limit was reached", Family::clone(&limited));
        registry.register("throttled", "Answers that said that it was too fast", Family::clone(&throttled));
        registry.register(
            "upstream_errors",
            "Exchanges with the provider that failed",
            Family::clone(&upstream_errors),
        );
        registry.register("connections", "Connections open", Family::clone(&connections));
        registry.register("reloads", "Reloads by their result", Family::clone(&reloads));
        registry.register(
            "reload_last_success_timestamp_seconds",
            "When the configuration was last loaded",
            reload_last_success.clone(),
        );
        registry.register("rotations", "Secrets replaced by a reload", Family::clone(&rotations));
        let credentials = Credentials::register(&mut registry);
        let shared = Shared::register(&mut registry);
        let limits = Limits::register(&mut registry);
        let webhooks = Webhooks::register(&mut registry);
        registry.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Arc::new(Self {
            registry,
            requests,
            durations,
            queue_waits,
            limited,
            throttled,
            upstream_errors,
            connections,
            reloads,
            reload_last_success,
            rotations,
            webhooks,
            credentials,
            shared,
            limits,
        })
    }

    /// All of them as text.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A request that no route was found for.
    pub fn refused(&self, outcome: &'static str) {
        self.requests.get_or_create(&RequestLabels { route: String::new(), operation: String::new(), outcome }).inc();
    }

    /// The number of open connections of one kind of listener.
    #[must_use]
    pub fn connections(&self, listener: &'static str) -> Gauge {
        self.connections.get_or_create(&ListenerLabel { listener }).clone()
    }

    /// A reload, or the first load, and how it went.
    pub fn reloaded(&self, success: bool) {
        let result = if success { "success" } else { "refused" };
        self.reloads.get_or_create(&ResultLabel { result }).inc();
        if success {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.reload_last_success.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// A secret that was replaced.
    pub fn rotated(&self, credential: &str, result: &'static str) {
        self.rotations.get_or_create(&RotationLabels { credential: credential.to_owned(), result }).inc();
    }

    /// The metrics of a route with these operations.
    #[must_use]
    pub fn route(self: &Arc<Self>, route: &Arc<str>, operations: Vec<String>) -> RouteMetrics {
        let label = RouteLabel { route: route.to_string() };
        let ok = |operation: String| {
            let labels = RequestLabels { route: route.to_string(), operation: operation.clone(), outcome: OK };
            (operation, self.requests.get_or_create(&labels).clone())
        };
        RouteMetrics {
            route: Arc::clone(route),
            operations: operations.into_iter().map(ok).collect(),
            duration: self.durations.get_or_create(&label).clone(),
            queue_wait: self.queue_waits.get_or_create(&label).clone(),
            all: Arc::clone(self),
        }
    }
}

impl Metrics {
    /// The metrics of a webhook.
    #[must_use]
    pub fn webhook(self: &Arc<Self>, webhook: &Arc<str>) -> WebhookMetrics {
        let counter = |outcome| {
            let labels = WebhookLabels { webhook: webhook.to_string(), outcome };
            self.webhooks.outcomes.get_or_create(&labels).clone()
        };
        let (delivered, forged) = (counter(DELIVERED), counter(FORGED));
        WebhookMetrics { webhook: Arc::clone(webhook), delivered, forged, all: Arc::clone(self) }
    }

    /// An event or handshake that no webhook was found for.
    pub fn webhook_refused(&self, outcome: &'static str) {
        self.webhooks.outcomes.get_or_create(&WebhookLabels { webhook: String::new(), outcome }).inc();
    }
}

impl WebhookMetrics {
    /// A genuine event that the application took.
    pub fn delivered(&self) {
        self.delivered.inc();
    }

    /// Anything else that was answered.
    pub fn answered(&self, outcome: &'static str) {
        // The one that anybody can cause as often as they like.
        if outcome == FORGED {
            self.forged.inc();
            return;
        }
        self.all.webhooks.outcomes.get_or_create(&WebhookLabels { webhook: self.webhook.to_string(), outcome }).inc();
    }

    /// A genuine event, by the secret that it was signed with.
    pub fn secret_used(&self, which: &'static str) {
        let labels = WebhookSecretLabels { webhook: self.webhook.to_string(), which };
        self.all.webhooks.secrets.get_or_create(&labels).inc();
    }
}

impl RouteMetrics {
    /// Whether these are the operations that it counts.
    #[must_use]
    pub fn has_operations(&self, operations: &[String]) -> bool {
        self.operations.iter().map(|(name, _)| name).eq(operations)
    }

    /// What became of a rotation of this credential.
    pub fn rotated(&self, credential: &str, result: &'static str) {
        self.all.rotated(credential, result);
    }

    /// A request that was passed on and answered.
    pub fn answered(&self, operation: usize, outcome: &'static str, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
        match self.operations.get(operation) {
            Some((_, counter)) if outcome == OK => drop(counter.inc()),
            Some((name, _)) => self.count(name, outcome),
            None => self.count("", outcome),
        }
    }

    /// A request that was not passed on, or not answered.
    pub fn refused(&self, operation: Option<usize>, outcome: &'static str) {
        let name = operation.and_then(|index| self.operations.get(index)).map_or("", |(name, _)| name);
        self.count(name, outcome);
    }

    /// A wait for its turn.
    pub fn waited(&self, wait: Duration) {
        self.queue_wait.observe(wait.as_secs_f64());
    }

    /// A request over a limit.
    pub fn limited(&self, limit: &'static str) {
        self.all.limited.get_or_create(&LimitLabels { route: self.route.to_string(), limit }).inc();
    }

    /// An answer that says that the provider was asked too fast.
    pub fn throttled(&self, limit: &'static str) {
        self.all.throttled.get_or_create(&LimitLabels { route: self.route.to_string(), limit }).inc();
    }

    /// An exchange that failed.
    pub fn upstream_error(&self, class: &'static str) {
        self.all.upstream_errors.get_or_create(&ErrorLabels { route: self.route.to_string(), class }).inc();
    }

    fn count(&self, operation: &str, outcome: &'static str) {
        let labels = RequestLabels { route: self.route.to_string(), operation: operation.to_owned(), outcome };
        self.all.requests.get_or_create(&labels).inc();
    }
}

/// The outcome of an answer, by its status.
#[must_use]
pub fn outcome_of(status: http::StatusCode) -> &'static str {
    match status.as_u16() {
        200..400 => OK,
        400..500 => "provider_4xx",
        _ => "provider_5xx",
    }
}

const OK: &str = "ok";
const DELIVERED: &str = "delivered";
/// The outcome of an event whose signature is wrong.
pub const FORGED: &str = "forged";
