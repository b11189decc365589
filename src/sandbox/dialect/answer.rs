//! From a request to a provider to its answer.

use std::time::SystemTime;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::Instant;

use super::asked::Asked;
use super::key::{Refused, Shown};
use super::{Answer, Dialect, Exchange, LIFE, Place};
use crate::sandbox::control;
use crate::sandbox::ids;
use crate::sandbox::magic::Magic;
use crate::sandbox::record::{Accepted, Seen, header_names};
use crate::sandbox::reply::{Outcome, Reply, befall};
use crate::sandbox::state::State;
use crate::sandbox::target::redact;

/// Answers a request to the provider.
pub(in crate::sandbox) async fn answer(state: &State, dialect: &Dialect, request: Request<Incoming>) -> Outcome {
    if request.uri().path().starts_with(control::PREFIX) {
        return Outcome::Answer(control::answer(state, request).await);
    }
    let target = redact(request.uri().path_and_query().map_or("/", |target| target.as_str()));
    let Some(asked) = Asked::read(request).await else {
        return Outcome::Answer(TOO_LARGE.filled(&[]));
    };
    let shown = Shown::find(dialect, state, &asked);
    let number = state.records.see(Seen {
        listener: dialect.name,
        method: asked.method.clone(),
        target,
        headers: header_names(&asked.headers),
        token: shown.as_ref().map(Shown::fingerprint),
        scheme: shown.as_ref().map(|shown| shown.place),
    });
    if !state.rules.latency.is_zero() {
        tokio::time::sleep(state.rules.latency).await;
    }
    let outcome = handle(state, dialect, asked, shown).await;
    if let Outcome::Answer(response) = &outcome {
        state.records.answered(number, response.status());
    }
    outcome
}

async fn handle(state: &State, dialect: &Dialect, asked: Asked, shown: Option<Shown>) -> Outcome {
    let checked = match &shown {
        Some(shown) => shown.check(dialect, state, &asked).map(|()| shown),
        None => Err(Refused::Wrong),
    };
    let shown = match (checked, &dialect.exchange) {
        (Ok(shown), _) => shown,
        (Err(Refused::Expired), Some(exchange)) => return Outcome::Answer(exchange.expired.filled(&[])),
        (Err(_), _) => return Outcome::Answer(dialect.refused.filled(&[])),
    };
    if let Some(exchange) = dialect.exchange.as_ref().filter(|exchange| exchange.is_asked(&asked)) {
        return Outcome::Answer(exchange.answer(state, &asked, shown));
    }
    let is_path = |template: &str| asked.has_path(&dialect.filled(template));
    if let Some((_, answer)) = dialect.questions.iter().find(|(path, _)| asked.method == Method::GET && is_path(path)) {
        return Outcome::Answer(answer.filled(dialect.parameters));
    }
    if asked.method != Method::POST || !dialect.sends.iter().any(|template| is_path(template)) {
        // A path that the sandbox does not know fails loudly: it must not look as if it had worked.
        return Outcome::Answer(NO_SUCH_PATH.filled(&[]));
    }
    let fingerprint = shown.fingerprint();
    send(state, dialect, asked, fingerprint).await
}

async fn send(state: &State, dialect: &Dialect, mut asked: Asked, fingerprint: String) -> Outcome {
    let magic = asked.magic();
    let (sender, recipient) = (asked.at(dialect.sender), asked.at(dialect.recipient));
    let too_fast = || {
        let rate = state.rules.per_sender;
        rate.is_some_and(|rate| !state.pace.sender_may(&sender, rate, Instant::now()))
    };
    match magic {
        Some(Magic::InvalidToken) => return Outcome::Answer(dialect.refused.filled(&[])),
        Some(Magic::Throughput | Magic::Pair) => return Outcome::Answer(dialect.throttled.filled(&[])),
        Some(Magic::Unknown) => return Outcome::Answer(UNKNOWN.filled(&[])),
        _ if too_fast() => return Outcome::Answer(dialect.throttled.filled(&[])),
        _ => {}
    }
    let id = dialect.id.replace("{hex}", &ids::hex(32)).replace("{uuid}", &ids::uuid());
    let own = [("id", id.as_str()), ("from", sender.as_str()), ("to", recipient.as_str())];
    let values: Vec<_> = own.iter().chain(dialect.parameters).copied().collect();
    let answer = dialect.accepted.filled(&values);
    if magic != Some(Magic::Unavailable) {
        hide_key(dialect, &mut asked.body);
        let send =
            Accepted { sender, recipient, kind: asked.path, wamid: id, token: fingerprint, when: SystemTime::now() };
        state.records.accept(send, asked.body);
    }
    befall(magic, answer).await
}

/// Takes the key out of a body that is to be recorded.
fn hide_key(dialect: &Dialect, body: &mut Value) {
    for place in dialect.places {
        if let Place::Field(pointer) = place
            && let Some(key) = body.pointer_mut(pointer)
        {
            *key = "[redacted]".into();
        }
    }
}

impl Exchange {
    fn answer(&self, state: &State, asked: &Asked, shown: &Shown) -> Response<Reply> {
        if !self.is_complete(asked) {
            return INCOMPLETE.filled(&[]);
        }
        self.granted.filled(&[("token", &shown.exchange(state)), ("life", &LIFE.to_string())])
    }
}

impl Answer {
    /// The answer with these values at their names in the body, which is JSON where its headers do not say otherwise.
    fn filled(&self, values: &[(&str, &str)]) -> Response<Reply> {
        let fill = |body: String, (name, value): &(&str, &str)| {
            let quoted = Value::from(*value).to_string();
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
            body.replace(&format!("{{{name}}}"), inner)
        };
        let mut response = Response::new(Reply::new(values.iter().fold(self.body.to_owned(), fill)));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}

const TOO_LARGE: Answer =
    plain(413, r#"{"error":{"code":"too_large","message":"The body is too large or broke off"}}"#);
const NO_SUCH_PATH: Answer =
    plain(404, r#"{"error":{"code":"not_found","message":"The sandbox knows no such request of this provider"}}"#);
const UNKNOWN: Answer = plain(500, r#"{"error":{"code":"unknown","message":"Something went wrong"}}"#);
/// RFC 6749, section 5.2.
const INCOMPLETE: Answer = plain(400, r#"{"error":"invalid_request"}"#);

const fn plain(status: u16, body: &'static str) -> Answer {
    Answer { status, headers: &[], body }
}
