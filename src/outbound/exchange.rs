//! The exchange of a request and its answer: one try, with one set of secrets.
//! [`super::second_try`] decides on a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use tokio::time::Instant;

use super::body::{Form, PROGRESS, RequestBody};
use super::context::RequestContext;
use super::error::OutboundError;
use super::failure;
use super::generation::MediaBounds;
use super::hold::HeldRequest;
use super::inject;
use super::policy::Permit;
use super::spans;
use super::text;
use crate::audit::Audit;
use crate::credential::{AccessTokenError, IssuedToken, SecretSet, access_token};
use crate::memory::MemoryBudget;
use crate::provider::Meaning;
use crate::trace::{Span, SpanKind};
use crate::traffic::Failure;
use crate::upstream::{Answer, ExchangeTimes, OutgoingBody};

/// The context of one request's exchanges.
pub(super) struct Exchange<'a> {
    pub(super) permit: &'a Permit<'a>,
    pub(super) context: &'a RequestContext<'a>,
    /// The wait for new secrets.
    pub(super) hold: HeldRequest<'a>,
    /// The audit file, for refused secrets.
    pub(super) audit: &'a Audit,
    /// The budget of the bodies that are held in memory.
    pub(super) memory: &'a Arc<MemoryBudget>,
    /// The span of the request.
    pub(super) span: &'a Span,
    /// The number of times that the request went out.
    pub(super) attempts: AtomicU32,
}

impl Exchange<'_> {
    /// Sends with one set of secrets, exchanged for an access token if the request takes a token.
    pub(super) async fn send_with(
        &self,
        sent: SecretSet<'_>,
        body: RequestBody,
        times: ExchangeTimes,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        if !inject::takes_access_token(self.permit, sent) {
            return self.send_once(sent, body, times).await;
        }
        // Boxed: the exchange with an issuer would be part of the state of every request.
        Box::pin(self.send_with_token(sent, body, times)).await
    }

    /// Sends with an access token. A refused token may have ended early: the request then goes out
    /// with a new token. A stream cannot go out again; the next request uses the new token.
    async fn send_with_token(
        &self,
        sent: SecretSet<'_>,
        body: RequestBody,
        times: ExchangeTimes,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let issued = self.access_token(sent, None).await?;
        let again = body.copy();
        let with_token = sent.with_access_token(issued.as_deref());
        let (answer, meaning) = self.send_once(with_token, body, times.from_now()).await?;
        let ended = issued.filter(|issued| {
            issued.may_have_ended() && matches!(meaning, Meaning::CredentialRefused)
        });
        let Some(ended) = ended else {
            return Ok((answer, meaning));
        };
        match (self.access_token(sent, Some(&ended)).await, again) {
            (Ok(new), Some(again)) => {
                let with_token = sent.with_access_token(new.as_deref());
                self.send_once(with_token, again, times.from_now()).await
            }
            (Err(_), _) | (_, None) => Ok((answer, meaning)),
        }
    }

    /// Gets an access token for the secrets, in a span of its own.
    async fn access_token(
        &self,
        sent: SecretSet<'_>,
        refused: Option<&IssuedToken>,
    ) -> Result<Option<Arc<IssuedToken>>, AccessTokenError> {
        let mut span = self.span.child("access token", SpanKind::Internal);
        let issued = access_token(sent, self.permit.route.issuer(), refused).await;
        if issued.is_err() {
            span.fail("credential_unavailable");
        }
        span.end();
        issued
    }

    /// Sends the request once, and reads the meaning of the answer, in a span of its own.
    async fn send_once(
        &self,
        sent: SecretSet<'_>,
        body: RequestBody,
        times: ExchangeTimes,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let earlier = self.attempts.fetch_add(1, Ordering::Relaxed);
        let span = spans::attempt(
            self.span,
            self.permit,
            sent,
            &self.context.request.method,
            earlier,
        );
        let result = self.attempt(sent, body, times).await;
        spans::end_attempt(span, &result);
        result
    }

    async fn attempt(
        &self,
        sent: SecretSet<'_>,
        body: RequestBody,
        times: ExchangeTimes,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let body = self.outgoing_body(sent, body).await?;
        // A body with a secret in it is a copy of the body that was received.
        let _copy = match &body {
            OutgoingBody::Secret(text) => Some(self.memory.take(text.len())),
            OutgoingBody::Whole(_) | OutgoingBody::Pieces(_) | OutgoingBody::Stream { .. } => None,
        };
        let clock = self.permit.upstream().read_clock_at(times.start);
        let outgoing = inject::compose(
            self.permit,
            sent,
            self.context.request,
            &self.context.generation.injected,
            clock,
            body,
        )?;
        let failed = |error| OutboundError::upstream(error, &self.context.request.method);
        let mut answer = self
            .permit
            .upstream()
            .send(outgoing, times, &self.context.written)
            .await
            .map_err(failed)?;
        if self.permit.passes_callers_credential() {
            return Ok((answer, Meaning::Other));
        }
        let (meaning, error) = text::meaning(&mut answer, self.permit.provider(), self.memory)
            .await
            .map_err(failed)?;
        if matches!(meaning, Meaning::CredentialRefused) {
            // A proof or a minted token with a wrong time is refused like one with a wrong secret;
            // the refusal names the right time for the next try.
            let date = self.permit.upstream().learn_time(&answer.headers);
            answer.clock_was_wrong = clock.was_wrong(date);
        }
        answer.failure = failure::of_answer(answer.status, &meaning, error, sent.credential());
        self.count_failure(answer.failure.as_deref());
        if answer.status.is_success() && answer.failure.is_none() && !sent.is_previous() {
            sent.credential().last_success().note_at(answer.arrived);
        }
        self.note_meaning(sent, &meaning, answer.status);
        Ok((answer, meaning))
    }

    /// Puts the secrets into a body, where the provider wants them there.
    async fn outgoing_body(
        &self,
        sent: SecretSet<'_>,
        body: RequestBody,
    ) -> Result<OutgoingBody, OutboundError> {
        match body {
            RequestBody::Whole { form, body } => {
                inject::edit_body(self.permit, sent, form, body).await
            }
            RequestBody::Stream { form, body, reader } => {
                // Refuses a stream if the credential has its only place in the body.
                inject::edit_body(self.permit, sent, form, Bytes::new()).await?;
                Ok(OutgoingBody::Stream {
                    length: body.size_hint().exact(),
                    body,
                    limit: self.context.generation.media.max_upload,
                    reader,
                    is_whole: self.context.link.body_is_whole(),
                })
            }
        }
    }

    /// Counts a failure by class and by the provider's own code.
    fn count_failure(&self, failure: Option<&Failure>) {
        if let Some(failure) = failure {
            let code = failure.code.as_deref();
            let label = code.map_or("", |code| self.permit.provider().errors.label(code));
            let metrics = &self.permit.route.metrics;
            metrics.upstream_error(failure.class.as_str(), label);
        }
    }

    /// Takes note of what an answer says about the credential.
    fn note_meaning(&self, sent: SecretSet<'_>, meaning: &Meaning<'_>, status: StatusCode) {
        let acceptance = sent.credential().acceptance();
        // A server error may come before the provider has looked at the credential.
        if !matches!(meaning, Meaning::CredentialRefused) && !status.is_server_error() {
            sent.credential().hold().open();
            // A set other than the one in use until now is noted, and reported, by `adopt`.
            if acceptance.is_refused() && sent.is_previous() == acceptance.fell_back() {
                sent.note_accepted();
            }
        }
    }
}

/// The times that bound one exchange that begins at `start`.
pub(super) fn exchange_times(
    permit: &Permit<'_>,
    form: Form,
    media: MediaBounds,
    start: Instant,
) -> ExchangeTimes {
    let is_media = permit.request.media || form.is_streamed();
    let (total, head) = if is_media {
        (media.timeout, media.timeout * 2 / 5)
    } else {
        (JSON_TIMEOUT, JSON_HEAD_TIMEOUT)
    };
    ExchangeTimes {
        start,
        deadline: start + total,
        head,
        progress: PROGRESS,
    }
}

/// Longest exchange of JSON or a form: Graph answers within seconds, and clients seldom wait
/// longer.
const JSON_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the head of an answer to JSON or a form: half of [`JSON_TIMEOUT`], which leaves
/// the other half for the body.
const JSON_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
