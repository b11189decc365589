//! The state of the sidecar as JSON: the source of `keyside status`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::{SharedLimits, Webhook};
use crate::credential::{Asked, Credential, Held, Previous, Slot, Verdict};
use crate::limit::{Budget, Limiter, Standing};
use crate::outbound::policy::Route;
use crate::query;
use crate::reload::{DUE, Live, Reloader, concerns};
use crate::shared::Shared;

/// For whom the limits are shown, beside those who are busy: `?sender=S&recipient=R`.
#[derive(Default)]
pub(super) struct Parties {
    sender: Option<String>,
    recipient: Option<String>,
}

impl Parties {
    pub(super) fn in_query(query: &str) -> Self {
        let value =
            |name| query::pairs(query).find(|pair| pair.is_named(&[name])).map(|pair| pair.value().into_owned());
        Self { sender: value("sender"), recipient: value("recipient") }
    }
}

pub(super) fn status(reloader: &Reloader, draining: bool, uptime: Duration, parties: &Parties) -> Value {
    let live = reloader.live();
    let last = reloader.last();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": uptime.as_secs(),
        "draining": draining,
        "generation": live.generation.number,
        "reload": {
            "last_success": unix(last.last_success),
            "last_result": if last.refused.is_empty() { "success" } else { "refused" },
            "refused_because": last.refused,
        },
        "credentials": credentials(&live),
        "shared_limits": live.config.limits.as_ref().zip(live.shared()).map(|(limits, shared)| shared_status(limits, shared)),
        "routes": live.generation.policy.routes().iter().map(|route| route_status(route, parties)).collect::<Vec<_>>(),
        "webhooks": live.config.webhooks.iter().map(webhook_status).collect::<Vec<_>>(),
    })
}

/// The credentials: their slots, where their secrets come from, what the provider says of them.
#[must_use]
pub fn credentials(live: &Live) -> Value {
    live.credentials.values().map(|credential| credential_status(credential, live)).collect()
}

fn credential_status(credential: &Credential, live: &Live) -> Value {
    let missing: Vec<_> = credential.missing().collect();
    let standing = credential.standing();
    let secrets = credential.slots().iter().map(|(name, slot)| secret_status(name, slot, credential.max_age, live));
    let unread = live.unread().filter(|unread| unread.credential == credential.name).map(|unread| {
        json!({ "secret": unread.secret, "reference": unread.reference.to_string(), "problem": unread.problem })
    });
    let asked = credential.asked();
    let facts = asked.as_ref().and_then(|asked| asked.facts());
    let concerns = facts.map(|facts| concerns(&credential.name, facts, &live.generation)).unwrap_or_default();
    json!({
        "name": credential.name,
        "provider": credential.provider.name,
        "usable": missing.is_empty() && !standing.is_refused(),
        "missing": missing,
        "unread": unread.collect::<Vec<_>>(),
        "refused_by_provider": standing.is_refused(),
        "sends": if credential.sent().is_previous() { "previous" } else { "current" },
        "check": asked.map(|asked| asked_status(&asked)),
        "concerns": concerns,
        "previous": credential.previous().iter().map(previous_status).collect::<Vec<_>>(),
        "max_age_seconds": credential.max_age.as_secs(),
        "secrets": secrets.collect::<Vec<_>>(),
    })
}

fn secret_status(name: &str, slot: &Slot, max_age: Duration, live: &Live) -> Value {
    let age = slot.current.age();
    // The policy warns when four fifths of the time are over.
    let state = match () {
        () if age > max_age => "overdue",
        () if age > max_age.mul_f64(DUE) => "due",
        () => "ok",
    };
    let mut status = held_status(&slot.current);
    if let Some(fields) = status.as_object_mut() {
        fields.insert("name".to_owned(), name.into());
        fields.insert("state".to_owned(), state.into());
        // Of what is asked for: when its source last said that this is it.
        let confirmed = live.managers.known(&slot.current.reference).and_then(|known| known.confirmed);
        fields.insert("confirmed".to_owned(), confirmed.map(unix).into());
        fields.insert("accepted".to_owned(), slot.accepted.iter().map(|held| held_status(held)).collect());
    }
    status
}

/// What the provider said of it, and when.
fn asked_status(asked: &Asked) -> Value {
    let (result, reason, facts) = match &asked.verdict {
        Verdict::Proved(facts) => ("proved", None, Some(facts)),
        Verdict::Refused(reason) => ("refused", Some(reason), None),
        Verdict::Unproved(reason) => ("unproved", Some(reason), None),
    };
    json!({
        "result": result,
        "reason": reason,
        "asked_seconds_ago": asked.at.elapsed().as_secs(),
        "app": facts.map(|facts| &facts.app),
        "type": facts.map(|facts| &facts.kind),
        "expires": facts.and_then(|facts| facts.expires).map(unix),
        "data_access_expires": facts.and_then(|facts| facts.data_access_expires).map(unix),
        "ends_in_seconds": asked.ends_in().map(|left| left.as_secs()),
        "scopes": facts.map(|facts| &facts.scopes),
    })
}

/// What was sent before, and how long it is still held.
fn previous_status(previous: &Previous) -> Value {
    let secrets = previous.secrets().iter().map(|(name, held)| {
        let mut status = held_status(held);
        if let Some(fields) = status.as_object_mut() {
            fields.insert("name".to_owned(), name.as_str().into());
        }
        status
    });
    let left = previous.until().saturating_duration_since(Instant::now());
    json!({ "secrets": secrets.collect::<Vec<_>>(), "ends": unix(SystemTime::now() + left), "ends_in_seconds": left.as_secs() })
}

fn held_status(held: &Held) -> Value {
    json!({
        "fingerprint": held.fingerprint().to_string(),
        "reference": held.reference.to_string(),
        "since": unix(held.since),
        "since_from": held.since_from.as_str(),
        "age_seconds": held.age().as_secs(),
    })
}

fn route_status(route: &Route, parties: &Parties) -> Value {
    let provider = &route.credential.provider;
    let operations = provider
        .operations
        .iter()
        .zip(&route.operations)
        .filter(|(_, allowed)| **allowed)
        .map(|(operation, _)| &operation.name);
    let mut senders: Vec<_> = route.senders.iter().collect();
    senders.sort();
    let limit = limit_status(&route.limiter, parties);
    json!({
        "name": &*route.name,
        "path": if route.path.is_empty() { "/" } else { &route.path },
        "credential": route.credential.name,
        "upstream": route.host,
        "senders": senders,
        "operations": operations.collect::<Vec<_>>(),
        "limit": limit,
    })
}

fn limit_status(limiter: &Limiter, parties: &Parties) -> Value {
    let busiest = limiter.senders.as_ref().map(|budget| budget.busiest(MOST_SENDERS)).unwrap_or_default();
    let busiest = busiest.iter().map(|(sender, standing)| standing_status(sender, standing));
    let standing = |budget: &Arc<Budget>, sender: &str| standing_status(sender, &budget.standing(sender));
    let of_sender =
        limiter.senders.as_ref().zip(parties.sender.as_ref()).map(|(budget, sender)| standing(budget, sender));
    let recipient =
        parties.recipient.as_ref().map(|recipient| (parties.sender.as_deref().unwrap_or_default(), recipient));
    let of_recipient = limiter.pairs.as_ref().zip(recipient);
    let of_recipient = of_recipient.map(|(pairs, (sender, to))| standing_status(sender, &pairs.standing(sender, to)));
    let senders = limiter.senders.as_ref().map(|budget| budget.usage()).unwrap_or_default();
    let recipients = limiter.pairs.as_ref().map(|pairs| pairs.usage()).unwrap_or_default();
    let management = limiter.management.as_ref().map(|budget| budget.usage()).unwrap_or_default();
    json!({
        "per_sender": limiter.senders.as_ref().map(|budget| budget.terms().rate.to_string()),
        "senders": busiest.collect::<Vec<_>>(),
        "of_sender": of_sender,
        "of_recipient": of_recipient,
        "of_account": limiter.sends.as_ref().map(|budget| standing(budget, "")),
        "of_management": limiter.management.as_ref().map(|budget| standing(budget, "")),
        "senders_in_use": senders.in_use,
        "waiting": senders.waiting,
        "senders_paused": senders.paused,
        "senders_paused_seconds": senders.paused_until.map(seconds),
        "per_recipient": limiter.pairs.as_ref().map(|pairs| pairs.quota().to_string()),
        "recipients_in_use": recipients.in_use,
        "waiting_for_recipients": recipients.waiting,
        "recipients_paused": recipients.paused,
        "recipients_paused_seconds": recipients.paused_until.map(seconds),
        "per_account": limiter.sends.as_ref().map(|budget| budget.terms().rate.to_string()),
        "waiting_for_account": limiter.sends.as_ref().map(|budget| budget.usage().waiting),
        "management": limiter.management.as_ref().map(|budget| budget.terms().rate.to_string()),
        "waiting_for_management": management.waiting,
        "account_paused_seconds": limiter.account.paused_until().map(seconds),
    })
}

/// How one limit stands.
fn standing_status(sender: &str, standing: &Standing) -> Value {
    json!({
        "sender": sender,
        "rate": standing.quota.rate.to_string(),
        "remaining": standing.remaining,
        "burst": standing.quota.burst,
        "waiting": standing.waiting,
        "wait_seconds": standing.wait.as_secs_f64(),
        "slowed_to_per_second": standing.spacing.map(|spacing| 1.0 / spacing.as_secs_f64()),
        "closed": standing.is_closed,
        "paused_seconds": standing.halt.map(|halt| seconds(halt.until)),
        "paused_because": standing.halt.map(|halt| halt.why.as_str()),
    })
}

fn seconds(until: Instant) -> f64 {
    until.saturating_duration_since(Instant::now()).as_secs_f64()
}

/// How it stands with the server of shared limits.
fn shared_status(limits: &SharedLimits, shared: &Shared) -> Value {
    let standing = shared.standing();
    json!({
        "redis": limits.redis.to_string(),
        "in_use": standing.problem.is_none(),
        "problem": standing.problem,
        "since_seconds": standing.since.elapsed().as_secs(),
        "on_failure": limits.on_failure.as_str(),
        "replicas": limits.replicas,
    })
}

fn webhook_status(webhook: &Webhook) -> Value {
    json!({
        "name": webhook.name,
        "path": webhook.path.to_string(),
        "credential": webhook.credential,
        "forward": webhook.forward.to_string(),
        "timeout_ms": u64::try_from(webhook.timeout.as_millis()).unwrap_or(u64::MAX),
        "reply": webhook.reply,
    })
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Of a route: those who wait or are paused come first.
const MOST_SENDERS: usize = 20;
