//! From the provider to the application.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{Method, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

pub mod body;
mod challenge;
mod delivery;
pub mod error;
mod event;
mod offences;
mod received;
pub mod sign;
pub mod verify;

pub use delivery::Delivery;

use body::Bounds;
use error::InboundError;
use event::Event;
use offences::{Notice, Offences};
use verify::{Nonces, Verifier};

use crate::credential::Credential;
use crate::limit::Budget;
use crate::listener::{Caller, Link, network_of};
use crate::log::millis;
use crate::metrics::{Metrics, WebhookMetrics};
use crate::room::Room;
use crate::sends::Sends;
use crate::shared::Shared;
use crate::upstream::AnswerBody;

/// The webhooks of one load.
#[derive(Debug)]
pub struct Generation {
    webhooks: Vec<Webhook>,
    by_path: HashMap<String, usize>,
    max_body: u64,
    max_in_flight: u64,
}

/// A webhook, with all that an event at it needs.
#[derive(Debug)]
pub struct Webhook {
    /// Its name.
    pub name: Arc<str>,
    /// Where the provider sends its events; `{token}` stands for a last segment that is a secret.
    pub path: String,
    /// Whose secrets they are checked with.
    pub credential: Arc<Credential>,
    /// Checks them.
    pub verifier: Verifier,
    /// Hands on the genuine ones.
    pub delivery: Delivery,
    /// The limits that messages which come in count against, where the provider counts them.
    pub budgets: Vec<Arc<Budget>>,
    /// The server in which sidecars share what became of messages, if there is one.
    pub shared: Option<Arc<Shared>>,
    /// Its counters.
    pub metrics: WebhookMetrics,
}

/// The inbound listener's handler.
#[derive(Debug)]
pub struct Inbound {
    generation: Arc<ArcSwap<Generation>>,
    metrics: Arc<Metrics>,
    room: Room,
    guesses: Offences<IpAddr>,
    refusals: Offences<IpAddr>,
    failures: Offences<Arc<str>>,
    nonces: Nonces,
    sends: Arc<Sends>,
}

impl Generation {
    /// The webhooks, and the bounds of their bodies in bytes: of one, and of all that are held at a time.
    #[must_use]
    pub fn new(webhooks: Vec<Webhook>, max_body: u64, max_in_flight: u64) -> Self {
        let by_path = webhooks.iter().enumerate().map(|(index, webhook)| (webhook.path.clone(), index)).collect();
        Self { webhooks, by_path, max_body, max_in_flight }
    }

    /// The webhooks.
    #[must_use]
    pub fn webhooks(&self) -> &[Webhook] {
        &self.webhooks
    }

    /// The webhook at a path, with the token that stands in it.
    fn find<'p>(&self, path: &'p str) -> Option<(&Webhook, Option<&'p str>)> {
        if let Some(index) = self.by_path.get(path) {
            return Some((self.webhooks.get(*index)?, None));
        }
        let (before, token) = path.rsplit_once('/')?;
        let index = self.by_path.get(&format!("{before}/{TOKEN}"))?;
        Some((self.webhooks.get(*index)?, Some(token)))
    }
}

impl Inbound {
    /// A handler whose events are judged by what `generation` holds when they arrive.
    #[must_use]
    pub fn new(generation: Arc<ArcSwap<Generation>>, metrics: Arc<Metrics>, sends: Arc<Sends>) -> Self {
        Self {
            generation,
            metrics,
            room: Room::default(),
            guesses: Offences::default(),
            refusals: Offences::default(),
            failures: Offences::default(),
            nonces: Nonces::default(),
            sends,
        }
    }

    /// Answers a provider. Cannot fail; this is the one place where an error becomes an answer, a log
    /// line and a count.
    pub async fn handle(&self, request: Request<Incoming>, link: &Link) -> Response<AnswerBody> {
        let generation = self.generation.load_full();
        let (parts, body) = request.into_parts();
        let arrived = Instant::now();
        let has_body = !body.is_end_stream();
        let found = generation.find(parts.uri.path());
        let result = match found {
            Some((webhook, token)) => self.receive(&generation, webhook, token, &parts, body, link, arrived).await,
            None => Err(InboundError::NoWebhook),
        };
        let webhook = found.map(|(webhook, _)| webhook);
        match result {
            Ok(response) => {
                tracing::debug!(
                    webhook = webhook.map(|webhook| &*webhook.name),
                    caller = %link.caller(),
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
                self.refuse(&error, webhook, link, arrived)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what `handle` found out, each used once")]
    async fn receive(
        &self,
        generation: &Generation,
        webhook: &Webhook,
        token: Option<&str>,
        request: &Parts,
        body: Incoming,
        link: &Link,
        arrived: Instant,
    ) -> Result<Response<AnswerBody>, InboundError> {
        if let Some(secret) = webhook.verifier.challenge().filter(|_| request.method == Method::GET) {
            let answer = challenge::answer(request, &webhook.credential, secret, &self.guesses, address_of(link))?;
            webhook.metrics.answered("challenge");
            return Ok(answer);
        }
        check_head(request, webhook)?;
        let mut check = webhook.verifier.begin(request, token, address_of(link), SystemTime::now())?;
        let bounds = Bounds {
            max_body: generation.max_body,
            max_in_flight: generation.max_in_flight,
            deadline: arrived + BODY_TIME,
        };
        let (body, _held) = body::receive(body, &mut check, &self.room, bounds).await?;
        link.request_is_read();
        let proof = check.finish(&body, &self.nonces, SystemTime::now())?;
        webhook.metrics.secret_used(proof.which.as_str());
        received::take_note(webhook, &self.sends, body.pieces());
        let event = Event::new(&proof, &webhook.name, request, webhook.verifier.public_query(request), body);
        let answer = webhook.delivery.deliver(&event).await.inspect_err(|_| proof.give_back(&self.nonces))?;
        webhook.metrics.delivered();
        Ok(answer)
    }

    fn refuse(
        &self,
        error: &InboundError,
        webhook: Option<&Webhook>,
        link: &Link,
        arrived: Instant,
    ) -> Response<AnswerBody> {
        let slug = error.kind().slug;
        match webhook {
            Some(webhook) => webhook.metrics.answered(slug),
            None => self.metrics.webhook_refused(slug),
        }
        let address = address_of(link).map(network_of);
        let notice = match (error, address, webhook) {
            (InboundError::TooManyGuesses, ..) => Notice::Silence,
            (InboundError::HandshakeRefused, Some(address), _) => self.guesses.count(address),
            (InboundError::ApplicationUnavailable(_) | InboundError::ApplicationRefused(_), _, Some(webhook)) => {
                self.failures.count(Arc::clone(&webhook.name))
            }
            (_, Some(address), _) => self.refusals.count(address),
            (_, None, _) => Notice::Log { unlogged: 0 },
        };
        let response = error.to_response();
        if let Notice::Log { unlogged } = notice {
            tracing::warn!(
                webhook = webhook.map(|webhook| &*webhook.name),
                caller = %link.caller(),
                status = response.status().as_u16(),
                duration_ms = millis(arrived.elapsed()),
                error = slug,
                reason = error.reason(),
                unlogged_before = (unlogged > 0).then_some(unlogged),
                "event refused"
            );
        }
        response
    }
}

/// What is refused by the head alone, whoever signed it.
fn check_head(request: &Parts, webhook: &Webhook) -> Result<(), InboundError> {
    if request.method != Method::POST {
        let allow = if webhook.verifier.challenge().is_some() { "GET, POST" } else { "POST" };
        return Err(InboundError::MethodNotAllowed { allow });
    }
    let headers = &request.headers;
    if headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(InboundError::Coded);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_single = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_single || codings.next().is_some() {
        return Err(InboundError::BadRequest("the Transfer-Encoding is not a single `chunked`"));
    }
    Ok(())
}

fn address_of(link: &Link) -> Option<IpAddr> {
    match link.caller() {
        Caller::Tcp(address) => Some(address.ip()),
        Caller::Unix { .. } => None,
    }
}

/// The last segment of a webhook's path where a token stands in it.
const TOKEN: &str = "{token}";
/// For the whole of a body.
const BODY_TIME: Duration = Duration::from_secs(10);
