//! Answers as they go out, and the ways in which an answer fails on purpose.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::time::Sleep;

use crate::magic::Magic;

/// The way in which a request ends.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// An answer goes out.
    Answer(Response<Reply>),
    /// No byte goes out for a time, then the connection closes.
    Hang(Duration),
    /// The connection is reset.
    Reset,
}

impl Outcome {
    /// Returns the outcome for a recipient: the answer, or the failure that a magic recipient
    /// causes.
    pub(crate) async fn new(magic: Option<Magic>, answer: Response<Reply>) -> Self {
        match magic {
            Some(Magic::Hang) => Self::Hang(HANG_TIMEOUT),
            Some(Magic::Reset) => Self::Reset,
            Some(Magic::Unavailable) => Self::Answer(unavailable()),
            Some(Magic::Truncated) => {
                let mut answer = answer.map(Reply::truncated);
                let headers = answer.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
                Self::Answer(answer)
            }
            Some(Magic::Slow) => {
                tokio::time::sleep(SLOW_DELAY).await;
                Self::Answer(answer)
            }
            _ => Self::Answer(answer),
        }
    }
}

/// The body of an answer, sent in pieces, so that a large file streams.
#[derive(Debug)]
pub(crate) struct Reply {
    rest: Bytes,
    /// The bytes in `Content-Length` after the end of `rest`, which are never sent.
    missing: u64,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Reply {
    /// A complete body.
    pub(crate) fn new(body: impl Into<Bytes>) -> Self {
        Self {
            rest: body.into(),
            missing: 0,
            pause: None,
        }
    }

    /// A body with its full `Content-Length`, of which half is sent before the connection breaks.
    fn truncated(mut self) -> Self {
        let whole = self.rest.len();
        self.rest.truncate(whole / 2);
        self.missing = u64::try_from(whole - self.rest.len()).unwrap_or(0);
        self
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.rest.is_empty() {
            let length = self.rest.len().min(PIECE);
            return Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))));
        }
        if self.missing == 0 {
            return Poll::Ready(None);
        }
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(BREAK_DELAY)));
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

/// The error that closes a connection on purpose.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sandbox closes the connection on purpose")
    }
}

impl std::error::Error for Broken {}

/// Makes an answer in plain JSON.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response<Reply> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Sets a header; a value that HTTP does not allow is left out.
pub(crate) fn set_header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// An HTTP 503 with an HTML page, as a front end sends it before Graph sees the request.
fn unavailable() -> Response<Reply> {
    let mut response = Response::new(Reply::new(UNAVAILABLE_PAGE));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    set_header(headers, "content-type", "text/html; charset=utf-8");
    set_header(
        headers,
        "proxy-status",
        "http_request_error; e_proxy=\"sandbox\"",
    );
    response
}

/// The body of the HTTP 503.
const UNAVAILABLE_PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Error</title></head><body><h1>Sorry, \
    something went wrong.</h1><p>We're working on getting this fixed as soon as we can.</p></body></html>\n";

/// The bytes of a body that go out at a time: enough for one large write.
const PIECE: usize = 64 * 1024;

/// The wait before a connection breaks, so that bytes written before have left the socket.
const BREAK_DELAY: Duration = Duration::from_millis(50);

/// The silence of a hanging answer: longer than the usual timeouts of clients.
const HANG_TIMEOUT: Duration = Duration::from_secs(60);

/// The delay of a slow answer: within the usual timeouts of clients.
const SLOW_DELAY: Duration = Duration::from_secs(10);
