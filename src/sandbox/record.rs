//! What happened: the sends that were accepted and the requests that were seen. No secret is kept.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, StatusCode};

use super::json::{Json, object};
use super::state::lock;

/// How many sends are kept.
const SENDS: usize = 100_000;
/// How many requests are kept.
const REQUESTS: usize = 1000;

/// A send that was accepted: on the real API, a message that goes out and is paid for.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The phone number id that sent it, or whatever the provider has for that.
    pub sender: String,
    /// Whom it goes to, as the caller wrote it.
    pub recipient: String,
    /// Its type: `text`, `template`, ...; of a provider other than Meta, the path that it was sent to.
    pub kind: String,
    /// Its id.
    pub wamid: String,
    /// The fingerprint of the token, or of the provider's key, that it was sent with.
    pub token: String,
    /// When it was accepted.
    pub when: SystemTime,
}

/// A request that was seen.
pub(super) struct Seen {
    pub(super) listener: &'static str,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: Vec<String>,
    pub(super) token: Option<String>,
    pub(super) scheme: Option<&'static str>,
}

/// The names of the headers, in order, each as often as it came.
pub(super) fn header_names(headers: &HeaderMap) -> Vec<String> {
    headers.iter().map(|(name, _)| name.as_str().to_owned()).collect()
}

/// Both records.
#[derive(Default)]
pub(super) struct Records {
    sends: Mutex<VecDeque<(Accepted, serde_json::Value)>>,
    requests: Mutex<Requests>,
}

#[derive(Default)]
struct Requests {
    first: u64,
    seen: VecDeque<(Seen, Option<StatusCode>)>,
}

impl Records {
    /// Records a send.
    pub(super) fn accept(&self, send: Accepted, body: serde_json::Value) {
        let mut sends = lock(&self.sends);
        if sends.len() >= SENDS {
            sends.pop_front();
        }
        sends.push_back((send, body));
    }

    /// The sends, in the order in which they were accepted.
    pub(super) fn accepted(&self) -> Vec<Accepted> {
        lock(&self.sends).iter().map(|(send, _)| send.clone()).collect()
    }

    /// Forgets the sends.
    pub(super) fn forget_sends(&self) {
        lock(&self.sends).clear();
    }

    /// The sends as JSON.
    pub(super) fn sends_json(&self) -> Json {
        let sends = lock(&self.sends);
        Json::List(sends.iter().map(|(send, body)| send_json(send, body.clone())).collect())
    }

    /// Records a request before anything is done about it; what it came to is added with the number.
    pub(super) fn see(&self, seen: Seen) -> u64 {
        let mut requests = lock(&self.requests);
        if requests.seen.len() >= REQUESTS {
            requests.seen.pop_front();
            requests.first += 1;
        }
        requests.seen.push_back((seen, None));
        requests.first + u64::try_from(requests.seen.len()).unwrap_or(0) - 1
    }

    /// Adds the status that a request was answered with.
    pub(super) fn answered(&self, number: u64, status: StatusCode) {
        let mut requests = lock(&self.requests);
        let index = number.checked_sub(requests.first).and_then(|index| usize::try_from(index).ok());
        if let Some((_, answered)) = index.and_then(|index| requests.seen.get_mut(index)) {
            *answered = Some(status);
        }
    }

    /// The requests as JSON; `status` is null where no answer went out.
    pub(super) fn requests_json(&self) -> Json {
        let requests = lock(&self.requests);
        Json::List(requests.seen.iter().map(|(seen, status)| seen_json(seen, *status)).collect())
    }
}

fn send_json(send: &Accepted, body: serde_json::Value) -> Json {
    let when = send.when.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    object([
        ("sender", send.sender.as_str().into()),
        ("to", send.recipient.as_str().into()),
        ("type", send.kind.as_str().into()),
        ("wamid", send.wamid.as_str().into()),
        ("body", Json::Any(body)),
        ("token", send.token.as_str().into()),
        ("at_ms", u64::try_from(when).unwrap_or(u64::MAX).into()),
    ])
}

fn seen_json(seen: &Seen, status: Option<StatusCode>) -> Json {
    let text = |text: Option<&str>| text.map_or(Json::Any(serde_json::Value::Null), Json::from);
    let names = seen.headers.iter().map(|name| Json::from(name.as_str()));
    object([
        ("listener", seen.listener.into()),
        ("method", seen.method.as_str().into()),
        ("path", seen.target.as_str().into()),
        ("headers", Json::List(names.collect())),
        ("token", text(seen.token.as_deref())),
        ("scheme", text(seen.scheme)),
        ("status", status.map_or(Json::Any(serde_json::Value::Null), |status| i64::from(status.as_u16()).into())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let method = Method::GET;
        Seen { listener: "graph", method, target: "/1".into(), headers: Vec::new(), token: None, scheme: None }
    }

    #[test]
    fn only_the_last_thousand_requests_are_kept() {
        let records = Records::default();
        let first = records.see(seen());
        for _ in 0..REQUESTS {
            records.see(seen());
        }
        let last = records.see(seen());
        records.answered(first, StatusCode::OK);
        records.answered(last, StatusCode::CREATED);
        let Json::List(kept) = records.requests_json() else { panic!("no list") };
        assert_eq!(kept.len(), REQUESTS);
        assert!(kept.last().unwrap().plain().ends_with("\"status\":201}"));
        assert!(!records.requests_json().plain().contains("\"status\":200"));
    }
}
