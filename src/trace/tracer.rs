//! The begin of spans.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use super::context::{SpanId, TraceContext, TraceId};
use super::recorder::{Recorder, SampleRate};
use super::span::{Span, SpanKind, SpanPlace};

/// The begin of spans; off without a receiver. Clones share the queue of ended spans.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

impl Tracer {
    /// Returns a tracer that records a share of all traces.
    #[must_use]
    pub fn new(rate: SampleRate) -> Self {
        Self(Some(Arc::new(Recorder::new(rate))))
    }

    /// Returns the queue of the spans that have ended; `None` if the tracer is off.
    #[must_use]
    pub fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.0.as_ref()
    }

    /// Begins the span of an application's request, in the trace of the caller if the headers name
    /// one.
    #[must_use]
    pub fn request(&self, name: &str, headers: &HeaderMap, arrived: Instant) -> Span {
        let Some(recorder) = &self.0 else {
            return Span::default();
        };
        let origin = place_of_request(TraceContext::of_caller(headers), recorder.rate, new_ids());
        Span::begin(recorder, origin, name, SpanKind::Server, arrived)
    }

    /// Begins the span of a verified event.
    #[must_use]
    pub fn event(&self, name: &str, event: &str, arrived: Instant) -> Span {
        let Some(recorder) = &self.0 else {
            return Span::default();
        };
        let trace = TraceId::of_event(event);
        let origin = SpanPlace {
            context: TraceContext {
                trace,
                span: new_span_id(),
                is_sampled: recorder.rate.takes(trace),
            },
            parent: None,
            link: None,
        };
        Span::begin(recorder, origin, name, SpanKind::Server, arrived)
    }

    /// Begins the span of an attempt to deliver an event from the spool.
    #[must_use]
    pub fn attempt(&self, name: &str, kind: SpanKind, event: &str) -> Span {
        let Some(recorder) = &self.0 else {
            return Span::default();
        };
        let stored = TraceContext {
            trace: TraceId::of_event(event),
            span: SpanId::of_stored(event),
            is_sampled: recorder.rate.takes(TraceId::of_event(event)),
        };
        let (trace, span) = new_ids();
        let origin = SpanPlace {
            context: TraceContext {
                trace,
                span,
                is_sampled: stored.is_sampled,
            },
            parent: None,
            link: Some(stored),
        };
        Span::begin(recorder, origin, name, kind, Instant::now())
    }
}

/// Decides on the trace of a request: the caller's with the caller's decision to record, or a new
/// one.
fn place_of_request(
    caller: Option<TraceContext>,
    rate: SampleRate,
    (trace, span): (TraceId, SpanId),
) -> SpanPlace {
    match caller {
        Some(caller) => SpanPlace {
            context: TraceContext { span, ..caller },
            parent: Some(caller.span),
            link: None,
        },
        None => SpanPlace {
            context: TraceContext {
                trace,
                span,
                is_sampled: rate.takes(trace),
            },
            parent: None,
            link: None,
        },
    }
}

fn new_ids() -> (TraceId, SpanId) {
    (TraceId(random()), new_span_id())
}

/// Returns a new id of a span.
pub(super) fn new_span_id() -> SpanId {
    SpanId(random())
}

/// Returns random bytes that are not all zero. Without randomness, ids repeat: traces are then
/// wrong, and nothing else.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) if bytes != [0; N] => bytes,
        _ => [1; N],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::recorder::MAX_QUEUED;
    use crate::trace::span::{Attribute, SpanStatus};

    const IDS: (TraceId, SpanId) = (TraceId([7; 16]), SpanId([7; 8]));

    fn caller(is_sampled: bool) -> TraceContext {
        TraceContext {
            trace: TraceId([5; 16]),
            span: SpanId([5; 8]),
            is_sampled,
        }
    }

    #[test]
    fn a_caller_decides_on_its_trace_and_the_share_on_new_traces() {
        let none = SampleRate::of_share(0.0).unwrap();
        for (named, rate, trace, parent, is_sampled) in [
            (None, SampleRate::ALL, IDS.0, None, true),
            (None, none, IDS.0, None, false),
            (
                Some(caller(true)),
                none,
                TraceId([5; 16]),
                Some(SpanId([5; 8])),
                true,
            ),
            (
                Some(caller(false)),
                SampleRate::ALL,
                TraceId([5; 16]),
                Some(SpanId([5; 8])),
                false,
            ),
        ] {
            let place = place_of_request(named, rate, IDS);
            assert_eq!(place.context.trace, trace, "{named:?} {rate:?}");
            assert_eq!(place.context.span, IDS.1);
            assert_eq!(place.context.is_sampled, is_sampled, "{named:?} {rate:?}");
            assert_eq!(place.parent, parent);
        }
    }

    #[test]
    fn a_tracer_that_is_off_has_empty_spans() {
        let tracer = Tracer::default();
        let now = Instant::now();
        let mut span = tracer.request("POST", &HeaderMap::new(), now);
        span.text("a", "b");
        assert_eq!(span.context(), None);
        assert_eq!(span.child("queue", SpanKind::Internal).context(), None);
        assert_eq!(tracer.event("e", "1", now).traceparent(), None);
        let attempt = tracer.attempt("a", SpanKind::Client, "1");
        assert_eq!(attempt.traceparent(), None);
    }

    #[test]
    fn a_span_that_is_dropped_was_cut_off_and_a_span_that_ended_was_not() {
        let tracer = Tracer::new(SampleRate::ALL);
        let request = tracer.request("POST", &HeaderMap::new(), Instant::now());
        let child = request.child("queue", SpanKind::Internal);
        let place = child.context().unwrap();
        drop(child);
        request.end();
        let recorder = tracer.recorder().unwrap();
        let ended = recorder.take(10);
        let [queue, request] = &ended[..] else {
            unreachable!("{ended:?}");
        };
        assert_eq!(queue.context, place);
        assert_eq!(queue.parent, Some(request.context.span));
        assert_eq!(queue.context.trace, request.context.trace);
        assert_eq!(queue.status, SpanStatus::Failed);
        let cancelled = Attribute::Text("cancelled".to_owned());
        assert_eq!(queue.attributes, [("error.type", cancelled)]);
        assert_eq!(
            (request.status, request.attributes.len()),
            (SpanStatus::Unset, 0)
        );
    }

    #[test]
    fn an_attempt_has_a_trace_of_its_own_with_a_link_to_the_stored_event() {
        let tracer = Tracer::new(SampleRate::ALL);
        let mut store = tracer
            .event("POST", "id", Instant::now())
            .child("store", SpanKind::Producer);
        store.take_id(SpanId::of_stored("id"));
        let stored = store.context().unwrap();
        let attempt = tracer.attempt("POST", SpanKind::Client, "id");
        assert_ne!(attempt.context().unwrap().trace, stored.trace);
        attempt.end();
        let ended = tracer.recorder().unwrap().take(10);
        let links: Vec<_> = ended.iter().filter_map(|span| span.link).collect();
        assert_eq!(links, [stored]);
    }

    #[test]
    fn a_full_queue_loses_spans_and_counts_them() {
        let tracer = Tracer::new(SampleRate::ALL);
        for _ in 0..MAX_QUEUED + 3 {
            tracer
                .request("POST", &HeaderMap::new(), Instant::now())
                .end();
        }
        let recorder = tracer.recorder().unwrap();
        assert_eq!(recorder.take_lost(), 3);
        assert_eq!(recorder.take_lost(), 0);
        assert_eq!(recorder.take(usize::MAX).len(), MAX_QUEUED);
    }
}
