//! The body of a request: read whole if a field in it may change, streamed otherwise.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::error::OutboundError;
use super::guard::OVERRIDES;
use super::policy::Permit;
use crate::headers::read_as;
use crate::listener::Link;
use crate::media_type::MediaType;
use crate::memory::{Holder, LARGEST_ANSWER, MemoryBudget, Reservation, SMALL};
use crate::multipart::MultipartReader;
use crate::provider::{BodyForm, RequestPattern};
use crate::query;
use crate::upstream::UpstreamError;

/// The form of a body, by the `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON object.
    Json,
    /// A form-encoded body.
    UrlEncoded,
    /// A multipart form, with files among its fields.
    Multipart,
    /// The plain bytes of a file, whatever the `Content-Type` says.
    File,
    /// A body of no type, or of a type that the operation does not take: only an empty one passes.
    Untyped,
}

impl Form {
    /// The form of the body of a request that matches `pattern`.
    pub(super) fn of(headers: &HeaderMap, pattern: &RequestPattern) -> Self {
        if pattern.raw {
            return Self::File;
        }
        let written = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let Some(read) = written
            .and_then(MediaType::parse)
            .filter(MediaType::is_utf8)
        else {
            return Self::Untyped;
        };
        let mut taken = pattern.content_types.iter();
        match taken
            .find(|taken| read.is(&taken.name))
            .map(|taken| taken.form)
        {
            Some(BodyForm::Json) => Self::Json,
            Some(BodyForm::UrlEncoded) => Self::UrlEncoded,
            Some(BodyForm::Multipart) => Self::Multipart,
            None => Self::Untyped,
        }
    }

    /// True for a body that is not kept: it passes through while it arrives.
    pub(super) fn is_streamed(self) -> bool {
        matches!(self, Self::Multipart | Self::File)
    }
}

/// The body of a request, before any secret goes into it.
pub(super) enum RequestBody {
    /// The whole body, so that the request can be sent again.
    Whole {
        /// Form by which fields are found in the bytes.
        form: Form,
        /// The bytes; perhaps none.
        body: Bytes,
    },
    /// A body that passes through while the application sends it.
    Stream {
        /// Form of the body.
        form: Form,
        /// The body.
        body: Incoming,
        /// Reader of the names of a multipart form.
        reader: Option<Box<MultipartReader>>,
    },
}

/// The way in which the body of a request is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    Whole,
    Stream,
}

impl BodyKind {
    /// Marks a request with such a body as waiting: the end of an application that is gone ends the
    /// request.
    pub(super) fn waits(self, link: &Link) {
        match self {
            Self::Whole => link.request_waits(),
            Self::Stream => link.upload_waits(),
        }
    }

    /// Marks a request with such a body as on its way out.
    pub(super) fn goes_on(self, link: &Link) {
        match self {
            Self::Whole => link.request_is_read(),
            Self::Stream => link.turn_begins(),
        }
    }
}

impl RequestBody {
    /// The way in which the body is at hand.
    pub(super) fn kind(&self) -> BodyKind {
        match self {
            Self::Whole { .. } => BodyKind::Whole,
            Self::Stream { .. } => BodyKind::Stream,
        }
    }

    /// The form of the body.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Whole { form, .. } | Self::Stream { form, .. } => *form,
        }
    }

    /// A copy for sending the request again; `None` for a stream, whose bytes are gone once sent.
    pub(super) fn copy(&self) -> Option<Self> {
        match self {
            Self::Whole { form, body } => Some(Self::Whole {
                form: *form,
                body: body.clone(),
            }),
            Self::Stream { .. } => None,
        }
    }
}

/// Reads a body in which Keyside may change or look up a field; passes any other body on as a
/// stream.
///
/// # Errors
/// 400 for a compressed or broken body, 413 over the bound, 415 for a type that the operation does
/// not take, 503 without room for another large body.
pub(super) async fn receive(
    mut body: Incoming,
    form: Form,
    permit: &Permit<'_>,
    headers: &HeaderMap,
    memory: &Arc<MemoryBudget>,
    max_upload: u64,
    deadline: Instant,
) -> Result<(RequestBody, Option<Reservation>), OutboundError> {
    if form == Form::Untyped && !is_empty(&mut body, deadline).await? {
        return Err(unsupported(permit.request));
    }
    if body.is_end_stream() {
        let body = Bytes::new();
        return Ok((RequestBody::Whole { form, body }, None));
    }
    let is_coded = || {
        headers.iter().any(|(name, value)| {
            // The value of no coding, in the name's own spelling.
            let is_identity = *name == header::CONTENT_ENCODING
                && value.as_bytes().eq_ignore_ascii_case(b"identity");
            *read_as(name) == header::CONTENT_ENCODING && !is_identity
        })
    };
    if form != Form::File && is_coded() {
        return Err(COMPRESSED);
    }
    if form.is_streamed() {
        check_stream(&body, max_upload)?;
        let reader = match form {
            Form::Multipart => Some(Box::new(multipart_reader(headers, permit)?)),
            _ => None,
        };
        let mut reservation = memory.reserve(Holder::Send);
        if !reservation.grow_leaving(STREAM_BUFFERS, LARGEST_ANSWER) {
            return Err(OutboundError::Overloaded);
        }
        return Ok((
            RequestBody::Stream { form, body, reader },
            Some(reservation),
        ));
    }
    let (body, reservation) = read_whole(body, memory, deadline).await?;
    if form == Form::UrlEncoded {
        check_form(&body)?;
    }
    Ok((RequestBody::Whole { form, body }, Some(reservation)))
}

/// True for a body without a byte. Only a chunked body must be waited for.
async fn is_empty(body: &mut Incoming, deadline: Instant) -> Result<bool, OutboundError> {
    while !body.is_end_stream() {
        if body.size_hint().lower() > 0 {
            return Ok(false);
        }
        match next_frame(body, deadline).await? {
            Some(frame) if frame.data_ref().is_some_and(|data| !data.is_empty()) => {
                return Ok(false);
            }
            Some(_) => {}
            None => break,
        }
    }
    Ok(true)
}

/// The reader of a multipart form, in which no part may change the request or carry a credential,
/// or name a sender on a route with `senders`: the parts leave as they came.
fn multipart_reader(
    headers: &HeaderMap,
    permit: &Permit<'_>,
) -> Result<MultipartReader, OutboundError> {
    let written = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let boundary = written
        .and_then(MediaType::parse)
        .and_then(|read| read.boundary())
        .ok_or(NO_BOUNDARY)?;
    let provider = permit.provider();
    let overrides = OVERRIDES
        .iter()
        .chain(&["fields"])
        .filter(|_| provider.graph_answers);
    let mut forbidden: Vec<String> = overrides.map(|&name| name.to_owned()).collect();
    if !permit.passes_callers_credential() {
        forbidden.extend(provider.strip.form.iter().cloned());
    }
    if !permit.route.senders.is_empty() {
        let places = provider.limits.sender.iter().chain(&permit.request.senders);
        forbidden.extend(places.filter_map(|place| place.first().cloned()));
        forbidden.extend(permit.request.sender.clone());
    }
    Ok(MultipartReader::new(boundary, forbidden))
}

/// The error for a body of a type that the operation does not take.
pub(super) fn unsupported(pattern: &RequestPattern) -> OutboundError {
    let names = pattern.content_types.iter().map(|taken| taken.name.clone());
    OutboundError::UnsupportedMediaType {
        taken: names.collect(),
    }
}

/// Reads a whole body. A body with too long a `Content-Length` is refused before a byte is read.
async fn read_whole(
    mut body: Incoming,
    memory: &Arc<MemoryBudget>,
    deadline: Instant,
) -> Result<(Bytes, Reservation), OutboundError> {
    let expected = body.size_hint().lower();
    if expected > MAX_WHOLE {
        return Err(OutboundError::BodyTooLarge { limit: MAX_WHOLE });
    }
    let mut gathered = GatheredBody::new(memory);
    gathered.hold(usize::try_from(expected).unwrap_or(usize::MAX))?;
    while !body.is_end_stream() {
        let Some(frame) = next_frame(&mut body, deadline).await? else {
            break;
        };
        if let Ok(data) = frame.into_data() {
            gathered.push(data)?;
        }
    }
    Ok(gathered.finish())
}

/// The next piece of a body; `None` at the end.
async fn next_frame(
    body: &mut Incoming,
    deadline: Instant,
) -> Result<Option<Frame<Bytes>>, OutboundError> {
    let until = deadline.min(Instant::now() + PROGRESS);
    match timeout_at(until, body.frame()).await {
        Ok(frame) => frame
            .transpose()
            .map_err(|error| caller_broke(UpstreamError::RequestBody(error))),
        Err(_) => Err(caller_broke(UpstreamError::RequestBodyTimedOut)),
    }
}

/// A body that arrives. A small body in one piece is kept as read; any other body is copied into
/// one buffer, whose capacity is what the body is counted with.
struct GatheredBody {
    first: Bytes,
    rest: Vec<u8>,
    reservation: Reservation,
}

impl GatheredBody {
    fn new(memory: &Arc<MemoryBudget>) -> Self {
        Self {
            first: Bytes::new(),
            rest: Vec::new(),
            reservation: memory.reserve(Holder::Send),
        }
    }

    /// Makes room for a body of `length` bytes. The capacity of a body without a length doubles.
    fn hold(&mut self, length: usize) -> Result<(), OutboundError> {
        if length <= self.rest.capacity() {
            return Ok(());
        }
        let capacity = length.max((2 * self.rest.capacity()).min(MAX_WHOLE as usize));
        if !self.reservation.grow_to(capacity as u64) {
            return Err(OutboundError::Overloaded);
        }
        if length > SMALL {
            self.rest.reserve_exact(capacity - self.rest.len());
        }
        Ok(())
    }

    fn push(&mut self, data: Bytes) -> Result<(), OutboundError> {
        let length = self.first.len() + self.rest.len() + data.len();
        if length as u64 > MAX_WHOLE {
            return Err(OutboundError::BodyTooLarge { limit: MAX_WHOLE });
        }
        self.hold(length)?;
        let is_only_piece = self.first.is_empty() && self.rest.is_empty();
        if is_only_piece && self.rest.capacity() == 0 {
            self.first = data;
            return Ok(());
        }
        self.rest
            .extend_from_slice(&std::mem::take(&mut self.first));
        self.rest.extend_from_slice(&data);
        Ok(())
    }

    fn finish(mut self) -> (Bytes, Reservation) {
        if self.rest.is_empty() {
            return (self.first, self.reservation);
        }
        self.rest.shrink_to_fit();
        self.reservation.shrink_to(self.rest.capacity() as u64);
        (self.rest.into(), self.reservation)
    }
}

/// Refuses a form that would cost more time than a form of an application does.
fn check_form(body: &[u8]) -> Result<(), OutboundError> {
    if query::has_more_pairs(body, MAX_FIELDS) || query::has_longer_name(body, MAX_NAME) {
        return Err(TOO_MANY_FIELDS);
    }
    Ok(())
}

/// Refuses a streamed body with too long a `Content-Length`. A body without a length is cut off at
/// the bound by [`crate::upstream`].
fn check_stream(body: &Incoming, limit: u64) -> Result<(), OutboundError> {
    if body.size_hint().lower() > limit {
        return Err(OutboundError::BodyTooLarge { limit });
    }
    Ok(())
}

fn caller_broke(error: UpstreamError) -> OutboundError {
    OutboundError::Upstream {
        error,
        outcome_unknown: false,
    }
}

/// A credential of the application could hide in a compressed body.
const COMPRESSED: OutboundError = OutboundError::bad_request(
    "the body is JSON or a form and has a Content-Encoding",
    "send JSON and forms uncompressed",
);
const NO_BOUNDARY: OutboundError = OutboundError::bad_request(
    "the Content-Type of the multipart body has no boundary that every server finds",
    "name one boundary of 1 to 70 letters, digits and '()+_-./:=?, once",
);
/// The time that a form takes grows with the number of fields and the length of their names.
const TOO_MANY_FIELDS: OutboundError = OutboundError::bad_request(
    "the form has more than 1000 fields, or a name of more than 256 bytes",
    "send what has more fields as JSON, if the provider takes JSON",
);
/// Most fields of a form: the default of PHP (`max_input_vars`) and of Node's `querystring`
/// (`maxKeys`).
const MAX_FIELDS: usize = 1000;
/// The longest name of a field of a form, in bytes as written; nested names of PHP have some
/// hundred.
const MAX_NAME: usize = 256;
/// Largest body of JSON or a form, in bytes; lists of messages stay far below.
const MAX_WHOLE: u64 = 1024 * 1024;
/// The memory that a streamed body takes on the way, in bytes: a buffer that is read into, a piece
/// that is written, and the buffers of TLS.
const STREAM_BUFFERS: u64 = 128 * 1024;
/// Longest wait between two pieces of a body: an application on the same machine writes without a
/// pause, and over a network TCP repeats a lost packet four times within 15 s.
pub(super) const PROGRESS: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::provider::presets;

    #[test]
    fn the_form_is_that_of_a_type_that_the_operation_takes() {
        let meta = presets::provider("meta").unwrap();
        let pattern = |path: &str| {
            let requests = meta
                .operations
                .iter()
                .flat_map(|operation| &operation.requests);
            let mut requests = requests.filter(|request| request.has_method(&Method::POST));
            requests
                .find(|request| request.path.to_string() == path)
                .unwrap()
        };
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        let multipart = "multipart/form-data; boundary=json";
        for (path, media_type, expected) in [
            ("/{v}/{sender}/messages", "application/json", Form::Json),
            (
                "/{v}/{sender}/messages",
                "Application/JSON; charset=utf-8",
                Form::Json,
            ),
            ("/{v}/{sender}/messages", form, Form::UrlEncoded),
            ("/{v}/{sender}/messages", multipart, Form::Untyped),
            (
                "/{v}/{sender}/messages",
                "application/json; charset=utf-16",
                Form::Untyped,
            ),
            (
                "/{v}/{sender}/messages",
                "application/problem+json",
                Form::Untyped,
            ),
            ("/{v}/{sender}/messages", "text/plain", Form::Untyped),
            ("/{v}/{sender}/messages", "", Form::Untyped),
            ("/{v}/{sender}/media", multipart, Form::Multipart),
            ("/{v}/{sender}/media", "image/png", Form::Untyped),
            ("/{v}/upload:{...}", "image/png", Form::File),
            ("/{v}/upload:{...}", form, Form::File),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
            assert_eq!(
                Form::of(&headers, pattern(path)),
                expected,
                "{path} {media_type}"
            );
        }
        let none = HeaderMap::new();
        assert_eq!(
            Form::of(&none, pattern("/{v}/{sender}/messages")),
            Form::Untyped
        );
    }
}
