//! Hands genuine events to the application.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tokio::time::Instant;

use super::error::InboundError;
use super::event::Event;
use crate::config::{Application, Forward};
use crate::headers::strip_hop_by_hop;
use crate::upstream::{
    Answer, AnswerBody, COPY_LIMIT, Head, Limits, Outgoing, OutgoingBody, ProtocolError, Upstream, UpstreamError,
};

/// Where the events of one webhook go.
#[derive(Debug)]
pub struct Delivery {
    application: Arc<Upstream>,
    /// Everything of the head that is the same for each event but the target.
    path: String,
    fixed: Vec<u8>,
    /// The headers of the provider that go on: its signature and what that covers.
    headers: Vec<HeaderName>,
    timeout: Duration,
    reply: bool,
}

impl Delivery {
    /// Deliveries of the webhook `name`. With `reply` the provider gets the application's own answer.
    #[must_use]
    pub fn new(
        name: &str,
        forward: &Forward,
        application: Arc<Upstream>,
        headers: Vec<HeaderName>,
        timeout: Duration,
        reply: bool,
    ) -> Self {
        let host = match &forward.application {
            Application::Origin(origin) => origin.authority(),
            Application::Unix(_) => "localhost".to_owned(),
        };
        let fixed = format!("host: {host}\r\nkeyside-webhook: {name}\r\nuser-agent: {AGENT}\r\n").into_bytes();
        Self { application, path: forward.path.clone(), fixed, headers, timeout, reply }
    }

    /// Delivers an event: success of any kind becomes 200, the only answer that Meta takes for one.
    ///
    /// An event may reach the application twice: where a connection that was kept open ends before a
    /// byte of the answer, nobody knows what it did, and events, unlike sends, are there to be repeated:
    /// providers do it as well. `Keyside-Event-Id` is the same then.
    ///
    /// # Errors
    /// Where the application cannot be reached, takes too long, or answers with no success.
    pub(super) async fn deliver(&self, event: &Event<'_>) -> Result<Response<AnswerBody>, InboundError> {
        let deadline = Instant::now() + self.timeout;
        let answer = match self.send(event, deadline).await {
            Err(UpstreamError::Protocol(ProtocolError::Closed)) => self.send(event, deadline).await,
            other => other,
        };
        let answer = answer.map_err(|error| InboundError::ApplicationUnavailable(error.to_string()))?;
        if self.reply {
            return self.pass_on(answer, deadline).await;
        }
        if !answer.status.is_success() {
            return Err(InboundError::ApplicationRefused(answer.status));
        }
        let mut response = Response::new(AnswerBody::Whole(Bytes::new()));
        *response.status_mut() = StatusCode::OK;
        Ok(response)
    }

    async fn send(&self, event: &Event<'_>, deadline: Instant) -> Result<Answer, UpstreamError> {
        let limits = Limits { start: Instant::now(), deadline, head: self.timeout, progress: self.timeout };
        // Nobody asks: an event may arrive twice.
        let written = AtomicBool::new(false);
        let sent = self.application.send(self.compose(event), limits, &written);
        match tokio::time::timeout_at(deadline, sent).await {
            Ok(answer) => answer,
            Err(_) => Err(UpstreamError::TimedOut { what: "answering", written: true }),
        }
    }

    /// The same bytes, with the provider's signature and with what Keyside says of them.
    fn compose(&self, event: &Event<'_>) -> Outgoing {
        let mut head =
            Head::with_capacity(1024 + self.fixed.len() + self.path.len() + event.body.len().min(COPY_LIMIT));
        head.push(b"POST ");
        head.push(self.path.as_bytes());
        if let Some(query) = &event.query {
            head.push(if self.path.contains('?') { b"&" } else { b"?" });
            head.push(query.as_bytes());
        }
        head.push(b" HTTP/1.1\r\n");
        head.push(&self.fixed);
        for name in self.headers.iter().chain(std::iter::once(&header::CONTENT_TYPE)) {
            if let Some(value) = event.headers.get(name) {
                push_line(&mut head, name.as_str(), value);
            }
        }
        head.push(format!("keyside-event-id: {}\r\ncontent-length: {}\r\n\r\n", event.id, event.body.len()).as_bytes());
        let body = match event.body.pieces() {
            [whole] => OutgoingBody::Whole(whole.clone()),
            pieces => OutgoingBody::Pieces(pieces.into()),
        };
        Outgoing::new(Method::POST, head, body)
    }

    /// The application's own answer, for providers that ask for one (Meta's Flows).
    async fn pass_on(&self, answer: Answer, deadline: Instant) -> Result<Response<AnswerBody>, InboundError> {
        let Answer { status, mut headers, body, .. } = answer;
        strip_hop_by_hop(&mut headers);
        let whole = match tokio::time::timeout_at(deadline, body.whole(MAX_REPLY)).await {
            Ok(whole) => whole.map_err(|error| InboundError::ApplicationUnavailable(error.to_string()))?,
            Err(_) => return Err(InboundError::ApplicationUnavailable("the answer did not come in time".to_owned())),
        };
        let mut response = Response::new(AnswerBody::Whole(whole));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn push_line(head: &mut Head, name: &str, value: &HeaderValue) {
    head.push(name.as_bytes());
    head.push(b": ");
    head.push(value.as_bytes());
    head.push(b"\r\n");
}

const AGENT: &str = concat!("keyside/", env!("CARGO_PKG_VERSION"));
/// The answer of an endpoint for Flows is a screen, some kilobytes of it.
const MAX_REPLY: usize = 4 * 1024 * 1024;
