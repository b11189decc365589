//! The tries of a request: the second, with other secrets, after the provider refuses the
//! credential.
//!
//! # The rules of a second try
//!
//! A message must never arrive twice, so a request goes out again only after proof that the
//! provider did nothing with the first try:
//!
//! | first try | second try | reason |
//! |---|---|---|
//! | credential refused | with other secrets: newer secrets of a reload, else the previous set | a provider checks the credential before it acts |
//! | credential refused, and the request was signed with a wrong time | with the same secrets | a proof with a wrong time is refused like a proof with a wrong secret |
//! | permission error within ten minutes of a change of secrets, or of a start, unless a second try for the sender and operation has just failed | with the previous set | the new secret may do too little, and a provider checks permissions before it acts |
//! | access token refused that may have ended early | with a new access token | an issuer may end a token before its time |
//! | no access token to be had, without a refusal | with the previous set, if it still has an access token | nothing was sent, and the secrets are not to blame |
//! | nothing written on a reused connection | on another connection, in `Upstream::send` | the upstream has no byte of the request |
//! | credential refused, of a streamed upload, or by a host of media alone | none | the bytes are gone, and the refusal says nothing of other secrets: no alarm, no hold |
//! | any other failure | none | the provider may have acted on the request |
//! | every set of secrets refused | with secrets that come within the hold, in `hold.rs` | the refusals prove that nothing was done |
//!
//! A streamed body goes out once: the bytes are gone. Tries end: `send` makes at most two rounds
//! and one more for each new secret within the hold, and each round at most two tries of
//! [`Exchange::send_with`]. The deadline of the exchange covers all tries together.

use std::sync::Arc;

use tokio::time::Instant;

use super::body::{BodyKind, RequestBody};
use super::error::OutboundError;
use super::exchange::{Exchange, exchange_times};
use super::generation::Generation;
use super::hold::{self, HeldTurn, HoldEnd};
use crate::credential::{
    AccessTokenError, FallbackReason, ProbedSecrets, RequestSubject, SecretSet,
};
use crate::provider::Meaning;
use crate::trace::SpanKind;
use crate::upstream::{Answer, ExchangeTimes};

/// A first try that the provider, or the issuer of access tokens, refused.
struct RefusedTry<'s> {
    /// The refused secrets.
    secrets: SecretSet<'s>,
    refusal: Result<Answer, AccessTokenError>,
    /// The body, if it can go out again.
    body: Option<RequestBody>,
    times: ExchangeTimes,
    /// The end of the wait for new secrets.
    hold_end: Instant,
    /// True if a new secret may just have ended the refused one.
    may_be_superseded: bool,
    /// The number of requests that the provider had accepted before the refusal.
    accepted_before: u64,
}

/// A try with the body of a request that waits in the hold.
struct HeldTry<'s> {
    /// The secrets that the provider refused last.
    secrets: SecretSet<'s>,
    body: RequestBody,
    times: ExchangeTimes,
    /// The end of the wait for new secrets.
    until: Instant,
    /// The number of requests that the provider had accepted before the refusal.
    accepted_before: u64,
}

/// The answer of a try that was not refused, with its meaning; `None` if no try went out, or every
/// try was refused.
type AcceptedAnswer<'p> = Option<(Answer, Meaning<'p>)>;

impl RefusedTry<'_> {
    fn copy_of_body(&self) -> Option<RequestBody> {
        self.body.as_ref().and_then(RequestBody::copy)
    }

    /// The next try, with a body that can go out again, in the hold.
    fn held(&self, body: RequestBody) -> HeldTry<'_> {
        HeldTry {
            secrets: self.secrets,
            body,
            times: self.times,
            until: self.hold_end,
            accepted_before: self.accepted_before,
        }
    }

    /// The refusal, as the application gets it.
    fn answer<'p>(self) -> Result<(Answer, Meaning<'p>), OutboundError> {
        match self.refusal {
            Ok(answer) => Ok((answer, Meaning::CredentialRefused)),
            Err(error) => Err(OutboundError::NoToken(error)),
        }
    }

    /// True if the request was signed with a wrong time, so that the secrets may be good.
    fn clock_was_wrong(&self) -> bool {
        self.refusal
            .as_ref()
            .is_ok_and(|answer| answer.clock_was_wrong)
    }
}

impl Exchange<'_> {
    /// Sends the request, and once more after a refused credential. Secrets that the provider then
    /// accepts are sent with all requests until the next reload. While the provider refuses every
    /// secret, the request waits in the hold.
    ///
    /// # Errors
    /// The fault of the upstream, or of the application's body.
    pub(super) async fn send(
        &self,
        body: RequestBody,
        start: Instant,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let media = self.context.generation.media;
        let at_start = exchange_times(self.permit, body.form(), media, start);
        let in_use = self.permit.route.credential.in_use();
        // A request that goes out at the end of the hold needs time for its answer.
        let latest = at_start.deadline.checked_sub(at_start.head);
        let hold_end = latest
            .unwrap_or(start)
            .min(start + in_use.credential().max_hold);
        let live = match self.pass_hold(in_use, body.kind(), start, hold_end).await {
            Some(HoldEnd::Refused(answer)) => return Ok((answer, Meaning::CredentialRefused)),
            Some(HoldEnd::Send(live)) => Some(live),
            None => None,
        };
        let newer = live.as_deref().and_then(|live| live.newer_than(in_use));
        let secrets = newer.unwrap_or(in_use);
        let times = match &live {
            Some(_) => at_start.from_now(),
            None => at_start,
        };
        let again = body.copy();
        // The second tries are boxed: few requests have one, and hyper moves the state of every
        // request, however little of it is used.
        let refusal = match self.send_with(secrets, body, times).await {
            Ok((answer, Meaning::CredentialRefused)) => Ok(answer),
            Ok((answer, Meaning::Forbidden)) => {
                return Box::pin(self.send_as_before(secrets, again, answer, times)).await;
            }
            Err(OutboundError::NoToken(error)) if error.is_refusal => Err(error),
            Err(OutboundError::NoToken(error)) => {
                let with_remaining = self.send_with_remaining_token(secrets, again, error, times);
                return Box::pin(with_remaining).await;
            }
            other => return other,
        };
        let refused = RefusedTry {
            may_be_superseded: self.may_be_superseded(secrets),
            secrets,
            refusal,
            body: again,
            times,
            hold_end,
            accepted_before: secrets.credential().hold().accepted(),
        };
        Box::pin(self.send_after_refusal(refused)).await
    }

    /// Waits while the hold is closed, in a span.
    async fn pass_hold(
        &self,
        in_use: SecretSet<'_>,
        body: BodyKind,
        start: Instant,
        until: Instant,
    ) -> Option<HoldEnd> {
        let mut span = self.span.child(CREDENTIAL, SpanKind::Internal);
        let end = self.hold.pass(in_use, body, start, until).await;
        if matches!(end, Some(HoldEnd::Refused(_))) {
            span.fail(REFUSED);
        }
        span.end();
        end
    }

    /// Sends again after a refusal: with other secrets at hand, and else with secrets that come
    /// within the hold. The application gets the refusal if every set of secrets is refused, or the
    /// body cannot go out again.
    ///
    /// A refusal that proves nothing about the secrets at hand concerns its own request alone: no
    /// alarm is raised, and no other request is held.
    async fn send_after_refusal(
        &self,
        mut refused: RefusedTry<'_>,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        if let Some(accepted) = self.try_secrets_at_hand(&refused).await? {
            return Ok(accepted);
        }
        if !self.blames_every_secret(&refused).await {
            return refused.answer();
        }
        // After a swap the new secret is on its way, and an alarm comes only if it does not arrive.
        if refused.may_be_superseded
            && Instant::now() < refused.hold_end
            && let Some(body) = refused.copy_of_body()
            && let Some(accepted) = self.try_in_hold(refused.held(body)).await?
        {
            return Ok(accepted);
        }
        self.report_refusal(refused.secrets);
        if let Some(accepted) = self.try_in_closed_hold(&mut refused).await? {
            return Ok(accepted);
        }
        refused.answer()
    }

    /// True if the refusal means that the provider takes none of the secrets at hand. A streamed
    /// upload goes out once, so other secrets, or the right time, may be good; and a host of media
    /// alone may refuse one object.
    async fn blames_every_secret(&self, refused: &RefusedTry<'_>) -> bool {
        let route = self.permit.route;
        if !Arc::ptr_eq(self.permit.upstream(), &route.upstream) {
            return false;
        }
        if refused.body.is_some() {
            return true;
        }
        let live = self.live_with_others(refused.secrets).await;
        !refused.clock_was_wrong() && other(&live, refused.secrets).is_none()
    }

    /// Tries the refused secrets with the right time, or else other secrets that are at hand.
    async fn try_secrets_at_hand(
        &self,
        refused: &RefusedTry<'_>,
    ) -> Result<AcceptedAnswer<'_>, OutboundError> {
        let Some(body) = refused.copy_of_body() else {
            return Ok(None);
        };
        let secrets = refused.secrets;
        let times = refused.times;
        if refused.clock_was_wrong() {
            return self.try_secrets(secrets, secrets, body, times).await;
        }
        let live = self.live_with_others(secrets).await;
        match other(&live, secrets) {
            Some(other) => self.try_secrets(other, secrets, body, times).await,
            None => Ok(None),
        }
    }

    /// The generation in which to look for other secrets than the refused ones.
    async fn live_with_others(&self, refused: SecretSet<'_>) -> Arc<Generation> {
        let live = self.hold.live.load_full();
        if other(&live, refused).is_some() {
            return live;
        }
        // A new secret may be at its source already: one look, without a further wait.
        self.hold.look_once().await
    }

    /// Closes the hold, and waits there with the other requests. After a swap, the wait is over
    /// already.
    async fn try_in_closed_hold(
        &self,
        refused: &mut RefusedTry<'_>,
    ) -> Result<AcceptedAnswer<'_>, OutboundError> {
        let secrets = refused.secrets;
        if secrets.credential().max_hold.is_zero() {
            return Ok(None);
        }
        if let Ok(answer) = &mut refused.refusal {
            hold::close(secrets, answer).await;
        }
        match refused.body.take().filter(|_| !refused.may_be_superseded) {
            Some(body) => self.try_in_hold(refused.held(body)).await,
            None => Ok(None),
        }
    }

    /// Waits for newer secrets than the refused ones, or for the provider to accept them after all,
    /// and sends again. A newer secret may be refused as well, and the next one be good.
    async fn try_in_hold(&self, held: HeldTry<'_>) -> Result<AcceptedAnswer<'_>, OutboundError> {
        let Some(turn) = self.wait_in_hold(&held).await else {
            return Ok(None);
        };
        let HeldTry {
            secrets,
            body,
            times,
            until,
            ..
        } = held;
        let copy = body.copy();
        let newer = turn.live.newer_than(secrets);
        let next = newer.unwrap_or_else(|| secrets.credential().in_use());
        let alternative = match turn.secrets {
            ProbedSecrets::Others if newer.is_none() => next.credential().alternative_to(next),
            ProbedSecrets::Others | ProbedSecrets::InUse => None,
        };
        let sent = alternative.unwrap_or(next);
        let accepted = self.try_secrets(sent, secrets, body, times).await?;
        match copy {
            // A call of its own, and no loop: the next secrets may be those of the generation of
            // this turn, which lives until the call returns.
            Some(body) if accepted.is_none() && Instant::now() < until => {
                let next_try = HeldTry {
                    secrets: next,
                    body,
                    times,
                    until,
                    accepted_before: secrets.credential().hold().accepted(),
                };
                Box::pin(self.try_in_hold(next_try)).await
            }
            _ => Ok(accepted),
        }
    }

    /// Waits in the hold for a turn, in a span; `None` if the wait ends without a turn.
    async fn wait_in_hold(&self, held: &HeldTry<'_>) -> Option<HeldTurn> {
        let mut span = self.span.child(CREDENTIAL, SpanKind::Internal);
        let turn = self
            .hold
            .wait_after_refusal(held.secrets, held.accepted_before, held.until)
            .await;
        if turn.is_none() {
            span.fail(REFUSED);
        }
        span.end();
        turn
    }

    /// Sends with `secrets` after a refusal of others, and keeps to them if the provider accepts
    /// them.
    async fn try_secrets(
        &self,
        secrets: SecretSet<'_>,
        refused: SecretSet<'_>,
        body: RequestBody,
        times: ExchangeTimes,
    ) -> Result<AcceptedAnswer<'_>, OutboundError> {
        match self.send_with(secrets, body, times.from_now()).await {
            Ok((_, Meaning::CredentialRefused)) | Err(OutboundError::NoToken(_)) => Ok(None),
            Ok(accepted) => {
                // A server error proves nothing about the secrets.
                if !accepted.0.status.is_server_error() {
                    self.adopt(secrets, refused, FallbackReason::Refused);
                }
                Ok(Some(accepted))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends with the set that was just replaced, after a permission error for its successor: the
    /// new secret may be allowed too little. If the replaced set gets the same error, no secret is
    /// to blame.
    async fn send_as_before(
        &self,
        sent: SecretSet<'_>,
        body: Option<RequestBody>,
        answer: Answer,
        times: ExchangeTimes,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let credential = &self.permit.route.credential;
        let subject = RequestSubject {
            operation: self.permit.operation.name.clone(),
            path: self.permit.path.to_owned(),
            sender: self.permit.sender.map(str::to_owned),
        };
        let predecessor = credential.predecessor_of(sent, &subject, Instant::now());
        // A body that cannot go out again proves nothing about the predecessor.
        let Some((predecessor, body)) = predecessor.zip(body) else {
            return Ok((answer, Meaning::Forbidden));
        };
        match self.send_with(predecessor, body, times.from_now()).await? {
            (_, Meaning::Forbidden | Meaning::CredentialRefused) => {
                credential.forbidden().note(subject, Instant::now());
                Ok((answer, Meaning::Forbidden))
            }
            accepted => {
                self.adopt(predecessor, sent, FallbackReason::TooLittle);
                credential.acceptance().note_too_little();
                Ok(accepted)
            }
        }
    }

    /// Sends with the other set of secrets if it still has an access token. The current set could
    /// not get a token, and was not refused, so no alarm is raised.
    async fn send_with_remaining_token(
        &self,
        sent: SecretSet<'_>,
        body: Option<RequestBody>,
        error: AccessTokenError,
        times: ExchangeTimes,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let other = sent
            .credential()
            .alternative_to(sent)
            .filter(|other| other.has_access_token());
        match other.zip(body) {
            Some((other, body)) => self.send_with(other, body, times.from_now()).await,
            None => Err(error.into()),
        }
    }

    /// True if a new secret may just have ended the refused secret: the provider keeps one secret
    /// alive, and this secret was accepted until now. The new secret is then on the way to Keyside,
    /// and the previous secret is dead as well, so waiting is right and an alarm is not.
    fn may_be_superseded(&self, sent: SecretSet<'_>) -> bool {
        let lives_alone = self
            .permit
            .provider()
            .live_secrets
            .is_some_and(|count| count.get() == 1);
        lives_alone && !sent.is_previous() && !sent.credential().acceptance().is_refused()
    }
}

/// The span of the choice of secrets, with the wait for other secrets.
const CREDENTIAL: &str = "credential";
/// The class of a wait that no other secret has ended.
const REFUSED: &str = "credential_refused";

/// The secrets for a second try: newer secrets of a reload, else the previous set.
fn other<'s>(live: &'s Generation, sent: SecretSet<'s>) -> Option<SecretSet<'s>> {
    live.newer_than(sent)
        .or_else(|| sent.credential().alternative_to(sent))
}
