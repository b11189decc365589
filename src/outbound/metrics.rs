//! The metrics of requests from applications: by route, operation and outcome.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::credential::metrics::Rotations;
use crate::provider::Scope;
use crate::traffic::History;

/// The counters of every route. Clones share the families, and each of thousands of routes has a
/// clone.
#[derive(Clone, Debug)]
pub struct OutboundMetrics(Arc<OutboundFamilies>);

#[derive(Debug)]
struct OutboundFamilies {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabel, Histogram, RequestSeconds>,
    queue_waits: Family<RouteLabel, Histogram, RequestSeconds>,
    limited: Family<LimitLabels, Counter>,
    throttled: Family<LimitLabels, Counter>,
    upstream_errors: Family<ErrorLabels, Counter>,
    rotations: Rotations,
    /// The last hour of all routes together, for plots.
    history: Arc<History>,
}

impl OutboundMetrics {
    /// Registers the families, without a series. `rotations` counts returns to the previous secret.
    #[must_use]
    pub fn register(registry: &mut Registry, rotations: Rotations) -> Self {
        let metrics = OutboundFamilies {
            requests: Family::default(),
            durations: Family::new_with_constructor(RequestSeconds),
            queue_waits: Family::new_with_constructor(RequestSeconds),
            limited: Family::default(),
            throttled: Family::default(),
            upstream_errors: Family::default(),
            rotations,
            history: Arc::default(),
        };
        registry.register(
            "requests",
            "Requests by route, operation and outcome",
            metrics.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "Time from the head of a request to the head of its answer",
            metrics.durations.clone(),
        );
        registry.register(
            "queue_wait_seconds",
            "Time that a request waited in the queue of a limit",
            metrics.queue_waits.clone(),
        );
        registry.register(
            "limited",
            "Requests refused with 429 by a limit of Keyside",
            metrics.limited.clone(),
        );
        registry.register(
            "throttled",
            "Answers in which the provider reports too many requests, by limit",
            metrics.throttled.clone(),
        );
        registry.register(
            "upstream_errors",
            "Failed exchanges with a provider, by class of error and the provider's own code",
            metrics.upstream_errors.clone(),
        );
        Self(Arc::new(metrics))
    }

    /// Returns the counters of a route with the operations of the provider. The route has no series
    /// before its first request: of hundreds of tenants, most are idle.
    #[must_use]
    pub fn route(&self, route: &Arc<str>, operations: &Arc<[String]>) -> RouteMetrics {
        RouteMetrics {
            route: Arc::clone(route),
            operations: Arc::clone(operations),
            used: OnceLock::new(),
            families: Arc::clone(&self.0),
        }
    }

    /// Returns the last hour of all routes together.
    #[must_use]
    pub fn history(&self) -> &Arc<History> {
        &self.0.history
    }

    /// Counts a request without a route.
    pub fn refused(&self, outcome: &'static str) {
        self.0
            .requests
            .get_or_create(&RequestLabels {
                route: String::new(),
                operation: String::new(),
                outcome,
            })
            .inc();
    }
}

/// The counters of one route. Counters of the common outcomes are looked up once, at their first
/// use.
#[derive(Debug)]
pub struct RouteMetrics {
    route: Arc<str>,
    /// The name of each operation of the provider.
    operations: Arc<[String]>,
    used: OnceLock<Box<UsedRoute>>,
    families: Arc<OutboundFamilies>,
}

/// The metrics of a route that has had a request.
#[derive(Debug)]
struct UsedRoute {
    duration: Histogram,
    queue_wait: Histogram,
    /// The counter of successes of each operation.
    successes: Box<[OnceLock<Counter>]>,
}

impl RouteMetrics {
    /// Returns true if exactly these operations are counted.
    #[must_use]
    pub fn has_operations(&self, operations: &[String]) -> bool {
        *self.operations == *operations
    }

    /// True from the first request of the route on.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.used.get().is_some()
    }

    /// Returns the metrics of the used route. The first use makes the series of the closed sets, at
    /// 0: an alert on a growing counter does not see a counter that begins with 1.
    fn used(&self) -> &UsedRoute {
        self.used.get_or_init(|| {
            for scope in Scope::ALL {
                let labels = self.limit_labels(scope.as_str());
                drop(self.families.limited.get_or_create(&labels));
                drop(self.families.throttled.get_or_create(&labels));
            }
            for class in NETWORK_CLASSES {
                let labels = self.error_labels(class, "");
                drop(self.families.upstream_errors.get_or_create(&labels));
            }
            let label = RouteLabel {
                route: self.route.to_string(),
            };
            Box::new(UsedRoute {
                duration: self.families.durations.get_or_create(&label).clone(),
                queue_wait: self.families.queue_waits.get_or_create(&label).clone(),
                successes: self.operations.iter().map(|_| OnceLock::new()).collect(),
            })
        })
    }

    /// Counts the end of a rotation of this credential.
    pub fn rotated(&self, credential: &str, result: &'static str) {
        self.families.rotations.count(credential, result);
    }

    /// Counts an answered request.
    pub fn answered(&self, operation: &str, outcome: &'static str, duration: Duration) {
        let used = self.used();
        used.duration.observe(duration.as_secs_f64());
        let place = self.operations.iter().position(|name| name == operation);
        match place.and_then(|place| used.successes.get(place)) {
            Some(counter) if outcome == OK => {
                let counter = counter.get_or_init(|| self.counter(operation, OK));
                counter.inc();
            }
            _ => self.count(operation, outcome),
        }
    }

    /// Records the time of a request that ends without an answer, although it was meant for the
    /// provider.
    pub fn failed_after(&self, duration: Duration) {
        self.used().duration.observe(duration.as_secs_f64());
    }

    /// Counts a request without an answer of the provider.
    pub fn refused(&self, operation: Option<&str>, outcome: &'static str) {
        self.count(operation.unwrap_or_default(), outcome);
    }

    /// Records the time of a request in a queue.
    pub fn waited(&self, wait: Duration) {
        self.used().queue_wait.observe(wait.as_secs_f64());
    }

    /// Counts a request refused by a limit.
    pub fn limited(&self, limit: &'static str) {
        self.families
            .limited
            .get_or_create(&self.limit_labels(limit))
            .inc();
    }

    /// Counts an answer of the provider that reports too many requests.
    pub fn throttled(&self, limit: &'static str) {
        self.families
            .throttled
            .get_or_create(&self.limit_labels(limit))
            .inc();
    }

    /// Counts a failed exchange with the provider. `code` is the provider's own, from a closed set.
    pub fn upstream_error(&self, class: &'static str, code: &str) {
        self.families
            .upstream_errors
            .get_or_create(&self.error_labels(class, code))
            .inc();
    }

    fn error_labels(&self, class: &'static str, code: &str) -> ErrorLabels {
        ErrorLabels {
            route: self.route.to_string(),
            class,
            code: code.to_owned(),
        }
    }

    fn limit_labels(&self, limit: &'static str) -> LimitLabels {
        LimitLabels {
            route: self.route.to_string(),
            limit,
        }
    }

    fn count(&self, operation: &str, outcome: &'static str) {
        self.used();
        self.counter(operation, outcome).inc();
    }

    fn counter(&self, operation: &str, outcome: &'static str) -> Counter {
        let labels = RequestLabels {
            route: self.route.to_string(),
            operation: operation.to_owned(),
            outcome,
        };
        self.families.requests.get_or_create(&labels).clone()
    }
}

/// Returns the outcome of a request answered with `status` by the provider.
#[must_use]
pub fn outcome_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..400 => OK,
        400..500 => "provider_4xx",
        _ => "provider_5xx",
    }
}

/// The classes of failed exchanges without an answer of the provider. The classes of the provider's
/// own errors begin with the first error: with its codes they would be hundreds of series.
const NETWORK_CLASSES: [&str; 4] = [
    "upstream_unreachable",
    "upstream_tls",
    "upstream_protocol",
    "upstream_timeout",
];
/// The outcome of a request with success at the provider.
const OK: &str = "ok";

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
    code: String,
}

/// Makes histograms of seconds: from an answer out of a local test to the longest upload.
#[derive(Clone, Debug)]
struct RequestSeconds;

impl MetricConstructor<Histogram> for RequestSeconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new([
            0.001, 0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        ])
    }
}
