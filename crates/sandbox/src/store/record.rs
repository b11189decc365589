//! Records of accepted messages and of requests, without secrets.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::query::redact;

/// An accepted message, which the real API would send and charge for.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The phone number id that sent the message, or the provider's counterpart.
    pub sender: String,
    /// The recipient, as the request spells it.
    pub recipient: String,
    /// The type of the message, such as `text`; for other providers than Meta the path of the
    /// request.
    pub kind: String,
    /// The id of the message.
    pub wamid: String,
    /// The fingerprint of the token or key in the request.
    pub token: String,
    /// The time of acceptance.
    pub when: SystemTime,
}

/// A request that arrived.
pub(crate) struct Arrival {
    /// The host that took the request: `graph`, `media` or the name of a provider.
    pub(crate) listener: &'static str,
    /// The method.
    pub(crate) method: Method,
    /// The path and query, redacted.
    pub(crate) target: String,
    /// The names of the headers in order, repeated names repeated.
    pub(crate) headers: Vec<String>,
    /// The fingerprint of the credential and the place where the request had it.
    pub(crate) credential: Option<(String, &'static str)>,
}

impl Arrival {
    /// Describes a request by its head.
    pub(crate) fn new(
        listener: &'static str,
        head: &Parts,
        credential: Option<(String, &'static str)>,
    ) -> Self {
        let target = head.uri.path_and_query();
        Self {
            listener,
            method: head.method.clone(),
            target: redact(target.map_or("/", |target| target.as_str())),
            headers: header_names(&head.headers),
            credential,
        }
    }
}

/// The accepted messages and the requests, oldest first.
#[derive(Default)]
pub(crate) struct Records {
    messages: Mutex<VecDeque<(Accepted, Value)>>,
    requests: Mutex<Requests>,
}

#[derive(Default)]
struct Requests {
    /// The number of the oldest request that is kept.
    first: u64,
    kept: VecDeque<(Arrival, Option<StatusCode>)>,
}

impl Records {
    /// Records an accepted message with its body; beyond [`MAX_MESSAGES`] the oldest is dropped.
    pub(crate) fn accept(&self, message: Accepted, body: Value) {
        let mut messages = self.messages.lock();
        if messages.len() >= MAX_MESSAGES {
            messages.pop_front();
        }
        messages.push_back((message, body));
    }

    /// Returns the accepted messages in the order of acceptance.
    pub(crate) fn accepted(&self) -> Vec<Accepted> {
        let messages = self.messages.lock();
        messages
            .iter()
            .map(|(message, _)| message.clone())
            .collect()
    }

    /// Forgets the accepted messages.
    pub(crate) fn clear_messages(&self) {
        self.messages.lock().clear();
    }

    /// Returns the accepted messages in JSON.
    pub(crate) fn messages_json(&self) -> Box<RawValue> {
        let messages = self.messages.lock();
        let rows = messages.iter().map(|(message, body)| MessageRow {
            sender: &message.sender,
            to: &message.recipient,
            kind: &message.kind,
            wamid: &message.wamid,
            body,
            token: &message.token,
            at_ms: unix_milliseconds(message.when),
        });
        to_raw_value(&rows.collect::<Vec<_>>()).unwrap_or_default()
    }

    /// Records a request before it is handled. Returns its number for [`Records::answered`].
    pub(crate) fn arrived(&self, arrival: Arrival) -> u64 {
        let mut requests = self.requests.lock();
        if requests.kept.len() >= MAX_REQUESTS {
            requests.kept.pop_front();
            requests.first += 1;
        }
        requests.kept.push_back((arrival, None));
        requests.first + u64::try_from(requests.kept.len()).unwrap_or(0) - 1
    }

    /// Records the status of a request's answer.
    pub(crate) fn answered(&self, number: u64, status: StatusCode) {
        let mut requests = self.requests.lock();
        let index = number
            .checked_sub(requests.first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some((_, answered)) = index.and_then(|index| requests.kept.get_mut(index)) {
            *answered = Some(status);
        }
    }

    /// Returns the requests in JSON; `status` is null for a request without an answer.
    pub(crate) fn requests_json(&self) -> Box<RawValue> {
        let requests = self.requests.lock();
        let rows = requests.kept.iter().map(|(arrival, status)| RequestRow {
            listener: arrival.listener,
            method: arrival.method.as_str(),
            path: &arrival.target,
            headers: &arrival.headers,
            token: arrival.credential.as_ref().map(|(token, _)| token.as_str()),
            scheme: arrival.credential.as_ref().map(|(_, place)| *place),
            status: status.map(|status| status.as_u16()),
        });
        to_raw_value(&rows.collect::<Vec<_>>()).unwrap_or_default()
    }
}

/// An accepted message, as `/_sandbox/sends` shows it.
#[derive(Serialize)]
struct MessageRow<'a> {
    sender: &'a str,
    to: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    wamid: &'a str,
    body: &'a Value,
    token: &'a str,
    at_ms: u64,
}

/// A request, as `/_sandbox/requests` shows it.
#[derive(Serialize)]
struct RequestRow<'a> {
    listener: &'a str,
    method: &'a str,
    path: &'a str,
    headers: &'a [String],
    token: Option<&'a str>,
    scheme: Option<&'a str>,
    status: Option<u16>,
}

fn header_names(headers: &HeaderMap) -> Vec<String> {
    headers
        .iter()
        .map(|(name, _)| name.as_str())
        .map(str::to_owned)
        .collect()
}

fn unix_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The accepted messages that are kept: enough for a load test.
const MAX_MESSAGES: usize = 100_000;

/// The requests that are kept: enough to debug one test.
const MAX_REQUESTS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival() -> Arrival {
        let (head, ()) = http::Request::get("/1").body(()).unwrap().into_parts();
        Arrival::new("graph", &head, None)
    }

    #[test]
    fn only_the_last_thousand_requests_are_kept() {
        let records = Records::default();
        let first = records.arrived(arrival());
        for _ in 0..MAX_REQUESTS {
            records.arrived(arrival());
        }
        let last = records.arrived(arrival());
        records.answered(first, StatusCode::OK);
        records.answered(last, StatusCode::CREATED);
        let kept: Value = serde_json::from_str(records.requests_json().get()).unwrap();
        assert_eq!(kept.as_array().unwrap().len(), MAX_REQUESTS);
        assert_eq!(kept[MAX_REQUESTS - 1]["status"], 201);
        assert!(!kept.to_string().contains("\"status\":200"));
    }
}
