//! How many messages an event brings, and for which number: Meta counts what comes in like what goes out.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::limit::Budget;

/// Counts the messages of an event against the limit of their number. What is no event with messages counts for nothing.
pub(super) fn count(budgets: &[Arc<Budget>], pieces: &[Bytes]) {
    if budgets.is_empty() {
        return;
    }
    let (budgets, pieces) = (budgets.to_vec(), pieces.to_vec());
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let count = move || {
        for (sender, count) in messages(&pieces) {
            budgets.iter().for_each(|budget| budget.count(&sender, count));
        }
    };
    // A batch of a thousand has megabytes, which no other request should have to wait for.
    match length {
        0..=SMALL => count(),
        _ => drop(tokio::task::spawn_blocking(count)),
    }
}

/// The messages in an event, by the id of the number that they came to.
fn messages(pieces: &[Bytes]) -> HashMap<String, u32> {
    let body = match pieces {
        [one] => Cow::Borrowed(&one[..]),
        several => Cow::Owned(several.concat()),
    };
    let event: Event<'_> = serde_json::from_slice(&body).unwrap_or_default();
    let mut counts = HashMap::new();
    for value in event.entry.into_iter().flat_map(|entry| entry.changes).map(|change| change.value) {
        if let Some(metadata) = value.metadata.filter(|_| !value.messages.is_empty()) {
            let count = u32::try_from(value.messages.len()).unwrap_or(u32::MAX);
            *counts.entry(metadata.phone_number_id.into_owned()).or_default() += count;
        }
    }
    counts
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Event<'a> {
    entry: Vec<Entry<'a>>,
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
        assert_eq!(messages(&[Bytes::from(text.clone())]), expected);
        let (begin, end) = text.split_at(100);
        assert_eq!(messages(&[begin.to_owned().into(), end.to_owned().into()]), expected);
    }

    #[test]
    fn what_is_something_else_counts_for_nothing() {
        for text in ["", "x", "[]", "{}", r#"{"entry":5}"#, r#"{"entry":[{"changes":[{"value":{"messages":[1]}}]}]}"#] {
            assert!(messages(&[Bytes::from(text)]).is_empty(), "{text}");
        }
    }
}
