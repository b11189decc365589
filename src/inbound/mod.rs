//! Webhooks: from the provider to the application.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use futures_util::future::join;
use http::request::Parts;
use http::{Method, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub mod body;
mod challenge;
mod delivery;
pub mod error;
mod event;
pub mod forgery;
mod generation;
pub mod metrics;
mod offences;
pub mod probe;
mod received;
mod recent;
mod refusal;
mod rhythm;
pub mod sign;
mod spans;
mod store;
pub mod stray;
pub mod verify;

pub use delivery::{DirectDelivery, EventAnswer};
pub use generation::{Generation, Onward, WebhookEndpoint};

use body::{Body, BodyBounds};
use error::InboundError;
use event::Event;
use forgery::Forgery;
use metrics::InboundMetrics;
use probe::ProbeMark;
use recent::Recent;
use refusal::{RefusedRequest, Refuser};
use store::{Stored, store};
use verify::{Check, Freshness, Nonces, Proof, Verifier};

use crate::beat::{next_beat_of_traffic, stir};
use crate::headers::read_as;
use crate::listener::{DrainEnd, Link};
use crate::memory::{MemoryBudget, SMALL};
use crate::sends::Sends;
use crate::sends::metrics::SendMetrics;
use crate::spool::{Spool, SpoolRefusal};
use crate::trace::{Span, SpanKind, Tracer};
use crate::traffic::Outcome;
use crate::units::millis;
use crate::upstream::AnswerBody;

/// The handler of the inbound listener.
#[derive(Debug)]
pub struct Inbound {
    generation: Arc<ArcSwap<Generation>>,
    metrics: InboundMetrics,
    memory: Arc<MemoryBudget>,
    /// The turn of events that are gone through as a whole, which takes a copy of the event: one at
    /// a time.
    turn: Arc<Semaphore>,
    refuser: Refuser,
    nonces: Arc<Nonces>,
    sends: Arc<Sends>,
    /// The items of events that were delivered directly.
    recent: Arc<Recent>,
    /// The store of events that wait on disk, if the configuration has one.
    spool: Option<Arc<Spool>>,
    tracer: Tracer,
    drain_end: Arc<DrainEnd>,
}

/// A request at a webhook, with everything known before the body is read.
struct WebhookRequest<'a> {
    endpoint: &'a Arc<WebhookEndpoint>,
    /// The last segment of the path, decoded, for a webhook with a token in the path.
    token: Option<Cow<'a, str>>,
    head: &'a Parts,
    link: &'a Link,
    bounds: BodyBounds,
    arrived: Instant,
}

impl Inbound {
    /// Returns a handler that judges each event by the generation at the event's arrival.
    #[must_use]
    pub fn new(
        generation: Arc<ArcSwap<Generation>>,
        metrics: InboundMetrics,
        sends: Arc<Sends>,
        memory: Arc<MemoryBudget>,
        nonces: Arc<Nonces>,
        spool: Option<Arc<Spool>>,
        tracer: Tracer,
    ) -> Self {
        Self {
            generation,
            refuser: Refuser::new(metrics.clone()),
            metrics,
            memory,
            turn: Arc::new(Semaphore::new(1)),
            nonces,
            sends,
            recent: Arc::default(),
            spool,
            tracer,
            drain_end: Arc::default(),
        }
    }

    /// The handler with the end of a drain, at which each request under way is answered.
    #[must_use]
    pub fn until(self, drain_end: Arc<DrainEnd>) -> Self {
        Self { drain_end, ..self }
    }

    /// Returns true if a webhook has this path.
    #[must_use]
    pub fn has_webhook(&self, path: &str) -> bool {
        self.generation.load().find(path).is_some()
    }

    /// Looks from time to time for webhooks without events and for sent messages without a status,
    /// until the end.
    pub async fn watch(self: Arc<Self>, sends: SendMetrics) {
        loop {
            next_beat_of_traffic(WATCH_INTERVAL).await;
            self.metrics.begin_look();
            for endpoint in self.generation.load_full().endpoints() {
                endpoint.metrics.check_rhythm(Instant::now());
            }
            sends.set(&self.sends.overdue());
        }
    }

    /// Answers a provider. Cannot fail: an error becomes an answer, a log line and a count here,
    /// and nowhere else.
    pub async fn handle(&self, request: Request<Incoming>, link: &Link) -> Response<AnswerBody> {
        // load_full, not load: a guard held across an await would pin a slot of the swap.
        let generation = self.generation.load_full();
        let (head, body) = request.into_parts();
        let arrived = Instant::now();
        stir(arrived);
        let has_body = !body.is_end_stream();
        let found = generation.find(head.uri.path());
        let endpoint = found.as_ref().map(|(endpoint, _)| Arc::as_ref(endpoint));
        let result = match found {
            Some((endpoint, token)) => {
                let bounds = BodyBounds {
                    max_body: generation.max_body,
                    deadline: arrived + BODY_TIMEOUT,
                };
                let request = WebhookRequest {
                    endpoint,
                    token,
                    head: &head,
                    link,
                    bounds,
                    arrived,
                };
                self.receive_in_time(&request, body).await
            }
            None => Err(InboundError::NoWebhook),
        };
        if let Some(endpoint) = endpoint.filter(|_| head.method == Method::POST) {
            let now = Instant::now();
            endpoint
                .metrics
                .remember(outcome(&result), now - arrived, now);
        }
        match result {
            Ok(response) => {
                tracing::debug!(
                    webhook = endpoint.map(|endpoint| &*endpoint.name),
                    caller = link.caller(),
                    status = response.status().as_u16(),
                    duration_ms = millis(arrived.elapsed()),
                    "event answered"
                );
                response
            }
            Err(error) => {
                if has_body {
                    link.body_unread();
                }
                let refused = RefusedRequest {
                    generation: &generation,
                    endpoint,
                    path: head.uri.path(),
                    link,
                    arrived,
                };
                self.refuser.refuse(&error, &refused)
            }
        }
    }

    /// Receives a request until the end of a drain.
    async fn receive_in_time(
        &self,
        request: &WebhookRequest<'_>,
        body: Incoming,
    ) -> Result<Response<AnswerBody>, InboundError> {
        tokio::select! {
            biased;
            result = self.receive(request, body) => result,
            () = self.drain_end.come() => Err(InboundError::Draining),
        }
    }

    /// Answers a handshake; checks and delivers an event.
    async fn receive(
        &self,
        request: &WebhookRequest<'_>,
        body: Incoming,
    ) -> Result<Response<AnswerBody>, InboundError> {
        let endpoint = request.endpoint;
        if let Some(secret) = endpoint.verifier.challenge()
            && request.head.method == Method::GET
        {
            return self.answer_challenge(request, secret);
        }
        check_head(request.head, endpoint)?;
        let (proof, body) = self.check(request, body).await?;
        if let Some(mark) = ProbeMark::of(&body) {
            endpoint.metrics.answered("probe");
            return Ok(probe::answer(&mark, &endpoint.name));
        }
        endpoint.metrics.secret_used(proof.which);
        endpoint.credential.note_match(proof.which);
        if self.is_accepted_already(endpoint, &proof)? {
            endpoint.metrics.answered("repeated");
            return Ok(delivery::accepted());
        }
        endpoint.metrics.seen(Instant::now(), SystemTime::now());
        let query = endpoint.verifier.public_query(request.head);
        let event = Event::new(&proof, &endpoint.name, request.head, query, body);
        let span = spans::of_event(&self.tracer, endpoint, &event, request.arrived);
        let handed_on = self.hand_on(endpoint, &event, &span).await;
        spans::end(span, &handed_on);
        let answer = handed_on?;
        proof.spend(&self.nonces, SystemTime::now());
        Ok(answer)
    }

    /// Answers the handshake by which a provider checks the owner of a webhook.
    fn answer_challenge(
        &self,
        request: &WebhookRequest<'_>,
        secret: &str,
    ) -> Result<Response<AnswerBody>, InboundError> {
        let endpoint = request.endpoint;
        let guesses = &self.refuser.guesses;
        let address = request.link.caller_address();
        let answer =
            challenge::answer(request.head, &endpoint.credential, secret, guesses, address)?;
        endpoint.metrics.answered("challenge");
        Ok(answer)
    }

    /// Checks the signature of an event, and returns the proof with the body. What the headers
    /// alone refuse costs no byte of the body.
    async fn check(
        &self,
        request: &WebhookRequest<'_>,
        body: Incoming,
    ) -> Result<(Proof, Body), InboundError> {
        let endpoint = request.endpoint;
        let now = SystemTime::now();
        let begin = |verifier: &Verifier| {
            let token = request.token.as_deref();
            let address = request.link.caller_address();
            verifier.begin(request.head, &endpoint.path, token, address, now)
        };
        let mut check = begin(&endpoint.verifier)?;
        let bounds = BodyBounds {
            max_body: request.bounds.max_body.min(check.max_body()),
            ..request.bounds
        };
        let body = body::receive(body, bounds, &self.memory, |piece| check.update(piece)).await?;
        request.link.request_is_read();
        match self.prove(check, &body).await {
            Ok(proof) => Ok((proof, body)),
            Err(wrong) => Err(self.refuser.diagnosed(wrong, endpoint, &body, begin)),
        }
    }

    /// Returns true for the repeat of an event that the application has accepted: the provider has
    /// not seen the answer.
    ///
    /// # Errors
    /// A nonce of a different event; and a repeat at a webhook whose provider gets the
    /// application's own answer, which is not kept.
    fn is_accepted_already(
        &self,
        endpoint: &WebhookEndpoint,
        proof: &Proof,
    ) -> Result<bool, InboundError> {
        match proof.freshness(&self.nonces, SystemTime::now()) {
            Freshness::New => Ok(false),
            Freshness::Repeated if !endpoint.replies() => Ok(true),
            Freshness::Repeated | Freshness::Reused => {
                Err(InboundError::Forged(Forgery::NonceReused))
            }
        }
    }

    /// Hands an event to the application, or to the disk.
    async fn hand_on(
        &self,
        endpoint: &Arc<WebhookEndpoint>,
        event: &Event<'_>,
        span: &Span,
    ) -> Result<Response<AnswerBody>, InboundError> {
        match &endpoint.onward {
            Onward::Direct(delivery) => {
                let body = &event.body;
                let (sends, recent) = (&self.sends, &self.recent);
                let noted = received::take_note(endpoint, sends, recent, body, &self.turn);
                let delivered = delivery.deliver(event, &endpoint.headers, &self.memory, span);
                let ((), answer) = join(noted, delivered).await;
                if answer.is_ok() {
                    endpoint.metrics.delivered();
                }
                answer
            }
            Onward::Spooled => {
                let span = span.child("store", SpanKind::Producer);
                let stored = self.store(endpoint, event).await;
                spans::end_store(span, event, &stored);
                stored.map(|_| delivery::accepted())
            }
        }
    }

    /// Puts an event on disk. Items already on disk stay as they are.
    async fn store(
        &self,
        endpoint: &Arc<WebhookEndpoint>,
        event: &Event<'_>,
    ) -> Result<Stored, InboundError> {
        let spool = self
            .spool
            .as_ref()
            .ok_or(InboundError::NotStored(SpoolRefusal::Closed))?;
        let name = &endpoint.name;
        let headers = &endpoint.headers;
        let forms = &endpoint.forms;
        let stored = store(spool, name, event, headers, forms, &self.turn).await?;
        endpoint.metrics.repeated(stored.known as u64);
        if stored.new.is_empty() {
            endpoint.metrics.answered("repeated");
        } else {
            if stored.is_wanted {
                endpoint.metrics.stored();
            } else {
                endpoint.metrics.answered("unwanted");
                tracing::debug!(
                    webhook = &**name,
                    event = %event.id,
                    "no destination wants the event: `fields` or `senders` of each leave it out"
                );
            }
            let items = &stored.new;
            received::take_note_of(endpoint, &self.sends, items, &event.body, &self.turn).await;
        }
        Ok(stored)
    }

    /// Ends the check of an event. A check that goes through a large body again runs on a blocking
    /// thread: on the thread of requests the check would hold up all requests.
    async fn prove(&self, check: Check, body: &Body) -> Result<Proof, InboundError> {
        let proof = if !check.reads_body() || body.len() <= SMALL {
            check.finish(body)
        } else {
            let _turn = self.turn.acquire().await;
            let body = body.clone();
            tokio::task::spawn_blocking(move || check.finish(&body))
                .await
                .unwrap_or(Err(InboundError::Overloaded))
        };
        proof.map_err(|error| probe::told_apart(error, body))
    }
}

/// Returns the outcome of an event for the plots: an event is refused for what it is, and fails for
/// want of a receiver.
fn outcome(result: &Result<Response<AnswerBody>, InboundError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Passed,
        Err(error) if error.kind().status.is_server_error() => Outcome::Failed,
        Err(_) => Outcome::Refused,
    }
}

/// Refuses a request by its head alone, before any signature is looked at.
fn check_head(head: &Parts, endpoint: &WebhookEndpoint) -> Result<(), InboundError> {
    let takes_get = endpoint.verifier.takes_get();
    if head.method != Method::POST && !(takes_get && head.method == Method::GET) {
        let allow = match endpoint.verifier.challenge() {
            Some(_) => "GET, POST",
            None if takes_get => "GET, POST",
            None => "POST",
        };
        return Err(InboundError::MethodNotAllowed { allow });
    }
    let has_content_coding = head
        .headers
        .iter()
        .filter(|(name, _)| *read_as(name) == header::CONTENT_ENCODING)
        .any(|(_, coding)| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if has_content_coding {
        return Err(InboundError::ContentCoding);
    }
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = codings
        .next()
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_chunked || codings.next().is_some() {
        return Err(InboundError::TransferCoding);
    }
    Ok(())
}

/// The time for the whole body: 3 MB at 3 Mbit/s, far slower than a provider sends. The text of
/// [`InboundError::BodyTimedOut`] names the time.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval between two looks for what should have come: a sixth of the shortest silence that
/// is told.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);
