//! The handler of other providers than Meta, which answers in the provider's [`Dialect`].

mod credential;
mod kept;
mod request;

use std::time::SystemTime;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::Instant;

use crate::dialect::{Answer, Dialect, EXCHANGED_LIFETIME, Exchange, Place};
use crate::ids;
use crate::magic::Magic;
use crate::reply::{Outcome, Reply};
use crate::state::State;
use crate::store::record::{Accepted, Arrival};

use credential::{KeyError, PresentedKey};
use request::ProviderRequest;

/// Answers a request to the provider.
pub(crate) async fn answer(
    state: &State,
    dialect: &Dialect,
    request: Request<Incoming>,
) -> Outcome {
    let (head, body) = request.into_parts();
    let Ok(request) = ProviderRequest::read(head, body).await else {
        return Outcome::Answer(TOO_LARGE.fill(&[]));
    };
    let key = PresentedKey::find(dialect, state, &request);
    let credential = key.as_ref().map(|key| (key.fingerprint(), key.place));
    let arrival = Arrival::new(dialect.name, &request.head, credential);
    let number = state.records.arrived(arrival);
    if !state.rules.latency.is_zero() {
        tokio::time::sleep(state.rules.latency).await;
    }
    let outcome = handle(state, dialect, request, key).await;
    if let Outcome::Answer(response) = &outcome {
        state.records.answered(number, response.status());
    }
    outcome
}

async fn handle(
    state: &State,
    dialect: &Dialect,
    request: ProviderRequest,
    key: Option<PresentedKey>,
) -> Outcome {
    let checked = key.ok_or(KeyError::Wrong).and_then(|key| {
        key.check(dialect, state, &request)?;
        Ok(key)
    });
    let key = match (checked, &dialect.exchange) {
        (Ok(key), _) => key,
        (Err(KeyError::Expired), Some(exchange)) => {
            return Outcome::Answer(exchange.expired.fill(&[]));
        }
        (Err(_), _) => return Outcome::Answer(dialect.refused.fill(&[])),
    };
    if let Some(exchange) = &dialect.exchange
        && exchange.is_target_of(&request)
    {
        return Outcome::Answer(grant_token(exchange, state, &request, &key));
    }
    if let Some(answer) = kept::answer(state, dialect, &request).await {
        return Outcome::Answer(answer);
    }
    let has_path = |template: &str| request.has_path(&dialect.fill(template));
    let method = &request.head.method;
    let mut others = dialect.others.iter();
    if let Some((_, path, answer)) = others.find(|(own, path, _)| method == *own && has_path(path))
    {
        let named = variables(path, request.head.uri.path());
        let values: Vec<_> = named.chain(dialect.parameters.iter().copied()).collect();
        return Outcome::Answer(answer.fill(&values));
    }
    if method == Method::POST && dialect.sends.iter().any(|template| has_path(template)) {
        if let Some((place, answer)) = &dialect.receipt
            && request.body.pointer(place).is_some()
        {
            return Outcome::Answer(answer.fill(&[]));
        }
        return send(state, dialect, request, key.fingerprint()).await;
    }
    if dialect
        .samples
        .iter()
        .any(|line| is_line(method, line, has_path))
    {
        return Outcome::Answer(SAMPLE.fill(&[]));
    }
    // An unknown path must fail: an answer of success would hide a missing part of the emulation.
    Outcome::Answer(NO_SUCH_PATH.fill(&[]))
}

/// Returns true for a request of a line `METHODS /path`.
fn is_line(method: &Method, line: &str, has_path: impl Fn(&str) -> bool) -> bool {
    let Some((methods, path)) = line.rsplit_once(' ') else {
        return false;
    };
    let reads = method == Method::HEAD && methods.split(' ').any(|own| own == "GET");
    (reads || methods.split(' ').any(|own| method == own)) && has_path(path)
}

/// The variables of a path template with their values in a path.
fn variables<'p>(template: &'p str, path: &'p str) -> impl Iterator<Item = (&'p str, &'p str)> {
    template
        .split('/')
        .zip(path.split('/'))
        .filter_map(|(named, value)| {
            let (name, end) = named.strip_prefix('{')?.split_once('}')?;
            Some((name, value.strip_suffix(end)?))
        })
}

fn grant_token(
    exchange: &Exchange,
    state: &State,
    request: &ProviderRequest,
    key: &PresentedKey,
) -> Response<Reply> {
    if !exchange.is_complete(request) {
        return INCOMPLETE.fill(&[]);
    }
    let token = key.exchange(state);
    let life = EXCHANGED_LIFETIME.to_string();
    exchange.granted.fill(&[("token", &token), ("life", &life)])
}

async fn send(
    state: &State,
    dialect: &Dialect,
    mut request: ProviderRequest,
    fingerprint: String,
) -> Outcome {
    let magic = request.magic();
    let sender = request.text_at(dialect.sender);
    let recipient = request.text_at(dialect.recipient);
    if let Some(refusal) = refusal(state, dialect, &sender, magic) {
        return Outcome::Answer(refusal.fill(&[]));
    }
    let id = ids::in_form(dialect.id);
    let own = [
        ("id", id.as_str()),
        ("from", sender.as_str()),
        ("to", recipient.as_str()),
    ];
    let values: Vec<_> = own.iter().chain(dialect.parameters).copied().collect();
    let answer = dialect.accepted.fill(&values);
    // A 503 comes from in front of the provider, which never sees the message.
    if magic != Some(Magic::Unavailable) {
        redact_key(dialect, &mut request.body);
        let accepted = Accepted {
            sender,
            recipient,
            kind: request.head.uri.path().to_owned(),
            wamid: id,
            token: fingerprint,
            when: SystemTime::now(),
        };
        state.records.accept(accepted, request.body);
    }
    Outcome::new(magic, answer).await
}

/// Returns the answer that refuses a message, if the recipient is magic or the sender too fast.
fn refusal<'a>(
    state: &State,
    dialect: &'a Dialect,
    sender: &str,
    magic: Option<Magic>,
) -> Option<&'a Answer> {
    match magic {
        Some(Magic::InvalidToken) => return Some(&dialect.refused),
        Some(Magic::Throughput) => return Some(&dialect.throttled),
        Some(Magic::Pair) => {
            return Some(
                dialect
                    .pair_throttled
                    .as_ref()
                    .unwrap_or(&dialect.throttled),
            );
        }
        Some(Magic::Unknown) => return Some(&UNKNOWN),
        _ => {}
    }
    let rate = state.rules.per_sender?;
    let is_too_fast = !state.pace.take_sender(sender, rate, Instant::now());
    is_too_fast.then_some(&dialect.throttled)
}

/// Replaces the key in a body before the body is recorded.
fn redact_key(dialect: &Dialect, body: &mut Value) {
    for place in dialect.places {
        if let Place::Field(pointer) = place
            && let Some(key) = body.pointer_mut(pointer)
        {
            *key = "[redacted]".into();
        }
    }
}

impl Answer {
    /// Makes the answer, with each `{name}` in body and headers replaced by its value.
    fn fill(&self, values: &[(&str, &str)]) -> Response<Reply> {
        let body = values
            .iter()
            .fold(self.body.to_owned(), |body, (name, value)| {
                body.replace(&format!("{{{name}}}"), &json_escaped(value))
            });
        let mut response = Response::new(Reply::new(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            let value = values
                .iter()
                .fold((*value).to_owned(), |text, (own, value)| {
                    text.replace(&format!("{{{own}}}"), value)
                });
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// Escapes a text for the inside of a JSON string.
fn json_escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    let inner = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}

/// The answer to a body over the bound, which no vendor uses.
const TOO_LARGE: Answer = Answer::json(
    413,
    r#"{"error":{"code":"too_large","message":"The body is too large or broke off"}}"#,
);

/// The answer to a request other than a message whose answer has no form of its own here.
const SAMPLE: Answer = Answer::json(200, r#"{"id":"sample"}"#);

/// The answer to a path outside the emulation, which no vendor uses.
const NO_SUCH_PATH: Answer = Answer::json(
    404,
    r#"{"error":{"code":"not_found","message":"The sandbox knows no such request of this provider"}}"#,
);

/// The answer to the magic recipient of an unknown error, which no vendor uses.
const UNKNOWN: Answer = Answer::json(
    500,
    r#"{"error":{"code":"unknown","message":"Something went wrong"}}"#,
);

/// The answer to an incomplete request for a token, from RFC 6749, section 5.2.
const INCOMPLETE: Answer = Answer::json(400, r#"{"error":"invalid_request"}"#);
