//! A span: a piece of work with a beginning, an end, and facts about it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::context::{SpanId, TRACEPARENT, TraceContext};
use super::conventions::ERROR_TYPE;
use super::recorder::Recorder;
use super::tracer::new_span_id;

/// The role of a span, by the words of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The handling of a request from elsewhere.
    Server,
    /// A request to somewhere else.
    Client,
    /// The hand-over of a message.
    Producer,
    /// A step inside the process.
    Internal,
}

/// The value of a fact about a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// The end of a span, as far as it is a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanStatus {
    /// The work ended as it should, or as its client wanted.
    Unset,
    /// The work failed.
    Failed,
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct SpanRecord {
    /// The span.
    pub context: TraceContext,
    /// The parent span, in the same trace.
    pub parent: Option<SpanId>,
    /// The span in a different trace that caused this span.
    pub link: Option<TraceContext>,
    /// The name, of few different ones.
    pub name: String,
    /// The role.
    pub kind: SpanKind,
    /// The time of the beginning.
    pub began: SystemTime,
    /// The time from the beginning to the end.
    pub duration: Duration,
    /// The facts.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// The success.
    pub status: SpanStatus,
}

/// A span under way; empty without a recorder of traces. A span dropped before [`Span::end`] is
/// recorded as cut off.
#[derive(Debug, Default)]
pub struct Span {
    context: Option<TraceContext>,
    open: Option<Box<OpenSpan>>,
}

/// The part of a span that exists only where the trace is recorded.
#[derive(Debug)]
struct OpenSpan {
    recorder: Arc<Recorder>,
    began: Instant,
    record: SpanRecord,
}

/// The place of a new span in its trace.
#[derive(Clone, Copy)]
pub(super) struct SpanPlace {
    pub(super) context: TraceContext,
    pub(super) parent: Option<SpanId>,
    pub(super) link: Option<TraceContext>,
}

impl Span {
    /// Begins a span in a trace that is known. A trace that is not recorded still has its ids, for
    /// `traceparent`.
    pub(super) fn begin(
        recorder: &Arc<Recorder>,
        origin: SpanPlace,
        name: &str,
        kind: SpanKind,
        began: Instant,
    ) -> Self {
        let SpanPlace {
            context,
            parent,
            link,
        } = origin;
        let open = context.is_sampled.then(|| {
            Box::new(OpenSpan {
                recorder: Arc::clone(recorder),
                began,
                record: SpanRecord {
                    context,
                    parent,
                    link,
                    name: name.to_owned(),
                    kind,
                    began: SystemTime::now() - began.elapsed(),
                    duration: Duration::ZERO,
                    attributes: Vec::new(),
                    status: SpanStatus::Unset,
                },
            })
        });
        let context = Some(context);
        Self { context, open }
    }

    /// Begins a part of this span.
    #[must_use]
    pub fn child(&self, name: &str, kind: SpanKind) -> Self {
        let Some((open, context)) = self.open.as_ref().zip(self.context) else {
            return Self {
                context: self.context,
                open: None,
            };
        };
        let origin = SpanPlace {
            context: TraceContext {
                span: new_span_id(),
                ..context
            },
            parent: Some(context.span),
            link: None,
        };
        Self::begin(&open.recorder, origin, name, kind, Instant::now())
    }

    /// Returns the place of the span in its trace; `None` if nobody records traces.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// True if the span is recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.open.is_some()
    }

    /// Returns the header by which the receiver of a request continues the trace.
    #[must_use]
    pub fn traceparent(&self) -> Option<(http::HeaderName, String)> {
        self.context
            .map(|context| (TRACEPARENT, context.to_string()))
    }

    /// Renames the span.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(open) = &mut self.open {
            open.record.name = name();
        }
    }

    /// Gives the span a derivable id. A span with parts must keep its id.
    pub fn take_id(&mut self, id: SpanId) {
        if let Some((open, context)) = self.open.as_mut().zip(self.context.as_mut()) {
            context.span = id;
            open.record.context.span = id;
        }
    }

    /// Adds a text.
    pub fn text(&mut self, key: &'static str, value: impl AsRef<str>) {
        if let Some(open) = &mut self.open {
            let value = Attribute::Text(value.as_ref().to_owned());
            open.record.attributes.push((key, value));
        }
    }

    /// Adds a number.
    pub fn number(&mut self, key: &'static str, value: impl Into<i64>) {
        if let Some(open) = &mut self.open {
            let value = Attribute::Number(value.into());
            open.record.attributes.push((key, value));
        }
    }

    /// Marks the span as failed, with a class of errors from a closed set.
    pub fn fail(&mut self, class: &str) {
        self.text(ERROR_TYPE, class);
        if let Some(open) = &mut self.open {
            open.record.status = SpanStatus::Failed;
        }
    }

    /// Ends the span now.
    pub fn end(mut self) {
        self.close();
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let OpenSpan {
                recorder,
                began,
                mut record,
            } = *open;
            record.duration = began.elapsed();
            recorder.record(record);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.open.is_some() {
            self.fail(CUT_OFF);
            self.close();
        }
    }
}

/// The class of a span that was dropped: the caller went away, or the process ends.
const CUT_OFF: &str = "cancelled";
