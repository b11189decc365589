//! From the application to the provider.

use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

mod answer;
mod body;
pub mod error;
mod exchange;
pub mod guard;
mod inject;
mod learn;
pub mod named;
mod once;
pub mod policy;

use body::Form;
use error::OutboundError;
use exchange::{Exchange, Taken};
use once::First;
use policy::{Permit, Policy, Route};

use crate::audit::Audit;
use crate::limit::{Demand, Limited, Patience, Ticket};
use crate::listener::{Caller, Link};
use crate::log::{millis, without_numbers};
use crate::metrics::{Metrics, outcome_of};
use crate::provider::{Kind, Meaning};
use crate::response::{INTERNAL, whole_seconds};
use crate::room::{Held, Room};
use crate::sends::Sends;
use crate::upstream::{Answer, AnswerBody, Limits, UpstreamError};

/// What requests are judged by and sent with, all of one load.
#[derive(Debug)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// The routes.
    pub policy: Policy,
    /// The hosts that are answered for, besides loopback names.
    pub hosts: HashSet<String>,
    /// Every header that any provider injects: no caller may bring one.
    pub injected: Vec<HeaderName>,
}

/// Asks for a look at where secrets come from, and is answered when new ones are in use. For when a
/// provider refuses a secret: its successor may be there already.
pub type LookAgain = mpsc::Sender<oneshot::Sender<()>>;

/// The outbound listener's handler.
#[derive(Debug)]
pub struct Outbound {
    generation: Arc<ArcSwap<Generation>>,
    metrics: Arc<Metrics>,
    audit: Audit,
    look: LookAgain,
    room: Room,
    sends: Arc<Sends>,
}

impl Outbound {
    /// A handler whose requests run on what `generation` holds when they arrive.
    #[must_use]
    pub fn new(
        generation: Arc<ArcSwap<Generation>>,
        metrics: Arc<Metrics>,
        audit: Audit,
        look: LookAgain,
        sends: Arc<Sends>,
    ) -> Self {
        Self { generation, metrics, audit, look, room: Room::default(), sends }
    }

    /// Answers a request: with the provider's answer, or with why there is none. Cannot fail; this is
    /// the one place where an error becomes an answer, a log line and a count.
    pub async fn handle(&self, request: Request<Incoming>, link: &Link) -> Response<AnswerBody> {
        // load_full, not load: a guard held over the whole request would hold up the next swap.
        let generation = self.generation.load_full();
        let (parts, body) = request.into_parts();
        let arrived = Instant::now();
        let has_body = !body.is_end_stream();
        let mut under_way = UnderWay::new(self, link, arrived);
        let result = self.forward(&generation, &parts, body, link, &under_way).await;
        under_way.is_answered = true;
        match result {
            Ok(response) => response,
            Err(failure) => {
                if has_body {
                    link.body_unread();
                }
                failure.into_response(self, link, arrived)
            }
        }
    }

    async fn forward<'a>(
        &'a self,
        generation: &'a Generation,
        parts: &'a Parts,
        body: Incoming,
        link: &Link,
        under_way: &UnderWay<'a>,
    ) -> Result<Response<AnswerBody>, Failure<'a>> {
        let arrived = under_way.arrived;
        guard::admit(parts, &generation.hosts, link).map_err(Failure::early)?;
        let permit = generation.policy.check(parts).map_err(|(route, error)| Failure { route, permit: None, error })?;
        under_way.permitted.set((permit.route, permit.operation_index)).unwrap_or_default();
        let (route, index) = (permit.route, permit.operation_index);
        let failed = |error| Failure { route: Some(route), permit: Some(index), error };
        let form = form_of(&permit, parts);
        let deadline = limits(&permit, form, arrived).deadline;
        let (body, _held) = self.take_body(form, parts, body, deadline).await.map_err(failed)?;
        let senders = named::senders(&permit, parts, &body);
        let permit = permit.with_senders(&senders).map_err(failed)?;
        let first = once::begin(&self.sends, &permit, parts, &body, &under_way.written).await;
        let keyed = match first.map_err(failed)? {
            First::Send(keyed) => keyed,
            First::Answered(response) => {
                report(&permit, link, response.status(), arrived.elapsed());
                self.record(generation, Some((permit.route, permit.operation_index)), link, response.status());
                return Ok(response);
            }
        };
        let sent = self.send_in_turn(generation, &permit, parts, body, link, under_way).await;
        let Sent { answer, ticket, at: sent, did_nothing } = sent.map_err(failed)?;
        let done = Instant::now();
        if answer.early {
            link.body_unread();
        }
        let origin = || origin_of(&permit, parts);
        let cleaned = answer::clean(answer, &permit, origin).await;
        let mut response = cleaned.map_err(|error| failed(upstream_error(error, &parts.method)))?;
        if let Some(keyed) = keyed {
            keyed.settle(&response, did_nothing).await;
        }
        report(&permit, link, response.status(), done - arrived);
        self.record(generation, Some((permit.route, permit.operation_index)), link, response.status());
        let queued = ticket.map_or(Duration::ZERO, |ticket| ticket.waited);
        describe(&mut response, ticket.as_ref(), queued, done - sent);
        Ok(response)
    }

    /// Waits for a turn and sends. A message that the provider has throttled, and so not taken, waits for another turn
    /// where the route says so and its patience lasts.
    async fn send_in_turn(
        &self,
        generation: &Generation,
        permit: &Permit<'_>,
        parts: &Parts,
        mut body: Taken,
        link: &Link,
        under_way: &UnderWay<'_>,
    ) -> Result<Sent, OutboundError> {
        let recipient = named::recipient(permit, &body);
        let mut throttled: Option<Sent> = None;
        loop {
            let turn = turn(permit, parts, recipient.as_deref(), link, under_way.arrived).await;
            let ticket = match (turn, throttled) {
                (Ok(ticket), _) => ticket,
                (Err(_), Some(throttled)) => return Ok(throttled),
                (Err(limited), None) => return Err(OutboundError::RateLimited(limited)),
            };
            let again = body.again().filter(|_| permit.route.limiter.retries);
            if matches!(body, Taken::Whole { .. }) {
                link.request_is_read();
            }
            let at = Instant::now();
            let exchange = Exchange {
                permit,
                parts,
                live: &self.generation,
                look: &self.look,
                audit: &self.audit,
                injected: &generation.injected,
                limits: limits(permit, body.form(), at),
                written: &under_way.written,
            };
            let (answer, meaning) = exchange.send(body).await?;
            learn::learn(&answer.headers, &meaning, permit, recipient.as_deref());
            let is_throttled = matches!(meaning, Meaning::Throttled(_));
            let did_nothing = matches!(meaning, Meaning::CredentialRefused | Meaning::Throttled(_));
            let sent = Sent { answer, ticket, at, did_nothing };
            match again.filter(|_| is_throttled) {
                Some(again) => {
                    // The provider has nothing of what was written.
                    under_way.written.store(false, Ordering::Relaxed);
                    (body, throttled) = (again, Some(sent));
                }
                None => return Ok(sent),
            }
        }
    }

    /// A line for a request in the audit file, where it is to have one.
    fn record(&self, generation: &Generation, permitted: Option<(&Route, usize)>, link: &Link, status: StatusCode) {
        if !self.audit.of_requests() {
            return;
        }
        let credential = permitted.map(|(route, _)| &route.credential);
        let operation = permitted.and_then(|(route, index)| route.credential.provider.operations.get(index));
        let fields = [
            ("caller", link.caller().to_string().into()),
            ("route", permitted.map(|(route, _)| &*route.name).into()),
            ("operation", operation.map(|operation| operation.name.as_str()).into()),
            ("fingerprint", credential.and_then(|held| held.fingerprint()).map(|print| print.to_string()).into()),
            ("generation", generation.number.into()),
            ("status", status.as_u16().into()),
        ];
        self.audit.record("request", fields);
    }

    async fn take_body(
        &self,
        form: Form,
        parts: &Parts,
        body: Incoming,
        deadline: Instant,
    ) -> Result<(Taken, Option<Held<'_>>), OutboundError> {
        if body.is_end_stream() {
            return Ok((Taken::Whole { form, body: Bytes::new() }, None));
        }
        if form == Form::Stream {
            body::check_stream(&body)?;
            return Ok((Taken::Stream(body), None));
        }
        if parts.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(COMPRESSED);
        }
        let (body, held) = body::read_whole(body, &self.room, deadline).await?;
        Ok((Taken::Whole { form, body }, Some(held)))
    }
}

/// What came of a request that had its turn.
struct Sent {
    answer: Answer,
    ticket: Option<Ticket>,
    /// When it went out.
    at: Instant,
    /// Whether the answer says that the provider did nothing with it.
    did_nothing: bool,
}

/// A request that has no answer yet. Dropped before it has one, its caller is gone, or its handler
/// panicked; that is counted and logged here, because nobody else is left to do it.
struct UnderWay<'a> {
    outbound: &'a Outbound,
    link: &'a Link,
    arrived: Instant,
    /// The route and the place of the operation, once they are known.
    permitted: OnceLock<(&'a Route, usize)>,
    /// Whether the upstream may have something of it.
    written: AtomicBool,
    is_answered: bool,
}

impl<'a> UnderWay<'a> {
    fn new(outbound: &'a Outbound, link: &'a Link, arrived: Instant) -> Self {
        let (permitted, written) = (OnceLock::new(), AtomicBool::new(false));
        Self { outbound, link, arrived, permitted, written, is_answered: false }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let outcome = if std::thread::panicking() { INTERNAL.slug } else { CALLER_GONE };
        let permitted = self.permitted.get();
        match permitted {
            Some((route, operation)) => route.metrics.refused(Some(*operation), outcome),
            None => self.outbound.metrics.refused(outcome),
        }
        let provider = permitted.map(|(route, _)| &route.credential.provider);
        let operation = permitted.zip(provider).and_then(|((_, index), provider)| provider.operations.get(*index));
        tracing::info!(
            route = permitted.map(|(route, _)| &*route.name),
            operation = operation.map(|operation| &*operation.name),
            credential = permitted.and_then(|(route, _)| route.credential.fingerprint()).map(tracing::field::display),
            caller = %self.link.caller(),
            duration_ms = self.arrived.elapsed().as_millis(),
            error = outcome,
            written = self.written.load(Ordering::Relaxed),
            "request given up"
        );
    }
}

/// An error with the route on which it arose.
struct Failure<'a> {
    route: Option<&'a Route>,
    permit: Option<usize>,
    error: OutboundError,
}

impl<'a> Failure<'a> {
    fn early(error: OutboundError) -> Self {
        Self { route: None, permit: None, error }
    }

    fn operation(&self) -> Option<&'a str> {
        let operations = &self.route?.credential.provider.operations;
        operations.get(self.permit?).map(|operation| &*operation.name)
    }

    fn into_response(self, outbound: &Outbound, link: &Link, arrived: Instant) -> Response<AnswerBody> {
        let kind = self.error.kind();
        let route = self.route.map(|route| &*route.name);
        match self.route {
            Some(route) => {
                route.metrics.refused(self.permit, kind.slug);
                match &self.error {
                    OutboundError::RateLimited(limited) => route.metrics.limited(limited.scope.as_str()),
                    OutboundError::Upstream { .. } => route.metrics.upstream_error(kind.slug),
                    _ => {}
                }
            }
            None => outbound.metrics.refused(kind.slug),
        }
        let refusal = self.error.refusal(route);
        let duration_ms = millis(arrived.elapsed());
        let credential = self.route.and_then(|route| route.credential.fingerprint()).map(tracing::field::display);
        let operation = self.operation();
        let generation = outbound.generation.load();
        outbound.record(&generation, self.route.zip(self.permit), link, kind.status);
        tracing::info!(route, operation, credential, caller = %link.caller(), status = kind.status.as_u16(), duration_ms, error = kind.slug, reason = without_numbers(&refusal.message), "request refused");
        let mut response = refusal.to_response().map(AnswerBody::Whole);
        if matches!(self.error, OutboundError::MethodNotAllowed) {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(guard::ALLOW));
        }
        response
    }
}

/// Waits until the request may go, where it is one that counts.
async fn turn(
    permit: &Permit<'_>,
    parts: &Parts,
    recipient: Option<&str>,
    link: &Link,
    arrived: Instant,
) -> Result<Option<Ticket>, Limited> {
    let limiter = &permit.route.limiter;
    let is_administration = permit.operation().is_some_and(|operation| operation.kind == Kind::Administration);
    if !permit.request.limited && !is_administration {
        return Ok(None);
    }
    let demand = Demand {
        sender: permit.sender.unwrap_or_default(),
        recipient,
        caller: caller_key(permit.route, link),
        urgency: urgency(parts),
        now: arrived,
        patience: Patience { max_wait: limiter.patience.max_wait.min(preferred_wait(parts)), ..limiter.patience },
    };
    let ticket = if permit.request.limited { limiter.send(&demand).await? } else { limiter.manage(&demand).await? };
    if let Some(ticket) = &ticket {
        permit.route.metrics.waited(ticket.waited);
    }
    Ok(ticket)
}

/// Whose requests take turns with those of others: a user's, or an address's, on one route.
fn caller_key(route: &Route, link: &Link) -> u64 {
    let mut hasher = DefaultHasher::new();
    route.name.hash(&mut hasher);
    match link.caller() {
        Caller::Tcp(address) => address.ip().hash(&mut hasher),
        Caller::Unix { uid } => uid.hash(&mut hasher),
    }
    hasher.finish()
}

/// `Priority: u=N` (RFC 9218): 0 to 7, the smallest first; 3 where nothing is said.
fn urgency(parts: &Parts) -> u8 {
    let named = parts.headers.get_all(PRIORITY).iter().filter_map(|value| value.to_str().ok());
    let urgencies = named.flat_map(|value| value.split(',')).filter_map(|field| field.trim().strip_prefix("u="));
    urgencies.filter_map(|urgency| urgency.parse().ok()).rfind(|urgency| *urgency <= 7).unwrap_or(3)
}

/// `Prefer: wait=SECONDS` (RFC 7240): what the caller itself would wait.
fn preferred_wait(parts: &Parts) -> Duration {
    let preferences = parts.headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let waits = preferences
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.trim().strip_prefix("wait="));
    waits.filter_map(|seconds| seconds.parse().ok()).map(Duration::from_secs).next().unwrap_or(Duration::MAX)
}

/// What the body is: by its `Content-Type`, unless the request is one for the bytes of a file.
fn form_of(permit: &Permit<'_>, parts: &Parts) -> Form {
    if permit.request.raw { Form::Stream } else { Form::of(&parts.headers) }
}

fn limits(permit: &Permit<'_>, form: Form, now: Instant) -> Limits {
    let media = permit.request.media || form == Form::Stream;
    let (total, head) = if media { (MEDIA_TIME, MEDIA_HEAD_TIME) } else { (JSON_TIME, JSON_HEAD_TIME) };
    Limits { start: now, deadline: now + total, head, progress: body::PROGRESS }
}

/// A method that changes something, once written, has an outcome that nobody here knows.
fn upstream_error(error: UpstreamError, method: &Method) -> OutboundError {
    let written = match &error {
        UpstreamError::TimedOut { written, .. } => *written,
        UpstreamError::Protocol(_) => true,
        _ => false,
    };
    OutboundError::Upstream { error, outcome_unknown: written && !method.is_safe() }
}

/// How the caller reached the route: the scheme of the listener, the `Host` it used, the route's path.
fn origin_of(permit: &Permit<'_>, parts: &Parts) -> String {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("http://{host}{}", permit.route.path)
}

fn report(permit: &Permit<'_>, link: &Link, status: StatusCode, duration: Duration) {
    permit.route.metrics.answered(permit.operation_index, outcome_of(status), duration);
    tracing::debug!(
        route = &*permit.route.name,
        operation = permit.operation().map(|operation| &*operation.name),
        credential = permit.route.credential.fingerprint().map(tracing::field::display),
        caller = %link.caller(),
        status = status.as_u16(),
        duration_ms = millis(duration),
        "request answered"
    );
}

/// Adds to an answer how long its parts took, and how much of the limit is left.
fn describe(response: &mut Response<AnswerBody>, ticket: Option<&Ticket>, queue: Duration, upstream: Duration) {
    let mut text = String::with_capacity(64);
    let millis = |duration: Duration| (duration.as_micros() / 1000, duration.as_micros() % 1000 / 10);
    let ((queue_ms, queue_rest), (upstream_ms, upstream_rest)) = (millis(queue), millis(upstream));
    let mut append = |name, text: &mut String, written: std::fmt::Result| {
        if written.is_ok()
            && let Ok(value) = HeaderValue::from_str(text)
        {
            response.headers_mut().append(name, value);
        }
        text.clear();
    };
    let written = write!(text, "queue;dur={queue_ms}.{queue_rest:02}, upstream;dur={upstream_ms}.{upstream_rest:02}");
    append(SERVER_TIMING, &mut text, written);
    if let Some(ticket) = ticket {
        let scope = ticket.scope.as_str();
        let written = write!(text, "\"{scope}\";r={};t={}", ticket.remaining, whole_seconds(ticket.reset));
        append(RATE_LIMIT, &mut text, written);
        let written = write!(text, "\"{scope}\";q={};w={}", ticket.burst, whole_seconds(ticket.window));
        append(RATE_LIMIT_POLICY, &mut text, written);
    }
}

/// A caller's credential could hide in what is not looked through.
const COMPRESSED: OutboundError = OutboundError::BadRequest {
    message: "the body is JSON or a form and has a Content-Encoding",
    details: "send JSON and forms uncompressed",
};
/// The outcome of a request whose caller did not wait for its answer.
const CALLER_GONE: &str = "caller_gone";
const PRIORITY: HeaderName = HeaderName::from_static("priority");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The longest that an exchange may take, and that the provider may take for the head of its answer.
const JSON_TIME: Duration = Duration::from_secs(60);
const JSON_HEAD_TIME: Duration = Duration::from_secs(30);
const MEDIA_TIME: Duration = Duration::from_secs(300);
const MEDIA_HEAD_TIME: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_request_that_is_given_up_is_counted_by_its_cause() {
        let metrics = Metrics::new();
        let policy = Policy::new(Vec::new());
        let generation = Generation { number: 1, policy, hosts: HashSet::new(), injected: Vec::new() };
        let outbound = Outbound::new(
            Arc::new(ArcSwap::from_pointee(generation)),
            Arc::clone(&metrics),
            Audit::default(),
            mpsc::channel(1).0,
            Arc::default(),
        );
        let link = Link::new(Caller::Unix { uid: 0 });
        let counted = |outcome: &str| {
            let text = metrics.encode().unwrap();
            let line = text.lines().find(|line| line.contains(&format!("outcome=\"{outcome}\"")));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
        };
        let under_way = || UnderWay::new(&outbound, &link, Instant::now());
        under_way().is_answered = true;
        assert_eq!((counted("caller_gone"), counted("internal")), (0, 0));
        drop(under_way());
        assert_eq!((counted("caller_gone"), counted("internal")), (1, 0));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _under_way = under_way();
            assert!(outbound.metrics.encode().is_err(), "a panic on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!((counted("caller_gone"), counted("internal")), (1, 1));
    }
}
