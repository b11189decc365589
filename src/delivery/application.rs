//! An application that gets events by HTTP.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::time::{Instant, timeout_at};

use super::failure;
use super::signature::Signing;
use crate::config::{ApplicationAddress, ApplicationUrl};
use crate::memory::SMALL;
use crate::trace::conventions::{METHOD, SERVER_ADDRESS, STATUS, known_method};
use crate::trace::{Span, SpanKind};
use crate::traffic::Failure;
use crate::upstream::{
    Answer, ExchangeTimes, Outgoing, OutgoingBody, ProtocolError, RequestLine, USER_AGENT,
    Upstream, UpstreamError,
};

/// An application, with all that its requests have in common.
#[derive(Debug)]
pub struct Application {
    upstream: Arc<Upstream>,
    /// The path, perhaps with a query.
    path: String,
    host: String,
    /// The host, or the path of the Unix socket, for traces.
    address: String,
    /// The host with its port, or the Unix socket, for people.
    place: String,
    /// The name of the webhook.
    webhook: String,
    /// The time for a whole delivery, with both tries.
    timeout: Duration,
    signing: Signing,
}

/// An event as an application gets it.
#[derive(Debug)]
pub struct EventRequest {
    /// The method.
    pub method: Method,
    /// The query without its secret parameters.
    pub query: String,
    /// The provider's headers: the content type, the signature, and what the signature covers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body in pieces, byte for byte as it arrived.
    pub body: Vec<Bytes>,
    /// The id by which the application can notice repeats.
    pub id: String,
    /// Keyside's own headers about this attempt.
    pub notes: Vec<(HeaderName, String)>,
}

impl Application {
    /// True if events go to the same place as those to `other`.
    pub(super) fn is_at_place_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.upstream, &other.upstream) && self.path == other.path
    }

    /// Returns the application at `url`, for the events of the webhook `webhook`.
    #[must_use]
    pub fn new(
        webhook: &str,
        url: &ApplicationUrl,
        upstream: Arc<Upstream>,
        timeout: Duration,
        signing: Signing,
    ) -> Self {
        let host = match &url.application {
            ApplicationAddress::Origin(origin) => origin.authority(),
            ApplicationAddress::Unix(_) => "localhost".to_owned(),
        };
        let address = match &url.application {
            ApplicationAddress::Origin(origin) => origin.host.clone(),
            ApplicationAddress::Unix(socket) => socket.display().to_string(),
        };
        let place = match &url.application {
            ApplicationAddress::Origin(_) => host.clone(),
            ApplicationAddress::Unix(_) => format!("unix:{address}"),
        };
        Self {
            upstream,
            path: url.path.clone(),
            host,
            address,
            place,
            webhook: webhook.to_owned(),
            timeout,
            signing,
        }
    }

    /// Returns the name of the webhook.
    #[must_use]
    pub fn webhook(&self) -> &str {
        &self.webhook
    }

    /// Returns the end of a delivery that begins now.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends an event, and returns the answer, whose body may still be on the way.
    ///
    /// An event may reach the application twice. Where a kept connection ends before the first byte
    /// of the answer, the application may have closed it as idle, or may have handled the event;
    /// Keyside cannot tell, and sends the event once more. Unlike sends, events may be repeated:
    /// providers repeat them as well. Both requests carry one `Keyside-Event-Id`.
    ///
    /// # Errors
    /// If the application cannot be reached, breaks the protocol, or takes too long; or if the
    /// event cannot be signed.
    pub async fn send(
        &self,
        event: &EventRequest,
        deadline: Instant,
    ) -> Result<Answer, Undelivered> {
        let signed = self.sign(event).await.ok_or(Undelivered::KeyMissing)?;
        let sent = match self.send_once(event, &signed, deadline).await {
            Err(UpstreamError::Protocol(ProtocolError::Closed)) => {
                self.send_once(event, &signed, deadline).await
            }
            other => other,
        };
        sent.map_err(Undelivered::Upstream)
    }

    /// Sends an event like [`Self::send`], in a part of `span`. The application gets the
    /// `traceparent` of the part.
    ///
    /// # Errors
    /// As of [`Self::send`].
    pub async fn send_in(
        &self,
        span: &Span,
        mut event: EventRequest,
        deadline: Instant,
    ) -> Result<Answer, Undelivered> {
        let span = span.child(known_method(&event.method), SpanKind::Client);
        event.notes.extend(span.traceparent());
        let sent = self.send(&event, deadline).await;
        self.end(span, &event.method, &sent);
        sent
    }

    /// Ends the span of a delivery with what came of it.
    pub(super) fn end(&self, mut span: Span, method: &Method, sent: &Result<Answer, Undelivered>) {
        span.text(METHOD, known_method(method));
        span.text(SERVER_ADDRESS, &self.address);
        match sent {
            Ok(answer) => {
                span.number(STATUS, answer.status.as_u16());
                if answer.status.as_u16() >= 400 {
                    span.fail(answer.status.as_str());
                }
            }
            Err(Undelivered::KeyMissing) => span.fail("credential_unavailable"),
            Err(Undelivered::Upstream(error)) => span.fail(error.class()),
        }
        span.end();
    }

    /// Returns the failure that a delivery shows; `None` for a success, and for a fault of Keyside.
    #[must_use]
    pub fn failure(&self, sent: &Result<Answer, Undelivered>) -> Option<Failure> {
        match sent {
            Ok(answer) => failure::of_status(&self.place, answer.status),
            Err(Undelivered::KeyMissing) => None,
            Err(Undelivered::Upstream(error)) => failure::of_error(&self.place, error),
        }
    }

    async fn send_once(
        &self,
        event: &EventRequest,
        signed: &[(HeaderName, String)],
        deadline: Instant,
    ) -> Result<Answer, UpstreamError> {
        let times = ExchangeTimes {
            start: Instant::now(),
            deadline,
            head: self.timeout,
            progress: self.timeout,
        };
        // The flag tells a connection that did not come about from an answer that did not.
        let written = AtomicBool::new(false);
        let request = self.compose(event, signed);
        let sent = self.upstream.send(request, times, &written);
        match timeout_at(deadline, sent).await {
            Ok(answer) => answer,
            Err(_) => Err(UpstreamError::TimedOut {
                what: "answering",
                written: written.into_inner(),
            }),
        }
    }

    /// Composes the request: the event's bytes, the provider's signature, and Keyside's headers.
    fn compose(&self, event: &EventRequest, signed: &[(HeaderName, String)]) -> Outgoing {
        let body = match event.body.as_slice() {
            [whole] => OutgoingBody::Whole(whole.clone()),
            pieces => OutgoingBody::Pieces(pieces.into()),
        };
        let mut line = RequestLine::new(event.method.clone(), body);
        line.target(&self.path);
        line.query(&event.query);
        let mut head = line.headers(&self.host);
        head.header(&WEBHOOK, &self.webhook);
        head.header(&header::USER_AGENT, USER_AGENT);
        let is_replaced = |name: &HeaderName| signed.iter().any(|(signed, _)| signed == name);
        for (name, value) in event.headers.iter().filter(|(name, _)| !is_replaced(name)) {
            head.copied_header(name, value);
        }
        head.header(&EVENT_ID, &event.id);
        for (name, value) in event.notes.iter().chain(signed) {
            head.header(name, value);
        }
        head.finish()
    }

    /// Returns the headers of the signature, or none where the application gets no signature;
    /// `None` without the key. A large body is signed on a thread of its own.
    async fn sign(&self, event: &EventRequest) -> Option<Vec<(HeaderName, String)>> {
        let signer = match &self.signing {
            Signing::Off => return Some(Vec::new()),
            Signing::KeyMissing => return None,
            Signing::On(signer) => signer,
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = since.unwrap_or_default().as_secs();
        let length: usize = event.body.iter().map(Bytes::len).sum();
        let signature = if length <= SMALL {
            signer.sign(&event.id, time, &event.body)
        } else {
            let signer = Arc::clone(signer);
            let id = event.id.clone();
            let body = event.body.clone();
            let signed = tokio::task::spawn_blocking(move || signer.sign(&id, time, &body));
            signed.await.ok()?
        };
        Some(vec![
            (WEBHOOK_ID, event.id.clone()),
            (WEBHOOK_TIMESTAMP, time.to_string()),
            (WEBHOOK_SIGNATURE, signature),
        ])
    }
}

/// The reason why an application has not got an event.
#[derive(Debug)]
pub enum Undelivered {
    /// The application gets a signature, and the key cannot be had. Nothing was sent.
    KeyMissing,
    /// The application gave no answer.
    Upstream(UpstreamError),
}

/// The header with the name of the webhook.
pub(super) const WEBHOOK: HeaderName = HeaderName::from_static("keyside-webhook");
/// The header with the id of the event.
pub(super) const EVENT_ID: HeaderName = HeaderName::from_static("keyside-event-id");
/// The headers of Standard Webhooks: id, time and signatures.
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
