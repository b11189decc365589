//! Spans and metrics in the messages of OTLP.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, span, status,
};
use prost::Message;

use super::exposition::{FamilyKind, MetricFamily, MetricLabels, MetricSample, families};
use crate::trace::{Attribute, SpanKind, SpanRecord, SpanStatus, TraceContext};

/// The facts that go along with every message.
#[derive(Debug)]
pub(super) struct ProcessFacts {
    resource: Resource,
    scope: InstrumentationScope,
    /// The time from which all sums count.
    since: u64,
}

impl ProcessFacts {
    /// Returns the facts about a process that began at `since`.
    pub(super) fn new(resource: Vec<(String, String)>, since: SystemTime) -> Self {
        let attributes = resource.into_iter();
        Self {
            resource: Resource {
                attributes: attributes.map(|(key, value)| text(&key, value)).collect(),
                ..Resource::default()
            },
            scope: InstrumentationScope {
                name: "keyside".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            },
            since: nanos(since),
        }
    }

    /// Encodes spans.
    pub(super) fn spans(&self, spans: Vec<SpanRecord>) -> Bytes {
        let scoped = ScopeSpans {
            scope: Some(self.scope.clone()),
            spans: spans.into_iter().map(encoded_span).collect(),
            ..ScopeSpans::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![scoped],
                ..ResourceSpans::default()
            }],
        };
        request.encode_to_vec().into()
    }

    /// Encodes metrics as they were at `now`.
    pub(super) fn metrics(&self, exposition: &str, now: SystemTime) -> Bytes {
        let period = Period {
            since: self.since,
            now: nanos(now),
        };
        let families = families(exposition).into_iter();
        let scoped = ScopeMetrics {
            scope: Some(self.scope.clone()),
            metrics: families
                .filter(|family| !family.samples.is_empty())
                .map(|family| encoded_metric(family, period))
                .collect(),
            ..ScopeMetrics::default()
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![scoped],
                ..ResourceMetrics::default()
            }],
        };
        request.encode_to_vec().into()
    }
}

/// The time that a point covers, in nanoseconds of Unix time.
#[derive(Clone, Copy)]
struct Period {
    since: u64,
    now: u64,
}

fn encoded_span(record: SpanRecord) -> Span {
    let kind = match record.kind {
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Producer => span::SpanKind::Producer,
        SpanKind::Internal => span::SpanKind::Internal,
    };
    let code = match record.status {
        SpanStatus::Unset => status::StatusCode::Unset,
        SpanStatus::Failed => status::StatusCode::Error,
    };
    let attributes = record.attributes.into_iter();
    Span {
        trace_id: record.context.trace.0.to_vec(),
        span_id: record.context.span.0.to_vec(),
        parent_span_id: record.parent.map_or_else(Vec::new, |id| id.0.to_vec()),
        flags: SAMPLED,
        name: record.name,
        kind: kind.into(),
        start_time_unix_nano: nanos(record.began),
        end_time_unix_nano: nanos(record.began + record.duration),
        attributes: attributes
            .map(|(key, value)| match value {
                Attribute::Text(value) => text(key, value),
                Attribute::Number(value) => key_value(key, Value::IntValue(value)),
            })
            .collect(),
        links: record.link.into_iter().map(encoded_link).collect(),
        status: Some(Status {
            code: code.into(),
            ..Status::default()
        }),
        ..Span::default()
    }
}

fn encoded_link(link: TraceContext) -> span::Link {
    span::Link {
        trace_id: link.trace.0.to_vec(),
        span_id: link.span.0.to_vec(),
        flags: SAMPLED,
        ..span::Link::default()
    }
}

fn encoded_metric(family: MetricFamily<'_>, period: Period) -> Metric {
    let data = match family.kind {
        FamilyKind::Gauge => metric::Data::Gauge(Gauge {
            data_points: family.samples.iter().map(|it| point(it, period)).collect(),
        }),
        FamilyKind::Counter => metric::Data::Sum(Sum {
            data_points: family.samples.iter().map(|it| point(it, period)).collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
        FamilyKind::Histogram => metric::Data::Histogram(Histogram {
            data_points: histogram_points(&family, period),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        }),
    };
    Metric {
        name: family.name,
        description: family.help.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn point(sample: &MetricSample<'_>, period: Period) -> NumberDataPoint {
    let value = match sample.value.parse() {
        Ok(whole) => number_data_point::Value::AsInt(whole),
        Err(_) => number_data_point::Value::AsDouble(number(sample.value)),
    };
    NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: period.since,
        time_unix_nano: period.now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// Puts the lines of a histogram together: a point for each set of labels.
fn histogram_points(family: &MetricFamily<'_>, period: Period) -> Vec<HistogramDataPoint> {
    let mut points: Vec<HistogramDataPoint> = Vec::new();
    let mut known: HashMap<MetricLabels<'_>, usize> = HashMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        let bound = labels
            .iter()
            .position(|(name, _)| *name == "le")
            .map(|at| labels.remove(at).1);
        let index = *known.entry(labels).or_insert_with_key(|labels| {
            points.push(HistogramDataPoint {
                attributes: attributes(labels),
                start_time_unix_nano: period.since,
                time_unix_nano: period.now,
                ..HistogramDataPoint::default()
            });
            points.len() - 1
        });
        let Some(point) = points.get_mut(index) else {
            continue;
        };
        match bound {
            Some(bound) => add_bucket(point, &bound, sample.value),
            None if sample.name.ends_with("_sum") => point.sum = Some(number(sample.value)),
            None => point.count = sample.value.parse().unwrap_or_default(),
        }
    }
    points
}

/// Adds a bucket. The text counts the values below each bound; OTLP counts the values between two
/// bounds.
fn add_bucket(point: &mut HistogramDataPoint, bound: &str, value: &str) {
    let below: u64 = value.parse().unwrap_or_default();
    let before: u64 = point.bucket_counts.iter().sum();
    point.bucket_counts.push(below.saturating_sub(before));
    let bound = number(bound);
    if bound.is_finite() {
        point.explicit_bounds.push(bound);
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

fn attributes(labels: &MetricLabels<'_>) -> Vec<KeyValue> {
    let labels = labels.iter();
    labels
        .map(|(key, value)| text(key, value.clone()))
        .collect()
}

fn text(key: &str, value: String) -> KeyValue {
    key_value(key, Value::StringValue(value))
}

fn key_value(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The flags of a recorded span: those of `traceparent`.
const SAMPLED: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_between_its_bounds() {
        let text = "# TYPE d histogram\n\
                    d_sum{r=\"x\"} 1.5\nd_count{r=\"x\"} 6\nd_bucket{le=\"0.1\",r=\"x\"} 1\n\
                    d_bucket{le=\"1.0\",r=\"x\"} 4\nd_bucket{le=\"+Inf\",r=\"x\"} 6\n\
                    d_sum{r=\"y\"} 0.0\nd_count{r=\"y\"} 0\nd_bucket{le=\"+Inf\",r=\"y\"} 0\n";
        let period = Period { since: 1, now: 2 };
        let families = families(text);
        let points = histogram_points(&families[0], period);
        let [x, y] = &points[..] else {
            unreachable!("{points:?}");
        };
        assert_eq!(x.explicit_bounds, [0.1, 1.0]);
        assert_eq!(x.bucket_counts, [1, 3, 2]);
        assert_eq!((x.count, x.sum), (6, Some(1.5)));
        assert_eq!(x.attributes, [super::text("r", "x".to_owned())]);
        assert_eq!((y.count, &*y.bucket_counts), (0, &[0][..]));
        assert_eq!((y.start_time_unix_nano, y.time_unix_nano), (1, 2));
    }
}
