//! A request and its answer, with what to do when the provider refuses the credential.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderName;
use http::request::Parts;
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::body::{Form, MAX_STREAM};
use super::error::OutboundError;
use super::inject::{self, Length};
use super::policy::Permit;
use super::{Generation, LookAgain, answer, upstream_error};
use crate::audit::Audit;
use crate::credential::{NoToken, Sent, access_token};
use crate::provider::Meaning;
use crate::upstream::{Answer, Limits, OutgoingBody};

/// The body of a request, before any secret goes into it.
pub(super) enum Taken {
    /// All of it, so that it can be sent again.
    Whole {
        /// What it is.
        form: Form,
        /// Its bytes; perhaps none.
        body: Bytes,
    },
    /// As it comes from the caller.
    Stream(Incoming),
}

impl Taken {
    /// What it is.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Whole { form, .. } => *form,
            Self::Stream(_) => Form::Stream,
        }
    }

    /// The same once more, where it is at hand.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Whole { form, body } => Some(Self::Whole { form: *form, body: body.clone() }),
            Self::Stream(_) => None,
        }
    }
}

/// What is needed to send a request.
pub(super) struct Exchange<'a> {
    pub(super) permit: &'a Permit<'a>,
    pub(super) parts: &'a Parts,
    /// What is live by now, which may be newer than what the request began with.
    pub(super) live: &'a ArcSwap<Generation>,
    /// Who looks for new secrets.
    pub(super) look: &'a LookAgain,
    /// Where it is recorded that a secret is refused.
    pub(super) audit: &'a Audit,
    /// Every header that any provider injects.
    pub(super) injected: &'a [HeaderName],
    pub(super) limits: Limits,
    /// Becomes true when the upstream may have something of it.
    pub(super) written: &'a AtomicBool,
}

impl Exchange<'_> {
    /// Sends the request. Where the provider refuses the credential, which proves that it did nothing else, the request
    /// goes out once more: with the secrets that a reload has brought meanwhile, or with those that were sent before the
    /// last one, or with the same where the time in it was wrong. If it takes these, all requests go out with them until the
    /// next reload.
    ///
    /// # Errors
    /// What the upstream, or the caller's own body, did wrong.
    pub(super) async fn send(&self, body: Taken) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let sent = self.permit.route.credential.sent();
        let again = body.again();
        let refused = match self.send_with(sent, body).await {
            Ok((answer, Meaning::CredentialRefused)) => Ok(answer),
            Err(OutboundError::NoToken(error)) if error.is_refusal => Err(error),
            Err(OutboundError::NoToken(error)) => return self.send_with_a_token_at_hand(sent, again, error).await,
            other => return other,
        };
        // A proof that was made with the wrong time is refused as one of the wrong secret.
        let clock_was_off = refused.as_ref().is_ok_and(|answer| self.permit.upstream().learn_time(&answer.headers));
        let mut live = self.live.load_full();
        let is_swap = self.is_swap(sent);
        if !clock_was_off && again.is_some() && (is_swap || other(&live, sent).is_none()) {
            live = self.look_for_newer(sent, is_swap).await;
        }
        let other = if clock_was_off { Some(sent) } else { other(&live, sent) };
        if let (Some(other), Some(body)) = (other, again) {
            match self.send_with(other, body).await {
                Ok((_, Meaning::CredentialRefused)) | Err(OutboundError::NoToken(_)) => {}
                Ok(taken) => {
                    self.take_to(other, sent);
                    return Ok(taken);
                }
                Err(error) => return Err(error),
            }
        }
        self.tell_of_refusal(sent);
        refused.map(|answer| (answer, Meaning::CredentialRefused)).map_err(OutboundError::NoToken)
    }

    /// With a set of secrets that has an access token still, where those of now cannot get one: nothing is wrong with them.
    async fn send_with_a_token_at_hand(
        &self,
        sent: Sent<'_>,
        body: Option<Taken>,
        error: NoToken,
    ) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let other = sent.credential().instead_of(sent).filter(|other| other.has_access_token());
        match other.zip(body) {
            Some((other, body)) => self.send_with(other, body).await,
            None => Err(error.into()),
        }
    }

    /// With an access token where the request takes one. One that is refused may have ended before its time, and then the
    /// request goes out with a new one; what cannot go out again leaves it to the next.
    async fn send_with(&self, sent: Sent<'_>, body: Taken) -> Result<(Answer, Meaning<'_>), OutboundError> {
        if !inject::takes_access_token(self.permit) {
            return self.send_once(sent, body).await;
        }
        let issuer = self.permit.route.issuer();
        let issued = access_token(sent, issuer, None).await?;
        let again = body.again();
        let (answer, meaning) = self.send_once(sent.carrying(issued.as_deref()), body).await?;
        let ended = issued.filter(|issued| issued.may_have_ended() && matches!(meaning, Meaning::CredentialRefused));
        let Some(ended) = ended else { return Ok((answer, meaning)) };
        // What time it is there decides whether one that is minted is good.
        self.permit.upstream().learn_time(&answer.headers);
        match (access_token(sent, issuer, Some(&ended)).await, again) {
            (Ok(new), Some(again)) => self.send_once(sent.carrying(new.as_deref()), again).await,
            (Err(_), _) | (_, None) => Ok((answer, meaning)),
        }
    }

    /// One exchange, and what its answer means.
    async fn send_once(&self, sent: Sent<'_>, body: Taken) -> Result<(Answer, Meaning<'_>), OutboundError> {
        let (length, body) = match body {
            Taken::Whole { form, body } => {
                let body = inject::edit_body(self.permit, sent, form, body)?;
                (Length::Known(body.len() as u64), OutgoingBody::Whole(body))
            }
            Taken::Stream(body) => {
                inject::edit_body(self.permit, sent, Form::Stream, Bytes::new())?;
                let length = body.size_hint().exact().map_or(Length::Unknown, Length::Known);
                (length, OutgoingBody::Stream { chunked: length == Length::Unknown, body, limit: MAX_STREAM })
            }
        };
        let outgoing = inject::compose(self.permit, sent, self.parts, self.injected, length, body)?;
        let failed = |error| upstream_error(error, &self.parts.method);
        let mut answer = self.permit.upstream().send(outgoing, self.limits, self.written).await.map_err(failed)?;
        if self.permit.operation().is_some_and(|operation| operation.caller_credential) {
            return Ok((answer, Meaning::Other));
        }
        let meaning = answer::meaning(&mut answer, self.permit.provider()).await.map_err(failed)?;
        let standing = sent.credential().standing();
        if !matches!(meaning, Meaning::CredentialRefused) && standing.is_refused() {
            standing.take_to(sent);
        }
        if let Some(class) = meaning.class() {
            self.permit.route.metrics.upstream_error(class);
        }
        if matches!(meaning, Meaning::Policy) && standing.is_first_objection() {
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

    fn tell_of_refusal(&self, sent: Sent<'_>) {
        if sent.credential().standing().refuse() {
            let (credential, fingerprint) = (&sent.credential().name, shown(sent));
            let fields = [("credential", credential.as_str().into()), ("fingerprint", fingerprint.as_str().into())];
            self.audit.record("secret refused", fields);
            tracing::error!(
                credential,
                fingerprint,
                "the provider refuses the credential: put a new secret in its place"
            );
        }
    }

    /// Whether a refusal may be that of a secret which a new one has just ended. Then the new one is on its way, and what was
    /// before is dead as well; nothing of that is a reason for an alarm.
    fn is_swap(&self, sent: Sent<'_>) -> bool {
        let lives_alone = self.permit.provider().live_secrets.is_some_and(|count| count.get() == 1);
        lives_alone && !sent.is_previous() && !sent.credential().standing().is_refused()
    }

    /// Looks for newer secrets, which may be there by now, and waits for them where they are on their way.
    async fn look_for_newer(&self, sent: Sent<'_>, is_swap: bool) -> Arc<Generation> {
        let until = Instant::now() + SWAP_TIME;
        loop {
            self.look_again().await;
            let live = self.live.load_full();
            if !is_swap || newer(&live, sent).is_some() || Instant::now() >= until {
                return live;
            }
            tokio::time::sleep(SWAP_PAUSE).await;
        }
    }

    /// A new secret may be where secrets come from and not have been noticed yet.
    async fn look_again(&self) {
        let (done, wait) = oneshot::channel();
        if self.look.try_send(done).is_ok() {
            // A secret manager may not answer; what is refused is then refused.
            timeout(LOOK_TIME, wait).await.ok();
        }
    }

    /// Goes on with what the provider has taken in place of what it refused.
    fn take_to(&self, taken: Sent<'_>, refused: Sent<'_>) {
        if !taken.credential().standing().take_to(taken) {
            return;
        }
        let credential = &taken.credential().name;
        let (taken_instead, refused) = (shown(taken), shown(refused));
        if taken.is_previous() {
            let fields = [
                ("credential", credential.as_str().into()),
                ("fingerprint", taken_instead.as_str().into()),
                ("refused", refused.as_str().into()),
            ];
            self.audit.record("fallback", fields);
            self.permit.route.metrics.rotated(credential, FELL_BACK);
            tracing::error!(
                credential,
                refused,
                taken_instead,
                "the provider refuses the new secret: sending with the one before until the next reload"
            );
        } else {
            tracing::warn!(credential, refused, taken_instead, "the provider takes the new secret after all");
        }
    }
}

/// How secrets are told from others; empty where the first of them is not there.
fn shown(sent: Sent<'_>) -> String {
    sent.fingerprint().map(|fingerprint| fingerprint.to_string()).unwrap_or_default()
}

/// What a request could go out with instead: what a reload has brought meanwhile, else what was before.
fn other<'s>(live: &'s Generation, sent: Sent<'s>) -> Option<Sent<'s>> {
    newer(live, sent).or_else(|| sent.credential().instead_of(sent))
}

fn newer<'s>(live: &'s Generation, sent: Sent<'s>) -> Option<Sent<'s>> {
    let newer = live.policy.credential(&sent.credential().name).map(|credential| credential.sent());
    newer.filter(|newer| !newer.is_same_as(sent))
}

/// How long a refused request waits for the secret that has ended the one it was sent with; callers seldom wait longer.
const SWAP_TIME: Duration = Duration::from_secs(5);
const SWAP_PAUSE: Duration = Duration::from_millis(250);
/// How long a refused request waits for a new secret to be found.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// How metrics name a rotation that was taken back.
const FELL_BACK: &str = "fell_back";
