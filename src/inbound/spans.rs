//! The spans of a verified event. A request that is refused before has none: anybody on the
//! Internet could send such requests.

use http::Response;
use tokio::time::Instant;

use super::error::InboundError;
use super::event::Event;
use super::generation::WebhookEndpoint;
use super::store::Stored;
use crate::trace::conventions::{METHOD, ROUTE, STATUS, known_method};
use crate::trace::{Span, SpanId, Tracer};
use crate::upstream::AnswerBody;

/// Begins the span of an event.
pub(super) fn of_event(
    tracer: &Tracer,
    endpoint: &WebhookEndpoint,
    event: &Event<'_>,
    arrived: Instant,
) -> Span {
    if tracer.recorder().is_none() {
        return Span::default();
    }
    let method = known_method(event.method);
    let id = event.id.to_string();
    let mut span = tracer.event(&format!("{method} {}", endpoint.path), &id, arrived);
    span.text(METHOD, method);
    span.text(ROUTE, &endpoint.path);
    span.text("keyside.webhook", &endpoint.name);
    span.text("keyside.event_id", id);
    span
}

/// Ends the span of an event.
pub(super) fn end(mut span: Span, answer: &Result<Response<AnswerBody>, InboundError>) {
    match answer {
        Ok(answer) => span.number(STATUS, answer.status().as_u16()),
        Err(error) => {
            let kind = error.kind();
            span.number(STATUS, kind.status.as_u16());
            span.fail(kind.slug);
        }
    }
    span.end();
}

/// Ends the span in which an event was stored. Deliveries link to the id of the span; an event is
/// stored once, so no other span has the id.
pub(super) fn end_store(mut span: Span, event: &Event<'_>, stored: &Result<Stored, InboundError>) {
    match stored {
        Ok(stored) if stored.new.is_empty() => span.text("keyside.outcome", "repeated"),
        Ok(stored) if !stored.is_wanted => span.text("keyside.outcome", "unwanted"),
        Ok(_) if span.is_recorded() => span.take_id(SpanId::of_stored(&event.id.to_string())),
        Ok(_) => {}
        Err(error) => span.fail(error.kind().slug),
    }
    span.end();
}
