//! Spans: what a request did, when, and how it ended, for a receiver of traces.
//!
//! Without `[telemetry]` the [`Tracer`] is off: a [`Span`] is then empty, and its beginning,
//! description and end allocate no memory. A span that ends goes into a queue with a bound, from
//! which `telemetry` sends: no request waits for a receiver.
//!
//! # Whose trace
//!
//! | span | trace | recorded if |
//! |---|---|---|
//! | a request of an application | the trace of the caller's `traceparent`; without a valid one, a new trace | the caller's trace is; a new trace by `sample` |
//! | a verified event | a trace whose id follows from the id of the event: a provider that repeats an event continues the trace | by `sample` |
//! | an attempt to deliver an event from the spool | a new trace, with a link to the span in which the event was stored | the event's trace is |
//!
//! An attempt has a trace of its own because it may come days after the event. The ids in the link
//! follow from the id of the event, so the spool stores no data for traces, and an event from
//! before a restart keeps the link.

mod context;
pub mod conventions;
mod recorder;
mod span;
mod tracer;

pub use context::{SpanId, TRACEPARENT, TraceContext, TraceId};
pub use recorder::{Recorder, SampleRate};
pub use span::{Attribute, Span, SpanKind, SpanRecord, SpanStatus};
pub use tracer::Tracer;
