//! `Idempotency-Key`: a message goes out once, however often its request comes.
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
//!
//! The Cloud API knows no such thing: what is sent twice arrives twice.

use std::sync::atomic::AtomicBool;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, header};

use super::body::Form;
use super::error::OutboundError;
use super::exchange::Taken;
use super::named::recipient_in;
use super::policy::Permit;
use crate::json;
use crate::limit::{Limited, Sharing};
use crate::sends::{Answer, Begun, Mark, Message, Once, Sends, mark, told_of};
use crate::upstream::AnswerBody;

/// A message with a key that is under way.
pub(super) struct Keyed<'s> {
    once: Once<'s>,
    request: Mark,
}

/// What there is to do with a request.
pub(super) enum First<'s> {
    /// Send it; and say what came of it, where it has a key.
    Send(Option<Keyed<'s>>),
    /// It was sent before: this is the answer.
    Answered(Response<AnswerBody>),
}

/// Looks whether the request was sent before.
///
/// # Errors
/// 400 for a key that is none, 409 while the first is under way or where its outcome is unknown, 422 for another request
/// under the same key.
pub(super) async fn begin<'s>(
    sends: &'s Sends,
    permit: &Permit<'_>,
    parts: &Parts,
    body: &Taken,
    written: &'s AtomicBool,
) -> Result<First<'s>, OutboundError> {
    if !permit.request.limited || parts.method != Method::POST {
        return Ok(First::Send(None));
    }
    let Some(key) = key_of(parts)? else { return Ok(First::Send(None)) };
    let Taken::Whole { body, .. } = body else { return Err(NO_KEY_FOR_STREAMS) };
    let request = mark([permit.path.as_bytes(), parts.uri.query().unwrap_or_default().as_bytes(), body]);
    let (account, sender) = (permit.route.credential.name.as_str(), permit.sender.unwrap_or_default());
    let is_not_sent = parts.headers.get(SETTLE).is_some_and(|outcome| outcome == "not-sent");
    let told = told(permit, account, sender, body);
    let sharing = permit.route.limiter.sharing.as_ref();
    let goes_unasked = !sharing.is_some_and(Sharing::is_closed_alone);
    let max_wait = permit.route.limiter.patience.max_wait;
    let message = Message { account, sender, key, request, told, is_not_sent, max_wait, goes_unasked };
    match sends.begin(message, sharing.map(Sharing::server), written).await {
        Begun::New(once) => Ok(First::Send(Some(Keyed { once, request }))),
        Begun::Answered(answer) => Ok(First::Answered(replay(answer))),
        Begun::Reused => Err(OutboundError::KeyReused),
        Begun::UnderWay => Err(OutboundError::SendUnderWay { outcome_unknown: false }),
        Begun::Unknown => Err(OutboundError::SendUnderWay { outcome_unknown: true }),
        Begun::Unasked => Err(OutboundError::RateLimited(Limited::closed())),
        Begun::Full => Err(OutboundError::Overloaded),
    }
}

impl Keyed<'_> {
    /// Keeps the answer, where it says for good what became of the message; forgets the key where the provider did `nothing`
    /// with it, so that it can be sent again. After a failure of the provider's, or of something in between, the outcome is
    /// unknown.
    pub(super) async fn settle(self, response: &Response<AnswerBody>, nothing: bool) {
        if nothing {
            return self.once.forget().await;
        }
        let (status, AnswerBody::Whole(body)) = (response.status(), response.body()) else { return };
        if !status.is_server_error() && body.len() <= LARGEST {
            let answer = Answer::of(status, response.headers().get(header::CONTENT_TYPE), body);
            self.once.answered(self.request, answer).await;
        }
    }
}

fn replay(answer: Answer) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.extend(answer.media_type.map(|value| (header::CONTENT_TYPE, value)));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// What status events tell of it: a message may carry a text that they repeat.
fn told(permit: &Permit<'_>, account: &str, sender: &str, body: &[u8]) -> Option<Mark> {
    let text = std::str::from_utf8(body).ok()?;
    let repeated = json::text_at(text, &[REPEATED.to_owned()])?;
    let recipient = recipient_in(permit.provider(), Form::Json, text)?;
    Some(told_of(account, sender, &recipient, &repeated))
}

/// The key: a string of a structured field, or plain text as many write it.
fn key_of(parts: &Parts) -> Result<Option<&[u8]>, OutboundError> {
    let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.as_bytes().trim_ascii();
    let inner = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    if inner.is_empty() || inner.len() > LONGEST_KEY || values.next().is_some() {
        return Err(OutboundError::BadRequest {
            message: "the Idempotency-Key is not one",
            details: "send one of 1 to 255 characters, such as a UUID, new for each message",
        });
    }
    Ok(Some(inner))
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `not-sent`: the caller has found out that a message of unknown outcome was not sent.
const SETTLE: HeaderName = HeaderName::from_static("keyside-settle");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The Cloud API's field for a text of the caller's own, which the status events of a message repeat.
const REPEATED: &str = "biz_opaque_callback_data";
const LONGEST_KEY: usize = 255;
/// As much as the largest list of messages is answered with. After a larger one the outcome counts as unknown.
const LARGEST: usize = 1024 * 1024;
const NO_KEY_FOR_STREAMS: OutboundError = OutboundError::BadRequest {
    message: "an Idempotency-Key is for messages in JSON or forms",
    details: "send the message as JSON or a form, or without the key",
};
