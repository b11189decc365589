//! The way of an event to its destination, and the outcome of an attempt.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, Method};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, timeout_at};

use super::application::{Application, EVENT_ID, EventRequest, Undelivered, WEBHOOK};
use super::failure;
use super::publish::{PublishedEvent, Publisher};
use crate::headers::retry_after;
use crate::spool::{AttemptOutcome, Delivery, StreamAnswer};
use crate::trace::conventions::known_method;
use crate::trace::{Span, SpanKind, Tracer};
use crate::traffic::Failure;
use crate::upstream::{Answer, UpstreamError};

/// The way to a destination.
#[derive(Debug)]
pub enum Way {
    /// An application, by HTTP.
    Application(Application),
    /// A stream of a message server.
    Stream(StreamWay),
}

/// The way to a stream.
#[derive(Debug)]
pub struct StreamWay {
    /// The name of the webhook.
    pub webhook: String,
    /// The stream, as the configuration names it.
    pub place: String,
    /// The publisher; `None` without a URL of the server.
    pub publisher: Option<Arc<Publisher>>,
}

/// The result of an attempt.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The attempt has this outcome. A failure tells the reason.
    Ended(AttemptOutcome, Option<Failure>),
    /// No attempt was made: Keyside has no connection left for it, or no key for the signature.
    NotMade,
}

impl Way {
    /// True if both ways lead to the same place: what attempts on one have shown holds for the
    /// other.
    pub(super) fn leads_where(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Application(one), Self::Application(other)) => one.is_at_place_of(other),
            // An unchanged publisher is carried over by a reload.
            (Self::Stream(one), Self::Stream(other)) => match (&one.publisher, &other.publisher) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            },
            (Self::Application(_), Self::Stream(_)) | (Self::Stream(_), Self::Application(_)) => {
                false
            }
        }
    }

    /// Sends an event once.
    pub(super) async fn attempt(&self, delivery: &Delivery, tracer: &Tracer) -> Attempt {
        match self {
            Self::Application(application) => {
                let mut request = request(delivery);
                let span = span(
                    tracer,
                    delivery,
                    known_method(&request.method),
                    SpanKind::Client,
                );
                request.notes.extend(span.traceparent());
                let deadline = application.deadline();
                let sent = application.send(&request, deadline).await;
                application.end(span, &request.method, &sent);
                let failure = application.failure(&sent);
                match sent {
                    Ok(answer) => Attempt::Ended(answered(answer, deadline).await, failure),
                    Err(
                        Undelivered::KeyMissing | Undelivered::Upstream(UpstreamError::NoPlace),
                    ) => Attempt::NotMade,
                    Err(Undelivered::Upstream(error)) => {
                        tracing::debug!(to = delivery.to().name(), %error, "event not delivered");
                        Attempt::Ended(failed(&error), failure)
                    }
                }
            }
            Self::Stream(way) => way.attempt(delivery, tracer).await,
        }
    }
}

impl StreamWay {
    /// Publishes an event once. No signature of Standard Webhooks goes along: a stream has a login.
    async fn attempt(&self, delivery: &Delivery, tracer: &Tracer) -> Attempt {
        let Some(publisher) = &self.publisher else {
            return self.ended(AttemptOutcome::Published(StreamAnswer::NoServer), None);
        };
        let mut span = span(tracer, delivery, "publish", SpanKind::Producer);
        let request = request(delivery);
        let provider = request.headers.iter().map(|(name, value)| {
            let name = name.as_str().to_owned();
            (name, value.as_bytes().to_vec())
        });
        let mut notes = request.notes.clone();
        notes.extend(span.traceparent());
        notes.push((WEBHOOK, self.webhook.clone()));
        notes.push((EVENT_ID, request.id.clone()));
        // A message has neither a method nor a query. Some providers put events into the query.
        if request.method != Method::POST {
            notes.push((METHOD, request.method.to_string()));
        }
        if !request.query.is_empty() {
            notes.push((QUERY, request.query.clone()));
        }
        let own = notes.into_iter().map(|(name, value)| {
            let name = name.as_str().to_owned();
            (name, value.into_bytes())
        });
        let headers: Vec<_> = provider.chain(own).collect();
        let event = PublishedEvent {
            id: &request.id,
            ordered_ms: delivery.ordered_ms(),
            headers: &headers,
            body: &delivery.request.body,
        };
        let outcome = publisher.publish(&event).await;
        if outcome != AttemptOutcome::Published(StreamAnswer::Taken) {
            span.fail(outcome.class());
        }
        span.end();
        let problem = publisher.problem();
        if let Some(problem) = &problem {
            tracing::debug!(to = delivery.to().name(), problem, "event not published");
        }
        self.ended(outcome, problem.as_deref())
    }

    fn ended(&self, outcome: AttemptOutcome, cause: Option<&str>) -> Attempt {
        Attempt::Ended(outcome, failure::of_published(&self.place, outcome, cause))
    }
}

/// Begins the span of an attempt.
fn span(tracer: &Tracer, delivery: &Delivery, name: &str, kind: SpanKind) -> Span {
    if tracer.recorder().is_none() {
        return Span::default();
    }
    let (to, id) = (delivery.to(), &delivery.event.head.id);
    let mut span = tracer.attempt(name, kind, id);
    span.text("keyside.webhook", to.webhook());
    span.text("keyside.to", to.name());
    span.text("keyside.event_id", id);
    span.number("keyside.attempt", delivery.attempt());
    span
}

/// Returns an event as the application gets it.
fn request(delivery: &Delivery) -> EventRequest {
    let event = &delivery.event;
    let request = &delivery.request;
    let headers = request.headers.iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    });
    let mut notes = vec![
        (ATTEMPT, delivery.attempt().to_string()),
        (RECEIVED, moment(event.head.received_ms)),
    ];
    if !event.repeats.is_empty() {
        notes.push((REPEATS, event.repeats.clone()));
    }
    EventRequest {
        method: Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::POST),
        query: request.query.clone().unwrap_or_default(),
        headers: headers.collect(),
        body: vec![request.body.clone()],
        id: event.head.id.clone(),
        notes,
    }
}

/// Returns a time as RFC 3339 writes it, in UTC with milliseconds.
fn moment(unix_ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms);
    let text = OffsetDateTime::from(time).format(&Rfc3339);
    text.unwrap_or_default()
}

/// Returns the outcome of an answer. A short body is read to the end: the connection can then be
/// used again.
async fn answered(answer: Answer, deadline: Instant) -> AttemptOutcome {
    let outcome = AttemptOutcome::Answered {
        status: answer.status.as_u16(),
        retry_after: retry_after(&answer.headers, SystemTime::now()),
    };
    timeout_at(deadline, answer.body.whole(MAX_ANSWER))
        .await
        .ok();
    outcome
}

/// Returns the outcome of an attempt without an answer.
fn failed(error: &UpstreamError) -> AttemptOutcome {
    match error {
        UpstreamError::TimedOut { written: true, .. } => AttemptOutcome::TimedOut,
        // The request cannot be written, on any attempt.
        UpstreamError::MalformedRequest => AttemptOutcome::Answered {
            status: 400,
            retry_after: None,
        },
        error if error.is_before_request() => AttemptOutcome::Unreachable,
        _ => AttemptOutcome::Interrupted,
    }
}

/// The header with the number of the attempt, from 1.
const ATTEMPT: HeaderName = HeaderName::from_static("keyside-attempt");
/// The header with the time at which the event arrived.
const RECEIVED: HeaderName = HeaderName::from_static("keyside-received");
/// The header with the method of an event, unless POST, for streams.
const METHOD: HeaderName = HeaderName::from_static("keyside-method");
/// The header with the query of an event, for streams.
const QUERY: HeaderName = HeaderName::from_static("keyside-query");
/// The header with the positions of items that arrived before in another event.
const REPEATS: HeaderName = HeaderName::from_static("keyside-repeats");
/// The longest answer that is read to its end, in bytes: after a longer answer, a new connection
/// costs less than the rest.
const MAX_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::ProtocolError;

    #[test]
    fn each_failure_has_its_outcome() {
        let timed_out = |written| UpstreamError::TimedOut {
            what: "answering",
            written,
        };
        for (error, outcome) in [
            (
                UpstreamError::Unreachable("refused".to_owned()),
                AttemptOutcome::Unreachable,
            ),
            (
                UpstreamError::Tls("name".to_owned()),
                AttemptOutcome::Unreachable,
            ),
            (UpstreamError::NotWritten, AttemptOutcome::Unreachable),
            (timed_out(false), AttemptOutcome::Unreachable),
            (timed_out(true), AttemptOutcome::TimedOut),
            (
                UpstreamError::Protocol(ProtocolError::Closed),
                AttemptOutcome::Interrupted,
            ),
        ] {
            assert_eq!(failed(&error), outcome, "{error}");
        }
    }

    #[test]
    fn a_time_is_written_as_rfc_3339() {
        assert_eq!(moment(1_749_416_383_042), "2025-06-08T20:59:43.042Z");
    }
}
