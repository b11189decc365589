//! An answer: Graph's headers around a body, and the ways in which an answer can go wrong on purpose.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use sha2::{Digest, Sha256};
use tokio::time::Sleep;

use super::error::GraphError;
use super::ids;
use super::json::Json;
use super::magic::{HANG, Magic, SLOW};

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is answered.
    Answer(Response<Reply>),
    /// Nothing comes back for this long, then the connection closes.
    Hang(Duration),
    /// The connection is reset.
    Reset,
}

/// The body of an answer, in pieces, so that a large one streams.
#[derive(Debug)]
pub(super) struct Reply {
    rest: Bytes,
    missing: u64,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Reply {
    /// A complete body.
    pub(super) fn new(body: impl Into<Bytes>) -> Reply {
        Reply { rest: body.into(), missing: 0, pause: None }
    }

    /// Promises all of it, has the first half, and breaks off.
    fn truncated(mut self) -> Reply {
        let whole = self.rest.len();
        self.rest.truncate(whole / 2);
        self.missing = u64::try_from(whole - self.rest.len()).unwrap_or(0);
        self
    }
}

/// How much of a body goes out at a time.
const PIECE: usize = 64 * 1024;
/// Time for what was written to leave before the connection breaks.
const BEFORE_BREAKING: Duration = Duration::from_millis(50);

impl Body for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.rest.is_empty() {
            let length = self.rest.len().min(PIECE);
            return Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))));
        }
        if self.missing == 0 {
            return Poll::Ready(None);
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(BEFORE_BREAKING)));
        pause.as_mut().poll(context).map(|()| Some(Err(Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.missing == 0
    }

    fn size_hint(&self) -> SizeHint {
        let length = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        SizeHint::with_exact(length.saturating_add(self.missing))
    }
}

/// The connection breaks here, as ordered.
#[derive(Debug)]
pub(super) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the connection breaks here, as ordered")
    }
}

impl std::error::Error for Broken {}

/// What the usage headers of an answer say.
#[derive(Clone, Debug)]
pub(super) enum Usage {
    /// `X-App-Usage`: the call was not tied to an account.
    App,
    /// `X-Business-Use-Case-Usage`.
    Account {
        /// The WhatsApp Business Account.
        id: String,
        /// `whatsapp` or `whatsapp_business_management`.
        kind: &'static str,
        /// How much of its limit is used.
        percent: u64,
    },
}

/// Makes Graph's answer out of what a handler came to.
pub(super) fn graph(result: &Result<Json, GraphError>, usage: &Usage, version: &str) -> Response<Reply> {
    let trace = ids::trace_id();
    let (status, body) = match result {
        Ok(json) => (StatusCode::OK, json.graph()),
        Err(error) => (error.status, error.json(&trace).graph()),
    };
    let etag = format!("\"{:.40}\"", HEXLOWER.encode(&Sha256::digest(&body)));
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    match result {
        Ok(_) => {
            put(headers, "etag", &etag);
            put(headers, "cache-control", "private, no-cache, no-store, must-revalidate");
        }
        Err(error) => {
            put(headers, "www-authenticate", &challenge(error));
            put(headers, "cache-control", "no-store");
            put(headers, "proxy-status", "http_request_error; e_proxy=\"sandbox\"");
        }
    }
    put(headers, "facebook-api-version", version);
    put(headers, "x-fb-request-id", &trace);
    put(headers, "x-fb-trace-id", &ids::short_trace_id());
    put_usage(headers, usage);
    for (name, value) in ALWAYS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// HTTP 503 as a front end gives it: not from Graph, not JSON.
fn unavailable() -> Response<Reply> {
    let page = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Error</title></head><body><h1>Sorry, something went \
                wrong.</h1><p>We're working on getting this fixed as soon as we can.</p></body></html>\n";
    let mut response = Response::new(Reply::new(page));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    put(response.headers_mut(), "content-type", "text/html; charset=utf-8");
    put(response.headers_mut(), "proxy-status", "http_request_error; e_proxy=\"sandbox\"");
    response
}

/// What becomes of an answer to a message for this recipient.
pub(super) async fn befall(magic: Option<Magic>, answer: Response<Reply>) -> Outcome {
    match magic {
        Some(Magic::Hang) => Outcome::Hang(HANG),
        Some(Magic::Reset) => Outcome::Reset,
        Some(Magic::Unavailable) => Outcome::Answer(unavailable()),
        Some(Magic::Truncated) => {
            let mut answer = answer.map(Reply::truncated);
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            Outcome::Answer(answer)
        }
        Some(Magic::Slow) => {
            tokio::time::sleep(SLOW).await;
            Outcome::Answer(answer)
        }
        _ => Outcome::Answer(answer),
    }
}

/// An answer of the sandbox itself, for its control endpoints.
pub(super) fn control(status: StatusCode, json: &Json) -> Response<Reply> {
    let mut response = Response::new(Reply::new(json.plain()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Sets a header; a value that cannot be one is left out.
pub(super) fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn challenge(error: &GraphError) -> String {
    let reason = if error.code == 190 { "invalid_token" } else { "invalid_request" };
    format!("OAuth \"Facebook Platform\" \"{reason}\" \"{}\"", error.message)
}

fn put_usage(headers: &mut HeaderMap, usage: &Usage) {
    match usage {
        Usage::App => put(headers, "x-app-usage", r#"{"call_count":0,"total_cputime":0,"total_time":0}"#),
        Usage::Account { id, kind, percent } => {
            let value = format!(
                "{{\"{id}\":[{{\"type\":\"{kind}\",\"call_count\":{percent},\"total_cputime\":1,\"total_time\":1,\
                 \"estimated_time_to_regain_access\":0}}]}}"
            );
            put(headers, "x-business-use-case-usage", &value);
        }
    }
}

const ALWAYS: [(&str, &str); 10] = [
    ("content-type", "application/json; charset=UTF-8"),
    ("vary", "Origin"),
    ("access-control-allow-origin", "*"),
    ("strict-transport-security", "max-age=15552000; preload"),
    ("pragma", "no-cache"),
    ("expires", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ("x-fb-rev", "1022332540"),
    ("x-fb-debug", "HZxY9ov7AEVeIQ/DnlJF8D+RbyBT7CB2gMWIpQIl+for581XaKUs3HYJcY3c1j2XpS6Tvf6XV4IK7WZABwOd6Q=="),
    ("x-fb-connection-quality", "EXCELLENT; q=0.9, rtt=12, rtx=0, c=10, mss=1380, tbw=3367, tp=-1, tpl=-1"),
    ("alt-svc", "h3=\":443\"; ma=86400"),
];
