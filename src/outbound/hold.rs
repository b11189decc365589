//! Waiting for a new secret while the provider refuses every secret at hand.
//!
//! The first refusal closes the hold of the credential. From then on
//!
//! - a request that was refused waits for newer secrets, or for the provider to accept a request;
//! - a request that comes later waits without being sent;
//! - one request a second goes out as the probe, with the sets of secrets at hand by turns;
//! - after `hold`, each gets the provider's own answer.
//!
//! A request goes out again only after a refusal, which proves that the provider did nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::body::BodyKind;
use super::context::RequestContext;
use super::generation::{Generation, SecretLookups};
use crate::credential::{ProbedSecrets, RefusedAnswer, SecretSet};
use crate::listener::Link;
use crate::upstream::{Answer, AnswerBody};

/// The end of a wait in the hold.
pub(super) enum HoldEnd {
    /// The request may be sent, with the secrets of this generation.
    Send(Arc<Generation>),
    /// The wait is over: the application gets the last answer of the provider.
    Refused(Answer),
}

/// The end of a wait after a refusal: the request may go out again.
pub(super) struct HeldTurn {
    /// The generation to send with.
    pub(super) live: Arc<Generation>,
    /// The secrets to send with, if the generation has no newer secrets.
    pub(super) secrets: ProbedSecrets,
}

/// A request that may have to wait in the hold.
pub(super) struct HeldRequest<'a> {
    /// The live generation, perhaps newer than the generation of the request.
    pub(super) live: &'a ArcSwap<Generation>,
    /// The reloader's queue of secret look-ups.
    pub(super) lookups: &'a SecretLookups,
    pub(super) context: &'a RequestContext<'a>,
}

impl HeldRequest<'_> {
    /// Waits while the hold is closed, from `now` until `until` at most; `None` if the request may
    /// be sent at once.
    pub(super) async fn pass(
        &self,
        sent: SecretSet<'_>,
        body: BodyKind,
        now: Instant,
        until: Instant,
    ) -> Option<HoldEnd> {
        let hold = sent.credential().hold();
        if hold.lets_pass(now) {
            return None;
        }
        let _waiting = self.waiting(body).await;
        loop {
            let live = self.live.load_full();
            if live.newer_than(sent).is_some() || hold.lets_pass(Instant::now()) {
                return Some(HoldEnd::Send(live));
            }
            if Instant::now() >= until
                && let Some(refusal) = hold.refusal()
            {
                return Some(HoldEnd::Refused(answer_of(refusal)));
            }
            self.look_up_secrets().await;
            tokio::time::sleep(HOLD_INTERVAL).await;
        }
    }

    /// Has the sources of secrets looked at once, and returns the generation then.
    pub(super) async fn look_once(&self) -> Arc<Generation> {
        self.look_up_secrets().await;
        self.live.load_full()
    }

    /// Waits after a refusal until the request may go out again, in the generation returned: with
    /// secrets newer than `sent`; or because the provider has accepted more than `accepted`
    /// requests; or as the probe. `None` once `until` is over.
    pub(super) async fn wait_after_refusal(
        &self,
        sent: SecretSet<'_>,
        accepted: u64,
        until: Instant,
    ) -> Option<HeldTurn> {
        let hold = sent.credential().hold();
        // The refusal proves that nothing of the request was taken. No other body than a whole one
        // can go out again.
        self.context.written.store(false, Ordering::Relaxed);
        let _waiting = self.waiting(BodyKind::Whole).await;
        loop {
            self.look_up_secrets().await;
            let live = self.live.load_full();
            let now = Instant::now();
            if live.newer_than(sent).is_some() || hold.accepted() != accepted {
                let secrets = ProbedSecrets::InUse;
                return Some(HeldTurn { live, secrets });
            }
            if now >= until {
                return None;
            }
            if let Some(secrets) = hold.due_probe(now) {
                return Some(HeldTurn { live, secrets });
            }
            tokio::time::sleep(HOLD_INTERVAL).await;
        }
    }

    /// Has the reloader read the sources of secrets now, before the next regular look-up.
    async fn look_up_secrets(&self) {
        let (done, wait) = oneshot::channel();
        if self.lookups.try_send(done).is_ok() {
            // A secret manager may not answer; the refusal stands then.
            timeout(LOOKUP_TIMEOUT, wait).await.ok();
        }
    }

    /// Marks the request as waiting: an application that hangs up meanwhile is gone, and its
    /// request is not sent.
    async fn waiting(&self, body: BodyKind) -> WaitingRequest<'_> {
        let link = self.context.link;
        body.waits(link);
        // The connection notices the end of an application that is gone already.
        tokio::task::yield_now().await;
        WaitingRequest { link, body }
    }
}

/// A request that waits. The drop marks the request as read again, or the body as passing through
/// again.
struct WaitingRequest<'h> {
    link: &'h Link,
    body: BodyKind,
}

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        self.body.goes_on(self.link);
    }
}

/// Closes the hold of a credential with the answer of a refused request.
pub(super) async fn close(sent: SecretSet<'_>, answer: &mut Answer) {
    let unread = std::mem::replace(&mut answer.body, AnswerBody::Whole(Bytes::new()));
    // A body that is cut off reaches the application as an empty one.
    let body = unread.whole(MAX_REFUSAL).await.unwrap_or_default();
    answer.body = AnswerBody::Whole(body.clone());
    let refusal = RefusedAnswer {
        status: answer.status,
        headers: answer.headers.clone(),
        body,
    };
    sent.credential().hold().close(refusal, Instant::now());
}

fn answer_of(refusal: RefusedAnswer) -> Answer {
    Answer {
        status: refusal.status,
        headers: refusal.headers,
        body: AnswerBody::Whole(refusal.body),
        arrived: Instant::now(),
        early: false,
        clock_was_wrong: false,
        failure: None,
    }
}

/// The time between two looks for newer secrets. A look reads one pointer; the sources of secrets
/// are read at most each 200 ms, however many requests wait.
const HOLD_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for one look-up of secrets: four times the time that a reload gives programs and
/// secret managers. The reload goes on without the request.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest body of a refusal that is kept, in bytes: refusals are a line of JSON.
const MAX_REFUSAL: usize = 64 * 1024;
