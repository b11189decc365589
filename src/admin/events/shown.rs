//! Events as JSON.

use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::question::Names;
use crate::spool::{
    Class, DestinationId, EventAtDestination, Listed, Request, StoredState, UnreadEvent,
};

/// The names of destinations: number, webhook, name.
pub(super) type DestinationNames = [(DestinationId, String, String)];

/// Returns an event without the request.
pub(super) fn listed(event: &Listed, destinations: &DestinationNames, names: Names) -> Value {
    let head = &event.head;
    let users: Vec<_> = head.users.iter().map(|user| shown(user, names)).collect();
    let at: Vec<_> = event
        .at
        .iter()
        .map(|at| delivery_state(at, destinations))
        .collect();
    json!({
        "number": event.seq,
        "id": head.id,
        "webhook": head.webhook,
        "received": moment(head.received_ms),
        "received_ms": head.received_ms,
        "time": head.time,
        "kind": match Class::of(head.class) {
            Class::Message => "message",
            Class::Status => "status",
            Class::Other => "other",
        },
        "fields": head.fields,
        "senders": head.senders,
        "users": users,
        "items": head.items,
        "repeats": event.repeats,
        "length": head.length,
        "at": at,
    })
}

/// Returns an event that cannot be read.
pub(super) fn unread(event: &UnreadEvent) -> Value {
    json!({
        "number": event.seq,
        "id": event.id,
        "received": event.received_ms.map(moment),
        "why": event.why.to_string(),
    })
}

fn delivery_state(at: &EventAtDestination, destinations: &DestinationNames) -> Value {
    let name = destinations
        .iter()
        .find(|(id, ..)| *id == at.to)
        .map(|(_, _, name)| name.as_str());
    let mut shown = json!({ "to": name, "state": at.state.as_str() });
    if let Some(fields) = shown.as_object_mut() {
        if at.state != StoredState::Delivered {
            fields.insert("attempts".to_owned(), at.attempts.into());
        }
        let time = match at.state {
            StoredState::Dead => "died",
            StoredState::Waiting | StoredState::Delivered => "next_attempt",
        };
        if let Some(ms) = at.at_ms {
            fields.insert(time.to_owned(), moment(ms).into());
        }
        if let Some(why) = &at.why {
            fields.insert("why".to_owned(), why.as_str().into());
        }
    }
    shown
}

/// Returns the arrived request, complete to the byte: text as text, other bytes in base64.
pub(super) fn request(request: &Request) -> Value {
    let headers = request.headers.iter().map(|(name, value)| {
        let mut header = Map::from_iter([("name".to_owned(), name.as_str().into())]);
        header.extend([bytes("value", value)]);
        Value::Object(header)
    });
    let mut shown = Map::new();
    shown.insert("method".to_owned(), request.method.as_str().into());
    shown.insert("query".to_owned(), request.query.as_deref().into());
    shown.insert("headers".to_owned(), headers.collect());
    shown.extend([bytes("body", &request.body)]);
    Value::Object(shown)
}

/// Returns bytes under a name: as text, or under the name with `_base64`.
fn bytes(name: &str, bytes: &[u8]) -> (String, Value) {
    let is_plain = |byte: &u8| *byte >= b' ' || matches!(byte, b'\n' | b'\r' | b'\t');
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(is_plain) => (name.to_owned(), text.into()),
        _ => (format!("{name}_base64"), BASE64.encode(bytes).into()),
    }
}

/// Returns the name of a person: masked, all but the last two characters are stars.
pub(super) fn shown(name: &str, names: Names) -> String {
    let count = name.chars().count();
    match names {
        Names::Shown => name.to_owned(),
        Names::Masked => (name.chars().enumerate())
            .map(|(at, character)| if at + 2 < count { '*' } else { character })
            .collect(),
    }
}

/// Returns a time in milliseconds since 1970 as RFC 3339.
pub(super) fn moment(ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_masked_name_ends_with_its_last_two_characters() {
        for (name, masked) in [
            ("4915112345678", "***********78"),
            ("12", "12"),
            ("", ""),
            ("äöü", "*öü"),
        ] {
            assert_eq!(shown(name, Names::Masked), masked);
            assert_eq!(shown(name, Names::Shown), name);
        }
    }

    #[test]
    fn a_request_has_text_where_bytes_are_text_and_base64_elsewhere() {
        let arrived = Request {
            method: "POST".to_owned(),
            query: None,
            headers: vec![
                ("a".to_owned(), b"1".to_vec()),
                ("b".to_owned(), b"\xff".to_vec()),
            ],
            body: Bytes::from_static(b"{\"a\":\n\"\xc3\xa4\"}"),
        };
        let shown = request(&arrived);
        assert_eq!(shown["headers"][0], json!({ "name": "a", "value": "1" }));
        assert_eq!(shown["headers"][1]["value_base64"], "/w==");
        assert_eq!(shown["body"], "{\"a\":\n\"ä\"}");
        let binary = Request {
            body: Bytes::from_static(b"\0\x01"),
            ..arrived
        };
        assert_eq!(request(&binary)["body_base64"], "AAE=");
    }

    #[test]
    fn a_moment_has_milliseconds() {
        assert_eq!(moment(1_749_416_383_120), "2025-06-08T20:59:43.12Z");
    }
}
