//! `/status`: the state of the sidecar as JSON. `keyside status` is a client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::egress_status::egress_status;
use super::limit_status::limit_status;
use super::memory_status::memory_status;
use super::spool::stats;
use super::status_query::StatusQuery;
use super::traffic;
use super::webhook_status::webhook_status;
use crate::audit::AuditStatus;
use crate::config::SharedLimits;
use crate::credential::{
    Credential, KeptBack, Previous, RenewalProblem, SecretVersion, Slot, Standing,
    UnfinishedRotation, Verdict, Verification,
};
use crate::delivery::metrics::DeliveryMetrics;
use crate::inbound::metrics::WebhookMetrics;
use crate::memory::MemoryReport;
use crate::outbound::policy::Route;
use crate::reload::{AGE_WARNING_SHARE, InPlace, LastReload, Live, concerns, overlap_concerns};
use crate::sends::{KeptAnswers, Overdue};
use crate::shared::SharedServer;
use crate::spool::Spool;
use crate::state::State;
use crate::tls::Stage;

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

/// Returns the state of every credential: slots, sources, and the verdict of the provider.
#[must_use]
pub fn credentials(live: &Live) -> Value {
    live.credentials
        .values()
        .map(|credential| credential_status(credential, live))
        .collect()
}

pub(super) fn credential_status(credential: &Credential, live: &Live) -> Value {
    let missing: Vec<_> = credential.missing().collect();
    let is_refused = credential.acceptance().is_refused();
    let secrets: Vec<_> = credential
        .slots()
        .iter()
        .map(|(name, slot)| SecretStatus::new(name, slot, credential.max_age, live))
        .collect();
    let unread: Vec<_> = live
        .unread_secrets(credential)
        .into_iter()
        .map(|unread| {
            json!({
                "secret": unread.secret,
                "reference": unread.reference.to_string(),
                "problem": unread.problem,
            })
        })
        .collect();
    let previous: Vec<_> = credential
        .previous()
        .iter()
        .map(PreviousStatus::new)
        .collect();
    let unfinished: Vec<_> = credential
        .unfinished_rotations()
        .all()
        .iter()
        .map(unfinished_status)
        .collect();
    let verification = credential
        .verification()
        .filter(|found| found.standing != Standing::Disproved);
    let facts = verification.as_ref().and_then(|found| found.facts());
    let concerns = facts
        .map(|facts| concerns(&credential.name, facts, &live.generation))
        .unwrap_or_default();
    json!({
        "name": credential.name,
        "provider": credential.provider.name,
        "usable": credential.is_usable(),
        "missing": missing,
        "unread": unread,
        "kept_back": credential.kept_back().map(kept_back_status),
        "renewal_problem": credential.renewal().problem().map(|problem| renewal_status(&problem)),
        "unfinished_rotations": unfinished,
        "overlap_concerns": overlap_concerns(live, credential),
        "refused_by_provider": is_refused,
        "sends": if credential.in_use().is_previous() { "previous" } else { "current" },
        "last_success_seconds_ago": credential.last_success().age().map(|age| age.as_secs()),
        "check": verification.map(|verification| verification_status(&verification)),
        "concerns": concerns,
        "previous": previous,
        "max_age_seconds": credential.max_age.as_secs(),
        "secrets": secrets,
    })
}

/// Returns the failure of a renewal.
fn renewal_status(problem: &RenewalProblem) -> Value {
    json!({
        "step": problem.step.failure(),
        "since": unix(problem.since),
        "reason": problem.reason,
    })
}

/// Returns a rotation that nobody has brought to its end.
fn unfinished_status(rotation: &UnfinishedRotation) -> Value {
    json!({
        "target": rotation.target,
        "author": rotation.author,
        "began": unix(rotation.began),
        "journal": rotation.journal,
        "unread": rotation.unread,
        "concern": rotation.concern(),
    })
}

/// Returns the reasons for which newer secrets are not in use.
fn kept_back_status(kept_back: &KeptBack) -> Value {
    json!({ "since": unix(kept_back.since), "reasons": kept_back.reasons() })
}

/// A secret of a credential: the current version, and the versions still accepted.
#[derive(Serialize)]
struct SecretStatus<'a> {
    name: &'a str,
    state: &'static str,
    /// Unix time of the last successful read, for a secret of a secret manager.
    confirmed: Option<u64>,
    accepted: Vec<VersionStatus>,
    #[serde(flatten)]
    current: VersionStatus,
}

impl<'a> SecretStatus<'a> {
    fn new(name: &'a str, slot: &Slot, max_age: Duration, live: &Live) -> Self {
        let age = slot.current.age();
        let state = if age > max_age {
            "overdue"
        } else if age > max_age.mul_f64(AGE_WARNING_SHARE) {
            "due"
        } else {
            "ok"
        };
        let last_read = live.managers.last_read(&slot.current.reference);
        Self {
            name,
            state,
            confirmed: last_read.and_then(|read| read.confirmed).map(unix),
            accepted: slot
                .accepted
                .iter()
                .map(|version| VersionStatus::new(version))
                .collect(),
            current: VersionStatus::new(&slot.current),
        }
    }
}

/// A version of a secret.
#[derive(Serialize)]
struct VersionStatus {
    fingerprint: String,
    reference: String,
    since: u64,
    since_from: &'static str,
    age_seconds: u64,
}

impl VersionStatus {
    fn new(version: &SecretVersion) -> Self {
        Self {
            fingerprint: version.fingerprint().to_string(),
            reference: version.reference.to_string(),
            since: unix(version.since()),
            since_from: version.since_from().as_str(),
            age_seconds: version.age().as_secs(),
        }
    }
}

/// A secret set that was replaced, and remains usable until `ends`.
#[derive(Serialize)]
struct PreviousStatus<'a> {
    secrets: Vec<PreviousSecret<'a>>,
    ends: u64,
    ends_in_seconds: u64,
}

#[derive(Serialize)]
struct PreviousSecret<'a> {
    name: &'a str,
    #[serde(flatten)]
    version: VersionStatus,
}

impl<'a> PreviousStatus<'a> {
    fn new(previous: &'a Previous) -> Self {
        let left = previous.until().saturating_duration_since(Instant::now());
        let secrets = previous
            .secrets()
            .iter()
            .map(|(name, version)| PreviousSecret {
                name,
                version: VersionStatus::new(version),
            });
        Self {
            secrets: secrets.collect(),
            ends: unix(SystemTime::now() + left),
            ends_in_seconds: left.as_secs(),
        }
    }
}

/// Returns the verdict of the provider about a token, with the time of the question.
fn verification_status(verification: &Verification) -> Value {
    let (result, reason, facts) = match &verification.verdict {
        Verdict::Proved(facts) => ("proved", None, Some(facts)),
        Verdict::Refused(refusal) => ("refused", Some(&refusal.reason), None),
        Verdict::Unproved(reason) => ("unproved", Some(reason), None),
    };
    json!({
        "result": result,
        "reason": reason,
        "asked_seconds_ago": verification.at.elapsed().as_secs(),
        "app": facts.map(|facts| &facts.app),
        "type": facts.map(|facts| &facts.kind),
        "expires": facts.and_then(|facts| facts.expires).map(unix),
        "data_access_expires": facts.and_then(|facts| facts.data_access_expires).map(unix),
        "ends_in_seconds": verification.ends_in().map(|left| left.as_secs()),
        "scopes": facts.map(|facts| &facts.scopes),
    })
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

/// Returns the Unix time in seconds.
pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
