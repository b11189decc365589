//! The turn of a request: waiting at the limits of the route, then sending.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};
use tokio::time::Instant;

use super::body::RequestBody;
use super::contents::Contents;
use super::context::RequestContext;
use super::error::OutboundError;
use super::exchange::Exchange;
use super::learn;
use super::limit_headers::{RATE_LIMIT, RATE_LIMIT_POLICY, Terse};
use super::policy::{LimitSubject, Permit, Route};
use super::report::RequestReport;
use crate::headers::whole_number;
use crate::limit::{Demand, Limited, Patience, Ticket};
use crate::listener::{Link, Peer};
use crate::provider::Meaning;
use crate::trace::SpanKind;
use crate::upstream::{Answer, AnswerBody};

/// The provider's answer to a request that had the turn.
pub(super) struct TurnAnswer {
    pub(super) answer: Answer,
    pub(super) turn: Turn,
    pub(super) effect: ProviderEffect,
}

/// The effect of a request at the provider, as far as the answer proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderEffect {
    /// None: the provider throttled the request, and may take the same request later.
    Throttled,
    /// None: the provider refused the credential, or its rights.
    Refused,
    /// Unknown: the provider may have acted.
    Possible,
}

impl ProviderEffect {
    fn of(meaning: &Meaning<'_>) -> Self {
        match meaning {
            Meaning::Throttled(_) => Self::Throttled,
            Meaning::CredentialRefused | Meaning::Forbidden => Self::Refused,
            Meaning::Temporary | Meaning::Policy | Meaning::Other => Self::Possible,
        }
    }
}

/// The turn on which a request left.
pub(super) struct Turn {
    ticket: Ticket,
    sent_at: Instant,
}

/// Waits for a turn and sends. If the route has `retry = "throttled"`, a message that the provider
/// throttled, and therefore did not take, waits for another turn for as long as the patience lasts,
/// and as long as the application has not hung up.
///
/// # Errors
/// 429 without a turn in time; else the failure of the exchange.
pub(super) async fn send_in_turn(
    exchange: &Exchange<'_>,
    mut body: RequestBody,
    contents: &Contents,
    report: &RequestReport<'_>,
) -> Result<TurnAnswer, OutboundError> {
    let subject = subject_of(exchange.permit, contents);
    let until = retries_until(exchange);
    let link = exchange.context.link;
    let mut throttled: Option<TurnAnswer> = None;
    body.kind().waits(link);
    loop {
        let ticket = match wait_in_span(exchange, &subject, contents, report).await {
            Ok(ticket) => ticket,
            // No second turn in time: the application gets the provider's own throttle.
            Err(limited) => return throttled.ok_or(OutboundError::RateLimited(limited)),
        };
        body.kind().goes_on(link);
        let copy = until.and_then(|_| body.copy());
        let sent = try_once(exchange, body, ticket, &subject, contents).await?;
        match copy {
            Some(copy) if may_wait_again(sent.effect, until, Instant::now()) => {
                begin_wait(exchange.context).await;
                body = copy;
                throttled = Some(sent);
            }
            _ => return Ok(sent),
        }
    }
}

/// Sends the request on its turn, and learns from the answer.
async fn try_once(
    exchange: &Exchange<'_>,
    body: RequestBody,
    ticket: Ticket,
    subject: &LimitSubject<'_>,
    contents: &Contents,
) -> Result<TurnAnswer, OutboundError> {
    let permit = exchange.permit;
    let sent_at = Instant::now();
    let (answer, meaning) = exchange.send(body, sent_at).await?;
    let recipients = &contents.recipients;
    permit
        .route
        .limiter
        .message_answered(&ticket, answer.arrived);
    learn::learn(&answer.headers, &meaning, permit, subject, recipients);
    Ok(TurnAnswer {
        effect: ProviderEffect::of(&meaning),
        answer,
        turn: Turn { ticket, sent_at },
    })
}

/// True if a message may wait for another turn: the provider throttled it, and the time of the
/// retries is not over, even if turns are had without a wait.
fn may_wait_again(effect: ProviderEffect, until: Option<Instant>, now: Instant) -> bool {
    effect == ProviderEffect::Throttled && until.is_some_and(|until| now < until)
}

/// Waits for a turn, in a span of the trace.
async fn wait_in_span(
    exchange: &Exchange<'_>,
    subject: &LimitSubject<'_>,
    contents: &Contents,
    report: &RequestReport<'_>,
) -> Result<Ticket, Limited> {
    let mut span = exchange.span.child("queue", SpanKind::Internal);
    let ticket = wait(exchange, subject, contents, report).await;
    if let Err(limited) = &ticket {
        span.text("keyside.limit", limited.scope.as_str());
        span.fail("rate_limited");
    }
    span.end();
    ticket
}

/// Marks a throttled message as waiting for its next turn.
async fn begin_wait(context: &RequestContext<'_>) {
    // An application that hangs up while the message waits for the next turn is gone, as before the
    // first turn. The yield lets the connection notice the end.
    context.link.request_waits();
    tokio::task::yield_now().await;
    // A throttled message was written, and the throttle proves that it was not taken.
    context.written.store(false, Ordering::Relaxed);
}

/// The subject of the limits that a request meets. A receipt waits for none: a pause of messages
/// must not leave a customer's message unread.
fn subject_of<'a>(permit: &Permit<'a>, contents: &Contents) -> LimitSubject<'a> {
    if contents.is_receipt {
        LimitSubject::Unlimited
    } else {
        permit.limit_subject()
    }
}

/// The end of the retries of a message on a route with `retry = "throttled"`; `None` for any other
/// request.
fn retries_until(exchange: &Exchange<'_>) -> Option<Instant> {
    let permit = exchange.permit;
    let retries = permit.route.limiter.retries && permit.request.limited;
    let context = exchange.context;
    retries.then(|| context.arrived + patience(permit, context.request).max_wait)
}

/// Bounds of the wait: those of the route, shortened by the application's `Prefer: wait`.
fn patience(permit: &Permit<'_>, request: &Parts) -> Patience {
    let of_route = permit.route.limiter.patience;
    Patience {
        max_wait: of_route.max_wait.min(preferred_wait(request)),
        ..of_route
    }
}

/// Waits at the limits of the request's subject.
async fn wait(
    exchange: &Exchange<'_>,
    subject: &LimitSubject<'_>,
    contents: &Contents,
    report: &RequestReport<'_>,
) -> Result<Ticket, Limited> {
    let permit = exchange.permit;
    let context = exchange.context;
    let request = context.request;
    let limiter = &permit.route.limiter;
    let demand = Demand {
        sender: permit.counted_sender(),
        recipients: &contents.recipients,
        messages: contents.messages.max(1),
        metering: permit.request.metering,
        application: application_key(permit.route, context.link),
        urgency: urgency(request),
        arrived: context.arrived,
        patience: patience(permit, request),
    };
    let ticket = match subject {
        LimitSubject::Message => limiter.send(&demand).await?,
        LimitSubject::Administration(object) => {
            // A throttle of this request alone pauses less than a throttle of the object.
            let key = permit.request_key();
            limiter.objects.pass(&key, &demand).await?;
            if permit.is_counted(&request.method) {
                limiter.manage(object, &demand).await?
            } else {
                limiter.objects.pass(object, &demand).await?
            }
        }
        LimitSubject::Operation(key) => limiter.objects.pass(key, &demand).await?,
        LimitSubject::Unlimited => Ticket::default(),
    };
    if ticket.allowance.is_some() || !ticket.waited.is_zero() {
        report.waited(&ticket);
    }
    Ok(ticket)
}

/// The application among which turns are shared fairly: one user or one address on one route.
fn application_key(route: &Route, link: &Link) -> u64 {
    let name = fnv(FNV_BASIS, route.name.as_bytes());
    // No name has this byte.
    let name = fnv(name, &[0xff]);
    match link.peer() {
        Peer::Tcp(address) => match address.ip() {
            IpAddr::V4(address) => fnv(name, &address.octets()),
            IpAddr::V6(address) => fnv(name, &address.octets()),
        },
        Peer::Unix { uid } => fnv(name, &uid.to_ne_bytes()),
    }
}

/// FNV-1a, for short keys that no caller chooses: <https://datatracker.ietf.org/doc/html/rfc9923>.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

/// `Priority: u=N` (RFC 9218): 0 to 7, smaller numbers first; 3 without the header.
fn urgency(request: &Parts) -> u8 {
    let values = request.headers.get_all(PRIORITY).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|field| field.trim().strip_prefix("u="))
        .filter_map(|urgency| urgency.parse().ok())
        .rfind(|urgency| *urgency <= 7)
        .unwrap_or(3)
}

/// `Prefer: wait=SECONDS` (RFC 7240): the longest wait that the application itself accepts. The
/// name has any case, the value may stand in quotation marks, and blanks around `=`.
fn preferred_wait(request: &Parts) -> Duration {
    let values = request.headers.get_all(PREFER).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .find_map(|(_, value)| whole_number(unquoted(value.trim())))
        .map_or(Duration::MAX, Duration::from_secs)
}

/// Returns a word without the quotation marks around it.
fn unquoted(word: &str) -> &str {
    let inner = word
        .strip_prefix('"')
        .and_then(|word| word.strip_suffix('"'));
    inner.unwrap_or(word)
}

impl Turn {
    /// Adds to an answer the time in the queue and at the upstream, and the rest of the limit.
    pub(super) fn describe(&self, response: &mut Response<AnswerBody>, answered: Instant) {
        let headers = response.headers_mut();
        let mut append = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                headers.append(name, value);
            }
        };
        let mut text = Terse::default();
        text.text("queue;dur=").milliseconds(self.ticket.waited);
        let upstream = answered.saturating_duration_since(self.sent_at);
        text.text(", upstream;dur=").milliseconds(upstream);
        append(SERVER_TIMING, text.take());
        let Some(allowance) = &self.ticket.allowance else {
            return;
        };
        let scope = allowance.scope.as_str();
        text.limit(scope, allowance.remaining, allowance.reset);
        append(RATE_LIMIT, text.take());
        text.policy(scope, allowance.burst, allowance.window);
        append(RATE_LIMIT_POLICY, text.take());
    }
}

/// The offset basis of FNV with 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
/// The prime of FNV with 64 bits.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
const PRIORITY: HeaderName = HeaderName::from_static("priority");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(name: &str, values: &[&str]) -> Parts {
        let mut request = Request::builder();
        for value in values {
            request = request.header(name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_throttled_message_waits_again_and_only_in_time() {
        let now = Instant::now();
        let later = now + Duration::from_millis(1);
        for (effect, until, expected) in [
            (ProviderEffect::Throttled, Some(later), true),
            (ProviderEffect::Throttled, Some(now), false),
            (ProviderEffect::Throttled, None, false),
            (ProviderEffect::Refused, Some(later), false),
            (ProviderEffect::Possible, Some(later), false),
        ] {
            let waits = may_wait_again(effect, until, now);
            assert_eq!(waits, expected, "{effect:?} {until:?}");
        }
    }

    #[test]
    fn the_last_valid_urgency_counts_and_3_stands_for_none() {
        for (values, expected) in [
            (&[][..], 3),
            (&["u=0"], 0),
            (&["i, u=7"], 7),
            (&["u=8"], 3),
            (&["u=1", "u=2"], 2),
            (&["u=1, u=9"], 1),
            (&["u=x"], 3),
        ] {
            assert_eq!(
                urgency(&request("priority", values)),
                expected,
                "{values:?}"
            );
        }
    }

    #[test]
    fn an_application_may_shorten_its_wait() {
        for (values, expected) in [
            (&[][..], Duration::MAX),
            (&["wait=0"], Duration::ZERO),
            (&["respond-async; wait=5"], Duration::from_secs(5)),
            (&["wait=x, wait=7"], Duration::from_secs(7)),
            (&["wait=-1"], Duration::MAX),
            (&["WAIT=0"], Duration::ZERO),
            (&["wait = 0"], Duration::ZERO),
            (&["respond-async, Wait=\"3\""], Duration::from_secs(3)),
            (
                &["wait=99999999999999999999"],
                Duration::from_secs(u64::MAX),
            ),
            (&["await=0"], Duration::MAX),
        ] {
            let found = preferred_wait(&request("prefer", values));
            assert_eq!(found, expected, "{values:?}");
        }
    }
}
