//! The direct delivery of genuine events: the provider is answered when the application has the
//! event.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderName, Response};
use tokio::time::{Instant, timeout_at};

use super::error::InboundError;
use super::event::Event;
use crate::delivery::application::{Application, EventRequest, Undelivered};
use crate::delivery::metrics::DestinationMetrics;
use crate::headers::strip_hop_by_hop;
use crate::memory::MemoryBudget;
use crate::trace::Span;
use crate::traffic::{Failure, TrafficProblem};
use crate::upstream::{Answer, AnswerBody, UpstreamError};

/// The direct way of one webhook's events to its application.
#[derive(Debug)]
pub struct DirectDelivery {
    application: Application,
    metrics: DestinationMetrics,
    answer: EventAnswer,
}

/// The answer that the provider gets for an event that the application has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventAnswer {
    /// An empty 200.
    Empty,
    /// The application's own answer, as Meta's Flows need it.
    OfApplication,
}

impl DirectDelivery {
    /// Returns the delivery to an application.
    #[must_use]
    pub fn new(application: Application, metrics: DestinationMetrics, answer: EventAnswer) -> Self {
        Self {
            application,
            metrics,
            answer,
        }
    }

    /// Delivers an event. Any success (2xx) becomes 200, the only status that Meta takes for
    /// success. `headers` are the provider's headers that the application gets; the delivery is a
    /// part of `span`.
    ///
    /// # Errors
    /// If the application cannot be reached, takes too long, or answers with a status other than
    /// 2xx.
    pub(super) async fn deliver(
        &self,
        event: &Event<'_>,
        headers: &[HeaderName],
        memory: &Arc<MemoryBudget>,
        span: &Span,
    ) -> Result<Response<AnswerBody>, InboundError> {
        let began = Instant::now();
        let deadline = self.application.deadline();
        let request = EventRequest {
            method: event.method.clone(),
            query: event.query.as_deref().unwrap_or_default().to_owned(),
            headers: event
                .headers_named(headers)
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body: event.body.pieces().to_vec(),
            id: event.id.to_string(),
            notes: Vec::new(),
        };
        let sent = self.application.send_in(span, request, deadline).await;
        let failure = self.note(&sent);
        let answer = sent.map_err(|error| match error {
            Undelivered::KeyMissing => InboundError::SigningKeyMissing,
            Undelivered::Upstream(error) => InboundError::undelivered(&error, failure.as_ref()),
        })?;
        if answer.status.is_success() {
            self.metrics.took(began.elapsed());
        }
        if self.replies() {
            return pass_on(answer, deadline, memory).await;
        }
        if !answer.status.is_success() {
            return Err(InboundError::refused(answer.status, failure.as_ref()));
        }
        Ok(accepted())
    }

    /// Returns what is wrong with the application, as the deliveries show it.
    #[must_use]
    pub fn problem(&self, now: Instant, clock: SystemTime) -> Option<TrafficProblem> {
        self.metrics.traffic().problem(now, clock)
    }

    /// Notes what a delivery shows of the application, and returns the failure. The answer to the
    /// provider has a log line already; the end of failures has none.
    fn note(&self, sent: &Result<Answer, Undelivered>) -> Option<Failure> {
        let failure = self.application.failure(sent);
        match (&failure, sent) {
            (Some(failure), _) => drop(self.metrics.failed(failure)),
            (None, Err(_)) => {}
            (None, Ok(_)) => {
                if let Some(ended) = self.metrics.succeeded(SystemTime::now()) {
                    tracing::info!(
                        webhook = self.application.webhook(),
                        class = ended.failure.class.of_destination(),
                        failed = ended.count,
                        for_s = ended.since.elapsed().as_secs(),
                        "the application accepts events again"
                    );
                }
            }
        }
        failure
    }

    /// Returns true if the provider gets the application's own answer.
    pub(super) fn replies(&self) -> bool {
        self.answer == EventAnswer::OfApplication
    }
}

/// Hands the application's own answer on, for providers that need an answer (Meta's Flows).
async fn pass_on(
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
    let whole = timeout_at(deadline, body.whole_in_budget(MAX_REPLY, memory))
        .await
        .unwrap_or(Err(TIMED_OUT))
        .map_err(|error| InboundError::undelivered(&error, None))?;
    let mut response = Response::new(AnswerBody::Whole(whole));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Returns the answer to an event that the application, or the disk, has accepted.
pub(super) fn accepted() -> Response<AnswerBody> {
    Response::new(AnswerBody::Whole(Bytes::new()))
}

/// The error of an application that does not answer within the webhook's `timeout`.
const TIMED_OUT: UpstreamError = UpstreamError::TimedOut {
    what: "answering",
    written: true,
};
/// The bound on an application's answer, in bytes. The answer of a Flows endpoint is a screen of
/// some kilobytes, which may contain images in base64.
const MAX_REPLY: usize = 4 * 1024 * 1024;
