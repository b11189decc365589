//! The exchange of a request and its answer, with a second try after the provider refuses the credential.
//!
//! # The rules of a second try
//!
//! A message must never arrive twice, so a request goes out again only after proof that the provider
//! did nothing with the first try:
//!
//! | first try | second try | reason |
//! |---|---|---|
//! | credential refused | with other secrets: newer secrets of a reload, else the previous set | a provider checks the credential before it acts |
//! | credential refused, and the request was signed with a wrong time | with the same secrets | a proof with a wrong time is refused like a proof with a wrong secret |
//! | permission error within ten minutes of a change of secrets, for an operation that had none before | with the previous set | the new secret may do too little, and a provider checks permissions before it acts |
//! | access token refused that may have ended early | with a new access token | an issuer may end a token before its time |
//! | no access token to be had, without a refusal | with the previous set, if it still has an access token | nothing was sent, and the secrets are not to blame |
//! | nothing written on a reused connection | on another connection, in `Upstream::send` | the upstream has no byte of the request |
//! | any other failure | none | the provider may have acted on the request |
//! | every set of secrets refused | with secrets that come within the hold, in `hold.rs` | the refusals prove that nothing was done |
//!
//! A streamed body goes out once: the bytes are gone. Tries end: `send` makes at most two rounds and one more for each new
//! secret within the hold, and each round at most two tries. The deadline of the exchange covers all tries together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http::request::Parts;
use http_body::Body;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::body::{Form, MAX_STREAM, PROGRESS, RequestBody};
use super::error::OutboundError;
use super::generation::Generation;
use super::hold::{self, Hold, HoldEnd};
use super::inject;
use super::policy::Permit;
use super::text;
use crate::audit::Audit;
use crate::credential::{AccessTokenError, SecretSet, access_token};
use crate::memory::MemoryBudget;
use crate::provider::Meaning;
use crate::upstream::{Answer, Limits, OutgoingBody};

/// The context of one request's exchanges.
pub(super) struct Exchange<'a> {
    pub(super) permit: &'a Permit<'a>,
    pub(super) request: &'a Parts,
    /// The wait for new secrets.
    pub(super) hold: Hold<'a>,
    /// The audit file, for refused secrets.
    pub(super) audit: &'a Audit,
    /// Every header that any provider injects.
    pub(super) injected: &'a [HeaderName],
    /// The budget of the bodies that are held in memory.
    pub(super) memory: &'a Arc<MemoryBudget>,
}

impl Exchange<'_> {
    /// Sends the request, and once more after a refused credential. Secrets that the provider then
    /// accepts are sent with all requests until the next reload. While the provider refuses every secret,
    /// the request waits in the hold.
    ///
    /// # Errors
    /// The fault of the upstream, or of the application's body.
    pub(super) async fn send(
        &self,
        body: RequestBody,
        start: Instant,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let limits = limits(self.permit, body.form(), start);
        let in_use = self.permit.route.credential.in_use();
        let until = start + in_use.credential().max_hold;
        let live = match self.hold.pass(in_use, body.form(), until).await {
            Some(HoldEnd::Refused(answer)) => return Ok((answer, Meaning::CredentialRefused)),
            Some(HoldEnd::Send(live)) => Some(live),
            None => None,
        };
        let held = live.as_deref().and_then(|live| live.newer_than(in_use));
        let sent = held.unwrap_or(in_use);
        let again = body.copy();
        let mut refused = match self.send_with(sent, body, limits).await {
            Ok((answer, Meaning::CredentialRefused)) => Ok(answer),
            Ok((answer, Meaning::Forbidden)) => {
                return self.send_as_before(sent, again, answer, limits).await;
            }
            Err(OutboundError::NoToken(error)) if error.is_refusal => Err(error),
            Err(OutboundError::NoToken(error)) => {
                return self
                    .send_with_remaining_token(sent, again, error, limits)
                    .await;
            }
            other => return other,
        };
        match self
            .send_after_refusal(sent, &mut refused, again, until, limits)
            .await?
        {
            Some(taken) => Ok(taken),
            None => refused
                .map(|answer| (answer, Meaning::CredentialRefused))
                .map_err(OutboundError::NoToken),
        }
    }

    /// Sends again after a refusal: with other secrets at hand, and else with secrets that come within the hold.
    /// Returns `None` if every set of secrets is refused, or the body cannot go out again.
    async fn send_after_refusal(
        &self,
        sent: SecretSet<'_>,
        refused: &mut Result<Answer, AccessTokenError>,
        again: Option<RequestBody>,
        until: Instant,
        limits: Limits,
    ) -> Result<Option<(Answer, Meaning<'_>)>, OutboundError> {
        let clock_was_wrong = refused.as_ref().is_ok_and(|answer| answer.clock_was_wrong);
        let is_swap = self.is_swap(sent);
        let copy = || again.as_ref().and_then(RequestBody::copy);
        if let Some(body) = copy() {
            let live = self.others_at_hand(sent, clock_was_wrong).await;
            let other = if clock_was_wrong {
                Some(sent)
            } else {
                other(&live, sent)
            };
            if let Some(other) = other
                && let Some(taken) = self.try_others(other, sent, body, limits).await?
            {
                return Ok(Some(taken));
            }
        }
        // After a swap the new secret is on its way, and an alarm comes only if it does not arrive.
        if is_swap
            && Instant::now() < until
            && let Some(body) = copy()
            && let Some(taken) = self.try_in_hold(sent, body, until, limits).await?
        {
            return Ok(Some(taken));
        }
        self.report_refusal(sent);
        if sent.credential().max_hold.is_zero() {
            return Ok(None);
        }
        if let Ok(answer) = refused {
            hold::close(sent, answer).await;
        }
        match again.filter(|_| !is_swap) {
            Some(body) => self.try_in_hold(sent, body, until, limits).await,
            None => Ok(None),
        }
    }

    /// Returns the generation with other secrets than the refused ones. Where none are at hand, the sources are looked at
    /// once.
    async fn others_at_hand(&self, sent: SecretSet<'_>, clock_was_wrong: bool) -> Arc<Generation> {
        let live = self.hold.live.load_full();
        if clock_was_wrong || other(&live, sent).is_some() {
            return live;
        }
        self.hold.wait_for_newer(sent, Instant::now()).await
    }

    /// Waits for newer secrets than the refused ones, until `until` at most, and sends with them. A newer secret may be
    /// refused as well, and the next one be good.
    async fn try_in_hold(
        &self,
        refused: SecretSet<'_>,
        body: RequestBody,
        until: Instant,
        limits: Limits,
    ) -> Result<Option<(Answer, Meaning<'_>)>, OutboundError> {
        let hold = refused.credential().hold();
        let was_closed = hold.refusal().is_some();
        let copy = body.copy();
        let live = self.hold.wait_for_newer(refused, until).await;
        let others = match live.newer_than(refused) {
            Some(newer) => newer,
            // The provider accepts the secret after all.
            None if was_closed && hold.refusal().is_none() => refused,
            None => return Ok(None),
        };
        match (self.try_others(others, refused, body, limits).await?, copy) {
            (None, Some(body)) if Instant::now() < until => {
                Box::pin(self.try_in_hold(others, body, until, limits)).await
            }
            (taken, _) => Ok(taken),
        }
    }

    /// Sends with other secrets than the refused ones. Returns `None` if the others are refused as well.
    async fn try_others(
        &self,
        others: SecretSet<'_>,
        refused: SecretSet<'_>,
        body: RequestBody,
        limits: Limits,
    ) -> Result<Option<(Answer, Meaning<'_>)>, OutboundError> {
        match self.send_with(others, body, limits).await {
            Ok((_, Meaning::CredentialRefused)) | Err(OutboundError::NoToken(_)) => Ok(None),
            Ok(taken) => {
                self.adopt(others, refused, "the provider refuses the secret");
                Ok(Some(taken))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends with the set that was just replaced, after a permission error for its successor: the new secret may be
    /// allowed too little. If the replaced set gets the same error, no secret is to blame.
    async fn send_as_before(
        &self,
        sent: SecretSet<'_>,
        body: Option<RequestBody>,
        answer: Answer,
        limits: Limits,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let credential = &self.permit.route.credential;
        let operation = &self.permit.operation.name;
        let now = Instant::now();
        let predecessor = credential.predecessor_of(sent, operation, now);
        let Some((predecessor, body)) = predecessor.zip(body) else {
            credential.forbidden().note(operation, now);
            return Ok((answer, Meaning::Forbidden));
        };
        match self.send_with(predecessor, body, limits).await? {
            (_, Meaning::Forbidden | Meaning::CredentialRefused) => {
                credential.forbidden().note(operation, now);
                Ok((answer, Meaning::Forbidden))
            }
            taken => {
                self.adopt(predecessor, sent, "the secret may do too little");
                credential.acceptance().note_too_little();
                Ok(taken)
            }
        }
    }

    /// Sends with the other set of secrets if it still has an access token. The current set could not
    /// get a token, and was not refused, so no alarm is raised.
    async fn send_with_remaining_token(
        &self,
        sent: SecretSet<'_>,
        body: Option<RequestBody>,
        error: AccessTokenError,
        limits: Limits,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let other = sent
            .credential()
            .alternative_to(sent)
            .filter(|other| other.has_access_token());
        match other.zip(body) {
            Some((other, body)) => self.send_with(other, body, limits).await,
            None => Err(error.into()),
        }
    }

    /// Sends with one set of secrets, exchanged for an access token if the request takes a token. A
    /// refused token may have ended early: the request then goes out with a new token. A
    /// stream cannot go out again; the next request uses the new token.
    async fn send_with(
        &self,
        sent: SecretSet<'_>,
        body: RequestBody,
        limits: Limits,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        if !inject::takes_access_token(self.permit) {
            return self.send_once(sent, body, limits).await;
        }
        let issuer = self.permit.route.issuer();
        let issued = access_token(sent, issuer, None).await?;
        let again = body.copy();
        let (answer, meaning) = self
            .send_once(sent.with_access_token(issued.as_deref()), body, limits)
            .await?;
        let ended = issued.filter(|issued| {
            issued.may_have_ended() && matches!(meaning, Meaning::CredentialRefused)
        });
        let Some(ended) = ended else {
            return Ok((answer, meaning));
        };
        match (access_token(sent, issuer, Some(&ended)).await, again) {
            (Ok(new), Some(again)) => {
                self.send_once(sent.with_access_token(new.as_deref()), again, limits)
                    .await
            }
            (Err(_), _) | (_, None) => Ok((answer, meaning)),
        }
    }

    /// Sends the request once, and reads the meaning of the answer.
    async fn send_once(
        &self,
        sent: SecretSet<'_>,
        body: RequestBody,
        limits: Limits,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let body = match body {
            RequestBody::Whole { form, body } => {
                inject::edit_body(self.permit, sent, form, body).await?
            }
            RequestBody::Stream { form, body, reader } => {
                // Refuses a stream if the credential has its only place in the body.
                inject::edit_body(self.permit, sent, form, Bytes::new()).await?;
                OutgoingBody::Stream {
                    length: body.size_hint().exact(),
                    body,
                    limit: MAX_STREAM,
                    reader,
                }
            }
        };
        // A body with a secret in it is a copy of the body that was received.
        let _copy = match &body {
            OutgoingBody::Secret(text) => Some(self.memory.take(text.len())),
            OutgoingBody::Whole(_) | OutgoingBody::Pieces(_) | OutgoingBody::Stream { .. } => None,
        };
        let clock = self.permit.upstream().read_clock();
        let outgoing =
            inject::compose(self.permit, sent, self.request, self.injected, clock, body)?;
        let failed = |error| OutboundError::upstream(error, &self.request.method);
        let mut answer = self
            .permit
            .upstream()
            .send(outgoing, limits, self.hold.written)
            .await
            .map_err(failed)?;
        if self.permit.passes_callers_credential() {
            return Ok((answer, Meaning::Other));
        }
        let meaning = text::meaning(&mut answer, self.permit.provider(), self.memory)
            .await
            .map_err(failed)?;
        let standing = sent.credential().acceptance();
        if matches!(meaning, Meaning::CredentialRefused) {
            // A proof or a minted token with a wrong time is refused like one with a wrong secret; the refusal names
            // the right time for the next try.
            let date = self.permit.upstream().learn_time(&answer.headers);
            answer.clock_was_wrong = clock.was_wrong(date);
        } else {
            sent.credential().hold().open();
            if standing.is_refused() {
                sent.note_accepted();
            }
        }
        if let Some(class) = meaning.class() {
            self.permit.route.metrics.upstream_error(class);
        }
        if matches!(meaning, Meaning::Policy) && standing.note_objection() {
            let (route, credential) = (&*self.permit.route.name, &sent.credential().name);
            let status = answer.status.as_u16();
            tracing::warn!(
                route,
                credential,
                status,
                "the provider objects to what is sent with this account: look at its dashboard"
            );
        }
        Ok((answer, meaning))
    }

    /// Raises the alarm for a refused set of secrets, once until a set is accepted again.
    fn report_refusal(&self, sent: SecretSet<'_>) {
        if sent.credential().acceptance().note_refusal() {
            let (credential, fingerprint) = (&sent.credential().name, shown(sent));
            let fields = [
                ("credential", credential.as_str().into()),
                ("fingerprint", fingerprint.as_str().into()),
            ];
            self.audit.record("secret refused", fields);
            tracing::error!(
                credential,
                fingerprint,
                "the provider refuses the credential: put a new secret in its place"
            );
            // The reloader asks the provider for the reason.
            self.hold.lookups.try_send(oneshot::channel().0).ok();
        }
    }

    /// True if a new secret may just have ended the refused secret: the provider keeps one secret
    /// alive, and this secret was accepted until now. The new secret is then on the way to Keyside, and
    /// the previous secret is dead as well, so waiting is right and an alarm is not.
    fn is_swap(&self, sent: SecretSet<'_>) -> bool {
        let lives_alone = self
            .permit
            .provider()
            .live_secrets
            .is_some_and(|count| count.get() == 1);
        lives_alone && !sent.is_previous() && !sent.credential().acceptance().is_refused()
    }

    /// Sends with the accepted secrets from now on, and reports the change, with the reason.
    fn adopt(&self, taken: SecretSet<'_>, refused: SecretSet<'_>, reason: &'static str) {
        if !taken.note_accepted() {
            return;
        }
        let credential = &taken.credential().name;
        let (taken_instead, refused) = (shown(taken), shown(refused));
        if taken.is_previous() {
            let fields = [
                ("credential", credential.as_str().into()),
                ("fingerprint", taken_instead.as_str().into()),
                ("refused", refused.as_str().into()),
                ("reason", reason.into()),
            ];
            self.audit.record("fallback", fields);
            self.permit.route.metrics.rotated(credential, FELL_BACK);
            tracing::error!(
                credential,
                refused,
                taken_instead,
                reason,
                "the provider refuses the new secret: sending with the one before until the next reload"
            );
        } else {
            tracing::warn!(
                credential,
                refused,
                taken_instead,
                "the provider takes the new secret after all"
            );
        }
    }
}

/// The times that bound one exchange that begins at `start`.
pub(super) fn limits(permit: &Permit<'_>, form: Form, start: Instant) -> Limits {
    let is_media = permit.request.media || form.is_streamed();
    let (total, head) = if is_media {
        (MEDIA_TIMEOUT, MEDIA_HEAD_TIMEOUT)
    } else {
        (JSON_TIMEOUT, JSON_HEAD_TIMEOUT)
    };
    Limits {
        start,
        deadline: start + total,
        head,
        progress: PROGRESS,
    }
}

/// The fingerprint of a set's first secret; empty without a first secret.
fn shown(sent: SecretSet<'_>) -> String {
    sent.fingerprint()
        .map(|fingerprint| fingerprint.to_string())
        .unwrap_or_default()
}

/// The secrets for a second try: newer secrets of a reload, else the previous set.
fn other<'s>(live: &'s Generation, sent: SecretSet<'s>) -> Option<SecretSet<'s>> {
    live.newer_than(sent)
        .or_else(|| sent.credential().alternative_to(sent))
}

/// Longest exchange of JSON or a form: Graph answers within seconds, and clients seldom wait longer.
const JSON_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the head of an answer to JSON or a form.
const JSON_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest exchange of media: 100 MB at 3 Mbit/s.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest wait for the head of an answer to media, which providers scan before they answer.
const MEDIA_HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// The result, in the metric of rotations, of a rotation that was taken back.
const FELL_BACK: &str = "fell_back";
