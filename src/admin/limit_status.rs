//! The limits of a route in `/status`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::status_query::StatusQuery;
use crate::limit::{KeyedLimits, LimitStatus, Limiter};

/// Returns the limits of a route: the totals, the busiest senders, and the parties of the query.
pub(super) fn limit_status(limiter: &Limiter, query: &StatusQuery) -> Value {
    let of_key = |limits: &KeyedLimits, key: &str| one_limit_status(key, &limits.status(key));
    let of_sender = |limits: &KeyedLimits| {
        let sender = query.sender.as_ref()?;
        let status = limits.status(sender);
        let has_something = status.quota.is_some() || !status.is_idle();
        has_something.then(|| one_limit_status(sender, &status))
    };
    let of_recipient =
        limiter
            .pairs
            .as_ref()
            .zip(query.recipient.as_ref())
            .map(|(pairs, recipient)| {
                let sender = query.sender.as_deref().unwrap_or_default();
                one_limit_status(sender, &pairs.status(sender, recipient))
            });
    let of_object = |object: &String| one_limit_status(object, &limiter.objects.status(object));
    let objects = limiter.objects.usage();
    let senders = limiter.senders.usage();
    let recipients = limiter
        .pairs
        .as_ref()
        .map(|pairs| pairs.usage())
        .unwrap_or_default();
    let management = limiter.management.as_ref().map(|limits| limits.usage());
    let rate = |limits: &Arc<KeyedLimits>| limits.rate().map(|rate| rate.to_string());
    json!({
        "per_sender": rate(&limiter.senders),
        "senders": busiest_of(&limiter.senders),
        "of_sender": of_sender(&limiter.senders),
        "of_sender_apart": of_sender(&limiter.separately_metered),
        "of_recipient": of_recipient,
        "of_account": limiter.sends.as_ref().map(|limits| of_key(limits, "")),
        "of_object": query.object.as_ref().map(of_object),
        "of_management": limiter.management.as_ref().zip(query.object.as_ref()).map(|(limits, object)| of_key(limits, object)),
        "senders_in_use": senders.in_use,
        "waiting": senders.waiting,
        "senders_paused": senders.paused,
        "senders_paused_seconds": senders.paused_until.map(seconds),
        "senders_slowed": senders.slowed,
        "senders_slowed_to_per_second": senders.slowest.map(per_second),
        "per_recipient": limiter.pairs.as_ref().and_then(|pairs| pairs.quota()).map(|quota| quota.to_string()),
        "recipients_in_use": recipients.in_use,
        "waiting_for_recipients": recipients.waiting,
        "recipients_paused": recipients.paused,
        "recipients_paused_seconds": recipients.paused_until.map(seconds),
        "per_account": limiter.sends.as_ref().map(rate),
        "waiting_for_account": limiter.sends.as_ref().map(|limits| limits.usage().waiting),
        "management": limiter.management.as_ref().map(rate),
        "waiting_for_management": management.unwrap_or_default().waiting,
        "objects": busiest_of(&limiter.objects),
        "objects_paused": objects.paused,
        "objects_paused_seconds": objects.paused_until.map(seconds),
        "account_paused_seconds": limiter.account_pause.paused_until().map(seconds),
    })
}

/// Returns the limits with the most waiting requests, each with its key.
fn busiest_of(limits: &KeyedLimits) -> Vec<Value> {
    limits
        .busiest(MAX_SENDERS)
        .iter()
        .map(|(key, status)| one_limit_status(key, status))
        .collect()
}

/// Returns the state of the limit of a sender, or of an object, which has the same key.
fn one_limit_status(subject: &str, status: &LimitStatus) -> Value {
    json!({
        "sender": subject,
        "rate": status.quota.map(|quota| quota.rate.to_string()),
        "remaining": status.quota.map(|_| status.remaining),
        "burst": status.quota.map(|quota| quota.burst),
        "waiting": status.waiting,
        "wait_seconds": status.wait.as_secs_f64(),
        "slowed_to_per_second": status.interval.map(per_second),
        "closed": status.is_closed,
        "paused_seconds": status.pause.map(|pause| seconds(pause.until)),
        "paused_because": status.pause.map(|pause| pause.reason),
    })
}

fn per_second(interval: Duration) -> f64 {
    1.0 / interval.as_secs_f64()
}

/// Returns the seconds until an instant, or 0 for an instant in the past.
fn seconds(until: Instant) -> f64 {
    until
        .saturating_duration_since(Instant::now())
        .as_secs_f64()
}

/// The number of senders in the answer for each route. Waiting and paused senders come first; a
/// route may have thousands of idle ones.
const MAX_SENDERS: usize = 20;
