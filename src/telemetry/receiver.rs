//! The receiver of OTLP over HTTP, with messages in protobuf.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use crate::config::TelemetryConfig;
use crate::egress::Egress;
use crate::provider::Ca;
use crate::tls::{self, TlsError};
use crate::upstream::{
    OutgoingBody, RequestLine, USER_AGENT, Upstream, UpstreamError, UpstreamKind,
};

/// The receiver.
#[derive(Debug)]
pub struct TelemetryReceiver {
    upstream: Upstream,
    host: String,
    /// The path before that of the signal.
    path: String,
    url: String,
}

/// The kinds of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TelemetrySignal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

/// The reason why the receiver did not take something.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// The receiver gave no answer.
    Upstream(UpstreamError),
    /// The receiver refused with this status.
    Refused(StatusCode),
}

/// The reason why there can be no receiver.
#[derive(Debug)]
pub enum TelemetryReceiverError {
    /// The certificate authorities of the system cannot be used.
    Tls(TlsError),
    /// The host is neither a name nor an address.
    Host(UpstreamError),
}

impl TelemetryReceiver {
    /// Returns the receiver of a configuration, on a way out. A receiver with `https` is checked
    /// against the system's authorities: most receivers stand in the house.
    ///
    /// # Errors
    /// A host that is none, or, with `https`, a system without authorities.
    pub fn new(config: &TelemetryConfig, egress: &Egress) -> Result<Self, TelemetryReceiverError> {
        let origin = config.receiver.clone();
        let ca = if origin.tls { Ca::System } else { Ca::Bundled };
        let tls = tls::client_config(&ca, None).map_err(TelemetryReceiverError::Tls)?;
        let host = origin.authority();
        let scheme = if origin.tls { "https" } else { "http" };
        Ok(Self {
            url: format!("{scheme}://{host}{}", config.path),
            upstream: Upstream::new(UpstreamKind::Telemetry, origin, tls)
                .map_err(TelemetryReceiverError::Host)?
                .through(egress),
            host,
            path: config.path.clone(),
        })
    }

    /// Returns the URL of the receiver.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a message. Returns the number of spans or points that the receiver rejects.
    pub(super) async fn send(&self, signal: TelemetrySignal, body: Bytes) -> Result<u64, NotTaken> {
        let mut line = RequestLine::new(Method::POST, OutgoingBody::Whole(body));
        line.target(&self.path);
        line.target(signal.path());
        let mut head = line.headers(&self.host);
        head.header(&header::CONTENT_TYPE, "application/x-protobuf");
        head.header(&header::USER_AGENT, USER_AGENT);
        let answer = self
            .upstream
            .ask(head.finish(), SEND_TIMEOUT)
            .await
            .map_err(NotTaken::Upstream)?;
        if !answer.status.is_success() {
            return Err(NotTaken::Refused(answer.status));
        }
        Ok(signal.rejected(&answer.body))
    }
}

impl TelemetrySignal {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// Reads the number of rejected spans or points in a successful answer. An answer that is none
    /// rejects nothing: some receivers answer with JSON or with words.
    fn rejected(self, body: &[u8]) -> u64 {
        let count = match self {
            Self::Traces => ExportTraceServiceResponse::decode(body)
                .ok()
                .and_then(|answer| Some(answer.partial_success?.rejected_spans)),
            Self::Metrics => ExportMetricsServiceResponse::decode(body)
                .ok()
                .and_then(|answer| Some(answer.partial_success?.rejected_data_points)),
        };
        count.map_or(0, |count| u64::try_from(count).unwrap_or(0))
    }
}

impl NotTaken {
    /// True if the same message may be taken later:
    /// <https://opentelemetry.io/docs/specs/otlp/#failures-1>.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Upstream(_) => true,
            Self::Refused(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(error) => f.write_str(&error.of("the receiver")),
            Self::Refused(StatusCode::NOT_FOUND) => {
                f.write_str("status 404: nothing takes OTLP at this URL")
            }
            Self::Refused(status) => write!(f, "status {}", status.as_u16()),
        }
    }
}

impl fmt::Display for TelemetryReceiverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "the system's certificate authorities: {error}"),
            Self::Host(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TelemetryReceiverError {}

/// The time for one request: the default of OpenTelemetry's SDKs.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn only_a_failure_that_may_pass_keeps_the_spans() {
        for (status, may_pass) in [
            (400, false),
            (401, false),
            (404, false),
            (413, false),
            (429, true),
            (500, false),
            (502, true),
            (503, true),
            (504, true),
        ] {
            let refused = NotTaken::Refused(StatusCode::from_u16(status).unwrap());
            assert_eq!(refused.may_pass(), may_pass, "{status}");
        }
        assert!(NotTaken::Upstream(UpstreamError::NoPlace).may_pass());
    }

    #[test]
    fn a_partial_success_tells_what_was_rejected() {
        let partial = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 7,
                error_message: "too old".to_owned(),
            }),
        };
        assert_eq!(
            TelemetrySignal::Traces.rejected(&partial.encode_to_vec()),
            7
        );
        for whole in [&b""[..], b"{\"partialSuccess\":{}}", b"ok"] {
            assert_eq!(TelemetrySignal::Traces.rejected(whole), 0);
            assert_eq!(TelemetrySignal::Metrics.rejected(whole), 0);
        }
    }
}
