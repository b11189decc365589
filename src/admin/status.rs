//! `/status`: the state of the sidecar as JSON. `keyside status` is a client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::credential_status::credential_status;
use super::egress_status::egress_status;
use super::limit_status::limit_status;
use super::memory_status::memory_status;
use super::spool::stats;
use super::status_query::StatusQuery;
use super::traffic;
use super::webhook_status::webhook_status;
use crate::audit::AuditStatus;
use crate::config::SharedLimits;
use crate::delivery::metrics::DeliveryMetrics;
use crate::inbound::metrics::WebhookMetrics;
use crate::memory::MemoryReport;
use crate::outbound::policy::Route;
use crate::reload::{InPlace, LastReload, Live};
use crate::sends::{KeptAnswers, Overdue};
use crate::shared::SharedServer;
use crate::spool::Spool;
use crate::state::State;
use crate::tls::Stage;
use crate::units::unix;

/// The whole state, written piece by piece: thousands of credentials and routes never stand in
/// memory as values.
pub(super) struct Status {
    pub(super) live: Arc<Live>,
    pub(super) last: LastReload,
    pub(super) draining: bool,
    pub(super) uptime: Duration,
    pub(super) query: StatusQuery,
    pub(super) audit: Option<AuditStatus>,
    /// The sent messages of which no status has told for too long.
    pub(super) overdue: Vec<Overdue>,
    pub(super) memory: MemoryReport,
    pub(super) kept_answers: KeptAnswers,
    pub(super) spool: Option<Arc<Spool>>,
    /// The health of the destinations of events.
    pub(super) deliveries: DeliveryMetrics,
}

impl Status {
    /// Returns the JSON text.
    pub(super) fn to_text(&self) -> Vec<u8> {
        // The values are plain: writing them to memory does not fail.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Returns what is not about one tenant or the spool.
    pub(super) fn sidecar(&self) -> Value {
        let live = &self.live;
        let shared = live.config.limits.as_ref().zip(live.shared());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.uptime.as_secs(),
            "draining": self.draining,
            "generation": live.generation.number,
            "reload": {
                "last_success": unix(self.last.last_success),
                "last_result": if self.last.refused.is_empty() { "success" } else { "refused" },
                "refused_because": self.last.refused,
            },
            "audit": self.audit.as_ref().map(audit_status),
            "state": live.state.as_deref().map(state_status),
            "shared_limits": shared.map(|(limits, shared)| shared_status(limits, shared)),
            "egress": egress_status(live),
            "certificates": certificates(live, SystemTime::now()),
            "unusable_files": unusable_files(live),
            "memory": memory_status(&self.memory, &self.kept_answers, Instant::now()),
            "sends_without_status": overdue_status(&self.overdue),
        })
    }

    /// Returns the routes that the query asks for.
    fn routes(&self) -> impl Iterator<Item = &Route> {
        let wanted = self.query.route.as_deref();
        let all = self.live.generation.policy.routes();
        all.iter()
            .map(Arc::as_ref)
            .filter(move |route| wanted.is_none_or(|wanted| *route.name == *wanted))
    }

    /// Returns the test for the credentials that the query asks for.
    fn is_wanted(&self) -> impl Fn(&str) -> bool {
        let of_route = self.routes().next().map(|route| &route.credential.name);
        let is_for_all = self.query.route.is_none();
        move |credential| is_for_all || of_route.is_some_and(|wanted| wanted == credential)
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let live = &self.live;
        let is_wanted = self.is_wanted();
        let credentials = || {
            live.credentials
                .values()
                .filter(|credential| is_wanted(&credential.name))
                .map(|credential| credential_status(credential, live))
        };
        let routes = || self.routes().map(|route| route_status(route, &self.query));
        let now = Instant::now();
        let traffic = webhook_traffic(live);
        let webhooks = || {
            live.config
                .webhooks
                .iter()
                .filter(|webhook| is_wanted(&webhook.credential))
                .map(|webhook| {
                    let metrics = traffic.get(webhook.name.as_str());
                    let traffic = metrics.map(|metrics| metrics.traffic(now));
                    webhook_status(webhook, traffic, &self.deliveries)
                })
        };
        let spool = self.spool.as_ref().map(|spool| stats(&spool.survey()));
        let sidecar = &self.sidecar();
        let mut status = serializer.serialize_map(None)?;
        for key in ORDER {
            match key {
                "credentials" => status.serialize_entry(key, &Sequence(credentials))?,
                "routes" => status.serialize_entry(key, &Sequence(routes))?,
                "webhooks" => status.serialize_entry(key, &Sequence(webhooks))?,
                "spool" => status.serialize_entry(key, &spool)?,
                _ => status.serialize_entry(key, &sidecar[key])?,
            }
        }
        status.end()
    }
}

/// Returns the traffic of each webhook by its name.
pub(super) fn webhook_traffic(live: &Live) -> HashMap<&str, &WebhookMetrics> {
    let endpoints = live.inbound.endpoints().iter();
    endpoints
        .map(|endpoint| (&*endpoint.name, &endpoint.metrics))
        .collect()
}

/// A JSON array, each value of which is made when it is written.
struct Sequence<F>(F);

impl<I: Iterator<Item = Value>, F: Fn() -> I> Serialize for Sequence<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// Returns the certificate of each listener with TLS.
fn certificates(live: &Live, now: SystemTime) -> Value {
    live.server_tls
        .each()
        .filter_map(|(table, tls)| Some((table, tls.validity.as_ref()?)))
        .map(|(table, validity)| {
            json!({
                "listener": table,
                "file": validity.path,
                "ends": validity.not_after,
                "ends_in_seconds": validity.left(now),
                "state": match validity.stage(now) {
                    Stage::Early => "not_yet_valid",
                    Stage::Good => "ok",
                    Stage::Ending => "ending",
                    Stage::Expired => "expired",
                },
                "problem": validity.concern(now),
            })
        })
        .collect()
}

/// Returns the files and values that cannot be used.
fn unusable_files(live: &Live) -> Value {
    let each = live.kept_inputs.iter().map(|kept| {
        json!({
            "key": kept.serves.key(),
            "webhook": kept.serves.webhook(),
            "files": kept.unusable.paths,
            "problem": kept.unusable.problem,
            "since": unix(kept.since),
            "waits": match kept.in_place {
                InPlace::Before => None,
                InPlace::Nothing(waits) => Some(waits),
            },
        })
    });
    each.collect()
}

pub(super) fn route_status(route: &Route, query: &StatusQuery) -> Value {
    let mut status = route_settings(route);
    if let Some(fields) = status.as_object_mut() {
        fields.insert("limit".to_owned(), limit_status(&route.limiter, query));
        fields.insert("traffic".to_owned(), traffic::status(&route.traffic));
    }
    status
}

/// Returns the settings of a route in the configuration.
#[must_use]
pub fn route_settings(route: &Route) -> Value {
    let provider = &route.credential.provider;
    let operations = provider
        .operations
        .iter()
        .filter_map(|operation| route.operations.written(operation));
    let mut senders: Vec<_> = route.senders.iter().collect();
    senders.sort();
    json!({
        "name": &*route.name,
        "path": if route.path.is_empty() { "/" } else { &route.path },
        "credential": route.credential.name,
        "upstream": &*route.host,
        "senders": senders,
        "operations": operations.collect::<Vec<_>>(),
    })
}

/// Returns the state of the audit file.
fn audit_status(audit: &AuditStatus) -> Value {
    let problem = audit.problem.as_ref();
    json!({
        "file": audit.file.display().to_string(),
        "writable": problem.is_none(),
        "unwritable_since": problem.map(|problem| unix(problem.since)),
        "problem": problem.map(|problem| &problem.reason),
        "lost": audit.lost,
    })
}

/// Returns the state of what outlives a restart.
fn state_status(state: &State) -> Value {
    json!({
        "dir": state.dir().display().to_string(),
        "keeps_secrets": state.sealed().is_some(),
        "problems": state.problems(),
    })
}

/// Returns the state of the shared server.
fn shared_status(limits: &SharedLimits, shared: &SharedServer) -> Value {
    let server = shared.status();
    json!({
        "redis": limits.redis.to_string(),
        "in_use": server.problem.is_none(),
        "problem": server.problem.as_ref().or(server.comes_and_goes.as_ref()),
        "comes_and_goes": server.comes_and_goes.is_some(),
        "since_seconds": server.since.elapsed().as_secs(),
        "on_failure": limits.on_failure.as_str(),
        "replicas": limits.replicas,
    })
}

fn overdue_status(all: &[Overdue]) -> Vec<Value> {
    let one = |overdue: &Overdue| {
        json!({
            "credential": overdue.account,
            "messages": overdue.messages,
            "oldest_seconds": overdue.oldest.as_secs(),
        })
    };
    all.iter().map(one).collect()
}

/// The keys of the answer, in order.
const ORDER: [&str; 17] = [
    "version",
    "uptime_seconds",
    "draining",
    "generation",
    "reload",
    "credentials",
    "audit",
    "spool",
    "state",
    "shared_limits",
    "egress",
    "certificates",
    "unusable_files",
    "routes",
    "webhooks",
    "memory",
    "sends_without_status",
];
