//! Refused requests at webhooks: the answer, the count and the log line of an error, and the cause
//! of a wrong signature.

use std::net::IpAddr;
use std::sync::Arc;

use http::Response;
use tokio::time::Instant;

use super::body::Body;
use super::error::InboundError;
use super::forgery::Forgery;
use super::generation::{Generation, WebhookEndpoint};
use super::metrics::InboundMetrics;
use super::offences::{Notice, Offences};
use super::verify::{Check, Verifier};
use crate::listener::{Link, network_of};
use crate::spool::SpoolRefusal;
use crate::units::millis;
use crate::upstream::AnswerBody;

/// The place where every error of a webhook becomes an answer, a count and a log line. Offences are
/// counted, so that a flood of refused requests does not become a flood of lines.
#[derive(Debug)]
pub(super) struct Refuser {
    metrics: InboundMetrics,
    /// The wrong handshakes of each address.
    pub(super) guesses: Offences<IpAddr>,
    /// The refused requests of each address.
    requests: Offences<IpAddr>,
    /// The requests for paths without a webhook, of all addresses together.
    strays: Offences<()>,
    /// The failed deliveries of each webhook.
    failures: Offences<Arc<str>>,
    /// The events of all webhooks together that the spool did not take, for each reason.
    unstored: Offences<SpoolRefusal>,
    /// The wrong signatures of each webhook with a look for the cause.
    diagnoses: Offences<Arc<str>>,
}

/// A request to refuse.
pub(super) struct RefusedRequest<'a> {
    pub(super) generation: &'a Generation,
    /// The webhook; `None` for a path without a webhook.
    pub(super) endpoint: Option<&'a WebhookEndpoint>,
    pub(super) path: &'a str,
    pub(super) link: &'a Link,
    /// Time of arrival.
    pub(super) arrived: Instant,
}

impl Refuser {
    /// A refuser that has counted nothing yet.
    pub(super) fn new(metrics: InboundMetrics) -> Self {
        Self {
            metrics,
            guesses: Offences::default(),
            requests: Offences::default(),
            strays: Offences::default(),
            failures: Offences::default(),
            unstored: Offences::default(),
            diagnoses: Offences::default(),
        }
    }

    /// Counts and logs an error, and returns the answer.
    pub(super) fn refuse(
        &self,
        error: &InboundError,
        request: &RefusedRequest<'_>,
    ) -> Response<AnswerBody> {
        let endpoint = request.endpoint;
        if let (InboundError::Forged(Forgery::SignatureWrong), Some(endpoint)) = (error, endpoint) {
            endpoint.credential.last_forgery().note();
        }
        let slug = error.kind().slug;
        match endpoint {
            Some(endpoint) => endpoint.metrics.answered(slug),
            None => self.metrics.refused(slug),
        }
        let response = error.to_response();
        if let Notice::Log { unlogged } = self.count(error, endpoint, request.link) {
            let message = if error.is_of_destination() {
                // The application failed here, not the sender: a line of its own, for the
                // application's operator.
                "event not delivered"
            } else {
                "event refused"
            };
            // The log shows the path of a stray request alone, and not as it is: see `stray`.
            let stray = || request.generation.shown(request.path);
            tracing::warn!(
                webhook = endpoint.map(|endpoint| &*endpoint.name),
                caller = request.link.caller(),
                status = response.status().as_u16(),
                duration_ms = millis(request.arrived.elapsed()),
                error = slug,
                reason = error.reason(),
                path = endpoint.is_none().then(stray),
                unlogged_before = (unlogged > 0).then_some(unlogged),
                "{message}"
            );
        }
        response
    }

    /// Counts an error against the webhook if the application is at fault, and otherwise against
    /// the client's address.
    fn count(
        &self,
        error: &InboundError,
        endpoint: Option<&WebhookEndpoint>,
        link: &Link,
    ) -> Notice {
        let now = Instant::now();
        let address = link.caller_address().map(network_of);
        match (error, address, endpoint) {
            (InboundError::TooManyGuesses, ..) => Notice::Silence,
            // Anybody on the Internet can ask for any path, from any number of addresses.
            (InboundError::NoWebhook, ..) => self.strays.count((), now),
            (InboundError::WrongVerifyToken, Some(address), _) => self.guesses.count(address, now),
            (InboundError::NotStored(refusal), ..) if refusal.is_of_all_webhooks() => {
                self.unstored.count(*refusal, now)
            }
            (error, _, Some(endpoint)) if error.is_of_destination() => {
                self.failures.count(Arc::clone(&endpoint.name), now)
            }
            (_, Some(address), _) => self.requests.count(address, now),
            (_, None, _) => Notice::Log { unlogged: 0 },
        }
    }

    /// Returns the error for a check that failed: for a wrong signature with the cause, as far as
    /// the event shows a cause. `begin` begins the check of the request.
    pub(super) fn diagnosed(
        &self,
        error: InboundError,
        endpoint: &WebhookEndpoint,
        body: &Body,
        begin: impl Fn(&Verifier) -> Result<Check, InboundError>,
    ) -> InboundError {
        let is_wrong = matches!(error, InboundError::Forged(Forgery::SignatureWrong));
        // A flood of forgeries is not worth a look at each.
        let is_looked_at = || {
            let webhook = Arc::clone(&endpoint.name);
            let notice = self.diagnoses.count(webhook, Instant::now());
            matches!(notice, Notice::Log { .. })
        };
        if is_wrong && is_looked_at() && endpoint.verifier.is_reencoded(body, begin) {
            InboundError::Forged(Forgery::Reencoded)
        } else {
            error
        }
    }
}
