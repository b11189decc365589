//! `Idempotency-Key`: a message goes out once, however often its request comes.
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
//!
//! The Cloud API knows no such thing: what is sent twice arrives twice.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::error::OutboundError;
use super::exchange::Taken;
use super::policy::Permit;
use crate::upstream::AnswerBody;

/// The messages that were sent with a key, for a day. A restart forgets them.
#[derive(Debug, Default)]
pub(super) struct Sends {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sends: HashMap<Key, Send>,
    /// The oldest first; one whose send is there no more, or anew, stands for nothing.
    by_age: VecDeque<(Instant, Key)>,
    /// Of all answers.
    bytes: usize,
}

/// Of whose account, by which sender, under which name.
type Key = [u8; 16];

#[derive(Debug)]
struct Send {
    began: Instant,
    /// What tells one request from another under the same key.
    request: [u8; 16],
    state: State,
}

#[derive(Debug)]
enum State {
    UnderWay,
    /// It was written, and no answer came.
    Unknown,
    Answered(Answer),
}

/// The first answer, as it was.
#[derive(Clone, Debug)]
struct Answer {
    status: StatusCode,
    media_type: Option<HeaderValue>,
    body: Bytes,
}

/// What there is to do with a request.
pub(super) enum Begun<'s> {
    /// Send it; and say what came of it, where it has a key.
    Send(Option<Once<'s>>),
    /// It was sent before: this is the answer.
    Answered(Response<AnswerBody>),
}

/// A message with a key that is under way. Dropped before its outcome is known, it is unknown if the provider may have
/// it, and else forgotten.
pub(super) struct Once<'s> {
    sends: &'s Sends,
    key: Key,
    written: &'s AtomicBool,
    is_settled: bool,
}

impl Sends {
    /// Looks whether the request was sent before.
    ///
    /// # Errors
    /// 400 for a key that is none, 409 while the first is under way or where its outcome is unknown, 422 for another
    /// request under the same key.
    pub(super) fn begin<'s>(
        &'s self,
        permit: &Permit<'_>,
        parts: &Parts,
        body: &Taken,
        written: &'s AtomicBool,
    ) -> Result<Begun<'s>, OutboundError> {
        let Taken::Whole { body, .. } = body else { return Ok(Begun::Send(None)) };
        if !permit.request.limited || parts.method != Method::POST {
            return Ok(Begun::Send(None));
        }
        let Some(name) = key_of(parts)? else { return Ok(Begun::Send(None)) };
        let key = digest([permit.route.credential.name.as_bytes(), permit.sender.unwrap_or_default().as_bytes(), name]);
        let request = digest([permit.path.as_bytes(), parts.uri.query().unwrap_or_default().as_bytes(), body]);
        let mut known = self.known();
        known.forget_old();
        if parts.headers.get(SETTLE).is_some_and(|outcome| outcome == "not-sent")
            && known.sends.get(&key).is_some_and(|send| matches!(send.state, State::Unknown))
        {
            known.remove(&key);
        }
        match known.sends.get(&key) {
            None => {
                known.insert(key, Send { began: Instant::now(), request, state: State::UnderWay });
                Ok(Begun::Send(Some(Once { sends: self, key, written, is_settled: false })))
            }
            Some(send) if send.request != request => Err(OutboundError::KeyReused),
            Some(Send { state: State::UnderWay, .. }) => Err(OutboundError::SendUnderWay { outcome_unknown: false }),
            Some(Send { state: State::Unknown, .. }) => Err(OutboundError::SendUnderWay { outcome_unknown: true }),
            Some(Send { state: State::Answered(answer), .. }) => Ok(Begun::Answered(answer.replay())),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Once<'_> {
    /// Keeps the answer, where it says for good what became of the message; forgets the key where the provider did `nothing`
    /// with it, so that it can be sent again.
    pub(super) fn settle(mut self, response: &Response<AnswerBody>, nothing: bool) {
        let (status, AnswerBody::Whole(body)) = (response.status(), response.body()) else { return };
        let is_known = !status.is_server_error() || is_json(body);
        if !is_known {
            return;
        }
        self.is_settled = true;
        let mut known = self.sends.known();
        if nothing || status.is_server_error() || body.len() > LARGEST {
            known.remove(&self.key);
        } else {
            let media_type = response.headers().get(header::CONTENT_TYPE).cloned();
            known.answer(&self.key, Answer { status, media_type, body: body.clone() });
        }
    }
}

impl Drop for Once<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let mut known = self.sends.known();
        match self.written.load(Ordering::Relaxed) {
            true => drop(known.sends.get_mut(&self.key).map(|send| send.state = State::Unknown)),
            false => known.remove(&self.key),
        }
    }
}

impl Known {
    fn insert(&mut self, key: Key, send: Send) {
        self.by_age.push_back((send.began, key));
        self.sends.insert(key, send);
    }

    fn answer(&mut self, key: &Key, answer: Answer) {
        if let Some(send) = self.sends.get_mut(key) {
            self.bytes += answer.body.len();
            send.state = State::Answered(answer);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(Send { state: State::Answered(answer), .. }) = self.sends.remove(key) {
            self.bytes = self.bytes.saturating_sub(answer.body.len());
        }
    }

    /// Forgets what is older than a day, and the oldest where there is too much.
    fn forget_old(&mut self) {
        let now = Instant::now();
        while let Some((began, key)) = self.by_age.front().copied() {
            let is_current = self.sends.get(&key).is_some_and(|send| send.began == began);
            let is_too_much = self.by_age.len() > MOST || self.bytes > MOST_BYTES;
            if is_current && !is_too_much && now.saturating_duration_since(began) < KEPT {
                return;
            }
            self.by_age.pop_front();
            if is_current {
                self.remove(&key);
            }
        }
    }
}

impl Answer {
    fn replay(&self) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody::Whole(self.body.clone()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.extend(self.media_type.clone().map(|value| (header::CONTENT_TYPE, value)));
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
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

fn digest<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut short = [0; 16];
    short.iter_mut().zip(hasher.finalize()).for_each(|(byte, of)| *byte = of);
    short
}

/// An error that the provider wrote itself is one of a message that it did not take; a page of something in between
/// tells nothing.
fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `not-sent`: the caller has found out that a message of unknown outcome was not sent.
const SETTLE: HeaderName = HeaderName::from_static("keyside-settle");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const KEPT: Duration = Duration::from_secs(86_400);
const LONGEST_KEY: usize = 255;
/// At most some 120 bytes each beside the answer; Meta's answers have some 250.
const MOST: usize = 100_000;
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// A larger one is none to a message.
const LARGEST: usize = 64 * 1024;
