//! Webhooks with their destinations as JSON.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::traffic;
use crate::config::{EventWay, WebhookConfig};
use crate::delivery::metrics::DeliveryMetrics;
use crate::inbound::metrics::WebhookTraffic;
use crate::traffic::DestinationTraffic;
use crate::units::millis;

/// Returns a webhook with the health of its destinations.
pub(super) fn webhook_status(
    webhook: &WebhookConfig,
    traffic: Option<WebhookTraffic>,
    deliveries: &DeliveryMetrics,
) -> Value {
    let seconds = |time: fn(WebhookTraffic) -> Option<Duration>| {
        traffic.and_then(time).map(|time| time.as_secs())
    };
    let ends = webhook.way.ends(&webhook.name);
    let forward: Vec<&str> = ends.iter().map(|(_, end)| end.as_str()).collect();
    let to: Vec<_> = ends
        .iter()
        .map(|(name, end)| {
            let health = deliveries
                .traffic(&webhook.name, name)
                .map(|traffic| destination_status(webhook, &traffic));
            json!({ "name": name, "to": end, "traffic": health })
        })
        .collect();
    json!({
        "name": webhook.name,
        "path": webhook.path.to_string(),
        "credential": webhook.credential,
        "forward": forward.join(", "),
        "to": to,
        "timeout_ms": millis(webhook.timeout),
        "reply": webhook.reply,
        "last_event_seconds_ago": seconds(|traffic| traffic.last_event),
        "lag_seconds": seconds(|traffic| traffic.lag),
        "silent_seconds": seconds(|traffic| traffic.silence),
    })
}

/// Returns the health of a destination. What is wrong with a destination of the spool, the alarms
/// of the spool tell.
fn destination_status(webhook: &WebhookConfig, traffic: &DestinationTraffic) -> Value {
    let is_direct = matches!(webhook.way, EventWay::Direct(_));
    let problem = traffic.problem(Instant::now(), SystemTime::now());
    traffic::destination(traffic, problem.filter(|_| is_direct))
}
