//! The contents of a genuine event in the Cloud API's form: received messages, which Meta counts
//! like sent messages, and the outcome of sent messages.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::sync::Semaphore;

use super::body::Body;
use super::generation::WebhookEndpoint;
use crate::limit::KeyedLimits;
use crate::memory::SMALL;
use crate::sends::{Digest16, Sends, StoredAnswer, callback_key};
use crate::units::saturated;

/// Counts the messages of an event against the limit of the receiving number, and settles sent
/// messages of unknown outcome. A body in another form has no effect.
///
/// Large bodies wait for their `turn`: parsing takes a copy of the body.
pub(super) fn take_note(
    webhook: &WebhookEndpoint,
    sends: &Arc<Sends>,
    body: &Body,
    turn: &Arc<Semaphore>,
) {
    let senders = webhook.senders.clone();
    let body = body.clone();
    let listens = webhook.shared.is_some() || sends.has_callback_keys();
    if senders.is_empty() && !listens {
        return;
    }
    let (account, shared) = (webhook.credential.name.clone(), webhook.shared.clone());
    let sends = Arc::clone(sends);
    let length = body.len();
    let note = move || {
        let whole = body.whole();
        let event = parsed(&whole);
        count(&senders, &event);
        let told = if listens {
            told(&account, &event)
        } else {
            Vec::new()
        };
        if !told.is_empty() {
            tokio::spawn(async move {
                for (of, at, answer) in told {
                    sends
                        .settle_by_event(shared.as_ref(), &account, of, at, &answer)
                        .await;
                }
            });
        }
    };
    if length <= SMALL {
        return note();
    }
    // A batch of a thousand events has megabytes: parsed here it would hold up all requests.
    let turn = Arc::clone(turn);
    tokio::spawn(async move {
        let _turn = turn.acquire_owned().await;
        tokio::task::spawn_blocking(note).await.ok();
    });
}

/// Parses an event. A body in another form is an event without contents, and so is a body with more
/// objects than any provider sends: a parsed object takes many times its length.
fn parsed(body: &[u8]) -> Event<'_> {
    if memchr::memchr_iter(b'{', body).nth(MAX_OBJECTS).is_some() {
        return Event::default();
    }
    serde_json::from_slice(body).unwrap_or_default()
}

fn count(limits: &[Arc<KeyedLimits>], event: &Event<'_>) {
    if limits.is_empty() {
        return;
    }
    for (sender, count) in messages(event) {
        limits
            .iter()
            .for_each(|limits| limits.count_received(&sender, count));
    }
}

/// Number of received messages in an event, by the id of the receiving number.
fn messages(event: &Event<'_>) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    for value in event.values() {
        if let Some(metadata) = value
            .metadata
            .as_ref()
            .filter(|_| !value.messages.is_empty())
        {
            let count = saturated(value.messages.len());
            *counts
                .entry(metadata.phone_number_id.clone().into_owned())
                .or_default() += count;
        }
    }
    counts
}

/// The sent messages with a known outcome: the key by their callback text, the time of sending, and
/// the answer that the application would have got. Later statuses (delivered, read) may belong to
/// an earlier message with an equal text.
fn told(account: &str, event: &Event<'_>) -> Vec<(Digest16, u64, StoredAnswer)> {
    let all = event
        .values()
        .filter_map(|value| Some((value.metadata.as_ref()?, &value.statuses)));
    let all =
        all.flat_map(|(metadata, statuses)| statuses.iter().map(move |status| (metadata, status)));
    let told = all.filter_map(|(metadata, status)| {
        let Status {
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
            "contacts": [{ "input": recipient_id, "wa_id": recipient_id }],
            "messages": [{ "id": id }],
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
    told.collect()
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Event<'a> {
    entry: Vec<Entry<'a>>,
}

impl<'a> Event<'a> {
    fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.entry
            .iter()
            .flat_map(|entry| &entry.changes)
            .map(|change| &change.value)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Entry<'a> {
    changes: Vec<Change<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Change<'a> {
    value: Value<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Value<'a> {
    metadata: Option<Metadata<'a>>,
    messages: Vec<IgnoredAny>,
    statuses: Vec<Status<'a>>,
}

/// The outcome of a sent message.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Status<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    recipient_id: Cow<'a, str>,
    #[serde(borrow)]
    biz_opaque_callback_data: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    phone_number_id: Cow<'a, str>,
}

/// Most objects of an event that is parsed. A batch has at most a thousand updates, each with some ten
/// objects.
const MAX_OBJECTS: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_each_number_are_counted() {
        let change = |number: &str, messages: &str| {
            format!(
                r#"{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"1","phone_number_id":"{number}"}},{messages}}}}}"#
            )
        };
        let (two, one, none) = (
            change("1", r#""messages":[{"id":"a"},{"id":"b"}]"#),
            change("2", r#""messages":[{"id":"c"}]"#),
            change("3", r#""statuses":[{"id":"d"}]"#),
        );
        let text = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{two},{none}]}},{{"id":"2","changes":[{one},{two}]}}]}}"#
        );
        let expected = HashMap::from([("1".to_owned(), 4), ("2".to_owned(), 1)]);
        assert_eq!(messages(&parsed(text.as_bytes())), expected);
        let many = text.replace(
            "[{\"id\":\"c\"}]",
            &format!("[{}{{}}]", "{},".repeat(MAX_OBJECTS)),
        );
        assert!(messages(&parsed(many.as_bytes())).is_empty());
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
            let event = parsed(text.as_bytes());
            assert!(
                messages(&event).is_empty() && told("acme", &event).is_empty(),
                "{text}"
            );
        }
    }
}
