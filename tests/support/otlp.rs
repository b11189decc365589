//! A receiver of OTLP over HTTP, of the tests' own: it takes what Keyside sends, and reads the
//! messages with the types that the OpenTelemetry project generates from the protocol's
//! definitions.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

use super::upstream::{After, Request, Upstream, Wire, answer};
use super::{hex, shown};

/// A receiver on a loopback port of its own.
pub struct Receiver(Upstream);

/// A span as the receiver has it.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub kind: SpanKind,
    /// The time from the beginning to the end, in nanoseconds.
    pub duration: u64,
    pub attributes: BTreeMap<String, String>,
    /// The traces and spans of the links.
    pub links: Vec<(String, String)>,
    pub failed: bool,
}

impl Receiver {
    /// A receiver that takes every request.
    pub fn new() -> Self {
        Self(Upstream::plain(take))
    }

    /// A receiver at a port of the test's choice.
    pub fn at(port: u16) -> Self {
        Self(Upstream::plain_at(port, take))
    }

    /// A receiver over TLS that takes everything.
    pub fn with_tls() -> Self {
        Self(Upstream::scripted(take))
    }

    /// A receiver that answers everything with a status.
    pub fn refusing(status: &'static str) -> Self {
        Self(Upstream::plain(move |_, wire| {
            wire.write(&answer(status, &[], b""));
            After::Keep
        }))
    }

    /// A receiver that never answers.
    pub fn silent() -> Self {
        Self(Upstream::plain(|_, wire| {
            wire.hang();
            After::Close
        }))
    }

    /// The lines of `[telemetry]` for this receiver.
    pub fn table(&self) -> String {
        format!("[telemetry]\notlp = \"{}\"\n", self.0.url())
    }

    /// The number of requests so far.
    pub fn requests(&self) -> usize {
        self.0.requests().len()
    }

    /// Every span so far, the earliest beginning first.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.0.requests();
        let bodies = requests.iter().filter(|it| it.target().ends_with(TRACES));
        bodies
            .map(|request| ExportTraceServiceRequest::decode(&*request.body).unwrap())
            .flat_map(|message| message.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .map(|span| Span {
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                kind: span.kind(),
                duration: span.end_time_unix_nano - span.start_time_unix_nano,
                failed: span.status.as_ref().unwrap().code() == StatusCode::Error,
                links: span
                    .links
                    .iter()
                    .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
                    .collect(),
                attributes: texts(&span.attributes),
                name: span.name,
            })
            .collect()
    }

    /// The metrics of the last request with metrics, and the facts about their process.
    pub fn metrics(&self) -> (BTreeMap<String, String>, Vec<Metric>) {
        let requests = self.0.requests();
        let last = requests.iter().rfind(|it| it.target().ends_with(METRICS));
        let Some(last) = last else {
            return (BTreeMap::new(), Vec::new());
        };
        let message = ExportMetricsServiceRequest::decode(&*last.body).unwrap();
        let resource = message.resource_metrics.into_iter().next().unwrap();
        let scopes = resource.scope_metrics.into_iter();
        (
            texts(&resource.resource.unwrap().attributes),
            scopes.flat_map(|scope| scope.metrics).collect(),
        )
    }
}

/// Answers as the specification says:
/// <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>.
fn take(request: &Request, wire: &mut Wire) -> After {
    let is_otlp = request.method() == "POST"
        && [TRACES, METRICS].contains(&&*request.target())
        && request.header("content-type").as_deref() == Some("application/x-protobuf");
    let answered = if is_otlp {
        let body = ExportTraceServiceResponse::default().encode_to_vec();
        answer(
            "200 OK",
            &[("Content-Type", "application/x-protobuf")],
            &body,
        )
    } else {
        eprintln!("not OTLP: {}", shown(request.line().as_bytes()));
        answer("400 Bad Request", &[], b"")
    };
    wire.write(&answered);
    After::Keep
}

/// Attributes as texts.
pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    };
    let named = attributes.iter();
    named
        .filter_map(|attribute| Some((attribute.key.clone(), text(attribute)?)))
        .collect()
}

const TRACES: &str = "/v1/traces";
const METRICS: &str = "/v1/metrics";
