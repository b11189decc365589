//! The contents of a genuine event in the Cloud API's form: received messages, which Meta counts
//! like sent messages, and the outcome of sent messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, StatusCode};
use memchr::memmem;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::body::Body;
use super::generation::WebhookEndpoint;
use super::recent::Recent;
use crate::json::lenient::{LenientList, LenientText, has_more_objects, without_mark};
use crate::memory::SMALL;
use crate::sends::{Digest16, Sends, StoredAnswer, callback_key};
use crate::spool::{Class, EventContents, Item};

/// The limits, sends and metrics that the items of a webhook's events change.
#[derive(Clone)]
struct Notes {
    webhook: Arc<WebhookEndpoint>,
    sends: Arc<Sends>,
}

impl Notes {
    fn new(webhook: &Arc<WebhookEndpoint>, sends: &Arc<Sends>) -> Self {
        Self {
            webhook: Arc::clone(webhook),
            sends: Arc::clone(sends),
        }
    }

    /// Takes note of an event. An item that came lately is known.
    fn of_event(&self, body: &[u8], recent: &Recent) {
        let mut items = EventContents::read(body).items;
        items.retain(|item| recent.is_new(&self.webhook.name, &item.key));
        self.arrived(&items, SystemTime::now());
        self.settle(body);
    }

    /// Takes note of items that had not arrived before: counts received messages against the limit
    /// of the receiving number, tells the sends of their statuses, and measures how late the items
    /// are.
    fn arrived(&self, items: &[Item], now: SystemTime) {
        let is_status = |item: &&Item| item.class == Class::Status && !item.id.is_empty();
        let statuses = items.iter().filter(is_status);
        self.sends
            .note_statuses(self.account(), statuses.map(|item| item.id.as_str()));
        for (sender, ages) in received(items, now) {
            for limits in &self.webhook.senders {
                limits.count_received(sender, &ages);
            }
        }
        if let Some(time) = items.iter().filter_map(|item| item.time).min() {
            self.webhook.metrics.late(age(time, now));
        }
    }

    /// The name of the credential.
    fn account(&self) -> &str {
        &self.webhook.credential.name
    }

    /// True if an event could settle a sent message of unknown outcome.
    fn listens(&self) -> bool {
        self.webhook.shared.is_some() || self.sends.has_callback_keys()
    }

    /// Settles sent messages of unknown outcome. A body in another form than the Cloud API's has no
    /// effect.
    fn settle(&self, body: &[u8]) {
        // Most statuses repeat no text, and are not worth another look.
        if !self.listens() || memmem::find(body, CALLBACK).is_none() {
            return;
        }
        let outcomes = known_outcomes(self.account(), &parsed(body));
        let notes = self.clone();
        tokio::spawn(async move {
            for (of, at, answer) in outcomes {
                let shared = notes.webhook.shared.as_ref();
                notes
                    .sends
                    .settle_by_event(shared, notes.account(), of, at, &answer)
                    .await;
            }
        });
    }
}

/// Takes note of an event on its way to the application: of a small event at once, and of a large
/// one in its `turn`.
///
/// The provider is answered after that. A provider that sends one large event after the other would
/// otherwise be refused for the memory of events that it has an answer to.
pub(super) async fn take_note(
    webhook: &Arc<WebhookEndpoint>,
    sends: &Arc<Sends>,
    recent: &Arc<Recent>,
    body: &Body,
    turn: &Arc<Semaphore>,
) {
    let notes = Notes::new(webhook, sends);
    if body.len() <= SMALL {
        return notes.of_event(&body.whole(), recent);
    }
    let recent = Arc::clone(recent);
    let body = body.clone();
    in_turn(turn, move || notes.of_event(&body.whole(), &recent)).await;
}

/// Takes note of the new items of an event that is on disk.
pub(super) async fn take_note_of(
    webhook: &Arc<WebhookEndpoint>,
    sends: &Arc<Sends>,
    items: &[Item],
    body: &Body,
    turn: &Arc<Semaphore>,
) {
    let notes = Notes::new(webhook, sends);
    notes.arrived(items, SystemTime::now());
    if !notes.listens() {
        return;
    }
    if body.len() <= SMALL {
        return notes.settle(&body.whole());
    }
    let body = body.clone();
    in_turn(turn, move || notes.settle(&body.whole())).await;
}

/// Works in turn, on a thread of its own, also if nobody waits for the end any more: a batch of a
/// thousand events has megabytes, and would hold up all requests. One at a time: the work takes a
/// copy of the body.
async fn in_turn(turn: &Arc<Semaphore>, work: impl FnOnce() + Send + 'static) {
    let turn = Arc::clone(turn);
    let working = tokio::spawn(async move {
        let _turn = turn.acquire_owned().await;
        tokio::task::spawn_blocking(work).await.ok();
    });
    working.await.ok();
}

/// The ages of the received messages among items, by the id of the receiving number.
fn received(items: &[Item], now: SystemTime) -> HashMap<&str, Vec<Duration>> {
    let mut ages: HashMap<&str, Vec<Duration>> = HashMap::new();
    for item in items.iter().filter(|item| item.is_received) {
        if let Some(sender) = &item.sender {
            let age = item.time.map_or(Duration::ZERO, |time| age(time, now));
            ages.entry(sender).or_default().push(age);
        }
    }
    ages
}

/// The time since `time`, in seconds since 1970; zero for a time to come.
fn age(time: u64, now: SystemTime) -> Duration {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(time));
    time.and_then(|time| now.duration_since(time).ok())
        .unwrap_or_default()
}

/// Parses an event. A body in another form is an event without contents, and so is a body with more
/// objects than any provider sends: a parsed object takes many times its length.
fn parsed(body: &[u8]) -> StatusEvent<'_> {
    if has_more_objects(body, MAX_OBJECTS) {
        return StatusEvent::default();
    }
    serde_json::from_slice(without_mark(body)).unwrap_or_default()
}

/// The sent messages with a known outcome: the key by their callback text, the time of sending, and
/// the answer that the application would have got. Later statuses (delivered, read) may belong to
/// an earlier message with an equal text.
fn known_outcomes(account: &str, event: &StatusEvent<'_>) -> Vec<(Digest16, u64, StoredAnswer)> {
    let all = event
        .values()
        .filter_map(|value| Some((value.metadata.as_ref()?, &value.statuses.elements)))
        .flat_map(|(metadata, statuses)| statuses.iter().map(move |status| (metadata, status)));
    let outcomes = all.filter_map(|(metadata, status)| {
        let SentStatus {
            id,
            status,
            timestamp,
            recipient_id,
            biz_opaque_callback_data,
        } = status;
        let text = biz_opaque_callback_data
            .as_ref()
            .filter(|_| matches!(&**status, "sent" | "failed"))?;
        let body = json!({
            "messaging_product": "whatsapp",
            "contacts": [{ "input": &**recipient_id, "wa_id": &**recipient_id }],
            "messages": [{ "id": &**id }],
        });
        let media_type = Some(HeaderValue::from_static("application/json"));
        let answer = StoredAnswer {
            status: StatusCode::OK,
            media_type,
            body: body.to_string().into(),
        };
        let of = callback_key(account, &metadata.phone_number_id, recipient_id, text);
        Some((of, timestamp.parse().ok()?, answer))
    });
    outcomes.collect()
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct StatusEvent<'a> {
    entry: LenientList<StatusEntry<'a>>,
}

impl<'a> StatusEvent<'a> {
    fn values(&self) -> impl Iterator<Item = &StatusValue<'a>> {
        let entries = self.entry.elements.iter();
        entries
            .flat_map(|entry| &entry.changes.elements)
            .map(|change| &change.value)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct StatusEntry<'a> {
    changes: LenientList<StatusChange<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct StatusChange<'a> {
    value: StatusValue<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct StatusValue<'a> {
    metadata: Option<StatusMetadata<'a>>,
    statuses: LenientList<SentStatus<'a>>,
}

/// The outcome of a sent message.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct SentStatus<'a> {
    id: LenientText<'a>,
    status: LenientText<'a>,
    timestamp: LenientText<'a>,
    recipient_id: LenientText<'a>,
    biz_opaque_callback_data: Option<LenientText<'a>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct StatusMetadata<'a> {
    phone_number_id: LenientText<'a>,
}

/// The name of the text that an application sets for statuses to repeat.
const CALLBACK: &[u8] = b"biz_opaque_callback_data";
/// Most objects of an event that is parsed. A batch has at most a thousand updates, each with some
/// ten objects.
const MAX_OBJECTS: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_each_number_are_counted_with_their_ages() {
        let change = |number: &str, messages: &str| {
            format!(
                r#"{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"1","phone_number_id":"{number}"}},{messages}}}}}"#
            )
        };
        let two = change(
            "1",
            r#""messages":[{"id":"a","timestamp":"90"},{"id":"b","timestamp":"200"}]"#,
        );
        let one = change("2", r#""messages":[{"id":"c"}]"#);
        let none = change("3", r#""statuses":[{"id":"d","timestamp":"90"}]"#);
        let text = format!(r#"{{"entry":[{{"id":"1","changes":[{two},{none},{one}]}}]}}"#);
        let items = EventContents::read(text.as_bytes()).items;
        let now = UNIX_EPOCH + Duration::from_secs(100);
        let expected = HashMap::from([
            ("1", vec![Duration::from_secs(10), Duration::ZERO]),
            ("2", vec![Duration::ZERO]),
        ]);
        assert_eq!(received(&items, now), expected);
    }

    #[test]
    fn a_body_in_another_form_has_no_effect() {
        for text in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"entry":5}"#,
            r#"{"entry":[{"changes":[{"value":{"messages":[1]}}]}]}"#,
        ] {
            assert!(
                known_outcomes("acme", &parsed(text.as_bytes())).is_empty(),
                "{text}"
            );
            let items = EventContents::read(text.as_bytes()).items;
            assert!(received(&items, UNIX_EPOCH).is_empty(), "{text}");
        }
    }
}
