//! `Idempotency-Key`: a message goes out once, however often the request arrives.
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
//!
//! The Cloud API has no such key: a message that is sent twice arrives twice.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde::Deserialize;

use super::body::RequestBody;
use super::context::RequestContext;
use super::error::OutboundError;
use super::found::recipient_of;
use super::policy::Permit;
use crate::credential::Credential;
use crate::json;
use crate::limit::{Limited, Sharing};
use crate::sends::{
    Digest16, Message, PendingSend, SendDecision, Sends, StoredAnswer, callback_key, digest16,
};
use crate::upstream::AnswerBody;
use crate::workers::work_on;

/// A message with a key, under way.
pub(super) struct KeyedSend<'s> {
    once: PendingSend<'s>,
    request: Digest16,
}

/// The next step of a request.
pub(super) enum NextStep<'s> {
    /// Send the request, and settle the key if it has a key.
    Send(Option<KeyedSend<'s>>),
    /// Give the answer of the first request with the same key.
    Replay(Response<AnswerBody>),
}

/// Looks up a request by its Idempotency-Key.
///
/// # Errors
/// 400 for a malformed key; 409 while the first request is under way or the outcome is unknown; 422
/// for a key of a different message; 429 and 503 if the key cannot be looked up or kept.
pub(super) async fn begin<'s>(
    sends: &'s Sends,
    permit: &Permit<'_>,
    context: &'s RequestContext<'_>,
    body: &RequestBody,
) -> Result<NextStep<'s>, OutboundError> {
    let parts = context.request;
    if !permit.request.limited || parts.method != Method::POST {
        return Ok(NextStep::Send(None));
    }
    let Some(key) = key_of(parts)? else {
        return Ok(NextStep::Send(None));
    };
    let RequestBody::Whole { body, .. } = body else {
        return Err(NO_KEY_FOR_STREAMS);
    };
    let account = permit.route.credential.name.as_str();
    let sender = permit.sender.unwrap_or_default();
    let settle_not_sent = parts
        .headers
        .get(SETTLE)
        .is_some_and(|outcome| outcome == "not-sent");
    let (request, callback_key) = digests(permit, parts, body).await;
    let sharing = permit.route.limiter.sharing.as_ref();
    let allow_without_server = !sharing.is_some_and(Sharing::closes_when_lost);
    let max_wait = permit.route.limiter.patience.max_wait;
    let message = Message {
        account,
        route: &permit.route.name,
        sender,
        key,
        request,
        callback_key,
        settle_not_sent,
        max_wait,
        allow_without_server,
    };
    match sends
        .begin(message, sharing.map(Sharing::server), &context.written)
        .await
    {
        SendDecision::Proceed(once) => Ok(NextStep::Send(Some(KeyedSend { once, request }))),
        SendDecision::Answered(answer) => Ok(NextStep::Replay(replay(answer))),
        SendDecision::KeyReused => Err(OutboundError::KeyReused),
        SendDecision::UnderWay => Err(OutboundError::SendUnderWay {
            outcome_unknown: false,
        }),
        SendDecision::OutcomeUnknown => Err(OutboundError::SendUnderWay {
            outcome_unknown: true,
        }),
        SendDecision::ServerUnavailable => Err(OutboundError::RateLimited(Limited::closed())),
        SendDecision::Full => Err(OutboundError::Overloaded),
    }
}

impl KeyedSend<'_> {
    /// Forgets the key of a message that the provider did not take, so that the message can be sent
    /// again.
    pub(super) async fn forget(self) {
        self.once.forget().await;
    }

    /// Keeps a final answer for repeated requests. After a server error, or an answer too large to
    /// keep, the outcome stays unknown.
    pub(super) async fn settle(self, response: &Response<AnswerBody>) {
        let (status, AnswerBody::Whole(body)) = (response.status(), response.body()) else {
            return;
        };
        if !status.is_server_error() && body.len() <= MAX_ANSWER {
            if let Some(id) = sent_id(status, body) {
                self.once.await_status(&id);
            }
            let answer =
                StoredAnswer::copy_of(status, response.headers().get(header::CONTENT_TYPE), body);
            self.once.store_answer(self.request, answer).await;
        }
    }
}

/// Returns the id of a sent message in an answer of the Cloud API's form.
fn sent_id(status: StatusCode, body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Sent {
        messages: Vec<SentMessage>,
    }
    #[derive(Deserialize)]
    struct SentMessage {
        id: String,
    }
    if !status.is_success() {
        return None;
    }
    let sent: Sent = serde_json::from_slice(body).ok()?;
    sent.messages.into_iter().next().map(|message| message.id)
}

fn replay(answer: StoredAnswer) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.extend(answer.media_type.map(|value| (header::CONTENT_TYPE, value)));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// The digest of a message, and the key by which a status event finds the message.
async fn digests(permit: &Permit<'_>, parts: &Parts, body: &Bytes) -> (Digest16, Option<Digest16>) {
    let credential = Arc::clone(&permit.route.credential);
    let sender = permit.sender.unwrap_or_default().to_owned();
    let path = permit.path.to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let body = body.clone();
    work_on(body.len(), move || {
        let request = digest16([path.as_bytes(), query.as_bytes(), &body]);
        (request, callback_key_in(&credential, &sender, &body))
    })
    .await
}

/// The key by which a status event finds the message: sender, recipient, and the application's own
/// text that the events repeat. `None` for a message without such a text.
fn callback_key_in(credential: &Credential, sender: &str, body: &[u8]) -> Option<Digest16> {
    let text = std::str::from_utf8(body).ok()?;
    let repeated = json::text_at(text, &[REPEATED.to_owned()])?;
    let recipient = recipient_of(&credential.provider, text)?;
    Some(callback_key(
        &credential.name,
        sender,
        &recipient,
        &repeated,
    ))
}

/// The value of the header: a string of a structured field, or plain text, as many clients send it.
fn key_of(parts: &Parts) -> Result<Option<&[u8]>, OutboundError> {
    let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.as_bytes().trim_ascii();
    let inner = text
        .strip_prefix(b"\"")
        .and_then(|text| text.strip_suffix(b"\""))
        .unwrap_or(text);
    if inner.is_empty() || inner.len() > MAX_KEY || values.next().is_some() {
        return Err(OutboundError::bad_request(
            "the Idempotency-Key header is not a single value of 1 to 255 bytes",
            "send one key, such as a UUID, new for each message",
        ));
    }
    Ok(Some(inner))
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// With `not-sent`: the application has found out that a message of unknown outcome was not sent.
const SETTLE: HeaderName = HeaderName::from_static("keyside-settle");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The Cloud API's field for a text of the application, repeated in the status events of a message.
const REPEATED: &str = "biz_opaque_callback_data";
/// Longest key, in bytes: the bound that other APIs have, such as Stripe's.
const MAX_KEY: usize = 255;
/// Largest answer that is kept, in bytes: the answer to the longest list of messages fits. After a
/// larger answer the outcome counts as unknown.
const MAX_ANSWER: usize = 1024 * 1024;
const NO_KEY_FOR_STREAMS: OutboundError = OutboundError::bad_request(
    "an Idempotency-Key is for messages in JSON or forms",
    "send the message as JSON or a form, or without the key",
);
