//! The delivery of genuine events to the application.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Response, header};
use tokio::time::Instant;

use super::error::InboundError;
use super::event::Event;
use crate::config::{ApplicationAddress, ApplicationUrl};
use crate::headers::strip_hop_by_hop;
use crate::memory::MemoryBudget;
use crate::upstream::{
    Answer, AnswerBody, Limits, Outgoing, OutgoingBody, ProtocolError, RequestLine, USER_AGENT,
    Upstream, UpstreamError,
};

/// The way of one webhook's events to its application.
#[derive(Debug)]
pub struct Delivery {
    application: Arc<Upstream>,
    /// The path of the application, perhaps with a query.
    path: String,
    host: String,
    /// The name of the webhook.
    name: String,
    /// The provider's headers that the application gets: the signature, and the headers that the
    /// signature covers.
    headers: Vec<HeaderName>,
    /// The time for a whole delivery, with both tries.
    timeout: Duration,
    /// True if the provider gets the application's own answer.
    reply: bool,
}

impl Delivery {
    /// Returns the delivery of the webhook `name`. With `reply` the provider gets the application's
    /// own answer, and an empty 200 otherwise.
    #[must_use]
    pub fn new(
        name: &str,
        forward: &ApplicationUrl,
        application: Arc<Upstream>,
        headers: Vec<HeaderName>,
        timeout: Duration,
        reply: bool,
    ) -> Self {
        let host = match &forward.application {
            ApplicationAddress::Origin(origin) => origin.authority(),
            ApplicationAddress::Unix(_) => "localhost".to_owned(),
        };
        Self {
            application,
            path: forward.path.clone(),
            host,
            name: name.to_owned(),
            headers,
            timeout,
            reply,
        }
    }

    /// Delivers an event. Any success (2xx) becomes 200, the only status that Meta takes for success.
    ///
    /// An event may reach the application twice. Where a kept connection ends before the first byte
    /// of the answer, the application may have closed it as idle, or may have handled the event;
    /// Keyside cannot tell, and sends the event once more. Unlike sends, events may be repeated:
    /// providers repeat them as well. Both requests carry one `Keyside-Event-Id`.
    ///
    /// # Errors
    /// If the application cannot be reached, takes too long, or answers with a status other than
    /// 2xx.
    pub(super) async fn deliver(
        &self,
        event: &Event<'_>,
        memory: &Arc<MemoryBudget>,
    ) -> Result<Response<AnswerBody>, InboundError> {
        let deadline = Instant::now() + self.timeout;
        let answer = match self.send(event, deadline).await {
            Err(UpstreamError::Protocol(ProtocolError::Closed)) => self.send(event, deadline).await,
            other => other,
        };
        let answer = answer.map_err(InboundError::undelivered)?;
        if self.reply {
            return self.pass_on(answer, deadline, memory).await;
        }
        if !answer.status.is_success() {
            return Err(InboundError::ApplicationRefused(answer.status));
        }
        Ok(accepted())
    }

    /// Returns true if the provider gets the application's own answer.
    pub(super) fn replies(&self) -> bool {
        self.reply
    }

    async fn send(&self, event: &Event<'_>, deadline: Instant) -> Result<Answer, UpstreamError> {
        let limits = Limits {
            start: Instant::now(),
            deadline,
            head: self.timeout,
            progress: self.timeout,
        };
        // The flag decides nothing here, since an event may arrive twice.
        let written = AtomicBool::new(false);
        let sent = self.application.send(self.compose(event), limits, &written);
        match tokio::time::timeout_at(deadline, sent).await {
            Ok(answer) => answer,
            Err(_) => Err(TIMED_OUT),
        }
    }

    /// Composes the request: the event's bytes, the provider's signature, and Keyside's headers.
    fn compose(&self, event: &Event<'_>) -> Outgoing {
        let body = match event.body.pieces() {
            [whole] => OutgoingBody::Whole(whole.clone()),
            pieces => OutgoingBody::Pieces(pieces.into()),
        };
        let mut line = RequestLine::new(event.method.clone(), body);
        line.target(&self.path);
        line.query(event.query.as_deref().unwrap_or_default());
        let mut head = line.headers(&self.host);
        head.header(&WEBHOOK, &self.name);
        head.header(&header::USER_AGENT, USER_AGENT);
        for name in self.headers.iter().chain([&header::CONTENT_TYPE]) {
            if let Some(value) = event.headers.get(name) {
                head.header(name, value);
            }
        }
        head.header(&EVENT_ID, event.id.to_string());
        head.finish()
    }

    /// Hands the application's own answer on, for providers that need an answer (Meta's Flows).
    async fn pass_on(
        &self,
        answer: Answer,
        deadline: Instant,
        memory: &Arc<MemoryBudget>,
    ) -> Result<Response<AnswerBody>, InboundError> {
        let Answer {
            status,
            mut headers,
            body,
            ..
        } = answer;
        strip_hop_by_hop(&mut headers);
        let whole = match tokio::time::timeout_at(deadline, body.whole_in_budget(MAX_REPLY, memory))
            .await
        {
            Ok(whole) => whole,
            Err(_) => Err(TIMED_OUT),
        };
        let whole = whole.map_err(InboundError::ApplicationUnavailable)?;
        let mut response = Response::new(AnswerBody::Whole(whole));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Returns the answer to an event that the application has accepted.
pub(super) fn accepted() -> Response<AnswerBody> {
    Response::new(AnswerBody::Whole(Bytes::new()))
}

/// The error of an application that does not answer within the webhook's `timeout`.
const TIMED_OUT: UpstreamError = UpstreamError::TimedOut {
    what: "answering",
    written: true,
};
/// The header with the name of the webhook.
const WEBHOOK: HeaderName = HeaderName::from_static("keyside-webhook");
/// The header with the id of the event.
const EVENT_ID: HeaderName = HeaderName::from_static("keyside-event-id");
/// The bound on an application's answer, in bytes. The answer of a Flows endpoint is a screen of
/// some kilobytes, which may contain images in base64.
const MAX_REPLY: usize = 4 * 1024 * 1024;
