//! `/metrics`: the registry of the process as text, in the form that the reader asks for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::file_metrics::FileMetrics;
use super::metrics_format::{MetricsFormat, classic, compressed};
use super::process_metrics::{LogCollector, process_registry};
use super::spool::metrics::SpoolMetrics;
use super::traffic::unix;
use crate::credential::Credential;
use crate::credential::metrics::{CredentialMetrics, FEW_CREDENTIALS};
use crate::limit::metrics::LimitMetrics;
use crate::outbound::policy::Route;
use crate::reload::{AGE_WARNING_SHARE, Live};
use crate::spool::Survey;

/// The registry of the process, with the gauges to set before each reading.
#[derive(Debug)]
pub(super) struct Exposition {
    registry: Registry,
    /// The metrics that every process has under the same names, without Keyside's prefix.
    process: Registry,
    credentials: CredentialMetrics,
    limits: LimitMetrics,
    files: FileMetrics,
    /// The time of each route's last success.
    successes: Family<RouteLabel, Gauge>,
    /// The senders of each route that the provider restricts.
    restricted: Family<RestrictionLabels, Gauge>,
    spool: Option<SpoolMetrics>,
}

/// The stores whose metrics exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stores {
    /// No event waits on disk.
    None,
    /// The configuration has a `[spool]`.
    Spool,
}

impl Exposition {
    /// Takes the registry with the metrics of all other rooms.
    pub(super) fn new(mut registry: Registry, stores: Stores) -> Self {
        let spool = match stores {
            Stores::None => None,
            Stores::Spool => Some(SpoolMetrics::register(&mut registry)),
        };
        let credentials = CredentialMetrics::register(&mut registry);
        let limits = LimitMetrics::register(&mut registry);
        let files = FileMetrics::register(&mut registry);
        registry.register_collector(Box::new(LogCollector));
        let successes = Family::default();
        registry.register(
            "route_last_success_timestamp_seconds",
            "Unix time of the last message that passed, or of the last other request for a route without messages",
            Family::clone(&successes),
        );
        let restricted = Family::default();
        registry.register(
            "route_restricted_senders",
            "Senders that the provider restricts, by its code, until a message passes; no series without one",
            Family::clone(&restricted),
        );
        Self {
            registry,
            process: process_registry(),
            credentials,
            limits,
            files,
            successes,
            restricted,
            spool,
        }
    }

    /// Returns the answer to `GET /metrics`.
    pub(super) fn answer(
        &self,
        live: &Live,
        survey: Option<&Survey>,
        headers: &HeaderMap,
    ) -> Response<Bytes> {
        let format = MetricsFormat::accepted(headers);
        let open_metrics = self.text(live, survey);
        let text = match format {
            MetricsFormat::OpenMetrics => open_metrics,
            MetricsFormat::Classic => classic(&open_metrics),
        };
        let gzip = compressed(&text, headers);
        let is_gzip = gzip.is_some();
        let body = gzip.unwrap_or_else(|| text.into_bytes());
        let mut response = Response::new(Bytes::from(body));
        let own = response.headers_mut();
        own.insert(header::CONTENT_TYPE, format.content_type());
        if is_gzip {
            let gzip = HeaderValue::from_static("gzip");
            own.insert(header::CONTENT_ENCODING, gzip);
        }
        // A cache in between must not give one form to a client that asked for the other.
        let vary = HeaderValue::from_static("accept, accept-encoding");
        own.insert(header::VARY, vary);
        response
    }

    /// Sets the gauges from the live generation, and returns all metrics as OpenMetrics text.
    pub(super) fn text(&self, live: &Live, survey: Option<&Survey>) -> String {
        self.set(live, survey);
        let mut text = String::new();
        // Writing to a string does not fail.
        encode_registry(&mut text, &self.registry).ok();
        encode_registry(&mut text, &self.process).ok();
        encode_eof(&mut text).ok();
        text
    }

    fn set(&self, live: &Live, survey: Option<&Survey>) {
        if let Some((metrics, survey)) = self.spool.as_ref().zip(survey) {
            metrics.set(survey);
        }
        self.files.set(live, SystemTime::now());
        self.credentials.clear();
        let by_routes = used_routes(live).map(|route| route.credential.name.as_str());
        let webhooks = live.inbound.endpoints().iter();
        let by_webhooks = webhooks
            .filter(|webhook| webhook.metrics.is_used())
            .map(|webhook| webhook.credential.name.as_str());
        let used: HashSet<_> = by_routes.chain(by_webhooks).collect();
        for credential in live.credentials.values() {
            self.set_credential(credential, live, &used);
        }
        for stray in live.state.iter().flat_map(|state| state.strays()) {
            self.credentials.set_rotation_unfinished(&stray.credential);
        }
        self.limits.clear();
        self.successes.clear();
        self.restricted.clear();
        for route in used_routes(live) {
            self.set_limits(route);
            self.set_traffic(route);
        }
    }

    /// Sets the gauges of a credential; `used` are the names of the credentials with traffic.
    fn set_credential(&self, credential: &Credential, live: &Live, used: &HashSet<&str>) {
        let name = &credential.name;
        let is_used = used.contains(name.as_str());
        // A young secret of an idle tenant needs no alarm, and hundreds of such tenants would
        // double the page.
        let warned_at = credential.max_age.mul_f64(AGE_WARNING_SHARE);
        let mut ages = credential.slots().values().map(|slot| slot.current.age());
        let is_watched = is_used || ages.any(|age| age >= warned_at);
        let are_few = live.credentials.len() <= FEW_CREDENTIALS;
        let main = main_secret(credential)
            .filter(|_| !is_watched && !are_few && credential.previous().is_empty());
        let slots = credential.slots().iter();
        for (secret, slot) in slots.filter(|(secret, _)| main.is_none_or(|main| main == *secret)) {
            self.credentials.set_age(name, secret, slot.current.age());
            if let Some(fingerprint) = credential.fingerprint_in_use(secret) {
                self.credentials.set_info(name, secret, fingerprint);
            }
        }
        if let Some(confirmed) = live.confirmed(credential) {
            self.credentials.set_confirmed(name, confirmed);
        }
        if is_watched {
            self.credentials.set_max_age(name, credential.max_age);
        }
        if let Some(left) = credential.verification().and_then(|found| found.ends_in()) {
            self.credentials.set_expires(name, left);
        }
        self.credentials.set_usable(name, credential.is_usable());
        self.credentials
            .set_kept_back(name, credential.is_incomplete());
        self.credentials
            .set_sends_previous(name, credential.in_use().is_previous());
        if !credential.unfinished_rotations().is_empty() {
            self.credentials.set_rotation_unfinished(name);
        }
    }

    fn set_traffic(&self, route: &Route) {
        let Some(report) = route.traffic.report(Instant::now()) else {
            return;
        };
        for restriction in &report.restrictions {
            let code = restriction.failure.code.as_deref().unwrap_or_default();
            let labels = RestrictionLabels {
                route: route.name.to_string(),
                code: route.credential.provider.errors.label(code).to_owned(),
            };
            self.restricted.get_or_create(&labels).inc();
        }
        if let Some(success) = report.last_success() {
            let label = RouteLabel {
                route: route.name.to_string(),
            };
            let time = i64::try_from(unix(success)).unwrap_or(i64::MAX);
            self.successes.get_or_create(&label).set(time);
        }
    }

    fn set_limits(&self, route: &Route) {
        let limiter = &route.limiter;
        let keyed = [
            ("sender", Some(&limiter.senders)),
            (
                "apart",
                Some(&limiter.separately_metered).filter(|limits| limits.rate().is_some()),
            ),
            ("account", limiter.sends.as_ref()),
            ("management", limiter.management.as_ref()),
            ("object", Some(&limiter.objects)),
        ];
        let in_force = |rate| {
            let sharing = limiter.sharing.as_ref();
            sharing.map_or(rate, |sharing| sharing.rate_now(rate))
        };
        for (limit, limits) in keyed {
            if let Some(limits) = limits {
                let rate = limits.rate().map(in_force);
                self.limits.set(&route.name, limit, rate, limits.usage());
            }
        }
        if let Some(pairs) = &limiter.pairs {
            let rate = pairs.quota().map(|quota| in_force(quota.rate));
            self.limits
                .set(&route.name, "recipient", rate, pairs.usage());
        }
    }
}

/// Returns the secret without which no request leaves.
fn main_secret(credential: &Credential) -> Option<&String> {
    let secrets = credential.provider.secrets.iter();
    let mut names = secrets
        .filter(|secret| secret.required)
        .map(|secret| &secret.name);
    names.find(|name| credential.slots().contains_key(name))
}

/// Returns the routes that have had a request.
fn used_routes(live: &Live) -> impl Iterator<Item = &Route> {
    let routes = live.generation.policy.routes().iter();
    routes
        .map(Arc::as_ref)
        .filter(|route| route.metrics.is_used())
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RestrictionLabels {
    route: String,
    code: String,
}
