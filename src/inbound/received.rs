//! What a genuine event of the Cloud API's form says: how many messages it brings, which Meta counts like those that go
//! out, and what became of messages that were sent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::Webhook;
use crate::limit::Budget;
use crate::sends::{Answer, Mark, Sends, told_of};

/// Counts the messages of an event against the limit of their number, and answers those messages whose outcome nobody
/// knew. What is no event of this form says nothing.
pub(super) fn take_note(webhook: &Webhook, sends: &Arc<Sends>, pieces: &[Bytes]) {
    let (budgets, pieces) = (webhook.budgets.clone(), pieces.to_vec());
    let listens = webhook.shared.is_some() || sends.listens();
    if budgets.is_empty() && !listens {
        return;
    }
    let (account, shared) = (webhook.credential.name.clone(), webhook.shared.clone());
    let sends = Arc::clone(sends);
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let note = move || {
        let body = joined(&pieces);
        let event: Event<'_> = serde_json::from_slice(&body).unwrap_or_default();
        count(&budgets, &event);
        let told = if listens { told(&account, &event) } else { Vec::new() };
        if !told.is_empty() {
            tokio::spawn(async move {
                for (of, at, answer) in told {
                    sends.told(shared.as_ref(), &account, of, at, &answer).await;
                }
            });
        }
    };
    // A batch of a thousand has megabytes, which no other request should have to wait for.
    match length {
        0..=SMALL => note(),
        _ => drop(tokio::task::spawn_blocking(note)),
    }
}

fn joined(pieces: &[Bytes]) -> Cow<'_, [u8]> {
    match pieces {
        [one] => Cow::Borrowed(&one[..]),
        several => Cow::Owned(several.concat()),
    }
}

fn count(budgets: &[Arc<Budget>], event: &Event<'_>) {
    if !budgets.is_empty() {
        for (sender, count) in messages(event) {
            budgets.iter().for_each(|budget| budget.count(&sender, count));
        }
    }
}

/// The messages in an event, by the id of the number that they came to.
fn messages(event: &Event<'_>) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    for value in event.values() {
        if let Some(metadata) = value.metadata.as_ref().filter(|_| !value.messages.is_empty()) {
            let count = u32::try_from(value.messages.len()).unwrap_or(u32::MAX);
            *counts.entry(metadata.phone_number_id.clone().into_owned()).or_default() += count;
        }
    }
    counts
}

/// The messages of which it tells that they went out, by the text that they carried: which they are, when that was, and
/// the answer that they would have had. Later statuses (delivered, read) may be of an earlier message with the same text.
fn told(account: &str, event: &Event<'_>) -> Vec<(Mark, u64, Answer)> {
    let all = event.values().filter_map(|value| Some((value.metadata.as_ref()?, &value.statuses)));
    let all = all.flat_map(|(metadata, statuses)| statuses.iter().map(move |status| (metadata, status)));
    let told = all.filter_map(|(metadata, status)| {
        let Status { id, status, timestamp, recipient_id, biz_opaque_callback_data } = status;
        let text = biz_opaque_callback_data.as_ref().filter(|_| matches!(&**status, "sent" | "failed"))?;
        let body = json!({
            "messaging_product": "whatsapp",
            "contacts": [{ "input": recipient_id, "wa_id": recipient_id }],
            "messages": [{ "id": id }],
        });
        let media_type = Some(HeaderValue::from_static("application/json"));
        let answer = Answer { status: StatusCode::OK, media_type, body: body.to_string().into() };
        let of = told_of(account, &metadata.phone_number_id, recipient_id, text);
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
        self.entry.iter().flat_map(|entry| &entry.changes).map(|change| &change.value)
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

/// What became of a message that was sent.
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

/// Read in some tens of microseconds.
const SMALL: usize = 16 * 1024;

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
        let (begin, end) = text.split_at(100);
        for pieces in [vec![Bytes::from(text.clone())], vec![begin.to_owned().into(), end.to_owned().into()]] {
            assert_eq!(messages(&serde_json::from_slice(&joined(&pieces)).unwrap()), expected);
        }
    }

    #[test]
    fn what_is_something_else_counts_for_nothing() {
        for text in ["", "x", "[]", "{}", r#"{"entry":5}"#, r#"{"entry":[{"changes":[{"value":{"messages":[1]}}]}]}"#] {
            let event: Event<'_> = serde_json::from_slice(text.as_bytes()).unwrap_or_default();
            assert!(messages(&event).is_empty() && told("acme", &event).is_empty(), "{text}");
        }
    }
}
