//! The limits: may a request leave now, when, or not in time.
//!
//! [`Limiter`] is the door: the methods read as the list of the limits met by a request. Each
//! limit keeps requests in a queue, or refuses a request at once if the wait is in vain.
//!
//! ```text
//! Limiter                 the limits of a route, in order
//! ├ AccountPause          the pause of all sends of an account
//! ├ KeyedLimits  Pairs    the limits of all senders, objects, accounts; of all pairs
//! │ └ LimitTable          limits by key; forgets unused limits
//! │   └ Limit             a lock over a turnstile, and the task to wake waiters
//! │     └ Turnstile       queue and pacer together       (pure)
//! │       ├ Queue         the order of the waiters       (pure)
//! │       └ Pacer         the time of the next turn      (pure)
//! │         ├ Slowdown    a longer interval              (pure)
//! │         └ Tokens      a bucket of the limit, or of a pair among the buckets of all pairs
//! │           └ Bucket    a token bucket                 (pure)
//! └ remote                buckets in the shared server, for many sidecars
//! ```

use std::sync::Arc;

use tokio::time::Instant;

mod account_pause;
mod bucket;
mod demand;
mod keyed;
mod kind;
// The file is named after its type.
#[expect(clippy::module_inception, reason = "one limit of the room of limits")]
mod limit;
pub mod metrics;
mod pacer;
mod pair;
mod pair_buckets;
mod pairs;
mod pause;
mod queue;
mod remote;
mod report;
mod slowdown;
mod table;
mod terms;
#[cfg(test)]
mod tests;
mod tokens;
mod turnstile;

pub use account_pause::AccountPause;
pub use demand::{Allowance, Demand, Limited, Patience, Ticket};
pub use keyed::{KeyedLimits, LimitTerms};
pub use kind::LimitKind;
pub use pairs::Pairs;
pub use pause::{Pause, PauseLength, PauseReason};
pub use remote::{LocalView, RemoteBucket, Sharing, TakeReply, TakeRequest, TakeScriptReply};
pub use report::{LimitStatus, LimitUsage};
// The pure half of a limit, for the simulation of `benches/scale`.
#[doc(hidden)]
pub use pacer::Next;
#[doc(hidden)]
pub use turnstile::{Place, Turnstile};

use demand::UnqueuedMessages;
use limit::pass;
use pause::growth;
use remote::RemotePause;

use crate::provider::{Metering, Scope};

/// The limits of a route. Most are shared with the other routes of its credential.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// Pause of all sends of the account.
    pub account_pause: Arc<AccountPause>,
    /// Messages of each sender.
    pub senders: Arc<KeyedLimits>,
    /// Messages of each sender that the provider counts apart.
    pub separately_metered: Arc<KeyedLimits>,
    /// Messages of each pair, if pairs are counted or can be throttled.
    pub pairs: Option<Arc<Pairs>>,
    /// Messages of all senders together, if counted by the provider.
    pub sends: Option<Arc<KeyedLimits>>,
    /// Requests of administration, if counted by the provider.
    pub management: Option<Arc<KeyedLimits>>,
    /// Pauses of requests other than messages, by object.
    pub objects: Arc<KeyedLimits>,
    /// Sharing with other sidecars, if any.
    pub sharing: Option<Sharing>,
    /// Bounds of the wait.
    pub patience: Patience,
    /// True if a throttled message waits for another turn.
    pub retries: bool,
}

impl Default for Limiter {
    /// No rates and no patience, but pauses.
    fn default() -> Self {
        let unlimited = |kind| Arc::new(KeyedLimits::new(kind, LimitTerms::default()));
        Self {
            account_pause: Arc::default(),
            senders: unlimited(LimitKind::Sender),
            separately_metered: unlimited(LimitKind::SeparatelyMetered),
            pairs: None,
            sends: None,
            management: None,
            objects: unlimited(LimitKind::Object),
            sharing: None,
            patience: Patience::default(),
            retries: false,
        }
    }
}

impl Limiter {
    /// Waits until a message may be sent: the account's pause, the pair, the sender, the account.
    ///
    /// # Errors
    /// At once if the turn cannot come in time.
    pub async fn send(&self, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        let before = self.account_pause.pass(demand).await?;
        let ticket = self
            .pass_send(demand)
            .await
            .map_err(|limited| self.account_pause.or_paused(limited))?;
        // The account may have been paused meanwhile.
        let after = self.account_pause.pass(demand).await?;
        Ok(ticket.and(before).and(after))
    }

    async fn pass_send(&self, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        let sender = self.of_senders(demand.metering).limit(demand.sender);
        let account = match (&self.sends, demand.metering) {
            (Some(sends), Metering::Common) => sends.limit(WHOLE_ACCOUNT),
            _ => None,
        };
        // A single look at the clock serves every limit that is passed without a wait. Limits are
        // made before the look, so that none is younger.
        let now = Instant::now();
        // A token of the pair cannot be given back. A message that would then wait in vain for the
        // sender or the account must not take one.
        for limit in [&account, &sender].into_iter().flatten() {
            limit.check(demand, now)?;
        }
        let of_pair = match &self.pairs {
            Some(pairs) => pairs.pass_all(demand, now).await?,
            None => Ticket::default(),
        };
        let now = of_pair.now(now);
        let of_sender = pass(sender.as_ref(), demand, now).await?;
        let of_account = pass(account.as_ref(), demand, of_sender.now(now)).await?;
        // A message to several recipients goes whole or not at all, by a single turn. The next
        // messages wait until the turns of the further recipients are paid for.
        for limit in [account, sender].into_iter().flatten() {
            limit.charge(UnqueuedMessages::Sent(demand.messages.saturating_sub(1)));
        }
        Ok(of_sender.and(of_account).and(of_pair))
    }

    /// The limits of senders that a message counts against.
    #[must_use]
    pub fn of_senders(&self, metering: Metering) -> &KeyedLimits {
        match metering {
            Metering::Common => &self.senders,
            Metering::Apart => &self.separately_metered,
        }
    }

    /// Waits until a request of administration about an object may be sent: the object's pause,
    /// then the rate of administration of the object.
    ///
    /// # Errors
    /// At once if the turn cannot come in time.
    pub async fn manage(&self, object: &str, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        let before = self.objects.pass(object, demand).await?;
        let ticket = match &self.management {
            Some(management) => management.pass(object, demand).await?,
            None => Ticket::default(),
        };
        // The object may have been paused meanwhile.
        let after = self.objects.pass(object, demand).await?;
        Ok(ticket.and(before).and(after))
    }

    /// Takes note that the provider answered, now, the message of a ticket.
    pub fn message_answered(&self, ticket: &Ticket, now: Instant) {
        if let (Some(first), Some(pairs)) = (ticket.first_of_pair, &self.pairs) {
            pairs.answered(first, now);
        }
    }

    /// Takes note that the provider refused a message as too fast.
    pub fn message_throttled(
        &self,
        scope: Scope,
        sender: &str,
        metering: Metering,
        recipients: &[String],
        length: PauseLength,
    ) {
        let pairs = self.pairs.as_ref().filter(|_| !recipients.is_empty());
        match (scope, pairs) {
            (Scope::Account, _) => self.account_throttled(length),
            // The answer does not say which recipient is over the limit, so all of them pause.
            (Scope::Recipient, Some(pairs)) => {
                for recipient in recipients {
                    pairs.throttled(sender, recipient, length);
                }
            }
            // A throttle of a recipient not named in the body is a throttle of the sender.
            (Scope::Sender | Scope::Recipient | Scope::Operation, _) => {
                let senders = self.of_senders(metering);
                senders.throttled(sender, length);
            }
        }
    }

    fn account_throttled(&self, length: PauseLength) {
        self.account_pause.throttled(length, Instant::now());
        if let Some(sharing) = &self.sharing {
            let growth = growth(Scope::Account);
            sharing.pause_account(RemotePause::after_throttle(length, growth));
        }
    }
}

/// Key of the limit of a whole account.
const WHOLE_ACCOUNT: &str = "";
